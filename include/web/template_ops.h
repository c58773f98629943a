/*
 * template_ops - one template text compiled to a list of operations.
 *
 * The language is a subset of mustache with one addition:
 *
 *     {{name}} {{a.b}} {{.}}    value, always HTML-escaped
 *     {{#name}} … {{/name}}     once for an object or a true value, once an item of a list
 *     {{^name}} … {{/name}}     when the value is false, null, "", 0 or an empty list
 *     {{>file}}                 another template, in the same context
 *     {{!text}}                 nothing
 *     {{@key}} {{@key name}}    a message of the catalogue, with the value of
 *                               `name` as its argument (web/messages.h)
 *     {{@key[form]}}            that form of a message
 *     {{@}}                     inside a message: the argument
 *
 * Raw output ({{{name}}}, {{&name}}) and other delimiters are refused.  Tags
 * that stand alone on a line leave no line behind, as the mustache
 * specification says.  A value that opens an attribute href, src, action or
 * formaction is compiled to OP_URL, which lets no foreign scheme through.
 *
 * This module knows the grammar only; names of partials and messages are
 * resolved by web/template.c.
 */
#ifndef WEB_TEMPLATE_OPS_H
#define WEB_TEMPLATE_OPS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

enum op_kind {
	OP_TEXT,
	OP_VALUE,
	OP_URL,      /* a value at the start of an attribute that holds a URL */
	OP_SECTION,
	OP_INVERTED,
	OP_END,
	OP_PARTIAL,
	OP_MESSAGE,
	OP_ARGUMENT, /* {{@}} */
};

enum { OP_PATH_MAX = 8, OP_NAME_MAX = 64, OP_NESTING_MAX = 32 };

/* "a.b" is two names; "." is none. */
struct op_path {
	const char **names;
	size_t n;
};

struct op {
	enum op_kind kind;
	bool first;  /* what it writes begins a line of the template */
	bool alone;  /* PARTIAL: has its line to itself */
	bool has_path;
	int line;
	struct str text;     /* TEXT: bytes; else what the tag names, NUL-terminated */
	struct str form;     /* MESSAGE with a [form] given; else STR_NULL */
	struct str indent;   /* PARTIAL alone on its line: the blanks before it */
	struct op_path path; /* VALUE, URL, SECTION, INVERTED; the argument of MESSAGE */
	size_t end;          /* SECTION, INVERTED: index of its END */
	size_t target;       /* PARTIAL, MESSAGE: index, filled in when a set is linked */
};

struct program {
	const char *file; /* as it appears in errors */
	struct op *ops;
	size_t count;
	bool uses_argument;
};

/* What is compiled: {{@}} is good in messages only, {{>x}} in templates only. */
enum program_kind { PROGRAM_TEMPLATE, PROGRAM_MESSAGE };

/*
 * Everything in *ret lives in the arena and text must live as long.  ERR_INVALID
 * with "file:line: what is wrong"; lines count from first_line.
 */
enum err program_compile(struct arena *a, enum program_kind kind, const char *file, int first_line,
			 struct str text, struct program *ret, struct error *e) must_check;

#endif
