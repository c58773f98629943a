/* reconcile - steps of operations.  See control/reconcile.h. */
#include "control/reconcile.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/log.h"
#include "control/call.h"
#include "domain/operation.h"

enum {
	CLAIM_MOST = 16,
	TURN_MS = 250,            /* between two looks at a run that is ending */
	SWEEP_MS = 1000,
	GOODBYE_SECONDS = 60,     /* for an agent that only an order can stop */
	RETRY_FIRST = 1, RETRY_MOST = 300,
	LET_GO_SECONDS = 5,       /* after a failure of our own */
};

struct step {
	struct reconciler *r;
	struct operation op;
	struct worker_view w;
	const struct provider *p;
	bool decided;              /* its outcome is written */
	struct error e;
};

/* ---- outcomes ------------------------------------------------------------- */

static enum err finish(struct step *s, const struct operation_result *result)
{
	enum err err = operation_step(s->r->db, &s->op, s->r->me, result, &s->e);

	if (err)
		return err;
	s->decided = result->outcome != OUTCOME_KEEP;
	if (result->from != result->to) {
		log_info("worker.state", "worker=%lld from=%s to=%s code=%s", (long long)s->w.id, worker_state_name(result->from),
			 worker_state_name(result->to), result->code ? result->code : "-");
		s->r->changed = true;
	}
	if (result->outcome == OUTCOME_DONE || result->outcome == OUTCOME_FAILED)
		s->r->sweep_at = 0;
	s->w.state = result->to;
	return OK;
}

static enum err done(struct step *s, enum worker_state to, const char *code, const char *reason)
{
	return finish(s, &(struct operation_result){.outcome = OUTCOME_DONE, .from = s->w.state, .to = to, .code = code, .reason = reason});
}

/* Comes back soon: a run is ending, and that is no failure. */
static enum err again_soon(struct step *s)
{
	s->r->again_soon = true;
	return finish(s, &(struct operation_result){
		.outcome = OUTCOME_AGAIN, .again_seconds = TURN_MS / 1000.0, .from = s->w.state, .to = s->w.state});
}

static enum err retry(struct step *s, const char *doing)
{
	int64_t most = s->op.attempts < 9 ? (int64_t)RETRY_FIRST << s->op.attempts : RETRY_MOST;
	struct backoff b = {.first_ms = most * 500, .max_ms = most * 500};
	double seconds = (double)most / 2 + (double)backoff_next(&b) / 1000;
	const char *sentence = arena_printf(&s->r->arena, "%s It is tried again.", s->e.msg[0] ? s->e.msg : "Its provider did not answer.");

	log_warn("step.retry", "worker=%lld doing=%s failures=%d in=%.1fs error=\"%s\"", (long long)s->w.id, doing, s->op.attempts + 1, seconds,
		 s->e.msg);
	return finish(s, &(struct operation_result){.outcome = OUTCOME_AGAIN, .again_seconds = seconds, .failure = true,
						    .error = s->e.msg, .from = s->w.state, .to = s->w.state,
						    .code = "provider", .reason = sentence});
}

/* ---- sessions ------------------------------------------------------------- */

static enum err end_session(struct step *s, const char *code, const char *reason, struct str log, bool release)
{
	struct session_ending ending = {
		.id = s->w.session, .code = code, .reason = reason, .log = log, .release = release, .silent = -1};
	struct session_ended ended;
	enum err err = session_end(s->r->db, &ending, 1, &ended, &s->e);

	if (!err) {
		s->r->changed |= ended.ended > 0;
		s->r->requeued |= ended.requeued > 0;
		s->w.over = true;
	}
	return err;
}

/* The run of the worker's session: OK, or ERR_NOT_FOUND when there is and will be none. */
static enum err run_of(struct step *s, struct run *run)
{
	enum err err = OK;

