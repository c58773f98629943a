/* poll - see domain/poll.h. */
#include "domain/poll.h"

enum { NAME_MOST = 1100, LOG_MOST = 64 << 10, COLUMN_MOST = 128 << 20 };

static const char *kept(struct arena *a, const struct rows *r, const char *col)
{
	return row_null(r, 0, col) ? NULL : arena_str(a, row_str(r, 0, col)).ptr;
}

static double since(const struct rows *r, const char *col)
{
	return row_null(r, 0, col) ? -1 : row_double(r, 0, col);
}

/* Another model, or fewer or smaller ones.  What was not told is as it should be. */
static bool is_other(const struct rows *r, const struct poll *p)
{
	if (!row_str(r, 0, "got").len)
		return false;
	return (!row_null(r, 0, "got_asked") && !row_bool(r, 0, "got_asked")) || (p->got.gpus && p->got.gpus < p->asked.gpus) ||
	       (p->got.memory && p->got.memory < p->asked.memory);
}

enum err poll_claim(struct db *db, struct arena *a, const struct buf *providers, const char *me, double grace, struct poll *ret, bool *any,
		    struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_POLL_CLAIM, ARGS(arg_buf(providers), arg_i64(POLL_CLAIM_SECONDS), arg_double(grace), arg_cstr(me)), &r, e);

	*any = !err && rows_count(&r);
	if (!*any)
		return err;
	*ret = (struct poll){
		.session = row_i64(&r, 0, "session_id"),
		.worker = row_i64(&r, 0, "worker_id"),
		.account = row_i64(&r, 0, "account_id"),
		.provider = kept(a, &r, "provider"),
		.reference = arena_str(a, row_str(&r, 0, "provider_ref")),
		.failures = (int)row_i64(&r, 0, "failures"),
		.phase = kept(a, &r, "phase"),
		.phase_for = row_double(&r, 0, "phase_for"),
		.ended = row_bool(&r, 0, "ended"),
		.over = row_bool(&r, 0, "over"),
		.kept = row_bool(&r, 0, "kept"),
		.over_for = row_double(&r, 0, "over_for"),
		.registered = row_bool(&r, 0, "registered"),
		.silent = row_double(&r, 0, "silent"),
		.busy = row_bool(&r, 0, "busy"),
		.current = row_bool(&r, 0, "current"),
		.wanted = str_eqz(row_str(&r, 0, "desired"), "running"),
		.past_deadline = row_bool(&r, 0, "past_deadline"),
		.left = since(&r, "left"),
		.unwanted = since(&r, "unwanted"),
		.resource = kept(a, &r, "resource"),
		.asked = {kept(a, &r, "gets"), (int)row_i64(&r, 0, "asked_gpus"), row_i64(&r, 0, "asked_memory")},
		.got = {kept(a, &r, "got"), (int)row_i64(&r, 0, "got_gpus"), row_i64(&r, 0, "got_memory")},
		.got_none = row_bool(&r, 0, "got_none"),
	};
	ret->got_other = is_other(&r, ret);
	return ret->provider ? OK : error_set(e, ERR_INTERNAL, "out of memory");
}

enum err poll_next(struct db *db, int64_t session, double seconds, int failures, const char *phase, struct error *e)
{
	return db_run(db, STMT_POLL_NEXT, ARGS(arg_i64(session), arg_double(seconds), arg_i64(failures), arg_cstr(phase)), NULL, e);
}

enum err poll_end(struct db *db, int64_t session, struct error *e)
{
	return db_run(db, STMT_POLL_END, ARGS(arg_i64(session)), NULL, e);
}

/* Runs may say any bytes; the columns hold text. */
static void add_text(struct buf *ret, struct str bytes, size_t most)
{
	struct str head = {bytes.ptr, bytes.len < most ? bytes.len : most};

	buf_adds(ret, "");
	buf_add_text(ret, head, false);
}

static void add_name(struct buf *column, struct str name)
{
	cleanup_buf struct buf text = BUF_INIT(4 * NAME_MOST);

	add_text(&text, name, NAME_MOST);
	array_add_str(column, buf_str(&text));
}

enum err poll_keep(struct db *db, int64_t session, struct str log, const struct poll_file *files, size_t n, bool last,
		   struct error *e)
{
	cleanup_buf struct buf names = BUF_INIT(COLUMN_MOST), sizes = BUF_INIT(COLUMN_MOST), contents = BUF_INIT(COLUMN_MOST);
	cleanup_buf struct buf tail = BUF_INIT(3 * LOG_MOST + 1);

	array_begin(&names);
	array_begin(&sizes);
	array_begin(&contents);
	for (size_t i = 0; i < n; i++) {
		add_name(&names, files[i].name);
		array_add_i64(&sizes, files[i].size);
		if (files[i].content.ptr)
			array_add_bytes(&contents, files[i].content.ptr, files[i].content.len);
		else
			array_add_null(&contents);
	}
	array_end(&names);
	array_end(&sizes);
	array_end(&contents);
	if (contents.failed || names.failed)
		return error_set(e, ERR_TOO_LARGE, "What the run left is too large to keep.");
	if (log.ptr)
		add_text(&tail, log, LOG_MOST);
	return db_run(db, STMT_SESSION_KEEP,
		      ARGS(arg_i64(session), log.ptr ? arg_buf(&tail) : arg_null(), arg_buf(&names), arg_buf(&sizes), arg_buf(&contents),
			   arg_bool(last)), NULL,
		      e);
}
