/*
 * Workers at a provider elsewhere, whose answers are scripted: real database,
 * real provisioners with their hands.  What ends is learnt, kept and shown; what
 * must wait waits, and starts when it may.
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

/* ---- the plain course ----------------------------------------------------- */

START_TEST(test_start_watch_stop_start_delete)
{
	int64_t a = remote_account(1, "ada", "good"), id = remote_worker(a, "gpu");
	pid_t p = remote_provisioner("");
	struct fake_run *run;

	remote_wait_started(id);
	run = fake_of(id);
	ck_assert_str_eq(run->owner, "ada");
	ck_assert_str_eq(run->resource, "gpu");
	ck_assert_str_eq(run->shape, "NvidiaTeslaT4");
	ck_assert_str_eq(run->datasets, "ada/set");
	ck_assert_int_eq(run->limit_seconds, 3600);
	ck_assert_int_eq(remote_count("select count(*) from worker where url like 'https://fake.test/ada/gpupool-test-%%'"), 1);
	ck_assert_int_eq(remote_count("select count(*) from reservation where granted_seconds = 3600 and settled_at is null"), 1);
	remote_wait_code(id, "starting", "queued");
	remote_wait(1, "select count(*) from session where queued_at is not null");
	run->phase = RUN_LIVE;
	remote_wait_code(id, "starting", "unregistered");
	remote_register(id, "{gpu,T4}");
	remote_want(id, "stopped");
	remote_wait_state(id, "stopping");
	/* The agent hears the order: nobody is asked to end it. */
	ck_assert_int_eq(run->stops, 0);
	fake_end(id, "ended", "Fake ran it to its end.");
	remote_wait_state(id, "stopped");
	remote_wait_quiet();
	ck_assert_int_eq(run->stops, 0);
	ck_assert_int_eq(remote_count("select count(*) from session where end_code = 'stopped' and log_tail like 'the run%%' and outputs_at is not null"), 1);
	ck_assert_int_eq(remote_count("select count(*) from session_output where (name = 'log' and content is not null) "
			       "or (name = 'results/out.json' and size = 2) or (name = 'model.bin' and content is null and size = 1 << 30)"), 3);
	remote_want(id, "running");
	remote_wait(2, "select count(*) from session where provider_ref is not null");
	/* Unheard, it is asked to end at once. */
	remote_want(id, "deleted");
	remote_wait_state(id, "deleted");
	remote_wait_quiet();
	ck_assert_int_eq(fake_of(id)->stops, 1);
	ck_assert(fake_of(id)->removed);
	ck_assert_int_eq(fake->calls[FAKE_START], 2);
	ck_assert_int_eq(fake->calls[FAKE_FIND], 0);
	remote_end(p, SIGTERM);
	ck_assert_int_eq(remote_count("select count(*) from instance"), 0);
}
END_TEST

START_TEST(test_run_that_ends_unasked_gives_its_jobs_back_at_once_and_starts_again)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu"), first;
	pid_t p = remote_provisioner("");

	remote_wait_started(id);
	remote_register(id, "{gpu,T4}");
	first = remote_count("select session_id from worker");
	remote_sql("update session set registered_at = now() - interval '1 hour'");
	fake_of(id)->late = 100000;
	fake_end(id, "error", "Fake says that it failed.");
	remote_wait(1, "select count(*) from session where id = %lld and state = 'ended' and end_code = 'error' and outputs_at is null", (long long)first);
	remote_wait(2, "select count(*) from session where provider_ref is not null");
	/* What it left is waited for, but not for ever. */
	ck_assert_int_eq(remote_count("select count(*) from session_poll where session_id = %lld", (long long)first), 1);
	remote_sql("update session set over_at = now() - interval '11 minutes' where over_at is not null");
	remote_wait(0, "select count(*) from session_poll where session_id = %lld", (long long)first);
	ck_assert_int_eq(remote_count("select count(*) from session_output"), 0);
	remote_end(p, SIGTERM);
}
END_TEST

static bool fetched_twice(void *unused)
{
	(void)unused;
	remote_hurry();
	return fake->calls[FAKE_OUTPUTS] >= 2;
}

