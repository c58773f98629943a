/*
 * Accounts at a provider elsewhere: asked whose they are, spared while it does
 * not answer, compared with what is there of ours.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "domain/session.h"
#include "fake.h"
#include "remote.h"
#include "unit.h"

/* ---- accounts --------------------------------------------------------------- */

static bool calls_are_many(void *unused)
{
	int n = 0;

	(void)unused;
	for (int i = 0; i < FAKE_CALLS; i++)
		n += fake->calls[i];
	return n > 1;
}

START_TEST(test_told_to_come_back_later_nobody_calls_before)
{
	int64_t a = remote_account(1, "ada", "good"), one = remote_worker(a, "gpu"), two = remote_worker(a, "cpu");
	pid_t p, q;

	fake_fail(FAKE_VERIFY, 1, ERR_RATE, "rate", false);
	fake->fault[FAKE_VERIFY].retry_after_s = 3600;
	/* Nothing is asked before the first check has been answered. */
	remote_sql("update operation set next_try_at = now() + interval '1 hour'");
	p = remote_provisioner("");
	q = remote_provisioner("");
	remote_wait_calm(1, "select count(*) from account_circuit where failures = 1 and open_until > now() + interval '59 minutes' and code = 'rate'");
	remote_sql("update operation set next_try_at = now(); update account set check_at = now()");
	remote_wait_calm(2, "select count(*) from worker where state = 'waiting' and reason_code = 'circuit'");
	remote_wait_calm(1, "select count(*) from account where check_at > now() + interval '50 minutes'");
	ck_assert(!calls_are_many(NULL));
	ck_assert_int_eq(remote_count("select count(*) from session"), 0);
	remote_sql("update account_circuit set open_until = now(); update account set check_at = now()");
	remote_wait_started(one);
	remote_wait_started(two);
	remote_wait(0, "select count(*) from account_circuit");
	remote_end(p, SIGTERM);
	remote_end(q, SIGTERM);
}
END_TEST

START_TEST(test_failures_double_the_pause_and_one_probe_tries)
{
	int64_t a = remote_account(1, "ada", "good");
	pid_t p;

	fake_fail(FAKE_VERIFY, 3, ERR_UPSTREAM, NULL, false);
	p = remote_provisioner("");
	for (int n = 1; n <= 3; n++) {
		remote_wait_calm(1, "select count(*) from account_circuit where failures = %d and open_until between now() + interval '%d s' and now() + interval '%d s'",
			  n, (15 << (n - 1)) - 3, (18 << (n - 1)) + 1);
		remote_wait_calm(1, "select count(*) from account where check_at < now() + interval '90 s'");
		remote_sql("update account_circuit set open_until = now(); update account set check_at = now()");
	}
	remote_wait_calm(1, "select count(*) from account where status = 'ok' and id = %lld", (long long)a);
	remote_wait_calm(0, "select count(*) from account_circuit");
	ck_assert_int_eq(fake->calls[FAKE_VERIFY], 4);
	remote_end(p, SIGTERM);
}
END_TEST

static bool verified_thrice(void *unused)
{
	(void)unused;
	remote_sql("update account set check_at = now()");
	return fake->calls[FAKE_VERIFY] >= 3;
}

START_TEST(test_call_that_was_not_made_is_no_failure_of_the_account)
{
	pid_t p;

	remote_account(1, "ada", "good");
	fake_fail(FAKE_VERIFY, 100000, ERR_TIMEOUT, "unasked", false);
	p = remote_provisioner("");
	/* An open circuit would have let one through. */
	ck_assert(wait_for(verified_thrice, NULL, REMOTE_SOON));
	ck_assert_int_eq(remote_count("select count(*) from account_circuit"), 0);
	ck_assert_int_eq(remote_count("select count(*) from account where status = 'needs_human'"), 0);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_user_of_another_person_is_refused)
{
	int64_t mine = remote_account(1, "ada", "good"), theirs;
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where id = %lld and status = 'ok'", (long long)mine);
	theirs = remote_account(2, "Ada", "good");
	remote_wait(1, "select count(*) from account where id = %lld and status = 'needs_human' and identity is null and reason like '%%already%%'", (long long)theirs);
	/* Nor may an account with workers become another's. */
	remote_worker(mine, "cpu");
	remote_seal(mine, 1, "eve", "good");
	remote_wait(1, "select count(*) from account where id = %lld and status = 'needs_human' and identity = 'ada' and reason like '%%eve%%ada%%'",
		 (long long)mine);
	remote_end(p, SIGTERM);
}
END_TEST

