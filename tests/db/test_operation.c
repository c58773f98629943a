/* Operations: claimed by one, decided by their holder only, opened where missing. */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "domain/operation.h"
#include "pool.h"
#include "unit.h"

static struct pg *pg;
static struct pool pool;
static struct buf local;
static struct error e;

static void set_up(void)
{
	pool_make(&pool, pg, "provisioner");
	local = BUF_INIT(256);
	array_begin(&local);
	array_add_str(&local, STR("local"));
	array_end(&local);
}

static void tear_down(void)
{
	pool_drop(&pool);
	buf_free(&local);
}

static int64_t opened(int64_t worker, const char *kind)
{
	return pool_int(&pool, "insert into operation(worker_id, provider, kind, generation) select id, provider, '%s', generation from worker "
			       "where id = %lld returning id", kind, (long long)worker);
}

static int claim(const char *me, struct operation *ret, int most)
{
	int n = -1;

	ck_assert_msg(operation_claim(pool.role, &local, me, OPERATION_CLAIM_SECONDS, ret, most, &n, &e) == OK, "%s", e.msg);
	return n;
}

static const struct operation_result keep = {.outcome = OUTCOME_KEEP, .from = WORKER_HEALTHY, .to = WORKER_STOPPING, .code = "asked", .reason = "Asked."};

START_TEST(test_claim_takes_own_providers_steps_once)
{
	struct operation op[8];

	opened(pool_worker(&pool, "local", "stopped"), "start");
	opened(pool_worker(&pool, "local", "stopped"), "start");
	opened(pool_worker(&pool, "manual", "stopped"), "start");
	ck_assert_int_eq(claim("a", op, 8), 2);
	ck_assert_int_eq(claim("b", op, 8), 0);
	/* The claim ends by itself. */
	pool_sql(&pool, "update operation set claimed_until = now() - interval '1 s'");
	ck_assert_int_eq(claim("b", op, 1), 1);
	ck_assert_int_eq(claim("b", op, 8), 1);
}
END_TEST

START_TEST(test_backoff_is_waited_for_unless_the_wish_has_changed)
{
	int64_t w = pool_worker(&pool, "local", "starting");
	struct operation op[2];

	opened(w, "start");
	pool_sql(&pool, "update operation set next_try_at = now() + interval '1 hour'");
	ck_assert_int_eq(claim("a", op, 2), 0);
	pool_sql(&pool, "update worker set generation = 2, desired = 'stopped'");
	ck_assert_int_eq(claim("a", op, 2), 1);
	ck_assert_int_eq(op[0].generation, 1);
	ck_assert_int_eq(operation_let_go(pool.role, &op[0], "a", 1, &e), OK);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from operation where state = 'superseded' and finished_at is not null"), 1);
}
END_TEST

START_TEST(test_step_that_is_let_go_may_be_taken_by_another_soon)
{
	struct operation op[1];

	opened(pool_worker(&pool, "local", "starting"), "start");
	claim("a", op, 1);
	ck_assert_int_eq(operation_let_go(pool.role, &op[0], "b", 0, &e), OK); /* not b's to give */
	ck_assert_int_eq(claim("b", op, 1), 0);
	ck_assert_int_eq(operation_let_go(pool.role, &op[0], "a", 60, &e), OK);
	ck_assert_int_eq(claim("b", op, 1), 0);
	pool_sql(&pool, "update operation set next_try_at = now()");
	ck_assert_int_eq(claim("b", op, 1), 1);
	ck_assert_int_eq(operation_step(pool.role, &op[0], "a", &(struct operation_result){.outcome = OUTCOME_DONE}, &e), ERR_CONFLICT);
}
END_TEST

