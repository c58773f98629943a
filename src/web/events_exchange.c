/*
 * From a FastCGI call to the route's handler, and back; see web/events.h.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "web/auth.h"
#include "web/events_role.h"
#include "web/fcgi_params.h"
#include "web/router.h"

enum {
	ARENA_MOST = 8 << 20, /* of a request, bodies apart */
	CREDENTIAL_MOST = 512,
	SMALL_BODY = 64 << 10,
};

/* ---- the end ---- */

static void release(struct exchange *x)
{
	if (x->prev)
		x->prev->next = x->next;
	else
		x->ev->exchanges = x->next;
	if (x->next)
		x->next->prev = x->prev;
	x->ev->count--;
	if (!x->handed)
		x->ev->body_bytes -= x->body.len;
	request_done(&x->req);
	response_done(&x->res);
	buf_free(&x->body);
	arena_free(&x->arena);
	free(x);
}

static void log_exchange(const struct exchange *x)
{
	bool agent = x->req.route && (x->req.route->auth == AUTH_SESSION || x->req.route->auth == AUTH_ENROL);
	enum log_level level = x->res.status >= 500 ? LOG_WARN : agent && x->res.status < 400 ? LOG_DEBUG : LOG_INFO;

	log_context(x->id);
	log_line(level, "request", "route=%s status=%d ms=%lld user=%lld%s", x->req.route ? x->req.route->name : "-", x->res.status,
		 (long long)(loop_now(x->ev->loop) - x->since), (long long)x->req.principal.user_id, x->call ? "" : " gone=1");
	log_context(NULL);
}

static void write_head(struct exchange *x)
{
	cleanup_buf struct buf head = BUF_INIT(16 << 10);

	response_head(&x->res, &head);
	fcgi_write(x->call, buf_str(&head));
}

void exchange_end(struct exchange *x)
{
	log_exchange(x);
	if (x->call) {
		write_head(x);
		if (!x->res.no_body)
			fcgi_write(x->call, buf_str(&x->res.body));
		fcgi_finish(x->call);
	}
	release(x);
}

void exchange_stream(struct exchange *x)
{
	x->streaming = true;
	if (x->call)
		write_head(x);
}

bool exchange_write(struct exchange *x, struct str bytes)
{
	if (!x->call)
		return false;
	if (fcgi_pending(x->call) + bytes.len > FCGI_STREAM_MOST)
		return false;
	fcgi_write(x->call, bytes);
	return true;
}

void exchange_finish(struct exchange *x)
{
	log_exchange(x);
	if (x->call)
		fcgi_finish(x->call);
	release(x);
}

void exchange_break(struct exchange *x)
{
	log_exchange(x);
	if (x->call)
		fcgi_drop(x->call);
	release(x);
}

/* ---- shorthands ---- */

void exchange_json(struct exchange *x, int status, struct json *j)
{
	response_json(&x->res, status, j);
	exchange_end(x);
}

void exchange_empty(struct exchange *x, int status)
{
	response_empty(&x->res, status);
	exchange_end(x);
}

void exchange_problem(struct exchange *x, const struct error *e)
{
	problem_answer(&x->req, &x->res, e, NULL);
	exchange_end(x);
}

void exchange_fail(struct exchange *x, enum err err, const char *fmt, ...)
{
	struct error e = {.code = err};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e.msg, sizeof(e.msg), fmt, ap);
	va_end(ap);
	exchange_problem(x, &e);
}

void exchange_item_failed(struct batch *b, struct batch_item *i, enum err err, const struct error *e)
{
	(void)b;
	(void)err;
	exchange_problem(exchange_of(i), e);
}

void exchange_batch(struct exchange *x, struct batch *b)
{
	if (!batch_add(b, &x->item, BATCH_WAIT_MS))
		exchange_fail(x, ERR_UNAVAILABLE, "Too many calls wait here; try again.");
}

void exchange_slim(struct exchange *x)
{
	request_done(&x->req);
	buf_free(&x->body);
	response_done(&x->res);
	arena_free(&x->arena);
	x->req = (struct request){.arena = &x->arena, .route = x->req.route, .method = x->req.method, .request_id = str_of(x->id)};
	response_init(&x->res, &x->arena);
}

/* ---- from the call to the handler ---- */

static bool streams_body(const struct route *r)
{
	return r->flags & ROUTE_STREAM && r->kind == BODY_BYTES && method_writes(r->method);
}

static bool wants_principal(const struct route *r)
{
	return r->auth == AUTH_ANY || r->auth == AUTH_PAGE;
}

void exchange_hand_over(struct exchange *x)
{
	x->req.route->async(x->ev, x);
}

/* Agents' tokens are judged by the statements; here they are only hashed. */
static bool take_token(struct exchange *x)
{
	struct str token = auth_bearer(&x->req);

	if (!token.len || token.len > CREDENTIAL_MOST) {
		exchange_fail(x, ERR_UNAUTHORIZED, "Send the token as Authorization: Bearer.");
		return false;
	}
	crypto_hash(token, x->token);
	return true;
}

