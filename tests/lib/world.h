/*
 * world - people, workers and jobs for tests against a database.
 *
 * Each call inserts as the superuser what the programs would have made by
 * themselves, and returns its id.  A race is two connections: one thread runs
 * a call of the domain layer while the test waits until that is blocked.
 */
#ifndef TESTS_WORLD_H
#define TESTS_WORLD_H

#include "domain/job.h"
#include "pg.h"

struct world {
	const struct pg *pg;
	struct db *super, *web, *events; /* of one database of its own */
	struct arena arena;
	char name[32];
};

/* A fresh database; `name` once a test program. */
struct world *world_open(const struct pg *pg, const char *name);
void world_close(struct world *w);

struct principal world_user(struct world *w, const char *name, enum role role);
/* An account of a person at `provider`, sharing "none", "all" or "named" (with user `with`). */
int64_t world_account(struct world *w, int64_t owner, const char *provider, const char *sharing, int64_t with);
/* A worker in a state, with a running session that got these names (array text, "{gpu,T4}"); 0 slots = no session. */
int64_t world_worker(struct world *w, int64_t account, const char *state, const char *got, int slots);

/* Submits one document (' for "); the answer. */
struct job_placed world_submit(struct world *w, const struct principal *p, const char *document);
/* The whole first row of a job. */
void world_job(struct world *w, int64_t id, struct rows *ret);
enum job_state world_state(struct world *w, int64_t id);
/* Claims the job for the worker's session, by the events role's own statement; how many were leased. */
int world_claim_on(struct world *w, struct db *db, int64_t job, int64_t worker);
/* Reports the job's end as its agent would; the verdict. */
const char *world_report_on(struct world *w, struct db *db, int64_t job, int64_t worker, const char *lease, enum job_state state,
			    const char *result);
/* The lease of a running job. */
const char *world_lease(struct world *w, int64_t job);
/* Both as the superuser, who may have a transaction open; they must succeed. */
void world_claim(struct world *w, int64_t job, int64_t worker);
void world_end(struct world *w, int64_t job, enum job_state state, const char *result);
/* Formats and runs as the superuser; world_int returns the first value. */
void world_sql(struct world *w, const char *fmt, ...) printf_like(2, 3);
int64_t world_int(struct world *w, const char *fmt, ...) printf_like(2, 3);
/* printf'd into the world's arena, for statements run as another role. */
const char *world_text(struct world *w, const char *fmt, ...) printf_like(2, 3);

/* Waits until `n` sessions of this database wait for a lock. */
void world_blocked(struct world *w, int n);

#endif
