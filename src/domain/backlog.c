/* backlog - counts of what waits and runs.  See domain/backlog.h. */
#include "domain/backlog.h"

#include "domain/pool.h"

/* More different lanes than these are counted under the reason of none. */
enum { LANES_LOOKED_AT = 500 };

enum err backlog_count(struct db *db, const struct principal *p, struct backlog *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err =
		db_run(db, STMT_BACKLOG_COUNT, ARGS(arg_i64(p->user_id), arg_bool(principal_sees_all(p))), &rows, e);

	if (err)
		return err;
	*ret = (struct backlog){
		.run_after = row_i64(&rows, 0, "run_after"),
		.retry_backoff = row_i64(&rows, 0, "retry_backoff"),
		.running = row_i64(&rows, 0, "running"),
		.oldest_seconds = row_null(&rows, 0, "oldest_seconds") ? -1 : row_i64(&rows, 0, "oldest_seconds"),
	};
	ret->queued = row_i64(&rows, 0, "ready") + ret->run_after + ret->retry_backoff;
	return OK;
}

static struct lane lane_of(const struct rows *rows, int i)
{
	struct lane l = {
		.owner = row_i64(rows, i, "owner_id"),
		.type = (enum job_type)row_i64(rows, i, "type"),
		.gpus = (int)row_i64(rows, i, "gpus"),
		.endpoint = (int)row_i64(rows, i, "endpoint"),
		.priority = (int)row_i64(rows, i, "priority"),
		.estimate = (int)row_i64(rows, i, "estimate"),
	};

	snprintf(l.accelerator, sizeof(l.accelerator), "%s", row_cstr(rows, i, "accelerator"));
	return l;
}

/* Two reasons of the list have the same name. */
static void add(int64_t counts[WAIT_COUNT], enum wait w, int64_t n)
{
	counts[w == WAIT_BUSY ? WAIT_NO_WORKER : w] += n;
}

static void list_by_count(int64_t counts[WAIT_COUNT], struct json *list)
{
	for (;;) {
		int most = 0;
		struct json *one;

		for (int w = 1; w < WAIT_COUNT; w++)
			if (counts[w] > counts[most])
				most = w;
		if (counts[most] <= 0)
			return;
		one = json_object();
		json_put_cstr(one, "waitingReason", wait_name((enum wait)most));
		json_put_i64(one, "count", counts[most]);
		json_add(list, one);
		counts[most] = 0;
	}
}

enum err backlog_reasons(struct db *db, struct arena *a, const struct principal *p, const struct backlog *b, double hold_s,
			 struct json *list, struct error *e)
{
	cleanup_rows struct rows lanes = {0};
	cleanup_pool struct pool pool = {0};
	int64_t counts[WAIT_COUNT] = {[WAIT_RUN_AFTER] = b->run_after, [WAIT_RETRY_BACKOFF] = b->retry_backoff};
	enum err err = OK;

	if (b->queued > b->run_after + b->retry_backoff) {
		err = db_run(db, STMT_BACKLOG_LANES,
			     ARGS(arg_i64(p->user_id), arg_bool(principal_sees_all(p)), arg_i64(LANES_LOOKED_AT)), &lanes, e);
		if (!err)
			err = pool_look(db, a, &pool, e);
		if (!err)
			err = pool_order(db, a, &pool, hold_s, e);
	}
	if (err)
		return err;
	for (int i = 0; i < rows_count(&lanes); i++) {
		struct lane l = lane_of(&lanes, i);

		add(counts, pool_why(&pool, &l), row_i64(&lanes, i, "n"));
	}
	list_by_count(counts, list);
	return OK;
}
