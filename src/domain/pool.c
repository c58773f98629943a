/* Forecasts and reasons from one look at the workers; see pool.h. */
#include "domain/pool.h"

#include "base/json.h"

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

static const struct json *document(struct pool *p, struct str text)
{
	struct json *j = NULL;

	if (text.len && json_parse(text, SIZE_MAX, &j, NULL) == OK)
		p->documents[p->document_count++] = j;
	return j;
}

static void read_worker(struct pool *p, int i, struct pool_worker *w)
{
	const struct rows *r = &p->rows;
	struct str sharing = row_str(r, i, "sharing"), state = row_str(r, i, "state");
	bool wanted = str_eqz(row_str(r, i, "desired"), "running");

	*w = (struct pool_worker){
		.id = row_i64(r, i, "id"),
		.account_owner = row_i64(r, i, "account_owner"),
		.sharing = str_eqz(sharing, "all") ? SHARING_ALL : str_eqz(sharing, "named") ? SHARING_NAMED : SHARING_NONE,
		.shared_with = document(p, row_str(r, i, "shared_with")),
		.running = wanted && str_eqz(state, "healthy") && str_eqz(row_str(r, i, "session_state"), "running"),
		.otherwise = meaning_of(state, wanted),
		.got = document(p, row_str(r, i, "got")),
		.asked = row_str(r, i, "accelerator"),
		.slots = (int)row_i64(r, i, "slots"),
		.free = (int)row_i64(r, i, "free"),
		.left_seconds = row_null(r, i, "left_seconds") ? -1 : row_double(r, i, "left_seconds"),
	};
}

enum err pool_look(struct db *db, struct arena *a, struct pool *ret, struct error *e)
{
	enum err err;

	*ret = (struct pool){0};
	err = db_run(db, STMT_POOL_LOOK, NO_ARGS, &ret->rows, e);
	if (err)
		return err;
	ret->count = rows_count(&ret->rows);
	ret->workers = arena_array(a, (size_t)ret->count, sizeof(*ret->workers));
	ret->documents = arena_array(a, 2 * (size_t)ret->count, sizeof(*ret->documents));
	if (!ret->workers || !ret->documents) {
		ret->count = 0;
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	}
	for (int i = 0; i < ret->count; i++)
		read_worker(ret, i, &ret->workers[i]);
	return OK;
}

void pool_free(struct pool *p)
{
	for (int i = 0; i < p->document_count; i++)
		json_free(p->documents[i]);
	p->document_count = 0;
	rows_free(&p->rows);
}

/* ---- may, fits, free ------------------------------------------------------ */

static bool may_use(const struct pool_worker *w, int64_t owner)
{
	if (w->account_owner == owner || w->sharing == SHARING_ALL)
		return true;
	if (w->sharing == SHARING_NAMED)
		for (size_t i = 0; i < json_len(w->shared_with); i++)
			if (json_as_i64(json_at(w->shared_with, i), 0) == owner)
				return true;
	return false;
}

/* By what the session got; before there is one, by what was asked. */
static bool kind_matches(const struct pool_worker *w, const struct lane *l)
{
	if (!json_len(w->got))
		return accelerator_accepts(l->accelerator, w->asked);
	for (size_t i = 0; i < json_len(w->got); i++)
		if (accelerator_accepts(l->accelerator, json_as_str(json_at(w->got, i))))
			return true;
	return false;
}

static bool fits(const struct pool_worker *w, const struct lane *l, int64_t seconds)
{
	return w->slots >= l->gpus && (w->left_seconds < 0 || w->left_seconds >= (double)seconds);
}

static enum wait why_not(const struct pool_worker *w, const struct lane *l, int64_t seconds)
{
	if (!kind_matches(w, l))
		return WAIT_NO_WORKER;
	if (!may_use(w, l->owner))
		return w->running ? WAIT_NOT_SHARED : WAIT_NO_WORKER;
	if (!w->running)
		return w->otherwise;
	if (!fits(w, l, seconds))
		return WAIT_DOES_NOT_FIT;
	return w->free >= l->gpus ? WAIT_PREPARING : WAIT_BUSY;
}

int64_t pool_take(struct pool *p, const struct lane *l, int64_t estimated_seconds)
{
	for (int i = 0; i < p->count; i++)
		if (why_not(&p->workers[i], l, estimated_seconds) == WAIT_PREPARING) {
			p->workers[i].free -= l->gpus;
			return p->workers[i].id;
		}
	return 0;
}

enum wait pool_why(const struct pool *p, const struct lane *l, int64_t estimated_seconds)
{
	enum wait most = WAIT_NO_WORKER;

	for (int i = 0; i < p->count; i++) {
		enum wait one = why_not(&p->workers[i], l, estimated_seconds);

		if (one > most)
			most = one;
	}
	return most;
}
