/*
 * colab_api - workers that are runtimes of somebody's Colab, made through its
 * interface v1beta with that person's consent.
 *
 * One runtime a start, named for it:
 *
 *     gpupool-<20 digits of this installation's uuid>-<the intent's 32>
 *
 * so find() and list() know what is ours, and the intent is also the request's
 * id, by which Colab makes one runtime of however many requests.  In it one
 * execution starts the agent, detached: "/content/gpupool-<intent>.log" is what
 * it says and the proof that it was started, and "….end" has its exit status once
 * it has ended.  A run's reference is
 *
 *     {"runtime":"gpupool-…","endpoint":"gpu-t4-s-…"}
 *
 * What makes this one differ:
 * - a runtime goes on, and costs, when its agent has ended: such a run is `held`;
 * - it is ended when nobody works with it, for which Colab has no call in this
 *   interface: while a job runs, and only then, the address that Colab's own
 *   editor asks for the same purpose is asked, every five minutes;
 * - how many compute units are left cannot be read.
 */
#ifndef PROVIDER_COLAB_API_H
#define PROVIDER_COLAB_API_H

#include "provider/colab_jupyter.h"
#include "provider/google_call.h"

extern const struct provider provider_colab_api;

#define COLAB_SCOPE "https://www.googleapis.com/auth/colaboratory"

enum { COLAB_LOG_MOST = 2 << 20, COLAB_ID = 64 };

/* ---- names: colab_api_call.c ---- */

/* False when intent or installation is no uuid. */
bool colab_api_id(struct str intent, const char *installation, char ret[COLAB_ID]);
/* Of a runtime's id, the intent; false when it is not of this installation. */
bool colab_api_intent(struct str id, const char *installation, char ret[37]);

/* ---- calls: colab_api_call.c ---- */

/* path is below the base address; ms as in google_request, 0 = its default. */
enum err colab_api_call(struct provider_call *c, const char *method, const char *path, struct json *body, int64_t ms,
			struct google_answer *ret) must_check;
/* Is Colab's interface there for this account?  ERR_FORBIDDEN "account" with a sentence when it is not. */
enum err colab_api_probe(struct provider_call *c, struct google_answer *specs) must_check;
/* ERR_NOT_FOUND when there is no such runtime. */
enum err colab_api_get(struct provider_call *c, const char *id, struct colab_runtime *ret) must_check;
/* What a Runtime says of itself; ERR_UPSTREAM when it is none. */
enum err colab_api_read(struct provider_call *c, const struct json *runtime, struct colab_runtime *ret) must_check;
/* OK also when it is gone. */
enum err colab_api_delete(struct provider_call *c, const char *id) must_check;
/* Why an operation made no runtime: sets the error.  Whatever it says of itself is final for its request. */
enum err colab_api_refusal(struct provider_call *c, const struct json *error, const char *accelerator) must_check;
/* While it is being made: OK; ERR_NOT_FOUND when no operation under way makes it. */
enum err colab_api_making(struct provider_call *c, const char *id) must_check;
/* A run by its runtime. */
enum err colab_api_reference(struct provider_call *c, const struct colab_runtime *r, struct run *ret) must_check;
enum err colab_api_reference_read(struct provider_call *c, const struct run *run, struct colab_runtime *ret) must_check;
/* "content/gpupool-<intent>.<what>" of a runtime's id. */
const char *colab_api_path(struct provider_call *c, const char *id, const char *what);
enum err colab_api_fail(struct provider_call *c, enum err err, const char *reason, const char *fmt, ...) printf_like(4, 5) must_check;

/* ---- the provider's functions: colab_api_start.c, colab_api_alive.c ---- */

enum err colab_api_start(struct provider_call *c, const struct launch *l, struct run *ret) must_check;
enum err colab_api_find(struct provider_call *c, const struct launch *l, struct run *ret) must_check;
bool colab_api_launch_valid(const struct launch *l, struct error *why);
/* Tells Colab that a job runs there, unless it was told a while ago or has refused to hear it; false when it says
 * that the runtime is not there. */
bool colab_api_alive(struct provider_call *c, const struct colab_runtime *r);

#endif
