/*
 * keyfile - the private halves of sealing keys: DIR/ID.key, 64 hexadecimal
 * digits and a newline.
 *
 * Directory and file must be the user's own who runs this program, and no
 * other may read the file; nothing is followed through a link.  What does not
 * hold is an error with a sentence, never overlooked.
 */
#ifndef DOMAIN_KEYFILE_H
#define DOMAIN_KEYFILE_H

#include "base/crypto.h"

/* ERR_NOT_FOUND: there is none of this id; ERR_INTERNAL: it is not as it must be.  The secret
 * has CRYPTO_PRIVATE bytes and is the caller's after OK. */
enum err keyfile_read(const char *dir, int64_t id, struct secret *ret, struct error *e) must_check;
/* New and on the disk when it returns OK; ERR_CONFLICT: there is one of this id. */
enum err keyfile_write(const char *dir, int64_t id, const uint8_t priv[CRYPTO_PRIVATE], struct error *e) must_check;

#endif
