/* api_autoscale - the scaling policy of a person, and plans: what would be done, why, and doing just that. */
#include <string.h>

#include "base/clock.h"
#include "domain/lane.h"
#include "domain/scaling.h"
#include "web/api.h"
#include "web/paging.h"
#include "web/problem.h"
#include "web/wake.h"

enum { SECONDS_MOST = 31536000 };

static const char *const orders[] = {"expiring", "listed", NULL};

#define OWNER_FIELD {"owner", FIELD_ID, 0, .doc = "For administrators: another person's; your own when absent."}

const struct field autoscale_query[] = {OWNER_FIELD, {0}};

const struct field autoscale_body[] = {
	{"enabled", FIELD_BOOL, 0, .doc = "Whether workers are started and stopped by it; default false."},
	{"paused", FIELD_BOOL, 0, .doc = "Leave everything as it is for a while; default false."},
	{"accelerator", FIELD_STRING, FIELD_NULLABLE, .min = 1, .max = 64, .doc = "Of workers that are made; null = as the waiting jobs ask."},
	{"minWorkers", FIELD_INT, 0, .min = 0, .max = 1000, .doc = "Default 0."},
	{"maxWorkers", FIELD_INT, 0, .min = 0, .max = 10000, .doc = "Default 3."},
	{"queueThreshold", FIELD_INT, 0, .min = 0, .max = 1000000, .doc = "More waiting jobs than these: one more worker; default 5."},
	{"targetWaitSeconds", FIELD_INT, 0, .min = 1, .max = 604800, .doc = "No job should wait longer; default 300."},
	{"upDelaySeconds", FIELD_INT, 0, .min = 0, .max = 86400, .doc = "For how long there must be a need; default 30."},
	{"downDelaySeconds", FIELD_INT, 0, .min = 0, .max = 86400, .doc = "For how long there must be a surplus; default 300."},
	{"idleStopSeconds", FIELD_INT, FIELD_NULLABLE, .min = 1, .max = SECONDS_MOST, .doc = "A worker without a job stops then; null = never; default 600."},
	{"accounts", FIELD_STRINGS, 0, .min = 0, .max = SCALING_ACCOUNTS, .item_max = 10, .doc = "Ids of those it may use, in order; none = all you may use."},
	{"accountOrder", FIELD_ENUM, 0, .choices = orders, .doc = "expiring: hours that expire first go first. Default listed where accounts are named, else expiring."},
	{0},
};

const struct field autoscale_plan_body[] = {OWNER_FIELD, {0}};

/* Whose policy it is about; ERR_NOT_FOUND when it is no id. */
static enum err owner_of(const struct request *req, const struct json *from, int64_t *ret, struct error *e)
{
	*ret = req->principal.user_id;
	if (json_has(from, "owner") && !str_to_i64(json_str(from, "owner"), 1, INT32_MAX, ret))
		return error_set(e, ERR_NOT_FOUND, "There is no such user.");
	return OK;
}

/* ---- the policy -------------------------------------------------------------- */

static struct json *policy_json(const struct rows *rows, const struct scaling_policy *p)
{
	struct json *j = json_object(), *accounts = json_array();
	char at[ROW_TIME], id[24];

	json_put_id(j, "owner", row_i64(rows, 0, "owner_id"));
	json_put_str(j, "ownerName", row_str(rows, 0, "owner"));
	json_put_bool(j, "enabled", p->enabled);
	json_put_bool(j, "paused", p->paused);
	json_put_cstr(j, "accelerator", p->accelerator[0] ? p->accelerator : NULL);
	json_put_i64(j, "minWorkers", p->min_workers);
	json_put_i64(j, "maxWorkers", p->max_workers);
	json_put_i64(j, "queueThreshold", p->queue_threshold);
	json_put_i64(j, "targetWaitSeconds", p->target_wait_seconds);
	json_put_i64(j, "upDelaySeconds", p->up_delay_seconds);
	json_put_i64(j, "downDelaySeconds", p->down_delay_seconds);
	json_put(j, "idleStopSeconds", p->idle_stop_seconds ? json_new_i64(p->idle_stop_seconds) : json_null());
	for (int i = 0; i < p->account_count; i++) {
		snprintf(id, sizeof(id), "%lld", (long long)p->accounts[i]);
		json_add_cstr(accounts, id);
	}
	json_put(j, "accounts", accounts);
	json_put_cstr(j, "accountOrder", p->listed ? "listed" : "expiring");
	json_put_i64(j, "version", p->version);
	json_put_cstr(j, "updatedAt", row_time(rows, 0, "updated_at", at));
	return j;
}

