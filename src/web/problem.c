/* problem - outcomes as problem documents.  See web/problem.h. */
#include "web/problem.h"

/* What is said when the place of the error had no better words. */
static const char *default_detail(enum err code)
{
	switch (code) {
	case ERR_OK: return "";
	case ERR_INVALID: return "The request is not valid.";
	case ERR_UNAUTHORIZED: return "Sign in, or send a valid bearer token.";
	case ERR_FORBIDDEN: return "You may not do this.";
	case ERR_NOT_FOUND: return "There is nothing here.";
	case ERR_METHOD: return "This method is not known here.";
	case ERR_CONFLICT: return "Something else happened first; read it again.";
	case ERR_GONE: return "This is over.";
	case ERR_PRECONDITION: return "It was changed in the meantime; read it again.";
	case ERR_TOO_LARGE: return "The request is too large.";
	case ERR_MEDIA_TYPE: return "This content type is not taken here.";
	case ERR_MISDIRECTED: return "This process does not serve the route.";
	case ERR_UNPROCESSABLE: return "The request contradicts an earlier one.";
	case ERR_QUOTA: return "A limit of the account is reached.";
	case ERR_RATE: return "Too many requests; wait and try again.";
	case ERR_INTERNAL: return "Something went wrong here; it has been logged.";
	case ERR_UPSTREAM: return "The provider's answer could not be used.";
	case ERR_UNAVAILABLE: return "Not available at this moment; try again.";
	case ERR_TIMEOUT: return "It took too long; try again.";
	case ERR_COUNT: break;
	}
	BUG("outcome %d", (int)code);
}

void field_error_add(struct field_errors *f, struct arena *a, const char *field, const char *fmt, ...)
{
	char *name = arena_strdup(a, field), *message;
	va_list ap;

	va_start(ap, fmt);
	message = arena_vprintf(a, fmt, ap);
	va_end(ap);
	if (f->count < FIELD_ERRORS_MAX && name && message)
		f->list[f->count++] = (struct field_error){name, message};
}

static void add_error(struct json *errors, const char *field, const char *message)
{
	struct json *one = json_object();

	json_put_cstr(one, "field", field);
	json_put_cstr(one, "message", message);
	json_add(errors, one);
}

struct json *problem_json(const struct request *req, const struct error *e, const struct field_errors *f)
{
	struct json *j = json_object();
	struct json *errors;
	int status = err_http_status(e->code);
	const char *detail = e->msg[0] && e->code != ERR_INTERNAL ? e->msg : default_detail(e->code);

	json_put_cstr(j, "type", "about:blank");
	json_put_cstr(j, "title", status_text(status));
	json_put_i64(j, "status", status);
	json_put_cstr(j, "detail", detail);
	json_put_cstr(j, "code", e->reason ? e->reason : err_name(e->code));
	json_put_str(j, "requestId", req->request_id);
	if ((f && f->count) || e->field[0]) {
		errors = json_array();
		for (int i = 0; f && i < f->count; i++)
			add_error(errors, f->list[i].field, f->list[i].message);
		if (!f || !f->count)
			add_error(errors, e->field, detail);
		json_put(j, "errors", errors);
	}
	for (struct json_iter it = json_iter(req->problem); json_next(&it);)
		json_put(j, it.key, json_ref(it.value));
	return j;
}

void problem_answer(const struct request *req, struct response *res, const struct error *e, const struct field_errors *f)
{
	const char *allow = response_get_header(res, "Allow");

	response_reset(res);
	response_json(res, err_http_status(e->code), problem_json(req, e, f));
	res->content_type = PROBLEM_JSON;
	if (allow)
		response_header(res, "Allow", "%s", allow);
	if (res->status == 503 || res->status == 429 || res->status == 504)
		response_header(res, "Retry-After", "%d", RETRY_AFTER_SECONDS);
	if (res->status == 401)
		response_header(res, "WWW-Authenticate", "Bearer realm=\"gpupool\"");
}
