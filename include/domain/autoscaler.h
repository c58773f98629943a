/*
 * autoscaler - which workers to start, make, drain or stop, and why.  Pure: a
 * snapshot in, decisions with reasons out; no I/O, no clock, no database.  The
 * same snapshot gives the same bytes, so what acts, what only plans and what is
 * replayed later is one code.
 *
 * A policy belongs to a person.  Its pool is that person's workers on the
 * accounts that it allows.  A waiting lane counts for one policy only: that of
 * its owner, else the first whose accounts are shared with him.
 *
 * Up.   Of what waits is taken away what free slots of registered workers are
 *       about to take, and for each worker that is on its way as many jobs as
 *       the threshold (so that nothing is started twice for one need; which
 *       jobs those are goes by priority and waiting, not by what would be best).  Where
 *       more than the threshold is left, or the oldest of it has waited longer
 *       than the target, or its known work would take longer than the target on
 *       the slots there are, another worker starts once that has been so for
 *       the up delay; again for what is then left.
 *       It starts on the first allowed account that is in order, may run the
 *       job, does not cool down after a refusal, has a free session slot, and hours enough for a session that is
 *       worth its start and as long as placement would ask for the job.  What such machines of the account
 *       turned out to be counts for more than their name.  An account with a worker
 *       that has failed or waits for a person starts no other.  A stopped worker
 *       is started before one is made.
 *       Among several accounts (expiring): hours that expire within a day first, the soonest of them, for
 *       they are lost else; then machines that use up no hours; then the other hours, the soonest first.
 *       Free machines that stood idle until the hours were gone would leave none for when many jobs come.
 * Down. A registered worker without a job, that nothing waits for, stops after
 *       the idle time, once there has been such a surplus for the down delay.
 *       Above the maximum, workers go at once: without a job first; one that
 *       holds a lease is drained, never stopped.
 *
 * A worker that has not registered is no capacity.  Times are milliseconds
 * since 1970 by the database's clock; durations are seconds.
 */
#ifndef DOMAIN_AUTOSCALER_H
#define DOMAIN_AUTOSCALER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/error.h"
#include "domain/placement.h"

enum { SCALE_RESOURCES = 3 };
enum { SCALE_NONE = -1 }; /* no limit, or not known */
enum { SCALE_SOON_S = 24 * 3600 }; /* hours that expire within it are used before what costs none */

struct scale_policy {
	int64_t owner_id;
	bool paused;
	const char *accelerator; /* of workers that are made; "" = as the waiting jobs ask */
	int64_t min, max;        /* workers that are wanted running */
	int64_t threshold;       /* jobs */
	int64_t target_wait_s, up_delay_s, down_delay_s;
	int64_t idle_stop_s;     /* 0 = never */
	const int64_t *accounts; /* allowed, in order; none = all that the owner may use */
	size_t account_count;
	bool expiring;           /* as said above, whatever the order */
	/* since when there was reason to grow or to shrink, at the last look; 0 = there was none */
	int64_t up_since_ms, down_since_ms;
};

/* One kind of machine of an account. */
struct scale_resource {
	const char *name;     /* gpu, cpu, tpu */
	int64_t left_s;       /* of its hours; SCALE_NONE = no limit */
	int64_t resets_ms;    /* 0 = never */
	int64_t slots;        /* sessions that may still start; SCALE_NONE */
	int64_t session_s;    /* longest; SCALE_NONE */
	int64_t min_s;        /* a shorter session is not worth its start */
	int64_t cool_until_ms; /* its provider refused a session and is asked again then; 0 = it did not */
	const char *cool_why; /* what it said */
};

struct scale_account {
	int64_t id, owner_id;
	const char *provider;
	bool startable;          /* we start its workers ourselves */
	const char *blocked;     /* why none can start now: "account", "circuit", …; "" = nothing */
	const char *blocked_why; /* the same as a sentence */
	int64_t blocked_until_ms; /* 0 = not known */
	enum place_sharing sharing; /* NONE where the provider's policy forbids it */
	const int64_t *shared_with;
	size_t shared_count;
	int64_t cold_s;          /* from start to registration, usually */
	struct scale_resource resources[SCALE_RESOURCES]; /* those that are limited */
	size_t resource_count;
};

/* A name that may be asked of a provider.  A provider without rows takes any. */
struct scale_name {
	const char *provider, *name, *resource;
	const char *names; /* comma list of what jobs may ask then */
};

struct scale_worker {
	int64_t id, owner_id, account_id, version;
	const char *accelerator, *state, *session_state; /* "" = no session that is not over */
	bool wanted;             /* desired running */
	bool registered, then_stop; /* then_stop: it drains to be stopped */
	const char *got;         /* comma list: of the last session that registered; "" = none did */
	int64_t slots;           /* of that one */
	int64_t busy, leases;
	int64_t left_s;          /* of its session; SCALE_NONE */
	int64_t idle_since_ms;   /* 0 = has a job, or is not registered */
	int64_t max_session_s;   /* SCALE_NONE */
};

