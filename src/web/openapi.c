/* openapi - describes the routes.  See web/openapi.h. */
#include "web/openapi.h"

#include <string.h>

#include "web/version.h"

/* ---- fields ---------------------------------------------------------------------- */

static const struct {
	const char *type, *format, *pattern;
} types[] = {
	[FIELD_END] = {NULL, NULL, NULL},
	[FIELD_STRING] = {"string", NULL, NULL},
	[FIELD_TEXT] = {"string", NULL, NULL},
	[FIELD_INT] = {"integer", NULL, NULL},
	[FIELD_NUMBER] = {"number", NULL, NULL},
	[FIELD_BOOL] = {"boolean", NULL, NULL},
	[FIELD_ID] = {"string", NULL, "^[1-9][0-9]{0,18}$"},
	[FIELD_ENUM] = {"string", NULL, NULL},
	[FIELD_TIME] = {"string", "date-time", NULL},
	[FIELD_UUID] = {"string", "uuid", NULL},
	[FIELD_STRINGS] = {"array", NULL, NULL},
	[FIELD_LIST] = {"array", NULL, NULL},
	[FIELD_OBJECT] = {"object", NULL, NULL},
	[FIELD_ANY] = {NULL, NULL, NULL},
	[FIELD_NAMES] = {NULL, NULL, NULL},
};

static void put_limits(struct json *j, const struct field *f)
{
	double min, max;

	schema_limits(f, &min, &max);
	switch (f->type) {
	case FIELD_STRING:
	case FIELD_TEXT:
		if (min > 0)
			json_put_i64(j, "minLength", (int64_t)min);
		json_put_i64(j, "maxLength", (int64_t)max);
		break;
	case FIELD_INT:
		json_put_i64(j, "minimum", (int64_t)min);
		json_put_i64(j, "maximum", (int64_t)max);
		break;
	case FIELD_NUMBER:
		if (max < 1e300) {
			json_put_double(j, "minimum", min);
			json_put_double(j, "maximum", max);
		}
		break;
	case FIELD_STRINGS:
	case FIELD_LIST:
		json_put_i64(j, "minItems", (int64_t)min);
		json_put_i64(j, "maxItems", (int64_t)max);
		break;
	default: break;
	}
}

static void put_choices(struct json *j, const char *const *choices)
{
	struct json *list;

	if (!choices)
		return;
	list = json_array();
	for (; *choices; choices++)
		json_add_cstr(list, *choices);
	json_put(j, "enum", list);
}

static struct json *line_schema(const struct field *f)
{
	struct json *j = json_object();

	json_put_cstr(j, "type", "string");
	json_put_i64(j, "minLength", 1);
	json_put_i64(j, "maxLength", f->item_max ? f->item_max : 200);
	put_choices(j, f->choices);
	return j;
}

static struct json *items_schema(const struct field *f, bool lenient)
{
	return f->type == FIELD_LIST ? openapi_schema(f->nested, lenient) : line_schema(f);
}

/* FIELD_NAMES: one string or an array of them. */
static void put_either(struct json *j, const struct field *f)
{
	struct field many = *f;
	struct json *either = json_array(), *list = json_object();

	many.type = FIELD_STRINGS;
	json_put_cstr(list, "type", "array");
	json_put(list, "items", line_schema(f));
	put_limits(list, &many);
	json_add(either, line_schema(f));
	json_add(either, list);
	json_put(j, "oneOf", either);
}

static void put_type(struct json *j, const struct field *f)
{
	const char *type = types[f->type].type;
	struct json *both;

	if (!type)
		return;
	if (!(f->flags & FIELD_NULLABLE)) {
		json_put_cstr(j, "type", type);
		return;
	}
	both = json_array();
	json_add_cstr(both, type);
	json_add_cstr(both, "null");
	json_put(j, "type", both);
}

static struct json *field_schema(const struct field *f, bool lenient)
{
	struct json *j = f->type == FIELD_OBJECT && f->nested ? openapi_schema(f->nested, lenient) : json_object();

	put_type(j, f);
	if (types[f->type].format)
		json_put_cstr(j, "format", types[f->type].format);
	if (f->pattern || types[f->type].pattern)
		json_put_cstr(j, "pattern", f->pattern ? f->pattern : types[f->type].pattern);
	put_limits(j, f);
	if (f->type == FIELD_NAMES)
		put_either(j, f);
	else if (f->type == FIELD_STRINGS || f->type == FIELD_LIST)
		json_put(j, "items", items_schema(f, lenient));
	else
		put_choices(j, f->choices);
	if (f->flags & FIELD_SECRET)
		json_put_bool(j, "writeOnly", true);
	if (f->doc)
		json_put_cstr(j, "description", f->doc);
	return j;
}

