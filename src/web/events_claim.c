/*
 * Claims: an agent's question for work and orders, parked until there is an
 * answer.  See web/events_claim.h.
 */
#include "web/events_claim.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "domain/lease.h"

enum {
	WAIT_MOST_S = 25,
	HOLDING_MOST = 1024,
	ENTER_MOST = 500,
	WATCH_TICKS = 4,
};

const struct field claim_body[] = {
	{"max", FIELD_INT, 0, .max = SLOTS_MOST, .doc = "Jobs that the agent can begin now; 0 when it is full. Default 1."},
	{"waitSeconds", FIELD_INT, 0, .max = WAIT_MOST_S, .doc = "How long to wait for jobs or orders."},
	{"holding", FIELD_STRINGS, 0, .max = HOLDING_MOST, .item_max = 36,
	 .doc = "Every lease that the agent knows of and whose result was not answered yet."},
	{0},
};

/* ---- the peer's list ---- */

static int room(const struct parked *k)
{
	return k->max - k->given;
}

static void list(struct parked *k, struct peer *p)
{
	k->peer = p;
	k->listed = true;
	k->next = NULL;
	k->prev = p->last;
	if (p->last)
		p->last->next = k;
	else
		p->first = k;
	p->last = k;
	p->wanted += room(k);
}

static void unlist(struct parked *k)
{
	struct peer *p = k->peer;

	if (!k->listed)
		return;
	k->listed = false;
	if (k->prev)
		k->prev->next = k->next;
	else
		p->first = k->next;
	if (k->next)
		k->next->prev = k->prev;
	else
		p->last = k->prev;
	p->wanted -= room(k);
}

/* Forgets the claim; its exchange is to be ended by the caller. */
static void forget(struct claims *c, struct parked *k)
{
	unlist(k);
	if (k->peer)
		k->peer->claims--;
	c->parked--;
	k->x->state = NULL;
	k->x->gone = NULL;
	free(k->holding);
	free(k);
}

/* ---- answers ---- */

static void begin_answer(struct exchange *x)
{
	x->res.status = 200;
	x->res.content_type = "application/json";
	if (!x->res.body.len)
		buf_adds(&x->res.body, "{\"jobs\":[");
}

static void end_answer(struct claims *c, struct parked *k, struct json *orders)
{
	struct exchange *x = k->x;
	struct buf *b = &x->res.body;

	begin_answer(x);
	buf_adds(b, "],\"orders\":");
	if (orders)
		json_write(orders, b);
	else
		buf_adds(b, "[]");
	if (!k->peer || k->peer->deadline == INT64_MAX)
		buf_adds(b, ",\"deadlineSeconds\":null}");
	else
		buf_addf(b, ",\"deadlineSeconds\":%.3f}",
			 k->peer->deadline > loop_now(c->ev->loop) ? (double)(k->peer->deadline - loop_now(c->ev->loop)) / 1000 : 0.0);
	json_free(orders);
	forget(c, k);
	exchange_end(x);
}

static void fail(struct claims *c, struct parked *k, enum err err, const char *why)
{
	struct exchange *x = k->x;

	forget(c, k);
	exchange_fail(x, err, "%s", why);
}

static void add_job(struct exchange *x, const struct rows *rows, int row)
{
	struct buf *b = &x->res.body;

	begin_answer(x);
	if (b->ptr[b->len - 1] != '[')
		buf_addc(b, ',');
	buf_addf(b, "{\"jobId\":\"%s\",\"lease\":\"%s\",\"leaseSeconds\":%s,\"type\":\"%s\",\"attempt\":%s,\"gpus\":%s,\"timeoutSeconds\":%s",
		 row_cstr(rows, row, "id"), row_cstr(rows, row, "lease"), row_cstr(rows, row, "seconds"),
		 lease_type_name((int)row_i64(rows, row, "type")), row_cstr(rows, row, "attempt"), row_cstr(rows, row, "gpus"),
		 row_null(rows, row, "timeout_seconds") ? "null" : row_cstr(rows, row, "timeout_seconds"));
	if (!row_null(rows, row, "name")) {
		buf_adds(b, ",\"name\":");
		buf_add_json(b, row_str(rows, row, "name"));
	}
	if (!row_null(rows, row, "secrets")) {
		buf_adds(b, ",\"secrets\":");
		buf_addstr(b, row_str(rows, row, "secrets"));
	}
	buf_adds(b, ",\"payload\":");
	buf_addstr(b, row_str(rows, row, "payload"));
	buf_addc(b, '}');
}

