/*
 * google_token - leave to ask Google in the name of an account, for all that
 * ask Google.
 *
 * An account's credentials hold either
 *   serviceAccount   the key file of a service account (the object, or its text):
 *                    a statement signed with its key is exchanged for a token; or
 *   clientId, clientSecret, refreshToken   a person's consent to a client of ours.
 * Access tokens live in the memory of this process alone, keyed by a hash of
 * credentials and scope, and are used until five minutes before their end.
 * Any thread may ask.
 */
#ifndef PROVIDER_GOOGLE_TOKEN_H
#define PROVIDER_GOOGLE_TOKEN_H

#include "base/json.h"
#include "provider/provider.h"

#define GOOGLE_SCOPE_CLOUD "https://www.googleapis.com/auth/cloud-platform"

/*
 * *ret, an access token, lies in the arena.  ERR_UNAUTHORIZED "credentials" when
 * the key is none, was deleted, or the consent has ended: the sentence says what
 * to do.  ERR_RATE, ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_UPSTREAM as everywhere.
 */
enum err google_token(struct provider_call *c, const char *scope, const char **ret) must_check;
/* It was refused: the next one is fetched anew. */
void google_token_drop(struct provider_call *c, const char *scope);
/* All of them, from memory. */
void google_token_forget(void);

/* ---- for drivers that read the credentials themselves ---- */

/* The credentials, parsed; ERR_UNAUTHORIZED "credentials" when there are none.  To be freed with
 * google_credentials_free(), which wipes. */
enum err google_credentials(struct provider_call *c, struct json **ret) must_check;
void google_credentials_free(struct json *doc);
static inline void cleanup_google_(struct json **doc)
{
	google_credentials_free(*doc);
}
#define cleanup_google __attribute__((cleanup(cleanup_google_)))
enum err google_bad_credentials(struct provider_call *c, const char *sentence) must_check;

/* The key file of a service account.  Slices of doc. */
struct google_key {
	struct json *doc;
	struct str email, key, key_id, project;
};
/* ERR_UNAUTHORIZED "credentials" with a sentence when it is no such file. */
enum err google_key_read(struct provider_call *c, const struct json *credentials, struct google_key *ret) must_check;
void google_key_free(struct google_key *k);
#define cleanup_google_key __attribute__((cleanup(google_key_free)))

/* The assertion of RFC 7523, for one exchange at `audience`; now in Unix seconds. */
enum err google_assertion(const struct google_key *k, const char *scope, const char *audience, int64_t now, struct buf *ret, struct error *e) must_check;

#endif
