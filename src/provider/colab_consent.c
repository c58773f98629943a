/* colab_consent - a person's consent at Google, and whose it is.  See provider/colab.h. */
#include "provider/colab.h"

#include <string.h>

#include "base/http.h"
#include "provider/google_call.h"
#include "provider/google_token.h"

enum { ANSWER_MOST = 64 << 10, BODY_MOST = 16 << 10, CREDENTIALS_MOST = 16 << 10, EXCHANGE_MS = 30000, NAME_MOST = 254 };

static enum err again(struct provider_call *c, const char *sentence)
{
	return google_fail(c, ERR_FORBIDDEN, "consent", "%s", sentence);
}

/* ---- the exchange ---------------------------------------------------------- */

static void add_field(struct buf *b, const char *name, struct str value)
{
	if (b->len)
		buf_addc(b, '&');
	buf_adds(b, name);
	buf_addc(b, '=');
	buf_add_url(b, value);
}

static enum err refused(struct provider_call *c, const struct consent_code *code, int status, const struct json *doc)
{
	struct str error = json_str(doc, "error");

	if (str_eqz(error, "invalid_client") || str_eqz(error, "unauthorized_client"))
		return again(c, "Google does not take this OAuth client: its ID or secret is wrong, or it was deleted. Replace the client, then connect again.");
	if (str_eqz(error, "redirect_uri_mismatch"))
		return google_fail(c, ERR_FORBIDDEN, "consent", "The OAuth client does not know this server: add %.120s to its authorised redirect URIs at Google, "
							      "then connect again.", code->redirect_uri);
	if (str_eqz(error, "invalid_grant"))
		return again(c, "Google did not take the code of this consent: it was used before, or too late. Connect again.");
	if (status == 429 || status >= 500)
		return google_fail(c, ERR_UNAVAILABLE, NULL, "Google's token service answered with status %d.", status);
	return google_fail(c, ERR_FORBIDDEN, "consent", "Google did not take the consent (status %d). Connect again.", status);
}

static bool granted(struct str scopes, struct str wanted)
{
	struct str one;

	while (str_cut(&scopes, ' ', &one))
		if (str_eq(one, wanted))
			return true;
	return false;
}

/* Whoever leaves out a tick consents to less; the addresses that say who it is have two names each. */
static enum err check_granted(struct provider_call *c, const struct consent_code *code, struct str scopes)
{
	struct str asked = str_of(code->scopes), one;

	while (str_cut(&asked, ' ', &one))
		if (str_starts(one, "https://") && !granted(scopes, one))
			return again(c, "The consent leaves out what is needed: connect again, and leave every tick on Google's page set.");
	return OK;
}

static enum err make_credentials(struct provider_call *c, const struct json *old, struct str refresh, struct str scopes, struct secret *ret)
{
	cleanup_buf struct buf b = BUF_SECRET(CREDENTIALS_MOST);
	struct json *doc = json_object();

	json_put_str(doc, "clientId", json_str(old, "clientId"));
	json_put_str(doc, "clientSecret", json_str(old, "clientSecret"));
	json_put_str(doc, "refreshToken", refresh);
	json_put_str(doc, "scope", scopes);
	json_write_wiped(doc, &b);
	json_free(doc);
	if (b.failed)
		return google_fail(c, ERR_UPSTREAM, NULL, "Google's answer to the consent is too long.");
	*ret = secret_new(buf_str(&b));
	return OK;
}

static enum err read_answer(struct provider_call *c, const struct consent_code *code, const struct json *old, const struct json *doc,
			    struct consent_given *ret)
{
	struct str refresh = json_str(doc, "refresh_token"), scopes = json_str(doc, "scope");
	enum err err;

	if (!json_str(doc, "access_token").len)
		return google_fail(c, ERR_UPSTREAM, NULL, "Google's answer to the consent makes no sense.");
	err = check_granted(c, code, scopes);
	if (err)
		return err;
	if (!refresh.len)
		return again(c, "Google gave no lasting consent: remove gpupool at myaccount.google.com/connections, then connect again.");
	ret->scopes = arena_str(c->arena, scopes);
	return ret->scopes.ptr ? make_credentials(c, old, refresh, scopes, &ret->credentials) : google_no_memory(c);
}

