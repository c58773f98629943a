/* Documents from outside, the views on them, building and writing. */
#include "base/json.h"
#include "unit.h"

#include <math.h>
#include <signal.h>

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct error e = {0};

	ck_assert_msg(json_parse(str_of(text), 1 << 20, &j, &e) == OK, "%s: %s", text, e.msg);
	return j;
}

static void check_text(const struct json *j, const char *want)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 20);

	json_write(j, &b);
	ck_assert_str_eq(b.ptr, want);
}

/* ---- reading text ---- */

static const struct {
	const char *text, *again; /* NULL: the same */
} documents[] = {
	{"null", NULL},
	{"true", NULL},
	{"\"\"", NULL},
	{" \t\r\n[ ] \n", "[]"},
	{"{}", NULL},
	{"{\"\":0}", NULL},
	{"{\"a\":null,\"b\":[null,null]}", NULL},
	{"-9223372036854775808", NULL},
	{"9223372036854775807", NULL},
	{"9223372036854775808", "9.223372036854776e+18"},
	{"[-0,0]", "[0,0]"},
	{"[1.0,1e2,-0.0,0.1,1.5e-7]", "[1.0,100.0,-0.0,0.1,1.5e-07]"},
	{"1e308", "1e+308"},
	{"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\\"\\\\/\\b\\f\\n\\r\\t\""},
	{"\"\\u0041\\u00e9\\u20AC\\ud83d\\uDE00\"", "\"A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
	{"\"\xef\xbf\xbf\x7f\"", "\"\xef\xbf\xbf\x7f\""},
	{"{\"a\":{\"a\":1},\"b\":{\"a\":2}}", NULL},
};

START_TEST(test_document)
{
	cleanup_json struct json *j = parse(documents[_i].text);

	check_text(j, documents[_i].again ? documents[_i].again : documents[_i].text);
}
END_TEST

#define BYTES(literal) {literal, sizeof(literal) - 1}

static const struct str not_documents[] = {
	/* nothing, or cut short */
	{NULL, 0}, BYTES(""), BYTES(" "), BYTES("{"), BYTES("["), BYTES("[1"), BYTES("[1,"), BYTES("{\"a\""), BYTES("{\"a\":"),
	BYTES("{\"a\":1"), BYTES("{\"a\":1,"), BYTES("\"a"), BYTES("\"a\\"), BYTES("\"\\u12"), BYTES("tru"), BYTES("-"),
	/* too much */
	BYTES("1 2"), BYTES("{}{}"), BYTES("[]]"), BYTES("truex"), BYTES("null\0"), BYTES("{} //x"), BYTES("\"a\"b"),
	/* commas and colons */
	BYTES("[1,]"), BYTES("[,1]"), BYTES("[1 2]"), BYTES("{\"a\":1,}"), BYTES("{,}"), BYTES("{\"a\"}"), BYTES("{\"a\",1}"),
	BYTES("[1:2]"), BYTES("{1:2}"), BYTES("{a:1}"), BYTES("{null:1}"), BYTES("[}"), BYTES("{]"),
	/* keys */
	BYTES("{\"a\":1,\"a\":1}"), BYTES("{\"a\":1,\"b\":2,\"\\u0061\":3}"), BYTES("[{\"x\":null,\"x\":null}]"),
	BYTES("{\"\":1,\"\":2}"), BYTES("{\"a\\u0000b\":1}"),
	/* numbers */
	BYTES("01"), BYTES("-01"), BYTES("+1"), BYTES(".5"), BYTES("5."), BYTES("1e"), BYTES("1e+"), BYTES("0x1"), BYTES("1e999"),
	BYTES("-1e999"), BYTES("NaN"), BYTES("nan"), BYTES("Infinity"), BYTES("-Infinity"), BYTES("1-2"), BYTES("--1"),
	/* words */
	BYTES("True"), BYTES("NULL"), BYTES("undefined"), BYTES("\xef\xbb\xbfnull"),
	/* strings */
	BYTES("'a'"), BYTES("\"\n\""), BYTES("\"\x01\""), BYTES("\"\\x\""), BYTES("\"\\u0000\""), BYTES("\"\\u00g0\""),
	BYTES("\"\\ud800\""), BYTES("\"\\udc00\""), BYTES("\"\\ud800\\u0041\""), BYTES("\"\\ud800\\ud800\""),
	BYTES("\"\\ud83d\\ude0\""), BYTES("\"a\0b\""), BYTES("\"\xff\""), BYTES("\"\xed\xa0\x80\""), BYTES("\"\xc0\x80\""),
	/* white space that is none */
	BYTES("[1\v]"), BYTES("\xc2\xa0null"), BYTES("[1/* */]"),
};

START_TEST(test_not_a_document)
{
	struct json *j = (struct json *)&j;
	struct error e = {0};

	ck_assert_int_eq(json_parse(not_documents[_i], 1 << 20, &j, &e), ERR_INVALID);
	ck_assert_ptr_eq(j, (struct json *)&j); /* untouched */
	ck_assert_uint_gt(strlen(e.msg), 0);
	ck_assert_int_eq(json_parse(not_documents[_i], 1 << 20, &j, NULL), ERR_INVALID);
}
END_TEST

START_TEST(test_error_says_where)
{
	struct json *j = NULL;
	struct error e = {0};

	ck_assert_int_eq(json_parse(STR("{\"a\": [1, x]}"), 100, &j, &e), ERR_INVALID);
	ck_assert_str_eq(e.msg, "JSON: unexpected character at byte 10");
}
END_TEST

/* n arrays or objects within each other. */
static struct json *parse_nested(int n, bool objects, enum err *r)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 20);
	struct json *j = NULL;

	for (int i = 0; i < n; i++)
		buf_adds(&b, objects ? "{\"a\":" : "[");
	buf_addc(&b, '0');
	for (int i = 0; i < n; i++)
		buf_addc(&b, objects ? '}' : ']');
	*r = json_parse(buf_str(&b), 1 << 20, &j, NULL);
	return j;
}

