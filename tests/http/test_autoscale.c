/* The routes of scaling: policies and their faults, plans, and commits that do just what was planned. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"

static struct pg *pg;
static struct world *w;
static struct call_site c;
static struct principal root, ann, bob, eve; /* administrator, operators, viewer */

#define POLICY "/api/gpu/autoscale"
#define PLAN POLICY "/plan"

static void open_site(void)
{
	char name[32];

	snprintf(name, sizeof(name), "autoscale_%d", (int)getpid());
	w = world_open(pg, name);
	root = world_user(w, "root", ROLE_ADMIN);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
	eve = world_user(w, "eve", ROLE_VIEWER);
	call_init(&c, w);
}

static void close_site(void)
{
	call_done(&c);
	world_close(w);
}

static void submit(const struct principal *p, int n)
{
	for (int i = 0; i < n; i++)
		world_submit(w, p, "{'type':'script','payload':{'code':'1'}}");
}

static int put(const struct principal *p, const char *body)
{
	return call(&c, p, "PUT " POLICY, body);
}

static int64_t count(const char *what)
{
	return world_int(w, "select count(*) from %s", what);
}

static bool is_true(const char *path)
{
	return json_as_bool(json_path(c.json, path), false);
}

/* ---- the policy ---- */

START_TEST(test_defaults)
{
	ck_assert_int_eq(call(&c, &ann, "GET " POLICY, NULL), 200);
	ck_assert(!is_true("enabled") && !is_true("paused"));
	ck_assert(json_has(c.json, "accelerator") && !json_get(c.json, "accelerator"));
	ck_assert_int_eq(call_int(&c, "minWorkers"), 0);
	ck_assert_int_eq(call_int(&c, "maxWorkers"), 3);
	ck_assert_int_eq(call_int(&c, "queueThreshold"), 5);
	ck_assert_int_eq(call_int(&c, "targetWaitSeconds"), 300);
	ck_assert_int_eq(call_int(&c, "upDelaySeconds"), 30);
	ck_assert_int_eq(call_int(&c, "downDelaySeconds"), 300);
	ck_assert_int_eq(call_int(&c, "idleStopSeconds"), 600);
	ck_assert_int_eq(json_len(json_get(c.json, "accounts")), 0);
	ck_assert_str_eq(call_str(&c, "accountOrder"), "expiring");
	ck_assert_str_eq(c.etag, "\"v0\"");
	ck_assert_int_eq(count("scaling_policy"), 0);
}
END_TEST

START_TEST(test_set_and_read)
{
	int64_t one = world_account(w, ann.user_id, "manual", "none", 0), two = world_account(w, root.user_id, "local", "all", 0);

	ck_assert_int_eq(put(&ann, world_text(w, "{'enabled':true,'accelerator':'T4','minWorkers':1,'maxWorkers':4,'queueThreshold':2,"
		"'targetWaitSeconds':60,'upDelaySeconds':0,'downDelaySeconds':10,'idleStopSeconds':null,'accounts':['%lld','%lld']}",
		(long long)two, (long long)one)), 200);
	ck_assert(is_true("enabled"));
	ck_assert_str_eq(call_str(&c, "accelerator"), "T4");
	ck_assert_int_eq(call_int(&c, "accounts.0"), two);
	ck_assert_int_eq(call_int(&c, "accounts.1"), one);
	ck_assert_str_eq(call_str(&c, "accountOrder"), "listed");
	ck_assert(json_has(c.json, "idleStopSeconds") && !json_get(c.json, "idleStopSeconds"));
	ck_assert_str_eq(c.etag, "\"v1\"");
	ck_assert_int_eq(count("audit where action = 'autoscale.set' and object like 'autoscale %' and detail ->> 'enabled' = 'true'"), 1);
	/* What is absent is the default again. */
	ck_assert_int_eq(put(&ann, "{}"), 200);
	ck_assert(!is_true("enabled"));
	ck_assert_int_eq(call_int(&c, "maxWorkers"), 3);
	ck_assert_str_eq(c.etag, "\"v2\"");
}
END_TEST

