/* view_worker - view fields of workers and their sessions.  See web/view_fields.h. */
#include "web/view_fields.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SOON_SECONDS = 3600 };

/* In the order of rows. */
static const struct {
	const char *name;
	bool needs; /* somebody has to act */
} states[] = {
	{"needs_human", true}, {"failed", true},     {"unhealthy", true}, {"waiting", false}, {"starting", false},
	{"healthy", false},    {"draining", false}, {"stopping", false}, {"stopped", false},
};

size_t view_state_count(void)
{
	return ARRAY_LEN(states);
}

const char *view_state_name(size_t i)
{
	return states[i].name;
}

static size_t rank(struct str state)
{
	size_t i = 0;

	while (i < ARRAY_LEN(states) && !str_eqz(state, states[i].name))
		i++;
	return i;
}

bool view_state_needs(struct str state)
{
	size_t i = rank(state);

	return i < ARRAY_LEN(states) && states[i].needs;
}

static int by_state(const void *a, const void *b)
{
	const struct json *x = *(struct json *const *)a, *y = *(struct json *const *)b;
	size_t rx = rank(json_str(x, "state")), ry = rank(json_str(y, "state"));
	int64_t ix = 0, iy = 0;

	if (rx != ry)
		return rx < ry ? -1 : 1;
	if (!str_to_id(json_str(x, "id"), &ix) || !str_to_id(json_str(y, "id"), &iy))
		return 0;
	return (ix > iy) - (ix < iy);
}

void view_sort_workers(struct json **list, size_t n)
{
	qsort(list, n, sizeof(*list), by_state);
}

/* ---- the session ---------------------------------------------------------------- */

/* deadlineText, leftText, percent and soon. */
static void put_deadline(const struct view *v, struct json *session)
{
	int64_t start, end, left, whole;

	view_put_time(v, session, "deadline");
	json_put(session, "percent", json_null());
	json_put(session, "leftText", json_null());
	json_put_bool(session, "soon", false);
	if (!view_time_parse(json_str(session, "startedAt"), &start) || !view_time_parse(json_str(session, "deadline"), &end))
		return;
	left = end > v->now_ms ? (end - v->now_ms) / 1000 : 0;
	whole = (end - start) / 1000;
	view_put_duration(session, "leftText", left);
	json_put_bool(session, "soon", left < SOON_SECONDS);
	json_put_i64(session, "percent", whole > left ? 100 * (whole - left) / whole : 0);
}

void view_session(const struct view *v, struct json *session)
{
	static const char *const keys[] = {"endReason", "endedAt", "lastHeartbeat", "deadline"};

	view_put_missing(session, keys, ARRAY_LEN(keys));
	view_put_time(v, session, "startedAt");
	view_put_time(v, session, "endedAt");
	view_put_time(v, session, "lastHeartbeat");
	view_put_duration(session, "runtimeText", json_i64(session, "runtimeSeconds", 0));
	put_deadline(v, session);
}

/* ---- what it has ------------------------------------------------------------------ */

/* "2 × T4", or "CPU"; null before it registered. */
static void put_gpu(const struct view *v, struct json *worker)
{
	const struct json *gpu = json_get(worker, "gpu");
	struct str name = json_str(gpu, "name");
	int64_t count = json_i64(gpu, "count", 0);

	if (!name.len)
		json_put(worker, "gpuText", json_null());
	else if (count <= 1)
		json_put_str(worker, "gpuText", name);
	else
		json_put_cstr(worker, "gpuText",
			      arena_printf(v->arena, "%lld\u00a0×\u00a0%.*s", (long long)count, STR_ARG(name)));
}

static void put_use(struct json *worker)
{
	const struct json *live = json_get(worker, "gpu");
	double utilization = json_double(live, "utilization", -1);
	int64_t used = json_i64(live, "memoryUsed", -1), total = json_i64(live, "memoryTotal", 0);
	struct json *use;
	char text[VIEW_TEXT];

	if (utilization < 0) {
		json_put(worker, "use", json_null());
		return;
	}
	use = json_object();
	json_put_i64(use, "percent", lround(utilization < 100 ? utilization : 100));
	if (used >= 0 && total > 0) {
		view_share_text(used, total, text);
		json_put_cstr(use, "memoryText", text);
	} else {
		json_put(use, "memoryText", json_null());
	}
	json_put(worker, "use", use);
}

/* ---- the job that it runs ------------------------------------------------------------ */

static struct json *job_here(const struct view *v, const struct json *job, int64_t more)
{
	struct json *here = json_object();
	const struct json *progress = json_get(job, "progress");
	double fraction = json_double(progress, "fraction", -1);
	struct str name = json_str(job, "name");

