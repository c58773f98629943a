/* The routes of jobs: answers, refusals by name, and who sees what. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "call.h"

static struct pg *pg;
static struct world *w;
static struct call_site c;
static struct principal ann, bob, root, eve; /* operators, administrator, viewer */

#define JOB "'type':'script','payload':{'code':'print(1)'}"
#define JOBS "/api/gpu/jobs"

static void open_site(void)
{
	char name[32];

	snprintf(name, sizeof(name), "jobs_%d", (int)getpid());
	w = world_open(pg, name);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
	root = world_user(w, "root", ROLE_ADMIN);
	eve = world_user(w, "eve", ROLE_VIEWER);
	call_init(&c, w);
}

static void close_site(void)
{
	call_done(&c);
	world_close(w);
}

static int64_t submit(const struct principal *p, const char *more)
{
	ck_assert_int_eq(call(&c, p, "POST " JOBS, world_text(w, "{" JOB "%s}", more)), 202);
	return call_int(&c, "jobId");
}

static int64_t own_worker(void)
{
	return world_worker(w, world_account(w, ann.user_id, "local", "none", 0), "healthy", "{gpu,T4}", 1);
}

static bool is_null(const char *path)
{
	const char *dot = strrchr(path, '.');
	const struct json *in = dot ? json_path(c.json, world_text(w, "%.*s", (int)(dot - path), path)) : c.json;

	return json_has(in, dot ? dot + 1 : path) && !json_path(c.json, path);
}

START_TEST(test_submit_read_list)
{
	int64_t id = submit(&ann, ",'name':'n','tags':['a'],'accelerator':'T4','priority':9");

	ck_assert_str_eq(call_str(&c, "state"), "queued");
	ck_assert_str_eq(call_str(&c, "waitingReason"), "no_worker");
	ck_assert(is_null("workerId"));
	ck_assert(!json_bool(c.json, "assigned", true));
	ck_assert(call_woke(&c, "gpupool_jobs", "") && call_woke(&c, "gpupool_events", ""));
	ck_assert_int_eq(world_int(w, "select count(*) from audit where action = 'jobs.create' and object = 'job %lld' and user_id = %lld",
				   (long long)id, (long long)ann.user_id), 1);
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET " JOBS "/%lld", (long long)id), 200);
	ck_assert_int_eq(call_int(&c, "id"), id);
	ck_assert_str_eq(call_str(&c, "type"), "script");
	ck_assert_str_eq(call_str(&c, "accelerator"), "T4");
	ck_assert_str_eq(call_str(&c, "tags.0"), "a");
	ck_assert_int_eq(call_int(&c, "owner"), ann.user_id);
	ck_assert_int_eq(call_int(&c, "attempt"), 0);
	ck_assert_int_eq(call_int(&c, "maxAttempts"), 3);
	ck_assert_int_eq(call_int(&c, "gpus"), 1);
	ck_assert_int_eq(strlen(call_str(&c, "createdAt")), 24);
	ck_assert(is_null("startedAt") && is_null("finishedAt") && is_null("result") && is_null("error") && is_null("progress"));
	ck_assert(is_null("runAfter") && is_null("timeoutSeconds") && is_null("runSeconds") && is_null("endpoint") && is_null("workerId"));
	ck_assert(!json_has(c.json, "payload"));
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET " JOBS "/%lld?include=payload", (long long)id), 200);
	ck_assert_str_eq(call_str(&c, "payload.code"), "print(1)");
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS, NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 1);
	ck_assert_int_eq(call_int(&c, "jobs.0.id"), id);
	ck_assert(!json_has(c.json, "nextPageToken"));
}
END_TEST

START_TEST(test_submit_with_a_free_worker)
{
	int64_t worker = own_worker();

	submit(&ann, "");
	ck_assert_int_eq(call_int(&c, "workerId"), worker);
	ck_assert(json_bool(c.json, "assigned", false));
	ck_assert(is_null("waitingReason"));
}
END_TEST

static const char *detail(int64_t id)
{
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET " JOBS "/%lld", (long long)id), 200);
	return json_cstr(c.json, "waitingDetail");
}

