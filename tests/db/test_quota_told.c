/* The ledger of hours: what becomes of it when the provider says what it counts itself. */
#include <check.h>
#include <string.h>

#include "ledger.h"
#include "unit.h"

enum { HOUR = 3600, LIMIT = 30 * HOUR, MARGIN = 900, SESSION = 11 * HOUR, NEXT = LEDGER_RESET + LEDGER_WEEK };
enum { NOON = 1795521600, RESET = NOON + LEDGER_RESET }; /* in Unix seconds */

static struct pg *pg;
static struct ledger ledger;

static void set_up(void)
{
	ledger_make(&ledger, pg);
}

static void tear_down(void)
{
	ck_assert_str_eq(ledger_broken(&ledger), "");
	ledger_drop(&ledger);
}

static const struct quota_told silence = {.resource = "gpu", .used_seconds = -1, .reserved_seconds = -1, .limit_seconds = -1, .resets_at = -1};

/* The sessions cut. */
static int told(struct quota_told t)
{
	int cut;

	ck_assert_msg(quota_tell(ledger.pool.role, ledger.account, &t, 1, &cut, &ledger.e) == OK, "%s", ledger.e.msg);
	return cut;
}

static int told_used(int64_t seconds)
{
	struct quota_told t = silence;

	t.used_seconds = seconds;
	return told(t);
}

static int told_reset(int64_t at)
{
	struct quota_told t = silence;

	t.resets_at = at;
	return told(t);
}

static int64_t figure(const char *column)
{
	return ledger_figure(&ledger, "gpu", LEDGER_RESET, column);
}

/* Of a session: its limit, and its deadline in seconds after noon. */
static int64_t limit(int64_t session)
{
	return pool_int(&ledger.pool, "select limit_seconds from session where id = %lld", (long long)session);
}

static int64_t deadline(int64_t session)
{
	return pool_int(&ledger.pool, "select extract(epoch from deadline - timestamptz '" LEDGER_NOON "') from session where id = %lld", (long long)session);
}

static int64_t running(int64_t most, int64_t since)
{
	int64_t s;

	ledger_at(&ledger, since);
	s = ledger_started(&ledger, "gpu", most);
	ledger_runs(&ledger, s, since);
	return s;
}

/* ---- what is used --------------------------------------------------------- */

START_TEST(test_higher_figure_wins)
{
	int64_t s = running(2 * HOUR, 0);

	ledger_at(&ledger, HOUR);
	ck_assert_int_eq(told_used(HOUR + 500), 0);
	ck_assert_int_eq(figure("used_seconds"), HOUR + 500);
	ck_assert_int_eq(figure("reserved_seconds"), HOUR);
	ck_assert_int_eq(figure("told_used"), HOUR + 500);
	/* What is used from here on comes on top. */
	ledger_ends(&ledger, s, HOUR + 100);
	ledger_at(&ledger, 2 * HOUR);
	ledger_settle(&ledger);
	ck_assert_int_eq(figure("used_seconds"), HOUR + 600);
}
END_TEST

START_TEST(test_lower_figure_changes_nothing)
{
	running(2 * HOUR, 0);
	ledger_at(&ledger, HOUR);
	ck_assert_int_eq(told_used(10), 0);
	ck_assert_int_eq(figure("used_seconds"), HOUR);
	ck_assert_int_eq(figure("told_used"), 10);
	ck_assert_int_eq(told(silence), 0);
	ck_assert_int_eq(figure("used_seconds"), HOUR);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from quota where told_used is null and told_at is not null"), 1);
}
END_TEST

START_TEST(test_told_before_anything_ran)
{
	struct quota_told t[] = {
		{"gpu", 7200, 0, 45 * HOUR, RESET}, {"tpu", 0, 0, 20 * HOUR, RESET}, {"abacus", 1, 1, 1, RESET}, {"cpu", -1, -1, -1, -1}};
	int cut;

	ck_assert_int_eq(quota_tell(ledger.pool.role, ledger.account, t, 4, &cut, &ledger.e), OK);
	ck_assert_int_eq(cut, 0);
	ck_assert_int_eq(figure("used_seconds"), 7200);
	ck_assert_int_eq(figure("limit_seconds"), 45 * HOUR);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from quota"), 2);
}
END_TEST

