/* api_tokens - API tokens: made, listed, revoked. */
#include "domain/token.h"
#include "web/api.h"
#include "web/paging.h"

static const char *const scope_choices[] = {"read", "submit", "manage", "admin", "inference", NULL};

enum { TOKEN_SECONDS_MAX = 5 * 366 * 86400 };

const struct field token_create_body[] = {
	{"name", FIELD_STRING, FIELD_REQUIRED, 1, 100, .doc = "What it is for."},
	{"scopes", FIELD_STRINGS, FIELD_REQUIRED, 1, 5, .choices = scope_choices,
	 .doc = "What it may do: read < submit < manage < admin, each holds those before it; inference alone may only call endpoints."},
	{"expiresSeconds", FIELD_INT, FIELD_NULLABLE, 60, TOKEN_SECONDS_MAX, .doc = "Its life from now on; without, it has no end."},
	{0},
};

const struct field tokens_query[] = {
	PAGING_FIELDS,
	{"all", FIELD_BOOL, 0, .doc = "Those of everybody; for admins."},
	{0},
};

enum err tokens_list(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *list = json_array();
	int64_t after;
	enum err err = paging_after(req, &after, e);

	if (!err)
		err = token_list(ctx->db, &req->principal, json_bool(req->params, "all", false), after, paging_limit(req), list, e);
	if (!err)
		paging_answer(res, req, "tokens", steal_ptr(list));
	return err;
}

enum err tokens_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct token_new t = {
		.name = json_str(req->json, "name"),
		.scopes = json_get(req->json, "scopes"),
		.expires_seconds = json_i64(req->json, "expiresSeconds", 0),
	};
	char value[CRYPTO_TOKEN_TEXT];
	struct json *j;
	int64_t id;
	enum err err;

	crypto_token("gpt", value);
	err = token_create(ctx->db, ctx->arena, &req->principal, &t, str_of(value), &id, e);
	if (err)
		return err;
	j = json_object();
	json_put_id(j, "id", id);
	json_put_str(j, "name", t.name);
	json_put_cstr(j, "token", value);
	response_json(res, 201, j);
	response_object(res, "token %lld", (long long)id);
	response_header(res, "Cache-Control", "no-store");
	res->secret = true;
	return OK;
}

enum err tokens_revoke(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = token_revoke(ctx->db, &req->principal, id, e);
	if (err)
		return err;
	response_object(res, "token %lld", (long long)id);
	response_empty(res, 204);
	return OK;
}
