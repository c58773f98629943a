/*
 * fcgi - a child of the api or secrets role: one request at a time, over libfcgi.
 *
 * The only file that includes libfcgi.  Its accept is not used: we take the
 * connection ourselves (peers checked, time limits set, no stall on a silent
 * peer) and hand it over.  Signals arrive only while waiting for a connection, so
 * that a request is always finished.  A connection carries one request.
 */
#ifndef WEB_FCGI_H
#define WEB_FCGI_H

#include "web/request.h"
#include "web/server.h"

enum {
	FCGI_READ_SECONDS = 15,  /* for parameters and body; nginx has the whole body by then */
	FCGI_WRITE_SECONDS = 30,
	FCGI_ARENA = 128 << 20,  /* a batch of 32 MiB and what is made of it */
};

/* What a role has beside its routes. */
struct fcgi_role {
	enum serves serves;
	/* Milliseconds until it wants to be called again (-1 = never), after doing what is due; NULL = nothing ever is. */
	int64_t (*tick)(const struct server_child *child, struct db *db);
	void (*end)(const struct server_child *child, struct db *db); /* or NULL */
};

/* child->shared is a struct template_set. */
int fcgi_serve(const struct server_child *child, const struct fcgi_role *role);
/* The api role. */
int fcgi_child(const struct server_child *child);

#endif
