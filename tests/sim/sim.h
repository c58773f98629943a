/*
 * sim - a week of a pool in virtual time: people with jobs, accounts at three
 * kinds of provider, machines that are refused and that die.  What decides is a
 * strategy: gpupool's own code (pooled.c), or one of two simpler ones (simple.c).
 *
 * The providers here have the truth: they count hours by their own figure,
 * which runs ahead of ours, and end whatever passes a limit.  All comes from one
 * seed; a strategy sees the same jobs, accounts and resets as the others.
 *
 * Times are milliseconds from the beginning of the week.
 */
#ifndef TESTS_SIM_H
#define TESTS_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "ledger.h"

enum {
	SIM_SECOND = 1000, SIM_MINUTE = 60 * SIM_SECOND, SIM_HOUR = 60 * SIM_MINUTE,
	SIM_WEEK = 7 * 24 * SIM_HOUR,
	SIM_ROUND = 2 * SIM_MINUTE,       /* between two looks of the scaler */
	SIM_TELL = 2 * SIM_HOUR,          /* between two answers about an account's hours */
	SIM_CHECKPOINT = 10 * SIM_MINUTE, /* what a training loses at most */
	/* A job that has waited so long could have had a machine, whatever the delays. */
	SIM_GRACE = 10 * SIM_MINUTE,
	SIM_IDLE_S = 300, SIM_TARGET_S = 300,
	SIM_SLOTS = 2,                    /* of any session, at most */
	SIM_SESSIONS = 4,                 /* of any account at once, at most */
};

enum sim_kind { SIM_SCRIPT, SIM_TRAINING, SIM_INFERENCE, SIM_KINDS };
enum sim_at { SIM_KAGGLE, SIM_LOCAL, SIM_COLAB, SIM_PROVIDERS };

/* What a kind of provider allows; 0 = no limit. */
struct sim_provider {
	const char *name;
	int64_t week_s, week_margin_s, session_s, session_margin_s;
	int concurrent, slots;
	int64_t cold_s;      /* from launch to registration, on average */
	double refused;      /* of starts, for capacity */
	int64_t cool_down_s; /* after a session that lasted to its end it refuses all */
};
extern const struct sim_provider sim_providers[SIM_PROVIDERS];

struct sim_job {
	int lane, next, worker;       /* -1 = none */
	enum sim_kind kind;
	bool finished, met;           /* met: it has started once */
	int64_t arrived, began, first, work, done;
	int64_t estimate_s;           /* declared; 0 = not */
	uint32_t stamp;
};

struct sim_lane {
	int owner, head;
	enum sim_kind kind;
	int64_t depth;
};

struct sim_owner {
	double weight;
	int64_t waiting, served, served_before;
	bool backlog;                 /* something of his has waited all this hour */
	double rate;                  /* GPU-hours in such hours */
	int hours;
};

struct sim_account {
	enum sim_at at;
	int64_t row;                  /* in the database */
	double drift;                 /* the provider's count of an hour of ours */
	int64_t resets, blocked_until, cools_until;
	/* This week, by the provider's figure.  before: gone when this began; busy: with a job; redone: the part of
	 * that whose work was lost; idle: without one while one waited that could run there; missed: see week.c. */
	double used, before, busy, redone, idle, missed;
	double ours;                  /* by our own, never below what was told */
	int live[SIM_SESSIONS];       /* workers */
	int live_count;
	/* of the ledger, while it has not changed */
	bool known;
	int64_t left_s;
};

enum sim_state { SIM_STOPPED, SIM_STARTING, SIM_RUNNING };

struct sim_worker {
	int account;
	enum sim_state state;
	bool refused;                 /* its start will be */
	int64_t session;              /* in the ledger */
	int64_t launched, deadline, seen, idle_since;
	int busy, jobs[SIM_SLOTS];    /* -1 = free */
	bool has_run;
	uint32_t stamp;
};

enum sim_what { SIM_ARRIVES, SIM_UP, SIM_ENDS, SIM_DIES, SIM_JOB_ENDS, SIM_RESETS, SIM_TELLS, SIM_LOOKS };

struct sim_event {
	int64_t at;
	uint64_t number;
	enum sim_what what;
	int id;
	uint32_t stamp;
};

struct sim_size {
	int accounts[SIM_PROVIDERS];
	int owners, jobs;
	uint64_t seed;
};

/* Of all weeks of all accounts with hours, in milliseconds by the providers' figures. */
struct sim_figures {
	double usable, charged, used, wanted; /* wanted: of the usable, those while work waited */
	int passes;                   /* limits passed: hours, sessions at once, session length */
	int starts, refused, deaths, cuts, rounds;
	int64_t finished, lost;       /* jobs; work done again, milliseconds */
	double round_ms, round_most_ms; /* of the processor, all rounds and the longest */
	double wait_p50_s, wait_p95_s, jain;
	const char *broken;           /* "" or the rule that did not hold */
	uint64_t digest;
};

struct sim {
	struct sim_size size;
	const struct strategy *strategy;
	void *state;                  /* the strategy's */
	uint64_t chance;
	int64_t now;
	struct sim_event *heap;
	int heap_count, heap_cap;
	uint64_t numbers;
	struct sim_job *jobs;
	struct sim_lane *lanes;
	struct sim_owner *owners;
	struct sim_account *accounts;
	int lane_count, account_count;
	struct sim_worker *workers;
	int worker_count, worker_cap;
	int64_t waiting, running;
	struct sim_figures figures;
	const char *broken;           /* "" or the rule that does not hold */
};

/* How starts, ends and placement are decided. */
struct strategy {
	const char *name;
	double part;                  /* of a week's hours that it takes */
	void (*begin)(struct sim *s, struct pg *pg);
	void (*look)(struct sim *s);  /* every SIM_ROUND: start and stop */
	void (*place)(struct sim *s); /* whenever something waits and something is free */
	void (*tell)(struct sim *s, int account);
	void (*ended)(struct sim *s, int worker);
	void (*up)(struct sim *s, int worker);
	void (*reset)(struct sim *s, int account);
	const char *(*broken)(struct sim *s);
	void (*end)(struct sim *s);
};
extern const struct strategy sim_pooled, sim_first_come, sim_cut;

/* ---- chance (people.c) ---- */
uint64_t sim_bits(uint64_t *state);
double sim_uniform(uint64_t *state); /* [0, 1) */
void sim_people(struct sim *s);      /* jobs, owners, accounts, from the seed */

/* ---- queue (people.c) ---- */
void sim_wait(struct sim *s, int job);
int sim_take(struct sim *s, int lane); /* the first job of a lane */
bool sim_job_fits(const struct sim *s, const struct sim_job *j, const struct sim_worker *w);

/* ---- lives (life.c) ---- */
void sim_post(struct sim *s, int64_t at, enum sim_what what, int id, uint32_t stamp);
/* A session of the account for so many seconds (0 = no end), on a worker, -1 = a new one; its index. */
int sim_start(struct sim *s, int account, int worker, int64_t seconds);
void sim_stop(struct sim *s, int worker);
void sim_deadline(struct sim *s, int worker, int64_t at);
void sim_give(struct sim *s, int job, int worker);
void sim_job_ends(struct sim *s, int job);
/* Brings what the provider counts to the present. */
void sim_count(struct sim *s, int account);
int sim_free(const struct sim *s, const struct sim_worker *w);

/* ---- a week (week.c) ---- */
void sim_run(const struct sim_size *size, const struct strategy *strategy, struct pg *pg, struct sim_figures *ret);

#endif
