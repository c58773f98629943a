/*
 * conn - what the synchronous and the asynchronous connection share: settings
 * of a session, binding of arguments, and the meaning of an SQLSTATE.
 * Private to the db layer.
 */
#ifndef DB_CONN_H
#define DB_CONN_H

#include <libpq-fe.h>

#include "db/db.h"

struct bound {
	const char *values[STMT_MAX_PARAMS];
	int lengths[STMT_MAX_PARAMS];
	int formats[STMT_MAX_PARAMS];
};

/* Borrows from args. */
void conn_bind(struct bound *b, const struct arg *args, int n);
/* Keywords and values for PQconnectStartParams: the conninfo expanded, plus
 * application name and time limits.  Static strings and borrowed ones. */
struct conn_params {
	const char *keys[8], *values[8];
};
void conn_params(struct conn_params *p, const struct db_options *o);
/* SET statements for a new session, as one simple query, into buf. */
void conn_setup_sql(const struct db_options *o, struct buf *sql);
/* Fills e from a result's or the connection's error; logs it once. */
enum err conn_error(const char *what, const PGconn *c, const PGresult *r, struct error *e);
/* Drops libpq's notices: our own log says what matters. */
void conn_quiet(void *arg, const PGresult *r);

#endif
