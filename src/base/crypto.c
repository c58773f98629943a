/* crypto - tokens, passwords, digests, sealed boxes.  See base/crypto.h. */
#define crypto_hash sodium_hash /* a name of ours */
#include <sodium.h>
#undef crypto_hash

#include "base/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.h"

_Static_assert(CRYPTO_HASH == crypto_generichash_BYTES, "BLAKE2b-256");
_Static_assert(CRYPTO_SHA256 == crypto_hash_sha256_BYTES, "SHA-256");
_Static_assert(CRYPTO_PUBLIC == crypto_box_PUBLICKEYBYTES, "X25519");
_Static_assert(CRYPTO_PRIVATE == crypto_box_SECRETKEYBYTES, "X25519");
_Static_assert(CRYPTO_SEAL_EXTRA == crypto_box_SEALBYTES, "sealed box");
_Static_assert(CRYPTO_PASSWORD_TEXT == crypto_pwhash_STRBYTES, "argon2id text");
_Static_assert(sizeof(struct crypto_sha256) >= sizeof(crypto_hash_sha256_state), "SHA-256 state");

void crypto_init(void)
{
	if (sodium_init() < 0)
		BUG("libsodium does not start");
}

void crypto_random(void *bytes, size_t len)
{
	randombytes_buf(bytes, len);
}

/* sodium's functions want a pointer even when there is nothing to read. */
static const unsigned char *octets(struct str s)
{
	return (const unsigned char *)(s.ptr ? s.ptr : "");
}

/* ---- tokens --------------------------------------------------------------- */

void crypto_token(const char *prefix, char ret[CRYPTO_TOKEN_TEXT])
{
	unsigned char bytes[32];
	size_t len = strlen(prefix);

	if (len > 7)
		BUG("token prefix %s", prefix);
	memcpy(ret, prefix, len);
	ret[len] = '_';
	crypto_random(bytes, sizeof(bytes));
	sodium_bin2base64(ret + len + 1, CRYPTO_TOKEN_TEXT - len - 1, bytes, sizeof(bytes),
			  sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	sodium_memzero(bytes, sizeof(bytes));
}

void crypto_hash(struct str token, uint8_t ret[CRYPTO_HASH])
{
	crypto_generichash(ret, CRYPTO_HASH, octets(token), token.len, NULL, 0);
}

void crypto_mac(const uint8_t key[CRYPTO_HASH], struct str bytes, uint8_t ret[CRYPTO_HASH])
{
	crypto_generichash(ret, CRYPTO_HASH, octets(bytes), bytes.len, key, CRYPTO_HASH);
}

bool crypto_equal(const void *a, const void *b, size_t len)
{
	return !sodium_memcmp(a, b, len);
}

void crypto_uuid(char ret[37])
{
	unsigned char bytes[16];
	char hex[33];

	crypto_random(bytes, sizeof(bytes));
	bytes[6] = (unsigned char)((bytes[6] & 0x0f) | 0x40); /* version 4 */
	bytes[8] = (unsigned char)((bytes[8] & 0x3f) | 0x80); /* variant of RFC 9562 */
	crypto_hex(bytes, sizeof(bytes), hex);
	snprintf(ret, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16, hex + 20);
}

/* ---- passwords ------------------------------------------------------------ */

enum { PASSWORD_OPS = 2, PASSWORD_MEMORY = 19 << 20 };

static atomic_int password_slots = 2;

void crypto_password_slots(int slots)
{
	if (slots < 1)
		BUG("%d password slots", slots);
	password_slots = slots;
}

/* Takes one of the host's slots: *ret is a descriptor whose closing frees it,
 * also when this process dies; -1 where there is no limit. */
static enum err take_slot(const char *dir, int *ret)
{
	*ret = -1;
	if (!dir[0])
		return OK;
	for (int i = 0; i < password_slots; i++) {
		cleanup_free char *path = NULL;
		cleanup_fd int fd = -1;

		if (asprintf(&path, "%s/password.%d.lock", dir, i) < 0)
			error_no_memory();
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0) {
			log_error("password.slot", "path=%s error=\"%s\"", path, strerror(errno));
			return ERR_INTERNAL;
		}
		if (!flock(fd, LOCK_EX | LOCK_NB)) {
			*ret = steal_fd(&fd);
			return OK;
		}
	}
	return ERR_UNAVAILABLE;
}

static enum err hash_password(struct str password, char ret[CRYPTO_PASSWORD_TEXT])
{
	/* Its only failure is the 19 MiB. */
	return crypto_pwhash_str_alg(ret, (const char *)octets(password), password.len, PASSWORD_OPS, PASSWORD_MEMORY,
				     crypto_pwhash_ALG_ARGON2ID13)
		? ERR_UNAVAILABLE
		: OK;
}

enum err crypto_password_hash(const char *dir, struct str password, char ret[CRYPTO_PASSWORD_TEXT])
{
	cleanup_fd int slot = -1;
	enum err r = take_slot(dir, &slot);

	return r == OK ? hash_password(password, ret) : r;
}

enum err crypto_password_check(const char *dir, struct str password, const char *hash)
{
	char unused[CRYPTO_PASSWORD_TEXT];
	cleanup_fd int slot = -1;
	enum err r = take_slot(dir, &slot);

