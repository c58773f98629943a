/*
 * view_fields - what a page shows beside the API's JSON, made in one place.
 *
 * A template cannot compute, so each number and time gets its text, each state
 * its icon, each object its address and what the reader may do with it.  The
 * fields are listed in src/web/templates/MODEL.md.  Functions add to the given
 * document and leave what the API gave; a member that the API left out becomes
 * null, since templates are strict in tests.
 */
#ifndef WEB_VIEW_FIELDS_H
#define WEB_VIEW_FIELDS_H

#include "web/request.h"
#include "web/view_text.h"

struct view {
	const struct config *config;
	struct arena *arena;
	const struct principal *principal;
	const struct view_words *words;
	int64_t now_ms;
};

struct view view_of(const struct ctx *ctx, const struct request *req);

/* object.KEYText of the time at object.KEY, null where that is. */
void view_put_time(const struct view *v, struct json *object, const char *key);
/* object.KEY as duration of that many seconds; null when negative. */
void view_put_duration(struct json *object, const char *key, int64_t seconds);
void view_put_hours(struct json *object, const char *key, int64_t seconds);
void view_put_size(struct json *object, const char *key, int64_t bytes);
/* Makes absent members null. */
void view_put_missing(struct json *object, const char *const *keys, size_t n);

/* ---- workers ---- */
/* `jobs` are those that run, with the API's members; may be NULL. */
void view_worker(const struct view *v, struct json *worker, const struct json *jobs);
/* In the order in which people look at them: those that need somebody first. */
void view_sort_workers(struct json **list, size_t n);
size_t view_state_count(void);
const char *view_state_name(size_t i); /* in that order */
/* Whether a person has to act. */
bool view_state_needs(struct str state);
/* worker.enrol of a worker that a person starts; `made` is the API's answer with a token or NULL. */
void view_enrol(const struct view *v, struct json *worker, const struct json *made);
void view_session(const struct view *v, struct json *session);

/* ---- accounts and their hours ---- */
void view_account(const struct view *v, struct json *account);
/* One ledger line: shares of the limit for its gauge, and their texts. */
void view_quota(const struct view *v, struct json *quota);
/* What a provider allows of one kind of machine. */
void view_limit(struct json *limit);

/* ---- jobs ---- */
/* `workers` are notebooks as the API gives them, for their titles; may be NULL. */
void view_job(const struct view *v, struct json *job, const struct json *workers);
/* What only the page of one job shows. */
void view_job_whole(const struct view *v, struct json *job);
/* `current` is the run whose log the page shows. */
void view_attempt(const struct view *v, struct json *attempt, struct str job, int64_t current, const struct json *workers);

#endif
