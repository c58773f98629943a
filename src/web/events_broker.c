/*
 * Which jobs go to which parked claims: looks at the lanes, asks the placement
 * core, and claims in one statement.
 *
 * A look is good for LOOK_GOOD_MS, less what was claimed since; so a queue that
 * is drained costs one statement a batch.  Without a hint the lanes are looked
 * at once a tick while somebody wants work.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "domain/lease.h"
#include "web/events_claim.h"

enum {
	LOOK_GOOD_MS = 250,
	LANES_MOST = 4096,
	WORKERS_MOST = 2048,  /* sessions considered at once */
	PICKS_MOST = 512,
	JOBS_MOST = 2000,     /* of one claim statement */
	WORK_MOST = 16 << 20,
	CLAIM_WAIT_MS = 2000, /* for a connection */
	FOLD_AFTER_MS = 400,
	MORE_EVERY_MS = 2000, /* an agent may have its own reason to ask for less */
	FOLD_EVERY_TICKS = 40, /* also without a sign that there is anything */
};

struct lane {
	int type;
	int64_t floor;
	int asked, got; /* by the round in flight */
};

/* One claim statement: what was chosen. */
struct round {
	struct place_pick picks[PICKS_MOST];
	size_t count;
};

struct broker {
	struct claims *claims;
	struct loop *loop;
	struct batch look, claim, fold;
	struct batch_item look_item, claim_item, fold_item;
	struct task advance;
	struct timer fold_timer;
	int ticks;

	/* the last look */
	struct arena snapshot;
	struct place_lane *lanes;
	struct lane *lane_extra;
	size_t lane_count;
	int64_t looked_at;
	bool hinted; /* something came after it */

	/* the round in flight */
	struct arena work;
	struct place_weights weights;
	struct place_worker *workers;
	struct peer **peers;
	size_t worker_count, worker_room;
	struct round round;
	int turn; /* of the peers, where to begin when there are more than are considered at once */
};

/* ---- looking ---- */

static void bind_look(struct batch *b, struct arg *args)
{
	struct broker *k = b->ctx;

	args[0] = arg_i64(LANES_MOST);
	args[1] = arg_i64(PLACE_AGEING_S);
	args[2] = arg_i64(PLACE_CLASS_MOST);
	k->hinted = false; /* what is hinted at from now on, this look may miss */
}

static void take_lane(struct broker *k, const struct rows *rows, int i)
{
	struct place_lane *l = &k->lanes[k->lane_count];
	struct lane *x = &k->lane_extra[k->lane_count];
	char *accelerator = arena_strdup(&k->snapshot, row_cstr(rows, i, "accelerator"));

	if (!accelerator)
		return;
	x->type = (int)row_i64(rows, i, "type");
	x->floor = row_i64(rows, i, "oldest");
	*l = (struct place_lane){
		.id = row_i64(rows, i, "id"),
		.owner_id = row_i64(rows, i, "owner_id"),
		.accelerator = accelerator,
		.gpus = (int)row_i64(rows, i, "gpus"),
		.priority = (int)row_i64(rows, i, "priority"),
		.depth = row_i64(rows, i, "depth"),
		.waited_s = row_double(rows, i, "waited"),
		.estimate_s = row_double(rows, i, "estimate"),
		.resumes = x->type == JOB_TRAINING,
		.cost_s = lease_estimate(x->type),
		.used_s = row_double(rows, i, "used"),
		.weight = row_double(rows, i, "weight"),
	};
	k->lane_count++;
}

static void look_done(struct batch *b, const struct rows *rows)
{
	struct broker *k = b->ctx;
	int n = rows_count(rows) < LANES_MOST ? rows_count(rows) : LANES_MOST;

	arena_reset(&k->snapshot);
	k->lane_count = 0;
	k->lanes = arena_array(&k->snapshot, (size_t)n + 1, sizeof(*k->lanes));
	k->lane_extra = arena_array(&k->snapshot, (size_t)n + 1, sizeof(*k->lane_extra));
	if (!k->lanes || !k->lane_extra)
		BUG("no room for a look");
	for (int i = 0; i < n; i++)
		take_lane(k, rows, i);
	k->looked_at = loop_now(k->loop);
	loop_defer(k->loop, &k->advance);
}

