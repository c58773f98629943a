/* Batches of statements; see web/events_batch.h. */
#include "web/events_batch.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/log.h"

enum {
	SWEEP_MS = 500,
	STUCK_MS = 10500, /* a statement has its own limit of 10 s; past this the connection is dead */
	BUFFER_MOST = 72 << 20,
	BUFFER_KEPT = 256 << 10,
	TRIES = 3,
};

struct conn {
	struct batcher *batcher;
	struct adb *adb;
	struct watch watch;
	struct timer timer;
	struct batch *running;
};

struct batcher {
	struct loop *loop;
	struct db_options options;
	struct conn conns[BATCH_CONNECTIONS + 1]; /* the last one listens */
	struct batch *kinds;
	struct task kick;
	struct timer sweep;
	bool open;
	int waiting, most_waiting;
};

/* ---- connections on the loop ---- */

/* libpq may have closed the socket and opened another with the same number. */
static void sync_conn(struct conn *c)
{
	int fd = adb_fd(c->adb);
	short events = adb_events(c->adb);
	uint32_t want = (events & POLLIN ? EPOLLIN : 0u) | (events & POLLOUT ? EPOLLOUT : 0u);

	if (fd < 0)
		loop_unwatch(c->batcher->loop, &c->watch);
	else if (!loop_watch(c->batcher->loop, &c->watch, fd, want))
		log_error("batch.watch", "fd=%d", fd);
	c->timer.at = adb_timer(c->adb);
}

static void turn_conn(void *ctx)
{
	struct conn *c = ctx;

	adb_turn(c->adb);
	sync_conn(c);
}

static void conn_ready(void *ctx, uint32_t events)
{
	(void)events;
	turn_conn(ctx);
}

static void conn_changed(void *ctx, bool up)
{
	struct conn *c = ctx;

	if (up)
		loop_defer(c->batcher->loop, &c->batcher->kick);
}

static void open_conn(struct conn *c)
{
	if (adb_open(&c->batcher->options, &c->adb))
		error_no_memory();
	adb_on_change(c->adb, conn_changed, c);
}

/* ---- queues ---- */

static void push(struct batch *b, struct batch_item *i)
{
	i->next = NULL;
	*b->queue_end = i;
	b->queue_end = &i->next;
	b->queued++;
	b->batcher->waiting++;
}

static struct batch_item *unlink_item(struct batch *b, struct batch_item **at)
{
	struct batch_item *i = *at;

	*at = i->next;
	if (!*at)
		b->queue_end = at;
	i->next = NULL;
	b->queued--;
	b->batcher->waiting--;
	return i;
}

bool batch_add(struct batch *b, struct batch_item *i, int64_t wait_ms)
{
	if (b->batcher->waiting >= b->batcher->most_waiting)
		return false;
	i->until = loop_now(b->batcher->loop) + wait_ms;
	i->tries = 0;
	push(b, i);
	loop_defer(b->batcher->loop, &b->batcher->kick);
	return true;
}

bool batch_remove(struct batch *b, struct batch_item *i)
{
	for (struct batch_item **p = &b->queue; *p; p = &(*p)->next)
		if (*p == i) {
			unlink_item(b, p);
			return true;
		}
	return false;
}

bool batch_quiet(const struct batch *b)
{
	return !b->queue && !b->in_flight;
}

static bool clashes(const struct batch *b, const struct batch_item *i)
{
	for (int k = 0; b->kind->clash && k < b->n; k++)
		if (b->kind->clash(b->items[k], i))
			return true;
	return false;
}

/* Moves what may go together from the queue to items. */
static void collect(struct batch *b)
{
	size_t weight = 0;
	struct batch_item **p = &b->queue;

	b->n = 0;
	while (*p && b->n < b->kind->most) {
		struct batch_item *i = *p;

		if (b->n && (i->alone || b->items[0]->alone))
			break;
		if (b->n && b->kind->most_weight && weight + i->weight > b->kind->most_weight)
			break;
		if (clashes(b, i)) {
			p = &i->next;
			continue;
		}
		weight += i->weight;
		b->items[b->n++] = unlink_item(b, p);
	}
}

/* ---- answers ---- */

