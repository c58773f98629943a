/* page_worker - one worker: what it is, what it did, and what may be done with it. */
#include "domain/output.h"
#include "web/page.h"
#include "web/page_form.h"
#include "web/pages.h"
#include "web/view.h"
#include "web/view_fields.h"

enum { SESSIONS_SHOWN = 10, JOBS_SHOWN = 8, LOG_LINES = 200, FILES_SHOWN = 12 };

const struct field page_worker_act_body[] = {{"back", FIELD_STRING, 0, 0, 20}, {0}};

const struct field page_worker_edit_body[] = {
	{"version", FIELD_STRING, 0, 0, 20},
	{"title", FIELD_STRING, 0, 0, 1000},
	{"accelerator", FIELD_STRING, 0, 0, 200},
	{"maxSession", FIELD_STRING, 0, 0, 100},
	{"idleStop", FIELD_STRING, 0, 0, 100},
	{0},
};

static const struct form_field form[] = {
	{"title", NULL, FORM_TEXT, FORM_EMPTY},
	{"accelerator", NULL, FORM_TEXT, .options = page_accelerators},
	{"maxSession", "maxSessionSeconds", FORM_SECONDS, FORM_NULL},
	{"idleStop", "idleStopSeconds", FORM_SECONDS, FORM_NULL},
	{0},
};

/* ---- the page -------------------------------------------------------------------- */

static struct json *lines_of(struct str text)
{
	struct json *lines = json_array();
	struct str line;

	while (str_cut(&text, '\n', &line))
		if (line.len || text.ptr)
			json_add(lines, json_new_str(line));
	return lines;
}

/* The last words of the newest session that left some. */
static struct json *agent_log(const struct view *v, const struct json *sessions)
{
	struct json *log;

	for (size_t i = 0; i < json_len(sessions); i++) {
		const struct json *session = json_at(sessions, i);

		if (!json_str(session, "log").len)
			continue;
		log = json_object();
		json_put(log, "lines", lines_of(json_str(session, "log")));
		json_put_str(log, "at", json_str(session, "endedAt"));
		view_put_time(v, log, "at");
		return log;
	}
	return json_null();
}

static void view_file(const struct request *req, const char *session, struct json *file)
{
	cleanup_buf struct buf url = BUF_INIT(8192);
	struct str name = json_str(file, "name");

	buf_addf(&url, "/api/gpu/workers/notebooks/%.*s/sessions/%s/outputs", STR_ARG(request_capture(req, "id")), session);
	page_add_path(&url, name);
	json_put_str(file, "url", buf_str(&url));
	json_put_bool(file, "log", output_is_log(name));
	view_put_size(file, "sizeText", json_i64(file, "size", 0));
}

/* What a session left at its provider. */
static enum err put_files(struct ctx *ctx, struct request *req, struct json *session, struct error *e)
{
	struct page_call call = {.route = "outputs.list", .session = json_cstr(session, "id")};
	cleanup_json struct json *answer = NULL;
	struct json *files = json_array(), *list;
	enum err err = OK;

	if (json_i64(session, "outputs", 0))
		err = page_call(ctx, req, NULL, &call, &answer, e);
	list = json_get(answer, "outputs");
	for (size_t i = 0; i < json_len(list) && i < FILES_SHOWN; i++) {
		view_file(req, call.session, json_at(list, i));
		json_add(files, json_ref(json_at(list, i)));
	}
	json_put_i64(session, "more", (int64_t)(json_len(list) - json_len(files)));
	json_put(session, "files", files);
	return err;
}

static enum err put_sessions(struct ctx *ctx, struct request *req, const struct view *v, struct json *worker, struct error *e)
{
	struct page_call call = {.route = "notebooks.sessions", .params = json_object()};
	cleanup_json struct json *answer = NULL;
	struct json *sessions;
	enum err err;

	json_put_i64(call.params, "limit", SESSIONS_SHOWN);
	err = page_call(ctx, req, NULL, &call, &answer, e);
	if (err)
		return err;
	sessions = json_get(answer, "sessions");
	for (size_t i = 0; !err && i < json_len(sessions); i++) {
		view_session(v, json_at(sessions, i));
		err = put_files(ctx, req, json_at(sessions, i), e);
	}
	json_put(worker, "sessions", json_ref(sessions));
	json_put(worker, "agentLog", agent_log(v, sessions));
	return err;
}

/* The newest jobs here; those that run also tell what the worker does. */
static enum err put_jobs(struct ctx *ctx, struct request *req, const struct view *v, struct json *worker, struct error *e)
{
	struct page_call call = {.route = "jobs.list", .params = json_object()};
	cleanup_json struct json *answer = NULL, *workers = json_array();
	struct json *jobs;
	enum err err;

	json_put_i64(call.params, "limit", JOBS_SHOWN);
	json_put_str(call.params, "worker", json_str(worker, "id"));
	err = page_call(ctx, req, NULL, &call, &answer, e);
	if (err)
		return err;
	jobs = json_get(answer, "jobs");
	view_worker(v, worker, NULL);
	json_add(workers, json_ref(worker));
	for (size_t i = 0; i < json_len(jobs); i++)
		view_job(v, json_at(jobs, i), workers);
	json_put(worker, "recentJobs", json_ref(jobs));
	return OK;
}

/* The account that it uses, where the reader may see it. */
static enum err put_account(struct ctx *ctx, struct request *req, const struct view *v, struct json *worker, struct error *e)
{
	struct page_call call = {.route = "accounts.get", .id = json_cstr(worker, "accountId")};
	cleanup_json struct json *account = NULL;
	enum err err;