/* What the person runs there by hand holds hours too: later grants leave them free. */
START_TEST(test_what_others_hold_is_left_free)
{
	struct quota_told t = silence;
	struct quota_grant g;
	int64_t s;

	running(SESSION, 0);
	t.used_seconds = 0;
	t.reserved_seconds = SESSION + 10 * HOUR;
	ck_assert_int_eq(told(t), 0);
	ck_assert_int_eq(figure("elsewhere_seconds"), 10 * HOUR);
	ck_assert_int_eq(ledger_start(&ledger, ledger.pool.role, "gpu", 0, &g, &s), OK);
	ck_assert_int_eq(g.seconds, LIMIT - MARGIN - SESSION - 10 * HOUR);
	t.reserved_seconds = 2 * SESSION;
	told(t);
	ck_assert_int_eq(figure("elsewhere_seconds"), 2 * SESSION - SESSION - g.seconds);
	t.reserved_seconds = 0;
	told(t);
	ck_assert_int_eq(figure("elsewhere_seconds"), 0);
}
END_TEST

/* ---- cuts ----------------------------------------------------------------- */

START_TEST(test_latest_is_cut_first)
{
	int64_t one = running(SESSION, 0), two = running(SESSION, HOUR);

	ledger_at(&ledger, 2 * HOUR);
	ck_assert_int_eq(deadline(two), HOUR + SESSION);
	/* 3 h are used by our count; what is beyond 30 h less the margin must go. */
	ck_assert_int_eq(told_used(3 * HOUR + 10 * HOUR), 1);
	ck_assert_int_eq(ledger_reserved(&ledger, one, "granted_seconds"), SESSION);
	ck_assert_int_eq(ledger_reserved(&ledger, two, "granted_seconds"), SESSION - (2 * HOUR + MARGIN));
	ck_assert_int_eq(limit(two), SESSION - (2 * HOUR + MARGIN));
	ck_assert_int_eq(deadline(two), HOUR + SESSION - (2 * HOUR + MARGIN));
	ck_assert_int_eq(deadline(one), SESSION);
	ck_assert_int_eq(figure("used_seconds + reserved_seconds + margin_seconds"), LIMIT);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from decision where kind = 'stop' and subject = (select 'worker ' || worker_id "
						"from session where id = %lld) and inputs ->> 'cutSeconds' = '%d' and reason like 'Its session ends 8100 seconds sooner: %%'",
				  (long long)two, 2 * HOUR + MARGIN), 1);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from event where what = 'changed'"), 1);
	/* Much more: both, and the later one has had its part. */
	ck_assert_int_eq(told_used(LIMIT - MARGIN - HOUR), 2);
	ck_assert_int_eq(deadline(two), 2 * HOUR);
	ck_assert_int_eq(limit(two), HOUR);
	ck_assert_int_eq(deadline(one), 3 * HOUR);
	/* All of it: both end now. */
	ck_assert_int_eq(told_used(LIMIT + HOUR), 1);
	ck_assert_int_eq(deadline(one), 2 * HOUR);
	ck_assert_int_eq(figure("reserved_seconds"), 0);
	ck_assert_int_eq(figure("used_seconds"), LIMIT + HOUR);
	ck_assert_int_eq(told_used(LIMIT + 2 * HOUR), 0);
}
END_TEST

/* One that has not registered gets its deadline when it does. */
START_TEST(test_cut_before_it_registers)
{
	int64_t s = ledger_started(&ledger, "gpu", 0);

	ck_assert_int_eq(told_used(LIMIT - MARGIN - HOUR), 1);
	ck_assert_int_eq(limit(s), HOUR);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from session where deadline is null"), 1);
	ck_assert_int_eq(told_used(LIMIT), 1);
	ck_assert_int_eq(limit(s), 1); /* 0 would be none */
	ck_assert_int_eq(deadline(s), 0);
	ck_assert_int_eq(ledger_reserved(&ledger, s, "granted_seconds"), 0);
	/* Its limit may have been lowered by its owner meanwhile: never raised here. */
	ledger_at(&ledger, 60);
	ledger_settle(&ledger);
	ck_assert_int_eq(limit(s), 1);
}
END_TEST

START_TEST(test_deadline_never_comes_later)
{
	int64_t s = running(SESSION, 0);

	pool_sql(&ledger.pool, "update session set limit_seconds = 600, deadline = timestamptz '" LEDGER_NOON "' + interval '600 s'");
	ck_assert_int_eq(told_used(LIMIT - MARGIN - HOUR), 1);
	ck_assert_int_eq(limit(s), 600);
	ck_assert_int_eq(deadline(s), 600);
}
END_TEST

