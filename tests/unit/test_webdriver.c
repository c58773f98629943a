/*
 * The WebDriver client: against a peer that says what a ChromeDriver may say,
 * and against the real one with a page that has what Colab's page has.
 */
#include <dirent.h>
#include <limits.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "peer.h"
#include "provider/webdriver.h"
#include "unit.h"

static struct http_client *client;
static struct arena arena;
static struct error error;
static struct wd wd;
static char dir[PATH_MAX];

static void setup(void)
{
	crypto_init();
	arena_init(&arena, 64 << 20);
	ck_assert_int_eq(http_client_new(&client), OK);
	error = (struct error){0};
	wd = (struct wd){.http = client, .arena = &arena, .error = &error, .deadline_ms = clock_ms() + 120000, .session = "5e551071"};
	snprintf(dir, sizeof(dir), "/tmp/gpupool-webdriver-XXXXXX");
	ck_assert(mkdtemp(dir));
}

static void teardown(void)
{
	char command[PATH_MAX + 16];

	http_client_free(client);
	arena_free(&arena);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	ck_assert_int_eq(system(command), 0);
}

/* ---- what it may say ------------------------------------------------------ */

#define ANSWER(status, body) "HTTP/1.1 " status "\r\nContent-Type: application/json; charset=utf-8\r\nConnection: close\r\n\r\n" body
#define FAULT(status, name, message) ANSWER(status, "{\"value\":{\"error\":\"" name "\",\"message\":\"" message "\",\"stacktrace\":\"#0\"}}")

static const struct said {
	const char *answer;
	enum err err;
	const char *sentence;
} said[] = {
	{FAULT("404 Not Found", "no such element", "no such element: x\\n  (Session info: chrome=1)"), ERR_NOT_FOUND, "no such element"},
	{FAULT("404 Not Found", "stale element reference", "stale"), ERR_CONFLICT, "stale"},
	{FAULT("404 Not Found", "detached shadow root", "detached"), ERR_CONFLICT, "detached"},
	{FAULT("404 Not Found", "invalid session id", "no session"), ERR_GONE, "session"},
	{FAULT("404 Not Found", "no such window", "target window already closed"), ERR_GONE, "window"},
	{FAULT("400 Bad Request", "element click intercepted", "Other element would receive the click"), ERR_CONFLICT, "intercepted"},
	{FAULT("400 Bad Request", "element not interactable", "no size"), ERR_CONFLICT, "interactable"},
	{FAULT("500 Internal Server Error", "timeout", "Timed out receiving message from renderer"), ERR_TIMEOUT, "timeout"},
	{FAULT("500 Internal Server Error", "script timeout", "script timeout"), ERR_TIMEOUT, "script timeout"},
	{FAULT("500 Internal Server Error", "unknown error", "disconnected: unable to send message"), ERR_GONE, "has ended"},
	{FAULT("500 Internal Server Error", "unknown error", "tab crashed"), ERR_GONE, "crashed"},
	{FAULT("500 Internal Server Error", "javascript error", "x is not defined"), ERR_UPSTREAM, "javascript error"},
	{FAULT("500 Internal Server Error", "session not created", "This version of ChromeDriver only supports Chrome version 1"), ERR_INVALID,
	 "same one"},
	{FAULT("500 Internal Server Error", "session not created", "user data directory is already in use, please specify"), ERR_UNAVAILABLE,
	 "close that window"},
	{FAULT("500 Internal Server Error", "session not created", "no chrome binary at /nowhere"), ERR_INVALID, "apt-get install chromium"},
	{ANSWER("404 Not Found", "{\"value\":null}"), ERR_UPSTREAM, "none"},
	{ANSWER("500 Internal Server Error", "{\"value\":{\"error\":7,\"message\":[]}}"), ERR_UPSTREAM, "none"},
	{ANSWER("200 OK", "<html>"), ERR_UPSTREAM, "none"},
	{ANSWER("200 OK", "[]"), ERR_UPSTREAM, "none"},
	{ANSWER("200 OK", "{\"other\":1}"), ERR_UPSTREAM, "none"},
	{ANSWER("200 OK", "{\"value\":null}"), ERR_NOT_FOUND, "no such element"},
	{ANSWER("200 OK", "{\"value\":{\"element-6066-11e4-a52e-4f735466cecf\":\"../../../x\"}}"), ERR_UPSTREAM, "strangely"},
	{ANSWER("200 OK", "{\"value\":{\"element-6066-11e4-a52e-4f735466cecf\":\"f.1.d.2.e.3\"}}"), OK, NULL},
};

