/* cmd_jobs - lists and shows jobs, cancels and retries them. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/output.h"

#define PATH "/api/gpu/jobs"

static const struct column list_columns[] = {
	{"ID", "id", SHOW_TEXT},
	{"NAME", "name", SHOW_TEXT},
	{"TYPE", "type", SHOW_TEXT},
	{"STATE", "state", SHOW_TEXT},
	{"WAITS FOR", "waitingReason", SHOW_TEXT},
	{"DONE", "progress.fraction", SHOW_PERCENT},
	{"WORKER", "workerId", SHOW_TEXT},
	{"ATTEMPT", "attempt", SHOW_TEXT},
	{"RAN", "runSeconds", SHOW_SECONDS},
	{"AGE", "createdAt", SHOW_AGE},
	{NULL, NULL, SHOW_TEXT},
};

static const struct column show_columns[] = {
	{"id", "id", SHOW_TEXT},
	{"name", "name", SHOW_TEXT},
	{"tags", "tags", SHOW_LIST},
	{"secrets", "secrets", SHOW_LIST},
	{"type", "type", SHOW_TEXT},
	{"state", "state", SHOW_TEXT},
	{"waits for", "waitingReason", SHOW_TEXT},
	{"because", "waitingDetail", SHOW_TEXT},
	{"endpoint", "endpoint", SHOW_TEXT},
	{"worker", "workerId", SHOW_TEXT},
	{"priority", "priority", SHOW_TEXT},
	{"attempt", "attempt", SHOW_TEXT},
	{"of at most", "maxAttempts", SHOW_TEXT},
	{"progress", "progress.fraction", SHOW_PERCENT},
	{"message", "progress.message", SHOW_TEXT},
	{"created", "createdAt", SHOW_TIME},
	{"started", "startedAt", SHOW_TIME},
	{"finished", "finishedAt", SHOW_TIME},
	{"waited", "delaySeconds", SHOW_SECONDS},
	{"ran", "runSeconds", SHOW_SECONDS},
	{"result", "result", SHOW_JSON},
	{"error", "error.type", SHOW_TEXT},
	{"", "error.message", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

static const struct column attempt_columns[] = {
	{"RUN", "run", SHOW_TEXT},
	{"ATTEMPT", "attempt", SHOW_TEXT},
	{"OUTCOME", "outcome", SHOW_TEXT},
	{"WORKER", "workerId", SHOW_TEXT},
	{"STARTED", "startedAt", SHOW_TIME},
	{"ENDED", "endedAt", SHOW_TIME},
	{"LOG", "logBytes", SHOW_BYTES},
	{"ERROR", "error.message", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

static const struct query_option filters[] = {
	{"state", "state"}, {"type", "type"}, {"tag", "tag"}, {"name", "name"}, {"search", "q"}, {"worker", "worker"}, {"owner", "owner"}, {NULL, NULL},
};

int cmd_jobs_list(struct cli *cli)
{
	cleanup_json struct json *list = NULL;
	struct error e = {0};
	int64_t most = 50;
	enum err err;

	if (!cli_option_i64(cli, "limit", 1, 1000000, &most))
		return EXIT_USAGE;
	if (cli_option(cli, "all"))
		most = 0;
	err = cli_list(cli, cli_query(cli, PATH, filters), "jobs", most, &list, &e);
	if (err)
		return cli_fail(cli, err, &e);
	if (!output_as_json(cli, list))
		output_table(cli, json_get(list, "jobs"), list_columns);
	return EXIT_OK;
}

int cmd_jobs_show(struct cli *cli)
{
	cleanup_json struct json *job = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, "GET", cli_text(cli, PATH "/%s", cli_segment(cli, cli->args[0])), NULL, &job, &e);
	struct str traceback;

	if (err)
		return cli_fail(cli, err, &e);
	if (output_as_json(cli, job))
		return EXIT_OK;
	output_fields(cli, job, show_columns);
	traceback = json_str(json_get(job, "error"), "traceback");
	if (traceback.len) {
		putchar('\n');
		output_text(cli, traceback);
	}
	return EXIT_OK;
}

int cmd_jobs_attempts(struct cli *cli)
{
	cleanup_json struct json *list = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, "GET", cli_text(cli, PATH "/%s/attempts", cli_segment(cli, cli->args[0])), NULL, &list, &e);

	if (err)
		return cli_fail(cli, err, &e);
	if (!output_as_json(cli, list))
		output_table(cli, json_get(list, "attempts"), attempt_columns);
	return EXIT_OK;
}

/* One call for each id; the first that fails gives the exit code, the others
 * are tried all the same. */
static int each(struct cli *cli, const char *verb, const char *done)
{
	int code = EXIT_OK;

	for (int i = 0; i < cli->arg_count; i++) {
		cleanup_json struct json *job = NULL;
		struct error e = {0};
		enum err err = rest_call(&cli->rest, "POST", cli_text(cli, PATH "/%s/%s", cli_segment(cli, cli->args[i]), verb), NULL, &job, &e);

		if (err) {
			int failed = cli_fail(cli, err, &e);

			code = code ? code : failed;
		} else if (!output_as_json(cli, job)) {
			printf("%s %s\n", cli->args[i], done);
		}
	}
	return code;
}

/* By filter: one call, never without a filter. */
static int cancel_many(struct cli *cli)
{
	cleanup_json struct json *body = json_object(), *reply = NULL;
	struct error e = {0};
	enum err err;

	for (const struct query_option *f = filters; f->option; f++)
		if (cli_option(cli, f->option))
			json_put_cstr(body, f->query, cli_option(cli, f->option));
	if (!json_len(body))
		return cli_usage(cli, "say which: ids, or a filter such as --tag NAME");
	err = rest_call(&cli->rest, "POST", PATH "/cancel", body, &reply, &e);
	if (err)
		return cli_fail(cli, err, &e);
	if (!output_as_json(cli, reply))
		printf("%lld cancelled%s\n", (long long)json_i64(reply, "cancelled", 0), json_bool(reply, "more", false) ? ", and there are more" : "");
	return EXIT_OK;
}

int cmd_jobs_cancel(struct cli *cli)
{
	return cli->arg_count ? each(cli, "cancel", "cancelled") : cancel_many(cli);
}

int cmd_jobs_retry(struct cli *cli)
{
	return each(cli, "retry", "waits again");
}
