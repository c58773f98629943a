/* token - API tokens.  See domain/token.h. */
#include "domain/token.h"

#include "base/crypto.h"
#include "domain/rowjson.h"

/* The scopes as an array argument; refuses what the principal may not hand on. */
static enum err scope_array(const struct principal *p, const struct json *scopes, struct buf *ret, struct error *e)
{
	unsigned may = p->scopes & role_scopes(p->role);

	array_begin(ret);
	for (size_t i = 0; i < json_len(scopes); i++) {
		struct str name = json_as_str(json_at(scopes, i));
		unsigned bits = scope_parse(name);

		if (!bits)
			return error_field(e, ERR_INVALID, "scopes", "must be of: read, submit, manage, admin, inference");
		if (bits & ~may)
			return error_field(e, ERR_FORBIDDEN, "scopes", "You may not give the scope %.*s.", STR_ARG(name));
		array_add_str(ret, name);
	}
	array_end(ret);
	return OK;
}

enum err token_create(struct db *db, struct arena *a, const struct principal *p, const struct token_new *t, struct str value,
		      int64_t *ret_id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_buf struct buf scopes = BUF_INIT(1024);
	uint8_t hash[CRYPTO_HASH];
	enum err err = scope_array(p, t->scopes, &scopes, e);

	if (err)
		return err;
	crypto_hash(value, hash);
	err = db_run(db, STMT_TOKEN_ADD,
		     ARGS(arg_i64(p->user_id), arg_str(a, t->name), arg_bytes(hash, sizeof(hash)), arg_buf(&scopes),
			  arg_i64(t->expires_seconds)),
		     &rows, e);
	if (!err)
		*ret_id = row_i64(&rows, 0, "id");
	return err;
}

enum err token_create_with_value(struct db *db, struct arena *a, int64_t user_id, const char *name, const char *scope,
				 struct str value, struct error *e)
{
	cleanup_buf struct buf scopes = BUF_INIT(256);
	uint8_t hash[CRYPTO_HASH];

	array_begin(&scopes);
	array_add_str(&scopes, str_of(scope));
	array_end(&scopes);
	crypto_hash(value, hash);
	return db_run(db, STMT_TOKEN_REPLACE,
		      ARGS(arg_i64(user_id), arg_cstr(name), arg_bytes(hash, sizeof(hash)), arg_buf(&scopes)), NULL, e);
}

enum err token_revoke(struct db *db, const struct principal *p, int64_t id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_TOKEN_REVOKE, ARGS(arg_i64(id), arg_i64(p->user_id), arg_bool(principal_sees_all(p))),
			      &rows, e);

	if (!err && !rows_count(&rows))
		return error_set(e, ERR_NOT_FOUND, "There is no token of this id.");
	return err;
}

enum err token_list(struct db *db, const struct principal *p, bool all, int64_t after, int64_t limit, struct json *list,
		    struct error *e)
{
	cleanup_rows struct rows rows = {0};
	bool others = all && principal_sees_all(p);
	enum err err = db_run(db, STMT_TOKEN_LIST, ARGS(arg_i64(p->user_id), arg_bool(others), arg_i64(after), arg_i64(limit)),
			      &rows, e);

	for (int i = 0; !err && i < rows_count(&rows); i++) {
		struct json *j = json_object();

		json_put_id(j, "id", row_i64(&rows, i, "id"));
		json_put_id(j, "userId", row_i64(&rows, i, "user_id"));
		json_put_str(j, "user", row_str(&rows, i, "user_name"));
		json_put_str(j, "name", row_str(&rows, i, "name"));
		json_put_raw(j, "scopes", row_str(&rows, i, "scopes"));
		rowjson_time(j, "createdAt", &rows, i, "created_ms");
		rowjson_time(j, "expiresAt", &rows, i, "expires_ms");
		rowjson_time(j, "lastUsedAt", &rows, i, "used_ms");
		rowjson_time(j, "revokedAt", &rows, i, "revoked_ms");
		json_add(list, j);
	}
	return err;
}
