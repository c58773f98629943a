/* Intent about workers under two connections at once, and the plan of the list that every page asks for. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "domain/worker.h"
#include "world.h"

static struct pg *pg;
static struct world *w;
static struct principal ann, bob, root;

static const struct config config = {.public_url = "http://127.0.0.1:8080", .kaggle_url = "https://api.kaggle.com/v1"};

static void open_world(void)
{
	char name[32];

	snprintf(name, sizeof(name), "worker_%d", (int)getpid());
	w = world_open(pg, name);
	root = world_user(w, "root", ROLE_ADMIN);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
}

static void close_world(void)
{
	world_close(w);
}

/* What a second connection does in a transaction of its own. */
struct work {
	pthread_t thread;
	struct db *db;
	const struct principal *who;
	enum err (*fn)(struct db *, void *);
	const struct worker_change *change;
	struct worker_changed changed;
	int64_t id;
	enum err err;
	struct error e;
};

/* Until the second one waits for the first one's lock. */
static void wait_until_blocked(void)
{
	struct world outside = *w;

	outside.super = pg_db(pg, "postgres", w->name);
	pg_sql(outside.super, "set search_path = gpupool", NULL);
	world_blocked(&outside, 1);
	db_close(outside.super);
}

static enum err create(struct db *db, void *arg)
{
	struct work *k = arg;
	struct worker_new n = {.provider = "local", .accelerator = "cpu", .start = true};

	return worker_create(db, &w->arena, k->who, &n, &config, &k->id, &k->e);
}

static enum err change(struct db *db, void *arg)
{
	struct work *k = arg;

	return worker_change(db, k->who, k->id, k->change, &config, &k->changed, &k->e);
}

static void *run(void *arg)
{
	struct work *k = arg;

	k->err = tx_run(k->db, k->fn, k, &k->e);
	return NULL;
}

static void start(struct work *k)
{
	k->db = pg_db(pg, "web", w->name);
	ck_assert_int_eq(pthread_create(&k->thread, NULL, run, k), 0);
}

static void finish(struct work *k)
{
	pthread_join(k->thread, NULL);
	db_close(k->db);
}

static int64_t make(const struct principal *p, bool started)
{
	struct worker_new n = {.provider = "local", .accelerator = "cpu", .start = started};
	struct error e = {0};
	int64_t id;

	ck_assert_int_eq(worker_create(w->web, &w->arena, p, &n, &config, &id, &e), OK);
	return id;
}

