/* credentials - read, judged, and never shown.  See domain/credentials.h. */
#include "domain/credentials.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_MOST = 16 << 10, CANONICAL_MOST = 1024 };

void credentials_free(struct credentials *c)
{
	secret_free(&c->text);
	secret_free(&c->password);
}

bool credentials_made_of(struct str s, const char *others)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') && (!c || !strchr(others, c)))
			return false;
	}
	return true;
}

static const struct member {
	const char *name, *field, *others;
	size_t least, most;
	const char *fault;
} members[] = {
	{"username", "credentials.username", "-_.", 1, 64, "must be the user name: letters, digits and - _ . only, at most 64"},
	{"key", "credentials.key", "-_", 8, 128, "must be the key as Kaggle shows it: 8 to 128 letters and digits"},
	{"token", "credentials.token", "-_.", 9, 512, "must be an API token as Kaggle shows it: it begins with KGAT_"},
};
enum { USERNAME, KEY, TOKEN };

static enum err check_member(const struct json *sent, const struct member *m, struct error *e)
{
	const struct json *value = json_get(sent, m->name);
	struct str s = json_as_str(value);

	if (json_type_of(value) != JSON_STRING || s.len < m->least || s.len > m->most || !credentials_made_of(s, m->others) ||
	    (m == &members[TOKEN] && !str_starts(s, "KGAT_")))
		return error_field(e, ERR_INVALID, m->field, "%s", m->fault);
	return OK;
}

static bool known(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (!strcmp(name, members[i].name))
			return true;
	return false;
}

static enum err unfit(struct error *e)
{
	return error_field(e, ERR_INVALID, "credentials", "must be a user name and key, a token, or the text of a kaggle.json");
}

/* What must not be told apart is one message; a member of another name is not repeated: it may be the secret. */
static enum err read_object(const struct json *sent, struct secret *ret, struct error *e)
{
	bool token = json_has(sent, "token");
	enum err err;

	for (struct json_iter it = json_iter(sent); json_next(&it);)
		if (!known(it.key))
			return error_field(e, ERR_INVALID, "credentials", "may hold username and key, or token, and nothing else");
	if (token && json_len(sent) > 1)
		return error_field(e, ERR_INVALID, "credentials", "may hold a token, or a user name and key, but not both");
	if (token)
		err = check_member(sent, &members[TOKEN], e);
	else if (!json_len(sent))
		err = unfit(e);
	else if (!(err = check_member(sent, &members[USERNAME], e)))
		err = check_member(sent, &members[KEY], e);
	if (err)
		return err;
	*ret = secret_room(CANONICAL_MOST);
	if (token)
		snprintf(ret->ptr, ret->len, "{\"token\":\"%s\"}", json_cstr(sent, "token"));
	else
		snprintf(ret->ptr, ret->len, "{\"username\":\"%s\",\"key\":\"%s\"}", json_cstr(sent, "username"), json_cstr(sent, "key"));
	ret->len = strlen(ret->ptr);
	return OK;
}

static struct str without_mark(struct str text)
{
	if (str_starts(text, "\xef\xbb\xbf")) /* a byte order mark */
		text = (struct str){text.ptr + 3, text.len - 3};
	return str_trim(text);
}

enum err credentials_document(const struct json *sent, const char *field, const char *fault, struct json **ret, struct error *e)
{
	*ret = NULL;
	if (json_type_of(sent) == JSON_OBJECT) {
		*ret = json_ref((struct json *)sent);
		return OK;
	}
	if (json_type_of(sent) == JSON_STRING && !json_parse(without_mark(json_as_str(sent)), TEXT_MOST, ret, NULL) &&
	    json_type_of(*ret) == JSON_OBJECT)
		return OK;
	json_wipe(*ret);
	json_free(*ret);
	*ret = NULL;
	return error_field(e, ERR_INVALID, field, "%s", fault);
}

static enum err read_text(struct str text, struct secret *ret, struct error *e)
{
	cleanup_json struct json *j = NULL;
	enum err err;

	text = without_mark(text);
	if (str_starts(text, "KGAT_")) {
		j = json_object();
		json_put_str(j, "token", text);
	} else if (json_parse(text, TEXT_MOST, &j, NULL) || json_type_of(j) != JSON_OBJECT) {
		json_wipe(j);
		return unfit(e);
	}
	err = read_object(j, ret, e);
	json_wipe(j);
	return err;
}

static enum err read_kaggle(const struct json *sent, struct credentials *ret, struct error *e)
{
	if (!sent)
		return error_field(e, ERR_INVALID, "credentials", "is required: a user name and key, a token, or the text of a kaggle.json");
	switch (json_type_of(sent)) {
	case JSON_OBJECT: return read_object(sent, &ret->text, e);
	case JSON_STRING: return read_text(json_as_str(sent), &ret->text, e);
	default: return unfit(e);
	}
}

/* ---- all of them ------------------------------------------------------------------ */

static const struct {
	const char *provider;
	enum err (*read)(const struct json *sent, struct credentials *ret, struct error *e);
} readers[] = {
	{"kaggle", read_kaggle},
	{"colab", credentials_read_colab},
	{"colab-enterprise", credentials_read_enterprise},
};

bool credentials_taken(const char *provider)
{
	for (size_t i = 0; i < ARRAY_LEN(readers); i++)
		if (!strcmp(readers[i].provider, provider))
			return true;
	return false;
}

enum err credentials_read(const char *provider, const struct json *sent, struct credentials *ret, struct error *e)
{
	*ret = (struct credentials){.start = ""};
	for (size_t i = 0; i < ARRAY_LEN(readers); i++)
		if (!strcmp(readers[i].provider, provider))
			return readers[i].read(sent, ret, e);
	return error_field(e, ERR_INVALID, "credentials", "This provider takes no credentials.");
}
