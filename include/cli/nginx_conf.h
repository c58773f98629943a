/*
 * nginx_conf - fills in the templates nginx/main.conf and nginx/gpupool.conf.
 *
 * Between at-signs stand the names of values; a name that the caller does not
 * give is a bug.  Values are checked: none may hold what would end a directive.
 */
#ifndef CLI_NGINX_CONF_H
#define CLI_NGINX_CONF_H

#include "base/error.h"
#include "base/str.h"

struct nginx_value {
	const char *name, *value;
};

/* values ends with a NULL name.  asset: "nginx/gpupool.conf". */
enum err nginx_conf_fill(const char *asset, const struct nginx_value *values, struct buf *ret, struct error *e) must_check;

/* Connections a worker of nginx needs for so many parked agents and streams:
 * one to the client and one to the program, and room for the rest. */
static inline long nginx_connections(long max_parked)
{
	return 2 * max_parked + 1000;
}

#endif
