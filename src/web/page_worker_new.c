/* page_worker_new - the form that adds a notebook, and what is being created. */
#include "domain/worker.h"

#include <string.h>

#include "web/page.h"
#include "web/page_form.h"
#include "web/pages.h"
#include "web/paging.h"
#include "web/view.h"
#include "web/view_fields.h"

const char *const page_providers[] = {"local", "manual", NULL};
const char *const page_accelerators[] = {"gpu", "cpu", "tpu", NULL};

const struct field page_worker_new_query[] = {{"provider", FIELD_STRING, 0, 0, 31}, PAGE_FLASH_FIELDS, {0}};

const struct field page_worker_new_body[] = {
	{"provider", FIELD_STRING, 0, 0, 100},
	{"accelerator", FIELD_STRING, 0, 0, 200},
	{"title", FIELD_STRING, 0, 0, 1000},
	{"maxSession", FIELD_STRING, 0, 0, 100},
	{"idleStop", FIELD_STRING, 0, 0, 100},
	{"autoStart", FIELD_STRING, 0, 0, 10},
	{0},
};

static const struct form_field form[] = {
	{"provider", NULL, FORM_TEXT, .initial = "local"},
	{"accelerator", NULL, FORM_TEXT, .options = page_accelerators, .initial = "gpu"},
	{"title", NULL, FORM_TEXT},
	{"maxSession", "maxSessionSeconds", FORM_SECONDS},
	{"idleStop", "idleStopSeconds", FORM_SECONDS},
	{"autoStart", NULL, FORM_CHECK, .initial = "1"},
	{0},
};

/* ---- where a worker can be ----------------------------------------------------- */

static struct json *provider_model(const struct ctx *ctx, const char *id, const char *chosen)
{
	struct json *provider = json_object(), *unavailable;
	struct error e = {0};
	bool available = worker_reachable(id, ctx->config, &e) == OK;

	json_put_cstr(provider, "id", id);
	json_put_bool(provider, "selected", available && !strcmp(id, chosen));
	json_put_bool(provider, "available", available);
	json_put(provider, "rules", json_null());
	json_put(provider, "fields", json_array());
	json_put(provider, "unavailable", json_null());
	if (!available) {
		unavailable = json_object();
		json_put_cstr(unavailable, "code", e.reason ? e.reason : "");
		json_put(provider, "unavailable", unavailable);
	}
	return provider;
}

struct json *page_providers_model(const struct ctx *ctx, const char *chosen)
{
	struct json *list = json_array();

	for (const char *const *p = page_providers; *p; p++)
		json_add(list, provider_model(ctx, *p, chosen));
	return list;
}

/* ---- what is being created --------------------------------------------------------- */

static enum err put_creating(struct ctx *ctx, struct request *req, struct json *model, struct error *e)
{
	struct page_call call = {.route = "notebooks.list", .params = json_object()};
	cleanup_json struct json *answer = NULL;
	struct json *creating = json_array(), *list;
	struct view v = view_of(ctx, req);
	enum err err;

	json_put(model, "creating", creating);
	json_put_i64(call.params, "limit", PAGE_MAX);
	err = page_call(ctx, req, NULL, &call, &answer, e);
	list = json_get(answer, "notebooks");
	for (size_t i = 0; !err && i < json_len(list); i++) {
		struct json *worker = json_at(list, i);

		view_worker(&v, worker, NULL);
		if (json_get(worker, "steps") && json_bool(worker, "own", false))
			json_add(creating, json_ref(worker));
	}
	return err;
}

static enum err show(struct ctx *ctx, struct request *req, struct response *res, const struct json *sent,
		     const struct error *why, struct error *e)
{
	cleanup_json struct json *model = page_model(ctx, req, "pool");
	const char *chosen = json_cstr(sent ? sent : req->params, "provider");
	enum err err = put_creating(ctx, req, model, e);

	if (err)
		return err;
	json_put(model, "providers", page_providers_model(ctx, chosen ? chosen : page_providers[0]));
	form_model(form, sent, req, model);
	if (why)
		page_problem(model, req, why);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "worker-new", json_ref(model), e);
}

enum err page_worker_new(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, NULL, NULL, e);
}

enum err page_worker_new_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why,
			       struct error *e)
{
	return show(ctx, req, res, req->json, why, e);
}

enum err page_worker_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct page_call call = {.route = "notebooks.create", .body = form_document(form, req)};
	cleanup_json struct json *made = NULL;
	enum err err = page_call(ctx, req, res, &call, &made, e);

	if (!err)
		page_done(res, arena_printf(req->arena, "/admin/workers/%s", json_cstr(made, "id")), "worker_created", NULL);
	return err;
}
