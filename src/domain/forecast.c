/* forecast - when hours run out.  See domain/forecast.h. */
#include "domain/forecast.h"

#include <math.h>

enum { SETTLING = 6 * 3600 }; /* a week younger than this has no pace yet */

/* 0 = not before the reset.  pace: seconds used a second. */
static int64_t dry_at(const struct forecast_input *in, double pace)
{
	double in_seconds = pace > 0 ? (double)in->left_seconds / pace : INFINITY;

	return in_seconds < (double)(in->resets_at - in->now) ? in->now + (int64_t)ceil(in_seconds) : 0;
}

struct forecast forecast_dry(const struct forecast_input *in)
{
	int64_t age = in->now - (in->resets_at - FORECAST_WEEK);
	double now = in->live, so_far = age >= SETTLING ? (double)in->used_seconds / (double)age : now;
	struct forecast f = {0};

	if (in->left_seconds <= 0 && in->now < in->resets_at)
		return (struct forecast){.dry = true, .earliest = in->now, .latest = in->now};
	f.earliest = dry_at(in, fmax(now, so_far));
	f.latest = dry_at(in, fmin(now, so_far));
	f.dry = f.earliest != 0;
	return f;
}
