/*
 * reconcile - brings workers to what is wanted of them, one step at a time.
 *
 * Each turn reads the rows anew; nothing that matters is kept in memory.  A
 * step does at most one thing that changes a provider, and each of them may be
 * repeated: before a start comes find(), stop() and remove() are harmless.
 * The outcome is written by compare-and-set, so of two provisioners that took
 * the same step for theirs one writes nothing.
 *
 * Provider calls take values and give values.  They are made on this thread:
 * the providers of this machine answer in milliseconds.  A slow one would be
 * called from a pool behind call_provider() without any other change.
 */
#ifndef CONTROL_RECONCILE_H
#define CONTROL_RECONCILE_H

#include "base/arena.h"
#include "base/config.h"
#include "db/db.h"
#include "domain/session.h"
#include "provider/provider.h"

enum { RECONCILE_PROVIDERS = 16 };

struct reconciler {
	struct db *db;
	const struct config *config;
	const struct provider *providers[RECONCILE_PROVIDERS]; /* that this instance serves */
	size_t provider_count;
	char me[96];                   /* host, process and a random part */
	struct arena arena;            /* of one step */
	bool began;                    /* has given up the claims of dead predecessors */
	/* set by a step, taken by the loop: who should be told after the commits */
	bool changed, requeued, again_soon;
	int64_t look_at[RECONCILE_PROVIDERS]; /* clock_ms() of the next look at the runs */
	int64_t sweep_at, orphans_at;
};

/* ERR_INVALID for a name that no provider has. */
enum err reconcile_init(struct reconciler *r, struct db *db, const struct config *config, struct error *e) must_check;
void reconcile_free(struct reconciler *r);

/* Says for each provider whether this host can drive it; ERR_INVALID when one
 * that was named cannot. */
enum err reconcile_check(struct reconciler *r, struct error *e) must_check;

/* Steps that are due, then what is missing; the number of steps done, -1 when
 * the database did not answer. */
int reconcile_turn(struct reconciler *r);
/* Sessions whose run has ended or passed its deadline, and runs that no session
 * stands for; does nothing before its time. */
void reconcile_watch(struct reconciler *r);
/* Ends the runs of this machine and their sessions, for --stop-workers. */
void reconcile_stop_local(struct reconciler *r);

#endif