START_TEST(test_nested_too_deep)
{
	enum err r;

	for (int objects = 0; objects < 2; objects++) {
		json_free(parse_nested(JSON_DEPTH, objects, &r));
		ck_assert_int_eq(r, OK);
		ck_assert_ptr_null(parse_nested(JSON_DEPTH + 1, objects, &r));
		ck_assert_int_eq(r, ERR_INVALID);
		ck_assert_ptr_null(parse_nested(100000, objects, &r));
		ck_assert_int_eq(r, ERR_INVALID);
	}
}
END_TEST

START_TEST(test_too_large)
{
	struct json *j = NULL;

	ck_assert_int_eq(json_parse(STR("[1,2]"), 5, &j, NULL), OK);
	json_free(j);
	ck_assert_int_eq(json_parse(STR("[1,2]"), 4, &j, NULL), ERR_TOO_LARGE);
}
END_TEST

START_TEST(test_small_text_of_huge_memory)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 20);
	struct json *j = NULL;

	buf_addc(&b, '[');
	while (b.len < 1000000)
		buf_adds(&b, "{},");
	buf_adds(&b, "{}]");
	ck_assert_int_eq(json_parse(buf_str(&b), 1 << 20, &j, NULL), ERR_TOO_LARGE);
	/* A megabyte of numbers is an honest input. */
	buf_reset(&b);
	buf_addc(&b, '[');
	while (b.len < 1000000)
		buf_adds(&b, "0,");
	buf_adds(&b, "0]");
	ck_assert_int_eq(json_parse(buf_str(&b), 1 << 20, &j, NULL), OK);
	ck_assert_uint_gt(json_len(j), 400000);
	json_free(j);
}
END_TEST

/* ---- views ---- */

START_TEST(test_getters_and_their_defaults)
{
	cleanup_json struct json *j =
		parse("{\"s\":\"x\",\"i\":7,\"d\":1.5,\"b\":true,\"n\":null,\"a\":[1,{\"k\":\"v\"},null],\"o\":{}}");

	ck_assert_str_eq(json_cstr(j, "s"), "x");
	ck_assert_ptr_null(json_cstr(j, "i"));
	ck_assert_ptr_null(json_str(j, "n").ptr);
	ck_assert_ptr_null(json_str(j, "missing").ptr);
	ck_assert_int_eq(json_i64(j, "i", -1), 7);
	ck_assert_int_eq(json_i64(j, "d", -1), -1);
	ck_assert_int_eq(json_i64(j, "s", -1), -1);
	ck_assert_double_eq(json_double(j, "i", -1), 7);
	ck_assert_double_eq(json_double(j, "d", -1), 1.5);
	ck_assert_double_eq(json_double(j, "b", -1), -1);
	ck_assert(json_bool(j, "b", false));
	ck_assert(json_bool(j, "i", true) && !json_bool(j, "i", false));
	ck_assert(json_has(j, "n") && !json_get(j, "n") && !json_has(j, "missing"));
	ck_assert_uint_eq(json_len(json_get(j, "a")), 3);
	ck_assert_uint_eq(json_len(j), 7);
	ck_assert_uint_eq(json_len(json_get(j, "s")), 0);
	ck_assert_ptr_null(json_at(json_get(j, "a"), 3));
	ck_assert_ptr_null(json_at(j, 0));
	ck_assert_ptr_null(json_get(json_get(j, "a"), "0"));
	ck_assert_int_eq(json_type_of(json_path(j, "o")), JSON_OBJECT);
	ck_assert(str_eqz(json_as_str(json_path(j, "a.1.k")), "v"));
	ck_assert_ptr_null(json_path(j, "a.9.k"));
	ck_assert_ptr_null(json_path(j, "a.-1"));
	ck_assert_ptr_null(json_path(j, "a.01"));
	ck_assert_ptr_null(json_path(j, "s.x"));
	ck_assert_ptr_eq(json_path(j, "i"), json_get(j, "i"));
}
END_TEST

