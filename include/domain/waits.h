/*
 * waits - remembers why jobs wait: a decision for each change of a lane's reason.
 *
 * The reasons are those of domain/pool.h.  A lane whose next job waits for longer
 * than WAITS_NOTED_S is noted, again when its reason is another one, once a minute
 * at most; so what is written does not grow with how often anybody looks, nor with
 * the jobs that wait.
 */
#ifndef DOMAIN_WAITS_H
#define DOMAIN_WAITS_H

#include "base/arena.h"
#include "db/db.h"

enum { WAITS_NOTED_S = 30 };

/* hold_s as in struct place_weights; *noted counts the decisions. */
enum err waits_note(struct db *db, struct arena *a, double hold_s, int *noted, struct error *e) must_check;

#endif
