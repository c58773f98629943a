/*
 * error - the one small set of outcomes that every module speaks.
 *
 * Functions return enum err; details for a person go into a struct error where
 * the caller passes one.  A conflict is a value, not a failure: a compare-and-
 * set that found another state returns ERR_CONFLICT.  Errors are logged once,
 * at the edge (end of a request, end of a step).
 */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

#include <stdbool.h>

#include "base/cleanup.h"

#define ERRORS(X)                                                            \
	X(OK, "ok", 200)                                                     \
	X(INVALID, "invalid", 400)             /* the caller's input */      \
	X(UNAUTHORIZED, "unauthorized", 401)   /* who are you? */            \
	X(FORBIDDEN, "forbidden", 403)         /* you may not */             \
	X(NOT_FOUND, "not_found", 404)         /* or not yours */            \
	X(METHOD, "method_not_allowed", 405)                                 \
	X(CONFLICT, "conflict", 409)           /* another state won */       \
	X(GONE, "gone", 410)                   /* existed, is over */        \
	X(PRECONDITION, "precondition_failed", 412)                          \
	X(TOO_LARGE, "too_large", 413)                                       \
	X(MEDIA_TYPE, "unsupported_media_type", 415)                         \
	X(MISDIRECTED, "misdirected", 421)     /* another role's route */    \
	X(UNPROCESSABLE, "unprocessable", 422)                               \
	X(QUOTA, "quota", 409)                 /* limit of an account */     \
	X(RATE, "too_many_requests", 429)                                    \
	X(INTERNAL, "internal", 500)           /* ours; details in the log */ \
	X(UPSTREAM, "upstream", 502)           /* a provider's answer */     \
	X(UNAVAILABLE, "unavailable", 503)     /* try again */               \
	X(TIMEOUT, "timeout", 504)

enum err {
#define X(id, name, status) ERR_##id,
	ERRORS(X)
#undef X
	ERR_COUNT
};

#define OK ERR_OK

struct error {
	enum err code;
	char field[64]; /* "" or the JSON path of the input at fault */
	char msg[256];  /* one sentence that can be shown as it is */
	const char *reason; /* static; a finer code for programs ("public_url"), or NULL */
};

const char *err_name(enum err e);
int err_http_status(enum err e);

/* Fills *ret (may be NULL) and returns code: `return error_set(e, ERR_INVALID, …)`. */
enum err error_set(struct error *ret, enum err code, const char *fmt, ...) printf_like(3, 4);
enum err error_field(struct error *ret, enum err code, const char *field, const char *fmt, ...)
	printf_like(4, 5);

/* The impossible: says where, and aborts the process. */
#define BUG(...) bug_(__FILE__, __LINE__, __VA_ARGS__)
_Noreturn void bug_(const char *file, int line, const char *fmt, ...) printf_like(3, 4);
/* The system has no memory left: aborts this process, whose master starts another. */
_Noreturn void error_no_memory(void);

#endif
