/*
 * stop - the steps that end a worker's run, and that delete the worker.  See
 * control/step.h.
 *
 * A run of this machine is polled and told to end here.  One elsewhere has its
 * watch (polls.c), which sees to its end and keeps what it left; the step hurries
 * that and waits.
 */
#include "base/crashpoint.h"
#include "base/log.h"
#include "control/call.h"
#include "control/step.h"

enum {
	GOODBYE_SECONDS = 60, /* for an agent that only an order can stop */
	FETCH_SECONDS = 10,   /* until another look for what a run left */
};

/* Whatever its account allows: nothing was ever sent of a start that would have to be looked for. */
static bool never_ran(const struct step *s)
{
	return !s->w.session || (!s->w.reference.len && s->w.launched_for < 0);
}

static enum err bring_down_remote(struct step *s, struct run *run)
{
	enum err err = s->w.run_over || never_ran(s) ? ERR_NOT_FOUND : call_ready(s->r, s->p, false, &s->e);

	*run = (struct run){.reference = s->w.reference};
	if (!err)
		err = step_run(s, run);
	if (err == ERR_GONE)
		log_warn("run.unreachable", "worker=%lld message=\"%s\"", (long long)s->w.id, s->e.msg);
	if (err == ERR_NOT_FOUND || err == ERR_GONE || provider_verdict(err, &s->e) == VERDICT_REFUSED) {
		/* The last: it was found, could not stay as it was, and is gone.  Its hours and its place come back. */
		return s->w.run_over || never_ran(s) ? OK : session_over(s->r->db, s->w.session, &s->e);
	}
	if (!err)
		err = session_hurry(s->r->db, s->w.session, 0, &s->e);
	return err ? err : ERR_CONFLICT;
}

/* OK when nothing of the worker runs any more; ERR_CONFLICT while something does. */
static enum err bring_down(struct step *s, struct run *run, struct run_status *status)
{
	enum err err;

	*status = (struct run_status){.phase = RUN_ENDED, .orderly = true};
	if (step_watched(s->p))
		return bring_down_remote(s, run);
	err = step_run(s, run);
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
		err = step_finish(s, &(struct operation_result){.outcome = OUTCOME_KEEP, .from = s->w.state, .to = WORKER_STOPPING,
								.code = "asked", .reason = "It is being stopped."});
	CRASH_POINT("stop.said");
	if (err)
		return err;
	err = bring_down(s, run, &status);
	if (err == ERR_CONFLICT)
		return step_again(s, NULL, NULL);
	if (err)
		return step_retry(s, "stop");
	if (!s->w.over) {
		if (!step_watched(s->p))
			log = call_log_tail(s->r, s->p, run);
		err = step_end_session(s, "stopped", status.orderly ? "It was stopped as asked." : status.reason, log, true);
		CRASH_POINT("stop.ended");
	}
	*over = !err;
	return err;
}

enum err stop_step(struct step *s)
{
	struct run run = {0};
	bool over;
	enum err err = stop_first(s, &run, &over);

	if (err || !over)
		return err;
	CRASH_POINT("stop.over");
	return step_done(s, WORKER_STOPPED, "stopped", "It was stopped as asked.");
}

enum err delete_step(struct step *s)
{
	struct run run = {0};
	bool over;
	enum err err = stop_first(s, &run, &over);

	if (err || !over)
		return err;
	CRASH_POINT("delete.stopped");
	if (s->p->caps & REMOTE) {
		/* What it left there goes with it, so it is kept first; an earlier run's is gone on with if the last never was. */
		if (step_watched(s->p) && s->w.reference.len && !s->w.kept) {
			err = session_hurry(s->r->db, s->w.session, FETCH_SECONDS, &s->e);
			return err ? err : step_again(s, "outputs", "What it left is being fetched before it is deleted.");
		}
		run.reference = s->w.last_reference;
	}
	if (s->p->remove && run.reference.len) {
		err = call_remove(s->r, s->p, &run, &s->e);
		CRASH_POINT("delete.removed");
		if (err && err != ERR_GONE && !((s->p->caps & REMOTE) && err == ERR_NOT_FOUND))
			return step_retry(s, "remove");
	}
	return step_done(s, WORKER_DELETED, "deleted", "It was deleted as asked.");
}
