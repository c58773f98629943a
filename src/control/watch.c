/* watch - looks at the runs of live sessions; the second half of control/reconcile.h. */
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "control/call.h"

enum { ORPHANS_MS = 5000, RESCUE_MS = 2000, LOOK_MS = 50 };

struct watched {
	int64_t session, worker;
	struct str intent;
	struct run run;
	bool registered, past_deadline;
};

/* ---- sessions whose run is over ------------------------------------------- */

static const char *end_code(const struct watched *w, const char *code)
{
	if (w->past_deadline || !strcmp(code, "limit"))
		return "deadline";
	return strcmp(code, "stopped") ? code : "terminated"; /* no operation asked for it */
}

static void end_watched(struct reconciler *r, const struct provider *p, const struct watched *w, const struct run_status *status)
{
	const char *reason = status->reason ? status->reason : "Its run has ended.";
	struct session_ending ending = {
		.id = w->session,
		.code = end_code(w, status->code),
		.reason = reason,
		.log = call_log_tail(r, p, &w->run),
		.release = status->orderly || w->past_deadline,
		.silent = -1,
	};
	struct session_ended ended;
	struct error e;

	if (!w->registered)
		ending.reason = arena_printf(&r->arena, "It did not come to register. %s", reason);
	if (w->past_deadline)
		ending.reason = "The session reached its deadline.";
	if (!ending.reason || session_end(r->db, &ending, 1, &ended, &e))
		return;
	if (ended.ended)
		log_info("session.end", "worker=%lld session=%lld code=%s requeued=%d", (long long)w->worker, (long long)w->session, ending.code,
			 ended.requeued);
	r->changed |= ended.ended > 0;
	r->requeued |= ended.requeued > 0;
	r->sweep_at = 0;
}

static void look_at(struct reconciler *r, const struct provider *p, const struct watched *w)
{
	struct run_status status = {0};
	struct error e;

	if (call_poll(r, p, &w->run, &status, &e)) {
		log_warn("provider.poll", "worker=%lld message=\"%s\"", (long long)w->worker, e.msg);
		return;
	}
	if (status.phase == RUN_ENDED)
		end_watched(r, p, w, &status);
	else if (w->past_deadline && p->stop && call_stop(r, p, &w->run, true, &e))
		log_warn("provider.stop", "worker=%lld message=\"%s\"", (long long)w->worker, e.msg);
}

static bool leads(struct reconciler *r, const struct provider *p)
{
	cleanup_rows struct rows rows = {0};

	return db_run(r->db, STMT_WATCH_LEAD, ARGS(arg_cstr(p->name)), &rows, NULL) == OK && row_bool(&rows, 0, "leads");
}

static void look(struct reconciler *r, const struct provider *p)
{
	cleanup_buf struct buf names = BUF_INIT(256);
	cleanup_rows struct rows rows = {0};
	struct error e;

	array_begin(&names);
	array_add_str(&names, str_of(p->name));
	array_end(&names);
	if (db_run(r->db, STMT_SESSION_WATCH, ARGS(arg_buf(&names), arg_double((double)r->config->grace_seconds)), &rows, &e))
		return;
	for (int i = 0; i < rows_count(&rows); i++) {
		struct watched w = {
			.session = row_i64(&rows, i, "id"),
			.worker = row_i64(&rows, i, "worker_id"),
			.intent = row_str(&rows, i, "intent"),
			.run.reference = row_str(&rows, i, "provider_ref"),
			.registered = row_bool(&rows, i, "registered"),
			.past_deadline = row_bool(&rows, i, "past_deadline"),
		};

		arena_reset(&r->arena);
		if (w.run.reference.len) /* without one the start is still under way */
			look_at(r, p, &w);
	}
}

/* ---- runs that no session stands for -------------------------------------- */

static const struct run_found *found(const struct run_list *list, struct str intent)
{
	for (size_t i = 0; i < list->count; i++)
		if (str_eq(list->items[i].intent, intent))
			return &list->items[i];
	return NULL;
}

static void stop_orphans(struct reconciler *r, const struct provider *p)
{
	cleanup_buf struct buf intents = BUF_INIT(1 << 20);
	cleanup_rows struct rows rows = {0};
	struct run_list list = {0};
	struct error e;
	bool any = false;

	arena_reset(&r->arena);
	if (call_list(r, p, NULL, &list, &e))
		return;
	array_begin(&intents);
	for (size_t i = 0; i < list.count; i++) {
		if (!list.items[i].live)
			continue;
		array_add_str(&intents, list.items[i].intent);
		any = true;
	}
	array_end(&intents);
	if (!any || db_run(r->db, STMT_SESSION_ORPHANS, ARGS(arg_buf(&intents)), &rows, &e))
		return;
	for (int i = 0; i < rows_count(&rows); i++) {
		const struct run_found *f = found(&list, row_str(&rows, i, "intent"));

		if (!f)
			continue;
		log_warn("run.orphan", "provider=%s intent=%.*s", p->name, STR_ARG(f->intent));
		if (call_stop(r, p, &f->run, true, &e))
			log_warn("provider.stop", "intent=%.*s message=\"%s\"", STR_ARG(f->intent), e.msg);
	}
}

void reconcile_watch(struct reconciler *r)
{
	bool orphans = clock_ms() >= r->orphans_at;

	if (orphans)
		r->orphans_at = clock_ms() + ORPHANS_MS;
	for (size_t i = 0; i < r->provider_count; i++) {
		const struct provider *p = r->providers[i];

		if (!(p->caps & KNOWS_RUNS) || clock_ms() < r->look_at[i] || !leads(r, p))
			continue;
		r->look_at[i] = clock_ms() + p->poll_seconds * 1000;
		look(r, p);
		if (orphans && p->list && p->stop)
			stop_orphans(r, p);
	}
}

/* ---- the end of this machine's workers ------------------------------------ */

static size_t live_runs(struct reconciler *r, const struct provider *p, bool stop)
{
	struct run_list list = {0};
	struct error e;
	size_t live = 0;

	arena_reset(&r->arena);
	if (call_list(r, p, NULL, &list, &e))
		return 0;
	for (size_t i = 0; i < list.count; i++) {
		if (!list.items[i].live)
			continue;
		live++;
		if (stop && call_stop(r, p, &list.items[i].run, true, &e))
			log_warn("provider.stop", "intent=%.*s message=\"%s\"", STR_ARG(list.items[i].intent), e.msg);
	}
	return live;
}

void reconcile_stop_local(struct reconciler *r)
{
	const struct provider *local = provider_find("local");
	/* Its keepers kill after ten seconds what does not go by itself. */
	int64_t until = clock_ms() + 10000 + RESCUE_MS;

	for (size_t i = 0; i < r->provider_count; i++) {
		if (r->providers[i] != local || !live_runs(r, local, true))
			continue;
		while (live_runs(r, local, false) && clock_ms() < until)
			clock_sleep_ms(LOOK_MS);
		look(r, local);
	}
}
