/*
 * The ledger of hours against a model of it, over random rounds from seeds:
 * starts, queues, runs, ends, what the provider tells, clocks that jump both
 * ways, and nobody looking for weeks.  After each round the rows are the
 * model's, and what must hold holds; where the provider told nothing, the hours
 * that truly passed stay below the limit in every week.
 *
 * The model keeps whole seconds after noon of the ledger's first day.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "ledger.h"
#include "unit.h"

enum { HOUR = 3600, LIMIT = 30 * HOUR, MARGIN = 900, SESSION = 11 * HOUR, SLOTS = 2, SEEDS = 12, ROUNDS = 200 };
enum { WEEKS = 400, RUNS = ROUNDS };
enum { NOON = 1795521600 };
#define NEVER INT64_MIN

struct week {
	int64_t resets, limit, used, told_limit, elsewhere; /* told_limit -1 = not told */
	bool told_reset;
};

struct run {
	int64_t id, granted, counted, week, reserved, sent, queued, ended, over, used;
	int slot;
	bool known, settled;
};

struct model {
	int64_t now;
	struct week weeks[WEEKS];
	struct run runs[RUNS];
	int week_count, run_count;
};

static struct pg *pg;
static struct ledger ledger;

/* ---- the model ------------------------------------------------------------ */

static int64_t most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static struct week *week_at(struct model *m, int64_t resets)
{
	for (int i = 0; i < m->week_count; i++)
		if (m->weeks[i].resets == resets)
			return &m->weeks[i];
	return NULL;
}

/* The week in which `after` lies, made if there is none. */
static struct week *week_of(struct model *m, int64_t after)
{
	struct week *next = NULL, *last = NULL, new = {.limit = LIMIT, .told_limit = -1, .resets = LEDGER_RESET};

	for (int i = 0; i < m->week_count; i++) {
		struct week *w = &m->weeks[i];

		if (w->resets > after && (!next || w->resets < next->resets))
			next = w;
		if (!last || w->resets > last->resets)
			last = w;
	}
	if (next)
		return next;
	if (last && last->told_limit >= 0)
		new.limit = new.told_limit = last->told_limit;
	if (last && last->told_reset) {
		new.told_reset = true;
		new.resets = last->resets;
	}
	while (new.resets - LEDGER_WEEK > after)
		new.resets -= LEDGER_WEEK;
	while (new.resets <= after)
		new.resets += LEDGER_WEEK;
	ck_assert_int_lt(m->week_count, WEEKS);
	m->weeks[m->week_count] = new;
	return &m->weeks[m->week_count++];
}

static int64_t elapsed(const struct run *r, int64_t till)
{
	int64_t began = most(r->sent, r->queued);

	return r->known && till > began ? least(r->granted, till - began) : 0;
}

static int64_t held(const struct model *m, int64_t week)
{
	int64_t sum = 0;

	for (int i = 0; i < m->run_count; i++)
		if (!m->runs[i].settled && m->runs[i].week == week)
			sum += m->runs[i].granted - m->runs[i].counted;
	return sum;
}

/* Cut first: what lives, of that the latest. */
static bool goes_before(const struct run *a, const struct run *b)
{
	if ((a->ended == NEVER) != (b->ended == NEVER))
		return a->ended == NEVER;
	return a->reserved >= b->reserved;
}

/* When its run was over, as is known now. */
static int64_t over_at(const struct model *m, const struct run *r)
{
	if (r->ended == NEVER)
		return NEVER;
	if (r->sent == NEVER)
		return r->ended;
	if (r->over != NEVER)
		return r->over;
	return r->ended + r->granted + 900 <= m->now ? r->ended + r->granted + 900 : NEVER;
}

/* Those, until what is promised can be kept. */
static int fit(struct model *m, struct week *w)
{
	int cut = 0;

	for (;;) {
		int64_t rest = held(m, w->resets), over = least(rest, rest + w->used + MARGIN - w->limit), take;
		struct run *latest = NULL;

		for (int i = 0; i < m->run_count; i++) {
			struct run *r = &m->runs[i];

			if (!r->settled && r->week == w->resets && r->granted > r->counted && (!latest || goes_before(r, latest)))
				latest = r;
		}
		if (over <= 0 || !latest)
			return cut;
		take = least(over, latest->granted - latest->counted);
		latest->granted -= take;
		cut += latest->ended == NEVER;
	}
}

static void count(struct model *m, struct run *r)
{
	int64_t over = over_at(m, r), till = over == NEVER ? m->now : least(m->now, over), total;
	bool unknown = over != NEVER && !r->known && r->sent != NEVER && r->over == NEVER;

	for (;;) {
		struct week *w = week_at(m, r->week);

		total = most(r->counted, elapsed(r, least(till, r->week)));
		if (unknown && r->week > till) /* it may have run all the time */
			total = r->granted;
		w->used += total - r->counted;
		r->counted = total;
		if (r->week > till)
			break;
		r->week = week_of(m, r->week)->resets;
	}
	if (over != NEVER) {
		r->settled = true;
		r->used = r->counted;
	}
}

