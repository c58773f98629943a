/* The leader's work by the clock: what is late, what is due, and whose absence it is. */
#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "control/reap.h"
#include "pool.h"
#include "unit.h"

static struct pg *pg;
static struct pool pool;
static struct db *events; /* its presence says that agents can reach us */
static struct reaper reaper;
static struct config config;
static struct arena arena;

static void set_up(void)
{
	struct error e;

	pool_make(&pool, pg, "provisioner");
	events = pool_connect(&pool, "events");
	arena_init(&arena, 1 << 20);
	ck_assert_int_eq(config_load(&arena, NULL, &config, &e), OK);
	reap_init(&reaper, pool.role, &config);
}

static void tear_down(void)
{
	clock_real();
	db_close(events);
	pool_drop(&pool);
	arena_free(&arena);
}

/* A round, `seconds` after the last one. */
static void round_after(int64_t seconds)
{
	clock_fake(clock_ms() + seconds * 1000);
	reap_turn(&reaper);
}

/* Past the minute that each beginning waits. */
static void warm_up(void)
{
	for (int i = 0; i < 14; i++)
		round_after(5);
	ck_assert(reaper.leads);
	ck_assert_int_ge(clock_ms(), reaper.hold_until_ms);
}

static int64_t healthy(const char *provider)
{
	return pool_session(&pool, pool_worker(&pool, provider, "healthy"), "running");
}

static void expire(int64_t job, int seconds)
{
	pool_sql(&pool, "update job_lease set until = now() - interval '%d seconds' where id = %lld", seconds, (long long)job);
}

static void heard(int64_t session, int seconds_ago)
{
	pool_sql(&pool, "update session_live set last_heartbeat = now() - interval '%d seconds' where session_id = %lld", seconds_ago, (long long)session);
}

START_TEST(test_one_leads_and_local_never)
{
	struct db *second = pool_connect(&pool, "provisioner"), *own = pool_connect(&pool, "local");
	struct reaper other, local;

	reap_init(&other, second, &config);
	reap_init(&local, own, &config);
	reap_turn(&local);
	ck_assert(!local.leads);
	reap_turn(&reaper);
	ck_assert(reaper.leads);
	reap_turn(&other);
	ck_assert(!other.leads);
	/* The lock goes with the connection. */
	db_close(pool.role);
	pool.role = pool_connect(&pool, "provisioner");
	for (int i = 0; i < 100 && !other.leads; i++) {
		clock_sleep_ms(20);
		other.next_ms = 0;
		reap_turn(&other);
	}
	ck_assert(other.leads);
	db_close(second);
	db_close(own);
}
END_TEST

START_TEST(test_expired_lease_comes_back_after_the_grace_and_not_before)
{
	int64_t s = healthy("local"), late = pool_lease(&pool, s, 1, 3), in_grace = pool_lease(&pool, s, 1, 3), last = pool_lease(&pool, s, 3, 3);

	warm_up();
	expire(late, 11);
	expire(last, 11);
	expire(in_grace, 5);
	round_after(1);
	ck_assert(reaper.requeued);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease where id = %lld", (long long)in_grace), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_delayed where id = %lld and attempt = 1", (long long)late), 1);
	ck_assert_int_eq(pool_int(&pool, "select state from job_done where id = %lld", (long long)last), 3);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_attempt where outcome = 7"), 1);
	/* The session still lives: it is told to kill both, and they fill their slots until then. */
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_ending where session_id = %lld", (long long)s), 2);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'ended'"), 0);
}
END_TEST

START_TEST(test_after_a_gap_of_ours_nothing_is_called_late_for_a_minute)
{
	int64_t s = healthy("local"), job = pool_lease(&pool, s, 1, 3);

	expire(job, 100);
	round_after(1); /* the first round: we were away */
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 1);
	for (int i = 0; i < 11; i++)
		round_after(5);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 1);
	round_after(5);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 0);
	/* And again after another gap. */
	job = pool_lease(&pool, s, 1, 3);
	expire(job, 100);
	round_after(20);
	round_after(5);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 1);
}
END_TEST

