/* google_token - access tokens, from a service account's key or a person's consent.  See provider/google_token.h. */
#include "provider/google_token.h"

#include <pthread.h>
#include <string.h>

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"
#include "base/rsa.h"
#include "provider/google_call.h"

enum {
	CREDENTIALS_MOST = 64 << 10,
	ANSWER_MOST = 256 << 10,
	EXCHANGE_MS = 30000,
	LIFE_SECONDS = 3600,           /* of an assertion: the most that Google takes */
	SPARE_SECONDS = 300,           /* a token is not used in its last minutes */
	TOKEN_MOST = 8 << 10,
	CACHE_MOST = 128,
};

/* ---- credentials ---------------------------------------------------------- */

enum err google_bad_credentials(struct provider_call *c, const char *sentence)
{
	return google_fail(c, ERR_UNAUTHORIZED, "credentials", "%s", sentence);
}

void google_credentials_free(struct json *doc)
{
	json_wipe(doc);
	json_free(doc);
}

enum err google_credentials(struct provider_call *c, struct json **ret)
{
	struct str text = c->secret ? (struct str){c->secret->ptr, c->secret->len} : STR_NULL;

	if (json_parse(text, CREDENTIALS_MOST, ret, NULL) == OK && json_type_of(*ret) == JSON_OBJECT)
		return OK;
	return google_bad_credentials(c, "The account has no credentials for Google.");
}

void google_key_free(struct google_key *k)
{
	google_credentials_free(k->doc);
	*k = (struct google_key){0};
}

/* Letters, digits and what stands in addresses: nothing that could end a JSON string or a line. */
static bool is_plain(struct str s, size_t most)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] > '~' || s.ptr[i] == '"' || s.ptr[i] == '\\')
			return false;
	return s.len > 0 && s.len <= most;
}

enum err google_key_read(struct provider_call *c, const struct json *credentials, struct google_key *ret)
{
	struct json *file = json_get(credentials, "serviceAccount");
	struct str type;

	*ret = (struct google_key){0};
	if (json_type_of(file) == JSON_OBJECT)
		ret->doc = json_ref(file);
	else if (json_parse(json_as_str(file), CREDENTIALS_MOST, &ret->doc, NULL) != OK)
		return google_bad_credentials(c, "The service account's key file is no JSON: take the file as Google Cloud made it.");
	type = json_str(ret->doc, "type");
	if (!str_eqz(type, "service_account"))
		return google_bad_credentials(c, "This is not the key file of a service account (its \"type\" is another): in Google Cloud make a key of "
						 "kind JSON at IAM, Service Accounts, Keys.");
	ret->email = json_str(ret->doc, "client_email");
	ret->key = json_str(ret->doc, "private_key");
	ret->key_id = json_str(ret->doc, "private_key_id");
	ret->project = json_str(ret->doc, "project_id");
	if (!is_plain(ret->email, 256) || !is_plain(ret->key_id, 128) || !ret->key.len)
		return google_bad_credentials(c, "The service account's key file lacks client_email, private_key_id or private_key.");
	return OK;
}

/* ---- the assertion -------------------------------------------------------- */

static void add_base64url(struct buf *ret, struct str bytes)
{
	cleanup_buf struct buf text = BUF_SECRET(64 << 10);

	crypto_base64(bytes.ptr, bytes.len, &text);
	for (size_t i = 0; i < text.len && text.ptr[i] != '='; i++)
		buf_addc(ret, text.ptr[i] == '+' ? '-' : text.ptr[i] == '/' ? '_' : text.ptr[i]);
}

enum err google_assertion(const struct google_key *k, const char *scope, const char *audience, int64_t now, struct buf *ret, struct error *e)
{
	cleanup_buf struct buf part = BUF_INIT(8 << 10), signature = BUF_INIT(4 << 10);
	enum err err;