/* Where only so long sessions are to be had. */
START_TEST(test_too_long_for_any_session)
{
	int64_t kaggle, id;

	submit(&ann, ",'estimatedSeconds':90000"); /* nothing is known of what there will be */
	kaggle = world_account(w, ann.user_id, "kaggle", "none", 0);
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS, "{" JOB ",'accelerator':'T4','estimatedSeconds':39541}"), 400);
	ck_assert_str_eq(call_str(&c, "errors.0.field"), "estimatedSeconds");
	ck_assert(strstr(call_str(&c, "errors.0.message"), "11 h"));
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/batch", "{'jobs':[{" JOB "},{" JOB ",'estimatedSeconds':90000}]}"), 400);
	ck_assert_str_eq(call_str(&c, "errors.0.field"), "jobs.1.estimatedSeconds");
	ck_assert_int_eq(world_int(w, "select count(*) from job"), 1);
	/* A CPU session is shorter, a training can go on, a job that ends in time is not too long, others' accounts count when shared. */
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS, "{" JOB ",'accelerator':'cpu','estimatedSeconds':30000}"), 400);
	submit(&ann, ",'accelerator':'T4','estimatedSeconds':39540");
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS, "{'type':'training','payload':{'code':'x'},'estimatedSeconds':90000}"), 202);
	submit(&ann, ",'estimatedSeconds':90000,'timeoutSeconds':3600");
	id = call_int(&c, "jobId");
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET " JOBS "/%lld", (long long)id), 200);
	ck_assert_int_eq(call_int(&c, "estimate.seconds"), 4096);
	ck_assert_str_eq(call_str(&c, "estimate.source"), "declared");
	ck_assert_int_eq(call(&c, &bob, "POST " JOBS, "{" JOB ",'estimatedSeconds':90000}"), 202);
	world_sql(w, "update account set sharing = 'all' where id = %lld; update provider_policy set sharing_allowed = true where provider = 'kaggle'",
		  (long long)kaggle);
	ck_assert_int_eq(call(&c, &bob, "POST " JOBS, "{" JOB ",'estimatedSeconds':90000}"), 400);
}
END_TEST

/* Past runs count before what is declared, from the fifth on, on what the job may get. */
START_TEST(test_estimates_are_learnt)
{
	int64_t id = submit(&ann, ",'name':'a','estimatedSeconds':600");

	ck_assert_int_eq(callf(&c, &ann, NULL, "GET " JOBS "/%lld", (long long)id), 200);
	ck_assert_int_eq(call_int(&c, "estimate.seconds"), 640);
	ck_assert_str_eq(call_str(&c, "estimate.source"), "declared");
	world_sql(w, "insert into run_time(owner_id, type, name, model, seconds) values (%lld, 0, 'a', 'gpu,T4', '{100,110,120,100}'), "
		     "(%lld, 0, 'a', 'gpu,A100', '{20,20,20,21,20,20}'), (%lld, 0, 'a', 'cpu', '{5000,5000,5000,5000,5000}'), "
		     "(%lld, 0, 'a', 'gpu,T4', '{9,9,9,9,9}')", (long long)ann.user_id, (long long)ann.user_id, (long long)ann.user_id,
		  (long long)bob.user_id);
	id = submit(&ann, ",'name':'a','estimatedSeconds':600,'accelerator':'T4'"); /* four say nothing */
	ck_assert_int_eq(world_int(w, "select estimate from lane where id = (select lane from job where id = %lld)", (long long)id), 640);
	world_sql(w, "update run_time set seconds = seconds || 120 where owner_id = %lld and model = 'gpu,T4'", (long long)ann.user_id);
	id = submit(&ann, ",'name':'a','estimatedSeconds':600,'accelerator':'gpu'");
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET " JOBS "/%lld", (long long)id), 200);
	ck_assert_int_eq(call_int(&c, "estimate.seconds"), 128);
	ck_assert_str_eq(call_str(&c, "estimate.source"), "learned");
	id = submit(&ann, ",'name':'b'");
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET " JOBS "/%lld", (long long)id), 200);
	ck_assert_str_eq(call_str(&c, "estimate.source"), "none");
	ck_assert_int_eq(world_int(w, "select count(*) from lane where owner_id = %lld", (long long)ann.user_id), 4);
}
END_TEST

START_TEST(test_what_would_make_it_fit)
{
	int64_t worker = own_worker(), brief, wide;

	world_sql(w, "update session set deadline = now() + interval '30 minutes' where worker_id = %lld", (long long)worker);
	brief = submit(&ann, ",'estimatedSeconds':3600");
	ck_assert_str_eq(call_str(&c, "waitingReason"), "does_not_fit");
	wide = submit(&ann, ",'gpus':2");
	ck_assert_str_eq(call_str(&c, "waitingReason"), "does_not_fit");
	ck_assert(strstr(detail(brief), "It needs 1 h 8 min") && strstr(detail(brief), "30 min left at most") && strstr(detail(brief), "A new session"));
	ck_assert(strstr(detail(wide), "2 GPUs at once") && strstr(detail(wide), "1 at most"));
	ck_assert_ptr_null(detail(submit(&ann, ",'estimatedSeconds':60")));
}
END_TEST

