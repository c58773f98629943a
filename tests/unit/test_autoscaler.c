/* The autoscaler: tables of snapshots, and what must hold for any snapshot. */
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "domain/autoscaler.h"
#include "unit.h"

/* The macros below give usual values, and their arguments override them. */
#pragma GCC diagnostic ignored "-Woverride-init"

enum { ANN = 1, BOB = 2, NOW_S = 1000000, MOST = 24 };

#define NOW ((int64_t)NOW_S * 1000)
#define AGO(s) (NOW - (int64_t)(s) * 1000)
#define POLICY(...) {.owner_id = ANN, .accelerator = "", .max = 10, .threshold = 5, .target_wait_s = 300, .idle_stop_s = 600, __VA_ARGS__}
#define ACCOUNT(i, ...) {.id = i, .owner_id = ANN, .provider = "local", .startable = true, .blocked = "", .blocked_why = "", .cold_s = 60, __VA_ARGS__}
#define KAGGLE(i, left, reset, free) ACCOUNT(i, .provider = "kaggle", .resource_count = 1, \
	.resources = {{.name = "gpu", .left_s = left, .resets_ms = reset, .slots = free, .session_s = 39600, .min_s = 900}})
#define WORKER(i, st, ...) {.id = i, .owner_id = ANN, .account_id = 1, .version = 1, .accelerator = "cpu", .state = st, .session_state = "", \
	.got = "", .left_s = -1, .max_session_s = -1, __VA_ARGS__}
#define READY(i, n, held, ...) WORKER(i, "healthy", .session_state = "running", .wanted = true, .registered = true, .got = "cpu", .slots = n, \
	.busy = held, .leases = held, .idle_since_ms = held ? 0 : AGO(1), __VA_ARGS__)
#define LANE(i, d, ...) {.id = i, .owner_id = ANN, .accelerator = "", .gpus = 1, .priority = 5, .depth = d, __VA_ARGS__}

static const struct scale_name names[] = {
	{"kaggle", "cpu", "cpu", "cpu"}, {"kaggle", "gpu", "gpu", "gpu"}, {"kaggle", "T4", "gpu", "T4"}};
static const int64_t only_bob[] = {BOB}, two_one[] = {2, 1}, one_two[] = {1, 2};

/* "create cpu@1 queue_threshold; stop 3 idle", delayed ones with a star. */
static void describe(const struct scale_result *r, struct buf *ret)
{
	for (size_t i = 0; i < r->count; i++) {
		const struct scale_decision *d = &r->decisions[i];

		buf_addf(ret, "%s%s", i ? "; " : "", scale_action_name(d->action));
		if (d->action == SCALE_CREATE)
			buf_addf(ret, " %s@%lld", d->accelerator, (long long)d->account_id);
		else
			buf_addf(ret, " %lld", (long long)d->worker_id);
		buf_addf(ret, " %s%s", scale_code_name(d->code), d->due_ms ? "*" : "");
	}
}

static struct arena arena;

static void decide(const struct scale_snapshot *s, struct scale_result *ret)
{
	struct error e;

	arena_reset(&arena);
	ck_assert_msg(autoscaler_decide(s, &arena, ret, &e) == OK, "%s", e.msg);
}

struct scene {
	const char *what;
	struct scale_policy policies[3];
	struct scale_account accounts[4];
	struct scale_worker workers[6];
	struct scale_lane lanes[4];
	const char *decisions;
	const char *wait; /* why the first lane's rest waits; NULL = not looked at */
};

static size_t count_of(const void *list, size_t size, size_t most, size_t id_at)
{
	size_t n = 0;

	while (n < most) {
		int64_t id;

		memcpy(&id, (const char *)list + n * size + id_at, sizeof(id));
		if (!id)
			break;
		n++;
	}
	return n;
}

#define COUNT(list, member) count_of(list, sizeof((list)[0]), ARRAY_LEN(list), offsetof(__typeof__((list)[0]), member))

static struct scale_snapshot snapshot_of(const struct scene *c)
{
	return (struct scale_snapshot){
		.now_ms = NOW,
		.policies = c->policies, .policy_count = COUNT(c->policies, owner_id),
		.accounts = c->accounts, .account_count = COUNT(c->accounts, id),
		.names = names, .name_count = ARRAY_LEN(names),
		.workers = c->workers, .worker_count = COUNT(c->workers, id),
		.lanes = c->lanes, .lane_count = COUNT(c->lanes, id),
	};
}