	json_put_str(here, "id", json_str(job, "id"));
	json_put_str(here, "title", name.len ? name : json_str(job, "id"));
	json_put_cstr(here, "pageUrl", arena_printf(v->arena, "/admin/jobs/%s", json_cstr(job, "id")));
	json_put(here, "percent", fraction >= 0 ? json_new_i64(lround(fraction * 100)) : json_null());
	if (json_str(progress, "message").len) {
		struct json *said = json_object();

		json_put_str(said, "message", json_str(progress, "message"));
		json_put(here, "progress", said);
	} else {
		json_put(here, "progress", json_null());
	}
	json_put_i64(here, "more", more > 0 ? more : 0);
	return here;
}

static void put_job(const struct view *v, struct json *worker, const struct json *jobs)
{
	for (size_t i = 0; i < json_len(jobs); i++) {
		const struct json *job = json_at(jobs, i);

		if (!str_eq(json_str(job, "workerId"), json_str(worker, "id")))
			continue;
		json_put(worker, "job", job_here(v, job, json_i64(json_get(worker, "jobs"), "running", 1) - 1));
		return;
	}
	json_put(worker, "job", json_null());
}

/* ---- how far a start is ---------------------------------------------------------------- */

static void add_step(struct json *items, const char *key, const char *progress)
{
	static const struct {
		const char *progress, *icon;
	} icons[] = {{"done", "s-succeeded"}, {"now", "s-starting"}, {"wait", "s-needs_human"}, {"fail", "s-failed"}, {"todo", "s-queued"}};
	struct json *step = json_object();

	json_put_cstr(step, "key", key);
	json_put_cstr(step, "progress", progress);
	for (size_t i = 0; i < ARRAY_LEN(icons); i++)
		if (!strcmp(progress, icons[i].progress))
			json_put_cstr(step, "icon", icons[i].icon);
	json_put_bool(step, "reached", strcmp(progress, "todo") != 0);
	json_put(step, "at", json_null());
	json_put(step, "atText", json_null());
	json_add(items, step);
}

static void put_steps(const struct view *v, struct json *worker)
{
	const struct json *session = json_get(worker, "session");
	struct str state = json_str(worker, "state");
	bool assisted = str_eqz(json_str(worker, "start"), "assisted");
	bool manual = assisted || str_eqz(json_str(worker, "provider"), "manual"), local = str_eqz(json_str(worker, "provider"), "local");
	const char *by_hand = assisted ? "opened" : "pasted";
	bool starts = str_eqz(state, "starting") || (manual && str_eqz(state, "needs_human")) ||
		      (str_eqz(state, "stopped") && str_eqz(json_str(worker, "desiredState"), "running"));
	struct json *steps, *items, *first;

	if (!starts || (str_eqz(state, "needs_human") && !session)) {
		json_put(worker, "steps", json_null());
		return;
	}
	steps = json_object();
	items = json_array();
	json_put_cstr(steps, "key", !session ? "reserved" : manual ? by_hand : "registered");
	add_step(items, "reserved", session ? "done" : "now");
	add_step(items, manual ? by_hand : local ? "requested" : "pushed", !session ? "todo" : manual ? "wait" : "done");
	add_step(items, "registered", session && !manual ? "now" : "todo");
	first = json_at(items, 0);
	json_put_str(first, "at", json_str(session, "startedAt"));
	view_put_time(v, first, "at");
	json_put(steps, "items", items);
	json_put(worker, "steps", steps);
}

/* The notebook that a person is to run: where it is in Drive, else (always) to be downloaded. */
static void put_notebook(const struct view *v, struct json *worker)
{
	const struct json *session = json_get(worker, "session");
	const char *file = arena_printf(v->arena, "/api/gpu/workers/notebooks/%s/notebook.ipynb", json_cstr(worker, "id"));
	struct str url = json_str(worker, "url"), state = json_str(worker, "state");
	bool ours = file && url.len && str_ends(url, file);
	bool waits = str_eqz(json_str(worker, "start"), "assisted") && session && !json_str(session, "registeredAt").len &&
		     (str_eqz(state, "needs_human") || str_eqz(state, "starting")) && json_bool(json_get(worker, "can"), "edit", false);
	struct json *notebook = waits ? json_object() : json_null();

	json_put(worker, "notebook", notebook);
	if (waits) {
		json_put_cstr(notebook, "fileUrl", file);
		json_put(notebook, "driveUrl", ours || !url.len ? json_null() : json_new_str(url));
	}
	/* What opens it is offered there, and nowhere once it is used. */
	if (waits || ours)
		json_put(worker, "url", json_null());
}