static bool has_room_for(const struct parked *k, const struct rows *rows, int row)
{
	size_t len = k->x->res.body.len;

	return room(k) >= (int)row_i64(rows, row, "gpus") && (!len || len + row_str(rows, row, "payload").len < ANSWER_MOST);
}

bool claim_deliver(struct peer *p, const struct rows *rows, int row)
{
	for (struct parked *k = p->first; k; k = k->next)
		if (has_room_for(k, rows, row)) {
			int gpus = (int)row_i64(rows, row, "gpus");

			add_job(k->x, rows, row);
			k->given = (int16_t)(k->given + gpus);
			p->wanted -= gpus;
			return true;
		}
	return false;
}

void claim_answer_given(struct claims *c, struct peer *p)
{
	for (struct parked *k = p->first, *next; k; k = next) {
		next = k->next;
		if (k->given)
			end_answer(c, k, NULL);
	}
}

void claim_ask_for_more(struct claims *c, struct peer *p)
{
	for (struct parked *k = p->first, *next; k; k = next) {
		next = k->next;
		end_answer(c, k, NULL);
	}
}

/* ---- entering ---- */

static void enter(struct claims *c, struct parked *k, bool again)
{
	int64_t left = k->until - loop_now(c->ev->loop);

	unlist(k);
	k->again = again;
	if (!batch_add(&c->enter, &k->x->item, left > BATCH_WAIT_MS ? left : BATCH_WAIT_MS))
		fail(c, k, ERR_UNAVAILABLE, "Too many calls wait here; try again.");
}

static void bind_enter(struct batch *b, struct arg *args)
{
	for (int i = 0; i < b->n; i++) {
		struct exchange *x = exchange_of(b->items[i]);
		struct parked *k = x->state;

		k->asked = ++((struct claims *)b->ctx)->clock;
		item_begin(&b->buf[0]);
		buf_addf(&b->buf[0], "{\"i\":%d,", i);
		item_hash(&b->buf[0], x);
		buf_addf(&b->buf[0], ",\"holding\":%s}", k->again ? "null" : k->holding ? k->holding : "[]");
	}
	buf_addc(&b->buf[0], ']');
	args[0] = arg_buf(&b->buf[0]);
}

static void park(struct claims *c, struct parked *k, struct peer *p)
{
	list(k, p);
	broker_advance(c->broker);
}

static void missing_leases(struct claims *c, struct parked *k, struct str ids);

static void entered(struct claims *c, struct parked *k, const struct rows *rows, int row)
{
	struct exchange *x = k->x;
	struct json *orders;
	struct peer *p;

	if (str_eqz(row_str(rows, row, "state"), "ended")) {
		fail(c, k, ERR_GONE, "This session is over.");
		return;
	}
	p = peer_learn(c, x, rows, row);
	if (!k->peer) {
		if (p->claims >= PEER_CLAIMS_MOST) {
			fail(c, k, ERR_RATE, "Too many claims of this session are parked.");
			return;
		}
		k->peer = p;
		p->claims++;
	}
	if (!x->call) {
		forget(c, k);
		exchange_end(x);
		return;
	}
	orders = peer_orders(c, p, rows, row);
	if (orders)
		end_answer(c, k, orders);
	else if (row_str(rows, row, "missing").len)
		missing_leases(c, k, row_str(rows, row, "missing"));
	else if (k->max > p->free && (int)(p->freed - k->asked) > 0)
		enter(c, k, true); /* a result overtook the statement: read again */
	else
		park(c, k, p);
}

static void enter_done(struct batch *b, const struct rows *rows)
{
	struct claims *c = b->ctx;
	int row = 0, n = rows_count(rows);

	/* The rows come in the order of the items, or do not come. */
	for (int i = 0; i < b->n; i++) {
		struct parked *k = exchange_of(b->items[i])->state;
		int at = -1;

		for (int tries = 0; tries < n && at < 0; tries++, row = (row + 1) % n)
			if (row_i64(rows, row, "i") == i)
				at = row;
		if (at < 0 || row_i64(rows, at, "worker_id") != k->worker_id)
			fail(c, k, ERR_UNAUTHORIZED, "This token is not known.");
		else
			entered(c, k, rows, at);
	}
}

static void enter_failed(struct batch *b, struct batch_item *i, enum err err, const struct error *e)
{
	struct parked *k = exchange_of(i)->state;

	fail(b->ctx, k, err, e->msg);
}

