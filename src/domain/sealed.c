/* sealed - envelopes.  See domain/sealed.h. */
#include "domain/sealed.h"

#include <stdio.h>
#include <string.h>

#include "domain/keyfile.h"

static const struct {
	const char *name, *payload; /* the member that holds it */
} purposes[] = {
	[SEAL_CREDENTIALS] = {"credentials", "credentials"},
	[SEAL_SECRETS] = {"secrets", "value"},
};

enum { HEAD_MOST = 4096 };

const char *seal_purpose_name(enum seal_purpose p)
{
	return purposes[p].name;
}

bool seal_purpose_parse(const char *name, enum seal_purpose *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(purposes); i++)
		if (!strcmp(purposes[i].name, name)) {
			*ret = (enum seal_purpose)i;
			return true;
		}
	return false;
}

/*
 * All that comes before the payload.  It has one spelling only, so that
 * opening compares bytes and needs no parser; after the payload comes "}".
 */
static void head(enum seal_purpose purpose, const struct seal_member *of, struct buf *ret)
{
	buf_adds(ret, "{\"v\":1");
	for (; of->name; of++) {
		buf_addf(ret, ",\"%s\":", of->name);
		buf_add_json(ret, str_of(of->value));
	}
	buf_addf(ret, ",\"purpose\":\"%s\",\"%s\":", purposes[purpose].name, purposes[purpose].payload);
	if (ret->failed)
		BUG("members of a sealed box have more than %d bytes", HEAD_MOST);
}

static enum err seal_to(const uint8_t *pub, struct str plain, struct arena *a, struct str *ret, struct error *e)
{
	uint8_t *box = arena_alloc(a, plain.len + CRYPTO_SEAL_EXTRA);

	if (!box)
		return error_set(e, ERR_TOO_LARGE, "What is to be sealed is too large.");
	crypto_seal(pub, plain, box);
	*ret = (struct str){(const char *)box, plain.len + CRYPTO_SEAL_EXTRA};
	return OK;
}

/* The newest active key, which stays what it is until the transaction ends. */
static enum err key_to_use(struct db *db, enum seal_purpose purpose, int64_t *id, uint8_t pub[CRYPTO_PUBLIC], struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_arena struct arena a;
	struct str bytes;
	enum err err = db_run(db, STMT_KEY_HOLD, ARGS(arg_cstr(purposes[purpose].name)), NULL, e);

	arena_init(&a, 1024);
	if (!err)
		err = db_run(db, STMT_KEY_TO_USE, ARGS(arg_cstr(purposes[purpose].name)), &rows, e);
	if (err)
		return err;
	if (!rows_count(&rows))
		return error_set(e, ERR_UNAVAILABLE, "There is no sealing key yet; on the server, run `gpupool keys init%s`.",
				 purpose == SEAL_SECRETS ? " --purpose=secrets" : "");
	bytes = row_bytes(&rows, 0, "public_key", &a);
	if (bytes.len != CRYPTO_PUBLIC)
		return error_set(e, ERR_INTERNAL, "a public key of another length");
	memcpy(pub, bytes.ptr, CRYPTO_PUBLIC);
	*id = row_i64(&rows, 0, "id");
	return OK;
}

enum err sealed_make(struct db *db, struct arena *a, enum seal_purpose purpose, const struct seal_member *of, struct str payload,
		     struct sealed *ret, struct error *e)
{
	cleanup_buf struct buf begin = BUF_INIT(HEAD_MOST);
	uint8_t pub[CRYPTO_PUBLIC];
	enum err err;

	if (payload.len > SEALED_PAYLOAD_MOST)
		return error_set(e, ERR_TOO_LARGE, "What is to be sealed may have at most %d bytes.", SEALED_PAYLOAD_MOST);
	err = key_to_use(db, purpose, &ret->key_id, pub, e);
	if (err)
		return err;
	head(purpose, of, &begin);
	cleanup_secret struct secret plain = secret_room(begin.len + payload.len + 1);

	memcpy(plain.ptr, begin.ptr, begin.len);
	if (payload.len)
		memcpy(plain.ptr + begin.len, payload.ptr, payload.len);
	plain.ptr[plain.len - 1] = '}';
	return seal_to(pub, (struct str){plain.ptr, plain.len}, a, &ret->box, e);
}

/* The plaintext, unread. */
static enum err unseal(const char *dir, int64_t key_id, struct str box, struct secret *ret, struct error *e)
{
	cleanup_secret struct secret priv = {0};
	uint8_t pub[CRYPTO_PUBLIC];
	enum err err = keyfile_read(dir, key_id, &priv, e);

	if (err)
		return err;
	if (box.len < CRYPTO_SEAL_EXTRA)
		return error_set(e, ERR_FORBIDDEN, "What is sealed is no sealed box.");
	crypto_public((const uint8_t *)priv.ptr, pub);
	*ret = secret_room(box.len - CRYPTO_SEAL_EXTRA);
	if (crypto_open(pub, (const uint8_t *)priv.ptr, box, (uint8_t *)ret->ptr))
		return OK;
	secret_free(ret);
	return error_set(e, ERR_FORBIDDEN, "What is sealed does not open with the private key %lld.", (long long)key_id);
}

enum err sealed_open(const char *dir, enum seal_purpose purpose, const struct seal_member *of, int64_t key_id, struct str box,
		     struct secret *ret, struct error *e)
{
	cleanup_buf struct buf begin = BUF_INIT(HEAD_MOST);
	cleanup_secret struct secret plain = {0};
	enum err err = unseal(dir, key_id, box, &plain, e);

	if (err)
		return err;
	head(purpose, of, &begin);
	if (plain.len <= begin.len || memcmp(plain.ptr, begin.ptr, begin.len) || plain.ptr[plain.len - 1] != '}')
		return error_set(e, ERR_FORBIDDEN, "What is sealed belongs to something else.");
	*ret = secret_new((struct str){plain.ptr + begin.len, plain.len - begin.len - 1});
	return OK;
}

enum err sealed_again(const char *dir, int64_t key_id, struct str box, const uint8_t pub[CRYPTO_PUBLIC], struct arena *a,
		      struct str *ret, struct error *e)
{
	cleanup_secret struct secret plain = {0};
	enum err err = unseal(dir, key_id, box, &plain, e);

	return err ? err : seal_to(pub, (struct str){plain.ptr, plain.len}, a, ret, e);
}

/* ---- an account's credentials ----------------------------------------------------- */

struct ids {
	char account[24], owner[24];
};

static void name_ids(const struct sealed_account *of, struct ids *ret)
{
	snprintf(ret->account, sizeof(ret->account), "%lld", (long long)of->id);
	snprintf(ret->owner, sizeof(ret->owner), "%lld", (long long)of->owner);
}

#define ACCOUNT_MEMBERS(ids, of) \
	(const struct seal_member[]){{"account", (ids).account}, {"owner", (ids).owner}, {"provider", (of)->provider}, {0}}

enum err sealed_make_credentials(struct db *db, struct arena *a, const struct sealed_account *of, struct str credentials,
				 struct sealed *ret, struct error *e)
{
	struct ids ids;

	name_ids(of, &ids);
	return sealed_make(db, a, SEAL_CREDENTIALS, ACCOUNT_MEMBERS(ids, of), credentials, ret, e);
}

enum err sealed_open_credentials(const char *dir, const struct sealed_account *of, int64_t key_id, struct str box,
				 struct secret *ret, struct error *e)
{
	struct ids ids;

	name_ids(of, &ids);
	return sealed_open(dir, SEAL_CREDENTIALS, ACCOUNT_MEMBERS(ids, of), key_id, box, ret, e);
}
