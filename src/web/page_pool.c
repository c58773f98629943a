/* page_pool - the morning page: what runs, what waits and why, and every worker. */
#include "web/page.h"
#include "web/pages.h"
#include "web/paging.h"
#include "web/view.h"
#include "web/view_fields.h"

#define HERE "/admin/gpu-dashboard"

enum { RUNNING_SHOWN = 200 };

const struct field page_pool_query[] = {
	{"q", FIELD_STRING, 0, 0, 200}, {"state", FIELD_STRING, 0, 0, 20}, {"provider", FIELD_STRING, 0, 0, 31},
	{"pageToken", FIELD_ID},	PAGE_FLASH_FIELDS,		   {0},
};

/* ---- the answer of the morning -------------------------------------------------- */

static int64_t in_state(const struct json *workers, const char *state)
{
	int64_t n = 0;

	for (size_t i = 0; i < json_len(workers); i++)
		n += str_eqz(json_str(json_at(workers, i), "state"), state);
	return n;
}

static void put_tally(struct arena *a, struct json *pool, const struct json *workers)
{
	struct json *tally = json_array();
	int64_t attention = 0;

	for (size_t i = 0; i < view_state_count(); i++) {
		const char *state = view_state_name(i);
		int64_t n = in_state(workers, state);
		struct json *one;

		if (!n)
			continue;
		attention += view_state_needs(str_of(state)) ? n : 0;
		one = json_object();
		json_put_cstr(one, "state", state);
		json_put_i64(one, "count", n);
		json_put_cstr(one, "url", page_url(a, HERE, "state", state, NULL));
		json_add(tally, one);
	}
	json_put_i64(pool, "total", (int64_t)json_len(workers));
	json_put_i64(pool, "running", in_state(workers, "healthy") + in_state(workers, "draining"));
	json_put_i64(pool, "attention", attention);
	json_put(pool, "tally", tally);
}

/* What waits and runs; each reason leads to the jobs that wait. */
static void put_queue(struct json *pool, struct json *queue)
{
	const struct json *reasons = json_get(queue, "reasons");

	for (size_t i = 0; i < json_len(reasons); i++)
		json_put_cstr(json_at(reasons, i), "url", "/admin/jobs?state=queued");
	json_put(pool, "reasons", json_ref(json_get(queue, "reasons")));
	json_put(pool, "jobs", queue);
}

static void add_gpu_hours(const struct view *v, const struct json *account, struct json *quotas)
{
	const struct json *resources = json_get(account, "resources");
	struct str label = json_str(account, "label");

	for (size_t i = 0; i < json_len(resources); i++) {
		struct json *quota = json_at(resources, i);

		if (!str_eqz(json_str(quota, "resource"), "gpu") || !json_i64(quota, "limitSeconds", 0))
			continue;
		view_quota(v, quota);
		json_put_str(quota, "title", label.len ? label : json_str(account, "owner"));
		json_put_str(quota, "provider", json_str(account, "provider"));
		json_add(quotas, json_ref(quota));
	}
}

static int64_t sum_of(const struct json *quotas, const char *key)
{
	int64_t sum = 0;

	for (size_t i = 0; i < json_len(quotas); i++)
		sum += json_i64(json_at(quotas, i), key, 0);
	return sum;
}

/* Hours of GPUs that are left, in all and by account; null where none are counted. */
static enum err put_hours(struct ctx *ctx, struct request *req, struct json *pool, struct error *e)
{
	struct page_call call = {.route = "quota.list", .params = json_object()};
	cleanup_json struct json *answer = NULL;
	struct json *quotas = json_array(), *hours, *list;
	struct view v = view_of(ctx, req);
	enum err err;

	json_put_i64(call.params, "limit", PAGE_MAX);
	err = page_call(ctx, req, NULL, &call, &answer, e);
	list = json_get(answer, "accounts");
	for (size_t i = 0; i < json_len(list); i++)
		add_gpu_hours(&v, json_at(list, i), quotas);
	hours = json_len(quotas) ? json_object() : NULL;
	if (hours) {
		view_put_hours(hours, "leftText", sum_of(quotas, "remainingSeconds"));
		view_put_hours(hours, "limitText", sum_of(quotas, "limitSeconds"));
		json_put_i64(hours, "accounts", (int64_t)json_len(quotas));
		json_put(hours, "quotas", json_ref(quotas));
	}
	json_put(pool, "hours", hours ? hours : json_null());
	json_free(quotas);
	return err;
}

/* ---- the rows ------------------------------------------------------------------------ */

static bool holds(struct str text, struct str part)
{
	if (!part.len)
		return true;
	for (size_t at = 0; at + part.len <= text.len; at++) {
		struct str piece = {text.ptr + at, part.len};
		size_t i = 0;

		while (i < part.len && (piece.ptr[i] | 0x20) == (part.ptr[i] | 0x20))
			i++;
		if (i == part.len)
			return true;
	}
	return false;
}

static bool is_wanted(const struct json *worker, const struct json *params)
{
	struct str q = json_str(params, "q"), state = json_str(params, "state"), provider = json_str(params, "provider");

	return (!state.len || str_eq(state, json_str(worker, "state"))) &&
	       (!provider.len || str_eq(provider, json_str(worker, "provider"))) &&
	       (holds(json_str(worker, "title"), q) || holds(json_str(worker, "gpuText"), q) ||
		holds(json_str(worker, "accelerator"), q) || holds(json_str(worker, "ownerName"), q));
}