START_TEST(test_two_make_the_first_local_worker)
{
	struct work second = {.who = &bob, .fn = create};

	pg_sql(w->web, "begin", NULL);
	make(&ann, true);
	start(&second);
	wait_until_blocked();
	pg_sql(w->web, "commit", NULL);
	finish(&second);
	ck_assert_int_eq(second.err, OK);
	ck_assert_int_eq(world_int(w, "select count(*) from account where provider = 'local'"), 1);
	ck_assert_int_eq(world_int(w, "select count(distinct account_id) from worker"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from worker"), 2);
}
END_TEST

/* The change that holds its row first, then the other. */
static void change_twice(int64_t id, const struct worker_change *one, const struct worker_change *two, struct work *second)
{
	struct worker_changed changed;
	struct error e = {0};

	*second = (struct work){.who = &ann, .fn = change, .change = two, .id = id};
	pg_sql(w->web, "begin", NULL);
	ck_assert_int_eq(worker_change(w->web, &ann, id, one, &config, &changed, &e), OK);
	start(second);
	wait_until_blocked();
	pg_sql(w->web, "commit", NULL);
	finish(second);
}

START_TEST(test_same_version_once)
{
	int64_t id = make(&ann, false);
	const struct worker_change one = {.version = 1, .title = "one"}, two = {.version = 1, .title = "two"};
	struct work second;

	change_twice(id, &one, &two, &second);
	ck_assert_int_eq(second.err, ERR_PRECONDITION);
	ck_assert_int_eq(world_int(w, "select count(*) from worker where title = 'one' and version = 2"), 1);
}
END_TEST

START_TEST(test_two_starts_are_one)
{
	int64_t id = make(&ann, false);
	const struct worker_change begin = {.desired = "running"};
	struct work second;

	change_twice(id, &begin, &begin, &second);
	ck_assert_int_eq(second.err, OK);
	ck_assert(!second.changed.done);
	ck_assert_int_eq(world_int(w, "select generation from worker"), 2);
	ck_assert_int_eq(world_int(w, "select count(*) from operation"), 1);
}
END_TEST

START_TEST(test_delete_beats_start)
{
	int64_t id = make(&ann, false);
	const struct worker_change gone = {.desired = "deleted"}, begin = {.desired = "running"};
	struct work second;

	change_twice(id, &gone, &begin, &second);
	ck_assert_int_eq(second.err, ERR_CONFLICT);
	ck_assert_int_eq(world_int(w, "select count(*) from worker where desired = 'deleted' and generation = 2"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from operation where kind = 'delete'"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from operation"), 1);
}
END_TEST

START_TEST(test_stop_during_a_start_keeps_one_operation)
{
	int64_t id = make(&ann, true);
	const struct worker_change stop = {.desired = "stopped"}, title = {.title = "t"};
	struct work second;

	change_twice(id, &stop, &title, &second);
	ck_assert_int_eq(second.err, OK);
	ck_assert_int_eq(world_int(w, "select count(*) from worker where desired = 'stopped' and title = 't' and generation = 2 and version = 3"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from operation where kind = 'start' and generation = 1"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from operation"), 1);
}
END_TEST

/* A change that waited for the provisioner's commit judges what that left behind. */
START_TEST(test_change_sees_what_it_waited_for)
{
	int64_t id = make(&ann, true);
	const struct worker_change begin = {.desired = "running"};
	struct work second = {.who = &ann, .fn = change, .change = &begin, .id = id};

	pg_sql(w->super, "begin", NULL);
	world_sql(w, "update operation set state = 'failed'; update worker set state = 'failed', version = version + 1");
	start(&second);
	wait_until_blocked();
	pg_sql(w->super, "commit", NULL);
	finish(&second);
	ck_assert_int_eq(second.err, OK);
	ck_assert(second.changed.turned);
	ck_assert_int_eq(world_int(w, "select count(*) from worker where generation = 2 and version = 3"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from operation where state = 'open' and generation = 2"), 1);
}
END_TEST

START_TEST(test_system_and_token_without_scope)
{
	int64_t id = make(&ann, false);
	const struct worker_change title = {.title = "t"};
	struct principal weak = root;
	struct worker_changed changed;
	struct error e = {0};

	weak.scopes = SCOPE_READ | SCOPE_MANAGE;
	ck_assert_int_eq(worker_change(w->web, &weak, id, &title, &config, &changed, &e), ERR_NOT_FOUND);
	ck_assert_int_eq(worker_change(w->web, &root, id, &title, &config, &changed, &e), OK);
}
END_TEST

/* The list that every open page asks for again and again. */
START_TEST(test_list_reads_little)
{
	cleanup_rows struct rows r = {0};
	struct json *plan = NULL;
	int64_t account = world_account(w, ann.user_id, "local", "all", 0), touched;

	world_sql(w, "insert into worker(owner_id, account_id, provider, title, accelerator, desired, state, deleted_at) "
		     "select %lld, %lld, 'local', 'gone', 'cpu', 'deleted', 'deleted', now() from generate_series(1, 20000)",
		  (long long)ann.user_id, (long long)account);
	for (int i = 0; i < 20; i++)
		world_worker(w, account, "healthy", "{gpu}", 4);
	world_sql(w, "insert into session(worker_id, owner_id, account_id, provider, generation, state, ended_at) "
		     "select (select min(id) from worker), %lld, %lld, 'local', 1, 'ended', now() from generate_series(1, 20000)",
		  (long long)ann.user_id, (long long)account);
	world_sql(w, "insert into worker_tally select id, 1, 1 from worker where state <> 'deleted'");
	world_sql(w, "insert into job_lease(id, lease, session_id, worker_id, lane, owner_id, gpus, attempt, run, max_attempts, seconds, until) "
		     "select next_job_id(), gen_random_uuid(), s.id, s.worker_id, 1, 1, 1, 1, 1, 1, 60, now() from session s, generate_series(1, 4) "
		     "where s.state = 'running'");
	world_sql(w, "vacuum analyze");
	for (int generic = 0; generic < 2; generic++) {
		world_sql(w, "deallocate all");
		world_sql(w, "set plan_cache_mode = %s", generic ? "force_generic_plan" : "force_custom_plan");
		pg_sql(w->super, world_text(w, "prepare q as %s", stmt_table[STMT_WORKER_PAGE].sql), NULL);
		pg_sql(w->super, world_text(w, "explain (analyze, buffers, format json) execute q(%lld, false, true, 0, 101, null, null)",
					    (long long)bob.user_id), &r);
		ck_assert_int_eq(json_parse(row_str(&r, 0, "QUERY PLAN"), SIZE_MAX, &plan, NULL), OK);
		ck_assert_int_eq(json_as_i64(json_path(plan, "0.Plan.Actual Rows"), -1), 20);
		touched = json_as_i64(json_path(plan, "0.Plan.Shared Hit Blocks"), -1) + json_as_i64(json_path(plan, "0.Plan.Shared Read Blocks"), -1);
		ck_assert_msg(touched > 0 && touched < 500, "%s plan touches %lld buffers", generic ? "generic" : "custom", (long long)touched);
		json_free(plan);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("worker");
	TCase *t = tcase_create("worker");
	SRunner *runner;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, open_world, close_world);
	tcase_add_test(t, test_two_make_the_first_local_worker);
	tcase_add_test(t, test_same_version_once);
	tcase_add_test(t, test_two_starts_are_one);
	tcase_add_test(t, test_delete_beats_start);
	tcase_add_test(t, test_stop_during_a_start_keeps_one_operation);
	tcase_add_test(t, test_change_sees_what_it_waited_for);
	tcase_add_test(t, test_system_and_token_without_scope);
	tcase_add_test(t, test_list_reads_little);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_stop(pg);
	return failed ? 1 : 0;
}
