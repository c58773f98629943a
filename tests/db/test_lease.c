/*
 * Claims, renewals and results against a real database: their plans beside a
 * million jobs that nobody here can run, and their promises under many
 * connections that claim, report, forget, cancel and reap at once.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/json.h"
#include "unit.h"
#include "world.h"

static struct pg *pg;
static struct world *w;
static struct principal ann;
static int64_t account;

struct session {
	char hex[2 * CRYPTO_HASH + 1];
	uint8_t hash[CRYPTO_HASH];
	int64_t worker, id;
};

static void open_world(void)
{
	char name[32];

	snprintf(name, sizeof(name), "lease_%d", (int)getpid());
	w = world_open(pg, name);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	account = world_account(w, ann.user_id, "local", "none", 0);
}

static void new_session(struct session *s)
{
	char token[CRYPTO_TOKEN_TEXT];

	s->worker = world_worker(w, account, "healthy", "{gpu,T4}", 256);
	s->id = world_int(w, "select session_id from worker where id = %lld", (long long)s->worker);
	crypto_token("gps", token);
	crypto_hash(str_of(token), s->hash);
	crypto_hex(s->hash, CRYPTO_HASH, s->hex);
	world_sql(w, "update session set token_hash = '\\x%s', protocol = 1 where id = %lld", s->hex, (long long)s->id);
}

static int64_t new_lane(int priority)
{
	return world_int(w, "insert into lane(type, accelerator, gpus, owner_id, priority) values (0, '', 1, %lld, %d) returning id",
			 (long long)ann.user_id, priority);
}

static void add_jobs(int64_t lane, int n, const char *retry_on)
{
	world_sql(w, "with j as (insert into job(owner_id, lane, payload, retry_on) select %lld, %lld, '{}', '%s' from generate_series(1, %d) "
		     "returning id, owner_id, lane, max_attempts), "
		     "q as (insert into job_ready(lane, id, owner_id, max_attempts) select lane, id, owner_id, max_attempts from j) "
		     "insert into lane_delta(lane, n) select lane, count(*) from j group by lane",
		  (long long)ann.user_id, (long long)lane, retry_on, n);
}

/* ---- one call of a statement ---- */

static void claim(struct db *db, const struct session *s, int64_t lane, int n, int seconds, struct rows *rows)
{
	struct error e = {0};
	char lanes[32], counts[32], secs[32];
	char hash[2 * CRYPTO_HASH + 16];

	snprintf(lanes, sizeof(lanes), "{%lld}", (long long)lane);
	snprintf(counts, sizeof(counts), "{%d}", n);
	snprintf(secs, sizeof(secs), "{%d}", seconds);
	snprintf(hash, sizeof(hash), "{\"\\\\x%s\"}", s->hex);
	ck_assert_msg(db_run(db, STMT_LEASE_CLAIM, ARGS(arg_cstr(lanes), arg_cstr(hash), arg_cstr(counts), arg_cstr("{0}"), arg_cstr(secs),
							arg_cstr("{1}"), arg_cstr("[]")), rows, &e) == OK, "%s", e.msg);
}

/* Reports all rows of a claim in one of the states; how many were accepted. */
static int report(struct db *db, const struct session *s, const struct rows *jobs, int state)
{
	cleanup_buf struct buf agents = BUF_INIT(1 << 10), items = BUF_INIT(1 << 20);
	cleanup_rows struct rows rows = {0};
	struct error e = {0};
	int accepted = 0;

	buf_addf(&agents, "[{\"i\":0,\"hash\":\"%s\",\"worker\":%lld}]", s->hex, (long long)s->worker);
	buf_adds(&items, "[");
	for (int i = 0; i < rows_count(jobs); i++)
		buf_addf(&items, "%s{\"i\":0,\"n\":%d,\"id\":%s,\"lease\":\"%s\",\"state\":%d,\"result\":{\"by\":\"%s\"}}", i ? "," : "", i,
			 row_cstr(jobs, i, "id"), row_cstr(jobs, i, "lease"), state, row_cstr(jobs, i, "lease"));
	buf_adds(&items, "]");
	ck_assert_msg(db_run(db, STMT_RESULT_TAKE, ARGS(arg_buf(&agents), arg_buf(&items), arg_double(0.01)), &rows, &e) == OK, "%s", e.msg);
	for (int i = 0; i < rows_count(&rows); i++)
		if (*row_cstr(&rows, i, "kind") == 'r')
			accepted += !strcmp(row_cstr(&rows, i, "verdict"), "accepted");
	return accepted;
}

