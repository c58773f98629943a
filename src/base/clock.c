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

/* Two digits in least…most. */
static bool digits(const char *p, int least, int most, int *ret)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return false;
	*ret = (p[0] - '0') * 10 + (p[1] - '0');
	return *ret >= least && *ret <= most;
}

/* ".073" up to nanoseconds and beyond; only the first three digits count. */
static bool fraction(struct str *s, int *ms)
{
	int scale = 100;
	size_t n = 1;

	*ms = 0;
	if (!s->len || s->ptr[0] != '.')
		return true;
	for (; n < s->len && s->ptr[n] >= '0' && s->ptr[n] <= '9'; n++, scale /= 10)
		*ms += scale * (s->ptr[n] - '0');
	*s = (struct str){s->ptr + n, s->len - n};
	return n > 1;
}

/* "Z" or "+01:00", as seconds. */
static bool offset(struct str s, int *ret)
{
	int h, m;

	*ret = 0;
	if (s.len == 1)
		return s.ptr[0] == 'Z' || s.ptr[0] == 'z';
	if (s.len != 6 || (s.ptr[0] != '+' && s.ptr[0] != '-') || s.ptr[3] != ':' || !digits(s.ptr + 1, 0, 23, &h) ||
	    !digits(s.ptr + 4, 0, 59, &m))
		return false;
	*ret = (s.ptr[0] == '-' ? -60 : 60) * (h * 60 + m);
	return true;
}

bool clock_parse(struct str s, int64_t *wall_ms)
{
	struct tm t = {0}, back;
	int century, year, ms, east, day;
	time_t seconds;

	if (s.len < 20 || s.len > 40 || !digits(s.ptr, 19, 99, &century) || !digits(s.ptr + 2, 0, 99, &year) || s.ptr[4] != '-' ||
	    !digits(s.ptr + 5, 1, 12, &t.tm_mon) || s.ptr[7] != '-' || !digits(s.ptr + 8, 1, 31, &t.tm_mday) ||
	    (s.ptr[10] != 'T' && s.ptr[10] != 't') || !digits(s.ptr + 11, 0, 23, &t.tm_hour) || s.ptr[13] != ':' ||
	    !digits(s.ptr + 14, 0, 59, &t.tm_min) || s.ptr[16] != ':' || !digits(s.ptr + 17, 0, 59, &t.tm_sec))
		return false;
	s = (struct str){s.ptr + 19, s.len - 19};
	if (!fraction(&s, &ms) || !offset(s, &east))
		return false;
	t.tm_year = century * 100 + year - 1900;
	t.tm_mon--;
	day = t.tm_mday;
	seconds = timegm(&t);
	/* timegm() takes February 30th for March 2nd. */
	if (seconds < 0 || !gmtime_r(&seconds, &back) || back.tm_mday != day)
		return false;
	*wall_ms = ((int64_t)seconds - east) * 1000 + ms;
	return true;
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
