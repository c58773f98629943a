/* The routes of notebooks: intent, versions, who sees what, and refusals by name. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "call.h"

static struct pg *pg;
static struct world *w;
static struct call_site c;
static struct principal root, ann, bob, eve; /* administrator, operators, viewer */

#define NOTEBOOKS "/api/gpu/workers/notebooks"

static void open_site(void)
{
	char name[32];

	snprintf(name, sizeof(name), "notebooks_%d", (int)getpid());
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

static int64_t make(const struct principal *p, const char *provider, const char *more)
{
	ck_assert_int_eq(call(&c, p, "POST " NOTEBOOKS, world_text(w, "{'provider':'%s','accelerator':'cpu'%s}", provider, more)), 202);
	return call_int(&c, "id");
}

static int one(const struct principal *p, const char *method, int64_t id, const char *below, const char *body)
{
	return callf(&c, p, body, "%s " NOTEBOOKS "/%lld%s", method, (long long)id, below);
}

static int64_t count(const char *table)
{
	return world_int(w, "select count(*) from %s", table);
}

static bool is_null(const char *key)
{
	return json_has(c.json, key) && !json_get(c.json, key);
}

/* A session as the provisioner and the agent make it. */
static void run(int64_t id, const char *capabilities)
{
	world_sql(w, "with s as (insert into session(worker_id, owner_id, account_id, provider, generation, state, got, slots, registered_at, "
		     "deadline, agent, capabilities, token_hash) select id, owner_id, account_id, provider, generation, 'running', '{cpu}', 2, now(), "
		     "now() + interval '1 hour', '1.0.0', '%s', sha256(id::text::bytea) from worker where id = %lld returning id), "
		     "l as (insert into session_live(session_id, utilization, memory_used, memory_total) select id, 42, 1, 2 from s) "
		     "update worker set session_id = (select id from s), state = 'healthy' where id = %lld", capabilities, (long long)id, (long long)id);
}

START_TEST(test_make_local)
{
	int64_t id = make(&ann, "local", "");

	ck_assert_str_eq(call_str(&c, "provider"), "local");
	ck_assert_str_eq(call_str(&c, "accelerator"), "cpu");
	ck_assert_str_eq(call_str(&c, "title"), "Local 1");
	ck_assert_str_eq(call_str(&c, "state"), "stopped");
	ck_assert_str_eq(call_str(&c, "desiredState"), "running");
	ck_assert(is_null("session") && is_null("quota") && is_null("gpu") && is_null("url") && is_null("reason"));
	ck_assert(is_null("maxSessionSeconds") && is_null("idleStopSeconds") && is_null("email"));
	ck_assert_int_eq(call_int(&c, "jobs.running"), 0);
	ck_assert_int_eq(call_int(&c, "owner"), ann.user_id);
	ck_assert_str_eq(c.etag, "\"v1\"");
	ck_assert(call_woke(&c, "gpupool_operations", "local") && call_woke(&c, "gpupool_events", ""));
	ck_assert_int_eq(world_int(w, "select count(*) from operation where worker_id = %lld and kind = 'start' and state = 'open' and generation = 1",
				   (long long)id), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from event where topic = 'worker' and what = 'created' and owner_id = %lld",
				   (long long)ann.user_id), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from audit where action = 'notebooks.create' and object = 'worker %lld'", (long long)id), 1);
}
END_TEST

START_TEST(test_implied_accounts)
{
	int64_t a = make(&ann, "local", ""), account = call_int(&c, "accountId"), manual;

	ck_assert_int_gt(a, 0);
	make(&bob, "local", "");
	ck_assert_int_eq(call_int(&c, "accountId"), account);
	ck_assert_int_eq(world_int(w, "select count(*) from account where provider = 'local' and sharing = 'all' and owner_id = %lld",
				   (long long)root.user_id), 1);
	make(&ann, "manual", "");
	manual = call_int(&c, "accountId");
	make(&bob, "manual", "");
	ck_assert_int_ne(call_int(&c, "accountId"), manual);
	make(&ann, "manual", "");
	ck_assert_int_eq(call_int(&c, "accountId"), manual);
	ck_assert_int_eq(world_int(w, "select owner_id from account where id = %lld", (long long)manual), ann.user_id);
	ck_assert_int_eq(count("account where provider = 'manual' and sharing = 'none'"), 2);
}
END_TEST

START_TEST(test_not_started_unless_wanted)
{
	make(&ann, "local", ",'autoStart':false,'title':'mine','email':'a@b.org','maxSessionSeconds':3600,'idleStopSeconds':60");
	ck_assert_str_eq(call_str(&c, "desiredState"), "stopped");
	ck_assert_str_eq(call_str(&c, "title"), "mine");
	ck_assert_str_eq(call_str(&c, "email"), "a@b.org");
	ck_assert_int_eq(call_int(&c, "maxSessionSeconds"), 3600);
	ck_assert_int_eq(call_int(&c, "idleStopSeconds"), 60);
	ck_assert_int_eq(count("operation"), 0);
	make(&ann, "local", ",'autoStart':false,'idleStopSeconds':0"); /* as null: never */
	ck_assert(is_null("idleStopSeconds"));
}
END_TEST

static const struct {
	const char *body, *faults;
} bodies[] = {
	{"{'provider':'local'}", "accelerator"},
	{"{'accelerator':'cpu'}", "provider"},
	{"{'provider':'aws','accelerator':'cpu'}", "provider"},
	{"{'provider':'local','accelerator':'a b'}", "accelerator"},
	{"{'provider':'local','accelerator':['cpu']}", "accelerator"},
	{"{'provider':'local','accelerator':'cpu','gpu':1}", "gpu"},
	{"{'provider':'local','accelerator':'cpu','title':''}", "title"},
	{"{'provider':'local','accelerator':'cpu','email':'nobody'}", "email"},
	{"{'provider':'local','accelerator':'cpu','email':'a@b c'}", "email"},
	{"{'provider':'local','accelerator':'cpu','email':'a@b@c'}", "email"},
	{"{'provider':'local','accelerator':'cpu','autoStart':1}", "autoStart"},
	{"{'provider':'local','accelerator':'cpu','maxSessionSeconds':59}", "maxSessionSeconds"},
	{"{'provider':'local','accelerator':'cpu','maxSessionSeconds':31536001}", "maxSessionSeconds"},
	{"{'provider':'local','accelerator':'cpu','idleStopSeconds':59}", "idleStopSeconds"},
	{"{'provider':'local','accelerator':'cpu','accountId':'999'}", "accountId"},
	{"{'provider':'local','accelerator':'cpu','accountId':'99999999999'}", "accountId"},
	{"{'provider':'local','accelerator':'cpu','credentials':{'key':'s3cret'}}", "credentials"},
};

START_TEST(test_body_is_refused_by_name)
{
	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, bodies[_i].body), 400);
	ck_assert_msg(!strcmp(call_faults(&c), bodies[_i].faults), "%s: %s", bodies[_i].body, call_faults(&c));
	ck_assert_int_eq(count("worker") + count("account") + count("operation") + count("audit"), 0);
}
END_TEST