static bool polled_more(void *than)
{
	remote_hurry();
	return fake->calls[FAKE_POLL] > *(int *)than + 1;
}

START_TEST(test_delete_under_refused_credentials_says_so_and_goes_on_with_new_ones)
{
	int64_t a = remote_account(1, "ada", "good"), id = remote_worker(a, "gpu");
	pid_t p = remote_provisioner("");

	remote_wait_started(id);
	remote_seal(a, 1, "ada", "revoked");
	remote_wait(1, "select count(*) from account where status = 'needs_human'");
	remote_want(id, "deleted");
	remote_wait_code(id, "stopping", "credentials");
	ck_assert_int_eq(fake_of(id)->stops, 0);
	remote_seal(a, 1, "ada", "good");
	remote_wait_state(id, "deleted");
	remote_wait_quiet();
	remote_end(p, SIGTERM);
}
END_TEST

/* What the provider wants of the owner before it starts more spoils nothing of what runs. */
START_TEST(test_account_that_may_start_nothing_still_watches_stops_and_removes)
{
	int64_t a = remote_account(1, "ada", "good"), one = remote_worker(a, "gpu"), two, three;
	pid_t p = remote_provisioner("");
	int polls;

	remote_wait_started(one);
	remote_register(one, "{gpu,T4}");
	fake_fail(FAKE_START, 1, ERR_FORBIDDEN, "account", false);
	two = remote_worker(a, "cpu");
	remote_wait_code(two, "needs_human", "account");
	remote_wait(1, "select count(*) from account where status = 'needs_human' and refused_code = 'account' and reason like 'Fake%%'");
	polls = fake->calls[FAKE_POLL];
	ck_assert(wait_for(polled_more, &polls, REMOTE_SOON));
	three = remote_worker(a, "cpu");
	remote_wait_code(three, "needs_human", "account");
	ck_assert_int_eq(fake->calls[FAKE_START], 2);
	remote_want(one, "deleted");
	remote_wait_state(one, "deleted");
	ck_assert(fake_of(one)->removed && fake_of(one)->stops + fake_of(one)->insists > 0);
	/* Its owner did what was wanted, and says so. */
	remote_sql("update account set check_at = now()");
	remote_wait_started(two);
	remote_wait_started(three);
	ck_assert_int_eq(remote_count("select count(*) from account where status = 'ok' and reason is null"), 1);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_refused_credentials_count_more_than_what_is_wanted_of_the_owner)
{
	int64_t a = remote_account(1, "ada", "good"), id = remote_worker(a, "gpu");
	pid_t p = remote_provisioner("");
	int stops;

	remote_wait_started(id);
	fake_fail(FAKE_START, 1, ERR_FORBIDDEN, "account", false);
	remote_wait_code(remote_worker(a, "cpu"), "needs_human", "account");
	fake_fail(FAKE_POLL, 1000, ERR_UNAUTHORIZED, "credentials", false);
	remote_wait(1, "select count(*) from account where status = 'needs_human' and refused_code = 'credentials'");
	stops = fake->calls[FAKE_STOP];
	remote_want(id, "stopped");
	remote_wait_code(id, "stopping", "credentials");
	ck_assert_int_eq(fake->calls[FAKE_STOP], stops);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_what_never_ran_is_deleted_under_refused_credentials)
{
	int64_t a = remote_account(1, "ada", "bad"), fresh, unsent;
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'needs_human'");
	fresh = remote_worker(a, "gpu");
	unsent = remote_worker(a, "cpu");
	remote_wait_code(fresh, "needs_human", "credentials");
	remote_wait_code(unsent, "needs_human", "credentials");
	/* As one who died between opening the session and sending its start leaves it. */
	remote_sql("with s as (insert into session(worker_id, owner_id, account_id, provider, generation, limit_seconds) "
		   "select id, owner_id, account_id, provider, generation, 3600 from worker where accelerator = 'cpu' returning id, worker_id) "
		   "update worker w set session_id = s.id, state = 'starting' from s where w.id = s.worker_id");
	remote_want(fresh, "deleted");
	remote_want(unsent, "deleted");
	remote_wait_state(fresh, "deleted");
	remote_wait_state(unsent, "deleted");
	ck_assert_int_eq(remote_count("select count(*) from session where state <> 'ended'"), 0);
	ck_assert_int_eq(fake->calls[FAKE_FIND] + fake->calls[FAKE_REMOVE], 0);
	remote_end(p, SIGTERM);
}
END_TEST

