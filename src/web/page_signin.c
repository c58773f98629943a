/* page_signin - the sign-in page, without JavaScript. */
#include "base/error.h"
#include "domain/user.h"
#include "web/api.h"
#include "web/form_model.h"
#include "web/signin.h"
#include "web/view.h"

const struct field signin_page_query[] = {
	{"next", FIELD_STRING, 0, 1, 2048, .doc = "Where to go afterwards."},
	{0},
};

const struct field signin_page_body[] = {
	{"name", FIELD_STRING, 0, 0, 200, .doc = "User name."},
	{"password", FIELD_STRING, FIELD_SECRET, 0, PASSWORD_MAX, .doc = "Password."},
	{"next", FIELD_STRING, 0, 0, 2048, .doc = "Where to go afterwards."},
	{0},
};

#define HOME "/admin/gpu-dashboard"

/* Only a page of ours: neither another host nor a scheme. */
static const char *safe_next(struct arena *a, struct str next)
{
	const char *path = next.ptr && str_starts(next, "/admin/") ? arena_strndup(a, next.ptr, next.len) : NULL;

	return path && str_index(next, '\\') < 0 ? path : HOME;
}

static enum err show(struct ctx *ctx, struct request *req, struct response *res, int status, const char *next,
		     const struct error *why, struct error *e)
{
	struct json *model = json_object(), *form = json_object();

	json_put_cstr(model, "next", next);
	json_put(form, "name", form_field("name", json_str(req->json, "name"), NULL));
	json_put(form, "password", form_field("password", STR(""), NULL));
	json_put(model, "form", form);
	json_put(model, "problem", why ? form_problem(why->code == ERR_UNAUTHORIZED ? "wrong_password" : err_name(why->code), why->msg)
				       : json_null());
	return view_page(ctx, req, res, status, "signin", model, e);
}

enum err signin_page(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, 200, safe_next(req->arena, json_str(req->params, "next")), NULL, e);
}

enum err signin_submit(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const char *next = safe_next(req->arena, json_str(req->json, "next"));
	struct str name = json_str(req->json, "name"), password = json_str(req->json, "password");
	struct error why = {0};
	enum err err = name.len && password.len
			       ? signin(ctx, req, name, password, &why)
			       : error_set(&why, ERR_UNAUTHORIZED, "Name or password is wrong.");

	if (err == ERR_UNAUTHORIZED || err == ERR_UNAVAILABLE)
		return show(ctx, req, res, err_http_status(err), next, &why, e);
	if (err) {
		*e = why;
		return err;
	}
	response_object(res, "user %lld", (long long)req->principal.user_id);
	response_redirect(res, next);
	return OK;
}

enum err signout_submit(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	enum err err = signout(ctx, req, e);

	if (!err)
		response_redirect(res, "/admin/sign-in");
	return err;
}
