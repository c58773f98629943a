/* Which waiting jobs go to which workers; see domain/placement.h. */
#include "domain/placement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What an unknown job is taken for, seconds. */
static const double cost_usual = 60;

static const char *const fit_names[PLACE_FIT_COUNT] = {
	[PLACE_FITS] = "fits",
	[PLACE_NOT_SHARED] = "not_shared",
	[PLACE_ACCELERATOR] = "accelerator",
	[PLACE_TOO_BIG] = "too_big",
	[PLACE_TIME] = "time_left",
	[PLACE_BUSY] = "busy",
};

static const char *const why_names[PLACE_WHY_COUNT] = {
	[PLACE_ONLY] = "only",
	[PLACE_PRIORITY] = "priority",
	[PLACE_FAIR] = "fair_share",
	[PLACE_OLDEST] = "oldest",
};

const char *place_fit_name(enum place_fit f)
{
	return fit_names[f];
}

const char *place_why_name(enum place_why w)
{
	return why_names[w];
}

/* ---- eligibility ---- */

/* People write "t4", too. */
static bool list_has(struct str list, struct str name)
{
	struct str one;

	while (str_cut(&list, ',', &one))
		if (one.len == name.len && !strncasecmp(one.ptr, name.ptr, name.len))
			return true;
	return false;
}

bool place_matches(const char *accelerator, const char *got)
{
	struct str wanted = str_of(accelerator), one;

	if (!wanted.len)
		return true;
	while (str_cut(&wanted, ',', &one))
		if (list_has(str_of(got), one))
			return true;
	return false;
}

static bool may_use(const struct place_lane *l, const struct place_worker *w)
{
	if (l->owner_id == w->owner_id || w->sharing == PLACE_SHARED_ALL)
		return true;
	for (size_t i = 0; w->sharing == PLACE_SHARED_NAMED && i < w->shared_count; i++)
		if (w->shared_with[i] == l->owner_id)
			return true;
	return false;
}

double place_needs(const struct place_lane *l)
{
	double need = l->resumes && l->estimate_s > PLACE_RESUME_S ? PLACE_RESUME_S : l->estimate_s;

	return need > PLACE_TIME_LEFT_S ? need : PLACE_TIME_LEFT_S;
}

enum place_fit place_fits(const struct place_lane *l, const struct place_worker *w)
{
	if (!may_use(l, w))
		return PLACE_NOT_SHARED;
	if (!place_matches(l->accelerator, w->got))
		return PLACE_ACCELERATOR;
	if (w->seconds_left < place_needs(l))
		return PLACE_TIME;
	if (l->gpus > w->free)
		return w->free ? PLACE_TOO_BIG : PLACE_BUSY;
	return PLACE_FITS;
}

double place_cost(const struct place_lane *l)
{
	return l->estimate_s > 0 ? l->estimate_s : l->cost_s > 0 ? l->cost_s : cost_usual;
}

/* ---- the snapshot, indexed ---- */

/* Lists of names that occur, so that each pair is compared once. */
struct names {
	const char **texts;
	size_t count;
};

struct owner {
	int64_t id;
	double used, weight;
	bool holds; /* slots are kept for a lane of theirs */
};

struct candidate {
	size_t lane, owner, accelerator;
	int64_t depth;
	int class;
	bool no_keep; /* there is no worker that could be kept for it */
};

struct choice {
	const struct place_weights *weights;
	const struct place_lane *lanes;
	const struct place_worker *workers;
	struct place_lane *lanes_out;
	int *free;
	size_t *kept;           /* for which lane the free slots of each worker are: its index + 1, 0 = for any */
	size_t *got;            /* of each worker, in gots */
	size_t *open;           /* workers that have something free */
	size_t open_count;
	int most_free;
	struct names accelerators, gots;
	bool *matches;          /* accelerator * gots.count + got */
	struct owner *owners;
	size_t owner_count;
	struct candidate *candidates;
	size_t count;
};

static size_t name_index(struct names *n, const char *text)
{
	/* What is asked last is often asked again. */
	for (size_t i = n->count; i-- > 0;)
		if (n->texts[i] == text || !strcmp(n->texts[i], text))
			return i;
	n->texts[n->count] = text;
	return n->count++;
}

static int by_owner(const void *a, const void *b)
{
	const struct owner *x = a, *y = b;

	return (x->id > y->id) - (x->id < y->id);
}

