/* Rounds of the leader against the database: starting, draining, stopping, and what must not come in between. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/crashpoint.h"
#include "control/scale.h"
#include "domain/autoscaler_doc.h"
#include "domain/operation.h"
#include "domain/scaling.h"
#include "pool.h"

static struct pg *pg;
static struct pool p;
static struct scaler scaler;
static struct config config = {.public_url = "http://127.0.0.1:8080", .kaggle_url = "https://api.kaggle.com/v1", .retention_days = 30};

static void open_pool(void)
{
	pool_make(&p, pg, "provisioner");
	scale_init(&scaler, p.role, &config);
	pool_sql(&p, "update account set sharing = 'all' where provider = 'local'");
}

static void close_pool(void)
{
	scale_free(&scaler);
	pool_drop(&p);
}

static void policy(const char *more)
{
	pool_sql(&p, "insert into scaling_policy(owner_id, enabled, up_delay_seconds, down_delay_seconds) values (1, true, 0, 0) "
		     "on conflict do nothing; update scaling_policy set version = version + 1 %s", more);
}

static bool round_of(struct scaler *s)
{
	s->next_ms = 0;
	return scale_turn(s, true);
}

static void jobs(int n)
{
	for (int i = 0; i < n; i++)
		pool_ready(&p);
	pool_sql(&p, "insert into lane_delta(lane, n) values (1, %d)", n);
}

static int64_t count(const char *what)
{
	return pool_int(&p, "select count(*) from %s", what);
}

/* A worker that runs: with a session that is registered and has a slot. */
static int64_t healthy(int64_t *session)
{
	int64_t id = pool_worker(&p, "local", "healthy");

	*session = pool_session(&p, id, "running");
	pool_sql(&p, "update session set got = '{cpu}', registered_at = now() - interval '1 hour'; "
		     "update session_live set busy_at = now() - interval '1 hour'");
	return id;
}

/* ---- up ---- */

START_TEST(test_off_does_nothing)
{
	jobs(60);
	ck_assert(!round_of(&scaler));
	policy(", enabled = false");
	ck_assert(!round_of(&scaler));
	policy(", enabled = true, paused = true");
	ck_assert(!round_of(&scaler));
	policy(", paused = false");
	scaler.next_ms = 0;
	ck_assert(!scale_turn(&scaler, false));
	ck_assert_int_eq(count("worker") + count("operation"), 0);
}
END_TEST

START_TEST(test_grows_once_for_one_need)
{
	policy("");
	jobs(6);
	ck_assert(round_of(&scaler));
	ck_assert_int_eq(count("worker where desired = 'running' and accelerator = 'cpu' and owner_id = 1"), 1);
	ck_assert_int_eq(count("operation where kind = 'start' and state = 'open'"), 1);
	ck_assert_int_eq(count("decision where kind = 'scaling' and subject = 'worker 1' and reason = 'More jobs wait than the threshold allows.'"), 1);
	ck_assert_int_eq(count("scaling_round"), 1);
	for (int i = 0; i < 3; i++)
		ck_assert(!round_of(&scaler));
	ck_assert_int_eq(count("worker"), 1);
}
END_TEST

START_TEST(test_starts_what_is_stopped)
{
	int64_t id = pool_worker(&p, "local", "stopped");

	pool_sql(&p, "update worker set desired = 'stopped'");
	policy("");
	jobs(6);
	ck_assert(round_of(&scaler));
	ck_assert_int_eq(pool_int(&p, "select count(*) from worker where id = %lld and desired = 'running' and generation = 2", (long long)id), 1);
	ck_assert_int_eq(count("worker"), 1);
	ck_assert_int_eq(count("operation where kind = 'start' and generation = 2"), 1);
}
END_TEST

START_TEST(test_delay_survives_the_leader)
{
	struct scaler next;

	policy(", up_delay_seconds = 60");
	jobs(6);
	ck_assert(!round_of(&scaler));
	ck_assert_int_eq(count("scaling_state where up_since is not null"), 1);
	pool_sql(&p, "update scaling_state set up_since = up_since - interval '60 seconds'");
	scale_init(&next, p.role, &config);
	ck_assert(round_of(&next));
	scale_free(&next);
	ck_assert_int_eq(count("worker"), 1);
	/* The need is covered: the next one counts from its own beginning. */
	ck_assert(!round_of(&scaler));
	ck_assert_int_eq(count("scaling_state where up_since is null"), 1);
}
END_TEST

