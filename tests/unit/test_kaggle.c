/* The calls of the Kaggle provider, against a peer that answers what each test says. */
#include <unistd.h>

#include "base/clock.h"
#include "base/http.h"
#include "peer.h"
#include "provider/kaggle.h"
#include "unit.h"

#define INTENT "0b5f4f4e-7c1a-4d8e-9a53-1f0f5c8e2d11"
#define OTHER "9999ffff-7c1a-4d8e-9a53-1f0f5c8e2d11"
#define HERE "11111111-2222-4333-8444-555555555555"
#define ELSEWHERE "66666666-2222-4333-8444-555555555555"
#define KEY "0123456789abcdef0123456789abcdef"
#define TOKEN "gpe_0123456789012345678901234567890123456789012"

enum { ANSWERS_MOST = 40 };

static struct peer peer;
static struct peer_answer answers[ANSWERS_MOST];
static size_t answer_count, used;
static char store[2 << 20]; /* of the answers: the peer's threads may look at them after the test */
static bool serving;
static struct http_client *client;
static struct arena arena;
static struct error error;
static struct config config;
static struct secret secret, token;
static struct provider_call call;

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
	config = (struct config){.kaggle_url = "http://127.0.0.1:1/v1", .kaggle_settle_seconds = 240, .outgoing_allow = ""};
	token = secret_new(STR(TOKEN));
	call = (struct provider_call){.arena = &arena, .config = &config, .http = client, .identity = "alice", .installation = HERE,
				      .error = &error, .retry_after_s = -1, .deadline_ms = clock_ms() + 30000};
	be("{\"username\":\"alice\",\"key\":\"" KEY "\"}");
	error = (struct error){0};
}

static void teardown(void)
{
	http_client_free(client);
	if (serving)
		peer_free(&peer);
	secret_free(&secret);
	secret_free(&token);
	arena_free(&arena);
}

/* ---- what the peer answers, one a request ---- */

static void answer_raw(const char *bytes)
{
	size_t size = strlen(bytes) + 1;

	ck_assert_uint_lt(answer_count, ANSWERS_MOST);
	ck_assert_uint_le(size, sizeof(store) - used);
	memcpy(store + used, bytes, size);
	answers[answer_count++] = (struct peer_answer){store + used, PEER_HANG_UP};
	used += size;
}

static void answer_with(int status, const char *headers, const char *body)
{
	answer_raw(arena_printf(&arena, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers,
				strlen(body), body));
}

static void answer(int status, const char *body)
{
	answer_with(status, "", body);
}

static void missing(void)
{
	answer(403, "{\"error\":{\"code\":403,\"message\":\"Permission 'kernels.get' was denied\",\"status\":\"PERMISSION_DENIED\"}}");
	answer(200, "{\"quotaRefreshTime\":\"2026-11-28T00:00:00Z\"}");
}

static void shows(const char *intent, const char *installation, int worker, int version, const char *more)
{
	answer(200, arena_printf(&arena,
				 "{\"metadata\":{\"id\":9001,\"ref\":\"alice/gpupool-run\",\"currentVersionNumber\":%d%s},\"blob\":{\"source\":"
				 "\"# gpupool intent %s\\n# gpupool worker %d of %s\\nprint()\\n\"}}",
				 version, more, intent, worker, installation));
}

static void saved(const char *more)
{
	answer(200, arena_printf(&arena,
				 "{\"ref\":\"/code/alice/gpupool-run\",\"url\":\"https://www.kaggle.com/code/alice/gpupool-run\",\"versionNumber\":3,"
				 "\"kernelId\":9001,\"invalidTags\":[]%s}",
				 more));
}

static void serve(void)
{
	peer_start(&peer, NULL, answers, answer_count);
	serving = true;
	config.kaggle_url = arena_printf(&arena, "http://127.0.0.1:%d/v1", peer.port);
}

/* All methods called, in order; the peer must have been asked exactly as often as it was told. */
static const char *called(void)
{
	const char *at = peer_stop(&peer);
	cleanup_buf struct buf b = BUF_INIT(4096);

	for (; (at = strstr(at, " HTTP/1.1\r\n")); at++) {
		const char *begin = at;

		while (begin > peer.received.ptr && begin[-1] != '/' && begin[-1] != ' ')
			begin--;
		buf_addf(&b, "%s%.*s", b.len ? " " : "", (int)(at - begin), begin);
	}
	ck_assert_uint_eq(peer.answered, answer_count);
	return b.len ? arena_strdup(&arena, b.ptr) : "";
}

static bool sent(const char *text)
{
	return strstr(peer.received.ptr, text) != NULL;
}

static struct launch launch_of(void)
{
	return (struct launch){.intent = STR(INTENT), .worker = 7, .title = "Run", .name = "gpupool-run", .accelerator = "gpu", .resource = "gpu",
			       .shape = "NvidiaTeslaT4", .token = &token, .server_url = "https://pool.example.org", .limit_seconds = 3600};
}

static struct run run_of(const char *more)
{
	return (struct run){.reference = str_of(arena_printf(&arena, "{\"slug\":\"alice/gpupool-run\",\"version\":3,\"kernelId\":9001%s}", more))};
}

static const char *with_reason(const char *reason)
{
	if (!reason)
		ck_assert_ptr_null(error.reason);
	else
		ck_assert_msg(error.reason && !strcmp(error.reason, reason), "%s", error.msg);
	return error.msg;
}

static enum err start(struct run *run)
{
	struct launch l = launch_of();

	return provider_kaggle.start(&call, &l, run);
}

/* ---- one call: kinds of answers ---- */

static enum err quota(struct usage_list *ret)
{
	return provider_kaggle.usage(&call, ret);
}

static const struct {
	int status;
	const char *headers, *body;
	enum err err;
	const char *reason;
	int64_t retry_after;
} replies[] = {
	{401, "", "{\"error\":{\"code\":401,\"message\":\"Unauthenticated\"}}", ERR_UNAUTHORIZED, "credentials", -1},
	{200, "", "{\"error\":{\"code\":401,\"message\":\"Unauthenticated\"}}", ERR_UNAUTHORIZED, "credentials", -1},
	{200, "", "{\"code\":403,\"message\":\"no\"}", OK, NULL, -1}, /* the hours are not told */
	{403, "", "{\"code\":403,\"message\":\"Permission 'x' was denied\"}", OK, NULL, -1},
	{403, "", "{\"code\":403,\"message\":\"Please verify your phone number\"}", ERR_FORBIDDEN, "account", -1},
	{404, "", "<html>", OK, NULL, -1},
	{400, "", "{\"code\":400,\"message\":\"bad\"}", ERR_INVALID, NULL, -1},
	{409, "", "{}", ERR_UNAVAILABLE, "unsettled", -1},
	{429, "Retry-After: 12.5\r\n", "", ERR_RATE, "rate", 13},
	{429, "", "{}", ERR_RATE, "rate", -1},
	{500, "", "{}", ERR_UNAVAILABLE, NULL, -1},
	{503, "Retry-After: 7\r\n", "<html>", ERR_UNAVAILABLE, NULL, 7},
	{302, "Location: https://www.kaggle.com/\r\n", "", ERR_UPSTREAM, NULL, -1},
	{200, "", "<!DOCTYPE html><html></html>", ERR_UPSTREAM, NULL, -1},
	{200, "", "", ERR_UPSTREAM, NULL, -1},
	{200, "", "[]", ERR_UPSTREAM, NULL, -1},
	{200, "", "{\"quotaRefreshTime\":\"2026", ERR_UPSTREAM, NULL, -1},
	{200, "", "{\"wasSuccessful\":false}", ERR_UPSTREAM, NULL, -1},
	{200, "", "{\"error\":\"Something is off\"}", ERR_UPSTREAM, NULL, -1},
	{418, "", "{}", ERR_UPSTREAM, NULL, -1},
};

