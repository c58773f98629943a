/*
 * websocket - one outgoing WebSocket connection; the only user of libwebsockets.
 *
 * Blocking: a connection belongs to one thread, which is inside one of these
 * functions whenever anything happens on it.  Pings are answered inside
 * websocket_receive(); fragments are put together.  Certificates are verified,
 * redirects are not followed, proxies of the environment are not used, no
 * extension is offered.
 */
#ifndef BASE_WEBSOCKET_H
#define BASE_WEBSOCKET_H

#include <stdint.h>

#include "base/error.h"
#include "base/http.h"
#include "base/str.h"

struct websocket;

struct websocket_want {
	const char *url;                   /* ws, wss, and what an HTTP address becomes: http, https */
	const struct http_header *headers; /* ends with {NULL,NULL}; may be NULL */
	size_t max_message;                /* bytes of one received; 0 = 1 MiB */
	const struct http_client *client;  /* when that is aborted so is this, within a second; may be NULL */
};

/*
 * OK, or ERR_INVALID for a URL or header that cannot be sent; ERR_UNAVAILABLE
 * when nobody could be reached; ERR_UPSTREAM when what answered is no
 * WebSocket or has another's certificate; ERR_UNAUTHORIZED, ERR_FORBIDDEN,
 * ERR_NOT_FOUND and ERR_RATE as the server's HTTP status says; ERR_TIMEOUT.
 * Times are milliseconds from now.
 */
enum err websocket_connect(const struct websocket_want *want, int64_t within_ms, struct websocket **ret, struct error *e) must_check;
/* One text message of at most 64 MiB; OK when the kernel has it.  Errors as below, ERR_TOO_LARGE
 * before anything was sent. */
enum err websocket_send(struct websocket *w, struct str text, int64_t within_ms, struct error *e) must_check;
/*
 * The next whole message, text or binary, in ret, which is emptied first.
 * ERR_GONE when the peer closed in good order; ERR_UNAVAILABLE when the
 * connection broke; ERR_UPSTREAM when it broke the protocol; ERR_TOO_LARGE for a
 * message above max_message; after each of these only websocket_close() makes
 * sense.  ERR_TIMEOUT when none came; the connection is as it was.
 */
enum err websocket_receive(struct websocket *w, int64_t within_ms, struct buf *ret, struct error *e) must_check;
/* Says goodbye, without waiting for long, and frees; NULL is allowed. */
void websocket_close(struct websocket *w);

static inline void cleanup_websocket_(struct websocket **w)
{
	websocket_close(*w);
}
#define cleanup_websocket __attribute__((cleanup(cleanup_websocket_)))

#endif
