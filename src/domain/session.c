/* session - see domain/session.h. */
#include "domain/session.h"

static struct str kept(struct arena *a, const struct rows *r, int i, const char *col)
{
	return row_null(r, i, col) ? STR_NULL : arena_str(a, row_str(r, i, col));
}

enum err worker_look(struct db *db, struct arena *a, int64_t worker, struct worker_view *ret, struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_WORKER_LOOK, ARGS(arg_i64(worker)), &r, e);

	if (err)
		return err;
	if (!rows_count(&r))
		return error_set(e, ERR_NOT_FOUND, "There is no worker %lld.", (long long)worker);
	*ret = (struct worker_view){
		.id = worker,
		.owner = row_i64(&r, 0, "owner_id"),
		.account = row_i64(&r, 0, "account_id"),
		.provider = kept(a, &r, 0, "provider").ptr,
		.name = kept(a, &r, 0, "remote_name").ptr,
		.resource = kept(a, &r, 0, "resource").ptr,
		.shape = kept(a, &r, 0, "shape").ptr,
		.inputs = kept(a, &r, 0, "inputs"),
		.max_seconds = row_i64(&r, 0, "max_session_seconds"),
		.title = kept(a, &r, 0, "title").ptr,
		.accelerator = kept(a, &r, 0, "accelerator").ptr,
		.desire = worker_desire_parse(row_str(&r, 0, "desired")),
		.state = worker_state_parse(row_str(&r, 0, "state")),
		.generation = (int)row_i64(&r, 0, "generation"),
		.session = row_i64(&r, 0, "session_id"),
		.intent = kept(a, &r, 0, "intent"),
		.over = row_null(&r, 0, "session_id") || str_eqz(row_str(&r, 0, "session_state"), "ended"),
		.registered = row_bool(&r, 0, "registered"),
		.run_over = row_bool(&r, 0, "run_over"),
		.launched_for = row_null(&r, 0, "launched_for") ? -1 : row_double(&r, 0, "launched_for"),
		.kept = row_bool(&r, 0, "kept"),
		.reference = kept(a, &r, 0, "provider_ref"),
		.last_reference = kept(a, &r, 0, "last_reference"),
		.limit_seconds = row_i64(&r, 0, "limit_seconds"),
		.silent = row_double(&r, 0, "silent"),
		.ended_for = row_double(&r, 0, "ended_for"),
	};
	if (!ret->provider || !ret->title || !ret->accelerator || (ret->session && !ret->intent.ptr))
		return error_set(e, ERR_INTERNAL, "out of memory");
	return OK;
}

enum err session_open(struct db *db, struct arena *a, const struct session_opening *o, struct session_opened *ret, struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_SESSION_OPEN,
			      ARGS(arg_i64(o->worker), arg_i64(o->operation), arg_cstr(o->claimed_by), arg_i64(o->generation),
				   o->token_hash ? arg_bytes(o->token_hash, CRYPTO_HASH) : arg_null(),
				   arg_cstr(worker_state_name(o->state)), arg_cstr(o->code), arg_cstr(o->reason),
				   arg_opt_i64(o->limit_seconds, o->limit_seconds > 0), arg_cstr(o->resource)),
			      &r, e);

	if (err)
		return err;
	if (!rows_count(&r))
		return error_set(e, ERR_CONFLICT, "The worker is wanted otherwise now.");
	ret->id = row_i64(&r, 0, "id");
	ret->intent = kept(a, &r, 0, "intent");
	ret->limit_seconds = row_i64(&r, 0, "limit_seconds");
	return ret->intent.ptr ? OK : error_set(e, ERR_INTERNAL, "out of memory");
}

enum err session_token(struct db *db, int64_t session, const uint8_t hash[CRYPTO_HASH], struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_SESSION_TOKEN, ARGS(arg_i64(session), arg_bytes(hash, CRYPTO_HASH)), &r, e);

	if (!err && !rows_count(&r))
		err = error_set(e, ERR_CONFLICT, "The session is past its start.");
	return err;
}

enum err session_ran(struct db *db, struct arena *a, int64_t session, struct str reference, const char *url, struct error *e)
{
	return db_run(db, STMT_SESSION_RAN, ARGS(arg_i64(session), arg_str(a, reference), arg_cstr(url)), NULL, e);
}

/* ---- runs elsewhere ------------------------------------------------------- */

