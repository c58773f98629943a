/* Statements about jobs against a real database: what they promise, races of two connections, misuse. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "world.h"

static struct pg *pg;
static struct world *w;
static struct principal ann, bob, root;

#define SCRIPT "{'type':'script','payload':{'code':'x'}}"

static void open_world(void)
{
	char name[32];

	/* One database a test: the forked child's pid names it. */
	snprintf(name, sizeof(name), "job_%d", (int)getpid());
	w = world_open(pg, name);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
	root = world_user(w, "root", ROLE_ADMIN);
}

static void close_world(void)
{
	world_close(w);
}

/* A running worker of p's own. */
static int64_t worker_of(const struct principal *p, int slots)
{
	return world_worker(w, world_account(w, p->user_id, "local", "none", 0), "healthy", "{gpu,T4}", slots);
}

static int64_t count(const char *table)
{
	return world_int(w, "select count(*) from %s", table);
}

/* ---- submit --------------------------------------------------------------- */

START_TEST(test_submitted_job_waits)
{
	cleanup_rows struct rows r = {0};
	struct job_placed p = world_submit(w, &ann,
					   "{'type':'training','payload':{'code':'x'},'name':'n','tags':['a','b c'],'priority':7,'gpus':2,"
					   "'accelerator':['T4','gpu'],'maxAttempts':4,'timeoutSeconds':60,'estimatedSeconds':9,'retryOn':['error']}");

	ck_assert_int_eq(p.worker_id, 0);
	ck_assert_int_eq(p.wait, WAIT_NO_WORKER);
	world_job(w, p.id, &r);
	ck_assert_int_eq(row_i64(&r, 0, "state"), JOB_QUEUED);
	ck_assert_int_eq(row_i64(&r, 0, "owner_id"), ann.user_id);
	ck_assert_int_eq(row_i64(&r, 0, "type"), JOB_TRAINING);
	ck_assert_str_eq(row_cstr(&r, 0, "name"), "n");
	ck_assert_str_eq(row_cstr(&r, 0, "tags"), "[\"a\",\"b c\"]");
	ck_assert_str_eq(row_cstr(&r, 0, "accelerator"), "T4,gpu");
	ck_assert_str_eq(row_cstr(&r, 0, "payload"), "{\"code\": \"x\"}");
	ck_assert_str_eq(row_cstr(&r, 0, "retry_on"), "[\"error\"]");
	ck_assert_int_eq(row_i64(&r, 0, "gpus"), 2);
	ck_assert_int_eq(row_i64(&r, 0, "priority"), 7);
	ck_assert_int_eq(row_i64(&r, 0, "max_attempts"), 4);
	ck_assert_int_eq(row_i64(&r, 0, "timeout_seconds"), 60);
	ck_assert_int_eq(row_i64(&r, 0, "estimated_seconds"), 9);
	ck_assert_int_eq(row_i64(&r, 0, "attempt"), 0);
	ck_assert(row_null(&r, 0, "started_at"));
	ck_assert_int_eq(world_int(w, "select sum(n) from lane_delta"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from event where topic = 'job' and what = 'queued' and owner_id = %lld "
				      "and subjects = array[%lld]::bigint[]", (long long)ann.user_id, (long long)p.id), 1);
}
END_TEST

static const char *const many[] = {
	SCRIPT,
	"{'type':'script','payload':{'code':'x'},'runAfter':'2020-01-01T00:00:00Z'}",
	"{'type':'inference','payload':{'code':'x'},'priority':9}",
	"{'type':'script','payload':{'code':'x'},'runAfter':'FUTURE'}",
	SCRIPT,
};

static struct json *documents[ARRAY_LEN(many)];
static struct job_spec specs[ARRAY_LEN(many)];

static void fault(void *ctx, enum err code, const char *field, const char *message)
{
	ck_abort_msg("%d %s %s", (int)code, field, message);
}

