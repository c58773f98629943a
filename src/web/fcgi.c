/* fcgi - accept loop over libfcgi.  See web/fcgi.h. */
#include "web/fcgi.h"

#define NO_FCGI_DEFINES
#include <fcgiapp.h>

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "web/listen.h"
#include "web/router.h"
#include "web/wake.h"

enum { SILENT_MS = 1000, FULL_PAUSE_MS = 100 };

struct worker {
	const struct server_child *child;
	const struct fcgi_role *role;
	FCGX_Request fcgi;
	struct db *db;
	struct arena arena;
	struct wakes wakes;
	bool schema_known;
};

/* ---- time limits ----------------------------------------------------------------- */

/* The connection that the alarm cuts: reads and writes then end at once. */
static volatile sig_atomic_t alarm_fd = -1;

static void on_alarm(int signo)
{
	if (alarm_fd >= 0)
		shutdown(alarm_fd, SHUT_RDWR);
}

static void time_limit(int fd, unsigned seconds)
{
	alarm_fd = fd;
	alarm(fd < 0 ? 0 : seconds);
}

static void own_signals(void)
{
	struct sigaction cut = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, ignore = {.sa_handler = SIG_IGN};
	sigset_t set;

	/* libfcgi took what it found free. */
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGUSR1, &ignore, NULL);
	sigaction(SIGALRM, &cut, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}

/* ---- one request ------------------------------------------------------------------- */

static void read_params(const FCGX_Request *fcgi, struct request *req)
{
	for (char **p = fcgi->envp; p && *p; p++) {
		struct str value = str_of(*p), name;

		if (str_cut(&value, '=', &name))
			request_param(req, name, value);
	}
}

static enum err read_body(struct request *req, struct error *e)
{
	FCGX_Request *fcgi = req->reader;
	size_t len = (size_t)req->content_length;
	char *body = arena_alloc(req->arena, len + 1);

	if (!body)
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	if (FCGX_GetStr(body, (int)len, fcgi->in) != (int)len)
		return error_set(e, ERR_INVALID, "The body is shorter than Content-Length says.");
	req->body = (struct str){body, len};
	return OK;
}

/* The stream's buffer was handed to the kernel, and is freed as it is. */
static void wipe_stream(FCGX_Stream *out)
{
	if (out->wrNext && out->stop > out->wrNext)
		crypto_wipe(out->wrNext, (size_t)(out->stop - out->wrNext));
}

static void write_answer(FCGX_Request *fcgi, const struct response *res)
{
	cleanup_buf struct buf head = BUF_INIT(64 << 10);

	response_head(res, &head);
	FCGX_PutStr(head.ptr, (int)head.len, fcgi->out);
	if (!res->no_body && res->status != 204 && res->status != 304)
		FCGX_PutStr(res->body.ptr ? res->body.ptr : "", (int)res->body.len, fcgi->out);
	if (FCGX_FFlush(fcgi->out) || FCGX_GetError(fcgi->out))
		log_debug("fcgi.write", "error=%d", FCGX_GetError(fcgi->out));
	if (res->body.secret)
		wipe_stream(fcgi->out);
}

static void serve(struct worker *w)
{
	struct ctx ctx = {
		.serves = w->role->serves,
		.db = w->db,
		.config = w->child->config,
		.arena = &w->arena,
		.templates = w->child->shared,
		.schema_known = &w->schema_known,
		.wakes = &w->wakes,
	};
	struct request req;
	struct response res;

	request_init(&req, &w->arena);
	req.read_body = read_body;
	req.reader = &w->fcgi;
	response_init(&res, &w->arena);
	read_params(&w->fcgi, &req);
	router_handle(&ctx, &req, &res);
	time_limit(w->fcgi.ipcFd, FCGI_WRITE_SECONDS);
	write_answer(&w->fcgi, &res);
	request_done(&req);
	response_done(&res);
	arena_reset(&w->arena);
}

/* ---- connections ---------------------------------------------------------------------- */

