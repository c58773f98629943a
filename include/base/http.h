/*
 * http - outgoing HTTP requests; the only user of libcurl.
 *
 * One struct http_client a thread; it keeps connections open.  Each call has a
 * deadline and a cap on the reply; nothing is retried here, but the outcome
 * says whether a retry makes sense.  Certificates are verified, compression is
 * not accepted, proxies of the environment are not used.  Credentials are
 * headers that the caller makes.
 */
#ifndef BASE_HTTP_H
#define BASE_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "base/str.h"

struct http_client;
struct outgoing;

struct http_header {
	const char *name, *value;
};

struct http_call {
	const char *method;                /* "GET" when NULL */
	const char *url;
	const struct http_header *headers; /* ends with {NULL,NULL}; may be NULL */
	struct str body;                   /* sent when ptr is not NULL */
	int body_fd;                       /* >0: body is streamed from it, body_size bytes */
	int64_t body_size;
	int64_t deadline_ms;               /* whole call, relative; 0 = 30 s */
	int redirects;                     /* followed at most, never from https to http; 0 = none */
	size_t max_reply;                  /* 0 = 1 MiB, or no limit with on_data */
	/* When set, reply bytes go there as they come, of any status; returning
	 * false ends the call with ERR_INTERNAL. */
	bool (*on_data)(void *ctx, struct str bytes);
	void *ctx;
	const char *unix_socket;           /* connect here instead of the host */
	bool repeatable;                   /* a POST without effect: may go over a kept connection, and so be sent twice */
	/* Set for a URL that others gave: only addresses that it allows are
	 * connected to, on a connection of their own, without redirects. */
	const struct outgoing *outgoing;
	const char *wanted;                /* the name of one more header of the reply */
};

struct http_reply {
	int status;            /* 0 when none came */
	struct str body;       /* in the arena */
	const char *content_type; /* in the arena or NULL */
	const char *etag;
	const char *location;  /* as it was sent, so perhaps relative; NULL when absent */
	const char *wanted;    /* the header that the call named; NULL when absent */
	int64_t retry_after_s; /* at most a week, however it is written; -1 when absent */
	bool maybe_sent;       /* failed after the request may have had effect */
};

enum err http_client_new(struct http_client **ret) must_check;
void http_client_free(struct http_client *c);
/* From any thread: the call under way ends within about a second, and it and
 * all later ones of this client return ERR_UNAVAILABLE.  For the end of a program. */
void http_client_abort(struct http_client *c);
bool http_client_aborted(const struct http_client *c);

/*
 * OK when a whole HTTP reply came, of any status (look at ret->status);
 * ERR_UNAVAILABLE when the server could not be reached or hung up, ERR_TIMEOUT,
 * ERR_TOO_LARGE; ERR_UPSTREAM when what came was no HTTP, cut short, or from a
 * host whose certificate is not its own; ERR_INVALID for a URL or header that
 * cannot be sent; ERR_FORBIDDEN for an address that .outgoing refuses;
 * ERR_INTERNAL when body_fd could not be read.
 */
enum err http_send(struct http_client *c, struct arena *a, const struct http_call *call, struct http_reply *ret,
		   struct error *e) must_check;

#endif
