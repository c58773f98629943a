/*
 * web - a running gpupool-web for one test program, on a socket of its own.
 *
 * The program is the one that was built beside the test.  It ends with the
 * test, however that ends.
 */
#ifndef TESTS_WEB_H
#define TESTS_WEB_H

#include <sys/types.h>

#include "fcgi_client.h"
#include "pg.h"

struct web {
	char dir[64], socket[96], database[160];
	pid_t pid;
	int processes;
};

/* role "api" or "events"; conninfo as from pg_conninfo().  Returns when it listens. */
void web_start(struct web *w, const char *role, const char *conninfo, int processes);
/* The same in the directory that it had. */
void web_start_again(struct web *w, const char *role);
/* Starts it in that directory, and does not wait for anything. */
void web_spawn(struct web *w, const char *role);
/* Its exit status when it ends by itself, or -1 when it did not within 30 s. */
int web_exit(struct web *w);
/* SIGTERM; the exit status, or -1 when it did not end within 30 s. */
int web_stop(struct web *w);
/* Pids of the children; how many. */
int web_children(const struct web *w, pid_t *ret, int most);
/* What it wrote to its log. */
const char *web_log(const struct web *w);

#endif
