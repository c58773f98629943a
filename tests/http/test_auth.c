/* Who may do what: tokens, cookies, CSRF, roles, idempotency keys, over a real socket. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crypto.h"
#include "people.h"
#include "unit.h"
#include "web.h"
#include "web/routes.h"

static struct pg *pg;
static struct web web;
static struct db *db;

static void ask(const struct call *c, struct reply *r)
{
	fcgi_call(web.socket, c, r);
}

static int status_of(const struct call *c)
{
	cleanup_reply struct reply r = {0};

	ask(c, &r);
	return r.status;
}

/* ---- tokens ---------------------------------------------------------------------- */

START_TEST(test_token_missing_forged_and_malformed)
{
	static const char *const headers[] = {"", "Bearer", "Bearer ", "Basic YWRtaW46eA==", "Bearer gpt_forged", "bearer gpt_x y",
			"gpt_admin-of-tests", "Bearer  "};
	struct call none = {.path = "/api/gpu/me"};
	cleanup_reply struct reply r = {0};

	ask(&none, &r);
	ck_assert_int_eq(r.status, 401);
	ck_assert_str_eq(reply_header(&r, "WWW-Authenticate"), "Bearer realm=\"gpupool\"");
	for (size_t i = 0; i < ARRAY_LEN(headers); i++) {
		struct call c = {.path = "/api/gpu/me", .headers = {{"HTTP_AUTHORIZATION", headers[i]}}};

		ck_assert_msg(status_of(&c) == 401, "%s", headers[i]);
	}
}
END_TEST

/* Makes a token by the API; its value in a static buffer. */
static const char *make_token(enum person owner, const char *body, int64_t *id)
{
	static char value[CRYPTO_TOKEN_TEXT];
	struct call c = {.method = "POST", .path = "/api/gpu/tokens", .token = people_token(owner), .body = str_of(body)};
	cleanup_reply struct reply r = {0};

	ask(&c, &r);
	ck_assert_msg(r.status == 201, "%s", r.body.ptr);
	ck_assert_str_eq(reply_header(&r, "Cache-Control"), "no-store");
	snprintf(value, sizeof(value), "%s", json_cstr(r.json, "token"));
	ck_assert(str_to_id(json_str(r.json, "id"), id));
	return value;
}

START_TEST(test_token_expires_and_is_revoked)
{
	char path[64], sql[160];
	int64_t id;
	const char *value = make_token(OPERATOR, "{\"name\":\"t\",\"scopes\":[\"read\"],\"expiresSeconds\":3600}", &id);
	struct call me = {.path = "/api/gpu/me", .token = value}, revoke = {.method = "DELETE", .path = path, .token = people_token(OPERATOR)};

	ck_assert_int_eq(status_of(&me), 200);
	snprintf(sql, sizeof(sql), "update api_token set expires_at = now() where id = %lld", (long long)id);
	pg_sql(db, sql, NULL);
	ck_assert_int_eq(status_of(&me), 401);
	snprintf(sql, sizeof(sql), "update api_token set expires_at = null where id = %lld", (long long)id);
	pg_sql(db, sql, NULL);
	ck_assert_int_eq(status_of(&me), 200);
	snprintf(path, sizeof(path), "/api/gpu/tokens/%lld", (long long)id);
	ck_assert_int_eq(status_of(&revoke), 204);
	ck_assert_int_eq(status_of(&me), 401);
	ck_assert_int_eq(status_of(&revoke), 204);
}
END_TEST

START_TEST(test_token_value_is_nowhere)
{
	int64_t id;
	const char *value = make_token(OPERATOR, "{\"name\":\"t\",\"scopes\":[\"read\"]}", &id);
	struct call list = {.path = "/api/gpu/tokens", .token = people_token(OPERATOR)}, me = {.path = "/api/gpu/me", .token = value};
	cleanup_reply struct reply r = {0};
	char sql[256];

	ck_assert_int_eq(status_of(&me), 200);
	ask(&list, &r);
	ck_assert_ptr_null(strstr(r.body.ptr, value));
	ck_assert_ptr_null(strstr(web_log(&web), value));
	snprintf(sql, sizeof(sql), "select (select count(*) from api_token t where t::text like '%%%s%%') + (select count(*) from audit a where a::text like '%%%s%%')", value, value);
	ck_assert_int_eq(pg_int(db, sql), 0);
}
END_TEST

START_TEST(test_token_never_above_its_owner)
{
	struct call c = {.method = "POST", .path = "/api/gpu/tokens", .token = people_token(OPERATOR),
			 .body = STR("{\"name\":\"t\",\"scopes\":[\"admin\"]}")};
	int64_t id;
	const char *value;
	cleanup_reply struct reply r = {0};

	ask(&c, &r);
	ck_assert_int_eq(r.status, 403);
	ck_assert(reply_names(&r, "scopes"));
	/* A token of few scopes makes none of more, and the owner's role counts at each use. */
	value = make_token(ADMIN, "{\"name\":\"t\",\"scopes\":[\"manage\"]}", &id);
	c.token = value;
	ck_assert_int_eq(status_of(&c), 403);
	c = (struct call){.path = "/api/gpu/users", .token = value};
	ck_assert_int_eq(status_of(&c), 403);
	value = make_token(OTHER, "{\"name\":\"t\",\"scopes\":[\"manage\"]}", &id);
	pg_sql(db, "update users set role = 'viewer' where name = 'otto'", NULL);
	c = (struct call){.path = "/api/gpu/accounts", .token = value};
	ck_assert_int_eq(status_of(&c), 403);
	pg_sql(db, "update users set role = 'operator' where name = 'otto'", NULL);
	ck_assert_int_eq(status_of(&c), 200);
}
END_TEST

