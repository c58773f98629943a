/*
 * worker_fsm - the states of a worker, what is wanted of it, and the one table
 * that says what to do next.
 *
 * worker_edges[] has one row for each pair of state and desired state: the
 * step that a provisioner does then, and the kind of operation that a sweep
 * opens when none is open (NULL = the step is done only when somebody asks).
 * worker_moves[] are the changes of state that exist at all.  SQL's CHECK list
 * and README's diagram are tested against these tables.
 *
 * To add a state: a line here, its edges and moves, a migration changing the
 * CHECK, a label in the message catalogue.
 */
#ifndef DOMAIN_WORKER_FSM_H
#define DOMAIN_WORKER_FSM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

#define WORKER_STATES(X)                                                              \
	X(STOPPED, "stopped")         /* no session; nothing of it runs */            \
	X(STARTING, "starting")       /* has a session whose agent has not registered */ \
	X(WAITING, "waiting")         /* would start, but must wait for its turn */    \
	X(HEALTHY, "healthy")         /* its agent is heard */                         \
	X(UNHEALTHY, "unhealthy")     /* three heartbeats were missed */               \
	X(DRAINING, "draining")       /* finishes what it runs and takes no more */    \
	X(STOPPING, "stopping")       /* is being ended at its provider */             \
	X(FAILED, "failed")           /* a person must look; starts when told again */ \
	X(NEEDS_HUMAN, "needs_human") /* a person must do something first */           \
	X(DELETED, "deleted")         /* kept for its history */

enum worker_state {
#define X(id, name) WORKER_##id,
	WORKER_STATES(X)
#undef X
	WORKER_STATE_COUNT
};

#define WORKER_DESIRES(X)     \
	X(RUNNING, "running") \
	X(STOPPED, "stopped") \
	X(DELETED, "deleted")

enum worker_desire {
#define X(id, name) DESIRE_##id,
	WORKER_DESIRES(X)
#undef X
	DESIRE_COUNT
};

enum worker_step {
	STEP_REST,    /* state and desire agree, and nothing can be looked at */
	STEP_VERIFY,  /* does the provider still have its run? */
	STEP_START,   /* a session, then a run of it; each at most once */
	STEP_STOP,    /* until the provider says that the run is over */
	STEP_DELETE,  /* stop, and remove what it left at the provider */
	STEP_COUNT
};

struct worker_edge {
	enum worker_state state;
	enum worker_desire desire;
	enum worker_step step;
	const char *opens; /* operation.kind */
};
extern const struct worker_edge worker_edges[];
extern const size_t worker_edge_count;

struct worker_move {
	enum worker_state from, to;
	const char *why;
};
extern const struct worker_move worker_moves[];
extern const size_t worker_move_count;

const char *worker_state_name(enum worker_state s);
const char *worker_desire_name(enum worker_desire d);
/* The names come from the database, whose CHECK is this list: others are a bug. */
enum worker_state worker_state_parse(struct str name);
enum worker_desire worker_desire_parse(struct str name);

const struct worker_edge *worker_edge(enum worker_state s, enum worker_desire d);
bool worker_may_move(enum worker_state from, enum worker_state to);

#endif
