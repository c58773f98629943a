/* Tokens for Google, and what its answers mean, against a peer that answers what each test says. */
#include <unistd.h>

#include "base/clock.h"
#include "base/http.h"
#include "base/rsa.h"
#include "google_key.h"
#include "peer.h"
#include "provider/google_call.h"
#include "provider/google_token.h"
#include "unit.h"

enum { ANSWERS_MOST = 16 };

static struct peer peer;
static struct peer_answer answers[ANSWERS_MOST];
static size_t answer_count, used;
static char store[1 << 20];
static bool serving;
static struct http_client *client;
static struct arena arena, keys;
static struct error error;
static struct config config;
static struct secret secret;
static struct provider_call call;
static const char *pem;

static void be(const char *credentials)
{
	secret_free(&secret);
	secret = secret_new(str_of(credentials));
	call.secret = &secret;
}

static void setup(void)
{
	crypto_init();
	arena_init(&arena, 64 << 20);
	ck_assert_int_eq(http_client_new(&client), OK);
	answer_count = used = 0;
	serving = false;
	config = (struct config){.google_oauth_url = "http://127.0.0.1:1/oauth", .outgoing_allow = ""};
	error = (struct error){0};
	call = (struct provider_call){.arena = &arena, .config = &config, .http = client, .error = &error, .retry_after_s = -1,
				      .deadline_ms = clock_ms() + 30000};
	be(google_key_credentials(&arena, pem));
}

static void teardown(void)
{
	google_token_forget();
	http_client_free(client);
	if (serving)
		peer_free(&peer);
	secret_free(&secret);
	arena_free(&arena);
}

static void answer(int status, const char *headers, const char *body)
{
	const char *bytes = arena_printf(&arena, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers,
					 strlen(body), body);
	size_t size = strlen(bytes) + 1;

	ck_assert_uint_lt(answer_count, ANSWERS_MOST);
	ck_assert_uint_le(size, sizeof(store) - used);
	memcpy(store + used, bytes, size);
	answers[answer_count++] = (struct peer_answer){store + used, PEER_HANG_UP};
	used += size;
}

static void token_answer(const char *token, int seconds)
{
	answer(200, "", arena_printf(&arena, "{\"access_token\":\"%s\",\"expires_in\":%d,\"token_type\":\"Bearer\"}", token, seconds));
}

static void serve(void)
{
	peer_start(&peer, NULL, answers, answer_count);
	serving = true;
	config.google_oauth_url = arena_printf(&arena, "http://127.0.0.1:%d/oauth", peer.port);
}

static void all_asked(void)
{
	peer_stop(&peer);
	ck_assert_uint_eq(peer.answered, answer_count);
}

static enum err ask(struct google_answer *a)
{
	return google_call(&call, &(struct google_request){.service = "Vertex AI", .scope = GOOGLE_SCOPE_CLOUD,
							   .url = arena_printf(&arena, "http://127.0.0.1:%d/vertex/x", peer.port)}, a);
}

/* ---- signatures ---- */

static void file_of(const char *path, const void *bytes, size_t len)
{
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(bytes, 1, len, f), len);
	fclose(f);
}

