/* Documents of jobs and notebooks; see model.h. */
#include "web/model.h"

#include <math.h>
#include <string.h>

#include "domain/estimate.h"
#include "domain/job_fsm.h"
#include "domain/quota.h"

static void put_time(struct json *j, const char *key, const struct rows *r, int i, const char *col)
{
	char text[ROW_TIME];

	json_put_cstr(j, key, row_time(r, i, col, text));
}

/* null where the column is. */
static void put_id(struct json *j, const char *key, const struct rows *r, int i, const char *col)
{
	if (row_null(r, i, col))
		json_put(j, key, json_null());
	else
		json_put_id(j, key, row_i64(r, i, col));
}

static void put_i64(struct json *j, const char *key, const struct rows *r, int i, const char *col)
{
	json_put(j, key, row_null(r, i, col) ? json_null() : json_new_i64(row_i64(r, i, col)));
}

/* To the millisecond. */
static void put_seconds(struct json *j, const char *key, const struct rows *r, int i, const char *col)
{
	json_put(j, key, row_null(r, i, col) ? json_null() : json_new_double(round(row_double(r, i, col) * 1000) / 1000));
}

static void put_raw(struct json *j, const char *key, const struct rows *r, int i, const char *col)
{
	json_put_raw(j, key, row_str(r, i, col));
}

/* ---- jobs ----------------------------------------------------------------- */

/* null = any, one name, or a list. */
static struct json *accelerator(struct str list)
{
	struct json *names;
	struct str one;

	if (!list.len)
		return json_null();
	if (str_index(list, ',') < 0)
		return json_new_str(list);
	names = json_array();
	while (str_cut(&list, ',', &one))
		json_add(names, json_new_str(one));
	return names;
}

static struct json *progress(const struct rows *r, int i)
{
	struct json *j;

	if (row_null(r, i, "progress") && row_null(r, i, "message"))
		return json_null();
	j = json_object();
	json_put(j, "fraction", row_null(r, i, "progress") ? json_null() : json_new_double(round(row_double(r, i, "progress") * 1e6) / 1e6));
	json_put_str(j, "message", row_str(r, i, "message"));
	return j;
}

static bool waits_for_a_worker(const struct rows *r, int i)
{
	return row_i64(r, i, "state") == JOB_QUEUED && row_null(r, i, "delayed_why");
}

bool model_jobs_wait(const struct rows *r)
{
	for (int i = 0; i < rows_count(r); i++)
		if (waits_for_a_worker(r, i))
			return true;
	return false;
}

static void put_waiting(struct json *j, const struct rows *r, int i, const struct pool *pool)
{
	bool waits = waits_for_a_worker(r, i);
	cleanup_arena struct arena a = {0};
	struct lane l = {
		.owner = row_i64(r, i, "owner_id"),
		.type = (enum job_type)row_i64(r, i, "type"),
		.gpus = (int)row_i64(r, i, "gpus"),
		.priority = (int)row_i64(r, i, "priority"),
		.estimate = (int)row_i64(r, i, "lane_estimate"),
	};
	enum wait why;

	if (row_i64(r, i, "state") != JOB_QUEUED || !waits || !pool) {
		json_put_cstr(j, "waitingReason", row_i64(r, i, "state") == JOB_QUEUED && !waits ? row_cstr(r, i, "delayed_why") : NULL);
		json_put_cstr(j, "waitingDetail", NULL);
		return;
	}
	arena_init(&a, 4 << 10);
	snprintf(l.accelerator, sizeof(l.accelerator), "%s", row_cstr(r, i, "accelerator"));
	why = pool_why(pool, &l);
	json_put_cstr(j, "waitingReason", wait_name(why));
	json_put_cstr(j, "waitingDetail", pool_explain(pool, &l, why, &a));
}

/* What placement takes it for, and where that is from. */
static struct json *estimate(const struct rows *r, int i)
{
	int64_t seconds = row_i64(r, i, "lane_estimate"), declared = row_i64(r, i, "estimated_seconds"), most = row_i64(r, i, "timeout_seconds");
	struct json *j = json_object();

	if (most && declared > most)
		declared = most;
	json_put(j, "seconds", seconds ? json_new_i64(seconds) : json_null());
	json_put_cstr(j, "source", !seconds ? "none" : declared && seconds >= declared && seconds <= estimate_round(declared) ? "declared" : "learned");
	return j;
}

