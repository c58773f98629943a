/* The template engine: own cases, refusals, limits, and the mustache conformance files where they are found. */
#include <check.h>
#include <dirent.h>

#include "base/json.h"
#include "web/template.h"

/* ---- help ---- */

static struct json *parse(const char *text)
{
	struct json *j = NULL;
	struct error e = {0};

	ck_assert_msg(json_parse(str_of(text), 1 << 20, &j, &e) == OK, "%s: %s", text, e.msg);
	return j;
}

/* One template "t", one partial "p" (may be NULL), one catalogue (may be NULL). */
static enum err build(const char *text, const char *partial, const char *messages, struct template_set **ret,
		      struct error *e)
{
	struct template_set *set = *ret = template_new();
	enum err err = template_add(set, "t", str_of(text), e);

	if (!err && partial)
		err = template_add(set, "p", str_of(partial), e);
	if (!err && messages)
		err = template_add_catalogue(set, "en", str_of(messages), e);
	return err ? err : template_link(set, e);
}

static enum err render(const char *text, const char *partial, const char *messages, const char *model, bool strict,
		       struct buf *out, struct error *e)
{
	cleanup_template struct template_set *set = NULL;
	cleanup_json struct json *j = parse(model);
	enum err err = build(text, partial, messages, &set, e);

	return err ? err : template_render(set, "t", "en", j, strict, out, e);
}

/* ---- what is rendered ---- */

static const struct {
	const char *name, *text, *partial, *model, *expected;
} good[] = {
	{"text alone", "a {b} }} c", NULL, "{}", "a {b} }} c"},
	{"a value", "[{{a}}]", NULL, "{\"a\":\"x\"}", "[x]"},
	{"blanks in a tag", "[{{ a }}]", NULL, "{\"a\":\"x\"}", "[x]"},
	{"escaping", "{{a}}", NULL, "{\"a\":\"<b c='d' e=\\\"f\\\">&amp;\"}",
	 "&lt;b c=&#39;d&#39; e=&quot;f&quot;&gt;&amp;amp;"},
	{"no second reading", "{{a}}", NULL, "{\"a\":\"{{b}}\",\"b\":\"no\"}", "{{b}}"},
	{"scalars", "{{i}} {{d}} {{t}} {{f}} {{n}}|", NULL,
	 "{\"i\":-12,\"d\":0.1,\"t\":true,\"f\":false,\"n\":null}", "-12 0.1 true false |"},
	{"dotted", "{{a.b.c}}", NULL, "{\"a\":{\"b\":{\"c\":1}}}", "1"},
	{"outer context", "{{#a}}{{b}}{{c}}{{/a}}", NULL, "{\"a\":{\"b\":1},\"c\":2}", "12"},
	{"nearest name wins whole", "{{#a}}{{b.c}}{{/a}}", NULL, "{\"a\":{\"b\":{\"c\":1}},\"b\":{\"c\":2}}", "1"},
	{"list", "{{#a}}{{.}},{{/a}}", NULL, "{\"a\":[1,\"<\",true]}", "1,&lt;,true,"},
	{"list of lists", "{{#a}}({{#.}}{{.}}{{/.}}){{/a}}", NULL, "{\"a\":[[1,2],[3]]}", "(12)(3)"},
	{"list of objects", "{{#a}}{{x}}{{/a}}", NULL, "{\"a\":[{\"x\":1},{\"x\":2}]}", "12"},
	{"false values", "{{#z}}z{{/z}}{{#e}}e{{/e}}{{#f}}f{{/f}}{{#n}}n{{/n}}{{#l}}l{{/l}}", NULL,
	 "{\"z\":0,\"e\":\"\",\"f\":false,\"n\":null,\"l\":[]}", ""},
	{"inverted", "{{^z}}z{{/z}}{{^e}}e{{/e}}{{^o}}o{{/o}}", NULL, "{\"z\":0,\"e\":\"\",\"o\":{}}", "ze"},
	{"same name within itself", "{{#a}}{{#a}}x{{/a}}{{/a}}", NULL, "{\"a\":true}", "x"},
	{"comment", "a{{! no {{ }}b", NULL, "{}", "ab"},
	{"lines of sections vanish", "a\n  {{#s}}\nb\n  {{/s}}\nc\n", NULL, "{\"s\":true}", "a\nb\nc\n"},
	{"carriage returns", "a\r\n{{#s}}\r\nb\r\n{{/s}}\r\nc", NULL, "{\"s\":true}", "a\r\nb\r\nc"},
	{"lines of comments vanish", "a\n  {{! one\n two }}\nb", NULL, "{}", "a\nb"},
	{"two tags on a line stay", " {{#s}} {{/s}}\n", NULL, "{\"s\":true}", "  \n"},
	{"alone at the end", "a\n  {{^s}}\n  {{/s}}", NULL, "{\"s\":true}", "a\n"},
	{"partial", "[{{>p}}]", "{{a}}", "{\"a\":1}", "[1]"},
	{"partial indented", "<\n  {{>p}}\n>", "a\n{{x}}b\n", "{\"x\":\"1\\n2\"}", "<\n  a\n  1\n2b\n>"},
	{"partial within a line of an indented one", "  {{#t}}\n  {{>p}}\n  {{/t}}\n",
	 "<{{#u}}{{>p}}{{/u}}\n{{x}}>\n", "{\"t\":{\"u\":{\"u\":null}},\"x\":1}", "  <<\n1>\n\n  1>\n"},
	{"nested indentation", "{{#n}}\n {{>p}}\n{{/n}}", "a\n{{#n}}\n {{>p}}\n{{/n}}\n", "{\"n\":{\"n\":{\"n\":null}}}", " a\n  a\n"},
	{"partial within a line", "< {{>p}}\n>", "a\nb", "{}", "< a\nb\n>"},
	{"partial in a partial", "{{#n}}<{{v}}{{>p}}>{{/n}}", "{{#n}}<{{v}}{{>p}}>{{/n}}",
	 "{\"n\":{\"v\":1,\"n\":{\"v\":2,\"n\":null}}}", "<1<2>>"},
	{"url", "<a href=\"{{u}}\">", NULL, "{\"u\":\"/a?b=1&c=2\"}", "<a href=\"/a?b=1&amp;c=2\">"},
	{"url elsewhere", "<a href=\"{{u}}\">", NULL, "{\"u\":\"https://x.example/\"}",
	 "<a href=\"https://x.example/\">"},
	{"url within", "<a href=\"/a/{{u}}\">", NULL, "{\"u\":\"x:y\"}", "<a href=\"/a/x:y\">"},
};

