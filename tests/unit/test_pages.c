/*
 * Every page, rendered strictly from its models in tests/web/models: well-formed, escaped, with a CSRF field in each
 * form, no inline code or style, no dangling reference, and no word outside the catalogue.
 */
#include <check.h>
#include <ctype.h>
#include <dirent.h>

#include "base/asset.h"
#include "base/json.h"
#include "html.h"
#include "web/template.h"

static const char models[] = "tests/web/models";

/* ---- pages ---- */

static struct json *read_model(const char *file)
{
	cleanup_buf struct buf path = BUF_INIT(1000);
	cleanup_free char *text = calloc(1, 1 << 20);
	struct json *model = NULL;
	struct error e = {0};
	FILE *in;
	size_t len;

	buf_addf(&path, "%s/%s", models, file);
	in = fopen(path.ptr, "re");
	ck_assert_msg(in && text, "%s", path.ptr);
	len = fread(text, 1, 1 << 20, in);
	fclose(in);
	ck_assert_msg(json_parse((struct str){text, len}, 1 << 20, &model, &e) == OK, "%s: %s", file, e.msg);
	return model;
}

/* "pool.empty.json" is a model of the template "pool". */
static void template_of(const char *file, char *name, size_t size)
{
	snprintf(name, size, "%.*s", (int)strcspn(file, "."), file);
}

static void check_model(const struct template_set *set, const char *file)
{
	cleanup_buf struct buf out = BUF_INIT(1 << 20);
	cleanup_json struct json *model = read_model(file);
	struct error e = {0};
	char name[64];

	template_of(file, name, sizeof(name));
	for (size_t i = 0; template_locale(set, i); i++) {
		buf_reset(&out);
		ck_assert_msg(template_render(set, name, template_locale(set, i), model, true, &out, &e) == OK, "%s: %s",
			      file, e.msg);
		ck_assert_msg(!memmem(out.ptr, out.len, "<script>", 8), "%s: a value came through unescaped", file);
		html_check(file, buf_str(&out));
	}
}

START_TEST(test_models_render)
{
	cleanup_template struct template_set *set = NULL;
	struct error e = {0};
	DIR *dir = opendir(models);
	const struct dirent *entry;
	int n = 0;

	ck_assert_msg(dir != NULL, "%s: run from the checkout's root", models);
	ck_assert_msg(template_load(NULL, &set, &e) == OK, "%s", e.msg);
	while ((entry = readdir(dir)))
		if (str_ends(str_of(entry->d_name), ".json")) {
			check_model(set, entry->d_name);
			n++;
		}
	closedir(dir);
	ck_assert_int_gt(n, 20);
}
END_TEST

START_TEST(test_every_page_has_a_model)
{
	cleanup_template struct template_set *set = NULL;
	struct error e = {0};

	ck_assert_int_eq(template_load(NULL, &set, &e), OK);
	for (size_t i = 0; template_name(set, i); i++) {
		cleanup_buf struct buf file = BUF_INIT(200);

		if (template_name(set, i)[0] == '_')
			continue;
		buf_addf(&file, "%s.json", template_name(set, i));
		json_free(read_model(file.ptr));
	}
}
END_TEST

/* Some model has hostile text in a place that each page shows. */
START_TEST(test_models_are_hostile)
{
	cleanup_template struct template_set *set = NULL;
	cleanup_buf struct buf out = BUF_INIT(1 << 20);
	struct error e = {0};
	static const char *const pages[] = {"signin", "error", "pool", "worker", "worker-delete", "worker-new", "jobs",
					    "job", "job-new", "users", "tokens", "accounts", "account", "account-delete", "secrets", "scaling", "policies", "policy"};

	ck_assert_int_eq(template_load(NULL, &set, &e), OK);
	for (size_t i = 0; i < ARRAY_LEN(pages); i++) {
		cleanup_buf struct buf file = BUF_INIT(200);
		cleanup_json struct json *model = NULL;

		buf_addf(&file, "%s.json", pages[i]);
		model = read_model(file.ptr);
		buf_reset(&out);
		ck_assert_int_eq(template_render(set, pages[i], "en", model, true, &out, &e), OK);
		ck_assert_msg(memmem(out.ptr, out.len, "&lt;script&gt;", 14) != NULL, "%s shows no hostile text", pages[i]);
	}
}
END_TEST

/* ---- texts ---- */

/* The text without {{tags}}. */
static void without_tags(struct str text, struct buf *out)
{
	for (size_t i = 0; i < text.len; i++) {
		if (i + 1 < text.len && text.ptr[i] == '{' && text.ptr[i + 1] == '{') {
			const char *end = memmem(text.ptr + i, text.len - i, "}}", 2);

			ck_assert_ptr_nonnull(end);
			i = (size_t)(end - text.ptr) + 1;
			continue;
		}
		buf_addc(out, text.ptr[i]);
	}
	buf_addc(out, '\0');
}

/* Letters between tags, or in an attribute that is read to people. */
static const char *bare_word(const char *text)
{
	static const char *const spoken[] = {" aria-label=\"", " placeholder=\"", " title=\"", " alt=\"", " data-busy=\"",
					     " data-done=\""};
	/* A part that holds attributes only. */
	bool in_tag = !strchr(text, '<') && strstr(text, "=\"");

	for (const char *p = text; *p; p++) {
		if (*p == '<' || *p == '>')
			in_tag = *p == '<';
		else if (!in_tag && isalpha((unsigned char)*p))
			return p;
		for (size_t i = 0; in_tag && i < ARRAY_LEN(spoken); i++) {
			size_t len = strlen(spoken[i]);

			if (strncmp(p, spoken[i], len) != 0)
				continue;
			for (const char *q = p + len; *q && *q != '"'; q++)
				if (isalpha((unsigned char)*q))
					return q;
		}
	}
	return NULL;
}

START_TEST(test_no_word_outside_the_catalogue)
{
	size_t at, end;

	ck_assert_ptr_nonnull(bare_word("<p>x</p>"));
	ck_assert_ptr_nonnull(bare_word("<p title=\"x\">"));
	ck_assert_ptr_null(bare_word("<p class=\"x\"> · </p>"));
	for (asset_range("templates/", &at, &end); at < end; at++) {
		cleanup_buf struct buf text = BUF_INIT(1 << 20);
		const char *word;

		without_tags(assets[at].bytes, &text);
		word = bare_word(text.ptr);
		ck_assert_msg(!word, "%s: \"%.30s\"", assets[at].name, word);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("pages");
	TCase *t = tcase_create("pages");
	SRunner *runner;
	int failed;

	tcase_add_test(t, test_models_render);
	tcase_add_test(t, test_every_page_has_a_model);
	tcase_add_test(t, test_models_are_hostile);
	tcase_add_test(t, test_no_word_outside_the_catalogue);
	suite_add_tcase(s, t);
	runner = srunner_create(s);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