/* The five above, as specs of ann. */
static void read_many(void)
{
	struct job_judge judge = {.arena = &w->arena, .fault = fault, .prefix = ""};
	char future[32];

	clock_rfc3339(clock_wall_ms() + 86400000, future, sizeof(future));
	for (size_t i = 0; i < ARRAY_LEN(many); i++) {
		char *text = arena_strdup(&w->arena, many[i]);

		for (char *c = text; *c; c++)
			*c = *c == '\'' ? '"' : *c;
		ck_assert_int_eq(json_parse(str_of(text), SIZE_MAX, &documents[i], NULL), OK);
		if (strstr(text, "FUTURE"))
			json_put_cstr(documents[i], "runAfter", future);
		ck_assert(job_spec_read(&judge, ann.user_id, documents[i], &specs[i]));
	}
}

START_TEST(test_batch_in_order)
{
	struct job_placed placed[ARRAY_LEN(many)];
	struct error e = {0};

	read_many();
	ck_assert_int_eq(job_submit(w->web, &w->arena, &ann, specs, ARRAY_LEN(many), placed, &e), OK);
	for (size_t i = 1; i < ARRAY_LEN(many); i++)
		ck_assert_int_lt(placed[i - 1].id, placed[i].id);
	ck_assert_int_eq(placed[3].wait, WAIT_RUN_AFTER);
	ck_assert_int_eq(placed[1].wait, WAIT_NO_WORKER);
	ck_assert_int_eq(count("job_ready"), 4);
	ck_assert_int_eq(count("job_delayed"), 1);
	ck_assert_int_eq(world_int(w, "select id from job_delayed"), placed[3].id);
	ck_assert_int_eq(count("lane"), 2);
	ck_assert_int_eq(world_int(w, "select sum(n) from lane_delta"), 4);
	ck_assert_int_eq(count("event"), 1);
	ck_assert_int_eq(world_int(w, "select cardinality(subjects) from event"), 5);
}
END_TEST

START_TEST(test_batch_is_all_or_nothing)
{
	struct job_placed placed[ARRAY_LEN(many)];
	struct error e = {0};

	read_many();
	specs[4].max_attempts = 99999; /* no smallint */
	ck_assert_int_eq(job_submit(w->web, &w->arena, &ann, specs, ARRAY_LEN(many), placed, &e), ERR_INVALID);
	ck_assert_int_eq(count("job") + count("job_ready") + count("job_delayed") + count("lane_delta") + count("event"), 0);
}
END_TEST

START_TEST(test_lanes_are_remembered_and_found_again)
{
	int64_t lane;

	world_submit(w, &ann, SCRIPT);
	lane = world_int(w, "select lane from job_ready");
	world_submit(w, &ann, SCRIPT);
	world_submit(w, &bob, SCRIPT);
	ck_assert_int_eq(count("lane"), 2);
	/* A remembered lane that is gone, as after a rolled back transaction. */
	world_sql(w, "delete from lane where id = %lld", (long long)lane);
	world_submit(w, &ann, SCRIPT);
	ck_assert_int_eq(count("lane"), 2);
	ck_assert_int_eq(world_int(w, "select count(*) from job_ready r join lane on lane.id = r.lane where r.owner_id = %lld",
				   (long long)ann.user_id), 1);
}
END_TEST

static enum err submit_and_fail(struct db *db, void *ctx)
{
	(void)db;
	(void)ctx;
	world_submit(w, &ann, SCRIPT);
	return ERR_INVALID;
}

START_TEST(test_lane_of_a_rolled_back_transaction)
{
	struct error e = {0};

	ck_assert_int_eq(tx_run(w->web, submit_and_fail, NULL, &e), ERR_INVALID);
	ck_assert_int_eq(count("lane"), 0);
	world_submit(w, &ann, SCRIPT);
	ck_assert_int_eq(world_int(w, "select count(*) from job_ready join lane on lane.id = job_ready.lane"), 1);
}
END_TEST

