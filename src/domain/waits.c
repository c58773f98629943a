/* waits - see domain/waits.h. */
#include "domain/waits.h"

#include "domain/pool.h"

enum { DOCUMENT = 1 << 20 };

static void add(struct buf *b, struct arena *a, const struct pool *p, const struct place_lane *q)
{
	struct lane l = {
		.owner = q->owner_id,
		.type = q->resumes ? JOB_TRAINING : JOB_SCRIPT,
		.gpus = q->gpus,
		.priority = q->priority,
		.estimate = (int)q->estimate_s,
	};
	enum wait why;
	const char *detail;

	snprintf(l.accelerator, sizeof(l.accelerator), "%s", q->accelerator);
	why = pool_why(p, &l);
	if (why == WAIT_PREPARING) /* it is about to leave */
		return;
	detail = pool_explain(p, &l, why, a);
	buf_addf(b, "%c{\"lane\":%lld,\"reason\":\"%s\",\"detail\":", b->len ? ',' : '[', (long long)q->id, wait_name(why));
	buf_add_json(b, str_of(detail ? detail : wait_name(why)));
	buf_addf(b, ",\"inputs\":{\"waitingReason\":\"%s\",\"jobs\":%lld,\"waitedSeconds\":%.0f,\"gpus\":%d,\"priority\":%d,\"estimateSeconds\":%.0f,"
		    "\"usedSeconds\":%.0f,\"workers\":%d,\"accelerator\":",
		 wait_name(why), (long long)q->depth, q->waited_s, q->gpus, q->priority, q->estimate_s, q->used_s, p->count);
	buf_add_json(b, str_of(q->accelerator));
	buf_adds(b, "}}");
}

enum err waits_note(struct db *db, struct arena *a, double hold_s, int *noted, struct error *e)
{
	cleanup_pool struct pool pool = {0};
	cleanup_rows struct rows rows = {0};
	cleanup_buf struct buf b = BUF_INIT(DOCUMENT);
	enum err err = pool_look(db, a, &pool, e);

	*noted = 0;
	if (!err)
		err = pool_order(db, a, &pool, hold_s, e);
	if (err)
		return err;
	for (size_t i = 0; i < pool.lane_count; i++)
		if (pool.lanes[i].waited_s >= WAITS_NOTED_S)
			add(&b, a, &pool, &pool.lanes[i]);
	if (!b.len)
		buf_addc(&b, '[');
	buf_addc(&b, ']');
	if (b.failed)
		return error_set(e, ERR_TOO_LARGE, "Too many kinds of jobs wait.");
	err = db_run(db, STMT_WAITS_NOTE, ARGS(arg_buf(&b)), &rows, e);
	*noted = err ? 0 : rows_count(&rows);
	return err;
}