	if (r != OK)
		return r;
	if (!hash) {
		/* An unknown user must not be told by the clock. */
		r = hash_password(password, unused);
		return r == OK ? ERR_UNAUTHORIZED : r;
	}
	if (crypto_pwhash_str_verify(hash, (const char *)octets(password), password.len))
		return ERR_UNAUTHORIZED;
	return OK;
}

/* ---- SHA-256 -------------------------------------------------------------- */

static crypto_hash_sha256_state *sha256_state(struct crypto_sha256 *s)
{
	return (crypto_hash_sha256_state *)(void *)s->opaque;
}

void crypto_sha256_init(struct crypto_sha256 *s)
{
	crypto_hash_sha256_init(sha256_state(s));
}

void crypto_sha256_add(struct crypto_sha256 *s, const void *bytes, size_t len)
{
	if (len)
		crypto_hash_sha256_update(sha256_state(s), bytes, len);
}

void crypto_sha256_end(struct crypto_sha256 *s, uint8_t ret[CRYPTO_SHA256])
{
	crypto_hash_sha256_final(sha256_state(s), ret);
}

void crypto_sha256(struct str bytes, uint8_t ret[CRYPTO_SHA256])
{
	crypto_hash_sha256(ret, octets(bytes), bytes.len);
}

/* ---- sealed boxes --------------------------------------------------------- */

void crypto_keypair(uint8_t pub[CRYPTO_PUBLIC], uint8_t priv[CRYPTO_PRIVATE])
{
	crypto_box_keypair(pub, priv);
}

void crypto_public(const uint8_t priv[CRYPTO_PRIVATE], uint8_t pub[CRYPTO_PUBLIC])
{
	if (crypto_scalarmult_base(pub, priv))
		BUG("a private key without a public half");
}

void crypto_seal(const uint8_t pub[CRYPTO_PUBLIC], struct str plain, uint8_t *ret)
{
	if (crypto_box_seal(ret, octets(plain), plain.len, pub))
		BUG("sealing to a key that is no point of the curve");
}

bool crypto_open(const uint8_t pub[CRYPTO_PUBLIC], const uint8_t priv[CRYPTO_PRIVATE], struct str sealed,
		 uint8_t *ret)
{
	return sealed.len >= CRYPTO_SEAL_EXTRA && !crypto_box_seal_open(ret, octets(sealed), sealed.len, pub, priv);
}

/* ---- text forms ----------------------------------------------------------- */

void crypto_hex(const void *bytes, size_t len, char *ret)
{
	sodium_bin2hex(ret, 2 * len + 1, bytes, len);
}

bool crypto_unhex(struct str hex, void *ret, size_t len)
{
	size_t got = 0;

	if (hex.len / 2 != len || hex.len % 2)
		return false;
	return !hex.len || (!sodium_hex2bin(ret, len, hex.ptr, hex.len, NULL, &got, NULL) && got == len);
}

void crypto_base64(const void *bytes, size_t len, struct buf *ret)
{
	enum { PIECE = 3 * 256 }; /* whole groups: no padding within */
	char text[PIECE / 3 * 4 + 1];

	for (size_t at = 0; at < len; at += PIECE) {
		size_t n = len - at < PIECE ? len - at : PIECE;

		sodium_bin2base64(text, sizeof(text), (const unsigned char *)bytes + at, n,
				  sodium_base64_VARIANT_ORIGINAL);
		buf_adds(ret, text);
	}
	sodium_memzero(text, sizeof(text));
}

bool crypto_unbase64(struct str text, struct buf *ret)
{
	size_t room = text.len / 4 * 3, got = 0;
	cleanup_free unsigned char *bytes = NULL;
	bool ok;

	if (text.len % 4)
		return false;
	if (!text.len)
		return true;
	for (size_t i = 0; i < text.len; i++)
		/* libsodium 1.0.18 takes some of these for digits. */
		if ((unsigned char)text.ptr[i] >= 0x80)
			return false;
	bytes = malloc(room);
	if (!bytes)
		error_no_memory();
	ok = !sodium_base642bin(bytes, room, text.ptr, text.len, NULL, &got, NULL, sodium_base64_VARIANT_ORIGINAL);
	if (ok) {
		buf_add(ret, bytes, got);
		ok = !ret->failed;
	}
	sodium_memzero(bytes, room);
	return ok;
}

/* ---- memory for secrets --------------------------------------------------- */

struct secret secret_new(struct str bytes)
{
	char *p = bytes.len < SIZE_MAX ? sodium_malloc(bytes.len + 1) : NULL;

	if (!p)
		error_no_memory();
	if (bytes.len)
		memcpy(p, bytes.ptr, bytes.len);
	p[bytes.len] = '\0';
	if (sodium_mprotect_readonly(p))
		BUG("mprotect: %s", strerror(errno));
	return (struct secret){p, bytes.len};
}

struct secret secret_room(size_t len)
{
	char *p = len < SIZE_MAX ? sodium_malloc(len + 1) : NULL;

	if (!p)
		error_no_memory();
	memset(p, 0, len + 1);
	return (struct secret){p, len};
}

void secret_free(struct secret *s)
{
	sodium_free(s->ptr);
	*s = (struct secret){0};
}

void crypto_wipe(void *bytes, size_t len)
{
	sodium_memzero(bytes, len);
}
