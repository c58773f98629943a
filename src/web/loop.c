/* The event loop; see web/loop.h. */
#include "web/loop.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

enum { EVENTS_A_TURN = 256 };

struct loop {
	int epoll;
	int64_t now;
	struct timer *timers;
	struct task *tasks, **tasks_end;
	struct epoll_event events[EVENTS_A_TURN];
	int count; /* of events that this turn still has to look at */
};

enum err loop_new(struct loop **ret)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l)
		error_no_memory();
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->epoll < 0) {
		free(l);
		return ERR_INTERNAL;
	}
	l->tasks_end = &l->tasks;
	l->now = clock_ms();
	*ret = l;
	return OK;
}

void loop_free(struct loop *l)
{
	close(l->epoll);
	free(l);
}

int64_t loop_now(const struct loop *l)
{
	return l->now;
}

bool loop_watch(struct loop *l, struct watch *w, int fd, uint32_t events)
{
	struct epoll_event e = {.events = events, .data.ptr = w};
	int op = w->fd == fd ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

	if (w->fd >= 0 && w->fd != fd)
		loop_unwatch(l, w);
	/* A descriptor that was closed has left the set by itself, and its number
	 * may already be another connection's. */
	if (epoll_ctl(l->epoll, op, fd, &e) &&
	    !((errno == ENOENT || errno == EEXIST) &&
	      !epoll_ctl(l->epoll, op == EPOLL_CTL_ADD ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e)))
		return false;
	w->fd = fd;
	w->events = events;
	return true;
}

void loop_unwatch(struct loop *l, struct watch *w)
{
	struct epoll_event unused = {0};

	if (w->fd < 0)
		return;
	epoll_ctl(l->epoll, EPOLL_CTL_DEL, w->fd, &unused); /* may be closed already */
	w->fd = -1;
	for (int i = 0; i < l->count; i++)
		if (l->events[i].data.ptr == w)
			l->events[i].data.ptr = NULL;
}

void loop_add_timer(struct loop *l, struct timer *t)
{
	t->next = l->timers;
	l->timers = t;
}

void loop_remove_timer(struct loop *l, struct timer *t)
{
	for (struct timer **p = &l->timers; *p; p = &(*p)->next)
		if (*p == t) {
			*p = t->next;
			return;
		}
}

void loop_defer(struct loop *l, struct task *t)
{
	if (t->queued)
		return;
	t->queued = true;
	t->next = NULL;
	*l->tasks_end = t;
	l->tasks_end = &t->next;
}

void loop_undefer(struct loop *l, struct task *t)
{
	struct task **p = &l->tasks;

	if (!t->queued)
		return;
	t->queued = false;
	while (*p != t)
		p = &(*p)->next;
	*p = t->next;
	if (!*p)
		l->tasks_end = p;
}

static int wait_ms(const struct loop *l, int64_t max_ms)
{
	int64_t ms = l->tasks ? 0 : max_ms;

	for (const struct timer *t = l->timers; t; t = t->next)
		if (t->at != INT64_MAX && t->at - l->now < ms)
			ms = t->at - l->now;
	return ms < 0 ? 0 : ms > INT_MAX ? INT_MAX : (int)ms;
}

static void run_timers(struct loop *l)
{
	for (struct timer *t = l->timers, *next; t; t = next) {
		next = t->next;
		if (t->at <= l->now) {
			t->at = INT64_MAX;
			t->due(t->ctx);
		}
	}
}

static void run_tasks(struct loop *l)
{
	while (l->tasks) {
		struct task *t = l->tasks;

		l->tasks = t->next;
		if (!l->tasks)
			l->tasks_end = &l->tasks;
		t->queued = false;
		t->run(t->ctx);
	}
}

void loop_turn(struct loop *l, int64_t max_ms, const sigset_t *open_mask)
{
	int n;

	l->now = clock_ms();
	n = epoll_pwait(l->epoll, l->events, EVENTS_A_TURN, wait_ms(l, max_ms), open_mask);
	if (n < 0 && errno != EINTR)
		BUG("epoll_wait: errno %d", errno);
	l->now = clock_ms();
	l->count = n > 0 ? n : 0;
	for (int i = 0; i < l->count; i++) {
		struct watch *w = l->events[i].data.ptr;

		if (w)
			w->ready(w->ctx, l->events[i].events);
	}
	l->count = 0;
	run_timers(l);
	run_tasks(l);
}
