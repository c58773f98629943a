/* Colab Enterprise's calls, against a peer that answers what each test says. */
#include <unistd.h>

#include "base/clock.h"
#include "base/http.h"
#include "google_key.h"
#include "peer.h"
#include "provider/colab_enterprise.h"
#include "provider/google_token.h"
#include "unit.h"

#define INTENT "0b5f4f4e-7c1a-4d8e-9a53-1f0f5c8e2d11"
#define OTHER "9999ffff-7c1a-4d8e-9a53-1f0f5c8e2d11"
#define HERE "11111111-2222-4333-8444-555555555555"
#define ELSEWHERE "66666666-2222-4333-8444-555555555555"
#define TOKEN "gpe_0123456789012345678901234567890123456789012"
#define JOB "projects/demo-project/locations/europe-west4/notebookExecutionJobs/gpupool-" INTENT
#define LRO "projects/demo-project/locations/europe-west4/operations/77"
#define REFERENCE "{\"job\":\"gpupool-" INTENT "\",\"operation\":\"" LRO "\",\"output\":\"gpupool/" INTENT "/\",\"worker\":7,\"started\":1000}"

enum { ANSWERS_MOST = 24 };

static const struct provider *const p = &provider_colab_enterprise;
static struct peer peer;
static struct peer_answer answers[ANSWERS_MOST];
static size_t answer_count, used;
static char store[4 << 20];
static bool serving;
static struct http_client *client;
static struct arena arena, keys;
static struct error error;
static struct config config;
static struct secret secret, token;
static struct provider_call call;
static const char *pem;

static void be(const char *credentials)
{
	secret_free(&secret);
	secret = secret_new(str_of(credentials));
	call.secret = &secret;
}

static void answer(int status, const char *body)
{
	const char *bytes = arena_printf(&arena, "HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", status, strlen(body), body);
	size_t size = strlen(bytes) + 1;

	ck_assert_uint_lt(answer_count, ANSWERS_MOST);
	ck_assert_uint_le(size, sizeof(store) - used);
	memcpy(store + used, bytes, size);
	answers[answer_count++] = (struct peer_answer){store + used, PEER_HANG_UP};
	used += size;
}

static void setup(void)
{
	crypto_init();
	arena_init(&arena, 128 << 20);
	ck_assert_int_eq(http_client_new(&client), OK);
	answer_count = used = 0;
	serving = false;
	config = (struct config){.vertex_settle_seconds = 60, .outgoing_allow = ""};
	error = (struct error){0};
	token = secret_new(STR(TOKEN));
	call = (struct provider_call){.arena = &arena, .config = &config, .http = client, .error = &error, .installation = HERE,
				      .retry_after_s = -1, .deadline_ms = clock_ms() + 30000};
	be(google_key_credentials(&arena, pem));
	answer(200, "{\"access_token\":\"ya29.x\",\"expires_in\":3599,\"token_type\":\"Bearer\"}");
}

static void teardown(void)
{
	google_token_forget();
	http_client_free(client);
	if (serving)
		peer_free(&peer);
	secret_free(&secret);
	secret_free(&token);
	arena_free(&arena);
}

static void serve(void)
{
	const char *url;

	peer_start(&peer, NULL, answers, answer_count);
	serving = true;
	url = arena_printf(&arena, "http://127.0.0.1:%d", peer.port);
	config.google_oauth_url = arena_printf(&arena, "%s/oauth", url);
	config.vertex_url = arena_printf(&arena, "%s/vertex", url);
	config.gcs_url = arena_printf(&arena, "%s/gcs", url);
}

/* Requests without the token's: "POST /vertex/v1/…", one a line. */
static const char *asked(void)
{
	const char *at = peer_stop(&peer);
	cleanup_buf struct buf b = BUF_INIT(64 << 10);

	ck_assert_uint_eq(peer.answered, answer_count);
	for (; (at = strstr(at, " HTTP/1.1\r\n")); at++) {
		const char *begin = at;

		while (begin > peer.received.ptr && begin[-1] != '\n' && begin[-1] != '}')
			begin--;
		if (!memmem(begin, (size_t)(at - begin), "/oauth/", 7))
			buf_addf(&b, "%.*s\n", (int)(at - begin), begin);
	}
	return b.len ? arena_strdup(&arena, b.ptr) : "";
}

