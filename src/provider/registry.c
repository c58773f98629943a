/* registry - the providers that exist, and what their errors mean. */
#include <string.h>

#include "provider/colab_api.h"
#include "provider/colab_browser.h"
#include "provider/colab_enterprise.h"
#include "provider/colab.h"
#include "provider/kaggle.h"
#include "provider/local.h"
#include "provider/manual.h"
#include "provider/provider.h"

static const struct provider *const providers[] = {
	&provider_local,
	&provider_manual,
	&provider_kaggle,
	&provider_colab,
	&provider_colab_enterprise,
	&provider_colab_api,
	&provider_colab_browser,
};
static const struct provider *added;

void provider_add(const struct provider *p)
{
	added = p;
}

const struct provider *provider_at(size_t i)
{
	if (i < ARRAY_LEN(providers))
		return providers[i];
	return i == ARRAY_LEN(providers) ? added : NULL;
}

const struct provider *provider_find(const char *name)
{
	const struct provider *p;

	for (size_t i = 0; (p = provider_at(i)); i++)
		if (!strcmp(p->name, name))
			return p;
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