static size_t owner_index(const struct choice *c, int64_t id)
{
	const struct owner key = {.id = id};

	return (size_t)((const struct owner *)bsearch(&key, c->owners, c->owner_count, sizeof(key), by_owner) - c->owners);
}

static void index_owners(struct choice *c, size_t lane_count)
{
	size_t kept = 0;

	for (size_t i = 0; i < lane_count; i++)
		c->owners[i] = (struct owner){.id = c->lanes[i].owner_id, .used = c->lanes[i].used_s,
					      .weight = c->lanes[i].weight > 0 ? c->lanes[i].weight : 1};
	qsort(c->owners, lane_count, sizeof(*c->owners), by_owner);
	for (size_t i = 0; i < lane_count; i++)
		if (!kept || c->owners[kept - 1].id != c->owners[i].id)
			c->owners[kept++] = c->owners[i];
	c->owner_count = kept;
}

static int class_of(const struct place_lane *l)
{
	int class = l->priority + (int)(l->waited_s / PLACE_AGEING_S);

	return class < PLACE_CLASS_MOST ? class : PLACE_CLASS_MOST;
}

static void index_lanes(struct choice *c, size_t lane_count)
{
	index_owners(c, lane_count);
	for (size_t i = 0; i < lane_count; i++) {
		const struct place_lane *l = &c->lanes[i];

		if (l->depth > 0)
			c->candidates[c->count++] = (struct candidate){
				.lane = i,
				.owner = owner_index(c, l->owner_id),
				.accelerator = name_index(&c->accelerators, l->accelerator),
				.depth = l->depth,
				.class = class_of(l),
			};
	}
}

static void index_workers(struct choice *c, size_t worker_count)
{
	for (size_t w = 0; w < worker_count; w++) {
		c->free[w] = c->workers[w].free;
		c->got[w] = name_index(&c->gots, c->workers[w].got);
		if (c->free[w] > 0)
			c->open[c->open_count++] = w;
		if (c->free[w] > c->most_free)
			c->most_free = c->free[w];
	}
}

static bool index_all(struct choice *c, size_t lane_count, size_t worker_count, struct arena *a)
{
	size_t lanes = lane_count + 1, workers = worker_count + 1;

	c->free = arena_array(a, workers, sizeof(*c->free));
	c->kept = arena_array(a, workers, sizeof(*c->kept));
	c->got = arena_array(a, workers, sizeof(*c->got));
	c->open = arena_array(a, workers, sizeof(*c->open));
	c->gots.texts = arena_array(a, workers, sizeof(*c->gots.texts));
	c->accelerators.texts = arena_array(a, lanes, sizeof(*c->accelerators.texts));
	c->owners = arena_array(a, lanes, sizeof(*c->owners));
	c->candidates = arena_array(a, lanes, sizeof(*c->candidates));
	if (!c->free || !c->kept || !c->got || !c->open || !c->gots.texts || !c->accelerators.texts || !c->owners || !c->candidates)
		return false;
	index_lanes(c, lane_count);
	index_workers(c, worker_count);
	c->matches = arena_array(a, c->accelerators.count * c->gots.count + 1, sizeof(*c->matches));
	if (!c->matches)
		return false;
	for (size_t i = 0; i < c->accelerators.count; i++)
		for (size_t k = 0; k < c->gots.count; k++)
			c->matches[i * c->gots.count + k] = place_matches(c->accelerators.texts[i], c->gots.texts[k]);
	return true;
}

/* ---- a worker for a lane ---- */

/* 0…1: a known job closes a gap at a session's end; an unknown one may be long. */
static double time_value(const struct place_lane *l, double left)
{
	if (l->estimate_s > 0 && !l->resumes)
		return isinf(left) ? 0 : place_needs(l) / left;
	return isinf(left) ? 1 : left / (left + PLACE_RESUME_S);
}

static double value_of(const struct choice *c, const struct place_lane *l, size_t w)
{
	const struct place_worker *worker = &c->workers[w];
	double day = 86400, value = 0;

	value += c->weights->own * (l->owner_id == worker->owner_id);
	value += c->weights->time * time_value(l, worker->seconds_left);
	value += c->weights->expiry * (worker->hours_end_s > 0 ? day / (day + worker->hours_end_s) : 0);
	return value + c->weights->load * c->free[w] / c->most_free;
}

