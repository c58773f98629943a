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
	struct str provider, label; /* label STR_NULL = "" */
};

/* For providers that need no credentials.  ERR_INVALID: no such provider, or one that needs
 * them; ERR_CONFLICT: the person has one. */
enum err account_create(struct db *db, struct arena *a, const struct principal *p, const struct account_new *n,
			int64_t *ret_id, struct error *e) must_check;

struct account_change {
	struct str label;               /* STR_NULL = stays */
	struct str sharing;             /* none, all, named; STR_NULL = stays */
	const struct json *shared_with; /* array of user ids; NULL = stays */
};

/* ERR_CONFLICT with reason "sharing_not_allowed": the provider's terms, quoted in the message. */
enum err account_change(struct db *db, struct arena *a, const struct principal *p, int64_t id,
			const struct account_change *c, struct error *e) must_check;
/* ERR_CONFLICT while it has notebooks, those deleted within 30 days included. */
enum err account_delete(struct db *db, const struct principal *p, int64_t id, struct error *e) must_check;

/* {id, provider, label, ownerId, owner, status, reason, sharing, sharedWith, sharingAllowed,
 * hasCredentials, createdAt, updatedAt}; the caller's. */
enum err account_get(struct db *db, const struct principal *p, int64_t id, struct json **ret, struct error *e) must_check;
/* In order of id, above after; appends to list. */
enum err account_list(struct db *db, const struct principal *p, int64_t after, int64_t limit, struct json *list,
		      struct error *e) must_check;

#endif
