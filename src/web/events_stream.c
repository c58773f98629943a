/*
 * Event streams: what happened, to whoever may see it, as server-sent events.
 *
 * One statement reads for all streams; a stream that resumes is brought up to
 * date by one of its own, shared with others that resume.  The cursor is
 * (transaction id, event id), since ids are not in commit order.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "web/events_role.h"

enum {
	HEARTBEAT_MS = 15000,
	LIFE_MS = 600000,   /* then the client comes again: its sign-in may be over */
	EVENT_ROWS = 1000,  /* as in the statement */
	REPLAY_ROWS = 500,
	REPLAYS_MOST = 50,
	LINE_MOST = 64 << 10,
};

const struct field events_stream_query[] = {{0}};

struct cursor {
	uint64_t xid;
	int64_t id;
};

struct stream {
	struct exchange *x;
	struct stream *prev, *next;
	struct cursor at;
	int64_t owner;  /* -1 = sees all */
	int64_t beat, until;
	bool live;      /* in step with the shared cursor */
	bool replaying; /* in the replay batch */
	bool lagging;   /* its peer is slow: replays when what was written has left */
};

struct streams {
	struct events *ev;
	struct batch head, read, replay;
	struct batch_item head_item, read_item;
	struct stream *first;
	int count;
	struct cursor at; /* everything up to here was sent to live streams */
	bool known;       /* at is */
	bool hinted;      /* something came while a read was under way */
	struct task again;
};

static bool after(struct cursor a, struct cursor b)
{
	return a.xid != b.xid ? a.xid > b.xid : a.id > b.id;
}

static struct cursor row_cursor(const struct rows *rows, int row)
{
	return (struct cursor){strtoull(row_cstr(rows, row, "xid"), NULL, 10), row_i64(rows, row, "id")};
}

/* ---- one stream ---- */

static void close_stream(struct streams *s, struct stream *m)
{
	if (m->prev)
		m->prev->next = m->next;
	else
		s->first = m->next;
	if (m->next)
		m->next->prev = m->prev;
	s->count--;
	m->x->gone = NULL;
	m->x->drained = NULL;
	exchange_finish(m->x);
	free(m);
}

static void stream_gone(struct exchange *x)
{
	struct stream *m = x->state;
	struct streams *s = x->ev->streams;

	if (!m->replaying || batch_remove(&s->replay, &x->item))
		close_stream(s, m);
	/* else the batch's end finds that the peer is gone */
}

/* False when the peer has too much before it already: the stream falls behind, and
 * goes on from its cursor when that has left.  A dead peer is cut by the server. */
static bool say(struct streams *s, struct stream *m, struct str text)
{
	if (exchange_write(m->x, text)) {
		m->beat = loop_now(s->ev->loop) + HEARTBEAT_MS;
		return true;
	}
	m->live = false;
	m->lagging = true;
	return false;
}

static void event_text(struct buf *b, const struct rows *rows, int row)
{
	char at[32];

	clock_rfc3339_ms(row_i64(rows, row, "at_ms"), at, sizeof(at));
	buf_reset(b);
	buf_addf(b, "id: %s:%s\nevent: %s\ndata: {\"topic\":\"%s\",\"what\":", row_cstr(rows, row, "xid"), row_cstr(rows, row, "id"),
		 row_cstr(rows, row, "topic"), row_cstr(rows, row, "topic"));
	buf_add_json(b, row_str(rows, row, "what"));
	buf_adds(b, ",\"ids\":[");
	for (struct str list = row_str(rows, row, "subjects"), one = {0}; str_cut(&list, ',', &one);) {
		/* "[1", "2", "3]" */
		while (one.len && (*one.ptr < '0' || *one.ptr > '9')) {
			one.ptr++;
			one.len--;
		}
		while (one.len && (one.ptr[one.len - 1] < '0' || one.ptr[one.len - 1] > '9'))
			one.len--;
		if (one.len)
			buf_addf(b, "%s\"%.*s\"", b->ptr[b->len - 1] == '[' ? "" : ",", STR_ARG(one));
	}
	buf_addf(b, "],\"at\":\"%s\"", at);
	if (!row_null(rows, row, "data"))
		buf_addf(b, ",\"data\":%s", row_cstr(rows, row, "data"));
	buf_adds(b, "}\n\n");
}

/* ---- the shared reading ---- */

static void bind_head(struct batch *b, struct arg *args)
{
	(void)b;
	(void)args;
}

static void look(struct streams *s)
{
	struct batch *b = s->known ? &s->read : &s->head;

	if (!s->count)
		return;
	s->hinted = !batch_quiet(b) || !batch_add(b, s->known ? &s->read_item : &s->head_item, BATCH_WAIT_MS);
}

static void look_again(void *ctx)
{
	struct streams *s = ctx;

	if (s->hinted)
		look(s);
}

