/* Where a worker could be started; see domain/autoscaler_round.h. */
#include "domain/autoscaler_round.h"

#include <string.h>
#include <strings.h>

ptrdiff_t scale_account_find(const struct scale_snapshot *s, int64_t id)
{
	size_t low = 0, high = s->account_count;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (s->accounts[mid].id < id)
			low = mid + 1;
		else
			high = mid;
	}
	return low < s->account_count && s->accounts[low].id == id ? (ptrdiff_t)low : -1;
}

bool scale_may_use(const struct scale_account *account, int64_t owner)
{
	if (account->owner_id == owner || account->sharing == PLACE_SHARED_ALL)
		return true;
	for (size_t i = 0; account->sharing == PLACE_SHARED_NAMED && i < account->shared_count; i++)
		if (account->shared_with[i] == owner)
			return true;
	return false;
}

/* ---- accelerators -------------------------------------------------------------- */

static const struct scale_name *find_name(const struct scale_snapshot *s, const char *provider, const char *name, bool *listed)
{
	*listed = false;
	for (size_t i = 0; i < s->name_count; i++) {
		if (!eq(s->names[i].provider, provider))
			continue;
		*listed = true;
		if (!strcasecmp(s->names[i].name, name))
			return &s->names[i];
	}
	return NULL;
}

static bool is_class(const char *name)
{
	return eq(name, "cpu") || eq(name, "gpu") || eq(name, "tpu");
}

/* What jobs may ask of a worker that was asked to be this and has not registered. */
static const char *expected(struct round *r, const char *provider, const char *accelerator)
{
	bool listed;
	const struct scale_name *n = find_name(r->s, provider, accelerator, &listed);
	const char *ret = accelerator;

	if (n)
		ret = arena_printf(r->a, "%s,%s,%s", n->name, n->names, n->resource);
	else if (!is_class(accelerator))
		ret = arena_printf(r->a, "%s,gpu", accelerator);
	r->full |= !ret;
	return ret ? ret : accelerator;
}

static const char *resource_of(const struct scale_snapshot *s, const char *provider, const char *accelerator)
{
	bool listed;
	const struct scale_name *n = find_name(s, provider, accelerator, &listed);

	return n ? n->resource : is_class(accelerator) ? accelerator : "gpu";
}

/* ---- fitting ------------------------------------------------------------------------ */

/* Of the pool of the policy at hand. */
bool scale_in_pool(const struct round *r, size_t i)
{
	return r->hands[i].pool == (ptrdiff_t)r->policy;
}

struct place_lane scale_place_lane(const struct scale_lane *l)
{
	return (struct place_lane){.owner_id = l->owner_id, .accelerator = l->accelerator, .gpus = (int)l->gpus,
				   .estimate_s = (double)l->estimate_s, .resumes = l->resumes};
}

/* ---- where one could start ----------------------------------------------------------- */

