/* Requests: parameters, path, query, form, JSON body, up to the handler.  The first bytes choose the
 * method and the kind of body; the rest is cut at newlines into path, query, content type, body. */
#include <stdint.h>

#include "base/log.h"
#include "web/auth.h"
#include "web/form.h"
#include "web/router.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct str cut(struct str *rest)
{
	struct str part;

	return str_cut(rest, '\n', &part) ? part : STR_NULL;
}

static void match_and_read(struct arena *a, uint8_t choice, struct str rest)
{
	static const char *const methods[] = {"GET", "POST", "PATCH", "DELETE", "PUT", "HEAD", "OPTIONS", "X"};
	struct config c = {.public_url = "http://127.0.0.1:8080"};
	struct field_errors f = {.count = 0};
	struct error e = {0};
	struct request req;
	struct response res;

	request_init(&req, a);
	response_init(&res, a);
	request_param(&req, STR("REQUEST_METHOD"), str_of(methods[choice % ARRAY_LEN(methods)]));
	request_param(&req, STR("DOCUMENT_URI"), cut(&rest));
	request_param(&req, STR("QUERY_STRING"), cut(&rest));
	request_param(&req, STR("CONTENT_TYPE"), cut(&rest));
	request_param(&req, STR("HTTP_COOKIE"), cut(&rest));
	request_param(&req, STR("HTTP_IF_NONE_MATCH"), cut(&rest));
	req.body = rest;
	req.content_length = (int64_t)rest.len;
	(void)auth_cookie(&c, &req);
	(void)etag_matches(req.if_none_match, STR("\"v1\""));
	(void)request_wants_html(&req);
	if (router_match(&req, choice & 0x80 ? SERVES_EVENTS : SERVES_API, &res, &e) == OK && router_body(&req, &f, &e) == OK)
		(void)router_permit(&req, &e);
	if (e.code) {
		cleanup_buf struct buf head = BUF_INIT(1 << 16);

		problem_answer(&req, &res, &e, &f);
		response_head(&res, &head);
	}
	request_done(&req);
	response_done(&res);
}

/* The route table has few forms: each of its tables is also read from any form. */
static void read_form(struct arena *a, uint8_t choice, struct str rest)
{
	const struct route *r = &routes[choice % route_count];
	struct field_errors f = {.count = 0};
	struct str type = cut(&rest), csrf;
	struct json *j = form_body(r->body, rest, type, a, &csrf, &f);

	schema_check(r->body, j, false, a, &f);
	json_free(j);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena a;

	if (size < 2)
		return 0;
	log_init("fuzz", LOG_ERROR);
	arena_init(&a, 8 << 20);
	if (data[0] & 1)
		match_and_read(&a, data[1], (struct str){(const char *)data + 2, size - 2});
	else
		read_form(&a, data[1], (struct str){(const char *)data + 2, size - 2});
	arena_free(&a);
	return 0;
}
