/* cmd_wait - waits for jobs and follows logs.  Both poll: nothing is lost when
 * the server goes away for a while. */
#include <limits.h>
#include <stdio.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/output.h"

enum { POLL_FIRST_MS = 100, POLL_MOST_MS = 1000, AWAY_MS = 60000 };

#define PATH "/api/gpu/jobs"

static bool is_over(const struct json *job)
{
	struct str state = json_str(job, "state");

	return state.ptr && !str_eqz(state, "queued") && !str_eqz(state, "running");
}

static bool is_away(enum err err)
{
	return err == ERR_UNAVAILABLE || err == ERR_UPSTREAM || err == ERR_RATE || err == ERR_TIMEOUT;
}

/* A job read again; a server that is away for less than a minute is waited for. */
static enum err read_job(struct cli *cli, const char *id, struct json **job, int64_t *away_since, struct error *e)
{
	enum err err = rest_call(&cli->rest, "GET", cli_text(cli, PATH "/%s", cli_segment(cli, id)), NULL, job, e);

	if (!is_away(err)) {
		*away_since = 0;
		return err;
	}
	if (!*away_since)
		*away_since = clock_ms();
	return clock_ms() - *away_since > AWAY_MS ? err : OK;
}

static void draw(struct progress *bar, const struct json *job, size_t over, size_t n)
{
	struct json *progress = json_get(job, "progress");
	struct str message = progress ? json_str(progress, "message") : json_str(job, "waitingReason");
	char label[64];

	if (n == 1)
		snprintf(label, sizeof(label), "%.20s", json_cstr(job, "state") ? json_cstr(job, "state") : "asking");
	else
		snprintf(label, sizeof(label), "%zu of %zu ended", over, n);
	progress_draw(bar, label, n == 1 ? json_double(progress, "fraction", -1) : (double)over / (double)n, message);
}

enum err jobs_wait(struct cli *cli, const char *const *ids, size_t n, int64_t timeout_s, struct json **ret_jobs,
		   bool *all_well, struct error *e)
{
	struct json *ended = json_array();
	struct progress bar = {0};
	int64_t end = clock_ms() + timeout_s * 1000, away = 0, pause = POLL_FIRST_MS;
	size_t over = 0;
	enum err err = OK;

	cli_catch_interrupt();
	*all_well = true;
	while (!err && over < n && !cli_interrupted()) {
		cleanup_json struct json *job = NULL;

		err = read_job(cli, ids[over], &job, &away, e);
		if (!err && is_over(job)) {
			*all_well &= str_eqz(json_str(job, "state"), "succeeded");
			json_add(ended, steal_ptr(job));
			over++;
			pause = POLL_FIRST_MS;
			continue;
		}
		if (!err && timeout_s >= 0 && clock_ms() >= end)
			err = error_set(e, ERR_TIMEOUT, "Job %s has not ended in time.", ids[over]);
		if (err)
			break;
		draw(&bar, job, over, n);
		clock_sleep_ms(pause);
		pause = pause * 3 / 2 > POLL_MOST_MS ? POLL_MOST_MS : pause * 3 / 2;
	}
	progress_end(&bar);
	if (ret_jobs)
		*ret_jobs = ended;
	else
		json_free(ended);
	return err;
}

