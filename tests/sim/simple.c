/* Two simpler ways: first come, first served on any free worker, a session wherever the week's hours are
 * not gone; once with all hours, once with 70 % of them. */
#include "sim.h"

enum { REFUSED_S = 1800 };

static void nothing(struct sim *s, int id)
{
}

static void begin(struct sim *s, struct pg *pg)
{
}

static void end(struct sim *s)
{
}

static const char *broken(struct sim *s)
{
	return "";
}

static void place(struct sim *s)
{
	for (int w = 0; w < s->worker_count; w++)
		while (s->waiting && sim_free(s, &s->workers[w])) {
			int first = -1;

			for (int l = 0; l < s->lane_count; l++)
				if (s->lanes[l].depth && (first < 0 || s->lanes[l].head < s->lanes[first].head))
					first = l;
			sim_give(s, sim_take(s, first), w);
		}
}

static bool spent(const struct sim *s, const struct sim_account *a)
{
	int64_t week = sim_providers[a->at].week_s;

	return week && a->ours >= (double)week * SIM_SECOND * s->strategy->part;
}

static int stopped(const struct sim *s, int account)
{
	for (int w = 0; w < s->worker_count; w++)
		if (s->workers[w].account == account && s->workers[w].state == SIM_STOPPED)
			return w;
	return -1;
}

static void look(struct sim *s)
{
	int64_t coming = 0;

	s->figures.rounds++;
	for (int w = 0; w < s->worker_count; w++) {
		struct sim_worker *k = &s->workers[w];
		bool idle = k->state == SIM_RUNNING && !k->busy && s->now - k->idle_since >= SIM_IDLE_S * SIM_SECOND;

		if (k->state == SIM_STOPPED)
			continue;
		sim_count(s, k->account);
		if (spent(s, &s->accounts[k->account]) || idle)
			sim_stop(s, w);
		else
			coming += k->state == SIM_STARTING ? sim_providers[s->accounts[k->account].at].slots : sim_free(s, k);
	}
	for (int i = 0; i < s->account_count; i++) {
		const struct sim_account *a = &s->accounts[i];
		const struct sim_provider *p = &sim_providers[a->at];

		while (s->waiting > coming && a->live_count < p->concurrent && a->blocked_until <= s->now && !spent(s, a)) {
			sim_start(s, i, stopped(s, i), p->session_s ? p->session_s - 60 : 0);
			coming += p->slots;
		}
	}
}

static void tell(struct sim *s, int account)
{
	struct sim_account *a = &s->accounts[account];

	if (a->used > a->ours)
		a->ours = a->used;
}

static void ended(struct sim *s, int worker)
{
	if (s->workers[worker].refused)
		s->accounts[s->workers[worker].account].blocked_until = s->now + REFUSED_S * SIM_SECOND;
}

const struct strategy sim_first_come = {.name = "first come", .part = 1, .begin = begin, .look = look, .place = place, .tell = tell,
					.ended = ended, .up = nothing, .reset = nothing, .broken = broken, .end = end};
const struct strategy sim_cut = {.name = "70 % of each", .part = 0.7, .begin = begin, .look = look, .place = place, .tell = tell,
				 .ended = ended, .up = nothing, .reset = nothing, .broken = broken, .end = end};
