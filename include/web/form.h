/*
 * form - query strings and HTML forms, read into the JSON that the field table
 * describes; schema_check() then judges it like any other.
 *
 * A value that does not spell what its field's type needs stays text, so that
 * schema_check() names it.  A name that the table lacks becomes a member, which
 * is then refused as unknown.
 */
#ifndef WEB_FORM_H
#define WEB_FORM_H

#include "web/schema.h"

enum { FORM_PAIRS = 256 };

/*
 * Cuts the next name=value off *rest, percent-decoded into the arena; false at
 * the end.  *ok becomes false on a malformed escape, on what is no UTF-8, and
 * when the arena is full.
 */
bool form_next(struct str *rest, struct arena *a, struct str *name, struct str *value, bool *ok);

/* "a=1&b=x" to an object, which is the caller's and never NULL.  A repeated
 * name is an error, except where the field is a list. */
struct json *form_query(const struct field *fields, struct str query, struct arena *a, struct field_errors *f);

/*
 * application/x-www-form-urlencoded or multipart/form-data to an object: empty
 * values are absent, "on" is true, lists may be repeated names or items
 * separated by commas and newlines, "a.b" is a member of an object, files come
 * as the text of their field.  The field "csrf" is taken out into *csrf.
 */
struct json *form_body(const struct field *fields, struct str body, struct str content_type, struct arena *a,
		       struct str *csrf, struct field_errors *f);

#endif
