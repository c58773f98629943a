/*
 * polls - the watch of one run elsewhere: what shows of it, its end when nobody
 * wants it any more, and what is kept when it is over.  A part of
 * control/reconcile.h.
 *
 * The watch alone ends runs elsewhere, for whatever reason: a stop that was
 * asked for, a deadline, a session that has ended while its run has not.  The
 * ladder of that: the agent is told and goes by itself; then the provider is
 * asked; then it is asked harder; its own timeout is the last.
 */
#include <string.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/log.h"
#include "control/call.h"
#include "domain/poll.h"

enum {
	ENDING_MS = 5000,          /* between two looks at what should end; the first few sooner */
	ENDING_FIRST_MS = 1500, ENDING_FIRST_SECONDS = 5,
	REGISTERED_TIMES = 4,      /* so much rarer are looks at a run whose agent is heard */
	BACKOFF_MOST_MS = 300000,
	ORDER_SECONDS = 30,        /* in which an order reaches the agent */
	EXIT_SECONDS = 60,         /* in which it goes then */
	INSIST_SECONDS = 120,      /* after the first request to the provider */
	SAVING_SECONDS = 600,      /* the same of a run that saves what it made: insisting may delete just that */
	REPEAT_SECONDS = 30,       /* a request is not repeated sooner */
	LOG_SECONDS = 60,          /* so long after its end nothing waits for its log any more */
	KEEP_SECONDS = 600,        /* what cannot be fetched until then is let go */
	KEEP_MOST_MS = 60000,
	LATE_LOG_MS = 100000,      /* between two looks for a log that nothing waits for */
	LONGEST_SECONDS = 26 * 3600, /* no provider lets a run last so long after its session */
};

_Static_assert(POLL_CLAIM_SECONDS > 2 * CALL_SECONDS + CALL_LONG_SECONDS, "a look asks, fetches, and ends");

struct look {
	struct reconciler *r;
	const struct provider *p;
	struct poll w;
	struct run run;
	int64_t asked_ms;          /* clock_ms() when its provider was */
	struct error e;
};

static const char *provider_title(const struct look *l)
{
	char *title = arena_strdup(&l->r->arena, l->p->title ? l->p->title : l->p->name);

	if (title && title[0] >= 'a' && title[0] <= 'z')
		title[0] = (char)(title[0] - 'a' + 'A');
	return title ? title : l->p->name;
}

static enum err next(struct look *l, int64_t ms, int failures, const char *phase)
{
	return poll_next(l->r->db, l->w.session, (double)reconcile_jitter(ms) / 1000, failures, phase, &l->e);
}

static enum err show(struct look *l, const char *code, const char *reason, enum worker_state state, enum worker_state other)
{
	if (!l->w.current || !reason)
		return OK;
	return session_phase(l->r->db, l->w.session, code, reason, state, other, &l->r->changed, &l->e);
}

/* ---- no look was possible ------------------------------------------------- */

static int64_t interval(const struct look *l)
{
	int64_t seconds = l->p->poll_seconds_of ? l->p->poll_seconds_of(l->r->config)
			  : l->p->poll_seconds	? l->p->poll_seconds
						: l->r->config->kaggle_poll_seconds;
	int64_t base = seconds * 1000;

	return l->w.registered && !l->w.ended ? base * REGISTERED_TIMES : base;
}

/* A person must act, or the provider asked for patience, or it failed: the look is put off. */
static enum err failed(struct look *l)
{
	const char *why = l->e.reason;
	char *sentence = arena_strdup(&l->r->arena, l->e.msg);
	int doublings = l->w.failures < 6 ? l->w.failures : 6;
	int64_t ms = interval(l) << doublings;
	enum err err;

	log_warn("run.look", "worker=%lld session=%lld failures=%d message=\"%s\"", (long long)l->w.worker, (long long)l->w.session,
		 l->w.failures + 1, l->e.msg);
	if (why && !strcmp(why, "circuit"))
		return next(l, (int64_t)(l->r->wait_seconds * 1250), l->w.failures, NULL);
	if (why && (!strcmp(why, "credentials") || !strcmp(why, "account"))) {
		err = show(l, why, sentence, WORKER_STOPPING, WORKER_STARTING);
		return err ? err : next(l, BACKOFF_MOST_MS, l->w.failures, NULL);
	}
	err = show(l, "provider", sentence, WORKER_STOPPING, WORKER_STOPPING);
	return err ? err : next(l, ms < BACKOFF_MOST_MS ? ms : BACKOFF_MOST_MS, l->w.failures + 1, NULL);
}

