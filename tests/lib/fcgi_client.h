/*
 * fcgi_client - one FastCGI request over a unix socket, as nginx would send it,
 * or not quite as it would.
 */
#ifndef TESTS_FCGI_CLIENT_H
#define TESTS_FCGI_CLIENT_H

#include "base/json.h"
#include "base/str.h"

struct call {
	const char *method;         /* "GET" when NULL */
	const char *path, *query;   /* query NULL = "" */
	const char *token;          /* Authorization: Bearer */
	const char *headers[16][2]; /* FastCGI names: {"HTTP_ORIGIN", "…"}; ends with NULL */
	const char *type;           /* content type; application/json when there is a body */
	struct str body;
	int64_t length;             /* CONTENT_LENGTH that is claimed; 0 = the body's */
};

struct reply {
	int status;         /* 0 = the connection ended without an answer */
	struct buf head;    /* header lines, NUL-terminated */
	struct buf body;
	struct json *json;  /* of the body, when it is JSON */
};

/* -1 when nobody listens. */
int fcgi_connect(const char *socket);
/* BEGIN_REQUEST, params, and the body unless body_later. */
void fcgi_send(int fd, const struct call *c, bool body_later);
void fcgi_send_body(int fd, struct str body);
/* Reads to the end of the request (20 s at most). */
void fcgi_receive(int fd, struct reply *ret);
/* All of it. */
void fcgi_call(const char *socket, const struct call *c, struct reply *ret);
void reply_free(struct reply *r);
#define cleanup_reply __attribute__((cleanup(reply_free)))

/* Value of a header of the answer in a static buffer; NULL when absent. */
const char *reply_header(const struct reply *r, const char *name);
/* The value of a cookie that the answer sets; "" when it takes it away; NULL when it sets none. */
const char *reply_cookie(const struct reply *r, const char *name);
/* Whether errors[] names this field. */
bool reply_names(const struct reply *r, const char *field);

#endif
