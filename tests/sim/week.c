/* A week, event by event, and what is measured in it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/* ---- hours ---------------------------------------------------------------- */

/* What of an account's week lies inside the margin and was not gone before. */
static double allowance(const struct sim_account *a)
{
	const struct sim_provider *p = &sim_providers[a->at];

	return fmax(0, (double)(p->week_s - p->week_margin_s) * SIM_SECOND - a->before);
}

/*
 * The end of an account's week.  Usable are the hours that were charged, whatever
 * became of them, and of those left over as many as somebody waited for long
 * enough while the account had a free slot (see count_missed()).  Used are the
 * charged ones by the part of their machines that did work which was kept.
 */
static void close_week(struct sim *s, struct sim_account *a)
{
	double all = allowance(a), gone = a->used - a->before, charged = fmin(gone, all), part = gone > 0 ? charged / gone : 0;
	double missed = fmin(all - charged, a->missed);

	s->figures.passes += a->used > (double)sim_providers[a->at].week_s * SIM_SECOND;
	s->figures.charged += charged;
	s->figures.usable += charged + missed;
	s->figures.used += (a->busy - a->redone) * part;
	s->figures.wanted += (a->busy + a->idle) * part + missed;
	a->used = a->before = a->ours = a->busy = a->redone = a->idle = a->missed = 0;
}

static int by_reset(const void *x, const void *y)
{
	const struct sim_account *const *a = x, *const *b = y;

	return (*a)->resets != (*b)->resets ? ((*a)->resets < (*b)->resets ? -1 : 1) : (*a)->row < (*b)->row ? -1 : *a < *b ? -1 : *a > *b;
}

/* Each job that has waited long could have had a slot of a session: where hours end first. */
static void count_missed(struct sim *s)
{
	struct sim_account *order[64];
	int64_t jobs = 0;
	int n = 0;

	for (int l = 0; l < s->lane_count; l++)
		for (int j = s->lanes[l].head; j >= 0 && s->now - s->jobs[j].arrived > SIM_GRACE; j = s->jobs[j].next)
			jobs++;
	for (int i = 0; i < s->account_count && n < (int)ARRAY_LEN(order); i++)
		if (sim_providers[s->accounts[i].at].week_s)
			order[n++] = &s->accounts[i];
	qsort(order, (size_t)n, sizeof(order[0]), by_reset);
	for (int i = 0; i < n; i++) {
		struct sim_account *a = order[i];
		double left = allowance(a) - (a->used - a->before);

		for (int k = a->live_count; k < sim_providers[a->at].concurrent && jobs > 0 && left > a->missed && a->blocked_until <= s->now; k++) {
			a->missed += SIM_ROUND;
			jobs -= sim_providers[a->at].slots;
		}
	}
}

/* The provider ends what has passed its hours. */
static void enforce(struct sim *s, int account)
{
	struct sim_account *a = &s->accounts[account];
	int64_t week = sim_providers[a->at].week_s;

	sim_count(s, account);
	if (!week || a->used <= (double)week * SIM_SECOND)
		return;
	while (a->live_count)
		sim_stop(s, a->live[0]);
}

/* ---- fairness -------------------------------------------------------------- */

static void sample_owners(struct sim *s)
{
	for (int i = 0; i < s->size.owners; i++) {
		struct sim_owner *o = &s->owners[i];

		if (o->backlog) {
			o->rate += (double)(o->served - o->served_before) / SIM_HOUR;
			o->hours++;
		}
		o->served_before = o->served;
		o->backlog = o->waiting > 0;
	}
}

/* Of GPU-hours an hour and weight, while an owner had work that waited. */
static double jain(const struct sim *s)
{
	double sum = 0, squares = 0;
	int n = 0;

	for (int i = 0; i < s->size.owners; i++) {
		const struct sim_owner *o = &s->owners[i];
		double x = o->hours ? o->rate / o->hours / o->weight : 0;

		n += o->hours > 0;
		sum += x;
		squares += x * x;
	}
	return squares > 0 ? sum * sum / (n * squares) : 1;
}

