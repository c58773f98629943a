/* Forecasts and reasons from one look at the workers; see pool.h. */
#include "domain/pool.h"

#include <math.h>
#include <string.h>

#include "domain/estimate.h"
#include "domain/lease.h"

/* Lanes that are told apart, and choices looked at: more than these change no reason worth a wait. */
enum { LANES_MOST = 1000, PICKS_MOST = 256 };

static const char *const wait_names[] = {
#define X(id, name) [WAIT_##id] = name,
	WAITS(X)
#undef X
};

const char *wait_name(enum wait w)
{
	if ((unsigned)w >= WAIT_COUNT)
		BUG("reason %d to wait", (int)w);
	return wait_names[w];
}

/* ---- the look ------------------------------------------------------------- */

static const struct state_meaning {
	const char *state;
	enum wait wait;
} meanings[] = {
	{"stopped", WAIT_COLD_START}, /* and wanted: the look sees no other */
	{"starting", WAIT_COLD_START},
	{"waiting", WAIT_COLD_START},
	{"draining", WAIT_PAUSED},
	{"stopping", WAIT_PAUSED},
	{"needs_human", WAIT_NEEDS_HUMAN},
};

static enum wait meaning_of(struct str state, bool wanted)
{
	if (!wanted)
		return WAIT_PAUSED;
	for (size_t i = 0; i < ARRAY_LEN(meanings); i++)
		if (str_eqz(state, meanings[i].state))
			return meanings[i].wait;
	return WAIT_NO_WORKER;
}

/* "3,7": written by our own statement. */
static size_t read_ids(struct str list, struct arena *a, const int64_t **ret)
{
	int64_t *ids = arena_array(a, list.len / 2 + 1, sizeof(*ids));
	struct str one;
	size_t n = 0;

	while (ids && list.len && str_cut(&list, ',', &one))
		n += str_to_id(one, &ids[n]);
	*ret = ids;
	return n;
}

static enum place_sharing read_sharing(struct str s)
{
	return str_eqz(s, "all") ? PLACE_SHARED_ALL : str_eqz(s, "named") ? PLACE_SHARED_NAMED : PLACE_SHARED_NONE;
}

/* What a worker that is to start waits for. */
static enum wait refine(enum wait w, struct str code)
{
	return w == WAIT_COLD_START && (str_eqz(code, "quota") || str_eqz(code, "budget")) ? WAIT_QUOTA : w;
}

static void read_worker(const struct rows *r, int i, struct arena *a, struct pool_worker *w)
{
	bool wanted = str_eqz(row_str(r, i, "desired"), "running"), registered = row_str(r, i, "got").len > 0;
	struct str state = row_str(r, i, "state");

	*w = (struct pool_worker){
		.id = row_i64(r, i, "id"),
		.running = wanted && str_eqz(state, "healthy") && str_eqz(row_str(r, i, "session_state"), "running"),
		.otherwise = refine(meaning_of(state, wanted), row_str(r, i, "reason_code")),
		.reason = row_null(r, i, "reason") ? "" : row_cstr(r, i, "reason"),
		.place = {
			.session_id = row_i64(r, i, "session_id"),
			.slots = (int)row_i64(r, i, "slots"),
			.owner_id = row_i64(r, i, "account_owner"),
			/* What its session got; before there is one, what was asked. */
			.got = row_cstr(r, i, registered ? "got" : "accelerator"),
			.free = (int)row_i64(r, i, "free"),
			.seconds_left = row_null(r, i, "left_seconds") ? INFINITY : row_double(r, i, "left_seconds"),
			.sharing = read_sharing(row_str(r, i, "sharing")),
		},
	};
	if (w->place.free < 0)
		w->place.free = 0;
	w->place.shared_count = read_ids(row_str(r, i, "shared_with"), a, &w->place.shared_with);
}

enum err pool_look(struct db *db, struct arena *a, struct pool *ret, struct error *e)
{
	enum err err;

	*ret = (struct pool){0};
	err = db_run(db, STMT_POOL_LOOK, NO_ARGS, &ret->rows, e);
	if (err)
		return err;
	ret->workers = arena_array(a, (size_t)rows_count(&ret->rows), sizeof(*ret->workers));
	if (!ret->workers)
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	ret->count = rows_count(&ret->rows);
	for (int i = 0; i < ret->count; i++)
		read_worker(&ret->rows, i, a, &ret->workers[i]);
	return OK;
}

