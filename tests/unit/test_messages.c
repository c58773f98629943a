/* The message catalogue: its grammar, forms, plural rules, and the catalogues compiled in. */
#include <check.h>

#include "base/asset.h"
#include "base/json.h"
#include "web/messages.h"
#include "web/template.h"

static enum err parse_text(struct arena *a, const char *text, struct catalogue *c, struct error *e)
{
	return catalogue_parse(a, "f", locale_find("en"), str_of(text), c, e);
}

START_TEST(test_lines)
{
	cleanup_arena struct arena a;
	struct catalogue c;
	struct error e = {0};
	const struct message *m;

	arena_init(&a, 1 << 16);
	ck_assert_int_eq(parse_text(&a, "# no\n\nb.c = x = y  \n  and z\na=\n", &c, &e), OK);
	ck_assert_int_eq(c.count, 2);
	ck_assert_int_eq(catalogue_find(&c, "c"), -1);
	m = &c.messages[catalogue_find(&c, "b.c")];
	ck_assert(str_eqz(m->forms[0].text, "x = y and z"));
	ck_assert_int_eq(m->forms[0].line, 3);
	ck_assert_int_eq(c.messages[catalogue_find(&c, "a")].forms[0].text.len, 0);
}
END_TEST

static const struct {
	const char *text, *error;
} malformed[] = {
	{"a", "f:1: neither \"key = text\" nor a comment: \"a\""},
	{"\n a", "f:2: nothing to continue with \"a\""},
	{"a b = c", "f:1: malformed key \"a b\""},
	{"= c", "f:1: malformed key \"\""},
	{"a[] = c", "f:1: malformed form \"\""},
	{"a[b c] = d", "f:1: malformed form \"b c\""},
	{"a[b = d", "f:1: malformed key \"a[b\""},
	{"a = b\nc = d\na = e", "f:3: given twice: \"a\""},
	{"a[other] = b\na[other] = e", "f:2: given twice: \"a\""},
	{"a = b\na[other] = e", "f:1: both with and without forms: \"a\""},
	{"a[one] = b", "f:1: has forms but no [other]: \"a\""},
	{"a = \xff", "f: not UTF-8"},
};

START_TEST(test_malformed)
{
	cleanup_arena struct arena a;
	struct catalogue c;
	struct error e = {0};

	arena_init(&a, 1 << 16);
	ck_assert_int_eq(parse_text(&a, malformed[_i].text, &c, &e), ERR_INVALID);
	ck_assert_str_eq(e.msg, malformed[_i].error);
}
END_TEST

/* What "{{@m x}}" becomes. */
static const struct {
	const char *locale, *x, *expected;
} chosen[] = {
	{"en", "0", "none"},
	{"en", "1", "1 job"},
	{"en", "2", "2 jobs"},
	{"en", "-1", "-1 jobs"},
	{"en", "1234567", "1,234,567 jobs"},
	{"en", "\"red\"", "a red one"},
	{"en", "\"<\"", "&lt; jobs"},
	{"en", "\"1\"", "1 jobs"},
	{"en", "null", " jobs"},
	{"en", "true", "yes"},
	{"pt-BR", "0", "nenhuma"},
	{"pt-BR", "1", "1 tarefa"},
	{"pt-BR", "2", "2 tarefas"},
	{"pt-BR", "1000000", "1.000.000 de tarefas"},
	{"pt-BR", "\"red\"", "vermelha"},
	{"xx", "2", "2 jobs"},
};

START_TEST(test_forms)
{
	cleanup_template struct template_set *set = template_new();
	cleanup_buf struct buf out = BUF_INIT(1000), model = BUF_INIT(100);
	cleanup_json struct json *j = NULL;
	struct error e = {0};

	ck_assert_int_eq(template_add(set, "t", STR("{{@m x}}"), &e), OK);
	ck_assert_int_eq(template_add_catalogue(set, "pt-BR",
						STR("m[0] = nenhuma\nm[one] = {{@}} tarefa\nm[other] = {{@}} tarefas\n"
						    "m[many] = {{@}} de tarefas\nm[red] = vermelha\nm[true] = sim"),
						&e),
			 OK);
	ck_assert_int_eq(template_add_catalogue(set, "en",
						STR("m[0] = none\nm[one] = {{@}} job\nm[other] = {{@}} jobs\n"
						    "m[red] = a red one\nm[true] = yes"),
						&e),
			 OK);
	ck_assert_msg(template_link(set, &e) == OK, "%s", e.msg);
	buf_addf(&model, "{\"x\":%s}", chosen[_i].x);
	ck_assert_int_eq(json_parse(buf_str(&model), 1000, &j, &e), OK);
	ck_assert_msg(template_render(set, "t", chosen[_i].locale, j, true, &out, &e) == OK, "%s", e.msg);
	buf_addc(&out, '\0');
	ck_assert_str_eq(out.ptr, chosen[_i].expected);
	ck_assert(template_has_locale(set, "pt-BR") && !template_has_locale(set, "xx"));
}
END_TEST

