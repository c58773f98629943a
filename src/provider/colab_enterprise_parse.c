/* colab_enterprise_parse - names, jobs and executed notebooks; must not trust any of them. */
#include "provider/colab_enterprise.h"

#include <string.h>

/* ---- names ---------------------------------------------------------------- */

static bool made_of(struct str s, const char *others, bool upper)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !(upper && c >= 'A' && c <= 'Z') && (!c || !strchr(others, c)))
			return false;
	}
	return s.len > 0;
}

bool ce_project_valid(struct str s)
{
	/* Old ones have their domain in front: "example.com:name". */
	return s.len >= 4 && s.len <= 100 && made_of(s, "-:.", false) && s.ptr[0] >= 'a' && s.ptr[0] <= 'z';
}

bool ce_region_valid(struct str s)
{
	return s.len >= 4 && s.len <= 40 && made_of(s, "-", false) && s.ptr[0] >= 'a' && s.ptr[0] <= 'z' && str_index(s, '-') > 0 &&
	       s.ptr[s.len - 1] >= '0' && s.ptr[s.len - 1] <= '9';
}

bool ce_bucket_valid(struct str s)
{
	return s.len >= 3 && s.len <= 222 && made_of(s, "-_.", false) && s.ptr[0] != '.' && !memmem(s.ptr, s.len, "..", 2);
}

static bool copy(struct str s, const char *others, bool upper, char *ret, size_t cap)
{
	if (s.len >= cap || !made_of(s, others, upper))
		return false;
	snprintf(ret, cap, "%.*s", STR_ARG(s));
	return true;
}

bool ce_machine_read(struct str shape, struct ce_machine *ret)
{
	struct str rest = shape, type, accelerator, count;

	*ret = (struct ce_machine){0};
	if (!str_cut(&rest, '/', &type) || !copy(type, "-", false, ret->type, sizeof(ret->type)))
		return false;
	if (!rest.ptr)
		return true;
	return str_cut(&rest, '/', &accelerator) && str_cut(&rest, '/', &count) && !rest.ptr &&
	       copy(accelerator, "_", true, ret->accelerator, sizeof(ret->accelerator)) && str_to_i64(count, 1, 16, &ret->count);
}

/* ---- jobs ----------------------------------------------------------------- */

static const struct state {
	const char *name;
	enum run_phase phase;
	const char *code, *sentence;
	bool orderly;
} states[] = {
	{"JOB_STATE_QUEUED", RUN_QUEUED, NULL, NULL, false},
	{"JOB_STATE_PENDING", RUN_QUEUED, NULL, NULL, false},
	{"JOB_STATE_UNSPECIFIED", RUN_QUEUED, NULL, NULL, false},
	{"JOB_STATE_RUNNING", RUN_LIVE, NULL, NULL, false},
	{"JOB_STATE_UPDATING", RUN_LIVE, NULL, NULL, false},
	{"JOB_STATE_PAUSED", RUN_LIVE, NULL, NULL, false},
	{"JOB_STATE_CANCELLING", RUN_ENDING, NULL, NULL, false},
	{"JOB_STATE_SUCCEEDED", RUN_ENDED, "exited", "Its execution job has ended.", true},
	{"JOB_STATE_PARTIALLY_SUCCEEDED", RUN_ENDED, "error", "Its execution job ended with an error.", false},
	{"JOB_STATE_FAILED", RUN_ENDED, "error", "Its execution job has failed.", false},
	{"JOB_STATE_CANCELLED", RUN_ENDED, "cancelled", "Its execution job was cancelled.", false},
	{"JOB_STATE_EXPIRED", RUN_ENDED, "limit", "Its execution job reached its time limit.", false},
};

static struct str last_part(struct str name)
{
	for (size_t i = name.len; i > 0; i--)
		if (name.ptr[i - 1] == '/')
			return (struct str){name.ptr + i, name.len - i};
	return name;
}

bool ce_job_read(const struct json *doc, struct ce_job *ret)
{
	const struct json *labels = json_get(doc, "labels");
	struct str state = json_str(doc, "jobState"), id = last_part(json_str(doc, "name"));
	const struct state *found = NULL;

	*ret = (struct ce_job){0};
	/* What is left out is the enum's zero. */
	if (!json_has(doc, "jobState"))
		state = STR("JOB_STATE_UNSPECIFIED");
	for (size_t i = 0; i < ARRAY_LEN(states); i++)
		if (str_eqz(state, states[i].name))
			found = &states[i];
	if (!found || id.len > CE_ID_MOST || !made_of(id, "-", false))
		return false;
	ret->id = id;
	ret->phase = found->phase;
	ret->code = found->code;
	ret->sentence = found->sentence;
	ret->orderly = found->orderly;
	if (json_type_of(json_get(doc, "status")) == JSON_OBJECT)
		google_fault_read(json_get(doc, "status"), &ret->fault);
	/* A job that ran too long may be told as one that failed. */
	if (found->code && !strcmp(found->code, "error") && !strcmp(ret->fault.code, "DEADLINE_EXCEEDED")) {
		ret->code = "limit";
		ret->sentence = "Its execution job reached its time limit.";
	}
	if (str_is_uuid(json_str(labels, "gpupool_intent")) && str_is_uuid(json_str(labels, "gpupool_installation"))) {
		ret->intent = json_str(labels, "gpupool_intent");
		ret->installation = json_str(labels, "gpupool_installation");
		if (!str_to_id(json_str(labels, "gpupool_worker"), &ret->worker))
			ret->worker = 0;
	}
	return true;
}

