/*
 * json - a typed view of JSON documents; the only user of json-c.
 *
 * struct json is a document node.  A node made by json_parse() or
 * json_object()/json_array() is owned by the caller and released with
 * json_free() (or cleanup_json); a node put into another belongs to that one.
 * Nodes returned by getters are borrowed.
 *
 * Documents from outside are parsed with limits on size and depth; strings
 * must be UTF-8 and may not hold U+0000; duplicate keys are refused.  Integers
 * beyond int64 become doubles.  JSON's null is the NULL pointer.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

struct json;

enum json_type { JSON_NULL, JSON_BOOL, JSON_INT, JSON_DOUBLE, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

void json_free(struct json *j);
static inline void cleanup_json_(struct json **j)
{
	json_free(*j);
}
#define cleanup_json __attribute__((cleanup(cleanup_json_)))
struct json *json_ref(struct json *j); /* one more owner */
/* Writes zeroes over every string value in it, which is still to be freed: for documents that held a secret. */
void json_wipe(struct json *j);

/* ---- reading ---- */
enum { JSON_DEPTH = 32 };
/* ERR_INVALID with the byte offset in e->msg; ERR_TOO_LARGE above max bytes or
 * when the nodes would take more than 64 MiB. */
enum err json_parse(struct str text, size_t max, struct json **ret, struct error *e) must_check;

enum json_type json_type_of(const struct json *j); /* NULL pointer = JSON_NULL */
const char *json_type_name(enum json_type t);      /* "string", … */
size_t json_len(const struct json *j);             /* of an array or object; else 0 */
struct json *json_at(const struct json *array, size_t i);
struct json *json_get(const struct json *object, const char *key); /* NULL when absent */
bool json_has(const struct json *object, const char *key);         /* also when null */
/* "a.b.0.c"; NULL when any part is absent. */
struct json *json_path(const struct json *j, const char *path);

/* With a default for "absent, null or another type"; an integer is also a double. */
struct str json_str(const struct json *j, const char *key);           /* STR_NULL */
const char *json_cstr(const struct json *j, const char *key);         /* NULL */
int64_t json_i64(const struct json *j, const char *key, int64_t other);
double json_double(const struct json *j, const char *key, double other);
bool json_bool(const struct json *j, const char *key, bool other);
/* The node itself as a value. */
struct str json_as_str(const struct json *j);
int64_t json_as_i64(const struct json *j, int64_t other);
double json_as_double(const struct json *j, double other);
bool json_as_bool(const struct json *j, bool other);

/* for (struct json_iter it = json_iter(obj); json_next(&it);) … it.key it.value */
struct json_iter {
	void *pos;
	const char *key;
	struct json *value;
	bool started;
	const struct json *object;
};
struct json_iter json_iter(const struct json *object);
bool json_next(struct json_iter *it);

/* ---- building; each put takes ownership of the value and returns the object ---- */
struct json *json_object(void);
struct json *json_array(void);
struct json *json_new_str(struct str s); /* malformed UTF-8 becomes U+FFFD */
struct json *json_new_i64(int64_t v);
struct json *json_new_double(double v); /* null when not finite */
struct json *json_new_bool(bool v);
struct json *json_null(void);

void json_put(struct json *object, const char *key, struct json *value);
void json_put_str(struct json *object, const char *key, struct str s); /* STR_NULL = null */
void json_put_cstr(struct json *object, const char *key, const char *s); /* NULL = null */
void json_put_i64(struct json *object, const char *key, int64_t v);
void json_put_id(struct json *object, const char *key, int64_t v); /* as decimal string */
void json_put_double(struct json *object, const char *key, double v);
void json_put_bool(struct json *object, const char *key, bool v);
void json_put_raw(struct json *object, const char *key, struct str text); /* JSON text of our own making; "" = null */
void json_del(struct json *object, const char *key);
void json_add(struct json *array, struct json *value);
void json_add_cstr(struct json *array, const char *s);

/* ---- writing ---- */
void json_write(const struct json *j, struct buf *ret); /* compact, "/" not escaped */
void json_write_pretty(const struct json *j, struct buf *ret);
/* As json_write(), of a document that holds a secret: what is left of it, still to be freed, is wiped. */
void json_write_wiped(struct json *j, struct buf *ret);
char *json_text(const struct json *j, struct arena *a) must_check;

#endif
