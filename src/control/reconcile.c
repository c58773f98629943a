/* reconcile - which step is whose, and when.  See control/reconcile.h. */
#include "control/reconcile.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/log.h"
#include "control/call.h"
#include "control/step.h"

enum {
	CLAIM_MOST = 16,
	SOON_MS = 250,
	SWEEP_MS = 1000,
	LET_GO_SECONDS = 5,       /* after a failure of our own */
};

/* ---- the table of steps --------------------------------------------------- */

static enum err step_rest(struct step *s)
{
	return step_done(s, s->w.state, NULL, NULL);
}

/* The next watch looks at it at once.  Elsewhere a run that has none, for the reply to its start was
 * lost and its agent came before it was found, is looked for first. */
static enum err step_verify(struct step *s)
{
	struct run run;
	enum err err = step_watched(s->p) && !s->w.over ? step_run(s, &run) : OK;

	if (err && provider_verdict(err, &s->e) == VERDICT_REFUSED) /* it could not stay as it was, and is gone */
		return start_refused(s, false);
	if (err && err != ERR_NOT_FOUND && err != ERR_GONE)
		return step_retry(s, "find");
	err = step_watched(s->p) ? session_hurry(s->r->db, s->w.session, 0, &s->e) : OK;
	memset(s->r->look_at, 0, sizeof(s->r->look_at));
	return err ? err : step_done(s, s->w.state, NULL, NULL);
}

static enum err (*const steps[STEP_COUNT])(struct step *) = {
	[STEP_REST] = step_rest, [STEP_VERIFY] = step_verify, [STEP_START] = start_step,
	[STEP_STOP] = stop_step, [STEP_DELETE] = delete_step,
};

/* A conflict is no failure: the worker is wanted otherwise, or is not as it was. */
static void let_go(struct reconciler *r, const struct operation *op, enum err err, const struct error *why)
{
	struct error e;

	if (err && err != ERR_CONFLICT)
		log_warn("step.failed", "worker=%lld error=%s message=\"%s\"", (long long)op->worker, err_name(err), why->msg);
	else
		log_info("step.let_go", "worker=%lld operation=%lld", (long long)op->worker, (long long)op->id);
	/* Where this cannot be written either, the claim ends by itself. */
	(void)!operation_let_go(r->db, op, r->me, err && err != ERR_CONFLICT ? LET_GO_SECONDS : SOON_MS / 1000.0, &e);
	r->again_soon = true;
	r->sweep_at = 0;
}

static void one(struct reconciler *r, const struct operation *op)
{
	struct step s = {.r = r, .op = *op};
	char context[48];
	enum err err;

	arena_reset(&r->arena);
	snprintf(context, sizeof(context), "op-%lld", (long long)op->id);
	log_context(context);
	err = worker_look(r->db, &r->arena, op->worker, &s.w, &s.e);
	if (!err && s.w.generation == op->generation) {
		s.p = provider_find(s.w.provider);
		r->account = s.w.account;
		if (!s.p)
			BUG("claimed a step of provider %s", s.w.provider);
		err = steps[worker_edge(s.w.state, s.w.desire)->step](&s);
	}
	if (!s.decided)
		let_go(r, op, err, &s.e);
	log_context(NULL);
}

/* The number of operations opened. */
static int sweep(struct reconciler *r, const struct buf *names)
{
	struct error e;
	int opened = 0;

	if (clock_ms() < r->sweep_at)
		return 0;
	r->sweep_at = clock_ms() + SWEEP_MS * (r->elsewhere ? r->config->hands : 1); /* each hand sweeps */
	if (operation_sweep(r->db, names, &opened, &e) == OK && opened)
		log_info("operation.sweep", "opened=%d", opened);
	return opened;
}