static const struct column outcome_columns[] = {
	{"job", "id", SHOW_TEXT},
	{"state", "state", SHOW_TEXT},
	{"ran", "runSeconds", SHOW_SECONDS},
	{"result", "result", SHOW_JSON},
	{"error", "error.type", SHOW_TEXT},
	{"", "error.message", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

int jobs_outcome(struct cli *cli, const struct json *jobs, bool all_well)
{
	if (cli->json) {
		output_json(json_len(jobs) == 1 ? json_at(jobs, 0) : jobs);
	} else {
		for (size_t i = 0; i < json_len(jobs); i++)
			output_fields(cli, json_at(jobs, i), outcome_columns);
	}
	if (cli_interrupted())
		return EXIT_INTERRUPTED;
	return all_well ? EXIT_OK : EXIT_FAILED;
}

int cmd_jobs_wait(struct cli *cli)
{
	cleanup_json struct json *jobs = NULL;
	struct error e = {0};
	int64_t timeout = -1;
	bool all_well;
	enum err err;

	if (!cli_option_seconds(cli, "timeout", &timeout))
		return EXIT_USAGE;
	err = jobs_wait(cli, cli->args, (size_t)cli->arg_count, timeout, &jobs, &all_well, &e);
	return err ? cli_fail(cli, err, &e) : jobs_outcome(cli, jobs, all_well);
}

/* ---- logs ----------------------------------------------------------------- */

struct sink {
	struct cli *cli;
	int64_t offset; /* of what was printed */
	char held[4];   /* the beginning of a character whose rest has not come */
	size_t held_len;
};

/* Bytes at the end that begin a character and do not end it. */
static size_t unfinished(const char *p, size_t len)
{
	for (size_t n = 1; n <= 3 && n <= len; n++) {
		unsigned char c = (unsigned char)p[len - n];

		if ((c & 0xc0) == 0x80)
			continue;
		return c >= 0xc0 && n < (c >= 0xf0 ? 4u : c >= 0xe0 ? 3u : 2u) ? n : 0;
	}
	return 0;
}

static bool print_bytes(void *ctx, struct str bytes)
{
	struct sink *s = ctx;
	cleanup_buf struct buf all = BUF_INIT(bytes.len + sizeof(s->held) + 1);

	if (!bytes.len)
		return true;
	buf_add(&all, s->held, s->held_len);
	buf_addstr(&all, bytes);
	s->held_len = s->cli->raw ? 0 : unfinished(all.ptr, all.len);
	all.len -= s->held_len;
	memcpy(s->held, all.ptr + all.len, s->held_len);
	s->offset += (int64_t)all.len;
	output_text(s->cli, buf_str(&all));
	return !ferror(stdout);
}

static enum err print_from(struct sink *s, const char *id, const char *attempt, struct error *e)
{
	struct cli *cli = s->cli;
	const char *more = attempt ? cli_text(cli, "&attempt=%s", cli_segment(cli, attempt)) : "";
	const char *path = cli_text(cli, PATH "/%s/logs?offset=%lld%s", cli_segment(cli, id), (long long)s->offset, more);
	enum err err;

	s->held_len = 0; /* it is asked for again */
	err = rest_stream(&cli->rest, path, "text/plain", 600000, print_bytes, s, e);

	fflush(stdout);
	return err;
}

/* Reads the state before the log: what was written before the end is then in it. */
enum err jobs_follow(struct cli *cli, const char *id, const char *attempt, int64_t offset, struct json **job, struct error *e)
{
	struct sink s = {.cli = cli, .offset = offset};
	int64_t away = 0, was = 0, attempts = -1;

	cli_catch_interrupt();
	while (!cli_interrupted()) {
		bool over;
		enum err err = read_job(cli, id, job, &away, e);

		if (err)
			return err;
		over = is_over(*job);
		/* Another attempt has a log of its own. */
		if (!attempt && json_i64(*job, "attempt", 0) != attempts && attempts > 0)
			s.offset = 0;
		attempts = json_i64(*job, "attempt", 0);
		was = s.offset;
		err = print_from(&s, id, attempt, e);
		if (err && !is_away(err) && err != ERR_NOT_FOUND)
			return err;
		if (over && !is_away(err)) {
			output_text(cli, (struct str){s.held, s.held_len});
			return OK;
		}
		if (s.offset == was)
			clock_sleep_ms(250);
	}
	return OK;
}

int cmd_jobs_logs(struct cli *cli)
{
	cleanup_json struct json *job = NULL;
	struct sink s = {.cli = cli};
	struct error e = {0};
	const char *id = cli->args[0], *attempt = cli_option(cli, "attempt");
	enum err err;

	if (!cli_option_i64(cli, "offset", 0, LONG_MAX, &s.offset))
		return EXIT_USAGE;
	err = cli_option(cli, "follow") ? jobs_follow(cli, id, attempt, s.offset, &job, &e) : print_from(&s, id, attempt, &e);
	output_text(cli, (struct str){s.held, s.held_len});
	if (err)
		return cli_fail(cli, err, &e);
	return cli_interrupted() ? EXIT_INTERRUPTED : EXIT_OK;
}
