/* Requests as they should not be, over a real socket to the real gpupool-web: each gets a clear
 * refusal that names what is wrong, and changes nothing. */
#include <stdlib.h>
#include <string.h>

#include "people.h"
#include "unit.h"
#include "web.h"

static struct pg *pg;
static struct web web;
static struct db *db;

#define TOKENS "/api/gpu/tokens"

static void ask(const struct call *c, struct reply *r)
{
	fcgi_call(web.socket, c, r);
}

static struct call post(const char *path, const char *json)
{
	return (struct call){.method = "POST", .path = path, .token = people_token(ADMIN), .body = str_of(json)};
}

static void expect_post(const char *path, const char *json, int status, const char *field)
{
	struct call c = post(path, json);
	cleanup_reply struct reply r = {0};
	int64_t before = pg_int(db, "select (select count(*) from api_token) + (select count(*) from users) + (select count(*) from audit)");

	ask(&c, &r);
	ck_assert_msg(r.status == status, "%s %s: %d %s", path, json, r.status, r.body.ptr);
	ck_assert_str_eq(reply_header(&r, "Content-Type"), "application/problem+json");
	ck_assert_int_eq(json_i64(r.json, "status", 0), status);
	ck_assert_str_eq(json_cstr(r.json, "requestId"), "test-request");
	if (field)
		ck_assert_msg(reply_names(&r, field), "%s does not name %s: %s", json, field, r.body.ptr);
	ck_assert_int_eq(pg_int(db, "select (select count(*) from api_token) + (select count(*) from users) + (select count(*) from audit)"),
			 before);
}

START_TEST(test_malformed_json)
{
	expect_post(TOKENS, "{\"name\":", 400, NULL);
	expect_post(TOKENS, "{\"name\":\"a\",}", 400, NULL);
	expect_post(TOKENS, "[]", 400, "");
	expect_post(TOKENS, "null", 400, "");
	expect_post(TOKENS, "{\"name\":\"a\",\"name\":\"b\",\"scopes\":[\"read\"]}", 400, NULL);
	expect_post(TOKENS, "{\"name\":\"a\",\"scopes\":[\"read\"]} x", 400, NULL);
}
END_TEST

START_TEST(test_bad_utf8)
{
	expect_post(TOKENS, "{\"name\":\"\xff\xfe\",\"scopes\":[\"read\"]}", 400, NULL);
	expect_post(TOKENS, "{\"name\":\"\xed\xa0\x80\",\"scopes\":[\"read\"]}", 400, NULL);
	expect_post(TOKENS, "{\"name\":\"a\\u0000b\",\"scopes\":[\"read\"]}", 400, NULL);
	expect_post(TOKENS, "{\"name\":\"a\\u0007b\",\"scopes\":[\"read\"]}", 400, "name");
}
END_TEST

START_TEST(test_unknown_field)
{
	expect_post(TOKENS, "{\"name\":\"a\",\"scopes\":[\"read\"],\"colour\":1}", 400, "colour");
	expect_post("/api/gpu/users", "{\"name\":\"abc\",\"role\":\"viewer\",\"isAdmin\":true}", 400, "isAdmin");
	expect_post("/api/gpu/sign-out", "{\"all\":true}", 400, "all");
}
END_TEST

START_TEST(test_wrong_type)
{
	expect_post(TOKENS, "{\"name\":7,\"scopes\":[\"read\"]}", 400, "name");
	expect_post(TOKENS, "{\"name\":\"a\",\"scopes\":\"read\"}", 400, "scopes");
	expect_post(TOKENS, "{\"name\":\"a\",\"scopes\":[\"read\",5]}", 400, "scopes.1");
	expect_post(TOKENS, "{\"name\":\"a\",\"scopes\":[\"root\"]}", 400, "scopes.0");
	expect_post(TOKENS, "{\"name\":null,\"scopes\":[\"read\"]}", 400, "name");
}
END_TEST