void pool_free(struct pool *p)
{
	rows_free(&p->rows);
	rows_free(&p->queue);
	rows_free(&p->scaling);
	p->count = 0;
	p->lane_count = 0;
}

/* ---- who else waits ----------------------------------------------------------- */

static struct place_lane read_lane(const struct rows *r, int i)
{
	enum job_type type = (enum job_type)row_i64(r, i, "type");

	return (struct place_lane){
		.id = row_i64(r, i, "id"),
		.owner_id = row_i64(r, i, "owner_id"),
		.accelerator = row_cstr(r, i, "accelerator"),
		.gpus = (int)row_i64(r, i, "gpus"),
		.priority = (int)row_i64(r, i, "priority"),
		.depth = row_i64(r, i, "depth"),
		.waited_s = row_double(r, i, "waited"),
		.estimate_s = row_double(r, i, "estimate"),
		.resumes = type == JOB_TRAINING,
		.cost_s = lease_estimate(type),
		.used_s = row_double(r, i, "used"),
		.weight = row_double(r, i, "weight"),
	};
}

/* Lets the placement core say for whom free slots are kept: what it would give besides does not matter here. */
static bool find_kept(struct pool *p, double hold_s, struct arena *a)
{
	const struct place_weights weights = {.hold_s = hold_s};
	struct place_worker *running = arena_array(a, (size_t)p->count, sizeof(*running));
	struct place_lane *lanes = arena_array(a, p->lane_count, sizeof(*lanes));
	struct place_pick *picks = arena_array(a, PICKS_MOST, sizeof(*picks));
	int *index = arena_array(a, (size_t)p->count, sizeof(*index));
	size_t n = 0;

	if (!running || !lanes || !picks || !index)
		return false;
	for (int i = 0; i < p->count; i++)
		if (p->workers[i].running && p->workers[i].place.free > 0) {
			index[n] = i;
			running[n++] = p->workers[i].place;
		}
	for (size_t i = 0; i < p->lane_count; i++)
		lanes[i] = p->lanes[i];
	place_choose(&weights, lanes, p->lane_count, running, n, picks, PICKS_MOST, a);
	for (size_t i = 0; i < p->lane_count; i++)
		if (lanes[i].keeps)
			p->workers[index[lanes[i].keeps - 1]].kept_for = &p->lanes[i];
	return true;
}

enum err pool_order(struct db *db, struct arena *a, struct pool *p, double hold_s, struct error *e)
{
	enum err err = db_run(db, STMT_LANE_LOOK, ARGS(arg_i64(LANES_MOST), arg_i64(PLACE_AGEING_S), arg_i64(PLACE_CLASS_MOST)), &p->queue, e);

	if (!err)
		err = db_run(db, STMT_POOL_SCALING, NO_ARGS, &p->scaling, e);
	if (err)
		return err;
	p->lanes = arena_array(a, (size_t)rows_count(&p->queue), sizeof(*p->lanes));
	if (!p->lanes)
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	p->lane_count = (size_t)rows_count(&p->queue);
	for (int i = 0; i < rows_count(&p->queue); i++)
		p->lanes[i] = read_lane(&p->queue, i);
	return find_kept(p, hold_s, a) ? OK : error_set(e, ERR_TOO_LARGE, "The request is too large.");
}

/* ---- one job against each worker ------------------------------------------ */

static bool kept_for_it(const struct pool_worker *w, const struct place_lane *l)
{
	const struct place_lane *k = w->kept_for;

	return k->owner_id == l->owner_id && k->gpus == l->gpus && k->priority == l->priority;
}

static enum wait why_not(const struct pool_worker *w, const struct place_lane *l)
{
	if (!place_matches(l->accelerator, w->place.got))
		return WAIT_NO_WORKER;
	switch (place_fits(l, &w->place)) {
	case PLACE_NOT_SHARED: return w->running ? WAIT_NOT_SHARED : WAIT_NO_WORKER;
	case PLACE_TIME: return w->running ? WAIT_DOES_NOT_FIT : w->otherwise;
	case PLACE_TOO_BIG:
	case PLACE_BUSY:
		if (!w->running)
			return w->otherwise;
		return l->gpus > w->place.slots ? WAIT_DOES_NOT_FIT : WAIT_BUSY;
	case PLACE_FITS:
		if (w->kept_for && !kept_for_it(w, l))
			return WAIT_FAIRNESS;
		return w->running ? WAIT_PREPARING : w->otherwise;
	case PLACE_ACCELERATOR:
	case PLACE_FIT_COUNT: break;
	}
	return WAIT_NO_WORKER;
}

