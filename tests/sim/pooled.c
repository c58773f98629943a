/* gpupool's own way: the ledger's rows, the autoscaler's rounds, placement's choice. */
#include <math.h>
#include <stdlib.h>
#include <time.h>

#include "book.h"
#include "domain/autoscaler.h"
#include "domain/placement.h"

enum { POOL_OWNER = 1, FIRST_ACCOUNT = 1, FIRST_LANE = 1, FIRST_OWNER = 100, PICKS = 64 };

struct pooled {
	struct book book;
	struct arena arena;
	double *used, *faded;                /* GPU-seconds of owners, of which each hour leaves a half */
	int64_t *counted, faded_at;   /* what of their service is in there; when */
	struct scale_policy policy;
	struct scale_account *accounts;
	struct scale_worker *workers;
	struct scale_lane *lanes;
	size_t worker_cap;
	const char *broken;
};

/* The settings' defaults. */
static const struct place_weights weights = {.own = 16, .time = 8, .expiry = 4, .load = 2};

static const struct scale_name names[] = {{"kaggle", "gpu", "gpu", "gpu"}, {"sim-colab", "gpu", "gpu", "gpu"}, {"sim-local", "gpu", "gpu", "gpu"}};

static void *some(size_t n, size_t size)
{
	void *ret = calloc(n ? n : 1, size);

	if (!ret)
		abort();
	return ret;
}

static void begin(struct sim *s, struct pg *pg)
{
	struct pooled *p = s->state = some(1, sizeof(*p));

	book_open(&p->book, s, pg);
	arena_init(&p->arena, 16 << 20);
	p->policy = (struct scale_policy){.owner_id = POOL_OWNER, .accelerator = "gpu", .max = 1000, .threshold = 5, .target_wait_s = SIM_TARGET_S,
					  .up_delay_s = 60, .down_delay_s = 60, .idle_stop_s = SIM_IDLE_S, .expiring = true};
	p->accounts = some((size_t)s->account_count, sizeof(*p->accounts));
	p->lanes = some((size_t)s->lane_count, sizeof(*p->lanes));
	p->faded = some((size_t)s->size.owners, sizeof(*p->faded));
	p->used = some((size_t)s->size.owners, sizeof(*p->used));
	p->counted = some((size_t)s->size.owners, sizeof(*p->counted));
	p->broken = "";
}

static void end(struct sim *s)
{
	struct pooled *p = s->state;

	book_close(&p->book);
	arena_free(&p->arena);
	free(p->faded);
	free(p->used);
	free(p->counted);
	free(p->accounts);
	free(p->workers);
	free(p->lanes);
	free(p);
}

static const char *broken(struct sim *s)
{
	struct pooled *p = s->state;

	return p->broken[0] ? p->broken : book_broken(&p->book);
}

/* ---- placement ------------------------------------------------------------ */

/* The first job's estimate stands for a lane, as it leaves first. */
static int64_t estimate_of(const struct sim *s, const struct sim_lane *l)
{
	return s->jobs[l->head].estimate_s;
}

static int64_t waited_s(const struct sim *s, const struct sim_lane *l)
{
	return (s->now - s->jobs[l->head].arrived) / SIM_SECOND;
}

static int64_t priority_of(const struct sim_lane *l)
{
	return l->kind == SIM_INFERENCE ? 6 : 5;
}

/* What a job of unknown length is taken for, as is learned from those before. */
static const double usual_s[SIM_KINDS] = {[SIM_SCRIPT] = 900, [SIM_TRAINING] = 3600, [SIM_INFERENCE] = 60};

/* What owners have had, less what has faded; and what runs now, for at least as long as it is taken to run. */
static void see_owners(struct sim *s, struct pooled *p)
{
	double fade = exp2(-(double)(s->now - p->faded_at) / SIM_HOUR);

	p->faded_at = s->now;
	for (int i = 0; i < s->size.owners; i++) {
		struct sim_owner *o = &s->owners[i];

		p->faded[i] = p->faded[i] * fade + (double)(o->served - p->counted[i]) / SIM_SECOND;
		p->counted[i] = o->served;
		p->used[i] = p->faded[i];
	}
	for (int i = 0; i < s->worker_count; i++)
		for (int k = 0; k < SIM_SLOTS && s->workers[i].state == SIM_RUNNING; k++) {
			const struct sim_job *j = s->workers[i].jobs[k] < 0 ? NULL : &s->jobs[s->workers[i].jobs[k]];

			if (j)
				p->used[s->lanes[j->lane].owner] += fmax(0, (j->estimate_s ? (double)j->estimate_s : usual_s[j->kind]) -
									 (double)(s->now - j->began) / SIM_SECOND);
		}
}

