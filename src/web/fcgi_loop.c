/*
 * The FastCGI responder of the events role; see web/fcgi_loop.h.
 *
 * Input runs through one state machine, byte ranges in, callbacks out; it holds
 * no input but a record's header, the eight bytes of a BEGIN and the
 * parameters.  A connection is closed in one place, close_conn(), and its
 * memory released after the turn's work, because callers further up still hold
 * the pointer.
 */
#include "web/fcgi_loop.h"

#include <errno.h>
#include <fastcgi.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "web/listen.h"

enum {
	READ_AT_ONCE = 64 << 10,
	READS_A_TURN = 4,
	ACCEPTS_A_TURN = 64,
	SWEEP_MS = 1000,
	ACCEPT_PAUSE_MS = 100,
	SMALL_REPLIES_MOST = 16 << 10, /* to management records that nobody reads */
};

enum state {
	WAIT,   /* between requests */
	PARAMS, /* after BEGIN */
	BODY,   /* begin() was called, body not complete */
	ANSWER, /* body complete, answer not */
	SKIP,   /* answered; the rest of the body is thrown away */
};

struct fcgi_call {
	struct fcgi_server *server;
	struct watch watch;
	struct fcgi_call *prev, *next;
	struct fcgi_call *next_dirty;
	int64_t deadline; /* of the state, or of a write; looked at by the sweep */
	void *user;

	enum state state;
	bool keep;     /* the peer wants the connection kept */
	bool lent;     /* the handler holds the call */
	bool closing;  /* close when the output has left */
	bool dirty;
	bool paused;   /* input is not read */
	bool began;    /* the BEGIN record at hand was let in */
	uint16_t id;

	/* the record at hand */
	uint8_t head[FCGI_HEADER_LEN];
	uint8_t have; /* bytes of head */
	uint8_t begin_have;
	uint8_t begin[sizeof(FCGI_BeginRequestBody)];
	uint32_t left; /* content still to come */
	uint8_t pad;   /* padding still to come */

	struct buf params;
	struct buf out;
	size_t sent; /* of out */
};

struct fcgi_server {
	struct loop *loop;
	const struct fcgi_limits *limits;
	const struct fcgi_handler *handler;
	void *ctx;
	struct watch listener;
	int listen_fd;
	struct timer sweep, resume;
	struct task after;
	struct fcgi_call *conns, *dirty, *dead;
	int count;
	bool draining;
	char input[READ_AT_ONCE];
};

const struct fcgi_limits fcgi_limits_usual = {
	.connections = 4096,
	.header_ms = 10000,
	.body_ms = 60000,
	.idle_ms = 75000,
	.write_ms = 30000,
	.peers = "",
};

/* ---- output ---- */

static void mark_dirty(struct fcgi_call *c)
{
	if (!c->dirty) {
		c->dirty = true;
		c->next_dirty = c->server->dirty;
		c->server->dirty = c;
	}
	loop_defer(c->server->loop, &c->server->after);
}

static void add_record(struct fcgi_call *c, int type, unsigned id, const void *bytes, size_t len)
{
	unsigned char head[FCGI_HEADER_LEN] = {FCGI_VERSION_1, (unsigned char)type, (unsigned char)(id >> 8),
					       (unsigned char)id, (unsigned char)(len >> 8), (unsigned char)len};

	buf_add(&c->out, head, sizeof(head));
	buf_add(&c->out, bytes, len);
	mark_dirty(c);
}

static void add_end(struct fcgi_call *c, unsigned id, int protocol_status)
{
	unsigned char body[sizeof(FCGI_EndRequestBody)] = {0, 0, 0, 0, (unsigned char)protocol_status};

	add_record(c, FCGI_END_REQUEST, id, body, sizeof(body));
}

size_t fcgi_pending(const struct fcgi_call *c)
{
	return c->out.len - c->sent;
}

/* What is watched follows from the connection's state; false: it was closed. */
static bool watch(struct fcgi_call *c, bool output)
{
	uint32_t events = (c->paused ? 0u : EPOLLIN) | (output ? EPOLLOUT : 0u);

	return events == c->watch.events || loop_watch(c->server->loop, &c->watch, c->watch.fd, events);
}