static int by_size(const void *x, const void *y)
{
	const int64_t *a = x, *b = y;

	return *a < *b ? -1 : *a > *b;
}

static void measure(struct sim *s)
{
	size_t n = (size_t)s->size.jobs;
	int64_t *waits = calloc(n, sizeof(*waits));

	if (!waits)
		abort();
	for (size_t i = 0; i < n; i++)
		waits[i] = (s->jobs[i].met ? s->jobs[i].first : s->now) - s->jobs[i].arrived;
	qsort(waits, n, sizeof(*waits), by_size);
	s->figures.wait_p50_s = (double)waits[n / 2] / SIM_SECOND;
	s->figures.wait_p95_s = (double)waits[n * 95 / 100] / SIM_SECOND;
	s->figures.jain = jain(s);
	free(waits);
	for (int i = 0; i < s->account_count; i++)
		if (sim_providers[s->accounts[i].at].week_s) {
			sim_count(s, i);
			close_week(s, &s->accounts[i]);
		}
}

/* ---- what must hold -------------------------------------------------------- */

static void check(struct sim *s)
{
	int64_t here = s->waiting + s->running + s->figures.finished, come = 0, busy = 0;

	while (come < s->size.jobs && s->jobs[come].arrived <= s->now)
		come++;
	for (int i = 0; i < s->worker_count; i++) {
		const struct sim_worker *w = &s->workers[i];

		busy += w->state == SIM_RUNNING ? w->busy : 0;
		if (w->state == SIM_RUNNING && (w->busy < 0 || w->busy > sim_providers[s->accounts[w->account].at].slots))
			s->broken = "no more jobs than slots";
	}
	if (busy != s->running)
		s->broken = "each running job has a place";
	/* Those that arrive at this very moment may be yet to come. */
	if (here > come || here < come - 1)
		s->broken = "no job is lost or there twice";
	if (!s->broken[0] && s->now % (6 * SIM_HOUR) == 0)
		s->broken = s->strategy->broken(s);
}

/* ---- events ---------------------------------------------------------------- */

static void look(struct sim *s)
{
	sim_post(s, s->now + SIM_ROUND, SIM_LOOKS, 0, 0);
	for (int i = 0; i < s->account_count; i++)
		enforce(s, i);
	s->strategy->look(s);
	count_missed(s);
	if (s->now % SIM_HOUR == 0)
		sample_owners(s);
	check(s);
}

static void comes_up(struct sim *s, int worker)
{
	struct sim_worker *w = &s->workers[worker];

	if (w->refused) {
		s->figures.refused++;
		sim_stop(s, worker);
		return;
	}
	sim_count(s, w->account);
	w->state = SIM_RUNNING;
	w->has_run = true;
	w->idle_since = s->now;
	s->strategy->up(s, worker);
}

static void resets(struct sim *s, int account)
{
	struct sim_account *a = &s->accounts[account];

	sim_count(s, account);
	close_week(s, a);
	a->resets += SIM_WEEK;
	sim_post(s, a->resets, SIM_RESETS, account, 0);
	s->strategy->reset(s, account);
}

static void tells(struct sim *s, int account)
{
	sim_post(s, s->now + SIM_TELL, SIM_TELLS, account, 0);
	sim_count(s, account);
	s->strategy->tell(s, account);
}

