/*
 * The provisioner as a whole: real database, real processes, a stand-in for the
 * agent.  It is killed at every point between its steps, runs twice at once,
 * and always ends with one run of a worker or none, and rows that say so.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/log.h"
#include "control/loop.h"
#include "local.h"
#include "pg.h"
#include "unit.h"

enum { SOON = 10000 }; /* far above what any wait here takes */

static struct pg *pg;
static struct place place;
static struct db *db;
static char database[32];

static void set_up(void)
{
	static int number;

	snprintf(database, sizeof(database), "prov_%ld_%d", (long)getpid(), number++);
	pg_copy(pg, database);
	db = pg_db(pg, "owner", database);
	pg_sql(db, "set search_path = gpupool; insert into users(name, role) values ('ada', 'admin'); "
		   "insert into account(owner_id, provider) select id, p from users, unnest(array['local', 'manual']) p", NULL);
	place_make(&place, stub_agent);
	place.config.database = arena_strdup(&place.arena, pg_conninfo(pg, "provisioner", database));
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

static void tear_down(void)
{
	char sql[96];

	place_drop(&place);
	db_close(db);
	db = pg_db(pg, "postgres", "postgres");
	snprintf(sql, sizeof(sql), "drop database \"%s\" with (force)", database);
	pg_sql(db, sql, NULL);
	db_close(db);
}

/* ---- the provisioner ------------------------------------------------------ */

static pid_t provisioner(const char *crash_at, bool stop_workers)
{
	struct error e = {0};
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	log_init("provisioner", getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR);
	crashpoint_arm(crash_at);
	_exit(loop_run(&place.config, stop_workers, &e) != OK);
}

static void end_provisioner(pid_t pid, int signal)
{
	int status = 0;

	kill(pid, signal);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (signal == SIGTERM)
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

static int64_t worker(const char *provider)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
		 "with w as (insert into worker(owner_id, account_id, provider, title, accelerator, desired, max_session_seconds) "
		 "select owner_id, id, provider, 'test', 'cpu', 'running', 300 from account where provider = '%s' returning id, provider) "
		 "insert into operation(worker_id, provider, kind, generation) select id, provider, 'start', 1 from w returning worker_id",
		 provider);
	return pg_int(db, sql);
}

/* As the API does it: the wish and its step in one, the step only if none is open. */
static void want(int64_t id, const char *desired)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
		 "with w as (update worker set desired = '%s', generation = generation + 1 where id = %lld returning id, provider, generation) "
		 "insert into operation(worker_id, provider, kind, generation) "
		 "select id, provider, case '%s' when 'running' then 'start' when 'stopped' then 'stop' else 'delete' end, generation from w "
		 "on conflict do nothing", desired, (long long)id, desired);
	pg_sql(db, sql, NULL);
}

static struct wait {
	char sql[512];
	int64_t value;
} waited;

static bool sql_is(void *unused)
{
	(void)unused;
	return pg_int(db, waited.sql) == waited.value;
}

static void dump(void)
{
	cleanup_rows struct rows r = {0};

	pg_sql(db, "select w.id, w.state, w.desired, w.generation g, coalesce(w.reason_code, '-') code, coalesce(w.reason, '-') reason, "
		   "coalesce((select string_agg(state || ' ' || coalesce(end_code, '') || ' ' || coalesce(end_reason, ''), ', ' order by id) from session s where s.worker_id = w.id), '-') session, coalesce(s.end_code, '-') ended, coalesce(s.provider_ref::text, '-') ref, "
		   "coalesce((select string_agg(kind || ' ' || state || ' ' || coalesce(error, ''), ', ' order by id) from operation o where o.worker_id = w.id), '-') ops "
		   "from worker w left join session s on s.id = w.session_id", &r);
	for (int i = 0; i < rows_count(&r); i++)
		fprintf(stderr, "worker %s state=%s desired=%s g=%s code=%s reason=\"%s\" session=%s ended=%s ref=%s ops=%s\n", row_cstr(&r, i, "id"),
			row_cstr(&r, i, "state"), row_cstr(&r, i, "desired"), row_cstr(&r, i, "g"), row_cstr(&r, i, "code"),
			row_cstr(&r, i, "reason"), row_cstr(&r, i, "session"), row_cstr(&r, i, "ended"), row_cstr(&r, i, "ref"), row_cstr(&r, i, "ops"));
}

