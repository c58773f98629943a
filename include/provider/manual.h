/*
 * manual - machines on which a person starts the agent.
 *
 * Nothing is started, polled or stopped here: the worker's page shows a line
 * to paste, and the agent's heartbeats are all that is known of it.
 */
#ifndef PROVIDER_MANUAL_H
#define PROVIDER_MANUAL_H

#include "provider/provider.h"

extern const struct provider provider_manual;

#endif
