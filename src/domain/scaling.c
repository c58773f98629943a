/* Policies and rounds of the autoscaler; see domain/scaling.h. */
#include "domain/scaling.h"

#include <string.h>

#include "base/clock.h"
#include "domain/worker.h"

/* ---- policies ---------------------------------------------------------------- */

struct scaling_policy scaling_policy_default(void)
{
	return (struct scaling_policy){.accelerator = "", .max_workers = 3, .queue_threshold = 5, .target_wait_seconds = 300,
				       .up_delay_seconds = 30, .down_delay_seconds = 300, .idle_stop_seconds = 600};
}

static void read_accounts(struct str list, struct scaling_policy *p)
{
	struct str one;

	while (list.len && p->account_count < SCALING_ACCOUNTS && str_cut(&list, ',', &one))
		p->account_count += str_to_id(one, &p->accounts[p->account_count]);
}

enum err scaling_get(struct db *db, const struct principal *p, int64_t owner, struct rows *rows, struct scaling_policy *ret, struct error *e)
{
	enum err err = OK;

	if (owner < 1 || owner > INT32_MAX)
		return error_set(e, ERR_NOT_FOUND, "There is no such user.");
	err = db_run(db, STMT_SCALING_GET, ARGS(arg_i64(owner), arg_i64(p->user_id), arg_bool(principal_sees_all(p))), rows, e);
	if (err)
		return err;
	if (!rows_count(rows))
		return error_set(e, ERR_NOT_FOUND, "There is no such user.");
	*ret = scaling_policy_default();
	if (row_null(rows, 0, "version"))
		return OK;
	*ret = (struct scaling_policy){
		.enabled = row_bool(rows, 0, "enabled"),
		.paused = row_bool(rows, 0, "paused"),
		.accelerator = row_cstr(rows, 0, "accelerator"),
		.min_workers = row_i64(rows, 0, "min_workers"),
		.max_workers = row_i64(rows, 0, "max_workers"),
		.queue_threshold = row_i64(rows, 0, "queue_threshold"),
		.target_wait_seconds = row_i64(rows, 0, "target_wait_seconds"),
		.up_delay_seconds = row_i64(rows, 0, "up_delay_seconds"),
		.down_delay_seconds = row_i64(rows, 0, "down_delay_seconds"),
		.idle_stop_seconds = row_i64(rows, 0, "idle_stop_seconds"),
		.listed = str_eqz(row_str(rows, 0, "account_order"), "listed"),
		.version = row_i64(rows, 0, "version"),
	};
	read_accounts(row_str(rows, 0, "accounts"), ret);
	return OK;
}

static enum err no_such_account(int i, struct error *e)
{
	char field[32];

	snprintf(field, sizeof(field), "accounts.%d", i);
	return error_field(e, ERR_INVALID, field, "You have no such account.");
}

static enum err check_accounts(struct db *db, int64_t owner, const struct scaling_policy *p, const struct buf *ids, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_SCALING_ACCOUNTS, ARGS(arg_i64(owner), arg_buf(ids)), &rows, e);

	if (err)
		return err;
	for (int i = 0; i < p->account_count; i++) {
		char field[32];
		bool known = false;

		for (int k = 0; k < rows_count(&rows); k++)
			known |= row_i64(&rows, k, "id") == p->accounts[i];
		if (!known)
			return no_such_account(i, e);
		snprintf(field, sizeof(field), "accounts.%d", i);
		for (int k = 0; k < i; k++)
			if (p->accounts[k] == p->accounts[i])
				return error_field(e, ERR_INVALID, field, "This account is there twice.");
	}
	return OK;
}

enum err scaling_put(struct db *db, const struct principal *p, int64_t owner, const struct scaling_policy *policy, struct error *e)
{
	cleanup_buf struct buf ids = BUF_INIT(1 << 16);
	cleanup_rows struct rows rows = {0}, was = {0};
	struct scaling_policy before;
	enum err err = scaling_get(db, p, owner, &was, &before, e);