START_TEST(test_token_of_few_scopes)
{
	int64_t id;
	struct call c = {.path = "/api/gpu/accounts", .token = make_token(OPERATOR, "{\"name\":\"t\",\"scopes\":[\"submit\"]}", &id)};
	cleanup_reply struct reply r = {0};

	ask(&c, &r);
	ck_assert_int_eq(r.status, 403);
	ck_assert_ptr_nonnull(strstr(r.body.ptr, "manage"));
	c.path = "/api/gpu/tokens";
	ck_assert_int_eq(status_of(&c), 403);
	c.path = "/api/gpu/decisions";
	ck_assert_int_eq(status_of(&c), 200);
}
END_TEST

START_TEST(test_last_use_is_kept_to_the_minute)
{
	int64_t id;
	struct call c = {.path = "/api/gpu/me", .token = make_token(OPERATOR, "{\"name\":\"t\",\"scopes\":[\"read\"]}", &id)};
	char sql[160];

	ck_assert_int_eq(status_of(&c), 200);
	snprintf(sql, sizeof(sql), "select xmin::text::bigint from api_token where id = %lld and last_used_at is not null", (long long)id);
	int64_t written = pg_int(db, sql);

	ck_assert_int_eq(status_of(&c), 200);
	ck_assert_int_eq(pg_int(db, sql), written);
}
END_TEST

/* ---- browsers --------------------------------------------------------------------- */

struct browser {
	char cookie[200], value[128], csrf[128];
};

#define SAME_ORIGIN {"HTTP_SEC_FETCH_SITE", "same-origin"}

static int sign_in(struct browser *b, const char *name, const char *password)
{
	char body[256];
	struct call c = {.method = "POST", .path = "/api/gpu/sign-in", .body = {body, 0}};
	cleanup_reply struct reply r = {0};

	snprintf(body, sizeof(body), "{\"name\":\"%s\",\"password\":\"%s\"}", name, password);
	c.body.len = strlen(body);
	ask(&c, &r);
	if (r.status == 200) {
		snprintf(b->value, sizeof(b->value), "%s", reply_cookie(&r, "gpupool"));
		snprintf(b->cookie, sizeof(b->cookie), "theme=dark; gpupool=%s; x=y", b->value);
		snprintf(b->csrf, sizeof(b->csrf), "%s", json_cstr(r.json, "csrfToken"));
		ck_assert_ptr_nonnull(strstr(reply_header(&r, "Set-Cookie"), "; HttpOnly; SameSite=Lax"));
	}
	return r.status;
}

START_TEST(test_sign_in_and_out)
{
	struct browser b;
	char old[200];

	ck_assert_int_eq(sign_in(&b, "olga", "wrong"), 401);
	ck_assert_int_eq(sign_in(&b, "nobody", PASSWORD), 401);
	ck_assert_int_eq(sign_in(&b, "olga", PASSWORD), 200);
	struct call me = {.path = "/api/gpu/me", .headers = {{"HTTP_COOKIE", b.cookie}}};
	struct call out = {.method = "POST", .path = "/api/gpu/sign-out", .headers = {{"HTTP_COOKIE", b.cookie}, {"HTTP_X_CSRF_TOKEN", b.csrf}, SAME_ORIGIN}};
	cleanup_reply struct reply r = {0};

	ck_assert_int_eq(status_of(&me), 200);
	ask(&out, &r);
	ck_assert_int_eq(r.status, 204);
	ck_assert_str_eq(reply_cookie(&r, "gpupool"), "");
	ck_assert_int_eq(status_of(&me), 401);
	/* A sign-in takes the place of the one that the browser had. */
	ck_assert_int_eq(sign_in(&b, "olga", PASSWORD), 200);
	snprintf(old, sizeof(old), "%s", b.cookie);
	struct call again = {.method = "POST", .path = "/api/gpu/sign-in", .headers = {{"HTTP_COOKIE", old}},
			     .body = STR("{\"name\":\"olga\",\"password\":\"" PASSWORD "\"}")};

	ck_assert_int_eq(status_of(&again), 200);
	me.headers[0][1] = old;
	ck_assert_int_eq(status_of(&me), 401);
}
END_TEST

START_TEST(test_csrf)
{
	struct browser b, other;
	struct call c = {.method = "PATCH", .path = "/api/gpu/me", .body = STR("{\"locale\":\"en\"}")};
	char broken[128];

	ck_assert_int_eq(sign_in(&b, "olga", PASSWORD), 200);
	ck_assert_int_eq(sign_in(&other, "otto", PASSWORD), 200);
	snprintf(broken, sizeof(broken), "%s", b.csrf);
	broken[5] = broken[5] == 'A' ? 'B' : 'A';
	const struct {
		const char *csrf, *site, *origin;
		int status;
	} rows[] = {
		{b.csrf, "same-origin", NULL, 200},
		{b.csrf, NULL, "http://127.0.0.1:8080", 200},
		{NULL, "same-origin", NULL, 403},
		{"", "same-origin", NULL, 403},
		{broken, "same-origin", NULL, 403},
		{other.csrf, "same-origin", NULL, 403},
		{"AAAA", "same-origin", NULL, 403},
		{b.csrf, "cross-site", NULL, 403},
		{b.csrf, "same-site", NULL, 403},
		{b.csrf, "none", NULL, 403},
		{b.csrf, "cross-site", "http://127.0.0.1:8080", 403},
		{b.csrf, NULL, "http://evil.example", 403},
		{b.csrf, NULL, "http://127.0.0.1:8080.evil.example", 403},
		{b.csrf, NULL, "https://127.0.0.1:8080", 403},
		{b.csrf, NULL, "null", 403},
		{b.csrf, NULL, NULL, 403},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		int n = 0;

		memset(c.headers, 0, sizeof(c.headers));
		c.headers[n][0] = "HTTP_COOKIE";
		c.headers[n++][1] = b.cookie;
		if (rows[i].csrf) {
			c.headers[n][0] = "HTTP_X_CSRF_TOKEN";
			c.headers[n++][1] = rows[i].csrf;
		}
		if (rows[i].site) {
			c.headers[n][0] = "HTTP_SEC_FETCH_SITE";
			c.headers[n++][1] = rows[i].site;
		}
		if (rows[i].origin) {
			c.headers[n][0] = "HTTP_ORIGIN";
			c.headers[n++][1] = rows[i].origin;
		}
		ck_assert_msg(status_of(&c) == rows[i].status, "row %zu", i);
	}
}
END_TEST

