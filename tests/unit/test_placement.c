/* Placement: who may run where, in which order, by tables of snapshots. */
#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "domain/accelerator.h"
#include "domain/placement.h"
#include "unit.h"

enum { ANN = 1, BOB = 2, EVE = 3 };

static const int64_t named[] = {BOB};

/* ---- eligibility ---- */

static const struct {
	const char *what;
	struct place_lane lane;
	struct place_worker worker;
	enum place_fit fit;
} fits[] = {
	{"own account", {.owner_id = ANN, .accelerator = "", .gpus = 1}, {.owner_id = ANN, .got = "cpu", .free = 1, .seconds_left = INFINITY}, PLACE_FITS},
	{"another's account", {.owner_id = BOB, .accelerator = "", .gpus = 1}, {.owner_id = ANN, .got = "cpu", .free = 1, .seconds_left = INFINITY}, PLACE_NOT_SHARED},
	{"shared with all", {.owner_id = BOB, .accelerator = "", .gpus = 1},
	 {.owner_id = ANN, .got = "cpu", .free = 1, .seconds_left = INFINITY, .sharing = PLACE_SHARED_ALL}, PLACE_FITS},
	{"shared with me", {.owner_id = BOB, .accelerator = "", .gpus = 1},
	 {.owner_id = ANN, .got = "cpu", .free = 1, .seconds_left = INFINITY, .sharing = PLACE_SHARED_NAMED, .shared_with = named, .shared_count = 1}, PLACE_FITS},
	{"shared with others", {.owner_id = EVE, .accelerator = "", .gpus = 1},
	 {.owner_id = ANN, .got = "cpu", .free = 1, .seconds_left = INFINITY, .sharing = PLACE_SHARED_NAMED, .shared_with = named, .shared_count = 1}, PLACE_NOT_SHARED},
	{"any GPU", {.owner_id = ANN, .accelerator = "gpu", .gpus = 1}, {.owner_id = ANN, .got = "gpu,T4", .free = 1, .seconds_left = INFINITY}, PLACE_FITS},
	{"one of a list", {.owner_id = ANN, .accelerator = "A100,T4", .gpus = 1}, {.owner_id = ANN, .got = "gpu,T4", .free = 1, .seconds_left = INFINITY}, PLACE_FITS},
	{"a name within a name", {.owner_id = ANN, .accelerator = "T4", .gpus = 1}, {.owner_id = ANN, .got = "gpu,T40", .free = 1, .seconds_left = INFINITY}, PLACE_ACCELERATOR},
	{"a GPU where there is none", {.owner_id = ANN, .accelerator = "gpu", .gpus = 1}, {.owner_id = ANN, .got = "cpu", .free = 1, .seconds_left = INFINITY}, PLACE_ACCELERATOR},
	{"more GPUs than free", {.owner_id = ANN, .accelerator = "", .gpus = 2}, {.owner_id = ANN, .got = "gpu", .free = 1, .seconds_left = INFINITY}, PLACE_TOO_BIG},
	{"nothing free", {.owner_id = ANN, .accelerator = "", .gpus = 1}, {.owner_id = ANN, .got = "gpu", .free = 0, .seconds_left = INFINITY}, PLACE_BUSY},
	{"a training that goes on elsewhere", {.owner_id = ANN, .accelerator = "", .gpus = 1, .estimate_s = 36000, .resumes = true}, {.owner_id = ANN, .got = "gpu", .free = 1, .seconds_left = PLACE_RESUME_S}, PLACE_FITS},
	{"a training at the very end", {.owner_id = ANN, .accelerator = "", .gpus = 1, .estimate_s = 36000, .resumes = true}, {.owner_id = ANN, .got = "gpu", .free = 1, .seconds_left = PLACE_RESUME_S - 1}, PLACE_TIME},
	{"too little time for the job", {.owner_id = ANN, .accelerator = "", .gpus = 1, .estimate_s = 600}, {.owner_id = ANN, .got = "gpu", .free = 1, .seconds_left = 599}, PLACE_TIME},
	{"time enough", {.owner_id = ANN, .accelerator = "", .gpus = 1, .estimate_s = 600}, {.owner_id = ANN, .got = "gpu", .free = 1, .seconds_left = 601}, PLACE_FITS},
	{"about to end", {.owner_id = ANN, .accelerator = "", .gpus = 1}, {.owner_id = ANN, .got = "gpu", .free = 1, .seconds_left = PLACE_TIME_LEFT_S - 1}, PLACE_TIME},
	{"not mine comes before all else", {.owner_id = BOB, .accelerator = "tpu", .gpus = 8}, {.owner_id = ANN, .got = "cpu", .free = 0}, PLACE_NOT_SHARED},
};