/* The reason that came furthest is the one to tell; of equal ones, that which ends first. */
static void note_refusal(struct place *best, enum scale_code code, int64_t until_ms, const char *blocked, const char *why)
{
	static const enum scale_code rank[] = {SCALE_NO_ACCOUNT, SCALE_NOT_SHARED, SCALE_BLOCKED, SCALE_TOO_LONG, SCALE_QUOTA, SCALE_CAPACITY, SCALE_COOL_DOWN};
	size_t old = 0, new = 0;

	for (size_t i = 0; i < ARRAY_LEN(rank); i++) {
		if (rank[i] == best->code)
			old = i;
		if (rank[i] == code)
			new = i;
	}
	if (new < old || (new == old && best->until_ms && (!until_ms || until_ms >= best->until_ms)))
		return;
	best->code = code;
	best->until_ms = until_ms;
	best->blocked = blocked;
	best->why = why;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

static struct scale_resource *resource_at(struct round *r, size_t account, const char *name)
{
	for (size_t i = 0; i < r->s->accounts[account].resource_count; i++)
		if (eq(r->left[account][i].name, name))
			return &r->left[account][i];
	return NULL;
}

void scale_reserve_for(struct round *r, size_t worker)
{
	const struct scale_worker *w = &r->s->workers[worker];
	size_t account = (size_t)r->hands[worker].account;
	struct scale_resource *res = resource_at(r, account, resource_of(r->s, r->s->accounts[account].provider, w->accelerator));

	if (!res)
		return;
	if (res->slots > 0)
		res->slots--;
	if (res->left_s > 0)
		res->left_s -= least(least(w->max_session_s, res->session_s), res->left_s);
}

/* Seconds that a session must have for a job of the lane. */
static int64_t needs(const struct scale_lane *l)
{
	const struct place_lane lane = scale_place_lane(l);

	return (int64_t)place_needs(&lane);
}

/* Whether the account's hours and slots allow a session of this machine; fills *p, or says why not in *best. */
static bool affords(struct round *r, struct place *p, const char *resource, int64_t max_s, int64_t needs_s, struct place *best)
{
	struct scale_resource *res = resource_at(r, (size_t)p->account, resource);
	int64_t grant;

	p->resource = res;
	p->expires_ms = INT64_MAX;
	p->reserves_s = max_s;
	if (res) {
		grant = least(least(max_s, res->session_s), res->left_s);
		if (res->slots == 0) {
			note_refusal(best, SCALE_CAPACITY, 0, NULL, NULL);
			return false;
		}
		if (res->left_s >= 0 && (res->left_s <= 0 || res->left_s < least(res->min_s, max_s))) {
			note_refusal(best, SCALE_QUOTA, res->resets_ms, NULL, NULL);
			return false;
		}
		if (res->cool_until_ms > r->s->now_ms) {
			note_refusal(best, SCALE_COOL_DOWN, res->cool_until_ms, NULL, res->cool_why && res->cool_why[0] ? res->cool_why : NULL);
			return false;
		}
		p->reserves_s = grant;
		if (res->left_s >= 0 && res->resets_ms)
			p->expires_ms = res->resets_ms;
	}
	if (p->reserves_s >= 0 && p->reserves_s < needs_s) {
		bool hours = res && least(max_s, res->session_s) >= needs_s;

		note_refusal(best, hours ? SCALE_QUOTA : SCALE_TOO_LONG, hours ? res->resets_ms : 0, NULL, NULL);
		return false;
	}
	return true;
}

void scale_learn(struct round *r, size_t worker)
{
	const struct scale_worker *w = &r->s->workers[worker];
	const struct evidence new = {.account = r->hands[worker].account, .accelerator = w->accelerator, .got = w->got, .slots = w->slots};

	if (new.account < 0)
		return;
	if (w->wanted && (eq(w->state, "failed") || eq(w->state, "needs_human")) && !r->broken[new.account])
		r->broken[new.account] = w->id;
	if (!w->got[0] || r->evidence_count == SCALE_EVIDENCE)
		return;
	for (size_t i = 0; i < r->evidence_count; i++) {
		const struct evidence *e = &r->evidence[i];

		if (e->account == new.account && e->slots == new.slots && eq(e->accelerator, new.accelerator) && eq(e->got, new.got))
			return;
	}
	r->evidence[r->evidence_count++] = new;
}

/* Whether a machine of this name would do for the lane at the account: as such machines there were, else as the
 * provider's list says.  (A machine that turns out to be another would else be started for the same job for ever.) */
static bool would_fit(struct round *r, size_t account, const char *accelerator, const struct scale_lane *l)
{
	const struct scale_account *a = &r->s->accounts[account];
	bool known = false;

	for (size_t i = 0; i < r->evidence_count; i++) {
		const struct evidence *e = &r->evidence[i];

		if (e->account != (ptrdiff_t)account || strcasecmp(e->accelerator, accelerator) != 0)
			continue;
		known = true;
		if (place_matches(l->accelerator, e->got) && l->gpus <= e->slots)
			return true;
	}
	return !known && place_matches(l->accelerator, expected(r, a->provider, accelerator));
}

bool scale_will_do(struct round *r, const struct arriving *w, const struct scale_lane *l)
{
	if (!scale_may_use(&r->s->accounts[w->account], l->owner_id))
		return false;
	if (w->left_s >= 0 && w->left_s < needs(l))
		return false;
	if (w->got[0])
		return place_matches(l->accelerator, w->got) && l->gpus <= w->slots;
	return would_fit(r, w->account, w->accelerator, l);
}

/* A stopped worker of the account that would do; -1 = none. */
static ptrdiff_t stopped_worker(struct round *r, size_t account, const struct scale_lane *l)
{
	for (size_t i = r->first_stopped; i < r->s->worker_count; i++) {
		const struct scale_worker *w = &r->s->workers[i];
		const struct arriving it = {.account = account, .accelerator = w->accelerator, .got = w->got, .slots = w->slots, .left_s = w->max_session_s};
		bool candidate = !r->hands[i].used && !w->wanted && eq(w->state, "stopped") && !w->session_state[0] && scale_in_pool(r, i);

		if (!candidate) {
			if (i == r->first_stopped)
				r->first_stopped++;
			continue;
		}
		if (r->hands[i].account == (ptrdiff_t)account && (!r->p->accelerator[0] || !strcasecmp(r->p->accelerator, w->accelerator)) &&
		    scale_will_do(r, &it, l))
			return (ptrdiff_t)i;
	}
	return -1;
}

/* The name to ask of the account's provider for such a job; NULL = it has no such machine. */
static const char *name_to_make(struct round *r, size_t account, const struct scale_lane *l)
{
	const struct scale_account *a = &r->s->accounts[account];
	struct str rest = str_of(r->p->accelerator[0] ? r->p->accelerator : l->accelerator[0] ? l->accelerator : "cpu"), one;

	while (str_cut(&rest, ',', &one)) {
		const char *name = arena_strndup(r->a, one.ptr, one.len);
		bool listed;

		if (!name) {
			r->full = true;
			return NULL;
		}
		if ((find_name(r->s, a->provider, name, &listed) || !listed) && would_fit(r, account, name, l))
			return name;
	}
	return NULL;
}

/* Hours that expire soon first, for they are lost else; then what costs none; then hours that there is time for. */
static int turn_of(const struct round *r, const struct place *p)
{
	if (p->expires_ms == INT64_MAX)
		return 1;
	return p->expires_ms - r->s->now_ms <= (int64_t)SCALE_SOON_S * 1000 ? 0 : 2;
}

static bool better(const struct round *r, const struct place *a, const struct place *b)
{
	int turn = turn_of(r, a), best = b->account < 0 ? 0 : turn_of(r, b);

	if (b->account < 0 || !r->p->expiring)
		return b->account < 0;
	return turn != best ? turn < best : a->expires_ms < b->expires_ms;
}

static void try_account(struct round *r, size_t account, const struct scale_lane *l, struct place *best)
{
	const struct scale_account *a = &r->s->accounts[account];
	struct place p = {.account = (ptrdiff_t)account};
	int64_t max_s = SCALE_NONE;

	if (!scale_may_use(a, l->owner_id)) {
		note_refusal(best, SCALE_NOT_SHARED, 0, NULL, NULL);
		return;
	}
	if (!a->startable)
		return;
	p.worker = stopped_worker(r, account, l);
	p.accelerator = p.worker < 0 ? name_to_make(r, account, l) : r->s->workers[p.worker].accelerator;
	if (!p.accelerator)
		return;
	if (a->blocked[0] || r->broken[account]) {
		const char *why = a->blocked[0] ? a->blocked_why : arena_printf(r->a, "Worker %lld of the account needs to be looked at first.",
										(long long)r->broken[account]);

		note_refusal(best, SCALE_BLOCKED, a->blocked_until_ms, a->blocked[0] ? a->blocked : "worker_failed", why);
		return;
	}
	if (p.worker >= 0)
		max_s = r->s->workers[p.worker].max_session_s;
	if (affords(r, &p, resource_of(r->s, a->provider, p.accelerator), max_s, needs(l), best) && better(r, &p, best))
		*best = p;
}

/* The place to start a worker for a lane; account -1 = none, with the reason. */
struct place scale_place(struct round *r, const struct scale_lane *l)
{
	struct place best = {.account = -1, .worker = -1, .code = SCALE_NO_ACCOUNT};
	const struct scale_policy *p = r->p;

	for (size_t i = 0; i < (p->account_count ? p->account_count : r->s->account_count); i++) {
		ptrdiff_t account = p->account_count ? scale_account_find(r->s, p->accounts[i]) : (ptrdiff_t)i;

		if (account >= 0 && r->allowed[account])
			try_account(r, (size_t)account, l, &best);
	}
	return best;
}

