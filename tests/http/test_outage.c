/* The database is away, at start or later: 503 with Retry-After, and back by itself. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "db/migrate.h"
#include "people.h"
#include "unit.h"
#include "web.h"

static struct pg *pg;

static struct call get(const char *path)
{
	return (struct call){.path = path, .token = people_token(ADMIN)};
}

static int status_of(const struct web *w, const char *path)
{
	struct call c = get(path);
	cleanup_reply struct reply r = {0};

	fcgi_call(w->socket, &c, &r);
	return r.status;
}

static bool is_ready(void *ctx)
{
	return status_of(ctx, "/readyz") == 200;
}

static void expect_503(const struct web *w, const char *path)
{
	struct call c = get(path);
	cleanup_reply struct reply r = {0};

	fcgi_call(w->socket, &c, &r);
	ck_assert_msg(r.status == 503, "%s: %d %s", path, r.status, r.body.ptr ? r.body.ptr : "");
	ck_assert_ptr_nonnull(reply_header(&r, "Retry-After"));
	ck_assert_str_eq(reply_header(&r, "Content-Type"), "application/problem+json");
}

START_TEST(test_database_away_at_start)
{
	struct web w;
	char conninfo[200], moved[96], socket[96];

	/* The socket's name is taken away, so that nobody is to be connected to. */
	snprintf(socket, sizeof(socket), "%s/.s.PGSQL.5432", pg->dir);
	snprintf(moved, sizeof(moved), "%s/moved", pg->dir);
	snprintf(conninfo, sizeof(conninfo), "%s", pg_conninfo(pg, "web", "gpupool"));
	ck_assert_int_eq(rename(socket, moved), 0);
	web_start(&w, "api", conninfo, 2);
	ck_assert_int_eq(status_of(&w, "/healthz"), 200);
	expect_503(&w, "/readyz");
	expect_503(&w, "/api/gpu/users");
	expect_503(&w, "/metrics");
	ck_assert_int_eq(rename(moved, socket), 0);
	ck_assert(wait_for(is_ready, &w, 10000));
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

START_TEST(test_database_crashes_later)
{
	struct web w;
	pid_t before[8], after[8];

	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 2);
	ck_assert_int_eq(status_of(&w, "/api/gpu/users"), 200);
	/* Both are there: the master forks faster than we ask, but not at once. */
	while (web_children(&w, before, 8) < 2)
		ck_assert_int_eq(status_of(&w, "/healthz"), 200);
	pg_crash(pg);
	ck_assert(wait_for(is_ready, &w, 10000));
	/* Each child has a connection of its own to get back. */
	for (int i = 0; i < 20; i++) {
		int status = status_of(&w, "/api/gpu/users");

		ck_assert_msg(status == 200 || status == 503, "%d", status);
	}
	ck_assert(wait_for(is_ready, &w, 10000));
	ck_assert_int_eq(web_children(&w, after, 8), 2);
	ck_assert_mem_eq(before, after, 2 * sizeof(pid_t));
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

START_TEST(test_database_freezes)
{
	struct web w;

	/* One child waits for the frozen database; the others still answer what needs none. */
	web_start(&w, "api", pg_conninfo(pg, "web", "gpupool"), 2);
	ck_assert(wait_for(is_ready, &w, 10000));
	struct call c = get("/api/gpu/users");
	int fd = fcgi_connect(w.socket);
	cleanup_reply struct reply r = {0};

	pg_freeze(pg, true);
	fcgi_send(fd, &c, false);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(status_of(&w, "/healthz"), 200);
	pg_freeze(pg, false);
	fcgi_receive(fd, &r);
	close(fd);
	ck_assert_int_eq(r.status, 200);
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

START_TEST(test_schema_that_is_not_there)
{
	struct web w;
	struct db *super = pg_db(pg, "postgres", "postgres"), *owner;
	struct error e = {0};
	int applied;

	pg_sql(super, "create database bare owner gpupool_owner", NULL);
	db_close(super);
	web_start(&w, "api", pg_conninfo(pg, "web", "bare"), 1);
	ck_assert_int_eq(status_of(&w, "/healthz"), 200);
	expect_503(&w, "/readyz");
	expect_503(&w, "/api/gpu/users");
	expect_503(&w, "/metrics");
	ck_assert_int_eq(status_of(&w, "/admin/sign-in"), 200);
	/* It comes while we run, as after `gpupool migrate`. */
	owner = pg_db(pg, "owner", "bare");
	ck_assert_int_eq(migrate_run(owner, &applied, &e), OK);
	ck_assert_int_eq(status_of(&w, "/readyz"), 200);
	ck_assert_int_eq(status_of(&w, "/api/gpu/users"), 401);
	db_close(owner);
	ck_assert_int_eq(web_stop(&w), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("outage");
	TCase *t = tcase_create("outage");
	struct db *db;

	/* A cluster can only be restarted by the process that started it. */
	setenv("CK_FORK", "no", 1);
	pg = pg_start();
	db = pg_db(pg, "web", "gpupool");
	people_make(db);
	db_close(db);
	tcase_add_test(t, test_database_away_at_start);
	tcase_add_test(t, test_schema_that_is_not_there);
	tcase_add_test(t, test_database_freezes);
	tcase_add_test(t, test_database_crashes_later);
	suite_add_tcase(s, t);
	return unit_run(s);
}
