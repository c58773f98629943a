/*
 * template_set - loads templates and catalogues and resolves their names.
 */
#include "web/template_set.h"

#include <dirent.h>
#include <errno.h>

#include "base/asset.h"

enum { SET_BYTES_MAX = 16 << 20, FILE_BYTES_MAX = 1 << 20 };

/* ---- building ---- */

struct template_set *template_new(void)
{
	struct template_set *set = calloc(1, sizeof(*set));

	if (!set)
		abort();
	arena_init(&set->arena, SET_BYTES_MAX);
	return set;
}

void template_free(struct template_set *set)
{
	if (!set)
		return;
	arena_free(&set->arena);
	free(set);
}

ptrdiff_t template_find(const struct template_set *set, struct str name)
{
	for (size_t i = 0; i < set->template_count; i++)
		if (str_eqz(name, set->templates[i].name))
			return (ptrdiff_t)i;
	return -1;
}

const char *template_name(const struct template_set *set, size_t i)
{
	return i < set->template_count ? set->templates[i].name : NULL;
}

const char *template_locale(const struct template_set *set, size_t i)
{
	return i < set->catalogue_count ? set->catalogues[i].rules->code : NULL;
}

bool template_has_locale(const struct template_set *set, const char *locale)
{
	for (size_t i = 0; i < set->catalogue_count; i++)
		if (!strcmp(set->catalogues[i].rules->code, locale))
			return true;
	return false;
}

static enum err full(struct error *e)
{
	return error_set(e, ERR_TOO_LARGE, "too many or too large templates");
}

enum err template_add(struct template_set *set, const char *name, struct str text, struct error *e)
{
	struct template *t = &set->templates[set->template_count];
	const char *file = arena_printf(&set->arena, "%s.html", name);
	struct str copy = arena_str(&set->arena, text);

	if (set->template_count == SET_TEMPLATES_MAX || !file || !copy.ptr)
		return full(e);
	if (template_find(set, str_of(name)) >= 0)
		return error_set(e, ERR_INVALID, "template \"%s\" given twice", name);
	t->name = arena_strdup(&set->arena, name);
	if (!t->name)
		return full(e);
	set->template_count++;
	return program_compile(&set->arena, PROGRAM_TEMPLATE, file, 1, copy, &t->program, e);
}

enum err template_add_catalogue(struct template_set *set, const char *locale, struct str text, struct error *e)
{
	const struct locale_rules *rules = locale_find(locale);
	struct catalogue *c = &set->catalogues[set->catalogue_count];
	const char *file = arena_printf(&set->arena, "%s.txt", locale);
	struct str copy = arena_str(&set->arena, text);
	enum err err;

	if (!rules)
		return error_set(e, ERR_INVALID, "no rules for the language \"%s\"", locale);
	if (set->catalogue_count == SET_CATALOGUES_MAX || !file || !copy.ptr)
		return full(e);
	set->catalogue_count++;
	err = catalogue_parse(&set->arena, file, rules, copy, c, e);
	for (size_t i = 0; !err && i < c->count; i++)
		for (size_t f = 0; !err && f < c->messages[i].count; f++) {
			struct message_form *form = &c->messages[i].forms[f];

			err = program_compile(&set->arena, PROGRAM_MESSAGE, file, form->line, form->text, &form->program,
					      e);
		}
	return err;
}

/* ---- linking ---- */

static enum err link_partial(const struct template_set *set, const struct program *p, struct op *op, struct error *e)
{
	ptrdiff_t at = template_find(set, op->text);

	if (at < 0)
		return error_set(e, ERR_INVALID, "%s:%d: unknown partial \"%s\"", p->file, op->line, op->text.ptr);
	op->target = (size_t)at;
	return OK;
}

/* Whether to choose a form, or to write the one given. */
static bool needs_argument(const struct message *m, struct str form)
{
	for (size_t f = 0; f < m->count; f++) {
		if (form.ptr && !str_eqz(form, m->forms[f].name))
			continue;
		if ((m->forms[f].name[0] && !form.ptr) || m->forms[f].program.uses_argument)
			return true;
	}
	return false;
}

static enum err link_message(const struct template_set *set, const struct program *p, struct op *op, struct error *e)
{
	ptrdiff_t at = catalogue_find(&set->catalogues[0], op->text.ptr);

	if (at < 0)
		return error_set(e, ERR_INVALID, "%s:%d: unknown message \"%s\"", p->file, op->line, op->text.ptr);
	op->target = (size_t)at;
	for (size_t i = 0; i < set->catalogue_count; i++) {
		const struct message *m = &set->catalogues[i].messages[at];

		if (op->form.ptr && !message_form_named(m, op->form))
			return error_set(e, ERR_INVALID, "%s:%d: message \"%s\" has no form \"%s\"", p->file, op->line,
					 op->text.ptr, op->form.ptr);
		if (!op->has_path && needs_argument(m, op->form))
			return error_set(e, ERR_INVALID, "%s:%d: message \"%s\" needs an argument", p->file, op->line,
					 op->text.ptr);
	}
	return OK;
}