START_TEST(test_account_of_another)
{
	int64_t account = world_account(w, bob.user_id, "local", "all", 0);

	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, world_text(w, "{'provider':'local','accelerator':'cpu','accountId':'%lld'}", (long long)account)), 400);
	ck_assert_str_eq(call_faults(&c), "accountId");
	ck_assert_int_eq(call(&c, &bob, "POST " NOTEBOOKS, world_text(w, "{'provider':'manual','accelerator':'cpu','accountId':'%lld'}", (long long)account)), 400);
	ck_assert_int_eq(call(&c, &bob, "POST " NOTEBOOKS, world_text(w, "{'provider':'local','accelerator':'cpu','accountId':'%lld'}", (long long)account)), 202);
	ck_assert_int_eq(call(&c, &root, "POST " NOTEBOOKS, world_text(w, "{'provider':'local','accelerator':'cpu','accountId':'%lld'}", (long long)account)), 202);
}
END_TEST

START_TEST(test_unreachable_from_elsewhere)
{
	int64_t id;

	world_sql(w, "insert into provider_policy values ('far', false, true, 1, 's', '2026-01-01')");
	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, "{'provider':'far','accelerator':'cpu'}"), 409);
	ck_assert_str_eq(call_str(&c, "code"), "public_url");
	ck_assert_int_eq(count("worker") + count("account"), 0);
	c.config.public_url = "https://gpu.example.org";
	id = make(&ann, "far", ",'autoStart':false");
	c.config.public_url = "https://10.0.0.1";
	ck_assert_int_eq(one(&ann, "POST", id, "/start", NULL), 409);
	ck_assert_str_eq(call_str(&c, "code"), "public_url");
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'desiredState':'running'}"), 409);
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'title':'t'}"), 200);
	ck_assert_int_eq(count("operation"), 0);
	ck_assert_int_eq(call(&c, &ann, "POST " NOTEBOOKS, "{'provider':'manual','accelerator':'cpu'}"), 409);
	c.config.public_url = "http://localhost:8080";
	make(&ann, "manual", "");
}
END_TEST

