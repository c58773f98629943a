/*
 * fclient - a small FastCGI client, and an events process to talk to.
 *
 * Many requests may be open at once: fc_send() on one connection each, then
 * fc_read() of one after another.
 */
#ifndef TESTS_FCLIENT_H
#define TESTS_FCLIENT_H

#include <sys/types.h>

#include "base/config.h"
#include "base/json.h"
#include "base/str.h"

struct fc {
	int fd;
	const char *path; /* of the socket */
	struct buf in;    /* records not yet looked at */
	struct buf out;   /* STDOUT so far */
	bool ended, closed;
	/* after fc_read() */
	int status;
	struct str body, head; /* in out */
	struct json *json;     /* of the body, or NULL */
};

struct fc_request {
	const char *method, *uri; /* uri may hold a query */
	const char *bearer, *cookie, *accept, *content_type, *digest, *last_event_id;
	struct str body;
	long long content_length; /* 0 = body's; -1 = none */
};

void fc_open(struct fc *c, const char *path);
void fc_close(struct fc *c);
/* The whole request, kept open. */
void fc_send(struct fc *c, const struct fc_request *r);
/* Only the head; then pieces of the body. */
void fc_send_head(struct fc *c, const struct fc_request *r);
void fc_send_body(struct fc *c, struct str bytes); /* empty = the end */
/* Reads until the answer is complete; false: not within ms, or broken off (c->closed). */
bool fc_read(struct fc *c, int ms);
/* Reads what comes until `text` stands in the answer. */
bool fc_read_until(struct fc *c, const char *text, int ms);
/* Send and read with 15 s; the status. */
int fc_call(struct fc *c, const char *method, const char *uri, const char *bearer, const char *body);

/* ---- an events process ---- */

struct events_process {
	pid_t pid;
	char socket[108], store[96];
	struct config config;
	struct arena arena;
};

/* adjust may change the settings before the process starts. */
void events_process_start(struct events_process *p, const char *dir, const char *database, void (*adjust)(struct config *c));
void events_process_stop(struct events_process *p); /* TERM, and it must end well */

#endif
