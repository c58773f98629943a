/*
 * backlog - how much waits and runs, and why it waits, without reading a job.
 *
 * Counts come from the lanes, so that a million waiting jobs cost what ten do.
 * The reasons are those of domain/pool.h, one look at the workers for all lanes.
 */
#ifndef DOMAIN_BACKLOG_H
#define DOMAIN_BACKLOG_H

#include "base/arena.h"
#include "base/json.h"
#include "db/db.h"
#include "domain/principal.h"

struct backlog {
	int64_t queued; /* all that wait, those for a time included */
	int64_t run_after, retry_backoff; /* of them, for a time */
	int64_t running;
	int64_t oldest_seconds; /* of those that could run; -1 = none */
};

/* Those of the principal; an administrator's are all. */
enum err backlog_count(struct db *db, const struct principal *p, struct backlog *ret, struct error *e) must_check;
/* Appends {waitingReason, count} to list, the largest count first.  hold_s as in struct place_weights. */
enum err backlog_reasons(struct db *db, struct arena *a, const struct principal *p, const struct backlog *b, double hold_s,
			 struct json *list, struct error *e) must_check;

#endif
