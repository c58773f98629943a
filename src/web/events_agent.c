/*
 * Agents' sessions: registering, heartbeats, goodbye, and the orders that come
 * back.  Claims are in events_claim.c, results in events_results.c.
 */
#include "web/events_agent.h"

#include <stdlib.h>
#include <string.h>

#include "base/asset.h"
#include "base/crypto.h"
#include "base/log.h"
#include "domain/accelerator.h"

enum {
	REGISTER_MOST = 100,
	RENEW_MOST = 500,
	GOODBYE_MOST = 100,
	CAPABILITIES_MOST = 32 << 10,
	GPUS_MOST = 64,
	HOLDING_MOST = 1024,
	MESSAGE_MOST = 500,
	LOG_TAIL_MOST = 16 << 10,
};

/* ---- orders ---- */

static void add_order(struct json *orders, const char *order, const char *reason)
{
	struct json *o = json_object();

	json_put_cstr(o, "order", order);
	if (reason)
		json_put_cstr(o, "reason", reason);
	json_add(orders, o);
}

static void add_cancels(struct json *orders, struct str list)
{
	struct str one, id;

	while (list.len && str_cut(&list, ',', &one)) {
		struct json *o = json_object();

		str_cut(&one, ' ', &id);
		json_put_cstr(o, "order", "cancel");
		json_put_str(o, "jobId", id);
		json_put_str(o, "lease", one);
		json_put_cstr(o, "reason", "cancelled");
		json_add(orders, o);
	}
}

static void add_upgrade(struct json *orders)
{
	const struct asset *agent = asset_find("agent/gpupool-agent.py");
	uint8_t sum[CRYPTO_SHA256];
	char hex[2 * CRYPTO_SHA256 + 1];
	struct json *o;

	if (!agent)
		return;
	crypto_sha256(agent->bytes, sum);
	crypto_hex(sum, sizeof(sum), hex);
	o = json_object();
	json_put_cstr(o, "order", "upgrade");
	json_put_cstr(o, "sha256", hex);
	json_add(orders, o);
}

struct json *orders_json(struct str state, struct str desired, int64_t protocol, struct str cancels)
{
	struct json *orders = json_array();

	add_cancels(orders, cancels);
	if (!str_eqz(desired, "running"))
		add_order(orders, "stop", desired.len ? (str_eqz(desired, "deleted") ? "deleted" : "stopped") : NULL);
	else if (str_eqz(state, "draining"))
		add_order(orders, "drain", NULL);
	else if (protocol < PROTOCOL_OLDEST)
		add_upgrade(orders);
	return orders;
}

/* ---- registering ---- */

const struct field register_body[] = {
	{"provider", FIELD_STRING, 0, .max = 40, .doc = "Where the agent runs: kaggle, colab, local, manual."},
	{"instance", FIELD_STRING, FIELD_REQUIRED, .min = 8, .max = 100, .doc = "Random; made by the agent at its start."},
	{"agent", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 40, .doc = "Version of the agent."},
	{"protocol", FIELD_INT, FIELD_REQUIRED, .min = 1, .max = 1000},
	{"capabilities", FIELD_OBJECT, FIELD_REQUIRED,
	 .doc = "gpus: [{name, memoryBytes, driver}], tpu, slots, cpus, memoryBytes, python, platform."},
	{"ngrokUrl", FIELD_STRING, 0, .max = 500, .doc = "For the tunnel mode."},
	{0},
};

/* What the agent found there, as jobs may ask for it. */
struct machine {
	struct buf got;     /* comma list */
	int64_t gpu_memory; /* of the smallest GPU */
	int slots;
};

static void look_at_machine(const struct json *capabilities, struct machine *m)
{
	const struct json *gpus = json_get(capabilities, "gpus");
	size_t n = json_len(gpus) < GPUS_MOST ? json_len(gpus) : GPUS_MOST;
	int64_t slots = json_i64(capabilities, "slots", 0);

	*m = (struct machine){.got = BUF_INIT(4096)};
	if (json_bool(capabilities, "tpu", false))
		buf_adds(&m->got, "tpu");
	else
		buf_adds(&m->got, n ? "gpu" : "cpu");
	for (size_t i = 0; i < n; i++) {
		const struct json *gpu = json_at(gpus, i);
		int64_t memory = json_i64(gpu, "memoryBytes", 0);

		accelerator_names(json_str(gpu, "name"), &m->got);
		if (memory > 0 && (!m->gpu_memory || memory < m->gpu_memory))
			m->gpu_memory = memory;
	}
	m->slots = slots >= 1 && slots <= 256 ? (int)slots : n ? (int)n : 1;
}

