/* api_queue - how much waits and runs, and why it waits. */
#include "domain/backlog.h"
#include "web/api.h"

const struct field queue_query[] = {
	{"reasons", FIELD_BOOL, 0, .doc = "Whether to look for the reasons; default true."},
	{0},
};

enum err queue_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *reasons = json_array();
	struct json *j;
	struct backlog b;
	enum err err = backlog_count(ctx->db, &req->principal, &b, e);

	if (!err && json_bool(req->params, "reasons", true))
		err = backlog_reasons(ctx->db, req->arena, &req->principal, &b, (double)ctx->config->place_hold_seconds, reasons, e);
	if (err)
		return err;
	j = json_object();
	json_put_i64(j, "queued", b.queued);
	json_put_i64(j, "running", b.running);
	json_put(j, "oldestSeconds", b.oldest_seconds < 0 ? json_null() : json_new_i64(b.oldest_seconds));
	json_put(j, "reasons", json_ref(reasons));
	response_json(res, 200, j);
	return OK;
}