static bool sent(const char *text)
{
	return strstr(peer.received.ptr, text) != NULL;
}

static struct launch launch_of(void)
{
	return (struct launch){.intent = STR(INTENT), .worker = 7, .title = "Run \"a\"\n", .accelerator = "gpu", .resource = "gpu",
			       .shape = "n1-standard-4/NVIDIA_TESLA_T4/1", .token = &token, .server_url = "https://pool.example.org", .limit_seconds = 3600};
}

static const char *job_of(const char *intent, const char *installation, const char *state, const char *more)
{
	return arena_printf(&arena, "{\"name\":\"projects/9/locations/europe-west4/notebookExecutionJobs/gpupool-%s\",\"jobState\":\"%s\",\"labels\":{"
				    "\"gpupool_intent\":\"%s\",\"gpupool_installation\":\"%s\",\"gpupool_worker\":\"7\"}%s}", intent, state, intent, installation, more);
}

#define MISSING "{\"error\":{\"code\":404,\"message\":\"NotebookExecutionJob is not found.\",\"status\":\"NOT_FOUND\"}}"

/* ---- names ---- */

START_TEST(test_names)
{
	static const char *const bad_regions[] = {"", "europe", "europe-west", "Europe-west4", "a/b-1", "../x-1", "x-1.evil"};
	static const char *const bad_projects[] = {"", "abc", "a/b-c", "1project", "p?x=y", "UPPER-CASE"};
	static const char *const bad_buckets[] = {"", "ab", "gs://x", "a/b/c", "a..b", "A-b-c", ".abc"};

	ck_assert(ce_region_valid(STR("europe-west4")) && ce_region_valid(STR("us-central1")) && ce_region_valid(STR("northamerica-northeast1")));
	ck_assert(ce_project_valid(STR("demo-project")) && ce_project_valid(STR("example.com:demo")));
	ck_assert(ce_bucket_valid(STR("demo-bucket")) && ce_bucket_valid(STR("a.b_c-d")));
	for (size_t i = 0; i < ARRAY_LEN(bad_regions); i++)
		ck_assert_msg(!ce_region_valid(str_of(bad_regions[i])), "%s", bad_regions[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad_projects); i++)
		ck_assert_msg(!ce_project_valid(str_of(bad_projects[i])), "%s", bad_projects[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad_buckets); i++)
		ck_assert_msg(!ce_bucket_valid(str_of(bad_buckets[i])), "%s", bad_buckets[i]);
}
END_TEST

START_TEST(test_machines)
{
	static const char *const bad[] = {"", "/", "n1-standard-4/", "n1-standard-4/T4", "n1-standard-4/T4/0", "n1-standard-4/T4/17", "n1-standard-4/T4/1/x",
					  "n1 standard/T4/1", "n1-standard-4/T 4/1", "n1-standard-4//1"};
	struct ce_machine m;

	ck_assert(ce_machine_read(STR("n1-standard-8/NVIDIA_TESLA_T4/2"), &m));
	ck_assert_str_eq(m.type, "n1-standard-8");
	ck_assert_str_eq(m.accelerator, "NVIDIA_TESLA_T4");
	ck_assert_int_eq(m.count, 2);
	ck_assert(ce_machine_read(STR("e2-standard-4"), &m));
	ck_assert_int_eq(m.count, 0);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_msg(!ce_machine_read(str_of(bad[i]), &m), "%s", bad[i]);
}
END_TEST

START_TEST(test_launches_that_cannot_work)
{
	struct launch l = launch_of();

	ck_assert(p->launch_valid(&l, &error));
	l.resource = "tpu";
	ck_assert(!p->launch_valid(&l, &error));
	l = launch_of();
	l.shape = NULL;
	ck_assert(!p->launch_valid(&l, &error));
	l.shape = "T4 please";
	ck_assert(!p->launch_valid(&l, &error));
	ck_assert_ptr_nonnull(strstr(error.msg, "MACHINE/ACCELERATOR/COUNT"));
	l = launch_of();
	l.limit_seconds = 8 * 86400;
	ck_assert(!p->launch_valid(&l, &error));
}
END_TEST

