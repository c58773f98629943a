/* Which workers to start and to stop; see domain/autoscaler.h. */
#include "domain/autoscaler_round.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const action_names[SCALE_ACTION_COUNT] = {
	[SCALE_START] = "start", [SCALE_CREATE] = "create", [SCALE_DRAIN] = "drain", [SCALE_STOP] = "stop"};

static const struct {
	const char *name, *sentence;
} codes[SCALE_CODE_COUNT] = {
#define X(id, name, sentence) [SCALE_##id] = {name, sentence},
	SCALE_CODES(X)
#undef X
};

const char *scale_action_name(enum scale_action a)
{
	return action_names[a];
}

const char *scale_code_name(enum scale_code c)
{
	return codes[c].name;
}

const char *scale_code_sentence(enum scale_code c)
{
	return codes[c].sentence;
}

/* ---- workers -------------------------------------------------------------------- */

static enum strength strength_of(const struct scale_worker *w)
{
	static const char *const coming[] = {"stopped", "starting", "stopping", "unhealthy"};

	if (!w->wanted || w->then_stop || eq(w->session_state, "draining"))
		return STRENGTH_NONE;
	if (w->registered && eq(w->state, "healthy") && eq(w->session_state, "running"))
		return STRENGTH_READY;
	for (size_t i = 0; i < ARRAY_LEN(coming); i++)
		if (eq(w->state, coming[i]))
			return STRENGTH_COMING;
	return STRENGTH_NONE;
}

static void look_at(struct round *r, size_t i)
{
	const struct scale_worker *w = &r->s->workers[i];
	struct hand *h = &r->hands[i];
	const struct scale_account *account;

	*h = (struct hand){.account = scale_account_find(r->s, w->account_id), .pool = -1, .cover = -1};
	if (h->account < 0)
		return;
	account = &r->s->accounts[h->account];
	h->strength = strength_of(w);
	h->place = (struct place_worker){
		.owner_id = account->owner_id,
		.got = w->got,
		.free = h->strength == STRENGTH_READY && w->slots > w->busy ? (int)(w->slots - w->busy) : 0,
		.seconds_left = w->left_s < 0 ? INFINITY : (double)w->left_s,
		.sharing = account->sharing,
		.shared_with = account->shared_with,
		.shared_count = account->shared_count,
	};
}

static bool counts_as_running(const struct scale_worker *w)
{
	return w->wanted && !w->then_stop && !eq(w->session_state, "draining");
}

/* ---- lanes ------------------------------------------------------------------------- */

static int by_urgency(const void *x, const void *y)
{
	const struct queue *a = x, *b = y;

	if (a->priority != b->priority)
		return a->priority > b->priority ? -1 : 1;
	if (a->waited_s != b->waited_s)
		return a->waited_s > b->waited_s ? -1 : 1;
	return a->id < b->id ? -1 : a->id > b->id;
}

/* The policy that a lane counts for; SCALE_NONE = none. */
static int64_t policy_of(const struct round *r, const bool *const *allowed, const struct scale_lane *l)
{
	for (size_t p = 0; p < r->s->policy_count; p++)
		if (r->s->policies[p].owner_id == l->owner_id)
			return (int64_t)p;
	for (size_t p = 0; p < r->s->policy_count; p++)
		for (size_t a = 0; a < r->s->account_count; a++)
			if (allowed[p][a] && scale_may_use(&r->s->accounts[a], l->owner_id))
				return (int64_t)p;
	return SCALE_NONE;
}

static void gather_lanes(struct round *r)
{
	r->queue_count = 0;
	for (size_t i = 0; i < r->s->lane_count; i++) {
		const struct scale_lane *l = &r->s->lanes[i];

		if (r->ret->waits[i].policy == (int64_t)r->policy && l->depth > 0)
			r->queue[r->queue_count++] = (struct queue){.lane = i, .priority = l->priority, .waited_s = l->waited_s,
								    .id = l->id, .uncovered = l->depth};
	}
	qsort(r->queue, r->queue_count, sizeof(*r->queue), by_urgency);
}

/* ---- what is covered already -------------------------------------------------------- */