/* Ended, not settled: nothing to cut, and it is charged. */
START_TEST(test_ended_session_is_settled_not_cut)
{
	int64_t s = running(SESSION, 0);

	ledger_ends(&ledger, s, HOUR);
	ledger_at(&ledger, 2 * HOUR);
	ck_assert_int_eq(told_used(LIMIT), 0);
	ck_assert_int_eq(ledger_reserved(&ledger, s, "used_seconds"), HOUR);
	ck_assert_int_eq(limit(s), SESSION);
}
END_TEST

/* What has ended and goes on is cut last: nobody can end it sooner, so those that live must. */
START_TEST(test_living_are_cut_before_what_has_ended)
{
	int64_t one = running(SESSION, 0), two = running(SESSION, HOUR);

	ledger_leaves(&ledger, two, 2 * HOUR);
	ledger_at(&ledger, 2 * HOUR);
	ck_assert_int_eq(told_used(LIMIT - MARGIN - SESSION), 1);
	ck_assert_int_eq(ledger_reserved(&ledger, two, "granted_seconds"), SESSION);
	ck_assert_int_eq(deadline(one), 3 * HOUR);
	ck_assert_int_eq(told_used(LIMIT), 1);
	ck_assert_int_eq(ledger_reserved(&ledger, two, "granted_seconds"), HOUR);
	ck_assert_int_eq(limit(two), SESSION);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from decision"), 2);
}
END_TEST

/* ---- limit and reset ------------------------------------------------------ */

START_TEST(test_lower_limit_cuts)
{
	struct quota_told t = silence;
	struct quota_grant g;
	int64_t s = running(SESSION, 0), other;

	t.limit_seconds = 5 * HOUR;
	ck_assert_int_eq(told(t), 1);
	ck_assert_int_eq(deadline(s), 5 * HOUR - MARGIN);
	/* Below the margin nothing is left, and that is no error. */
	t.limit_seconds = 600;
	ck_assert_int_eq(told(t), 1);
	ck_assert_int_eq(deadline(s), 0);
	ck_assert_int_eq(ledger_start(&ledger, ledger.pool.role, "gpu", 0, &g, &other), ERR_QUOTA);
	/* It is known in the next week too, when nothing is told. */
	t.limit_seconds = 5 * HOUR;
	told(t);
	ledger_ends(&ledger, s, 60);
	ledger_at(&ledger, LEDGER_RESET + 60);
	ck_assert_int_eq(ledger_start(&ledger, ledger.pool.role, "gpu", 0, &g, &other), OK);
	ck_assert_int_eq(g.seconds, 5 * HOUR - MARGIN);
}
END_TEST

START_TEST(test_carried_over_into_a_smaller_week)
{
	struct quota_told t = silence;
	int64_t s = running(SESSION, LEDGER_RESET - HOUR);

	pool_sql(&ledger.pool, "update provider_limit set week_seconds = %d where resource = 'gpu'", SESSION + MARGIN);
	ledger_at(&ledger, LEDGER_RESET + HOUR);
	t.used_seconds = 6 * HOUR; /* of the new week, by its count */
	t.resets_at = RESET + LEDGER_WEEK;
	ck_assert_int_eq(told(t), 1);
	ck_assert_int_eq(deadline(s), LEDGER_RESET + HOUR + 5 * HOUR);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", NEXT, "used_seconds"), 6 * HOUR);
}
END_TEST

START_TEST(test_told_reset_moves_the_row)
{
	int64_t s = running(SESSION, 0);

	ledger_at(&ledger, HOUR);
	ck_assert_int_eq(told_reset(NOON + 2 * HOUR), 0);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from quota"), 1);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", 2 * HOUR, "used_seconds"), HOUR);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", 2 * HOUR, "reserved_seconds"), SESSION - HOUR);
	/* The week after is a week after that, whatever the policy says. */
	ledger_ends(&ledger, s, 3 * HOUR);
	ledger_at(&ledger, 3 * HOUR);
	ledger_settle(&ledger);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", 2 * HOUR + LEDGER_WEEK, "used_seconds"), HOUR);
}
END_TEST

