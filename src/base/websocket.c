/*
 * websocket - outgoing WebSockets over libwebsockets.  See base/websocket.h.
 *
 * Each connection has a context of the library's own, which only its thread
 * serves, and only inside the calls below.  lws_service() sleeps until
 * something happens; a timer ends that sleep every TICK_US, when time limits
 * and the abort of the client are looked at.
 */
#include "base/websocket.h"

#include <libwebsockets.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"

enum {
	TICK_US = 50000,
	MESSAGE_MOST = 1 << 20,
	SENT_MOST = 64 << 20,
	HEADERS_MOST = 24 << 10,       /* with the request line; a token has a few KiB */
	GOODBYE_MS = 500,
	CALL_SECONDS = 3600,           /* the library's own limits never come first */
};

enum state { CONNECTING, OPEN, CLOSED, BROKEN };

struct websocket {
	struct lws_context *context;
	SSL_CTX *tls;                  /* ours: the library loses its own when contexts overlap; NULL without TLS */
	struct lws *wsi;               /* NULL when there is none, or none any more */
	struct lws_sorted_usec_list tick;
	const struct http_header *headers;
	const struct http_client *client;
	enum state state;
	enum err why;                  /* BROKEN */
	char text[160];
	struct buf in, out;            /* out has LWS_PRE bytes in front */
	bool opened, whole, sending, sent, closing;
};

/* Making and ending a context touches what OpenSSL and the library share. */
static pthread_mutex_t shared = PTHREAD_MUTEX_INITIALIZER;

static bool aborted(const struct websocket *w)
{
	return w->client && http_client_aborted(w->client);
}

static void broken(struct websocket *w, enum err why, const char *text)
{
	if (w->state == BROKEN || w->state == CLOSED)
		return;
	w->state = BROKEN;
	w->why = why;
	snprintf(w->text, sizeof(w->text), "%s", text);
}

/* ---- callbacks of the library --------------------------------------------- */

static bool add_header(struct lws *wsi, const struct http_header *h, unsigned char **at, unsigned char *end)
{
	char name[128];

	snprintf(name, sizeof(name), "%s:", h->name);
	return !lws_add_http_header_by_name(wsi, (const unsigned char *)name, (const unsigned char *)h->value, (int)strlen(h->value), at, end);
}

static int on_headers(struct websocket *w, struct lws *wsi, void *in, size_t room)
{
	static const struct http_header agent = {"User-Agent", "gpupool/1"};
	unsigned char **at = in, *end = *at + room;

	if (!add_header(wsi, &agent, at, end))
		return -1;
	for (const struct http_header *h = w->headers; h && h->name; h++)
		if (!add_header(wsi, h, at, end)) {
			broken(w, ERR_INVALID, "The request's headers are too long.");
			return -1;
		}
	return 0;
}

static enum err by_status(unsigned status)
{
	switch (status) {
	case 0:
		return ERR_UNAVAILABLE;
	case 401:
		return ERR_UNAUTHORIZED;
	case 403:
		return ERR_FORBIDDEN;
	case 404:
		return ERR_NOT_FOUND;
	case 429:
		return ERR_RATE;
	default:
		return status >= 500 ? ERR_UNAVAILABLE : ERR_UPSTREAM;
	}
}

static bool says(const char *words, const char *what)
{
	return strcasestr(words, what) != NULL;
}

/* The library tells why in words only; a status where the server gave one. */
static void on_refused(struct websocket *w, struct lws *wsi, const char *in, size_t len)
{
	unsigned status = lws_http_client_http_response(wsi);
	char words[100], text[160];
	enum err why;

	snprintf(words, sizeof(words), "%.*s", in ? (int)len : 0, in ? in : "");
	if (says(words, "unauthorized")) /* is said of 401 and 403 alike, at times without the status */
		why = status == 403 ? ERR_FORBIDDEN : ERR_UNAUTHORIZED;
	else if (status && status != 101)
		why = by_status(status);
	else if (says(words, "HS:") || says(words, "tls") || says(words, "ssl") || says(words, "cert") || says(words, "hostname"))
		why = ERR_UPSTREAM;
	else
		why = ERR_UNAVAILABLE;
	if (status && status != 101)
		snprintf(text, sizeof(text), "The server answered with status %u, not with a WebSocket.", status);
	else
		snprintf(text, sizeof(text), "No WebSocket was opened: %s.", words[0] ? words : "the connection ended");
	broken(w, why, text);
}

