/* colab_jupyter - a runtime's Jupyter server.  See provider/colab_jupyter.h. */
#include "provider/colab_jupyter.h"

#include <string.h>

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"
#include "base/outgoing.h"
#include "base/websocket.h"
#include "provider/colab_api.h"

enum {
	CALL_MS = 20000,
	ANSWER_MOST = 256 << 10,
	MESSAGE_MOST = 4 << 20,
	MESSAGES_MOST = 20000,
	SPARE_SECONDS = 300,
	SCRATCH = 64 << 10,
};

static enum err fail(struct provider_call *c, enum err err, const char *sentence, const char *more)
{
	char words[120] = "";

	google_line(str_of(more ? more : ""), words, sizeof(words));
	return colab_api_fail(c, err, "runtime", words[0] ? "%s: %s" : "%s%s", sentence, words);
}

/* ---- the token ------------------------------------------------------------ */

static enum err fresh(struct provider_call *c, struct colab_runtime *r)
{
	struct colab_runtime now;
	enum err err = colab_api_get(c, r->id, &now);

	if (!err)
		*r = now;
	return err;
}

static enum err in_time(struct provider_call *c, struct colab_runtime *r)
{
	if (!r->url[0] || (r->expires && clock_wall_ms() / 1000 > r->expires - SPARE_SECONDS))
		return fresh(c, r);
	return OK;
}

static int64_t limit_of(const struct provider_call *c, int64_t most)
{
	int64_t left = google_left(c);

	return left < most ? left : most;
}

/* ---- over HTTP ------------------------------------------------------------ */

static enum err exchange(struct provider_call *c, const struct colab_runtime *r, const char *method, const char *path, struct str body, size_t most,
		     struct arena *scratch, struct http_reply *reply)
{
	/* Colab gave the address: it leads nowhere into our own network. */
	struct outgoing outgoing = {
		.allow = c->config->outgoing_allow, .loopback = outgoing_url_loopback(str_of(c->config->colab_api_url))};
	struct http_header headers[] = {
		{"X-Colab-Runtime-Proxy-Token", r->token}, {"X-Colab-Client-Agent", "gpupool"}, {"Accept", "application/json"},
		{body.ptr ? "Content-Type" : NULL, "application/json"}, {NULL, NULL}};
	int64_t left = limit_of(c, CALL_MS), begun = clock_ms();
	struct error why = {0};
	enum err err;

	if (!left)
		return colab_api_fail(c, ERR_TIMEOUT, "unasked", "There was no time left to ask the runtime.");
	err = http_send(c->http, scratch, &(struct http_call){
		.method = method, .url = arena_printf(scratch, "%s%s", r->url, path), .headers = headers, .body = body, .deadline_ms = left,
		.max_reply = most, .outgoing = &outgoing}, reply, &why);
	log_line(err || reply->status >= 400 ? LOG_INFO : LOG_DEBUG, "colab.jupyter", "method=%s status=%d ms=%lld http=%s", method, reply->status,
		 (long long)(clock_ms() - begun), err_name(err));
	if (err == ERR_TOO_LARGE)
		return fail(c, ERR_TOO_LARGE, "The runtime's answer is too large", NULL);
	return err ? fail(c, ERR_UNAVAILABLE, "The runtime does not answer", why.msg) : OK;
}

/* One call with a good token.  OK with the answer's JSON (may be NULL); ERR_NOT_FOUND for a 404. */
static enum err call(struct provider_call *c, struct colab_runtime *r, const char *method, const char *path, struct str body, size_t most,
		     struct json **ret)
{
	enum err err = in_time(c, r);

	*ret = NULL;
	for (int i = 0; !err && i < 2; i++) {
		cleanup_arena struct arena scratch = {.limit = most + SCRATCH};
		struct http_reply reply = {0};

		err = exchange(c, r, method, path, body, most, &scratch, &reply);
		if (err)
			return err;
		if (reply.status == 404)
			return fail(c, ERR_NOT_FOUND, "The runtime does not have it", NULL);
		if (reply.status >= 200 && reply.status <= 299)
			return json_parse(reply.body, most, ret, NULL) == OK ? OK : fail(c, ERR_UNAVAILABLE, "The runtime's answer is no JSON", NULL);
		if ((reply.status != 401 && reply.status != 403) || i)
			return colab_api_fail(c, ERR_UNAVAILABLE, "runtime", "The runtime answered with status %d.", reply.status);
		err = fresh(c, r);
	}
	return err;
}

