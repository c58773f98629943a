/* api_jobs - submit, list, read, cancel and repeat jobs.  What agents and logs need is the events role's. */
#include "web/api.h"

#include <string.h>

#include "domain/estimate.h"
#include "domain/job.h"
#include "domain/secret.h"
#include "web/model.h"
#include "web/problem.h"
#include "web/wake.h"

enum { LIST_DEFAULT = 50, LIST_MAX = 500, CANCEL_PAGES = 10 };

/* ---- what may be sent ------------------------------------------------------- */

static const char *const states[] = {
#define X(id, name) name,
	JOB_STATES(X)
#undef X
	NULL,
};
static const char *const live_states[] = {"queued", "running", NULL};
static const char *const types[] = {"script", "training", "inference", NULL};
static const char *const retry_on[] = {"error", "timeout", NULL};
static const char *const includes[] = {"payload", NULL};

#define JOB_FIELDS                                                                                                               \
	{"type", FIELD_ENUM, FIELD_REQUIRED, .choices = types, .doc = "How it is treated: leases, checkpoints."},                \
	{"payload", FIELD_OBJECT, FIELD_REQUIRED,                                                                                \
	 .doc = "{code, args?, env?, requirements?, files?} or {command, env?, files?}; at most 1 MiB."},                        \
	{"endpoint", FIELD_STRING, 0, .min = 1, .max = 100, .doc = "Name of an endpoint."},                                      \
	{"name", FIELD_STRING, 0, .min = 1, .max = JOB_NAME_MAX, .doc = "For people."},                                          \
	{"tags", FIELD_STRINGS, 0, .min = 0, .max = JOB_TAGS_MAX, .item_max = JOB_TAG_MAX, .doc = "For lists and bulk cancel."}, \
	{"accelerator", FIELD_NAMES, 0, .min = 1, .max = LANE_ACCELERATORS, .item_max = 64,                                      \
	 .doc = "cpu, gpu, tpu or a name, or a list of which any will do; any when absent."},                                    \
	{"gpus", FIELD_INT, 0, .min = 1, .max = 64, .doc = "How many at once; default 1."},                                      \
	{"priority", FIELD_INT, 0, .min = 0, .max = 9, .doc = "9 first; default 5."},                                            \
	{"maxAttempts", FIELD_INT, 0, .min = 1, .max = 100, .doc = "Default 3."},                                                \
	{"retryOn", FIELD_STRINGS, 0, .min = 0, .max = 2, .choices = retry_on,                                                   \
	 .doc = "What else than a lost worker uses another attempt; default nothing."},                                          \
	{"timeoutSeconds", FIELD_INT, 0, .min = 1, .max = JOB_SECONDS_MAX, .doc = "Of one attempt."},                            \
	{"estimatedSeconds", FIELD_INT, 0, .min = 1, .max = JOB_SECONDS_MAX, .doc = "How long it will run."},                    \
	{"runAfter", FIELD_TIME, 0, .doc = "Not before; at most a year ahead."},                                                 \
	{"secrets", FIELD_STRINGS, 0, .min = 0, .max = JOB_SECRETS_MAX, .item_max = SECRET_NAME_MAX,                             \
	 .doc = "Names of your secrets, which the job finds in its environment."},                                               \
	{"webhook", FIELD_STRING, 0, .min = 1, .max = 2000, .doc = "Called when it ends."}

const struct field job_create_body[] = {JOB_FIELDS, {0}};

const struct field job_batch_body[] = {
	{"jobs", FIELD_LIST, FIELD_REQUIRED, .min = 1, .max = JOB_BATCH_MAX, .nested = job_create_body, .doc = "All or none."},
	{0},
};

const struct field job_list_query[] = {
	{"state", FIELD_ENUM, 0, .choices = states},
	{"type", FIELD_ENUM, 0, .choices = types},
	{"name", FIELD_STRING, 0, .min = 1, .max = JOB_NAME_MAX, .doc = "How the name begins."},
	{"tag", FIELD_STRING, 0, .min = 1, .max = JOB_TAG_MAX},
	{"q", FIELD_STRING, 0, .min = 1, .max = JOB_NAME_MAX, .doc = "Part of the name, a tag or the id."},
	{"worker", FIELD_ID, 0, .doc = "On which it runs or ended."},
	{"owner", FIELD_ID, 0, .doc = "For administrators: one person's; everyone's when absent."},
	{"limit", FIELD_INT, 0, .min = 1, .max = LIST_MAX},
	{"pageToken", FIELD_ID, 0, .doc = "nextPageToken of the page before."},
	{0},
};