START_TEST(test_reply)
{
	struct usage_list list;

	answer_with(replies[_i].status, replies[_i].headers, replies[_i].body);
	serve();
	ck_assert_msg(quota(&list) == replies[_i].err, "%d %s", error.code, error.msg);
	with_reason(replies[_i].reason);
	ck_assert_int_eq(call.retry_after_s, replies[_i].retry_after);
	ck_assert_uint_eq(list.count, 0);
	ck_assert_uint_gt(strlen(error.msg), 0);
	called();
}
END_TEST

START_TEST(test_no_server)
{
	struct usage_list list;

	ck_assert_int_eq(quota(&list), ERR_UNAVAILABLE);
	with_reason(NULL);
	call.deadline_ms = clock_ms() - 1;
	ck_assert_int_eq(quota(&list), ERR_TIMEOUT);
	with_reason("unasked"); /* nothing that Kaggle did */
}
END_TEST

START_TEST(test_deadline)
{
	struct usage_list list;
	int64_t begin = clock_ms();

	answers[answer_count++] = (struct peer_answer){"", PEER_WAIT};
	serve();
	call.deadline_ms = begin + 200;
	ck_assert_int_eq(quota(&list), ERR_TIMEOUT);
	ck_assert_int_lt(clock_ms() - begin, 5000);
	called();
}
END_TEST

START_TEST(test_words_of_kaggle_are_bounded_and_hold_no_secret)
{
	static char body[8192], echo[512];
	cleanup_buf struct buf basic = BUF_INIT(256);
	struct usage_list list;
	size_t len = (size_t)snprintf(body, sizeof(body), "{\"code\":400,\"message\":\"bad " TOKEN " KGAT_0123456789 \\u001b[31m\\n");

	memset(body + len, 'x', 4000);
	snprintf(body + len + 4000, 16, "\"}");
	answer(400, body);
	answer(400, "{\"code\":400,\"message\":\"the key " KEY " is bad\"}");
	crypto_base64("alice:" KEY, strlen("alice:" KEY), &basic);
	snprintf(echo, sizeof(echo), "{\"code\":400,\"message\":\"bad header Basic %.*s\"}", STR_ARG(buf_str(&basic)));
	answer(400, echo);
	serve();
	ck_assert_int_eq(quota(&list), ERR_INVALID);
	ck_assert_ptr_null(strstr(error.msg, TOKEN));
	ck_assert_ptr_null(strstr(error.msg, "KGAT_0"));
	ck_assert_ptr_null(strchr(error.msg, '\033'));
	ck_assert_ptr_null(strchr(error.msg, '\n'));
	ck_assert_ptr_nonnull(strstr(error.msg, "bad gpe_***"));
	ck_assert_int_eq(quota(&list), ERR_INVALID);
	ck_assert_ptr_null(strstr(error.msg, KEY));
	ck_assert_int_eq(quota(&list), ERR_INVALID);
	ck_assert_ptr_null(strstr(error.msg, "Basic"));
	called();
}
END_TEST

/* ---- who asks ---- */

START_TEST(test_basic_and_bearer)
{
	struct usage_list list;

	answer(200, "{}");
	answer(200, "{}");
	answer(200, "{}");
	serve();
	ck_assert_int_eq(quota(&list), OK);
	be("{\"token\":\"KGAT_secret1\"}");
	ck_assert_int_eq(quota(&list), OK);
	be("{\"username\":\"alice\",\"key\":\"KGAT_secret2\"}");
	ck_assert_int_eq(quota(&list), OK);
	ck_assert_str_eq(called(), "GetAcceleratorQuotaStatistics GetAcceleratorQuotaStatistics GetAcceleratorQuotaStatistics");
	ck_assert(sent("POST /v1/kernels.KernelsApiService/GetAcceleratorQuotaStatistics HTTP/1.1\r\n"));
	/* printf alice:0123… | base64 */
	ck_assert(sent("\r\nAuthorization: Basic YWxpY2U6MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\r\n"));
	ck_assert(sent("\r\nAuthorization: Bearer KGAT_secret1\r\n"));
	ck_assert(sent("\r\nAuthorization: Bearer KGAT_secret2\r\n"));
	ck_assert(sent("\r\nContent-Type: application/json\r\n"));
	ck_assert(sent("\r\nUser-Agent: gpupool"));
	ck_assert(sent("\r\n\r\n{}"));
}
END_TEST

static const char *const bad_credentials[] = {
	"", "x", "[]", "{}", "{\"username\":\"alice\"}", "{\"key\":\"k\"}", "{\"token\":\"\"}", "{\"token\":\"a\\r\\nX: y\"}",
	"{\"username\":\"a:b\",\"key\":\"k\"}", "{\"username\":\"alice\",\"key\":\"a b\"}", "{\"token\":7}",
};

START_TEST(test_credentials_that_cannot_be_sent)
{
	struct usage_list list;

	be(bad_credentials[_i]);
	ck_assert_int_eq(quota(&list), ERR_UNAUTHORIZED);
	with_reason("credentials");
	call.secret = NULL;
	ck_assert_int_eq(quota(&list), ERR_UNAUTHORIZED);
}
END_TEST

START_TEST(test_verify_token)
{
	struct identity who = {0};

	be("{\"token\":\"KGAT_good\"}");
	answer(200, "{\"active\":true,\"username\":\"Alice\",\"userId\":\"42\",\"exp\":1790000000}");
	answer(200, "{}");
	serve();
	ck_assert_int_eq(provider_kaggle.verify(&call, &who), OK);
	ck_assert_str_eq(who.name, "Alice");
	ck_assert_str_eq(called(), "IntrospectToken GetAcceleratorQuotaStatistics");
	ck_assert(sent("{\"token\":\"KGAT_good\"}"));
}
END_TEST

static const struct {
	int status;
	const char *body;
	enum err err;
} introspections[] = {
	{200, "{\"active\":false}", ERR_UNAUTHORIZED},	{200, "{\"username\":\"alice\"}", ERR_UNAUTHORIZED}, {401, "{}", ERR_UNAUTHORIZED},
	{400, "{}", ERR_UNAUTHORIZED},			{403, "{}", ERR_UNAUTHORIZED},			    {404, "{}", ERR_UNAUTHORIZED},
	{200, "{\"active\":true}", ERR_UPSTREAM},	{200, "{\"active\":true,\"username\":\"../x\"}", ERR_UPSTREAM},
	{500, "{}", ERR_UNAVAILABLE},
};

START_TEST(test_verify_bad_token)
{
	struct identity who = {0};

	be("{\"token\":\"KGAT_bad\"}");
	answer(introspections[_i].status, introspections[_i].body);
	serve();
	ck_assert_int_eq(provider_kaggle.verify(&call, &who), introspections[_i].err);
	if (introspections[_i].err == ERR_UNAUTHORIZED)
		with_reason("credentials");
	called();
}
END_TEST

START_TEST(test_verify_key)
{
	struct identity who = {0};

	answer(200, "{}");
	answer(200, "{\"kernels\":[{\"ref\":\"Alice/some-notebook\"}]}");
	answer(200, "{}");
	answer(200, "{\"kernels\":[]}");
	answer(200, "{}");
	answer(200, "{\"kernels\":[{\"ref\":\"bob/some-notebook\"}]}");
	answer(401, "{}");
	answer(403, "{\"code\":403,\"message\":\"no\"}");
	answer(403, "{\"code\":403,\"message\":\"no\"}");
	answer(403, "{\"code\":403,\"message\":\"no\"}");
	answer(200, "{}");
	serve();
	ck_assert_int_eq(provider_kaggle.verify(&call, &who), OK);
	ck_assert_str_eq(who.name, "Alice"); /* as Kaggle spells it */
	ck_assert_int_eq(provider_kaggle.verify(&call, &who), OK);
	ck_assert_str_eq(who.name, "alice");
	ck_assert_int_eq(provider_kaggle.verify(&call, &who), ERR_UNAUTHORIZED); /* the key of another */
	with_reason("credentials");
	ck_assert_int_eq(provider_kaggle.verify(&call, &who), ERR_UNAUTHORIZED);
	ck_assert_int_eq(provider_kaggle.verify(&call, &who), ERR_UNAUTHORIZED);
	with_reason("credentials");
	ck_assert_int_eq(provider_kaggle.verify(&call, &who), OK); /* a key that is kept from the hours only */
	called();
	ck_assert(sent("{\"group\":\"PROFILE\",\"pageSize\":1}"));
}
END_TEST

