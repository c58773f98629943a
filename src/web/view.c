/* view - pages from models.  See web/view.h. */
#include "web/view.h"

#include <string.h>

#include "base/log.h"
#include "web/auth.h"
#include "web/routes.h"
#include "web/template.h"
#include "web/version.h"

static struct json *user_model(const struct principal *p)
{
	struct json *user;

	if (!p->user_id)
		return json_null();
	user = json_object();
	json_put_id(user, "id", p->user_id);
	json_put_cstr(user, "name", p->name);
	json_put_cstr(user, "role", role_name(p->role));
	json_put_bool(user, "isAdmin", p->role == ROLE_ADMIN);
	json_put_bool(user, "maySubmit", (p->scopes & SCOPE_SUBMIT) != 0);
	return user;
}

static bool is_strict(const struct ctx *ctx)
{
#ifdef GPUPOOL_TEST
	return true;
#else
	return ctx->strict;
#endif
}

/* The user's, else the first of Accept-Language that we have, else English. */
static const char *choose_locale(const struct ctx *ctx, const struct request *req)
{
	struct str rest = req->accept_language, item, code;

	if (req->principal.locale[0] && template_has_locale(ctx->templates, req->principal.locale))
		return req->principal.locale;
	while (str_cut(&rest, ',', &item)) {
		const char *wanted;

		if (!str_cut(&item, ';', &code))
			continue;
		code = str_trim(code);
		wanted = code.len && code.len < 16 ? arena_strndup(req->arena, code.ptr, code.len) : NULL;
		if (wanted && template_has_locale(ctx->templates, wanted))
			return wanted;
	}
	return TEMPLATE_LOCALE;
}

static void add_nav(struct json *nav, const struct request *req, const char *key, const char *url)
{
	struct json *item = json_object();

	json_put_cstr(item, "key", key);
	json_put_cstr(item, "url", url);
	json_put_bool(item, "current", str_eqz(req->path, url));
	json_put(item, "count", json_null());
	json_add(nav, item);
}

static struct json *nav_model(const struct request *req)
{
	struct json *nav = json_array();

	if (req->principal.user_id) {
		add_nav(nav, req, "pool", "/admin/gpu-dashboard");
		add_nav(nav, req, "jobs", "/admin/jobs");
		if (req->principal.scopes & SCOPE_MANAGE) {
			add_nav(nav, req, "accounts", "/admin/accounts");
			add_nav(nav, req, "secrets", "/admin/secrets");
		}
	}
	return nav;
}

static void put_unless(struct json *object, const char *key, struct json *value)
{
	if (json_has(object, key))
		json_free(value);
	else
		json_put(object, key, value);
}

/* Adds what the page has not set itself. */
static void add_common(struct request *req, const char *name, const char *locale, struct json *model)
{
	struct json *page = json_get(model, "page");
	char csrf[AUTH_CSRF_TEXT];

	if (!page) {
		page = json_object();
		json_put(model, "page", page);
	}
	put_unless(page, "name", json_new_str(str_of(name)));
	put_unless(page, "nav", nav_model(req));
	put_unless(page, "locales", json_array());
	json_put_cstr(page, "locale", locale);
	json_put_cstr(page, "version", GPUPOOL_VERSION);
	json_put_str(page, "path", req->path);
	put_unless(model, "user", user_model(&req->principal));
	put_unless(model, "flash", json_null());
	auth_csrf_token(&req->principal, csrf);
	json_put_cstr(model, "csrf", csrf);
}

enum err view_page(struct ctx *ctx, struct request *req, struct response *res, int status, const char *name,
		   struct json *model, struct error *e)
{
	cleanup_json struct json *owned = model;
	const char *locale;
	enum err err;

	if (!ctx->templates)
		return error_set(e, ERR_INTERNAL, "no templates are loaded");
	locale = choose_locale(ctx, req);
	add_common(req, name, locale, owned);
	buf_reset(&res->body);
	err = template_render(ctx->templates, name, locale, owned, is_strict(ctx), &res->body, e);
	if (err) {
		log_error("view.render", "template=%s error=\"%s\"", name, e->msg);
		return ERR_INTERNAL;
	}
	res->status = status;
	res->content_type = "text/html";
	response_header(res, "Content-Language", "%s", locale);
	response_header(res, "Vary", "Accept-Language, Cookie");
	return OK;
}

bool view_is_page(const struct request *req)
{
	if (req->route)
		return req->route->auth == AUTH_PAGE || req->route->kind == BODY_FORM;
	return str_starts(req->path, "/admin/") && request_wants_html(req);
}

/* Where the person was going, for after the sign-in; of GETs only. */
static void to_sign_in(const struct request *req, struct response *res)
{
	cleanup_buf struct buf next = BUF_INIT(2048);

	if (req->method == METHOD_GET && !str_eqz(req->path, "/admin/sign-in")) {
		buf_addstr(&next, req->path);
		if (req->query.len) {
			buf_addc(&next, '?');
			buf_addstr(&next, req->query);
		}
	}
	response_reset(res);
	if (next.len && !next.failed) {
		cleanup_buf struct buf url = BUF_INIT(8192);

		buf_adds(&url, "/admin/sign-in?next=");
		buf_add_url(&url, buf_str(&next));
		response_redirect(res, url.ptr);
	} else {
		response_redirect(res, "/admin/sign-in");
	}
}

/*
 * Whether the form itself may answer.  Not one that came from a page that is
 * not ours: it would show that page's words as if they were the person's.
 */
static bool may_show_again(const struct request *req, const struct error *e)
{
	switch (e->code) {
	case ERR_INVALID:
	case ERR_CONFLICT:
	case ERR_PRECONDITION:
	case ERR_UNPROCESSABLE:
	case ERR_QUOTA:
	case ERR_RATE:
	case ERR_UNAVAILABLE: return true;
	case ERR_FORBIDDEN: return e->reason && !strcmp(e->reason, "csrf");
	case ERR_UNAUTHORIZED: return req->route->auth == AUTH_NONE;
	default: return false;
	}
}

static bool show_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *e)
{
	struct error failed = {0};

	if (!ctx->templates || !req->route || !req->route->again || !may_show_again(req, e))
		return false;
	response_reset(res);
	if (req->errors && !req->errors->count && e->field[0])
		field_error_add(req->errors, req->arena, e->field, "%s", e->msg);
	if (req->route->again(ctx, req, res, e, &failed) == OK)
		return true;
	response_reset(res);
	log_error("view.again", "route=%s error=\"%s\"", req->route->name, failed.msg);
	return false;
}

void view_problem(struct ctx *ctx, struct request *req, struct response *res, const struct error *e,
		  const struct field_errors *f)
{
	struct response page;
	struct json *model;

	if (show_again(ctx, req, res, e))
		return;
	problem_answer(req, res, e, f);
	if (!view_is_page(req) || !ctx->templates)
		return;
	if (e->code == ERR_UNAUTHORIZED) {
		to_sign_in(req, res);
		return;
	}
	/* An address that is none was not asked who came. */
	if (!req->route && (e->code == ERR_NOT_FOUND || e->code == ERR_METHOD))
		(void)!auth_resolve(ctx, req, &(struct error){0});
	model = json_object();
	json_put(model, "problem", problem_json(req, e, f));
	response_init(&page, req->arena);
	if (view_page(ctx, req, &page, res->status, "error", model, &(struct error){0}) == OK) {
		buf_reset(&res->body);
		buf_addstr(&res->body, buf_str(&page.body));
		res->content_type = page.content_type;
	}
	response_done(&page);
}
