/* Outgoing WebSockets, against a server whose behaviour the path names. */
#include "base/arena.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/websocket.h"
#include "unit.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONG_MS = 30000 };

/* ---- the server ----------------------------------------------------------- */

static struct server {
	pid_t pid;
	int in, port;
} server;
static struct arena arena;
static struct error error;
static struct buf message;

static pid_t spawn(const char *const argv[], int *in, FILE **out)
{
	int to[2], from[2];
	pid_t pid;

	ck_assert_int_eq(pipe(to), 0);
	ck_assert_int_eq(pipe(from), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		dup2(to[0], 0);
		dup2(from[1], 1);
		for (int fd = 3; fd < 64; fd++)
			close(fd);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	*in = to[1];
	*out = fdopen(from[0], "r");
	ck_assert_ptr_nonnull(*out);
	return pid;
}

static void serve_at(struct server *s, const char *key, const char *cert)
{
	cleanup_file FILE *out = NULL;
	char line[64] = "";

	s->pid = spawn((const char *[]){"python3", "tests/google/websocket_peer.py", key, cert, NULL}, &s->in, &out);
	ck_assert_ptr_nonnull(fgets(line, sizeof(line), out));
	ck_assert_int_eq(sscanf(line, "port %d", &s->port), 1);
}

static void end(struct server *s)
{
	close(s->in);
	waitpid(s->pid, NULL, 0);
}

static void setup(void)
{
	arena_init(&arena, 1 << 20);
	message = BUF_INIT(1 << 20);
	serve_at(&server, NULL, NULL);
}

static void teardown(void)
{
	end(&server);
	buf_free(&message);
	arena_free(&arena);
}

static const char *url(const char *path)
{
	return arena_printf(&arena, "ws://127.0.0.1:%d%s", server.port, path);
}

static enum err connect_to(const char *path, struct websocket **ret)
{
	return websocket_connect(&(struct websocket_want){.url = url(path)}, LONG_MS, ret, &error);
}

static struct websocket *opened(const char *path)
{
	struct websocket *w;

	ck_assert_msg(connect_to(path, &w) == OK, "%s: %s", path, error.msg);
	return w;
}

static const char *received(struct websocket *w)
{
	enum err err = websocket_receive(w, LONG_MS, &message, &error);

	ck_assert_msg(err == OK, "%s: %s", err_name(err), error.msg);
	return message.ptr ? message.ptr : "";
}

static void sends(struct websocket *w, const char *text)
{
	ck_assert_msg(websocket_send(w, str_of(text), LONG_MS, &error) == OK, "%s", error.msg);
}

/* ---- messages ------------------------------------------------------------- */

START_TEST(test_there_and_back)
{
	cleanup_websocket struct websocket *w = opened("/echo");

	for (int i = 0; i < 3; i++) {
		sends(w, "one");
		sends(w, "");
		sends(w, "gr\xc3\xbc\xc3\x9f""e");
		ck_assert_str_eq(received(w), "one");
		ck_assert_str_eq(received(w), "");
		ck_assert_str_eq(received(w), "gr\xc3\xbc\xc3\x9f""e");
	}
}
END_TEST

/* On both sides of where the length of a frame is written otherwise. */
static const size_t sizes[] = {125, 126, 127, 65535, 65536, 300000};

START_TEST(test_sizes)
{
	cleanup_websocket struct websocket *w = opened("/echo");
	size_t len = sizes[_i];
	char *text = arena_alloc(&arena, len + 1);

	memset(text, 'y', len);
	sends(w, text);
	ck_assert_str_eq(received(w), text);
}
END_TEST

START_TEST(test_fragments)
{
	cleanup_websocket struct websocket *w = opened("/pieces/7");

	ck_assert_uint_eq(strlen(received(w)), 1000);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(message.ptr[i], 'a' + i % 26);
	sends(w, "after");
	ck_assert_str_eq(received(w), "after");
}
END_TEST

START_TEST(test_byte_by_byte)
{
	cleanup_websocket struct websocket *w = opened("/bytewise");

	ck_assert_str_eq(received(w), "gr\xc3\xbc\xc3\x9f""e");
}
END_TEST

START_TEST(test_pings_are_answered)
{
	cleanup_websocket struct websocket *w = opened("/pings");

	ck_assert_str_eq(received(w), "p0 p1 p2");
}
END_TEST

START_TEST(test_many_at_once)
{
	cleanup_websocket struct websocket *w = opened("/many/300");
	char text[32];

	for (int i = 0; i < 300; i++) {
		snprintf(text, sizeof(text), "message %d", i);
		ck_assert_str_eq(received(w), text);
	}
}
END_TEST

START_TEST(test_binary)
{
	cleanup_websocket struct websocket *w = opened("/binary");

	received(w);
	ck_assert_uint_eq(message.len, 3);
	ck_assert_mem_eq(message.ptr, "\0\1\2", 3);
}
END_TEST

START_TEST(test_message_at_its_maximum)
{
	cleanup_websocket struct websocket *w = NULL;

	ck_assert_int_eq(websocket_connect(&(struct websocket_want){.url = url("/sized/1000"), .max_message = 1000}, LONG_MS, &w, &error), OK);
	ck_assert_uint_eq(strlen(received(w)), 1000);
}
END_TEST

static const char *const larger[] = {"/sized/1001", "/endless", "/sized/900000"};

START_TEST(test_message_above_its_maximum)
{
	cleanup_websocket struct websocket *w = NULL;

	ck_assert_int_eq(websocket_connect(&(struct websocket_want){.url = url(larger[_i]), .max_message = 1000}, LONG_MS, &w, &error), OK);
	ck_assert_int_eq(websocket_receive(w, LONG_MS, &message, &error), ERR_TOO_LARGE);
	ck_assert_int_eq(websocket_receive(w, LONG_MS, &message, &error), ERR_TOO_LARGE);
	ck_assert_int_eq(websocket_send(w, STR("x"), LONG_MS, &error), ERR_TOO_LARGE);
}
END_TEST

/* ---- ends ----------------------------------------------------------------- */

START_TEST(test_close)
{
	cleanup_websocket struct websocket *w = opened("/close/1000");

	ck_assert_str_eq(received(w), "last words");
	ck_assert_int_eq(websocket_receive(w, LONG_MS, &message, &error), ERR_GONE);
	ck_assert_int_eq(websocket_send(w, STR("x"), LONG_MS, &error), ERR_GONE);
}
END_TEST

START_TEST(test_abrupt_end)
{
	cleanup_websocket struct websocket *w = opened("/abrupt");

	ck_assert_str_eq(received(w), "last words");
	sends(w, "end");
	ck_assert_int_eq(websocket_receive(w, LONG_MS, &message, &error), ERR_UNAVAILABLE);
	ck_assert_int_eq(websocket_receive(w, LONG_MS, &message, &error), ERR_UNAVAILABLE);
}
END_TEST

START_TEST(test_half_a_frame)
{
	cleanup_websocket struct websocket *w = opened("/half");

	ck_assert_int_eq(websocket_receive(w, LONG_MS, &message, &error), ERR_UNAVAILABLE);
}
END_TEST

/* What a server may not send ends the connection; nothing of it is taken for a message. */
static const char *const wrong[] = {"/reserved", "/opcode", "/orphan", "/nested", "/longping", "/badclose", "/badtext"};

START_TEST(test_broken_protocol)
{
	cleanup_websocket struct websocket *w = opened(wrong[_i]);
	enum err err = websocket_receive(w, LONG_MS, &message, &error);

	ck_assert_msg(err == ERR_UPSTREAM || err == ERR_UNAVAILABLE || err == ERR_GONE, "%s: %s", wrong[_i], err_name(err));
}
END_TEST

START_TEST(test_goodbye_is_said)
{
	char dir[] = "/tmp/gpupool-ws-XXXXXX", path[64], code[16] = "";
	struct websocket *w = opened("/goodbye");
	int64_t until = clock_ms() + LONG_MS;
	FILE *file = NULL;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/code", dir);
	sends(w, path);
	ck_assert_str_eq(received(w), "ready");
	websocket_close(w);
	while (!(file = fopen(path, "r")) && clock_ms() < until)
		clock_sleep_ms(20);
	ck_assert_ptr_nonnull(file);
	ck_assert_ptr_nonnull(fgets(code, sizeof(code), file));
	ck_assert_str_eq(code, "1000");
	fclose(file);
	unlink(path);
	rmdir(dir);
}
END_TEST

START_TEST(test_stall)
{
	cleanup_websocket struct websocket *w = opened("/stall");
	int64_t begun = clock_ms();

	ck_assert_int_eq(websocket_receive(w, 300, &message, &error), ERR_TIMEOUT);
	ck_assert_int_ge(clock_ms() - begun, 300);
	ck_assert_int_lt(clock_ms() - begun, 10000);
}
END_TEST

START_TEST(test_server_that_reads_nothing)
{
	cleanup_websocket struct websocket *w = opened("/deaf");
	cleanup_buf struct buf text = BUF_INIT(64 << 20);

	for (int i = 0; i < 1 << 20; i++)
		buf_adds(&text, "0123456789abcdef0123456789abcdef");
	ck_assert_int_eq(websocket_send(w, buf_str(&text), 300, &error), ERR_TIMEOUT);
	ck_assert_int_eq(websocket_send(w, STR("x"), LONG_MS, &error), ERR_TIMEOUT);
}
END_TEST

/* ---- opening -------------------------------------------------------------- */

START_TEST(test_request)
{
	const struct http_header headers[] = {{"X-Colab-Runtime-Proxy-Token", "a.b-c"}, {"X-Empty", ""}, {NULL, NULL}};
	cleanup_websocket struct websocket *w = NULL;
	cleanup_json struct json *said = NULL;
	int found = 0;

	setenv("http_proxy", "127.0.0.1:1", 1);
	ck_assert_int_eq(websocket_connect(&(struct websocket_want){.url = url("/request/x?session_id=1&y=%20"), .headers = headers}, LONG_MS, &w,
					   &error), OK);
	ck_assert_int_eq(json_parse(str_of(received(w)), 1 << 16, &said, &error), OK);
	ck_assert_str_eq(json_cstr(said, "path"), "/request/x?session_id=1&y=%20");
	for (size_t i = 0; i < json_len(json_get(said, "headers")); i++) {
		const struct json *pair = json_at(json_get(said, "headers"), i);
		struct str name = json_as_str(json_at(pair, 0)), value = json_as_str(json_at(pair, 1));

		found += str_eqz(name, "x-colab-runtime-proxy-token") && str_eqz(value, "a.b-c");
		found += str_eqz(name, "x-empty") && !value.len;
		found += str_eqz(name, "host") && str_eqz(value, arena_printf(&arena, "127.0.0.1:%d", server.port));
		ck_assert(!str_eqz(name, "sec-websocket-extensions"));
		ck_assert(!str_eqz(name, "sec-websocket-protocol"));
	}
	ck_assert_int_eq(found, 3);
}
END_TEST

START_TEST(test_long_header)
{
	cleanup_buf struct buf value = BUF_INIT(1 << 20);
	cleanup_websocket struct websocket *w = NULL;
	struct http_header headers[] = {{"X-Token", NULL}, {NULL, NULL}};

	for (int i = 0; i < 500; i++)
		buf_adds(&value, "0123456789abcdef");
	headers[0].value = value.ptr; /* 8,000 bytes */
	ck_assert_int_eq(websocket_connect(&(struct websocket_want){.url = url("/request"), .headers = headers}, LONG_MS, &w, &error), OK);
	ck_assert_ptr_nonnull(strstr(received(w), value.ptr));
	for (int i = 0; i < 5000; i++)
		buf_adds(&value, "0123456789abcdef");
	headers[0].value = value.ptr;
	websocket_close(w);
	ck_assert_int_eq(websocket_connect(&(struct websocket_want){.url = url("/request"), .headers = headers}, LONG_MS, &w, &error), ERR_INVALID);
	ck_assert_ptr_null(w);
}
END_TEST

static const struct {
	const char *path;
	enum err err;
} refusals[] = {
	{"/status/401", ERR_UNAUTHORIZED}, {"/status/403", ERR_FORBIDDEN}, {"/status/404", ERR_NOT_FOUND}, {"/status/429", ERR_RATE},
	{"/status/502", ERR_UNAVAILABLE}, {"/status/200", ERR_UPSTREAM}, {"/redirect", ERR_UPSTREAM}, {"/wrongkey", ERR_UPSTREAM},
};

START_TEST(test_refusal)
{
	struct websocket *w;
	enum err err = connect_to(refusals[_i].path, &w);

	ck_assert_msg(err == refusals[_i].err, "%s: %s, %s", refusals[_i].path, err_name(err), error.msg);
	ck_assert_ptr_null(w);
}
END_TEST

START_TEST(test_no_http)
{
	struct websocket *w;
	enum err err = connect_to("/garbage", &w);

	ck_assert_msg(err == ERR_UPSTREAM || err == ERR_UNAVAILABLE, "%s", err_name(err));
}
END_TEST

START_TEST(test_no_answer)
{
	struct websocket *w;

	ck_assert_int_eq(websocket_connect(&(struct websocket_want){.url = url("/silent")}, 300, &w, &error), ERR_TIMEOUT);
}
END_TEST

START_TEST(test_nobody_listens)
{
	struct websocket *w;

	ck_assert_int_eq(websocket_connect(&(struct websocket_want){.url = "ws://127.0.0.1:1/"}, LONG_MS, &w, &error), ERR_UNAVAILABLE);
	ck_assert_int_eq(websocket_connect(&(struct websocket_want){.url = "ws://nobody.invalid/"}, LONG_MS, &w, &error), ERR_UNAVAILABLE);
}
END_TEST

static const char *const bad_urls[] = {
	"", "ftp://a/", "ws://", "ws:///x", "ws://a:0/", "ws://a:65536/", "ws://a:b/", "ws://u:p@a/", "ws://u@a/", "ws://a/ b", "ws://a/\r\nX: y",
	"ws://a/#x", "ws://[::1]/", "//a/", "ws://a:1:2/",
};

START_TEST(test_bad_url)
{
	struct websocket *w;

	ck_assert_msg(websocket_connect(&(struct websocket_want){.url = bad_urls[_i]}, LONG_MS, &w, &error) == ERR_INVALID, "%s", bad_urls[_i]);
}
END_TEST

static const struct http_header bad_headers[] = {{"A", "b\r\nC: d"}, {"A", "b\n"}, {"A:", "b"}, {"", "b"}, {"A B", "c"}};

START_TEST(test_bad_header)
{
	const struct http_header headers[] = {bad_headers[_i], {NULL, NULL}};
	struct websocket *w;

	ck_assert_int_eq(websocket_connect(&(struct websocket_want){.url = url("/echo"), .headers = headers}, LONG_MS, &w, &error), ERR_INVALID);
}
END_TEST

/* ---- abort ---------------------------------------------------------------- */

static void *abort_soon(void *client)
{
	clock_sleep_ms(100);
	http_client_abort(client);
	return NULL;
}

START_TEST(test_abort)
{
	struct http_client *client;
	cleanup_websocket struct websocket *w = NULL;
	struct websocket *other;
	pthread_t thread;
	int64_t begun;

	ck_assert_int_eq(http_client_new(&client), OK);
	ck_assert_int_eq(websocket_connect(&(struct websocket_want){.url = url("/stall"), .client = client}, LONG_MS, &w, &error), OK);
	begun = clock_ms();
	ck_assert_int_eq(pthread_create(&thread, NULL, abort_soon, client), 0);
	ck_assert_int_eq(websocket_receive(w, 600000, &message, &error), ERR_UNAVAILABLE);
	pthread_join(thread, NULL);
	ck_assert_int_lt(clock_ms() - begun, 10000);
	ck_assert_int_eq(websocket_send(w, STR("x"), LONG_MS, &error), ERR_UNAVAILABLE);
	ck_assert_int_eq(websocket_connect(&(struct websocket_want){.url = url("/echo"), .client = client}, LONG_MS, &other, &error),
			 ERR_UNAVAILABLE);
	websocket_close(steal_ptr(w)); /* it looks at the client */
	http_client_free(client);
}
END_TEST

/* ---- several threads ------------------------------------------------------ */

static void *talk(void *failed)
{
	struct error e;
	cleanup_buf struct buf text = BUF_INIT(1000);
	char u[64];

	snprintf(u, sizeof(u), "ws://127.0.0.1:%d/echo", server.port);
	for (int i = 0; i < 5; i++) {
		cleanup_websocket struct websocket *w = NULL;

		if (websocket_connect(&(struct websocket_want){.url = u}, LONG_MS, &w, &e) || websocket_send(w, str_of(u), LONG_MS, &e) ||
		    websocket_receive(w, LONG_MS, &text, &e) || !str_eqz(buf_str(&text), u))
			*(int *)failed = 1;
	}
	return NULL;
}

START_TEST(test_threads)
{
	pthread_t threads[4];
	int failed[4] = {0};

	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, talk, &failed[i]), 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(threads[i], NULL);
		ck_assert_int_eq(failed[i], 0);
	}
}
END_TEST

