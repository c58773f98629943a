/* Durations and spellings; see domain/lease.h. */
#include "domain/lease.h"

#include "base/error.h"

static const struct {
	const char *name;
	double estimate_s;
} types[JOB_TYPE_COUNT] = {
	[JOB_SCRIPT] = {"script", 60},
	[JOB_TRAINING] = {"training", 1800},
	[JOB_INFERENCE] = {"inference", 5},
};

static const struct {
	const char *name;
	enum lease_outcome outcome;
} outcomes[] = {
	{"succeeded", LEASE_SUCCEEDED}, {"failed", LEASE_FAILED},     {"timed_out", LEASE_TIMED_OUT},
	{"cancelled", LEASE_CANCELLED}, {"released", LEASE_RELEASED},
};

static int known(int type)
{
	if (type < 0 || type >= JOB_TYPE_COUNT)
		BUG("job type %d", type);
	return type;
}

int lease_seconds(const struct config *c, int type)
{
	const int64_t seconds[JOB_TYPE_COUNT] = {
		[JOB_SCRIPT] = c->lease_script_seconds,
		[JOB_TRAINING] = c->lease_training_seconds,
		[JOB_INFERENCE] = c->lease_inference_seconds,
	};

	return (int)seconds[known(type)];
}

double lease_estimate(int type)
{
	return types[known(type)].estimate_s;
}

const char *lease_type_name(int type)
{
	return types[known(type)].name;
}

int lease_outcome_parse(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(outcomes); i++)
		if (str_eqz(name, outcomes[i].name))
			return (int)outcomes[i].outcome;
	return 0;
}
