/* Outcomes: the table is complete, messages are cut not overrun, BUG ends the process. */
#include "base/error.h"
#include "unit.h"

#include <signal.h>

START_TEST(test_every_outcome_has_name_and_status)
{
	for (int i = 0; i < ERR_COUNT; i++) {
		ck_assert_ptr_nonnull(err_name((enum err)i));
		ck_assert_int_ge(err_http_status((enum err)i), 200);
		ck_assert_int_lt(err_http_status((enum err)i), 600);
		for (int k = 0; k < i; k++)
			ck_assert_str_ne(err_name((enum err)i), err_name((enum err)k));
	}
	ck_assert_str_eq(err_name(OK), "ok");
	ck_assert_int_eq(err_http_status(ERR_TOO_LARGE), 413);
}
END_TEST

START_TEST(test_set_returns_the_code)
{
	struct error e;

	ck_assert_int_eq(error_set(NULL, ERR_GONE, "%s", "x"), ERR_GONE);
	ck_assert_int_eq(error_field(NULL, ERR_GONE, "f", "%s", "x"), ERR_GONE);
	ck_assert_int_eq(error_field(&e, ERR_INVALID, "a.b", "is %d", 7), ERR_INVALID);
	ck_assert_int_eq(e.code, ERR_INVALID);
	ck_assert_str_eq(e.field, "a.b");
	ck_assert_str_eq(e.msg, "is 7");
	ck_assert_int_eq(error_set(&e, ERR_QUOTA, "over"), ERR_QUOTA);
	ck_assert_str_eq(e.field, "");
}
END_TEST

START_TEST(test_message_longer_than_its_room)
{
	struct error e;
	char text[1000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	(void)error_field(&e, ERR_INVALID, text, "%s", text);
	ck_assert_uint_eq(strlen(e.msg), sizeof(e.msg) - 1);
	ck_assert_uint_eq(strlen(e.field), sizeof(e.field) - 1);
}
END_TEST

START_TEST(test_message_from_itself)
{
	struct error e;

	(void)error_set(&e, ERR_INVALID, "inner");
	(void)error_set(&e, ERR_INVALID, "outer: %s", e.msg);
	ck_assert_str_eq(e.msg, "outer: inner");
}
END_TEST

START_TEST(test_bug_aborts)
{
	BUG("on purpose: %d", 1);
}
END_TEST

START_TEST(test_unknown_outcome_aborts)
{
	err_name((enum err)ERR_COUNT);
}
END_TEST

START_TEST(test_no_memory_aborts)
{
	error_no_memory();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("error");
	TCase *t = tcase_create("error");

	tcase_add_test(t, test_every_outcome_has_name_and_status);
	tcase_add_test(t, test_set_returns_the_code);
	tcase_add_test(t, test_message_longer_than_its_room);
	tcase_add_test(t, test_message_from_itself);
	tcase_add_test_raise_signal(t, test_bug_aborts, SIGABRT);
	tcase_add_test_raise_signal(t, test_unknown_outcome_aborts, SIGABRT);
	tcase_add_test_raise_signal(t, test_no_memory_aborts, SIGABRT);
	suite_add_tcase(s, t);
	return unit_run(s);
}