START_TEST(test_while_no_agent_can_reach_us_nothing_is_called_late)
{
	int64_t s = healthy("local"), job = pool_lease(&pool, s, 1, 3);

	warm_up();
	db_close(events);
	for (int i = 0; i < 200 && pool_int(&pool, "select count(*) from pg_stat_activity where usename = 'gpupool_events'"); i++)
		clock_sleep_ms(10);
	expire(job, 100);
	for (int i = 0; i < 20; i++)
		round_after(10);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 1);
	events = pool_connect(&pool, "events");
	round_after(5);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 1);
	for (int i = 0; i < 12; i++)
		round_after(5);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 0);
}
END_TEST

START_TEST(test_silence_of_all_is_ours_for_ten_minutes)
{
	int64_t one = healthy("local"), two = healthy("local"), job = pool_lease(&pool, one, 1, 3);

	warm_up();
	expire(job, 100);
	heard(one, 40);
	heard(two, 40);
	for (int i = 0; i < 59; i++)
		round_after(10);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 1);
	/* It has an end: one agent alone may well be dead. */
	for (int i = 0; i < 10; i++)
		round_after(10);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 0);
	/* One that is heard shows that the others could be. */
	job = pool_lease(&pool, one, 1, 3);
	expire(job, 100);
	heard(two, 0);
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 0);
}
END_TEST

START_TEST(test_lease_that_its_session_lost_comes_back_at_once)
{
	int64_t s = healthy("local"), job = pool_lease(&pool, s, 1, 3);

	pool_sql(&pool, "update job_lease set until = '-infinity'");
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_delayed where id = %lld", (long long)job), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_ending"), 0);
}
END_TEST

START_TEST(test_three_missed_heartbeats_are_unhealthy)
{
	int64_t one = healthy("local"), two = healthy("local");

	warm_up();
	heard(one, 44);
	heard(two, 47);
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where state = 'healthy' and session_id = %lld", (long long)one), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where state = 'unhealthy' and reason_code = 'silent' and session_id = %lld",
				  (long long)two), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from event where what = 'unhealthy'"), 1);
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from event where what = 'unhealthy'"), 1);
}
END_TEST

START_TEST(test_only_a_provider_that_cannot_tell_loses_by_silence)
{
	int64_t local = healthy("local"), manual = healthy("manual"), other = healthy("manual");

	config.lease_training_seconds = 900; /* longer than ten minutes: it is what counts */
	warm_up();
	heard(local, 1200);
	heard(manual, 1200);
	heard(other, 700);
	pool_session(&pool, pool_worker(&pool, "local", "healthy"), "running"); /* is heard */
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select id from session where state = 'ended' and end_code = 'lost'"), manual);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'ended'"), 1);
}
END_TEST

START_TEST(test_start_that_does_not_register_ends_at_its_limit)
{
	int64_t s = pool_session(&pool, pool_worker(&pool, "local", "starting"), "starting");
	int64_t person = pool_session(&pool, pool_worker(&pool, "manual", "needs_human"), "starting");

	warm_up();
	pool_sql(&pool, "update session set enrol_until = now() - interval '5 s'");
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'ended'"), 0); /* in its grace */
	pool_sql(&pool, "update session set enrol_until = now() - interval '11 s'");
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'ended' and end_code = 'enrol_timeout' and id = %lld", (long long)s), 1);
	/* A person may take longer than a token lives. */
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'starting' and id = %lld", (long long)person), 1);
}
END_TEST

START_TEST(test_deadline_ends_who_cannot_be_stopped_and_releases_its_jobs)
{
	int64_t manual = healthy("manual"), local = healthy("local"), job = pool_lease(&pool, manual, 3, 3);

	pool_sql(&pool, "update session set deadline = now() - interval '11 s'");
	round_after(1); /* also during a hold */
	ck_assert_int_eq(pool_int(&pool, "select id from session where state = 'ended' and end_code = 'deadline'"), manual);
	ck_assert_int_eq(pool_int(&pool, "select attempt from job_ready where id = %lld", (long long)job), 2);
	/* The other's provider ends it; should nobody serve that, its tokens die after ten minutes. */
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'running' and id = %lld", (long long)local), 1);
	pool_sql(&pool, "update session set deadline = now() - interval '11 minutes'");
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'running'"), 0);
}
END_TEST