static const struct scene scenes[] = {
	/* ---- up ---- */
	{"nothing waits", {POLICY()}, {ACCOUNT(1)}, {}, {}, "", NULL},
	{"five are not more than five", {POLICY()}, {ACCOUNT(1)}, {READY(1, 1, 1)}, {LANE(1, 5)}, "", "below_threshold"},
	{"six are", {POLICY()}, {ACCOUNT(1)}, {READY(1, 1, 1)}, {LANE(1, 6)}, "create cpu@1 queue_threshold", NULL},
	{"six in two lanes are", {POLICY()}, {ACCOUNT(1)}, {READY(1, 1, 1)}, {LANE(1, 3), LANE(2, 3)}, "create cpu@1 queue_threshold", NULL},
	{"two for more than twice as many", {POLICY()}, {ACCOUNT(1)}, {READY(1, 1, 1)}, {LANE(1, 11)},
	 "create cpu@1 queue_threshold; create cpu@1 queue_threshold", NULL},
	{"what a free slot takes does not count", {POLICY()}, {ACCOUNT(1)}, {READY(1, 2, 1)}, {LANE(1, 6)}, "", "below_threshold"},
	{"a stopped worker goes before a new one", {POLICY()}, {ACCOUNT(1)}, {WORKER(4, "stopped")}, {LANE(1, 6)}, "start 4 queue_threshold", NULL},
	{"one that may not run long enough does not", {POLICY(.target_wait_s = 604800)}, {ACCOUNT(1)}, {WORKER(4, "stopped", .max_session_s = 3600)}, {LANE(1, 6, .estimate_s = 3601)},
	 "create cpu@1 queue_threshold", NULL},
	{"of another kind it does not", {POLICY()}, {ACCOUNT(1)}, {WORKER(4, "stopped")}, {LANE(1, 6, .accelerator = "gpu")},
	 "create gpu@1 queue_threshold", NULL},
	{"another person's does not", {POLICY()}, {ACCOUNT(1)}, {WORKER(4, "stopped", .owner_id = BOB)}, {LANE(1, 6)},
	 "create cpu@1 queue_threshold", NULL},
	{"one that starts covers the need", {POLICY()}, {ACCOUNT(1)}, {WORKER(1, "starting", .wanted = true, .session_state = "starting")},
	 {LANE(1, 10)}, "", "below_threshold"},
	{"but is no capacity: a further need starts another", {POLICY()}, {ACCOUNT(1)},
	 {WORKER(1, "starting", .wanted = true, .session_state = "starting")}, {LANE(1, 11)}, "create cpu@1 queue_threshold", NULL},
	{"its machine must be the right one", {POLICY()}, {ACCOUNT(1)}, {WORKER(1, "starting", .wanted = true, .session_state = "starting")},
	 {LANE(1, 6, .accelerator = "gpu")}, "create gpu@1 queue_threshold", NULL},
	{"one that waits for hours covers nothing", {POLICY()}, {ACCOUNT(1)}, {WORKER(1, "waiting", .wanted = true)}, {LANE(1, 6)},
	 "create cpu@1 queue_threshold", NULL},
	{"the oldest waited too long", {POLICY()}, {ACCOUNT(1)}, {READY(1, 1, 1)}, {LANE(1, 1, .waited_s = 301)}, "create cpu@1 target_wait", NULL},
	{"one is enough for that", {POLICY()}, {ACCOUNT(1)}, {WORKER(2, "stopping", .wanted = true)}, {LANE(1, 5, .waited_s = 301)}, "", NULL},
	{"known work takes too long", {POLICY()}, {ACCOUNT(1)}, {READY(1, 1, 1)}, {LANE(1, 2, .estimate_s = 200)}, "create cpu@1 queued_work", NULL},
	{"two slots would do it in time", {POLICY()}, {ACCOUNT(1)}, {READY(1, 2, 2)}, {LANE(1, 2, .estimate_s = 200)}, "", NULL},
	{"the up delay is not over", {POLICY(.up_delay_s = 30, .up_since_ms = AGO(29))}, {ACCOUNT(1)}, {}, {LANE(1, 6)},
	 "create cpu@1 queue_threshold*", NULL},
	{"it is", {POLICY(.up_delay_s = 30, .up_since_ms = AGO(30))}, {ACCOUNT(1)}, {}, {LANE(1, 6)}, "create cpu@1 queue_threshold", NULL},
	{"threshold zero: every job", {POLICY(.threshold = 0)}, {ACCOUNT(1)}, {}, {LANE(1, 2)}, "create cpu@1 queue_threshold; create cpu@1 queue_threshold", NULL},
	{"the maximum", {POLICY(.max = 1)}, {ACCOUNT(1)}, {READY(1, 1, 1)}, {LANE(1, 60)}, "", "max_workers"},
	{"failed ones count for the maximum", {POLICY(.max = 1)}, {ACCOUNT(1), ACCOUNT(2)}, {WORKER(1, "failed", .wanted = true, .account_id = 2)}, {LANE(1, 60)}, "", "max_workers"},
	{"where one has failed nothing starts", {POLICY()}, {ACCOUNT(1)}, {WORKER(1, "failed", .wanted = true)}, {LANE(1, 60)}, "", "worker_failed"},
	{"nor where one needs a person", {POLICY()}, {ACCOUNT(1)}, {WORKER(1, "needs_human", .wanted = true)}, {LANE(1, 60)}, "", "worker_failed"},
	{"elsewhere it does", {POLICY()}, {ACCOUNT(1), ACCOUNT(2)}, {WORKER(1, "failed", .wanted = true)}, {LANE(1, 6)}, "create cpu@2 queue_threshold", NULL},
	{"what turned out to be another machine is not tried again", {POLICY()}, {ACCOUNT(1)},
	 {READY(1, 1, 0, .accelerator = "T4", .got = "cpu")}, {LANE(1, 60, .accelerator = "T4")}, "", "no_account"},
	{"nor when it has stopped", {POLICY()}, {ACCOUNT(1)}, {WORKER(1, "stopped", .accelerator = "T4", .got = "cpu", .slots = 1)},
	 {LANE(1, 60, .accelerator = "T4")}, "", "no_account"},
	{"nor counted on while it starts", {POLICY()}, {ACCOUNT(1), ACCOUNT(2)},
	 {WORKER(1, "starting", .wanted = true, .session_state = "starting", .accelerator = "T4", .got = "cpu", .slots = 1)},
	 {LANE(1, 6, .accelerator = "T4")}, "create T4@2 queue_threshold", NULL},
	{"nor one with too few GPUs", {POLICY()}, {ACCOUNT(1)}, {READY(1, 2, 0, .accelerator = "gpu", .got = "gpu,T4", .idle_since_ms = AGO(1))},
	 {LANE(1, 60, .accelerator = "gpu", .gpus = 4)}, "", "no_account"},
	{"what it was counts for more than its name", {POLICY(.accelerator = "gpu")}, {ACCOUNT(1)},
	 {READY(1, 1, 1, .accelerator = "gpu", .got = "gpu,T4")}, {LANE(1, 6, .accelerator = "T4")}, "create gpu@1 queue_threshold", NULL},
	{"the minimum at once", {POLICY(.min = 2, .accelerator = "cpu", .up_delay_s = 60)}, {ACCOUNT(1)}, {READY(1, 1, 1)}, {},
	 "create cpu@1 min_workers", NULL},
	{"the policy's machine", {POLICY(.accelerator = "T4")}, {KAGGLE(1, 50000, 0, 2)}, {}, {LANE(1, 6, .accelerator = "gpu")},
	 "create T4@1 queue_threshold", NULL},
	{"which is none that the job asks", {POLICY(.accelerator = "cpu")}, {ACCOUNT(1)}, {}, {LANE(1, 6, .accelerator = "gpu")}, "", "no_account"},
	{"the first of a list that there is", {POLICY()}, {KAGGLE(1, 50000, 0, 2)}, {}, {LANE(1, 6, .accelerator = "A100,T4")},
	 "create T4@1 queue_threshold", NULL},
	/* ---- accounts ---- */
	{"no hours", {POLICY()}, {KAGGLE(1, 0, AGO(-500), 2)}, {}, {LANE(1, 60, .accelerator = "gpu", .waited_s = 9999)}, "", "quota"},
	{"fewer than a session is worth", {POLICY()}, {KAGGLE(1, 899, 0, 2)}, {}, {LANE(1, 60, .accelerator = "gpu")}, "", "quota"},
	{"just enough, once", {POLICY()}, {KAGGLE(1, 900, 0, 2)}, {}, {LANE(1, 60, .accelerator = "gpu")}, "create gpu@1 queue_threshold", "quota"},
	{"all sessions run", {POLICY()}, {KAGGLE(1, 50000, 0, 0)}, {}, {LANE(1, 60, .accelerator = "gpu")}, "", "capacity"},
	{"two at once", {POLICY()}, {KAGGLE(1, 99999, 0, 2)}, {}, {LANE(1, 60, .accelerator = "gpu")},
	 "create gpu@1 queue_threshold; create gpu@1 queue_threshold", "capacity"},
	{"one that has yet to reserve counts", {POLICY()}, {KAGGLE(1, 79200, 0, 2)},
	 {WORKER(1, "stopped", .wanted = true, .accelerator = "T4")}, {LANE(1, 60, .accelerator = "gpu")}, "create gpu@1 queue_threshold", "capacity"},
	{"what cools down is left alone", {POLICY()}, {ACCOUNT(1, .provider = "kaggle", .resource_count = 1,
	  .resources = {{.name = "gpu", .left_s = -1, .slots = 2, .session_s = 39600, .min_s = 900, .cool_until_ms = NOW + 1000}})}, {}, {LANE(1, 60, .accelerator = "gpu")},
	 "", "cool_down"},
	{"another account is not", {POLICY()}, {ACCOUNT(1, .provider = "kaggle", .resource_count = 1,
	  .resources = {{.name = "gpu", .left_s = -1, .slots = 2, .session_s = 39600, .min_s = 900, .cool_until_ms = NOW + 1000}}), KAGGLE(2, 99999, 0, 2)},
	 {}, {LANE(1, 6, .accelerator = "gpu")}, "create gpu@2 queue_threshold", NULL},
	{"then it is asked again", {POLICY()}, {ACCOUNT(1, .provider = "kaggle", .resource_count = 1,
	  .resources = {{.name = "gpu", .left_s = -1, .slots = 2, .session_s = 39600, .min_s = 900, .cool_until_ms = NOW}})}, {}, {LANE(1, 6, .accelerator = "gpu")},
	 "create gpu@1 queue_threshold", NULL},
	{"one that waits has the next place", {POLICY()}, {KAGGLE(1, 99999, 0, 1), KAGGLE(2, 99999, 0, 1)}, {WORKER(1, "waiting", .wanted = true, .accelerator = "gpu")},
	 {LANE(1, 60, .accelerator = "gpu")}, "create gpu@2 queue_threshold", "capacity"},
	{"longer than any session", {POLICY()}, {KAGGLE(1, 99999, 0, 2)}, {}, {LANE(1, 60, .accelerator = "gpu", .estimate_s = 39601)}, "", "does_not_fit"},
	{"what resumes elsewhere needs less", {POLICY(.target_wait_s = 604800)}, {KAGGLE(1, 99999, 0, 2)}, {}, {LANE(1, 6, .accelerator = "gpu", .estimate_s = 50000, .resumes = true)},
	 "create gpu@1 queue_threshold", NULL},
	{"but ten minutes at least", {POLICY()}, {ACCOUNT(1, .provider = "kaggle", .resource_count = 1, .resources = {{.name = "gpu", .left_s = -1, .slots = 1, .session_s = 599, .min_s = 60}})},
	 {}, {LANE(1, 60, .accelerator = "gpu", .estimate_s = 50000, .resumes = true)}, "", "does_not_fit"},
	{"one on its way with less time than placement asks covers nothing", {POLICY(.target_wait_s = 604800)}, {ACCOUNT(1)},
	 {WORKER(1, "unhealthy", .session_state = "running", .wanted = true, .registered = true, .got = "cpu", .slots = 1, .left_s = 500)},
	 {LANE(1, 6, .estimate_s = 50000, .resumes = true)}, "create cpu@1 queue_threshold", NULL},
	{"with enough it does", {POLICY(.target_wait_s = 604800)}, {ACCOUNT(1)},
	 {WORKER(1, "unhealthy", .session_state = "running", .wanted = true, .registered = true, .got = "cpu", .slots = 1, .left_s = 600)},
	 {LANE(1, 6, .estimate_s = 50000, .resumes = true)}, "", NULL},
	{"hours that expire within a day go first", {POLICY(.expiring = true, .accelerator = "gpu")}, {ACCOUNT(1), KAGGLE(2, 99999, NOW + 86400000, 2)}, {},
	 {LANE(1, 6, .accelerator = "gpu")}, "create gpu@2 queue_threshold", NULL},
	{"then machines that use up none", {POLICY(.expiring = true, .accelerator = "gpu")}, {KAGGLE(1, 99999, NOW + 86400001, 2), ACCOUNT(2)}, {},
	 {LANE(1, 6, .accelerator = "gpu")}, "create gpu@2 queue_threshold", NULL},
	{"longer than what is left", {POLICY()}, {KAGGLE(1, 5000, 0, 2)}, {}, {LANE(1, 60, .accelerator = "gpu", .estimate_s = 5001)}, "", "quota"},
	{"its breaker is open", {POLICY()}, {ACCOUNT(1, .blocked = "circuit", .blocked_why = "Kaggle does not answer.")}, {}, {LANE(1, 60)}, "", "circuit"},
	{"started by hand only", {POLICY()}, {ACCOUNT(1, .startable = false)}, {}, {LANE(1, 60)}, "", "no_account"},
	{"hours that expire first", {POLICY(.expiring = true)}, {ACCOUNT(1), KAGGLE(2, 50000, AGO(-9), 1), KAGGLE(3, 50000, AGO(-5), 1)}, {},
	 {LANE(1, 12, .accelerator = "gpu")}, "create gpu@3 queue_threshold; create gpu@2 queue_threshold", NULL},
	{"the order of the policy", {POLICY(.accounts = two_one, .account_count = 2)}, {ACCOUNT(1), ACCOUNT(2)}, {}, {LANE(1, 6)},
	 "create cpu@2 queue_threshold", NULL},
	{"which allows no third", {POLICY(.accounts = one_two, .account_count = 2)},
	 {ACCOUNT(1, .blocked = "account", .blocked_why = ""), ACCOUNT(2, .blocked = "account", .blocked_why = ""), ACCOUNT(3)}, {}, {LANE(1, 6)}, "", "account"},
	/* ---- whose job, whose account ---- */
	{"another's account is not mine", {POLICY()}, {ACCOUNT(1, .owner_id = BOB)}, {}, {LANE(1, 60)}, "", "no_account"},
	{"unless it is shared", {POLICY()}, {ACCOUNT(1, .owner_id = BOB, .sharing = PLACE_SHARED_ALL)}, {}, {LANE(1, 6)}, "create cpu@1 queue_threshold", NULL},
	{"another's job does not count", {POLICY()}, {ACCOUNT(1)}, {}, {LANE(1, 60, .owner_id = BOB)}, "", "no_policy"},
	{"unless the account is shared with him", {POLICY()}, {ACCOUNT(1, .sharing = PLACE_SHARED_NAMED, .shared_with = only_bob, .shared_count = 1)}, {},
	 {LANE(1, 6, .owner_id = BOB)}, "create cpu@1 queue_threshold", NULL},
	{"on that account, and no other", {POLICY(.accounts = two_one, .account_count = 2)},
	 {ACCOUNT(1, .sharing = PLACE_SHARED_ALL), ACCOUNT(2)}, {}, {LANE(1, 6, .owner_id = BOB)}, "create cpu@1 queue_threshold", NULL},
	{"who has a policy is no one else's", {POLICY(), POLICY(.owner_id = BOB)}, {ACCOUNT(1, .sharing = PLACE_SHARED_ALL), ACCOUNT(2, .owner_id = BOB)}, {},
	 {LANE(1, 6, .owner_id = BOB)}, "create cpu@1 queue_threshold", NULL},
	{"another's free worker takes it", {POLICY()}, {ACCOUNT(1), ACCOUNT(2, .owner_id = BOB, .sharing = PLACE_SHARED_ALL)},
	 {READY(1, 8, 0, .owner_id = BOB, .account_id = 2)}, {LANE(1, 6)}, "", "preparing"},
	/* ---- down ---- */
	{"idle long enough", {POLICY()}, {ACCOUNT(1)}, {READY(1, 1, 0, .idle_since_ms = AGO(600))}, {}, "stop 1 idle", NULL},
	{"not yet", {POLICY()}, {ACCOUNT(1)}, {READY(1, 1, 0, .idle_since_ms = AGO(599))}, {}, "", NULL},
	{"never", {POLICY(.idle_stop_s = 0)}, {ACCOUNT(1)}, {READY(1, 1, 0, .idle_since_ms = AGO(99999))}, {}, "", NULL},
	{"the down delay is not over", {POLICY(.down_delay_s = 30, .down_since_ms = AGO(29))}, {ACCOUNT(1)},
	 {READY(1, 1, 0, .idle_since_ms = AGO(999))}, {}, "", NULL},
	{"something waits for it", {POLICY()}, {ACCOUNT(1)}, {READY(1, 1, 0, .idle_since_ms = AGO(999))}, {LANE(1, 1)}, "", NULL},
	{"what waits is none of its", {POLICY()}, {ACCOUNT(1)}, {READY(1, 1, 0, .idle_since_ms = AGO(999))}, {LANE(1, 1, .accelerator = "gpu")},
	 "stop 1 idle", NULL},
	{"the minimum stays, the longest idle goes", {POLICY(.min = 1)}, {ACCOUNT(1)},
	 {READY(1, 1, 0, .idle_since_ms = AGO(700)), READY(2, 1, 0, .idle_since_ms = AGO(800))}, {}, "stop 2 idle", NULL},
	{"busy ones stay", {POLICY()}, {ACCOUNT(1)}, {READY(1, 2, 1)}, {}, "", NULL},
	{"above the maximum: idle before busy", {POLICY(.max = 1)}, {ACCOUNT(1)}, {READY(1, 1, 1), READY(2, 1, 0)}, {}, "stop 2 above_max", NULL},
	{"a busy one drains", {POLICY(.max = 1)}, {ACCOUNT(1)}, {READY(1, 4, 3), READY(2, 4, 1)}, {}, "drain 2 above_max", NULL},
	{"one that drains is gone already", {POLICY(.max = 1)}, {ACCOUNT(1)}, {READY(1, 4, 3), READY(2, 4, 1, .then_stop = true, .session_state = "draining")}, {}, "", NULL},
	{"those of hand are left alone", {POLICY()}, {ACCOUNT(1, .startable = false)}, {READY(1, 1, 0, .idle_since_ms = AGO(999))}, {}, "", NULL},
	{"paused", {POLICY(.paused = true, .min = 3)}, {ACCOUNT(1)}, {READY(1, 1, 0, .idle_since_ms = AGO(999))}, {LANE(1, 60, .accelerator = "gpu")}, "", "paused"},
	{"no policy", {}, {ACCOUNT(1)}, {READY(1, 1, 0, .idle_since_ms = AGO(999))}, {LANE(1, 60)}, "", "no_policy"},
};

