/*
 * local - workers that are processes of this machine.
 *
 * Below GPUPOOL_LOCAL_DIR:
 *
 *     lock              held while a start is under way, also by the new keeper
 *     runs/INTENT.json  what was started: made exclusively, before anything runs
 *     runs/INTENT.end   how it ended; absent while it lives or when its keeper died
 *     runs/INTENT.log   what the agent said
 *     work/WORKER/      the agent's file (ours) and home/ (the agent's own)
 *
 * A run is watched by a keeper: a child of the provisioner that outlives it,
 * ends the run at its limit, turns SIGTERM into "ask, wait ten seconds, kill"
 * and writes how it ended.  The keeper is the run's identity: its pid with its
 * start time and the machine's boot says for certain whether the run lives.
 *
 * find() is certain because the record is made before anything is executed,
 * and because the lock is inherited by the keeper: whoever gets the lock sees
 * either the record of an earlier start or knows that there will be none.
 */
#ifndef PROVIDER_LOCAL_H
#define PROVIDER_LOCAL_H

#include <sys/types.h>

#include "provider/provider.h"

extern const struct provider provider_local;

enum {
	LOCAL_STOP_MS = 10000,         /* from SIGTERM to SIGKILL */
	LOCAL_LOG_TAIL = 16 << 10,
	LOCAL_LOG_MOST = 8 << 20,      /* the agent's log begins anew beyond it */
};

/* ---- how processes are kept apart: local_sandbox.c ---- */
enum local_mode {
	LOCAL_UID,                     /* root: a uid of its own for each worker */
	LOCAL_BWRAP,                   /* ordinary user: bubblewrap */
	LOCAL_UNSAFE,                  /* GPUPOOL_LOCAL_UNSAFE=1: not at all */
};

struct local_sandbox {
	enum local_mode mode;
	const char *dir;               /* GPUPOOL_LOCAL_DIR, absolute */
	const char *work;              /* the worker's directory */
	const char *home;              /* home/ in it: the only place it may write */
	uid_t uid;                     /* LOCAL_UID */
	char **argv;                   /* what to execute, wrapped where needed */
	char **envp;
};

const char *local_mode_name(enum local_mode m);
/* The best mode that works here; ERR_INVALID with what to do when none does. */
enum err local_mode_choose(struct provider_call *c, enum local_mode *ret) must_check;
/* Fills argv (python, agent file, URL, wrapped) and the environment's list. */
enum err local_sandbox_fill(struct provider_call *c, const struct launch *l, struct local_sandbox *s) must_check;
/* A uid for the run that no process has; the caller holds *lock_fd until one has. */
enum err local_uid_take(struct provider_call *c, int64_t worker, struct str intent, uid_t *ret, int *lock_fd) must_check;
/* In the child, before exec: gives up everything; the errno of what failed, or 0. */
int local_sandbox_enter(const struct local_sandbox *s);
/* SIGKILL to every process of a uid, if this run was the last to take it:
 * another installation on this machine may have it by now. */
void local_uid_kill(uid_t uid, const char *intent);

/* ---- records of runs: local_run.c ---- */
struct local_record {
	char intent[37], boot[37];
	int64_t worker, start_time;
	pid_t pid;                     /* of the keeper */
	uid_t uid;                     /* LOCAL_UID */
	enum local_mode mode;
};
/* Opens (and makes) GPUPOOL_LOCAL_DIR/runs; its path, absolute, in *dir. */
enum err local_dirs(struct provider_call *c, const char **dir, int *runs_fd) must_check;
enum err local_lock(struct provider_call *c, const char *dir, int *ret) must_check;
/* ERR_NOT_FOUND when there is none. */
enum err local_record_read(struct provider_call *c, int runs_fd, struct str intent, struct local_record *ret) must_check;
/* ERR_CONFLICT when there is one already; safe to call in a forked child. */
enum err local_record_make(int runs_fd, const struct local_record *r) must_check;
bool local_record_live(const struct local_record *r);
/* All records, in the arena. */
enum err local_records(struct provider_call *c, int runs_fd, struct local_record **ret, size_t *count) must_check;
void local_record_drop(int runs_fd, const char *intent);

/* ---- what /proc says ---- */
struct local_process {
	pid_t parent;
	int64_t start_time;            /* clock ticks since boot */
	char state;                    /* 'Z' = only its exit status is left */
};
/* False when there is no such process. */
bool local_process_read(pid_t pid, struct local_process *ret);
/* Calls fn for each process; stops when it returns false. */
void local_process_each(bool (*fn)(void *ctx, pid_t pid, const struct local_process *p), void *ctx);
void local_boot_id(char ret[37]);

/* ---- the keeper: local_keeper.c ---- */
struct local_keeper {
	const struct local_sandbox *sandbox;
	struct local_record record;    /* all but pid, start time and boot */
	int runs_fd;                   /* directory of records */
	int log_fd;
	int lock_fd, uid_lock_fd;      /* closed as soon as they have served */
	int report_fd;                 /* "" + EOF = runs; else the sentence of what failed */
	int64_t limit_ms;              /* 0 = none */
};
/* Never returns; in a forked child. */
_Noreturn void local_keeper_main(const struct local_keeper *k);

#endif