static enum err link_program(const struct template_set *set, struct program *p, struct error *e)
{
	enum err err = OK;

	for (size_t i = 0; i < p->count && !err; i++) {
		if (p->ops[i].kind == OP_PARTIAL)
			err = link_partial(set, p, &p->ops[i], e);
		else if (p->ops[i].kind == OP_MESSAGE)
			err = link_message(set, p, &p->ops[i], e);
	}
	return err;
}

static enum err link_catalogue(const struct template_set *set, struct catalogue *c, struct error *e)
{
	enum err err = OK;

	for (size_t i = 0; i < c->count; i++)
		for (size_t f = 0; f < c->messages[i].count && !err; f++)
			err = link_program(set, &c->messages[i].forms[f].program, e);
	return err;
}

/* The reference becomes the first; a set without any gets an empty one. */
static enum err order_catalogues(struct template_set *set, struct error *e)
{
	struct catalogue first = set->catalogues[0];

	if (!set->catalogue_count)
		return template_add_catalogue(set, TEMPLATE_LOCALE, STR(""), e);
	for (size_t i = 0; i < set->catalogue_count; i++)
		if (!strcmp(set->catalogues[i].rules->code, TEMPLATE_LOCALE)) {
			set->catalogues[0] = set->catalogues[i];
			set->catalogues[i] = first;
			return OK;
		}
	return error_set(e, ERR_INVALID, "there is no catalogue for \"%s\"", TEMPLATE_LOCALE);
}

enum err template_link(struct template_set *set, struct error *e)
{
	enum err err = order_catalogues(set, e);

	/* Equal keys give equal indices, so that a message has one index for all languages. */
	for (size_t i = 1; i < set->catalogue_count && !err; i++)
		err = catalogue_compare(&set->catalogues[0], &set->catalogues[i], e);
	for (size_t i = 0; i < set->template_count && !err; i++)
		err = link_program(set, &set->templates[i].program, e);
	for (size_t i = 0; i < set->catalogue_count && !err; i++)
		err = link_catalogue(set, &set->catalogues[i], e);
	return err;
}

/* ---- loading ---- */

static const struct source {
	const char *folder, *suffix;
	enum err (*add)(struct template_set *, const char *, struct str, struct error *);
} sources[] = {
	{"templates/", ".html", template_add},
	{"messages/", ".txt", template_add_catalogue},
};

/* Adds one file under its name without folder and suffix; others are passed over. */
static enum err add_file(struct template_set *set, const struct source *source, const char *file, struct str text,
			 struct error *e)
{
	size_t len = strlen(file), suffix = strlen(source->suffix);
	const char *name;

	if (len <= suffix || strcmp(file + len - suffix, source->suffix) != 0)
		return OK;
	name = arena_strndup(&set->arena, file, len - suffix);
	return name ? source->add(set, name, text, e) : full(e);
}

static enum err load_assets(struct template_set *set, const struct source *source, struct error *e)
{
	size_t at, end;
	enum err err = OK;

	for (asset_range(source->folder, &at, &end); at < end && !err; at++)
		err = add_file(set, source, assets[at].name + strlen(source->folder), assets[at].bytes, e);
	return err;
}

static enum err load_file(struct template_set *set, const struct source *source, const char *path, const char *file,
			  struct error *e)
{
	cleanup_free char *text = malloc(FILE_BYTES_MAX + 1);
	cleanup_file FILE *in = fopen(path, "rbe");
	size_t len;

	if (!text)
		abort();
	if (!in)
		return error_set(e, ERR_INVALID, "%s: %s", path, strerror(errno));
	len = fread(text, 1, FILE_BYTES_MAX + 1, in);
	if (ferror(in) || len > FILE_BYTES_MAX)
		return error_set(e, ERR_INVALID, "%s: unreadable or too large", path);
	return add_file(set, source, file, (struct str){text, len}, e);
}

static enum err load_folder(struct template_set *set, const struct source *source, const char *dir, struct error *e)
{
	const char *folder = arena_printf(&set->arena, "%s/%s", dir, source->folder);
	const struct dirent *entry;
	enum err err = OK;
	DIR *open;

	if (!folder)
		return full(e);
	open = opendir(folder);
	if (!open)
		return error_set(e, ERR_INVALID, "%s: %s", folder, strerror(errno));
	while (!err && (entry = readdir(open))) {
		const char *path = arena_printf(&set->arena, "%s%s", folder, entry->d_name);

		if (!path)
			err = full(e);
		else if (str_ends(str_of(entry->d_name), source->suffix))
			err = load_file(set, source, path, entry->d_name, e);
	}
	closedir(open);
	return err;
}

enum err template_load(const char *dir, struct template_set **ret, struct error *e)
{
	struct template_set *set = template_new();
	enum err err = OK;

	for (size_t i = 0; i < ARRAY_LEN(sources) && !err; i++)
		err = dir ? load_folder(set, &sources[i], dir, e) : load_assets(set, &sources[i], e);
	if (!err)
		err = template_link(set, e);
	if (err) {
		template_free(set);
		return err;
	}
	*ret = set;
	return OK;
}