START_TEST(test_start_stop_delete)
{
	int64_t id = make(&ann, "local", ",'autoStart':false");

	ck_assert_int_eq(one(&ann, "POST", id, "/start", NULL), 202);
	ck_assert_str_eq(call_str(&c, "desiredState"), "running");
	ck_assert_int_eq(call_int(&c, "version"), 2);
	ck_assert(call_woke(&c, "gpupool_orders", world_text(w, "%lld", (long long)id)));
	ck_assert_int_eq(world_int(w, "select count(*) from operation where kind = 'start' and generation = 2"), 1);
	/* Again: nothing changes. */
	ck_assert_int_eq(one(&ann, "POST", id, "/start", "{}"), 202);
	ck_assert_int_eq(call_int(&c, "version"), 2);
	/* A start is under way: the stop is wanted, and its operation comes when the open one ends. */
	ck_assert_int_eq(one(&ann, "POST", id, "/stop", NULL), 202);
	ck_assert_str_eq(call_str(&c, "desiredState"), "stopped");
	ck_assert_int_eq(world_int(w, "select generation from worker"), 3);
	ck_assert_int_eq(count("operation"), 1);
	world_sql(w, "update operation set state = 'superseded'");
	ck_assert_int_eq(one(&ann, "DELETE", id, "", NULL), 202);
	ck_assert_str_eq(call_str(&c, "desiredState"), "deleted");
	ck_assert_int_eq(world_int(w, "select count(*) from operation where kind = 'delete' and state = 'open' and generation = 4"), 1);
	ck_assert_int_eq(one(&ann, "DELETE", id, "", NULL), 202);
	ck_assert_int_eq(world_int(w, "select generation from worker"), 4);
	ck_assert_int_eq(one(&ann, "POST", id, "/start", NULL), 409);
	ck_assert_int_eq(one(&ann, "POST", id, "/stop", NULL), 409);
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'title':'x'}"), 409);
	world_sql(w, "update worker set state = 'deleted', deleted_at = now()");
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 404);
	ck_assert_int_eq(one(&ann, "DELETE", id, "", NULL), 404);
	ck_assert_int_eq(count("event where what in ('start', 'stop', 'delete')"), 3);
}
END_TEST

START_TEST(test_start_of_a_failed_one_is_a_new_try)
{
	int64_t id = make(&ann, "local", "");

	world_sql(w, "update operation set state = 'failed'; update worker set state = 'failed'");
	ck_assert_int_eq(one(&ann, "POST", id, "/start", NULL), 202);
	ck_assert_int_eq(world_int(w, "select generation from worker"), 2);
	ck_assert_int_eq(world_int(w, "select count(*) from operation where kind = 'start' and state = 'open' and generation = 2"), 1);
}
END_TEST

START_TEST(test_change)
{
	int64_t id = make(&ann, "local", ",'autoStart':false,'maxSessionSeconds':600");

	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'title':'new','accelerator':'GPU','maxSessionSeconds':1200,'idleStopSeconds':300}"), 200);
	ck_assert_str_eq(call_str(&c, "title"), "new");
	ck_assert_str_eq(call_str(&c, "accelerator"), "gpu");
	ck_assert_int_eq(call_int(&c, "maxSessionSeconds"), 1200);
	ck_assert_int_eq(call_int(&c, "idleStopSeconds"), 300);
	ck_assert_str_eq(c.etag, "\"v2\"");
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'maxSessionSeconds':null,'idleStopSeconds':null}"), 200);
	ck_assert(is_null("maxSessionSeconds") && is_null("idleStopSeconds"));
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'idleStopSeconds':59}"), 400);
	ck_assert_str_eq(call_faults(&c), "idleStopSeconds");
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'idleStopSeconds':60}"), 200);
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'idleStopSeconds':0}"), 200);
	ck_assert(is_null("idleStopSeconds"));
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'desiredState':'running'}"), 200);
	ck_assert_int_eq(count("operation where kind = 'start'"), 1);
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'desiredState':'deleted'}"), 400);
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'title':null}"), 400);
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'provider':'manual'}"), 400);
	ck_assert_str_eq(call_faults(&c), "provider");
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{}"), 200);
	ck_assert_int_eq(call_int(&c, "version"), 6);
}
END_TEST