START_TEST(test_the_region_is_part_of_the_host)
{
	struct ce_account a;

	config.vertex_url = "https://aiplatform.googleapis.com";
	ck_assert_int_eq(ce_account_read(&call, &a), OK);
	ck_assert_str_eq(a.base, "https://europe-west4-aiplatform.googleapis.com/v1/projects/demo-project/locations/europe-west4");
	ck_assert_str_eq(a.email, "robot@demo-project.iam.gserviceaccount.com");
}
END_TEST

/* ---- start ---- */

START_TEST(test_start)
{
	struct launch l = launch_of();
	struct run run;

	answer(200, "{\"name\":\"" LRO "\",\"metadata\":{}}");
	serve();
	ck_assert_int_eq(p->start(&call, &l, &run), OK);
	ck_assert_ptr_nonnull(strstr(asked(), "POST /vertex/v1/projects/demo-project/locations/europe-west4/notebookExecutionJobs?notebookExecutionJobId=gpupool-" INTENT "\n"));
	ck_assert(sent("\"machineSpec\":{\"machineType\":\"n1-standard-4\",\"acceleratorType\":\"NVIDIA_TESLA_T4\",\"acceleratorCount\":1}"));
	ck_assert(sent("\"networkSpec\":{\"enableInternetAccess\":true}"));
	ck_assert(sent("\"executionTimeout\":\"3600s\"") && sent("\"gcsOutputUri\":\"gs://demo-bucket/gpupool/" INTENT "\""));
	ck_assert(sent("\"serviceAccount\":\"robot@demo-project.iam.gserviceaccount.com\"") && sent("\"displayName\":\"gpupool Run \\\"a\\\" \""));
	ck_assert(sent("\"labels\":{\"gpupool_installation\":\"" HERE "\",\"gpupool_worker\":\"7\",\"gpupool_intent\":\"" INTENT "\"}"));
	ck_assert(!sent(TOKEN) && !sent("BEGIN PRIVATE"));
	ck_assert_ptr_nonnull(strstr(run.reference.ptr, "\"job\":\"gpupool-" INTENT "\""));
	ck_assert_ptr_nonnull(strstr(run.reference.ptr, "\"operation\":\"" LRO "\""));
	ck_assert_str_eq(run.url, "https://console.cloud.google.com/vertex-ai/colab/execution-jobs?project=demo-project");
}
END_TEST

START_TEST(test_no_job_is_made_without_an_end)
{
	struct launch l = launch_of();
	struct run run;

	l.limit_seconds = 0;
	l.resource = "cpu";
	l.shape = "e2-standard-4";
	answer(200, "{\"name\":\"../../evil\"}");
	serve();
	ck_assert_int_eq(p->start(&call, &l, &run), OK);
	asked();
	ck_assert(sent("\"executionTimeout\":\"86400s\"") && sent("\"machineSpec\":{\"machineType\":\"e2-standard-4\"}"));
	ck_assert_ptr_null(strstr(run.reference.ptr, "evil"));
}
END_TEST

START_TEST(test_start_that_was_made_already)
{
	struct launch l = launch_of();
	struct run run;

	answer(409, "{\"error\":{\"code\":409,\"status\":\"ALREADY_EXISTS\"}}");
	answer(200, job_of(INTENT, HERE, "JOB_STATE_RUNNING", ""));
	serve();
	ck_assert_int_eq(p->start(&call, &l, &run), OK);
	ck_assert(str_starts(run.reference, "{\"job\":\"gpupool-" INTENT));
	asked();
}
END_TEST

START_TEST(test_the_id_is_anothers)
{
	struct launch l = launch_of();
	struct run run;

	answer(409, "{\"error\":{\"code\":409,\"status\":\"ALREADY_EXISTS\"}}");
	answer(200, job_of(INTENT, ELSEWHERE, "JOB_STATE_RUNNING", ""));
	serve();
	ck_assert_int_eq(p->start(&call, &l, &run), ERR_INVALID);
	ck_assert_str_eq(error.reason, "name_taken");
	asked();
}
END_TEST