static void add_list(struct buf *b, struct str list)
{
	struct str one;
	bool first = true;

	buf_addc(b, '[');
	while (str_cut(&list, ',', &one)) {
		if (!first)
			buf_addc(b, ',');
		first = false;
		buf_add_json(b, one);
	}
	buf_addc(b, ']');
}

static void add_registration(struct buf *b, int i, struct exchange *x)
{
	const struct json *body = x->req.json;
	struct machine m;
	uint8_t hash[CRYPTO_HASH];
	char hex[2 * CRYPTO_HASH + 1];

	look_at_machine(json_get(body, "capabilities"), &m);
	crypto_hash(str_of(x->state), hash);
	crypto_hex(hash, sizeof(hash), hex);
	item_begin(b);
	buf_addf(b, "{\"i\":%d,", i);
	item_hash(b, x);
	buf_addf(b, ",\"token\":\"%s\",\"instance\":", hex);
	buf_add_json(b, json_str(body, "instance"));
	buf_adds(b, ",\"agent\":");
	buf_add_json(b, json_str(body, "agent"));
	buf_addf(b, ",\"protocol\":%lld,\"memory\":%lld,\"slots\":%d,\"got\":", (long long)json_i64(body, "protocol", 1),
		 (long long)m.gpu_memory, m.slots);
	add_list(b, buf_str(&m.got));
	buf_adds(b, ",\"capabilities\":");
	json_write(json_get(body, "capabilities"), b);
	buf_addc(b, '}');
	buf_free(&m.got);
}

static void bind_register(struct batch *b, struct arg *args)
{
	for (int i = 0; i < b->n; i++)
		add_registration(&b->buf[0], i, exchange_of(b->items[i]));
	buf_addc(&b->buf[0], ']');
	args[0] = arg_buf(&b->buf[0]);
}

static void answer_register(struct exchange *x, const struct rows *rows, int row)
{
	struct str verdict = row_str(rows, row, "verdict");
	struct json *j;

	if (str_eqz(verdict, "gone")) {
		exchange_fail(x, ERR_GONE, "This session is over.");
		return;
	}
	if (str_eqz(verdict, "taken")) {
		exchange_fail(x, ERR_CONFLICT, "Another instance has registered with this token.");
		return;
	}
	j = json_object();
	json_put_id(j, "workerId", row_i64(rows, row, "worker_id"));
	json_put_cstr(j, "token", x->state);
	json_put_i64(j, "heartbeatSeconds", x->ev->config->heartbeat_seconds);
	put_seconds_left(j, rows, row);
	x->res.secret = true;
	log_info("agent.registered", "worker=%lld", (long long)row_i64(rows, row, "worker_id"));
	exchange_json(x, 200, j);
}

/* Calls answer for each item with its row, or answers 401: nobody has that token. */
static void answer_each(struct batch *b, const struct rows *rows, void (*answer)(struct exchange *, const struct rows *, int))
{
	int n = rows_count(rows), row = 0;

	for (int i = 0; i < b->n; i++) {
		int tries = 0;

		while (tries < n && row_i64(rows, row, "i") != i) {
			row = (row + 1) % n;
			tries++;
		}
		if (tries < n)
			answer(exchange_of(b->items[i]), rows, row);
		else
			exchange_fail(exchange_of(b->items[i]), ERR_UNAUTHORIZED, "This token is not known.");
	}
}

static void register_done(struct batch *b, const struct rows *rows)
{
	struct agents *a = b->ctx;

	answer_each(b, rows, answer_register);
	streams_hint(a->ev);
}

bool agents_clash(const struct batch_item *a, const struct batch_item *b)
{
	return !memcmp(((const struct exchange *)a)->token, ((const struct exchange *)b)->token, CRYPTO_HASH);
}

