/*
 * api - handlers and field tables that the route table names, by source file.
 */
#ifndef WEB_API_H
#define WEB_API_H

#include "web/routes.h"

/* api_health.c */
handler health_get;

#endif
