/* A FastCGI client; see fcgi_client.h. */
#include "fcgi_client.h"

#include <fastcgi.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { RECEIVE_MS = 20000, REQUEST = 1 };

int fcgi_connect(const char *path)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(sun.sun_path, sizeof(sun.sun_path), "%s", path);
	if (connect(fd, (struct sockaddr *)&sun, sizeof(sun))) {
		close(fd);
		return -1;
	}
	return fd;
}

static void send_all(int fd, const void *bytes, size_t len)
{
	for (const char *p = bytes; len;) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* the test sees it when it reads */
		p += n;
		len -= (size_t)n;
	}
}

static void send_record(int fd, int type, const void *bytes, size_t len)
{
	FCGI_Header h = {
		.version = FCGI_VERSION_1,
		.type = (unsigned char)type,
		.requestIdB0 = REQUEST,
		.contentLengthB1 = (unsigned char)(len >> 8),
		.contentLengthB0 = (unsigned char)len,
	};

	send_all(fd, &h, sizeof(h));
	send_all(fd, bytes, len);
}

static void send_stream(int fd, int type, struct str bytes)
{
	while (bytes.len) {
		size_t n = bytes.len < 32768 ? bytes.len : 32768;

		send_record(fd, type, bytes.ptr, n);
		bytes = (struct str){bytes.ptr + n, bytes.len - n};
	}
	send_record(fd, type, "", 0);
}

static void add_length(struct buf *b, size_t n)
{
	if (n < 128) {
		buf_addc(b, (char)n);
		return;
	}
	buf_addc(b, (char)(n >> 24 | 0x80));
	buf_addc(b, (char)(n >> 16));
	buf_addc(b, (char)(n >> 8));
	buf_addc(b, (char)n);
}

static void add_param(struct buf *b, const char *name, const char *value)
{
	add_length(b, strlen(name));
	add_length(b, strlen(value));
	buf_adds(b, name);
	buf_adds(b, value);
}

void fcgi_send_body(int fd, struct str body)
{
	send_stream(fd, FCGI_STDIN, body);
}

void fcgi_send(int fd, const struct call *c, bool body_later)
{
	FCGI_BeginRequestBody begin = {.roleB0 = FCGI_RESPONDER};
	cleanup_buf struct buf params = BUF_INIT(1 << 20);
	char number[32], bearer[512];

	add_param(&params, "REQUEST_METHOD", c->method ? c->method : "GET");
	add_param(&params, "DOCUMENT_URI", c->path);
	add_param(&params, "QUERY_STRING", c->query ? c->query : "");
	add_param(&params, "REMOTE_ADDR", "192.0.2.7");
	add_param(&params, "REQUEST_ID", "test-request");
	add_param(&params, "HTTP_HOST", "127.0.0.1:8080");
	if (c->body.len || c->length) {
		snprintf(number, sizeof(number), "%lld", c->length ? (long long)c->length : (long long)c->body.len);
		add_param(&params, "CONTENT_LENGTH", number);
		add_param(&params, "CONTENT_TYPE", c->type ? c->type : "application/json");
	}
	if (c->token) {
		snprintf(bearer, sizeof(bearer), "Bearer %s", c->token);
		add_param(&params, "HTTP_AUTHORIZATION", bearer);
	}
	for (size_t i = 0; i < ARRAY_LEN(c->headers) && c->headers[i][0]; i++)
		add_param(&params, c->headers[i][0], c->headers[i][1]);
	send_record(fd, FCGI_BEGIN_REQUEST, &begin, sizeof(begin));
	send_stream(fd, FCGI_PARAMS, buf_str(&params));
	if (!body_later)
		fcgi_send_body(fd, c->body);
}

static bool read_all(int fd, void *bytes, size_t len)
{
	for (char *p = bytes; len;) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		ssize_t n = poll(&pfd, 1, RECEIVE_MS) == 1 ? read(fd, p, len) : -1;

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static void parse(struct reply *r, struct buf *out)
{
	char *blank = out->len ? strstr(out->ptr, "\r\n\r\n") : NULL;
	const char *type;

	if (!blank)
		return;
	buf_add(&r->head, out->ptr, (size_t)(blank + 2 - out->ptr));
	buf_add(&r->body, blank + 4, out->len - (size_t)(blank + 4 - out->ptr));
	buf_adds(&r->body, "");
	r->status = (int)strtol(reply_header(r, "Status") ? reply_header(r, "Status") : "0", NULL, 10);
	type = reply_header(r, "Content-Type");
	if (type && strstr(type, "json") && r->body.len && json_parse(buf_str(&r->body), r->body.len, &r->json, NULL))
		r->json = NULL;
}

void fcgi_receive(int fd, struct reply *ret)
{
	cleanup_buf struct buf out = BUF_INIT(128 << 20);
	FCGI_Header h;
	char content[65536 + 256];

	*ret = (struct reply){.head = BUF_INIT(1 << 20), .body = BUF_INIT(128 << 20)};
	while (read_all(fd, &h, sizeof(h))) {
		size_t len = (size_t)h.contentLengthB1 << 8 | h.contentLengthB0;

		if (!read_all(fd, content, len + h.paddingLength) || h.type == FCGI_END_REQUEST)
			break;
		if (h.type == FCGI_STDOUT)
			buf_add(&out, content, len);
	}
	parse(ret, &out);
}

void fcgi_call(const char *socket, const struct call *c, struct reply *ret)
{
	int fd = fcgi_connect(socket);

	*ret = (struct reply){0};
	if (fd < 0)
		return;
	fcgi_send(fd, c, false);
	fcgi_receive(fd, ret);
	close(fd);
}

void reply_free(struct reply *r)
{
	buf_free(&r->head);
	buf_free(&r->body);
	json_free(r->json);
	r->json = NULL;
}

const char *reply_header(const struct reply *r, const char *name)
{
	static char value[1024];
	struct str rest = buf_str(&r->head), line, key;

	while (str_cut(&rest, '\n', &line))
		if (str_cut(&line, ':', &key) && line.ptr && str_ieqz(key, name)) {
			snprintf(value, sizeof(value), "%.*s", STR_ARG(str_trim(line)));
			return value;
		}
	return NULL;
}

const char *reply_cookie(const struct reply *r, const char *name)
{
	static char value[512];
	struct str rest = str_of(reply_header(r, "Set-Cookie")), pair, key;

	if (!str_cut(&rest, ';', &pair) || !str_cut(&pair, '=', &key) || !str_eqz(key, name))
		return NULL;
	snprintf(value, sizeof(value), "%.*s", STR_ARG(pair));
	return value;
}

bool reply_names(const struct reply *r, const char *field)
{
	struct json *errors = json_get(r->json, "errors");

	for (size_t i = 0; i < json_len(errors); i++)
		if (str_eqz(json_str(json_at(errors, i), "field"), field))
			return true;
	return false;
}
