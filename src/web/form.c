/* form - query strings and forms to JSON.  See web/form.h. */
#include "web/form.h"

#include <string.h>

/* ---- percent encoding ------------------------------------------------------ */

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct str decode(struct arena *a, struct str s, bool *ok)
{
	char *out = arena_alloc(a, s.len + 1);
	size_t n = 0;

	if (!out) {
		*ok = false;
		return STR_NULL;
	}
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] != '%') {
			out[n++] = s.ptr[i] == '+' ? ' ' : s.ptr[i];
			continue;
		}
		if (i + 2 >= s.len || hex_value(s.ptr[i + 1]) < 0 || hex_value(s.ptr[i + 2]) < 0) {
			*ok = false;
			return STR_NULL;
		}
		out[n++] = (char)(hex_value(s.ptr[i + 1]) << 4 | hex_value(s.ptr[i + 2]));
		i += 2;
	}
	if (!str_is_utf8((struct str){out, n}))
		*ok = false;
	return (struct str){out, n};
}

bool form_next(struct str *rest, struct arena *a, struct str *name, struct str *value, bool *ok)
{
	struct str pair, raw_name;

	do {
		if (!rest->len || !str_cut(rest, '&', &pair))
			return false;
	} while (!pair.len);
	if (!str_cut(&pair, '=', &raw_name))
		return false;
	*name = decode(a, raw_name, ok);
	*value = pair.ptr ? decode(a, pair, ok) : STR("");
	return true;
}

/* ---- one value -------------------------------------------------------------- */

static const struct field *find(const struct field *fields, struct str name)
{
	for (; fields && fields->name; fields++)
		if (str_eqz(name, fields->name))
			return fields;
	return NULL;
}

static struct json *parse_embedded(struct str text)
{
	struct json *j = NULL;

	return json_parse(text, text.len, &j, NULL) == OK ? j : NULL;
}

/* The text as the type spells it, or as a string for schema_check() to refuse. */
static struct json *typed(const struct field *field, struct str text)
{
	struct json *j = NULL;
	int64_t n;
	double d;

	switch (field ? field->type : FIELD_STRING) {
	case FIELD_INT:
		if (str_to_i64(text, INT64_MIN, INT64_MAX, &n))
			j = json_new_i64(n);
		break;
	case FIELD_NUMBER:
		if (str_to_double(text, &d))
			j = json_new_double(d);
		break;
	case FIELD_BOOL:
		if (str_eqz(text, "on") || str_eqz(text, "true"))
			j = json_new_bool(true);
		else if (str_eqz(text, "false"))
			j = json_new_bool(false);
		break;
	case FIELD_OBJECT:
	case FIELD_LIST:
	case FIELD_ANY: j = parse_embedded(text); break;
	default: break;
	}
	return j ? j : json_new_str(text);
}

static bool is_list(const struct field *field)
{
	return field && (field->type == FIELD_STRINGS || field->type == FIELD_NAMES);
}

/* Items of "a, b\nc" to the array. */
static void add_items(struct json *array, struct str text, bool split)
{
	struct str rest = text, line, item;

	if (!split) {
		json_add(array, json_new_str(text));
		return;
	}
	while (str_cut(&rest, '\n', &line))
		while (str_cut(&line, ',', &item)) {
			item = str_trim(item);
			if (item.len)
				json_add(array, json_new_str(item));
		}
}

/* Puts one value; false when a name comes twice that may not. */
static bool put(struct json *object, const struct field *field, const char *name, struct str text, bool split)
{
	struct json *array;

	if (!is_list(field)) {
		if (json_has(object, name))
			return false;
		json_put(object, name, typed(field, text));
		return true;
	}
	array = json_get(object, name);
	if (!array) {
		array = json_array();
		json_put(object, name, array);
	}
	add_items(array, text, split);
	return true;
}

/* ---- query strings ----------------------------------------------------------- */

struct json *form_query(const struct field *fields, struct str query, struct arena *a, struct field_errors *f)
{
	struct json *object = json_object();
	struct str rest = query, name, value;
	bool ok = true;

	for (int n = 0; form_next(&rest, a, &name, &value, &ok); n++) {
		const char *key = ok ? arena_strndup(a, name.ptr, name.len) : NULL;

		if (!key || n == FORM_PAIRS) {
			field_error_add(f, a, "", "The query string is malformed.");
			break;
		}
		if (!put(object, find(fields, name), key, value, true))
			field_error_add(f, a, key, "is given twice");
	}
	return object;
}

/* ---- forms -------------------------------------------------------------------- */

/* What reading one form needs. */
struct form {
	const struct field *fields;
	struct json *object;
	struct arena *arena;
	struct str *csrf;
	struct field_errors *errors;
	int pairs;
};

/* Browsers send a text area's lines with CR LF. */
static struct str unix_lines(struct arena *a, struct str s)
{
	char *out = s.len && memchr(s.ptr, '\r', s.len) ? arena_alloc(a, s.len) : NULL;
	size_t n = 0;

