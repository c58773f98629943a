/*
 * Colab through its API, against the stand-in of tests/google: as strict as the
 * real one, with machines that really run the code: the start script, and in
 * it the agent, which here meets a server that does not take its token.
 */
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/http.h"
#include "peer.h"
#include "pg.h"
#include "provider/colab_api.h"
#include "provider/google_token.h"
#include "unit.h"

#define HERE "11111111-2222-4333-8444-555555555555"
#define ELSEWHERE "99999999-2222-4333-8444-555555555555"
#define INTENT "aaaaaaaa-0000-4000-8000-000000000001"
#define OTHER "aaaaaaaa-0000-4000-8000-000000000002"

static struct peer server;
static const char *heard; /* by it, once it was stopped */
static struct http_client *client;
static struct arena arena;
static struct error error;
static struct config config;
static struct secret secret, token;
static int64_t retry_after;

/* ---- the stand-in --------------------------------------------------------- */

static pid_t standin;
static FILE *to, *from;

static struct json *answer(void)
{
	static char line[1 << 16];
	struct json *j;

	ck_assert_msg(fgets(line, sizeof(line), from), "the stand-in ended");
	ck_assert_msg(json_parse(str_of(line), sizeof(line), &j, &error) == OK, "%s: %s", error.msg, line);
	return j;
}

