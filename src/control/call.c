/* call - see control/call.h. */
#include "control/call.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "domain/browser.h"
#include "domain/circuit.h"
#include "domain/sealed.h"
#include "domain/worker.h"

enum { CALL_MS = 20000, REMOTE_MS = CALL_SECONDS * 1000, START_MS = CALL_LONG_SECONDS * 1000 };
enum { CHECK_SECONDS = 3 }; /* its end hurries what waits for it */

struct call {
	struct reconciler *r;
	struct provider_call c;
	struct account_view account;
	struct secret secret;
	bool has_account, probe;
	bool without;              /* it has no credentials that are good just now, and the provider does without */
	bool browser;              /* the sign-in lies with this instance */
};

/* ---- the account ---------------------------------------------------------- */

static enum err circuit_open(struct call *k, double wait)
{
	k->r->wait_seconds = wait > 1 ? wait : 1;
	error_set(k->c.error, ERR_UNAVAILABLE, "%s It is asked again in %d seconds.",
		  k->account.circuit_reason ? k->account.circuit_reason : "Its provider does not answer.", (int)(k->r->wait_seconds + 0.5));
	k->c.error->reason = "circuit";
	return ERR_UNAVAILABLE;
}

static enum err human(struct call *k, const char *sentence)
{
	error_set(k->c.error, ERR_UNAUTHORIZED, "%s", sentence);
	k->c.error->reason = "credentials";
	return ERR_UNAUTHORIZED;
}

/* What may be asked of an account whose owner must act first. */
enum ask { ASK_START, ASK_ANY, ASK_VERIFY };

static enum err barred(struct call *k)
{
	error_set(k->c.error, ERR_FORBIDDEN, "%s",
		  k->account.deleting ? "Its account is being deleted."
				      : k->account.reason ? k->account.reason : "Its account's owner must do something at the provider first.");
	k->c.error->reason = "account";
	return ERR_FORBIDDEN;
}

static enum err look_at_account(struct call *k, enum ask ask)
{
	enum err err = account_open(k->r->db, k->c.arena, k->r->account, k->browser, &k->account, k->c.error);

	if (err)
		return err;
	k->has_account = true;
	if (k->browser ? !k->account.email : !k->account.sealed.ptr) {
		error_set(k->c.error, ERR_GONE, "Its account has no credentials any more.");
		k->c.error->reason = "credentials";
		return ERR_GONE;
	}
	if (k->account.refused && ask != ASK_VERIFY)
		return human(k, k->account.reason ? k->account.reason : "Its account's credentials were refused.");
	if ((k->account.barred || k->account.deleting) && ask == ASK_START)
		return barred(k);
	return k->account.wait > 0 ? circuit_open(k, k->account.wait) : OK;
}

/* Of a provider that does without: a start does not wait for Google to answer either, for a person does. */
static enum err look_if_any(struct call *k, enum ask ask)
{
	enum err err = look_at_account(k, ask);

	if (k->has_account && k->account.deleting && ask == ASK_START)
		return barred(k);
	k->without = k->has_account && (err == ERR_GONE || err == ERR_UNAUTHORIZED || err == ERR_FORBIDDEN || (err == ERR_UNAVAILABLE && ask == ASK_START));
	if (!k->without)
		return err;
	*k->c.error = (struct error){0};
	k->r->wait_seconds = 0;
	k->has_account = false;
	return OK;
}

static enum err look(struct call *k, const struct provider *p, enum ask ask)
{
	return p->caps & MAY_SECRET && ask != ASK_VERIFY ? look_if_any(k, ask) : look_at_account(k, ask);
}

static enum err open_box(struct call *k)
{
	struct sealed_account of = {.id = k->account.id, .owner = k->account.owner, .provider = k->account.provider};
	enum err err = sealed_open_credentials(k->r->config->keys, &of, k->account.key_id, k->account.sealed, &k->secret, k->c.error);

	if (err == ERR_FORBIDDEN)
		return human(k, "Its account's stored credentials do not belong to it: enter them again.");
	return err == ERR_NOT_FOUND ? ERR_UNAVAILABLE : err;
}

/* Its e-mail; and the password that was given for it, which nobody has afterwards: there is one try. */
static enum err open_sign_in(struct call *k, enum ask ask)
{
	cleanup_secret struct secret password = {0};
	cleanup_buf struct buf text = BUF_SECRET(4096 + 6 * BROWSER_PASSWORD_MOST);
	enum err err = OK;

	if (ask == ASK_VERIFY && k->r->browser_keys)
		err = browser_password_take(k->r->browser_keys, k->r->db, k->account.id, k->account.owner, &password, k->c.error);
	if (err)
		return err;
	buf_adds(&text, "{\"email\":");
	buf_add_json(&text, str_of(k->account.email));
	if (password.ptr) {
		buf_adds(&text, ",\"password\":");
		buf_add_json(&text, (struct str){password.ptr, password.len});
	}
	buf_addc(&text, '}');
	k->secret = secret_new(buf_str(&text));
	return OK;
}

