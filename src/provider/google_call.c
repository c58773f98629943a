/* google_call - one call to Google, and what its answer means.  See provider/google_call.h. */
#include "provider/google_call.h"

#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"
#include "provider/google_token.h"

enum {
	CALL_MS = 60000,
	ANSWER_MOST = 4 << 20,
	HEADERS_MOST = 8,
	BODY_MOST = 12 << 20,
	RUN_MOST = 64,                 /* a longer word is taken for a secret */
};

int64_t google_left(const struct provider_call *c)
{
	int64_t left = c->deadline_ms - clock_ms();

	return left > 0 ? left : 0;
}

enum err google_fail(struct provider_call *c, enum err err, const char *reason, const char *fmt, ...)
{
	char text[sizeof(c->error->msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	error_set(c->error, err, "%s", text);
	if (c->error)
		c->error->reason = reason;
	return err;
}

enum err google_no_memory(struct provider_call *c)
{
	return google_fail(c, ERR_INTERNAL, NULL, "out of memory");
}

/* ---- words ---------------------------------------------------------------- */

static bool in_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("_-.+=", c));
}

/* Tokens of ours and of Google's, and what is too long to be a word. */
static void blot(char *text, size_t len)
{
	static const char *const prefixes[] = {"ya29.", "gpe_", "gps_", "gpt_", "1//", "GOCSPX-"};

	for (size_t i = 0, end; i < len; i = end + 1) {
		bool secret = false;

		for (end = i; end < len && in_word(text[end]); end++)
			;
		for (size_t p = 0; p < ARRAY_LEN(prefixes); p++)
			secret |= len - i > strlen(prefixes[p]) && !strncmp(text + i, prefixes[p], strlen(prefixes[p]));
		if (secret)
			while (end < len && (in_word(text[end]) || text[end] == '/'))
				end++;
		if (secret || end - i > RUN_MOST)
			memset(text + i, '*', end - i);
	}
}

void google_line(struct str text, char *ret, size_t cap)
{
	cleanup_buf struct buf b = BUF_INIT(8 << 10);
	struct str some = {text.ptr, text.len < 2048 ? text.len : 2048};
	size_t cut;

	buf_add_text(&b, some, true);
	for (size_t i = 0; i < b.len; i++)
		if (b.ptr[i] == '\n' || b.ptr[i] == '\t')
			b.ptr[i] = ' ';
	blot(b.ptr, b.len);
	cut = b.len < cap - 1 ? b.len : cap - 1;
	while (cut < b.len && cut && ((unsigned char)b.ptr[cut] & 0xc0) == 0x80)
		cut--;
	if (cut)
		memcpy(ret, b.ptr, cut);
	ret[cut] = '\0';
}

/* A name that may stand in a sentence or an address; else "". */
static void take_name(struct str s, char *ret, size_t cap)
{
	bool good = s.len && s.len < cap;

	for (size_t i = 0; good && i < s.len; i++)
		good = in_word(s.ptr[i]) && s.ptr[i] != '=' && s.ptr[i] != '+';
	if (good)
		snprintf(ret, cap, "%.*s", STR_ARG(s));
}

/* ---- faults --------------------------------------------------------------- */

/* "Permission 'x.y.z' denied on …" */
static void permission_in_words(struct str words, char *ret, size_t cap)
{
	static const char before[] = "ermission '";
	const char *at = words.len ? memmem(words.ptr, words.len, before, sizeof(before) - 1) : NULL;
	struct str rest, name;

	if (!at)
		return;
	rest = (struct str){at + sizeof(before) - 1, (size_t)(words.ptr + words.len - at) - (sizeof(before) - 1)};
	if (str_cut(&rest, '\'', &name))
		take_name(name, ret, cap);
}

/* By the numbers of google.rpc.Code, in which operations and jobs speak. */
static void code_of_number(int64_t n, char *ret, size_t cap)
{
	static const char *const names[] = {
		[1] = "CANCELLED", [3] = "INVALID_ARGUMENT", [4] = "DEADLINE_EXCEEDED", [5] = "NOT_FOUND", [6] = "ALREADY_EXISTS",
		[7] = "PERMISSION_DENIED", [8] = "RESOURCE_EXHAUSTED", [9] = "FAILED_PRECONDITION", [10] = "ABORTED", [13] = "INTERNAL",
		[14] = "UNAVAILABLE", [16] = "UNAUTHENTICATED",
	};

	if (n > 0 && n < (int64_t)ARRAY_LEN(names) && names[n])
		snprintf(ret, cap, "%s", names[n]);
}