/* A live stream is at the shared cursor, or ahead of it by what it replayed. */
static void go_live(struct streams *s, struct stream *m, struct cursor xmin)
{
	if (!s->known)
		return;
	if (after(s->at, xmin))
		return; /* events between the two: replay again */
	m->live = true;
}

static void replay(struct streams *s, struct stream *m)
{
	m->replaying = true;
	if (batch_add(&s->replay, &m->x->item, BATCH_WAIT_MS))
		return;
	m->replaying = false;
	close_stream(s, m);
}

/* From here on it misses nothing: whoever loads a page after this line has all. */
static void greet(struct streams *s, struct stream *m)
{
	m->at = s->at;
	m->live = true;
	say(s, m, STR(": hello\nretry: 2000\n\n"));
}

static void head_done(struct batch *b, const struct rows *rows)
{
	struct streams *s = b->ctx;

	/* Everything of transactions from xmin on is yet to be read. */
	s->at = (struct cursor){strtoull(row_cstr(rows, 0, "xid"), NULL, 10), -1};
	s->known = true;
	for (struct stream *m = s->first, *next; m; m = next) {
		next = m->next; /* replay() may close it */
		if (!m->at.xid) {
			greet(s, m);
		} else if (!m->live && !m->replaying) {
			replay(s, m);
		}
	}
}

static void quiet_failure(struct batch *b, struct batch_item *i, enum err err, const struct error *e)
{
	(void)b;
	(void)i;
	(void)e;
	log_debug("stream.read", "error=%s", err_name(err));
}

static void bind_read(struct batch *b, struct arg *args)
{
	const struct streams *s = b->ctx;

	buf_addf(&b->buf[0], "%llu", (unsigned long long)s->at.xid);
	args[0] = arg_buf(&b->buf[0]);
	args[1] = arg_i64(s->at.id);
}

static void send_to_live(struct streams *s, struct cursor at, int64_t owner, struct str text)
{
	for (struct stream *m = s->first; m; m = m->next) {
		if (!m->live || !after(at, m->at))
			continue;
		if ((m->owner != -1 && m->owner != owner) || say(s, m, text))
			m->at = at;
	}
}

static void read_done(struct batch *b, const struct rows *rows)
{
	cleanup_buf struct buf text = BUF_INIT(LINE_MOST);
	struct streams *s = b->ctx;
	int n = rows_count(rows);

	for (int row = 0; row < n; row++) {
		s->at = row_cursor(rows, row);
		event_text(&text, rows, row);
		if (!text.failed)
			send_to_live(s, s->at, row_i64(rows, row, "owner_id"), buf_str(&text));
	}
	s->hinted |= n == EVENT_ROWS;
	if (s->hinted)
		loop_defer(s->ev->loop, &s->again);
}

/* ---- resuming ---- */

static void stream_drained(struct exchange *x)
{
	struct stream *m = x->state;

	if (!m->lagging || m->replaying)
		return;
	m->lagging = false;
	replay(x->ev->streams, m);
}

static void bind_replay(struct batch *b, struct arg *args)
{
	for (int k = 0; k < 3; k++)
		array_begin(&b->buf[k]);
	for (int i = 0; i < b->n; i++) {
		const struct stream *m = exchange_of(b->items[i])->state;

		array_add_i64(&b->buf[0], (int64_t)m->at.xid);
		array_add_i64(&b->buf[1], m->at.id);
		array_add_i64(&b->buf[2], m->owner);
	}
	for (int k = 0; k < 3; k++) {
		array_end(&b->buf[k]);
		args[k] = arg_buf(&b->buf[k]);
	}
}

/* The rows of one stream; false when it lags. */
static bool replay_rows(struct streams *s, struct stream *m, const struct rows *rows, int from, int to, struct cursor *xmin)
{
	cleanup_buf struct buf text = BUF_INIT(LINE_MOST);

	for (int row = from; row < to; row++) {
		if (row_null(rows, row, "topic")) {
			*xmin = (struct cursor){strtoull(row_cstr(rows, row, "xid"), NULL, 10), -1};
			continue;
		}
		event_text(&text, rows, row);
		if (!text.failed && !say(s, m, buf_str(&text)))
			return false;
		m->at = row_cursor(rows, row);
	}
	return true;
}

static void replay_done(struct batch *b, const struct rows *rows)
{
	struct streams *s = b->ctx;
	int row = 0, n = rows_count(rows);

	for (int i = 0; i < b->n; i++) {
		struct stream *m = exchange_of(b->items[i])->state;
		struct cursor xmin = {0, 0};
		int from = row;

		while (row < n && row_i64(rows, row, "i") == i + 1)
			row++;
		m->replaying = false;
		if (!m->x->call) {
			close_stream(s, m);
			continue;
		}
		if (!replay_rows(s, m, rows, from, row, &xmin))
			continue;
		if (row - from <= REPLAY_ROWS) {
			if (after(xmin, m->at))
				m->at = xmin; /* nothing else of it is below */
			go_live(s, m, xmin);
		}
		if (!m->live && s->known)
			replay(s, m);
	}
	look(s);
}