static void fail_items(struct batch *b, struct batch_item **items, int n, enum err err, const struct error *e)
{
	struct error gone = {0};

	if (err == ERR_TIMEOUT || err == ERR_UNAVAILABLE) {
		error_set(&gone, ERR_UNAVAILABLE, "The database cannot be reached; try again.");
		e = &gone;
	}
	for (int k = 0; k < n; k++)
		b->kind->failed(b, items[k], e->code, e);
}

/* Those that may yet succeed go back to the queue; true when the item did. */
static bool try_again(struct batch *b, struct batch_item *i, enum err err)
{
	if (err == ERR_UNAVAILABLE && (b->kind->once || i->until <= loop_now(b->batcher->loop)))
		return false;
	if (err != ERR_UNAVAILABLE && (b->n == 1 && (err != ERR_CONFLICT || ++i->tries >= TRIES)))
		return false;
	i->alone = i->alone || err != ERR_UNAVAILABLE;
	push(b, i);
	return true;
}

static void settle_failure(struct batch *b, enum err err, const struct error *e)
{
	int left = 0, n = b->n;

	if (err == ERR_TIMEOUT) {
		fail_items(b, b->items, n, err, e);
		return;
	}
	for (int k = 0; k < n; k++)
		if (!try_again(b, b->items[k], err))
			b->items[left++] = b->items[k];
	fail_items(b, b->items, left, err, e);
}

static void free_buffers(struct batch *b)
{
	for (int k = 0; k < BATCH_BUFFERS; k++)
		if (b->buf[k].cap > BUFFER_KEPT)
			buf_free(&b->buf[k]);
		else
			buf_reset(&b->buf[k]);
}

static void batch_done(void *ctx, enum err err, const struct rows *rows, const struct error *e)
{
	struct conn *c = ctx;
	struct batch *b = c->running;

	c->running = NULL;
	if (err)
		settle_failure(b, err, e);
	else
		b->kind->done(b, rows);
	/* Only now: done() adds to the queue, and must not find the kind free. */
	b->in_flight = false;
	b->n = 0;
	loop_defer(b->batcher->loop, &b->batcher->kick);
}

/* ---- sending ---- */

static struct conn *free_conn(struct batcher *r, int preferred)
{
	if (adb_idle(r->conns[preferred].adb))
		return &r->conns[preferred];
	for (int k = 0; k < BATCH_CONNECTIONS; k++)
		if (adb_idle(r->conns[k].adb))
			return &r->conns[k];
	return NULL;
}

static bool send_batch(struct batch *b)
{
	struct conn *c = free_conn(b->batcher, b->conn);
	struct arg args[STMT_MAX_PARAMS];

	if (!c)
		return false;
	collect(b);
	b->kind->bind(b, args);
	b->in_flight = true;
	b->conn = (int)(c - b->batcher->conns); /* its statements are prepared there */
	b->sent_at = loop_now(b->batcher->loop);
	b->batches++;
	b->total += (uint64_t)b->n;
	c->running = b;
	if (!adb_send(c->adb, b->kind->stmt, args, stmt_table[b->kind->stmt].params, batch_done, c)) {
		struct error e;

		c->running = NULL;
		error_set(&e, ERR_TOO_LARGE, "This is too much at once.");
		settle_failure(b, ERR_TOO_LARGE, &e);
		b->in_flight = false;
		b->n = 0;
	}
	free_buffers(b);
	sync_conn(c);
	return true;
}

/* Kinds take turns, so that a busy one does not keep the connections. */
static void kick(void *ctx)
{
	struct batcher *r = ctx;
	struct batch **p = &r->kinds, *sent = NULL, **sent_end = &sent;

	while (*p) {
		struct batch *b = *p;

		if (!b->queue || b->in_flight || !(r->open || b->kind->early) || !send_batch(b)) {
			p = &b->next;
			continue;
		}
		*p = b->next;
		b->next = NULL;
		*sent_end = b;
		sent_end = &b->next;
	}
	*p = sent;
}

