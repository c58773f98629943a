/* The ledger of hours: what is granted, what is charged, and to which week. */
#include <check.h>
#include <string.h>

#include "ledger.h"
#include "unit.h"

enum { HOUR = 3600, LIMIT = 30 * HOUR, MARGIN = 900, SESSION = 11 * HOUR };

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

static enum err ask(const char *accelerator, int64_t most, struct quota_grant *g)
{
	int64_t session;

	return ledger_start(&ledger, ledger.pool.role, accelerator, most, g, &session);
}

static int64_t figure(const char *column)
{
	return ledger_figure(&ledger, "gpu", LEDGER_RESET, column);
}

/* Seconds gone before anything here, as settled ones of ours would leave them. */
static void used(int64_t seconds)
{
	pool_sql(&ledger.pool, "select quota_week(%lld, 'gpu', quota_clock()); update quota set used_seconds = %lld",
		 (long long)ledger.account, (long long)seconds);
}

/* ---- what is granted ------------------------------------------------------ */

START_TEST(test_grants_the_least_of_what_limits)
{
	static const struct {
		int64_t asked, used, granted;
	} cases[] = {
		{0, 0, SESSION},                                   /* the provider's session less its margin */
		{2 * HOUR, 0, 2 * HOUR},                           /* what its owner allows */
		{SESSION + 1, 0, SESSION},
		{0, LIMIT - MARGIN - 3 * HOUR, 3 * HOUR},          /* what the week has left */
		{HOUR, LIMIT - MARGIN - HOUR, HOUR},
		{0, LIMIT - MARGIN - 900, 900},                    /* the shortest that is worth its start */
		{600, LIMIT - MARGIN - 600, 600},                  /* no shorter than was asked */
		{60, 0, 60},
	};
	const int i = _i;
	struct quota_grant g;

	used(cases[i].used);
	ck_assert_msg(ask("gpu", cases[i].asked, &g) == OK, "%s", ledger.e.msg);
	ck_assert(g.limited);
	ck_assert_str_eq(g.resource, "gpu");
	ck_assert_int_eq(g.slot, 1);
	ck_assert_int_eq(g.seconds, cases[i].granted);
	ck_assert_str_eq(g.resets_at, "2026-11-28T00:00:00.000Z");
	ck_assert_int_eq(figure("reserved_seconds"), cases[i].granted);
	ck_assert_int_eq(figure("used_seconds"), cases[i].used);
	ck_assert_int_eq(figure("limit_seconds"), LIMIT);
	ck_assert_int_eq(figure("margin_seconds"), MARGIN);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from session where resource = 'gpu' and limit_seconds = %lld", (long long)g.seconds), 1);
}
END_TEST

START_TEST(test_refuses_less_than_is_worth_a_start)
{
	struct quota_grant g;

	used(LIMIT - MARGIN - 899);
	ck_assert_int_eq(ask("gpu", 0, &g), ERR_QUOTA);
	ck_assert_str_eq(ledger.e.reason, "quota");
	ck_assert_str_eq(ledger.e.msg, "Of the 30.0 hours of gpu this week 0.2 are left; they come back at 2026-11-28 00:00 UTC.");
	ck_assert_int_eq(g.retry_seconds, 86400);
	ck_assert_int_eq(ask("gpu", 900, &g), ERR_QUOTA);
	ck_assert_int_eq(ask("gpu", 899, &g), OK);
	ck_assert_int_eq(g.seconds, 899);
	/* Those that run may end sooner than they must. */
	ck_assert_int_eq(ask("gpu", 0, &g), ERR_QUOTA);
	ck_assert_int_eq(g.retry_seconds, 300);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from session"), 1);
	/* Anew, once the week has turned. */
	ledger_at(&ledger, LEDGER_RESET - 10);
	ck_assert_int_eq(ask("gpu", 0, &g), ERR_QUOTA);
	ck_assert_int_eq(g.retry_seconds, 10);
}
END_TEST