/* ---- its session ends ----------------------------------------------------- */

/* Those who wait for room at this account may try. */
static enum err room(struct look *l)
{
	return db_run(l->r->db, STMT_SESSION_ROOM, ARGS(arg_i64(l->w.session)), NULL, &l->e);
}

static enum err end_session(struct look *l, const char *code, const char *reason, struct str log, bool release)
{
	struct session_ending ending = {
		.id = l->w.session, .code = code, .reason = reason, .log = log, .release = release, .silent = -1};
	struct session_ended ended;
	enum err err = session_end(l->r->db, &ending, 1, &ended, &l->e);

	if (err)
		return err;
	if (ended.ended)
		log_info("session.end", "worker=%lld session=%lld code=%s requeued=%d", (long long)l->w.worker, (long long)l->w.session, code,
			 ended.requeued);
	l->r->changed |= ended.ended > 0;
	l->r->requeued |= ended.requeued > 0;
	l->r->sweep_at = 0;
	l->w.ended = true;
	return room(l);
}

static enum err end_as(struct look *l, const struct run_status *status, const struct outputs *left)
{
	const char *reason = status->reason ? status->reason : "Its run has ended.";
	const char *code = !status->code ? "ended" : strcmp(status->code, "stopped") ? status->code : "terminated";

	if (!l->w.wanted && l->w.current)
		return end_session(l, "stopped", "It was stopped as asked.", left->log, true);
	if (l->w.past_deadline || !strcmp(code, "limit"))
		return end_session(l, "deadline", "The session reached its deadline.", left->log, true);
	if (left->reason) {
		reason = left->reason;
		code = left->code ? left->code : code;
	}
	if (!l->w.registered)
		reason = arena_printf(&l->r->arena, "It did not come to register. %s", reason);
	return end_session(l, code, reason ? reason : "Its run has ended.", left->log, status->orderly);
}

/* ---- it is over: what it left is kept -------------------------------------- */

/* A file of the run's that is called like its log gets a number. */
static const char *name_of(struct look *l, const struct outputs *left, const char *name)
{
	bool taken = !strcmp(name, "log");

	for (int n = 1; name && taken; n++) {
		taken = false;
		name = arena_printf(&l->r->arena, "log.%d", n);
		for (size_t i = 0; name && i < left->file_count; i++)
			taken |= !strcmp(left->files[i].name, name);
	}
	return name ? name : "file";
}

static enum err keep(struct look *l, const struct outputs *left, bool last)
{
	struct poll_file *files = arena_array(&l->r->arena, left->file_count + 1, sizeof(*files));
	size_t n = 0;

	if (!files)
		return error_set(&l->e, ERR_TOO_LARGE, "What the run left is too large to keep.");
	if (left->whole_log.len)
		files[n++] = (struct poll_file){STR("log"), left->whole_log, (int64_t)left->whole_log.len};
	else if (left->log.len)
		files[n++] = (struct poll_file){STR("log"), left->log, (int64_t)left->log.len};
	for (size_t i = 0; i < left->file_count; i++) {
		const struct output_file *f = &left->files[i];

		files[n++] = (struct poll_file){str_of(name_of(l, left, f->name)), f->content, f->size >= 0 ? f->size : (int64_t)f->content.len};
	}
	return poll_keep(l->r->db, l->w.session, left->log.len ? left->log : STR_NULL, files, n, last, &l->e);
}

/* The phase says what is known of what a run left: "files" = they are kept, "mute" = there are none; in both no log. */
static bool has_phase(const struct look *l, const char *phase)
{
	return l->w.phase && !strcmp(l->w.phase, phase);
}

/* OK, or ERR_UNAVAILABLE while what it left may still come; *left is what there is so far. */
static enum err fetch(struct look *l, struct outputs *left)
{
	enum err err = ERR_NOT_FOUND;

	*left = (struct outputs){0};
	if (l->p->caps & CAN_LOGS)
		err = call_outputs(l->r, l->p, &l->run, has_phase(l, "files"), left, &l->e);
	if (!err && !left->log.len && l->w.over_for < LOG_SECONDS)
		return ERR_UNAVAILABLE;
	if (err)
		*left = (struct outputs){0};
	if (err == ERR_GONE || !(l->p->caps & CAN_LOGS) || l->w.over_for > KEEP_SECONDS)
		err = OK; /* there is nothing, or it does not come */
	return err ? ERR_UNAVAILABLE : OK;
}

