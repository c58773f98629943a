/* What providers allow, as an administrator changes it: who may, what is refused and where, what is kept of it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "unit.h"

static struct pg *pg;
static struct world *w;
static struct call_site c;
static struct principal root, ann, eve; /* administrator, operator, viewer */

#define KAGGLE "PATCH /api/gpu/policies/kaggle"
#define GPU KAGGLE "/limits/gpu"

static void open_site(void)
{
	char name[32];

	snprintf(name, sizeof(name), "policies_%d", (int)getpid());
	w = world_open(pg, name);
	root = world_user(w, "root", ROLE_ADMIN);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	eve = world_user(w, "eve", ROLE_VIEWER);
	call_init(&c, w);
}

static void close_site(void)
{
	call_done(&c);
	world_close(w);
}

static int64_t count(const char *what)
{
	return world_int(w, "select count(*) from %s", what);
}

START_TEST(test_limits)
{
	world_sql(w, "update provider_limit set as_of = '2020-01-01'");
	ck_assert_int_eq(call(&c, &root, GPU, "{'weekSeconds':72000,'weekMarginSeconds':3600,'concurrent':1,'source':'mail of Kaggle'}"), 200);
	ck_assert_str_eq(call_str(&c, "provider"), "kaggle");
	ck_assert_str_eq(call_str(&c, "limits.0.resource"), "gpu");
	ck_assert_int_eq(call_int(&c, "limits.0.weekSeconds"), 72000);
	ck_assert_int_eq(call_int(&c, "limits.0.weekMarginSeconds"), 3600);
	ck_assert_int_eq(call_int(&c, "limits.0.concurrent"), 1);
	ck_assert_int_eq(call_int(&c, "limits.0.sessionSeconds"), 43200);
	ck_assert_str_eq(call_str(&c, "limits.0.source"), "mail of Kaggle");
	ck_assert_int_eq(count("provider_limit where as_of = (now() at time zone 'utc')::date"), 1);
	ck_assert(call_woke(&c, "gpupool_operations", "kaggle"));
	/* null = no limit; what is absent stays. */
	ck_assert_int_eq(call(&c, &root, GPU, "{'weekSeconds':null,'sessionSeconds':null,'concurrent':null,'source':'x'}"), 200);
	ck_assert(json_type_of(json_path(c.json, "limits.0.weekSeconds")) == JSON_NULL);
	ck_assert_int_eq(call_int(&c, "limits.0.minSessionSeconds"), 900);
	ck_assert_int_eq(count("provider_limit where resource = 'gpu' and week_seconds is null and session_seconds is null and concurrent is null"), 1);
}
END_TEST

START_TEST(test_terms)
{
	ck_assert_int_eq(call(&c, &root, KAGGLE, "{'sharingAllowed':true,'notice':'Ask first.','source':'contract of 3 May'}"), 200);
	ck_assert(json_bool(c.json, "sharingAllowed", false));
	ck_assert_str_eq(call_str(&c, "notice"), "Ask first.");
	ck_assert_str_eq(call_str(&c, "source"), "contract of 3 May");
	ck_assert(call_woke(&c, "gpupool_jobs", ""));
	/* A source alone dates the row anew. */
	world_sql(w, "update provider_policy set as_of = '2020-01-01'");
	ck_assert_int_eq(call(&c, &root, KAGGLE, "{'source':'looked again'}"), 200);
	ck_assert(json_bool(c.json, "sharingAllowed", false));
	ck_assert_int_eq(count("provider_policy where as_of = (now() at time zone 'utc')::date and provider = 'kaggle'"), 1);
}
END_TEST

