/* secret - what persons do with their secrets.  See domain/secret.h. */
#include "domain/secret.h"

#include <string.h>


/* ---- names ---------------------------------------------------------------- */

/* Names that mean something to the worker, the loader, the shell or the interpreter; "X*" = beginning with X. */
static const char *const reserved[] = {
	"GPUPOOL_*", "LD_*", "PYTHON*", "BASH_*", "GCONV_PATH", "GLIBC_*", "MALLOC_*", "LOCPATH", "NLSPATH", "PATH", "HOME",
	"TMPDIR", "TMP", "TEMP", "USER", "LOGNAME", "SHELL", "ENV", "IFS", "CDPATH", "VIRTUAL_ENV", "CUDA_VISIBLE_DEVICES",
	"CUDA_DEVICE_ORDER",
};

static bool is_reserved(struct str name)
{
	for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
		size_t len = strlen(reserved[i]);

		if (reserved[i][len - 1] == '*' ? name.len >= len - 1 && !memcmp(name.ptr, reserved[i], len - 1) : str_eqz(name, reserved[i]))
			return true;
	}
	return false;
}

static bool is_name(struct str s)
{
	if (!s.len || s.len > SECRET_NAME_MAX || (s.ptr[0] >= '0' && s.ptr[0] <= '9'))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (!(s.ptr[i] >= 'A' && s.ptr[i] <= 'Z') && !(s.ptr[i] >= '0' && s.ptr[i] <= '9') && s.ptr[i] != '_')
			return false;
	return true;
}

const char *secret_name_fault(struct str name)
{
	if (!is_name(name))
		return "must be a name of capital letters, digits and _, not beginning with a digit, of at most 64";
	if (is_reserved(name))
		return "means something to the worker or to the programs that start a job; choose another name";
	return NULL;
}

/* ---- the owner's view ----------------------------------------------------- */

static void put_time(struct json *j, const char *key, const struct rows *rows, int i, const char *col)
{
	char text[ROW_TIME];

	json_put_cstr(j, key, row_time(rows, i, col, text));
}

static struct json *secret_json(const struct rows *rows, int i)
{
	struct json *j = json_object();

	json_put_str(j, "name", row_str(rows, i, "name"));
	put_time(j, "createdAt", rows, i, "created_at");
	put_time(j, "updatedAt", rows, i, "updated_at");
	put_time(j, "lastUsedAt", rows, i, "last_used_at");
	return j;
}

enum err secret_list(struct db *db, const struct principal *p, struct json *list, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_SECRET_LIST, ARGS(arg_i64(p->user_id)), &rows, e);

	for (int i = 0; !err && i < rows_count(&rows); i++)
		json_add(list, secret_json(&rows, i));
	return err;
}

enum err secret_known(struct db *db, const struct principal *p, const struct buf *names, struct rows *ret, struct error *e)
{
	return db_run(db, STMT_SECRET_KNOWN, ARGS(arg_i64(p->user_id), arg_buf(names)), ret, e);
}

enum err secret_remove(struct db *db, struct arena *a, const struct principal *p, struct str name, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_SECRET_REMOVE, ARGS(arg_i64(p->user_id), arg_str(a, name)), &rows, e);

	if (!err && !rows_count(&rows))
		return error_set(e, ERR_NOT_FOUND, "You have no secret of that name.");
	return err;
}
