/*
 * Figures of the events role without nginx: jobs per second through claims and
 * results, time from submission to start, memory of parked agents.  One throwaway
 * PostgreSQL (fsync off, as in tests), one events process, one driver, all on the
 * same cores.
 *
 *     bench_events [JOBS [AGENTS [SLOTS]]]
 */
#include <check.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "fclient.h"
#include "pg.h"
#include "world.h"

enum { PARKED = 2000, ROUNDS = 400, BYTES = 900 };

static struct world *w;
static struct pg *pg;
static struct events_process process;
static struct principal ann;

struct agent {
	struct fc c;
	char token[CRYPTO_TOKEN_TEXT], base[64];
	bool reports;
	int64_t jobs;
};

static void hash_of(const char *token, char hex[2 * CRYPTO_HASH + 1])
{
	uint8_t hash[CRYPTO_HASH];

	crypto_hash(str_of(token), hash);
	crypto_hex(hash, sizeof(hash), hex);
}

/* `count` workers with running sessions, whose tokens are in agents. */
static void make_agents(struct agent *agents, int count, int64_t account, int slots)
{
	for (int i = 0; i < count; i++) {
		char hex[2 * CRYPTO_HASH + 1];
		int64_t id = world_worker(w, account, "healthy", "{gpu,T4}", slots);

		crypto_token("gps", agents[i].token);
		hash_of(agents[i].token, hex);
		world_sql(w, "update session set token_hash = '\\x%s', protocol = 1 where worker_id = %lld", hex, (long long)id);
		snprintf(agents[i].base, sizeof(agents[i].base), "/api/gpu/workers/%lld", (long long)id);
		fc_open(&agents[i].c, process.socket);
	}
}

static void say_claim(struct agent *a, int max, int wait)
{
	char uri[96], body[96];
	struct fc_request q = {.method = "POST", .uri = uri, .bearer = a->token};

	snprintf(uri, sizeof(uri), "%s/claim", a->base);
	snprintf(body, sizeof(body), "{\"max\":%d,\"waitSeconds\":%d,\"holding\":[]}", max, wait);
	q.body = str_of(body);
	fc_send(&a->c, &q);
}

static void add_jobs(int64_t lane, int count)
{
	world_sql(w, "with j as (insert into job(owner_id, lane, payload) select %lld, %lld, jsonb_build_object('code', repeat('x', %d)) "
		     "from generate_series(1, %d) returning id, owner_id, lane, max_attempts), "
		     "r as (insert into job_ready(lane, id, owner_id, max_attempts) select lane, id, owner_id, max_attempts from j) "
		     "insert into lane_delta(lane, n) select lane, count(*) from j group by lane",
		  (long long)ann.user_id, (long long)lane, BYTES, count);
}

static int64_t make_lane(int priority)
{
	return world_int(w, "insert into lane(type, accelerator, gpus, owner_id, priority) values (0, '', 1, %lld, %d) returning id",
			 (long long)ann.user_id, priority);
}

/* ---- jobs per second ---- */

/* Answers of a claim become a report. */
static void report(struct agent *a)
{
	static struct buf body = {.max = 64 << 20};
	static char result[BYTES + 1];
	const struct json *jobs = json_get(a->c.json, "jobs");
	char uri[96];
	struct fc_request q = {.method = "POST", .uri = uri, .bearer = a->token};

	memset(result, 'y', BYTES);
	buf_reset(&body);
	buf_adds(&body, "{\"results\":[");
	for (size_t i = 0; i < json_len(jobs); i++)
		buf_addf(&body, "%s{\"jobId\":\"%s\",\"lease\":\"%s\",\"state\":\"succeeded\",\"result\":\"%s\"}", i ? "," : "",
			 json_cstr(json_at(jobs, i), "jobId"), json_cstr(json_at(jobs, i), "lease"), result);
	buf_adds(&body, "]}");
	snprintf(uri, sizeof(uri), "%s/results", a->base);
	q.body = buf_str(&body);
	a->jobs += (int64_t)json_len(jobs);
	fc_send(&a->c, &q);
}

