/*
 * rsa - signatures with a private key that a person gave, by OpenSSL.
 *
 * A key comes from outside, as text in PEM (PKCS#8 or PKCS#1, not encrypted),
 * and may be anything: what is no RSA key of 2048 to 8192 bits is refused.
 */
#ifndef BASE_RSA_H
#define BASE_RSA_H

#include "base/error.h"
#include "base/str.h"

/* RS256 of RFC 7518: PKCS#1 v1.5 over SHA-256.  Appends the signature's bytes.
 * ERR_INVALID when the text is no such key; no error repeats any of it. */
enum err rsa_sign_sha256(struct str pem, struct str message, struct buf *ret, struct error *e) must_check;
/* OK when rsa_sign_sha256() would take the key. */
enum err rsa_key_check(struct str pem, struct error *e) must_check;

#endif