static void look_failed(struct batch *b, struct batch_item *i, enum err err, const struct error *e)
{
	struct broker *k = b->ctx;

	(void)i;
	(void)e;
	log_debug("broker.look", "error=%s", err_name(err));
	k->hinted = true; /* the next tick looks again */
}

static bool look_is_good(const struct broker *k)
{
	return !k->hinted && k->looked_at && loop_now(k->loop) - k->looked_at < LOOK_GOOD_MS;
}

/* ---- choosing ---- */

struct gather {
	struct broker *k;
	int64_t now;
};

static void gather_worker(struct peer *p, void *ctx)
{
	const struct gather *g = ctx;
	struct broker *k = g->k;
	int free = p->free < p->wanted ? p->free : p->wanted;

	p->kept = false;
	if (!p->running || free <= 0 || k->worker_count == k->worker_room)
		return;
	k->peers[k->worker_count] = p;
	k->workers[k->worker_count++] = (struct place_worker){
		.session_id = p->session_id,
		.owner_id = p->account_owner,
		.got = p->got,
		.free = free,
		.slots = p->slots,
		.seconds_left = p->deadline == INT64_MAX ? INFINITY : (double)(p->deadline - g->now) / 1000,
		.hours_end_s = p->hours_end_s,
		.sharing = p->sharing,
		.shared_with = p->shared_with,
		.shared_count = p->shared_count,
	};
}

static bool gather(struct broker *k)
{
	struct gather g = {.k = k, .now = loop_now(k->loop)};

	arena_reset(&k->work);
	k->worker_count = 0;
	k->worker_room = k->claims->parked < WORKERS_MOST ? (size_t)k->claims->parked : WORKERS_MOST;
	k->peers = arena_array(&k->work, k->worker_room, sizeof(struct peer *));
	k->workers = arena_array(&k->work, k->worker_room, sizeof(*k->workers));
	if (!k->workers || !k->peers)
		BUG("no room for a round");
	peers_each_from(k->claims, k->turn, gather_worker, &g);
	/* The next round begins where this one had to end. */
	if (k->worker_count == WORKERS_MOST)
		k->turn = (k->turn + PEER_BUCKETS * WORKERS_MOST / k->claims->parked) % PEER_BUCKETS;
	return k->worker_count > 0;
}

/* An agent asks for the room that it had: where more is free now and kept for one job, it is to ask anew. */
static void tend_kept(struct broker *k)
{
	for (size_t i = 0; i < k->lane_count; i++) {
		const struct place_lane *l = &k->lanes[i];
		struct peer *p = l->keeps ? k->peers[l->keeps - 1] : NULL;

		if (!p)
			continue;
		p->kept = true;
		if (p->free < l->gpus || p->wanted >= l->gpus || loop_now(k->loop) < p->more_at + MORE_EVERY_MS)
			continue;
		p->more_at = loop_now(k->loop);
		claim_ask_for_more(k->claims, p);
	}
}

/* At most JOBS_MOST jobs a statement: the last picks are cut. */
static void cap_round(struct round *r)
{
	int jobs = 0;

	for (size_t i = 0; i < r->count; i++) {
		if (jobs + r->picks[i].n > JOBS_MOST)
			r->picks[i].n = JOBS_MOST - jobs;
		jobs += r->picks[i].n;
		if (jobs == JOBS_MOST)
			r->count = i + 1;
	}
}

/* ---- claiming ---- */

static void add_decision(const struct broker *k, struct buf *b, const struct place_pick *p)
{
	item_begin(b);
	buf_addf(b, "{\"lane\":%lld,\"owner\":%lld,\"worker\":%lld,\"session\":%lld,\"jobs\":%d,\"why\":\"%s\",\"estimate\":%.0f,\"used\":%.0f}",
		 (long long)k->lanes[p->lane].id, (long long)k->lanes[p->lane].owner_id, (long long)k->peers[p->worker]->worker_id,
		 (long long)k->workers[p->worker].session_id, p->n, place_why_name(p->why),
		 k->lanes[p->lane].estimate_s, k->lanes[p->lane].used_s);
}

