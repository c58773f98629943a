/* Requests without a socket; see call.h. */
#include "call.h"

#include <check.h>
#include <string.h>

#include "base/crypto.h"
#include "web/router.h"

void call_init(struct call_site *c, struct world *w)
{
	*c = (struct call_site){.world = w};
	arena_init(&c->arena, 64 << 20);
	ck_assert_int_eq(config_load(&w->arena, NULL, &c->config, NULL), OK);
	c->config.public_url = "http://127.0.0.1:8080";
}

void call_done(struct call_site *c)
{
	json_free(c->json);
	arena_free(&c->arena);
}

/* A fresh token for each request: nothing is kept that could hide a missing check. */
static const char *bearer(struct call_site *c, const struct principal *p)
{
	static const struct {
		enum scope bit;
		const char *name;
	} scopes[] = {{SCOPE_READ, "read"}, {SCOPE_SUBMIT, "submit"}, {SCOPE_MANAGE, "manage"}, {SCOPE_ADMIN, "admin"}};
	cleanup_buf struct buf names = BUF_INIT(256);
	char token[CRYPTO_TOKEN_TEXT], hex[2 * CRYPTO_HASH + 1];
	uint8_t hash[CRYPTO_HASH];

	for (size_t i = 0; i < ARRAY_LEN(scopes); i++)
		if (p->scopes & scopes[i].bit)
			buf_addf(&names, "%s%s", names.len ? "," : "", scopes[i].name);
	crypto_token("gpt", token);
	crypto_hash(str_of(token), hash);
	crypto_hex(hash, sizeof(hash), hex);
	world_sql(c->world, "insert into api_token(user_id, name, token_hash, scopes) values (%lld, 't', '\\x%s', '{%s}')",
		  (long long)p->user_id, hex, names.ptr);
	return arena_printf(&c->arena, "Bearer %s", token);
}

static void param(struct request *r, const char *name, const char *value)
{
	if (value)
		request_param(r, str_of(name), str_of(value));
}

static void read_answer(struct call_site *c, const struct response *res)
{
	const char *etag = response_get_header(res, "ETag"), *policy = response_get_header(res, "Content-Security-Policy");
	const char *disposition = response_get_header(res, "Content-Disposition");

	c->status = res->status;
	snprintf(c->etag, sizeof(c->etag), "%s", etag ? etag : "");
	snprintf(c->policy, sizeof(c->policy), "%s", policy ? policy : "");
	snprintf(c->disposition, sizeof(c->disposition), "%s", disposition ? disposition : "");
	c->text = arena_str(&c->arena, buf_str(&res->body));
	snprintf(c->type, sizeof(c->type), "%s", res->content_type ? res->content_type : "");
	if (res->body.len && json_parse(buf_str(&res->body), SIZE_MAX, &c->json, NULL) != OK)
		c->json = NULL;
}

int call(struct call_site *c, const struct principal *p, const char *what, const char *body)
{
	struct request req;
	struct response res;
	struct ctx ctx = {.db = c->world->web, .config = &c->config, .arena = &c->arena, .wakes = &c->wakes};
	char *line, *path, *query, *text = NULL, length[24];

	json_free(c->json);
	c->json = NULL;
	arena_reset(&c->arena);
	line = arena_strdup(&c->arena, what);
	path = strchr(line, ' ');
	*path++ = '\0';
	query = strchr(path, '?');
	if (query)
		*query++ = '\0';
	if (body) {
		text = arena_strdup(&c->arena, body);
		for (char *q = text; *q; q++)
			*q = *q == '\'' ? '"' : *q;
		snprintf(length, sizeof(length), "%zu", strlen(text));
	}
	request_init(&req, &c->arena);
	param(&req, "REQUEST_METHOD", line);
	param(&req, "DOCUMENT_URI", path);
	param(&req, "QUERY_STRING", query);
	param(&req, "CONTENT_TYPE", body ? "application/json" : NULL);
	param(&req, "CONTENT_LENGTH", body ? length : NULL);
	param(&req, "HTTP_AUTHORIZATION", p ? bearer(c, p) : NULL);
	param(&req, "HTTP_IF_MATCH", c->if_match);
	param(&req, "HTTP_IF_NONE_MATCH", c->if_none_match);
	param(&req, "HTTP_IDEMPOTENCY_KEY", c->idempotency_key);
	req.body = c->sent = str_of(text);
	response_init(&res, &c->arena);
	router_handle(&ctx, &req, &res);
	read_answer(c, &res);
	request_done(&req);
	response_done(&res);
	c->if_match = c->if_none_match = c->idempotency_key = NULL;
	return c->status;
}

int callf(struct call_site *c, const struct principal *p, const char *body, const char *fmt, ...)
{
	va_list ap;
	char *what;

	va_start(ap, fmt);
	what = arena_vprintf(&c->world->arena, fmt, ap);
	va_end(ap);
	return call(c, p, what, body);
}

const char *call_str(const struct call_site *c, const char *path)
{
	struct str s = json_as_str(json_path(c->json, path));

	return s.ptr ? s.ptr : "";
}

int64_t call_int(const struct call_site *c, const char *path)
{
	const struct json *j = json_path(c->json, path);
	int64_t id;

	if (json_type_of(j) == JSON_STRING)
		return str_to_id(json_as_str(j), &id) ? id : -1;
	return json_as_i64(j, -1);
}

const char *call_faults(struct call_site *c)
{
	const struct json *errors = json_get(c->json, "errors");
	const char *list = "";

	for (size_t i = 0; i < json_len(errors); i++)
		list = arena_printf(&c->arena, "%s%s%s", list, i ? " " : "", json_cstr(json_at(errors, i), "field"));
	return list;
}

bool call_woke(const struct call_site *c, const char *channel, const char *payload)
{
	for (size_t i = 0; i < WAKE_SLOTS; i++)
		if (!strcmp(c->wakes.slots[i].channel, channel) && !strcmp(c->wakes.slots[i].payload, payload))
			return true;
	return false;
}
