/*
 * crypto - the few operations that gpupool needs, over libsodium.
 *
 * The only file that includes <sodium.h>.  crypto_init() must have succeeded
 * before anything else here is called; it is idempotent.
 */
#ifndef BASE_CRYPTO_H
#define BASE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

enum {
	CRYPTO_HASH = 32,       /* BLAKE2b-256: what is stored of a token */
	CRYPTO_SHA256 = 32,
	CRYPTO_PUBLIC = 32,
	CRYPTO_PRIVATE = 32,
	CRYPTO_SEAL_EXTRA = 48, /* a sealed box is this much longer */
	CRYPTO_TOKEN_TEXT = 52, /* a token with prefix and NUL fits */
	CRYPTO_PASSWORD_TEXT = 128
};

void crypto_init(void);
void crypto_random(void *bytes, size_t len);

/* ---- bearer tokens: 256 random bits as text "<prefix>_<43 base64url>" ---- */
void crypto_token(const char *prefix, char ret[CRYPTO_TOKEN_TEXT]); /* prefix ≤ 7 */
void crypto_hash(struct str token, uint8_t ret[CRYPTO_HASH]);
bool crypto_equal(const void *a, const void *b, size_t len); /* constant time */
void crypto_uuid(char ret[37]);                              /* random, version 4 */

/* ---- passwords: argon2id, 19 MiB, t = 2 (OWASP's lower bound) ---- */
/* How many hashes may run at once on this host; 2 unless set at start. */
void crypto_password_slots(int slots);
/* ERR_UNAVAILABLE when so many already run on this host (advisory locks on
 * files below dir; "" = no limit); ERR_INTERNAL when dir cannot be written. */
enum err crypto_password_hash(const char *dir, struct str password, char ret[CRYPTO_PASSWORD_TEXT]) must_check;
/* OK, ERR_UNAUTHORIZED, or as above.  hash NULL costs the same and fails. */
enum err crypto_password_check(const char *dir, struct str password, const char *hash) must_check;

/* ---- streaming SHA-256, for artifacts ---- */
struct crypto_sha256 {
	_Alignas(16) uint8_t opaque[128];
};
void crypto_sha256_init(struct crypto_sha256 *s);
void crypto_sha256_add(struct crypto_sha256 *s, const void *bytes, size_t len);
void crypto_sha256_end(struct crypto_sha256 *s, uint8_t ret[CRYPTO_SHA256]);
void crypto_sha256(struct str bytes, uint8_t ret[CRYPTO_SHA256]);
/* Keyed BLAKE2b-256, for CSRF tokens and masks. */
void crypto_mac(const uint8_t key[CRYPTO_HASH], struct str bytes, uint8_t ret[CRYPTO_HASH]);

/* ---- sealed boxes (X25519): anyone seals, the private key opens ---- */
void crypto_keypair(uint8_t pub[CRYPTO_PUBLIC], uint8_t priv[CRYPTO_PRIVATE]);
void crypto_public(const uint8_t priv[CRYPTO_PRIVATE], uint8_t pub[CRYPTO_PUBLIC]); /* the half that follows */
/* ret has len + CRYPTO_SEAL_EXTRA bytes. */
void crypto_seal(const uint8_t pub[CRYPTO_PUBLIC], struct str plain, uint8_t *ret);
bool crypto_open(const uint8_t pub[CRYPTO_PUBLIC], const uint8_t priv[CRYPTO_PRIVATE], struct str sealed,
		 uint8_t *ret) must_check;

/* ---- text forms; ret is NUL-terminated; false on malformed input ---- */
void crypto_hex(const void *bytes, size_t len, char *ret /* 2 * len + 1 */);
bool crypto_unhex(struct str hex, void *ret, size_t len) must_check; /* exactly len bytes */
void crypto_base64(const void *bytes, size_t len, struct buf *ret);
bool crypto_unbase64(struct str text, struct buf *ret) must_check; /* padded; also false above ret's maximum */

/* ---- memory for secrets: locked, guarded, zeroed when released ---- */
struct secret {
	char *ptr;
	size_t len;
};
struct secret secret_new(struct str bytes);
struct secret secret_room(size_t len); /* zeroes to be written over; one more NUL behind them */
void secret_free(struct secret *s);
#define cleanup_secret __attribute__((cleanup(secret_free)))
void crypto_wipe(void *bytes, size_t len);

#endif
