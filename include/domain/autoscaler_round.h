/*
 * autoscaler_round - what one round of the autoscaler keeps, and where a worker
 * could be started.  Private to domain/autoscaler*.c.
 */
#ifndef DOMAIN_AUTOSCALER_ROUND_H
#define DOMAIN_AUTOSCALER_ROUND_H

#include <string.h>

#include "domain/autoscaler.h"

enum strength { STRENGTH_NONE, STRENGTH_COMING, STRENGTH_READY };

/* A look at one worker, and what this round has already counted on of it. */
struct hand {
	enum strength strength;
	struct place_worker place; /* free: slots left */
	ptrdiff_t account;         /* index, -1 = unknown */
	ptrdiff_t pool;            /* index of its policy, -1 = none's */
	int64_t cover;             /* jobs that it may still be counted for while it is on its way; -1 = untouched */
	bool touched, used;        /* something waits for its free slots; it was decided on */
};

struct queue {
	size_t lane;
	int64_t priority, waited_s, id;
	int64_t uncovered;
	bool startable;
};

/* What workers of an account that were asked to be this really were. */
struct evidence {
	ptrdiff_t account;
	const char *accelerator, *got;
	int64_t slots;
};
enum { SCALE_EVIDENCE = 256 };

struct round {
	const struct scale_snapshot *s;
	struct arena *a;
	struct scale_result *ret;
	size_t cap;
	struct hand *hands;              /* one a worker */
	struct scale_resource (*left)[SCALE_RESOURCES]; /* one an account */
	struct evidence *evidence;
	size_t evidence_count;
	int64_t *broken;                 /* one an account: a worker of it that is wanted and cannot run, 0 = none */
	/* of the policy at hand */
	const struct scale_policy *p;
	size_t policy;
	bool *allowed;                   /* one an account */
	struct queue *queue;
	size_t queue_count, first_stopped;
	int64_t running, slots, uncovered, work_s;
	bool full;                       /* the arena is */
};

/* Where a worker can be started for a lane. */
struct place {
	ptrdiff_t account, worker;       /* worker -1 = one is to be made */
	const char *accelerator;
	struct scale_resource *resource; /* NULL = not limited */
	int64_t reserves_s, expires_ms;
	/* where it cannot: why, and until when */
	enum scale_code code;
	const char *blocked, *why;
	int64_t until_ms;
};

static inline bool eq(const char *a, const char *b)
{
	return !strcmp(a, b);
}

/* Index of an account, -1 = there is none. */
ptrdiff_t scale_account_find(const struct scale_snapshot *s, int64_t id);
bool scale_may_use(const struct scale_account *account, int64_t owner);
/* A worker that is on its way, or would be. */
struct arriving {
	size_t account;
	const char *accelerator;
	const char *got;           /* what it was the last time; "" = not known */
	int64_t slots, left_s;     /* left_s SCALE_NONE = no deadline */
};
/* Whether it would do for a lane's jobs, as far as is known; sets r->full. */
bool scale_will_do(struct round *r, const struct arriving *w, const struct scale_lane *l);
struct place_lane scale_place_lane(const struct scale_lane *l);
/* Of the pool of the policy at hand. */
bool scale_in_pool(const struct round *r, size_t worker);
/* Notes what is known of a worker's machine, and that it cannot run. */
void scale_learn(struct round *r, size_t worker);
/* Takes away what a worker that is to start will reserve and has not yet. */
void scale_reserve_for(struct round *r, size_t worker);
/* The place to start a worker for a lane; account -1 = none, with the reason. */
struct place scale_place(struct round *r, const struct scale_lane *l);

#endif
