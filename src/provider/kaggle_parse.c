/* kaggle_parse - what Kaggle's answers say, in all the forms that were seen; must not trust them. */
#include "provider/kaggle.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"

/* ---- members -------------------------------------------------------------- */

/* "hasError" of "error". */
static bool is_denied(const struct json *o, const char *key)
{
	char name[64];

	if (!key[0])
		return false;
	snprintf(name, sizeof(name), "has%c%s", key[0] >= 'a' && key[0] <= 'z' ? key[0] - 'a' + 'A' : key[0], key + 1);
	return !json_bool(o, name, true);
}

struct json *kaggle_get(const struct json *o, const char *key)
{
	char nullable[64];
	struct json *value = is_denied(o, key) ? NULL : json_get(o, key);

	if (value)
		return value;
	snprintf(nullable, sizeof(nullable), "%sNullable", key);
	return json_get(o, nullable);
}

struct str kaggle_text(const struct json *o, const char *key)
{
	struct str text = json_as_str(kaggle_get(o, key));

	return text.len ? text : STR_NULL;
}

int64_t kaggle_number(const struct json *o, const char *key)
{
	const struct json *v = kaggle_get(o, key);
	int64_t n = -1;
	double d;

	switch (json_type_of(v)) {
	case JSON_INT:
		n = json_as_i64(v, -1);
		break;
	case JSON_DOUBLE:
		d = json_as_double(v, -1);
		n = d >= 0 && d < 9e15 && d == floor(d) ? (int64_t)d : -1;
		break;
	case JSON_STRING:
		if (!str_to_i64(json_as_str(v), 0, INT64_MAX, &n))
			n = -1;
		break;
	case JSON_NULL: case JSON_BOOL: case JSON_ARRAY: case JSON_OBJECT:
		break;
	}
	return n >= 0 ? n : -1;
}

double kaggle_duration(const struct json *o, const char *key)
{
	const struct json *v = kaggle_get(o, key);
	struct str text = json_as_str(v);
	double seconds = json_as_double(v, -1);

	if (str_ends(text, "s"))
		text.len--;
	if (text.len && !str_to_double(text, &seconds))
		return -1;
	return seconds >= 0 && seconds < 1e12 ? seconds : -1;
}

int64_t kaggle_time(const struct json *o, const char *key)
{
	struct str text = kaggle_text(o, key);
	char zoned[48];
	int64_t ms;

	if (!text.len || text.len > 40)
		return -1;
	snprintf(zoned, sizeof(zoned), "%.*sZ", STR_ARG(text));
	if (!clock_parse(text, &ms) && !clock_parse(str_of(zoned), &ms))
		return -1;
	return ms >= 0 ? ms / 1000 : -1;
}

/* ---- status --------------------------------------------------------------- */

/* Lower case without underscores. */
static void normalise(struct str s, char *ret, size_t cap)
{
	size_t len = 0;

	for (size_t i = 0; i < s.len && len + 1 < cap; i++)
		if (s.ptr[i] != '_')
			ret[len++] = s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? (char)(s.ptr[i] - 'A' + 'a') : s.ptr[i];
	ret[len] = '\0';
}

bool kaggle_status_read(const struct json *answer, enum kaggle_status *ret)
{
	static const char *const words[] = {
		[KAGGLE_QUEUED] = "queued",
		[KAGGLE_RUNNING] = "running",
		[KAGGLE_COMPLETE] = "complete",
		[KAGGLE_ERROR] = "error",
		[KAGGLE_CANCEL_REQUESTED] = "cancelrequested",
		[KAGGLE_CANCEL_ACKNOWLEDGED] = "cancelacknowledged",
		[KAGGLE_NEW_SCRIPT] = "newscript",
	};
	static const char prefix[] = "kernelworkerstatus";
	const struct json *v = kaggle_get(answer, "status");
	int64_t n = kaggle_number(answer, "status");
	char text[64];
	const char *word = text;

	if (n >= 0 && n < (int64_t)ARRAY_LEN(words)) {
		*ret = (enum kaggle_status)n;
		return true;
	}
	normalise(json_as_str(v), text, sizeof(text));
	if (!strncmp(text, prefix, sizeof(prefix) - 1))
		word += sizeof(prefix) - 1;
	for (size_t i = 0; i < ARRAY_LEN(words); i++)
		if (!strcmp(word, words[i])) {
			*ret = (enum kaggle_status)i;
			return true;
		}
	return false;
}