/* ---- who may use the account, when it counts ---- */

static int claimed(struct db *db, const struct session *s, int64_t lane)
{
	cleanup_rows struct rows rows = {0};

	claim(db, s, lane, 1, 60, &rows);
	return rows_count(&rows);
}

/* A claim that was parked while the account was shared gets nothing of others once it is not. */
START_TEST(test_claim_asks_who_may_use_the_account)
{
	struct principal bob;
	struct session s;
	int64_t hers, his;

	open_world();
	bob = world_user(w, "bob", ROLE_OPERATOR);
	hers = new_lane(5);
	new_session(&s);
	his = world_int(w, "insert into lane(type, accelerator, gpus, owner_id, priority) values (0, '', 1, %lld, 5) returning id",
			(long long)bob.user_id);
	add_jobs(hers, 5, "{}");
	world_sql(w, "with j as (insert into job(owner_id, lane, payload) select %lld, %lld, '{}' from generate_series(1, 5) returning *) "
		     "insert into job_ready(lane, id, owner_id, max_attempts) select lane, id, owner_id, 3 from j",
		  (long long)bob.user_id, (long long)his);
	world_sql(w, "update account set sharing = 'all'");
	ck_assert_int_eq(claimed(w->events, &s, his), 1);
	world_sql(w, "update account set sharing = 'none'");
	ck_assert_int_eq(claimed(w->events, &s, his), 0);
	ck_assert_int_eq(claimed(w->events, &s, hers), 1);
	world_sql(w, "update account set sharing = 'named', shared_with = '{%lld}'", (long long)bob.user_id);
	ck_assert_int_eq(claimed(w->events, &s, his), 1);
	world_sql(w, "update provider_policy set sharing_allowed = false");
	ck_assert_int_eq(claimed(w->events, &s, his), 0);
	ck_assert_int_eq(claimed(w->events, &s, hers), 1);
	world_close(w);
}
END_TEST

/* ---- plans ---- */

static const char *const hot[] = {"job", "job_ready", "job_lease", "job_done", "job_attempt", "job_log", "artifact", "session", "event", "api_token"};

static bool is_hot(const char *table)
{
	for (size_t i = 0; i < ARRAY_LEN(hot); i++) {
		size_t n = strlen(hot[i]);

		/* a partition is job_20261124 */
		if (!strncmp(table, hot[i], n) && (!table[n] || (table[n] == '_' && table[n + 1] >= '0' && table[n + 1] <= '9')))
			return true;
	}
	return false;
}

struct plan {
	const char *statement;
	bool analyzed;
	int64_t ready_rows; /* rows of job_ready that were read */
};

static void check_node(struct plan *p, const struct json *node)
{
	const char *type = json_cstr(node, "Node Type"), *table = json_cstr(node, "Relation Name"), *index = json_cstr(node, "Index Name");
	bool by_id = index && strstr(index, "owner_id_") && json_cstr(node, "Index Cond") && !strstr(json_cstr(node, "Index Cond"), "owner_id");
	const struct json *children = json_get(node, "Plans");

	if (table && !strcmp(type, "Seq Scan"))
		ck_assert_msg(!is_hot(table), "%s: %s of %s", p->statement, type, table);
	/* An index that begins with the owner, asked for an id only, is read whole. */
	ck_assert_msg(!by_id, "%s: %s on %s", p->statement, index, json_cstr(node, "Index Cond"));
	if (table && !strcmp(table, "job_ready") && strcmp(type, "ModifyTable"))
		p->ready_rows += (int64_t)(json_double(node, "Actual Rows", 0) * json_double(node, "Actual Loops", 0)) +
				 json_i64(node, "Rows Removed by Filter", 0) + json_i64(node, "Rows Removed by Index Recheck", 0);
	for (size_t i = 0; i < json_len(children); i++)
		check_node(p, json_at(children, i));
}

