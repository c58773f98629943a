/* The events process over its socket: the way of agents from enrolment to goodbye. */
#include <check.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "fclient.h"
#include "pg.h"
#include "unit.h"
#include "world.h"

static struct pg *pg;

struct rig {
	struct world *w;
	struct events_process p;
	struct principal ann;
	int64_t account;
};

static struct rig r;

static void quick(struct config *c)
{
	c->heartbeat_seconds = 1;
}

static void open_rig(void)
{
	static int n;
	char name[32];

	snprintf(name, sizeof(name), "events_%d_%d", (int)getpid(), n++);
	r.w = world_open(pg, name);
	r.ann = world_user(r.w, "ann", ROLE_OPERATOR);
	r.account = world_account(r.w, r.ann.user_id, "local", "none", 0);
	events_process_start(&r.p, pg->dir, pg_conninfo(pg, "events", name), quick);
}

static void close_rig(void)
{
	events_process_stop(&r.p);
	world_close(r.w);
}

/* ---- agents ---- */

struct agent {
	struct fc c;
	char enrol[CRYPTO_TOKEN_TEXT], token[CRYPTO_TOKEN_TEXT], base[64];
	int64_t worker, session;
};

static void new_session(struct agent *a, int64_t account, const char *got, int slots)
{
	char hex[2 * CRYPTO_HASH + 1];
	uint8_t hash[CRYPTO_HASH];

	crypto_token("gpe", a->enrol);
	crypto_hash(str_of(a->enrol), hash);
	crypto_hex(hash, sizeof(hash), hex);
	a->worker = world_worker(r.w, account, "starting", got, slots);
	world_sql(r.w, "update session set state = 'starting', registered_at = null, enrol_hash = '\\x%s', "
		       "enrol_until = now() + interval '1 minute' where worker_id = %lld",
		  hex, (long long)a->worker);
	a->session = world_int(r.w, "select session_id from worker where id = %lld", (long long)a->worker);
	fc_open(&a->c, r.p.socket);
}

static int enrol(struct agent *a, const char *instance, int slots)
{
	const char *body = world_text(r.w,
				      "{\"provider\":\"local\",\"instance\":\"%s\",\"agent\":\"1.0.0\",\"protocol\":1,"
				      "\"capabilities\":{\"gpus\":[{\"name\":\"Tesla T4\",\"memoryBytes\":16000000000}],\"slots\":%d}}",
				      instance, slots);
	int status = fc_call(&a->c, "POST", "/api/gpu/workers/auto-register", a->enrol, body);

	if (status == 200) {
		snprintf(a->token, sizeof(a->token), "%s", json_cstr(a->c.json, "token"));
		snprintf(a->base, sizeof(a->base), "/api/gpu/workers/%s", json_cstr(a->c.json, "workerId"));
	}
	return status;
}

static void agent_start(struct agent *a, int64_t account, int slots)
{
	new_session(a, account, "{gpu,T4}", slots);
	ck_assert_int_eq(enrol(a, "instance-1", slots), 200);
}

static void say_claim(struct agent *a, struct fc *c, int max, int wait, const char *holding)
{
	struct fc_request q = {.method = "POST", .uri = world_text(r.w, "%s/claim", a->base), .bearer = a->token};

	q.body = str_of(world_text(r.w, "{\"max\":%d,\"waitSeconds\":%d,\"holding\":[%s]}", max, wait, holding));
	fc_send(c, &q);
}

static const struct json *claim(struct agent *a, int max, int wait, const char *holding)
{
	say_claim(a, &a->c, max, wait, holding);
	ck_assert(fc_read(&a->c, 10000));
	ck_assert_msg(a->c.status == 200, "%.*s", STR_ARG(a->c.body));
	return json_get(a->c.json, "jobs");
}

static const struct json *post(struct agent *a, const char *what, const char *body)
{
	ck_assert_msg(fc_call(&a->c, "POST", world_text(r.w, "%s/%s", a->base, what), a->token, body) == 200, "%.*s", STR_ARG(a->c.body));
	return a->c.json;
}