START_TEST(test_idle_worker_is_stopped_and_a_busy_one_is_not)
{
	int64_t idle = healthy("local"), busy = healthy("local"), ending = healthy("local"), never = healthy("local");

	pool_lease(&pool, busy, 1, 3);
	pool_sql(&pool, "insert into job_ending(session_id, id, lease, gpus) values (%lld, 1, gen_random_uuid(), 1)", (long long)ending);
	pool_sql(&pool, "update session_live set busy_at = now() - interval '5 minutes'; update worker set idle_stop_seconds = 240 where session_id <> %lld",
		 (long long)never);
	round_after(1);
	ck_assert(reaper.stopped);
	ck_assert_int_eq(pool_int(&pool, "select session_id from worker where desired = 'stopped' and generation = 2"), idle);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where desired = 'stopped'"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from decision where kind = 'stop' and reason like '%%240 seconds%%'"), 1);
}
END_TEST

/* As the events role does it; how many jobs it got. */
static int claim(struct db *db, int64_t session)
{
	cleanup_rows struct rows rows = {0};
	cleanup_rows struct rows token = {0};
	char sql[128];
	struct error e;

	snprintf(sql, sizeof(sql), "select array[token_hash] as hashes from session where id = %lld", (long long)session);
	pg_sql(pool.owner, sql, &token);
	ck_assert_msg(db_run(db, STMT_LEASE_CLAIM, ARGS(arg_cstr("{1}"), arg_cstr(row_cstr(&token, 0, "hashes")), arg_cstr("{1}"), arg_cstr("{0}"),
							arg_cstr("{60}"), arg_cstr("{1}"), arg_cstr("[]")), &rows, &e) == OK, "%s", e.msg);
	return rows_count(&rows);
}

static int stop_idle(void)
{
	cleanup_rows struct rows rows = {0};
	struct error e;

	ck_assert_msg(db_run(pool.role, STMT_WORKER_IDLE_STOP, NO_ARGS, &rows, &e) == OK, "%s", e.msg);
	return rows_count(&rows);
}

static int64_t idle_for_long(void)
{
	int64_t session = healthy("local");

	pool_sql(&pool, "update session_live set busy_at = now() - interval '5 minutes'; update worker set idle_stop_seconds = 240");
	pool_ready(&pool);
	return session;
}

/* A claim that is being made is passed by; made, it keeps the worker. */
START_TEST(test_idle_stop_while_claiming)
{
	int64_t session = idle_for_long();

	pg_sql(events, "begin", NULL);
	ck_assert_int_eq(claim(events, session), 1);
	ck_assert_int_eq(stop_idle(), 0);
	pg_sql(events, "commit", NULL);
	ck_assert_int_eq(stop_idle(), 0);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker w join session s on s.id = w.session_id "
					 "where w.desired = 'running' and s.state = 'running'"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from decision where kind = 'stop'"), 0);
}
END_TEST

/* A claim neither waits for an idle stop nor gets what it would lose; what did not come about leaves the session free. */
START_TEST(test_claim_while_stopping_idle)
{
	int64_t session = idle_for_long(), begun = clock_ms();

	pg_sql(pool.role, "begin", NULL);
	ck_assert_int_eq(stop_idle(), 1);
	ck_assert_int_eq(claim(events, session), 0);
	ck_assert_int_le(clock_ms() - begun, 5000);
	pg_sql(pool.role, "commit", NULL);
	ck_assert_int_eq(claim(events, session), 0);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_ready"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker w join session s on s.id = w.session_id where w.desired = 'stopped' "
					 "and w.state = 'healthy' and w.generation = 2 and s.state = 'draining' and not s.then_stop"), 1);
	ck_assert_int_eq(stop_idle(), 0); /* once */
}
END_TEST

static void *stop_in_thread(void *arg)
{
	*(int *)arg = stop_idle();
	return NULL;
}

/* Of two idle workers one is being stopped while the other gets a job, which the stop, begun before, could not see: it looks again. */
START_TEST(test_idle_stop_looks_again_under_the_lock)
{
	int64_t one = idle_for_long(), other = idle_for_long();
	int stopped = 0;
	pthread_t thread;

	pool_sql(&pool, "create function stall() returns trigger language plpgsql as 'begin perform pg_advisory_xact_lock(1); return new; end'; "
			"create trigger stall before update on session for each row execute function stall(); "
			"select pg_advisory_lock(1)");
	ck_assert_int_eq(pthread_create(&thread, NULL, stop_in_thread, &stopped), 0);
	for (int i = 0; i < 200 && !pool_int(&pool, "select count(*) from pg_locks where not granted"); i++)
		clock_sleep_ms(20);
	ck_assert_int_eq(claim(events, one) + claim(events, other), 1); /* which is first is not said */
	pool_sql(&pool, "select pg_advisory_unlock(1)");
	pthread_join(thread, NULL);
	ck_assert_int_eq(stopped, 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease l join session s on s.id = l.session_id join worker w on w.id = l.worker_id "
					 "where s.state = 'running' and w.desired = 'running'"), 1);
}
END_TEST

