/* colab_enterprise_job - execution jobs: making one, finding it, watching it, ending it. */
#include "provider/colab_enterprise.h"

#include <string.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "provider/google_token.h"
#include "provider/notebook.h"

enum {
	CREATE_MS = 100000,
	CHECK_MS = 5000,               /* left for asking what an unclear request did */
	PAGE = 100, PAGES_MOST = 20, LIST_MOST = 500,
	SECONDS_MOST = 7 * 86400,
	SECONDS_DEFAULT = 86400,       /* no job is made without an end */
	DISK_GB = 100,
	TITLE_MOST = 100,
};
static const char service[] = "Vertex AI";

/* ---- references ----------------------------------------------------------- */

enum err ce_reference_read(struct provider_call *c, const struct run *run, struct ce_reference *ret)
{
	cleanup_json struct json *j = NULL;
	struct str job, operation, output;

	if (json_parse(run->reference, 4096, &j, NULL) != OK)
		return google_fail(c, ERR_INVALID, NULL, "This is no reference of an execution job.");
	job = json_str(j, "job");
	operation = json_str(j, "operation");
	output = json_str(j, "output");
	if (!job.len || job.len > CE_ID_MOST || !output.len)
		return google_fail(c, ERR_INVALID, NULL, "This is no reference of an execution job.");
	*ret = (struct ce_reference){
		.job = arena_str(c->arena, job).ptr,
		.operation = operation.len ? arena_str(c->arena, operation).ptr : NULL,
		.output = arena_str(c->arena, output).ptr,
		.worker = json_i64(j, "worker", 0),
		.started = json_i64(j, "started", 0),
	};
	return ret->job && ret->output ? OK : google_no_memory(c);
}

static enum err make_reference(struct provider_call *c, const struct ce_account *a, struct str intent, int64_t worker, const char *operation,
			       int64_t started, struct run *ret)
{
	cleanup_json struct json *j = json_object();

	json_put_cstr(j, "job", arena_printf(c->arena, "gpupool-%.*s", STR_ARG(intent)));
	if (operation)
		json_put_cstr(j, "operation", operation);
	json_put_cstr(j, "output", arena_printf(c->arena, "gpupool/%.*s/", STR_ARG(intent)));
	json_put_i64(j, "worker", worker);
	json_put_i64(j, "started", started);
	*ret = (struct run){
		.reference = str_of(json_text(j, c->arena)),
		.url = arena_printf(c->arena, "https://console.cloud.google.com/vertex-ai/colab/execution-jobs?project=%s", a->project)};
	return ret->reference.ptr && ret->url ? OK : google_no_memory(c);
}

/* "projects/…/operations/123" of an answer; NULL when it is none that may stand in an address. */
static const char *operation_of(struct provider_call *c, const struct json *doc)
{
	struct str name = json_str(doc, "name");

	if (!str_starts(name, "projects/") || name.len > 400)
		return NULL;
	for (size_t i = 0; i < name.len; i++)
		if (name.ptr[i] <= ' ' || name.ptr[i] > '~' || strchr("\"'<>\\?#%", name.ptr[i]))
			return NULL;
	return memmem(name.ptr, name.len, "/operations/", 12) && !memmem(name.ptr, name.len, "..", 2) ? arena_str(c->arena, name).ptr : NULL;
}

/* ---- one job -------------------------------------------------------------- */

/* The job, if it bears the mark of this installation.  ERR_NOT_FOUND when it is not there. */
static enum err job_get(struct provider_call *c, const struct ce_account *a, const char *id, struct google_answer *answer, struct ce_job *ret)
{
	enum err err = google_call(c, &(struct google_request){
		.service = service, .scope = GOOGLE_SCOPE_CLOUD,
		.url = arena_printf(c->arena, "%s/notebookExecutionJobs/%s?view=NOTEBOOK_EXECUTION_JOB_VIEW_BASIC", a->base, id)}, answer);

	if (err)
		return err;
	if (!ce_job_read(answer->doc, ret)) {
		if (json_str(answer->doc, "jobState").len)
			return google_fail(c, ERR_UNAVAILABLE, "unsettled", "Vertex AI says that the job is in a state that is not known here.");
		return google_fail(c, ERR_UPSTREAM, NULL, "Vertex AI does not say in which state the job is.");
	}
	if (!str_eqz(ret->installation, c->installation))
		return google_fail(c, ERR_INVALID, "name_taken", "The execution job %.60s in the project is not of this installation.", id);
	return OK;
}

