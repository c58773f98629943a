/* schema - judges JSON by a field table.  See web/schema.h. */
#include "web/schema.h"

#include <math.h>
#include <string.h>

/* What the checks of one document share. */
struct check {
	struct arena *arena;
	struct field_errors *errors;
	bool lenient;
};

static const double INT_LIMIT = 9007199254740992.0; /* 2^53: exact in every client */

void schema_limits(const struct field *f, double *min, double *max)
{
	*min = f->min;
	*max = f->max;
	if (f->min != 0 || f->max != 0)
		return;
	switch (f->type) {
	case FIELD_STRING: *max = 200; break;
	case FIELD_TEXT: *max = 65536; break;
	case FIELD_INT: *max = INT_LIMIT; break;
	case FIELD_NUMBER: *min = -1e300, *max = 1e300; break;
	case FIELD_STRINGS:
	case FIELD_NAMES:
	case FIELD_LIST: *max = 100; break;
	default: break;
	}
}

static int item_max(const struct field *f)
{
	return f->item_max ? f->item_max : 200;
}

static const char *join(struct arena *a, const char *prefix, const char *name)
{
	const char *path = *prefix ? arena_printf(a, "%s.%s", prefix, name) : name;

	return path ? path : name;
}

/* Length in characters of what is UTF-8 already; false with a control
 * character (C0, DEL, C1), tab and newlines apart where they are allowed. */
static bool plain_text(struct str s, bool lines, size_t *characters)
{
	*characters = 0;
	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.ptr[i];
		bool c1 = c == 0xc2 && i + 1 < s.len && (unsigned char)s.ptr[i + 1] < 0xa0;

		if (c1 || c == 0x7f || (c < ' ' && !(lines && (c == '\n' || c == '\r' || c == '\t'))))
			return false;
		*characters += (c & 0xc0) != 0x80;
	}
	return true;
}

static bool chosen(const char *const *choices, struct str s)
{
	for (; *choices; choices++)
		if (str_eqz(s, *choices))
			return true;
	return false;
}

static const char *choice_list(struct arena *a, const char *const *choices)
{
	const char *list = "";

	for (size_t i = 0; choices[i] && list; i++)
		list = i ? arena_printf(a, "%s, %s", list, choices[i]) : choices[0];
	return list ? list : "the known ones";
}

/* A one-line string of least…most characters or one of the choices. */
static void check_line(struct check *c, const char *path, const struct json *v, const char *const *choices, double least,
		       double most)
{
	struct str s = json_as_str(v);
	size_t n;

	if (json_type_of(v) != JSON_STRING)
		field_error_add(c->errors, c->arena, path, "must be a string");
	else if (!plain_text(s, false, &n))
		field_error_add(c->errors, c->arena, path, "may not hold control characters");
	else if (choices && !chosen(choices, s))
		field_error_add(c->errors, c->arena, path, "must be one of: %s", choice_list(c->arena, choices));
	else if (!choices && (double)n < least)
		field_error_add(c->errors, c->arena, path, n || least > 1 ? "must have at least %.0f characters" : "may not be empty",
				least);
	else if (!choices && (double)n > most)
		field_error_add(c->errors, c->arena, path, "may have at most %.0f characters", most);
}

static void check_text(struct check *c, const char *path, const struct json *v, double least, double most)
{
	struct str s = json_as_str(v);
	size_t n;

	if (json_type_of(v) != JSON_STRING)
		field_error_add(c->errors, c->arena, path, "must be a string");
	else if (!plain_text(s, true, &n))
		field_error_add(c->errors, c->arena, path, "may not hold control characters other than tab and newline");
	else if ((double)s.len < least)
		field_error_add(c->errors, c->arena, path, "may not be empty");
	else if ((double)s.len > most)
		field_error_add(c->errors, c->arena, path, "may have at most %.0f bytes", most);
}