START_TEST(test_usage)
{
	struct usage_list list;

	answer(200, "{\"quotaRefreshTime\":\"2026-11-28T00:00:00Z\",\"gpuQuota\":{\"timeUsed\":\"7200.5s\",\"timeReserved\":\"3600s\","
		    "\"totalTimeAllowed\":\"108000s\"},\"tpuQuota\":{\"timeUsed\":\"0s\",\"hasTimeUsed\":false}}");
	answer(200, "{}");
	serve();
	ck_assert_int_eq(quota(&list), OK);
	ck_assert_uint_eq(list.count, 2);
	ck_assert_str_eq(list.items[0].resource, "gpu");
	ck_assert_int_eq(list.items[0].used_seconds, 7201);
	ck_assert_int_eq(list.items[0].reserved_seconds, 3600);
	ck_assert_int_eq(list.items[0].limit_seconds, 108000);
	ck_assert_int_eq(list.items[0].resets_at, 1795824000);
	ck_assert_str_eq(list.items[1].resource, "tpu");
	ck_assert_int_eq(list.items[1].used_seconds, -1); /* not told is not zero */
	ck_assert_int_eq(list.items[1].limit_seconds, -1);
	ck_assert_int_eq(quota(&list), OK);
	ck_assert_uint_eq(list.count, 0);
	called();
}
END_TEST

/* ---- start ---- */

START_TEST(test_start)
{
	struct run run;

	missing();
	saved(",\"kernelSessionId\":\"555001\"");
	serve();
	ck_assert_msg(start(&run) == OK, "%s", error.msg);
	ck_assert_str_eq(called(), "GetKernel GetAcceleratorQuotaStatistics SaveKernel");
	ck_assert_str_eq(run.url, "https://www.kaggle.com/code/alice/gpupool-run");
	ck_assert(str_starts(run.reference, "{\"slug\":\"alice/gpupool-run\",\"version\":3,\"kernelId\":9001,\"sessionId\":555001,\"pushed\":1"));
	ck_assert(sent("\"text\":\"# gpupool intent " INTENT "\\n# gpupool worker 7 of " HERE "\\n"));
	ck_assert(sent(TOKEN));
}
END_TEST

START_TEST(test_start_again_pushes_over_what_is_ours_and_over)
{
	struct run run;

	shows(OTHER, HERE, 7, 2, "");
	answer(200, "{\"status\":\"COMPLETE\"}");
	saved("");
	serve();
	ck_assert_msg(start(&run) == OK, "%s", error.msg);
	ck_assert_str_eq(called(), "GetKernel GetKernelSessionStatus SaveKernel");
	ck_assert(sent("\"versionLabel\":\"v2\""));
}
END_TEST

static const char *const live[] = {"QUEUED", "RUNNING", "CANCEL_REQUESTED", "NEW_SCRIPT"};

START_TEST(test_no_push_while_a_version_may_be_live)
{
	struct run run;

	shows(OTHER, HERE, 7, 2, "");
	answer(200, arena_printf(&arena, "{\"status\":\"%s\"}", live[_i]));
	serve();
	ck_assert_int_eq(start(&run), ERR_UNAVAILABLE);
	ck_assert_str_eq(called(), "GetKernel GetKernelSessionStatus");
}
END_TEST

static const struct {
	const char *source;
} foreign[] = {
	{"print('mine')\\n"},
	{""},
	{"# gpupool intent " OTHER "\\n# gpupool worker 7 of " ELSEWHERE "\\n"}, /* another installation */
	{"# gpupool intent " OTHER "\\n# gpupool worker 8 of " HERE "\\n"},	 /* another worker */
	{"\\n# gpupool intent " OTHER "\\n# gpupool worker 7 of " HERE "\\n"},
};

START_TEST(test_name_of_another)
{
	struct run run;

	answer(200, arena_printf(&arena, "{\"metadata\":{\"id\":1},\"blob\":{\"source\":\"%s\"}}", foreign[_i].source));
	serve();
	ck_assert_int_eq(start(&run), ERR_INVALID);
	with_reason("name_taken");
	ck_assert_ptr_nonnull(strstr(error.msg, "alice/gpupool-run"));
	ck_assert_str_eq(called(), "GetKernel");
}
END_TEST

START_TEST(test_source_that_is_not_shown)
{
	struct run run;

	answer(200, "{\"metadata\":{\"id\":1},\"blob\":{}}");
	serve();
	ck_assert_int_eq(start(&run), ERR_UPSTREAM);
	called();
}
END_TEST

START_TEST(test_start_that_was_made_already)
{
	struct run run;

	shows(INTENT, HERE, 7, 5, "");
	serve();
	ck_assert_int_eq(start(&run), OK);
	ck_assert(str_starts(run.reference, "{\"slug\":\"alice/gpupool-run\",\"version\":5,"));
	ck_assert_str_eq(called(), "GetKernel");
}
END_TEST

START_TEST(test_proof_by_another_call)
{
	struct run run;

	answer(403, "{\"code\":403,\"message\":\"Permission 'kernels.get' was denied\"}");
	answer(403, "{}");
	answer(200, "{\"kernels\":[]}");
	saved("");
	answer(404, "{}");
	answer(403, "{}");
	answer(403, "{}");
	serve();
	ck_assert_int_eq(start(&run), OK);
	ck_assert_int_eq(start(&run), ERR_FORBIDDEN);
	with_reason("account");
	ck_assert_str_eq(called(), "GetKernel GetAcceleratorQuotaStatistics ListKernels SaveKernel GetKernel GetAcceleratorQuotaStatistics ListKernels");
}
END_TEST

START_TEST(test_missing_is_nothing_without_good_credentials)
{
	struct run run;

	answer(403, "{\"code\":403,\"message\":\"Permission 'kernels.get' was denied\"}");
	answer(401, "{}");
	serve();
	ck_assert_int_eq(start(&run), ERR_UNAUTHORIZED);
	with_reason("credentials");
	ck_assert_str_eq(called(), "GetKernel GetAcceleratorQuotaStatistics");
}
END_TEST

static const struct {
	int status;
	const char *body;
	enum err err;
	const char *reason;
	bool looks; /* GetKernel is asked what the push did */
} refusals[] = {
	{200, "{\"ref\":\"\",\"versionNumber\":0,\"error\":\"Maximum batch GPU session count of 2 reached.\",\"hasError\":true}", ERR_QUOTA, "capacity", false},
	{200, "{\"error\":\"Maximum batch CPU session count of 5 reached.\"}", ERR_QUOTA, "capacity", false},
	{200, "{\"error\":\"Maximum weekly GPU quota of 30.00 hours reached.\"}", ERR_QUOTA, "quota", false},
	{200, "{\"error\":\"Maximum weekly TPU quota of 20.00 hours reached.\"}", ERR_QUOTA, "quota", false},
	{200, "{\"error\":\"Notebook not found\"}", ERR_INVALID, NULL, true},
	{200, "{\"error\":\"You must verify your phone number.\"}", ERR_FORBIDDEN, "account", true},
	{200, "{\"error\":\"A database conflict occurred\"}", ERR_UNAVAILABLE, NULL, true},
	{200, "{\"errorNullable\":\"odd\",\"hasError\":true}", ERR_INVALID, NULL, true},
	{400, "{\"code\":400,\"message\":\"The source is too large\"}", ERR_INVALID, NULL, false},
	{401, "{}", ERR_UNAUTHORIZED, "credentials", false},
	{429, "{}", ERR_RATE, "rate", false},
	{409, "{}", ERR_UNAVAILABLE, "contested", false},
	{500, "{}", ERR_UNAVAILABLE, NULL, true},
	{200, "", ERR_UPSTREAM, NULL, true},
	{200, "{\"ref\":\"/code/alice/gpu", ERR_UPSTREAM, NULL, true},
	{200, "{}", ERR_UPSTREAM, NULL, true},
	{200, "{\"ref\":\"/code/alice/gpupool-run\",\"versionNumber\":0}", ERR_UPSTREAM, NULL, true},
};