START_TEST(test_scene)
{
	const struct scene *c = &scenes[_i];
	const struct scale_snapshot s = snapshot_of(c);
	cleanup_buf struct buf got = BUF_INIT(1 << 16);
	struct scale_result r;

	decide(&s, &r);
	buf_adds(&got, "");
	describe(&r, &got);
	ck_assert_msg(!strcmp(got.ptr ? got.ptr : "", c->decisions), "%s: %s", c->what, got.ptr);
	if (c->wait)
		ck_assert_msg(!strcmp(r.waits[0].code_name, c->wait), "%s: waits for %s", c->what, r.waits[0].code_name);
}
END_TEST

/* ---- delays are kept in the snapshot ---- */

START_TEST(test_since)
{
	struct scene c = {.policies = {POLICY(.up_delay_s = 30)}, .accounts = {ACCOUNT(1)}, .lanes = {LANE(1, 6)}};
	struct scale_snapshot s = snapshot_of(&c);
	struct scale_result r;

	decide(&s, &r);
	ck_assert_int_eq(r.since[0].up_ms, NOW);
	ck_assert_int_eq(r.decisions[0].due_ms, NOW + 30000);
	ck_assert_int_eq(r.waits[0].soon, 5);
	ck_assert_int_eq(r.waits[0].soon_ms, NOW + 90000);
	ck_assert_int_eq(r.waits[0].soon_code, SCALE_UP_DELAY);
	/* It has ended meanwhile: the next time counts anew. */
	c.policies[0].up_since_ms = NOW;
	c.lanes[0].depth = 5;
	s.now_ms = NOW + 10000;
	decide(&s, &r);
	ck_assert_int_eq(r.since[0].up_ms, 0);
	/* A clock that went back does not count as long ago. */
	c.lanes[0].depth = 6;
	s.now_ms = NOW - 5000;
	decide(&s, &r);
	ck_assert_int_eq(r.since[0].up_ms, NOW - 5000);
}
END_TEST

