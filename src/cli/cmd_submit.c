/* cmd_submit - makes a job of files and options, or many of a batch file. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "cli/commands.h"
#include "cli/files.h"
#include "cli/output.h"

#define PATH "/api/gpu/jobs"

enum { INLINE_MOST = 1 << 20, BATCH_MOST = 512 << 20, BATCH_JOBS = 1000, BATCH_BYTES = 24 << 20 };

/* A file, or standard input for "-". */
static enum err read_input(const char *path, size_t max, struct buf *ret, struct error *e)
{
	return files_read(strcmp(path, "-") ? path : "/dev/stdin", max, ret, e);
}

/* ---- one job -------------------------------------------------------------- */

static void put_strings(struct cli *cli, struct json *object, const char *option, const char *field)
{
	struct json *list;

	if (!cli_option(cli, option))
		return;
	list = json_array();
	for (size_t i = 0; cli_option_at(cli, option, i); i++)
		json_add_cstr(list, cli_option_at(cli, option, i));
	json_put(object, field, list);
}

/* --env NAME=VALUE, or NAME for the value that it has here. */
static bool put_env(struct cli *cli, struct json *payload)
{
	struct json *env;

	if (!cli_option(cli, "env"))
		return true;
	env = json_object();
	json_put(payload, "env", env);
	for (size_t i = 0; cli_option_at(cli, "env", i); i++) {
		const char *given = cli_option_at(cli, "env", i), *equals = strchr(given, '=');
		const char *name = equals ? cli_text(cli, "%.*s", (int)(equals - given), given) : given;
		const char *value = equals ? equals + 1 : getenv(name);

		if (!name[0] || !value)
			return cli_usage(cli, "--env wants NAME=VALUE, or the NAME of a variable that is set: %s", given), false;
		json_put_cstr(env, name, value);
	}
	return true;
}

/* Text as it is, anything else in base64. */
static struct json *file_json(struct str bytes)
{
	cleanup_buf struct buf text = BUF_INIT(4 * INLINE_MOST);
	struct json *wrapped;

	if (str_is_utf8(bytes))
		return json_new_str(bytes);
	crypto_base64(bytes.ptr, bytes.len, &text);
	wrapped = json_object();
	json_put_str(wrapped, "base64", buf_str(&text));
	return wrapped;
}

/* --file NAME=PATH, or PATH, which keeps its last part as name. */
static bool put_files(struct cli *cli, struct json *payload, struct error *e)
{
	struct json *files;

	if (!cli_option(cli, "file"))
		return true;
	files = json_object();
	json_put(payload, "files", files);
	for (size_t i = 0; cli_option_at(cli, "file", i); i++) {
		const char *given = cli_option_at(cli, "file", i), *equals = strchr(given, '=');
		const char *path = equals ? equals + 1 : given, *slash = strrchr(path, '/');
		const char *name = equals ? cli_text(cli, "%.*s", (int)(equals - given), given) : slash ? slash + 1 : path;
		cleanup_buf struct buf bytes = {0};

		if (read_input(path, INLINE_MOST, &bytes, e))
			return false;
		json_put(files, name, file_json(bytes.ptr ? buf_str(&bytes) : STR("")));
	}
	return true;
}

/* --requirement LINE, and --requirements FILE as pip reads it. */
static bool put_requirements(struct cli *cli, struct json *payload, struct error *e)
{
	const char *path = cli_option(cli, "requirements");
	cleanup_buf struct buf text = {0};
	struct json *list;
	struct str rest, line;

	if (!path && !cli_option(cli, "requirement"))
		return true;
	list = json_array();
	json_put(payload, "requirements", list);
	for (size_t i = 0; cli_option_at(cli, "requirement", i); i++)
		json_add_cstr(list, cli_option_at(cli, "requirement", i));
	if (!path)
		return true;
	if (read_input(path, INLINE_MOST, &text, e))
		return false;
	rest = buf_str(&text);
	while (str_cut(&rest, '\n', &line)) {
		line = str_trim(line);
		if (line.len && line.ptr[0] != '#')
			json_add(list, json_new_str(line));
	}
	return true;
}

static struct json *words(struct cli *cli, int from)
{
	struct json *list = json_array();

	for (int i = from; i < cli->arg_count; i++)
		json_add_cstr(list, cli->args[i]);
	return list;
}

/* What the job runs: a program's words, an endpoint's input, or a Python file. */
static bool put_source(struct cli *cli, struct json *payload, struct error *e)
{
	const char *input = cli_option(cli, "input");
	cleanup_buf struct buf text = {0};

	if (cli_option(cli, "command")) {
		json_put(payload, "command", words(cli, 0));
		return true;
	}
	if (cli_option(cli, "endpoint")) {
		struct json *value = NULL;
		struct error bad = {0};

		if (json_parse(str_of(input ? input : "null"), INLINE_MOST, &value, &bad))
			return cli_usage(cli, "--input is no JSON: %s", bad.msg), false;
		json_put(payload, "input", value);
		return true;
	}
	if (read_input(cli->args[0], INLINE_MOST, &text, e))
		return false;
	if (!text.len || !str_is_utf8(buf_str(&text))) {
		error_set(e, ERR_INVALID, "%s is %s", cli->args[0], text.len ? "no text" : "empty");
		return false;
	}
	json_put_str(payload, "code", buf_str(&text));
	if (cli->arg_count > 1)
		json_put(payload, "args", words(cli, 1));
	return true;
}