START_TEST(test_refused_push)
{
	struct run run;

	missing();
	answer(refusals[_i].status, refusals[_i].body);
	if (refusals[_i].looks)
		missing();
	serve();
	ck_assert_msg(start(&run) == refusals[_i].err, "%d %s", error.code, error.msg);
	with_reason(refusals[_i].reason);
	called();
}
END_TEST

/* A name is a person's words: it says nothing of the account. */
static const struct {
	int status;
	const char *body;
	enum err err;
	const char *reason;
} refusals_by_name[] = {
	{200, "{\"error\":\"Notebook alice/verify-phone-weekly not found\"}", ERR_INVALID, NULL},
	{200, "{\"error\":\"The title 'Verify Phone Weekly' is taken, and its quota of names.\"}", ERR_INVALID, NULL},
	{400, "{\"code\":400,\"message\":\"bad title: verify phone weekly\"}", ERR_INVALID, NULL},
	{200, "{\"error\":\"alice/verify-phone-weekly: you must verify your identity.\"}", ERR_FORBIDDEN, "account"},
	{200, "{\"error\":\"verify phone weekly: Maximum weekly GPU quota of 30.00 hours reached.\"}", ERR_QUOTA, "quota"},
};

START_TEST(test_refusal_that_quotes_the_name)
{
	struct launch l = launch_of();
	struct run run;

	l.name = "verify-phone-weekly";
	missing();
	answer(refusals_by_name[_i].status, refusals_by_name[_i].body);
	if (refusals_by_name[_i].status == 200 && refusals_by_name[_i].err != ERR_QUOTA)
		missing();
	serve();
	ck_assert_msg(provider_kaggle.start(&call, &l, &run) == refusals_by_name[_i].err, "%d %s", error.code, error.msg);
	with_reason(refusals_by_name[_i].reason);
	ck_assert_ptr_nonnull(strcasestr(error.msg, "verify")); /* it is quoted all the same */
	called();
}
END_TEST

START_TEST(test_refusal_of_a_push_that_took_effect)
{
	struct run run;

	if (!refusals[_i].looks)
		return;
	missing();
	answer(refusals[_i].status, refusals[_i].body);
	shows(INTENT, HERE, 7, 1, "");
	serve();
	ck_assert_msg(start(&run) == OK, "%d %s", error.code, error.msg);
	ck_assert(str_starts(run.reference, "{\"slug\":\"alice/gpupool-run\",\"version\":1,"));
	ck_assert_str_eq(called(), "GetKernel GetAcceleratorQuotaStatistics SaveKernel GetKernel");
}
END_TEST

START_TEST(test_push_whose_answer_is_lost)
{
	struct run run;

	missing();
	answer_raw("");
	shows(INTENT, HERE, 7, 1, "");
	serve();
	ck_assert_msg(start(&run) == OK, "%s", error.msg);
	ck_assert_str_eq(called(), "GetKernel GetAcceleratorQuotaStatistics SaveKernel GetKernel");
}
END_TEST

START_TEST(test_push_that_the_account_may_not_make)
{
	struct run run;

	missing();
	answer(403, "{\"code\":403,\"message\":\"Permission 'kernels.update' was denied\"}");
	answer(200, "{}");
	serve();
	ck_assert_int_eq(start(&run), ERR_FORBIDDEN);
	with_reason("account");
	called();
}
END_TEST

/* ---- a push that did something else than it should ---- */

START_TEST(test_another_name_is_taken_back)
{
	struct run run;

	missing();
	answer(200, "{\"ref\":\"/code/alice/gpupool-run-2\",\"versionNumber\":1,\"kernelId\":9}");
	shows(INTENT, HERE, 7, 1, "");
	answer(200, "{}");
	serve();
	ck_assert_int_eq(start(&run), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(error.msg, "gpupool-run-2"));
	ck_assert_str_eq(called(), "GetKernel GetAcceleratorQuotaStatistics SaveKernel GetKernel DeleteKernel");
	ck_assert(sent("{\"userName\":\"alice\",\"kernelSlug\":\"gpupool-run-2\"}"));
}
END_TEST

START_TEST(test_another_name_that_bears_no_mark_is_left_alone)
{
	struct run run;

	missing();
	answer(200, "{\"ref\":\"/code/bob/gpupool-run\",\"versionNumber\":1,\"kernelId\":9}");
	answer(200, "{\"metadata\":{\"id\":1},\"blob\":{\"source\":\"print()\"}}");
	serve();
	ck_assert_int_eq(start(&run), ERR_INVALID);
	ck_assert_str_eq(called(), "GetKernel GetAcceleratorQuotaStatistics SaveKernel GetKernel");
}
END_TEST

#define INVALID ",\"invalidDatasetSources\":[\"alice/none\"],\"invalidModelSources\":[\"a/b/c/d\"],\"invalidKernelSources\":[]"

START_TEST(test_inputs_that_do_not_exist)
{
	struct run run;

	missing();
	answer(200, "{\"ref\":\"/code/alice/gpupool-run\",\"versionNumber\":1,\"kernelId\":9001" INVALID "}");
	shows(INTENT, HERE, 7, 1, "");
	answer(200, "{}");
	serve();
	ck_assert_int_eq(start(&run), ERR_INVALID);
	with_reason("inputs");
	ck_assert_ptr_nonnull(strstr(error.msg, "dataset alice/none, model a/b/c/d"));
	ck_assert_str_eq(called(), "GetKernel GetAcceleratorQuotaStatistics SaveKernel GetKernel DeleteKernel");
}
END_TEST

START_TEST(test_inputs_that_do_not_exist_with_a_session)
{
	struct run run;

	missing();
	saved(INVALID ",\"kernelSessionId\":555001"); /* version 3: there is something to keep */
	answer(200, "{}");
	serve();
	ck_assert_int_eq(start(&run), ERR_INVALID);
	with_reason("inputs");
	ck_assert_str_eq(called(), "GetKernel GetAcceleratorQuotaStatistics SaveKernel CancelKernelSession");
	ck_assert(sent("{\"kernelSessionId\":555001}"));
}
END_TEST

START_TEST(test_inputs_that_do_not_exist_where_kaggle_shows_the_version_before)
{
	struct run run;

	missing();
	saved(INVALID);
	answer(404, "{}"); /* of the redirect */
	shows(OTHER, HERE, 7, 2, "");
	shows(INTENT, HERE, 7, 3, "");
	answer(200, "{}");
	serve();
	ck_assert_int_eq(start(&run), ERR_INVALID);
	with_reason("inputs");
	ck_assert_str_eq(called(), "GetKernel GetAcceleratorQuotaStatistics SaveKernel gpupool-run?versionNumber=3 GetKernel GetKernel DeleteKernel");
}
END_TEST

START_TEST(test_taking_back_what_kaggle_does_not_show_yet)
{
	struct run run;

	missing();
	answer(200, "{\"ref\":\"alice/gpupool-run\",\"versionNumber\":1" INVALID "}");
	missing();
	shows(INTENT, HERE, 7, 1, "");
	answer(200, "{}");
	serve();
	ck_assert_int_eq(start(&run), ERR_INVALID);
	with_reason("inputs");
	called();
}
END_TEST

START_TEST(test_what_cannot_be_taken_back_leaves_doubt)
{
	struct run run;

	missing();
	answer(200, "{\"ref\":\"alice/gpupool-run\",\"versionNumber\":1" INVALID "}");
	missing();
	serve();
	call.deadline_ms = clock_ms() + 5500;
	ck_assert_int_eq(start(&run), ERR_UNAVAILABLE);
	called();
}
END_TEST

/* ---- find ---- */

static enum err find(double launched_for, struct run *run)
{
	struct launch l = launch_of();