void events_register(struct events *ev, struct exchange *x)
{
	cleanup_buf struct buf text = BUF_INIT(CAPABILITIES_MOST);
	char *token = arena_alloc(&x->arena, CRYPTO_TOKEN_TEXT);

	json_write(json_get(x->req.json, "capabilities"), &text);
	if (text.failed || !token) {
		exchange_fail(x, ERR_TOO_LARGE, "capabilities may have at most %d bytes.", (int)CAPABILITIES_MOST);
		return;
	}
	crypto_token("gps", token);
	x->state = token;
	exchange_batch(x, &ev->agents->enrol);
}

/* ---- heartbeats ---- */

const struct field heartbeat_body[] = {
	{"jobs", FIELD_LIST, 0, .max = HOLDING_MOST, .doc = "What the agent holds: {jobId, lease, progress?: {fraction, message}}."},
	{"gpu", FIELD_OBJECT, 0, .doc = "{utilization, memoryUsed, memoryTotal}"},
	{0},
};

/* A job and its lease; false when the words are no such thing. */
bool agent_names_lease(const struct json *item, int64_t *id, struct str *lease)
{
	*lease = json_str(item, "lease");
	return str_to_id(json_str(item, "jobId"), id) && str_is_uuid(*lease);
}

static struct str cut_message(struct str s)
{
	if (s.len <= MESSAGE_MOST)
		return s;
	s.len = MESSAGE_MOST;
	while (s.len && ((unsigned char)s.ptr[s.len] & 0xc0) == 0x80)
		s.len--;
	return s;
}

static void add_progress(struct buf *b, int64_t id, const struct json *progress)
{
	double fraction = json_double(progress, "fraction", -1);

	if (json_type_of(progress) != JSON_OBJECT)
		return;
	buf_addf(b, "%s\"%lld\":[", b->len ? "," : "{", (long long)id);
	if (fraction >= 0)
		buf_addf(b, "%.6f", fraction < 1 ? fraction : 1.0); /* no exponent: a real may not hold it */
	else
		buf_adds(b, "null");
	buf_addc(b, ',');
	if (json_str(progress, "message").ptr)
		buf_add_json(b, cut_message(json_str(progress, "message")));
	else
		buf_adds(b, "null");
	buf_addc(b, ']');
}

static void add_number(struct buf *b, const char *name, const struct json *gpu, const char *key, double most)
{
	double v = json_double(gpu, key, -1);

	if (v >= 0 && v <= most)
		buf_addf(b, ",\"%s\":%.0f", name, v);
}

static void add_beat(struct buf *b, int i, const struct exchange *x, const struct json *jobs)
{
	const struct json *gpu = json_get(x->req.json, "gpu");

	item_begin(b);
	buf_addf(b, "{\"i\":%d,", i);
	item_hash(b, x);
	item_worker(b, x);
	buf_addf(b, ",\"busy\":%s", json_len(jobs) ? "true" : "false");
	if (json_double(gpu, "utilization", -1) >= 0)
		buf_addf(b, ",\"util\":%.4f", json_double(gpu, "utilization", 0) < 1000 ? json_double(gpu, "utilization", 0) : 1000.0);
	add_number(b, "used", gpu, "memoryUsed", 1e15);
	add_number(b, "total", gpu, "memoryTotal", 1e15);
	buf_addc(b, '}');
}

static void bind_renew(struct batch *b, struct arg *args)
{
	for (int i = 0; i < b->n; i++) {
		const struct exchange *x = exchange_of(b->items[i]);
		const struct json *jobs = json_get(x->req.json, "jobs");

		add_beat(&b->buf[0], i, x, jobs);
		for (size_t k = 0; k < json_len(jobs); k++) {
			struct str lease;
			int64_t id;

			if (!agent_names_lease(json_at(jobs, k), &id, &lease))
				continue;
			item_begin(&b->buf[1]);
			buf_addf(&b->buf[1], "{\"i\":%d,\"id\":%lld,\"lease\":\"%.*s\"}", i, (long long)id, STR_ARG(lease));
			add_progress(&b->buf[2], id, json_get(json_at(jobs, k), "progress"));
		}
	}
	buf_addc(&b->buf[0], ']');
	buf_adds(&b->buf[1], b->buf[1].len ? "]" : "[]");
	buf_adds(&b->buf[2], b->buf[2].len ? "}" : "{}");
	for (int i = 0; i < 3; i++)
		args[i] = arg_buf(&b->buf[i]);
}