static enum err answer(struct ctx *ctx, struct request *req, struct response *res, int64_t owner, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	struct scaling_policy p;
	enum err err = scaling_get(ctx->db, &req->principal, owner, &rows, &p, e);

	if (err)
		return err;
	response_object(res, "autoscale %lld", (long long)owner);
	response_version(res, p.version);
	response_json(res, 200, policy_json(&rows, &p));
	return OK;
}

enum err autoscale_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	int64_t owner;
	enum err err = owner_of(req, req->params, &owner, e);

	return err ? err : answer(ctx, req, res, owner, e);
}

static enum err read_accounts(const struct json *list, struct scaling_policy *p, struct error *e)
{
	char field[32];

	for (size_t i = 0; i < json_len(list) && i < SCALING_ACCOUNTS; i++) {
		snprintf(field, sizeof(field), "accounts.%zu", i);
		if (!str_to_id(json_as_str(json_at(list, i)), &p->accounts[p->account_count++]))
			return error_field(e, ERR_INVALID, field, "You have no such account.");
	}
	return OK;
}

static enum err read_policy(struct request *req, struct scaling_policy *p, struct error *e)
{
	const struct json *j = req->json;
	struct str name = json_str(j, "accelerator");
	char *canonical = arena_alloc(req->arena, LANE_ACCELERATOR_MAX);

	*p = scaling_policy_default();
	p->enabled = json_bool(j, "enabled", false);
	p->paused = json_bool(j, "paused", false);
	p->min_workers = json_i64(j, "minWorkers", p->min_workers);
	p->max_workers = json_i64(j, "maxWorkers", p->max_workers);
	p->queue_threshold = json_i64(j, "queueThreshold", p->queue_threshold);
	p->target_wait_seconds = json_i64(j, "targetWaitSeconds", p->target_wait_seconds);
	p->up_delay_seconds = json_i64(j, "upDelaySeconds", p->up_delay_seconds);
	p->down_delay_seconds = json_i64(j, "downDelaySeconds", p->down_delay_seconds);
	p->idle_stop_seconds = json_has(j, "idleStopSeconds") ? json_i64(j, "idleStopSeconds", 0) : p->idle_stop_seconds;
	p->listed = json_cstr(j, "accountOrder") ? str_eqz(json_str(j, "accountOrder"), "listed") : json_len(json_get(j, "accounts")) > 0;
	if (name.ptr) {
		if (!canonical || !accelerator_valid(name) || !accelerator_list(&name, 1, canonical))
			return error_field(e, ERR_INVALID, "accelerator", "This must be cpu, gpu, tpu or the name of an accelerator.");
		p->accelerator = canonical;
	}
	return read_accounts(json_get(j, "accounts"), p, e);
}

/* If-Match: the version that must be there. */
static enum err match(struct ctx *ctx, struct request *req, int64_t owner, int64_t *version, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	struct scaling_policy was;
	enum err err;

	*version = SCALING_ANY;
	if (!req->if_match.ptr)
		return OK;
	err = scaling_get(ctx->db, &req->principal, owner, &rows, &was, e);
	*version = was.version;
	return err ? err : request_if_match(req, was.version, e);
}

enum err autoscale_put(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct scaling_policy p;
	int64_t owner;
	enum err err = owner_of(req, req->params, &owner, e);

	if (!err)
		err = read_policy(req, &p, e);
	if (!err)
		err = match(ctx, req, owner, &p.version, e);
	if (!err)
		err = scaling_put(ctx->db, &req->principal, owner, &p, e);
	if (err)
		return err;
	wake(ctx, "gpupool_operations", "");
	res->audit = json_ref(req->json);
	return answer(ctx, req, res, owner, e);
}

/* ---- plans --------------------------------------------------------------------- */

static enum err store(struct ctx *ctx, const struct scaling_look *l, int64_t owner, struct json *plan, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	uint8_t digest[CRYPTO_HASH];
	char at[ROW_TIME];
	enum err err;

	scaling_digest(l, owner, digest);
	err = db_run(ctx->db, STMT_SCALING_PLAN_ADD, ARGS(arg_i64(owner), arg_bytes(digest, sizeof(digest))), &rows, e);
	if (err)
		return err;
	json_put_str(plan, "planId", row_str(&rows, 0, "id"));
	json_put_cstr(plan, "expiresAt", row_time(&rows, 0, "expires_at", at));
	return OK;
}

static struct json *actions_json(const struct scaling_look *l, int64_t owner)
{
	struct json *list = json_array();

	for (size_t i = 0; i < l->result.count; i++)
		if (l->result.decisions[i].owner_id == owner)
			json_add(list, autoscaler_action(&l->result.decisions[i]));
	return list;
}