START_TEST(test_good)
{
	cleanup_buf struct buf out = BUF_INIT(1 << 16);
	struct error e = {0};
	enum err err = render(good[_i].text, good[_i].partial, NULL, good[_i].model, true, &out, &e);

	ck_assert_msg(err == OK, "%s: %s", good[_i].name, e.msg);
	buf_addc(&out, '\0');
	ck_assert_msg(!strcmp(out.ptr, good[_i].expected), "%s: got \"%s\", not \"%s\"", good[_i].name, out.ptr,
		      good[_i].expected);
}
END_TEST

/* ---- what is refused at once ---- */

static const struct {
	const char *text, *messages, *error;
} malformed[] = {
	{"{{{a}}}", NULL, "t.html:1: raw output is refused"},
	{"\n{{&a}}", NULL, "t.html:2: raw output is refused"},
	{"{{=<% %>=}}", NULL, "t.html:1: other delimiters are refused"},
	{"a\nb {{a", NULL, "t.html:2: a tag is not ended"},
	{"{{}}", NULL, "t.html:1: tag without a name"},
	{"{{a b}}", NULL, "t.html:1: malformed name \"a b\""},
	{"{{a..b}}", NULL, "t.html:1: malformed name \"a..b\""},
	{"{{a.}}", NULL, "t.html:1: malformed name \"a.\""},
	{"{{.a}}", NULL, "t.html:1: malformed name \".a\""},
	{"{{a.b.c.d.e.f.g.h.i}}", NULL, "t.html:1: malformed name \"a.b.c.d.e.f.g.h.i\""},
	{"\n\n{{#a}}\n", NULL, "t.html:3: a section is not ended: \"a\""},
	{"{{/a}}", NULL, "t.html:1: nothing is open to be ended by \"a\""},
	{"{{#a}}\n{{#b}}{{/a}}{{/b}}", NULL, "t.html:2: an end that fits no open section: \"a\""},
	{"{{>}}", NULL, "t.html:1: tag without a name"},
	{"{{>q}}", NULL, "t.html:1: unknown partial \"q\""},
	{"\n{{@q}}", NULL, "t.html:2: unknown message \"q\""},
	{"{{@}}", NULL, "t.html:1: {{@}} outside a message"},
	{"{{@a}}", "a[other] = x", "t.html:1: message \"a\" needs an argument"},
	{"{{@a}}", "a = {{@}}", "t.html:1: message \"a\" needs an argument"},
	{"{{@a[b]}}", "a[other] = x", "t.html:1: message \"a\" has no form \"b\""},
	{"{{@a[b]}}", "a = x", "t.html:1: message \"a\" has no form \"b\""},
	{"{{@a[b]}}", "a[b] = {{@}}\na[other] = x", "t.html:1: message \"a\" needs an argument"},
	{"{{@a[]}}", "a = x", "t.html:1: tag without a name"},
	{"{{@[b]}}", "a = x", "t.html:1: tag without a name"},
	{"{{@a]}}", "a = x", "t.html:1: tag without a name"},
	{"", "a = b\nc = {{>t}}", "en.txt:2: a message may not include \"t\""},
	{"", "\n\na = {{#x}}", "en.txt:3: a section is not ended: \"x\""},
	{"", "a = {{@b}}", "en.txt:1: unknown message \"b\""},
	{"<a href=\"{{#a}}x{{/a}}\">", NULL,
	 "t.html:1: an attribute that holds a URL begins with a value or text, not with \"a\""},
};

