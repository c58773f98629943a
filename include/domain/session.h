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
	int64_t id, owner;
	const char *provider, *title, *accelerator;
	enum worker_desire desire;
	enum worker_state state;
	int generation;
	int64_t session;           /* 0 = never had one */
	struct str intent;
	bool over;                 /* the session has ended, or there is none */
	bool registered;
	struct str reference;      /* "" = not known */
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

/* One end.  code: short, for programs; reason: a sentence.  Orderly ends that
 * say nothing against the worker are stopped, drained, deadline, limit, idle,
 * terminated, upgraded; any other within five minutes is an early death. */
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
