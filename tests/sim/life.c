/* Sessions and jobs: how they begin and end, and what a provider counts meanwhile. */
#include <math.h>
#include <stdlib.h>

#include "sim.h"

static bool before(const struct sim_event *a, const struct sim_event *b)
{
	return a->at != b->at ? a->at < b->at : a->number < b->number;
}

void sim_post(struct sim *s, int64_t at, enum sim_what what, int id, uint32_t stamp)
{
	struct sim_event e = {.at = at, .number = s->numbers++, .what = what, .id = id, .stamp = stamp};
	int i = s->heap_count++;

	if (s->heap_count > s->heap_cap) {
		s->heap_cap = s->heap_cap ? 2 * s->heap_cap : 4096;
		s->heap = realloc(s->heap, (size_t)s->heap_cap * sizeof(*s->heap));
		if (!s->heap)
			abort();
	}
	for (; i && before(&e, &s->heap[(i - 1) / 2]); i = (i - 1) / 2)
		s->heap[i] = s->heap[(i - 1) / 2];
	s->heap[i] = e;
}

int sim_free(const struct sim *s, const struct sim_worker *w)
{
	return w->state == SIM_RUNNING ? sim_providers[s->accounts[w->account].at].slots - w->busy : 0;
}

/* Whether something waits that this session could do. */
static bool eligible(const struct sim *s, const struct sim_worker *w)
{
	for (int l = 0; l < s->lane_count; l++)
		if (s->lanes[l].head >= 0 && sim_job_fits(s, &s->jobs[s->lanes[l].head], w))
			return true;
	return false;
}

void sim_count(struct sim *s, int account)
{
	struct sim_account *a = &s->accounts[account];

	for (int i = 0; i < a->live_count; i++) {
		struct sim_worker *w = &s->workers[a->live[i]];
		double gone = w->refused ? 0 : (double)(s->now - w->seen);

		if (w->seen == s->now)
			continue;
		a->used += gone * a->drift;
		a->ours += gone;
		a->busy += gone * a->drift * w->busy / sim_providers[a->at].slots;
		if (w->busy < sim_providers[a->at].slots && eligible(s, w))
			a->idle += gone * a->drift * (1 - (double)w->busy / sim_providers[a->at].slots);
		for (int j = 0; j < SIM_SLOTS; j++)
			if (w->jobs[j] >= 0)
				s->owners[s->lanes[s->jobs[w->jobs[j]].lane].owner].served += (int64_t)gone;
		w->seen = s->now;
	}
}

/* ---- jobs ----------------------------------------------------------------- */

void sim_give(struct sim *s, int job, int worker)
{
	struct sim_job *j = &s->jobs[job];
	struct sim_worker *w = &s->workers[worker];

	sim_count(s, w->account);
	for (int i = 0; i < SIM_SLOTS; i++)
		if (w->jobs[i] < 0) {
			w->jobs[i] = job;
			break;
		}
	w->busy++;
	w->idle_since = 0;
	if (!j->met)
		j->first = s->now;
	j->met = true;
	j->worker = worker;
	j->began = s->now;
	s->running++;
	sim_post(s, s->now + j->work - j->done, SIM_JOB_ENDS, job, ++j->stamp);
}

/* Its place is free again; what it has done stays, or is lost. */
static void leave(struct sim *s, int job, bool finished)
{
	struct sim_job *j = &s->jobs[job];
	struct sim_worker *w = &s->workers[j->worker];
	struct sim_account *a = &s->accounts[w->account];
	int64_t gone = s->now - j->began, kept = j->kind == SIM_TRAINING ? gone - gone % SIM_CHECKPOINT : 0;

	for (int i = 0; i < SIM_SLOTS; i++)
		if (w->jobs[i] == job)
			w->jobs[i] = -1;
	if (!--w->busy)
		w->idle_since = s->now;
	j->worker = -1;
	j->stamp++;
	s->running--;
	j->finished = finished;
	if (finished) {
		s->figures.finished++;
		return;
	}
	j->done += kept;
	s->figures.lost += gone - kept;
	a->redone += (double)(gone - kept) * a->drift / sim_providers[a->at].slots;
	sim_wait(s, job);
}

void sim_job_ends(struct sim *s, int job)
{
	sim_count(s, s->workers[s->jobs[job].worker].account);
	leave(s, job, true);
}

/* ---- sessions ------------------------------------------------------------- */

static int new_worker(struct sim *s, int account)
{
	if (s->worker_count == s->worker_cap) {
		s->worker_cap = s->worker_cap ? 2 * s->worker_cap : 256;
		s->workers = realloc(s->workers, (size_t)s->worker_cap * sizeof(*s->workers));
		if (!s->workers)
			abort();
	}
	s->workers[s->worker_count] = (struct sim_worker){.account = account};
	return s->worker_count++;
}

void sim_deadline(struct sim *s, int worker, int64_t at)
{
	struct sim_worker *w = &s->workers[worker];

	w->deadline = at;
	/* It takes a while to stop. */
	sim_post(s, at + (int64_t)(20 * SIM_SECOND * sim_uniform(&s->chance)), SIM_ENDS, worker, w->stamp);
}

int sim_start(struct sim *s, int account, int worker, int64_t seconds)
{
	struct sim_account *a = &s->accounts[account];
	const struct sim_provider *p = &sim_providers[a->at];
	int id = worker < 0 ? new_worker(s, account) : worker;
	struct sim_worker *w = &s->workers[id];
	int64_t cold = (int64_t)((0.5 + sim_uniform(&s->chance)) * (double)p->cold_s * SIM_SECOND);

	sim_count(s, account);
	if (a->live_count == p->concurrent || a->live_count == SIM_SESSIONS) {
		s->figures.passes++;
		return id;
	}
	a->live[a->live_count++] = id;
	w->state = SIM_STARTING;
	w->refused = s->now < a->cools_until || sim_uniform(&s->chance) < p->refused ||
		     (p->week_s && a->used >= (double)p->week_s * SIM_SECOND);
	w->launched = w->seen = s->now;
	w->deadline = w->busy = 0;
	w->stamp++;
	for (int i = 0; i < SIM_SLOTS; i++)
		w->jobs[i] = -1;
	s->figures.starts++;
	if (seconds && !w->refused)
		sim_deadline(s, id, s->now + seconds * SIM_SECOND);
	/* Once in 60 hours one dies. */
	sim_post(s, s->now + (int64_t)(-log(1 - sim_uniform(&s->chance)) * 60 * SIM_HOUR), SIM_DIES, id, w->stamp);
	sim_post(s, s->now + (w->refused ? 5 * SIM_SECOND : cold), SIM_UP, id, w->stamp);
	return id;
}

void sim_stop(struct sim *s, int worker)
{
	struct sim_worker *w = &s->workers[worker];
	struct sim_account *a = &s->accounts[w->account];
	const struct sim_provider *p = &sim_providers[a->at];
	int64_t lasted = s->now - w->launched;

	sim_count(s, w->account);
	for (int i = 0; i < SIM_SLOTS; i++)
		if (w->jobs[i] >= 0)
			leave(s, w->jobs[i], false);
	for (int i = 0; i < a->live_count; i++)
		if (a->live[i] == worker)
			a->live[i--] = a->live[--a->live_count];
	if (p->session_s && lasted > p->session_s * SIM_SECOND)
		s->figures.passes++;
	if (p->cool_down_s && lasted > (p->session_s - p->session_margin_s - 60) * SIM_SECOND)
		a->cools_until = s->now + p->cool_down_s * SIM_SECOND;
	w->state = SIM_STOPPED;
	w->stamp++;
	s->strategy->ended(s, worker);
}
