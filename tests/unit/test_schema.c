/* Field tables: judging JSON, reading queries and forms, describing themselves. */
#include <string.h>

#include "unit.h"
#include "web/form.h"
#include "web/openapi.h"
#include "web/schema.h"

static const char *const colours[] = {"red", "blue", NULL};

static const struct field inner[] = {
	{"x", FIELD_INT, FIELD_REQUIRED, -5, 5},
	{"note", FIELD_STRING},
	{0},
};

static const struct field table[] = {
	{"name", FIELD_STRING, FIELD_REQUIRED, 2, 5},
	{"text", FIELD_TEXT, 0, 0, 20},
	{"count", FIELD_INT},
	{"share", FIELD_NUMBER, 0, 0.5, 1.5},
	{"on", FIELD_BOOL},
	{"id", FIELD_ID},
	{"colour", FIELD_ENUM, .choices = colours},
	{"at", FIELD_TIME},
	{"lease", FIELD_UUID},
	{"tags", FIELD_STRINGS, 0, 0, 3, .item_max = 4},
	{"points", FIELD_LIST, 0, 1, 2, .nested = inner},
	{"point", FIELD_OBJECT, FIELD_NULLABLE, .nested = inner},
	{"bag", FIELD_OBJECT},
	{"any", FIELD_ANY},
	{"names", FIELD_NAMES, 0, 1, 2},
	{0},
};

static struct arena arena;

static void setup(void)
{
	arena_init(&arena, 1 << 20);
}

static void teardown(void)
{
	arena_free(&arena);
}

/* The fields at fault, "a b"; "" = none. */
static const char *faults(const char *text, bool lenient)
{
	static char list[1024];
	cleanup_json struct json *j = NULL;
	struct field_errors f = {.count = 0};
	struct error e = {0};

	ck_assert_msg(json_parse(str_of(text), 1 << 20, &j, &e) == OK, "%s: %s", text, e.msg);
	schema_check(table, j, lenient, &arena, &f);
	list[0] = '\0';
	for (int i = 0; i < f.count; i++)
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%s", i ? " " : "", f.list[i].field);
	return list;
}

