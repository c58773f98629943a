/* idempotency - answers kept under a key.  See web/idempotency.h. */
#include "web/idempotency.h"

#include <string.h>

#include "base/crypto.h"
#include "web/routes.h"

enum { KEY_MAX = 255 };

enum err idempotency_wanted(const struct request *req, bool *ret, struct error *e)
{
	struct str key = req->idempotency_key;

	*ret = key.ptr && req->method == METHOD_POST && req->principal.user_id;
	if (!*ret)
		return OK;
	if (key.len > KEY_MAX)
		return error_set(e, ERR_INVALID, "Idempotency-Key may have at most %d characters.", KEY_MAX);
	for (size_t i = 0; i < key.len; i++)
		if (key.ptr[i] < '!' || key.ptr[i] > '~')
			return error_set(e, ERR_INVALID, "Idempotency-Key may hold visible ASCII characters only.");
	return OK;
}

/* The hash is stored: where a body may hold a secret it is of the rest, since a short one could be
 * guessed from it. */
static void add_open_part(struct crypto_sha256 *s, const struct request *req)
{
	for (struct json_iter it = json_iter(req->json); json_next(&it);) {
		cleanup_buf struct buf text = BUF_INIT(RESPONSE_MAX);

		buf_addf(&text, "%s=", it.key);
		if (!schema_is_secret(req->route->body, it.key))
			json_write(it.value, &text);
		buf_addc(&text, '\n');
		crypto_sha256_add(s, text.ptr, text.len);
	}
}

/* Of path and body: the same key for another object is another request. */
static void hash_request(const struct request *req, uint8_t ret[CRYPTO_SHA256])
{
	struct crypto_sha256 s;

	crypto_sha256_init(&s);
	crypto_sha256_add(&s, req->path.ptr, req->path.len);
	crypto_sha256_add(&s, "\n", 1);
	if (schema_has_secret(req->route->body))
		add_open_part(&s, req);
	else
		crypto_sha256_add(&s, req->body.ptr, req->body.len);
	crypto_sha256_end(&s, ret);
}

static enum err replay(const struct rows *rows, struct response *res, const uint8_t *hash, struct arena *a, struct error *e)
{
	struct str stored = row_bytes(rows, 0, "body_hash", a), reply = row_str(rows, 0, "reply");

	if (stored.len != CRYPTO_SHA256 || memcmp(stored.ptr, hash, CRYPTO_SHA256) != 0)
		return error_set(e, ERR_UNPROCESSABLE, "This Idempotency-Key was used with another request.");
	if (row_null(rows, 0, "status"))
		return error_set(e, ERR_CONFLICT, "The first request with this Idempotency-Key still runs.");
	if (!reply.ptr)
		return error_set(e, ERR_CONFLICT,
				 "The request was done before, and made %.80s; its answer held a secret and was not kept.",
				 row_cstr(rows, 0, "object"));
	response_text(res, (int)row_i64(rows, 0, "status"), reply.len ? "application/json" : NULL, reply);
	response_header(res, "Idempotency-Replayed", "true");
	return OK;
}

enum err idempotency_begin(struct ctx *ctx, const struct request *req, struct response *res, bool *replayed, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	uint8_t hash[CRYPTO_SHA256];
	struct arg user = arg_i64(req->principal.user_id), route = arg_cstr(req->route->name),
		   key = arg_str(ctx->arena, req->idempotency_key);
	enum err err = db_run(ctx->db, STMT_IDEMPOTENCY_LOCK, ARGS(user, route, key), &rows, e);

	*replayed = false;
	if (err)
		return err;
	if (!row_bool(&rows, 0, "locked"))
		return error_set(e, ERR_CONFLICT, "The first request with this Idempotency-Key still runs.");
	hash_request(req, hash);
	err = db_run(ctx->db, STMT_IDEMPOTENCY_GET, ARGS(user, route, key), &rows, e);
	if (err)
		return err;
	if (rows_count(&rows)) {
		*replayed = true;
		return replay(&rows, res, hash, ctx->arena, e);
	}
	return db_run(ctx->db, STMT_IDEMPOTENCY_PUT, ARGS(user, route, key, arg_bytes(hash, sizeof(hash))), NULL, e);
}

enum err idempotency_end(struct ctx *ctx, const struct request *req, const struct response *res, struct error *e)
{
	struct arg reply = res->secret ? arg_null() : res->body.len ? arg_buf(&res->body) : arg_cstr("");

	return db_run(ctx->db, STMT_IDEMPOTENCY_DONE,
		      ARGS(arg_i64(req->principal.user_id), arg_cstr(req->route->name),
			   arg_str(ctx->arena, req->idempotency_key), arg_i64(res->status), reply,
			   arg_cstr(res->object[0] ? res->object : "something")),
		      NULL, e);
}
