/*
 * async - a connection to PostgreSQL for an event loop: never blocks.
 *
 * One statement at a time; adb_idle() says when the next may be sent.  The
 * owner polls adb_fd() for adb_events() and calls adb_turn() when it is ready
 * or when adb_timer() (monotonic ms, INT64_MAX = none) has passed.  After a
 * loss the statement in flight fails with ERR_UNAVAILABLE (its effect is
 * unknown) and the connection comes back by itself with backoff.
 *
 * Callbacks run inside adb_turn() and may send the next statement.
 */
#ifndef DB_ASYNC_H
#define DB_ASYNC_H

#include <stdint.h>

#include "db/db.h"

struct adb;

/* rows is valid during the call; on failure it is empty and e says why. */
typedef void adb_done(void *ctx, enum err err, const struct rows *rows, const struct error *e);
/* A notification on a channel that was listened to; "" after each (re)connect. */
typedef void adb_notified(void *ctx, const char *channel, const char *payload);

enum err adb_open(const struct db_options *o, struct adb **ret) must_check;
void adb_close(struct adb *a);

bool adb_idle(const struct adb *a); /* connected and nothing in flight */
bool adb_connected(const struct adb *a);
/* False when not idle.  Arguments are copied before it returns. */
bool adb_send(struct adb *a, enum stmt s, const struct arg *args, int n, adb_done *done, void *ctx) must_check;
/* Before the first turn: channels (NULL-terminated, static) listened to on every connect. */
void adb_listen(struct adb *a, const char *const *channels, adb_notified *cb, void *ctx);
/* Called each time the connection becomes usable or is lost. */
void adb_on_change(struct adb *a, void (*cb)(void *ctx, bool up), void *ctx);

int adb_fd(const struct adb *a);       /* -1 while waiting to reconnect; may change after each turn */
short adb_events(const struct adb *a); /* POLLIN and/or POLLOUT */
int64_t adb_timer(const struct adb *a);
void adb_turn(struct adb *a);

#endif
