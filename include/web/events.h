/*
 * events - the role of gpupool-web that waits and streams: agents' calls, event
 * streams, followed logs, files.  One thread, one event loop, thousands of
 * connections.
 *
 * A request becomes a struct exchange.  Its route's asynchronous handler gets it
 * when the body is there, fits the row's shape and, for routes of people, the
 * principal may do it; for ROUTE_STREAM routes with a body when the head is
 * there.  From then on the exchange is the handler's until it calls
 * exchange_end() or one of its shorthands, exactly once, also when the peer has
 * left meanwhile (gone() tells; what is written then goes nowhere).
 *
 * A handler never blocks: it adds the exchange to a batch of statements
 * (web/events_batch.h), parks it in a list of its module, or answers.
 */
#ifndef WEB_EVENTS_H
#define WEB_EVENTS_H

#include <signal.h>

#include "web/events_batch.h"
#include "web/fcgi_loop.h"
#include "web/problem.h"
#include "web/request.h"
#include "web/response.h"
#include "web/routes.h"

struct exchange {
	struct batch_item item; /* its place in a batch */
	struct events *ev;
	struct fcgi_call *call; /* NULL: the peer has left */
	struct exchange *prev, *next; /* all of them */
	int64_t since;

	struct arena arena;
	struct request req;
	struct response res;
	struct buf body;
	char id[65];      /* of the request, for the log */
	bool handed;      /* to the handler */
	bool streaming;   /* the head of the answer has left */
	uint8_t token[CRYPTO_HASH]; /* hash of the bearer token, for agents' routes */

	/* ---- set by the handler ---- */
	void *state;
	/* The peer left. */
	void (*gone)(struct exchange *x);
	/* A piece of a streamed body; end: it is complete. */
	void (*on_body)(struct exchange *x, struct str bytes, bool end);
	/* All that was written has left. */
	void (*drained)(struct exchange *x);
};

/* Answers with what is in x->res and ends the exchange. */
void exchange_end(struct exchange *x);
void exchange_json(struct exchange *x, int status, struct json *j);
void exchange_empty(struct exchange *x, int status);
void exchange_problem(struct exchange *x, const struct error *e);
void exchange_fail(struct exchange *x, enum err err, const char *fmt, ...) printf_like(3, 4);
/* For those in a batch's failed(). */
void exchange_item_failed(struct batch *b, struct batch_item *i, enum err err, const struct error *e);
/* Adds it to a batch, or answers 503. */
void exchange_batch(struct exchange *x, struct batch *b);

/* Sends the head in x->res; the body follows piece by piece. */
void exchange_stream(struct exchange *x);
/* False when the peer takes too little: the stream is to end. */
bool exchange_write(struct exchange *x, struct str bytes) must_check;
/* Ends a stream: whole, or so that the client sees that it broke. */
void exchange_finish(struct exchange *x);
void exchange_break(struct exchange *x);

/* Before a long wait: lets go of body, JSON and arena; of the request only the
 * route stays. */
void exchange_slim(struct exchange *x);

static inline struct exchange *exchange_of(struct batch_item *i)
{
	return (struct exchange *)i; /* its first member */
}

/* ---- the process ---- */

/* ERR_INTERNAL when a limit of the system is too low; e says which line to change.
 * config and listen_fd (non-blocking) outlive it. */
enum err events_new(const struct config *config, int listen_fd, struct events **ret, struct error *e) must_check;
/* One turn of its loop; signals of the mask arrive only while it waits (NULL: as it is). */
void events_turn(struct events *ev, int64_t max_ms, const sigset_t *open_mask);
/* Takes nothing new, answers what is parked, ends streams; true when nothing is left. */
bool events_drain(struct events *ev);
void events_free(struct events *ev);

/* A child of the master (web/server.h): turns until the process is told to stop, then drains. */
struct server_child;
int events_child(const struct server_child *child);

/* ---- handlers, and what their routes take ---- */

events_handler events_health, events_register, events_claim, events_heartbeat, events_results, events_goodbye;
events_handler events_log_append, events_log_read, events_artifact_put, events_artifact_get, events_checkpoint_get,
	events_stream_get;

extern const struct field register_body[], claim_body[], heartbeat_body[], results_body[], goodbye_body[];
extern const struct field log_append_query[], log_read_query[], artifact_put_query[], checkpoint_query[], events_stream_query[];

#endif
