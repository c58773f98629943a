/*
 * Logs of attempts: agents append bytes at an offset; people read them as text,
 * whole or followed while they grow.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "web/events_role.h"

enum {
	PIECE_MOST = 256 << 10, /* of one append */
	APPENDS_MOST = 200,
	APPENDS_WEIGHT = 8 << 20,
	READS_MOST = 50,
	BYTES_A_SECOND = 64 << 20, /* of all agents together */
	HEARTBEAT_MS = 15000,
	LIFE_MS = 600000,
	PENDING_MOST = 64 << 10,   /* a peer with so much before it gets no more for now */
	TEXT_MOST = 4 << 20,
};

struct logs {
	struct events *ev;
	struct batch append, read;
	struct reader *first; /* followed logs */
	int64_t budget, budget_at;
};

/* ---- appending ---- */

const struct field log_append_query[] = {
	{"lease", FIELD_UUID, FIELD_REQUIRED},
	{"offset", FIELD_INT, FIELD_REQUIRED, .max = 1e12, .doc = "Of the first byte in the attempt's log."},
	{0},
};

struct append {
	int64_t job, offset;
	const char *lease;
};

static void bind_append(struct batch *b, struct arg *args)
{
	for (int k = 0; k < 5; k++)
		array_begin(&b->buf[k]);
	for (int i = 0; i < b->n; i++) {
		const struct exchange *x = exchange_of(b->items[i]);
		const struct append *a = x->state;

		array_add_bytes(&b->buf[0], x->token, CRYPTO_HASH);
		array_add_i64(&b->buf[1], a->job);
		array_add_str(&b->buf[2], str_of(a->lease));
		array_add_i64(&b->buf[3], a->offset);
		array_add_bytes(&b->buf[4], x->req.body.ptr, x->req.body.len);
	}
	for (int k = 0; k < 5; k++) {
		array_end(&b->buf[k]);
		args[k] = arg_buf(&b->buf[k]);
	}
	args[5] = arg_i64(((struct logs *)b->ctx)->ev->config->max_log);
}

static void answer_append(struct exchange *x, const struct rows *rows, int row)
{
	int64_t length = row_i64(rows, row, "length");
	bool full = row_bool(rows, row, "full");
	struct json *j;

	if (row_bool(rows, row, "gap") && !full) {
		struct error e = {.code = OK};

		error_set(&e, ERR_CONFLICT, "The log has %lld bytes; go on there.", (long long)length);
		j = problem_json(&x->req, &e, NULL);
		json_put_i64(j, "expectedOffset", length);
		response_json(&x->res, 409, j);
		x->res.content_type = PROBLEM_JSON;
		exchange_end(x);
		return;
	}
	j = json_object();
	json_put_i64(j, "length", length);
	if (full)
		json_put_bool(j, "full", true);
	exchange_json(x, 200, j);
}

static void hungry(struct logs *l, int64_t job);

static void append_done(struct batch *b, const struct rows *rows)
{
	struct logs *l = b->ctx;
	int n = rows_count(rows), row = 0;

	for (int i = 0; i < b->n; i++) {
		struct exchange *x = exchange_of(b->items[i]);
		int tries = 0;

		while (tries < n && row_i64(rows, row, "i") != i + 1) {
			row = (row + 1) % n;
			tries++;
		}
		if (tries == n) {
			exchange_fail(x, ERR_GONE, "This lease is void.");
			continue;
		}
		hungry(l, row_i64(rows, row, "id"));
		answer_append(x, rows, row);
	}
}

static bool same_job(const struct batch_item *a, const struct batch_item *b)
{
	const struct append *x = ((const struct exchange *)a)->state, *y = ((const struct exchange *)b)->state;

	return x->job == y->job;
}

/* A bucket that fills by time: what agents print must not fill the disk in no time. */
static bool within_budget(struct logs *l, size_t bytes)
{
	int64_t now = loop_now(l->ev->loop);

	l->budget += (now - l->budget_at) * (BYTES_A_SECOND / 1000);
	l->budget_at = now;
	if (l->budget > BYTES_A_SECOND)
		l->budget = BYTES_A_SECOND;
	if (l->budget < (int64_t)bytes)
		return false;
	l->budget -= (int64_t)bytes;
	return true;
}

