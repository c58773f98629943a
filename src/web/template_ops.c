/*
 * template_ops - the grammar of templates; must not know models or files.
 */
#include "web/template_ops.h"

struct compiler {
	struct arena *arena;
	enum program_kind kind;
	struct program *program;
	struct error *e;
	struct str src;
	size_t at;       /* next byte not yet compiled */
	size_t counted;  /* bytes up to which `line` is right */
	int line;        /* of the tag at hand */
	bool line_start; /* the next output begins a line of the template */
	size_t room;     /* allocated length of program->ops */
	size_t open[OP_NESTING_MAX]; /* indices of sections not yet ended */
	size_t depth;
};

/* A tag as found: the bytes between the braces and what surrounds them. */
struct tag {
	size_t start, end; /* of the whole tag, end exclusive */
	char sigil;        /* 0 for a plain value */
	struct str body;   /* without sigil and outer blanks */
};

static enum err fail(struct compiler *c, const char *what, struct str name)
{
	if (name.ptr)
		return error_set(c->e, ERR_INVALID, "%s:%d: %s \"%.*s\"", c->program->file, c->line, what,
				 name.len > 80 ? 80 : (int)name.len, name.ptr);
	return error_set(c->e, ERR_INVALID, "%s:%d: %s", c->program->file, c->line, what);
}

static enum err no_memory(struct compiler *c)
{
	return error_set(c->e, ERR_TOO_LARGE, "%s: too large", c->program->file);
}

static struct str slice(struct str s, size_t from, size_t to)
{
	return (struct str){s.ptr + from, to - from};
}

static void count_lines(struct compiler *c, size_t upto)
{
	for (; c->counted < upto; c->counted++)
		if (c->src.ptr[c->counted] == '\n')
			c->line++;
}

static struct op *add_op(struct compiler *c, enum op_kind kind)
{
	struct program *p = c->program;

	if (p->count == c->room) {
		size_t room = c->room ? c->room * 2 : 16;
		struct op *ops = arena_array(c->arena, room, sizeof(*ops));

		if (!ops)
			return NULL;
		if (p->count)
			memcpy(ops, p->ops, p->count * sizeof(*ops));
		p->ops = ops;
		c->room = room;
	}
	p->ops[p->count] = (struct op){.kind = kind, .line = c->line, .first = c->line_start};
	return &p->ops[p->count++];
}

static enum err add_text(struct compiler *c, size_t from, size_t to)
{
	struct op *op;

	if (from == to)
		return OK;
	op = add_op(c, OP_TEXT);
	if (!op)
		return no_memory(c);
	op->text = slice(c->src, from, to);
	c->line_start = c->src.ptr[to - 1] == '\n';
	return OK;
}

static bool is_name_char(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '_' ||
	       ch == '-';
}

static bool is_blank(char ch)
{
	return ch == ' ' || ch == '\t';
}


/* "a", "a.b.c" or ".". */
static enum err parse_path(struct compiler *c, struct str text, struct op_path *ret)
{
	struct str rest = text, name;

	if (!text.len)
		return fail(c, "tag without a name", STR_NULL);
	if (str_eqz(text, "."))
		return OK;
	ret->names = arena_array(c->arena, OP_PATH_MAX, sizeof(*ret->names));
	if (!ret->names)
		return no_memory(c);
	while (str_cut(&rest, '.', &name)) {
		if (!name.len || name.len > OP_NAME_MAX || ret->n == OP_PATH_MAX)
			return fail(c, "malformed name", text);
		for (size_t i = 0; i < name.len; i++)
			if (!is_name_char(name.ptr[i]))
				return fail(c, "malformed name", text);
		ret->names[ret->n] = arena_strndup(c->arena, name.ptr, name.len);
		if (!ret->names[ret->n++])
			return no_memory(c);
	}
	return OK;
}