static void wait_sql(int64_t value, const char *fmt, ...)
{
	va_list ap;
	bool came;

	va_start(ap, fmt);
	vsnprintf(waited.sql, sizeof(waited.sql), fmt, ap);
	va_end(ap);
	waited.value = value;
	came = wait_for(sql_is, NULL, SOON);
	if (!came)
		dump();
	ck_assert_msg(came, "still not %lld: %s", (long long)value, waited.sql);
}

static void wait_state(int64_t id, const char *state)
{
	wait_sql(1, "select count(*) from worker where id = %lld and state = '%s'", (long long)id, state);
}

static void wait_started(int64_t id)
{
	wait_sql(1, "select count(*) from worker w join session s on s.id = w.session_id where w.id = %lld and s.state = 'starting' "
		    "and s.provider_ref is not null", (long long)id);
}

static int wanted_agents;

static bool agents_are(void *unused)
{
	(void)unused;
	return place_agents(&place) == wanted_agents;
}

static void wait_agents(int n)
{
	wanted_agents = n;
	ck_assert_msg(wait_for(agents_are, NULL, SOON), "%d agents, not %d", place_agents(&place), n);
}

/* What events does when the agent registers. */
static void register_agent(int64_t id)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
		 "with s as (update session set state = 'running', registered_at = now(), enrol_hash = null, token_hash = '\\x%064d' "
		 "where worker_id = %lld and state = 'starting' returning id, worker_id), l as (insert into session_live(session_id) select id from s) "
		 "update worker set state = 'healthy' from s where worker.id = s.worker_id", (int)id, (long long)id);
	pg_sql(db, sql, NULL);
}

/* ---- the plain course ----------------------------------------------------- */

START_TEST(test_start_stop_start_delete)
{
	pid_t p = provisioner("", false);
	int64_t id = worker("local");
	char path[160];

	wait_started(id);
	wait_agents(1);
	wait_sql(1, "select count(*) from operation where worker_id = %lld and state = 'done'", (long long)id);
	ck_assert_int_eq(pg_int(db, "select count(*) from session where enrol_hash is not null and enrol_until > now() and limit_seconds = 300"), 1);
	register_agent(id);
	want(id, "stopped");
	wait_state(id, "stopped");
	wait_agents(0);
	ck_assert_int_eq(pg_int(db, "select count(*) from session where state = 'ended' and end_code = 'stopped' "
				    "and log_tail like '%agent for%goodbye%'"), 1);
	want(id, "running");
	wait_sql(2, "select count(*) from session");
	wait_started(id);
	wait_agents(1);
	want(id, "deleted");
	wait_state(id, "deleted");
	wait_agents(0);
	ck_assert_int_eq(pg_int(db, "select count(*) from session where state <> 'ended'"), 0);
	ck_assert_int_eq(pg_int(db, "select count(*) from worker where deleted_at is not null"), 1);
	snprintf(path, sizeof(path), "%s/work/%lld", place.local, (long long)id);
	ck_assert_int_ne(access(path, F_OK), 0);
	/* Each move has its event and its reason. */
	ck_assert_int_ge(pg_int(db, "select count(distinct what) from event where topic = 'worker'"), 4);
	ck_assert_int_ge(pg_int(db, "select count(*) from decision where subject like 'worker %'"), 5);
	end_provisioner(p, SIGTERM);
}
END_TEST

START_TEST(test_manual_waits_for_a_person_and_stops_without_one)
{
	pid_t p;
	int64_t id = worker("manual");

	place.config.providers = "manual";
	p = provisioner("", false);
	wait_state(id, "needs_human");
	ck_assert_int_eq(pg_int(db, "select count(*) from session where state = 'starting' and enrol_hash is null"), 1);
	want(id, "stopped");
	wait_state(id, "stopped");
	ck_assert_int_eq(pg_int(db, "select count(*) from session where state = 'ended'"), 1);
	want(id, "deleted");
	wait_state(id, "deleted");
	end_provisioner(p, SIGTERM);
}
END_TEST

