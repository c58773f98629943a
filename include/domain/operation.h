/*
 * operation - one step that a provisioner must do for a worker.
 *
 * At most one is open a worker.  It is claimed for a time that ends by itself,
 * so that a provisioner may die at any moment; its outcome counts only while
 * the claim is the same and the worker's generation has not moved on.
 */
#ifndef DOMAIN_OPERATION_H
#define DOMAIN_OPERATION_H

#include "db/db.h"
#include "domain/worker_fsm.h"

/* At providers elsewhere calls may be slow. */
enum { OPERATION_CLAIM_SECONDS = 60, OPERATION_CLAIM_REMOTE_SECONDS = 300 };

struct operation {
	int64_t id, worker;
	int generation, attempts; /* attempts = failures so far */
	double age;               /* seconds since it was opened */
};

/* Up to `most` steps that are due at these providers (a text[] in a buffer), for so many seconds. */
enum err operation_claim(struct db *db, const struct buf *providers, const char *me, int seconds, struct operation *ret, int most,
			 int *count, struct error *e) must_check;

/* Gives up the claims of processes of this host that are no more; me is
 * "host:pid:random".  Others' claims end by themselves. */
enum err operation_claims_of_dead(struct db *db, const struct buf *providers, const char *me, struct error *e) must_check;
/* The same of accounts and runs elsewhere that they were looking at. */
enum err operation_looks_of_dead(struct db *db, const struct buf *providers, const char *me, struct error *e) must_check;

enum operation_outcome {
	OUTCOME_KEEP,  /* still at work: the claim stays */
	OUTCOME_AGAIN, /* open, due after a while */
	OUTCOME_DONE,
	OUTCOME_FAILED,
};
struct operation_result {
	enum operation_outcome outcome;
	double again_seconds;          /* OUTCOME_AGAIN */
	bool failure;                  /* counts as one, for the backoff */
	const char *error;             /* kept with the operation; NULL = none */
	enum worker_state from, to;    /* of the worker; equal = no move */
	const char *code, *reason;     /* shown with the worker; NULL = none */
};
/* ERR_CONFLICT when the step is no longer ours to decide: nothing was written. */
enum err operation_step(struct db *db, const struct operation *o, const char *me, const struct operation_result *result,
			struct error *e) must_check;
/* Gives a step up without an outcome, for a while; over when its worker is wanted otherwise. */
enum err operation_let_go(struct db *db, const struct operation *o, const char *me, double seconds, struct error *e) must_check;
/* Opens operations that are missing; *count says how many. */
enum err operation_sweep(struct db *db, const struct buf *providers, int *count, struct error *e) must_check;

#endif