int reconcile_turn(struct reconciler *r)
{
	cleanup_buf struct buf names = BUF_INIT(4096);
	struct operation due[CLAIM_MOST];
	struct error e;
	int seconds = r->elsewhere ? OPERATION_CLAIM_REMOTE_SECONDS : OPERATION_CLAIM_SECONDS;
	int64_t until;
	int count = 0;

	if (!r->provider_count)
		return 0;

	call_provider_names(r, &names);
	if (!r->began) {
		if (operation_claims_of_dead(r->db, &names, r->me, &e) || (r->elsewhere && operation_looks_of_dead(r->db, &names, r->me, &e)))
			return -1;
		r->began = true;
	}
	if (operation_claim(r->db, &names, r->me, seconds, due, r->elsewhere ? 1 : CLAIM_MOST, &count, &e))
		return -1;
	CRASH_POINT("turn.claimed");
	until = clock_ms() + seconds * 1000 / 2;
	for (int i = 0; i < count; i++)
		if (clock_ms() < until)
			one(r, &due[i]);
		else
			let_go(r, &due[i], OK, NULL);
	return count + sweep(r, &names);
}

/* ---- small things that all of it needs ------------------------------------- */

void reconcile_tell(struct reconciler *r)
{
	if (r->requeued)
		db_notify(r->db, "gpupool_jobs", "");
	if (r->changed) {
		db_notify(r->db, "gpupool_events", "");
		db_notify(r->db, "gpupool_orders", "");
	}
	r->requeued = r->changed = false;
}

bool reconcile_stopping(const struct reconciler *r)
{
	return r->stopping && atomic_load(r->stopping);
}

int64_t reconcile_jitter(int64_t ms)
{
	uint32_t random;

	crypto_random(&random, sizeof(random));
	return ms - ms / 5 + (int64_t)(random % 1000) * (2 * ms / 5) / 1000;
}

/* ---- set-up --------------------------------------------------------------- */

static enum err add_provider(struct reconciler *r, const struct provider *p, struct error *e)
{
	if (!(p->caps & REMOTE) != !r->elsewhere)
		return OK;
	if ((p->caps & KEEPS_SIGN_IN) && !strcmp(r->config->providers, "all"))
		return OK; /* an instance of its own serves it, under a user of its own */
	if (r->provider_count == RECONCILE_PROVIDERS)
		return error_set(e, ERR_INVALID, "providers: too many");
	r->providers[r->provider_count++] = p;
	return OK;
}

enum err reconcile_init(struct reconciler *r, struct db *db, const struct config *config, bool elsewhere, struct error *e)
{
	struct str rest = str_of(config->providers), name;
	char host[48] = "", random[37];
	enum err err = OK;

	*r = (struct reconciler){.db = db, .config = config, .elsewhere = elsewhere};
	arena_init(&r->arena, 64 << 20);
	gethostname(host, sizeof(host) - 1);
	crypto_uuid(random);
	snprintf(r->me, sizeof(r->me), "%s:%ld:%.8s", host, (long)getpid(), random);
	if (str_eqz(rest, "all")) {
		const struct provider *p;

		for (size_t i = 0; !err && (p = provider_at(i)); i++)
			err = add_provider(r, p, e);
		return err;
	}
	while (!err && str_cut(&rest, ',', &name)) {
		const char *text = arena_strndup(&r->arena, str_trim(name).ptr, str_trim(name).len);
		const struct provider *p = text ? provider_find(text) : NULL;

		err = p ? add_provider(r, p, e)
			: error_field(e, ERR_INVALID, "providers", "providers: there is no provider %.*s", STR_ARG(str_trim(name)));
	}
	return err;
}

void reconcile_free(struct reconciler *r)
{
	arena_free(&r->arena);
}

enum err reconcile_check(struct reconciler *r, struct error *e)
{
	bool named = strcmp(r->config->providers, "all") != 0;

	for (size_t i = 0; i < r->provider_count; i++) {
		enum err err = call_check(r, r->providers[i], e);

		if (!err)
			continue;
		log_error("provider.check", "provider=%s message=\"%s\"", r->providers[i]->name, e->msg);
		if (named)
			return ERR_INVALID;
	}
	return OK;
}