void view_enrol(const struct view *v, struct json *worker, const struct json *made)
{
	const char *url = v->config->public_url;
	struct json *enrol;

	if (!str_eqz(json_str(worker, "provider"), "manual") || !str_eqz(json_str(worker, "state"), "needs_human") ||
	    !json_bool(json_get(worker, "can"), "edit", false)) {
		json_put(worker, "enrol", json_null());
		return;
	}
	enrol = json_object();
	json_put_cstr(enrol, "line",
		      arena_printf(v->arena, "curl -fsSo gpupool-agent.py '%s/agent/gpupool-agent.py' && python3 gpupool-agent.py '%s'", url,
				   url));
	json_put_str(enrol, "lineWithToken", json_str(made, "commandWithToken"));
	json_put_str(enrol, "until", json_str(made, "expiresAt"));
	view_put_time(v, enrol, "until");
	json_put(worker, "enrol", enrol);
}

/* ---- what the reader may do -------------------------------------------------------------- */

static void put_can(const struct view *v, struct json *worker)
{
	bool may = json_bool(worker, "own", false) && (v->principal->scopes & SCOPE_MANAGE) && v->principal->role >= ROLE_OPERATOR;
	struct str state = json_str(worker, "state"), desired = json_str(worker, "desiredState");
	bool stays = may && !str_eqz(desired, "deleted"), runs = str_eqz(desired, "running");
	struct json *can = json_object();

	json_put_bool(can, "start", stays && (!runs || str_eqz(state, "failed") || (str_eqz(state, "needs_human") && !json_get(worker, "session"))));
	json_put_bool(can, "stop", stays && runs && !str_eqz(state, "failed"));
	json_put_bool(can, "delete", stays);
	json_put_bool(can, "edit", stays);
	json_put(worker, "can", can);
}

/* Since when it is what it is: the registration, the start, else its last change. */
static void put_since(const struct view *v, struct json *worker)
{
	const struct json *session = json_get(worker, "session");
	struct str state = json_str(worker, "state"), since = STR_NULL;

	if (str_eqz(state, "healthy"))
		since = json_str(session, "registeredAt");
	else if (str_eqz(state, "starting") || str_eqz(state, "needs_human"))
		since = json_str(session, "startedAt");
	if (!since.len && str_eqz(state, "healthy"))
		since = json_str(session, "startedAt");
	json_put_str(worker, "stateSinceAt", since);
	view_put_time(v, worker, "stateSinceAt");
}

static bool is_quiet(struct str state)
{
	return !str_eqz(state, "healthy") && !str_eqz(state, "unhealthy") && !str_eqz(state, "draining");
}

/* What it is given to read, all kinds in one line. */
static void put_inputs(struct json *worker)
{
	cleanup_buf struct buf text = BUF_INIT(64 << 10);

	for (struct json_iter it = json_iter(json_get(worker, "inputs")); json_next(&it);)
		for (size_t i = 0; i < json_len(it.value); i++) {
			buf_adds(&text, text.len ? ", " : "");
			buf_addstr(&text, json_as_str(json_at(it.value, i)));
		}
	json_put_str(worker, "inputsText", text.len ? buf_str(&text) : STR_NULL);
}

/* Where a person mends what the worker waits for. */
static void put_account_url(const struct view *v, struct json *worker)
{
	struct str code = json_str(json_get(worker, "reason"), "code");
	bool waits = str_eqz(code, "credentials") || str_eqz(code, "account");

	json_put(worker, "accountUrl", json_null());
	if (waits && json_bool(worker, "own", false) && json_cstr(worker, "accountId"))
		json_put_cstr(worker, "accountUrl", arena_printf(v->arena, "/admin/accounts/%s", json_cstr(worker, "accountId")));
}

/* Whose it is stands beside it already. */
static void put_quota(const struct view *v, struct json *quota)
{
	view_quota(v, quota);
	json_put(quota, "title", json_null());
}

void view_worker(const struct view *v, struct json *worker, const struct json *jobs)
{
	static const char *const keys[] = {"url", "start", "reason", "session", "gpu", "ownerName", "version", "quota", "account"};
	const char *id = json_cstr(worker, "id");
	struct json *session = json_get(worker, "session");

	view_put_missing(worker, keys, ARRAY_LEN(keys));
	json_put_cstr(worker, "pageUrl", arena_printf(v->arena, "/admin/workers/%s", id ? id : ""));
	view_put_time(v, worker, "createdAt");
	if (session)
		view_session(v, session);
	if (json_get(worker, "quota"))
		put_quota(v, json_get(worker, "quota"));
	put_account_url(v, worker);
	put_inputs(worker);
	put_gpu(v, worker);
	put_use(worker);
	put_job(v, worker, jobs);
	put_can(v, worker);
	put_notebook(v, worker);
	put_since(v, worker);
	put_steps(v, worker);
	json_put_bool(worker, "quiet", is_quiet(json_str(worker, "state")) || !session);
	view_enrol(v, worker, NULL);
}
