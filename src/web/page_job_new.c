/* page_job_new - the form that submits a job, empty or filled in from another. */
#include <string.h>

#include "web/page.h"
#include "web/page_form.h"
#include "web/pages.h"
#include "web/view.h"

enum { CODE_MAX = 1 << 20 };

const struct field page_job_new_query[] = {{"from", FIELD_ID}, PAGE_FLASH_FIELDS, {0}};

const struct field page_job_new_body[] = {
	{"name", FIELD_STRING, 0, 0, 1000},
	{"type", FIELD_STRING, 0, 0, 100},
	{"code", FIELD_TEXT, 0, 0, CODE_MAX},
	{"args", FIELD_TEXT, 0, 0, 65536},
	{"requirements", FIELD_TEXT, 0, 0, 65536},
	{"tags", FIELD_STRING, 0, 0, 4000},
	{"priority", FIELD_STRING, 0, 0, 40},
	{"runAfter", FIELD_STRING, 0, 0, 100},
	{"timeout", FIELD_STRING, 0, 0, 40},
	{"maxAttempts", FIELD_STRING, 0, 0, 40},
	{"accelerator", FIELD_STRING, 0, 0, 400},
	{"gpus", FIELD_STRING, 0, 0, 40},
	{"retryOnError", FIELD_STRING, 0, 0, 10},
	{"secrets", FIELD_STRINGS, 0, 0, 500},
	{"rest", FIELD_TEXT, 0, 0, CODE_MAX},
	{0},
};

static const char *const types[] = {"script", "training", "inference", NULL};
static const char *const accelerators[] = {"any", "cpu", "gpu", "tpu", NULL};

static const struct form_field form[] = {
	{"name", NULL, FORM_TEXT},
	{"type", NULL, FORM_TEXT, .options = types, .initial = "script"},
	{"code", "payload.code", FORM_TEXT, FORM_EMPTY},
	{"args", "payload.args", FORM_LINES},
	{"requirements", "payload.requirements", FORM_LINES},
	{"tags", NULL, FORM_ITEMS},
	{"priority", NULL, FORM_INT, .initial = "5"},
	{"runAfter", NULL, FORM_WHEN},
	{"timeout", "timeoutSeconds", FORM_SECONDS},
	{"maxAttempts", NULL, FORM_INT, .initial = "3"},
	{"accelerator", NULL, FORM_ITEMS, FORM_ANY, .options = accelerators, .initial = "any"},
	{"gpus", NULL, FORM_INT, .initial = "1"},
	{"retryOnError", "retryOn", FORM_ERROR},
	{"secrets", NULL, FORM_ITEMS},
	{"rest", NULL, FORM_TEXT, FORM_PAGE},
	{0},
};

/* What of a payload no field shows (env, files) goes through the form as it is. */
static const char *const shown[] = {"code", "args", "requirements"};

/* ---- filled in from another ------------------------------------------------------- */

static bool is_shown(const char *member)
{
	for (size_t i = 0; i < ARRAY_LEN(shown); i++)
		if (!strcmp(member, shown[i]))
			return true;
	return false;
}

static void put_rest(struct json *sent, const struct json *payload)
{
	cleanup_json struct json *rest = json_object();
	cleanup_buf struct buf text = BUF_INIT(CODE_MAX);

	for (struct json_iter it = json_iter(payload); json_next(&it);)
		if (!is_shown(it.key))
			json_put(rest, it.key, json_ref(it.value));
	if (!json_len(rest))
		return;
	json_write(rest, &text);
	json_put_str(sent, "rest", buf_str(&text));
}

static struct json *cloned_model(const struct request *req, const struct json *job)
{
	struct json *cloned = json_object();
	struct str name = json_str(job, "name");

	json_put_str(cloned, "title", name.len ? name : json_str(job, "id"));
	json_put_cstr(cloned, "pageUrl", arena_printf(req->arena, "/admin/jobs/%s", json_cstr(job, "id")));
	return cloned;
}

