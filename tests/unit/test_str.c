/* Slices, the strict parsers, buffers with a maximum, escaping. */
#include "base/str.h"
#include "unit.h"

#include <signal.h>

#define BYTES(literal) {literal, sizeof(literal) - 1}

/* ---- slices ---- */

START_TEST(test_compare)
{
	ck_assert(str_eq(STR_NULL, STR("")));
	ck_assert(str_eq(STR("a\0b"), STR("a\0b")));
	ck_assert(!str_eq(STR("a\0b"), STR("a\0c")));
	ck_assert(!str_eqz(STR("abc"), "ab"));
	ck_assert(str_eqz(STR_NULL, NULL));
	ck_assert(str_ieqz(STR("Content-TYPE"), "content-type"));
	ck_assert(!str_ieqz(STR("Content-Type "), "content-type"));
	/* Only letters differ by case: @ and ` must not be equal. */
	ck_assert(!str_ieqz(STR("@"), "`"));
	ck_assert(str_starts(STR("abc"), "ab") && str_starts(STR_NULL, ""));
	ck_assert(!str_starts(STR("a"), "ab"));
	ck_assert(str_ends(STR("abc"), "bc") && !str_ends(STR("c"), "bc"));
	ck_assert_ptr_null(str_of(NULL).ptr);
}
END_TEST

START_TEST(test_trim)
{
	ck_assert(str_eqz(str_trim(STR(" \t\r\n a b \v\f")), "a b"));
	ck_assert_uint_eq(str_trim(STR("  ")).len, 0);
	ck_assert_uint_eq(str_trim(STR_NULL).len, 0);
}
END_TEST

START_TEST(test_cut_until_exhausted)
{
	struct str rest = STR("a,,b,"), part;

	ck_assert(str_cut(&rest, ',', &part) && str_eqz(part, "a"));
	ck_assert(str_cut(&rest, ',', &part) && str_eqz(part, ""));
	ck_assert(str_cut(&rest, ',', &part) && str_eqz(part, "b"));
	ck_assert(str_cut(&rest, ',', &part) && str_eqz(part, ""));
	ck_assert(!str_cut(&rest, ',', &part));
	rest = STR("");
	ck_assert(str_cut(&rest, ',', &part) && part.len == 0 && !rest.ptr);
	ck_assert_int_eq(str_index(STR("abc"), 'c'), 2);
	ck_assert_int_eq(str_index(STR_NULL, 'c'), -1);
}
END_TEST

/* ---- numbers ---- */

static const struct {
	const char *text;
	int64_t value;
} integers[] = {
	{"0", 0}, {"7", 7}, {"-7", -7}, {"10", 10},
	{"9223372036854775807", INT64_MAX}, {"-9223372036854775808", INT64_MIN},
};

START_TEST(test_integer)
{
	int64_t v = 42;

	ck_assert(str_to_i64(str_of(integers[_i].text), INT64_MIN, INT64_MAX, &v));
	ck_assert_int_eq(v, integers[_i].value);
}
END_TEST

static const struct str not_integers[] = {
	BYTES(""), BYTES("-"), BYTES("+1"), BYTES(" 1"), BYTES("1 "), BYTES("01"), BYTES("-0"), BYTES("-01"),
	BYTES("1\0"), BYTES("0x10"), BYTES("1e3"), BYTES("1.0"), BYTES("١"), BYTES("--1"), BYTES("9223372036854775808"),
	BYTES("-9223372036854775809"), BYTES("99999999999999999999999999"),
};

START_TEST(test_not_an_integer)
{
	int64_t v = 42;

	ck_assert(!str_to_i64(not_integers[_i], INT64_MIN, INT64_MAX, &v));
	ck_assert_int_eq(v, 42);
}
END_TEST

START_TEST(test_integer_out_of_bounds)
{
	int64_t v = 42;

	ck_assert(str_to_i64(STR("5"), 5, 6, &v) && str_to_i64(STR("6"), 5, 6, &v));
	ck_assert(!str_to_i64(STR("4"), 5, 6, &v) && !str_to_i64(STR("7"), 5, 6, &v));
	ck_assert_int_eq(v, 6);
	ck_assert(str_to_id(STR("1"), &v) && str_to_id(STR("9223372036854775807"), &v));
	ck_assert(!str_to_id(STR("0"), &v) && !str_to_id(STR("-1"), &v) && !str_to_id(STR("9223372036854775808"), &v));
}
END_TEST

START_TEST(test_double)
{
	cleanup_buf struct buf lot = BUF_INIT(1000);
	double v = 0;

	ck_assert(str_to_double(STR("-1.5e-3"), &v) && v > -0.0016 && v < -0.0014);
	ck_assert(str_to_double(STR("0"), &v) && v <= 0 && v >= 0);
	ck_assert(str_to_double(STR("1E+2"), &v) && v > 99 && v < 101);
	buf_addc(&lot, '1');
	for (int i = 0; i < 200; i++)
		buf_addc(&lot, '0');
	ck_assert(str_to_double(buf_str(&lot), &v) && v > 0.9e200);
}
END_TEST