START_TEST(test_local_role_suffices_for_local)
{
	pid_t p;
	int64_t id = worker("local");

	place.config.database = arena_strdup(&place.arena, pg_conninfo(pg, "local", database));
	p = provisioner("", false);
	wait_started(id);
	register_agent(id);
	want(id, "deleted");
	wait_state(id, "deleted");
	wait_agents(0);
	end_provisioner(p, SIGTERM);
}
END_TEST

START_TEST(test_impossible_start_fails_with_a_sentence_and_starts_again_when_told)
{
	int64_t id = worker("local");
	pid_t p;

	place_script(&place, "#!/nonexistent\n");
	p = provisioner("", false);
	wait_state(id, "failed");
	ck_assert_int_eq(pg_int(db, "select count(*) from worker where reason like '%cannot be started%'"), 1);
	ck_assert_int_eq(pg_int(db, "select count(*) from session where state <> 'ended'"), 0);
	place_script(&place, stub_agent);
	want(id, "running");
	wait_started(id);
	wait_agents(1);
	end_provisioner(p, SIGTERM);
}
END_TEST

/* ---- ends that nobody asked for ------------------------------------------- */

START_TEST(test_dead_agent_is_noticed_and_another_session_follows)
{
	pid_t p = provisioner("", false);
	int64_t id = worker("local"), first;

	wait_started(id);
	wait_agents(1);
	register_agent(id);
	first = pg_int(db, "select session_id from worker");
	pg_sql(db, "update session set registered_at = now() - interval '1 hour'", NULL);
	place_kill(&place);
	wait_sql(1, "select count(*) from session where id = %lld and state = 'ended' and end_code = 'lost'", (long long)first);
	wait_sql(2, "select count(*) from session");
	wait_started(id);
	wait_agents(1);
	end_provisioner(p, SIGTERM);
}
END_TEST

START_TEST(test_third_early_death_fails_the_worker)
{
	int64_t id = worker("local");
	pid_t p;

	place_script(&place, "#!/bin/sh\necho broken\nexit 1\n");
	pg_sql(db, "insert into session(worker_id, owner_id, account_id, provider, generation, state) "
		   "select id, owner_id, account_id, provider, generation, 'ended' from worker; "
		   "update worker set early_deaths = 2, session_id = (select id from session)", NULL);
	p = provisioner("", false);
	wait_state(id, "failed");
	ck_assert_int_eq(pg_int(db, "select count(*) from worker where reason_code = 'early_deaths' and reason like 'Three%exit code 1%'"), 1);
	ck_assert_int_eq(pg_int(db, "select count(*) from session where log_tail like 'broken%'"), 1);
	/* It stays so, until a person asks. */
	ck_assert_int_eq(pg_int(db, "select count(*) from operation where state = 'open'"), 0);
	place_script(&place, stub_agent);
	want(id, "running");
	wait_started(id);
	ck_assert_int_eq(pg_int(db, "select early_deaths from worker"), 0);
	end_provisioner(p, SIGTERM);
}
END_TEST

START_TEST(test_deadline_ends_the_run)
{
	pid_t p = provisioner("", false);
	int64_t id = worker("local");

	wait_started(id);
	wait_agents(1);
	register_agent(id);
	pg_sql(db, "update session set deadline = now() - interval '1 second'", NULL);
	wait_sql(1, "select count(*) from session where state = 'ended' and end_code = 'deadline'");
	wait_sql(2, "select count(*) from session");
	wait_started(id);
	wait_agents(1);
	end_provisioner(p, SIGTERM);
}
END_TEST