static void replay_failed(struct batch *b, struct batch_item *i, enum err err, const struct error *e)
{
	struct stream *m = exchange_of(i)->state;

	(void)err;
	(void)e;
	m->replaying = false;
	close_stream(b->ctx, m); /* the client resumes by its last id */
}

/* ---- the handler ---- */

static bool parse_cursor(struct str text, struct cursor *ret)
{
	struct str xid;
	int64_t x;

	if (!text.ptr || !str_cut(&text, ':', &xid) || !text.ptr || !str_to_i64(xid, 3, INT64_MAX, &x) ||
	    !str_to_i64(text, -1, INT64_MAX, &ret->id))
		return false;
	ret->xid = (uint64_t)x;
	return true;
}

static void stream_head(struct exchange *x)
{
	x->res.status = 200;
	x->res.content_type = "text/event-stream; charset=utf-8";
	x->res.stream = true;
	response_header(&x->res, "Cache-Control", "no-store");
	response_header(&x->res, "X-Accel-Buffering", "no");
	exchange_stream(x);
}

void events_stream_get(struct events *ev, struct exchange *x)
{
	struct streams *s = ev->streams;
	struct stream *m;
	bool resumes;

	if (s->count >= ev->config->max_parked) {
		exchange_fail(x, ERR_UNAVAILABLE, "Too many streams are open here; try again.");
		return;
	}
	if (x->res.no_body) {
		stream_head(x);
		exchange_finish(x);
		return;
	}
	m = calloc(1, sizeof(*m));
	if (!m)
		error_no_memory();
	m->x = x;
	m->owner = principal_sees_all(&x->req.principal) ? -1 : x->req.principal.user_id;
	m->until = loop_now(ev->loop) + LIFE_MS;
	resumes = parse_cursor(x->req.last_event_id, &m->at);
	m->next = s->first;
	if (m->next)
		m->next->prev = m;
	s->first = m;
	s->count++;
	x->state = m;
	x->gone = stream_gone;
	x->drained = stream_drained;
	stream_head(x);
	exchange_slim(x);
	m->beat = loop_now(ev->loop) + HEARTBEAT_MS;
	if (resumes)
		replay(s, m);
	else if (s->known)
		greet(s, m);
	look(s);
}

/* ---- the module ---- */

static const struct batch_kind head_kind = {STMT_EVENT_HEAD, 1, 0, bind_head, head_done, quiet_failure, NULL};
static const struct batch_kind read_kind = {STMT_EVENT_READ, 1, 0, bind_read, read_done, quiet_failure, NULL};
static const struct batch_kind replay_kind = {STMT_EVENT_REPLAY, REPLAYS_MOST, 0, bind_replay, replay_done, replay_failed, NULL};

static void streams_open(struct events *ev)
{
	struct streams *s = calloc(1, sizeof(*s));

	if (!s)
		error_no_memory();
	s->ev = ev;
	s->again = (struct task){.run = look_again, .ctx = s};
	ev->streams = s;
	batch_init(&s->head, ev->batcher, &head_kind, s);
	batch_init(&s->read, ev->batcher, &read_kind, s);
	batch_init(&s->replay, ev->batcher, &replay_kind, s);
}

static void streams_close(struct events *ev)
{
	loop_undefer(ev->loop, &ev->streams->again);
	free(ev->streams);
}

static void end_streams(struct streams *s)
{
	for (struct stream *m = s->first, *next; m; m = next) {
		next = m->next;
		if (!m->replaying || batch_remove(&s->replay, &m->x->item))
			close_stream(s, m);
	}
}

static void streams_tick(struct events *ev)
{
	struct streams *s = ev->streams;
	int64_t now = loop_now(ev->loop);

	if (ev->draining)
		end_streams(s);
	for (struct stream *m = s->first, *next; m; m = next) {
		next = m->next;
		if (m->until <= now && !m->replaying)
			close_stream(s, m);
		else if (m->beat <= now && !m->lagging)
			say(s, m, STR(": still here\n\n"));
	}
	if (!s->count)
		s->known = false; /* who comes next begins at that moment */
	look(s);
}

void streams_hint(struct events *ev)
{
	look(ev->streams);
}

static void streams_hinted(struct events *ev, const char *channel, const char *payload)
{
	(void)payload;
	if (!strcmp(channel, "gpupool_events") || !*channel)
		look(ev->streams);
}

static void streams_drain(struct events *ev)
{
	end_streams(ev->streams);
}

const struct events_module streams_module = {streams_open, streams_close, streams_tick, streams_hinted, streams_drain};
