/* crashpoint - see base/crashpoint.h. */
#include "base/crashpoint.h"

#ifdef GPUPOOL_TEST

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/str.h"

static _Atomic int64_t left; /* until the one that kills; 0 = unarmed, below = past */

static char named[64];       /* the one that kills, where it was named; set before there are threads */

void crashpoint_arm(const char *at)
{
	int64_t n;

	left = at && str_to_id(str_of(at), &n) ? n : 0;
	snprintf(named, sizeof(named), "%s", at && !left ? at : "");
}

void crashpoint_pass(const char *name)
{
	/* Threads count together: exactly one of them meets the end. */
	if (strcmp(named, name) != 0 && (left <= 0 || atomic_fetch_sub(&left, 1) != 1))
		return;
	log_warn("crashpoint", "at=%s", name);
	kill(getpid(), SIGKILL);
}

#else

/* An empty translation unit is not ISO C. */
extern int crashpoint_unused;

#endif