	if (!err && policy->max_workers < policy->min_workers)
		return error_field(e, ERR_INVALID, "maxWorkers", "must not be less than minWorkers");
	if (!err && policy->min_workers && !policy->accelerator[0])
		return error_field(e, ERR_INVALID, "accelerator", "Say which accelerator the workers that are always there have.");
	array_begin(&ids);
	for (int i = 0; i < policy->account_count; i++) {
		if (policy->accounts[i] > INT32_MAX)
			return no_such_account(i, e);
		array_add_i64(&ids, policy->accounts[i]);
	}
	array_end(&ids);
	if (!err)
		err = check_accounts(db, owner, policy, &ids, e);
	if (!err)
		err = db_run(db, STMT_SCALING_PUT,
			     ARGS(arg_i64(owner), arg_opt_i64(policy->version, policy->version != SCALING_ANY), arg_bool(policy->enabled),
				  arg_bool(policy->paused), arg_cstr(policy->accelerator), arg_i64(policy->min_workers),
				  arg_i64(policy->max_workers), arg_i64(policy->queue_threshold), arg_i64(policy->target_wait_seconds),
				  arg_i64(policy->up_delay_seconds), arg_i64(policy->down_delay_seconds),
				  arg_opt_i64(policy->idle_stop_seconds, policy->idle_stop_seconds), arg_buf(&ids),
				  arg_cstr(policy->listed ? "listed" : "expiring")),
			     &rows, e);
	if (!err && !rows_count(&rows))
		return error_set(e, ERR_PRECONDITION, "The policy was changed in the meantime; read it again.");
	return err;
}

/* ---- the look ------------------------------------------------------------------ */

/* The rows as one document, so that one parser reads what lives and what is replayed. */
static void join_rows(const struct rows *rows, struct buf *text)
{
	static const char *const kinds[] = {"accounts", "lanes", "names", "policies", "workers"};
	int i = 0;

	for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
		bool first = true;

		buf_addf(text, "%s\"%s\":[", k ? "," : "{", kinds[k]);
		for (i = 0; i < rows_count(rows); i++) {
			if (!str_eqz(row_str(rows, i, "kind"), kinds[k]))
				continue;
			if (!first)
				buf_addc(text, ',');
			buf_addstr(text, row_str(rows, i, "doc"));
			first = false;
		}
		buf_addc(text, ']');
	}
	for (i = 0; i < rows_count(rows); i++)
		if (str_eqz(row_str(rows, i, "kind"), "now"))
			buf_addf(text, ",\"now\":%s", row_cstr(rows, i, "doc"));
	buf_addc(text, '}');
}

/* What this host knows of accounts and the database does not: whether their workers can reach us. */
static void add_reachable(struct json *document, const struct config *config)
{
	const struct json *accounts = json_get(document, "accounts");

	for (size_t i = 0; i < json_len(accounts); i++) {
		struct json *one = json_at(accounts, i);
		struct error why;

		if (json_str(one, "blocked").len || !json_bool(one, "startable", false) ||
		    !worker_reachable(json_cstr(one, "provider"), config, &why))
			continue;
		json_put_cstr(one, "blocked", "public_url");
		json_put_cstr(one, "blockedWhy", why.msg);
	}
}

enum err scaling_look(struct db *db, struct arena *a, const struct config *config, int64_t planner, struct scaling_look *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_buf struct buf text = BUF_INIT(SCALING_SNAPSHOT);
	enum err err = db_run(db, STMT_SCALING_LOOK, ARGS(arg_opt_i64(planner, planner)), &rows, e);

	*ret = (struct scaling_look){0};
	if (err)
		return err;
	join_rows(&rows, &text);
	if (text.failed)
		return error_set(e, ERR_TOO_LARGE, "The pool is too large for one round.");
	err = json_parse(buf_str(&text), SCALING_SNAPSHOT, &ret->document, e);
	if (err)
		return err;
	add_reachable(ret->document, config);
	err = autoscaler_read(ret->document, a, &ret->snapshot, e);
	return err ? err : autoscaler_decide(&ret->snapshot, a, &ret->result, e);
}

void scaling_look_free(struct scaling_look *l)
{
	json_free(l->document);
	*l = (struct scaling_look){0};
}