const struct field job_get_query[] = {
	{"include", FIELD_ENUM, 0, .choices = includes, .doc = "payload: as it was submitted, too."},
	{0},
};

const struct field job_cancel_body[] = {
	{"ids", FIELD_STRINGS, 0, .min = 1, .max = JOB_CANCEL_MAX, .item_max = 19, .doc = "These, and nothing else given."},
	{"state", FIELD_ENUM, 0, .choices = live_states, .doc = "Only those that wait, or that run."},
	{"tag", FIELD_STRING, 0, .min = 1, .max = JOB_TAG_MAX},
	{"name", FIELD_STRING, 0, .min = 1, .max = JOB_NAME_MAX, .doc = "How the name begins."},
	{"type", FIELD_ENUM, 0, .choices = types},
	{"q", FIELD_STRING, 0, .min = 1, .max = JOB_NAME_MAX, .doc = "Part of the name, a tag or the id."},
	{"worker", FIELD_ID, 0, .doc = "Those that run on it."},
	{"owner", FIELD_ID, 0, .doc = "For administrators: another person's; your own when absent."},
	{0},
};

/* ---- submit ------------------------------------------------------------------- */

struct faults {
	struct request *req;
	enum err worst;
};

static void note_fault(void *ctx, enum err code, const char *field, const char *message)
{
	struct faults *f = ctx;

	f->worst = code == ERR_TOO_LARGE ? code : f->worst ? f->worst : code;
	if (f->req->errors)
		field_error_add(f->req->errors, f->req->arena, field, "%s", message);
}

/* All documents are judged, so that every fault is named at once. */
static enum err read_specs(struct request *req, struct json *const *documents, int n, struct job_spec *specs, struct error *e)
{
	struct faults faults = {.req = req};
	struct job_judge judge = {.arena = req->arena, .fault = note_fault, .ctx = &faults, .prefix = ""};
	int bad = 0;

	for (int i = 0; i < n; i++) {
		if (n > 1 || json_has(req->json, "jobs"))
			judge.prefix = arena_printf(req->arena, "jobs.%d", i);
		if (!judge.prefix)
			return error_set(e, ERR_TOO_LARGE, "The request is too large.");
		bad += !job_spec_read(&judge, req->principal.user_id, documents[i], &specs[i]);
	}
	if (!bad)
		return OK;
	return error_set(e, faults.worst, bad == 1 ? "The job is not valid." : "%d jobs are not valid.", bad);
}

/* The names in use, as a text array; false when there are none. */
static bool secret_names(const struct job_spec *specs, int n, struct buf *ret)
{
	bool any = false;

	array_begin(ret);
	for (int i = 0; i < n; i++) {
		const struct json *names = json_get(specs[i].document, "secrets");

		for (size_t k = 0; k < json_len(names); k++) {
			array_add_str(ret, json_as_str(json_at(names, k)));
			any = true;
		}
	}
	array_end(ret);
	return any;
}

static bool is_known(const struct rows *known, struct str name)
{
	for (int i = 0; i < rows_count(known); i++)
		if (str_eq(row_str(known, i, "name"), name))
			return true;
	return false;
}

/* Estimates what is submitted; what no session could hold is refused. */
static enum err check_length(struct ctx *ctx, struct request *req, struct job_spec *specs, int n, struct error *e)
{
	struct estimate *est = arena_array(req->arena, (size_t)n, sizeof(*est));
	bool refused = false;
	enum err err;

	if (!est)
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	err = estimate_specs(ctx->db, req->arena, &req->principal, specs, n, est, e);
	for (int i = 0; !err && i < n; i++) {
		char text[ESTIMATE_TEXT];
		const char *path = json_has(req->json, "jobs") ? arena_printf(req->arena, "jobs.%d.estimatedSeconds", i) : "estimatedSeconds";

		if (!estimate_too_long(&specs[i], &est[i]))
			continue;
		refused = true;
		if (req->errors)
			field_error_add(req->errors, req->arena, path ? path : "estimatedSeconds",
					"fits no session: the longest that your accounts can give it lasts %s; only a training can go on in "
					"another", estimate_text(est[i].longest, text));
	}
	return err || !refused ? err : error_set(e, ERR_INVALID, "No session is long enough for it.");
}

static const char *secret_field(const struct request *req, int job, size_t at)
{
	const char *path = json_has(req->json, "jobs") ? arena_printf(req->arena, "jobs.%d.secrets.%zu", job, at)
						       : arena_printf(req->arena, "secrets.%zu", at);

	return path ? path : "secrets";
}

