/* api_secrets - one's own secrets: named, given another value, removed; never read. */
#include "domain/secret.h"
#include "web/api.h"

const struct field secret_put_body[] = {
	{"name", FIELD_STRING, FIELD_REQUIRED, 1, SECRET_NAME_MAX, .pattern = "^[A-Z_][A-Z0-9_]{0,63}$",
	 .doc = "As which jobs find it in their environment."},
	{"value", FIELD_TEXT, FIELD_REQUIRED | FIELD_SECRET, 1, SECRET_VALUE_MAX, .doc = "Write-only; at most 32 KiB."},
	{0},
};

enum err secrets_list(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct json *reply = json_object(), *list = json_array();
	enum err err;

	json_put(reply, "secrets", list);
	err = secret_list(ctx->db, &req->principal, list, e);
	if (err) {
		json_free(reply);
		return err;
	}
	response_json(res, 200, reply);
	return OK;
}

enum err secrets_put(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct str name = json_str(req->json, "name");
	struct json *secret;
	bool made;
	enum err err = secret_put(ctx->db, ctx->arena, &req->principal, name, json_str(req->json, "value"), &secret, &made, e);

	if (err)
		return err;
	response_object(res, "secret %.*s", STR_ARG(name));
	response_json(res, made ? 201 : 200, secret);
	return OK;
}

enum err secrets_remove(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct str name = request_capture(req, "name");
	enum err err = secret_remove(ctx->db, ctx->arena, &req->principal, name, e);

	if (err)
		return err;
	response_object(res, "secret %.*s", STR_ARG(name));
	response_empty(res, 204);
	return OK;
}
