/* What an account may cost a month: no start passes it, and lowered it cuts what runs. */
#include <check.h>
#include <pthread.h>
#include <string.h>

#include "ledger.h"
#include "unit.h"

enum { HOUR = 3600, THREADS = 8 };

static struct pg *pg;
static struct ledger ledger;

static int64_t use(const char *column)
{
	return pool_int(&ledger.pool, "select coalesce(sum(%s), 0)::bigint from budget_use", column);
}

/* After each test: the aggregate is what the reservations say, and is within its caps. */
static void tear_down(void)
{
	ck_assert_int_eq(use("reserved_seconds"), pool_int(&ledger.pool, "select coalesce(sum(granted_seconds), 0)::bigint from reservation where settled_at is null"));
	ck_assert_int_eq(use("used_seconds"), pool_int(&ledger.pool, "select coalesce(sum(used_seconds), 0)::bigint from reservation"));
	ck_assert_int_eq(use("reserved_micros"), pool_int(&ledger.pool, "select coalesce(sum(ceil(price_micros::numeric * granted_seconds / 3600)), 0)::bigint "
									"from reservation where settled_at is null"));
	ck_assert_str_eq(ledger_broken(&ledger), "");
	ledger_drop(&ledger);
}

static void set_up(void)
{
	ledger_make(&ledger, pg);
}

static void cap(const char *seconds, const char *micros)
{
	pool_sql(&ledger.pool, "insert into budget(account_id, month_seconds, month_micros) values (%lld, %s, %s) on conflict (account_id) do update set "
			       "month_seconds = excluded.month_seconds, month_micros = excluded.month_micros, updated_at = clock_timestamp()", (long long)ledger.account, seconds, micros);
}

static void price(const char *accelerator, int64_t micros)
{
	pool_sql(&ledger.pool, "insert into price(account_id, accelerator, micros_per_hour) values (%lld, '%s', %lld)", (long long)ledger.account, accelerator,
		 (long long)micros);
}

static enum err ask(int64_t most, struct quota_grant *g)
{
	int64_t session;

	return ledger_start(&ledger, ledger.pool.role, "cpu", most, g, &session);
}

static int fit(void)
{
	bool changed;
	int cut = -1;

	ck_assert_int_eq(quota_budget(ledger.pool.role, ledger.account, &cut, &changed, &ledger.e), OK);
	return cut;
}

START_TEST(test_no_start_passes_the_hours)
{
	struct quota_grant g;

	cap("10800", "null");
	ck_assert_int_eq(ask(2 * HOUR, &g), OK);
	ck_assert_int_eq(g.seconds, 2 * HOUR);
	ck_assert_int_eq(ask(2 * HOUR, &g), OK);
	ck_assert_int_eq(g.seconds, HOUR);
	ck_assert_int_eq(ask(2 * HOUR, &g), ERR_QUOTA);
	ck_assert_str_eq(ledger.e.reason, "budget");
	ck_assert_ptr_nonnull(strstr(ledger.e.msg, "3.0 hours a month"));
	ck_assert_ptr_nonnull(strstr(ledger.e.msg, "2026-12-01"));
	ck_assert_int_eq(use("reserved_seconds"), 3 * HOUR);
}
END_TEST

START_TEST(test_what_was_not_used_comes_back)
{
	struct quota_grant g;
	int64_t session;

	cap("7200", "null");
	session = ledger_started(&ledger, "cpu", 0);
	ledger_runs(&ledger, session, 0);
	ledger_at(&ledger, 600);
	ledger_ends(&ledger, session, 600);
	ledger_settle(&ledger);
	ck_assert_int_eq(use("used_seconds"), 600);
	ck_assert_int_eq(ask(0, &g), OK);
	ck_assert_int_eq(g.seconds, 6600);
}
END_TEST

START_TEST(test_money)
{
	struct quota_grant g;

	cap("null", "5000000");
	ck_assert_int_eq(ask(2 * HOUR, &g), ERR_QUOTA);
	ck_assert_ptr_nonnull(strstr(ledger.e.msg, "add its price"));
	price("cpu", 2000000);
	ck_assert_int_eq(ask(2 * HOUR, &g), OK);
	ck_assert_int_eq(use("reserved_micros"), 4000000);
	ck_assert_int_eq(ask(2 * HOUR, &g), OK);
	ck_assert_int_eq(g.seconds, HOUR / 2);
	ck_assert_int_eq(use("reserved_micros"), 5000000);
	ck_assert_int_eq(ask(900, &g), ERR_QUOTA);
	ck_assert_ptr_nonnull(strstr(ledger.e.msg, "5.00 USD"));
}
END_TEST

START_TEST(test_what_costs_nothing_is_not_held_up)
{
	struct quota_grant g;

	cap("null", "0");
	price("cpu", 0);
	ck_assert_int_eq(ask(2 * HOUR, &g), OK);
}
END_TEST