/* What the installation says is for whom no pool cares; what a person chose is for all. */
START_TEST(test_idle_default_gives_way_to_a_pool)
{
	int64_t chosen = healthy("local"), other = healthy("manual"), by_default = healthy("local");

	pool_sql(&pool, "update session_live set busy_at = now() - interval '40 minutes'; "
			"update worker set idle_stop_seconds = 1800, idle_default = session_id <> %lld; "
			"insert into scaling_policy(owner_id, enabled, accounts) values (1, true, '{1}')", (long long)chosen);
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where desired = 'stopped' and session_id in (%lld, %lld)", (long long)chosen,
				  (long long)other), 2);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where desired = 'running'"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from decision where kind = 'stop' and (inputs ->> 'idleSeconds')::int between 2400 and 2500 "
					 "and (inputs ->> 'idleStopSeconds')::int = 1800"), 2);
	pool_sql(&pool, "update scaling_policy set enabled = false");
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where desired = 'stopped' and session_id = %lld", (long long)by_default), 1);
}
END_TEST

/* Colab ends what is idle: we do, before it. */
START_TEST(test_a_provider_s_idle_time_is_respected)
{
	int64_t near = healthy("local"), far = healthy("local"), own = healthy("local");

	pool_sql(&pool, "insert into provider_limit(provider, resource, idle_seconds, source, as_of) values ('local', 'gpu', 5400, 'test', now()); "
			"update session set resource = 'gpu'; update session_live set busy_at = now() - interval '82 minutes' where session_id = %lld; "
			"update session_live set busy_at = now() - interval '80 minutes' where session_id <> %lld; "
			"update worker set idle_stop_seconds = 4790 where session_id = %lld", (long long)near, (long long)near, (long long)own);
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where desired = 'stopped' and reason_code = 'idle'"), 2);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where session_id = %lld and reason like '%%its provider ends a session after 5400%%'",
				  (long long)near), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where session_id = %lld and reason = 'It had no job for 4790 seconds.'",
				  (long long)own), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where session_id = %lld and desired = 'running'", (long long)far), 1);
}
END_TEST

/* A session takes no more jobs in its last minutes, of a short one in its last tenth; the reason is told. */
START_TEST(test_notice_before_the_deadline)
{
	int64_t soon = healthy("local"), later = healthy("local"), brief = healthy("local"), free = healthy("local");

	pool_sql(&pool, "update session set limit_seconds = 39600, deadline = now() + interval '290 seconds' where id = %lld; "
			"update session set limit_seconds = 39600, deadline = now() + interval '400 seconds' where id = %lld; "
			"update session set limit_seconds = 1000, deadline = now() + interval '110 seconds' where id = %lld",
		 (long long)soon, (long long)later, (long long)brief);
	pool_lease(&pool, soon, 1, 3);
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select id from session where state = 'draining'"), soon);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'draining'"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from worker where session_id = %lld and state = 'draining' and reason_code = 'deadline' "
					 "and desired = 'running' and reason like 'Its session ends in 2_0 seconds%%'", (long long)soon), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_lease"), 1); /* what runs may end */
	ck_assert_int_eq(pool_int(&pool, "select count(*) from decision where kind = 'stop' and reason = 'Its session reaches its deadline.'"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from event where topic = 'worker' and what = 'draining' and data ->> 'reasonCode' = 'deadline'"), 1);
	round_after(1); /* once */
	ck_assert_int_eq(pool_int(&pool, "select count(*) from decision where kind = 'stop'"), 1);
	pool_sql(&pool, "update session set deadline = now() + interval '90 seconds' where id = %lld", (long long)brief);
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'draining' and id in (%lld, %lld)", (long long)soon,
				  (long long)brief), 2);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session where state = 'running' and id in (%lld, %lld)", (long long)later,
				  (long long)free), 2);
}
END_TEST

