/* api_audit - who did what, and why the pool decided as it did. */
#include "domain/audit.h"
#include "web/api.h"
#include "web/paging.h"

const struct field audit_query_fields[] = {
	PAGING_FIELDS,
	{"action", FIELD_STRING, 0, 1, 64, .doc = "Only this action, such as tokens.create."},
	{"user", FIELD_STRING, 0, 1, 63, .doc = "Only what this user did."},
	{0},
};

const struct field decisions_query[] = {
	PAGING_FIELDS,
	{"subject", FIELD_STRING, 0, 1, 64, .doc = "Only about this, such as \"worker 4\"; of \"job 123\" also why it waited and why it went where it ran."},
	{"kind", FIELD_STRING, 0, 1, 64, .doc = "Only of this kind, such as scaling."},
	{0},
};

static void answer(struct response *res, struct arena *a, const char *key, struct json *list, int64_t time, int64_t id)
{
	paging_answer_token(res, key, list, time ? arena_printf(a, "%lld-%lld", (long long)time, (long long)id) : NULL);
}

enum err audit_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *list = json_array();
	struct audit_query q = {
		.limit = paging_limit(req),
		.action = json_cstr(req->params, "action"),
		.user = json_cstr(req->params, "user"),
	};
	int64_t time, id;
	enum err err = paging_before(req, &q.before_us, &q.before_id, e);

	if (!err)
		err = audit_list(ctx->db, ctx->arena, &q, list, &time, &id, e);
	if (!err)
		answer(res, ctx->arena, "audit", steal_ptr(list), time, id);
	return err;
}

enum err decisions_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *list = json_array();
	struct audit_query q = {.limit = paging_limit(req), .action = json_cstr(req->params, "kind")};
	int64_t time, id;
	enum err err = paging_before(req, &q.before_us, &q.before_id, e);

	if (!err)
		err = decision_list(ctx->db, ctx->arena, &req->principal, &q, json_cstr(req->params, "subject"), list, &time, &id, e);
	if (!err)
		answer(res, ctx->arena, "decisions", steal_ptr(list), time, id);
	return err;
}
