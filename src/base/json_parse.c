/*
 * json_parse - reads RFC 8259 text into nodes; must not know json-c.
 *
 * json-c's own tokener takes the last of two equal keys, cuts keys at U+0000,
 * clamps large integers and accepts NaN and raw control characters, each
 * without a word; a document that two readers understand differently is how
 * checks are slipped past.  Hence a parser of our own, over its nodes.
 */
#include <string.h>

#include "base/json.h"

/* What nodes cost in memory, roughly, and the most that one document may take:
 * a megabyte of "{},{},{}" would otherwise become a quarter of a gigabyte. */
enum {
	COST_SCALAR = 64,
	COST_ARRAY = 160,
	COST_OBJECT = 800,
	COST_MOST = 64 << 20,
};

struct parser {
	const char *begin, *at, *end;
	int depth;
	size_t cost;
	struct buf text; /* the string being read */
	struct error *e;
	enum err code;
};

static bool parse_value(struct parser *p, struct json **ret);

static bool fail(struct parser *p, enum err code, const char *why)
{
	p->code = error_set(p->e, code, "JSON: %s at byte %zu", why, (size_t)(p->at - p->begin));
	return false;
}

static bool invalid(struct parser *p, const char *why)
{
	return fail(p, ERR_INVALID, why);
}

static bool spend(struct parser *p, size_t cost)
{
	p->cost += cost;
	return p->cost <= COST_MOST || fail(p, ERR_TOO_LARGE, "too many values");
}

static void skip_space(struct parser *p)
{
	while (p->at < p->end && strchr(" \t\n\r", *p->at))
		p->at++;
}

/* Takes the byte c, after white space, when it comes next. */
static bool take(struct parser *p, char c)
{
	skip_space(p);
	if (p->at == p->end || *p->at != c)
		return false;
	p->at++;
	return true;
}

/* ---- strings -------------------------------------------------------------- */

static bool parse_hex4(struct parser *p, unsigned *ret)
{
	static const char hex[] = "0123456789abcdefABCDEF";

	*ret = 0;
	for (int i = 0; i < 4; i++) {
		const char *digit = p->at < p->end ? strchr(hex, *p->at) : NULL;

		if (!digit)
			return invalid(p, "bad \\u escape");
		*ret = *ret * 16 + (unsigned)(digit - hex < 16 ? digit - hex : digit - hex - 6);
		p->at++;
	}
	return true;
}

/* After "\u". */
static bool parse_unicode(struct parser *p)
{
	unsigned c, low;

	if (!parse_hex4(p, &c))
		return false;
	if (!c)
		return invalid(p, "U+0000 in a string");
	if (c >= 0xdc00 && c <= 0xdfff)
		return invalid(p, "lone surrogate");
	if (c >= 0xd800 && c <= 0xdbff) {
		if (p->end - p->at < 2 || p->at[0] != '\\' || p->at[1] != 'u')
			return invalid(p, "lone surrogate");
		p->at += 2;
		if (!parse_hex4(p, &low))
			return false;
		if (low < 0xdc00 || low > 0xdfff)
			return invalid(p, "lone surrogate");
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	buf_add_utf8(&p->text, c);
	return true;
}

/* After the backslash. */
static bool parse_escape(struct parser *p)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *found;

	if (p->at == p->end)
		return invalid(p, "string without end");
	if (*p->at == 'u') {
		p->at++;
		return parse_unicode(p);
	}
	found = strchr(from, *p->at);
	if (!found)
		return invalid(p, "unknown escape");
	buf_addc(&p->text, to[found - from]);
	p->at++;
	return true;
}

/* After the opening quote; leaves the string in p->text. */
static bool parse_string(struct parser *p)
{
	buf_reset(&p->text);
	for (;;) {
		const char *run = p->at;

		while (p->at < p->end && *p->at != '"' && *p->at != '\\' && (unsigned char)*p->at >= 0x20)
			p->at++;
		buf_add(&p->text, run, (size_t)(p->at - run));
		if (p->at == p->end)
			return invalid(p, "string without end");
		if (*p->at == '"') {
			p->at++;
			return true;
		}
		if (*p->at != '\\')
			return invalid(p, "control character in a string");
		p->at++;
		if (!parse_escape(p))
			return false;
	}
}

/* ---- the other values ----------------------------------------------------- */