void google_fault_read(const struct json *doc, struct google_fault *ret)
{
	const struct json *error = json_type_of(json_get(doc, "error")) == JSON_OBJECT ? json_get(doc, "error") : doc;
	const struct json *details = json_get(error, "details");
	struct str words = json_str(error, "message");

	take_name(json_str(error, "status"), ret->code, sizeof(ret->code));
	if (!ret->code[0])
		code_of_number(json_i64(error, "code", 0), ret->code, sizeof(ret->code));
	for (size_t i = 0; i < json_len(details) && i < 32; i++) {
		const struct json *d = json_at(details, i), *more = json_get(d, "metadata");

		if (!str_ends(json_str(d, "@type"), "google.rpc.ErrorInfo"))
			continue;
		take_name(json_str(d, "reason"), ret->reason, sizeof(ret->reason));
		take_name(json_str(more, "permission"), ret->permission, sizeof(ret->permission));
		take_name(json_str(more, "service"), ret->api, sizeof(ret->api));
		take_name(json_str(more, "quota_limit_value"), ret->limit, sizeof(ret->limit));
	}
	if (!ret->reason[0])
		take_name(json_str(json_at(json_get(error, "errors"), 0), "reason"), ret->reason, sizeof(ret->reason));
	if (!ret->permission[0])
		permission_in_words(words, ret->permission, sizeof(ret->permission));
	google_line(words, ret->words, sizeof(ret->words));
}

bool google_fault_is_rate(const struct google_fault *f)
{
	return strstr(f->reason, "ateLimitExceeded") || !strcmp(f->reason, "RATE_LIMIT_EXCEEDED") || strcasestr(f->words, "per minute") ||
	       strcasestr(f->words, "rate limit");
}

static enum err forbidden(struct provider_call *c, const char *service, const struct google_fault *f)
{
	if (google_fault_is_rate(f))
		return google_fail(c, ERR_RATE, "rate", "%s wants fewer calls.", service);
	if (!strcmp(f->reason, "SERVICE_DISABLED") || !strcmp(f->reason, "accessNotConfigured"))
		return google_fail(c, ERR_FORBIDDEN, "account",
				   "%s is not enabled in the project: enable it at https://console.cloud.google.com/apis/library/%s and try again in some minutes.",
				   service, f->api[0] ? f->api : "");
	if (!strcmp(f->reason, "BILLING_DISABLED"))
		return google_fail(c, ERR_FORBIDDEN, "account", "The project has no billing: link a billing account to it in Google Cloud.");
	if (f->permission[0])
		return google_fail(c, ERR_FORBIDDEN, "account", "%s: the account lacks the permission %s; give it a role that has it, in Google Cloud at IAM.",
				   service, f->permission);
	return google_fail(c, ERR_FORBIDDEN, "account", "%s does not allow it: %.150s", service, f->words[0] ? f->words : "it does not say why.");
}

enum err google_fault_judge(struct provider_call *c, const char *service, const struct google_fault *f)
{
	const char *words = f->words[0] ? f->words : "it does not say why.";

	switch (f->status) {
	case 400: case 413: case 422:
		return google_fail(c, ERR_INVALID, NULL, "%s refuses it: %.180s", service, words);
	case 401:
		return google_fail(c, ERR_UNAUTHORIZED, "credentials", "%s does not take the account's credentials: replace them.", service);
	case 403:
		return forbidden(c, service, f);
	case 404: case 410:
		return google_fail(c, ERR_NOT_FOUND, NULL, "%s does not know it: %.180s", service, words);
	case 409: case 412:
		return google_fail(c, ERR_CONFLICT, NULL, "%s: %.200s", service, words);
	case 429:
		return google_fail(c, ERR_RATE, "rate", "%s wants fewer calls.", service);
	default:
		if (f->status >= 500)
			return google_fail(c, ERR_UNAVAILABLE, NULL, "%s has a failure (status %d).", service, f->status);
		return google_fail(c, ERR_UPSTREAM, NULL, "%s answered with status %d.", service, f->status);
	}
}

/* ---- the call ------------------------------------------------------------- */

void google_answer_free(struct google_answer *a)
{
	json_free(a->doc);
	*a = (struct google_answer){0};
}

static enum err no_answer(struct provider_call *c, const char *service, enum err err, const struct error *why)
{
	switch (err) {
	case ERR_TIMEOUT:
		return google_fail(c, ERR_TIMEOUT, NULL, "%s did not answer in time.", service);
	case ERR_UPSTREAM:
	case ERR_TOO_LARGE:
		return google_fail(c, ERR_UPSTREAM, err == ERR_TOO_LARGE ? "too_large" : NULL, "%s's answer makes no sense: %.150s.", service, why->msg);
	case ERR_INTERNAL:
	case ERR_INVALID:
		return google_fail(c, err, NULL, "%s", why->msg);
	default:
		return google_fail(c, ERR_UNAVAILABLE, NULL, "%s cannot be reached: %.150s.", service, why->msg);
	}
}