static int on_bytes(struct websocket *w, struct lws *wsi, const void *in, size_t len)
{
	if (w->whole) /* cannot be: reading stops while a message is held */
		return -1;
	buf_add(&w->in, in, len);
	if (w->in.failed) {
		broken(w, ERR_TOO_LARGE, "A message is larger than is taken.");
		lws_close_reason(wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, NULL, 0);
		return -1;
	}
	w->whole = lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi);
	if (w->whole)
		lws_rx_flow_control(wsi, 0);
	return 0;
}

static int on_writable(struct websocket *w, struct lws *wsi)
{
	size_t len = w->out.len > LWS_PRE ? w->out.len - LWS_PRE : 0;

	if (w->closing) {
		lws_close_reason(wsi, LWS_CLOSE_STATUS_NORMAL, NULL, 0);
		return -1;
	}
	if (!w->sending)
		return 0;
	if (w->sent) { /* comes only when what was written has left */
		w->sending = false;
		return 0;
	}
	if (lws_write(wsi, (unsigned char *)w->out.ptr + LWS_PRE, len, LWS_WRITE_TEXT) < (int)len) {
		broken(w, ERR_UNAVAILABLE, "The connection broke.");
		return -1;
	}
	w->sent = true;
	lws_callback_on_writable(wsi);
	return 0;
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	struct websocket *w = lws_context_user(lws_get_context(wsi));

	(void)user;
	/* The library calls with reasons by the hundred. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wswitch-enum"
	switch (reason) {
	case LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER:
		return on_headers(w, wsi, in, len);
	case LWS_CALLBACK_CLIENT_CONNECTION_ERROR:
		on_refused(w, wsi, in, len);
		w->wsi = NULL;
		return 0;
	case LWS_CALLBACK_CLIENT_ESTABLISHED:
		w->opened = true;
		if (w->state == CONNECTING)
			w->state = OPEN;
		return 0;
	case LWS_CALLBACK_CLIENT_RECEIVE:
		return on_bytes(w, wsi, in, len);
	case LWS_CALLBACK_CLIENT_WRITEABLE:
		return on_writable(w, wsi);
	case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
		if (w->state == OPEN)
			w->state = CLOSED;
		return 0;
	case LWS_CALLBACK_CLIENT_CLOSED:
		w->wsi = NULL;
		broken(w, ERR_UNAVAILABLE, "The connection broke.");
		return 0;
	case LWS_CALLBACK_WSI_DESTROY:
		if (w->wsi == wsi)
			w->wsi = NULL;
		return 0;
	default:
		return 0;
	}
#pragma GCC diagnostic pop
}

static const struct lws_protocols protocols[] = {
	{.name = "gpupool", .callback = on_event, .rx_buffer_size = 16 << 10},
	{.name = NULL},
};

/* ---- waiting -------------------------------------------------------------- */

static void on_tick(struct lws_sorted_usec_list *tick)
{
	(void)tick; /* that the sleep ended is all */
}

/* Serves the connection once; false when the time is over, or this program ends. */
static bool serve(struct websocket *w, int64_t until)
{
	if (clock_ms() >= until || aborted(w))
		return false;
	lws_sul_schedule(w->context, 0, &w->tick, on_tick, TICK_US);
	return lws_service(w->context, 0) >= 0;
}

/* What a wait has ended with: what happened to the connection, else its time. */
static enum err outcome(struct websocket *w, struct error *e)
{
	if (aborted(w))
		return error_set(e, ERR_UNAVAILABLE, "this program is ending");
	if (w->state == CLOSED)
		return error_set(e, ERR_GONE, "The server has closed the connection.");
	if (w->state == BROKEN)
		return error_set(e, w->why, "%s", w->text);
	return error_set(e, ERR_TIMEOUT, "The server did not answer in time.");
}

/* ---- connecting ----------------------------------------------------------- */

struct address {
	bool tls;
	const char *host, *authority, *path;
	int port;
};

static bool is_plain(const char *s)
{
	for (; *s; s++)
		if (*s <= ' ' || *s > '~')
			return false;
	return true;
}

/* scheme://host[:port][/path]; nothing that would have to be guessed. */
static bool address_read(struct arena *a, const char *url, struct address *ret)
{
	static const struct {
		const char *scheme;
		bool tls;
	} schemes[] = {{"ws://", false}, {"wss://", true}, {"http://", false}, {"https://", true}};
	struct str rest = STR_NULL, authority, port;
	int64_t number = 0;
	size_t host;

	for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
		if (str_starts(str_of(url), schemes[i].scheme)) {
			ret->tls = schemes[i].tls;
			rest = str_of(url + strlen(schemes[i].scheme));
		}
	if (!rest.ptr || !is_plain(rest.ptr))
		return false;
	authority = (struct str){rest.ptr, strcspn(rest.ptr, "/?#")};
	host = authority.len;
	while (host > 0 && authority.ptr[host - 1] >= '0' && authority.ptr[host - 1] <= '9')
		host--;
	port = STR_NULL;
	if (host > 0 && authority.ptr[host - 1] == ':' && authority.ptr[0] != '[') {
		port = (struct str){authority.ptr + host, authority.len - host};
		host--;
	} else {
		host = authority.len;
	}
	if (!host || memchr(authority.ptr, '@', authority.len) || memchr(authority.ptr, ':', host) || authority.ptr[0] == '[' ||
	    strchr(rest.ptr, '#') || (port.len && !str_to_i64(port, 1, 65535, &number)))
		return false;
	ret->port = number ? (int)number : ret->tls ? 443 : 80;
	ret->authority = arena_str(a, authority).ptr;
	ret->host = arena_str(a, (struct str){authority.ptr, host}).ptr;
	ret->path = rest.ptr[authority.len] == '/' ? rest.ptr + authority.len : arena_printf(a, "/%s", rest.ptr + authority.len);
	return ret->authority && ret->host && ret->path;
}

static bool headers_good(const struct http_header *h)
{
	for (; h && h->name; h++)
		if (!h->name[0] || strlen(h->name) > 100 || !is_plain(h->name) || strpbrk(h->name, ":") || strpbrk(h->value, "\r\n"))
			return false;
	return true;
}

static struct lws_context *make_context(struct websocket *w)
{
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.protocols = protocols,
		.user = w,
		.options = (w->tls ? LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT : 0) | LWS_SERVER_OPTION_VALIDATE_UTF8,
		.provided_client_ssl_ctx = w->tls,
		.pt_serv_buf_size = HEADERS_MOST,
		.timeout_secs = CALL_SECONDS,
		.connect_timeout_secs = CALL_SECONDS,
		.http_proxy_address = "", /* or the environment's is used */
		.gid = (gid_t)-1,
		.uid = (uid_t)-1,
		.fd_limit_per_thread = 16,
	};

	return lws_create_context(&info);
}

