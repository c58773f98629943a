/* The synchronous and the asynchronous connection: losses, retries, transactions, arrays. */
#include <check.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "db/async.h"
#include "pg.h"

static struct pg *pg;

/* ---- synchronous ---- */

START_TEST(test_lost_connection_is_repeated_only_when_idempotent)
{
	struct db *db = pg_db(pg, "owner", "gpupool"), *super = pg_db(pg, "postgres", "gpupool");
	cleanup_rows struct rows rows = {0};
	struct error e = {0};
	const char *cut = "select count(pg_terminate_backend(pid)) n from pg_stat_activity where usename = 'gpupool_owner'";

	ck_assert_int_eq(db_run(db, STMT_PING, NO_ARGS, &rows, &e), OK);
	ck_assert_int_eq(pg_int(super, cut), 1);
	ck_assert_int_eq(db_run(db, STMT_PING, NO_ARGS, &rows, &e), OK);
	ck_assert_int_eq(row_i64(&rows, 0, "one"), 1);
	ck_assert_int_eq(pg_int(super, cut), 1);
	ck_assert_int_eq(db_run(db, STMT_WAKE, ARGS(arg_cstr("x"), arg_cstr("y")), NULL, &e), ERR_UNAVAILABLE);
	ck_assert_int_eq(db_run(db, STMT_WAKE, ARGS(arg_cstr("x"), arg_cstr("y")), NULL, &e), OK);
	db_close(super);
	db_close(db);
}
END_TEST

static int fruitless;

static enum err insert_then(struct db *db, void *ctx)
{
	enum err *then = ctx;
	enum err err = db_exec_text(db, "insert into lane_delta values (1, 1)", NULL, NULL);

	fruitless++;
	return err ? err : *then;
}

START_TEST(test_failed_transaction_leaves_nothing)
{
	struct db *db = pg_db(pg, "owner", "gpupool");
	enum err then = ERR_INVALID;
	struct error e = {0};

	ck_assert_int_eq(tx_run(db, insert_then, &then, &e), ERR_INVALID);
	ck_assert_int_eq(pg_int(db, "select count(*) from lane_delta"), 0);
	then = OK;
	ck_assert_int_eq(tx_run(db, insert_then, &then, &e), OK);
	ck_assert_int_eq(pg_int(db, "select count(*) from lane_delta"), 1);
	pg_sql(db, "delete from lane_delta", NULL);
	db_close(db);
}
END_TEST

static enum err deadlock_once(struct db *db, void *ctx)
{
	(void)ctx;
	return ++fruitless < 3 ? db_exec_text(db, "do $$ begin raise exception 'x' using errcode = '40P01'; end $$", NULL, NULL) : OK;
}

START_TEST(test_deadlock_is_tried_again)
{
	struct db *db = pg_db(pg, "owner", "gpupool");
	struct error e = {0};

	fruitless = 0;
	ck_assert_int_eq(tx_run(db, deadlock_once, NULL, &e), OK);
	ck_assert_int_eq(fruitless, 3);
	db_close(db);
}
END_TEST

static enum err violate(struct db *db, void *ctx)
{
	(void)ctx;
	fruitless++;
	return db_run(db, STMT_MIGRATION_RECORD, ARGS(arg_i64(1), arg_cstr("x"), arg_cstr("y"), arg_i64(1)), NULL, NULL);
}

START_TEST(test_constraint_is_a_value_and_not_tried_again)
{
	struct db *db = pg_db(pg, "owner", "gpupool");
	struct error e = {0};

	fruitless = 0;
	ck_assert_int_eq(tx_run(db, violate, NULL, &e), ERR_CONFLICT);
	ck_assert_int_eq(fruitless, 1);
	ck_assert_str_eq(db_constraint(db), "schema_migration_pkey");
	db_close(db);
}
END_TEST

START_TEST(test_notification_arrives)
{
	struct db *a = pg_db(pg, "owner", "gpupool"), *b = pg_db(pg, "web", "gpupool");

	ck_assert_int_eq(db_listen(a, "gpupool_jobs"), OK);
	ck_assert(!db_wait(a, -1, 10, NULL));
	db_notify(b, "gpupool_jobs", "it's");
	ck_assert(db_wait(a, -1, 5000, NULL));
	db_close(a);
	db_close(b);
}
END_TEST

START_TEST(test_arrays_survive_hostile_text)
{
	static const char nasty[] = "a\"b\\c,{}\n'NULL";
	struct db *db = pg_db(pg, "owner", "gpupool");
	cleanup_buf struct buf b = BUF_INIT(4096), sql = BUF_INIT(8192);
	cleanup_rows struct rows rows = {0};

	array_begin(&b);
	array_add_str(&b, str_of(nasty));
	array_add_null(&b);
	array_add_str(&b, STR("NULL"));
	array_add_str(&b, STR(""));
	array_end(&b);
	buf_addf(&sql, "select cardinality(a) n, a[1] one, a[2] is null two, a[3] three, a[4] four from (select $q$%s$q$::text[] a) x", b.ptr);
	pg_sql(db, sql.ptr, &rows);
	ck_assert_int_eq(row_i64(&rows, 0, "n"), 4);
	ck_assert_str_eq(row_cstr(&rows, 0, "one"), nasty);
	ck_assert(row_bool(&rows, 0, "two"));
	ck_assert_str_eq(row_cstr(&rows, 0, "three"), "NULL");
	ck_assert_str_eq(row_cstr(&rows, 0, "four"), "");
	db_close(db);
}
END_TEST

