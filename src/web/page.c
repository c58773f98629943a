/* page - calls of the API, frames and notes of pages.  See web/page.h. */
#include "web/page.h"

#include <stdarg.h>
#include <string.h>

#include "web/router.h"
#include "web/view_fields.h"

/* ---- the API, from inside ----------------------------------------------------- */

static const struct route *route_named(const char *name)
{
	for (size_t i = 0; i < route_count; i++)
		if (!strncmp(routes[i].path, "/api/", 5) && !strcmp(routes[i].name, name))
			return &routes[i];
	BUG("no route is named %s", name);
}

static void take(struct json **slot, struct json *value)
{
	*slot = value ? value : json_object();
}

/* The API's request in the page's: same person, same captures unless another id is named. */
static void inner_request(const struct request *req, const struct page_call *c, struct request *inner)
{
	*inner = *req;
	inner->route = route_named(c->route);
	inner->method = inner->route->method;
	inner->if_match = str_of(c->if_match);
	inner->idempotency_key = STR_NULL;
	inner->body = STR_NULL;
	inner->problem = NULL;
	if (c->id) {
		inner->captures[0] = (struct capture){"id", 2, str_of(c->id)};
		inner->capture_count = 1;
	}
	if (c->session)
		inner->captures[inner->capture_count++] = (struct capture){"session", 7, str_of(c->session)};
	take(&inner->json, c->body);
	take(&inner->params, c->params);
}

static enum err first_error(const struct field_errors *f, int before, struct error *e)
{
	if (f->count == before)
		return OK;
	return error_field(e, ERR_INVALID, f->list[before].field, "%s %s", f->list[before].field, f->list[before].message);
}

static void hand_on(const struct request *inner, const struct response *from, struct request *req, struct response *res)
{
	req->set_cookie = inner->set_cookie;
	if (!res)
		return;
	if (from->object[0])
		memcpy(res->object, from->object, sizeof(res->object));
	if (from->audit) {
		json_free(res->audit);
		res->audit = json_ref(from->audit);
	}
	res->secret = res->secret || from->secret;
}

enum err page_call(struct ctx *ctx, struct request *req, struct response *res, const struct page_call *c,
		   struct json **ret, struct error *e)
{
	struct request inner;
	struct response answer;
	struct json *document = NULL;
	int before;
	enum err err;

	inner_request(req, c, &inner);
	/* What a form could not read counts for the write that it means, and not
	 * for the reads of the page that shows it again. */
	before = method_writes(inner.method) ? 0 : req->errors->count;
	response_init(&answer, ctx->arena);
	answer.document = &document;
	err = router_permit(&inner, e);
	if (!err) {
		schema_check(inner.route->query, inner.params, false, req->arena, req->errors);
		schema_check(inner.route->body, inner.json, false, req->arena, req->errors);
		err = first_error(req->errors, before, e);
	}
	if (!err)
		err = inner.route->handler(ctx, &inner, &answer, e);
	if (!err)
		hand_on(&inner, &answer, req, res);
	for (struct json_iter it = json_iter(inner.json); json_next(&it);)
		if (schema_is_secret(inner.route->body, it.key))
			json_wipe(it.value);
	response_done(&answer);
	request_done(&inner);
	if (err || !ret)
		json_free(document);
	else
		*ret = document;
	return err;
}

bool page_may(const struct request *req, const char *route)
{
	struct request inner = *req;

	inner.route = route_named(route);
	return router_permit(&inner, &(struct error){0}) == OK;
}

/* ---- the frame -------------------------------------------------------------------- */

static void add_nav(struct json *nav, const char *key, const char *url, const char *current)
{
	struct json *item = json_object();

	json_put_cstr(item, "key", key);
	json_put_cstr(item, "url", url);
	json_put_bool(item, "current", current && !strcmp(current, key));
	json_put(item, "count", json_null());
	json_add(nav, item);
}

