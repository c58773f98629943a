/*
 * output - what a worker's session left at its provider: its whole log and
 * small files, fetched and stored by a provisioner when the run has ended.
 *
 * They may hold whatever the code that ran printed, so they are for the worker's
 * owner and admins; to others they do not exist.  They outlive a deleted worker,
 * until the leader's housekeeping takes them (retention_days after their session).
 */
#ifndef DOMAIN_OUTPUT_H
#define DOMAIN_OUTPUT_H

#include "base/json.h"
#include "db/db.h"
#include "domain/principal.h"

struct output_of {
	int64_t worker, session;
};

/* Appends {name, size, kept, createdAt} by name.  ERR_NOT_FOUND: no such session. */
enum err output_list(struct db *db, const struct principal *p, struct output_of of, struct json *list, struct error *e) must_check;

/* The bytes, in the arena.  ERR_NOT_FOUND: no such file; ERR_GONE: it was too large to keep. */
enum err output_read(struct db *db, struct arena *a, const struct principal *p, struct output_of of, struct str name,
		     struct str *ret, struct error *e) must_check;

/* Whether a file of this name is text to read rather than one to save: a log. */
bool output_is_log(struct str name);

#endif