/* Files that are there are kept at once: the next look asks for the log alone. */
static enum err put_off_fetch(struct look *l, const struct outputs *left)
{
	int64_t ms = (int64_t)(l->w.over_for * 500);
	const char *phase = NULL;

	ms = ms < ENDING_MS ? ENDING_MS : ms < KEEP_MOST_MS ? ms : KEEP_MOST_MS;
	if (l->e.reason && !strcmp(l->e.reason, "circuit"))
		ms = (int64_t)(l->r->wait_seconds * 1250);
	if (left->file_count && !has_phase(l, "files") && !keep(l, left, false))
		phase = "files";
	CRASH_POINT("poll.files");
	return next(l, ms, l->w.failures, phase);
}

static enum err let_go(struct look *l)
{
	enum err err = poll_end(l->r->db, l->w.session, &l->e);

	/* A delete waits for what is now here. */
	return err ? err : session_over(l->r->db, l->w.session, &l->e);
}

/* Nothing waits for it any more, but a log that comes late is still worth having. */
static enum err finish_log(struct look *l)
{
	struct outputs left = {0};
	enum err err = ERR_GONE;

	if ((has_phase(l, "files") || has_phase(l, "mute")) && l->w.over_for < KEEP_SECONDS)
		err = call_outputs(l->r, l->p, &l->run, has_phase(l, "files"), &left, &l->e);
	if ((!err && !left.log.len) || (err && err != ERR_GONE))
		return next(l, err && l->r->wait_seconds > 0 ? (int64_t)(l->r->wait_seconds * 1250) : LATE_LOG_MS, l->w.failures, NULL);
	if (!err)
		err = keep(l, &left, true);
	return err && err != ERR_GONE && err != ERR_INVALID && err != ERR_TOO_LARGE ? err : let_go(l);
}

/* The jobs of a run that is over are given back at once; one that ran none first learns why it ended. */
static enum err finish(struct look *l, const struct run_status *status)
{
	struct outputs left = {0};
	enum err late = l->w.kept ? OK : fetch(l, &left), err = OK;
	bool mute = !l->w.kept && !late && !left.log.len && (l->p->caps & CAN_LOGS) && !l->e.code && l->w.over_for < KEEP_SECONDS;

	if (!l->w.ended && (l->w.registered || !late || !l->w.wanted))
		err = end_as(l, status, &left);
	CRASH_POINT("poll.ended");
	if (err)
		return err;
	if (late)
		return put_off_fetch(l, &left);
	if (l->w.kept)
		return finish_log(l);
	err = keep(l, &left, true);
	if (err == ERR_INVALID || err == ERR_TOO_LARGE) /* no try will do better */
		err = keep(l, &(struct outputs){.log = left.log}, true);
	CRASH_POINT("poll.kept");
	if (err || !mute)
		return err ? err : let_go(l);
	err = next(l, LATE_LOG_MS, l->w.failures, left.file_count || has_phase(l, "files") ? "files" : "mute");
	return err ? err : session_over(l->r->db, l->w.session, &l->e);
}

static enum err run_ended(struct look *l, const struct run_status *status)
{
	enum err err = session_over(l->r->db, l->w.session, &l->e);

	CRASH_POINT("poll.over");
	if (!err && status->code && !strcmp(status->code, "cancelled"))
		err = db_run(l->r->db, STMT_SESSION_ENDED_AS, ARGS(arg_i64(l->w.session), arg_cstr(status->code)), NULL, &l->e);
	if (!err && l->w.ended)
		err = room(l);
	if (err)
		return err;
	log_info("run.over", "worker=%lld session=%lld code=%s", (long long)l->w.worker, (long long)l->w.session,
		 status->code ? status->code : "-");
	l->w.over = true;
	return finish(l, status);
}

/* Its agent has ended, and its machine has not: what is there is kept while it can be had, then the machine goes
 * back.  A later look finds it gone. */
static enum err give_back(struct look *l, const struct run_status *status)
{
	bool before = has_phase(l, "held");
	struct outputs left = {0};
	enum err err = OK;

