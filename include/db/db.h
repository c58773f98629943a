/*
 * db - one connection to PostgreSQL, used synchronously.
 *
 * A process has one (the prefork master none).  It connects when first used
 * and again after a loss; a statement is repeated after a loss only outside a
 * transaction and only when it is marked idempotent, otherwise the caller gets
 * ERR_UNAVAILABLE and its caller a 503 with Retry-After.
 *
 * Statement errors become enum err: unique and exclusion violations are
 * ERR_CONFLICT, other constraints ERR_INVALID, timeouts ERR_TIMEOUT, missing
 * privileges and syntax ERR_INTERNAL.  Logged are the statement's name and the
 * SQLSTATE, never parameters.
 */
#ifndef DB_DB_H
#define DB_DB_H

#include <stdint.h>

#include "base/error.h"
#include "db/stmt.h"

struct db;

struct db_options {
	const char *conninfo;      /* libpq connection string or URI */
	const char *application;   /* application_name */
	int statement_timeout_ms;  /* 0 = 10 s; -1 = none (migrations) */
	bool queue;                /* planner settings of the queue's set statements */
};

enum err db_open(const struct db_options *o, struct db **ret) must_check; /* does not connect yet */
void db_close(struct db *db);
static inline void cleanup_db_(struct db **db)
{
	if (*db)
		db_close(*db);
}
#define cleanup_db __attribute__((cleanup(cleanup_db_)))

/* rows may be NULL when no result is wanted; *rows is freed first. */
enum err db_run(struct db *db, enum stmt s, const struct arg *args, int n, struct rows *rows, struct error *e) must_check;

/* Constraint named by the last ERR_CONFLICT or ERR_INVALID, or "". */
const char *db_constraint(const struct db *db);

/* Milliseconds spent in statements since the last call; for the request's log line. */
int64_t db_take_ms(struct db *db);

/*
 * Runs fn inside a transaction, again (up to 4 times) after a serialization
 * failure or deadlock.  fn returning anything but OK rolls back.  fn must have
 * no effect outside the database.  Inside a transaction it joins that one: an
 * error of fn must then be handed on, for nothing but the whole can be undone.
 */
enum err tx_run(struct db *db, enum err (*fn)(struct db *, void *), void *ctx, struct error *e) must_check;

/* ---- notifications: hints, never the truth ---- */
enum err db_listen(struct db *db, const char *channel) must_check;
/* Waits for a notification, for other_fd (or -1) to become readable, or for the
 * timeout; true when a notification came.  Interrupted by signals that sigmask
 * opens. */
bool db_wait(struct db *db, int other_fd, int64_t timeout_ms, const void *sigmask);
/* After a commit: NOTIFY with synchronous_commit off. */
void db_notify(struct db *db, const char *channel, const char *payload);

/* For code inside the db layer. */
void *db_raw(struct db *db);                       /* PGconn, connected, or NULL */
/* Text of migrations and tests; on failure e->field is the SQLSTATE. */
enum err db_exec_text(struct db *db, const char *sql, struct rows *rows, struct error *e) must_check;

#endif