START_TEST(test_hours)
{
	struct scene c = {.policies = {POLICY()}, .accounts = {KAGGLE(1, 50000, AGO(-100), 2)}, .lanes = {LANE(1, 60, .accelerator = "gpu")}};
	const struct scale_snapshot s = snapshot_of(&c);
	struct scale_result r;

	decide(&s, &r);
	ck_assert_int_eq(r.count, 2);
	ck_assert_int_eq(r.decisions[0].reserves_s, 39600);
	ck_assert_int_eq(r.decisions[0].remaining_s, 10400);
	ck_assert_int_eq(r.decisions[1].reserves_s, 10400);
	ck_assert_int_eq(r.decisions[1].remaining_s, 0);
	ck_assert_int_eq(r.waits[0].soon, 10);
}
END_TEST

/* ---- any snapshot ---- */

static struct {
	struct scale_policy policies[3];
	struct scale_account accounts[6];
	struct scale_worker workers[MOST];
	struct scale_lane lanes[8];
} any;

static uint64_t seed;

static int64_t pick(int64_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (int64_t)(seed >> 33) % n;
}

#define ONE_OF(...) ((const char *const[]){__VA_ARGS__})[pick((int64_t)ARRAY_LEN(((const char *const[]){__VA_ARGS__})))]

static void make_worker(struct scale_worker *w, int64_t id)
{
	bool on = pick(3) > 0;

	*w = (struct scale_worker)WORKER(id, "stopped", .owner_id = 1 + pick(3), .account_id = 1 + pick(6), .accelerator = ONE_OF("cpu", "gpu", "T4"),
					 .wanted = on);
	if (on)
		w->state = ONE_OF("stopped", "starting", "waiting", "healthy", "healthy", "healthy", "unhealthy", "draining", "failed", "needs_human", "stopping");
	w->registered = !strcmp(w->state, "healthy") || !strcmp(w->state, "unhealthy") || !strcmp(w->state, "draining");
	if (!w->registered && !pick(3)) {
		w->got = ONE_OF("cpu", "gpu,T4");
		w->slots = 1 + pick(2);
	}
	if (w->registered) {
		w->session_state = pick(8) ? "running" : "draining";
		w->got = w->accelerator;
		w->slots = 1 + pick(4);
		w->leases = pick(w->slots + 1);
		w->busy = w->leases;
		w->idle_since_ms = w->leases ? 0 : AGO(pick(1200));
		w->then_stop = *w->session_state == 'd' && pick(2);
	}
}

