/* What people do with jobs; see job.h. */
#include "domain/job.h"

#include "base/json.h"

enum {
	DOCUMENT_MAX = 64 << 20, /* of a batch, as one argument */
	BETWEEN_TRIES = 3,       /* a job that moves between two tables is seen in neither */
};

/* ---- submit --------------------------------------------------------------- */

static void add_member(struct buf *doc, const char *key, const struct json *value)
{
	if (!value)
		return;
	buf_addf(doc, ",\"%s\":", key);
	json_write(value, doc);
}

static void add_job(struct buf *doc, const struct job_spec *s, int32_t lane)
{
	buf_addf(doc, "{\"l\":%d,\"m\":%d", lane, s->max_attempts);
	if (s->timeout_seconds)
		buf_addf(doc, ",\"t\":%lld", (long long)s->timeout_seconds);
	if (s->estimated_seconds)
		buf_addf(doc, ",\"e\":%lld", (long long)s->estimated_seconds);
	add_member(doc, "n", json_get(s->document, "name"));
	add_member(doc, "g", json_get(s->document, "tags"));
	add_member(doc, "r", json_get(s->document, "retryOn"));
	if (json_len(json_get(s->document, "secrets")))
		add_member(doc, "s", json_get(s->document, "secrets"));
	add_member(doc, "a", json_get(s->document, "runAfter"));
	add_member(doc, "p", s->payload);
	buf_addc(doc, '}');
}

/* rows stays empty when a remembered lane is not there any more. */
static enum err insert(struct db *db, struct arena *a, const struct principal *p, const struct job_spec *specs, int n,
		       struct rows *rows, struct error *e)
{
	cleanup_buf struct buf doc = BUF_INIT(DOCUMENT_MAX), ids = BUF_INIT(16 * JOB_BATCH_MAX);
	struct lane *lanes = arena_array(a, (size_t)n, sizeof(*lanes));
	int32_t *found = arena_array(a, (size_t)n, sizeof(*found));
	enum err err;

	if (!lanes || !found)
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	for (int i = 0; i < n; i++)
		lanes[i] = specs[i].lane;
	err = lane_find(db, lanes, n, found, e);
	if (err)
		return err;
	array_begin(&ids);
	for (int i = 0; i < n; i++) {
		buf_addc(&doc, i ? ',' : '[');
		add_job(&doc, &specs[i], found[i]);
		array_add_i64(&ids, found[i]);
	}
	buf_addc(&doc, ']');
	array_end(&ids);
	if (doc.failed)
		return error_set(e, ERR_TOO_LARGE, "The jobs are too large together.");
	return db_run(db, STMT_JOB_SUBMIT, ARGS(arg_buf(&doc), arg_i64(p->user_id), arg_buf(&ids)), rows, e);
}

enum err job_submit(struct db *db, struct arena *a, const struct principal *p, const struct job_spec *specs, int n,
		    struct job_placed *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_pool struct pool pool = {0};
	enum err err = pool_look(db, a, &pool, e);

	if (n < 1 || n > JOB_BATCH_MAX)
		BUG("%d jobs", n);
	for (int tries = 0; !err && rows_count(&rows) != n && tries < 2; tries++) {
		if (tries)
			lane_forget();
		err = insert(db, a, p, specs, n, &rows, e);
	}
	if (err)
		return err;
	if (rows_count(&rows) != n)
		return error_set(e, ERR_CONFLICT, "Another change came first; try again.");
	for (int i = 0; i < n; i++) {
		const struct job_spec *s = &specs[i];

		ret[i] = (struct job_placed){.id = row_i64(&rows, i, "id"), .wait = WAIT_RUN_AFTER};
		if (row_bool(&rows, i, "later"))
			continue;
		ret[i].worker_id = pool_take(&pool, &s->lane);
		ret[i].wait = pool_why(&pool, &s->lane);
	}
	return OK;
}

/* ---- see ------------------------------------------------------------------ */

static enum err no_such_job(struct error *e)
{
	return error_set(e, ERR_NOT_FOUND, "There is no such job.");
}

static struct arg arg_user(const struct principal *p)
{
	return arg_i64(p->user_id);
}

static struct arg arg_all(const struct principal *p)
{
	return arg_bool(principal_sees_all(p));
}

static enum err read_one(struct db *db, enum stmt s, const struct principal *p, int64_t id, struct rows *ret, struct error *e)
{
	enum err err = db_run(db, s, ARGS(arg_i64(id), arg_user(p), arg_all(p)), ret, e);

	return err ? err : rows_count(ret) ? OK : no_such_job(e);
}

enum err job_get(struct db *db, const struct principal *p, int64_t id, struct rows *ret, struct error *e)
{
	return read_one(db, STMT_JOB_GET, p, id, ret, e);
}

