/*
 * start - the step that starts a worker: a session, then a run of it, each at
 * most once.  See control/step.h.
 *
 * Elsewhere hours are counted: the session, with the seconds that the ledger
 * grants, and its reservation are made in one transaction.  A start that must
 * wait leaves the operation open until it is worth another try.
 */
#include <string.h>

#include "base/crashpoint.h"
#include "base/log.h"
#include "control/call.h"
#include "control/step.h"
#include "domain/cooldown.h"
#include "domain/quota.h"
#include "domain/worker.h"

enum {
	ROOM_MS = 60000,          /* between two tries for room; a provider that has none is asked twice as rarely each time */
	ROOM_MOST_MS = 600000,
	FREED_MS = 2000,          /* room was made */
	CONTESTED_MS = 10000,     /* twice as long each time */
	CONTESTED_TRIES = 5,      /* then its name is another's, and stays so */
	QUOTA_MS = 300000,        /* until the account's figures, asked for meanwhile, are here */
	CHECK_SECONDS = 300,      /* until the figures of an account with something that runs are asked for */
};

static const char paste_line[] = "Start its agent: this page shows the line to paste on the machine.";
static const char open_notebook[] = "Open its notebook in Colab and run it: the worker's page has it, and shows when the worker is there.";

/* ---- refusals ------------------------------------------------------------- */

static const char *code_of(const struct step *s, const char *otherwise)
{
	return s->e.reason ? s->e.reason : otherwise;
}

/* Nothing of the session was begun, and never will be.  Afterwards s->w is as the rows are now. */
static enum err end_unbegun(struct step *s, const char *code, const char *reason)
{
	enum err err = OK;

	if (!s->w.over && (s->p->caps & REMOTE))
		err = session_over(s->r->db, s->w.session, &s->e);
	CRASH_POINT("start.unbegun");
	if (!err && !s->w.over)
		err = step_end_session(s, code, reason, STR_NULL, true);
	if (!err)
		err = worker_look(s->r->db, &s->r->arena, s->w.id, &s->w, &s->e);
	CRASH_POINT("start.refused");
	if (!err && s->w.generation != s->op.generation)
		err = ERR_CONFLICT;
	return err;
}

enum err start_refused(struct step *s, bool human)
{
	enum worker_state to = human ? WORKER_NEEDS_HUMAN : WORKER_FAILED;
	const char *code = code_of(s, human ? "needs_human" : "refused");
	char *reason = arena_strdup(&s->r->arena, s->e.msg);
	enum err err = end_unbegun(s, code, reason);

	return err ? err
		   : step_finish(s, &(struct operation_result){
			     .outcome = OUTCOME_FAILED, .error = reason, .from = s->w.state, .to = to, .code = code, .reason = reason});
}

static enum err no_room(struct step *s, const char *code, double seconds)
{
	char *reason = arena_strdup(&s->r->arena, s->e.msg);
	enum err err = end_unbegun(s, code, reason);

	return err ? err : step_wait(s, code, reason, seconds);
}

/* Kaggle was seen to count a run that was cancelled until its notebook was deleted.  One of this account whose outputs
 * are all here is deleted; false when there is none, or that failed. */
static bool free_stuck(struct step *s)
{
	cleanup_rows struct rows rows = {0};
	struct run run;
	struct error e = {0};
	int64_t session;

	if (!(s->p->caps & REMOTE) || !s->p->remove || !s->w.resource ||
	    db_run(s->r->db, STMT_SESSION_STUCK, ARGS(arg_i64(s->w.account), arg_cstr(s->w.resource), arg_i64(s->w.session)), &rows, &e) ||
	    !rows_count(&rows))
		return false;
	session = row_i64(&rows, 0, "id");
	run = (struct run){.reference = arena_str(&s->r->arena, row_str(&rows, 0, "provider_ref"))};
	log_info("run.stuck", "worker=%lld session=%lld", (long long)row_i64(&rows, 0, "worker_id"), (long long)session);
	if (call_remove(s->r, s->p, &run, &e))
		return false;
	CRASH_POINT("start.unstuck");
	return db_run(s->r->db, STMT_SESSION_UNSTUCK, ARGS(arg_i64(session)), NULL, &e) == OK;
}

