/* Names of workers at providers: what becomes of titles. */
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "domain/remote_name.h"
#include "unit.h"

static const struct {
	const char *title, *name; /* NULL = refused */
} titles[] = {
	{"Training", "gpupool-training"},
	{"  My  first worker! ", "gpupool-my-first-worker"},
	{"7 seas", "gpupool-7-seas"},
	{"42", "gpupool-42"},
	{"a--b__c..d", "gpupool-a-b-c-d"},
	{"-x-", "gpupool-x"},
	{"Ünïcödé Łódź", "gpupool-unicode-lodz"},
	{"\xc5\xbf\xc3\x97\xc3\xb7y", "gpupool-s-y"},
	{"日本 worker", "gpupool-worker"},
	{"go 🚀 fast", "gpupool-go-fast"},
	{"naïve\xf0\x9f\x9a\x80", "gpupool-naive"},
	{"x\xe2\x80\x8by", "gpupool-x-y"}, /* a zero-width space is a gap like others */
	{"日本", NULL},
	{"🚀🚀", NULL},
	{"!!!", NULL},
	{"---", NULL},
	{"", NULL},
	{"abcdefghijabcdefghijabcdefghijabcdefghij1", "gpupool-abcdefghijabcdefghijabcdefghijabcdefghij1"},
	{"abcdefghijabcdefghijabcdefghijabcdefghij12", "gpupool-abcdefghijabcdefghijabcdefghijabcdefghij1"},
	{"abcdefghijabcdefghijabcdefghijabcdefghij 2", "gpupool-abcdefghijabcdefghijabcdefghijabcdefghij"},
	{"abcdefghijabcdefghijabcdefghijabcdefghi 12", "gpupool-abcdefghijabcdefghijabcdefghijabcdefghi-1"},
	{"a title that is very much longer than what could ever be a name there", "gpupool-a-title-that-is-very-much-longer-than-wha"},
	/* not UTF-8, which nobody sends */
	{"a\xc3", "gpupool-a"},
	{"a\xff\xfe" "b", "gpupool-a-b"},
	{"a\xe2\x82", "gpupool-a"},
};

static void check_form(const char *name)
{
	size_t n = strlen(name);

	ck_assert_uint_le(n, REMOTE_NAME_MOST);
	ck_assert_int_eq(strncmp(name, "gpupool-", 8), 0);
	ck_assert_uint_eq(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-"), n);
	ck_assert_ptr_null(strstr(name, "--"));
	ck_assert_int_ne(name[n - 1], '-');
}

START_TEST(test_title)
{
	char name[REMOTE_NAME_SIZE];

	if (!titles[_i].name) {
		ck_assert(!remote_name_make(titles[_i].title, name));
		return;
	}
	ck_assert(remote_name_make(titles[_i].title, name));
	ck_assert_str_eq(name, titles[_i].name);
	check_form(name);
}
END_TEST

START_TEST(test_no_title)
{
	char a[REMOTE_NAME_SIZE], b[REMOTE_NAME_SIZE];

	crypto_init();
	ck_assert(remote_name_make(NULL, a));
	ck_assert(remote_name_make(NULL, b));
	ck_assert_uint_eq(strlen(a), 16);
	ck_assert_str_ne(a, b);
	check_form(a);
}
END_TEST

/* Every character alone and between letters makes a name or none, never an odd one. */
START_TEST(test_every_character)
{
	char title[8], name[REMOTE_NAME_SIZE];

	for (unsigned c = 1; c < 0x800; c++) {
		size_t n = 1;

		title[0] = 'a';
		if (c < 0x80) {
			title[n++] = (char)c;
		} else {
			title[n++] = (char)(0xc0 | c >> 6);
			title[n++] = (char)(0x80 | (c & 0x3f));
		}
		title[n++] = 'b';
		title[n] = '\0';
		ck_assert(remote_name_make(title, name));
		check_form(name);
		ck_assert_int_eq(name[8], 'a');
		ck_assert_int_eq(name[strlen(name) - 1], 'b');
	}
}
END_TEST

/* Kaggle makes names from titles: lower case, a dash for each run of other characters. */
START_TEST(test_title_of_a_name_makes_the_name_again)
{
	char title[REMOTE_NAME_SIZE];

	remote_name_title("gpupool-my-first-7", title);
	ck_assert_str_eq(title, "gpupool my first 7");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("remote_name");
	TCase *t = tcase_create("remote_name");

	tcase_add_loop_test(t, test_title, 0, ARRAY_LEN(titles));
	tcase_add_test(t, test_no_title);
	tcase_add_test(t, test_every_character);
	tcase_add_test(t, test_title_of_a_name_makes_the_name_again);
	suite_add_tcase(s, t);
	return unit_run(s);
}
