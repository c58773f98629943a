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

#include "base/crypto.h"
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
/* Makes it, or gives it another value; in the caller's transaction.  *ret is as in the list and the caller's;
 * *made tells which it was.  ERR_INVALID: a name that cannot be (field "name"); ERR_CONFLICT: p has SECRETS_MAX;
 * ERR_UNAVAILABLE: there is no key to seal to. */
enum err secret_put(struct db *db, struct arena *a, const struct principal *p, struct str name, struct str value, struct json **ret,
		    bool *made, struct error *e) must_check;
/* Which of a text array (array_begin()…) of names p has: rows of one column, name. */
enum err secret_known(struct db *db, const struct principal *p, const struct buf *names, struct rows *ret, struct error *e) must_check;
/* ERR_NOT_FOUND: p has none of that name. */
enum err secret_remove(struct db *db, struct arena *a, const struct principal *p, struct str name, struct error *e) must_check;

/* ---- for the secrets role ---- */

/* What the job of a lease names, as STMT_SECRET_OF_LEASE tells it.  ERR_UNAUTHORIZED: the worker has no session of
 * this token; ERR_GONE: the session is over, or does not hold the lease (any more). */
enum err secret_of_lease(struct db *db, const uint8_t token_hash[CRYPTO_HASH], int64_t worker, const char *lease, struct rows *ret,
			 struct error *e) must_check;
/*
 * The value of row i as a JSON text, to be freed by the caller after OK.
 * ERR_NOT_FOUND: there is none that can be opened: it was removed, or its box
 * is not one of this owner and name (which the log then says);
 * ERR_UNAVAILABLE: its private key is not in dir.
 */
enum err secret_open(const char *dir, const struct rows *rows, int i, struct secret *ret, struct error *e) must_check;
/* All rows' secrets were opened for this request: the last use, and the audit trail. */
struct secret_giving {
	const char *action; /* the route's name */
	int64_t worker;
	struct str address, request_id;
};
enum err secret_given(struct db *db, struct arena *a, const struct rows *rows, const struct secret_giving *g, struct error *e) must_check;

#endif
