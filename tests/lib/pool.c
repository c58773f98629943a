/* Rows for tests of statements; see pool.h. */
#include "pool.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/str.h"

void pool_make(struct pool *p, struct pg *pg, const char *role)
{
	static int number;

	*p = (struct pool){.pg = pg};
	snprintf(p->database, sizeof(p->database), "pool_%ld_%d", (long)getpid(), number++);
	pg_copy(pg, p->database);
	p->owner = pg_db(pg, "owner", p->database);
	p->role = pool_connect(p, role);
	pool_sql(p, "set search_path = gpupool; insert into users(name, role) values ('ada', 'admin'); "
		    "insert into account(owner_id, provider) values (1, 'local'), (1, 'manual'); "
		    "insert into lane(type, accelerator, gpus, owner_id, priority) values (0, '', 1, 1, 5)");
}

void pool_drop(struct pool *p)
{
	struct db *super = pg_db(p->pg, "postgres", "postgres");
	char sql[96];

	db_close(p->owner);
	db_close(p->role);
	snprintf(sql, sizeof(sql), "drop database \"%s\" with (force)", p->database);
	pg_sql(super, sql, NULL);
	db_close(super);
}

struct db *pool_connect(const struct pool *p, const char *role)
{
	struct db_options o = {.conninfo = pg_conninfo(p->pg, role, p->database), .application = "test", .queue = true};
	struct db *db;

	if (db_open(&o, &db) || !db_raw(db))
		abort();
	return db;
}

void pool_sql(struct pool *p, const char *fmt, ...)
{
	cleanup_buf struct buf sql = BUF_INIT(1 << 20);
	va_list ap;

	va_start(ap, fmt);
	buf_addvf(&sql, fmt, ap);
	va_end(ap);
	pg_sql(p->owner, sql.ptr, NULL);
}

int64_t pool_int(struct pool *p, const char *fmt, ...)
{
	cleanup_buf struct buf sql = BUF_INIT(1 << 20);
	va_list ap;

	va_start(ap, fmt);
	buf_addvf(&sql, fmt, ap);
	va_end(ap);
	return pg_int(p->owner, sql.ptr);
}

int64_t pool_worker(struct pool *p, const char *provider, const char *state)
{
	return pool_int(p, "insert into worker(owner_id, account_id, provider, title, accelerator, desired, state) "
			   "select 1, id, provider, 'test', 'cpu', 'running', '%s' from account where provider = '%s' returning id", state, provider);
}

int64_t pool_session(struct pool *p, int64_t worker, const char *state)
{
	return pool_int(p, "with s as (insert into session(worker_id, owner_id, account_id, provider, generation, state, enrol_hash, enrol_until, token_hash, "
			   "registered_at, started_at) select id, 1, account_id, provider, generation, '%s', "
			   "decode(md5(random()::text) || md5('e' || id), 'hex'), now() + interval '1 minute', "
			   "case when '%s' = 'running' then decode(md5(random()::text) || md5('t' || id), 'hex') end, "
			   "case when '%s' = 'running' then now() - interval '1 hour' end, now() - interval '1 hour' from worker where id = %lld returning id), "
			   "w as (update worker set session_id = s.id from s where worker.id = %lld), "
			   "l as (insert into session_live(session_id) select id from s where '%s' = 'running') select id from s",
			state, state, state, (long long)worker, (long long)worker, state);
}

static int64_t job(struct pool *p)
{
	return pool_int(p, "insert into job(owner_id, lane, payload) values (1, 1, '{}') returning id");
}

int64_t pool_ready(struct pool *p)
{
	int64_t id = job(p);

	pool_sql(p, "insert into job_ready(lane, id, owner_id, max_attempts) values (1, %lld, 1, 3)", (long long)id);
	return id;
}

int64_t pool_lease(struct pool *p, int64_t session, int attempt, int max_attempts)
{
	int64_t id = job(p);

	pool_sql(p, "insert into job_lease(id, lease, session_id, worker_id, lane, owner_id, gpus, attempt, run, max_attempts, seconds, until, started) "
		    "select %lld, gen_random_uuid(), id, worker_id, 1, 1, 1, %d, %d, %d, 60, now() + interval '1 minute', now() - interval '10 minutes' "
		    "from session where id = %lld", (long long)id, attempt, attempt, max_attempts, (long long)session);
	return id;
}