static void start_standin(void)
{
	int in[2], out[2];

	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	standin = fork();
	ck_assert_int_ge(standin, 0);
	if (!standin) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		execl("/usr/bin/python3", "python3", "tests/google/colab_peer.py", (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	to = fdopen(in[1], "w");
	from = fdopen(out[0], "r");
}

/* A line of Python, and its value. */
static int64_t value(const char *python)
{
	cleanup_json struct json *j = NULL;

	fprintf(to, "%s\n", python);
	fflush(to);
	j = answer();
	return json_as_i64(j, json_as_bool(j, false));
}

#define RUNTIMES "len(api.of('ada@example.com'))"
#define CREATES "google.count('colab_api.create')"

static const char *setting(const struct json *settings, const char *name)
{
	return arena_strdup(&arena, json_cstr(settings, name));
}

#define REFUSED                                                                                                              \
	{                                                                                                                    \
		"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\nContent-Length: 32\r\n\r\n"          \
		"{\"title\":\"No\",\"detail\":\"no token\"}",                                                                \
			PEER_HANG_UP                                                                                         \
	}
static const struct peer_answer refusals[] = {REFUSED, REFUSED, REFUSED, REFUSED};

static void setup(void)
{
	cleanup_json struct json *first = NULL;
	cleanup_buf struct buf text = BUF_INIT(1 << 16);
	const struct json *settings;

	crypto_init();
	arena_init(&arena, 64 << 20);
	ck_assert_int_eq(http_client_new(&client), OK);
	start_standin();
	first = answer();
	settings = json_get(first, "settings");
	json_write(json_get(first, "credentials"), &text);
	peer_start(&server, NULL, refusals, ARRAY_LEN(refusals));
	config = (struct config){
		.colab_url = setting(settings, "GPUPOOL_COLAB_URL"),
		.colab_api_url = setting(settings, "GPUPOOL_COLAB_API_URL"),
		.google_oauth_url = setting(settings, "GPUPOOL_GOOGLE_OAUTH_URL"),
		.outgoing_allow = "",
		.colab_poll_seconds = 1,
	};
	secret = secret_new(buf_str(&text));
	token = secret_new(STR("gpe_0123456789012345678901234567890123456789012"));
}

static void teardown(void)
{
	ck_assert_msg(value("google.blameless() or 1") == 1, "the stand-in blames us");
	fclose(to);
	waitpid(standin, NULL, 0);
	fclose(from);
	if (!heard)
		peer_stop(&server);
	peer_free(&server);
	http_client_free(client);
	secret_free(&secret);
	secret_free(&token);
	google_token_forget();
	arena_free(&arena);
}

/* ---- calls ---------------------------------------------------------------- */

static struct provider_call *call(void)
{
	static struct provider_call c;

	error = (struct error){0};
	retry_after = c.retry_after_s;
	c = (struct provider_call){.arena = &arena, .config = &config, .http = client, .secret = &secret, .identity = "ada@example.com",
				   .installation = HERE, .error = &error, .retry_after_s = -1, .deadline_ms = clock_ms() + 150000};
	return &c;
}

static struct launch launch_of(const char *intent)
{
	return (struct launch){.intent = str_of(intent), .worker = 7, .title = "My Run", .accelerator = "gpu", .resource = "gpu", .shape = "T4",
			       .token = &token, .limit_seconds = 3600, .launched_for = 60,
			       .server_url = arena_printf(&arena, "http://127.0.0.1:%d", server.port)};
}

#define MUST(expression) ck_assert_msg((expression) == OK, "%s (%s)", error.msg, error.reason ? error.reason : "")

static struct run started(const char *intent)
{
	struct launch l = launch_of(intent);
	struct run run;

	MUST(provider_colab_api.start(call(), &l, &run));
	return run;
}

static enum err start_fails(void)
{
	struct launch l = launch_of(INTENT);
	struct run run;

	return provider_colab_api.start(call(), &l, &run);
}

static bool reason_is(const char *reason)
{
	return error.reason && !strcmp(error.reason, reason);
}

static struct run_status status_of(struct run run)
{
	struct run_status status;

	MUST(provider_colab_api.poll(call(), &run, &status));
	return status;
}

static bool is_over(void *run)
{
	return status_of(*(struct run *)run).phase == RUN_ENDED;
}

/* ---- names ---------------------------------------------------------------- */

START_TEST(test_names)
{
	char id[COLAB_ID], intent[37];

	ck_assert(colab_api_id(STR(INTENT), HERE, id));
	ck_assert_str_eq(id, "gpupool-11111111222243338444-aaaaaaaa000040008000000000000001");
	ck_assert_uint_le(strlen(id), 63);
	ck_assert(colab_api_intent(str_of(id), HERE, intent));
	ck_assert_str_eq(intent, INTENT);
	ck_assert(!colab_api_intent(str_of(id), ELSEWHERE, intent));
	ck_assert(!colab_api_intent(STR("gpupool-11111111222243338444-aaaaaaaa00004000800000000000000"), HERE, intent));
	ck_assert(!colab_api_intent(STR("gpupool-11111111222243338444-aaaaaaaa00004000800000000000000G"), HERE, intent));
	ck_assert(!colab_api_intent(STR("my-own"), HERE, intent));
	ck_assert(!colab_api_id(STR("x"), HERE, id));
	ck_assert(!colab_api_id(STR(INTENT), NULL, id));
}
END_TEST

START_TEST(test_launch_valid)
{
	struct launch l = launch_of(INTENT);

	ck_assert(provider_colab_api.launch_valid(&l, &error));
	l.shape = NULL;
	ck_assert(!provider_colab_api.launch_valid(&l, &error));
	l = launch_of(INTENT);
	l.inputs = &(struct inputs){.datasets = (const char *[]){"a/b", NULL}, .models = (const char *[]){NULL}, .competitions = (const char *[]){NULL},
				    .kernels = (const char *[]){NULL}};
	ck_assert(!provider_colab_api.launch_valid(&l, &error));
}
END_TEST

/* ---- a life --------------------------------------------------------------- */

START_TEST(test_a_run)
{
	struct run run = started(INTENT), found;
	struct launch l = launch_of(INTENT);
	struct run_status status;
	struct outputs out;
	struct run_list list;

	ck_assert_int_eq(value(RUNTIMES), 1);
	ck_assert(strstr(run.url, "/notebooks/empty.ipynb?dbu=%2Ftun%2Fm%2Ft4-s-"));
	MUST(provider_colab_api.find(call(), &l, &found));
	ck_assert(!found.unfinished);
	ck_assert(str_eq(found.reference, run.reference));
	MUST(provider_colab_api.list(call(), &list));
	ck_assert_uint_eq(list.count, 1);
	ck_assert(str_eqz(list.items[0].intent, INTENT) && list.items[0].live && str_eq(list.items[0].run.reference, run.reference));

	/* The agent was refused by our server, and says so; its machine goes on until it is given back. */
	ck_assert(wait_for(is_over, &run, 60000));
	status = status_of(run);
	ck_assert(status.held && !status.orderly);
	ck_assert_str_eq(status.code, "error");
	MUST(provider_colab_api.outputs(call(), &run, &out));
	heard = peer_stop(&server);
	ck_assert_msg(strstr(heard, "POST /api/gpu/workers/auto-register"), "%.*s", STR_ARG(out.log));
	ck_assert(memmem(out.log.ptr, out.log.len, "GPUs seen: Tesla T4", 19));
	ck_assert_msg(strstr(out.reason, "status 3"), "%s", out.reason);
	ck_assert(!memmem(out.whole_log.ptr, out.whole_log.len, token.ptr, token.len));

	MUST(provider_colab_api.stop(call(), &run, false));
	ck_assert_int_eq(value(RUNTIMES), 0);
	MUST(provider_colab_api.stop(call(), &run, true));
	MUST(provider_colab_api.remove(call(), &run));
	status = status_of(run);
	ck_assert(status.phase == RUN_ENDED && !status.held);
	ck_assert_str_eq(status.code, "gone");
	ck_assert_int_eq(provider_colab_api.outputs(call(), &run, &out), ERR_GONE);
	ck_assert_int_eq(provider_colab_api.find(call(), &l, &found), ERR_NOT_FOUND);
}
END_TEST

START_TEST(test_same_intent_same_runtime)
{
	struct run first = started(INTENT), second = started(INTENT);

	ck_assert(str_eq(first.reference, second.reference));
	ck_assert_int_eq(value(RUNTIMES), 1);
}
END_TEST

START_TEST(test_runtime_that_exists_already)
{
	value("api.requests.clear()");
	struct run first = started(INTENT), second;

	value("api.requests.clear()"); /* Colab has forgotten the request, and says that the name is taken */
	second = started(INTENT);
	ck_assert(str_eq(first.reference, second.reference));
	ck_assert_int_eq(value(RUNTIMES), 1);
}
END_TEST

START_TEST(test_slow_operation)
{
	value("person.polls = 6");
	started(INTENT);
	ck_assert_int_ge(value("google.count('colab_api.wait')"), 6);
}
END_TEST

START_TEST(test_operation_that_takes_too_long)
{
	struct launch l = launch_of(INTENT);
	struct provider_call *c;
	struct run run;

	value("person.polls = 1000000");
	c = call();
	c->deadline_ms = clock_ms() + 47000; /* what is left for the rest is kept */
	ck_assert_int_eq(provider_colab_api.start(c, &l, &run), ERR_UNAVAILABLE);
	ck_assert(reason_is("unsettled"));
	ck_assert_int_eq(provider_colab_api.find(call(), &l, &run), ERR_UNAVAILABLE);
	ck_assert(reason_is("unsettled"));
	/* It comes to be when nobody looks. */
	value("[setattr(o, 'left', 1) for o in api.operations.values()] and None");
	value("[api.step(o) or api.step(o) for o in api.operations.values()] and None");
	MUST(provider_colab_api.find(call(), &l, &run));
	ck_assert(run.unfinished);
	started(INTENT);
	MUST(provider_colab_api.find(call(), &l, &run));
	ck_assert(!run.unfinished);
	ck_assert_int_eq(value(RUNTIMES), 1);
}
END_TEST

START_TEST(test_find_of_what_was_just_sent)
{
	struct launch l = launch_of(INTENT);
	struct run run;

	l.launched_for = 1;
	ck_assert_int_eq(provider_colab_api.find(call(), &l, &run), ERR_UNAVAILABLE);
	ck_assert(reason_is("unsettled"));
}
END_TEST

START_TEST(test_list_shows_ours_only)
{
	struct run_list list;
	struct run run = started(INTENT);

	value("person.most = 3");
	struct provider_call *c = call();
	struct launch l = launch_of(OTHER);
	c->installation = ELSEWHERE;
	MUST(provider_colab_api.start(c, &l, &run));
	ck_assert_int_eq(value(RUNTIMES), 2);
	MUST(provider_colab_api.list(call(), &list));
	ck_assert_uint_eq(list.count, 1);
	ck_assert(str_eqz(list.items[0].intent, INTENT));
	/* What another installation has started is not touched. */
	ck_assert_int_eq(provider_colab_api.stop(call(), &run, true), ERR_INVALID);
	ck_assert_int_eq(value(RUNTIMES), 2);
}
END_TEST

/* ---- refusals ------------------------------------------------------------- */

static const struct {
	const char *switches;
	enum err err;
	const char *reason;
	enum provider_verdict verdict;
	const char *words;
} refused[] = {
	{"person.refuse = 'too_many'", ERR_QUOTA, "capacity", VERDICT_CAPACITY, "at once"},
	{"person.refuse = 'quota'", ERR_QUOTA, "quota", VERDICT_QUOTA, "for now"},
	{"person.refuse = 'denylisted'", ERR_FORBIDDEN, "denylisted", VERDICT_HUMAN, "barred"},
	{"person.refuse = 'no_machine'", ERR_QUOTA, "capacity", VERDICT_CAPACITY, "no gpu free"},
	{"person.refuse = 'no_reason'", ERR_QUOTA, "capacity", VERDICT_CAPACITY, "Internal error"},
	{"person.eligible = {'NONE'}", ERR_FORBIDDEN, "not_eligible", VERDICT_HUMAN, "compute units"},
	{"person.enabled = False", ERR_FORBIDDEN, "account", VERDICT_HUMAN, "https://console.cloud.google.com/apis/library/colaboratory.googleapis.com"},
	{"person.enabled = 'allowlist'", ERR_FORBIDDEN, "account", VERDICT_HUMAN, "admit"},
	{"person.grant = []", ERR_QUOTA, "capacity", VERDICT_CAPACITY, "without a GPU"},
	{"google.oauth.withdraw()", ERR_UNAUTHORIZED, "credentials", VERDICT_HUMAN, "consent"},
	{"google.fault('colab_api.create', 429, retry_after=7) and None", ERR_RATE, "rate", VERDICT_RETRY, "fewer calls"},
	{"google.fault('colab_api.create', 503) and None", ERR_UNAVAILABLE, NULL, VERDICT_RETRY, "503"},
	{"google.fault('colab_api.create', 'html') and None", ERR_UPSTREAM, NULL, VERDICT_RETRY, "JSON"},
	{"google.fault('colab_api.create', 'shape', change=lambda d: {'name': 'x', 'done': False}) and None", ERR_UPSTREAM, NULL, VERDICT_RETRY,
	 "operation"},
	{"google.fault('colab_api.get', 'shape', change=lambda d: d['connectionInfo'].update(url='https://x.test/\\r\\nA: b')) and None", ERR_UPSTREAM,
	 NULL, VERDICT_RETRY, "reached"},
	{"google.fault('colab_api.get', 'shape', change=lambda d: d['connectionInfo'].update(url='http://192.0.2.1')) and None", ERR_UPSTREAM, NULL,
	 VERDICT_RETRY, "reached"},
	{"google.fault('colab_api.get', 'shape', change=lambda d: d.update(name='runtimes/another')) and None", ERR_UPSTREAM, NULL, VERDICT_RETRY,
	 "another runtime"},
};

START_TEST(test_refusal)
{
	enum err err;

	value(refused[_i].switches);
	err = start_fails();
	ck_assert_msg(err == refused[_i].err, "%s: %s, %s", refused[_i].switches, err_name(err), error.msg);
	ck_assert_msg(refused[_i].reason ? reason_is(refused[_i].reason) : !error.reason, "%s: %s", refused[_i].switches, error.reason);
	ck_assert_int_eq(provider_verdict(err, &error), refused[_i].verdict);
	ck_assert_msg(strstr(error.msg, refused[_i].words), "%s", error.msg);
	ck_assert_msg(strlen(error.msg) < sizeof(error.msg) - 1, "the sentence is cut: %s", error.msg);
	if (refused[_i].err == ERR_QUOTA || refused[_i].err == ERR_FORBIDDEN)
		ck_assert_int_eq(value(RUNTIMES), 0);
	call();
	if (refused[_i].err == ERR_RATE)
		ck_assert_int_eq(retry_after, 7);
}
END_TEST

START_TEST(test_lost_reply_of_the_create)
{
	struct launch l = launch_of(INTENT);
	struct run run;

	value("person.polls = 0");
	value("google.fault('colab_api.create', 'reset_after') and None");
	ck_assert_int_eq(start_fails(), ERR_UNAVAILABLE);
	MUST(provider_colab_api.find(call(), &l, &run));
	ck_assert(run.unfinished);
	started(INTENT);
	ck_assert_int_eq(value(RUNTIMES), 1);
}
END_TEST

START_TEST(test_access_token_that_was_withdrawn)
{
	started(INTENT);
	value("google.oauth.drop_access_tokens()");
	struct run_list list;

	MUST(provider_colab_api.list(call(), &list));
	ck_assert_uint_eq(list.count, 1);
}
END_TEST

/* ---- the kernel ----------------------------------------------------------- */

#define EXECUTED "len(jupyter.executed)"

START_TEST(test_connection_that_breaks_before)
{
	value("jupyter.abrupt = 'before'");
	value("jupyter.abrupt_left = 2");
	started(INTENT);
	ck_assert_int_eq(value(EXECUTED), 1);
}
END_TEST

START_TEST(test_connection_that_breaks_after)
{
	value("jupyter.abrupt = 'after'");
	value("jupyter.abrupt_left = 1");
	started(INTENT);
	ck_assert_int_eq(value(EXECUTED), 1); /* the log was there: not once more */
}
END_TEST

START_TEST(test_connection_that_always_breaks)
{
	struct launch l = launch_of(INTENT);
	struct run run;

	value("jupyter.abrupt = 'before'");
	value("jupyter.abrupt_left = 100");
	ck_assert_int_eq(start_fails(), ERR_UNAVAILABLE);
	ck_assert(reason_is("runtime"));
	MUST(provider_colab_api.find(call(), &l, &run));
	ck_assert(run.unfinished);
}
END_TEST

START_TEST(test_code_that_fails)
{
	value("jupyter.error = 100");
	ck_assert_int_eq(start_fails(), ERR_UNAVAILABLE);
	ck_assert_msg(strstr(error.msg, "OSError: no space left"), "%s", error.msg);
	value("jupyter.error = 1");
	started(INTENT);
}
END_TEST

START_TEST(test_drive_is_declined)
{
	value("jupyter.drive = True");
	started(INTENT);
	ck_assert_int_eq(value("len(jupyter.declined)"), 1);
	ck_assert_int_eq(value("'gives no access' in jupyter.declined[0]"), 1);
}
END_TEST

START_TEST(test_token_near_its_end)
{
	value("person.token_life = 200"); /* always in its last minutes: asked anew before each use */
	started(INTENT);
	ck_assert_int_ge(value("google.count('colab_api.get')"), 3);
}
END_TEST

START_TEST(test_token_that_is_refused)
{
	value("google.fault('jupyter.session', 403) and None");
	value("google.fault('jupyter.channels', 401) and None");
	started(INTENT);
	ck_assert_int_eq(value("google.count('colab_api.get')"), 3);
}
END_TEST

START_TEST(test_runtime_that_is_silent)
{
	struct run run = started(INTENT);

	value("google.fault('jupyter', 502, times=None) and None");
	ck_assert_int_eq(status_of(run).phase, RUN_LIVE);
	ck_assert(!error.msg[0]);
}
END_TEST

/* ---- keep-alive ----------------------------------------------------------- */

#define TOLD "google.count('colab.keep_alive')"

START_TEST(test_alive_while_busy_only)
{
	struct run run = started(INTENT);

	run.heard = true;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(status_of(run).phase, RUN_LIVE);
	ck_assert_int_eq(value(TOLD), 0);
	run.busy = true;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(status_of(run).phase, RUN_LIVE);
	ck_assert_int_eq(value(TOLD), 1); /* not at every look */
}
END_TEST

START_TEST(test_alive_that_is_never_answered)
{
	struct run run = started(INTENT);
	int64_t begun = clock_ms();

	value("tunnel.hang = True");
	run.busy = run.heard = true;
	ck_assert_int_eq(status_of(run).phase, RUN_LIVE);
	ck_assert_int_ge(clock_ms() - begun, 9500);
	ck_assert_int_lt(clock_ms() - begun, 25000);
	ck_assert(!error.msg[0]);
}
END_TEST

static bool told(void *want)
{
	return value(TOLD) >= *(const int64_t *)want;
}

START_TEST(test_alive_refused_twice)
{
	struct run run = started(INTENT);
	int64_t begun;

	value("google.fault('colab.keep_alive', 404, times=None) and None");
	run.busy = run.heard = true;
	/* The runtime itself is there: that a run is over is not said by this call. */
	for (int64_t n = 1; n <= 2; n++)
		for (begun = clock_ms(); !told(&n);) {
			ck_assert_int_eq(status_of(run).phase, RUN_LIVE);
			ck_assert_int_lt(clock_ms() - begun, 60000);
			clock_sleep_ms(100);
		}
	for (begun = clock_ms(); clock_ms() - begun < 4000; clock_sleep_ms(100))
		ck_assert_int_eq(status_of(run).phase, RUN_LIVE);
	ck_assert_int_eq(value(TOLD), 2);
}
END_TEST

START_TEST(test_alive_of_a_runtime_that_is_gone)
{
	struct run run = started(INTENT);

	value("[api.end(r) for r in api.of('ada@example.com')] and None");
	run.busy = run.heard = true;
	ck_assert_str_eq(status_of(run).code, "gone");
}
END_TEST

/* ---- messages ------------------------------------------------------------- */

static bool take(struct colab_execution *x, const char *text)
{
	cleanup_json struct json *m = NULL;

	ck_assert_msg(json_parse(str_of(text), 1 << 16, &m, &error) == OK, "%s: %s", error.msg, text);
	return colab_message_take(x, m);
}

#define OF(id) "\"parent_header\":{\"msg_id\":\"" id "\"},\"metadata\":{}"
#define HEAD(type) "\"header\":{\"msg_type\":\"" type "\"},"

START_TEST(test_messages)
{
	struct colab_execution x = {.msg_id = "m1"};

	ck_assert(!take(&x, "{}"));
	ck_assert(!take(&x, "[]"));
	ck_assert(!take(&x, "{\"header\":{\"msg_type\":5}}"));
	/* Of another request: nothing of it counts. */
	ck_assert(take(&x, "{" HEAD("status") OF("m0") ",\"channel\":\"iopub\",\"content\":{\"execution_state\":\"idle\"}}"));
	ck_assert(take(&x, "{" HEAD("execute_reply") OF("m0") ",\"channel\":\"shell\",\"content\":{\"status\":\"ok\"}}"));
	ck_assert(!x.idle && !x.replied);
	/* Either comes first. */
	ck_assert(take(&x, "{" HEAD("status") OF("m1") ",\"channel\":\"iopub\",\"content\":{\"execution_state\":\"busy\"}}"));
	ck_assert(take(&x, "{" HEAD("stream") OF("m1") ",\"channel\":\"iopub\",\"content\":{\"name\":\"stdout\",\"text\":\"hello\\n\"}}"));
	ck_assert(take(&x, "{" HEAD("status") OF("m1") ",\"channel\":\"iopub\",\"content\":{\"execution_state\":\"idle\"}}"));
	ck_assert(x.idle && !x.replied);
	ck_assert(take(&x, "{" HEAD("execute_reply") OF("m1") ",\"channel\":\"shell\",\"content\":{\"status\":\"aborted\"}}"));
	ck_assert(x.replied && x.result.failed);
	ck_assert_str_eq(x.result.said, "hello\n\n: ");
	/* A reply on the wrong channel is none. */
	x = (struct colab_execution){.msg_id = "m1"};
	ck_assert(take(&x, "{" HEAD("execute_reply") OF("m1") ",\"channel\":\"iopub\",\"content\":{\"status\":\"ok\"}}"));
	ck_assert(!x.replied);
}
END_TEST

START_TEST(test_much_is_said)
{
	cleanup_buf struct buf text = BUF_INIT(1 << 16);
	struct colab_execution x = {.msg_id = "m1"};

	buf_adds(&text, "{" HEAD("stream") OF("m1") ",\"channel\":\"iopub\",\"content\":{\"text\":\"");
	for (int i = 0; i < 3000; i++)
		buf_addc(&text, 'x');
	buf_adds(&text, "END\"}}");
	for (int i = 0; i < 3; i++)
		ck_assert(take(&x, text.ptr));
	ck_assert_uint_eq(strlen(x.result.said), COLAB_SAID - 1);
	ck_assert_str_eq(x.result.said + COLAB_SAID - 4, "END");
	ck_assert(take(&x, "{" HEAD("stream") OF("m1") ",\"channel\":\"iopub\",\"content\":{\"text\":\"last\"}}"));
	ck_assert_str_eq(x.result.said + COLAB_SAID - 8, "ENDlast");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("colab_api");
	TCase *t = tcase_create("names");

	tcase_set_timeout(t, 120);
	tcase_add_unchecked_fixture(t, crypto_init, NULL);
	tcase_add_test(t, test_messages);
	tcase_add_test(t, test_much_is_said);
	suite_add_tcase(s, t);
	t = tcase_create("colab_api");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 180);
	tcase_add_test(t, test_names);
	tcase_add_test(t, test_launch_valid);
	tcase_add_test(t, test_same_intent_same_runtime);
	tcase_add_test(t, test_runtime_that_exists_already);
	tcase_add_test(t, test_slow_operation);
	tcase_add_test(t, test_operation_that_takes_too_long);
	tcase_add_test(t, test_find_of_what_was_just_sent);
	tcase_add_test(t, test_list_shows_ours_only);
	tcase_add_loop_test(t, test_refusal, 0, ARRAY_LEN(refused));
	tcase_add_test(t, test_lost_reply_of_the_create);
	tcase_add_test(t, test_access_token_that_was_withdrawn);
	tcase_add_test(t, test_connection_that_breaks_before);
	tcase_add_test(t, test_connection_that_breaks_after);
	tcase_add_test(t, test_connection_that_always_breaks);
	tcase_add_test(t, test_code_that_fails);
	tcase_add_test(t, test_drive_is_declined);
	tcase_add_test(t, test_token_near_its_end);
	tcase_add_test(t, test_token_that_is_refused);
	tcase_add_test(t, test_runtime_that_is_silent);
	tcase_add_test(t, test_alive_while_busy_only);
	tcase_add_test(t, test_alive_that_is_never_answered);
	tcase_add_test(t, test_alive_refused_twice);
	tcase_add_test(t, test_alive_of_a_runtime_that_is_gone);
	suite_add_tcase(s, t);
	t = tcase_create("life");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 180);
	tcase_add_test(t, test_a_run);
	suite_add_tcase(s, t);
	return unit_run(s);
}