static const struct refusal {
	int status;
	const char *body;
	enum err err;
	const char *reason, *words;
} refusals[] = {
	{429, "{\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\",\"message\":\"Quota exceeded for quota metric 'Job submissions' and limit 'Job submissions per minute'\"}}",
	 ERR_RATE, "rate", "fewer calls"},
	{429, "{\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\",\"message\":\"The following quota metrics exceed quota limits: custom_model_training_nvidia_t4_gpus\"}}",
	 ERR_QUOTA, "capacity", "used up"},
	{429, "{\"error\":{\"code\":429,\"status\":\"RESOURCE_EXHAUSTED\",\"message\":\"quota metrics exceed\",\"details\":[{\"@type\":\"x/google.rpc.ErrorInfo\",\"reason\":"
	      "\"QUOTA_EXCEEDED\",\"metadata\":{\"quota_limit_value\":\"0\"}}]}}", ERR_FORBIDDEN, "gpu_quota", "is zero"},
	{503, "{\"error\":{\"code\":503,\"status\":\"UNAVAILABLE\",\"message\":\"The zone does not have enough resources available to fulfill the request\"}}", ERR_QUOTA,
	 "capacity", "no such machine free in europe-west4"},
	{403, "{\"error\":{\"code\":403,\"message\":\"Permission 'aiplatform.notebookExecutionJobs.create' denied on resource\"}}", ERR_FORBIDDEN, "account",
	 "aiplatform.notebookExecutionJobs.create"},
	{403, "{\"error\":{\"code\":403,\"message\":\"Permission 'iam.serviceAccounts.actAs' denied on service account\"}}", ERR_FORBIDDEN, "account", "Service Account User"},
	{400, "{\"error\":{\"code\":400,\"message\":\"Machine type is not supported\",\"status\":\"INVALID_ARGUMENT\"}}", ERR_INVALID, NULL, "not supported"},
	{404, "{\"error\":{\"code\":404,\"message\":\"Bucket not found\",\"status\":\"NOT_FOUND\"}}", ERR_INVALID, NULL, "Bucket not found"},
};

START_TEST(test_refused_start)
{
	struct launch l = launch_of();
	struct run run;

	answer(refusals[_i].status, refusals[_i].body);
	serve();
	ck_assert_msg(p->start(&call, &l, &run) == refusals[_i].err, "%s: %s", refusals[_i].words, error.msg);
	ck_assert_pstr_eq(error.reason, refusals[_i].reason);
	ck_assert_msg(strstr(error.msg, refusals[_i].words), "%s", error.msg);
	asked();
}
END_TEST

START_TEST(test_start_whose_answer_makes_no_sense)
{
	struct launch l = launch_of();
	struct run run;

	answer(_i ? 500 : 200, "<html>");
	answer(200, job_of(INTENT, HERE, "JOB_STATE_QUEUED", ""));
	serve();
	ck_assert_int_eq(p->start(&call, &l, &run), OK);
	asked();
}
END_TEST

START_TEST(test_doubt_stays_doubt)
{
	struct launch l = launch_of();
	struct run run;

	answer(500, "{}");
	answer(404, MISSING);
	serve();
	ck_assert_int_eq(p->start(&call, &l, &run), ERR_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(error.msg, "500"));
	asked();
}
END_TEST

/* ---- find, list ---- */

START_TEST(test_find)
{
	struct launch l = launch_of();
	struct run run;

	answer(200, job_of(INTENT, HERE, "JOB_STATE_QUEUED", ""));
	answer(404, MISSING);
	answer(404, MISSING);
	answer(503, "{}");
	serve();
	ck_assert_int_eq(p->find(&call, &l, &run), OK);
	l.launched_for = 59;
	ck_assert_int_eq(p->find(&call, &l, &run), ERR_UNAVAILABLE);
	ck_assert_str_eq(error.reason, "unsettled");
	l.launched_for = 61;
	ck_assert_int_eq(p->find(&call, &l, &run), ERR_NOT_FOUND);
	ck_assert_int_eq(p->find(&call, &l, &run), ERR_UNAVAILABLE);
	asked();
}
END_TEST

START_TEST(test_list)
{
	struct run_list list;

	answer(200, arena_printf(&arena, "{\"notebookExecutionJobs\":[%s,%s,{\"name\":\"x/y\",\"jobState\":\"JOB_STATE_RUNNING\"},7],\"nextPageToken\":\"a b\"}",
				 job_of(INTENT, HERE, "JOB_STATE_RUNNING", ""), job_of(OTHER, ELSEWHERE, "JOB_STATE_RUNNING", "")));
	answer(200, arena_printf(&arena, "{\"notebookExecutionJobs\":[%s]}", job_of(OTHER, HERE, "JOB_STATE_FAILED", "")));
	serve();
	ck_assert_int_eq(p->list(&call, &list), OK);
	ck_assert_uint_eq(list.count, 2);
	ck_assert(str_eqz(list.items[0].intent, INTENT) && list.items[0].live && list.items[0].worker == 7);
	ck_assert(str_eqz(list.items[1].intent, OTHER) && !list.items[1].live);
	ck_assert_ptr_nonnull(strstr(asked(), "filter=labels.gpupool_installation%3D%22" HERE "%22&pageToken=a%20b\n"));
}
END_TEST

