/*
 * google_call - one call to one of Google's interfaces: with a token, within the
 * call's time, and what the answer means.
 *
 * Google says what is wrong in {"error": {code, status, message, details}}; of
 * that the code decides, and the finer words where they are known:
 *
 *   401                    the token is dropped and the call made once more; then
 *                          ERR_UNAUTHORIZED "credentials"
 *   403 SERVICE_DISABLED   ERR_FORBIDDEN "account": which interface, and where to enable it
 *   403 PERMISSION_DENIED  ERR_FORBIDDEN "account": which permission is missing
 *   403 rate…Exceeded, 429 ERR_RATE "rate"
 *   400 ERR_INVALID, 404 ERR_NOT_FOUND, 409 and 412 ERR_CONFLICT, 5xx ERR_UNAVAILABLE
 *
 * Whoever knows more reads answer->fault, which is filled whenever Google answered
 * with an error.
 */
#ifndef PROVIDER_GOOGLE_CALL_H
#define PROVIDER_GOOGLE_CALL_H

#include "base/json.h"
#include "provider/provider.h"

struct http_header;

struct google_request {
	const char *service;           /* for people: "Vertex AI" */
	const char *scope;             /* of the token; NULL = none is sent */
	const char *method;            /* NULL = GET */
	const char *url;
	struct json *body;             /* sent as JSON; freed by the call, wiped */
	struct str raw;                /* or this, of content_type */
	const char *content_type;
	const struct http_header *headers; /* more of them, ends with {NULL, NULL}; may be NULL */
	bool effect;                   /* is not to be sent twice by chance */
	bool bytes;                    /* a good answer is no JSON: answer->bytes */
	size_t most;                   /* bytes of an answer; 0 = 4 MiB */
	int64_t ms;                    /* at most; 0 = 60 s */
};

enum { GOOGLE_WORDS = 200 };

/* What an error says.  Texts are fit to be shown: one line, bounded; "" = not told. */
struct google_fault {
	int status;                    /* of HTTP; 0 = no error was answered */
	char code[48];                 /* "PERMISSION_DENIED" */
	char reason[64];               /* of ErrorInfo, or errors[0]: "SERVICE_DISABLED" */
	char permission[96];           /* "aiplatform.notebookExecutionJobs.create" */
	char api[96];                  /* "aiplatform.googleapis.com" */
	char limit[24];                /* of the quota that is used up: "0" */
	char words[GOOGLE_WORDS];      /* the message */
};

struct google_answer {
	int status;                    /* of HTTP; 0 = none came */
	struct json *doc;              /* NULL where none was sent */
	struct str bytes;              /* in the arena */
	struct google_fault fault;
	bool maybe_sent;               /* failed, and may yet have had its effect */
};
void google_answer_free(struct google_answer *a);
#define cleanup_google_answer __attribute__((cleanup(google_answer_free)))

enum err google_call(struct provider_call *c, const struct google_request *r, struct google_answer *ret) must_check;

/* The error of a document {"code" | "error": {…}, …}, such as an operation's; status is taken from it. */
void google_fault_read(const struct json *error, struct google_fault *ret);
/* What a fault means, with its sentence in c->error. */
enum err google_fault_judge(struct provider_call *c, const char *service, const struct google_fault *f) must_check;
/* Too many calls, rather than too few machines or hours. */
bool google_fault_is_rate(const struct google_fault *f);

/* One line of somebody else's words: without control characters, cut at a character's end.  Tokens and
 * keys in it are blotted out. */
void google_line(struct str text, char *ret, size_t cap);
/* Milliseconds left of the call; never negative. */
int64_t google_left(const struct provider_call *c);
enum err google_no_memory(struct provider_call *c) must_check;
enum err google_fail(struct provider_call *c, enum err err, const char *reason, const char *fmt, ...) printf_like(4, 5) must_check;

#endif
