/* json - nodes over json-c: a struct json is a json_object.  See base/json.h. */

/* Three of json-c's type names are names of ours. */
#define json_bool jsonc_bool
#define json_object jsonc_object
#define json_type jsonc_type
#include <json-c/json.h>
#undef json_bool
#undef json_object
#undef json_type

#include "base/json.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

/* json-c reads through pointers to what is not const (it counts owners and
 * caches text in the node), hence one place for the cast. */
static jsonc_object *node(const struct json *j)
{
	return (jsonc_object *)j;
}

static struct json *made(jsonc_object *o)
{
	if (!o)
		error_no_memory();
	return (struct json *)o;
}

void json_free(struct json *j)
{
	json_object_put(node(j));
}

struct json *json_ref(struct json *j)
{
	return (struct json *)json_object_get(node(j));
}

/* ---- reading -------------------------------------------------------------- */

enum json_type json_type_of(const struct json *j)
{
	switch (json_object_get_type(node(j))) {
	case json_type_null: return JSON_NULL;
	case json_type_boolean: return JSON_BOOL;
	case json_type_int: return JSON_INT;
	case json_type_double: return JSON_DOUBLE;
	case json_type_string: return JSON_STRING;
	case json_type_array: return JSON_ARRAY;
	case json_type_object: return JSON_OBJECT;
	}
	BUG("JSON node of an unknown type");
}

const char *json_type_name(enum json_type t)
{
	static const char *const names[] = {
		[JSON_NULL] = "null",	  [JSON_BOOL] = "boolean", [JSON_INT] = "integer",
		[JSON_DOUBLE] = "number", [JSON_STRING] = "string", [JSON_ARRAY] = "array",
		[JSON_OBJECT] = "object",
	};

	if ((unsigned)t >= ARRAY_LEN(names))
		BUG("JSON type %d", (int)t);
	return names[t];
}

size_t json_len(const struct json *j)
{
	switch (json_type_of(j)) {
	case JSON_ARRAY: return json_object_array_length(node(j));
	case JSON_OBJECT: return (size_t)json_object_object_length(node(j));
	case JSON_NULL:
	case JSON_BOOL:
	case JSON_INT:
	case JSON_DOUBLE:
	case JSON_STRING: return 0;
	}
	return 0;
}

struct json *json_at(const struct json *array, size_t i)
{
	if (json_type_of(array) != JSON_ARRAY)
		return NULL;
	return (struct json *)json_object_array_get_idx(node(array), i);
}

struct json *json_get(const struct json *object, const char *key)
{
	jsonc_object *value = NULL;

	if (json_type_of(object) != JSON_OBJECT)
		return NULL;
	json_object_object_get_ex(node(object), key, &value);
	return (struct json *)value;
}

bool json_has(const struct json *object, const char *key)
{
	return json_type_of(object) == JSON_OBJECT && json_object_object_get_ex(node(object), key, NULL);
}

struct json *json_path(const struct json *j, const char *path)
{
	struct str rest = str_of(path), part;
	const struct json *at = j;
	char key[128];
	int64_t i;

	while (str_cut(&rest, '.', &part)) {
		if (part.len >= sizeof(key))
			return NULL;
		snprintf(key, sizeof(key), "%.*s", STR_ARG(part));
		if (json_type_of(at) != JSON_ARRAY)
			at = json_get(at, key);
		else
			at = str_to_i64(part, 0, INT_MAX, &i) ? json_at(at, (size_t)i) : NULL;
	}
	return (struct json *)at;
}

struct str json_as_str(const struct json *j)
{
	if (json_type_of(j) != JSON_STRING)
		return STR_NULL;
	return (struct str){json_object_get_string(node(j)), (size_t)json_object_get_string_len(node(j))};
}

/* json-c has no call for it, and hands out its own bytes. */
void json_wipe(struct json *j)
{
	struct str s = json_as_str(j);

	if (s.len)
		explicit_bzero((char *)s.ptr, s.len);
	for (size_t i = 0; json_type_of(j) == JSON_ARRAY && i < json_len(j); i++)
		json_wipe(json_at(j, i));
	if (json_type_of(j) == JSON_OBJECT)
		for (struct json_iter it = json_iter(j); json_next(&it);)
			json_wipe(it.value);
}

int64_t json_as_i64(const struct json *j, int64_t other)
{
	return json_type_of(j) == JSON_INT ? json_object_get_int64(node(j)) : other;
}

double json_as_double(const struct json *j, double other)
{
	enum json_type t = json_type_of(j);

	return t == JSON_INT || t == JSON_DOUBLE ? json_object_get_double(node(j)) : other;
}

bool json_as_bool(const struct json *j, bool other)
{
	return json_type_of(j) == JSON_BOOL ? json_object_get_boolean(node(j)) : other;
}

struct str json_str(const struct json *j, const char *key)
{
	return json_as_str(json_get(j, key));
}

const char *json_cstr(const struct json *j, const char *key)
{
	return json_str(j, key).ptr;
}

int64_t json_i64(const struct json *j, const char *key, int64_t other)
{
	return json_as_i64(json_get(j, key), other);
}

double json_double(const struct json *j, const char *key, double other)
{
	return json_as_double(json_get(j, key), other);
}

bool json_bool(const struct json *j, const char *key, bool other)
{
	return json_as_bool(json_get(j, key), other);
}