START_TEST(test_fits)
{
	ck_assert_msg(place_fits(&fits[_i].lane, &fits[_i].worker) == fits[_i].fit, "%s: %s", fits[_i].what,
		      place_fit_name(place_fits(&fits[_i].lane, &fits[_i].worker)));
}
END_TEST

/* ---- choice ---- */

#define LANE_OF(i, o, d, g, acc, ...) {.id = i, .owner_id = o, .accelerator = acc, .gpus = g, .depth = d, __VA_ARGS__}
#define LANE(i, o, d, ...) LANE_OF(i, o, d, 1, "", __VA_ARGS__)
#define WORKER(o, f, ...) {.owner_id = o, .got = "gpu,T4", .free = f, .seconds_left = INFINITY, .sharing = PLACE_SHARED_ALL, __VA_ARGS__}

#define WORKER_LEFT(seconds) {.owner_id = ANN, .got = "gpu,T4", .free = 1, .seconds_left = seconds}

enum { LANES = 4, WORKERS = 4 };

static const struct place_weights weights = {.own = 16, .time = 8, .expiry = 4, .load = 2};

static const struct {
	const char *what;
	struct place_lane lanes[LANES];
	struct place_worker workers[WORKERS];
	int given[LANES]; /* jobs of each lane */
	int load[WORKERS]; /* GPUs of each worker that are used; -1 = does not matter */
} choices[] = {
	{"nothing waits", {{0}}, {WORKER(ANN, 4)}, {0}, {0}},
	{"nobody free", {LANE(1, ANN, 5)}, {WORKER(ANN, 0)}, {0}, {0}},
	{"all of one lane", {LANE(1, ANN, 3)}, {WORKER(ANN, 8)}, {3}, {3}},
	{"no more than free", {LANE(1, ANN, 30)}, {WORKER(ANN, 8)}, {8}, {8}},
	{"spread over equal workers", {LANE(1, ANN, 4)}, {WORKER(ANN, 4), WORKER(ANN, 4)}, {4}, {2, 2}},
	{"the emptier worker first", {LANE(1, ANN, 1)}, {WORKER(ANN, 1), WORKER(ANN, 3)}, {1}, {0, 1}},
	{"own account before another's", {LANE(1, ANN, 1)}, {WORKER(BOB, 9), WORKER(ANN, 1)}, {1}, {0, 1}},
	{"priority first", {LANE(1, ANN, 9, .priority = 2), LANE(2, ANN, 9, .priority = 7)}, {WORKER(ANN, 6)}, {0, 6}, {6}},
	{"a long wait beats priority", {LANE(1, ANN, 9, .priority = 2, .waited_s = 7 * PLACE_AGEING_S), LANE(2, ANN, 9, .priority = 7)},
	 {WORKER(ANN, 6)}, {6, 0}, {6}},
	{"the oldest of equals", {LANE(1, ANN, 9, .waited_s = 1), LANE(2, ANN, 9, .waited_s = 5)}, {WORKER(ANN, 1)}, {0, 1}, {1}},
	{"two owners share evenly", {LANE(1, ANN, 100), LANE(2, BOB, 100)}, {WORKER(EVE, 10)}, {5, 5}, {10}},
	{"shares by weight", {LANE(1, ANN, 100, .weight = 3), LANE(2, BOB, 100, .weight = 1)}, {WORKER(EVE, 8)}, {6, 2}, {8}},
	{"who used less goes first", {LANE(1, ANN, 100, .used_s = 3000), LANE(2, BOB, 100, .used_s = 2880)}, {WORKER(EVE, 4)}, {1, 3}, {4}},
	{"a larger weight may have used more", {LANE(1, ANN, 100, .used_s = 3000, .weight = 2), LANE(2, BOB, 100, .used_s = 1510)}, {WORKER(EVE, 1)}, {1, 0}, {1}},
	{"the tail of a session for what just fits", {LANE(1, ANN, 1, .estimate_s = 600)},
	 {WORKER_LEFT(3000), WORKER_LEFT(599), WORKER_LEFT(700), WORKER(ANN, 1)}, {1}, {0, 0, 1, 0}},
	{"the most time for what is unknown", {LANE(1, ANN, 1)}, {WORKER_LEFT(3000), WORKER_LEFT(9000), WORKER_LEFT(700)}, {1}, {0, 1, 0}},
	{"hours that expire first", {LANE(1, ANN, 1)}, {WORKER(ANN, 2, .hours_end_s = 500000), WORKER(ANN, 1, .hours_end_s = 3600)}, {1}, {0, 1}},
	{"long jobs pass over a session's tail", {LANE(1, ANN, 5, .estimate_s = 3600), LANE(2, ANN, 1, .estimate_s = 60, .priority = -1)},
	 {WORKER_LEFT(1000)}, {0, 1}, {1}},
	{"short jobs count less", {LANE(1, ANN, 100, .cost_s = 10), LANE(2, BOB, 100, .cost_s = 30)}, {WORKER(EVE, 8)}, {6, 2}, {8}},
	{"many lanes are no more share", {LANE(1, ANN, 50), LANE(2, ANN, 50), LANE(3, ANN, 50), LANE(4, BOB, 50)}, {WORKER(EVE, 12)},
	 {-1, -1, -1, 6}, {12}},
	{"what an owner leaves goes to others", {LANE(1, ANN, 2), LANE(2, BOB, 100)}, {WORKER(EVE, 10)}, {2, 8}, {10}},
	{"two GPUs need two free", {LANE_OF(1, ANN, 3, 2, "")}, {WORKER(ANN, 3), WORKER(ANN, 2)}, {2}, {2, 2}},
	{"a lane that nobody can run is passed over", {LANE_OF(1, ANN, 1000000, 1, "A100", .priority = 9), LANE(2, ANN, 3)},
	 {WORKER(ANN, 3)}, {0, 3}, {3}},
};