START_TEST(test_names_that_are_hard_to_keep)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p = remote_provisioner("");

	remote_wait_started(id);
	remote_register(id, "{gpu,T4}");
	fake_of(id)->odd = true;
	fake_end(id, "error", "Fake says that it failed.");
	remote_wait(1, "select count(*) from session where outputs_at is not null");
	ck_assert_int_eq(remote_count("select count(*) from session_output where name in ('log', 'log.1', 'log.2')"), 3);
	ck_assert_int_eq(remote_count("select count(*) from session_output where name = 'log' and content like 'the run%%'"), 1);
	ck_assert_int_eq(remote_count("select count(*) from session_output where length(name) = 205 and octet_length(name) = 405"), 2);
	remote_end(p, SIGTERM);
}
END_TEST

/* _i: none ever comes; one comes late. */
START_TEST(test_files_of_a_run_without_a_log_are_kept_when_no_log_comes)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu"), first;
	pid_t p = remote_provisioner("");
	struct fake_run *run;

	remote_wait_started(id);
	remote_register(id, "{gpu,T4}");
	first = remote_count("select session_id from worker");
	run = fake_of(id);
	run->mute = true;
	remote_sql("update session set registered_at = now() - interval '1 hour'");
	fake_end(id, "error", "Fake says that it failed.");
	remote_wait(1, "select count(*) from session where id = %lld and state = 'ended' and over_at is not null", (long long)first);
	/* Its log may still come; its files are here, and not fetched again. */
	ck_assert(wait_for(fetched_twice, NULL, REMOTE_SOON));
	remote_wait(2, "select count(*) from session_output where name in ('results/out.json', 'model.bin')");
	ck_assert_int_eq(remote_count("select count(*) from session where id = %lld and outputs_at is null", (long long)first), 1);
	ck_assert_int_eq(remote_count("select count(*) from session_poll where session_id = %lld", (long long)first), 1);
	remote_sql("update session set over_at = now() - interval '2 minutes' where over_at is not null");
	/* Nothing waits for it now. */
	remote_wait(1, "select count(*) from session where id = %lld and outputs_at is not null and log_tail is null", (long long)first);
	ck_assert_int_eq(remote_count("select count(*) from session_poll where session_id = %lld", (long long)first), 1);
	run->mute = !_i;
	if (!_i)
		remote_sql("update session set over_at = now() - interval '11 minutes' where over_at is not null");
	remote_wait(0, "select count(*) from session_poll where session_id = %lld", (long long)first);
	if (_i)
		ck_assert_int_eq(remote_count("select count(*) from session_output o join session s on s.id = o.session_id "
					      "where o.name = 'log' and length(o.content) > 0 and s.log_tail like 'the run%%'"), 1);
	ck_assert_int_eq(remote_count("select count(*) from session_output"), 2 + _i);
	ck_assert_int_eq(run->fetches, 1);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_run_that_never_registers_ends_with_what_its_log_says)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p = remote_provisioner("");
	struct fake_run *run;

	remote_wait_started(id);
	run = fake_of(id);
	run->late = 3;
	snprintf(run->said_code, sizeof(run->said_code), "no_internet");
	snprintf(run->said_reason, sizeof(run->said_reason), "The notebook has no internet.");
	fake_end(id, "error", "Fake says that it failed.");
	remote_wait_code(id, "needs_human", "no_internet");
	ck_assert_int_eq(remote_count("select count(*) from worker where reason = 'It did not come to register. The notebook has no internet.' and early_deaths = 0"), 1);
	remote_wait_quiet();
	/* It is not started again before somebody asks. */
	ck_assert_int_eq(remote_count("select count(*) from operation where state = 'open'"), 0);
	remote_want(id, "running");
	remote_wait_started(id);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_three_runs_that_never_register_fail_the_worker)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "cpu");
	pid_t p = remote_provisioner("");

	for (int n = 1; n <= 3; n++) {
		remote_wait(n, "select count(*) from session where provider_ref is not null");
		remote_sql("update session set started_at = now() - interval '1 hour'"); /* it waited for long */
		fake_end(id, "error", "Fake says that it failed.");
	}
	remote_wait_code(id, "failed", "early_deaths");
	remote_wait_quiet();
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_run_without_the_gpu_that_was_asked_is_ended)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p = remote_provisioner("");

	remote_wait_started(id);
	remote_register(id, "{cpu}");
	remote_wait_code(id, "needs_human", "no_gpu");
	ck_assert_int_eq(remote_count("select count(*) from session where end_code = 'no_gpu' and state = 'ended'"), 1);
	remote_wait_quiet();
	ck_assert_int_eq(fake_of(id)->stops, 1);
	remote_end(p, SIGTERM);
}
END_TEST

