/* manual - see provider/manual.h. */
#include "provider/manual.h"

static enum err check(struct provider_call *c)
{
	(void)c;
	return OK;
}

const struct provider provider_manual = {
	.name = "manual",
	.caps = HUMAN_START,
	.check = check,
};
