/* view_job - view fields of jobs and their attempts.  See web/view_fields.h. */
#include "web/view_fields.h"

#include <math.h>
#include <string.h>

/* "a, b" of an array of texts, or the text itself; null when there is none. */
static void put_joined(struct json *object, const char *key, const struct json *value)
{
	cleanup_buf struct buf text = BUF_INIT(1 << 20);

	if (json_type_of(value) == JSON_STRING)
		buf_addstr(&text, json_as_str(value));
	for (size_t i = 0; i < json_len(value); i++) {
		buf_adds(&text, i ? ", " : "");
		buf_addstr(&text, json_as_str(json_at(value, i)));
	}
	json_put_str(object, key, text.len ? buf_str(&text) : STR_NULL);
}

static const struct json *worker_of(const struct json *workers, struct str id)
{
	for (size_t i = 0; id.len && i < json_len(workers); i++)
		if (str_eq(json_str(json_at(workers, i), "id"), id))
			return json_at(workers, i);
	return NULL;
}

/* workerTitle, and workerUrl where the reader sees the worker. */
static void put_worker(const struct view *v, struct json *object, const struct json *workers)
{
	struct str id = json_str(object, "workerId");
	const struct json *worker = worker_of(workers, id);

	if (worker)
		json_put_str(object, "workerTitle", json_str(worker, "title"));
	else
		json_put_cstr(object, "workerTitle", id.len ? arena_printf(v->arena, "#%.*s", STR_ARG(id)) : NULL);
	json_put_cstr(object, "workerUrl", worker ? arena_printf(v->arena, "/admin/workers/%.*s", STR_ARG(id)) : NULL);
}

/* Below a second to the millisecond. */
static void put_seconds(struct json *object, const char *key, double seconds)
{
	char text[VIEW_TEXT];

	if (seconds < 0 || seconds >= 1) {
		view_put_duration(object, key, (int64_t)seconds);
		return;
	}
	snprintf(text, sizeof(text), "%ld\u00a0ms", lround(seconds * 1000));
	json_put_cstr(object, key, text);
}

static bool is_over(struct str state)
{
	return !str_eqz(state, "queued") && !str_eqz(state, "running");
}

static void put_can(const struct view *v, struct json *job)
{
	bool may = (v->principal->scopes & SCOPE_SUBMIT) && v->principal->role >= ROLE_OPERATOR;
	struct str state = json_str(job, "state");
	struct json *can = json_object();

	json_put_bool(can, "cancel", may && !is_over(state));
	json_put_bool(can, "retry", may && is_over(state) && !str_eqz(state, "succeeded"));
	json_put(job, "can", can);
}

static void put_progress(struct json *job)
{
	struct json *progress = json_get(job, "progress");
	double fraction = json_double(progress, "fraction", -1);

	if (progress && is_over(json_str(job, "state"))) {
		json_put(job, "progress", json_null());
		fraction = -1;
	} else if (progress && !json_has(progress, "message")) {
		json_put_cstr(progress, "message", "");
	}
	json_put(job, "percent", fraction >= 0 ? json_new_i64(lround(fraction * 100)) : json_null());
}

void view_job(const struct view *v, struct json *job, const struct json *workers)
{
	static const char *const keys[] = {"waitingReason", "waitingDetail", "progress", "error", "result", "workerId", "name"};
	static const char *const of_error[] = {"type", "message", "traceback"};
	const char *id = json_cstr(job, "id");
	struct str name = json_str(job, "name");
	struct json *error = json_get(job, "error");

	view_put_missing(job, keys, ARRAY_LEN(keys));
	if (json_type_of(error) == JSON_OBJECT)
		view_put_missing(error, of_error, ARRAY_LEN(of_error));
	if (json_type_of(json_get(job, "tags")) != JSON_ARRAY)
		json_put(job, "tags", json_array());
	json_put_cstr(job, "title", name.len ? json_cstr(job, "name") : id);
	json_put_cstr(job, "pageUrl", arena_printf(v->arena, "/admin/jobs/%s", id ? id : ""));
	put_worker(v, job, workers);
	view_put_time(v, job, "createdAt");
	view_put_time(v, job, "startedAt");
	view_put_time(v, job, "finishedAt");
	put_seconds(job, "runText", json_double(job, "runSeconds", -1));
	put_seconds(job, "delayText", json_double(job, "delaySeconds", -1));
	put_progress(job);
	put_can(v, job);
}

/* ---- one job's page ------------------------------------------------------------ */

static void put_pretty(struct json *object, const char *key, const struct json *value)
{
	cleanup_buf struct buf text = BUF_INIT(8 << 20);

	if (value)
		json_write_pretty(value, &text);
	json_put_str(object, key, text.len && !text.failed ? buf_str(&text) : STR_NULL);
}

/* The source, or whatever else the payload says to run. */
static void put_code(struct json *job, const struct json *payload)
{
	if (json_str(payload, "code").len)
		json_put_str(job, "codeText", json_str(payload, "code"));
	else
		put_pretty(job, "codeText", json_len(payload) ? payload : NULL);
}

void view_job_whole(const struct view *v, struct json *job)
{
	const struct json *payload = json_get(job, "payload");

	put_joined(job, "acceleratorText", json_get(job, "accelerator"));
	put_joined(job, "tagsText", json_get(job, "tags"));
	put_joined(job, "secretsText", json_get(job, "secrets"));
	put_joined(job, "requirementsText", json_get(payload, "requirements"));
	put_code(job, payload);
	put_pretty(job, "resultText", json_get(job, "result"));
	view_put_time(v, job, "runAfter");
	view_put_duration(job, "timeoutText", json_i64(job, "timeoutSeconds", -1));
	if (!json_has(job, "ownerName"))
		json_put(job, "ownerName", json_null());
	json_put_cstr(job, "cloneUrl",
		      v->principal->scopes & SCOPE_SUBMIT && v->principal->role >= ROLE_OPERATOR
			      ? arena_printf(v->arena, "/admin/jobs/new?from=%s", json_cstr(job, "id"))
			      : NULL);
}

/* From its start to its end, or to now. */
static int64_t seconds_of(const struct view *v, const struct json *attempt)
{
	int64_t start, end = v->now_ms;

	if (!view_time_parse(json_str(attempt, "startedAt"), &start))
		return -1;
	if (json_str(attempt, "endedAt").len && !view_time_parse(json_str(attempt, "endedAt"), &end))
		return -1;
	return end > start ? (end - start) / 1000 : 0;
}

void view_attempt(const struct view *v, struct json *attempt, struct str job, int64_t current, const struct json *workers)
{
	static const char *const keys[] = {"error", "startedAt"};
	struct json *error = json_get(attempt, "error");
	int64_t run = json_i64(attempt, "run", 0);

	view_put_missing(attempt, keys, ARRAY_LEN(keys));
	if (json_type_of(error) == JSON_OBJECT && !json_has(error, "message"))
		json_put(error, "message", json_null());
	json_put_str(attempt, "state", json_str(attempt, "outcome"));
	json_put_bool(attempt, "current", run == current);
	json_put_cstr(attempt, "logUrl", arena_printf(v->arena, "/admin/jobs/%.*s?run=%lld", STR_ARG(job), (long long)run));
	put_worker(v, attempt, workers);
	view_put_time(v, attempt, "startedAt");
	view_put_duration(attempt, "runText", seconds_of(v, attempt));
}