static int64_t told_why(const char *like)
{
	return pool_int(&pool, "select count(*) from decision where kind = 'placement' and subject = 'lane 1' and reason like '%s'", like);
}

/* Why jobs wait is a decision where it changes, not each time that somebody looks. */
START_TEST(test_why_jobs_wait_is_noted_once_a_change)
{
	int64_t id = pool_ready(&pool);

	pool_sql(&pool, "insert into lane_delta values (1, 1)");
	round_after(11);
	ck_assert_int_eq(told_why("%%"), 0); /* it has hardly waited */
	pool_sql(&pool, "update job_ready set ready_since = now() - interval '40 seconds'");
	for (int i = 0; i < 5; i++)
		round_after(11);
	ck_assert_int_eq(told_why("No worker with any accelerator%%"), 1);
	ck_assert_int_eq(pool_int(&pool, "select (inputs ->> 'jobs')::int from decision where subject = 'lane 1'"), 1);
	/* Another reason; but within the minute nothing is written. */
	pool_worker(&pool, "local", "starting");
	round_after(11);
	ck_assert_int_eq(told_why("%%"), 1);
	pool_sql(&pool, "update lane_wait set since = since - interval '2 minutes'");
	round_after(11);
	ck_assert_int_eq(told_why("cold_start"), 1);
	ck_assert_int_eq(told_why("%%"), 2);
	/* Waits no more: forgotten, and told again when it waits again. */
	pool_sql(&pool, "delete from job_ready where id = %lld; insert into lane_delta values (1, -1)", (long long)id);
	round_after(11);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from lane_wait"), 0);
}
END_TEST

START_TEST(test_due_jobs_are_promoted)
{
	int64_t due, later;

	pool_sql(&pool, "insert into job(id, owner_id, lane, payload) values (next_job_id(), 1, 1, '{}'), (next_job_id(), 1, 1, '{}')");
	due = pool_int(&pool, "select min(id) from job");
	later = pool_int(&pool, "select max(id) from job");
	pool_sql(&pool, "insert into job_delayed(id, lane, owner_id, attempt, run, max_attempts, run_after, why) values "
			"(%lld, 1, 1, 1, 2, 3, now(), 'retry_backoff'), (%lld, 1, 1, 0, 0, 3, now() + interval '1 minute', 'run_after')",
		 (long long)due, (long long)later);
	round_after(1);
	ck_assert(reaper.requeued);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job_ready where id = %lld and attempt = 1 and run = 2", (long long)due), 1);
	ck_assert_int_eq(pool_int(&pool, "select sum(n) from lane_delta where lane = 1"), 1);
	ck_assert_int_eq(pool_int(&pool, "select id from job_delayed"), later);
}
END_TEST

START_TEST(test_old_rows_leave_and_what_waits_stays)
{
	int64_t old;

	/* Forty days ago one job ended and one still waits. */
	pool_sql(&pool, "do $$ declare d date := (now() at time zone 'utc')::date - 40; t record; begin for t in select * from partition_tables() loop for k in 0..1 loop "
			"if t.by_id then execute format('create table %%I partition of %%I for values from (%%s) to (%%s)', t.name || '_' || to_char(d + k, 'YYYYMMDD'), t.name, day_id(d + k), day_id(d + k + 1)); "
			"else execute format('create table %%I partition of %%I for values from (%%L) to (%%L)', t.name || '_' || to_char(d + k, 'YYYYMMDD'), t.name, (d + k)::timestamp at time zone 'utc', (d + k + 1)::timestamp at time zone 'utc'); "
			"end if; end loop; end loop; end $$");
	old = pool_int(&pool, "select day_id((now() at time zone 'utc')::date - 40) + 5");
	pool_sql(&pool, "insert into job(id, owner_id, lane, payload) values (%lld, 1, 1, '{}'); insert into job_ready(lane, id, owner_id, max_attempts) values (1, %lld, 1, 3)",
		 (long long)old, (long long)old);
	pool_sql(&pool, "insert into login(user_id, token_hash, csrf_key, expires_at) select 1, decode(md5(i::text) || md5(i::text), 'hex'), "
			"decode(md5('k') || md5('k'), 'hex'), now() + i * interval '1 minute' from generate_series(-5, 5) i; "
			"insert into idempotency(user_id, route, key, body_hash, created_at) select 1, 'r', 'k' || i, decode(md5('k') || md5('k'), 'hex'), "
			"now() - i * interval '10 hours' from generate_series(0, 4) i");
	pool_worker(&pool, "local", "stopped");
	pool_sql(&pool, "insert into operation(worker_id, provider, kind, generation, state, finished_at) values (1, 'local', 'start', 1, 'done', now() - interval '31 days'), "
			"(1, 'local', 'start', 1, 'done', now() - interval '29 days')");
	for (int i = 0; i < 40; i++)
		round_after(1);
	/* The day of the waiting job stays in all tables that go by id; its neighbour is gone; the audit is kept a year. */
	ck_assert_int_eq(pool_int(&pool, "select count(*) from job"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from pg_class where relname ~ ('^(job|event|decision)_.*' || to_char((now() at time zone 'utc')::date - 39, 'YYYYMMDD')) and relkind = 'r'"), 0);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from pg_class where relname ~ ('^audit_' || to_char((now() at time zone 'utc')::date - 40, 'YYYYMMDD')) and relkind = 'r'"), 1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from login where expires_at < now()"), 0);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from login"), 5);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from idempotency"), 3);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from operation"), 1);
	/* Days ahead exist. */
	ck_assert_int_eq(pool_int(&pool, "select count(*) from pg_class where relname = 'job_' || to_char((now() at time zone 'utc')::date + 3, 'YYYYMMDD')"), 1);
}
END_TEST

