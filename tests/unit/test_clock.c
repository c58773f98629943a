/* Clocks, their text, and the bounds of the backoff. */
#include "base/cleanup.h"
#include "base/clock.h"
#include "unit.h"

START_TEST(test_real_clocks_advance)
{
	int64_t before = clock_us();

	clock_sleep_ms(2);
	ck_assert_int_ge(clock_us() - before, 1000);
	ck_assert_int_gt(clock_wall_ms(), 1700000000000);
	ck_assert_int_le(clock_ms() - before / 1000, 60000);
}
END_TEST

START_TEST(test_fake_clock_stands_still)
{
	clock_fake(5000);
	ck_assert_int_eq(clock_ms(), 5000);
	ck_assert_int_eq(clock_us(), 5000000);
	ck_assert_int_eq(clock_wall_ms(), 5000);
	clock_sleep_ms(3600000); /* moves it, at no cost */
	clock_sleep_ms(-1);
	ck_assert_int_eq(clock_ms(), 3605000);
	clock_real();
	ck_assert_int_gt(clock_wall_ms(), 1700000000000);
}
END_TEST

static const struct {
	int64_t ms;
	const char *text, *text_ms;
} times[] = {
	{0, "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000Z"},
	{-1, "1969-12-31T23:59:59Z", "1969-12-31T23:59:59.999Z"},
	{1795507966073, "2026-11-24T08:12:46Z", "2026-11-24T08:12:46.073Z"},
	{1709164800000, "2024-02-29T00:00:00Z", "2024-02-29T00:00:00.000Z"},
	{253402300799999, "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z"},
};

START_TEST(test_text)
{
	char text[32];

	clock_rfc3339(times[_i].ms, text, sizeof(text));
	ck_assert_str_eq(text, times[_i].text);
	clock_rfc3339_ms(times[_i].ms, text, sizeof(text));
	ck_assert_str_eq(text, times[_i].text_ms);
}
END_TEST

START_TEST(test_backoff_stays_within_its_bounds)
{
	struct backoff b = {.first_ms = 100, .max_ms = 30000};
	int64_t most = 100, least_seen = INT64_MAX, most_seen = 0;

	for (int i = 0; i < 2000; i++) {
		int64_t delay = backoff_next(&b);

		ck_assert_int_ge(delay, 1);
		ck_assert_int_le(delay, most);
		most = most * 2 < 30000 ? most * 2 : 30000;
		if (i < 100)
			continue;
		least_seen = delay < least_seen ? delay : least_seen;
		most_seen = delay > most_seen ? delay : most_seen;
	}
	/* Full jitter: the whole range is used. */
	ck_assert_int_lt(least_seen, 1000);
	ck_assert_int_gt(most_seen, 29000);
	backoff_clear(&b);
	ck_assert_int_le(backoff_next(&b), 100);
}
END_TEST

START_TEST(test_backoff_of_odd_settings)
{
	struct backoff zero = {0}, huge = {.first_ms = INT64_MAX / 2 + 1, .max_ms = INT64_MAX};
	struct backoff above = {.first_ms = 500, .max_ms = 10};

	huge.failures = UINT32_MAX;
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(backoff_next(&zero), 1);
		ck_assert_int_ge(backoff_next(&huge), 1);
		ck_assert_int_le(backoff_next(&above), 10);
	}
}
END_TEST

static const struct {
	const char *text;
	int64_t ms; /* -1 = refused */
} read_times[] = {
	{"1970-01-01T00:00:00Z", 0},
	{"2026-11-24T08:12:46Z", 1795507966000},
	{"2026-11-24t08:12:46z", 1795507966000},
	{"2026-11-24T09:12:46+01:00", 1795507966000},
	{"2026-11-24T04:42:46.0739-03:30", 1795507966073},
	{"2028-02-29T23:59:59.5Z", 1835481599500},
	{"2026-02-29T00:00:00Z", -1}, /* no leap year */
	{"2026-11-31T00:00:00Z", -1},
	{"2026-13-01T00:00:00Z", -1},
	{"2026-11-24T24:00:00Z", -1},
	{"2026-11-24T08:12:60Z", -1},
	{"2026-11-24T08:12:46", -1},
	{"2026-11-24T08:12:46.Z", -1},
	{"2026-11-24T08:12:46+0100", -1},
	{"2026-11-24T08:12:46+24:00", -1},
	{"2026-11-24T08:12:46Z ", -1},
	{"2026-11-24 08:12:46Z", -1},
	{"26-11-24T08:12:46Z", -1},
	{"1969-12-31T23:59:59Z", -1},
	{"tomorrow", -1},
	{"", -1},
};

START_TEST(test_read)
{
	int64_t ms = -1;
	bool good = clock_parse(str_of(read_times[_i].text), &ms);

	ck_assert_msg(good == (read_times[_i].ms >= 0), "%s", read_times[_i].text);
	if (good)
		ck_assert_int_eq(ms, read_times[_i].ms);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("clock");
	TCase *t = tcase_create("clock");

	tcase_add_test(t, test_real_clocks_advance);
	tcase_add_test(t, test_fake_clock_stands_still);
	tcase_add_loop_test(t, test_text, 0, ARRAY_LEN(times));
	tcase_add_loop_test(t, test_read, 0, ARRAY_LEN(read_times));
	tcase_add_test(t, test_backoff_stays_within_its_bounds);
	tcase_add_test(t, test_backoff_of_odd_settings);
	suite_add_tcase(s, t);
	return unit_run(s);
}