START_TEST(test_csrf_token_is_masked_afresh)
{
	struct browser b;
	struct call c = {.path = "/api/gpu/me"};
	cleanup_reply struct reply r = {0}, s = {0};

	ck_assert_int_eq(sign_in(&b, "olga", PASSWORD), 200);
	c.headers[0][0] = "HTTP_COOKIE";
	c.headers[0][1] = b.cookie;
	ask(&c, &r);
	ask(&c, &s);
	ck_assert_str_ne(json_cstr(r.json, "csrfToken"), json_cstr(s.json, "csrfToken"));
}
END_TEST

START_TEST(test_authorization_header_hides_the_cookie)
{
	struct browser b;
	struct call c = {.path = "/api/gpu/me"};

	ck_assert_int_eq(sign_in(&b, "olga", PASSWORD), 200);
	c.headers[0][0] = "HTTP_COOKIE";
	c.headers[0][1] = b.cookie;
	ck_assert_int_eq(status_of(&c), 200);
	c.token = "gpt_forged";
	ck_assert_int_eq(status_of(&c), 401);
	/* With a good token the cookie's CSRF rules do not count. */
	c = (struct call){.method = "PATCH", .path = "/api/gpu/me", .token = people_token(OTHER), .body = STR("{\"locale\":\"en\"}"),
			  .headers = {{"HTTP_COOKIE", b.cookie}}};
	ck_assert_int_eq(status_of(&c), 200);
}
END_TEST

START_TEST(test_cookie_rotates_and_the_old_one_lives_a_minute)
{
	struct browser b;
	struct call c = {.path = "/api/gpu/me"}, d = {.path = "/api/gpu/me"};
	cleanup_reply struct reply r = {0}, s = {0};
	char fresh[200];

	ck_assert_int_eq(sign_in(&b, "olga", PASSWORD), 200);
	c.headers[0][0] = d.headers[0][0] = "HTTP_COOKIE";
	c.headers[0][1] = b.cookie;
	ask(&c, &r);
	ck_assert_ptr_null(reply_header(&r, "Set-Cookie"));
	pg_sql(db, "update login set rotated_at = now() - interval '13 hours' where user_id = (select id from users where name = 'olga')", NULL);
	ask(&c, &s);
	ck_assert_int_eq(s.status, 200);
	ck_assert_ptr_nonnull(reply_cookie(&s, "gpupool"));
	ck_assert_str_ne(reply_cookie(&s, "gpupool"), b.value);
	snprintf(fresh, sizeof(fresh), "gpupool=%s", reply_cookie(&s, "gpupool"));
	d.headers[0][1] = fresh;
	ck_assert_int_eq(status_of(&d), 200);
	ck_assert_int_eq(status_of(&c), 200);
	pg_sql(db, "update login set previous_until = now() where user_id = (select id from users where name = 'olga')", NULL);
	ck_assert_int_eq(status_of(&c), 401);
	ck_assert_int_eq(status_of(&d), 200);
}
END_TEST

START_TEST(test_cookie_rotates_with_the_role)
{
	struct browser b;
	char path[64];
	struct call c = {.path = "/api/gpu/me"};
	struct call change = {.method = "PATCH", .path = path, .token = people_token(ADMIN), .body = STR("{\"role\":\"viewer\"}")};
	cleanup_reply struct reply r = {0};

	ck_assert_int_eq(sign_in(&b, "otto", PASSWORD), 200);
	c.headers[0][0] = "HTTP_COOKIE";
	c.headers[0][1] = b.cookie;
	snprintf(path, sizeof(path), "/api/gpu/users/%lld", (long long)people_id(OTHER));
	ck_assert_int_eq(status_of(&change), 200);
	ask(&c, &r);
	ck_assert_int_eq(r.status, 200);
	ck_assert_str_eq(json_cstr(r.json, "role"), "viewer");
	ck_assert_ptr_nonnull(reply_cookie(&r, "gpupool"));
	change.body = STR("{\"role\":\"operator\"}");
	ck_assert_int_eq(status_of(&change), 200);
}
END_TEST

START_TEST(test_five_wrong_tries_pause)
{
	struct browser b;

	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(sign_in(&b, "vera", "wrong again"), 401);
	/* Now the right one does not help, until the minute is over. */
	ck_assert_int_eq(sign_in(&b, "vera", PASSWORD), 401);
	ck_assert_int_eq(pg_int(db, "select count(*) from users where name = 'vera' and signin_after between now() + interval '50 s' and now() + interval '61 s'"), 1);
	pg_sql(db, "update users set signin_after = now() where name = 'vera'", NULL);
	ck_assert_int_eq(sign_in(&b, "vera", PASSWORD), 200);
	ck_assert_int_eq(pg_int(db, "select failed_signins from users where name = 'vera'"), 0);
}
END_TEST

START_TEST(test_password_change)
{
	struct browser a, b;

	ck_assert_int_eq(sign_in(&a, "otto", PASSWORD), 200);
	ck_assert_int_eq(sign_in(&b, "otto", PASSWORD), 200);
	struct call c = {.method = "POST", .path = "/api/gpu/me/password", .headers = {{"HTTP_COOKIE", a.cookie}, {"HTTP_X_CSRF_TOKEN", a.csrf}, SAME_ORIGIN},
			 .body = STR("{\"current\":\"wrong\",\"password\":\"another horse 2\"}")};
	struct call me = {.path = "/api/gpu/me", .headers = {{"HTTP_COOKIE", b.cookie}}};
	cleanup_reply struct reply r = {0};

	ask(&c, &r);
	ck_assert_int_eq(r.status, 400);
	ck_assert(reply_names(&r, "current"));
	c.body = STR("{\"current\":\"" PASSWORD "\",\"password\":\"another horse 2\"}");
	ck_assert_int_eq(status_of(&me), 200);
	ck_assert_int_eq(status_of(&c), 204);
	ck_assert_int_eq(status_of(&me), 401);
	me.headers[0][1] = a.cookie;
	ck_assert_int_eq(status_of(&me), 200);
	ck_assert_int_eq(sign_in(&b, "otto", PASSWORD), 401);
	ck_assert_int_eq(sign_in(&b, "otto", "another horse 2"), 200);
	ck_assert_int_eq(pg_int(db, "select count(*) from audit where action = 'me.password' and detail is null"), 1);
}
END_TEST

