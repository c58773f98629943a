/* quota - the ledger of accounts' hours.  See domain/quota.h. */
#include "domain/quota.h"

#include <math.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "domain/forecast.h"
#include "domain/rowjson.h"

enum {
	TOLD_MOST = 366 * 86400, /* of one week, whatever a provider calls one */
	LOOK_SECONDS = 300,      /* a session may end sooner than it must */
};

/* ---- before a start ------------------------------------------------------- */

static enum err refuse(struct error *e, const char *reason, const char *fmt, ...) printf_like(3, 4);
static enum err refuse(struct error *e, const char *reason, const char *fmt, ...)
{
	char text[sizeof(e->msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	error_set(e, ERR_QUOTA, "%s", text);
	if (e)
		e->reason = reason;
	return ERR_QUOTA;
}

/* Never less than a second, nor more than a day: what is there then may be another thing. */
static int64_t seconds_until(double seconds)
{
	return seconds < 1 ? 1 : seconds > 86400 ? 86400 : (int64_t)ceil(seconds);
}

/* The accelerator as the provider has it. */
static enum err check_accelerator(const struct rows *r, const struct quota_ask *ask, struct error *e)
{
	if (row_null(r, 0, "resource") && row_bool(r, 0, "listed"))
		return error_field(e, ERR_INVALID, "accelerator", "Its provider has no accelerator %s.", ask->accelerator);
	if (!row_null(r, 0, "resource") && !row_bool(r, 0, "usable"))
		return error_field(e, ERR_INVALID, "accelerator", "%s cannot be had: %s", ask->accelerator, row_cstr(r, 0, "note"));
	return OK;
}

static enum err no_hours(const struct rows *r, struct quota_grant *g, struct error *e)
{
	double left = (double)row_i64(r, 0, "left_seconds");
	bool held = row_i64(r, 0, "reserved_seconds") > 0;
	double resets_in = row_double(r, 0, "resets_in");

	/* A session that ends early gives back its rest: look again now and then. */
	g->retry_seconds = held && resets_in > LOOK_SECONDS ? LOOK_SECONDS : seconds_until(resets_in);
	return refuse(e, "quota", "Of the %.1f hours of %s this week %.1f are left%s; they come back at %.16s UTC.",
		      (double)row_i64(r, 0, "limit_seconds") / 3600, g->resource, left > 0 ? left / 3600 : 0.0,
		      held ? ", besides what running sessions hold" : "", row_cstr(r, 0, "resets_at"));
}

/* Asked again once a day at most: whoever raises the cap hurries it. */
static enum err no_budget(const struct rows *r, const struct quota_ask *ask, struct quota_grant *g, struct error *e)
{
	char cap[64];

	g->retry_seconds = LOOK_SECONDS;
	if (row_bool(r, 0, "budget_unpriced"))
		return refuse(e, "budget", "The account's budget is of money, and nobody has said what %s costs an hour: add its price to the account.", ask->accelerator);
	if (row_null(r, 0, "month_micros"))
		snprintf(cap, sizeof(cap), "%.1f hours", (double)row_i64(r, 0, "month_seconds") / 3600);
	else
		snprintf(cap, sizeof(cap), "%.2f %.3s", (double)row_i64(r, 0, "month_micros") / 1e6, row_cstr(r, 0, "currency"));
	return refuse(e, "budget", "The account's budget of %s a month is used up, or held by what runs; the next month begins at %.16s UTC.", cap,
		      row_cstr(r, 0, "month_ends"));
}

static enum err no_slot(const struct rows *r, struct quota_grant *g, struct error *e)
{
	g->retry_seconds = LOOK_SECONDS / 5;
	return refuse(e, "capacity", "The account has %lld of %lld sessions of %s at once; it starts when one has ended.",
		      (long long)row_i64(r, 0, "live"), (long long)row_i64(r, 0, "concurrent"), g->resource);
}

/* Its provider refused a session not long ago. */
static enum err cools(struct db *db, struct quota_grant *g, struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_COOLDOWN_ENTER, ARGS(arg_i64(g->account), arg_cstr(g->resource)), &r, e);
	const char *reason;

	if (err || !rows_count(&r))
		return err;
	g->retry_seconds = seconds_until(row_double(&r, 0, "wait"));
	reason = str_eqz(row_str(&r, 0, "code"), "quota") ? "quota" : "capacity";
	return refuse(e, reason, "%.200s It is asked again at %.16s UTC.", row_cstr(&r, 0, "reason"), row_cstr(&r, 0, "until"));
}

static void lower(int64_t *seconds, const struct rows *r, const char *col)
{
	if (!row_null(r, 0, col) && (!*seconds || row_i64(r, 0, col) < *seconds))
		*seconds = row_i64(r, 0, col);
}

/* The least of what limits it; 0 = nothing does. */
static enum err grant(const struct rows *r, const struct quota_ask *ask, struct quota_grant *g, struct error *e)
{
	int64_t wanted = ask->max_session_seconds, least = row_i64(r, 0, "min_session_seconds");