void events_log_append(struct events *ev, struct exchange *x)
{
	struct append *a = arena_new(&x->arena, struct append);
	struct error e = {.code = OK};

	if (!a)
		BUG("no room for an append");
	if (request_capture_id(&x->req, "id", &a->job, &e)) {
		exchange_problem(x, &e);
		return;
	}
	if (!within_budget(ev->logs, x->req.body.len)) {
		exchange_fail(x, ERR_UNAVAILABLE, "Logs come too fast; try again.");
		return;
	}
	a->lease = json_cstr(x->req.params, "lease");
	a->offset = json_i64(x->req.params, "offset", 0);
	x->state = a;
	x->item.weight = x->req.body.len * 2;
	exchange_batch(x, &ev->logs->append);
}

/* ---- reading ---- */

const struct field log_read_query[] = {
	{"attempt", FIELD_INT, 0, .min = 1, .max = 30000, .doc = "Default: the latest."},
	{"run", FIELD_INT, 0, .min = 1, .max = 30000, .doc = "Exactly this lease's: a release and a retry repeat an attempt's number."},
	{"offset", FIELD_INT, 0, .max = 1e12, .doc = "Bytes of the attempt's log to skip."},
	{0},
};

struct reader {
	struct exchange *x;
	struct reader *prev, *next; /* of followed logs */
	int64_t job, owner, offset;
	int64_t end;    /* of a plain answer: where the log ended when it began; -1 = not known */
	int attempt, run;
	bool follows, waits /* for its statement */, wants /* to read again */;
	int64_t beat, until;
};

static void drop(struct logs *l, struct reader *r, bool whole)
{
	struct exchange *x = r->x;

	if (r->follows) {
		if (r->prev)
			r->prev->next = r->next;
		else
			l->first = r->next;
		if (r->next)
			r->next->prev = r->prev;
	}
	x->gone = NULL;
	x->drained = NULL;
	free(r);
	if (!x->streaming)
		exchange_end(x);
	else if (whole)
		exchange_finish(x);
	else
		exchange_break(x);
}

static void read_on(struct logs *l, struct reader *r)
{
	r->wants = false;
	r->waits = true;
	if (batch_add(&l->read, &r->x->item, BATCH_WAIT_MS))
		return;
	r->waits = false;
	if (!r->x->streaming)
		problem_answer(&r->x->req, &r->x->res, &(struct error){.code = ERR_UNAVAILABLE}, NULL);
	drop(l, r, false);
}

static void bind_log_read(struct batch *b, struct arg *args)
{
	for (int k = 0; k < 5; k++)
		array_begin(&b->buf[k]);
	for (int i = 0; i < b->n; i++) {
		const struct reader *r = exchange_of(b->items[i])->state;

		array_add_i64(&b->buf[0], r->job);
		array_add_i64(&b->buf[1], r->owner);
		array_add_i64(&b->buf[2], r->attempt);
		array_add_i64(&b->buf[3], r->run);
		array_add_i64(&b->buf[4], r->offset);
	}
	for (int k = 0; k < 5; k++) {
		array_end(&b->buf[k]);
		args[k] = arg_buf(&b->buf[k]);
	}
}

/* Bytes of a character that has begun and not ended. */
static size_t unfinished(struct str s)
{
	for (size_t back = 1; back <= 3 && back <= s.len; back++) {
		unsigned char c = (unsigned char)s.ptr[s.len - back];

		if (c < 0x80)
			return 0;
		if (c >= 0xc0)
			return (c >= 0xf0 ? 4u : c >= 0xe0 ? 3u : 2u) > back ? back : 0;
	}
	return 0;
}

/* What is new at the reader's offset; a character that is cut waits for its rest
 * unless this is the end. */
static struct str new_bytes(const struct reader *r, const struct rows *rows, int row, bool to_the_end, struct arena *a)
{
	struct str data = row_bytes(rows, row, "data", a);
	int64_t skip = r->offset - row_i64(rows, row, "first");

	if (!data.ptr || skip < 0 || (size_t)skip > data.len)
		return STR_NULL;
	data.ptr += skip;
	data.len -= (size_t)skip;
	if (r->end >= 0 && (int64_t)data.len > r->end - r->offset)
		data.len = (size_t)(r->end - r->offset);
	if (!to_the_end || r->offset + (int64_t)data.len < row_i64(rows, row, "log_bytes"))
		data.len -= unfinished(data);
	return data;
}

/* ---- a plain answer ---- */

static void begin_plain(struct reader *r, int64_t next)
{
	struct exchange *x = r->x;

	x->res.status = 200;
	x->res.content_type = "text/plain; charset=utf-8";
	x->res.stream = true;
	response_header(&x->res, "Gpupool-Next-Offset", "%lld", (long long)next);
	exchange_stream(x);
}