START_TEST(test_sign_in_form)
{
	struct call page = {.path = "/admin/sign-in", .query = "next=/admin/jobs%3Fq%3D%253Cx%253E"};
	struct call c = {.method = "POST", .path = "/admin/sign-in", .type = "application/x-www-form-urlencoded", .headers = {SAME_ORIGIN},
			 .body = STR("name=olga&password=wrong&next=%2Fadmin%2Fjobs")};
	cleanup_reply struct reply r = {0}, s = {0}, t = {0}, u = {0}, v = {0};

	ask(&page, &r);
	ck_assert_int_eq(r.status, 200);
	ck_assert_ptr_nonnull(strstr(r.body.ptr, "name=\"next\" value=\"/admin/jobs?q=%3Cx%3E\""));
	ask(&c, &s);
	ck_assert_int_eq(s.status, 401);
	ck_assert_ptr_nonnull(strstr(reply_header(&s, "Content-Type"), "text/html"));
	ck_assert_ptr_nonnull(strstr(s.body.ptr, "value=\"olga\""));
	ck_assert_ptr_null(strstr(s.body.ptr, "value=\"wrong\""));
	ck_assert_ptr_null(reply_header(&s, "Set-Cookie"));
	c.body = STR("name=olga&password=correct+horse+1&next=%2Fadmin%2Fjobs");
	ask(&c, &t);
	ck_assert_int_eq(t.status, 303);
	ck_assert_str_eq(reply_header(&t, "Location"), "/admin/jobs");
	ck_assert_ptr_nonnull(reply_cookie(&t, "gpupool"));
	c.body = STR("name=olga&password=correct+horse+1&next=%2F%2Fevil.example%2Fadmin%2F");
	ask(&c, &u);
	ck_assert_str_eq(reply_header(&u, "Location"), "/admin/gpu-dashboard");
	c.headers[0][1] = "cross-site";
	ask(&c, &v);
	ck_assert_int_eq(v.status, 403);
}
END_TEST

START_TEST(test_page_without_sign_in_leads_there)
{
	struct call c = {.method = "POST", .path = "/admin/sign-out", .type = "application/x-www-form-urlencoded", .body = STR("csrf=x"), .headers = {SAME_ORIGIN}};
	cleanup_reply struct reply r = {0};

	ask(&c, &r);
	ck_assert_int_eq(r.status, 303);
	ck_assert_str_eq(reply_header(&r, "Location"), "/admin/sign-in");
}
END_TEST

/* ---- users ------------------------------------------------------------------------- */

START_TEST(test_deactivated_user_is_out)
{
	struct call make = {.method = "POST", .path = "/api/gpu/users", .token = people_token(ADMIN),
			    .body = STR("{\"name\":\"gone\",\"role\":\"operator\",\"password\":\"" PASSWORD "\"}")};
	char path[64], cookie[200];
	struct browser b;
	cleanup_reply struct reply r = {0}, s = {0};
	char token[CRYPTO_TOKEN_TEXT];

	ask(&make, &r);
	ck_assert_int_eq(r.status, 201);
	ck_assert_ptr_null(strstr(r.body.ptr, "argon2"));
	snprintf(path, sizeof(path), "/api/gpu/users/%s", json_cstr(r.json, "id"));
	ck_assert_int_eq(sign_in(&b, "gone", PASSWORD), 200);
	snprintf(cookie, sizeof(cookie), "%s", b.cookie);
	struct call mint = {.method = "POST", .path = "/api/gpu/tokens", .headers = {{"HTTP_COOKIE", cookie}, {"HTTP_X_CSRF_TOKEN", b.csrf}, SAME_ORIGIN},
			    .body = STR("{\"name\":\"t\",\"scopes\":[\"manage\"]}")};

	ask(&mint, &s);
	ck_assert_int_eq(s.status, 201);
	snprintf(token, sizeof(token), "%s", json_cstr(s.json, "token"));
	struct call off = {.method = "PATCH", .path = path, .token = people_token(ADMIN), .body = STR("{\"active\":false}")};
	struct call by_cookie = {.path = "/api/gpu/me", .headers = {{"HTTP_COOKIE", cookie}}}, by_token = {.path = "/api/gpu/me", .token = token};

	ck_assert_int_eq(status_of(&by_token), 200);
	ck_assert_int_eq(status_of(&off), 200);
	ck_assert_int_eq(status_of(&by_cookie), 401);
	ck_assert_int_eq(status_of(&by_token), 401);
	ck_assert_int_eq(sign_in(&b, "gone", PASSWORD), 401);
	/* Activated again, the old token stays dead. */
	off.body = STR("{\"active\":true}");
	ck_assert_int_eq(status_of(&off), 200);
	ck_assert_int_eq(status_of(&by_token), 401);
	ck_assert_int_eq(sign_in(&b, "gone", PASSWORD), 200);
	off = (struct call){.method = "DELETE", .path = path, .token = people_token(ADMIN)};
	ck_assert_int_eq(status_of(&off), 204);
	ck_assert_int_eq(status_of(&off), 404);
}
END_TEST

