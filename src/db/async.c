/*
 * A connection for an event loop; see async.h.
 *
 * States: DOWN (waits for its timer) → CONNECTING → SETUP (session settings and
 * LISTEN as one simple query) → IDLE ⇄ PREPARING → RUNNING.
 */
#include "db/async.h"

#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/conn.h"

enum state { DOWN, CONNECTING, SETUP, IDLE, PREPARING, RUNNING };

struct adb {
	struct db_options o;
	char *conninfo, *application;
	const char *const *channels;
	adb_notified *notified;
	void *notified_ctx;
	void (*change)(void *, bool);
	void *change_ctx;

	PGconn *conn;
	enum state state;
	short events;
	struct backoff backoff;
	int64_t timer;
	bool prepared[STMT_COUNT];

	/* the statement in flight */
	enum stmt stmt;
	adb_done *done;
	void *ctx;
	struct arg args[STMT_MAX_PARAMS];
	int n;
	struct arena arena; /* its arguments' bytes */
	struct rows rows;
	enum err err;
	struct error error;
};

enum { CONNECT_MS = 5000, ARGS_LIMIT = 64 << 20 };

enum err adb_open(const struct db_options *o, struct adb **ret)
{
	struct adb *a = calloc(1, sizeof(*a));

	if (!a)
		return ERR_INTERNAL;
	a->conninfo = strdup(o->conninfo);
	a->application = strdup(o->application ? o->application : "gpupool");
	if (!a->conninfo || !a->application) {
		adb_close(a);
		return ERR_INTERNAL;
	}
	a->o = *o;
	a->o.conninfo = a->conninfo;
	a->o.application = a->application;
	a->backoff = (struct backoff){.first_ms = 50, .max_ms = 2000};
	a->timer = clock_ms();
	arena_init(&a->arena, ARGS_LIMIT);
	*ret = a;
	return OK;
}

void adb_close(struct adb *a)
{
	if (a->conn)
		PQfinish(a->conn);
	rows_free(&a->rows);
	arena_free(&a->arena);
	free(a->conninfo);
	free(a->application);
	free(a);
}

void adb_listen(struct adb *a, const char *const *channels, adb_notified *cb, void *ctx)
{
	a->channels = channels;
	a->notified = cb;
	a->notified_ctx = ctx;
}

void adb_on_change(struct adb *a, void (*cb)(void *ctx, bool up), void *ctx)
{
	a->change = cb;
	a->change_ctx = ctx;
}

bool adb_idle(const struct adb *a)
{
	return a->state == IDLE;
}

bool adb_connected(const struct adb *a)
{
	return a->state >= IDLE;
}

int adb_fd(const struct adb *a)
{
	return a->conn ? PQsocket(a->conn) : -1;
}

short adb_events(const struct adb *a)
{
	return a->events;
}

int64_t adb_timer(const struct adb *a)
{
	return a->timer;
}

/* Ends the statement in flight; its callback may send the next one. */
static void finish(struct adb *a, enum err err)
{
	adb_done *done = a->done;
	struct rows rows = a->rows;

	a->done = NULL;
	a->rows = (struct rows){0};
	arena_reset(&a->arena);
	if (done)
		done(a->ctx, err, &rows, &a->error);
	rows_free(&rows);
}

static void drop(struct adb *a)
{
	bool was_up = a->state >= IDLE;
	bool in_flight = a->state == PREPARING || a->state == RUNNING;

	if (a->state == CONNECTING || a->state == SETUP)
		log_warn("db.connect", "application=%s error=\"%s\"", a->o.application, a->conn ? PQerrorMessage(a->conn) : "");
	else
		log_warn("db.lost", "application=%s", a->o.application);
	if (a->conn)
		PQfinish(a->conn);
	a->conn = NULL;
	a->events = 0;
	a->state = DOWN;
	a->timer = clock_ms() + backoff_next(&a->backoff);
	memset(a->prepared, 0, sizeof(a->prepared));
	if (in_flight) {
		error_set(&a->error, ERR_UNAVAILABLE, "The database cannot be reached; try again.");
		rows_free(&a->rows);
		finish(a, ERR_UNAVAILABLE);
	}
	if (was_up && a->change)
		a->change(a->change_ctx, false);
}

static void start_connect(struct adb *a)
{
	struct conn_params p;

	conn_params(&p, &a->o);
	a->conn = PQconnectStartParams(p.keys, p.values, 1);
	if (!a->conn)
		abort();
	a->state = CONNECTING;
	a->timer = clock_ms() + CONNECT_MS;
	if (PQstatus(a->conn) == CONNECTION_BAD) {
		drop(a);
		return;
	}
	PQsetNoticeReceiver(a->conn, conn_quiet, NULL);
	a->events = POLLOUT;
}

static void flush(struct adb *a)
{
	int left = PQflush(a->conn);

	if (left < 0)
		drop(a);
	else
		a->events = (short)(POLLIN | (left ? POLLOUT : 0));
}