static struct scale_snapshot make_any(uint64_t number)
{
	struct scale_snapshot s = {.now_ms = NOW, .policies = any.policies, .policy_count = 1 + (size_t)(number % 3), .accounts = any.accounts,
				   .account_count = 6, .names = names, .name_count = ARRAY_LEN(names), .workers = any.workers, .lanes = any.lanes};

	seed = number;
	for (int i = 0; i < 3; i++)
		any.policies[i] = (struct scale_policy)POLICY(.owner_id = i + 1, .min = pick(3), .max = 2 + pick(8), .threshold = pick(7),
			.accelerator = ONE_OF("", "cpu", "gpu"), .up_delay_s = pick(2) * 30, .up_since_ms = AGO(pick(60)), .down_since_ms = AGO(pick(60)),
			.paused = !pick(9), .expiring = pick(2));
	for (int i = 0; i < 6; i++) {
		if (pick(2))
			any.accounts[i] = (struct scale_account)KAGGLE(i + 1, pick(90000), AGO(-pick(9999)), pick(3));
		else
			any.accounts[i] = (struct scale_account)ACCOUNT(i + 1, .sharing = pick(2) ? PLACE_SHARED_ALL : PLACE_SHARED_NONE);
		any.accounts[i].owner_id = 1 + pick(3);
		any.accounts[i].startable = pick(8);
	}
	s.worker_count = (size_t)pick(MOST);
	for (size_t i = 0; i < s.worker_count; i++)
		make_worker(&any.workers[i], (int64_t)i + 1);
	s.lane_count = (size_t)pick(8);
	for (size_t i = 0; i < s.lane_count; i++)
		any.lanes[i] = (struct scale_lane)LANE((int64_t)i + 1, pick(30), .owner_id = 1 + pick(3), .accelerator = ONE_OF("", "cpu", "gpu", "T4"),
			.gpus = 1 + !pick(6), .priority = pick(10), .waited_s = pick(600), .estimate_s = pick(2) * pick(50000));
	return s;
}

