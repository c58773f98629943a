/*
 * step - what the steps of an operation have in common: the worker as it was
 * read, and the few ways in which a step ends.  Private to control/.
 *
 * Each way writes its outcome by compare-and-set and returns OK, or ERR_CONFLICT
 * when the worker is wanted otherwise by now; a step that returns without an
 * outcome is let go, and another takes it.
 */
#ifndef CONTROL_STEP_H
#define CONTROL_STEP_H

#include "control/reconcile.h"
#include "domain/operation.h"

/* Its runs are watched one by one, which alone ends them (polls.c). */
static inline bool step_watched(const struct provider *p)
{
	return (p->caps & REMOTE) && (p->caps & KNOWS_RUNS);
}

struct step {
	struct reconciler *r;
	struct operation op;
	struct worker_view w;
	const struct provider *p;
	bool decided;              /* its outcome is written */
	struct error e;
};

enum err step_finish(struct step *s, const struct operation_result *result) must_check;
enum err step_done(struct step *s, enum worker_state to, const char *code, const char *reason) must_check;
/* Comes back soon: something is under way, and that is no failure.  A reason shows with the worker; NULL = as it is. */
enum err step_again(struct step *s, const char *code, const char *reason) must_check;
/* s->e says what failed; it shows with the worker unless that is at work. */
enum err step_retry(struct step *s, const char *doing) must_check;
/* Its turn has not come: tries again in so many seconds, sooner when somebody hurries it. */
enum err step_wait(struct step *s, const char *code, const char *reason, double seconds) must_check;

enum err step_end_session(struct step *s, const char *code, const char *reason, struct str log, bool release) must_check;
/* What is started, or looked for; lies in the arena. */
enum err step_launch(struct step *s, const struct secret *token, struct launch *ret) must_check;
/* As step_run(), of which nothing is kept yet. */
enum err step_find(struct step *s, struct run *run) must_check;
/* The run of the worker's session: OK, or ERR_NOT_FOUND when there is and will be none. */
enum err step_run(struct step *s, struct run *run) must_check;
/* It exists: kept, whatever has happened since. */
enum err step_ran(struct step *s, const struct run *run) must_check;

/* ---- the steps ---- */
enum err start_step(struct step *s) must_check;
/* Its start was refused for good, as s->e says: its session ends, and it fails, or waits for a person. */
enum err start_refused(struct step *s, bool human) must_check;
enum err stop_step(struct step *s) must_check;
enum err delete_step(struct step *s) must_check;

#endif