static void bind_claim(struct batch *b, struct arg *args)
{
	struct broker *k = b->ctx;
	const struct config *config = k->claims->ev->config;

	for (int i = 0; i < 6; i++)
		array_begin(&b->buf[i]);
	for (size_t i = 0; i < k->round.count; i++) {
		const struct place_pick *p = &k->round.picks[i];

		array_add_i64(&b->buf[0], k->lanes[p->lane].id);
		array_add_bytes(&b->buf[1], k->peers[p->worker]->token, CRYPTO_HASH);
		array_add_i64(&b->buf[2], p->n);
		array_add_i64(&b->buf[3], k->lane_extra[p->lane].floor);
		array_add_i64(&b->buf[4], lease_seconds(config, k->lane_extra[p->lane].type));
		array_add_i64(&b->buf[5], k->lanes[p->lane].gpus);
		add_decision(k, &b->buf[6], p);
	}
	for (int i = 0; i < 6; i++) {
		array_end(&b->buf[i]);
		args[i] = arg_buf(&b->buf[i]);
	}
	buf_addc(&b->buf[6], ']');
	args[6] = arg_buf(&b->buf[6]);
}

static struct lane *lane_of(struct broker *k, int64_t id, size_t *hint)
{
	for (size_t tries = 0; tries < k->lane_count; tries++, *hint = (*hint + 1) % k->lane_count)
		if (k->lanes[*hint].id == id)
			return &k->lane_extra[*hint];
	return NULL;
}

/* What was asked and given of each lane of the round. */
static void count_lanes(struct broker *k, const struct rows *rows)
{
	size_t hint = 0;

	for (size_t i = 0; i < k->round.count; i++)
		k->lane_extra[k->round.picks[i].lane].asked += k->round.picks[i].n;
	for (int i = 0; i < rows_count(rows); i++) {
		struct lane *l = lane_of(k, row_i64(rows, i, "lane"), &hint);

		if (l)
			l->got++;
	}
}

/* A lane which gave less is empty now. */
static void settle_lanes(struct broker *k)
{
	for (size_t i = 0; i < k->round.count; i++) {
		struct place_lane *lane = &k->lanes[k->round.picks[i].lane];
		struct lane *l = &k->lane_extra[k->round.picks[i].lane];

		if (!l->asked)
			continue; /* settled: the lane was picked twice */
		lane->depth = l->got < l->asked || lane->depth <= l->got ? 0 : lane->depth - l->got;
		l->asked = l->got = 0;
	}
}

/* Got nothing of another's although it was chosen: the account may be shared no more, so what is known of it is read again. */
static void doubt_sharing(struct broker *k)
{
	for (size_t i = 0; i < k->round.count; i++) {
		const struct place_pick *pick = &k->round.picks[i];
		struct peer *p = peer_find(k->claims, k->workers[pick->worker].session_id);

		if (p && p->account_owner != k->lanes[pick->lane].owner_id && k->lane_extra[pick->lane].got < k->lane_extra[pick->lane].asked)
			claim_enter_anew(k->claims, p, false);
	}
}

static void claim_done(struct batch *b, const struct rows *rows)
{
	struct broker *k = b->ctx;
	int undelivered = 0, n = rows_count(rows);

	for (int i = 0; i < n; i++) {
		struct peer *p = peer_find(k->claims, row_i64(rows, i, "session_id"));

		if (p)
			p->free -= (int)row_i64(rows, i, "gpus");
		/* Who left meanwhile gets it with its next claim. */
		if (!p || !claim_deliver(p, rows, i))
			undelivered++;
	}
	for (size_t i = 0; i < k->round.count; i++) {
		struct peer *p = peer_find(k->claims, k->workers[k->round.picks[i].worker].session_id);

		if (p)
			claim_answer_given(k->claims, p);
	}
	count_lanes(k, rows);
	doubt_sharing(k);
	settle_lanes(k);
	if (undelivered)
		log_info("broker.undelivered", "jobs=%d", undelivered);
	if (n)
		broker_fold_soon(k);
	loop_defer(k->loop, &k->advance);
}