static const struct {
	const char *json, *faults;
} cases[] = {
	{"{\"name\":\"ab\"}", ""},
	{"{}", "name"},
	{"{\"name\":null}", "name"},
	{"{\"name\":\"a\"}", "name"},
	{"{\"name\":\"abcdef\"}", "name"},
	/* Characters, not bytes. */
	{"{\"name\":\"äöüß€\"}", ""},
	{"{\"name\":\"ab\\n\"}", "name"},
	{"{\"name\":\"ab\\u007f\"}", "name"},
	{"{\"name\":\"ab\\u0085\"}", "name"},
	{"{\"name\":\"ab\",\"text\":\"a\\n\\tb\\r\\n\"}", ""},
	{"{\"name\":\"ab\",\"text\":\"a\\u001b[1m\"}", "text"},
	{"{\"name\":\"ab\",\"text\":\"123456789012345678901\"}", "text"},
	{"{\"name\":\"ab\",\"count\":0}", ""},
	{"{\"name\":\"ab\",\"count\":-1}", "count"},
	{"{\"name\":\"ab\",\"count\":5.0}", ""},
	{"{\"name\":\"ab\",\"count\":5.5}", "count"},
	{"{\"name\":\"ab\",\"count\":\"5\"}", "count"},
	{"{\"name\":\"ab\",\"count\":9007199254740992}", ""},
	{"{\"name\":\"ab\",\"count\":9007199254740994}", "count"},
	{"{\"name\":\"ab\",\"share\":1}", ""},
	{"{\"name\":\"ab\",\"share\":0.4}", "share"},
	{"{\"name\":\"ab\",\"on\":1}", "on"},
	{"{\"name\":\"ab\",\"id\":\"17\"}", ""},
	{"{\"name\":\"ab\",\"id\":17}", ""},
	{"{\"name\":\"ab\",\"id\":\"017\"}", "id"},
	{"{\"name\":\"ab\",\"id\":0}", "id"},
	{"{\"name\":\"ab\",\"id\":\"99999999999999999999\"}", "id"},
	{"{\"name\":\"ab\",\"colour\":\"red\"}", ""},
	{"{\"name\":\"ab\",\"colour\":\"Red\"}", "colour"},
	{"{\"name\":\"ab\",\"at\":\"2026-02-28T23:59:59Z\"}", ""},
	{"{\"name\":\"ab\",\"at\":\"2026-02-28T23:59:59.123+01:00\"}", ""},
	{"{\"name\":\"ab\",\"at\":\"2026-02-29T23:59:59Z\"}", "at"},
	{"{\"name\":\"ab\",\"at\":\"2028-02-29T23:59:59Z\"}", ""},
	{"{\"name\":\"ab\",\"at\":\"2026-02-28T24:00:00Z\"}", "at"},
	{"{\"name\":\"ab\",\"at\":\"2026-02-28T23:59:59\"}", "at"},
	{"{\"name\":\"ab\",\"at\":\"2026-02-28T23:59:59.Z\"}", "at"},
	{"{\"name\":\"ab\",\"at\":\"2026-02-28 23:59:59Z\"}", "at"},
	{"{\"name\":\"ab\",\"lease\":\"01234567-89ab-cdef-0123-456789abcdef\"}", ""},
	{"{\"name\":\"ab\",\"lease\":\"01234567-89AB-cdef-0123-456789abcdef\"}", "lease"},
	{"{\"name\":\"ab\",\"tags\":[\"a\",\"bcde\"]}", ""},
	{"{\"name\":\"ab\",\"tags\":[\"a\",\"bcdef\",\"\",4]}", "tags"},
	{"{\"name\":\"ab\",\"tags\":[\"a\",\"bcdef\",\"\"]}", "tags.1 tags.2"},
	{"{\"name\":\"ab\",\"points\":[{\"x\":1}]}", ""},
	{"{\"name\":\"ab\",\"points\":[]}", "points"},
	{"{\"name\":\"ab\",\"points\":[{\"x\":9},{\"y\":1}]}", "points.0.x points.1.y points.1.x"},
	{"{\"name\":\"ab\",\"points\":[3]}", "points.0"},
	{"{\"name\":\"ab\",\"point\":null}", ""},
	{"{\"name\":\"ab\",\"point\":[]}", "point"},
	{"{\"name\":\"ab\",\"bag\":{\"a\":{\"b\":[1,null]}}}", ""},
	{"{\"name\":\"ab\",\"bag\":[]}", "bag"},
	{"{\"name\":\"ab\",\"any\":[1]}", ""},
	{"{\"name\":\"ab\",\"names\":\"T4\"}", ""},
	{"{\"name\":\"ab\",\"names\":[\"T4\",\"A100\"]}", ""},
	{"{\"name\":\"ab\",\"names\":[]}", "names"},
	{"{\"name\":\"ab\",\"names\":{}}", "names"},
	{"{\"nom\":\"ab\",\"nmae\":\"x\"}", "nom nmae name"},
};

START_TEST(test_cases)
{
	const char *want = cases[_i].faults;

	ck_assert_msg(!strcmp(faults(cases[_i].json, false), want), "%s: %s", cases[_i].json, faults(cases[_i].json, false));
}
END_TEST

START_TEST(test_document_that_is_no_object)
{
	struct field_errors f = {.count = 0};
	cleanup_json struct json *list = json_array();

	schema_check(table, list, false, &arena, &f);
	schema_check(table, NULL, true, &arena, &f);
	ck_assert_int_eq(f.count, 2);
}
END_TEST

START_TEST(test_lenient_ignores_the_unknown_and_nothing_else)
{
	ck_assert_str_eq(faults("{\"name\":\"ab\",\"later\":1,\"point\":{\"x\":1,\"z\":2}}", true), "");
	ck_assert_str_eq(faults("{\"name\":\"a\",\"later\":1}", true), "name");
}
END_TEST

START_TEST(test_numbers_become_what_handlers_read)
{
	cleanup_json struct json *j = NULL;
	struct field_errors f = {.count = 0};

	ck_assert_int_eq(json_parse(STR("{\"name\":\"ab\",\"count\":5.0,\"id\":17}"), 1000, &j, NULL), OK);
	schema_check(table, j, false, &arena, &f);
	ck_assert_int_eq(json_type_of(json_get(j, "count")), JSON_INT);
	ck_assert_str_eq(json_cstr(j, "id"), "17");
}
END_TEST