static void cover_now(struct round *r, struct hand *h)
{
	for (size_t q = 0; q < r->queue_count && h->place.free > 0; q++) {
		const struct scale_lane *l = &r->s->lanes[r->queue[q].lane];
		const struct place_lane lane = scale_place_lane(l);
		int64_t n;

		if (!r->queue[q].uncovered || place_fits(&lane, &h->place) != PLACE_FITS)
			continue;
		n = h->place.free / (l->gpus > 0 ? l->gpus : 1);
		if (n > r->queue[q].uncovered)
			n = r->queue[q].uncovered;
		r->queue[q].uncovered -= n;
		r->ret->waits[r->queue[q].lane].now += n;
		h->place.free -= (int)(n * (l->gpus > 0 ? l->gpus : 1));
		h->touched = true;
	}
}

static int64_t cover_soon(struct round *r, const struct arriving *w, int64_t cover, int64_t at_ms, enum scale_code code)
{
	for (size_t q = 0; q < r->queue_count && cover > 0; q++) {
		struct scale_wait *wait = &r->ret->waits[r->queue[q].lane];
		int64_t n = r->queue[q].uncovered < cover ? r->queue[q].uncovered : cover;

		if (!n || !scale_will_do(r, w, &r->s->lanes[r->queue[q].lane]))
			continue;
		if (!wait->soon || at_ms < wait->soon_ms) {
			wait->soon_ms = at_ms;
			wait->soon_code = code;
		}
		wait->soon += n;
		cover -= n;
		r->queue[q].uncovered -= n;
		if (r->queue[q].startable) {
			r->uncovered -= n;
			r->work_s -= n * r->s->lanes[r->queue[q].lane].estimate_s;
		}
	}
	return cover;
}

static int64_t cover_of_one(const struct scale_policy *p)
{
	return p->threshold > 1 ? p->threshold : 1;
}

static void cover_with_workers(struct round *r)
{
	for (size_t i = 0; i < r->s->worker_count; i++)
		if (r->hands[i].strength == STRENGTH_READY)
			cover_now(r, &r->hands[i]);
	for (size_t i = 0; i < r->s->worker_count; i++) {
		struct hand *h = &r->hands[i];
		struct arriving it;

		/* What was started for one policy's need is not counted for another's. */
		if (h->strength != STRENGTH_COMING || (h->pool >= 0 && h->pool != (ptrdiff_t)r->policy))
			continue;
		if (h->cover < 0)
			h->cover = cover_of_one(r->p);
		it = (struct arriving){.account = (size_t)h->account, .accelerator = r->s->workers[i].accelerator, .got = r->s->workers[i].got,
				       .slots = r->s->workers[i].slots, .left_s = r->s->workers[i].left_s};
		h->cover = cover_soon(r, &it, h->cover, r->s->now_ms + r->s->accounts[h->account].cold_s * 1000, SCALE_COLD_START);
	}
}

/* ---- decisions ------------------------------------------------------------------------ */

static struct scale_decision *add(struct round *r, const struct scale_decision *d)
{
	struct scale_result *ret = r->ret;

	if (ret->count == r->cap) {
		size_t cap = r->cap ? r->cap * 2 : 64;
		struct scale_decision *more = arena_array(r->a, cap, sizeof(*more));

		if (!more) {
			r->full = true;
			return NULL;
		}
		if (ret->count)
			memcpy(more, ret->decisions, ret->count * sizeof(*more));
		ret->decisions = more;
		r->cap = cap;
	}
	ret->decisions[ret->count] = *d;
	return &ret->decisions[ret->count++];
}

/* Starts one, and counts on it for what it can take. */
static void start_at(struct round *r, const struct place *p, enum scale_code code, int64_t due_ms)
{
	const struct scale_account *account = &r->s->accounts[p->account];
	struct scale_decision d = {
		.action = p->worker < 0 ? SCALE_CREATE : SCALE_START,
		.code = code,
		.owner_id = r->p->owner_id,
		.worker_id = p->worker < 0 ? 0 : r->s->workers[p->worker].id,
		.version = p->worker < 0 ? 0 : r->s->workers[p->worker].version,
		.account_id = account->id,
		.provider = account->provider,
		.accelerator = p->accelerator,
		.due_ms = due_ms,
		.reserves_s = p->resource ? p->reserves_s : SCALE_NONE,
		.remaining_s = SCALE_NONE,
		.queued = r->uncovered,
		.running = r->running,
	};
	const struct arriving it = {
		.account = (size_t)p->account,
		.accelerator = p->accelerator,
		.got = p->worker < 0 ? "" : r->s->workers[p->worker].got,
		.slots = p->worker < 0 ? 0 : r->s->workers[p->worker].slots,
		.left_s = p->reserves_s,
	};

	if (p->resource && p->resource->left_s >= 0) {
		p->resource->left_s -= p->reserves_s;
		d.remaining_s = p->resource->left_s;
	}
	if (p->resource && p->resource->slots > 0)
		p->resource->slots--;
	if (p->worker >= 0)
		r->hands[p->worker].used = true;
	r->running++;
	r->slots++;
	add(r, &d);
	cover_soon(r, &it, cover_of_one(r->p), (due_ms ? due_ms : r->s->now_ms) + account->cold_s * 1000,
		   due_ms ? SCALE_UP_DELAY : SCALE_COLD_START);
}