static size_t count_lanes(size_t i)
{
	size_t n = 0;

	while (n < LANES && choices[i].lanes[n].id)
		n++;
	return n;
}

static size_t count_workers(size_t i)
{
	size_t n = 0;

	while (n < WORKERS && choices[i].workers[n].owner_id)
		n++;
	return n;
}

START_TEST(test_choice)
{
	struct place_lane lanes[LANES];
	struct place_pick picks[64];
	cleanup_arena struct arena a;
	int given[LANES] = {0}, load[WORKERS] = {0};
	size_t n;

	arena_init(&a, 1 << 20);
	memcpy(lanes, choices[_i].lanes, sizeof(lanes));
	n = place_choose(&weights, lanes, count_lanes((size_t)_i), choices[_i].workers, count_workers((size_t)_i), picks, 64, &a);
	for (size_t i = 0; i < n; i++) {
		given[picks[i].lane] += picks[i].n;
		load[picks[i].worker] += picks[i].n * choices[_i].lanes[picks[i].lane].gpus;
		ck_assert_int_gt(picks[i].n, 0);
	}
	for (size_t l = 0; l < count_lanes((size_t)_i); l++)
		ck_assert_msg(choices[_i].given[l] == -1 || given[l] == choices[_i].given[l], "%s: lane %zu got %d", choices[_i].what, l, given[l]);
	for (size_t w = 0; w < count_workers((size_t)_i); w++)
		ck_assert_msg(load[w] == choices[_i].load[w], "%s: worker %zu has %d", choices[_i].what, w, load[w]);
}
END_TEST

/* Who had more before gets less now: what was used is in the snapshot, so any process decides the same. */
START_TEST(test_fairness_remembers)
{
	struct place_lane lanes[] = {LANE(1, ANN, 100), LANE(2, BOB, 100), LANE(3, ANN, 100)};
	const struct place_worker one[] = {WORKER(EVE, 1)};
	struct place_pick picks[8];
	int given[3] = {0};

	for (int round = 0; round < 24; round++) {
		cleanup_arena struct arena a;

		arena_init(&a, 1 << 20);
		ck_assert_uint_eq(place_choose(&weights, lanes, round < 4 ? 1 : 3, one, 1, picks, 8, &a), 1);
		given[picks[0].lane] += picks[0].n;
		ck_assert(round < 4 || (lanes[0].used_s >= lanes[2].used_s && lanes[0].used_s <= lanes[2].used_s));
		lanes[2].used_s = lanes[0].used_s;
	}
	ck_assert_int_eq(given[0] + given[2], 12);
	ck_assert_int_eq(given[1], 12);
}
END_TEST