/* _i: with good credentials; without any more. */
START_TEST(test_deleted_account_goes_when_its_workers_have)
{
	int64_t a = remote_account(1, "ada", "good"), one = remote_worker(a, "gpu"), two = remote_worker(a, "cpu");
	pid_t p = remote_provisioner("");
	char sql[1200];

	remote_wait_started(one);
	remote_wait_started(two);
	remote_end(p, SIGTERM);
	/* As account_let_go does it. */
	snprintf(sql, sizeof(sql), "update account set deleting_at = now()%s", _i ? ", sealed = null, key_id = null" : "");
	remote_sql(sql);
	remote_want(one, "deleted");
	p = remote_provisioner("");
	remote_wait_state(one, "deleted");
	ck_assert_int_eq(remote_count("select count(*) from account where deleted_at is null"), 1);
	remote_want(two, "deleted");
	remote_wait(1, "select count(*) from account where deleted_at is not null and sealed is null and key_id is null");
	ck_assert_int_eq(remote_count("select count(*) from worker where state <> 'deleted'"), 0);
	ck_assert_int_eq(remote_count("select count(*) from event where topic = 'account' and what = 'deleted'"), 1);
	if (!_i) {
		ck_assert(fake_of(one)->removed && fake_of(two)->removed);
		remote_wait_quiet();
	}
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_account_that_is_being_deleted_starts_nothing)
{
	int64_t a = remote_account(1, "ada", "good"), id;
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'ok'");
	/* Another worker keeps the account, which else goes at once. */
	remote_sql("insert into worker(owner_id, account_id, provider, title, accelerator, desired) select owner_id, id, provider, 'idle', 'gpu', 'stopped' from account; "
		   "update account set deleting_at = now()");
	id = remote_worker(a, "gpu");
	remote_wait_code(id, "needs_human", "account");
	ck_assert_int_eq(fake->calls[FAKE_START], 0);
	remote_end(p, SIGTERM);
}
END_TEST

/* Its claim has minutes left. */
START_TEST(test_look_of_a_dead_process_is_taken_up_at_once)
{
	char host[64] = "", sql[256];
	pid_t dead = fork(), p;

	if (!dead)
		_exit(0);
	ck_assert_int_eq(waitpid(dead, NULL, 0), dead);
	gethostname(host, sizeof(host) - 1);
	remote_account(1, "ada", "good");
	snprintf(sql, sizeof(sql), "update account set check_at = now() + interval '1 hour', claimed_by = '%.40s:%ld:0'", host, (long)dead);
	remote_sql(sql);
	p = remote_provisioner("");
	remote_wait(1, "select count(*) from account where status = 'ok' and claimed_by is null");
	remote_end(p, SIGTERM);
}
END_TEST

/* Its end would else put the next one an hour off. */
START_TEST(test_check_that_is_asked_for_during_another_follows_it)
{
	int64_t a = remote_account(1, "ada", "good");
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'ok' and claimed_by is null and check_at > now() + interval '10 minutes'");
	remote_end(p, SIGTERM);
	remote_sql("update account set claimed_by = 'elsewhere:1:0', check_at = now() + interval '400 s'");
	ck_assert_int_eq(remote_count("select count(*) from (select account_check_soon(%lld)) x", (long long)a), 1);
	ck_assert_int_eq(remote_count("select count(*) from account where hurried and check_at > now() + interval '300 s'"), 1);
	ck_assert_int_eq(db_run(remote.db, STMT_CHECK_DONE, ARGS(arg_i64(a), arg_double(300), arg_double(3600), arg_double(60)), NULL, &remote.e), OK);
	ck_assert_int_eq(remote_count("select count(*) from account where not hurried and claimed_by is null and check_at < now() + interval '31 s'"), 1);
}
END_TEST

START_TEST(test_account_without_credentials_keeps_no_worker_from_its_end)
{
	int64_t a = remote_account(1, "ada", "good"), id = remote_worker(a, "gpu");
	pid_t p = remote_provisioner("");

	remote_wait_started(id);
	remote_sql("update account set deleted_at = now(), sealed = null, key_id = null");
	remote_want(id, "deleted");
	remote_wait_state(id, "deleted");
	remote_wait(0, "select count(*) from session_poll");
	ck_assert_int_eq(remote_count("select count(*) from session where state <> 'ended'"), 0);
	remote_wait_code(remote_worker(a, "cpu"), "needs_human", "credentials");
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_moved_box_opens_nothing)
{
	int64_t a = remote_account(1, "ada", "good"), b = remote_account(2, "bob", "good");
	char sql[256];
	pid_t p;

	snprintf(sql, sizeof(sql), "update account set sealed = (select sealed from account where id = %lld) where id = %lld", (long long)a, (long long)b);
	remote_sql(sql);
	p = remote_provisioner("");
	remote_wait(1, "select count(*) from account where id = %lld and status = 'needs_human' and reason like '%%do not belong%%'", (long long)b);
	remote_wait(1, "select count(*) from account where id = %lld and status = 'ok'", (long long)a);
	ck_assert_int_eq(fake->calls[FAKE_VERIFY], 1);
	remote_end(p, SIGTERM);
}
END_TEST