struct json *model_job(const struct rows *r, int i, const struct pool *pool)
{
	struct json *j = json_object();
	bool on_time = str_eqz(row_str(r, i, "delayed_why"), "run_after");

	json_put_id(j, "id", row_i64(r, i, "id"));
	json_put_cstr(j, "type", job_type_name((enum job_type)row_i64(r, i, "type")));
	json_put_str(j, "name", row_str(r, i, "name"));
	json_put(j, "tags", row_null(r, i, "tags") ? json_array() : NULL);
	if (!row_null(r, i, "tags"))
		put_raw(j, "tags", r, i, "tags");
	json_put_cstr(j, "state", job_state_name((int)row_i64(r, i, "state")));
	put_waiting(j, r, i, pool);
	json_put(j, "endpoint", json_null());
	json_put_id(j, "owner", row_i64(r, i, "owner_id"));
	put_id(j, "workerId", r, i, "worker_id");
	put_i64(j, "attempt", r, i, "attempt");
	put_i64(j, "maxAttempts", r, i, "max_attempts");
	put_raw(j, "retryOn", r, i, "retry_on");
	json_put(j, "secrets", row_null(r, i, "secrets") ? json_array() : NULL);
	if (!row_null(r, i, "secrets"))
		put_raw(j, "secrets", r, i, "secrets");
	put_i64(j, "priority", r, i, "priority");
	json_put(j, "accelerator", accelerator(row_str(r, i, "accelerator")));
	put_i64(j, "gpus", r, i, "gpus");
	put_i64(j, "timeoutSeconds", r, i, "timeout_seconds");
	put_i64(j, "estimatedSeconds", r, i, "estimated_seconds");
	json_put(j, "estimate", estimate(r, i));
	json_put(j, "progress", progress(r, i));
	put_raw(j, "result", r, i, "result");
	json_put_bool(j, "resultOmitted", row_i64(r, i, "result_size") > 0 && row_null(r, i, "result"));
	put_raw(j, "error", r, i, "error");
	put_time(j, "createdAt", r, i, "created_at");
	json_put(j, "runAfter", json_null());
	if (on_time)
		put_time(j, "runAfter", r, i, "run_after");
	put_time(j, "startedAt", r, i, "started_at");
	put_time(j, "finishedAt", r, i, "finished_at");
	put_seconds(j, "delaySeconds", r, i, "delay_seconds");
	put_seconds(j, "runSeconds", r, i, "run_seconds");
	return j;
}

struct json *model_attempt(const struct rows *r, int i)
{
	struct json *j = json_object();

	put_i64(j, "run", r, i, "run");
	put_i64(j, "attempt", r, i, "attempt");
	json_put_cstr(j, "outcome", job_outcome_name((int)row_i64(r, i, "outcome")));
	put_id(j, "workerId", r, i, "worker_id");
	put_id(j, "sessionId", r, i, "session_id");
	put_time(j, "startedAt", r, i, "started");
	put_time(j, "endedAt", r, i, "ended");
	put_i64(j, "logBytes", r, i, "log_bytes");
	put_raw(j, "error", r, i, "error");
	return j;
}

struct json *model_artifact(const struct rows *r, int i)
{
	struct json *j = json_object();

	json_put_str(j, "name", row_str(r, i, "name"));
	put_i64(j, "size", r, i, "size");
	json_put_str(j, "sha256", row_str(r, i, "sha256"));
	put_i64(j, "run", r, i, "run");
	put_time(j, "createdAt", r, i, "created_at");
	return j;
}

/* ---- notebooks ------------------------------------------------------------ */

/* What its session got; null before it registered. */
static struct json *gpu(const struct rows *r, int i)
{
	int64_t bytes;
	struct json *j;

	if (row_null(r, i, "registered_at"))
		return json_null();
	j = json_object();
	json_put_str(j, "name", row_null(r, i, "gpu_name") ? STR("CPU") : row_str(r, i, "gpu_name"));
	put_i64(j, "count", r, i, "gpu_count");
	json_put(j, "memoryBytes", str_to_i64(row_str(r, i, "gpu_memory"), 0, INT64_MAX, &bytes) ? json_new_i64(bytes) : json_null());
	json_put_str(j, "driver", row_str(r, i, "gpu_driver"));
	put_i64(j, "utilization", r, i, "utilization");
	put_i64(j, "memoryUsed", r, i, "memory_used");
	put_i64(j, "memoryTotal", r, i, "memory_total");
	return j;
}