/* ---- no machine ----------------------------------------------------------- */

static bool says(const struct google_fault *f, const char *words)
{
	return strcasestr(f->words, words) || strcasestr(f->reason, words);
}

enum err ce_no_machine(const struct google_fault *f, const char *region, const char **code, char sentence[CE_REASON])
{
	bool exhausted = !strcmp(f->code, "RESOURCE_EXHAUSTED"), quota = says(f, "quota");

	if (says(f, "stockout") || says(f, "does not have enough resources") || says(f, "resource_pool_exhausted") || says(f, "resources are insufficient") ||
	    (exhausted && says(f, "not available"))) {
		*code = "capacity";
		snprintf(sentence, CE_REASON, "Google has no such machine free in %s at the moment.", region);
		return ERR_QUOTA;
	}
	if (!exhausted || !quota || google_fault_is_rate(f))
		return OK;
	if (!strcmp(f->limit, "0") || says(f, "limit: 0") || says(f, "limit is 0") || says(f, "limit of 0")) {
		*code = "needs_human";
		snprintf(sentence, CE_REASON, "The project's quota of such machines in %s is zero: ask Google for some at IAM & Admin, Quotas, then start it again. "
				    "It says: %.90s", region, f->words);
		return ERR_FORBIDDEN;
	}
	*code = "capacity";
	snprintf(sentence, CE_REASON, "The project's quota of such machines in %s is used up, or too small: see IAM & Admin, Quotas. It says: %.100s", region,
		 f->words);
	return ERR_QUOTA;
}

/* ---- an executed notebook ------------------------------------------------- */

/* Terminal colours, which tracebacks are full of. */
static void add_uncoloured(struct buf *b, struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == 0x1b && i + 1 < s.len && s.ptr[i + 1] == '[') {
			for (i += 2; i < s.len && !((s.ptr[i] >= 'A' && s.ptr[i] <= 'Z') || (s.ptr[i] >= 'a' && s.ptr[i] <= 'z')); i++)
				;
			continue;
		}
		buf_addc(b, s.ptr[i]);
	}
}

/* A text, or a list of its lines. */
static void add_text(struct buf *b, const struct json *text, const char *between)
{
	if (json_type_of(text) == JSON_STRING)
		add_uncoloured(b, json_as_str(text));
	for (size_t i = 0; i < json_len(text) && json_type_of(text) == JSON_ARRAY && !b->failed; i++) {
		add_uncoloured(b, json_as_str(json_at(text, i)));
		buf_adds(b, between);
	}
}

static void add_output(struct buf *b, const struct json *output)
{
	struct str type = json_str(output, "output_type");

	if (str_eqz(type, "stream"))
		add_text(b, json_get(output, "text"), "");
	else if (str_eqz(type, "error"))
		add_text(b, json_get(output, "traceback"), "\n");
	else
		add_text(b, json_get(json_get(output, "data"), "text/plain"), "");
	if (b->len && b->ptr[b->len - 1] != '\n')
		buf_addc(b, '\n');
}

bool ce_notebook_log(const struct json *notebook, struct buf *ret)
{
	const struct json *cells = json_get(notebook, "cells");

	if (json_type_of(cells) != JSON_ARRAY)
		return false;
	for (size_t i = 0; i < json_len(cells) && !ret->failed; i++) {
		const struct json *outputs = json_get(json_at(cells, i), "outputs");

		for (size_t k = 0; k < json_len(outputs) && !ret->failed; k++)
			add_output(ret, json_at(outputs, k));
	}
	return true;
}

/* ---- why it ended --------------------------------------------------------- */

static const struct sign {
	const char *words, *code, *reason;
} signs[] = {
	{"gpupool: a GPU was asked for, and this machine has none", "no_gpu", "The machine had no GPU, though one was asked for."},
	{"agent ended with status 6", "unreachable", "The agent could not reach this server in time: its public address must lead here from the internet."},
	{"agent ended with status 3", "token", "The agent's token was no longer good: the machine came too late, or its session was over."},
	{"agent ended with status 4", "token", "Another machine used the agent's token first."},
	{"agent ended with status 5", "session_over", "The agent's session was over."},
	{"perhaps for want of memory", "out_of_memory", "The agent was killed, most likely because the machine ran out of memory."},
	{"MemoryError", "out_of_memory", "The machine ran out of memory."},
	{"agent ended with status", "agent_error", "The agent failed; the log says more."},
	{"agent was killed by signal", "killed", "The agent was killed."},
};

bool ce_diagnose(struct str log, const char **code, char reason[CE_REASON])
{
	static const char well[] = "gpupool: the agent ended with status 0";

	if (!log.len || memmem(log.ptr, log.len, well, sizeof(well) - 1))
		return false;
	for (size_t i = 0; i < ARRAY_LEN(signs); i++)
		if (memmem(log.ptr, log.len, signs[i].words, strlen(signs[i].words))) {
			*code = signs[i].code;
			snprintf(reason, CE_REASON, "%s", signs[i].reason);
			return true;
		}
	return false;
}
