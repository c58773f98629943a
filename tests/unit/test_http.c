/* Outgoing requests against a server that answers with exactly the bytes given. */
#include "base/clock.h"
#include "base/http.h"
#include "base/outgoing.h"
#include "peer.h"
#include "unit.h"

#include <signal.h>
#include <sys/wait.h>

/* ---- the client ---- */

static struct peer peer;
static struct http_client *client;
static struct arena arena;
static struct http_reply reply;
static struct error error;

static void setup(void)
{
	arena_init(&arena, 16 << 20);
	ck_assert_int_eq(http_client_new(&client), OK);
}

static void teardown(void)
{
	http_client_free(client);
	peer_free(&peer);
	arena_free(&arena);
}

static const char *url(const char *rest)
{
	return arena_printf(&arena, "http://127.0.0.1:%d%s", peer.port, rest);
}

#define START(...)                                                     \
	static const struct peer_answer answers_[] = {__VA_ARGS__};    \
	peer_start(&peer, NULL, answers_, ARRAY_LEN(answers_))

static const char *stop(void)
{
	return peer_stop(&peer);
}

static enum err call(struct http_call c)
{
	if (!c.url)
		c.url = url("/a?b=c");
	if (!c.deadline_ms)
		c.deadline_ms = 10000;
	return http_send(client, &arena, &c, &reply, &error);
}

#define CALL(...) call((struct http_call){__VA_ARGS__})

/* ---- what is sent ---- */

START_TEST(test_get)
{
	const char *request;

	START({"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nx-id: 7\r\nETag: \"e\"\r\nContent-Length: 5\r\n\r\nhello"});
	ck_assert_int_eq(CALL(.wanted = "X-Id"), OK);
	ck_assert_str_eq(reply.wanted, "7");
	ck_assert_int_eq(reply.status, 200);
	ck_assert(str_eqz(reply.body, "hello"));
	ck_assert_str_eq(reply.content_type, "text/x");
	ck_assert_str_eq(reply.etag, "\"e\"");
	ck_assert_int_eq(reply.retry_after_s, -1);
	ck_assert(!reply.maybe_sent);
	request = stop();
	ck_assert(str_starts(str_of(request), "GET /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:"));
	ck_assert_ptr_null(strcasestr(request, "Accept-Encoding"));
	ck_assert_ptr_null(strcasestr(request, "Content-"));
}
END_TEST

START_TEST(test_post)
{
	static const struct http_header headers[] = {{"Authorization", "Bearer x"}, {"Content-Type", "application/json"},
						     {"X-Empty", ""}, {NULL, NULL}};
	const char *request;

	START({"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"});
	ck_assert_int_eq(CALL(.method = "POST", .headers = headers, .body = STR("{\0}")), OK);
	ck_assert_int_eq(reply.status, 201);
	ck_assert_uint_eq(reply.body.len, 0);
	ck_assert_ptr_null(reply.content_type);
	ck_assert_ptr_null(reply.wanted);
	request = stop();
	ck_assert(str_starts(str_of(request), "POST /a?b=c HTTP/1.1\r\n"));
	ck_assert_ptr_nonnull(strstr(request, "\r\nAuthorization: Bearer x\r\n"));
	ck_assert_ptr_nonnull(strstr(request, "\r\nContent-Type: application/json\r\n"));
	ck_assert_ptr_nonnull(strstr(request, "\r\nX-Empty:\r\n"));
	ck_assert_ptr_nonnull(strstr(request, "\r\nContent-Length: 3\r\n"));
	ck_assert_ptr_null(strcasestr(request, "Expect"));
	ck_assert(str_ends(buf_str(&peer.received), "}"));
}
END_TEST

static const struct {
	const char *method, *first_line;
	struct str body;
	bool length;
} methods[] = {
	{"POST", "POST /a?b=c ", {NULL, 0}, true}, {"POST", "POST /a?b=c ", {"", 0}, true},
	{"PUT", "PUT /a?b=c ", {"x", 1}, true},	   {"PATCH", "PATCH /a?b=c ", {"x", 1}, true},
	{"DELETE", "DELETE /a?b=c ", {NULL, 0}, false}, {"HEAD", "HEAD /a?b=c ", {NULL, 0}, false},
};