static struct json *session(const struct rows *r, int i)
{
	struct json *j;

	if (row_null(r, i, "session_id"))
		return json_null();
	j = json_object();
	json_put_id(j, "id", row_i64(r, i, "session_id"));
	json_put_str(j, "state", row_str(r, i, "session_state"));
	put_time(j, "startedAt", r, i, "started_at");
	put_time(j, "registeredAt", r, i, "registered_at");
	put_time(j, "deadline", r, i, "deadline");
	json_put_i64(j, "runtimeSeconds", (int64_t)row_double(r, i, "runtime_seconds"));
	put_time(j, "lastHeartbeat", r, i, "last_heartbeat");
	json_put_str(j, "agent", row_str(r, i, "agent"));
	put_i64(j, "slots", r, i, "slots");
	return j;
}

static struct json *reason(const struct rows *r, int i)
{
	struct json *j;

	if (row_null(r, i, "reason_code"))
		return json_null();
	j = json_object();
	json_put_str(j, "code", row_str(r, i, "reason_code"));
	json_put_str(j, "message", row_null(r, i, "reason") ? STR("") : row_str(r, i, "reason"));
	return j;
}

static struct json *job_figures(const struct rows *r, int i)
{
	struct json *j = json_object();

	put_i64(j, "running", r, i, "running");
	put_i64(j, "succeeded", r, i, "succeeded");
	put_i64(j, "failed", r, i, "failed");
	return j;
}

/* Of its account, for what it asks; null where no week is limited. */
static struct json *quota(const struct rows *r, int i)
{
	struct json *j;

	if (row_null(r, i, "limit_seconds"))
		return json_null();
	j = json_object();
	quota_put_figures(j, r, i);
	return j;
}

struct json *model_worker(const struct rows *r, int i)
{
	struct json *j = json_object();

	json_put_id(j, "id", row_i64(r, i, "id"));
	json_put_str(j, "provider", row_str(r, i, "provider"));
	json_put_str(j, "start", row_str(r, i, "start"));
	json_put_str(j, "accelerator", row_str(r, i, "accelerator"));
	json_put_str(j, "title", row_str(r, i, "title"));
	json_put_str(j, "state", row_str(r, i, "state"));
	json_put_str(j, "desiredState", row_str(r, i, "desired"));
	json_put(j, "reason", reason(r, i));
	json_put_str(j, "url", row_str(r, i, "url"));
	json_put(j, "gpu", gpu(r, i));
	put_id(j, "accountId", r, i, "account_id");
	put_id(j, "owner", r, i, "owner_id");
	json_put_str(j, "ownerName", row_str(r, i, "owner_name"));
	json_put_bool(j, "own", row_bool(r, i, "own"));
	json_put_str(j, "email", row_str(r, i, "email"));
	json_put_str(j, "remoteName", row_str(r, i, "remote_name"));
	put_raw(j, "inputs", r, i, "inputs");
	put_i64(j, "maxSessionSeconds", r, i, "max_session_seconds");
	put_i64(j, "idleStopSeconds", r, i, "idle_stop_seconds");
	put_i64(j, "version", r, i, "version");
	put_time(j, "createdAt", r, i, "created_at");
	json_put(j, "session", session(r, i));
	json_put(j, "quota", quota(r, i));
	json_put(j, "jobs", job_figures(r, i));
	return j;
}

struct json *model_session(const struct rows *r, int i)
{
	struct json *j = json_object();

	json_put_id(j, "id", row_i64(r, i, "id"));
	json_put_str(j, "state", row_str(r, i, "state"));
	put_time(j, "startedAt", r, i, "started_at");
	put_time(j, "registeredAt", r, i, "registered_at");
	put_time(j, "deadline", r, i, "deadline");
	put_time(j, "endedAt", r, i, "ended_at");
	json_put_str(j, "endCode", row_str(r, i, "end_code"));
	json_put_str(j, "endReason", row_str(r, i, "end_reason"));
	json_put_i64(j, "runtimeSeconds", (int64_t)row_double(r, i, "runtime_seconds"));
	json_put_str(j, "agent", row_str(r, i, "agent"));
	put_i64(j, "slots", r, i, "slots");
	json_put_str(j, "log", row_str(r, i, "log_tail"));
	json_put_i64(j, "outputs", row_i64(r, i, "outputs"));
	return j;
}
