/* api_accounts - accounts at providers. */
#include "domain/account.h"
#include "web/api.h"
#include "web/paging.h"

static const char *const sharing_choices[] = {"none", "all", "named", NULL};

const struct field account_create_body[] = {
	{"provider", FIELD_STRING, FIELD_REQUIRED, 1, 40, .doc = "local or manual."},
	{"label", FIELD_STRING, 0, 0, 100, .doc = "For people."},
	{0},
};

const struct field account_change_body[] = {
	{"label", FIELD_STRING, 0, 0, 100, .doc = "For people."},
	{"sharing", FIELD_ENUM, 0, .choices = sharing_choices, .doc = "Whose jobs may run on it besides the owner's."},
	{"sharedWith", FIELD_STRINGS, 0, 0, 500, .item_max = 12, .doc = "User ids, for sharing = named."},
	{0},
};

static enum err answer(struct ctx *ctx, struct request *req, struct response *res, int status, int64_t id, struct error *e)
{
	struct json *account;
	enum err err = account_get(ctx->db, &req->principal, id, &account, e);

	if (err)
		return err;
	response_object(res, "account %lld", (long long)id);
	response_json(res, status, account);
	return OK;
}

enum err accounts_list(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *list = json_array();
	int64_t after;
	enum err err = paging_after(req, &after, e);

	if (!err)
		err = account_list(ctx->db, &req->principal, after, paging_limit(req), list, e);
	if (!err)
		paging_answer(res, req, "accounts", steal_ptr(list));
	return err;
}

enum err accounts_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	return err ? err : answer(ctx, req, res, 200, id, e);
}

enum err accounts_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct account_new n = {.provider = json_str(req->json, "provider"), .label = json_str(req->json, "label")};
	int64_t id;
	enum err err = account_create(ctx->db, ctx->arena, &req->principal, &n, &id, e);

	return err ? err : answer(ctx, req, res, 201, id, e);
}

enum err accounts_change(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct account_change c = {
		.label = json_str(req->json, "label"),
		.sharing = json_str(req->json, "sharing"),
		.shared_with = json_get(req->json, "sharedWith"),
	};
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = account_change(ctx->db, ctx->arena, &req->principal, id, &c, e);
	if (err)
		return err;
	res->audit = json_ref(req->json);
	return answer(ctx, req, res, 200, id, e);
}

enum err accounts_delete(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = account_delete(ctx->db, &req->principal, id, e);
	if (err)
		return err;
	response_object(res, "account %lld", (long long)id);
	response_empty(res, 204);
	return OK;
}
