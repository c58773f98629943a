/*
 * reconcile - brings workers to what is wanted of them, one step at a time.
 *
 * Each turn reads the rows anew; nothing that matters is kept in memory.  A
 * step does at most one thing that changes a provider, and each of them may be
 * repeated: before a start comes find(), stop() and remove() are harmless.
 * The outcome is written by compare-and-set, so of two provisioners that took
 * the same step for theirs one writes nothing.
 *
 * A reconciler belongs to one thread.  The one of the main thread serves the
 * providers of this machine, which answer in milliseconds; those elsewhere
 * (flag REMOTE) are served by hands (control/hands.h), each with a reconciler of
 * its own: a provisioner of its own that shares a process.
 */
#ifndef CONTROL_RECONCILE_H
#define CONTROL_RECONCILE_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/config.h"
#include "db/db.h"
#include "domain/session.h"
#include "provider/provider.h"

enum { RECONCILE_PROVIDERS = 16 };

struct browser_keys;

struct reconciler {
	struct db *db;
	struct http_client *http;      /* NULL where no provider is elsewhere */
	const struct config *config;
	const atomic_bool *stopping;   /* calls are being cut; may be NULL */
	const struct provider *providers[RECONCILE_PROVIDERS]; /* that this instance serves */
	size_t provider_count;
	bool elsewhere;                /* which are all REMOTE, or else none is */
	char me[96];                   /* host, process and a random part */
	struct arena arena;            /* of one step */
	int64_t account;               /* whose credentials calls use; 0 = none */
	struct browser_keys *browser_keys; /* of all hands of a browser instance; else NULL */
	double wait_seconds;           /* set by a call that told when the next one may be made; else 0 */
	bool began;                    /* has given up the claims of dead predecessors */
	/* set by a step, taken by the loop: who should be told after the commits */
	bool changed, requeued, again_soon;
	int64_t look_at[RECONCILE_PROVIDERS]; /* clock_ms() of the next look at the runs */
	int64_t sweep_at, orphans_at;
};

/* Serves those of config->providers that are of this machine, or those elsewhere.  ERR_INVALID
 * for a name that no provider has. */
enum err reconcile_init(struct reconciler *r, struct db *db, const struct config *config, bool elsewhere, struct error *e) must_check;
void reconcile_free(struct reconciler *r);

/* Says for each provider whether this host can drive it; ERR_INVALID when one
 * that was named cannot. */
enum err reconcile_check(struct reconciler *r, struct error *e) must_check;

/* Steps that are due, then what is missing; the number of steps done, -1 when
 * the database did not answer.  Elsewhere one step a turn. */
int reconcile_turn(struct reconciler *r);
/* Tells others after the commits, as the flags say, and clears them. */
void reconcile_tell(struct reconciler *r);
bool reconcile_stopping(const struct reconciler *r);
/* A fifth more or less, by chance: so that what began together does not stay so. */
int64_t reconcile_jitter(int64_t ms);
/* Sessions whose run has ended or passed its deadline, and runs that no session
 * stands for; does nothing before its time. */
void reconcile_watch(struct reconciler *r);
/* One run elsewhere that is due for a look; 1, 0 when none is, -1 as above. */
int reconcile_poll(struct reconciler *r);
/* One account elsewhere that is due for a check; likewise. */
int reconcile_account(struct reconciler *r);
/* One consent of a person that came back; likewise. */
int reconcile_consent(struct reconciler *r);
/* Ends the runs of this machine and their sessions, for --stop-workers. */
void reconcile_stop_local(struct reconciler *r);

#endif