static double cpu_of(pid_t pid)
{
	char path[64], line[1024];
	unsigned long user = 0, sys = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	f = fopen(path, "r");
	if (f && fgets(line, sizeof(line), f))
		sscanf(strrchr(line, ')') + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
	if (f)
		fclose(f);
	return (double)(user + sys) / (double)sysconf(_SC_CLK_TCK);
}

/* Of the backends: each ends with its connection, so what died is not in it. */
static double cpu_of_server(void)
{
	char command[96];
	double sum = 0;
	FILE *f;
	int pid;

	snprintf(command, sizeof(command), "pgrep -P %d", (int)pg->pid);
	f = popen(command, "r");
	while (f && fscanf(f, "%d", &pid) == 1)
		sum += cpu_of(pid);
	if (f)
		pclose(f);
	return sum;
}

/* Where the time of the server goes. */
static void print_statements(void)
{
	cleanup_rows struct rows rows = {0};

	pg_sql(w->super, "select calls, rows, round(total_exec_time::numeric, 0) ms, round((total_exec_time / greatest(rows, 1) * 1000)::numeric, 1) "
			 "us_row, left(regexp_replace(query, '\\s+', ' ', 'g'), 60) query from public.pg_stat_statements "
			 "where query ilike 'with%' order by total_exec_time desc limit 6", &rows);
	for (int i = 0; i < rows_count(&rows); i++)
		printf("  %8s calls %8s rows %8s ms %8s us/row  %s\n", row_cstr(&rows, i, "calls"), row_cstr(&rows, i, "rows"),
		       row_cstr(&rows, i, "ms"), row_cstr(&rows, i, "us_row"), row_cstr(&rows, i, "query"));
}

static void bench_drain(int64_t account, int jobs, int count, int slots)
{
	struct agent *agents = calloc((size_t)count, sizeof(*agents));
	int64_t done = 0, start, us;
	double cpu, server;
	int64_t lane = make_lane(4);

	make_agents(agents, count, account, slots);
	add_jobs(lane, jobs);
	pg_sql(w->super, "analyze", NULL);
	cpu = cpu_of(process.pid);
	server = cpu_of_server();
	start = clock_us();
	for (int i = 0; i < count; i++)
		say_claim(&agents[i], slots, 1);
	while (done < jobs) {
		for (int i = 0; i < count && done < jobs; i++) {
			struct agent *a = &agents[i];

			if (!fc_read(&a->c, 15000) || a->c.status != 200) {
				fprintf(stderr, "agent %d: status %d\n", i, a->c.status);
				exit(1);
			}
			if (a->reports) {
				done += (int64_t)json_len(json_get(a->c.json, "results"));
				say_claim(a, slots, 1);
				a->reports = false;
			} else if (json_len(json_get(a->c.json, "jobs"))) {
				report(a);
				a->reports = true;
			} else {
				say_claim(a, slots, 1);
			}
		}
	}
	us = clock_us() - start;
	server = cpu_of_server() - server;
	cpu = cpu_of(process.pid) - cpu;
	printf("%-44s %10.0f jobs/s   (%d agents, %d slots, %d jobs; CPU a job: events %.0f us, server %.0f us)\n", "claimed and reported, batches",
	       (double)done * 1e6 / (double)us, count, slots, jobs, cpu * 1e6 / (double)done,
	       server * 1e6 / (double)done);
	print_statements();
	for (int i = 0; i < count; i++)
		fc_close(&agents[i].c);
	free(agents);
}

/* ---- submission to start ---- */

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return x < y ? -1 : x > y;
}