START_TEST(test_method)
{
	const char *request;

	START({"HTTP/1.1 204 No Content\r\n\r\n"});
	ck_assert_int_eq(CALL(.method = methods[_i].method, .body = methods[_i].body), OK);
	ck_assert_int_eq(reply.status, 204);
	request = stop();
	ck_assert(str_starts(str_of(request), methods[_i].first_line));
	ck_assert_int_eq(strstr(request, "Content-Length: ") != NULL, methods[_i].length);
	ck_assert_ptr_null(strcasestr(request, "urlencoded"));
}
END_TEST

static int file_of(size_t size)
{
	char name[] = "/tmp/gpupool-body-XXXXXX";
	int fd = mkstemp(name);

	ck_assert_int_gt(fd, 0);
	unlink(name);
	for (size_t i = 0; i < size; i++)
		ck_assert_int_eq(write(fd, &(char){(char)('a' + i % 26)}, 1), 1);
	return fd;
}

START_TEST(test_body_from_a_file)
{
	cleanup_fd int fd = file_of(100000);
	const char *body;

	START({"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"});
	ck_assert_int_eq(CALL(.method = "PUT", .body_fd = fd, .body_size = 100000), OK);
	body = strstr(stop(), "\r\n\r\n") + 4;
	ck_assert_ptr_nonnull(strstr(peer.received.ptr, "\r\nContent-Length: 100000\r\n"));
	ck_assert_uint_eq(strlen(body), 100000);
	ck_assert_int_eq(body[99999], 'a' + 99999 % 26);
}
END_TEST

START_TEST(test_file_shorter_than_said)
{
	cleanup_fd int fd = file_of(10);

	START({"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"});
	ck_assert_int_eq(CALL(.method = "PUT", .body_fd = fd, .body_size = 11), ERR_INTERNAL);
	ck_assert(reply.maybe_sent);
	stop();
}
END_TEST

static const struct http_header bad_headers[][2] = {
	{{"X", "a\r\nY: b"}}, {{"X", "a\nY: b"}}, {{"X", "a\r"}}, {{"X\r\nY", "a"}}, {{"X Y", "a"}}, {{"X:", "a"}}, {{"", "a"}},
};

START_TEST(test_header_that_writes_headers)
{
	START({"HTTP/1.1 200 OK\r\n\r\n"});
	ck_assert_int_eq(CALL(.headers = bad_headers[_i]), ERR_INVALID);
	ck_assert(!reply.maybe_sent);
	ck_assert_int_eq(CALL(.method = "GET /x HTTP/1.1\r\nX:"), ERR_INVALID);
	ck_assert_int_eq(CALL(.method = ""), ERR_INVALID);
	ck_assert_str_eq(stop(), "");
}
END_TEST

static const char *const bad_urls[] = {
	"", "/x", "ftp://127.0.0.1/", "file:///etc/passwd", "gopher://127.0.0.1/", "http://u:p@127.0.0.1:1/", "http://",
	"http://127.0.0.1:99999/", "http://a b/",
};

START_TEST(test_url_that_cannot_be_called)
{
	ck_assert_int_eq(CALL(.url = bad_urls[_i]), ERR_INVALID);
	ck_assert_int_eq(reply.status, 0);
	ck_assert(!reply.maybe_sent);
}
END_TEST

START_TEST(test_proxy_of_the_environment)
{
	setenv("http_proxy", "http://127.0.0.1:1", 1);
	setenv("all_proxy", "http://127.0.0.1:1", 1);
	START({"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"});
	ck_assert_int_eq(CALL(NULL), OK);
	stop();
}
END_TEST

