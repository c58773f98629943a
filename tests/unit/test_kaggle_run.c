/*
 * The Kaggle provider against the stand-in of tests/kaggle, as strict as the
 * real one, which really runs what is pushed: the start script, and in it the
 * agent, which here meets a server that does not take its token.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/http.h"
#include "local.h"
#include "peer.h"
#include "pg.h"
#include "provider/kaggle.h"
#include "unit.h"

#define KEY "0123456789abcdef0123456789abcdef"
#define HERE "11111111-2222-4333-8444-555555555555"

static pid_t standin;
static FILE *told;
static char base[128];
static struct peer server;
static struct http_client *client;
static struct arena arena;
static struct error error;
static struct config config;
static struct secret secret, token;

#define REFUSED                                                                                                              \
	{                                                                                                                    \
		"HTTP/1.1 401 Unauthorized\r\nContent-Type: application/problem+json\r\nContent-Length: 32\r\n\r\n"          \
		"{\"title\":\"No\",\"detail\":\"no token\"}",                                                                \
			PEER_HANG_UP                                                                                         \
	}
static const struct peer_answer refusals[] = {REFUSED, REFUSED, REFUSED, REFUSED};

static void start_standin(void)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	standin = fork();
	ck_assert_int_ge(standin, 0);
	if (!standin) {
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		execl("/usr/bin/python3", "python3", "tests/kaggle/standin.py", "--account", "alice:" KEY, "--token", "alice:KGAT_standin", (char *)NULL);
		_exit(127);
	}
	close(ends[1]);
	told = fdopen(ends[0], "r");
	ck_assert_msg(told && fgets(base, sizeof(base), told), "the stand-in does not start");
	base[strcspn(base, "\n")] = '\0';
}

static void setup(void)
{
	crypto_init();
	arena_init(&arena, 64 << 20);
	ck_assert_int_eq(http_client_new(&client), OK);
	start_standin();
	peer_start(&server, NULL, refusals, ARRAY_LEN(refusals));
	config = (struct config){.kaggle_url = base, .kaggle_settle_seconds = 1, .outgoing_allow = ""};
	secret = secret_new(STR("{\"username\":\"alice\",\"key\":\"" KEY "\"}"));
	token = secret_new(STR("gpe_0123456789012345678901234567890123456789012"));
}

static void teardown(void)
{
	kill(standin, SIGINT);
	waitpid(standin, NULL, 0);
	fclose(told);
	peer_stop(&server);
	peer_free(&server);
	http_client_free(client);
	secret_free(&secret);
	secret_free(&token);
	arena_free(&arena);
}

static struct provider_call *call(void)
{
	static struct provider_call c;

	error = (struct error){0};
	c = (struct provider_call){.arena = &arena, .config = &config, .http = client, .secret = &secret, .identity = "alice", .installation = HERE,
				   .error = &error, .retry_after_s = -1, .deadline_ms = clock_ms() + 60000};
	return &c;
}

static struct launch launch_of(const char *intent)
{
	return (struct launch){.intent = str_of(intent), .worker = 7, .title = "My Run", .name = "gpupool-my-run", .accelerator = "gpu",
			       .resource = "gpu", .shape = "NvidiaTeslaT4", .token = &token, .limit_seconds = 3600,
			       .server_url = arena_printf(&arena, "http://127.0.0.1:%d", server.port)};
}

#define MUST(expression) ck_assert_msg((expression) == OK, "%s", error.msg)

static bool is_over(void *ctx)
{
	struct run_status status;

	MUST(provider_kaggle.poll(call(), ctx, &status));
	return status.phase == RUN_ENDED;
}

static bool has_log(void *ctx)
{
	struct outputs out;
	enum err err = provider_kaggle.outputs(call(), ctx, &out);

	ck_assert_msg(err == OK || err == ERR_NOT_FOUND, "%s", error.msg);
	return !err;
}

START_TEST(test_accounts)
{
	struct identity who = {0};
	struct usage_list usage;

	MUST(provider_kaggle.verify(call(), &who));
	ck_assert_str_eq(who.name, "alice");
	MUST(provider_kaggle.usage(call(), &usage));
	ck_assert_uint_eq(usage.count, 2);
	ck_assert_int_eq(usage.items[0].limit_seconds, 108000);
	ck_assert_int_gt(usage.items[0].resets_at, 0);
	secret_free(&secret);
	secret = secret_new(STR("{\"token\":\"KGAT_standin\"}"));
	MUST(provider_kaggle.verify(call(), &who));
	ck_assert_str_eq(who.name, "alice");
	secret_free(&secret);
	secret = secret_new(STR("{\"token\":\"KGAT_other\"}"));
	ck_assert_int_eq(provider_kaggle.verify(call(), &who), ERR_UNAUTHORIZED);
	secret_free(&secret);
	secret = secret_new(STR("{\"username\":\"bob\",\"key\":\"" KEY "\"}"));
	ck_assert_int_eq(provider_kaggle.verify(call(), &who), ERR_UNAUTHORIZED);
}
END_TEST

START_TEST(test_a_run_from_push_to_removal)
{
	struct launch first = launch_of("0b5f4f4e-7c1a-4d8e-9a53-1f0f5c8e2d11"), second = launch_of("1c5f4f4e-7c1a-4d8e-9a53-1f0f5c8e2d22");
	struct run run, found, again;
	struct run_status status;
	struct run_list list;
	struct outputs out;

	second.launched_for = 10;
	ck_assert_int_eq(provider_kaggle.find(call(), &second, &run), ERR_NOT_FOUND);
	MUST(provider_kaggle.start(call(), &first, &run));
	MUST(provider_kaggle.find(call(), &first, &found));
	ck_assert_str_eq(run.url, "https://www.kaggle.com/code/alice/gpupool-my-run");
	ck_assert(wait_for(is_over, &run, 60000));
	MUST(provider_kaggle.poll(call(), &run, &status));
	ck_assert_str_eq(status.code, "error");
	ck_assert(wait_for(has_log, &run, 5000));
	MUST(provider_kaggle.outputs(call(), &run, &out));
	ck_assert_msg(out.code && !strcmp(out.code, "token"), "%.*s", STR_ARG(out.log));
	ck_assert_ptr_nonnull(strstr(out.whole_log.ptr, "gpupool: GPUs seen: Tesla T4, Tesla T4\n"));
	ck_assert_ptr_nonnull(strstr(out.whole_log.ptr, "gpupool: the agent ended with status 3: "));
	ck_assert_ptr_null(strstr(out.whole_log.ptr, "gpe_0123"));
	ck_assert_uint_eq(out.file_count, 1); /* and not ../x */
	ck_assert_str_eq(out.files[0].name, "results/out.json");
	ck_assert(str_eqz(out.files[0].content, "{\"ok\": true}\n"));
	/* The same notebook again. */
	MUST(provider_kaggle.start(call(), &second, &again));
	ck_assert_ptr_nonnull(strstr(again.reference.ptr, "\"version\":2"));
	MUST(provider_kaggle.stop(call(), &again, false));
	ck_assert(wait_for(is_over, &again, 60000));
	MUST(provider_kaggle.list(call(), &list));
	ck_assert_uint_eq(list.count, 1);
	ck_assert(str_eq(list.items[0].intent, second.intent));
	ck_assert_int_eq(list.items[0].worker, 7);
	MUST(provider_kaggle.remove(call(), &again));
	MUST(provider_kaggle.remove(call(), &again));
	MUST(provider_kaggle.list(call(), &list));
	ck_assert_uint_eq(list.count, 0);
	pthread_mutex_lock(&server.lock);
	ck_assert_ptr_nonnull(strstr(server.received.ptr, "POST /api/gpu/workers/auto-register"));
	ck_assert_ptr_nonnull(strstr(server.received.ptr, "Bearer gpe_0123456789012345678901234567890123456789012"));
	ck_assert_ptr_nonnull(strstr(server.received.ptr, "\"provider\":\"kaggle\""));
	pthread_mutex_unlock(&server.lock);
}
END_TEST

