/*
 * events_role - what the files of the events role share.  For src/web/events*.c
 * only.
 *
 * Each file is a module: it keeps its state behind a pointer here, opens and
 * closes it, and may want a tick, hints, and a say when the process drains.
 */
#ifndef WEB_EVENTS_ROLE_H
#define WEB_EVENTS_ROLE_H

#include "web/events.h"

struct claims;
struct agents;
struct logs;
struct artifacts;
struct streams;
struct people;
struct sweep;
struct disk;

struct events {
	const struct config *config;
	struct fcgi_limits limits;
	struct loop *loop;
	struct fcgi_server *server;
	struct batcher *batcher;
	struct exchange *exchanges;
	size_t body_bytes; /* of bodies that are not complete */
	int count;
	int ticks;
	bool draining;
	struct timer tick;
	struct batch schema; /* whether the database has this program's tables */
	struct batch_item schema_item;

	struct claims *claims;
	struct agents *agents;
	struct logs *logs;
	struct artifacts *artifacts;
	struct streams *streams;
	struct people *people;
	struct sweep *sweep;
};

struct events_module {
	void (*open)(struct events *ev);
	void (*close)(struct events *ev);
	void (*tick)(struct events *ev); /* each TICK_MS */
	/* A hint; channel "" = the listener is connected (anew). */
	void (*hint)(struct events *ev, const char *channel, const char *payload);
	void (*drain)(struct events *ev);
};

extern const struct events_module claims_module, agents_module, logs_module, artifacts_module, streams_module, people_module,
	sweep_module;

enum {
	TICK_MS = 250,
	HEARTBEAT_FLOOR = 1,
	PROTOCOL_OLDEST = 1, /* the server speaks the last two; this is the first */
	PROTOCOL_NEWEST = 1,
	BODIES_MOST = 256 << 20, /* all bodies in memory together */
};

/* States as agents spell them; the numbers are the database's. */
enum outcome { OUTCOME_SUCCEEDED = 2, OUTCOME_FAILED, OUTCOME_TIMED_OUT, OUTCOME_CANCELLED, OUTCOME_RELEASED };

/* ---- events_exchange.c ---- */
extern const struct fcgi_handler exchange_handler;
/* The handler's turn, once the principal is known. */
void exchange_hand_over(struct exchange *x);

/* ---- events_artifacts.c ---- */
/* NULL: there is no store. */
struct disk *artifacts_disk(const struct events *ev);

/* ---- events_people.c: principals of the routes of people ---- */
void people_resolve(struct exchange *x);

/* ---- events_claim.c ---- */
/* Jobs may have become ready: released, retried. */
void claims_jobs_hint(struct events *ev);
/* Events were written: streams look soon. */
void streams_hint(struct events *ev);

/* The session's result was taken: its parked claims have more room than was read. */
void claims_freed(struct events *ev, int64_t session);
/* Deltas were written: fold them in a while. */
void claims_fold_soon(struct events *ev);

/* Orders of a session as the database tells them.  cancels: "id lease,id lease". */
struct json *orders_json(struct str state, struct str desired, int64_t protocol, struct str cancels);

/* Appends to a batch's JSON array argument: "[" or "," first. */
void item_begin(struct buf *b);
void item_hash(struct buf *b, const struct exchange *x);
/* ,"worker":<the id in the address>: 0, which is nobody's, when that is no id. */
void item_worker(struct buf *b, const struct exchange *x);
/* deadlineSeconds: null when there is none. */
void put_seconds_left(struct json *j, const struct rows *rows, int row);

#endif