enum err ce_job_words(struct provider_call *c, const struct ce_account *a, const struct ce_reference *r, char ret[GOOGLE_WORDS])
{
	cleanup_google_answer struct google_answer answer = {0};
	struct ce_job job;
	enum err err = job_get(c, a, r->job, &answer, &job);

	snprintf(ret, GOOGLE_WORDS, "%s", err ? "" : job.fault.words);
	return err;
}

/* ---- making one ----------------------------------------------------------- */

bool ce_launch_valid(const struct launch *l, struct error *why)
{
	struct ce_machine m;

	if (l->resource && strcmp(l->resource, "cpu") && strcmp(l->resource, "gpu"))
		error_set(why, ERR_INVALID, "Colab Enterprise has machines of the kinds cpu and gpu here.");
	else if (!ce_machine_read(str_of(l->shape), &m))
		error_set(why, ERR_INVALID, "The accelerator's shape must be a machine type, or MACHINE/ACCELERATOR/COUNT; it is \"%.60s\".", l->shape ? l->shape : "");
	else if (l->limit_seconds < 0 || l->limit_seconds > SECONDS_MOST)
		error_set(why, ERR_INVALID, "An execution job lasts seven days at most.");
	else
		return true;
	return false;
}

static struct json *environment(const struct ce_machine *m)
{
	struct json *spec = json_object(), *machine = json_object(), *disk = json_object(), *network = json_object();

	json_put_cstr(machine, "machineType", m->type);
	if (m->count) {
		json_put_cstr(machine, "acceleratorType", m->accelerator);
		json_put_i64(machine, "acceleratorCount", m->count);
	}
	json_put_cstr(disk, "diskType", "pd-standard");
	json_put_id(disk, "diskSizeGb", DISK_GB);
	json_put_bool(network, "enableInternetAccess", true);
	json_put(spec, "machineSpec", machine);
	json_put(spec, "persistentDiskSpec", disk);
	json_put(spec, "networkSpec", network);
	return spec;
}

static void put_labels(struct json *body, const struct provider_call *c, const struct launch *l)
{
	struct json *labels = json_object();

	json_put_cstr(labels, "gpupool_installation", c->installation);
	json_put_id(labels, "gpupool_worker", l->worker);
	json_put_str(labels, "gpupool_intent", l->intent);
	json_put(body, "labels", labels);
}

static const char *display_name(struct provider_call *c, const struct launch *l)
{
	char title[TITLE_MOST];

	google_line(str_of(l->title), title, sizeof(title));
	return title[0] ? arena_printf(c->arena, "gpupool %s", title) : arena_printf(c->arena, "gpupool %lld", (long long)l->worker);
}

static enum err make_body(struct provider_call *c, const struct ce_account *a, const struct launch *l, struct json **ret)
{
	cleanup_buf struct buf content = BUF_SECRET(4 << 20);
	struct str notebook = STR_NULL;
	struct json *body, *source;
	struct ce_machine m;
	enum err err = ce_machine_read(str_of(l->shape), &m) ? OK : ERR_INVALID;

	if (!err)
		err = notebook_make(c, l, &(struct notebook_want){.provider = "colab-enterprise"}, &notebook);
	if (err)
		return err;
	crypto_base64(notebook.ptr, notebook.len, &content);
	crypto_wipe((char *)notebook.ptr, notebook.len);
	body = json_object();
	source = json_object();
	json_put_cstr(body, "displayName", display_name(c, l));
	json_put_str(source, "content", buf_str(&content));
	json_put(body, "directNotebookSource", source);
	json_put(body, "customEnvironmentSpec", environment(&m));
	json_put_cstr(body, "gcsOutputUri", arena_printf(c->arena, "gs://%s/gpupool/%.*s", a->bucket, STR_ARG(l->intent)));
	json_put_cstr(body, "serviceAccount", a->email);
	json_put_cstr(body, "executionTimeout", arena_printf(c->arena, "%llds", (long long)(l->limit_seconds ? l->limit_seconds : SECONDS_DEFAULT)));
	put_labels(body, c, l);
	*ret = body;
	return OK;
}

