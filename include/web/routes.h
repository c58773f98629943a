/*
 * routes - the whole surface of the web programs, as one table.
 *
 * To add a route: write the handler in src/web/api_x.c (or page_x.c), declare
 * it with its field tables in web/api.h, add a row in routes.c and a case below tests/http.  The row's
 * columns are enforced before the handler runs, and the OpenAPI document,
 * nginx's split between the roles, body limits, audit names and log lines are
 * made from them.
 */
#ifndef WEB_ROUTES_H
#define WEB_ROUTES_H

#include "web/request.h"
#include "web/response.h"
#include "web/schema.h"

enum auth {
	AUTH_NONE,    /* anyone */
	AUTH_ANY,     /* bearer token of a user, or the sign-in cookie */
	AUTH_PAGE,    /* the sign-in cookie; without it, to the sign-in page */
	AUTH_ENROL,   /* an agent's enrolment token (the handler's statement checks it) */
	AUTH_SESSION, /* an agent's session token (the handler's statement checks it) */
};

/* What the principal needs: a scope and, from it, the least role. */
enum perm {
	PERM_NONE,
	PERM_READ,      /* viewer */
	PERM_INFERENCE, /* operator */
	PERM_SUBMIT,    /* operator */
	PERM_MANAGE,    /* operator: own accounts, notebooks, tokens */
	PERM_ADMIN,     /* admin */
	PERM_SELF,      /* any signed-in person, by browser or a token of scope manage: own password, tokens */
};

enum body_kind {
	BODY_NONE,
	BODY_JSON,  /* application/json, checked against route->body */
	BODY_FORM,  /* urlencoded or multipart, to the same object; CSRF field inside */
	BODY_BYTES, /* application/octet-stream, as it is */
};

enum route_flags {
	ROUTE_LENIENT = 1 << 0, /* unknown members are ignored (agents) */
	ROUTE_NO_TX = 1 << 1,   /* a write that is not wrapped in one transaction with its audit row */
	ROUTE_STREAM = 1 << 2,  /* events: the answer or the body is a stream; nginx does not buffer */
	ROUTE_WAITS = 1 << 3,   /* events: may be parked up to 90 s */
	ROUTE_HIDDEN = 1 << 4,  /* not in the OpenAPI document (pages) */
	ROUTE_NO_AUDIT = 1 << 5,
	ROUTE_NO_DATABASE = 1 << 6, /* answers without the database, or says itself what is wrong with it */
	ROUTE_REPEATABLE = 1 << 7,  /* a POST that may be repeated as it is: Idempotency-Key is not looked at */
};

#define KiB(n) ((size_t)(n) << 10)
#define MiB(n) ((size_t)(n) << 20)

/*
 * A synchronous handler fills res (200 with nothing unless it does) or returns
 * an error, which becomes a problem.  Handlers of writes run inside a
 * transaction (unless ROUTE_NO_TX) that is rolled back when they return an
 * error or an answer of 400 and above (a form shown again), and may run again after a serialization failure: no effect but in the
 * database, hints by wake().
 */
typedef enum err handler(struct ctx *ctx, struct request *req, struct response *res, struct error *e);

/*
 * Shows a form again, with what was sent (req->json; NULL where it could not be
 * read) and what is wrong with it: `why`, and req->errors by field.  Runs after
 * the handler's transaction was rolled back.
 */
typedef enum err again_handler(struct ctx *ctx, struct request *req, struct response *res, const struct error *why,
			       struct error *e);

/* An asynchronous handler of the events role: see web/events.h. */
struct events;
struct exchange;
typedef void events_handler(struct events *ev, struct exchange *x);

struct route {
	enum method method; /* GET rows answer HEAD too */
	const char *path;   /* "/api/gpu/jobs/:id"; a last ":name*" takes several segments */
	const char *name;   /* "jobs.create": OpenAPI's operationId, audit's action, log lines */
	enum serves serves;
	enum auth auth;
	enum perm perm;
	enum body_kind kind;
	size_t max_body;    /* bytes; also nginx's client_max_body_size */
	handler *handler;
	events_handler *async; /* for SERVES_EVENTS */
	const struct field *query, *body;
	again_handler *again; /* of a form that is shown again when it was refused; or NULL */
	unsigned flags;
	int success;        /* usual status, for the OpenAPI document; 0 = 200 */
	const char *summary;
};

extern const struct route routes[];
extern const size_t route_count;

#endif