void scaling_digest(const struct scaling_look *l, int64_t owner, uint8_t ret[CRYPTO_HASH])
{
	cleanup_buf struct buf text = BUF_INIT(SCALING_SNAPSHOT);

	buf_adds(&text, "plan\n");
	for (size_t i = 0; i < l->result.count; i++) {
		const struct scale_decision *d = &l->result.decisions[i];

		if (d->owner_id == owner)
			buf_addf(&text, "%s %lld %lld %lld %s %lld %lld\n", scale_action_name(d->action), (long long)d->worker_id,
				 (long long)d->version, (long long)d->account_id, d->accelerator, (long long)d->reserves_s,
				 (long long)d->remaining_s);
	}
	crypto_hash(buf_str(&text), ret);
}

/* ---- acting ----------------------------------------------------------------------- */

enum err scaling_holds(struct db *db, struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_SCALING_HOLDS, NO_ARGS, &r, e);

	return err || row_bool(&r, 0, "holds") ? err : error_set(e, ERR_CONFLICT, "The lock of scaling was lost with its connection.");
}

/* The server for the owner, whose right to the account the autoscaler saw to. */
static struct principal on_behalf_of(int64_t owner)
{
	struct principal p = principal_system();

	p.user_id = owner;
	return p;
}

static enum err note(struct db *db, struct arena *a, const struct scale_decision *d, const struct scaling_done *done, struct error *e)
{
	cleanup_json struct json *inputs = autoscaler_action(d);
	char subject[32];

	json_put_id(inputs, "ownerId", d->owner_id);
	json_put_i64(inputs, "queued", d->queued);
	json_put_i64(inputs, "running", d->running);
	snprintf(subject, sizeof(subject), "worker %lld", (long long)done->worker);
	return db_run(db, STMT_SCALING_DECIDED, ARGS(arg_cstr(subject), arg_cstr(scale_code_sentence(d->code)), arg_cstr(json_text(inputs, a))),
		      NULL, e);
}

static enum err drain(struct db *db, const struct scale_decision *d, bool *done, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	bool stop = d->action == SCALE_STOP;
	enum err err = db_run(db, STMT_SCALING_DRAIN,
			      ARGS(arg_i64(d->worker_id), arg_i64(d->version), arg_bool(stop), arg_cstr(scale_code_name(d->code)),
				   arg_cstr(scale_code_sentence(d->code))),
			      &rows, e);

	/* One without a session can be stopped, and not be drained. */
	if (!err)
		*done = str_eqz(row_str(&rows, 0, "outcome"), "done") || (stop && str_eqz(row_str(&rows, 0, "outcome"), "none"));
	return err;
}

static enum err turn(struct db *db, const struct config *config, const struct scale_decision *d, const char *desired, bool *done, struct error *e)
{
	const struct worker_change change = {.version = d->version, .desired = desired};
	const struct principal p = on_behalf_of(d->owner_id);
	struct worker_changed changed = {0};
	enum err err = worker_change(db, &p, d->worker_id, &change, config, &changed, e);

	*done = !err && changed.turned;
	return err == ERR_PRECONDITION || err == ERR_NOT_FOUND || err == ERR_CONFLICT ? OK : err;
}

static enum err create(struct db *db, struct arena *a, const struct config *config, const struct scale_decision *d, struct scaling_done *ret,
		       struct error *e)
{
	const struct principal p = on_behalf_of(d->owner_id);
	const struct worker_new n = {.provider = d->provider, .accelerator = d->accelerator, .account_id = d->account_id, .start = true};
	enum err err = worker_create(db, a, &p, &n, config, &ret->worker, e);

	ret->done = !err;
	return err;
}

enum err scaling_act(struct db *db, struct arena *a, const struct config *config, const struct scale_decision *d, struct scaling_done *ret,
		     struct error *e)
{
	enum err err = OK;