START_TEST(test_errors_are_bounded)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 16);
	cleanup_json struct json *j = NULL;
	struct field_errors f = {.count = 0};

	buf_adds(&b, "{\"name\":\"ab\"");
	for (int i = 0; i < 500; i++)
		buf_addf(&b, ",\"unknown-%d-%0100d\":1", i, i);
	buf_addc(&b, '}');
	ck_assert_int_eq(json_parse(buf_str(&b), 1 << 20, &j, NULL), OK);
	schema_check(table, j, false, &arena, &f);
	ck_assert_int_eq(f.count, FIELD_ERRORS_MAX);
	ck_assert_uint_lt(strlen(f.list[0].field), 70);
}
END_TEST

/* ---- queries ------------------------------------------------------------------------ */

static struct json *query(const char *text, struct field_errors *f)
{
	struct json *j = form_query(table, str_of(text), &arena, f);

	schema_check(table, j, false, &arena, f);
	return j;
}

START_TEST(test_query)
{
	struct field_errors f = {.count = 0};
	cleanup_json struct json *j = query("name=a%62&count=7&on=true&tags=a&tags=b,c&share=1.25&id=5&text=a+b%2Bc&", &f);

	ck_assert_int_eq(f.count, 0);
	ck_assert_str_eq(json_cstr(j, "name"), "ab");
	ck_assert_int_eq(json_i64(j, "count", 0), 7);
	ck_assert(json_bool(j, "on", false));
	ck_assert_uint_eq(json_len(json_get(j, "tags")), 3);
	ck_assert_double_eq(json_double(j, "share", 0), 1.25);
	ck_assert_str_eq(json_cstr(j, "text"), "a b+c");
}
END_TEST

START_TEST(test_query_faults)
{
	static const char *const rows[][2] = {
		{"name=ab&name=cd", "name"}, {"name=ab&count=07", "count"}, {"name=ab&count=%20", "count"}, {"name=ab&on=1", "on"},
		{"name=ab&x=%4", ""}, {"name=ab&text=%00", ""}, {"name=ab&text=%c3%28", ""}, {"name=ab&what=1", "what"},
		{"name=ab&on", "on"}, {"name=ab&=5", ""},
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct field_errors f = {.count = 0};

		json_free(query(rows[i][0], &f));
		ck_assert_msg(f.count == 1 && !strcmp(f.list[0].field, rows[i][1]), "%s: %d %s", rows[i][0], f.count, f.count ? f.list[0].field : "");
	}
}
END_TEST

START_TEST(test_query_of_too_many_parts)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 16);
	struct field_errors f = {.count = 0};

	for (int i = 0; i <= FORM_PAIRS; i++)
		buf_adds(&b, "tags=a&");
	json_free(form_query(table, buf_str(&b), &arena, &f));
	ck_assert_int_eq(f.count, 1);
}
END_TEST

/* ---- forms ---------------------------------------------------------------------------- */

static struct json *form(const char *type, struct str body, struct str *csrf, struct field_errors *f)
{
	struct json *j = form_body(table, body, str_of(type), &arena, csrf, f);

	schema_check(table, j, false, &arena, f);
	return j;
}

START_TEST(test_form)
{
	struct field_errors f = {.count = 0};
	struct str csrf;
	cleanup_json struct json *j = form("application/x-www-form-urlencoded",
			STR("csrf=t%2B0&name=abc&text=a%0D%0Ab&count=&on=on&tags=a%2C+b%0D%0Ac&point.x=3&point.note=&bag=%7B%22k%22%3A1%7D"), &csrf, &f);

	ck_assert_msg(f.count == 0, "%s %s", f.list[0].field, f.list[0].message);
	ck_assert(str_eqz(csrf, "t+0"));
	ck_assert_ptr_null(json_get(j, "csrf"));
	ck_assert_str_eq(json_cstr(j, "text"), "a\nb");
	ck_assert(!json_has(j, "count"));
	ck_assert(json_bool(j, "on", false));
	ck_assert_uint_eq(json_len(json_get(j, "tags")), 3);
	ck_assert_int_eq(json_i64(json_get(j, "point"), "x", 0), 3);
	ck_assert(!json_has(json_get(j, "point"), "note"));
	ck_assert_int_eq(json_i64(json_get(j, "bag"), "k", 0), 1);
}
END_TEST

START_TEST(test_form_and_json_are_judged_alike)
{
	struct field_errors f = {.count = 0};
	struct str csrf;

	json_free(form("application/x-www-form-urlencoded", STR("name=a&count=-1&colour=green&point.y=1&x=1"), &csrf, &f));
	ck_assert_int_eq(f.count, 6); /* x, name, count, colour, point.y, point.x */
}
END_TEST

