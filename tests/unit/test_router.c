/* The route table's own rules, and how requests find their row; peers, cookies, hints. */
#include <stdlib.h>
#include <string.h>

#include "base/asset.h"
#include "base/clock.h"
#include "base/crypto.h"
#include "unit.h"
#include "web/auth.h"
#include "web/listen.h"
#include "web/nginx_routes.h"
#include "web/router.h"
#include "web/wake.h"

static struct arena arena;

static void setup(void)
{
	crypto_init();
	arena_init(&arena, 1 << 20);
}

static void teardown(void)
{
	arena_free(&arena);
}

/* ---- the table ------------------------------------------------------------------- */

START_TEST(test_rows_are_whole)
{
	for (size_t i = 0; i < route_count; i++) {
		const struct route *r = &routes[i];

		ck_assert_msg(r->path && r->path[0] == '/', "row %zu", i);
		ck_assert_msg(r->name && r->name[0] && r->summary && r->summary[0], "%s", r->path);
		ck_assert_msg((r->handler != NULL) != (r->async != NULL), "%s %s has not one handler", method_name(r->method), r->path);
		ck_assert_msg((r->serves == SERVES_EVENTS) == (r->async != NULL), "%s: role and handler", r->path);
		ck_assert_msg(r->method != METHOD_HEAD && r->method < METHOD_OPTIONS, "%s", r->path);
		ck_assert_msg(method_writes(r->method) || r->kind == BODY_NONE, "%s: GET with a body", r->path);
		ck_assert_msg((r->kind == BODY_NONE) == (r->max_body == 0), "%s: body and its limit", r->path);
		ck_assert_msg(r->auth != AUTH_PAGE || r->perm != PERM_ADMIN || strstr(r->path, "/admin/"), "%s", r->path);
		ck_assert_msg(strncmp(r->path, "/admin/", 7) != 0 || (r->flags & ROUTE_HIDDEN), "%s is a page, and in the API document", r->path);
		ck_assert_msg(strncmp(r->path, "/api/", 5) != 0 || r->kind != BODY_FORM, "%s: the API takes no forms", r->path);
	}
}
END_TEST

/* What changes something needs more than to be signed in, or is one's own. */
START_TEST(test_writes_need_a_permission)
{
	static const char *const open[] = {"signin.create", "signout.create"};

	for (size_t i = 0; i < route_count; i++) {
		const struct route *r = &routes[i];
		bool excepted = r->auth == AUTH_ENROL || r->auth == AUTH_SESSION;

		for (size_t k = 0; k < ARRAY_LEN(open); k++)
			excepted |= !strcmp(r->name, open[k]);
		ck_assert_msg(!method_writes(r->method) || excepted || r->perm != PERM_NONE, "%s %s", method_name(r->method), r->path);
	}
}
END_TEST

START_TEST(test_operation_ids_are_unique)
{
	for (size_t i = 0; i < route_count; i++)
		for (size_t k = i + 1; k < route_count; k++)
			ck_assert_msg(strcmp(routes[i].name, routes[k].name) != 0 || (routes[k].flags & ROUTE_HIDDEN) ||
					      (routes[i].flags & ROUTE_HIDDEN),
				      "%s", routes[i].name);
}
END_TEST

/* A path that two rows could take must be the first one's on purpose: literal before ":id". */
START_TEST(test_literal_rows_come_before_captures)
{
	for (size_t i = 0; i < route_count; i++) {
		struct request req;
		cleanup_buf struct buf path = BUF_INIT(512);
		struct response res;
		struct error e = {0};

		request_init(&req, &arena);
		response_init(&res, &arena);
		for (const char *p = routes[i].path; *p; p++)
			if (*p == ':') {
				buf_adds(&path, "7");
				p += strcspn(p, "/") - 1;
			} else {
				buf_addc(&path, *p);
			}
		req.method = routes[i].method;
		req.path = buf_str(&path);
		ck_assert_msg(router_match(&req, routes[i].serves, &res, &e) == OK, "%s: %s", path.ptr, e.msg);
		ck_assert_msg(req.route == &routes[i], "%s goes to %s", path.ptr, req.route->name);
		response_done(&res);
	}
}
END_TEST

