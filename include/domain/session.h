/*
 * session - one run of a worker at its provider: opened before anything is
 * started, ended once, by whoever learns first that it is over.
 *
 * The statements take locks in the order session, worker, operation.  What a
 * provider calls the run (reference) is stored whatever has happened since.
 */
#ifndef DOMAIN_SESSION_H
#define DOMAIN_SESSION_H

#include "base/arena.h"
#include "base/crypto.h"
#include "db/db.h"
#include "domain/worker_fsm.h"

/* A worker with its last session; strings lie in the arena given. */
struct worker_view {
	int64_t id, owner, account;
	const char *provider, *title, *accelerator;
	const char *name;          /* its own at the provider, or NULL */
	const char *resource, *shape; /* what its accelerator is there, or NULL */
	struct str inputs;         /* JSON object of lists of names */
	int64_t max_seconds;       /* a session, as its owner allows; 0 = unlimited */
	enum worker_desire desire;
	enum worker_state state;
	int generation;
	int64_t session;           /* 0 = never had one */
	struct str intent;
	bool over;                 /* the session has ended, or there is none */
	bool registered;
	bool run_over;             /* its run is over for certain, or was never begun */
	double launched_for;       /* seconds since its start was last sent; < 0 = never */
	bool kept;                 /* what the run left there was fetched */
	struct str reference;      /* "" = not known */
	struct str last_reference; /* of the last session that has one */
	int64_t limit_seconds;     /* 0 = none */
	double silent, ended_for;  /* seconds */
};
/* ERR_NOT_FOUND when there is no such worker (here). */
enum err worker_look(struct db *db, struct arena *a, int64_t worker, struct worker_view *ret, struct error *e) must_check;

struct session_opening {
	int64_t worker, operation;
	const char *claimed_by;
	int generation;
	const uint8_t *token_hash;  /* CRYPTO_HASH bytes; NULL = a person starts it */
	enum worker_state state;    /* of the worker, from now on */
	const char *code, *reason;
	int64_t limit_seconds;      /* granted; 0 = as many as the owner allows */
	const char *resource;       /* NULL = not told apart */
};
struct session_opened {
	int64_t id;
	struct str intent;
	int64_t limit_seconds;
};
/* ERR_CONFLICT when the operation or the worker is no longer as it was, or a session is not over. */
enum err session_open(struct db *db, struct arena *a, const struct session_opening *o, struct session_opened *ret,
		      struct error *e) must_check;
/* For a start that certainly never happened; ERR_CONFLICT when it is too late. */
enum err session_token(struct db *db, int64_t session, const uint8_t hash[CRYPTO_HASH], struct error *e) must_check;
enum err session_ran(struct db *db, struct arena *a, int64_t session, struct str reference, const char *url,
		     struct error *e) must_check;

/* ---- runs at providers elsewhere ---- */
/* The start is sent now, by whoever has claimed this operation; ERR_CONFLICT when the session is past it, or
 * the operation is another's by now, who may be about to send it. */
enum err session_launched(struct db *db, int64_t session, int64_t operation, const char *claimed_by, struct error *e) must_check;
/* As session_ran(), and session_poll has a row from now on, due in so many seconds.  A session that
 * was over because no run of it was known is no longer: that run is watched, and ended if unwanted. */
enum err session_ran_remote(struct db *db, struct arena *a, int64_t session, struct str reference, const char *url, double seconds,
			    struct error *e) must_check;
/* Its run is over for certain, or certainly never began. */
enum err session_over(struct db *db, int64_t session, struct error *e) must_check;
/* What is known of the run shows with its worker, while that is in one of two states. */
enum err session_phase(struct db *db, int64_t session, const char *code, const char *reason, enum worker_state state,
		       enum worker_state other, bool *changed, struct error *e) must_check;
/* Its run should be looked at within so many seconds. */
enum err session_hurry(struct db *db, int64_t session, double seconds, struct error *e) must_check;

/*
 * One end.  code: short, for programs; reason: a sentence.  What the code says
 * of the worker (the lists are in session_end of sql/queries/session.sql):
 *   stopped drained deadline limit idle terminated upgraded superseded: nothing against it;
 *   refused inputs name_taken: its provider will not have it; the step that learnt it says so;
 *   capacity quota: nothing ran, it waits;
 *   credentials account no_gpu no_internet phone needs_human: a person must act first;
 *   any other, within five minutes of its registration or before it: an early death.
 */
struct session_ending {
	int64_t id;
	const char *code, *reason;
	struct str log;             /* any bytes; STR_NULL = keep what is stored */
	bool release;               /* its jobs use up no attempt */
	bool unregistered;          /* only if it never registered */
	double silent;              /* only if silent for so many seconds; < 0 = whatever */
};
struct session_ended {
	int ended;                  /* that were not over before */
	int requeued;               /* jobs */
};
enum { SESSION_END_MOST = 200 };
enum err session_end(struct db *db, const struct session_ending *s, int n, struct session_ended *ret, struct error *e) must_check;

#endif
