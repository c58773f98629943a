/* What sessions left at their providers: listed and served to the owner, as data that runs nowhere. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "unit.h"

static struct pg *pg;
static struct world *w;
static struct call_site c;
static struct principal root, ann, bob, eve; /* administrator, operators, viewer */
static int64_t worker, session;              /* ann's */

static void open_site(void)
{
	char name[32];

	snprintf(name, sizeof(name), "outputs_%d", (int)getpid());
	w = world_open(pg, name);
	root = world_user(w, "root", ROLE_ADMIN);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	bob = world_user(w, "bob", ROLE_OPERATOR);
	eve = world_user(w, "eve", ROLE_VIEWER);
	worker = world_worker(w, world_account(w, ann.user_id, "kaggle", "none", 0), "healthy", "{gpu,T4}", 1);
	session = world_int(w, "select session_id from worker where id = %lld", (long long)worker);
	call_init(&c, w);
}

static void close_site(void)
{
	call_done(&c);
	world_close(w);
}

static void leave(const char *name, const char *content)
{
	world_sql(w, "insert into session_output(session_id, name, size, content) values (%lld, $n$%s$n$, 5000000, %s)", (long long)session,
		  name, content);
}

static int get(const struct principal *p, int64_t of, const char *more)
{
	return callf(&c, p, NULL, "GET /api/gpu/workers/notebooks/%lld/sessions/%lld/outputs%s", (long long)of, (long long)session, more);
}

START_TEST(test_list)
{
	ck_assert_int_eq(get(&ann, worker, ""), 200);
	ck_assert_int_eq((int)json_len(json_get(c.json, "outputs")), 0);
	leave("model/weights.bin", "'\\x0001ff'");
	leave("big.tar", "null");
	ck_assert_int_eq(get(&ann, worker, ""), 200);
	ck_assert_int_eq((int)json_len(json_get(c.json, "outputs")), 2);
	ck_assert_str_eq(call_str(&c, "outputs.0.name"), "big.tar");
	ck_assert(!json_bool(json_path(c.json, "outputs.0"), "kept", true));
	ck_assert_str_eq(call_str(&c, "outputs.1.name"), "model/weights.bin");
	ck_assert(json_bool(json_path(c.json, "outputs.1"), "kept", false));
	ck_assert_int_eq(call_int(&c, "outputs.1.size"), 5000000);
	ck_assert_int_eq((int)strlen(call_str(&c, "outputs.1.createdAt")), 20);
}
END_TEST

START_TEST(test_file_is_saved_not_shown)
{
	leave("a/b.html", "convert_to('<script>alert(1)</script>', 'UTF8')");
	leave("one two\"\r\n\u00e9.txt", "'\\x0001ff'");
	ck_assert_int_eq(get(&ann, worker, "/a/b.html"), 200);
	ck_assert_str_eq(c.type, "application/octet-stream");
	ck_assert_str_eq(c.policy, "sandbox");
	ck_assert_str_eq(c.disposition, "attachment; filename=\"b.html\"; filename*=UTF-8''b.html");
	ck_assert(str_eqz(c.text, "<script>alert(1)</script>"));
	ck_assert_int_eq(get(&ann, worker, "/one two\"\r\n\u00e9.txt"), 200);
	ck_assert_str_eq(c.disposition, "attachment; filename=\"one_two_____.txt\"; filename*=UTF-8''one%20two%22%0D%0A%C3%A9.txt");
	ck_assert_int_eq((int)c.text.len, 3);
	ck_assert_int_eq(memcmp(c.text.ptr, "\0\1\377", 3), 0);
}
END_TEST

START_TEST(test_log_is_read)
{
	leave("run.log", "'\\x61ff0a'");
	ck_assert_int_eq(get(&ann, worker, "/run.log"), 200);
	ck_assert_str_eq(c.type, "text/plain; charset=utf-8");
	ck_assert_str_eq(c.policy, "sandbox");
	ck_assert_str_eq(c.disposition, "");
	ck_assert(str_eqz(c.text, "a\ufffd\n"));
}
END_TEST

