/* What people want of workers; see worker.h. */
#include "domain/worker.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "domain/account.h"
#include "domain/inputs.h"
#include "domain/policy.h"
#include "domain/remote_name.h"

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

/* A stand-in's. */
static bool base_is_loopback(const char *driver, const struct config *config)
{
	char host[256];
	bool https;

	const struct {
		const char *driver, *url;
	} bases[] = {
		{"kaggle", config->kaggle_url}, {"colab", config->colab_url}, {"colab-api", config->colab_api_url},
		{"colab-browser", config->colab_url}, {"colab-enterprise", config->vertex_url},
	};

	for (size_t i = 0; i < ARRAY_LEN(bases); i++)
		if (!strcmp(driver, bases[i].driver))
			return bases[i].url && host_of(bases[i].url, host, &https) && host_loopback(host);
	return false;
}

enum err worker_reachable(const char *driver, const struct config *config, struct error *e)
{
	char host[256];
	bool https;

	if (!strcmp(driver, "local") || base_is_loopback(driver, config))
		return OK;
	if (host_of(config->public_url, host, &https)) {
		if (https && host_public(host))
			return OK;
		if (!strcmp(driver, "manual") && host_loopback(host))
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

/* One that goes with its last notebook gets no other. */
static enum err find_account(struct db *db, const struct principal *p, const struct worker_new *n, int64_t *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_WORKER_ACCOUNT_FIND,
			      ARGS(arg_cstr(n->provider), arg_i64(p->user_id), arg_all(p), arg_opt_i64(n->account_id, n->account_id)),
			      &rows, e);

	*ret = rows_count(&rows) ? row_i64(&rows, 0, "id") : 0;
	if (!err && *ret && row_bool(&rows, 0, "deleting"))
		return error_field(e, ERR_CONFLICT, "accountId", "The account is being deleted: it takes no more notebooks.");
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

static enum err account_of(struct db *db, struct arena *a, const struct principal *p, const struct worker_new *n,
			   const struct policy_grant *policy, int64_t *ret, struct error *e)
{
	enum err err;

	if (n->credentials && n->account_id)
		return error_field(e, ERR_INVALID, "credentials", "are those of your own account; give them or accountId, not both");
	if (n->credentials)
		return account_put(db, a, p, n->provider, n->credentials, ret, e);
	err = find_account(db, p, n, ret, e);
	if (err || *ret)
		return err;
	if (n->account_id)
		return error_field(e, ERR_INVALID, "accountId", "You have no such account at this provider.");
	if (!policy->implicit)
		return error_field(e, ERR_INVALID, "accountId", "You have no account at this provider yet: add one, or send its credentials.");
	return make_account(db, p, n, ret, e);
}

/* Whether this server offers the way at all. */
static enum err way_offered(const char *driver, const struct config *config, struct error *e)
{
	if (strcmp(driver, "colab-browser") || config->colab_browser)
		return OK;
	error_field(e, ERR_CONFLICT, "start",
		    "The browser way is switched off on this server: it operates Colab's page for you, the least certain way and the "
		    "nearest to what Colab's terms forbid. An administrator may allow it (GPUPOOL_COLAB_BROWSER=1).");
	if (e)
		e->reason = "colab_browser";
	return ERR_CONFLICT;
}

const char worker_unattested[] =
	"Colab allows workers of a pool only with a positive balance of compute units, which it shows to the account's owner alone: attest "
	"it on the account's page (or computeUnits: true) first.";

/* Whether the account has what this way needs. */
static enum err way_fits(struct db *db, const struct policy_grant *policy, int64_t account, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	bool api = !strcmp(policy->driver, "colab-api"), browser = !strcmp(policy->driver, "colab-browser");
	enum err err = api || browser ? db_run(db, STMT_WORKER_ACCOUNT_WAY, ARGS(arg_i64(account)), &rows, e) : OK;

	if (err || !(api || browser))
		return err;
	if (!rows_count(&rows))
		return error_field(e, ERR_INVALID, "accountId", "You have no such account at this provider.");
	if (api && !row_bool(&rows, 0, "sealed"))
		return error_field(e, ERR_INVALID, "accountId", "This way needs your OAuth client: give the account clientId and clientSecret, then consent.");
	if (api && !row_bool(&rows, 0, "paid")) {
		error_field(e, ERR_CONFLICT, "accountId", "%s", worker_unattested);
		if (e)
			e->reason = "compute_units";
		return ERR_CONFLICT;
	}
	if (browser && !str_eqz(row_str(&rows, 0, "start"), "browser"))
		return error_field(e, ERR_INVALID, "accountId", "This way needs to know whose account it is: give the account its e-mail address.");
	return OK;
}

static enum err read_inputs(const struct policy_grant *policy, const struct json *sent, struct buf *ret, struct error *e)
{
	if (sent && !policy->named && json_len(sent))
		return error_field(e, ERR_INVALID, "inputs", "This provider has nothing that could be named here.");
	return sent && policy->named ? inputs_read(sent, ret, e) : OK;
}

static struct arg arg_inputs(const struct buf *inputs)
{
	return inputs->len ? arg_buf(inputs) : arg_null();
}

static enum err make_name(const struct policy_grant *policy, const char *title, char name[REMOTE_NAME_SIZE], struct error *e)
{
	name[0] = '\0';
	if (policy->named && !remote_name_make(title, name))
		return error_field(e, ERR_INVALID, "title", "must hold a letter or digit that can be in an address: a to z, 0 to 9");
	return OK;
}

/* What the table takes at least; 0 = never. */
static struct arg arg_idle_default(const struct config *config)
{
	int64_t seconds = config->idle_stop_seconds;

	return arg_opt_i64(seconds < WORKER_SECONDS_MIN ? WORKER_SECONDS_MIN : seconds, seconds > 0);
}

static enum err insert(struct db *db, const struct principal *p, const struct worker_new *n, const struct policy_grant *policy,
		       const struct config *config, int64_t account, const struct buf *inputs, const char *name, int64_t *id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_WORKER_CREATE,
			      ARGS(arg_i64(p->user_id), arg_i64(account), arg_cstr(n->provider), arg_cstr(n->title),
				   arg_cstr(policy->accelerator), arg_cstr(n->email), arg_cstr(n->start ? "running" : "stopped"),
				   arg_opt_i64(n->max_session_seconds, n->max_session_seconds),
				   arg_opt_i64(n->idle_stop_seconds, n->idle_stop_seconds), arg_cstr(name[0] ? name : NULL), arg_inputs(inputs),
				   arg_bool(n->set_idle), arg_idle_default(config), arg_cstr(policy->start)),
			      &rows, e);

	if (err == ERR_CONFLICT && !strcmp(db_constraint(db), "worker_remote_name"))
		return error_field(e, ERR_CONFLICT, "title", "Another notebook of this account is called %s there; choose another title.", name);
	if (!err)
		*id = row_i64(&rows, 0, "id");
	return err;
}

enum err worker_create(struct db *db, struct arena *a, const struct principal *p, const struct worker_new *n,
		       const struct config *config, int64_t *id, struct error *e)
{
	const struct policy_ask ask = {.provider = n->provider, .start = n->way, .accelerator = n->accelerator,
				       .max_session_seconds = n->max_session_seconds, .check_accelerator = true};
	cleanup_buf struct buf inputs = BUF_INIT(64 << 10);
	char name[REMOTE_NAME_SIZE];
	struct policy_grant policy;
	int64_t account;
	enum err err = policy_check(db, &ask, &policy, e);

	if (!err)
		err = way_offered(policy.driver, config, e);
	if (!err)
		err = make_name(&policy, n->title, name, e);
	if (!err)
		err = read_inputs(&policy, n->inputs, &inputs, e);
	if (!err)
		err = account_of(db, a, p, n, &policy, &account, e);
	if (!err)
		err = way_fits(db, &policy, account, e);
	if (!err)
		err = worker_reachable(policy.driver, config, e);
	return err ? err : insert(db, p, n, &policy, config, account, &inputs, name, id, e);
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

/* What its provider's rows say to it; *accelerator becomes the provider's spelling. */
static enum err check_change(struct db *db, const struct principal *p, int64_t id, const struct worker_change *c,
			     const struct config *config, struct policy_grant *policy, struct buf *inputs, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	struct policy_ask ask = {.max_session_seconds = c->set_max ? c->max_session_seconds : 0, .check_accelerator = c->accelerator};
	enum err err = worker_get(db, p, id, &rows, e);

	if (!err && !row_bool(&rows, 0, "own"))
		err = no_such_worker(e);
	if (err)
		return err;
	ask.provider = row_cstr(&rows, 0, "provider");
	ask.accelerator = c->accelerator ? c->accelerator : row_cstr(&rows, 0, "accelerator");
	ask.start = row_null(&rows, 0, "start") ? NULL : row_cstr(&rows, 0, "start");
	if (c->desired && !strcmp(c->desired, "running")) {
		err = way_offered(row_cstr(&rows, 0, "driver"), config, e);
		if (!err)
			err = worker_reachable(row_cstr(&rows, 0, "driver"), config, e);
	}
	if (!err)
		err = policy_check(db, &ask, policy, e);
	return err ? err : read_inputs(policy, c->inputs, inputs, e);
}

enum err worker_change(struct db *db, const struct principal *p, int64_t id, const struct worker_change *c,
		       const struct config *config, struct worker_changed *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_buf struct buf inputs = BUF_INIT(64 << 10);
	struct policy_grant policy = {0};
	bool starts = c->desired && !strcmp(c->desired, "running");
	enum err err = id_possible(id) ? OK : no_such_worker(e);

	if (!err && (starts || c->accelerator || c->set_max || c->inputs))
		err = check_change(db, p, id, c, config, &policy, &inputs, e);
	if (!err && c->set_max && c->max_session_seconds)
		err = db_run(db, STMT_WORKER_SHORTEN, ARGS(arg_i64(p->user_id), arg_all(p), arg_i64(id), arg_i64(c->max_session_seconds)), NULL, e);
	if (err)
		return err;
	err = db_run(db, STMT_WORKER_CHANGE,
		     ARGS(arg_i64(p->user_id), arg_all(p), arg_i64(id), arg_opt_i64(c->version, c->version), arg_cstr(c->title),
			  arg_cstr(c->accelerator ? policy.accelerator : NULL), arg_cstr(c->desired), arg_bool(c->set_max),
			  arg_opt_i64(c->max_session_seconds, c->max_session_seconds), arg_bool(c->set_idle),
			  arg_opt_i64(c->idle_stop_seconds, c->idle_stop_seconds), arg_inputs(&inputs)),
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

enum err worker_notebook(struct db *db, const struct principal *p, int64_t id, const uint8_t hash[32], struct rows *ret,
			 struct error *e)
{
	enum err err;

	if (!id_possible(id))
		return no_such_worker(e);
	err = db_run(db, STMT_WORKER_NOTEBOOK, ARGS(arg_i64(p->user_id), arg_all(p), arg_i64(id), arg_bytes(hash, 32)), ret, e);
	if (err)
		return err;
	if (!rows_count(ret))
		return no_such_worker(e);
	if (!row_bool(ret, 0, "assisted"))
		return error_set(e, ERR_CONFLICT, "Only a worker whose notebook you open yourself (Colab, assisted) has one to download.");
	if (row_null(ret, 0, "until"))
		return error_set(e, ERR_CONFLICT, "It waits for no one to run its notebook: start it first, or it runs already.");
	return OK;
}
