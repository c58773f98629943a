/* page_jobs - the list of jobs: tabs, filter, search, and cancelling many at once. */
#include <string.h>

#include "web/page.h"
#include "web/pages.h"
#include "web/paging.h"
#include "web/view.h"
#include "web/view_fields.h"

#define HERE "/admin/jobs"

enum { JOBS_SHOWN = 50 };

#define FILTER_FIELDS                                                                                           \
	{"state", FIELD_STRING, 0, 0, 20}, {"q", FIELD_STRING, 0, 0, 200}, {"tag", FIELD_STRING, 0, 0, 200},    \
		{"type", FIELD_STRING, 0, 0, 20}, {"worker", FIELD_STRING, 0, 0, 20}

const struct field page_jobs_query[] = {FILTER_FIELDS, {"pageToken", FIELD_ID}, PAGE_FLASH_FIELDS, {0}};

const struct field page_jobs_cancel_body[] = {
	FILTER_FIELDS,
	{"which", FIELD_STRING, 0, 0, 20},
	{"id", FIELD_STRINGS, 0, 0, JOBS_SHOWN, .item_max = 19},
	{0},
};

static const char *const filters[] = {"state", "q", "tag", "type", "worker"};
static const char *const tabs[] = {"all", "queued", "running", "succeeded", "failed", "timed_out", "cancelled"};
static const char *const types[] = {"script", "training", "inference"};

/* ---- filter ------------------------------------------------------------------- */

/* What of the filter is set, as the API's parameters. */
static struct json *params_of(const struct json *from)
{
	struct json *params = json_object();

	for (size_t i = 0; i < ARRAY_LEN(filters); i++)
		if (json_str(from, filters[i]).len)
			json_put_str(params, filters[i], json_str(from, filters[i]));
	return params;
}

/* The list's address with another state and page. */
static const char *list_url(struct arena *a, const struct json *from, const char *state, const char *token)
{
	return page_url(a, HERE, "state", state, "q", json_cstr(from, "q"), "tag", json_cstr(from, "tag"), "type",
			json_cstr(from, "type"), "worker", json_cstr(from, "worker"), "pageToken", token, NULL);
}

static struct json *tabs_model(struct arena *a, const struct json *params, const struct json *queue)
{
	const char *state = json_cstr(params, "state");
	struct json *list = json_array();

	for (size_t i = 0; i < ARRAY_LEN(tabs); i++) {
		const char *of = i ? tabs[i] : NULL;
		struct json *tab = json_object();

		json_put_cstr(tab, "key", tabs[i]);
		json_put_cstr(tab, "url", list_url(a, params, of, NULL));
		json_put_bool(tab, "current", of ? state && !strcmp(of, state) : !state);
		json_put(tab, "count", json_null());
		if (of && json_i64(queue, of, 0))
			json_put_i64(tab, "count", json_i64(queue, of, 0));
		json_add(list, tab);
	}
	return list;
}

/* A filter that no control of the page shows is told, and how to drop it. */
static struct json *note_model(struct arena *a, const struct json *params, const struct json *workers)
{
	struct str tag = json_str(params, "tag"), worker = json_str(params, "worker"), value = tag;
	struct json *note;

	if (!tag.len && !worker.len)
		return json_null();
	for (size_t i = 0; !tag.len && i < json_len(workers); i++)
		if (str_eq(json_str(json_at(workers, i), "id"), worker))
			value = json_str(json_at(workers, i), "title");
	note = json_object();
	json_put_cstr(note, "kind", tag.len ? "tag" : "worker");
	json_put_str(note, "value", value.len ? value : worker);
	json_put_cstr(note, "clearUrl", page_url(a, HERE, "state", json_cstr(params, "state"), "q", json_cstr(params, "q"), "type",
						 json_cstr(params, "type"), NULL));
	return note;
}

static struct json *filter_model(struct arena *a, const struct json *params, const struct json *workers)
{
	struct json *filter = json_object(), *options = json_array();

	for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
		struct json *field = json_object();
		struct str value = json_str(params, filters[i]);

		json_put_str(field, "value", value.len ? value : STR(""));
		json_put(filter, filters[i], field);
	}
	for (size_t i = 0; i < ARRAY_LEN(types); i++) {
		struct json *one = json_object();

		json_put_cstr(one, "value", types[i]);
		json_put_bool(one, "selected", str_eqz(json_str(params, "type"), types[i]));
		json_add(options, one);
	}
	json_put(json_get(filter, "type"), "options", options);
	json_put(filter, "note", note_model(a, params, workers));
	return filter;
}

static struct json *pages_model(struct arena *a, const struct json *params, const char *next)
{
	const char *state = json_cstr(params, "state");
	bool first = !json_has(params, "pageToken");
	struct json *pages;