static void bench_latency(int64_t account)
{
	struct agent a = {0};
	int64_t times[ROUNDS], lane = make_lane(5);

	make_agents(&a, 1, account, 1);
	for (int i = 0; i < ROUNDS; i++) {
		int64_t start;

		say_claim(&a, 1, 20);
		usleep(3000);
		start = clock_us();
		add_jobs(lane, 1);
		db_notify(w->web, "gpupool_jobs", "");
		if (!fc_read(&a.c, 15000) || json_len(json_get(a.c.json, "jobs")) != 1) {
			fprintf(stderr, "no job\n");
			exit(1);
		}
		times[i] = clock_us() - start;
		report(&a);
		fc_read(&a.c, 15000);
	}
	qsort(times, ROUNDS, sizeof(times[0]), by_value);
	printf("%-44s %10.2f ms p50  %.2f ms p99\n", "submit to start, idle agent", (double)times[ROUNDS / 2] / 1000,
	       (double)times[ROUNDS * 99 / 100] / 1000);
	fc_close(&a.c);
}

/* ---- parked agents ---- */

static long private_kib(pid_t pid)
{
	char path[64], line[256];
	long sum = 0, kib;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Private_Clean: %ld", &kib) == 1 || sscanf(line, "Private_Dirty: %ld", &kib) == 1)
			sum += kib;
	if (f)
		fclose(f);
	return sum;
}

static void bench_parked(int64_t account)
{
	struct agent *agents = calloc(PARKED, sizeof(*agents));
	long before, after;
	int64_t times[ROUNDS];
	double cpu;
	struct fc c;

	make_agents(agents, PARKED, account, 1);
	before = private_kib(process.pid);
	for (int i = 0; i < PARKED; i++)
		say_claim(&agents[i], 1, 25);
	usleep(1500000);
	fc_open(&c, process.socket);
	cpu = cpu_of(process.pid);
	for (int i = 0; i < ROUNDS; i++) {
		int64_t start = clock_us();

		fc_call(&c, "GET", "/healthz/events", NULL, NULL);
		times[i] = clock_us() - start;
		usleep(5000);
	}
	cpu = cpu_of(process.pid) - cpu;
	after = private_kib(process.pid);
	qsort(times, ROUNDS, sizeof(times[0]), by_value);
	printf("%-44s %10.1f MiB private (%.1f before)\n", "2,000 parked agents", (double)after / 1024, (double)before / 1024);
	printf("%-44s %10.2f ms p50  %.2f ms p99; %.0f %% of a core\n", "another request beside them", (double)times[ROUNDS / 2] / 1000,
	       (double)times[ROUNDS * 99 / 100] / 1000, cpu * 100 / (ROUNDS * 0.005));
	for (int i = 0; i < PARKED; i++)
		fc_close(&agents[i].c);
	fc_close(&c);
	free(agents);
}

/* The helpers are check's; so this is one test of it. */
static int jobs = 60000, agents_count = 8, slots_each = 256;

START_TEST(bench)
{
	int64_t account;

	w = world_open(pg, "bench");
	ann = world_user(w, "ann", ROLE_OPERATOR);
	account = world_account(w, ann.user_id, "local", "none", 0);
	events_process_start(&process, pg->dir, pg_conninfo(pg, "events", "bench"), NULL);
	bench_latency(account);
	bench_drain(account, jobs, agents_count, slots_each);
	bench_parked(account);
	events_process_stop(&process);
}
END_TEST

int main(int argc, char **argv)
{
	struct rlimit r = {.rlim_cur = 8192, .rlim_max = 8192};
	Suite *s = suite_create("bench");
	TCase *t = tcase_create("bench");
	SRunner *runner;
	int failed;

	if (argc > 1)
		jobs = (int)strtol(argv[1], NULL, 10);
	if (argc > 2)
		agents_count = (int)strtol(argv[2], NULL, 10);
	if (argc > 3)
		slots_each = (int)strtol(argv[3], NULL, 10);
	setrlimit(RLIMIT_NOFILE, &r);
	pg = pg_start();
	tcase_set_timeout(t, 0);
	tcase_add_test(t, bench);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_set_fork_status(runner, CK_NOFORK);
	srunner_run_all(runner, CK_MINIMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