START_TEST(test_what_is_kept)
{
	ck_assert_int_eq(call(&c, &root, GPU, "{'weekSeconds':72000,'source':'a letter'}"), 200);
	ck_assert_int_eq(count("audit where action = 'policies.changeLimit' and object = 'policy kaggle gpu' and detail #>> '{was,weekSeconds}' = '108000' "
			       "and detail #>> '{became,weekSeconds}' = '72000' and detail #>> '{became,source}' = 'a letter'"), 1);
	ck_assert_int_eq(world_int(w, "select user_id from policy_change where provider = 'kaggle' and resource = 'gpu' and was ->> 'weekSeconds' = '108000' "
				      "and became ->> 'weekSeconds' = '72000' and was ->> 'source' like 'Kaggle''s refusals%%'"), root.user_id);
	ck_assert_int_eq(call(&c, &root, KAGGLE, "{'sharingAllowed':true,'source':'a contract'}"), 200);
	ck_assert_int_eq(count("audit where action = 'policies.change' and object = 'policy kaggle' and detail #>> '{was,sharingAllowed}' = 'false' "
			       "and detail #>> '{became,sharingAllowed}' = 'true'"), 1);
	ck_assert_int_eq(count("policy_change where resource is null and was ->> 'sharingAllowed' = 'false'"), 1);
}
END_TEST

static const struct {
	const char *what, *body, *fields;
} faults[] = {
	{GPU, "{}", "source"},
	{GPU, "{'weekSeconds':3600,'source':''}", "source"},
	{GPU, "{'weekMarginSeconds':108001,'source':'x'}", "weekMarginSeconds"},
	{GPU, "{'weekSeconds':800,'source':'x'}", "weekSeconds"},
	{GPU, "{'weekSeconds':3600,'weekMarginSeconds':3601,'source':'x'}", "weekMarginSeconds"},
	{GPU, "{'sessionMarginSeconds':43200,'source':'x'}", "sessionMarginSeconds"},
	{GPU, "{'sessionSeconds':3600,'source':'x'}", "sessionSeconds"},
	{GPU, "{'minSessionSeconds':39601,'source':'x'}", "minSessionSeconds"},
	{GPU, "{'sessionSeconds':4000,'source':'x'}", "sessionSeconds"},
	{GPU, "{'sessionSeconds':-1,'sessionMarginSeconds':-1,'weekSeconds':-1,'weekMarginSeconds':-1,'concurrent':0,'minSessionSeconds':0,'idleSeconds':-5,'source':'x'}",
	 "sessionSeconds sessionMarginSeconds weekSeconds weekMarginSeconds concurrent minSessionSeconds idleSeconds"},
	{GPU, "{'weekSeconds':604801,'source':'x'}", "weekSeconds"},
	{GPU, "{'sessionSeconds':9007199254740991,'source':'x'}", "sessionSeconds"},
	{GPU, "{'concurrent':1e300,'source':'x'}", "concurrent"},
	{GPU, "{'weekSeconds':'30h','source':'x'}", "weekSeconds"},
	{GPU, "{'weekSeconds':1.5,'source':'x'}", "weekSeconds"},
	{GPU, "{'sessionMarginSeconds':null,'source':'x'}", "sessionMarginSeconds"},
	{GPU, "{'asOf':'2020-01-01','source':'x'}", "asOf"},
	{GPU, "{'provider':'local','source':'x'}", "provider"},
	{KAGGLE, "{'sharingAllowed':true}", "source"},
	{KAGGLE, "{'sharingAllowed':'yes','source':'x'}", "sharingAllowed"},
	{KAGGLE, "{'notice':null,'source':'x'}", "notice"},
	{KAGGLE, "{'accountsPerPerson':9,'source':'x'}", "accountsPerPerson"},
	{KAGGLE, "{'implicit':true,'source':'x'}", "implicit"},
};

START_TEST(test_faults)
{
	const char *body = faults[_i].body;

	ck_assert_msg(call(&c, &root, faults[_i].what, body) == 400, "%s: %d", body, c.status);
	ck_assert_msg(!strcmp(call_faults(&c), faults[_i].fields), "%s: %s", body, call_faults(&c));
	ck_assert_int_eq(count("policy_change") + count("audit where action like 'policies.%'"), 0);
	ck_assert_int_eq(count("provider_limit where resource = 'gpu' and week_seconds = 108000 and session_seconds = 43200"), 1);
}
END_TEST

