/* Credentials as people send them: what is read of them, and that no error repeats any of it. */
#include "domain/credentials.h"

#include <stdio.h>
#include <string.h>

#include "unit.h"

#define PEM "-----BEGIN PRIVATE KEY-----\\n" LINE LINE LINE LINE LINE LINE "-----END PRIVATE KEY-----\\n"
#define LINE "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDhiddenkey0\\n"
#define ID "1234567890-abcdefghijklmnop.apps.googleusercontent.com"
#define SECRET "GOCSPX-hiddensecret0123456789"
#define KEY "{\"type\":\"service_account\",\"project_id\":\"my-project\",\"private_key_id\":\"0123abcd\",\"private_key\":\"" PEM \
	"\",\"client_email\":\"pool@my-project.iam.gserviceaccount.com\",\"token_uri\":\"https://evil.example/token\"}"

static struct json *parsed(const char *text)
{
	struct error e = {0};
	struct json *j;

	ck_assert_msg(!json_parse(str_of(text), 1 << 20, &j, &e), "%s: %s", text, e.msg);
	return j;
}

static const char *text_of(const char *text)
{
	static char quoted[16 << 10];
	cleanup_buf struct buf b = BUF_INIT(sizeof(quoted) - 1);

	buf_add_json(&b, str_of(text));
	ck_assert(!b.failed);
	snprintf(quoted, sizeof(quoted), "%s", b.ptr);
	return quoted;
}

/* ---- what is taken ---- */

START_TEST(test_client_is_read_in_every_form)
{
	static const char *const forms[] = {
		"{\"clientId\":\"" ID "\",\"clientSecret\":\"" SECRET "\"}",
		"{\"web\":{\"client_id\":\"" ID "\",\"project_id\":\"p\",\"client_secret\":\"" SECRET "\",\"redirect_uris\":[\"https://x/\"]}}",
	};
	struct json *sent = parsed(_i < 2 ? forms[_i] : text_of(forms[_i - 2]));
	cleanup_credentials struct credentials c = {0};
	struct error e = {0};

	ck_assert_msg(!credentials_read("colab", sent, &c, &e), "%s %s", e.field, e.msg);
	ck_assert_str_eq(c.text.ptr, "{\"clientId\":\"" ID "\",\"clientSecret\":\"" SECRET "\"}");
	ck_assert_str_eq(c.start, "");
	json_free(sent);
}
END_TEST

START_TEST(test_sign_in_is_not_sealed)
{
	struct json *sent = parsed("{\"email\":\"ann@example.org\",\"password\":\"p\\u00e4ss\"}");
	cleanup_credentials struct credentials c = {0};

	ck_assert_int_eq(credentials_read("colab", sent, &c, NULL), OK);
	ck_assert_ptr_null(c.text.ptr);
	ck_assert_str_eq(c.start, "browser");
	ck_assert_str_eq(c.email, "ann@example.org");
	ck_assert_str_eq(c.password.ptr, "p\u00e4ss");
	json_free(sent);
}
END_TEST

START_TEST(test_key_file_is_read_and_trimmed)
{
	cleanup_buf struct buf b = BUF_INIT(64 << 10);
	cleanup_credentials struct credentials c = {0};
	struct json *sent, *kept;
	struct error e = {0};

	buf_addf(&b, "{\"serviceAccount\":%s,\"region\":\"us-central1\",\"bucket\":\"gs://my-bucket\"}", _i ? text_of(KEY) : KEY);
	sent = parsed(b.ptr);
	ck_assert_msg(!credentials_read("colab-enterprise", sent, &c, &e), "%s %s", e.field, e.msg);
	kept = parsed(c.text.ptr);
	ck_assert_str_eq(json_cstr(kept, "project"), "my-project");
	ck_assert_str_eq(json_cstr(kept, "region"), "us-central1");
	ck_assert_str_eq(json_cstr(kept, "bucket"), "my-bucket");
	ck_assert(str_starts(json_as_str(json_path(kept, "serviceAccount.private_key")), "-----BEGIN PRIVATE KEY-----\n"));
	ck_assert_ptr_null(json_path(kept, "serviceAccount.token_uri"));
	json_free(kept);
	json_free(sent);
}
END_TEST

/* ---- what is refused ---- */

#define HIDDEN "hidden"
#define ENTERPRISE(key) "{\"serviceAccount\":" key ",\"region\":\"us-central1\",\"bucket\":\"my-bucket\"}"
#define KEY_OF(type, email, id, pem) \
	"{\"type\":\"" type "\",\"private_key_id\":\"" id "\",\"private_key\":\"" pem "\",\"client_email\":\"" email "\",\"project_id\":\"p-1234\"}"
#define MAIL "x@p-1234.iam.gserviceaccount.com"

