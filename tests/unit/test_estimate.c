/* Estimates: percentiles of runs, the steps that lanes tell apart, and what a session can hold. */
#include "domain/estimate.h"
#include "unit.h"

static const struct {
	const char *what;
	int64_t runs[ESTIMATE_KEPT];
	size_t n;
	int64_t p95;
} percentiles[] = {
	{"none", {0}, 0, 0},
	{"too few", {9, 9, 9, 9}, 4, 0},
	{"the largest of five", {5, 1, 4, 2, 3}, 5, 5},
	{"the largest of nineteen", {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 7}, 19, 7},
	{"an outlier among twenty does not count", {1, 1, 1, 1, 1, 1, 1, 1, 1, 900, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 20, 1},
	{"nor one among 32", {1, 1, 1, 1, 1, 1, 1, 1, 1, 900, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, 32, 3},
};

START_TEST(test_p95)
{
	int64_t runs[ESTIMATE_KEPT];

	for (size_t i = 0; i < percentiles[_i].n; i++)
		runs[i] = percentiles[_i].runs[i];
	ck_assert_msg(estimate_p95(runs, percentiles[_i].n) == percentiles[_i].p95, "%s", percentiles[_i].what);
}
END_TEST

static const struct {
	int64_t seconds, rounded;
} steps[] = {
	{0, 0}, {1, 60}, {60, 60}, {61, 64}, {65, 80}, {100, 112}, {128, 128}, {3600, 4096}, {4097, 5120}, {36000, 40960},
	{JOB_SECONDS_MAX, JOB_SECONDS_MAX}, {JOB_SECONDS_MAX - 1, JOB_SECONDS_MAX},
};

START_TEST(test_round)
{
	ck_assert_int_eq(estimate_round(steps[_i].seconds), steps[_i].rounded);
}
END_TEST

/* Never less, at most a quarter more, and few. */
START_TEST(test_steps_are_few)
{
	int64_t last = 0;
	int different = 0;

	for (int64_t s = 61; s <= 12 * 3600; s++) {
		int64_t r = estimate_round(s);

		ck_assert_int_ge(r, s);
		ck_assert_int_le(4 * r, 5 * s + 4);
		ck_assert_int_eq(estimate_round(r), r);
		different += r != last;
		last = r;
	}
	ck_assert_int_le(different, 40);
}
END_TEST

enum { H = 3600, KAGGLE = 11 * H };

static const struct {
	const char *what;
	int64_t seconds, longest, figure;
	bool holds;
} sessions[] = {
	{"any length", 20 * H, 0, 81920, true},
	{"half a session", 5 * H, KAGGLE, 20480, true},
	{"rounding alone would be too long", 10 * H + 20, KAGGLE, 10 * H + 60, true},
	{"as long as it gets", KAGGLE - ESTIMATE_START, KAGGLE, KAGGLE - ESTIMATE_START, true},
	{"a second longer", KAGGLE - ESTIMATE_START + 1, KAGGLE, 40960, false},
	{"a day", 24 * H, KAGGLE, 98304, false},
};

START_TEST(test_sessions)
{
	ck_assert_msg(estimate_within(sessions[_i].seconds, sessions[_i].longest) == sessions[_i].figure, "%s: %lld", sessions[_i].what,
		      (long long)estimate_within(sessions[_i].seconds, sessions[_i].longest));
	ck_assert_msg(estimate_holds(sessions[_i].seconds, sessions[_i].longest) == sessions[_i].holds, "%s", sessions[_i].what);
}
END_TEST

START_TEST(test_text)
{
	char text[ESTIMATE_TEXT];

	ck_assert_str_eq(estimate_text(90, text), "90 s");
	ck_assert_str_eq(estimate_text(150, text), "3 min");
	ck_assert_str_eq(estimate_text(2 * H + 1800, text), "2 h 30 min");
	ck_assert_str_eq(estimate_text(KAGGLE, text), "11 h");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("estimate");
	TCase *t = tcase_create("estimate");

	tcase_add_loop_test(t, test_p95, 0, ARRAY_LEN(percentiles));
	tcase_add_loop_test(t, test_round, 0, ARRAY_LEN(steps));
	tcase_add_test(t, test_steps_are_few);
	tcase_add_loop_test(t, test_sessions, 0, ARRAY_LEN(sessions));
	tcase_add_test(t, test_text);
	suite_add_tcase(s, t);
	return unit_run(s);
}