void fcgi_pause(struct fcgi_call *c, bool paused)
{
	c->paused = paused;
	c->deadline = paused ? INT64_MAX : loop_now(c->server->loop) + c->server->limits->body_ms;
	if (!watch(c, c->watch.events & EPOLLOUT))
		mark_dirty(c); /* found out there */
}

void fcgi_write(struct fcgi_call *c, struct str bytes)
{
	while (bytes.len) {
		size_t n = bytes.len < FCGI_MAX_LENGTH ? bytes.len : FCGI_MAX_LENGTH;

		add_record(c, FCGI_STDOUT, c->id, bytes.ptr, n);
		bytes.ptr += n;
		bytes.len -= n;
	}
}

/* ---- the life of a connection ---- */

static void close_conn(struct fcgi_call *c)
{
	struct fcgi_server *s = c->server;
	int fd = c->watch.fd;

	if (fd < 0)
		return;
	loop_unwatch(s->loop, &c->watch);
	close(fd);
	s->count--;
	if (c->prev)
		c->prev->next = c->next;
	else
		s->conns = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->next = s->dead;
	s->dead = c;
	loop_defer(s->loop, &s->after);
	if (c->lent) {
		c->lent = false;
		s->handler->gone(s->ctx, c);
	}
}

static bool is_closed(const struct fcgi_call *c)
{
	return c->watch.fd < 0;
}

static void refuse(struct fcgi_call *c, const char *why)
{
	log_warn("fcgi.protocol", "error=\"%s\"", why);
	close_conn(c);
}

static void enter(struct fcgi_call *c, enum state state)
{
	const struct fcgi_limits *l = c->server->limits;
	const int ms[] = {[WAIT] = l->idle_ms, [PARAMS] = l->header_ms, [BODY] = l->body_ms, [SKIP] = l->body_ms};

	c->state = state;
	c->deadline = state == ANSWER ? INT64_MAX : loop_now(c->server->loop) + ms[state];
	if (fcgi_pending(c))
		c->deadline = loop_now(c->server->loop) + l->write_ms;
}

void fcgi_set_user(struct fcgi_call *c, void *user)
{
	c->user = user;
}

void *fcgi_user(const struct fcgi_call *c)
{
	return c->user;
}

void fcgi_finish(struct fcgi_call *c)
{
	if (!c->lent)
		BUG("finish of a call that is not lent");
	c->lent = false;
	c->user = NULL;
	add_record(c, FCGI_STDOUT, c->id, "", 0);
	add_end(c, c->id, FCGI_REQUEST_COMPLETE);
	if (!c->keep || c->server->draining)
		c->closing = true;
	c->paused = false;
	enter(c, c->state == ANSWER ? WAIT : SKIP);
}

void fcgi_drop(struct fcgi_call *c)
{
	c->lent = false;
	close_conn(c);
}

/* ---- input ---- */

static unsigned record_id(const struct fcgi_call *c)
{
	return (unsigned)c->head[2] << 8 | c->head[3];
}

static void take_begin(struct fcgi_call *c)
{
	unsigned role = (unsigned)c->begin[0] << 8 | c->begin[1];

	c->id = (uint16_t)record_id(c);
	c->keep = c->begin[2] & FCGI_KEEP_CONN;
	if (role != FCGI_RESPONDER) {
		add_end(c, c->id, FCGI_UNKNOWN_ROLE);
		c->closing = !c->keep;
		enter(c, WAIT);
		return;
	}
	c->params = BUF_INIT(FCGI_PARAMS_MOST);
	enter(c, PARAMS);
}

static void params_over(struct fcgi_call *c)
{
	struct buf params = c->params;

	c->params = (struct buf){0};
	enter(c, BODY);
	c->lent = true;
	c->server->handler->begin(c->server->ctx, c, buf_str(&params));
	buf_free(&params);
}

static void body_over(struct fcgi_call *c)
{
	if (c->state == SKIP) {
		enter(c, WAIT);
		if (c->closing && !fcgi_pending(c))
			close_conn(c);
		return;
	}
	enter(c, ANSWER);
	c->server->handler->body(c->server->ctx, c, STR_NULL, true);
}