static void take_down(struct round *r, size_t worker, enum scale_action action, enum scale_code code)
{
	const struct scale_worker *w = &r->s->workers[worker];

	add(r, &(struct scale_decision){.action = action, .code = code, .owner_id = r->p->owner_id, .worker_id = w->id,
					.version = w->version, .account_id = w->account_id,
					.provider = r->s->accounts[r->hands[worker].account].provider, .accelerator = w->accelerator,
					.reserves_s = SCALE_NONE, .remaining_s = SCALE_NONE, .queued = r->uncovered, .running = r->running});
	r->hands[worker].used = true;
	r->running--;
}

/* ---- up --------------------------------------------------------------------------------- */

/* Whether what waits calls for one more worker, seen from one lane; *code says why. */
static bool wants_more(const struct round *r, const struct queue *q, enum scale_code *code)
{
	const struct scale_lane *l = &r->s->lanes[q->lane];

	if (!q->startable || !q->uncovered)
		return false;
	if (r->uncovered > r->p->threshold)
		*code = SCALE_QUEUE;
	else if (l->waited_s > r->p->target_wait_s)
		*code = SCALE_WAIT;
	else if (l->estimate_s && r->work_s / (r->slots > 0 ? r->slots : 1) > r->p->target_wait_s)
		*code = SCALE_WORK;
	else
		return false;
	return true;
}

static void rest_waits(struct round *r, const struct queue *q, const struct place *p)
{
	struct scale_wait *w = &r->ret->waits[q->lane];

	w->code = p->code;
	w->code_name = p->blocked ? p->blocked : scale_code_name(p->code);
	w->why = p->why ? p->why : scale_code_sentence(p->code);
	w->later_ms = p->until_ms;
}

/* What could be started for at all, and whether anything calls for it. */
static bool survey(struct round *r)
{
	bool any = false;
	enum scale_code code;

	r->uncovered = r->work_s = 0;
	for (size_t q = 0; q < r->queue_count; q++) {
		const struct scale_lane *l = &r->s->lanes[r->queue[q].lane];
		struct place p;

		if (!r->queue[q].uncovered)
			continue;
		p = scale_place(r, l);
		r->queue[q].startable = p.account >= 0;
		if (p.account < 0) {
			rest_waits(r, &r->queue[q], &p);
			continue;
		}
		rest_waits(r, &r->queue[q], &(struct place){.code = SCALE_BELOW, .until_ms = r->s->now_ms + (r->p->target_wait_s - l->waited_s +
			r->p->up_delay_s + r->s->accounts[p.account].cold_s) * 1000});
		r->uncovered += r->queue[q].uncovered;
		r->work_s += r->queue[q].uncovered * l->estimate_s;
	}
	for (size_t q = 0; q < r->queue_count; q++)
		any |= wants_more(r, &r->queue[q], &code);
	return any;
}

static void grow_for(struct round *r, struct queue *q, int64_t due_ms)
{
	const struct scale_lane *l = &r->s->lanes[q->lane];
	enum scale_code code;

	while (!r->full && wants_more(r, q, &code)) {
		struct place p;

		if (r->running >= r->p->max) {
			rest_waits(r, q, &(struct place){.code = SCALE_MAX});
			return;
		}
		p = scale_place(r, l);
		if (p.account < 0) {
			rest_waits(r, q, &p);
			q->startable = false;
			r->uncovered -= q->uncovered;
			r->work_s -= q->uncovered * l->estimate_s;
			return;
		}
		start_at(r, &p, code, due_ms);
	}
}

/* Since when; and when what it is good for is due, 0 = now. */
static int64_t due(int64_t now_ms, int64_t *since_ms, int64_t before_ms, int64_t delay_s)
{
	*since_ms = before_ms && before_ms <= now_ms ? before_ms : now_ms;
	return *since_ms + delay_s * 1000 > now_ms ? *since_ms + delay_s * 1000 : 0;
}

