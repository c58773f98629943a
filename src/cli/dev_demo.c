/* dev_demo - the first worker, and a real training as the example job.  See cli/dev.h. */
#include "cli/dev.h"

#include <stdio.h>

#include "base/asset.h"
#include "base/clock.h"
#include "cli/rest.h"

enum { HEALTHY_MS = 60000, EXAMPLE_MS = 300000 };

#define NOTEBOOKS "/api/gpu/workers/notebooks"

static void open_rest(struct dev *d, struct rest *r)
{
	rest_open(r, d->url, d->token);
	r->deadline_ms = 10000;
}

enum err dev_answers(struct dev *d, struct error *e)
{
	struct rest r;
	enum err err;

	open_rest(d, &r);
	r.deadline_ms = 3000;
	err = rest_call(&r, "GET", "/readyz", NULL, NULL, e);
	rest_close(&r);
	return err;
}

/* ---- the worker ----------------------------------------------------------- */

static enum err find_or_make(struct rest *r, struct json **worker, struct error *e)
{
	cleanup_json struct json *list = NULL, *body = NULL;
	enum err err = rest_call(r, "GET", NOTEBOOKS "?limit=1", NULL, &list, e);

	if (err)
		return err;
	if (json_len(json_get(list, "notebooks"))) {
		*worker = json_ref(json_at(json_get(list, "notebooks"), 0));
		return OK;
	}
	body = json_object();
	json_put_cstr(body, "provider", "local");
	json_put_cstr(body, "accelerator", "cpu");
	json_put_cstr(body, "title", "this machine");
	dev_say("creating a worker on this machine");
	return rest_call(r, "POST", NOTEBOOKS, body, worker, e);
}

static enum err wait_healthy(struct dev *d, struct rest *r, struct json **worker, struct error *e)
{
	const char *path = dev_text(d, NOTEBOOKS "/%s", json_cstr(*worker, "id"));
	int64_t begun = clock_ms();

	for (;;) {
		struct str state = json_str(*worker, "state");
		enum err err;

		if (str_eqz(state, "healthy")) {
			dev_say("worker \"%s\" registered itself: healthy after %.1f s", json_cstr(*worker, "title"), (double)(clock_ms() - begun) / 1000);
			return OK;
		}
		if (str_eqz(state, "failed") || clock_ms() - begun > HEALTHY_MS)
			return error_set(e, ERR_TIMEOUT, "the worker is %.*s, not healthy: %s", STR_ARG(state),
					 json_cstr(json_get(*worker, "reason"), "message") ? json_cstr(json_get(*worker, "reason"), "message") : "no reason given");
		if (!dev_turn(d, 100))
			return error_set(e, ERR_UNAVAILABLE, "stopped");
		err = rest_call(r, "GET", path, NULL, worker, e);
		if (err && err != ERR_UNAVAILABLE && err != ERR_UPSTREAM)
			return err;
	}
}

enum err dev_first_worker(struct dev *d, struct error *e)
{
	cleanup_json struct json *worker = NULL;
	struct rest r;
	enum err err;

	open_rest(d, &r);
	err = find_or_make(&r, &worker, e);
	/* One that somebody stopped, or that runs elsewhere, is theirs. */
	if (!err && str_eqz(json_str(worker, "provider"), "local") && str_eqz(json_str(worker, "desiredState"), "running"))
		err = wait_healthy(d, &r, &worker, e);
	rest_close(&r);
	return err;
}

/* ---- the example ---------------------------------------------------------- */

static bool print_log(void *ctx, struct str bytes)
{
	cleanup_buf struct buf text = BUF_INIT(bytes.len * 3 + 64);
	int64_t *offset = ctx;

	*offset += (int64_t)bytes.len;
	buf_add_text(&text, bytes, true);
	if (text.len)
		fwrite(text.ptr, 1, text.len, stdout);
	fflush(stdout);
	return true;
}

static enum err submit(struct rest *r, struct json **made, struct error *e)
{
	cleanup_json struct json *body = json_object();
	struct json *payload = json_object(), *args = json_array();

	json_add_cstr(args, "--epochs");
	json_add_cstr(args, "12");
	json_put_cstr(payload, "code", asset_find("examples/digits.py")->bytes.ptr);
	json_put(payload, "args", args);
	json_put_cstr(body, "type", "training");
	json_put_cstr(body, "name", "example: handwritten digits");
	json_put(body, "payload", payload);
	return rest_call(r, "POST", "/api/gpu/jobs", body, made, e);
}

static bool is_over(struct str state)
{
	return !str_eqz(state, "queued") && !str_eqz(state, "running");
}

/* Polls, so that it needs nothing but plain requests. */
static enum err follow(struct dev *d, struct rest *r, const char *id, struct json **job, struct error *e)
{
	const char *path = dev_text(d, "/api/gpu/jobs/%s", id);
	int64_t end = clock_ms() + EXAMPLE_MS, offset = 0;

	for (bool over = false; !over;) {
		char logs[128];
		enum err err = rest_call(r, "GET", path, NULL, job, e);

		if (err && err != ERR_UNAVAILABLE && err != ERR_UPSTREAM)
			return err;
		over = !err && is_over(json_str(*job, "state"));
		snprintf(logs, sizeof(logs), "%.64s/logs?offset=%lld", path, (long long)offset);
		err = rest_stream(r, logs, "text/plain", 10000, print_log, &offset, e);
		if (err && err != ERR_UNAVAILABLE && err != ERR_UPSTREAM && err != ERR_NOT_FOUND)
			return err;
		if (clock_ms() > end)
			return error_set(e, ERR_TIMEOUT, "the example is still %s", json_cstr(*job, "state"));
		if (!over && !dev_turn(d, 200))
			return error_set(e, ERR_UNAVAILABLE, "stopped");
	}
	return OK;
}

static enum err show(struct dev *d, struct rest *r, const char *id, const struct json *job, struct error *e)
{
	cleanup_json struct json *files = NULL;
	struct json *list;
	enum err err;

	if (!str_eqz(json_str(job, "state"), "succeeded"))
		return error_set(e, ERR_INTERNAL, "the example %s: %s", json_cstr(job, "state"),
				 json_cstr(json_get(job, "error"), "message") ? json_cstr(json_get(job, "error"), "message") : "no reason given");
	dev_say("result of job %s: %s", id, json_text(json_get(job, "result"), &d->arena));
	err = rest_call(r, "GET", dev_text(d, "/api/gpu/jobs/%s/artifacts", id), NULL, &files, e);
	list = json_get(files, "artifacts");
	for (size_t i = 0; !err && i < json_len(list); i++)
		dev_say("artifact: %s, %lld bytes, %s/api/gpu/jobs/%s/artifacts/%s", json_cstr(json_at(list, i), "name"),
			(long long)json_i64(json_at(list, i), "size", 0), d->url, id, json_cstr(json_at(list, i), "name"));
	return err;
}

enum err dev_example(struct dev *d, struct error *e)
{
	cleanup_json struct json *made = NULL, *job = NULL;
	const char *id = NULL;
	struct rest r;
	enum err err;

	open_rest(d, &r);
	dev_say("example: training a network on real handwritten digits");
	err = submit(&r, &made, e);
	if (!err && !(id = json_cstr(made, "jobId")))
		err = error_set(e, ERR_UPSTREAM, "the answer to the example's job has no jobId");
	if (!err)
		err = follow(d, &r, id, &job, e);
	if (!err)
		err = show(d, &r, id, job, e);
	rest_close(&r);
	return err;
}
