/*
 * poll - the watch of runs at providers elsewhere: rows of session_poll, each
 * claimed by one at a time.
 *
 * A row lives from the moment a run is known until its provider has said that
 * it is over, its session has ended, and what it left is kept.
 */
#ifndef DOMAIN_POLL_H
#define DOMAIN_POLL_H

#include "base/arena.h"
#include "db/db.h"

/* A run that is due for a look, with what its session and worker are now.
 * Strings lie in the arena given; NULL where there is none. */
struct poll {
	int64_t session, worker, account;
	const char *provider;
	struct str reference;
	int failures;              /* of looks, in a row */
	const char *phase;         /* as last seen; NULL = never */
	double phase_for;          /* seconds */
	bool ended;                /* the session has */
	bool over;                 /* the run is, for over_for seconds */
	bool kept;                 /* what it left is */
	double over_for;
	bool registered;
	double silent;             /* of its agent */
	bool busy;                 /* a job runs there */
	bool current;              /* the worker's last session */
	bool wanted;               /* its worker should run */
	bool past_deadline;
	double left;               /* seconds until its deadline; < 0 = past, or none */
	double unwanted;           /* seconds since it should have ended; < 0 = it may run */
	const char *resource;
	struct poll_machine {
		const char *name;      /* of its GPUs, or of all that it has or may have */
		int gpus;              /* 0 = not told */
		int64_t memory;        /* bytes of each; 0 = not told */
	} asked, got;
	bool got_none, got_other;  /* of what was asked: no such thing at all; another, or less of it */
};

enum { POLL_CLAIM_SECONDS = 300 };

/* False when none is due. */
enum err poll_claim(struct db *db, struct arena *a, const struct buf *providers, const char *me, double grace, struct poll *ret, bool *any,
		    struct error *e) must_check;
/* Due again in so many seconds; phase NULL = as it was. */
enum err poll_next(struct db *db, int64_t session, double seconds, int failures, const char *phase, struct error *e) must_check;
/* It is watched no more. */
enum err poll_end(struct db *db, int64_t session, struct error *e) must_check;

/* What it left: the end of its log, and files; content STR_NULL = too large to keep.  last: nothing more is
 * expected, so that it may be deleted where it was. */
struct poll_file {
	struct str name, content;
	int64_t size;
};
enum err poll_keep(struct db *db, int64_t session, struct str log, const struct poll_file *files, size_t n, bool last,
		   struct error *e) must_check;

#endif
