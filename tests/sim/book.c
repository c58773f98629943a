/* The real ledger in a simulated week; see book.h. */
#include "book.h"
#include "domain/cooldown.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "domain/autoscaler.h"

/* Providers with the limits of people.c. */
static const char rows[] =
	"insert into provider_policy(provider, sharing_allowed, implicit, accounts_per_person, source, as_of) "
	"select p, true, false, 1, 'simulated', '2026-01-01' from unnest(array['sim-local', 'sim-colab']) p;"
	"insert into provider_driver(name, provider, enrol_seconds, knows_runs) select p, p, 600, true from unnest(array['sim-local', 'sim-colab']) p;"
	"insert into provider_limit(provider, resource, session_seconds, session_margin_seconds, week_margin_seconds, concurrent, source, as_of) "
	"values ('sim-local', 'gpu', null, 0, 0, %d, 'simulated', '2026-01-01'), ('sim-colab', 'gpu', %lld, %lld, 0, %d, 'simulated', '2026-01-01');"
	"insert into provider_accelerator(provider, name, resource, gets) values ('sim-local', 'gpu', 'gpu', '{gpu}'), ('sim-colab', 'gpu', 'gpu', '{gpu}');"
	"update provider_limit set week_seconds = %lld, week_margin_seconds = %lld, session_seconds = %lld, session_margin_seconds = %lld, concurrent = %d "
	"where provider = 'kaggle' and resource = 'gpu'";

void book_open(struct book *b, struct sim *s, struct pg *pg)
{
	const struct sim_provider *k = &sim_providers[SIM_KAGGLE], *c = &sim_providers[SIM_COLAB];

	*b = (struct book){.clock = -1};
	ledger_make(&b->ledger, pg);
	pool_sql(&b->ledger.pool, rows, sim_providers[SIM_LOCAL].concurrent, (long long)c->session_s, (long long)c->session_margin_s, c->concurrent,
		 (long long)k->week_s, (long long)k->week_margin_s, (long long)k->session_s, (long long)k->session_margin_s, k->concurrent);
	for (int i = 0; i < s->account_count; i++)
		s->accounts[i].row = pool_int(&b->ledger.pool, "with u as (insert into users(name, role) values ('u%d', 'operator') returning id) "
					      "insert into account(owner_id, provider, sealed) select id, '%s', '\\x00' from u returning id",
					      i, sim_providers[s->accounts[i].at].name);
}

void book_close(struct book *b)
{
	ledger_drop(&b->ledger);
	free(b->workers);
}

static _Noreturn void fail(struct book *b, const char *what)
{
	fprintf(stderr, "%s: %s\n", what, b->ledger.e.msg);
	abort();
}

/* The ledger counts whole seconds and reads the time once it holds the lock. */
static void set_clock(struct book *b, const struct sim *s)
{
	if (b->clock == s->now)
		return;
	b->clock = s->now;
	pool_sql(&b->ledger.pool, "update test_clock set at = timestamptz '" LEDGER_NOON "' + interval '%lld ms'", (long long)s->now);
	arena_reset(&b->ledger.arena);
}

/* ---- a session ------------------------------------------------------------ */

static int64_t row_of(struct book *b, struct sim *s, int account, int worker)
{
	if (worker >= b->worker_count) {
		b->workers = realloc(b->workers, (size_t)(worker + 1) * sizeof(*b->workers));
		if (!b->workers)
			abort();
		while (b->worker_count <= worker)
			b->workers[b->worker_count++] = 0;
	}
	if (!b->workers[worker])
		b->workers[worker] = pool_int(&b->ledger.pool, "insert into worker(owner_id, account_id, provider, title, accelerator, desired) "
							       "values (1, %lld, '%s', 'simulated', 'gpu', 'running') returning id",
					      (long long)s->accounts[account].row, sim_providers[s->accounts[account].at].name);
	return b->workers[worker];
}

struct start {
	struct book *b;
	const struct sim_account *account;
	int64_t worker, session;
	struct quota_grant grant;
};

static enum err start(struct db *db, void *ctx)
{
	struct start *s = ctx;
	struct quota_ask ask = {.account = s->account->row, .accelerator = "gpu"};
	enum err err = quota_reserve(db, &s->b->ledger.arena, &ask, &s->grant, &s->b->ledger.e);

