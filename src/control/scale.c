/* scale - see control/scale.h. */
#include "control/scale.h"

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/log.h"
#include "domain/scaling.h"

enum {
	ROUND_MS = 2000,
	SHARE = 10,              /* of this thread's time are rounds of a large pool */
	FORGET_MS = 60000,
	BATCH = 100,
	ARENA = 512 << 20,
};

void scale_init(struct scaler *s, struct db *db, const struct config *config)
{
	*s = (struct scaler){.db = db, .config = config};
	arena_init(&s->arena, ARENA);
}

void scale_free(struct scaler *s)
{
	arena_free(&s->arena);
}

/* ---- one decision ----------------------------------------------------------- */

struct act {
	struct scaler *s;
	const struct scale_decision *d;
	struct scaling_done done;
	bool lost;               /* the lock of scaling: another may decide already */
	struct error e;
};

static enum err run_act(struct db *db, void *arg)
{
	struct act *a = arg;

	enum err err = scaling_holds(db, &a->e);

	a->lost = err == ERR_CONFLICT;
	return err ? err : scaling_act(db, &a->s->arena, a->s->config, a->d, &a->done, &a->e);
}

/* Each in a transaction of its own: what one account refuses holds up no other.  *lost ends the round. */
static bool act(struct scaler *s, const struct scale_decision *d, bool *lost)
{
	struct act a = {.s = s, .d = d};
	char worker[24];
	enum err err = tx_run(s->db, run_act, &a, &a.e);

	CRASH_POINT("scale.acted");
	*lost = a.lost;
	if (err || !a.done.done) {
		log_warn("scale.not_done", "action=%s worker=%lld account=%lld error=%s message=\"%s\"", scale_action_name(d->action),
			 (long long)d->worker_id, (long long)d->account_id, err ? err_name(err) : "changed", a.e.msg);
		return false;
	}
	log_info("scale.done", "action=%s worker=%lld account=%lld code=%s queued=%lld", scale_action_name(d->action),
		 (long long)a.done.worker, (long long)d->account_id, scale_code_name(d->code), (long long)d->queued);
	snprintf(worker, sizeof(worker), "%lld", (long long)a.done.worker);
	db_notify(s->db, "gpupool_operations", a.done.provider);
	if (d->action == SCALE_DRAIN || d->action == SCALE_STOP)
		db_notify(s->db, "gpupool_orders", worker);
	return true;
}

/* ---- a round ------------------------------------------------------------------ */

static void keep_since(struct scaler *s, const struct scaling_look *l)
{
	cleanup_buf struct buf owners = BUF_INIT(1 << 20), up = BUF_INIT(1 << 20), down = BUF_INIT(1 << 20);

	array_begin(&owners);
	array_begin(&up);
	array_begin(&down);
	for (size_t p = 0; p < l->snapshot.policy_count; p++) {
		array_add_i64(&owners, l->snapshot.policies[p].owner_id);
		array_add_i64(&up, l->result.since[p].up_ms);
		array_add_i64(&down, l->result.since[p].down_ms);
	}
	array_end(&owners);
	array_end(&up);
	array_end(&down);
	(void)!db_run(s->db, STMT_SCALING_SINCE, ARGS(arg_buf(&owners), arg_buf(&up), arg_buf(&down)), NULL, NULL);
}

static bool decide_and_act(struct scaler *s)
{
	cleanup_look struct scaling_look look = {0};
	struct error e = {0};
	bool any = false, lost = false;
	enum err err;

	arena_reset(&s->arena);
	err = scaling_look(s->db, &s->arena, s->config, 0, &look, &e);
	if (err) {
		log_warn("scale.look", "error=%s message=\"%s\"", err_name(err), e.msg);
		return false;
	}
	keep_since(s, &look);
	CRASH_POINT("scale.decided");
	for (size_t i = 0; i < look.result.count && !lost; i++)
		if (!look.result.decisions[i].due_ms)
			any |= act(s, &look.result.decisions[i], &lost);
	if (any && scaling_keep(s->db, &look, &e))
		log_warn("scale.keep", "message=\"%s\"", e.msg);
	return any;
}

static bool settle(struct scaler *s)
{
	cleanup_rows struct rows rows = {0};

	if (db_run(s->db, STMT_SCALING_SETTLE, NO_ARGS, &rows, NULL))
		return false;
	for (int i = 0; i < rows_count(&rows); i++)
		log_info("scale.drained", "worker=%lld", (long long)row_i64(&rows, i, "id"));
	return rows_count(&rows) > 0;
}

bool scale_turn(struct scaler *s, bool leads)
{
	cleanup_rows struct rows rows = {0};
	int64_t start = clock_ms(), took;
	bool any;

	if (!leads || start < s->next_ms)
		return false;
	s->next_ms = start + ROUND_MS;
	any = settle(s);
	/* Not mine: a plan is being committed. */
	if (db_run(s->db, STMT_SCALING_BEGIN, NO_ARGS, &rows, NULL) || !row_bool(&rows, 0, "mine"))
		return any;
	if (row_bool(&rows, 0, "wanted"))
		any |= decide_and_act(s);
	(void)!db_run(s->db, STMT_SCALING_END, NO_ARGS, NULL, NULL);
	took = clock_ms() - start;
	if (took * SHARE > ROUND_MS)
		s->next_ms = start + took * SHARE;
	if (clock_ms() >= s->forget_ms) {
		s->forget_ms = clock_ms() + FORGET_MS;
		(void)!db_run(s->db, STMT_SCALING_FORGET, ARGS(arg_i64(BATCH), arg_i64(s->config->retention_days), arg_i64(SCALING_KEPT)), NULL, NULL);
	}
	if (any)
		db_notify(s->db, "gpupool_events", "");
	return any;
}
