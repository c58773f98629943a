/* A small FastCGI client; see fclient.h. */
#include "fclient.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "web/listen.h"
#include "web/events.h"
#include "web/server.h"

/* ---- records ---- */

static void record(struct buf *b, int type, struct str content)
{
	char head[8] = {1, (char)type, 0, 1, (char)(content.len >> 8), (char)content.len, 0, 0};

	buf_add(b, head, 8);
	buf_addstr(b, content);
}

static void length(struct buf *b, size_t n)
{
	if (n < 128) {
		buf_addc(b, (char)n);
		return;
	}
	buf_addc(b, (char)(n >> 24 | 0x80));
	buf_addc(b, (char)(n >> 16));
	buf_addc(b, (char)(n >> 8));
	buf_addc(b, (char)n);
}

static void param(struct buf *b, const char *name, struct str value)
{
	if (!value.ptr)
		return;
	length(b, strlen(name));
	length(b, value.len);
	buf_adds(b, name);
	buf_addstr(b, value);
}

static void send_all(struct fc *c, struct str bytes)
{
	while (bytes.len) {
		ssize_t n = send(c->fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);

		if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
			return;
		ck_assert_msg(n > 0, "send: %s", strerror(errno));
		bytes.ptr += n;
		bytes.len -= (size_t)n;
	}
}

void fc_open(struct fc *c, const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int64_t until = clock_ms() + 10000;

	*c = (struct fc){.path = path, .in = BUF_INIT(64 << 20), .out = BUF_INIT(64 << 20)};
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while (connect(c->fd, (struct sockaddr *)&a, sizeof(a))) {
		ck_assert_msg(clock_ms() < until, "connect %s: %s", path, strerror(errno));
		usleep(10000);
	}
}

void fc_close(struct fc *c)
{
	close(c->fd);
	buf_free(&c->in);
	buf_free(&c->out);
	json_free(c->json);
	*c = (struct fc){.fd = -1};
}

static void add_params(struct buf *p, const struct fc_request *r)
{
	struct str path = str_of(r->uri), query, bearer;
	cleanup_buf struct buf number = BUF_INIT(64), auth = BUF_INIT(1024);

	query = path;
	str_cut(&query, '?', &path);
	param(p, "REQUEST_METHOD", str_of(r->method));
	param(p, "DOCUMENT_URI", path);
	param(p, "QUERY_STRING", query.ptr ? query : STR(""));
	param(p, "REMOTE_ADDR", STR("127.0.0.1"));
	param(p, "REQUEST_ID", STR("0123456789abcdef0123456789abcdef"));
	param(p, "HTTP_HOST", STR("127.0.0.1"));
	param(p, "HTTP_USER_AGENT", STR("test"));
	param(p, "HTTP_ACCEPT", str_of(r->accept));
	param(p, "HTTP_COOKIE", str_of(r->cookie));
	param(p, "HTTP_CONTENT_DIGEST", str_of(r->digest));
	param(p, "HTTP_LAST_EVENT_ID", str_of(r->last_event_id));
	if (r->bearer) {
		buf_addf(&auth, "Bearer %s", r->bearer);
		bearer = buf_str(&auth);
		param(p, "HTTP_AUTHORIZATION", bearer);
	}
	if (r->content_length >= 0 && (r->content_length || r->body.ptr)) {
		buf_addf(&number, "%lld", r->content_length ? r->content_length : (long long)r->body.len);
		param(p, "CONTENT_LENGTH", buf_str(&number));
		param(p, "CONTENT_TYPE", str_of(r->content_type ? r->content_type : "application/json"));
	}
}

void fc_send_head(struct fc *c, const struct fc_request *r)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 20), p = BUF_INIT(60000);

	buf_reset(&c->out);
	c->ended = false;
	c->status = 0;
	json_free(c->json);
	c->json = NULL;
	add_params(&p, r);
	record(&b, 1, (struct str){"\0\1\1\0\0\0\0\0", 8});
	record(&b, 4, buf_str(&p));
	record(&b, 4, STR(""));
	send_all(c, buf_str(&b));
}

void fc_send_body(struct fc *c, struct str bytes)
{
	cleanup_buf struct buf b = BUF_INIT(64 << 20);

	if (!bytes.len)
		record(&b, 5, STR(""));
	while (bytes.len) {
		struct str piece = {bytes.ptr, bytes.len < 60000 ? bytes.len : 60000};

		record(&b, 5, piece);
		bytes.ptr += piece.len;
		bytes.len -= piece.len;
	}
	send_all(c, buf_str(&b));
}

void fc_send(struct fc *c, const struct fc_request *r)
{
	fc_send_head(c, r);
	if (r->body.len)
		fc_send_body(c, r->body);
	fc_send_body(c, STR(""));
}

/* ---- answers ---- */

