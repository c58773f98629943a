/*
 * book - the ledger of hours in a simulated week: the real one, in a database of
 * its own whose quota_clock() is the simulation's.
 */
#ifndef TESTS_SIM_BOOK_H
#define TESTS_SIM_BOOK_H

#include "sim.h"

struct book {
	struct ledger ledger;
	int64_t clock;                /* as it was last set, milliseconds */
	int64_t *workers;             /* rows */
	int worker_count;
};

void book_open(struct book *b, struct sim *s, struct pg *pg);
void book_close(struct book *b);

/* Reserves and opens a session as a provisioner does.  False: refused, for hours or slots.  *seconds: 0 = no end. */
bool book_start(struct book *b, struct sim *s, int account, int worker, int64_t *session, int64_t *seconds);
/* Its provider has it, or refuses it; it has registered. */
void book_launched(struct book *b, struct sim *s, int account, int64_t session);
void book_refused(struct book *b, struct sim *s, int account);
/* Until when an account that refused is left alone, as was learnt; 0 = it takes sessions. */
int64_t book_cools_until(struct book *b, struct sim *s, int account);
void book_up(struct book *b, struct sim *s, int64_t session);
void book_end(struct book *b, struct sim *s, int account, int64_t session);
void book_settle(struct book *b, struct sim *s, int account);
/* What the provider says of an account; the number of sessions that were cut. */
int book_tell(struct book *b, struct sim *s, int account);
int64_t book_granted(struct book *b, int64_t session);
/* Seconds that may be reserved; SCALE_NONE = any number. */
int64_t book_left(struct book *b, struct sim *s, int account);
/* "" or a rule of the ledger that does not hold. */
const char *book_broken(struct book *b);

#endif