START_TEST(test_another_decides)
{
	struct db *other = pool_connect(&p, "provisioner");
	struct scaler second;

	policy("");
	jobs(6);
	ck_assert_int_eq(db_run(other, STMT_SCALING_BEGIN, NO_ARGS, NULL, NULL), OK);
	ck_assert(!round_of(&scaler));
	ck_assert_int_eq(count("worker"), 0);
	db_close(other); /* dies with the lock */
	other = pool_connect(&p, "provisioner");
	scale_init(&second, other, &config);
	for (int i = 0; i < 100 && !round_of(&second); i++)
		pool_sql(&p, "select pg_sleep(0.05)");
	ck_assert_int_eq(count("worker"), 1);
	scale_free(&second);
	db_close(other);
}
END_TEST

/* The connection is lost in mid-round, and with it the lock: another may decide by now. */
START_TEST(test_connection_lost_in_mid_round)
{
	policy(", up_delay_seconds = 0");
	jobs(6);
	pool_sql(&p, "create function cut() returns trigger language plpgsql as 'begin perform pg_terminate_backend(pg_backend_pid()); return null; end'; "
		     "create trigger cut after insert on scaling_state for each statement execute function cut()");
	round_of(&scaler);
	ck_assert_int_eq(count("worker"), 0);
	pool_sql(&p, "drop trigger cut on scaling_state");
	for (int i = 0; i < 100 && !count("worker"); i++) {
		round_of(&scaler);
		pool_sql(&p, "select pg_sleep(0.02)");
	}
	ck_assert_int_eq(count("worker"), 1);
}
END_TEST

/* ---- policies ---- */

static enum err put(int64_t version)
{
	struct scaling_policy one = scaling_policy_default();
	const struct principal ada = {.user_id = 1};
	struct error e;

	one.version = version;
	return scaling_put(p.owner, &ada, 1, &one, &e);
}

START_TEST(test_policy_versions)
{
	ck_assert_int_eq(put(1), ERR_PRECONDITION);
	ck_assert_int_eq(put(0), OK);
	ck_assert_int_eq(put(0), ERR_PRECONDITION); /* somebody was quicker */
	ck_assert_int_eq(put(1), OK);
	ck_assert_int_eq(put(1), ERR_PRECONDITION);
	ck_assert_int_eq(put(SCALING_ANY), OK);
	ck_assert_int_eq(count("scaling_policy where version = 3"), 1);
}
END_TEST

/* Rounds of a large pool are large: what is kept of them is bounded, the newest stay. */
START_TEST(test_kept_rounds_are_bounded)
{
	pool_sql(&p, "insert into scaling_round(snapshot, decisions) select repeat(md5(i::text), 1000), '{}' from generate_series(1, 10) i");
	ck_assert_int_eq(db_run(p.role, STMT_SCALING_FORGET, ARGS(arg_i64(100), arg_i64(30), arg_i64(1 << 20)), NULL, NULL), OK);
	ck_assert_int_eq(count("scaling_round"), 10);
	ck_assert_int_eq(db_run(p.role, STMT_SCALING_FORGET, ARGS(arg_i64(100), arg_i64(30), arg_i64(3000)), NULL, NULL), OK);
	ck_assert_int_lt(count("scaling_round"), 10);
	ck_assert_int_eq(count("scaling_round where id = 10"), 1);
}
END_TEST

/* What is reserved and what is left are a part of what was shown. */
START_TEST(test_plan_is_of_its_hours)
{
	struct scale_decision d = {.action = SCALE_CREATE, .owner_id = 1, .account_id = 1, .provider = "kaggle", .accelerator = "gpu", .reserves_s = 3600, .remaining_s = 7200};
	struct scaling_look l = {.result = {.decisions = &d, .count = 1}};
	uint8_t was[CRYPTO_HASH], is[CRYPTO_HASH];

	scaling_digest(&l, 1, was);
	scaling_digest(&l, 1, is);
	ck_assert_mem_eq(was, is, sizeof(was));
	d.remaining_s = 3600;
	scaling_digest(&l, 1, is);
	ck_assert_mem_ne(was, is, sizeof(was));
	d.remaining_s = 7200;
	d.reserves_s = 900;
	scaling_digest(&l, 1, is);
	ck_assert_mem_ne(was, is, sizeof(was));
}
END_TEST

/* Hours that are gone start nothing, and the ledger would refuse it too. */
START_TEST(test_empty_quota)
{
	pool_sql(&p, "update account set provider = 'kaggle', sealed = '\\x00', status = 'ok', checked_version = sealed_version, sharing = 'none' where id = 1; "
		     "update lane set accelerator = 'gpu'; update provider_limit set week_seconds = 1000, week_margin_seconds = 200");
	config.public_url = "https://pool.example.org";
	policy("");
	jobs(60);
	ck_assert(!round_of(&scaler));
	ck_assert_int_eq(count("worker"), 0);
	pool_sql(&p, "update provider_limit set week_margin_seconds = 100");
	ck_assert(round_of(&scaler));
	ck_assert_int_eq(count("worker where provider = 'kaggle'"), 1);
	ck_assert_int_eq(count("decision where kind = 'scaling' and inputs ->> 'reservesSeconds' = '900' and inputs ->> 'remainingAfterSeconds' = '0'"), 1);
	/* It has reserved nothing yet, and counts all the same. */
	ck_assert(!round_of(&scaler));
}
END_TEST

