/* rest - see cli/rest.h. */
#include "cli/rest.h"

enum { REPLY_MOST = 64 << 20, ARENA_MOST = 160 << 20 };

void rest_open(struct rest *r, const char *server, const char *token)
{
	*r = (struct rest){.server = server, .token = token};
	arena_init(&r->arena, ARENA_MOST);
	if (http_client_new(&r->http))
		BUG("no HTTP client");
}

void rest_close(struct rest *r)
{
	http_client_free(r->http);
	arena_free(&r->arena);
	r->http = NULL;
}

void rest_reply_free(struct rest_reply *r)
{
	json_free(r->json);
	r->json = NULL;
}

/* ---- what went wrong ------------------------------------------------------ */

static enum err status_err(int status)
{
	for (int i = 1; i < ERR_COUNT; i++)
		if (err_http_status((enum err)i) == status)
			return (enum err)i;
	return status >= 500 ? ERR_UPSTREAM : status >= 400 ? ERR_INVALID : ERR_UPSTREAM;
}

/* The detail is often the first message over again. */
static bool says(struct str detail, const struct json *error)
{
	struct str msg = json_str(error, "message");

	return msg.len && detail.len >= msg.len && memmem(detail.ptr, detail.len, msg.ptr, msg.len);
}

/* "Detail. field: message; field: message" */
static enum err problem(int status, const struct json *j, struct error *e)
{
	cleanup_buf struct buf text = BUF_INIT(sizeof(e->msg) * 4);
	struct json *errors = json_get(j, "errors");
	struct str detail = json_str(j, "detail");
	enum err code = status_err(status);

	if (!detail.len)
		detail = json_str(j, "title");
	if (says(detail, json_at(errors, 0)))
		; /* the list below says it, with the field */
	else if (detail.len)
		buf_addstr(&text, detail);
	else
		buf_addf(&text, "The server answered with status %d.", status);
	for (size_t i = 0; i < json_len(errors); i++) {
		struct str field = json_str(json_at(errors, i), "field"), msg = json_str(json_at(errors, i), "message");

		buf_addf(&text, "%s%s%.*s%s%.*s", i ? ";" : "", text.len ? " " : "", STR_ARG(field), field.len ? ": " : "", STR_ARG(msg));
		if (i == 0 && e)
			snprintf(e->field, sizeof(e->field), "%.*s", STR_ARG(field));
	}
	if (e) {
		e->code = code;
		snprintf(e->msg, sizeof(e->msg), "%s", text.ptr ? text.ptr : "");
	}
	return code;
}

/* ---- calls ---------------------------------------------------------------- */

enum { HEADERS = 8 };

static void add_header(struct http_header list[HEADERS], int *n, const char *name, const char *value)
{
	if (*n + 1 >= HEADERS)
		BUG("too many headers");
	list[(*n)++] = (struct http_header){name, value};
	list[*n] = (struct http_header){NULL, NULL};
}

static const char *bearer(struct rest *r)
{
	return arena_printf(&r->arena, "Bearer %s", r->token);
}

/* What a status that is no 2xx says, from the body if it is a problem. */
static enum err judge(const struct http_reply *reply, struct json **j, struct error *e)
{
	if (reply->body.len && reply->content_type && strstr(reply->content_type, "json") &&
	    json_parse(reply->body, REPLY_MOST, j, NULL))
		*j = NULL;
	return reply->status >= 200 && reply->status < 300 ? OK : problem(reply->status, *j, e);
}

enum err rest_send(struct rest *r, const char *method, const char *path, const struct json *body,
		   const struct http_header *more, struct rest_reply *ret, struct error *e)
{
	struct http_header headers[HEADERS];
	struct http_reply reply = {0};
	struct http_call call = {.method = method, .headers = headers, .deadline_ms = r->deadline_ms, .max_reply = REPLY_MOST};
	int n = 0;
	enum err err;

	rest_reply_free(ret);
	*ret = (struct rest_reply){0};
	arena_reset(&r->arena);
	call.url = arena_printf(&r->arena, "%s%s", r->server, path);
	add_header(headers, &n, "Accept", "application/json");
	if (r->token)
		add_header(headers, &n, "Authorization", bearer(r));
	if (body) {
		char *text = json_text(body, &r->arena);

		if (!text)
			return error_set(e, ERR_TOO_LARGE, "The request is too large.");
		call.body = str_of(text);
		add_header(headers, &n, "Content-Type", "application/json");
	}
	for (; more && more->name; more++)
		add_header(headers, &n, more->name, more->value);
	err = http_send(r->http, &r->arena, &call, &reply, e);
	if (err)
		return err;
	ret->status = reply.status;
	ret->body = reply.body;
	return judge(&reply, &ret->json, e);
}

enum err rest_call(struct rest *r, const char *method, const char *path, const struct json *body,
		   struct json **ret, struct error *e)
{
	cleanup_reply struct rest_reply reply = {0};
	enum err err = rest_send(r, method, path, body, NULL, &reply, e);

	if (ret) {
		json_free(*ret);
		*ret = NULL;
	}
	if (err)
		return err;
	if (ret && reply.body.len && !reply.json)
		return error_set(e, ERR_UPSTREAM, "The server's answer is no JSON: is %s a gpupool?", r->server);
	if (ret)
		*ret = steal_ptr(reply.json);
	return OK;
}

enum err rest_stream(struct rest *r, const char *path, const char *accept, int64_t deadline_ms,
		     bool (*sink)(void *ctx, struct str bytes), void *ctx, struct error *e)
{
	cleanup_json struct json *j = NULL;
	struct http_header headers[HEADERS];
	struct http_reply reply = {0};
	struct http_call call = {.headers = headers, .deadline_ms = deadline_ms, .on_data = sink, .ctx = ctx};
	int n = 0;
	enum err err;

	arena_reset(&r->arena);
	call.url = arena_printf(&r->arena, "%s%s", r->server, path);
	add_header(headers, &n, "Accept", accept);
	if (r->token)
		add_header(headers, &n, "Authorization", bearer(r));
	err = http_send(r->http, &r->arena, &call, &reply, e);
	return err ? err : judge(&reply, &j, e);
}