static void settle(struct model *m)
{
	for (int i = 0; i < m->run_count; i++)
		if (!m->runs[i].settled)
			count(m, &m->runs[i]);
	for (int i = 0; i < m->week_count; i++) {
		struct week *w = &m->weeks[i];

		if (w->resets <= m->now && !held(m, w->resets))
			continue;
		w->limit = w->told_limit >= 0 ? w->told_limit : LIMIT;
		fit(m, w);
	}
}

/* NULL and what is granted, or the reason why nothing is. */
static const char *reserve(struct model *m, int64_t asked, struct run *ret)
{
	int64_t wanted = asked ? least(asked, SESSION) : SESSION, left;
	bool taken[SLOTS + 1] = {false};
	struct week *w;

	settle(m);
	w = week_of(m, m->now);
	left = w->limit - MARGIN - w->used - held(m, w->resets) - w->elsewhere;
	if (left < least(900, wanted))
		return "quota";
	for (int i = 0; i < m->run_count; i++)
		if (!m->runs[i].settled)
			taken[m->runs[i].slot] = true;
	*ret = (struct run){.granted = least(wanted, left), .week = w->resets, .reserved = m->now, .sent = NEVER, .queued = NEVER,
			    .ended = NEVER, .over = NEVER, .used = -1};
	for (int slot = SLOTS; slot; slot--)
		if (!taken[slot])
			ret->slot = slot;
	return ret->slot ? NULL : "capacity";
}

static void tell(struct model *m, const struct quota_told *t)
{
	int64_t resets = t->resets_at < 0 ? NEVER : t->resets_at - NOON;
	struct week *w;

	settle(m);
	if (resets != NEVER && (resets <= m->now || resets > m->now + 366 * 86400))
		return;
	w = week_of(m, m->now);
	if (resets != NEVER && resets != w->resets) {
		if ((w->told_reset && resets > w->resets + LEDGER_WEEK / 2) || week_at(m, resets))
			return;
		for (int i = 0; i < m->run_count; i++)
			if (m->runs[i].week == w->resets)
				m->runs[i].week = resets;
		w->resets = resets;
	}
	w->told_reset |= resets != NEVER;
	if (t->limit_seconds >= 0)
		w->limit = w->told_limit = t->limit_seconds;
	w->used = most(w->used, t->used_seconds);
	w->elsewhere = most(0, most(0, t->used_seconds) + most(0, t->reserved_seconds) - w->used - held(m, w->resets));
	fit(m, w);
}

/* ---- the rows against it -------------------------------------------------- */

static void describe(const struct model *m, struct buf *ret)
{
	int64_t last = NEVER;

	for (int n = 0; n < m->week_count; n++) {
		const struct week *w = NULL;

		for (int i = 0; i < m->week_count; i++)
			if (m->weeks[i].resets > last && (!w || m->weeks[i].resets < w->resets))
				w = &m->weeks[i];
		last = w->resets;
		buf_addf(ret, "week %lld: %lld of %lld, %lld held, %lld elsewhere\n", (long long)w->resets, (long long)w->used,
			 (long long)w->limit, (long long)held(m, w->resets), (long long)w->elsewhere);
	}
	for (int i = 0; i < m->run_count; i++) {
		const struct run *r = &m->runs[i];

		buf_addf(ret, "run %lld: %lld of %lld at %d, week %lld, used %lld\n", (long long)r->id, (long long)r->counted,
			 (long long)r->granted, r->slot, (long long)r->week, (long long)r->used);
	}
}

#define AFTER_NOON(column) "extract(epoch from " column " - timestamptz '" LEDGER_NOON "')::bigint"

static void compare(const struct model *m, int seed, int round)
{
	static const char sql[] =
		"select coalesce((select string_agg(format(E'week %s: %s of %s, %s held, %s elsewhere\\n', " AFTER_NOON("resets_at")
		", used_seconds, limit_seconds, reserved_seconds, elsewhere_seconds), '' order by resets_at) from quota), '')"
		" || coalesce((select string_agg(format(E'run %s: %s of %s at %s, week %s, used %s\\n', session_id, counted_seconds, "
		"granted_seconds, slot, " AFTER_NOON("resets_at") ", coalesce(used_seconds, -1)), '' order by session_id) from reservation), '') as text";
	cleanup_buf struct buf text = BUF_INIT(1 << 20);
	cleanup_rows struct rows rows = {0};
	const char *broken = ledger_broken(&ledger);

	buf_adds(&text, "");
	describe(m, &text);
	pg_sql(ledger.pool.owner, sql, &rows);
	ck_assert_msg(!strcmp(row_cstr(&rows, 0, "text"), text.ptr), "seed %d, round %d, at %lld: expected\n%sbut found\n%s", seed, round,
		      (long long)m->now, text.ptr, row_cstr(&rows, 0, "text"));
	ck_assert_msg(!*broken, "seed %d, round %d: %s", seed, round, broken);
}

/* ---- rounds --------------------------------------------------------------- */

static unsigned state;