/* Trusts what this host trusts. */
static SSL_CTX *make_tls(void)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

	if (!tls || !SSL_CTX_set_default_verify_paths(tls) || !SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION))
		error_no_memory();
	SSL_CTX_set_verify(tls, SSL_VERIFY_PEER, NULL);
	return tls;
}

static struct websocket *websocket_new(const struct websocket_want *want, bool tls)
{
	struct websocket *w = calloc(1, sizeof(*w));

	if (!w)
		error_no_memory();
	w->client = want->client;
	w->headers = want->headers;
	w->in = BUF_INIT(want->max_message ? want->max_message : MESSAGE_MOST);
	w->out = BUF_SECRET(SENT_MOST + LWS_PRE);
	pthread_mutex_lock(&shared);
	lws_set_log_level(0, NULL); /* its words are in the callbacks */
	w->tls = tls ? make_tls() : NULL;
	w->context = make_context(w);
	pthread_mutex_unlock(&shared);
	if (!w->context)
		error_no_memory();
	return w;
}

static void begin(struct websocket *w, const struct address *to)
{
	struct lws_client_connect_info info = {
		.context = w->context,
		.address = to->host,
		.port = to->port,
		.path = to->path,
		.host = to->authority,
		.ssl_connection = (to->tls ? LCCSCF_USE_SSL : 0) | LCCSCF_HTTP_NO_FOLLOW_REDIRECT,
		.ietf_version_or_minus_one = -1,
		.local_protocol_name = protocols[0].name,
		.pwsi = &w->wsi,
	};

	if (!lws_client_connect_via_info(&info))
		broken(w, ERR_UNAVAILABLE, "The server cannot be reached.");
}

