/*
 * Results: what became of jobs.  Each item of a report is judged by itself; one
 * report is answered after the commit of the statement that took it.
 */
#include <stdlib.h>
#include <string.h>

#include "domain/lease.h"
#include "web/events_agent.h"

enum {
	RESULTS_MOST = 200,          /* reports a statement */
	RESULTS_WEIGHT = 8 << 20,    /* their bytes */
	ITEMS_MOST = 500,            /* a report */
	RESULT_MOST = 1 << 20,
	ERROR_MOST = 64 << 10,
	RETRY_FIRST_S = 1,
};

const struct field results_body[] = {
	{"results", FIELD_ANY, FIELD_REQUIRED,
	 .doc = "Array of at most 500 {jobId, lease, state: succeeded|failed|timed_out|cancelled|released, result?, error?: {type, message, "
		"traceback?}}; each is judged by itself."},
	{0},
};

/* ---- asking ---- */

/* Appends ,"key":<value> unless it is too long; false then. */
static bool add_part(struct buf *b, const char *key, const struct json *value, size_t most)
{
	size_t before = b->len;

	if (!value)
		return true;
	buf_addf(b, ",\"%s\":", key);
	json_write(value, b);
	if (b->len - before <= most)
		return true;
	b->len = before;
	return false;
}

static bool add_item(struct buf *b, int agent, size_t n, const struct json *item)
{
	int state = lease_outcome_parse(json_str(item, "state"));
	size_t before = b->len;
	struct str lease;
	int64_t id;

	if (!state || !agent_names_lease(item, &id, &lease))
		return false;
	item_begin(b);
	buf_addf(b, "{\"i\":%d,\"n\":%zu,\"id\":%lld,\"lease\":\"%.*s\",\"state\":%d", agent, n, (long long)id, STR_ARG(lease), state);
	if (!add_part(b, "result", json_get(item, "result"), RESULT_MOST) ||
	    (json_get(item, "error") && json_type_of(json_get(item, "error")) != JSON_OBJECT) ||
	    !add_part(b, "error", json_get(item, "error"), ERROR_MOST)) {
		b->len = before;
		return false;
	}
	buf_addc(b, '}');
	return true;
}

static void bind_results(struct batch *b, struct arg *args)
{
	for (int i = 0; i < b->n; i++) {
		struct exchange *x = exchange_of(b->items[i]);
		const struct json *list = json_get(x->req.json, "results");
		bool *asked = x->state;

		item_begin(&b->buf[0]);
		buf_addf(&b->buf[0], "{\"i\":%d,", i);
		item_hash(&b->buf[0], x);
		item_worker(&b->buf[0], x);
		buf_addc(&b->buf[0], '}');
		for (size_t n = 0; n < json_len(list); n++)
			asked[n] = add_item(&b->buf[1], i, n, json_at(list, n));
	}
	buf_addc(&b->buf[0], ']');
	buf_adds(&b->buf[1], b->buf[1].len ? "]" : "[]");
	args[0] = arg_buf(&b->buf[0]);
	args[1] = arg_buf(&b->buf[1]);
	args[2] = arg_i64(RETRY_FIRST_S);
}

/* ---- answering ---- */

enum { UUID_TEXT = 36 };

struct verdict {
	int64_t id;
	const char *lease; /* UUID_TEXT characters */
	int row;
};

static int by_lease(const void *a, const void *b)
{
	const struct verdict *x = a, *y = b;

	return x->id != y->id ? (x->id < y->id ? -1 : 1) : memcmp(x->lease, y->lease, UUID_TEXT);
}

struct judged {
	const struct rows *rows;
	struct verdict *verdicts;
	size_t count;
	int *agents; /* row of each agent, -1 = unknown */
	bool released;
};

static void sort_verdicts(struct judged *j, int agents)
{
	int n = rows_count(j->rows);

	j->verdicts = calloc((size_t)n + 1, sizeof(*j->verdicts));
	j->agents = calloc((size_t)agents, sizeof(*j->agents));
	if (!j->verdicts || !j->agents)
		error_no_memory();
	for (int i = 0; i < agents; i++)
		j->agents[i] = -1;
	for (int row = 0; row < n; row++) {
		if (*row_cstr(j->rows, row, "kind") == 'a') {
			j->agents[row_i64(j->rows, row, "i")] = row;
			continue;
		}
		j->verdicts[j->count++] = 
			(struct verdict){row_i64(j->rows, row, "id"), row_cstr(j->rows, row, "lease"), row};
		j->released |= row_i64(j->rows, row, "worker_id") != 0;
	}
	qsort(j->verdicts, j->count, sizeof(*j->verdicts), by_lease);
}