static int64_t below(int64_t n)
{
	return rand_r(&state) % n;
}

static void start(struct model *m, int seed, int round)
{
	static const int64_t asked[] = {0, 60, 600, 900, HOUR, 5 * HOUR, 20 * HOUR};
	struct model trial = *m;
	int64_t want = asked[below(ARRAY_LEN(asked))];
	struct run run;
	const char *why = reserve(&trial, want, &run);
	struct quota_grant g;
	enum err err = ledger_start(&ledger, ledger.pool.role, "gpu", want, &g, &run.id);

	if (why) {
		ck_assert_msg(err == ERR_QUOTA && !strcmp(ledger.e.reason, why), "seed %d, round %d: not %s but %s", seed, round, why, err ? ledger.e.msg : "started");
		return; /* and what was settled was rolled back */
	}
	ck_assert_msg(err == OK, "seed %d, round %d: %s", seed, round, ledger.e.msg);
	*m = trial;
	m->runs[m->run_count++] = run;
}

static void time_of(const char *column, int64_t session, int64_t at)
{
	pool_sql(&ledger.pool, "update session set %s = timestamptz '" LEDGER_NOON "' + interval '%lld s' where id = %lld", column, (long long)at, (long long)session);
}

/* One that has not ended lives on: sent, seen waiting, known to run, ended; its run is over or found later. */
static void live(struct model *m, struct run *r)
{
	if (r->ended != NEVER && below(2)) {
		time_of("over_at", r->id, r->over = m->now - (below(3) ? 0 : below(HOUR)));
		return;
	}
	switch (r->ended == NEVER ? below(5) : 2) {
	case 0:
		if (r->sent == NEVER)
			time_of("launched_at", r->id, r->sent = m->now);
		break;
	case 1:
		if (r->sent != NEVER)
			time_of("queued_at", r->id, r->queued = m->now);
		break;
	case 2:
		if (r->sent != NEVER) {
			pool_sql(&ledger.pool, "update session set provider_ref = '{}' where id = %lld", (long long)r->id);
			r->known = true;
		}
		break;
	default:
		r->ended = m->now - (below(3) ? 0 : below(2 * HOUR));
		ledger_leaves(&ledger, r->id, r->ended);
	}
}

static struct run *some_live(struct model *m)
{
	struct run *one = NULL;
	int64_t n = 0;

	for (int i = 0; i < m->run_count; i++)
		if (!m->runs[i].settled && m->runs[i].over == NEVER && !below(++n))
			one = &m->runs[i];
	return one;
}

static void hear(struct model *m)
{
	struct quota_told t = {"gpu", below(4) ? below(HOUR) * below(30) : -1, below(3) ? below(10 * HOUR) : -1, -1, -1};
	struct week *w = week_of(&(struct model){.now = 0}, m->now);
	int cut;

	if (!below(3))
		t.limit_seconds = below(40) * HOUR;
	if (!below(2))
		t.resets_at = NOON + w->resets + (below(3) ? 0 : (below(9) - 4) * 86400 / 2);
	ck_assert_msg(quota_tell(ledger.pool.role, ledger.account, &t, 1, &cut, &ledger.e) == OK, "%s", ledger.e.msg);
	tell(m, &t);
}

static void pass(struct model *m)
{
	static const int64_t steps[] = {60, 1800, 3 * HOUR, 12 * HOUR, 3 * 86400};

	struct model copy = *m;

	if (!below(10))
		m->now = week_of(&copy, m->now)->resets; /* to the second */
	else
		m->now += below(20) ? below(steps[below(ARRAY_LEN(steps))]) : -below(HOUR);
	ledger_at(&ledger, m->now);
}

static void one_round(struct model *m, int seed, int round, bool told)
{
	int64_t what = below(told ? 12 : 10);

	if (what < 3)
		start(m, seed, round);
	else if (what < 5)
		pass(m);
	else if (what < 9) {
		struct run *r = some_live(m);

		if (r)
			live(m, r);
		else
			pass(m);
	} else if (what < 10) {
		ledger_settle(&ledger);
		settle(m);
	} else
		hear(m);
	compare(m, seed, round);
}

/* A seed of even number hears nothing from the provider. */
START_TEST(test_rounds)
{
	static struct model m;

	m = (struct model){0};
	state = (unsigned)_i;
	for (int round = 0; round < ROUNDS; round++)
		one_round(&m, _i, round, _i % 2);
	for (int i = 0; i < m.week_count && _i % 2 == 0; i++)
		ck_assert_int_le(m.weeks[i].used, LIMIT - MARGIN);
	ck_assert_int_gt(m.run_count, 10);
}
END_TEST

static void set_up(void)
{
	ledger_make(&ledger, pg);
}

static void tear_down(void)
{
	ledger_drop(&ledger);
}

int main(void)
{
	Suite *s = suite_create("quota random");
	TCase *t = tcase_create("rounds");

	pg = pg_start();
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, set_up, tear_down);
	tcase_add_loop_test(t, test_rounds, 1, SEEDS + 1);
	suite_add_tcase(s, t);
	return unit_run(s);
}
