/* crashpoint - see base/crashpoint.h. */
#include "base/crashpoint.h"

#ifdef GPUPOOL_TEST

#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

static int64_t left; /* until the one that kills; 0 = unarmed */

void crashpoint_arm(const char *n)
{
	if (!n || !str_to_id(str_of(n), &left))
		left = 0;
}

void crashpoint_pass(const char *name)
{
	if (!left || --left)
		return;
	log_warn("crashpoint", "at=%s", name);
	kill(getpid(), SIGKILL);
}

#else

/* An empty translation unit is not ISO C. */
extern int crashpoint_unused;

#endif