	if (!call.id || !json_bool(worker, "own", false) || !page_may(req, call.route))
		return OK;
	err = page_call(ctx, req, NULL, &call, &account, e);
	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	view_account(v, account);
	json_put(worker, "account", json_ref(account));
	return OK;
}

/* The hours of its account with all that is known of them, a forecast among it, where the reader may see them. */
static enum err put_hours(struct ctx *ctx, struct request *req, const struct view *v, struct json *worker, struct error *e)
{
	struct page_call call = {.route = "quota.list", .params = json_object()};
	struct str resource = json_str(json_get(worker, "quota"), "resource");
	cleanup_json struct json *answer = NULL;
	const struct json *resources;
	enum err err;

	json_put_str(call.params, "account", json_str(worker, "accountId"));
	if (!resource.len || !json_bool(worker, "own", false)) {
		json_free(call.params);
		return OK;
	}
	err = page_call(ctx, req, NULL, &call, &answer, e);
	resources = err ? NULL : json_get(json_at(json_get(answer, "accounts"), 0), "resources");
	for (size_t i = 0; i < json_len(resources); i++) {
		struct json *quota = json_at(resources, i);

		if (!str_eq(json_str(quota, "resource"), resource))
			continue;
		view_quota(v, quota);
		json_put(quota, "title", json_null());
		json_put(worker, "quota", json_ref(quota));
		break;
	}
	return err;
}

/* made: the answer about an enrolment, or NULL. */
static enum err show(struct ctx *ctx, struct request *req, struct response *res, const struct json *sent,
		     const struct json *made, const struct error *why, struct error *e)
{
	cleanup_json struct json *worker = NULL, *stored = NULL, *model = page_model(ctx, req, "pool");
	struct view v = view_of(ctx, req);
	enum err err = page_call(ctx, req, NULL, &(struct page_call){.route = "notebooks.get"}, &worker, e);

	if (!err)
		err = put_jobs(ctx, req, &v, worker, e);
	if (!err)
		err = put_sessions(ctx, req, &v, worker, e);
	if (!err)
		err = put_account(ctx, req, &v, worker, e);
	if (!err)
		err = put_hours(ctx, req, &v, worker, e);
	if (err)
		return err;
	if (made)
		view_enrol(&v, worker, made);
	stored = form_of_document(form, worker);
	form_model(form, sent ? sent : stored, req, model);
	err = page_accelerators_of(ctx, req, json_cstr(worker, "provider"), json_path(model, "form.accelerator"), e);
	if (err)
		return err;
	json_put(model, "worker", json_ref(worker));
	if (why)
		page_problem(model, req, why);
	else if (!made && page_flash_code(req))
		page_flash(model, page_flash_code(req), json_cstr(worker, "title"), 0, NULL);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "worker", json_ref(model), e);
}

enum err page_worker(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, NULL, NULL, NULL, e);
}

/* Of the edit form.  After somebody else's change the fields show what is stored now. */
enum err page_worker_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	return show(ctx, req, res, why->code == ERR_PRECONDITION ? NULL : req->json, NULL, why, e);
}

/* ---- what may be done -------------------------------------------------------------- */

static const char *path_of(struct request *req)
{
	return arena_printf(req->arena, "/admin/workers/%.*s", STR_ARG(request_capture(req, "id")));
}

/* Back to where the button was. */
static enum err act(struct ctx *ctx, struct request *req, struct response *res, const char *route, const char *code,
		    struct error *e)
{
	bool from_pool = str_eqz(json_str(req->json, "back"), "pool");
	cleanup_json struct json *worker = NULL;
	enum err err = page_call(ctx, req, res, &(struct page_call){.route = route}, &worker, e);

	if (!err)
		page_done(res, from_pool ? "/admin/gpu-dashboard" : path_of(req), code, from_pool ? json_cstr(worker, "id") : NULL);
	return err;
}

enum err page_worker_start(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return act(ctx, req, res, "notebooks.start", "worker_started", e);
}

enum err page_worker_stop(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return act(ctx, req, res, "notebooks.stop", "worker_stopped", e);
}

enum err page_worker_edit(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct page_call call = {.route = "notebooks.change", .body = form_document(form, req)};
	enum err err;

	if (json_has(req->json, "version"))
		call.if_match = arena_printf(req->arena, "\"v%.*s\"", STR_ARG(json_str(req->json, "version")));
	err = page_call(ctx, req, res, &call, NULL, e);
	if (!err)
		page_done(res, path_of(req), "worker_saved", NULL);
	return err;
}

enum err page_worker_enrol(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *made = NULL;
	enum err err = page_call(ctx, req, res, &(struct page_call){.route = "notebooks.enrol"}, &made, e);

	if (!err)
		err = show(ctx, req, res, NULL, made, NULL, e);
	if (!err)
		response_header(res, "Cache-Control", "no-store");
	return err;
}

enum err page_worker_delete_ask(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct view v = view_of(ctx, req);
	struct json *model, *worker = NULL;
	enum err err = page_call(ctx, req, NULL, &(struct page_call){.route = "notebooks.get"}, &worker, e);

	if (err)
		return err;
	view_worker(&v, worker, NULL);
	model = page_model(ctx, req, "pool");
	json_put(model, "worker", worker);
	return view_page(ctx, req, res, 200, "worker-delete", model, e);
}

enum err page_worker_delete(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *worker = NULL;
	enum err err = page_call(ctx, req, res, &(struct page_call){.route = "notebooks.delete"}, &worker, e);

	if (!err)
		page_done(res, "/admin/gpu-dashboard", "worker_deleted", json_cstr(worker, "id"));
	return err;
}
