/*
 * fcgi_loop - a FastCGI responder on an event loop, for peers that may be
 * slow, dead or hostile.
 *
 * Knows the record format and nothing of HTTP.  One request at a time on a
 * connection (a second one is refused with CANT_MPX_CONN), kept open when the
 * peer asks.  No byte of a connection's input is kept here but the parameters
 * until they are complete: bodies go to the handler piece by piece.  A
 * connection that waits for its answer costs a few hundred bytes.
 *
 * A call is lent to the handler from begin() until it calls fcgi_finish() or
 * fcgi_drop(), or until gone() is called; afterwards the pointer is dead.
 * Output is queued and leaves at the end of the turn.  The handler watches
 * fcgi_pending() and stops streams that pile up; past FCGI_OUTPUT_MOST the
 * connection is cut here.
 */
#ifndef WEB_FCGI_LOOP_H
#define WEB_FCGI_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"
#include "web/loop.h"

struct fcgi_server;
struct fcgi_call;

struct fcgi_handler {
	/* The parameters (web/fcgi_params.h) are complete; they are good during this call only. */
	void (*begin)(void *ctx, struct fcgi_call *c, struct str params);
	/* A piece of the body; end = that was all (then bytes is empty). */
	void (*body)(void *ctx, struct fcgi_call *c, struct str bytes, bool end);
	/* Everything written so far has left. */
	void (*drained)(void *ctx, struct fcgi_call *c);
	/* The peer left or gave up. */
	void (*gone)(void *ctx, struct fcgi_call *c);
};

enum {
	FCGI_PARAMS_MOST = 64 << 10,
	FCGI_OUTPUT_MOST = 72 << 20,
	FCGI_STREAM_MOST = 256 << 10, /* bytes a stream may have waiting for its peer */
};

struct fcgi_limits {
	int connections;
	int header_ms; /* from the first byte of a request to its last parameter */
	int body_ms;   /* between two pieces of a body */
	int idle_ms;   /* between two requests */
	int write_ms;  /* a peer that takes nothing for so long is dead */
	const char *peers; /* who may connect to a TCP socket: see web/listen.h */
};

extern const struct fcgi_limits fcgi_limits_usual;

/* handler, ctx and loop outlive the server. */
enum err fcgi_server_new(struct loop *l, const struct fcgi_limits *limits, const struct fcgi_handler *h, void *ctx,
			 struct fcgi_server **ret) must_check;
/* Closes every connection; gone() is called for open calls. */
void fcgi_server_free(struct fcgi_server *s);
/* A listening, non-blocking socket; stays the caller's. */
bool fcgi_server_listen(struct fcgi_server *s, int fd) must_check;
/* No new connections; those without a call are closed, the others after it. */
void fcgi_server_drain(struct fcgi_server *s);
/* Takes a connected, non-blocking socket (tests). */
bool fcgi_server_adopt(struct fcgi_server *s, int fd) must_check;
int fcgi_server_connections(const struct fcgi_server *s);

void fcgi_set_user(struct fcgi_call *c, void *user);
void *fcgi_user(const struct fcgi_call *c);
void fcgi_write(struct fcgi_call *c, struct str bytes);
size_t fcgi_pending(const struct fcgi_call *c);
/* While paused no more of the body is read; at most one buffer of it still comes. */
void fcgi_pause(struct fcgi_call *c, bool paused);
void fcgi_finish(struct fcgi_call *c); /* what was written leaves, then the end */
void fcgi_drop(struct fcgi_call *c);   /* cuts the connection, so that the client sees a broken answer */

#endif