START_TEST(test_clocks_that_disagree_about_the_week)
{
	static const int64_t senseless[] = {NOON, NOON - 1, 0, NOON + 367 * 86400LL};
	struct quota_told t = silence;

	running(SESSION, 0);
	told_reset(RESET);
	ledger_at(&ledger, LEDGER_RESET - 60);
	/* There it is the next week already: not here. */
	t.used_seconds = 0;
	t.resets_at = RESET + LEDGER_WEEK;
	told(t);
	ck_assert_int_eq(figure("used_seconds"), SESSION);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from quota"), 1);
	/* There it is still the last one: its figure is none of ours. */
	ledger_at(&ledger, LEDGER_RESET + 60);
	t.used_seconds = 20 * HOUR;
	t.resets_at = RESET;
	told(t);
	ledger_settle(&ledger);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from quota where told_used = %d", 20 * HOUR), 0);
	for (size_t i = 0; i < sizeof(senseless) / sizeof(*senseless); i++)
		told_reset(senseless[i]);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from quota where resets_at not in ('2026-11-28 00:00Z', '2026-12-05 00:00Z')"), 0);
	/* Both agree: a fresh week. */
	t.used_seconds = 60;
	t.resets_at = RESET + LEDGER_WEEK;
	told(t);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", NEXT, "used_seconds"), 60);
}
END_TEST

/* A limit that no policy knew: what runs is held to it at once. */
START_TEST(test_limit_out_of_nothing)
{
	struct quota_told t = {"cpu", HOUR, -1, 4 * HOUR, RESET};
	int64_t s;

	pool_sql(&ledger.pool, "update provider_limit set session_seconds = null where resource = 'cpu'");
	s = ledger_started(&ledger, "cpu", 0);
	ledger_runs(&ledger, s, 0);
	ck_assert_int_eq(ledger_reserved(&ledger, s, "coalesce(granted_seconds, -1)"), -1);
	ledger_at(&ledger, HOUR);
	ck_assert_int_eq(told(t), 1);
	ck_assert_int_eq(deadline(s), HOUR + 3 * HOUR);
	ck_assert_int_eq(ledger_figure(&ledger, "cpu", LEDGER_RESET, "reserved_seconds"), 3 * HOUR);
}
END_TEST

/* ---- nonsense ------------------------------------------------------------- */

static const struct quota_told beyond_reason[] = {
	{"gpu", -2, 0, 0, -1}, {"gpu", 0, -5, 0, -1}, {"gpu", 0, 0, INT64_MIN, -1}, {"gpu", INT64_MAX, 0, 0, -1},
	{"gpu", 0, 367 * 86400, 0, -1}, {"gpu", 0, 0, INT32_MAX, -1}, {"gpu", 0, 0, 0, INT64_MAX}, {"gpu", 0, 0, 0, -7},
};

START_TEST(test_figures_beyond_reason)
{
	struct quota_told t[] = {{"tpu", 5, 5, 5, RESET}, beyond_reason[_i]};
	int cut;

	/* That resource is passed over; what is told of the other is taken. */
	ck_assert_int_eq(quota_tell(ledger.pool.role, ledger.account, t, 2, &cut, &ledger.e), OK);
	ck_assert_int_eq(cut, 0);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from quota where resource = 'gpu' and told_at is not null"), 0);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from quota where resource = 'tpu' and used_seconds = 5 and told_used = 5"), 1);
	/* The largest that is let through breaks nothing. */
	t[1] = (struct quota_told){"gpu", 366 * 86400, 366 * 86400, 366 * 86400, NOON + 366 * 86400};
	running(SESSION, 0);
	ck_assert_int_eq(quota_tell(ledger.pool.role, ledger.account, t, 2, &cut, &ledger.e), OK);
	ck_assert_int_eq(cut, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("quota told");
	TCase *t = tcase_create("told");

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, test_higher_figure_wins);
	tcase_add_test(t, test_lower_figure_changes_nothing);
	tcase_add_test(t, test_told_before_anything_ran);
	tcase_add_test(t, test_what_others_hold_is_left_free);
	tcase_add_test(t, test_latest_is_cut_first);
	tcase_add_test(t, test_cut_before_it_registers);
	tcase_add_test(t, test_deadline_never_comes_later);
	tcase_add_test(t, test_ended_session_is_settled_not_cut);
	tcase_add_test(t, test_living_are_cut_before_what_has_ended);
	tcase_add_test(t, test_lower_limit_cuts);
	tcase_add_test(t, test_carried_over_into_a_smaller_week);
	tcase_add_test(t, test_told_reset_moves_the_row);
	tcase_add_test(t, test_clocks_that_disagree_about_the_week);
	tcase_add_test(t, test_limit_out_of_nothing);
	tcase_add_loop_test(t, test_figures_beyond_reason, 0, sizeof(beyond_reason) / sizeof(*beyond_reason));
	suite_add_tcase(s, t);
	return unit_run(s);
}