/* The run of this intent, if it is there. */
static enum err look(struct provider_call *c, const struct ce_account *a, const struct launch *l, const char *operation, int64_t started, struct run *ret)
{
	cleanup_google_answer struct google_answer answer = {0};
	struct ce_job job;
	const char *id = arena_printf(c->arena, "gpupool-%.*s", STR_ARG(l->intent));
	enum err err = id ? job_get(c, a, id, &answer, &job) : google_no_memory(c);

	return err ? err : make_reference(c, a, l->intent, l->worker, operation, started, ret);
}

/* After an error that leaves doubt; the error stays where nothing is shown. */
static enum err doubtful(struct provider_call *c, const struct ce_account *a, const struct launch *l, enum err err, int64_t started, struct run *ret)
{
	struct error kept = *c->error;
	int64_t wait = c->retry_after_s;

	if (google_left(c) > CHECK_MS && look(c, a, l, NULL, started, ret) == OK)
		return OK;
	*c->error = kept;
	c->retry_after_s = wait;
	return err;
}

/* An error was answered: so nothing was made, unless it is a failure of theirs. */
static enum err refused(struct provider_call *c, const struct ce_account *a, const struct google_fault *f, enum err err)
{
	char sentence[CE_REASON];
	const char *code;
	enum err none = ce_no_machine(f, a->region, &code, sentence);

	if (none)
		return google_fail(c, none, none == ERR_FORBIDDEN ? "gpu_quota" : code, "%s", sentence);
	if (err == ERR_NOT_FOUND)
		return google_fail(c, ERR_INVALID, NULL, "Vertex AI does not know what the job needs: %.180s", f->words);
	if (f->status == 403 && strstr(f->permission, "actAs"))
		return google_fail(c, ERR_FORBIDDEN, "account", "The service account may not run jobs as itself: give it the role Service Account User (permission %s) "
				   "on itself.", f->permission);
	return err;
}

enum err ce_start(struct provider_call *c, const struct launch *l, struct run *ret)
{
	cleanup_google_answer struct google_answer answer = {0};
	struct json *body = NULL;
	struct ce_account a;
	int64_t started = clock_wall_ms() / 1000;
	enum err err;

	*ret = (struct run){0};
	if (!ce_launch_valid(l, c->error))
		return ERR_INVALID;
	err = ce_account_read(c, &a);
	if (!err)
		err = make_body(c, &a, l, &body);
	if (err)
		return err;
	CRASH_POINT("ce.create");
	err = google_call(c, &(struct google_request){
		.service = service, .scope = GOOGLE_SCOPE_CLOUD, .method = "POST", .body = body, .effect = true, .ms = CREATE_MS,
		.url = arena_printf(c->arena, "%s/notebookExecutionJobs?notebookExecutionJobId=gpupool-%.*s", a.base, STR_ARG(l->intent))}, &answer);
	CRASH_POINT("ce.created");
	if (!err)
		return make_reference(c, &a, l->intent, l->worker, operation_of(c, answer.doc), started, ret);
	/* Made by an earlier request of the same intent: it is that one. */
	if (err == ERR_CONFLICT)
		return look(c, &a, l, NULL, started, ret);
	if (answer.fault.status)
		err = refused(c, &a, &answer.fault, err);
	return err == ERR_UNAVAILABLE || err == ERR_TIMEOUT || err == ERR_UPSTREAM ? doubtful(c, &a, l, err, started, ret) : err;
}

enum err ce_find(struct provider_call *c, const struct launch *l, struct run *ret)
{
	struct ce_account a;
	enum err err = ce_account_read(c, &a);

	if (!err)
		err = look(c, &a, l, NULL, clock_wall_ms() / 1000 - (int64_t)l->launched_for, ret);
	if (err != ERR_NOT_FOUND)
		return err;
	if (l->launched_for < (double)c->config->vertex_settle_seconds)
		return google_fail(c, ERR_UNAVAILABLE, "unsettled", "It is not yet certain whether Vertex AI took the start.");
	return google_fail(c, ERR_NOT_FOUND, NULL, "Vertex AI has no job of this start.");
}