static const struct {
	const char *body, *fields;
} faults[] = {
	{"{'minWorkers':4,'maxWorkers':3,'accelerator':'cpu'}", "maxWorkers"},
	{"{'minWorkers':-1}", "minWorkers"},
	{"{'maxWorkers':-5}", "maxWorkers"},
	{"{'maxWorkers':10001}", "maxWorkers"},
	{"{'maxWorkers':1e300}", "maxWorkers"},
	{"{'queueThreshold':-1}", "queueThreshold"},
	{"{'queueThreshold':9007199254740993}", "queueThreshold"},
	{"{'targetWaitSeconds':0}", "targetWaitSeconds"},
	{"{'upDelaySeconds':86401,'downDelaySeconds':-1}", "upDelaySeconds downDelaySeconds"},
	{"{'idleStopSeconds':0}", "idleStopSeconds"},
	{"{'accelerator':'../x'}", "accelerator"},
	{"{'minWorkers':1}", "accelerator"},
	{"{'accounts':['999']}", "accounts.0"},
	{"{'accounts':['99999999999']}", "accounts.0"},
	{"{'accounts':['x']}", "accounts.0"},
	{"{'accounts':'1'}", "accounts"},
	{"{'accountOrder':'random'}", "accountOrder"},
	{"{'max':3}", "max"},
};

START_TEST(test_faults)
{
	for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
		ck_assert_msg(put(&ann, faults[i].body) == 400, "%s: %d", faults[i].body, c.status);
		ck_assert_str_eq(call_faults(&c), faults[i].fields);
	}
	ck_assert_int_eq(count("scaling_policy"), 0);
}
END_TEST

START_TEST(test_accounts_of_others)
{
	int64_t his = world_account(w, bob.user_id, "manual", "none", 0), twice = world_account(w, ann.user_id, "manual", "none", 0);

	ck_assert_int_eq(put(&ann, world_text(w, "{'accounts':['%lld']}", (long long)his)), 400);
	ck_assert_str_eq(call_faults(&c), "accounts.0");
	ck_assert_int_eq(put(&ann, world_text(w, "{'accounts':['%lld','%lld']}", (long long)twice, (long long)twice)), 400);
	ck_assert_str_eq(call_faults(&c), "accounts.1");
	world_sql(w, "update account set sharing = 'named', shared_with = array[%lld] where id = %lld", (long long)ann.user_id, (long long)his);
	ck_assert_int_eq(put(&ann, world_text(w, "{'accounts':['%lld']}", (long long)his)), 200);
	world_sql(w, "update provider_policy set sharing_allowed = false where provider = 'manual'");
	ck_assert_int_eq(put(&ann, world_text(w, "{'accounts':['%lld']}", (long long)his)), 400);
}
END_TEST

START_TEST(test_who)
{
	ck_assert_int_eq(call(&c, NULL, "GET " POLICY, NULL), 401);
	ck_assert_int_eq(put(&eve, "{}"), 403);
	ck_assert_int_eq(call(&c, &eve, "POST " PLAN, "{}"), 403);
	ck_assert_int_eq(put(&ann, "{'maxWorkers':7}"), 200);
	ck_assert_int_eq(callf(&c, &bob, NULL, "GET " POLICY "?owner=%lld", (long long)ann.user_id), 404);
	ck_assert_int_eq(callf(&c, &bob, "{}", "PUT " POLICY "?owner=%lld", (long long)ann.user_id), 404);
	ck_assert_int_eq(call(&c, &bob, "POST " PLAN, world_text(w, "{'owner':'%lld'}", (long long)ann.user_id)), 404);
	ck_assert_int_eq(callf(&c, &root, NULL, "GET " POLICY "?owner=%lld", (long long)ann.user_id), 200);
	ck_assert_int_eq(call_int(&c, "maxWorkers"), 7);
	ck_assert_str_eq(call_str(&c, "ownerName"), "ann");
	ck_assert_int_eq(call(&c, &root, "GET " POLICY "?owner=9999", NULL), 404);
	ck_assert_int_eq(call(&c, &bob, "GET " POLICY, NULL), 200);
	ck_assert_int_eq(call_int(&c, "maxWorkers"), 3);
}
END_TEST

START_TEST(test_versions)
{
	ck_assert_int_eq(put(&ann, "{'maxWorkers':1}"), 200);
	c.if_match = "\"v1\"";
	ck_assert_int_eq(put(&ann, "{'maxWorkers':2}"), 200);
	c.if_match = "\"v1\"";
	ck_assert_int_eq(put(&ann, "{'maxWorkers':3}"), 412);
	ck_assert_int_eq(world_int(w, "select max_workers from scaling_policy"), 2);
}
END_TEST

/* ---- plans ---- */

