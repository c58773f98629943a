/*
 * response - one answer, built in memory and written in one piece.
 *
 * Knows nothing of FastCGI: response_head() gives the CGI header block
 * ("Status: 200 OK\r\n…\r\n\r\n"), the body follows it.
 */
#ifndef WEB_RESPONSE_H
#define WEB_RESPONSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/json.h"
#include "base/str.h"

enum { RESPONSE_HEADERS = 16, RESPONSE_MAX = 64 << 20 };

struct response_header {
	const char *name, *value;
};

struct response {
	struct arena *arena; /* header values live here */
	int status;          /* 200 unless set */
	const char *content_type; /* NULL = no body */
	struct buf body;
	struct response_header headers[RESPONSE_HEADERS];
	int header_count;
	bool no_body; /* answer to HEAD: the length of the body, and no body */
	bool stream; /* the length is not known: no Content-Length */
	bool live;    /* its ETag names a version of a row, and more than that row changes: no 304 */
	bool secret; /* holds a token: never stored for Idempotency-Key */
	struct json **document; /* response_json() gives the document to it, unwritten; NULL = writes it */
	char object[80]; /* what was made or changed, "token 12"; for the audit trail */
	struct json *audit; /* further detail for the audit trail or NULL; owned */
};

void response_init(struct response *r, struct arena *a);
/* Back to empty, keeping the memory: before a handler runs again. */
void response_reset(struct response *r);
void response_done(struct response *r);

/* name is a static string; control characters in the value are a BUG. */
void response_header(struct response *r, const char *name, const char *fmt, ...) printf_like(3, 4);
/* NULL when it was not set. */
const char *response_get_header(const struct response *r, const char *name);
/* For the audit trail and for replays: response_object(res, "token %ld", id). */
void response_object(struct response *r, const char *fmt, ...) printf_like(2, 3);
/* Takes the document. */
void response_json(struct response *r, int status, struct json *j);
void response_text(struct response *r, int status, const char *content_type, struct str text);
void response_empty(struct response *r, int status);
void response_redirect(struct response *r, const char *location); /* 303 */
/* A version of a row as strong ETag: "v7". */
void response_version(struct response *r, int64_t version);

const char *status_text(int status);
/* The header block with the blank line; adds the security headers that every
 * answer has, Content-Type and Content-Length. */
void response_head(const struct response *r, struct buf *out);

#endif
