/* A small strict reader of HTML; see html.h. */
#include "html.h"

#include <check.h>
#include <ctype.h>
#include <string.h>

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

void html_check(const char *file, struct str text)
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
