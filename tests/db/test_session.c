/* Sessions: opened once, ended once, and what becomes of all they held. */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "domain/operation.h"
#include "domain/session.h"
#include "pool.h"
#include "unit.h"

static struct pg *pg;
static struct pool pool;
static struct arena arena;
static struct error e;

static void set_up(void)
{
	pool_make(&pool, pg, "provisioner");
	arena_init(&arena, 1 << 20);
}

static void tear_down(void)
{
	pool_drop(&pool);
	arena_free(&arena);
}

static struct session_ended end_as(struct db *db, int64_t session, const char *code, bool release)
{
	struct session_ending s = {.id = session, .code = code, .reason = "It ended.", .log = STR("last \xff words"), .release = release, .silent = -1};
	struct session_ended ended;

	ck_assert_msg(session_end(db, &s, 1, &ended, &e) == OK, "%s", e.msg);
	return ended;
}

static struct session_ended end(int64_t session, const char *code, bool release)
{
	return end_as(pool.role, session, code, release);
}

/* ---- open ----------------------------------------------------------------- */

static int64_t claimed_start(int64_t worker)
{
	return pool_int(&pool, "insert into operation(worker_id, provider, kind, generation, claimed_by, claimed_until) "
			       "select id, provider, 'start', generation, 'me', now() + interval '1 minute' from worker where id = %lld returning id",
			(long long)worker);
}

static enum err open_it(int64_t worker, int64_t operation, const char *me, int generation, struct session_opened *ret)
{
	static const uint8_t hash[CRYPTO_HASH] = {7};
	struct session_opening o = {.worker = worker, .operation = operation, .claimed_by = me, .generation = generation, .token_hash = hash,
				    .state = WORKER_STARTING};

	return session_open(pool.role, &arena, &o, ret, &e);
}

START_TEST(test_open_moves_the_worker_and_says_why)
{
	int64_t w = pool_worker(&pool, "local", "stopped"), op = claimed_start(w);
	struct session_opened s;
	struct worker_view view;

	pool_sql(&pool, "update worker set max_session_seconds = 900, early_deaths = 2, url = 'https://old'");
	ck_assert_int_eq(open_it(w, op, "me", 1, &s), OK);
	ck_assert(str_is_uuid(s.intent));
	ck_assert_int_eq(s.limit_seconds, 900);
	ck_assert_int_eq(worker_look(pool.role, &arena, w, &view, &e), OK);
	ck_assert_int_eq(view.state, WORKER_STARTING);
	ck_assert_int_eq(view.session, s.id);
	ck_assert(!view.over && !view.registered);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where enrol_until between now() + interval '50 s' and now() + interval '61 s'"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from event where topic = 'worker' and what = 'starting' and subjects = array[%lld::bigint]",
				  (long long)w), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from decision where kind = 'start' and inputs ->> 'limitSeconds' = '900'"), 1);
	/* A first session of this generation: what came before does not count. */
	ck_assert_int_eq(pool_int(&pool, "select early_deaths from worker where url is null and version = 2"), 0);
}
END_TEST

START_TEST(test_open_refuses_another_claim_generation_or_wish)
{
	int64_t w = pool_worker(&pool, "local", "stopped"), op = claimed_start(w);
	struct session_opened s;

	ck_assert_int_eq(open_it(w, op, "someone else", 1, &s), ERR_CONFLICT);
	ck_assert_int_eq(open_it(w, op, "me", 2, &s), ERR_CONFLICT);
	pool_sql(&pool, "update worker set desired = 'stopped'");
	ck_assert_int_eq(open_it(w, op, "me", 1, &s), ERR_CONFLICT);
	pool_sql(&pool, "update worker set desired = 'running', state = 'healthy'");
	ck_assert_int_eq(open_it(w, op, "me", 1, &s), ERR_CONFLICT);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session"), 0);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from event") + pool_int(&pool, "select count(*) from decision"), 0);
}
END_TEST

START_TEST(test_second_session_of_a_worker_is_a_conflict)
{
	int64_t w = pool_worker(&pool, "local", "stopped"), op;
	struct session_opened s;

	pool_session(&pool, w, "running");
	op = claimed_start(w);
	ck_assert_int_eq(open_it(w, op, "me", 1, &s), ERR_CONFLICT);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session"), 1);
}
END_TEST