START_TEST(test_step_moves_the_worker_with_event_and_decision)
{
	int64_t w = pool_worker(&pool, "local", "healthy");
	struct operation op[1];
	struct operation_result done = {.outcome = OUTCOME_DONE, .from = WORKER_STOPPING, .to = WORKER_STOPPED, .code = "stopped", .reason = "Stopped."};

	opened(w, "stop");
	claim("a", op, 1);
	ck_assert_int_eq(operation_step(pool.role, &op[0], "a", &keep, &e), OK);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where state = 'stopping' and reason = 'Asked.' and version = 2"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from operation where state = 'open' and claimed_by = 'a'"), 1);
	ck_assert_int_eq(operation_step(pool.role, &op[0], "a", &done, &e), OK);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from operation where state = 'done' and claimed_by is null"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from event where topic = 'worker' and what in ('stopping', 'stopped')"), 2);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from decision where kind = 'stop' and subject = 'worker %lld'", (long long)w), 2);
	/* It is over: nobody decides it again. */
	ck_assert_int_eq(operation_step(pool.role, &op[0], "a", &done, &e), ERR_CONFLICT);
}
END_TEST

START_TEST(test_step_of_another_claim_generation_or_state_writes_nothing)
{
	int64_t w = pool_worker(&pool, "local", "healthy");
	struct operation op[1];

	opened(w, "stop");
	claim("a", op, 1);
	ck_assert_int_eq(operation_step(pool.role, &op[0], "b", &keep, &e), ERR_CONFLICT);
	pool_sql(&pool, "update worker set generation = 2");
	ck_assert_int_eq(operation_step(pool.role, &op[0], "a", &keep, &e), ERR_CONFLICT);
	pool_sql(&pool, "update worker set generation = 1, state = 'draining'");
	ck_assert_int_eq(operation_step(pool.role, &op[0], "a", &keep, &e), ERR_CONFLICT);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where state = 'draining' and version = 1 and reason is null"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from event") + pool_int(&pool, "select count(*) from decision"), 0);
}
END_TEST