START_TEST(test_refusals)
{
	static const char *const datasets[] = {"alice/none", NULL}, *const none[] = {NULL};
	struct inputs in = {datasets, none, none, none};
	struct launch l = launch_of("0b5f4f4e-7c1a-4d8e-9a53-1f0f5c8e2d11");
	struct run_list list;
	struct run run;

	l.inputs = &in;
	ck_assert_int_eq(provider_kaggle.start(call(), &l, &run), ERR_INVALID);
	ck_assert_str_eq(error.reason, "inputs");
	ck_assert_ptr_nonnull(strstr(error.msg, "dataset alice/none"));
	MUST(provider_kaggle.list(call(), &list));
	ck_assert_uint_eq(list.count, 0); /* nothing is left behind */
	l.inputs = NULL;
	l.shape = "NvidiaUnknown";
	ck_assert_int_eq(provider_kaggle.start(call(), &l, &run), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(error.msg, "Unknown machineShape"));
}
END_TEST

#ifdef GPUPOOL_TEST

/* A process that dies at this point of a call, as a provisioner that is killed there. */
static void dies_at(const char *point, enum err (*work)(void *), void *ctx)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		ck_assert_int_eq(http_client_new(&client), OK); /* its own connections */
		crashpoint_arm(point);
		(void)!work(ctx);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, "%s was not passed", point);
}

