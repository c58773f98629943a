/*
 * messages - parses catalogues and chooses forms; must not know models.
 */
#include "web/messages.h"

#include <inttypes.h>

/* ---- languages ---- */

static const char *plural_english(int64_t n)
{
	return n == 1 ? "one" : "other";
}

/* Portuguese, Brazil: 0 and 1 are "one"; whole millions are "many". */
static const char *plural_portuguese(int64_t n)
{
	if (n == 0 || n == 1)
		return "one";
	return n % 1000000 == 0 ? "many" : "other";
}

static const struct locale_rules locales[] = {
	{"en", plural_english, ","},
	{"pt-BR", plural_portuguese, "."},
};

static const char *const plural_categories[] = {"zero", "one", "two", "few", "many"};

const struct locale_rules *locale_find(const char *code)
{
	for (size_t i = 0; i < ARRAY_LEN(locales); i++)
		if (!strcmp(locales[i].code, code))
			return &locales[i];
	return NULL;
}

void locale_add_number(const struct locale_rules *rules, int64_t n, struct buf *out)
{
	char digits[24];
	int len = snprintf(digits, sizeof(digits), "%" PRIu64, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);

	if (n < 0)
		buf_addc(out, '-');
	for (int i = 0; i < len; i++) {
		if (i && (len - i) % 3 == 0)
			buf_adds(out, rules->group);
		buf_addc(out, digits[i]);
	}
}

/* ---- parsing ---- */

struct entry {
	const char *key, *form;
	struct str text;
	int line;
};

struct parser {
	struct arena *arena;
	const char *file;
	int line;
	struct entry *entries;
	size_t count, room;
	struct error *e;
};

static enum err fail(const struct parser *p, int line, const char *what, struct str name)
{
	return error_set(p->e, ERR_INVALID, "%s:%d: %s \"%.*s\"", p->file, line, what,
			 name.len > 80 ? 80 : (int)name.len, name.len ? name.ptr : "");
}

static enum err no_memory(const struct parser *p)
{
	return error_set(p->e, ERR_TOO_LARGE, "%s: too large", p->file);
}

static bool is_key(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && c != '.' &&
		    c != '_' && c != '-')
			return false;
	}
	return s.len > 0 && s.len <= OP_NAME_MAX;
}

static struct entry *new_entry(struct parser *p)
{
	if (p->count == p->room) {
		size_t room = p->room ? p->room * 2 : 64;
		struct entry *entries = arena_array(p->arena, room, sizeof(*entries));

		if (!entries)
			return NULL;
		if (p->count)
			memcpy(entries, p->entries, p->count * sizeof(*entries));
		p->entries = entries;
		p->room = room;
	}
	return &p->entries[p->count++];
}

/* "key" or "key[form]" */
static enum err parse_key(struct parser *p, struct str name, struct entry *ret)
{
	struct str form = STR_NULL;

	if (str_ends(name, "]")) {
		struct str rest = {name.ptr, name.len - 1};

		str_cut(&rest, '[', &name);
		form = rest;
		if (!is_key(form))
			return fail(p, p->line, "malformed form", form);
	}
	if (!is_key(name))
		return fail(p, p->line, "malformed key", name);
	ret->key = arena_strndup(p->arena, name.ptr, name.len);
	ret->form = arena_strndup(p->arena, form.len ? form.ptr : "", form.len);
	return ret->key && ret->form ? OK : no_memory(p);
}

static enum err parse_entry(struct parser *p, struct str line)
{
	struct str text = line, name;
	struct entry *entry;

	str_cut(&text, '=', &name);
	if (!text.ptr)
		return fail(p, p->line, "neither \"key = text\" nor a comment:", line);
	entry = new_entry(p);
	if (!entry)
		return no_memory(p);
	entry->text = str_trim(text);
	entry->line = p->line;
	return parse_key(p, str_trim(name), entry);
}

static enum err continue_entry(struct parser *p, struct str more)
{
	struct entry *last = p->count ? &p->entries[p->count - 1] : NULL;
	char *joined;

	if (!last)
		return fail(p, p->line, "nothing to continue with", more);
	joined = arena_printf(p->arena, "%.*s %.*s", STR_ARG(last->text), STR_ARG(more));
	if (!joined)
		return no_memory(p);
	last->text = str_of(joined);
	return OK;
}

static enum err parse_lines(struct parser *p, struct str text)
{
	struct str line;
	enum err err = OK;

	while (!err && str_cut(&text, '\n', &line)) {
		struct str content = str_trim(line);

		p->line++;
		if (!content.len || line.ptr[0] == '#')
			continue;
		if (line.ptr[0] == ' ' || line.ptr[0] == '\t')
			err = continue_entry(p, content);
		else
			err = parse_entry(p, content);
	}
	return err;
}

