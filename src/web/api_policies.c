/* api_policies - what providers allow and have. */
#include "domain/policy.h"
#include "web/api.h"

enum err policies_list(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *list = json_array();
	enum err err = policy_list(ctx->db, list, e);
	struct json *reply;

	if (err)
		return err;
	reply = json_object();
	json_put(reply, "policies", steal_ptr(list));
	response_json(res, 200, reply);
	return OK;
}
