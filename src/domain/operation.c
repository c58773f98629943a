/* operation - see domain/operation.h. */
#include "domain/operation.h"

#include <errno.h>
#include <signal.h>

enum { ARRAY_MOST = 64 << 10 };

enum err operation_claim(struct db *db, const struct buf *providers, const char *me, int seconds, struct operation *ret, int most,
			 int *count, struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_OPERATION_CLAIM,
			      ARGS(arg_buf(providers), arg_cstr(me), arg_i64(seconds), arg_i64(most)), &r, e);

	*count = err ? 0 : rows_count(&r);
	for (int i = 0; i < *count; i++)
		ret[i] = (struct operation){
			.id = row_i64(&r, i, "id"),
			.worker = row_i64(&r, i, "worker_id"),
			.generation = (int)row_i64(&r, i, "generation"),
			.attempts = (int)row_i64(&r, i, "attempts"),
			.age = row_double(&r, i, "age"),
		};
	return err;
}

/* The process number in "host:pid:random". */
static bool is_dead(struct str claimant, size_t prefix)
{
	struct str rest = {claimant.ptr + prefix, claimant.len - prefix}, number;
	int64_t pid;

	return str_cut(&rest, ':', &number) && str_to_id(number, &pid) && kill((pid_t)pid, 0) && errno == ESRCH;
}

static enum err claims_of_dead(struct db *db, enum stmt claimants, enum stmt unclaim, const struct buf *providers, const char *me, struct error *e)
{
	cleanup_rows struct rows r = {0};
	cleanup_buf struct buf host = BUF_INIT(128);
	struct str rest = str_of(me), name;
	enum err err;

	str_cut(&rest, ':', &name);
	buf_addf(&host, "%.*s:", STR_ARG(name));
	err = db_run(db, claimants, ARGS(arg_buf(&host), arg_buf(providers)), &r, e);
	for (int i = 0; !err && i < rows_count(&r); i++)
		if (is_dead(row_str(&r, i, "claimed_by"), host.len))
			err = db_run(db, unclaim, ARGS(arg_cstr(row_cstr(&r, i, "claimed_by"))), NULL, e);
	return err;
}

enum err operation_claims_of_dead(struct db *db, const struct buf *providers, const char *me, struct error *e)
{
	return claims_of_dead(db, STMT_OPERATION_CLAIMANTS, STMT_OPERATION_UNCLAIM, providers, me, e);
}

enum err operation_looks_of_dead(struct db *db, const struct buf *providers, const char *me, struct error *e)
{
	return claims_of_dead(db, STMT_LOOKS_CLAIMANTS, STMT_LOOKS_UNCLAIM, providers, me, e);
}

enum err operation_step(struct db *db, const struct operation *o, const char *me, const struct operation_result *result, struct error *e)
{
	static const char *const states[] = {
		[OUTCOME_KEEP] = "open", [OUTCOME_AGAIN] = "open", [OUTCOME_DONE] = "done", [OUTCOME_FAILED] = "failed"};
	bool moves = result->from != result->to;
	cleanup_rows struct rows r = {0};
	struct arg again = result->outcome == OUTCOME_AGAIN ? arg_double(result->again_seconds) : arg_null();
	enum err err;

	if (!worker_may_move(result->from, result->to))
		BUG("no move from %s to %s", worker_state_name(result->from), worker_state_name(result->to));
	err = db_run(db, STMT_OPERATION_STEP,
		     ARGS(arg_i64(o->worker), arg_i64(o->id), arg_cstr(me), arg_i64(o->generation),
			  moves ? arg_cstr(worker_state_name(result->from)) : arg_null(),
			  moves ? arg_cstr(worker_state_name(result->to)) : arg_null(), arg_cstr(result->code), arg_cstr(result->reason),
			  arg_cstr(states[result->outcome]), again, arg_cstr(result->error), arg_i64(result->failure)),
		     &r, e);
	if (!err && !rows_count(&r))
		err = error_set(e, ERR_CONFLICT, "The worker is wanted otherwise now.");
	return err;
}

enum err operation_let_go(struct db *db, const struct operation *o, const char *me, double seconds, struct error *e)
{
	return db_run(db, STMT_OPERATION_LET_GO, ARGS(arg_i64(o->id), arg_cstr(me), arg_double(seconds)), NULL, e);
}

enum err operation_sweep(struct db *db, const struct buf *providers, int *count, struct error *e)
{
	cleanup_buf struct buf states = BUF_INIT(ARRAY_MOST);
	cleanup_buf struct buf desires = BUF_INIT(ARRAY_MOST);
	cleanup_buf struct buf kinds = BUF_INIT(ARRAY_MOST);
	cleanup_rows struct rows r = {0};
	enum err err;

	array_begin(&states);
	array_begin(&desires);
	array_begin(&kinds);
	for (size_t i = 0; i < worker_edge_count; i++) {
		const struct worker_edge *edge = &worker_edges[i];

		if (!edge->opens)
			continue;
		array_add_str(&states, str_of(worker_state_name(edge->state)));
		array_add_str(&desires, str_of(worker_desire_name(edge->desire)));
		array_add_str(&kinds, str_of(edge->opens));
	}
	array_end(&states);
	array_end(&desires);
	array_end(&kinds);
	err = db_run(db, STMT_OPERATION_SWEEP, ARGS(arg_buf(providers), arg_buf(&states), arg_buf(&desires), arg_buf(&kinds)), &r, e);
	*count = err ? 0 : rows_count(&r);
	return err;
}
