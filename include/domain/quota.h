/*
 * quota - the ledger of an account's hours: what a session may use is reserved
 * before it is started, and what it used is counted when it has ended.
 *
 * An account has, of each resource (gpu, cpu, tpu), a row for the week that
 * runs: limit, margin, used, reserved.  A session has a reservation: a slot
 * among the sessions at once, and the seconds it may run.  What is promised,
 * used + reserved + margin <= limit, is a constraint of the table; no two
 * sessions in one slot is a unique index.  The code below decides beforehand,
 * the database decides.  All times are the database's, read once the account's
 * lock is held; nobody's clock is asked.
 *
 * Locks are taken in the order account, session, worker, operation.
 *
 * A start, in one transaction of the caller:
 *
 *     quota_reserve()   locks the account until the transaction ends
 *     session_open()    with the seconds granted
 *     quota_attach()    makes the reservation of that session
 *
 * Whoever dies in between leaves nothing.  A reservation ends by the end of its
 * session's run alone: while that may go on at its provider, also after the
 * session has ended, it holds its hours and its place.  One whose run is over is
 * settled by the next quota_reserve() or quota_settle().  Nothing else gives
 * back hours, so there is no call for a start that the provider refused: that
 * session is ended, its run is over (session.over_at), never was (no
 * provider_ref, never registered), and is charged nothing.  A run of which
 * nothing can ever be learnt is taken to be over when it cannot last longer, and
 * to have run all the time.
 *
 * What a session is charged runs from when it was sent (session.launched_at),
 * or from the last time its provider said that it was still waiting for a
 * machine (session.queued_at, kept by whoever polls), to the end of its run
 * (session.over_at).  Over a reset, each week is charged its part.
 */
#ifndef DOMAIN_QUOTA_H
#define DOMAIN_QUOTA_H

#include "base/arena.h"
#include "base/json.h"
#include "db/db.h"
#include "domain/principal.h"

/* ---- before a start ------------------------------------------------------- */

struct quota_ask {
	int64_t account;
	const char *accelerator;     /* its case does not matter */
	int64_t max_session_seconds; /* what the worker's owner allows; 0 = any length */
};

/* Strings lie in the arena given. */
struct quota_grant {
	bool limited;            /* false = nothing here is counted, and attaching does nothing */
	int64_t account;
	const char *resource;    /* gpu, cpu, tpu; NULL where the provider has no such thing */
	int slot;
	const char *resets_at;   /* end of its week, RFC 3339; NULL = no limit by the week */
	int64_t seconds;         /* for session_open(); 0 = no limit */
	int64_t retry_seconds;   /* when refused: asking sooner is no use */
};

/*
 * Only inside a transaction.  Brings the account's ledger to the present, and
 * grants the least of: what was asked, the provider's session less its margin,
 * what the week has left, what the month's budget has left.
 *
 * ERR_QUOTA, with a sentence that tells when it will be possible, and reason
 * "capacity" (too many sessions at once), "quota" (the hours are used up or
 * reserved), either also while the account cools down (domain/cooldown.h), or
 * "budget" (so is what the account may cost a month): less than the provider's min_session_seconds is left, unless less
 * was asked for anyway.  ret->retry_seconds is set, nothing is reserved, and the
 * transaction may go on and commit.
 * ERR_INVALID "accelerator": the provider has none of this name, or no longer.
 * ERR_NOT_FOUND: no such account.
 */
enum err quota_reserve(struct db *db, struct arena *a, const struct quota_ask *ask, struct quota_grant *ret, struct error *e) must_check;

/* In the same transaction.  ERR_QUOTA with a reason as above when the database
 * refuses: the transaction is lost then.  Sets session.resource. */
enum err quota_attach(struct db *db, const struct quota_grant *g, int64_t session, struct error *e) must_check;

/* ---- afterwards ----------------------------------------------------------- */

/* Brings an account's ledger to the present: settles what has ended (*count),
 * counts what runs, carries over a week's turn. */
enum err quota_settle(struct db *db, int64_t account, int *count, struct error *e) must_check;

/* Takes over the monthly budget that the account's owner has set, where it has changed: live sessions
 * that it no longer covers are cut as by quota_tell().  *cut is the number of those; *changed: it had. */
enum err quota_budget(struct db *db, int64_t account, int *cut, bool *changed, struct error *e) must_check;

/* Housekeeping: the same for up to `most` accounts that need it, each in a
 * transaction of its own.  Call it again at once while it returns `most` in
 * *accounts. */
enum err quota_settle_due(struct db *db, int most, int *accounts, struct error *e) must_check;

/* ---- what the provider says ----------------------------------------------- */

/* Of one resource; -1 = it does not say. */
struct quota_told {
	const char *resource;
	int64_t used_seconds, reserved_seconds, limit_seconds;
	int64_t resets_at;       /* Unix seconds */
};

/*
 * Takes over a provider's figures.  Its limit and reset replace ours; of what
 * is used, the higher figure wins.  What it holds reserved beyond our own is
 * left free by later grants.  Where the week's promise would break, the grants
 * of live sessions are cut, the latest first: their limit and deadline come
 * sooner (now, for one that has used its part), and a decision says why.
 * *cut is the number of those; the caller wakes their agents (a "drain" is not
 * needed: each heartbeat's answer has the new deadline).
 *
 * A resource is passed over, as if nothing were told of it, and the others are
 * taken: when it has no row in provider_limit; when a figure is beyond reason
 * (negative, over a year, a reset after 2106), which a line in the log tells;
 * when its reset is past or belongs to the week after ours, that is, its clock
 * and ours disagree about the week.
 */
enum err quota_tell(struct db *db, int64_t account, const struct quota_told *items, size_t n, int *cut, struct error *e) must_check;

/* ---- for people ----------------------------------------------------------- */

/* Adds to list one document an account with limits ({id, provider, label, ownerId,
 * owner, resources: [{figures, sessionSeconds, told, forecast, concurrent, coolDown}]}; forecast =
 * {earliest, latest} when the hours run out, see domain/forecast.h), in the order of ids; one
 * account, or all (0) that the principal may see, above `after`, `limit` at most. */
enum err quota_list(struct db *db, const struct principal *p, int64_t account, int64_t after, int64_t limit, struct json *list,
		    struct error *e) must_check;

/* The figures of one resource, which a notebook shows too, from columns named as in the view quota_now. */
void quota_put_figures(struct json *j, const struct rows *r, int i);

#endif