/* The name of a partial or message: name characters and dots. */
static enum err parse_key(struct compiler *c, struct str text, struct str *ret)
{
	if (!text.len)
		return fail(c, "tag without a name", STR_NULL);
	for (size_t i = 0; i < text.len; i++)
		if (!is_name_char(text.ptr[i]) && text.ptr[i] != '.')
			return fail(c, "malformed name", text);
	*ret = arena_str(c->arena, text);
	return ret->ptr ? OK : no_memory(c);
}

/* Whether the text before a tag opens an attribute that holds a URL. */
static bool opens_url(struct str before)
{
	return str_ends(before, " href=\"") || str_ends(before, " src=\"") || str_ends(before, " action=\"") ||
	       str_ends(before, " formaction=\"");
}

static enum err add_value(struct compiler *c, const struct tag *tag)
{
	struct op *op = add_op(c, opens_url(slice(c->src, 0, tag->start)) ? OP_URL : OP_VALUE);
	struct op_path path = {0};
	enum err err;

	if (!op)
		return no_memory(c);
	err = parse_path(c, tag->body, &path);
	if (err)
		return err;
	op->path = path;
	op->has_path = true;
	op->text = arena_str(c->arena, tag->body);
	c->line_start = false;
	return op->text.ptr ? OK : no_memory(c);
}

static enum err open_section(struct compiler *c, const struct tag *tag)
{
	struct op *op = add_op(c, tag->sigil == '#' ? OP_SECTION : OP_INVERTED);
	enum err err;

	if (!op)
		return no_memory(c);
	if (c->depth == OP_NESTING_MAX)
		return fail(c, "sections nested too deep at", tag->body);
	c->open[c->depth++] = c->program->count - 1;
	err = parse_path(c, tag->body, &op->path);
	if (err)
		return err;
	op->has_path = true;
	op->text = arena_str(c->arena, tag->body);
	return op->text.ptr ? OK : no_memory(c);
}

static enum err close_section(struct compiler *c, const struct tag *tag)
{
	struct op *opening;

	if (!c->depth)
		return fail(c, "nothing is open to be ended by", tag->body);
	opening = &c->program->ops[c->open[--c->depth]];
	if (!str_eq(opening->text, tag->body))
		return fail(c, "an end that fits no open section:", tag->body);
	if (!add_op(c, OP_END))
		return no_memory(c);
	/* add_op may have moved the list */
	c->program->ops[c->open[c->depth]].end = c->program->count - 1;
	return OK;
}

static enum err add_partial(struct compiler *c, const struct tag *tag, bool alone, struct str indent)
{
	struct op *op;

	if (c->kind == PROGRAM_MESSAGE)
		return fail(c, "a message may not include", tag->body);
	op = add_op(c, OP_PARTIAL);
	if (!op)
		return no_memory(c);
	op->alone = alone;
	op->indent = indent;
	c->line_start = false;
	return parse_key(c, tag->body, &op->text);
}

/* "key[form]" */
static enum err parse_form(struct compiler *c, struct str text, struct op *op)
{
	struct str form = {text.ptr, text.len - 1}, key;
	enum err err;

	str_cut(&form, '[', &key);
	err = parse_key(c, key, &op->text);
	return err ? err : parse_key(c, form, &op->form);
}

static enum err add_message(struct compiler *c, const struct tag *tag)
{
	struct str argument = tag->body, key;
	struct op *op;
	enum err err;

	if (!tag->body.len) {
		if (c->kind != PROGRAM_MESSAGE)
			return fail(c, "{{@}} outside a message", STR_NULL);
		c->program->uses_argument = true;
		op = add_op(c, OP_ARGUMENT);
		c->line_start = false;
		return op ? OK : no_memory(c);
	}
	op = add_op(c, OP_MESSAGE);
	if (!op)
		return no_memory(c);
	c->line_start = false;
	str_cut(&argument, ' ', &key);
	if (str_ends(key, "]"))
		err = parse_form(c, key, op);
	else
		err = parse_key(c, key, &op->text);
	if (err || !argument.ptr)
		return err;
	op->has_path = true;
	return parse_path(c, str_trim(argument), &op->path);
}

