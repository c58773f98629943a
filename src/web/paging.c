/* paging - lists in pieces.  See web/paging.h. */
#include "web/paging.h"

const struct field paging_query[] = {PAGING_FIELDS, {0}};

int64_t paging_limit(const struct request *req)
{
	return json_i64(req->params, "limit", PAGE_DEFAULT);
}

static enum err malformed(struct error *e)
{
	return error_field(e, ERR_INVALID, "pageToken", "is not a nextPageToken of this list");
}

enum err paging_after(const struct request *req, int64_t *ret, struct error *e)
{
	struct str token = json_str(req->params, "pageToken");

	*ret = 0;
	return !token.ptr || str_to_id(token, ret) ? OK : malformed(e);
}

enum err paging_before(const struct request *req, int64_t *time, int64_t *id, struct error *e)
{
	struct str token = json_str(req->params, "pageToken"), first;

	*time = *id = 0;
	if (!token.ptr)
		return OK;
	if (!str_cut(&token, '-', &first) || !str_to_id(first, time) || !str_to_id(token, id))
		return malformed(e);
	return OK;
}

void paging_answer_token(struct response *res, const char *key, struct json *list, const char *token)
{
	struct json *j = json_object();

	json_put(j, key, list);
	if (token)
		json_put_cstr(j, "nextPageToken", token);
	response_json(res, 200, j);
}

void paging_answer(struct response *res, const struct request *req, const char *key, struct json *list)
{
	size_t n = json_len(list);
	bool full = n && (int64_t)n == paging_limit(req);

	paging_answer_token(res, key, list, full ? json_cstr(json_at(list, n - 1), "id") : NULL);
}
