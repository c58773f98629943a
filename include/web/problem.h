/*
 * problem - errors for clients, as RFC 9457 application/problem+json.
 *
 *     {"type":"about:blank","title":"Bad Request","status":400,"detail":"…",
 *      "code":"invalid","requestId":"…","errors":[{"field":"title","message":"…"}]}
 *
 * The one place where an outcome becomes an HTTP status.  Pages get the same
 * content as HTML (web/view.h).
 */
#ifndef WEB_PROBLEM_H
#define WEB_PROBLEM_H

#include "base/error.h"
#include "web/request.h"
#include "web/response.h"

/* Errors of fields, collected by the schema; lives in the request's arena. */
struct field_error {
	const char *field; /* "tags.3", "" = the whole */
	const char *message;
};

enum { FIELD_ERRORS_MAX = 32 };

struct field_errors {
	struct field_error list[FIELD_ERRORS_MAX];
	int count;
};

void field_error_add(struct field_errors *f, struct arena *a, const char *field, const char *fmt, ...)
	printf_like(4, 5);

/* Replaces whatever res held.  f may be NULL.  503 and 429 get Retry-After. */
void problem_answer(const struct request *req, struct response *res, const struct error *e, const struct field_errors *f);
/* The document itself, for those who add members: response_json() it with
 * content type PROBLEM_JSON. */
struct json *problem_json(const struct request *req, const struct error *e, const struct field_errors *f);

#define PROBLEM_JSON "application/problem+json"

/* Seconds for Retry-After; what the database's backoff can be. */
enum { RETRY_AFTER_SECONDS = 2 };

#endif
