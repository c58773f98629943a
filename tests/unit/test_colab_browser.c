/*
 * Colab through a real Chromium, against the small Colab of tests/google/minicolab,
 * which really runs the notebook: here the agent in it finds no server, and goes on
 * trying for a minute.
 */
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/http.h"
#include "provider/colab_browser.h"
#include "unit.h"

#define INTENT "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeee%02d"
#define HERE "11111111-2222-4333-8444-555555555555"
#define PASSWORD "correct horse battery"

static pid_t standin;
static FILE *told;
static int held;            /* its standard input: it ends with this */
static char colab[64], accounts[64], dir[PATH_MAX], intent[40];
static struct http_client *client;
static struct arena arena;
static struct error error;
static struct config config;
static struct secret secret, token;
static struct provider_call call;

static void start_standin(void)
{
	int out[2], in[2];

	ck_assert(pipe(out) == 0 && pipe(in) == 0);
	standin = fork();
	if (!standin) {
		dup2(out[1], STDOUT_FILENO);
		dup2(in[0], STDIN_FILENO);
		for (int i = 3; i < 64; i++)
			close(i);
		execl("/usr/bin/python3", "python3", "tests/google/minicolab/minicolab.py", (char *)NULL);
		_exit(127);
	}
	close(out[1]);
	close(in[0]);
	held = in[1];
	told = fdopen(out[0], "r");
	ck_assert_msg(told && fscanf(told, "%63s %63s", colab, accounts) == 2, "the stand-in does not start");
}

static void setup(void)
{
	crypto_init();
	arena_init(&arena, 256 << 20);
	ck_assert_int_eq(http_client_new(&client), OK);
	snprintf(dir, sizeof(dir), "/tmp/gpupool-colab-XXXXXX");
	ck_assert(mkdtemp(dir));
	start_standin();
	config = (struct config){.colab_url = colab, .google_accounts_url = accounts, .chromium = "/usr/bin/chromium",
				 .chromedriver = "/usr/bin/chromedriver", .browser_dir = dir, .colab_browser = true};
	secret = secret_new(STR("{\"email\":\"alice@example.com\",\"password\":\"" PASSWORD "\"}"));
	token = secret_new(STR("gpe_0123456789012345678901234567890123456789012"));
}

