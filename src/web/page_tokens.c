/* page_tokens - a person's own API tokens; the value of a new one is shown once. */
#include "web/page.h"
#include "web/page_form.h"
#include "web/pages.h"
#include "web/paging.h"
#include "web/view.h"
#include "web/view_fields.h"

const struct field page_token_create_body[] = {
	{"name", FIELD_STRING, 0, 0, 200},
	{"expires", FIELD_STRING, 0, 0, 40},
	{"scopes", FIELD_STRINGS, 0, 0, 10},
	{0},
};

/* What each role may give away. */
static const char *const scopes_viewer[] = {"read", NULL};
static const char *const scopes_operator[] = {"read", "submit", "manage", "inference", NULL};
static const char *const scopes_admin[] = {"read", "submit", "manage", "inference", "admin", NULL};

/* The form as this role sees it. */
struct token_form {
	struct form_field fields[4];
};

static struct token_form form_for(const struct request *req)
{
	enum role role = req->principal.role;
	const char *const *scopes = role == ROLE_ADMIN ? scopes_admin : role == ROLE_OPERATOR ? scopes_operator : scopes_viewer;

	return (struct token_form){{
		{"name", NULL, FORM_TEXT, FORM_EMPTY},
		{"scopes", NULL, FORM_ITEMS, .options = scopes, .initial = "read"},
		{"expires", "expiresSeconds", FORM_SECONDS, .initial = "90d"},
		{0},
	}};
}

/* Those that still count. */
static struct json *valid_tokens(const struct view *v, const struct json *tokens)
{
	struct json *list = json_array();

	for (size_t i = 0; i < json_len(tokens); i++) {
		struct json *token = json_at(tokens, i);

		if (json_get(token, "revokedAt"))
			continue;
		view_put_time(v, token, "createdAt");
		view_put_time(v, token, "lastUsedAt");
		view_put_time(v, token, "expiresAt");
		json_add(list, json_ref(token));
	}
	return list;
}

/* made: the answer about a new token, or NULL. */
static enum err show(struct ctx *ctx, struct request *req, struct response *res, struct json *made, const struct error *why,
		     struct error *e)
{
	struct page_call call = {.route = "tokens.list", .params = json_object()};
	struct token_form form = form_for(req);
	struct view v = view_of(ctx, req);
	cleanup_json struct json *answer = NULL;
	struct json *model;
	enum err err;

	json_put_i64(call.params, "limit", PAGE_MAX);
	err = page_call(ctx, req, NULL, &call, &answer, e);
	if (err)
		return err;
	model = page_model(ctx, req, NULL);
	json_put(model, "tokens", valid_tokens(&v, json_get(answer, "tokens")));
	json_put(model, "newToken", made ? json_ref(made) : json_null());
	form_model(form.fields, why ? req->json : NULL, req, model);
	if (why)
		page_problem(model, req, why);
	else if (!made && page_flash_code(req))
		page_flash(model, page_flash_code(req), "", 0, NULL);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "tokens", model, e);
}

enum err page_tokens(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, NULL, NULL, e);
}

enum err page_tokens_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	return show(ctx, req, res, NULL, why, e);
}

enum err page_token_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct token_form form = form_for(req);
	const struct page_call call = {.route = "tokens.create", .body = form_document(form.fields, req)};
	cleanup_json struct json *made = NULL;
	enum err err = page_call(ctx, req, res, &call, &made, e);

	if (!err)
		err = show(ctx, req, res, made, NULL, e);
	if (!err)
		response_header(res, "Cache-Control", "no-store");
	return err;
}

enum err page_token_revoke(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	enum err err = page_call(ctx, req, res, &(struct page_call){.route = "tokens.revoke"}, NULL, e);

	if (!err)
		page_done(res, "/admin/tokens", "token_revoked", NULL);
	return err;
}