START_TEST(test_sessions_at_once_are_counted)
{
	struct quota_grant g;
	int64_t one = ledger_started(&ledger, "gpu", HOUR), two = ledger_started(&ledger, "T4", HOUR);

	ck_assert_int_eq(ledger_reserved(&ledger, one, "slot"), 1);
	ck_assert_int_eq(ledger_reserved(&ledger, two, "slot"), 2);
	ck_assert_int_eq(ask("gpu", 0, &g), ERR_QUOTA);
	ck_assert_str_eq(ledger.e.reason, "capacity");
	ck_assert_str_eq(ledger.e.msg, "The account has 2 of 2 sessions of gpu at once; it starts when one has ended.");
	ck_assert_int_eq(g.retry_seconds, 60);
	/* Another resource has places of its own. */
	ck_assert_int_eq(ask("tpu", 0, &g), OK);
	ck_assert_int_eq(g.slot, 1);
	ck_assert_int_eq(g.seconds, 8 * HOUR);
	/* One that has ended gives back its place with the next start: nobody need have settled it. */
	ledger_ends(&ledger, one, 60);
	ledger_at(&ledger, 60);
	ck_assert_int_eq(ask("gpu", 0, &g), OK);
	ck_assert_int_eq(g.slot, 1);
	ck_assert_int_eq(ledger_reserved(&ledger, one, "used_seconds"), 0);
}
END_TEST

START_TEST(test_no_limit_by_the_week)
{
	struct quota_grant g;

	for (int slot = 1; slot <= 5; slot++) {
		ck_assert_int_eq(ask("CPU", 0, &g), OK);
		ck_assert_int_eq(g.slot, slot);
		ck_assert_int_eq(g.seconds, 8 * HOUR);
		ck_assert_ptr_null(g.resets_at);
	}
	ck_assert_int_eq(ask("cpu", 0, &g), ERR_QUOTA);
	ck_assert_str_eq(ledger.e.reason, "capacity");
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from quota"), 0);
}
END_TEST

START_TEST(test_what_has_no_limits_needs_no_reservation)
{
	struct quota_grant g;

	ledger.account = 2; /* manual */
	ck_assert_int_eq(ask("whatever", 1234, &g), OK);
	ck_assert(!g.limited && !g.resource);
	ck_assert_int_eq(g.seconds, 1234);
	ck_assert_int_eq(ask("gpu", 0, &g), OK);
	ck_assert_int_eq(g.seconds, 0);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from reservation"), 0);
	ledger.account = 3;
	pool_sql(&ledger.pool, "delete from provider_limit where resource = 'gpu'");
	ck_assert_int_eq(ask("T4", 0, &g), OK);
	ck_assert(!g.limited);
	ck_assert_str_eq(g.resource, "gpu");
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from reservation"), 0);
}
END_TEST

START_TEST(test_accelerators_by_name)
{
	struct quota_grant g;

	ck_assert_int_eq(ask("nvidiateslaT4", 0, &g), OK);
	ck_assert_str_eq(g.resource, "gpu");
	ck_assert_int_eq(ask("H200", 0, &g), ERR_INVALID);
	ck_assert_str_eq(ledger.e.field, "accelerator");
	ck_assert_int_eq(ask("nvidiateslap100", 0, &g), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(ledger.e.msg, "retired it in September 2026"));
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from reservation"), 1);
}
END_TEST

START_TEST(test_no_account)
{
	struct quota_ask a = {.account = 77, .accelerator = "gpu"};
	struct quota_grant g;

	ck_assert_int_eq(quota_reserve(ledger.pool.role, &ledger.arena, &a, &g, &ledger.e), ERR_NOT_FOUND);
}
END_TEST

/* What an administrator changes counts with the next start, and for what runs. */
START_TEST(test_changed_policy)
{
	struct quota_grant g;
	int64_t s = ledger_started(&ledger, "gpu", 0);

	ledger_runs(&ledger, s, 0);
	pool_sql(&ledger.pool, "update provider_limit set week_seconds = 72000, week_margin_seconds = 1800 where resource = 'gpu'");
	ck_assert_int_eq(ask("gpu", 0, &g), OK);
	ck_assert_int_eq(g.seconds, 72000 - 1800 - SESSION);
	ck_assert_int_eq(figure("limit_seconds"), 72000);
	pool_sql(&ledger.pool, "update provider_limit set week_seconds = 18000 where resource = 'gpu'");
	ledger_settle(&ledger);
	ck_assert_int_eq(ledger_reserved(&ledger, s, "granted_seconds"), 18000 - 1800);
	ck_assert_int_eq(figure("reserved_seconds"), 18000 - 1800);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from provider_limit where week_margin_seconds > week_seconds"), 0);
}
END_TEST

