/*
 * estimate - how long a job is taken to run.
 *
 * A kind of job is its owner, type and name; a job without a name is of no
 * kind.  Of each kind and model of accelerator the last runs that succeeded are
 * kept; from ESTIMATE_RUNS of them on, their 95th percentile counts, the
 * slowest model of those that the job may get.  Until then counts what was
 * declared, if anything.  A job never runs longer than its own time limit.
 *
 * Placement tells lanes apart by the estimate, so it is rounded up to one of
 * four steps an octave: a person has few lanes, and an estimate errs by a
 * quarter at most.
 */
#ifndef DOMAIN_ESTIMATE_H
#define DOMAIN_ESTIMATE_H

#include "db/db.h"
#include "domain/job_spec.h"
#include "domain/principal.h"

enum {
	ESTIMATE_RUNS = 5,   /* fewer say nothing */
	ESTIMATE_KEPT = 32,  /* the last of a kind, as the table bounds them */
	ESTIMATE_LEAST = 60, /* what is shorter is not told apart */
	ESTIMATE_START = 60, /* of a session pass before its first job */
	ESTIMATE_KINDS = 500 /* an owner */
};

/* By nearest rank; 0 when there are fewer than ESTIMATE_RUNS.  Sorts. */
int64_t estimate_p95(int64_t *seconds, size_t n);
/* Rounded up; 0 stays 0. */
int64_t estimate_round(int64_t seconds);
/* The lane's figure for a job of these seconds where no session lasts longer than
 * `longest` (0 = any length): rounded, unless that alone would make it too long. */
int64_t estimate_within(int64_t seconds, int64_t longest);
/* Whether a session of that length could hold it. */
bool estimate_holds(int64_t seconds, int64_t longest);

/* What is known of one job's length. */
struct estimate {
	int64_t seconds; /* 0 = nothing */
	int64_t longest; /* session that the owner's accounts could give it; 0 = any length, or not known */
	bool learned;
};

/* Fills ret[i] and the lane's estimate of each spec.  One statement, two where an estimate is known. */
enum err estimate_specs(struct db *db, struct arena *a, const struct principal *p, struct job_spec *specs, int n, struct estimate *ret,
			struct error *e) must_check;
/* Declared longer than any session there could be, and cannot go on elsewhere. */
bool estimate_too_long(const struct job_spec *s, const struct estimate *est);
/* "2 h 30 min"; ret has at least ESTIMATE_TEXT bytes. */
enum { ESTIMATE_TEXT = 48 };
const char *estimate_text(int64_t seconds, char *ret);

#endif