static int starts(const struct scale_result *r)
{
	int n = 0;

	for (size_t i = 0; i < r->count; i++)
		n += r->decisions[i].action == SCALE_START || r->decisions[i].action == SCALE_CREATE;
	return n;
}

/* Hours and slots of an account are never passed, whatever is decided at once. */
static void check_hours(const struct scale_snapshot *s, const struct scale_result *r)
{
	for (size_t a = 0; a < s->account_count; a++) {
		int64_t reserved = 0, sessions = 0;

		for (size_t i = 0; i < r->count; i++)
			if (r->decisions[i].account_id == s->accounts[a].id && r->decisions[i].reserves_s >= 0) {
				reserved += r->decisions[i].reserves_s;
				sessions++;
				ck_assert_int_ge(r->decisions[i].reserves_s, 900);
			}
		if (s->accounts[a].resource_count) {
			ck_assert_int_le(reserved, s->accounts[a].resources[0].left_s);
			ck_assert_int_le(sessions, s->accounts[a].resources[0].slots);
		}
	}
}

static void check_workers(const struct scale_snapshot *s, const struct scale_result *r)
{
	bool seen[MOST + 1] = {false};

	for (size_t i = 0; i < r->count; i++) {
		const struct scale_decision *d = &r->decisions[i];
		const struct scale_worker *w = d->worker_id ? &s->workers[d->worker_id - 1] : NULL;

		ck_assert(s->accounts[d->account_id - 1].startable);
		if (!w)
			continue;
		ck_assert(!seen[d->worker_id]);
		seen[d->worker_id] = true;
		ck_assert_int_eq(w->owner_id, d->owner_id);
		ck_assert(d->action == SCALE_START ? !w->wanted : w->wanted);
		if (d->action == SCALE_STOP)
			ck_assert(!w->leases && !w->busy);
	}
}