START_TEST(test_too_many_lanes_of_one_person)
{
	struct job_placed placed;
	struct error e = {0};

	read_many();
	world_sql(w, "insert into lane(type, accelerator, gpus, owner_id, priority) select 0, 'x' || n, 1, %lld, 0 from generate_series(1, %d) n",
		  (long long)ann.user_id, LANES_PER_OWNER);
	ck_assert_int_eq(job_submit(w->web, &w->arena, &ann, specs, 1, &placed, &e), ERR_INVALID);
	ck_assert_int_eq(count("job"), 0);
	world_submit(w, &bob, SCRIPT);
}
END_TEST

START_TEST(test_batch_forecast_fills_slots_once)
{
	struct job_placed placed[ARRAY_LEN(many)];
	struct error e = {0};
	int64_t id = worker_of(&ann, 2);

	read_many();
	ck_assert_int_eq(job_submit(w->web, &w->arena, &ann, specs, ARRAY_LEN(many), placed, &e), OK);
	ck_assert_int_eq(placed[0].worker_id, id);
	ck_assert_int_eq(placed[1].worker_id, id);
	ck_assert_int_eq(placed[2].worker_id, 0);
	ck_assert_int_eq(placed[2].wait, WAIT_BUSY);
}
END_TEST

/* ---- threads: the second connection of a race ------------------------------ */

struct call {
	pthread_t thread;
	struct db *db;
	const struct principal *who;
	int64_t id;
	struct job_ended ended;
	enum err err;
	struct error e;
	int32_t lane;
	/* of a report */
	int64_t worker;
	const char *lease;
	char verdict[16];
};

static void *run_cancel(void *arg)
{
	struct call *c = arg;

	c->err = job_cancel(c->db, c->who, &c->id, 1, &c->ended, &c->e);
	return NULL;
}

static struct call *start(void *(*fn)(void *), const struct principal *who, int64_t id)
{
	struct call *c = calloc(1, sizeof(*c));

	c->db = pg_db(pg, "web", w->name);
	c->who = who;
	c->id = id;
	ck_assert_int_eq(pthread_create(&c->thread, NULL, fn, c), 0);
	return c;
}

static void finish(struct call *c)
{
	pthread_join(c->thread, NULL);
	db_close(c->db);
	ck_assert_msg(c->err == OK, "%s", c->e.msg);
}

static void begin(void)
{
	pg_sql(w->super, "begin", NULL);
}

/* world's superuser works in the open transaction; others look from outside. */
static void commit(void)
{
	pg_sql(w->super, "commit", NULL);
}

/* From a connection of its own, since the world's is in the middle of something. */
static void wait_until_blocked(void)
{
	struct world outside = *w;

	outside.super = pg_db(pg, "postgres", w->name);
	pg_sql(outside.super, "set search_path = gpupool", NULL);
	world_blocked(&outside, 1);
	db_close(outside.super);
}

static void *run_lane(void *arg)
{
	struct call *c = arg;
	struct lane l = {.owner = c->id, .type = JOB_SCRIPT, .gpus = 1, .priority = 5};

	c->err = lane_find(c->db, &l, 1, &c->lane, &c->e);
	return NULL;
}

START_TEST(test_two_make_the_same_lane)
{
	struct call *c;
	int64_t id;

	begin();
	id = world_int(w, "insert into lane(type, accelerator, gpus, owner_id, priority) values (0, '', 1, %lld, 5) returning id",
		       (long long)ann.user_id);
	c = start(run_lane, &ann, ann.user_id);
	wait_until_blocked();
	commit();
	finish(c);
	ck_assert_int_eq(c->lane, id);
	free(c);
}
END_TEST

/* ---- cancel --------------------------------------------------------------- */

static struct job_ended cancel(const struct principal *who, int64_t id)
{
	struct job_ended ended;
	struct error e = {0};

	ck_assert_msg(job_cancel(w->web, who, &id, 1, &ended, &e) == OK, "%s", e.msg);
	return ended;
}