	l.launched_for = launched_for;
	return provider_kaggle.find(&call, &l, run);
}

START_TEST(test_find)
{
	struct run run;

	shows(INTENT, HERE, 7, 4, "");
	serve();
	ck_assert_int_eq(find(1, &run), OK);
	ck_assert(str_starts(run.reference, "{\"slug\":\"alice/gpupool-run\",\"version\":4,\"kernelId\":9001,\"pushed\":"));
	ck_assert_str_eq(run.url, "https://www.kaggle.com/code/alice/gpupool-run");
	called();
}
END_TEST

START_TEST(test_find_is_certain_only_after_a_while)
{
	struct run run;

	missing();
	missing();
	shows(OTHER, HERE, 7, 4, "");
	shows(OTHER, HERE, 7, 4, "");
	shows(INTENT, ELSEWHERE, 7, 4, "");
	serve();
	ck_assert_int_eq(find(10, &run), ERR_UNAVAILABLE);
	with_reason("unsettled");
	ck_assert_int_eq(find(240, &run), ERR_NOT_FOUND);
	ck_assert_int_eq(find(10, &run), ERR_UNAVAILABLE); /* an earlier start of ours */
	ck_assert_int_eq(find(1000, &run), ERR_NOT_FOUND);
	ck_assert_int_eq(find(1000, &run), ERR_NOT_FOUND); /* of another installation */
	called();
}
END_TEST

START_TEST(test_find_never_says_no_on_a_failure)
{
	struct run run;

	answer(500, "{}");
	answer(403, "{}");
	answer(429, "{}");
	answer(404, "{}");
	answer(401, "{}");
	serve();
	ck_assert_int_eq(find(1e6, &run), ERR_UNAVAILABLE);
	ck_assert_int_eq(find(1e6, &run), ERR_RATE);
	ck_assert_int_eq(find(1e6, &run), ERR_UNAUTHORIZED);
	called();
}
END_TEST

static const char *const no_names[] = {NULL};

/* Which of the inputs "alice/data" and "a/b/c/d/2" a notebook lacks. */
static const struct {
	const char *more;   /* of what GetKernel shows */
	const char *lost;
} founds[] = {
	{",\"datasetDataSources\":[\"Alice/Data\"],\"modelDataSources\":[\"a/b/c/d/2\"]", NULL},
	{",\"datasetDataSources\":[\"x/y\",\"alice/data\"],\"modelDataSources\":[\"A/b/c/d/3\"]", NULL},
	{",\"datasetDataSources\":[\"alice/data\"],\"modelDataSources\":[\"a/b/c/d\"]", NULL},
	{",\"datasetDataSources\":[\"alice/data2\"],\"modelDataSources\":[\"a/b/c/d\"]", "dataset alice/data."},
	{",\"datasetDataSources\":[\"alice/dat\"],\"modelDataSources\":[\"a/b/c/d\"]", "dataset alice/data."},
	{",\"datasetDataSources\":[\"alice/data\"],\"modelDataSources\":[\"a/b/c/d2\"]", "model a/b/c/d/2."},
	{",\"datasetDataSources\":[\"alice/data\"]", "model a/b/c/d/2."},
	{",\"datasetDataSources\":null,\"modelDataSources\":[\"a/b/c/d\"]", "dataset alice/data."},
	{"", "dataset alice/data, model a/b/c/d/2."}, /* what is left out is empty */
};

START_TEST(test_found_without_its_inputs)
{
	static const char *const datasets[] = {"alice/data", NULL}, *const models[] = {"a/b/c/d/2", NULL};
	struct inputs in = {datasets, models, no_names, no_names};
	struct launch l = launch_of();
	struct run run;

	l.inputs = &in;
	shows(INTENT, HERE, 7, 1, founds[_i].more);
	if (founds[_i].lost)
		answer(200, "{}");
	serve();
	ck_assert_msg(provider_kaggle.find(&call, &l, &run) == (founds[_i].lost ? ERR_INVALID : OK), "%s", error.msg);
	with_reason(founds[_i].lost ? "inputs" : NULL);
	if (founds[_i].lost)
		ck_assert_msg(strstr(error.msg, founds[_i].lost) != NULL, "%s", error.msg);
	ck_assert_str_eq(called(), founds[_i].lost ? "GetKernel DeleteKernel" : "GetKernel");
}
END_TEST

/* A push says itself what it left out: nothing else is asked. */
START_TEST(test_push_that_names_no_lost_input_has_them_all)
{
	static const char *const datasets[] = {"alice/data", NULL};
	struct inputs in = {datasets, no_names, no_names, no_names};
	struct launch l = launch_of();
	struct run run;

	l.inputs = &in;
	missing();
	saved("");
	serve();
	ck_assert_msg(provider_kaggle.start(&call, &l, &run) == OK, "%s", error.msg);
	ck_assert_str_eq(called(), "GetKernel GetAcceleratorQuotaStatistics SaveKernel");
}
END_TEST

/* ---- list ---- */

START_TEST(test_list)
{
	struct run_list list;

	answer(200, "{\"kernels\":[{\"ref\":\"alice/gpupool-run\"},{\"ref\":\"alice/my-notebook\"},{\"ref\":\"bob/gpupool-x\"},{\"ref\":\"\"},7],"
		    "\"nextPageToken\":\"t2\"}");
	shows(INTENT, HERE, 7, 3, "");
	answer(200, "{\"kernels\":[{\"ref\":\"alice/gpupool-mine\"},{\"ref\":\"alice/gpupool-gone\"},{\"ref\":\"alice/gpupool-old\"}],\"nextPageToken\":\"\"}");
	answer(200, "{\"metadata\":{\"id\":1},\"blob\":{\"source\":\"print()\"}}");
	missing();
	shows(OTHER, HERE, 8, 1, "");
	serve();
	ck_assert_msg(provider_kaggle.list(&call, &list) == OK, "%s", error.msg);
	ck_assert_uint_eq(list.count, 2);
	ck_assert(str_eqz(list.items[0].intent, INTENT));
	ck_assert_int_eq(list.items[0].worker, 7);
	ck_assert(str_starts(list.items[0].run.reference, "{\"slug\":\"alice/gpupool-run\",\"version\":3,"));
	ck_assert(str_eqz(list.items[1].intent, OTHER));
	ck_assert_int_eq(list.items[1].worker, 8);
	ck_assert_str_eq(called(), "ListKernels GetKernel ListKernels GetKernel GetKernel GetAcceleratorQuotaStatistics GetKernel");
	ck_assert(sent("\"pageToken\":\"t2\""));
}
END_TEST

START_TEST(test_list_that_never_ends)
{
	struct run_list list;

	answer(200, "{\"kernels\":[],\"nextPageToken\":\"same\"}");
	answer(200, "{\"kernels\":[],\"nextPageToken\":\"same\"}");
	serve();
	call.list_from = "t9"; /* where an earlier one stopped */
	ck_assert_int_eq(provider_kaggle.list(&call, &list), OK);
	ck_assert_ptr_null(list.more);
	called();
	ck_assert(sent("\"pageToken\":\"t9\""));
}
END_TEST

START_TEST(test_list_of_many_is_taken_in_parts)
{
	struct run_list list;

	for (int i = 0; i < 20; i++)
		answer(200, arena_printf(&arena, "{\"kernels\":[{\"ref\":\"alice/mine-%d\"}],\"nextPageToken\":\"t%d\"}", i, i));
	serve();
	ck_assert_int_eq(provider_kaggle.list(&call, &list), OK);
	ck_assert_str_eq(list.more, "t19");
	called();
}
END_TEST

START_TEST(test_half_a_list_is_none)
{
	struct run_list list;

	answer(200, "{\"kernels\":[{\"ref\":\"alice/gpupool-run\"}]}");
	answer(500, "{}");
	serve();
	ck_assert_int_eq(provider_kaggle.list(&call, &list), ERR_UNAVAILABLE);
	called();
}
END_TEST

/* ---- poll ---- */

static enum err look(const char *more, struct run_status *status)
{
	struct run run = run_of(more);