/* A limit by the week where there was none: what runs is held to it, and cut where it must be. */
START_TEST(test_weekly_limit_out_of_a_policy)
{
	int64_t one = ledger_started(&ledger, "cpu", 0), two = ledger_started(&ledger, "cpu", 0);
	struct quota_grant g;
	int n;

	ledger_runs(&ledger, one, 0);
	ledger_runs(&ledger, two, 0);
	ledger_at(&ledger, HOUR);
	pool_sql(&ledger.pool, "update provider_limit set week_seconds = 36000, week_margin_seconds = 900 where resource = 'cpu'");
	/* Housekeeping sees it, once. */
	ck_assert_int_eq(quota_settle_due(ledger.pool.role, 10, &n, &ledger.e), OK);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(quota_settle_due(ledger.pool.role, 10, &n, &ledger.e), OK);
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(ledger_figure(&ledger, "cpu", LEDGER_RESET, "used_seconds"), 2 * HOUR);
	ck_assert_int_eq(ledger_figure(&ledger, "cpu", LEDGER_RESET, "reserved_seconds"), 36000 - 900 - 2 * HOUR);
	/* The latest was cut: 8 h and 8 h are not there. */
	ck_assert_int_eq(ledger_reserved(&ledger, one, "granted_seconds"), 8 * HOUR);
	ck_assert_int_eq(ledger_reserved(&ledger, two, "granted_seconds"), 36000 - 900 - 8 * HOUR);
	ck_assert_int_eq(pool_int(&ledger.pool, "select extract(epoch from deadline - timestamptz '" LEDGER_NOON "') from session where id = %lld", (long long)two),
			 36000 - 900 - 8 * HOUR);
	ck_assert_int_eq(ask("cpu", 0, &g), ERR_QUOTA);
	ck_assert_str_eq(ledger.e.reason, "quota");
	/* Another limit is seen as well. */
	pool_sql(&ledger.pool, "update provider_limit set week_seconds = 32000 where resource = 'cpu'");
	ck_assert_int_eq(quota_settle_due(ledger.pool.role, 10, &n, &ledger.e), OK);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(ledger_reserved(&ledger, two, "granted_seconds"), HOUR); /* used already */
	ck_assert_int_eq(ledger_reserved(&ledger, one, "granted_seconds"), 32000 - 900 - HOUR);
}
END_TEST

/* What has neither an end nor a week is held to a week, too. */
START_TEST(test_weekly_limit_of_what_had_no_limit)
{
	int64_t s;

	pool_sql(&ledger.pool, "update provider_limit set session_seconds = null where resource = 'cpu'");
	s = ledger_started(&ledger, "cpu", 0);
	ledger_runs(&ledger, s, 0);
	pool_sql(&ledger.pool, "update provider_limit set week_seconds = 36000, week_margin_seconds = 900 where resource = 'cpu'");
	ledger_at(&ledger, HOUR);
	ledger_settle(&ledger);
	ck_assert_int_eq(ledger_reserved(&ledger, s, "granted_seconds"), 36000 - 900);
	ck_assert_int_eq(ledger_figure(&ledger, "cpu", LEDGER_RESET, "used_seconds"), HOUR);
}
END_TEST

static const char *const nonsense[] = {
	"update provider_limit set week_margin_seconds = week_seconds + 1 where resource = 'gpu'",
	"update provider_limit set session_margin_seconds = session_seconds where resource = 'gpu'",
	"update provider_limit set week_seconds = -1 where resource = 'gpu'",
	"update provider_limit set week_margin_seconds = -1",
	"update provider_limit set min_session_seconds = 0",
	"update provider_limit set concurrent = 0",
	"update provider_limit set week_seconds = 3000000000 where resource = 'gpu'",
};

START_TEST(test_senseless_policy_is_refused)
{
	ck_assert_int_ne(db_exec_text(ledger.pool.owner, nonsense[_i], NULL, &ledger.e), OK);
	ck_assert_msg(!strcmp(ledger.e.field, "23514") || !strcmp(ledger.e.field, "22003"), "%s: %s", nonsense[_i], ledger.e.field);
}
END_TEST