/* The same report twice in one batch has one verdict. */
static const char *verdict_of(const struct judged *j, const struct json *item)
{
	struct verdict key = {0}, *v;
	struct str lease;

	if (!agent_names_lease(item, &key.id, &lease))
		return "invalid";
	key.lease = lease.ptr;
	v = bsearch(&key, j->verdicts, j->count, sizeof(key), by_lease);
	return v ? row_cstr(j->rows, v->row, "verdict") : "stale";
}

static void add_answer(struct buf *b, const struct json *item, const char *verdict)
{
	bool accepted = !strcmp(verdict, "accepted");

	buf_adds(b, b->ptr[b->len - 1] == '[' ? "{\"jobId\":" : ",{\"jobId\":");
	if (json_str(item, "jobId").ptr)
		buf_add_json(b, json_str(item, "jobId"));
	else
		buf_adds(b, "null");
	buf_adds(b, ",\"lease\":");
	if (json_str(item, "lease").ptr)
		buf_add_json(b, json_str(item, "lease"));
	else
		buf_adds(b, "null");
	buf_addf(b, ",\"accepted\":%s", accepted ? "true" : "false");
	if (!accepted)
		buf_addf(b, ",\"reason\":\"%s\"", verdict);
	buf_addc(b, '}');
}

static void answer(struct exchange *x, const struct judged *j, int agent)
{
	const struct json *list = json_get(x->req.json, "results");
	const bool *asked = x->state;
	struct buf *b = &x->res.body;

	if (agent < 0) {
		exchange_fail(x, ERR_UNAUTHORIZED, "This token is not known.");
		return;
	}
	if (str_eqz(row_str(j->rows, agent, "verdict"), "ended")) {
		exchange_fail(x, ERR_GONE, "This session is over.");
		return;
	}
	x->res.status = 200;
	x->res.content_type = "application/json";
	buf_adds(b, "{\"results\":[");
	for (size_t n = 0; n < json_len(list); n++)
		add_answer(b, json_at(list, n), asked[n] ? verdict_of(j, json_at(list, n)) : "invalid");
	buf_adds(b, "]}");
	exchange_end(x);
}

static void results_done(struct batch *b, const struct rows *rows)
{
	struct agents *a = b->ctx;
	struct judged j = {.rows = rows};

	sort_verdicts(&j, b->n);
	for (int i = 0; i < b->n; i++) {
		if (j.agents[i] >= 0)
			claims_freed(a->ev, row_i64(rows, j.agents[i], "id"));
		answer(exchange_of(b->items[i]), &j, j.agents[i]);
	}
	free(j.verdicts);
	free(j.agents);
	if (j.released)
		claims_jobs_hint(a->ev);
	claims_fold_soon(a->ev);
	streams_hint(a->ev);
}

const struct batch_kind results_kind = {STMT_RESULT_TAKE, RESULTS_MOST, RESULTS_WEIGHT, bind_results, results_done,
					exchange_item_failed, agents_clash};

void events_results(struct events *ev, struct exchange *x)
{
	const struct json *list = json_get(x->req.json, "results");
	bool *asked;

	if (json_type_of(list) != JSON_ARRAY || json_len(list) > ITEMS_MOST) {
		struct error e;

		error_field(&e, ERR_INVALID, "results", "results must be an array of at most %d items.", (int)ITEMS_MOST);
		exchange_problem(x, &e);
		return;
	}
	asked = arena_array(&x->arena, json_len(list) + 1, sizeof(*asked));
	if (!asked)
		BUG("no room for %zu results", json_len(list));
	x->state = asked;
	x->item.weight = x->body.len;
	buf_free(&x->body); /* the tree has it all */
	x->req.body = STR_NULL;
	exchange_batch(x, &ev->agents->results);
}