START_TEST(test_token_is_renewed_before_registration_only)
{
	int64_t one = pool_session(&pool, pool_worker(&pool, "local", "starting"), "starting");
	int64_t two = pool_session(&pool, pool_worker(&pool, "local", "healthy"), "running");
	const uint8_t hash[CRYPTO_HASH] = {9};

	ck_assert_int_eq(session_token(pool.role, one, hash, &e), OK);
	ck_assert_int_eq(session_token(pool.role, two, hash, &e), ERR_CONFLICT);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where enrol_hash = decode(rpad('09', 64, '0'), 'hex')"), 1);
}
END_TEST

/* One who stalled until its step was taken over must not start what the other starts. */
START_TEST(test_only_the_claimant_launches)
{
	int64_t w = pool_worker(&pool, "local", "starting"), s = pool_session(&pool, w, "starting"), op = claimed_start(w);

	ck_assert_int_eq(session_launched(pool.role, s, op, "someone else", &e), ERR_CONFLICT);
	ck_assert_int_eq(session_launched(pool.role, s, op + 1, "me", &e), ERR_CONFLICT);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where launched_at is not null"), 0);
	ck_assert_int_eq(session_launched(pool.role, s, op, "me", &e), OK);
	pool_sql(&pool, "update operation set claimed_by = 'someone else'");
	ck_assert_int_eq(session_launched(pool.role, s, op, "me", &e), ERR_CONFLICT);
	pool_sql(&pool, "update operation set claimed_by = 'me'; update session set registered_at = now()");
	ck_assert_int_eq(session_launched(pool.role, s, op, "me", &e), ERR_CONFLICT);
}
END_TEST

START_TEST(test_reference_is_kept_even_after_the_end)
{
	int64_t w = pool_worker(&pool, "local", "starting"), s = pool_session(&pool, w, "starting");

	end(s, "lost", false);
	ck_assert_int_eq(session_ran(pool.role, &arena, s, STR("{\"pid\": 7}"), "https://there", &e), OK);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where provider_ref ->> 'pid' = '7'"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where url = 'https://there'"), 1);
}
END_TEST

/* ---- end ------------------------------------------------------------------ */

START_TEST(test_end_happens_once)
{
	int64_t s = pool_session(&pool, pool_worker(&pool, "local", "healthy"), "running");

	ck_assert_int_eq(end(s, "lost", false).ended, 1);
	ck_assert_int_eq(end(s, "stopped", true).ended, 0);
	ck_assert_int_eq(end(999, "stopped", true).ended, 0);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'ended' and end_code = 'lost' "
					 "and ended_at is not null and log_tail like 'last %% words'"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from decision where kind = 'lost'"), 1);
}
END_TEST

/* Every kind of lease in one statement, and those of another session untouched. */
START_TEST(test_lost_session_gives_back_what_has_attempts_left)
{
	int64_t s = pool_session(&pool, pool_worker(&pool, "local", "healthy"), "running");
	int64_t other = pool_session(&pool, pool_worker(&pool, "local", "healthy"), "running");
	int64_t first = pool_lease(&pool, s, 1, 3), last = pool_lease(&pool, s, 3, 3), kept = pool_lease(&pool, other, 1, 3);
	struct session_ended ended;

	pool_sql(&pool, "insert into job_ending(session_id, id, lease, gpus) values (%lld, 5, gen_random_uuid(), 1), (%lld, 6, gen_random_uuid(), 1)",
		 (long long)s, (long long)other);
	ended = end(s, "lost", false);
	ck_assert_int_eq(ended.ended, 1);
	ck_assert_int_eq(ended.requeued, 1);
	ck_assert_int_eq(pool_int(&pool, "select attempt from job_delayed where id = %lld and run = 1 and why = 'retry_backoff' "
					 "and run_after <= now() + interval '1 second'", (long long)first), 1);
	ck_assert_int_eq(pool_int(&pool, "select outcome from job_attempt where id = %lld and not reported", (long long)first), 7);
	ck_assert_int_eq(pool_int(&pool, "select state from job_done where id = %lld and error ->> 'type' = 'lost' and attempt = 3", (long long)last), 3);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease where id = %lld", (long long)kept), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_ending where session_id = %lld", (long long)other), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_ending"), 1);
	ck_assert_int_eq(pool_int(&pool, "select sum(failed) from worker_delta"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from lane_delta"), 0);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from event where topic = 'job' and ((what = 'queued' and subjects = array[%lld::bigint]) "
					 "or (what = 'failed' and subjects = array[%lld::bigint]))", (long long)first, (long long)last), 2);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from decision where kind = 'retry'"), 2);
}
END_TEST

