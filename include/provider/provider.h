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
	HUMAN_START = 1 << 5,  /* a person starts it: pastes a line, or runs what start() has made */
	REMOTE = 1 << 6,       /* calls go over a network and may be slow: made by hands, runs polled one by one */
	NEEDS_SECRET = 1 << 7, /* no call but check() without an account's credentials */
	KEEPS_SIGN_IN = 1 << 8, /* the account's sign-in lies with this instance alone; secret holds its e-mail, and once a password */
	MAY_SECRET = 1 << 9,   /* gets an account's credentials where it has good ones, and does without */
	NEEDS_BALANCE = 1 << 10, /* starts only for an account whose owner attested a positive balance there */
};

/* What every call gets.  All memory that a call returns lies in the arena. */
struct provider_call {
	struct arena *arena;
	const struct config *config;   /* base addresses, directories */
	struct http_client *http;      /* NULL where none is needed */
	const struct secret *secret;   /* the account's credentials, opened: a JSON object as the API took it; may be NULL */
	const char *identity;          /* the account's name there, once verify() told it; may be NULL */
	const char *installation;      /* uuid of this gpupool; marks what it starts */
	int64_t account;               /* id of the account here; 0 = none */
	int64_t deadline_ms;           /* clock_ms() at which the call must have returned */
	struct error *error;           /* a sentence that a person can act on */
	const char *list_from;         /* list(): where an earlier one stopped; NULL = at the beginning */
	bool log_only;                 /* outputs(): the files are kept already, only the log is missing */
	int64_t retry_after_s;         /* set by a call that was told when to come back; else -1 */
	struct str picture;            /* set where a person must act: a PNG of what is asked of them; in the arena */
};

/*
 * What an error means lies in its code, and in error->reason where the code is
 * too coarse.  The reasons that callers know, all static strings:
 *
 *   ERR_QUOTA         "capacity"     too many runs at once: wait for one to end
 *                     "quota"        the hours are used up: wait for the reset
 *   ERR_UNAUTHORIZED  "credentials"  refused: the account's owner must replace them
 *   ERR_FORBIDDEN     "account"      the person must do something there (verify a phone …)
 *                     "denylisted"   the provider has barred the account: nothing is tried again
 *   ERR_INVALID       "inputs"       inputs that do not exist; the message names them
 *                     "name_taken"   something of another has this name there
 *   ERR_RATE          "rate"         slower, see retry_after_s
 *   ERR_UNAVAILABLE   "unsettled"    too soon to be certain; nothing is wrong there
 *                     "contested"    not done: somebody changes it just now, or its name is another's
 *                     "runtime"      the machine does not answer, which says nothing of the account
 *   ERR_TIMEOUT       "unasked"      the call's own time was over before it asked
 *   ERR_UNAVAILABLE, ERR_TIMEOUT, ERR_UPSTREAM   no answer, or none that makes sense
 */

/* What a notebook is given to read, by the provider's names. */
struct inputs {
	const char *const *datasets, *const *models, *const *competitions, *const *kernels; /* end with NULL; never NULL themselves */
};

/* One start.  The same intent is never started twice with different values,
 * except for the token, which is made anew when find() said ERR_NOT_FOUND or
 * that it is unfinished. */
struct launch {
	struct str intent;             /* uuid */
	int64_t worker;
	const char *title, *accelerator;
	const char *name;              /* the worker's own at the provider, where its policy says it has one; else NULL */
	const char *resource, *shape;  /* of the accelerator: "gpu", and what the provider calls it; NULL where not known */
	const struct inputs *inputs;   /* NULL = none */
	const struct secret *token;    /* enrols the agent, once */
	const char *server_url;        /* how the agent reaches us */
	int64_t limit_seconds;         /* the provider's own timeout; 0 = none */
	double launched_for;           /* find(): seconds since this intent was last sent */
};

/* One run, as the provider names it. */
struct run {
	struct str reference;          /* JSON object, stored as it is; "" = none */
	const char *url;               /* page that a person may open, or NULL */
	bool unfinished;               /* find(): it is there, but its agent was not started: start() goes on with it */
	bool busy, heard;              /* poll(): a job runs on it; its agent is heard */
};

enum run_phase {
	RUN_QUEUED,                    /* accepted; waits for a machine */
	RUN_LIVE,                      /* exists, or is about to */
	RUN_ENDING,                    /* was told to end; still holds its machine */
	RUN_ENDED,                     /* is over and will not come back */
};

