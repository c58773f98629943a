/*
 * auth - who sends a request: bearer tokens, sign-in cookies, CSRF.
 *
 * An Authorization header, valid or not, means that the cookie is not looked
 * at.  Cookie-authenticated writes and every form need a same-origin
 * Sec-Fetch-Site or Origin; cookie-authenticated writes also the CSRF token, in
 * the header X-CSRF-Token or the form field csrf.
 *
 * The cookie is `__Host-gpupool` where people reach us by https, else `gpupool`
 * without Secure, which is for loopback hosts only.  Its value changes at
 * sign-in, with the role, and every 12 hours; the old value is good for 60 s.
 */
#ifndef WEB_AUTH_H
#define WEB_AUTH_H

#include "base/config.h"
#include "base/crypto.h"
#include "base/error.h"
#include "domain/principal.h"

struct ctx;
struct request;
struct response;

/* A masked token: 2 * 32 bytes as base64 with NUL. */
enum { AUTH_CSRF_TEXT = 90 };

/* The text after "Bearer "; STR_NULL when there is no such header. */
struct str auth_bearer(const struct request *req);
/* The value of our cookie; STR_NULL when there is none, or when there is an
 * Authorization header. */
struct str auth_cookie(const struct config *c, const struct request *req);

/* Fills req->principal.  OK with user_id 0 when the request names nobody;
 * ERR_UNAUTHORIZED when it shows a token that is not good. */
enum err auth_resolve(struct ctx *ctx, struct request *req, struct error *e) must_check;

/* Whether a browser sent it from a page of ours. */
enum err auth_same_origin(const struct config *c, const struct request *req, struct error *e) must_check;
/* For writes by a browser: origin, and the token when there is a login. */
enum err auth_csrf_check(const struct config *c, const struct request *req, struct error *e) must_check;
/* The login's token under a fresh mask, so that compression tells nothing;
 * "" when nobody is signed in by a browser. */
void auth_csrf_token(const struct principal *p, char ret[AUTH_CSRF_TEXT]);

/* Set-Cookie with a value, or with "" to take it away; sent at the end of the request. */
void auth_set_cookie(const struct ctx *ctx, struct request *req, const char *value);

#endif