struct beat {
	int64_t session;
	struct json *renewed;
	int row; /* of the agent; -1 = unknown */
};

static struct beat *beat_of(struct beat *beats, int n, int64_t session)
{
	for (int i = 0; i < n; i++)
		if (beats[i].row >= 0 && beats[i].session == session)
			return &beats[i];
	return NULL;
}

static void answer_beat(struct exchange *x, struct beat *beat, const struct rows *rows)
{
	struct json *j;

	if (beat->row < 0) {
		json_free(beat->renewed);
		exchange_fail(x, ERR_UNAUTHORIZED, "This token is not known.");
		return;
	}
	if (str_eqz(row_str(rows, beat->row, "state"), "ended")) {
		json_free(beat->renewed);
		exchange_fail(x, ERR_GONE, "This session is over.");
		return;
	}
	j = json_object();
	json_put(j, "orders", orders_json(row_str(rows, beat->row, "state"), row_str(rows, beat->row, "desired"),
					  row_i64(rows, beat->row, "protocol"), row_str(rows, beat->row, "cancels")));
	put_seconds_left(j, rows, beat->row);
	json_put(j, "renewed", beat->renewed);
	exchange_json(x, 200, j);
}

static void renew_done(struct batch *b, const struct rows *rows)
{
	struct beat *beats = calloc((size_t)b->n, sizeof(*beats));

	if (!beats)
		error_no_memory();
	for (int i = 0; i < b->n; i++)
		beats[i] = (struct beat){.renewed = json_array(), .row = -1};
	for (int row = 0; row < rows_count(rows); row++) {
		int64_t i = row_i64(rows, row, "i");
		struct beat *beat;
		struct json *one;

		if (*row_cstr(rows, row, "kind") == 'a') {
			beats[i].row = row;
			beats[i].session = row_i64(rows, row, "session_id");
			continue;
		}
		beat = beat_of(beats, b->n, row_i64(rows, row, "session_id"));
		if (!beat)
			continue;
		one = json_object();
		json_put_id(one, "jobId", row_i64(rows, row, "id"));
		json_put_cstr(one, "lease", row_cstr(rows, row, "lease"));
		json_put_i64(one, "leaseSeconds", row_i64(rows, row, "seconds"));
		json_add(beat->renewed, one);
	}
	for (int i = 0; i < b->n; i++)
		answer_beat(exchange_of(b->items[i]), &beats[i], rows);
	free(beats);
}

void events_heartbeat(struct events *ev, struct exchange *x)
{
	exchange_batch(x, &ev->agents->renew);
}

/* ---- goodbye ---- */

const struct field goodbye_body[] = {
	{"reason", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 300,
	 .doc = "drained, stopped, deadline, a signal's name such as sigterm, broken, or a sentence."},
	{"code", FIELD_INT, 0, .max = 255, .doc = "The exit status that the agent will have."},
	{"log", FIELD_TEXT, 0, .max = 64 << 10, .doc = "The last of the agent's own log; 16 KiB are kept."},
	{0},
};

/* The words of agents, as sessions are said to have ended. */
static const struct end_word {
	const char *word, *code, *sentence;
} end_words[] = {
	{"stopped", "stopped", "It was stopped as asked."},
	{"drained", "drained", "It finished what it ran and took no more, as asked."},
	{"deadline", "deadline", "The session reached its deadline."},
	{"sigterm", "terminated", "Its agent was told to end on its machine."},
	{"sigint", "terminated", "Its agent was told to end on its machine."},
	{"sighup", "terminated", "Its agent was told to end on its machine."},
	{"broken", "broken", "Its agent met a failure that it cannot go on after; its log says more."},
};

static struct end_word end_word(struct str reason)
{
	for (size_t i = 0; i < ARRAY_LEN(end_words); i++)
		if (str_eqz(reason, end_words[i].word))
			return end_words[i];
	return (struct end_word){.code = "goodbye"};
}