/* nginx splits by path, so all methods of a path must be served by one role. */
START_TEST(test_one_role_a_path)
{
	for (size_t i = 0; i < route_count; i++)
		for (size_t k = 0; k < route_count; k++)
			ck_assert_msg(strcmp(routes[i].path, routes[k].path) != 0 || routes[i].serves == routes[k].serves, "%s", routes[i].path);
}
END_TEST

/* Blocks that go to a role, and paths that it serves. */
static void check_blocks(const char *conf, enum serves serves)
{
	char line[64];
	size_t blocks = 0, wanted = 0;

	snprintf(line, sizeof(line), "fastcgi_pass gpupool_%s;", serves_name(serves));
	for (const char *p = conf; (p = strstr(p, line)); p++)
		blocks++;
	for (size_t i = 0; i < route_count; i++) {
		bool first = routes[i].serves == serves;

		for (size_t k = 0; k < i; k++)
			first &= strcmp(routes[k].path, routes[i].path) != 0;
		wanted += first;
	}
	ck_assert_uint_gt(wanted, 0);
	ck_assert_uint_eq(blocks, wanted);
}

START_TEST(test_nginx_gets_every_route_of_the_other_roles)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 20);

	nginx_routes(&b);
	check_blocks(b.ptr, SERVES_EVENTS);
	check_blocks(b.ptr, SERVES_SECRETS);
	ck_assert_ptr_nonnull(strstr(b.ptr, "location ~ ^/api/gpu/workers/[^/]+/secrets$ {"));
	ck_assert_ptr_nonnull(strstr(b.ptr, "location ~ ^/api/gpu/workers/[^/]+/claim$ {"));
	/* Bodies with a secret stay in memory. */
	ck_assert_ptr_nonnull(strstr(b.ptr, "fastcgi_pass gpupool_api;\n    client_body_buffer_size 256k;\n}\n"));
	ck_assert_ptr_nonnull(strstr(b.ptr, "location = /api/gpu/sign-in {\n    limit_req zone=gpupool_signin"));
	ck_assert_ptr_nonnull(strstr(b.ptr, "location = /api/gpu/jobs/batch {"));
	ck_assert_ptr_nonnull(strstr(b.ptr, "client_max_body_size 32768k;"));
}
END_TEST

/* What nginx does not pass does not exist for us. */
START_TEST(test_nginx_passes_what_is_read)
{
	const struct asset *conf = asset_find("nginx/gpupool.conf");

	ck_assert_ptr_nonnull(conf);
	for (const struct request_param_row *row = request_params; row->name; row++) {
		char line[80];

		snprintf(line, sizeof(line), "fastcgi_param %s ", row->name);
		ck_assert_msg(strstr(conf->bytes.ptr, line) != NULL, "%s", row->name);
	}
	ck_assert_ptr_nonnull(strstr(conf->bytes.ptr, "fastcgi_param HTTP_PROXY \"\";"));
}
END_TEST

/* ---- heads of requests ------------------------------------------------------------------ */

static enum err match(struct request *req, const char *method, const char *path, struct error *e)
{
	struct response res;
	enum err err;

	request_init(req, &arena);
	response_init(&res, &arena);
	request_param(req, STR("REQUEST_METHOD"), str_of(method));
	request_param(req, STR("DOCUMENT_URI"), str_of(path));
	err = router_match(req, SERVES_API, &res, e);
	response_done(&res);
	return err;
}

