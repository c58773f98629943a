/*
 * scale - rounds of the autoscaler by the one leader among the provisioners.
 *
 * All that a round needs is in the database: since when there is reason to grow
 * or to shrink, what starts already, what drains.  A leader that dies leaves a
 * round half done, and the next one decides on what is then there.
 */
#ifndef CONTROL_SCALE_H
#define CONTROL_SCALE_H

#include "base/arena.h"
#include "base/config.h"
#include "db/db.h"

struct scaler {
	struct db *db;
	const struct config *config;
	struct arena arena;     /* of one round */
	int64_t next_ms, forget_ms; /* clock_ms() */
};

void scale_init(struct scaler *s, struct db *db, const struct config *config);
void scale_free(struct scaler *s);
/* One round, when it is time for it and this process leads.  True when something was done: whoever waits
 * was told. */
bool scale_turn(struct scaler *s, bool leads);

#endif
