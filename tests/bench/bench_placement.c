/*
 * Figures of placement: one round of the pure choice with many workers and
 * waiting jobs, and how it grows from 10 workers to 10,000.
 *
 *     bench_placement
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "domain/placement.h"

enum { ROUNDS = 15, LANES = 1600, OWNERS = 100, JOBS = 100000, PICKS = 512, WORKERS = 10000 };

static const char *const wanted[] = {"", "gpu", "T4", "A100,T4", "cpu", "H100"};
static const char *const got[] = {"gpu,T4,TeslaT4,NvidiaTeslaT4", "gpu,A100", "cpu"};
static const struct place_weights weights = {.own = 16, .time = 8, .expiry = 4, .load = 2};
static struct place_lane lanes[LANES];
static struct place_worker workers[WORKERS];
static struct place_pick picks[PICKS];

static void fill(int worker_count)
{
	srand(1);
	for (int i = 0; i < LANES; i++)
		lanes[i] = (struct place_lane){.id = i + 1, .owner_id = 1 + i % OWNERS, .accelerator = wanted[rand() % 6], .gpus = 1 + rand() % 2,
					       .priority = rand() % 10, .depth = JOBS / LANES, .waited_s = rand() % 3000,
					       .estimate_s = i % 3 ? rand() % 30000 : 0, .used_s = 100 * (i % OWNERS)};
	for (int i = 0; i < worker_count; i++)
		workers[i] = (struct place_worker){.session_id = i + 1, .owner_id = 1 + rand() % OWNERS, .got = got[rand() % 3], .free = 1 + rand() % 2,
						   .seconds_left = rand() % 4 ? rand() % 39600 : INFINITY, .hours_end_s = rand() % 600000,
						   .sharing = rand() % 2 ? PLACE_SHARED_ALL : PLACE_SHARED_NONE};
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

static void bench(int worker_count)
{
	int64_t us[ROUNDS];
	size_t n = 0;
	int jobs = 0;

	for (int i = 0; i < ROUNDS; i++) {
		cleanup_arena struct arena a;
		int64_t began;

		fill(worker_count);
		arena_init(&a, 16 << 20);
		began = clock_us();
		n = place_choose(&weights, lanes, LANES, workers, (size_t)worker_count, picks, PICKS, &a);
		us[i] = clock_us() - began;
	}
	for (size_t i = 0; i < n; i++)
		jobs += picks[i].n;
	qsort(us, ROUNDS, sizeof(*us), by_value);
	printf("%6d workers, %d jobs in %d lanes of %d owners: %8.1f ms (%.1f to %.1f), %d jobs placed by %zu choices\n", worker_count, JOBS, LANES,
	       OWNERS, (double)us[ROUNDS / 2] / 1000, (double)us[0] / 1000, (double)us[ROUNDS - 1] / 1000, jobs, n);
}

int main(void)
{
	static const int counts[] = {10, 100, 1000, 10000};

	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		bench(counts[i]);
	return 0;
}