START_TEST(test_list_that_never_ends)
{
	struct run_list list;

	for (int i = 0; i < 20; i++)
		answer(200, "{\"notebookExecutionJobs\":[],\"nextPageToken\":\"more\"}");
	serve();
	ck_assert_int_eq(p->list(&call, &list), OK);
	ck_assert_uint_eq(list.count, 0);
	asked();
}
END_TEST

/* ---- poll ---- */

static const struct look {
	const char *state, *more;
	enum run_phase phase;
	const char *code, *words;
	bool orderly;
} looks[] = {
	{"JOB_STATE_QUEUED", "", RUN_QUEUED, NULL, NULL, false},
	{"JOB_STATE_PENDING", "", RUN_QUEUED, NULL, NULL, false},
	{"JOB_STATE_RUNNING", "", RUN_LIVE, NULL, NULL, false},
	{"JOB_STATE_CANCELLING", "", RUN_ENDING, NULL, NULL, false},
	{"JOB_STATE_SUCCEEDED", "", RUN_ENDED, "exited", "has ended", true},
	{"JOB_STATE_CANCELLED", "", RUN_ENDED, "cancelled", "cancelled", false},
	{"JOB_STATE_EXPIRED", "", RUN_ENDED, "limit", "time limit", false},
	{"JOB_STATE_FAILED", ",\"status\":{\"code\":4,\"message\":\"timeout\"}", RUN_ENDED, "limit", "timeout", false},
	{"JOB_STATE_FAILED", ",\"status\":{\"code\":3,\"message\":\"a cell raised\\nan exception\"}", RUN_ENDED, "error", "It says: a cell raised an exception", false},
	{"JOB_STATE_FAILED", ",\"status\":{\"code\":8,\"message\":\"ZONE_RESOURCE_POOL_EXHAUSTED\"}", RUN_ENDED, "capacity", "no such machine", false},
	{"JOB_STATE_FAILED", ",\"status\":{\"code\":8,\"message\":\"Quota limit: 0 exceeded\"}", RUN_ENDED, "needs_human", "ask Google", false},
	{"JOB_STATE_FAILED", ",\"status\":[]", RUN_ENDED, "error", "has failed", false},
};

START_TEST(test_poll)
{
	struct run_status s;

	answer(200, job_of(INTENT, HERE, looks[_i].state, looks[_i].more));
	serve();
	ck_assert_int_eq(p->poll(&call, &(struct run){.reference = STR(REFERENCE)}, &s), OK);
	ck_assert_int_eq(s.phase, looks[_i].phase);
	ck_assert_pstr_eq(s.code, looks[_i].code);
	ck_assert(s.orderly == looks[_i].orderly);
	ck_assert_msg(!looks[_i].words || strstr(s.reason, looks[_i].words), "%s", s.reason);
	asked();
}
END_TEST

static const char *const no_states[] = {
	"{}", "[]", "{\"jobState\":\"JOB_STATE_NEW\",\"name\":\"a/b\"}", "{\"jobState\":7,\"name\":\"a/b\"}",
	"{\"name\":\"a/\",\"jobState\":\"JOB_STATE_RUNNING\"}",
};

START_TEST(test_state_that_is_none)
{
	struct run_status s;
	enum err err;

	answer(200, no_states[_i]);
	serve();
	err = p->poll(&call, &(struct run){.reference = STR(REFERENCE)}, &s);
	ck_assert(err == ERR_UPSTREAM || err == ERR_UNAVAILABLE);
	asked();
}
END_TEST