START_TEST(test_out_of_range)
{
	expect_post(TOKENS, "{\"name\":\"a\",\"scopes\":[\"read\"],\"expiresSeconds\":1}", 400, "expiresSeconds");
	expect_post(TOKENS, "{\"name\":\"a\",\"scopes\":[\"read\"],\"expiresSeconds\":1e300}", 400, "expiresSeconds");
	expect_post(TOKENS, "{\"name\":\"a\",\"scopes\":[\"read\"],\"expiresSeconds\":60.5}", 400, "expiresSeconds");
	expect_post(TOKENS, "{\"name\":\"\",\"scopes\":[\"read\"]}", 400, "name");
	expect_post(TOKENS, "{\"name\":\"a\",\"scopes\":[]}", 400, "scopes");
}
END_TEST

START_TEST(test_all_faults_at_once)
{
	struct call c = post(TOKENS, "{\"name\":3,\"scopes\":[],\"x\":1,\"expiresSeconds\":\"soon\"}");
	cleanup_reply struct reply r = {0};

	ask(&c, &r);
	ck_assert_int_eq(r.status, 400);
	ck_assert(reply_names(&r, "name") && reply_names(&r, "scopes") && reply_names(&r, "x") && reply_names(&r, "expiresSeconds"));
}
END_TEST

START_TEST(test_missing_field)
{
	expect_post(TOKENS, "{}", 400, "name");
	expect_post(TOKENS, "{}", 400, "scopes");
	expect_post("/api/gpu/users", "{\"name\":\"abc\"}", 400, "role");
}
END_TEST

START_TEST(test_body_of_ten_megabytes)
{
	struct call c = post(TOKENS, "{}");
	cleanup_reply struct reply r = {0};
	char *body = malloc(10 << 20);

	memset(body, ' ', 10 << 20);
	c.body = (struct str){body, 10 << 20};
	ask(&c, &r);
	ck_assert_int_eq(r.status, 413);
	ck_assert_ptr_nonnull(strstr(json_cstr(r.json, "detail"), "16384"));
	free(body);
}
END_TEST

START_TEST(test_depth)
{
	char deep[2048];

	memset(deep, '[', 1000);
	memset(deep + 1000, ']', 1000);
	deep[2000] = '\0';
	expect_post(TOKENS, deep, 400, NULL);
}
END_TEST

START_TEST(test_content_length_that_lies)
{
	struct call c = post(TOKENS, "{\"name\":\"a\",\"scopes\":[\"read\"]}");
	cleanup_reply struct reply r = {0}, s = {0};

	c.length = 500;
	ask(&c, &r);
	ck_assert_int_eq(r.status, 400);
	c.length = 0;
	c.body = STR_NULL;
	c.headers[0][0] = "CONTENT_LENGTH";
	c.headers[0][1] = "-5";
	ask(&c, &s);
	ck_assert_int_eq(s.status, 400);
}
END_TEST

START_TEST(test_wrong_method)
{
	struct call c = {.method = "DELETE", .path = TOKENS, .token = people_token(ADMIN)};
	cleanup_reply struct reply r = {0}, s = {0};

	ask(&c, &r);
	ck_assert_int_eq(r.status, 405);
	ck_assert_str_eq(reply_header(&r, "Allow"), "GET, HEAD, POST, OPTIONS");
	c.method = "BREW";
	ask(&c, &s);
	ck_assert_int_eq(s.status, 405);
}
END_TEST

START_TEST(test_options_and_head)
{
	struct call c = {.method = "OPTIONS", .path = TOKENS};
	cleanup_reply struct reply r = {0}, s = {0};

	ask(&c, &r);
	ck_assert_int_eq(r.status, 204);
	ck_assert_str_eq(reply_header(&r, "Allow"), "GET, HEAD, POST, OPTIONS");
	c = (struct call){.method = "HEAD", .path = "/healthz"};
	ask(&c, &s);
	ck_assert_int_eq(s.status, 200);
	ck_assert_str_eq(reply_header(&s, "Content-Length"), "3");
	ck_assert_uint_eq(s.body.len, 0);
}
END_TEST

START_TEST(test_unknown_address)
{
	static const char *const paths[] = {"/api", "/api/gpu/tokens/", "/api/gpu/tokens/1/2", "/api/gpu//tokens",
			"/api/gpu/tokens/../users", "", "/api/gpu/users/%31", "//", "/api/gpu/users//"};

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		struct call c = {.path = paths[i], .token = people_token(ADMIN)};
		cleanup_reply struct reply r = {0};

		ask(&c, &r);
		ck_assert_msg(r.status == 404 || r.status == 405, "%s: %d", paths[i], r.status);
	}
}
END_TEST