START_TEST(test_last_admin_stays)
{
	char path[64];
	struct call c = {.method = "PATCH", .path = path, .token = people_token(ADMIN), .body = STR("{\"role\":\"operator\"}")};

	snprintf(path, sizeof(path), "/api/gpu/users/%lld", (long long)people_id(ADMIN));
	ck_assert_int_eq(status_of(&c), 409);
	c.body = STR("{\"active\":false}");
	ck_assert_int_eq(status_of(&c), 409);
	c.method = "DELETE";
	c.body = STR_NULL;
	ck_assert_int_eq(status_of(&c), 409);
	ck_assert_int_eq(pg_int(db, "select count(*) from users where role = 'admin' and active"), 1);
}
END_TEST

START_TEST(test_names_are_unique_and_plain)
{
	struct call c = {.method = "POST", .path = "/api/gpu/users", .token = people_token(ADMIN), .body = STR("{\"name\":\"olga\",\"role\":\"viewer\"}")};
	cleanup_reply struct reply r = {0}, s = {0};

	ask(&c, &r);
	ck_assert_int_eq(r.status, 409);
	ck_assert(reply_names(&r, "name"));
	c.body = STR("{\"name\":\"Ol ga\",\"role\":\"viewer\"}");
	ask(&c, &s);
	ck_assert_int_eq(s.status, 400);
	ck_assert(reply_names(&s, "name"));
}
END_TEST

START_TEST(test_a_locale_is_a_language)
{
	static const char *const no[] = {"<b>", "en\\\"", "../en", "-e", "en_US"};
	struct call make = {.method = "POST", .path = "/api/gpu/users", .token = people_token(ADMIN)};
	struct call change = {.method = "PATCH", .path = "/api/gpu/me", .token = people_token(OPERATOR)};
	char body[100];

	for (size_t i = 0; i < ARRAY_LEN(no); i++) {
		cleanup_reply struct reply r = {0}, s = {0};

		snprintf(body, sizeof(body), "{\"name\":\"polyglot\",\"role\":\"viewer\",\"locale\":\"%s\"}", no[i]);
		make.body = str_of(body);
		ask(&make, &r);
		ck_assert_int_eq(r.status, 400);
		ck_assert(reply_names(&r, "locale"));
		snprintf(body, sizeof(body), "{\"locale\":\"%s\"}", no[i]);
		change.body = str_of(body);
		ask(&change, &s);
		ck_assert_int_eq(s.status, 400);
		ck_assert(reply_names(&s, "locale"));
	}
	change.body = STR("{\"locale\":\"pt-BR\"}");
	ck_assert_int_eq(status_of(&change), 200);
	change.body = STR("{\"locale\":\"en\"}");
	ck_assert_int_eq(status_of(&change), 200);
}
END_TEST

START_TEST(test_accounts)
{
	struct call c = {.method = "POST", .path = "/api/gpu/accounts", .token = people_token(OPERATOR), .body = STR("{\"provider\":\"manual\",\"label\":\"mine\"}")};
	char path[64], body[64];
	cleanup_reply struct reply r = {0}, s = {0}, t = {0};

	ask(&c, &r);
	ck_assert_int_eq(r.status, 201);
	ck_assert_int_eq(status_of(&c), 409);
	snprintf(path, sizeof(path), "/api/gpu/accounts/%s", json_cstr(r.json, "id"));
	c.body = STR("{\"provider\":\"nowhere\"}");
	ck_assert_int_eq(status_of(&c), 400);
	snprintf(body, sizeof(body), "{\"sharing\":\"named\",\"sharedWith\":[\"%lld\"]}", (long long)people_id(OTHER));
	c = (struct call){.method = "PATCH", .path = path, .token = people_token(OPERATOR), .body = str_of(body)};
	ask(&c, &s);
	ck_assert_int_eq(s.status, 200);
	ck_assert_str_eq(json_cstr(s.json, "sharing"), "named");
	ck_assert_uint_eq(json_len(json_get(s.json, "sharedWith")), 1);
	c.body = STR("{\"sharedWith\":[\"4711\"]}");
	ck_assert_int_eq(status_of(&c), 400);
	c.token = people_token(OTHER);
	ck_assert_int_eq(status_of(&c), 404);
	{
		struct db *owner = pg_db(pg, "owner", "gpupool");

		pg_sql(owner, "update provider_policy set sharing_allowed = false where provider = 'manual'", NULL);
		c.token = people_token(OPERATOR);
		c.body = STR("{\"sharing\":\"all\"}");
		ask(&c, &t);
		pg_sql(owner, "update provider_policy set sharing_allowed = true where provider = 'manual'", NULL);
		db_close(owner);
	}
	ck_assert_int_eq(t.status, 409);
	ck_assert_str_eq(json_cstr(t.json, "code"), "sharing_not_allowed");
	ck_assert_ptr_nonnull(strstr(t.body.ptr, "2026-11-24"));
	c = (struct call){.method = "DELETE", .path = path, .token = people_token(OPERATOR)};
	ck_assert_int_eq(status_of(&c), 204);
}
END_TEST

START_TEST(test_every_write_is_in_the_audit_trail)
{
	struct call c = {.method = "POST", .path = "/api/gpu/accounts", .token = people_token(OTHER), .body = STR("{\"provider\":\"manual\"}")};
	int64_t before = pg_int(db, "select count(*) from audit");
	char sql[256];

	ck_assert_int_eq(status_of(&c), 201);
	snprintf(sql, sizeof(sql),
		 "select count(*) from audit where user_id = %lld and action = 'accounts.create' and object ~ '^account [0-9]+$' "
		 "and request_id = 'test-request' and address = '192.0.2.7' and token_id is not null",
		 (long long)people_id(OTHER));
	ck_assert_int_eq(pg_int(db, sql), 1);
	ck_assert_int_eq(pg_int(db, "select count(*) from audit"), before + 1);
	/* Refused: nothing is written. */
	ck_assert_int_eq(status_of(&c), 409);
	ck_assert_int_eq(pg_int(db, "select count(*) from audit"), before + 1);
}
END_TEST

/* ---- roles x routes -------------------------------------------------------------------- */

