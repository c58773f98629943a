/*
 * remote - a world with a provider elsewhere (fake.h): a database of its own,
 * accounts with sealed credentials, workers, and provisioners as processes.
 *
 * Intervals there are many seconds long: remote_wait() moves what is due, but
 * takes nothing from who has claimed it.
 */
#ifndef TESTS_REMOTE_H
#define TESTS_REMOTE_H

#include <sys/types.h>

#include "base/config.h"
#include "pg.h"

enum { REMOTE_SOON = 60000 }; /* far above what any wait takes */

struct remote {
	struct pg *pg;
	struct db *db;              /* as the owner; search path set */
	struct arena arena;
	struct config config;       /* of the provisioners; a test may change it first */
	struct error e;
	char database[32], dir[64]; /* of the keys */
};
extern struct remote remote;

/* Once, in main(): the provider and the cluster. */
void remote_make(void);
void remote_set_up(void);
void remote_tear_down(void);

/* crash_at: see base/crashpoint.h; "" = never. */
pid_t remote_provisioner(const char *crash_at);
void remote_end(pid_t pid, int signal);

/* Owners are 1 (ada) and 2 (bob).  Key "good" is good. */
int64_t remote_account(int64_t owner, const char *user, const char *key);
/* Other credentials, as the web replaces them. */
void remote_seal(int64_t account, int64_t owner, const char *user, const char *key);
/* Wanted running, with the operation that starts it. */
int64_t remote_worker(int64_t account, const char *accelerator);
void remote_want(int64_t worker, const char *desired);
/* Its agent registers; got as an array literal. */
void remote_register(int64_t worker, const char *got);

void remote_sql(const char *sql);
int64_t remote_count(const char *fmt, ...) printf_like(1, 2);
/* What is due is due now. */
void remote_hurry(void);
/* Until the statement gives the value; the calm one hurries nothing. */
void remote_wait(int64_t value, const char *fmt, ...) printf_like(2, 3);
void remote_wait_calm(int64_t value, const char *fmt, ...) printf_like(2, 3);
void remote_wait_state(int64_t worker, const char *state);
void remote_wait_code(int64_t worker, const char *state, const char *code);
/* Its run is known and its agent has not registered. */
void remote_wait_started(int64_t worker);
/* Nothing is left to watch, nothing runs, and nothing was ever started twice. */
void remote_wait_quiet(void);
/* The workers, to standard error. */
void remote_dump(void);

#endif
