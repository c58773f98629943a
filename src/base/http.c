/* http - outgoing requests over libcurl.  See base/http.h. */
#include "base/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/outgoing.h"

enum {
	DEADLINE_MS = 30000,
	CONNECT_MS = 10000,
	REPLY_MOST = 1 << 20,
	HEADERS_MOST = 64 << 10,
	RETRY_AFTER_MOST = 7 * 86400,
};

struct http_client {
	CURL *easy;
	atomic_bool aborted;
};

/* One call on its way. */
struct transfer {
	const struct http_call *call;
	CURL *easy;
	const atomic_bool *given_up; /* of the client */
	struct curl_slist *headers;
	struct buf body;
	size_t reply_max, reply_len, header_len;
	int64_t sent;
	bool too_large, aborted, refused;
	char text[CURL_ERROR_SIZE];
};

static void global_init(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT))
		BUG("libcurl does not start");
}

enum err http_client_new(struct http_client **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct http_client *c = calloc(1, sizeof(*c));

	pthread_once(&once, global_init);
	if (!c || !(c->easy = curl_easy_init()))
		error_no_memory();
	*ret = c;
	return OK;
}

void http_client_free(struct http_client *c)
{
	if (!c)
		return;
	curl_easy_cleanup(c->easy);
	free(c);
}

void http_client_abort(struct http_client *c)
{
	atomic_store(&c->aborted, true);
}

bool http_client_aborted(const struct http_client *c)
{
	return atomic_load(&c->aborted);
}

/* ---- callbacks of libcurl ------------------------------------------------- */

/* An answer that is an error is read as a whole even where content is streamed. */
static bool streams(const struct transfer *t)
{
	long status = 0;

	if (t->call->on_data)
		curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
	return status >= 200 && status < 300;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;
	size_t len = size * n;

	if (len > t->reply_max - t->reply_len) {
		t->too_large = true;
		return 0;
	}
	t->reply_len += len;
	if (!streams(t))
		buf_add(&t->body, bytes, len);
	else if (!t->call->on_data(t->call->ctx, (struct str){bytes, len}))
		t->aborted = true;
	return t->aborted ? 0 : len;
}

static size_t on_header(char *bytes, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;

	t->header_len += size * n;
	t->too_large = t->header_len > HEADERS_MOST;
	return t->too_large ? 0 : size * n;
}

static size_t on_read(char *bytes, size_t size, size_t n, void *ctx)
{
	struct transfer *t = ctx;
	int64_t left = t->call->body_size - t->sent;
	size_t want = left < (int64_t)(size * n) ? (size_t)left : size * n;
	ssize_t got;

	if (!want)
		return 0;
	do
		got = pread(t->call->body_fd, bytes, want, t->sent);
	while (got < 0 && errno == EINTR);
	if (got <= 0)
		return CURL_READFUNC_ABORT;
	t->sent += got;
	return (size_t)got;
}

static int on_progress(void *ctx, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
	const struct transfer *t = ctx;

	(void)a, (void)b, (void)c, (void)d;
	return atomic_load(t->given_up);
}

static bool is_https(const struct http_call *call)
{
	return !strncasecmp(call->url, "https:", 6);
}

static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *to)
{
	struct transfer *t = ctx;

	if (purpose != CURLSOCKTYPE_IPCXN || !outgoing_may(t->call->outgoing, is_https(t->call), &to->addr)) {
		t->refused = true;
		return CURL_SOCKET_BAD;
	}
	return socket(to->family, to->socktype | SOCK_CLOEXEC, to->protocol);
}

/* ---- making the request --------------------------------------------------- */

static bool is_token(struct str s)
{
	static const char others[] = "!#$%&'*+-.^_`|~";

	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];

		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    !memchr(others, c, sizeof(others) - 1))
			return false;
	}
	return s.len;
}

static void add_line(struct transfer *t, const char *line)
{
	struct curl_slist *more = curl_slist_append(t->headers, line);

	if (!more)
		error_no_memory();
	t->headers = more;
}

static enum err add_headers(struct transfer *t, struct error *e)
{
	bool typed = false;