/* The second capture of a path, and what follows it. */
static void add_rest(struct buf *path, const char *rest)
{
	const char *colon = strstr(rest, ":session");

	buf_addf(path, "%.*s", colon ? (int)(colon - rest) : (int)strlen(rest), rest);
	if (colon)
		buf_addf(path, "%lld%s", (long long)pg_int(db, "select min(s.id) from session s join users u on u.id = s.owner_id where u.name = 'olga'"),
			 strstr(rest, ":name*") ? "/outputs/log" : "/outputs");
}

/* What the walk puts in place of ids: the operator's own objects. */
static const char *concrete(const char *pattern, char *ret, size_t cap)
{
	cleanup_buf struct buf path = BUF_INIT(1024);
	const char *colon = strstr(pattern, ":");
	int64_t id = 1;

	if (!colon) {
		snprintf(ret, cap, "%s", pattern);
		return ret;
	}
	if (strstr(pattern, "/tokens/"))
		id = pg_int(db, "select min(t.id) from api_token t join users u on u.id = t.user_id where u.name = 'olga'");
	else if (strstr(pattern, "/accounts/"))
		id = pg_int(db, "select a.id from account a join users u on u.id = a.owner_id where u.name = 'olga' and provider = 'local'");
	else if (strstr(pattern, "/notebooks/") || strstr(pattern, "/admin/workers/"))
		id = pg_int(db, "select w.id from worker w join users u on u.id = w.owner_id where u.name = 'olga'");
	else if (strstr(pattern, "/jobs/"))
		id = pg_int(db, "select j.id from job j join users u on u.id = j.owner_id where u.name = 'olga'");
	else if (strstr(pattern, "/users/"))
		id = people_id(OPERATOR);
	buf_addf(&path, "%.*s%lld", (int)(colon - pattern), pattern, (long long)id);
	add_rest(&path, colon + strcspn(colon, "/"));
	snprintf(ret, cap, "%s", path.ptr);
	return ret;
}

static const enum role least_role[] = {
	[PERM_NONE] = ROLE_VIEWER, [PERM_READ] = ROLE_VIEWER, [PERM_INFERENCE] = ROLE_OPERATOR, [PERM_SUBMIT] = ROLE_OPERATOR,
	[PERM_MANAGE] = ROLE_OPERATOR, [PERM_ADMIN] = ROLE_ADMIN, [PERM_SELF] = ROLE_VIEWER,
};

/* Whoever may not is refused on every row of the table; whoever may gets past the refusal. */
START_TEST(test_every_role_on_every_route)
{
	static const enum role roles[] = {[ADMIN] = ROLE_ADMIN, [OPERATOR] = ROLE_OPERATOR, [OTHER] = ROLE_OPERATOR, [VIEWER] = ROLE_VIEWER, [NOBODY] = ROLE_NONE};
	int walked = 0;

	for (size_t i = 0; i < route_count; i++) {
		const struct route *r = &routes[i];
		char path[128];

		if (r->serves != SERVES_API || r->auth != AUTH_ANY)
			continue;
		for (enum person p = ADMIN; p <= NOBODY; p++) {
			/* An unknown field: nobody changes anything, and a refusal of the person comes first. */
			struct call c = {.method = method_name(r->method), .path = concrete(r->path, path, sizeof(path)), .token = people_token(p)};
			bool may = roles[p] >= least_role[r->perm];
			int status;

			if (r->perm == PERM_SELF && p == VIEWER)
				may = false; /* vera's token has the scope read only */
			if (method_writes(r->method))
				c.body = STR("{\"no such field\":1}");
			status = status_of(&c);
			walked++;
			if (p == NOBODY)
				ck_assert_msg(status == 401, "%s %s as nobody: %d", c.method, c.path, status);
			else if (!may)
				ck_assert_msg(status == 403, "%s %s as %s: %d", c.method, c.path, people_name(p), status);
			else
				ck_assert_msg(status != 401 && status != 403 && status < 500, "%s %s as %s: %d", c.method, c.path, people_name(p), status);
		}
	}
	ck_assert_int_ge(walked, 95);
}
END_TEST

/* Pages: nobody is led to the sign-in, a form without its token does nothing, a viewer is told no. */
START_TEST(test_every_page)
{
	struct browser viewer, admin;
	char path[128];

	ck_assert_int_eq(sign_in(&viewer, "vera", PASSWORD), 200);
	ck_assert_int_eq(sign_in(&admin, "admin", PASSWORD), 200);
	for (size_t i = 0; i < route_count; i++) {
		const struct route *r = &routes[i];
		bool writes = method_writes(r->method);
		struct call c = {.method = method_name(r->method), .path = concrete(r->path, path, sizeof(path))};
		cleanup_reply struct reply nobody = {0}, bare = {0}, seen = {0};

		if (r->serves != SERVES_API || r->auth != AUTH_PAGE)
			continue;
		if (writes) {
			c.type = "application/x-www-form-urlencoded";
			c.body = STR("csrf=forged&name=x");
		}
		c.headers[0][0] = "HTTP_SEC_FETCH_SITE";
		c.headers[0][1] = "same-origin";
		ask(&c, &nobody);
		ck_assert_msg(nobody.status == 303 && !strncmp(reply_header(&nobody, "Location"), "/admin/sign-in", 14), "%s %s: %d", c.method,
			      c.path, nobody.status);
		c.headers[1][0] = "HTTP_COOKIE";
		c.headers[1][1] = admin.cookie;
		ask(&c, &bare);
		if (writes)
			ck_assert_msg(bare.status == 403, "%s without its token: %d", c.path, bare.status);
		else
			ck_assert_msg(bare.status == 200 || bare.status == 303 || bare.status == 404 || (bare.status == 400 && strstr(c.path, "/callback")),
				      "%s: %d %.300s", c.path, bare.status, bare.body.ptr);
		c.headers[1][1] = viewer.cookie;
		ask(&c, &seen);
		if (least_role[r->perm] > ROLE_VIEWER)
			ck_assert_msg(seen.status == 403, "%s as a viewer: %d", c.path, seen.status);
	}
}
END_TEST