static void check_number(struct check *c, const char *path, struct json *object, const struct field *f, struct json *v)
{
	double least, most, d = json_as_double(v, NAN);
	bool whole = f->type == FIELD_INT;

	schema_limits(f, &least, &most);
	if (isnan(d) || (whole && d != floor(d)))
		field_error_add(c->errors, c->arena, path, whole ? "must be a whole number" : "must be a number");
	else if (d < least || d > most)
		field_error_add(c->errors, c->arena, path, "must be between %.15g and %.15g", least, most);
	else if (whole && json_type_of(v) == JSON_DOUBLE)
		json_put_i64(object, f->name, (int64_t)d);
}

static void check_id(struct check *c, const char *path, struct json *object, const struct field *f, struct json *v)
{
	int64_t id = json_as_i64(v, 0);

	if (json_type_of(v) == JSON_INT && id > 0)
		json_put_id(object, f->name, id);
	else if (json_type_of(v) != JSON_STRING || !str_to_id(json_as_str(v), &id))
		field_error_add(c->errors, c->arena, path, "must be an id: a positive whole number as a string");
}

static bool two_digits(const char *p, int least, int most, int *ret)
{
	if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9')
		return false;
	*ret = (p[0] - '0') * 10 + (p[1] - '0');
	return *ret >= least && *ret <= most;
}

static int days_of(int year, int month)
{
	static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;

	return days[month - 1] + (month == 2 && leap);
}

/* "2026-11-24T08:12:46[.073](Z|+01:00)"; years 2000 to 2099. */
static bool is_time(struct str s)
{
	int century, year, month, day, n;
	size_t at = 19;

	if (s.len < 20 || s.len > 40 || !two_digits(s.ptr, 20, 20, &century) || !two_digits(s.ptr + 2, 0, 99, &year) ||
	    s.ptr[4] != '-' || !two_digits(s.ptr + 5, 1, 12, &month) || s.ptr[7] != '-' ||
	    !two_digits(s.ptr + 8, 1, 31, &day) || day > days_of(2000 + year, month) ||
	    (s.ptr[10] != 'T' && s.ptr[10] != 't') || !two_digits(s.ptr + 11, 0, 23, &n) || s.ptr[13] != ':' ||
	    !two_digits(s.ptr + 14, 0, 59, &n) || s.ptr[16] != ':' || !two_digits(s.ptr + 17, 0, 59, &n))
		return false;
	if (s.ptr[at] == '.')
		do
			at++;
		while (at < s.len && s.ptr[at] >= '0' && s.ptr[at] <= '9');
	if (s.len - at == 1)
		return (s.ptr[at] == 'Z' || s.ptr[at] == 'z') && s.ptr[at - 1] != '.';
	return s.len - at == 6 && (s.ptr[at] == '+' || s.ptr[at] == '-') && s.ptr[at - 1] != '.' &&
	       two_digits(s.ptr + at + 1, 0, 14, &n) && s.ptr[at + 3] == ':' && two_digits(s.ptr + at + 4, 0, 59, &n);
}

static void check_object(struct check *c, const char *path, const struct field *fields, struct json *object);

static void check_items(struct check *c, const char *path, const struct field *f, struct json *v)
{
	double least, most;
	size_t n = json_len(v);

	schema_limits(f, &least, &most);
	if (json_type_of(v) != JSON_ARRAY) {
		field_error_add(c->errors, c->arena, path, f->type == FIELD_LIST ? "must be an array of objects"
										  : "must be an array of strings");
		return;
	}
	if ((double)n < least || (double)n > most) {
		field_error_add(c->errors, c->arena, path, "must have %.0f to %.0f items", least, most);
		return;
	}
	for (size_t i = 0; i < n && c->errors->count < FIELD_ERRORS_MAX; i++) {
		char number[24];
		const char *at;

		snprintf(number, sizeof(number), "%zu", i);
		at = join(c->arena, path, number);
		if (f->type != FIELD_LIST)
			check_line(c, at, json_at(v, i), f->choices, 1, item_max(f));
		else if (json_type_of(json_at(v, i)) != JSON_OBJECT)
			field_error_add(c->errors, c->arena, at, "must be an object");
		else
			check_object(c, at, f->nested, json_at(v, i));
	}
}