/* Who submits has all that the jobs name. */
static enum err check_secrets(struct ctx *ctx, struct request *req, const struct job_spec *specs, int n, struct error *e)
{
	cleanup_buf struct buf names = BUF_INIT(JOB_BATCH_MAX * JOB_SECRETS_MAX * (SECRET_NAME_MAX + 8));
	cleanup_rows struct rows known = {0};
	int missing = 0;
	enum err err;

	if (!secret_names(specs, n, &names))
		return OK;
	err = secret_known(ctx->db, &req->principal, &names, &known, e);
	for (int i = 0; !err && i < n; i++) {
		const struct json *list = json_get(specs[i].document, "secrets");

		for (size_t k = 0; k < json_len(list); k++) {
			if (is_known(&known, json_as_str(json_at(list, k))))
				continue;
			missing++;
			if (req->errors)
				field_error_add(req->errors, req->arena, secret_field(req, i, k), "names no secret of yours");
		}
	}
	return err ? err : missing ? error_set(e, ERR_INVALID, "You have no secret of that name.") : OK;
}

static struct json *placed_model(const struct job_placed *p)
{
	struct json *j = json_object();

	json_put_id(j, "jobId", p->id);
	json_put(j, "workerId", json_null());
	if (p->worker_id)
		json_put_id(j, "workerId", p->worker_id);
	json_put_bool(j, "assigned", p->worker_id != 0);
	json_put_cstr(j, "state", job_state_name(JOB_QUEUED));
	json_put_cstr(j, "waitingReason", p->worker_id ? NULL : wait_name(p->wait));
	return j;
}

static enum err submit(struct ctx *ctx, struct request *req, struct json *const *documents, int n, struct job_placed *placed,
		       struct error *e)
{
	struct job_spec *specs = arena_array(req->arena, (size_t)n, sizeof(*specs));
	enum err err;

	if (!specs)
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	err = read_specs(req, documents, n, specs, e);
	if (!err)
		err = check_secrets(ctx, req, specs, n, e);
	if (!err)
		err = check_length(ctx, req, specs, n, e);
	if (!err)
		err = job_submit(ctx->db, req->arena, &req->principal, specs, n, placed, e);
	if (!err) {
		wake(ctx, "gpupool_jobs", "");
		wake(ctx, "gpupool_events", "");
	}
	return err;
}

enum err job_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct job_placed placed;
	enum err err = submit(ctx, req, &req->json, 1, &placed, e);

	if (err)
		return err;
	response_object(res, "job %lld", (long long)placed.id);
	response_json(res, 202, placed_model(&placed));
	return OK;
}

enum err job_batch(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct json *list = json_get(req->json, "jobs");
	int n = (int)json_len(list);
	struct json **documents = arena_array(req->arena, (size_t)n, sizeof(*documents));
	struct job_placed *placed = arena_array(req->arena, (size_t)n, sizeof(*placed));
	struct json *reply, *jobs;
	enum err err;

	if (!documents || !placed)
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	for (int i = 0; i < n; i++)
		documents[i] = json_at(list, (size_t)i);
	err = submit(ctx, req, documents, n, placed, e);
	if (err)
		return err;
	jobs = json_array();
	for (int i = 0; i < n; i++)
		json_add(jobs, placed_model(&placed[i]));
	reply = json_object();
	json_put(reply, "jobs", jobs);
	response_object(res, "%d jobs from %lld", n, (long long)placed[0].id);
	response_json(res, 202, reply);
	return OK;
}

/* ---- read ----------------------------------------------------------------------- */

/* The look at the pool happens only when a row needs it. */
static enum err look(struct ctx *ctx, struct request *req, const struct rows *rows, struct pool *pool, struct error *e)
{
	enum err err = OK;

	if (!model_jobs_wait(rows))
		return OK;
	err = pool_look(ctx->db, req->arena, pool, e);
	return err ? err : pool_order(ctx->db, req->arena, pool, (double)ctx->config->place_hold_seconds, e);
}

/* Ids are decimal strings; what is too large for one is nobody's. */
static int64_t id_of(const struct json *object, const char *key)
{
	int64_t id = 0;

	return str_to_id(json_str(object, key), &id) ? id : 0;
}

static int64_t small_id_of(const struct json *object, const char *key)
{
	int64_t id = id_of(object, key);

	return id > INT32_MAX ? INT32_MAX : id;
}