	if (first && !next)
		return json_null();
	pages = json_object();
	json_put_cstr(pages, "newerUrl", first ? NULL : list_url(a, params, state, NULL));
	json_put_cstr(pages, "olderUrl", next ? list_url(a, params, state, next) : NULL);
	json_put(pages, "countText", json_null());
	return pages;
}

/* ---- the page ------------------------------------------------------------------- */

static enum err look(struct ctx *ctx, struct request *req, struct json **jobs, struct json **notebooks, struct error *e)
{
	struct page_call list = {.route = "jobs.list", .params = params_of(req->params)};
	struct page_call workers = {.route = "notebooks.list"};
	enum err err;

	json_put_i64(list.params, "limit", JOBS_SHOWN);
	if (json_has(req->params, "pageToken"))
		json_put_str(list.params, "pageToken", json_str(req->params, "pageToken"));
	err = page_call(ctx, req, NULL, &list, jobs, e);
	if (err)
		return err;
	workers.params = json_object();
	json_put_i64(workers.params, "limit", PAGE_MAX);
	return page_call(ctx, req, NULL, &workers, notebooks, e);
}

enum err page_jobs(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *answer = NULL, *notebooks = NULL, *model = page_model(ctx, req, "jobs");
	struct view v = view_of(ctx, req);
	struct json *jobs, *workers, *pool, *queue = NULL;
	bool selectable = page_may(req, "jobs.cancelMany");
	enum err err = look(ctx, req, &answer, &notebooks, e);

	if (!err)
		err = page_queue(ctx, req, false, &queue, e);
	if (err)
		return err;
	jobs = json_get(answer, "jobs");
	workers = json_get(notebooks, "notebooks");
	for (size_t i = 0; i < json_len(jobs); i++)
		view_job(&v, json_at(jobs, i), workers);
	pool = json_object();
	json_put(pool, "jobs", queue);
	json_put(model, "pool", pool);
	json_put(model, "tabs", tabs_model(req->arena, req->params, queue));
	json_put(model, "filter", filter_model(req->arena, req->params, workers));
	json_put(model, "jobs", json_ref(jobs));
	json_put_bool(model, "selectable", selectable);
	json_put(model, "pages", pages_model(req->arena, req->params, json_cstr(answer, "nextPageToken")));
	if (page_flash_code(req))
		page_flash(model, page_flash_code(req), NULL, json_i64(req->params, "n", 0), NULL);
	return view_page(ctx, req, res, 200, "jobs", json_ref(model), e);
}

/* ---- cancel ------------------------------------------------------------------------ */

static enum err cancel(struct ctx *ctx, struct request *req, struct response *res, struct json *body, int64_t *n, struct error *e)
{
	const struct page_call call = {.route = "jobs.cancelMany", .body = body};
	cleanup_json struct json *answer = NULL;
	enum err err = page_call(ctx, req, res, &call, &answer, e);

	*n += json_i64(answer, "cancelled", 0);
	return err;
}

static enum err cancel_selected(struct ctx *ctx, struct request *req, struct response *res, int64_t *n, struct error *e)
{
	struct json *body;

	if (!json_len(json_get(req->json, "id")))
		return OK;
	body = json_object();
	json_put(body, "ids", json_ref(json_get(req->json, "id")));
	return cancel(ctx, req, res, body, n, e);
}

/* All that the filter shows and that has not ended.  The state is always named: the
 * API takes no request for simply everything. */
static enum err cancel_filtered(struct ctx *ctx, struct request *req, struct response *res, int64_t *n, struct error *e)
{
	static const char *const live[] = {"queued", "running"};
	struct str state = json_str(req->json, "state");
	enum err err = OK;

	for (size_t i = 0; !err && i < ARRAY_LEN(live); i++) {
		struct json *body;

		if (state.len && !str_eqz(state, live[i]))
			continue;
		body = params_of(req->json);
		json_put_cstr(body, "state", live[i]);
		err = cancel(ctx, req, res, body, n, e);
	}
	return err;
}

enum err page_jobs_cancel(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct str which = json_str(req->json, "which");
	const char *state = json_cstr(req->json, "state");
	int64_t n = 0;
	enum err err;

	if (str_eqz(which, "selected"))
		err = cancel_selected(ctx, req, res, &n, e);
	else if (str_eqz(which, "all"))
		err = cancel_filtered(ctx, req, res, &n, e);
	else
		err = error_field(e, ERR_INVALID, "which", "Say which jobs: those selected, or all of the list.");
	if (err)
		return err;
	response_redirect(res, page_url(req->arena, list_url(req->arena, req->json, state, NULL), "flash", "jobs_cancelled", "n",
					arena_printf(req->arena, "%lld", (long long)n), NULL));
	response_object(res, "%lld jobs", (long long)n);
	return OK;
}