/* All that olga has, so that a change of it by others would show. */
static int64_t fingerprint(void)
{
	return pg_int(db, "select hashtextextended(concat("
			  "(select string_agg(a.id || a.label || a.sharing, ',' order by a.id) from account a), "
			  "(select string_agg(w::text, ',' order by w.id) from worker w), "
			  "(select count(*) from operation), (select count(*) from job_ready), (select count(*) from job_done), "
			  "(select count(*) from api_token where revoked_at is null)), 0)");
}

/* What is another's does not exist: every row of the table that names an object, as another
 * operator.  An operator sees others' notebooks, and nothing else. */
START_TEST(test_foreign_objects_do_not_exist)
{
	char path[128];
	struct call list = {.path = "/api/gpu/tokens", .query = "all=true", .token = people_token(OTHER)};
	cleanup_reply struct reply r = {0};
	int64_t before = fingerprint();
	int walked = 0;

	for (size_t i = 0; i < route_count; i++) {
		const struct route *row = &routes[i];
		struct call c = {.method = method_name(row->method), .token = people_token(OTHER)};
		/* What a session left, or begins with, is its owner's alone. */
		bool visible = row->method == METHOD_GET && strstr(row->path, "/notebooks/:id") && !strstr(row->path, "/outputs") &&
			       !strstr(row->path, "/notebook.ipynb");
		cleanup_reply struct reply seen = {0};

		if (row->serves != SERVES_API || row->auth != AUTH_ANY || row->perm == PERM_ADMIN || !strstr(row->path, "/:id"))
			continue;
		c.path = concrete(row->path, path, sizeof(path));
		if (row->kind == BODY_JSON)
			c.body = STR("{}");
		ask(&c, &seen);
		ck_assert_msg(seen.status == (visible ? 200 : 404), "%s %s: %d %s", c.method, c.path, seen.status, seen.body.ptr);
		walked++;
	}
	ck_assert_int_ge(walked, 15);
	ck_assert_int_eq(fingerprint(), before);
	/* Nor do lists show it. */
	ask(&list, &r);
	ck_assert_int_eq(r.status, 200);
	ck_assert_ptr_null(strstr(r.body.ptr, "\"olga\""));
}
END_TEST

/* The owner, and an admin, see all of it. */
START_TEST(test_own_objects_exist)
{
	static const enum person people[] = {OPERATOR, ADMIN};

	for (size_t k = 0; k < ARRAY_LEN(people); k++)
		for (size_t i = 0; i < route_count; i++) {
			const struct route *row = &routes[i];
			char path[128];
			struct call c = {.token = people_token(people[k])};

			if (row->serves != SERVES_API || row->auth != AUTH_ANY || row->perm == PERM_ADMIN || row->method != METHOD_GET ||
			    !strstr(row->path, "/:id"))
				continue;
			c.path = concrete(row->path, path, sizeof(path));
			if (strstr(c.path, "/picture")) /* of a sign-in: there was none */
				continue;
			ck_assert_msg(status_of(&c) == (strstr(c.path, "/notebook.ipynb") ? 409 : 200), "%s as %s", c.path, people_name(people[k]));
		}
}
END_TEST

/* ---- idempotency keys -------------------------------------------------------------------- */

static struct call keyed(const char *key, const char *body)
{
	return (struct call){.method = "POST", .path = "/api/gpu/users", .token = people_token(ADMIN), .body = str_of(body),
			     .headers = {{"HTTP_IDEMPOTENCY_KEY", key}}};
}

START_TEST(test_same_key_same_answer)
{
	struct call c = keyed("k1", "{\"name\":\"twice\",\"role\":\"viewer\"}"), other = keyed("k1", "{\"name\":\"thrice\",\"role\":\"viewer\"}");
	cleanup_reply struct reply r = {0}, s = {0};

	ask(&c, &r);
	ask(&c, &s);
	ck_assert_int_eq(r.status, 201);
	ck_assert_int_eq(s.status, 201);
	ck_assert_str_eq(r.body.ptr, s.body.ptr);
	ck_assert_str_eq(reply_header(&s, "Idempotency-Replayed"), "true");
	ck_assert_int_eq(status_of(&other), 422);
	ck_assert_int_eq(pg_int(db, "select count(*) from users where name in ('twice', 'thrice')"), 1);
	ck_assert_int_eq(pg_int(db, "select count(*) from audit where action = 'users.create' and object = (select 'user ' || id from users where name = 'twice')"), 1);
}
END_TEST

START_TEST(test_key_of_another_person_or_day_is_another)
{
	struct call c = keyed("k2", "{\"name\":\"day\",\"role\":\"viewer\"}");

	ck_assert_int_eq(status_of(&c), 201);
	pg_sql(db, "update idempotency set created_at = now() - interval '25 hours' where key = 'k2'", NULL);
	/* Not the stored answer: the name is taken now. */
	ck_assert_int_eq(status_of(&c), 409);
	c = (struct call){.method = "POST", .path = "/api/gpu/tokens", .token = people_token(OPERATOR), .body = STR("{\"name\":\"x\",\"scopes\":[\"read\"]}"),
			  .headers = {{"HTTP_IDEMPOTENCY_KEY", "k3"}}};
	ck_assert_int_eq(status_of(&c), 201);
	c.token = people_token(OTHER);
	ck_assert_int_eq(status_of(&c), 201);
}
END_TEST

START_TEST(test_refusal_leaves_the_key_free)
{
	struct call bad = keyed("k4", "{\"name\":\"olga\",\"role\":\"viewer\"}"), good = keyed("k4", "{\"name\":\"fresh\",\"role\":\"viewer\"}");

	ck_assert_int_eq(status_of(&bad), 409);
	ck_assert_int_eq(status_of(&good), 201);
}
END_TEST

