/*
 * Figures of scaling: what one round of the autoscaler costs against a database
 * of many workers and waiting jobs, what the decision alone costs, and how a pool
 * grows from 10 workers to 10,000.  One throwaway PostgreSQL (fsync off).
 *
 *     bench_scaling [WORKERS [JOBS]]
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "domain/scaling.h"
#include "pool.h"

enum { ROUNDS = 15, LANES = 200, GROWN = 10000 };

static const struct config config = {.public_url = "https://pool.example.org", .kaggle_url = "https://api.kaggle.com/v1"};

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void print(const char *what, int64_t *us, int n)
{
	qsort(us, (size_t)n, sizeof(*us), by_value);
	printf("%-52s %8.1f ms (%.1f to %.1f)\n", what, (double)us[n / 2] / 1000, (double)us[0] / 1000, (double)us[n - 1] / 1000);
}

/* Busy workers of ten persons, each with an account that is shared with nobody, and their waiting jobs. */
static void fill(struct pool *p, int workers, int jobs)
{
	pool_sql(p, "insert into users(name, role) select 'u' || i, 'operator' from generate_series(1, 9) i; "
		    "insert into provider_policy(provider, sharing_allowed, implicit, source, as_of) "
		    "values ('bench', false, true, '', '2026-01-01'); "
		    "insert into provider_driver(name, provider, enrol_seconds, knows_runs) values ('bench', 'bench', 60, true); delete from account; "
		    "insert into account(owner_id, provider) select id, 'bench' from users; "
		    "insert into scaling_policy(owner_id, enabled, max_workers, accelerator) select id, true, 200, '' from users; "
		    "insert into lane(type, accelerator, gpus, owner_id, priority) "
		    "select 0, case i %% 3 when 0 then '' when 1 then 'gpu' else 'T4' end, 1, 1 + i %% 10, i %% 10 from generate_series(1, %d) i on conflict do nothing", LANES);
	pool_sql(p, "insert into worker(owner_id, account_id, provider, title, accelerator, desired, state) "
		    "select a.owner_id, a.id, a.provider, 'w' || i, 'gpu', 'running', 'healthy' from generate_series(1, %d) i "
		    "join account a on a.owner_id = 1 + i %% 10", workers);
	pool_sql(p, "insert into session(worker_id, owner_id, account_id, provider, generation, state, got, slots, registered_at, deadline) "
		    "select id, owner_id, account_id, provider, 1, 'running', '{gpu,T4}', 2, now(), now() + interval '8 hours' from worker; "
		    "insert into session_live(session_id) select id from session; "
		    "update worker w set session_id = s.id from session s where s.worker_id = w.id; "
		    "insert into job_lease(id, lease, session_id, worker_id, lane, owner_id, gpus, attempt, run, max_attempts, seconds, until) "
		    "select 900000000 + id * 2 + k, gen_random_uuid(), id, worker_id, 1, owner_id, 1, 1, 1, 3, 60, now() + interval '1 hour' from session, generate_series(0, 1) k");
	pool_sql(p, "with j as (insert into job(owner_id, lane, payload, estimated_seconds) "
		    "select l.owner_id, l.id, '{}', 60 from generate_series(1, %d) i join (select *, row_number() over (order by id) - 1 as k, count(*) over () as n from lane) l "
		    "on l.k = i %% l.n returning id, lane, owner_id), "
		    "r as (insert into job_ready(lane, id, owner_id, max_attempts) select lane, id, owner_id, 3 from j returning lane) "
		    "update lane l set ready = (select count(*) from r where r.lane = l.id)", jobs);
	pool_sql(p, "analyze");
}

static void bench_rounds(struct pool *p, const char *what)
{
	int64_t whole[ROUNDS], alone[ROUNDS];
	struct arena a;
	char line[128];
	struct error e;

	arena_init(&a, 1 << 30);
	for (int i = 0; i < ROUNDS; i++) {
		cleanup_look struct scaling_look look = {0};
		struct scale_result again;
		int64_t start = clock_us();

		arena_reset(&a);
		if (scaling_look(p->role, &a, &config, 0, &look, &e))
			abort();
		whole[i] = clock_us() - start;
		start = clock_us();
		if (autoscaler_decide(&look.snapshot, &a, &again, &e))
			abort();
		alone[i] = clock_us() - start;
	}
	snprintf(line, sizeof(line), "a round: look and decide, %s", what);
	print(line, whole, ROUNDS);
	print("  of it the decision alone", alone, ROUNDS);
	arena_free(&a);
}

/* ---- growth, without a database ---- */

static int64_t decide(struct scale_snapshot *s, struct arena *a, struct scale_result *r)
{
	int64_t start = clock_us();
	struct error e;

	arena_reset(a);
	if (autoscaler_decide(s, a, r, &e))
		abort();
	return clock_us() - start;
}

/* Each round's starts are registered and busy by the next one; the queue is what `jobs` leaves. */
static void bench_growth(int64_t jobs, const char *what)
{
	static const struct scale_policy policy = {.owner_id = 1, .accelerator = "gpu", .max = GROWN, .threshold = 5, .target_wait_s = 300, .idle_stop_s = 600};
	static const struct scale_account account = {.id = 1, .owner_id = 1, .provider = "local", .startable = true, .blocked = "", .blocked_why = "", .cold_s = 60};
	struct scale_worker *workers = calloc(GROWN, sizeof(*workers));
	struct scale_lane lane = {.id = 1, .owner_id = 1, .accelerator = "gpu", .gpus = 1, .priority = 5};
	struct scale_snapshot s = {.now_ms = 1000000000, .policies = &policy, .policy_count = 1, .accounts = &account, .account_count = 1,
				   .workers = workers, .worker_count = 10, .lanes = &lane, .lane_count = 1};
	struct scale_result r;
	struct arena a;
	int64_t us = 0, most = 0;
	int rounds = 0;

	arena_init(&a, 1 << 30);
	do {
		for (size_t i = 0; i < s.worker_count; i++)
			workers[i] = (struct scale_worker){.id = (int64_t)i + 1, .owner_id = 1, .account_id = 1, .version = 1, .accelerator = "gpu", .state = "healthy",
				.session_state = "running", .wanted = true, .registered = true, .got = "gpu", .slots = 1, .busy = 1, .leases = 1, .left_s = -1, .max_session_s = -1};
		lane.depth = jobs - (int64_t)s.worker_count;
		us = decide(&s, &a, &r);
		most = us > most ? us : most;
		s.worker_count += r.count;
		rounds++;
	} while (r.count && s.worker_count < GROWN);
	printf("%-52s %8d rounds, %zu workers then, %.1f ms the longest\n", what, rounds, s.worker_count, (double)most / 1000);
	arena_free(&a);
	free(workers);
}

int main(int argc, char **argv)
{
	int workers = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1000, jobs = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 100000;
	struct pg *pg = pg_start();
	struct pool p;
	char what[64];

	pool_make(&p, pg, "provisioner");
	fill(&p, workers, jobs);
	snprintf(what, sizeof(what), "%d workers, %d jobs", workers, jobs);
	bench_rounds(&p, what);
	pool_drop(&p);
	bench_growth(100000, "10 to 10,000 workers, 100,000 jobs at once");
	bench_growth(20000, "10 to 10,000 workers, 20,000 jobs at once");
	pg_stop(pg);
	return 0;
}
