/* Envelopes and private key files: what opens, and everything that must not. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/files.h"
#include "domain/keyfile.h"
#include "domain/sealed.h"
#include "unit.h"

static char dir[64];
static struct arena arena;
static uint8_t pub[CRYPTO_PUBLIC];
static struct error e;

#define HEAD "{\"v\":1,\"account\":\"7\",\"owner\":\"3\",\"provider\":\"kaggle\",\"purpose\":\"credentials\",\"credentials\":"
#define PAYLOAD "{\"username\":\"ann\",\"key\":\"0123456789abcdef\"}"

static const struct sealed_account ours = {7, 3, "kaggle"};

static void add_key(int64_t id)
{
	uint8_t priv[CRYPTO_PRIVATE];

	crypto_keypair(pub, priv);
	ck_assert_int_eq(keyfile_write(dir, id, priv, &e), OK);
}

static void setup(void)
{
	crypto_init();
	snprintf(dir, sizeof(dir), "/tmp/gpupool-keys-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	arena_init(&arena, 1 << 20);
	add_key(4);
}

static void teardown(void)
{
	files_remove_tree(dir);
	arena_free(&arena);
}

static struct str box_of(const char *plain)
{
	size_t n = strlen(plain);
	uint8_t *box = arena_alloc(&arena, n + CRYPTO_SEAL_EXTRA);

	crypto_seal(pub, str_of(plain), box);
	return (struct str){(char *)box, n + CRYPTO_SEAL_EXTRA};
}

static enum err open_box(const struct sealed_account *of, int64_t key, struct str box)
{
	struct secret got = {0};
	enum err err;

	e = (struct error){0};
	err = sealed_open_credentials(dir, of, key, box, &got, &e);
	if (err) {
		ck_assert_ptr_null(got.ptr);
		ck_assert_ptr_null(strstr(e.msg, "ann"));
		ck_assert_uint_gt(strlen(e.msg), 0);
	} else {
		ck_assert_str_eq(got.ptr, PAYLOAD);
		ck_assert_uint_eq(got.len, strlen(PAYLOAD));
		secret_free(&got);
	}
	return err;
}

static const char *path_of(const char *name)
{
	return arena_printf(&arena, "%s/%s", dir, name);
}

START_TEST(test_opens_what_is_its_own)
{
	ck_assert_int_eq(open_box(&ours, 4, box_of(HEAD PAYLOAD "}")), OK);
}
END_TEST

START_TEST(test_payload_is_any_bytes)
{
	static const struct seal_member of[] = {{"owner", "3"}, {"name", "A\"}"}, {0}};
	struct secret got = {0};
	struct str box = box_of("{\"v\":1,\"owner\":\"3\",\"name\":\"A\\\"}\",\"purpose\":\"secrets\",\"value\":a}\"{\n}");

	ck_assert_int_eq(sealed_open(dir, SEAL_SECRETS, of, 4, box, &got, &e), OK);
	ck_assert_str_eq(got.ptr, "a}\"{\n");
	secret_free(&got);
	ck_assert_int_eq(sealed_open(dir, SEAL_CREDENTIALS, of, 4, box, &got, &e), ERR_FORBIDDEN);
}
END_TEST

static const struct sealed_account others[] = {{8, 3, "kaggle"}, {7, 4, "kaggle"}, {7, 3, "colab"}, {7, 31, "kaggle"}, {0, 3, "kaggle"}};

START_TEST(test_another_row_is_refused)
{
	ck_assert_int_eq(open_box(&others[_i], 4, box_of(HEAD PAYLOAD "}")), ERR_FORBIDDEN);
}
END_TEST

static const char *const odd[] = {
	"", "{", HEAD, HEAD PAYLOAD, HEAD PAYLOAD "]", " " HEAD PAYLOAD "}", PAYLOAD,
	"{\"v\":2,\"account\":\"7\",\"owner\":\"3\",\"provider\":\"kaggle\",\"purpose\":\"credentials\",\"credentials\":" PAYLOAD "}",
	"{\"account\":\"7\",\"v\":1,\"owner\":\"3\",\"provider\":\"kaggle\",\"purpose\":\"credentials\",\"credentials\":" PAYLOAD "}",
	"{\"v\":1,\"account\":\"7\",\"owner\":\"3\",\"provider\":\"kaggle\",\"purpose\":\"secrets\",\"credentials\":" PAYLOAD "}",
};

START_TEST(test_odd_envelope_is_refused)
{
	/* The fourth ends in the payload's own brace: what is left is no payload, and not PAYLOAD. */
	struct secret got = {0};
	enum err err = sealed_open_credentials(dir, &ours, 4, box_of(odd[_i]), &got, &e);

	if (!err) {
		ck_assert_str_ne(got.ptr, PAYLOAD);
		secret_free(&got);
		ck_assert_str_eq(odd[_i], HEAD PAYLOAD);
	} else {
		ck_assert_int_eq(err, ERR_FORBIDDEN);
	}
}
END_TEST

START_TEST(test_broken_box_is_refused)
{
	struct str box = box_of(HEAD PAYLOAD "}");
	char *copy = arena_strndup(&arena, box.ptr, box.len);

	for (size_t i = 0; i < box.len; i++) {
		copy[i] ^= 1;
		ck_assert_int_eq(open_box(&ours, 4, (struct str){copy, box.len}), ERR_FORBIDDEN);
		copy[i] ^= 1;
	}
	for (size_t n = 0; n < box.len; n += 13)
		ck_assert_int_eq(open_box(&ours, 4, (struct str){copy, n}), ERR_FORBIDDEN);
	ck_assert_int_eq(open_box(&ours, 4, box), OK);
}
END_TEST