START_TEST(test_ids_that_are_none)
{
	static const char *const ids[] = {"0", "-1", "abc", "1.5", "01", "99999999999999999999", "9223372036854775807", "2147483648", "1'--", "\xff"};

	for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
		char path[96];
		struct call c = {.path = path, .token = people_token(ADMIN)};
		cleanup_reply struct reply r = {0}, s = {0}, t = {0};

		snprintf(path, sizeof(path), "/api/gpu/users/%s", ids[i]);
		ask(&c, &r);
		ck_assert_msg(r.status == 404 || (ids[i][0] == '\xff' && r.status == 400), "%s: %d", ids[i], r.status);
		c.method = "DELETE";
		ask(&c, &s);
		ck_assert_int_eq(s.status, r.status);
		snprintf(path, sizeof(path), "/api/gpu/accounts/%s", ids[i]);
		ask(&c, &t);
		ck_assert_int_eq(t.status, r.status);
	}
}
END_TEST

START_TEST(test_content_types)
{
	struct call c = post(TOKENS, "name=a&scopes=read");
	cleanup_reply struct reply r = {0}, s = {0}, t = {0};

	c.type = "application/x-www-form-urlencoded";
	ask(&c, &r);
	ck_assert_int_eq(r.status, 415);
	c.type = "multipart/form-data; boundary=x";
	ask(&c, &s);
	ck_assert_int_eq(s.status, 415);
	c = post("/admin/sign-in", "{\"name\":\"a\",\"password\":\"b\"}");
	ask(&c, &t);
	ck_assert_int_eq(t.status, 415);
}
END_TEST

START_TEST(test_query_strings)
{
	static const struct {
		const char *path, *query;
		int status;
		const char *field;
	} rows[] = {
		{"/api/gpu/users", "limit=2", 200, NULL},
		{"/api/gpu/users", "limit=0", 400, "limit"},
		{"/api/gpu/users", "limit=501", 400, "limit"},
		{"/api/gpu/users", "limit=2&limit=3", 400, "limit"},
		{"/api/gpu/users", "limit=abc", 400, "limit"},
		{"/api/gpu/users", "colour=red", 400, "colour"},
		{"/api/gpu/users", "pageToken=x", 400, "pageToken"},
		{"/api/gpu/users", "limit=%zz", 400, ""},
		{"/api/gpu/users", "limit=%ff", 400, ""},
		{"/api/gpu/audit", "pageToken=5", 400, "pageToken"},
		{"/healthz", "x=1", 400, "x"},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct call c = {.path = rows[i].path, .query = rows[i].query, .token = people_token(ADMIN)};
		cleanup_reply struct reply r = {0};

		ask(&c, &r);
		ck_assert_msg(r.status == rows[i].status, "%s?%s: %d %s", rows[i].path, rows[i].query, r.status, r.body.ptr);
		if (rows[i].field)
			ck_assert_msg(reply_names(&r, rows[i].field), "%s: %s", rows[i].query, r.body.ptr);
	}
}
END_TEST

START_TEST(test_secret_in_query_string)
{
	char query[160];
	struct call c = {.path = "/api/gpu/users", .query = query};
	cleanup_reply struct reply r = {0};

	snprintf(query, sizeof(query), "access_token=%s", people_token(ADMIN));
	ask(&c, &r);
	ck_assert_int_eq(r.status, 400);
	ck_assert_ptr_null(strstr(r.body.ptr, people_token(ADMIN)));
	ck_assert_ptr_null(strstr(web_log(&web), people_token(ADMIN)));
}
END_TEST