/* The memory that credentials are opened in is not another process's of the same user to read. */
START_TEST(test_memory_of_who_opens_credentials_is_closed)
{
	pid_t p;
	char path[64], line[256];
	bool no_core = false;
	struct stat st;
	FILE *f;

	remote_account(1, "ada", "good");
	p = remote_provisioner("");
	remote_wait(1, "select count(*) from account where status = 'ok'");
	snprintf(path, sizeof(path), "/proc/%d/limits", (int)p);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f))
		no_core |= !strncmp(line, "Max core file size        0                    0 ", 49);
	fclose(f);
	ck_assert(no_core);
	snprintf(path, sizeof(path), "/proc/%d/mem", (int)p);
	ck_assert_int_eq(stat(path, &st), 0);
	if (geteuid()) /* of one that may be dumped it is the user's own */
		ck_assert_int_eq(st.st_uid, 0);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_sweep_removes_strays_adopts_the_lost_and_leaves_others_alone)
{
	int64_t a = remote_account(1, "ada", "good"), lost = remote_worker(a, "gpu"), other = remote_worker(a, "cpu"), stray = remote_worker(a, "cpu");
	pid_t p = remote_provisioner("");

	remote_wait_started(lost);
	remote_wait_started(other);
	remote_wait_started(stray);
	remote_end(p, SIGTERM);
	/* A start whose reference was lost; one of another installation; one that no row knows. */
	remote_sql("delete from session_poll; delete from operation; update account set swept_at = null, check_at = now()");
	ck_assert_int_eq(remote_count("with s as (update session set provider_ref = null where worker_id = %lld returning 1) select count(*) from s", (long long)lost), 1);
	snprintf(fake_of(other)->installation, 40, "11111111-2222-3333-4444-555555555555");
	ck_assert_int_eq(remote_count("with w as (update worker set session_id = null where id in (%lld, %lld) returning 1) select count(*) from w",
			       (long long)stray, (long long)other), 2);
	remote_sql("delete from reservation r using session s where s.id = r.session_id and s.resource = 'cpu'; delete from session where resource = 'cpu'; "
		   "update worker set desired = 'stopped', state = 'stopped' where accelerator = 'cpu'");
	p = remote_provisioner("");
	remote_wait_calm(1, "select count(*) from account where swept_at is not null");
	remote_wait(1, "select count(*) from session s join session_poll p on p.session_id = s.id where s.provider_ref is not null and s.worker_id = %lld",
		 (long long)lost);
	ck_assert(fake_of(stray)->removed);
	ck_assert(!fake_of(other)->removed && fake_of(other)->stops + fake_of(other)->insists == 0);
	ck_assert_int_eq(remote_count("select count(*) from decision where kind = 'stop' and subject like 'account %%'"), 1);
	ck_assert_int_eq(fake->run_count, 3);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_sweep_goes_on_where_it_stopped)
{
	int64_t a = remote_account(1, "ada", "good"), id[3];
	pid_t p = remote_provisioner("");
	int lists;

	for (int i = 0; i < 3; i++)
		remote_wait_started(id[i] = remote_worker(a, "cpu"));
	remote_end(p, SIGTERM);
	/* All three are strays, and one look sees one of them. */
	remote_sql("delete from session_poll; delete from operation; update account set swept_at = null, check_at = now(); delete from reservation; "
		   "update worker set session_id = null, desired = 'stopped', state = 'stopped'; delete from session");
	fake->page = 1;
	lists = fake->calls[FAKE_LIST];
	p = remote_provisioner("");
	remote_wait_calm(1, "select count(*) from account where swept_at is null and sweep_from = '1' and check_at between now() + interval '20 s' and now() + interval '80 s'");
	ck_assert(fake_of(id[0])->removed && !fake_of(id[1])->removed);
	for (int i = 1; i < 3; i++) {
		remote_sql("update account set check_at = now()");
		remote_wait_calm(1, "select count(*) from account where sweep_from is not distinct from %s", i == 1 ? "'2'" : "null");
	}
	ck_assert_int_eq(fake->calls[FAKE_LIST], lists + 3);
	ck_assert(fake_of(id[1])->removed && fake_of(id[2])->removed);
	ck_assert_int_eq(remote_count("select count(*) from account where swept_at is not null"), 1);
	/* A place that is there no more: from the beginning. */
	remote_sql("update account set swept_at = null, sweep_from = '7', check_at = now()");
	fake_fail(FAKE_LIST, 1, ERR_INVALID, NULL, false);
	remote_wait_calm(1, "select count(*) from account where sweep_from = ''");
	remote_end(p, SIGTERM);
}
END_TEST

