/* A world with a provider elsewhere; see remote.h. */
#include "remote.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/log.h"
#include "control/loop.h"
#include "domain/keys.h"
#include "fake.h"
#include "unit.h"

struct remote remote;

/* ---- the world ------------------------------------------------------------ */

/* Credentials, sealed as the web does it. */
void remote_seal(int64_t account, int64_t owner, const char *user, const char *key)
{
	cleanup_buf struct buf sql = BUF_INIT(8192);
	struct sealed_account of = {.id = account, .owner = owner, .provider = "fake"};
	struct db *web = pg_db(remote.pg, "owner", remote.database);
	char text[512], digits[2048];
	struct sealed box;

	pg_sql(web, "set search_path = gpupool", NULL);
	snprintf(text, sizeof(text), "{\"username\":\"%s\",\"key\":\"%s\"}", user, key);
	ck_assert_msg(sealed_make_credentials(web, &remote.arena, &of, str_of(text), &box, &remote.e) == OK, "%s", remote.e.msg);
	crypto_hex(box.box.ptr, box.box.len, digits);
	buf_addf(&sql, "update account set sealed = '\\x%s', key_id = %lld, sealed_version = sealed_version + 1, updated_at = now() where id = %lld",
		 digits, (long long)box.key_id, (long long)account);
	remote_sql(sql.ptr);
	db_close(web);
}

int64_t remote_account(int64_t owner, const char *user, const char *key)
{
	char sql[256];
	int64_t id;

	/* Not looked at before its credentials are there. */
	snprintf(sql, sizeof(sql), "insert into account(owner_id, provider, check_at) values (%lld, 'fake', 'infinity') returning id", (long long)owner);
	id = pg_int(remote.db, sql);
	remote_seal(id, owner, user, key);
	snprintf(sql, sizeof(sql), "update account set check_at = now() where id = %lld", (long long)id);
	remote_sql(sql);
	return id;
}

void remote_set_up(void)
{
	static int number;
	int64_t key;

	fake_reset();
	arena_init(&remote.arena, 16 << 20);
	snprintf(remote.database, sizeof(remote.database), "remote_%ld_%d", (long)getpid(), number++);
	pg_copy(remote.pg, remote.database);
	remote.db = pg_db(remote.pg, "owner", remote.database);
	pg_sql(remote.db,
	       "set search_path = gpupool; insert into users(name, role) values ('ada', 'admin'), ('bob', 'operator');"
	       "insert into provider_policy select x.* from provider_policy p, jsonb_populate_record(p, '{\"provider\": \"fake\"}') x where p.provider = 'kaggle';"
	       "insert into provider_driver select 'fake', 'fake', '', enrol_seconds, knows_runs from provider_driver where name = 'kaggle';"
	       "insert into provider_limit select x.* from provider_limit p, jsonb_populate_record(p, '{\"provider\": \"fake\"}') x where p.provider = 'kaggle';"
	       "insert into provider_accelerator select x.* from provider_accelerator p, jsonb_populate_record(p, '{\"provider\": \"fake\"}') x where p.provider = 'kaggle'",
	       NULL);
	snprintf(remote.dir, sizeof(remote.dir), "/tmp/gpupool-remote-XXXXXX");
	if (!mkdtemp(remote.dir) || config_load(&remote.arena, NULL, &remote.config, &remote.e))
		abort();
	remote.config.database = arena_strdup(&remote.arena, pg_conninfo(remote.pg, "provisioner", remote.database));
	remote.config.providers = "fake";
	remote.config.keys = remote.dir;
	remote.config.hands = 4;
	remote.config.grace_seconds = 0;
	remote.config.kaggle_poll_seconds = 1;
	remote.config.kaggle_settle_seconds = 1;
	remote.config.public_url = "https://pool.example.com";
	ck_assert_msg(keys_init(remote.db, remote.dir, SEAL_CREDENTIALS, &key, &remote.e) == OK, "%s", remote.e.msg);
	prctl(PR_SET_CHILD_SUBREAPER, 1);
}

void remote_tear_down(void)
{
	char text[128];

	snprintf(text, sizeof(text), "rm -rf '%s'", remote.dir);
	if (system(text))
		fprintf(stderr, "%s remains\n", remote.dir);
	db_close(remote.db);
	remote.db = pg_db(remote.pg, "postgres", "postgres");
	snprintf(text, sizeof(text), "drop database \"%s\" with (force)", remote.database);
	remote_sql(text);
	db_close(remote.db);
	arena_free(&remote.arena);
}

void remote_make(void)
{
	crypto_init();
	fake_make();
	remote.pg = pg_start();
}

void remote_sql(const char *sql)
{
	pg_sql(remote.db, sql, NULL);
}

/* ---- the provisioner ------------------------------------------------------ */

pid_t remote_provisioner(const char *crash_at)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	log_init("provisioner", getenv("TEST_LOG") ? LOG_DEBUG : LOG_ERROR);
	crashpoint_arm(crash_at);
	_exit(loop_run(&remote.config, false, &remote.e) != OK);
}

void remote_end(pid_t pid, int signal)
{
	int status = 0;

	kill(pid, signal);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (signal == SIGTERM)
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", status);
}

int64_t remote_worker(int64_t account_id, const char *accelerator)
{
	static int number;
	char sql[768];

	snprintf(sql, sizeof(sql),
		 "with w as (insert into worker(owner_id, account_id, provider, title, remote_name, accelerator, desired, max_session_seconds, inputs) "
		 "select owner_id, id, provider, 'test', 'gpupool-test-%d', '%s', 'running', 3600, '{\"datasets\": [\"ada/set\"]}' from account "
		 "where id = %lld returning id, provider) "
		 "insert into operation(worker_id, provider, kind, generation) select id, provider, 'start', 1 from w returning worker_id",
		 ++number, accelerator, (long long)account_id);
	return pg_int(remote.db, sql);
}