struct scale_lane {
	int64_t id, owner_id;
	const char *accelerator; /* as struct place_lane has it */
	int64_t gpus, priority, depth;
	int64_t waited_s;        /* of the oldest */
	int64_t estimate_s;      /* of one job, as placement has it; 0 = not known */
	bool resumes;            /* the same */
};

struct scale_snapshot {
	int64_t now_ms;
	const struct scale_policy *policies; /* in the order of owners */
	size_t policy_count;
	const struct scale_account *accounts; /* each list in the order of ids */
	size_t account_count;
	const struct scale_name *names;
	size_t name_count;
	const struct scale_worker *workers;
	size_t worker_count;
	const struct scale_lane *lanes;
	size_t lane_count;
};

enum scale_action { SCALE_START, SCALE_CREATE, SCALE_DRAIN, SCALE_STOP, SCALE_ACTION_COUNT };

#define SCALE_CODES(X)                                                                      \
	/* why something is done */                                                         \
	X(QUEUE, "queue_threshold", "More jobs wait than the threshold allows.")            \
	X(WAIT, "target_wait", "The oldest job has waited longer than the target.")         \
	X(WORK, "queued_work", "What waits would take longer than the target.")             \
	X(MIN, "min_workers", "Fewer workers run than the policy keeps.")                   \
	X(IDLE, "idle", "It has had no job for as long as the policy allows.")              \
	X(ABOVE_MAX, "above_max", "More workers run than the policy allows.")               \
	/* why jobs wait */                                                                 \
	X(PREPARING, "preparing", "A free worker is about to take it.")                     \
	X(COLD_START, "cold_start", "A worker is starting.")                                \
	X(BELOW, "below_threshold", "Too few jobs wait for another worker.")                \
	X(UP_DELAY, "up_delay", "Another worker starts if this lasts.")                     \
	X(MAX, "max_workers", "As many workers run as the policy allows.")                  \
	X(PAUSED, "paused", "The policy is paused.")                                        \
	X(NO_POLICY, "no_policy", "No scaling policy that is on covers it.")                \
	X(NO_ACCOUNT, "no_account", "No account of the policy has such a machine.")         \
	X(NOT_SHARED, "not_shared", "No account of the policy may run it.")                 \
	X(QUOTA, "quota", "The hours of every account are used up or reserved.")            \
	X(CAPACITY, "capacity", "Every account runs as many sessions as it may.")           \
	X(COOL_DOWN, "cool_down", "Every account's provider refuses sessions for the time being.") \
	X(TOO_LONG, "does_not_fit", "It takes longer than any session that can start now.") \
	X(BLOCKED, "account", "No account is in order.")

enum scale_code {
#define X(id, name, sentence) SCALE_##id,
	SCALE_CODES(X)
#undef X
	SCALE_CODE_COUNT
};

struct scale_decision {
	enum scale_action action;
	enum scale_code code;
	int64_t owner_id;        /* of the policy */
	int64_t worker_id;       /* SCALE_CREATE: 0 */
	int64_t version;         /* of the worker, as seen */
	int64_t account_id;
	const char *provider;
	const char *accelerator; /* SCALE_CREATE */
	int64_t due_ms;          /* 0 = now; else a delay is not over yet */
	int64_t reserves_s;      /* SCALE_NONE = nothing is counted */
	int64_t remaining_s;     /* of the account's hours afterwards; SCALE_NONE = no limit */
	int64_t queued, running; /* what it was decided on: jobs that nothing covers, workers wanted running */
};

/* What becomes of a waiting lane: `now` jobs at once, `soon` at soon_ms, the rest later. */
struct scale_wait {
	int64_t now, soon;
	int64_t soon_ms;
	enum scale_code soon_code;   /* COLD_START or UP_DELAY */
	enum scale_code code;        /* of the rest */
	const char *code_name, *why; /* finer than the code's own where an account says it */
	int64_t later_ms;            /* 0 = not known */
	int64_t policy;              /* index, SCALE_NONE */
};

struct scale_since {
	int64_t up_ms, down_ms;
};

struct scale_result {
	struct scale_decision *decisions;
	size_t count;
	struct scale_wait *waits;  /* one a lane */
	struct scale_since *since; /* one a policy, to be kept */
};

/* ERR_TOO_LARGE when the arena is full. */
enum err autoscaler_decide(const struct scale_snapshot *s, struct arena *a, struct scale_result *ret, struct error *e) must_check;

const char *scale_action_name(enum scale_action a);
const char *scale_code_name(enum scale_code c);
const char *scale_code_sentence(enum scale_code c);

#endif
