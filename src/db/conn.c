/* Shared by the synchronous and the asynchronous connection; see conn.h. */
#include "db/conn.h"

#include <string.h>

#include "base/log.h"

void conn_bind(struct bound *b, const struct arg *args, int n)
{
	if (n > STMT_MAX_PARAMS)
		BUG("%d arguments", n);
	for (int i = 0; i < n; i++) {
		const struct arg *a = &args[i];

		b->formats[i] = a->kind == ARG_BYTES;
		b->lengths[i] = (int)a->text.len;
		switch (a->kind) {
		case ARG_NULL:
			b->values[i] = NULL;
			break;
		case ARG_NUMBER:
			b->values[i] = a->number;
			break;
		case ARG_TEXT:
		case ARG_BYTES:
			b->values[i] = a->text.ptr;
			break;
		}
	}
}

void conn_params(struct conn_params *p, const struct db_options *o)
{
	*p = (struct conn_params){
		.keys = {"dbname", "fallback_application_name", "application_name", "client_encoding", "connect_timeout",
			 "keepalives_idle", NULL},
		.values = {o->conninfo, "gpupool", o->application, "UTF8", "5", "30", NULL},
	};
}

/*
 * The queue's planner settings keep the plans of the set statements from
 * turning their joins round when a table was seen empty; the search path names
 * one schema only, so no statement can be misled by another.
 */
void conn_setup_sql(const struct db_options *o, struct buf *sql)
{
	int ms = o->statement_timeout_ms ? o->statement_timeout_ms : 10000;

	buf_adds(sql, "set search_path = gpupool, pg_temp; set timezone = 'UTC'; set datestyle = 'ISO'; "
		      "set bytea_output = 'hex'; set intervalstyle = 'postgres'; "
		      "set idle_in_transaction_session_timeout = '15s'; set client_min_messages = warning; ");
	if (ms > 0)
		buf_addf(sql, "set statement_timeout = %d; set lock_timeout = %d; ", ms, ms);
	if (o->queue)
		buf_adds(sql, "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_hashjoin = off; "
			      "set enable_mergejoin = off; set enable_bitmapscan = off; set jit = off; ");
}

struct sqlstate_rule {
	const char *prefix;
	enum err err;
	const char *msg;
};

/* Longest prefixes first. */
static const struct sqlstate_rule sqlstate_rules[] = {
	{"23505", ERR_CONFLICT, "This already exists."},
	{"23P01", ERR_CONFLICT, "This overlaps with something that exists."},
	{"23503", ERR_CONFLICT, "Something that it refers to is missing or still in use."},
	{"23", ERR_INVALID, "A value is outside what is allowed."},
	{"22", ERR_INVALID, "A value is malformed."},
	{"40", ERR_CONFLICT, "Another change came first; try again."},
	{"55P03", ERR_TIMEOUT, "The database is busy; try again."},
	{"57014", ERR_TIMEOUT, "The database took too long; try again."},
	{"57P", ERR_UNAVAILABLE, "The database is restarting; try again."},
	{"53", ERR_UNAVAILABLE, "The database has no room for this now; try again."},
	{"08", ERR_UNAVAILABLE, "The database cannot be reached; try again."},
	{"25006", ERR_UNAVAILABLE, "The database is read-only now; try again."},
	{"25P03", ERR_UNAVAILABLE, "The database connection was lost; try again."},
};

static const struct sqlstate_rule *rule_of(const char *sqlstate)
{
	for (size_t i = 0; sqlstate && i < ARRAY_LEN(sqlstate_rules); i++)
		if (!strncmp(sqlstate, sqlstate_rules[i].prefix, strlen(sqlstate_rules[i].prefix)))
			return &sqlstate_rules[i];
	return NULL;
}

enum err conn_error(const char *what, const PGconn *c, const PGresult *r, struct error *e)
{
	const char *state = r ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
	const char *primary = r ? PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const struct sqlstate_rule *rule = rule_of(state);

	if (!rule && (!c || PQstatus(c) == CONNECTION_BAD || !state)) {
		log_warn("db.lost", "at=%s", what);
		return error_set(e, ERR_UNAVAILABLE, "The database cannot be reached; try again.");
	}
	if (rule && (rule->err == ERR_CONFLICT || rule->err == ERR_INVALID)) {
		log_debug("db.refused", "statement=%s sqlstate=%s", what, state);
		return error_set(e, rule->err, "%s", rule->msg);
	}
	/* The primary message names objects, not values, in these classes. */
	log_error("db.error", "statement=%s sqlstate=%s message=\"%s\"", what, state, primary ? primary : "");
	if (rule)
		return error_set(e, rule->err, "%s", rule->msg);
	return error_set(e, ERR_INTERNAL, "Something went wrong here.");
}

void conn_quiet(void *arg, const PGresult *r)
{
	(void)arg;
	(void)r;
}