static void check_value(struct check *c, const char *path, struct json *object, const struct field *f, struct json *v)
{
	double least, most;

	schema_limits(f, &least, &most);
	switch (f->type) {
	case FIELD_STRING: check_line(c, path, v, NULL, least, most); break;
	case FIELD_ENUM: check_line(c, path, v, f->choices, 0, 0); break;
	case FIELD_TEXT: check_text(c, path, v, least, most); break;
	case FIELD_INT:
	case FIELD_NUMBER: check_number(c, path, object, f, v); break;
	case FIELD_ID: check_id(c, path, object, f, v); break;
	case FIELD_BOOL:
		if (json_type_of(v) != JSON_BOOL)
			field_error_add(c->errors, c->arena, path, "must be true or false");
		break;
	case FIELD_TIME:
		if (json_type_of(v) != JSON_STRING || !is_time(json_as_str(v)))
			field_error_add(c->errors, c->arena, path, "must be a time such as 2026-11-24T08:12:46Z");
		break;
	case FIELD_UUID:
		if (json_type_of(v) != JSON_STRING || !str_is_uuid(json_as_str(v)))
			field_error_add(c->errors, c->arena, path, "must be a UUID in lower case");
		break;
	case FIELD_NAMES:
		if (json_type_of(v) == JSON_STRING) {
			check_line(c, path, v, f->choices, 1, item_max(f));
			break;
		}
		__attribute__((fallthrough));
	case FIELD_STRINGS:
	case FIELD_LIST: check_items(c, path, f, v); break;
	case FIELD_OBJECT:
		if (json_type_of(v) != JSON_OBJECT)
			field_error_add(c->errors, c->arena, path, "must be an object");
		else if (f->nested)
			check_object(c, path, f->nested, v);
		break;
	case FIELD_ANY:
	case FIELD_END: break;
	}
}

static const struct field *find(const struct field *fields, const char *name)
{
	for (; fields && fields->name; fields++)
		if (!strcmp(fields->name, name))
			return fields;
	return NULL;
}

static void refuse_unknown(struct check *c, const char *path, const struct field *fields, struct json *object)
{
	for (struct json_iter it = json_iter(object); json_next(&it);) {
		struct str name = {it.key, strlen(it.key)};
		const char *shown = it.key;

		if (find(fields, it.key))
			continue;
		if (name.len > 64)
			shown = arena_printf(c->arena, "%.60s...", it.key);
		field_error_add(c->errors, c->arena, join(c->arena, path, shown ? shown : "?"), "is not known here");
	}
}

static void check_object(struct check *c, const char *path, const struct field *fields, struct json *object)
{
	if (!c->lenient)
		refuse_unknown(c, path, fields, object);
	for (const struct field *f = fields; f && f->name; f++) {
		const char *at = join(c->arena, path, f->name);
		struct json *v = json_get(object, f->name);

		if (v)
			check_value(c, at, object, f, v);
		else if (json_has(object, f->name) && !(f->flags & FIELD_NULLABLE))
			field_error_add(c->errors, c->arena, at, "may not be null");
		else if (!json_has(object, f->name) && (f->flags & FIELD_REQUIRED))
			field_error_add(c->errors, c->arena, at, "is required");
	}
}

void schema_check(const struct field *fields, struct json *object, bool lenient, struct arena *a, struct field_errors *f)
{
	struct check c = {.arena = a, .errors = f, .lenient = lenient};

	if (json_type_of(object) != JSON_OBJECT)
		field_error_add(f, a, "", "The body must be a JSON object.");
	else
		check_object(&c, "", fields, object);
}

static bool holds_secret(const struct field *f)
{
	return f->flags & FIELD_SECRET || schema_has_secret(f->nested);
}

bool schema_has_secret(const struct field *fields)
{
	for (; fields && fields->name; fields++)
		if (holds_secret(fields))
			return true;
	return false;
}

bool schema_is_secret(const struct field *fields, const char *name)
{
	const struct field *f = find(fields, name);

	return f && holds_secret(f);
}