START_TEST(test_other_key)
{
	struct str box = box_of(HEAD PAYLOAD "}");

	ck_assert_int_eq(open_box(&ours, 5, box), ERR_NOT_FOUND);
	add_key(5);
	ck_assert_int_eq(open_box(&ours, 5, box), ERR_FORBIDDEN);
	ck_assert_int_eq(open_box(&ours, 4, box), OK);
}
END_TEST

START_TEST(test_sealed_again_is_the_same_to_the_new_key)
{
	struct str box = box_of(HEAD PAYLOAD "}"), fresh;

	add_key(5);
	ck_assert_int_eq(sealed_again(dir, 4, box, pub, &arena, &fresh, &e), OK);
	ck_assert_int_eq(open_box(&ours, 5, fresh), OK);
	ck_assert_int_eq(open_box(&ours, 4, fresh), ERR_FORBIDDEN);
	ck_assert_int_eq(open_box(&others[0], 5, fresh), ERR_FORBIDDEN);
}
END_TEST

START_TEST(test_key_is_never_replaced)
{
	uint8_t priv[CRYPTO_PRIVATE] = {1};
	struct str box = box_of(HEAD PAYLOAD "}");

	ck_assert_int_eq(keyfile_write(dir, 4, priv, &e), ERR_CONFLICT);
	ck_assert_int_eq(open_box(&ours, 4, box), OK);
	ck_assert_int_eq(keyfile_write("/nonexistent", 4, priv, &e), ERR_NOT_FOUND);
}
END_TEST

static void put(const char *name, const char *text, mode_t mode)
{
	unlink(path_of(name));
	ck_assert_int_eq(files_write(path_of(name), str_of(text), mode, OWNER_SELF, &e), OK);
}

#define GOOD "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

START_TEST(test_files_that_are_no_key)
{
	struct secret got = {0};
	struct stat st;

	ck_assert_int_eq(stat(path_of("4.key"), &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_size, 65);
	put("9.key", GOOD, 0600);
	ck_assert_int_eq(keyfile_read(dir, 9, &got, &e), OK);
	secret_free(&got);
	put("9.key", GOOD "\n", 0640);
	ck_assert_int_eq(keyfile_read(dir, 9, &got, &e), ERR_INTERNAL);
	put("9.key", GOOD "\n", 0604);
	ck_assert_int_eq(keyfile_read(dir, 9, &got, &e), ERR_INTERNAL);
	put("9.key", GOOD "0", 0600);
	ck_assert_int_eq(keyfile_read(dir, 9, &got, &e), ERR_INTERNAL);
	put("9.key", GOOD "\n\n", 0600);
	ck_assert_int_eq(keyfile_read(dir, 9, &got, &e), OK); /* what follows the line is not looked at */
	secret_free(&got);
	put("9.key", "x" GOOD, 0600);
	ck_assert_int_eq(keyfile_read(dir, 9, &got, &e), ERR_INTERNAL);
	put("9.key", "", 0600);
	ck_assert_int_eq(keyfile_read(dir, 9, &got, &e), ERR_INTERNAL);
	ck_assert_ptr_null(got.ptr);
}
END_TEST

START_TEST(test_links_pipes_and_open_directories_are_refused)
{
	struct secret got = {0};

	ck_assert_int_eq(symlink("4.key", path_of("9.key")), 0);
	ck_assert_int_eq(keyfile_read(dir, 9, &got, &e), ERR_INTERNAL);
	ck_assert_int_eq(mkfifo(path_of("10.key"), 0600), 0);
	ck_assert_int_eq(keyfile_read(dir, 10, &got, &e), ERR_INTERNAL);
	ck_assert_int_eq(mkdir(path_of("11.key"), 0700), 0);
	ck_assert_int_eq(keyfile_read(dir, 11, &got, &e), ERR_INTERNAL);
	ck_assert_int_eq(chmod(dir, 0770), 0);
	ck_assert_int_eq(keyfile_read(dir, 4, &got, &e), ERR_INTERNAL);
	ck_assert_int_eq(chmod(dir, 0750), 0);
	ck_assert_int_eq(keyfile_read(dir, 4, &got, &e), OK);
	secret_free(&got);
}
END_TEST

START_TEST(test_another_users_key_is_refused)
{
	struct secret got = {0};

	if (geteuid())
		return; /* only root can make one */
	ck_assert_int_eq(chown(path_of("4.key"), 12345, (gid_t)-1), 0);
	ck_assert_int_eq(keyfile_read(dir, 4, &got, &e), ERR_INTERNAL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sealed");
	TCase *t = tcase_create("sealed");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_opens_what_is_its_own);
	tcase_add_test(t, test_payload_is_any_bytes);
	tcase_add_loop_test(t, test_another_row_is_refused, 0, ARRAY_LEN(others));
	tcase_add_loop_test(t, test_odd_envelope_is_refused, 0, ARRAY_LEN(odd));
	tcase_add_test(t, test_broken_box_is_refused);
	tcase_add_test(t, test_other_key);
	tcase_add_test(t, test_sealed_again_is_the_same_to_the_new_key);
	tcase_add_test(t, test_key_is_never_replaced);
	tcase_add_test(t, test_files_that_are_no_key);
	tcase_add_test(t, test_links_pipes_and_open_directories_are_refused);
	tcase_add_test(t, test_another_users_key_is_refused);
	suite_add_tcase(s, t);
	return unit_run(s);
}