	lower(&wanted, r, "session_seconds");
	if (wanted && wanted < least)
		least = wanted;
	g->seconds = wanted;
	if (!row_null(r, 0, "left_seconds") && row_i64(r, 0, "left_seconds") < least)
		return no_hours(r, g, e);
	lower(&g->seconds, r, "left_seconds");
	if (row_bool(r, 0, "budget_unpriced") || (!row_null(r, 0, "budget_left") && row_i64(r, 0, "budget_left") < least))
		return no_budget(r, ask, g, e);
	lower(&g->seconds, r, "budget_left");
	if (row_null(r, 0, "free"))
		return no_slot(r, g, e);
	g->slot = (int)row_i64(r, 0, "free");
	return OK;
}

enum err quota_reserve(struct db *db, struct arena *a, const struct quota_ask *ask, struct quota_grant *ret, struct error *e)
{
	cleanup_rows struct rows now = {0}, offer = {0};
	char time[ROW_TIME];
	enum err err = db_run(db, STMT_QUOTA_SETTLE, ARGS(arg_i64(ask->account)), &now, e);

	*ret = (struct quota_grant){.account = ask->account, .seconds = ask->max_session_seconds};
	if (!err && !rows_count(&now))
		err = error_set(e, ERR_NOT_FOUND, "There is no such account.");
	if (!err)
		err = db_run(db, STMT_QUOTA_OFFER,
			     ARGS(arg_i64(ask->account), arg_cstr(ask->accelerator), arg_cstr(row_cstr(&now, 0, "at"))), &offer, e);
	if (!err)
		err = check_accelerator(&offer, ask, e);
	if (err || row_null(&offer, 0, "resource"))
		return err;
	ret->resource = arena_strdup(a, row_cstr(&offer, 0, "resource"));
	ret->limited = row_bool(&offer, 0, "limited");
	if (!row_null(&offer, 0, "resets_at"))
		ret->resets_at = arena_strdup(a, row_time(&offer, 0, "resets_at", time));
	if (!ret->resource || (!ret->resets_at && !row_null(&offer, 0, "resets_at")))
		return error_set(e, ERR_INTERNAL, "out of memory");
	err = ret->limited ? grant(&offer, ask, ret, e) : OK;
	/* Asked last: where nothing else is in the way, this start is let through to find out. */
	return err || !ret->limited ? err : cools(db, ret, e);
}

/* What the database refused, in our words. */
static enum err referee(const struct db *db, enum err err, struct error *e)
{
	const char *rule = db_constraint(db);

	if (err == ERR_CONFLICT && !strcmp(rule, "reservation_slot"))
		return refuse(e, "capacity", "Another session took the place.");
	if (err == ERR_INVALID && !strcmp(rule, "quota_kept"))
		return refuse(e, "quota", "Another session took the hours.");
	if (err == ERR_INVALID && !strcmp(rule, "budget_kept"))
		return refuse(e, "budget", "Another session took what was left of the month's budget.");
	return err;
}

enum err quota_attach(struct db *db, const struct quota_grant *g, int64_t session, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err;

	if (!g->limited)
		return OK;
	err = db_run(db, STMT_QUOTA_ATTACH,
		     ARGS(arg_i64(session), arg_i64(g->account), arg_cstr(g->resource), arg_i64(g->slot), arg_cstr(g->resets_at),
			  arg_opt_i64(g->seconds, g->seconds)),
		     &rows, e);
	if (err)
		return referee(db, err, e);
	return rows_count(&rows) ? OK : error_set(e, ERR_NOT_FOUND, "There is no such session.");
}

/* ---- afterwards ----------------------------------------------------------- */

enum err quota_settle(struct db *db, int64_t account, int *count, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_QUOTA_SETTLE, ARGS(arg_i64(account)), &rows, e);