static size_t waiting_lanes(const struct sim *s, const struct pooled *p, struct place_lane *ret)
{
	size_t n = 0;

	for (int i = 0; i < s->lane_count; i++) {
		const struct sim_lane *l = &s->lanes[i];

		if (l->depth)
			ret[n++] = (struct place_lane){.id = i, .owner_id = FIRST_OWNER + l->owner, .accelerator = "gpu", .gpus = 1,
						       .priority = (int)priority_of(l), .depth = l->depth, .waited_s = (double)waited_s(s, l),
						       .estimate_s = l->kind == SIM_TRAINING ? usual_s[l->kind] : (double)estimate_of(s, l), .cost_s = usual_s[l->kind],
						       .resumes = l->kind == SIM_TRAINING, .used_s = p->used[l->owner],
						       .weight = s->owners[l->owner].weight};
	}
	return n;
}

static double hours_end_s(const struct sim *s, const struct sim_account *a)
{
	return a->resets ? (double)(a->resets - s->now) / SIM_SECOND : 0;
}

static size_t free_workers(const struct sim *s, struct place_worker *ret)
{
	size_t n = 0;

	for (int i = 0; i < s->worker_count; i++) {
		const struct sim_worker *w = &s->workers[i];

		if (sim_free(s, w))
			ret[n++] = (struct place_worker){.session_id = i, .owner_id = POOL_OWNER, .got = "gpu", .free = sim_free(s, w),
							 .seconds_left = w->deadline ? (double)(w->deadline - s->now) / SIM_SECOND : INFINITY,
							 .hours_end_s = hours_end_s(s, &s->accounts[w->account]), .sharing = PLACE_SHARED_ALL};
	}
	return n;
}

static void place(struct sim *s)
{
	struct pooled *p = s->state;
	struct place_lane *lanes;
	struct place_worker *workers;
	struct place_pick picks[PICKS];
	size_t lane_count, worker_count, n;

	arena_reset(&p->arena);
	lanes = arena_array(&p->arena, (size_t)s->lane_count, sizeof(*lanes));
	workers = arena_array(&p->arena, (size_t)s->worker_count + 1, sizeof(*workers));
	if (!lanes || !workers)
		abort();
	see_owners(s, p);
	lane_count = waiting_lanes(s, p, lanes);
	worker_count = free_workers(s, workers);
	n = place_choose(&weights, lanes, lane_count, workers, worker_count, picks, PICKS, &p->arena);
	for (size_t i = 0; i < n; i++) {
		int lane = (int)lanes[picks[i].lane].id, worker = (int)workers[picks[i].worker].session_id;

		if (picks[i].n > sim_free(s, &s->workers[worker]) || picks[i].n > s->lanes[lane].depth)
			p->broken = "placement gives what there is";
		/* A claim takes only jobs that the session's end allows. */
		for (int k = 0; k < picks[i].n && !p->broken[0] && sim_job_fits(s, &s->jobs[s->lanes[lane].head], &s->workers[worker]); k++)
			sim_give(s, sim_take(s, lane), worker);
	}
}

/* ---- a round of the autoscaler --------------------------------------------- */

static void see_accounts(struct sim *s, struct pooled *p)
{
	for (int i = 0; i < s->account_count; i++) {
		struct sim_account *a = &s->accounts[i];
		const struct sim_provider *at = &sim_providers[a->at];

		if (!a->known) {
			a->left_s = book_left(&p->book, s, i);
			a->blocked_until = book_cools_until(&p->book, s, i);
		}
		a->known = true;
		p->accounts[i] = (struct scale_account){
			.id = FIRST_ACCOUNT + i, .owner_id = FIRST_OWNER + i, .provider = at->name, .startable = true,
			.blocked = "", .blocked_why = "",
			.sharing = PLACE_SHARED_ALL, .cold_s = at->cold_s, .resource_count = 1,
			.resources = {{.name = "gpu", .left_s = a->left_s, .resets_ms = a->resets, .slots = at->concurrent - a->live_count,
				       .session_s = at->session_s ? at->session_s - at->session_margin_s : SCALE_NONE, .min_s = 900,
				       .cool_until_ms = a->blocked_until, .cool_why = "It refuses."}}};
	}
}

static void see_workers(struct sim *s, struct pooled *p)
{
	static const char *const states[] = {[SIM_STOPPED] = "stopped", [SIM_STARTING] = "starting", [SIM_RUNNING] = "healthy"};
	static const char *const sessions[] = {[SIM_STOPPED] = "", [SIM_STARTING] = "starting", [SIM_RUNNING] = "running"};

	if (p->worker_cap < (size_t)s->worker_count) {
		free(p->workers);
		p->worker_cap = (size_t)s->worker_count * 2;
		p->workers = some(p->worker_cap, sizeof(*p->workers));
	}
	for (int i = 0; i < s->worker_count; i++) {
		const struct sim_worker *w = &s->workers[i];

		p->workers[i] = (struct scale_worker){
			.id = i + 1, .owner_id = POOL_OWNER, .account_id = FIRST_ACCOUNT + w->account, .version = w->stamp, .accelerator = "gpu",
			.state = states[w->state], .session_state = sessions[w->state], .wanted = w->state != SIM_STOPPED,
			.registered = w->state == SIM_RUNNING, .got = w->has_run ? "gpu" : "",
			.slots = w->has_run ? sim_providers[s->accounts[w->account].at].slots : 0, .busy = w->busy, .leases = w->busy,
			.left_s = w->deadline && w->state != SIM_STOPPED ? (w->deadline - s->now) / SIM_SECOND : SCALE_NONE,
			.idle_since_ms = w->state == SIM_RUNNING ? w->idle_since : 0, .max_session_s = SCALE_NONE};
	}
}

