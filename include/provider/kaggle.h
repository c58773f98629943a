/*
 * kaggle - workers that are private script notebooks of somebody's Kaggle account.
 *
 * One notebook ("kernel") a worker, named for its life by launch.name.  A start
 * pushes a new version of its source, which is a run.  The source begins with
 * the mark:
 *
 *     # gpupool intent <uuid of the start>
 *     # gpupool worker <id> of <uuid of this installation>
 *
 * The mark is how find() and list() know what is ours; a notebook without it is
 * never overwritten, stopped or deleted.  A run's reference is
 *
 *     {"slug":"owner/name","version":3,"kernelId":9001,"sessionId":555001,"pushed":1790000000}
 *
 * where sessionId is often unknown and pushed is Unix time.
 *
 * What Kaggle's API makes necessary (its answers are not documented; all of
 * these were seen by somebody):
 * - a notebook that does not exist answers 403, as one of somebody else does,
 *   and as one that was pushed a moment ago does for some minutes.  So nothing
 *   is taken for missing before the credentials have proved good, and find()
 *   is certain only kaggle_settle_seconds after the push;
 * - a refused push is a 200 with a text in "error", and sources that do not
 *   exist are left out without an error: such a run is ended at once;
 * - a run is cancelled by a session id, which is told at times by the push and
 *   at times by a redirect; where neither tells, only deleting the notebook
 *   ends its run.
 */
#ifndef PROVIDER_KAGGLE_H
#define PROVIDER_KAGGLE_H

#include "base/json.h"
#include "provider/provider.h"

extern const struct provider provider_kaggle;

enum {
	KAGGLE_SOURCE_MOST = 999999,   /* bytes; Kaggle refuses more */
	KAGGLE_FILES_MOST = 200,       /* outputs listed of a run */
	KAGGLE_FILE_MOST = 1 << 20,    /* bytes of one that are kept */
	KAGGLE_FILES_BYTES = 8 << 20,  /* of all together */
	KAGGLE_LOG_MOST = 1 << 20,
	KAGGLE_LOG_TAIL = 16 << 10,
};

/* ---- what foreign JSON says: kaggle_parse.c ---- */

/* A member, unless it is absent, null, or a sibling "hasX": false says that it is meant to be. */
struct json *kaggle_get(const struct json *o, const char *key);
struct str kaggle_text(const struct json *o, const char *key);        /* STR_NULL also when empty */
/* A JSON number or a decimal string, not negative; -1 else. */
int64_t kaggle_number(const struct json *o, const char *key);
double kaggle_duration(const struct json *o, const char *key);        /* "71094.4s"; -1 = not told */
int64_t kaggle_time(const struct json *o, const char *key);           /* Unix seconds; -1 = not told */

enum kaggle_status {
	KAGGLE_QUEUED, KAGGLE_RUNNING, KAGGLE_COMPLETE, KAGGLE_ERROR, KAGGLE_CANCEL_REQUESTED, KAGGLE_CANCEL_ACKNOWLEDGED,
	KAGGLE_NEW_SCRIPT,
};
/* In any spelling that was seen; false when there is none or an unknown one. */
bool kaggle_status_read(const struct json *answer, enum kaggle_status *ret);

/* What is wrong, in any form of an error body; STR_NULL = nothing is.  *status (may be NULL)
 * becomes the one in the body, if it has one. */
struct str kaggle_complaint(const struct json *answer, int *status);

/* "/code/owner/name", "owner/name v3", a page's address -> its two parts, as slices. */
bool kaggle_ref_read(struct str ref, struct str *owner, struct str *name);
/* Whether a name is one that Kaggle takes as it is: lower case, digits, single dashes, 6 to 49 characters. */
bool kaggle_name_valid(struct str name);
/* A user's name, as it may stand in a path. */
bool kaggle_owner_valid(struct str owner);
/* A file's name without dot segments, control characters, or anything above 8 segments of 128 bytes. */
bool kaggle_file_valid(struct str name);

/* ---- what is pushed, and whose it is: kaggle_source.c ---- */

struct kaggle_mark {
	struct str intent, installation; /* slices of the source */
	int64_t worker;
};
/* False when the source does not begin with a mark. */
bool kaggle_mark_read(struct str source, struct kaggle_mark *ret);
/* The mark, the start script and the agent; ERR_INVALID when it would be too large. */
enum err kaggle_source_make(struct provider_call *c, const struct launch *l, struct str *ret) must_check;
/* The arguments of SaveKernel; the caller frees *ret. */
enum err kaggle_push_make(struct provider_call *c, const struct launch *l, const char *owner, struct json **ret) must_check;

/* ---- one call: kaggle_call.c ---- */

enum kaggle_flags {
	KAGGLE_EFFECT = 1 << 0,        /* changes something: never sent twice */
	KAGGLE_PUSH = 1 << 1,          /* has the longer time limit, and a refusal is left in *ret */
	KAGGLE_OUTPUT = 1 << 2,        /* the answer may be large */
};
/*
 * POST of args (freed) to a method, "kernels.KernelsApiService/GetKernel".
 * OK with a JSON object in *ret, which the caller frees; else, with a sentence,
 *   ERR_UNAUTHORIZED credentials, ERR_RATE with retry_after_s, ERR_UNAVAILABLE,
 *   ERR_TIMEOUT, ERR_UPSTREAM, ERR_QUOTA, ERR_INVALID (400);
 *   ERR_FORBIDDEN with reason "account" when the person must do something, and
 *   without one, as ERR_NOT_FOUND, when what was asked for may be missing:
 *   see kaggle_prove().
 */
