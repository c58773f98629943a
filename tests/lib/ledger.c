/* A ledger with a clock of its own; see ledger.h. */
#include "ledger.h"

#include <stdio.h>
#include <stdlib.h>

void ledger_make(struct ledger *l, struct pg *pg)
{
	*l = (struct ledger){0};
	pool_make(&l->pool, pg, "provisioner");
	arena_init(&l->arena, 1 << 20);
	pool_sql(&l->pool, "create table test_clock (at timestamptz);"
			   "insert into test_clock values ('" LEDGER_NOON "');"
			   "grant select on test_clock to public;"
			   "create or replace function quota_clock() returns timestamptz language sql volatile as 'select at from gpupool.test_clock'");
	l->account = pool_int(&l->pool, "insert into account(owner_id, provider, sealed) values (1, 'kaggle', '\\x00') returning id");
}

void ledger_drop(struct ledger *l)
{
	pool_drop(&l->pool);
	arena_free(&l->arena);
}

void ledger_at(struct ledger *l, int64_t seconds)
{
	pool_sql(&l->pool, "update test_clock set at = timestamptz '" LEDGER_NOON "' + interval '%lld s'", (long long)seconds);
}

/* ---- a start -------------------------------------------------------------- */

int64_t ledger_worker(struct ledger *l, const char *accelerator)
{
	return pool_int(&l->pool, "insert into worker(owner_id, account_id, provider, title, accelerator, desired) "
				  "values (1, %lld, 'kaggle', 'test', '%s', 'running') returning id", (long long)l->account, accelerator);
}

int64_t ledger_session(struct db *db, int64_t account, int64_t worker, int64_t seconds)
{
	cleanup_rows struct rows rows = {0};
	struct error e;
	char sql[512];

	snprintf(sql, sizeof(sql),
		 "insert into session(worker_id, owner_id, account_id, provider, generation, limit_seconds, started_at) "
		 "values (%lld, 1, %lld, 'kaggle', 1, nullif(%lld, 0), quota_clock()) returning id",
		 (long long)worker, (long long)account, (long long)seconds);
	if (db_exec_text(db, sql, &rows, &e)) {
		fprintf(stderr, "no session: %s\n", e.msg);
		abort();
	}
	return row_i64(&rows, 0, "id");
}

struct start {
	struct ledger *l;
	const char *accelerator;
	int64_t most, worker, session;
	struct quota_grant grant;
};

static enum err start(struct db *db, void *ctx)
{
	struct start *s = ctx;
	struct quota_ask ask = {.account = s->l->account, .accelerator = s->accelerator, .max_session_seconds = s->most};
	enum err err = quota_reserve(db, &s->l->arena, &ask, &s->grant, &s->l->e);

	if (err)
		return err;
	s->session = ledger_session(db, s->l->account, s->worker, s->grant.seconds);
	return quota_attach(db, &s->grant, s->session, &s->l->e);
}

enum err ledger_start_of(struct ledger *l, struct db *db, int64_t worker, const char *accelerator, int64_t most, struct quota_grant *g,
			 int64_t *session)
{
	struct start s = {.l = l, .accelerator = accelerator, .most = most, .worker = worker};
	enum err err = tx_run(db, start, &s, &l->e);

	if (g)
		*g = s.grant;
	*session = err ? 0 : s.session;
	return err;
}

enum err ledger_start(struct ledger *l, struct db *db, const char *accelerator, int64_t most, struct quota_grant *g, int64_t *session)
{
	return ledger_start_of(l, db, ledger_worker(l, accelerator), accelerator, most, g, session);
}

int64_t ledger_started(struct ledger *l, const char *accelerator, int64_t most)
{
	int64_t session;

	if (ledger_start(l, l->pool.role, accelerator, most, NULL, &session)) {
		fprintf(stderr, "not started: %s\n", l->e.msg);
		abort();
	}
	return session;
}

/* ---- its life ------------------------------------------------------------- */