/* Two hundred a round; those of sessions that run, or ended lately, stay. */
START_TEST(test_outputs_leave_after_their_time)
{
	int64_t old = healthy("local"), late = healthy("local"), live = healthy("local");

	pool_sql(&pool, "update session set state = 'ended', ended_at = now() - interval '31 days' where id = %lld; "
			"update session set state = 'ended', ended_at = now() - interval '29 days' where id = %lld",
		 (long long)old, (long long)late);
	pool_sql(&pool, "insert into session_output(session_id, name, size, content, created_at) select s, 'file ' || n, 1, '\\x61', now() - interval '40 days' "
			"from unnest(array[%lld, %lld, %lld]) s, generate_series(1, 250) n",
		 (long long)old, (long long)late, (long long)live);
	round_after(1);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session_output where session_id = %lld", (long long)old), 50);
	round_after(61);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session_output where session_id = %lld", (long long)old), 0);
	round_after(61);
	ck_assert_int_eq(pool_int(&pool, "select count(*) from session_output"), 500);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("reap");
	TCase *t = tcase_create("clock");

	pg = pg_start();
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_one_leads_and_local_never);
	tcase_add_test(t, test_expired_lease_comes_back_after_the_grace_and_not_before);
	tcase_add_test(t, test_after_a_gap_of_ours_nothing_is_called_late_for_a_minute);
	tcase_add_test(t, test_while_no_agent_can_reach_us_nothing_is_called_late);
	tcase_add_test(t, test_silence_of_all_is_ours_for_ten_minutes);
	tcase_add_test(t, test_lease_that_its_session_lost_comes_back_at_once);
	tcase_add_test(t, test_three_missed_heartbeats_are_unhealthy);
	tcase_add_test(t, test_only_a_provider_that_cannot_tell_loses_by_silence);
	tcase_add_test(t, test_start_that_does_not_register_ends_at_its_limit);
	tcase_add_test(t, test_deadline_ends_who_cannot_be_stopped_and_releases_its_jobs);
	tcase_add_test(t, test_idle_worker_is_stopped_and_a_busy_one_is_not);
	tcase_add_test(t, test_idle_stop_while_claiming);
	tcase_add_test(t, test_claim_while_stopping_idle);
	tcase_add_test(t, test_idle_stop_looks_again_under_the_lock);
	tcase_add_test(t, test_idle_default_gives_way_to_a_pool);
	tcase_add_test(t, test_a_provider_s_idle_time_is_respected);
	tcase_add_test(t, test_notice_before_the_deadline);
	tcase_add_test(t, test_why_jobs_wait_is_noted_once_a_change);
	tcase_add_test(t, test_due_jobs_are_promoted);
	tcase_add_test(t, test_old_rows_leave_and_what_waits_stays);
	tcase_add_test(t, test_outputs_leave_after_their_time);
	suite_add_tcase(s, t);
	return unit_run(s);
}