/* ---- TLS ------------------------------------------------------------------ */

struct tls {
	char dir[64], key[96], cert[96];
	struct server server;
};

static void tls_begin(struct tls *t, const char *name)
{
	cleanup_file FILE *out = NULL;
	char subject[64], alt[64];
	int in, status;
	pid_t pid;

	snprintf(t->dir, sizeof(t->dir), "/tmp/gpupool-tls-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(t->dir));
	snprintf(t->key, sizeof(t->key), "%s/key", t->dir);
	snprintf(t->cert, sizeof(t->cert), "%s/cert", t->dir);
	snprintf(subject, sizeof(subject), "/CN=%s", name);
	snprintf(alt, sizeof(alt), "subjectAltName=DNS:%s", name);
	pid = spawn((const char *[]){"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", subject,
				     "-addext", alt, "-keyout", t->key, "-out", t->cert, NULL}, &in, &out);
	close(in);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "openssl req failed");
	serve_at(&t->server, t->key, t->cert);
}

static void tls_end(struct tls *t)
{
	end(&t->server);
	unlink(t->key);
	unlink(t->cert);
	ck_assert_int_eq(rmdir(t->dir), 0);
}

static enum err tls_open(struct tls *t, struct websocket **ret)
{
	return websocket_connect(&(struct websocket_want){.url = arena_printf(&arena, "wss://localhost:%d/echo", t->server.port)}, LONG_MS, ret,
				 &error);
}

