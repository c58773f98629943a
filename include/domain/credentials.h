/*
 * credentials - what a provider wants to know a person by, as people send it.
 *
 * Kaggle: {"username", "key"}, {"token"}, or the text of one of them: a
 * kaggle.json, or the token itself.  What is read has one spelling, of letters
 * that need no escape, in locked memory.  Every error names a field and
 * repeats nothing of what was sent.
 */
#ifndef DOMAIN_CREDENTIALS_H
#define DOMAIN_CREDENTIALS_H

#include "base/crypto.h"
#include "base/json.h"

/* Of a provider that takes some: ERR_INVALID at "credentials" or a member of it, also when sent is
 * NULL.  *ret is the caller's after OK: a JSON object. */
enum err credentials_read(const char *provider, const struct json *sent, struct secret *ret, struct error *e) must_check;

#endif
