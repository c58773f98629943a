/*
 * token - API tokens: a secret shown once, kept as a hash, acting for its owner.
 *
 * A token has scopes, never more than its owner's role allows at the time of
 * use, an end, and the time of its last use to the minute.
 */
#ifndef DOMAIN_TOKEN_H
#define DOMAIN_TOKEN_H

#include "base/json.h"
#include "db/db.h"
#include "domain/principal.h"

struct token_new {
	struct str name;
	const struct json *scopes; /* array of names */
	int64_t expires_seconds;   /* from now; 0 = never */
};

/* A token of p's own, never above p's role or scopes: ERR_FORBIDDEN.  value is the
 * token; it is shown once. */
enum err token_create(struct db *db, struct arena *a, const struct principal *p, const struct token_new *t,
		      struct str value, int64_t *ret_id, struct error *e) must_check;
/* A token whose value is given, for `user` (make run's admin-token): replaces one of
 * the same name.  For programs of the server. */
enum err token_create_with_value(struct db *db, struct arena *a, int64_t user_id, const char *name, const char *scope,
				 struct str value, struct error *e) must_check;
enum err token_revoke(struct db *db, const struct principal *p, int64_t id, struct error *e) must_check;
/* {id, userId, user, name, scopes, createdAt, expiresAt, lastUsedAt, revokedAt}; an admin
 * may list all. */
enum err token_list(struct db *db, const struct principal *p, bool all, int64_t after, int64_t limit, struct json *list,
		    struct error *e) must_check;

#endif
