/* Tokens, passwords and their slots, digests with known answers, sealed boxes, text forms. */
#include "base/cleanup.h"
#include "base/crypto.h"
#include "unit.h"

#include <ctype.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>

/* ---- tokens ---- */

START_TEST(test_token)
{
	char a[CRYPTO_TOKEN_TEXT], b[CRYPTO_TOKEN_TEXT];

	crypto_token("gpusess", a);
	crypto_token("gpusess", b);
	ck_assert_uint_eq(strlen(a), CRYPTO_TOKEN_TEXT - 1);
	ck_assert(str_starts(str_of(a), "gpusess_"));
	ck_assert_str_ne(a, b);
	for (const char *p = a; *p; p++)
		ck_assert(isalnum((unsigned char)*p) || *p == '_' || *p == '-');
}
END_TEST

START_TEST(test_token_prefix_too_long)
{
	char token[CRYPTO_TOKEN_TEXT];

	crypto_token("eightchr", token);
}
END_TEST

START_TEST(test_uuid)
{
	char a[37], b[37];

	for (int i = 0; i < 100; i++) {
		crypto_uuid(a);
		crypto_uuid(b);
		ck_assert(str_is_uuid(str_of(a)));
		ck_assert_str_ne(a, b);
		ck_assert_int_eq(a[14], '4');
		ck_assert_ptr_nonnull(strchr("89ab", a[19]));
	}
}
END_TEST

/* ---- digests ---- */

static void check_hex(const uint8_t *bytes, const char *want)
{
	char hex[65];

	crypto_hex(bytes, 32, hex);
	ck_assert_str_eq(hex, want);
}

