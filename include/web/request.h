/*
 * request - one HTTP request as the handlers see it, whoever read it.
 *
 * Filled by web/fcgi.c (api role), web/fcgi_loop.c (events role) and by tests.
 * All slices borrow from the reader's memory, which outlives the handler, or
 * from the arena.  After the router the request is valid: the body fits its
 * schema, the principal has the route's permission, params are typed.
 */
#ifndef WEB_REQUEST_H
#define WEB_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/config.h"
#include "base/error.h"
#include "base/json.h"
#include "base/str.h"
#include "db/db.h"
#include "web/auth.h"

struct route;
struct field_errors;
struct wakes;
struct template_set;

/* Which program answers: gpupool-web --role=… */
enum serves { SERVES_API, SERVES_EVENTS, SERVES_SECRETS };
const char *serves_name(enum serves s);

enum method { METHOD_GET, METHOD_HEAD, METHOD_POST, METHOD_PUT, METHOD_PATCH, METHOD_DELETE, METHOD_OPTIONS, METHOD_OTHER };

const char *method_name(enum method m);
enum method method_parse(struct str name);
/* May change something: POST, PUT, PATCH, DELETE. */
bool method_writes(enum method m);

enum { REQUEST_CAPTURES = 4 };

struct capture {
	const char *name; /* of the route's path, without ":"; not NUL-terminated at its end */
	size_t name_len;
	struct str value; /* percent-decoded already by nginx */
};

struct request {
	struct arena *arena; /* ends with the request */
	enum method method;
	struct str path;  /* DOCUMENT_URI: decoded and normalised by nginx */
	struct str query; /* raw, without "?" */
	struct str remote_addr, request_id;

	/* headers that anything here looks at; STR_NULL = absent */
	struct str content_type, accept, accept_language, authorization, cookie, host, origin, sec_fetch_site;
	struct str if_match, if_none_match, idempotency_key, csrf_token, last_event_id, content_digest, user_agent;
	int64_t content_length; /* -1 = absent; -2 = malformed */

	struct str body; /* whole body; the events role's streamed routes leave it empty */
	/* Fetches the body when the router asks for it, once the request may have one:
	 * content_length bytes, which its row allows.  NULL = it is there. */
	enum err (*read_body)(struct request *r, struct error *e);
	void *reader;

	char *set_cookie; /* from auth_resolve(): goes out with the answer, whatever it is */

	/* set by the router */
	const struct route *route;
	struct capture captures[REQUEST_CAPTURES];
	int capture_count;
	struct principal principal;
	struct json *json;   /* the body, checked against route->body; never NULL for such routes */
	struct json *params; /* the query string, typed by route->query; an object, maybe empty */
	struct field_errors *errors; /* what is wrong with it, by field; handlers may add theirs before they
				      * return ERR_INVALID.  NULL in the events role */
	struct json *problem; /* further members of the problem document, owned; NULL = none */
};

/* What a synchronous handler may use. */
struct ctx {
	enum serves serves; /* whose routes are answered here */
	struct db *db;
	const struct config *config;
	struct arena *arena; /* the request's */
	const struct template_set *templates; /* NULL = pages are not served */
	bool *schema_known; /* the process has seen that the database fits this program; NULL = is not asked */
	struct wakes *wakes; /* the process's hints; NULL = none are sent */
	bool strict; /* a page whose model lacks what its template shows is an error; always in test builds */
};

/* The FastCGI parameters that we read; ends with a NULL name.  A test compares
 * it with what nginx passes. */
struct request_param_row {
	const char *name;
	size_t offset; /* of the member that takes it as it is; 0 = parsed */
};
extern const struct request_param_row request_params[];

/* An empty request whose method and length are unknown yet. */
void request_init(struct request *r, struct arena *a);
/* Takes one FastCGI parameter; those unknown are ignored. */
void request_param(struct request *r, struct str name, struct str value);

/* Value of ":name" in the route's path; STR_NULL when the route has none. */
struct str request_capture(const struct request *r, const char *name);
/* The same as an id; ERR_NOT_FOUND when it is no id. */
enum err request_capture_id(const struct request *r, const char *name, int64_t *ret, struct error *e) must_check;

/* ERR_PRECONDITION when If-Match is there and does not name this version. */
enum err request_if_match(const struct request *r, int64_t version, struct error *e) must_check;
/* Whether a list of entity tags (If-Match, If-None-Match) names this one, weakly compared. */
bool etag_matches(struct str header, struct str etag);
/* Whether the client rather has HTML than JSON. */
bool request_wants_html(const struct request *r);
/* A further member of the problem document, for a handler that refuses; takes the value. */
void request_problem(struct request *r, const char *key, struct json *value);
/* Frees json, params and problem; everything else is the arena's. */
void request_done(struct request *r);

#endif