struct json *page_model(struct ctx *ctx, struct request *req, const char *current)
{
	struct json *model = json_object(), *page = json_object(), *nav = json_array();

	if (req->principal.user_id) {
		add_nav(nav, "pool", "/admin/gpu-dashboard", current);
		add_nav(nav, "jobs", "/admin/jobs", current);
		if (req->principal.scopes & SCOPE_MANAGE) {
			add_nav(nav, "accounts", "/admin/accounts", current);
			add_nav(nav, "secrets", "/admin/secrets", current);
			add_nav(nav, "scaling", "/admin/scaling", current);
		}
	}
	json_put(page, "nav", nav);
	json_put(page, "locales", json_array());
	json_put(model, "page", page);
	json_put(model, "flash", json_null());
	json_put(model, "problem", json_null());
	return model;
}

/* ---- what was done, and what is wrong ------------------------------------------------ */

void page_done(struct response *res, const char *path, const char *code, const char *subject_id)
{
	response_redirect(res, page_url(res->arena, path, "flash", code, "of", subject_id, NULL));
}

const char *page_flash_code(const struct request *req)
{
	return json_cstr(req->params, "flash");
}

void page_flash(struct json *model, const char *code, const char *subject, int64_t count, const char *url)
{
	struct json *flash = json_object();

	json_put_cstr(flash, "code", code);
	json_put_cstr(flash, "subject", subject);
	json_put_i64(flash, "count", count);
	json_put_cstr(flash, "url", url);
	json_put(flash, "text", json_null());
	json_put(model, "flash", flash);
}

static const char *problem_code(const struct request *req, const struct error *why)
{
	switch (why->code) {
	case ERR_PRECONDITION: return "changed";
	case ERR_UNAVAILABLE: return "busy";
	case ERR_RATE: return "too_many";
	case ERR_UNAUTHORIZED: return "wrong_password";
	case ERR_INVALID: return why->field[0] || req->errors->count ? "fields" : "other";
	default: return why->reason ? why->reason : "other";
	}
}

void page_problem(struct json *model, const struct request *req, const struct error *why)
{
	struct json *problem = json_object();

	json_put_cstr(problem, "code", problem_code(req, why));
	json_put_cstr(problem, "detail", why->msg);
	json_put(model, "problem", problem);
}

enum err page_queue(struct ctx *ctx, struct request *req, bool reasons, struct json **ret, struct error *e)
{
	struct page_call call = {.route = "queue.get", .params = json_object()};
	enum err err;

	json_put_bool(call.params, "reasons", reasons);
	err = page_call(ctx, req, NULL, &call, ret, e);
	if (!err)
		view_put_duration(*ret, "oldestText", json_i64(*ret, "queued", 0) ? json_i64(*ret, "oldestSeconds", -1) : -1);
	return err;
}

/* ---- addresses ------------------------------------------------------------------------- */

const char *page_url(struct arena *a, const char *path, ...)
{
	cleanup_buf struct buf url = BUF_INIT(8192);
	const char *name, *value;
	char separator;
	va_list ap;

	if (!path) /* the arena was full */
		path = "/admin/gpu-dashboard";
	separator = strchr(path, '?') ? '&' : '?';

	buf_adds(&url, path);
	va_start(ap, path);
	while ((name = va_arg(ap, const char *))) {
		value = va_arg(ap, const char *);
		if (!value || !*value)
			continue;
		buf_addc(&url, separator);
		buf_adds(&url, name);
		buf_addc(&url, '=');
		buf_add_url(&url, str_of(value));
		separator = '&';
	}
	va_end(ap);
	value = url.failed ? NULL : arena_strndup(a, url.ptr, url.len);
	return value ? value : path;
}

void page_add_path(struct buf *url, struct str name)
{
	struct str segment;

	while (str_cut(&name, '/', &segment)) {
		buf_addc(url, '/');
		buf_add_url(url, segment);
	}
}
