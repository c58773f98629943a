/* The events process over its socket: the way of agents from enrolment to goodbye. */
#include <check.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

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
	ck_assert_int_eq(fc_call(&a.c, "POST", world_text(r.w, "%s/goodbye", a.base), a.token,
				 "{\"reason\":\"sigterm\",\"code\":0,\"log\":\"last words\\n\"}"), 204);
	ck_assert_int_eq(world_int(r.w, "select count(*) from session where state = 'ended' and end_code = 'terminated' "
					"and log_tail = E'last words\\n'"), 1);
	fc_close(&a.c);
	close_rig();
}
END_TEST


/* A token is good at its own worker's address only, and elsewhere changes nothing. */
START_TEST(test_address_of_another_worker)
{
	static const char *const elsewhere[] = {"999999", "9223372036854775807", "0", "x"};
	struct agent a = {0};
	const struct json *j;
	const char *id, *lease, *said;

	open_rig();
	agent_start(&a, r.account, 1);
	submit("");
	j = json_at(claim(&a, 1, 5, ""), 0);
	id = keep(j, "jobId");
	lease = keep(j, "lease");
	world_sql(r.w, "update job_lease set until = '2026-01-01'");
	for (size_t i = 0; i < ARRAY_LEN(elsewhere); i++) {
		snprintf(a.base, sizeof(a.base), "/api/gpu/workers/%s", elsewhere[i]);
		said = world_text(r.w, "{\"jobs\":[{\"jobId\":\"%s\",\"lease\":\"%s\"}]}", id, lease);
		ck_assert_int_eq(fc_call(&a.c, "POST", world_text(r.w, "%s/heartbeat", a.base), a.token, said), 401);
		said = world_text(r.w, "{\"results\":[{\"jobId\":\"%s\",\"lease\":\"%s\",\"state\":\"succeeded\"}]}", id, lease);
		ck_assert_int_eq(fc_call(&a.c, "POST", world_text(r.w, "%s/results", a.base), a.token, said), 401);
		ck_assert_int_eq(fc_call(&a.c, "POST", world_text(r.w, "%s/goodbye", a.base), a.token, "{\"reason\":\"drained\"}"), 401);
	}
	ck_assert_int_eq(world_int(r.w, "select count(*) from job_lease where until = '2026-01-01'"), 1);
	ck_assert_int_eq(world_int(r.w, "select count(*) from session where state = 'running'"), 1);
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* A job chooses its own progress: none of it may spoil the heartbeat that renews its neighbours. */
START_TEST(test_odd_progress)
{
	static const char *const fractions[] = {"1e-300", "4.9e-324", "1e300", "-1e300", "-0.0", "0.9999999999"};
	struct agent a = {0};
	const struct json *j;
	const char *id, *lease;

	open_rig();
	agent_start(&a, r.account, 1);
	submit("");
	j = json_at(claim(&a, 1, 5, ""), 0);
	id = keep(j, "jobId");
	lease = keep(j, "lease");
	for (size_t i = 0; i < ARRAY_LEN(fractions); i++) {
		j = post(&a, "heartbeat",
			 world_text(r.w, "{\"jobs\":[{\"jobId\":\"%s\",\"lease\":\"%s\",\"progress\":{\"fraction\":%s}}],"
					 "\"gpu\":{\"utilization\":%s}}", id, lease, fractions[i], fractions[i]));
		ck_assert_uint_eq(json_len(json_get(j, "renewed")), 1);
		ck_assert_int_eq(world_int(r.w, "select count(*) from job_lease where progress between 0 and 1"), 1);
	}
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* One token, one instance; what is over is over. */
START_TEST(test_enrolment)
{
	struct agent a = {0};
	char first[CRYPTO_TOKEN_TEXT];

	open_rig();
	new_session(&a, r.account, "{}", 1);
	ck_assert_int_eq(enrol(&a, "instance-1", 1), 200);
	memcpy(first, a.token, sizeof(first));
	ck_assert_int_eq(enrol(&a, "instance-2", 1), 409);
	ck_assert_int_eq(enrol(&a, "instance-1", 1), 200);
	ck_assert_str_ne(first, a.token);
	ck_assert_int_eq(fc_call(&a.c, "POST", world_text(r.w, "%s/claim", a.base), first, "{\"waitSeconds\":0}"), 401);
	ck_assert_int_eq(world_int(r.w, "select count(*) from session where got @> '{gpu,T4,TeslaT4,NvidiaTeslaT4}' and gpu_memory = 16000000000 "
					"and slots = 1 and token_hash is not null and registered_at is not null"), 1);
	world_sql(r.w, "update worker set desired = 'stopped'");
	ck_assert_int_eq(enrol(&a, "instance-1", 1), 410);
	ck_assert_int_eq(fc_call(&a.c, "POST", "/api/gpu/workers/auto-register", "gpe_nobody",
				 "{\"instance\":\"instance-1\",\"agent\":\"1\",\"protocol\":1,\"capabilities\":{}}"), 401);
	ck_assert_int_eq(fc_call(&a.c, "POST", "/api/gpu/workers/auto-register", a.enrol, "{\"instance\":\"instance-1\"}"), 400);
	ck_assert_int_eq(fc_call(&a.c, "POST", "/api/gpu/workers/auto-register", NULL, "{}"), 401);
	/* A token that nobody used in time. */
	fc_close(&a.c);
	new_session(&a, r.account, "{}", 1);
	world_sql(r.w, "update session set enrol_until = now() - interval '1 second' where id = %lld", (long long)a.session);
	ck_assert_int_eq(enrol(&a, "instance-1", 1), 410);
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* A parked claim is woken by a submission at once, and empty when its time is up. */
START_TEST(test_claims_park)
{
	struct agent a = {0}, b = {0};
	int64_t before;

	open_rig();
	agent_start(&a, r.account, 1);
	agent_start(&b, r.account, 1);
	before = clock_ms();
	ck_assert_uint_eq(json_len(claim(&a, 1, 1, "")), 0);
	ck_assert_int_ge(clock_ms() - before, 900);
	say_claim(&a, &a.c, 1, 20, "");
	say_claim(&b, &b.c, 1, 20, "");
	ck_assert(!fc_read(&a.c, 300));
	before = clock_ms();
	submit("");
	pg_sql(r.w->web, "notify gpupool_jobs", NULL);
	submit("");
	ck_assert(fc_read(&a.c, 3000) && fc_read(&b.c, 3000));
	ck_assert_int_le(clock_ms() - before, 1000);
	ck_assert_uint_eq(json_len(json_get(a.c.json, "jobs")), 1);
	ck_assert_uint_eq(json_len(json_get(b.c.json, "jobs")), 1);
	fc_close(&a.c);
	fc_close(&b.c);
	close_rig();
}
END_TEST

/* The reply was lost: what is held and not named comes again, with the same lease. */
START_TEST(test_lost_reply)
{
	struct agent a = {0};
	const char *lease, *quoted;
	const struct json *jobs;

	open_rig();
	agent_start(&a, r.account, 2);
	submit("");
	lease = keep(json_at(claim(&a, 1, 5, ""), 0), "lease");
	jobs = claim(&a, 1, 5, "");
	ck_assert_uint_eq(json_len(jobs), 1);
	ck_assert_str_eq(json_cstr(json_at(jobs, 0), "lease"), lease);
	ck_assert_int_eq(json_i64(json_at(jobs, 0), "attempt", 0), 1);
	quoted = world_text(r.w, "\"%s\"", lease);
	ck_assert_uint_eq(json_len(claim(&a, 1, 0, quoted)), 0);
	/* The peer of a parked claim dies: its slots are not used up. */
	say_claim(&a, &a.c, 1, 20, quoted);
	ck_assert(!fc_read(&a.c, 100));
	fc_close(&a.c);
	fc_open(&a.c, r.p.socket);
	submit("");
	jobs = claim(&a, 1, 5, quoted);
	ck_assert_uint_eq(json_len(jobs), 1);
	ck_assert_str_ne(json_cstr(json_at(jobs, 0), "lease"), lease);
	fc_close(&a.c);
	close_rig();
}
END_TEST

static const char *first_order(const struct json *answer, const char *key)
{
	const char *s = json_cstr(json_path(answer, "orders.0"), key);

	return s ? s : "";
}

/* A cancel reaches the agent at once, and the job stays cancelled whatever it reports. */
START_TEST(test_cancel_order)
{
	struct agent a = {0};
	struct fc park;
	const char *id, *lease;
	const struct json *j;
	int64_t job, before;
	struct job_ended ended;
	struct error e;

	open_rig();
	agent_start(&a, r.account, 1);
	job = submit("");
	j = json_at(claim(&a, 1, 5, ""), 0);
	id = keep(j, "jobId");
	lease = keep(j, "lease");
	fc_open(&park, r.p.socket);
	say_claim(&a, &park, 0, 25, world_text(r.w, "\"%s\"", lease));
	ck_assert(!fc_read(&park, 200));
	before = clock_ms();
	ck_assert_int_eq(job_cancel(r.w->web, &r.ann, &job, 1, &ended, &e), OK);
	/* No hint: the poll must find it. */
	ck_assert(fc_read(&park, 3000));
	ck_assert_int_le(clock_ms() - before, 2000);
	ck_assert_str_eq(first_order(park.json, "order"), "cancel");
	ck_assert_str_eq(first_order(park.json, "lease"), lease);
	ck_assert_str_eq(first_order(park.json, "jobId"), id);
	/* Told a moment ago: the next claim parks, and does not spin. */
	say_claim(&a, &park, 0, 1, world_text(r.w, "\"%s\"", lease));
	ck_assert(fc_read(&park, 5000));
	ck_assert_uint_eq(json_len(json_get(park.json, "orders")), 0);
	/* It fills its slot until the agent says that it is gone. */
	submit("");
	say_claim(&a, &park, 1, 1, world_text(r.w, "\"%s\"", lease));
	ck_assert(fc_read(&park, 5000));
	ck_assert_uint_eq(json_len(json_get(park.json, "jobs")), 0);
	ck_assert_str_eq(report(&a, id, lease, "cancelled"), "cancelled");
	ck_assert_str_eq(report(&a, id, lease, "succeeded"), "cancelled");
	ck_assert_int_eq(world_int(r.w, "select count(*) from job_ending"), 0);
	ck_assert_int_eq(world_state(r.w, job), JOB_CANCELLED);
	ck_assert_uint_eq(json_len(claim(&a, 1, 5, "")), 1);
	fc_close(&park);
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* Orders that come from the worker's row wake the parked claim by a hint, at once. */
START_TEST(test_stop_order_and_end)
{
	struct agent a = {0};
	int64_t before;

	open_rig();
	agent_start(&a, r.account, 1);
	say_claim(&a, &a.c, 1, 25, "");
	ck_assert(!fc_read(&a.c, 300));
	before = clock_ms();
	world_sql(r.w, "update worker set desired = 'stopped'");
	world_sql(r.w, "notify gpupool_orders, '%lld'", (long long)a.worker);
	ck_assert(fc_read(&a.c, 2000));
	ck_assert_int_le(clock_ms() - before, 500);
	ck_assert_str_eq(first_order(a.c.json, "order"), "stop");
	/* A worker that is to stop gets no more work. */
	submit("");
	ck_assert_uint_eq(json_len(claim(&a, 1, 1, "")), 0);
	say_claim(&a, &a.c, 1, 25, "");
	ck_assert(!fc_read(&a.c, 100));
	world_sql(r.w, "update session set state = 'ended', ended_at = now() where id = %lld", (long long)a.session);
	ck_assert(fc_read(&a.c, 3000));
	ck_assert_int_eq(a.c.status, 410);
	ck_assert_int_eq(fc_call(&a.c, "POST", world_text(r.w, "%s/heartbeat", a.base), a.token, "{\"jobs\":[]}"), 410);
	ck_assert_int_eq(fc_call(&a.c, "POST", world_text(r.w, "%s/results", a.base), a.token, "{\"results\":[]}"), 410);
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* Items are judged one by one. */
START_TEST(test_result_items)
{
	struct agent a = {0};
	const struct json *j;
	const char *id, *lease;
	/* NULL = accepted, whatever stands beside it */
	static const char *const reasons[] = {"invalid", "invalid", "unknown", "stale", "invalid", NULL, "invalid"};

	open_rig();
	agent_start(&a, r.account, 4);
	submit("");
	j = json_at(claim(&a, 1, 5, ""), 0);
	id = keep(j, "jobId");
	lease = keep(j, "lease");
	j = post(&a, "results",
		 world_text(r.w,
			    "{\"results\":[{\"jobId\":\"x\",\"lease\":\"%s\",\"state\":\"succeeded\"},7,"
			    "{\"jobId\":\"12345\",\"lease\":\"%s\",\"state\":\"succeeded\"},"
			    "{\"jobId\":\"%s\",\"lease\":\"00000000-0000-4000-8000-000000000000\",\"state\":\"failed\"},"
			    "{\"jobId\":\"%s\",\"lease\":\"%s\",\"state\":\"dancing\"},"
			    "{\"jobId\":\"%s\",\"lease\":\"%s\",\"state\":\"succeeded\",\"result\":[1,\"\\u00e9\",null]},"
			    "{\"jobId\":\"%s\",\"lease\":\"%s\",\"state\":\"failed\",\"error\":5}]}",
			    lease, lease, id, id, lease, id, lease, id, lease));
	for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
		const struct json *item = json_at(json_get(j, "results"), i);

		ck_assert_int_eq(json_bool(item, "accepted", false), reasons[i] == NULL);
		if (reasons[i])
			ck_assert_str_eq(json_cstr(item, "reason"), reasons[i]);
	}
	ck_assert_int_eq(world_int(r.w, "select count(*) from job_done where state = 2 and result = '[1, \"é\", null]'"), 1);
	ck_assert_str_eq(report(&a, id, "00000000-0000-4000-8000-000000000000", "failed"), "stale");
	ck_assert_int_eq(fc_call(&a.c, "POST", world_text(r.w, "%s/results", a.base), a.token, "{\"results\":{}}"), 400);
	ck_assert_int_eq(fc_call(&a.c, "POST", world_text(r.w, "%s/results", a.base), "gps_nobody", "{\"results\":[]}"), 401);
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* Released uses up no attempt; a failure returns only where it was asked for. */
START_TEST(test_returns)
{
	struct agent a = {0};
	const struct json *j;
	int64_t job, plain;

	open_rig();
	agent_start(&a, r.account, 1);
	job = submit(",'retryOn':['error'],'maxAttempts':2");
	j = json_at(claim(&a, 1, 5, ""), 0);
	ck_assert_str_eq(report(&a, keep(j, "jobId"), keep(j, "lease"), "released"), "accepted");
	ck_assert_int_eq(world_state(r.w, job), JOB_QUEUED);
	j = json_at(claim(&a, 1, 5, ""), 0);
	ck_assert_int_eq(json_i64(j, "attempt", 0), 1);
	ck_assert_str_eq(report(&a, keep(j, "jobId"), keep(j, "lease"), "failed"), "accepted");
	ck_assert_int_eq(world_int(r.w, "select count(*) from job_delayed where why = 'retry_backoff' and attempt = 1 and run = 2"), 1);
	ck_assert_int_eq(world_int(r.w, "select count(*) from job_attempt"), 2);
	world_sql(r.w, "with d as (delete from job_delayed returning *), l as (insert into lane_delta select lane, 1 from d) "
		       "insert into job_ready select lane, id, owner_id, attempt, run, max_attempts from d");
	j = json_at(claim(&a, 1, 5, ""), 0);
	ck_assert_int_eq(json_i64(j, "attempt", 0), 2);
	ck_assert_str_eq(report(&a, keep(j, "jobId"), keep(j, "lease"), "failed"), "accepted");
	ck_assert_int_eq(world_state(r.w, job), JOB_FAILED);
	plain = submit("");
	j = json_at(claim(&a, 1, 5, ""), 0);
	ck_assert_str_eq(report(&a, keep(j, "jobId"), keep(j, "lease"), "timed_out"), "accepted");
	ck_assert_int_eq(world_state(r.w, plain), JOB_TIMED_OUT);
	ck_assert_int_eq(world_int(r.w, "select coalesce(sum(succeeded * 1000 + failed), 0) from (select succeeded, failed from worker_delta "
					"union all select succeeded, failed from worker_tally) x"), 2);
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* Whose account is not shared runs nobody else's jobs. */
START_TEST(test_not_shared)
{
	struct agent a = {0}, b = {0};
	struct principal bob;

	open_rig();
	bob = world_user(r.w, "bob", ROLE_OPERATOR);
	agent_start(&a, r.account, 1);
	agent_start(&b, world_account(r.w, bob.user_id, "manual", "all", 0), 1);
	say_claim(&a, &a.c, 1, 2, "");
	world_submit(r.w, &bob, "{'type':'script','payload':{'code':'1'}}");
	ck_assert(fc_read(&a.c, 5000));
	ck_assert_uint_eq(json_len(json_get(a.c.json, "jobs")), 0);
	ck_assert_uint_eq(json_len(claim(&b, 1, 5, "")), 1);
	submit("");
	world_sql(r.w, "update account set sharing = 'all'");
	world_sql(r.w, "delete from job_lease");
	ck_assert_uint_eq(json_len(claim(&b, 1, 5, "")), 1);
	fc_close(&a.c);
	fc_close(&b.c);
	close_rig();
}
END_TEST

/* The worker is another person's than the account: who owns the account says whose jobs run there. */
START_TEST(test_worker_on_another_s_account)
{
	struct agent a = {0};
	struct principal bob;

	open_rig();
	bob = world_user(r.w, "bob", ROLE_OPERATOR);
	agent_start(&a, r.account, 1);
	world_sql(r.w, "update worker set owner_id = %lld; update session set owner_id = %lld", (long long)bob.user_id, (long long)bob.user_id);
	/* Nothing is shared any more: not the jobs of who started it. */
	world_submit(r.w, &bob, "{'type':'script','payload':{'code':'1'}}");
	ck_assert_uint_eq(json_len(claim(&a, 1, 1, "")), 0);
	/* Shared with him by name, it still runs its owner's, whose account it is. */
	world_sql(r.w, "update account set sharing = 'named', shared_with = '{%lld}' where id = %lld", (long long)bob.user_id, (long long)r.account);
	ck_assert_uint_eq(json_len(claim(&a, 1, 5, "")), 1);
	world_sql(r.w, "delete from job_lease");
	submit("");
	ck_assert_uint_eq(json_len(claim(&a, 1, 5, "")), 1);
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* ---- logs ---- */

static int append(struct agent *a, const char *id, const char *lease, long long offset, const char *text)
{
	struct fc_request q = {.method = "POST", .uri = world_text(r.w, "/api/gpu/jobs/%s/logs?lease=%s&offset=%lld", id, lease, offset),
			       .bearer = a->token, .body = str_of(text), .content_type = "application/octet-stream"};

	fc_send(&a->c, &q);
	ck_assert(fc_read(&a->c, 10000));
	return a->c.status;
}

static const char *person_token(const struct principal *p)
{
	char token[CRYPTO_TOKEN_TEXT], hex[2 * CRYPTO_HASH + 1];
	uint8_t hash[CRYPTO_HASH];

	crypto_token("gpt", token);
	crypto_hash(str_of(token), hash);
	crypto_hex(hash, sizeof(hash), hex);
	world_sql(r.w, "insert into api_token(user_id, name, token_hash, scopes) values (%lld, 't', '\\x%s', '{read}')",
		  (long long)p->user_id, hex);
	return world_text(r.w, "%s", token);
}

static void small_log(struct config *c)
{
	quick(c);
	c->max_log = 1024;
}

START_TEST(test_logs)
{
	struct agent a = {0};
	struct principal bob;
	const char *id, *lease, *mine, *logs;
	const struct json *j;
	char big[1500];
	struct fc c;

	open_rig();
	events_process_stop(&r.p);
	events_process_start(&r.p, pg->dir, pg_conninfo(pg, "events", r.w->name), small_log);
	bob = world_user(r.w, "bob", ROLE_OPERATOR);
	mine = person_token(&r.ann);
	agent_start(&a, r.account, 1);
	submit("");
	j = json_at(claim(&a, 1, 5, ""), 0);
	id = keep(j, "jobId");
	lease = keep(j, "lease");
	logs = world_text(r.w, "/api/gpu/jobs/%s/logs", id);
	fc_open(&c, r.p.socket);
	ck_assert_int_eq(fc_call(&c, "GET", logs, mine, NULL), 200);
	ck_assert_uint_eq(c.body.len, 0);
	ck_assert_int_eq(append(&a, id, lease, 0, "hello "), 200);
	ck_assert_int_eq(json_i64(a.c.json, "length", 0), 6);
	ck_assert_int_eq(append(&a, id, lease, 0, "hello "), 200); /* a repeat */
	ck_assert_int_eq(json_i64(a.c.json, "length", 0), 6);
	ck_assert_int_eq(append(&a, id, lease, 3, "lo world"), 200); /* an overlap */
	ck_assert_int_eq(json_i64(a.c.json, "length", 0), 11);
	ck_assert_int_eq(append(&a, id, lease, 20, "gap"), 409);
	ck_assert_int_eq(json_i64(a.c.json, "expectedOffset", 0), 11);
	ck_assert_int_eq(append(&a, id, "00000000-0000-4000-8000-000000000000", 11, "x"), 410);
	ck_assert_int_eq(append(&a, id, lease, 11, "\xff\xc3"), 200);
	ck_assert_int_eq(fc_call(&c, "GET", logs, mine, NULL), 200);
	ck_assert_msg(str_eqz(c.body, "hello world\xef\xbf\xbd"), "%.*s", STR_ARG(c.body)); /* the begun character waits */
	ck_assert(strstr(c.out.ptr, "Gpupool-Next-Offset: 12\r\n"));
	ck_assert(strstr(c.out.ptr, "nosniff"));
	ck_assert_int_eq(append(&a, id, lease, 13, "\xa9\n"), 200);
	ck_assert_int_eq(fc_call(&c, "GET", world_text(r.w, "%s?offset=12", logs), mine, NULL), 200);
	ck_assert(str_eqz(c.body, "\xc3\xa9\n"));
	ck_assert_int_eq(fc_call(&c, "GET", logs, person_token(&bob), NULL), 404);
	ck_assert_int_eq(fc_call(&c, "GET", logs, NULL, NULL), 401);
	ck_assert_int_eq(fc_call(&c, "GET", world_text(r.w, "%s?attempt=2", logs), mine, NULL), 200);
	ck_assert_uint_eq(c.body.len, 0);
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	ck_assert_int_eq(append(&a, id, lease, 15, big), 200);
	ck_assert(json_bool(a.c.json, "full", false));
	ck_assert_int_eq(append(&a, id, lease, 5000, "more"), 200);
	ck_assert(json_bool(a.c.json, "full", false));
	ck_assert_int_eq(fc_call(&c, "GET", logs, mine, NULL), 200);
	ck_assert(strstr(c.body.ptr, "reached its limit"));
	ck_assert_uint_lt(c.body.len, 1100);
	fc_close(&c);
	fc_close(&a.c);
	close_rig();
}
END_TEST

START_TEST(test_log_is_followed)
{
	struct agent a = {0};
	const char *id, *lease, *mine;
	const struct json *j;
	struct fc c;
	struct fc_request q;

	open_rig();
	mine = person_token(&r.ann);
	agent_start(&a, r.account, 1);
	q = (struct fc_request){.method = "GET", .bearer = mine, .accept = "text/event-stream"};
	q.uri = world_text(r.w, "/api/gpu/jobs/%lld/logs", (long long)submit(""));
	fc_open(&c, r.p.socket);
	fc_send(&c, &q); /* before it begins */
	ck_assert(fc_read_until(&c, "text/event-stream", 3000));
	j = json_at(claim(&a, 1, 5, ""), 0);
	id = keep(j, "jobId");
	lease = keep(j, "lease");
	ck_assert_int_eq(append(&a, id, lease, 0, "one\n\xc3"), 200);
	ck_assert(fc_read_until(&c, "id: 4\ndata: {\"offset\":0,\"next\":4,\"text\":\"one\\n\"}\n\n", 3000));
	ck_assert_int_eq(append(&a, id, lease, 5, "\xa9 two"), 200);
	ck_assert(fc_read_until(&c, "id: 10\ndata: {\"offset\":4,\"next\":10,\"text\":\"\xc3\xa9 two\"}\n\n", 3000));
	ck_assert_str_eq(report(&a, id, lease, "succeeded"), "accepted");
	ck_assert(fc_read_until(&c, "event: end\n", 3000));
	ck_assert(fc_read(&c, 1000));
	/* Resumes where it was. */
	q.last_event_id = "4";
	fc_send(&c, &q);
	ck_assert(fc_read(&c, 3000));
	ck_assert(!strstr(c.body.ptr, "one") && strstr(c.body.ptr, "two") && strstr(c.body.ptr, "event: end"));
	fc_close(&c);
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* ---- artifacts ---- */

static const char *digest(struct str bytes)
{
	cleanup_buf struct buf b = BUF_INIT(128);
	uint8_t sum[CRYPTO_SHA256];

	crypto_sha256(bytes, sum);
	crypto_base64(sum, sizeof(sum), &b);
	return world_text(r.w, "sha-256=:%s:", b.ptr);
}

static int put(struct agent *a, const char *path, const char *lease, struct str bytes, const char *hash, long long length)
{
	struct fc_request q = {.method = "PUT", .uri = world_text(r.w, "/api/gpu/jobs/%s?lease=%s", path, lease), .bearer = a->token,
			       .digest = hash, .content_type = "application/octet-stream", .content_length = length};

	fc_send_head(&a->c, &q);
	for (size_t at = 0; at < bytes.len; at += 7000)
		fc_send_body(&a->c, (struct str){bytes.ptr + at, bytes.len - at < 7000 ? bytes.len - at : 7000});
	fc_send_body(&a->c, STR(""));
	ck_assert(fc_read(&a->c, 10000));
	return a->c.status;
}

static int64_t files(void)
{
	FILE *f = popen(world_text(r.w, "find %s -type f | wc -l", r.p.store), "r");
	int n = -1;

	ck_assert(f && fscanf(f, "%d", &n) == 1);
	pclose(f);
	return n;
}

static bool no_files(void *ctx)
{
	(void)ctx;
	return files() == 0;
}

static void small_store(struct config *c)
{
	quick(c);
	c->max_artifact = 200000;
	c->max_artifacts_job = 300000;
}

/* How many of these that had no answer have this one now; each is looked at for a moment. */
static int answers(struct fc *list, int n, int status)
{
	int count = 0;

	for (int i = 0; i < n; i++)
		count += !list[i].status && fc_read(&list[i], 5) && list[i].status == status;
	return count;
}

/* One agent that begins many files and sends none on does not keep the others from theirs. */
START_TEST(test_slow_uploads)
{
	enum { SLOW = 40 };
	struct agent a = {0}, b = {0};
	struct fc slow[SLOW];
	const struct json *j;
	const char *id, *lease, *hash;
	int refused = 0;

	open_rig();
	hash = digest(STR("other"));
	agent_start(&a, r.account, 1);
	submit("");
	j = json_at(claim(&a, 1, 5, ""), 0);
	id = keep(j, "jobId");
	lease = keep(j, "lease");
	for (int i = 0; i < SLOW; i++) {
		struct fc_request q = {.method = "PUT", .bearer = a.token, .digest = hash, .content_type = "application/octet-stream",
				       .uri = world_text(r.w, "/api/gpu/jobs/%s/artifacts/f%d?lease=%s", id, i, lease), .content_length = 1000};

		fc_open(&slow[i], r.p.socket);
		fc_send_head(&slow[i], &q);
		fc_send_body(&slow[i], STR("x"));
	}
	for (int64_t until = clock_ms() + 10000; refused < SLOW - 16 && clock_ms() < until;)
		refused += answers(slow, SLOW, 503);
	ck_assert_int_eq(refused + answers(slow, SLOW, 503), SLOW - 16);
	agent_start(&b, r.account, 1);
	submit("");
	j = json_at(claim(&b, 1, 5, ""), 0);
	ck_assert_int_eq(put(&b, world_text(r.w, "%s/artifacts/one", json_cstr(j, "jobId")), keep(j, "lease"), STR("one"), digest(STR("one")), 3), 201);
	for (int i = 0; i < SLOW; i++)
		fc_close(&slow[i]);
	while (put(&a, world_text(r.w, "%s/artifacts/late", id), lease, STR("late"), digest(STR("late")), 4) == 503)
		clock_sleep_ms(10);
	ck_assert_int_eq(a.c.status, 201);
	fc_close(&a.c);
	fc_close(&b.c);
	close_rig();
}
END_TEST

START_TEST(test_artifacts)
{
	static char big[200000];
	struct agent a = {0};
	struct fc c, cut;
	const char *id, *lease, *mine, *path;
	const struct json *j;
	struct str bytes = {big, sizeof(big)};
	struct fc_request q;

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 31 >> 3);
	open_rig();
	events_process_stop(&r.p);
	events_process_start(&r.p, pg->dir, pg_conninfo(pg, "events", r.w->name), small_store);
	mine = person_token(&r.ann);
	agent_start(&a, r.account, 1);
	submit("");
	j = json_at(claim(&a, 1, 5, ""), 0);
	id = keep(j, "jobId");
	lease = keep(j, "lease");
	path = world_text(r.w, "%s/artifacts/out/model-1.bin", id);
	/* refused, and nothing is left */
	ck_assert_int_eq(put(&a, path, lease, bytes, digest(STR("other")), (long long)bytes.len), 400);
	ck_assert_int_eq(put(&a, path, lease, bytes, NULL, (long long)bytes.len), 400);
	ck_assert_int_eq(put(&a, path, lease, bytes, digest(bytes), (long long)bytes.len + 1), 413);
	ck_assert_int_eq(put(&a, path, lease, bytes, digest(bytes), (long long)bytes.len - 1), 400);
	ck_assert_int_eq(put(&a, path, lease, (struct str){big, 1000}, digest(bytes), (long long)bytes.len), 400);
	ck_assert_int_eq(put(&a, path, "00000000-0000-4000-8000-000000000000", bytes, digest(bytes), (long long)bytes.len), 410);
	ck_assert_int_eq(put(&a, world_text(r.w, "%s/artifacts/a/../b", id), lease, bytes, digest(bytes), (long long)bytes.len), 400);
	ck_assert_int_eq(put(&a, world_text(r.w, "%s/artifacts/1/2/3/4/5/6/7/8/9", id), lease, bytes, digest(bytes), (long long)bytes.len), 400);
	fc_open(&cut, r.p.socket);
	q = (struct fc_request){.method = "PUT", .uri = world_text(r.w, "/api/gpu/jobs/%s?lease=%s", path, lease), .bearer = a.token,
				.digest = digest(bytes), .content_type = "application/octet-stream", .content_length = (long long)bytes.len};
	fc_send_head(&cut, &q);
	fc_send_body(&cut, (struct str){big, 100000});
	fc_close(&cut);
	ck_assert(wait_for(no_files, NULL, 3000));
	/* stored; the same again; another in its place */
	ck_assert_int_eq(put(&a, path, lease, bytes, digest(bytes), (long long)bytes.len), 201);
	ck_assert_int_eq(json_i64(a.c.json, "size", 0), (int64_t)bytes.len);
	ck_assert_int_eq(put(&a, path, lease, bytes, digest(bytes), (long long)bytes.len), 200);
	bytes.len = 50000;
	ck_assert_int_eq(put(&a, path, lease, bytes, digest(bytes), (long long)bytes.len), 201);
	ck_assert_int_eq(files(), 1);
	ck_assert_int_eq(put(&a, world_text(r.w, "%s/artifacts/empty", id), lease, STR(""), digest(STR("")), 0), 400); /* no length */
	bytes.len = 100000;
	ck_assert_int_eq(put(&a, world_text(r.w, "%s/artifacts/second", id), lease, bytes, digest(bytes), (long long)bytes.len), 413);
	/* read by its owner through nginx */
	fc_open(&c, r.p.socket);
	ck_assert_int_eq(fc_call(&c, "GET", world_text(r.w, "/api/gpu/jobs/%s", path), mine, NULL), 200);
	ck_assert(strstr(c.out.ptr, "X-Accel-Redirect: /internal/store/"));
	ck_assert(strstr(c.out.ptr, "Content-Disposition: attachment; filename=\"model-1.bin\""));
	ck_assert(strstr(c.out.ptr, "Content-Security-Policy: sandbox"));
	ck_assert_int_eq(fc_call(&c, "GET", world_text(r.w, "/api/gpu/jobs/%s/artifacts/none", id), mine, NULL), 404);
	fc_close(&c);
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* What an attempt left is the next one's, wherever that runs, and nobody else's. */
#define CHECKPOINT_OF "/api/gpu/jobs/%s/checkpoint?lease=%s"

START_TEST(test_checkpoint)
{
	struct agent a = {0}, b = {0};
	const char *id, *lease;
	const struct json *j;
	struct str bytes = STR("of the first attempt");

	open_rig();
	agent_start(&a, r.account, 1);
	agent_start(&b, r.account, 1);
	submit("");
	j = json_at(claim(&a, 1, 5, ""), 0);
	id = keep(j, "jobId");
	lease = keep(j, "lease");
	ck_assert_int_eq(fc_call(&a.c, "GET", world_text(r.w, CHECKPOINT_OF, id, lease), a.token, NULL), 404); /* nothing yet */
	ck_assert_int_eq(put(&a, world_text(r.w, "%s/artifacts/checkpoint.tar", id), lease, bytes, digest(bytes), (long long)bytes.len), 201);
	ck_assert_int_eq(fc_call(&a.c, "GET", world_text(r.w, CHECKPOINT_OF, id, lease), a.token, NULL), 200);
	ck_assert(strstr(a.c.out.ptr, "X-Accel-Redirect: /internal/store/"));
	ck_assert_int_eq(fc_call(&b.c, "GET", world_text(r.w, CHECKPOINT_OF, id, lease), b.token, NULL), 410); /* another session's lease */
	ck_assert_int_eq(fc_call(&a.c, "GET", world_text(r.w, CHECKPOINT_OF, id, "00000000-0000-4000-8000-000000000000"), a.token, NULL), 410);
	ck_assert_int_eq(fc_call(&a.c, "GET", world_text(r.w, CHECKPOINT_OF, id, "x"), a.token, NULL), 400);
	ck_assert_int_eq(fc_call(&a.c, "GET", world_text(r.w, CHECKPOINT_OF, id, lease), person_token(&r.ann), NULL), 410); /* no session */
	fc_close(&a.c);
	fc_close(&b.c);
	close_rig();
}
END_TEST

/* ---- event streams ---- */

START_TEST(test_event_stream)
{
	struct agent a = {0};
	struct principal bob;
	struct fc mine, bobs;
	struct fc_request q = {.method = "GET", .uri = "/api/gpu/events"};
	char last[64];
	const char *id;

	open_rig();
	bob = world_user(r.w, "bob", ROLE_OPERATOR);
	fc_open(&mine, r.p.socket);
	fc_open(&bobs, r.p.socket);
	ck_assert_int_eq(fc_call(&mine, "GET", "/api/gpu/events", NULL, NULL), 401);
	q.bearer = person_token(&r.ann);
	fc_send(&mine, &q);
	q.bearer = person_token(&bob);
	fc_send(&bobs, &q);
	ck_assert(fc_read_until(&mine, "hello", 3000) && fc_read_until(&bobs, "hello", 3000));
	world_sql(r.w, "select pg_sleep(0.05)");
	agent_start(&a, r.account, 1);
	ck_assert(fc_read_until(&mine, "event: worker\ndata: {\"topic\":\"worker\",\"what\":\"healthy\",\"ids\":[\"1\"]", 3000));
	submit("");
	claim(&a, 1, 5, "");
	ck_assert(fc_read_until(&mine, "\"what\":\"running\"", 3000));
	world_submit(r.w, &bob, "{'type':'script','payload':{'code':'1'}}");
	ck_assert(fc_read_until(&bobs, "\"what\":\"queued\"", 3000));
	ck_assert(!strstr(bobs.out.ptr, "running") && !strstr(bobs.out.ptr, "healthy"));
	/* Resume after the first event: the rest comes again, the first does not. */
	id = strstr(mine.out.ptr, "id: ") + 4;
	snprintf(last, sizeof(last), "%.*s", (int)strcspn(id, "\n"), id);
	fc_close(&mine);
	fc_open(&mine, r.p.socket);
	q.bearer = person_token(&r.ann);
	q.last_event_id = last;
	fc_send(&mine, &q);
	ck_assert(fc_read_until(&mine, "\"what\":\"running\"", 3000));
	ck_assert(!strstr(mine.out.ptr, "healthy"));
	submit("");
	ck_assert(fc_read_until(strstr(mine.out.ptr, "nothing") ? &bobs : &mine, "\"what\":\"queued\"", 3000));
	fc_close(&mine);
	fc_close(&bobs);
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* ---- people ---- */

static const char *hash_text(const char *token)
{
	uint8_t hash[CRYPTO_HASH];
	char hex[2 * CRYPTO_HASH + 1];

	crypto_hash(str_of(token), hash);
	crypto_hex(hash, sizeof(hash), hex);
	return world_text(r.w, "'\\x%s'", hex);
}

/* Whether a stream opens; its status. */
static int look(const char *cookie, const char *bearer)
{
	struct fc_request q = {.method = "GET", .uri = "/api/gpu/events", .cookie = cookie, .bearer = bearer};
	struct fc c;
	int status;

	fc_open(&c, r.p.socket);
	fc_send(&c, &q);
	if (!fc_read_until(&c, "hello", 200) && !c.ended)
		fc_read_until(&c, "hello", 5000);
	status = c.status;
	fc_close(&c);
	return status;
}

/* Cookies and tokens, as far as they are good. */
START_TEST(test_people)
{
	const char *token, *good = "gpupool=gpl_new", *old = "a=b; gpupool=gpl_old";

	open_rig();
	token = person_token(&r.ann);
	world_sql(r.w, "insert into login(user_id, token_hash, previous_hash, previous_until, csrf_key, expires_at) values (%lld, %s, %s, "
		       "now() + interval '1 minute', decode(repeat('07', 32), 'hex'), now() + interval '1 day')",
		  (long long)r.ann.user_id, hash_text("gpl_new"), hash_text("gpl_old"));
	ck_assert_int_eq(look(good, NULL), 200);
	ck_assert_int_eq(look(old, NULL), 200);
	ck_assert_int_eq(look("gpupool=gpl_other", NULL), 401);
	ck_assert_int_eq(look("gpupool=", NULL), 401);
	ck_assert_int_eq(look(NULL, NULL), 401);
	ck_assert_int_eq(look(NULL, token), 200);
	/* With an Authorization header the cookie is not looked at. */
	ck_assert_int_eq(look(good, "gpt_nothing"), 401);
	world_sql(r.w, "update login set previous_until = now() - interval '1 second'");
	ck_assert_int_eq(look(old, NULL), 401);
	world_sql(r.w, "update login set expires_at = now() - interval '1 second'");
	ck_assert_int_eq(look(good, NULL), 401);
	world_sql(r.w, "update api_token set expires_at = now() - interval '1 second'");
	ck_assert_int_eq(look(NULL, token), 401);
	world_sql(r.w, "update api_token set expires_at = null, revoked_at = now()");
	ck_assert_int_eq(look(NULL, token), 401);
	world_sql(r.w, "update api_token set revoked_at = null, scopes = '{inference}'");
	ck_assert_int_eq(look(NULL, token), 403);
	world_sql(r.w, "update api_token set scopes = '{read}'");
	world_sql(r.w, "update users set active = false");
	ck_assert_int_eq(look(NULL, token), 401);
	close_rig();
}
END_TEST

/* ---- load and faults ---- */

enum { MANY = 200 };

/* Many sessions at once, by rows: their tokens in agents. */
static void many_agents(struct agent *agents, int n, int slots)
{
	for (int i = 0; i < n; i++) {
		char hex[2 * CRYPTO_HASH + 1];
		uint8_t hash[CRYPTO_HASH];

		agents[i] = (struct agent){.worker = world_worker(r.w, r.account, "healthy", "{gpu,T4}", slots)};
		crypto_token("gps", agents[i].token);
		crypto_hash(str_of(agents[i].token), hash);
		crypto_hex(hash, sizeof(hash), hex);
		world_sql(r.w, "update session set token_hash = '\\x%s', protocol = 1 where worker_id = %lld", hex, (long long)agents[i].worker);
		snprintf(agents[i].base, sizeof(agents[i].base), "/api/gpu/workers/%lld", (long long)agents[i].worker);
		fc_open(&agents[i].c, r.p.socket);
	}
}

static void many_jobs(int n)
{
	int64_t lane = world_int(r.w, "insert into lane(type, accelerator, gpus, owner_id, priority) values (0, '', 1, %lld, 5) "
				      "on conflict (owner_id, type, accelerator, gpus, endpoint, priority, estimate) do update set ready = lane.ready returning id",
				 (long long)r.ann.user_id);

	world_sql(r.w, "with j as (insert into job(owner_id, lane, payload) select %lld, %lld, '{}' from generate_series(1, %d) "
		       "returning id, owner_id, lane, max_attempts), "
		       "q as (insert into job_ready(lane, id, owner_id, max_attempts) select lane, id, owner_id, max_attempts from j) "
		       "insert into lane_delta(lane, n) select lane, count(*) from j group by lane",
		  (long long)r.ann.user_id, (long long)lane, n);
}

/* Of the events process in this database, settings of its connections apart. */
static int64_t statements_so_far(void)
{
	return world_int(r.w, "select coalesce(sum(calls), 0)::bigint from public.pg_stat_statements s join pg_roles u on u.oid = s.userid "
			      "where u.rolname = 'gpupool_events' and s.dbid = (select oid from pg_database where datname = current_database()) "
			      "and query !~* '^\\s*(set|listen)'");
}

/* 200 agents that park, 200 jobs that come, 200 results: at most 20 statements. */
START_TEST(test_statements_are_shared)
{
	static struct agent agents[MANY];
	int64_t statements;

	open_rig();
	many_agents(agents, MANY, 1);
	ck_assert_int_eq(fc_call(&agents[0].c, "GET", "/healthz/events", NULL, NULL), 200);
	pg_sql(r.w->super, "select public.pg_stat_statements_reset()", NULL);
	for (int i = 0; i < MANY; i++)
		say_claim(&agents[i], &agents[i].c, 1, 20, "");
	ck_assert(!fc_read(&agents[MANY - 1].c, 100));
	many_jobs(MANY);
	pg_sql(r.w->web, "notify gpupool_jobs", NULL);
	for (int i = 0; i < MANY; i++) {
		ck_assert(fc_read(&agents[i].c, 5000));
		ck_assert_uint_eq(json_len(json_get(agents[i].c.json, "jobs")), 1);
	}
	for (int i = 0; i < MANY; i++) {
		const struct json *j = json_path(agents[i].c.json, "jobs.0");
		struct fc_request q = {.method = "POST", .uri = world_text(r.w, "%s/results", agents[i].base), .bearer = agents[i].token};

		q.body = str_of(world_text(r.w, "{\"results\":[{\"jobId\":\"%s\",\"lease\":\"%s\",\"state\":\"succeeded\"}]}",
					   json_cstr(j, "jobId"), json_cstr(j, "lease")));
		fc_send(&agents[i].c, &q);
	}
	for (int i = 0; i < MANY; i++) {
		ck_assert(fc_read(&agents[i].c, 5000));
		ck_assert(json_bool(json_path(agents[i].c.json, "results.0"), "accepted", false));
	}
	statements = statements_so_far();
	printf("%d agents and jobs: %lld statements\n", MANY, (long long)statements);
	ck_assert_int_gt(statements, 2);
	ck_assert_int_le(statements, 20);
	ck_assert_int_eq(world_int(r.w, "select count(*) from job_done where state = 2"), MANY);
	for (int i = 0; i < MANY; i++)
		fc_close(&agents[i].c);
	close_rig();
}
END_TEST

/* 100 browsers that look at a quiet pool cost no statement each. */
START_TEST(test_idle_streams)
{
	static struct fc streams[100];
	struct fc_request q = {.method = "GET", .uri = "/api/gpu/events"};
	int64_t before, after;

	open_rig();
	q.bearer = person_token(&r.ann);
	for (int i = 0; i < 100; i++) {
		fc_open(&streams[i], r.p.socket);
		fc_send(&streams[i], &q);
	}
	for (int i = 0; i < 100; i++)
		ck_assert(fc_read_until(&streams[i], "hello", 5000));
	before = statements_so_far();
	ck_assert(!fc_read(&streams[0], 1000));
	after = statements_so_far();
	ck_assert_int_le(after - before, 12);
	submit("");
	for (int i = 0; i < 100; i++)
		ck_assert(fc_read_until(&streams[i], "\"what\":\"queued\"", 5000));
	for (int i = 0; i < 100; i++)
		fc_close(&streams[i]);
	close_rig();
}
END_TEST

/* PostgreSQL stands still for 3 s: what needs no statement goes on, the rest waits and then is done. */
START_TEST(test_frozen_database)
{
	struct agent a = {0}, b = {0};
	struct fc stream, c;
	struct fc_request q = {.method = "GET", .uri = "/api/gpu/events"};
	int64_t until;

	open_rig();
	q.bearer = person_token(&r.ann);
	agent_start(&a, r.account, 1);
	agent_start(&b, r.account, 1);
	fc_open(&stream, r.p.socket);
	fc_open(&c, r.p.socket);
	fc_send(&stream, &q);
	ck_assert(fc_read_until(&stream, "hello", 3000));
	say_claim(&a, &a.c, 1, 20, "");
	ck_assert(!fc_read(&a.c, 100));
	pg_freeze(pg, true);
	q = (struct fc_request){.method = "POST", .uri = world_text(r.w, "%s/heartbeat", b.base), .bearer = b.token, .body = STR("{\"jobs\":[]}")};
	fc_send(&b.c, &q);
	for (until = clock_ms() + 3000; clock_ms() < until;) {
		int64_t start = clock_ms();

		ck_assert_int_eq(fc_call(&c, "GET", "/healthz/events", NULL, NULL), 200);
		ck_assert_int_le(clock_ms() - start, 500);
		ck_assert(!fc_read(&b.c, 50));
	}
	pg_freeze(pg, false);
	ck_assert(fc_read(&b.c, 5000));
	ck_assert_int_eq(b.c.status, 200);
	ck_assert(!stream.ended && !stream.closed);
	submit("");
	ck_assert(fc_read(&a.c, 5000));
	ck_assert_uint_eq(json_len(json_get(a.c.json, "jobs")), 1);
	ck_assert(fc_read_until(&stream, "running", 3000));
	fc_close(&stream);
	fc_close(&c);
	fc_close(&a.c);
	fc_close(&b.c);
	close_rig();
}
END_TEST

/* It does not come back: parked stay parked, calls get 503 after 10 s. */
START_TEST(test_database_away)
{
	struct agent a = {0}, b = {0};
	struct fc_request q;
	int64_t start;

	open_rig();
	agent_start(&a, r.account, 1);
	agent_start(&b, r.account, 1);
	say_claim(&a, &a.c, 1, 25, "");
	ck_assert(!fc_read(&a.c, 100));
	pg_freeze(pg, true);
	start = clock_ms();
	q = (struct fc_request){.method = "POST", .uri = world_text(r.w, "%s/heartbeat", b.base), .bearer = b.token, .body = STR("{\"jobs\":[]}")};
	fc_send(&b.c, &q);
	ck_assert(fc_read(&b.c, 14000));
	ck_assert_int_eq(b.c.status, 503);
	ck_assert(strstr(b.c.out.ptr, "Retry-After: "));
	ck_assert_int_ge(clock_ms() - start, 9000);
	ck_assert_int_le(clock_ms() - start, 13000);
	ck_assert(!a.c.ended && !fc_read(&a.c, 10));
	pg_freeze(pg, false);
	submit("");
	ck_assert(fc_read(&a.c, 14000));
	ck_assert_int_eq(a.c.status, 200);
	ck_assert_int_eq(fc_call(&b.c, "POST", q.uri, b.token, "{\"jobs\":[]}"), 200);
	fc_close(&a.c);
	fc_close(&b.c);
	close_rig();
}
END_TEST

/* kill -9 of PostgreSQL: nobody is disconnected, and what was acknowledged is there. */
START_TEST(test_database_restart)
{
	struct agent a = {0};
	const struct json *j;
	const char *id, *lease;
	struct fc park;

	pg = pg_start(); /* one that is this process's own to kill */
	open_rig();
	agent_start(&a, r.account, 2);
	submit("");
	j = json_at(claim(&a, 1, 5, ""), 0);
	id = keep(j, "jobId");
	lease = keep(j, "lease");
	fc_open(&park, r.p.socket);
	say_claim(&a, &park, 1, 25, world_text(r.w, "\"%s\"", lease));
	ck_assert(!fc_read(&park, 200));
	pg_crash(pg);
	ck_assert_str_eq(report(&a, id, lease, "succeeded"), "accepted");
	ck_assert(!park.ended && !park.closed);
	/* the test's own connections are gone */
	db_close(r.w->web);
	r.w->web = pg_db(pg, "web", r.w->name);
	submit("");
	ck_assert(fc_read(&park, 10000));
	ck_assert_uint_eq(json_len(json_get(park.json, "jobs")), 1);
	fc_close(&park);
	fc_close(&a.c);
	close_rig();
}
END_TEST

/* A browser that does not read falls behind and harms nobody; when it reads again it gets everything, once. */
START_TEST(test_slow_reader)
{
	struct fc slow, quick_one;
	struct fc_request q = {.method = "GET", .uri = "/api/gpu/events"};
	int n = 0;

	open_rig();
	q.bearer = person_token(&r.ann);
	fc_open(&slow, r.p.socket);
	fc_open(&quick_one, r.p.socket);
	fc_send(&slow, &q);
	fc_send(&quick_one, &q);
	ck_assert(fc_read_until(&slow, "hello", 3000) && fc_read_until(&quick_one, "hello", 3000));
	for (int i = 0; i < 20; i++)
		world_sql(r.w, "insert into event(owner_id, topic, what, subjects) select %lld, 'job', 'queued', "
			       "array(select 1000000000000 + k from generate_series(1, 150) k) from generate_series(1, 50)",
			  (long long)r.ann.user_id);
	world_sql(r.w, "insert into event(owner_id, topic, what, subjects) values (%lld, 'pool', 'last', '{1}')", (long long)r.ann.user_id);
	ck_assert(fc_read_until(&quick_one, "\"what\":\"last\"", 10000));
	ck_assert(fc_read_until(&slow, "\"what\":\"last\"", 10000));
	for (const char *at = slow.out.ptr; (at = strstr(at, "\"what\":\"queued\"")); at++)
		n++;
	ck_assert_int_eq(n, 1000);
	fc_close(&slow);
	fc_close(&quick_one);
	close_rig();
}
END_TEST

/* A database without our tables at start: it listens, says so, and answers 503. */
START_TEST(test_no_schema)
{
	struct fc c, d;
	int64_t start;

	open_rig();
	events_process_stop(&r.p);
	events_process_start(&r.p, pg->dir, pg_conninfo(pg, "events", "postgres"), quick);
	fc_open(&c, r.p.socket);
	fc_open(&d, r.p.socket);
	start = clock_ms();
	fc_send(&d, &(struct fc_request){.method = "GET", .uri = "/api/gpu/events", .bearer = "gpt_x"});
	ck_assert_int_eq(fc_call(&c, "GET", "/healthz/events", NULL, NULL), 200);
	ck_assert(!json_bool(c.json, "database", true));
	ck_assert(fc_read(&d, 14000));
	ck_assert_int_eq(d.status, 503);
	ck_assert_int_ge(clock_ms() - start, 9000);
	fc_close(&c);
	fc_close(&d);
	close_rig();
}
END_TEST

/* Peers that send rubbish, half a request, or nothing, harm nobody. */
START_TEST(test_hostile_peers)
{
	struct fc peers[40], c;
	unsigned char junk[512];

	open_rig();
	for (int i = 0; i < 40; i++) {
		fc_open(&peers[i], r.p.socket);
		crypto_random(junk, sizeof(junk));
		if (i % 2)
			memcpy(junk, "\1\1\0\1\0\10\0\0\0\1\1\0\0\0\0\0", 16);
		if (i % 4 && send(peers[i].fd, junk, sizeof(junk), MSG_NOSIGNAL) < 0)
			continue;
	}
	fc_open(&c, r.p.socket);
	ck_assert_int_eq(fc_call(&c, "GET", "/healthz/events", NULL, NULL), 200);
	ck_assert_int_eq(fc_call(&c, "GET", "/api/gpu/me", NULL, NULL), 421);
	ck_assert_int_eq(fc_call(&c, "GET", "/nowhere", NULL, NULL), 404);
	ck_assert_int_eq(fc_call(&c, "DELETE", "/api/gpu/events", NULL, NULL), 405);
	ck_assert_int_eq(fc_call(&c, "POST", "/api/gpu/workers/1/claim", "x", "{\"max\":"), 400);
	ck_assert_int_eq(fc_call(&c, "POST", "/api/gpu/workers/1/claim", "x", "{\"max\":-1}"), 400);
	ck_assert_int_eq(fc_call(&c, "POST", "/api/gpu/workers/1/claim", "x", "{\"max\":1}"), 401);
	ck_assert_int_eq(fc_call(&c, "POST", "/api/gpu/workers/1/claim", NULL, "{\"max\":1}"), 401);
	ck_assert_int_eq(fc_call(&c, "POST", "/api/gpu/workers/1/heartbeat", "x", world_text(r.w, "{\"jobs\":[%0600000d]}", 0)), 413);
	for (int i = 0; i < 40; i++)
		fc_close(&peers[i]);
	fc_close(&c);
	close_rig();
}
END_TEST

static void few(struct config *c)
{
	quick(c);
	c->max_parked = 2;
}

/* Limits answer; and who is told to stop lets everybody go with an answer. */
START_TEST(test_limit_and_drain)
{
	struct agent a = {0};
	struct fc two, three, stream;
	struct fc_request q = {.method = "GET", .uri = "/api/gpu/events"};

	open_rig();
	events_process_stop(&r.p);
	events_process_start(&r.p, pg->dir, pg_conninfo(pg, "events", r.w->name), few);
	agent_start(&a, r.account, 1);
	fc_open(&two, r.p.socket);
	fc_open(&three, r.p.socket);
	fc_open(&stream, r.p.socket);
	q.bearer = person_token(&r.ann);
	fc_send(&stream, &q);
	ck_assert(fc_read_until(&stream, "hello", 3000));
	say_claim(&a, &a.c, 1, 25, "");
	say_claim(&a, &two, 0, 25, "");
	ck_assert(!fc_read(&two, 200));
	say_claim(&a, &three, 0, 25, "");
	ck_assert(fc_read(&three, 3000));
	ck_assert_int_eq(three.status, 503);
	ck_assert(strstr(three.out.ptr, "Retry-After: "));
	events_process_stop(&r.p);
	ck_assert(fc_read(&a.c, 1000) && fc_read(&two, 1000) && fc_read(&stream, 1000));
	ck_assert_int_eq(a.c.status, 200);
	ck_assert_uint_eq(json_len(json_get(a.c.json, "jobs")), 0);
	fc_close(&a.c);
	fc_close(&two);
	fc_close(&three);
	fc_close(&stream);
	world_close(r.w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("events");
	TCase *t = tcase_create("agents");

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_main_flow);
	tcase_add_test(t, test_address_of_another_worker);
	tcase_add_test(t, test_odd_progress);
	tcase_add_test(t, test_enrolment);
	tcase_add_test(t, test_claims_park);
	tcase_add_test(t, test_lost_reply);
	tcase_add_test(t, test_cancel_order);
	tcase_add_test(t, test_stop_order_and_end);
	tcase_add_test(t, test_result_items);
	tcase_add_test(t, test_returns);
	tcase_add_test(t, test_not_shared);
	tcase_add_test(t, test_worker_on_another_s_account);
	tcase_add_test(t, test_logs);
	tcase_add_test(t, test_log_is_followed);
	tcase_add_test(t, test_artifacts);
	tcase_add_test(t, test_checkpoint);
	tcase_add_test(t, test_slow_uploads);
	tcase_add_test(t, test_event_stream);
	tcase_add_test(t, test_people);
	suite_add_tcase(s, t);
	t = tcase_create("faults");
	tcase_set_timeout(t, 90);
	tcase_add_test(t, test_statements_are_shared);
	tcase_add_test(t, test_idle_streams);
	tcase_add_test(t, test_frozen_database);
	tcase_add_test(t, test_database_away);
	tcase_add_test(t, test_no_schema);
	tcase_add_test(t, test_database_restart);
	tcase_add_test(t, test_slow_reader);
	tcase_add_test(t, test_hostile_peers);
	tcase_add_test(t, test_limit_and_drain);
	suite_add_tcase(s, t);
	return unit_run(s);
}