/* ---- why it waits ---- */

static bool waits(const struct principal *p, int64_t id, const char *reason, const char *words)
{
	const char *detail;

	ck_assert_int_eq(callf(&c, p, NULL, "GET " JOBS "/%lld", (long long)id), 200);
	detail = json_cstr(c.json, "waitingDetail");
	return !strcmp(call_str(&c, "waitingReason"), reason) && (words ? detail && strstr(detail, words) : !detail);
}

#define WAIT_OF(p, id, reason, words) ck_assert_msg(waits(p, id, reason, words), "%s", c.text.ptr)

/* Whoever submits hears what is missing. */
START_TEST(test_why_there_is_no_worker)
{
	int64_t id = submit(&ann, ",'accelerator':'T4'"), worker, account;

	WAIT_OF(&ann, id, "no_worker", "No worker with T4 that it may use runs.");
	account = world_account(w, ann.user_id, "kaggle", "none", 0);
	world_sql(w, "insert into scaling_policy(owner_id, enabled) values (%lld, true)", (long long)ann.user_id);
	WAIT_OF(&ann, id, "no_worker", "Scaling starts one");
	world_sql(w, "insert into quota(account_id, resource, resets_at, limit_seconds, margin_seconds, used_seconds) "
		     "values (%lld, 'gpu', now() + interval '5 hours 10 seconds', 108000, 900, 107000)", (long long)account);
	WAIT_OF(&ann, id, "quota", "No account of its owner's pool has enough gpu hours left for a session. The next reset is in 5 h.");
	ck_assert(waits(&ann, submit(&ann, ",'accelerator':'cpu'"), "no_worker", "Scaling starts one")); /* which are not limited */
	world_sql(w, "update scaling_policy set paused = true");
	WAIT_OF(&ann, id, "paused", "Scaling is paused");
	worker = world_worker(w, account, "waiting", NULL, 0);
	world_sql(w, "update worker set accelerator = 'T4', reason_code = 'quota', reason = 'The GPU hours are used up until Friday.' where id = %lld", (long long)worker);
	WAIT_OF(&ann, id, "quota", "used up until Friday");
	world_sql(w, "update worker set reason_code = 'capacity', reason = 'Kaggle has no room.' where id = %lld", (long long)worker);
	WAIT_OF(&ann, id, "cold_start", "Kaggle has no room.");
	world_sql(w, "update worker set state = 'needs_human', reason_code = 'account', reason = 'Its account needs its owner.' where id = %lld", (long long)worker);
	WAIT_OF(&ann, id, "needs_human", "Its account needs its owner.");
	ck_assert(waits(&bob, submit(&bob, ",'accelerator':'T4'"), "no_worker", "turn scaling on"));
}
END_TEST

static void fill(int64_t worker)
{
	world_sql(w, "insert into job_lease(id, lease, session_id, worker_id, lane, owner_id, gpus, attempt, run, max_attempts, seconds, until) "
		     "select next_job_id(), gen_random_uuid(), session_id, id, 1, owner_id, 1, 1, 1, 3, 600, now() + interval '10 minutes' from worker where id = %lld",
		  (long long)worker);
}

/* All workers are busy, and who has used less is before it. */
START_TEST(test_others_come_first)
{
	int64_t worker = own_worker(), hers, his;

	world_sql(w, "update account set sharing = 'all'");
	hers = submit(&ann, "");
	fill(worker);
	WAIT_OF(&ann, hers, "no_worker", "All workers that could take it are busy.");
	his = submit(&bob, "");
	submit(&bob, "");
	WAIT_OF(&ann, hers, "fairness", "2 jobs of owners who have used less lately come before it");
	WAIT_OF(&bob, his, "no_worker", "All workers that could take it are busy.");
	ck_assert_int_eq(call(&c, &ann, "GET /api/gpu/queue", NULL), 200);
	ck_assert_str_eq(call_str(&c, "reasons.0.waitingReason"), "fairness");
	world_sql(w, "delete from job_lease; delete from usage_delta; insert into owner_usage(owner_id, seconds) values (%lld, 9000)", (long long)bob.user_id);
	fill(worker);
	WAIT_OF(&ann, hers, "no_worker", "All workers that could take it are busy.");
	WAIT_OF(&bob, his, "fairness", "1 job of owners");
	/* Another's that is not shared is in nobody's way. */
	world_sql(w, "update account set sharing = 'none'");
	WAIT_OF(&bob, his, "not_shared", "not shared with its owner");
}
END_TEST

