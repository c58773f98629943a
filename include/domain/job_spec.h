/*
 * job_spec - what a person may ask for in a job, judged to the last field.
 *
 * The shape of the outer object (known members, types, ranges) is the route's
 * schema; this module judges what a table cannot say: payloads, names of
 * accelerators and secrets, requirements, files, times.  It does no I/O and finds every
 * error, each with the path of its field ("payload.env.PATH", behind the
 * caller's prefix).
 */
#ifndef DOMAIN_JOB_SPEC_H
#define DOMAIN_JOB_SPEC_H

#include "base/arena.h"
#include "base/json.h"
#include "domain/lane.h"

enum {
	JOB_PAYLOAD_MAX = 1 << 20, /* bytes as JSON */
	JOB_ARGS_MAX = 256,
	JOB_ENV_MAX = 128,
	JOB_VALUE_MAX = 32 << 10, /* bytes of an argument or a variable */
	JOB_REQUIREMENTS_MAX = 100,
	JOB_FILES_MAX = 100,
	JOB_TAGS_MAX = 16,
	JOB_TAG_MAX = 64,
	JOB_NAME_MAX = 200,
	JOB_SECONDS_MAX = 31536000, /* a year: of a limit, an estimate, a delay */
	JOB_BATCH_MAX = 1000
};

/* A job to be; everything but the lane is borrowed from the document. */
struct job_spec {
	struct lane lane;
	const struct json *document;
	const struct json *payload;
	int max_attempts;
	int64_t timeout_seconds, estimated_seconds; /* 0 = none */
};

/* field "" = the whole; code is ERR_INVALID or ERR_TOO_LARGE. */
typedef void job_fault(void *ctx, enum err code, const char *field, const char *message);

struct job_judge {
	struct arena *arena; /* for paths and messages; ends with the request */
	job_fault *fault;
	void *ctx;
	const char *prefix; /* "" or "jobs.3" */
};

/* True when there was no fault.  *ret borrows from document, and document from the caller. */
bool job_spec_read(const struct job_judge *j, int64_t owner, struct json *document, struct job_spec *ret) must_check;

/* One requirement as pip takes it (PEP 508: name, extras, versions or a URL, marker), that can
 * be no option and no path. */
bool requirement_valid(struct str s);
/* A relative path of at most 8 segments of letters, digits, "._-", none of them dots only. */
bool file_name_valid(struct str s);

#endif