/* Body complete, or streamed: judge the rest and hand it over. */
static void dispatch(struct exchange *x)
{
	const struct route *r = x->req.route;
	struct field_errors f = {.count = 0};
	struct error e = {.code = OK};

	x->handed = true;
	x->ev->body_bytes -= x->body.len;
	x->req.body = buf_str(&x->body);
	if ((r->auth == AUTH_SESSION || r->auth == AUTH_ENROL) && !take_token(x))
		return;
	if (router_body(&x->req, &f, &e)) {
		problem_answer(&x->req, &x->res, &e, &f);
		exchange_end(x);
		return;
	}
	if (wants_principal(r))
		people_resolve(x);
	else
		exchange_hand_over(x);
}

static void take_params(struct exchange *x, struct str params, bool *ok)
{
	struct str copy = arena_str(&x->arena, params), name, value;

	*ok = copy.ptr != NULL;
	while (*ok && fcgi_next_param(&copy, &name, &value, ok))
		request_param(&x->req, name, value);
	snprintf(x->id, sizeof(x->id), "%.*s", STR_ARG(x->req.request_id));
}

static void on_begin(void *ctx, struct fcgi_call *c, struct str params)
{
	struct events *ev = ctx;
	struct exchange *x = calloc(1, sizeof(*x));
	struct error e = {.code = OK};
	enum err err = OK;
	bool ok;

	if (!x)
		error_no_memory();
	x->ev = ev;
	x->call = c;
	x->since = loop_now(ev->loop);
	x->next = ev->exchanges;
	if (x->next)
		x->next->prev = x;
	ev->exchanges = x;
	ev->count++;
	fcgi_set_user(c, x);
	arena_init(&x->arena, ARENA_MOST);
	x->req.arena = &x->arena;
	x->req.content_length = -1;
	response_init(&x->res, &x->arena);
	take_params(x, params, &ok);
	x->res.no_body = x->req.method == METHOD_HEAD;
	if (!ok)
		err = error_set(&e, ERR_INVALID, "The parameters are malformed.");
	if (!err)
		err = router_match(&x->req, SERVES_EVENTS, &x->res, &e);
	if (!err && ev->draining)
		err = error_set(&e, ERR_UNAVAILABLE, "This process is about to end; try again.");
	if (err) {
		exchange_problem(x, &e);
		return;
	}
	x->body = BUF_INIT(router_max_body(&x->req));
	if (streams_body(x->req.route))
		dispatch(x);
}

static void on_body(void *ctx, struct fcgi_call *c, struct str bytes, bool end)
{
	struct events *ev = ctx;
	struct exchange *x = fcgi_user(c);
	size_t before;

	if (!x)
		return;
	if (streams_body(x->req.route)) {
		if (x->on_body)
			x->on_body(x, bytes, end);
		return;
	}
	if (end) {
		dispatch(x);
		return;
	}
	before = x->body.len;
	if (ev->body_bytes + bytes.len > BODIES_MOST && before + bytes.len > SMALL_BODY) {
		exchange_fail(x, ERR_UNAVAILABLE, "Too many large requests at once; try again.");
		return;
	}
	buf_addstr(&x->body, bytes);
	ev->body_bytes += x->body.len - before;
	if (x->body.failed)
		exchange_fail(x, ERR_TOO_LARGE, "The body may have at most %zu bytes here.", router_max_body(&x->req));
}

static void on_gone(void *ctx, struct fcgi_call *c)
{
	struct exchange *x = fcgi_user(c);

	(void)ctx;
	if (!x)
		return;
	x->call = NULL;
	if (!x->handed)
		exchange_end(x);
	else if (x->gone)
		x->gone(x);
}

static void on_drained(void *ctx, struct fcgi_call *c)
{
	struct exchange *x = fcgi_user(c);

	(void)ctx;
	if (x && x->drained)
		x->drained(x);
}

const struct fcgi_handler exchange_handler = {on_begin, on_body, on_drained, on_gone};

/* ---- small things that every module writes ---- */

void item_begin(struct buf *b)
{
	buf_addc(b, b->len ? ',' : '[');
}

void item_hash(struct buf *b, const struct exchange *x)
{
	char hex[2 * CRYPTO_HASH + 1];

	crypto_hex(x->token, CRYPTO_HASH, hex);
	buf_addf(b, "\"hash\":\"%s\"", hex);
}

void item_worker(struct buf *b, const struct exchange *x)
{
	struct error e;
	int64_t id;

	if (request_capture_id(&x->req, "id", &id, &e))
		id = 0;
	buf_addf(b, ",\"worker\":%lld", (long long)id);
}

void put_seconds_left(struct json *j, const struct rows *rows, int row)
{
	double left = row_double(rows, row, "seconds_left");

	if (row_null(rows, row, "seconds_left"))
		json_put(j, "deadlineSeconds", json_null());
	else
		json_put_double(j, "deadlineSeconds", left > 0 ? left : 0);
}