START_TEST(test_released_job_uses_up_no_attempt)
{
	int64_t s = pool_session(&pool, pool_worker(&pool, "local", "healthy"), "running"), id = pool_lease(&pool, s, 3, 3);

	ck_assert_int_eq(end(s, "stopped", true).requeued, 1);
	ck_assert_int_eq(pool_int(&pool, "select attempt from job_ready where id = %lld and run = 3", (long long)id), 2);
	ck_assert_int_eq(pool_int(&pool, "select sum(n) from lane_delta where lane = 1"), 1);
	ck_assert_int_eq(pool_int(&pool, "select outcome from job_attempt where id = %lld", (long long)id), 6);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_done"), 0);
}
END_TEST

START_TEST(test_job_that_kills_two_workers_in_its_first_minute_is_over)
{
	int64_t one = pool_session(&pool, pool_worker(&pool, "local", "healthy"), "running");
	int64_t two = pool_session(&pool, pool_worker(&pool, "local", "healthy"), "running");
	int64_t id = pool_lease(&pool, one, 1, 9), slow = pool_lease(&pool, two, 1, 9);

	pool_sql(&pool, "update job_lease set started = now() - interval '5 s' where id = %lld", (long long)id);
	end(one, "lost", false);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_delayed where id = %lld", (long long)id), 1);
	pool_sql(&pool, "delete from job_delayed; insert into job_lease(id, lease, session_id, worker_id, lane, owner_id, gpus, attempt, run, max_attempts, seconds, until) "
			"select %lld, gen_random_uuid(), id, worker_id, 1, 1, 1, 2, 2, 9, 60, now() from session where id = %lld", (long long)id, (long long)two);
	end(two, "lost", false);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_done where id = %lld and state = 3 and error ->> 'type' = 'kills_worker'", (long long)id), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_delayed where id = %lld", (long long)slow), 1);
}
END_TEST

