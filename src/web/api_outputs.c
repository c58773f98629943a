/* api_outputs - what a notebook's sessions left at its provider: logs to read, files to save. */
#include "domain/output.h"
#include "web/api.h"

enum { SEGMENTS_MOST = 8, NAME_MOST = 300 };

static enum err read_path(const struct request *req, struct output_of *ret, struct error *e)
{
	enum err err = request_capture_id(req, "id", &ret->worker, e);

	return err ? err : request_capture_id(req, "session", &ret->session, e);
}

/* A provider's names are its own; only what no stored name can be is turned away here. */
static bool name_possible(struct str name)
{
	struct str rest = name, segment;
	int n = 0;

	while (str_cut(&rest, '/', &segment))
		if (!segment.len || ++n > SEGMENTS_MOST)
			return false;
	return n > 0 && name.len <= 4 * NAME_MOST && str_is_utf8(name);
}

static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

/* As a file to save, under its last part: once in letters that every client takes, once as it is (RFC 6266). */
static void put_disposition(struct response *res, struct str name)
{
	cleanup_buf struct buf plain = BUF_INIT(8 * NAME_MOST), whole = BUF_INIT(16 * NAME_MOST);
	struct str segment, last = name;

	while (str_cut(&name, '/', &segment))
		last = segment;
	for (size_t i = 0; i < last.len; i++)
		buf_addc(&plain, is_plain(last.ptr[i]) ? last.ptr[i] : '_');
	buf_add_url(&whole, last);
	response_header(res, "Content-Disposition", "attachment; filename=\"%s\"; filename*=UTF-8''%s", plain.ptr, whole.ptr);
}

static void put_log(struct response *res, struct str bytes)
{
	cleanup_buf struct buf text = BUF_INIT(RESPONSE_MAX);

	buf_add_text(&text, bytes, false);
	response_text(res, 200, "text/plain; charset=utf-8", buf_str(&text));
}

enum err outputs_list(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *list = json_array();
	struct output_of of;
	struct json *j;
	enum err err = read_path(req, &of, e);

	if (!err)
		err = output_list(ctx->db, &req->principal, of, list, e);
	if (err)
		return err;
	j = json_object();
	json_put(j, "outputs", steal_ptr(list));
	response_json(res, 200, j);
	return OK;
}

enum err outputs_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct str name = request_capture(req, "name"), bytes;
	struct output_of of;
	enum err err = read_path(req, &of, e);

	if (!err && !name_possible(name))
		err = error_set(e, ERR_NOT_FOUND, "There is no such file.");
	if (!err)
		err = output_read(ctx->db, req->arena, &req->principal, of, name, &bytes, e);
	if (err)
		return err;
	response_header(res, "Content-Security-Policy", "sandbox");
	if (output_is_log(name)) {
		put_log(res, bytes);
		return OK;
	}
	response_text(res, 200, "application/octet-stream", bytes);
	put_disposition(res, name);
	return OK;
}
