/* inputs - forms of names.  See domain/inputs.h. */
#include "domain/inputs.h"

#include <stdio.h>

static const struct kind {
	const char *name;
	int least, most; /* parts between slashes */
	const char *form;
} kinds[] = {
	{"datasets", 2, 2, "owner/name"},
	{"models", 4, 5, "owner/model/framework/variation or owner/model/framework/variation/version"},
	{"competitions", 1, 1, "the competition's name as in its address"},
	{"kernels", 2, 2, "owner/name"},
};

/* Letters, digits, - _ and dots that do not begin it. */
static bool is_part(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && !(i && (c == '-' || c == '_' || c == '.')))
			return false;
	}
	return s.len >= 1 && s.len <= 100;
}

static bool is_version(struct str s)
{
	int64_t n;

	return str_to_id(s, &n) && n <= INT32_MAX;
}

static bool is_name(const struct kind *k, struct str s)
{
	struct str part;
	int n = 0;

	if (s.len > INPUT_NAME_MOST)
		return false;
	while (str_cut(&s, '/', &part))
		if (++n > k->most || !is_part(part) || (n == 5 && !is_version(part)))
			return false;
	return n >= k->least;
}

static bool is_repeated(const struct json *list, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (str_eq(json_as_str(json_at(list, k)), json_as_str(json_at(list, i))))
			return true;
	return false;
}

static enum err read_list(const struct kind *k, const struct json *list, struct buf *ret, struct error *e)
{
	char field[64];

	snprintf(field, sizeof(field), "inputs.%s", k->name);
	if (list && json_type_of(list) != JSON_ARRAY)
		return error_field(e, ERR_INVALID, field, "must be an array of names");
	if (json_len(list) > INPUTS_MOST)
		return error_field(e, ERR_INVALID, field, "may have at most %d names", INPUTS_MOST);
	buf_addf(ret, "\"%s\":[", k->name);
	for (size_t i = 0; i < json_len(list); i++) {
		struct str name = json_as_str(json_at(list, i));

		snprintf(field, sizeof(field), "inputs.%s.%zu", k->name, i);
		if (!is_name(k, name))
			return error_field(e, ERR_INVALID, field, "must be a name of the form %s", k->form);
		if (is_repeated(list, i))
			return error_field(e, ERR_INVALID, field, "is named twice");
		if (i)
			buf_addc(ret, ',');
		buf_add_json(ret, name);
	}
	buf_addc(ret, ']');
	return OK;
}

enum err inputs_read(const struct json *sent, struct buf *ret, struct error *e)
{
	enum err err = OK;

	if (json_type_of(sent) != JSON_OBJECT)
		return error_field(e, ERR_INVALID, "inputs", "must be an object");
	for (size_t i = 0; !err && i < ARRAY_LEN(kinds); i++) {
		buf_addc(ret, i ? ',' : '{');
		err = read_list(&kinds[i], json_get(sent, kinds[i].name), ret, e);
	}
	buf_addc(ret, '}');
	if (!err && ret->failed)
		return error_field(e, ERR_INVALID, "inputs", "has too many names");
	return err;
}