#define MULTIPART "multipart/form-data; boundary=xYz"

START_TEST(test_multipart)
{
	struct field_errors f = {.count = 0};
	struct str csrf;
	cleanup_json struct json *j = form(MULTIPART,
			STR("--xYz\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nabc\r\n"
			    "--xYz\r\nContent-Disposition: form-data; name=\"csrf\"\r\n\r\nt0\r\n"
			    "--xYz\r\nContent-Disposition: form-data; name=\"text\"; filename=\"a.py\"\r\nContent-Type: text/x-python\r\n\r\nx = 1\n--xY\r\n"
			    "--xYz--\r\n"), &csrf, &f);

	ck_assert_msg(f.count == 0, "%s %s", f.list[0].field, f.list[0].message);
	ck_assert(str_eqz(csrf, "t0"));
	ck_assert_str_eq(json_cstr(j, "name"), "abc");
	ck_assert_str_eq(json_cstr(j, "text"), "x = 1\n--xY");
}
END_TEST

START_TEST(test_malformed_multipart)
{
	static const char *const bodies[] = {
		"", "--xYz", "--xYz\r\n", "--xYz\r\n\r\nabc\r\n--xYz--", "--xYz\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nabc",
		"x--xYz\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nabc\r\n--xYz--",
		"--xYz\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--xYz--",
		"--xYz\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\na\xff\r\n--xYz--",
		"--xYz\r\nContent-Disposition: form-data; name=\"name\"\r\n\r\nabc\r\n--xYz junk",
	};

	for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
		struct field_errors f = {.count = 0};
		struct str csrf;

		json_free(form_body(table, str_of(bodies[i]), STR(MULTIPART), &arena, &csrf, &f));
		ck_assert_msg(f.count == 1, "%s", bodies[i]);
	}
	for (int i = 0; i < 2; i++) {
		struct field_errors f = {.count = 0};
		struct str csrf;

		json_free(form_body(table, STR("--\r\n\r\n"), i ? STR("multipart/form-data") : STR("multipart/form-data; boundary=\"\""), &arena, &csrf, &f));
		ck_assert_int_eq(f.count, 1);
	}
}
END_TEST

/* ---- description ------------------------------------------------------------------------ */

START_TEST(test_description)
{
	cleanup_json struct json *j = openapi_schema(table, false);
	struct json *p = json_get(j, "properties");

	ck_assert(!json_bool(j, "additionalProperties", true));
	ck_assert_uint_eq(json_len(json_get(j, "required")), 1);
	ck_assert_int_eq(json_i64(json_get(p, "name"), "minLength", 0), 2);
	ck_assert_int_eq(json_i64(json_get(p, "name"), "maxLength", 0), 5);
	ck_assert_int_eq(json_i64(json_get(p, "count"), "maximum", 0), 9007199254740992);
	ck_assert_str_eq(json_cstr(json_get(p, "at"), "format"), "date-time");
	ck_assert_uint_eq(json_len(json_path(p, "colour.enum")), 2);
	ck_assert_str_eq(json_as_str(json_path(p, "point.type.1")).ptr, "null");
	ck_assert_int_eq(json_i64(json_path(p, "points.items.properties.x"), "minimum", 0), -5);
	ck_assert_uint_eq(json_len(json_path(p, "names.oneOf")), 2);
	ck_assert_ptr_null(json_get(json_get(p, "any"), "type"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("schema");
	TCase *t = tcase_create("schema");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, test_cases, 0, ARRAY_LEN(cases));
	tcase_add_test(t, test_document_that_is_no_object);
	tcase_add_test(t, test_lenient_ignores_the_unknown_and_nothing_else);
	tcase_add_test(t, test_numbers_become_what_handlers_read);
	tcase_add_test(t, test_errors_are_bounded);
	tcase_add_test(t, test_query);
	tcase_add_test(t, test_query_faults);
	tcase_add_test(t, test_query_of_too_many_parts);
	tcase_add_test(t, test_form);
	tcase_add_test(t, test_form_and_json_are_judged_alike);
	tcase_add_test(t, test_multipart);
	tcase_add_test(t, test_malformed_multipart);
	tcase_add_test(t, test_description);
	suite_add_tcase(s, t);
	return unit_run(s);
}
