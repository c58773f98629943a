/* Lists of jobs, forecasts and the reasons to wait, against a real database. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "world.h"

static struct pg *pg;
static struct world *w;
static struct principal ann, bob, root;

#define SCRIPT "{'type':'script','payload':{'code':'x'}}"

static void open_world(void)
{
	char name[32];

	/* One database a test: the forked child's pid names it. */
	snprintf(name, sizeof(name), "list_%d", (int)getpid());
	w = world_open(pg, name);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
	root = world_user(w, "root", ROLE_ADMIN);
}

static void close_world(void)
{
	world_close(w);
}

/* A running worker of p's own. */
static int64_t worker_of(const struct principal *p, int slots)
{
	return world_worker(w, world_account(w, p->user_id, "local", "none", 0), "healthy", "{gpu,T4}", slots);
}

static void cancel(int64_t id)
{
	struct job_ended ended;
	struct error e = {0};

	ck_assert_int_eq(job_cancel(w->web, &ann, &id, 1, &ended, &e), OK);
	ck_assert(ended.cancelled);
}

/* ---- lists ---------------------------------------------------------------- */

static int list(const struct principal *who, struct job_filter f, struct rows *r)
{
	struct error e = {0};

	f.limit = f.limit ? f.limit : 100;
	ck_assert_msg(job_list(w->web, who, &f, r, &e) == OK, "%s", e.msg);
	for (int i = 1; i < rows_count(r); i++)
		ck_assert_int_gt(row_i64(r, i - 1, "id"), row_i64(r, i, "id"));
	return rows_count(r);
}

#define FILTER(...) ((struct job_filter){.state = JOB_STATE_COUNT, .type = JOB_TYPE_COUNT, __VA_ARGS__})
#define IN(st, ...) ((struct job_filter){.state = (st), .type = JOB_TYPE_COUNT, __VA_ARGS__})

/* A job of ann's in every state and place, and one of bob's; the oldest first. */
static void make_list(int64_t ids[8])
{
	static const enum job_state ends[] = {JOB_SUCCEEDED, JOB_FAILED, JOB_TIMED_OUT};
	int64_t worker = worker_of(&ann, 100);
	char future[32];

	clock_rfc3339(clock_wall_ms() + 86400000, future, sizeof(future));
	for (int i = 0; i < 3; i++) {
		ids[i] = world_submit(w, &ann, "{'type':'training','payload':{'code':'x'},'name':'Train_50%','tags':['keep','Blue']}").id;
		world_claim(w, ids[i], worker);
		world_end(w, ids[i], ends[i], "{\"a\": 1}");
	}
	ids[3] = world_submit(w, &ann, "{'type':'script','payload':{'code':'x'},'name':'train more'}").id;
	cancel(ids[3]);
	ids[4] = world_submit(w, &ann, "{'type':'script','payload':{'code':'x'},'tags':['keep']}").id;
	world_claim(w, ids[4], worker);
	ids[5] = world_submit(w, &ann, "{'type':'script','payload':{'code':'x'},'name':'Train_5','priority':1}").id;
	ids[6] = world_submit(w, &ann, world_text(w, "{'type':'script','payload':{'code':'x'},'runAfter':'%s'}", future)).id;
	ids[7] = world_submit(w, &bob, SCRIPT).id;
}

START_TEST(test_list_by_state_and_owner)
{
	cleanup_rows struct rows r = {0};
	int64_t ids[8];

	make_list(ids);
	ck_assert_int_eq(list(&ann, FILTER(), &r), 7);
	for (int i = 0; i < 7; i++)
		ck_assert_int_eq(row_i64(&r, i, "id"), ids[6 - i]);
	ck_assert_int_eq(list(&ann, IN(JOB_QUEUED), &r), 2);
	ck_assert_int_eq(row_i64(&r, 0, "id"), ids[6]);
	ck_assert_str_eq(row_cstr(&r, 0, "delayed_why"), "run_after");
	ck_assert_int_eq(row_i64(&r, 1, "id"), ids[5]);
	ck_assert_int_eq(list(&ann, IN(JOB_RUNNING), &r), 1);
	ck_assert_int_eq(row_i64(&r, 0, "id"), ids[4]);
	for (int s = JOB_SUCCEEDED; s < JOB_STATE_COUNT; s++) {
		ck_assert_int_eq(list(&ann, IN(s), &r), 1);
		ck_assert_int_eq(row_i64(&r, 0, "id"), ids[s - JOB_SUCCEEDED]);
		ck_assert_int_eq(row_i64(&r, 0, "state"), s);
		ck_assert_int_eq(list(&bob, IN(s), &r), 0);
	}
	ck_assert_int_eq(list(&bob, FILTER(), &r), 1);
	ck_assert_int_eq(list(&bob, FILTER(.owner = ann.user_id), &r), 0);
	ck_assert_int_eq(list(&root, FILTER(), &r), 8);
	ck_assert_int_eq(list(&root, FILTER(.owner = bob.user_id), &r), 1);
	ck_assert_int_eq(list(&root, IN(JOB_QUEUED), &r), 3);
	ck_assert_int_eq(list(&root, IN(JOB_QUEUED, .owner = ann.user_id), &r), 2);
	for (int s = 0; s <= JOB_STATE_COUNT; s++) {
		int all = s == JOB_STATE_COUNT ? 4 : s == JOB_QUEUED || s == JOB_CANCELLED ? 0 : 1;

		ck_assert_int_eq(list(&ann, IN(s, .worker = world_int(w, "select id from worker")), &r), all);
		ck_assert_int_eq(list(&ann, IN(s, .worker = 999999), &r), 0);
	}
}
END_TEST