	*ret = (struct scaling_done){.worker = d->worker_id};
	snprintf(ret->provider, sizeof(ret->provider), "%s", d->provider);
	switch (d->action) {
	case SCALE_START: err = turn(db, config, d, "running", &ret->done, e); break;
	case SCALE_CREATE: err = create(db, a, config, d, ret, e); break;
	case SCALE_DRAIN: err = drain(db, d, &ret->done, e); break;
	case SCALE_STOP:
		err = drain(db, d, &ret->done, e);
		if (!err && ret->done)
			err = turn(db, config, d, "stopped", &ret->done, e);
		break;
	case SCALE_ACTION_COUNT: BUG("action %d", (int)d->action);
	}
	return err || !ret->done ? err : note(db, a, d, ret, e);
}

enum err scaling_keep(struct db *db, const struct scaling_look *l, struct error *e)
{
	cleanup_buf struct buf snapshot = BUF_INIT(SCALING_SNAPSHOT), decisions = BUF_INIT(SCALING_SNAPSHOT);

	json_write(l->document, &snapshot);
	autoscaler_write(&l->snapshot, &l->result, &decisions);
	if (snapshot.failed || decisions.failed)
		return error_set(e, ERR_TOO_LARGE, "The pool is too large for one round.");
	return db_run(db, STMT_SCALING_ROUND, ARGS(arg_buf(&snapshot), arg_buf(&decisions)), NULL, e);
}

/* ---- what a plan says of jobs -------------------------------------------------------- */

enum { JOBS_MOST = 200 };

static struct json *job_json(int64_t id, int64_t at_ms, const char *code, const char *message)
{
	struct json *j = json_object(), *reason = json_object();
	char at[32];

	json_put_id(j, "jobId", id);
	if (at_ms > 0) {
		clock_rfc3339_ms(at_ms, at, sizeof(at));
		json_put_cstr(j, "startsAt", at);
	}
	json_put_cstr(reason, "code", code);
	json_put_cstr(reason, "message", message);
	json_put(j, "reason", reason);
	return j;
}

/* The k-th waiting job of a lane. */
static struct json *job_at(const struct scaling_look *l, size_t lane, int64_t k, int64_t id)
{
	const struct scale_wait *w = &l->result.waits[lane];
	enum scale_code code = k < w->now ? SCALE_PREPARING : w->soon_code;

	if (k < w->now + w->soon)
		return job_json(id, k < w->now ? l->snapshot.now_ms : w->soon_ms, scale_code_name(code), scale_code_sentence(code));
	return job_json(id, w->later_ms, w->code_name, w->why);
}

enum err scaling_jobs(struct db *db, struct arena *a, const struct principal *p, const struct scaling_look *l, int64_t owner, struct json *list,
		      struct error *e)
{
	cleanup_buf struct buf lanes = BUF_INIT(1 << 20);
	cleanup_rows struct rows rows = {0};
	size_t *index = arena_array(a, l->snapshot.lane_count + 1, sizeof(*index)), n = 0;
	int64_t k = 0, last = -1;
	enum err err;

	if (!index)
		return error_set(e, ERR_TOO_LARGE, "The pool is too large for a plan.");
	array_begin(&lanes);
	for (size_t i = 0; i < l->snapshot.lane_count && n < JOBS_MOST; i++) {
		const struct scale_lane *lane = &l->snapshot.lanes[i];
		int64_t policy = l->result.waits[i].policy;
		bool mine = lane->owner_id == p->user_id || principal_sees_all(p);

		if (!mine || (policy >= 0 ? l->snapshot.policies[policy].owner_id != owner : lane->owner_id != owner))
			continue;
		index[n++] = i;
		array_add_i64(&lanes, lane->id);
	}
	array_end(&lanes);
	err = db_run(db, STMT_SCALING_JOBS, ARGS(arg_buf(&lanes), arg_i64(n ? JOBS_MOST / (int64_t)n : 1)), &rows, e);
	for (int i = 0; !err && i < rows_count(&rows); i++) {
		int64_t lane = row_i64(&rows, i, "lane");

		k = lane == last ? k + 1 : 0;
		last = lane;
		json_add(list, job_at(l, index[lane], k, row_i64(&rows, i, "id")));
	}
	return err;
}