	for (const struct http_header *h = t->call->headers; h && h->name; h++) {
		cleanup_buf struct buf line = BUF_INIT(HEADERS_MOST);

		/* A line break would let a value write headers of its own. */
		if (!is_token(str_of(h->name)) || strpbrk(h->value, "\r\n"))
			return error_set(e, ERR_INVALID, "bad request header %s", h->name);
		/* libcurl spells an empty value with a semicolon. */
		buf_addf(&line, h->value[0] ? "%s: %s" : "%s;%s", h->name, h->value);
		if (line.failed)
			return error_set(e, ERR_TOO_LARGE, "request header %s is too long", h->name);
		add_line(t, line.ptr);
		typed = typed || str_ieqz(str_of(h->name), "content-type");
	}
	if (!typed)
		add_line(t, "Content-Type:"); /* or libcurl says that it is a form */
	add_line(t, "Expect:");
	return OK;
}

static bool is_safe_to_repeat(const char *method)
{
	static const char *const methods[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS"};

	for (size_t i = 0; i < ARRAY_LEN(methods); i++)
		if (!strcmp(method, methods[i]))
			return true;
	return false;
}

static void set_body(CURL *easy, struct transfer *t, const char *method)
{
	const struct http_call *call = t->call;

	if (call->body_fd > 0) {
		curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
		curl_easy_setopt(easy, CURLOPT_READDATA, t);
		curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->body_size);
	} else if (call->body.ptr || !strcmp(method, "POST")) {
		curl_easy_setopt(easy, CURLOPT_POSTFIELDS, call->body.ptr ? call->body.ptr : "");
		curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
	} else if (!strcmp(method, "HEAD")) {
		curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
	}
	curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

/* Each connection is asked for, so none is shared with other calls. */
static void set_outgoing(CURL *easy, struct transfer *t)
{
	if (!t->call->outgoing)
		return;
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_socket);
	curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, t);
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, 1L);
	curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, 1L);
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
}

static void set_options(CURL *easy, struct transfer *t, const char *method)
{
	const struct http_call *call = t->call;
	long deadline = call->deadline_ms > 0 ? (long)call->deadline_ms : DEADLINE_MS;

	curl_easy_reset(easy); /* keeps open connections */
	curl_easy_setopt(easy, CURLOPT_URL, call->url);
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, is_https(call) ? "https" : "http,https");
	curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, call->redirects > 0 ? 1L : 0L);
	curl_easy_setopt(easy, CURLOPT_MAXREDIRS, (long)call->redirects);
	curl_easy_setopt(easy, CURLOPT_PROXY, "");
	curl_easy_setopt(easy, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(easy, CURLOPT_USERAGENT, "gpupool/1");
	curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, deadline);
	curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, deadline < CONNECT_MS ? deadline : CONNECT_MS);
	curl_easy_setopt(easy, CURLOPT_UNIX_SOCKET_PATH, call->unix_socket);
	curl_easy_setopt(easy, CURLOPT_HTTPHEADER, t->headers);
	curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, t->text);
	curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(easy, CURLOPT_WRITEDATA, t);
	curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(easy, CURLOPT_HEADERDATA, t);
	/* When a kept connection turns out dead, libcurl sends the request again
	 * on a new one without asking, though the server may have acted on it. */
	curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, call->repeatable || is_safe_to_repeat(method) ? 0L : 1L);
	curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
	curl_easy_setopt(easy, CURLOPT_XFERINFODATA, t);
	curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
	set_outgoing(easy, t);
	set_body(easy, t, method);
}

/* ---- reading the outcome -------------------------------------------------- */

static enum err outcome(const struct transfer *t, CURLcode code, bool sent)
{
	if (t->too_large)
		return ERR_TOO_LARGE;
	if (t->aborted)
		return ERR_INTERNAL;
	if (code != CURLE_OK && atomic_load(t->given_up))
		return ERR_UNAVAILABLE;
	if (code == CURLE_COULDNT_CONNECT && t->refused)
		return ERR_FORBIDDEN;
	/* Most of a hundred codes mean that the server could not be talked to. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wswitch-enum"
	switch (code) {
	case CURLE_OK:
		return OK;
	case CURLE_OUT_OF_MEMORY:
		error_no_memory();
	case CURLE_OPERATION_TIMEDOUT:
		return ERR_TIMEOUT;
	case CURLE_URL_MALFORMAT:
	case CURLE_LOGIN_DENIED: /* a user name in the URL */
		return ERR_INVALID;
	case CURLE_ABORTED_BY_CALLBACK: /* body_fd could not be read */
		return ERR_INTERNAL;
	case CURLE_UNSUPPORTED_PROTOCOL:
		/* Of the URL; or the reply has no status line ("HTTP/0.9"). */
		return sent ? ERR_UPSTREAM : ERR_INVALID;
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_PARTIAL_FILE:
	case CURLE_BAD_CONTENT_ENCODING:
	case CURLE_TOO_MANY_REDIRECTS:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return ERR_UPSTREAM;
	default:
		return ERR_UNAVAILABLE;
	}