static void add_row(const struct view *v, struct json *worker, const struct json *jobs)
{
	view_worker(v, worker, jobs);
	/* The line to paste is the step at hand. */
	if (json_get(worker, "enrol"))
		json_put(worker, "steps", json_null());
}

/* Those that the filter lets through, in the order of need. */
static struct json *rows_of(struct arena *a, const struct json *workers, const struct json *params)
{
	struct json **list = arena_array(a, json_len(workers), sizeof(struct json *)), *rows = json_array();
	size_t n = 0;

	for (size_t i = 0; list && i < json_len(workers); i++)
		if (is_wanted(json_at(workers, i), params))
			list[n++] = json_at(workers, i);
	view_sort_workers(list, n);
	for (size_t i = 0; i < n; i++)
		json_add(rows, json_ref(list[i]));
	return rows;
}

/* ---- filter and pages ------------------------------------------------------------------ */

static void add_option(struct json *options, const char *value, struct str chosen)
{
	struct json *one = json_object();

	json_put_cstr(one, "value", value);
	json_put_bool(one, "selected", str_eqz(chosen, value));
	json_add(options, one);
}

static struct json *choice(struct str chosen, struct json *options)
{
	struct json *field = json_object();

	json_put_str(field, "value", chosen.ptr ? chosen : STR(""));
	if (options)
		json_put(field, "options", options);
	return field;
}

static struct json *filter_model(const struct json *params)
{
	struct json *filter = json_object(), *states = json_array(), *providers = json_array();

	for (size_t i = 0; i < view_state_count(); i++)
		add_option(states, view_state_name(i), json_str(params, "state"));
	for (const char *const *p = page_providers; *p; p++)
		add_option(providers, *p, json_str(params, "provider"));
	json_put(filter, "q", choice(json_str(params, "q"), NULL));
	json_put(filter, "state", choice(json_str(params, "state"), states));
	json_put(filter, "provider", choice(json_str(params, "provider"), providers));
	return filter;
}

static const char *with_token(struct arena *a, const struct json *params, const char *token)
{
	return page_url(a, HERE, "q", json_cstr(params, "q"), "state", json_cstr(params, "state"), "provider",
			json_cstr(params, "provider"), "pageToken", token, NULL);
}

static struct json *pages_model(struct arena *a, const struct json *params, const char *next)
{
	bool first = !json_has(params, "pageToken");
	struct json *pages;

	if (first && !next)
		return json_null();
	pages = json_object();
	json_put_cstr(pages, "newerUrl", first ? NULL : with_token(a, params, NULL));
	json_put_cstr(pages, "olderUrl", next ? with_token(a, params, next) : NULL);
	json_put(pages, "countText", json_null());
	return pages;
}

/* What was just done to a worker of the list. */
static void put_flash(struct request *req, struct json *model, const struct json *workers)
{
	for (size_t i = 0; page_flash_code(req) && i < json_len(workers); i++) {
		const struct json *w = json_at(workers, i);

		if (str_eq(json_str(w, "id"), json_str(req->params, "of")))
			page_flash(model, page_flash_code(req), json_cstr(w, "title"), 0, json_cstr(w, "pageUrl"));
	}
}

/* ---- all of it --------------------------------------------------------------------------- */

/* The notebooks, and the jobs that run on them. */
static enum err look(struct ctx *ctx, struct request *req, struct json **notebooks, struct json **running, struct error *e)
{
	struct page_call list = {.route = "notebooks.list", .params = json_object()};
	struct page_call jobs = {.route = "jobs.list", .params = json_object()};
	enum err err;

	json_put_i64(list.params, "limit", PAGE_MAX);
	if (json_has(req->params, "pageToken"))
		json_put_str(list.params, "pageToken", json_str(req->params, "pageToken"));
	json_put_i64(jobs.params, "limit", RUNNING_SHOWN);
	json_put_cstr(jobs.params, "state", "running");
	err = page_call(ctx, req, NULL, &list, notebooks, e);
	if (err) {
		json_free(jobs.params);
		return err;
	}
	return page_call(ctx, req, NULL, &jobs, running, e);
}

enum err page_pool(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *notebooks = NULL, *running = NULL;
	cleanup_json struct json *model = page_model(ctx, req, "pool");
	struct view v = view_of(ctx, req);
	struct json *pool = json_object(), *can = json_object();
	struct json *queue = NULL;
	const struct json *workers;
	enum err err = look(ctx, req, &notebooks, &running, e);

	json_put(model, "pool", pool);
	json_put(model, "can", can);
	if (!err)
		err = put_hours(ctx, req, pool, e);
	if (!err)
		err = page_queue(ctx, req, true, &queue, e);
	if (err)
		return err;
	workers = json_get(notebooks, "notebooks");
	for (size_t i = 0; i < json_len(workers); i++)
		add_row(&v, json_at(workers, i), json_get(running, "jobs"));
	put_tally(req->arena, pool, workers);
	put_queue(pool, queue);
	json_put_bool(can, "create", page_may(req, "notebooks.create"));
	json_put(model, "filter", filter_model(req->params));
	json_put(model, "workers", rows_of(req->arena, workers, req->params));
	json_put(model, "pages", pages_model(req->arena, req->params, json_cstr(notebooks, "nextPageToken")));
	json_put(model, "providers", page_providers_model(ctx, page_providers[0]));
	put_flash(req, model, workers);
	return view_page(ctx, req, res, 200, "pool", json_ref(model), e);
}
