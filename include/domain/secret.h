/*
 * secret - values that a person's jobs find in their environment, by name.
 *
 * The web writes: a value is sealed to the active key of the purpose `secrets`
 * and bound to its owner and name, and nothing that the web may call gives it
 * back.  Only the owner sees, uses or removes a secret; an administrator has
 * no way to another's.
 *
 * The secrets role reads: secret_of_lease() and secret_open(), for the session
 * that holds the lease of a job that names the secret.
 */
#ifndef DOMAIN_SECRET_H
#define DOMAIN_SECRET_H

#include "base/json.h"
#include "db/db.h"
#include "domain/principal.h"

enum {
	SECRET_NAME_MAX = 64,
	SECRET_VALUE_MAX = 32 << 10, /* bytes */
	SECRETS_MAX = 200,           /* a person */
	JOB_SECRETS_MAX = 32         /* a job */
};

/* What is wrong with a name, to stand behind it ("must be …"); NULL = nothing.  Besides what is no name
 * of a variable those are refused that would change how the worker runs a job, or what its loader and
 * interpreter load. */
const char *secret_name_fault(struct str name);

/* Appends {name, createdAt, updatedAt, lastUsedAt} of p's own, in order of name. */
enum err secret_list(struct db *db, const struct principal *p, struct json *list, struct error *e) must_check;
/* Which of a text array (array_begin()…) of names p has: rows of one column, name. */
enum err secret_known(struct db *db, const struct principal *p, const struct buf *names, struct rows *ret, struct error *e) must_check;
/* ERR_NOT_FOUND: p has none of that name. */
enum err secret_remove(struct db *db, struct arena *a, const struct principal *p, struct str name, struct error *e) must_check;

#endif