static bool looked_twice(void *before)
{
	remote_hurry();
	return fake->calls[FAKE_POLL] >= *(int *)before + 2;
}

START_TEST(test_run_with_another_gpu_goes_on_and_says_so)
{
	int64_t a = remote_account(1, "ada", "good"), id = remote_worker(a, "NvidiaTeslaA100"), same = remote_worker(a, "T4");
	pid_t p = remote_provisioner("");

	remote_wait_started(id);
	remote_wait_started(same);
	remote_register(id, "{gpu,T4}");
	remote_register(same, "{gpu,T4}");
	remote_wait_code(id, "healthy", "got_other");
	ck_assert_int_eq(remote_count("select count(*) from worker where reason like '%%A100%%T4%%'"), 1);
	remote_wait_calm(2, "select count(*) from session_poll where phase = 'queued' and due > now()");
	ck_assert_int_eq(remote_count("select count(*) from worker where state = 'healthy' and reason is null"), 1);
	remote_end(p, SIGTERM);
}
END_TEST

/* _i: fewer GPUs, smaller ones, just as many and more. */
START_TEST(test_run_with_less_of_its_gpu_says_so)
{
	static const struct {
		const char *gpus;
		long long memory;
		const char *says;
	} cases[] = {
		{"[{\"name\": \"Tesla T4\"}]", 15LL << 30, "%2 × T4%1 × Tesla T4;%"},
		{"[{\"name\": \"Tesla T4\"}, {}]", 7LL << 30, "%2 × T4 of 14 GiB%2 × Tesla T4 of 7 GiB;%"},
		{"[{\"name\": \"Tesla T4\"}, {}, {}]", 15LL << 30, NULL},
	};
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "T4");
	pid_t p = remote_provisioner("");
	char sql[256];
	int polls;

	remote_wait_started(id);
	snprintf(sql, sizeof(sql), "update session set capabilities = '{\"gpus\": %s}', gpu_memory = %lld", cases[_i].gpus, cases[_i].memory);
	remote_sql(sql);
	remote_register(id, "{gpu,T4}");
	if (cases[_i].says) {
		remote_wait_code(id, "healthy", "got_other");
		ck_assert_int_eq(remote_count("select count(*) from worker where reason like '%s'", cases[_i].says), 1);
	} else {
		polls = fake->calls[FAKE_POLL];
		ck_assert(wait_for(looked_twice, &polls, REMOTE_SOON));
		ck_assert_int_eq(remote_count("select count(*) from worker where reason is null"), 1);
	}
	remote_end(p, SIGTERM);
}
END_TEST

/* ---- its end, asked and unasked -------------------------------------------- */

START_TEST(test_deaf_run_is_told_then_asked_then_made_to_end)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p = remote_provisioner("");
	struct fake_run *run;
	int seen;

	remote_wait_started(id);
	remote_register(id, "{gpu,T4}");
	run = fake_of(id);
	run->stubborn = true;
	remote_want(id, "stopped");
	remote_wait_state(id, "stopping");
	seen = fake->calls[FAKE_POLL];
	ck_assert(wait_for(looked_twice, &seen, REMOTE_SOON));
	ck_assert_int_eq(run->stops, 0);
	remote_sql("update operation set created_at = now() - interval '100 s' where state = 'open'");
	remote_wait(1, "select count(*) from session_poll where phase = 'asked'");
	ck_assert_int_eq(run->stops, 1);
	ck_assert_int_eq(run->insists, 0);
	remote_sql("update operation set created_at = now() - interval '220 s' where state = 'open'");
	remote_wait_state(id, "stopped");
	ck_assert_int_eq(run->stops, 1);
	ck_assert_int_eq(run->insists, 1);
	remote_wait_quiet();
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_run_that_saves_what_it_made_is_left_more_time)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p = remote_provisioner("");
	struct fake_run *run;
	int seen;

	remote_wait_started(id);
	remote_register(id, "{gpu,T4}");
	run = fake_of(id);
	run->stubborn = true;
	run->phase = RUN_ENDING;
	remote_want(id, "stopped");
	remote_wait_state(id, "stopping");
	remote_sql("update operation set created_at = now() - interval '500 s' where state = 'open'");
	seen = fake->calls[FAKE_POLL];
	ck_assert(wait_for(looked_twice, &seen, REMOTE_SOON));
	ck_assert_int_eq(run->stops + run->insists, 0);
	remote_sql("update operation set created_at = now() - interval '720 s' where state = 'open'");
	remote_wait_state(id, "stopped");
	ck_assert_int_eq(run->insists, 1);
	remote_wait_quiet();
	remote_end(p, SIGTERM);
}
END_TEST

