/* Who wants what, and where it could run: all from the seed.  Sizes are chosen so that a little more is
 * wanted than there is. */
#include <math.h>
#include <stdlib.h>

#include "sim.h"

const struct sim_provider sim_providers[SIM_PROVIDERS] = {
	[SIM_KAGGLE] = {.name = "kaggle", .week_s = 108000, .week_margin_s = 900, .session_s = 43200, .session_margin_s = 3600,
			.concurrent = 2, .slots = 2, .cold_s = 120, .refused = 0.05},
	[SIM_LOCAL] = {.name = "sim-local", .concurrent = 2, .slots = 1, .cold_s = 5},
	[SIM_COLAB] = {.name = "sim-colab", .session_s = 21600, .session_margin_s = 900, .concurrent = 1, .slots = 1, .cold_s = 60,
		       .refused = 0.2, .cool_down_s = 43200},
};

/* Half are scripts; lengths are log-normal. */
static const struct {
	double share, median_s, sigma, most_s;
} kinds[SIM_KINDS] = {
	[SIM_SCRIPT] = {0.5, 600, 1.1, 14400},
	[SIM_TRAINING] = {0.2, 3000, 0.8, 72000},
	[SIM_INFERENCE] = {0.3, 40, 0.7, 600},
};

/* SplitMix64. */
uint64_t sim_bits(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

double sim_uniform(uint64_t *state)
{
	return (double)(sim_bits(state) >> 11) * 0x1p-53;
}

static double normal(uint64_t *state)
{
	double u = sim_uniform(state), v = sim_uniform(state);

	return sqrt(-2 * log(1 - u)) * cos(2 * M_PI * v);
}

static enum sim_kind kind_of(double u)
{
	return u < kinds[SIM_SCRIPT].share ? SIM_SCRIPT : u < kinds[SIM_SCRIPT].share + kinds[SIM_TRAINING].share ? SIM_TRAINING : SIM_INFERENCE;
}

static int by_arrival(const void *x, const void *y)
{
	const struct sim_job *a = x, *b = y;

	return a->arrived < b->arrived ? -1 : a->arrived > b->arrived;
}

static void make_jobs(struct sim *s, uint64_t *r)
{
	for (int i = 0; i < s->size.jobs; i++) {
		struct sim_job *j = &s->jobs[i];
		double length;

		j->kind = kind_of(sim_uniform(r));
		length = fmax(5, fmin(kinds[j->kind].most_s, kinds[j->kind].median_s * exp(kinds[j->kind].sigma * normal(r))));
		/* Not on the last day: what comes then nobody could do in time. */
		j->arrived = (int64_t)(sim_uniform(r) * 6 * 24 * SIM_HOUR);
		j->work = (int64_t)(length * SIM_SECOND);
		if (j->kind != SIM_TRAINING && sim_uniform(r) < 0.8)
			j->estimate_s = (int64_t)ceil(length * (1 + 0.5 * sim_uniform(r)));
		j->lane = (int)(sim_bits(r) % (uint64_t)s->size.owners) * SIM_KINDS + (int)j->kind;
		j->worker = -1;
	}
	qsort(s->jobs, (size_t)s->size.jobs, sizeof(*s->jobs), by_arrival);
	for (int i = 0; i < s->size.jobs; i++)
		sim_post(s, s->jobs[i].arrived, SIM_ARRIVES, i, 0);
}

static void make_accounts(struct sim *s, uint64_t *r)
{
	int i = 0;

	for (int at = 0; at < SIM_PROVIDERS; at++)
		for (int n = 0; n < s->size.accounts[at]; n++, i++) {
			struct sim_account *a = &s->accounts[i];
			double week = (double)sim_providers[at].week_s * SIM_SECOND, left;

			*a = (struct sim_account){.at = at, .drift = 1 + 0.02 * sim_uniform(r)};
			if (!week)
				continue;
			left = sim_uniform(r);
			a->resets = (int64_t)((0.05 + 0.9 * left) * SIM_WEEK / SIM_SECOND) * SIM_SECOND;
			/* About as much has gone as of the week. */
			a->used = a->before = a->ours = week * (1 - left) * (0.6 + 0.4 * sim_uniform(r));
			sim_post(s, a->resets, SIM_RESETS, i, 0);
			sim_post(s, (int64_t)(sim_uniform(r) * SIM_TELL), SIM_TELLS, i, 0);
		}
}

void sim_people(struct sim *s)
{
	uint64_t r = s->size.seed;

	for (int o = 0; o < s->size.owners; o++)
		s->owners[o] = (struct sim_owner){.weight = 1 + (double)(sim_bits(&r) % 3)};
	for (int l = 0; l < s->lane_count; l++)
		s->lanes[l] = (struct sim_lane){.owner = l / SIM_KINDS, .kind = (enum sim_kind)(l % SIM_KINDS), .head = -1};
	make_accounts(s, &r);
	make_jobs(s, &r);
	s->chance = sim_bits(&r);
}

/* ---- the queue ------------------------------------------------------------ */

/* In the order of arrival, also what comes back. */
void sim_wait(struct sim *s, int job)
{
	struct sim_lane *l = &s->lanes[s->jobs[job].lane];
	int *at = &l->head;

	while (*at >= 0 && *at < job)
		at = &s->jobs[*at].next;
	s->jobs[job].next = *at;
	*at = job;
	l->depth++;
	s->owners[l->owner].waiting++;
	s->waiting++;
}

int sim_take(struct sim *s, int lane)
{
	struct sim_lane *l = &s->lanes[lane];
	struct sim_owner *o = &s->owners[l->owner];
	int job = l->head;

	l->head = s->jobs[job].next;
	l->depth--;
	o->waiting--;
	o->backlog = o->backlog && o->waiting;
	s->waiting--;
	return job;
}

/* A training must come to its next checkpoint, or it was for nothing. */
bool sim_job_fits(const struct sim *s, const struct sim_job *j, const struct sim_worker *w)
{
	int64_t needs = j->kind == SIM_TRAINING ? SIM_CHECKPOINT : j->estimate_s * SIM_SECOND;

	return !w->deadline || s->now + needs <= w->deadline;
}