static struct job_filter filter_of(const struct json *from)
{
	struct str state = json_str(from, "state");

	return (struct job_filter){
		.state = state.ptr ? job_state_parse(state) : JOB_STATE_COUNT,
		.type = job_type_parse(json_str(from, "type")),
		.owner = small_id_of(from, "owner"),
		.name = json_cstr(from, "name"),
		.tag = json_cstr(from, "tag"),
		.find = json_cstr(from, "q"),
		.worker = small_id_of(from, "worker"),
		.below = id_of(from, "pageToken"),
	};
}

enum err job_list_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct job_filter f = filter_of(req->params);
	int limit = (int)json_i64(req->params, "limit", LIST_DEFAULT), n;
	cleanup_rows struct rows rows = {0};
	cleanup_pool struct pool pool = {0};
	struct json *reply, *jobs;
	enum err err;

	f.limit = limit + 1; /* one more tells whether there is a next page */
	err = job_list(ctx->db, &req->principal, &f, &rows, e);
	if (!err)
		err = look(ctx, req, &rows, &pool, e);
	if (err)
		return err;
	n = rows_count(&rows) > limit ? limit : rows_count(&rows);
	jobs = json_array();
	for (int i = 0; i < n; i++)
		json_add(jobs, model_job(&rows, i, &pool));
	reply = json_object();
	json_put(reply, "jobs", jobs);
	if (rows_count(&rows) > limit)
		json_put_id(reply, "nextPageToken", row_i64(&rows, limit - 1, "id"));
	response_json(res, 200, reply);
	return OK;
}

/* *ret is the caller's. */
static enum err read_job(struct ctx *ctx, struct request *req, int64_t id, bool payload, struct json **ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_pool struct pool pool = {0};
	enum err err = job_get(ctx->db, &req->principal, id, &rows, e);

	if (!err)
		err = look(ctx, req, &rows, &pool, e);
	if (err)
		return err;
	*ret = model_job(&rows, 0, &pool);
	if (payload)
		json_put_raw(*ret, "payload", row_str(&rows, 0, "payload"));
	return OK;
}

enum err job_get_one(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct json *job;
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = read_job(ctx, req, id, json_has(req->params, "include"), &job, e);
	if (!err)
		response_json(res, 200, job);
	return err;
}

enum err job_attempts_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	struct json *reply, *attempts;
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = job_attempts(ctx->db, &req->principal, id, &rows, e);
	if (err)
		return err;
	attempts = json_array();
	for (int i = 0; i < rows_count(&rows); i++)
		if (!row_null(&rows, i, "run"))
			json_add(attempts, model_attempt(&rows, i));
	reply = json_object();
	json_put(reply, "attempts", attempts);
	response_json(res, 200, reply);
	return OK;
}

enum err job_artifacts_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	struct json *reply, *artifacts;
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = job_artifacts(ctx->db, &req->principal, id, &rows, e);
	if (err)
		return err;
	artifacts = json_array();
	for (int i = 0; i < rows_count(&rows); i++)
		if (!row_null(&rows, i, "name"))
			json_add(artifacts, model_artifact(&rows, i));
	reply = json_object();
	json_put(reply, "artifacts", artifacts);
	response_json(res, 200, reply);
	return OK;
}

/* ---- cancel, retry ---------------------------------------------------------------- */

/* The streams first: with very many workers the process has no room for all hints, and polling finds the rest. */
static void wake_cancelled(struct ctx *ctx, const struct job_ended *ended, int n)
{
	char worker[24];

	wake(ctx, "gpupool_events", "");
	for (int i = 0; i < n; i++) {
		if (!ended[i].cancelled || !ended[i].worker_id)
			continue;
		snprintf(worker, sizeof(worker), "%lld", (long long)ended[i].worker_id);
		wake(ctx, "gpupool_orders", worker);
	}
}

enum err job_cancel_one(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct job_ended ended;
	struct json *job;
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = job_cancel(ctx->db, &req->principal, &id, 1, &ended, e);
	if (!err)
		err = read_job(ctx, req, id, false, &job, e);
	if (err)
		return err;
	response_object(res, "job %lld", (long long)id);
	if (ended.cancelled) {
		wake_cancelled(ctx, &ended, 1);
		response_json(res, 200, job);
		return OK;
	}
	request_problem(req, "job", job);
	if (job_state_ended(ended.state))
		return error_set(e, ERR_CONFLICT, "The job has ended already: %s.", job_state_name(ended.state));
	return error_set(e, ERR_CONFLICT, "The job is changing its state this very moment; try again.");
}