static void bind_goodbye(struct batch *b, struct arg *args)
{
	for (int i = 0; i < b->n; i++) {
		item_begin(&b->buf[0]);
		buf_addf(&b->buf[0], "{\"i\":%d,", i);
		item_hash(&b->buf[0], exchange_of(b->items[i]));
		item_worker(&b->buf[0], exchange_of(b->items[i]));
		buf_addc(&b->buf[0], '}');
	}
	buf_addc(&b->buf[0], ']');
	args[0] = arg_buf(&b->buf[0]);
}

static void goodbye_found(struct exchange *x, const struct rows *rows, int row)
{
	int64_t *session;

	if (str_eqz(row_str(rows, row, "state"), "ended")) {
		exchange_empty(x, 204);
		return;
	}
	session = arena_new(&x->arena, int64_t);
	if (!session)
		BUG("no room for an id");
	*session = row_i64(rows, row, "id");
	x->state = session;
	exchange_batch(x, &x->ev->agents->end);
}

static void goodbye_find_done(struct batch *b, const struct rows *rows)
{
	answer_each(b, rows, goodbye_found);
}

static struct str log_tail(const struct exchange *x)
{
	struct str log = json_str(x->req.json, "log");

	if (log.len <= LOG_TAIL_MOST)
		return log;
	log.ptr += log.len - LOG_TAIL_MOST;
	log.len = LOG_TAIL_MOST;
	while (log.len && ((unsigned char)*log.ptr & 0xc0) == 0x80) {
		log.ptr++;
		log.len--;
	}
	return log;
}

static void bind_end(struct batch *b, struct arg *args)
{
	for (int k = 0; k < 7; k++)
		array_begin(&b->buf[k]);
	for (int i = 0; i < b->n; i++) {
		const struct exchange *x = exchange_of(b->items[i]);
		struct str reason = json_str(x->req.json, "reason");
		struct end_word w = end_word(reason);

		array_add_i64(&b->buf[0], *(const int64_t *)x->state);
		array_add_str(&b->buf[1], str_of(w.code));
		array_add_str(&b->buf[2], w.sentence ? str_of(w.sentence) : reason);
		array_add_str(&b->buf[3], log_tail(x));
		array_add_bool(&b->buf[4], false); /* what it did not release itself is lost */
		array_add_bool(&b->buf[5], false);
		array_add_null(&b->buf[6]);
	}
	for (int k = 0; k < 7; k++) {
		array_end(&b->buf[k]);
		args[k] = arg_buf(&b->buf[k]);
	}
}

static void end_done(struct batch *b, const struct rows *rows)
{
	struct agents *a = b->ctx;

	(void)rows;
	for (int i = 0; i < b->n; i++)
		exchange_empty(exchange_of(b->items[i]), 204);
	claims_jobs_hint(a->ev);
	streams_hint(a->ev);
}

void events_goodbye(struct events *ev, struct exchange *x)
{
	exchange_batch(x, &ev->agents->goodbye);
}

/* ---- the module ---- */

static const struct batch_kind register_kind = {STMT_AGENT_REGISTER, REGISTER_MOST, 4 << 20, bind_register, register_done,
						exchange_item_failed, agents_clash};
static const struct batch_kind renew_kind = {STMT_LEASE_RENEW, RENEW_MOST, 8 << 20, bind_renew, renew_done, exchange_item_failed,
					     agents_clash};
static const struct batch_kind goodbye_kind = {STMT_GOODBYE_FIND, GOODBYE_MOST, 0, bind_goodbye, goodbye_find_done,
					       exchange_item_failed, agents_clash};
static const struct batch_kind end_kind = {STMT_SESSION_END, GOODBYE_MOST, 4 << 20, bind_end, end_done, exchange_item_failed,
					   agents_clash};

static void agents_open(struct events *ev)
{
	struct agents *a = calloc(1, sizeof(*a));

	if (!a)
		error_no_memory();
	a->ev = ev;
	ev->agents = a;
	batch_init(&a->enrol, ev->batcher, &register_kind, a);
	batch_init(&a->renew, ev->batcher, &renew_kind, a);
	batch_init(&a->goodbye, ev->batcher, &goodbye_kind, a);
	batch_init(&a->end, ev->batcher, &end_kind, a);
	batch_init(&a->results, ev->batcher, &results_kind, a);
}

static void agents_close(struct events *ev)
{
	free(ev->agents);
}

const struct events_module agents_module = {.open = agents_open, .close = agents_close};
