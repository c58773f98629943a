/* The pages of what providers allow: for administrators, with the dated term before the form. */
#include <check.h>
#include <stdlib.h>

#include "browse.h"
#include "unit.h"

static struct pg *pg;
static struct world *w;
static struct browser b;
static struct principal root, ann;

#define HERE "/admin/policies"
#define GPU HERE "/kaggle/limits/gpu"
#define LIMITS(week, margin) "session", "12h", "sessionMargin", "1h", "week", week, "weekMargin", margin, "concurrent", "2", "minSession", "15m"

static void open_world(void)
{
	char name[32];

	snprintf(name, sizeof(name), "policypages_%d", (int)getpid());
	w = world_open(pg, name);
	browse_init(&b, w);
	root = world_user(w, "root", ROLE_ADMIN);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	browse_as(&b, &root);
}

static void close_world(void)
{
	browse_done(&b);
	world_close(w);
}

static int64_t count(const char *what)
{
	return world_int(w, "select count(*) from %s", what);
}

START_TEST(test_limits)
{
	ck_assert_int_eq(browse(&b, HERE), 200);
	ck_assert(browse_shows(&b, "Kaggle allows one account a person") && browse_shows(&b, "As of 2026-11-24"));
	ck_assert(browse_shows(&b, "href=\"" GPU "\""));
	ck_assert_int_eq(browse(&b, GPU), 200);
	ck_assert(browse_shows(&b, "Kaggle allows one account a person") && browse_shows(&b, "As of 2026-11-24"));
	ck_assert(browse_shows(&b, "name=\"session\" value=\"12h\"") && browse_shows(&b, "name=\"source\" value=\"\""));
	ck_assert_int_eq(browse_send(&b, GPU, LIMITS("20h", "30m"), "source", "a <b>letter</b>", NULL), 303);
	ck_assert_int_eq(count("provider_limit where resource = 'gpu' and week_seconds = 72000 and week_margin_seconds = 1800 and idle_seconds is null "
			       "and session_seconds = 43200 and concurrent = 2 and source = 'a <b>letter</b>'"), 1);
	ck_assert_int_eq(count("audit where action = 'policies.changeLimit' and detail #>> '{was,weekSeconds}' = '108000'"), 1);
	ck_assert_int_eq(browse_follow(&b), 200);
	ck_assert(browse_shows(&b, "The policy was saved, dated today.") && browse_shows(&b, "a &lt;b&gt;letter"));
}
END_TEST

START_TEST(test_refused)
{
	ck_assert_int_eq(browse_send(&b, GPU, LIMITS("20h", "21h"), "source", "x", NULL), 400);
	ck_assert(browse_shows(&b, "Must not be more than weekSeconds") && browse_shows(&b, "name=\"weekMargin\" value=\"21h\""));
	ck_assert_int_eq(browse_send(&b, GPU, LIMITS("20h", "30m"), NULL), 400);
	ck_assert(browse_shows(&b, "Some fields below need a change"));
	ck_assert_int_eq(browse_send(&b, GPU, LIMITS("soon", "30m"), "source", "x", NULL), 400);
	ck_assert(browse_shows(&b, "Is not a duration"));
	ck_assert_int_eq(browse(&b, HERE "/moon"), 404);
	ck_assert_int_eq(browse(&b, HERE "/kaggle/limits/fpga"), 404);
	ck_assert_int_eq(browse(&b, HERE "/local/limits/gpu"), 404);
	ck_assert_int_eq(count("policy_change"), 0);
}
END_TEST

START_TEST(test_terms)
{
	ck_assert_int_eq(browse(&b, HERE "/kaggle"), 200);
	ck_assert(browse_shows(&b, "acceptable use policy of 2025-06-22"));
	ck_assert_int_eq(browse_send(&b, HERE "/kaggle", "sharingAllowed", "1", "notice", "Ask first.", "source", "a contract", NULL), 303);
	ck_assert_int_eq(count("provider_policy where provider = 'kaggle' and sharing_allowed and notice = 'Ask first.' and source = 'a contract'"), 1);
	ck_assert_int_eq(browse_send(&b, HERE "/kaggle", "source", "it ended", NULL), 303);
	ck_assert_int_eq(count("provider_policy where provider = 'kaggle' and not sharing_allowed and notice = ''"), 1);
	ck_assert_int_eq(count("policy_change"), 2);
}
END_TEST

START_TEST(test_who)
{
	browse_as(&b, &ann);
	ck_assert_int_eq(browse(&b, HERE), 403);
	ck_assert_int_eq(browse(&b, GPU), 403);
	ck_assert_int_eq(browse_send(&b, GPU, LIMITS("20h", "30m"), "source", "x", NULL), 403);
	ck_assert_int_eq(browse_send(&b, HERE "/kaggle", "sharingAllowed", "1", "source", "x", NULL), 403);
	browse_as(&b, &root);
	b.no_csrf = true;
	ck_assert_int_eq(browse_send(&b, GPU, LIMITS("20h", "30m"), "source", "x", NULL), 403);
	ck_assert_int_eq(count("policy_change"), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("policy pages");
	TCase *t = tcase_create("pages");
	SRunner *r;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, open_world, close_world);
	tcase_add_test(t, test_limits);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_terms);
	tcase_add_test(t, test_who);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	pg_stop(pg);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
