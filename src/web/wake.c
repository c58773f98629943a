/* wake - coalesced notifications.  See web/wake.h. */
#include "web/wake.h"

#include <string.h>

#include "base/clock.h"

static bool due(const struct wake_slot *s, int64_t now)
{
	return s->pending && now - s->sent_ms >= WAKE_EVERY_MS;
}

/* The slot of this pair; else the idle one that was used longest ago; else,
 * with all pending, NULL: the listeners' polling finds it. */
static struct wake_slot *slot_for(struct wakes *w, const char *channel, const char *payload)
{
	struct wake_slot *oldest = NULL;

	for (size_t i = 0; i < WAKE_SLOTS; i++) {
		struct wake_slot *s = &w->slots[i];

		if (!strcmp(s->channel, channel) && !strcmp(s->payload, payload))
			return s;
		if (!s->pending && (!oldest || s->sent_ms < oldest->sent_ms))
			oldest = s;
	}
	if (oldest) {
		*oldest = (struct wake_slot){.sent_ms = -WAKE_EVERY_MS};
		snprintf(oldest->channel, sizeof(oldest->channel), "%s", channel);
		snprintf(oldest->payload, sizeof(oldest->payload), "%s", payload);
	}
	return oldest;
}

void wake(struct ctx *ctx, const char *channel, const char *payload)
{
	struct wake_slot *s = ctx->wakes ? slot_for(ctx->wakes, channel, payload) : NULL;

	if (s)
		s->pending = true;
}

void wake_flush(struct wakes *w, struct db *db)
{
	int64_t now = clock_ms();

	for (size_t i = 0; i < WAKE_SLOTS; i++) {
		struct wake_slot *s = &w->slots[i];

		if (!due(s, now))
			continue;
		s->pending = false;
		s->sent_ms = now;
		db_notify(db, s->channel, s->payload);
	}
}

int64_t wake_timer(const struct wakes *w)
{
	int64_t now = clock_ms(), least = -1;

	for (size_t i = 0; i < WAKE_SLOTS; i++) {
		const struct wake_slot *s = &w->slots[i];
		int64_t left = s->sent_ms + WAKE_EVERY_MS - now;

		if (s->pending && (least < 0 || left < least))
			least = left > 0 ? left : 0;
	}
	return least;
}
