/* clock - time, deadlines, backoff.  See base/clock.h. */
#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "base/error.h"

static atomic_bool faked;
static _Atomic int64_t fake_ms;

static int64_t now_us(clockid_t id)
{
	struct timespec t;

	if (clock_gettime(id, &t))
		BUG("clock_gettime");
	return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

int64_t clock_us(void)
{
	return faked ? fake_ms * 1000 : now_us(CLOCK_MONOTONIC);
}

int64_t clock_ms(void)
{
	return clock_us() / 1000;
}

int64_t clock_wall_ms(void)
{
	return faked ? fake_ms : now_us(CLOCK_REALTIME) / 1000;
}

void clock_fake(int64_t ms)
{
	fake_ms = ms;
	faked = true;
}

void clock_real(void)
{
	faked = false;
}

void clock_sleep_ms(int64_t ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};

	if (ms <= 0)
		return;
	if (faked)
		fake_ms += ms;
	else
		nanosleep(&t, NULL);
}

/* Splits into whole seconds and the milliseconds after them, also before 1970. */
static int64_t split(int64_t ms, struct tm *ret)
{
	int64_t rest = (ms % 1000 + 1000) % 1000;
	time_t seconds = (time_t)((ms - rest) / 1000);

	if (!gmtime_r(&seconds, ret))
		BUG("time %lld", (long long)ms);
	return rest;
}

void clock_rfc3339(int64_t wall_ms, char *ret, size_t cap)
{
	struct tm t;

	split(wall_ms, &t);
	if (!strftime(ret, cap, "%Y-%m-%dT%H:%M:%SZ", &t))
		BUG("buffer of %zu bytes", cap);
}

void clock_rfc3339_ms(int64_t wall_ms, char *ret, size_t cap)
{
	char seconds[32];
	struct tm t;
	int64_t rest = split(wall_ms, &t);

	if (!strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &t) ||
	    (size_t)snprintf(ret, cap, "%s.%03dZ", seconds, (int)rest) >= cap)
		BUG("buffer of %zu bytes", cap);
}

int64_t backoff_next(struct backoff *b)
{
	int64_t most = b->first_ms;
	uint64_t random;

	for (unsigned i = 0; i < b->failures && most < b->max_ms; i++)
		most = most > INT64_MAX / 2 ? INT64_MAX : most * 2;
	if (most > b->max_ms)
		most = b->max_ms;
	if (b->failures < UINT32_MAX)
		b->failures++;
	if (most < 1)
		most = 1;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		BUG("getrandom");
	return 1 + (int64_t)(random % (uint64_t)most);
}

void backoff_clear(struct backoff *b)
{
	b->failures = 0;
}