/* The sums that must always hold. */
static void check_books(void)
{
	ck_assert_int_eq(world_int(w, "select coalesce(sum(n), 0) from lane_delta"), count("job_ready"));
	ck_assert_int_eq(count("job_ready") + count("job_delayed") + count("job_lease") + count("job_done"), count("job"));
	ck_assert_int_eq(world_int(w, "select count(*) from (select id from job_ready union all select id from job_delayed union all "
				      "select id from job_lease union all select id from job_done) x group by id having count(*) > 1"), -1);
}

START_TEST(test_cancel_of_a_waiting_job)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id;
	struct job_ended c = cancel(&ann, id);

	ck_assert(c.known && c.cancelled && c.state == JOB_CANCELLED && !c.worker_id);
	ck_assert_int_eq(world_state(w, id), JOB_CANCELLED);
	ck_assert_int_eq(world_int(w, "select count(*) from event where what = 'cancelled'"), 1);
	check_books();
	c = cancel(&ann, id);
	ck_assert(c.known && !c.cancelled && c.state == JOB_CANCELLED);
	ck_assert_int_eq(world_int(w, "select count(*) from event where what = 'cancelled'"), 1);
}
END_TEST

START_TEST(test_cancel_of_a_delayed_job)
{
	struct job_placed placed[ARRAY_LEN(many)];
	struct error e = {0};

	read_many();
	ck_assert_int_eq(job_submit(w->web, &w->arena, &ann, specs, ARRAY_LEN(many), placed, &e), OK);
	ck_assert(cancel(&ann, placed[3].id).cancelled);
	ck_assert_int_eq(count("job_delayed"), 0);
	check_books();
}
END_TEST

START_TEST(test_cancel_of_a_running_job)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id, worker = worker_of(&ann, 1);
	struct job_ended c;

	world_claim(w, id, worker);
	ck_assert_int_eq(world_state(w, id), JOB_RUNNING);
	c = cancel(&ann, id);
	ck_assert(c.cancelled && c.worker_id == worker);
	ck_assert_int_eq(count("job_lease"), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from job_ending e join job_done d on d.id = e.id and d.lease = e.lease "
				      "where d.state = 5 and d.attempt = 1 and not d.reported"), 1);
	check_books();
}
END_TEST

START_TEST(test_cancel_of_what_is_not_mine)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id;
	struct principal reader = root;

	ck_assert(!cancel(&bob, id).known);
	/* An administrator's token without the scope sees his own jobs only. */
	reader.scopes = SCOPE_READ | SCOPE_SUBMIT;
	ck_assert(!cancel(&reader, id).known);
	ck_assert_int_eq(world_state(w, id), JOB_QUEUED);
	ck_assert(cancel(&root, id).cancelled);
	ck_assert(!cancel(&ann, id + 1).known);
	ck_assert(!cancel(&ann, INT64_MAX).known);
}
END_TEST

START_TEST(test_cancel_many_and_one_twice)
{
	int64_t a = world_submit(w, &ann, SCRIPT).id, b = world_submit(w, &bob, SCRIPT).id, c = world_submit(w, &ann, SCRIPT).id;
	int64_t ids[] = {c, b, a, c};
	struct job_ended ended[4];
	struct error e = {0};

	ck_assert_int_eq(job_cancel(w->web, &ann, ids, 4, ended, &e), OK);
	ck_assert(ended[0].cancelled && !ended[1].known && ended[2].cancelled && ended[3].cancelled);
	ck_assert_int_eq(ended[3].id, c);
	ck_assert_int_eq(count("job_done"), 2);
	check_books();
}
END_TEST

START_TEST(test_claim_wins_then_cancel_ends_the_lease)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id, worker = worker_of(&ann, 1);
	struct call *c;

	begin();
	world_claim(w, id, worker);
	c = start(run_cancel, &ann, id);
	wait_until_blocked();
	commit();
	finish(c);
	/* It was between two places, and found in the second round. */
	ck_assert(c->ended.cancelled && c->ended.worker_id == worker);
	ck_assert_int_eq(count("job_ending"), 1);
	check_books();
	free(c);
}
END_TEST