static bool usable(const struct choice *c, const struct candidate *k, const struct place_lane *l, size_t w)
{
	return c->free[w] >= l->gpus && (!c->kept[w] || c->kept[w] == k->lane + 1) && c->matches[k->accelerator * c->gots.count + c->got[w]] &&
	       c->workers[w].seconds_left >= place_needs(l) && may_use(l, &c->workers[w]);
}

/* Of the workers that may take it that of the highest value, the first of equals; -1 = none.  *others counts the rest. */
static ptrdiff_t best_worker(const struct choice *c, const struct candidate *k, int *others)
{
	const struct place_lane *l = &c->lanes[k->lane];
	ptrdiff_t best = -1;
	double most = 0;

	*others = -1;
	for (size_t i = 0; i < c->open_count; i++) {
		size_t w = c->open[i];
		double value;

		if (!usable(c, k, l, w))
			continue;
		++*others;
		if (c->kept[w])
			return (ptrdiff_t)w;
		value = value_of(c, l, w);
		if (best < 0 || value > most || (value >= most && w < (size_t)best)) {
			best = (ptrdiff_t)w;
			most = value;
		}
	}
	return best;
}

static void take(struct choice *c, size_t worker, int gpus)
{
	c->free[worker] -= gpus;
	for (size_t i = 0; !c->free[worker] && i < c->open_count; i++)
		if (c->open[i] == worker) {
			c->open[i] = c->open[--c->open_count];
			return;
		}
}

/* ---- slots that are kept ---- */

/* Among the workers that could hold it at all, that which has most free already: what is kept gets only more. */
static ptrdiff_t worker_to_keep(const struct choice *c, const struct candidate *k)
{
	const struct place_lane *l = &c->lanes[k->lane];
	ptrdiff_t best = -1;

	for (size_t i = 0; i < c->open_count; i++) {
		size_t w = c->open[i];
		const struct place_worker *worker = &c->workers[w];

		if (worker->slots < l->gpus || c->kept[w] || !c->matches[k->accelerator * c->gots.count + c->got[w]] ||
		    worker->seconds_left < place_needs(l) || !may_use(l, worker))
			continue;
		if (best < 0 || c->free[w] > c->free[best] || (c->free[w] == c->free[best] && worker->session_id < c->workers[best].session_id))
			best = (ptrdiff_t)w;
	}
	return best;
}

/* Of those that may have slots kept, the longest wait; NULL = none is left. */
static struct candidate *next_to_keep(const struct choice *c)
{
	struct candidate *next = NULL;

	for (size_t i = 0; i < c->count; i++) {
		struct candidate *k = &c->candidates[i];
		const struct place_lane *l = &c->lanes[k->lane];

		if (l->gpus > 1 && l->waited_s >= c->weights->hold_s && !k->no_keep && !c->owners[k->owner].holds &&
		    (!next || l->waited_s > c->lanes[next->lane].waited_s))
			next = k;
	}
	return next;
}

static void keep_slots(struct choice *c, size_t worker_count)
{
	struct candidate *k;
	size_t most = 0;

	if (!(c->weights->hold_s > 0))
		return;
	for (size_t w = 0; w < worker_count; w++)
		most += c->workers[w].slots > 1;
	for (most = (most + 3) / 4; most && (k = next_to_keep(c));) {
		ptrdiff_t w = worker_to_keep(c, k);

		k->no_keep = w < 0;
		if (w < 0)
			continue;
		c->owners[k->owner].holds = true;
		c->kept[w] = k->lane + 1;
		c->lanes_out[k->lane].keeps = (size_t)w + 1;
		most--;
	}
}

static void stop_keeping(struct choice *c, size_t lane)
{
	if (!c->lanes[lane].keeps)
		return;
	c->kept[c->lanes[lane].keeps - 1] = 0;
	c->lanes_out[lane].keeps = 0;
}

/* ---- a lane ---- */

struct rank {
	int class;
	double share, waited;
};

/* < 0: a goes first; *why says by what. */
static int compare_ranks(const struct rank *a, const struct rank *b, enum place_why *why)
{
	*why = PLACE_PRIORITY;
	if (a->class != b->class)
		return a->class > b->class ? -1 : 1;
	*why = PLACE_FAIR;
	if (a->share < b->share || a->share > b->share)
		return a->share < b->share ? -1 : 1;
	*why = PLACE_OLDEST;
	return a->waited > b->waited ? -1 : a->waited < b->waited;
}

