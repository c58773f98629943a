/* secret - what persons do with their secrets.  See domain/secret.h. */
#include "domain/secret.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "domain/sealed.h"


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

/* ---- what is sealed ------------------------------------------------------- */

/* Whom a box is bound to. */
struct binding {
	char owner[24], name[SECRET_NAME_MAX + 1];
	struct seal_member members[3];
};

static void bind_to(struct binding *b, int64_t owner, struct str name)
{
	snprintf(b->owner, sizeof(b->owner), "%lld", (long long)owner);
	snprintf(b->name, sizeof(b->name), "%.*s", STR_ARG(name));
	b->members[0] = (struct seal_member){"owner", b->owner};
	b->members[1] = (struct seal_member){"name", b->name};
	b->members[2] = (struct seal_member){0};
}

/* Sealed is the value as a JSON text: who opens it writes it on as it is. */
static enum err seal_value(struct db *db, struct arena *a, int64_t owner, struct str name, struct str value, struct sealed *ret,
			   struct error *e)
{
	cleanup_buf struct buf text = BUF_SECRET(6 * SECRET_VALUE_MAX + 2);
	struct binding b;

	bind_to(&b, owner, name);
	buf_add_json(&text, value);
	return sealed_make(db, a, SEAL_SECRETS, b.members, buf_str(&text), ret, e);
}

enum err secret_put(struct db *db, struct arena *a, const struct principal *p, struct str name, struct str value, struct json **ret,
		    bool *made, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	const char *fault = secret_name_fault(name);
	struct sealed box;
	enum err err;

	if (fault)
		return error_field(e, ERR_INVALID, "name", "%s", fault);
	if (value.len > SECRET_VALUE_MAX)
		return error_field(e, ERR_INVALID, "value", "may have at most %d bytes", (int)SECRET_VALUE_MAX);
	err = seal_value(db, a, p->user_id, name, value, &box, e);
	if (!err)
		err = db_run(db, STMT_SECRET_PUT,
			     ARGS(arg_i64(p->user_id), arg_str(a, name), arg_bytes(box.box.ptr, box.box.len), arg_i64(box.key_id),
				  arg_i64(SECRETS_MAX)),
			     &rows, e);
	if (err)
		return err;
	if (!rows_count(&rows))
		return error_set(e, ERR_CONFLICT, "You have %d secrets; remove one that nothing needs.", (int)SECRETS_MAX);
	*ret = secret_json(&rows, 0);
	*made = row_bool(&rows, 0, "made");
	return OK;
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

/* ---- the secrets role's view ---------------------------------------------- */

enum err secret_of_lease(struct db *db, const uint8_t token_hash[CRYPTO_HASH], int64_t worker, const char *lease, struct rows *ret,
			 struct error *e)
{
	enum err err = db_run(db, STMT_SECRET_OF_LEASE, ARGS(arg_bytes(token_hash, CRYPTO_HASH), arg_i64(worker), arg_cstr(lease)), ret, e);

	if (err)
		return err;
	if (!rows_count(ret))
		return error_set(e, ERR_UNAUTHORIZED, "This token is not known.");
	if (str_eqz(row_str(ret, 0, "state"), "ended"))
		return error_set(e, ERR_GONE, "This session is over.");
	if (!row_bool(ret, 0, "held"))
		return error_set(e, ERR_GONE, "This session does not hold that lease.");
	return OK;
}

enum err secret_open(const char *dir, const struct rows *rows, int i, struct secret *ret, struct error *e)
{
	cleanup_arena struct arena a;
	struct binding b;
	struct str box;
	long long id = row_i64(rows, i, "id"), key = row_i64(rows, i, "key_id");
	enum err err;

	arena_init(&a, 1 << 20);
	if (!id)
		return error_set(e, ERR_NOT_FOUND, "The job's owner has no secret of that name.");
	box = row_bytes(rows, i, "sealed", &a);
	bind_to(&b, row_i64(rows, i, "owner_id"), row_str(rows, i, "name"));
	err = sealed_open(dir, SEAL_SECRETS, b.members, key, box, ret, e);
	if (!err)
		return OK;
	log_error("secret.open", "secret=%lld key=%lld error=\"%s\"", id, key, e->msg);
	if (err == ERR_FORBIDDEN)
		return error_set(e, ERR_NOT_FOUND, "The secret cannot be opened; its owner has to set it again.");
	return error_set(e, ERR_UNAVAILABLE, "The secret cannot be opened just now; try again.");
}

enum err secret_given(struct db *db, struct arena *a, const struct rows *rows, const struct secret_giving *g, struct error *e)
{
	cleanup_buf struct buf ids = BUF_INIT(JOB_SECRETS_MAX * 16);
	cleanup_json struct json *detail = json_object();
	struct json *names = json_array();
	char object[32];

	array_begin(&ids);
	for (int i = 0; i < rows_count(rows); i++) {
		array_add_i64(&ids, row_i64(rows, i, "id"));
		json_add(names, json_new_str(row_str(rows, i, "name")));
	}
	array_end(&ids);
	json_put_id(detail, "workerId", g->worker);
	json_put_id(detail, "sessionId", row_i64(rows, 0, "session_id"));
	json_put(detail, "secrets", names);
	snprintf(object, sizeof(object), "job %lld", (long long)row_i64(rows, 0, "job_id"));
	return db_run(db, STMT_SECRET_GIVEN,
		      ARGS(arg_buf(&ids), arg_i64(row_i64(rows, 0, "owner_id")), arg_cstr(object), arg_cstr(json_text(detail, a)),
			   arg_str(a, g->address), arg_str(a, g->request_id), arg_cstr(g->action)),
		      NULL, e);
}
