/* routes - the table and nothing else.  See web/routes.h. */
#include "web/routes.h"

#include "web/api.h"

const struct route routes[] = {
	/* ---- state of this process ---- */
	{METHOD_GET, "/healthz", "health", SERVES_API, AUTH_NONE, PERM_NONE, BODY_NONE, 0, health_get,
	 .summary = "Whether the process answers."},
};

const size_t route_count = ARRAY_LEN(routes);
