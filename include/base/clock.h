/*
 * clock - monotonic and wall time, deadlines, backoff.
 *
 * Durations inside the program are milliseconds on the monotonic clock; wall
 * time is for people and comes from the database where two hosts would have
 * to agree.  Tests replace both clocks with clock_fake().
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

int64_t clock_ms(void);      /* monotonic */
int64_t clock_us(void);      /* monotonic */
int64_t clock_wall_ms(void); /* since 1970 */

/* Freezes both clocks at `ms` (monotonic and wall) until clock_real(). */
void clock_fake(int64_t ms);
void clock_real(void);

/* "2026-11-24T08:12:46Z", and "2026-11-24T08:12:46.073Z"; buffers of 32 suffice. */
void clock_rfc3339(int64_t wall_ms, char *ret, size_t cap);
void clock_rfc3339_ms(int64_t wall_ms, char *ret, size_t cap);
/* The other way, with "Z" or an offset, years 1970 to 9999; false on anything else. */
bool clock_parse(struct str s, int64_t *wall_ms) must_check;

struct backoff {
	int64_t first_ms, max_ms;
	unsigned failures;
};

/* Delay before the next try: full jitter in (0, min(max, first * 2^failures)];
 * counts the failure.  backoff_clear() after a success. */
int64_t backoff_next(struct backoff *b);
void backoff_clear(struct backoff *b);

/* Sleeps unless a signal arrives; for loops of daemons and command line only.
 * While the clocks are fake it moves them instead. */
void clock_sleep_ms(int64_t ms);

#endif
