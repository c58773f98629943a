/*
 * process - starting programs for the runner: another user, a scrubbed
 * environment, output into a file, and an end when the runner ends.
 */
#ifndef CLI_PROCESS_H
#define CLI_PROCESS_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "cli/files.h"

enum { PROCESS_GROUPS = 4 };

/* Whom a program runs as; uid (uid_t)-1 = as ourselves, groups unchanged. */
struct identity {
	struct owner owner;
	gid_t groups[PROCESS_GROUPS]; /* further ones */
	int group_count;
};

#define IDENTITY_SELF ((struct identity){.owner = OWNER_SELF})

struct spawn {
	const char *path;
	const char *const *argv; /* ends with NULL */
	const char *const *env;  /* the whole of it; ends with NULL */
	struct identity as;
	int output;      /* standard output and error go there */
	int die_with;    /* signal that it gets when we die; 0 = none */
	const char *dir; /* working directory; NULL = "/" */
};

/* In a process group of its own.  -1 with errno. */
pid_t process_start(const struct spawn *s);
/* Runs it to its end: OK when it exits 0; ERR_INTERNAL otherwise. */
enum err process_run(const struct spawn *s, const char *what, struct error *e) must_check;

/* When it started, in clock ticks since boot: with the pid, a name that no
 * later process has.  0 = there is no such process (or it is a zombie). */
int64_t process_started_at(pid_t pid);
/* "exit status 3", "signal 9"; buffer of 32. */
void process_status_text(int status, char *ret, size_t cap);

#endif
