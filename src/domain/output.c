/* output - what sessions left at their providers.  See domain/output.h. */
#include "domain/output.h"

#include "domain/rowjson.h"

static enum err not_there(struct error *e, const char *what)
{
	return error_set(e, ERR_NOT_FOUND, "There is no such %s.", what);
}

enum err output_list(struct db *db, const struct principal *p, struct output_of of, struct json *list, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_OUTPUT_LIST,
			      ARGS(arg_i64(p->user_id), arg_bool(principal_sees_all(p)), arg_i64(of.worker), arg_i64(of.session)), &rows, e);

	if (err)
		return err;
	if (!rows_count(&rows))
		return not_there(e, "session");
	for (int i = 0; i < rows_count(&rows) && !row_null(&rows, i, "name"); i++) {
		struct json *j = json_object();

		json_put_str(j, "name", row_str(&rows, i, "name"));
		json_put_i64(j, "size", row_i64(&rows, i, "size"));
		json_put_bool(j, "kept", row_bool(&rows, i, "kept"));
		rowjson_time(j, "createdAt", &rows, i, "created_ms");
		json_add(list, j);
	}
	return OK;
}

enum err output_read(struct db *db, struct arena *a, const struct principal *p, struct output_of of, struct str name,
		     struct str *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_OUTPUT_FIND,
			      ARGS(arg_i64(p->user_id), arg_bool(principal_sees_all(p)), arg_i64(of.worker), arg_i64(of.session),
				   arg_str(a, name)),
			      &rows, e);

	if (err)
		return err;
	if (!rows_count(&rows))
		return not_there(e, "file");
	if (row_null(&rows, 0, "content"))
		return error_set(e, ERR_GONE, "The file was too large to keep here; as long as the provider has it, it is there.");
	*ret = row_bytes(&rows, 0, "content", a);
	return ret->ptr ? OK : error_set(e, ERR_TOO_LARGE, "The file is too large for this answer.");
}

bool output_is_log(struct str name)
{
	return str_eqz(name, "log") || str_ends(name, ".log");
}
