/*
 * placement - which waiting jobs go to which workers; the only place where that
 * is decided.  Pure: a snapshot in, decisions with reasons out; no I/O, no
 * clock, no database.
 *
 * A lane is all that may be told apart among waiting jobs; its jobs leave in
 * order.  A worker here is a session that can take work now.  Eligibility comes
 * before preference: first who may run on whose account, then what fits.
 *
 * Order among lanes: priority, raised by one class for each PLACE_AGEING_S of
 * waiting, at last above every fresh job, so that none waits for ever; then the
 * owner who has used the least, in GPU-seconds by the ledger (which fades) and
 * over the owner's weight; then the longest wait.  What is given counts at once.
 *
 * Among the workers that may take a job, each preference gives a value of 0 to
 * 1, times its weight; the highest sum wins.  A short job goes into the tail of
 * a session where it just fits; one of unknown length where most time is left.
 *
 * Jobs of one GPU would take each that gets free, and one that needs several at
 * once would wait for ever.  So what waits for longer than hold_s has the free
 * slots of one worker kept, that which has most of them, until it fits there.
 * Bounded: one worker an owner, and of the workers with several slots a quarter.
 */
#ifndef DOMAIN_PLACEMENT_H
#define DOMAIN_PLACEMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"

enum {
	PLACE_AGEING_S = 600,  /* of waiting raise a lane by one class */
	PLACE_CLASS_MOST = 10, /* no fresh job has it */
	PLACE_TIME_LEFT_S = 30, /* a session with less left gets nothing */
	PLACE_RESUME_S = 600,   /* what a job that goes on elsewhere is worth starting for */
};

struct place_lane {
	int64_t id, owner_id;
	const char *accelerator; /* "T4,A100" | "gpu" | "cpu" | "" = any */
	int gpus;          /* 1 at least */
	int priority;      /* 0…9, 9 first */
	int64_t depth;     /* jobs that wait */
	double waited_s;   /* of the oldest */
	double estimate_s; /* of a job: a session must have that much left; 0 = unknown */
	bool resumes;      /* it may go on in another session: PLACE_RESUME_S are enough */
	double cost_s;     /* what a job of unknown length is taken for in fair shares; 0 = usual */
	double used_s;     /* GPU-seconds of the owner so far; the same in all lanes of an owner */
	double weight;     /* of the owner's share; 0 = 1 */
	size_t keeps;      /* set by place_choose: 1 + the worker whose free slots are kept for it; 0 = none */
};

enum place_sharing { PLACE_SHARED_NONE, PLACE_SHARED_ALL, PLACE_SHARED_NAMED };

struct place_worker {
	int64_t session_id, owner_id; /* of the account, whoever started the worker */
	const char *got;    /* comma list of what a job's accelerator may match */
	int free;           /* GPUs, or slots of a worker without */
	int slots;          /* free or not; 0 = not known, and nothing is kept there */
	double seconds_left; /* INFINITY = no deadline */
	double hours_end_s;  /* until the account's hours of the week expire; 0 = they do not */
	enum place_sharing sharing; /* already NONE where the provider's policy forbids it */
	const int64_t *shared_with;
	size_t shared_count;
};

/* Why a lane's job cannot run on a worker now. */
enum place_fit { PLACE_FITS, PLACE_NOT_SHARED, PLACE_ACCELERATOR, PLACE_TOO_BIG, PLACE_TIME, PLACE_BUSY, PLACE_FIT_COUNT };

/* Why a lane was chosen before the others. */
enum place_why { PLACE_ONLY, PLACE_PRIORITY, PLACE_FAIR, PLACE_OLDEST, PLACE_WHY_COUNT };

struct place_pick {
	size_t lane, worker; /* indices into the snapshot */
	int n;               /* jobs */
	enum place_why why;
};

/* Of the preferences among workers: the lane's own owner's account, the time left, hours that expire first, least load. */
struct place_weights {
	double own, time, expiry, load;
	double hold_s; /* after so long free slots are kept for jobs of several GPUs; 0 = never */
};

/* Seconds that a session must have left. */
double place_needs(const struct place_lane *l);
/* Seconds that one job counts in fair shares when it is given. */
double place_cost(const struct place_lane *l);
enum place_fit place_fits(const struct place_lane *l, const struct place_worker *w);
/* Whether a comes before b in the order among lanes; *why says by what. */
bool place_before(const struct place_lane *a, const struct place_lane *b, enum place_why *why);
/* Whether one of `accelerator`'s names is among `got`. */
bool place_matches(const char *accelerator, const char *got);

/*
 * Fills at most cap picks; the sum of n for a worker never passes its free
 * slots, for a lane its depth.  Adds to used_s of all lanes what their owners
 * were given.  Works in the arena.
 */
size_t place_choose(const struct place_weights *weights, struct place_lane *lanes, size_t lane_count,
		    const struct place_worker *workers, size_t worker_count, struct place_pick *ret, size_t cap, struct arena *a);

const char *place_fit_name(enum place_fit f);
const char *place_why_name(enum place_why w);

#endif