START_TEST(test_state_of_the_worker_after_the_end)
{
	static const struct {
		const char *desired, *code;
		int deaths, minutes; /* before; age of the session */
		const char *state;
		int deaths_after;
	} cases[] = {
		{"running", "lost", 0, 60, "stopped", 0},   {"running", "lost", 1, 1, "stopped", 2},
		{"running", "lost", 2, 1, "failed", 3},     {"running", "lost", 2, 60, "stopped", 0},
		{"running", "drained", 2, 1, "stopped", 0}, {"running", "deadline", 2, 1, "stopped", 0},
		{"running", "terminated", 2, 1, "stopped", 0}, {"running", "goodbye", 2, 1, "failed", 3},
		{"running", "capacity", 2, 1, "waiting", 2}, {"running", "quota", 1, 1, "waiting", 1},
		{"running", "credentials", 2, 1, "needs_human", 0}, {"running", "no_gpu", 2, 1, "needs_human", 0},
		{"running", "refused", 2, 1, "stopped", 0}, {"stopped", "capacity", 0, 1, "stopping", 0},
		{"stopped", "stopped", 0, 1, "stopping", 0}, {"stopped", "lost", 2, 1, "stopping", 3},
		{"deleted", "lost", 0, 60, "stopping", 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int64_t w = pool_worker(&pool, "local", "healthy"), s = pool_session(&pool, w, "running");

		pool_sql(&pool, "update worker set desired = '%s', early_deaths = %d where id = %lld; "
				"update session set registered_at = now() - interval '%d minutes' where id = %lld",
			 cases[i].desired, cases[i].deaths, (long long)w, cases[i].minutes, (long long)s);
		end(s, cases[i].code, false);
		ck_assert_msg(pool_int(&pool, "select count(*) from worker where id = %lld and state = '%s' and early_deaths = %d and reason is not null",
				       (long long)w, cases[i].state, cases[i].deaths_after) == 1, "case %zu", i);
	}
}
END_TEST

START_TEST(test_session_that_never_registered_died_early_however_long_it_waited)
{
	int64_t w = pool_worker(&pool, "local", "starting"), s = pool_session(&pool, w, "starting");

	pool_sql(&pool, "update session set started_at = now() - interval '5 hours'; update worker set early_deaths = 2");
	end(s, "error", false);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where state = 'failed' and early_deaths = 3"), 1);
}
END_TEST

START_TEST(test_end_of_a_session_that_is_not_the_workers_leaves_it_alone)
{
	int64_t old = pool_session(&pool, pool_worker(&pool, "local", "healthy"), "running");

	pool_sql(&pool, "update worker set session_id = null");
	ck_assert_int_eq(end(old, "lost", false).ended, 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where state = 'healthy' and version = 1"), 1);
}
END_TEST

START_TEST(test_guards_spare_who_has_spoken_meanwhile)
{
	int64_t heard = pool_session(&pool, pool_worker(&pool, "manual", "healthy"), "running");
	int64_t silent = pool_session(&pool, pool_worker(&pool, "manual", "unhealthy"), "running");
	struct session_ending endings[] = {
		{.id = heard, .code = "lost", .reason = "Silent.", .silent = 600},
		{.id = silent, .code = "lost", .reason = "Silent.", .silent = 600},
		{.id = heard, .code = "enrol_timeout", .reason = "Late.", .unregistered = true, .silent = -1},
	};
	struct session_ended ended;

	pool_sql(&pool, "update session_live set last_heartbeat = now() - interval '11 minutes' where session_id = %lld", (long long)silent);
	ck_assert_int_eq(session_end(pool.role, endings, 3, &ended, &e), OK);
	ck_assert_int_eq(ended.ended, 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'ended' and id = %lld", (long long)silent), 1);
	/* Nothing said of the log keeps what was there. */
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where log_tail is null"), 2);
}
END_TEST

START_TEST(test_each_role_that_learns_of_an_end_may_write_it)
{
	static const char *const roles[] = {"provisioner", "events", "local"};

	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		struct db *db = pool_connect(&pool, roles[i]);
		int64_t s = pool_session(&pool, pool_worker(&pool, "local", "healthy"), "running");
		int64_t back = pool_lease(&pool, s, 1, 3), over = pool_lease(&pool, s, 3, 3);

		(void)back, (void)over;
		ck_assert_int_eq(end_as(db, s, "lost", false).ended, 1);
		db_close(db);
	}
	/* But not of others' workers. */
	struct db *db = pool_connect(&pool, "local");
	int64_t s = pool_session(&pool, pool_worker(&pool, "manual", "healthy"), "running");

	ck_assert_int_eq(end_as(db, s, "lost", false).ended, 0);
	db_close(db);
}
END_TEST

/* Four connections end the same sixty sessions at once: each lease comes back once. */
START_TEST(test_race_of_four_ends)
{
	int64_t ids[60];

	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		ids[i] = pool_session(&pool, pool_worker(&pool, "local", "healthy"), "running");
		pool_lease(&pool, ids[i], 1, 3);
		pool_lease(&pool, ids[i], 1, 3);
	}
	for (int k = 0; k < 4; k++) {
		if (fork())
			continue;
		struct db *db = pool_connect(&pool, k % 2 ? "events" : "provisioner");

		for (size_t i = 0; i < ARRAY_LEN(ids); i += 3) {
			struct session_ending s[3];
			struct session_ended ended;

			for (size_t n = 0; n < 3; n++) /* in different orders */
				s[n] = (struct session_ending){.id = ids[k % 2 ? i + n : i + 2 - n], .code = "lost", .reason = "Gone.", .silent = -1};
			if (session_end(db, s, 3, &ended, NULL))
				_exit(1);
		}
		_exit(0);
	}
	for (int k = 0; k < 4; k++) {
		int status = 0;

		wait(&status);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'ended'"), 60);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_delayed"), 120);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_attempt"), 120);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from decision where kind = 'lost'"), 60);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("session");
	TCase *t = tcase_create("statements");

	pg = pg_start();
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_open_moves_the_worker_and_says_why);
	tcase_add_test(t, test_open_refuses_another_claim_generation_or_wish);
	tcase_add_test(t, test_second_session_of_a_worker_is_a_conflict);
	tcase_add_test(t, test_token_is_renewed_before_registration_only);
	tcase_add_test(t, test_only_the_claimant_launches);
	tcase_add_test(t, test_reference_is_kept_even_after_the_end);
	tcase_add_test(t, test_end_happens_once);
	tcase_add_test(t, test_lost_session_gives_back_what_has_attempts_left);
	tcase_add_test(t, test_released_job_uses_up_no_attempt);
	tcase_add_test(t, test_job_that_kills_two_workers_in_its_first_minute_is_over);
	tcase_add_test(t, test_state_of_the_worker_after_the_end);
	tcase_add_test(t, test_session_that_never_registered_died_early_however_long_it_waited);
	tcase_add_test(t, test_end_of_a_session_that_is_not_the_workers_leaves_it_alone);
	tcase_add_test(t, test_guards_spare_who_has_spoken_meanwhile);
	tcase_add_test(t, test_each_role_that_learns_of_an_end_may_write_it);
	tcase_add_test(t, test_race_of_four_ends);
	suite_add_tcase(s, t);
	return unit_run(s);
}
