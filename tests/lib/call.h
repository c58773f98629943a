/*
 * call - a request of the api role without a socket: built here, walked through
 * router_handle() with the world's database, its answer parsed.
 */
#ifndef TESTS_CALL_H
#define TESTS_CALL_H

#include "base/config.h"
#include "web/request.h"
#include "web/wake.h"
#include "world.h"

struct call_site {
	struct world *world;
	struct config config;
	struct wakes wakes;
	/* of the next request only; NULL = absent */
	const char *if_match, *if_none_match, *idempotency_key;
	/* of the last answer, until the next */
	int status;
	struct json *json; /* NULL when it was none */
	struct str sent; /* the memory that held the request's body */
	char etag[80], type[64];
	char disposition[1024], policy[200];
	struct str text; /* the body as it is */
	struct arena arena;
};

void call_init(struct call_site *c, struct world *w);
void call_done(struct call_site *c);

/* `what` is "POST /api/gpu/jobs?x=y"; body NULL = none, ' stands for ".  As p by a bearer token
 * with all that p's scopes allow; NULL = nobody.  The status. */
int call(struct call_site *c, const struct principal *p, const char *what, const char *body);
int callf(struct call_site *c, const struct principal *p, const char *body, const char *fmt, ...) printf_like(4, 5);
/* Values of the answer by path ("jobs.0.id"); "" when it is not there or no text. */
const char *call_str(const struct call_site *c, const char *path);
int64_t call_int(const struct call_site *c, const char *path); /* of a decimal string, too; -1 = absent */
/* The fields at fault, with a blank between. */
const char *call_faults(struct call_site *c);
/* Whether a hint for this channel and payload is due or was sent. */
bool call_woke(const struct call_site *c, const char *channel, const char *payload);

#endif