/* Of a job one is told why its lane waited while it was there, and why it went where it ran; nothing of others'. */
START_TEST(test_decisions_of_a_job)
{
	int64_t worker = own_worker(), id = submit(&ann, ""), lane;
	const char *path = world_text(w, "GET /api/gpu/decisions?subject=job%%20%lld", (long long)id);

	lane = world_int(w, "select lane from job where id = %lld", (long long)id);
	world_sql(w, "insert into decision(at, kind, subject, reason) values (now() - interval '1 hour', 'placement', 'lane %lld', 'before its time'), "
		     "(now(), 'placement', 'lane %lld', 'It waited.'), (now(), 'placement', 'lane %lld', 'Of another lane.'), (now(), 'retry', 'job %lld', 'Again.')",
		  (long long)lane, (long long)lane, (long long)lane + 1, (long long)id);
	world_sql(w, "insert into job_lease(id, lease, session_id, worker_id, lane, owner_id, gpus, attempt, run, max_attempts, seconds, until) "
		     "select %lld, gen_random_uuid(), session_id, id, %lld, owner_id, 1, 1, 1, 3, 600, now() + interval '10 minutes' from worker where id = %lld; "
		     "insert into decision(at, kind, subject, reason, inputs) select started, 'placement', 'claim', '2 jobs leased', "
		     "jsonb_build_array(jsonb_build_object('lane', lane, 'worker', worker_id, 'why', 'fair_share'), jsonb_build_object('lane', 999999, 'worker', 1)) "
		     "from job_lease", (long long)id, (long long)lane, (long long)worker);
	ck_assert_int_eq(call(&c, &ann, path, NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "decisions")), 3);
	ck_assert(strstr(c.text.ptr, "It waited.") && strstr(c.text.ptr, "Again."));
	ck_assert(strstr(c.text.ptr, world_text(w, "It went to worker %lld: fair_share.", (long long)worker)));
	ck_assert(!strstr(c.text.ptr, "999999") && !strstr(c.text.ptr, "before its time"));
	ck_assert_int_eq(call(&c, &bob, path, NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "decisions")), 0);
	ck_assert_int_eq(call(&c, &root, path, NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "decisions")), 3);
	ck_assert_int_eq(call(&c, &ann, world_text(w, "GET /api/gpu/decisions?subject=lane%%20%lld", (long long)lane), NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "decisions")), 2);
	ck_assert_int_eq(call(&c, &bob, world_text(w, "GET /api/gpu/decisions?subject=lane%%20%lld", (long long)lane), NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "decisions")), 0);
}
END_TEST

/* A free slot that is kept for a job of two GPUs. */
START_TEST(test_slots_are_kept)
{
	int64_t worker = world_worker(w, world_account(w, ann.user_id, "local", "none", 0), "healthy", "{gpu,T4}", 2), wide, one;

	fill(worker);
	wide = submit(&ann, ",'gpus':2");
	one = submit(&ann, "");
	WAIT_OF(&ann, one, "preparing", NULL);
	world_sql(w, "update job_ready set ready_since = now() - interval '6 minutes' where id = %lld", (long long)wide);
	WAIT_OF(&ann, one, "fairness", "kept for a job that needs 2 at once");
	WAIT_OF(&ann, wide, "no_worker", "All workers that could take it are busy.");
	c.config.place_hold_seconds = 0;
	WAIT_OF(&ann, one, "preparing", NULL);
}
END_TEST