START_TEST(test_cancel_wins_then_claim_finds_nothing)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id, worker = worker_of(&ann, 1);

	pg_sql(w->web, "begin", NULL);
	ck_assert(cancel(&ann, id).cancelled);
	ck_assert_int_eq(world_claim_on(w, w->events, id, worker), 0);
	pg_sql(w->web, "commit", NULL);
	ck_assert_int_eq(count("job_ready"), 0);
	check_books();
}
END_TEST

START_TEST(test_result_wins_then_cancel_says_so)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id;
	struct call *c;

	world_claim(w, id, worker_of(&ann, 1));
	begin();
	world_end(w, id, JOB_SUCCEEDED, "{}");
	c = start(run_cancel, &ann, id);
	wait_until_blocked();
	commit();
	finish(c);
	ck_assert(c->ended.known && !c->ended.cancelled && c->ended.state == JOB_SUCCEEDED);
	ck_assert_int_eq(count("job_ending"), 0);
	check_books();
	free(c);
}
END_TEST

static void *run_report(void *arg)
{
	struct call *c = arg;
	struct world mine = *w;

	/* An arena and a superuser of the thread's own: the world's are in use. */
	arena_init(&mine.arena, 1 << 20);
	mine.super = pg_db(pg, "postgres", w->name);
	pg_sql(mine.super, "set search_path = gpupool", NULL);
	snprintf(c->verdict, sizeof(c->verdict), "%s",
		 world_report_on(&mine, c->db, c->id, c->worker, c->lease, JOB_SUCCEEDED, "1"));
	db_close(mine.super);
	arena_free(&mine.arena);
	return NULL;
}

START_TEST(test_cancel_wins_then_the_result_is_refused)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id, worker = worker_of(&ann, 1);
	struct call *c = calloc(1, sizeof(*c));

	world_claim(w, id, worker);
	c->lease = world_lease(w, id);
	c->db = pg_db(pg, "events", w->name);
	c->id = id;
	c->worker = worker;
	pg_sql(w->web, "begin", NULL);
	ck_assert(cancel(&ann, id).cancelled);
	ck_assert_int_eq(pthread_create(&c->thread, NULL, run_report, c), 0);
	wait_until_blocked();
	pg_sql(w->web, "commit", NULL);
	finish(c);
	/* Its snapshot is older than the cancel; the agent's next word is answered better. */
	ck_assert_str_ne(c->verdict, "accepted");
	ck_assert_str_eq(world_report_on(w, w->events, id, worker, c->lease, JOB_CANCELLED, NULL), "cancelled");
	ck_assert_int_eq(world_state(w, id), JOB_CANCELLED);
	ck_assert_int_eq(count("job_ending"), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from job_done where result is null"), 1);
	check_books();
	free(c);
}
END_TEST

START_TEST(test_cancel_of_a_lease_that_is_renewed_meanwhile)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id;
	struct call *c;

	world_claim(w, id, worker_of(&ann, 1));
	begin();
	world_sql(w, "update job_lease set until = now() + interval '1 hour', progress = 0.5 where id = %lld", (long long)id);
	c = start(run_cancel, &ann, id);
	wait_until_blocked();
	commit();
	finish(c);
	ck_assert(c->ended.cancelled);
	ck_assert_int_eq(count("job_lease"), 0);
	check_books();
	free(c);
}
END_TEST

START_TEST(test_two_cancel_at_once)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id;
	struct call *c;

	world_claim(w, id, worker_of(&ann, 1));
	pg_sql(w->web, "begin", NULL);
	ck_assert(cancel(&ann, id).cancelled);
	c = start(run_cancel, &root, id);
	wait_until_blocked();
	pg_sql(w->web, "commit", NULL);
	finish(c);
	ck_assert(!c->ended.cancelled && c->ended.state == JOB_CANCELLED);
	ck_assert_int_eq(count("job_ending"), 1);
	check_books();
	free(c);
}
END_TEST

/* ---- retry ---------------------------------------------------------------- */