struct run_status {
	enum run_phase phase;
	const char *code;              /* RUN_ENDED: short, for programs: "exited" … */
	const char *reason;            /* RUN_ENDED: a sentence */
	bool orderly;                  /* RUN_ENDED: the agent ended by its own decision */
	bool held;                     /* RUN_ENDED: all the same it keeps its machine, and what it left there, until stop() */
};

struct run_found {
	struct str intent;
	struct run run;
	bool live;                     /* where the provider's list says so */
	int64_t worker;                /* 0 where it is not told */
};

struct run_list {
	struct run_found *items;
	size_t count;
	const char *more;              /* where it stopped before it had shown all; NULL = it has */
};

struct output_file {
	const char *name;              /* relative, no dot segments */
	int64_t size;                  /* -1 = not told */
	struct str content;            /* STR_NULL = too large to keep */
};

struct outputs {
	struct str log;                /* the run's last words, ≤ 16 KiB, any bytes */
	struct str whole_log;          /* as far as it is kept; STR_NULL = log is all there is */
	const struct output_file *files;
	size_t file_count;
	const char *code, *reason;     /* what the log says about why the run ended; NULL = nothing */
};

/* Of one resource; -1 = the provider does not say. */
struct usage {
	const char *resource;          /* gpu, cpu, tpu */
	int64_t used_seconds, reserved_seconds, limit_seconds;
	int64_t resets_at;             /* Unix seconds */
};
enum { USAGE_MOST = 3 };
struct usage_list {
	struct usage items[USAGE_MOST];
	size_t count;
};

struct identity {
	const char *name;              /* the user's, as the provider says it */
};

/* A person's consent, as it came back. */
struct consent_code {
	struct str code, verifier;     /* and what was made for it (PKCE) */
	const char *redirect_uri;
	const char *scopes;            /* asked for, with a blank between */
};
struct consent_given {
	struct secret credentials;     /* in place of the former; the caller's */
	struct str scopes;             /* what was consented to, likewise; in the arena */
};

struct provider {
	const char *name;
	const char *title;             /* in sentences; NULL = the name */
	unsigned caps;
	int poll_seconds;              /* between two looks at a run; 0 = kaggle_poll_seconds of the configuration */
	int (*poll_seconds_of)(const struct config *); /* or this, where a setting says it; may be NULL */
	/* Can this host drive this provider? */
	enum err (*check)(struct provider_call *);
	/* Are these credentials good, and whose are they? */
	enum err (*verify)(struct provider_call *, struct identity *ret);
	/* Exchanges a code for lasting consent.  ERR_FORBIDDEN "consent" with a sentence when the person has to do it again, or
	 * differently. */
	enum err (*consent)(struct provider_call *, const struct consent_code *, struct consent_given *ret);
	enum err (*start)(struct provider_call *, const struct launch *, struct run *ret);
	/* Looks for the run of launch->intent; launch->name says where, if the provider has names. */
	enum err (*find)(struct provider_call *, const struct launch *, struct run *ret);
	/* Everything there that bears this installation's mark; at once, or as much as a call allows. */
	enum err (*list)(struct provider_call *, struct run_list *ret);
	enum err (*poll)(struct provider_call *, const struct run *, struct run_status *ret);
	/* Asks for the end; poll() tells when it came.  Repeating it is harmless.  insist: the milder ways
	 * were tried and had their time. */
	enum err (*stop)(struct provider_call *, const struct run *, bool insist);
	/* Deletes what the worker left at the provider; its run has ended. */
	enum err (*remove)(struct provider_call *, const struct run *);
	enum err (*outputs)(struct provider_call *, const struct run *, struct outputs *ret);
	enum err (*usage)(struct provider_call *, struct usage_list *ret);
	/* False with a sentence when no such launch can ever work. */
	bool (*launch_valid)(const struct launch *, struct error *why);
};

/* What the caller of a provider does after an error. */
enum provider_verdict {
	VERDICT_RETRY,                 /* later, after find(): the effect is unknown */
	VERDICT_REFUSED,               /* never as it is: the worker has failed */
	VERDICT_HUMAN,                 /* a person must do something first */
	VERDICT_CAPACITY,              /* nothing was started: again when a run has ended */
	VERDICT_QUOTA,                 /* nothing was started: again after the reset */
};
enum provider_verdict provider_verdict(enum err err, const struct error *why);

/* NULL when there is none of that name. */
const struct provider *provider_find(const char *name);
/* All of them, in a fixed order; NULL past the end. */
const struct provider *provider_at(size_t i);
/* One more, which tests script; before any thread begins. */
void provider_add(const struct provider *p);

#endif
