/* router - finds the row of a request and walks it through the row's checks.  See web/router.h. */
#include "web/router.h"

#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"
#include "base/log.h"
#include "db/migrate.h"
#include "domain/audit.h"
#include "web/form.h"
#include "web/idempotency.h"
#include "web/view.h"

/* What a request without a body of its own may bring: "{}", or a form's CSRF field. */
enum { BODY_SMALL = 4096 };

/* ---- matching --------------------------------------------------------------- */

static bool capture(struct request *req, struct str pattern, struct str value)
{
	if (!value.len || req->capture_count == REQUEST_CAPTURES)
		return false;
	if (pattern.ptr[pattern.len - 1] == '*')
		pattern.len--;
	req->captures[req->capture_count++] = (struct capture){pattern.ptr + 1, pattern.len - 1, value};
	return true;
}

static bool path_matches(struct request *req, const char *pattern)
{
	struct str want = str_of(pattern + 1), have = req->path, w, h;

	req->capture_count = 0;
	if (!str_starts(have, "/"))
		return false;
	have = (struct str){have.ptr + 1, have.len - 1};
	while (str_cut(&want, '/', &w)) {
		if (w.len > 1 && w.ptr[0] == ':' && w.ptr[w.len - 1] == '*')
			return capture(req, w, have);
		if (!str_cut(&have, '/', &h))
			return false;
		if (w.len > 1 && w.ptr[0] == ':') {
			if (!capture(req, w, h))
				return false;
		} else if (!str_eq(w, h)) {
			return false;
		}
	}
	return !have.ptr;
}

static bool method_matches(enum method row, enum method have)
{
	return row == have || (row == METHOD_GET && have == METHOD_HEAD);
}

/* Every method of the path, for Allow. */
static void allow(struct request *req, struct response *res)
{
	cleanup_buf struct buf list = BUF_INIT(256);

	for (size_t i = 0; i < route_count; i++)
		if (path_matches(req, routes[i].path))
			buf_addf(&list, "%s%s, ", method_name(routes[i].method), routes[i].method == METHOD_GET ? ", HEAD" : "");
	buf_adds(&list, "OPTIONS");
	response_header(res, "Allow", "%s", list.ptr);
}

static enum err find_route(struct request *req, struct response *res, struct error *e)
{
	bool known = false;

	for (size_t i = 0; i < route_count; i++) {
		if (!path_matches(req, routes[i].path))
			continue;
		known = true;
		if (method_matches(routes[i].method, req->method)) {
			req->route = &routes[i];
			return OK;
		}
	}
	if (!known)
		return error_set(e, ERR_NOT_FOUND, "There is nothing at this address.");
	allow(req, res);
	return error_set(e, ERR_METHOD, "This address does not know the method %s.", method_name(req->method));
}

/* ---- what the head alone tells ------------------------------------------------ */

size_t router_max_body(const struct request *req)
{
	return req->route->kind == BODY_NONE ? BODY_SMALL : req->route->max_body;
}

static bool is_secret_name(struct str name)
{
	static const char *const refused[] = {"token", "access_token", "api_key", "password"};

	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		if (str_ieqz(name, refused[i]))
			return true;
	return false;
}

static enum err check_query_secrets(const struct request *req, struct error *e)
{
	struct str rest = req->query, pair, name;

	while (str_cut(&rest, '&', &pair))
		if (str_cut(&pair, '=', &name) && is_secret_name(name))
			return error_set(e, ERR_INVALID,
					 "Secrets do not belong into an address; send the header Authorization: Bearer.");
	return OK;
}

static bool type_is(struct str content_type, const char *want)
{
	struct str type;

	return str_cut(&content_type, ';', &type) && str_ieqz(str_trim(type), want);
}

static bool has_body(const struct request *req)
{
	return req->content_length > 0;
}