/* Two looks at once would each stop it, or each keep what it left. */
START_TEST(test_run_that_is_looked_at_is_not_looked_at_beside)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p = remote_provisioner("");

	remote_wait_started(id);
	remote_register(id, "{gpu,T4}");
	remote_sql("update session_poll set claimed_by = 'elsewhere:1:0', due = now() + interval '300 s'");
	remote_want(id, "stopped");
	remote_wait(1, "select count(*) from session_poll where hurried and due > now() + interval '200 s'");
	remote_sql("update session_poll set claimed_by = null, due = now()");
	remote_wait_state(id, "stopped");
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_session_that_said_goodbye_is_watched_until_its_run_is_over)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu"), first;
	pid_t p = remote_provisioner("");
	struct session_ending goodbye = {.code = "drained", .reason = "Drained.", .log = STR("bye"), .release = true, .silent = -1};
	struct session_ended ended;
	struct fake_run *run;

	remote_wait_started(id);
	remote_register(id, "{gpu,T4}");
	run = fake_of(id);
	goodbye.id = first = remote_count("select session_id from worker");
	ck_assert_int_eq(session_end(remote.db, &goodbye, 1, &ended, NULL), OK);
	/* It should run, but its last run is not over. */
	remote_wait_code(id, "stopped", "last_run");
	ck_assert_int_eq(run->stops, 0);
	ck_assert_int_eq(fake->calls[FAKE_START], 1);
	/* And it holds its place and its hours. */
	ck_assert_int_eq(remote_count("select count(*) from quota_now where resource = 'gpu' and live = 1 and reserved_seconds > 0"), 1);
	fake_end(id, "ended", "Fake ran it to its end.");
	remote_wait(2, "select count(*) from session where provider_ref is not null");
	remote_wait(1, "select count(*) from session where id = %lld and outputs_at is not null and end_code = 'drained'", (long long)first);
	ck_assert_int_eq(fake->twice, 0);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_run_that_outlives_its_session_is_ended)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p = remote_provisioner("");

	remote_wait_started(id);
	remote_sql("update worker set desired = 'stopped', state = 'stopped'; "
		   "update session set state = 'ended', end_code = 'lost', ended_at = now() - interval '61 s'");
	remote_wait_quiet();
	ck_assert_int_eq(fake_of(id)->stops, 1);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_deadline_ends_the_run)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p = remote_provisioner("");

	remote_wait_started(id);
	remote_register(id, "{gpu,T4}");
	remote_sql("update session set deadline = now() - interval '31 s'");
	remote_wait(1, "select count(*) from session where state = 'ended' and end_code = 'deadline'");
	ck_assert_int_eq(fake->run[0].stops, 1);
	remote_wait(2, "select count(*) from session where provider_ref is not null");
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_run_that_was_deleted_there_is_gone)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p = remote_provisioner("");

	remote_wait_started(id);
	remote_register(id, "{gpu,T4}");
	remote_sql("update session set registered_at = now() - interval '1 hour'");
	fake->run[0].removed = true;
	fake->run[0].phase = RUN_ENDED;
	remote_wait(1, "select count(*) from session where state = 'ended' and end_code = 'gone'");
	remote_wait(2, "select count(*) from session where provider_ref is not null");
	remote_end(p, SIGTERM);
}
END_TEST

