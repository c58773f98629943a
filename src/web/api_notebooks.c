/* api_notebooks - make, list, change, start, stop and delete workers; intent only. */
#include "web/api.h"

#include <string.h>

#include "base/crypto.h"
#include "domain/inputs.h"
#include "domain/lane.h"
#include "domain/worker.h"
#include "web/model.h"
#include "web/problem.h"
#include "web/wake.h"

enum { LIST_DEFAULT = 100, LIST_MAX = 500, SESSIONS_DEFAULT = 20, SESSIONS_MAX = 100 };

/* ---- what may be sent ------------------------------------------------------- */

static const char *const states[] = {"stopped", "starting", "waiting",	"healthy",     "unhealthy",
				     "draining", "stopping", "failed", "needs_human", NULL};
static const char *const starts[] = {"assisted", "api", "browser", NULL};
static const char *const desired_states[] = {"running", "stopped", NULL};

#define NAMES_FIELD(name, text) {name, FIELD_STRINGS, 0, 0, INPUTS_MOST, .item_max = INPUT_NAME_MOST, .doc = text}
static const struct field inputs_fields[] = {
	NAMES_FIELD("datasets", "owner/name"),
	NAMES_FIELD("models", "owner/model/framework/variation, or with a version behind it"),
	NAMES_FIELD("competitions", "The competition's name as in its address."),
	NAMES_FIELD("kernels", "owner/name"),
	{0},
};

const struct field notebook_create_body[] = {
	{"provider", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 31, .doc = "Where it runs: local, manual, kaggle, colab, colab-enterprise."},
	{"start", FIELD_ENUM, 0, .choices = starts,
	 .doc = "Colab: how it gets going. assisted (the default): a person opens its notebook; api, by Colab's API; browser, by a browser of this server."},
	{"accelerator", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 64, .doc = "cpu, gpu, tpu or a name of GET /api/gpu/policies."},
	{"title", FIELD_STRING, 0, .min = 1, .max = 100, .doc = "For people; made up when absent. At Kaggle its name is made from it."},
	{"accountId", FIELD_ID, 0, .doc = "Whose hours it uses; when absent, one's own at this provider."},
	{"credentials", FIELD_ANY, FIELD_SECRET, .doc = "As of POST /api/gpu/accounts: one's own account is made with them, or gets them."},
	{"inputs", FIELD_OBJECT, 0, .nested = inputs_fields, .doc = "What it is given to read there."},
	{"email", FIELD_STRING, 0, .min = 3, .max = 254, .doc = "Where its notices go."},
	{"autoStart", FIELD_BOOL, 0, .doc = "Default true."},
	{"maxSessionSeconds", FIELD_INT, 0, .min = WORKER_SECONDS_MIN, .max = WORKER_SECONDS_MAX, .doc = "As long as the provider allows when absent."},
	{"idleStopSeconds", FIELD_INT, FIELD_NULLABLE, .max = WORKER_SECONDS_MAX,
	 .doc = "Without a job for so long it stops: 60 at least; 0 or null = never. When absent, the setting idle_stop_seconds where the "
		"provider limits hours or sessions, else never. What a provider ends for being idle is stopped before that in any case."},
	{0},
};

const struct field notebook_change_body[] = {
	{"title", FIELD_STRING, 0, .min = 1, .max = 100},
	{"accelerator", FIELD_STRING, 0, .min = 1, .max = 64, .doc = "From the next session on."},
	{"inputs", FIELD_OBJECT, 0, .nested = inputs_fields, .doc = "All of them, from the next session on."},
	{"desiredState", FIELD_ENUM, 0, .choices = desired_states},
	{"maxSessionSeconds", FIELD_INT, FIELD_NULLABLE, .min = WORKER_SECONDS_MIN, .max = WORKER_SECONDS_MAX,
	 .doc = "Of a running session it can only be lowered; null = unlimited."},
	{"idleStopSeconds", FIELD_INT, FIELD_NULLABLE, .max = WORKER_SECONDS_MAX, .doc = "60 at least; 0 or null = never."},
	{0},
};

const struct field notebook_list_query[] = {
	{"provider", FIELD_STRING, 0, .min = 1, .max = 31},
	{"state", FIELD_ENUM, 0, .choices = states},
	{"limit", FIELD_INT, 0, .min = 1, .max = LIST_MAX},
	{"pageToken", FIELD_ID, 0, .doc = "nextPageToken of the page before."},
	{0},
};

const struct field notebook_sessions_query[] = {
	{"limit", FIELD_INT, 0, .min = 1, .max = SESSIONS_MAX},
	{"pageToken", FIELD_ID, 0, .doc = "nextPageToken of the page before."},
	{0},
};