static int64_t submit(const char *extra)
{
	return world_submit(r.w, &r.ann, world_text(r.w, "{'type':'script','payload':{'code':'1'}%s}", extra)).id;
}

/* One item of a report, and its answer: "accepted" or the reason. */
static const char *report(struct agent *a, const char *job, const char *lease, const char *state)
{
	const struct json *j = post(a, "results",
				    world_text(r.w, "{\"results\":[{\"jobId\":\"%s\",\"lease\":\"%s\",\"state\":\"%s\",\"result\":{\"x\":1}}]}", job,
					       lease, state));
	const struct json *item = json_path(j, "results.0");

	return json_bool(item, "accepted", false) ? "accepted" : json_cstr(item, "reason");
}

static const char *keep(const struct json *job, const char *key)
{
	return world_text(r.w, "%s", json_cstr(job, key));
}

/* ---- tests ---- */

START_TEST(test_main_flow)
{
	struct agent a = {0};
	const struct json *jobs, *j;
	const char *id, *lease;
	int64_t job;

	open_rig();
	agent_start(&a, r.account, 2);
	ck_assert_int_eq(world_int(r.w, "select count(*) from worker where state = 'healthy'"), 1);
	job = submit(",'name':'first','timeoutSeconds':100");
	jobs = claim(&a, 2, 5, "");
	ck_assert_uint_eq(json_len(jobs), 1);
	j = json_at(jobs, 0);
	id = keep(j, "jobId");
	lease = keep(j, "lease");
	ck_assert_str_eq(id, world_text(r.w, "%lld", (long long)job));
	ck_assert_str_eq(json_cstr(j, "type"), "script");
	ck_assert_str_eq(json_cstr(j, "name"), "first");
	ck_assert_str_eq(json_cstr(json_get(j, "payload"), "code"), "1");
	ck_assert_int_eq(json_i64(j, "attempt", 0), 1);
	ck_assert_int_eq(json_i64(j, "timeoutSeconds", 0), 100);
	ck_assert_int_eq(json_i64(j, "leaseSeconds", 0), 300);
	ck_assert_int_eq(world_state(r.w, job), JOB_RUNNING);
	j = post(&a, "heartbeat",
		 world_text(r.w, "{\"jobs\":[{\"jobId\":\"%s\",\"lease\":\"%s\",\"progress\":{\"fraction\":0.5,\"message\":\"half\"}}],"
				 "\"gpu\":{\"utilization\":0.9,\"memoryUsed\":5,\"memoryTotal\":10}}", id, lease));
	ck_assert_str_eq(json_cstr(json_path(j, "renewed.0"), "lease"), lease);
	ck_assert_int_eq(world_int(r.w, "select count(*) from job_lease where progress = 0.5 and message = 'half'"), 1);
	ck_assert_int_eq(world_int(r.w, "select count(*) from session_live where memory_used = 5 and busy_at > now() - interval '1 minute'"), 1);
	ck_assert_str_eq(report(&a, id, lease, "succeeded"), "accepted");
	ck_assert_int_eq(world_state(r.w, job), JOB_SUCCEEDED);
	ck_assert_str_eq(report(&a, id, lease, "failed"), "accepted"); /* a repeat, whatever it says */
	ck_assert_int_eq(world_state(r.w, job), JOB_SUCCEEDED);
	ck_assert_int_eq(fc_call(&a.c, "POST", world_text(r.w, "%s/goodbye", a.base), a.token, "{\"reason\":\"drained\"}"), 204);
	ck_assert_int_eq(world_int(r.w, "select count(*) from session where state = 'ended'"), 1);
	fc_close(&a.c);
	close_rig();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("events");
	TCase *t = tcase_create("agents");

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_main_flow);
	suite_add_tcase(s, t);
	return unit_run(s);
}