START_TEST(test_retry_of_a_failed_job)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id, worker = worker_of(&ann, 1);
	cleanup_rows struct rows r = {0};
	struct error e = {0};

	world_claim(w, id, worker);
	world_end(w, id, JOB_FAILED, NULL);
	ck_assert_int_eq(job_retry(w->web, &bob, id, &e), ERR_NOT_FOUND);
	ck_assert_int_eq(job_retry(w->web, &ann, id, &e), OK);
	ck_assert_int_eq(world_state(w, id), JOB_QUEUED);
	ck_assert_int_eq(world_int(w, "select attempt from job_ready"), 0);
	ck_assert_int_eq(world_int(w, "select run from job_ready"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from decision where kind = 'retry' and subject = 'job %lld'", (long long)id), 1);
	ck_assert_int_eq(job_retry(w->web, &ann, id, &e), ERR_CONFLICT);
	world_claim(w, id, worker);
	ck_assert_int_eq(job_retry(w->web, &ann, id, &e), ERR_CONFLICT);
	world_end(w, id, JOB_SUCCEEDED, "1");
	ck_assert_int_eq(job_attempts(w->web, &ann, id, &r, &e), OK);
	ck_assert_int_eq(rows_count(&r), 2);
	ck_assert_int_eq(row_i64(&r, 0, "outcome"), JOB_FAILED);
	ck_assert_int_eq(row_i64(&r, 1, "outcome"), JOB_SUCCEEDED);
	ck_assert_int_eq(row_i64(&r, 1, "run"), 2);
	ck_assert_int_eq(row_i64(&r, 1, "attempt"), 1);
	check_books();
}
END_TEST

START_TEST(test_retry_while_the_cancelled_process_may_run)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id;
	struct error e = {0};

	world_claim(w, id, worker_of(&ann, 1));
	ck_assert(cancel(&ann, id).cancelled);
	ck_assert_int_eq(job_retry(w->web, &ann, id, &e), ERR_CONFLICT);
	ck_assert_ptr_nonnull(strstr(e.msg, "still being stopped"));
	world_sql(w, "delete from job_ending");
	ck_assert_int_eq(job_retry(w->web, &ann, id, &e), OK);
	check_books();
}
END_TEST

START_TEST(test_retry_of_a_job_cancelled_before_it_ran)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id;
	struct error e = {0};

	cancel(&ann, id);
	ck_assert_int_eq(job_retry(w->web, &ann, id, &e), OK);
	ck_assert_int_eq(count("job_attempt"), 0);
	ck_assert_int_eq(job_retry(w->web, &ann, id + 1, &e), ERR_NOT_FOUND);
	check_books();
}
END_TEST

static void *run_retry(void *arg)
{
	struct call *c = arg;

	c->err = job_retry(c->db, c->who, c->id, &c->e);
	return NULL;
}

START_TEST(test_two_retry_at_once)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id;
	struct error e = {0};
	struct call *c;

	cancel(&ann, id);
	pg_sql(w->web, "begin", NULL);
	ck_assert_int_eq(job_retry(w->web, &ann, id, &e), OK);
	c = start(run_retry, &ann, id);
	wait_until_blocked();
	pg_sql(w->web, "commit", NULL);
	pthread_join(c->thread, NULL);
	db_close(c->db);
	ck_assert_int_eq(c->err, ERR_CONFLICT);
	ck_assert_int_eq(count("job_ready"), 1);
	check_books();
	free(c);
}
END_TEST

/* ---- one job -------------------------------------------------------------- */

