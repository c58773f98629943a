/* request - FastCGI parameters to a request, and small questions about it.  See web/request.h. */
#include "web/request.h"

#include <stddef.h>
#include <string.h>

#include "web/routes.h"

static const char *const method_names[] = {
	[METHOD_GET] = "GET",
	[METHOD_HEAD] = "HEAD",
	[METHOD_POST] = "POST",
	[METHOD_PUT] = "PUT",
	[METHOD_PATCH] = "PATCH",
	[METHOD_DELETE] = "DELETE",
	[METHOD_OPTIONS] = "OPTIONS",
	[METHOD_OTHER] = "OTHER",
};

const char *method_name(enum method m)
{
	return method_names[m];
}

enum method method_parse(struct str name)
{
	for (size_t i = 0; i < METHOD_OTHER; i++)
		if (str_eqz(name, method_names[i]))
			return (enum method)i;
	return METHOD_OTHER;
}

const char *serves_name(enum serves s)
{
	static const char *const names[] = {[SERVES_API] = "api", [SERVES_EVENTS] = "events", [SERVES_SECRETS] = "secrets"};

	return names[s];
}

bool method_writes(enum method m)
{
	return m == METHOD_POST || m == METHOD_PUT || m == METHOD_PATCH || m == METHOD_DELETE;
}

#define AT(member) offsetof(struct request, member)

const struct request_param_row request_params[] = {
	{"REQUEST_METHOD", 0},
	{"CONTENT_LENGTH", 0},
	{"REQUEST_ID", 0},
	{"DOCUMENT_URI", AT(path)},
	{"QUERY_STRING", AT(query)},
	{"CONTENT_TYPE", AT(content_type)},
	{"REMOTE_ADDR", AT(remote_addr)},
	{"HTTP_ACCEPT", AT(accept)},
	{"HTTP_ACCEPT_LANGUAGE", AT(accept_language)},
	{"HTTP_AUTHORIZATION", AT(authorization)},
	{"HTTP_CONTENT_DIGEST", AT(content_digest)},
	{"HTTP_COOKIE", AT(cookie)},
	{"HTTP_HOST", AT(host)},
	{"HTTP_IDEMPOTENCY_KEY", AT(idempotency_key)},
	{"HTTP_IF_MATCH", AT(if_match)},
	{"HTTP_IF_NONE_MATCH", AT(if_none_match)},
	{"HTTP_LAST_EVENT_ID", AT(last_event_id)},
	{"HTTP_ORIGIN", AT(origin)},
	{"HTTP_SEC_FETCH_SITE", AT(sec_fetch_site)},
	{"HTTP_USER_AGENT", AT(user_agent)},
	{"HTTP_X_CSRF_TOKEN", AT(csrf_token)},
	{0},
};

/* It goes into log lines and answers: letters, digits and "-" only. */
static struct str take_request_id(struct str v)
{
	if (!v.len || v.len > 64)
		return STR_NULL;
	for (size_t i = 0; i < v.len; i++) {
		char c = v.ptr[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-'))
			return STR_NULL;
	}
	return v;
}

static int64_t take_length(struct str v)
{
	int64_t n;

	if (!v.len)
		return -1;
	return str_to_i64(v, 0, INT64_MAX, &n) ? n : -2;
}

void request_param(struct request *r, struct str name, struct str value)
{
	const struct request_param_row *row = request_params;

	while (row->name && !str_eqz(name, row->name))
		row++;
	if (!row->name)
		return;
	if (row->offset) {
		/* nginx passes an absent header as an empty parameter, or not at all. */
		if (value.len || row->offset == AT(query))
			memcpy((char *)r + row->offset, &value, sizeof(value));
	} else if (row == &request_params[0]) {
		r->method = method_parse(value);
	} else if (row == &request_params[1]) {
		r->content_length = take_length(value);
	} else {
		r->request_id = take_request_id(value);
	}
}

void request_init(struct request *r, struct arena *a)
{
	*r = (struct request){.arena = a, .method = METHOD_OTHER, .content_length = -1};
}

struct str request_capture(const struct request *r, const char *name)
{
	struct str wanted = str_of(name);

	for (int i = 0; i < r->capture_count; i++)
		if (str_eq((struct str){r->captures[i].name, r->captures[i].name_len}, wanted))
			return r->captures[i].value;
	return STR_NULL;
}

enum err request_capture_id(const struct request *r, const char *name, int64_t *ret, struct error *e)
{
	if (!str_to_id(request_capture(r, name), ret))
		return error_set(e, ERR_NOT_FOUND, "There is nothing of this id.");
	return OK;
}

bool etag_matches(struct str header, struct str etag)
{
	struct str item;

	while (str_cut(&header, ',', &item)) {
		item = str_trim(item);
		if (str_eqz(item, "*"))
			return true;
		/* Weakly: nginx marks an ETag as weak when it compresses. */
		if (str_starts(item, "W/"))
			item = (struct str){item.ptr + 2, item.len - 2};
		if (str_eq(item, etag))
			return true;
	}
	return false;
}

enum err request_if_match(const struct request *r, int64_t version, struct error *e)
{
	char etag[32];

	if (!r->if_match.ptr)
		return OK;
	snprintf(etag, sizeof(etag), "\"v%lld\"", (long long)version);
	if (etag_matches(r->if_match, str_of(etag)))
		return OK;
	return error_set(e, ERR_PRECONDITION, "It was changed in the meantime; read it again.");
}

bool request_wants_html(const struct request *r)
{
	struct str rest = r->accept, item, type;

	while (str_cut(&rest, ',', &item)) {
		if (!str_cut(&item, ';', &type))
			continue;
		type = str_trim(type);
		if (str_ieqz(type, "text/html"))
			return true;
		if (str_ieqz(type, "application/json") || str_ieqz(type, "application/problem+json"))
			return false;
	}
	return false;
}

void request_done(struct request *r)
{
	json_free(r->json);
	json_free(r->params);
	json_free(r->problem);
	r->json = r->params = r->problem = NULL;
}

void request_problem(struct request *r, const char *key, struct json *value)
{
	if (!r->problem)
		r->problem = json_object();
	json_put(r->problem, key, value);
}