START_TEST(test_malformed)
{
	cleanup_template struct template_set *set = NULL;
	struct error e = {0};

	ck_assert_int_eq(build(malformed[_i].text, NULL, malformed[_i].messages, &set, &e), ERR_INVALID);
	ck_assert_str_eq(e.msg, malformed[_i].error);
}
END_TEST

START_TEST(test_sections_nested_too_deep)
{
	cleanup_template struct template_set *set = NULL;
	cleanup_buf struct buf text = BUF_INIT(4096);
	struct error e = {0};

	for (int i = 0; i < 33; i++)
		buf_adds(&text, "{{#a}}");
	ck_assert_int_eq(build(text.ptr, NULL, NULL, &set, &e), ERR_INVALID);
	ck_assert_str_eq(e.msg, "t.html:1: sections nested too deep at \"a\"");
}
END_TEST

START_TEST(test_name_twice)
{
	cleanup_template struct template_set *set = template_new();
	struct error e = {0};

	ck_assert_int_eq(template_add(set, "t", STR("a"), &e), OK);
	ck_assert_int_eq(template_add(set, "t", STR("a"), &e), ERR_INVALID);
	ck_assert_int_eq(template_add_catalogue(set, "tlh", STR(""), &e), ERR_INVALID);
}
END_TEST

/* ---- strict, and not ---- */

static const struct {
	const char *text, *partial, *messages, *model, *error, *lax;
} strict[] = {
	{"\n<{{b}}>", NULL, NULL, "{\"a\":1}", "t.html:2: the model has no \"b\"", "\n<>"},
	{"<{{a.b}}>", NULL, NULL, "{\"a\":null}", "t.html:1: the model has no \"a.b\"", "<>"},
	{"<{{#b}}x{{/b}}>", NULL, NULL, "{}", "t.html:1: the model has no \"b\"", "<>"},
	{"<{{^b}}x{{/b}}>", NULL, NULL, "{}", "t.html:1: the model has no \"b\"", "<x>"},
	{"{{>p}}", "\n\n{{b}}", NULL, "{}", "p.html:3: the model has no \"b\"", "\n\n"},
	{"<{{a}}>", NULL, NULL, "{\"a\":[]}", "t.html:1: not a text or number: \"a\"", "<>"},
	{"<{{a}}>", NULL, NULL, "{\"a\":{}}", "t.html:1: not a text or number: \"a\"", "<>"},
	{"{{@m}}", NULL, "m = <{{b}}>", "{}", "en.txt:1: the model has no \"b\"", "<>"},
	{"{{@m b}}", NULL, "m = <{{@}}>", "{}", "t.html:1: the model has no argument for \"m\"", "<>"},
};

