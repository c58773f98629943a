/* page_job - one job: its state and why, progress, log, result, files, attempts. */
#include "web/page.h"
#include "web/pages.h"
#include "web/paging.h"
#include "web/view.h"
#include "web/view_fields.h"

enum { LOG_SHOWN = 64 << 10 };

const struct field page_job_query[] = {{"run", FIELD_INT, 0, 1, 30000}, PAGE_FLASH_FIELDS, {0}};

/* ---- the log ------------------------------------------------------------------- */

/*
 * Where the log is and from where on it is shown.  Its bytes are the events
 * role's: this role may not read them, so that live.js fetches them, and without
 * it a link leads to the text.
 */
static void put_log(struct request *req, struct json *job, const struct json *attempt)
{
	int64_t bytes = json_i64(attempt, "logBytes", 0);
	const char *url;
	struct json *log;

	json_put(job, "log", json_null());
	if (!attempt)
		return;
	url = arena_printf(req->arena, "/api/gpu/jobs/%s/logs?run=%lld", json_cstr(job, "id"),
			   (long long)json_i64(attempt, "run", 0));
	log = json_object();
	json_put_i64(log, "attempt", json_i64(attempt, "run", 0));
	json_put_i64(log, "offset", bytes > LOG_SHOWN ? bytes - LOG_SHOWN : 0);
	json_put_bool(log, "cut", bytes > LOG_SHOWN);
	json_put_bool(log, "empty", !bytes);
	json_put_bool(log, "grows", str_eqz(json_str(attempt, "outcome"), "running"));
	json_put_cstr(log, "rawUrl", url);
	json_put_cstr(log, "followUrl", url);
	json_put(job, "log", log);
}

/* ---- attempts and files ----------------------------------------------------------- */

/* The one whose log is shown: the one asked for, else the latest. */
static const struct json *chosen(const struct json *attempts, int64_t asked)
{
	const struct json *found = NULL;

	for (size_t i = 0; i < json_len(attempts); i++) {
		const struct json *one = json_at(attempts, i);
		int64_t run = json_i64(one, "run", 0);

		if (asked ? run == asked : !found || run > json_i64(found, "run", 0))
			found = one;
	}
	return found;
}

/* Newest first, and the log of one. */
static enum err put_attempts(struct ctx *ctx, struct request *req, const struct view *v, struct json *job,
			     const struct json *workers, struct error *e)
{
	cleanup_json struct json *answer = NULL;
	struct json *list = json_array(), *attempts;
	const struct json *shown;
	enum err err = page_call(ctx, req, NULL, &(struct page_call){.route = "jobs.attempts"}, &answer, e);

	json_put(job, "attempts", list);
	if (err)
		return err;
	attempts = json_get(answer, "attempts");
	shown = chosen(attempts, json_i64(req->params, "run", 0));
	put_log(req, job, shown);
	for (size_t i = json_len(attempts); i-- > 0;) {
		view_attempt(v, json_at(attempts, i), json_str(job, "id"), json_i64(shown, "run", 0), workers);
		json_add(list, json_ref(json_at(attempts, i)));
	}
	return OK;
}

static enum err put_artifacts(struct ctx *ctx, struct request *req, const struct view *v, struct json *job, struct error *e)
{
	cleanup_json struct json *answer = NULL;
	struct json *artifacts, *items;
	int64_t bytes = 0;
	enum err err = page_call(ctx, req, NULL, &(struct page_call){.route = "jobs.artifacts"}, &answer, e);

	json_put(job, "artifacts", json_null());
	items = json_get(answer, "artifacts");
	if (err || !json_len(items))
		return err;
	for (size_t i = 0; i < json_len(items); i++) {
		struct json *one = json_at(items, i);
		cleanup_buf struct buf url = BUF_INIT(8192);

		buf_addf(&url, "/api/gpu/jobs/%s/artifacts", json_cstr(job, "id"));
		page_add_path(&url, json_str(one, "name"));
		json_put_str(one, "url", buf_str(&url));
		view_put_size(one, "sizeText", json_i64(one, "size", 0));
		view_put_time(v, one, "createdAt");
		bytes += json_i64(one, "size", 0);
	}
	artifacts = json_object();
	json_put_i64(artifacts, "count", (int64_t)json_len(items));
	view_put_size(artifacts, "bytesText", bytes);
	json_put(artifacts, "items", json_ref(items));
	json_put(job, "artifacts", artifacts);
	return OK;
}

/* ---- the page ----------------------------------------------------------------------- */

/* A stranger's name is an administrator's to see. */
static enum err put_owner(struct ctx *ctx, struct request *req, struct json *job, struct error *e)
{
	cleanup_json struct json *user = NULL;
	int64_t owner = 0;
	enum err err;

	json_put(job, "ownerName", json_null());
	if (!str_to_id(json_str(job, "owner"), &owner))
		return OK;
	if (owner == req->principal.user_id) {
		json_put_cstr(job, "ownerName", req->principal.name);
		return OK;
	}
	if (!page_may(req, "users.get"))
		return OK;
	err = page_call(ctx, req, NULL, &(struct page_call){.route = "users.get", .id = json_cstr(job, "owner")}, &user, e);
	if (!err)
		json_put_str(job, "ownerName", json_str(user, "name"));
	return err == ERR_NOT_FOUND ? OK : err;
}

static enum err fill(struct ctx *ctx, struct request *req, struct json *job, struct error *e)
{
	struct page_call list = {.route = "notebooks.list", .params = json_object()};
	cleanup_json struct json *notebooks = NULL;
	struct view v = view_of(ctx, req);
	const struct json *workers;
	enum err err;

	json_put_i64(list.params, "limit", PAGE_MAX);
	err = page_call(ctx, req, NULL, &list, &notebooks, e);
	workers = json_get(notebooks, "notebooks");
	view_job(&v, job, workers);
	view_job_whole(&v, job);
	if (!err)
		err = put_attempts(ctx, req, &v, job, workers, e);
	if (!err)
		err = put_artifacts(ctx, req, &v, job, e);
	if (!err)
		err = put_owner(ctx, req, job, e);
	return err;
}

enum err page_job(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct page_call call = {.route = "jobs.get", .params = json_object()};
	cleanup_json struct json *job = NULL, *model = page_model(ctx, req, "jobs");
	enum err err;

	json_put_cstr(call.params, "include", "payload");
	err = page_call(ctx, req, NULL, &call, &job, e);
	if (!err)
		err = fill(ctx, req, job, e);
	if (err)
		return err;
	json_put(model, "job", json_ref(job));
	if (page_flash_code(req))
		page_flash(model, page_flash_code(req), json_cstr(job, "title"), 0, NULL);
	return view_page(ctx, req, res, 200, "job", json_ref(model), e);
}

/* ---- what may be done ------------------------------------------------------------------ */

static enum err act(struct ctx *ctx, struct request *req, struct response *res, const char *route, const char *code, struct error *e)
{
	const char *path = arena_printf(req->arena, "/admin/jobs/%.*s", STR_ARG(request_capture(req, "id")));
	enum err err = page_call(ctx, req, res, &(struct page_call){.route = route}, NULL, e);

	if (!err)
		page_done(res, path, code, NULL);
	return err;
}

enum err page_job_cancel(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return act(ctx, req, res, "jobs.cancel", "job_cancelled", e);
}

enum err page_job_retry(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return act(ctx, req, res, "jobs.retry", "job_retried", e);
}
