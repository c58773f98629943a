/* Times, durations and sizes as people read them. */
#include <check.h>

#include "unit.h"
#include "web/view_text.h"

#define SP "\u00a0"

static int64_t at(const char *rfc3339)
{
	int64_t ms;

	ck_assert_msg(view_time_parse(str_of(rfc3339), &ms), "%s", rfc3339);
	return ms;
}

START_TEST(test_times_are_read)
{
	static const char *const bad[] = {"", "x", "2026-11-24", "2026-11-24T08:12:46", "2026-11-24T08:12:46+01:00", "2026-11-24T08:1a:46Z",
					  "2026-11-24T08:12:46.xZ", "2026-00-24T08:12:46Z"};
	int64_t ms;

	ck_assert_int_eq(at("1970-01-01T00:00:00Z"), 0);
	ck_assert_int_eq(at("2026-11-24T08:12:46Z"), 1795507966000);
	ck_assert_int_eq(at("2026-11-24T08:12:46.073Z"), 1795507966073);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!view_time_parse(str_of(bad[i]), &ms), "%s", bad[i]);
}
END_TEST

START_TEST(test_times_by_distance)
{
	static const struct {
		const char *at, *text;
	} cases[] = {
		{"2026-11-24T00:00:00Z", "00:00" SP "UTC"},
		{"2026-11-24T23:59:59Z", "23:59" SP "UTC"},
		{"2026-11-23T23:59:00Z", "Mon 23:59" SP "UTC"},
		{"2026-11-25T07:42:00Z", "Wed 07:42" SP "UTC"},
		{"2026-11-19T14:20:00Z", "Thu 14:20" SP "UTC"},
		{"2026-11-18T14:20:00Z", "18 Nov 14:20" SP "UTC"},
		{"2025-11-24T14:20:00Z", "24 Nov 2025 14:20" SP "UTC"},
	};
	char text[VIEW_TEXT];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		view_time_text(view_words("en"), at(cases[i].at), at("2026-11-24T09:00:00Z"), text);
		ck_assert_str_eq(text, cases[i].text);
	}
	ck_assert_ptr_eq(view_words("xx"), view_words("en"));
	ck_assert_ptr_eq(view_words(NULL), view_words("en"));
}
END_TEST

START_TEST(test_hours)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} cases[] = {{0, "0\u00a0h"},	       {-1, "0\u00a0h"},	      {359, "0\u00a0h"},	 {360, "0.1\u00a0h"},
		     {20879, "5.7\u00a0h"}, {108000, "30\u00a0h"}, {107999, "29.9\u00a0h"}, {INT64_MAX, "2562047788015215.5\u00a0h"}};
	char text[VIEW_TEXT];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		view_hours_text(cases[i].seconds, text);
		ck_assert_str_eq(text, cases[i].text);
	}
}
END_TEST

START_TEST(test_durations)
{
	static const struct {
		int64_t seconds;
		const char *text, *field;
	} cases[] = {
		{0, "0" SP "s", "0d"},
		{59, "59" SP "s", "59s"},
		{60, "1" SP "min", "1m"},
		{108, "1" SP "min 48" SP "s", "108s"},
		{3480, "58" SP "min", "58m"},
		{7800, "2" SP "h 10" SP "min", "130m"},
		{39600, "11" SP "h", "11h"},
		{187200, "2" SP "d 4" SP "h", "52h"},
		{172800, "2" SP "d", "2d"},
	};
	char text[VIEW_TEXT];
	int64_t back;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		view_duration_text(cases[i].seconds, text);
		ck_assert_str_eq(text, cases[i].text);
		view_duration_field(cases[i].seconds, text);
		ck_assert_str_eq(text, cases[i].field);
		ck_assert(cases[i].seconds == 0 || (str_to_duration(str_of(text), &back) && back == cases[i].seconds));
	}
}
END_TEST

START_TEST(test_sizes)
{
	static const struct {
		int64_t bytes;
		const char *text;
	} cases[] = {
		{0, "0" SP "bytes"},
		{1023, "1023" SP "bytes"},
		{1024, "1" SP "kB"},
		{98566144, "94" SP "MB"},
		{14066000000, "13.1" SP "GB"},
		{INT64_MAX, "8388608" SP "TB"},
	};
	char text[VIEW_TEXT];

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		view_size_text(cases[i].bytes, text);
		ck_assert_str_eq(text, cases[i].text);
	}
	view_share_text(14066000000, 17179869184, text);
	ck_assert_str_eq(text, "13.1 / 16" SP "GB");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("view_text");
	TCase *t = tcase_create("view_text");

	tcase_add_test(t, test_times_are_read);
	tcase_add_test(t, test_times_by_distance);
	tcase_add_test(t, test_durations);
	tcase_add_test(t, test_hours);
	tcase_add_test(t, test_sizes);
	suite_add_tcase(s, t);
	return unit_run(s);
}
