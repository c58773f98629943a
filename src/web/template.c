/*
 * template - a linked set of programs and their rendering.
 */
#include "web/template.h"

#include <inttypes.h>
#include <math.h>

#include "web/messages.h"
#include "web/template_ops.h"
#include "web/template_set.h"

struct render {
	const struct template_set *set;
	const struct catalogue *catalogue;
	const struct program *program; /* being run, for error messages */
	const struct json *contexts[TEMPLATE_CONTEXTS_MAX];
	size_t depth;
	const struct json *argument; /* of the message being run */
	struct buf indent;           /* of partials that have a line to themselves, from */
	size_t indent_from;          /* here; what came before is another line's */
	size_t calls, steps;
	bool strict;
	struct buf *out;
	struct error *e;
};

static enum err run(struct render *r, const struct program *p, size_t from, size_t to);

static enum err fail(const struct render *r, const struct op *op, const char *what)
{
	return error_set(r->e, ERR_INTERNAL, "%s:%d: %s \"%.*s\"", r->program->file, op->line, what,
			 op->text.len > 80 ? 80 : (int)op->text.len, op->text.ptr);
}

/* What strict rendering refuses and the other passes over. */
static enum err complain(const struct render *r, const struct op *op, const char *what)
{
	return r->strict ? fail(r, op, what) : OK;
}

/* ---- values ---- */

static bool has_key(const struct json *j, const char *key)
{
	return json_type_of(j) == JSON_OBJECT && json_has(j, key);
}

/* False when some part of the path is absent; *ret is then NULL. */
static bool lookup(const struct render *r, const struct op_path *path, const struct json **ret)
{
	const struct json *j = NULL;

	*ret = NULL;
	if (!path->n) {
		*ret = r->contexts[r->depth - 1];
		return true;
	}
	for (size_t i = r->depth; i-- > 0;)
		if (has_key(r->contexts[i], path->names[0])) {
			j = r->contexts[i];
			break;
		}
	for (size_t i = 0; i < path->n; i++) {
		if (!has_key(j, path->names[i]))
			return false;
		j = json_get(j, path->names[i]);
	}
	*ret = j;
	return true;
}

static bool is_true(const struct json *j)
{
	switch (json_type_of(j)) {
	case JSON_NULL:
		return false;
	case JSON_BOOL:
		return json_as_bool(j, false);
	case JSON_INT:
		return json_as_i64(j, 0) != 0;
	case JSON_DOUBLE:
		return json_as_double(j, 0) != 0;
	case JSON_STRING:
		return json_as_str(j).len > 0;
	case JSON_ARRAY:
		return json_len(j) > 0;
	case JSON_OBJECT:
	default:
		return true;
	}
}

/* The shortest decimal that reads back as the same number. */
static void format_double(double v, char *text, size_t size)
{
	if (!isfinite(v)) {
		snprintf(text, size, "0");
		return;
	}
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(text, size, "%.*g", digits, v);
		if (strtod(text, NULL) == v)
			break;
	}
}

enum { NUMBER_TEXT = 40 };

/* The text of a scalar, in `scratch` or borrowed; false for lists and objects. */
static bool scalar_text(const struct json *j, char scratch[NUMBER_TEXT], struct str *ret)
{
	*ret = STR("");
	switch (json_type_of(j)) {
	case JSON_NULL:
		return true;
	case JSON_BOOL:
		*ret = json_as_bool(j, false) ? STR("true") : STR("false");
		return true;
	case JSON_INT:
		snprintf(scratch, NUMBER_TEXT, "%" PRId64, json_as_i64(j, 0));
		*ret = str_of(scratch);
		return true;
	case JSON_DOUBLE:
		format_double(json_as_double(j, 0), scratch, NUMBER_TEXT);
		*ret = str_of(scratch);
		return true;
	case JSON_STRING:
		*ret = json_as_str(j);
		return true;
	case JSON_ARRAY:
	case JSON_OBJECT:
	default:
		return false;
	}
}

/*
 * Relative to this site, or plainly http(s).  Blanks, control characters and
 * backslashes are refused because browsers drop or turn them: "/\t/host" is
 * another host's address to them.
 */
