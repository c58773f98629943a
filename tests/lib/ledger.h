/*
 * ledger - an account at Kaggle whose clock a test moves, for tests of domain/quota.
 *
 * Time is in seconds after LEDGER_NOON, a Tuesday; the week ends with LEDGER_RESET.
 */
#ifndef TESTS_LEDGER_H
#define TESTS_LEDGER_H

#include "domain/quota.h"
#include "pool.h"

#define LEDGER_NOON "2026-11-24T12:00:00Z"
enum { LEDGER_RESET = 84 * 3600, LEDGER_WEEK = 7 * 86400 };

struct ledger {
	struct pool pool;
	struct arena arena;
	int64_t account;
	struct error e;
};

void ledger_make(struct ledger *l, struct pg *pg);
void ledger_drop(struct ledger *l);

/* The time that the ledger's functions see from now on. */
void ledger_at(struct ledger *l, int64_t seconds);

/* A worker at Kaggle, without a session. */
int64_t ledger_worker(struct ledger *l, const char *accelerator);
/* Its session, not yet reserved; inside a transaction of db. */
int64_t ledger_session(struct db *db, int64_t account, int64_t worker, int64_t seconds);
/* A start as a provisioner makes it, in one transaction on `db`; the error is
 * quota_reserve()'s or quota_attach()'s.  Uses no connection of l. */
enum err ledger_start_of(struct ledger *l, struct db *db, int64_t worker, const char *accelerator, int64_t most, struct quota_grant *g,
			 int64_t *session);
/* The same with a worker of its own. */
enum err ledger_start(struct ledger *l, struct db *db, const char *accelerator, int64_t most, struct quota_grant *g, int64_t *session);
/* The same at l->pool.role, which must work. */
int64_t ledger_started(struct ledger *l, const char *accelerator, int64_t most);
/* Its run was sent, is known at the provider, and registered: all at this time. */
void ledger_runs(struct ledger *l, int64_t session, int64_t at);
/* It ends while its run goes on; then that is over. */
void ledger_leaves(struct ledger *l, int64_t session, int64_t at);
void ledger_over(struct ledger *l, int64_t session, int64_t at);
/* Both at once. */
void ledger_ends(struct ledger *l, int64_t session, int64_t at);
/* Those settled. */
int ledger_settle(struct ledger *l);

/* A figure of the row that ends at `resets`, or of a reservation. */
int64_t ledger_figure(struct ledger *l, const char *resource, int64_t resets, const char *column);
int64_t ledger_reserved(struct ledger *l, int64_t session, const char *column);
/* What must hold whatever happened; "" or what does not. */
const char *ledger_broken(struct ledger *l);

#endif