START_TEST(test_strict)
{
	cleanup_buf struct buf out = BUF_INIT(1 << 16);
	struct error e = {0};

	ck_assert_int_eq(render(strict[_i].text, strict[_i].partial, strict[_i].messages, strict[_i].model, true, &out, &e),
			 ERR_INTERNAL);
	ck_assert_str_eq(e.msg, strict[_i].error);
	buf_reset(&out);
	ck_assert_int_eq(render(strict[_i].text, strict[_i].partial, strict[_i].messages, strict[_i].model, false, &out, &e),
			 OK);
	buf_addc(&out, '\0');
	ck_assert_str_eq(out.ptr, strict[_i].lax);
}
END_TEST

static const char *const foreign_urls[] = {"javascript:alert(1)", "JAVASCRIPT:x", "data:text/html,x", "//host/",
					   "/\\\\host", "/\\t/host", " https://x", "java\\nscript:x", "x", "ftp://x",
					   "http:x", "\\u0001javascript:x"};

START_TEST(test_foreign_url)
{
	cleanup_buf struct buf out = BUF_INIT(1 << 16), model = BUF_INIT(256);
	struct error e = {0};

	buf_addf(&model, "{\"u\":\"%s\"}", foreign_urls[_i]);
	ck_assert_int_eq(render("<a href=\"{{u}}\">", NULL, NULL, model.ptr, true, &out, &e), ERR_INTERNAL);
	ck_assert_str_eq(e.msg, "t.html:1: not a URL of this site nor http: \"u\"");
	buf_reset(&out);
	ck_assert_int_eq(render("<a href=\"{{u}}\">", NULL, NULL, model.ptr, false, &out, &e), OK);
	buf_addc(&out, '\0');
	ck_assert_str_eq(out.ptr, "<a href=\"#\">");
}
END_TEST

/* ---- limits ---- */

START_TEST(test_endless_recursion)
{
	cleanup_buf struct buf out = BUF_INIT(1 << 20);
	struct error e = {0};

	ck_assert_int_eq(render("{{>t}}", NULL, NULL, "{}", true, &out, &e), ERR_INTERNAL);
	ck_assert_str_eq(e.msg, "t.html:1: nested too deep at \"t\"");
	ck_assert_int_eq(render("{{@m}}", NULL, "m = {{@n}}\nn = {{@m}}", "{}", true, &out, &e), ERR_INTERNAL);
	ck_assert_int_eq(render("{{#a}}{{#a}}{{#a}}{{>t}}{{/a}}{{/a}}{{/a}}", NULL, NULL, "{\"a\":1}", true, &out, &e),
			 ERR_INTERNAL);
}
END_TEST

START_TEST(test_too_many_steps)
{
	cleanup_buf struct buf out = BUF_INIT(1 << 20);
	struct error e = {0};

	ck_assert_int_eq(render("{{#a}}{{>t}}{{/a}}", NULL, NULL, "{\"a\":[1,2,3,4]}", true, &out, &e), ERR_INTERNAL);
}
END_TEST

START_TEST(test_page_too_large)
{
	cleanup_buf struct buf out = BUF_INIT(10);
	struct error e = {0};

	ck_assert_int_eq(render("{{a}}{{a}}", NULL, NULL, "{\"a\":\"12345678\"}", true, &out, &e), ERR_TOO_LARGE);
	ck_assert_int_eq(render("", NULL, NULL, "{}", true, &out, &e), OK);
}
END_TEST

START_TEST(test_unknown_template)
{
	cleanup_template struct template_set *set = NULL;
	cleanup_buf struct buf out = BUF_INIT(10);
	struct error e = {0};

	ck_assert_int_eq(build("", NULL, NULL, &set, &e), OK);
	ck_assert_int_eq(template_render(set, "nowhere", "en", NULL, true, &out, &e), ERR_NOT_FOUND);
	ck_assert_ptr_null(template_name(set, 1));
	ck_assert_str_eq(template_name(set, 0), "t");
}
END_TEST

/* ---- the conformance files of mustache, where they lie beside the checkout ---- */

static const char *spec_folder(void)
{
	const char *set = getenv("GPUPOOL_MUSTACHE_SPEC");

	return set ? set : "../shared/mustache-spec";
}

static const struct {
	const char *part, *reason;
} skipped[] = {
	{"{{{", "raw output is refused"},
	{"{{&", "raw output is refused"},
	{"{{=", "other delimiters are refused"},
};