/* ---- starts that are refused, or must wait ---------------------------------- */

START_TEST(test_third_gpu_waits_for_room_and_starts_when_there_is_some)
{
	int64_t a = remote_account(1, "ada", "good"), one = remote_worker(a, "gpu"), two = remote_worker(a, "gpu"), three;
	pid_t p = remote_provisioner("");

	remote_wait_started(one);
	remote_wait_started(two);
	three = remote_worker(a, "gpu");
	remote_wait_calm(1, "select count(*) from worker where id = %lld and state = 'waiting' and reason_code = 'capacity'", (long long)three);
	ck_assert_int_eq(fake->calls[FAKE_START], 2);
	ck_assert_int_eq(remote_count("select count(*) from session where worker_id = %lld", (long long)three), 0);
	remote_want(one, "stopped");
	/* Nobody hurries it but the one that made room. */
	remote_wait_calm(1, "select count(*) from worker w join session s on s.id = w.session_id where w.id = %lld and s.provider_ref is not null",
		  (long long)three);
	ck_assert_int_le(fake_live(), 2);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_refusal_for_room_waits_is_no_early_death_and_costs_nothing)
{
	int64_t a = remote_account(1, "ada", "good"), id;
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'ok'");
	fake_fail(FAKE_START, 4, ERR_QUOTA, "capacity", false);
	id = remote_worker(a, "gpu");
	remote_wait(4, "select count(*) from session where state = 'ended' and end_code = 'capacity'");
	remote_wait_started(id);
	ck_assert_int_eq(remote_count("select early_deaths from worker"), 0);
	remote_wait(4, "select count(*) from reservation where settled_at is not null and used_seconds = 0");
	ck_assert_int_eq(fake->calls[FAKE_FIND], 0); /* what was refused need not be looked for */
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_refusals_for_room_are_asked_for_again_ever_more_rarely)
{
	int64_t a = remote_account(1, "ada", "good");
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'ok'");
	fake_fail(FAKE_START, 1000, ERR_QUOTA, "capacity", false);
	remote_worker(a, "gpu");
	for (int n = 1; n <= 3; n++) {
		int seconds = 60 << (n - 1);

		remote_wait_calm(1, "select count(*) from operation where state = 'open' and attempts = %d and next_try_at between now() + interval '%d s' and now() + interval '%d s'",
				 n, seconds * 8 / 10, seconds * 16 / 10);
		ck_assert_int_eq(fake->calls[FAKE_START], n);
		/* Hurried, it waits all the same: the account cools down. */
		remote_sql("update operation set next_try_at = now() where state = 'open'");
		remote_wait_calm(1, "select count(*) from operation where state = 'open' and attempts = %d and next_try_at > now()", n);
		ck_assert_int_eq(fake->calls[FAKE_START], n);
		remote_sql("update account_cooldown set until = now(); update operation set next_try_at = now() where state = 'open'");
	}
	remote_wait_calm(1, "select count(*) from operation where state = 'open' and attempts = 4");
	remote_sql("update account_cooldown set refusals = 30000, until = now(); update operation set next_try_at = now() where state = 'open'");
	remote_wait_calm(1, "select count(*) from operation where state = 'open' and next_try_at between now() + interval '580 s' and now() + interval '910 s' "
			 "and exists (select from worker where state = 'waiting' and reason_code = 'capacity')");
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_start_that_stays_unsettled_is_tried_ever_more_rarely)
{
	int64_t a = remote_account(1, "ada", "good");
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'ok'");
	fake_fail(FAKE_START, 1000, ERR_UNAVAILABLE, "unsettled", false);
	remote_worker(a, "gpu");
	remote_wait_calm(1, "select count(*) from operation where state = 'open' and attempts = 1 and claimed_until is null and next_try_at > now() + interval '5 s'");
	remote_wait_calm(1, "select count(*) from worker where state = 'starting' and reason_code = 'unsettled'");
	remote_sql("update operation set attempts = 8, next_try_at = now() where state = 'open'");
	remote_wait_calm(1, "select count(*) from operation where state = 'open' and attempts = 9 and next_try_at > now() + interval '100 s'");
	fake_fail(FAKE_START, 0, OK, NULL, false);
	remote_wait(1, "select count(*) from session where provider_ref is not null");
	ck_assert_int_eq(fake->twice, 0);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_used_up_hours_wait_for_the_reset_without_a_call)
{
	int64_t a = remote_account(1, "ada", "good"), id;
	pid_t p;

	fake->usage = (struct usage){.resource = "gpu", .used_seconds = 107900, .reserved_seconds = 0, .limit_seconds = 108000,
				     .resets_at = clock_wall_ms() / 1000 + 86400};
	p = remote_provisioner("");
	remote_wait(1, "select count(*) from quota where told_used = 107900");
	id = remote_worker(a, "gpu");
	remote_wait_code(id, "waiting", "quota");
	ck_assert_int_eq(fake->calls[FAKE_START], 0);
	remote_wait(0, "select count(*) from operation where claimed_until is not null");
	remote_want(id, "stopped");
	remote_wait_state(id, "stopped");
	/* Other machines are counted apart. */
	remote_wait_started(remote_worker(a, "cpu"));
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_refused_inputs_and_names_fail_with_a_sentence)
{
	int64_t a = remote_account(1, "ada", "good"), id;
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'ok'");
	fake_fail(FAKE_START, 1, ERR_INVALID, "inputs", false);
	id = remote_worker(a, "gpu");
	remote_wait_code(id, "failed", "inputs");
	fake_fail(FAKE_START, 1, ERR_INVALID, "name_taken", false);
	remote_want(id, "running");
	remote_wait_code(id, "failed", "name_taken");
	ck_assert_int_eq(remote_count("select count(*) from worker where reason = 'Fake answers invalid.' and early_deaths = 0"), 1);
	remote_want(id, "running");
	remote_wait_started(id);
	remote_want(id, "deleted");
	remote_wait_state(id, "deleted");
	remote_wait_quiet();
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_contested_name_is_tried_again_and_given_up)
{
	int64_t a = remote_account(1, "ada", "good"), id;
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'ok'");
	fake_fail(FAKE_START, 2, ERR_UNAVAILABLE, "contested", false);
	id = remote_worker(a, "gpu");
	remote_wait_code(id, "waiting", "contested");
	remote_wait_started(id);
	ck_assert_int_eq(fake->calls[FAKE_START], 3);
	remote_want(id, "stopped");
	remote_wait_state(id, "stopped");
	fake_fail(FAKE_START, 100, ERR_UNAVAILABLE, "contested", false);
	remote_want(id, "running");
	remote_wait_code(id, "failed", "name_taken");
	ck_assert_int_eq(fake->calls[FAKE_START], 8);
	ck_assert_int_eq(fake->run_count, 1);
	ck_assert_int_eq(remote_count("select count(*) from account_circuit") + remote_count("select count(*) from worker where early_deaths > 0"), 0);
	ck_assert_int_eq(remote_count("select count(*) from worker where reason like 'Fake%%another title.'"), 1);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_start_that_could_not_reach_us_is_refused_before_any_call)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p;

	remote.config.public_url = "http://127.0.0.1:8080";
	p = remote_provisioner("");
	remote_wait_code(id, "failed", "public_url");
	ck_assert_int_eq(fake->calls[FAKE_START], 0);
	ck_assert_int_eq(remote_count("select count(*) from session"), 0);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_run_of_which_nothing_can_be_learnt_is_let_go_in_the_end)
{
	int64_t id = remote_worker(remote_account(1, "ada", "good"), "gpu");
	pid_t p = remote_provisioner("");

	remote_wait_started(id);
	fake_fail(FAKE_POLL, 1000000, ERR_INVALID, NULL, false);
	remote_want(id, "stopped");
	remote_wait_code(id, "stopping", "provider");
	remote_sql("update session set state = 'ended', end_code = 'deadline', ended_at = now() - interval '27 hours'");
	remote_wait_state(id, "stopped");
	remote_wait(0, "select count(*) from session_poll");
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_accelerator_that_is_no_more_fails_before_any_call)
{
	int64_t a = remote_account(1, "ada", "good"), id = remote_worker(a, "NvidiaTeslaP100");
	pid_t p = remote_provisioner("");

	remote_wait_state(id, "failed");
	ck_assert_int_eq(fake->calls[FAKE_START], 0);
	ck_assert_int_eq(remote_count("select count(*) from worker where reason like '%%retired%%'"), 1);
	remote_end(p, SIGTERM);
}
END_TEST