static bool is_safe_url(struct str url)
{
	for (size_t i = 0; i < url.len; i++)
		if ((unsigned char)url.ptr[i] <= ' ' || url.ptr[i] == '\\' || url.ptr[i] == 0x7f)
			return false;
	if (!url.len || url.ptr[0] == '?' || url.ptr[0] == '#')
		return true;
	if (url.ptr[0] == '/')
		return url.len == 1 || url.ptr[1] != '/';
	return str_starts(url, "https://") || str_starts(url, "http://");
}

/* ---- output ---- */

static struct str indent(const struct render *r)
{
	if (!r->indent.ptr) /* nothing was indented yet: NULL takes no offset, not even 0 */
		return STR("");
	return (struct str){r->indent.ptr + r->indent_from, r->indent.len - r->indent_from};
}

static void add_indented(struct render *r, struct str text, bool first)
{
	size_t start = 0;

	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] != '\n' && i + 1 < text.len)
			continue;
		if (start || first)
			buf_addstr(r->out, indent(r));
		buf_add(r->out, text.ptr + start, i + 1 - start);
		start = i + 1;
	}
}

static void add_text(struct render *r, const struct op *op)
{
	if (indent(r).len)
		add_indented(r, op->text, op->first);
	else
		buf_addstr(r->out, op->text);
}

static void add_indent(struct render *r, const struct op *op)
{
	if (op->first && indent(r).len)
		buf_addstr(r->out, indent(r));
}

static enum err add_value(struct render *r, const struct op *op)
{
	const struct json *j;
	char scratch[NUMBER_TEXT];
	struct str text;

	add_indent(r, op);
	if (!lookup(r, &op->path, &j))
		return complain(r, op, "the model has no");
	if (!scalar_text(j, scratch, &text))
		return complain(r, op, "not a text or number:");
	if (op->kind == OP_URL && !is_safe_url(text)) {
		buf_addc(r->out, '#');
		return complain(r, op, "not a URL of this site nor http:");
	}
	buf_add_html(r->out, text);
	return OK;
}

static enum err add_argument(struct render *r, const struct op *op)
{
	char scratch[NUMBER_TEXT];
	struct str text;

	add_indent(r, op);
	if (json_type_of(r->argument) == JSON_INT) {
		locale_add_number(r->catalogue->rules, json_as_i64(r->argument, 0), r->out);
		return OK;
	}
	if (!scalar_text(r->argument, scratch, &text))
		return complain(r, op, "the argument is not a text or number");
	buf_add_html(r->out, text);
	return OK;
}

/* ---- sections and calls ---- */

static enum err run_in(struct render *r, const struct program *p, const struct op *op, size_t at, const struct json *j)
{
	enum err err;

	if (r->depth == TEMPLATE_CONTEXTS_MAX)
		return fail(r, op, "contexts nested too deep at");
	r->contexts[r->depth++] = j;
	err = run(r, p, at + 1, op->end);
	r->depth--;
	return err;
}

static enum err run_section(struct render *r, const struct program *p, size_t at)
{
	const struct op *op = &p->ops[at];
	const struct json *j;
	enum err err = OK;

	if (!lookup(r, &op->path, &j))
		return complain(r, op, "the model has no");
	if (!is_true(j))
		return OK;
	if (json_type_of(j) != JSON_ARRAY)
		return run_in(r, p, op, at, j);
	for (size_t i = 0, n = json_len(j); i < n && !err; i++)
		err = run_in(r, p, op, at, json_at(j, i));
	return err;
}

static enum err run_inverted(struct render *r, const struct program *p, size_t at)
{
	const struct op *op = &p->ops[at];
	const struct json *j;

	if (!lookup(r, &op->path, &j)) {
		enum err err = complain(r, op, "the model has no");

		if (err)
			return err;
	}
	return is_true(j) ? OK : run(r, p, at + 1, op->end);
}

/*
 * Runs another program in the same context.  Unless it has a line to itself
 * it begins within one, and its lines are its own.
 */
static enum err call(struct render *r, const struct op *op, const struct program *callee)
{
	const struct program *caller = r->program;
	size_t indent_from = r->indent_from;
	enum err err;

