/*
 * google_key - the key file of a service account that nobody has, for tests.
 */
#ifndef TESTS_GOOGLE_KEY_H
#define TESTS_GOOGLE_KEY_H

#include "base/arena.h"

/* A new RSA key in PEM (PKCS#8), by the command openssl. */
const char *google_key_pem(struct arena *a, int bits);
/* {"serviceAccount": {…}, "project": "demo-project", "region": "europe-west4", "bucket": "demo-bucket"} */
const char *google_key_credentials(struct arena *a, const char *pem);

#endif