START_TEST(test_list_filters_mean_the_same_in_every_state)
{
	static const struct {
		struct job_filter f;
		int n; /* over all states */
	} filters[] = {
		{FILTER(.name = "Train"), 4},
		{FILTER(.name = "Train_5"), 4}, /* _ and % are letters */
		{FILTER(.name = "Train_50%"), 3},
		{FILTER(.name = "train"), 1},
		{FILTER(.name = "rain"), 0},
		{FILTER(.tag = "keep"), 4},
		{FILTER(.tag = "kee"), 0},
		{FILTER(.tag = "blue"), 0},
		{FILTER(.find = "TRAIN"), 5},
		{FILTER(.find = "blu"), 3},
		{FILTER(.find = "_50%"), 3},
		{FILTER(.find = "nothing"), 0},
		{FILTER(.tag = "keep", .find = "blue", .name = "T"), 3},
	};
	cleanup_rows struct rows r = {0};
	int64_t ids[8];
	char id[24];

	make_list(ids);
	for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
		struct job_filter f = filters[i].f;
		int sum = 0;

		ck_assert_msg(list(&ann, f, &r) == filters[i].n, "filter %zu finds %d", i, rows_count(&r));
		for (f.state = 0; f.state < JOB_STATE_COUNT; f.state++)
			sum += list(&ann, f, &r);
		ck_assert_msg(sum == filters[i].n, "filter %zu finds %d by state", i, sum);
	}
	for (int s = 0; s <= JOB_STATE_COUNT; s++) {
		struct job_filter f = IN(s, .find = id);

		f.type = JOB_TRAINING;
		for (int k = 0; k < 8; k++) {
			int own = k < 7, training = k < 3;

			snprintf(id, sizeof(id), "%lld", (long long)ids[k]);
			f.type = JOB_TYPE_COUNT;
			if (s == JOB_STATE_COUNT)
				ck_assert_int_eq(list(&ann, f, &r), own);
			f.type = JOB_TRAINING;
			if (s == JOB_STATE_COUNT)
				ck_assert_int_eq(list(&ann, f, &r), training);
			else
				ck_assert_int_le(list(&ann, f, &r), training && s >= JOB_SUCCEEDED && s <= JOB_TIMED_OUT);
		}
	}
}
END_TEST

START_TEST(test_pages_have_every_job_once)
{
	cleanup_rows struct rows r = {0};

	for (int i = 0; i < 25; i++)
		world_submit(w, i % 2 ? &ann : &bob, i % 3 ? SCRIPT : "{'type':'script','payload':{'code':'x'},'priority':1}");
	for (int s = JOB_QUEUED; s <= JOB_STATE_COUNT; s += JOB_STATE_COUNT) {
		struct job_filter f = IN(s, .limit = 7);
		int seen = 0, n;

		do {
			n = list(&root, f, &r);
			if (n)
				f.below = row_i64(&r, n - 1, "id");
			seen += n;
		} while (n == 7);
		ck_assert_int_eq(seen, 25);
	}
}
END_TEST