static void teardown(void)
{
	char command[PATH_MAX + 16];

	snprintf(command, sizeof(command), "%s/7", dir);
	wd_process_end_in(command);
	close(held);
	waitpid(standin, NULL, 0);
	fclose(told);
	secret_free(&secret);
	secret_free(&token);
	http_client_free(client);
	arena_free(&arena);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

static struct provider_call *c(int64_t ms)
{
	error = (struct error){0};
	call = (struct provider_call){.arena = &arena, .config = &config, .http = client, .secret = &secret, .installation = HERE, .account = 7,
				      .deadline_ms = clock_ms() + ms, .error = &error, .retry_after_s = -1};
	return &call;
}

static void set(const char *switches)
{
	struct http_reply reply;
	char url[96];

	snprintf(url, sizeof(url), "%s/_test", colab);
	ck_assert_int_eq(http_send(client, &arena, &(struct http_call){.method = "POST", .url = url, .body = str_of(switches)}, &reply, NULL), OK);
	ck_assert_int_eq(reply.status, 200);
}

static const char *events(void)
{
	struct http_reply reply;
	char url[96];

	snprintf(url, sizeof(url), "%s/_test", colab);
	ck_assert_int_eq(http_send(client, &arena, &(struct http_call){.url = url}, &reply, NULL), OK);
	return reply.body.ptr;
}

static int count(const char *what)
{
	const char *text = events();
	char quoted[64];
	int n = 0;

	snprintf(quoted, sizeof(quoted), "[\"%s\"", what);
	for (const char *p = text; (p = strstr(p, quoted)); p++)
		n++;
	return n;
}

static void sign_in(void)
{
	struct identity who;

	ck_assert_msg(provider_colab_browser.verify(c(60000), &who) == OK, "%s", error.msg);
	ck_assert_str_eq(who.name, "alice@example.com");
	secret_free(&secret);
	secret = secret_new(STR("{\"email\":\"alice@example.com\"}"));
}

static struct launch launch(int n, const char *shape)
{
	snprintf(intent, sizeof(intent), INTENT, n);
	return (struct launch){.intent = str_of(intent), .worker = 3, .title = "first light", .accelerator = "T4",
			       .resource = strcmp(shape, "NONE") ? "gpu" : "cpu", .shape = shape, .token = &token,
			       .server_url = "http://127.0.0.1:1", .limit_seconds = 3600};
}

static enum err start(int n, const char *shape, struct run *run)
{
	struct launch l = launch(n, shape);

	return provider_colab_browser.start(c(150000), &l, run);
}

static void started(int n, const char *shape, struct run *run)
{
	ck_assert_msg(start(n, shape, run) == OK, "%s", error.msg);
}

static struct run_status polled(const struct run *run)
{
	struct run_status status;

	ck_assert_msg(provider_colab_browser.poll(c(60000), run, &status) == OK, "%s", error.msg);
	return status;
}

static struct run_status ends(const struct run *run)
{
	int64_t until = clock_ms() + 90000;
	struct run_status status;

	while ((status = polled(run)).phase != RUN_ENDED && clock_ms() < until)
		clock_sleep_ms(100);
	ck_assert_int_eq(status.phase, RUN_ENDED);
	return status;
}

/* ---- the way through -------------------------------------------------------- */

START_TEST(test_there_and_back)
{
	struct launch l = launch(1, "T4");
	struct identity who;
	struct run run, again;
	struct stat st;
	char path[PATH_MAX + 32];

	ck_assert_int_eq(provider_colab_browser.check(c(20000)), OK);
	sign_in();
	ck_assert_int_eq(count("signed_in"), 1);
	/* Known from now on, without a browser. */
	config.chromedriver = "/nowhere";
	ck_assert_int_eq(provider_colab_browser.verify(c(60000), &who), OK);
	config.chromedriver = "/usr/bin/chromedriver";
	snprintf(path, sizeof(path), "%s/7", dir);
	ck_assert(stat(path, &st) == 0 && (st.st_mode & 0777) == 0700);

	ck_assert_int_eq(provider_colab_browser.find(c(20000), &l, &run), ERR_NOT_FOUND);
	started(1, "T4", &run);
	ck_assert_msg(strstr(events(), "\"T4\""), "%s", events());
	ck_assert(strstr(run.url, "/drive/") && !strchr(run.url, '?'));
	snprintf(path, sizeof(path), "%s/7/gpupool-first-light.ipynb", dir);
	ck_assert_int_ne(access(path, F_OK), 0);
	/* Sent once more it is the same run. */
	started(1, "T4", &again);
	ck_assert_str_eq(run.reference.ptr, again.reference.ptr);
	ck_assert_int_eq(provider_colab_browser.find(c(20000), &l, &again), OK);
	ck_assert_int_eq(count("run"), 1);
	ck_assert_int_eq(polled(&run).phase, RUN_LIVE);
	/* Another waits. */
	ck_assert_int_eq(start(2, "T4", &again), ERR_UNAVAILABLE);
	ck_assert_str_eq(error.reason, "unsettled");

	ck_assert_msg(provider_colab_browser.stop(c(60000), &run, false) == OK, "%s", error.msg);
	ck_assert_int_eq(count("powerwash"), 1);
	ck_assert_str_eq(polled(&run).code, "stopped");
	ck_assert(strstr(events(), "\"live\": 0"));
	started(2, "NONE", &again);
	ck_assert_str_eq(polled(&run).code, "gone");
}
END_TEST

/* The browser that shows it is killed: another shows it, and nothing is run twice. */
START_TEST(test_browser_dies)
{
	struct run run;

	sign_in();
	started(1, "T4", &run);
	wd_process_end_in(arena_printf(&arena, "%s/7", dir));
	ck_assert_int_eq(polled(&run).phase, RUN_LIVE);
	ck_assert_int_eq(polled(&run).phase, RUN_LIVE);
	ck_assert_int_eq(count("run"), 1);
	wd_process_end_in(arena_printf(&arena, "%s/7", dir));
	ck_assert_msg(provider_colab_browser.stop(c(60000), &run, false) == OK, "%s", error.msg);
	ck_assert_int_eq(count("powerwash"), 1);
}
END_TEST

START_TEST(test_accelerators)
{
	struct run run;

	sign_in();
	set("{\"preset\": false, \"warn\": true, \"connect_seconds\": 3}");
	ck_assert_int_eq(start(1, "A100", &run), ERR_INVALID);
	ck_assert(strstr(error.msg, "A100"));
	ck_assert_int_eq(count("run"), 0);
	started(2, "T4", &run);
	ck_assert_int_eq(count("accelerator"), 1);
	ck_assert(strstr(events(), "\"T4\"") && count("connected") == 1);
}
END_TEST

START_TEST(test_agent_ends)
{
	struct run_status status;
	struct launch l = launch(1, "NONE");
	struct run run;

	sign_in();
	l.server_url = "not an address";
	ck_assert_msg(provider_colab_browser.start(c(150000), &l, &run) == OK, "%s", error.msg);
	status = ends(&run);
	ck_assert_str_eq(status.code, "failed");
	ck_assert_int_eq(count("powerwash"), 1);
}
END_TEST

/* ---- what stands in the way -------------------------------------------------- */

static const struct dialog {
	const char *name, *reason;
	enum err err;
	bool picture;
} dialogs[] = {
	{"quota", "quota", ERR_QUOTA, false},
	{"units", "quota", ERR_QUOTA, false},
	{"too_many", "capacity", ERR_QUOTA, false},
	{"denylisted", "account", ERR_FORBIDDEN, true},
	{"recaptcha", "account", ERR_FORBIDDEN, true},
};

START_TEST(test_dialogs)
{
	const struct dialog *d = &dialogs[_i];
	char switches[64];
	struct identity who;
	struct run run;

	sign_in();
	snprintf(switches, sizeof(switches), "{\"dialog\": \"%s\"}", d->name);
	set(switches);
	ck_assert_int_eq(start(1, "T4", &run), d->err);
	ck_assert_str_eq(error.reason, d->reason);
	ck_assert_int_eq(call.picture.len > 1000, d->picture);
	ck_assert_int_eq(count("pressed"), 0);
	set("{\"dialog\": null}");
	/* Where only time or a person helps nothing is tried. */
	if (d->err == ERR_FORBIDDEN || !strcmp(d->reason, "quota")) {
		config.chromedriver = "/nowhere";
		ck_assert_int_eq(start(2, "T4", &run), d->err);
		ck_assert_int_eq(count("run"), 1);
	}
	if (d->err == ERR_FORBIDDEN)
		ck_assert_int_eq(provider_colab_browser.verify(c(60000), &who), ERR_FORBIDDEN);
	if (!strcmp(d->reason, "capacity"))
		started(2, "T4", &run);
}
END_TEST

static const struct later {
	const char *name, *code;
	bool picture;
} laters[] = {{"idle", "idle", false}, {"denylisted", "account", true}, {"recaptcha", "account", true}, {"quota", "quota", false}};

START_TEST(test_dialogs_later)
{
	const struct later *d = &laters[_i];
	struct run_status status;
	char switches[64];
	struct run run;

	sign_in();
	started(1, "T4", &run);
	ck_assert_int_eq(polled(&run).phase, RUN_LIVE);
	snprintf(switches, sizeof(switches), "{\"set\": \"%s\"}", d->name);
	set(switches);
	status = ends(&run);
	ck_assert_str_eq(status.code, d->code);
	ck_assert(!status.orderly);
	ck_assert_int_eq(call.picture.len > 1000, d->picture);
	ck_assert_int_eq(count("pressed"), 0);
	ck_assert_str_eq(polled(&run).code, d->code);
}
END_TEST

static const struct refusal {
	const char *switches, *sentence, *event;
} refusals[] = {
	{"{\"user\": [\"alice@example.com\", \"another\"]}", "password is wrong", "wrong_password"},
	{"{\"challenge\": \"2fa\"}", "second step", NULL},
	{"{\"challenge\": \"captcha\"}", "whether a person is there", NULL},
	{"{\"challenge\": \"rejected\"}", "refused to sign this browser in", "rejected"},
};

/* Once, then a person: also where the same password is still there. */
START_TEST(test_refused_sign_in)
{
	const struct refusal *r = &refusals[_i];
	struct identity who;

	set(r->switches);
	ck_assert_int_eq(provider_colab_browser.verify(c(60000), &who), ERR_FORBIDDEN);
	ck_assert_str_eq(error.reason, "account");
	ck_assert_msg(strstr(error.msg, r->sentence) && strstr(error.msg, "gpupool browser sign-in 7"), "%s", error.msg);
	ck_assert(!strstr(error.msg, PASSWORD));
	ck_assert_int_gt(call.picture.len, 1000);
	if (r->event)
		ck_assert_int_eq(count(r->event), 1);
	secret_free(&secret);
	secret = secret_new(STR("{\"email\":\"alice@example.com\"}"));
	set("{\"challenge\": null}");
	ck_assert_int_eq(provider_colab_browser.verify(c(60000), &who), ERR_FORBIDDEN);
	ck_assert_int_eq(count("signed_in"), 0);
}
END_TEST

START_TEST(test_nobody_signed_in)
{
	struct identity who;
	struct run run;

	secret_free(&secret);
	secret = secret_new(STR("{\"email\":\"alice@example.com\"}"));
	ck_assert_int_eq(provider_colab_browser.verify(c(60000), &who), ERR_FORBIDDEN);
	ck_assert_msg(strstr(error.msg, "asks for a sign-in"), "%s", error.msg);
	ck_assert_int_eq(start(1, "T4", &run), ERR_FORBIDDEN);
	ck_assert_int_eq(count("upload"), 0);
}
END_TEST

/* The sign-in ended meanwhile, as it does on Google's side. */
START_TEST(test_wall)
{
	struct run run;

	sign_in();
	set("{\"wall\": true}");
	ck_assert_int_eq(start(1, "T4", &run), ERR_FORBIDDEN);
	ck_assert_int_gt(call.picture.len, 1000);
	ck_assert_int_eq(count("run"), 0);
}
END_TEST

START_TEST(test_another_account)
{
	struct identity who;

	sign_in();
	secret_free(&secret);
	secret = secret_new(STR("{\"email\":\"bob@example.com\"}"));
	ck_assert_int_eq(provider_colab_browser.verify(c(60000), &who), ERR_FORBIDDEN);
	ck_assert(strstr(error.msg, "alice@example.com, not as bob@example.com"));
}
END_TEST

START_TEST(test_host)
{
	struct identity who;

	config.colab_browser = false;
	ck_assert_int_eq(provider_colab_browser.check(c(20000)), ERR_INVALID);
	ck_assert(strstr(error.msg, "colab_browser=1"));
	config.colab_browser = true;
	config.chromedriver = "/nowhere";
	ck_assert_int_eq(provider_colab_browser.check(c(20000)), ERR_INVALID);
	ck_assert(strstr(error.msg, "apt-get install chromium-driver"));
	config.chromium = "/nowhere";
	ck_assert_int_eq(provider_colab_browser.check(c(20000)), ERR_INVALID);
	ck_assert(strstr(error.msg, "apt-get install chromium, "));
	ck_assert_int_eq(provider_colab_browser.verify(c(20000), &who), ERR_INVALID);
}
END_TEST

/* Chromium's own lock names a process that lives: its profile is in use. */
START_TEST(test_profile_in_use)
{
	struct identity who;
	char path[PATH_MAX + 64], target[64];

	snprintf(path, sizeof(path), "%s/7", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/7/profile", dir);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/7/profile/SingletonLock", dir);
	snprintf(target, sizeof(target), "here-%ld", (long)getpid());
	ck_assert_int_eq(symlink(target, path), 0);
	ck_assert_int_eq(provider_colab_browser.verify(c(60000), &who), ERR_UNAVAILABLE);
	ck_assert_str_eq(error.reason, "unsettled");
	ck_assert(strstr(error.msg, "close that window"));
	/* One that is dead is none. */
	unlink(path);
	ck_assert_int_eq(symlink("here-4194304", path), 0);
	sign_in();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("colab-browser");
	TCase *t = tcase_create("colab-browser");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 300);
	tcase_add_test(t, test_there_and_back);
	tcase_add_test(t, test_browser_dies);
	tcase_add_test(t, test_accelerators);
	tcase_add_test(t, test_agent_ends);
	tcase_add_loop_test(t, test_dialogs, 0, (int)ARRAY_LEN(dialogs));
	tcase_add_loop_test(t, test_dialogs_later, 0, (int)ARRAY_LEN(laters));
	tcase_add_loop_test(t, test_refused_sign_in, 0, (int)ARRAY_LEN(refusals));
	tcase_add_test(t, test_nobody_signed_in);
	tcase_add_test(t, test_wall);
	tcase_add_test(t, test_another_account);
	tcase_add_test(t, test_host);
	tcase_add_test(t, test_profile_in_use);
	suite_add_tcase(s, t);
	return unit_run(s);
}
