/* crashpoint - see base/crashpoint.h. */
#include "base/crashpoint.h"

#ifdef GPUPOOL_TEST

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

static _Atomic int64_t left; /* until the one that kills; 0 = unarmed, below = past */

void crashpoint_arm(const char *n)
{
	int64_t at;

	left = n && str_to_id(str_of(n), &at) ? at : 0;
}

void crashpoint_pass(const char *name)
{
	/* Threads count together: exactly one of them meets the end. */
	if (left <= 0 || atomic_fetch_sub(&left, 1) != 1)
		return;
	log_warn("crashpoint", "at=%s", name);
	kill(getpid(), SIGKILL);
}

#else

/* An empty translation unit is not ISO C. */
extern int crashpoint_unused;

#endif