static enum err check_type(const struct request *req, struct error *e)
{
	switch (req->route->kind) {
	case BODY_NONE:
	case BODY_JSON:
		if (!type_is(req->content_type, "application/json"))
			return error_set(e, ERR_MEDIA_TYPE, "Send the body as application/json.");
		return OK;
	case BODY_FORM:
		if (!type_is(req->content_type, "application/x-www-form-urlencoded") &&
		    !type_is(req->content_type, "multipart/form-data"))
			return error_set(e, ERR_MEDIA_TYPE, "Send the form urlencoded or as multipart/form-data.");
		return OK;
	case BODY_BYTES:
		if (!type_is(req->content_type, "application/octet-stream"))
			return error_set(e, ERR_MEDIA_TYPE, "Send the body as application/octet-stream.");
		return OK;
	}
	BUG("body kind %d", (int)req->route->kind);
}

static enum err check_head(const struct request *req, struct error *e)
{
	size_t max = router_max_body(req);

	if (req->content_length < -1)
		return error_set(e, ERR_INVALID, "Content-Length is malformed.");
	if (req->content_length > (int64_t)max)
		return error_set(e, ERR_TOO_LARGE, "The body may have at most %zu bytes here.", max);
	return has_body(req) ? check_type(req, e) : OK;
}

enum err router_match(struct request *req, enum serves serves, struct response *res, struct error *e)
{
	enum err err;

	if (!str_is_utf8(req->path) || str_index(req->path, 0x7f) >= 0)
		return error_set(e, ERR_INVALID, "The address is not well-formed UTF-8.");
	err = find_route(req, res, e);
	if (err)
		return err;
	if (req->route->serves != serves)
		return error_set(e, ERR_MISDIRECTED, "This address belongs to --role=%s; the web server sent it to the wrong one.",
				 serves_name(req->route->serves));
	err = check_query_secrets(req, e);
	return err ? err : check_head(req, e);
}

/* ---- permission ---------------------------------------------------------------- */

static const struct {
	unsigned scope;
	enum role role;
} perms[] = {
	[PERM_NONE] = {0, ROLE_NONE},
	[PERM_READ] = {SCOPE_READ, ROLE_VIEWER},
	[PERM_INFERENCE] = {SCOPE_INFERENCE, ROLE_OPERATOR},
	[PERM_SUBMIT] = {SCOPE_SUBMIT, ROLE_OPERATOR},
	[PERM_MANAGE] = {SCOPE_MANAGE, ROLE_OPERATOR},
	[PERM_ADMIN] = {SCOPE_ADMIN, ROLE_ADMIN},
	[PERM_SELF] = {0, ROLE_VIEWER},
};

enum err router_permit(const struct request *req, struct error *e)
{
	const struct route *r = req->route;
	const struct principal *p = &req->principal;

	if (r->auth != AUTH_ANY && r->auth != AUTH_PAGE)
		return OK;
	if (!p->user_id)
		return error_set(e, ERR_UNAUTHORIZED, "Sign in, or send a valid bearer token.");
	if (p->role < perms[r->perm].role)
		return error_set(e, ERR_FORBIDDEN, "This needs the role %s.", role_name(perms[r->perm].role));
	/* A token acts for its owner's own account only when it may manage. */
	if (r->perm == PERM_SELF && p->token_id && !(p->scopes & (SCOPE_MANAGE | SCOPE_ADMIN)))
		return error_set(e, ERR_FORBIDDEN, "This needs a sign-in, or a token with the scope manage.");
	if ((p->scopes & perms[r->perm].scope) != perms[r->perm].scope)
		return error_set(e, ERR_FORBIDDEN, "This token lacks the scope %s.", scope_name(perms[r->perm].scope));
	return OK;
}

/* ---- query and body -------------------------------------------------------------- */

static enum err read_json(struct request *req, struct error *e)
{
	if (!req->body.len) {
		req->json = json_object();
		return OK;
	}
	return json_parse(req->body, router_max_body(req), &req->json, e);
}