START_TEST(test_who)
{
	static const char *const whats[] = {KAGGLE, GPU};

	for (size_t i = 0; i < ARRAY_LEN(whats); i++) {
		ck_assert_int_eq(call(&c, NULL, whats[i], "{'source':'x'}"), 401);
		ck_assert_int_eq(call(&c, &eve, whats[i], "{'source':'x'}"), 403);
		ck_assert_int_eq(call(&c, &ann, whats[i], "{'source':'x'}"), 403);
		ck_assert_int_eq(call(&c, &root, whats[i], "{'source':'x'}"), 200);
	}
	ck_assert_int_eq(count("policy_change"), 2);
	ck_assert_int_eq(call(&c, &root, "PATCH /api/gpu/policies/nowhere", "{'source':'x'}"), 404);
	ck_assert_int_eq(call(&c, &root, "PATCH /api/gpu/policies/nowhere/limits/gpu", "{'source':'x'}"), 404);
	ck_assert_int_eq(call(&c, &root, KAGGLE "/limits/fpga", "{'source':'x'}"), 404);
	ck_assert_int_eq(call(&c, &root, "PATCH /api/gpu/policies/manual/limits/gpu", "{'source':'x'}"), 404);
	ck_assert_int_eq(count("policy_change"), 2);
}
END_TEST

/* What runs keeps its grant until the ledger settles the account, and then what the week still holds. */
START_TEST(test_what_runs)
{
	int64_t account = world_account(w, ann.user_id, "kaggle", "none", 0), worker;

	world_sql(w, "create or replace function gpupool.quota_clock() returns timestamptz language sql volatile as "
		     "$$ select timestamptz '2026-11-24 12:00Z' $$");
	worker = world_worker(w, account, "healthy", "{gpu,T4}", 2);
	world_sql(w, "update session set launched_at = '2026-11-24 12:00Z', provider_ref = '{}', resource = 'gpu' where worker_id = %lld;"
		     "insert into quota(account_id, resource, resets_at, limit_seconds, margin_seconds, reserved_seconds) "
		     "values (%lld, 'gpu', '2026-11-28 00:00Z', 108000, 900, 36000);"
		     "insert into reservation(session_id, account_id, resource, slot, resets_at, granted_seconds) "
		     "select id, account_id, 'gpu', 1, '2026-11-28 00:00Z', 36000 from session where worker_id = %lld",
		  (long long)worker, (long long)account, (long long)worker);
	/* Shorter sessions, fewer at once, a smaller week that still holds it: nothing of it changes. */
	ck_assert_int_eq(call(&c, &root, GPU, "{'sessionSeconds':7200,'concurrent':1,'weekSeconds':72000,'source':'x'}"), 200);
	ck_assert_int_eq(world_int(w, "select granted_seconds from reservation"), 36000);
	world_sql(w, "select gpupool.quota_settle(%lld)", (long long)account);
	ck_assert_int_eq(world_int(w, "select granted_seconds from reservation"), 36000);
	ck_assert_int_eq(world_int(w, "select limit_seconds from quota"), 72000);
	/* One that does not. */
	ck_assert_int_eq(call(&c, &root, GPU, "{'weekSeconds':18000,'source':'x'}"), 200);
	ck_assert_int_eq(world_int(w, "select granted_seconds from reservation"), 36000);
	world_sql(w, "select gpupool.quota_settle(%lld)", (long long)account);
	ck_assert_int_eq(world_int(w, "select granted_seconds from reservation"), 18000 - 900);
	ck_assert_int_eq(world_int(w, "select reserved_seconds from quota"), 18000 - 900);
	ck_assert_int_eq(count("decision where kind = 'stop' and subject like 'worker %'"), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("policies");
	TCase *t = tcase_create("routes");
	SRunner *r;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, open_site, close_site);
	tcase_add_test(t, test_limits);
	tcase_add_test(t, test_terms);
	tcase_add_test(t, test_what_is_kept);
	tcase_add_loop_test(t, test_faults, 0, (int)ARRAY_LEN(faults));
	tcase_add_test(t, test_who);
	tcase_add_test(t, test_what_runs);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	pg_stop(pg);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
