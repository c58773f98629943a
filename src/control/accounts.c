/*
 * accounts - looks at accounts elsewhere: are their credentials good and whose
 * are they, what hours are left, and is there anything of ours that no row
 * knows.  A part of control/reconcile.h.
 *
 * Outcomes are written only where the credentials are still those that were
 * checked.  The sweep touches nothing that does not bear this installation's mark.
 */
#include <string.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/log.h"
#include "control/call.h"
#include "control/step.h"
#include "domain/circuit.h"
#include "domain/quota.h"
#include "domain/session.h"

enum {
	CLAIM_SECONDS = 400,      /* above what a check's calls may take */
	BUSY_MS = 300000,         /* between two checks while something runs */
	IDLE_MS = 3600000,
	AGAIN_MS = 60000,         /* nothing was learnt */
	ADOPT_SECONDS = 5,
};

struct check {
	struct reconciler *r;
	const struct provider *p;
	int64_t id, sealed_version;
	const char *provider, *identity;
	const char *sweep_from;   /* where a sweep that was begun goes on; or NULL */
	int64_t until_ms;         /* no sweep goes on then: its claim would end */
	bool sweep, used;
	struct error e;
};

/* ---- whose they are ------------------------------------------------------- */

static enum err refuse(struct check *c, const char *code, const char *reason)
{
	log_warn("account.refused", "account=%lld message=\"%s\"", (long long)c->id, reason);
	return account_refuse(c->r->db, c->id, c->sealed_version, code, reason, &c->r->changed, &c->e);
}

static enum err later(struct check *c, double seconds)
{
	return db_run(c->r->db, STMT_CHECK_LATER, ARGS(arg_i64(c->id), arg_double(seconds)), NULL, &c->e);
}

static enum err again(struct check *c)
{
	double seconds = (double)reconcile_jitter(AGAIN_MS) / 1000;

	return db_run(c->r->db, STMT_CHECK_FAILED, ARGS(arg_i64(c->id), arg_double(seconds)), NULL, NULL);
}

/* What runs under the old name could not be reached with credentials of another. */
static bool of_another(const struct check *c, const char *name)
{
	return c->used && c->identity && !str_ieqz(str_of(name), c->identity);
}

static enum err good(struct check *c, const char *name)
{
	cleanup_rows struct rows rows = {0};
	enum err err;

	if (of_another(c, name)) {
		const char *reason = arena_printf(&c->r->arena, "These credentials are of %s, but its notebooks are of %s: give it a key of that user, or delete the account first.",
						  name, c->identity);

		return refuse(c, "credentials", reason ? reason : "These credentials are of another user.");
	}
	err = db_run(c->r->db, STMT_CHECK_OK, ARGS(arg_i64(c->id), arg_i64(c->sealed_version), arg_cstr(name)), &rows,
		     &c->e);
	if (err == ERR_CONFLICT && !strcmp(db_constraint(c->r->db), "account_identity")) {
		const char *reason = arena_printf(&c->r->arena, "The user %s is an account here already: one account is for one person. Give it credentials of your own.", name);

		return refuse(c, "credentials", reason ? reason : "This user is an account here already.");
	}
	CRASH_POINT("check.ok");
	if (err)
		return err;
	if (!rows_count(&rows))
		return error_set(&c->e, ERR_CONFLICT, "The credentials were replaced meanwhile.");
	if (row_bool(&rows, 0, "turned"))
		log_info("account.ok", "account=%lld identity=%s", (long long)c->id, name);
	c->r->changed |= row_bool(&rows, 0, "turned");
	if (row_bool(&rows, 0, "turned"))
		err = db_run(c->r->db, STMT_ACCOUNT_HURRY, ARGS(arg_i64(c->id)), NULL, &c->e);
	return err;
}

/* Also when the account was good before: whoever was to do this may have died. */
static enum err free_workers(struct check *c)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(c->r->db, STMT_ACCOUNT_WORKERS_FREE, ARGS(arg_i64(c->id)), &rows, &c->e);

	if (!err && rows_count(&rows)) {
		c->r->changed = true;
		c->r->sweep_at = 0;
	}
	return err;
}

/* ---- its hours ------------------------------------------------------------ */

static enum err hours(struct check *c)
{
	struct usage_list list = {0};
	struct quota_told told[USAGE_MOST];
	int cut = 0;
	bool changed = false;
	enum err err = quota_budget(c->r->db, c->id, &cut, &changed, &c->e);