START_TEST(test_if_match)
{
	int64_t id = make(&ann, "local", ",'autoStart':false");

	c.if_match = "\"v2\"";
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'title':'late'}"), 412);
	c.if_match = "\"v1\"";
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'title':'first'}"), 200);
	c.if_match = "\"v1\"";
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'title':'second'}"), 412);
	c.if_match = "*";
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'title':'any'}"), 200);
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 200);
	ck_assert_str_eq(call_str(&c, "title"), "any");
	ck_assert_str_eq(c.etag, "\"v3\"");
	/* Its session and figures change without a version: never "not modified". */
	c.if_none_match = "\"v3\"";
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 200);
}
END_TEST

START_TEST(test_time_of_a_running_session_is_only_lowered)
{
	int64_t id = make(&ann, "local", ",'maxSessionSeconds':3600");

	run(id, "{}");
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'maxSessionSeconds':3601}"), 400);
	ck_assert_str_eq(call_faults(&c), "maxSessionSeconds");
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'maxSessionSeconds':null}"), 400);
	ck_assert_int_eq(count("session where deadline - registered_at = interval '1 hour'"), 1);
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'maxSessionSeconds':1800}"), 200);
	ck_assert_int_eq(count("session where deadline - registered_at = interval '30 min' and limit_seconds = 1800"), 1);
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'maxSessionSeconds':1800,'title':'same'}"), 200);
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'title':'other'}"), 200);
	/* Refused: rolled back, its session's deadline too. */
	c.if_match = "\"v1\"";
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'maxSessionSeconds':60}"), 412);
	ck_assert_int_eq(one(&bob, "PATCH", id, "", "{'maxSessionSeconds':60}"), 404);
	world_sql(w, "update worker set desired = 'deleted'");
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'maxSessionSeconds':60}"), 409);
	world_sql(w, "update worker set desired = 'running'");
	ck_assert_int_eq(count("session where limit_seconds = 1800"), 1);
	world_sql(w, "update session set state = 'ended', ended_at = now()");
	ck_assert_int_eq(one(&ann, "PATCH", id, "", "{'maxSessionSeconds':null}"), 200);
}
END_TEST

START_TEST(test_running_one_shows_its_session)
{
	int64_t id = make(&ann, "local", ""), job;

	run(id, "{\"gpus\": [{\"name\": \"Tesla T4\", \"memoryBytes\": 16106127360, \"driver\": \"550\"}, {\"name\": \"Tesla T4\"}]}");
	job = world_submit(w, &ann, "{'type':'script','payload':{'code':'x'}}").id;
	world_claim(w, job, id);
	world_sql(w, "insert into worker_tally values (%lld, 5, 1); insert into worker_delta values (%lld, 1, 0), (%lld, 1, 1)", (long long)id,
		  (long long)id, (long long)id);
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 200);
	ck_assert_str_eq(call_str(&c, "state"), "healthy");
	ck_assert_str_eq(call_str(&c, "gpu.name"), "Tesla T4");
	ck_assert_int_eq(call_int(&c, "gpu.count"), 2);
	ck_assert_int_eq(call_int(&c, "gpu.memoryBytes"), 16106127360);
	ck_assert_int_eq(call_int(&c, "gpu.utilization"), 42);
	ck_assert_int_eq(call_int(&c, "session.id"), world_int(w, "select id from session"));
	ck_assert_int_eq(strlen(call_str(&c, "session.deadline")), 24);
	ck_assert_int_eq(strlen(call_str(&c, "session.lastHeartbeat")), 24);
	ck_assert_int_ge(call_int(&c, "session.runtimeSeconds"), 0);
	ck_assert_int_eq(call_int(&c, "session.slots"), 2);
	ck_assert_int_eq(call_int(&c, "jobs.running"), 1);
	ck_assert_int_eq(call_int(&c, "jobs.succeeded"), 7);
	ck_assert_int_eq(call_int(&c, "jobs.failed"), 2);
	/* A cancelled job counts until its process is known to be gone. */
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST /api/gpu/jobs/%lld/cancel", (long long)job), 200);
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 200);
	ck_assert_int_eq(call_int(&c, "jobs.running"), 1);
	world_sql(w, "delete from job_ending");
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 200);
	ck_assert_int_eq(call_int(&c, "jobs.running"), 0);
	world_sql(w, "update session set state = 'ended'");
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 200);
	ck_assert(is_null("session") && is_null("gpu"));
}
END_TEST

