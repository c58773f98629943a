/*
 * events_batch - many callers' questions in one statement.
 *
 * A kind of statement is sent as soon as none of its kind is in flight and a
 * connection is free; what arrives meanwhile is the next batch.  There is no
 * timer: under light load a batch is one item and leaves at once, under heavy
 * load batches grow by themselves.  Each batch is one statement and commits
 * alone; items are answered after that.
 *
 * When the database is away items wait until their time is up and then fail
 * with ERR_UNAVAILABLE; a batch whose connection was lost is sent again, so
 * every kind but those marked `once` must bear
 * to be done twice.  A batch that the database refuses is
 * sent again item by item: one bad item harms itself only.
 */
#ifndef WEB_EVENTS_BATCH_H
#define WEB_EVENTS_BATCH_H

#include "db/async.h"
#include "web/loop.h"

enum {
	BATCH_BUFFERS = 8,
	BATCH_CONNECTIONS = 5, /* and one that listens */
	BATCH_WAIT_MS = 10000, /* how long a call waits for the database */
};

/* Embedded in whatever waits for the answer; the owner's until it is added, the
 * batcher's until done() or failed() saw it. */
struct batch_item {
	struct batch_item *next;
	int64_t until;  /* loop time; fails with ERR_UNAVAILABLE then */
	size_t weight;  /* bytes of argument, about */
	bool alone;     /* goes in a batch of its own */
	uint8_t tries;
};

struct batch;

struct batch_kind {
	enum stmt stmt;
	int most;           /* items a batch */
	size_t most_weight; /* bytes a batch; 0 = no limit */
	/* Arguments for b->items; buffers of b may be used and are empty. */
	void (*bind)(struct batch *b, struct arg *args);
	/* Answers every item, or adds it again. */
	void (*done)(struct batch *b, const struct rows *rows);
	void (*failed)(struct batch *b, struct batch_item *i, enum err err, const struct error *e);
	/* Whether two items may not go together; NULL = never. */
	bool (*clash)(const struct batch_item *a, const struct batch_item *b);
	bool early; /* sent before batcher_open() */
	bool once; /* not sent again when its connection was lost */
};

struct batcher;

struct batch {
	const struct batch_kind *kind;
	struct batcher *batcher;
	void *ctx; /* the module's */
	struct batch_item **items;
	int n;
	struct buf buf[BATCH_BUFFERS];

	/* private */
	struct batch *next;
	struct batch_item *queue, **queue_end;
	int queued, capacity, conn;
	bool in_flight;
	int64_t sent_at;
	uint64_t batches, total;
};

/* waiting: limit on items that wait in all queues together. */
struct batcher *batcher_new(struct loop *l, const char *conninfo, int waiting);
void batcher_free(struct batcher *b);
/* Channels as in adb_listen(), on a connection of their own. */
void batcher_listen(struct batcher *b, const char *const *channels, adb_notified *cb, void *ctx);
/* Connects.  Nothing but `early` kinds is sent until batcher_open(): the schema
 * must be known first. */
void batcher_start(struct batcher *b);
void batcher_open(struct batcher *b, bool open);
bool batcher_is_open(const struct batcher *b);

/* The batch lives as long as the batcher. */
void batch_init(struct batch *b, struct batcher *batcher, const struct batch_kind *kind, void *ctx);
/* wait_ms from now; false: too many wait already, the item stays the caller's. */
bool batch_add(struct batch *b, struct batch_item *i, int64_t wait_ms) must_check;
/* Takes an item back that is still queued; false when it is in flight. */
bool batch_remove(struct batch *b, struct batch_item *i);
/* Nothing of this kind waits or is under way. */
bool batch_quiet(const struct batch *b);

#endif