/* A provider has no room, or no hours and does not publish those: the account cools down.  Each try costs calls, and
 * room that an end here makes hurries it anyway. */
static enum err provider_full(struct step *s, const char *code)
{
	int64_t ms = s->op.attempts < 4 ? (int64_t)ROOM_MS << s->op.attempts : ROOM_MOST_MS;
	char *reason = arena_strdup(&s->r->arena, s->e.msg);
	double seconds = 0;
	bool freed = !strcmp(code, "capacity") && free_stuck(s);
	enum err err = s->w.resource && !freed ? cooldown_refused(s->r->db, s->w.account, s->w.resource, code, reason, &seconds, &s->e) : OK;

	CRASH_POINT("start.cools");
	if (!err && seconds <= 0 && !strcmp(code, "quota")) { /* it counts more than we do: its figures are asked for */
		(void)!db_run(s->r->db, STMT_CHECK_LATER, ARGS(arg_i64(s->w.account), arg_i64(0)), NULL, NULL);
		return no_room(s, code, (double)reconcile_jitter(QUOTA_MS) / 1000);
	}
	if (!err)
		err = end_unbegun(s, code, reason);
	if (seconds > 0)
		ms = (int64_t)(seconds * 1250); /* a jitter of a fifth is not sooner */
	if (freed)
		ms = FREED_MS;
	return err ? err
		   : step_finish(s, &(struct operation_result){.outcome = OUTCOME_AGAIN, .again_seconds = (double)reconcile_jitter(ms) / 1000,
							       .failure = true, .from = s->w.state, .to = WORKER_WAITING,
							       .code = code, .reason = reason});
}

/* Nothing was begun: somebody saves that notebook at this moment, which passes, or its name is another's. */
static enum err contested(struct step *s)
{
	cleanup_rows struct rows rows = {0};
	char *reason = arena_strdup(&s->r->arena, s->e.msg);
	int tries;
	enum err err = db_run(s->r->db, STMT_SESSION_CONTESTED, ARGS(arg_i64(s->w.id), arg_i64(s->op.generation)), &rows, &s->e);

	if (err)
		return err;
	tries = 1 + (int)row_i64(&rows, 0, "tries");
	if (tries >= CONTESTED_TRIES) {
		error_set(&s->e, ERR_INVALID, "%.160s It said so %d times: close it there, or make a new one with another title.",
			  reason ? reason : "", tries);
		s->e.reason = "name_taken";
		return start_refused(s, false);
	}
	err = end_unbegun(s, "contested", reason);
	return err ? err
		   : step_finish(s, &(struct operation_result){.outcome = OUTCOME_AGAIN,
							       .again_seconds = (double)reconcile_jitter((int64_t)CONTESTED_MS << (tries - 1)) / 1000,
							       .failure = true, .from = s->w.state, .to = WORKER_WAITING,
							       .code = "contested", .reason = reason});
}

/* What a provider's call has answered that is not OK. */
static enum err judge(struct step *s, enum err err, const char *doing)
{
	switch (provider_verdict(err, &s->e)) {
	case VERDICT_REFUSED:
		return start_refused(s, false);
	case VERDICT_HUMAN:
		return start_refused(s, true);
	case VERDICT_CAPACITY:
		return provider_full(s, "capacity");
	case VERDICT_QUOTA:
		return provider_full(s, "quota");
	case VERDICT_RETRY:
		break;
	}
	return s->e.reason && !strcmp(s->e.reason, "contested") ? contested(s) : step_retry(s, doing);
}

/* ---- the run -------------------------------------------------------------- */

static enum err started(struct step *s)
{
	if (s->p->caps & HUMAN_START)
		return step_done(s, WORKER_NEEDS_HUMAN, "open_notebook", open_notebook);
	return step_watched(s->p) ? step_done(s, s->w.state, "accepted", "Its provider has accepted it.") : step_done(s, s->w.state, NULL, NULL);
}

static enum err launch(struct step *s, const struct secret *token)
{
	bool remote = step_watched(s->p);
	struct run run = {0};
	struct launch l;
	enum err err = step_launch(s, token, &l);

