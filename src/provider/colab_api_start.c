/* colab_api_start - a runtime is made, and the agent started in it.  See provider/colab_api.h. */
#include "provider/colab_api.h"

#include <string.h>

#include "base/asset.h"
#include "base/clock.h"
#include "base/crashpoint.h"
#include "base/http.h"
#include "base/log.h"
#include "provider/notebook.h"

enum {
	WAIT_S = 20,                   /* one wait for an operation, at most */
	WAIT_FIRST_MS = 250, WAIT_MOST_MS = 4000, /* between two, should Colab answer at once */
	FINISH_MS = 45000,             /* is left for what follows the operation */
	EXECUTE_MS = 60000,
	TRIES = 3,
	SETTLE_SECONDS = 5,            /* what was sent shows by then */
	CODE_MOST = 3 << 20,
	SLICE_MS = 250,
};

/* ---- what is asked for ---------------------------------------------------- */

static bool is(const char *a, const char *b)
{
	return a && !strcmp(a, b);
}

bool colab_api_launch_valid(const struct launch *l, struct error *why)
{
	const char *others[] = {l->inputs ? l->inputs->datasets[0] : NULL, l->inputs ? l->inputs->models[0] : NULL,
				l->inputs ? l->inputs->competitions[0] : NULL, l->inputs ? l->inputs->kernels[0] : NULL};

	for (size_t i = 0; i < ARRAY_LEN(others); i++)
		if (others[i]) {
			error_set(why, ERR_INVALID, "Colab takes no inputs.");
			return false;
		}
	if (l->shape && l->shape[0] && l->resource)
		return true;
	error_set(why, ERR_INVALID, "Colab has no accelerator %.40s.", l->accelerator ? l->accelerator : "of this name");
	return false;
}

static const char *variant_of(const struct launch *l)
{
	return is(l->resource, "gpu") ? "VARIANT_GPU" : is(l->resource, "tpu") ? "VARIANT_TPU" : "VARIANT_CPU";
}