static void expire(struct batch *b)
{
	int64_t now = loop_now(b->batcher->loop);
	struct batch_item **p = &b->queue;
	struct error e;

	error_set(&e, ERR_UNAVAILABLE, "The database cannot be reached; try again.");
	while (*p)
		if ((*p)->until < now) {
			struct batch_item *i = unlink_item(b, p);

			b->kind->failed(b, i, ERR_UNAVAILABLE, &e);
			p = &b->queue; /* failed() may have changed the queue */
		} else {
			p = &(*p)->next;
		}
}

/* The host may be frozen with the connection open: nothing else would end it. */
static void cut_stuck(struct batcher *r, struct conn *c)
{
	struct error e;
	struct batch *b = c->running;

	if (!b || loop_now(r->loop) - b->sent_at < STUCK_MS)
		return;
	log_warn("batch.stuck", "statement=%s", stmt_table[b->kind->stmt].name);
	loop_unwatch(r->loop, &c->watch);
	adb_close(c->adb);
	open_conn(c);
	error_set(&e, ERR_UNAVAILABLE, "The database cannot be reached; try again.");
	batch_done(c, ERR_UNAVAILABLE, NULL, &e);
	turn_conn(c);
}

static void sweep(void *ctx)
{
	struct batcher *r = ctx;

	for (struct batch *b = r->kinds; b; b = b->next)
		expire(b);
	for (int k = 0; k < BATCH_CONNECTIONS; k++)
		cut_stuck(r, &r->conns[k]);
	r->sweep.at = loop_now(r->loop) + SWEEP_MS;
}

/* ---- life ---- */

void batch_init(struct batch *b, struct batcher *batcher, const struct batch_kind *kind, void *ctx)
{
	*b = (struct batch){.kind = kind, .batcher = batcher, .ctx = ctx};
	b->items = calloc((size_t)kind->most, sizeof(*b->items));
	if (!b->items)
		error_no_memory();
	for (int k = 0; k < BATCH_BUFFERS; k++)
		b->buf[k] = BUF_INIT(BUFFER_MOST);
	b->queue_end = &b->queue;
	b->next = batcher->kinds;
	batcher->kinds = b;
}

struct batcher *batcher_new(struct loop *l, const char *conninfo, int waiting)
{
	struct batcher *r = calloc(1, sizeof(*r));

	if (!r)
		error_no_memory();
	r->loop = l;
	r->most_waiting = waiting;
	r->options = (struct db_options){.conninfo = conninfo, .application = "gpupool-web events", .queue = true};
	r->kick = (struct task){.run = kick, .ctx = r};
	r->sweep = (struct timer){.at = loop_now(l) + SWEEP_MS, .due = sweep, .ctx = r};
	loop_add_timer(l, &r->sweep);
	for (int k = 0; k <= BATCH_CONNECTIONS; k++) {
		struct conn *c = &r->conns[k];

		c->batcher = r;
		c->watch = (struct watch){.fd = -1, .ready = conn_ready, .ctx = c};
		c->timer = (struct timer){.at = INT64_MAX, .due = turn_conn, .ctx = c};
		open_conn(c);
		loop_add_timer(l, &c->timer);
	}
	return r;
}

void batcher_listen(struct batcher *r, const char *const *channels, adb_notified *cb, void *ctx)
{
	adb_listen(r->conns[BATCH_CONNECTIONS].adb, channels, cb, ctx);
}

void batcher_start(struct batcher *r)
{
	for (int k = 0; k <= BATCH_CONNECTIONS; k++)
		turn_conn(&r->conns[k]);
}

void batcher_open(struct batcher *r, bool open)
{
	r->open = open;
	if (open)
		loop_defer(r->loop, &r->kick);
}

bool batcher_is_open(const struct batcher *r)
{
	return r->open;
}

void batcher_free(struct batcher *r)
{
	for (int k = 0; k <= BATCH_CONNECTIONS; k++) {
		loop_unwatch(r->loop, &r->conns[k].watch);
		loop_remove_timer(r->loop, &r->conns[k].timer);
		adb_close(r->conns[k].adb);
	}
	for (struct batch *b = r->kinds; b; b = b->next) {
		free(b->items);
		for (int k = 0; k < BATCH_BUFFERS; k++)
			buf_free(&b->buf[k]);
	}
	loop_remove_timer(r->loop, &r->sweep);
	loop_undefer(r->loop, &r->kick);
	free(r);
}
