/*
 * job - submitting, seeing, cancelling and repeating jobs, as people do.
 *
 * Each call takes the principal and touches that person's jobs only (an
 * administrator's: all); another's job is ERR_NOT_FOUND.  State changes are
 * compare-and-set statements along the edges of domain/job_fsm.h.  What agents
 * do to jobs (claim, renew, result) is elsewhere.  Hints to listeners are the
 * caller's: see web/wake.h.
 */
#ifndef DOMAIN_JOB_H
#define DOMAIN_JOB_H

#include "domain/job_fsm.h"
#include "domain/job_spec.h"
#include "domain/pool.h"
#include "domain/principal.h"

/* What became of a submission. */
struct job_placed {
	int64_t id;
	int64_t worker_id; /* forecast: was running, eligible and free; 0 = none */
	enum wait wait;    /* when there is none */
};

/* n ≤ JOB_BATCH_MAX jobs of p, all or none, in one statement. */
enum err job_submit(struct db *db, struct arena *a, const struct principal *p, const struct job_spec *specs, int n,
		    struct job_placed *ret, struct error *e) must_check;

/* One row of job_get. */
enum err job_get(struct db *db, const struct principal *p, int64_t id, struct rows *ret, struct error *e) must_check;

/* Which jobs a list shows; strings are NULL where they do not matter. */
struct job_filter {
	enum job_state state; /* JOB_STATE_COUNT = any */
	enum job_type type;   /* JOB_TYPE_COUNT = any */
	int64_t owner;        /* of an administrator's list; 0 = everyone he may see */
	const char *name;     /* prefix */
	const char *tag;
	const char *find;     /* part of name, tag or id, case does not matter */
	int64_t worker;       /* on which it runs or ended; 0 = any */
	int64_t below;        /* ids below this; 0 = the newest */
	int limit;
};
#define JOB_FILTER_ALL ((struct job_filter){.state = JOB_STATE_COUNT, .type = JOB_TYPE_COUNT})
/* Newest first. */
enum err job_list(struct db *db, const struct principal *p, const struct job_filter *f, struct rows *ret, struct error *e) must_check;

enum err job_attempts(struct db *db, const struct principal *p, int64_t id, struct rows *ret, struct error *e) must_check;
enum err job_artifacts(struct db *db, const struct principal *p, int64_t id, struct rows *ret, struct error *e) must_check;

struct job_ended {
	int64_t id;
	bool known;           /* there is such a job, of this person */
	bool cancelled;       /* by this call */
	enum job_state state; /* now */
	int64_t worker_id;    /* whose process is to be killed; 0 = none */
};
enum { JOB_CANCEL_MAX = 1000 };
/* Ends n jobs at once, whether they wait or run; ret[i] is about ids[i].  One that ended already is
 * not an error here. */
enum err job_cancel(struct db *db, const struct principal *p, const int64_t *ids, int n, struct job_ended *ret,
		    struct error *e) must_check;

/* A finished job waits again, with fresh attempts.  ERR_CONFLICT: it has not ended, or the process of
 * the cancelled attempt may still run. */
enum err job_retry(struct db *db, const struct principal *p, int64_t id, struct error *e) must_check;

#endif
