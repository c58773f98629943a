/*
 * consent - a person's leave, at Google, that we act on his account there.
 *
 * The web sends him to Google with a state that only he can bring back, and seals what
 * Google returns; a provisioner, which can open it, makes the exchange.  Both the
 * code and the verifier (PKCE) are sealed with the state they belong to.
 */
#ifndef DOMAIN_CONSENT_H
#define DOMAIN_CONSENT_H

#include "base/config.h"
#include "base/crypto.h"
#include "db/db.h"
#include "domain/principal.h"

enum { CONSENT_MINUTES = 10 };

/* Where Google sends him back: what a client of his must list among its redirect URIs. */
const char *consent_redirect(const struct config *config, struct arena *a);

struct consent_begun {
	const char *url;    /* at Google; in the arena */
	int64_t expires_ms; /* since 1970 */
};
/* For one's own account with an OAuth client, and one of Colab's ways ("assisted", "api").  In a transaction.
 * ERR_NOT_FOUND; ERR_CONFLICT: it has no client. */
enum err consent_begin(struct db *db, struct arena *a, const struct principal *p, int64_t account, const char *way, const struct config *config,
		       struct consent_begun *ret, struct error *e) must_check;

/* What came back.  In a transaction; *account is set where the state is known, and the account says then why it came to
 * nothing.  ERR_INVALID: the state is not, or not any more; ERR_FORBIDDEN: another person's. */
struct consent_reply {
	struct str state, code, error; /* one of code and error is STR_NULL */
};
enum err consent_take(struct db *db, struct arena *a, const struct principal *p, const struct consent_reply *reply, int64_t *account,
		      struct error *e) must_check;

/* ---- for the provisioner ---- */

struct consent {
	struct str state_hash, state; /* bytes, and in hexadecimal */
	int64_t account, owner, sealed_version;
	const char *provider, *scopes;
	struct secret code, verifier; /* the caller's */
	bool late;                    /* Google takes its code no more */
};
void consent_free(struct consent *c);
#define cleanup_consent __attribute__((cleanup(consent_free)))
/* One that waits for its exchange; *any false when none does. */
enum err consent_claim(struct db *db, struct arena *a, const char *keys, struct consent *ret, bool *any, struct error *e) must_check;
/* In a transaction.  ERR_CONFLICT: the client was replaced, or a key changed, meanwhile. */
enum err consent_store(struct db *db, struct arena *a, const struct consent *c, struct str credentials, struct str scopes, struct error *e) must_check;
enum err consent_fail(struct db *db, struct arena *a, const struct consent *c, const char *why, struct error *e) must_check;

#endif