/* ---- errors --------------------------------------------------------------- */

static struct str first_text(const struct json *o, const char *const keys[], size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct str text = kaggle_text(o, keys[i]);

		if (text.len)
			return text;
	}
	return STR_NULL;
}

struct str kaggle_complaint(const struct json *answer, int *status)
{
	static const char *const keys[] = {"error", "errorMessage", "message"};
	const struct json *error = kaggle_get(answer, "error");
	/* A body that is an error says its status on its own top level or in an object. */
	const struct json *body = json_type_of(error) == JSON_OBJECT ? error : answer;
	int64_t code = kaggle_number(body, "code");
	bool failed = body == error || (code >= 0 && (code < 200 || code > 299)) || !json_bool(answer, "wasSuccessful", true);
	struct str text = first_text(body, keys + 2, 1);

	if (status && code >= 300 && code <= 599)
		*status = (int)code;
	if (!text.len || !failed)
		text = first_text(answer, keys, 2);
	if (!text.len && failed)
		text = STR("an error without words");
	return text;
}

/* ---- names ---------------------------------------------------------------- */

static bool all_of(struct str s, const char *others, bool upper)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !(upper && c >= 'A' && c <= 'Z') && (!c || !strchr(others, c)))
			return false;
	}
	return true;
}

bool kaggle_name_valid(struct str name)
{
	if (name.len < 6 || name.len > 49 || !all_of(name, "-", false))
		return false;
	for (size_t i = 1; i < name.len; i++)
		if (name.ptr[i] == '-' && name.ptr[i - 1] == '-')
			return false;
	return name.ptr[0] >= 'a' && name.ptr[0] <= 'z' && name.ptr[name.len - 1] != '-';
}

bool kaggle_owner_valid(struct str owner)
{
	return owner.len && owner.len <= 64 && owner.ptr[0] != '.' && all_of(owner, "-_.", true);
}

bool kaggle_ref_read(struct str ref, struct str *owner, struct str *name)
{
	struct str rest = ref;
	const char *scheme = ref.len ? memmem(ref.ptr, ref.len, "://", 3) : NULL;

	if (scheme) {
		struct str host;

		rest = (struct str){scheme + 3, (size_t)(ref.ptr + ref.len - scheme - 3)};
		str_cut(&rest, '/', &host);
	} else if (str_starts(rest, "/")) {
		rest = (struct str){rest.ptr + 1, rest.len - 1};
	}
	if (str_starts(rest, "code/"))
		rest = (struct str){rest.ptr + 5, rest.len - 5};
	if (!rest.len || !str_cut(&rest, '/', owner) || !rest.ptr)
		return false;
	/* A version may follow: " v3", "/3". */
	*name = rest;
	for (size_t i = 0; i < rest.len; i++)
		if (strchr(" /?#", rest.ptr[i])) {
			name->len = i;
			break;
		}
	return kaggle_owner_valid(*owner) && name->len && name->len <= 128 && all_of(*name, "-_", true);
}

static bool segment_valid(struct str s)
{
	if (!s.len || s.len > 128 || str_eqz(s, ".") || str_eqz(s, ".."))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if ((unsigned char)s.ptr[i] < 0x20 || s.ptr[i] == 0x7f || s.ptr[i] == '\\' || s.ptr[i] == ':')
			return false;
	return true;
}

bool kaggle_file_valid(struct str name)
{
	struct str segment;
	int count = 0;

	if (!name.len || !str_is_utf8(name))
		return false;
	while (str_cut(&name, '/', &segment))
		if (++count > 8 || !segment_valid(segment))
			return false;
	return true;
}