static void plain_piece(struct logs *l, struct reader *r, const struct rows *rows, int row)
{
	cleanup_arena struct arena a;
	cleanup_buf struct buf text = BUF_INIT(TEXT_MOST);
	bool over = row_bool(rows, row, "ended");
	struct str bytes;

	arena_init(&a, 2 << 20);
	if (r->end < 0)
		r->end = row_i64(rows, row, "log_bytes");
	bytes = new_bytes(r, rows, row, over, &a);
	if (!r->x->streaming) {
		/* A log whose rest fits into this piece may end before a cut character. */
		if (bytes.ptr && r->offset + (int64_t)bytes.len + 3 >= r->end)
			r->end = r->offset + (int64_t)bytes.len;
		begin_plain(r, r->end > r->offset ? r->end : r->offset);
	}
	r->offset += (int64_t)bytes.len;
	buf_add_text(&text, bytes, false);
	if (text.failed || (bytes.len && r->x->call && fcgi_pending(r->x->call) > FCGI_STREAM_MOST)) {
		drop(l, r, false);
		return;
	}
	if (r->x->call && !r->x->res.no_body)
		fcgi_write(r->x->call, buf_str(&text));
	if (!bytes.len || r->offset >= r->end || r->x->res.no_body)
		drop(l, r, true);
	/* else drained() reads on */
}

/* ---- a followed log ---- */

static void begin_follow(struct reader *r)
{
	struct exchange *x = r->x;

	x->res.status = 200;
	x->res.content_type = "text/event-stream; charset=utf-8";
	x->res.stream = true;
	response_header(&x->res, "Cache-Control", "no-store");
	response_header(&x->res, "X-Accel-Buffering", "no");
	exchange_stream(x);
}

static bool say(struct logs *l, struct reader *r, struct str text)
{
	r->beat = loop_now(l->ev->loop) + HEARTBEAT_MS;
	/* One piece may be larger than the limit; a second one is not let in before it left. */
	if (!r->x->call || fcgi_pending(r->x->call) > FCGI_STREAM_MOST) {
		drop(l, r, false);
		return false;
	}
	fcgi_write(r->x->call, text);
	return true;
}

static void follow_piece(struct logs *l, struct reader *r, const struct rows *rows, int row)
{
	cleanup_arena struct arena a;
	cleanup_buf struct buf text = BUF_INIT(TEXT_MOST), clean = BUF_INIT(TEXT_MOST);
	bool over = row_bool(rows, row, "ended");
	struct str bytes;

	arena_init(&a, 2 << 20);
	if (!r->x->streaming)
		begin_follow(r);
	if (!row_null(rows, row, "run"))
		r->run = (int)row_i64(rows, row, "run");
	bytes = new_bytes(r, rows, row, over, &a);
	if (bytes.len) {
		int64_t next = r->offset + (int64_t)bytes.len;

		buf_add_text(&clean, bytes, false);
		buf_addf(&text, "id: %lld\ndata: {\"offset\":%lld,\"next\":%lld,\"text\":", (long long)next, (long long)r->offset,
			 (long long)next);
		buf_add_json(&text, buf_str(&clean));
		buf_adds(&text, "}\n\n");
		r->offset = next;
	}
	if (over && r->offset >= row_i64(rows, row, "log_bytes"))
		buf_addf(&text, "event: end\ndata: {\"offset\":%lld}\n\n", (long long)r->offset);
	if (text.len && !say(l, r, buf_str(&text)))
		return;
	if (over && r->offset >= row_i64(rows, row, "log_bytes"))
		drop(l, r, true);
	else if (r->offset < row_i64(rows, row, "log_bytes") && bytes.len)
		r->wants = true;
}

static void read_done(struct batch *b, const struct rows *rows)
{
	struct logs *l = b->ctx;
	int n = rows_count(rows), row = 0;

	for (int i = 0; i < b->n; i++) {
		struct exchange *x = exchange_of(b->items[i]);
		struct reader *r = x->state;
		int tries = 0;

		r->waits = false;
		while (tries < n && row_i64(rows, row, "i") != i + 1) {
			row = (row + 1) % n;
			tries++;
		}
		if (tries == n && !x->streaming)
			problem_answer(&x->req, &x->res, &(struct error){.code = ERR_NOT_FOUND, .msg = "There is no such job."}, NULL);
		if (tries == n || !x->call)
			drop(l, r, false);
		else if (r->follows)
			follow_piece(l, r, rows, row);
		else
			plain_piece(l, r, rows, row);
	}
}