/* Colab chooses the memory of these itself, and wants no shape said. */
static bool sized(const char *accelerator)
{
	static const char *const names[] = {"L4", "V28", "V5E1", "V6E1"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (is(accelerator, names[i]))
			return true;
	return false;
}

static struct json *runtime_of(const struct launch *l)
{
	struct json *runtime = json_object(), *spec = json_object();

	json_put_cstr(spec, "variant", variant_of(l));
	json_put_cstr(spec, "accelerator", l->shape);
	if (!sized(l->shape))
		json_put_cstr(spec, "shape", "SHAPE_STANDARD");
	json_put(runtime, "runtimeSpec", spec);
	return runtime;
}

/* Only a clear no is one: lists that do not name it say nothing. */
static enum err eligible(struct provider_call *c, const struct launch *l)
{
	cleanup_google_answer struct google_answer a = {0};
	enum err err = colab_api_probe(c, &a);
	const struct json *specs = json_get(a.doc, "runtimeSpecs");
	bool named = false;

	if (err)
		return err;
	for (size_t i = 0; i < json_len(specs); i++) {
		const struct json *spec = json_at(specs, i), *key = json_get(spec, "key");

		if (!str_eqz(json_str(key, "variant"), variant_of(l)) || !str_eqz(json_str(key, "accelerator"), l->shape))
			continue;
		named = true;
		if (json_bool(spec, "eligible", false))
			return OK;
	}
	if (!named)
		return OK;
	return colab_api_fail(c, ERR_FORBIDDEN, "not_eligible",
			      "Colab does not give this account the accelerator %.32s: it may need compute units, or a larger plan.", l->accelerator);
}

/* ---- the runtime ---------------------------------------------------------- */

/* Sleeps, unless this program ends. */
static void rest(const struct provider_call *c, int64_t ms)
{
	for (; ms > 0 && !http_client_aborted(c->http); ms -= SLICE_MS)
		clock_sleep_ms(ms < SLICE_MS ? ms : SLICE_MS);
}

static bool operation_name(struct str s)
{
	if (!str_starts(s, "operations/") || s.len > 200)
		return false;
	for (size_t i = 11; i < s.len; i++)
		if (!(s.ptr[i] >= 'a' && s.ptr[i] <= 'z') && !(s.ptr[i] >= 'A' && s.ptr[i] <= 'Z') && !(s.ptr[i] >= '0' && s.ptr[i] <= '9') &&
		    !strchr("-_.", s.ptr[i]))
			return false;
	return s.len > 11;
}

/* Until the operation in *a is done; each look replaces it. */
static enum err finished(struct provider_call *c, struct google_answer *a)
{
	int64_t pause = WAIT_FIRST_MS;
	struct str name;
	const char *path;

	for (;;) {
		int64_t left = google_left(c) - FINISH_MS;
		enum err err;

		if (json_bool(a->doc, "done", false))
			return OK;
		name = json_str(a->doc, "name");
		if (!operation_name(name))
			return colab_api_fail(c, ERR_UPSTREAM, NULL, "Colab's answer is no operation.");
		if (left < SLICE_MS || http_client_aborted(c->http))
			return colab_api_fail(c, ERR_UNAVAILABLE, "unsettled", "Colab is still making the runtime.");
		rest(c, pause);
		pause = pause * 2 < WAIT_MOST_MS ? pause * 2 : WAIT_MOST_MS;
		path = arena_printf(c->arena, "v1/%.*s:wait?timeout=%ds", STR_ARG(name), WAIT_S);
		google_answer_free(a);
		err = path ? colab_api_call(c, "GET", path, NULL, (WAIT_S + 10) * 1000, a) : google_no_memory(c);
		if (err)
			return err;
	}
}

/* Was made for this request, and is gone already: another start must ask anew. */
static enum err gone(struct provider_call *c)
{
	return colab_api_fail(c, ERR_QUOTA, "capacity", "Colab ended the runtime before anything was started in it.");
}

static enum err make_runtime(struct provider_call *c, const struct launch *l, const char *id, struct colab_runtime *ret)
{
	cleanup_google_answer struct google_answer a = {0};
	const char *path = arena_printf(c->arena, "v1beta/runtimes?runtimeId=%s&requestId=%.*s", id, STR_ARG(l->intent));
	struct google_fault f = {0};
	const struct json *error;
	enum err err = path ? colab_api_call(c, "POST", path, runtime_of(l), 0, &a) : google_no_memory(c);

	CRASH_POINT("colab.created");
	if (!err)
		err = finished(c, &a);
	CRASH_POINT("colab.made");
	if (err && err != ERR_CONFLICT)
		return err;
	error = err ? NULL : json_get(a.doc, "error");
	google_fault_read(error, &f);
	/* That it exists is no failure: an earlier try has made it. */
	if (error && strcmp(f.code, "ALREADY_EXISTS") != 0)
		return colab_api_refusal(c, error, l->accelerator);
	err = colab_api_get(c, id, ret);
	return err == ERR_NOT_FOUND ? gone(c) : err;
}

/* ---- the agent ------------------------------------------------------------ */

/*
 * What is executed.  The program comes over a pipe, so that the token in it
 * lies in no file and in no list of processes; the log's existence proves that
 * it was started, and a shell leaves its exit status when it has ended.
 */
static const char launcher[] =
	"import base64, os, subprocess, sys\n"
	"base = \"/content\" if os.path.isdir(\"/content\") else os.getcwd()\n"
	"name = os.path.join(base, \"gpupool-%.*s\")\n"
	"with open(name + \".log\", \"ab\") as log:\n"
	"    agent = subprocess.Popen([\"/bin/sh\", \"-c\", '\"$1\" -u -; echo $? > \"$2.new\" && mv \"$2.new\" \"$2\"', \"gpupool\", sys.executable, name + \".end\"],\n"
	"                             stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, cwd=base, start_new_session=True)\n"
	"agent.stdin.write(base64.b64decode(\"";
static const char launched[] = "\"))\nagent.stdin.close()\nprint(\"gpupool: started\")\n";

static enum err code_of(struct provider_call *c, const struct launch *l, struct buf *ret)
{
	struct str source;
	enum err err = notebook_source_make(c, l, &(struct notebook_want){.provider = "colab"}, &source);

	if (err)
		return err;
	buf_addf(ret, launcher, STR_ARG(l->intent));
	crypto_base64(source.ptr, source.len, ret);
	crypto_wipe((char *)source.ptr, source.len);
	buf_adds(ret, launched);
	return ret->failed ? colab_api_fail(c, ERR_INVALID, NULL, "The start code is too large.") : OK;
}

/* A runtime without the GPU that was asked for is no use, and may cost all the same. */
static enum err equipped(struct provider_call *c, const struct launch *l, struct colab_runtime *r)
{
	const char *gpus;
	enum err err;

	if (!is(l->resource, "gpu"))
		return OK;
	err = colab_jupyter_gpus(c, r, &gpus);
	if (err || gpus[0])
		return err;
	err = colab_api_delete(c, r->id);
	return err ? err : colab_api_fail(c, ERR_QUOTA, "capacity", "Colab gave a machine without a GPU; it was given back.");
}

static enum err run_agent(struct provider_call *c, const struct launch *l, struct colab_runtime *r, struct str code)
{
	struct colab_result said;
	const char *kernel;
	enum err err = colab_jupyter_kernel(c, r, r->id, &kernel);

	if (!err) {
		CRASH_POINT("colab.kernel");
		err = colab_jupyter_execute(c, r, kernel, code, EXECUTE_MS, &said);
		CRASH_POINT("colab.executed");
	}
	if (!err && said.failed) {
		char words[150];

		google_line(str_of(said.said), words, sizeof(words));
		return colab_api_fail(c, ERR_UNAVAILABLE, "runtime", "The agent could not be started in the runtime: %s", words);
	}
	/* The connection may have broken behind what it has brought about. */
	if (err && err != ERR_UNAUTHORIZED && google_left(c) && colab_jupyter_file(c, r, colab_api_path(c, r->id, "log"), 0, NULL) == OK)
		return OK;
	return err;
}

static enum err start_agent(struct provider_call *c, const struct launch *l, struct colab_runtime *r)
{
	cleanup_buf struct buf code = BUF_SECRET(CODE_MOST);
	enum err err = equipped(c, l, r);

	if (!err)
		err = code_of(c, l, &code);
	if (err)
		return err;
	for (int i = 0; i < TRIES; i++) {
		if (i)
			rest(c, (int64_t)WAIT_FIRST_MS << (2 * i));
		err = run_agent(c, l, r, buf_str(&code));
		if (!err || !c->error->reason || strcmp(c->error->reason, "runtime") != 0 || http_client_aborted(c->http))
			break;
		log_warn("colab.execute", "runtime=%s try=%d message=\"%s\"", r->id, i + 1, c->error->msg);
	}
	return err;
}

/* ---- start and find ------------------------------------------------------- */

static enum err id_of(struct provider_call *c, const struct launch *l, char ret[COLAB_ID])
{
	return colab_api_id(l->intent, c->installation, ret) ? OK : colab_api_fail(c, ERR_INTERNAL, NULL, "The start has no intent.");
}

enum err colab_api_start(struct provider_call *c, const struct launch *l, struct run *ret)
{
	struct colab_runtime r;
	char id[COLAB_ID];
	enum err err = id_of(c, l, id);

	*ret = (struct run){0};
	if (!err && !colab_api_launch_valid(l, c->error))
		err = ERR_INVALID;
	if (!err)
		err = eligible(c, l);
	CRASH_POINT("colab.create");
	if (!err)
		err = make_runtime(c, l, id, &r);
	if (!err)
		err = start_agent(c, l, &r);
	return err ? err : colab_api_reference(c, &r, ret);
}

enum err colab_api_find(struct provider_call *c, const struct launch *l, struct run *ret)
{
	struct colab_runtime r;
	char id[COLAB_ID];
	enum err err = id_of(c, l, id);

	*ret = (struct run){0};
	if (!err)
		err = colab_api_get(c, id, &r);
	if (!err) {
		err = colab_api_reference(c, &r, ret);
		/* Where its own server does not tell, starting once more does no harm. */
		ret->unfinished = !err && colab_jupyter_file(c, &r, colab_api_path(c, id, "log"), 0, NULL) != OK;
		return err;
	}
	if (err == ERR_NOT_FOUND)
		err = colab_api_making(c, id);
	else
		return err;
	if (err == OK || (err == ERR_NOT_FOUND && l->launched_for < SETTLE_SECONDS))
		return colab_api_fail(c, ERR_UNAVAILABLE, "unsettled", "Colab is still making the runtime.");
	return err;
}