START_TEST(test_a_month_begins_anew)
{
	struct quota_grant g;

	cap("3600", "null");
	ck_assert_int_eq(ask(0, &g), OK);
	ck_assert_int_eq(ask(0, &g), ERR_QUOTA);
	ledger_at(&ledger, 7 * 86400); /* the first of December */
	ck_assert_int_eq(ask(0, &g), OK);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from budget_use"), 2);
}
END_TEST

START_TEST(test_lowered_it_cuts_the_latest_first)
{
	int64_t first = ledger_started(&ledger, "cpu", 2 * HOUR), second = ledger_started(&ledger, "cpu", 2 * HOUR);

	ledger_runs(&ledger, first, 0);
	ledger_runs(&ledger, second, 0);
	ledger_at(&ledger, 600);
	cap("9000", "null");
	ck_assert_int_eq(fit(), 1);
	ck_assert_int_eq(ledger_reserved(&ledger, first, "granted_seconds"), 2 * HOUR);
	ck_assert_int_eq(ledger_reserved(&ledger, second, "granted_seconds"), 1800);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from session where id = %lld and limit_seconds = 1800 and deadline <= quota_clock() + interval '1200 s'",
				  (long long)second), 1);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from decision where reason like '%%budget%%'"), 1);
	ck_assert_int_eq(fit(), 0);
	/* Below what has passed of both: that stands, and nothing starts. */
	cap("0", "null");
	ck_assert_int_eq(fit(), 2);
	ck_assert_int_eq(use("reserved_seconds"), 1200);
	ck_assert_int_eq(use("cap_seconds"), 1200);
	ck_assert_int_eq(ask(0, &(struct quota_grant){0}), ERR_QUOTA);
	/* Without a cap all may start again. */
	cap("null", "null");
	fit();
	ck_assert_int_eq(ask(0, &(struct quota_grant){0}), OK);
}
END_TEST

/* ---- many at once ---------------------------------------------------------- */

struct hand {
	struct ledger ledger; /* its own arena and error, the account of all */
	struct db *db;
	pthread_t thread;
	int64_t worker, session;
	bool asks;
	int slot;
	enum err err;
};

/* Whatever the code above it believes, the table refuses. */
static enum err take(struct db *db, void *ctx)
{
	struct hand *h = ctx;
	struct quota_grant g = {.limited = true, .account = h->ledger.account, .resource = "cpu", .slot = h->slot, .seconds = HOUR};

	h->session = ledger_session(db, h->ledger.account, h->worker, HOUR);
	return quota_attach(db, &g, h->session, &h->ledger.e);
}

static void *one_start(void *ctx)
{
	struct hand *h = ctx;

	h->err = h->asks ? ledger_start_of(&h->ledger, h->db, h->worker, "cpu", HOUR, NULL, &h->session) : tx_run(h->db, take, h, &h->ledger.e);
	return NULL;
}

START_TEST(test_starts_at_once)
{
	static struct hand hands[THREADS];
	int started = 0;

	pool_sql(&ledger.pool, "update provider_limit set concurrent = null where resource = 'cpu'");
	cap("10800", "null");
	for (int i = 0; i < THREADS; i++) {
		hands[i] = (struct hand){.ledger = {.account = ledger.account}, .asks = _i, .slot = i + 1};
		arena_init(&hands[i].ledger.arena, 1 << 16);
		hands[i].worker = ledger_worker(&ledger, "cpu");
		hands[i].db = pool_connect(&ledger.pool, "provisioner");
	}
	for (int i = 0; i < THREADS; i++)
		ck_assert(!pthread_create(&hands[i].thread, NULL, one_start, &hands[i]));
	for (int i = 0; i < THREADS; i++) {
		pthread_join(hands[i].thread, NULL);
		started += hands[i].err == OK;
		ck_assert_msg(!hands[i].err || (hands[i].err == ERR_QUOTA && !strcmp(hands[i].ledger.e.reason, "budget")), "%s", hands[i].ledger.e.msg);
		db_close(hands[i].db);
		arena_free(&hands[i].ledger.arena);
	}
	ck_assert_int_eq(started, 3);
	ck_assert_int_eq(use("reserved_seconds"), 3 * HOUR);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("budget");
	TCase *t = tcase_create("budget");

	pg = pg_start();
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_no_start_passes_the_hours);
	tcase_add_test(t, test_what_was_not_used_comes_back);
	tcase_add_test(t, test_money);
	tcase_add_test(t, test_what_costs_nothing_is_not_held_up);
	tcase_add_test(t, test_a_month_begins_anew);
	tcase_add_test(t, test_lowered_it_cuts_the_latest_first);
	tcase_add_loop_test(t, test_starts_at_once, 0, 2);
	suite_add_tcase(s, t);
	return unit_run(s);
}
