/* page_signin - the sign-in page, without JavaScript. */
#include "base/error.h"
#include "domain/user.h"
#include "web/api.h"
#include "web/page.h"
#include "web/page_form.h"
#include "web/signin.h"
#include "web/view.h"

const struct field signin_page_query[] = {
	{"next", FIELD_STRING, 0, 1, 2048, .doc = "Where to go afterwards."},
	{0},
};

const struct field signin_page_body[] = {
	{"name", FIELD_STRING, FIELD_REQUIRED, 1, 63, .doc = "User name."},
	{"password", FIELD_STRING, FIELD_REQUIRED | FIELD_SECRET, 1, PASSWORD_MAX, .doc = "Password."},
	{"next", FIELD_STRING, 0, 0, 2048, .doc = "Where to go afterwards."},
	{0},
};

static const struct form_field form[] = {
	{"name", NULL, FORM_TEXT},
	{"password", NULL, FORM_SECRET, .initial = "current-password"},
	{0},
};

#define HOME "/admin/gpu-dashboard"

/* Only a page of ours: neither another host nor a scheme. */
static const char *safe_next(struct arena *a, struct str next)
{
	const char *path = next.ptr && str_starts(next, "/admin/") ? arena_strndup(a, next.ptr, next.len) : NULL;

	return path && str_index(next, '\\') < 0 ? path : HOME;
}

static enum err show(struct ctx *ctx, struct request *req, struct response *res, struct str next, const struct error *why,
		     struct error *e)
{
	struct json *model = page_model(ctx, req, NULL);

	json_put_cstr(model, "next", safe_next(req->arena, next));
	form_model(form, req->json, req, model);
	if (why)
		page_problem(model, req, why);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "signin", model, e);
}

enum err signin_page(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, json_str(req->params, "next"), NULL, e);
}

enum err signin_submit(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	enum err err = signin(ctx, req, json_str(req->json, "name"), json_str(req->json, "password"), e);

	if (err)
		return err;
	response_object(res, "user %lld", (long long)req->principal.user_id);
	response_redirect(res, safe_next(req->arena, json_str(req->json, "next")));
	return OK;
}

enum err signin_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	return show(ctx, req, res, json_str(req->json, "next"), why, e);
}

enum err signout_submit(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	enum err err = signout(ctx, req, e);

	if (!err)
		response_redirect(res, "/admin/sign-in");
	return err;
}