static int by_key(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int order = strcmp(x->key, y->key);

	if (!order)
		order = strcmp(x->form, y->form);
	return order ? order : x->line - y->line;
}

/* Entries first…first+n-1 have one key; makes them one message. */
static enum err build_message(struct parser *p, const struct entry *first, size_t n, struct message *ret)
{
	bool has_other = false;

	ret->key = first->key;
	ret->forms = arena_array(p->arena, n, sizeof(*ret->forms));
	if (!ret->forms)
		return no_memory(p);
	ret->count = n;
	for (size_t i = 0; i < n; i++) {
		const struct entry *entry = &first[i];

		if (i && !strcmp(entry->form, first[i - 1].form))
			return fail(p, entry->line, "given twice:", str_of(entry->key));
		if (!entry->form[0] && first[n - 1].form[0])
			return fail(p, entry->line, "both with and without forms:", str_of(entry->key));
		has_other |= !strcmp(entry->form, "other");
		ret->forms[i] = (struct message_form){entry->form, entry->text, entry->line, {0}};
	}
	if (first->form[0] && !has_other)
		return fail(p, first->line, "has forms but no [other]:", str_of(first->key));
	return OK;
}

static enum err build_catalogue(struct parser *p, struct catalogue *ret)
{
	size_t n;

	ret->messages = arena_array(p->arena, p->count, sizeof(*ret->messages));
	if (!ret->messages)
		return no_memory(p);
	if (p->count)
		qsort(p->entries, p->count, sizeof(*p->entries), by_key);
	for (size_t i = 0; i < p->count; i += n) {
		enum err err;

		for (n = 1; i + n < p->count && !strcmp(p->entries[i].key, p->entries[i + n].key); n++)
			;
		err = build_message(p, &p->entries[i], n, &ret->messages[ret->count++]);
		if (err)
			return err;
	}
	return OK;
}

enum err catalogue_parse(struct arena *a, const char *file, const struct locale_rules *rules,
			 struct str text, struct catalogue *ret, struct error *e)
{
	struct parser p = {.arena = a, .file = file, .e = e};
	enum err err;

	*ret = (struct catalogue){.file = file, .rules = rules};
	if (text.len && !str_is_utf8(text))
		return error_set(e, ERR_INVALID, "%s: not UTF-8", file);
	err = parse_lines(&p, text);
	return err ? err : build_catalogue(&p, ret);
}

/* ---- use ---- */

ptrdiff_t catalogue_find(const struct catalogue *c, const char *key)
{
	size_t low = 0, high = c->count;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		int order = strcmp(key, c->messages[mid].key);

		if (!order)
			return (ptrdiff_t)mid;
		if (order < 0)
			high = mid;
		else
			low = mid + 1;
	}
	return -1;
}

const struct message_form *message_form_named(const struct message *m, struct str name)
{
	for (size_t i = 0; i < m->count; i++)
		if (str_eqz(name, m->forms[i].name))
			return &m->forms[i];
	return NULL;
}

const struct message_form *message_choose(const struct catalogue *c, const struct message *m, struct str argument,
					  const int64_t *number)
{
	const struct message_form *form;

	if (!m->forms[0].name[0])
		return &m->forms[0];
	form = message_form_named(m, argument);
	if (!form && number)
		form = message_form_named(m, str_of(c->rules->plural(*number)));
	return form ? form : message_form_named(m, STR("other"));
}

static bool is_plural_category(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(plural_categories); i++)
		if (!strcmp(plural_categories[i], name))
			return true;
	return false;
}

/* Every key and form of a is in b. */
static enum err covered(const struct catalogue *a, const struct catalogue *b, struct error *e)
{
	for (size_t i = 0; i < a->count; i++) {
		const struct message *m = &a->messages[i];
		ptrdiff_t at = catalogue_find(b, m->key);

		if (at < 0)
			return error_set(e, ERR_INVALID, "%s has \"%s\", %s has not", a->file, m->key, b->file);
		for (size_t f = 0; f < m->count; f++)
			if (!is_plural_category(m->forms[f].name) &&
			    !message_form_named(&b->messages[at], str_of(m->forms[f].name)))
				return error_set(e, ERR_INVALID, "%s has \"%s[%s]\", %s has not", a->file, m->key,
						 m->forms[f].name, b->file);
	}
	return OK;
}

enum err catalogue_compare(const struct catalogue *reference, const struct catalogue *other, struct error *e)
{
	enum err err = covered(reference, other, e);

	return err ? err : covered(other, reference, e);
}