START_TEST(test_wrong_key_asks_the_person_and_a_right_one_starts_what_waited)
{
	int64_t a = remote_account(1, "ada", "bad"), id = remote_worker(a, "gpu");
	pid_t p = remote_provisioner("");

	remote_wait(1, "select count(*) from account where status = 'needs_human' and reason = 'Fake refuses this key.' and checked_version = sealed_version");
	remote_wait(1, "select count(*) from worker where state = 'needs_human' and reason_code = 'credentials'");
	ck_assert_int_eq(remote_count("select count(*) from event where topic = 'account' and what = 'needs_human'"), 1);
	/* Once refused they are not tried again. */
	ck_assert_int_le(fake->calls[FAKE_VERIFY] + fake->calls[FAKE_START], 2);
	remote_seal(a, 1, "ada", "good");
	remote_wait_started(id);
	ck_assert_int_eq(remote_count("select count(*) from account where status = 'ok' and identity = 'ada' and reason is null and checked_at is not null"), 1);
	remote_end(p, SIGTERM);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote");
	TCase *t = tcase_create("remote");

	remote_make();
	tcase_add_checked_fixture(t, remote_set_up, remote_tear_down);
	tcase_set_timeout(t, 180);
	tcase_add_test(t, test_start_watch_stop_start_delete);
	tcase_add_test(t, test_run_that_ends_unasked_gives_its_jobs_back_at_once_and_starts_again);
	tcase_add_loop_test(t, test_files_of_a_run_without_a_log_are_kept_when_no_log_comes, 0, 2);
	tcase_add_test(t, test_names_that_are_hard_to_keep);
	tcase_add_test(t, test_run_that_never_registers_ends_with_what_its_log_says);
	tcase_add_test(t, test_three_runs_that_never_register_fail_the_worker);
	tcase_add_test(t, test_run_without_the_gpu_that_was_asked_is_ended);
	tcase_add_test(t, test_run_with_another_gpu_goes_on_and_says_so);
	tcase_add_loop_test(t, test_run_with_less_of_its_gpu_says_so, 0, 3);
	tcase_add_test(t, test_deaf_run_is_told_then_asked_then_made_to_end);
	tcase_add_test(t, test_run_that_saves_what_it_made_is_left_more_time);
	tcase_add_test(t, test_run_that_is_looked_at_is_not_looked_at_beside);
	tcase_add_test(t, test_session_that_said_goodbye_is_watched_until_its_run_is_over);
	tcase_add_test(t, test_run_that_outlives_its_session_is_ended);
	tcase_add_test(t, test_deadline_ends_the_run);
	tcase_add_test(t, test_run_that_was_deleted_there_is_gone);
	tcase_add_test(t, test_third_gpu_waits_for_room_and_starts_when_there_is_some);
	tcase_add_test(t, test_refusal_for_room_waits_is_no_early_death_and_costs_nothing);
	tcase_add_test(t, test_refusals_for_room_are_asked_for_again_ever_more_rarely);
	tcase_add_test(t, test_start_that_stays_unsettled_is_tried_ever_more_rarely);
	tcase_add_test(t, test_used_up_hours_wait_for_the_reset_without_a_call);
	tcase_add_test(t, test_refused_inputs_and_names_fail_with_a_sentence);
	tcase_add_test(t, test_contested_name_is_tried_again_and_given_up);
	tcase_add_test(t, test_start_that_could_not_reach_us_is_refused_before_any_call);
	tcase_add_test(t, test_run_of_which_nothing_can_be_learnt_is_let_go_in_the_end);
	tcase_add_test(t, test_accelerator_that_is_no_more_fails_before_any_call);
	tcase_add_test(t, test_wrong_key_asks_the_person_and_a_right_one_starts_what_waited);
	suite_add_tcase(s, t);
	return unit_run(s);
}
