/* A browser without JavaScript; see browse.h. */
#include "browse.h"

#include <check.h>
#include <stdarg.h>
#include <string.h>

#include "domain/user.h"
#include "html.h"
#include "web/router.h"

#define SITE "http://127.0.0.1:8080"

void browse_init(struct browser *b, struct world *w)
{
	struct error e = {0};

	*b = (struct browser){.world = w, .text = ""};
	arena_init(&b->arena, 64 << 20);
	ck_assert_int_eq(config_load(&w->arena, NULL, &b->config, NULL), OK);
	b->config.public_url = SITE;
	b->config.state = w->pg->dir;
	ck_assert_msg(template_load(NULL, &b->templates, &e) == OK, "%s", e.msg);
}

void browse_done(struct browser *b)
{
	template_free(b->templates);
	arena_free(&b->arena);
}

void browse_as(struct browser *b, const struct principal *p)
{
	struct principal copy;
	char cookie[CRYPTO_TOKEN_TEXT];
	struct error e = {0};

	b->cookie[0] = b->csrf[0] = '\0';
	if (!p)
		return;
	copy = *p;
	crypto_token("gpl", cookie);
	ck_assert_msg(login_open(b->world->web, p->user_id, str_of(cookie), &copy, &e) == OK, "%s", e.msg);
	auth_csrf_token(&copy, b->csrf);
	snprintf(b->cookie, sizeof(b->cookie), "gpupool=%s", cookie);
}

static void take_cookie(struct browser *b, const struct request *req)
{
	struct str rest = str_of(req->set_cookie), pair;

	if (str_cut(&rest, ';', &pair))
		snprintf(b->cookie, sizeof(b->cookie), "%.*s", STR_ARG(pair));
}

static void take_answer(struct browser *b, const struct request *req, const struct response *res)
{
	const char *location = response_get_header(res, "Location"), *cache = response_get_header(res, "Cache-Control");

	b->status = res->status;
	b->text = res->body.len ? arena_strndup(&b->arena, res->body.ptr, res->body.len) : "";
	snprintf(b->location, sizeof(b->location), "%s", location ? location : "");
	snprintf(b->cache, sizeof(b->cache), "%s", cache ? cache : "");
	take_cookie(b, req);
	if (res->content_type && !strcmp(res->content_type, "text/html"))
		html_check(arena_printf(&b->arena, "%.*s", STR_ARG(req->path)), str_of(b->text));
}

static void param(struct request *r, const char *name, const char *value)
{
	if (value && *value)
		request_param(r, str_of(name), str_of(value));
}

static int walk(struct browser *b, const char *method, char *path, const char *type, const char *form)
{
	struct ctx ctx = {.db = b->world->web, .config = &b->config, .arena = &b->arena, .templates = b->templates,
			  .wakes = &b->wakes, .strict = true};
	char *query = strchr(path, '?');
	struct request req;
	struct response res;
	char length[24];

	if (query)
		*query++ = '\0';
	snprintf(length, sizeof(length), "%zu", form ? strlen(form) : 0);
	request_init(&req, &b->arena);
	param(&req, "REQUEST_METHOD", method);
	param(&req, "REQUEST_ID", "0123abcd");
	param(&req, "DOCUMENT_URI", path);
	param(&req, "QUERY_STRING", query);
	param(&req, "HTTP_ACCEPT", "text/html,application/xhtml+xml,*/*;q=0.8");
	param(&req, "HTTP_ACCEPT_LANGUAGE", b->accept_language);
	param(&req, "HTTP_COOKIE", b->cookie);
	if (form) {
		param(&req, "CONTENT_TYPE", type);
		param(&req, "CONTENT_LENGTH", length);
		param(&req, "HTTP_ORIGIN", b->foreign ? "http://evil.example" : SITE);
		param(&req, "HTTP_SEC_FETCH_SITE", b->foreign ? "cross-site" : "same-origin");
		req.body = str_of(form);
	}
	response_init(&res, &b->arena);
	router_handle(&ctx, &req, &res);
	take_answer(b, &req, &res);
	request_done(&req);
	response_done(&res);
	b->no_csrf = b->foreign = false;
	b->accept_language = NULL;
	return b->status;
}

int browse(struct browser *b, const char *fmt, ...)
{
	va_list ap;
	char *path;

	arena_reset(&b->arena);
	va_start(ap, fmt);
	path = arena_vprintf(&b->arena, fmt, ap);
	va_end(ap);
	return walk(b, "GET", path, NULL, NULL);
}

static void add_pair(struct buf *form, const char *name, const char *value)
{
	buf_adds(form, form->len ? "&" : "");
	buf_add_url(form, str_of(name));
	buf_addc(form, '=');
	buf_add_url(form, str_of(value));
}

int browse_send(struct browser *b, const char *path, ...)
{
	cleanup_buf struct buf form = BUF_INIT(16 << 20);
	const char *name;
	char *target;
	va_list ap;

	va_start(ap, path);
	while ((name = va_arg(ap, const char *)))
		add_pair(&form, name, va_arg(ap, const char *));
	va_end(ap);
	if (b->csrf[0] && !b->no_csrf)
		add_pair(&form, "csrf", b->csrf);
	arena_reset(&b->arena);
	target = arena_strdup(&b->arena, path);
	return walk(b, "POST", target, "application/x-www-form-urlencoded", form.len ? form.ptr : "x=");
}

int browse_upload(struct browser *b, const char *path, const char *type, const char *body)
{
	arena_reset(&b->arena);
	return walk(b, "POST", arena_strdup(&b->arena, path), type, body);
}

int browse_follow(struct browser *b)
{
	char location[sizeof(b->location)];

	ck_assert_int_eq(b->status, 303);
	snprintf(location, sizeof(location), "%s", b->location);
	return browse(b, "%s", location);
}

bool browse_shows(const struct browser *b, const char *text)
{
	return strstr(b->text, text) != NULL;
}

int browse_count(const struct browser *b, const char *text)
{
	int n = 0;

	for (const char *at = b->text; (at = strstr(at, text)); at += strlen(text))
		n++;
	return n;
}
