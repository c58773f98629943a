/*
 * loop - the provisioner's life: wait for a hint, the clock or a signal, do
 * what is due, tell others after the commits.
 *
 * Signals arrive inside the wait only, so a step is never cut; SIGTERM and
 * SIGINT end the loop after the step at hand.  While the database is away the
 * loop waits and tries; the process does not exit for it.
 */
#ifndef CONTROL_LOOP_H
#define CONTROL_LOOP_H

#include "base/config.h"
#include "base/error.h"

/* stop_workers: end this machine's agents before leaving.  OK after a signal;
 * ERR_INVALID when this host cannot serve what it was told to. */
enum err loop_run(const struct config *config, bool stop_workers, struct error *e) must_check;

#endif