static const struct absence {
	int status;
	const char *operation;
	enum err err;
	enum run_phase phase;
	const char *code, *words;
} absences[] = {
	{200, "{\"name\":\"x\"}", OK, RUN_QUEUED, NULL, NULL},
	{200, "{\"done\":true,\"response\":{}}", OK, RUN_ENDED, "gone", "no longer there"},
	{404, MISSING, OK, RUN_ENDED, "gone", "no longer there"},
	{200, "{\"done\":true,\"error\":{\"code\":8,\"message\":\"stockout\"}}", OK, RUN_ENDED, "capacity", "no such machine"},
	{200, "{\"done\":true,\"error\":{\"code\":13,\"message\":\"internal\"}}", OK, RUN_ENDED, "error", "internal"},
	{503, "{}", ERR_UNAVAILABLE, RUN_ENDED, "gone", NULL},
};

START_TEST(test_a_job_that_is_not_there)
{
	struct run_status s = {0};

	answer(404, MISSING);
	answer(absences[_i].status, absences[_i].operation);
	serve();
	ck_assert_int_eq(p->poll(&call, &(struct run){.reference = STR(REFERENCE)}, &s), absences[_i].err);
	ck_assert_int_eq(s.phase, absences[_i].phase);
	ck_assert_pstr_eq(s.code, absences[_i].code);
	ck_assert_msg(!absences[_i].words || strstr(s.reason, absences[_i].words), "%s", s.reason);
	ck_assert_ptr_nonnull(strstr(asked(), "GET /vertex/v1/" LRO "\n"));
}
END_TEST

START_TEST(test_no_references)
{
	static const char *const bad[] = {"", "{}", "[]", "{\"job\":7}", "{\"job\":\"x\"}"};
	struct run_status s;

	config.vertex_url = "http://127.0.0.1:1";
	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ck_assert_int_eq(p->poll(&call, &(struct run){.reference = str_of(bad[i])}, &s), ERR_INVALID);
}
END_TEST

/* ---- the end ---- */

START_TEST(test_stop)
{
	answer(200, job_of(INTENT, HERE, "JOB_STATE_RUNNING", ""));
	answer(200, "{\"name\":\"" LRO "\"}");
	answer(200, job_of(INTENT, HERE, "JOB_STATE_CANCELLING", ""));
	answer(404, MISSING);
	serve();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(p->stop(&call, &(struct run){.reference = STR(REFERENCE)}, i == 2), OK);
	ck_assert_ptr_nonnull(strstr(asked(), "DELETE /vertex/v1/" JOB "\n"));
}
END_TEST

START_TEST(test_what_is_not_ours_is_not_ended)
{
	answer(200, job_of(INTENT, ELSEWHERE, "JOB_STATE_RUNNING", ""));
	serve();
	ck_assert_int_eq(p->stop(&call, &(struct run){.reference = STR(REFERENCE)}, true), ERR_INVALID);
	ck_assert_ptr_null(strstr(asked(), "DELETE"));
}
END_TEST

START_TEST(test_remove)
{
	answer(404, MISSING);
	answer(200, arena_printf(&arena, "{\"notebookExecutionJobs\":[%s]}", job_of(OTHER, HERE, "JOB_STATE_SUCCEEDED", "")));
	answer(200, "{}");
	serve();
	ck_assert_int_eq(p->remove(&call, &(struct run){.reference = STR(REFERENCE)}), OK);
	ck_assert_ptr_nonnull(strstr(asked(), "/notebookExecutionJobs/gpupool-" OTHER "\n"));
}
END_TEST

/* ---- outputs ---- */

#define LIST "{\"items\":[{\"name\":\"gpupool/" INTENT "/j/content.ipynb\",\"size\":\"120\"},{\"name\":\"gpupool/" INTENT "/../x\"},{\"name\":\"other\"}," \
	     "{\"name\":\"gpupool/" INTENT "/data.bin\",\"size\":7}]}"

