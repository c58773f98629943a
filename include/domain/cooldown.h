/*
 * cooldown - what is learnt of an account whose provider refuses sessions
 * without a figure that would tell for how long: none has room, or hours that
 * are not published are used up.
 *
 * Of each account and resource is kept since when it refuses, and how long such
 * times have lasted before.  While it cools down nobody asks it: a start waits,
 * the autoscaler goes elsewhere.  Then one start asks; each further refusal
 * doubles the pause, within bounds that what was learnt sets.  A success ends it
 * and is learnt from.
 *
 * quota_reserve() looks at it; what a provider answered is told here.
 */
#ifndef DOMAIN_COOLDOWN_H
#define DOMAIN_COOLDOWN_H

#include "db/db.h"

/* code: "capacity" or "quota".  *seconds: until it is to be asked again; 0 = no matter of cooling down, since
 * its hours are published. */
enum err cooldown_refused(struct db *db, int64_t account, const char *resource, const char *code, const char *reason, double *seconds,
			  struct error *e) must_check;
/* It took a session; who waits for that is due. */
enum err cooldown_begun(struct db *db, int64_t account, const char *resource, struct error *e) must_check;

#endif
