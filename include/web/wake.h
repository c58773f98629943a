/*
 * wake - hints to whoever listens that there is something to look at.
 *
 * A handler says wake() after it changed something; the hint leaves when the
 * request's transaction has committed, outside of any, and not more often than
 * every WAKE_EVERY_MS a process for a channel and payload: NOTIFY serialises commits.
 * The last hint is never lost: the accept loop flushes what is still due.
 * Listeners poll as well, so that a lost hint costs time and nothing else.
 *
 * Channels: gpupool_jobs (""), gpupool_orders (worker id),
 * gpupool_operations (provider), gpupool_events ("").
 */
#ifndef WEB_WAKE_H
#define WEB_WAKE_H

#include <stdbool.h>
#include <stdint.h>

#include "db/db.h"
#include "web/request.h"

enum { WAKE_EVERY_MS = 5, WAKE_SLOTS = 32 };

/* One a process; all zero at first. */
struct wakes {
	struct wake_slot {
		char channel[32], payload[64];
		bool pending;
		int64_t sent_ms;
	} slots[WAKE_SLOTS];
};

/* channel and payload are copied.  Nothing happens while ctx has no wakes. */
void wake(struct ctx *ctx, const char *channel, const char *payload);
/* Sends what is due; call outside a transaction. */
void wake_flush(struct wakes *w, struct db *db);
/* Milliseconds until something is due; -1 = nothing pending. */
int64_t wake_timer(const struct wakes *w);

#endif