START_TEST(test_outputs)
{
	struct outputs out;

	answer(200, LIST);
	answer(200, "{\"cells\":[{\"cell_type\":\"code\",\"source\":[\"TOKEN = '" TOKEN "'\"],\"outputs\":[{\"output_type\":\"stream\",\"name\":\"stdout\",\"text\":[\"one\\n\","
		    "\"two " TOKEN "\\n\"]},{\"output_type\":\"error\",\"traceback\":[\"\\u001b[0;31mRed\\u001b[0m\",\"gpupool: the agent ended with status 6: x\"]},"
		    "{\"output_type\":\"execute_result\",\"data\":{\"text/plain\":\"42\"}}]}]}");
	serve();
	ck_assert_int_eq(p->outputs(&call, &(struct run){.reference = STR(REFERENCE)}, &out), OK);
	ck_assert_str_eq(out.log.ptr, "one\ntwo gpe_*******************************************\nRed\ngpupool: the agent ended with status 6: x\n42\n");
	ck_assert_str_eq(out.code, "unreachable");
	ck_assert_uint_eq(out.file_count, 2);
	ck_assert_str_eq(out.files[0].name, "j/content.ipynb");
	ck_assert_ptr_null(memmem(out.files[0].content.ptr, out.files[0].content.len, TOKEN, strlen(TOKEN)));
	ck_assert_ptr_null(out.files[1].content.ptr);
	ck_assert_ptr_nonnull(strstr(asked(), "/o/gpupool%2F" INTENT "%2Fj%2Fcontent.ipynb?alt=media\n"));
}
END_TEST

static const char *const broken[] = {"", "<html>", "[]", "{\"cells\":{}}", "{\"cells\":[7,{\"outputs\":[7,{\"output_type\":\"stream\",\"text\":7}]}]}"};

START_TEST(test_a_notebook_that_is_broken)
{
	struct outputs out;

	answer(200, LIST);
	answer(200, broken[_i]);
	serve();
	ck_assert_int_eq(p->outputs(&call, &(struct run){.reference = STR(REFERENCE)}, &out), OK);
	ck_assert_uint_eq(out.log.len, 0);
	ck_assert_uint_eq(out.file_count, 2);
	asked();
}
END_TEST

START_TEST(test_a_job_that_left_nothing)
{
	struct outputs out;

	answer(200, "{}");
	answer(200, job_of(INTENT, HERE, "JOB_STATE_FAILED", ",\"status\":{\"code\":8,\"message\":\"stockout\"}"));
	answer(200, "{\"items\":[]}");
	answer(404, MISSING);
	serve();
	ck_assert_int_eq(p->outputs(&call, &(struct run){.reference = STR(REFERENCE)}, &out), OK);
	ck_assert_str_eq(out.log.ptr, "Vertex AI: stockout\n");
	ck_assert_int_eq(p->outputs(&call, &(struct run){.reference = STR(REFERENCE)}, &out), ERR_GONE);
	asked();
}
END_TEST

START_TEST(test_a_bucket_that_is_gone)
{
	struct outputs out;

	answer(404, MISSING);
	serve();
	ck_assert_int_eq(p->outputs(&call, &(struct run){.reference = STR(REFERENCE)}, &out), ERR_GONE);
	asked();
}
END_TEST

/* ---- verify ---- */

#define ALL "{\"permissions\":[\"storage.objects.create\",\"storage.objects.list\",\"storage.objects.get\"]}"

static const struct doubt {
	int jobs;
	const char *jobs_body;
	int bucket;                    /* 0 = not asked */
	const char *bucket_body;
	enum err err;
	const char *reason, *words;
} doubts[] = {
	{200, "{}", 200, ALL, OK, NULL, ""},
	{403, "{\"error\":{\"code\":403,\"details\":[{\"@type\":\"x/google.rpc.ErrorInfo\",\"reason\":\"CONSUMER_INVALID\"}]}}", 0, NULL, ERR_UNAUTHORIZED, "credentials", "demo-project"},
	{404, "{\"error\":{\"code\":404,\"message\":\"location not found\"}}", 0, NULL, ERR_UNAUTHORIZED, "credentials", "region europe-west4"},
	{403, "{\"error\":{\"code\":403,\"details\":[{\"@type\":\"x/google.rpc.ErrorInfo\",\"reason\":\"SERVICE_DISABLED\",\"metadata\":{\"service\":"
	      "\"aiplatform.googleapis.com\"}}]}}", 0, NULL, ERR_FORBIDDEN, "account", "/apis/library/aiplatform.googleapis.com"},
	{403, "{\"error\":{\"code\":403,\"message\":\"Permission 'aiplatform.notebookExecutionJobs.list' denied\"}}", 0, NULL, ERR_FORBIDDEN, "account",
	 "aiplatform.notebookExecutionJobs.list"},
	{200, "{}", 404, MISSING, ERR_FORBIDDEN, "account", "no bucket demo-bucket"},
	{200, "{}", 200, "{}", ERR_FORBIDDEN, "account", "storage.objects.create"},
	{200, "{}", 200, "{\"permissions\":[\"storage.objects.create\",7]}", ERR_FORBIDDEN, "account", "storage.objects.list"},
	{503, "{}", 0, NULL, ERR_UNAVAILABLE, NULL, "503"},
};

