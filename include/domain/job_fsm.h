/*
 * job_fsm - the types and states of a job, the outcomes of an attempt, and every edge.
 *
 * A type's and a state's number is what the database stores (job_done.state,
 * job_attempt.outcome) and never changes.  Statements over thousands of rows
 * move jobs in set form; they use these edges and no others, and a test
 * compares.  To add a state: a line and its edges here, and a migration.
 */
#ifndef DOMAIN_JOB_FSM_H
#define DOMAIN_JOB_FSM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

enum job_type { JOB_SCRIPT, JOB_TRAINING, JOB_INFERENCE, JOB_TYPE_COUNT };

#define JOB_STATES(X)          \
	X(QUEUED, "queued")       \
	X(RUNNING, "running")     \
	X(SUCCEEDED, "succeeded") \
	X(FAILED, "failed")       \
	X(TIMED_OUT, "timed_out") \
	X(CANCELLED, "cancelled")

enum job_state {
#define X(id, name) JOB_##id,
	JOB_STATES(X)
#undef X
	JOB_STATE_COUNT
};

/* How an attempt ended: a state that ends a job, or one of these, which end the attempt only. */
enum { JOB_RELEASED = JOB_STATE_COUNT, JOB_LOST, JOB_OUTCOME_COUNT };

struct job_edge {
	enum job_state from, to;
	const char *why;
};

extern const struct job_edge job_edges[];
extern const size_t job_edge_count;

const char *job_type_name(enum job_type t);
enum job_type job_type_parse(struct str name); /* JOB_TYPE_COUNT when unknown */

const char *job_state_name(int state);     /* "queued", …; BUG for no state */
const char *job_outcome_name(int outcome); /* the same, with "released" and "lost" */
/* JOB_STATE_COUNT when there is none of that name. */
enum job_state job_state_parse(struct str name);
/* Over, until a person asks for it again. */
bool job_state_ended(enum job_state s);
bool job_may(enum job_state from, enum job_state to);

#endif