static void take_abort(struct fcgi_call *c)
{
	if (c->lent) {
		c->lent = false;
		c->server->handler->gone(c->server->ctx, c);
		if (is_closed(c))
			return;
		add_end(c, c->id, FCGI_REQUEST_COMPLETE);
	}
	buf_free(&c->params);
	c->params = (struct buf){0};
	c->user = NULL;
	c->closing |= !c->keep;
	enter(c, WAIT);
}

static void take_management(struct fcgi_call *c, int type)
{
	static const char values[] = "\x0f\x01" FCGI_MPXS_CONNS "0";
	unsigned char unknown[8] = {(unsigned char)type};

	if (fcgi_pending(c) > SMALL_REPLIES_MOST)
		refuse(c, "management records without end");
	else if (type == FCGI_GET_VALUES)
		add_record(c, FCGI_GET_VALUES_RESULT, 0, values, sizeof(values) - 1);
	else
		add_record(c, FCGI_UNKNOWN_TYPE, 0, unknown, sizeof(unknown));
}

/* A record's header is complete: may it come now? */
static void take_head(struct fcgi_call *c)
{
	unsigned id = record_id(c);
	bool ours = c->state != WAIT && id == c->id;

	/* Before anything else: a BEGIN with the null id is a management record, and of any length. */
	c->began = false;
	if (c->head[0] != FCGI_VERSION_1) {
		refuse(c, "not FastCGI 1");
		return;
	}
	c->left = (uint32_t)c->head[4] << 8 | c->head[5];
	c->pad = c->head[6];
	if (id == FCGI_NULL_REQUEST_ID) {
		take_management(c, c->head[1]);
		return;
	}
	switch (c->head[1]) {
	case FCGI_BEGIN_REQUEST:
		c->begin_have = 0;
		if (c->left != sizeof(c->begin) || ours || c->state == SKIP)
			refuse(c, "BEGIN out of place");
		else if (c->state != WAIT && fcgi_pending(c) > SMALL_REPLIES_MOST)
			refuse(c, "requests without end");
		else if (c->state != WAIT)
			add_end(c, id, FCGI_CANT_MPX_CONN);
		else
			c->began = true;
		break;
	case FCGI_PARAMS:
		if (ours && c->state != PARAMS)
			refuse(c, "PARAMS out of place");
		break;
	case FCGI_STDIN:
		if (ours && c->state == PARAMS)
			refuse(c, "STDIN before the end of PARAMS");
		break;
	default: /* DATA is for filters; ABORT is handled at its end */
		break;
	}
}

static void take_content(struct fcgi_call *c, struct str bytes)
{
	bool ours = c->state != WAIT && record_id(c) == c->id;

	if (c->head[1] == FCGI_BEGIN_REQUEST && c->began) {
		memcpy(c->begin + c->begin_have, bytes.ptr, bytes.len);
		c->begin_have = (uint8_t)(c->begin_have + bytes.len);
	} else if (c->head[1] == FCGI_PARAMS && ours) {
		buf_addstr(&c->params, bytes);
		if (c->params.failed)
			refuse(c, "parameters too long");
	} else if (c->head[1] == FCGI_STDIN && ours && c->state == BODY) {
		c->deadline = loop_now(c->server->loop) + c->server->limits->body_ms;
		c->server->handler->body(c->server->ctx, c, bytes, false);
	}
}

/* Content and padding of a record are complete. */
static void take_end(struct fcgi_call *c)
{
	bool ours = c->state != WAIT && record_id(c) == c->id;
	bool empty = !c->head[4] && !c->head[5];

	c->have = 0;
	if (record_id(c) == FCGI_NULL_REQUEST_ID)
		return;
	if (c->head[1] == FCGI_BEGIN_REQUEST && c->began)
		take_begin(c);
	else if (c->head[1] == FCGI_PARAMS && ours && empty)
		params_over(c);
	else if (c->head[1] == FCGI_STDIN && ours && empty && (c->state == BODY || c->state == SKIP))
		body_over(c);
	else if (c->head[1] == FCGI_ABORT_REQUEST && ours)
		take_abort(c);
}