/* The answer about several: how many, which, and whether there may be more. */
struct bulk {
	struct json *jobs;
	int64_t cancelled;
	bool more;
};

static enum err cancel_these(struct ctx *ctx, struct request *req, const int64_t *ids, int n, bool all, struct bulk *b, struct error *e)
{
	struct job_ended *ended = arena_array(req->arena, (size_t)n, sizeof(*ended));
	enum err err;

	if (!ended)
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	err = job_cancel(ctx->db, &req->principal, ids, n, ended, e);
	if (err)
		return err;
	for (int i = 0; i < n; i++) {
		struct json *j;

		b->cancelled += ended[i].cancelled;
		if (!all && !ended[i].cancelled)
			continue;
		j = json_object();
		json_put_id(j, "jobId", ended[i].id);
		json_put_bool(j, "cancelled", ended[i].cancelled);
		json_put_cstr(j, "state", ended[i].known ? job_state_name(ended[i].state) : NULL);
		json_add(b->jobs, j);
	}
	wake_cancelled(ctx, ended, n);
	return OK;
}

static enum err cancel_ids(struct ctx *ctx, struct request *req, struct bulk *b, struct error *e)
{
	const struct json *list = json_get(req->json, "ids");
	int64_t ids[JOB_CANCEL_MAX];
	int n = (int)json_len(list);

	for (int i = 0; i < n; i++)
		if (!str_to_id(json_as_str(json_at(list, (size_t)i)), &ids[i])) {
			char field[32];

			snprintf(field, sizeof(field), "ids.%d", i);
			return error_field(e, ERR_INVALID, field, "This is no id of a job.");
		}
	return cancel_these(ctx, req, ids, n, true, b, e);
}

/* Page by page from the newest, so that it ends though new ones come. */
static enum err cancel_where(struct ctx *ctx, struct request *req, struct job_filter f, struct bulk *b, struct error *e)
{
	int pages = 0, n = JOB_CANCEL_MAX;
	enum err err = OK;

	f.limit = JOB_CANCEL_MAX;
	while (!err && n == JOB_CANCEL_MAX && pages++ < CANCEL_PAGES) {
		cleanup_rows struct rows rows = {0};
		int64_t ids[JOB_CANCEL_MAX];

		err = job_list(ctx->db, &req->principal, &f, &rows, e);
		n = rows_count(&rows);
		for (int i = 0; i < n; i++)
			f.below = ids[i] = row_i64(&rows, i, "id");
		if (!err && n)
			err = cancel_these(ctx, req, ids, n, false, b, e);
	}
	b->more |= n == JOB_CANCEL_MAX;
	return err;
}

enum err job_cancel_many(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct bulk b = {0};
	struct job_filter f = filter_of(req->json);
	bool ids = json_has(req->json, "ids");
	struct json *reply;
	enum err err = OK;

	if (ids && json_len(req->json) > 1)
		return error_field(e, ERR_INVALID, "ids", "Give either ids or what the jobs have in common.");
	if (!json_len(req->json) || (json_len(req->json) == 1 && f.owner))
		return error_field(e, ERR_INVALID, "", "Say which jobs: ids, or a state, tag, name or type.");
	if (!f.owner)
		f.owner = req->principal.user_id;
	b.jobs = json_array();
	for (int s = JOB_QUEUED; !err && !ids && s <= JOB_RUNNING; s++)
		if (f.state == JOB_STATE_COUNT || f.state == (enum job_state)s) {
			struct job_filter one = f;

			one.state = s;
			err = cancel_where(ctx, req, one, &b, e);
		}
	if (ids)
		err = cancel_ids(ctx, req, &b, e);
	if (err) {
		json_free(b.jobs);
		return err;
	}
	reply = json_object();
	json_put_i64(reply, "cancelled", b.cancelled);
	json_put(reply, "jobs", b.jobs);
	json_put_bool(reply, "more", b.more);
	response_object(res, "%lld jobs", (long long)b.cancelled);
	response_json(res, 200, reply);
	return OK;
}

enum err job_retry_one(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct json *job;
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = job_retry(ctx->db, &req->principal, id, e);
	if (!err)
		err = read_job(ctx, req, id, false, &job, e);
	if (err)
		return err;
	wake(ctx, "gpupool_jobs", "");
	wake(ctx, "gpupool_events", "");
	response_object(res, "job %lld", (long long)id);
	response_json(res, 202, job);
	return OK;
}
