/* One synchronous connection; see db.h. */
#include "db/db.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/conn.h"

struct db {
	struct db_options o;
	char *conninfo, *application, *listening;
	PGconn *conn;
	bool prepared[STMT_COUNT];
	bool in_tx;
	struct backoff backoff;
	int64_t next_connect_ms, spent_us;
	char constraint[64];
};

enum err db_open(const struct db_options *o, struct db **ret)
{
	struct db *db = calloc(1, sizeof(*db));

	if (!db)
		return ERR_INTERNAL;
	db->conninfo = strdup(o->conninfo ? o->conninfo : "");
	db->application = strdup(o->application ? o->application : "gpupool");
	if (!db->conninfo || !db->application) {
		db_close(db);
		return ERR_INTERNAL;
	}
	db->o = *o;
	db->o.conninfo = db->conninfo;
	db->o.application = db->application;
	db->backoff = (struct backoff){.first_ms = 50, .max_ms = 2000};
	*ret = db;
	return OK;
}

static void disconnect(struct db *db)
{
	if (db->conn)
		PQfinish(db->conn);
	db->conn = NULL;
	db->in_tx = false;
	memset(db->prepared, 0, sizeof(db->prepared));
}

void db_close(struct db *db)
{
	disconnect(db);
	free(db->conninfo);
	free(db->application);
	free(db->listening);
	free(db);
}

static enum err simple(struct db *db, const char *sql, struct error *e)
{
	PGresult *r = PQexec(db->conn, sql);
	ExecStatusType s = PQresultStatus(r);
	enum err err = OK;

	if (s != PGRES_COMMAND_OK && s != PGRES_TUPLES_OK)
		err = conn_error("setup", db->conn, r, e);
	PQclear(r);
	return err;
}

static enum err setup(struct db *db, struct error *e)
{
	cleanup_buf struct buf sql = BUF_INIT(4096);

	conn_setup_sql(&db->o, &sql);
	if (db->listening)
		buf_addf(&sql, "listen %s; ", db->listening);
	return simple(db, sql.ptr, e);
}

/* Tries at most as often as the backoff allows: a request never waits for it. */
static enum err ensure(struct db *db, struct error *e)
{
	struct conn_params p;

	if (db->conn && PQstatus(db->conn) == CONNECTION_OK)
		return OK;
	disconnect(db);
	if (clock_ms() < db->next_connect_ms)
		return error_set(e, ERR_UNAVAILABLE, "The database cannot be reached; try again.");
	conn_params(&p, &db->o);
	db->conn = PQconnectdbParams(p.keys, p.values, 1);
	if (!db->conn)
		abort();
	PQsetNoticeReceiver(db->conn, conn_quiet, NULL);
	if (PQstatus(db->conn) != CONNECTION_OK || setup(db, NULL) != OK) {
		log_warn("db.connect", "application=%s error=\"%s\"", db->o.application, PQerrorMessage(db->conn));
		disconnect(db);
		db->next_connect_ms = clock_ms() + backoff_next(&db->backoff);
		return error_set(e, ERR_UNAVAILABLE, "The database cannot be reached; try again.");
	}
	backoff_clear(&db->backoff);
	db->next_connect_ms = 0;
	return OK;
}

void *db_raw(struct db *db)
{
	return ensure(db, NULL) == OK ? db->conn : NULL;
}

static bool lost(const struct db *db)
{
	return PQstatus(db->conn) != CONNECTION_OK;
}

static enum err prepare(struct db *db, enum stmt s, struct error *e)
{
	const struct stmt_info *info = &stmt_table[s];
	PGresult *r;
	enum err err = OK;

	if (db->prepared[s])
		return OK;
	r = PQprepare(db->conn, info->name, info->sql, 0, NULL);
	if (PQresultStatus(r) == PGRES_COMMAND_OK)
		db->prepared[s] = true;
	else
		err = conn_error(info->name, db->conn, r, e);
	PQclear(r);
	return err;
}

static void keep_constraint(struct db *db, const PGresult *r)
{
	const char *name = PQresultErrorField(r, PG_DIAG_CONSTRAINT_NAME);

	snprintf(db->constraint, sizeof(db->constraint), "%s", name ? name : "");
}

static enum err once(struct db *db, enum stmt s, const struct bound *b, int n, struct rows *rows, struct error *e)
{
	const struct stmt_info *info = &stmt_table[s];
	enum err err = prepare(db, s, e);
	PGresult *r;

	if (err)
		return err;
	r = PQexecPrepared(db->conn, info->name, n, b->values, b->lengths, b->formats, 0);
	switch (PQresultStatus(r)) {
	case PGRES_TUPLES_OK:
	case PGRES_COMMAND_OK:
		if (rows)
			rows->result = r;
		else
			PQclear(r);
		return OK;
	default:
		keep_constraint(db, r);
		err = conn_error(info->name, db->conn, r, e);
		PQclear(r);
		return err;
	}
}

enum err db_run(struct db *db, enum stmt s, const struct arg *args, int n, struct rows *rows, struct error *e)
{
	int64_t start = clock_us();
	struct bound b;
	enum err err;

