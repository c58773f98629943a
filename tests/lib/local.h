/*
 * local - a directory for local workers and stand-ins for their agents.
 *
 * The stand-in is a shell script that GPUPOOL_PYTHON names: it is started as
 * an agent is, and behaves as the test wants.  Its process list is found by
 * the directory's name, which no other process has on its command line.
 */
#ifndef TESTS_LOCAL_H
#define TESTS_LOCAL_H

#include "base/arena.h"
#include "base/config.h"
#include "provider/local.h"

struct place {
	char dir[64];               /* everything of this test lies below it */
	char python[96], local[96];
	struct config config;
	struct arena arena;
	struct error error;
};

/* An agent that runs until SIGTERM and leaves a child behind. */
extern const char stub_agent[];
/* One that does not hear SIGTERM. */
extern const char stub_deaf[];

void place_make(struct place *p, const char *script);
void place_script(struct place *p, const char *script);
/* kill -9 of every run and its keeper. */
void place_kill(struct place *p);
/* The same, and removes the directory. */
void place_drop(struct place *p);

struct provider_call place_call(struct place *p);
/* A launch with a fresh intent; limit 0 = far beyond the test. */
struct launch place_launch(struct place *p, int64_t worker, int64_t limit_seconds);
/* Live processes that name this place on their command line or in their environment. */
int place_count(const struct place *p);
/* Agents: processes whose command line names this place's stand-in and agent file. */
int place_agents(const struct place *p);
char *place_read(struct place *p, const char *path); /* "" when it cannot be read */

#endif