	*count = !err && rows_count(&rows) ? (int)row_i64(&rows, 0, "settled") : 0;
	return err;
}

enum err quota_budget(struct db *db, int64_t account, int *cut, bool *changed, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_BUDGET_FIT, ARGS(arg_i64(account)), &rows, e);

	*cut = !err && rows_count(&rows) ? (int)row_i64(&rows, 0, "cut") : 0;
	*changed = !err && rows_count(&rows) && row_bool(&rows, 0, "changed");
	return err;
}

enum err quota_settle_due(struct db *db, int most, int *accounts, struct error *e)
{
	cleanup_rows struct rows due = {0};
	enum err err = db_run(db, STMT_QUOTA_DUE, ARGS(arg_i64(most)), &due, e);
	int settled;

	*accounts = 0;
	for (int i = 0; !err && i < rows_count(&due); i++) {
		int64_t account = row_i64(&due, i, "account_id");

		err = quota_settle(db, account, &settled, e);
		if (!err)
			log_info("quota.settle", "account=%lld sessions=%d", (long long)account, settled);
		*accounts += !err;
	}
	return err;
}

/* ---- what the provider says ----------------------------------------------- */

static bool plausible(int64_t seconds)
{
	return seconds >= -1 && seconds <= TOLD_MOST;
}

static bool makes_sense(const struct quota_told *t)
{
	return plausible(t->used_seconds) && plausible(t->reserved_seconds) && plausible(t->limit_seconds) && t->resets_at >= -1 &&
	       t->resets_at <= UINT32_MAX;
}

struct telling {
	int64_t account;
	const struct quota_told *items;
	size_t count;
	int cut;
	struct error *e;
};

static struct arg arg_told(int64_t v)
{
	return arg_opt_i64(v, v >= 0);
}

static enum err tell(struct db *db, void *ctx)
{
	struct telling *all = ctx;
	enum err err = OK;

	all->cut = 0;
	for (size_t i = 0; !err && i < all->count; i++) {
		cleanup_rows struct rows rows = {0};
		const struct quota_told *t = &all->items[i];

		if (!makes_sense(t))
			continue;
		err = db_run(db, STMT_QUOTA_TELL,
			     ARGS(arg_i64(all->account), arg_cstr(t->resource), arg_told(t->limit_seconds), arg_told(t->resets_at),
				  arg_told(t->used_seconds), arg_told(t->reserved_seconds)),
			     &rows, all->e);
		all->cut += err ? 0 : (int)row_i64(&rows, 0, "cut");
	}
	return err;
}

enum err quota_tell(struct db *db, int64_t account, const struct quota_told *items, size_t n, int *cut, struct error *e)
{
	struct telling all = {.account = account, .items = items, .count = n, .e = e};
	enum err err;

	for (size_t i = 0; i < n; i++)
		if (!makes_sense(&items[i]))
			log_warn("quota.senseless", "account=%lld resource=%s used=%lld reserved=%lld limit=%lld resets=%lld", (long long)account,
				 items[i].resource, (long long)items[i].used_seconds, (long long)items[i].reserved_seconds,
				 (long long)items[i].limit_seconds, (long long)items[i].resets_at);
	err = tx_run(db, tell, &all, e);
	*cut = err ? 0 : all.cut;
	return err;
}

/* ---- for people ----------------------------------------------------------- */

static struct json *number(const struct rows *r, int i, const char *col)
{
	return row_null(r, i, col) ? json_null() : json_new_i64(row_i64(r, i, col));
}