	if (!s->w.session || !s->p->find)
		return ERR_NOT_FOUND;
	*run = (struct run){.reference = s->w.reference};
	if (s->w.reference.len)
		return OK;
	err = call_find(s->r, s->p, &(struct launch){.intent = s->w.intent, .worker = s->w.id}, run, &s->e);
	if (!err)
		err = session_ran(s->r->db, &s->r->arena, s->w.session, run->reference, run->url, &s->e);
	return err;
}

/* ---- start ---------------------------------------------------------------- */

/* A refusal ends the session and says so with the worker. */
static enum err refused(struct step *s, enum err err)
{
	enum worker_state to = provider_verdict(err, &s->e) == VERDICT_HUMAN ? WORKER_NEEDS_HUMAN : WORKER_FAILED;
	char *reason = arena_strdup(&s->r->arena, s->e.msg);
	const char *code = to == WORKER_FAILED ? "refused" : "needs_human";

	if (!s->w.over && (err = end_session(s, code, reason, STR_NULL, true)))
		return err;
	err = worker_look(s->r->db, &s->r->arena, s->w.id, &s->w, &s->e);
	if (err || s->w.generation != s->op.generation)
		return err ? err : ERR_CONFLICT;
	CRASH_POINT("start.refused");
	return finish(s, &(struct operation_result){
		.outcome = OUTCOME_FAILED, .error = reason, .from = s->w.state, .to = to, .code = code, .reason = reason});
}

static enum err launch(struct step *s, const struct secret *token)
{
	struct launch l = {
		.intent = s->w.intent,
		.worker = s->w.id,
		.title = s->w.title,
		.accelerator = s->w.accelerator,
		.token = token,
		.server_url = s->r->config->public_url,
		.limit_seconds = s->w.limit_seconds,
	};
	struct run run = {0};
	enum err err;

	CRASH_POINT("start.before");
	err = call_start(s->r, s->p, &l, &run, &s->e);
	CRASH_POINT("start.after");
	if (err && provider_verdict(err, &s->e) != VERDICT_RETRY)
		return refused(s, err);
	if (err)
		return retry(s, "start");
	err = session_ran(s->r->db, &s->r->arena, s->w.session, run.reference, run.url, &s->e);
	CRASH_POINT("start.kept");
	return err ? err : done(s, s->w.state, NULL, NULL);
}

static struct secret new_token(uint8_t hash[CRYPTO_HASH])
{
	char text[CRYPTO_TOKEN_TEXT];
	struct secret token;

	crypto_token("gpe", text);
	token = secret_new(str_of(text));
	crypto_hash(str_of(text), hash);
	crypto_wipe(text, sizeof(text));
	return token;
}

/* A session exists; whether its run does is for the provider to say. */
static enum err start_known(struct step *s)
{
	uint8_t hash[CRYPTO_HASH];
	struct run run;
	enum err err = run_of(s, &run);

	CRASH_POINT("start.found");
	if (!err)
		return done(s, s->w.state, NULL, NULL);
	if (err != ERR_NOT_FOUND)
		return retry(s, "find");
	cleanup_secret struct secret token = new_token(hash);

	err = session_token(s->r->db, s->w.session, hash, &s->e);
	if (err == ERR_CONFLICT)
		return done(s, s->w.state, NULL, NULL); /* an agent is there */
	return err ? err : launch(s, &token);
}

/* The run of the last session must be over: OK, ERR_CONFLICT while it is not. */
static enum err last_is_over(struct step *s)
{
	struct run_status status;
	struct run run;
	enum err err = run_of(s, &run);

	if (err == ERR_NOT_FOUND || !(s->p->caps & KNOWS_RUNS))
		return OK;
	if (!err)
		err = call_poll(s->r, s->p, &run, &status, &s->e);
	if (err || status.phase == RUN_ENDED)
		return err;
	if (s->p->stop)
		err = call_stop(s->r, s->p, &run, true, &s->e);
	return err ? err : ERR_CONFLICT;
}