START_TEST(test_said)
{
	const struct said *s = &said[_i];
	struct peer_answer answer = {s->answer, PEER_HANG_UP};
	struct wd_node node = {0};
	struct peer p;

	peer_start(&p, NULL, &answer, 1);
	wd.port = p.port;
	ck_assert_int_eq(wd_find(&wd, "b", &node), s->err);
	if (s->sentence)
		ck_assert_msg(strstr(error.msg, s->sentence), "\"%s\" lacks \"%s\"", error.msg, s->sentence);
	else
		ck_assert_str_eq(node.id, "f.1.d.2.e.3");
	ck_assert(strstr(peer_stop(&p), "POST /session/5e551071/element HTTP/1.1\r\n"));
	ck_assert(strstr(p.received.ptr, "{\"using\":\"css selector\",\"value\":\"b\"}"));
	peer_free(&p);
}
END_TEST

START_TEST(test_sessions_that_are_none)
{
	static const char *const answers[] = {
		ANSWER("200 OK", "{\"value\":{}}"),
		ANSWER("200 OK", "{\"value\":{\"sessionId\":\"../x\"}}"),
		ANSWER("200 OK", "{\"value\":{\"sessionId\":\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}}"),
	};

	for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
		struct peer_answer answer = {answers[i], PEER_HANG_UP};
		struct peer p;

		peer_start(&p, NULL, &answer, 1);
		wd.port = p.port;
		ck_assert_int_eq(wd_open(&wd, &(struct wd_browser){.path = "/x", .profile = "/y"}), ERR_UPSTREAM);
		ck_assert_str_eq(wd.session, "");
		ck_assert(strstr(peer_stop(&p), "--user-data-dir=/y"));
		peer_free(&p);
	}
}
END_TEST

START_TEST(test_nobody_answers)
{
	struct peer p;

	peer_start(&p, NULL, NULL, 0);
	wd.port = p.port;
	peer_stop(&p);
	peer_free(&p);
	ck_assert_int_eq(wd_ping(&wd), ERR_GONE);
	wd.deadline_ms = clock_ms() - 1;
	ck_assert_int_eq(wd_ping(&wd), ERR_TIMEOUT);
	ck_assert_int_eq(wd.calls, 1);
}
END_TEST

START_TEST(test_pictures_that_are_none)
{
	struct peer_answer answers[] = {{ANSWER("200 OK", "{\"value\":\"PGh0bWw+\"}"), PEER_HANG_UP},
					{ANSWER("200 OK", "{\"value\":\"no base64\"}"), PEER_HANG_UP}};
	struct peer p;
	struct str png;

	peer_start(&p, NULL, answers, 2);
	wd.port = p.port;
	ck_assert_int_eq(wd_screenshot(&wd, &png), ERR_UPSTREAM);
	ck_assert_int_eq(wd_screenshot(&wd, &png), ERR_UPSTREAM);
	peer_stop(&p);
	peer_free(&p);
}
END_TEST

/* ---- the process ---------------------------------------------------------- */

START_TEST(test_no_chromedriver)
{
	struct wd_process p;

	ck_assert_int_eq(wd_process_start(&(struct wd_program){"/nowhere/chromedriver", dir}, &p, &error), ERR_INVALID);
	ck_assert(strstr(error.msg, "apt-get install chromium-driver"));
	/* A program that says no port is ended. */
	ck_assert_int_eq(wd_process_start(&(struct wd_program){"/bin/true", dir}, &p, &error), ERR_TIMEOUT);
	ck_assert(!wd_process_alive(&p));
}
END_TEST