/* A message is part of a line, also in a partial that is indented. */
START_TEST(test_message_in_indented_partial)
{
	cleanup_template struct template_set *set = template_new();
	cleanup_buf struct buf out = BUF_INIT(1000);
	struct error e = {0};

	ck_assert_int_eq(template_add(set, "t", STR("  {{>p}}\n"), &e), OK);
	ck_assert_int_eq(template_add(set, "p", STR("<p title=\"{{@m}}\">\n{{@m}}\n"), &e), OK);
	ck_assert_int_eq(template_add_catalogue(set, "en", STR("m = x"), &e), OK);
	ck_assert_int_eq(template_link(set, &e), OK);
	ck_assert_int_eq(template_render(set, "t", "en", NULL, true, &out, &e), OK);
	ck_assert(str_eqz(buf_str(&out), "  <p title=\"x\">\n  x\n"));
}
END_TEST

/* The argument of the outer message is back after an inner one. */
START_TEST(test_nested_messages)
{
	cleanup_template struct template_set *set = template_new();
	cleanup_buf struct buf out = BUF_INIT(1000);
	cleanup_json struct json *j = json_object();
	struct error e = {0};

	json_put_i64(j, "x", 1);
	json_put_i64(j, "y", 2);
	ck_assert_int_eq(template_add(set, "t", STR("{{@outer x}}"), &e), OK);
	ck_assert_int_eq(template_add_catalogue(set, "en", STR("outer = {{@}} {{@inner y}} {{@}}{{@w[c]}}{{@w[d] x}}\ninner = ({{@}})\nw[c] = c\nw[d] = d{{@}}\nw[other] ="), &e),
			 OK);
	ck_assert_int_eq(template_link(set, &e), OK);
	ck_assert_int_eq(template_render(set, "t", "en", j, true, &out, &e), OK);
	ck_assert(str_eqz(buf_str(&out), "1 (2) 1cd1"));
}
END_TEST

static const struct {
	const char *en, *pt, *error;
} unequal[] = {
	{"a = x\nb = x", "a = x", "en.txt has \"b\", pt-BR.txt has not"},
	{"a = x", "a = x\nb = x", "pt-BR.txt has \"b\", en.txt has not"},
	{"a[c] = x\na[other] = x", "a[other] = x", "en.txt has \"a[c]\", pt-BR.txt has not"},
	{"a = x", "a[other] = x", "en.txt has \"a[]\", pt-BR.txt has not"},
};

START_TEST(test_unequal_catalogues)
{
	cleanup_template struct template_set *set = template_new();
	struct error e = {0};

	ck_assert_int_eq(template_add_catalogue(set, "en", str_of(unequal[_i].en), &e), OK);
	ck_assert_int_eq(template_add_catalogue(set, "pt-BR", str_of(unequal[_i].pt), &e), OK);
	ck_assert_int_eq(template_link(set, &e), ERR_INVALID);
	ck_assert_str_eq(e.msg, unequal[_i].error);
}
END_TEST

START_TEST(test_no_reference)
{
	cleanup_template struct template_set *set = template_new();
	struct error e = {0};

	ck_assert_int_eq(template_add_catalogue(set, "pt-BR", STR("a = b"), &e), OK);
	ck_assert_int_eq(template_link(set, &e), ERR_INVALID);
	ck_assert_str_eq(e.msg, "there is no catalogue for \"en\"");
}
END_TEST

/* A message that no template uses is a text nobody will see or mend. */
START_TEST(test_all_messages_are_used)
{
	cleanup_arena struct arena a;
	struct catalogue c;
	struct error e = {0};
	const struct asset *en = asset_find("messages/en.txt");

	arena_init(&a, 1 << 22);
	ck_assert_ptr_nonnull(en);
	ck_assert_msg(catalogue_parse(&a, "en.txt", locale_find("en"), en->bytes, &c, &e) == OK, "%s", e.msg);
	for (size_t i = 0; i < c.count; i++) {
		const char *tag = arena_printf(&a, "{{@%s", c.messages[i].key);
		bool used = false;
		size_t at, end;

		ck_assert_ptr_nonnull(tag);
		for (asset_range("templates/", &at, &end); at < end; at++)
			for (const char *p = strstr(assets[at].bytes.ptr, tag); p && !used; p = strstr(p + 1, tag))
				used = strchr("}[ ", p[strlen(tag)]);
		for (const char *p = strstr(en->bytes.ptr, tag); p && !used; p = strstr(p + 1, tag))
			used = strchr("}[ ", p[strlen(tag)]);
		ck_assert_msg(used, "message \"%s\" is used nowhere", c.messages[i].key);
	}
}
END_TEST

/* Loading compares all catalogues that are compiled in. */
START_TEST(test_catalogues_load)
{
	cleanup_template struct template_set *set = NULL;
	struct error e = {0};

	ck_assert_msg(template_load(NULL, &set, &e) == OK, "%s", e.msg);
	ck_assert_str_eq(template_locale(set, 0), "en");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("messages");
	TCase *t = tcase_create("messages");
	SRunner *runner;
	int failed;

	tcase_add_test(t, test_lines);
	tcase_add_loop_test(t, test_malformed, 0, ARRAY_LEN(malformed));
	tcase_add_loop_test(t, test_forms, 0, ARRAY_LEN(chosen));
	tcase_add_test(t, test_nested_messages);
	tcase_add_test(t, test_message_in_indented_partial);
	tcase_add_loop_test(t, test_unequal_catalogues, 0, ARRAY_LEN(unequal));
	tcase_add_test(t, test_no_reference);
	tcase_add_test(t, test_all_messages_are_used);
	tcase_add_test(t, test_catalogues_load);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