static const struct {
	const char *body;
	int status;
	const char *faults;
} bodies[] = {
	{"", 400, ""},
	{"{", 400, ""},
	{"[]", 400, ""},
	{"{'type':'script'}", 400, "payload"},
	{"{" JOB ",'type':'script'}", 400, ""}, /* twice */
	{"{" JOB ",'typ':'x'}", 400, "typ"},
	{"{" JOB ",'priority':10}", 400, "priority"},
	{"{" JOB ",'priority':-1}", 400, "priority"},
	{"{" JOB ",'priority':'5'}", 400, "priority"},
	{"{" JOB ",'priority':1.5}", 400, "priority"},
	{"{" JOB ",'priority':null}", 400, "priority"},
	{"{" JOB ",'maxAttempts':101}", 400, "maxAttempts"},
	{"{" JOB ",'maxAttempts':0}", 400, "maxAttempts"},
	{"{" JOB ",'gpus':65}", 400, "gpus"},
	{"{" JOB ",'timeoutSeconds':0}", 400, "timeoutSeconds"},
	{"{" JOB ",'retryOn':['lost']}", 400, "retryOn.0"},
	{"{" JOB ",'name':''}", 400, "name"},
	{"{" JOB ",'name':'\\u0007'}", 400, "name"},
	{"{" JOB ",'tags':['']}", 400, "tags.0"},
	{"{" JOB ",'tags':['1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16','17']}", 400, "tags"},
	{"{" JOB ",'runAfter':'2026-02-30T00:00:00Z'}", 400, "runAfter"},
	{"{" JOB ",'runAfter':'2098-02-03T00:00:00Z'}", 400, "runAfter"},
	{"{" JOB ",'endpoint':'none'}", 400, "endpoint"},
	{"{" JOB ",'webhook':'https://example.org'}", 400, "webhook"},
	{"{'type':'script','payload':{'code':'x','nope':1}}", 400, "payload.nope"},
	{"{'type':'script','payload':{'code':'\\u0000'}}", 400, ""},
	{"{'type':'script','payload':{'code':'\\ud800'}}", 400, ""},
	{"{'type':'script','payload':{'command':['x'],'args':[]},'accelerator':'a b','tags':['x','x']}", 400, "accelerator tags.1 payload.args"},
};

START_TEST(test_body_is_refused_by_name)
{
	int got = call(&c, &ann, "POST " JOBS, bodies[_i].body);

	ck_assert_msg(got == bodies[_i].status, "%s: %d", bodies[_i].body, got);
	ck_assert_str_eq(c.type, "application/problem+json");
	/* An unreadable number or the like may have no name; the rest have. */
	if (*bodies[_i].faults)
		ck_assert_msg(!strcmp(call_faults(&c), bodies[_i].faults), "%s: %s", bodies[_i].body, call_faults(&c));
	ck_assert_int_eq(world_int(w, "select count(*) from job") + world_int(w, "select count(*) from audit"), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from lane"), 0);
}
END_TEST

/* Every spelling that the schema takes, the database takes. */
START_TEST(test_spellings_of_a_time)
{
	static const char *const ends[] = {"t01:02:03z", "T01:02:03.1234567890123456789Z", "T01:02:03+14:00", "T23:59:59-00:30"};

	for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
		char day[32];

		clock_rfc3339(clock_wall_ms() + 3 * INT64_C(86400000), day, sizeof(day));
		submit(&ann, world_text(w, ",'runAfter':'%.10s%s'", day, ends[i]));
		ck_assert_str_eq(call_str(&c, "waitingReason"), "run_after");
	}
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS, NULL), 200);
	ck_assert_str_eq(call_str(&c, "jobs.0.waitingReason"), "run_after");
	ck_assert_int_eq(strlen(call_str(&c, "jobs.0.runAfter")), 24);
}
END_TEST

START_TEST(test_too_large)
{
	char *code = arena_alloc(&w->arena, 3 << 20);

	memset(code, 'x', (1 << 20) - 5);
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS, world_text(w, "{'type':'script','payload':{'code':'%s'}}", code)), 413);
	ck_assert_str_eq(call_faults(&c), "payload");
	memset(code, 'x', 2 << 20);
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS, world_text(w, "{'type':'script','payload':{'code':'%s'}}", code)), 413);
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/batch", world_text(w, "{'jobs':[{" JOB "},{'type':'script','payload':{'code':'%s'}}]}", code)), 413);
	ck_assert_str_eq(call_faults(&c), "jobs.1.payload");
	ck_assert_int_eq(world_int(w, "select count(*) from job"), 0);
}
END_TEST

START_TEST(test_batch)
{
	int64_t worker = own_worker();

	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/batch", "{'jobs':[{" JOB "},{" JOB ",'priority':1},{" JOB ",'runAfter':'2020-01-01T00:00:00Z'}]}"), 202);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 3);
	ck_assert_int_eq(call_int(&c, "jobs.0.workerId"), worker);
	ck_assert_int_lt(call_int(&c, "jobs.0.jobId"), call_int(&c, "jobs.1.jobId"));
	ck_assert_int_eq(world_int(w, "select count(*) from job_ready"), 3);
	ck_assert_int_eq(world_int(w, "select count(*) from audit"), 1);
}
END_TEST

