/*
 * Each start elsewhere happens once: whatever reply was lost, however many
 * provisioners there are, and wherever one is killed.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "domain/session.h"
#include "fake.h"
#include "remote.h"
#include "unit.h"

/* ---- lost replies ----------------------------------------------------------- */

START_TEST(test_lost_reply_of_a_start_that_took_effect_is_found)
{
	int64_t a = remote_account(1, "ada", "good"), id;
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'ok'");
	fake_fail(FAKE_START, 1, ERR_TIMEOUT, NULL, true);
	id = remote_worker(a, "gpu");
	remote_wait(1, "select count(*) from account_circuit where failures = 1 and open_until > now()");
	remote_sql("update account_circuit set open_until = now()");
	remote_wait_started(id);
	ck_assert_int_eq(fake->run_count, 1);
	ck_assert_int_eq(fake->calls[FAKE_START], 1);
	remote_wait(0, "select count(*) from account_circuit");
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_lost_reply_of_a_start_without_effect_starts_once_more_when_certain)
{
	int64_t a = remote_account(1, "ada", "good"), id;
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'ok'");
	fake_fail(FAKE_START, 1, ERR_TIMEOUT, NULL, false);
	id = remote_worker(a, "gpu");
	remote_wait(1, "select count(*) from account_circuit");
	remote_sql("update account_circuit set open_until = now()");
	remote_wait_started(id);
	ck_assert_int_eq(fake->run_count, 1);
	ck_assert_int_eq(fake->calls[FAKE_START], 2);
	ck_assert_int_eq(remote_count("select count(*) from session"), 1);
	ck_assert_int_eq(fake->twice, 0);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_stop_of_a_start_in_doubt_finds_the_run_first)
{
	int64_t a = remote_account(1, "ada", "good"), id;
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'ok'");
	fake_fail(FAKE_START, 1, ERR_TIMEOUT, NULL, true);
	id = remote_worker(a, "gpu");
	remote_wait(1, "select count(*) from account_circuit");
	remote_want(id, "deleted");
	remote_sql("update account_circuit set open_until = now()");
	remote_wait_state(id, "deleted");
	remote_wait_quiet();
	ck_assert(fake_of(id)->removed);
	remote_end(p, SIGTERM);
}
END_TEST

/* Nobody waits for the end of a run that was never begun: its hours and its place are there at once. */
START_TEST(test_stop_of_a_start_without_effect_gives_back_what_it_held)
{
	int64_t a = remote_account(1, "ada", "good"), id;
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'ok'");
	fake_fail(FAKE_START, 1, ERR_TIMEOUT, NULL, false);
	id = remote_worker(a, "gpu");
	remote_wait(1, "select count(*) from account_circuit");
	remote_want(id, "stopped");
	remote_sql("update account_circuit set open_until = now()");
	remote_wait_state(id, "stopped");
	remote_wait(1, "select count(*) from session where state = 'ended' and over_at is not null and provider_ref is null");
	ck_assert_int_eq(remote_count("select count(*) from quota_now where resource = 'gpu' and live = 0 and reserved_seconds = 0 and used_seconds = 0"), 1);
	ck_assert_int_eq(fake->run_count, 0);
	remote_end(p, SIGTERM);
}
END_TEST

/* A start whose reply was lost, and whose agent came before its run was found. */
static int64_t registered_unfound(pid_t *p)
{
	int64_t a = remote_account(1, "ada", "good"), id;

	*p = remote_provisioner("");
	remote_wait(1, "select count(*) from account where status = 'ok' and swept_at is not null");
	fake_fail(FAKE_START, 1, ERR_TIMEOUT, NULL, true);
	id = remote_worker(a, "gpu");
	remote_wait_calm(1, "select count(*) from account_circuit where open_until > now() and failures = 1");
	remote_wait_calm(1, "select count(*) from operation where state = 'open' and claimed_until is null and attempts > 0");
	remote_register(id, "{gpu,T4}");
	return id;
}

