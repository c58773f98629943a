/*
 * secrets_give - a job's secrets, for the session that holds it.
 *
 * Values are opened one by one into locked memory and go straight into the
 * answer's buffer, which is zeroed after it was sent; they pass through no
 * JSON document, no log line and no statement.
 */
#include "domain/secret.h"
#include "web/api.h"
#include "web/auth.h"

/* Longer ones are no token of ours. */
enum { TOKEN_MAX = 512 };

const struct field secrets_give_body[] = {
	{"lease", FIELD_UUID, FIELD_REQUIRED, .doc = "Of the job that is to get them."},
	{0},
};

static enum err find(struct ctx *ctx, struct request *req, int64_t *worker, struct rows *ret, struct error *e)
{
	struct str token = auth_bearer(req);
	uint8_t hash[CRYPTO_HASH];
	enum err err = request_capture_id(req, "id", worker, e);

	if (err)
		return err;
	if (!token.len || token.len > TOKEN_MAX)
		return error_set(e, ERR_UNAUTHORIZED, "Send the session's token as Authorization: Bearer.");
	crypto_hash(token, hash);
	return secret_of_lease(ctx->db, hash, *worker, json_cstr(req->json, "lease"), ret, e);
}

static bool has_secrets(const struct rows *rows)
{
	return !row_null(rows, 0, "name");
}

/* Adds ,"NAME":VALUE for each; those that there are not go to missing. */
static enum err add_values(struct ctx *ctx, const struct rows *rows, struct buf *values, struct json *missing, struct error *e)
{
	for (int i = 0; i < rows_count(rows); i++) {
		cleanup_secret struct secret value = {0};
		struct error why = {0};
		enum err err = secret_open(ctx->config->keys, rows, i, &value, &why);

		if (err == ERR_NOT_FOUND) {
			json_add(missing, json_new_str(row_str(rows, i, "name")));
			continue;
		}
		if (err) {
			*e = why;
			return err;
		}
		buf_addf(values, "%s\"%s\":", values->len ? "," : "", row_cstr(rows, i, "name"));
		buf_add(values, value.ptr, value.len);
	}
	return values->failed ? error_set(e, ERR_TOO_LARGE, "The job's secrets are too large together.") : OK;
}

static void answer(struct response *res, struct str values, const struct json *missing)
{
	res->content_type = "application/json";
	res->body.secret = true;
	buf_adds(&res->body, "{\"secrets\":{");
	buf_addstr(&res->body, values);
	buf_addc(&res->body, '}');
	if (json_len(missing)) {
		buf_adds(&res->body, ",\"missing\":");
		json_write(missing, &res->body);
	}
	buf_addc(&res->body, '}');
	response_header(res, "Cache-Control", "no-store");
}

enum err secrets_give(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_buf struct buf values = BUF_SECRET(JOB_SECRETS_MAX * (6 * SECRET_VALUE_MAX + SECRET_NAME_MAX + 8));
	cleanup_json struct json *missing = json_array();
	struct secret_giving g = {.action = req->route->name, .address = req->remote_addr, .request_id = req->request_id};
	enum err err = find(ctx, req, &g.worker, &rows, e);

	if (!err && has_secrets(&rows))
		err = add_values(ctx, &rows, &values, missing, e);
	/* A job that lacks one does not run: it gets none of the others either. */
	if (!err && !json_len(missing) && values.len)
		err = secret_given(ctx->db, ctx->arena, &rows, &g, e);
	if (!err)
		answer(res, json_len(missing) ? STR_NULL : buf_str(&values), missing);
	return err;
}