static const char *const not_doubles[] = {
	"", ".", "-", "1.", ".5", "1e", "1e+", "+1", " 1", "1 ", "01", "0x1p3", "nan", "inf", "Infinity", "1e999", "1,5", "--1",
};

START_TEST(test_not_a_double)
{
	double v;

	ck_assert(!str_to_double(str_of(not_doubles[_i]), &v));
}
END_TEST

START_TEST(test_units)
{
	int64_t v = 42;

	ck_assert(str_to_duration(STR("90"), &v) && v == 90);
	ck_assert(str_to_duration(STR("90s"), &v) && v == 90);
	ck_assert(str_to_duration(STR("15m"), &v) && v == 900);
	ck_assert(str_to_duration(STR("2h"), &v) && v == 7200);
	ck_assert(str_to_duration(STR("7d"), &v) && v == 604800);
	ck_assert(str_to_size(STR("64k"), &v) && v == 65536);
	ck_assert(str_to_size(STR("2g"), &v) && v == 2147483648);
	ck_assert(str_to_size(STR("0"), &v) && v == 0);
}
END_TEST

static const char *const not_units[] = {
	"", "s", "m", "-1", "-1m", "1 m", "1M", "1mm", "1.5m", "1w", "9223372036854775807m",
};

START_TEST(test_not_a_unit)
{
	int64_t v = 42;

	ck_assert(!str_to_duration(str_of(not_units[_i]), &v));
	ck_assert(!str_to_size(str_of(not_units[_i]), &v));
	ck_assert_int_eq(v, 42);
}
END_TEST

START_TEST(test_uuid)
{
	ck_assert(str_is_uuid(STR("3d3da043-b76e-40cc-b83f-7c3f738c088b")));
	ck_assert(!str_is_uuid(STR("3D3DA043-b76e-40cc-b83f-7c3f738c088b")));
	ck_assert(!str_is_uuid(STR("3d3da043-b76e-40cc-b83f-7c3f738c088")));
	ck_assert(!str_is_uuid(STR("3d3da043-b76e-40cc-b83f-7c3f738c088bb")));
	ck_assert(!str_is_uuid(STR("3d3da0430b76e-40cc-b83f-7c3f738c088b")));
	ck_assert(!str_is_uuid(STR("3d3da04g-b76e-40cc-b83f-7c3f738c088b")));
	ck_assert(!str_is_uuid(STR_NULL));
}
END_TEST

/* ---- UTF-8 ---- */

static const struct str well_formed[] = {
	BYTES(""), BYTES("a"), BYTES("\xc2\x80"), BYTES("\xdf\xbf"), BYTES("\xe0\xa0\x80"), BYTES("\xed\x9f\xbf"),
	BYTES("\xee\x80\x80"), BYTES("\xef\xbf\xbf"), BYTES("\xf0\x90\x80\x80"), BYTES("\xf4\x8f\xbf\xbf"), BYTES("a€😀"),
};

static const struct str malformed[] = {
	BYTES("\0"), BYTES("a\0b"), BYTES("\x80"), BYTES("\xc0\x80"), BYTES("\xc1\xbf"), BYTES("\xc2"), BYTES("\xc2\x7f"),
	BYTES("\xc2\xc0"), BYTES("\xe0\x9f\xbf"), BYTES("\xed\xa0\x80"), BYTES("\xed\xbf\xbf"), BYTES("\xe2\x82"),
	BYTES("\xf0\x8f\xbf\xbf"), BYTES("\xf4\x90\x80\x80"), BYTES("\xf5\x80\x80\x80"), BYTES("\xff"), BYTES("\xf0\x90\x80"),
	BYTES("a\xe2\x28\xa1"),
};

START_TEST(test_utf8)
{
	ck_assert(str_is_utf8(well_formed[_i]));
}
END_TEST

START_TEST(test_malformed_utf8_and_its_repair)
{
	cleanup_buf struct buf b = BUF_INIT(1000);

	ck_assert(!str_is_utf8(malformed[_i]));
	buf_add_text(&b, malformed[_i], false);
	ck_assert(str_is_utf8(buf_str(&b)));
	ck_assert_ptr_nonnull(strstr(b.ptr, "\xef\xbf\xbd"));
}
END_TEST

/* ---- buffers ---- */

START_TEST(test_buffer_at_its_maximum)
{
	cleanup_buf struct buf b = BUF_INIT(5);

	ck_assert_str_eq(buf_str(&b).ptr, "");
	buf_adds(&b, "abc");
	buf_adds(&b, "de");
	ck_assert(!b.failed);
	buf_addc(&b, 'f');
	ck_assert(b.failed);
	ck_assert_str_eq(b.ptr, "abcde");
	/* Once failed, nothing more is taken: no text with a hole in it. */
	buf_consume(&b, 3);
	buf_addc(&b, 'g');
	ck_assert_str_eq(b.ptr, "de");
	buf_reset(&b);
	buf_addf(&b, "%d", 12345);
	ck_assert(!b.failed);
	ck_assert_str_eq(b.ptr, "12345");
	buf_addf(&b, "%s", "");
	ck_assert(!b.failed);
}
END_TEST