	return provider_kaggle.poll(&call, &run, status);
}

static const struct {
	const char *body;
	enum run_phase phase;
	const char *code;
	bool orderly;
} phases[] = {
	{"{\"status\":\"QUEUED\"}", RUN_QUEUED, NULL, false},
	{"{\"status\":\"newScript\"}", RUN_QUEUED, NULL, false},
	{"{\"status\":\"RUNNING\",\"failureMessage\":\"\"}", RUN_LIVE, NULL, false},
	{"{\"status\":\"KERNEL_WORKER_STATUS_CANCEL_REQUESTED\"}", RUN_ENDING, NULL, false},
	{"{\"status\":2}", RUN_ENDED, "exited", true},
	{"{\"status\":\"ERROR\",\"failureMessage\":\"it\\nbroke\"}", RUN_ENDED, "error", false},
	{"{\"status\":\"cancelAcknowledged\"}", RUN_ENDED, "cancelled", false},
};

START_TEST(test_poll)
{
	struct run_status status;

	answer(200, phases[_i].body);
	serve();
	ck_assert_int_eq(look("", &status), OK);
	ck_assert_int_eq(status.phase, phases[_i].phase);
	ck_assert_int_eq(status.orderly, phases[_i].orderly);
	if (phases[_i].code) {
		ck_assert_str_eq(status.code, phases[_i].code);
		ck_assert_ptr_nonnull(status.reason);
	}
	if (strstr(phases[_i].body, "broke"))
		ck_assert_ptr_nonnull(strstr(status.reason, "it broke"));
	ck_assert_str_eq(called(), "GetKernelSessionStatus");
	ck_assert(sent("{\"userName\":\"alice\",\"kernelSlug\":\"gpupool-run\",\"versionLabel\":\"v3\"}"));
}
END_TEST

static const struct {
	const char *body;
	enum err err;
} no_status[] = {
	{"{}", ERR_UPSTREAM}, {"{\"status\":\"\"}", ERR_UPSTREAM}, {"{\"failureMessage\":\"x\"}", ERR_UPSTREAM},
	{"{\"status\":\"HIBERNATING\"}", ERR_UNAVAILABLE}, {"{\"status\":17}", ERR_UNAVAILABLE},
};

START_TEST(test_status_that_is_none)
{
	struct run_status status;

	answer(200, no_status[_i].body);
	serve();
	ck_assert_int_eq(look("", &status), no_status[_i].err);
	with_reason(no_status[_i].err == ERR_UPSTREAM ? NULL : "unsettled"); /* not the account's failure */
	called();
}
END_TEST

START_TEST(test_gone_or_not_yet_there)
{
	struct run_status status;
	int64_t now = clock_wall_ms() / 1000;

	missing();
	missing();
	answer(404, "{}");
	answer(200, "{}");
	answer(403, "{}");
	answer(401, "{}");
	answer(403, "{}");
	answer(503, "{}");
	serve();
	ck_assert_int_eq(look(arena_printf(&arena, ",\"pushed\":%lld", (long long)now - 100), &status), OK);
	ck_assert_int_eq(status.phase, RUN_QUEUED);
	ck_assert_int_eq(look(arena_printf(&arena, ",\"pushed\":%lld", (long long)now - 300), &status), OK);
	ck_assert_int_eq(status.phase, RUN_ENDED);
	ck_assert_str_eq(status.code, "gone");
	ck_assert_int_eq(look("", &status), OK);
	ck_assert_str_eq(status.code, "gone");
	ck_assert_int_eq(look("", &status), ERR_UNAUTHORIZED); /* nothing is gone because a key is bad */
	ck_assert_int_eq(look("", &status), ERR_UNAVAILABLE);
	called();
}
END_TEST

static const char *const bad_references[] = {"", "{}", "x", "{\"slug\":\"alice\"}", "{\"slug\":\"alice/../x\"}", "{\"slug\":7}", "[]"};

START_TEST(test_reference_that_is_none)
{
	struct run run = {.reference = str_of(bad_references[_i])};
	struct run_status status;
	struct outputs outputs;

	ck_assert_int_eq(provider_kaggle.poll(&call, &run, &status), ERR_INVALID);
	ck_assert_int_eq(provider_kaggle.stop(&call, &run, true), ERR_INVALID);
	ck_assert_int_eq(provider_kaggle.remove(&call, &run), ERR_INVALID);
	ck_assert_int_eq(provider_kaggle.outputs(&call, &run, &outputs), ERR_INVALID);
}
END_TEST

/* ---- stop ---- */

static enum err stop(const char *more, bool insist)
{
	struct run run = run_of(more);

	return provider_kaggle.stop(&call, &run, insist);
}

START_TEST(test_stop_by_the_session_of_the_push)
{
	answer(200, "{}");
	serve();
	ck_assert_int_eq(stop(",\"sessionId\":555001", false), OK);
	ck_assert_str_eq(called(), "CancelKernelSession");
	ck_assert(sent("{\"kernelSessionId\":555001}"));
}
END_TEST

static const struct {
	const char *location;
	bool good;
} locations[] = {
	{"http://127.0.0.1:%d/v1/kernels/output/download_zip/77", true},
	{"/v1/kernels/output/download_zip/77?x=y", true},
	{"https://127.0.0.1:%d/v1/kernels/output/download_zip/77", false},
	{"http://127.0.0.1:%d1/v1/kernels/output/download_zip/77", false},
	{"http://evil.example/v1/kernels/output/download_zip/77", false},
	{"//evil.example/v1/kernels/output/download_zip/77", false},
	{"http://127.0.0.1:%d/v1/kernels/output/download_zip/77/x", false},
	{"http://127.0.0.1:%d/v1/kernels/output/download_zip/", false},
	{"http://127.0.0.1:%d/v1/kernels/output/download_zip/-7", false},
	{"http://127.0.0.1:%d/v2/kernels/output/download_zip/77", false},
	{"/kernels/output/download_zip/77", false},
};

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
START_TEST(test_stop_by_a_redirect)
{
	static char redirect[1024];

	/* The port is known only once the peer listens, the answers before. */
	shows(INTENT, HERE, 7, 3, "");
	answer_raw("");
	answers[1].bytes = redirect;
	if (locations[_i].good)
		answer(200, "{}");
	serve();
	snprintf(redirect, sizeof(redirect), "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n",
		 arena_printf(&arena, locations[_i].location, peer.port));
	ck_assert_msg(stop("", false) == OK, "%s", error.msg);
	ck_assert_str_eq(called(), locations[_i].good ? "GetKernel gpupool-run?versionNumber=3 CancelKernelSession" : "GetKernel gpupool-run?versionNumber=3");
	ck_assert(sent("GET /v1/kernels/output/download/alice/gpupool-run?versionNumber=3 HTTP/1.1\r\n"));
	ck_assert_int_eq(sent("{\"kernelSessionId\":77}"), locations[_i].good);
}
END_TEST
#pragma GCC diagnostic pop

START_TEST(test_stop_where_no_session_is_told)
{
	shows(INTENT, HERE, 7, 3, "");
	answer(404, "{}");
	shows(INTENT, HERE, 7, 3, "");
	answer(200, "PK");
	shows(INTENT, HERE, 7, 3, "");
	answer(500, "{}");
	answer(403, "{\"code\":403,\"message\":\"Permission 'kernelSessions.cancel' was denied\"}");
	answer(200, "{\"errorMessage\":\"session already ended\"}");
	serve();
	ck_assert_int_eq(stop("", false), OK);
	ck_assert_int_eq(stop("", false), OK);
	ck_assert_int_eq(stop("", false), ERR_UNAVAILABLE);
	ck_assert_int_eq(stop(",\"sessionId\":5", false), OK);
	ck_assert_int_eq(stop(",\"sessionId\":5", false), OK);
	called();
}
END_TEST

