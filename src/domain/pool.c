/* Forecasts and reasons from one look at the workers; see pool.h. */
#include "domain/pool.h"

#include <math.h>

#include "domain/estimate.h"

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

static void read_worker(const struct rows *r, int i, struct arena *a, struct pool_worker *w)
{
	bool wanted = str_eqz(row_str(r, i, "desired"), "running"), registered = row_str(r, i, "got").len > 0;
	struct str state = row_str(r, i, "state");

	*w = (struct pool_worker){
		.id = row_i64(r, i, "id"),
		.running = wanted && str_eqz(state, "healthy") && str_eqz(row_str(r, i, "session_state"), "running"),
		.otherwise = meaning_of(state, wanted),
		.slots = (int)row_i64(r, i, "slots"),
		.place = {
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
	p->count = 0;
}

/* ---- one job against each worker ------------------------------------------ */

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
		return l->gpus > w->slots ? WAIT_DOES_NOT_FIT : WAIT_BUSY;
	case PLACE_FITS: return w->running ? WAIT_PREPARING : w->otherwise;
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

enum wait pool_why(const struct pool *p, const struct lane *l)
{
	const struct place_lane one = lane_of(l);
	enum wait most = WAIT_NO_WORKER;

	for (int i = 0; i < p->count; i++) {
		enum wait w = why_not(&p->workers[i], &one);

		if (w > most)
			most = w;
	}
	return most;
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
		if (w->slots > m.slots)
			m.slots = w->slots;
		if (w->slots >= l->gpus && w->place.seconds_left > m.left)
			m.left = w->place.seconds_left;
	}
	return m;
}

const char *pool_explain(const struct pool *p, const struct lane *l, enum wait why, struct arena *a)
{
	const struct place_lane one = lane_of(l);
	struct most m;
	char left[ESTIMATE_TEXT], need[ESTIMATE_TEXT];

	if (why != WAIT_DOES_NOT_FIT)
		return NULL;
	m = most_of(p, &one);
	if (m.slots < l->gpus)
		return arena_printf(a, "It asks for %d GPUs at once, and its workers have %d at most. A worker with %d would take it, or ask "
				       "for fewer.", l->gpus, m.slots, l->gpus);
	estimate_text((int64_t)place_needs(&one), need);
	estimate_text(m.left > 0 ? (int64_t)m.left : 0, left);
	return arena_printf(a, "It needs %s, and its workers' sessions have %s left at most. A new session would take it, or a smaller "
			       "estimatedSeconds.", need, left);
}
