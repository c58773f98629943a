/* auth - tokens, cookies, CSRF.  See web/auth.h. */
#include "web/auth.h"

#include <string.h>

#include "domain/user.h"
#include "web/request.h"

/* Longer ones cannot be ours. */
enum { CREDENTIAL_MAX = 512 };

/* ---- the public address -------------------------------------------------------- */

static bool is_https(const struct config *c)
{
	return str_starts(str_of(c->public_url), "https://");
}

/* "host[:port]" of the public address. */
static struct str public_host(const struct config *c)
{
	const char *host = strstr(c->public_url, "://");
	struct str s = str_of(host ? host + 3 : ""), ret;

	return str_cut(&s, '/', &ret) ? ret : STR_NULL;
}

/* ---- credentials in the request -------------------------------------------------- */

struct str auth_bearer(const struct request *req)
{
	struct str rest = req->authorization, scheme;

	if (!str_cut(&rest, ' ', &scheme) || !str_ieqz(scheme, "bearer"))
		return STR_NULL;
	return str_trim(rest);
}

static const char *cookie_name(const struct config *c)
{
	return is_https(c) ? "__Host-gpupool" : "gpupool";
}

struct str auth_cookie(const struct config *c, const struct request *req)
{
	struct str rest = req->authorization.ptr ? STR_NULL : req->cookie, item, name;

	while (str_cut(&rest, ';', &item)) {
		item = str_trim(item);
		if (str_cut(&item, '=', &name) && str_eqz(name, cookie_name(c)) && item.len)
			return item;
	}
	return STR_NULL;
}

void auth_set_cookie(const struct ctx *ctx, struct request *req, const char *value)
{
	req->set_cookie = arena_printf(req->arena, "%s=%s; Path=/; HttpOnly; SameSite=Lax%s%s", cookie_name(ctx->config),
				       value, is_https(ctx->config) ? "; Secure" : "",
				       *value ? "; Max-Age=2592000" : "; Max-Age=0");
}

static enum err by_bearer(struct ctx *ctx, struct request *req, struct error *e)
{
	struct str token = auth_bearer(req);

	if (!token.len || token.len > CREDENTIAL_MAX)
		return error_set(e, ERR_UNAUTHORIZED, "Send a token as Authorization: Bearer.");
	return user_by_token(ctx->db, token, &req->principal, e);
}

/* A stale value is replaced; of two requests at once only one does it. */
static enum err rotate(struct ctx *ctx, struct request *req, struct str old, struct error *e)
{
	char fresh[CRYPTO_TOKEN_TEXT];
	enum err err;

	crypto_token("gpl", fresh);
	err = login_rotate(ctx->db, req->principal.login_id, old, str_of(fresh), e);
	if (!err)
		auth_set_cookie(ctx, req, fresh);
	return err == ERR_CONFLICT ? OK : err;
}

static enum err by_cookie(struct ctx *ctx, struct request *req, struct error *e)
{
	struct str cookie = auth_cookie(ctx->config, req);
	bool stale = false;
	enum err err;

	if (!cookie.len || cookie.len > CREDENTIAL_MAX)
		return OK;
	err = user_by_login(ctx->db, cookie, &req->principal, &stale, e);
	/* A cookie is sent without being asked for: one that is no longer good is nobody. */
	if (err == ERR_UNAUTHORIZED)
		return OK;
	return !err && stale ? rotate(ctx, req, cookie, e) : err;
}

enum err auth_resolve(struct ctx *ctx, struct request *req, struct error *e)
{
	req->principal = (struct principal){0};
	return req->authorization.ptr ? by_bearer(ctx, req, e) : by_cookie(ctx, req, e);
}

/* ---- cross-site requests ------------------------------------------------------------ */

static bool origin_is_ours(const struct config *c, const struct request *req)
{
	const char *scheme = is_https(c) ? "https://" : "http://";
	struct str origin = req->origin, host;

	if (!str_starts(origin, scheme))
		return false;
	host = (struct str){origin.ptr + strlen(scheme), origin.len - strlen(scheme)};
	return str_eq(host, public_host(c)) || (host.len && str_eq(host, req->host));
}

enum err auth_same_origin(const struct config *c, const struct request *req, struct error *e)
{
	bool ok;

	if (req->sec_fetch_site.ptr)
		ok = str_eqz(req->sec_fetch_site, "same-origin");
	else
		ok = req->origin.ptr && origin_is_ours(c, req);
	return ok ? OK
		  : error_set(e, ERR_FORBIDDEN, "This request did not come from a page of this server (Sec-Fetch-Site, Origin).");
}

static void csrf_mac(const struct principal *p, uint8_t ret[CRYPTO_HASH])
{
	char text[40];

	snprintf(text, sizeof(text), "csrf %lld", (long long)p->login_id);
	crypto_mac(p->csrf_key, str_of(text), ret);
}

void auth_csrf_token(const struct principal *p, char ret[AUTH_CSRF_TEXT])
{
	uint8_t bytes[2 * CRYPTO_HASH], mac[CRYPTO_HASH];
	cleanup_buf struct buf text = BUF_INIT(AUTH_CSRF_TEXT);

	ret[0] = '\0';
	if (!p->login_id)
		return;
	csrf_mac(p, mac);
	crypto_random(bytes, CRYPTO_HASH);
	for (size_t i = 0; i < CRYPTO_HASH; i++)
		bytes[CRYPTO_HASH + i] = bytes[i] ^ mac[i];
	crypto_base64(bytes, sizeof(bytes), &text);
	snprintf(ret, AUTH_CSRF_TEXT, "%s", text.ptr);
}

static bool csrf_valid(const struct principal *p, struct str token)
{
	cleanup_buf struct buf bytes = BUF_INIT(AUTH_CSRF_TEXT);
	uint8_t mac[CRYPTO_HASH], shown[CRYPTO_HASH];

	if (token.len >= AUTH_CSRF_TEXT || !crypto_unbase64(token, &bytes) || bytes.len != sizeof(mac) + sizeof(shown))
		return false;
	csrf_mac(p, mac);
	for (size_t i = 0; i < CRYPTO_HASH; i++)
		shown[i] = (uint8_t)(bytes.ptr[i] ^ bytes.ptr[CRYPTO_HASH + i]);
	return crypto_equal(mac, shown, sizeof(mac));
}

enum err auth_csrf_check(const struct config *c, const struct request *req, struct error *e)
{
	enum err err = auth_same_origin(c, req, e);

	if (err || !req->principal.login_id)
		return err;
	if (req->csrf_token.len && csrf_valid(&req->principal, req->csrf_token))
		return OK;
	err = error_set(e, ERR_FORBIDDEN, "The CSRF token is missing or not this sign-in's; load the page again.");
	if (e)
		e->reason = "csrf";
	return err;
}