/* Another process that has got the number is not touched. */
START_TEST(test_number_used_again)
{
	struct wd_process p = {.pid = fork()};

	if (!p.pid) {
		setsid();
		for (;;)
			pause();
	}
	p.started = 1;
	ck_assert(!wd_process_alive(&p));
	ck_assert(wd_process_end(&p));
	ck_assert_int_eq(kill(p.pid, 0), 0);
	kill(p.pid, SIGKILL);
	waitpid(p.pid, NULL, 0);
}
END_TEST

/* ---- the real one --------------------------------------------------------- */

static const char page[] =
	"<!doctype html><title>t</title><body><p id=log></p><my-outer></my-outer><div id=menu>menu</div><input id=file type=file>"
	"<iframe id=f srcdoc='<b id=inside>deep</b>'></iframe>"
	"<script>"
	"class Inner extends HTMLElement{connectedCallback(){this.attachShadow({mode:'open'}).innerHTML='<span id=s>in shadow</span>'}}"
	"class Outer extends HTMLElement{connectedCallback(){this.attachShadow({mode:'open'}).innerHTML='<my-inner></my-inner>'}}"
	"customElements.define('my-inner',Inner);customElements.define('my-outer',Outer);"
	"const log=document.getElementById('log');"
	"document.getElementById('menu').addEventListener('click',e=>{log.textContent+=e.isTrusted?'trusted ':'fake '});"
	"document.addEventListener('keydown',e=>{if(e.ctrlKey&&e.key==='F9')log.textContent+='run '});"
	"document.getElementById('file').addEventListener('change',e=>{log.textContent+=e.target.files[0].name+' '});"
	"</script>";

static struct wd_process process;

static void open_real(void)
{
	const char *root[] = {"--headless=new", "--no-sandbox", "--disable-breakpad", NULL}, *user[] = {"--headless=new", "--disable-breakpad", NULL};
	static char profile[PATH_MAX + 16], path[PATH_MAX + 16], url[PATH_MAX + 32];
	FILE *f;

	snprintf(profile, sizeof(profile), "%s/profile", dir);
	snprintf(path, sizeof(path), "%s/page.html", dir);
	snprintf(url, sizeof(url), "file://%s", path);
	f = fopen(path, "w");
	ck_assert(f && fputs(page, f) >= 0 && fclose(f) == 0);
	ck_assert_msg(wd_process_start(&(struct wd_program){"/usr/bin/chromedriver", dir}, &process, &error) == OK, "%s", error.msg);
	wd.port = process.port;
	/* As root Chromium has no sandbox. */
	ck_assert_msg(wd_open(&wd, &(struct wd_browser){"/usr/bin/chromium", profile, getuid() ? user : root}) == OK, "%s", error.msg);
	ck_assert_msg(wd_go(&wd, url) == OK, "%s", error.msg);
}

#define NODE(css)                                                                  \
	({                                                                         \
		struct wd_node node_ = {0};                                        \
		ck_assert_msg(wd_find(&wd, css, &node_) == OK, "%s", error.msg);   \
		node_;                                                             \
	})

static const char *log_text(void)
{
	const char *text;

	ck_assert_int_eq(wd_text(&wd, NODE("#log"), &text), OK);
	return text;
}