	buf_adds(&part, "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":");
	buf_add_json(&part, k->key_id);
	buf_adds(&part, "}");
	add_base64url(ret, buf_str(&part));
	buf_reset(&part);
	buf_adds(&part, "{\"iss\":");
	buf_add_json(&part, k->email);
	buf_adds(&part, ",\"scope\":");
	buf_add_json(&part, str_of(scope));
	buf_adds(&part, ",\"aud\":");
	buf_add_json(&part, str_of(audience));
	buf_addf(&part, ",\"iat\":%lld,\"exp\":%lld}", (long long)now, (long long)now + LIFE_SECONDS);
	buf_addc(ret, '.');
	add_base64url(ret, buf_str(&part));
	err = rsa_sign_sha256(k->key, buf_str(ret), &signature, e);
	if (err)
		return err;
	buf_addc(ret, '.');
	add_base64url(ret, buf_str(&signature));
	return ret->failed || part.failed ? error_set(e, ERR_INVALID, "The key file's texts are too long.") : OK;
}

/* ---- what is asked -------------------------------------------------------- */

/* The credentials' two kinds differ in what is asked, and in what a refusal means. */
enum kind { BY_KEY, BY_CONSENT };

static const char *const endings[] = {
	[BY_KEY] = "Google does not take the service account's key: it was deleted or disabled, or this server's clock is wrong. Make a new key there "
		   "and put it into the account.",
	[BY_CONSENT] = "The consent for this Google account has ended: it was withdrawn, or has expired (that of a client in testing lasts seven days). "
		       "Connect the account anew.",
};

static void add_field(struct buf *b, const char *name, struct str value)
{
	if (b->len)
		buf_addc(b, '&');
	buf_adds(b, name);
	buf_addc(b, '=');
	buf_add_url(b, value);
}

static enum err ask_by_key(struct provider_call *c, const struct json *credentials, const char *scope, const char *audience, struct buf *body)
{
	cleanup_google_key struct google_key k = {0};
	cleanup_buf struct buf assertion = BUF_SECRET(32 << 10);
	struct error why = {0};
	enum err err = google_key_read(c, credentials, &k);

	if (err)
		return err;
	if (google_assertion(&k, scope, audience, clock_wall_ms() / 1000, &assertion, &why))
		return google_fail(c, ERR_UNAUTHORIZED, "credentials", "The service account's key file is of no use. %.150s", why.msg);
	add_field(body, "grant_type", STR("urn:ietf:params:oauth:grant-type:jwt-bearer"));
	add_field(body, "assertion", buf_str(&assertion));
	return OK;
}

static enum err ask_by_consent(struct provider_call *c, const struct json *credentials, struct buf *body)
{
	struct str id = json_str(credentials, "clientId"), secret = json_str(credentials, "clientSecret"), refresh = json_str(credentials, "refreshToken");

	if (!id.len || !refresh.len)
		return google_bad_credentials(c, "Nobody has consented for this account yet: connect it with Google.");
	add_field(body, "grant_type", STR("refresh_token"));
	add_field(body, "refresh_token", refresh);
	add_field(body, "client_id", id);
	if (secret.len)
		add_field(body, "client_secret", secret);
	return OK;
}

/* ---- what is answered ----------------------------------------------------- */

static enum err refused(struct provider_call *c, enum kind kind, const struct http_reply *reply, const struct json *doc)
{
	struct str error = json_str(doc, "error");
	char words[GOOGLE_WORDS];