enum err router_body(struct request *req, struct field_errors *f, struct error *e)
{
	const struct route *r = req->route;
	bool lenient = r->flags & ROUTE_LENIENT;
	enum err err = OK;

	req->params = form_query(r->query, req->query, req->arena, f);
	schema_check(r->query, req->params, lenient, req->arena, f);
	if (r->kind == BODY_FORM)
		req->json = form_body(r->body, req->body, req->content_type, req->arena, &req->csrf_token, f);
	else if (r->kind != BODY_BYTES)
		err = read_json(req, e);
	if (err)
		return err;
	if (r->kind != BODY_BYTES)
		schema_check(r->body, req->json, lenient, req->arena, f);
	if (!f->count)
		return OK;
	/* A fault of the whole has no field, and is a sentence by itself. */
	return error_set(e, ERR_INVALID, "%s%s%s%s", f->list[0].field, f->list[0].field[0] ? " " : "", f->list[0].message,
			 f->count > 1 ? ", and there is more" : "");
}

/* ---- the handler and what belongs around it ----------------------------------------- */

struct run {
	struct ctx *ctx;
	struct request *req;
	struct response *res;
	struct error *e;
	bool keyed, replayed, refused;
};

static enum err audit(struct run *run)
{
	const struct request *req = run->req;
	struct audit_entry entry = {
		.principal = &req->principal,
		.action = req->route->name,
		.object = run->res->object,
		.detail = run->res->audit,
		.address = req->remote_addr,
		.request_id = req->request_id,
	};

	return audit_write(run->ctx->db, run->ctx->arena, &entry, run->e);
}

static enum err run_write(struct db *db, void *arg)
{
	struct run *run = arg;
	enum err err = OK;

	response_reset(run->res);
	if (run->keyed)
		err = idempotency_begin(run->ctx, run->req, run->res, &run->replayed, run->e);
	if (err || run->replayed)
		return err;
	err = run->req->route->handler(run->ctx, run->req, run->res, run->e);
	if (err)
		return err;
	/* An error for the transaction, which goes back; the answer stands. */
	run->refused = run->res->status >= 400;
	if (run->refused)
		return ERR_INVALID;
	if (!(run->req->route->flags & ROUTE_NO_AUDIT))
		err = audit(run);
	if (!err && run->keyed)
		err = idempotency_end(run->ctx, run->req, run->res, run->e);
	return err;
}

static enum err run_handler(struct run *run)
{
	const struct route *r = run->req->route;
	enum err err = OK;

	if (!(r->flags & ROUTE_REPEATABLE))
		err = idempotency_wanted(run->req, &run->keyed, run->e);
	if (err)
		return err;
	if (!method_writes(r->method) || (r->flags & ROUTE_NO_TX)) {
		err = r->handler(run->ctx, run->req, run->res, run->e);
		if (!err && run->res->status < 400 && method_writes(r->method) && !(r->flags & ROUTE_NO_AUDIT))
			err = audit(run);
		return err;
	}
	err = tx_run(run->ctx->db, run_write, run, run->e);
	return run->refused ? OK : err;
}

/* Once a connection: a schema that this program does not know is "not available", not a fault of ours. */
static enum err check_schema(struct ctx *ctx, const struct route *r, struct error *e)
{
	enum err err;

	if (!ctx->schema_known || *ctx->schema_known || (r->flags & ROUTE_NO_DATABASE))
		return OK;
	err = migrate_check(ctx->db, e);
	*ctx->schema_known = !err;
	return err;
}

static enum err walk(struct ctx *ctx, struct request *req, struct response *res, struct field_errors *f, struct error *e)
{
	struct run run = {.ctx = ctx, .req = req, .res = res, .e = e};
	const struct route *r;
	enum err err = router_match(req, ctx->serves, res, e);