enum err websocket_connect(const struct websocket_want *want, int64_t within_ms, struct websocket **ret, struct error *e)
{
	int64_t until = clock_ms() + within_ms;
	cleanup_websocket struct websocket *w = NULL;
	cleanup_arena struct arena arena = {0};
	struct address to = {0};

	*ret = NULL;
	arena_init(&arena, 64 << 10);
	if (!address_read(&arena, want->url, &to))
		return error_set(e, ERR_INVALID, "This is not the address of a WebSocket.");
	if (!headers_good(want->headers))
		return error_set(e, ERR_INVALID, "A header cannot be sent.");
	if (want->client && http_client_aborted(want->client))
		return error_set(e, ERR_UNAVAILABLE, "this program is ending");
	w = websocket_new(want, to.tls);
	begin(w, &to);
	while (w->state == CONNECTING && serve(w, until))
		continue;
	w->headers = NULL; /* the caller's */
	if (!w->opened) /* what came behind the opening is for receive() to say */
		return outcome(w, e);
	*ret = steal_ptr(w);
	return OK;
}

/* ---- messages ------------------------------------------------------------- */

enum err websocket_send(struct websocket *w, struct str text, int64_t within_ms, struct error *e)
{
	static const char front[LWS_PRE];
	int64_t until = clock_ms() + within_ms;

	if (w->state != OPEN)
		return outcome(w, e);
	buf_reset(&w->out);
	buf_add(&w->out, front, sizeof(front));
	buf_addstr(&w->out, text);
	if (w->out.failed)
		return error_set(e, ERR_TOO_LARGE, "A message is larger than can be sent.");
	w->sending = true;
	w->sent = false;
	lws_callback_on_writable(w->wsi);
	while (w->sending && w->state == OPEN && serve(w, until))
		continue;
	if (!w->sending)
		return OK;
	/* Half a message may be on its way: nothing can follow it. */
	if (w->state == OPEN && !aborted(w))
		broken(w, ERR_TIMEOUT, "The server did not take a message in time.");
	return outcome(w, e);
}

enum err websocket_receive(struct websocket *w, int64_t within_ms, struct buf *ret, struct error *e)
{
	int64_t until = clock_ms() + within_ms;

	while (!w->whole && w->state == OPEN && serve(w, until))
		continue;
	buf_reset(ret);
	if (!w->whole)
		return outcome(w, e);
	buf_addstr(ret, buf_str(&w->in));
	buf_reset(&w->in);
	w->whole = false;
	if (w->wsi && w->state == OPEN)
		lws_rx_flow_control(w->wsi, 1);
	return ret->failed ? error_set(e, ERR_TOO_LARGE, "A message is larger than is taken.") : OK;
}

void websocket_close(struct websocket *w)
{
	int64_t until = clock_ms() + GOODBYE_MS;

	if (!w)
		return;
	if (w->state == OPEN && w->wsi) {
		w->closing = true;
		lws_callback_on_writable(w->wsi);
		while (w->wsi && w->state == OPEN && serve(w, until))
			continue;
	}
	pthread_mutex_lock(&shared);
	lws_sul_schedule(w->context, 0, &w->tick, on_tick, LWS_SET_TIMER_USEC_CANCEL);
	lws_context_destroy(w->context);
	SSL_CTX_free(w->tls);
	pthread_mutex_unlock(&shared);
	buf_free(&w->in);
	buf_free(&w->out);
	free(w);
}