static struct place_lane lane_of(const struct lane *l)
{
	return (struct place_lane){
		.owner_id = l->owner,
		.accelerator = l->accelerator,
		.gpus = l->gpus,
		.priority = l->priority,
		.estimate_s = l->estimate,
		.resumes = l->type == JOB_TRAINING,
	};
}

int64_t pool_take(struct pool *p, const struct lane *l)
{
	const struct place_lane one = lane_of(l);

	for (int i = 0; i < p->count; i++)
		if (why_not(&p->workers[i], &one) == WAIT_PREPARING) {
			p->workers[i].place.free -= l->gpus;
			return p->workers[i].id;
		}
	return 0;
}

/* The lane in the queue, where it is known; NULL = not. */
static const struct place_lane *in_queue(const struct pool *p, const struct lane *l)
{
	for (size_t i = 0; i < p->lane_count; i++) {
		const struct place_lane *q = &p->lanes[i];

		if (q->owner_id == l->owner && q->gpus == l->gpus && q->priority == l->priority && q->estimate_s <= l->estimate &&
		    q->estimate_s >= l->estimate && q->resumes == (l->type == JOB_TRAINING) && !strcmp(q->accelerator, l->accelerator))
			return q;
	}
	return NULL;
}

/* Whether a worker that is busy would take either. */
static bool compete(const struct pool *p, const struct place_lane *a, const struct place_lane *b)
{
	for (int i = 0; i < p->count; i++)
		if (p->workers[i].running && why_not(&p->workers[i], a) == WAIT_BUSY && why_not(&p->workers[i], b) == WAIT_BUSY)
			return true;
	return false;
}

/* Jobs of others that come before it because their owners have used less; 0 = none. */
static int64_t before_by_share(const struct pool *p, const struct lane *l)
{
	const struct place_lane *own = in_queue(p, l);
	int64_t jobs = 0;

	for (size_t i = 0; own && i < p->lane_count; i++) {
		const struct place_lane *q = &p->lanes[i];
		enum place_why why;

		if (q->owner_id != own->owner_id && place_before(q, own, &why) && why == PLACE_FAIR && compete(p, q, own))
			jobs += q->depth;
	}
	return jobs;
}

static const char *resource_of(const char *accelerator)
{
	return !strcmp(accelerator, "cpu") || !strcmp(accelerator, "tpu") ? accelerator : "gpu";
}

/* Its row of the policy of the job's owner; -1 = none that is switched on. */
static int scaling_row(const struct pool *p, const struct lane *l)
{
	for (int i = 0; i < rows_count(&p->scaling); i++)
		if (row_i64(&p->scaling, i, "owner_id") == l->owner && str_eqz(row_str(&p->scaling, i, "resource"), resource_of(l->accelerator)))
			return i;
	return -1;
}

/* There is no worker for it: would scaling start one? */
static enum wait why_none(const struct pool *p, const struct lane *l)
{
	int row = scaling_row(p, l);

	if (row < 0)
		return WAIT_NO_WORKER;
	if (row_bool(&p->scaling, row, "paused"))
		return WAIT_PAUSED;
	return row_bool(&p->scaling, row, "dry") ? WAIT_QUOTA : WAIT_NO_WORKER;
}

/* Of the workers, what says most; the first one that says so in *worker, -1 = none. */
static enum wait judge(const struct pool *p, const struct place_lane *l, int *worker)
{
	enum wait most = WAIT_NO_WORKER;

	*worker = -1;
	for (int i = 0; i < p->count; i++) {
		enum wait w = why_not(&p->workers[i], l);

		if (w > most) {
			most = w;
			*worker = i;
		}
	}
	return most;
}

enum wait pool_why(const struct pool *p, const struct lane *l)
{
	const struct place_lane one = lane_of(l);
	int worker;
	enum wait most = judge(p, &one, &worker);

	if (most == WAIT_NO_WORKER)
		return why_none(p, l);
	return most == WAIT_BUSY && before_by_share(p, l) ? WAIT_FAIRNESS : most;
}