static enum err open_session(struct step *s, const uint8_t *hash)
{
	bool human = s->p->caps & HUMAN_START;
	struct session_opening o = {
		.worker = s->w.id, .operation = s->op.id, .claimed_by = s->r->me, .generation = s->op.generation, .token_hash = hash,
		.state = human ? WORKER_NEEDS_HUMAN : WORKER_STARTING,
		.code = human ? "paste_line" : NULL,
		.reason = human ? "Start its agent: this page shows the line to paste on the machine." : NULL,
	};
	struct session_opened opened;
	enum err err;

	if (!worker_may_move(s->w.state, o.state))
		BUG("no move from %s to %s", worker_state_name(s->w.state), worker_state_name(o.state));
	err = session_open(s->r->db, &s->r->arena, &o, &opened, &s->e);
	if (err)
		return err;
	log_info("session.open", "worker=%lld session=%lld intent=%.*s", (long long)s->w.id, (long long)opened.id, STR_ARG(opened.intent));
	s->r->changed = true;
	s->w.state = o.state;
	s->w.session = opened.id;
	s->w.intent = opened.intent;
	s->w.limit_seconds = opened.limit_seconds;
	s->w.reference = STR_NULL;
	s->w.over = s->w.registered = false;
	return OK;
}

static enum err step_start(struct step *s)
{
	uint8_t hash[CRYPTO_HASH];
	enum err err;

	if (!s->w.over)
		return s->w.state == WORKER_STARTING ? start_known(s) : end_session(s, "superseded", "Another start came.", STR_NULL, true);
	err = last_is_over(s);
	CRASH_POINT("start.last");
	if (err == ERR_CONFLICT)
		return again_soon(s);
	if (err)
		return retry(s, "look");
	if (s->p->caps & HUMAN_START) {
		err = open_session(s, NULL);
		return err ? err : done(s, s->w.state, "paste_line", "Start its agent: this page shows the line to paste on the machine.");
	}
	if (s->p->launch_valid) {
		struct launch l = {.worker = s->w.id, .title = s->w.title, .accelerator = s->w.accelerator};

		if (!s->p->launch_valid(&l, &s->e))
			return refused(s, ERR_INVALID);
	}
	cleanup_secret struct secret token = new_token(hash);

	err = open_session(s, hash);
	CRASH_POINT("start.opened");
	return err ? err : launch(s, &token);
}

/* ---- stop and delete ------------------------------------------------------ */

/* OK when nothing of the worker runs any more; ERR_CONFLICT while something does. */
static enum err bring_down(struct step *s, struct run *run, struct run_status *status)
{
	enum err err = run_of(s, run);

	*status = (struct run_status){.phase = RUN_ENDED, .orderly = true};
	if (!(s->p->caps & KNOWS_RUNS)) {
		/* The order to stop reaches the agent on its claim; its goodbye ends the session. */
		bool hears = !s->w.over && s->w.registered && s->w.silent < (double)(3 * s->r->config->heartbeat_seconds);

		return hears && s->op.age < GOODBYE_SECONDS ? ERR_CONFLICT : OK;
	}
	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	err = call_poll(s->r, s->p, run, status, &s->e);
	if (err || status->phase == RUN_ENDED)
		return err;
	/* Where stopping takes the agent's breath away it is first left the time to hand back its jobs. */
	if (!(s->p->caps & SOFT_STOP) && !s->w.over && s->w.registered && s->op.age < GOODBYE_SECONDS / 2)
		return ERR_CONFLICT;
	CRASH_POINT("stop.before");
	err = call_stop(s->r, s->p, run, false, &s->e);
	CRASH_POINT("stop.after");
	return err ? err : ERR_CONFLICT;
}

/* OK when down and its session ended; else the step has written its outcome and *over is false. */
static enum err stop_first(struct step *s, struct run *run, bool *over)
{
	struct run_status status;
	struct str log = STR_NULL;
	enum err err = OK;