	if (!l->w.kept && (l->p->caps & CAN_LOGS)) {
		err = call_outputs(l->r, l->p, &l->run, false, &left, &l->e);
		if (err && err != ERR_GONE && !(before && l->w.phase_for > LOG_SECONDS))
			return next(l, ENDING_MS, l->w.failures, "held");
		err = err ? OK : keep(l, &left, true);
		if (err == ERR_INVALID || err == ERR_TOO_LARGE)
			err = keep(l, &(struct outputs){.log = left.log}, true);
	}
	CRASH_POINT("poll.held");
	if (!err && !l->w.ended)
		err = end_as(l, status, &left);
	CRASH_POINT("poll.held_ended");
	if (err)
		return err;
	log_info("run.back", "worker=%lld session=%lld code=%s", (long long)l->w.worker, (long long)l->w.session, status->code ? status->code : "-");
	err = call_stop(l->r, l->p, &l->run, true, &l->e);
	CRASH_POINT("poll.back");
	return err && err != ERR_NOT_FOUND ? failed(l) : next(l, ENDING_FIRST_MS, 0, "asked");
}

/* ---- it should end -------------------------------------------------------- */

static bool hears(const struct look *l)
{
	return !l->w.ended && l->w.registered && l->w.silent < (double)(3 * l->r->config->heartbeat_seconds);
}

/* How long it may take to go by itself. */
static double patience(const struct look *l)
{
	if (l->w.ended)
		return EXIT_SECONDS;
	if (!hears(l))
		return 0;
	return l->w.past_deadline ? ORDER_SECONDS : ORDER_SECONDS + EXIT_SECONDS;
}

static enum err bring_down(struct look *l, const struct run_status *status)
{
	double late = l->w.unwanted - patience(l);
	bool insist = late >= (status->phase == RUN_ENDING ? SAVING_SECONDS : INSIST_SECONDS);
	const char *phase = insist ? "insisted" : "asked";
	bool said = l->w.phase && !strcmp(l->w.phase, phase);
	enum err err;

	if (late < 0 || !l->p->stop || (said && l->w.phase_for < REPEAT_SECONDS) || (!insist && status->phase == RUN_ENDING))
		return next(l, l->w.unwanted < ENDING_FIRST_SECONDS ? ENDING_FIRST_MS : ENDING_MS, 0, NULL);
	CRASH_POINT("poll.stop");
	log_info("run.stop", "worker=%lld session=%lld insist=%d after=%.0fs", (long long)l->w.worker, (long long)l->w.session, insist,
		 l->w.unwanted);
	err = call_stop(l->r, l->p, &l->run, insist, &l->e);
	CRASH_POINT("poll.stopped");
	if (err == ERR_NOT_FOUND)
		err = OK; /* the next look says so */
	return err ? failed(l) : next(l, ENDING_MS, 0, phase);
}

/* ---- it runs -------------------------------------------------------------- */

static enum err got_none(struct look *l)
{
	bool tpu = l->w.resource && !strcmp(l->w.resource, "tpu");
	char *reason = arena_printf(&l->r->arena,
				    "%s gave it no %s, only %s. Accounts without a verified phone number get none; verify it there, then start it again.",
				    provider_title(l), tpu ? "TPU" : "GPU", l->w.got.name);
	enum err err = end_session(l, "no_gpu", reason ? reason : "It got no GPU.", STR_NULL, true);

	CRASH_POINT("poll.no_gpu");
	if (!err && l->p->stop && call_stop(l->r, l->p, &l->run, false, &l->e))
		return failed(l);
	return err ? err : next(l, ENDING_MS, 0, "asked");
}

/* "2 × T4 of 14 GiB". */
static const char *machine(struct look *l, const struct poll_machine *m, bool memory)
{
	struct arena *a = &l->r->arena;
	const char *count = m->gpus ? arena_printf(a, "%d × ", m->gpus) : "";
	const char *of = memory && m->memory ? arena_printf(a, " of %.0f GiB", (double)(m->memory >> 20) / 1024) : "";
	const char *all = count && of ? arena_printf(a, "%s%s%s", count, m->name ? m->name : "?", of) : NULL;

	return all ? all : "?";
}

static enum err show_other(struct look *l)
{
	bool memory = l->w.got.memory && l->w.got.memory < l->w.asked.memory;

	return show(l, "got_other",
		    arena_printf(&l->r->arena, "%s was asked for %s and gave it %s; it goes on with that.", provider_title(l),
				 machine(l, &l->w.asked, memory), machine(l, &l->w.got, memory)),
		    WORKER_HEALTHY, WORKER_UNHEALTHY);
}