static bool is_name(const char *s)
{
	for (const char *p = s; p && *p; p++)
		if (!(*p >= 'a' && *p <= 'z') && !(*p >= 'A' && *p <= 'Z') && !(*p >= '0' && *p <= '9') && *p != '-' && *p != '_')
			return false;
	return s && *s && strlen(s) <= 100;
}

enum err colab_jupyter_kernel(struct provider_call *c, struct colab_runtime *r, const char *name, const char **kernel)
{
	cleanup_json struct json *ask = json_object(), *answer = NULL;
	cleanup_buf struct buf body = BUF_INIT(4096);
	struct json *which = json_object();
	const char *id;
	enum err err;

	json_put_cstr(ask, "name", name);
	json_put_cstr(ask, "path", name);
	json_put_cstr(ask, "type", "notebook");
	json_put_cstr(which, "name", "python3");
	json_put(ask, "kernel", which);
	json_write(ask, &body);
	err = call(c, r, "POST", "/api/sessions", buf_str(&body), ANSWER_MOST, &answer);
	if (err)
		return err == ERR_NOT_FOUND ? ERR_UNAVAILABLE : err;
	id = json_cstr(json_get(answer, "kernel"), "id");
	if (!is_name(id))
		return fail(c, ERR_UNAVAILABLE, "The runtime gave no kernel", NULL);
	*kernel = arena_strdup(c->arena, id);
	return *kernel ? OK : google_no_memory(c);
}

enum err colab_jupyter_file(struct provider_call *c, struct colab_runtime *r, const char *path, size_t most, struct str *ret)
{
	const char *url = arena_printf(c->arena, "/api/contents/%s?%s", path, ret ? "content=1&type=file&format=base64" : "content=0");
	cleanup_buf struct buf bytes = BUF_INIT(most);
	cleanup_json struct json *answer = NULL;
	struct str content;
	enum err err = url ? call(c, r, "GET", url, STR_NULL, ret ? most / 2 * 3 + ANSWER_MOST : ANSWER_MOST, &answer) : google_no_memory(c);

	if (err || !ret)
		return err;
	content = json_str(answer, "content");
	if (!str_eqz(json_str(answer, "format"), "base64")) {
		buf_addstr(&bytes, content);
	} else {
		/* Python's encoder breaks lines, and Jupyter's does so in some versions. */
		cleanup_buf struct buf joined = BUF_INIT(most / 2 * 3 + ANSWER_MOST);

		for (size_t i = 0; i < content.len; i++)
			if (content.ptr[i] != '\n')
				buf_addc(&joined, content.ptr[i]);
		if (joined.len && !crypto_unbase64(buf_str(&joined), &bytes))
			return fail(c, ERR_UNAVAILABLE, "The runtime's file makes no sense", NULL);
	}
	if (bytes.failed)
		return fail(c, ERR_TOO_LARGE, "The runtime's file is too large", NULL);
	*ret = bytes.len ? arena_str(c->arena, buf_str(&bytes)) : STR("");
	return ret->ptr ? OK : google_no_memory(c);
}

enum err colab_jupyter_gpus(struct provider_call *c, struct colab_runtime *r, const char **ret)
{
	cleanup_buf struct buf names = BUF_INIT(1024);
	cleanup_json struct json *answer = NULL;
	enum err err = call(c, r, "GET", "/api/colab/resources", STR_NULL, ANSWER_MOST, &answer);
	const struct json *gpus = json_get(answer, "gpus");

	if (err)
		return err == ERR_NOT_FOUND ? ERR_UNAVAILABLE : err;
	for (size_t i = 0; i < json_len(gpus) && i < 16; i++) {
		char name[64];

		google_line(json_str(json_at(gpus, i), "name"), name, sizeof(name));
		buf_addf(&names, "%s%s", i ? ", " : "", name);
	}
	*ret = arena_strdup(c->arena, names.len ? names.ptr : "");
	return *ret ? OK : google_no_memory(c);
}