	if (!err && remote)
		err = session_launched(s->r->db, s->w.session, s->op.id, s->r->me, &s->e);
	if (!err && remote)
		err = db_run(s->r->db, STMT_CHECK_WITHIN, ARGS(arg_i64(s->w.account), arg_i64(CHECK_SECONDS)), NULL, &s->e);
	CRASH_POINT("start.before");
	if (err)
		return err;
	err = call_start(s->r, s->p, &l, &run, &s->e);
	CRASH_POINT("start.after");
	/* What does without credentials goes on so: the account says what is wrong with them. */
	if (err && (s->p->caps & MAY_SECRET) && provider_verdict(err, &s->e) == VERDICT_HUMAN)
		return step_again(s, NULL, NULL);
	if (err)
		return judge(s, err, "start");
	err = step_ran(s, &run);
	CRASH_POINT("start.kept");
	if (!err && remote && s->w.resource)
		err = cooldown_begun(s->r->db, s->w.account, s->w.resource, &s->e);
	return err ? err : started(s);
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
	enum err err = step_find(s, &run);
	bool unfinished = !err && run.unfinished;

	if (!err && !unfinished && !s->w.reference.len)
		err = step_ran(s, &run);
	CRASH_POINT("start.found");
	if (!err && !unfinished)
		return s->p->caps & HUMAN_START ? started(s) : step_done(s, s->w.state, NULL, NULL);
	if (provider_verdict(err, &s->e) == VERDICT_REFUSED) /* it was begun, could not stay as it was, and is gone */
		return start_refused(s, false);
	if (err != ERR_NOT_FOUND && !unfinished)
		return step_retry(s, "find");
	cleanup_secret struct secret token = new_token(hash);

	err = session_token(s->r->db, s->w.session, hash, &s->e);
	if (err == ERR_CONFLICT)
		return step_done(s, s->w.state, NULL, NULL); /* an agent is there */
	return err ? err : launch(s, &token);
}

/* The run of the last session must be over: OK, ERR_CONFLICT while it is not. */
static enum err last_is_over(struct step *s)
{
	struct run_status status;
	struct run run;
	enum err err = s->w.run_over ? ERR_NOT_FOUND : step_run(s, &run);

	if (err == ERR_NOT_FOUND && step_watched(s->p) && s->w.session && !s->w.run_over && s->w.launched_for >= 0)
		return session_over(s->r->db, s->w.session, &s->e); /* its hours and its place come back */
	if (err == ERR_NOT_FOUND || !(s->p->caps & KNOWS_RUNS))
		return OK;
	if (!err && (s->p->caps & REMOTE)) { /* its watch says when, and sees to it */
		err = session_hurry(s->r->db, s->w.session, 0, &s->e);
		return err ? err : ERR_CONFLICT;
	}
	if (!err)
		err = call_poll(s->r, s->p, &run, &status, &s->e);
	if (err || status.phase == RUN_ENDED)
		return err;
	if (s->p->stop)
		err = call_stop(s->r, s->p, &run, true, &s->e);
	return err ? err : ERR_CONFLICT;
}

/* ---- the session ---------------------------------------------------------- */

struct opening {
	struct step *s;
	struct session_opening o;
	struct session_opened opened;
	struct quota_grant grant;
	bool refused;
};

/* The order of locks: account, session, worker, operation. */
static enum err reserve_and_open(struct db *db, void *ctx)
{
	struct opening *t = ctx;
	struct step *s = t->s;
	struct quota_ask ask = {.account = s->w.account, .accelerator = s->w.accelerator,
				.max_session_seconds = s->w.max_seconds};
	enum err err = quota_reserve(db, &s->r->arena, &ask, &t->grant, &s->e);

	CRASH_POINT("open.reserved");
	t->refused = err == ERR_QUOTA;
	if (err)
		return t->refused ? OK : err; /* what was settled is kept */
	t->o.limit_seconds = t->grant.seconds;
	t->o.resource = t->grant.resource;
	err = session_open(db, &s->r->arena, &t->o, &t->opened, &s->e);
	CRASH_POINT("open.session");
	return err ? err : quota_attach(db, &t->grant, t->opened.id, &s->e);
}

