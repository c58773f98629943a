/* registry - the providers that exist, and what their errors mean. */
#include <string.h>

#include "provider/local.h"
#include "provider/manual.h"
#include "provider/provider.h"

static const struct provider *const providers[] = {
	&provider_local,
	&provider_manual,
};

const struct provider *provider_at(size_t i)
{
	return i < ARRAY_LEN(providers) ? providers[i] : NULL;
}

const struct provider *provider_find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(providers); i++)
		if (!strcmp(providers[i]->name, name))
			return providers[i];
	return NULL;
}

enum provider_verdict provider_verdict(enum err err, const struct error *why)
{
	switch (err) {
	case ERR_INVALID:
	case ERR_UNPROCESSABLE:
	case ERR_TOO_LARGE:
		return VERDICT_REFUSED;
	case ERR_UNAUTHORIZED:
	case ERR_FORBIDDEN:
		return VERDICT_HUMAN;
	case ERR_QUOTA:
		return why->reason && !strcmp(why->reason, "capacity") ? VERDICT_CAPACITY : VERDICT_QUOTA;
	default:
		return VERDICT_RETRY;
	}
}