/* Explains EXECUTE of a statement with literals, as the events role's connections plan it. */
static int64_t explain(struct db *db, enum stmt s, const char *literals, bool analyze)
{
	struct plan p = {.statement = stmt_table[s].name, .analyzed = analyze};
	cleanup_rows struct rows rows = {0};
	cleanup_json struct json *j = NULL;
	struct error e = {0};

	pg_sql(db, world_text(w, "prepare p_%s as %s", stmt_table[s].name, stmt_table[s].sql), NULL);
	pg_sql(db, world_text(w, "explain (%s format json) execute p_%s%s", analyze ? "analyze, buffers, " : "", stmt_table[s].name, literals),
	       &rows);
	ck_assert_msg(json_parse(row_str(&rows, 0, rows_column_name(&rows, 0)), SIZE_MAX, &j, &e) == OK, "%s", e.msg);
	check_node(&p, json_get(json_at(j, 0), "Plan"));
	return p.ready_rows;
}

#define NO_UUID "{00000000-0000-4000-8000-000000000000}"

/* Generic plans made while every table was seen empty are kept when they fill. */
static const struct {
	enum stmt stmt;
	const char *literals;
} planned[] = {
	{STMT_CLAIM_ENTER, "('[]')"},
	{STMT_CLAIM_AGAIN, "('{1}', '{1}')"},
	{STMT_CLAIM_WATCH, "('{1}', '{1}', 1)"},
	{STMT_LEASE_CLAIM, "('{1}', '{\"\\\\x00\"}', '{1}', '{0}', '{60}', '{1}', '[]')"},
	{STMT_LEASE_RENEW, "('[]', '[]', '{}')"},
	{STMT_RESULT_TAKE, "('[]', '[]', 1)"},
	{STMT_AGENT_REGISTER, "('[]')"},
	{STMT_LOG_APPEND, "('{\"\\\\x00\"}', '{1}', '" NO_UUID "', '{0}', '{\"\\\\x00\"}', 100)"},
	{STMT_LOG_READ, "('{1}', '{1}', '{0}', '{0}', '{0}')"},
	{STMT_ARTIFACT_BEGIN, "('{\"\\\\x00\"}', '{1}', '" NO_UUID "', '{a}', '{1}', '{\"\\\\x00\"}', 100)"},
	{STMT_ARTIFACT_COMMIT, "('{\"\\\\x00\"}', '{1}', '" NO_UUID "', '{a}', '{1}', '{\"\\\\x00\"}', '{a}', 100)"},
	{STMT_CHECKPOINT_FIND, "('{\"\\\\x00\"}', '{1}', '" NO_UUID "')"},
	{STMT_ARTIFACT_FIND, "('{1}', '{1}', '{a}')"},
	{STMT_EVENT_READ, "('10', 1)"},
	{STMT_PEOPLE_RESOLVE, "('[]')"},
	{STMT_GOODBYE_FIND, "('[]')"},
	{STMT_LANE_FOLD, ""},
	{STMT_LANE_LOOK, "(4096, 600, 10)"},
};

START_TEST(test_plans_of_empty_tables)
{
	open_world();
	pg_sql(w->super, "vacuum analyze", NULL);
	explain(w->events, planned[_i].stmt, planned[_i].literals, false);
	world_close(w);
}
END_TEST

/* 1 M jobs wait that nobody here can run, in 20 lanes; 100 are claimed from another. */
START_TEST(test_claim_beside_a_million)
{
	struct session s;
	int64_t lane, rows;

	open_world();
	new_session(&s);
	for (int i = 0; i < 20; i++)
		world_sql(w, "insert into lane(type, accelerator, gpus, owner_id, priority, ready) values (0, 'X%d', 1, %lld, 5, 50000)", i,
			  (long long)ann.user_id);
	world_sql(w, "insert into job_ready(lane, id, owner_id, max_attempts) select l.id, day_id(current_date) + l.id * 100000 + k, %lld, 3 "
		     "from lane l, generate_series(1, 50000) k", (long long)ann.user_id);
	lane = new_lane(1);
	add_jobs(lane, 5000, "{}");
	pg_sql(w->super, "vacuum analyze", NULL);
	rows = explain(w->events, STMT_LEASE_CLAIM,
		       world_text(w, "('{%lld}', '{\"\\\\x%s\"}', '{100}', '{0}', '{60}', '{1}', '[]')", (long long)lane, s.hex), true);
	ck_assert_int_eq(world_int(w, "select count(*) from job_lease where lane = %lld", (long long)lane), 100);
	ck_assert_int_ge(rows, 100);
	/* found by the index once, deleted by their place once */
	ck_assert_int_le(rows, 200);
	/* What was there when a statement was planned for empty tables. */
	explain(w->events, STMT_LANE_LOOK, "(4096, 600, 10)", true);
	ck_assert_int_eq(world_int(w, "select count(*) from job_ready"), 1000000 + 4900);
	world_close(w);
}
END_TEST