START_TEST(test_views_on_nothing)
{
	struct json_iter it = json_iter(NULL);

	ck_assert_int_eq(json_type_of(NULL), JSON_NULL);
	ck_assert_ptr_null(json_get(NULL, "a"));
	ck_assert_ptr_null(json_at(NULL, 0));
	ck_assert_ptr_null(json_path(NULL, "a.b"));
	ck_assert(!json_has(NULL, "a") && !json_len(NULL));
	ck_assert_int_eq(json_as_i64(NULL, 5), 5);
	ck_assert(!json_next(&it) && !json_next(&it));
	json_free(NULL);
}
END_TEST

START_TEST(test_iteration_keeps_order_and_survives_deletion)
{
	cleanup_json struct json *j = parse("{\"z\":1,\"a\":null,\"m\":3}");
	const char *const want[] = {"z", "a", "m"};
	int n = 0;

	for (struct json_iter it = json_iter(j); json_next(&it); n++) {
		ck_assert_int_lt(n, 3);
		ck_assert_str_eq(it.key, want[n]);
		if (n == 0)
			json_del(j, "z");
	}
	ck_assert_int_eq(n, 3);
	check_text(j, "{\"a\":null,\"m\":3}");
	for (struct json_iter it = json_iter(json_get(j, "m")); json_next(&it);)
		ck_abort_msg("a number has no members");
}
END_TEST

START_TEST(test_type_names)
{
	ck_assert_str_eq(json_type_name(JSON_STRING), "string");
	ck_assert_str_eq(json_type_name(JSON_BOOL), "boolean");
}
END_TEST

/* ---- building ---- */

START_TEST(test_building)
{
	cleanup_json struct json *j = json_object();
	struct json *a = json_array();
	cleanup_arena struct arena arena;

	arena_init(&arena, 1000);
	json_put(j, "a", a);
	json_add(a, json_new_i64(1));
	json_add(a, json_null());
	json_add_cstr(a, "x/y");
	json_add_cstr(a, NULL);
	json_put_id(j, "id", INT64_MAX);
	json_put_cstr(j, "n", NULL);
	json_put_str(j, "e", STR(""));
	json_put_str(j, "bad", STR("a\xff\0"));
	json_put_bool(j, "b", false);
	json_put_double(j, "nan", (double)NAN);
	json_put_double(j, "d", 0.1);
	json_put_raw(j, "raw", STR("{\"k\":[1]}"));
	json_put_raw(j, "none", STR(""));
	json_put_i64(j, "twice", 1);
	json_put_i64(j, "twice", 2);
	check_text(j, "{\"a\":[1,null,\"x/y\",null],\"id\":\"9223372036854775807\",\"n\":null,\"e\":\"\","
		      "\"bad\":\"a\xef\xbf\xbd\xef\xbf\xbd\",\"b\":false,\"nan\":null,\"d\":0.1,\"raw\":{\"k\":[1]},"
		      "\"none\":null,\"twice\":2}");
	ck_assert_str_eq(json_text(a, &arena), "[1,null,\"x/y\",null]");
	ck_assert_str_eq(json_text(NULL, &arena), "null");
	ck_assert_ptr_null(json_text(j, &(struct arena){.limit = 10}));
	ck_assert(json_has(j, "n") && !json_get(j, "n"));
}
END_TEST

static const double doubles[] = {0, 1, -1, 0.1, 1.0 / 3, 1e21, 123456789.125, 5e-324, 1.7976931348623157e308, 100, 1e15, 1e17};

START_TEST(test_double_survives_the_round_trip)
{
	cleanup_json struct json *first = json_new_double(doubles[_i]);
	cleanup_buf struct buf b = BUF_INIT(100);
	cleanup_json struct json *again = NULL;

	json_write(first, &b);
	again = parse(b.ptr);
	ck_assert_int_eq(json_type_of(again), JSON_DOUBLE);
	ck_assert(json_as_double(again, -7) <= doubles[_i] && json_as_double(again, -7) >= doubles[_i]);
}
END_TEST

