/*
 * account - one person's credentials at one provider, as the web may see them.
 *
 * What is sealed is written and never read here.  An account is seen by its
 * owner and by admins; to others it does not exist.
 */
#ifndef DOMAIN_ACCOUNT_H
#define DOMAIN_ACCOUNT_H

#include "base/json.h"
#include "db/db.h"
#include "domain/principal.h"

struct account_new {
	struct str provider, label;      /* label STR_NULL = "" */
	const struct json *credentials;  /* as sent: see domain/credentials.h; NULL where the provider needs none */
	bool paid;                       /* its owner says that it has compute units */
};

/* In a transaction of the caller's, as all that writes here.  ERR_INVALID: no such provider, or
 * credentials that are not as they must be; ERR_CONFLICT: the person has one, whose id is *ret_id;
 * ERR_UNAVAILABLE: there is no sealing key yet. */
enum err account_create(struct db *db, struct arena *a, const struct principal *p, const struct account_new *n,
			int64_t *ret_id, struct error *e) must_check;
/* The caller's own account at a provider gets these credentials; it is made where there is none. */
enum err account_put(struct db *db, struct arena *a, const struct principal *p, const char *provider,
		     const struct json *credentials, int64_t *ret_id, struct error *e) must_check;

struct account_change {
	struct str label;               /* STR_NULL = stays */
	struct str sharing;             /* none, all, named; STR_NULL = stays */
	const struct json *shared_with; /* array of user ids; NULL = stays */
	const struct json *credentials; /* in place of the old ones; NULL = stay */
	bool set_budget;
	const struct json *budget;      /* see domain/budget.h; NULL = none any more */
	bool set_paid, paid;            /* what its owner says of compute units; dated now */
};

/* ERR_CONFLICT with reason "sharing_not_allowed": the provider's terms, quoted in the message. */
enum err account_change(struct db *db, struct arena *a, const struct principal *p, int64_t id,
			const struct account_change *c, struct error *e) must_check;
/* *gone: its credentials are, at once; a row stays for the workers it had.  Else it has notebooks: it starts
 * nothing more, they are deleted, and it goes when they have, its credentials at once if it is to abandon what
 * it has at its provider.  ERR_CONFLICT: some are of other people. */
enum err account_delete(struct db *db, const struct principal *p, int64_t id, bool abandon, bool *gone, struct error *e) must_check;
/* Asks its provider soon whether its credentials are good.  ERR_CONFLICT: it has none. */
enum err account_check(struct db *db, const struct principal *p, int64_t id, struct error *e) must_check;

/* {id, provider, label, ownerId, owner, identity, status, reason, reasonCode, checkedAt, sharing, sharedWith, sharingAllowed,
 * hasCredentials, start, email, consent: {state: none|asked|given, scopes, givenAt, error}|null, computeUnitsAttestedAt, budget, quotaUrl,
 * createdAt, updatedAt}; the caller's.  status is "unchecked" until the credentials that it has now were, "deleting" while
 * its last notebooks go. */
enum err account_get(struct db *db, const struct principal *p, int64_t id, struct json **ret, struct error *e) must_check;
/* In order of id, above after; appends to list. */
enum err account_list(struct db *db, const struct principal *p, int64_t after, int64_t limit, struct json *list,
		      struct error *e) must_check;

#endif