static void put_time(struct json *j, const char *key, const struct rows *r, int i, const char *col)
{
	char text[ROW_TIME];

	json_put_cstr(j, key, row_time(r, i, col, text));
}

void quota_put_figures(struct json *j, const struct rows *r, int i)
{
	json_put_str(j, "resource", row_str(r, i, "resource"));
	json_put(j, "limitSeconds", number(r, i, "limit_seconds"));
	json_put(j, "marginSeconds", number(r, i, "margin_seconds"));
	json_put(j, "usedSeconds", number(r, i, "used_seconds"));
	json_put(j, "reservedSeconds", number(r, i, "reserved_seconds"));
	json_put(j, "remainingSeconds", number(r, i, "remaining_seconds"));
	put_time(j, "resetsAt", r, i, "resets_at");
}

static struct json *told(const struct rows *r, int i)
{
	struct json *j;

	if (row_null(r, i, "told_at"))
		return json_null();
	j = json_object();
	json_put(j, "usedSeconds", number(r, i, "told_used"));
	json_put(j, "reservedSeconds", number(r, i, "told_reserved"));
	put_time(j, "at", r, i, "told_at");
	return j;
}

static void put_seconds(struct json *j, const char *key, int64_t at)
{
	char text[32];

	clock_rfc3339(at * 1000, text, sizeof(text));
	json_put_cstr(j, key, at ? text : NULL);
}

/* When the week's hours will be used up; null where they last, or none are limited. */
static struct json *forecast(const struct rows *r, int i)
{
	struct forecast_input in = {
		.now = row_i64(r, i, "now_seconds"),
		.resets_at = row_i64(r, i, "resets_seconds"),
		.used_seconds = row_i64(r, i, "used_seconds"),
		.left_seconds = row_i64(r, i, "reserved_seconds") + row_i64(r, i, "remaining_seconds"),
		.live = (int)row_i64(r, i, "live"),
	};
	struct forecast f = {0};
	struct json *j;

	if (!row_null(r, i, "limit_seconds"))
		f = forecast_dry(&in);
	if (!f.dry)
		return json_null();
	j = json_object();
	put_seconds(j, "earliest", f.earliest);
	put_seconds(j, "latest", f.latest);
	return j;
}

static struct json *resource(const struct rows *r, int i)
{
	struct json *j = json_object(), *sessions = json_object();

	quota_put_figures(j, r, i);
	json_put(j, "sessionSeconds", number(r, i, "session_seconds"));
	json_put(j, "told", told(r, i));
	json_put(j, "forecast", forecast(r, i));
	json_put(sessions, "limit", number(r, i, "concurrent"));
	json_put(sessions, "used", number(r, i, "live"));
	json_put(j, "concurrent", sessions);
	json_put_raw(j, "coolDown", row_null(r, i, "cool_down") ? STR("null") : row_str(r, i, "cool_down"));
	return j;
}

static struct json *account(const struct rows *r, int i)
{
	struct json *j = json_object();

	json_put_id(j, "id", row_i64(r, i, "id"));
	json_put_str(j, "provider", row_str(r, i, "provider"));
	json_put_str(j, "label", row_str(r, i, "label"));
	json_put_id(j, "ownerId", row_i64(r, i, "owner_id"));
	json_put_str(j, "owner", row_str(r, i, "owner"));
	json_put(j, "resources", json_array());
	return j;
}

enum err quota_list(struct db *db, const struct principal *p, int64_t one, int64_t after, int64_t limit, struct json *list,
		    struct error *e)
{
	cleanup_rows struct rows r = {0};
	struct json *of = NULL;
	enum err err = db_run(db, STMT_QUOTA_LIST,
			      ARGS(arg_i64(p->user_id), arg_bool(principal_sees_all(p)), arg_opt_i64(one, one), arg_i64(after),
				   arg_i64(limit)),
			      &r, e);

	for (int i = 0; !err && i < rows_count(&r); i++) {
		if (!i || row_i64(&r, i, "id") != row_i64(&r, i - 1, "id"))
			json_add(list, of = account(&r, i));
		json_add(json_get(of, "resources"), resource(&r, i));
	}
	return err;
}