START_TEST(test_real)
{
	struct wd_node outer, root, inner, found;
	cleanup_json struct json *value = NULL;
	struct json *args = json_array();
	const char *text;
	struct str png;

	open_real();
	ck_assert_int_eq(wd_ping(&wd), OK);
	/* shadow in shadow, by hand and by one script */
	outer = NODE("my-outer");
	ck_assert_int_eq(wd_shadow(&wd, outer, &root), OK);
	ck_assert_int_eq(wd_find_in(&wd, root, true, "my-inner", &inner), OK);
	ck_assert_int_eq(wd_shadow(&wd, inner, &root), OK);
	ck_assert_int_eq(wd_find_in(&wd, root, true, "#s", &found), OK);
	ck_assert_int_eq(wd_text(&wd, found, &text), OK);
	ck_assert_str_eq(text, "in shadow");
	json_add_cstr(args, "my-outer");
	ck_assert_int_eq(wd_script(&wd, "return document.querySelector(arguments[0]).shadowRoot.firstChild.shadowRoot.firstChild", args, &value), OK);
	ck_assert_int_eq(wd_node_of(&wd, value, &found), OK);
	ck_assert_int_eq(wd_text(&wd, found, &text), OK);
	ck_assert_str_eq(text, "in shadow");
	/* clicks, keys, files */
	ck_assert_int_eq(wd_script(&wd, "document.getElementById('menu').click()", NULL, NULL), OK);
	ck_assert_int_eq(wd_click(&wd, NODE("#menu")), OK);
	ck_assert_int_eq(wd_keys(&wd, (const char *const[]){WD_CTRL, WD_F9}, 2), OK);
	ck_assert_int_eq(wd_type(&wd, NODE("#file"), str_of(arena_printf(&arena, "%s/page.html", dir))), OK);
	ck_assert_str_eq(log_text(), "fake trusted run page.html");
	/* frames */
	ck_assert_int_eq(wd_find(&wd, "#inside", &found), ERR_NOT_FOUND);
	ck_assert_int_eq(wd_frame(&wd, NODE("#f")), OK);
	ck_assert_int_eq(wd_text(&wd, NODE("#inside"), &text), OK);
	ck_assert_str_eq(text, "deep");
	ck_assert_int_eq(wd_frame(&wd, (struct wd_node){0}), OK);
	/* what is no more */
	found = NODE("#menu");
	ck_assert_int_eq(wd_script(&wd, "document.getElementById('menu').remove()", NULL, NULL), OK);
	ck_assert_int_eq(wd_click(&wd, found), ERR_CONFLICT);
	ck_assert_int_eq(wd_script(&wd, "return nowhere.at.all", NULL, NULL), ERR_UPSTREAM);
	ck_assert_int_eq(wd_screenshot(&wd, &png), OK);
	ck_assert_int_gt(png.len, 500);
	ck_assert_int_gt(wd_process_memory(&process), 50 << 20);
	/* Its end takes the browser along. */
	ck_assert(wd_process_alive(&process));
	ck_assert(wd_process_end(&process));
	ck_assert(!wd_process_alive(&process));
	ck_assert_int_eq(wd_ping(&wd), ERR_GONE);
}
END_TEST

/* The browser outlives a ChromeDriver that was killed; it is found by its session and by its directory. */
START_TEST(test_orphans)
{
	open_real();
	kill(process.pid, SIGKILL);
	waitpid(process.pid, NULL, 0);
	ck_assert(!wd_process_alive(&process));
	ck_assert_int_gt(wd_process_memory(&process), 50 << 20);
	ck_assert(wd_process_end(&process));
	ck_assert_int_eq(wd_process_memory(&process), -1);

	ck_assert_msg(wd_process_start(&(struct wd_program){"/usr/bin/chromedriver", dir}, &process, &error) == OK, "%s", error.msg);
	wd_process_end_in("/nowhere");
	ck_assert(wd_process_alive(&process));
	wd_process_end_in(dir);
	ck_assert(!wd_process_alive(&process));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("webdriver");
	TCase *c = tcase_create("webdriver");

	tcase_add_checked_fixture(c, setup, teardown);
	tcase_set_timeout(c, 120);
	tcase_add_loop_test(c, test_said, 0, (int)ARRAY_LEN(said));
	tcase_add_test(c, test_sessions_that_are_none);
	tcase_add_test(c, test_nobody_answers);
	tcase_add_test(c, test_pictures_that_are_none);
	tcase_add_test(c, test_no_chromedriver);
	tcase_add_test(c, test_number_used_again);
	tcase_add_test(c, test_real);
	tcase_add_test(c, test_orphans);
	suite_add_tcase(s, c);
	return unit_run(s);
}
