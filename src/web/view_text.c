/* view_text - figures as people read them.  See web/view_text.h. */
#include "web/view_text.h"

#include <math.h>
#include <stdio.h>

#define NBSP "\u00a0"

enum { SECOND_MS = 1000, DAY_MS = 86400 * SECOND_MS };

static const struct view_words words[] = {
	{"en",
	 {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"},
	 {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}},
};

const struct view_words *view_words(const char *locale)
{
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (str_eqz(str_of(locale), words[i].locale))
			return &words[i];
	return &words[0];
}

/* ---- times ---------------------------------------------------------------- */

/* Digits of a fixed width; -1 when there is another character. */
static int digits(struct str s, size_t from, size_t n)
{
	int v = 0;

	for (size_t i = from; i < from + n; i++) {
		if (i >= s.len || s.ptr[i] < '0' || s.ptr[i] > '9')
			return -1;
		v = v * 10 + (s.ptr[i] - '0');
	}
	return v;
}

bool view_time_parse(struct str s, int64_t *ret)
{
	struct tm tm = {0};
	int year = digits(s, 0, 4), month = digits(s, 5, 2), ms = 0;

	tm.tm_mday = digits(s, 8, 2);
	tm.tm_hour = digits(s, 11, 2);
	tm.tm_min = digits(s, 14, 2);
	tm.tm_sec = digits(s, 17, 2);
	if (year < 1970 || month < 1 || tm.tm_mday < 1 || tm.tm_hour < 0 || tm.tm_min < 0 || tm.tm_sec < 0)
		return false;
	if (s.len > 19 && s.ptr[19] == '.')
		ms = digits(s, 20, 3);
	if (ms < 0 || s.ptr[s.len - 1] != 'Z')
		return false;
	tm.tm_year = year - 1900;
	tm.tm_mon = month - 1;
	*ret = (int64_t)timegm(&tm) * SECOND_MS + ms;
	return true;
}

static void split(int64_t ms, struct tm *ret)
{
	time_t s = (time_t)(ms / SECOND_MS);

	if (!gmtime_r(&s, ret))
		*ret = (struct tm){.tm_mday = 1};
}

void view_time_text(const struct view_words *w, int64_t at_ms, int64_t now_ms, char ret[VIEW_TEXT])
{
	struct tm at, now;
	int64_t days = at_ms / DAY_MS - now_ms / DAY_MS;

	split(at_ms, &at);
	split(now_ms, &now);
	if (!days)
		snprintf(ret, VIEW_TEXT, "%02d:%02d" NBSP "UTC", at.tm_hour, at.tm_min);
	else if (days > -6 && days < 6)
		snprintf(ret, VIEW_TEXT, "%s %02d:%02d" NBSP "UTC", w->days[at.tm_wday], at.tm_hour, at.tm_min);
	else if (at.tm_year == now.tm_year)
		snprintf(ret, VIEW_TEXT, "%d %s %02d:%02d" NBSP "UTC", at.tm_mday, w->months[at.tm_mon], at.tm_hour, at.tm_min);
	else
		snprintf(ret, VIEW_TEXT, "%d %s %d %02d:%02d" NBSP "UTC", at.tm_mday, w->months[at.tm_mon], at.tm_year + 1900,
			 at.tm_hour, at.tm_min);
}

/* ---- durations -------------------------------------------------------------- */

/* Seconds are not worth reading above ten minutes, nor minutes above two days. */
void view_duration_text(int64_t seconds, char ret[VIEW_TEXT])
{
	long long s = seconds > 0 ? (long long)seconds : 0;

	if (s < 60)
		snprintf(ret, VIEW_TEXT, "%lld" NBSP "s", s);
	else if (s < 600 && s % 60)
		snprintf(ret, VIEW_TEXT, "%lld" NBSP "min %lld" NBSP "s", s / 60, s % 60);
	else if (s < 3600)
		snprintf(ret, VIEW_TEXT, "%lld" NBSP "min", s / 60);
	else if (s < 2 * 86400)
		snprintf(ret, VIEW_TEXT, s / 60 % 60 ? "%lld" NBSP "h %lld" NBSP "min" : "%lld" NBSP "h", s / 3600, s / 60 % 60);
	else
		snprintf(ret, VIEW_TEXT, s / 3600 % 24 ? "%lld" NBSP "d %lld" NBSP "h" : "%lld" NBSP "d", s / 86400, s / 3600 % 24);
}

void view_hours_text(int64_t seconds, char ret[VIEW_TEXT])
{
	/* Downwards: what is left is never promised before it is there. */
	long long tenths = seconds > 0 ? (long long)(seconds / 360) : 0;

	if (tenths % 10)
		snprintf(ret, VIEW_TEXT, "%lld.%lld" NBSP "h", tenths / 10, tenths % 10);
	else
		snprintf(ret, VIEW_TEXT, "%lld" NBSP "h", tenths / 10);
}

void view_duration_field(int64_t seconds, char ret[VIEW_TEXT])
{
	static const struct {
		int seconds;
		char unit;
	} units[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
	size_t i = 0;

	while (seconds % units[i].seconds)
		i++;
	snprintf(ret, VIEW_TEXT, "%lld%c", (long long)(seconds / units[i].seconds), units[i].unit);
}

/* ---- sizes ------------------------------------------------------------------- */

static const struct {
	double bytes;
	const char *name;
} sizes[] = {{1LL << 40, "TB"}, {1 << 30, "GB"}, {1 << 20, "MB"}, {1 << 10, "kB"}, {1, "bytes"}};

static size_t unit_of(double bytes)
{
	size_t i = 0;

	while (i + 1 < ARRAY_LEN(sizes) && bytes < sizes[i].bytes)
		i++;
	return i;
}

/* "13.1", "94": a decimal below a hundred of larger units, where it is not zero. */
static void amount(double bytes, size_t unit, char ret[VIEW_TEXT])
{
	double v = bytes / sizes[unit].bytes, tenths = round(v * 10) / 10;
	bool whole = unit + 1 >= ARRAY_LEN(sizes) || v >= 100 || tenths == floor(tenths);

	snprintf(ret, VIEW_TEXT, "%.*f", whole ? 0 : 1, whole ? round(v) : tenths);
}

void view_size_text(int64_t bytes, char ret[VIEW_TEXT])
{
	size_t unit = unit_of((double)bytes);
	char number[VIEW_TEXT];

	amount((double)bytes, unit, number);
	snprintf(ret, VIEW_TEXT, "%.40s" NBSP "%s", number, sizes[unit].name);
}

void view_share_text(int64_t used, int64_t total, char ret[VIEW_TEXT])
{
	size_t unit = unit_of((double)total);
	char a[VIEW_TEXT], b[VIEW_TEXT];

	amount((double)used, unit, a);
	amount((double)total, unit, b);
	snprintf(ret, VIEW_TEXT, "%.20s / %.20s" NBSP "%s", a, b, sizes[unit].name);
}
