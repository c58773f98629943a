/*
 * events_agent - agents' sessions; shared by events_agent.c and events_results.c.
 */
#ifndef WEB_EVENTS_AGENT_H
#define WEB_EVENTS_AGENT_H

#include "web/events_role.h"

struct agents {
	struct events *ev;
	struct batch enrol, renew, goodbye, end, results;
};

extern const struct batch_kind results_kind;

/* Two calls of one session do not go into one statement. */
bool agents_clash(const struct batch_item *a, const struct batch_item *b);
bool agent_names_lease(const struct json *item, int64_t *id, struct str *lease);

#endif