/* ---- what single statements promise ---- */

static void look(int most, struct rows *rows)
{
	struct error e = {0};

	ck_assert_msg(db_run(w->events, STMT_LANE_LOOK, ARGS(arg_i64(most), arg_i64(600), arg_i64(10)), rows, &e) == OK, "%s", e.msg);
}

/* Folded, the share of a lane's owner that the look shows. */
static int64_t used(int64_t lane)
{
	cleanup_rows struct rows rows = {0};

	look(4096, &rows);
	for (int i = 0; i < rows_count(&rows); i++)
		if (row_i64(&rows, i, "id") == lane)
			return (int64_t)(row_double(&rows, i, "used") + 0.5);
	ck_abort_msg("lane %lld is not there", (long long)lane);
}

static int64_t waited(int64_t lane)
{
	cleanup_rows struct rows rows = {0};

	look(4096, &rows);
	for (int i = 0; i < rows_count(&rows); i++)
		if (row_i64(&rows, i, "id") == lane)
			return (int64_t)row_double(&rows, i, "waited");
	return -1;
}

/* Not from the submission: a job that was to run later, or that is tried again, begins to wait when it could run. */
START_TEST(test_waiting_counts_from_when_it_could_run)
{
	cleanup_rows struct rows jobs = {0};
	struct session s;
	int64_t lane;

	open_world();
	new_session(&s);
	lane = new_lane(5);
	world_sql(w, "with j as (insert into job(id, owner_id, lane, payload) values (day_id(current_date), %lld, %lld, '{}') returning id) "
		     "insert into job_ready(lane, id, owner_id, max_attempts) select %lld, id, %lld, 3 from j; insert into lane_delta values (%lld, 1)",
		  (long long)ann.user_id, (long long)lane, (long long)lane, (long long)ann.user_id, (long long)lane);
	ck_assert_int_le(waited(lane), 60);
	world_sql(w, "update job_ready set ready_since = now() - interval '20 minutes'");
	ck_assert_int_ge(waited(lane), 1200);
	/* Given and given back: it waits anew; but who stands behind it goes on waiting. */
	claim(w->events, &s, lane, 1, 60, &jobs);
	ck_assert_int_eq(report(w->events, &s, &jobs, 6), 1);
	ck_assert_int_le(waited(lane), 60);
	add_jobs(lane, 1, "{}");
	world_sql(w, "update job_ready set ready_since = now() - interval '20 minutes' where id = (select max(id) from job_ready)");
	ck_assert_int_ge(waited(lane), 1200);
	world_close(w);
}
END_TEST

/* More lanes than are looked at: of each owner those that come first, and no owner is left out. */
START_TEST(test_look_is_bounded_in_order)
{
	cleanup_rows struct rows rows = {0};
	int64_t lanes[10], bobs;
	struct principal bob;
	bool first = false, aged = false, his = false;

	open_world();
	bob = world_user(w, "bob", ROLE_OPERATOR);
	for (int i = 0; i < 10; i++) {
		lanes[i] = new_lane(i);
		add_jobs(lanes[i], 1, "{}");
	}
	world_sql(w, "update job_ready set ready_since = now() - interval '2 hours' where lane = %lld", (long long)lanes[0]);
	bobs = world_int(w, "insert into lane(type, accelerator, gpus, owner_id, priority) values (0, '', 1, %lld, 0) returning id", (long long)bob.user_id);
	add_jobs(bobs, 1, "{}");
	look(3, &rows);
	ck_assert_int_eq(rows_count(&rows), 3);
	for (int i = 0; i < 3; i++) {
		first |= row_i64(&rows, i, "id") == lanes[9];
		aged |= row_i64(&rows, i, "id") == lanes[0];
		his |= row_i64(&rows, i, "id") == bobs;
	}
	ck_assert(first && aged && his);
	world_close(w);
}
END_TEST