/* *sent is the caller's. */
static enum err fill_in(struct ctx *ctx, struct request *req, struct json *model, struct json **sent, struct error *e)
{
	struct page_call call = {.route = "jobs.get", .id = json_cstr(req->params, "from"), .params = json_object()};
	cleanup_json struct json *job = NULL;
	enum err err;

	json_put_cstr(call.params, "include", "payload");
	err = page_call(ctx, req, NULL, &call, &job, e);
	if (err)
		return err;
	*sent = form_of_document(form, job);
	if (!json_get(job, "accelerator"))
		json_put_cstr(*sent, "accelerator", "any");
	if (json_len(json_get(job, "secrets")))
		json_put(*sent, "secrets", json_ref(json_get(job, "secrets")));
	put_rest(*sent, json_get(job, "payload"));
	json_put(model, "cloned", cloned_model(req, job));
	return OK;
}

/* ---- secrets to choose ---------------------------------------------------------------- */

static bool is_among(const struct json *names, struct str name)
{
	for (size_t i = 0; i < json_len(names); i++)
		if (str_eq(json_as_str(json_at(names, i)), name))
			return true;
	return false;
}

/* The reader's own, as choices of the field. */
static enum err put_secrets(struct ctx *ctx, struct request *req, const struct json *sent, struct json *model, struct error *e)
{
	struct json *field = json_path(model, "form.secrets"), *options = json_array();
	cleanup_json struct json *answer = NULL;
	const struct json *secrets;
	enum err err = OK;

	json_put(field, "options", options);
	if (page_may(req, "secrets.list"))
		err = page_call(ctx, req, NULL, &(struct page_call){.route = "secrets.list"}, &answer, e);
	secrets = json_get(answer, "secrets");
	for (size_t i = 0; i < json_len(secrets); i++) {
		struct json *one = json_object();

		json_put_str(one, "value", json_str(json_at(secrets, i), "name"));
		json_put_bool(one, "selected", is_among(json_get(sent, "secrets"), json_str(json_at(secrets, i), "name")));
		json_add(options, one);
	}
	return err;
}

/* ---- the page ----------------------------------------------------------------------- */

enum err page_job_new(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *model = page_model(ctx, req, "jobs"), *sent = NULL;
	enum err err = OK;

	json_put(model, "cloned", json_null());
	if (json_has(req->params, "from"))
		err = fill_in(ctx, req, model, &sent, e);
	if (err)
		return err;
	form_model(form, sent, req, model);
	err = put_secrets(ctx, req, sent, model, e);
	return err ? err : view_page(ctx, req, res, 200, "job-new", json_ref(model), e);
}

enum err page_job_new_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	cleanup_json struct json *model = page_model(ctx, req, "jobs");
	enum err err;

	json_put(model, "cloned", json_null());
	form_model(form, req->json, req, model);
	page_problem(model, req, why);
	err = put_secrets(ctx, req, req->json, model, e);
	return err ? err : view_page(ctx, req, res, err_http_status(why->code), "job-new", json_ref(model), e);
}

static enum err merge_rest(const struct request *req, struct json *document, struct error *e)
{
	struct str text = json_str(req->json, "rest");
	cleanup_json struct json *rest = NULL;
	struct json *payload = json_get(document, "payload");
	enum err err = text.len ? json_parse(text, CODE_MAX, &rest, e) : OK;

	for (struct json_iter it = json_iter(rest); !err && json_next(&it);)
		if (!is_shown(it.key))
			json_put(payload, it.key, json_ref(it.value));
	return err;
}

enum err page_job_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct page_call call = {.route = "jobs.create", .body = form_document(form, req)};
	cleanup_json struct json *made = NULL;
	enum err err = merge_rest(req, call.body, e);

	if (err) {
		json_free(call.body);
		return err;
	}
	err = page_call(ctx, req, res, &call, &made, e);
	if (!err)
		page_done(res, arena_printf(req->arena, "/admin/jobs/%s", json_cstr(made, "jobId")), "job_submitted", NULL);
	return err;
}
