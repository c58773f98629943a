/*
 * loop - epoll, a few timers and deferred work: what one thread of the events
 * role turns on.
 *
 * Watches, timers and tasks are embedded in their owners and never allocated
 * here.  A turn is: events of descriptors, timers that passed, then deferred
 * tasks until none is left.  Deferring is how work that arrives together is
 * seen together: a task queued many times in one turn runs once.
 *
 * A callback may remove any watch, timer or task, its own included, but must
 * not free the memory of a watch before the turn is over: loop_defer() a task
 * for that.
 */
#ifndef WEB_LOOP_H
#define WEB_LOOP_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

struct loop;

struct watch {
	int fd; /* -1 = not watched */
	uint32_t events;
	void (*ready)(void *ctx, uint32_t events); /* EPOLLIN, EPOLLOUT, … */
	void *ctx;
};

struct timer {
	int64_t at; /* monotonic ms; INT64_MAX = off */
	void (*due)(void *ctx);
	void *ctx;
	struct timer *next;
};

struct task {
	void (*run)(void *ctx);
	void *ctx;
	struct task *next;
	bool queued;
};

enum err loop_new(struct loop **ret) must_check;
void loop_free(struct loop *l);

/* Watches fd for events from now on, or changes what is watched; also after fd
 * was closed and opened anew.  false: the system refused (errno). */
bool loop_watch(struct loop *l, struct watch *w, int fd, uint32_t events) must_check;
void loop_unwatch(struct loop *l, struct watch *w);

/* Timers are few (tens): they lie in a list. */
void loop_add_timer(struct loop *l, struct timer *t);
void loop_remove_timer(struct loop *l, struct timer *t);

/* Runs the task at the end of this turn (of the next, outside of one). */
void loop_defer(struct loop *l, struct task *t);
void loop_undefer(struct loop *l, struct task *t);

/* One turn; waits at most max_ms for something to do.  Signals arrive while it
 * waits, under open_mask (NULL: as it is), and nowhere else if the caller blocks
 * them. */
void loop_turn(struct loop *l, int64_t max_ms, const sigset_t *open_mask);
/* Time at the begin of this turn, monotonic ms. */
int64_t loop_now(const struct loop *l);

#endif