START_TEST(test_batch_names_every_bad_item_and_stores_none)
{
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/batch",
			      "{'jobs':[{" JOB "},{'type':'script','payload':{'code':1}},{" JOB "},{" JOB ",'webhook':'x'}]}"), 400);
	ck_assert_str_eq(call_faults(&c), "jobs.1.payload.code jobs.3.webhook");
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/batch", "{'jobs':[{" JOB "},{" JOB ",'prio':1}]}"), 400);
	ck_assert_str_eq(call_faults(&c), "jobs.1.prio");
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/batch", "{'jobs':[]}"), 400);
	ck_assert_str_eq(call_faults(&c), "jobs");
	ck_assert_int_eq(world_int(w, "select count(*) from job"), 0);
}
END_TEST

START_TEST(test_batch_of_a_thousand_and_one)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 20);

	for (int n = 1000; n <= 1001; n++) {
		buf_reset(&b);
		for (int i = 0; i < n; i++)
			buf_addf(&b, "%s{" JOB "}", i ? "," : "{'jobs':[");
		buf_adds(&b, "]}");
		ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/batch", b.ptr), n == 1000 ? 202 : 400);
		ck_assert_int_eq(world_int(w, "select count(*) from job_ready"), 1000);
	}
}
END_TEST

START_TEST(test_same_key_same_job)
{
	int64_t id;

	c.idempotency_key = "k1";
	id = submit(&ann, "");
	c.idempotency_key = "k1";
	ck_assert_int_eq(submit(&ann, ""), id);
	c.idempotency_key = "k1";
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS, "{" JOB ",'name':'other'}"), 422);
	c.idempotency_key = "k1";
	ck_assert_int_ne(submit(&bob, ""), id);
	ck_assert_int_eq(world_int(w, "select count(*) from job"), 2);
}
END_TEST

START_TEST(test_list_queries)
{
	for (int i = 0; i < 5; i++)
		submit(&ann, i % 2 ? ",'name':'train-1','tags':['x']" : "");
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS "?limit=2", NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 2);
	ck_assert_int_eq(call_int(&c, "nextPageToken"), call_int(&c, "jobs.1.id"));
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET " JOBS "?limit=3&pageToken=%lld", (long long)call_int(&c, "nextPageToken")), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 3);
	ck_assert(!json_has(c.json, "nextPageToken"));
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS "?state=queued&tag=x&name=train&q=RAIN-&type=script", NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 2);
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS "?state=done", NULL), 400);
	ck_assert_str_eq(call_faults(&c), "state");
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS "?limit=501", NULL), 400);
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS "?pageToken=x", NULL), 400);
	ck_assert_str_eq(call_faults(&c), "pageToken");
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS "?color=blue", NULL), 400);
	ck_assert_str_eq(call_faults(&c), "color");
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS "?worker=99999999999", NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 0);
	ck_assert_int_eq(call(&c, &bob, "GET " JOBS, NULL), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 0);
	ck_assert_int_eq(callf(&c, &bob, NULL, "GET " JOBS "?owner=%lld", (long long)ann.user_id), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 0);
	ck_assert_int_eq(callf(&c, &root, NULL, "GET " JOBS "?owner=%lld", (long long)ann.user_id), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 5);
}
END_TEST

START_TEST(test_cancel_and_retry)
{
	int64_t id = submit(&ann, ""), worker = own_worker();

	world_claim(w, id, worker);
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET " JOBS "/%lld", (long long)id), 200);
	ck_assert_str_eq(call_str(&c, "state"), "running");
	ck_assert_int_eq(call_int(&c, "workerId"), worker);
	ck_assert_int_eq(call_int(&c, "attempt"), 1);
	ck_assert(!is_null("startedAt") && !is_null("runSeconds") && is_null("waitingReason"));
	ck_assert_int_eq(callf(&c, &ann, "{}", "POST " JOBS "/%lld/retry", (long long)id), 409);
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " JOBS "/%lld/cancel", (long long)id), 200);
	ck_assert_str_eq(call_str(&c, "state"), "cancelled");
	ck_assert(call_woke(&c, "gpupool_orders", world_text(w, "%lld", (long long)worker)));
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " JOBS "/%lld/cancel", (long long)id), 409);
	ck_assert_str_eq(c.type, "application/problem+json");
	ck_assert_int_eq(call_int(&c, "job.id"), id);
	ck_assert_str_eq(call_str(&c, "job.state"), "cancelled");
	ck_assert_str_eq(call_str(&c, "code"), "conflict");
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " JOBS "/%lld/retry", (long long)id), 409);
	world_sql(w, "delete from job_ending");
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " JOBS "/%lld/retry", (long long)id), 202);
	ck_assert_str_eq(call_str(&c, "state"), "queued");
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET " JOBS "/%lld/attempts", (long long)id), 200);
	ck_assert_int_eq(json_len(json_get(c.json, "attempts")), 1);
	ck_assert_str_eq(call_str(&c, "attempts.0.outcome"), "cancelled");
	ck_assert_int_eq(call_int(&c, "attempts.0.workerId"), worker);
}
END_TEST