enum err session_launched(struct db *db, int64_t session, int64_t operation, const char *claimed_by, struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_SESSION_LAUNCHED, ARGS(arg_i64(session), arg_i64(operation), arg_cstr(claimed_by)), &r, e);

	if (!err && !rows_count(&r))
		err = error_set(e, ERR_CONFLICT, "The session is past its start.");
	return err;
}

enum err session_ran_remote(struct db *db, struct arena *a, int64_t session, struct str reference, const char *url, double seconds,
			    struct error *e)
{
	return db_run(db, STMT_SESSION_RAN_REMOTE, ARGS(arg_i64(session), arg_str(a, reference), arg_cstr(url), arg_double(seconds)), NULL,
		      e);
}

enum err session_over(struct db *db, int64_t session, struct error *e)
{
	return db_run(db, STMT_SESSION_OVER, ARGS(arg_i64(session)), NULL, e);
}

enum err session_phase(struct db *db, int64_t session, const char *code, const char *reason, enum worker_state state,
		       enum worker_state other, bool *changed, struct error *e)
{
	cleanup_buf struct buf states = BUF_INIT(128);
	cleanup_rows struct rows r = {0};
	enum err err;

	array_begin(&states);
	array_add_str(&states, str_of(worker_state_name(state)));
	array_add_str(&states, str_of(worker_state_name(other)));
	array_end(&states);
	err = db_run(db, STMT_SESSION_PHASE, ARGS(arg_i64(session), arg_cstr(code), arg_cstr(reason), arg_buf(&states)), &r, e);
	*changed |= !err && rows_count(&r);
	return err;
}

enum err session_hurry(struct db *db, int64_t session, double seconds, struct error *e)
{
	return db_run(db, STMT_POLL_HURRY, ARGS(arg_i64(session), arg_double(seconds)), NULL, e);
}

/* ---- the end -------------------------------------------------------------- */

enum { ID, CODE, REASON, LOG, RELEASE, UNREGISTERED, SILENT, COLUMNS };
enum { COLUMN_MOST = 16 << 20 };

static void add_log(struct buf *column, struct str log)
{
	cleanup_buf struct buf text = BUF_INIT(COLUMN_MOST);

	if (!log.ptr) {
		array_add_null(column);
		return;
	}
	buf_adds(&text, "");
	buf_add_text(&text, log, false); /* agents may say any bytes; the column holds text */
	array_add_str(column, buf_str(&text));
}

static void add_ending(struct buf column[COLUMNS], const struct session_ending *s)
{
	array_add_i64(&column[ID], s->id);
	array_add_str(&column[CODE], str_of(s->code));
	array_add_str(&column[REASON], str_of(s->reason));
	add_log(&column[LOG], s->log);
	array_add_bool(&column[RELEASE], s->release);
	array_add_bool(&column[UNREGISTERED], s->unregistered);
	if (s->silent < 0)
		array_add_null(&column[SILENT]);
	else
		array_add_double(&column[SILENT], s->silent);
}

enum err session_end(struct db *db, const struct session_ending *s, int n, struct session_ended *ret, struct error *e)
{
	struct buf column[COLUMNS];
	cleanup_rows struct rows r = {0};
	enum err err;

	*ret = (struct session_ended){0};
	if (n > SESSION_END_MOST)
		BUG("%d sessions at once", n);
	if (n == 0)
		return OK;
	for (int c = 0; c < COLUMNS; c++) {
		column[c] = BUF_INIT(COLUMN_MOST);
		array_begin(&column[c]);
	}
	for (int i = 0; i < n; i++)
		add_ending(column, &s[i]);
	for (int c = 0; c < COLUMNS; c++)
		array_end(&column[c]);
	err = db_run(db, STMT_SESSION_END,
		     ARGS(arg_buf(&column[ID]), arg_buf(&column[CODE]), arg_buf(&column[REASON]), arg_buf(&column[LOG]),
			  arg_buf(&column[RELEASE]), arg_buf(&column[UNREGISTERED]), arg_buf(&column[SILENT])),
		     &r, e);
	for (int c = 0; c < COLUMNS; c++)
		buf_free(&column[c]);
	if (err)
		return err;
	ret->ended = rows_count(&r);
	ret->requeued = ret->ended ? (int)row_i64(&r, 0, "requeued") : 0;
	return OK;
}
