/* api_auth - signing in and out, and one's own settings. */
#include "domain/user.h"
#include "web/api.h"
#include "web/signin.h"

const struct field signin_body[] = {
	{"name", FIELD_STRING, FIELD_REQUIRED, 1, 63, .doc = "User name."},
	{"password", FIELD_STRING, FIELD_REQUIRED | FIELD_SECRET, 1, PASSWORD_MAX, .doc = "Password."},
	{0},
};

const struct field me_body[] = {
	{"email", FIELD_STRING, FIELD_NULLABLE, 3, 254, .doc = "Where notices go."},
	{"locale", FIELD_STRING, 0, 2, 15, .doc = "Language of the dashboard."},
	{0},
};

const struct field me_password_body[] = {
	{"current", FIELD_STRING, FIELD_REQUIRED | FIELD_SECRET, 1, PASSWORD_MAX, .doc = "The password so far."},
	{"password", FIELD_STRING, FIELD_REQUIRED | FIELD_SECRET, PASSWORD_MIN, PASSWORD_MAX, .doc = "The new one."},
	{0},
};

static struct json *me_json(const struct request *req)
{
	const struct principal *p = &req->principal;
	struct json *j = json_object(), *scopes = json_array();
	char csrf[AUTH_CSRF_TEXT];

	json_put_id(j, "id", p->user_id);
	json_put_cstr(j, "name", p->name);
	json_put_cstr(j, "role", role_name(p->role));
	json_put_cstr(j, "locale", p->locale);
	for (unsigned bit = 1; bit & SCOPE_ALL; bit <<= 1)
		if (p->scopes & bit)
			json_add_cstr(scopes, scope_name(bit));
	json_put(j, "scopes", scopes);
	auth_csrf_token(p, csrf);
	json_put_cstr(j, "csrfToken", csrf[0] ? csrf : NULL);
	return j;
}

enum err signin_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	enum err err = signin(ctx, req, json_str(req->json, "name"), json_str(req->json, "password"), e);

	if (err)
		return err;
	response_object(res, "user %lld", (long long)req->principal.user_id);
	response_json(res, 200, me_json(req));
	return OK;
}

enum err signout_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	enum err err = signout(ctx, req, e);

	if (!err)
		response_empty(res, 204);
	return err;
}

enum err me_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	response_json(res, 200, me_json(req));
	/* The CSRF token differs each time, and so would an entity tag. */
	if (req->principal.login_id)
		response_header(res, "Cache-Control", "no-store");
	return OK;
}

enum err me_change(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct user_change c = {
		.active = -1,
		.set_email = json_has(req->json, "email"),
		.email = json_str(req->json, "email"),
		.locale = json_str(req->json, "locale"),
	};
	struct json *user;
	enum err err = user_change(ctx->db, ctx->arena, ctx->config->state, req->principal.user_id, &c, e);

	if (!err)
		err = user_get(ctx->db, req->principal.user_id, &user, e);
	if (err)
		return err;
	response_object(res, "user %lld", (long long)req->principal.user_id);
	response_json(res, 200, user);
	return OK;
}

enum err me_sign_out_others(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	enum err err = login_close_others(ctx->db, &req->principal, e);

	if (err)
		return err;
	response_object(res, "user %lld", (long long)req->principal.user_id);
	response_empty(res, 204);
	return OK;
}

enum err me_password(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	enum err err = user_change_password(ctx->db, ctx->arena, ctx->config->state, &req->principal,
					    json_str(req->json, "current"), json_str(req->json, "password"), e);

	if (err)
		return err;
	response_object(res, "user %lld", (long long)req->principal.user_id);
	response_empty(res, 204);
	return OK;
}