START_TEST(test_unix_socket)
{
	static const struct peer_answer answer = {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
	char path[64];

	snprintf(path, sizeof(path), "/tmp/gpupool-http-%d.sock", (int)getpid());
	peer_start(&peer, path, &answer, 1);
	ck_assert_int_eq(CALL(.url = "http://example.org/x", .unix_socket = path), OK);
	ck_assert_ptr_nonnull(strstr(stop(), "\r\nHost: example.org\r\n"));
	unlink(path);
	ck_assert_int_eq(CALL(.url = "http://example.org/x", .unix_socket = path), ERR_UNAVAILABLE);
}
END_TEST

START_TEST(test_connection_is_kept)
{
	START({"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", PEER_KEEP}, {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2", PEER_KEEP});
	ck_assert_int_eq(CALL(NULL), OK);
	ck_assert_int_eq(CALL(NULL), OK);
	ck_assert(str_eqz(reply.body, "2"));
	stop();
	ck_assert_uint_eq(peer.connections, 1);
}
END_TEST

/* ---- never twice ---- */

START_TEST(test_post_on_a_connection_that_died)
{
	/* The server takes the POST and hangs up: libcurl must not send it again. */
	START({"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", PEER_KEEP}, {""}, {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"});
	ck_assert_int_eq(CALL(NULL), OK);
	ck_assert_int_eq(CALL(.method = "POST", .url = url("/once"), .body = STR("x")), ERR_UNAVAILABLE);
	ck_assert(reply.maybe_sent);
	stop();
	ck_assert_ptr_null(strstr(strstr(peer.received.ptr, "POST /once") + 1, "POST /once"));
}
END_TEST

START_TEST(test_post_that_may_be_repeated)
{
	START({"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", PEER_KEEP}, {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2", PEER_KEEP});
	ck_assert_int_eq(CALL(.method = "POST", .repeatable = true), OK);
	ck_assert_int_eq(CALL(.method = "POST", .repeatable = true), OK);
	ck_assert(str_eqz(reply.body, "2"));
	stop();
	ck_assert_uint_eq(peer.connections, 1);
}
END_TEST

/* ---- URLs that others gave ---- */

START_TEST(test_address_that_is_refused)
{
	const struct outgoing nobody = {"", false};

	START({"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", PEER_KEEP}, {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", PEER_KEEP});
	ck_assert_int_eq(CALL(.outgoing = &nobody), ERR_FORBIDDEN);
	ck_assert(!reply.maybe_sent);
	/* Nor by a name, nor over a connection that another call left open. */
	ck_assert_int_eq(CALL(.url = arena_printf(&arena, "http://localhost:%d/", peer.port), .outgoing = &nobody), ERR_FORBIDDEN);
	ck_assert_uint_eq(peer.connections, 0);
	ck_assert_int_eq(CALL(NULL), OK);
	ck_assert_int_eq(CALL(.outgoing = &nobody), ERR_FORBIDDEN);
	ck_assert_int_eq(CALL(.outgoing = &nobody, .unix_socket = "/tmp/x"), ERR_FORBIDDEN);
	stop();
	ck_assert_uint_eq(peer.connections, 1);
}
END_TEST

START_TEST(test_address_that_is_allowed)
{
	struct outgoing some = {arena_printf(&arena, "127.0.0.1/32:1"), false};

	START({"HTTP/1.1 302 Found\r\nLocation: /2\r\nContent-Length: 0\r\n\r\n"}, {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
	      {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"});
	ck_assert_int_eq(CALL(.outgoing = &some), ERR_FORBIDDEN); /* another port */
	some.allow = arena_printf(&arena, "127.0.0.1/32:%d", peer.port);
	ck_assert_int_eq(CALL(.outgoing = &some, .redirects = 3), OK);
	ck_assert_int_eq(reply.status, 302);
	ck_assert_int_eq(CALL(.outgoing = &(struct outgoing){"", true}), OK);
	ck_assert_int_eq(reply.status, 200);
	stop();
}
END_TEST

/* ---- the end of a program ---- */

static void *abort_soon(void *unused)
{
	(void)unused;
	for (size_t n = 0; !n; clock_sleep_ms(5)) {
		pthread_mutex_lock(&peer.lock);
		n = peer.received.len;
		pthread_mutex_unlock(&peer.lock);
	}
	http_client_abort(client);
	return NULL;
}

START_TEST(test_abort)
{
	int64_t begin = clock_ms();
	pthread_t thread;

	START({"", PEER_WAIT});
	ck_assert_int_eq(pthread_create(&thread, NULL, abort_soon, NULL), 0);
	ck_assert_int_eq(CALL(.method = "POST", .body = STR("x"), .deadline_ms = 60000), ERR_UNAVAILABLE);
	ck_assert(reply.maybe_sent);
	ck_assert_int_lt(clock_ms() - begin, 10000);
	pthread_join(thread, NULL);
	ck_assert_int_eq(CALL(.method = "POST"), ERR_UNAVAILABLE);
	ck_assert(!reply.maybe_sent);
	ck_assert_uint_eq(peer.connections, 1);
	stop();
}
END_TEST

/* ---- what comes back ---- */

START_TEST(test_any_status_is_an_answer)
{
	START({"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy"});
	ck_assert_int_eq(CALL(NULL), OK);
	ck_assert_int_eq(reply.status, 503);
	ck_assert_int_eq(reply.retry_after_s, 7);
	ck_assert(str_eqz(reply.body, "busy"));
	stop();
}
END_TEST

START_TEST(test_retry_after_a_date_long_gone)
{
	START({"HTTP/1.1 429 No\r\nRetry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\nContent-Length: 0\r\n\r\n"});
	ck_assert_int_eq(CALL(NULL), OK);
	ck_assert_int_eq(reply.retry_after_s, 0);
	stop();
}
END_TEST

static const struct {
	const char *headers;
	int64_t seconds;
} waits[] = {
	{"Retry-After: 0", 0}, {"Retry-After: 1.2", 2}, {"Retry-After:  30 ", 30}, {"Retry-After: -5", 0}, {"Retry-After: soon", 0},
	{"Retry-After: 1e300", 7 * 86400}, {"Retry-After: nan", 0}, {"X: y", -1},
	{"Date: Wed, 21 Oct 2015 07:28:00 GMT\r\nRetry-After: Wed, 21 Oct 2015 07:29:30 GMT", 90},
	{"Date: Wed, 21 Oct 2015 07:28:00 GMT\r\nRetry-After: Wed, 21 Oct 2015 07:27:00 GMT", 0},
	{"Retry-After: Wed, 21 Oct 2099 07:28:00 GMT", 7 * 86400},
};

START_TEST(test_retry_after)
{
	struct peer_answer answer = {
		arena_printf(&arena, "HTTP/1.1 429 No\r\n%s\r\nContent-Length: 0\r\n\r\n", waits[_i].headers), PEER_HANG_UP};

	peer_start(&peer, NULL, &answer, 1);
	ck_assert_int_eq(CALL(NULL), OK);
	ck_assert_int_eq(reply.retry_after_s, waits[_i].seconds);
	stop();
}
END_TEST

START_TEST(test_redirect_not_asked_for)
{
	START({"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"});
	ck_assert_int_eq(CALL(NULL), OK);
	ck_assert_int_eq(reply.status, 302);
	ck_assert_str_eq(reply.location, "/elsewhere");
	ck_assert_ptr_null(strstr(stop(), "elsewhere"));
}
END_TEST

START_TEST(test_redirect_followed)
{
	START({"HTTP/1.1 302 Found\r\nLocation: /2\r\nContent-Length: 3\r\n\r\nold", PEER_KEEP},
	      {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nnew", PEER_KEEP},
	      {"HTTP/1.1 302 Found\r\nLocation: /3\r\nContent-Length: 0\r\n\r\n", PEER_KEEP},
	      {"HTTP/1.1 302 Found\r\nLocation: /4\r\nContent-Length: 0\r\n\r\n", PEER_KEEP});
	ck_assert_int_eq(CALL(.redirects = 1), OK);
	ck_assert_int_eq(reply.status, 200);
	ck_assert(str_eqz(reply.body, "new"));
	ck_assert_int_eq(CALL(.redirects = 1), ERR_UPSTREAM);
	ck_assert_ptr_null(strstr(stop(), "GET /4"));
}
END_TEST

START_TEST(test_redirect_to_a_file)
{
	START({"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n"});
	ck_assert_int_eq(CALL(.redirects = 3), ERR_UPSTREAM);
	stop();
}
END_TEST

START_TEST(test_reply_at_its_maximum)
{
	START({"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", PEER_KEEP},
	      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", PEER_KEEP});
	ck_assert_int_eq(CALL(.max_reply = 5), OK);
	ck_assert(str_eqz(reply.body, "hello"));
	ck_assert_int_eq(CALL(.max_reply = 4), ERR_TOO_LARGE);
	ck_assert(reply.maybe_sent);
	stop();
}
END_TEST

START_TEST(test_reply_larger_than_the_arena)
{
	START({"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"});
	struct arena small;
	struct http_call c = {.url = url("/"), .deadline_ms = 10000};

	arena_init(&small, 0);
	ck_assert_int_eq(http_send(client, &small, &c, &reply, &error), ERR_TOO_LARGE);
	arena_free(&small);
	stop();
}
END_TEST

START_TEST(test_endless_headers)
{
	static char text[200000];
	struct peer_answer answer = {text, PEER_HANG_UP};
	size_t len = (size_t)snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\n");

	while (len < sizeof(text) - 20)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "X-Header: 0123\r\n");
	peer_start(&peer, NULL, &answer, 1);
	ck_assert_int_eq(CALL(NULL), ERR_TOO_LARGE);
	stop();
}
END_TEST

struct sink {
	size_t total, most;
};

static bool take(void *ctx, struct str bytes)
{
	struct sink *sink = ctx;

	sink->total += bytes.len;
	return sink->total <= sink->most;
}

START_TEST(test_stream_to_a_callback)
{
	static char text[3 << 20];
	struct peer_answer answers[] = {{text, PEER_HANG_UP}, {text, PEER_HANG_UP}, {text, PEER_HANG_UP}};
	struct sink sink = {.most = SIZE_MAX};
	int len = snprintf(text, sizeof(text), "HTTP/1.1 200 OK\r\nContent-Length: 2097152\r\n\r\n");

	memset(text + len, 'x', 2 << 20);
	peer_start(&peer, NULL, answers, ARRAY_LEN(answers));
	ck_assert_int_eq(CALL(.on_data = take, .ctx = &sink), OK); /* above the 1 MiB of a kept body */
	ck_assert_uint_eq(sink.total, 2 << 20);
	ck_assert_uint_eq(reply.body.len, 0);
	sink = (struct sink){.most = 100};
	ck_assert_int_eq(CALL(.on_data = take, .ctx = &sink), ERR_INTERNAL);
	sink = (struct sink){.most = SIZE_MAX};
	ck_assert_int_eq(CALL(.on_data = take, .ctx = &sink, .max_reply = 1 << 20), ERR_TOO_LARGE);
	ck_assert_uint_le(sink.total, 1 << 20);
	stop();
}
END_TEST

/* ---- failures ---- */

START_TEST(test_nobody_listens)
{
	START({""});
	stop();
	ck_assert_int_eq(CALL(NULL), ERR_UNAVAILABLE);
	ck_assert(!reply.maybe_sent);
	ck_assert_int_eq(reply.status, 0);
	ck_assert_uint_gt(strlen(error.msg), 0);
}
END_TEST

START_TEST(test_no_answer_in_time)
{
	int64_t begin;

	START({"", PEER_WAIT});
	begin = clock_ms();
	ck_assert_int_eq(CALL(.method = "POST", .deadline_ms = 100), ERR_TIMEOUT);
	ck_assert_int_lt(clock_ms() - begin, 5000);
	ck_assert(reply.maybe_sent);
	ck_assert_int_eq(reply.status, 0);
	stop();
}
END_TEST

START_TEST(test_body_stalls)
{
	START({"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", PEER_WAIT});
	ck_assert_int_eq(CALL(.deadline_ms = 100), ERR_TIMEOUT);
	ck_assert_int_eq(reply.status, 200);
	stop();
}
END_TEST

static const struct {
	const char *bytes;
	enum err outcome;
} broken[] = {
	{"", ERR_UNAVAILABLE},
	{"hello", ERR_UPSTREAM},
	{"SSH-2.0-OpenSSH_9.2\r\n", ERR_UPSTREAM},
	{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", ERR_UPSTREAM},
	{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", ERR_UPSTREAM},
	{"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999\r\n\r\nhello", ERR_UPSTREAM},
};

START_TEST(test_broken_reply)
{
	static struct peer_answer answer;

	answer.bytes = broken[_i].bytes;
	peer_start(&peer, NULL, &answer, 1);
	ck_assert_int_eq(CALL(NULL), broken[_i].outcome);
	ck_assert(reply.maybe_sent);
	stop();
}
END_TEST

/* Runs openssl with its output in *out; its process id. */
static pid_t openssl(const char *const argv[], FILE **out)
{
	int ends[2];
	pid_t pid;

	ck_assert_int_eq(pipe(ends), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		dup2(ends[1], STDOUT_FILENO);
		dup2(ends[1], STDERR_FILENO);
		close(ends[0]);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	close(ends[1]);
	*out = fdopen(ends[0], "r");
	ck_assert_ptr_nonnull(*out);
	return pid;
}

START_TEST(test_certificate_that_nobody_signed)
{
	char dir[] = "/tmp/gpupool-tls-XXXXXX", key[64], cert[64], line[512];
	cleanup_file FILE *made = NULL, *served = NULL;
	pid_t pid;
	int status;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(key, sizeof(key), "%s/key", dir);
	snprintf(cert, sizeof(cert), "%s/cert", dir);
	pid = openssl((const char *[]){"openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
				 "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out",
				 cert, NULL}, &made);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && !WEXITSTATUS(status), "openssl req failed");
	pid = openssl((const char *[]){"openssl", "s_server", "-accept", "127.0.0.1:0", "-www", "-key", key, "-cert", cert, NULL},
		      &served);
	peer.port = 0;
	while (!peer.port && fgets(line, sizeof(line), served))
		sscanf(line, "ACCEPT 127.0.0.1:%d", &peer.port);
	ck_assert_msg(peer.port > 0, "openssl s_server does not listen");
	ck_assert_int_eq(CALL(.url = arena_printf(&arena, "https://127.0.0.1:%d/", peer.port)), ERR_UPSTREAM);
	ck_assert(!reply.maybe_sent);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	unlink(key);
	unlink(cert);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("http");
	TCase *t = tcase_create("http");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, test_get);
	tcase_add_test(t, test_post);
	tcase_add_loop_test(t, test_method, 0, ARRAY_LEN(methods));
	tcase_add_test(t, test_body_from_a_file);
	tcase_add_test(t, test_file_shorter_than_said);
	tcase_add_loop_test(t, test_header_that_writes_headers, 0, ARRAY_LEN(bad_headers));
	tcase_add_loop_test(t, test_url_that_cannot_be_called, 0, ARRAY_LEN(bad_urls));
	tcase_add_test(t, test_proxy_of_the_environment);
	tcase_add_test(t, test_unix_socket);
	tcase_add_test(t, test_connection_is_kept);
	tcase_add_test(t, test_post_that_may_be_repeated);
	tcase_add_test(t, test_address_that_is_refused);
	tcase_add_test(t, test_address_that_is_allowed);
	tcase_add_test(t, test_abort);
	tcase_add_loop_test(t, test_retry_after, 0, ARRAY_LEN(waits));
	tcase_add_test(t, test_post_on_a_connection_that_died);
	tcase_add_test(t, test_any_status_is_an_answer);
	tcase_add_test(t, test_retry_after_a_date_long_gone);
	tcase_add_test(t, test_redirect_not_asked_for);
	tcase_add_test(t, test_redirect_followed);
	tcase_add_test(t, test_redirect_to_a_file);
	tcase_add_test(t, test_reply_at_its_maximum);
	tcase_add_test(t, test_reply_larger_than_the_arena);
	tcase_add_test(t, test_endless_headers);
	tcase_add_test(t, test_stream_to_a_callback);
	tcase_add_test(t, test_nobody_listens);
	tcase_add_test(t, test_no_answer_in_time);
	tcase_add_test(t, test_body_stalls);
	tcase_add_loop_test(t, test_broken_reply, 0, ARRAY_LEN(broken));
	tcase_add_test(t, test_certificate_that_nobody_signed);
	suite_add_tcase(s, t);
	return unit_run(s);
}
