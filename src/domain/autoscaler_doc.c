/* Snapshots and results as JSON; see domain/autoscaler_doc.h. */
#include "domain/autoscaler_doc.h"

#include "base/clock.h"

/* ---- reading ----------------------------------------------------------------- */

/* What is wrong is noted once; the reading goes on with defaults. */
struct reader {
	struct arena *a;
	bool full, bad;
};

static const char *text(struct reader *r, const struct json *j, const char *key)
{
	const char *s = json_cstr(j, key);

	r->bad |= !s;
	return s ? s : "";
}

static int64_t number(struct reader *r, const struct json *j, const char *key)
{
	r->bad |= json_type_of(json_get(j, key)) != JSON_INT;
	return json_i64(j, key, 0);
}

static void *list(struct reader *r, const struct json *array, size_t size, size_t *count)
{
	void *ret = arena_array(r->a, json_len(array) + 1, size);

	*count = ret ? json_len(array) : 0;
	r->full |= !ret;
	r->bad |= json_type_of(array) != JSON_ARRAY && json_type_of(array) != JSON_NULL;
	return ret;
}

static const int64_t *ids(struct reader *r, const struct json *array, size_t *count)
{
	int64_t *ret = list(r, array, sizeof(*ret), count);

	for (size_t i = 0; i < *count; i++)
		ret[i] = json_as_i64(json_at(array, i), 0);
	return ret;
}

static void read_policy(struct reader *r, const struct json *j, struct scale_policy *p)
{
	*p = (struct scale_policy){
		.owner_id = number(r, j, "owner"),
		.paused = json_bool(j, "paused", false),
		.accelerator = text(r, j, "accelerator"),
		.min = number(r, j, "min"),
		.max = number(r, j, "max"),
		.threshold = number(r, j, "threshold"),
		.target_wait_s = number(r, j, "targetWait"),
		.up_delay_s = number(r, j, "upDelay"),
		.down_delay_s = number(r, j, "downDelay"),
		.idle_stop_s = number(r, j, "idleStop"),
		.expiring = json_bool(j, "expiring", false),
		.up_since_ms = number(r, j, "upSince"),
		.down_since_ms = number(r, j, "downSince"),
	};
	p->accounts = ids(r, json_get(j, "accounts"), &p->account_count);
}

static enum place_sharing sharing(const char *name)
{
	struct str s = str_of(name);

	return str_eqz(s, "all") ? PLACE_SHARED_ALL : str_eqz(s, "named") ? PLACE_SHARED_NAMED : PLACE_SHARED_NONE;
}

static void read_resource(struct reader *r, const struct json *j, struct scale_resource *ret)
{
	*ret = (struct scale_resource){
		.name = text(r, j, "name"),
		.left_s = number(r, j, "left"),
		.resets_ms = number(r, j, "resets"),
		.slots = number(r, j, "slots"),
		.session_s = number(r, j, "session"),
		.min_s = number(r, j, "min"),
		.cool_until_ms = json_i64(j, "coolUntil", 0), /* rounds of before do not have it */
		.cool_why = json_cstr(j, "coolWhy"),
	};
}

static void read_account(struct reader *r, const struct json *j, struct scale_account *a)
{
	const struct json *resources = json_get(j, "resources");

	*a = (struct scale_account){
		.id = number(r, j, "id"),
		.owner_id = number(r, j, "owner"),
		.provider = text(r, j, "provider"),
		.startable = json_bool(j, "startable", false),
		.blocked = text(r, j, "blocked"),
		.blocked_why = text(r, j, "blockedWhy"),
		.blocked_until_ms = number(r, j, "blockedUntil"),
		.sharing = sharing(text(r, j, "sharing")),
		.cold_s = number(r, j, "cold"),
		.resource_count = json_len(resources),
	};
	a->shared_with = ids(r, json_get(j, "sharedWith"), &a->shared_count);
	r->bad |= a->resource_count > SCALE_RESOURCES;
	if (a->resource_count > SCALE_RESOURCES)
		a->resource_count = SCALE_RESOURCES;
	for (size_t i = 0; i < a->resource_count; i++)
		read_resource(r, json_at(resources, i), &a->resources[i]);
}

static void read_name(struct reader *r, const struct json *j, struct scale_name *n)
{
	*n = (struct scale_name){
		.provider = text(r, j, "provider"), .name = text(r, j, "name"), .resource = text(r, j, "resource"), .names = text(r, j, "names")};
}

static void read_worker(struct reader *r, const struct json *j, struct scale_worker *w)
{
	*w = (struct scale_worker){
		.id = number(r, j, "id"),
		.owner_id = number(r, j, "owner"),
		.account_id = number(r, j, "account"),
		.version = number(r, j, "version"),
		.accelerator = text(r, j, "accelerator"),
		.state = text(r, j, "state"),
		.session_state = text(r, j, "session"),
		.wanted = json_bool(j, "wanted", false),
		.registered = json_bool(j, "registered", false),
		.then_stop = json_bool(j, "thenStop", false),
		.got = text(r, j, "got"),
		.slots = number(r, j, "slots"),
		.busy = number(r, j, "busy"),
		.leases = number(r, j, "leases"),
		.left_s = number(r, j, "left"),
		.idle_since_ms = number(r, j, "idleSince"),
		.max_session_s = number(r, j, "maxSession"),
	};
}

