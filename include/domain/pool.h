/*
 * pool - a look at the workers, to tell a person what a job waits for.
 *
 * Decides nothing: the claim does.  This asks the same placement core about one
 * job at a time: for the forecast in the reply to a submission, and for the
 * reason that a queued job shows.  pool_order() adds what that takes: who
 * else waits, what is kept for whom, and what scaling could still start.
 */
#ifndef DOMAIN_POOL_H
#define DOMAIN_POOL_H

#include "base/arena.h"
#include "domain/lane.h"
#include "domain/placement.h"

/* Why a queued job waits, as the API names it.  Later ones of this list say more. */
#define WAITS(X)                      \
	X(NO_WORKER, "no_worker")       /* none that it may run on is free */               \
	X(NOT_SHARED, "not_shared")     /* one would do, but its owner does not share it */ \
	X(DOES_NOT_FIT, "does_not_fit") /* more GPUs or time than its workers have */       \
	X(PAUSED, "paused")             /* its workers, or scaling, take nothing new */     \
	X(NEEDS_HUMAN, "needs_human")   /* a worker waits for a person */                   \
	X(QUOTA, "quota")               /* what could start has no hours left */            \
	X(COLD_START, "cold_start")     /* a worker is starting */                          \
	X(BUSY, "no_worker")            /* all its workers are busy */                      \
	X(FAIRNESS, "fairness")         /* and others are before it, or slots are kept for them */ \
	X(PREPARING, "preparing")       /* a free worker is about to take it */             \
	X(RUN_AFTER, "run_after")                                                       \
	X(RETRY_BACKOFF, "retry_backoff")

enum wait {
#define X(id, name) WAIT_##id,
	WAITS(X)
#undef X
	WAIT_COUNT
};
const char *wait_name(enum wait w);

struct pool_worker {
	int64_t id;
	struct place_worker place; /* as the placement core sees it; borrows from the rows and the arena */
	bool running;              /* takes jobs now */
	enum wait otherwise;       /* what its state means for a job, when not running */
	const char *reason;        /* of its state, a sentence; "" = none */
	const struct place_lane *kept_for; /* its free slots are kept for these; NULL = nobody's */
};

struct pool {
	struct pool_worker *workers;
	int count;
	struct rows rows; /* owned */
	/* after pool_order() */
	struct place_lane *lanes; /* all that waits */
	size_t lane_count;
	struct rows queue, scaling; /* owned */
};

enum err pool_look(struct db *db, struct arena *a, struct pool *ret, struct error *e) must_check;
/* Reads who waits in what order, as it is without it.  hold_s as in struct place_weights. */
enum err pool_order(struct db *db, struct arena *a, struct pool *p, double hold_s, struct error *e) must_check;
void pool_free(struct pool *p);
#define cleanup_pool __attribute__((cleanup(pool_free)))

/* The worker that would take such a job now, whose slots it then fills in this look; 0 = none. */
int64_t pool_take(struct pool *p, const struct lane *l);
enum wait pool_why(const struct pool *p, const struct lane *l);
/* Why in sentences, and what would change it; NULL where the reason says all. */
const char *pool_explain(const struct pool *p, const struct lane *l, enum wait why, struct arena *a);

#endif
