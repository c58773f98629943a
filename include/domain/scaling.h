/*
 * scaling - policies of persons, and rounds of the autoscaler against the
 * database: look, decide (domain/autoscaler.h), act.
 *
 * Who acts holds the lock of scaling: the leader among the provisioners for a
 * round, the web role for the transaction that commits a plan.  Each action is
 * a compare-and-set on the worker's version, by the same code as the API's
 * start, stop and create; one that finds the worker changed does nothing.  A
 * worker is stopped or drained in the row that a claim locks (session_drain),
 * so that none that holds a lease is ever stopped.  A round's lock is its connection's: each action asks
 * whether it is still held, for one that was lost and made anew holds nothing, and another may decide by then.
 */
#ifndef DOMAIN_SCALING_H
#define DOMAIN_SCALING_H

#include "base/arena.h"
#include "base/config.h"
#include "base/crypto.h"
#include "domain/autoscaler_doc.h"
#include "db/db.h"
#include "domain/principal.h"

/* ---- policies ------------------------------------------------------------- */

enum { SCALING_ACCOUNTS = 64, SCALING_SNAPSHOT = 32 << 20 };
enum { SCALING_ANY = -1 }; /* as a version to be met: whatever is there */
enum { SCALING_KEPT = 256 << 20 }; /* bytes of rounds, as stored */

struct scaling_policy {
	bool enabled, paused;
	const char *accelerator; /* "" = as jobs ask */
	int64_t min_workers, max_workers, queue_threshold;
	int64_t target_wait_seconds, up_delay_seconds, down_delay_seconds, idle_stop_seconds; /* idle 0 = never */
	int64_t accounts[SCALING_ACCOUNTS];
	int account_count;
	bool listed;             /* accounts go in the order of the list; else those whose hours expire first */
	int64_t version;         /* 0 = none was set: the defaults */
};

/* What holds where nothing was set. */
struct scaling_policy scaling_policy_default(void);

/* The policy of a person: one's own, or another's for who sees all.  Rows are kept for its strings.
 * ERR_NOT_FOUND: no such person, or not yours. */
enum err scaling_get(struct db *db, const struct principal *p, int64_t owner, struct rows *rows, struct scaling_policy *ret,
		     struct error *e) must_check;
/* version: that which must be there, 0 = none; ERR_PRECONDITION: it is another.  ERR_INVALID at "maxWorkers", or at
 * "accounts.N" for one that the owner may not use or that is there twice. */
enum err scaling_put(struct db *db, const struct principal *p, int64_t owner, const struct scaling_policy *policy, struct error *e) must_check;

/* ---- a round -------------------------------------------------------------- */

struct scaling_look {
	struct json *document;   /* owned: the snapshot, as it is stored */
	struct scale_snapshot snapshot;
	struct scale_result result;
};

/* planner: whose policy counts as on, 0 = nobody's. */
enum err scaling_look(struct db *db, struct arena *a, const struct config *config, int64_t planner, struct scaling_look *ret,
		      struct error *e) must_check;
void scaling_look_free(struct scaling_look *l);
#define cleanup_look __attribute__((cleanup(scaling_look_free)))

/* Of the actions of one owner's policy, as a plan shows them. */
void scaling_digest(const struct scaling_look *l, int64_t owner, uint8_t ret[CRYPTO_HASH]);

struct scaling_done {
	bool done;
	int64_t worker;          /* that it was done to; of a new one its id */
	char provider[32];       /* whose provisioner is to be told */
};
/* ERR_CONFLICT: this connection has the lock of scaling no more. */
enum err scaling_holds(struct db *db, struct error *e) must_check;
/* One decision, with its row among the decisions; in a transaction.  *ret says whether the worker was still
 * as it was seen.  An error is of the database. */
enum err scaling_act(struct db *db, struct arena *a, const struct config *config, const struct scale_decision *d, struct scaling_done *ret,
		     struct error *e) must_check;
/* Stores the round, to be decided again under another policy. */
enum err scaling_keep(struct db *db, const struct scaling_look *l, struct error *e) must_check;

/* ---- plans ----------------------------------------------------------------- */

/* Appends the jobs that wait, in order, each with when and why: {jobId, startsAt?, reason}. */
enum err scaling_jobs(struct db *db, struct arena *a, const struct principal *p, const struct scaling_look *l, int64_t owner,
		      struct json *list, struct error *e) must_check;

#endif