static void happen(struct sim *s, const struct sim_event *e)
{
	bool same = e->what == SIM_JOB_ENDS ? s->jobs[e->id].stamp == e->stamp
		  : e->what == SIM_UP || e->what == SIM_ENDS || e->what == SIM_DIES ? s->workers[e->id].stamp == e->stamp : true;

	/* A deadline may have come nearer; never has it moved away. */
	if (!same || (e->what == SIM_DIES && s->workers[e->id].state == SIM_STARTING))
		return;
	switch (e->what) {
	case SIM_ARRIVES:
		sim_wait(s, e->id);
		break;
	case SIM_UP:
		comes_up(s, e->id);
		break;
	case SIM_DIES:
		s->figures.deaths++;
		sim_stop(s, e->id);
		break;
	case SIM_ENDS:
		sim_stop(s, e->id);
		break;
	case SIM_JOB_ENDS:
		sim_job_ends(s, e->id);
		break;
	case SIM_RESETS:
		resets(s, e->id);
		break;
	case SIM_TELLS:
		tells(s, e->id);
		break;
	case SIM_LOOKS:
		look(s);
		break;
	}
}

static void digest(struct sim_figures *f, const struct sim_event *e)
{
	const int64_t words[] = {e->at, e->what, e->id, e->stamp};

	for (size_t i = 0; i < sizeof(words); i++)
		f->digest = (f->digest ^ ((const unsigned char *)words)[i]) * 0x100000001b3u;
}

static struct sim_event pop(struct sim *s)
{
	struct sim_event top = s->heap[0], last = s->heap[--s->heap_count];
	int i = 0, child;

	while ((child = 2 * i + 1) < s->heap_count) {
		const struct sim_event *c = &s->heap[child];

		if (child + 1 < s->heap_count && (c[1].at < c->at || (c[1].at == c->at && c[1].number < c->number)))
			child++;
		c = &s->heap[child];
		if (last.at < c->at || (last.at == c->at && last.number < c->number))
			break;
		s->heap[i] = *c;
		i = child;
	}
	s->heap[i] = last;
	return top;
}

static bool some_free(const struct sim *s)
{
	for (int i = 0; i < s->worker_count; i++)
		if (sim_free(s, &s->workers[i]))
			return true;
	return false;
}

static void open_week(struct sim *s, const struct sim_size *size)
{
	s->size = *size;
	s->broken = "";
	s->figures.digest = 0xcbf29ce484222325u;
	s->lane_count = size->owners * SIM_KINDS;
	for (int i = 0; i < SIM_PROVIDERS; i++)
		s->account_count += size->accounts[i];
	s->jobs = calloc((size_t)size->jobs, sizeof(*s->jobs));
	s->owners = calloc((size_t)size->owners, sizeof(*s->owners));
	s->lanes = calloc((size_t)s->lane_count, sizeof(*s->lanes));
	s->accounts = calloc((size_t)s->account_count, sizeof(*s->accounts));
	if (!s->jobs || !s->owners || !s->lanes || !s->accounts)
		abort();
	sim_people(s);
	sim_post(s, SIM_ROUND, SIM_LOOKS, 0, 0);
}

static void free_all(struct sim *s)
{
	free(s->heap);
	free(s->jobs);
	free(s->owners);
	free(s->lanes);
	free(s->accounts);
	free(s->workers);
}

void sim_run(const struct sim_size *size, const struct strategy *strategy, struct pg *pg, struct sim_figures *ret)
{
	struct sim s = {.strategy = strategy};

	open_week(&s, size);
	strategy->begin(&s, pg);
	/* An account is asked before it is used. */
	for (int i = 0; i < s.account_count; i++)
		if (sim_providers[s.accounts[i].at].week_s)
			strategy->tell(&s, i);
	while (s.heap[0].at <= SIM_WEEK && !s.broken[0]) {
		struct sim_event e = pop(&s);

		s.now = e.at;
		/* What has been so until now is counted before anything changes. */
		for (int i = 0; i < s.account_count; i++)
			sim_count(&s, i);
		digest(&s.figures, &e);
		happen(&s, &e);
		if (s.waiting && some_free(&s))
			strategy->place(&s);
	}
	if (!s.broken[0])
		s.broken = strategy->broken(&s);
	measure(&s);
	strategy->end(&s);
	*ret = s.figures;
	ret->broken = s.broken;
	free_all(&s);
}
