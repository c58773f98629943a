/*
 * The ledger of hours under many hands: starts at once, hands that die between
 * any two statements, and the database as the referee of those who do not ask.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "domain/session.h"
#include "ledger.h"
#include "unit.h"

enum { HOUR = 3600, LIMIT = 30 * HOUR, MARGIN = 900, SESSION = 11 * HOUR, STARTS = 32 };

static struct pg *pg;
static struct ledger ledger;

static void set_up(void)
{
	ledger_make(&ledger, pg);
}

static void tear_down(void)
{
	ledger_drop(&ledger);
}

static int64_t figure(const char *column)
{
	return ledger_figure(&ledger, "gpu", LEDGER_RESET, column);
}

/* ---- starts at once ------------------------------------------------------- */

struct hand {
	struct ledger ledger; /* its own arena and error, the account of all */
	struct db *db;
	pthread_t thread;
	int64_t worker, most, session;
	int slot;             /* 0 = asks; else takes this slot and does not ask */
	enum err err;
};

static enum err take(struct db *db, void *ctx)
{
	struct hand *h = ctx;
	struct quota_grant g = {.limited = true, .account = h->ledger.account, .resource = "gpu", .slot = h->slot,
				.resets_at = "2026-11-28T00:00:00.000Z", .seconds = h->most};

	h->session = ledger_session(db, h->ledger.account, h->worker, h->most);
	return quota_attach(db, &g, h->session, &h->ledger.e);
}

static void *one_start(void *ctx)
{
	struct hand *h = ctx;

	h->err = h->slot ? tx_run(h->db, take, h, &h->ledger.e)
			 : ledger_start_of(&h->ledger, h->db, h->worker, "gpu", h->most, NULL, &h->session);
	return NULL;
}

struct outcome {
	int started, capacity, quota;
};

/* slots: false = each asks; true = nobody does, and each takes `slot`, or one of its own (0). */
static struct outcome start_all(int64_t most, bool bypass, int slot)
{
	static struct hand hands[STARTS];
	struct outcome o = {0};

	for (int i = 0; i < STARTS; i++) {
		struct hand *h = &hands[i];

		*h = (struct hand){.ledger = {.account = ledger.account}, .most = most, .slot = bypass ? (slot ? slot : i + 1) : 0};
		arena_init(&h->ledger.arena, 1 << 16);
		h->worker = ledger_worker(&ledger, "gpu");
		h->db = pool_connect(&ledger.pool, "provisioner");
	}
	for (int i = 0; i < STARTS; i++)
		ck_assert(!pthread_create(&hands[i].thread, NULL, one_start, &hands[i]));
	for (int i = 0; i < STARTS; i++) {
		struct hand *h = &hands[i];

		pthread_join(h->thread, NULL);
		ck_assert_msg(h->err == OK || h->err == ERR_QUOTA, "%s", h->ledger.e.msg);
		o.started += h->err == OK;
		o.capacity += h->err && !strcmp(h->ledger.e.reason, "capacity");
		o.quota += h->err && !strcmp(h->ledger.e.reason, "quota");
		db_close(h->db);
		arena_free(&h->ledger.arena);
	}
	ck_assert_int_eq(o.started + o.capacity + o.quota, STARTS);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from session"), o.started);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from reservation"), o.started);
	return o;
}

static void allow(const char *sessions)
{
	pool_sql(&ledger.pool, "update provider_limit set concurrent = %s where resource = 'gpu'; select quota_week(%lld, 'gpu', quota_clock())",
		 sessions, (long long)ledger.account);
}

START_TEST(test_no_more_sessions_than_places)
{
	struct outcome o = start_all(HOUR, false, 0);

	ck_assert_int_eq(o.started, 2);
	ck_assert_int_eq(o.capacity, STARTS - 2);
	ck_assert_int_eq(figure("reserved_seconds"), 2 * HOUR);
	ck_assert_str_eq(ledger_broken(&ledger), "");
}
END_TEST

START_TEST(test_no_more_hours_than_there_are)
{
	struct outcome o;

	allow("null");
	o = start_all(HOUR, false, 0);
	ck_assert_int_eq(o.started, 30); /* 29 whole hours and three quarters */
	ck_assert_int_eq(o.quota, 2);
	ck_assert_int_eq(figure("reserved_seconds"), LIMIT - MARGIN);
	ck_assert_str_eq(ledger_broken(&ledger), "");
}
END_TEST