static void start_setup(struct adb *a)
{
	cleanup_buf struct buf sql = BUF_INIT(4096);

	conn_setup_sql(&a->o, &sql);
	for (const char *const *c = a->channels; c && *c; c++)
		buf_addf(&sql, "listen %s; ", *c);
	a->state = SETUP;
	a->err = OK;
	if (PQsetnonblocking(a->conn, 1) || !PQsendQuery(a->conn, sql.ptr))
		drop(a);
	else
		flush(a);
}

static void turn_connecting(struct adb *a)
{
	switch (PQconnectPoll(a->conn)) {
	case PGRES_POLLING_READING:
		a->events = POLLIN;
		break;
	case PGRES_POLLING_WRITING:
		a->events = POLLOUT;
		break;
	case PGRES_POLLING_OK:
		start_setup(a);
		break;
	default:
		drop(a);
	}
}

static void send_stmt(struct adb *a)
{
	const struct stmt_info *info = &stmt_table[a->stmt];
	struct bound b;
	int ok;

	if (!a->prepared[a->stmt]) {
		a->state = PREPARING;
		ok = PQsendPrepare(a->conn, info->name, info->sql, 0, NULL);
	} else {
		a->state = RUNNING;
		conn_bind(&b, a->args, a->n);
		ok = PQsendQueryPrepared(a->conn, info->name, a->n, b.values, b.lengths, b.formats, 0);
	}
	if (!ok)
		drop(a);
	else
		flush(a);
}

static bool keep_args(struct adb *a, const struct arg *args, int n)
{
	arena_reset(&a->arena);
	for (int i = 0; i < n; i++) {
		a->args[i] = args[i];
		if (args[i].kind != ARG_TEXT && args[i].kind != ARG_BYTES)
			continue;
		a->args[i].text = arena_str(&a->arena, args[i].text);
		if (!a->args[i].text.ptr)
			return false;
	}
	a->n = n;
	return true;
}

bool adb_send(struct adb *a, enum stmt s, const struct arg *args, int n, adb_done *done, void *ctx)
{
	if (n != stmt_table[s].params)
		BUG("%s takes %d parameters, got %d", stmt_table[s].name, stmt_table[s].params, n);
	if (a->state != IDLE || !keep_args(a, args, n))
		return false;
	a->stmt = s;
	a->done = done;
	a->ctx = ctx;
	a->err = OK;
	send_stmt(a);
	return true;
}

/* All results of one query have come. */
static void query_over(struct adb *a)
{
	switch (a->state) {
	case SETUP:
		if (a->err) {
			drop(a);
			return;
		}
		a->state = IDLE;
		a->timer = INT64_MAX;
		backoff_clear(&a->backoff);
		if (a->notified)
			a->notified(a->notified_ctx, "", "");
		if (a->change)
			a->change(a->change_ctx, true);
		return;
	case PREPARING:
		if (!a->err) {
			a->prepared[a->stmt] = true;
			send_stmt(a);
			return;
		}
		break;
	case RUNNING:
		break;
	default:
		return;
	}
	a->state = IDLE;
	finish(a, a->err);
}

static void take_result(struct adb *a, PGresult *r)
{
	ExecStatusType s = PQresultStatus(r);

	if (s == PGRES_TUPLES_OK && a->state == RUNNING && !a->rows.result) {
		a->rows.result = r;
		return;
	}
	if (s != PGRES_COMMAND_OK && s != PGRES_TUPLES_OK)
		a->err = conn_error(a->state == SETUP ? "setup" : stmt_table[a->stmt].name, a->conn, r, &a->error);
	PQclear(r);
}

static void take_notifies(struct adb *a)
{
	PGnotify *n;

	while (a->conn && (n = PQnotifies(a->conn))) {
		if (a->notified)
			a->notified(a->notified_ctx, n->relname, n->extra);
		PQfreemem(n);
	}
}

static void turn_query(struct adb *a)
{
	PGresult *r;

	if (!PQconsumeInput(a->conn) || PQflush(a->conn) < 0) {
		drop(a);
		return;
	}
	while (a->conn && a->state != IDLE && !PQisBusy(a->conn)) {
		r = PQgetResult(a->conn);
		if (r)
			take_result(a, r);
		else
			query_over(a);
		if (a->conn && PQstatus(a->conn) == CONNECTION_BAD)
			break;
	}
	if (!a->conn)
		return;
	if (PQstatus(a->conn) == CONNECTION_BAD) {
		drop(a);
		return;
	}
	take_notifies(a);
	if (a->conn)
		flush(a);
}

void adb_turn(struct adb *a)
{
	switch (a->state) {
	case DOWN:
		if (clock_ms() >= a->timer)
			start_connect(a);
		break;
	case CONNECTING:
	case SETUP:
		if (clock_ms() >= a->timer)
			drop(a);
		else if (a->state == CONNECTING)
			turn_connecting(a);
		else
			turn_query(a);
		break;
	case IDLE:
	case PREPARING:
	case RUNNING:
		turn_query(a);
		break;
	}
}