static void fold(void)
{
	struct error e = {0};

	ck_assert_msg(db_run(w->events, STMT_LANE_FOLD, NO_ARGS, NULL, &e) == OK, "%s", e.msg);
}

/* What runs counts as long as it is taken to run, then what it ran, then half of that an hour later. */
START_TEST(test_use_is_counted)
{
	struct session s;
	cleanup_rows struct rows jobs = {0};
	int64_t lane;

	open_world();
	new_session(&s);
	lane = new_lane(1);
	add_jobs(lane, 5, "{}");
	ck_assert_int_eq(used(lane), 0);
	claim(w->events, &s, lane, 3, 60, &jobs);
	ck_assert_int_eq(used(lane), 3 * 60);
	world_sql(w, "update job_lease set started = now() - interval '100 seconds'");
	ck_assert_int_eq(used(lane), 3 * 100);
	ck_assert_int_eq(report(w->events, &s, &jobs, 2), 3);
	ck_assert_int_eq(used(lane), 3 * 100);
	fold();
	ck_assert_int_eq(world_int(w, "select count(*) from usage_delta"), 0);
	ck_assert_int_eq(used(lane), 3 * 100);
	world_sql(w, "update owner_usage set at = at - interval '1 hour'");
	ck_assert_int_eq(used(lane), 150);
	/* A lease that is lost was used, too. */
	add_jobs(lane, 1, "{}");
	claim(w->events, &s, lane, 1, 60, &jobs);
	world_sql(w, "update job_lease set started = now() - interval '50 seconds'; delete from job_lease");
	fold();
	ck_assert_int_eq(used(lane), 200);
	world_close(w);
}
END_TEST