/* OK, or ERR_QUOTA when it must wait for *seconds. */
static enum err open_session(struct step *s, const uint8_t *hash, double *seconds)
{
	bool human = (s->p->caps & HUMAN_START) && !(s->p->caps & CAN_START);
	struct opening t = {
		.s = s,
		.o = {.worker = s->w.id, .operation = s->op.id, .claimed_by = s->r->me, .generation = s->op.generation, .token_hash = hash,
		      .state = human ? WORKER_NEEDS_HUMAN : WORKER_STARTING, .code = human ? "paste_line" : NULL,
		      .reason = human ? paste_line : NULL},
	};
	enum err err;

	if (!worker_may_move(s->w.state, t.o.state))
		BUG("no move from %s to %s", worker_state_name(s->w.state), worker_state_name(t.o.state));
	err = s->p->caps & REMOTE ? tx_run(s->r->db, reserve_and_open, &t, &s->e)
				  : session_open(s->r->db, &s->r->arena, &t.o, &t.opened, &s->e);
	*seconds = t.grant.retry_seconds > 0 ? (double)t.grant.retry_seconds + (double)reconcile_jitter(2000) / 1000
					     : (double)reconcile_jitter(ROOM_MS) / 1000;
	if (err || t.refused)
		return err ? err : ERR_QUOTA;
	log_info("session.open", "worker=%lld session=%lld intent=%.*s seconds=%lld", (long long)s->w.id, (long long)t.opened.id,
		 STR_ARG(t.opened.intent), (long long)t.opened.limit_seconds);
	s->r->changed = true;
	s->w.state = t.o.state;
	s->w.session = t.opened.id;
	s->w.intent = t.opened.intent;
	s->w.limit_seconds = t.opened.limit_seconds;
	s->w.reference = STR_NULL;
	s->w.launched_for = -1;
	s->w.over = s->w.registered = s->w.run_over = false;
	return OK;
}

/* ---- the step ------------------------------------------------------------- */

static enum err start_by_hand(struct step *s)
{
	double unused;
	enum err err = open_session(s, NULL, &unused);

	return err ? err : step_done(s, s->w.state, "paste_line", paste_line);
}

/* What would refuse the start is better known before hours are reserved for it. */
static enum err may_start(struct step *s)
{
	enum err err = OK;
	struct launch l;

	if ((s->p->caps & REMOTE) && worker_reachable(s->p->name, s->r->config, &s->e))
		return ERR_INVALID; /* it would use up hours in vain */
	if (s->p->caps & REMOTE)
		err = call_ready(s->r, s->p, true, &s->e);
	if (err || !s->p->launch_valid)
		return err;
	err = step_launch(s, NULL, &l);
	return !err && !s->p->launch_valid(&l, &s->e) ? ERR_INVALID : err;
}

static enum err start_anew(struct step *s)
{
	uint8_t hash[CRYPTO_HASH];
	double seconds;
	cleanup_secret struct secret token = new_token(hash);
	enum err err = open_session(s, hash, &seconds);

	CRASH_POINT("start.opened");
	if (err == ERR_QUOTA)
		return step_wait(s, code_of(s, "quota"), arena_strdup(&s->r->arena, s->e.msg), seconds);
	if (err == ERR_INVALID)
		return start_refused(s, false);
	return err ? err : launch(s, &token);
}

enum err start_step(struct step *s)
{
	enum err err;

	if (!s->w.over && s->w.state == WORKER_NEEDS_HUMAN && (s->p->caps & HUMAN_START))
		return step_done(s, s->w.state, NULL, NULL); /* the line that is shown stays good */
	if (!s->w.over)
		return s->w.state == WORKER_STARTING ? start_known(s)
						     : step_end_session(s, "superseded", "Another start came.", STR_NULL, true);
	err = may_start(s);
	if (err == ERR_UNAVAILABLE && s->e.reason && (!strcmp(s->e.reason, "circuit") || !strcmp(s->e.reason, "unchecked")))
		return step_wait(s, s->e.reason, arena_strdup(&s->r->arena, s->e.msg), s->r->wait_seconds);
	if (err)
		return judge(s, err == ERR_GONE ? ERR_UNAUTHORIZED : err, "look");
	err = last_is_over(s);
	CRASH_POINT("start.last");
	if (err == ERR_CONFLICT)
		return s->p->caps & REMOTE ? step_again(s, "last_run", "Its last run is not over yet.") : step_again(s, NULL, NULL);
	if (err)
		return step_retry(s, "look");
	return s->p->caps & CAN_START ? start_anew(s) : start_by_hand(s);
}