START_TEST(test_known_digests)
{
	uint8_t d[32];
	struct crypto_sha256 s;

	crypto_sha256(STR_NULL, d);
	check_hex(d, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	crypto_sha256_init(&s);
	crypto_sha256_add(&s, "a", 1);
	crypto_sha256_add(&s, NULL, 0);
	crypto_sha256_add(&s, "bc", 2);
	crypto_sha256_end(&s, d);
	check_hex(d, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	crypto_hash(STR("abc"), d);
	check_hex(d, "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319");
	crypto_hash(STR_NULL, d);
	check_hex(d, "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
}
END_TEST

START_TEST(test_mac_depends_on_key_and_text)
{
	uint8_t key[32] = {1}, other[32] = {2}, a[32], b[32];

	crypto_mac(key, STR("x"), a);
	crypto_mac(key, STR("x"), b);
	ck_assert(crypto_equal(a, b, 32));
	crypto_mac(other, STR("x"), b);
	ck_assert(!crypto_equal(a, b, 32));
	crypto_mac(key, STR("y"), b);
	ck_assert(!crypto_equal(a, b, 32));
	crypto_hash(STR("x"), b);
	ck_assert(!crypto_equal(a, b, 32));
	ck_assert(crypto_equal("", "", 0));
}
END_TEST

/* ---- passwords ---- */

START_TEST(test_password)
{
	char a[CRYPTO_PASSWORD_TEXT], b[CRYPTO_PASSWORD_TEXT];

	ck_assert_int_eq(crypto_password_hash("", STR("correct horse"), a), OK);
	ck_assert_int_eq(crypto_password_hash("", STR("correct horse"), b), OK);
	ck_assert_str_ne(a, b); /* salted */
	ck_assert(str_starts(str_of(a), "$argon2id$v=19$m=19456,t=2,p=1$"));
	ck_assert_int_eq(crypto_password_check("", STR("correct horse"), a), OK);
	ck_assert_int_eq(crypto_password_check("", STR("correct horsf"), a), ERR_UNAUTHORIZED);
	ck_assert_int_eq(crypto_password_check("", STR("correct horse\0"), a), ERR_UNAUTHORIZED);
	ck_assert_int_eq(crypto_password_check("", STR_NULL, a), ERR_UNAUTHORIZED);
	ck_assert_int_eq(crypto_password_check("", STR(""), NULL), ERR_UNAUTHORIZED);
}
END_TEST

START_TEST(test_check_against_a_malformed_hash)
{
	ck_assert_int_eq(crypto_password_check("", STR("x"), ""), ERR_UNAUTHORIZED);
	ck_assert_int_eq(crypto_password_check("", STR("x"), "x"), ERR_UNAUTHORIZED);
	ck_assert_int_eq(crypto_password_check("", STR("x"), "$argon2id$v=19$m=19456,t=2,p=1$AAAA"), ERR_UNAUTHORIZED);
}
END_TEST

static int hold(const char *dir, int slot)
{
	char path[100];
	int fd;

	snprintf(path, sizeof(path), "%s/password.%d.lock", dir, slot);
	fd = open(path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
	return fd;
}

START_TEST(test_third_hash_at_once)
{
	char dir[] = "/tmp/gpupool-slots-XXXXXX", path[100], text[CRYPTO_PASSWORD_TEXT];
	int first, second;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	first = hold(dir, 0);
	ck_assert_int_eq(crypto_password_hash(dir, STR("x"), text), OK);
	second = hold(dir, 1);
	ck_assert_int_eq(crypto_password_hash(dir, STR("x"), text), ERR_UNAVAILABLE);
	ck_assert_int_eq(crypto_password_check(dir, STR("x"), text), ERR_UNAVAILABLE);
	ck_assert_int_eq(crypto_password_check(dir, STR("x"), NULL), ERR_UNAVAILABLE);
	close(first);
	ck_assert_int_eq(crypto_password_check(dir, STR("x"), text), OK);
	first = hold(dir, 0); /* a check gives its slot back */
	crypto_password_slots(3);
	ck_assert_int_eq(crypto_password_check(dir, STR("x"), text), OK);
	close(first);
	close(second);
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/password.%d.lock", dir, i);
		ck_assert_int_eq(unlink(path), 0);
	}
	ck_assert_int_eq(rmdir(dir), 0);
	ck_assert_int_eq(crypto_password_hash(dir, STR("x"), text), ERR_INTERNAL);
}
END_TEST

/* ---- sealed boxes ---- */

START_TEST(test_seal_and_open)
{
	uint8_t pub[CRYPTO_PUBLIC], priv[CRYPTO_PRIVATE], other_pub[CRYPTO_PUBLIC], other_priv[CRYPTO_PRIVATE];
	uint8_t box[6 + CRYPTO_SEAL_EXTRA], plain[6];
	struct str sealed = {(const char *)box, sizeof(box)};

	crypto_keypair(pub, priv);
	crypto_keypair(other_pub, other_priv);
	crypto_seal(pub, STR("secret"), box);
	ck_assert(crypto_open(pub, priv, sealed, plain));
	ck_assert_mem_eq(plain, "secret", 6);
	ck_assert(!crypto_open(other_pub, other_priv, sealed, plain));
	for (size_t i = 0; i < sizeof(box); i++) {
		box[i] ^= 1;
		ck_assert(!crypto_open(pub, priv, sealed, plain));
		box[i] ^= 1;
	}
	for (size_t len = 0; len < sizeof(box); len++)
		ck_assert(!crypto_open(pub, priv, (struct str){sealed.ptr, len}, plain));
	ck_assert(crypto_open(pub, priv, sealed, plain));
}
END_TEST

START_TEST(test_seal_nothing)
{
	uint8_t pub[CRYPTO_PUBLIC], priv[CRYPTO_PRIVATE], box[CRYPTO_SEAL_EXTRA], plain[1];

	crypto_keypair(pub, priv);
	crypto_seal(pub, STR_NULL, box);
	ck_assert(crypto_open(pub, priv, (struct str){(const char *)box, sizeof(box)}, plain));
}
END_TEST

/* ---- text forms ---- */

START_TEST(test_hex)
{
	uint8_t bytes[3] = {0};
	char text[7];

	crypto_hex("\x00\x7f\xff", 3, text);
	ck_assert_str_eq(text, "007fff");
	ck_assert(crypto_unhex(STR("007fff"), bytes, 3));
	ck_assert_mem_eq(bytes, "\x00\x7f\xff", 3);
	ck_assert(crypto_unhex(STR(""), bytes, 0));
	ck_assert(!crypto_unhex(STR("007ff"), bytes, 3));
	ck_assert(!crypto_unhex(STR("007fffff"), bytes, 3));
	ck_assert(!crypto_unhex(STR("007f"), bytes, 3));
	ck_assert(!crypto_unhex(STR("007ffg"), bytes, 3));
	ck_assert(!crypto_unhex(STR("00:7ff"), bytes, 3));
	ck_assert(!crypto_unhex(STR("007ff\xff"), bytes, 3));
	ck_assert(!crypto_unhex(STR("007ff\0"), bytes, 3));
}
END_TEST

static const char *const not_base64[] = {
	"Zg", "Zg=", "Z", "Zg==\n", "Zg== ", "Zh==", "Zm9=", "Zg==Zg==", "Z===", "====", "Zm9-", "Zm9_", "Zm\n9", "Zm9vY",
	"\xff\xff\xff\xff", "g\xff\xffZmg==", "Zm9\xc1",
};

START_TEST(test_not_base64)
{
	cleanup_buf struct buf b = BUF_INIT(100);

	ck_assert(!crypto_unbase64(str_of(not_base64[_i]), &b));
	ck_assert_uint_eq(b.len, 0);
}
END_TEST

START_TEST(test_base64_of_every_length)
{
	cleanup_buf struct buf text = BUF_INIT(10000), back = BUF_INIT(10000), small = BUF_INIT(4);
	uint8_t bytes[3000];

	crypto_random(bytes, sizeof(bytes));
	for (size_t len = 0; len < sizeof(bytes); len += 1 + len / 20) {
		buf_reset(&text);
		buf_reset(&back);
		crypto_base64(bytes, len, &text);
		ck_assert_uint_eq(text.len, (len + 2) / 3 * 4);
		ck_assert(crypto_unbase64(buf_str(&text), &back));
		ck_assert_uint_eq(back.len, len);
		if (len)
			ck_assert_mem_eq(back.ptr, bytes, len);
	}
	buf_reset(&text);
	crypto_base64("foob", 4, &text);
	ck_assert_str_eq(text.ptr, "Zm9vYg==");
	ck_assert(crypto_unbase64(STR("Zm9vYg=="), &small));
	ck_assert(!crypto_unbase64(STR("Zm9v"), &small)); /* above its maximum */
}
END_TEST

/* ---- secrets ---- */

START_TEST(test_secret)
{
	cleanup_secret struct secret s = secret_new(STR("a\0b"));
	struct secret none = {0};

	ck_assert_uint_eq(s.len, 3);
	ck_assert_mem_eq(s.ptr, "a\0b", 4);
	secret_free(&none);
	none = secret_new(STR_NULL);
	ck_assert_str_eq(none.ptr, "");
	secret_free(&none);
	secret_free(&none);
}
END_TEST

START_TEST(test_secret_written_to)
{
	struct secret s = secret_new(STR("abc"));

	/* ASan would report the fault before the kernel's signal. */
	signal(SIGSEGV, SIG_DFL);
	s.ptr[0] = 'x';
}
END_TEST

START_TEST(test_wipe)
{
	char text[] = "secret";

	crypto_wipe(text, sizeof(text));
	for (size_t i = 0; i < sizeof(text); i++)
		ck_assert_int_eq(text[i], 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("crypto");
	TCase *t = tcase_create("crypto");

	crypto_init();
	crypto_init();
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_token);
	tcase_add_test_raise_signal(t, test_token_prefix_too_long, SIGABRT);
	tcase_add_test(t, test_uuid);
	tcase_add_test(t, test_known_digests);
	tcase_add_test(t, test_mac_depends_on_key_and_text);
	tcase_add_test(t, test_password);
	tcase_add_test(t, test_check_against_a_malformed_hash);
	tcase_add_test(t, test_third_hash_at_once);
	tcase_add_test(t, test_seal_and_open);
	tcase_add_test(t, test_seal_nothing);
	tcase_add_test(t, test_hex);
	tcase_add_loop_test(t, test_not_base64, 0, ARRAY_LEN(not_base64));
	tcase_add_test(t, test_base64_of_every_length);
	tcase_add_test(t, test_secret);
	tcase_add_test_raise_signal(t, test_secret_written_to, SIGSEGV);
	tcase_add_test(t, test_wipe);
	suite_add_tcase(s, t);
	return unit_run(s);
}
