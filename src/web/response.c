/* response - building and writing one answer.  See web/response.h. */
#include "web/response.h"

#include <string.h>

#include "base/error.h"

static const struct {
	int status;
	const char *text;
} statuses[] = {
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{204, "No Content"},
	{303, "See Other"},
	{304, "Not Modified"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{409, "Conflict"},
	{410, "Gone"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{415, "Unsupported Media Type"},
	{421, "Misdirected Request"},
	{422, "Unprocessable Content"},
	{429, "Too Many Requests"},
	{500, "Internal Server Error"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
};

/* Nothing inline, nothing from elsewhere; forms go home only. */
#define PAGE_POLICY "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
/* Answers that are no pages run nothing, should a browser be made to show one. */
#define DATA_POLICY "default-src 'none'; frame-ancestors 'none'"

const char *status_text(int status)
{
	for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
		if (statuses[i].status == status)
			return statuses[i].text;
	return "Unknown";
}

void response_init(struct response *r, struct arena *a)
{
	*r = (struct response){.arena = a, .status = 200, .body = BUF_INIT(RESPONSE_MAX)};
}

void response_reset(struct response *r)
{
	r->status = 200;
	r->content_type = NULL;
	r->header_count = 0;
	r->secret = false;
	r->object[0] = '\0';
	json_free(r->audit);
	r->audit = NULL;
	buf_reset(&r->body);
}

void response_done(struct response *r)
{
	json_free(r->audit);
	r->audit = NULL;
	buf_free(&r->body);
}

void response_header(struct response *r, const char *name, const char *fmt, ...)
{
	char *value;
	va_list ap;

	va_start(ap, fmt);
	value = arena_vprintf(r->arena, fmt, ap);
	va_end(ap);
	if (!value || r->header_count == RESPONSE_HEADERS)
		BUG("no room for the header %s", name);
	for (const char *p = value; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			BUG("control character in the header %s", name);
	r->headers[r->header_count++] = (struct response_header){name, value};
}

const char *response_get_header(const struct response *r, const char *name)
{
	for (int i = 0; i < r->header_count; i++)
		if (str_ieqz(str_of(r->headers[i].name), name))
			return r->headers[i].value;
	return NULL;
}

void response_object(struct response *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->object, sizeof(r->object), fmt, ap);
	va_end(ap);
}

void response_json(struct response *r, int status, struct json *j)
{
	r->status = status;
	r->content_type = "application/json";
	buf_reset(&r->body);
	if (r->document) {
		json_free(*r->document);
		*r->document = j;
		return;
	}
	json_write(j, &r->body);
	buf_addc(&r->body, '\n');
	json_free(j);
}

void response_text(struct response *r, int status, const char *content_type, struct str text)
{
	r->status = status;
	r->content_type = content_type;
	buf_reset(&r->body);
	buf_addstr(&r->body, text);
}

void response_empty(struct response *r, int status)
{
	r->status = status;
	r->content_type = NULL;
	buf_reset(&r->body);
}

void response_redirect(struct response *r, const char *location)
{
	response_empty(r, 303);
	response_header(r, "Location", "%s", location);
}

void response_version(struct response *r, int64_t version)
{
	response_header(r, "ETag", "\"v%lld\"", (long long)version);
}

void response_head(const struct response *r, struct buf *out)
{
	bool page = r->content_type && str_starts(str_of(r->content_type), "text/html");

	buf_addf(out, "Status: %d %s\r\n", r->status, status_text(r->status));
	if (r->content_type)
		buf_addf(out, "Content-Type: %s%s\r\n", r->content_type,
			 page && !strchr(r->content_type, ';') ? "; charset=utf-8" : "");
	if (r->status != 204 && r->status != 304 && !r->stream)
		buf_addf(out, "Content-Length: %zu\r\n", r->body.len);
	for (int i = 0; i < r->header_count; i++)
		buf_addf(out, "%s: %s\r\n", r->headers[i].name, r->headers[i].value);
	if (!response_get_header(r, "Cache-Control"))
		buf_adds(out, "Cache-Control: private, no-cache\r\n");
	if (!response_get_header(r, "Content-Security-Policy"))
		buf_addf(out, "Content-Security-Policy: %s\r\n", page ? PAGE_POLICY : DATA_POLICY);
	buf_adds(out, "X-Content-Type-Options: nosniff\r\nReferrer-Policy: same-origin\r\n\r\n");
}