enum err kaggle_call(struct provider_call *c, const char *method, struct json *args, unsigned flags, struct json **ret) must_check;
/* What came after kaggle_call(): whether ERR_FORBIDDEN and ERR_NOT_FOUND mean that
 * the thing is missing, ERR_NOT_FOUND, for the credentials are good; other errors pass. */
enum err kaggle_prove(struct provider_call *c, enum err err) must_check;
/* What a text that came with an answer about a notebook means, whose name in it says
 * nothing (STR_NULL = about none): sets the error, with Kaggle's words in it. */
enum err kaggle_refusal(struct provider_call *c, struct str text, struct str name, enum err otherwise);
/* GET of a path below the base address: where it redirects to, in the arena. */
enum err kaggle_redirect(struct provider_call *c, const char *path, const char **location) must_check;
/* A file that an answer linked to: no credentials go there.  ERR_TOO_LARGE above most. */
enum err kaggle_fetch(struct provider_call *c, const char *url, size_t most, struct str *ret) must_check;
/* The user's name, for paths: identity, else what the credentials say, else Kaggle itself. */
enum err kaggle_owner(struct provider_call *c, const char **ret) must_check;
/* What the token or the key is good for, and whose. */
enum err kaggle_verify(struct provider_call *c, struct identity *ret) must_check;
/* Milliseconds left of the call; never negative. */
int64_t kaggle_left(const struct provider_call *c);
enum err kaggle_no_memory(struct provider_call *c);

/* ---- notebooks and their runs: kaggle_kernel.c ---- */

struct kaggle_reference {
	const char *owner, *name;
	int64_t version, kernel_id, session_id, pushed; /* 0 = not known */
};
enum err kaggle_reference_read(struct provider_call *c, const struct run *run, struct kaggle_reference *ret) must_check;
enum err kaggle_reference_make(struct provider_call *c, const struct kaggle_reference *r, const char *url, struct run *ret) must_check;

struct kaggle_kernel {
	struct json *answer;           /* what GetKernel said */
	int64_t id, version;           /* 0 = not told */
	bool ours;                     /* bears a mark of this installation */
	struct kaggle_mark mark;       /* if it is ours; slices of answer */
};
void kaggle_kernel_free(struct kaggle_kernel *k);
#define cleanup_kernel __attribute__((cleanup(kaggle_kernel_free)))
/* ERR_NOT_FOUND once it is proven that it is not there, or not there yet. */
enum err kaggle_kernel_get(struct provider_call *c, const char *owner, const char *name, struct kaggle_kernel *ret) must_check;
/* ERR_NOT_FOUND as above; version 0 = the latest. */
enum err kaggle_status_get(struct provider_call *c, const struct kaggle_reference *r, struct run_status *ret) must_check;
/* Ends the run by its session; ERR_NOT_FOUND when Kaggle tells none that can be cancelled. */
enum err kaggle_cancel(struct provider_call *c, const struct kaggle_reference *r) must_check;
/* OK also when it is not there; the caller has seen that it is ours. */
enum err kaggle_delete(struct provider_call *c, const char *owner, const char *name) must_check;
/* Which of the inputs the notebook lacks, for a person; NULL = none. */
const char *kaggle_inputs_lost(struct provider_call *c, const struct kaggle_kernel *k, const struct inputs *in);
/* The names in the invalid…Sources of a push, for a person; NULL = none. */
const char *kaggle_inputs_refused(struct provider_call *c, const struct json *answer);

/* ---- the provider's functions: kaggle_start.c, kaggle_outputs.c ---- */

enum err kaggle_start(struct provider_call *c, const struct launch *l, struct run *ret) must_check;
enum err kaggle_find(struct provider_call *c, const struct launch *l, struct run *ret) must_check;
bool kaggle_launch_valid(const struct launch *l, struct error *why);
/* The log is empty while Kaggle shows none: it may come a while after the end, or
 * never.  ERR_GONE when the notebook is no longer there. */
enum err kaggle_outputs(struct provider_call *c, const struct run *run, struct outputs *ret) must_check;

/* ---- the log of a run: kaggle_log.c ---- */

/* Text of a log as Kaggle sends it: JSON in a string, or plain.  At most
 * KAGGLE_LOG_MOST bytes of well-formed text, the end of a longer one. */
void kaggle_log_read(struct str raw, struct buf *ret);
/* An answer about outputs of which only the beginning came: its log as far as it goes, "logCut": true if that is not
 * its end, its files and its next page if they came whole.  NULL when there is nothing of use; the caller's. */
struct json *kaggle_answer_head(struct str cut);
/* Tokens of ours and Kaggle's become asterisks. */
void kaggle_hide_tokens(char *text, size_t len);
/* What a log says about why the run ended: a code of a few words, and a
 * sentence that helps; false when it says nothing. */
enum { KAGGLE_REASON = 256 };
bool kaggle_diagnose(struct str log, const char **code, char reason[KAGGLE_REASON]);

#endif