/* Others of the highest priority always wait, with fresh jobs and new owners: the job is served all the same, in bounded time. */
START_TEST(test_no_starvation)
{
	const struct place_worker one[] = {WORKER(EVE, 1)};
	int waited = 0;
	bool served = false;

	for (int64_t newcomer = 10; !served; newcomer++, waited += 60) {
		struct place_lane lanes[] = {LANE(1, ANN, 1, .used_s = 1e9, .waited_s = waited), LANE(2, newcomer, 100, .priority = 9)};
		struct place_pick picks[8];
		cleanup_arena struct arena a;

		arena_init(&a, 1 << 20);
		ck_assert_uint_eq(place_choose(&weights, lanes, 2, one, 1, picks, 8, &a), 1);
		served = picks[0].lane == 0;
		ck_assert_int_le(waited, PLACE_CLASS_MOST * PLACE_AGEING_S);
	}
	ck_assert_int_ge(waited, 9 * PLACE_AGEING_S);
}
END_TEST

/* A stream of jobs of one GPU, always before it by share: one of two GPUs starts all the same, soon after its time to wait. */
START_TEST(test_several_gpus_beside_a_stream_of_one)
{
	const struct place_weights hold = {.load = 1, .hold_s = 300};
	int free[2] = {0, 0}, ends[2][2] = {{100, 160}, {130, 190}}, given = 0, at; /* when each slot's job ends: never two of a worker at once */

	for (at = 0; at < 3600 && !given; at += 10) {
		struct place_lane lanes[] = {LANE_OF(1, ANN, 1, 2, "", .used_s = 1e6, .waited_s = at), LANE(2, BOB, 100)};
		struct place_worker w[] = {WORKER(EVE, 0, .slots = 2, .session_id = 1), WORKER(EVE, 0, .slots = 2, .session_id = 2)};
		struct place_pick picks[8];
		cleanup_arena struct arena a;
		size_t n;

		for (int i = 0; i < 4; i++)
			free[i / 2] += ends[i / 2][i % 2] == at;
		w[0].free = free[0];
		w[1].free = free[1];
		arena_init(&a, 1 << 20);
		n = place_choose(&hold, lanes, 2, w, 2, picks, 8, &a);
		/* Never more than one worker's slots lie idle for it. */
		ck_assert(at < 300 ? !lanes[0].keeps : !lanes[0].keeps || free[2 - lanes[0].keeps] == 0 || n);
		for (size_t i = 0; i < n; i++) {
			given += picks[i].lane == 0;
			for (int k = 0; k < 2 && picks[i].lane; k++) {
				int *end = ends[picks[i].worker];

				if (end[k] <= at && free[picks[i].worker] > 0) {
					end[k] = at + 120;
					free[picks[i].worker]--;
				}
			}
		}
	}
	ck_assert_int_eq(given, 1);
	ck_assert_int_ge(at, 300);
	ck_assert_int_le(at, 300 + 2 * 120);
}
END_TEST

/* What is kept: for whom, where, and how much of a pool at most. */
START_TEST(test_what_is_kept)
{
	const struct place_weights hold = {.load = 1, .hold_s = 300};
	struct place_lane lanes[] = {LANE_OF(1, ANN, 1, 4, "A100", .waited_s = 900), LANE_OF(2, ANN, 1, 4, "", .waited_s = 600),
				     LANE_OF(3, ANN, 1, 3, "", .waited_s = 500), LANE_OF(4, BOB, 1, 2, "", .waited_s = 400), LANE(5, EVE, 100)};
	const struct place_worker w[] = {WORKER(EVE, 2, .slots = 2), WORKER(EVE, 1, .slots = 4), WORKER(EVE, 3, .slots = 4), WORKER(EVE, 2, .slots = 4),
					 WORKER(EVE, 1, .slots = 1)};
	struct place_pick picks[16];
	cleanup_arena struct arena a;
	size_t n;

	arena_init(&a, 1 << 20);
	n = place_choose(&hold, lanes, ARRAY_LEN(lanes), w, ARRAY_LEN(w), picks, 16, &a);
	ck_assert_uint_eq(lanes[0].keeps, 0); /* no worker could ever take it, and it is in nobody's way */
	ck_assert_uint_eq(lanes[1].keeps, 3); /* the fullest of free slots among those large enough */
	ck_assert_uint_eq(lanes[2].keeps, 0); /* one an owner, and one of four workers at most */
	for (size_t i = 0; i < n; i++)
		ck_assert_uint_ne(picks[i].worker, 2);
	arena_reset(&a);
	n = place_choose(&weights, lanes, ARRAY_LEN(lanes), w, ARRAY_LEN(w), picks, 16, &a); /* switched off */
	for (size_t i = 0; i < ARRAY_LEN(lanes); i++)
		ck_assert_uint_eq(lanes[i].keeps, 0);
}
END_TEST

