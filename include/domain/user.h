/*
 * user - people and their sign-ins; their API tokens are in domain/token.h.
 *
 * Of every secret only a hash is stored: argon2id of passwords, BLAKE2b-256 of
 * tokens and cookies.  Functions without a principal are for admins: the caller
 * has checked.  JSON has ids as decimal strings.
 */
#ifndef DOMAIN_USER_H
#define DOMAIN_USER_H

#include "base/json.h"
#include "db/db.h"
#include "domain/principal.h"

/* ---- who is it? ---- */

/* OK or ERR_UNAUTHORIZED saying why (unknown, expired, revoked, deactivated). */
enum err user_by_token(struct db *db, struct str token, struct principal *ret, struct error *e) must_check;
/* *stale: the cookie's value is due for replacement. */
enum err user_by_login(struct db *db, struct str cookie, struct principal *ret, bool *stale, struct error *e) must_check;
/* A principal by name, as the command line needs it; ERR_NOT_FOUND. */
enum err user_by_name(struct db *db, struct str name, struct principal *ret, struct error *e) must_check;

/* ---- signing in ---- */

/*
 * Checks name and password, and fills the principal (without login_id).
 * Every try is counted before the password is looked at; after 5 wrong ones
 * further tries are refused unseen for a minute, and twice as long with each
 * more, up to 15 min.  An unknown name costs and says the same:
 * ERR_UNAUTHORIZED.  ERR_UNAVAILABLE: too many hashes run on this host, whose
 * slots are files in slot_dir ("" = no limit).  Not inside a transaction.
 */
enum err user_check_password(struct db *db, const char *slot_dir, struct str name, struct str password,
			     struct principal *ret, struct error *e) must_check;
/* Opens a sign-in with this cookie value, good for 30 days, or 7 days unused. */
enum err login_open(struct db *db, int64_t user_id, struct str cookie, struct principal *p, struct error *e) must_check;
enum err login_close(struct db *db, int64_t login_id, struct error *e) must_check;
/* By its cookie, when another sign-in takes its place. */
enum err login_close_cookie(struct db *db, struct str cookie, struct error *e) must_check;
/* All of this person's but the one at hand. */
enum err login_close_others(struct db *db, const struct principal *p, struct error *e) must_check;
/* ERR_CONFLICT when the value was replaced already.  The old one is good for 60 s more. */
enum err login_rotate(struct db *db, int64_t login_id, struct str old, struct str fresh, struct error *e) must_check;

/* ---- people ---- */

struct user_new {
	struct str name;     /* [a-z0-9][a-z0-9._-]{0,62} */
	enum role role;
	struct str email;    /* STR_NULL = none */
	struct str password; /* STR_NULL = no sign-in by password */
	struct str locale;   /* STR_NULL = en */
};

enum { PASSWORD_MIN = 8, PASSWORD_MAX = 256 };

/* ERR_CONFLICT: the name is taken; ERR_INVALID names the field. */
enum err user_create(struct db *db, struct arena *a, const char *slot_dir, const struct user_new *u, int64_t *ret_id,
		     struct error *e) must_check;

/* What changes; members that are STR_NULL, 0 or negative stay. */
struct user_change {
	enum role role;      /* ROLE_NONE = stays */
	int active;          /* 0, 1; -1 = stays */
	bool set_email;
	struct str email;    /* with set_email; STR_NULL = none */
	struct str password;
	struct str locale;
	double weight;       /* 0 = stays */
};

/* As an admin.  Deactivating ends sign-ins and revokes tokens; a new role
 * replaces cookies at their next use; a new password ends sign-ins.  The last
 * active admin stays one: ERR_CONFLICT. */
enum err user_change(struct db *db, struct arena *a, const char *slot_dir, int64_t id, const struct user_change *c,
		     struct error *e) must_check;
/* A person's own password; other sign-ins end.  ERR_INVALID on field "current". */
enum err user_change_password(struct db *db, struct arena *a, const char *slot_dir, const struct principal *p,
			      struct str current, struct str fresh, struct error *e) must_check;
/* ERR_CONFLICT while the user owns anything, or is the last admin. */
enum err user_delete(struct db *db, int64_t id, struct error *e) must_check;

/* {id, name, email, role, active, locale, weight, hasPassword, createdAt, lastUsedAt}; the caller's. */
enum err user_get(struct db *db, int64_t id, struct json **ret, struct error *e) must_check;
/* In order of id, above after; appends to list. */
enum err user_list(struct db *db, int64_t after, int64_t limit, struct json *list, struct error *e) must_check;

#endif
