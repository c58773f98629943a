/*
 * pool - rows of workers, sessions, leases and jobs for tests of statements,
 * written straight into the tables as the owner.
 */
#ifndef TESTS_POOL_H
#define TESTS_POOL_H

#include <stdint.h>

#include "pg.h"

/* A database of its own with user 1, accounts 1 (local) and 2 (manual), lane 1. */
struct pool {
	struct pg *pg;
	struct db *owner; /* search path set; sees everything */
	struct db *role;  /* as the programs connect */
	char database[48];
};

void pool_make(struct pool *p, struct pg *pg, const char *role);
void pool_drop(struct pool *p);
/* One more connection, as the programs make it. */
struct db *pool_connect(const struct pool *p, const char *role);

void pool_sql(struct pool *p, const char *fmt, ...) printf_like(2, 3);
int64_t pool_int(struct pool *p, const char *fmt, ...) printf_like(2, 3);

/* desired running, in this state, without a session. */
int64_t pool_worker(struct pool *p, const char *provider, const char *state);
/* Its session: running and heard a moment ago, or starting. */
int64_t pool_session(struct pool *p, int64_t worker, const char *state);
/* A job that waits (state "ready"), runs in a session, or is delayed until now. */
int64_t pool_ready(struct pool *p);
int64_t pool_lease(struct pool *p, int64_t session, int attempt, int max_attempts);

#endif
