/* Accounts whose provider refuses: how long nobody asks it, and what is learnt of that. */
#include <check.h>
#include <string.h>

#include "domain/cooldown.h"
#include "ledger.h"
#include "unit.h"

enum { MINUTE = 60, HOUR = 3600 };

static struct pg *pg;
static struct ledger ledger;

/* A GPU without a week's limit, as at a provider that publishes none. */
static void set_up(void)
{
	ledger_make(&ledger, pg);
	pool_sql(&ledger.pool, "update provider_limit set week_seconds = null, concurrent = 9 where resource = 'gpu'");
}

static void tear_down(void)
{
	ck_assert_str_eq(ledger_broken(&ledger), "");
	ledger_drop(&ledger);
}

/* Seconds until it is asked again. */
static double refused(const char *code)
{
	double seconds;

	ck_assert_int_eq(cooldown_refused(ledger.pool.role, ledger.account, "gpu", code, "It has no room.", &seconds, &ledger.e), OK);
	return seconds;
}

static void begun(void)
{
	ck_assert_int_eq(cooldown_begun(ledger.pool.role, ledger.account, "gpu", &ledger.e), OK);
}

static int64_t learned(void)
{
	return pool_int(&ledger.pool, "select coalesce(learned_seconds, -1) from account_cooldown");
}

static enum err ask(struct quota_grant *g)
{
	int64_t session;

	return ledger_start(&ledger, ledger.pool.role, "gpu", 0, g, &session);
}

START_TEST(test_pauses_double_up_to_a_bound)
{
	static const int pauses[] = {60, 120, 240, 480, 600, 600, 600};
	int64_t at = 0;

	for (size_t i = 0; i < ARRAY_LEN(pauses); i++) {
		ledger_at(&ledger, at);
		ck_assert_double_eq_tol(refused("capacity"), pauses[i], 0.001);
		at += pauses[i];
	}
}
END_TEST

START_TEST(test_refused_together_counts_once)
{
	refused("capacity");
	ledger_at(&ledger, 20);
	ck_assert_double_eq_tol(refused("capacity"), 40, 0.001);
	ck_assert_int_eq(pool_int(&ledger.pool, "select refusals from account_cooldown"), 1);
}
END_TEST

START_TEST(test_start_waits_and_one_asks_again)
{
	struct quota_grant g;

	ck_assert_int_eq(ask(&g), OK);
	refused("capacity");
	ck_assert_int_eq(ask(&g), ERR_QUOTA);
	ck_assert_str_eq(ledger.e.reason, "capacity");
	ck_assert_str_eq(ledger.e.msg, "It has no room. It is asked again at 2026-11-24 12:01 UTC.");
	ck_assert_int_eq(g.retry_seconds, 60);
	/* Another resource is another matter. */
	int64_t tpu;
	ck_assert_int_eq(ledger_start(&ledger, ledger.pool.role, "tpu", 0, &g, &tpu), OK);
	ledger_at(&ledger, 60);
	ck_assert_int_eq(ask(&g), OK);
	ck_assert_int_eq(ask(&g), ERR_QUOTA); /* one is enough to find out */
	ck_assert_double_eq_tol(refused("capacity"), 120, 0.001);
	ledger_at(&ledger, 180);
	ck_assert_int_eq(ask(&g), OK);
	begun();
	ck_assert_int_eq(ask(&g), OK);
	ck_assert_int_eq(ask(&g), OK);
}
END_TEST

/* What asks may die: another does, a minute later. */
START_TEST(test_who_asks_may_die)
{
	struct quota_grant g;

	refused("capacity");
	ledger_at(&ledger, 60);
	ck_assert_int_eq(ask(&g), OK);
	ledger_at(&ledger, 119);
	ck_assert_int_eq(ask(&g), ERR_QUOTA);
	ledger_at(&ledger, 120);
	ck_assert_int_eq(ask(&g), OK);
}
END_TEST

START_TEST(test_how_long_it_lasted_is_learnt)
{
	int64_t at = 0;

	/* Refused for twelve hours and asked again by the pauses. */
	while (at < 12 * HOUR) {
		ledger_at(&ledger, at);
		at += (int64_t)refused("quota");
	}
	ledger_at(&ledger, at);
	begun();
	ck_assert_int_ge(learned(), 12 * HOUR);
	ck_assert_int_le(learned(), 12 * HOUR + 10 * MINUTE);
	/* So it is asked more rarely the next time. */
	ck_assert_double_eq_tol(refused("quota"), (double)learned() / 8, 1);
	ledger_at(&ledger, at + HOUR);
	begun();
	/* It was much shorter this time: so the next is taken to be. */
	ck_assert_int_eq(learned(), (at + HOUR) / 2);
	/* And whatever begins without a refusal shortens it. */
	int64_t before = learned();
	begun();
	ck_assert_int_eq(learned(), before * 3 / 4);
	for (int i = 0; i < 40; i++)
		begun();
	ck_assert_int_eq(learned(), MINUTE);
}
END_TEST

/* Nobody asked for days: that is not how long it lasted. */
START_TEST(test_only_what_was_seen_is_learnt)
{
	refused("capacity");
	ledger_at(&ledger, 5 * 86400);
	begun();
	ck_assert_int_eq(learned(), MINUTE);
}
END_TEST

START_TEST(test_published_hours_do_not_cool_down)
{
	pool_sql(&ledger.pool, "update provider_limit set week_seconds = 108000 where resource = 'gpu'");
	ck_assert_double_eq_tol(refused("quota"), 0, 0.001);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from account_cooldown"), 0);
	ck_assert_double_eq_tol(refused("capacity"), 60, 0.001);
}
END_TEST

START_TEST(test_it_is_shown)
{
	cleanup_json struct json *list = json_array();
	const struct principal ada = {.user_id = 1};
	struct json *cools;

	refused("capacity");
	ck_assert_int_eq(quota_list(ledger.pool.role, &ada, ledger.account, 0, 10, list, &ledger.e), OK);
	cools = json_get(json_at(json_get(json_at(list, 0), "resources"), 0), "coolDown");
	ck_assert_str_eq(json_cstr(cools, "until"), "2026-11-24T12:01:00.000Z");
	ck_assert_str_eq(json_cstr(cools, "reason"), "It has no room.");
	ck_assert(json_has(cools, "learnedSeconds"));
	ck_assert_int_eq(json_type_of(json_get(json_at(json_get(json_at(list, 0), "resources"), 1), "coolDown")), JSON_NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("cooldown");
	TCase *t = tcase_create("cooldown");

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, test_pauses_double_up_to_a_bound);
	tcase_add_test(t, test_refused_together_counts_once);
	tcase_add_test(t, test_start_waits_and_one_asks_again);
	tcase_add_test(t, test_who_asks_may_die);
	tcase_add_test(t, test_how_long_it_lasted_is_learnt);
	tcase_add_test(t, test_only_what_was_seen_is_learnt);
	tcase_add_test(t, test_published_hours_do_not_cool_down);
	tcase_add_test(t, test_it_is_shown);
	suite_add_tcase(s, t);
	return unit_run(s);
}
