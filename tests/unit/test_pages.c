/*
 * Every page, rendered strictly from its models in tests/web/models: well-formed, escaped, with a CSRF field in each
 * form, no inline code or style, no dangling reference, and no word outside the catalogue.
 */
#include <check.h>
#include <ctype.h>
#include <dirent.h>

#include "base/asset.h"
#include "base/json.h"
#include "web/template.h"

static const char models[] = "tests/web/models";

/* ---- a small strict reader of HTML ---- */

enum { NAMES_MAX = 2000, DEPTH_MAX = 64 };

struct page {
	const char *file;
	struct str text;
	size_t at;
	struct str open[DEPTH_MAX];
	size_t depth;
	struct str ids[NAMES_MAX], refs[NAMES_MAX];
	size_t id_count, ref_count;
	bool in_post_form, has_csrf;
};

static void bad(const struct page *p, const char *what, struct str s)
{
	int line = 1;

	for (size_t i = 0; i < p->at && i < p->text.len; i++)
		line += p->text.ptr[i] == '\n';
	ck_abort_msg("%s, line %d: %s \"%.*s\"", p->file, line, what, STR_ARG(s));
}

static char peek(const struct page *p)
{
	return p->at < p->text.len ? p->text.ptr[p->at] : '\0';
}

static void skip_blanks(struct page *p)
{
	while (isspace((unsigned char)peek(p)))
		p->at++;
}

static struct str read_name(struct page *p)
{
	size_t from = p->at;

	while (isalnum((unsigned char)peek(p)) || peek(p) == '-')
		p->at++;
	if (p->at == from)
		bad(p, "no name where one should be", (struct str){p->text.ptr + from, 1});
	return (struct str){p->text.ptr + from, p->at - from};
}

static bool is_one_of(struct str s, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (str_eqz(s, names[i]))
			return true;
	return false;
}

#define IS_ONE_OF(s, ...) \
	is_one_of((s), (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void refer(struct page *p, struct str id)
{
	ck_assert(p->ref_count < NAMES_MAX);
	p->refs[p->ref_count++] = id;
}

static bool is_text_of_ours(struct str name)
{
	return IS_ONE_OF(name, "aria-label", "placeholder", "data-busy", "data-done", "data-on", "data-off");
}

static void check_attribute(struct page *p, struct str tag, struct str name, struct str value)
{
	if (str_eqz(name, "style") || (name.len > 2 && str_starts(name, "on")))
		bad(p, "inline code or style:", name);
	if (str_eqz(name, "id")) {
		ck_assert(p->id_count < NAMES_MAX);
		for (size_t i = 0; i < p->id_count; i++)
			if (str_eq(p->ids[i], value))
				bad(p, "id used twice:", value);
		p->ids[p->id_count++] = value;
	}
	if (IS_ONE_OF(name, "aria-labelledby", "aria-describedby", "aria-controls", "popovertarget", "data-copy"))
		refer(p, value);
	if (str_eqz(name, "href") && value.len > 1 && value.ptr[0] == '#')
		refer(p, (struct str){value.ptr + 1, value.len - 1});
	if (is_text_of_ours(name) && (!value.len || str_trim(value).len != value.len))
		bad(p, "an empty or padded label:", name);
	if (str_eqz(tag, "form") && str_eqz(name, "method") && str_eqz(value, "post"))
		p->in_post_form = true;
	if (str_eqz(tag, "input") && str_eqz(name, "name") && str_eqz(value, "csrf"))
		p->has_csrf = true;
}

static void read_attributes(struct page *p, struct str tag)
{
	struct str seen[32], name, value;
	size_t n = 0;

	for (skip_blanks(p); peek(p) != '>' && peek(p) != '/'; skip_blanks(p)) {
		name = read_name(p);
		value = STR("");
		if (peek(p) == '=') {
			p->at++;
			if (peek(p) != '"')
				bad(p, "an attribute without quotes:", name);
			value.ptr = p->text.ptr + ++p->at;
			while (peek(p) && peek(p) != '"')
				if (p->text.ptr[p->at++] == '<')
					bad(p, "markup within an attribute:", name);
			value.len = (size_t)(p->text.ptr + p->at++ - value.ptr);
			if (!isspace((unsigned char)peek(p)) && peek(p) != '>' && peek(p) != '/')
				bad(p, "no blank after the attribute", name);
		}
		for (size_t i = 0; i < n; i++)
			if (str_eq(seen[i], name))
				bad(p, "attribute given twice:", name);
		ck_assert(n < ARRAY_LEN(seen));
		seen[n++] = name;
		check_attribute(p, tag, name, value);
	}
	if (str_eqz(tag, "script") && (!n || !str_eqz(seen[0], "src")))
		bad(p, "inline code:", tag);
}

static void read_end(struct page *p)
{
	struct str tag;

	p->at++;
	tag = read_name(p);
	if (!p->depth || !str_eq(p->open[p->depth - 1], tag))
		bad(p, "an end that fits nothing open:", tag);
	p->depth--;
	if (str_eqz(tag, "form")) {
		if (p->in_post_form && !p->has_csrf)
			bad(p, "a form that posts without csrf in", tag);
		p->in_post_form = p->has_csrf = false;
	}
	if (peek(p) != '>')
		bad(p, "malformed end of", tag);
	p->at++;
}

static void read_start(struct page *p)
{
	struct str tag = read_name(p);
	bool closed;

	for (size_t i = 0; i < p->depth; i++)
		if (IS_ONE_OF(tag, "form", "a", "button", "label", "main") && str_eq(tag, p->open[i]))
			bad(p, "nested in its own kind:", tag);
	read_attributes(p, tag);
	closed = peek(p) == '/';
	p->at += closed;
	if (peek(p) != '>')
		bad(p, "malformed tag", tag);
	p->at++;
	if (closed || IS_ONE_OF(tag, "meta", "link", "input", "br", "img"))
		return;
	ck_assert(p->depth < DEPTH_MAX);
	p->open[p->depth++] = tag;
}

static void check_page(const char *file, struct str text)
{
	struct page p = {.file = file, .text = text};

	if (!str_starts(text, "<!doctype html>\n"))
		bad(&p, "does not begin with a doctype:", (struct str){text.ptr, 20});
	p.at = strlen("<!doctype html>");
	while (p.at < text.len) {
		if (peek(&p) != '<') {
			p.at++;
			continue;
		}
		p.at++;
		if (peek(&p) == '/')
			read_end(&p);
		else
			read_start(&p);
	}
	if (p.depth)
		bad(&p, "never ended:", p.open[p.depth - 1]);
	for (size_t r = 0; r < p.ref_count; r++) {
		bool found = false;

		for (size_t i = 0; i < p.id_count && !found; i++)
			found = str_eq(p.refs[r], p.ids[i]);
		if (!found)
			bad(&p, "refers to nothing on the page:", p.refs[r]);
	}
}

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
		check_page(file, buf_str(&out));
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
					    "job", "job-new", "users", "tokens"};

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
