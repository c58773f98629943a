/*
 * command - the command line as one table: what exists, its options, its help.
 *
 * To add a command: a function in a src/cli/cmd_*.c, its declaration in
 * include/cli/commands.h, and a row in src/cli/commands.c.  Help and bash
 * completion come from the row.
 *
 *     gpupool [global options] WORDS [options] ARGS
 *
 * Options may stand anywhere after the words; "--" ends them.  A repeated
 * option that is not `many` counts by its last value.
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/config.h"
#include "base/error.h"
#include "cli/rest.h"

/* What the shell gets; documented in README.md, so that scripts may rely on it. */
enum exit_code {
	EXIT_OK = 0,
	EXIT_FAILED = 1,      /* a job did not succeed; a check found a fault */
	EXIT_USAGE = 2,       /* the command line, or what it gave, was refused */
	EXIT_NOT_FOUND = 3,
	EXIT_DENIED = 4,      /* no token, or not allowed */
	EXIT_CONFLICT = 5,    /* another state won, or the object is gone */
	EXIT_UNREACHABLE = 6, /* no server, or it is not ready */
	EXIT_TIMEOUT = 7,
	EXIT_OTHER = 8,       /* an error of the server or of this machine */
	EXIT_INTERRUPTED = 130
};

struct option {
	const char *name;  /* "timeout": given as --timeout VALUE or --timeout=VALUE */
	const char *value; /* what help calls the value, NULL = a switch */
	const char *help;
	bool many;
};

enum command_flags {
	NEEDS_SERVER = 1 << 0, /* cli->rest is open; there is a token */
	NO_TOKEN = 1 << 1,     /* … or none is needed */
	NEEDS_CONFIG = 1 << 2, /* cli->config is loaded (server-side commands) */
};

struct cli;
typedef int command_run(struct cli *cli);

struct command {
	const char *words; /* "jobs submit" */
	const char *args;  /* "ID…" */
	int least, most;   /* positional arguments; most -1 = any number */
	unsigned flags;
	const char *help;  /* one sentence, no full stop */
	const struct option *options; /* ends with a NULL name; may be NULL */
	command_run *run;
};

extern const struct command commands[]; /* sorted by words */
extern const size_t command_count;
extern const struct option global_options[];

struct given {
	const struct option *option;
	const char *value;
};

enum { GIVEN_MOST = 4096 };

/* One run of the program. */
struct cli {
	const struct command *command;
	struct given *given;
	size_t given_count;
	const char **args; /* positional */
	int arg_count;
	bool json, raw;
	struct arena arena; /* lives as long as the process */
	struct config config;
	struct rest rest;
};

/* The last value of an option, "" for a switch, NULL when it was not given. */
const char *cli_option(const struct cli *cli, const char *name);
/* The i-th value of a repeated option, or NULL. */
const char *cli_option_at(const struct cli *cli, const char *name, size_t i);
/* Numbers with their bounds; false, after saying why, when the value is bad.
 * *ret stays as it is when the option was not given. */
bool cli_option_i64(const struct cli *cli, const char *name, long min, long max, int64_t *ret) must_check;
bool cli_option_seconds(const struct cli *cli, const char *name, int64_t *ret) must_check;

/* Says what went wrong on standard error and gives the exit code for it. */
int cli_fail(const struct cli *cli, enum err err, const struct error *e);
int cli_usage(const struct cli *cli, const char *fmt, ...) printf_like(2, 3);
/* A text in the cli's arena; the program ends when that is full. */
char *cli_text(struct cli *cli, const char *fmt, ...) printf_like(2, 3);
/* A path segment, percent-encoded, in the arena. */
const char *cli_segment(struct cli *cli, const char *s);

int cli_main(int argc, char **argv);

/* ---- for help and completion ---- */
void command_help(const struct command *c);
void command_overview(const char *prefix); /* those whose words begin with prefix */
void command_completion(void);

#endif