/* ---- messages ------------------------------------------------------------- */

static struct json *message(const char *msg_id, const char *session, const char *type, const char *channel)
{
	struct json *m = json_object(), *header = json_object();
	char date[32];

	clock_rfc3339_ms(clock_wall_ms(), date, sizeof(date));
	json_put_cstr(header, "msg_id", msg_id);
	json_put_cstr(header, "msg_type", type);
	json_put_cstr(header, "session", session);
	json_put_cstr(header, "username", "gpupool");
	json_put_cstr(header, "date", date);
	json_put_cstr(header, "version", "5.3");
	json_put(m, "header", header);
	json_put(m, "parent_header", json_object());
	json_put(m, "metadata", json_object());
	json_put_cstr(m, "channel", channel);
	json_put(m, "buffers", json_array());
	return m;
}

void colab_message_execute(struct buf *ret, const char *msg_id, const char *session, struct str code)
{
	struct json *m = message(msg_id, session, "execute_request", "shell"), *content = json_object();

	json_put_str(content, "code", code);
	json_put_bool(content, "silent", false);
	json_put_bool(content, "store_history", false);
	json_put(content, "user_expressions", json_object());
	json_put_bool(content, "allow_stdin", false);
	json_put_bool(content, "stop_on_error", true);
	json_put(m, "content", content);
	json_write_wiped(m, ret);
	json_free(m);
}

void colab_message_decline(struct buf *ret, const char *msg_id, const char *session, const struct json *request)
{
	struct json *m = message(msg_id, session, "input_reply", "stdin"), *content = json_object(), *value = json_object();
	struct json *asked = json_get(json_get(request, "metadata"), "colab_msg_id");

	json_put_cstr(value, "type", "colab_reply");
	json_put(value, "colab_msg_id", asked ? json_ref(asked) : json_null());
	json_put_cstr(value, "error", "gpupool gives no access to the account's Drive or credentials.");
	json_put(content, "value", value);
	json_put(m, "content", content);
	json_write(m, ret);
	json_free(m);
}

/* The end of what is said is kept. */
static void say(struct colab_result *r, struct str text)
{
	size_t len = strlen(r->said), most = sizeof(r->said) - 1;
	struct str tail = text;

	for (size_t i = 0; i < text.len; i++)
		if (!text.ptr[i])
			return;
	if (!text.len)
		return; /* perhaps no text at all */
	if (tail.len > most)
		tail = (struct str){text.ptr + text.len - most, most};
	if (len + tail.len > most) {
		size_t cut = len + tail.len - most;

		memmove(r->said, r->said + cut, len - cut + 1);
		len -= cut;
	}
	memcpy(r->said + len, tail.ptr, tail.len);
	r->said[len + tail.len] = '\0';
}

static void take_error(struct colab_execution *x, const struct json *content)
{
	if (x->result.failed)
		return; /* it is told on two channels */
	x->result.failed = true;
	say(&x->result, str_of(x->result.said[0] ? "\n" : ""));
	say(&x->result, json_str(content, "ename"));
	say(&x->result, STR(": "));
	say(&x->result, json_str(content, "evalue"));
}

bool colab_message_take(struct colab_execution *x, const struct json *m)
{
	const struct json *header = json_get(m, "header"), *content = json_get(m, "content");
	struct str type = json_str(header, "msg_type"), channel = json_str(m, "channel");
	bool ours = str_eqz(json_str(json_get(m, "parent_header"), "msg_id"), x->msg_id);

	x->asked = false;
	if (json_type_of(header) != JSON_OBJECT || !type.len)
		return false;
	if (str_eqz(type, "colab_request")) {
		x->asked = true;
	} else if (!ours) {
		return true; /* of another, such as the kernel's own start */
	} else if (str_eqz(type, "status") && str_eqz(channel, "iopub")) {
		x->idle |= str_eqz(json_str(content, "execution_state"), "idle");
	} else if (str_eqz(type, "stream")) {
		say(&x->result, json_str(content, "text"));
	} else if (str_eqz(type, "error")) {
		take_error(x, content);
	} else if (str_eqz(type, "execute_reply") && str_eqz(channel, "shell")) {
		x->replied = true;
		if (!str_eqz(json_str(content, "status"), "ok"))
			take_error(x, content);
	}
	return true;
}