START_TEST(test_captures)
{
	struct request req;
	struct error e = {0};
	int64_t id;

	ck_assert_int_eq(match(&req, "GET", "/api/gpu/users/42", &e), OK);
	ck_assert_str_eq(req.route->name, "users.get");
	ck_assert_int_eq(request_capture_id(&req, "id", &id, &e), OK);
	ck_assert_int_eq(id, 42);
	ck_assert_ptr_null(request_capture(&req, "i").ptr);
	ck_assert_ptr_null(request_capture(&req, "idx").ptr);
	ck_assert_int_eq(match(&req, "HEAD", "/api/gpu/users/42", &e), OK);
	ck_assert_int_eq(match(&req, "GET", "/api/gpu/users/", &e), ERR_NOT_FOUND);
	ck_assert_int_eq(match(&req, "GET", "/api/gpu/users/42/", &e), ERR_NOT_FOUND);
	ck_assert_int_eq(match(&req, "GET", "api/gpu/users/42", &e), ERR_NOT_FOUND);
	ck_assert_int_eq(match(&req, "GET", "", &e), ERR_NOT_FOUND);
	ck_assert_int_eq(match(&req, "PUT", "/api/gpu/users/42", &e), ERR_METHOD);
	ck_assert_int_eq(match(&req, "get", "/healthz", &e), ERR_METHOD);
}
END_TEST

START_TEST(test_other_role)
{
	struct request req;
	struct error e = {0};

	ck_assert_int_eq(match(&req, "POST", "/api/gpu/workers/5/claim", &e), ERR_MISDIRECTED);
	ck_assert_ptr_nonnull(strstr(e.msg, "--role=events"));
}
END_TEST

START_TEST(test_request_id_is_plain)
{
	static const char *const bad[] = {"", "a b", "a\nb", "\"", "0123456789012345678901234567890123456789012345678901234567890123456"};
	struct request req;

	request_init(&req, &arena);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		request_param(&req, STR("REQUEST_ID"), str_of(bad[i]));
		ck_assert_ptr_null(req.request_id.ptr);
	}
	request_param(&req, STR("REQUEST_ID"), STR("0af-9Z"));
	ck_assert(str_eqz(req.request_id, "0af-9Z"));
}
END_TEST

START_TEST(test_content_length)
{
	static const struct {
		const char *text;
		int64_t n;
	} rows[] = {{"", -1}, {"0", 0}, {"17", 17}, {"-1", -2}, {"1e3", -2}, {" 5", -2}, {"5,5", -2}, {"99999999999999999999", -2}};
	struct request req;

	request_init(&req, &arena);
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		request_param(&req, STR("CONTENT_LENGTH"), str_of(rows[i].text));
		ck_assert_msg(req.content_length == rows[i].n, "%s", rows[i].text);
	}
}
END_TEST

START_TEST(test_entity_tags)
{
	struct request req;
	struct error e = {0};

	ck_assert(etag_matches(STR("\"a\", W/\"b\" ,\"c\""), STR("\"b\"")));
	ck_assert(etag_matches(STR("*"), STR("\"b\"")));
	ck_assert(!etag_matches(STR("\"bb\",b,W/b"), STR("\"b\"")));
	request_init(&req, &arena);
	ck_assert_int_eq(request_if_match(&req, 3, &e), OK);
	req.if_match = STR("\"v3\"");
	ck_assert_int_eq(request_if_match(&req, 3, &e), OK);
	ck_assert_int_eq(request_if_match(&req, 4, &e), ERR_PRECONDITION);
}
END_TEST