START_TEST(test_absent)
{
	leave("big.tar", "null");
	leave("a/b/c/d/e/f/g/h", "''");
	ck_assert_int_eq(get(&ann, worker, "/big.tar"), 410);
	ck_assert_int_eq(get(&ann, worker, "/a/b/c/d/e/f/g/h"), 200);
	ck_assert_int_eq((int)c.text.len, 0);
	ck_assert_int_eq(get(&ann, worker, "/a/b/c/d/e/f/g/h/i"), 404);
	ck_assert_int_eq(get(&ann, worker, "/none"), 404);
	ck_assert_int_eq(get(&ann, worker, "/a//b"), 404);
	ck_assert_int_eq(get(&ann, worker, "/\xff"), 400);
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET /api/gpu/workers/notebooks/%lld/sessions/999/outputs", (long long)worker), 404);
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET /api/gpu/workers/notebooks/99999999999/sessions/%lld/outputs", (long long)session), 404);
}
END_TEST

/* A session is looked for below its own worker only. */
START_TEST(test_owner_and_admin_only)
{
	int64_t other = world_worker(w, world_account(w, bob.user_id, "local", "all", 0), "healthy", "{gpu}", 1);

	leave("run.log", "'\\x61'");
	ck_assert_int_eq(get(&root, worker, "/run.log"), 200);
	ck_assert_int_eq(get(&bob, worker, ""), 404);
	ck_assert_int_eq(get(&bob, worker, "/run.log"), 404);
	ck_assert_int_eq(get(&bob, other, "/run.log"), 404);
	ck_assert_int_eq(get(&ann, other, ""), 404);
	ck_assert_int_eq(get(&eve, worker, "/run.log"), 404);
	ck_assert_int_eq(get(NULL, worker, "/run.log"), 401);
}
END_TEST

/* What a delete saved first is there to read afterwards, by those who could before. */
START_TEST(test_outlive_their_worker)
{
	leave("run.log", "'\\x61'");
	world_sql(w, "update account set sharing = 'all'");
	world_sql(w, "update worker set state = 'deleted', desired = 'deleted' where id = %lld", (long long)worker);
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET /api/gpu/workers/notebooks/%lld", (long long)worker), 404);
	ck_assert_int_eq(get(&ann, worker, "/run.log"), 200);
	ck_assert(str_eqz(c.text, "a"));
	ck_assert_int_eq(get(&root, worker, ""), 200);
	ck_assert_str_eq(call_str(&c, "outputs.0.name"), "run.log");
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET /api/gpu/workers/notebooks/%lld/sessions", (long long)worker), 200);
	ck_assert_int_eq(call_int(&c, "sessions.0.outputs"), 1);
	ck_assert_int_eq(callf(&c, &root, NULL, "GET /api/gpu/workers/notebooks/%lld/sessions", (long long)worker), 200);
	ck_assert_int_eq(get(&bob, worker, ""), 404);
	ck_assert_int_eq(get(&bob, worker, "/run.log"), 404);
	ck_assert_int_eq(callf(&c, &bob, NULL, "GET /api/gpu/workers/notebooks/%lld/sessions", (long long)worker), 404);
}
END_TEST

START_TEST(test_sessions_count_them)
{
	leave("run.log", "'\\x61'");
	leave("big.tar", "null");
	ck_assert_int_eq(callf(&c, &ann, NULL, "GET /api/gpu/workers/notebooks/%lld/sessions", (long long)worker), 200);
	ck_assert_int_eq(call_int(&c, "sessions.0.outputs"), 2);
	world_sql(w, "update account set sharing = 'all'");
	ck_assert_int_eq(callf(&c, &bob, NULL, "GET /api/gpu/workers/notebooks/%lld/sessions", (long long)worker), 200);
	ck_assert_int_eq(call_int(&c, "sessions.0.outputs"), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("outputs over http");
	TCase *t = tcase_create("outputs");

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, open_site, close_site);
	tcase_add_test(t, test_list);
	tcase_add_test(t, test_file_is_saved_not_shown);
	tcase_add_test(t, test_log_is_read);
	tcase_add_test(t, test_absent);
	tcase_add_test(t, test_owner_and_admin_only);
	tcase_add_test(t, test_outlive_their_worker);
	tcase_add_test(t, test_sessions_count_them);
	suite_add_tcase(s, t);
	return unit_run(s);
}