START_TEST(test_database_refuses_hours_to_those_who_do_not_ask)
{
	struct outcome o;

	allow("null");
	o = start_all(HOUR, true, 0);
	ck_assert_int_eq(o.started, 29);
	ck_assert_int_eq(o.quota, 3);
	ck_assert_str_eq(ledger_broken(&ledger), "");
}
END_TEST

/* It is this constraint, and nothing else, that refused above. */
START_TEST(test_without_the_constraint_it_would_be_passed)
{
	allow("null");
	pool_sql(&ledger.pool, "alter table quota drop constraint quota_kept");
	ck_assert_int_eq(start_all(HOUR, true, 0).started, STARTS);
	ck_assert_int_eq(figure("reserved_seconds"), STARTS * HOUR);
	ck_assert_str_eq(ledger_broken(&ledger), "limit kept");
}
END_TEST

START_TEST(test_database_refuses_a_taken_place)
{
	struct outcome o;

	allow("2");
	o = start_all(900, true, 1);
	ck_assert_int_eq(o.started, 1);
	ck_assert_int_eq(o.capacity, STARTS - 1);
	pool_sql(&ledger.pool, "delete from reservation; delete from session; update quota set reserved_seconds = 0; drop index reservation_slot");
	ck_assert_int_eq(start_all(900, true, 1).started, STARTS);
	ck_assert_str_eq(ledger_broken(&ledger), "one session a slot");
}
END_TEST

static const char *const impossible[] = {
	"update quota set reserved_seconds = limit_seconds",
	"update quota set reserved_seconds = 1, used_seconds = limit_seconds",
	"update quota set reserved_seconds = 1, margin_seconds = limit_seconds",
	"update quota set reserved_seconds = -1",
	"update quota set used_seconds = -1",
	"update quota set limit_seconds = -1",
	"insert into reservation(session_id, account_id, resource, slot, resets_at, granted_seconds) select 1, account_id, resource, 0, resets_at, 1 from quota",
	"insert into reservation(session_id, account_id, resource, slot, resets_at, granted_seconds) select 1, account_id, resource, 1, resets_at, -1 from quota",
	"insert into reservation(session_id, account_id, resource, slot, resets_at) select 1, account_id, resource, 1, resets_at from quota",
	"insert into reservation(session_id, account_id, resource, slot, resets_at, granted_seconds, counted_seconds) values (1, 1, 'gpu', 1, now(), 1, 2)",
};

START_TEST(test_impossible_rows)
{
	allow("2");
	ck_assert_int_ne(db_exec_text(ledger.pool.owner, impossible[_i], NULL, &ledger.e), OK);
	ck_assert_str_eq(ledger.e.field, "23514");
}
END_TEST

/* ---- a hand that dies ----------------------------------------------------- */

/* The statements of a start, in their order; the last one commits. */
static void statement(struct db *db, int step, int64_t worker, struct quota_grant *g, int64_t *session)
{
	struct quota_ask ask = {.account = ledger.account, .accelerator = "gpu"};
	int count;

	switch (step) {
	case 0: pg_sql(db, "begin", NULL); break;
	case 1: ck_assert_int_eq(quota_settle(db, ledger.account, &count, &ledger.e), OK); break;
	case 2: ck_assert_int_eq(quota_reserve(db, &ledger.arena, &ask, g, &ledger.e), OK); break;
	case 3: *session = ledger_session(db, ledger.account, worker, g->seconds); break;
	case 4: ck_assert_int_eq(quota_attach(db, g, *session, &ledger.e), OK); break;
	case 5: pg_sql(db, "update session set launched_at = now()", NULL); break;
	case 6: pg_sql(db, "commit", NULL); break;
	default: ck_abort();
	}
}

/* Odd: the process goes; even: its server process is ended under it. */
START_TEST(test_death_between_any_two_statements)
{
	int64_t old = ledger_started(&ledger, "gpu", HOUR), session = 0, worker = ledger_worker(&ledger, "gpu");
	struct db *super = pg_db(pg, "postgres", "postgres"), *dying = pool_connect(&ledger.pool, "provisioner");
	int64_t backend = pg_int(dying, "select pg_backend_pid()");
	struct quota_grant g;
	char sql[96];
	bool whole = _i / 2 == 7;

	ledger_runs(&ledger, old, 0);
	ledger_ends(&ledger, old, 600);
	ledger_at(&ledger, 700);
	for (int step = 0; step < _i / 2; step++)
		statement(dying, step, worker, &g, &session);
	if (_i % 2) {
		snprintf(sql, sizeof(sql), "select pg_terminate_backend(%lld, 5000)", (long long)backend);
		pg_sql(super, sql, NULL);
	}
	db_close(dying);
	/* The next one finds all of it done or nothing, and need not wait. */
	ck_assert_int_eq(ledger_start(&ledger, ledger.pool.role, "gpu", 0, &g, &session), OK);
	ck_assert_int_eq(g.slot, whole ? 2 : 1);
	ck_assert_int_eq(g.seconds, SESSION);
	ck_assert_int_eq(figure("used_seconds"), 600);
	ck_assert_int_eq(figure("reserved_seconds"), (whole ? 2 : 1) * SESSION);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from session where state <> 'ended'"), whole ? 2 : 1);
	ck_assert_str_eq(ledger_broken(&ledger), "");
	db_close(super);
}
END_TEST

