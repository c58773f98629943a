/* api_quota - the hours of accounts. */
#include "domain/quota.h"
#include "web/api.h"
#include "web/paging.h"

const struct field quota_query[] = {
	{"account", FIELD_STRING, 0, 1, 20, .doc = "This account only."},
	PAGING_FIELDS,
	{0},
};

enum err quota_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *list = json_array();
	int64_t after, account = 0;
	enum err err = paging_after(req, &after, e);

	if (!err && json_has(req->params, "account") && !str_to_id(json_str(req->params, "account"), &account))
		err = error_field(e, ERR_INVALID, "account", "must be the id of an account");
	if (!err)
		err = quota_list(ctx->db, &req->principal, account, after, paging_limit(req), list, e);
	if (!err)
		paging_answer(res, req, "accounts", steal_ptr(list));
	return err;
}