	if (err)
		return err;
	r = req->route;
	err = check_schema(ctx, r, e);
	if (!err && (r->auth == AUTH_ANY || r->auth == AUTH_PAGE))
		err = auth_resolve(ctx, req, e);
	if (!err)
		err = router_permit(req, e);
	if (!err && req->read_body && has_body(req))
		err = req->read_body(req, e);
	if (err)
		return err;
	err = router_body(req, f, e);
	/* Who may not send it is not told what is wrong with it. */
	if (method_writes(r->method) && (req->principal.login_id || r->kind == BODY_FORM)) {
		struct error csrf = {0};

		if (auth_csrf_check(ctx->config, req, &csrf)) {
			f->count = 0;
			*e = csrf;
			return csrf.code;
		}
	}
	return err ? err : run_handler(&run);
}

/* ---- the end of a request ------------------------------------------------------------- */

/* Answers to GET get an entity tag; what the client has already is not sent again. */
static void conditional(const struct request *req, struct response *res)
{
	const char *etag = response_get_header(res, "ETag");
	uint8_t hash[CRYPTO_HASH];
	char hex[2 * CRYPTO_HASH + 1];

	if (res->status != 200 || (req->method != METHOD_GET && req->method != METHOD_HEAD))
		return;
	if (!etag && res->content_type && !strcmp(res->content_type, "application/json")) {
		crypto_hash(buf_str(&res->body), hash);
		crypto_hex(hash, 16, hex);
		response_header(res, "ETag", "\"%s\"", hex);
		etag = response_get_header(res, "ETag");
	}
	if (etag && !res->live && req->if_none_match.ptr && etag_matches(req->if_none_match, str_of(etag)))
		response_empty(res, 304);
}

static void log_request(struct ctx *ctx, const struct request *req, const struct response *res, int64_t start,
			const struct error *e)
{
	const char *name = req->route ? req->route->name : "-";
	long long ms = (long long)(clock_ms() - start), db_ms = (long long)db_take_ms(ctx->db);
	enum log_level level = res->status >= 500 ? LOG_WARN : LOG_INFO;

	log_line(level, "request", "method=%s route=%s status=%d ms=%lld db_ms=%lld user=%lld%s%s%s", method_name(req->method),
		 name, res->status, ms, db_ms, (long long)req->principal.user_id, e->code ? " error=\"" : "",
		 e->code ? e->msg : "", e->code ? "\"" : "");
}

/* Memory that is given back holds no secret. */
static void forget_secrets(const struct request *req)
{
	if (!req->route || !schema_has_secret(req->route->body))
		return;
	json_wipe(req->json);
	if (req->body.len)
		crypto_wipe((char *)req->body.ptr, req->body.len);
}

void router_handle(struct ctx *ctx, struct request *req, struct response *res)
{
	char id[65];
	int64_t start = clock_ms();
	struct field_errors f = {.count = 0};
	struct error e = {0};
	enum err err;

	if (req->request_id.len) {
		snprintf(id, sizeof(id), "%.*s", STR_ARG(req->request_id));
	} else {
		crypto_uuid(id);
		req->request_id = arena_str(req->arena, str_of(id));
	}
	log_context(id);
	req->errors = &f;
	res->no_body = req->method == METHOD_HEAD;
	if (req->method == METHOD_OPTIONS && find_route(req, res, &e) == ERR_METHOD) {
		response_empty(res, 204);
		e = (struct error){0};
	} else if ((err = walk(ctx, req, res, &f, &e))) {
		if (e.code != err)
			error_set(&e, err, "%s", "");
		if (ctx->schema_known && err_http_status(err) >= 500)
			*ctx->schema_known = false;
		view_problem(ctx, req, res, &e, &f);
	}
	conditional(req, res);
	if (req->set_cookie)
		response_header(res, "Set-Cookie", "%s", req->set_cookie);
	log_request(ctx, req, res, start, &e);
	forget_secrets(req);
	req->errors = NULL;
	log_context(NULL);
}