void ledger_runs(struct ledger *l, int64_t session, int64_t at)
{
	pool_sql(&l->pool, "update session set state = 'running', launched_at = t, registered_at = t, provider_ref = '{}', "
			   "deadline = t + limit_seconds * interval '1 s' from (select timestamptz '" LEDGER_NOON "' + interval '%lld s' t) x "
			   "where id = %lld", (long long)at, (long long)session);
}

void ledger_leaves(struct ledger *l, int64_t session, int64_t at)
{
	pool_sql(&l->pool, "update session set state = 'ended', ended_at = timestamptz '" LEDGER_NOON "' + interval '%lld s' where id = %lld",
		 (long long)at, (long long)session);
}

void ledger_over(struct ledger *l, int64_t session, int64_t at)
{
	pool_sql(&l->pool, "update session set over_at = timestamptz '" LEDGER_NOON "' + interval '%lld s' where id = %lld",
		 (long long)at, (long long)session);
}

void ledger_ends(struct ledger *l, int64_t session, int64_t at)
{
	ledger_leaves(l, session, at);
	ledger_over(l, session, at);
}

int ledger_settle(struct ledger *l)
{
	int count;

	if (quota_settle(l->pool.role, l->account, &count, &l->e)) {
		fprintf(stderr, "not settled: %s\n", l->e.msg);
		abort();
	}
	return count;
}

/* ---- what the rows say ---------------------------------------------------- */

int64_t ledger_figure(struct ledger *l, const char *resource, int64_t resets, const char *column)
{
	return pool_int(&l->pool, "select %s from quota where account_id = %lld and resource = '%s' and "
				  "resets_at = timestamptz '" LEDGER_NOON "' + interval '%lld s'", column, (long long)l->account, resource, (long long)resets);
}

int64_t ledger_reserved(struct ledger *l, int64_t session, const char *column)
{
	return pool_int(&l->pool, "select %s from reservation where session_id = %lld", column, (long long)session);
}

/* Each of these counts to none. */
static const struct {
	const char *name, *from;
} rules[] = {
	{"limit kept", "quota where reserved_seconds > 0 and used_seconds + reserved_seconds + margin_seconds > limit_seconds"},
	{"reserved is what reservations hold",
	 "quota q where reserved_seconds <> (select coalesce(sum(granted_seconds - counted_seconds), 0) from reservation r where "
	 "r.account_id = q.account_id and r.resource = q.resource and r.resets_at = q.resets_at and r.settled_at is null)"},
	{"one session a slot", "(select 1 from reservation where settled_at is null group by account_id, resource, slot having count(*) > 1) x"},
	{"slots there are", "reservation r join account a on a.id = r.account_id join provider_limit l on l.provider = a.provider "
			    "and l.resource = r.resource where r.settled_at is null and r.slot > l.concurrent"},
	{"charged is counted", "reservation where settled_at is not null and used_seconds <> counted_seconds and resets_at is not null"},
	{"used is at least what was counted",
	 "(select sum(used_seconds) n from quota) q, (select sum(counted_seconds) n from reservation) r where q.n < r.n"},
	{"a session has what was granted",
	 "session s join reservation r on r.session_id = s.id where s.state <> 'ended' and s.limit_seconds > greatest(1, r.granted_seconds)"},
};

const char *ledger_broken(struct ledger *l)
{
	cleanup_buf struct buf sql = BUF_INIT(1 << 14);
	cleanup_rows struct rows rows = {0};
	static char name[64];

	buf_adds(&sql, "select name from (");
	for (size_t i = 0; i < ARRAY_LEN(rules); i++)
		buf_addf(&sql, "%sselect '%s' as name, count(*) as n from %s", i ? " union all " : "", rules[i].name, rules[i].from);
	buf_adds(&sql, ") x where n > 0");
	pg_sql(l->pool.owner, sql.ptr, &rows);
	snprintf(name, sizeof(name), "%s", rows_count(&rows) ? row_cstr(&rows, 0, "name") : "");
	return name;
}