/* ---- why, in words ---------------------------------------------------------- */

struct most {
	int slots;
	double left; /* seconds, of those with slots enough */
};

/* What the running workers that it may use have at most. */
static struct most most_of(const struct pool *p, const struct place_lane *l)
{
	struct most m = {0};

	for (int i = 0; i < p->count; i++) {
		const struct pool_worker *w = &p->workers[i];
		enum place_fit fit = place_fits(l, &w->place);

		if (!w->running || fit == PLACE_NOT_SHARED || fit == PLACE_ACCELERATOR)
			continue;
		if (w->place.slots > m.slots)
			m.slots = w->place.slots;
		if (w->place.slots >= l->gpus && w->place.seconds_left > m.left)
			m.left = w->place.seconds_left;
	}
	return m;
}

static const char *explain_fit(const struct pool *p, const struct place_lane *l, struct arena *a)
{
	struct most m = most_of(p, l);
	char left[ESTIMATE_TEXT], need[ESTIMATE_TEXT];

	if (m.slots < l->gpus)
		return arena_printf(a, "It asks for %d GPUs at once, and its workers have %d at most. A worker with %d would take it, or ask "
				       "for fewer.", l->gpus, m.slots, l->gpus);
	estimate_text((int64_t)place_needs(l), need);
	estimate_text(m.left > 0 ? (int64_t)m.left : 0, left);
	return arena_printf(a, "It needs %s, and its workers' sessions have %s left at most. A new session would take it, or a smaller "
			       "estimatedSeconds.", need, left);
}

static const char *explain_none(const struct pool *p, const struct lane *l, struct arena *a)
{
	const char *what = *l->accelerator ? l->accelerator : "any accelerator";

	if (scaling_row(p, l) >= 0)
		return arena_printf(a, "No worker with %s runs. Scaling starts one when the queue or the wait is long enough for its policy.", what);
	return arena_printf(a, "No worker with %s that it may use runs. Add or start one, or turn scaling on.", what);
}

static const char *explain_quota(const struct pool *p, const struct lane *l, struct arena *a)
{
	int row = scaling_row(p, l);
	char in[ESTIMATE_TEXT];

	if (row < 0 || row_null(&p->scaling, row, "resets_in"))
		return NULL;
	return arena_printf(a, "No account of its owner's pool has enough %s hours left for a session. The next reset is in %s.",
			    resource_of(l->accelerator), estimate_text((int64_t)row_double(&p->scaling, row, "resets_in"), in));
}

static const char *explain_fairness(const struct pool *p, const struct lane *l, int worker, struct arena *a)
{
	int64_t jobs = before_by_share(p, l);

	if (worker >= 0 && p->workers[worker].kept_for)
		return arena_printf(a, "Its worker's free slots are kept for a job that needs %d at once and has waited for longer.",
				    p->workers[worker].kept_for->gpus);
	return arena_printf(a, "All workers that could take it are busy, and %lld job%s of owners who have used less lately come%s before it.",
			    (long long)jobs, jobs == 1 ? "" : "s", jobs == 1 ? "s" : "");
}

const char *pool_explain(const struct pool *p, const struct lane *l, enum wait why, struct arena *a)
{
	const struct place_lane one = lane_of(l);
	int worker;
	const char *said;

	(void)judge(p, &one, &worker);
	said = worker >= 0 && *p->workers[worker].reason ? p->workers[worker].reason : NULL;
	switch (why) {
	case WAIT_DOES_NOT_FIT: return explain_fit(p, &one, a);
	case WAIT_FAIRNESS: return explain_fairness(p, l, worker, a);
	case WAIT_NO_WORKER: return explain_none(p, l, a);
	case WAIT_NOT_SHARED:
		return "The account of a worker that would do is not shared with its owner. Ask for that, or add a worker of your own.";
	case WAIT_BUSY: return "All workers that could take it are busy.";
	case WAIT_QUOTA: return said ? said : explain_quota(p, l, a);
	case WAIT_PAUSED: return said || worker >= 0 ? said : "Scaling is paused, and no worker that it may use runs.";
	case WAIT_COLD_START:
	case WAIT_NEEDS_HUMAN: return said;
	case WAIT_PREPARING:
	case WAIT_RUN_AFTER:
	case WAIT_RETRY_BACKOFF:
	case WAIT_COUNT: break;
	}
	return NULL;
}