static const char *const odd_capabilities[] = {
	"{}", "{\"gpus\": null}", "{\"gpus\": 5}", "{\"gpus\": []}", "{\"gpus\": [1]}", "{\"gpus\": [{\"name\": 5, \"memoryBytes\": \"many\"}]}",
	"[]", "null",
};

START_TEST(test_odd_capabilities_break_nothing)
{
	int64_t id = make(&ann, "local", "");

	run(id, odd_capabilities[_i]);
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 200);
	ck_assert(json_path(c.json, "gpu.name") != NULL);
	ck_assert_int_eq(call(&c, &bob, "GET " NOTEBOOKS, NULL), 200);
}
END_TEST

START_TEST(test_who_sees_what)
{
	int64_t id = make(&ann, "manual", ",'email':'a@b.org'"), local = make(&bob, "local", "");

	world_sql(w, "update worker set url = 'https://example.org/nb', state = 'needs_human', reason_code = 'paste', reason = 'Paste it.'");
	ck_assert_int_eq(one(&ann, "GET", id, "", NULL), 200);
	ck_assert_str_eq(call_str(&c, "url"), "https://example.org/nb");
	ck_assert_str_eq(call_str(&c, "email"), "a@b.org");
	ck_assert_str_eq(call_str(&c, "reason.code"), "paste");
	ck_assert_str_eq(call_str(&c, "reason.message"), "Paste it.");
	ck_assert(json_bool(c.json, "own", false));
	ck_assert_int_eq(one(&root, "GET", id, "", NULL), 200);
	ck_assert_str_eq(call_str(&c, "url"), "https://example.org/nb");
	/* Another operator: state, not address. */
	ck_assert_int_eq(one(&bob, "GET", id, "", NULL), 200);
	ck_assert_str_eq(call_str(&c, "state"), "needs_human");
	ck_assert(is_null("url") && is_null("email") && !json_bool(c.json, "own", true));
	/* A viewer: only what is shared with all. */
	ck_assert_int_eq(one(&eve, "GET", id, "", NULL), 404);
	ck_assert_int_eq(one(&eve, "GET", local, "", NULL), 200);
	ck_assert(is_null("url"));
	ck_assert_int_eq(call(&c, &eve, "GET " NOTEBOOKS, NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "notebooks")), 1);
	ck_assert_int_eq(call_int(&c, "notebooks.0.id"), local);
	ck_assert_int_eq(call(&c, &bob, "GET " NOTEBOOKS, NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "notebooks")), 2);
	/* The provider's terms outrank the account's owner. */
	world_sql(w, "update provider_policy set sharing_allowed = false");
	ck_assert_int_eq(one(&eve, "GET", local, "", NULL), 404);
	ck_assert_int_eq(one(&eve, "GET", local, "/sessions", NULL), 404);
}
END_TEST

static const struct {
	const char *method, *below, *body;
} writes[] = {
	{"PATCH", "", "{'title':'x'}"},
	{"DELETE", "", NULL},
	{"POST", "/start", NULL},
	{"POST", "/stop", NULL},
	{"POST", "/enrolment", NULL},
};