static void read_failed(struct batch *b, struct batch_item *i, enum err err, const struct error *e)
{
	struct exchange *x = exchange_of(i);
	struct reader *r = x->state;

	(void)err;
	r->waits = false;
	if (r->follows && x->streaming && x->call)
		return; /* the next tick tries again */
	if (!x->streaming)
		problem_answer(&x->req, &x->res, e, NULL);
	drop(b->ctx, r, false);
}

static void reader_drained(struct exchange *x)
{
	struct reader *r = x->state;

	if (!r->waits && x->streaming && (!r->follows || r->wants))
		read_on(x->ev->logs, r);
}

static void reader_gone(struct exchange *x)
{
	struct reader *r = x->state;
	struct logs *l = x->ev->logs;

	if (!r->waits || batch_remove(&l->read, &x->item))
		drop(l, r, false);
}

/* In-process hint: the job's log has grown. */
static void hungry(struct logs *l, int64_t job)
{
	for (struct reader *r = l->first, *next; r; r = next) {
		next = r->next;
		if (r->job != job)
			continue;
		if (r->waits || (r->x->call && fcgi_pending(r->x->call) > PENDING_MOST))
			r->wants = true;
		else
			read_on(l, r);
	}
}

static bool wants_stream(const struct exchange *x)
{
	struct str rest = x->req.accept, one, type;

	while (str_cut(&rest, ',', &one))
		if (str_cut(&one, ';', &type) && str_ieqz(str_trim(type), "text/event-stream"))
			return true;
	return false;
}

void events_log_read(struct events *ev, struct exchange *x)
{
	struct logs *l = ev->logs;
	struct reader *r = calloc(1, sizeof(*r));
	struct error e = {.code = OK};
	int64_t last;

	if (!r)
		error_no_memory();
	if (request_capture_id(&x->req, "id", &r->job, &e)) {
		free(r);
		exchange_problem(x, &e);
		return;
	}
	r->x = x;
	r->owner = principal_sees_all(&x->req.principal) ? -1 : x->req.principal.user_id;
	r->attempt = (int)json_i64(x->req.params, "attempt", 0);
	r->run = (int)json_i64(x->req.params, "run", 0);
	r->offset = json_i64(x->req.params, "offset", 0);
	r->end = -1;
	r->follows = wants_stream(x) && !x->res.no_body;
	r->beat = loop_now(ev->loop) + HEARTBEAT_MS;
	r->until = loop_now(ev->loop) + LIFE_MS;
	if (r->follows && str_to_i64(x->req.last_event_id, 0, INT64_MAX, &last))
		r->offset = last;
	if (r->follows) {
		r->next = l->first;
		if (r->next)
			r->next->prev = r;
		l->first = r;
	}
	x->state = r;
	x->gone = reader_gone;
	x->drained = reader_drained;
	read_on(l, r);
}

/* ---- the module ---- */

static const struct batch_kind append_kind = {STMT_LOG_APPEND, APPENDS_MOST, APPENDS_WEIGHT, bind_append, append_done,
					      exchange_item_failed, same_job};
static const struct batch_kind read_kind = {STMT_LOG_READ, READS_MOST, 0, bind_log_read, read_done, read_failed, NULL};

static void logs_open(struct events *ev)
{
	struct logs *l = calloc(1, sizeof(*l));

	if (!l)
		error_no_memory();
	l->ev = ev;
	l->budget_at = loop_now(ev->loop);
	l->budget = BYTES_A_SECOND;
	ev->logs = l;
	batch_init(&l->append, ev->batcher, &append_kind, l);
	batch_init(&l->read, ev->batcher, &read_kind, l);
}

static void logs_close(struct events *ev)
{
	free(ev->logs);
}

/* Other processes append as well, so each followed log is looked at once a tick: all
 * of them in one statement. */
static void logs_tick(struct events *ev)
{
	struct logs *l = ev->logs;
	int64_t now = loop_now(ev->loop);

	for (struct reader *r = l->first, *next; r; r = next) {
		next = r->next;
		if (r->waits)
			continue;
		if (ev->draining || r->until <= now)
			drop(l, r, true);
		else if (r->beat <= now && r->x->streaming && !say(l, r, STR(": still here\n\n")))
			continue;
		else if (!r->x->call || fcgi_pending(r->x->call) <= PENDING_MOST)
			read_on(l, r);
	}
}

const struct events_module logs_module = {.open = logs_open, .close = logs_close, .tick = logs_tick};