/* ---- read --------------------------------------------------------------------- */

enum err notebook_list(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	int limit = (int)json_i64(req->params, "limit", LIST_DEFAULT), n;
	struct worker_filter f = {.limit = limit + 1, .provider = json_cstr(req->params, "provider"), .state = json_cstr(req->params, "state")};
	cleanup_rows struct rows rows = {0};
	struct json *reply, *list;
	enum err err;

	if (json_has(req->params, "pageToken") && !str_to_i64(json_str(req->params, "pageToken"), 1, INT32_MAX, &f.above))
		return error_field(e, ERR_INVALID, "pageToken", "This is no nextPageToken of this list.");
	err = worker_list(ctx->db, &req->principal, &f, &rows, e);
	if (err)
		return err;
	n = rows_count(&rows) > limit ? limit : rows_count(&rows);
	list = json_array();
	for (int i = 0; i < n; i++)
		json_add(list, model_worker(&rows, i));
	reply = json_object();
	json_put(reply, "notebooks", list);
	if (rows_count(&rows) > limit)
		json_put_id(reply, "nextPageToken", row_i64(&rows, limit - 1, "id"));
	response_json(res, 200, reply);
	return OK;
}

/* Answers with the notebook as it is now. */
static enum err answer(struct ctx *ctx, struct request *req, struct response *res, int status, int64_t id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = worker_get(ctx->db, &req->principal, id, &rows, e);

	if (err)
		return err;
	response_object(res, "worker %lld", (long long)id);
	response_version(res, row_i64(&rows, 0, "version"));
	res->live = true;
	response_json(res, status, model_worker(&rows, 0));
	return OK;
}

enum err notebook_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	return err ? err : answer(ctx, req, res, 200, id, e);
}

enum err notebook_sessions(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	int limit = (int)json_i64(req->params, "limit", SESSIONS_DEFAULT), n;
	cleanup_rows struct rows rows = {0};
	struct json *reply, *list;
	int64_t id, below = 0;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err && json_has(req->params, "pageToken") && !str_to_id(json_str(req->params, "pageToken"), &below))
		err = error_field(e, ERR_INVALID, "pageToken", "This is no nextPageToken of this list.");
	if (!err)
		err = worker_sessions(ctx->db, &req->principal, id, below, limit + 1, &rows, e);
	if (err)
		return err;
	n = rows_count(&rows) > limit ? limit : rows_count(&rows);
	list = json_array();
	for (int i = 0; i < n; i++)
		if (!row_null(&rows, i, "id"))
			json_add(list, model_session(&rows, i));
	reply = json_object();
	json_put(reply, "sessions", list);
	if (rows_count(&rows) > limit)
		json_put_id(reply, "nextPageToken", row_i64(&rows, limit - 1, "id"));
	response_json(res, 200, reply);
	return OK;
}

/* ---- make ----------------------------------------------------------------------- */

/* cpu, gpu and tpu in lower case; NULL with an error when it is no name. */
static const char *read_accelerator(struct request *req, struct error *e)
{
	struct str name = json_str(req->json, "accelerator");
	char *canonical = arena_alloc(req->arena, LANE_ACCELERATOR_MAX);

	if (canonical && accelerator_valid(name) && accelerator_list(&name, 1, canonical))
		return canonical;
	error_field(e, ERR_INVALID, "accelerator", "This must be cpu, gpu, tpu or the name of an accelerator.");
	return NULL;
}

static bool email_plausible(struct str s)
{
	ptrdiff_t at = str_index(s, '@');

	return at > 0 && (size_t)at + 1 < s.len && str_index(s, ' ') < 0 && str_index((struct str){s.ptr + at + 1, s.len - (size_t)at - 1}, '@') < 0;
}

static enum err check_idle(const struct json *j, struct error *e)
{
	int64_t seconds = json_i64(j, "idleStopSeconds", 0);

	if (!seconds || seconds >= WORKER_SECONDS_MIN)
		return OK;
	return error_field(e, ERR_INVALID, "idleStopSeconds", "This must be %d at least, or 0 for never.", WORKER_SECONDS_MIN);
}

static void wake_provider(struct ctx *ctx, const char *provider)
{
	wake(ctx, "gpupool_operations", provider);
	wake(ctx, "gpupool_events", "");
}