/* ---- what is charged ------------------------------------------------------ */

START_TEST(test_charged_from_launch_to_end)
{
	int64_t s = ledger_started(&ledger, "gpu", 0);

	ledger_runs(&ledger, s, 100);
	ledger_at(&ledger, 100 + HOUR);
	ck_assert_int_eq(ledger_settle(&ledger), 0);
	ck_assert_int_eq(figure("used_seconds"), HOUR);
	ck_assert_int_eq(figure("reserved_seconds"), SESSION - HOUR);
	ledger_ends(&ledger, s, 100 + 2 * HOUR);
	ledger_at(&ledger, 9 * HOUR); /* learnt late: it counts until its end all the same */
	ck_assert_int_eq(ledger_settle(&ledger), 1);
	ck_assert_int_eq(figure("used_seconds"), 2 * HOUR);
	ck_assert_int_eq(figure("reserved_seconds"), 0);
	ck_assert_int_eq(ledger_reserved(&ledger, s, "used_seconds"), 2 * HOUR);
	ck_assert_int_eq(ledger_settle(&ledger), 0);
	ck_assert_int_eq(figure("used_seconds"), 2 * HOUR);
}
END_TEST

START_TEST(test_waiting_for_a_machine_is_free)
{
	int64_t s = ledger_started(&ledger, "gpu", 0);

	pool_sql(&ledger.pool, "update session set launched_at = '" LEDGER_NOON "', provider_ref = '{}', "
			       "queued_at = timestamptz '" LEDGER_NOON "' + interval '3 hours'");
	ledger_ends(&ledger, s, 3 * HOUR + 60);
	ledger_at(&ledger, 4 * HOUR);
	ledger_settle(&ledger);
	ck_assert_int_eq(figure("used_seconds"), 60);
}
END_TEST

START_TEST(test_what_never_ran_is_free)
{
	int64_t sent = ledger_started(&ledger, "gpu", 0), unsent = ledger_started(&ledger, "gpu", 0);

	pool_sql(&ledger.pool, "update session set launched_at = '" LEDGER_NOON "' where id = %lld", (long long)sent);
	ledger_at(&ledger, HOUR);
	ledger_settle(&ledger);
	ck_assert_int_eq(figure("used_seconds"), 0);
	ledger_ends(&ledger, sent, 2 * HOUR);
	ledger_ends(&ledger, unsent, 2 * HOUR);
	ledger_at(&ledger, 2 * HOUR);
	ck_assert_int_eq(ledger_settle(&ledger), 2);
	ck_assert_int_eq(figure("used_seconds"), 0);
	ck_assert_int_eq(figure("reserved_seconds"), 0);
}
END_TEST

START_TEST(test_never_more_than_was_granted)
{
	int64_t s = ledger_started(&ledger, "gpu", HOUR);

	ledger_runs(&ledger, s, 0);
	ledger_ends(&ledger, s, 5 * HOUR);
	ledger_at(&ledger, 5 * HOUR);
	ledger_settle(&ledger);
	ck_assert_int_eq(figure("used_seconds"), HOUR);
}
END_TEST

/* The agent's deadline lies within what was granted, by the ledger's count.  _i: its provider was seen to keep it
 * waiting; it was not. */
START_TEST(test_deadline_counts_as_the_ledger_does)
{
	cleanup_rows struct rows rows = {0};
	int64_t s = ledger_started(&ledger, "gpu", 2 * HOUR);
	struct db *events = pool_connect(&ledger.pool, "events");
	const char *hash = "0707070707070707070707070707070707070707070707070707070707070707";
	char text[256];

	pool_sql(&ledger.pool, "update session set enrol_hash = '\\x%s', enrol_until = now() + interval '1 hour', %s = now() - interval '1 hour'", hash,
		 _i ? "launched_at" : "launched_at = now() - interval '3 hours', queued_at");
	snprintf(text, sizeof(text), "[{\"i\":0,\"hash\":\"%s\",\"token\":\"%s\",\"instance\":\"a\",\"protocol\":1,\"got\":[\"T4\"],\"memory\":1,\"slots\":2}]",
		 hash, hash);
	ck_assert_msg(db_run(events, STMT_AGENT_REGISTER, ARGS(arg_cstr(text)), &rows, &ledger.e) == OK, "%s", ledger.e.msg);
	ck_assert_str_eq(row_cstr(&rows, 0, "verdict"), "ok");
	ck_assert_double_eq_tol(row_double(&rows, 0, "seconds_left"), HOUR, 30);
	ck_assert_int_eq(pool_int(&ledger.pool, "select extract(epoch from deadline - greatest(queued_at, launched_at)) from session where id = %lld", (long long)s), 2 * HOUR);
	db_close(events);
}
END_TEST