struct json *openapi_schema(const struct field *fields, bool lenient)
{
	struct json *j = json_object(), *properties = json_object(), *required = json_array();

	for (const struct field *f = fields; f && f->name; f++) {
		json_put(properties, f->name, field_schema(f, lenient));
		if (f->flags & FIELD_REQUIRED)
			json_add_cstr(required, f->name);
	}
	json_put_cstr(j, "type", "object");
	json_put(j, "properties", properties);
	if (json_len(required))
		json_put(j, "required", required);
	else
		json_free(required);
	json_put_bool(j, "additionalProperties", lenient);
	return j;
}

/* ---- routes ------------------------------------------------------------------------ */

static void add_parameter(struct json *list, const char *in, const char *name, bool required, struct json *schema)
{
	struct json *j = json_object();

	json_put_cstr(j, "name", name);
	json_put_cstr(j, "in", in);
	json_put_bool(j, "required", required);
	json_put(j, "schema", schema);
	json_add(list, j);
}

/* "/a/:id/b" to "/a/{id}/b", and a parameter for each. */
static void read_path(const char *path, struct buf *ret, struct json *parameters)
{
	struct str rest = str_of(path + 1), part;

	while (str_cut(&rest, '/', &part)) {
		char name[32];
		struct json *schema;

		buf_addc(ret, '/');
		if (!part.len || part.ptr[0] != ':') {
			buf_addstr(ret, part);
			continue;
		}
		part = (struct str){part.ptr + 1, part.len - 1};
		if (part.ptr[part.len - 1] == '*')
			part.len--;
		snprintf(name, sizeof(name), "%.*s", STR_ARG(part));
		buf_addf(ret, "{%s}", name);
		schema = json_object();
		json_put_cstr(schema, "type", "string");
		add_parameter(parameters, "path", name, true, schema);
	}
}

static struct json *reference(const char *to)
{
	struct json *j = json_object();

	json_put_cstr(j, "$ref", to);
	return j;
}

static struct json *described(const char *text)
{
	struct json *j = json_object();

	json_put_cstr(j, "description", text);
	return j;
}

static struct json *responses(const struct route *r)
{
	struct json *j = json_object();
	char status[8];

	snprintf(status, sizeof(status), "%d", r->success ? r->success : 200);
	json_put(j, status, described(status_text(r->success ? r->success : 200)));
	json_put(j, "default", reference("#/components/responses/problem"));
	return j;
}

static struct json *request_body(const struct route *r)
{
	static const char *const content_types[] = {
		[BODY_NONE] = NULL,
		[BODY_JSON] = "application/json",
		[BODY_FORM] = "application/x-www-form-urlencoded",
		[BODY_BYTES] = "application/octet-stream",
	};
	struct json *j = json_object(), *content = json_object(), *media = json_object();

	if (r->kind != BODY_BYTES)
		json_put(media, "schema", openapi_schema(r->body, r->flags & ROUTE_LENIENT));
	json_put(content, content_types[r->kind], media);
	json_put_bool(j, "required", true);
	json_put(j, "content", content);
	return j;
}

static struct json *security(const struct route *r)
{
	struct json *list = json_array(), *one;
	static const char *const schemes[][2] = {
		[AUTH_NONE] = {NULL, NULL},
		[AUTH_ANY] = {"token", "cookie"},
		[AUTH_PAGE] = {"cookie", NULL},
		[AUTH_ENROL] = {"token", NULL},
		[AUTH_SESSION] = {"token", NULL},
	};

	for (size_t i = 0; i < 2 && schemes[r->auth][i]; i++) {
		one = json_object();
		json_put(one, schemes[r->auth][i], json_array());
		json_add(list, one);
	}
	return list;
}

static struct json *operation(const struct route *r, struct json *parameters)
{
	struct json *j = json_object();

	json_put_cstr(j, "operationId", r->name);
	json_put_cstr(j, "summary", r->summary);
	for (const struct field *f = r->query; f && f->name; f++)
		add_parameter(parameters, "query", f->name, f->flags & FIELD_REQUIRED, field_schema(f, false));
	if (r->method == METHOD_POST && r->auth == AUTH_ANY)
		json_add(parameters, reference("#/components/parameters/idempotencyKey"));
	json_put(j, "parameters", parameters);
	if (r->kind != BODY_NONE)
		json_put(j, "requestBody", request_body(r));
	json_put(j, "responses", responses(r));
	json_put(j, "security", security(r));
	return j;
}

