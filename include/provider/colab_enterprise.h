/*
 * colab_enterprise - Google Colab Enterprise: each session is an execution job of
 * Vertex AI, with the notebook in the request, on a machine that ends with it.
 *
 * Credentials: {"serviceAccount": key file, "project", "region", "bucket"}.  The job runs as
 * that service account and writes the executed notebook to
 *
 *     gs://<bucket>/gpupool/<intent>/
 *
 * The job's id is made of the intent, so of two requests with the same intent one
 * makes a job and the other is told that it exists; its labels gpupool_installation,
 * gpupool_worker and gpupool_intent are the mark by which it is known again.
 */
#ifndef PROVIDER_COLAB_ENTERPRISE_H
#define PROVIDER_COLAB_ENTERPRISE_H

#include "base/json.h"
#include "provider/google_call.h"
#include "provider/provider.h"

extern const struct provider provider_colab_enterprise;

enum {
	CE_ID_MOST = 64,
	CE_LOG_MOST = 4 << 20,         /* bytes that are kept of what an executed notebook says */
	CE_LOG_TAIL = 16 << 10,
	CE_NOTEBOOK_MOST = 24 << 20,   /* one that is larger is not read */
	CE_FILES_MOST = 50,            /* files in the bucket that are listed */
	CE_FILE_MOST = 8 << 20,
	CE_REASON = 256,
};

/* ---- what the account says; in the arena ---- */

struct ce_account {
	const char *project, *region, *bucket, *email;
	const char *base;              /* …/v1/projects/P/locations/L */
};
/* ERR_UNAUTHORIZED "credentials" with a sentence. */
enum err ce_account_read(struct provider_call *c, struct ce_account *ret) must_check;

/* ---- names: colab_enterprise_parse.c ---- */

/* "n1-standard-4/NVIDIA_TESLA_T4/1", or a machine type alone. */
struct ce_machine {
	char type[48], accelerator[48];
	int64_t count;                 /* 0 = no accelerator */
};
bool ce_machine_read(struct str shape, struct ce_machine *ret) must_check;
bool ce_project_valid(struct str s) must_check;
bool ce_region_valid(struct str s) must_check;
bool ce_bucket_valid(struct str s) must_check;

/* One job as Vertex AI tells it; slices of its document. */
struct ce_job {
	struct str id;                 /* last part of its name */
	struct str intent, installation; /* of its labels; STR_NULL = none */
	int64_t worker;                /* 0 = not told */
	enum run_phase phase;
	const char *code;              /* RUN_ENDED; static */
	const char *sentence;          /* RUN_ENDED; static */
	bool orderly;
	struct google_fault fault;     /* of its status; fault.code "" = none */
};
/* False when this is no job, or its state is one that is not known. */
bool ce_job_read(const struct json *doc, struct ce_job *ret) must_check;

/* Why there was no machine: ERR_OK when the fault is about something else.  *code and the sentence fit a
 * run that has ended as well. */
enum err ce_no_machine(const struct google_fault *f, const char *region, const char **code, char sentence[CE_REASON]);

/* ---- what an executed notebook says ---- */

/* Appends the text of all cells' outputs; false when it is no notebook. */
bool ce_notebook_log(const struct json *notebook, struct buf *ret) must_check;
/* Why the run ended, by its log; false when that says nothing. */
bool ce_diagnose(struct str log, const char **code, char reason[CE_REASON]) must_check;

/* ---- calls: colab_enterprise_job.c, colab_enterprise_outputs.c ---- */

struct ce_reference {
	const char *job, *operation;   /* operation may be NULL */
	const char *output;            /* prefix of its objects in the bucket */
	int64_t worker, started;       /* Unix seconds */
};
enum err ce_reference_read(struct provider_call *c, const struct run *run, struct ce_reference *ret) must_check;

/* What Vertex AI says of a job that has failed, "" = nothing.  ERR_NOT_FOUND when it is not there. */
enum err ce_job_words(struct provider_call *c, const struct ce_account *a, const struct ce_reference *r, char ret[GOOGLE_WORDS]) must_check;

enum err ce_start(struct provider_call *c, const struct launch *l, struct run *ret) must_check;
enum err ce_find(struct provider_call *c, const struct launch *l, struct run *ret) must_check;
enum err ce_list(struct provider_call *c, struct run_list *ret) must_check;
enum err ce_poll(struct provider_call *c, const struct run *run, struct run_status *ret) must_check;
enum err ce_stop(struct provider_call *c, const struct run *run, bool insist) must_check;
enum err ce_remove(struct provider_call *c, const struct run *run) must_check;
enum err ce_outputs(struct provider_call *c, const struct run *run, struct outputs *ret) must_check;
bool ce_launch_valid(const struct launch *l, struct error *why);

#endif