START_TEST(test_result_wins_over_cancel)
{
	int64_t id = submit(&ann, "");

	world_claim(w, id, own_worker());
	world_end(w, id, JOB_SUCCEEDED, "{\"accuracy\": 0.97}");
	ck_assert_int_eq(callf(&c, &ann, NULL, "POST " JOBS "/%lld/cancel", (long long)id), 409);
	ck_assert_str_eq(call_str(&c, "job.state"), "succeeded");
	ck_assert(json_double(json_path(c.json, "job.result"), "accuracy", 0) > 0.9);
}
END_TEST

START_TEST(test_bulk_cancel)
{
	int64_t a = submit(&ann, ",'tags':['x']"), b = submit(&bob, ",'tags':['x']"), d = submit(&ann, ",'name':'keep'"), e;

	e = submit(&ann, ",'tags':['x'],'runAfter':'2020-01-01T00:00:00Z'");
	world_claim(w, e, own_worker());
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/cancel", "{'tag':'x','state':'running'}"), 200);
	ck_assert_int_eq(call_int(&c, "cancelled"), 1);
	ck_assert_int_eq(call_int(&c, "jobs.0.jobId"), e);
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/cancel", "{'tag':'x'}"), 200);
	ck_assert_int_eq(call_int(&c, "cancelled"), 1);
	ck_assert_int_eq(call_int(&c, "jobs.0.jobId"), a);
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/cancel", world_text(w, "{'ids':['%lld','%lld','%lld']}", (long long)b, (long long)a, (long long)d)), 200);
	ck_assert_int_eq(call_int(&c, "cancelled"), 1);
	ck_assert_int_eq(json_len(json_get(c.json, "jobs")), 3);
	ck_assert(is_null("jobs.0.state"));
	ck_assert_str_eq(call_str(&c, "jobs.1.state"), "cancelled");
	ck_assert(json_bool(json_path(c.json, "jobs.2"), "cancelled", false));
	ck_assert_int_eq(world_state(w, b), JOB_QUEUED);
	/* An administrator's filter means his own jobs unless he names another person. */
	ck_assert_int_eq(call(&c, &root, "POST " JOBS "/cancel", "{'tag':'x'}"), 200);
	ck_assert_int_eq(call_int(&c, "cancelled"), 0);
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/cancel", world_text(w, "{'tag':'x','owner':'%lld'}", (long long)bob.user_id)), 200);
	ck_assert_int_eq(call_int(&c, "cancelled"), 0);
	ck_assert_int_eq(call(&c, &root, "POST " JOBS "/cancel", world_text(w, "{'tag':'x','owner':'%lld'}", (long long)bob.user_id)), 200);
	ck_assert_int_eq(call_int(&c, "cancelled"), 1);
}
END_TEST

START_TEST(test_bulk_cancel_says_which)
{
	submit(&ann, "");
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/cancel", "{}"), 400);
	ck_assert_int_eq(call(&c, &root, "POST " JOBS "/cancel", world_text(w, "{'owner':'%lld'}", (long long)ann.user_id)), 400);
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/cancel", "{'ids':['1'],'tag':'x'}"), 400);
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/cancel", "{'ids':['1','x']}"), 400);
	ck_assert_str_eq(call_faults(&c), "ids.1");
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/cancel", "{'state':'succeeded'}"), 400);
	ck_assert_int_eq(world_int(w, "select count(*) from job_ready"), 1);
}
END_TEST