static void read_lane(struct reader *r, const struct json *j, struct scale_lane *l)
{
	*l = (struct scale_lane){
		.id = number(r, j, "id"),
		.owner_id = number(r, j, "owner"),
		.accelerator = text(r, j, "accelerator"),
		.gpus = number(r, j, "gpus"),
		.priority = number(r, j, "priority"),
		.depth = number(r, j, "depth"),
		.waited_s = number(r, j, "waited"),
		.estimate_s = number(r, j, "estimate"),
		.resumes = json_bool(j, "resumes", false),
	};
}

#define READ_ALL(r, document, key, type, read_one, to, count)                              \
	do {                                                                               \
		const struct json *array_ = json_get(document, key);                       \
		struct type *list_ = list(r, array_, sizeof(*list_), &(count));            \
		for (size_t i_ = 0; i_ < (count); i_++)                                    \
			read_one(r, json_at(array_, i_), &list_[i_]);                      \
		(to) = list_;                                                              \
	} while (0)

enum err autoscaler_read(const struct json *document, struct arena *a, struct scale_snapshot *ret, struct error *e)
{
	struct reader r = {.a = a};

	*ret = (struct scale_snapshot){.now_ms = number(&r, document, "now")};
	READ_ALL(&r, document, "policies", scale_policy, read_policy, ret->policies, ret->policy_count);
	READ_ALL(&r, document, "accounts", scale_account, read_account, ret->accounts, ret->account_count);
	READ_ALL(&r, document, "names", scale_name, read_name, ret->names, ret->name_count);
	READ_ALL(&r, document, "workers", scale_worker, read_worker, ret->workers, ret->worker_count);
	READ_ALL(&r, document, "lanes", scale_lane, read_lane, ret->lanes, ret->lane_count);
	if (r.full)
		return error_set(e, ERR_TOO_LARGE, "The pool is too large for one round.");
	return r.bad ? error_set(e, ERR_INVALID, "This is no snapshot of the autoscaler.") : OK;
}

/* ---- writing ----------------------------------------------------------------- */

static void put_time(struct json *j, const char *key, int64_t ms)
{
	char at[32];

	clock_rfc3339_ms(ms, at, sizeof(at));
	json_put_cstr(j, key, at);
}

static struct json *reason(const char *code, const char *message)
{
	struct json *j = json_object();

	json_put_cstr(j, "code", code);
	json_put_cstr(j, "message", message);
	return j;
}

struct json *autoscaler_action(const struct scale_decision *d)
{
	struct json *j = json_object();

	json_put_cstr(j, "action", scale_action_name(d->action));
	if (d->worker_id)
		json_put_id(j, "workerId", d->worker_id);
	json_put_id(j, "accountId", d->account_id);
	json_put_cstr(j, "provider", d->provider);
	json_put_cstr(j, "accelerator", d->accelerator);
	json_put(j, "reason", reason(scale_code_name(d->code), scale_code_sentence(d->code)));
	if (d->due_ms)
		put_time(j, "dueAt", d->due_ms);
	if (d->reserves_s >= 0)
		json_put_i64(j, "reservesSeconds", d->reserves_s);
	if (d->remaining_s >= 0)
		json_put_i64(j, "remainingAfterSeconds", d->remaining_s);
	return j;
}

static struct json *wait_json(const struct scale_lane *l, const struct scale_wait *w)
{
	struct json *j = json_object();

	json_put_id(j, "lane", l->id);
	json_put_i64(j, "depth", l->depth);
	json_put_i64(j, "now", w->now);
	json_put_i64(j, "soon", w->soon);
	if (w->soon)
		put_time(j, "soonAt", w->soon_ms);
	if (w->now + w->soon < l->depth)
		json_put(j, "reason", reason(w->code_name, w->why));
	if (w->later_ms > 0)
		put_time(j, "laterAt", w->later_ms);
	return j;
}

void autoscaler_write(const struct scale_snapshot *s, const struct scale_result *r, struct buf *ret)
{
	cleanup_json struct json *j = json_object();
	struct json *actions = json_array(), *lanes = json_array();

	for (size_t i = 0; i < r->count; i++) {
		struct json *one = autoscaler_action(&r->decisions[i]);

		json_put_id(one, "ownerId", r->decisions[i].owner_id);
		json_add(actions, one);
	}
	for (size_t i = 0; i < s->lane_count; i++)
		json_add(lanes, wait_json(&s->lanes[i], &r->waits[i]));
	json_put(j, "actions", actions);
	json_put(j, "lanes", lanes);
	json_write(j, ret);
}
