/* colab_api - the provider's table, and its functions that are one call or two. */
#include "provider/colab_api.h"

#include <string.h>

#include "base/asset.h"
#include "base/crashpoint.h"
#include "provider/colab.h"

enum { LIST_MOST = 200, END_MOST = 64, TAIL = 16 << 10 };

/* ---- check, verify, list -------------------------------------------------- */

static enum err check(struct provider_call *c)
{
	if (!asset_find("agent/colab-start.py") || !asset_find("agent/gpupool-agent.py"))
		return error_set(c->error, ERR_INVALID, "This program was built without its agent.");
	return OK;
}

static enum err list(struct provider_call *c, struct run_list *ret)
{
	cleanup_google_answer struct google_answer a = {0};
	enum err err = colab_api_call(c, "GET", "v1beta/runtimes", NULL, 0, &a);
	const struct json *runtimes = json_get(a.doc, "runtimes");

	*ret = (struct run_list){.items = arena_array(c->arena, LIST_MOST, sizeof(*ret->items))};
	if (!err && !ret->items)
		err = google_no_memory(c);
	for (size_t i = 0; !err && i < json_len(runtimes) && ret->count < LIST_MOST; i++) {
		struct str name = json_str(json_at(runtimes, i), "name");
		struct run_found *f = &ret->items[ret->count];
		struct colab_runtime r;
		char intent[37];

		if (!str_starts(name, "runtimes/") || !colab_api_intent((struct str){name.ptr + 9, name.len - 9}, c->installation, intent))
			continue;
		err = colab_api_read(c, json_at(runtimes, i), &r);
		if (err)
			break;
		f->intent = arena_str(c->arena, str_of(intent));
		f->live = true;
		err = f->intent.ptr ? colab_api_reference(c, &r, &f->run) : google_no_memory(c);
		ret->count += !err;
	}
	return err == ERR_NOT_FOUND ? ERR_UPSTREAM : err;
}

/* ---- poll ----------------------------------------------------------------- */

/* The agent's exit status, once it has ended; false while it has not, or nothing tells. */
static bool ended(struct provider_call *c, struct colab_runtime *r, int64_t *status)
{
	struct error kept = *c->error;
	struct str text = STR_NULL;
	bool yes = colab_jupyter_file(c, r, colab_api_path(c, r->id, "end"), END_MOST, &text) == OK && str_to_i64(str_trim(text), 0, 255, status);

	*c->error = kept; /* a runtime's silence is no failure of this look */
	return yes;
}

static const struct run_status no_runtime = {
	.phase = RUN_ENDED,
	.code = "gone",
	.reason = "Colab has ended its runtime, or somebody deleted it there: nothing ran on it for long, its time was over, or the compute units were.",
};

static enum err poll_run(struct provider_call *c, const struct run *run, struct run_status *ret)
{
	struct colab_runtime r, now;
	int64_t status;
	enum err err = colab_api_reference_read(c, run, &r);

	if (err)
		return err;
	/* Whether it is there is for the next call to say, whatever this one says. */
	if (run->busy)
		(void)colab_api_alive(c, &r);
	err = colab_api_get(c, r.id, &now);
	if (err && err != ERR_NOT_FOUND)
		return err;
	*ret = err ? no_runtime : (struct run_status){.phase = RUN_LIVE};
	if (!err && !run->heard && ended(c, &now, &status))
		*ret = (struct run_status){.phase = RUN_ENDED, .code = status ? "error" : "exited", .orderly = !status, .held = true,
					   .reason = status ? "Its agent ended with an error." : "Its agent has ended."};
	return OK;
}

/* ---- the end -------------------------------------------------------------- */

static enum err stop(struct provider_call *c, const struct run *run, bool insist)
{
	struct colab_runtime r;
	enum err err = colab_api_reference_read(c, run, &r);

	CRASH_POINT("colab.delete");
	return err ? err : colab_api_delete(c, r.id);
}

static enum err remove_runtime(struct provider_call *c, const struct run *run)
{
	return stop(c, run, true);
}

/* ---- what it left --------------------------------------------------------- */

/* "gpupool: the agent ended with status 6: it could not reach the server, …" */
static void diagnose(struct provider_call *c, struct outputs *out)
{
	static const char mark[] = "gpupool: the agent ended with status ";
	struct str rest = out->log, line, last = STR_NULL;
	char words[200];

	while (str_cut(&rest, '\n', &line))
		if (memmem(line.ptr, line.len, "gpupool: ", 9))
			last = line;
	if (!last.len || (str_starts(last, mark) && last.len > sizeof(mark) && last.ptr[sizeof(mark) - 1] == '0'))
		return;
	line = (struct str){memmem(last.ptr, last.len, "gpupool: ", 9), 0};
	line.len = (size_t)(last.ptr + last.len - line.ptr);
	google_line(line, words, sizeof(words));
	out->code = "agent";
	out->reason = arena_printf(c->arena, "Its log ends: %s", words);
}

static enum err outputs(struct provider_call *c, const struct run *run, struct outputs *ret)
{
	struct colab_runtime r, now;
	struct str log = STR_NULL;
	enum err err = colab_api_reference_read(c, run, &r);

	*ret = (struct outputs){0};
	if (!err)
		err = colab_api_get(c, r.id, &now);
	if (err == ERR_NOT_FOUND)
		return colab_api_fail(c, ERR_GONE, NULL, "The runtime is gone, and its log with it.");
	if (!err)
		err = colab_jupyter_file(c, &now, colab_api_path(c, r.id, "log"), COLAB_LOG_MOST, &log);
	if (err == ERR_NOT_FOUND || err == ERR_TOO_LARGE)
		return colab_api_fail(c, ERR_GONE, NULL, "The runtime's log is not there, or too large to keep.");
	if (err)
		return err;
	ret->whole_log = log;
	ret->log = log.len > TAIL ? (struct str){log.ptr + log.len - TAIL, TAIL} : log;
	diagnose(c, ret);
	return OK;
}

static int poll_seconds(const struct config *config)
{
	return (int)config->colab_poll_seconds;
}

const struct provider provider_colab_api = {
	.name = "colab-api",
	.title = "Colab",
	.caps = CAN_START | CAN_STOP | CAN_LOGS | KNOWS_RUNS | REMOTE | NEEDS_SECRET | NEEDS_BALANCE,
	.poll_seconds_of = poll_seconds,
	.check = check,
	.verify = colab_verify,
	.start = colab_api_start,
	.find = colab_api_find,
	.list = list,
	.poll = poll_run,
	.stop = stop,
	.remove = remove_runtime,
	.outputs = outputs,
	.launch_valid = colab_api_launch_valid,
};