START_TEST(test_job_of_another_is_not_found)
{
	int64_t id = world_submit(w, &ann, SCRIPT).id;
	cleanup_rows struct rows r = {0};
	struct error e = {0};

	ck_assert_int_eq(job_get(w->web, &bob, id, &r, &e), ERR_NOT_FOUND);
	ck_assert_int_eq(job_attempts(w->web, &bob, id, &r, &e), ERR_NOT_FOUND);
	ck_assert_int_eq(job_artifacts(w->web, &bob, id, &r, &e), ERR_NOT_FOUND);
	ck_assert_int_eq(job_get(w->web, &root, id, &r, &e), OK);
	ck_assert_int_eq(job_attempts(w->web, &ann, id, &r, &e), OK);
	ck_assert_int_eq(rows_count(&r), 1);
	ck_assert(row_null(&r, 0, "run"));
	ck_assert_int_eq(job_artifacts(w->web, &ann, id, &r, &e), OK);
	ck_assert(row_null(&r, 0, "name"));
	world_sql(w, "insert into artifact(id, name, run, owner_id, size, sha256, path) values (%lld, 'b/m.bin', 1, %lld, 5, sha256('x'), 'p')",
		  (long long)id, (long long)ann.user_id);
	ck_assert_int_eq(job_artifacts(w->web, &ann, id, &r, &e), OK);
	ck_assert_str_eq(row_cstr(&r, 0, "name"), "b/m.bin");
	ck_assert_int_eq(row_str(&r, 0, "sha256").len, 64);
	ck_assert_int_eq(job_artifacts(w->web, &bob, id, &r, &e), ERR_NOT_FOUND);
}
END_TEST

START_TEST(test_states_of_the_database_are_ours)
{
	struct db *owner = pg_db(pg, "owner", w->name);

	for (int s = 0; s < 9; s++) {
		const char *done = world_text(w, "insert into job_done(id, owner_id, lane, state, attempt, run, max_attempts) "
						 "values (next_job_id(), 1, 1, %d, 1, 1, 1)", s);
		const char *past = world_text(w, "insert into job_attempt(id, run, attempt, lease, session_id, worker_id, outcome, reported, started) "
						 "values (next_job_id(), 1, 1, gen_random_uuid(), 1, 1, %d, true, now())", s);

		ck_assert_int_eq(db_exec_text(owner, done, NULL, NULL) == OK, s < JOB_STATE_COUNT && job_state_ended(s));
		ck_assert_int_eq(db_exec_text(owner, past, NULL, NULL) == OK,
				 s < JOB_OUTCOME_COUNT && (s >= JOB_STATE_COUNT || job_state_ended(s)));
	}
	db_close(owner);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("job");
	TCase *t = tcase_create("job");
	SRunner *runner;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, open_world, close_world);
	tcase_add_test(t, test_submitted_job_waits);
	tcase_add_test(t, test_batch_in_order);
	tcase_add_test(t, test_batch_is_all_or_nothing);
	tcase_add_test(t, test_lanes_are_remembered_and_found_again);
	tcase_add_test(t, test_lane_of_a_rolled_back_transaction);
	tcase_add_test(t, test_too_many_lanes_of_one_person);
	tcase_add_test(t, test_two_make_the_same_lane);
	tcase_add_test(t, test_cancel_of_a_waiting_job);
	tcase_add_test(t, test_cancel_of_a_delayed_job);
	tcase_add_test(t, test_cancel_of_a_running_job);
	tcase_add_test(t, test_cancel_of_what_is_not_mine);
	tcase_add_test(t, test_cancel_many_and_one_twice);
	tcase_add_test(t, test_claim_wins_then_cancel_ends_the_lease);
	tcase_add_test(t, test_cancel_wins_then_claim_finds_nothing);
	tcase_add_test(t, test_result_wins_then_cancel_says_so);
	tcase_add_test(t, test_cancel_wins_then_the_result_is_refused);
	tcase_add_test(t, test_cancel_of_a_lease_that_is_renewed_meanwhile);
	tcase_add_test(t, test_two_cancel_at_once);
	tcase_add_test(t, test_retry_of_a_failed_job);
	tcase_add_test(t, test_retry_while_the_cancelled_process_may_run);
	tcase_add_test(t, test_retry_of_a_job_cancelled_before_it_ran);
	tcase_add_test(t, test_two_retry_at_once);
	tcase_add_test(t, test_job_of_another_is_not_found);
	tcase_add_test(t, test_states_of_the_database_are_ours);
	tcase_add_test(t, test_batch_forecast_fills_slots_once);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_stop(pg);
	return failed ? 1 : 0;
}