START_TEST(test_pages_of_a_list)
{
	char query[64] = "limit=1";
	int64_t seen = 0;

	for (;;) {
		struct call c = {.path = "/api/gpu/users", .query = query, .token = people_token(ADMIN)};
		cleanup_reply struct reply r = {0};

		ask(&c, &r);
		ck_assert_int_eq(r.status, 200);
		seen += (int64_t)json_len(json_get(r.json, "users"));
		if (!json_has(r.json, "nextPageToken"))
			break;
		snprintf(query, sizeof(query), "limit=1&pageToken=%s", json_cstr(r.json, "nextPageToken"));
	}
	ck_assert_int_eq(seen, pg_int(db, "select count(*) from users"));
}
END_TEST

START_TEST(test_audit_pages_without_gap_or_repeat)
{
	char query[128] = "limit=1&action=users.change";
	int64_t seen = 0, all;

	for (int i = 0; i < 5; i++) {
		struct call c = {.method = "PATCH", .token = people_token(ADMIN), .body = STR("{\"weight\":2}")};
		char path[64];
		cleanup_reply struct reply r = {0};

		snprintf(path, sizeof(path), "/api/gpu/users/%lld", (long long)people_id(VIEWER));
		c.path = path;
		ask(&c, &r);
		ck_assert_int_eq(r.status, 200);
	}
	all = pg_int(db, "select count(*) from audit where action = 'users.change'");
	for (;;) {
		struct call c = {.path = "/api/gpu/audit", .query = query, .token = people_token(ADMIN)};
		cleanup_reply struct reply r = {0};

		ask(&c, &r);
		ck_assert_int_eq(r.status, 200);
		seen += (int64_t)json_len(json_get(r.json, "audit"));
		if (!json_has(r.json, "nextPageToken"))
			break;
		snprintf(query, sizeof(query), "limit=1&action=users.change&pageToken=%s", json_cstr(r.json, "nextPageToken"));
	}
	ck_assert_int_eq(seen, all);
}
END_TEST

START_TEST(test_entity_tags)
{
	struct call c = {.path = "/api/gpu/users", .token = people_token(ADMIN)};
	cleanup_reply struct reply r = {0}, s = {0}, t = {0};
	char etag[128], weak[160];

	ask(&c, &r);
	snprintf(etag, sizeof(etag), "%s", reply_header(&r, "ETag"));
	snprintf(weak, sizeof(weak), "\"other\", W/%s", etag);
	c.headers[0][0] = "HTTP_IF_NONE_MATCH";
	c.headers[0][1] = weak;
	ask(&c, &s);
	ck_assert_int_eq(s.status, 304);
	ck_assert_uint_eq(s.body.len, 0);
	c.headers[0][1] = "\"other\"";
	ask(&c, &t);
	ck_assert_int_eq(t.status, 200);
	ck_assert_str_eq(reply_header(&t, "ETag"), etag);
}
END_TEST

START_TEST(test_headers_of_every_answer)
{
	struct call json = {.path = "/api/gpu/me", .token = people_token(ADMIN)}, page = {.path = "/admin/sign-in"};
	cleanup_reply struct reply r = {0}, s = {0};

	ask(&json, &r);
	ck_assert_str_eq(reply_header(&r, "Cache-Control"), "private, no-cache");
	ck_assert_str_eq(reply_header(&r, "X-Content-Type-Options"), "nosniff");
	ask(&page, &s);
	ck_assert_int_eq(s.status, 200);
	ck_assert_str_eq(reply_header(&s, "Content-Security-Policy"),
			 "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'");
	ck_assert_str_eq(reply_header(&s, "X-Content-Type-Options"), "nosniff");
	ck_assert_ptr_nonnull(reply_header(&s, "Referrer-Policy"));
}
END_TEST

static bool refers_to_something(const struct json *document, const struct json *node)
{
	struct str ref = json_str(node, "$ref"), part;
	const struct json *at = document;

	if (!ref.ptr || !str_starts(ref, "#/"))
		return false;
	ref = (struct str){ref.ptr + 2, ref.len - 2};
	while (str_cut(&ref, '/', &part)) {
		char key[64];

		snprintf(key, sizeof(key), "%.*s", STR_ARG(part));
		at = json_get(at, key);
	}
	return at != NULL;
}

