/*
 * fake - a provider elsewhere whose answers a test scripts: provider_add(&provider_fake).
 *
 * What is there lies in shared memory, so that the provisioners which a test
 * forks, kills and starts again see one and the same provider.  Credentials are
 * {"username":NAME,"key":"good"}; any other key is refused.  A run does what the
 * test says: it waits, lives, ends.
 */
#ifndef TESTS_FAKE_H
#define TESTS_FAKE_H

#include "provider/provider.h"

enum fake_call {
	FAKE_VERIFY, FAKE_USAGE, FAKE_START, FAKE_FIND, FAKE_LIST, FAKE_POLL, FAKE_STOP, FAKE_REMOVE, FAKE_OUTPUTS, FAKE_CALLS
};

enum { FAKE_RUNS = 1024, FAKE_TEXT = 256 };

struct fake_run {
	char intent[40], name[64], owner[64], installation[40];
	int64_t worker, limit_seconds;
	char shape[32], resource[8], datasets[64], url[96];
	enum run_phase phase;
	bool removed;              /* with its whole notebook */
	int stops, insists;
	bool stubborn;             /* goes only when insisted */
	char code[32], reason[FAKE_TEXT], log[FAKE_TEXT];
	char said_code[32], said_reason[FAKE_TEXT]; /* what the log says */
	int late;                  /* so many times outputs() has nothing yet */
	bool mute;                 /* it has files but no log */
	bool odd;                  /* of names that are hard to keep */
	int fetches;               /* of its files */
};

/* The next `times` calls of a kind: an error, before or after they took effect. */
struct fake_fault {
	int times;
	enum err err;
	char reason[24], message[96];
	int64_t retry_after_s;
	bool effect;
	int ms;                    /* takes so long first */
};

struct fake {
	int calls[FAKE_CALLS];
	struct fake_fault fault[FAKE_CALLS];
	int run_count;
	struct fake_run run[FAKE_RUNS];
	int page;                  /* runs that one list() looks into; 0 = all */
	int room;                  /* live runs at most; 0 = any number */
	int twice;                 /* starts while an earlier run of that notebook lived */
	bool live_at_once;         /* runs live as soon as they are started */
	struct usage usage;        /* resource NULL = says nothing */
};

extern struct fake *fake;
extern const struct provider provider_fake;

/* Maps it; once a program, before any fork. */
void fake_make(void);
/* Empties it. */
void fake_reset(void);
void fake_fail(enum fake_call call, int times, enum err err, const char *reason, bool effect);
/* The latest run of a worker; NULL = none. */
struct fake_run *fake_of(int64_t worker);
/* Runs that are not over. */
int fake_live(void);
/* Its run is over, for this reason. */
void fake_end(int64_t worker, const char *code, const char *reason);

#endif
