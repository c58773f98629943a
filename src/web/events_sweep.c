/*
 * Removes files of the store that no row knows: what retention dropped, and what
 * was left between a file and its row by a process that was killed.  One of the
 * store's 256 directories at a time, a whole round in about a day; only files
 * older than STALE_S, since younger ones may be about to get their row.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "web/events_disk.h"
#include "web/events_role.h"

enum {
	DIRECTORIES = 256,
	EVERY_MS = 300000,
	STALE_S = 24 * 3600,
	NAMES_MOST = 1 << 20, /* bytes of names at once; the rest is for the next round */
};

struct sweep {
	struct events *ev;
	struct batch unknown;
	struct batch_item item;
	struct buf names; /* the array argument */
	int64_t next;
	int directory;
};

static void bind_unknown(struct batch *b, struct arg *args)
{
	const struct sweep *s = b->ctx;

	args[0] = arg_buf(&s->names);
}

static void unknown_done(struct batch *b, const struct rows *rows)
{
	struct sweep *s = b->ctx;

	for (int i = 0; i < rows_count(rows); i++)
		disk_remove(artifacts_disk(s->ev), row_cstr(rows, i, "path"));
	if (rows_count(rows))
		log_info("store.swept", "files=%d", rows_count(rows));
}

static void unknown_failed(struct batch *b, struct batch_item *i, enum err err, const struct error *e)
{
	(void)b;
	(void)i;
	(void)e;
	log_debug("store.sweep", "error=%s", err_name(err)); /* the next round comes here again */
}

static const struct batch_kind unknown_kind = {STMT_ARTIFACT_UNKNOWN, 1, 0, bind_unknown, unknown_done, unknown_failed, NULL};

static void sweep_open(struct events *ev)
{
	struct sweep *s = calloc(1, sizeof(*s));

	if (!s)
		error_no_memory();
	s->ev = ev;
	s->names = BUF_INIT(NAMES_MOST + 256);
	/* Two processes that start together do not go side by side. */
	s->directory = (int)((uint64_t)clock_us() % DIRECTORIES);
	s->next = loop_now(ev->loop) + EVERY_MS;
	ev->sweep = s;
	batch_init(&s->unknown, ev->batcher, &unknown_kind, s);
}

static void sweep_close(struct events *ev)
{
	buf_free(&ev->sweep->names);
	free(ev->sweep);
}

static void sweep_tick(struct events *ev)
{
	struct sweep *s = ev->sweep;

	if (loop_now(ev->loop) < s->next || ev->draining || !artifacts_disk(ev) || !batch_quiet(&s->unknown))
		return;
	s->next = loop_now(ev->loop) + EVERY_MS;
	array_begin(&s->names);
	disk_list_stale(artifacts_disk(ev), s->directory, STALE_S, &s->names, NAMES_MOST);
	array_end(&s->names);
	s->directory = (s->directory + 1) % DIRECTORIES;
	if (s->names.len > 2 && !batch_add(&s->unknown, &s->item, BATCH_WAIT_MS))
		log_debug("store.sweep", "error=busy");
}

const struct events_module sweep_module = {.open = sweep_open, .close = sweep_close, .tick = sweep_tick};