START_TEST(test_large_result_is_not_in_a_list)
{
	cleanup_rows struct rows r = {0};
	int64_t id = world_submit(w, &ann, SCRIPT).id, worker = worker_of(&ann, 1);

	world_claim(w, id, worker);
	world_end(w, id, JOB_SUCCEEDED, "\"small\"");
	ck_assert_int_eq(list(&ann, IN(JOB_SUCCEEDED), &r), 1);
	ck_assert_str_eq(row_cstr(&r, 0, "result"), "\"small\"");
	world_sql(w, "update job_done set result = (select jsonb_agg(gen_random_uuid()) from generate_series(1, 500))");
	for (int s = JOB_SUCCEEDED; s <= JOB_STATE_COUNT; s += JOB_STATE_COUNT - JOB_SUCCEEDED) {
		ck_assert_int_eq(list(&ann, IN(s), &r), 1);
		ck_assert(row_null(&r, 0, "result"));
		ck_assert_int_gt(row_i64(&r, 0, "result_size"), 2048);
	}
	world_job(w, id, &r);
	ck_assert_int_gt(row_str(&r, 0, "result").len, 10000);
}
END_TEST

/* Buffers that a list touches, by EXPLAIN of the very statement. */
static int64_t buffers_of(enum stmt s, const char *values)
{
	cleanup_rows struct rows r = {0};
	struct json *plan = NULL;
	int64_t n;

	world_sql(w, "deallocate all");
	world_sql(w, "set plan_cache_mode = force_generic_plan");
	pg_sql(w->super, world_text(w, "prepare q as %s", stmt_table[s].sql), NULL);
	pg_sql(w->super, world_text(w, "explain (analyze, buffers, format json) execute q(%s)", values), &r);
	ck_assert_int_eq(json_parse(row_str(&r, 0, "QUERY PLAN"), SIZE_MAX, &plan, NULL), OK);
	n = json_as_i64(json_path(plan, "0.Plan.Shared Hit Blocks"), -1) + json_as_i64(json_path(plan, "0.Plan.Shared Read Blocks"), -1);
	json_free(plan);
	return n;
}

START_TEST(test_lists_do_not_walk_the_queue)
{
	static const struct {
		enum stmt s;
		const char *more;
		int64_t most;
	} lists[] = {
		{STMT_JOB_LIST_ANY, "", 2000},
		{STMT_JOB_LIST_QUEUED, "", 2000},
		{STMT_JOB_LIST_RUNNING, "", 1000},
		{STMT_JOB_LIST_DONE, ", 2", 1000},
	};
	int64_t lane;

	world_submit(w, &ann, SCRIPT);
	world_submit(w, &bob, SCRIPT);
	lane = world_int(w, "select id from lane where owner_id = %lld", (long long)ann.user_id);
	world_sql(w, "with j as (insert into job(owner_id, lane, payload) select %lld, %lld, '{}' from generate_series(1, 30000) returning id) "
		     "insert into job_ready(lane, id, owner_id, max_attempts) select %lld, id, %lld, 3 from j",
		  (long long)ann.user_id, (long long)lane, (long long)lane, (long long)ann.user_id);
	world_sql(w, "with j as (insert into job(owner_id, lane, payload) select %lld, %lld, '{}' from generate_series(1, 30000) returning id) "
		     "insert into job_done(lane, id, owner_id, state, attempt, run, max_attempts) select %lld, id, %lld, 3, 1, 1, 3 from j",
		  (long long)ann.user_id, (long long)lane, (long long)lane, (long long)ann.user_id);
	for (int analyzed = 0; analyzed < 2; analyzed++) {
		for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
			/* Bob has one job; ann's sixty thousand must not be walked for it. */
			for (int who = 0; who < 2; who++) {
				int64_t user = who ? ann.user_id : bob.user_id;
				int64_t n = buffers_of(lists[i].s, world_text(w, "%lld, false, null, 9007199254740991, 51, null, null, null, null, null%s",
									      (long long)user, lists[i].more));

				ck_assert_msg(n >= 0 && n <= lists[i].most, "%s of user %lld touches %lld buffers", stmt_table[lists[i].s].name,
					      (long long)user, (long long)n);
			}
		}
		world_sql(w, "analyze");
	}
}
END_TEST

/* ---- forecast and reasons -------------------------------------------------- */

static struct job_placed ask(const char *more)
{
	return world_submit(w, &ann, world_text(w, "{'type':'script','payload':{'code':'x'}%s}", more));
}