/* Runs of a kind are kept by what they ran on, the last 32; a job without a name is of no kind, a failure says nothing. */
START_TEST(test_runs_are_learnt)
{
	struct session s;
	cleanup_rows struct rows jobs = {0}, failed = {0}, nameless = {0};
	int64_t lane;

	open_world();
	new_session(&s);
	lane = new_lane(1);
	add_jobs(lane, 43, "{}");
	world_sql(w, "update job set name = 'train'");
	claim(w->events, &s, lane, 40, 60, &jobs);
	claim(w->events, &s, lane, 3, 60, &failed);
	world_sql(w, "update job_lease l set started = now() - interval '100 seconds' - k * interval '1 second' from (select id, row_number() over (order by id) k from job_lease) x where x.id = l.id");
	ck_assert_int_eq(report(w->events, &s, &failed, 3), 3);
	ck_assert_int_eq(report(w->events, &s, &jobs, 2), 40);
	add_jobs(lane, 1, "{}");
	claim(w->events, &s, lane, 1, 60, &nameless);
	ck_assert_int_eq(report(w->events, &s, &nameless, 2), 1);
	fold();
	ck_assert_int_eq(world_int(w, "select count(*) from run_time"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from run_time where name = 'train' and type = 0 and model = 'gpu,T4' and owner_id = %lld "
				      "and cardinality(seconds) = 32 and seconds[1] = 109 and seconds[32] = 140", (long long)ann.user_id), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from run_delta"), 0);
	world_close(w);
}
END_TEST

START_TEST(test_claim_is_bounded)
{
	struct session s, other;
	cleanup_rows struct rows one = {0}, two = {0}, dead = {0};
	int64_t lane;

	open_world();
	new_session(&s);
	new_session(&other);
	lane = new_lane(1);
	add_jobs(lane, 5, "{}");
	claim(w->events, &s, lane, 3, 60, &one);
	claim(w->events, &other, lane, 3, 60, &two);
	ck_assert_int_eq(rows_count(&one), 3);
	ck_assert_int_eq(rows_count(&two), 2);
	/* in the order of submission */
	ck_assert_int_eq(world_int(w, "select count(*) from job_lease a, job_lease b where a.session_id = %lld and b.session_id = %lld and a.id > b.id",
				   (long long)s.id, (long long)other.id), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from decision where kind = 'placement'"), 2);
	/* Another session's lease is nobody's. */
	ck_assert_int_eq(report(w->events, &other, &one, 2), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from job_lease"), 5);
	add_jobs(lane, 1, "{}");
	world_sql(w, "update session set state = 'draining' where id = %lld", (long long)s.id);
	claim(w->events, &s, lane, 3, 60, &dead);
	ck_assert_int_eq(rows_count(&dead), 0);
	world_sql(w, "update session set state = 'running', deadline = now() - interval '1 second' where id = %lld", (long long)s.id);
	claim(w->events, &s, lane, 3, 60, &dead);
	ck_assert_int_eq(rows_count(&dead), 0);
	world_close(w);
}
END_TEST

/* A session that is being ended is locked: a claim passes it by instead of waiting. */
START_TEST(test_claim_does_not_wait_for_an_end)
{
	struct session s;
	cleanup_rows struct rows rows = {0};
	int64_t lane, start;

	open_world();
	new_session(&s);
	lane = new_lane(1);
	add_jobs(lane, 1, "{}");
	pg_sql(w->super, "begin", NULL);
	world_sql(w, "update session set state = 'ended' where id = %lld", (long long)s.id);
	start = clock_ms();
	claim(w->events, &s, lane, 1, 60, &rows);
	ck_assert_int_eq(rows_count(&rows), 0);
	ck_assert_int_le(clock_ms() - start, 5000);
	pg_sql(w->super, "rollback", NULL);
	claim(w->events, &s, lane, 1, 60, &rows);
	ck_assert_int_eq(rows_count(&rows), 1);
	world_close(w);
}
END_TEST

/* A lease that is being completed this instant is not renewed, and nobody waits for it. */
START_TEST(test_renewal_does_not_wait)
{
	struct session s;
	cleanup_rows struct rows jobs = {0}, rows = {0};
	struct error e;
	int renewed = 0;
	int64_t lane, start;

	open_world();
	new_session(&s);
	lane = new_lane(1);
	add_jobs(lane, 2, "{}");
	claim(w->events, &s, lane, 2, 60, &jobs);
	pg_sql(w->super, "begin", NULL);
	world_sql(w, "delete from job_lease where id = %s", row_cstr(&jobs, 0, "id"));
	start = clock_ms();
	ck_assert_int_eq(db_run(w->events, STMT_LEASE_RENEW,
				ARGS(arg_cstr(world_text(w, "[{\"i\":0,\"hash\":\"%s\",\"worker\":%lld,\"busy\":true}]", s.hex, (long long)s.worker)),
				     arg_cstr(world_text(w, "[{\"i\":0,\"id\":%s,\"lease\":\"%s\"},{\"i\":0,\"id\":%s,\"lease\":\"%s\"}]",
							 row_cstr(&jobs, 0, "id"), row_cstr(&jobs, 0, "lease"), row_cstr(&jobs, 1, "id"),
							 row_cstr(&jobs, 1, "lease"))),
				     arg_cstr("{}")), &rows, &e), OK);
	ck_assert_int_le(clock_ms() - start, 5000);
	for (int i = 0; i < rows_count(&rows); i++)
		renewed += *row_cstr(&rows, i, "kind") == 'l';
	ck_assert_int_eq(renewed, 1);
	pg_sql(w->super, "rollback", NULL);
	world_close(w);
}
END_TEST

/* A job that came and went between two heartbeats: its worker was busy. */
START_TEST(test_result_is_use)
{
	struct session s, other;
	cleanup_rows struct rows jobs = {0};
	int64_t lane;

	open_world();
	new_session(&s);
	new_session(&other);
	lane = new_lane(1);
	add_jobs(lane, 1, "{}");
	world_sql(w, "update session_live set busy_at = now() - interval '1 hour'");
	claim(w->events, &s, lane, 1, 60, &jobs);
	ck_assert_int_eq(report(w->events, &other, &jobs, 2), 0); /* not its job */
	ck_assert_int_eq(world_int(w, "select count(*) from session_live where busy_at < now() - interval '59 minutes'"), 2);
	ck_assert_int_eq(report(w->events, &s, &jobs, 2), 1);
	ck_assert_int_eq(world_int(w, "select session_id from session_live where busy_at > now() - interval '1 minute'"), s.id);
	ck_assert_int_eq(world_int(w, "select count(*) from session_live where busy_at < now() - interval '59 minutes'"), 1);
	world_close(w);
}
END_TEST

/* Of the store's files only those without a row are named for removal. */
START_TEST(test_unknown_files)
{
	cleanup_rows struct rows rows = {0};
	struct error e;

	open_world();
	world_sql(w, "insert into artifact(id, name, run, owner_id, size, sha256, path) select next_job_id(), 'a', 1, %lld, 1, "
		     "decode(repeat('00', 32), 'hex'), 'ab/known' || k from generate_series(1, 50) k", (long long)ann.user_id);
	ck_assert_int_eq(db_run(w->events, STMT_ARTIFACT_UNKNOWN, ARGS(arg_cstr("{ab/known7,ab/lost,ab/known50}")), &rows, &e), OK);
	ck_assert_int_eq(rows_count(&rows), 1);
	ck_assert_str_eq(row_cstr(&rows, 0, "path"), "ab/lost");
	world_close(w);
}
END_TEST

/* ---- many at once ---- */

enum { CLAIMERS = 4, JOBS = 3000, LANES = 5 };

struct actor {
	pthread_t thread;
	struct db *db;
	struct session s;
	unsigned seed;
	int claimed, accepted, repeated;
};

static volatile bool ending;
static int64_t lanes[LANES];

static unsigned chance(struct actor *a)
{
	return (unsigned)rand_r(&a->seed) % 100;
}

/* Claims some, and reports, repeats, releases, forgets or reports too late. */
static void *claimer(void *arg)
{
	struct actor *a = arg;

	while (!ending) {
		cleanup_rows struct rows jobs = {0};
		unsigned c;
		int n;

		claim(a->db, &a->s, lanes[chance(a) % LANES], 1 + (int)chance(a) % 20, 1, &jobs);
		n = rows_count(&jobs);
		a->claimed += n;
		c = chance(a);
		if (!n || c < 3)
			continue; /* forgotten: the lease must end by itself */
		if (c < 5)
			usleep(1300000 / 20); /* late for some, within the lease for most */
		a->accepted += report(a->db, &a->s, &jobs, c < 12 ? 6 : c < 20 ? 3 : 2);
		if (chance(a) < 30)
			a->repeated += report(a->db, &a->s, &jobs, 2) == n;
	}
	return NULL;
}

static void *canceller(void *arg)
{
	struct actor *a = arg;

	while (!ending) {
		cleanup_rows struct rows rows = {0};
		struct job_ended ended;
		struct error e = {0};
		int64_t id;

		pg_sql(a->db, "select id from gpupool.job order by random() limit 1", &rows);
		id = row_i64(&rows, 0, "id");
		ck_assert_msg(job_cancel(a->db, &ann, &id, 1, &ended, &e) == OK, "%s", e.msg);
		a->accepted += ended.cancelled;
		usleep(20000);
	}
	return NULL;
}

static void *reaper(void *arg)
{
	struct actor *a = arg;
	struct error e = {0};

	while (!ending) {
		cleanup_rows struct rows rows = {0};

		ck_assert_msg(db_run(a->db, STMT_LEASE_REAP, ARGS(arg_double(0), arg_i64(1000), arg_bool(false)), &rows, &e) == OK, "%s", e.msg);
		a->claimed += rows_count(&rows);
		ck_assert_msg(db_run(a->db, STMT_JOB_PROMOTE, ARGS(arg_i64(1000)), NULL, &e) == OK, "%s", e.msg);
		ck_assert_msg(db_run(a->db, STMT_LANE_FOLD, NO_ARGS, NULL, &e) == OK, "%s", e.msg);
		usleep(50000);
	}
	return NULL;
}

static bool nothing_left(void *ctx)
{
	(void)ctx;
	/* Failed ones wait for their backoff: not here. */
	world_sql(w, "update job_delayed set run_after = now()");
	return !world_int(w, "select count(*) from (select id from job_ready union all select id from job_lease union all select id from job_delayed) x");
}

START_TEST(test_many_at_once)
{
	static struct actor actors[CLAIMERS + 2];
	int64_t claimed = 0, accepted = 0, reaped, cancelled, repeated = 0;

	open_world();
	for (int i = 0; i < LANES; i++) {
		lanes[i] = new_lane(i);
		add_jobs(lanes[i], JOBS / LANES, "{error}");
	}
	for (int i = 0; i < CLAIMERS + 2; i++) {
		struct actor *a = &actors[i];
		const char *role = i < CLAIMERS ? "events" : i == CLAIMERS ? "web" : "postgres";

		*a = (struct actor){.db = pg_db(pg, role, w->name), .seed = 7u + (unsigned)i};
		if (i < CLAIMERS)
			new_session(&a->s);
	}
	for (int i = 0; i < CLAIMERS + 2; i++)
		ck_assert_int_eq(pthread_create(&actors[i].thread, NULL, i < CLAIMERS ? claimer : i == CLAIMERS ? canceller : reaper, &actors[i]), 0);
	ck_assert(wait_for(nothing_left, NULL, 60000));
	ending = true;
	for (int i = 0; i < CLAIMERS + 2; i++) {
		pthread_join(actors[i].thread, NULL);
		db_close(actors[i].db);
	}
	for (int i = 0; i < CLAIMERS; i++) {
		claimed += actors[i].claimed;
		accepted += actors[i].accepted;
		repeated += actors[i].repeated;
	}
	cancelled = actors[CLAIMERS].accepted;
	reaped = actors[CLAIMERS + 1].claimed;
	printf("%d jobs: %lld claimed, %lld reports accepted, %lld reaped, %lld cancelled, %lld repeats\n", JOBS, (long long)claimed,
	       (long long)accepted, (long long)reaped, (long long)cancelled, (long long)repeated);
	ck_assert_int_gt(reaped, 0);
	ck_assert_int_gt(cancelled, 0);
	/* Every job ended once, and each lease had one fate. */
	ck_assert_int_eq(world_int(w, "select count(*) from job"), JOBS);
	ck_assert_int_eq(world_int(w, "select count(*) from job_done"), JOBS);
	ck_assert_int_eq(world_int(w, "select count(*) from (select lease from job_done where lease is not null union all select lease from job_attempt) x"),
			 claimed);
	ck_assert_int_eq(world_int(w, "select count(distinct lease) from (select lease from job_done where lease is not null union all select lease from "
				      "job_attempt) x"), claimed);
	/* A result is the accepted lease's own. */
	ck_assert_int_eq(world_int(w, "select count(*) from job_done where reported and result ->> 'by' is distinct from lease::text and state = 2"), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from job_done where reported"),
			 accepted - world_int(w, "select count(*) from job_attempt where reported"));
	ck_assert_int_eq(world_int(w, "select count(*) from job_done where state = 5"), cancelled);
	/* No attempt beyond what was allowed; releases cost none. */
	ck_assert_int_eq(world_int(w, "select count(*) from job_done where attempt > max_attempts or run < attempt"), 0);
	/* The counters come out even. */
	ck_assert_int_eq(world_int(w, "select coalesce(sum(n), 0) + (select sum(ready) from lane) from lane_delta"), 0);
	world_close(w);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lease");
	TCase *t = tcase_create("plans");

	pg = pg_start();
	crypto_init();
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_plans_of_empty_tables, 0, ARRAY_LEN(planned));
	tcase_add_test(t, test_claim_beside_a_million);
	suite_add_tcase(s, t);
	t = tcase_create("promises");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_claim_asks_who_may_use_the_account);
	tcase_add_test(t, test_waiting_counts_from_when_it_could_run);
	tcase_add_test(t, test_look_is_bounded_in_order);
	tcase_add_test(t, test_use_is_counted);
	tcase_add_test(t, test_runs_are_learnt);
	tcase_add_test(t, test_claim_is_bounded);
	tcase_add_test(t, test_claim_does_not_wait_for_an_end);
	tcase_add_test(t, test_renewal_does_not_wait);
	tcase_add_test(t, test_result_is_use);
	tcase_add_test(t, test_unknown_files);
	tcase_add_test(t, test_many_at_once);
	suite_add_tcase(s, t);
	return unit_run(s);
}