START_TEST(test_bulk_cancel_of_more_than_a_page)
{
	int64_t id = submit(&ann, "");

	world_sql(w, "with j as (insert into job(owner_id, lane, payload) select owner_id, lane, payload from job, generate_series(1, 2500) returning *) "
		     "insert into job_ready(lane, id, owner_id, max_attempts) select lane, id, owner_id, 3 from j");
	ck_assert_int_eq(call(&c, &ann, "POST " JOBS "/cancel", "{'state':'queued'}"), 200);
	ck_assert_int_eq(call_int(&c, "cancelled"), 2501);
	ck_assert(!json_bool(c.json, "more", true));
	ck_assert_int_eq(world_int(w, "select count(*) from job_ready"), 0);
	ck_assert_int_eq(world_state(w, id), JOB_CANCELLED);
}
END_TEST

static const struct {
	const char *method, *below;
} routes_of_one[] = {{"GET", ""}, {"GET", "/attempts"}, {"GET", "/artifacts"}, {"POST", "/cancel"}, {"POST", "/retry"}};

static const char *of_one(int i, int64_t id)
{
	return world_text(w, "%s " JOBS "/%lld%s", routes_of_one[i].method, (long long)id, routes_of_one[i].below);
}

START_TEST(test_another_and_nobody)
{
	int64_t id = submit(&ann, "");
	const char *what = of_one(_i, id);

	ck_assert_int_eq(call(&c, &bob, what, NULL), 404);
	ck_assert_int_eq(call(&c, &eve, what, NULL), *what == 'P' ? 403 : 404);
	ck_assert_int_eq(call(&c, NULL, what, NULL), 401);
	ck_assert_int_eq(world_state(w, id), JOB_QUEUED);
	ck_assert_int_eq(call(&c, &bob, of_one(_i, id + 1), NULL), 404);
	ck_assert_int_eq(call(&c, &bob, of_one(_i, INT64_MAX), NULL), 404);
	ck_assert_int_lt(call(&c, &root, what, NULL), 410);
	ck_assert_int_ne(c.status, 404);
}
END_TEST

START_TEST(test_no_job_id)
{
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS "/0", NULL), 404);
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS "/-1", NULL), 404);
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS "/1e3", NULL), 404);
	ck_assert_int_eq(call(&c, &ann, "GET " JOBS "/99999999999999999999", NULL), 404);
	ck_assert_int_eq(call(&c, &ann, "DELETE " JOBS "/1", NULL), 405);
	ck_assert_int_eq(call(&c, &eve, "POST " JOBS, "{" JOB "}"), 403);
	ck_assert_int_eq(call(&c, NULL, "POST " JOBS, "{" JOB "}"), 401);
}
END_TEST

START_TEST(test_reading_token_submits_nothing)
{
	struct principal reader = ann;

	reader.scopes = SCOPE_READ;
	ck_assert_int_eq(call(&c, &reader, "POST " JOBS, "{" JOB "}"), 403);
	ck_assert_int_eq(call(&c, &reader, "GET " JOBS, NULL), 200);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("jobs over http");
	TCase *t = tcase_create("jobs");
	SRunner *runner;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, open_site, close_site);
	tcase_add_test(t, test_submit_read_list);
	tcase_add_test(t, test_submit_with_a_free_worker);
	tcase_add_test(t, test_too_long_for_any_session);
	tcase_add_test(t, test_estimates_are_learnt);
	tcase_add_test(t, test_what_would_make_it_fit);
	tcase_add_test(t, test_why_there_is_no_worker);
	tcase_add_test(t, test_others_come_first);
	tcase_add_test(t, test_slots_are_kept);
	tcase_add_test(t, test_decisions_of_a_job);
	tcase_add_loop_test(t, test_body_is_refused_by_name, 0, ARRAY_LEN(bodies));
	tcase_add_test(t, test_spellings_of_a_time);
	tcase_add_test(t, test_too_large);
	tcase_add_test(t, test_batch);
	tcase_add_test(t, test_batch_names_every_bad_item_and_stores_none);
	tcase_add_test(t, test_batch_of_a_thousand_and_one);
	tcase_add_test(t, test_same_key_same_job);
	tcase_add_test(t, test_list_queries);
	tcase_add_test(t, test_cancel_and_retry);
	tcase_add_test(t, test_result_wins_over_cancel);
	tcase_add_test(t, test_bulk_cancel);
	tcase_add_test(t, test_bulk_cancel_says_which);
	tcase_add_test(t, test_bulk_cancel_of_more_than_a_page);
	tcase_add_loop_test(t, test_another_and_nobody, 0, ARRAY_LEN(routes_of_one));
	tcase_add_test(t, test_no_job_id);
	tcase_add_test(t, test_reading_token_submits_nothing);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_stop(pg);
	return failed ? 1 : 0;
}
