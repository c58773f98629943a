/*
 * A week of a pool by gpupool's own code and by two simpler ways, side by side.
 *
 *     sim [SEED]
 *
 * used %: of all usable hours of accounts that have hours by the week, those in
 * which work was done that was kept; wanted %: the same of the hours in which
 * work waited or ran.  usable, charged, used: the hours.  passes: limits passed.
 * redone: GPU-hours of work lost with a session.  Jain: index of the GPU-hours an
 * hour and weight that owners got while work of theirs waited.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "sim.h"
#include "unit.h"

static struct sim_size week = {.accounts = {[SIM_KAGGLE] = 34, [SIM_LOCAL] = 4, [SIM_COLAB] = 12}, .owners = 12, .jobs = 10000, .seed = 20261124};
static const struct sim_size small = {.accounts = {[SIM_KAGGLE] = 2, [SIM_LOCAL] = 1, [SIM_COLAB] = 1}, .owners = 3, .jobs = 500, .seed = 7};
static const struct sim_size other = {.accounts = {[SIM_KAGGLE] = 2, [SIM_LOCAL] = 1, [SIM_COLAB] = 1}, .owners = 3, .jobs = 500, .seed = 8};

static struct sim_figures pooled, first_come, cut, again[2], different;

static double share(const struct sim_figures *f)
{
	return f->used / f->usable;
}

static double share_of_wanted(const struct sim_figures *f)
{
	return f->used / f->wanted;
}

static void show(const struct strategy *s, const struct sim_figures *f, double seconds)
{
	printf("%-13s %6.1f %7.1f %8.0f %8.0f %8.0f %6d %8lld %8.1f %8.0f %8.0f %6.3f %6d %6d %5d %5d %6.1f\n", s->name, 100 * share(f),
	       100 * share_of_wanted(f), f->usable / SIM_HOUR,
	       f->charged / SIM_HOUR, f->used / SIM_HOUR, f->passes, (long long)f->finished, (double)f->lost / SIM_HOUR, f->wait_p50_s / 60,
	       f->wait_p95_s / 60, f->jain, f->starts, f->refused, f->deaths, f->cuts, seconds);
	fflush(stdout);
}

static void run(const struct sim_size *size, const struct strategy *s, struct pg *pg, struct sim_figures *ret, bool shown)
{
	int64_t began = clock_ms();

	sim_run(size, s, pg, ret);
	if (shown)
		show(s, ret, (double)(clock_ms() - began) / 1000);
}

/* ---- what must hold -------------------------------------------------------- */

START_TEST(test_no_limit_is_passed)
{
	ck_assert_int_eq(pooled.passes, 0);
	ck_assert_int_eq(again[0].passes, 0);
	ck_assert_int_eq(different.passes, 0);
	/* It could have been: who keeps no margins passes them. */
	ck_assert_int_gt(first_come.passes, 0);
}
END_TEST

START_TEST(test_nothing_is_broken)
{
	const struct sim_figures *all[] = {&pooled, &first_come, &cut, &again[0], &again[1], &different};

	for (size_t i = 0; i < ARRAY_LEN(all); i++)
		ck_assert_str_eq(all[i]->broken, "");
}
END_TEST

START_TEST(test_same_seed_same_week)
{
	ck_assert_uint_eq(again[0].digest, again[1].digest);
	ck_assert_uint_ne(again[0].digest, different.digest);
}
END_TEST

START_TEST(test_hours_are_used)
{
	ck_assert_double_ge(share(&pooled), share(&first_come));
	ck_assert_double_ge(share(&pooled), share(&cut));
	ck_assert_double_ge(share_of_wanted(&pooled), 0.95);
	ck_assert_double_ge(share_of_wanted(&pooled), share_of_wanted(&first_come));
	ck_assert_double_ge(share_of_wanted(&pooled), share_of_wanted(&cut));
	ck_assert_double_ge(share(&pooled), 0.9);
}
END_TEST

/* Hours that are there for when many jobs come, and fair shares of them. */
START_TEST(test_nobody_waits_long)
{
	ck_assert_double_le(pooled.wait_p95_s, 3600);
	ck_assert_double_le(pooled.wait_p95_s, first_come.wait_p95_s / 4);
	ck_assert_double_ge(pooled.jain, 0.95);
	ck_assert_double_ge(pooled.jain, first_come.jain);
	ck_assert_double_ge(pooled.jain, cut.jain);
}
END_TEST

/* All that the week is meant to hold did happen. */
START_TEST(test_the_week_was_a_hard_one)
{
	ck_assert_int_gt(pooled.refused, 0);
	ck_assert_int_gt(pooled.deaths, 0);
	ck_assert_int_gt(pooled.finished, 0);
	ck_assert_double_gt(pooled.wait_p95_s, pooled.wait_p50_s);
}
END_TEST

int main(int argc, char **argv)
{
	struct pg *pg = pg_start();
	Suite *s = suite_create("sim");
	TCase *t = tcase_create("week");

	if (argc > 1)
		week.seed = strtoull(argv[1], NULL, 10);
	printf("%-13s %6s %7s %8s %8s %8s %6s %8s %8s %8s %8s %6s %6s %6s %5s %5s %6s\n", "seed, hours:", "used %", "wanted%", "usable", "charged", "used",
	       "passes", "finished", "redone h", "p50 min", "p95 min", "Jain", "starts", "refus", "died", "cuts", "took s");
	run(&week, &sim_pooled, pg, &pooled, true);
	run(&week, &sim_first_come, pg, &first_come, true);
	run(&week, &sim_cut, pg, &cut, true);
	printf("%d rounds of the autoscaler: %.2f ms of the processor each, %.1f ms at most\n", pooled.rounds, pooled.round_ms / pooled.rounds,
	       pooled.round_most_ms);
	run(&small, &sim_pooled, pg, &again[0], false);
	run(&small, &sim_pooled, pg, &again[1], false);
	run(&other, &sim_pooled, pg, &different, false);
	tcase_add_test(t, test_no_limit_is_passed);
	tcase_add_test(t, test_nothing_is_broken);
	tcase_add_test(t, test_same_seed_same_week);
	tcase_add_test(t, test_hours_are_used);
	tcase_add_test(t, test_nobody_waits_long);
	tcase_add_test(t, test_the_week_was_a_hard_one);
	suite_add_tcase(s, t);
	return unit_run(s);
}