/* The plan of an owner as a document, kept for a minute. */
static enum err make_plan(struct ctx *ctx, struct request *req, const struct scaling_look *l, int64_t owner, struct json *plan, struct error *e)
{
	struct json *jobs = json_array();
	enum err err = store(ctx, l, owner, plan, e);

	json_put(plan, "actions", actions_json(l, owner));
	json_put(plan, "jobs", jobs);
	return err ? err : scaling_jobs(ctx->db, req->arena, &req->principal, l, owner, jobs, e);
}

/* Where the owner has no policy yet, the defaults become one (which is off), so that there is something to plan by. */
static enum err ensure_policy(struct ctx *ctx, struct request *req, int64_t owner, bool *enabled, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	struct scaling_policy p;
	enum err err = scaling_get(ctx->db, &req->principal, owner, &rows, &p, e);

	*enabled = !err && p.enabled;
	if (err || p.version)
		return err;
	err = scaling_put(ctx->db, &req->principal, owner, &p, e); /* version 0: only where there is none */
	if (err != ERR_PRECONDITION)
		return err;
	rows_free(&rows); /* somebody has set one this instant: that counts */
	err = scaling_get(ctx->db, &req->principal, owner, &rows, &p, e);
	*enabled = !err && p.enabled;
	return err;
}

/* A pool of thousands is more than a request's memory. */
enum { PLAN_ARENA = 256 << 20 };

enum err autoscale_plan(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_look struct scaling_look look = {0};
	cleanup_json struct json *plan = json_object();
	cleanup_arena struct arena big;
	bool enabled;
	int64_t owner;
	enum err err = owner_of(req, req->json, &owner, e);

	arena_init(&big, PLAN_ARENA);
	if (!err)
		err = ensure_policy(ctx, req, owner, &enabled, e);
	if (!err)
		err = scaling_look(ctx->db, &big, ctx->config, owner, &look, e);
	if (!err)
		err = make_plan(ctx, req, &look, owner, plan, e);
	if (err)
		return err;
	json_put_bool(plan, "enabled", enabled);
	response_object(res, "plan %s", json_cstr(plan, "planId"));
	response_json(res, 200, steal_ptr(plan));
	return OK;
}

/* What a commit found and did. */
struct commit {
	struct ctx *ctx;
	struct request *req;
	struct str id;
	struct arena *arena;
	struct scaling_look look;
	int64_t owner;
	struct json *actions;    /* done, each with its worker */
	bool changed;            /* the pool is not as it was planned on */
	struct error *e;
};

static enum err take_plan(struct db *db, struct commit *c, uint8_t digest[CRYPTO_HASH])
{
	const struct principal *p = &c->req->principal;
	cleanup_rows struct rows rows = {0};
	struct str stored;
	enum err err;

	if (!str_is_uuid(c->id))
		return error_set(c->e, ERR_NOT_FOUND, "There is no such plan.");
	err = db_run(db, STMT_SCALING_PLAN_TAKE, ARGS(arg_str(c->arena, c->id), arg_i64(p->user_id), arg_bool(principal_sees_all(p))), &rows, c->e);
	if (err)
		return err;
	if (!rows_count(&rows))
		return error_set(c->e, ERR_NOT_FOUND, "There is no such plan.");
	if (row_bool(&rows, 0, "done"))
		return error_set(c->e, ERR_CONFLICT, "This plan was committed already.");
	if (row_bool(&rows, 0, "over"))
		return error_set(c->e, ERR_GONE, "This plan is over a minute old; make another.");
	c->owner = row_i64(&rows, 0, "owner_id");
	stored = row_bytes(&rows, 0, "digest", c->arena);
	if (stored.len != CRYPTO_HASH)
		return error_set(c->e, ERR_INTERNAL, "%s", "");
	memcpy(digest, stored.ptr, CRYPTO_HASH);
	return OK;
}

static enum err act(struct db *db, struct commit *c, const struct scale_decision *d)
{
	struct scaling_done done;
	struct json *one;
	enum err err = scaling_act(db, c->arena, c->ctx->config, d, &done, c->e);

	if (err)
		return err;
	/* Only what no look sees before it acts: a job that was given to it this instant. */
	if (!done.done) {
		c->changed = true;
		return ERR_CONFLICT;
	}
	one = autoscaler_action(d);
	json_put_id(one, "workerId", done.worker);
	json_add(c->actions, one);
	return OK;
}

static enum err run_commit(struct db *db, void *arg)
{
	struct commit *c = arg;
	uint8_t planned[CRYPTO_HASH], now[CRYPTO_HASH];
	enum err err;