static void take_input(struct fcgi_call *c, struct str in)
{
	while (!is_closed(c)) {
		size_t n;

		if (c->have < FCGI_HEADER_LEN) {
			if (!in.len)
				return;
			c->head[c->have++] = (uint8_t)*in.ptr;
			in.ptr++;
			in.len--;
			if (c->have == FCGI_HEADER_LEN)
				take_head(c);
			continue;
		}
		if (!c->left && !c->pad) {
			take_end(c);
			continue;
		}
		if (!in.len)
			return;
		n = c->left ? c->left : c->pad;
		if (n > in.len)
			n = in.len;
		if (c->left) {
			c->left -= (uint32_t)n;
			take_content(c, (struct str){in.ptr, n});
		} else {
			c->pad = (uint8_t)(c->pad - n);
		}
		in.ptr += n;
		in.len -= n;
	}
}

static void read_input(struct fcgi_call *c)
{
	struct fcgi_server *s = c->server;

	for (int i = 0; i < READS_A_TURN && !is_closed(c) && !c->paused; i++) {
		ssize_t n = recv(c->watch.fd, s->input, sizeof(s->input), 0);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (n <= 0) {
			close_conn(c);
			return;
		}
		take_input(c, (struct str){s->input, (size_t)n});
		if ((size_t)n < sizeof(s->input))
			return;
	}
}

/* ---- writing ---- */

static void all_left(struct fcgi_call *c)
{
	buf_free(&c->out);
	c->out = BUF_INIT(FCGI_OUTPUT_MOST);
	c->sent = 0;
	if (c->closing && !c->lent && c->state == WAIT) {
		close_conn(c);
		return;
	}
	if (!watch(c, false)) {
		close_conn(c);
		return;
	}
	if (c->state != PARAMS)
		enter(c, c->state);
	if (c->lent && c->server->handler->drained)
		c->server->handler->drained(c->server->ctx, c);
}

static void flush(struct fcgi_call *c)
{
	ssize_t n;

	if (c->out.failed) {
		log_warn("fcgi.overrun", "bytes=%zu", fcgi_pending(c));
		close_conn(c);
		return;
	}
	while (fcgi_pending(c)) {
		n = send(c->watch.fd, c->out.ptr + c->sent, fcgi_pending(c), MSG_NOSIGNAL);
		if (n > 0) {
			c->sent += (size_t)n;
			c->deadline = loop_now(c->server->loop) + c->server->limits->write_ms;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN && watch(c, true)) {
			/* What has left need not stay: a stream may never drain whole. */
			buf_consume(&c->out, c->sent);
			c->sent = 0;
			if (c->deadline == INT64_MAX)
				c->deadline = loop_now(c->server->loop) + c->server->limits->write_ms;
			return;
		}
		close_conn(c);
		return;
	}
	all_left(c);
}

static void after_turn(void *ctx)
{
	struct fcgi_server *s = ctx;
	struct fcgi_call *c;

	while ((c = s->dirty)) {
		s->dirty = c->next_dirty;
		c->dirty = false;
		if (!is_closed(c))
			flush(c);
	}
	while ((c = s->dead)) {
		s->dead = c->next;
		buf_free(&c->params);
		buf_free(&c->out);
		free(c);
	}
	if (s->listener.fd < 0 && s->listen_fd >= 0 && s->count < s->limits->connections && s->resume.at == INT64_MAX)
		s->resume.at = loop_now(s->loop);
}

static void conn_ready(void *ctx, uint32_t events)
{
	struct fcgi_call *c = ctx;

	if (events & EPOLLOUT)
		flush(c);
	if (is_closed(c))
		return;
	if (c->paused && events & (EPOLLHUP | EPOLLERR))
		close_conn(c);
	else if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		read_input(c);
}

/* ---- the server ---- */

bool fcgi_server_adopt(struct fcgi_server *s, int fd)
{
	struct fcgi_call *c = calloc(1, sizeof(*c));

	if (!c)
		error_no_memory();
	c->server = s;
	c->watch = (struct watch){.fd = -1, .ready = conn_ready, .ctx = c};
	c->out = BUF_INIT(FCGI_OUTPUT_MOST);
	if (!loop_watch(s->loop, &c->watch, fd, EPOLLIN)) {
		free(c);
		return false;
	}
	c->next = s->conns;
	if (s->conns)
		s->conns->prev = c;
	s->conns = c;
	s->count++;
	enter(c, WAIT);
	return true;
}