START_TEST(test_insisting_deletes)
{
	shows(INTENT, HERE, 7, 3, "");
	answer(200, "{}");
	missing();
	shows(INTENT, HERE, 7, 3, "");
	answer(403, "{}");
	answer(200, "{}");
	shows(INTENT, HERE, 7, 3, "");
	answer(200, "{\"errorMessage\":\"busy, try again\"}");
	serve();
	ck_assert_int_eq(stop(",\"sessionId\":5", true), OK);
	ck_assert_int_eq(stop("", true), OK); /* gone */
	ck_assert_int_eq(stop("", true), OK); /* gone in between */
	ck_assert_int_eq(stop("", true), ERR_UNAVAILABLE);
	ck_assert_str_eq(called(), "GetKernel DeleteKernel GetKernel GetAcceleratorQuotaStatistics GetKernel DeleteKernel "
				   "GetAcceleratorQuotaStatistics GetKernel DeleteKernel");
}
END_TEST

START_TEST(test_what_is_not_ours_is_neither_stopped_nor_deleted)
{
	struct run run = run_of("");

	shows(INTENT, ELSEWHERE, 7, 3, "");
	shows(INTENT, ELSEWHERE, 7, 3, "");
	shows(INTENT, ELSEWHERE, 7, 3, "");
	serve();
	ck_assert_int_eq(stop("", false), ERR_INVALID);
	with_reason("name_taken");
	ck_assert_int_eq(stop("", true), ERR_INVALID);
	ck_assert_int_eq(provider_kaggle.remove(&call, &run), OK); /* nothing of ours is left there */
	ck_assert_str_eq(called(), "GetKernel GetKernel GetKernel");
}
END_TEST

START_TEST(test_remove)
{
	struct run run = run_of("");

	shows(INTENT, HERE, 7, 3, "");
	answer(200, "{}");
	missing();
	answer(403, "{}");
	answer(401, "{}");
	serve();
	ck_assert_int_eq(provider_kaggle.remove(&call, &run), OK);
	ck_assert_int_eq(provider_kaggle.remove(&call, &run), OK);
	ck_assert_int_eq(provider_kaggle.remove(&call, &run), ERR_UNAUTHORIZED);
	ck_assert_str_eq(called(), "GetKernel DeleteKernel GetKernel GetAcceleratorQuotaStatistics GetKernel GetAcceleratorQuotaStatistics");
}
END_TEST

/* ---- outputs ---- */

static enum err outputs(struct outputs *ret)
{
	struct run run = run_of("");

	return provider_kaggle.outputs(&call, &run, ret);
}

