/*
 * lane - all that placement may tell apart, as one small number.
 *
 * PostgreSQL keeps the jobs of a lane first-in first-out; the placement core
 * chooses among lanes.  Rows are made when first needed and never deleted, so
 * each process remembers their ids.  What it remembers may still be wrong (a
 * rolled back transaction, another database): job_submit checks the ids, and
 * lane_forget() makes the next look-up ask again.
 */
#ifndef DOMAIN_LANE_H
#define DOMAIN_LANE_H

#include <stdint.h>

#include "db/db.h"
#include "domain/job_fsm.h"

enum {
	LANE_ACCELERATOR_MAX = 256, /* bytes of the canonical list, with NUL */
	LANE_ACCELERATORS = 8,      /* names in it */
	LANES_PER_OWNER = 2000      /* each costs a probe in every look at the queue */
};

struct lane {
	int64_t owner;
	enum job_type type;
	char accelerator[LANE_ACCELERATOR_MAX]; /* sorted comma list; "" = any */
	int gpus;
	int endpoint; /* 0 = none */
	int priority; /* 0…9, 9 first */
	int estimate; /* seconds, of the steps of domain/estimate.h; 0 = not known */
};

/* A name that a worker may have got: letters, digits, "._-", at most 64. */
bool accelerator_valid(struct str name);
/*
 * The canonical list of n valid names: sorted, each once; "cpu", "gpu" and
 * "tpu" in lower case.  False when it does not fit.
 */
bool accelerator_list(const struct str *names, int n, char ret[LANE_ACCELERATOR_MAX]) must_check;
/* Ids of n lanes, made where they are missing.  ERR_INVALID when an owner has too many. */
enum err lane_find(struct db *db, const struct lane *lanes, int n, int32_t *ids, struct error *e) must_check;
void lane_forget(void);

#endif
