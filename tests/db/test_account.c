/* Accounts under races: two that add, one that deletes while another uses. */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#include "cli/files.h"
#include "domain/account.h"
#include "domain/keys.h"
#include "domain/worker.h"
#include "world.h"

static const struct config config = {.public_url = "https://gpu.example.org", .kaggle_url = "https://api.kaggle.com/v1"};

static struct pg *pg;
static struct world *w;
static struct principal ann;
static struct json *token;
static char keys[64];

static void open_world(void)
{
	char name[32];
	struct error e = {0};
	struct db *db;
	int64_t id;

	snprintf(name, sizeof(name), "account_%d", (int)getpid());
	snprintf(keys, sizeof(keys), "/tmp/gpupool-keys-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(keys));
	w = world_open(pg, name);
	ann = world_user(w, "ann", ROLE_OPERATOR);
	token = json_object();
	json_put_cstr(token, "token", "KGAT_0123456789");
	db = pg_db(pg, "provisioner", name);
	ck_assert_msg(keys_init(db, keys, SEAL_CREDENTIALS, &id, &e) == OK, "%s", e.msg);
	db_close(db);
}

static void close_world(void)
{
	json_free(token);
	world_close(w);
	files_remove_tree(keys);
}

/* What a second connection does in a transaction of its own. */
struct work {
	pthread_t thread;
	struct db *db;
	struct arena arena;
	enum err (*fn)(struct db *, void *);
	int64_t id;
	bool gone;
	enum err err;
	struct error e;
};

static enum err add(struct db *db, void *arg)
{
	struct work *k = arg;

	return account_create(db, &k->arena, &ann, &(struct account_new){.provider = STR("kaggle"), .credentials = token}, &k->id, &k->e);
}

static enum err put(struct db *db, void *arg)
{
	struct work *k = arg;

	return account_put(db, &k->arena, &ann, "kaggle", token, &k->id, &k->e);
}

static enum err use(struct db *db, void *arg)
{
	struct work *k = arg;
	struct worker_new n = {.provider = "kaggle", .accelerator = "gpu", .start = true};

	return worker_create(db, &k->arena, &ann, &n, &config, &k->id, &k->e);
}

static enum err drop(struct db *db, void *arg)
{
	struct work *k = arg;

	return account_delete(db, &ann, k->id, false, &k->gone, &k->e);
}

static void *run(void *arg)
{
	struct work *k = arg;

	k->err = tx_run(k->db, k->fn, k, &k->e);
	return NULL;
}

/* The first in an open transaction; then the second, which must wait for it; then both end. */
static void race(struct work *first, struct work *second)
{
	struct world outside = *w;

	arena_init(&first->arena, 1 << 20);
	arena_init(&second->arena, 1 << 20);
	pg_sql(w->web, "begin", NULL);
	first->err = first->fn(w->web, first);
	second->db = pg_db(pg, "web", w->name);
	ck_assert_int_eq(pthread_create(&second->thread, NULL, run, second), 0);
	outside.super = pg_db(pg, "postgres", w->name);
	pg_sql(outside.super, "set search_path = gpupool", NULL);
	world_blocked(&outside, 1);
	db_close(outside.super);
	pg_sql(w->web, "commit", NULL);
	pthread_join(second->thread, NULL);
	db_close(second->db);
	arena_free(&first->arena);
	arena_free(&second->arena);
	ck_assert_msg(first->err == OK, "%s", first->e.msg);
}

static int64_t make(void)
{
	struct work k = {.fn = put};

	arena_init(&k.arena, 1 << 20);
	ck_assert_msg(tx_run(w->web, put, &k, &k.e) == OK, "%s", k.e.msg);
	arena_free(&k.arena);
	return k.id;
}

START_TEST(test_two_add)
{
	struct work first = {.fn = add}, second = {.fn = add};

	race(&first, &second);
	ck_assert_int_eq(second.err, ERR_CONFLICT);
	ck_assert_int_eq(second.id, first.id);
	ck_assert_str_eq(second.e.field, "provider");
	ck_assert_int_eq(world_int(w, "select count(*) from account where sealed_version = 1"), 1);
}
END_TEST

START_TEST(test_two_replace)
{
	struct work first = {.fn = put}, second = {.fn = put};

	make();
	race(&first, &second);
	ck_assert_int_eq(second.err, OK);
	ck_assert_int_eq(second.id, first.id);
	ck_assert_int_eq(world_int(w, "select sealed_version from account"), 3);
}
END_TEST

START_TEST(test_used_while_it_is_deleted)
{
	struct work deletes = {.fn = drop, .id = make()}, uses = {.fn = use};

	race(&deletes, &uses);
	ck_assert_int_eq(uses.err, ERR_INVALID);
	ck_assert_str_eq(uses.e.field, "accountId");
	ck_assert_int_eq(world_int(w, "select count(*) from worker"), 0);
}
END_TEST

START_TEST(test_used_while_it_is_retired)
{
	struct work deletes = {.fn = drop, .id = make()}, uses = {.fn = use};

	world_sql(w, "insert into worker(owner_id, account_id, provider, title, accelerator, desired, state) "
		     "select owner_id, id, provider, 'old', 'gpu', 'deleted', 'deleted' from account");
	race(&deletes, &uses);
	ck_assert_int_eq(uses.err, ERR_INVALID);
	ck_assert_int_eq(world_int(w, "select count(*) from worker where state <> 'deleted'"), 0);
	ck_assert_int_eq(world_int(w, "select count(*) from account where deleted_at is not null and sealed is null"), 1);
}
END_TEST

START_TEST(test_deleted_while_it_is_used)
{
	struct work uses = {.fn = use}, deletes = {.fn = drop, .id = make()};

	race(&uses, &deletes);
	ck_assert_msg(deletes.err == OK && !deletes.gone, "%s", deletes.e.msg);
	ck_assert_int_eq(world_int(w, "select count(*) from worker w join account a on a.id = w.account_id where w.desired = 'deleted' "
				      "and a.deleting_at is not null and a.deleted_at is null and a.sealed is not null"), 1);
}
END_TEST

/* Nobody but its owner's provisioner opens what was put under another account. */
START_TEST(test_moved_box_opens_nowhere)
{
	struct principal bob = world_user(w, "bob", ROLE_OPERATOR);
	cleanup_rows struct rows rows = {0};
	struct secret got = {0};
	struct error e = {0};
	int64_t hers = make(), his;

	his = world_int(w, "insert into account(owner_id, provider, sealed, key_id) select %lld, provider, sealed, key_id from account returning id",
			(long long)bob.user_id);
	pg_sql(w->super, world_text(w, "select sealed, key_id from account where id = %lld", (long long)his), &rows);
	ck_assert_int_eq(sealed_open_credentials(keys, &(struct sealed_account){his, bob.user_id, "kaggle"}, row_i64(&rows, 0, "key_id"),
						 row_bytes(&rows, 0, "sealed", &w->arena), &got, &e), ERR_FORBIDDEN);
	ck_assert_int_eq(sealed_open_credentials(keys, &(struct sealed_account){hers, ann.user_id, "kaggle"}, row_i64(&rows, 0, "key_id"),
						 row_bytes(&rows, 0, "sealed", &w->arena), &got, &e), OK);
	secret_free(&got);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("account");
	TCase *t = tcase_create("account");
	SRunner *sr;
	int failed;

	crypto_init();
	pg = pg_start();
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, open_world, close_world);
	tcase_add_test(t, test_two_add);
	tcase_add_test(t, test_two_replace);
	tcase_add_test(t, test_used_while_it_is_deleted);
	tcase_add_test(t, test_used_while_it_is_retired);
	tcase_add_test(t, test_deleted_while_it_is_used);
	tcase_add_test(t, test_moved_box_opens_nowhere);
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
