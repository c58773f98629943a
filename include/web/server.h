/*
 * server - the master of a prefork server.
 *
 * The master owns the listening socket and the children, and does no request
 * of its own.  A child that dies is replaced; children that die young are
 * replaced with a growing delay, and after too many the master gives up, so
 * that the service manager sees it.  SIGTERM and SIGINT drain: children finish
 * what they have, and are killed after DRAIN_SECONDS; a second signal kills
 * at once.  SIGHUP reads the configuration again: a good one starts a new
 * generation of children and drains the old one, a bad one is logged and
 * changes nothing.  Children end with the master, however it ends.
 */
#ifndef WEB_SERVER_H
#define WEB_SERVER_H

#include <signal.h>
#include <stdbool.h>

#include "base/arena.h"
#include "base/config.h"
#include "base/error.h"

enum {
	SERVER_DRAIN_SECONDS = 25,
	SERVER_CHILDREN = 1024,
	SERVER_YOUNG_MS = 2000,       /* a child that died before this age died young */
	SERVER_YOUNG_DEATHS = 20,     /* so many within SERVER_YOUNG_WINDOW_MS end the master */
	SERVER_YOUNG_WINDOW_MS = 60000,
};

/* What a child has to work with. */
struct server_child {
	const struct config *config;
	int listen_fd;              /* non-blocking, shared with the others */
	int number;                 /* 0 … processes - 1 */
	const sigset_t *open_mask;  /* for ppoll(): signals arrive there and nowhere else */
	const void *shared;         /* of struct server */
};

struct server {
	const char *name;                     /* "api", for log lines */
	/* Reads and checks the settings; called at start and at each SIGHUP. */
	enum err (*load)(void *ctx, struct arena *a, struct config *ret, struct error *e);
	void *ctx;
	int (*processes)(const struct config *c);
	/* Runs until server_stopping(); its result is the child's exit status. */
	int (*child)(const struct server_child *child);
	const void *shared;                   /* made before the fork, read-only: templates */
};

/* Exit status of the process. */
int server_run(const struct server *s);

/* In a child: SIGTERM has come. */
bool server_stopping(void);

#endif
