/* Which waiting jobs go to which workers; see domain/placement.h. */
#include "domain/placement.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/error.h"

enum {
	TAGS_MOST = 4096, /* owners remembered; the rest starts at the pool's time */
};

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

enum place_fit place_fits(const struct place_lane *l, const struct place_worker *w)
{
	if (!may_use(l, w))
		return PLACE_NOT_SHARED;
	if (!place_matches(l->accelerator, w->got))
		return PLACE_ACCELERATOR;
	if (w->seconds_left < PLACE_TIME_LEFT_S || w->seconds_left < l->estimate_s)
		return PLACE_TIME;
	if (l->gpus > w->free)
		return w->free ? PLACE_TOO_BIG : PLACE_BUSY;
	return PLACE_FITS;
}

/* ---- fairness ---- */

static struct place_tag *find_tag(struct place_fairness *f, int64_t owner)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->tags[i].owner_id == owner)
			return &f->tags[i];
	return NULL;
}

/* Forgets owners whose tag the pool's time has passed: they start afresh anyway. */
static void prune_tags(struct place_fairness *f)
{
	size_t kept = 0;

	for (size_t i = 0; i < f->count; i++)
		if (f->tags[i].finish > f->now)
			f->tags[kept++] = f->tags[i];
	f->count = kept;
}

static struct place_tag *add_tag(struct place_fairness *f, int64_t owner)
{
	if (f->count == TAGS_MOST)
		prune_tags(f);
	if (f->count == TAGS_MOST)
		return &f->tags[0];
	if (f->count == f->cap) {
		f->cap = f->cap ? f->cap * 2 : 16;
		f->tags = realloc(f->tags, f->cap * sizeof(*f->tags));
		if (!f->tags)
			error_no_memory();
	}
	f->tags[f->count] = (struct place_tag){.owner_id = owner, .finish = f->now};
	return &f->tags[f->count++];
}

void place_fairness_free(struct place_fairness *f)
{
	free(f->tags);
	*f = (struct place_fairness){0};
}

static double start_tag(struct place_fairness *f, int64_t owner)
{
	const struct place_tag *t = find_tag(f, owner);

	return t && t->finish > f->now ? t->finish : f->now;
}

static void charge(struct place_fairness *f, const struct place_lane *l, int jobs)
{
	double start = start_tag(f, l->owner_id);
	double seconds = l->estimate_s > 0 ? l->estimate_s : l->cost_s > 0 ? l->cost_s : cost_usual;
	double cost = seconds * (l->gpus > 0 ? l->gpus : 1);
	struct place_tag *t = find_tag(f, l->owner_id);

	if (!t)
		t = add_tag(f, l->owner_id);
	/* The pool's time is the start of what was served last. */
	f->now = start;
	t->finish = start + jobs * cost / (l->weight > 0 ? l->weight : 1);
}

/* ---- choice ---- */

struct candidate {
	size_t lane;
	int64_t depth;
	int class;
	double start;
};

struct choice {
	struct place_fairness *fair;
	const struct place_lane *lanes;
	const struct place_worker *workers;
	size_t worker_count;
	int *free;
	struct candidate *candidates;
	size_t count;
};

static int class_of(const struct place_lane *l)
{
	int class = l->priority + (int)(l->waited_s / PLACE_AGEING_S);

	return class < PLACE_CLASS_MOST ? class : PLACE_CLASS_MOST;
}

static bool usable(const struct choice *c, const struct place_lane *l, size_t w)
{
	struct place_worker now = c->workers[w];

	now.free = c->free[w];
	return now.free > 0 && place_fits(l, &now) == PLACE_FITS;
}

/* The least loaded worker that may take it, own before others'; -1 = none.  *others counts the rest. */
static ptrdiff_t best_worker(const struct choice *c, const struct place_lane *l, int *others)
{
	ptrdiff_t best = -1;
	bool best_own = false;

	*others = -1;
	for (size_t w = 0; w < c->worker_count; w++) {
		bool own = c->workers[w].owner_id == l->owner_id;

		if (!usable(c, l, w))
			continue;
		++*others;
		if (best < 0 || own > best_own || (own == best_own && c->free[w] > c->free[best])) {
			best = (ptrdiff_t)w;
			best_own = own;
		}
	}
	return best;
}