	if (!out)
		return s;
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] != '\r' || i + 1 == s.len || s.ptr[i + 1] != '\n')
			out[n++] = s.ptr[i];
	return (struct str){out, n};
}

/* "a.b" with a an object field of the table: goes into that object. */
static void take_pair(struct form *form, struct str name, struct str value)
{
	const struct field *fields = form->fields, *field = find(fields, name);
	struct json *object = form->object;
	struct str inner = name, outer;
	const char *key;

	if (str_eqz(name, "csrf")) {
		*form->csrf = value;
		return;
	}
	if (!field && str_cut(&inner, '.', &outer) && inner.ptr) {
		const struct field *parent = find(fields, outer);

		if (parent && parent->type == FIELD_OBJECT && parent->nested) {
			field = find(parent->nested, inner);
			name = inner;
			if (!value.len)
				return;
			object = json_get(form->object, parent->name);
			if (!object) {
				object = json_object();
				json_put(form->object, parent->name, object);
			}
		}
	}
	if (!value.len)
		return;
	if (field && field->type == FIELD_TEXT)
		value = unix_lines(form->arena, value);
	key = arena_strndup(form->arena, name.ptr, name.len);
	if (!key || json_type_of(object) != JSON_OBJECT)
		field_error_add(form->errors, form->arena, "", "The form is malformed.");
	else if (!put(object, field, key, value, true))
		field_error_add(form->errors, form->arena, key, "is given twice");
}

static void read_urlencoded(struct form *form, struct str body)
{
	struct str name, value;
	bool ok = true;

	while (form_next(&body, form->arena, &name, &value, &ok)) {
		if (!ok || ++form->pairs > FORM_PAIRS) {
			field_error_add(form->errors, form->arena, "", "The form is malformed.");
			return;
		}
		take_pair(form, name, value);
	}
}

/* The value of name="…" in a header's parameters; STR_NULL when absent. */
static struct str parameter(struct str header, const char *name)
{
	struct str item, key;

	while (str_cut(&header, ';', &item)) {
		item = str_trim(item);
		if (!str_cut(&item, '=', &key) || !item.ptr || !str_ieqz(key, name))
			continue;
		if (item.len >= 2 && item.ptr[0] == '"' && item.ptr[item.len - 1] == '"')
			return (struct str){item.ptr + 1, item.len - 2};
		return item;
	}
	return STR_NULL;
}

/* Cuts what stands before the separator; false when it does not occur. */
static bool cut_at(struct str *rest, struct str separator, struct str *ret)
{
	const char *at = rest->len ? memmem(rest->ptr, rest->len, separator.ptr, separator.len) : NULL;

	if (!at)
		return false;
	*ret = (struct str){rest->ptr, (size_t)(at - rest->ptr)};
	rest->len -= ret->len + separator.len;
	rest->ptr = at + separator.len;
	return true;
}

/* The field name of one part's header lines. */
static struct str part_name(struct str head)
{
	struct str line, key;

	while (str_cut(&head, '\n', &line)) {
		line = str_trim(line);
		if (str_cut(&line, ':', &key) && line.ptr && str_ieqz(key, "content-disposition"))
			return parameter(line, "name");
	}
	return STR_NULL;
}

static bool read_parts(struct form *form, struct str body, struct str boundary)
{
	struct str delimiter = {arena_printf(form->arena, "\r\n--%.*s", STR_ARG(boundary)), boundary.len + 4};
	struct str first, part, head, name;

	if (!delimiter.ptr || !boundary.len || boundary.len > 70)
		return false;
	/* The first delimiter has no line before it. */
	if (!cut_at(&body, (struct str){delimiter.ptr + 2, delimiter.len - 2}, &first) || first.len)
		return false;
	while (!str_starts(body, "--")) {
		if (!str_starts(body, "\r\n") || ++form->pairs > FORM_PAIRS || !cut_at(&body, delimiter, &part))
			return false;
		if (!cut_at(&part, STR("\r\n\r\n"), &head))
			return false;
		name = part_name(head);
		if (!name.ptr || !str_is_utf8(name) || !str_is_utf8(part))
			return false;
		take_pair(form, name, part);
	}
	return true;
}

struct json *form_body(const struct field *fields, struct str body, struct str content_type, struct arena *a,
		       struct str *csrf, struct field_errors *f)
{
	struct form form = {.fields = fields, .object = json_object(), .arena = a, .csrf = csrf, .errors = f};
	struct str rest = content_type, type;

	*csrf = STR_NULL;
	if (str_cut(&rest, ';', &type) && str_ieqz(str_trim(type), "multipart/form-data")) {
		if (!read_parts(&form, body, parameter(rest, "boundary")))
			field_error_add(f, a, "", "The form is malformed.");
	} else {
		read_urlencoded(&form, body);
	}
	return form.object;
}