/* Only one call tries a provider that has failed. */
static enum err be_probe(struct call *k)
{
	enum err err = circuit_probe(k->r->db, k->account.id, &k->probe, k->c.error);

	if (!err && !k->probe)
		err = circuit_open(k, CIRCUIT_PROBE_SECONDS / 4.0);
	return err;
}

/* ---- before and after ----------------------------------------------------- */

static void prepare(struct call *k, struct reconciler *r, const struct provider *p, int64_t ms, struct error *e)
{
	*e = (struct error){0};
	r->wait_seconds = 0;
	*k = (struct call){.r = r, .browser = p->caps & KEEPS_SIGN_IN};
	k->c = (struct provider_call){
		.arena = &r->arena,
		.config = r->config,
		.http = r->http,
		.deadline_ms = clock_ms() + (p->caps & REMOTE ? ms : CALL_MS),
		.retry_after_s = -1,
		.error = e,
	};
}

static enum err begin(struct call *k, struct reconciler *r, const struct provider *p, int64_t ms, enum ask ask, struct error *e)
{
	enum err err = OK;

	prepare(k, r, p, ms, e);
	if (!(p->caps & (NEEDS_SECRET | MAY_SECRET)))
		return OK;
	err = look(k, p, ask);
	if (!err && !k->without && k->account.failing)
		err = be_probe(k);
	if (!err && !k->without)
		err = k->browser ? open_sign_in(k, ask) : open_box(k);
	if (err) {
		secret_free(&k->secret);
		return err;
	}
	k->c.secret = k->without ? NULL : &k->secret;
	k->c.identity = k->account.identity;
	k->c.installation = k->account.installation;
	k->c.account = k->account.id;
	return OK;
}

static bool reason_is(const struct error *e, const char *reason)
{
	return e->reason && !strcmp(e->reason, reason);
}

static bool no_answer(enum err err, const struct error *e)
{
	if (reason_is(e, "unsettled") || reason_is(e, "contested") || reason_is(e, "runtime"))
		return false;
	return err == ERR_RATE || err == ERR_UNAVAILABLE || err == ERR_TIMEOUT || err == ERR_UPSTREAM;
}

/* What a page asked of a person is for the account's owner to see, and its next check says what to do. */
static void show_picture(struct call *k)
{
	if (!k->browser || !k->c.picture.len)
		return;
	(void)!browser_picture_put(k->r->db, k->account.id, k->c.picture, NULL);
	(void)!db_run(k->r->db, STMT_CHECK_LATER, ARGS(arg_i64(k->account.id), arg_i64(0)), NULL, NULL);
}

/* What this call says of the account; where it cannot be written the next one says it again. */
static void learn(struct call *k, enum err err)
{
	const struct error *e = k->c.error;
	const struct circuit_failure failure = {
		.account = k->account.id,
		.retry_after_s = k->c.retry_after_s,
		.code = e->reason ? e->reason : err_name(err),
		.reason = e->msg,
		.probe = k->probe,
	};

	/* Nobody was asked: the account is as it was. */
	if (e->reason && !strcmp(e->reason, "unasked"))
		return;
	if (no_answer(err, e)) {
		log_warn("provider.silent", "account=%lld error=%s retry_after=%lld message=\"%s\"", (long long)k->account.id, err_name(err),
			 (long long)k->c.retry_after_s, e->msg);
		(void)!circuit_fail(k->r->db, &failure, NULL);
		return;
	}
	if (k->account.failing)
		(void)!circuit_close(k->r->db, k->account.id, NULL);
	/* Good credentials are not spoilt by what the provider wants of their owner. */
	if (err == ERR_UNAUTHORIZED || (err == ERR_FORBIDDEN && (reason_is(e, "account") || reason_is(e, "denylisted")))) {
		log_warn("account.refused", "account=%lld error=%s message=\"%s\"", (long long)k->account.id, err_name(err), e->msg);
		(void)!account_refuse(k->r->db, k->account.id, k->account.sealed_version,
				      err == ERR_UNAUTHORIZED ? "credentials" : e->reason, e->msg, &k->r->changed, NULL);
	}
}

static enum err end(struct call *k, enum err err)
{
	secret_free(&k->secret);
	if (err == ERR_UNAUTHORIZED && !k->c.error->reason)
		k->c.error->reason = "credentials";
	/* A call that our own end has cut says nothing of the provider. */
	show_picture(k);
	if (k->has_account && !reconcile_stopping(k->r))
		learn(k, err);
	return err;
}

enum err call_ready(struct reconciler *r, const struct provider *p, bool start, struct error *e)
{
	struct call k;
	enum err err;