/* ---- all of them ---------------------------------------------------------- */

static enum err list_page(struct provider_call *c, const struct ce_account *a, const char *filter, struct google_answer *answer, const char **token)
{
	cleanup_buf struct buf url = BUF_INIT(16 << 10);
	struct str next;
	enum err err;

	buf_addf(&url, "%s/notebookExecutionJobs?view=NOTEBOOK_EXECUTION_JOB_VIEW_BASIC&pageSize=%d&filter=", a->base, PAGE);
	buf_add_url(&url, str_of(filter));
	if (*token) {
		buf_adds(&url, "&pageToken=");
		buf_add_url(&url, str_of(*token));
	}
	err = url.failed ? google_no_memory(c)
			 : google_call(c, &(struct google_request){.service = service, .scope = GOOGLE_SCOPE_CLOUD, .url = url.ptr}, answer);
	if (err)
		return err == ERR_NOT_FOUND ? google_fail(c, ERR_UPSTREAM, NULL, "Vertex AI shows no list of jobs.") : err;
	next = json_str(answer->doc, "nextPageToken");
	*token = next.len && next.len < 4096 ? arena_str(c->arena, next).ptr : NULL;
	return OK;
}

static enum err add_found(struct provider_call *c, const struct ce_account *a, const struct json *doc, struct run_list *ret)
{
	struct run_found *f = &ret->items[ret->count];
	struct ce_job job;
	char id[CE_ID_MOST];

	/* The filter is Google's to apply, the mark is ours to see. */
	if (!ce_job_read(doc, &job) || !str_eqz(job.installation, c->installation))
		return OK;
	snprintf(id, sizeof(id), "gpupool-%.*s", STR_ARG(job.intent));
	if (!str_eqz(job.id, id))
		return OK;
	f->intent = arena_str(c->arena, job.intent);
	f->worker = job.worker;
	f->live = job.phase != RUN_ENDED;
	ret->count++;
	return f->intent.ptr ? make_reference(c, a, f->intent, job.worker, NULL, 0, &f->run) : google_no_memory(c);
}

static enum err list_where(struct provider_call *c, const struct ce_account *a, const char *filter, struct run_list *ret)
{
	const char *token = NULL;
	enum err err = OK;

	*ret = (struct run_list){.items = arena_array(c->arena, LIST_MOST, sizeof(*ret->items))};
	if (!ret->items || !filter)
		return google_no_memory(c);
	for (int page = 0; !err && page < PAGES_MOST && ret->count < LIST_MOST; page++) {
		cleanup_google_answer struct google_answer answer = {0};
		const struct json *jobs;

		err = list_page(c, a, filter, &answer, &token);
		jobs = err ? NULL : json_get(answer.doc, "notebookExecutionJobs");
		for (size_t i = 0; !err && i < json_len(jobs) && ret->count < LIST_MOST; i++)
			err = add_found(c, a, json_at(jobs, i), ret);
		if (!token)
			break;
	}
	return err;
}

enum err ce_list(struct provider_call *c, struct run_list *ret)
{
	struct ce_account a;
	enum err err = ce_account_read(c, &a);

	return err ? err : list_where(c, &a, arena_printf(c->arena, "labels.gpupool_installation=\"%s\"", c->installation), ret);
}

/* ---- watching one --------------------------------------------------------- */

/* The job is not there.  While its making is under way that is how it looks; when that has failed it says why. */
static enum err not_there(struct provider_call *c, const struct ce_account *a, const struct ce_reference *r, struct run_status *ret)
{
	cleanup_google_answer struct google_answer answer = {0};
	struct google_fault fault = {0};
	char sentence[CE_REASON];
	enum err err = OK;
	bool failed;