/* The end of the tag that begins at `start`, or an error. */
static enum err read_tag(struct compiler *c, size_t start, struct tag *ret)
{
	struct str src = c->src;
	size_t body = start + 2, end;
	char sigil = body < src.len ? src.ptr[body] : 0;

	count_lines(c, start);
	if (sigil == '{' || sigil == '&')
		return fail(c, "raw output is refused", STR_NULL);
	if (sigil == '=')
		return fail(c, "other delimiters are refused", STR_NULL);
	if (sigil && strchr("#^/>!@", sigil))
		body++;
	else
		sigil = 0;
	for (end = body; end + 1 < src.len && (src.ptr[end] != '}' || src.ptr[end + 1] != '}'); end++)
		;
	if (end + 1 >= src.len)
		return fail(c, "a tag is not ended", STR_NULL);
	*ret = (struct tag){start, end + 2, sigil, str_trim(slice(src, body, end))};
	return OK;
}

/*
 * Whether a tag has its line to itself.  *from becomes the start of the blanks
 * before it and *to the byte after its line's end.
 */
static bool stands_alone(const struct compiler *c, const struct tag *tag, size_t *from, size_t *to)
{
	struct str src = c->src;
	size_t before = tag->start, after = tag->end;

	if (!tag->sigil || tag->sigil == '@')
		return false;
	while (before && is_blank(src.ptr[before - 1]))
		before--;
	if (before && src.ptr[before - 1] != '\n')
		return false;
	while (after < src.len && is_blank(src.ptr[after]))
		after++;
	if (after < src.len && src.ptr[after] == '\r')
		after++;
	if (after < src.len && src.ptr[after] != '\n')
		return false;
	*from = before;
	*to = after < src.len ? after + 1 : after;
	return true;
}

static enum err add_tag(struct compiler *c, const struct tag *tag, bool alone, struct str indent)
{
	if (tag->sigil && tag->sigil != '!' && opens_url(slice(c->src, 0, tag->start)))
		return fail(c, "an attribute that holds a URL begins with a value or text, not with", tag->body);
	switch (tag->sigil) {
	case '#':
	case '^':
		return open_section(c, tag);
	case '/':
		return close_section(c, tag);
	case '>':
		return add_partial(c, tag, alone, indent);
	case '@':
		return add_message(c, tag);
	case '!':
		return OK;
	default:
		return add_value(c, tag);
	}
}

static enum err compile_tag(struct compiler *c, size_t start)
{
	struct tag tag = {0};
	size_t from = start, to;
	bool alone;
	enum err err = read_tag(c, start, &tag);

	if (err)
		return err;
	to = tag.end;
	alone = stands_alone(c, &tag, &from, &to);
	err = add_text(c, c->at, from);
	if (!err)
		err = add_tag(c, &tag, alone, slice(c->src, from, start));
	if (alone)
		c->line_start = true;
	c->at = to;
	return err;
}

enum err program_compile(struct arena *a, enum program_kind kind, const char *file, int first_line,
			 struct str text, struct program *ret, struct error *e)
{
	struct compiler c = {
		.arena = a, .kind = kind, .program = ret, .e = e, .src = text, .line = first_line, .line_start = true};
	enum err err = OK;

	*ret = (struct program){.file = file};
	for (size_t i = 0; !err && i + 1 < text.len;) {
		if (text.ptr[i] != '{' || text.ptr[i + 1] != '{') {
			i++;
			continue;
		}
		err = compile_tag(&c, i);
		i = c.at;
	}
	if (err)
		return err;
	count_lines(&c, text.len);
	if (c.depth) {
		const struct op *open = &ret->ops[c.open[c.depth - 1]];

		c.line = open->line;
		return fail(&c, "a section is not ended:", open->text);
	}
	return add_text(&c, c.at, text.len);
}