enum err notebook_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct json *j = req->json;
	struct worker_new n = {
		.provider = json_cstr(j, "provider"),
		.way = json_cstr(j, "start"),
		.title = json_cstr(j, "title"),
		.email = json_cstr(j, "email"),
		.credentials = json_get(j, "credentials"),
		.inputs = json_get(j, "inputs"),
		.start = json_bool(j, "autoStart", true),
		.max_session_seconds = json_i64(j, "maxSessionSeconds", 0),
		.set_idle = json_has(j, "idleStopSeconds"),
		.idle_stop_seconds = json_i64(j, "idleStopSeconds", 0),
	};
	int64_t id;
	enum err err = check_idle(j, e);

	if (err)
		return err;
	n.accelerator = read_accelerator(req, e);
	if (!n.accelerator)
		return ERR_INVALID;
	if (n.email && !email_plausible(json_str(j, "email")))
		return error_field(e, ERR_INVALID, "email", "This is no e-mail address.");
	if (json_has(j, "accountId") && !str_to_i64(json_str(j, "accountId"), 1, INT32_MAX, &n.account_id))
		return error_field(e, ERR_INVALID, "accountId", "You have no such account at this provider.");
	err = worker_create(ctx->db, ctx->arena, &req->principal, &n, ctx->config, &id, e);
	if (err)
		return err;
	wake_provider(ctx, n.provider);
	return answer(ctx, req, res, 202, id, e);
}

/* ---- change ----------------------------------------------------------------------- */

static enum err change(struct ctx *ctx, struct request *req, struct response *res, int status, const struct worker_change *c,
		       struct error *e)
{
	struct worker_changed changed;
	char worker[24];
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = worker_change(ctx->db, &req->principal, id, c, ctx->config, &changed, e);
	if (err)
		return err;
	if (changed.turned) {
		snprintf(worker, sizeof(worker), "%lld", (long long)id);
		wake(ctx, "gpupool_orders", worker);
		wake_provider(ctx, changed.provider);
	} else if (changed.done) {
		wake(ctx, "gpupool_events", "");
	}
	return answer(ctx, req, res, status, id, e);
}

enum err notebook_change(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct json *j = req->json;
	struct worker_change c = {
		.title = json_cstr(j, "title"),
		.inputs = json_get(j, "inputs"),
		.desired = json_cstr(j, "desiredState"),
		.set_max = json_has(j, "maxSessionSeconds"),
		.max_session_seconds = json_i64(j, "maxSessionSeconds", 0),
		.set_idle = json_has(j, "idleStopSeconds"),
		.idle_stop_seconds = json_i64(j, "idleStopSeconds", 0),
	};

	if (check_idle(j, e))
		return ERR_INVALID;
	if (json_has(j, "accelerator")) {
		c.accelerator = read_accelerator(req, e);
		if (!c.accelerator)
			return ERR_INVALID;
	}
	if (req->if_match.ptr) {
		cleanup_rows struct rows rows = {0};
		int64_t id;
		enum err err = request_capture_id(req, "id", &id, e);

		if (!err)
			err = worker_get(ctx->db, &req->principal, id, &rows, e);
		if (!err) {
			c.version = row_i64(&rows, 0, "version");
			err = request_if_match(req, c.version, e);
		}
		if (err)
			return err;
	}
	return change(ctx, req, res, 200, &c, e);
}

enum err notebook_start(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return change(ctx, req, res, 202, &(struct worker_change){.desired = "running"}, e);
}

enum err notebook_stop(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return change(ctx, req, res, 202, &(struct worker_change){.desired = "stopped"}, e);
}

enum err notebook_delete(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return change(ctx, req, res, 202, &(struct worker_change){.desired = "deleted"}, e);
}

/* ---- the line that a person pastes --------------------------------------------------- */

enum err notebook_enrol(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const char *url = ctx->config->public_url;
	char token[CRYPTO_TOKEN_TEXT], until[ROW_TIME];
	cleanup_rows struct rows rows = {0};
	uint8_t hash[CRYPTO_HASH];
	struct json *j;
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (err)
		return err;
	crypto_token("gpe", token);
	crypto_hash(str_of(token), hash);
	err = worker_enrol(ctx->db, &req->principal, id, hash, &rows, e);
	if (err)
		return err;
	j = json_object();
	json_put_cstr(j, "token", token);
	/* The first asks for the token, so that it lands in no shell history. */
	json_put_cstr(j, "command", arena_printf(req->arena, "curl -fsSo gpupool-agent.py '%s/agent/gpupool-agent.py' && "
							      "python3 gpupool-agent.py '%s'", url, url));
	json_put_cstr(j, "commandWithToken", arena_printf(req->arena, "curl -fsSo gpupool-agent.py '%s/agent/gpupool-agent.py' && "
								       "GPUPOOL_ENROL_TOKEN=%s python3 gpupool-agent.py '%s'",
							   url, token, url));
	json_put_cstr(j, "expiresAt", row_time(&rows, 0, "until", until));
	crypto_wipe(token, sizeof(token));
	res->secret = true;
	response_object(res, "worker %lld", (long long)id);
	response_json(res, 200, j);
	return OK;
}