static const struct {
	const char *provider, *sent, *field, *says;
} refusals[] = {
	{"colab", "null", "credentials", "clientId"},
	{"colab", "7", "credentials", "clientId"},
	{"colab", "\"hidden\"", "credentials", "clientId"},
	{"colab", "[\"hidden\"]", "credentials", "clientId"},
	{"colab", "{}", "credentials", "clientId"},
	{"colab", "{\"hidden\":\"hidden\"}", "credentials", "nothing else"},
	{"colab", "{\"clientId\":\"" ID "\",\"clientSecret\":\"" SECRET "\",\"hidden\":1}", "credentials", "nothing else"},
	{"colab", "{\"clientId\":\"hidden\",\"clientSecret\":\"" SECRET "\"}", "credentials.clientId", "apps.googleusercontent.com"},
	{"colab", "{\"clientId\":\"" ID "\"}", "credentials.clientSecret", "client secret"},
	{"colab", "{\"clientId\":\"" ID "\",\"clientSecret\":\"hidden secret!\"}", "credentials.clientSecret", "client secret"},
	{"colab", "{\"clientId\":\"" ID "\",\"clientSecret\":7}", "credentials.clientSecret", "client secret"},
	{"colab", "{\"installed\":{\"client_id\":\"" ID "\",\"client_secret\":\"" SECRET "\"}}", "credentials", "Web application"},
	{"colab", "{\"type\":\"service_account\",\"private_key\":\"hidden\"}", "credentials", "Enterprise"},
	{"colab", "{\"email\":\"hidden\"}", "credentials.email", "e-mail address"},
	{"colab", "{\"email\":\"a@b@hidden.org\"}", "credentials.email", "e-mail address"},
	{"colab", "{\"email\":\"a@hidden.org\",\"password\":\"\"}", "credentials.password", "200 bytes"},
	{"colab", "{\"email\":\"a@hidden.org\",\"hidden\":\"\"}", "credentials", "email and password"},
	{"colab-enterprise", "null", "credentials", "serviceAccount"},
	{"colab-enterprise", "\"hidden\"", "credentials", "serviceAccount"},
	{"colab-enterprise", "{}", "credentials.serviceAccount", "key file"},
	{"colab-enterprise", KEY, "credentials", "key file alone"},
	{"colab-enterprise", "{\"hidden\":1}", "credentials", "nothing else"},
	{"colab-enterprise", ENTERPRISE("\"not hidden JSON\""), "credentials.serviceAccount", "key file"},
	{"colab-enterprise", ENTERPRISE("{\"type\":\"authorized_user\",\"refresh_token\":\"hidden\"}"), "credentials.serviceAccount",
	 "not the key file of a service account"},
	{"colab-enterprise", ENTERPRISE("{\"web\":{\"client_secret\":\"hidden\"}}"), "credentials.serviceAccount", "OAuth client"},
	{"colab-enterprise", ENTERPRISE("{\"username\":\"ann\",\"key\":\"hidden\"}"), "credentials.serviceAccount", "not the key file"},
	{"colab-enterprise", ENTERPRISE(KEY_OF("service_account", "ann@hidden.org", "1", PEM)), "credentials.serviceAccount", "client_email"},
	{"colab-enterprise", ENTERPRISE(KEY_OF("service_account", MAIL, "", PEM)), "credentials.serviceAccount", "private_key_id"},
	{"colab-enterprise", ENTERPRISE(KEY_OF("service_account", MAIL, "1", "hidden")), "credentials.serviceAccount", "PEM"},
	{"colab-enterprise", "{\"serviceAccount\":" KEY ",\"bucket\":\"my-bucket\"}", "credentials.region", "us-central1"},
	{"colab-enterprise", "{\"serviceAccount\":" KEY ",\"region\":\"hidden place\",\"bucket\":\"my-bucket\"}", "credentials.region", "us-central1"},
	{"colab-enterprise", "{\"serviceAccount\":" KEY ",\"region\":\"us-central1\",\"bucket\":\"hidden/path\"}", "credentials.bucket", "bucket"},
	{"colab-enterprise", "{\"serviceAccount\":" KEY ",\"region\":\"us-central1\",\"bucket\":\"b\"}", "credentials.bucket", "bucket"},
	{"colab-enterprise", "{\"serviceAccount\":" KEY ",\"project\":\"hidden project\",\"region\":\"us-central1\",\"bucket\":\"my-bucket\"}",
	 "credentials.project", "project"},
	{"manual", "{\"token\":\"hidden\"}", "credentials", "no credentials"},
};

START_TEST(test_refused_at_its_field_without_a_word_of_it)
{
	struct json *sent = parsed(refusals[_i].sent);
	cleanup_credentials struct credentials c = {0};
	struct error e = {0};

	ck_assert_msg(credentials_read(refusals[_i].provider, sent, &c, &e) == ERR_INVALID, "%s", refusals[_i].sent);
	ck_assert_str_eq(e.field, refusals[_i].field);
	ck_assert_msg(strstr(e.msg, refusals[_i].says) != NULL, "%s", e.msg);
	ck_assert_ptr_null(strstr(e.msg, HIDDEN));
	ck_assert_ptr_null(c.text.ptr);
	json_free(sent);
}
END_TEST

START_TEST(test_which_providers_take_some)
{
	ck_assert(credentials_taken("kaggle") && credentials_taken("colab") && credentials_taken("colab-enterprise"));
	ck_assert(!credentials_taken("local") && !credentials_taken("manual") && !credentials_taken(""));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("credentials");
	TCase *t = tcase_create("credentials");

	crypto_init();
	tcase_add_loop_test(t, test_client_is_read_in_every_form, 0, 4);
	tcase_add_test(t, test_sign_in_is_not_sealed);
	tcase_add_loop_test(t, test_key_file_is_read_and_trimmed, 0, 2);
	tcase_add_loop_test(t, test_refused_at_its_field_without_a_word_of_it, 0, (int)ARRAY_LEN(refusals));
	tcase_add_test(t, test_which_providers_take_some);
	suite_add_tcase(s, t);
	return unit_run(s);
}