static bool parse_number(struct parser *p, struct json **ret)
{
	struct str text = {p->at, 0};
	int64_t i;
	double d;

	while (text.ptr + text.len < p->end && strchr("+-.0123456789eE", text.ptr[text.len]))
		text.len++;
	if (str_eqz(text, "-0"))
		*ret = json_new_i64(0);
	else if (str_to_i64(text, INT64_MIN, INT64_MAX, &i))
		*ret = json_new_i64(i);
	else if (str_to_double(text, &d))
		*ret = json_new_double(d);
	else
		return invalid(p, "bad number");
	p->at += text.len;
	return true;
}

static bool parse_word(struct parser *p, struct json **ret)
{
	struct str rest = {p->at, (size_t)(p->end - p->at)};

	if (str_starts(rest, "true")) {
		*ret = json_new_bool(true);
		p->at += 4;
	} else if (str_starts(rest, "false")) {
		*ret = json_new_bool(false);
		p->at += 5;
	} else if (str_starts(rest, "null")) {
		*ret = json_null();
		p->at += 4;
	} else {
		return invalid(p, "unexpected character");
	}
	return true;
}

static bool parse_array(struct parser *p, struct json **ret)
{
	cleanup_json struct json *array = json_array();

	if (!spend(p, COST_ARRAY))
		return false;
	if (!take(p, ']')) {
		do {
			struct json *item;

			if (!parse_value(p, &item))
				return false;
			json_add(array, item);
		} while (take(p, ','));
		if (!take(p, ']'))
			return invalid(p, "expected , or ]");
	}
	*ret = steal_ptr(array);
	return true;
}

static bool parse_member(struct parser *p, struct json *object)
{
	cleanup_free char *key = NULL;
	struct json *value;

	if (!take(p, '"'))
		return invalid(p, "expected a key");
	if (!parse_string(p))
		return false;
	if (json_has(object, buf_str(&p->text).ptr))
		return invalid(p, "duplicate key");
	key = strdup(buf_str(&p->text).ptr);
	if (!key)
		error_no_memory();
	if (!take(p, ':'))
		return invalid(p, "expected :");
	if (!parse_value(p, &value))
		return false;
	json_put(object, key, value);
	return true;
}

static bool parse_object(struct parser *p, struct json **ret)
{
	cleanup_json struct json *object = json_object();

	if (!spend(p, COST_OBJECT))
		return false;
	if (!take(p, '}')) {
		do {
			if (!parse_member(p, object))
				return false;
		} while (take(p, ','));
		if (!take(p, '}'))
			return invalid(p, "expected , or }");
	}
	*ret = steal_ptr(object);
	return true;
}

static bool parse_container(struct parser *p, struct json **ret)
{
	bool is_object = *p->at == '{';
	bool ok;

	if (p->depth == JSON_DEPTH)
		return invalid(p, "nested too deep");
	p->at++;
	p->depth++;
	ok = is_object ? parse_object(p, ret) : parse_array(p, ret);
	p->depth--;
	return ok;
}

/* Leaves *ret untouched when it fails. */
static bool parse_value(struct parser *p, struct json **ret)
{
	if (!spend(p, COST_SCALAR))
		return false;
	skip_space(p);
	if (p->at == p->end)
		return invalid(p, "expected a value");
	switch (*p->at) {
	case '{':
	case '[':
		return parse_container(p, ret);
	case '"':
		p->at++;
		if (!parse_string(p))
			return false;
		*ret = json_new_str(buf_str(&p->text));
		return true;
	case '-':
	case '0' ... '9':
		return parse_number(p, ret);
	default:
		return parse_word(p, ret);
	}
}

enum err json_parse(struct str text, size_t max, struct json **ret, struct error *e)
{
	cleanup_json struct json *root = NULL;
	struct parser p = {.e = e, .text = BUF_INIT(text.len)};

	if (text.len > max)
		return error_set(e, ERR_TOO_LARGE, "JSON: more than %zu bytes", max);
	if (!str_is_utf8(text))
		return error_set(e, ERR_INVALID, "JSON: not UTF-8");
	p.begin = p.at = text.ptr ? text.ptr : "";
	p.end = p.begin + text.len;
	if (parse_value(&p, &root)) {
		skip_space(&p);
		if (p.at != p.end)
			invalid(&p, "something after the document");
	}
	buf_free(&p.text);
	if (p.code == OK)
		*ret = steal_ptr(root);
	return p.code;
}