/* ---- leases that the agent does not know of ---- */

static void missing_leases(struct claims *c, struct parked *k, struct str ids)
{
	struct exchange *x = k->x;

	x->req.body = arena_str(&x->arena, ids);
	if (!x->req.body.ptr || !batch_add(&c->again, &x->item, BATCH_WAIT_MS))
		fail(c, k, ERR_UNAVAILABLE, "Too many calls wait here; try again.");
}

static void bind_again(struct batch *b, struct arg *args)
{
	array_begin(&b->buf[0]);
	array_begin(&b->buf[1]);
	for (int i = 0; i < b->n; i++) {
		struct exchange *x = exchange_of(b->items[i]);
		const struct parked *k = x->state;
		struct str ids = x->req.body, one;
		int64_t id;

		while (str_cut(&ids, ',', &one))
			if (str_to_id(one, &id)) {
				array_add_i64(&b->buf[0], k->peer->session_id);
				array_add_i64(&b->buf[1], id);
			}
	}
	array_end(&b->buf[0]);
	array_end(&b->buf[1]);
	args[0] = arg_buf(&b->buf[0]);
	args[1] = arg_buf(&b->buf[1]);
}

static void again_done(struct batch *b, const struct rows *rows)
{
	struct claims *c = b->ctx;

	for (int i = 0; i < b->n; i++) {
		struct exchange *x = exchange_of(b->items[i]);
		struct parked *k = x->state;
		bool any = false;

		for (int row = 0; row < rows_count(rows); row++) {
			size_t len = x->res.body.len;

			if (row_i64(rows, row, "session_id") != k->peer->session_id)
				continue;
			if (len && len + row_str(rows, row, "payload").len >= ANSWER_MOST)
				break;
			add_job(x, rows, row);
			any = true;
		}
		if (any)
			end_answer(c, k, NULL);
		else
			park(c, k, k->peer); /* ended meanwhile */
	}
}

void claim_enter_anew(struct claims *c, struct peer *p, bool with_holding)
{
	for (struct parked *k = p->first, *next; k; k = next) {
		next = k->next;
		enter(c, k, !with_holding);
	}
}

/* ---- watching for orders ---- */

static void add_watched(struct peer *p, void *ctx)
{
	struct batch *b = ctx;

	if (!p->first)
		return;
	array_add_i64(&b->buf[0], p->session_id);
	/* Who has room for all it wants need not be counted anew. */
	array_add_i64(&b->buf[1], p->wanted > p->free ? p->free : SLOTS_MOST);
}

static void bind_watch(struct batch *b, struct arg *args)
{
	struct claims *c = b->ctx;

	for (int i = 0; i < 2; i++)
		array_begin(&b->buf[i]);
	peers_each(c, add_watched, b);
	for (int i = 0; i < 2; i++) {
		array_end(&b->buf[i]);
		args[i] = arg_buf(&b->buf[i]);
	}
	args[2] = arg_i64(PROTOCOL_OLDEST);
}

static void watch_done(struct batch *b, const struct rows *rows)
{
	struct claims *c = b->ctx;

	for (int i = 0; i < rows_count(rows); i++) {
		struct peer *p = peer_find(c, row_i64(rows, i, "id"));

		/* Learnt anew with each claim: what runs no more takes nothing. */
		if (p)
			claim_enter_anew(c, p, false);
	}
}

static void watch_failed(struct batch *b, struct batch_item *i, enum err err, const struct error *e)
{
	(void)b;
	(void)i;
	(void)err;
	(void)e;
}

struct wake_up {
	struct claims *c;
	int64_t worker_id;
};

static void wake_worker(struct peer *p, void *ctx)
{
	const struct wake_up *w = ctx;

	if (p->worker_id == w->worker_id)
		claim_enter_anew(w->c, p, false);
}

/* ---- the handler ---- */

static void claim_gone(struct exchange *x)
{
	struct parked *k = x->state;
	struct claims *c = x->ev->claims;

	/* In a batch it ends when the batch is done. */
	if (!k->listed && !batch_remove(&c->enter, &x->item))
		return;
	forget(c, k);
	exchange_end(x);
}