START_TEST(test_run_whose_agent_came_first_is_found_and_watched)
{
	pid_t p;
	int64_t id = registered_unfound(&p);

	remote_sql("update account_circuit set open_until = now()");
	remote_wait(1, "select count(*) from session s join session_poll l on l.session_id = s.id join worker w on w.id = s.worker_id "
		       "where s.provider_ref is not null and s.state = 'running' and w.state = 'healthy'");
	remote_wait(0, "select count(*) from operation where state = 'open'");
	ck_assert_int_eq(fake->run_count, 1);
	remote_sql("update session set registered_at = now() - interval '1 hour'");
	fake_end(id, "error", "Fake says that it failed.");
	remote_wait(1, "select count(*) from session where end_code = 'error'");
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_run_whose_agent_came_first_does_not_go_on_without_its_inputs)
{
	pid_t p;
	int64_t id = registered_unfound(&p);

	fake_end(id, "ended", "Fake has deleted it.");
	fake_fail(FAKE_FIND, 1, ERR_INVALID, "inputs", false);
	remote_sql("update account_circuit set open_until = now()");
	remote_wait_code(id, "failed", "inputs");
	ck_assert_int_eq(remote_count("select count(*) from session where state = 'ended' and end_code = 'inputs' and over_at is not null"), 1);
	ck_assert_int_eq(remote_count("select count(*) from operation where state = 'open'"), 0);
	ck_assert_int_eq(fake->calls[FAKE_START], 1);
	remote_end(p, SIGTERM);
}
END_TEST

/* ---- many ------------------------------------------------------------------- */

START_TEST(test_two_provisioners_of_four_hands_start_a_hundred_workers_once_each)
{
	pid_t p[2];

	remote_sql("update provider_limit set concurrent = null");
	for (int k = 0; k < 4; k++) {
		char user[16];
		int64_t a;

		snprintf(user, sizeof(user), "user%d", k);
		a = remote_account(1 + k % 2, user, "good");
		for (int i = 0; i < 25; i++)
			remote_worker(a, "cpu");
	}
	for (int i = 0; i < 2; i++)
		p[i] = remote_provisioner("");
	remote_wait(100, "select count(*) from session where provider_ref is not null");
	ck_assert_int_eq(fake->run_count, 100);
	ck_assert_int_eq(remote_count("select count(*) from session"), 100);
	remote_sql("update worker set desired = 'deleted', generation = generation + 1");
	remote_wait(100, "select count(*) from worker where state = 'deleted'");
	remote_wait_quiet();
	ck_assert_int_eq(fake->calls[FAKE_START], 100);
	for (int i = 0; i < 2; i++)
		remote_end(p[i], SIGTERM);
}
END_TEST

#ifdef GPUPOOL_TEST

/* True when it died of a crash point before the rows were so. */
static bool died_before(pid_t *p, const char *sql)
{
	int status;

	for (int64_t end = clock_ms() + REMOTE_SOON; clock_ms() < end; clock_sleep_ms(10)) {
		if (waitpid(*p, &status, WNOHANG) == *p) {
			ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
			ck_assert_int_eq(fake->twice, 0);
			ck_assert_int_le(fake_live(), 1);
			ck_assert_int_le(remote_count("select count(*) from session where state <> 'ended'"), 1);
			/* Claims of looks and checks end by themselves: here at once. */
			remote_sql("update session_poll set due = now(); update account set check_at = now() where check_at < now() + interval '10 minutes'; "
				   "update account_circuit set open_until = now()");
			*p = remote_provisioner("");
			return true;
		}
		remote_hurry();
		if (pg_int(remote.db, sql) == 1)
			return false;
	}
	remote_dump();
	ck_abort_msg("not: %s", sql);
}

static void reach(pid_t *p, int *deaths, const char *sql)
{
	while (died_before(p, sql))
		++*deaths;
}

