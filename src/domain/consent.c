/* consent - see domain/consent.h. */
#include "domain/consent.h"

#include <stdio.h>
#include <string.h>

#include "domain/sealed.h"

enum { VERIFIER_BYTES = 32, CODE_MOST = 2048, SCOPES_MOST = 2048, STATE_TEXT = 2 * CRYPTO_HASH + 1 };

#define SCOPE "https://www.googleapis.com/auth/"
static const struct {
	const char *way, *scopes;
} ways[] = {
	{"assisted", "openid email " SCOPE "drive.file"},
	{"api", "openid email " SCOPE "drive.file " SCOPE "colaboratory"},
};

const char *consent_redirect(const struct config *config, struct arena *a)
{
	return arena_printf(a, "%s/oauth/google/callback", config->public_url);
}

/* ---- what is sealed ---------------------------------------------------------- */

struct bound {
	char account[24], owner[24];
	const char *state;
};
#define MEMBERS(b, what) (const struct seal_member[]){{"account", (b).account}, {"owner", (b).owner}, {"consent", (b).state}, {"part", what}, {0}}

static struct bound bind(int64_t account, int64_t owner, const char *state)
{
	struct bound b = {.state = state};

	snprintf(b.account, sizeof(b.account), "%lld", (long long)account);
	snprintf(b.owner, sizeof(b.owner), "%lld", (long long)owner);
	return b;
}

/* ---- asking ------------------------------------------------------------------ */

static bool holds(struct str words, struct str word)
{
	struct str one;

	while (str_cut(&words, ' ', &one))
		if (str_eq(one, word))
			return true;
	return false;
}

/* What the way needs, and what was consented to before. */
static void add_scopes(const char *needed, struct str had, struct buf *text, struct buf *array)
{
	struct str lists[] = {str_of(needed), had}, one;

	array_begin(array);
	for (size_t i = 0; i < ARRAY_LEN(lists); i++)
		while (str_cut(&lists[i], ' ', &one)) {
			if (!one.len || holds(buf_str(text), one))
				continue;
			if (text->len)
				buf_addc(text, ' ');
			buf_addstr(text, one);
			array_add_str(array, one);
		}
	array_end(array);
}

static void base64url(const void *bytes, size_t len, struct buf *ret)
{
	cleanup_buf struct buf text = BUF_SECRET(256);

	crypto_base64(bytes, len, &text);
	for (size_t i = 0; i < text.len && text.ptr[i] != '='; i++)
		buf_addc(ret, text.ptr[i] == '+' ? '-' : text.ptr[i] == '/' ? '_' : text.ptr[i]);
}

static void add_query(struct buf *url, const char *name, struct str value)
{
	buf_addf(url, "%s=", name);
	buf_add_url(url, value);
	buf_addc(url, '&');
}

static const char *address(struct arena *a, const struct config *config, const struct rows *account, const char *state, struct str verifier,
			   struct str scopes)
{
	cleanup_buf struct buf url = BUF_INIT(8192), challenge = BUF_INIT(64);
	uint8_t hash[CRYPTO_SHA256];

	crypto_sha256(verifier, hash);
	base64url(hash, sizeof(hash), &challenge);
	buf_addf(&url, "%s/o/oauth2/v2/auth?", config->google_accounts_url);
	add_query(&url, "client_id", row_str(account, 0, "client_id"));
	add_query(&url, "redirect_uri", str_of(consent_redirect(config, a)));
	add_query(&url, "scope", scopes);
	add_query(&url, "state", str_of(state));
	add_query(&url, "code_challenge", buf_str(&challenge));
	if (!row_null(account, 0, "identity"))
		add_query(&url, "login_hint", row_str(account, 0, "identity"));
	buf_adds(&url, "response_type=code&code_challenge_method=S256&access_type=offline&prompt=consent&include_granted_scopes=true");
	return url.failed ? NULL : arena_strndup(a, url.ptr, url.len);
}

static const char *scopes_of(const char *way)
{
	for (size_t i = 0; i < ARRAY_LEN(ways); i++)
		if (!strcmp(ways[i].way, way))
			return ways[i].scopes;
	BUG("consent for the way %s", way);
}