enum err colab_exchange(struct provider_call *c, const struct consent_code *code, struct consent_given *ret)
{
	cleanup_google struct json *old = NULL, *doc = NULL;
	cleanup_buf struct buf body = BUF_SECRET(BODY_MOST);
	cleanup_arena struct arena scratch = {.limit = ANSWER_MOST + (64 << 10)};
	const char *url = arena_printf(c->arena, "%s/token", c->config->google_oauth_url);
	int64_t left = google_left(c);
	struct http_reply reply = {0};
	struct error why = {0};
	enum err err = url ? google_credentials(c, &old) : google_no_memory(c);

	*ret = (struct consent_given){0};
	if (err)
		return err;
	add_field(&body, "grant_type", STR("authorization_code"));
	add_field(&body, "code", code->code);
	add_field(&body, "client_id", json_str(old, "clientId"));
	add_field(&body, "client_secret", json_str(old, "clientSecret"));
	add_field(&body, "redirect_uri", str_of(code->redirect_uri));
	add_field(&body, "code_verifier", code->verifier);
	err = http_send(c->http, &scratch, &(struct http_call){
		.method = "POST", .url = url, .body = buf_str(&body), .max_reply = ANSWER_MOST, .deadline_ms = left < EXCHANGE_MS ? left : EXCHANGE_MS,
		.headers = (struct http_header[]){{"Content-Type", "application/x-www-form-urlencoded"}, {"Accept", "application/json"}, {NULL, NULL}}},
		&reply, &why);
	if (err)
		return google_fail(c, ERR_UNAVAILABLE, NULL, "Google's token service cannot be reached: %.150s.", why.msg);
	err = json_parse(reply.body, ANSWER_MOST, &doc, NULL);
	if (reply.body.len)
		crypto_wipe((char *)reply.body.ptr, reply.body.len);
	if (reply.status != 200)
		return refused(c, code, reply.status, err ? NULL : doc);
	return read_answer(c, code, old, err ? NULL : doc, ret);
}

/* ---- whose it is ------------------------------------------------------------ */

static bool name_valid(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
			return false;
	return s.len > 0 && s.len <= NAME_MOST;
}

static enum err read_name(struct provider_call *c, const struct json *doc, struct identity *ret)
{
	struct str email = json_str(doc, "email"), sub = json_str(doc, "sub");
	struct str name = name_valid(email) ? email : sub;

	if (!name_valid(name))
		return google_fail(c, ERR_UPSTREAM, NULL, "Google did not say whose consent this is.");
	ret->name = arena_str(c->arena, name).ptr;
	return ret->name ? OK : google_no_memory(c);
}

enum err colab_verify(struct provider_call *c, struct identity *ret)
{
	cleanup_google_answer struct google_answer answer = {0};
	cleanup_google struct json *doc = NULL;
	cleanup_buf struct buf url = BUF_SECRET(16 << 10);
	const char *token;
	enum err err = google_credentials(c, &doc);

	if (!err && !json_str(doc, "refreshToken").len)
		return google_fail(c, ERR_FORBIDDEN, "account", "Nobody has connected it with Google yet: its owner presses Connect with Google on its page.");
	if (!err)
		err = google_token(c, json_cstr(doc, "scope"), &token);
	if (err)
		return err;
	buf_addf(&url, "%s/tokeninfo?access_token=", c->config->google_oauth_url);
	buf_add_url(&url, str_of(token));
	err = google_call(c, &(struct google_request){.service = "Google's sign-in", .url = url.ptr}, &answer);
	if (err == ERR_INVALID) { /* it was good a moment ago: withdrawn meanwhile */
		google_token_drop(c, json_cstr(doc, "scope"));
		return google_bad_credentials(c, "The consent for this Google account has ended. Connect the account anew.");
	}
	return err ? err : read_name(c, answer.doc, ret);
}