/* As the API does it. */
void remote_want(int64_t id, const char *desired)
{
	char sql[512];

	snprintf(sql, sizeof(sql),
		 "with w as (update worker set desired = '%s', generation = generation + 1 where id = %lld returning id, provider, generation) "
		 "insert into operation(worker_id, provider, kind, generation) "
		 "select id, provider, case '%s' when 'running' then 'start' when 'stopped' then 'stop' else 'delete' end, generation from w "
		 "on conflict do nothing", desired, (long long)id, desired);
	remote_sql(sql);
}

/* What events does when the agent registers; got as an array literal. */
void remote_register(int64_t id, const char *got)
{
	char sql[640];

	snprintf(sql, sizeof(sql),
		 "with s as (update session set state = 'running', registered_at = now(), enrol_hash = null, token_hash = decode(md5(id::text) || md5('t'), 'hex'), "
		 "got = '%s', deadline = now() + make_interval(secs => limit_seconds) "
		 "where worker_id = %lld and state = 'starting' returning id, worker_id), l as (insert into session_live(session_id) select id from s) "
		 "update worker set state = 'healthy', reason_code = null, reason = null from s where worker.id = s.worker_id", got, (long long)id);
	remote_sql(sql);
}

/* ---- waiting -------------------------------------------------------------- */

/* Intervals are minutes and more: the test moves what is due, but takes nothing from who has it. */
void remote_hurry(void)
{
	/* Waiting for nobody's rows while it has others: the provisioners lock several in an order of their own. */
	remote_sql("update session_poll set due = now() where session_id = any(array(select session_id from session_poll "
		   "where due > now() and due < now() + interval '190 s' for update skip locked))");
	remote_sql("update account_cooldown set until = now() where until > now()");
	remote_sql("update operation set next_try_at = now() where id = any(array(select id from operation "
		   "where state = 'open' and claimed_until is null for update skip locked))");
}

void remote_dump(void)
{
	cleanup_rows struct rows r = {0};

	pg_sql(remote.db, "select w.id, w.state, w.desired, w.generation g, coalesce(w.reason_code, '-') code, coalesce(w.reason, '-') reason, "
		   "coalesce((select string_agg(concat_ws(' ', s.id, s.state, end_code, end_reason, provider_ref, over_at is not null, outputs_at is not null), ', ' order by id) from session s where s.worker_id = w.id), '-') session, "
		   "coalesce((select string_agg(concat_ws(' ', kind, o.state, o.error), ', ' order by id) from operation o where o.worker_id = w.id), '-') ops, "
		   "coalesce((select string_agg(concat_ws(' ', p.session_id, p.phase, p.failures, p.due - now()), ', ') from session_poll p), '-') polls "
		   "from worker w order by id limit 8", &r);
	for (int i = 0; i < rows_count(&r); i++)
		fprintf(stderr, "worker %s state=%s desired=%s g=%s code=%s reason=\"%s\" session=%s ops=%s polls=%s\n", row_cstr(&r, i, "id"),
			row_cstr(&r, i, "state"), row_cstr(&r, i, "desired"), row_cstr(&r, i, "g"), row_cstr(&r, i, "code"),
			row_cstr(&r, i, "reason"), row_cstr(&r, i, "session"), row_cstr(&r, i, "ops"), row_cstr(&r, i, "polls"));
}

static struct wait {
	char sql[768];
	int64_t value;
	bool hurried;
} waited;

static bool sql_is(void *unused)
{
	(void)unused;
	if (waited.hurried)
		remote_hurry();
	return pg_int(remote.db, waited.sql) == waited.value;
}

static void printf_like(3, 0) wait_for_sql(bool hurried, int64_t value, const char *fmt, va_list ap)
{
	bool came;

	vsnprintf(waited.sql, sizeof(waited.sql), fmt, ap);
	waited.value = value;
	waited.hurried = hurried;
	came = wait_for(sql_is, NULL, REMOTE_SOON);
	if (!came)
		remote_dump();
	ck_assert_msg(came, "still not %lld: %s", (long long)value, waited.sql);
}

void remote_wait(int64_t value, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	wait_for_sql(true, value, fmt, ap);
	va_end(ap);
}

/* The same while nothing is hurried. */
void remote_wait_calm(int64_t value, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	wait_for_sql(false, value, fmt, ap);
	va_end(ap);
}

int64_t remote_count(const char *fmt, ...)
{
	char sql[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(sql, sizeof(sql), fmt, ap);
	va_end(ap);
	return pg_int(remote.db, sql);
}

void remote_wait_state(int64_t id, const char *state)
{
	remote_wait(1, "select count(*) from worker where id = %lld and state = '%s'", (long long)id, state);
}

void remote_wait_code(int64_t id, const char *state, const char *code)
{
	remote_wait(1, "select count(*) from worker where id = %lld and state = '%s' and reason_code = '%s'", (long long)id, state, code);
}

void remote_wait_started(int64_t id)
{
	remote_wait(1, "select count(*) from worker w join session s on s.id = w.session_id where w.id = %lld and s.state = 'starting' "
		    "and s.provider_ref is not null", (long long)id);
}

/* Nothing is left to watch, and the rows say so. */
void remote_wait_quiet(void)
{
	remote_wait(0, "select count(*) from session_poll");
	ck_assert_int_eq(remote_count("select count(*) from session where state <> 'ended'"), 0);
	ck_assert_int_eq(fake_live(), 0);
	ck_assert_int_eq(fake->twice, 0);
}