/* ---- asynchronous ---- */

struct seen {
	int done, notified, up, down;
	enum err err;
	int64_t value;
	struct adb *again; /* send another from inside the callback */
};

static void on_done(void *ctx, enum err err, const struct rows *rows, const struct error *e)
{
	struct seen *s = ctx;

	(void)e;
	s->done++;
	s->err = err;
	s->value = err ? -1 : row_i64(rows, 0, "one");
	if (s->again)
		ck_assert(adb_send(steal_ptr(s->again), STMT_PING, NO_ARGS, on_done, s));
}

static void on_notify(void *ctx, const char *channel, const char *payload)
{
	struct seen *s = ctx;

	(void)payload;
	s->notified += *channel != '\0';
}

static void on_change(void *ctx, bool up)
{
	struct seen *s = ctx;

	*(up ? &s->up : &s->down) += 1;
}

static void spin(struct adb *a, const int *counter, int until, int ms)
{
	int64_t end = clock_ms() + ms;

	while (*counter < until && clock_ms() < end) {
		struct pollfd p = {adb_fd(a), adb_events(a), 0};

		poll(&p, 1, 20);
		if (p.revents || clock_ms() >= adb_timer(a))
			adb_turn(a);
	}
	ck_assert_int_ge(*counter, until);
}

static struct adb *open_async(struct seen *s)
{
	static const char *const channels[] = {"gpupool_orders", NULL};
	struct db_options o = {.conninfo = pg_conninfo(pg, "events", "gpupool"), .application = "async", .queue = true};
	struct adb *a;

	ck_assert_int_eq(adb_open(&o, &a), OK);
	adb_listen(a, channels, on_notify, s);
	adb_on_change(a, on_change, s);
	spin(a, &s->up, 1, 5000);
	return a;
}

START_TEST(test_async_statement_and_one_from_its_callback)
{
	struct seen s = {0};
	struct adb *a = open_async(&s);

	s.again = a;
	ck_assert(adb_send(a, STMT_PING, NO_ARGS, on_done, &s));
	ck_assert(!adb_send(a, STMT_PING, NO_ARGS, on_done, &s));
	spin(a, &s.done, 2, 5000);
	ck_assert_int_eq(s.value, 1);
	ck_assert(adb_idle(a));
	adb_close(a);
}
END_TEST

START_TEST(test_async_hears_notifications_while_idle)
{
	struct seen s = {0};
	struct adb *a = open_async(&s);
	struct db *db = pg_db(pg, "web", "gpupool");

	db_notify(db, "gpupool_orders", "7");
	spin(a, &s.notified, 1, 5000);
	adb_close(a);
	db_close(db);
}
END_TEST

START_TEST(test_async_loss_fails_the_statement_and_comes_back)
{
	struct seen s = {0};
	struct adb *a = open_async(&s);
	struct db *super = pg_db(pg, "postgres", "gpupool");

	ck_assert_int_eq(pg_int(super, "select count(pg_terminate_backend(pid)) n from pg_stat_activity where usename = 'gpupool_events'"), 1);
	ck_assert(adb_send(a, STMT_PING, NO_ARGS, on_done, &s));
	spin(a, &s.done, 1, 5000);
	ck_assert_int_eq(s.err, ERR_UNAVAILABLE);
	spin(a, &s.up, 2, 5000);
	ck_assert_int_eq(s.down, 1);
	ck_assert(adb_send(a, STMT_PING, NO_ARGS, on_done, &s));
	spin(a, &s.done, 2, 5000);
	ck_assert_int_eq(s.err, OK);
	adb_close(a);
	db_close(super);
}
END_TEST

START_TEST(test_async_without_server_keeps_trying)
{
	struct seen s = {0};
	struct adb *a;

	ck_assert_int_eq(adb_open(&(struct db_options){.conninfo = "host=/nonexistent dbname=x"}, &a), OK);
	adb_on_change(a, on_change, &s);
	for (int i = 0; i < 3; i++) {
		adb_turn(a);
		ck_assert(!adb_connected(a));
		ck_assert(adb_timer(a) != INT64_MAX);
	}
	ck_assert_int_eq(s.up, 0);
	adb_close(a);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("db");
	TCase *t = tcase_create("db");
	SRunner *sr;
	int failed;

	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_lost_connection_is_repeated_only_when_idempotent);
	tcase_add_test(t, test_failed_transaction_leaves_nothing);
	tcase_add_test(t, test_deadlock_is_tried_again);
	tcase_add_test(t, test_constraint_is_a_value_and_not_tried_again);
	tcase_add_test(t, test_notification_arrives);
	tcase_add_test(t, test_arrays_survive_hostile_text);
	tcase_add_test(t, test_async_statement_and_one_from_its_callback);
	tcase_add_test(t, test_async_hears_notifications_while_idle);
	tcase_add_test(t, test_async_loss_fails_the_statement_and_comes_back);
	tcase_add_test(t, test_async_without_server_keeps_trying);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