/* A clock that was put back takes nothing back. */
START_TEST(test_clock_goes_back)
{
	int64_t s = ledger_started(&ledger, "gpu", 0);
	struct quota_grant g;

	ledger_runs(&ledger, s, 0);
	ledger_at(&ledger, 2 * HOUR);
	ledger_settle(&ledger);
	ledger_at(&ledger, -2 * HOUR);
	ledger_settle(&ledger);
	ck_assert_int_eq(figure("used_seconds"), 2 * HOUR);
	ck_assert_int_eq(ask("gpu", 0, &g), OK);
	ledger_ends(&ledger, s, -HOUR); /* ended before it began */
	ledger_settle(&ledger);
	ck_assert_int_eq(figure("used_seconds"), 2 * HOUR);
}
END_TEST

/* ---- a run outlives its session -------------------------------------------- */

static int64_t now_figure(const char *column)
{
	return pool_int(&ledger.pool, "select %s from quota_now where account_id = %lld and resource = 'gpu'", column, (long long)ledger.account);
}

/* Its agent has said goodbye, or is silent: hours and place come back when its provider says that the run is over. */
START_TEST(test_charged_until_its_run_is_over)
{
	int64_t s = ledger_started(&ledger, "gpu", 0);
	struct quota_grant g;
	int n;

	ledger_started(&ledger, "gpu", HOUR);
	ledger_runs(&ledger, s, 0);
	ledger_leaves(&ledger, s, HOUR);
	ledger_at(&ledger, 2 * HOUR);
	ck_assert_int_eq(quota_settle_due(ledger.pool.role, 10, &n, &ledger.e), OK);
	ck_assert_int_eq(n, 0);
	ck_assert_int_eq(now_figure("live"), 2);
	ck_assert_int_eq(now_figure("used_seconds"), 2 * HOUR);
	ck_assert_int_eq(now_figure("reserved_seconds"), SESSION - 2 * HOUR + HOUR);
	ck_assert_int_eq(ledger_settle(&ledger), 0);
	ck_assert_int_eq(figure("used_seconds"), 2 * HOUR);
	ck_assert_int_eq(ask("gpu", 0, &g), ERR_QUOTA);
	ck_assert_str_eq(ledger.e.reason, "capacity");
	ledger_over(&ledger, s, 3 * HOUR);
	ledger_at(&ledger, 4 * HOUR);
	ck_assert_int_eq(now_figure("live"), 1);
	ck_assert_int_eq(now_figure("used_seconds"), 3 * HOUR);
	ck_assert_int_eq(now_figure("reserved_seconds"), HOUR);
	ck_assert_int_eq(quota_settle_due(ledger.pool.role, 10, &n, &ledger.e), OK);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(ledger_reserved(&ledger, s, "used_seconds"), 3 * HOUR);
	ck_assert_int_eq(ask("gpu", 0, &g), OK);
}
END_TEST

/* Its reference never came, and nobody could tell whether it was begun: its place comes back once it cannot last. */
START_TEST(test_unknown_run_holds_no_place_for_ever)
{
	int64_t s = ledger_started(&ledger, "gpu", 2 * HOUR), found = ledger_started(&ledger, "gpu", HOUR);

	pool_sql(&ledger.pool, "update session set launched_at = '" LEDGER_NOON "'");
	ledger_leaves(&ledger, s, HOUR);
	ledger_leaves(&ledger, found, HOUR);
	ledger_over(&ledger, found, HOUR); /* asked: it was never begun */
	ledger_at(&ledger, HOUR + 2 * HOUR + 899);
	ck_assert_int_eq(ledger_settle(&ledger), 1);
	ck_assert_int_eq(ledger_reserved(&ledger, found, "used_seconds"), 0);
	ck_assert_int_eq(figure("used_seconds"), 0);
	ck_assert_int_eq(figure("reserved_seconds"), 2 * HOUR);
	ledger_at(&ledger, HOUR + 2 * HOUR + 900);
	ck_assert_int_eq(now_figure("live"), 0);
	ck_assert_int_eq(ledger_settle(&ledger), 1);
	/* It may have run all the time. */
	ck_assert_int_eq(figure("used_seconds"), 2 * HOUR);
	ck_assert_int_eq(figure("reserved_seconds"), 0);
	ck_assert_int_eq(ledger_settle(&ledger), 0);
}
END_TEST