	*over = false;
	if (s->w.state != WORKER_STOPPING && s->w.state != WORKER_STOPPED)
		err = finish(s, &(struct operation_result){.outcome = OUTCOME_KEEP, .from = s->w.state, .to = WORKER_STOPPING,
							   .code = "asked", .reason = "It is being stopped."});
	CRASH_POINT("stop.said");
	if (err)
		return err;
	err = bring_down(s, run, &status);
	if (err == ERR_CONFLICT)
		return again_soon(s);
	if (err)
		return retry(s, "stop");
	if (!s->w.over) {
		log = call_log_tail(s->r, s->p, run);
		err = end_session(s, "stopped", status.orderly ? "It was stopped as asked." : status.reason, log, true);
		CRASH_POINT("stop.ended");
	}
	*over = !err;
	return err;
}

static enum err step_stop(struct step *s)
{
	struct run run = {0};
	bool over;
	enum err err = stop_first(s, &run, &over);

	if (err || !over)
		return err;
	CRASH_POINT("stop.over");
	return done(s, WORKER_STOPPED, "stopped", "It was stopped as asked.");
}

static enum err step_delete(struct step *s)
{
	struct run run = {0};
	bool over;
	enum err err = stop_first(s, &run, &over);

	if (err || !over)
		return err;
	CRASH_POINT("delete.stopped");
	if (s->p->remove && run.reference.len) {
		err = call_remove(s->r, s->p, &run, &s->e);
		CRASH_POINT("delete.removed");
		if (err)
			return retry(s, "remove");
	}
	return done(s, WORKER_DELETED, "deleted", "It was deleted as asked.");
}

/* ---- the table of steps --------------------------------------------------- */

static enum err step_rest(struct step *s)
{
	return done(s, s->w.state, NULL, NULL);
}

/* The next watch looks at it at once. */
static enum err step_verify(struct step *s)
{
	memset(s->r->look_at, 0, sizeof(s->r->look_at));
	return done(s, s->w.state, NULL, NULL);
}

static enum err (*const steps[STEP_COUNT])(struct step *) = {
	[STEP_REST] = step_rest, [STEP_VERIFY] = step_verify, [STEP_START] = step_start,
	[STEP_STOP] = step_stop, [STEP_DELETE] = step_delete,
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
	(void)!operation_let_go(r->db, op, r->me, err && err != ERR_CONFLICT ? LET_GO_SECONDS : TURN_MS / 1000.0, &e);
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
	r->sweep_at = clock_ms() + SWEEP_MS;
	if (operation_sweep(r->db, names, &opened, &e) == OK && opened)
		log_info("operation.sweep", "opened=%d", opened);
	return opened;
}

int reconcile_turn(struct reconciler *r)
{
	cleanup_buf struct buf names = BUF_INIT(4096);
	struct operation due[CLAIM_MOST];
	struct error e;
	int64_t until;
	int count = 0;

	call_provider_names(r, &names);
	if (!r->began) {
		if (operation_claims_of_dead(r->db, &names, r->me, &e))
			return -1;
		r->began = true;
	}
	if (operation_claim(r->db, &names, r->me, due, CLAIM_MOST, &count, &e))
		return -1;
	CRASH_POINT("turn.claimed");
	until = clock_ms() + OPERATION_CLAIM_SECONDS * 1000 / 2;
	for (int i = 0; i < count; i++)
		if (clock_ms() < until)
			one(r, &due[i]);
		else
			let_go(r, &due[i], OK, NULL);
	return count + sweep(r, &names);
}

/* ---- set-up --------------------------------------------------------------- */

static enum err add_provider(struct reconciler *r, const struct provider *p, struct error *e)
{
	if (r->provider_count == RECONCILE_PROVIDERS)
		return error_set(e, ERR_INVALID, "providers: too many");
	r->providers[r->provider_count++] = p;
	return OK;
}

enum err reconcile_init(struct reconciler *r, struct db *db, const struct config *config, struct error *e)
{
	struct str rest = str_of(config->providers), name;
	char host[48] = "", random[37];
	enum err err = OK;

	*r = (struct reconciler){.db = db, .config = config};
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
