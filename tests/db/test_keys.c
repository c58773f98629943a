/* Sealing keys: the first, rotation with its waits and crashes, and that whoever seals meanwhile loses nothing. */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "cli/files.h"
#include "domain/account.h"
#include "domain/keyfile.h"
#include "domain/keys.h"
#include "world.h"

enum { ACCOUNTS = 7, STEPS_MOST = 200 };

static struct pg *pg;
static struct world *w;
static struct db *prov;
static char dir[64];
static struct error e;
static struct principal people[ACCOUNTS];

static void open_world(void)
{
	char name[32];

	snprintf(name, sizeof(name), "keys_%d", (int)getpid());
	snprintf(dir, sizeof(dir), "/tmp/gpupool-keys-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	w = world_open(pg, name);
	prov = pg_db(pg, "provisioner", name);
	for (int i = 0; i < ACCOUNTS; i++)
		people[i] = world_user(w, world_text(w, "p%d", i), ROLE_OPERATOR);
}

static void close_world(void)
{
	db_close(prov);
	world_close(w);
	files_remove_tree(dir);
}

static int64_t init(void)
{
	int64_t id = 0;

	ck_assert_msg(keys_init(prov, dir, SEAL_CREDENTIALS, &id, &e) == OK, "%s", e.msg);
	return id;
}

/* ---- sealing as the web does ---- */

struct put {
	const struct principal *who;
	struct json *credentials;
	int64_t id;
};

static enum err put_in_tx(struct db *db, void *arg)
{
	struct put *p = arg;
	cleanup_arena struct arena a;

	arena_init(&a, 1 << 20);
	return account_put(db, &a, p->who, "kaggle", p->credentials, &p->id, NULL);
}

static int64_t put(struct db *db, const struct principal *who, int number)
{
	cleanup_json struct json *credentials = json_object();
	struct put p = {.who = who, .credentials = credentials};
	char token[32];

	snprintf(token, sizeof(token), "KGAT_%lld-%06d", (long long)who->user_id, number);
	json_put_cstr(credentials, "token", token);
	ck_assert_int_eq(tx_run(db, put_in_tx, &p, NULL), OK);
	return p.id;
}

static void put_all(int number)
{
	for (int i = 0; i < ACCOUNTS; i++)
		put(w->web, &people[i], number);
}

/* Every account opens with the one active key and says what was put last (number -1: anything). */
static void check_all_open(int number)
{
	cleanup_rows struct rows rows = {0};
	cleanup_arena struct arena a;

	arena_init(&a, 4 << 20);
	ck_assert_int_eq(world_int(w, "select count(*) from sealing_key where state = 'active' and purpose = 'credentials'"), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from account where key_id <> (select max(id) from sealing_key where state = 'active')"), 0);
	pg_sql(w->super, "select id, owner_id, sealed, key_id from account where provider = 'kaggle' order by id", &rows);
	for (int i = 0; i < rows_count(&rows); i++) {
		struct sealed_account of = {row_i64(&rows, i, "id"), row_i64(&rows, i, "owner_id"), "kaggle"};
		struct secret got = {0};
		char want[64];
		enum err err = sealed_open_credentials(dir, &of, row_i64(&rows, i, "key_id"), row_bytes(&rows, i, "sealed", &a), &got, &e);

		ck_assert_msg(err == OK, "account %lld: %s", (long long)of.id, e.msg);
		snprintf(want, sizeof(want), number < 0 ? "{\"token\":\"KGAT_%lld-" : "{\"token\":\"KGAT_%lld-%06d\"}", (long long)of.owner, number);
		ck_assert_msg(!strncmp(got.ptr, want, strlen(want)), "account %lld", (long long)of.id);
		secret_free(&got);
	}
}

/* To the end; the steps taken, as letters.  Repeated sealing is one step: how often others
 * were sealing just then is chance. */
static const char *rotate(struct db *db, enum seal_purpose purpose, struct keys_rotation *r)
{
	static const char letters[] = {[KEYS_MADE] = 'm', [KEYS_WAITS] = 'w', [KEYS_ACTIVE] = 'a', [KEYS_SEALED] = 's', [KEYS_RETIRED] = 'r'};
	static char steps[STEPS_MOST + 1];
	enum keys_step step = KEYS_MADE;
	int64_t until = clock_ms() + 20000;
	int n = 0;

	*r = (struct keys_rotation){0};
	while (step != KEYS_RETIRED && n < STEPS_MOST && clock_ms() < until) {
		enum err err = keys_rotate(db, dir, purpose, r, &step, &e);

		ck_assert_msg(err == OK, "%s", e.msg);
		if (step != KEYS_SEALED || !n || steps[n - 1] != letters[KEYS_SEALED])
			steps[n++] = letters[step];
		else
			clock_sleep_ms(5);
	}
	steps[n] = '\0';
	return steps;
}

/* ---- the first ---- */

START_TEST(test_first)
{
	cleanup_json struct json *list = json_array();
	int64_t id = init(), other = 0;
	struct stat st;

	ck_assert_int_eq(stat(world_text(w, "%s/%lld.key", dir, (long long)id), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(keys_init(prov, dir, SEAL_CREDENTIALS, &other, &e), ERR_CONFLICT);
	ck_assert_int_eq(other, id);
	ck_assert_int_eq(world_int(w, "select count(*) from sealing_key"), 1);
	put_all(1);
	check_all_open(1);
	ck_assert_int_eq(keys_list(prov, dir, SEAL_CREDENTIALS, list, &e), OK);
	ck_assert_int_eq(json_len(list), 1);
	ck_assert_int_eq(json_i64(json_at(list, 0), "used", 0), ACCOUNTS);
	ck_assert(json_bool(json_at(list, 0), "here", false));
	ck_assert_str_eq(json_cstr(json_at(list, 0), "state"), "active");
}
END_TEST

/* A crash between the two: the file is taken, not made anew. */
START_TEST(test_file_without_a_row_is_taken)
{
	uint8_t pub[CRYPTO_PUBLIC], priv[CRYPTO_PRIVATE];
	char hex[2 * CRYPTO_PUBLIC + 1];

	crypto_keypair(pub, priv);
	ck_assert_int_eq(keyfile_write(dir, 1, priv, &e), OK);
	ck_assert_int_eq(init(), 1);
	crypto_hex(pub, sizeof(pub), hex);
	ck_assert_int_eq(world_int(w, "select count(*) from sealing_key where public_key = '\\x%s'", hex), 1);
}
END_TEST

START_TEST(test_a_row_of_another_machine)
{
	cleanup_json struct json *list = json_array();
	int64_t id = init();
	uint8_t pub[CRYPTO_PUBLIC], priv[CRYPTO_PRIVATE];

	/* A file of that id that is of another key is not taken for it. */
	ck_assert_int_eq(unlink(world_text(w, "%s/%lld.key", dir, (long long)id)), 0);
	crypto_keypair(pub, priv);
	ck_assert_int_eq(keyfile_write(dir, id, priv, &e), OK);
	ck_assert_int_eq(keys_list(prov, dir, SEAL_CREDENTIALS, list, &e), OK);
	ck_assert(!json_bool(json_at(list, 0), "here", true));
	ck_assert_int_eq(keys_announce(prov, dir, SEAL_CREDENTIALS, "h:1:x", NULL, &e), OK);
	ck_assert_int_eq(world_int(w, "select count(*) from instance where keys = '{}'"), 1);
}
END_TEST

/* It is said to be alive, so that a rotation waits for it. */
START_TEST(test_key_that_cannot_be_read_is_not_held)
{
	struct keys_rotation r = {0};
	enum keys_step step;

	init();
	ck_assert_int_eq(chmod(world_text(w, "%s/1.key", dir), 0644), 0);
	ck_assert_int_eq(keys_announce(prov, dir, SEAL_CREDENTIALS, "a:1:x", NULL, &e), ERR_INTERNAL);
	ck_assert_ptr_nonnull(strstr(e.msg, "0600"));
	ck_assert_int_eq(world_int(w, "select count(*) from instance where keys = '{}'"), 1);
	ck_assert_int_eq(chmod(world_text(w, "%s/1.key", dir), 0600), 0);
	ck_assert_int_eq(keys_rotate(prov, dir, SEAL_CREDENTIALS, &r, &step, &e), OK);
	ck_assert_int_eq(chmod(dir, 0777), 0);
	ck_assert_int_eq(keys_announce(prov, dir, SEAL_CREDENTIALS, "a:1:x", NULL, &e), ERR_INTERNAL);
	ck_assert_int_eq(chmod(dir, 0700), 0);
	ck_assert_int_eq(keys_rotate(prov, dir, SEAL_CREDENTIALS, &r, &step, &e), OK);
	ck_assert_int_eq(step, KEYS_WAITS);
	ck_assert_int_eq(keys_announce(prov, dir, SEAL_CREDENTIALS, "a:1:x", NULL, &e), OK);
	ck_assert_int_eq(keys_rotate(prov, dir, SEAL_CREDENTIALS, &r, &step, &e), OK);
	ck_assert_int_eq(step, KEYS_ACTIVE);
}
END_TEST

/* ---- rotating ---- */

START_TEST(test_rotate)
{
	struct keys_rotation r;
	int64_t first = init();

	put_all(1);
	ck_assert_str_eq(rotate(prov, SEAL_CREDENTIALS, &r), "mar");
	ck_assert_int_eq(r.id, first + 1);
	ck_assert_int_eq(r.count, ACCOUNTS);
	check_all_open(1);
	ck_assert_int_eq(world_int(w, "select count(*) from sealing_key where id = %lld and state = 'retired'", (long long)first), 1);
	ck_assert_int_eq(world_int(w, "select count(*) from account where sealed_version <> 1"), 0);
	ck_assert_str_eq(rotate(prov, SEAL_CREDENTIALS, &r), "mar");
	check_all_open(1);
	put_all(2);
	check_all_open(2);
}
END_TEST

START_TEST(test_without_a_first)
{
	struct keys_rotation r = {0};
	enum keys_step step;

	ck_assert_int_eq(keys_rotate(prov, dir, SEAL_CREDENTIALS, &r, &step, &e), ERR_NOT_FOUND);
	ck_assert_int_eq(world_int(w, "select count(*) from sealing_key"), 0);
}
END_TEST

START_TEST(test_one_at_a_time)
{
	struct keys_rotation r = {0};
	enum keys_step step;

	init();
	world_sql(w, "select pg_advisory_lock(hashtext('gpupool.keys.rotate'), hashtext('credentials'))");
	ck_assert_int_eq(keys_rotate(prov, dir, SEAL_CREDENTIALS, &r, &step, &e), ERR_UNAVAILABLE);
	ck_assert_int_eq(world_int(w, "select count(*) from sealing_key"), 1);
}
END_TEST

START_TEST(test_waits_for_every_live_program)
{
	struct keys_rotation r = {0};
	enum keys_step step;

	init();
	put_all(1);
	world_sql(w, "insert into instance(name, purpose, seen_at) values ('dead:1:a', 'credentials', now() - interval '61 s')");
	world_sql(w, "insert into instance(name, purpose) values ('secrets:1:a', 'secrets')");
	ck_assert_int_eq(keys_announce(prov, dir, SEAL_CREDENTIALS, "a:1:x", (const char *const[]){"kaggle", NULL}, &e), OK);
	world_sql(w, "insert into instance(name, purpose, keys) values ('b:1:x', 'credentials', '{1}')");
	ck_assert_int_eq(keys_rotate(prov, dir, SEAL_CREDENTIALS, &r, &step, &e), OK);
	ck_assert_int_eq(step, KEYS_MADE);
	ck_assert_int_eq(keys_rotate(prov, dir, SEAL_CREDENTIALS, &r, &step, &e), OK);
	ck_assert_int_eq(step, KEYS_WAITS);
	ck_assert_int_eq(r.missing, 2);
	ck_assert_str_eq(r.instance, "a:1:x");
	ck_assert_int_eq(keys_announce(prov, dir, SEAL_CREDENTIALS, "a:1:x", NULL, &e), OK);
	ck_assert_int_eq(keys_rotate(prov, dir, SEAL_CREDENTIALS, &r, &step, &e), OK);
	ck_assert_int_eq(step, KEYS_WAITS);
	ck_assert_str_eq(r.instance, "b:1:x");
	/* What is sealed meanwhile is to the old key, which everybody has. */
	put_all(2);
	ck_assert_int_eq(world_int(w, "select count(*) from account where key_id = 1"), ACCOUNTS);
	world_sql(w, "update instance set keys = '{1,2}' where name = 'b:1:x'");
	ck_assert_str_eq(rotate(prov, SEAL_CREDENTIALS, &r), "mar");
	check_all_open(2);
	ck_assert_int_eq(r.id, 2);
}
END_TEST

/* One that seals to the old key and has not committed: nobody sees its row, and the key is not retired before that. */
START_TEST(test_waits_for_who_seals_just_now)
{
	cleanup_json struct json *credentials = json_object();
	struct put late = {.who = &people[0], .credentials = credentials};
	struct keys_rotation r = {0};
	enum keys_step step = KEYS_MADE;

	init();
	json_put_cstr(credentials, "token", world_text(w, "KGAT_%lld-000001", (long long)people[0].user_id));
	for (int i = 1; i < ACCOUNTS; i++)
		put(w->web, &people[i], 1);
	pg_sql(w->web, "begin", NULL);
	ck_assert_int_eq(put_in_tx(w->web, &late), OK);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(keys_rotate(prov, dir, SEAL_CREDENTIALS, &r, &step, &e), OK);
	ck_assert_int_eq(step, KEYS_SEALED);
	ck_assert_int_eq(r.count, ACCOUNTS - 1);
	pg_sql(w->web, "commit", NULL);
	ck_assert_str_eq(rotate(prov, SEAL_CREDENTIALS, &r), "r");
	check_all_open(1);
}
END_TEST

START_TEST(test_replaced_meanwhile_is_not_overwritten)
{
	cleanup_rows struct rows rows = {0};
	int64_t id;

	init();
	id = put(w->web, &people[0], 1);
	put(w->web, &people[0], 2);
	ck_assert_int_eq(db_run(prov, STMT_KEY_ACCOUNT_MOVE, ARGS(arg_i64(id), arg_i64(1), arg_i64(1), arg_bytes("x", 1), arg_i64(1)), &rows, &e), OK);
	ck_assert_int_eq(rows_count(&rows), 0);
	check_all_open(2);
}
END_TEST

START_TEST(test_box_that_does_not_open)
{
	struct keys_rotation r = {0};
	enum keys_step step = KEYS_MADE;
	enum err err = OK;

	init();
	put_all(1);
	world_sql(w, "update account set sealed = '\\x00' where owner_id = %lld", (long long)people[3].user_id);
	for (int i = 0; i < 10 && !err; i++)
		err = keys_rotate(prov, dir, SEAL_CREDENTIALS, &r, &step, &e);
	ck_assert_int_eq(err, ERR_CONFLICT);
	ck_assert_int_eq(r.unopened, 1);
	ck_assert_int_eq(world_int(w, "select count(*) from account where key_id = 2"), ACCOUNTS - 1);
	ck_assert_int_eq(world_int(w, "select count(*) from sealing_key where state = 'active'"), 2);
	put(w->web, &people[3], 1);
	ck_assert_str_eq(rotate(prov, SEAL_CREDENTIALS, &r), "r");
	check_all_open(1);
}
END_TEST

START_TEST(test_secrets_of_people)
{
	static const struct seal_member of[] = {{"owner", "1"}, {"name", "X"}, {0}};
	struct db *secrets = pg_db(pg, "secrets", w->name);
	cleanup_rows struct rows rows = {0};
	struct secret got = {0};
	struct keys_rotation r;
	struct sealed s;
	int64_t first = init(), id = 0;

	ck_assert_int_eq(keys_init(secrets, dir, SEAL_SECRETS, &id, &e), OK);
	ck_assert_int_eq(id, first + 1);
	ck_assert_int_eq(sealed_make(w->web, &w->arena, SEAL_SECRETS, of, STR("value"), &s, &e), OK);
	ck_assert_int_eq(s.key_id, id);
	ck_assert_int_eq(db_run(w->super, STMT_SECRET_PUT,
				ARGS(arg_i64(1), arg_cstr("X"), arg_bytes(s.box.ptr, s.box.len), arg_i64(id), arg_i64(10)), NULL, &e), OK);
	ck_assert_str_eq(rotate(secrets, SEAL_SECRETS, &r), "mar");
	ck_assert_int_eq(r.count, 1);
	pg_sql(w->super, "select sealed, key_id from user_secret", &rows);
	ck_assert_int_eq(row_i64(&rows, 0, "key_id"), r.id);
	ck_assert_int_eq(sealed_open(dir, SEAL_SECRETS, of, r.id, row_bytes(&rows, 0, "sealed", &w->arena), &got, &e), OK);
	ck_assert_str_eq(got.ptr, "value");
	secret_free(&got);
	/* The other purpose's keys are as they were. */
	ck_assert_int_eq(world_int(w, "select count(*) from sealing_key where purpose = 'credentials' and state = 'active'"), 1);
	db_close(secrets);
}
END_TEST

/* ---- while others seal ---- */

static atomic_bool stop_sealing;
static atomic_int sealed_so_far;

static void *seal_on(void *arg)
{
	struct db *db = pg_db(pg, "web", w->name);

	for (int n = 2; !stop_sealing; n++, sealed_so_far++)
		put(db, &people[(size_t)arg % ACCOUNTS], n);
	db_close(db);
	return NULL;
}

static bool sealed_enough(void *arg)
{
	return sealed_so_far >= *(int *)arg;
}

START_TEST(test_web_seals_meanwhile)
{
	pthread_t threads[3];
	struct keys_rotation r;
	int want = 10;

	init();
	put_all(1);
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, seal_on, (void *)i), 0);
	for (int round = 0; round < 4; round++) {
		ck_assert(wait_for(sealed_enough, &want, 20000));
		rotate(prov, SEAL_CREDENTIALS, &r);
		want = sealed_so_far + 10;
	}
	stop_sealing = true;
	for (size_t i = 0; i < ARRAY_LEN(threads); i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(world_int(w, "select count(*) from account a join sealing_key k on k.id = a.key_id where k.state <> 'active'"), 0);
	check_all_open(-1);
	ck_assert_int_eq(world_int(w, "select count(*) from sealing_key where state = 'retired'"), 4);
}
END_TEST

/* ---- dying at each step ---- */

#ifdef GPUPOOL_TEST

/* True when the child died at the n-th point. */
static bool die_at(int n, bool first)
{
	char text[16];
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		struct db *db = pg_db(pg, "provisioner", w->name);
		struct keys_rotation r = {0};
		enum keys_step step = KEYS_MADE;
		int64_t id;
		enum err err = OK;

		snprintf(text, sizeof(text), "%d", n);
		crashpoint_arm(text);
		if (first)
			err = keys_init(db, dir, SEAL_CREDENTIALS, &id, NULL);
		for (int i = 0; !first && !err && step != KEYS_RETIRED && i < STEPS_MOST; i++)
			err = keys_rotate(db, dir, SEAL_CREDENTIALS, &r, &step, NULL);
		_exit(err ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		ck_assert_int_eq(WTERMSIG(status), SIGKILL);
	else
		ck_assert_int_eq(WEXITSTATUS(status), 0);
	return WIFSIGNALED(status);
}

/* The dead one's lock leaves with its connection, a moment later. */
static bool lock_is_free(void *arg)
{
	return world_int(w, "select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())") == 0;
}

START_TEST(test_killed_at_each_point_of_a_rotation)
{
	struct keys_rotation r;
	int n = 1;
	int64_t before = init();

	put_all(1);
	for (; die_at(n, false); n++) {
		ck_assert(wait_for(lock_is_free, NULL, 20000));
		/* Whatever is left: all can be opened and sealed. */
		put(w->web, &people[n % ACCOUNTS], 1);
		rotate(prov, SEAL_CREDENTIALS, &r);
		check_all_open(1);
		ck_assert_int_eq(world_int(w, "select count(*) from sealing_key where state = 'new'"), 0);
		/* A key that was made is used: no crash leaves one behind that nobody finishes. */
		ck_assert_int_le(r.id, before + 2);
		before = r.id;
	}
	ck_assert_int_ge(n, 5 + ACCOUNTS);
	check_all_open(1);
}
END_TEST

START_TEST(test_killed_at_each_point_of_the_first)
{
	int n = 1;

	for (; die_at(n, true); n++) {
		int64_t id = 0;
		enum err err;

		ck_assert(wait_for(lock_is_free, NULL, 20000));
		err = keys_init(prov, dir, SEAL_CREDENTIALS, &id, &e);
		ck_assert(err == OK || err == ERR_CONFLICT);
		put_all(n);
		check_all_open(n);
		world_sql(w, "delete from account; delete from sealing_key");
		files_remove_tree(dir);
		ck_assert_int_eq(mkdir(dir, 0700), 0);
	}
	ck_assert_int_eq(n, 3);
}
END_TEST

#endif

int main(void)
{
	Suite *s = suite_create("keys");
	TCase *t = tcase_create("keys");
	SRunner *sr;
	int failed;

	crypto_init();
	pg = pg_start();
	tcase_set_timeout(t, 180);
	tcase_add_checked_fixture(t, open_world, close_world);
	tcase_add_test(t, test_first);
	tcase_add_test(t, test_file_without_a_row_is_taken);
	tcase_add_test(t, test_a_row_of_another_machine);
	tcase_add_test(t, test_key_that_cannot_be_read_is_not_held);
	tcase_add_test(t, test_rotate);
	tcase_add_test(t, test_without_a_first);
	tcase_add_test(t, test_one_at_a_time);
	tcase_add_test(t, test_waits_for_every_live_program);
	tcase_add_test(t, test_waits_for_who_seals_just_now);
	tcase_add_test(t, test_replaced_meanwhile_is_not_overwritten);
	tcase_add_test(t, test_box_that_does_not_open);
	tcase_add_test(t, test_secrets_of_people);
	tcase_add_test(t, test_web_seals_meanwhile);
#ifdef GPUPOOL_TEST
	tcase_add_test(t, test_killed_at_each_point_of_a_rotation);
	tcase_add_test(t, test_killed_at_each_point_of_the_first);
#endif
	suite_add_tcase(s, t);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
