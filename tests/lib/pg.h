/*
 * pg - a throwaway PostgreSQL cluster for one test program.
 *
 * Lives in a directory of its own below /dev/shm or /tmp, listens on a unix socket there
 * only, and ends with the program, however that ends.  The database `gpupool`
 * has the roles and all migrations.  pg_start() aborts the test program with a
 * message when it cannot work.
 *
 * Start it in main() before the suite runs; tests in forked children may use
 * it.  A test that must see only its own rows takes pg_copy().
 */
#ifndef TESTS_PG_H
#define TESTS_PG_H

#include <sys/types.h>

#include "db/db.h"

struct pg {
	char dir[64];
	char bindir[128];
	pid_t pid;   /* the postmaster */
	pid_t owner; /* the process that stops it */
};

struct pg *pg_start(void);
void pg_stop(struct pg *pg);

/* Connection string of "web", "events", "provisioner", "local", "secrets",
 * "owner" or "postgres" (superuser) to `database`; static buffers, 8 of them. */
const char *pg_conninfo(const struct pg *pg, const char *role, const char *database);
/* Makes a database as fresh as after the migrations. */
void pg_copy(const struct pg *pg, const char *database);
/* An open connection, or the test program ends. */
struct db *pg_db(const struct pg *pg, const char *role, const char *database);
/* Runs SQL text as `role`; rows may be NULL. */
void pg_sql(struct db *db, const char *sql, struct rows *rows);
/* The first column of the first row, for counts. */
int64_t pg_int(struct db *db, const char *sql);

/* kill -9 of the postmaster, then a new one on the same data. */
void pg_crash(struct pg *pg);
/* SIGSTOP and SIGCONT to every process of the cluster. */
void pg_freeze(const struct pg *pg, bool stop);

/* Runs until cond returns true, 20 ms between tries; false after ms. */
bool wait_for(bool (*cond)(void *), void *ctx, int ms);

#endif