static void check_bounds(const struct scale_snapshot *s, const struct scale_result *r)
{
	for (size_t p = 0; p < s->policy_count; p++) {
		const struct scale_policy *policy = &s->policies[p];
		int64_t before = 0, up = 0, down = 0;

		for (size_t i = 0; i < s->worker_count; i++) {
			const struct scale_worker *w = &s->workers[i];
			const struct scale_account *a = &s->accounts[w->account_id - 1];

			before += w->owner_id == policy->owner_id && w->wanted && !w->then_stop && strcmp(w->session_state, "draining") &&
				  (a->owner_id == policy->owner_id || a->sharing == PLACE_SHARED_ALL);
		}
		for (size_t i = 0; i < r->count; i++)
			if (r->decisions[i].owner_id == policy->owner_id)
				*(r->decisions[i].action <= SCALE_CREATE ? &up : &down) += 1;
		ck_assert(!policy->paused || !(up + down));
		if (up)
			ck_assert_int_le(before + up, policy->max > policy->min ? policy->max : policy->min);
		if (down)
			ck_assert_int_ge(before + up - down, policy->min < policy->max ? policy->min : policy->max);
	}
}

START_TEST(test_any)
{
	for (uint64_t n = 1; n <= 4000; n++) {
		cleanup_buf struct buf first = BUF_INIT(1 << 20), again = BUF_INIT(1 << 20);
		const struct scale_snapshot s = make_any(n);
		struct scale_result r;

		decide(&s, &r);
		describe(&r, &first);
		check_hours(&s, &r);
		check_workers(&s, &r);
		check_bounds(&s, &r);
		for (size_t i = 0; i < s.lane_count; i++)
			ck_assert_int_le(r.waits[i].now + r.waits[i].soon, s.lanes[i].depth);
		decide(&s, &r);
		describe(&r, &again);
		ck_assert(str_eq(buf_str(&first), buf_str(&again)));
	}
}
END_TEST