START_TEST(test_another_changes_nothing)
{
	int64_t id = make(&ann, "manual", "");
	struct principal submitter = ann;

	ck_assert_int_eq(one(&bob, writes[_i].method, id, writes[_i].below, writes[_i].body), 404);
	ck_assert_int_eq(one(&eve, writes[_i].method, id, writes[_i].below, writes[_i].body), 403);
	ck_assert_int_eq(one(NULL, writes[_i].method, id, writes[_i].below, writes[_i].body), 401);
	submitter.scopes = SCOPE_READ | SCOPE_SUBMIT;
	ck_assert_int_eq(one(&submitter, writes[_i].method, id, writes[_i].below, writes[_i].body), 403);
	ck_assert_int_eq(one(&ann, writes[_i].method, id + 1, writes[_i].below, writes[_i].body), 404);
	ck_assert_int_eq(one(&ann, writes[_i].method, INT64_MAX, writes[_i].below, writes[_i].body), 404);
	ck_assert_int_eq(world_int(w, "select version from worker"), 1);
	ck_assert_int_ne(one(&root, writes[_i].method, id, writes[_i].below, writes[_i].body), 404);
}
END_TEST

START_TEST(test_list_pages_and_filters)
{
	int64_t first = make(&ann, "local", ""), id;

	for (int i = 0; i < 4; i++)
		make(&ann, i % 2 ? "local" : "manual", "");
	ck_assert_int_eq(call(&c, &ann, "GET " NOTEBOOKS "?limit=3", NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "notebooks")), 3);
	ck_assert_int_eq(call_int(&c, "notebooks.0.id"), first);
	id = call_int(&c, "notebooks.2.id");
	ck_assert_int_eq(call_int(&c, "nextPageToken"), id);
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET " NOTEBOOKS "?limit=3&pageToken=%lld", (long long)id), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "notebooks")), 2);
	ck_assert(!json_has(c.json, "nextPageToken"));
	ck_assert_int_eq(call(&c, &ann, "GET " NOTEBOOKS "?provider=manual&state=stopped", NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "notebooks")), 2);
	ck_assert_int_eq(call(&c, &ann, "GET " NOTEBOOKS "?state=healthy", NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "notebooks")), 0);
	ck_assert_int_eq(call(&c, &ann, "GET " NOTEBOOKS "?state=deleted", NULL), 400);
	ck_assert_int_eq(call(&c, &ann, "GET " NOTEBOOKS "?pageToken=99999999999", NULL), 400);
}
END_TEST

START_TEST(test_list_is_one_statement)
{
	for (int i = 0; i < 20; i++)
		run(make(&ann, "local", ""), "{}");
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(call(&c, &ann, "GET " NOTEBOOKS, NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "notebooks")), 20);
	world_sql(w, "select public.pg_stat_statements_reset()");
	ck_assert_int_eq(call(&c, &ann, "GET " NOTEBOOKS, NULL), 200);
	/* One for the token, one for the list. */
	ck_assert_int_eq(world_int(w, "select sum(s.calls)::bigint from public.pg_stat_statements s join pg_roles r on r.oid = s.userid "
				      "join pg_database d on d.oid = s.dbid where r.rolname = 'gpupool_web' and d.datname = current_database()"), 2);
}
END_TEST

