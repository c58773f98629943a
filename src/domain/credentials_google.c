/* credentials_google - Colab's and Colab Enterprise's.  See domain/credentials.h. */
#include "domain/credentials.h"

#include <stdio.h>
#include <string.h>

enum { CANONICAL_MOST = 32 << 10, PASSWORD_MOST = 200, KEY_LEAST = 200, KEY_MOST = 16 << 10 };

static enum err refuse(struct error *e, const char *field, const char *sentence)
{
	return error_field(e, ERR_INVALID, field, "%s", sentence);
}

/* A member of another name is not repeated: it may be the secret. */
static bool only(const struct json *sent, const char *const *names)
{
	for (struct json_iter it = json_iter(sent); json_next(&it);) {
		size_t i = 0;

		while (names[i] && strcmp(names[i], it.key) != 0)
			i++;
		if (!names[i])
			return false;
	}
	return true;
}

/* Takes the document, which is wiped. */
static void canonical(struct json *doc, struct secret *ret)
{
	cleanup_buf struct buf b = BUF_SECRET(CANONICAL_MOST);

	json_write_wiped(doc, &b);
	json_free(doc);
	if (b.failed)
		BUG("credentials of more than %d bytes", CANONICAL_MOST);
	*ret = secret_new(buf_str(&b));
}

/* ---- an OAuth client -------------------------------------------------------------- */

static const char client_hint[] = "must hold clientId and clientSecret of an OAuth client (type Web application), or be the file that Google makes of one";

static bool client_id_valid(struct str s)
{
	return s.len >= 20 && s.len <= 200 && credentials_made_of(s, "-_.") && str_ends(s, ".apps.googleusercontent.com");
}

static enum err make_client(struct str id, struct str secret, struct credentials *ret, struct error *e)
{
	struct json *doc;

	if (!client_id_valid(id))
		return refuse(e, "credentials.clientId", "must be the client ID as Google shows it: it ends in .apps.googleusercontent.com");
	if (secret.len < 8 || secret.len > 200 || !credentials_made_of(secret, "-_"))
		return refuse(e, "credentials.clientSecret", "must be the client secret as Google shows it: 8 to 200 letters, digits, - and _");
	doc = json_object();
	json_put_str(doc, "clientId", id);
	json_put_str(doc, "clientSecret", secret);
	canonical(doc, &ret->text);
	snprintf(ret->client_id, sizeof(ret->client_id), "%.*s", STR_ARG(id));
	return OK;
}

/* {"web":{"client_id","client_secret",…}} */
static enum err read_client_file(const struct json *file, struct credentials *ret, struct error *e)
{
	const struct json *web = json_get(file, "web");

	if (json_has(file, "installed"))
		return refuse(e, "credentials", "is an OAuth client of the type Desktop app; make one of the type Web application");
	return make_client(json_str(web, "client_id"), json_str(web, "client_secret"), ret, e);
}

/* ---- for the browser way ---------------------------------------------------------- */

static bool email_valid(struct str s)
{
	ptrdiff_t at = str_index(s, '@');

	return at > 0 && (size_t)at + 3 < s.len && s.len < CREDENTIALS_EMAIL && credentials_made_of(s, "@.!#$%&'*+/=?^_`{|}~-") &&
	       str_index((struct str){s.ptr + at + 1, s.len - (size_t)at - 1}, '@') < 0;
}

static enum err read_signin(const struct json *sent, struct credentials *ret, struct error *e)
{
	static const char *const names[] = {"email", "password", NULL};
	struct str email = json_str(sent, "email"), password = json_str(sent, "password");

	if (!only(sent, names))
		return refuse(e, "credentials", "may hold email and password, and nothing else");
	if (!email_valid(email))
		return refuse(e, "credentials.email", "must be the e-mail address of the Google account");
	if (json_has(sent, "password") && (!password.len || password.len > PASSWORD_MOST))
		return refuse(e, "credentials.password", "must have 1 to 200 bytes");
	snprintf(ret->email, sizeof(ret->email), "%.*s", STR_ARG(email));
	ret->start = "browser";
	if (password.len)
		ret->password = secret_new(password);
	return OK;
}

/* ---- Colab ------------------------------------------------------------------------ */

static enum err read_colab(const struct json *doc, struct credentials *ret, struct error *e)
{
	static const char *const names[] = {"clientId", "clientSecret", NULL};

	if (str_eqz(json_str(doc, "type"), "service_account"))
		return refuse(e, "credentials", "is the key file of a service account, which Colab Enterprise takes; Colab itself belongs to a person");
	if (json_has(doc, "web") || json_has(doc, "installed"))
		return read_client_file(doc, ret, e);
	if (json_has(doc, "email"))
		return read_signin(doc, ret, e);
	if (!json_len(doc))
		return refuse(e, "credentials", client_hint);
	if (!only(doc, names))
		return refuse(e, "credentials", "may hold clientId and clientSecret, or email and password, and nothing else");
	return make_client(json_str(doc, "clientId"), json_str(doc, "clientSecret"), ret, e);
}

enum err credentials_read_colab(const struct json *sent, struct credentials *ret, struct error *e)
{
	struct json *doc;
	enum err err = credentials_document(sent, "credentials", client_hint, &doc, e);