START_TEST(test_certificate)
{
	struct websocket *w;
	struct tls t;

	tls_begin(&t, "localhost");
	ck_assert_int_eq(tls_open(&t, &w), ERR_UPSTREAM); /* nobody has signed it */
	ck_assert_ptr_null(w);
	setenv("SSL_CERT_FILE", t.cert, 1);
	ck_assert_msg(tls_open(&t, &w) == OK, "%s", error.msg);
	sends(w, "over TLS");
	ck_assert_str_eq(received(w), "over TLS");
	websocket_close(w);
	tls_end(&t);
}
END_TEST

START_TEST(test_certificate_of_another)
{
	struct websocket *w;
	struct tls t;

	tls_begin(&t, "elsewhere.test");
	setenv("SSL_CERT_FILE", t.cert, 1);
	ck_assert_int_eq(tls_open(&t, &w), ERR_UPSTREAM);
	tls_end(&t);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("websocket");
	TCase *t = tcase_create("websocket");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, test_there_and_back);
	tcase_add_loop_test(t, test_sizes, 0, ARRAY_LEN(sizes));
	tcase_add_test(t, test_fragments);
	tcase_add_test(t, test_byte_by_byte);
	tcase_add_test(t, test_pings_are_answered);
	tcase_add_test(t, test_many_at_once);
	tcase_add_test(t, test_binary);
	tcase_add_test(t, test_message_at_its_maximum);
	tcase_add_loop_test(t, test_message_above_its_maximum, 0, ARRAY_LEN(larger));
	tcase_add_test(t, test_close);
	tcase_add_test(t, test_abrupt_end);
	tcase_add_test(t, test_half_a_frame);
	tcase_add_loop_test(t, test_broken_protocol, 0, ARRAY_LEN(wrong));
	tcase_add_test(t, test_goodbye_is_said);
	tcase_add_test(t, test_stall);
	tcase_add_test(t, test_server_that_reads_nothing);
	tcase_add_test(t, test_request);
	tcase_add_test(t, test_long_header);
	tcase_add_loop_test(t, test_refusal, 0, ARRAY_LEN(refusals));
	tcase_add_test(t, test_no_http);
	tcase_add_test(t, test_no_answer);
	tcase_add_test(t, test_nobody_listens);
	tcase_add_loop_test(t, test_bad_url, 0, ARRAY_LEN(bad_urls));
	tcase_add_loop_test(t, test_bad_header, 0, ARRAY_LEN(bad_headers));
	tcase_add_test(t, test_abort);
	tcase_add_test(t, test_threads);
	tcase_add_test(t, test_certificate);
	tcase_add_test(t, test_certificate_of_another);
	suite_add_tcase(s, t);
	return unit_run(s);
}