	scaling_look_free(&c->look);
	json_free(c->actions);
	c->actions = json_array();
	c->changed = false;
	arena_reset(c->arena);
	err = db_run(db, STMT_SCALING_LOCK, NO_ARGS, NULL, c->e);
	if (!err)
		err = take_plan(db, c, planned);
	if (!err)
		err = scaling_look(db, c->arena, c->ctx->config, c->owner, &c->look, c->e);
	if (err)
		return err;
	scaling_digest(&c->look, c->owner, now);
	c->changed = memcmp(planned, now, sizeof(now)) != 0;
	if (c->changed)
		return ERR_CONFLICT;
	for (size_t i = 0; !err && i < c->look.result.count; i++)
		if (c->look.result.decisions[i].owner_id == c->owner)
			err = act(db, c, &c->look.result.decisions[i]);
	if (!err && json_len(c->actions))
		err = scaling_keep(db, &c->look, c->e);
	return err ? err : db_run(db, STMT_SCALING_PLAN_DONE, ARGS(arg_str(c->arena, c->id)), NULL, c->e);
}

static void wake_all(struct ctx *ctx, const struct json *actions)
{
	for (size_t i = 0; i < json_len(actions); i++) {
		wake(ctx, "gpupool_orders", json_cstr(json_at(actions, i), "workerId"));
		wake(ctx, "gpupool_operations", json_cstr(json_at(actions, i), "provider"));
	}
	if (json_len(actions))
		wake(ctx, "gpupool_events", "");
}

/* A plan that no longer holds is answered with the one that does. */
static enum err refuse_changed(struct ctx *ctx, struct request *req, struct commit *c, struct error *e)
{
	cleanup_json struct json *plan = json_object();
	cleanup_look struct scaling_look look = {0};
	enum err err;

	arena_reset(c->arena);
	err = scaling_look(ctx->db, c->arena, ctx->config, c->owner, &look, e);
	if (!err)
		err = make_plan(ctx, req, &look, c->owner, plan, e);
	if (err)
		return err;
	request_problem(req, "plan", steal_ptr(plan));
	error_set(e, ERR_CONFLICT, "The pool has changed since this was planned; here is the plan as it is now.");
	e->reason = "plan_changed";
	return ERR_CONFLICT;
}

enum err autoscale_commit(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_arena struct arena big;
	struct commit c = {.ctx = ctx, .req = req, .id = request_capture(req, "id"), .arena = &big, .e = e};
	struct json *reply;
	enum err err;

	arena_init(&big, PLAN_ARENA);
	err = tx_run(ctx->db, run_commit, &c, e);
	if (err && c.changed)
		err = refuse_changed(ctx, req, &c, e);
	if (!err) {
		wake_all(ctx, c.actions);
		reply = json_object();
		json_put_str(reply, "planId", c.id);
		json_put(reply, "actions", steal_ptr(c.actions));
		response_object(res, "plan %.*s", STR_ARG(c.id));
		res->audit = json_ref(reply);
		response_json(res, 200, reply);
	}
	json_free(c.actions);
	scaling_look_free(&c.look);
	return err;
}

/* ---- rounds that were kept --------------------------------------------------------- */

const struct field autoscale_rounds_query[] = {PAGING_FIELDS, {0}};

enum err autoscale_rounds(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	struct json *list;
	char at[ROW_TIME];
	int64_t below;
	enum err err = paging_after(req, &below, e);

	if (!err)
		err = db_run(ctx->db, STMT_SCALING_ROUNDS, ARGS(arg_i64(below ? below : INT64_MAX), arg_i64(paging_limit(req))), &rows, e);
	if (err)
		return err;
	list = json_array();
	for (int i = 0; i < rows_count(&rows); i++) {
		struct json *one = json_object();

		json_put_id(one, "id", row_i64(&rows, i, "id"));
		json_put_cstr(one, "at", row_time(&rows, i, "at", at));
		json_put_raw(one, "actions", row_str(&rows, i, "actions"));
		json_add(list, one);
	}
	paging_answer(res, req, "rounds", list);
	return OK;
}

enum err autoscale_round(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	char at[ROW_TIME];
	struct json *j;
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = db_run(ctx->db, STMT_SCALING_ROUND_GET, ARGS(arg_i64(id)), &rows, e);
	if (err)
		return err;
	if (!rows_count(&rows))
		return error_set(e, ERR_NOT_FOUND, "There is no such round; they are kept as long as finished jobs are.");
	j = json_object();
	json_put_id(j, "id", id);
	json_put_cstr(j, "at", row_time(&rows, 0, "at", at));
	json_put_raw(j, "snapshot", row_str(&rows, 0, "snapshot"));
	json_put_raw(j, "decisions", row_str(&rows, 0, "decisions"));
	response_json(res, 200, j);
	return OK;
}