/* ---- execution ------------------------------------------------------------ */

static enum err trouble(struct provider_call *c, enum err err, const struct error *why)
{
	if (err == ERR_TIMEOUT)
		return fail(c, ERR_TIMEOUT, "The runtime's kernel did not answer in time", NULL);
	return fail(c, ERR_UNAVAILABLE, "The connection to the runtime's kernel broke", why->msg);
}

static enum err open_channels(struct provider_call *c, struct colab_runtime *r, const char *kernel, const char *session, int64_t within_ms,
			      struct websocket **ret)
{
	enum err err = in_time(c, r);

	for (int i = 0; !err && i < 2; i++) {
		const struct http_header headers[] = {
			{"X-Colab-Runtime-Proxy-Token", r->token}, {"X-Colab-Client-Agent", "gpupool"}, {NULL, NULL}};
		struct error why = {0};

		err = websocket_connect(&(struct websocket_want){
			.url = arena_printf(c->arena, "%s/api/kernels/%s/channels?session_id=%s", r->url, kernel, session),
			.headers = headers, .max_message = MESSAGE_MOST, .client = c->http}, limit_of(c, within_ms), ret, &why);
		if ((err != ERR_UNAUTHORIZED && err != ERR_FORBIDDEN) || i)
			return err ? trouble(c, err, &why) : OK;
		err = fresh(c, r);
	}
	return err;
}

static enum err next_message(struct provider_call *c, struct websocket *w, int64_t until, struct buf *text, struct json **ret)
{
	struct error why = {0};
	int64_t left = until - clock_ms();
	enum err err = left > 0 ? websocket_receive(w, left, text, &why) : ERR_TIMEOUT;

	if (err)
		return trouble(c, err, &why);
	if (json_parse(buf_str(text), MESSAGE_MOST, ret, NULL))
		return fail(c, ERR_UNAVAILABLE, "The runtime's kernel sent something that is no JSON", NULL);
	return OK;
}

static enum err follow(struct provider_call *c, struct websocket *w, const char *session, int64_t until, struct colab_execution *x)
{
	cleanup_buf struct buf text = BUF_INIT(MESSAGE_MOST);

	for (int n = 0; !(x->replied && x->idle); n++) {
		cleanup_json struct json *m = NULL;
		struct error why = {0};
		char id[37];
		enum err err = next_message(c, w, until, &text, &m);

		if (err)
			return err;
		if (!colab_message_take(x, m) || n > MESSAGES_MOST)
			return fail(c, ERR_UNAVAILABLE, "The runtime's kernel sends what makes no sense", NULL);
		if (!x->asked)
			continue;
		crypto_uuid(id);
		buf_reset(&text);
		colab_message_decline(&text, id, session, m);
		err = websocket_send(w, buf_str(&text), CALL_MS, &why);
		if (err)
			return trouble(c, err, &why);
	}
	return OK;
}

enum err colab_jupyter_execute(struct provider_call *c, struct colab_runtime *r, const char *kernel, struct str code, int64_t within_ms,
			       struct colab_result *ret)
{
	cleanup_buf struct buf text = BUF_SECRET(MESSAGE_MOST);
	cleanup_websocket struct websocket *w = NULL;
	char session[37], id[37];
	struct colab_execution x = {.msg_id = id};
	int64_t until = clock_ms() + limit_of(c, within_ms);
	struct error why = {0};
	enum err err;

	*ret = (struct colab_result){0};
	crypto_uuid(session);
	crypto_uuid(id);
	err = open_channels(c, r, kernel, session, within_ms, &w);
	if (err)
		return err;
	colab_message_execute(&text, id, session, code);
	if (text.failed)
		return fail(c, ERR_TOO_LARGE, "The code is too large", NULL);
	err = websocket_send(w, buf_str(&text), limit_of(c, within_ms), &why);
	err = err ? trouble(c, err, &why) : follow(c, w, session, until, &x);
	*ret = x.result;
	return err;
}