/* Why a case is out of the subset, or NULL. */
static const char *why_skipped(const char *name, const char *template, const struct json *partials)
{
	if (!strcmp(name, "Failed Lookup"))
		return "an unknown partial is an error here";
	for (size_t i = 0; i < ARRAY_LEN(skipped); i++) {
		if (strstr(template, skipped[i].part))
			return skipped[i].reason;
		for (struct json_iter it = json_iter(partials); json_next(&it);)
			if (strstr(json_as_str(it.value).ptr, skipped[i].part))
				return skipped[i].reason;
	}
	return NULL;
}

static void run_case(const char *file, const struct json *test)
{
	cleanup_template struct template_set *set = template_new();
	cleanup_buf struct buf out = BUF_INIT(1 << 16), expected = BUF_INIT(1 << 16);
	const struct json *partials = json_get(test, "partials");
	struct error e = {0};
	struct str want = json_str(test, "expected");

	ck_assert_msg(template_add(set, "t", json_str(test, "template"), &e) == OK, "%s: %s", file, e.msg);
	for (struct json_iter it = json_iter(partials); json_next(&it);)
		ck_assert_msg(template_add(set, it.key, json_as_str(it.value), &e) == OK, "%s: %s", file, e.msg);
	ck_assert_msg(template_link(set, &e) == OK, "%s: %s", file, e.msg);
	ck_assert_msg(template_render(set, "t", "en", json_get(test, "data"), false, &out, &e) == OK, "%s: %s", file,
		      e.msg);
	/* The specification escapes a quote by name or number, as one likes; we write what base/str.h writes. */
	ck_assert_msg(str_eq(buf_str(&out), want), "%s, %s: got \"%.*s\", not \"%.*s\"", file, json_cstr(test, "name"),
		      STR_ARG(buf_str(&out)), STR_ARG(want));
}

static void run_file(const char *path, const char *file, int *ran, int *left)
{
	cleanup_file FILE *in = fopen(path, "re");
	cleanup_free char *text = calloc(1, 1 << 20);
	cleanup_json struct json *j = NULL;
	const struct json *tests;
	struct error e = {0};
	size_t len;

	ck_assert_ptr_nonnull(in);
	len = fread(text, 1, 1 << 20, in);
	ck_assert_msg(json_parse((struct str){text, len}, 1 << 20, &j, &e) == OK, "%s: %s", file, e.msg);
	tests = json_get(j, "tests");
	for (size_t i = 0; i < json_len(tests); i++) {
		const struct json *test = json_at(tests, i);
		const char *why = why_skipped(json_cstr(test, "name"), json_cstr(test, "template"),
					      json_get(test, "partials"));

		if (why) {
			printf("skipped %s, %s: %s\n", file, json_cstr(test, "name"), why);
			(*left)++;
		} else {
			run_case(file, test);
			(*ran)++;
		}
	}
}

START_TEST(test_conformance)
{
	DIR *dir = opendir(spec_folder());
	const struct dirent *entry;
	int ran = 0, left = 0;

	if (!dir) {
		printf("skipped the mustache conformance cases: no folder %s\n", spec_folder());
		return;
	}
	while ((entry = readdir(dir))) {
		cleanup_buf struct buf path = BUF_INIT(4096);

		if (!str_ends(str_of(entry->d_name), ".json"))
			continue;
		buf_addf(&path, "%s/%s", spec_folder(), entry->d_name);
		run_file(path.ptr, entry->d_name, &ran, &left);
	}
	closedir(dir);
	printf("mustache conformance: %d cases pass, %d skipped\n", ran, left);
	ck_assert_int_gt(ran, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("template");
	TCase *t = tcase_create("template");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(t, test_good, 0, ARRAY_LEN(good));
	tcase_add_loop_test(t, test_malformed, 0, ARRAY_LEN(malformed));
	tcase_add_test(t, test_sections_nested_too_deep);
	tcase_add_test(t, test_name_twice);
	tcase_add_loop_test(t, test_strict, 0, ARRAY_LEN(strict));
	tcase_add_loop_test(t, test_foreign_url, 0, ARRAY_LEN(foreign_urls));
	tcase_add_test(t, test_endless_recursion);
	tcase_add_test(t, test_too_many_steps);
	tcase_add_test(t, test_page_too_large);
	tcase_add_test(t, test_unknown_template);
	tcase_add_test(t, test_conformance);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
