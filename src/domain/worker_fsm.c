/* worker_fsm - see domain/worker_fsm.h. */
#include "domain/worker_fsm.h"

#include "base/error.h"

#define E(state, desire, step, opens) {WORKER_##state, DESIRE_##desire, STEP_##step, opens}

const struct worker_edge worker_edges[] = {
	E(STOPPED, RUNNING, START, "start"),
	E(STARTING, RUNNING, START, "start"),       /* the run may exist or not: find out */
	E(WAITING, RUNNING, START, "start"),
	E(HEALTHY, RUNNING, VERIFY, NULL),
	E(UNHEALTHY, RUNNING, VERIFY, NULL),
	E(DRAINING, RUNNING, VERIFY, NULL),
	E(STOPPING, RUNNING, STOP, "stop"),         /* what was begun is ended, then started */
	E(FAILED, RUNNING, START, "start"),         /* for a new generation only */
	E(NEEDS_HUMAN, RUNNING, START, "start"),    /* likewise; the line of a person who was shown one stays good */
	E(DELETED, RUNNING, REST, NULL),

	E(STOPPED, STOPPED, REST, NULL),
	E(STARTING, STOPPED, STOP, "stop"),
	E(WAITING, STOPPED, STOP, "stop"),
	E(HEALTHY, STOPPED, STOP, "stop"),
	E(UNHEALTHY, STOPPED, STOP, "stop"),
	E(DRAINING, STOPPED, STOP, "stop"),
	E(STOPPING, STOPPED, STOP, "stop"),
	E(FAILED, STOPPED, STOP, "stop"),
	E(NEEDS_HUMAN, STOPPED, STOP, "stop"),
	E(DELETED, STOPPED, REST, NULL),

	E(STOPPED, DELETED, DELETE, "delete"),
	E(STARTING, DELETED, DELETE, "delete"),
	E(WAITING, DELETED, DELETE, "delete"),
	E(HEALTHY, DELETED, DELETE, "delete"),
	E(UNHEALTHY, DELETED, DELETE, "delete"),
	E(DRAINING, DELETED, DELETE, "delete"),
	E(STOPPING, DELETED, DELETE, "delete"),
	E(FAILED, DELETED, DELETE, "delete"),
	E(NEEDS_HUMAN, DELETED, DELETE, "delete"),
	E(DELETED, DELETED, REST, NULL),
};
const size_t worker_edge_count = ARRAY_LEN(worker_edges);

#undef E
#define M(from, to, why) {WORKER_##from, WORKER_##to, why}

const struct worker_move worker_moves[] = {
	M(STOPPED, STARTING, "a session was opened"),
	M(STOPPED, WAITING, "its turn has not come"),
	M(STOPPED, NEEDS_HUMAN, "a person starts its agent, or must act first"),
	M(STOPPED, FAILED, "its provider refuses it"),
	M(STOPPED, STOPPING, "it is to be deleted"),
	M(STOPPED, DELETED, "deleted"),
	M(WAITING, STARTING, "its turn has come"),
	M(WAITING, NEEDS_HUMAN, "a person must act first"),
	M(WAITING, FAILED, "its provider refuses it"),
	M(WAITING, STOPPING, "it is wanted no more"),
	M(STARTING, HEALTHY, "the agent registered"),
	M(STARTING, WAITING, "its provider has no room now; another start follows"),
	M(STARTING, STOPPED, "the start came to nothing; another follows"),
	M(STARTING, FAILED, "its provider refuses it, or three sessions died early"),
	M(STARTING, NEEDS_HUMAN, "a person must act first"),
	M(STARTING, STOPPING, "it is wanted no more"),
	M(HEALTHY, UNHEALTHY, "three heartbeats were missed"),
	M(HEALTHY, DRAINING, "it takes no more jobs"),
	M(HEALTHY, STOPPED, "its session ended; another follows"),
	M(HEALTHY, NEEDS_HUMAN, "its session ended for what only a person can change"),
	M(HEALTHY, FAILED, "three sessions died early"),
	M(HEALTHY, STOPPING, "it is wanted no more"),
	M(UNHEALTHY, HEALTHY, "a heartbeat came"),
	M(UNHEALTHY, DRAINING, "it takes no more jobs"),
	M(UNHEALTHY, STOPPED, "its session ended; another follows"),
	M(UNHEALTHY, NEEDS_HUMAN, "its session ended for what only a person can change"),
	M(UNHEALTHY, FAILED, "three sessions died early"),
	M(UNHEALTHY, STOPPING, "it is wanted no more"),
	M(DRAINING, HEALTHY, "it takes jobs again"),
	M(DRAINING, STOPPED, "its session ended; another follows"),
	M(DRAINING, NEEDS_HUMAN, "its session ended for what only a person can change"),
	M(DRAINING, FAILED, "three sessions died early"),
	M(DRAINING, STOPPING, "it is wanted no more"),
	M(STOPPING, STOPPED, "its run is over"),
	M(STOPPING, DELETED, "deleted"),
	M(FAILED, STARTING, "it was told to start again"),
	M(FAILED, WAITING, "it was told to start again; its turn has not come"),
	M(FAILED, NEEDS_HUMAN, "a person starts its agent, or must act first"),
	M(FAILED, STOPPING, "it is wanted no more"),
	M(NEEDS_HUMAN, HEALTHY, "the agent registered"),
	M(NEEDS_HUMAN, STARTING, "what it waited for was done"),
	M(NEEDS_HUMAN, WAITING, "its account is good again, or it was told to start again"),
	M(NEEDS_HUMAN, STOPPED, "its session ended; another follows"),
	M(NEEDS_HUMAN, FAILED, "its provider refuses it, or three sessions died early"),
	M(NEEDS_HUMAN, STOPPING, "it is wanted no more"),
};
const size_t worker_move_count = ARRAY_LEN(worker_moves);

#undef M

static const char *const state_names[WORKER_STATE_COUNT] = {
#define X(id, name) [WORKER_##id] = name,
	WORKER_STATES(X)
#undef X
};

static const char *const desire_names[DESIRE_COUNT] = {
#define X(id, name) [DESIRE_##id] = name,
	WORKER_DESIRES(X)
#undef X
};

const char *worker_state_name(enum worker_state s)
{
	return state_names[s];
}

const char *worker_desire_name(enum worker_desire d)
{
	return desire_names[d];
}

static int find(const char *const names[], int n, struct str name)
{
	for (int i = 0; i < n; i++)
		if (str_eqz(name, names[i]))
			return i;
	BUG("no such state: %.*s", STR_ARG(name));
}

enum worker_state worker_state_parse(struct str name)
{
	return (enum worker_state)find(state_names, WORKER_STATE_COUNT, name);
}

enum worker_desire worker_desire_parse(struct str name)
{
	return (enum worker_desire)find(desire_names, DESIRE_COUNT, name);
}

const struct worker_edge *worker_edge(enum worker_state s, enum worker_desire d)
{
	for (size_t i = 0; i < worker_edge_count; i++)
		if (worker_edges[i].state == s && worker_edges[i].desire == d)
			return &worker_edges[i];
	BUG("no edge for %s, %s", worker_state_name(s), worker_desire_name(d));
}

bool worker_may_move(enum worker_state from, enum worker_state to)
{
	for (size_t i = 0; i < worker_move_count; i++)
		if (worker_moves[i].from == from && worker_moves[i].to == to)
			return true;
	return from == to;
}
