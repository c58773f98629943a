/*
 * listen - the socket that nginx connects to.
 *
 * A unix socket (mode 0660, perhaps of another group), or a TCP address on a
 * private network, since FastCGI has no authentication: no wildcard, and peers
 * outside nginx_peers are refused before a byte of theirs is read.  A socket
 * handed over by systemd (LISTEN_FDS=1) is taken in place of either.
 */
#ifndef WEB_LISTEN_H
#define WEB_LISTEN_H

#include <stdbool.h>

#include "base/config.h"
#include "base/error.h"

enum { LISTEN_BACKLOG = 4096 };

/* A listening, non-blocking, close-on-exec descriptor.  ERR_CONFLICT: another
 * process listens there; ERR_INVALID: the address will not do. */
enum err listen_open(const struct config *c, int *ret, struct error *e) must_check;
/* Removes a unix socket that listen_open() made. */
void listen_close(const struct config *c, int fd);

enum accepted {
	ACCEPTED,      /* *fd is a connection, close-on-exec */
	ACCEPT_NONE,   /* another process was faster, or the peer left or was refused */
	ACCEPT_FULL,   /* no descriptors or memory: wait a moment */
	ACCEPT_BROKEN, /* the listening descriptor itself is bad: give up */
};
/* Takes one waiting connection.  Refused peers are closed and logged here. */
enum accepted listen_accept(int listen_fd, const char *peers, bool nonblock, int *fd);

/* Whether address (numeric) is in the comma list of address[/bits]; v4-mapped
 * addresses count as IPv4.  An empty list has loopback only. */
bool listen_peer_allowed(const char *peers, const char *address);

#endif
