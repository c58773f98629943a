/* api_policies - what providers allow and have, and an administrator's changes of it. */
#include "domain/policy.h"
#include "web/api.h"
#include "web/wake.h"

enum err policies_list(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *list = json_array();
	enum err err = policy_list(ctx->db, NULL, list, e);
	struct json *reply;

	if (err)
		return err;
	reply = json_object();
	json_put(reply, "policies", steal_ptr(list));
	response_json(res, 200, reply);
	return OK;
}

/* ---- changes --------------------------------------------------------------------- */

enum { SESSION_MOST = 2678400, WEEK = 604800 }; /* a month of 31 days; no week has more */

#define SOURCE_FIELD {"source", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 300, .doc = "Where this is said: a page, a letter, an answer. Dated today."}

const struct field policy_change_body[] = {
	{"sharingAllowed", FIELD_BOOL, 0, .doc = "Whether owners may let other people's jobs run on their accounts there."},
	{"notice", FIELD_TEXT, 0, .min = 0, .max = 1000, .doc = "The term that whoever adds an account is shown."},
	SOURCE_FIELD,
	{0},
};

const struct field policy_limit_body[] = {
	{"sessionSeconds", FIELD_INT, FIELD_NULLABLE, .min = 60, .max = SESSION_MOST, .doc = "The provider ends a session then; null = it does not."},
	{"sessionMarginSeconds", FIELD_INT, 0, .min = 0, .max = SESSION_MOST, .doc = "And we, so much sooner."},
	{"weekSeconds", FIELD_INT, FIELD_NULLABLE, .min = 0, .max = WEEK, .doc = "Of each account, where the provider itself does not say; null = any number."},
	{"weekMarginSeconds", FIELD_INT, 0, .min = 0, .max = WEEK, .doc = "Of a week, that is never used."},
	{"concurrent", FIELD_INT, FIELD_NULLABLE, .min = 1, .max = 1000, .doc = "Sessions at once; null = any number."},
	{"minSessionSeconds", FIELD_INT, 0, .min = 60, .max = SESSION_MOST, .doc = "A shorter session is not worth its start."},
	{"idleSeconds", FIELD_INT, FIELD_NULLABLE, .min = 60, .max = SESSION_MOST, .doc = "The provider ends an idle session then; null = it does not."},
	SOURCE_FIELD,
	{0},
};

/* A part of the address; what the arena has no room for is nobody's name. */
static const char *captured(struct request *req, const char *name)
{
	struct str part = request_capture(req, name);
	const char *copy = arena_strndup(req->arena, part.ptr, part.len);

	return copy ? copy : "";
}

static enum err change(struct ctx *ctx, struct request *req, struct response *res, const struct policy_wanted *w, struct error *e)
{
	cleanup_json struct json *list = json_array(), *changed = json_object();
	enum err err = policy_change(ctx->db, req->arena, &req->principal, w, changed, e);

	if (!err)
		err = policy_list(ctx->db, w->provider, list, e);
	if (err)
		return err;
	/* Starts that waited for hours or places may go on; so may jobs, where sharing is. */
	wake(ctx, "gpupool_operations", w->provider);
	wake(ctx, "gpupool_jobs", "");
	if (w->resource)
		response_object(res, "policy %s %s", w->provider, w->resource);
	else
		response_object(res, "policy %s", w->provider);
	res->audit = steal_ptr(changed);
	response_json(res, 200, json_ref(json_at(list, 0)));
	return OK;
}

enum err policies_change(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct policy_wanted w = {.provider = captured(req, "provider"), .values = req->json};

	return change(ctx, req, res, &w, e);
}

enum err policies_change_limit(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct policy_wanted w = {.provider = captured(req, "provider"), .resource = captured(req, "resource"), .values = req->json};

	return change(ctx, req, res, &w, e);
}