struct dying {
	struct db *super;
	int64_t backend;
	int told;
};

static enum err tell_and_die(struct db *db, void *ctx)
{
	struct dying *d = ctx;
	struct quota_told t[] = {{"gpu", HOUR, 0, LIMIT, -1}, {"tpu", HOUR, 0, LIMIT, -1}};
	char sql[96];
	int cut;
	enum err err = quota_tell(db, ledger.account, t, 1, &cut, &ledger.e);

	d->told += err == OK;
	snprintf(sql, sizeof(sql), "select pg_terminate_backend(%lld, 5000)", (long long)d->backend);
	pg_sql(d->super, sql, NULL);
	return err ? err : quota_tell(db, ledger.account, t + 1, 1, &cut, &ledger.e);
}

/* Figures of two resources are taken over together or not at all. */
START_TEST(test_death_between_two_figures)
{
	struct db *dying = pool_connect(&ledger.pool, "provisioner");
	struct dying d = {.super = pg_db(pg, "postgres", "postgres"), .backend = pg_int(dying, "select pg_backend_pid()")};

	ledger_started(&ledger, "gpu", HOUR);
	ck_assert_int_ne(tx_run(dying, tell_and_die, &d, &ledger.e), OK);
	ck_assert_int_eq(d.told, 1);
	db_close(dying);
	db_close(d.super);
	ledger_settle(&ledger);
	ck_assert_int_eq(figure("used_seconds"), 0);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from quota where told_at is not null"), 0);
}
END_TEST

/* ---- locks in one order ------------------------------------------------------ */

struct registration {
	struct db *db;
	char text[1024];
	enum err err;
};

static void *register_both(void *ctx)
{
	struct registration *r = ctx;

	r->err = db_run(r->db, STMT_AGENT_REGISTER, ARGS(arg_cstr(r->text)), NULL, NULL);
	return NULL;
}

static void agent_of(struct registration *r, int64_t session, int i)
{
	size_t n = strlen(r->text);
	char hash[65];

	memset(hash, '0' + i, 64);
	hash[64] = '\0';
	pool_sql(&ledger.pool, "update session set enrol_hash = decode('%s', 'hex'), enrol_until = now() + interval '1 hour' where id = %lld", hash, (long long)session);
	snprintf(r->text + n, sizeof(r->text) - n, "%c{\"i\":%d,\"hash\":\"%s\",\"token\":\"%.63s0\",\"instance\":\"a\",\"protocol\":1,\"got\":[\"T4\"],"
		 "\"memory\":1,\"slots\":1}", n ? ',' : '[', i, hash, hash);
}

/* Two agents that register in one batch, the later session's first, while the ledger cuts both: it takes sessions in
 * the order of their ids, and so do they.  Were it otherwise, each would hold what the other waits for. */
START_TEST(test_sessions_are_locked_in_order)
{
	int64_t one = ledger_started(&ledger, "gpu", HOUR), two = ledger_started(&ledger, "gpu", HOUR);
	struct db *cuts = pool_connect(&ledger.pool, "owner");
	struct registration r = {.db = pool_connect(&ledger.pool, "events")};
	char sql[160];
	pthread_t thread;

	agent_of(&r, two, 2);
	agent_of(&r, one, 1);
	snprintf(r.text + strlen(r.text), sizeof(r.text) - strlen(r.text), "]");
	/* The ledger has come to the first. */
	snprintf(sql, sizeof(sql), "set search_path = gpupool; begin; select from session where id = %lld for update", (long long)one);
	pg_sql(cuts, sql, NULL);
	ck_assert(!pthread_create(&thread, NULL, register_both, &r));
	for (int i = 0; i < 1000 && !pool_int(&ledger.pool, "select count(*) from pg_locks where not granted"); i++)
		pool_sql(&ledger.pool, "select pg_sleep(0.02)");
	/* And goes on to the second: nobody who waits for the first has it. */
	snprintf(sql, sizeof(sql), "select count(*) from (select from session where id = %lld for update skip locked) x", (long long)two);
	ck_assert_int_eq(pg_int(cuts, sql), 1);
	pg_sql(cuts, "commit", NULL);
	pthread_join(thread, NULL);
	ck_assert_int_eq(r.err, OK);
	ck_assert_int_eq(pool_int(&ledger.pool, "select count(*) from session where registered_at is not null"), 2);
	db_close(cuts);
	db_close(r.db);
}
END_TEST