	if (reply->status == 429) {
		c->retry_after_s = reply->retry_after_s;
		return google_fail(c, ERR_RATE, "rate", "Google wants fewer requests for tokens.");
	}
	if (reply->status >= 500) {
		c->retry_after_s = reply->retry_after_s;
		return google_fail(c, ERR_UNAVAILABLE, NULL, "Google's token service answered with status %d.", reply->status);
	}
	if (str_eqz(error, "invalid_grant"))
		return google_bad_credentials(c, endings[kind]);
	if (str_eqz(error, "invalid_client") || str_eqz(error, "unauthorized_client"))
		return google_bad_credentials(c, "Google does not know the OAuth client, or its secret is wrong: see APIs & Services, Credentials there.");
	if (str_eqz(error, "invalid_scope"))
		return google_bad_credentials(c, "Google gives these credentials no leave for what is needed: connect the account anew and agree to all of it.");
	if (!error.len)
		return google_fail(c, ERR_UPSTREAM, NULL, "Google's token service answered with status %d.", reply->status);
	google_line(error, words, 80);
	return google_fail(c, ERR_UNAUTHORIZED, "credentials", "Google gives no token for the account's credentials (%s): replace them.", words);
}

static enum err no_answer(struct provider_call *c, enum err err, const struct error *why)
{
	switch (err) {
	case ERR_TIMEOUT:
		return google_fail(c, ERR_TIMEOUT, NULL, "Google's token service did not answer in time.");
	case ERR_UPSTREAM:
	case ERR_TOO_LARGE:
		return google_fail(c, ERR_UPSTREAM, NULL, "The answer of Google's token service makes no sense: %.120s.", why->msg);
	default:
		return google_fail(c, ERR_UNAVAILABLE, NULL, "Google's token service cannot be reached: %.150s.", why->msg);
	}
}

static enum err exchange(struct provider_call *c, const char *scope, struct secret *ret, int64_t *seconds)
{
	cleanup_google struct json *credentials = NULL;
	cleanup_google struct json *doc = NULL;
	cleanup_buf struct buf body = BUF_SECRET(64 << 10);
	cleanup_arena struct arena scratch = {.limit = ANSWER_MOST + (64 << 10)};
	struct http_reply reply = {0};
	struct error why = {0};
	const char *url = arena_printf(c->arena, "%s/token", c->config->google_oauth_url);
	int64_t left = google_left(c);
	enum kind kind;
	struct str token;
	enum err err = url ? google_credentials(c, &credentials) : google_no_memory(c);

	if (err)
		return err;
	kind = json_has(credentials, "serviceAccount") ? BY_KEY : BY_CONSENT;
	/* Where it is sent is our setting, never what the key file says. */
	err = kind == BY_KEY ? ask_by_key(c, credentials, scope, url, &body) : ask_by_consent(c, credentials, &body);
	if (err)
		return err;
	if (!left)
		return google_fail(c, ERR_TIMEOUT, "unasked", "There was no time left to ask Google for a token.");
	err = http_send(c->http, &scratch, &(struct http_call){
		.method = "POST", .url = url, .body = buf_str(&body), .repeatable = true,
		.headers = (struct http_header[]){{"Content-Type", "application/x-www-form-urlencoded"}, {"Accept", "application/json"}, {NULL, NULL}},
		.deadline_ms = left < EXCHANGE_MS ? left : EXCHANGE_MS, .max_reply = ANSWER_MOST}, &reply, &why);
	log_line(err || reply.status != 200 ? LOG_INFO : LOG_DEBUG, "google.token", "kind=%s status=%d http=%s", kind == BY_KEY ? "key" : "consent",
		 reply.status, err_name(err));
	if (err)
		return no_answer(c, err, &why);
	err = json_parse(reply.body, ANSWER_MOST, &doc, NULL);
	if (reply.body.len)
		crypto_wipe((char *)reply.body.ptr, reply.body.len);
	if (reply.status != 200)
		return refused(c, kind, &reply, err ? NULL : doc);
	token = err ? STR_NULL : json_str(doc, "access_token");
	if (!is_plain(token, TOKEN_MOST) || !str_ieqz(json_str(doc, "token_type"), "Bearer"))
		return google_fail(c, ERR_UPSTREAM, NULL, "Google's token service answered without a token.");
	*seconds = json_i64(doc, "expires_in", 0);
	*ret = secret_new(token);
	return OK;
}

/* ---- those that are good -------------------------------------------------- */

static struct cached {
	uint8_t key[CRYPTO_HASH];
	struct secret token;           /* ptr NULL = free */
	int64_t until_ms, used_ms;     /* clock_ms() */
} cache[CACHE_MOST];
static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;

static void key_of(const struct provider_call *c, const char *scope, uint8_t ret[CRYPTO_HASH])
{
	cleanup_buf struct buf b = BUF_SECRET(CREDENTIALS_MOST + 4096);

	buf_addf(&b, "%s\n%s\n", c->config->google_oauth_url, scope);
	if (c->secret)
		buf_add(&b, c->secret->ptr, c->secret->len);
	crypto_hash(buf_str(&b), ret);
}

static void let_go(struct cached *e)
{
	secret_free(&e->token);
	*e = (struct cached){0};
}

/* Under the lock: the entry of the key, or NULL. */
static struct cached *entry(const uint8_t key[CRYPTO_HASH])
{
	int64_t now = clock_ms();