/* The leases named, as a JSON array; what is no lease is nobody's. */
static char *holding_text(const struct json *list)
{
	cleanup_buf struct buf b = BUF_INIT(HOLDING_MOST * 40);

	for (size_t i = 0; i < json_len(list); i++) {
		struct str lease = json_as_str(json_at(list, i));

		if (str_is_uuid(lease))
			buf_addf(&b, "%c\"%.*s\"", b.len ? ',' : '[', STR_ARG(lease));
	}
	if (!b.len)
		return NULL;
	buf_addc(&b, ']');
	return steal_ptr(b.ptr);
}

void events_claim(struct events *ev, struct exchange *x)
{
	struct claims *c = ev->claims;
	const struct json *body = x->req.json;
	struct parked *k;
	int64_t worker_id;
	struct error e;

	if (request_capture_id(&x->req, "id", &worker_id, &e)) {
		exchange_problem(x, &e);
		return;
	}
	if (c->parked >= ev->config->max_parked) {
		exchange_fail(x, ERR_UNAVAILABLE, "Too many agents wait here; try again.");
		return;
	}
	k = calloc(1, sizeof(*k));
	if (!k)
		error_no_memory();
	k->x = x;
	k->worker_id = worker_id;
	k->max = (int16_t)json_i64(body, "max", 1);
	k->until = loop_now(ev->loop) + json_i64(body, "waitSeconds", WAIT_MOST_S) * 1000;
	k->holding = holding_text(json_get(body, "holding"));
	c->parked++;
	x->state = k;
	x->gone = claim_gone;
	exchange_slim(x);
	enter(c, k, false);
}

/* ---- the module ---- */

static const struct batch_kind enter_kind = {STMT_CLAIM_ENTER, ENTER_MOST, 4 << 20, bind_enter, enter_done, enter_failed, NULL};
static const struct batch_kind again_kind = {STMT_CLAIM_AGAIN, 50, 0, bind_again, again_done, enter_failed, NULL};
static const struct batch_kind watch_kind = {STMT_CLAIM_WATCH, 1, 0, bind_watch, watch_done, watch_failed, NULL};

static void claims_open(struct events *ev)
{
	struct claims *c = calloc(1, sizeof(*c));

	if (!c)
		error_no_memory();
	c->ev = ev;
	ev->claims = c;
	batch_init(&c->enter, ev->batcher, &enter_kind, c);
	batch_init(&c->again, ev->batcher, &again_kind, c);
	batch_init(&c->watch, ev->batcher, &watch_kind, c);
	c->broker = broker_new(c);
}

static void claims_close(struct events *ev)
{
	struct claims *c = ev->claims;

	broker_free(c->broker);
	peers_free(c);
	free(c);
}

static void expire_claims(struct peer *p, void *ctx)
{
	struct claims *c = ctx;
	int64_t now = loop_now(c->ev->loop);

	for (struct parked *k = p->first, *next; k; k = next) {
		next = k->next;
		if (k->until <= now || c->ev->draining)
			end_answer(c, k, NULL);
	}
}

static void claims_tick(struct events *ev)
{
	struct claims *c = ev->claims;

	peers_each(c, expire_claims, c);
	peers_forget_old(c);
	if (++c->ticks % WATCH_TICKS == 0 && c->parked && batch_quiet(&c->watch) && !batch_add(&c->watch, &c->watch_item, BATCH_WAIT_MS))
		log_warn("claim.watch", "too much waits");
	broker_tick(c->broker);
}

static void claims_hint(struct events *ev, const char *channel, const char *payload)
{
	struct wake_up w = {.c = ev->claims};

	if (!strcmp(channel, "gpupool_jobs") || !*channel)
		broker_hint(ev->claims->broker);
	if (!strcmp(channel, "gpupool_orders") && str_to_id(str_of(payload), &w.worker_id))
		peers_each(ev->claims, wake_worker, &w);
}

static void claims_drain(struct events *ev)
{
	peers_each(ev->claims, expire_claims, ev->claims);
}

void claims_jobs_hint(struct events *ev)
{
	broker_hint(ev->claims->broker);
	broker_fold_soon(ev->claims->broker);
}

void claims_freed(struct events *ev, int64_t session)
{
	struct claims *c = ev->claims;
	struct peer *p = peer_find(c, session);

	if (!p)
		return;
	p->freed = ++c->clock;
	if (p->first && (p->wanted > p->free || p->kept))
		claim_enter_anew(c, p, false);
}

void claims_fold_soon(struct events *ev)
{
	broker_fold_soon(ev->claims->broker);
}

const struct events_module claims_module = {claims_open, claims_close, claims_tick, claims_hint, claims_drain};
