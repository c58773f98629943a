/* The page of scaling: a form without JavaScript, a plan that does nothing, and doing just that. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "browse.h"
#include "unit.h"

static struct pg *pg;
static struct world *w;
static struct browser b;
static struct principal ann, bob, eve; /* operators, viewer */

#define HERE "/admin/scaling"
#define DEFAULTS "minWorkers", "0", "maxWorkers", "3", "queueThreshold", "5", "targetWait", "5m", "upDelay", "0", "downDelay", "5m", \
	"accountOrder", "expiring"

static void open_world(void)
{
	char name[32];

	snprintf(name, sizeof(name), "scalingpages_%d", (int)getpid());
	w = world_open(pg, name);
	browse_init(&b, w);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
	eve = world_user(w, "eve", ROLE_VIEWER);
	browse_as(&b, &ann);
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

START_TEST(test_form)
{
	int64_t account = world_account(w, ann.user_id, "local", "none", 0);
	char id[24];

	snprintf(id, sizeof(id), "%lld", (long long)account);
	ck_assert_int_eq(browse(&b, HERE), 200);
	ck_assert(browse_shows(&b, "Nothing was set yet"));
	ck_assert(browse_shows(&b, "name=\"upDelay\" value=\"30s\""));
	ck_assert_int_eq(count("scaling_policy"), 0);
	ck_assert_int_eq(browse_send(&b, HERE, "version", "0", "enabled", "1", "minWorkers", "1", "maxWorkers", "4", "queueThreshold", "2",
				     "targetWait", "90s", "upDelay", "1m", "downDelay", "2m", "idleStop", "20m", "accelerator", "T4",
				     "accounts", id, "accountOrder", "listed", NULL), 303);
	ck_assert_int_eq(world_int(w, "select count(*) from scaling_policy where owner_id = %lld and enabled and not paused and min_workers = 1 "
				      "and max_workers = 4 and queue_threshold = 2 and target_wait_seconds = 90 and up_delay_seconds = 60 and "
				      "down_delay_seconds = 120 and idle_stop_seconds = 1200 and accelerator = 'T4' and accounts = array[%lld] "
				      "and account_order = 'listed'", (long long)ann.user_id, (long long)account), 1);
	ck_assert_int_eq(browse_follow(&b), 200);
	ck_assert(browse_shows(&b, "Your scaling policy was saved."));
	ck_assert(browse_shows(&b, "name=\"idleStop\" value=\"20m\"") && browse_shows(&b, "name=\"enabled\" value=\"1\" checked"));
	/* One that another person shares is not shown, and there to be kept. */
	world_sql(w, "update scaling_policy set accounts = accounts || 77");
	ck_assert_int_eq(browse(&b, HERE), 200);
	ck_assert(browse_shows(&b, "account, number 77"));
	ck_assert_int_eq(browse_send(&b, HERE, "version", "1", DEFAULTS, NULL), 303);
	ck_assert_int_eq(count("scaling_policy where not enabled and idle_stop_seconds is null and accelerator = '' and accounts = '{}'"), 1);
	ck_assert_int_eq(count("audit where action = 'autoscale.set'"), 2);
}
END_TEST

START_TEST(test_refused)
{
	ck_assert_int_eq(browse_send(&b, HERE, "version", "0", "enabled", "1", "minWorkers", "4", "maxWorkers", "3", "accelerator", "<b>", NULL), 400);
	ck_assert(browse_shows(&b, "Some fields below need a change") && browse_shows(&b, "value=\"&lt;b&gt;\""));
	ck_assert(browse_shows(&b, "name=\"enabled\" value=\"1\" checked"));
	ck_assert_int_eq(browse_send(&b, HERE, "version", "0", "minWorkers", "4", "maxWorkers", "3", "accelerator", "cpu", NULL), 400);
	ck_assert(browse_shows(&b, "Must not be less than minWorkers"));
	ck_assert_int_eq(browse_send(&b, HERE, "version", "0", "minWorkers", "many", "upDelay", "soon", "maxWorkers", "-1", NULL), 400);
	ck_assert(browse_shows(&b, "Must be a whole number") && browse_shows(&b, "Is not a duration"));
	ck_assert_int_eq(browse_send(&b, HERE, "version", "0", "accounts", "999", NULL), 400);
	ck_assert(browse_shows(&b, "You have no such account"));
	ck_assert_int_eq(count("scaling_policy"), 0);
}
END_TEST

START_TEST(test_changed_meanwhile)
{
	ck_assert_int_eq(browse_send(&b, HERE, "version", "0", DEFAULTS, NULL), 303);
	ck_assert_int_eq(browse_send(&b, HERE, "version", "7", "maxWorkers", "9", NULL), 412);
	ck_assert(browse_shows(&b, "Somebody else changed this meanwhile") && browse_shows(&b, "name=\"maxWorkers\" value=\"3\""));
	ck_assert_int_eq(count("scaling_policy where max_workers = 3"), 1);
}
END_TEST

/* The address of the button that commits. */
static void commit_address(char *ret, size_t size)
{
	const char *at = strstr(b.text, HERE "/plan/");

	while (at && !strstr(at, "/commit\""))
		at = NULL;
	while (at && strncmp(at + strlen(HERE "/plan/") + 36, "/commit\"", 8) != 0)
		at = strstr(at + 1, HERE "/plan/");
	ck_assert_ptr_nonnull(at);
	snprintf(ret, size, "%.*s", (int)strcspn(at, "\""), at);
}

START_TEST(test_plan_and_commit)
{
	char commit[200];

	world_account(w, ann.user_id, "local", "none", 0);
	ck_assert_int_eq(browse_send(&b, HERE, "version", "0", DEFAULTS, NULL), 303);
	ck_assert_int_eq(browse_send(&b, HERE "/plan", NULL), 200);
	ck_assert(browse_shows(&b, "Nothing is to be done. No job of yours waits."));
	for (int i = 0; i < 6; i++)
		world_submit(w, &ann, "{'type':'script','payload':{'code':'1'}}");
	ck_assert_int_eq(browse_send(&b, HERE "/plan", NULL), 200);
	ck_assert(browse_shows(&b, "Make a worker with cpu") && browse_shows(&b, "6 jobs of yours wait.") && browse_shows(&b, "is off or paused"));
	ck_assert_int_eq(count("worker") + count("decision where kind = 'scaling'"), 0);
	commit_address(commit, sizeof(commit));
	/* Nobody else's to do. */
	browse_as(&b, &bob);
	ck_assert_int_eq(browse_send(&b, commit, NULL), 404);
	browse_as(&b, &ann);
	ck_assert_int_eq(browse_send(&b, commit, NULL), 303);
	ck_assert_int_eq(count("worker"), 1);
	ck_assert_int_eq(browse_follow(&b), 200);
	ck_assert(browse_shows(&b, "The plan was carried out.") && browse_shows(&b, "More jobs wait than"));
	ck_assert_int_eq(browse_send(&b, commit, NULL), 409);
	ck_assert_int_eq(count("worker"), 1);
	browse_as(&b, &bob);
	ck_assert_int_eq(browse(&b, HERE), 200);
	ck_assert(browse_shows(&b, "It has not started or stopped a worker yet.") && !browse_shows(&b, "More jobs wait than"));
}
END_TEST

START_TEST(test_changed_plan)
{
	char commit[200];

	world_account(w, ann.user_id, "local", "none", 0);
	for (int i = 0; i < 6; i++)
		world_submit(w, &ann, "{'type':'script','payload':{'code':'1'}}");
	ck_assert_int_eq(browse_send(&b, HERE "/plan", NULL), 200);
	commit_address(commit, sizeof(commit));
	world_sql(w, "update scaling_policy set max_workers = 0");
	ck_assert_int_eq(browse_send(&b, commit, NULL), 409);
	ck_assert(browse_shows(&b, "The pool has changed since this was planned"));
	ck_assert_int_eq(count("worker"), 0);
}
END_TEST

START_TEST(test_who)
{
	browse_as(&b, &eve);
	ck_assert_int_eq(browse(&b, HERE), 403);
	ck_assert_int_eq(browse_send(&b, HERE, "version", "0", DEFAULTS, NULL), 403);
	ck_assert_int_eq(browse_send(&b, HERE "/plan", NULL), 403);
	browse_as(&b, &ann);
	b.no_csrf = true;
	ck_assert_int_eq(browse_send(&b, HERE, "version", "0", DEFAULTS, NULL), 403);
	b.foreign = true;
	ck_assert_int_eq(browse_send(&b, HERE "/plan", NULL), 403);
	browse_as(&b, NULL);
	ck_assert_int_eq(browse(&b, HERE), 303);
	ck_assert_int_eq(count("scaling_policy") + count("scaling_plan"), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scaling pages");
	TCase *t = tcase_create("pages");
	SRunner *r;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, open_world, close_world);
	tcase_add_test(t, test_form);
	tcase_add_test(t, test_refused);
	tcase_add_test(t, test_changed_meanwhile);
	tcase_add_test(t, test_plan_and_commit);
	tcase_add_test(t, test_changed_plan);
	tcase_add_test(t, test_who);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	pg_stop(pg);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
