/* account - accounts at providers.  See domain/account.h. */
#include "domain/account.h"

#include "domain/rowjson.h"

static enum err not_there(struct error *e)
{
	return error_set(e, ERR_NOT_FOUND, "There is no account of this id.");
}

enum err account_create(struct db *db, struct arena *a, const struct principal *p, const struct account_new *n,
			int64_t *ret_id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_ACCOUNT_ADD,
			      ARGS(arg_i64(p->user_id), arg_str(a, n->provider), arg_str(a, n->label)), &rows, e);

	if (err == ERR_CONFLICT)
		return error_field(e, err, "provider", "You have an account of this provider.");
	if (!err && !rows_count(&rows))
		return error_field(e, ERR_INVALID, "provider", "is not known here");
	if (!err)
		*ret_id = row_i64(&rows, 0, "id");
	return err;
}

/* The users as an array argument; each must exist. */
static enum err shared_array(struct db *db, const struct json *users, struct buf *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	size_t n = json_len(users);
	enum err err;

	array_begin(ret);
	for (size_t i = 0; i < n; i++) {
		int64_t id;

		if (!str_to_id(json_as_str(json_at(users, i)), &id) || id > INT32_MAX)
			return error_field(e, ERR_INVALID, "sharedWith", "must be user ids");
		for (size_t k = 0; k < i; k++)
			if (str_eq(json_as_str(json_at(users, i)), json_as_str(json_at(users, k))))
				return error_field(e, ERR_INVALID, "sharedWith", "names a user twice");
		array_add_i64(ret, id);
	}
	array_end(ret);
	err = db_run(db, STMT_ACCOUNT_USERS_KNOWN, ARGS(arg_buf(ret)), &rows, e);
	if (!err && row_i64(&rows, 0, "known") != (int64_t)n)
		return error_field(e, ERR_INVALID, "sharedWith", "names a user that does not exist");
	return err;
}

/* Whether the provider's terms let it be shared. */
static enum err check_terms(struct db *db, const struct principal *p, int64_t id, const struct account_change *c,
			    struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_ACCOUNT_TERMS, ARGS(arg_i64(id), arg_i64(p->user_id), arg_bool(principal_sees_all(p))),
			      &rows, e);

	if (err)
		return err;
	if (!rows_count(&rows))
		return not_there(e);
	if (!c->sharing.ptr || str_eqz(c->sharing, "none") || row_bool(&rows, 0, "sharing_allowed"))
		return OK;
	err = error_field(e, ERR_CONFLICT, "sharing", "The provider's terms do not allow it (%s, as of %s).",
			  row_cstr(&rows, 0, "source"), row_cstr(&rows, 0, "as_of"));
	e->reason = "sharing_not_allowed";
	return err;
}

enum err account_change(struct db *db, struct arena *a, const struct principal *p, int64_t id,
			const struct account_change *c, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_buf struct buf users = BUF_INIT(16 << 10);
	enum err err = check_terms(db, p, id, c, e);

	if (!err && c->shared_with)
		err = shared_array(db, c->shared_with, &users, e);
	if (err)
		return err;
	err = db_run(db, STMT_ACCOUNT_SET,
		     ARGS(arg_i64(id), arg_i64(p->user_id), arg_bool(principal_sees_all(p)), arg_str(a, c->label),
			  arg_str(a, c->sharing), c->shared_with ? arg_buf(&users) : arg_null()),
		     &rows, e);
	return err || rows_count(&rows) ? err : not_there(e);
}

enum err account_delete(struct db *db, const struct principal *p, int64_t id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_json struct json *found = NULL;
	enum err err = account_get(db, p, id, &found, e);

	if (!err)
		err = db_run(db, STMT_ACCOUNT_REMOVE,
			     ARGS(arg_i64(id), arg_i64(p->user_id), arg_bool(principal_sees_all(p))), &rows, e);
	if (!err && !rows_count(&rows))
		return error_set(e, ERR_CONFLICT,
				 "It has notebooks; delete them first (a deleted one counts for 30 days).");
	return err;
}

static struct json *account_json(const struct rows *rows, int i)
{
	struct json *j = json_object();

	rowjson_id(j, "id", rows, i, "id");
	json_put_str(j, "provider", row_str(rows, i, "provider"));
	json_put_str(j, "label", row_str(rows, i, "label"));
	rowjson_id(j, "ownerId", rows, i, "owner_id");
	json_put_str(j, "owner", row_str(rows, i, "owner"));
	json_put_str(j, "status", row_str(rows, i, "status"));
	json_put_str(j, "reason", row_str(rows, i, "reason"));
	json_put_str(j, "sharing", row_str(rows, i, "sharing"));
	json_put_raw(j, "sharedWith", row_null(rows, i, "shared_with") ? STR("[]") : row_str(rows, i, "shared_with"));
	json_put_bool(j, "sharingAllowed", row_bool(rows, i, "sharing_allowed"));
	json_put_bool(j, "hasCredentials", row_bool(rows, i, "has_credentials"));
	rowjson_time(j, "createdAt", rows, i, "created_ms");
	rowjson_time(j, "updatedAt", rows, i, "updated_ms");
	return j;
}

static enum err select_accounts(struct db *db, const struct principal *p, struct arg id, int64_t after, int64_t limit,
				struct rows *rows, struct error *e)
{
	return db_run(db, STMT_ACCOUNT_LIST,
		      ARGS(arg_i64(p->user_id), arg_bool(principal_sees_all(p)), arg_i64(limit), id, arg_i64(after)), rows, e);
}

enum err account_get(struct db *db, const struct principal *p, int64_t id, struct json **ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = select_accounts(db, p, arg_i64(id), 0, 1, &rows, e);

	if (!err && !rows_count(&rows))
		return not_there(e);
	if (!err)
		*ret = account_json(&rows, 0);
	return err;
}

enum err account_list(struct db *db, const struct principal *p, int64_t after, int64_t limit, struct json *list, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = select_accounts(db, p, arg_null(), after, limit, &rows, e);

	for (int i = 0; !err && i < rows_count(&rows); i++)
		json_add(list, account_json(&rows, i));
	return err;
}