START_TEST(test_buffer_without_room)
{
	cleanup_buf struct buf none = BUF_INIT(0), huge = BUF_INIT(SIZE_MAX);

	buf_add(&none, "", 0);
	ck_assert(!none.failed);
	buf_addf(&none, "%c", 'x');
	ck_assert(none.failed);
	buf_addc(&huge, 'x'); /* cannot also hold a NUL */
	ck_assert(huge.failed);
}
END_TEST

START_TEST(test_buffer_grows)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 20);

	for (int i = 0; i < 10000; i++)
		buf_addf(&b, "%04d", i);
	ck_assert_uint_eq(b.len, 40000);
	ck_assert(!memcmp(b.ptr + 4 * 1234, "1234", 4));
	ck_assert_uint_eq(strlen(b.ptr), 40000);
	buf_consume(&b, 39996);
	ck_assert_str_eq(b.ptr, "9999");
}
END_TEST

START_TEST(test_consume_more_than_there_is)
{
	cleanup_buf struct buf b = BUF_INIT(10);

	buf_adds(&b, "ab");
	buf_consume(&b, 3);
}
END_TEST

/* ---- escaping ---- */

static const struct {
	struct str in;
	const char *json, *html, *url, *plain;
} escapes[] = {
	{BYTES(""), "\"\"", "", "", ""},
	{BYTES("a b"), "\"a b\"", "a b", "a%20b", "a b"},
	{BYTES("\"\\/"), "\"\\\"\\\\/\"", "&quot;\\/", "%22%5C%2F", "\"\\/"},
	{BYTES("<&>'"), "\"<&>'\"", "&lt;&amp;&gt;&#39;", "%3C%26%3E%27", "<&>'"},
	{BYTES("\t\n\r"), "\"\\t\\n\\r\"", "\t\n\r", "%09%0A%0D", "\t\n"},
	{BYTES("\x1b[31m\x7f"), "\"\\u001b[31m\\u007f\"", "\x1b[31m\x7f", "%1B%5B31m%7F", "[31m"},
	{BYTES("é\xc2\x9b"), "\"é\xc2\x9b\"", "é\xc2\x9b", "%C3%A9%C2%9B", "é"},
	{BYTES("a\xff"), "\"a\xef\xbf\xbd\"", "a\xff", "a%FF", "a\xef\xbf\xbd"},
	{BYTES("\0"), "\"\xef\xbf\xbd\"", NULL, "%00", ""},
	{BYTES("-._~"), "\"-._~\"", "-._~", "-._~", "-._~"},
};

START_TEST(test_escape)
{
	cleanup_buf struct buf b = BUF_INIT(1000);

	buf_add_json(&b, escapes[_i].in);
	ck_assert_str_eq(b.ptr, escapes[_i].json);
	buf_reset(&b);
	buf_add_url(&b, escapes[_i].in);
	ck_assert_str_eq(buf_str(&b).ptr, escapes[_i].url);
	buf_reset(&b);
	buf_add_text(&b, escapes[_i].in, true);
	ck_assert_str_eq(buf_str(&b).ptr, escapes[_i].plain);
	buf_reset(&b);
	buf_add_html(&b, escapes[_i].in);
	if (escapes[_i].html)
		ck_assert_str_eq(buf_str(&b).ptr, escapes[_i].html);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("str");
	TCase *t = tcase_create("str");

	tcase_add_test(t, test_compare);
	tcase_add_test(t, test_trim);
	tcase_add_test(t, test_cut_until_exhausted);
	tcase_add_loop_test(t, test_integer, 0, ARRAY_LEN(integers));
	tcase_add_loop_test(t, test_not_an_integer, 0, ARRAY_LEN(not_integers));
	tcase_add_test(t, test_integer_out_of_bounds);
	tcase_add_test(t, test_double);
	tcase_add_loop_test(t, test_not_a_double, 0, ARRAY_LEN(not_doubles));
	tcase_add_test(t, test_units);
	tcase_add_loop_test(t, test_not_a_unit, 0, ARRAY_LEN(not_units));
	tcase_add_test(t, test_uuid);
	tcase_add_loop_test(t, test_utf8, 0, ARRAY_LEN(well_formed));
	tcase_add_loop_test(t, test_malformed_utf8_and_its_repair, 0, ARRAY_LEN(malformed));
	tcase_add_test(t, test_buffer_at_its_maximum);
	tcase_add_test(t, test_buffer_without_room);
	tcase_add_test(t, test_buffer_grows);
	tcase_add_test_raise_signal(t, test_consume_more_than_there_is, SIGABRT);
	tcase_add_loop_test(t, test_escape, 0, ARRAY_LEN(escapes));
	suite_add_tcase(s, t);
	return unit_run(s);
}