	CRASH_POINT("check.budget");
	c->r->changed |= cut > 0;
	if (!err && changed) /* those who wait for it may try */
		err = db_run(c->r->db, STMT_ACCOUNT_HURRY, ARGS(arg_i64(c->id)), NULL, &c->e);
	if (err || !c->p->usage)
		return err;
	err = call_usage(c->r, c->p, &list, &c->e);
	if (err)
		return err;
	for (size_t i = 0; i < list.count; i++)
		told[i] = (struct quota_told){
			.resource = list.items[i].resource,
			.used_seconds = list.items[i].used_seconds,
			.reserved_seconds = list.items[i].reserved_seconds,
			.limit_seconds = list.items[i].limit_seconds,
			.resets_at = list.items[i].resets_at,
		};
	err = quota_tell(c->r->db, c->id, told, list.count, &cut, &c->e);
	CRASH_POINT("check.hours");
	if (cut)
		log_warn("quota.cut", "account=%lld sessions=%d", (long long)c->id, cut);
	c->r->changed |= cut > 0;
	return err;
}

/* ---- what is there of ours ------------------------------------------------ */

/* It bears our mark, and no worker that is not deleted stands for it. */
static enum err remove_stray(struct check *c, const struct run_found *f)
{
	enum err err;

	log_warn("run.stray", "account=%lld intent=%.*s", (long long)c->id, STR_ARG(f->intent));
	err = c->p->stop ? call_stop(c->r, c->p, &f->run, true, &c->e) : OK;
	if ((!err || err == ERR_NOT_FOUND) && c->p->remove)
		err = call_remove(c->r, c->p, &f->run, &c->e);
	if (err && err != ERR_NOT_FOUND)
		return err;
	return db_run(c->r->db, STMT_SWEEP_REMOVED,
		      ARGS(arg_i64(c->id), arg_cstr("No worker here stands for it, though it bears the mark of this installation: it was deleted there."),
			   arg_str(&c->r->arena, f->intent), arg_str(&c->r->arena, f->run.reference)),
		      NULL, &c->e);
}

static enum err adopt(struct check *c, const struct run_found *f, int64_t session)
{
	log_warn("run.adopted", "account=%lld session=%lld intent=%.*s", (long long)c->id, (long long)session, STR_ARG(f->intent));
	c->r->changed = true;
	if (!step_watched(c->p))
		return session_ran(c->r->db, &c->r->arena, session, f->run.reference, f->run.url, &c->e);
	return session_ran_remote(c->r->db, &c->r->arena, session, f->run.reference, f->run.url, ADOPT_SECONDS, &c->e);
}

/* A mark is text, and may have been copied to where it does not belong. */
static bool of_session(const struct run_found *f, const struct rows *known, int i)
{
	return row_bool(known, i, "ours") && (!f->worker || f->worker == row_i64(known, i, "worker_id"));
}

static const struct run_found *found(const struct run_list *list, struct str intent)
{
	for (size_t i = 0; i < list->count; i++)
		if (str_eq(list->items[i].intent, intent))
			return &list->items[i];
	return NULL;
}

static enum err compare(struct check *c, const struct run_list *list)
{
	cleanup_buf struct buf intents = BUF_INIT(1 << 20);
	cleanup_rows struct rows rows = {0};
	enum err err;

	array_begin(&intents);
	for (size_t i = 0; i < list->count; i++)
		array_add_str(&intents, list->items[i].intent);
	array_end(&intents);
	err = db_run(c->r->db, STMT_SWEEP_KNOWN, ARGS(arg_i64(c->id), arg_buf(&intents)), &rows, &c->e);
	for (int i = 0; !err && i < rows_count(&rows); i++) {
		if (clock_ms() > c->until_ms)
			return error_set(&c->e, ERR_UNAVAILABLE, "There is more of ours than can be ended now; the rest follows.");
		const struct run_found *f = found(list, row_str(&rows, i, "intent"));

		if (!f)
			continue;
		if (row_null(&rows, i, "session_id"))
			err = remove_stray(c, f);
		else if (!of_session(f, &rows, i))
			log_warn("run.foreign", "account=%lld intent=%.*s", (long long)c->id, STR_ARG(f->intent));
		else if (row_bool(&rows, i, "deleted"))
			err = remove_stray(c, f);
		else if (!row_bool(&rows, i, "referenced"))
			err = adopt(c, f, row_i64(&rows, i, "session_id"));
	}
	return err;
}

