/* audit - who did what, and why the pool decided.  See domain/audit.h. */
#include "domain/audit.h"

#include "domain/rowjson.h"

enum err audit_write(struct db *db, struct arena *a, const struct audit_entry *entry, struct error *e)
{
	const struct principal *p = entry->principal;
	const char *detail = entry->detail ? json_text(entry->detail, a) : NULL;

	return db_run(db, STMT_AUDIT_ADD,
		      ARGS(arg_i64(p->user_id), arg_i64(p->token_id), arg_cstr(entry->action), arg_cstr(entry->object),
			   arg_cstr(detail), arg_str(a, entry->address), arg_str(a, entry->request_id)),
		      NULL, e);
}

/* The cursor of the last row, when as many came as were asked for. */
static void set_next(const struct rows *rows, int64_t limit, int64_t *next_us, int64_t *next_id)
{
	int n = rows_count(rows);
	bool more = n > 0 && n == limit;

	*next_us = more ? row_i64(rows, n - 1, "at_us") : 0;
	*next_id = more ? row_i64(rows, n - 1, "id") : 0;
}

enum err audit_list(struct db *db, struct arena *a, const struct audit_query *q, struct json *list, int64_t *next_us,
		    int64_t *next_id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_AUDIT_LIST,
			      ARGS(arg_i64(q->before_us), arg_i64(q->before_id), arg_cstr(q->action), arg_cstr(q->user),
				   arg_i64(q->limit)),
			      &rows, e);

	if (err)
		return err;
	for (int i = 0; i < rows_count(&rows); i++) {
		struct json *j = json_object();

		json_put_id(j, "id", row_i64(&rows, i, "id"));
		rowjson_time_us(j, "at", &rows, i, "at_us");
		rowjson_id(j, "userId", &rows, i, "user_id");
		json_put_str(j, "user", row_str(&rows, i, "name"));
		rowjson_id(j, "tokenId", &rows, i, "token_id");
		json_put_str(j, "action", row_str(&rows, i, "action"));
		json_put_str(j, "object", row_str(&rows, i, "object"));
		json_put_raw(j, "detail", row_str(&rows, i, "detail"));
		json_put_str(j, "address", row_str(&rows, i, "address"));
		json_put_str(j, "requestId", row_str(&rows, i, "request_id"));
		json_add(list, j);
	}
	set_next(&rows, q->limit, next_us, next_id);
	return OK;
}

enum err decision_list(struct db *db, struct arena *a, const struct principal *p, const struct audit_query *q,
		       const char *subject, struct json *list, int64_t *next_us, int64_t *next_id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	struct str name = str_of(subject);
	int64_t job;
	bool of_job = str_starts(name, "job ") && str_to_id((struct str){name.ptr + 4, name.len - 4}, &job);
	enum err err = db_run(db, of_job ? STMT_DECISION_OF_JOB : STMT_DECISION_LIST,
			      ARGS(arg_i64(q->before_us), arg_i64(q->before_id), of_job ? arg_i64(job) : arg_cstr(subject),
				   arg_bool(principal_sees_all(p)), arg_i64(p->user_id), arg_i64(q->limit), arg_cstr(q->action)),
			      &rows, e);

	if (err)
		return err;
	for (int i = 0; i < rows_count(&rows); i++) {
		struct json *j = json_object();

		json_put_id(j, "id", row_i64(&rows, i, "id"));
		rowjson_time_us(j, "at", &rows, i, "at_us");
		json_put_str(j, "kind", row_str(&rows, i, "kind"));
		json_put_str(j, "subject", row_str(&rows, i, "subject"));
		json_put_str(j, "reason", row_str(&rows, i, "reason"));
		json_put_raw(j, "inputs", row_str(&rows, i, "inputs"));
		json_add(list, j);
	}
	set_next(&rows, q->limit, next_us, next_id);
	return OK;
}