	if (err)
		return err;
	s->session = ledger_session(db, s->account->row, s->worker, s->grant.seconds);
	return quota_attach(db, &s->grant, s->session, &s->b->ledger.e);
}

bool book_start(struct book *b, struct sim *s, int account, int worker, int64_t *session, int64_t *seconds)
{
	struct start it = {.b = b, .account = &s->accounts[account], .worker = row_of(b, s, account, worker)};
	enum err err;

	set_clock(b, s);
	err = tx_run(b->ledger.pool.role, start, &it, &b->ledger.e);
	if (err && err != ERR_QUOTA)
		fail(b, "not started");
	*session = it.session;
	*seconds = it.grant.seconds;
	return !err;
}

void book_refused(struct book *b, struct sim *s, int account)
{
	double seconds;

	set_clock(b, s);
	if (cooldown_refused(b->ledger.pool.role, s->accounts[account].row, "gpu", "capacity", "It refuses.", &seconds, &b->ledger.e))
		fail(b, "not refused");
}

int64_t book_cools_until(struct book *b, struct sim *s, int account)
{
	int64_t seconds;

	set_clock(b, s);
	seconds = pool_int(&b->ledger.pool, "select coalesce(max(ceil(extract(epoch from until - quota_clock()))), 0) from account_cooldown "
					    "where account_id = %lld and until > quota_clock()", (long long)s->accounts[account].row);
	return seconds ? s->now + seconds * SIM_SECOND : 0;
}

void book_launched(struct book *b, struct sim *s, int account, int64_t session)
{
	set_clock(b, s);
	if (cooldown_begun(b->ledger.pool.role, s->accounts[account].row, "gpu", &b->ledger.e))
		fail(b, "not begun");
	pool_sql(&b->ledger.pool, "update session set launched_at = quota_clock(), provider_ref = '{}' where id = %lld", (long long)session);
}

void book_up(struct book *b, struct sim *s, int64_t session)
{
	set_clock(b, s);
	pool_sql(&b->ledger.pool, "update session set state = 'running', registered_at = quota_clock(), "
				  "deadline = launched_at + limit_seconds * interval '1 s' where id = %lld", (long long)session);
}

void book_settle(struct book *b, struct sim *s, int account)
{
	int count;

	set_clock(b, s);
	if (quota_settle(b->ledger.pool.role, s->accounts[account].row, &count, &b->ledger.e))
		fail(b, "not settled");
}

void book_end(struct book *b, struct sim *s, int account, int64_t session)
{
	set_clock(b, s);
	pool_sql(&b->ledger.pool, "update session set state = 'ended', ended_at = quota_clock(), over_at = quota_clock() where id = %lld", (long long)session);
	book_settle(b, s, account);
}

/* ---- hours ---------------------------------------------------------------- */

/* LEDGER_NOON in Unix seconds. */
static int64_t noon(void)
{
	struct tm tm = {.tm_year = 126, .tm_mon = 10, .tm_mday = 24, .tm_hour = 12};

	return timegm(&tm);
}

int book_tell(struct book *b, struct sim *s, int account)
{
	const struct sim_account *a = &s->accounts[account];
	const struct quota_told told = {.resource = "gpu", .used_seconds = (int64_t)(a->used / SIM_SECOND), .reserved_seconds = -1,
					.limit_seconds = sim_providers[a->at].week_s, .resets_at = noon() + a->resets / SIM_SECOND};
	int cut;

	set_clock(b, s);
	if (quota_tell(b->ledger.pool.role, a->row, &told, 1, &cut, &b->ledger.e))
		fail(b, "not told");
	return cut;
}

int64_t book_granted(struct book *b, int64_t session)
{
	return ledger_reserved(&b->ledger, session, "granted_seconds");
}

int64_t book_left(struct book *b, struct sim *s, int account)
{
	set_clock(b, s);
	return pool_int(&b->ledger.pool, "select coalesce(remaining_seconds, %d) from quota_figures(%lld, 'gpu')", SCALE_NONE,
			(long long)s->accounts[account].row);
}

const char *book_broken(struct book *b)
{
	return ledger_broken(&b->ledger);
}
