/* api_accounts - accounts at providers. */
#include "domain/account.h"
#include "domain/browser.h"
#include "web/api.h"

#include <string.h>

#include "web/paging.h"
#include "web/wake.h"

static const char *const sharing_choices[] = {"none", "all", "named", NULL};

const struct field account_create_body[] = {
	{"provider", FIELD_STRING, FIELD_REQUIRED, 1, 40, .doc = "Of GET /api/gpu/policies."},
	{"label", FIELD_STRING, 0, 0, 100, .doc = "For people."},
	{"credentials", FIELD_ANY, FIELD_SECRET,
	 .doc = "Kaggle: {username, key}, {token}, or the text of a kaggle.json or of a token. Colab: {clientId, clientSecret}, or "
		"{email, password?} for the browser way. Colab Enterprise: {serviceAccount, project?, region, bucket}. Sealed at once and never shown."},
	{"computeUnits", FIELD_BOOL, 0, .doc = "Colab: I attest that this account has a positive balance of compute units; stored with the date."},
	{0},
};

static const struct field price_fields[] = {
	{"accelerator", FIELD_STRING, FIELD_REQUIRED, 1, 60, .doc = "As the provider's policy names it."},
	{"perHour", FIELD_NUMBER, FIELD_REQUIRED, 0, 100000, .doc = "Of one machine, in the budget's currency."},
	{"source", FIELD_STRING, 0, 0, 200, .doc = "Where the price is from."},
	{0},
};

static const struct field budget_fields[] = {
	{"monthSeconds", FIELD_INT, FIELD_NULLABLE, 0, 1e9, .doc = "Of all its machines together; null = any."},
	{"monthMoney", FIELD_NUMBER, FIELD_NULLABLE, 0, 1e9, .doc = "By the prices; null = any."},
	{"currency", FIELD_STRING, 0, 3, 3, .doc = "Three capital letters.", .pattern = "^[A-Z]{3}$"},
	{"prices", FIELD_LIST, 0, 0, 64, .nested = price_fields, .doc = "In place of those that it has."},
	{0},
};

const struct field account_change_body[] = {
	{"label", FIELD_STRING, 0, 0, 100, .doc = "For people."},
	{"credentials", FIELD_ANY, FIELD_SECRET, .doc = "In place of those that it has, and of the same shapes."},
	{"computeUnits", FIELD_BOOL, 0, .doc = "Colab: I attest, from now on, that it has compute units; false takes that back."},
	{"sharing", FIELD_ENUM, 0, .choices = sharing_choices, .doc = "Whose jobs may run on it besides the owner's."},
	{"sharedWith", FIELD_STRINGS, 0, 0, 500, .item_max = 12, .doc = "User ids, for sharing = named."},
	{"budget", FIELD_OBJECT, FIELD_NULLABLE, .nested = budget_fields, .doc = "What its machines may cost a month (UTC); null = any amount."},
	{0},
};

const struct field account_delete_query[] = {
	{"abandon", FIELD_BOOL, 0, .doc = "Without its credentials: what is left at its provider stays there."},
	{0},
};

/* ask: the provisioner is to look at it now. */
static enum err answer(struct ctx *ctx, struct request *req, struct response *res, int status, int64_t id, bool ask, struct error *e)
{
	struct json *account;
	enum err err = account_get(ctx->db, &req->principal, id, &account, e);

	if (err)
		return err;
	if (ask)
		wake(ctx, "gpupool_operations", json_cstr(account, "provider"));
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

	return err ? err : answer(ctx, req, res, 200, id, false, e);
}

/* What was sent without what is secret, for the audit trail; the caller's. */
static struct json *shown(const struct json *sent)
{
	struct json *j = json_object();

	for (struct json_iter it = json_iter(sent); json_next(&it);)
		json_put(j, it.key, strcmp(it.key, "credentials") ? json_ref(it.value) : json_new_str(STR("set")));
	return j;
}

enum err accounts_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct account_new n = {
		.provider = json_str(req->json, "provider"),
		.label = json_str(req->json, "label"),
		.credentials = json_get(req->json, "credentials"),
		.paid = json_bool(req->json, "computeUnits", false),
	};
	int64_t id;
	enum err err = account_create(ctx->db, ctx->arena, &req->principal, &n, &id, e);

	if (err == ERR_CONFLICT && id)
		request_problem(req, "accountId", json_new_str(str_of(arena_printf(req->arena, "%lld", (long long)id))));
	return err ? err : answer(ctx, req, res, 201, id, n.credentials, e);
}

static enum err check_currency(struct str s, struct error *e)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < 'A' || s.ptr[i] > 'Z')
			return error_field(e, ERR_INVALID, "budget.currency", "must be three capital letters, such as USD");
	return OK;
}

enum err accounts_change(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct account_change c = {
		.label = json_str(req->json, "label"),
		.sharing = json_str(req->json, "sharing"),
		.shared_with = json_get(req->json, "sharedWith"),
		.credentials = json_get(req->json, "credentials"),
		.set_budget = json_has(req->json, "budget"),
		.budget = json_get(req->json, "budget"),
		.set_paid = json_has(req->json, "computeUnits"),
		.paid = json_bool(req->json, "computeUnits", false),
	};
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = check_currency(json_str(json_get(req->json, "budget"), "currency"), e);
	if (!err)
		err = account_change(ctx->db, ctx->arena, &req->principal, id, &c, e);
	if (err)
		return err;
	res->audit = shown(req->json);
	return answer(ctx, req, res, 200, id, c.credentials || c.set_budget, e);
}

enum err accounts_check(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = account_check(ctx->db, &req->principal, id, e);
	return err ? err : answer(ctx, req, res, 202, id, true, e);
}

enum err accounts_picture(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct str png;
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = browser_picture(ctx->db, req->arena, id, req->principal.user_id, &png, e);
	if (err)
		return err;
	response_header(res, "Content-Security-Policy", "sandbox; default-src 'none'");
	response_text(res, 200, "image/png", png);
	return OK;
}

enum err accounts_delete(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	bool gone = false;
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = account_delete(ctx->db, &req->principal, id, json_bool(req->params, "abandon", false), &gone, e);
	if (!err && !gone)
		err = answer(ctx, req, res, 202, id, true, e);
	if (err || !gone)
		return err;
	response_object(res, "account %lld", (long long)id);
	response_empty(res, 204);
	return OK;
}