/* What was learnt of such jobs counts, whatever was declared; trainings resume elsewhere. */
START_TEST(test_learned_estimate)
{
	pool_sql(&p, "update account set provider = 'kaggle', sealed = '\\x00', status = 'ok', checked_version = sealed_version, sharing = 'none' where id = 1; "
		     "update lane set accelerator = 'gpu', estimate = 43200");
	config.public_url = "https://pool.example.org";
	policy("");
	jobs(60);
	ck_assert(!round_of(&scaler));
	ck_assert_int_eq(count("worker"), 0);
	pool_sql(&p, "update lane set type = 1");
	ck_assert(round_of(&scaler));
	ck_assert_int_gt(count("worker where provider = 'kaggle'"), 0);
}
END_TEST

#ifdef GPUPOOL_TEST
/* A leader that dies at any moment of a round: the next one starts what is left to start, and no more. */
START_TEST(test_leader_dies)
{
	struct scaler next;
	char n[16];
	pid_t child;
	int status;

	policy("");
	jobs(17);
	child = fork();
	ck_assert_int_ge(child, 0);
	if (!child) {
		struct scaler mine;

		scale_init(&mine, pool_connect(&p, "provisioner"), &config);
		snprintf(n, sizeof(n), "%d", _i);
		crashpoint_arm(n);
		round_of(&mine);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(_i < 5 ? WIFSIGNALED(status) : WIFEXITED(status)); /* it decides, and acts three times */
	scale_init(&next, p.role, &config);
	for (int i = 0; i < 200 && count("worker") < 3; i++) {
		round_of(&next);
		pool_sql(&p, "select pg_sleep(0.02)");
	}
	ck_assert(!round_of(&next));
	ck_assert_int_eq(count("worker where desired = 'running'"), 3);
	ck_assert_int_eq(count("operation where kind = 'start'"), 3);
	ck_assert_int_eq(count("decision where kind = 'scaling'"), 3);
	scale_free(&next);
}
END_TEST
#endif

/* ---- down ---- */

START_TEST(test_stops_idle)
{
	int64_t session, id = healthy(&session);

	policy("");
	ck_assert(round_of(&scaler));
	ck_assert_int_eq(pool_int(&p, "select count(*) from worker where id = %lld and desired = 'stopped' and generation = 2", (long long)id), 1);
	ck_assert_int_eq(count("operation where kind = 'stop'"), 1);
	ck_assert_int_eq(count("session where state = 'draining' and not then_stop"), 1);
	ck_assert_int_eq(count("decision where kind = 'scaling' and inputs -> 'reason' ->> 'code' = 'idle'"), 1);
}
END_TEST

START_TEST(test_leased_is_never_stopped)
{
	int64_t session;

	healthy(&session);
	pool_lease(&p, session, 1, 3);
	policy("");
	ck_assert(!round_of(&scaler));
	/* Above the maximum it drains, and is not started again. */
	policy(", max_workers = 0");
	ck_assert(round_of(&scaler));
	ck_assert_int_eq(count("session where state = 'draining' and then_stop"), 1);
	ck_assert_int_eq(count("worker where desired = 'running' and state = 'draining' and reason_code = 'above_max'"), 1);
	ck_assert_int_eq(count("job_lease"), 1);
	ck_assert_int_eq(count("operation"), 0);
	ck_assert(!round_of(&scaler));
	/* Its agent has gone; the sweep of a provisioner comes first. */
	pool_sql(&p, "delete from job_lease; update session set state = 'ended', ended_at = now(), end_code = 'drained'; update worker set state = 'stopped'");
	cleanup_buf struct buf names = BUF_INIT(64);
	struct error e;
	int opened;

	array_begin(&names);
	array_add_str(&names, STR("local"));
	array_end(&names);
	ck_assert_int_eq(operation_sweep(p.role, &names, &opened, &e), OK);
	ck_assert_int_eq(opened, 0);
	ck_assert(round_of(&scaler));
	ck_assert_int_eq(count("worker where desired = 'stopped' and state = 'stopped' and generation = 2"), 1);
	ck_assert_int_eq(count("operation"), 0);
}
END_TEST

static bool drains(int64_t worker, int seen, const char *idle_only, const char *outcome)
{
	return pool_int(&p, "select count(*) from session_drain(%lld, %d, %s, 'idle', 'x') r where r = '%s'", (long long)worker, seen, idle_only, outcome);
}

/* What was seen is what must still be: a claim that came in between wins. */
START_TEST(test_drain_compares)
{
	int64_t session, id = healthy(&session);

	ck_assert(drains(id, 7, "true", "changed"));
	pool_lease(&p, session, 1, 3);
	ck_assert(drains(id, 1, "true", "busy"));
	ck_assert_int_eq(count("session where state = 'running'"), 1);
	ck_assert(drains(id, 1, "false", "done"));
	ck_assert(drains(id, 2, "false", "none"));
	ck_assert(drains(999, 1, "false", "changed"));
}
END_TEST

static void *round_in_thread(void *arg)
{
	return (void *)(uintptr_t)round_of(arg);
}

/* A claim holds the session's row while the round wants to stop it: the round waits, sees the lease, and leaves it. */
START_TEST(test_claim_while_stopping)
{
	struct db *claim = pool_connect(&p, "owner");
	int64_t session;
	pthread_t thread;
	void *did;

	healthy(&session);
	policy("");
	pg_sql(claim, "set search_path = gpupool; begin", NULL);
	pg_sql(claim, "select id from session where state = 'running' for share skip locked", NULL);
	ck_assert_int_eq(pthread_create(&thread, NULL, round_in_thread, &scaler), 0);
	while (!pool_int(&p, "select count(*) from pg_locks where not granted"))
		pool_sql(&p, "select pg_sleep(0.02)");
	pg_sql(claim, "insert into job(id, owner_id, lane, payload) values (next_job_id(), 1, 1, '{}')", NULL);
	pg_sql(claim, "insert into job_lease(id, lease, session_id, worker_id, lane, owner_id, gpus, attempt, run, max_attempts, seconds, until) "
		      "select j.id, gen_random_uuid(), s.id, s.worker_id, 1, 1, 1, 1, 1, 3, 60, now() + interval '1 minute' from job j, session s", NULL);
	pg_sql(claim, "commit", NULL);
	pthread_join(thread, &did);
	ck_assert_ptr_null(did);
	ck_assert_int_eq(count("session where state = 'running'"), 1);
	ck_assert_int_eq(count("worker where desired = 'running'"), 1);
	ck_assert_int_eq(count("decision where kind = 'scaling'"), 0);
	db_close(claim);
}
END_TEST

/* ---- what is kept ---- */

START_TEST(test_round_is_decided_again)
{
	cleanup_rows struct rows rows = {0};
	cleanup_json struct json *document = NULL;
	cleanup_buf struct buf again = BUF_INIT(1 << 20);
	struct scale_snapshot snapshot;
	struct scale_result result;
	struct arena arena;
	struct error e;

	policy("");
	jobs(17);
	ck_assert(round_of(&scaler));
	pg_sql(p.owner, "select snapshot, decisions from scaling_round", &rows);
	arena_init(&arena, 1 << 24);
	ck_assert_int_eq(json_parse(row_str(&rows, 0, "snapshot"), 1 << 20, &document, &e), OK);
	ck_assert_int_eq(autoscaler_read(document, &arena, &snapshot, &e), OK);
	ck_assert_int_eq(autoscaler_decide(&snapshot, &arena, &result, &e), OK);
	ck_assert_int_eq(result.count, 3);
	autoscaler_write(&snapshot, &result, &again);
	ck_assert(str_eq(buf_str(&again), row_str(&rows, 0, "decisions")));
	arena_free(&arena);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scaling");
	TCase *t = tcase_create("rounds");
	SRunner *r;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, open_pool, close_pool);
	tcase_add_test(t, test_off_does_nothing);
	tcase_add_test(t, test_grows_once_for_one_need);
	tcase_add_test(t, test_starts_what_is_stopped);
	tcase_add_test(t, test_delay_survives_the_leader);
	tcase_add_test(t, test_another_decides);
	tcase_add_test(t, test_connection_lost_in_mid_round);
	tcase_add_test(t, test_policy_versions);
	tcase_add_test(t, test_kept_rounds_are_bounded);
	tcase_add_test(t, test_plan_is_of_its_hours);
	tcase_add_test(t, test_empty_quota);
	tcase_add_test(t, test_learned_estimate);
#ifdef GPUPOOL_TEST
	tcase_add_loop_test(t, test_leader_dies, 1, 6);
#endif
	tcase_add_test(t, test_stops_idle);
	tcase_add_test(t, test_leased_is_never_stopped);
	tcase_add_test(t, test_drain_compares);
	tcase_add_test(t, test_claim_while_stopping);
	tcase_add_test(t, test_round_is_decided_again);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	pg_stop(pg);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