struct json_iter json_iter(const struct json *object)
{
	return (struct json_iter){.object = object};
}

bool json_next(struct json_iter *it)
{
	struct lh_entry *entry = it->pos;

	if (!it->started && json_type_of(it->object) == JSON_OBJECT)
		entry = json_object_get_object(node(it->object))->head;
	it->started = true;
	if (!entry)
		return false;
	it->key = lh_entry_k(entry);
	it->value = lh_entry_v(entry);
	it->pos = entry->next;
	return true;
}

/* ---- building ------------------------------------------------------------- */

struct json *json_object(void)
{
	return made(json_object_new_object());
}

struct json *json_array(void)
{
	/* json-c's default of 32 places suits few of our arrays. */
	return made(json_object_new_array_ext(2));
}

struct json *json_new_str(struct str s)
{
	cleanup_buf struct buf clean = BUF_INIT(SIZE_MAX / 8);

	if (!str_is_utf8(s)) {
		buf_add_text(&clean, s, false);
		s = buf_str(&clean);
	}
	if (s.len > INT_MAX)
		BUG("JSON string of %zu bytes", s.len);
	return made(json_object_new_string_len(s.len ? s.ptr : "", (int)s.len));
}

struct json *json_new_i64(int64_t v)
{
	return made(json_object_new_int64(v));
}

/* The shortest text that reads back as v, and as a double. */
static void write_double(double v, char *ret, size_t cap)
{
	for (int digits = 15; digits <= 17; digits++) {
		snprintf(ret, cap, "%.*g", digits, v);
		if (strtod(ret, NULL) == v)
			break;
	}
	if (!strpbrk(ret, ".e")) {
		size_t len = strlen(ret);

		snprintf(ret + len, cap - len, ".0");
	}
}

struct json *json_new_double(double v)
{
	char text[40];

	if (!isfinite(v)) /* JSON has no word for it */
		return json_null();
	write_double(v, text, sizeof(text));
	return made(json_object_new_double_s(v, text));
}

struct json *json_new_bool(bool v)
{
	return made(json_object_new_boolean(v));
}

struct json *json_null(void)
{
	return NULL;
}

void json_put(struct json *object, const char *key, struct json *value)
{
	if (json_type_of(object) != JSON_OBJECT)
		BUG("put %s into a JSON %s", key, json_type_name(json_type_of(object)));
	if (json_object_object_add(node(object), key, node(value)))
		error_no_memory();
}

void json_put_str(struct json *object, const char *key, struct str s)
{
	json_put(object, key, s.ptr ? json_new_str(s) : json_null());
}

void json_put_cstr(struct json *object, const char *key, const char *s)
{
	json_put_str(object, key, str_of(s));
}

void json_put_i64(struct json *object, const char *key, int64_t v)
{
	json_put(object, key, json_new_i64(v));
}

void json_put_id(struct json *object, const char *key, int64_t v)
{
	char text[24];

	snprintf(text, sizeof(text), "%lld", (long long)v);
	json_put_cstr(object, key, text);
}

void json_put_double(struct json *object, const char *key, double v)
{
	json_put(object, key, json_new_double(v));
}

void json_put_bool(struct json *object, const char *key, bool v)
{
	json_put(object, key, json_new_bool(v));
}

void json_put_raw(struct json *object, const char *key, struct str text)
{
	struct json *value = NULL;
	struct error e;

	if (text.len && json_parse(text, SIZE_MAX, &value, &e) != OK)
		log_error("json.raw", "key=%s error=\"%s\"", key, e.msg);
	json_put(object, key, value);
}

void json_del(struct json *object, const char *key)
{
	if (json_type_of(object) != JSON_OBJECT)
		BUG("delete %s of a JSON %s", key, json_type_name(json_type_of(object)));
	json_object_object_del(node(object), key);
}

void json_add(struct json *array, struct json *value)
{
	if (json_type_of(array) != JSON_ARRAY)
		BUG("add to a JSON %s", json_type_name(json_type_of(array)));
	if (json_object_array_add(node(array), node(value)))
		error_no_memory();
}

void json_add_cstr(struct json *array, const char *s)
{
	json_add(array, s ? json_new_str(str_of(s)) : json_null());
}

/* ---- writing -------------------------------------------------------------- */

static struct str serialise(const struct json *j, int flags)
{
	size_t len = 0;
	const char *text;

	if (!j)
		return STR("null");
	text = json_object_to_json_string_length(node(j), flags | JSON_C_TO_STRING_NOSLASHESCAPE, &len);
	if (!text)
		error_no_memory();
	return (struct str){text, len};
}

void json_write(const struct json *j, struct buf *ret)
{
	buf_addstr(ret, serialise(j, JSON_C_TO_STRING_PLAIN));
}

/* json-c keeps the text with the node. */
void json_write_wiped(struct json *j, struct buf *ret)
{
	struct str text = serialise(j, JSON_C_TO_STRING_PLAIN);

	buf_addstr(ret, text);
	if (j)
		explicit_bzero((char *)text.ptr, text.len);
	json_wipe(j);
}

void json_write_pretty(const struct json *j, struct buf *ret)
{
	buf_addstr(ret, serialise(j, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED));
}

char *json_text(const struct json *j, struct arena *a)
{
	struct str text = serialise(j, JSON_C_TO_STRING_PLAIN);

	return arena_strndup(a, text.ptr, text.len);
}
