/* Every statement that exists prepares on a fresh database, as some role that may run it. */
#include <check.h>
#include <libpq-fe.h>
#include <stdlib.h>

#include "db/migrate.h"
#include "pg.h"

static struct pg *pg;

START_TEST(test_every_statement_prepares)
{
	const struct stmt_info *s = &stmt_table[_i];
	struct db *db = pg_db(pg, "owner", "gpupool");
	PGconn *c = db_raw(db);
	PGresult *r = PQprepare(c, s->name, s->sql, 0, NULL);

	ck_assert_msg(PQresultStatus(r) == PGRES_COMMAND_OK, "%s: %s", s->name, PQerrorMessage(c));
	PQclear(r);
	r = PQdescribePrepared(c, s->name);
	ck_assert_msg(PQnparams(r) == s->params, "%s: %d parameters, the file has %d", s->name, PQnparams(r), s->params);
	PQclear(r);
	db_close(db);
}
END_TEST

START_TEST(test_migrations_run_once_and_check)
{
	struct db *owner = pg_db(pg, "owner", "gpupool"), *web = pg_db(pg, "web", "gpupool");
	struct error e = {0};
	int applied = -1;

	ck_assert_int_eq(migrate_run(owner, &applied, &e), OK);
	ck_assert_int_eq(applied, 0);
	ck_assert_int_eq(migrate_check(web, &e), OK);
	db_close(owner);
	db_close(web);
}
END_TEST

START_TEST(test_changed_migration_is_refused)
{
	struct db *owner, *web;
	struct error e = {0};
	int applied;

	pg_copy(pg, "changed");
	owner = pg_db(pg, "owner", "changed");
	web = pg_db(pg, "web", "changed");
	pg_sql(owner, "update gpupool.schema_migration set sha256 = 'other'", NULL);
	ck_assert_int_eq(migrate_run(owner, &applied, &e), ERR_CONFLICT);
	ck_assert_int_eq(migrate_check(web, &e), ERR_UNAVAILABLE);
	pg_sql(owner, "update gpupool.schema_migration set needs_program = 999", NULL);
	ck_assert_int_eq(migrate_check(web, &e), ERR_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(e.msg, "too new"));
	db_close(owner);
	db_close(web);
}
END_TEST

START_TEST(test_database_without_schema_is_named)
{
	struct db *super = pg_db(pg, "postgres", "postgres"), *web;
	struct error e = {0};

	pg_sql(super, "create database bare", NULL);
	web = pg_db(pg, "web", "bare");
	ck_assert_int_eq(migrate_check(web, &e), ERR_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(e.msg, "gpupool migrate"));
	db_close(super);
	db_close(web);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("stmt");
	TCase *t = tcase_create("stmt");
	SRunner *sr;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, test_every_statement_prepares, 0, STMT_COUNT);
	tcase_add_test(t, test_migrations_run_once_and_check);
	tcase_add_test(t, test_changed_migration_is_refused);
	tcase_add_test(t, test_database_without_schema_is_named);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
