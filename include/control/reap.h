/*
 * reap - what the one leader among the provisioners does by the clock: returns
 * what was lost, calls late workers unhealthy, ends sessions, promotes delayed
 * jobs, and lets old rows go.
 *
 * It never mistakes our own absence for the agents': after a gap in the
 * server's work (this process was away, no events process is connected, or no
 * agent at all was heard) it waits a minute before it calls anything late.
 */
#ifndef CONTROL_REAP_H
#define CONTROL_REAP_H

#include "base/config.h"
#include "db/db.h"

struct reaper {
	struct db *db;
	const struct config *config;
	bool leads;
	int64_t next_ms, housekeeping_ms, waits_ms; /* clock_ms() */
	int64_t last_ms;                  /* of the last round, 0 = none */
	int64_t silent_since_ms;          /* no agent was heard since; 0 = some was */
	int64_t hold_until_ms;            /* nothing is called late before */
	/* set by a round, taken by the loop */
	bool changed, requeued, stopped;
};

void reap_init(struct reaper *r, struct db *db, const struct config *config);
/* One round, when it is time for it. */
void reap_turn(struct reaper *r);

#endif
