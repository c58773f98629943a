/*
 * schema - the shape of a request body or query, as a table.
 *
 * One table makes three things: validation (every error at once, each with the
 * path of its field), the OpenAPI document, and the reading of forms (web/form.h).  Unknown
 * fields are refused by name unless the route says ROUTE_LENIENT.
 *
 *     static const struct field member[] = { …, {0} };
 *     const struct field token_create_body[] = {
 *         {"name", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 100, .doc = "For people."},
 *         {"scopes", FIELD_STRINGS, FIELD_REQUIRED, .min = 1, .max = 5, .choices = scope_names},
 *         {0}
 *     };
 *
 * Handlers read checked values with json_str(req->json, "name") and so on.
 */
#ifndef WEB_SCHEMA_H
#define WEB_SCHEMA_H

#include "base/json.h"
#include "web/problem.h"

enum field_type {
	FIELD_END,
	FIELD_STRING,  /* one line: no control characters; min…max characters (default 0…200) */
	FIELD_TEXT,    /* may hold tab and newlines; min…max bytes */
	FIELD_INT,     /* min…max (default 0…2^53) */
	FIELD_NUMBER,  /* min…max */
	FIELD_BOOL,
	FIELD_ID,      /* decimal string (a whole number is taken too and becomes a string) */
	FIELD_ENUM,    /* one of choices */
	FIELD_TIME,    /* RFC 3339 UTC or offset; string */
	FIELD_UUID,
	FIELD_STRINGS, /* array of min…max one-line strings, each of 1…item_max characters or of choices */
	FIELD_LIST,    /* array of min…max objects of the nested shape */
	FIELD_OBJECT,  /* of the nested shape; nested NULL = any object */
	FIELD_ANY,     /* any JSON; depth and size are the parser's */
	FIELD_NAMES,   /* a one-line string or an array of min…max of them */
};

enum field_flags {
	FIELD_REQUIRED = 1 << 0,
	FIELD_NULLABLE = 1 << 1, /* null is a value of its own: "unset" */
	FIELD_SECRET = 1 << 2,   /* write-only; never echoed in errors */
};

struct field {
	const char *name;
	enum field_type type;
	unsigned flags;
	double min, max; /* both 0 = the type's default: see schema_limits() */
	const char *const *choices; /* NULL-terminated */
	const struct field *nested;
	const char *doc;
	const char *pattern; /* only in the OpenAPI document and message; check is in the handler */
	int item_max;        /* characters of an item of FIELD_STRINGS and FIELD_NAMES, 0 = 200 */
};

/* The limits in effect. */
void schema_limits(const struct field *f, double *min, double *max);

/* Checks an object; all errors go to f.  lenient ignores unknown members. */
void schema_check(const struct field *fields, struct json *object, bool lenient, struct arena *a, struct field_errors *f);

/* Whether a document of this shape may hold a secret, at any depth; fields may be NULL. */
bool schema_has_secret(const struct field *fields);
/* Whether the member of this name is one, or holds one. */
bool schema_is_secret(const struct field *fields, const char *name);

#endif
