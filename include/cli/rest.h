/*
 * rest - the command line's side of the REST API.
 *
 * A call's outcome is an enum err: OK for any 2xx, else what the status means
 * (401 ERR_UNAUTHORIZED, 404 ERR_NOT_FOUND, …) with the problem's detail and
 * its fields as one sentence in e->msg; ERR_UNAVAILABLE with status 0 when the
 * server could not be reached.
 */
#ifndef CLI_REST_H
#define CLI_REST_H

#include "base/arena.h"
#include "base/error.h"
#include "base/http.h"
#include "base/json.h"

struct rest {
	struct http_client *http;
	const char *server; /* "http://127.0.0.1:8080", no trailing slash */
	const char *token;  /* NULL = none */
	int64_t deadline_ms; /* of a call; 0 = 30 s */
	struct arena arena; /* of one call at a time */
};

struct rest_reply {
	int status;        /* 0 = none came */
	struct json *json; /* owned; NULL when the body is no JSON */
	struct str body;   /* valid until the next call */
};

void rest_open(struct rest *r, const char *server, const char *token);
void rest_close(struct rest *r);

/* body may be NULL; *ret (may be NULL) is freed and filled. */
enum err rest_call(struct rest *r, const char *method, const char *path, const struct json *body,
		   struct json **ret, struct error *e) must_check;
/* The same, with the reply itself, and further headers (ends with {NULL,NULL}; may be NULL). */
enum err rest_send(struct rest *r, const char *method, const char *path, const struct json *body,
		   const struct http_header *headers, struct rest_reply *ret, struct error *e) must_check;
/* Bytes of a 2xx reply go to sink as they come, for up to deadline_ms. */
enum err rest_stream(struct rest *r, const char *path, const char *accept, int64_t deadline_ms,
		     bool (*sink)(void *ctx, struct str bytes), void *ctx, struct error *e) must_check;

void rest_reply_free(struct rest_reply *r);
#define cleanup_reply __attribute__((cleanup(rest_reply_free)))

#endif
