/* What people want of workers; see worker.h. */
#include "domain/worker.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/outgoing.h"

/* ---- can it reach us? ----------------------------------------------------- */

/* The host of a URL without brackets, NUL-terminated; false when there is none. */
static bool host_of(const char *url, char host[256], bool *https)
{
	struct str rest = str_of(url);
	size_t n;

	*https = str_starts(rest, "https://");
	if (!*https && !str_starts(rest, "http://"))
		return false;
	url += *https ? 8 : 7;
	if (*url == '[') {
		url++;
		n = strcspn(url, "]");
	} else {
		n = strcspn(url, ":/?#");
	}
	if (!n || n >= 256)
		return false;
	memcpy(host, url, n);
	host[n] = '\0';
	return true;
}

static bool ends_in(const char *host, const char *suffix)
{
	size_t n = strlen(host), m = strlen(suffix);

	return n >= m && str_ieqz((struct str){host + n - m, m}, suffix);
}

static bool v4_loopback(uint32_t a)
{
	return a >> 24 == 127;
}

static bool host_loopback(const char *host)
{
	struct in6_addr six;
	struct in_addr four;

	if (inet_pton(AF_INET, host, &four) == 1)
		return v4_loopback(ntohl(four.s_addr));
	if (inet_pton(AF_INET6, host, &six) == 1)
		return IN6_IS_ADDR_LOOPBACK(&six);
	return str_ieqz(str_of(host), "localhost") || ends_in(host, ".localhost");
}

static bool host_public(const char *host)
{
	static const char *const inner[] = {".local",	   ".localhost", ".internal", ".lan",  ".home",
					    ".home.arpa", ".test",	 ".invalid",  ".example"};
	struct in6_addr six;
	struct in_addr four;

	if (inet_pton(AF_INET, host, &four) == 1)
		return outgoing_v4_public(ntohl(four.s_addr));
	if (inet_pton(AF_INET6, host, &six) == 1)
		return outgoing_v6_public(&six);
	for (size_t i = 0; i < ARRAY_LEN(inner); i++)
		if (ends_in(host, inner[i]))
			return false;
	return strchr(host, '.') != NULL;
}

enum err worker_reachable(const char *provider, const char *public_url, struct error *e)
{
	char host[256];
	bool https;

	if (!strcmp(provider, "local"))
		return OK;
	if (host_of(public_url, host, &https)) {
		if (https && host_public(host))
			return OK;
		if (!strcmp(provider, "manual") && host_loopback(host))
			return OK;
	}
	error_set(e, ERR_CONFLICT, "A worker elsewhere cannot reach this server: GPUPOOL_PUBLIC_URL must be https with a public host.");
	if (e)
		e->reason = "public_url";
	return ERR_CONFLICT;
}

/* ---- create --------------------------------------------------------------- */

static struct arg arg_all(const struct principal *p)
{
	return arg_bool(principal_sees_all(p));
}

static enum err find_account(struct db *db, const struct principal *p, const struct worker_new *n, int64_t *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_WORKER_ACCOUNT_FIND,
			      ARGS(arg_cstr(n->provider), arg_i64(p->user_id), arg_all(p), arg_opt_i64(n->account_id, n->account_id)),
			      &rows, e);

	*ret = rows_count(&rows) ? row_i64(&rows, 0, "id") : 0;
	return err;
}

/* Makes the account that the provider implies unless another was faster. */
static enum err make_account(struct db *db, const struct principal *p, const struct worker_new *n, int64_t *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_WORKER_ACCOUNT_LOCK, ARGS(arg_cstr(n->provider)), NULL, e);

	if (!err)
		err = find_account(db, p, n, ret, e);
	if (err || *ret)
		return err;
	err = db_run(db, STMT_WORKER_ACCOUNT_MAKE, ARGS(arg_cstr(n->provider), arg_i64(p->user_id)), &rows, e);
	*ret = rows_count(&rows) ? row_i64(&rows, 0, "id") : 0;
	return err;
}

static enum err account_of(struct db *db, const struct principal *p, const struct worker_new *n, int64_t *ret, struct error *e)
{
	cleanup_rows struct rows policy = {0};
	enum err err = db_run(db, STMT_WORKER_POLICY, ARGS(arg_cstr(n->provider)), &policy, e);

	if (err)
		return err;
	if (!rows_count(&policy))
		return error_field(e, ERR_INVALID, "provider", "This server knows no provider of this name.");
	err = find_account(db, p, n, ret, e);
	if (err || *ret)
		return err;
	if (n->account_id)
		return error_field(e, ERR_INVALID, "accountId", "You have no such account at this provider.");
	if (!row_bool(&policy, 0, "implicit"))
		return error_field(e, ERR_INVALID, "accountId", "Name the account that is to be used.");
	return make_account(db, p, n, ret, e);
}

enum err worker_create(struct db *db, const struct principal *p, const struct worker_new *n, const char *public_url,
		       int64_t *id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	int64_t account;
	enum err err = account_of(db, p, n, &account, e);

	if (!err)
		err = worker_reachable(n->provider, public_url, e);
	if (err)
		return err;
	err = db_run(db, STMT_WORKER_CREATE,
		     ARGS(arg_i64(p->user_id), arg_i64(account), arg_cstr(n->provider), arg_cstr(n->title), arg_cstr(n->accelerator),
			  arg_cstr(n->email), arg_cstr(n->start ? "running" : "stopped"),
			  arg_opt_i64(n->max_session_seconds, n->max_session_seconds), arg_opt_i64(n->idle_stop_seconds, n->idle_stop_seconds)),
		     &rows, e);
	if (!err)
		*id = row_i64(&rows, 0, "id");
	return err;
}