START_TEST(test_verify)
{
	struct identity who = {0};

	answer(doubts[_i].jobs, doubts[_i].jobs_body);
	if (doubts[_i].bucket)
		answer(doubts[_i].bucket, doubts[_i].bucket_body);
	serve();
	ck_assert_msg(p->verify(&call, &who) == doubts[_i].err, "%s", error.msg);
	if (doubts[_i].err) {
		ck_assert_pstr_eq(error.reason, doubts[_i].reason);
		ck_assert_msg(strstr(error.msg, doubts[_i].words), "%s", error.msg);
	} else {
		ck_assert_str_eq(who.name, "robot@demo-project.iam.gserviceaccount.com");
	}
	asked();
}
END_TEST

static const struct useless {
	const char *credentials, *words;
} useless[] = {
	{"{\"serviceAccount\":{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key_id\":\"k\",\"private_key\":\"x\"}}", "no project"},
	{"{\"project\":\"demo-project\",\"serviceAccount\":{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key_id\":\"k\",\"private_key\":\"x\"}}", "no region"},
	{"{\"project\":\"demo-project\",\"region\":\"us-central1\",\"bucket\":\"gs://x\",\"serviceAccount\":{\"type\":\"service_account\",\"client_email\":\"a@b\","
	 "\"private_key_id\":\"k\",\"private_key\":\"x\"}}", "no bucket"},
	{"{\"serviceAccount\":{\"type\":\"authorized_user\"}}", "not the key file"},
};

START_TEST(test_credentials_of_no_use)
{
	struct identity who = {0};

	config.vertex_url = "http://127.0.0.1:1";
	be(useless[_i].credentials);
	ck_assert_int_eq(p->verify(&call, &who), ERR_UNAUTHORIZED);
	ck_assert_str_eq(error.reason, "credentials");
	ck_assert_msg(strstr(error.msg, useless[_i].words), "%s", error.msg);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("colab-enterprise");
	TCase *t = tcase_create("colab-enterprise");
	int failed;

	arena_init(&keys, 1 << 20);
	pem = google_key_pem(&keys, 2048);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_names);
	tcase_add_test(t, test_machines);
	tcase_add_test(t, test_launches_that_cannot_work);
	tcase_add_test(t, test_the_region_is_part_of_the_host);
	tcase_add_test(t, test_start);
	tcase_add_test(t, test_no_job_is_made_without_an_end);
	tcase_add_test(t, test_start_that_was_made_already);
	tcase_add_test(t, test_the_id_is_anothers);
	tcase_add_loop_test(t, test_refused_start, 0, ARRAY_LEN(refusals));
	tcase_add_loop_test(t, test_start_whose_answer_makes_no_sense, 0, 2);
	tcase_add_test(t, test_doubt_stays_doubt);
	tcase_add_test(t, test_find);
	tcase_add_test(t, test_list);
	tcase_add_test(t, test_list_that_never_ends);
	tcase_add_loop_test(t, test_poll, 0, ARRAY_LEN(looks));
	tcase_add_loop_test(t, test_state_that_is_none, 0, ARRAY_LEN(no_states));
	tcase_add_loop_test(t, test_a_job_that_is_not_there, 0, ARRAY_LEN(absences));
	tcase_add_test(t, test_no_references);
	tcase_add_test(t, test_stop);
	tcase_add_test(t, test_what_is_not_ours_is_not_ended);
	tcase_add_test(t, test_remove);
	tcase_add_test(t, test_outputs);
	tcase_add_loop_test(t, test_a_notebook_that_is_broken, 0, ARRAY_LEN(broken));
	tcase_add_test(t, test_a_job_that_left_nothing);
	tcase_add_test(t, test_a_bucket_that_is_gone);
	tcase_add_loop_test(t, test_verify, 0, ARRAY_LEN(doubts));
	tcase_add_loop_test(t, test_credentials_of_no_use, 0, ARRAY_LEN(useless));
	suite_add_tcase(s, t);
	failed = unit_run(s);
	arena_free(&keys);
	return failed;
}