START_TEST(test_signature_is_what_openssl_makes)
{
	char dir[] = "/tmp/gpupool-rsa-XXXXXX", path[64], command[256], bytes[1024];
	cleanup_buf struct buf ours = BUF_INIT(4096);
	static const char message[] = "header.claims";
	size_t n;
	FILE *f;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/key", dir);
	file_of(path, pem, strlen(pem));
	snprintf(path, sizeof(path), "%s/text", dir);
	file_of(path, message, sizeof(message) - 1);
	ck_assert_int_eq(rsa_sign_sha256(str_of(pem), STR("header.claims"), &ours, &error), OK);
	snprintf(command, sizeof(command), "openssl dgst -sha256 -sign %s/key %s/text", dir, dir);
	f = popen(command, "re");
	n = fread(bytes, 1, sizeof(bytes), f);
	ck_assert_int_eq(pclose(f), 0);
	ck_assert_uint_eq(n, 256);
	ck_assert_uint_eq(ours.len, n);
	ck_assert_mem_eq(ours.ptr, bytes, n);
	snprintf(command, sizeof(command), "rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

static const char *const bad_keys[] = {
	"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
	/* an EC key */
	"-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2\n"
	"OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r\n1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087G\n"
	"-----END PRIVATE KEY-----\n",
	/* one with a passphrase: nobody may be asked for it */
	"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjZkS4PA6Ug3gICCAAw\n"
	"DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEFAhmdPQyW0O4Hp1QbyiJVMEQBpy\n-----END ENCRYPTED PRIVATE KEY-----\n",
};

START_TEST(test_what_is_no_key)
{
	cleanup_buf struct buf b = BUF_INIT(4096);

	ck_assert_int_eq(rsa_sign_sha256(str_of(bad_keys[_i]), STR("x"), &b, &error), ERR_INVALID);
	ck_assert_int_eq(rsa_key_check(str_of(bad_keys[_i]), NULL), ERR_INVALID);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_ptr_null(strstr(error.msg, "MIG"));
}
END_TEST

START_TEST(test_short_key)
{
	cleanup_buf struct buf b = BUF_INIT(4096);

	ck_assert_int_eq(rsa_sign_sha256(str_of(google_key_pem(&arena, 1024)), STR("x"), &b, &error), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(error.msg, "2048"));
}
END_TEST

/* ---- tokens ---- */

START_TEST(test_token_by_key)
{
	const char *token;

	token_answer("ya29.one", 3599);
	serve();
	ck_assert_int_eq(google_token(&call, GOOGLE_SCOPE_CLOUD, &token), OK);
	ck_assert_str_eq(token, "ya29.one");
	ck_assert_int_eq(google_token(&call, GOOGLE_SCOPE_CLOUD, &token), OK); /* of memory */
	all_asked();
	ck_assert_ptr_nonnull(strstr(peer.received.ptr, "POST /oauth/token HTTP"));
	ck_assert_ptr_nonnull(strstr(peer.received.ptr, "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=eyJ"));
	ck_assert_ptr_null(strstr(peer.received.ptr, "evil"));
}
END_TEST

START_TEST(test_token_by_consent)
{
	const char *token;

	be("{\"clientId\":\"id\",\"clientSecret\":\"s&t\",\"refreshToken\":\"1//r\"}");
	token_answer("ya29.one", 3599);
	serve();
	ck_assert_int_eq(google_token(&call, "scope", &token), OK);
	all_asked();
	ck_assert_ptr_nonnull(strstr(peer.received.ptr, "grant_type=refresh_token&refresh_token=1%2F%2Fr&client_id=id&client_secret=s%26t"));
}
END_TEST

START_TEST(test_token_is_kept_until_five_minutes_before_its_end)
{
	const char *token;

	clock_fake(1000000);
	call.deadline_ms = clock_ms() + (1LL << 40);
	token_answer("one", 3600);
	token_answer("two", 3600);
	token_answer("brief", 200);
	token_answer("three", 3600);
	serve();
	ck_assert_int_eq(google_token(&call, "s", &token), OK);
	clock_fake(1000000 + 3299 * 1000);
	ck_assert_int_eq(google_token(&call, "s", &token), OK);
	ck_assert_str_eq(token, "one");
	clock_fake(1000000 + 3300 * 1000);
	ck_assert_int_eq(google_token(&call, "s", &token), OK);
	ck_assert_str_eq(token, "two");
	ck_assert_int_eq(google_token(&call, "other scope", &token), OK);
	ck_assert_str_eq(token, "brief");
	ck_assert_int_eq(google_token(&call, "other scope", &token), OK);
	ck_assert_str_eq(token, "three");
	clock_real();
	all_asked();
}
END_TEST

START_TEST(test_more_accounts_than_are_kept)
{
	const char *token;

	for (int i = 0; i < 3; i++)
		token_answer(i ? "later" : "first", 3600);
	serve();
	ck_assert_int_eq(google_token(&call, "first", &token), OK);
	ck_assert_int_eq(google_token(&call, "second", &token), OK);
	google_token_drop(&call, "first");
	ck_assert_int_eq(google_token(&call, "first", &token), OK);
	ck_assert_str_eq(token, "later");
	all_asked();
}
END_TEST

static const struct refusal {
	int status;
	const char *body, *credentials;
	enum err err;
	const char *reason, *words;
} refusals[] = {
	{400, "{\"error\":\"invalid_grant\",\"error_description\":\"Invalid JWT Signature.\"}", NULL, ERR_UNAUTHORIZED, "credentials", "Make a new key"},
	{400, "{\"error\":\"invalid_grant\",\"error_description\":\"Token has been expired or revoked.\"}", "{\"clientId\":\"i\",\"refreshToken\":\"r\"}",
	 ERR_UNAUTHORIZED, "credentials", "consent"},
	{401, "{\"error\":\"invalid_client\"}", "{\"clientId\":\"i\",\"refreshToken\":\"r\"}", ERR_UNAUTHORIZED, "credentials", "OAuth client"},
	{400, "{\"error\":\"invalid_scope\"}", NULL, ERR_UNAUTHORIZED, "credentials", "leave"},
	{400, "{\"error\":\"org_internal\"}", NULL, ERR_UNAUTHORIZED, "credentials", "org_internal"},
	{400, "<html>", NULL, ERR_UPSTREAM, NULL, "400"},
	{200, "<html>", NULL, ERR_UPSTREAM, NULL, "without a token"},
	{200, "{\"access_token\":\"a b\",\"token_type\":\"Bearer\",\"expires_in\":3599}", NULL, ERR_UPSTREAM, NULL, "without a token"},
	{200, "{\"access_token\":\"a\\r\\nX: y\",\"token_type\":\"Bearer\",\"expires_in\":3599}", NULL, ERR_UPSTREAM, NULL, "without a token"},
	{200, "{\"access_token\":[],\"token_type\":\"Bearer\"}", NULL, ERR_UPSTREAM, NULL, "without a token"},
	{429, "{}", NULL, ERR_RATE, "rate", "fewer"},
	{503, "", NULL, ERR_UNAVAILABLE, NULL, "503"},
};

START_TEST(test_no_token)
{
	const struct refusal *r = &refusals[_i];
	const char *token;

	if (r->credentials)
		be(r->credentials);
	answer(r->status, "Retry-After: 9\r\n", r->body);
	serve();
	ck_assert_int_eq(google_token(&call, GOOGLE_SCOPE_CLOUD, &token), r->err);
	all_asked();
	ck_assert_pstr_eq(error.reason, r->reason);
	ck_assert_msg(strstr(error.msg, r->words), "%s", error.msg);
	ck_assert_int_eq(call.retry_after_s, r->err == ERR_RATE || r->err == ERR_UNAVAILABLE ? 9 : -1);
}
END_TEST

static const struct {
	const char *credentials, *words;
} useless[] = {
	{"", "no credentials"},
	{"[]", "no credentials"},
	{"{}", "consented"},
	{"{\"clientId\":\"x\",\"clientSecret\":\"y\"}", "consented"},
	{"{\"serviceAccount\":{}}", "not the key file"},
	{"{\"serviceAccount\":{\"type\":\"authorized_user\",\"client_id\":\"x\"}}", "not the key file"},
	{"{\"serviceAccount\":\"nonsense\"}", "no JSON"},
	{"{\"serviceAccount\":{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key_id\":\"k\"}}", "lacks"},
	{"{\"serviceAccount\":{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key_id\":\"k\",\"private_key\":\"x\"}}", "no private key"},
};

START_TEST(test_credentials_of_no_use)
{
	const char *token;

	be(useless[_i].credentials);
	ck_assert_int_eq(google_token(&call, GOOGLE_SCOPE_CLOUD, &token), ERR_UNAUTHORIZED);
	ck_assert_str_eq(error.reason, "credentials");
	ck_assert_msg(strstr(error.msg, useless[_i].words), "%s", error.msg);
}
END_TEST

/* ---- calls ---- */

static const struct fault {
	int status;
	const char *body;
	enum err err;
	const char *reason, *words;
} faults[] = {
	{400, "{\"error\":{\"code\":400,\"message\":\"List of found errors: 1.Field: x\",\"status\":\"INVALID_ARGUMENT\"}}", ERR_INVALID, NULL, "List of found"},
	{403, "{\"error\":{\"code\":403,\"message\":\"Vertex AI API has not been used\",\"status\":\"PERMISSION_DENIED\",\"details\":[{\"@type\":\"type.googleapis.com/"
	      "google.rpc.ErrorInfo\",\"reason\":\"SERVICE_DISABLED\",\"metadata\":{\"service\":\"aiplatform.googleapis.com\"}}]}}",
	 ERR_FORBIDDEN, "account", "https://console.cloud.google.com/apis/library/aiplatform.googleapis.com"},
	{403, "{\"error\":{\"code\":403,\"message\":\"Permission 'aiplatform.notebookExecutionJobs.create' denied on resource '//aiplatform' (or it may not exist).\","
	      "\"status\":\"PERMISSION_DENIED\"}}", ERR_FORBIDDEN, "account", "permission aiplatform.notebookExecutionJobs.create;"},
	{403, "{\"error\":{\"code\":403,\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":\"IAM_PERMISSION_DENIED\","
	      "\"metadata\":{\"permission\":\"a.b.c\"}}]}}", ERR_FORBIDDEN, "account", "permission a.b.c;"},
	{403, "{\"error\":{\"code\":403,\"errors\":[{\"reason\":\"userRateLimitExceeded\"}]}}", ERR_RATE, "rate", "fewer"},
	{403, "{\"error\":{\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.ErrorInfo\",\"reason\":\"BILLING_DISABLED\"}]}}", ERR_FORBIDDEN, "account", "billing"},
	{403, "nonsense", ERR_FORBIDDEN, "account", "does not say why"},
	{404, "{\"error\":{\"code\":404,\"message\":\"not here\"}}", ERR_NOT_FOUND, NULL, "not here"},
	{409, "{\"error\":{\"code\":409,\"status\":\"ALREADY_EXISTS\"}}", ERR_CONFLICT, NULL, "Vertex AI"},
	{429, "{\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\"}}", ERR_RATE, "rate", "fewer"},
	{500, "{}", ERR_UNAVAILABLE, NULL, "500"},
	{503, "<html>", ERR_UNAVAILABLE, NULL, "503"},
	{302, "", ERR_UPSTREAM, NULL, "302"},
	{200, "<html>", ERR_UPSTREAM, NULL, "no JSON"},
	{200, "[]", ERR_UPSTREAM, NULL, "no JSON"},
	{403, "{\"error\":{\"message\":\"Bearer ya29.tokentoken-x is bad: gpe_0123456789012345678901234567890123456789012 \\u0007\\nline\"}}", ERR_FORBIDDEN, "account", "line"},
	{400, "{\"error\":{\"message\":\"the token secrettokentoken is bad\"}}", ERR_INVALID, NULL, "Vertex AI refuses it: "},
};

START_TEST(test_what_an_answer_means)
{
	cleanup_google_answer struct google_answer a = {0};

	token_answer("secrettokentoken", 3599);
	answer(faults[_i].status, "Retry-After: 11\r\n", faults[_i].body);
	serve();
	ck_assert_int_eq(ask(&a), faults[_i].err);
	all_asked();
	ck_assert_pstr_eq(error.reason, faults[_i].reason);
	ck_assert_msg(strstr(error.msg, faults[_i].words), "%s", error.msg);
	ck_assert_msg(!strstr(error.msg, "tokentoken") && !strstr(error.msg, "gpe_0123") && !strchr(error.msg, '\n') && !strchr(error.msg, 7), "%s", error.msg);
	ck_assert_int_eq(call.retry_after_s, faults[_i].status == 429 || faults[_i].status >= 500 ? 11 : -1);
}
END_TEST

START_TEST(test_a_token_that_was_withdrawn_is_replaced_once)
{
	cleanup_google_answer struct google_answer a = {0};

	token_answer("ya29.old", 3599);
	answer(401, "", "{\"error\":{\"code\":401,\"status\":\"UNAUTHENTICATED\"}}");
	token_answer("ya29.new", 3599);
	answer(200, "", "{\"name\":\"x\"}");
	serve();
	ck_assert_int_eq(ask(&a), OK);
	all_asked();
	ck_assert_ptr_nonnull(strstr(peer.received.ptr, "Authorization: Bearer ya29.old\r\n"));
	ck_assert_ptr_nonnull(strstr(peer.received.ptr, "Authorization: Bearer ya29.new\r\n"));
	ck_assert(str_eqz(json_str(a.doc, "name"), "x"));
}
END_TEST

START_TEST(test_refused_twice)
{
	cleanup_google_answer struct google_answer a = {0};

	for (int i = 0; i < 2; i++) {
		token_answer("ya29.x", 3599);
		answer(401, "", "{}");
	}
	serve();
	ck_assert_int_eq(ask(&a), ERR_UNAUTHORIZED);
	all_asked();
	ck_assert_str_eq(error.reason, "credentials");
}
END_TEST

START_TEST(test_no_time_and_no_server)
{
	cleanup_google_answer struct google_answer a = {0};

	ck_assert_int_eq(ask(&a), ERR_UNAVAILABLE);
	call.deadline_ms = clock_ms();
	ck_assert_int_eq(ask(&a), ERR_TIMEOUT);
	ck_assert_str_eq(error.reason, "unasked");
}
END_TEST

START_TEST(test_a_body_is_sent_and_bytes_are_read)
{
	cleanup_google_answer struct google_answer a = {0};
	struct json *body = json_object();

	json_put_cstr(body, "k", "v");
	token_answer("ya29.x", 3599);
	answer(200, "", "not JSON");
	serve();
	ck_assert_int_eq(google_call(&call, &(struct google_request){.service = "X", .scope = "s", .method = "POST", .body = body, .bytes = true,
				     .url = arena_printf(&arena, "http://127.0.0.1:%d/x", peer.port)}, &a), OK);
	all_asked();
	ck_assert(str_eqz(a.bytes, "not JSON"));
	ck_assert_ptr_nonnull(strstr(peer.received.ptr, "{\"k\":\"v\"}"));
	ck_assert_ptr_nonnull(strstr(peer.received.ptr, "Content-Type: application/json; charset=utf-8\r\n"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("google");
	TCase *t = tcase_create("google");
	int failed;

	arena_init(&keys, 1 << 20);
	pem = google_key_pem(&keys, 2048);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_signature_is_what_openssl_makes);
	tcase_add_loop_test(t, test_what_is_no_key, 0, ARRAY_LEN(bad_keys));
	tcase_add_test(t, test_short_key);
	tcase_add_test(t, test_token_by_key);
	tcase_add_test(t, test_token_by_consent);
	tcase_add_test(t, test_token_is_kept_until_five_minutes_before_its_end);
	tcase_add_test(t, test_more_accounts_than_are_kept);
	tcase_add_loop_test(t, test_no_token, 0, ARRAY_LEN(refusals));
	tcase_add_loop_test(t, test_credentials_of_no_use, 0, ARRAY_LEN(useless));
	tcase_add_loop_test(t, test_what_an_answer_means, 0, ARRAY_LEN(faults));
	tcase_add_test(t, test_a_token_that_was_withdrawn_is_replaced_once);
	tcase_add_test(t, test_refused_twice);
	tcase_add_test(t, test_no_time_and_no_server);
	tcase_add_test(t, test_a_body_is_sent_and_bytes_are_read);
	suite_add_tcase(s, t);
	failed = unit_run(s);
	arena_free(&keys);
	return failed;
}
