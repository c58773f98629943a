/*
 * audit - the append-only record of who did what.
 *
 * The router writes one entry for every write that succeeded, in its
 * transaction; command line and provisioner write their own.
 */
#ifndef DOMAIN_AUDIT_H
#define DOMAIN_AUDIT_H

#include "base/json.h"
#include "db/db.h"
#include "domain/principal.h"

struct audit_entry {
	const struct principal *principal;
	const char *action;        /* the route's or command's name */
	const char *object;        /* "token 12"; "" = none */
	const struct json *detail; /* may be NULL; never a secret */
	struct str address, request_id;
};

enum err audit_write(struct db *db, struct arena *a, const struct audit_entry *entry, struct error *e) must_check;

/* Newest first: at most limit entries older than the cursor (0, 0 = all).  The array's
 * last entry is the next cursor. */
struct audit_query {
	int64_t before_us, before_id; /* time in microseconds since 1970, and id */
	int64_t limit;
	const char *action, *user; /* NULL = any; of decisions their kind, and no user */
};
/* Appends {id, at, user, token, action, object, detail, address, requestId} to list;
 * *next_us and *next_id are 0 when there is no more. */
enum err audit_list(struct db *db, struct arena *a, const struct audit_query *q, struct json *list, int64_t *next_us,
		    int64_t *next_id, struct error *e) must_check;

/* Decisions the principal may see: an admin all, others those about own objects. */
enum err decision_list(struct db *db, struct arena *a, const struct principal *p, const struct audit_query *q,
		       const char *subject, struct json *list, int64_t *next_us, int64_t *next_id,
		       struct error *e) must_check;

#endif