/* --after takes a time, or how long from now. */
static bool put_after(struct cli *cli, struct json *job)
{
	const char *after = cli_option(cli, "after");
	int64_t seconds;
	char text[32];

	if (!after)
		return true;
	if (str_to_duration(str_of(after), &seconds))
		clock_rfc3339(clock_wall_ms() + seconds * 1000, text, sizeof(text));
	else if (output_parse_time(str_of(after), &seconds))
		snprintf(text, sizeof(text), "%s", after);
	else
		return cli_usage(cli, "--after wants a duration such as 10m, or a time such as 2026-01-31T08:00:00Z"), false;
	json_put_cstr(job, "runAfter", text);
	return true;
}

static bool put_numbers(struct cli *cli, struct json *job)
{
	static const struct {
		const char *option, *field;
		long min, max; /* max 0 = a duration */
	} numbers[] = {
		{"priority", "priority", 0, 9}, {"gpus", "gpus", 1, 64},	      {"max-attempts", "maxAttempts", 1, 100},
		{"timeout", "timeoutSeconds", 0, 0}, {"estimate", "estimatedSeconds", 0, 0},
	};

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		int64_t v = 0;

		if (numbers[i].max ? !cli_option_i64(cli, numbers[i].option, numbers[i].min, numbers[i].max, &v)
				   : !cli_option_seconds(cli, numbers[i].option, &v))
			return false;
		if (cli_option(cli, numbers[i].option))
			json_put_i64(job, numbers[i].field, v);
	}
	return true;
}

static void put_words(struct cli *cli, struct json *job)
{
	static const struct {
		const char *option, *field;
	} texts[] = {{"name", "name"}, {"endpoint", "endpoint"}, {"webhook", "webhook"}};

	json_put_cstr(job, "type", cli_option(cli, "type") ? cli_option(cli, "type") : cli_option(cli, "endpoint") ? "inference" : "script");
	for (size_t i = 0; i < ARRAY_LEN(texts); i++)
		if (cli_option(cli, texts[i].option))
			json_put_cstr(job, texts[i].field, cli_option(cli, texts[i].option));
	put_strings(cli, job, "tag", "tags");
	put_strings(cli, job, "secret", "secrets");
	if (cli_option(cli, "accelerator") && cli_option_at(cli, "accelerator", 1))
		put_strings(cli, job, "accelerator", "accelerator");
	else if (cli_option(cli, "accelerator"))
		json_put_cstr(job, "accelerator", cli_option(cli, "accelerator"));
	if (cli_option(cli, "retry-on-error")) {
		struct json *retry = json_array();

		json_add_cstr(retry, "error");
		json_put(job, "retryOn", retry);
	}
}

/* EXIT_OK, or the code to leave with. */
static int make_job(struct cli *cli, struct json *job)
{
	struct json *payload = json_object();
	struct error e = {0};

	json_put(job, "payload", payload);
	put_words(cli, job);
	if (!put_numbers(cli, job) || !put_after(cli, job) || !put_env(cli, payload))
		return EXIT_USAGE;
	if (put_source(cli, payload, &e) && put_files(cli, payload, &e) && put_requirements(cli, payload, &e))
		return EXIT_OK;
	return e.msg[0] ? (cli_fail(cli, e.code, &e), EXIT_USAGE) : EXIT_USAGE;
}

/* ---- sending -------------------------------------------------------------- */

/* One key a submission: a call whose answer was lost is not a second job. */
static enum err post(struct cli *cli, const char *path, const struct json *body, struct json **ret, struct error *e)
{
	char key[37];
	const struct http_header headers[] = {{"Idempotency-Key", key}, {NULL, NULL}};
	cleanup_reply struct rest_reply reply = {0};
	enum err err = OK;

	crypto_uuid(key);
	for (int try = 0; try < 3; try++) {
		err = rest_send(&cli->rest, "POST", path, body, headers, &reply, e);
		if (reply.status || err != ERR_UNAVAILABLE)
			break;
		clock_sleep_ms(500);
	}
	if (!err && !reply.json)
		return error_set(e, ERR_UPSTREAM, "The server's answer is no JSON.");
	if (!err)
		*ret = steal_ptr(reply.json);
	return err;
}