static void take_records(struct fc *c)
{
	while (c->in.len >= 8) {
		const unsigned char *h = (const unsigned char *)c->in.ptr;
		size_t len = (size_t)h[4] << 8 | h[5], whole = 8 + len + h[6];

		if (c->in.len < whole)
			return;
		if (h[1] == 6)
			buf_add(&c->out, c->in.ptr + 8, len);
		c->ended |= h[1] == 3;
		buf_consume(&c->in, whole);
	}
}

/* Reads once; false at the end of time or of the connection. */
static bool read_some(struct fc *c, int64_t until)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};
	char bytes[65536];
	ssize_t n;

	if (until <= clock_ms() || poll(&p, 1, (int)(until - clock_ms())) <= 0)
		return false;
	n = recv(c->fd, bytes, sizeof(bytes), 0);
	if (n <= 0) {
		c->closed = true;
		return false;
	}
	buf_add(&c->in, bytes, (size_t)n);
	take_records(c);
	return true;
}

static void split(struct fc *c)
{
	const char *blank = c->out.ptr ? strstr(c->out.ptr, "\r\n\r\n") : NULL;
	struct error e;

	if (!blank)
		return;
	ck_assert(str_starts(buf_str(&c->out), "Status: "));
	c->status = (int)strtol(c->out.ptr + 8, NULL, 10);
	c->head = (struct str){c->out.ptr, (size_t)(blank - c->out.ptr)};
	c->body = (struct str){blank + 4, c->out.len - c->head.len - 4};
	json_free(c->json);
	c->json = NULL;
	if (c->ended && c->body.len && *c->body.ptr == '{' && json_parse(c->body, SIZE_MAX, &c->json, &e))
		c->json = NULL;
}

bool fc_read(struct fc *c, int ms)
{
	int64_t until = clock_ms() + ms;

	while (!c->ended && read_some(c, until))
		;
	split(c);
	return c->ended;
}

bool fc_read_until(struct fc *c, const char *text, int ms)
{
	int64_t until = clock_ms() + ms;

	while (!(c->out.ptr && strstr(c->out.ptr, text)) && !c->ended && read_some(c, until))
		;
	split(c);
	return c->out.ptr && strstr(c->out.ptr, text);
}

int fc_call(struct fc *c, const char *method, const char *uri, const char *bearer, const char *body)
{
	struct fc_request r = {.method = method, .uri = uri, .bearer = bearer, .body = str_of(body)};

	fc_send(c, &r);
	ck_assert_msg(fc_read(c, 15000), "no answer to %s %s", method, uri);
	return c->status;
}

/* ---- an events process ---- */

static volatile sig_atomic_t stop;

static void on_term(int signo)
{
	(void)signo;
	stop = 1;
}

static _Noreturn void run_process(struct events_process *p, int fd, sigset_t before)
{
	struct sigaction sa = {.sa_handler = on_term};
	struct events *ev;
	struct error e = {0};
	int64_t until;

	/* Out of the test's group, but not outliving it. */
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigprocmask(SIG_SETMASK, &before, NULL);
	log_init("events", getenv("GPUPOOL_TEST_LOG") ? LOG_DEBUG : LOG_ERROR);
	if (events_new(&p->config, fd, &ev, &e)) {
		fprintf(stderr, "events: %s\n", e.msg);
		_exit(1);
	}
	while (!stop)
		events_turn(ev, 100, NULL);
	until = clock_ms() + 5000;
	while (!events_drain(ev))
		if (clock_ms() > until)
			_exit(3);
		else
			events_turn(ev, 20, NULL);
	events_free(ev);
	close(fd);
	arena_free(&p->arena);
	exit(0);
}

void events_process_start(struct events_process *p, const char *dir, const char *database, void (*adjust)(struct config *c))
{
	struct error e = {0};
	sigset_t term, before;
	int fd;

	*p = (struct events_process){0};
	crypto_init();
	arena_init(&p->arena, 1 << 20);
	setenv("GPUPOOL_DATABASE", database, 1);
	ck_assert_msg(config_load(&p->arena, NULL, &p->config, &e) == OK, "%s", e.msg);
	snprintf(p->socket, sizeof(p->socket), "%s/events.%d.sock", dir, (int)getpid());
	snprintf(p->store, sizeof(p->store), "%s/store.%d", dir, (int)getpid());
	mkdir(p->store, 0700);
	p->config.listen = p->socket;
	p->config.store = p->store;
	p->config.public_url = "http://127.0.0.1:8080";
	if (adjust)
		adjust(&p->config);
	unlink(p->socket);
	ck_assert_msg(listen_open(&p->config, &fd, &e) == OK, "%s", e.msg);
	fflush(NULL);
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before); /* until its handler is there */
	p->pid = fork();
	ck_assert_int_ge(p->pid, 0);
	if (!p->pid)
		run_process(p, fd, before);
	sigprocmask(SIG_SETMASK, &before, NULL);
	close(fd);
}

void events_process_stop(struct events_process *p)
{
	int status = 0;

	kill(p->pid, SIGTERM);
	ck_assert_int_eq(waitpid(p->pid, &status, 0), p->pid);
	arena_free(&p->arena);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the events process ended with %d", status);
}
