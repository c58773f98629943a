/*
 * credentials - what a provider wants to know a person by, as people send it.
 *
 *   kaggle            {"username", "key"}, {"token"}, or the text of one of them: a kaggle.json, or the token itself
 *   colab             {"clientId", "clientSecret"}, or the file that Google makes of an OAuth client (object or text);
 *                     {"email", "password"?} for the browser way
 *   colab-enterprise  {"serviceAccount", "project"?, "region", "bucket"}; the first is a key file, as object or text,
 *                     and names the project where that is absent
 *
 * What is read has one spelling, in locked memory.  Every error names a field and repeats nothing of what
 * was sent.
 */
#ifndef DOMAIN_CREDENTIALS_H
#define DOMAIN_CREDENTIALS_H

#include "base/crypto.h"
#include "base/json.h"

enum { CREDENTIALS_EMAIL = 255 };

struct credentials {
	struct secret text;      /* to be sealed: a JSON object; ptr NULL = there is nothing to seal */
	const char *start;       /* the way that they are for, where that is no other; else "" */
	char client_id[CREDENTIALS_EMAIL]; /* of an OAuth client */
	char email[CREDENTIALS_EMAIL]; /* of the browser way */
	struct secret password;  /* likewise, where one was sent: for a browser instance alone, once */
};
void credentials_free(struct credentials *c);
#define cleanup_credentials __attribute__((cleanup(credentials_free)))

/* Whether there are credentials of this provider at all. */
bool credentials_taken(const char *provider);
/* ERR_INVALID at "credentials" or a member of it, also when sent is NULL.  *ret is the caller's, after errors too. */
enum err credentials_read(const char *provider, const struct json *sent, struct credentials *ret, struct error *e) must_check;

/* ---- for the readers of one provider: credentials*.c ---- */

/* Letters, digits and these others. */
bool credentials_made_of(struct str s, const char *others);
/* A string or an object that may come as text; ERR_INVALID with this sentence at "credentials" when it is
 * neither.  *ret is the caller's, to be wiped. */
enum err credentials_document(const struct json *sent, const char *field, const char *fault, struct json **ret, struct error *e) must_check;
enum err credentials_read_colab(const struct json *sent, struct credentials *ret, struct error *e) must_check;
enum err credentials_read_enterprise(const struct json *sent, struct credentials *ret, struct error *e) must_check;

#endif