/* ---- everything at once --------------------------------------------------- */

enum { HANDS = 6, TURNS = 60 };

static void end_one(struct hand *h, unsigned *seed)
{
	struct session_ending end[2] = {{0}};
	struct session_ended ended;
	cleanup_rows struct rows rows = {0};
	int n;

	pg_sql(h->db, "select id from session where state <> 'ended' order by random() limit 2", &rows);
	n = rows_count(&rows) ? 1 + (int)(rand_r(seed) % (unsigned)rows_count(&rows)) : 0;
	for (int i = 0; i < n; i++)
		end[i] = (struct session_ending){.id = row_i64(&rows, i, "id"), .code = "stopped", .reason = "It ended.", .silent = -1};
	h->err = session_end(h->db, end, n, &ended, &h->ledger.e);
}

static void one_turn(struct hand *h, int64_t worker, unsigned *seed)
{
	struct quota_told t = {"gpu", rand_r(seed) % 2000, rand_r(seed) % 2000, 5 * HOUR - rand_r(seed) % HOUR, -1};
	int n;

	switch (rand_r(seed) % 4) {
	case 0: h->err = ledger_start_of(&h->ledger, h->db, worker, "gpu", 900 + rand_r(seed) % HOUR, NULL, &h->session); break;
	case 1: end_one(h, seed); break;
	case 2: h->err = quota_settle_due(h->db, 10, &n, &h->ledger.e); break;
	default: h->err = quota_tell(h->db, h->ledger.account, &t, 1, &n, &h->ledger.e);
	}
}

static void *many_turns(void *ctx)
{
	struct hand *h = ctx;
	unsigned seed = (unsigned)h->worker;

	for (int i = 0; i < TURNS; i++) {
		one_turn(h, h->worker + i, &seed);
		if (h->err && h->err != ERR_QUOTA)
			return NULL;
		h->err = OK;
	}
	return NULL;
}

START_TEST(test_everything_at_once)
{
	static struct hand hands[HANDS];

	pool_sql(&ledger.pool, "update provider_limit set concurrent = 4 where resource = 'gpu';"
			       "create or replace function quota_clock() returns timestamptz language sql volatile as 'select clock_timestamp()'");
	for (int i = 0; i < HANDS; i++) {
		hands[i] = (struct hand){.ledger = {.account = ledger.account}, .worker = ledger_worker(&ledger, "gpu"),
					 .db = pool_connect(&ledger.pool, "provisioner")};
		for (int more = 1; more < TURNS; more++)
			ledger_worker(&ledger, "gpu");
		arena_init(&hands[i].ledger.arena, 1 << 20);
	}
	for (int i = 0; i < HANDS; i++)
		ck_assert(!pthread_create(&hands[i].thread, NULL, many_turns, &hands[i]));
	for (int i = 0; i < HANDS; i++) {
		pthread_join(hands[i].thread, NULL);
		ck_assert_msg(hands[i].err == OK, "%s", hands[i].ledger.e.msg);
		db_close(hands[i].db);
		arena_free(&hands[i].ledger.arena);
	}
	ck_assert_str_eq(ledger_broken(&ledger), "");
	ck_assert_int_gt(pool_int(&ledger.pool, "select count(*) from reservation where settled_at is not null"), 5);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("quota races");
	TCase *t = tcase_create("races");

	pg = pg_start();
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_test(t, test_no_more_sessions_than_places);
	tcase_add_test(t, test_no_more_hours_than_there_are);
	tcase_add_test(t, test_database_refuses_hours_to_those_who_do_not_ask);
	tcase_add_test(t, test_without_the_constraint_it_would_be_passed);
	tcase_add_test(t, test_database_refuses_a_taken_place);
	tcase_add_loop_test(t, test_impossible_rows, 0, sizeof(impossible) / sizeof(*impossible));
	tcase_add_loop_test(t, test_death_between_any_two_statements, 0, 16);
	tcase_add_test(t, test_death_between_two_figures);
	tcase_add_test(t, test_sessions_are_locked_in_order);
	tcase_add_test(t, test_everything_at_once);
	suite_add_tcase(s, t);
	return unit_run(s);
}
