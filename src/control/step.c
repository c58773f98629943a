/* step - see control/step.h. */
#include "control/step.h"

#include <string.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/json.h"
#include "base/log.h"
#include "control/call.h"

enum {
	HERE_MS = 250, REMOTE_MS = 5000,   /* between two looks at what is under way */
	RETRY_FIRST = 1, RETRY_MOST = 300, /* seconds */
	UNSETTLED_MS = 10000,
	INPUTS_MOST = 64 << 10,
	WATCH_SECONDS = 5,                 /* until the first look at a run that was just started */
};

/* ---- outcomes ------------------------------------------------------------- */

enum err step_finish(struct step *s, const struct operation_result *result)
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

enum err step_done(struct step *s, enum worker_state to, const char *code, const char *reason)
{
	return step_finish(s, &(struct operation_result){
		.outcome = OUTCOME_DONE, .from = s->w.state, .to = to, .code = code, .reason = reason});
}

enum err step_again(struct step *s, const char *code, const char *reason)
{
	double ms = s->p->caps & REMOTE ? (double)reconcile_jitter(REMOTE_MS) : HERE_MS;

	s->r->again_soon = true;
	return step_finish(s, &(struct operation_result){
		.outcome = OUTCOME_AGAIN, .again_seconds = ms / 1000, .from = s->w.state, .to = s->w.state, .code = code, .reason = reason});
}

/* An account that gives no access, or a provider that asked for patience, is not a failure of this step. */
static bool put_off(const struct step *s, double *seconds)
{
	const char *why = s->e.reason;

	if (why && !strcmp(why, "circuit") && s->r->wait_seconds > 0)
		*seconds = s->r->wait_seconds + (double)reconcile_jitter(1000) / 1000;
	else if (why && (!strcmp(why, "credentials") || !strcmp(why, "account")))
		*seconds = RETRY_MOST; /* its replacement hurries this */
	else
		return false;
	return true;
}

/* Its jobs run, whatever we try to learn of it. */
static bool works(const struct step *s)
{
	return s->w.state == WORKER_HEALTHY || s->w.state == WORKER_UNHEALTHY || s->w.state == WORKER_DRAINING;
}

enum err step_retry(struct step *s, const char *doing)
{
	int64_t most = s->op.attempts < 9 ? (int64_t)RETRY_FIRST << s->op.attempts : RETRY_MOST;
	struct backoff b = {.first_ms = most * 500, .max_ms = most * 500};
	double seconds;
	bool failure = !put_off(s, &seconds), unsettled = failure && s->e.reason && !strcmp(s->e.reason, "unsettled");
	const char *code = !failure || unsettled ? s->e.reason : "provider";
	const char *sentence = arena_printf(&s->r->arena, "%s%s", s->e.msg[0] ? s->e.msg : "Its provider did not answer.",
					    failure ? " It is tried again." : "");

	if (reconcile_stopping(s->r))
		return ERR_CONFLICT; /* the call was cut: another goes on */
	if (failure)
		seconds = (double)most / 2 + (double)backoff_next(&b) / 1000;
	if (unsettled && seconds < (double)UNSETTLED_MS / 1000) /* it may settle by itself; what does not is asked ever more rarely */
		seconds = (double)reconcile_jitter(UNSETTLED_MS) / 1000;
	log_warn("step.retry", "worker=%lld doing=%s failures=%d in=%.1fs error=\"%s\"", (long long)s->w.id, doing,
		 s->op.attempts + failure, seconds, s->e.msg);
	return step_finish(s, &(struct operation_result){.outcome = OUTCOME_AGAIN, .again_seconds = seconds, .failure = failure,
							 .error = s->e.msg, .from = s->w.state, .to = s->w.state,
							 .code = works(s) ? NULL : code, .reason = works(s) ? NULL : sentence});
}

enum err step_wait(struct step *s, const char *code, const char *reason, double seconds)
{
	return step_finish(s, &(struct operation_result){.outcome = OUTCOME_AGAIN, .again_seconds = seconds, .from = s->w.state,
							 .to = WORKER_WAITING, .code = code, .reason = reason});
}

/* ---- what is started ------------------------------------------------------ */

static const char *const *names_of(struct arena *a, const struct json *inputs, const char *kind)
{
	const struct json *list = json_get(inputs, kind);
	const char **names = arena_array(a, json_len(list) + 1, sizeof(*names));

	for (size_t i = 0; names && i < json_len(list); i++)
		names[i] = arena_str(a, json_as_str(json_at(list, i))).ptr;
	return names;
}

static enum err inputs_of(struct step *s, struct inputs *ret)
{
	cleanup_json struct json *j = NULL;
	struct arena *a = &s->r->arena;

	if (s->w.inputs.len && json_parse(s->w.inputs, INPUTS_MOST, &j, &s->e))
		return ERR_INTERNAL;
	*ret = (struct inputs){
		.datasets = names_of(a, j, "datasets"),
		.models = names_of(a, j, "models"),
		.competitions = names_of(a, j, "competitions"),
		.kernels = names_of(a, j, "kernels"),
	};
	return ret->datasets && ret->models && ret->competitions && ret->kernels ? OK : ERR_INTERNAL;
}

enum err step_launch(struct step *s, const struct secret *token, struct launch *ret)
{
	struct inputs *inputs = arena_new(&s->r->arena, struct inputs);

	if (!inputs || inputs_of(s, inputs))
		return error_set(&s->e, ERR_INTERNAL, "The worker's inputs cannot be read.");
	*ret = (struct launch){
		.intent = s->w.intent,
		.worker = s->w.id,
		.title = s->w.title,
		.accelerator = s->w.accelerator,
		.name = s->w.name,
		.resource = s->w.resource,
		.shape = s->w.shape,
		.inputs = inputs,
		.token = token,
		.server_url = s->r->config->public_url,
		.limit_seconds = s->w.limit_seconds,
		.launched_for = s->w.launched_for,
	};
	return OK;
}

/* ---- sessions ------------------------------------------------------------- */

enum err step_end_session(struct step *s, const char *code, const char *reason, struct str log, bool release)
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
	/* Where no watch will say so: those who wait for room at this account may try. */
	if (!err && ended.ended && (s->p->caps & REMOTE) && !step_watched(s->p))
		err = db_run(s->r->db, STMT_SESSION_ROOM, ARGS(arg_i64(s->w.session)), NULL, &s->e);
	return err;
}

enum err step_ran(struct step *s, const struct run *run)
{
	if (step_watched(s->p))
		return session_ran_remote(s->r->db, &s->r->arena, s->w.session, run->reference, run->url, WATCH_SECONDS, &s->e);
	return session_ran(s->r->db, &s->r->arena, s->w.session, run->reference, run->url, &s->e);
}

enum err step_find(struct step *s, struct run *run)
{
	struct launch l;
	enum err err;

	if (!s->w.session || !s->p->find)
		return ERR_NOT_FOUND;
	*run = (struct run){.reference = s->w.reference};
	if (s->w.reference.len)
		return OK;
	/* What was never sent, or was refused, need not be looked for. */
	if (step_watched(s->p) && (s->w.run_over || s->w.launched_for < 0))
		return ERR_NOT_FOUND;
	err = step_launch(s, NULL, &l);
	if (!err)
		err = call_find(s->r, s->p, &l, run, &s->e);
	CRASH_POINT("run.found");
	return err;
}

enum err step_run(struct step *s, struct run *run)
{
	enum err err = step_find(s, run);

	return err || s->w.reference.len ? err : step_ran(s, run);
}