#pragma GCC diagnostic pop
}

static const char *header_value(CURL *easy, const char *name)
{
	struct curl_header *h;

	return curl_easy_header(easy, name, 0, CURLH_HEADER, -1, &h) ? NULL : h->value;
}

/* Copies text that libcurl owns; false when the arena is full. */
static bool keep(struct arena *a, const char *text, const char **ret)
{
	*ret = text ? arena_strdup(a, text) : NULL;
	return *ret || !text;
}

/* Seconds, with a fraction or not, or a date, which counts from the server's own. */
static int64_t retry_after(CURL *easy)
{
	const char *text = header_value(easy, "Retry-After"), *date;
	time_t until, now;
	double seconds;

	if (!text)
		return -1;
	if (!str_to_double(str_trim(str_of(text)), &seconds)) {
		until = curl_getdate(text, NULL);
		date = header_value(easy, "Date");
		now = date ? curl_getdate(date, NULL) : -1;
		seconds = until < 0 ? 0 : difftime(until, now < 0 ? (time_t)(clock_wall_ms() / 1000) : now);
	}
	if (!(seconds > 0))
		return 0; /* a date may be past */
	return seconds < RETRY_AFTER_MOST ? (int64_t)ceil(seconds) : RETRY_AFTER_MOST;
}

static const char *what_failed(const struct transfer *t, enum err r, CURLcode code)
{
	if (t->too_large)
		return "the reply is too large";
	if (r == ERR_FORBIDDEN)
		return "its address is not one that may be connected to";
	if (atomic_load(t->given_up))
		return "this program is ending";
	return t->text[0] ? t->text : curl_easy_strerror(code);
}

static bool read_reply(CURL *easy, struct arena *a, const struct transfer *t, struct http_reply *ret)
{
	const char *type = NULL;
	long status = 0;

	curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(easy, CURLINFO_CONTENT_TYPE, &type);
	ret->status = (int)status;
	ret->retry_after_s = retry_after(easy);
	ret->body = arena_str(a, buf_str(&t->body));
	return ret->body.ptr && keep(a, type, &ret->content_type) && keep(a, header_value(easy, "ETag"), &ret->etag) &&
	       keep(a, header_value(easy, "Location"), &ret->location) &&
	       keep(a, t->call->wanted ? header_value(easy, t->call->wanted) : NULL, &ret->wanted);
}

enum err http_send(struct http_client *c, struct arena *a, const struct http_call *call, struct http_reply *ret,
		   struct error *e)
{
	const char *method = call->method ? call->method : "GET";
	struct transfer t = {.call = call, .easy = c->easy, .given_up = &c->aborted};
	long request_size = 0;
	CURLcode code;
	enum err r;

	*ret = (struct http_reply){.retry_after_s = -1};
	t.reply_max = call->max_reply ? call->max_reply : call->on_data ? SIZE_MAX : REPLY_MOST;
	t.body = BUF_INIT(call->on_data ? REPLY_MOST : t.reply_max);
	if (!is_token(str_of(method)) || call->deadline_ms > LONG_MAX)
		return error_set(e, ERR_INVALID, "bad method or deadline");
	if (http_client_aborted(c))
		return error_set(e, ERR_UNAVAILABLE, "this program is ending");
	r = add_headers(&t, e);
	if (r != OK)
		goto out;

	set_options(c->easy, &t, method);
	code = curl_easy_perform(c->easy);
	curl_easy_getinfo(c->easy, CURLINFO_REQUEST_SIZE, &request_size);
	r = outcome(&t, code, request_size > 0);
	if (r != OK) {
		ret->maybe_sent = request_size > 0;
		error_set(e, r, "%s", what_failed(&t, r, code));
	}
	if (!read_reply(c->easy, a, &t, ret) && r == OK)
		r = error_set(e, ERR_TOO_LARGE, "the reply does not fit into the request's memory");
	/* What a transfer leaves behind must not point into this frame. */
	curl_easy_reset(c->easy);
out:
	curl_slist_free_all(t.headers);
	buf_free(&t.body);
	return r;
}