static void grow(struct round *r)
{
	struct scale_since *since = &r->ret->since[r->policy];
	const struct scale_lane keep = {.owner_id = r->p->owner_id, .accelerator = r->p->accelerator, .gpus = 1};
	int64_t due_ms;

	while (!r->full && r->running < r->p->min) {
		struct place p = scale_place(r, &keep);

		if (p.account < 0)
			break;
		start_at(r, &p, SCALE_MIN, 0);
	}
	if (!survey(r))
		return;
	due_ms = due(r->s->now_ms, &since->up_ms, r->p->up_since_ms, r->p->up_delay_s);
	for (size_t q = 0; q < r->queue_count; q++)
		grow_for(r, &r->queue[q], due_ms);
}

/* ---- down --------------------------------------------------------------------------------- */

/* One that could go, the best first. */
struct spare {
	size_t worker;
	int rank; /* neither there nor on its way; idle; on its way; busy */
	int64_t first, second;
};

static int by_rank(const void *x, const void *y)
{
	const struct spare *a = x, *b = y;

	if (a->rank != b->rank)
		return a->rank < b->rank ? -1 : 1;
	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	return a->second < b->second ? -1 : a->second > b->second;
}

static bool holds_nothing(const struct scale_worker *w)
{
	return !w->leases && !w->busy;
}

static bool spare_of(const struct round *r, size_t i, struct spare *ret)
{
	const struct scale_worker *w = &r->s->workers[i];
	const struct hand *h = &r->hands[i];

	if (!scale_in_pool(r, i) || !counts_as_running(w) || h->used || !r->s->accounts[h->account].startable)
		return false;
	*ret = (struct spare){.worker = i, .second = -w->id};
	if (!holds_nothing(w))
		*ret = (struct spare){.worker = i, .rank = 3, .first = w->leases, .second = -w->id};
	else if (h->strength == STRENGTH_READY)
		*ret = (struct spare){.worker = i, .rank = 1, .first = w->idle_since_ms, .second = -w->id};
	else if (h->strength == STRENGTH_COMING)
		ret->rank = 2;
	return true;
}

static size_t gather_spares(struct round *r, struct spare **ret)
{
	size_t count = 0;
	struct spare *list = arena_array(r->a, r->s->worker_count + 1, sizeof(*list));

	*ret = list;
	if (!list) {
		r->full = true;
		return 0;
	}
	for (size_t i = 0; i < r->s->worker_count; i++)
		count += spare_of(r, i, &list[count]);
	qsort(list, count, sizeof(*list), by_rank);
	return count;
}

static void shrink(struct round *r)
{
	struct scale_since *since = &r->ret->since[r->policy];
	struct spare *spares;
	size_t count = gather_spares(r, &spares);
	int64_t due_ms = -1;

	for (size_t i = 0; i < count && r->running > r->p->max; i++)
		take_down(r, spares[i].worker, spares[i].rank == 3 ? SCALE_DRAIN : SCALE_STOP, SCALE_ABOVE_MAX);
	for (size_t i = 0; i < count && r->running > r->p->min; i++) {
		const struct scale_worker *w = &r->s->workers[spares[i].worker];
		const struct hand *h = &r->hands[spares[i].worker];

		if (spares[i].rank != 1 || h->used || h->touched || !r->p->idle_stop_s || !w->idle_since_ms)
			continue;
		if (due_ms < 0)
			due_ms = due(r->s->now_ms, &since->down_ms, r->p->down_since_ms, r->p->down_delay_s);
		if (!due_ms && r->s->now_ms - w->idle_since_ms >= r->p->idle_stop_s * 1000)
			take_down(r, spares[i].worker, SCALE_STOP, SCALE_IDLE);
	}
}

/* ---- a round --------------------------------------------------------------------------------- */

static void allow(const struct scale_snapshot *s, const struct scale_policy *p, bool *ret)
{
	for (size_t i = 0; i < s->account_count; i++)
		ret[i] = !p->account_count && scale_may_use(&s->accounts[i], p->owner_id);
	for (size_t i = 0; i < p->account_count; i++) {
		ptrdiff_t account = scale_account_find(s, p->accounts[i]);

		if (account >= 0)
			ret[account] = scale_may_use(&s->accounts[account], p->owner_id);
	}
}

