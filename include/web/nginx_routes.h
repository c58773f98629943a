/*
 * nginx_routes - nginx's location blocks, made from the route table: which role
 * serves a path, how large a body may be, and which paths wait or stream.
 *
 * The blocks pass to the upstreams gpupool_api and gpupool_events, and use
 * the request limits gpupool_calls and gpupool_signin.
 */
#ifndef WEB_NGINX_ROUTES_H
#define WEB_NGINX_ROUTES_H

#include <stdbool.h>
#include <stdio.h>

#include "base/str.h"

void nginx_routes(struct buf *ret);
bool nginx_routes_print(FILE *out);

#endif