static const char started[] = "select count(*) from worker w join session s on s.id = w.session_id where s.state = 'starting' and s.provider_ref is not null";
static const char stopped[] = "select count(*) from worker where state = 'stopped' and not exists (select from session_poll)";
static const char deleted[] = "select count(*) from worker where state = 'deleted' and not exists (select from session_poll)";
static const char checked[] = "select count(*) from account where status = 'ok' and swept_at is not null";

/* From the first check to the delete, with one death at the n-th point; 0 = it got through. */
static int life(int64_t a, int n)
{
	char at[16];
	int deaths = 0;
	int64_t id;
	pid_t p;

	fake_reset();
	remote_sql("update account set checked_version = null, identity = null, status = 'unchecked', swept_at = null, check_at = now()");
	id = remote_worker(a, "gpu");
	snprintf(at, sizeof(at), "%d", n);
	p = remote_provisioner(at);
	reach(&p, &deaths, started);
	reach(&p, &deaths, checked);
	remote_register(id, "{gpu,T4}");
	fake_end(id, "ended", "Fake ran it to its end.");
	remote_want(id, "stopped");
	reach(&p, &deaths, stopped);
	ck_assert_int_eq(remote_count("select count(*) from session_output where name = 'log'"), 1);
	remote_want(id, "running");
	reach(&p, &deaths, started);
	remote_want(id, "deleted");
	reach(&p, &deaths, deleted);
	ck_assert_int_eq(remote_count("select count(*) from session where state <> 'ended'"), 0);
	ck_assert_int_eq(remote_count("select count(*) from session where outputs_at is null"), 0);
	ck_assert_int_eq(fake_live(), 0);
	ck_assert(fake_of(id)->removed);
	ck_assert_int_eq(fake->twice, 0);
	ck_assert_int_eq(fake->run_count, 2);
	ck_assert_int_eq(remote_count("select count(*) from session"), 2);
	remote_end(p, SIGKILL);
	remote_wait(0, "select count(*) from pg_stat_activity where usename = 'gpupool_provisioner' and datname = current_database()");
	remote_sql("delete from operation; update worker set session_id = null; delete from session_live; delete from session_output; "
		   "delete from reservation; delete from quota; delete from session; delete from worker");
	return deaths;
}

START_TEST(test_killed_at_every_point_it_goes_on)
{
	int64_t a = remote_account(1, "ada", "good");
	int n = 1;

	remote.config.hands = 1; /* the n-th point is then the same one each time, or nearly */
	while (life(a, n))
		n++;
	printf("remote: killed at %d points\n", n - 1);
	ck_assert_int_ge(n, 30);
}
END_TEST

#endif

int main(void)
{
	Suite *s = suite_create("remote_faults");
	TCase *t = tcase_create("remote_faults");

	remote_make();
	tcase_add_checked_fixture(t, remote_set_up, remote_tear_down);
	tcase_set_timeout(t, 600);
	tcase_add_test(t, test_lost_reply_of_a_start_that_took_effect_is_found);
	tcase_add_test(t, test_lost_reply_of_a_start_without_effect_starts_once_more_when_certain);
	tcase_add_test(t, test_stop_of_a_start_in_doubt_finds_the_run_first);
	tcase_add_test(t, test_stop_of_a_start_without_effect_gives_back_what_it_held);
	tcase_add_test(t, test_run_whose_agent_came_first_is_found_and_watched);
	tcase_add_test(t, test_run_whose_agent_came_first_does_not_go_on_without_its_inputs);
	tcase_add_test(t, test_two_provisioners_of_four_hands_start_a_hundred_workers_once_each);
#ifdef GPUPOOL_TEST
	tcase_add_test(t, test_killed_at_every_point_it_goes_on);
#else
	printf("skipped: crash points are not in this build (the asan build has them)\n");
#endif
	suite_add_tcase(s, t);
	return unit_run(s);
}