START_TEST(test_plan_does_nothing)
{
	world_account(w, root.user_id, "local", "all", 0);
	submit(&ann, 6);
	ck_assert_int_eq(call(&c, &ann, "POST " PLAN, "{}"), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "actions")), 1);
	ck_assert_str_eq(call_str(&c, "actions.0.action"), "create");
	ck_assert_str_eq(call_str(&c, "actions.0.reason.code"), "queue_threshold");
	ck_assert_str_eq(call_str(&c, "actions.0.accelerator"), "cpu");
	ck_assert(call_str(&c, "actions.0.dueAt")[0] && call_str(&c, "expiresAt")[0] && call_str(&c, "planId")[0]);
	ck_assert(!is_true("enabled"));
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 6);
	ck_assert_str_eq(call_str(&c, "jobs.0.reason.code"), "up_delay");
	ck_assert(call_str(&c, "jobs.0.startsAt")[0]);
	ck_assert_str_eq(call_str(&c, "jobs.5.reason.code"), "below_threshold");
	ck_assert_int_eq(count("worker") + count("operation") + count("decision where kind = 'scaling'"), 0);
}
END_TEST

START_TEST(test_commit)
{
	const char *plan;
	int64_t id;

	world_account(w, root.user_id, "local", "all", 0);
	submit(&ann, 6);
	ck_assert_int_eq(call(&c, &ann, "POST " PLAN, "{}"), 200);
	plan = world_text(w, "%s", call_str(&c, "planId"));
	ck_assert_int_eq(callf(&c, &bob, NULL, "POST " PLAN "/%s/commit", plan), 404);
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " PLAN "/%s/commit", plan), 200);
	id = call_int(&c, "actions.0.workerId");
	ck_assert_int_eq(world_int(w, "select count(*) from worker w join operation o on o.worker_id = w.id and o.state = 'open' and o.kind = 'start' "
				      "where w.id = %lld and w.owner_id = %lld and w.desired = 'running'", (long long)id, (long long)ann.user_id), 1);
	ck_assert(call_woke(&c, "gpupool_operations", "local"));
	ck_assert_int_eq(world_int(w, "select count(*) from decision where kind = 'scaling' and subject = 'worker %lld' and inputs ->> 'queued' = '6'", (long long)id), 1);
	ck_assert_int_eq(count("audit where action = 'autoscale.commit'"), 1);
	ck_assert_int_eq(count("scaling_round"), 1);
	/* Once. */
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " PLAN "/%s/commit", plan), 409);
	ck_assert_int_eq(count("worker"), 1);
	/* The need is covered. */
	ck_assert_int_eq(call(&c, &ann, "POST " PLAN, "{}"), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "actions")), 0);
	ck_assert_str_eq(call_str(&c, "jobs.0.reason.code"), "cold_start");
}
END_TEST

START_TEST(test_changed_plan)
{
	const char *plan;

	world_account(w, root.user_id, "local", "all", 0);
	submit(&ann, 6);
	ck_assert_int_eq(call(&c, &ann, "POST " PLAN, "{}"), 200);
	plan = world_text(w, "%s", call_str(&c, "planId"));
	submit(&ann, 6);
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " PLAN "/%s/commit", plan), 409);
	ck_assert_str_eq(call_str(&c, "code"), "plan_changed");
	ck_assert_int_eq(json_len(json_path(c.json, "plan.actions")), 2);
	ck_assert_int_eq(count("worker"), 0);
	/* The new one is good. */
	plan = world_text(w, "%s", call_str(&c, "plan.planId"));
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " PLAN "/%s/commit", plan), 200);
	ck_assert_int_eq(count("worker"), 2);
}
END_TEST

START_TEST(test_rounds)
{
	cleanup_buf struct buf kept = BUF_INIT(1 << 20);
	cleanup_rows struct rows rows = {0};

	world_account(w, root.user_id, "local", "all", 0);
	for (int i = 0; i < 3; i++) {
		submit(&ann, 6);
		ck_assert_int_eq(call(&c, &ann, "POST " PLAN, "{}"), 200);
		ck_assert_int_eq(callf(&c, &ann, NULL, "POST " PLAN "/%s/commit", call_str(&c, "planId")), 200);
	}
	ck_assert_int_eq(call(&c, &ann, "GET " POLICY "/rounds", NULL), 403);
	ck_assert_int_eq(call(&c, &ann, "GET " POLICY "/rounds/1", NULL), 403);
	ck_assert_int_eq(call(&c, &root, "GET " POLICY "/rounds?limit=2", NULL), 200);
	ck_assert_int_eq(call_int(&c, "rounds.0.id"), 3);
	ck_assert_str_eq(call_str(&c, "rounds.1.actions.0.action"), "create");
	ck_assert_int_eq(callf(&c, &root, NULL, "GET " POLICY "/rounds?limit=2&pageToken=%s", call_str(&c, "nextPageToken")), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "rounds")), 1);
	ck_assert_int_eq(call_int(&c, "rounds.0.id"), 1);
	/* Whoever reads it has every byte. */
	ck_assert_int_eq(call(&c, &root, "GET " POLICY "/rounds/2", NULL), 200);
	json_write(json_get(c.json, "snapshot"), &kept);
	json_write(json_get(c.json, "decisions"), &kept);
	pg_sql(w->super, "select snapshot || decisions as whole from scaling_round where id = 2", &rows);
	ck_assert(str_eq(buf_str(&kept), row_str(&rows, 0, "whole")));
	ck_assert_int_eq(call(&c, &root, "GET " POLICY "/rounds/9", NULL), 404);
}
END_TEST

