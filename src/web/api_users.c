/* api_users - people, for admins. */
#include "domain/user.h"
#include "web/api.h"
#include "web/paging.h"

static const char *const role_choices[] = {"viewer", "operator", "admin", NULL};

const struct field user_create_body[] = {
	{"name", FIELD_STRING, FIELD_REQUIRED, 1, 63, .pattern = "^[a-z0-9][a-z0-9._-]{0,62}$", .doc = "Sign-in name."},
	{"role", FIELD_ENUM, FIELD_REQUIRED, .choices = role_choices, .doc = "What the person may do."},
	{"email", FIELD_STRING, FIELD_NULLABLE, 3, 254, .doc = "Where notices go."},
	{"password", FIELD_STRING, FIELD_SECRET, PASSWORD_MIN, PASSWORD_MAX, .doc = "Without one there is no sign-in, only tokens."},
	{"locale", FIELD_STRING, 0, 2, 15, .doc = "Language of the dashboard."},
	{0},
};

const struct field user_change_body[] = {
	{"role", FIELD_ENUM, 0, .choices = role_choices, .doc = "What the person may do."},
	{"active", FIELD_BOOL, 0, .doc = "False ends the person's sign-ins and revokes the tokens."},
	{"email", FIELD_STRING, FIELD_NULLABLE, 3, 254, .doc = "Where notices go."},
	{"password", FIELD_STRING, FIELD_SECRET, PASSWORD_MIN, PASSWORD_MAX, .doc = "A new one ends the person's sign-ins."},
	{"locale", FIELD_STRING, 0, 2, 15, .doc = "Language of the dashboard."},
	{"weight", FIELD_NUMBER, 0, 0.001, 1000, .doc = "Share in the fair order of jobs."},
	{0},
};

static enum err answer(struct ctx *ctx, struct response *res, int status, int64_t id, struct error *e)
{
	struct json *user;
	enum err err = user_get(ctx->db, id, &user, e);

	if (err)
		return err;
	response_object(res, "user %lld", (long long)id);
	response_json(res, status, user);
	return OK;
}

enum err users_list(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *list = json_array();
	int64_t after;
	enum err err = paging_after(req, &after, e);

	if (!err)
		err = user_list(ctx->db, after, paging_limit(req), list, e);
	if (!err)
		paging_answer(res, req, "users", steal_ptr(list));
	return err;
}

enum err users_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	return err ? err : answer(ctx, res, 200, id, e);
}

enum err users_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct json *b = req->json;
	struct user_new u = {
		.name = json_str(b, "name"),
		.role = role_parse(json_str(b, "role")),
		.email = json_str(b, "email"),
		.password = json_str(b, "password"),
		.locale = json_str(b, "locale"),
	};
	int64_t id;
	enum err err = user_create(ctx->db, ctx->arena, ctx->config->state, &u, &id, e);

	return err ? err : answer(ctx, res, 201, id, e);
}

/* What the audit trail shall know beyond whom: never the password itself. */
static struct json *change_detail(const struct json *body)
{
	struct json *detail = json_object();

	for (struct json_iter it = json_iter(body); json_next(&it);) {
		if (str_eqz(str_of(it.key), "password"))
			json_put_bool(detail, "password", true);
		else
			json_put(detail, it.key, json_ref(it.value));
	}
	return detail;
}

enum err users_change(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct json *b = req->json;
	struct user_change c = {
		.role = role_parse(json_str(b, "role")),
		.active = json_has(b, "active") ? json_bool(b, "active", true) : -1,
		.set_email = json_has(b, "email"),
		.email = json_str(b, "email"),
		.password = json_str(b, "password"),
		.locale = json_str(b, "locale"),
		.weight = json_double(b, "weight", 0),
	};
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = user_change(ctx->db, ctx->arena, ctx->config->state, id, &c, e);
	if (err)
		return err;
	res->audit = change_detail(b);
	return answer(ctx, res, 200, id, e);
}

enum err users_delete(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = user_delete(ctx->db, id, e);
	if (err)
		return err;
	response_object(res, "user %lld", (long long)id);
	response_empty(res, 204);
	return OK;
}