enum err job_attempts(struct db *db, const struct principal *p, int64_t id, struct rows *ret, struct error *e)
{
	return read_one(db, STMT_JOB_ATTEMPTS, p, id, ret, e);
}

enum err job_artifacts(struct db *db, const struct principal *p, int64_t id, struct rows *ret, struct error *e)
{
	return read_one(db, STMT_JOB_ARTIFACTS, p, id, ret, e);
}

enum err job_list(struct db *db, const struct principal *p, const struct job_filter *f, struct rows *ret, struct error *e)
{
	const struct arg args[] = {
		arg_user(p), arg_all(p), arg_opt_i64(f->owner, f->owner), arg_i64(f->below ? f->below : INT64_MAX), arg_i64(f->limit),
		arg_cstr(f->name), arg_cstr(f->tag), arg_opt_i64(f->type, f->type != JOB_TYPE_COUNT), arg_cstr(f->find),
		arg_opt_i64(f->worker, f->worker), arg_i64(f->state),
	};

	switch (f->state) {
	case JOB_STATE_COUNT: return db_run(db, STMT_JOB_LIST_ANY, args, 10, ret, e);
	case JOB_QUEUED: return db_run(db, STMT_JOB_LIST_QUEUED, args, 10, ret, e);
	case JOB_RUNNING: return db_run(db, STMT_JOB_LIST_RUNNING, args, 10, ret, e);
	default: return db_run(db, STMT_JOB_LIST_DONE, args, 11, ret, e);
	}
}

/* ---- cancel, retry -------------------------------------------------------- */

static struct job_ended *ended_of(struct job_ended *list, int n, int64_t id)
{
	for (int i = 0; i < n; i++)
		if (list[i].id == id)
			return &list[i];
	BUG("job %lld was not asked for", (long long)id);
}

/* One round over those that are not settled; *open counts those that still are not. */
static enum err cancel_round(struct db *db, const struct principal *p, struct job_ended *list, int n, int *open, struct error *e)
{
	cleanup_buf struct buf ids = BUF_INIT(24 * (JOB_CANCEL_MAX + 1));
	cleanup_rows struct rows done = {0}, now = {0};
	enum err err;

	array_begin(&ids);
	for (int i = 0; i < n; i++)
		if (!job_state_ended(list[i].state))
			array_add_i64(&ids, list[i].id);
	array_end(&ids);
	err = db_run(db, STMT_JOB_CANCEL, ARGS(arg_buf(&ids), arg_user(p), arg_all(p)), &done, e);
	for (int i = 0; !err && i < rows_count(&done); i++) {
		struct job_ended *j = ended_of(list, n, row_i64(&done, i, "id"));

		if (row_bool(&done, i, "cancelled")) {
			j->cancelled = true;
			j->worker_id = row_i64(&done, i, "worker_id");
		}
	}
	if (!err)
		err = db_run(db, STMT_JOB_STATES, ARGS(arg_buf(&ids), arg_user(p), arg_all(p)), &now, e);
	*open = 0;
	for (int i = 0; !err && i < rows_count(&now); i++) {
		struct job_ended *j = ended_of(list, n, row_i64(&now, i, "id"));

		j->known = true;
		j->state = (enum job_state)row_i64(&now, i, "state");
		*open += !job_state_ended(j->state);
	}
	return err;
}

enum err job_cancel(struct db *db, const struct principal *p, const int64_t *ids, int n, struct job_ended *ret, struct error *e)
{
	enum err err = OK;
	int open = n;

	if (n > JOB_CANCEL_MAX)
		BUG("%d jobs to cancel", n);
	for (int i = 0; i < n; i++)
		ret[i] = (struct job_ended){.id = ids[i], .state = JOB_QUEUED};
	for (int tries = 0; !err && open && tries < BETWEEN_TRIES; tries++)
		err = cancel_round(db, p, ret, n, &open, e);
	for (int i = 0; !err && i < n; i++)
		ret[i] = *ended_of(ret, n, ids[i]); /* one that was named twice */
	return err;
}

enum err job_retry(struct db *db, const struct principal *p, int64_t id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_JOB_RETRY, ARGS(arg_i64(id), arg_user(p), arg_all(p)), &rows, e);

	if (err || rows_count(&rows))
		return err;
	err = job_get(db, p, id, &rows, e);
	if (err)
		return err;
	if (!job_state_ended((enum job_state)row_i64(&rows, 0, "state")))
		return error_set(e, ERR_CONFLICT, "The job is %s; only one that has ended can run again.",
				 job_state_name((int)row_i64(&rows, 0, "state")));
	return error_set(e, ERR_CONFLICT, "The cancelled process is still being stopped; try again in a moment.");
}