	if (r->calls == TEMPLATE_CALLS_MAX)
		return fail(r, op, "nested too deep at");
	r->calls++;
	if (!op->alone)
		r->indent_from = r->indent.len;
	r->program = callee;
	err = run(r, callee, 0, callee->count);
	r->program = caller;
	r->indent_from = indent_from;
	r->calls--;
	return err;
}

static enum err call_partial(struct render *r, const struct op *op)
{
	size_t outer = r->indent.len;
	enum err err;

	if (!op->alone)
		add_indent(r, op);
	buf_addstr(&r->indent, op->indent);
	if (r->indent.failed)
		return fail(r, op, "indented too far at");
	err = call(r, op, &r->set->templates[op->target].program);
	r->indent.len = outer;
	return err;
}

static enum err call_message(struct render *r, const struct op *op)
{
	const struct message *m = &r->catalogue->messages[op->target];
	const struct json *outer = r->argument, *argument = NULL;
	char scratch[NUMBER_TEXT];
	const struct message_form *form;
	struct str text = STR("");
	int64_t number;
	enum err err = OK;

	add_indent(r, op);
	if (op->has_path && !lookup(r, &op->path, &argument))
		err = complain(r, op, "the model has no argument for");
	if (!err && !scalar_text(argument, scratch, &text))
		err = complain(r, op, "the argument is not a text or number:");
	if (err)
		return err;
	number = json_as_i64(argument, 0);
	if (op->form.ptr)
		form = message_form_named(m, op->form);
	else
		form = message_choose(r->catalogue, m, text, json_type_of(argument) == JSON_INT ? &number : NULL);
	r->argument = argument;
	err = call(r, op, &form->program);
	r->argument = outer;
	return err;
}

static enum err step(struct render *r, const struct program *p, size_t at)
{
	const struct op *op = &p->ops[at];

	switch (op->kind) {
	case OP_TEXT:
		add_text(r, op);
		return OK;
	case OP_VALUE:
	case OP_URL:
		return add_value(r, op);
	case OP_SECTION:
		return run_section(r, p, at);
	case OP_INVERTED:
		return run_inverted(r, p, at);
	case OP_PARTIAL:
		return call_partial(r, op);
	case OP_MESSAGE:
		return call_message(r, op);
	case OP_ARGUMENT:
		return add_argument(r, op);
	case OP_END:
	default:
		return OK;
	}
}

/* Operations from (inclusive) to to (exclusive). */
static enum err run(struct render *r, const struct program *p, size_t from, size_t to)
{
	for (size_t at = from; at < to; at++) {
		const struct op *op = &p->ops[at];
		enum err err;

		if (++r->steps > TEMPLATE_STEPS_MAX)
			return fail(r, op, "more steps than a page may take at");
		err = step(r, p, at);
		if (err)
			return err;
		if (r->out->failed)
			return error_set(r->e, ERR_TOO_LARGE, "%s:%d: the page is too large", p->file, op->line);
		if (op->kind == OP_SECTION || op->kind == OP_INVERTED)
			at = op->end;
	}
	return OK;
}

static const struct catalogue *find_catalogue(const struct template_set *set, const char *locale)
{
	for (size_t i = 0; locale && i < set->catalogue_count; i++)
		if (!strcmp(set->catalogues[i].rules->code, locale))
			return &set->catalogues[i];
	return &set->catalogues[0];
}

enum err template_render(const struct template_set *set, const char *name, const char *locale,
			 const struct json *model, bool strict, struct buf *out, struct error *e)
{
	struct render r = {.set = set,
			   .catalogue = find_catalogue(set, locale),
			   .contexts = {model},
			   .depth = 1,
			   .indent = BUF_INIT(1024),
			   .strict = strict,
			   .out = out,
			   .e = e};
	ptrdiff_t at = template_find(set, str_of(name));
	enum err err;

	if (at < 0)
		return error_set(e, ERR_NOT_FOUND, "no template \"%s\"", name);
	r.program = &set->templates[at].program;
	err = run(&r, r.program, 0, r.program->count);
	buf_free(&r.indent);
	return err;
}
