/* page_secrets - a person's own secrets: named, given a value, deleted; a value is never shown. */
#include "domain/secret.h"
#include "web/page.h"
#include "web/page_form.h"
#include "web/pages.h"
#include "web/view.h"
#include "web/view_fields.h"

#define HERE "/admin/secrets"

const struct field page_secrets_query[] = {{"flash", FIELD_STRING, .max = 40}, {"of", FIELD_STRING, .max = SECRET_NAME_MAX}, {0}};

const struct field page_secret_put_body[] = {
	{"name", FIELD_STRING, 0, 0, 200},
	{"value", FIELD_TEXT, FIELD_SECRET, 0, SECRET_VALUE_MAX},
	{0},
};

static const struct form_field form[] = {
	{"name", NULL, FORM_TEXT, FORM_EMPTY},
	{"value", NULL, FORM_SECRET, FORM_EMPTY},
	{0},
};

static enum err show(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	cleanup_json struct json *answer = NULL, *model = page_model(ctx, req, "secrets");
	struct view v = view_of(ctx, req);
	struct json *secrets;
	enum err err = page_call(ctx, req, NULL, &(struct page_call){.route = "secrets.list"}, &answer, e);

	if (err)
		return err;
	secrets = json_get(answer, "secrets");
	for (size_t i = 0; i < json_len(secrets); i++) {
		struct json *one = json_at(secrets, i);

		view_put_time(&v, one, "updatedAt");
		view_put_time(&v, one, "lastUsedAt");
		json_put_cstr(one, "deleteUrl", arena_printf(req->arena, HERE "/%s/delete", json_cstr(one, "name")));
	}
	json_put(model, "secrets", json_ref(secrets));
	form_model(form, why ? req->json : NULL, req, model);
	if (why)
		page_problem(model, req, why);
	else if (page_flash_code(req))
		page_flash(model, page_flash_code(req), json_cstr(req->params, "of"), 0, NULL);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "secrets", json_ref(model), e);
}

enum err page_secrets(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, NULL, e);
}

enum err page_secrets_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	return show(ctx, req, res, why, e);
}

enum err page_secret_put(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct page_call call = {.route = "secrets.put", .body = form_document(form, req)};
	enum err err = page_call(ctx, req, res, &call, NULL, e);

	if (!err)
		page_done(res, HERE, "secret_saved", json_cstr(req->json, "name"));
	return err;
}

enum err page_secret_remove(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct str name = request_capture(req, "name");
	enum err err = page_call(ctx, req, res, &(struct page_call){.route = "secrets.remove"}, NULL, e);

	if (!err)
		page_done(res, HERE, "secret_deleted", arena_strndup(req->arena, name.ptr, name.len));
	return err;
}