static void one_policy(struct round *r, bool *allowed)
{
	r->p = &r->s->policies[r->policy];
	r->allowed = allowed;
	r->first_stopped = 0;
	r->running = r->slots = r->uncovered = r->work_s = 0;
	for (size_t i = 0; i < r->s->worker_count; i++)
		if (scale_in_pool(r, i)) {
			r->running += counts_as_running(&r->s->workers[i]);
			/* One that is on its way has at least one slot: what is left is divided by that, too. */
			r->slots += r->hands[i].strength == STRENGTH_READY ? r->s->workers[i].slots : r->hands[i].strength == STRENGTH_COMING;
		}
	gather_lanes(r);
	cover_with_workers(r);
	if (r->p->paused) {
		for (size_t q = 0; q < r->queue_count; q++)
			rest_waits(r, &r->queue[q], &(struct place){.code = SCALE_PAUSED});
		return;
	}
	grow(r);
	shrink(r);
}

/* To whose pool each worker belongs. */
static void find_pools(struct round *r, bool *const *allowed)
{
	for (size_t p = 0; p < r->s->policy_count; p++)
		for (size_t i = 0; i < r->s->worker_count; i++) {
			struct hand *h = &r->hands[i];

			if (h->account >= 0 && r->s->workers[i].owner_id == r->s->policies[p].owner_id && allowed[p][h->account])
				h->pool = (ptrdiff_t)p;
		}
}

static bool **allow_all(struct round *r)
{
	const struct scale_snapshot *s = r->s;
	bool **ret = arena_array(r->a, s->policy_count + 1, sizeof(*ret));

	for (size_t p = 0; ret && p < s->policy_count; p++) {
		ret[p] = arena_array(r->a, s->account_count + 1, sizeof(bool));
		if (!ret[p])
			return NULL;
		allow(s, &s->policies[p], ret[p]);
	}
	return ret;
}

/* It takes the next place and hours that there are: also one that waits for them, on which nothing counts until then. */
static bool will_reserve(const struct scale_worker *w, enum strength strength)
{
	return !w->session_state[0] && (strength == STRENGTH_COMING || (w->wanted && eq(w->state, "waiting")));
}

static bool prepare(struct round *r)
{
	const struct scale_snapshot *s = r->s;

	r->hands = arena_array(r->a, s->worker_count + 1, sizeof(*r->hands));
	r->left = arena_array(r->a, s->account_count + 1, sizeof(*r->left));
	r->queue = arena_array(r->a, s->lane_count + 1, sizeof(*r->queue));
	r->ret->waits = arena_array(r->a, s->lane_count + 1, sizeof(*r->ret->waits));
	r->ret->since = arena_array(r->a, s->policy_count + 1, sizeof(*r->ret->since));
	r->evidence = arena_array(r->a, SCALE_EVIDENCE, sizeof(*r->evidence));
	r->broken = arena_array(r->a, s->account_count + 1, sizeof(*r->broken));
	if (!r->evidence || !r->broken || !r->hands || !r->left || !r->queue || !r->ret->waits || !r->ret->since)
		return false;
	for (size_t i = 0; i < s->account_count; i++)
		memcpy(r->left[i], s->accounts[i].resources, sizeof(r->left[i]));
	for (size_t i = 0; i < s->worker_count; i++) {
		look_at(r, i);
		scale_learn(r, i);
	}
	for (size_t i = 0; i < s->worker_count; i++)
		if (r->hands[i].account >= 0 && will_reserve(&s->workers[i], r->hands[i].strength))
			scale_reserve_for(r, i);
	return true;
}

enum err autoscaler_decide(const struct scale_snapshot *s, struct arena *a, struct scale_result *ret, struct error *e)
{
	struct round r = {.s = s, .a = a, .ret = ret};
	bool **allowed;

	*ret = (struct scale_result){0};
	allowed = prepare(&r) ? allow_all(&r) : NULL;
	if (!allowed)
		return error_set(e, ERR_TOO_LARGE, "The pool is too large for one round.");
	find_pools(&r, allowed);
	for (size_t i = 0; i < s->lane_count; i++) {
		struct scale_wait *w = &ret->waits[i];

		w->policy = policy_of(&r, (const bool *const *)allowed, &s->lanes[i]);
		w->code = w->policy < 0 ? SCALE_NO_POLICY : SCALE_PREPARING;
		w->code_name = scale_code_name(w->code);
		w->why = scale_code_sentence(w->code);
	}
	for (r.policy = 0; r.policy < s->policy_count; r.policy++)
		one_policy(&r, allowed[r.policy]);
	return r.full ? error_set(e, ERR_TOO_LARGE, "The pool is too large for one round.") : OK;
}