START_TEST(test_enrolment)
{
	int64_t id = make(&ann, "manual", "");
	uint8_t hash[CRYPTO_HASH];
	char hex[2 * CRYPTO_HASH + 1], token[80];

	ck_assert_int_eq(one(&ann, "POST", id, "/enrolment", NULL), 409); /* no session yet */
	world_sql(w, "insert into session(worker_id, owner_id, account_id, provider, generation) select id, owner_id, account_id, provider, 1 from worker");
	ck_assert_int_eq(one(&ann, "POST", id, "/enrolment", NULL), 200);
	snprintf(token, sizeof(token), "%s", call_str(&c, "token"));
	ck_assert_int_eq(strncmp(token, "gpe_", 4), 0);
	ck_assert_ptr_null(strstr(call_str(&c, "command"), token));
	ck_assert_ptr_nonnull(strstr(call_str(&c, "command"), "http://127.0.0.1:8080/agent/gpupool-agent.py"));
	ck_assert_ptr_nonnull(strstr(call_str(&c, "commandWithToken"), token));
	ck_assert_int_eq(strlen(call_str(&c, "expiresAt")), 24);
	crypto_hash(str_of(token), hash);
	crypto_hex(hash, sizeof(hash), hex);
	ck_assert_int_eq(world_int(w, "select count(*) from session where enrol_hash = '\\x%s' and enrol_until > now() + interval '23 hours'", hex), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from audit where detail::text like '%%gpe_%%' or object like '%%gpe_%%'"), 0);
	/* The next one replaces it; a registered session takes none. */
	ck_assert_int_eq(one(&ann, "POST", id, "/enrolment", NULL), 200);
	ck_assert_str_ne(call_str(&c, "token"), token);
	world_sql(w, "update session set state = 'running'");
	ck_assert_int_eq(one(&ann, "POST", id, "/enrolment", NULL), 409);
	id = make(&ann, "local", "");
	world_sql(w, "insert into session(worker_id, owner_id, account_id, provider, generation) select id, owner_id, account_id, provider, 1 "
		     "from worker where provider = 'local'");
	ck_assert_int_eq(one(&ann, "POST", id, "/enrolment", NULL), 409);
}
END_TEST

START_TEST(test_enrolment_is_not_replayed)
{
	int64_t id = make(&ann, "manual", "");

	world_sql(w, "insert into session(worker_id, owner_id, account_id, provider, generation) select id, owner_id, account_id, provider, 1 from worker");
	c.idempotency_key = "k";
	ck_assert_int_eq(one(&ann, "POST", id, "/enrolment", NULL), 200);
	c.idempotency_key = "k";
	ck_assert_int_eq(one(&ann, "POST", id, "/enrolment", NULL), 409);
	ck_assert_int_eq(count("idempotency where reply like '%gpe_%'"), 0);
}
END_TEST

START_TEST(test_sessions)
{
	int64_t id = make(&ann, "local", "");

	ck_assert_int_eq(one(&ann, "GET", id, "/sessions", NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "sessions")), 0);
	world_sql(w, "insert into session(worker_id, owner_id, account_id, provider, generation, state, ended_at, end_code, end_reason, log_tail) "
		     "select id, owner_id, account_id, provider, 1, 'ended', now(), 'deadline', 'Its time was over.', 'last words' "
		     "from worker, generate_series(1, 3)");
	run(id, "{}");
	ck_assert_int_eq(one(&ann, "GET", id, "/sessions?limit=3", NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "sessions")), 3);
	ck_assert_str_eq(call_str(&c, "sessions.0.state"), "running");
	ck_assert_str_eq(call_str(&c, "sessions.1.endCode"), "deadline");
	ck_assert_str_eq(call_str(&c, "sessions.1.log"), "last words");
	ck_assert_int_eq(one(&ann, "GET", id, world_text(w, "/sessions?limit=3&pageToken=%lld", (long long)call_int(&c, "nextPageToken")), NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "sessions")), 1);
	/* Another's: that it ran, not what it said. */
	ck_assert_int_eq(one(&bob, "GET", id, "/sessions", NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "sessions")), 4);
	ck_assert_str_eq(call_str(&c, "sessions.1.log"), "");
	ck_assert_int_eq(one(&ann, "GET", id + 1, "/sessions", NULL), 404);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("notebooks over http");
	TCase *t = tcase_create("notebooks");
	SRunner *runner;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, open_site, close_site);
	tcase_add_test(t, test_make_local);
	tcase_add_test(t, test_implied_accounts);
	tcase_add_test(t, test_not_started_unless_wanted);
	tcase_add_loop_test(t, test_body_is_refused_by_name, 0, ARRAY_LEN(bodies));
	tcase_add_test(t, test_account_of_another);
	tcase_add_test(t, test_unreachable_from_elsewhere);
	tcase_add_test(t, test_start_stop_delete);
	tcase_add_test(t, test_start_of_a_failed_one_is_a_new_try);
	tcase_add_test(t, test_change);
	tcase_add_test(t, test_if_match);
	tcase_add_test(t, test_time_of_a_running_session_is_only_lowered);
	tcase_add_test(t, test_running_one_shows_its_session);
	tcase_add_loop_test(t, test_odd_capabilities_break_nothing, 0, ARRAY_LEN(odd_capabilities));
	tcase_add_test(t, test_who_sees_what);
	tcase_add_loop_test(t, test_another_changes_nothing, 0, ARRAY_LEN(writes));
	tcase_add_test(t, test_list_pages_and_filters);
	tcase_add_test(t, test_list_is_one_statement);
	tcase_add_test(t, test_enrolment);
	tcase_add_test(t, test_enrolment_is_not_replayed);
	tcase_add_test(t, test_sessions);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_stop(pg);
	return failed ? 1 : 0;
}