START_TEST(test_without_a_week_its_seconds_are_told)
{
	int64_t s = ledger_started(&ledger, "cpu", 0);

	ledger_runs(&ledger, s, 0);
	ledger_ends(&ledger, s, HOUR);
	ledger_at(&ledger, LEDGER_RESET);
	ledger_settle(&ledger);
	ck_assert_int_eq(ledger_reserved(&ledger, s, "used_seconds"), HOUR);
}
END_TEST

START_TEST(test_housekeeping_finds_what_is_due)
{
	int64_t s = ledger_started(&ledger, "gpu", HOUR), cpu = ledger_started(&ledger, "cpu", HOUR);
	int n;

	ledger_runs(&ledger, s, 0);
	ck_assert_int_eq(quota_settle_due(ledger.pool.role, 10, &n, &ledger.e), OK);
	ck_assert_int_eq(n, 0);
	ledger_ends(&ledger, cpu, 5);
	ck_assert_int_eq(quota_settle_due(ledger.pool.role, 10, &n, &ledger.e), OK);
	ck_assert_int_eq(n, 1);
	ledger_at(&ledger, LEDGER_RESET + 1);
	ck_assert_int_eq(quota_settle_due(ledger.pool.role, 10, &n, &ledger.e), OK);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(quota_settle_due(ledger.pool.role, 10, &n, &ledger.e), OK);
	ck_assert_int_eq(n, 0);
}
END_TEST

/* ---- the week's turn ------------------------------------------------------ */

enum { BEFORE = LEDGER_RESET - 2 * HOUR, NEXT = LEDGER_RESET + LEDGER_WEEK };

static int64_t over_the_turn(void)
{
	int64_t s;

	ledger_at(&ledger, BEFORE);
	s = ledger_started(&ledger, "gpu", 0);
	ledger_runs(&ledger, s, BEFORE);
	return s;
}

START_TEST(test_each_week_is_charged_its_part)
{
	int64_t s = over_the_turn();

	/* It counts whole in the week in which it starts … */
	ck_assert_int_eq(figure("reserved_seconds"), SESSION);
	ledger_ends(&ledger, s, LEDGER_RESET + 3 * HOUR);
	ledger_at(&ledger, LEDGER_RESET + 5 * HOUR);
	ck_assert_int_eq(ledger_settle(&ledger), 1);
	ck_assert_int_eq(figure("used_seconds"), 2 * HOUR);
	ck_assert_int_eq(figure("reserved_seconds"), 0);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", NEXT, "used_seconds"), 3 * HOUR);
	ck_assert_int_eq(ledger_reserved(&ledger, s, "used_seconds"), 5 * HOUR);
}
END_TEST

START_TEST(test_what_runs_over_holds_hours_of_the_next_week)
{
	int64_t s = over_the_turn();
	struct quota_grant g;

	/* … and with what is left of it in the next, once that has come. */
	ledger_at(&ledger, LEDGER_RESET);
	ck_assert_int_eq(ask("gpu", 0, &g), OK);
	ck_assert_str_eq(g.resets_at, "2026-12-05T00:00:00.000Z");
	ck_assert_int_eq(figure("used_seconds"), 2 * HOUR);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", NEXT, "reserved_seconds"), SESSION - 2 * HOUR + SESSION);
	ledger_at(&ledger, LEDGER_RESET + HOUR);
	ledger_settle(&ledger);
	ck_assert_int_eq(figure("used_seconds"), 2 * HOUR);
	ck_assert_int_eq(figure("reserved_seconds"), 0);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", NEXT, "used_seconds"), HOUR);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", NEXT, "reserved_seconds"), SESSION - 3 * HOUR + SESSION);
	ck_assert_int_eq(ledger_reserved(&ledger, s, "extract(epoch from resets_at - timestamptz '" LEDGER_NOON "')"), NEXT);
}
END_TEST