static void tell(const struct google_request *r, const struct http_reply *reply, int64_t ms, enum err err)
{
	bool good = !err && reply->status >= 200 && reply->status <= 299;

	log_line(good ? LOG_DEBUG : LOG_INFO, "google.call", "service=\"%s\" method=%s status=%d ms=%lld http=%s", r->service, r->method ? r->method : "GET",
		 reply->status, (long long)ms, err_name(err));
}

static size_t fill_headers(const struct google_request *r, const char *authorization, struct http_header *ret)
{
	size_t n = 0;

	if (authorization)
		ret[n++] = (struct http_header){"Authorization", authorization};
	if (r->body || r->raw.ptr)
		ret[n++] = (struct http_header){"Content-Type", r->body ? "application/json; charset=utf-8" : r->content_type};
	ret[n++] = (struct http_header){"Accept", r->bytes ? "*/*" : "application/json"};
	for (const struct http_header *h = r->headers; h && h->name && n < HEADERS_MOST; h++)
		ret[n++] = *h;
	ret[n] = (struct http_header){NULL, NULL};
	return n;
}

/* One exchange; *scratch holds the reply. */
static enum err send(struct provider_call *c, const struct google_request *r, struct str body, const char *token, struct arena *scratch,
		     struct http_reply *reply)
{
	cleanup_buf struct buf authorization = BUF_SECRET(16 << 10);
	struct http_header headers[HEADERS_MOST + 1];
	int64_t begin = clock_ms(), left = google_left(c), most = r->ms ? r->ms : CALL_MS;
	struct error why = {0};
	enum err err;

	if (!left)
		return google_fail(c, ERR_TIMEOUT, "unasked", "There was no time left to ask %s.", r->service);
	if (token)
		buf_addf(&authorization, "Bearer %s", token);
	fill_headers(r, token ? authorization.ptr : NULL, headers);
	err = http_send(c->http, scratch, &(struct http_call){
		.method = r->method, .url = r->url, .headers = headers, .body = body, .deadline_ms = left < most ? left : most,
		.max_reply = r->most ? r->most : ANSWER_MOST, .repeatable = !r->effect}, reply, &why);
	tell(r, reply, clock_ms() - begin, err);
	return err ? no_answer(c, r->service, err, &why) : OK;
}

/* Where an answer echoes the token its words are not for showing. */
static void hide_echo(const char *token, struct google_fault *f)
{
	if (token && strstr(f->words, token))
		f->words[0] = '\0';
}

static enum err read_answer(struct provider_call *c, const struct google_request *r, const char *token, const struct http_reply *reply,
			    struct google_answer *ret)
{
	bool good = reply->status >= 200 && reply->status <= 299;

	ret->status = reply->status;
	if (good && r->bytes) {
		ret->bytes = arena_str(c->arena, reply->body);
		return ret->bytes.ptr ? OK : google_no_memory(c);
	}
	if (reply->body.len && json_parse(reply->body, SIZE_MAX, &ret->doc, NULL) != OK)
		ret->doc = NULL;
	if (good && (!reply->body.len || json_type_of(ret->doc) == JSON_OBJECT))
		return OK;
	if (good)
		return google_fail(c, ERR_UPSTREAM, NULL, "%s answered with something that is no JSON object.", r->service);
	ret->fault.status = reply->status;
	google_fault_read(ret->doc, &ret->fault);
	hide_echo(token, &ret->fault);
	if (reply->status == 429 || reply->status >= 500)
		c->retry_after_s = reply->retry_after_s;
	return google_fault_judge(c, r->service, &ret->fault);
}

enum err google_call(struct provider_call *c, const struct google_request *r, struct google_answer *ret)
{
	cleanup_buf struct buf body = BUF_SECRET(BODY_MOST);
	const char *token = NULL;
	enum err err = OK;

	*ret = (struct google_answer){0};
	if (r->body) {
		json_write_wiped(r->body, &body); /* it may hold the agent's token */
		json_free(r->body);
	}
	if (body.failed)
		return google_fail(c, ERR_TOO_LARGE, NULL, "What would be sent to %s is too large.", r->service);
	for (int i = 0; i < 2; i++) {
		cleanup_arena struct arena scratch = {.limit = (r->most ? r->most : ANSWER_MOST) + (64 << 10)};
		struct http_reply reply = {0};

		err = r->scope ? google_token(c, r->scope, &token) : OK;
		if (!err) {
			err = send(c, r, r->body ? buf_str(&body) : r->raw, token, &scratch, &reply);
			ret->maybe_sent = err && reply.maybe_sent;
		}
		if (err)
			return err;
		google_answer_free(ret);
		err = read_answer(c, r, token, &reply, ret);
		/* It may have been withdrawn before its time: a new one tells. */
		if (err != ERR_UNAUTHORIZED || !r->scope)
			return err;
		google_token_drop(c, r->scope);
	}
	return err;
}
