/*
 * keys - the life of sealing keys: new, active, retired.
 *
 * A key is a row (its public half) and a file on each host that may open
 * (domain/keyfile.h).  What is sealed goes to the active key of the highest
 * id.  A rotation makes a key, waits until every live program has its file,
 * makes it active, seals everything anew, and retires those before it; each
 * step can be gone on from after a crash, and nothing stands still meanwhile.
 */
#ifndef DOMAIN_KEYS_H
#define DOMAIN_KEYS_H

#include "base/json.h"
#include "domain/instance.h"
#include "domain/sealed.h"

/* instance_seen() with the keys whose private halves are in dir: say it every INSTANCE_SECONDS.  A
 * file that is not as it must be is an error, and said of the others all the same. */
enum err keys_announce(struct db *db, const char *dir, enum seal_purpose purpose, const char *name, const char *const *providers,
		       struct error *e) must_check;

/* Makes the first key, active at once.  ERR_CONFLICT: there is one; *id is its id. */
enum err keys_init(struct db *db, const char *dir, enum seal_purpose purpose, int64_t *id, struct error *e) must_check;

/* One step of a rotation. */
enum keys_step {
	KEYS_MADE,    /* the new key's file and row are there */
	KEYS_WAITS,   /* for live programs without it: `missing` of them, one is named */
	KEYS_ACTIVE,  /* it is used from now on */
	KEYS_SEALED,  /* `count` boxes were sealed anew; more may be left */
	KEYS_RETIRED, /* those before it are used by nothing any more: the end */
};
struct keys_rotation {
	int64_t id;       /* the new key */
	int64_t count;
	int64_t unopened; /* boxes that no key here opens, so far: theirs is not retired */
	int64_t missing;
	char instance[128];
};
/* Zero *r before the first call; call again until KEYS_RETIRED.  What an earlier rotation left
 * undone is gone on with.  ERR_NOT_FOUND: there is no key; ERR_CONFLICT: boxes that do not open. */
enum err keys_rotate(struct db *db, const char *dir, enum seal_purpose purpose, struct keys_rotation *r, enum keys_step *ret,
		     struct error *e) must_check;

/* {id, purpose, state, createdAt, used, here}: `here` where dir holds the private half. */
enum err keys_list(struct db *db, const char *dir, enum seal_purpose purpose, struct json *list, struct error *e) must_check;

#endif