START_TEST(test_reasons)
{
	struct place_lane lanes[] = {LANE(1, ANN, 1, .priority = 9), LANE(2, ANN, 1), LANE(3, BOB, 1)};
	const struct place_worker w[] = {WORKER(EVE, 3)};
	struct place_pick picks[8];
	cleanup_arena struct arena a;

	arena_init(&a, 1 << 20);
	ck_assert_uint_eq(place_choose(&weights, lanes, 3, w, 1, picks, 8, &a), 3);
	ck_assert_str_eq(place_why_name(picks[0].why), "priority");
	ck_assert_uint_eq(picks[1].lane, 2); /* Bob had nothing yet */
	ck_assert_str_eq(place_why_name(picks[1].why), "fair_share");
	ck_assert_str_eq(place_why_name(picks[2].why), "only");
}
END_TEST

/* 300 owners, 1,000 lanes, 500 workers: limits hold, and it takes no time that a loop would feel. */
START_TEST(test_many)
{
	static struct place_lane lanes[1000];
	static struct place_worker workers[500];
	static struct place_pick picks[512];
	static int load[500], given[1000];
	cleanup_arena struct arena a;
	size_t n;

	arena_init(&a, 16 << 20);
	for (int i = 0; i < 1000; i++)
		lanes[i] = (struct place_lane)LANE(i + 1, 1 + i % 300, 1 + i % 7, .priority = i % 10);
	for (int i = 0; i < 500; i++)
		workers[i] = (struct place_worker)WORKER(1000 + i, 1 + i % 4);
	n = place_choose(&weights, lanes, 1000, workers, 500, picks, 512, &a);
	ck_assert_uint_gt(n, 100);
	for (size_t i = 0; i < n; i++) {
		given[picks[i].lane] += picks[i].n;
		load[picks[i].worker] += picks[i].n;
	}
	for (int i = 0; i < 1000; i++)
		ck_assert_int_le(given[i], lanes[i].depth);
	for (int i = 0; i < 500; i++)
		ck_assert_int_le(load[i], workers[i].free);
}
END_TEST

/* ---- names ---- */

static const struct {
	const char *gpu, *names;
} gpus[] = {
	{"Tesla T4", "T4,TeslaT4,NvidiaTeslaT4"},
	{"NVIDIA A100-SXM4-40GB", "A100,NVIDIAA100-SXM4-40GB,NvidiaA100-SXM4-40GB"},
	{"NVIDIA GeForce RTX 4090", "RTX4090,NVIDIAGeForceRTX4090,NvidiaGeForceRTX4090"},
	{"Tesla P100-PCIE-16GB", "P100,TeslaP100-PCIE-16GB,NvidiaTeslaP100-PCIE-16GB"},
	{"NVIDIA H100 80GB HBM3", "H100,NVIDIAH10080GBHBM3,NvidiaH10080GBHBM3"},
	{"a,b\"c", "abc,Nvidiaabc"},
};

START_TEST(test_gpu_names)
{
	cleanup_buf struct buf list = BUF_INIT(4096);

	accelerator_names(str_of(gpus[_i].gpu), &list);
	ck_assert_str_eq(list.ptr, gpus[_i].names);
	accelerator_names(str_of(gpus[_i].gpu), &list);
	ck_assert_str_eq(list.ptr, gpus[_i].names); /* each name once */
}
END_TEST

int main(void)
{
	Suite *s = suite_create("placement");
	TCase *t = tcase_create("placement");

	tcase_add_loop_test(t, test_fits, 0, ARRAY_LEN(fits));
	tcase_add_loop_test(t, test_choice, 0, ARRAY_LEN(choices));
	tcase_add_test(t, test_fairness_remembers);
	tcase_add_test(t, test_no_starvation);
	tcase_add_test(t, test_several_gpus_beside_a_stream_of_one);
	tcase_add_test(t, test_what_is_kept);
	tcase_add_test(t, test_reasons);
	tcase_add_test(t, test_many);
	tcase_add_loop_test(t, test_gpu_names, 0, ARRAY_LEN(gpus));
	suite_add_tcase(s, t);
	return unit_run(s);
}
