/*
 * Passwords that are given once: who gives one, who takes it, and that nobody opens it later.
 */
#include <check.h>
#include <string.h>

#include "base/clock.h"
#include "domain/browser.h"
#include "pg.h"
#include "unit.h"

static struct pg *pg;
static struct db *owner, *web, *instance;
static struct arena arena;
static struct error error;

#define PASSWORD STR("a very private password")

static void setup(void)
{
	crypto_init();
	arena_init(&arena, 1 << 20);
	pg = pg_start();
	owner = pg_db(pg, "owner", "gpupool");
	web = pg_db(pg, "web", "gpupool");
	instance = pg_db(pg, "browser", "gpupool");
	pg_sql(owner, "insert into users(name, role) values ('o', 'operator'), ('p', 'operator');"
		      "insert into account(owner_id, provider, start, email) select id, 'colab', 'browser', name || '@example.com' from users"
		      " where name in ('o', 'p')", NULL);
}

static void teardown(void)
{
	db_close(owner);
	db_close(web);
	db_close(instance);
	pg_stop(pg);
	arena_free(&arena);
}

static int64_t of(const char *name, const char *what)
{
	char sql[160];

	snprintf(sql, sizeof(sql), "select a.%s from account a join users u on u.id = a.owner_id where u.name = '%s' and a.provider = 'colab'", what, name);
	return pg_int(owner, sql);
}

static enum err give(const char *name)
{
	return browser_password_give(web, &arena, of(name, "id"), of(name, "owner_id"), PASSWORD, &error);
}

static bool taken(struct browser_keys *k, const char *name)
{
	cleanup_secret struct secret got = {0};

	ck_assert_int_eq(browser_password_take(k, instance, of(name, "id"), of(name, "owner_id"), &got, &error), OK);
	ck_assert(!got.ptr || str_eq((struct str){got.ptr, got.len}, PASSWORD));
	return got.ptr != NULL;
}

START_TEST(test_once)
{
	struct browser_keys *k = browser_keys_new();

	ck_assert_int_eq(give("o"), ERR_CONFLICT);
	ck_assert_str_eq(error.field, "credentials.password");
	ck_assert_int_eq(browser_keys_turn(k, instance, &error), OK);
	ck_assert_int_eq(browser_keys_turn(k, instance, &error), OK);
	ck_assert_int_eq(pg_int(owner, "select count(*) from browser_key"), 1);
	ck_assert(!taken(k, "o"));
	ck_assert_int_eq(give("o"), OK);
	ck_assert_int_eq(give("o"), OK); /* in place of the first */
	ck_assert_int_eq(give("p"), OK);
	ck_assert(taken(k, "o"));
	ck_assert(!taken(k, "o"));
	ck_assert_int_eq(pg_int(owner, "select count(*) from browser_password"), 1);
	browser_keys_free(k);
}
END_TEST

/* A box that was moved to another account opens for nobody. */
START_TEST(test_bound)
{
	struct browser_keys *k = browser_keys_new();

	ck_assert_int_eq(browser_keys_turn(k, instance, &error), OK);
	ck_assert_int_eq(give("o"), OK);
	pg_sql(owner, "update browser_password set account_id = (select max(id) from account where provider = 'colab')", NULL);
	ck_assert(!taken(k, "p"));
	browser_keys_free(k);
}
END_TEST

/* What somebody has copied of the rows opens for nobody when the time is over: the instance itself has no key any more. */
START_TEST(test_forgotten)
{
	struct browser_keys *k = browser_keys_new(), *other = browser_keys_new();
	int64_t now = clock_ms();

	ck_assert_int_eq(browser_keys_turn(k, instance, &error), OK);
	ck_assert_int_eq(give("o"), OK);
	pg_sql(owner, "create table copy as select * from browser_password", NULL);
	ck_assert(taken(k, "o"));
	pg_sql(owner, "insert into browser_password select * from copy", NULL);
	ck_assert(taken(k, "o")); /* within the ten minutes it is as it was */
	pg_sql(owner, "insert into browser_password select * from copy", NULL);
	ck_assert(!taken(other, "o")); /* another instance never had it */
	clock_fake(now + (int64_t)BROWSER_KEY_SECONDS * 1000 + 1);
	ck_assert_int_eq(browser_keys_turn(k, instance, &error), OK);
	clock_real();
	pg_sql(owner, "insert into browser_password select * from copy", NULL);
	ck_assert(!taken(k, "o"));
	ck_assert_int_eq(pg_int(owner, "select count(*) from browser_key"), 2);
	browser_keys_free(k);
	browser_keys_free(other);
}
END_TEST

START_TEST(test_pictures)
{
	struct str png = STR("\x89PNG\r\n\x1a\n...");
	struct str got;

	ck_assert_int_eq(browser_picture_put(instance, of("o", "id"), png, &error), OK);
	ck_assert_int_eq(browser_picture_put(instance, of("o", "id"), png, &error), OK);
	ck_assert_int_eq(browser_picture(web, &arena, of("o", "id"), of("o", "owner_id"), &got, &error), OK);
	ck_assert(str_eq(got, png));
	ck_assert_int_eq(browser_picture(web, &arena, of("o", "id"), of("p", "owner_id"), &got, &error), ERR_NOT_FOUND);
	ck_assert_int_eq(browser_picture_put(instance, of("o", "id"), STR_NULL, &error), OK);
	ck_assert_int_eq(browser_picture(web, &arena, of("o", "id"), of("o", "owner_id"), &got, &error), ERR_NOT_FOUND);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("browser");
	TCase *t = tcase_create("browser");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_once);
	tcase_add_test(t, test_bound);
	tcase_add_test(t, test_forgotten);
	tcase_add_test(t, test_pictures);
	suite_add_tcase(s, t);
	return unit_run(s);
}
