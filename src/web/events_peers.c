/*
 * What is known of the sessions that have claims parked here; see
 * web/events_claim.h.
 */
#include <stdlib.h>
#include <string.h>

#include "web/events_claim.h"

enum { PEER_KEPT_MS = 60000 };

static struct peer **bucket(struct claims *c, int64_t session)
{
	return &c->buckets[(uint64_t)session % PEER_BUCKETS];
}

struct peer *peer_find(struct claims *c, int64_t session)
{
	struct peer *p = *bucket(c, session);

	while (p && p->session_id != session)
		p = p->next;
	return p;
}

void peers_each_from(struct claims *c, int first, void (*fn)(struct peer *p, void *ctx), void *ctx)
{
	for (int i = 0; i < PEER_BUCKETS; i++)
		for (struct peer *p = c->buckets[(first + i) % PEER_BUCKETS], *next; p; p = next) {
			next = p->next;
			fn(p, ctx);
		}
}

void peers_each(struct claims *c, void (*fn)(struct peer *p, void *ctx), void *ctx)
{
	peers_each_from(c, 0, fn, ctx);
}

static void free_peer(struct peer *p)
{
	free(p->got);
	free(p->shared_with);
	free(p);
}

static struct peer *peer_get(struct claims *c, int64_t session)
{
	struct peer *p = peer_find(c, session);

	if (p)
		return p;
	p = calloc(1, sizeof(*p));
	if (!p)
		error_no_memory();
	p->session_id = session;
	p->next = *bucket(c, session);
	*bucket(c, session) = p;
	return p;
}

static void learn_shared(struct peer *p, struct str sharing, struct str list)
{
	struct str one;

	p->sharing = str_eqz(sharing, "all") ? PLACE_SHARED_ALL : str_eqz(sharing, "named") ? PLACE_SHARED_NAMED : PLACE_SHARED_NONE;
	p->shared_count = 0;
	while (p->sharing == PLACE_SHARED_NAMED && str_cut(&list, ',', &one)) {
		p->shared_with = realloc(p->shared_with, (p->shared_count + 1) * sizeof(*p->shared_with));
		if (!p->shared_with)
			error_no_memory();
		if (str_to_id(one, &p->shared_with[p->shared_count]))
			p->shared_count++;
	}
}

struct peer *peer_learn(struct claims *c, const struct exchange *x, const struct rows *rows, int row)
{
	struct peer *p = peer_get(c, row_i64(rows, row, "session_id"));
	const char *got = row_cstr(rows, row, "got");
	int64_t now = loop_now(c->ev->loop);

	if (!p->got || strcmp(p->got, got)) {
		free(p->got);
		p->got = strdup(got);
		if (!p->got)
			error_no_memory();
	}
	p->worker_id = row_i64(rows, row, "worker_id");
	p->account_owner = row_i64(rows, row, "account_owner");
	p->seen = now;
	p->deadline = row_null(rows, row, "seconds_left") ? INT64_MAX : now + (int64_t)(row_double(rows, row, "seconds_left") * 1000);
	p->hours_end_s = row_null(rows, row, "hours_end") ? 0 : row_double(rows, row, "hours_end");
	p->slots = (int)row_i64(rows, row, "slots");
	p->free = p->slots - (int)row_i64(rows, row, "busy");
	p->running = str_eqz(row_str(rows, row, "state"), "running") && str_eqz(row_str(rows, row, "desired"), "running") &&
		     row_i64(rows, row, "protocol") >= PROTOCOL_OLDEST;
	memcpy(p->token, x->token, sizeof(p->token));
	learn_shared(p, row_str(rows, row, "sharing"), row_str(rows, row, "shared_with"));
	return p;
}

void peers_forget_old(struct claims *c)
{
	int64_t old = loop_now(c->ev->loop) - PEER_KEPT_MS;

	for (int i = 0; i < PEER_BUCKETS; i++)
		for (struct peer **at = &c->buckets[i]; *at;) {
			struct peer *p = *at;

			if (p->claims || p->seen > old) {
				at = &p->next;
				continue;
			}
			*at = p->next;
			free_peer(p);
		}
}

void peers_free(struct claims *c)
{
	for (int i = 0; i < PEER_BUCKETS; i++)
		while (c->buckets[i]) {
			struct peer *p = c->buckets[i];

			c->buckets[i] = p->next;
			free_peer(p);
		}
}

/* ---- orders ---- */

static bool told_lately(struct claims *c, struct peer *p, struct str lease)
{
	int64_t now = loop_now(c->ev->loop);

	for (int i = 0; i < PEER_TOLD; i++)
		if (str_eqz(lease, p->told[i].lease)) {
			if (now - p->told[i].at < TELL_AGAIN_MS)
				return true;
			p->told[i].at = now;
			return false;
		}
	snprintf(p->told[p->told_next].lease, sizeof(p->told[0].lease), "%.*s", STR_ARG(lease));
	p->told[p->told_next].at = now;
	p->told_next = (p->told_next + 1) % PEER_TOLD;
	return false;
}

static bool news(struct claims *c, struct peer *p, struct json *order)
{
	int64_t now = loop_now(c->ev->loop);

	if (json_has(order, "lease"))
		return !told_lately(c, p, json_str(order, "lease"));
	if (p->told_state_at && now - p->told_state_at < TELL_AGAIN_MS)
		return false;
	p->told_state_at = now;
	return true;
}

struct json *peer_orders(struct claims *c, struct peer *p, const struct rows *rows, int row)
{
	cleanup_json struct json *all = orders_json(row_str(rows, row, "state"), row_str(rows, row, "desired"),
						    row_i64(rows, row, "protocol"), row_str(rows, row, "cancels"));
	struct json *ret = NULL;

	for (size_t i = 0; i < json_len(all); i++) {
		if (!news(c, p, json_at(all, i)))
			continue;
		if (!ret)
			ret = json_array();
		json_add(ret, json_ref(json_at(all, i)));
	}
	return ret;
}