static void add_route(struct json *paths, const struct route *r)
{
	static const char *const verbs[] = {
		[METHOD_GET] = "get", [METHOD_POST] = "post", [METHOD_PUT] = "put", [METHOD_PATCH] = "patch", [METHOD_DELETE] = "delete",
	};
	cleanup_buf struct buf path = BUF_INIT(1024);
	struct json *parameters = json_array(), *item;

	read_path(r->path, &path, parameters);
	item = json_get(paths, path.ptr);
	if (!item) {
		item = json_object();
		json_put(paths, path.ptr, item);
	}
	json_put(item, verbs[r->method], operation(r, parameters));
}

/* ---- what the operations refer to ------------------------------------------------------ */

static const struct field problem_error[] = {
	{"field", FIELD_STRING, FIELD_REQUIRED, 0, 200, .doc = "Path of the field, such as tags.3."},
	{"message", FIELD_STRING, FIELD_REQUIRED, 0, 500, .doc = "What is wrong with it."},
	{0},
};

static const struct field problem_fields[] = {
	{"type", FIELD_STRING, FIELD_REQUIRED, .doc = "about:blank"},
	{"title", FIELD_STRING, FIELD_REQUIRED, .doc = "The status in words."},
	{"status", FIELD_INT, FIELD_REQUIRED, 400, 599, .doc = "The status."},
	{"detail", FIELD_STRING, FIELD_REQUIRED, 0, 500, .doc = "One sentence for a person."},
	{"code", FIELD_STRING, FIELD_REQUIRED, .doc = "One word for a program."},
	{"requestId", FIELD_STRING, FIELD_REQUIRED, .doc = "Names the request in the server's log."},
	{"errors", FIELD_LIST, 0, 0, FIELD_ERRORS_MAX, .nested = problem_error, .doc = "Every field that is at fault."},
	{0},
};

static struct json *problem_response(void)
{
	struct json *j = described("An error (RFC 9457)."), *content = json_object(), *media = json_object();

	json_put(media, "schema", reference("#/components/schemas/problem"));
	json_put(content, PROBLEM_JSON, media);
	json_put(j, "content", content);
	return j;
}

static struct json *schemes(void)
{
	struct json *j = json_object(), *token = json_object(), *cookie = json_object();

	json_put_cstr(token, "type", "http");
	json_put_cstr(token, "scheme", "bearer");
	json_put_cstr(cookie, "type", "apiKey");
	json_put_cstr(cookie, "in", "cookie");
	json_put_cstr(cookie, "name", "__Host-gpupool");
	json_put_cstr(cookie, "description", "Writes also need the header X-CSRF-Token, and must come from our own pages.");
	json_put(j, "token", token);
	json_put(j, "cookie", cookie);
	return j;
}

static struct json *components(void)
{
	struct json *j = json_object(), *part, *list = json_array(), *schema = json_object();

	part = json_object();
	json_put(part, "problem", openapi_schema(problem_fields, true));
	json_put(j, "schemas", part);
	part = json_object();
	json_put(part, "problem", problem_response());
	json_put(j, "responses", part);
	json_put(j, "securitySchemes", schemes());
	json_put_cstr(schema, "type", "string");
	json_put_i64(schema, "maxLength", 255);
	add_parameter(list, "header", "Idempotency-Key", false, schema);
	part = json_object();
	json_put(part, "idempotencyKey", json_ref(json_at(list, 0)));
	json_put(j, "parameters", part);
	json_free(list);
	return j;
}

struct json *openapi_document(const char *server_url)
{
	struct json *j = json_object(), *info = json_object(), *servers = json_array(), *server = json_object();
	struct json *paths = json_object();

	json_put_cstr(j, "openapi", "3.1.0");
	json_put_cstr(info, "title", "gpupool");
	json_put_cstr(info, "version", GPUPOOL_VERSION);
	json_put(j, "info", info);
	json_put_cstr(server, "url", server_url);
	json_add(servers, server);
	json_put(j, "servers", servers);
	for (size_t i = 0; i < route_count; i++)
		if (!(routes[i].flags & ROUTE_HIDDEN))
			add_route(paths, &routes[i]);
	json_put(j, "paths", paths);
	json_put(j, "components", components());
	return j;
}
