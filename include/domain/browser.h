/*
 * browser - what a browser instance alone may know.
 *
 * Key pairs for passwords: the private halves are in the instance's memory and
 * nowhere else, for ten minutes; a new pair comes every five.  Who gives a
 * password seals it to the newest public half; the instance takes it, which
 * removes it, and what backups and the log of changes hold of it opens for nobody
 * once its key is forgotten.  The plaintext says whose it is, and opens for no other.
 *
 * Pictures of pages that asked for a person: for the account's owner.
 */
#ifndef DOMAIN_BROWSER_H
#define DOMAIN_BROWSER_H

#include "base/crypto.h"
#include "db/db.h"

enum { BROWSER_KEY_SECONDS = 600, BROWSER_PASSWORD_MOST = 1024 };

/* ---- the instance ---- */

struct browser_keys;

struct browser_keys *browser_keys_new(void);
void browser_keys_free(struct browser_keys *k);
/* Forgets what is over, and makes a new one when it is time; from any thread, as often as wished. */
enum err browser_keys_turn(struct browser_keys *k, struct db *db, struct error *e) must_check;
/* The password that was given for this account, once.  ret->ptr NULL: there is none that opens. */
enum err browser_password_take(struct browser_keys *k, struct db *db, int64_t account, int64_t owner, struct secret *ret, struct error *e) must_check;
/* png STR_NULL: there is none any more. */
enum err browser_picture_put(struct db *db, int64_t account, struct str png, struct error *e) must_check;

/* ---- who gives one ---- */

/* In the caller's transaction.  ERR_CONFLICT at credentials.password: no instance runs that could use it. */
enum err browser_password_give(struct db *db, struct arena *a, int64_t account, int64_t owner, struct str password, struct error *e) must_check;
/* ERR_NOT_FOUND: there is none, or the account is another's. */
enum err browser_picture(struct db *db, struct arena *a, int64_t account, int64_t owner, struct str *ret, struct error *e) must_check;

#endif