START_TEST(test_answer_with_a_secret_is_not_kept)
{
	struct call c = {.method = "POST", .path = "/api/gpu/tokens", .token = people_token(OPERATOR),
			 .body = STR("{\"name\":\"once\",\"scopes\":[\"read\"]}"), .headers = {{"HTTP_IDEMPOTENCY_KEY", "k5"}}};
	cleanup_reply struct reply r = {0}, s = {0};
	char name[64];

	ask(&c, &r);
	ck_assert_int_eq(r.status, 201);
	ask(&c, &s);
	ck_assert_int_eq(s.status, 409);
	snprintf(name, sizeof(name), "token %s", json_cstr(r.json, "id"));
	ck_assert_ptr_nonnull(strstr(json_cstr(s.json, "detail"), name));
	ck_assert_int_eq(pg_int(db, "select count(*) from api_token where name = 'once'"), 1);
}
END_TEST

START_TEST(test_key_whose_request_still_runs)
{
	struct call c = keyed("k6", "{\"name\":\"slow\",\"role\":\"viewer\"}");
	struct db *first = pg_db(pg, "web", "gpupool");
	char sql[256];

	/* What the first request holds while it runs. */
	pg_sql(first, "begin", NULL);
	snprintf(sql, sizeof(sql), "select pg_advisory_xact_lock(hashtextextended('%lld users.create k6', 7))", (long long)people_id(ADMIN));
	pg_sql(first, sql, NULL);
	ck_assert_int_eq(status_of(&c), 409);
	pg_sql(first, "rollback", NULL);
	db_close(first);
	ck_assert_int_eq(status_of(&c), 201);
}
END_TEST

START_TEST(test_malformed_keys)
{
	char longest[300] = "";
	struct call c = keyed(longest, "{\"name\":\"k7\",\"role\":\"viewer\"}");

	memset(longest, 'k', sizeof(longest));
	longest[256] = '\0';
	ck_assert_int_eq(status_of(&c), 400);
	c.headers[0][1] = "two words";
	ck_assert_int_eq(status_of(&c), 400);
	c.headers[0][1] = "k\xc3\xa9y";
	ck_assert_int_eq(status_of(&c), 400);
}
END_TEST

/* A session of hers that has ended, and its log. */
static void make_session(void)
{
	struct db *super = pg_db(pg, "postgres", "gpupool");

	pg_sql(super, "with s as (insert into gpupool.session(worker_id, owner_id, account_id, provider, generation, state, ended_at)"
		      " select id, owner_id, account_id, provider, 1, 'ended', now() from gpupool.worker returning id)"
		      " insert into gpupool.session_output(session_id, name, size, content) select id, 'log', 1, 'x' from s", NULL);
	db_close(super);
}

/* A notebook and a job of olga's, made as she would. */
static void make_objects(void)
{
	static const char *const made[][2] = {
		{"/api/gpu/workers/notebooks", "{\"provider\":\"local\",\"accelerator\":\"cpu\",\"title\":\"hers\",\"autoStart\":false}"},
		{"/api/gpu/jobs", "{\"type\":\"script\",\"payload\":{\"code\":\"1\"}}"},
	};

	for (size_t i = 0; i < ARRAY_LEN(made); i++) {
		struct call c = {.method = "POST", .path = made[i][0], .token = people_token(OPERATOR), .body = str_of(made[i][1])};
		cleanup_reply struct reply r = {0};

		ask(&c, &r);
		if (r.status != 202) {
			fprintf(stderr, "%s: %d %s\n", c.path, r.status, r.body.ptr ? r.body.ptr : "");
			exit(99);
		}
	}
}

int main(void)
{
	Suite *s = suite_create("auth");
	TCase *t = tcase_create("auth");
	int status;

	pg = pg_start();
	db = pg_db(pg, "web", "gpupool");
	people_make(db);
	pg_sql(db, "insert into account(owner_id, provider) select id, 'local' from users where name = 'olga'", NULL);
	web_start(&web, "api", pg_conninfo(pg, "web", "gpupool"), 2);
	make_objects();
	make_session();
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_token_missing_forged_and_malformed);
	tcase_add_test(t, test_token_expires_and_is_revoked);
	tcase_add_test(t, test_token_value_is_nowhere);
	tcase_add_test(t, test_token_never_above_its_owner);
	tcase_add_test(t, test_token_of_few_scopes);
	tcase_add_test(t, test_last_use_is_kept_to_the_minute);
	tcase_add_test(t, test_sign_in_and_out);
	tcase_add_test(t, test_csrf);
	tcase_add_test(t, test_csrf_token_is_masked_afresh);
	tcase_add_test(t, test_authorization_header_hides_the_cookie);
	tcase_add_test(t, test_cookie_rotates_and_the_old_one_lives_a_minute);
	tcase_add_test(t, test_cookie_rotates_with_the_role);
	tcase_add_test(t, test_five_wrong_tries_pause);
	tcase_add_test(t, test_password_change);
	tcase_add_test(t, test_sign_in_form);
	tcase_add_test(t, test_page_without_sign_in_leads_there);
	tcase_add_test(t, test_deactivated_user_is_out);
	tcase_add_test(t, test_last_admin_stays);
	tcase_add_test(t, test_names_are_unique_and_plain);
	tcase_add_test(t, test_a_locale_is_a_language);
	tcase_add_test(t, test_every_role_on_every_route);
	tcase_add_test(t, test_every_page);
	tcase_add_test(t, test_foreign_objects_do_not_exist);
	tcase_add_test(t, test_own_objects_exist);
	tcase_add_test(t, test_accounts);
	tcase_add_test(t, test_every_write_is_in_the_audit_trail);
	tcase_add_test(t, test_same_key_same_answer);
	tcase_add_test(t, test_key_of_another_person_or_day_is_another);
	tcase_add_test(t, test_refusal_leaves_the_key_free);
	tcase_add_test(t, test_answer_with_a_secret_is_not_kept);
	tcase_add_test(t, test_key_whose_request_still_runs);
	tcase_add_test(t, test_malformed_keys);
	suite_add_tcase(s, t);
	status = unit_run(s);
	db_close(db);
	if (web_stop(&web))
		status = 1;
	return status;
}
