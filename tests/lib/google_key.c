/* google_key - see google_key.h. */
#include "google_key.h"

#include <stdio.h>

#include "base/error.h"

const char *google_key_pem(struct arena *a, int bits)
{
	char command[128], text[16384];
	FILE *f;
	size_t n;

	snprintf(command, sizeof(command), "openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:%d 2>/dev/null", bits);
	f = popen(command, "re");
	n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (!f || pclose(f))
		BUG("no key can be made: %s", command);
	return arena_strndup(a, text, n);
}

const char *google_key_credentials(struct arena *a, const char *pem)
{
	cleanup_buf struct buf b = BUF_INIT(32 << 10);

	buf_adds(&b, "{\"serviceAccount\":{\"type\":\"service_account\",\"project_id\":\"demo-project\",\"private_key_id\":\"0123abcd\",\"private_key\":");
	buf_add_json(&b, str_of(pem));
	buf_adds(&b, ",\"client_email\":\"robot@demo-project.iam.gserviceaccount.com\",\"token_uri\":\"https://evil.example/token\"},"
		     "\"project\":\"demo-project\",\"region\":\"europe-west4\",\"bucket\":\"demo-bucket\"}");
	return arena_strdup(a, b.ptr);
}