	prepare(&k, r, p, 0, e);
	err = p->caps & (NEEDS_SECRET | MAY_SECRET) ? look(&k, p, start ? ASK_START : ASK_ANY) : OK;
	if (!err && start && (p->caps & NEEDS_BALANCE) && k.has_account && !k.account.paid) {
		error_set(e, ERR_FORBIDDEN, "%s", worker_unattested);
		e->reason = "compute_units";
		return ERR_FORBIDDEN;
	}
	/* Not before it is known that they are no other person's here. */
	if (err || !start || !p->verify || !k.has_account || !k.account.unchecked)
		return err;
	r->wait_seconds = CHECK_SECONDS;
	error_set(e, ERR_UNAVAILABLE, "Its account's credentials are being checked.");
	e->reason = "unchecked";
	return ERR_UNAVAILABLE;
}

/* ---- the calls ------------------------------------------------------------ */

enum err call_check(struct reconciler *r, const struct provider *p, struct error *e)
{
	struct call k;

	prepare(&k, r, p, REMOTE_MS, e);
	return p->check(&k.c);
}

enum err call_verify(struct reconciler *r, const struct provider *p, struct identity *ret, struct error *e)
{
	struct call k;
	enum err err = begin(&k, r, p, REMOTE_MS, ASK_VERIFY, e);

	if (err)
		return err;
	err = end(&k, p->verify(&k.c, ret));
	if (!err && k.browser) /* what it showed is done */
		err = browser_picture_put(r->db, k.account.id, STR_NULL, e);
	return err;
}

enum err call_consent(struct reconciler *r, const struct provider *p, const struct consent_code *code, struct consent_given *ret,
		      struct error *e)
{
	struct call k;
	enum err err = begin(&k, r, p, REMOTE_MS, ASK_VERIFY, e);

	return err ? err : end(&k, p->consent(&k.c, code, ret));
}

enum err call_usage(struct reconciler *r, const struct provider *p, struct usage_list *ret, struct error *e)
{
	struct call k;
	enum err err = begin(&k, r, p, REMOTE_MS, ASK_ANY, e);

	return err ? err : end(&k, p->usage(&k.c, ret));
}

enum err call_start(struct reconciler *r, const struct provider *p, const struct launch *l, struct run *ret, struct error *e)
{
	struct call k;
	enum err err = begin(&k, r, p, START_MS, ASK_START, e);

	return err ? err : end(&k, p->start(&k.c, l, ret));
}

enum err call_find(struct reconciler *r, const struct provider *p, const struct launch *l, struct run *ret, struct error *e)
{
	struct call k;
	enum err err = begin(&k, r, p, REMOTE_MS, ASK_ANY, e);

	return err ? err : end(&k, p->find(&k.c, l, ret));
}

enum err call_list(struct reconciler *r, const struct provider *p, const char *from, struct run_list *ret, struct error *e)
{
	struct call k;
	enum err err = begin(&k, r, p, START_MS, ASK_ANY, e);

	k.c.list_from = from;
	return err ? err : end(&k, p->list(&k.c, ret));
}

enum err call_poll(struct reconciler *r, const struct provider *p, const struct run *run, struct run_status *ret, struct error *e)
{
	struct call k;
	enum err err = begin(&k, r, p, REMOTE_MS, ASK_ANY, e);

	return err ? err : end(&k, p->poll(&k.c, run, ret));
}

enum err call_stop(struct reconciler *r, const struct provider *p, const struct run *run, bool insist, struct error *e)
{
	struct call k;
	enum err err = begin(&k, r, p, REMOTE_MS, ASK_ANY, e);

	return err ? err : end(&k, p->stop(&k.c, run, insist));
}

enum err call_remove(struct reconciler *r, const struct provider *p, const struct run *run, struct error *e)
{
	struct call k;
	enum err err = begin(&k, r, p, REMOTE_MS, ASK_ANY, e);

	return err ? err : end(&k, p->remove(&k.c, run));
}

enum err call_outputs(struct reconciler *r, const struct provider *p, const struct run *run, bool log_only, struct outputs *ret,
		      struct error *e)
{
	struct call k;
	enum err err = begin(&k, r, p, START_MS, ASK_ANY, e);

	k.c.log_only = log_only;
	return err ? err : end(&k, p->outputs(&k.c, run, ret));
}

struct str call_log_tail(struct reconciler *r, const struct provider *p, const struct run *run)
{
	struct outputs out = {0};
	struct error e;

	if (!(p->caps & CAN_LOGS) || !run->reference.len || call_outputs(r, p, run, false, &out, &e))
		return STR_NULL;
	return out.log;
}

void call_provider_names(const struct reconciler *r, struct buf *ret)
{
	array_begin(ret);
	for (size_t i = 0; i < r->provider_count; i++)
		array_add_str(ret, str_of(r->providers[i]->name));
	array_end(ret);
}