START_TEST(test_openapi_document)
{
	struct call c = {.path = "/api/openapi.json"};
	cleanup_reply struct reply r = {0};
	struct json *create;

	ask(&c, &r);
	ck_assert_int_eq(r.status, 200);
	ck_assert_str_eq(json_cstr(r.json, "openapi"), "3.1.0");
	create = json_get(json_get(json_get(r.json, "paths"), "/api/gpu/tokens"), "post");
	ck_assert_str_eq(json_cstr(create, "operationId"), "tokens.create");
	ck_assert_ptr_nonnull(json_path(create, "requestBody.content"));
	ck_assert_ptr_nonnull(json_get(json_get(r.json, "paths"), "/api/gpu/users/{id}"));
	ck_assert_ptr_null(json_get(json_get(r.json, "paths"), "/admin/sign-in"));
	ck_assert(refers_to_something(r.json, json_get(json_get(create, "responses"), "default")));
	ck_assert_int_eq(refers_to_something(r.json, json_at(json_get(create, "parameters"), 0)), 1);
}
END_TEST

START_TEST(test_metrics)
{
	struct call c = {.path = "/metrics"};
	cleanup_reply struct reply r = {0};

	ask(&c, &r);
	ck_assert_int_eq(r.status, 200);
	ck_assert_ptr_nonnull(strstr(r.body.ptr, "gpupool_build_info{version="));
	ck_assert_ptr_nonnull(strstr(r.body.ptr, "\ngpupool_workers{state=\"healthy\"} 0\n"));
	ck_assert_ptr_nonnull(strstr(r.body.ptr, "\ngpupool_jobs_queued 0\n"));
	ck_assert_ptr_nonnull(strstr(r.body.ptr, "\ngpupool_operations_open 0\n"));
}
END_TEST

/* A hint leaves after the commit, and not for what was refused. */
START_TEST(test_hint_follows_the_commit)
{
	struct db *listener = pg_db(pg, "events", "gpupool");
	struct call c = post("/api/gpu/jobs", "{\"type\":\"script\"}");
	cleanup_reply struct reply r = {0}, s = {0};

	ck_assert_int_eq(db_listen(listener, "gpupool_jobs"), OK);
	ask(&c, &r);
	ck_assert_int_eq(r.status, 400);
	ck_assert(!db_wait(listener, -1, 100, NULL));
	c.body = STR("{\"type\":\"script\",\"payload\":{\"code\":\"1\"}}");
	ask(&c, &s);
	ck_assert_int_eq(s.status, 202);
	ck_assert(db_wait(listener, -1, 5000, NULL));
	ck_assert_int_eq(pg_int(db, "select count(*) from job_ready"), 1);
	db_close(listener);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("requests");
	TCase *t = tcase_create("requests");
	int status;

	pg = pg_start();
	db = pg_db(pg, "web", "gpupool");
	people_make(db);
	web_start(&web, "api", pg_conninfo(pg, "web", "gpupool"), 2);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_malformed_json);
	tcase_add_test(t, test_bad_utf8);
	tcase_add_test(t, test_unknown_field);
	tcase_add_test(t, test_wrong_type);
	tcase_add_test(t, test_out_of_range);
	tcase_add_test(t, test_all_faults_at_once);
	tcase_add_test(t, test_missing_field);
	tcase_add_test(t, test_body_of_ten_megabytes);
	tcase_add_test(t, test_depth);
	tcase_add_test(t, test_content_length_that_lies);
	tcase_add_test(t, test_wrong_method);
	tcase_add_test(t, test_options_and_head);
	tcase_add_test(t, test_unknown_address);
	tcase_add_test(t, test_ids_that_are_none);
	tcase_add_test(t, test_content_types);
	tcase_add_test(t, test_query_strings);
	tcase_add_test(t, test_secret_in_query_string);
	tcase_add_test(t, test_pages_of_a_list);
	tcase_add_test(t, test_audit_pages_without_gap_or_repeat);
	tcase_add_test(t, test_entity_tags);
	tcase_add_test(t, test_headers_of_every_answer);
	tcase_add_test(t, test_openapi_document);
	tcase_add_test(t, test_metrics);
	tcase_add_test(t, test_hint_follows_the_commit);
	suite_add_tcase(s, t);
	status = unit_run(s);
	db_close(db);
	if (web_stop(&web))
		status = 1;
	return status;
}
