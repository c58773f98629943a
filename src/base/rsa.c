/* rsa - RS256 by OpenSSL.  See base/rsa.h. */
#include "base/rsa.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>

enum {
	PEM_MOST = 16 << 10,
	BITS_LEAST = 2048, BITS_MOST = 8192,
	SIGNATURE_MOST = BITS_MOST / 8,
};

static void free_bio(BIO **b)
{
	BIO_free(*b);
}

static void free_key(EVP_PKEY **k)
{
	EVP_PKEY_free(*k); /* wipes it */
}

static void free_digest(EVP_MD_CTX **d)
{
	EVP_MD_CTX_free(*d);
}
#define cleanup_bio __attribute__((cleanup(free_bio)))
#define cleanup_key __attribute__((cleanup(free_key)))
#define cleanup_digest __attribute__((cleanup(free_digest)))

/* Else OpenSSL asks the terminal for the key's passphrase. */
static int no_passphrase(char *text, int size, int writing, void *ctx)
{
	(void)text, (void)size, (void)writing, (void)ctx;
	return -1;
}

static enum err key_read(struct str pem, EVP_PKEY **ret, struct error *e)
{
	cleanup_bio BIO *bio = NULL;
	cleanup_key EVP_PKEY *key = NULL;

	if (!pem.len || pem.len > PEM_MOST)
		return error_set(e, ERR_INVALID, "This is no private key in PEM.");
	bio = BIO_new_mem_buf(pem.ptr, (int)pem.len);
	if (bio)
		key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	ERR_clear_error();
	if (!key)
		return error_set(e, ERR_INVALID, "This is no private key in PEM, or it wants a passphrase.");
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA)
		return error_set(e, ERR_INVALID, "The private key is not an RSA key.");
	if (EVP_PKEY_get_bits(key) < BITS_LEAST || EVP_PKEY_get_bits(key) > BITS_MOST)
		return error_set(e, ERR_INVALID, "The RSA key must have %d to %d bits.", BITS_LEAST, BITS_MOST);
	*ret = steal_ptr(key);
	return OK;
}

enum err rsa_key_check(struct str pem, struct error *e)
{
	cleanup_key EVP_PKEY *key = NULL;

	return key_read(pem, &key, e);
}

enum err rsa_sign_sha256(struct str pem, struct str message, struct buf *ret, struct error *e)
{
	cleanup_key EVP_PKEY *key = NULL;
	cleanup_digest EVP_MD_CTX *digest = EVP_MD_CTX_new();
	unsigned char signature[SIGNATURE_MOST];
	size_t len = sizeof(signature);
	enum err err = key_read(pem, &key, e);

	if (err)
		return err;
	if (!digest || EVP_DigestSignInit(digest, NULL, EVP_sha256(), NULL, key) != 1 ||
	    EVP_DigestSign(digest, signature, &len, (const unsigned char *)message.ptr, message.len) != 1) {
		ERR_clear_error();
		return error_set(e, ERR_INVALID, "Nothing can be signed with this private key: it is damaged.");
	}
	buf_add(ret, signature, len);
	return OK;
}