static struct rank rank_of(const struct choice *c, const struct candidate *k)
{
	const struct owner *o = &c->owners[k->owner];

	return (struct rank){k->class, o->used / o->weight, c->lanes[k->lane].waited_s};
}

static int compare(const struct choice *c, const struct candidate *a, const struct candidate *b, enum place_why *why)
{
	const struct rank x = rank_of(c, a), y = rank_of(c, b);

	return compare_ranks(&x, &y, why);
}

bool place_before(const struct place_lane *a, const struct place_lane *b, enum place_why *why)
{
	const struct rank x = {class_of(a), a->used_s / (a->weight > 0 ? a->weight : 1), a->waited_s};
	const struct rank y = {class_of(b), b->used_s / (b->weight > 0 ? b->weight : 1), b->waited_s};

	return compare_ranks(&x, &y, why) < 0;
}

/* NULL = none is left.  What nobody takes any more is forgotten on the way. */
static struct candidate *best_candidate(struct choice *c, enum place_why *why, bool *rivals)
{
	struct candidate *best = NULL;
	enum place_why by;
	size_t kept = 0;

	for (size_t i = 0; i < c->count; i++)
		if (c->candidates[i].depth)
			c->candidates[kept++] = c->candidates[i];
	c->count = kept;
	for (size_t i = 0; i < c->count; i++)
		if (!best || compare(c, &c->candidates[i], best, &by) < 0)
			best = &c->candidates[i];
	*why = PLACE_ONLY;
	*rivals = false;
	for (size_t i = 0; i < c->count; i++) {
		struct candidate *k = &c->candidates[i];

		if (k == best)
			continue;
		compare(c, best, k, &by);
		if (by > *why)
			*why = by; /* what told it from its closest rival */
		*rivals |= k->class == best->class && k->owner != best->owner;
	}
	return best;
}

/* Jobs to give at once: few where another owner of the same class waits, else
 * what spreads the lane over the workers that could take it. */
static int portion(const struct choice *c, const struct candidate *k, size_t worker, bool rivals, int others)
{
	int most = c->free[worker] / c->lanes[k->lane].gpus;
	int64_t share = (k->depth + others) / (others + 1);
	int64_t n = rivals ? 1 + most / 16 : share;

	if (n > share)
		n = share;
	if (n > most)
		n = most;
	return n < 1 ? 1 : (int)n;
}

static void give(struct choice *c, struct candidate *k, size_t worker, int n)
{
	const struct place_lane *l = &c->lanes[k->lane];

	k->depth -= n;
	c->owners[k->owner].used += n * l->gpus * place_cost(l);
	take(c, worker, n * l->gpus);
	stop_keeping(c, k->lane);
}

/* One line for what is the same choice again. */
static size_t note(struct place_pick *picks, size_t count, size_t lane, size_t worker, int n, enum place_why why)
{
	for (size_t i = count; i-- > 0 && count - i <= 8;)
		if (picks[i].lane == lane && picks[i].worker == worker) {
			picks[i].n += n;
			return count;
		}
	picks[count] = (struct place_pick){.lane = lane, .worker = worker, .n = n, .why = why};
	return count + 1;
}

size_t place_choose(const struct place_weights *weights, struct place_lane *lanes, size_t lane_count,
		    const struct place_worker *workers, size_t worker_count, struct place_pick *ret, size_t cap, struct arena *a)
{
	struct choice c = {.weights = weights, .lanes = lanes, .lanes_out = lanes, .workers = workers};
	struct candidate *k;
	enum place_why why;
	size_t count = 0;
	bool rivals;
	int others;

	for (size_t i = 0; i < lane_count; i++)
		lanes[i].keeps = 0;
	if (!index_all(&c, lane_count, worker_count, a))
		return 0;
	keep_slots(&c, worker_count);
	while (count < cap && c.open_count && (k = best_candidate(&c, &why, &rivals))) {
		ptrdiff_t w = best_worker(&c, k, &others);
		size_t lane = k->lane;
		int n;

		if (w < 0) {
			k->depth = 0; /* nobody here can take it */
			continue;
		}
		n = portion(&c, k, (size_t)w, rivals, others);
		give(&c, k, (size_t)w, n);
		count = note(ret, count, lane, (size_t)w, n, why);
	}
	for (size_t i = 0; i < lane_count; i++)
		lanes[i].used_s = c.owners[owner_index(&c, lanes[i].owner_id)].used;
	return count;
}