/* ---- see ------------------------------------------------------------------ */

static enum err no_such_worker(struct error *e)
{
	return error_set(e, ERR_NOT_FOUND, "There is no such notebook.");
}

static struct arg arg_pool(const struct principal *p)
{
	return arg_bool(p->role >= ROLE_OPERATOR);
}

enum err worker_list(struct db *db, const struct principal *p, const struct worker_filter *f, struct rows *ret, struct error *e)
{
	return db_run(db, STMT_WORKER_PAGE,
		      ARGS(arg_i64(p->user_id), arg_all(p), arg_pool(p), arg_i64(f->above), arg_i64(f->limit), arg_cstr(f->provider),
			   arg_cstr(f->state)),
		      ret, e);
}

/* Ids of workers are int4: what is beyond is nobody's. */
static bool id_possible(int64_t id)
{
	return id > 0 && id <= INT32_MAX;
}

enum err worker_get(struct db *db, const struct principal *p, int64_t id, struct rows *ret, struct error *e)
{
	const struct worker_filter one = {.above = id - 1, .limit = 1};
	enum err err = id_possible(id) ? worker_list(db, p, &one, ret, e) : no_such_worker(e);

	if (err)
		return err;
	return rows_count(ret) && row_i64(ret, 0, "id") == id ? OK : no_such_worker(e);
}

enum err worker_sessions(struct db *db, const struct principal *p, int64_t id, int64_t below, int limit, struct rows *ret,
			 struct error *e)
{
	enum err err;

	if (!id_possible(id))
		return no_such_worker(e);
	err = db_run(db, STMT_WORKER_SESSIONS,
		     ARGS(arg_i64(p->user_id), arg_all(p), arg_pool(p), arg_i64(id), arg_i64(below ? below : INT64_MAX), arg_i64(limit)),
		     ret, e);
	return err ? err : rows_count(ret) ? OK : no_such_worker(e);
}

/* ---- change --------------------------------------------------------------- */

/* Why nothing was done, or OK when there was nothing to do. */
static enum err why_not(const struct rows *r, const struct worker_change *c, struct error *e)
{
	if (str_eqz(row_str(r, 0, "desired"), "deleted"))
		return c->desired && !strcmp(c->desired, "deleted") ? OK : error_set(e, ERR_CONFLICT, "The notebook is being deleted.");
	if (c->version && c->version != row_i64(r, 0, "version"))
		return error_set(e, ERR_PRECONDITION, "The notebook was changed in the meantime; read it again.");
	if (row_bool(r, 0, "longer"))
		return error_field(e, ERR_INVALID, "maxSessionSeconds", "The time of a running session can only be lowered.");
	return OK;
}

static enum err check_start(struct db *db, const struct principal *p, int64_t id, const char *public_url, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = worker_get(db, p, id, &rows, e);

	if (err)
		return err;
	return row_bool(&rows, 0, "own") ? worker_reachable(row_cstr(&rows, 0, "provider"), public_url, e) : no_such_worker(e);
}

enum err worker_change(struct db *db, const struct principal *p, int64_t id, const struct worker_change *c,
		       const char *public_url, struct worker_changed *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = id_possible(id) ? OK : no_such_worker(e);

	if (!err && c->desired && !strcmp(c->desired, "running"))
		err = check_start(db, p, id, public_url, e);
	if (!err && c->set_max && c->max_session_seconds)
		err = db_run(db, STMT_WORKER_SHORTEN, ARGS(arg_i64(p->user_id), arg_all(p), arg_i64(id), arg_i64(c->max_session_seconds)), NULL, e);
	if (err)
		return err;
	err = db_run(db, STMT_WORKER_CHANGE,
		     ARGS(arg_i64(p->user_id), arg_all(p), arg_i64(id), arg_opt_i64(c->version, c->version), arg_cstr(c->title),
			  arg_cstr(c->accelerator), arg_cstr(c->desired), arg_bool(c->set_max),
			  arg_opt_i64(c->max_session_seconds, c->max_session_seconds), arg_bool(c->set_idle),
			  arg_opt_i64(c->idle_stop_seconds, c->idle_stop_seconds)),
		     &rows, e);
	if (err)
		return err;
	if (!rows_count(&rows))
		return no_such_worker(e);
	snprintf(ret->provider, sizeof(ret->provider), "%s", row_cstr(&rows, 0, "provider"));
	ret->done = row_bool(&rows, 0, "done");
	ret->turned = row_bool(&rows, 0, "turned");
	return ret->done ? OK : why_not(&rows, c, e);
}

enum err worker_enrol(struct db *db, const struct principal *p, int64_t id, const uint8_t hash[32], struct rows *ret,
		      struct error *e)
{
	enum err err;

	if (!id_possible(id))
		return no_such_worker(e);
	err = db_run(db, STMT_WORKER_ENROL, ARGS(arg_i64(p->user_id), arg_all(p), arg_i64(id), arg_bytes(hash, 32)), ret, e);
	if (err)
		return err;
	if (!rows_count(ret))
		return no_such_worker(e);
	if (row_null(ret, 0, "until"))
		return error_set(e, ERR_CONFLICT, "The notebook does not wait for a worker that is started by hand.");
	return OK;
}
