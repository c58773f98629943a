/*
 * worker - the GPUs that people ask us to keep (notebooks, in the REST path).
 *
 * This module writes intent: what is wanted, in a generation that grows with
 * each change of mind, and the operation that a provisioner is to do for it.
 * What comes of that (states, sessions, addresses) others write.  Each call
 * takes the principal; another's worker is ERR_NOT_FOUND for whoever would
 * change it, and seen by operators without what is its owner's alone.
 */
#ifndef DOMAIN_WORKER_H
#define DOMAIN_WORKER_H

#include "base/config.h"
#include "base/json.h"
#include "db/db.h"
#include "domain/principal.h"

enum { WORKER_SECONDS_MIN = 60, WORKER_SECONDS_MAX = 31536000 };

/*
 * Whether a worker that this driver starts could reach us: ERR_CONFLICT with the
 * reason "public_url" while the public URL is not https with a public host.
 * The local provider runs beside us and always can.  `manual` may also be
 * loopback: that provider has no address of its own, the person pastes the
 * line on this very machine.  A provider whose own base address is loopback is
 * a stand-in on this machine and can reach whatever we can.
 */
extern const char worker_unattested[]; /* of a provider's way that needs a balance, which nobody has attested */
enum err worker_reachable(const char *driver, const struct config *config, struct error *e) must_check;

struct worker_new {
	const char *provider;
	const char *way; /* its start, where the provider has several; NULL = the usual one */
	const char *accelerator;
	const char *title; /* NULL = made up */
	const char *email; /* NULL = none */
	int64_t account_id; /* 0 = the one that the provider implies, or the person's own there */
	const struct json *credentials; /* of the person's account there, made or renewed with it; NULL = none */
	const struct json *inputs;      /* see domain/inputs.h; NULL = none */
	int64_t max_session_seconds; /* 0 = none */
	bool set_idle;               /* else as config says, where the provider limits hours or sessions */
	int64_t idle_stop_seconds;   /* 0 = never, where set */
	bool start;
};
/* In a transaction of the caller's.  What the provider's rows do not allow is ERR_INVALID at its field
 * (domain/policy.h); ERR_CONFLICT: unreachable as above, or at "title" a name that another has. */
enum err worker_create(struct db *db, struct arena *a, const struct principal *p, const struct worker_new *n,
		       const struct config *config, int64_t *id, struct error *e) must_check;

/* What is to be different; NULL, false and 0 leave things as they are. */
struct worker_change {
	int64_t version; /* that it must have */
	const char *title, *accelerator;
	const struct json *inputs; /* all of them */
	const char *desired; /* "running" (a failed one is started anew), "stopped" or "deleted" */
	bool set_max, set_idle;
	int64_t max_session_seconds, idle_stop_seconds; /* 0 = none, where set */
};
struct worker_changed {
	char provider[32];
	bool done;   /* something is different now */
	bool turned; /* an operation is due */
};
/* In a transaction of the caller's: what is not OK is to be rolled back.  ERR_PRECONDITION: another version;
 * ERR_CONFLICT: being deleted, or unreachable as above; ERR_INVALID: the time of a running session may
 * only be lowered (which moves its deadline at once). */
enum err worker_change(struct db *db, const struct principal *p, int64_t id, const struct worker_change *c,
		       const struct config *config, struct worker_changed *ret, struct error *e) must_check;

struct worker_filter {
	int64_t above; /* ids above this */
	int limit;
	const char *provider, *state; /* NULL = any */
};
/* One statement; rows of worker_page. */
enum err worker_list(struct db *db, const struct principal *p, const struct worker_filter *f, struct rows *ret,
		     struct error *e) must_check;
enum err worker_get(struct db *db, const struct principal *p, int64_t id, struct rows *ret, struct error *e) must_check;
/* Newest first, ids below `below` (0 = all).  A row without an id: it has had none.
 * A deleted worker's too, to its owner and admins. */
enum err worker_sessions(struct db *db, const struct principal *p, int64_t id, int64_t below, int limit, struct rows *ret,
			 struct error *e) must_check;

/* Stores the hash of a new enrolment token for the session that a person is to start by hand;
 * *ret has a row with `until`.  ERR_CONFLICT: the worker does not wait for that. */
enum err worker_enrol(struct db *db, const struct principal *p, int64_t id, const uint8_t hash[32], struct rows *ret,
		      struct error *e) must_check;
/* The same of one whose notebook a person opens: a row of worker_notebook, with what that is made of. */
enum err worker_notebook(struct db *db, const struct principal *p, int64_t id, const uint8_t hash[32], struct rows *ret,
			 struct error *e) must_check;

#endif