START_TEST(test_outputs)
{
	static struct peer files;
	static char large[(1 << 20) + 200];
	const struct peer_answer contents[] = {{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", PEER_HANG_UP},
					       {large, PEER_HANG_UP},
					       {"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", PEER_HANG_UP},
					       {"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", PEER_HANG_UP},
					       {"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", PEER_HANG_UP},
					       {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nagain", PEER_HANG_UP},
					       {"HTTP/1.1 302 No\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", PEER_HANG_UP},
					       {"HTTP/1.1 302 No\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", PEER_HANG_UP}};
	struct outputs out;
	size_t len = (size_t)snprintf(large, sizeof(large), "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", (1 << 20) + 1);

	memset(large + len, 'x', (1 << 20) + 1);
	peer_start(&files, NULL, contents, ARRAY_LEN(contents));
	answer(200, arena_printf(&arena,
				 "{\"files\":[{\"url\":\"http://127.0.0.1:%d/a\",\"fileName\":\"results/out.json\"},"
				 "{\"url\":\"http://127.0.0.1:%d/b\",\"fileName\":\"../x\"},{\"url\":\"file:///etc/passwd\",\"fileName\":\"passwd\"}],"
				 "\"log\":\"[{\\\"stream_name\\\":\\\"stdout\\\",\\\"time\\\":1.25,\\\"data\\\":\\\"hi\\\\n\\\"}]\",\"nextPageToken\":\"t2\"}",
				 files.port, files.port));
	answer(200, arena_printf(&arena,
				 "{\"files\":[{\"url\":\"http://127.0.0.1:%d/c\",\"fileName\":\"large\"},{\"url\":\"http://127.0.0.1:%d/d\",\"fileName\":\"no\"},"
				 "{\"url\":\"http://127.0.0.1:%d/f\",\"fileName\":\"at last\"},"
				 "{\"url\":\"http://127.0.0.1:%d/e\",\"fileName\":\"elsewhere\"},{\"url\":\"http://127.0.0.1:%d/a\",\"fileName\":\"results/out.json\"}],"
				 "\"log\":\"never looked at\"}",
				 files.port, files.port, files.port, files.port, files.port));
	serve();
	ck_assert_msg(outputs(&out) == OK, "%s", error.msg);
	ck_assert(str_eqz(out.log, "hi\n"));
	ck_assert(str_eqz(out.whole_log, "hi\n"));
	ck_assert_ptr_null(out.code);
	ck_assert_uint_eq(out.file_count, 6);
	ck_assert_str_eq(out.files[0].name, "results/out.json");
	ck_assert(str_eqz(out.files[0].content, "hello"));
	ck_assert_int_eq(out.files[0].size, 5);
	ck_assert(str_eqz(out.files[4].content, "again"));
	for (size_t i = 1; i < 6; i += i == 3 ? 2 : 1) {
		ck_assert_ptr_null(out.files[i].content.ptr);
		ck_assert_int_eq(out.files[i].size, -1);
	}
	ck_assert_str_eq(out.files[1].name, "passwd");
	ck_assert_str_eq(out.files[2].name, "large");
	ck_assert_str_eq(called(), "ListKernelSessionOutput ListKernelSessionOutput");
	ck_assert(sent("\"versionLabel\":\"v3\",\"pageSize\":100}"));
	ck_assert(sent("\"pageToken\":\"t2\""));
	ck_assert_ptr_null(strcasestr(peer_stop(&files), "authorization"));
	ck_assert_ptr_null(strstr(files.received.ptr, "GET /x"));
	ck_assert_uint_eq(files.answered, ARRAY_LEN(contents));
	peer_free(&files);
}
END_TEST

START_TEST(test_log_that_is_not_there)
{
	static struct peer files;
	const struct peer_answer content = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", PEER_HANG_UP};
	struct outputs out;

	peer_start(&files, NULL, &content, 1);
	answer(200, "{\"files\":[],\"log\":\"\"}");
	answer(200, "{}");
	answer(200, arena_printf(&arena, "{\"files\":[{\"url\":\"http://127.0.0.1:%d/a\",\"fileName\":\"a\"}],\"logNullable\":\"\",\"hasLog\":false,"
					 "\"nextPageToken\":\"t2\"}", files.port));
	answer(200, "{\"files\":[{\"url\":\"\",\"fileName\":\"b\"}]}");
	missing();
	answer(500, "{}");
	serve();
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(outputs(&out), OK);
		ck_assert(!out.log.ptr && !out.whole_log.ptr && !out.reason);
		ck_assert_uint_eq(out.file_count, 0);
	}
	/* What files there are do not wait for it. */
	ck_assert_int_eq(outputs(&out), OK);
	ck_assert(!out.log.ptr && !out.whole_log.ptr && !out.reason);
	ck_assert_uint_eq(out.file_count, 2);
	ck_assert(str_eqz(out.files[0].content, "hello"));
	ck_assert_str_eq(out.files[1].name, "b");
	ck_assert_int_eq(outputs(&out), ERR_GONE);
	ck_assert_int_eq(outputs(&out), ERR_UNAVAILABLE);
	called();
	peer_stop(&files);
	peer_free(&files);
}
END_TEST

START_TEST(test_log_in_other_forms)
{
	struct outputs out;
	cleanup_buf struct buf tail = BUF_INIT(1 << 20);

	for (int i = 0; i < 2000; i++)
		buf_addf(&tail, "line %d \xc3\xa9\\n", i);
	answer(200, "{\"files\":[],\"log\":[{\"stream_name\":\"stdout\",\"time\":1,\"data\":\"an array\\n\"}]}");
	answer(200, "{\"log\":\"plain\\ngpupool: the agent ended with status 6: it could not\\n\"}");
	answer(200, arena_printf(&arena, "{\"log\":\"%s\"}", tail.ptr));
	serve();
	ck_assert_int_eq(outputs(&out), OK);
	ck_assert(str_eqz(out.log, "an array\n"));
	ck_assert_int_eq(outputs(&out), OK);
	ck_assert_str_eq(out.code, "unreachable");
	ck_assert_ptr_nonnull(out.reason);
	ck_assert_int_eq(outputs(&out), OK);
	ck_assert_uint_le(out.log.len, KAGGLE_LOG_TAIL);
	ck_assert_uint_gt(out.log.len, KAGGLE_LOG_TAIL - 4);
	ck_assert(str_is_utf8(out.log));
	ck_assert_uint_gt(out.whole_log.len, 20000);
	called();
}
END_TEST

/* Of an answer that is larger than is taken the beginning is kept, and what of it came whole. */
START_TEST(test_answer_that_is_too_large)
{
	enum { LINES = 400000 };
	static struct peer files;
	const struct peer_answer content = {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", PEER_HANG_UP};
	cleanup_buf struct buf b = BUF_INIT(64 << 20), whole = BUF_INIT(64 << 20);
	struct outputs out;

	peer_start(&files, NULL, &content, 1);
	buf_addf(&b, "{\"files\":[{\"url\":\"http://127.0.0.1:%d/a\",\"fileName\":\"a\"}],\"log\":\"[", files.port);
	for (int i = 0; i < LINES; i++)
		buf_addf(&b, "%s{\\\"stream_name\\\":\\\"stdout\\\",\\\"data\\\":\\\"line %d\\\\n\\\"}", i ? "," : "", i);
	buf_adds(&b, "]\"}");
	ck_assert_uint_gt(b.len, 17 << 20);
	buf_addf(&whole, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", b.len, b.ptr);
	answers[answer_count++] = (struct peer_answer){whole.ptr, PEER_HANG_UP};
	serve();
	ck_assert_msg(outputs(&out) == OK, "%s", error.msg);
	ck_assert_uint_eq(out.file_count, 1);
	ck_assert(str_eqz(out.files[0].content, "hello"));
	ck_assert_ptr_nonnull(memmem(out.whole_log.ptr, out.whole_log.len, "\nline 2", 7));
	ck_assert(str_ends(out.whole_log, "was too large to be fetched.]\n"));
	ck_assert(str_ends(out.log, "was too large to be fetched.]\n"));
	ck_assert_ptr_null(memmem(out.whole_log.ptr, out.whole_log.len, "line 399999", 11));
	peer_stop(&files);
	peer_free(&files);
}
END_TEST

START_TEST(test_more_files_than_are_kept)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 20);
	struct outputs out;

	buf_adds(&b, "{\"log\":\"x\",\"nextPageToken\":\"more\",\"files\":[");
	for (int i = 0; i < 250; i++)
		buf_addf(&b, "%s{\"url\":\"\",\"fileName\":\"f%d\"}", i ? "," : "", i);
	buf_adds(&b, "]}");
	answer(200, b.ptr);
	serve();
	ck_assert_int_eq(outputs(&out), OK);
	ck_assert_uint_eq(out.file_count, KAGGLE_FILES_MOST);
	ck_assert_str_eq(called(), "ListKernelSessionOutput");
}
END_TEST

START_TEST(test_links_elsewhere_on_this_machine)
{
	static struct peer files;
	struct str content;

	peer_start(&files, NULL, NULL, 0);
	config.kaggle_url = "https://api.kaggle.com/v1";
	ck_assert_int_eq(kaggle_fetch(&call, arena_printf(&arena, "http://127.0.0.1:%d/", files.port), 100, &content), ERR_FORBIDDEN);
	peer_stop(&files);
	ck_assert_uint_eq(files.connections, 0);
	peer_free(&files);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kaggle");
	TCase *t = tcase_create("kaggle");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, test_reply, 0, ARRAY_LEN(replies));
	tcase_add_test(t, test_no_server);
	tcase_add_test(t, test_deadline);
	tcase_add_test(t, test_words_of_kaggle_are_bounded_and_hold_no_secret);
	tcase_add_test(t, test_basic_and_bearer);
	tcase_add_loop_test(t, test_credentials_that_cannot_be_sent, 0, ARRAY_LEN(bad_credentials));
	tcase_add_test(t, test_verify_token);
	tcase_add_loop_test(t, test_verify_bad_token, 0, ARRAY_LEN(introspections));
	tcase_add_test(t, test_verify_key);
	tcase_add_test(t, test_usage);
	tcase_add_test(t, test_start);
	tcase_add_test(t, test_start_again_pushes_over_what_is_ours_and_over);
	tcase_add_loop_test(t, test_no_push_while_a_version_may_be_live, 0, ARRAY_LEN(live));
	tcase_add_loop_test(t, test_name_of_another, 0, ARRAY_LEN(foreign));
	tcase_add_test(t, test_source_that_is_not_shown);
	tcase_add_test(t, test_start_that_was_made_already);
	tcase_add_test(t, test_proof_by_another_call);
	tcase_add_test(t, test_missing_is_nothing_without_good_credentials);
	tcase_add_loop_test(t, test_refused_push, 0, ARRAY_LEN(refusals));
	tcase_add_loop_test(t, test_refusal_that_quotes_the_name, 0, ARRAY_LEN(refusals_by_name));
	tcase_add_loop_test(t, test_refusal_of_a_push_that_took_effect, 0, ARRAY_LEN(refusals));
	tcase_add_test(t, test_push_whose_answer_is_lost);
	tcase_add_test(t, test_push_that_the_account_may_not_make);
	tcase_add_test(t, test_another_name_is_taken_back);
	tcase_add_test(t, test_another_name_that_bears_no_mark_is_left_alone);
	tcase_add_test(t, test_inputs_that_do_not_exist);
	tcase_add_test(t, test_inputs_that_do_not_exist_with_a_session);
	tcase_add_test(t, test_inputs_that_do_not_exist_where_kaggle_shows_the_version_before);
	tcase_add_test(t, test_taking_back_what_kaggle_does_not_show_yet);
	tcase_add_test(t, test_what_cannot_be_taken_back_leaves_doubt);
	tcase_add_test(t, test_find);
	tcase_add_test(t, test_find_is_certain_only_after_a_while);
	tcase_add_test(t, test_find_never_says_no_on_a_failure);
	tcase_add_loop_test(t, test_found_without_its_inputs, 0, ARRAY_LEN(founds));
	tcase_add_test(t, test_push_that_names_no_lost_input_has_them_all);
	tcase_add_test(t, test_list);
	tcase_add_test(t, test_list_that_never_ends);
	tcase_add_test(t, test_list_of_many_is_taken_in_parts);
	tcase_add_test(t, test_half_a_list_is_none);
	tcase_add_loop_test(t, test_poll, 0, ARRAY_LEN(phases));
	tcase_add_loop_test(t, test_status_that_is_none, 0, ARRAY_LEN(no_status));
	tcase_add_test(t, test_gone_or_not_yet_there);
	tcase_add_loop_test(t, test_reference_that_is_none, 0, ARRAY_LEN(bad_references));
	tcase_add_test(t, test_stop_by_the_session_of_the_push);
	tcase_add_loop_test(t, test_stop_by_a_redirect, 0, ARRAY_LEN(locations));
	tcase_add_test(t, test_stop_where_no_session_is_told);
	tcase_add_test(t, test_insisting_deletes);
	tcase_add_test(t, test_what_is_not_ours_is_neither_stopped_nor_deleted);
	tcase_add_test(t, test_remove);
	tcase_add_test(t, test_outputs);
	tcase_add_test(t, test_answer_that_is_too_large);
	tcase_add_test(t, test_log_that_is_not_there);
	tcase_add_test(t, test_log_in_other_forms);
	tcase_add_test(t, test_more_files_than_are_kept);
	tcase_add_test(t, test_links_elsewhere_on_this_machine);
	suite_add_tcase(s, t);
	return unit_run(s);
}