/* < 0: a goes first; *why says by what. */
static int compare(const struct choice *c, const struct candidate *a, const struct candidate *b, enum place_why *why)
{
	double wait_a = c->lanes[a->lane].waited_s, wait_b = c->lanes[b->lane].waited_s;

	*why = PLACE_PRIORITY;
	if (a->class != b->class)
		return a->class > b->class ? -1 : 1;
	*why = PLACE_FAIR;
	if (a->start < b->start || a->start > b->start)
		return a->start < b->start ? -1 : 1;
	*why = PLACE_OLDEST;
	return wait_a > wait_b ? -1 : wait_a < wait_b;
}

static ptrdiff_t best_candidate(struct choice *c, enum place_why *why, bool *rivals)
{
	ptrdiff_t best = -1;

	*why = PLACE_ONLY;
	*rivals = false;
	for (size_t i = 0; i < c->count; i++)
		if (c->candidates[i].depth)
			c->candidates[i].start = start_tag(c->fair, c->lanes[c->candidates[i].lane].owner_id);
	for (size_t i = 0; i < c->count; i++) {
		enum place_why by;

		if (!c->candidates[i].depth)
			continue;
		if (best < 0 || compare(c, &c->candidates[i], &c->candidates[best], &by) < 0)
			best = (ptrdiff_t)i;
	}
	for (size_t i = 0; best >= 0 && i < c->count; i++) {
		enum place_why by;

		if (!c->candidates[i].depth || i == (size_t)best)
			continue;
		compare(c, &c->candidates[best], &c->candidates[i], &by);
		if (by > *why)
			*why = by; /* what told it from its closest rival */
		if (c->candidates[i].class == c->candidates[best].class &&
		    c->lanes[c->candidates[i].lane].owner_id != c->lanes[c->candidates[best].lane].owner_id)
			*rivals = true;
	}
	return best;
}

/* Jobs to give at once: few where another owner of the same class waits, else
 * what spreads the lane over the workers that could take it. */
static int portion(const struct choice *c, const struct candidate *cand, size_t worker, bool rivals, int others)
{
	int gpus = c->lanes[cand->lane].gpus > 0 ? c->lanes[cand->lane].gpus : 1;
	int most = c->free[worker] / gpus;
	int64_t share = (cand->depth + others) / (others + 1);
	int64_t n = rivals ? 1 + most / 16 : share;

	if (n > share)
		n = share;
	if (n > most)
		n = most;
	return n < 1 ? 1 : (int)n;
}

static void give(struct choice *c, struct candidate *cand, size_t worker, int n)
{
	const struct place_lane *l = &c->lanes[cand->lane];

	cand->depth -= n;
	c->free[worker] -= n * (l->gpus > 0 ? l->gpus : 1);
	charge(c->fair, l, n);
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

size_t place_choose(struct place_fairness *f, const struct place_lane *lanes, size_t lane_count,
		    const struct place_worker *workers, size_t worker_count, struct place_pick *ret, size_t cap, struct arena *a)
{
	struct choice c = {.fair = f, .lanes = lanes, .workers = workers, .worker_count = worker_count};
	size_t count = 0;

	c.free = arena_array(a, worker_count ? worker_count : 1, sizeof(*c.free));
	c.candidates = arena_array(a, lane_count ? lane_count : 1, sizeof(*c.candidates));
	if (!c.free || !c.candidates)
		return 0;
	for (size_t w = 0; w < worker_count; w++)
		c.free[w] = workers[w].free;
	for (size_t l = 0; l < lane_count; l++)
		if (lanes[l].depth > 0)
			c.candidates[c.count++] =
				(struct candidate){.lane = l, .depth = lanes[l].depth, .class = class_of(&lanes[l])};
	while (count < cap) {
		enum place_why why;
		bool rivals;
		int others;
		ptrdiff_t i = best_candidate(&c, &why, &rivals), w;
		int n;

		if (i < 0)
			break;
		w = best_worker(&c, &lanes[c.candidates[i].lane], &others);
		if (w < 0) {
			c.candidates[i].depth = 0; /* nobody here can take it */
			continue;
		}
		n = portion(&c, &c.candidates[i], (size_t)w, rivals, others);
		give(&c, &c.candidates[i], (size_t)w, n);
		count = note(ret, count, c.candidates[i].lane, (size_t)w, n, why);
	}
	return count;
}