static enum err begin(void *l)
{
	struct run run;

	return provider_kaggle.start(call(), l, &run);
}

static enum err insist(void *run)
{
	return provider_kaggle.stop(call(), run, true);
}

static enum err take_away(void *run)
{
	return provider_kaggle.remove(call(), run);
}

START_TEST(test_killed_at_each_point_one_run_or_none)
{
	struct launch l = launch_of("0b5f4f4e-7c1a-4d8e-9a53-1f0f5c8e2d11"), next = launch_of("1c5f4f4e-7c1a-4d8e-9a53-1f0f5c8e2d22");
	struct run run, same;
	struct run_status status;
	struct run_list list;

	l.launched_for = next.launched_for = 10;
	dies_at("kaggle.push", begin, &l);
	ck_assert_int_eq(provider_kaggle.find(call(), &l, &run), ERR_NOT_FOUND);
	dies_at("kaggle.pushed", begin, &l);
	MUST(provider_kaggle.find(call(), &l, &run));
	/* The same start again finds it, and pushes nothing. */
	MUST(provider_kaggle.start(call(), &l, &same));
	ck_assert_ptr_nonnull(strstr(same.reference.ptr, "\"version\":1"));
	ck_assert(wait_for(is_over, &run, 60000));
	dies_at("kaggle.pushed", begin, &next);
	MUST(provider_kaggle.find(call(), &next, &run));
	ck_assert_ptr_nonnull(strstr(run.reference.ptr, "\"version\":2"));
	dies_at("kaggle.delete", insist, &run);
	MUST(provider_kaggle.poll(call(), &run, &status)); /* it is still there */
	MUST(provider_kaggle.stop(call(), &run, true));
	ck_assert_int_eq(provider_kaggle.find(call(), &next, &same), ERR_NOT_FOUND);
	MUST(provider_kaggle.start(call(), &l, &run));
	dies_at("kaggle.remove", take_away, &run);
	MUST(provider_kaggle.list(call(), &list));
	ck_assert_uint_eq(list.count, 1);
	MUST(provider_kaggle.remove(call(), &run));
	MUST(provider_kaggle.list(call(), &list));
	ck_assert_uint_eq(list.count, 0);
}
END_TEST

#endif

int main(void)
{
	Suite *s = suite_create("kaggle run");
	TCase *t = tcase_create("kaggle run");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, test_accounts);
	tcase_add_test(t, test_a_run_from_push_to_removal);
	tcase_add_test(t, test_refusals);
#ifdef GPUPOOL_TEST
	tcase_add_test(t, test_killed_at_each_point_one_run_or_none);
#else
	printf("skipped: crash points are not in this build (the asan build has them)\n");
#endif
	suite_add_tcase(s, t);
	return unit_run(s);
}