START_TEST(test_who_wants_html)
{
	static const struct {
		const char *accept;
		bool html;
	} rows[] = {
		{"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", true},
		{"application/json", false},
		{"application/json, text/html", false},
		{"*/*", false},
		{"", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct request req = {.accept = str_of(rows[i].accept)};

		ck_assert_msg(request_wants_html(&req) == rows[i].html, "%s", rows[i].accept);
	}
}
END_TEST

/* ---- answers ------------------------------------------------------------------------------ */

START_TEST(test_head_of_an_answer)
{
	struct response res;
	cleanup_buf struct buf head = BUF_INIT(4096);

	response_init(&res, &arena);
	response_text(&res, 201, "text/html", STR("<p>"));
	response_header(&res, "Cache-Control", "no-store");
	response_head(&res, &head);
	ck_assert_str_eq(head.ptr,
			 "Status: 201 Created\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 3\r\nCache-Control: no-store\r\n"
			 "Content-Security-Policy: default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'\r\n"
			 "X-Content-Type-Options: nosniff\r\nReferrer-Policy: same-origin\r\n\r\n");
	response_done(&res);
}
END_TEST

START_TEST(test_header_with_a_line_break_is_a_bug)
{
	struct response res;

	response_init(&res, &arena);
	response_header(&res, "Location", "%s", "/x\r\nSet-Cookie: a=b");
}
END_TEST

/* ---- cookies and CSRF ------------------------------------------------------------------------ */

START_TEST(test_cookies)
{
	static const struct {
		const char *cookie, *value;
	} rows[] = {
		{"gpupool=abc", "abc"}, {"a=1; gpupool=abc", "abc"}, {"a=1;gpupool=abc;b=2", "abc"}, {"gpupool=", NULL}, {"xgpupool=abc", NULL},
		{"__Host-gpupool=abc", NULL}, {"gpupool", NULL}, {"", NULL}, {"gpupool=a=b", "a=b"},
	};
	struct config c = {.public_url = "http://127.0.0.1:8080"};
	struct request req = {.cookie = STR("__Host-gpupool=s; gpupool=p")};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct request one = {.cookie = str_of(rows[i].cookie)};

		ck_assert_msg(str_eqz(auth_cookie(&c, &one), rows[i].value), "%s", rows[i].cookie);
	}
	c.public_url = "https://gpu.example.org";
	ck_assert(str_eqz(auth_cookie(&c, &req), "s"));
	req.authorization = STR("x");
	ck_assert_ptr_null(auth_cookie(&c, &req).ptr);
}
END_TEST

START_TEST(test_cookie_attributes)
{
	struct config c = {.public_url = "https://gpu.example.org"};
	struct ctx ctx = {.config = &c, .arena = &arena};
	struct request req;

	request_init(&req, &arena);
	auth_set_cookie(&ctx, &req, "v");
	ck_assert_str_eq(req.set_cookie, "__Host-gpupool=v; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=2592000");
	auth_set_cookie(&ctx, &req, "");
	ck_assert_str_eq(req.set_cookie, "__Host-gpupool=; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=0");
	c.public_url = "http://localhost:8080";
	auth_set_cookie(&ctx, &req, "v");
	ck_assert_str_eq(req.set_cookie, "gpupool=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000");
}
END_TEST

START_TEST(test_csrf_token_is_of_one_login)
{
	struct config c = {.public_url = "http://127.0.0.1:8080"};
	struct request req = {.sec_fetch_site = STR("same-origin"), .principal = {.user_id = 1, .login_id = 7, .csrf_key = {1}}};
	char token[AUTH_CSRF_TEXT], other[AUTH_CSRF_TEXT];
	struct error e = {0};

	auth_csrf_token(&req.principal, token);
	auth_csrf_token(&req.principal, other);
	ck_assert_str_ne(token, other);
	req.csrf_token = str_of(token);
	ck_assert_int_eq(auth_csrf_check(&c, &req, &e), OK);
	req.csrf_token = str_of(other);
	ck_assert_int_eq(auth_csrf_check(&c, &req, &e), OK);
	req.principal.login_id = 8;
	ck_assert_int_eq(auth_csrf_check(&c, &req, &e), ERR_FORBIDDEN);
	req.principal.login_id = 7;
	req.principal.csrf_key[0] = 2;
	ck_assert_int_eq(auth_csrf_check(&c, &req, &e), ERR_FORBIDDEN);
	req.principal.csrf_key[0] = 1;
	for (size_t i = 0; i < strlen(token); i++) {
		char broken[AUTH_CSRF_TEXT];

		memcpy(broken, token, sizeof(broken));
		broken[i] = broken[i] == 'x' ? 'y' : 'x';
		req.csrf_token = str_of(broken);
		/* The last letters hold bits that do not count, and must be zero. */
		ck_assert_int_eq(auth_csrf_check(&c, &req, &e), ERR_FORBIDDEN);
	}
}
END_TEST

/* ---- peers ------------------------------------------------------------------------------------ */

