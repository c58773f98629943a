/* api_notebook_file - the notebook of a worker that a person starts, to be downloaded. */
#include "web/api.h"

#include <string.h>

#include "base/crypto.h"
#include "base/notebook.h"
#include "domain/audit.h"
#include "domain/worker.h"

enum { NAME_MOST = 60 };

/*
 * A GET that has an effect: each download has a token of its own, and ends that of the one before.  So a
 * browser must come from a page of ours; from elsewhere nobody's click voids what a person has just fetched.
 */
static enum err from_here(const struct request *req, struct error *e)
{
	if (!req->principal.login_id || str_eqz(req->sec_fetch_site, "same-origin"))
		return OK;
	return error_set(e, ERR_FORBIDDEN, "Download it from the worker's page, or with a bearer token.");
}

/* Letters, digits and dashes of the title. */
static void file_name(struct str title, char ret[NAME_MOST + 1])
{
	size_t n = 0;

	for (size_t i = 0; i < title.len && n < NAME_MOST; i++) {
		char c = title.ptr[i];
		bool fits = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');

		if (fits)
			ret[n++] = c;
		else if (n && ret[n - 1] != '-')
			ret[n++] = '-';
	}
	while (n && ret[n - 1] == '-')
		n--;
	ret[n] = '\0';
}

static enum err note(struct ctx *ctx, const struct request *req, const struct response *res, struct error *e)
{
	const struct audit_entry entry = {.principal = &req->principal, .action = req->route->name, .object = res->object,
					  .address = req->remote_addr, .request_id = req->request_id};

	return audit_write(ctx->db, ctx->arena, &entry, e);
}

static enum err write_notebook(struct ctx *ctx, const struct rows *r, const char *token, struct buf *ret, struct error *e)
{
	const struct notebook n = {
		.intent = row_str(r, 0, "intent"),
		.worker = row_i64(r, 0, "id"),
		.installation = row_cstr(r, 0, "installation"),
		.title = row_cstr(r, 0, "title"),
		.provider = "colab",
		.resource = row_null(r, 0, "resource") ? NULL : row_cstr(r, 0, "resource"),
		.machine = row_null(r, 0, "shape") ? NULL : row_cstr(r, 0, "shape"),
		.token = str_of(token),
		.server_url = ctx->config->public_url,
		.people = true,
	};

	return notebook_write(&n, ret, e);
}

enum err notebook_file_get(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_buf struct buf text = BUF_SECRET(2 * NOTEBOOK_MOST);
	char token[CRYPTO_TOKEN_TEXT], name[NAME_MOST + 1];
	cleanup_rows struct rows rows = {0};
	uint8_t hash[CRYPTO_HASH];
	int64_t id;
	enum err err = request_capture_id(req, "id", &id, e);

	if (!err)
		err = from_here(req, e);
	if (!err && req->method == METHOD_HEAD)
		return error_set(e, ERR_METHOD, "Only a GET makes the notebook.");
	if (err)
		return err;
	crypto_token("gpe", token);
	crypto_hash(str_of(token), hash);
	err = worker_notebook(ctx->db, &req->principal, id, hash, &rows, e);
	if (!err)
		err = write_notebook(ctx, &rows, token, &text, e);
	crypto_wipe(token, sizeof(token));
	if (err)
		return err;
	file_name(row_str(&rows, 0, "title"), name);
	res->secret = true;
	response_object(res, "worker %lld", (long long)id);
	response_header(res, "Cache-Control", "no-store");
	response_header(res, "Content-Disposition", "attachment; filename=\"gpupool%s%s.ipynb\"", name[0] ? "-" : "", name);
	response_text(res, 200, "application/x-ipynb+json", buf_str(&text));
	return note(ctx, req, res, e);
}