START_TEST(test_old_plan)
{
	const char *plan;

	ck_assert_int_eq(call(&c, &ann, "POST " PLAN, "{}"), 200);
	plan = world_text(w, "%s", call_str(&c, "planId"));
	world_sql(w, "update scaling_plan set expires_at = now() - interval '1 second'");
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " PLAN "/%s/commit", plan), 410);
	ck_assert_int_eq(call(&c, &ann, "POST " PLAN "/nonsense/commit", NULL), 404);
	ck_assert_int_eq(call(&c, &ann, "POST " PLAN "/00000000-0000-4000-8000-000000000000/commit", NULL), 404);
}
END_TEST

/* A plan shows nobody else's jobs, and another's jobs call for workers only where an account is shared with him. */
START_TEST(test_whose_jobs)
{
	world_account(w, ann.user_id, "local", "none", 0);
	submit(&bob, 8);
	ck_assert_int_eq(call(&c, &ann, "POST " PLAN, "{}"), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "actions")), 0);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 0);
	world_sql(w, "update account set sharing = 'all'");
	ck_assert_int_eq(call(&c, &ann, "POST " PLAN, "{}"), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "actions")), 1);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 0);
}
END_TEST

/* Kaggle's workers cannot reach a server that is not public. */
START_TEST(test_unreachable)
{
	int64_t account;

	c.config.kaggle_url = "https://api.kaggle.com/v1";
	account = world_account(w, ann.user_id, "kaggle", "none", 0);
	world_sql(w, "update account set sealed = '\\x00', status = 'ok', checked_version = sealed_version where id = %lld", (long long)account);
	for (int i = 0; i < 6; i++)
		world_submit(w, &ann, "{'type':'script','accelerator':'gpu','payload':{'code':'1'}}");
	ck_assert_int_eq(call(&c, &ann, "POST " PLAN, "{}"), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "actions")), 0);
	ck_assert_str_eq(call_str(&c, "jobs.0.reason.code"), "public_url");
	c.config.public_url = "https://pool.example.org";
	ck_assert_int_eq(call(&c, &ann, "POST " PLAN, "{}"), 200);
	ck_assert_int_eq(call_int(&c, "actions.0.reservesSeconds"), 39600);
	ck_assert_int_eq(call_int(&c, "actions.0.remainingAfterSeconds"), 108000 - 900 - 39600);
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " PLAN "/%s/commit", call_str(&c, "planId")), 200);
	ck_assert_int_eq(count("worker where provider = 'kaggle' and remote_name like 'gpupool-%' and accelerator = 'gpu'"), 1);
	/* No hours. */
	world_sql(w, "delete from operation");
	world_sql(w, "delete from worker");
	world_sql(w, "insert into quota(account_id, resource, resets_at, limit_seconds, margin_seconds, used_seconds) "
		     "values (%lld, 'gpu', now() + interval '1 day', 108000, 900, 107000)", (long long)account);
	ck_assert_int_eq(call(&c, &ann, "POST " PLAN, "{}"), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "actions")), 0);
	ck_assert_str_eq(call_str(&c, "jobs.0.reason.code"), "quota");
	ck_assert(call_str(&c, "jobs.0.startsAt")[0]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("autoscale");
	TCase *t = tcase_create("routes");
	SRunner *r;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, open_site, close_site);
	tcase_add_test(t, test_defaults);
	tcase_add_test(t, test_set_and_read);
	tcase_add_test(t, test_faults);
	tcase_add_test(t, test_accounts_of_others);
	tcase_add_test(t, test_who);
	tcase_add_test(t, test_versions);
	tcase_add_test(t, test_plan_does_nothing);
	tcase_add_test(t, test_commit);
	tcase_add_test(t, test_changed_plan);
	tcase_add_test(t, test_rounds);
	tcase_add_test(t, test_old_plan);
	tcase_add_test(t, test_whose_jobs);
	tcase_add_test(t, test_unreachable);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	pg_stop(pg);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
