/*
 * hands - threads that do what is slow: steps, looks and checks at providers
 * elsewhere.  Each is a provisioner of its own that shares a process: its own
 * reconciler, database connection, HTTP client and memory.  What two hands must
 * not do at once, rows keep apart, as they do between processes.
 *
 * Hands open credentials: while there are any, the process leaves no core file
 * and its memory is closed to others of the same user.
 *
 * A hand that found work wakes another, so as many work as there is work for;
 * the main thread wakes one by the clock and on a notification.
 */
#ifndef CONTROL_HANDS_H
#define CONTROL_HANDS_H

#include <stdbool.h>

#include "base/config.h"
#include "base/error.h"

struct hands;

/* With signals blocked, which threads take over.  *ret is NULL when none of config->providers is
 * elsewhere.  ERR_INVALID when this host cannot serve what it was told to. */
enum err hands_start(const struct config *config, struct hands **ret, struct error *e) must_check;
/* There may be work. */
void hands_wake(struct hands *h);
/* Cuts the calls under way, waits for all, frees. */
void hands_stop(struct hands *h);

#endif