/* More jobs in a lane never lead to fewer starts. */
START_TEST(test_monotone)
{
	for (uint64_t n = 1; n <= 3000; n++) {
		struct scale_snapshot s = make_any(n);
		struct scale_result r;
		int before = 0;

		s.lane_count = s.lane_count ? 1 : 0;
		for (int64_t depth = 0; s.lane_count && depth < 40; depth += 1 + depth / 4) {
			any.lanes[0].depth = depth;
			decide(&s, &r);
			ck_assert_int_ge(starts(&r), before);
			before = starts(&r);
		}
	}
}
END_TEST

/* What was decided is carried out, and the same need starts nothing more (unless what stopped made room for it).
 * Of one kind of need: which worker is counted for which of several is a matter of their order. */
START_TEST(test_settles)
{
	for (uint64_t n = 1; n <= 3000; n++) {
		struct scale_snapshot s = make_any(n);
		struct scale_worker more[3 * MOST];
		struct scale_result r;
		size_t old = s.worker_count;
		bool room = false;

		for (size_t p = 0; p < s.policy_count; p++)
			any.policies[p].up_delay_s = 0;
		for (size_t i = 0; i < s.lane_count; i++) {
			any.lanes[i].accelerator = any.lanes[0].accelerator;
			any.lanes[i].estimate_s = 0;
		}
		decide(&s, &r);
		memcpy(more, any.workers, sizeof(any.workers));
		for (size_t i = 0; i < r.count; i++) {
			const struct scale_decision *d = &r.decisions[i];
			struct scale_resource *left = any.accounts[d->account_id - 1].resources;

			if (d->action == SCALE_STOP || d->action == SCALE_DRAIN) {
				room = more[d->worker_id - 1].then_stop = true;
				continue;
			}
			ck_assert_uint_lt(s.worker_count, ARRAY_LEN(more));
			if (d->action == SCALE_CREATE)
				more[s.worker_count++] = (struct scale_worker)WORKER((int64_t)s.worker_count, "stopped", .owner_id = d->owner_id,
					.account_id = d->account_id, .accelerator = arena_strdup(&arena, d->accelerator), .wanted = true);
			else
				more[d->worker_id - 1].wanted = true;
			if (d->reserves_s >= 0) {
				left->left_s -= d->reserves_s;
				left->slots--;
			}
		}
		for (size_t i = old; i < s.worker_count; i++)
			more[i].accelerator = strdup(more[i].accelerator);
		s.workers = more;
		decide(&s, &r);
		ck_assert_msg(room || !starts(&r), "snapshot %d starts again", (int)n);
		for (size_t i = old; i < s.worker_count; i++)
			free((char *)(uintptr_t)more[i].accelerator);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("autoscaler");
	TCase *t = tcase_create("decide");

	arena_init(&arena, 16 << 20);
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, test_scene, 0, ARRAY_LEN(scenes));
	tcase_add_test(t, test_since);
	tcase_add_test(t, test_hours);
	tcase_add_test(t, test_any);
	tcase_add_test(t, test_monotone);
	tcase_add_test(t, test_settles);
	suite_add_tcase(s, t);
	return unit_run(s);
}