/* Whether the leases were made is not known: ask for what the sessions hold. */
static void claim_failed(struct batch *b, struct batch_item *item, enum err err, const struct error *e)
{
	struct broker *k = b->ctx;

	(void)item;
	(void)e;
	log_warn("broker.claim", "error=%s", err_name(err));
	k->hinted = true;
	for (size_t i = 0; i < k->round.count; i++) {
		struct peer *p = peer_find(k->claims, k->workers[k->round.picks[i].worker].session_id);

		if (p)
			claim_enter_anew(k->claims, p, true);
	}
}

/* ---- the steps ---- */

static void advance(void *ctx)
{
	struct broker *k = ctx;

	/* A look while the claim is under way would see its jobs waiting still. */
	if (!batch_quiet(&k->look) || !batch_quiet(&k->claim) || k->claims->ev->draining || !gather(k))
		return;
	if (!look_is_good(k)) {
		if (!batch_add(&k->look, &k->look_item, BATCH_WAIT_MS))
			k->hinted = true;
		return;
	}
	k->round.count = place_choose(&k->weights, k->lanes, k->lane_count, k->workers, k->worker_count, k->round.picks, PICKS_MOST,
				      &k->work);
	cap_round(&k->round);
	tend_kept(k);
	if (k->round.count && !batch_add(&k->claim, &k->claim_item, CLAIM_WAIT_MS))
		k->hinted = true;
}

void broker_advance(struct broker *k)
{
	loop_defer(k->loop, &k->advance);
}

void broker_hint(struct broker *k)
{
	k->hinted = true;
	loop_defer(k->loop, &k->advance);
}

/* ---- folding ---- */

static void bind_fold(struct batch *b, struct arg *args)
{
	(void)b;
	(void)args;
}

static void fold_done(struct batch *b, const struct rows *rows)
{
	(void)b;
	(void)rows;
}

static void fold_failed(struct batch *b, struct batch_item *i, enum err err, const struct error *e)
{
	(void)b;
	(void)i;
	(void)e;
	log_debug("broker.fold", "error=%s", err_name(err));
}

static void fold_due(void *ctx)
{
	struct broker *k = ctx;

	if (batch_quiet(&k->fold) && !batch_add(&k->fold, &k->fold_item, BATCH_WAIT_MS))
		broker_fold_soon(k);
}

void broker_fold_soon(struct broker *k)
{
	if (k->fold_timer.at == INT64_MAX)
		k->fold_timer.at = loop_now(k->loop) + FOLD_AFTER_MS;
}

void broker_tick(struct broker *k)
{
	if (++k->ticks % FOLD_EVERY_TICKS == 0)
		broker_fold_soon(k);
	broker_advance(k);
}

/* ---- life ---- */

static const struct batch_kind look_kind = {STMT_LANE_LOOK, 1, 0, bind_look, look_done, look_failed, NULL};
static const struct batch_kind claim_kind = {STMT_LEASE_CLAIM, 1, 0, bind_claim, claim_done, claim_failed, NULL, .once = true};
static const struct batch_kind fold_kind = {STMT_LANE_FOLD, 1, 0, bind_fold, fold_done, fold_failed, NULL};

struct broker *broker_new(struct claims *c)
{
	struct broker *k = calloc(1, sizeof(*k));

	if (!k)
		error_no_memory();
	k->claims = c;
	k->loop = c->ev->loop;
	k->advance = (struct task){.run = advance, .ctx = k};
	k->fold_timer = (struct timer){.at = INT64_MAX, .due = fold_due, .ctx = k};
	loop_add_timer(k->loop, &k->fold_timer);
	arena_init(&k->snapshot, WORK_MOST);
	arena_init(&k->work, WORK_MOST);
	k->weights = (struct place_weights){
		.own = (double)c->ev->config->place_own,
		.time = (double)c->ev->config->place_time,
		.expiry = (double)c->ev->config->place_expiry,
		.load = (double)c->ev->config->place_load,
		.hold_s = (double)c->ev->config->place_hold_seconds,
	};
	batch_init(&k->look, c->ev->batcher, &look_kind, k);
	batch_init(&k->claim, c->ev->batcher, &claim_kind, k);
	batch_init(&k->fold, c->ev->batcher, &fold_kind, k);
	return k;
}

void broker_free(struct broker *k)
{
	loop_remove_timer(k->loop, &k->fold_timer);
	loop_undefer(k->loop, &k->advance);
	arena_free(&k->snapshot);
	arena_free(&k->work);
	free(k);
}