/* Out of descriptors or at the limit: who waits in the backlog waits on. */
static void pause_listener(struct fcgi_server *s, int64_t ms)
{
	loop_unwatch(s->loop, &s->listener);
	s->resume.at = ms < 0 ? INT64_MAX : loop_now(s->loop) + ms;
}

static void listener_ready(void *ctx, uint32_t events)
{
	struct fcgi_server *s = ctx;

	(void)events;
	for (int i = 0; i < ACCEPTS_A_TURN; i++) {
		int fd;

		if (s->count >= s->limits->connections) {
			log_warn("fcgi.full", "connections=%d", s->count);
			pause_listener(s, -1);
			return;
		}
		switch (listen_accept(s->listen_fd, s->limits->peers, true, &fd)) {
		case ACCEPTED:
			if (!fcgi_server_adopt(s, fd))
				close(fd);
			break;
		case ACCEPT_NONE:
			return;
		case ACCEPT_FULL:
			pause_listener(s, ACCEPT_PAUSE_MS);
			return;
		case ACCEPT_BROKEN:
			log_error("fcgi.listener", "fd=%d", s->listen_fd);
			pause_listener(s, ACCEPT_PAUSE_MS);
			return;
		}
	}
}

static void resume_listener(void *ctx)
{
	struct fcgi_server *s = ctx;

	if (!s->draining && s->listen_fd >= 0 && !loop_watch(s->loop, &s->listener, s->listen_fd, EPOLLIN))
		pause_listener(s, ACCEPT_PAUSE_MS);
}

static void sweep(void *ctx)
{
	struct fcgi_server *s = ctx;

	for (struct fcgi_call *c = s->conns, *next; c; c = next) {
		next = c->next;
		if (c->deadline <= loop_now(s->loop)) {
			log_debug("fcgi.timeout", "state=%d", (int)c->state);
			close_conn(c);
		}
	}
	s->sweep.at = loop_now(s->loop) + SWEEP_MS;
}

enum err fcgi_server_new(struct loop *l, const struct fcgi_limits *limits, const struct fcgi_handler *h, void *ctx,
			 struct fcgi_server **ret)
{
	struct fcgi_server *s = calloc(1, sizeof(*s));

	if (!s)
		error_no_memory();
	s->loop = l;
	s->limits = limits;
	s->handler = h;
	s->ctx = ctx;
	s->listen_fd = -1;
	s->listener = (struct watch){.fd = -1, .ready = listener_ready, .ctx = s};
	s->sweep = (struct timer){.at = loop_now(l) + SWEEP_MS, .due = sweep, .ctx = s};
	s->resume = (struct timer){.at = INT64_MAX, .due = resume_listener, .ctx = s};
	s->after = (struct task){.run = after_turn, .ctx = s};
	loop_add_timer(l, &s->sweep);
	loop_add_timer(l, &s->resume);
	*ret = s;
	return OK;
}

bool fcgi_server_listen(struct fcgi_server *s, int fd)
{
	s->listen_fd = fd;
	return loop_watch(s->loop, &s->listener, fd, EPOLLIN);
}

void fcgi_server_drain(struct fcgi_server *s)
{
	s->draining = true;
	s->listen_fd = -1;
	loop_unwatch(s->loop, &s->listener);
	for (struct fcgi_call *c = s->conns, *next; c; c = next) {
		next = c->next;
		c->closing = true;
		if (c->state == WAIT && !fcgi_pending(c))
			close_conn(c);
	}
}

int fcgi_server_connections(const struct fcgi_server *s)
{
	return s->count;
}

void fcgi_server_free(struct fcgi_server *s)
{
	while (s->conns)
		close_conn(s->conns);
	after_turn(s);
	loop_undefer(s->loop, &s->after);
	loop_unwatch(s->loop, &s->listener);
	loop_remove_timer(s->loop, &s->sweep);
	loop_remove_timer(s->loop, &s->resume);
	free(s);
}