START_TEST(test_forecast_names_a_free_worker_of_mine)
{
	int64_t id = worker_of(&ann, 2);
	struct job_placed p = ask("");

	ck_assert_int_eq(p.worker_id, id);
	ck_assert_int_eq(ask(",'accelerator':'t4'").worker_id, id);
	ck_assert_int_eq(ask(",'accelerator':['cpu','gpu'],'gpus':2").worker_id, id);
	ck_assert_int_eq(ask(",'accelerator':'cpu'").worker_id, 0);
	/* Two leases fill its slots; one that is being killed does, too. */
	world_claim(w, p.id, id);
	ck_assert_int_eq(ask("").worker_id, id);
	ck_assert_int_eq(ask(",'gpus':2").worker_id, 0);
	world_claim(w, ask("").id, id);
	p = ask("");
	ck_assert_int_eq(p.worker_id, 0);
	ck_assert_int_eq(p.wait, WAIT_BUSY);
	cancel(world_int(w, "select min(id) from job_lease"));
	ck_assert_int_eq(ask("").worker_id, 0);
	world_sql(w, "delete from job_ending");
	ck_assert_int_eq(ask("").worker_id, id);
}
END_TEST

START_TEST(test_forecast_keeps_to_sharing)
{
	int64_t account = world_account(w, bob.user_id, "local", "none", 0), id;
	struct job_placed p;

	id = world_worker(w, account, "healthy", "{cpu}", 1);
	p = ask("");
	ck_assert_int_eq(p.worker_id, 0);
	ck_assert_int_eq(p.wait, WAIT_NOT_SHARED);
	world_sql(w, "update account set sharing = 'named', shared_with = '{%lld}'", (long long)ann.user_id);
	ck_assert_int_eq(ask("").worker_id, id);
	world_sql(w, "update account set shared_with = '{%lld}'", (long long)root.user_id);
	ck_assert_int_eq(ask("").worker_id, 0);
	world_sql(w, "update account set sharing = 'all'");
	ck_assert_int_eq(ask("").worker_id, id);
	/* The provider's terms outrank the account's owner. */
	world_sql(w, "update provider_policy set sharing_allowed = false where provider = 'local'");
	p = ask("");
	ck_assert_int_eq(p.worker_id, 0);
	ck_assert_int_eq(p.wait, WAIT_NOT_SHARED);
}
END_TEST

static const struct {
	const char *change; /* of the only worker, which has one slot */
	const char *more;   /* of the job */
	enum wait wait;
} reasons[] = {
	{"update session set deadline = now() + interval '60 s'", ",'estimatedSeconds':600", WAIT_DOES_NOT_FIT},
	{"select 1", ",'gpus':2", WAIT_DOES_NOT_FIT},
	{"select 1", ",'accelerator':'H100'", WAIT_NO_WORKER},
	{"update worker set state = 'unhealthy'", "", WAIT_NO_WORKER},
	{"update worker set state = 'starting'; update session set state = 'starting', got = '{}'", "", WAIT_COLD_START},
	{"update worker set state = 'starting'; update session set state = 'starting', got = '{}'", ",'accelerator':'tpu'", WAIT_NO_WORKER},
	{"update worker set state = 'needs_human'", "", WAIT_NEEDS_HUMAN},
	{"update worker set state = 'draining'; update session set state = 'draining'", "", WAIT_PAUSED},
	{"update worker set desired = 'stopped'", "", WAIT_PAUSED},
	{"update worker set desired = 'stopped', state = 'stopped'; update session set state = 'ended'", "", WAIT_NO_WORKER},
	{"update worker set state = 'deleted', desired = 'deleted'", "", WAIT_NO_WORKER},
};

START_TEST(test_reason)
{
	struct job_placed p;

	worker_of(&ann, 1);
	world_sql(w, "%s", reasons[_i].change);
	p = ask(reasons[_i].more);
	ck_assert_int_eq(p.worker_id, 0);
	ck_assert_msg(p.wait == reasons[_i].wait, "%s: %s", reasons[_i].change, wait_name(p.wait));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("job lists");
	TCase *t = tcase_create("lists");
	SRunner *runner;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, open_world, close_world);
	tcase_add_test(t, test_list_by_state_and_owner);
	tcase_add_test(t, test_list_filters_mean_the_same_in_every_state);
	tcase_add_test(t, test_pages_have_every_job_once);
	tcase_add_test(t, test_large_result_is_not_in_a_list);
	tcase_add_test(t, test_lists_do_not_walk_the_queue);
	tcase_add_test(t, test_forecast_names_a_free_worker_of_mine);
	tcase_add_test(t, test_forecast_keeps_to_sharing);
	tcase_add_loop_test(t, test_reason, 0, ARRAY_LEN(reasons));
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	pg_stop(pg);
	return failed ? 1 : 0;
}
