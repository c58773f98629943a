/*
 * peer - a server for tests that answers each request with exactly the bytes
 * given, well formed or not, and keeps what it received.
 */
#ifndef TESTS_PEER_H
#define TESTS_PEER_H

#include <pthread.h>

#include "base/str.h"

/* After the answer: end the connection, keep it, or hold it until the client
 * ends it. */
enum peer_then { PEER_HANG_UP, PEER_KEEP, PEER_WAIT };

struct peer_answer {
	const char *bytes;
	enum peer_then then;
};

struct peer {
	int fd, port;
	pthread_t thread;
	pthread_mutex_t lock;
	const struct peer_answer *answers; /* one a request, in order */
	size_t count, answered, connections;
	struct buf received; /* all requests behind one another */
};

/* On a free port of 127.0.0.1, or on a unix socket.  answers is kept. */
void peer_start(struct peer *p, const char *unix_path, const struct peer_answer *answers, size_t count);
/* Takes no more connections; what was received, NUL-terminated. */
const char *peer_stop(struct peer *p);
void peer_free(struct peer *p);

#endif
