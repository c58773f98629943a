/* page_credentials - credentials from a form.  See web/page_credentials.h. */
#include "web/page_credentials.h"

#include <string.h>

#include "web/problem.h"

enum { NAME_MOST = 48 };

static struct str sent(const struct request *req, const char *prefix, const char *name)
{
	char whole[NAME_MOST];

	snprintf(whole, sizeof(whole), "%s%s", prefix, name);
	return str_trim(json_str(req->json, whole));
}

static void refuse(const struct request *req, const char *prefix, const char *name, const char *why)
{
	char whole[NAME_MOST];

	snprintf(whole, sizeof(whole), "%s%s", prefix, name);
	field_error_add(req->errors, req->arena, whole, "%s", why);
}

static struct json *read_fields(struct str token, struct str username, struct str key)
{
	struct json *credentials = json_object();

	if (token.len)
		json_put_str(credentials, "token", token);
	if (username.len)
		json_put_str(credentials, "username", username);
	if (key.len)
		json_put_str(credentials, "key", key);
	return credentials;
}

struct json *page_credentials(const struct request *req, const char *prefix)
{
	struct str file = sent(req, prefix, "file"), token = sent(req, prefix, "token");
	struct str username = sent(req, prefix, "username"), key = sent(req, prefix, "key");
	/* A name that stayed in the form beside a token or a file says nothing else. */
	int kinds = (file.len > 0) + (token.len > 0) + (key.len > 0);

	if (kinds > 1)
		refuse(req, prefix, "credentials", "Send one of the three: the file, a token, or a user name and its key.");
	else if (!kinds && username.len)
		refuse(req, prefix, "key", "The key of this user name is missing.");
	else if (!kinds)
		refuse(req, prefix, "credentials", "Send one of the three: the file, a token, or a user name and its key.");
	else if (key.len && !username.len)
		refuse(req, prefix, "username", "The user name of this key is missing.");
	else if (file.len)
		return json_new_str(file); /* the API reads it, too */
	else
		return read_fields(token, token.len ? STR_NULL : username, key);
	return NULL;
}

bool page_credentials_sent(const struct request *req, const char *prefix)
{
	return sent(req, prefix, "file").len || sent(req, prefix, "token").len || sent(req, prefix, "username").len || sent(req, prefix, "key").len;
}

static bool is_of_credentials(const char *field)
{
	return !strncmp(field, "credentials", 11) && (!field[11] || field[11] == '.');
}

void page_credentials_refused(const struct request *req, const char *prefix)
{
	struct field_errors *f = req->errors;
	const char *file;

	if (!sent(req, prefix, "file").len)
		return;
	file = arena_printf(req->arena, "%sfile", prefix);
	for (int i = 0; file && i < f->count; i++)
		if (is_of_credentials(f->list[i].field))
			f->list[i].field = file;
}
