/*
 * circuit - an account as calls see it: whose credentials, and whether its
 * provider answers for it just now.
 *
 * The circuit is a row that all provisioners read before each call.  A failure
 * opens it: for as long as the provider said (Retry-After), else for a time that
 * doubles up to 15 minutes.  When that has passed one call, the probe, finds out
 * whether it answers again; any answer that makes sense closes it.
 */
#ifndef DOMAIN_CIRCUIT_H
#define DOMAIN_CIRCUIT_H

#include "base/arena.h"
#include "db/db.h"

enum { CIRCUIT_FIRST_SECONDS = 15, CIRCUIT_MOST_SECONDS = 900, CIRCUIT_PROBE_SECONDS = 60 };

/* Strings and the box lie in the arena given. */
struct account_view {
	int64_t id, owner;
	const char *provider;
	const char *email;         /* of one that a browser signs in; else NULL */
	struct str sealed;         /* STR_NULL = it has no credentials (any more), or a browser signs it in */
	int64_t key_id, sealed_version;
	const char *identity;      /* or NULL */
	const char *installation;
	bool refused;              /* these very credentials were: a person must act */
	bool paid;                 /* its owner attested a positive balance there */
	bool barred;               /* likewise, but they are good: only starts are refused */
	bool deleting;             /* its owner wants it gone: nothing starts */
	const char *reason;        /* why */
	bool unchecked;            /* nobody has asked yet whether they are good, and whose */
	bool failing;              /* its circuit is open, or was until now */
	double wait;               /* seconds until the next call may be made; 0 = now */
	const char *circuit_reason;
};
/* browser: without a look at any box.  ERR_NOT_FOUND: there is no such account. */
enum err account_open(struct db *db, struct arena *a, int64_t account, bool browser, struct account_view *ret, struct error *e) must_check;

/* Of a failing account whose time has passed: is this call the probe? */
enum err circuit_probe(struct db *db, int64_t account, bool *ret, struct error *e) must_check;
struct circuit_failure {
	int64_t account, retry_after_s; /* < 0 = the provider did not say */
	const char *code, *reason;
	bool probe;
};
enum err circuit_fail(struct db *db, const struct circuit_failure *f, struct error *e) must_check;
enum err circuit_close(struct db *db, int64_t account, struct error *e) must_check;

/* Until a person acts, for this reason, the credentials of this version are of no use (code "credentials"),
 * or the account starts nothing ("account").  *changed is raised when that is news. */
enum err account_refuse(struct db *db, int64_t account, int64_t sealed_version, const char *code, const char *reason, bool *changed,
			struct error *e) must_check;

#endif