/* A run of this worker's goes on, and our rows take its session for over and never begun. */
static void lose(int64_t worker)
{
	pid_t p = remote_provisioner("");

	remote_wait_started(worker);
	remote_end(p, SIGTERM);
	remote_sql("delete from session_poll; delete from operation; update account set swept_at = null, check_at = now(); "
		   "update worker set state = 'stopped', desired = 'stopped'; "
		   "update session set provider_ref = null, state = 'ended', end_code = 'stopped', ended_at = now() - interval '10 minutes', "
		   "over_at = now() - interval '10 minutes'");
}

START_TEST(test_sweep_stops_a_run_that_was_taken_for_never_begun)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p;

	lose(id);
	p = remote_provisioner("");
	remote_wait(1, "select count(*) from session where provider_ref is not null");
	remote_wait(1, "select count(*) from session where over_at > now() - interval '9 minutes'");
	ck_assert_int_gt(fake_of(id)->stops + fake_of(id)->insists, 0);
	remote_wait_quiet();
	remote_end(p, SIGTERM);
}
END_TEST

/* _i: copied to another account; of another worker; copied to another account, and its worker is deleted. */
START_TEST(test_sweep_adopts_no_run_with_a_copied_mark)
{
	int64_t a = remote_account(1, "ada", "good"), id = remote_worker(a, "gpu");
	struct fake_run *run;
	pid_t p;

	remote_account(2, "bob", "good");
	lose(id);
	run = fake_of(id);
	if (_i == 2)
		remote_sql("update worker set state = 'deleted', desired = 'deleted', deleted_at = now()");
	if (_i == 1)
		run->worker = id + 1;
	else
		snprintf(run->owner, sizeof(run->owner), "bob");
	p = remote_provisioner("");
	remote_wait_calm(2, "select count(*) from account where swept_at is not null");
	remote_end(p, SIGTERM);
	ck_assert_int_eq(remote_count("select count(*) from session where provider_ref is null"), 1);
	ck_assert_int_eq(remote_count("select count(*) from session_poll"), 0);
	ck_assert(!run->removed && run->stops + run->insists == 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote_accounts");
	TCase *t = tcase_create("remote_accounts");

	remote_make();
	tcase_add_checked_fixture(t, remote_set_up, remote_tear_down);
	tcase_set_timeout(t, 180);
	tcase_add_test(t, test_told_to_come_back_later_nobody_calls_before);
	tcase_add_test(t, test_failures_double_the_pause_and_one_probe_tries);
	tcase_add_test(t, test_call_that_was_not_made_is_no_failure_of_the_account);
	tcase_add_test(t, test_user_of_another_person_is_refused);
	tcase_add_test(t, test_delete_under_refused_credentials_says_so_and_goes_on_with_new_ones);
	tcase_add_test(t, test_account_that_may_start_nothing_still_watches_stops_and_removes);
	tcase_add_test(t, test_refused_credentials_count_more_than_what_is_wanted_of_the_owner);
	tcase_add_test(t, test_what_never_ran_is_deleted_under_refused_credentials);
	tcase_add_loop_test(t, test_deleted_account_goes_when_its_workers_have, 0, 2);
	tcase_add_test(t, test_account_that_is_being_deleted_starts_nothing);
	tcase_add_test(t, test_look_of_a_dead_process_is_taken_up_at_once);
	tcase_add_test(t, test_check_that_is_asked_for_during_another_follows_it);
	tcase_add_test(t, test_account_without_credentials_keeps_no_worker_from_its_end);
	tcase_add_test(t, test_moved_box_opens_nothing);
	tcase_add_test(t, test_memory_of_who_opens_credentials_is_closed);
	tcase_add_test(t, test_sweep_removes_strays_adopts_the_lost_and_leaves_others_alone);
	tcase_add_test(t, test_sweep_goes_on_where_it_stopped);
	tcase_add_test(t, test_sweep_stops_a_run_that_was_taken_for_never_begun);
	tcase_add_loop_test(t, test_sweep_adopts_no_run_with_a_copied_mark, 0, 3);
	suite_add_tcase(s, t);
	return unit_run(s);
}
