/* The table of a job's edges; see job_fsm.h. */
#include "domain/job_fsm.h"

#include "base/error.h"

static const char *const type_names[] = {
	[JOB_SCRIPT] = "script",
	[JOB_TRAINING] = "training",
	[JOB_INFERENCE] = "inference",
};

const char *job_type_name(enum job_type t)
{
	if ((unsigned)t >= JOB_TYPE_COUNT)
		BUG("type %d of a job", (int)t);
	return type_names[t];
}

enum job_type job_type_parse(struct str name)
{
	int t = 0;

	while (t < JOB_TYPE_COUNT && !str_eqz(name, type_names[t]))
		t++;
	return t;
}

static const char *const state_names[] = {
#define X(id, name) [JOB_##id] = name,
	JOB_STATES(X)
#undef X
	[JOB_RELEASED] = "released",
	[JOB_LOST] = "lost",
};

const struct job_edge job_edges[] = {
	{JOB_QUEUED, JOB_RUNNING, "a session claimed it"},
	{JOB_QUEUED, JOB_CANCELLED, "a person cancelled it before it ran"},
	{JOB_RUNNING, JOB_SUCCEEDED, "the agent reported its result"},
	{JOB_RUNNING, JOB_FAILED, "the agent reported an error, or no attempt is left"},
	{JOB_RUNNING, JOB_TIMED_OUT, "it ran longer than its limit"},
	{JOB_RUNNING, JOB_CANCELLED, "a person cancelled it while it ran"},
	{JOB_RUNNING, JOB_QUEUED, "released, lost, or to be tried again while attempts remain"},
	{JOB_SUCCEEDED, JOB_QUEUED, "a person asked for it again"},
	{JOB_FAILED, JOB_QUEUED, "a person asked for it again"},
	{JOB_TIMED_OUT, JOB_QUEUED, "a person asked for it again"},
	{JOB_CANCELLED, JOB_QUEUED, "a person asked for it again"},
};

const size_t job_edge_count = ARRAY_LEN(job_edges);

const char *job_outcome_name(int outcome)
{
	if (outcome < 0 || outcome >= JOB_OUTCOME_COUNT)
		BUG("outcome %d of a job", outcome);
	return state_names[outcome];
}

const char *job_state_name(int state)
{
	if (state >= JOB_STATE_COUNT)
		BUG("state %d of a job", state);
	return job_outcome_name(state);
}

enum job_state job_state_parse(struct str name)
{
	int s = 0;

	while (s < JOB_STATE_COUNT && !str_eqz(name, state_names[s]))
		s++;
	return s;
}

bool job_state_ended(enum job_state s)
{
	return s != JOB_QUEUED && s != JOB_RUNNING;
}

bool job_may(enum job_state from, enum job_state to)
{
	for (size_t i = 0; i < job_edge_count; i++)
		if (job_edges[i].from == from && job_edges[i].to == to)
			return true;
	return false;
}
