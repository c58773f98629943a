/* cooldown - see domain/cooldown.h. */
#include "domain/cooldown.h"

enum err cooldown_refused(struct db *db, int64_t account, const char *resource, const char *code, const char *reason, double *seconds,
			  struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_COOLDOWN_REFUSED, ARGS(arg_i64(account), arg_cstr(resource), arg_cstr(code), arg_cstr(reason)), &r, e);

	*seconds = err || row_null(&r, 0, "wait") ? 0 : row_double(&r, 0, "wait");
	return err;
}

enum err cooldown_begun(struct db *db, int64_t account, const char *resource, struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_COOLDOWN_BEGUN, ARGS(arg_i64(account), arg_cstr(resource)), &r, e);

	if (err || !row_bool(&r, 0, "over"))
		return err;
	return db_run(db, STMT_COOLDOWN_HURRY, ARGS(arg_i64(account)), NULL, e);
}
