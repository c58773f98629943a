/*
 * provider - how the machines of one kind are started, watched and ended.
 *
 * A provider knows base only: no database, no policy, no state of its own
 * beyond what it keeps at the provider's side.  It gets values and returns
 * values, so a call can run on any thread and a test can aim it at a stand-in.
 *
 * To add one: a file src/provider/x.c with a `const struct provider`, one line
 * in registry.c, a row of provider_policy in a migration, cases in tests.
 * A function that the provider cannot offer is NULL and its flag is absent.
 *
 * The one hard duty is find(): after start() failed in any way that leaves
 * doubt (a lost reply, a crash between two statements), find() with the same
 * intent must tell with certainty whether that start took effect.  OK means a
 * run of this intent exists or existed; ERR_NOT_FOUND means it never will.
 */
#ifndef PROVIDER_PROVIDER_H
#define PROVIDER_PROVIDER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/config.h"
#include "base/crypto.h"
#include "base/error.h"

struct http_client;

enum provider_caps {
	CAN_START = 1 << 0,
	CAN_STOP = 1 << 1,     /* stop() exists */
	SOFT_STOP = 1 << 2,    /* stop() lets the agent hand back its jobs first */
	CAN_LOGS = 1 << 3,     /* outputs() exists */
	KNOWS_RUNS = 1 << 4,   /* poll() tells when a run has ended */
	HUMAN_START = 1 << 5,  /* a person pastes a line; nothing is started for them */
};

/* What every call gets.  All memory that a call returns lies in the arena. */
struct provider_call {
	struct arena *arena;
	const struct config *config;   /* base addresses, directories */
	struct http_client *http;      /* NULL where none is needed */
	const struct secret *secret;   /* the account's credentials, opened; may be NULL */
	int64_t deadline_ms;           /* clock_ms() at which the call must have returned */
	struct error *error;           /* a sentence that a person can act on */
};

/* One start.  The same intent is never started twice with different values,
 * except for the token, which is made anew when find() said ERR_NOT_FOUND. */
struct launch {
	struct str intent;             /* uuid */
	int64_t worker;
	const char *title, *accelerator;
	const struct secret *token;    /* enrols the agent, once */
	const char *server_url;        /* how the agent reaches us */
	int64_t limit_seconds;         /* the provider's own timeout; 0 = none */
};

/* One run, as the provider names it. */
struct run {
	struct str reference;          /* JSON object, stored as it is; "" = none */
	const char *url;               /* page that a person may open, or NULL */
};

enum run_phase {
	RUN_LIVE,                      /* exists, or is about to */
	RUN_ENDED,                     /* is over and will not come back */
};

struct run_status {
	enum run_phase phase;
	const char *code;              /* RUN_ENDED: short, for programs: "exited" … */
	const char *reason;            /* RUN_ENDED: a sentence */
	bool orderly;                  /* RUN_ENDED: the agent ended by its own decision */
};

struct run_found {
	struct str intent;
	struct run run;
	bool live;
};

struct run_list {
	struct run_found *items;
	size_t count;
};

struct outputs {
	struct str log;                /* the agent's last words, ≤ 16 KiB, any bytes */
};

struct usage {
	int64_t used_seconds, limit_seconds, resets_at; /* -1 = the provider does not say */
};

struct provider {
	const char *name;
	unsigned caps;
	int poll_seconds;              /* between two looks at a run */
	/* Can this host drive this provider (with these credentials)? */
	enum err (*check)(struct provider_call *);
	enum err (*start)(struct provider_call *, const struct launch *, struct run *ret);
	enum err (*find)(struct provider_call *, struct str intent, struct run *ret);
	enum err (*list)(struct provider_call *, struct run_list *ret);
	enum err (*poll)(struct provider_call *, const struct run *, struct run_status *ret);
	/* Asks for the end; poll() tells when it came.  Repeating it is harmless. */
	enum err (*stop)(struct provider_call *, const struct run *);
	/* Deletes what the worker left at the provider; its run has ended. */
	enum err (*remove)(struct provider_call *, const struct run *);
	enum err (*outputs)(struct provider_call *, const struct run *, struct outputs *ret);
	enum err (*usage)(struct provider_call *, struct usage *ret);
	/* False with a sentence when no such launch can ever work. */
	bool (*launch_valid)(const struct launch *, struct error *why);
};

/* What the caller of a provider does after an error. */
enum provider_verdict {
	VERDICT_RETRY,                 /* later, after find(): the effect is unknown */
	VERDICT_REFUSED,               /* never as it is: the worker has failed */
	VERDICT_HUMAN,                 /* a person must do something first */
};
enum provider_verdict provider_verdict(enum err e);

/* NULL when there is none of that name. */
const struct provider *provider_find(const char *name);
/* All of them, in a fixed order; NULL past the end. */
const struct provider *provider_at(size_t i);

#endif