	if (n != stmt_table[s].params)
		BUG("%s takes %d parameters, got %d", stmt_table[s].name, stmt_table[s].params, n);
	if (rows)
		rows_free(rows);
	db->constraint[0] = '\0';
	conn_bind(&b, args, n);
	err = db->in_tx && (!db->conn || lost(db)) ? error_set(e, ERR_UNAVAILABLE, "The database connection was lost; try again.")
						   : ensure(db, e);
	if (!err) {
		err = once(db, s, &b, n, rows, e);
		if (err == ERR_UNAVAILABLE && !db->in_tx) {
			/* libpq learns of the end one read later than the server's last words. */
			disconnect(db);
			if (stmt_table[s].idempotent && ensure(db, e) == OK)
				err = once(db, s, &b, n, rows, e);
		}
	}
	db->spent_us += clock_us() - start;
	return err;
}

const char *db_constraint(const struct db *db)
{
	return db->constraint;
}

int64_t db_take_ms(struct db *db)
{
	int64_t ms = db->spent_us / 1000;

	db->spent_us = 0;
	return ms;
}

enum err db_exec_text(struct db *db, const char *sql, struct rows *rows, struct error *e)
{
	PGresult *r;
	enum err err = ensure(db, e);

	if (err)
		return err;
	r = PQexec(db->conn, sql);
	if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK) {
		const char *state = PQresultErrorField(r, PG_DIAG_SQLSTATE);

		err = conn_error("text", db->conn, r, e);
		if (e)
			snprintf(e->field, sizeof(e->field), "%s", state ? state : "");
		PQclear(r);
		return err;
	}
	if (rows) {
		rows_free(rows);
		rows->result = r;
	} else {
		PQclear(r);
	}
	return OK;
}

/* ---- transactions ---- */

static enum err tx_once(struct db *db, enum err (*fn)(struct db *, void *), void *ctx, bool *again, struct error *e)
{
	PGTransactionStatusType status;
	PGresult *r;
	enum err err = ensure(db, e);

	*again = false;
	if (err || (err = simple(db, "begin", e)))
		return err;
	db->in_tx = true;
	err = fn(db, ctx);
	status = PQtransactionStatus(db->conn);
	if (err || status != PQTRANS_INTRANS) {
		/* Serialization failures and deadlocks leave no constraint name. */
		*again = err == ERR_CONFLICT && status == PQTRANS_INERROR && !db->constraint[0];
		r = PQexec(db->conn, "rollback");
		PQclear(r);
		db->in_tx = false;
		return err ? err : error_set(e, ERR_UNAVAILABLE, "The database connection was lost; try again.");
	}
	r = PQexec(db->conn, "commit");
	db->in_tx = false;
	/* COMMIT of a failed transaction answers ROLLBACK without an error. */
	if (PQresultStatus(r) != PGRES_COMMAND_OK) {
		err = conn_error("commit", db->conn, r, e);
		*again = err == ERR_CONFLICT;
	} else if (strcmp(PQcmdStatus(r), "COMMIT") != 0) {
		err = error_set(e, ERR_INTERNAL, "Something went wrong here.");
	}
	PQclear(r);
	return err;
}

enum err tx_run(struct db *db, enum err (*fn)(struct db *, void *), void *ctx, struct error *e)
{
	enum err err;
	bool again;
	int tries = 0;

	if (db->in_tx)
		return fn(db, ctx);
	do {
		err = tx_once(db, fn, ctx, &again, e);
	} while (again && ++tries < 4);
	return err;
}

/* ---- notifications ---- */

enum err db_listen(struct db *db, const char *channel)
{
	free(db->listening);
	db->listening = strdup(channel);
	if (!db->listening)
		abort();
	if (db->conn && !lost(db))
		return setup(db, NULL);
	return ensure(db, NULL);
}

static bool take_notifies(struct db *db)
{
	PGnotify *n;
	bool any = false;

	if (!PQconsumeInput(db->conn))
		return false;
	while ((n = PQnotifies(db->conn))) {
		PQfreemem(n);
		any = true;
	}
	return any;
}

bool db_wait(struct db *db, int other_fd, int64_t timeout_ms, const void *sigmask)
{
	struct pollfd fds[2] = {{.fd = -1, .events = POLLIN}, {.fd = other_fd, .events = POLLIN}};
	struct timespec ts = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000};

	if (ensure(db, NULL) == OK) {
		fds[0].fd = PQsocket(db->conn);
		if (take_notifies(db))
			return true;
	}
	if (ppoll(fds, 2, &ts, sigmask) <= 0 || !fds[0].revents)
		return false;
	return take_notifies(db);
}

void db_notify(struct db *db, const char *channel, const char *payload)
{
	/* One implicit transaction would need text; a hint is worth two round trips less a flush. */
	if (ensure(db, NULL) != OK || simple(db, "begin; set local synchronous_commit = off", NULL) != OK)
		return;
	db->in_tx = true;
	if (db_run(db, STMT_WAKE, ARGS(arg_cstr(channel), arg_cstr(payload)), NULL, NULL))
		log_debug("db.notify", "channel=%s failed", channel);
	db->in_tx = false;
	(void)!simple(db, "commit", NULL);
}