	for (size_t i = 0; i < CACHE_MOST; i++) {
		struct cached *e = &cache[i];

		if (e->token.ptr && e->until_ms <= now)
			let_go(e);
		if (e->token.ptr && crypto_equal(e->key, key, CRYPTO_HASH))
			return e;
	}
	return NULL;
}

static const char *take(struct provider_call *c, const uint8_t key[CRYPTO_HASH])
{
	const char *token = NULL;
	struct cached *e;

	pthread_mutex_lock(&cache_lock);
	e = entry(key);
	if (e) {
		e->used_ms = clock_ms();
		token = arena_strndup(c->arena, e->token.ptr, e->token.len);
	}
	pthread_mutex_unlock(&cache_lock);
	return token;
}

/* Under the lock: a free place, else that of the one that was not used for longest. */
static struct cached *least_used(void)
{
	struct cached *least = &cache[0];

	for (size_t i = 1; i < CACHE_MOST; i++)
		if (cache[i].used_ms < least->used_ms)
			least = &cache[i];
	return least;
}

static void keep(const uint8_t key[CRYPTO_HASH], const struct secret *token, int64_t seconds)
{
	struct cached *e;

	if (seconds <= SPARE_SECONDS)
		return; /* good for this call only */
	pthread_mutex_lock(&cache_lock);
	e = entry(key);
	if (!e)
		e = least_used();
	let_go(e);
	memcpy(e->key, key, CRYPTO_HASH);
	e->token = secret_new((struct str){token->ptr, token->len});
	e->used_ms = clock_ms();
	e->until_ms = e->used_ms + (seconds < 86400 ? seconds - SPARE_SECONDS : 86400) * 1000;
	pthread_mutex_unlock(&cache_lock);
}

void google_token_drop(struct provider_call *c, const char *scope)
{
	uint8_t key[CRYPTO_HASH];
	struct cached *e;

	key_of(c, scope, key);
	pthread_mutex_lock(&cache_lock);
	e = entry(key);
	if (e)
		let_go(e);
	pthread_mutex_unlock(&cache_lock);
}

void google_token_forget(void)
{
	pthread_mutex_lock(&cache_lock);
	for (size_t i = 0; i < CACHE_MOST; i++)
		let_go(&cache[i]);
	pthread_mutex_unlock(&cache_lock);
}

enum err google_token(struct provider_call *c, const char *scope, const char **ret)
{
	cleanup_secret struct secret token = {0};
	uint8_t key[CRYPTO_HASH];
	int64_t seconds;
	enum err err;

	key_of(c, scope, key);
	*ret = take(c, key);
	if (*ret)
		return OK;
	err = exchange(c, scope, &token, &seconds);
	if (err)
		return err;
	keep(key, &token, seconds);
	*ret = arena_strndup(c->arena, token.ptr, token.len);
	return *ret ? OK : google_no_memory(c);
}