static int wait_for(struct cli *cli, const char *id)
{
	cleanup_json struct json *jobs = NULL, *job = NULL;
	struct error e = {0};
	int64_t timeout = -1;
	bool all_well = true;
	enum err err;

	if (!cli_option_seconds(cli, "wait-timeout", &timeout))
		return EXIT_USAGE;
	err = cli_option(cli, "follow") ? jobs_follow(cli, id, NULL, 0, &job, &e) : OK;
	if (!err && !cli_interrupted())
		err = jobs_wait(cli, &id, 1, timeout, &jobs, &all_well, &e);
	return err ? cli_fail(cli, err, &e) : jobs_outcome(cli, jobs, all_well);
}

static int submit_one(struct cli *cli)
{
	cleanup_json struct json *job = json_object(), *made = NULL;
	struct error e = {0};
	const char *id;
	int code = make_job(cli, job);
	enum err err;

	if (code)
		return code;
	err = post(cli, PATH, job, &made, &e);
	if (err)
		return cli_fail(cli, err, &e);
	id = json_cstr(made, "jobId");
	if (!id)
		return cli_fail(cli, ERR_UPSTREAM, &(struct error){.msg = "The answer names no job."});
	if (cli_option(cli, "wait") || cli_option(cli, "follow")) {
		fprintf(stderr, "job %s\n", id);
		return wait_for(cli, cli_text(cli, "%s", id));
	}
	if (!output_as_json(cli, made))
		printf("%s\n", id);
	return EXIT_OK;
}

/* ---- many ----------------------------------------------------------------- */

/* A JSON array of jobs, {"jobs": […]}, or one job a line. */
static enum err read_batch(struct str text, struct json **ret, struct error *e)
{
	struct str line;
	int64_t number = 0;
	struct json *whole = NULL;

	if (json_parse(text, BATCH_MOST, &whole, NULL) == OK && (json_type_of(whole) == JSON_ARRAY || json_has(whole, "jobs"))) {
		*ret = json_type_of(whole) == JSON_ARRAY ? json_ref(whole) : json_ref(json_get(whole, "jobs"));
		json_free(whole);
		return OK;
	}
	json_free(whole);
	*ret = json_array();
	while (str_cut(&text, '\n', &line)) {
		struct json *job = NULL;
		struct error bad = {0};

		number++;
		if (!str_trim(line).len)
			continue;
		if (json_parse(line, BATCH_MOST, &job, &bad))
			return error_set(e, ERR_INVALID, "line %lld is no JSON: %.150s", (long long)number, bad.msg);
		json_add(*ret, job);
	}
	return OK;
}

/* The next part that the server takes in one call; *at moves past it. */
static struct json *next_part(const struct json *jobs, size_t *at)
{
	struct json *body = json_object(), *part = json_array();
	size_t bytes = 0;

	json_put(body, "jobs", part);
	while (*at < json_len(jobs) && json_len(part) < BATCH_JOBS) {
		cleanup_buf struct buf text = BUF_INIT(BATCH_MOST);

		json_write(json_at(jobs, *at), &text);
		if (bytes && bytes + text.len > BATCH_BYTES)
			break;
		bytes += text.len;
		json_add(part, json_ref(json_at(jobs, (*at)++)));
	}
	return body;
}

static int submit_batch(struct cli *cli, const char *path)
{
	cleanup_json struct json *jobs = NULL, *all = json_array();
	cleanup_buf struct buf text = {0};
	struct progress bar = {0};
	struct error e = {0};
	size_t at = 0;
	enum err err = read_input(path, BATCH_MOST, &text, &e);

	if (!err)
		err = read_batch(buf_str(&text), &jobs, &e);
	if (err)
		return cli_fail(cli, err, &e), EXIT_USAGE;
	while (!err && at < json_len(jobs)) {
		cleanup_json struct json *body = next_part(jobs, &at), *reply = NULL;
		struct json *made;

		err = post(cli, PATH "/batch", body, &reply, &e);
		made = json_get(reply, "jobs");
		for (size_t i = 0; i < json_len(made); i++) {
			json_add(all, json_ref(json_at(made, i)));
			if (!cli->json)
				printf("%s\n", json_cstr(json_at(made, i), "jobId") ? json_cstr(json_at(made, i), "jobId") : "-");
		}
		progress_draw(&bar, "submitted", (double)json_len(all) / (double)json_len(jobs), STR(""));
	}
	progress_end(&bar);
	if (cli->json)
		output_json(all);
	return err ? cli_fail(cli, err, &e) : EXIT_OK;
}

int cmd_jobs_submit(struct cli *cli)
{
	const char *batch = cli_option(cli, "batch");

	if (batch)
		return cli->arg_count ? cli_usage(cli, "--batch takes all from its file") : submit_batch(cli, batch);
	if (!cli->arg_count && !cli_option(cli, "endpoint"))
		return cli_usage(cli, "say what to run: a Python file, --command -- PROGRAM ARGS, --endpoint NAME or --batch FILE");
	return submit_one(cli);
}