static size_t see_lanes(struct sim *s, struct pooled *p)
{
	size_t n = 0;

	for (int i = 0; i < s->lane_count; i++) {
		const struct sim_lane *l = &s->lanes[i];

		if (l->depth)
			p->lanes[n++] = (struct scale_lane){.id = FIRST_LANE + i, .owner_id = FIRST_OWNER + s->account_count + l->owner, .accelerator = "gpu",
							    .gpus = 1, .priority = priority_of(l), .depth = l->depth, .waited_s = waited_s(s, l),
							    .estimate_s = l->kind == SIM_TRAINING ? (int64_t)usual_s[l->kind] : estimate_of(s, l),
							    .resumes = l->kind == SIM_TRAINING};
	}
	return n;
}

static void start_one(struct sim *s, struct pooled *p, const struct scale_decision *d)
{
	int account = (int)(d->account_id - FIRST_ACCOUNT), worker = d->action == SCALE_CREATE ? s->worker_count : (int)d->worker_id - 1;
	int64_t session, seconds;

	s->accounts[account].known = false;
	if (!book_start(&p->book, s, account, worker, &session, &seconds)) {
		s->figures.refused++;
		return;
	}
	if (d->reserves_s > seconds && seconds)
		p->broken = "a round promises what the ledger has";
	sim_start(s, account, d->action == SCALE_CREATE ? -1 : worker, seconds);
	s->workers[worker].session = session;
	if (!s->workers[worker].refused)
		book_launched(&p->book, s, account, session);
}

static double processor_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void look(struct sim *s)
{
	struct pooled *p = s->state;
	struct scale_snapshot snapshot;
	struct scale_result r;
	double began, took;
	struct error e;

	see_accounts(s, p);
	see_workers(s, p);
	snapshot = (struct scale_snapshot){.now_ms = s->now, .policies = &p->policy, .policy_count = 1, .accounts = p->accounts,
					   .account_count = (size_t)s->account_count, .names = names, .name_count = ARRAY_LEN(names),
					   .workers = p->workers, .worker_count = (size_t)s->worker_count, .lanes = p->lanes,
					   .lane_count = see_lanes(s, p)};
	arena_reset(&p->arena);
	began = processor_ms();
	if (autoscaler_decide(&snapshot, &p->arena, &r, &e)) {
		p->broken = "the arena is large enough";
		return;
	}
	took = processor_ms() - began;
	s->figures.rounds++;
	s->figures.round_ms += took;
	s->figures.round_most_ms = fmax(s->figures.round_most_ms, took);
	p->policy.up_since_ms = r.since[0].up_ms;
	p->policy.down_since_ms = r.since[0].down_ms;
	for (size_t i = 0; i < r.count && !p->broken[0]; i++) {
		const struct scale_decision *d = &r.decisions[i];

		if (d->due_ms)
			continue;
		if (d->action == SCALE_STOP && s->workers[d->worker_id - 1].busy)
			p->broken = "none with a lease is stopped";
		else if (d->action == SCALE_STOP)
			sim_stop(s, (int)d->worker_id - 1);
		else if (d->action == SCALE_DRAIN)
			p->broken = "none is drained below the maximum";
		else
			start_one(s, p, d);
	}
}

/* ---- what happens ----------------------------------------------------------- */

static void up(struct sim *s, int worker)
{
	struct pooled *p = s->state;

	book_up(&p->book, s, s->workers[worker].session);
}

static void ended(struct sim *s, int worker)
{
	struct pooled *p = s->state;
	struct sim_worker *w = &s->workers[worker];

	if (w->refused)
		book_refused(&p->book, s, w->account);
	book_end(&p->book, s, w->account, w->session);
	s->accounts[w->account].known = false;
}

static void tell(struct sim *s, int account)
{
	struct pooled *p = s->state;
	struct sim_account *a = &s->accounts[account];
	int cut = book_tell(&p->book, s, account);

	a->known = false;
	s->figures.cuts += cut;
	for (int i = 0; cut && i < a->live_count; i++) {
		struct sim_worker *w = &s->workers[a->live[i]];
		int64_t till = w->launched + book_granted(&p->book, w->session) * SIM_SECOND;

		if (!w->refused && till < w->deadline)
			sim_deadline(s, a->live[i], till > s->now ? till : s->now);
	}
}

static void turn(struct sim *s, int account)
{
	struct pooled *p = s->state;

	book_settle(&p->book, s, account);
	s->accounts[account].known = false;
}

const struct strategy sim_pooled = {.name = "gpupool", .part = 1, .begin = begin, .look = look, .place = place, .tell = tell,
				    .ended = ended, .up = up, .reset = turn, .broken = broken, .end = end};
