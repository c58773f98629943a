/*
 * sealed - what only another program may read: credentials, secrets of people.
 *
 * A sealed box opens with one private key, a file on the hosts of the program
 * that may (domain/keyfile.h); everybody else has the public half, a row.  The
 * plaintext begins with whom the box belongs to, and opening compares that: a
 * box that was moved to another row is refused, whoever moved it.
 *
 *     {"v":1,"account":"7","owner":"3","provider":"kaggle","purpose":"credentials","credentials":…}
 *     {"v":1,"owner":"3","name":"HF_TOKEN","purpose":"secrets","value":…}
 *
 * The payload is any bytes; it comes back as it went in.  While a box is made
 * or opened all plaintext is in locked memory that is wiped; the payload that
 * is handed in is the caller's to wipe.  No error says anything of it.
 */
#ifndef DOMAIN_SEALED_H
#define DOMAIN_SEALED_H

#include "base/crypto.h"
#include "db/db.h"

/* Each has key pairs of its own.  Credentials: the provisioner's; secrets: those of gpupool-web --role=secrets. */
enum seal_purpose { SEAL_CREDENTIALS, SEAL_SECRETS };

const char *seal_purpose_name(enum seal_purpose p);
bool seal_purpose_parse(const char *name, enum seal_purpose *ret) must_check;

enum { SEALED_PAYLOAD_MOST = 256 << 10 };

/* Whom it belongs to, in this order; ends with a NULL name.  The same list makes and opens. */
struct seal_member {
	const char *name, *value;
};

struct sealed {
	int64_t key_id;
	struct str box; /* in the arena */
};

/*
 * Seals to the newest active key of the purpose.  In the transaction that
 * stores the box: until that ends the key is not retired.  ERR_UNAVAILABLE:
 * there is no key yet.
 */
enum err sealed_make(struct db *db, struct arena *a, enum seal_purpose purpose, const struct seal_member *of, struct str payload,
		     struct sealed *ret, struct error *e) must_check;

/*
 * dir holds the private keys.  ERR_NOT_FOUND: the key of this id is not among
 * them; ERR_FORBIDDEN: the box is not of this key, or belongs to another;
 * ERR_INTERNAL: the key's file is not as it must be.  *ret is the caller's, to
 * be freed after OK.
 */
enum err sealed_open(const char *dir, enum seal_purpose purpose, const struct seal_member *of, int64_t key_id, struct str box,
		     struct secret *ret, struct error *e) must_check;

/* ---- an account's credentials: a JSON object as the API took it ---- */
struct sealed_account {
	int64_t id, owner;
	const char *provider;
};
enum err sealed_make_credentials(struct db *db, struct arena *a, const struct sealed_account *of, struct str credentials,
				 struct sealed *ret, struct error *e) must_check;
enum err sealed_open_credentials(const char *dir, const struct sealed_account *of, int64_t key_id, struct str box,
				 struct secret *ret, struct error *e) must_check;

/* ---- for a rotation: the same plaintext, unread, to another key ---- */
enum err sealed_again(const char *dir, int64_t key_id, struct str box, const uint8_t pub[CRYPTO_PUBLIC], struct arena *a,
		      struct str *ret, struct error *e) must_check;

#endif