START_TEST(test_run_without_a_session_is_ended)
{
	pid_t p = provisioner("", false);
	int64_t id = worker("local");

	wait_started(id);
	wait_agents(1);
	/* The session was ended by someone who cannot end the run. */
	pg_sql(db, "update worker set desired = 'stopped', state = 'stopped'; "
		   "update session set state = 'ended', ended_at = now() - interval '1 hour'", NULL);
	wait_agents(0);
	end_provisioner(p, SIGTERM);
}
END_TEST

START_TEST(test_stop_workers_ends_agents_and_their_sessions)
{
	pid_t p = provisioner("", true);
	int64_t one = worker("local"), two = worker("local");

	wait_started(one);
	wait_started(two);
	wait_agents(2);
	register_agent(one);
	end_provisioner(p, SIGTERM);
	wait_agents(0);
	ck_assert_int_eq(pg_int(db, "select count(*) from session where state = 'ended' and end_code = 'terminated'"), 2);
	ck_assert_int_eq(pg_int(db, "select count(*) from worker where state = 'stopped' and desired = 'running' and early_deaths = 0"), 2);
	p = provisioner("", false);
	wait_started(one);
	wait_agents(2);
	end_provisioner(p, SIGTERM);
}
END_TEST

/* ---- many, and none ------------------------------------------------------- */

START_TEST(test_three_provisioners_start_each_worker_once)
{
	pid_t p[3];

	for (int i = 0; i < 12; i++)
		worker("local");
	for (int i = 0; i < 3; i++)
		p[i] = provisioner("", false);
	wait_sql(12, "select count(*) from session where provider_ref is not null");
	wait_agents(12);
	if (pg_int(db, "select count(*) from session") != 12)
		dump();
	ck_assert_int_eq(pg_int(db, "select count(*) from session"), 12);
	pg_sql(db, "update worker set desired = 'deleted', generation = generation + 1", NULL);
	wait_sql(12, "select count(*) from worker where state = 'deleted'");
	wait_agents(0);
	for (int i = 0; i < 3; i++)
		end_provisioner(p[i], SIGTERM);
}
END_TEST

START_TEST(test_killed_provisioner_finds_its_run_again)
{
	pid_t p = provisioner("", false);
	int64_t id = worker("local");

	wait_started(id);
	wait_agents(1);
	register_agent(id);
	end_provisioner(p, SIGKILL);
	wait_agents(1);
	/* The reference was lost as well. */
	pg_sql(db, "update session set provider_ref = null", NULL);
	p = provisioner("", false);
	want(id, "stopped");
	wait_state(id, "stopped");
	wait_agents(0);
	ck_assert_int_eq(pg_int(db, "select count(*) from session"), 1);
	end_provisioner(p, SIGTERM);
}
END_TEST

static void allow_database(bool yes)
{
	struct db *super = pg_db(pg, "postgres", "postgres");
	char sql[256];

	snprintf(sql, sizeof(sql), "alter database \"%s\" allow_connections %s", database, yes ? "true" : "false");
	pg_sql(super, sql, NULL);
	snprintf(sql, sizeof(sql), "select pg_terminate_backend(pid) from pg_stat_activity where datname = '%s'", database);
	if (!yes)
		pg_sql(super, sql, NULL);
	db_close(super);
}

static bool refused_twice(void *unused)
{
	struct db *other;
	static int refusals;

	(void)unused;
	if (db_open(&(struct db_options){.conninfo = pg_conninfo(pg, "owner", database)}, &other))
		return false;
	refusals += db_raw(other) == NULL;
	db_close(other);
	return refusals > 60; /* longer than the provisioner's wait between two tries */
}

START_TEST(test_database_away_is_outlived)
{
	pid_t p = provisioner("", false);
	int64_t id = worker("local");

	wait_started(id);
	wait_agents(1);
	db_close(db);
	allow_database(false);
	ck_assert(wait_for(refused_twice, NULL, SOON));
	ck_assert_int_eq(waitpid(p, NULL, WNOHANG), 0);
	wait_agents(1);
	allow_database(true);
	db = pg_db(pg, "owner", database);
	pg_sql(db, "set search_path = gpupool", NULL);
	register_agent(id);
	want(id, "stopped");
	wait_state(id, "stopped");
	wait_agents(0);
	end_provisioner(p, SIGTERM);
}
END_TEST