static enum err show_course(struct look *l, const struct run_status *status)
{
	const char *title = provider_title(l);
	struct arena *a = &l->r->arena;

	if (l->w.registered) /* whatever its provider still says of a queue */
		return l->w.got_other ? show_other(l) : OK;
	if (status->phase == RUN_QUEUED)
		return show(l, "queued", arena_printf(a, "%s has queued it.", title), WORKER_STARTING, WORKER_STARTING);
	return show(l, "unregistered", arena_printf(a, "It runs at %s; its agent has not registered yet.", title), WORKER_STARTING, WORKER_STARTING);
}

static enum err runs(struct look *l, const struct run_status *status)
{
	static const char *const phases[] = {[RUN_QUEUED] = "queued", [RUN_LIVE] = "live", [RUN_ENDING] = "ending"};
	int64_t ms = interval(l);
	enum err err = OK;

	if (status->phase == RUN_QUEUED && !l->w.registered) /* its hours have not begun */
		err = db_run(l->r->db, STMT_SESSION_QUEUED, ARGS(arg_i64(l->w.session), arg_double((double)(clock_ms() - l->asked_ms) / 1000)),
			     NULL, &l->e);
	if (err)
		return err;
	if (l->w.unwanted >= 0)
		return bring_down(l, status);
	if (l->w.registered && l->w.got_none && !l->w.ended)
		return got_none(l);
	err = show_course(l, status);
	if (l->w.left > 0 && l->w.left * 1000 < (double)ms)
		ms = (int64_t)(l->w.left * 1250);
	return err ? err : next(l, ms, 0, phases[status->phase]);
}

/* ---- one look ------------------------------------------------------------- */

static enum err look(struct look *l)
{
	struct run_status status = {.phase = RUN_ENDED};
	enum err err;

	if (l->w.over && l->w.ended)
		return finish(l, &status);
	l->asked_ms = clock_ms();
	err = call_poll(l->r, l->p, &l->run, &status, &l->e);
	if (err == ERR_NOT_FOUND)
		status = (struct run_status){.phase = RUN_ENDED, .code = "gone", .reason = "Its run is not there any more: it was deleted at its provider."};
	else if (err == ERR_GONE) /* nothing can be learnt of it ever again */
		status = (struct run_status){.phase = RUN_ENDED, .code = "account", .reason = "Its account's credentials were taken away."};
	else if (err && l->w.ended && l->w.unwanted > LONGEST_SECONDS)
		status = (struct run_status){.phase = RUN_ENDED, .code = "unknown", .reason = "Its provider says nothing of it, and its time is long over."};
	else if (err)
		return reconcile_stopping(l->r) ? ERR_CONFLICT : failed(l);
	if (status.phase != RUN_ENDED)
		return runs(l, &status);
	return status.held ? give_back(l, &status) : run_ended(l, &status);
}

int reconcile_poll(struct reconciler *r)
{
	cleanup_buf struct buf names = BUF_INIT(4096);
	struct look l = {.r = r};
	char context[48];
	enum err err;
	bool any;

	call_provider_names(r, &names);
	arena_reset(&r->arena);
	if (poll_claim(r->db, &r->arena, &names, r->me, (double)r->config->grace_seconds, &l.w, &any, &l.e))
		return -1;
	if (!any)
		return 0;
	CRASH_POINT("poll.claimed");
	snprintf(context, sizeof(context), "run-%lld", (long long)l.w.session);
	log_context(context);
	l.p = provider_find(l.w.provider);
	if (!l.p)
		BUG("claimed a run of provider %s", l.w.provider);
	l.run.reference = l.w.reference;
	l.run.busy = l.w.busy && !l.w.ended;
	l.run.heard = hears(&l);
	r->account = l.w.account;
	err = look(&l);
	if (err && err != ERR_CONFLICT)
		log_warn("run.look", "worker=%lld session=%lld error=%s message=\"%s\"", (long long)l.w.worker, (long long)l.w.session,
			 err_name(err), l.e.msg);
	/* Where nothing was written the claim ends by itself; sooner, if it can be said. */
	if (err)
		(void)!poll_next(r->db, l.w.session, (double)reconcile_jitter(ENDING_MS) / 1000, l.w.failures + 1, NULL, NULL);
	log_context(NULL);
	return 1;
}