START_TEST(test_peers)
{
	static const struct {
		const char *peers, *address;
		bool allowed;
	} rows[] = {
		{"", "127.0.0.1", true},
		{"", "::1", true},
		{"", "10.0.0.1", false},
		{"10.0.0.0/8", "10.255.3.4", true},
		{"10.0.0.0/8", "11.0.0.0", false},
		{"10.0.0.0/8", "127.0.0.1", false},
		{"192.0.2.128/25", "192.0.2.127", false},
		{"192.0.2.128/25", "192.0.2.200", true},
		{"192.0.2.7", "192.0.2.7", true},
		{"192.0.2.7", "192.0.2.8", false},
		{"192.0.2.7", "::ffff:192.0.2.7", true},
		{"1.2.3.4, 2001:db8::/33", "2001:db8:7fff::1", true},
		{"1.2.3.4, 2001:db8::/33", "2001:db8:8000::1", false},
		{"2001:db8::1", "2001:db8::1", true},
		{"0.0.0.0/0", "8.8.8.8", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"10.0.0.0/33", "10.0.0.0", false},
		{"garbage", "10.0.0.1", false},
		{"10.0.0.1", "garbage", false},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++)
		ck_assert_msg(listen_peer_allowed(rows[i].peers, rows[i].address) == rows[i].allowed, "%s in %s", rows[i].address, rows[i].peers);
}
END_TEST

/* ---- hints -------------------------------------------------------------------------------------- */

START_TEST(test_hints_are_coalesced_and_the_last_is_kept)
{
	struct wakes w = {0};
	struct ctx ctx = {.wakes = &w};
	struct db *db;

	ck_assert_int_eq(db_open(&(struct db_options){.conninfo = "host=/nonexistent"}, &db), OK);
	clock_fake(1000000);
	ck_assert_int_eq(wake_timer(&w), -1);
	wake(&ctx, "gpupool_jobs", "");
	wake(&ctx, "gpupool_jobs", "");
	ck_assert_int_eq(wake_timer(&w), 0);
	wake_flush(&w, db);
	ck_assert_int_eq(wake_timer(&w), -1);
	wake(&ctx, "gpupool_jobs", "");
	wake_flush(&w, db);
	ck_assert_int_eq(wake_timer(&w), WAKE_EVERY_MS);
	/* Another payload does not wait for this one. */
	wake(&ctx, "gpupool_orders", "5");
	ck_assert_int_eq(wake_timer(&w), 0);
	wake_flush(&w, db);
	clock_fake(1000000 + WAKE_EVERY_MS);
	ck_assert_int_eq(wake_timer(&w), 0);
	wake_flush(&w, db);
	ck_assert_int_eq(wake_timer(&w), -1);
	/* More channels than slots: no overflow, and what fits is kept. */
	for (int i = 0; i < 3 * WAKE_SLOTS; i++) {
		char payload[16];

		snprintf(payload, sizeof(payload), "%d", i);
		wake(&ctx, "gpupool_orders", payload);
	}
	ck_assert_int_eq(wake_timer(&w), 0);
	clock_real();
	db_close(db);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("router");
	TCase *t = tcase_create("router");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_rows_are_whole);
	tcase_add_test(t, test_writes_need_a_permission);
	tcase_add_test(t, test_operation_ids_are_unique);
	tcase_add_test(t, test_literal_rows_come_before_captures);
	tcase_add_test(t, test_one_role_a_path);
	tcase_add_test(t, test_nginx_gets_every_route_of_the_other_roles);
	tcase_add_test(t, test_nginx_passes_what_is_read);
	tcase_add_test(t, test_captures);
	tcase_add_test(t, test_other_role);
	tcase_add_test(t, test_request_id_is_plain);
	tcase_add_test(t, test_content_length);
	tcase_add_test(t, test_entity_tags);
	tcase_add_test(t, test_who_wants_html);
	tcase_add_test(t, test_head_of_an_answer);
	tcase_add_test_raise_signal(t, test_header_with_a_line_break_is_a_bug, 6);
	tcase_add_test(t, test_cookies);
	tcase_add_test(t, test_cookie_attributes);
	tcase_add_test(t, test_csrf_token_is_of_one_login);
	tcase_add_test(t, test_peers);
	tcase_add_test(t, test_hints_are_coalesced_and_the_last_is_kept);
	suite_add_tcase(s, t);
	return unit_run(s);
}