static enum err sweep(struct check *c)
{
	struct run_list list = {0};
	enum err err;

	if (!c->p->list)
		return OK;
	err = call_list(c->r, c->p, c->sweep_from, &list, &c->e);
	CRASH_POINT("check.listed");
	if (err == ERR_INVALID && c->sweep_from) /* that place is there no more */
		return db_run(c->r->db, STMT_ACCOUNT_SWEPT, ARGS(arg_i64(c->id), arg_cstr("")), NULL, &c->e);
	if (!err && list.count)
		err = compare(c, &list);
	return err ? err : db_run(c->r->db, STMT_ACCOUNT_SWEPT, ARGS(arg_i64(c->id), arg_cstr(list.more)), NULL, &c->e);
}

/* ---- one account ---------------------------------------------------------- */

static enum err check(struct check *c)
{
	struct identity identity = {0};
	enum err err = c->p->verify ? call_verify(c->r, c->p, &identity, &c->e) : ERR_NOT_FOUND;

	if (err == ERR_UNAUTHORIZED || err == ERR_FORBIDDEN) { /* not all of these are the call's to write down */
		const char *reason = arena_strdup(&c->r->arena, c->e.msg);

		bool barred = err == ERR_FORBIDDEN, denylisted = barred && c->e.reason && !strcmp(c->e.reason, "denylisted");

		return refuse(c, denylisted ? "denylisted" : barred ? "account" : "credentials", reason ? reason : "Its credentials were refused.");
	}
	if (!err && !identity.name)
		err = error_set(&c->e, ERR_UPSTREAM, "Its provider did not say whose it is.");
	if (!err)
		err = good(c, identity.name);
	if (!err)
		err = free_workers(c);
	if (!err)
		err = hours(c);
	if (!err && c->sweep)
		err = sweep(c);
	CRASH_POINT("check.swept");
	return err ? err
		   : db_run(c->r->db, STMT_CHECK_DONE,
			    ARGS(arg_i64(c->id), arg_double((double)reconcile_jitter(BUSY_MS) / 1000), arg_double((double)reconcile_jitter(IDLE_MS) / 1000),
				 arg_double((double)reconcile_jitter(AGAIN_MS) / 1000)),
			    NULL, &c->e);
}

int reconcile_account(struct reconciler *r)
{
	cleanup_buf struct buf names = BUF_INIT(4096);
	cleanup_rows struct rows rows = {0};
	struct check c = {.r = r};
	char context[48];
	enum err err;

	call_provider_names(r, &names);
	arena_reset(&r->arena);
	if (db_run(r->db, STMT_CHECK_CLAIM, ARGS(arg_buf(&names), arg_i64(CLAIM_SECONDS), arg_cstr(r->me)), &rows, &c.e))
		return -1;
	if (!rows_count(&rows))
		return 0;
	CRASH_POINT("check.claimed");
	c.id = r->account = row_i64(&rows, 0, "id");
	c.sealed_version = row_i64(&rows, 0, "sealed_version");
	c.provider = row_cstr(&rows, 0, "provider");
	c.identity = row_cstr(&rows, 0, "identity");
	c.sweep = row_bool(&rows, 0, "sweep");
	c.sweep_from = row_str(&rows, 0, "sweep_from").len ? row_cstr(&rows, 0, "sweep_from") : NULL;
	c.until_ms = clock_ms() + (CLAIM_SECONDS - 2 * CALL_SECONDS - 10) * 1000;
	c.used = row_bool(&rows, 0, "used");
	c.p = provider_find(c.provider);
	if (!c.p)
		BUG("claimed an account of provider %s", c.provider);
	snprintf(context, sizeof(context), "account-%lld", (long long)c.id);
	log_context(context);
	err = check(&c);
	if (err) {
		bool at_once = err == ERR_CONFLICT || reconcile_stopping(r);

		log_warn("account.check", "account=%lld error=%s message=\"%s\"", (long long)c.id, err_name(err), c.e.msg);
		(void)!(at_once ? later(&c, 0) : again(&c));
	}
	log_context(NULL);
	return 1;
}