	*ret = (struct run_status){.phase = RUN_ENDED, .code = "gone", .reason = "Its execution job is no longer there."};
	if (r->operation) {
		const char *root = strstr(a->base, "/v1/");

		err = google_call(c, &(struct google_request){
			.service = service, .scope = GOOGLE_SCOPE_CLOUD,
			.url = arena_printf(c->arena, "%.*s/v1/%s", (int)(root - a->base), a->base, r->operation)}, &answer);
		if (err && err != ERR_NOT_FOUND)
			return err;
	}
	failed = r->operation && !err && json_type_of(json_get(answer.doc, "error")) == JSON_OBJECT;
	if (!failed && ((r->operation && !err && !json_bool(answer.doc, "done", false)) ||
			clock_wall_ms() / 1000 - r->started < c->config->vertex_settle_seconds))
		*ret = (struct run_status){.phase = RUN_QUEUED};
	if (!failed)
		return OK;
	google_fault_read(answer.doc, &fault);
	ret->code = "error";
	if (!ce_no_machine(&fault, a->region, &ret->code, sentence))
		snprintf(sentence, sizeof(sentence), "Vertex AI could not make its execution job. It says: %.150s", fault.words);
	ret->reason = arena_strdup(c->arena, sentence);
	return ret->reason ? OK : google_no_memory(c);
}

enum err ce_poll(struct provider_call *c, const struct run *run, struct run_status *ret)
{
	cleanup_google_answer struct google_answer answer = {0};
	struct ce_reference r;
	struct ce_account a;
	struct ce_job job;
	char sentence[CE_REASON];
	enum err err = ce_account_read(c, &a);

	if (!err)
		err = ce_reference_read(c, run, &r);
	if (!err)
		err = job_get(c, &a, r.job, &answer, &job);
	if (err == ERR_NOT_FOUND)
		return not_there(c, &a, &r, ret);
	if (err)
		return err;
	*ret = (struct run_status){.phase = job.phase, .code = job.code, .reason = job.sentence, .orderly = job.orderly};
	if (job.phase != RUN_ENDED || job.orderly || !job.fault.words[0])
		return OK;
	if (!ce_no_machine(&job.fault, a.region, &ret->code, sentence))
		snprintf(sentence, sizeof(sentence), "%s It says: %.180s", job.sentence, job.fault.words);
	ret->reason = arena_strdup(c->arena, sentence);
	return ret->reason ? OK : google_no_memory(c);
}

/* ---- ending one ----------------------------------------------------------- */

/* OK also when it is not there. */
static enum err job_delete(struct provider_call *c, const struct ce_account *a, const char *id)
{
	cleanup_google_answer struct google_answer answer = {0};
	enum err err = google_call(c, &(struct google_request){
		.service = service, .scope = GOOGLE_SCOPE_CLOUD, .method = "DELETE",
		.url = arena_printf(c->arena, "%s/notebookExecutionJobs/%s", a->base, id)}, &answer);

	return err == ERR_NOT_FOUND ? OK : err;
}

/* Only what bears the mark is deleted. */
static enum err end(struct provider_call *c, const struct ce_account *a, const char *id)
{
	cleanup_google_answer struct google_answer answer = {0};
	struct ce_job job;
	enum err err = job_get(c, a, id, &answer, &job);

	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	/* Told to end before, it is on its way: another request would be a conflict. */
	if (job.phase == RUN_ENDING)
		return OK;
	return job_delete(c, a, id);
}

enum err ce_stop(struct provider_call *c, const struct run *run, bool insist)
{
	struct ce_reference r;
	struct ce_account a;
	enum err err = ce_account_read(c, &a);

	(void)insist; /* there is one way, and it is final */
	if (!err)
		err = ce_reference_read(c, run, &r);
	CRASH_POINT("ce.stop");
	return err ? err : end(c, &a, r.job);
}

/* The jobs of all its sessions: each has left one. */
enum err ce_remove(struct provider_call *c, const struct run *run)
{
	struct run_list list = {0};
	struct ce_reference r;
	struct ce_account a;
	enum err err = ce_account_read(c, &a);

	if (!err)
		err = ce_reference_read(c, run, &r);
	if (!err)
		err = end(c, &a, r.job);
	if (!err && r.worker > 0)
		err = list_where(c, &a, arena_printf(c->arena, "labels.gpupool_installation=\"%s\" AND labels.gpupool_worker=\"%lld\"", c->installation,
						     (long long)r.worker), &list);
	CRASH_POINT("ce.remove");
	for (size_t i = 0; !err && i < list.count; i++)
		if (list.items[i].worker == r.worker && !list.items[i].live)
			err = job_delete(c, &a, arena_printf(c->arena, "gpupool-%.*s", STR_ARG(list.items[i].intent)));
	return err;
}
