/*
 * events_claim - agents with a claim parked, shared by events_peers.c (what is known
 * of them), events_claim.c (parking, delivery) and events_broker.c (which jobs go to
 * whom).
 *
 * A peer is a session that has claims parked here or had them a moment ago; what
 * is known of it was read when its last claim came in.  A claim is in exactly one
 * place: in the enter batch, in the again batch, or in its peer's list.
 */
#ifndef WEB_EVENTS_CLAIM_H
#define WEB_EVENTS_CLAIM_H

#include "domain/placement.h"
#include "web/events_role.h"

enum {
	PEER_BUCKETS = 1024,
	PEER_CLAIMS_MOST = 128,
	PEER_TOLD = 32,       /* cancel orders remembered as told */
	TELL_AGAIN_MS = 5000, /* an order that is not obeyed is said again */
	SLOTS_MOST = 256,
	ANSWER_MOST = 16 << 20, /* bytes of jobs in one answer; the rest is delivered next time */
};

struct parked {
	struct exchange *x;
	struct peer *peer;
	struct parked *prev, *next; /* in the peer's list */
	char *holding; /* JSON array of leases, NULL = none */
	int64_t worker_id; /* of the path */
	int64_t until;
	unsigned asked; /* c->clock when the enter statement was bound */
	int16_t max;
	int16_t given;  /* GPUs of the jobs in the answer */
	bool listed;
	bool again;     /* entered before: asks for orders only */
};

struct told {
	char lease[37];
	int64_t at;
};

struct peer {
	struct peer *next; /* in its bucket */
	int64_t session_id, worker_id, account_owner;
	int64_t seen;
	int64_t deadline; /* loop time; INT64_MAX = none */
	double hours_end_s; /* as struct place_worker has it */
	char *got;
	int64_t *shared_with;
	size_t shared_count;
	enum place_sharing sharing;
	bool running; /* takes jobs */
	int slots, free; /* of them, or of GPUs */
	bool kept;    /* its free ones are kept for jobs that need several at once */
	int64_t more_at; /* when its agent was last made to ask for more */
	unsigned freed; /* c->clock when a result was taken: what was read before counts too much as busy */
	int wanted;   /* sum of max - given of its list */
	uint8_t token[CRYPTO_HASH];
	struct parked *first, *last;
	int claims;
	int64_t told_state_at;
	struct told told[PEER_TOLD];
	int told_next;
};

struct broker;

struct claims {
	struct events *ev;
	struct batch enter, again, watch;
	struct batch_item watch_item;
	struct peer *buckets[PEER_BUCKETS];
	int parked;
	int ticks;
	unsigned clock; /* orders enter statements and results */
	struct broker *broker;
};

/* ---- events_peers.c ---- */

/* Calls fn for each peer. */
void peers_each(struct claims *c, void (*fn)(struct peer *p, void *ctx), void *ctx);
/* The same, beginning at one of PEER_BUCKETS places and going round. */
void peers_each_from(struct claims *c, int first, void (*fn)(struct peer *p, void *ctx), void *ctx);
struct peer *peer_find(struct claims *c, int64_t session);
/* Takes in what the enter statement's row says of the session of this claim. */
struct peer *peer_learn(struct claims *c, const struct exchange *x, const struct rows *rows, int row);
/* Orders of the row that were not told a moment ago: an agent that obeys needs some
 * time, and must not be answered at once over and over.  NULL: nothing new. */
struct json *peer_orders(struct claims *c, struct peer *p, const struct rows *rows, int row);
/* Those that had no claim here for a while. */
void peers_forget_old(struct claims *c);
void peers_free(struct claims *c);

/* ---- events_claim.c ---- */

/* Puts the row's job into the answer of one of the peer's claims; false when none has room. */
bool claim_deliver(struct peer *p, const struct rows *rows, int row);
/* Sends the answers of the peer's claims that got jobs. */
void claim_answer_given(struct claims *c, struct peer *p);
/* Answers what is parked of a peer, with nothing: an agent whose room has grown claims anew with all of it. */
void claim_ask_for_more(struct claims *c, struct peer *p);
/* Leases may have been made that nobody was told of: asks anew for all of the peer's claims. */
void claim_enter_anew(struct claims *c, struct peer *p, bool with_holding);

/* ---- events_broker.c ---- */

struct broker *broker_new(struct claims *c);
void broker_free(struct broker *b);
/* A claim was parked, or time passed: look whether something can be placed. */
void broker_advance(struct broker *b);
/* Jobs may have become ready. */
void broker_hint(struct broker *b);
void broker_fold_soon(struct broker *b);
void broker_tick(struct broker *b);

#endif