	if (err)
		return err;
	err = read_colab(doc, ret, e);
	if (json_type_of(sent) == JSON_STRING)
		json_wipe(doc);
	json_free(doc);
	return err;
}

/* ---- Colab Enterprise ------------------------------------------------------------- */

#define KEY_FIELD "credentials.serviceAccount"

static bool project_valid(struct str s)
{
	/* Old ones are of a domain: "example.com:project". */
	return s.len >= 4 && s.len <= 80 && credentials_made_of(s, "-.:") && s.ptr[0] >= 'a' && s.ptr[0] <= 'z';
}

static bool region_valid(struct str s)
{
	return s.len >= 6 && s.len <= 40 && credentials_made_of(s, "-") && str_index(s, '-') > 0 && s.ptr[s.len - 1] >= '0' && s.ptr[s.len - 1] <= '9';
}

static bool bucket_valid(struct str s)
{
	return s.len >= 3 && s.len <= 222 && credentials_made_of(s, "-_.") && s.ptr[0] != '.' && s.ptr[0] != '-';
}

static bool pem(struct str s)
{
	return s.len >= KEY_LEAST && s.len <= KEY_MOST && str_starts(s, "-----BEGIN PRIVATE KEY-----\n") &&
	       str_ends(str_trim(s), "\n-----END PRIVATE KEY-----");
}

static enum err judge_key(const struct json *key, struct error *e)
{
	struct str type = json_str(key, "type"), email = json_str(key, "client_email"), id = json_str(key, "private_key_id");

	if (json_has(key, "web") || json_has(key, "installed"))
		return refuse(e, KEY_FIELD, "is an OAuth client, not the key file of a service account");
	if (!str_eqz(type, "service_account"))
		return refuse(e, KEY_FIELD, "is not the key file of a service account (its type is another): make one in Google Cloud's console, "
					    "IAM & Admin > Service accounts > Keys > Add key > JSON");
	if (email.len < 10 || email.len > 254 || !credentials_made_of(email, "@.-_") || !str_ends(email, ".gserviceaccount.com"))
		return refuse(e, KEY_FIELD, "is not whole: client_email must be the address of a service account");
	if (!id.len || id.len > 100 || !credentials_made_of(id, "-_"))
		return refuse(e, KEY_FIELD, "is not whole: private_key_id is missing");
	if (!pem(json_str(key, "private_key")))
		return refuse(e, KEY_FIELD, "is not whole: private_key must be a key in PEM form, with its line breaks");
	return OK;
}

/* Only what is needed; token_uri is not: where tokens come from is a setting of ours. */
static struct json *key_kept(const struct json *key)
{
	static const char *const names[] = {"type", "project_id", "private_key_id", "private_key", "client_email"};
	struct json *kept = json_object();

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (json_str(key, names[i]).len)
			json_put_str(kept, names[i], json_str(key, names[i]));
	return kept;
}

static enum err read_enterprise(const struct json *sent, const struct json *key, struct credentials *ret, struct error *e)
{
	struct str project = json_has(sent, "project") ? json_str(sent, "project") : json_str(key, "project_id");
	struct str region = json_str(sent, "region"), bucket = json_str(sent, "bucket");
	struct json *doc;
	enum err err = judge_key(key, e);

	if (err)
		return err;
	if (!project_valid(project))
		return refuse(e, "credentials.project", "must be the ID of the project in Google Cloud: lower-case letters, digits and -");
	if (!region_valid(region))
		return refuse(e, "credentials.region", "must be a region of Google Cloud, such as us-central1");
	if (str_starts(bucket, "gs://"))
		bucket = (struct str){bucket.ptr + 5, bucket.len - 5};
	if (!bucket_valid(bucket))
		return refuse(e, "credentials.bucket", "must be the name of a bucket in Google Cloud Storage, without a path");
	doc = json_object();
	json_put(doc, "serviceAccount", key_kept(key));
	json_put_str(doc, "project", project);
	json_put_str(doc, "region", region);
	json_put_str(doc, "bucket", bucket);
	canonical(doc, &ret->text);
	return OK;
}

enum err credentials_read_enterprise(const struct json *sent, struct credentials *ret, struct error *e)
{
	static const char *const names[] = {"serviceAccount", "project", "region", "bucket", NULL};
	static const char hint[] = "must hold serviceAccount (the key file's JSON), region and bucket, and project where it is another than the key's";
	struct json *key;
	enum err err;

	if (json_type_of(sent) != JSON_OBJECT)
		return refuse(e, "credentials", hint);
	if (str_eqz(json_str(sent, "type"), "service_account"))
		return refuse(e, "credentials", "is the key file alone: send it as serviceAccount, beside region and bucket");
	if (!only(sent, names))
		return refuse(e, "credentials", "may hold serviceAccount, project, region and bucket, and nothing else");
	err = credentials_document(json_get(sent, "serviceAccount"), KEY_FIELD, "must be the JSON of a service account's key file", &key, e);
	if (err)
		return err;
	err = read_enterprise(sent, key, ret, e);
	if (json_type_of(json_get(sent, "serviceAccount")) == JSON_STRING)
		json_wipe(key);
	json_free(key);
	return err;
}