#ifdef GPUPOOL_TEST

/* True when it died of a crash point before the state came. */
static bool died_before(pid_t *p, int64_t id, const char *state)
{
	char sql[256];
	int status;

	snprintf(sql, sizeof(sql), "select count(*) from worker w left join session s on s.id = w.session_id where w.id = %lld and w.state = '%s' "
				   "and (w.state <> 'starting' or s.provider_ref is not null)", (long long)id, state);
	for (int64_t end = clock_ms() + SOON; clock_ms() < end; clock_sleep_ms(10)) {
		if (waitpid(*p, &status, WNOHANG) == *p) {
			ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
			ck_assert_int_le(place_agents(&place), 1);
			ck_assert_int_le(pg_int(db, "select count(*) from session where state <> 'ended'"), 1);
			/* Its claim does not hold up the next one of this host. */
			*p = provisioner("", false);
			return true;
		}
		if (pg_int(db, sql) == 1)
			return false;
	}
	dump();
	ck_abort_msg("not %s", state);
}

static void reach(pid_t *p, int64_t id, const char *state, int *deaths)
{
	while (died_before(p, id, state))
		++*deaths;
}

/* Its life from start to delete, with one death at the n-th point; 0 = it got through. */
static int life(int n)
{
	char at[16];
	int deaths = 0;
	int64_t id = worker("local");
	pid_t p;

	snprintf(at, sizeof(at), "%d", n);
	p = provisioner(at, false);
	reach(&p, id, "starting", &deaths);
	wait_agents(1);
	register_agent(id);
	want(id, "stopped");
	reach(&p, id, "stopped", &deaths);
	wait_agents(0);
	want(id, "running");
	reach(&p, id, "starting", &deaths);
	wait_agents(1);
	want(id, "deleted");
	reach(&p, id, "deleted", &deaths);
	wait_agents(0);
	ck_assert_int_eq(pg_int(db, "select count(*) from session where state <> 'ended'"), 0);
	/* One that was killed at a point where only its agent's token is lost starts no second one. */
	ck_assert_int_le(pg_int(db, "select count(*) from session"), 2);
	pg_sql(db, "delete from operation; update worker set session_id = null; delete from session_live; delete from session; delete from worker", NULL);
	end_provisioner(p, SIGKILL);
	return deaths;
}

START_TEST(test_killed_at_every_point_it_goes_on)
{
	int n = 1;

	while (life(n))
		n++;
	printf("provisioner: killed at %d points\n", n - 1);
	ck_assert_int_ge(n, 20);
}
END_TEST

#endif

int main(void)
{
	Suite *s = suite_create("provisioner");
	TCase *t = tcase_create("course"), *faults = tcase_create("faults");

	pg = pg_start();
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_start_stop_start_delete);
	tcase_add_test(t, test_manual_waits_for_a_person_and_stops_without_one);
	tcase_add_test(t, test_local_role_suffices_for_local);
	tcase_add_test(t, test_impossible_start_fails_with_a_sentence_and_starts_again_when_told);
	tcase_add_test(t, test_dead_agent_is_noticed_and_another_session_follows);
	tcase_add_test(t, test_third_early_death_fails_the_worker);
	tcase_add_test(t, test_deadline_ends_the_run);
	tcase_add_test(t, test_run_without_a_session_is_ended);
	tcase_add_test(t, test_stop_workers_ends_agents_and_their_sessions);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(faults, set_up, tear_down);
	tcase_set_timeout(faults, 240);
	tcase_add_test(faults, test_three_provisioners_start_each_worker_once);
	tcase_add_test(faults, test_killed_provisioner_finds_its_run_again);
	tcase_add_test(faults, test_database_away_is_outlived);
#ifdef GPUPOOL_TEST
	tcase_add_test(faults, test_killed_at_every_point_it_goes_on);
#else
	printf("skipped: crash points are not in this build (the asan build has them)\n");
#endif
	suite_add_tcase(s, faults);
	return unit_run(s);
}