enum err consent_begin(struct db *db, struct arena *a, const struct principal *p, int64_t account, const char *way, const struct config *config,
		       struct consent_begun *ret, struct error *e)
{
	cleanup_buf struct buf verifier = BUF_SECRET(64), scopes = BUF_INIT(SCOPES_MOST), array = BUF_INIT(SCOPES_MOST);
	cleanup_rows struct rows rows = {0}, begun = {0};
	char state[CRYPTO_TOKEN_TEXT], hex[STATE_TEXT];
	uint8_t random[VERIFIER_BYTES], hash[CRYPTO_HASH];
	struct sealed sealed;
	struct bound b;
	enum err err = db_run(db, STMT_CONSENT_ACCOUNT, ARGS(arg_i64(account), arg_i64(p->user_id)), &rows, e);

	if (!err && !rows_count(&rows))
		return error_set(e, ERR_NOT_FOUND, "There is no account of yours of this id.");
	if (!err && (!str_eqz(row_str(&rows, 0, "provider"), "colab") || !row_bool(&rows, 0, "sealed")))
		return error_set(e, ERR_CONFLICT, "It has no OAuth client to consent to: give it clientId and clientSecret first.");
	if (err)
		return err;
	crypto_random(random, sizeof(random));
	base64url(random, sizeof(random), &verifier);
	crypto_token("gpo", state);
	crypto_hash(str_of(state), hash);
	crypto_hex(hash, sizeof(hash), hex);
	b = bind(account, p->user_id, hex);
	add_scopes(scopes_of(way), row_str(&rows, 0, "scopes"), &scopes, &array);
	err = sealed_make(db, a, SEAL_CREDENTIALS, MEMBERS(b, "verifier"), buf_str(&verifier), &sealed, e);
	if (!err)
		err = db_run(db, STMT_CONSENT_BEGIN,
			     ARGS(arg_i64(account), arg_i64(p->user_id), arg_bytes(hash, sizeof(hash)), arg_buf(&array),
				  arg_bytes(sealed.box.ptr, sealed.box.len), arg_i64(sealed.key_id), arg_i64(row_i64(&rows, 0, "sealed_version"))),
			     &begun, e);
	if (err)
		return err;
	ret->url = address(a, config, &rows, state, buf_str(&verifier), buf_str(&scopes));
	ret->expires_ms = row_i64(&begun, 0, "expires_ms");
	return ret->url ? OK : error_set(e, ERR_TOO_LARGE, "The request is too large.");
}

/* ---- what came back ----------------------------------------------------------- */

static enum err fail(struct db *db, const uint8_t hash[CRYPTO_HASH], const char *why, struct error *e)
{
	return db_run(db, STMT_CONSENT_FAIL, ARGS(arg_bytes(hash, CRYPTO_HASH), arg_cstr(why)), NULL, e);
}

static enum err unknown(struct error *e)
{
	return error_set(e, ERR_INVALID, "This answer of Google's belongs to no request of yours: it was used before, or is too old. Connect again from the account's page.");
}

static enum err keep_code(struct db *db, struct arena *a, const struct rows *r, const uint8_t hash[CRYPTO_HASH], struct str code, struct error *e)
{
	struct bound b = bind(row_i64(r, 0, "account_id"), row_i64(r, 0, "owner_id"), row_cstr(r, 0, "state"));
	cleanup_rows struct rows kept = {0};
	struct sealed sealed;
	enum err err = sealed_make(db, a, SEAL_CREDENTIALS, MEMBERS(b, "code"), code, &sealed, e);

	if (!err)
		err = db_run(db, STMT_CONSENT_CODE,
			     ARGS(arg_bytes(hash, CRYPTO_HASH), arg_bytes(sealed.box.ptr, sealed.box.len), arg_i64(sealed.key_id)), &kept, e);
	return err || rows_count(&kept) ? err : unknown(e);
}

enum err consent_take(struct db *db, struct arena *a, const struct principal *p, const struct consent_reply *reply, int64_t *account,
		      struct error *e)
{
	cleanup_rows struct rows r = {0};
	uint8_t hash[CRYPTO_HASH];
	enum err err;

