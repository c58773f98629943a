/*
 * forecast - when an account's hours of this week will be used up, as a range.
 *
 * A pure function.  One end supposes that what runs now is kept running, the
 * other that hours go on being used as fast as they were since the week began;
 * what then lasts until the reset has no end.
 */
#ifndef DOMAIN_FORECAST_H
#define DOMAIN_FORECAST_H

#include <stdbool.h>
#include <stdint.h>

enum { FORECAST_WEEK = 7 * 86400 };

struct forecast_input {
	int64_t now, resets_at; /* Unix seconds */
	int64_t used_seconds;   /* since the week began */
	int64_t left_seconds;   /* reserved and remaining */
	int live;               /* sessions that use them now */
};

struct forecast {
	bool dry;               /* false = the hours last, whichever of the two is true */
	int64_t earliest;       /* Unix seconds */
	int64_t latest;         /* 0 = at the other pace they last */
};

struct forecast forecast_dry(const struct forecast_input *in);

#endif