START_TEST(test_nobody_looked_for_weeks)
{
	int64_t s;

	pool_sql(&ledger.pool, "update provider_limit set session_seconds = null, week_seconds = 604800 where resource = 'gpu'");
	ledger_at(&ledger, BEFORE);
	s = ledger_started(&ledger, "gpu", 600000);
	ledger_runs(&ledger, s, BEFORE);
	pool_sql(&ledger.pool, "update reservation set granted_seconds = 3 * 604800 where session_id = %lld;"
			       "update quota set limit_seconds = 4 * 604800, reserved_seconds = 3 * 604800, told_limit = 4 * 604800", (long long)s);
	ledger_ends(&ledger, s, NEXT + LEDGER_WEEK + 60);
	ledger_at(&ledger, NEXT + 5 * LEDGER_WEEK);
	ck_assert_int_eq(ledger_settle(&ledger), 1);
	ck_assert_int_eq(figure("used_seconds"), 2 * HOUR);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", NEXT, "used_seconds"), LEDGER_WEEK);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", NEXT + LEDGER_WEEK, "used_seconds"), LEDGER_WEEK);
	ck_assert_int_eq(ledger_figure(&ledger, "gpu", NEXT + 2 * LEDGER_WEEK, "used_seconds"), 60);
}
END_TEST

START_TEST(test_the_day_of_the_reset)
{
	/* Of each day of the week, the first midnight after noon, after midnight, and just before it. */
	ck_assert_int_eq(pool_int(&ledger.pool,
		"select count(*) from generate_series(0, 6) d, unnest(array['2026-11-24 12:00Z', '2026-11-29 00:00Z', '2026-11-28 23:59:59.9Z']::timestamptz[]) t, "
		"quota_next_reset(d, t) r where r > t and r <= t + interval '7 days' and extract(dow from r at time zone 'utc') = d "
		"and r at time zone 'utc' = date_trunc('day', r at time zone 'utc')"), 21);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("quota");
	TCase *t = tcase_create("quota");

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_loop_test(t, test_grants_the_least_of_what_limits, 0, 8);
	tcase_add_test(t, test_refuses_less_than_is_worth_a_start);
	tcase_add_test(t, test_sessions_at_once_are_counted);
	tcase_add_test(t, test_no_limit_by_the_week);
	tcase_add_test(t, test_what_has_no_limits_needs_no_reservation);
	tcase_add_test(t, test_accelerators_by_name);
	tcase_add_test(t, test_no_account);
	tcase_add_test(t, test_changed_policy);
	tcase_add_test(t, test_weekly_limit_out_of_a_policy);
	tcase_add_test(t, test_weekly_limit_of_what_had_no_limit);
	tcase_add_loop_test(t, test_senseless_policy_is_refused, 0, sizeof(nonsense) / sizeof(*nonsense));
	tcase_add_test(t, test_charged_from_launch_to_end);
	tcase_add_test(t, test_waiting_for_a_machine_is_free);
	tcase_add_test(t, test_what_never_ran_is_free);
	tcase_add_test(t, test_never_more_than_was_granted);
	tcase_add_loop_test(t, test_deadline_counts_as_the_ledger_does, 0, 2);
	tcase_add_test(t, test_clock_goes_back);
	tcase_add_test(t, test_charged_until_its_run_is_over);
	tcase_add_test(t, test_unknown_run_holds_no_place_for_ever);
	tcase_add_test(t, test_without_a_week_its_seconds_are_told);
	tcase_add_test(t, test_housekeeping_finds_what_is_due);
	tcase_add_test(t, test_each_week_is_charged_its_part);
	tcase_add_test(t, test_what_runs_over_holds_hours_of_the_next_week);
	tcase_add_test(t, test_nobody_looked_for_weeks);
	tcase_add_test(t, test_the_day_of_the_reset);
	suite_add_tcase(s, t);
	return unit_run(s);
}