	*account = 0;
	crypto_hash(reply->state, hash);
	err = db_run(db, STMT_CONSENT_OF, ARGS(arg_bytes(hash, CRYPTO_HASH)), &r, e);
	if (err)
		return err;
	if (!rows_count(&r))
		return unknown(e);
	if (row_i64(&r, 0, "user_id") != p->user_id)
		return error_set(e, ERR_FORBIDDEN, "Another person began this at gpupool: sign in as that person, and connect again.");
	if (row_bool(&r, 0, "used"))
		return unknown(e);
	*account = row_i64(&r, 0, "account_id");
	if (row_bool(&r, 0, "late"))
		return fail(db, hash, "It took longer than ten minutes. Connect again.", e);
	if (str_eqz(reply->error, "access_denied"))
		return fail(db, hash, "You did not agree on Google's page. Connect again when you want to.", e);
	if (reply->error.len || !reply->code.len || reply->code.len > CODE_MOST)
		return fail(db, hash, "Google did not let you consent. Look at the OAuth client there (consent screen, test users, redirect URIs), then connect again.", e);
	return keep_code(db, a, &r, hash, reply->code, e);
}

/* ---- the provisioner's part ---------------------------------------------------- */

void consent_free(struct consent *c)
{
	secret_free(&c->code);
	secret_free(&c->verifier);
}

enum err consent_claim(struct db *db, struct arena *a, const char *keys, struct consent *ret, bool *any, struct error *e)
{
	cleanup_rows struct rows r = {0};
	struct bound b;
	enum err err = db_run(db, STMT_CONSENT_CLAIM, NO_ARGS, &r, e);

	*ret = (struct consent){0};
	*any = !err && rows_count(&r) > 0;
	if (!*any)
		return err;
	ret->state_hash = row_bytes(&r, 0, "state_hash", a);
	ret->state = arena_str(a, row_str(&r, 0, "state"));
	ret->account = row_i64(&r, 0, "account_id");
	ret->owner = row_i64(&r, 0, "owner_id");
	ret->sealed_version = row_i64(&r, 0, "sealed_version");
	ret->provider = arena_str(a, row_str(&r, 0, "provider")).ptr;
	ret->scopes = arena_str(a, row_str(&r, 0, "scopes")).ptr;
	ret->late = row_bool(&r, 0, "late");
	if (!ret->state.ptr || !ret->provider || !ret->scopes)
		return error_set(e, ERR_INTERNAL, "out of memory");
	b = bind(ret->account, ret->owner, ret->state.ptr);
	err = sealed_open(keys, SEAL_CREDENTIALS, MEMBERS(b, "verifier"), row_i64(&r, 0, "key_id"), row_bytes(&r, 0, "verifier", a), &ret->verifier, e);
	return err ? err
		   : sealed_open(keys, SEAL_CREDENTIALS, MEMBERS(b, "code"), row_i64(&r, 0, "code_key_id"), row_bytes(&r, 0, "code", a), &ret->code, e);
}

enum err consent_store(struct db *db, struct arena *a, const struct consent *c, struct str credentials, struct str scopes, struct error *e)
{
	const struct sealed_account of = {.id = c->account, .owner = c->owner, .provider = c->provider};
	cleanup_buf struct buf array = BUF_INIT(SCOPES_MOST);
	cleanup_rows struct rows rows = {0};
	struct sealed sealed;
	struct str one;
	enum err err = sealed_make_credentials(db, a, &of, credentials, &sealed, e);

	array_begin(&array);
	while (str_cut(&scopes, ' ', &one))
		if (one.len)
			array_add_str(&array, one);
	array_end(&array);
	if (!err)
		err = db_run(db, STMT_CONSENT_STORE,
			     ARGS(arg_bytes(c->state_hash.ptr, c->state_hash.len), arg_i64(c->sealed_version),
				  arg_bytes(sealed.box.ptr, sealed.box.len), arg_i64(sealed.key_id), arg_buf(&array)),
			     &rows, e);
	return err || rows_count(&rows) ? err : error_set(e, ERR_CONFLICT, "The OAuth client was replaced meanwhile.");
}

enum err consent_fail(struct db *db, struct arena *a, const struct consent *c, const char *why, struct error *e)
{
	return db_run(db, STMT_CONSENT_FAIL, ARGS(arg_bytes(c->state_hash.ptr, c->state_hash.len), arg_str(a, str_of(why))), NULL, e);
}
