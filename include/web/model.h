/*
 * model - jobs and notebooks as documents: what the API answers, and what pages
 * add their own keys to.  From rows of the statements job_get, job_list_*,
 * worker_page and their like; the result is the caller's.
 */
#ifndef WEB_MODEL_H
#define WEB_MODEL_H

#include "base/json.h"
#include "domain/pool.h"

/* One job.  pool says why a queued one waits; NULL = not told. */
struct json *model_job(const struct rows *r, int i, const struct pool *pool);
/* Whether any of the rows needs a look at the pool. */
bool model_jobs_wait(const struct rows *r);
struct json *model_attempt(const struct rows *r, int i);
struct json *model_artifact(const struct rows *r, int i);

/* One notebook: with its session, its quota, and the figures of its jobs. */
struct json *model_worker(const struct rows *r, int i);
struct json *model_session(const struct rows *r, int i);

#endif