START_TEST(test_retry_counts_and_releases_the_claim)
{
	struct operation_result again = {.outcome = OUTCOME_AGAIN, .again_seconds = 30, .failure = true, .error = "No answer.", .from = WORKER_STARTING,
					 .to = WORKER_STARTING, .code = "provider", .reason = "No answer. It is tried again."};
	struct operation op[1];

	opened(pool_worker(&pool, "local", "starting"), "start");
	claim("a", op, 1);
	ck_assert_int_eq(operation_step(pool.role, &op[0], "a", &again, &e), OK);
	ck_assert_int_eq(pool_int(&pool, "select attempts from operation where state = 'open' and claimed_by is null and error = 'No answer.' "
					 "and next_try_at > now() + interval '25 s'"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where state = 'starting' and reason_code = 'provider'"), 1);
}
END_TEST

/* For every pair of state and wish the sweep opens what the C table says, and once. */
START_TEST(test_sweep_opens_what_the_table_says)
{
	int n, expected = 0;

	for (size_t i = 0; i < worker_edge_count; i++) {
		const struct worker_edge *edge = &worker_edges[i];
		int64_t w = pool_worker(&pool, "local", worker_state_name(edge->state));

		pool_sql(&pool, "update worker set desired = '%s', title = '%s' where id = %lld", worker_desire_name(edge->desire),
			 edge->opens ? edge->opens : "nothing", (long long)w);
		expected += edge->opens && edge->state != WORKER_DELETED;
	}
	ck_assert_int_eq(operation_sweep(pool.role, &local, &n, &e), OK);
	ck_assert_int_eq(n, expected);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from operation o join worker w on w.id = o.worker_id where o.kind = w.title"), expected);
	ck_assert_int_eq(operation_sweep(pool.role, &local, &n, &e), OK);
	ck_assert_int_eq(n, 0);
}
END_TEST

START_TEST(test_sweep_leaves_known_starts_and_failed_workers_and_lets_early_deaths_wait)
{
	int64_t known = pool_worker(&pool, "local", "starting"), failed = pool_worker(&pool, "local", "failed");
	int64_t died = pool_worker(&pool, "local", "stopped");
	int n;

	pool_session(&pool, known, "starting");
	pool_sql(&pool, "update session set provider_ref = '{}'");
	opened(failed, "start");
	pool_sql(&pool, "update operation set state = 'failed', finished_at = now(); update worker set early_deaths = 2 where id = %lld", (long long)died);
	ck_assert_int_eq(operation_sweep(pool.role, &local, &n, &e), OK);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(pool_int(&pool, "select worker_id from operation where state = 'open' and next_try_at > now() + interval '25 s'"), died);
	/* A person asks again: a new generation. */
	pool_sql(&pool, "update worker set generation = generation + 1 where id = %lld", (long long)failed);
	ck_assert_int_eq(operation_sweep(pool.role, &local, &n, &e), OK);
	ck_assert_int_eq(n, 1);
}
END_TEST

START_TEST(test_claims_of_the_dead_only_are_given_up)
{
	int status;
	pid_t gone = fork();

	if (gone == 0)
		_exit(0);
	waitpid(gone, &status, 0);
	for (int i = 0; i < 3; i++)
		opened(pool_worker(&pool, "local", "stopped"), "start");
	pool_sql(&pool, "update operation set claimed_until = now() + interval '1 minute', claimed_by = "
			"(array['here:%ld:x', 'here:%ld:y', 'there:%ld:z'])[id]", (long)gone, (long)getpid(), (long)gone);
	ck_assert_int_eq(operation_claims_of_dead(pool.role, &local, "here:1:me", &e), OK);
	ck_assert_int_eq(pool_int(&pool, "select id from operation where claimed_until is null"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from operation where claimed_until is null"), 1);
}
END_TEST

/* Four provisioners drain two hundred steps; while they do, wishes change under them. */
START_TEST(test_race_of_four_provisioners)
{
	for (int i = 0; i < 200; i++)
		opened(pool_worker(&pool, "local", "healthy"), "stop");
	for (int k = 0; k < 4; k++) {
		if (fork())
			continue;
		struct db *db = pool_connect(&pool, "provisioner");
		char me[16];

		snprintf(me, sizeof(me), "p%d", k);
		for (int idle = 0; idle < 5;) {
			struct operation op[16];
			int n;

			if (operation_claim(db, &local, me, OPERATION_CLAIM_SECONDS, op, 16, &n, NULL))
				_exit(1);
			idle = n ? 0 : idle + 1;
			for (int i = 0; i < n; i++) {
				struct operation_result done = {.outcome = OUTCOME_DONE, .from = WORKER_STOPPING, .to = WORKER_STOPPED};
				enum err err = operation_step(db, &op[i], me, &keep, NULL);

				err = err ? err : operation_step(db, &op[i], me, &done, NULL);
				if (err == ERR_CONFLICT)
					err = operation_let_go(db, &op[i], me, 60, NULL);
				if (err)
					_exit(2);
			}
		}
		_exit(0);
	}
	for (int i = 1; i <= 200; i += 2)
		pool_sql(&pool, "with w as (update worker set desired = 'deleted', generation = generation + 1 where id = %d returning id, provider, generation) "
				"insert into operation(worker_id, provider, kind, generation) select id, provider, 'delete', generation from w on conflict do nothing", i);
	for (int k = 0; k < 4; k++) {
		int status = 0;

		wait(&status);
		ck_assert_int_eq(status, 0);
	}
	/* Each worker moved once down the way, by one provisioner; those with a new wish wait for its sweep or have its step. */
	ck_assert_int_eq(pool_int(&pool, "select count(*) from (select subjects, what from event group by 1, 2 having count(*) > 1) x"), 0);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where generation = 1 and state <> 'stopped'"), 0);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from operation where state = 'open' and kind = 'stop'"), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("operation");
	TCase *t = tcase_create("statements");

	pg = pg_start();
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_claim_takes_own_providers_steps_once);
	tcase_add_test(t, test_backoff_is_waited_for_unless_the_wish_has_changed);
	tcase_add_test(t, test_step_that_is_let_go_may_be_taken_by_another_soon);
	tcase_add_test(t, test_step_moves_the_worker_with_event_and_decision);
	tcase_add_test(t, test_step_of_another_claim_generation_or_state_writes_nothing);
	tcase_add_test(t, test_retry_counts_and_releases_the_claim);
	tcase_add_test(t, test_sweep_opens_what_the_table_says);
	tcase_add_test(t, test_sweep_leaves_known_starts_and_failed_workers_and_lets_early_deaths_wait);
	tcase_add_test(t, test_claims_of_the_dead_only_are_given_up);
	tcase_add_test(t, test_race_of_four_provisioners);
	suite_add_tcase(s, t);
	return unit_run(s);
}