/* nginx speaks at once; who does not gets no process for long. */
static bool speaks(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, SILENT_MS) == 1;
}

static void serve_connection(struct worker *w, int fd)
{
	if (!speaks(fd)) {
		close(fd);
		return;
	}
	/* With a kept connection in place libfcgi does not accept; after a malformed
	 * begin it closes it and tries to accept from listen_sock, which is -1. */
	w->fcgi.ipcFd = fd;
	w->fcgi.keepConnection = 1;
	time_limit(fd, FCGI_READ_SECONDS);
	if (FCGX_Accept_r(&w->fcgi) == 0) {
		serve(w);
		FCGX_Finish_r(&w->fcgi);
	} else {
		log_debug("fcgi.begin", "malformed");
	}
	time_limit(-1, 0);
	FCGX_Free(&w->fcgi, 1);
	wake_flush(&w->wakes, w->db);
}

static void pause_ms(int64_t ms)
{
	struct timespec ts = {.tv_nsec = ms * 1000000};

	nanosleep(&ts, NULL);
}

/* How long to wait for a connection at most; -1 = for ever. */
static int64_t until_next(struct worker *w)
{
	int64_t hint = wake_timer(&w->wakes), tick = w->role->tick ? w->role->tick(w->child, w->db) : -1;

	return hint < 0 || (tick >= 0 && tick < hint) ? tick : hint;
}

/* False when the listening descriptor is of no use any more. */
static bool turn(struct worker *w)
{
	struct pollfd p = {.fd = w->child->listen_fd, .events = POLLIN};
	int64_t ms = until_next(w);
	struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	int fd, n = ppoll(&p, 1, ms < 0 ? NULL : &ts, w->child->open_mask);

	if (n == 0)
		wake_flush(&w->wakes, w->db);
	if (n <= 0)
		return true;
	switch (listen_accept(p.fd, w->child->config->nginx_peers, false, &fd)) {
	case ACCEPTED: serve_connection(w, fd); return true;
	case ACCEPT_NONE: return true;
	case ACCEPT_FULL: pause_ms(FULL_PAUSE_MS); return true;
	case ACCEPT_BROKEN: return false;
	}
	return false;
}

static bool start(struct worker *w)
{
	char application[32];
	struct db_options o = {.conninfo = w->child->config->database, .application = application};

	snprintf(application, sizeof(application), "gpupool-web %s/%d", serves_name(w->role->serves), w->child->number);
	crypto_password_slots((int)w->child->config->password_slots);
	/* Milliseconds that closing waits for the peer to close first. */
	setenv("LIBFCGI_OS_CLOSE_POLL_TIMEOUT", "200", 1);
	setenv("LIBFCGI_IS_AF_UNIX_KEEPER_POLL_TIMEOUT", "200", 1);
	if (FCGX_Init() || FCGX_InitRequest(&w->fcgi, -1, FCGI_FAIL_ACCEPT_ON_INTR)) {
		log_error("fcgi.init", "failed");
		return false;
	}
	own_signals();
	if (w->role->serves == SERVES_API && !w->child->number && access(w->child->config->state, W_OK))
		log_warn("web.state", "path=%s error=\"%s\" effect=\"nobody can sign in by password\"", w->child->config->state, strerror(errno));
	arena_init(&w->arena, FCGI_ARENA);
	return db_open(&o, &w->db) == OK;
}

int fcgi_serve(const struct server_child *child, const struct fcgi_role *role)
{
	static struct worker w; /* hints of 3 KiB and more: not on the stack */
	bool usable = true;

	w = (struct worker){.child = child, .role = role};
	if (!start(&w))
		return 1;
	while (usable && !server_stopping())
		usable = turn(&w);
	wake_flush(&w.wakes, w.db);
	if (role->end)
		role->end(child, w.db);
	db_close(w.db);
	arena_free(&w.arena);
	return usable ? 0 : 1;
}

int fcgi_child(const struct server_child *child)
{
	static const struct fcgi_role api = {.serves = SERVES_API};

	return fcgi_serve(child, &api);
}