START_TEST(test_malformed_raw_becomes_null)
{
	cleanup_json struct json *j = json_object();

	json_put_raw(j, "raw", STR("{\"k\":"));
	check_text(j, "{\"raw\":null}");
}
END_TEST

START_TEST(test_shared_node_lives_on)
{
	struct json *j = parse("{\"a\":[1]}");
	cleanup_json struct json *a = json_ref(json_get(j, "a"));

	json_free(j);
	check_text(a, "[1]");
}
END_TEST

START_TEST(test_reply_above_the_maximum)
{
	cleanup_json struct json *j = parse("[\"0123456789\"]");
	cleanup_buf struct buf b = BUF_INIT(8);

	json_write(j, &b);
	ck_assert(b.failed);
}
END_TEST

START_TEST(test_pretty_reads_back)
{
	cleanup_json struct json *j = parse("{\"a\":[1,{\"b\":null}],\"u\":\"http://x/\"}");
	cleanup_json struct json *again = NULL;
	cleanup_buf struct buf b = BUF_INIT(1000);

	json_write_pretty(j, &b);
	ck_assert_ptr_nonnull(strchr(b.ptr, '\n'));
	again = parse(b.ptr);
	check_text(again, "{\"a\":[1,{\"b\":null}],\"u\":\"http://x/\"}");
}
END_TEST

START_TEST(test_put_into_an_array)
{
	json_put(json_array(), "a", NULL);
}
END_TEST

START_TEST(test_add_to_null)
{
	json_add(NULL, NULL);
}
END_TEST

START_TEST(test_wipe)
{
	cleanup_json struct json *j = NULL;
	struct str inner, deep;

	ck_assert_int_eq(json_parse(STR("{\"a\":\"hidden\",\"b\":[1,{\"c\":\"a string that is so long that it has memory of its own\"}],\"d\":null}"), 1000, &j, NULL), OK);
	inner = json_str(j, "a");
	deep = json_str(json_path(j, "b.1"), "c");
	json_wipe(j);
	for (size_t i = 0; i < inner.len; i++)
		ck_assert_int_eq(inner.ptr[i], 0);
	for (size_t i = 0; i < deep.len; i++)
		ck_assert_int_eq(deep.ptr[i], 0);
	ck_assert_uint_gt(deep.len, 30);
	ck_assert_int_eq(json_as_i64(json_path(j, "b.0"), 0), 1);
	json_wipe(NULL);
}
END_TEST

START_TEST(test_write_wiped)
{
	cleanup_json struct json *j = json_object();
	cleanup_buf struct buf b = BUF_INIT(1000);
	struct str value;

	json_put_cstr(j, "token", "hidden");
	value = json_str(j, "token");
	json_write_wiped(j, &b);
	ck_assert_str_eq(b.ptr, "{\"token\":\"hidden\"}");
	for (size_t i = 0; i < value.len; i++)
		ck_assert_int_eq(value.ptr[i], 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("json");
	TCase *t = tcase_create("json");

	tcase_add_loop_test(t, test_document, 0, ARRAY_LEN(documents));
	tcase_add_loop_test(t, test_not_a_document, 0, ARRAY_LEN(not_documents));
	tcase_add_test(t, test_error_says_where);
	tcase_add_test(t, test_wipe);
	tcase_add_test(t, test_write_wiped);
	tcase_add_test(t, test_nested_too_deep);
	tcase_add_test(t, test_too_large);
	tcase_add_test(t, test_small_text_of_huge_memory);
	tcase_add_test(t, test_getters_and_their_defaults);
	tcase_add_test(t, test_views_on_nothing);
	tcase_add_test(t, test_iteration_keeps_order_and_survives_deletion);
	tcase_add_test(t, test_type_names);
	tcase_add_test(t, test_building);
	tcase_add_loop_test(t, test_double_survives_the_round_trip, 0, ARRAY_LEN(doubles));
	tcase_add_test(t, test_malformed_raw_becomes_null);
	tcase_add_test(t, test_shared_node_lives_on);
	tcase_add_test(t, test_reply_above_the_maximum);
	tcase_add_test(t, test_pretty_reads_back);
	tcase_add_test_raise_signal(t, test_put_into_an_array, SIGABRT);
	tcase_add_test_raise_signal(t, test_add_to_null, SIGABRT);
	suite_add_tcase(s, t);
	return unit_run(s);
}
