/* kaggle_call - one call to Kaggle: who asks, how long, and what the answer means. */
#include "provider/kaggle.h"

#include <string.h>

#include "base/clock.h"
#include "base/http.h"
#include "base/log.h"
#include "base/outgoing.h"

enum {
	CALL_MS = 60000,
	PUSH_MS = 120000,
	ANSWER_MOST = 4 << 20,
	OUTPUT_MOST = 16 << 20,        /* holds the log */
	QUOTE_MOST = 150,              /* bytes of Kaggle's own words in a sentence */
	WORDS_MOST = 512,              /* bytes of them that are judged */
};

int64_t kaggle_left(const struct provider_call *c)
{
	int64_t left = c->deadline_ms - clock_ms();

	return left > 0 ? left : 0;
}

enum err kaggle_no_memory(struct provider_call *c)
{
	return error_set(c->error, ERR_INTERNAL, "out of memory");
}

static enum err with_reason(struct provider_call *c, enum err err, const char *reason)
{
	if (c->error)
		c->error->reason = reason;
	return err;
}

/* ---- who asks ------------------------------------------------------------- */

/* The account's credentials, as the API took them; wiped when the call is over. */
struct credentials {
	struct json *doc;
	struct str username, key, token; /* slices of doc */
};

static void wipe(struct str s)
{
	if (s.len)
		crypto_wipe((char *)s.ptr, s.len);
}

static void credentials_free(struct credentials *k)
{
	wipe(k->key);
	wipe(k->token);
	json_free(k->doc);
}
#define cleanup_credentials __attribute__((cleanup(credentials_free)))

/* Visible ASCII: nothing else is in a key, and a line break would write headers. */
static bool is_plain(struct str s)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] <= ' ' || s.ptr[i] > '~')
			return false;
	return s.len > 0 && s.len <= 4096;
}

static enum err bad_credentials(struct provider_call *c, const char *sentence)
{
	return with_reason(c, error_set(c->error, ERR_UNAUTHORIZED, "%s", sentence), "credentials");
}

static enum err credentials_read(struct provider_call *c, struct credentials *ret)
{
	struct str text = c->secret ? (struct str){c->secret->ptr, c->secret->len} : STR_NULL;

	if (json_parse(text, 64 << 10, &ret->doc, NULL) != OK)
		return bad_credentials(c, "The account has no credentials for Kaggle.");
	ret->username = json_str(ret->doc, "username");
	ret->key = json_str(ret->doc, "key");
	ret->token = json_str(ret->doc, "token");
	/* A token is a token wherever it was put. */
	if (!ret->token.len && str_starts(ret->key, "KGAT_"))
		ret->token = ret->key;
	if (ret->token.len ? !is_plain(ret->token) : !is_plain(ret->key) || !kaggle_owner_valid(ret->username))
		return bad_credentials(c, "The account's credentials are neither a token nor a user name and a key.");
	return OK;
}

/* The value of the Authorization header, in ret. */
static void authorization(const struct credentials *k, struct buf *ret)
{
	cleanup_buf struct buf pair = BUF_INIT(8192);

	if (k->token.len) {
		buf_adds(ret, "Bearer ");
		buf_addstr(ret, k->token);
		return;
	}
	buf_addstr(&pair, k->username);
	buf_addc(&pair, ':');
	buf_addstr(&pair, k->key);
	buf_adds(ret, "Basic ");
	crypto_base64(pair.ptr, pair.len, ret);
	crypto_wipe(pair.ptr, pair.len);
}

/* ---- what words mean ------------------------------------------------------ */

static const struct refusal {
	const char *words, *more;      /* both must occur */
	enum err err;
	const char *reason;            /* of the error */
	const char *sentence;
} refusals[] = {
	{"session count", "", ERR_QUOTA, "capacity", "Kaggle runs as many notebooks of this account at once as it allows."},
	{"weekly", "quota", ERR_QUOTA, "quota", "This week's hours of the account are used up."},
	{"quota of", "reached", ERR_QUOTA, "quota", "The account's hours are used up."},
	{"phone", "", ERR_FORBIDDEN, "account", "Kaggle wants the account's phone number to be verified: see its settings there."},
	{"verif", "", ERR_FORBIDDEN, "account", "Kaggle wants the account to be verified: see its settings there."},
	{"suspended", "", ERR_FORBIDDEN, "account", "Kaggle has closed the account."},
	{"banned", "", ERR_FORBIDDEN, "account", "Kaggle has closed the account."},
	{"try again", "", ERR_UNAVAILABLE, NULL, "Kaggle could not do it now."},
	{"conflict", "", ERR_UNAVAILABLE, NULL, "Kaggle could not do it now."},
	{"temporar", "", ERR_UNAVAILABLE, NULL, "Kaggle could not do it now."},
	{"internal error", "", ERR_UNAVAILABLE, NULL, "Kaggle could not do it now."},
	{"rate limit", "", ERR_RATE, "rate", "Kaggle wants fewer calls."},
	{"too many requests", "", ERR_RATE, "rate", "Kaggle wants fewer calls."},
};

static const char *const sentences[ERR_COUNT] = {
	[ERR_INVALID] = "Kaggle refused it.",
	[ERR_FORBIDDEN] = "Kaggle does not allow it.",
	[ERR_NOT_FOUND] = "Kaggle does not know it.",
	[ERR_RATE] = "Kaggle wants fewer calls.",
	[ERR_UNAVAILABLE] = "Kaggle has a failure.",
	[ERR_UPSTREAM] = "Kaggle's answer makes no sense.",
};

/* Kaggle's words, fit to be shown: one line, bounded, without a token. */
static void quote(struct str text, char ret[QUOTE_MOST + 8])
{
	cleanup_buf struct buf b = BUF_INIT(4 * QUOTE_MOST + 64);
	size_t cut;

	buf_add_text(&b, (struct str){text.ptr, text.len < QUOTE_MOST ? text.len : QUOTE_MOST}, true);
	for (size_t i = 0; i < b.len; i++)
		if (b.ptr[i] == '\n' || b.ptr[i] == '\t')
			b.ptr[i] = ' ';
	kaggle_hide_tokens(b.ptr, b.len);
	cut = b.len < QUOTE_MOST ? b.len : QUOTE_MOST;
	while (cut < b.len && cut && ((unsigned char)b.ptr[cut] & 0xc0) == 0x80)
		cut--;
	snprintf(ret, QUOTE_MOST + 8, "%.*s%s", (int)cut, b.len ? b.ptr : "", cut < b.len || text.len > QUOTE_MOST ? " …" : "");
}

/* The words to be judged: without the notebook's name and the title made of
 * it, which are a person's words and may be any: "phone-reviews". */
static void own_words(struct str text, struct str name, char ret[WORDS_MOST])
{
	char own[64];
	size_t len = name.len < sizeof(own) ? name.len : 0;

	snprintf(ret, WORDS_MOST, "%.*s", STR_ARG(text));
	snprintf(own, sizeof(own), "%.*s", (int)len, len ? name.ptr : "");
	for (int form = 0; len && form < 2; form++) {
		for (char *at = ret; (at = strcasestr(at, own)); at += len)
			memset(at, '*', len);
		for (size_t i = 0; i < len; i++)
			own[i] = own[i] == '-' ? ' ' : own[i];
	}
}

static enum err say(struct provider_call *c, enum err err, const char *reason, const char *sentence, struct str text)
{
	char words[QUOTE_MOST + 8];

	quote(text, words);
	if (words[0])
		error_set(c->error, err, "%s It says: %s", sentence, words);
	else
		error_set(c->error, err, "%s", sentence);
	return with_reason(c, err, reason);
}

enum err kaggle_refusal(struct provider_call *c, struct str text, struct str name, enum err otherwise)
{
	char words[WORDS_MOST];

	own_words(text, name, words);
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		const struct refusal *r = &refusals[i];

		if (strcasestr(words, r->words) && strcasestr(words, r->more))
			return say(c, r->err, r->reason, r->sentence, text);
	}
	return say(c, otherwise, otherwise == ERR_RATE ? "rate" : NULL, sentences[otherwise] ? sentences[otherwise] : "Kaggle refused it.",
		   text);
}

/* Where the answer echoes the key itself, or what was sent of it, its words are not for showing. */
static struct str without_key(const struct credentials *k, struct str text)
{
	cleanup_buf struct buf auth = BUF_INIT(16 << 10);
	struct str secrets[] = {k->key, k->token, STR_NULL}, sent;
	bool holds = false;

	authorization(k, &auth);
	sent = buf_str(&auth);
	str_cut(&sent, ' ', &secrets[2]); /* the scheme */
	secrets[2] = sent;
	/* An echo may leave out what pads it. */
	while (secrets[2].len && secrets[2].ptr[secrets[2].len - 1] == '=')
		secrets[2].len--;
	for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
		holds |= secrets[i].len && text.len && memmem(text.ptr, text.len, secrets[i].ptr, secrets[i].len);
	crypto_wipe(auth.ptr, auth.len);
	return holds ? STR_NULL : text;
}

/* What a status means: only the words may make it mean more. */
static enum err by_status(struct provider_call *c, int status, struct str words, struct str name, bool push, int64_t retry_after_s)
{
	static const struct {
		int status;
		enum err err;
	} table[] = {
		{400, ERR_INVALID}, {413, ERR_INVALID},	    {422, ERR_INVALID},	    {403, ERR_FORBIDDEN}, {404, ERR_NOT_FOUND},
		{409, ERR_UNAVAILABLE}, {408, ERR_UNAVAILABLE}, {425, ERR_UNAVAILABLE},
	};
	enum err err = status >= 500 ? ERR_UNAVAILABLE : ERR_UPSTREAM;

	for (size_t i = 0; i < ARRAY_LEN(table); i++)
		if (table[i].status == status)
			err = table[i].err;
	if (status == 401)
		return bad_credentials(c, "Kaggle refuses the account's credentials: they were revoked, have expired, or never were good.");
	if (status == 429 || status >= 500)
		c->retry_after_s = retry_after_s;
	if (status == 429)
		return say(c, ERR_RATE, "rate", sentences[ERR_RATE], STR_NULL);
	if (status >= 500 || err == ERR_UPSTREAM) {
		error_set(c->error, err, "Kaggle answered with status %d.", status);
		return err;
	}
	/* Somebody has it open in an editor, or saves at this moment: no failure of Kaggle's. */
	if (status == 409)
		return say(c, ERR_UNAVAILABLE, push ? "contested" : "unsettled", "At Kaggle somebody is changing this notebook, or its title is another's.", words);
	return kaggle_refusal(c, words, name, err);
}

/* ---- the call ------------------------------------------------------------- */

/* Our own time is over, which says nothing of Kaggle. */
static enum err unasked(struct provider_call *c)
{
	return with_reason(c, error_set(c->error, ERR_TIMEOUT, "There was no time left to ask Kaggle."), "unasked");
}

/* No answer, or no HTTP. */
static enum err no_answer(struct provider_call *c, enum err err, const struct error *why)
{
	switch (err) {
	case ERR_TIMEOUT:
		return error_set(c->error, ERR_TIMEOUT, "Kaggle did not answer in time.");
	case ERR_UPSTREAM:
	case ERR_TOO_LARGE:
		return error_set(c->error, ERR_UPSTREAM, "Kaggle's answer makes no sense: %.150s.", why->msg);
	case ERR_INTERNAL:
		return error_set(c->error, ERR_INTERNAL, "%s", why->msg);
	default:
		return error_set(c->error, ERR_UNAVAILABLE, "Kaggle cannot be reached: %.150s.", why->msg);
	}
}

/* The first part of an answer that is larger than is taken: of a run's outputs that is better than none. */
static enum err read_head(struct provider_call *c, const struct http_reply *reply, const struct error *why, struct json **ret)
{
	*ret = reply->status == 200 ? kaggle_answer_head(reply->body) : NULL;
	return *ret ? OK : no_answer(c, ERR_TOO_LARGE, why);
}

static enum err read_answer(struct provider_call *c, const struct credentials *k, const struct http_reply *reply, struct str name, bool push,
			    struct json **ret)
{
	cleanup_json struct json *body = NULL;
	bool good = reply->status >= 200 && reply->status <= 299;
	int status = reply->status;
	struct str words = STR_NULL;

	if (json_parse(reply->body, SIZE_MAX, &body, NULL) != OK || json_type_of(body) != JSON_OBJECT) {
		if (good)
			return error_set(c->error, ERR_UPSTREAM, "Kaggle answered with something that is no JSON object.");
	} else {
		words = without_key(k, kaggle_complaint(body, &status));
	}
	if (status < 200 || status > 299)
		return by_status(c, status, words, name, push, reply->retry_after_s);
	/* What a push and an end say with a 200 is for their callers to judge. */
	if (words.len && !push && !kaggle_text(body, "errorMessage").len)
		return kaggle_refusal(c, words, name, ERR_UPSTREAM);
	*ret = steal_ptr(body);
	return OK;
}

static int64_t limit_of(const struct provider_call *c, int64_t most)
{
	int64_t left = kaggle_left(c);

	return left < most ? left : most;
}

/* With Kaggle's own name for the call, by which its people can find it. */
static void tell(const char *method, const struct http_reply *reply, int64_t ms, enum err err)
{
	bool good = !err && reply->status >= 200 && reply->status <= 299;
	const char *id = reply->wanted && is_plain(str_of(reply->wanted)) ? reply->wanted : "-";

	log_line(good ? LOG_DEBUG : LOG_INFO, "kaggle.call", "method=%s status=%d ms=%lld http=%s request=%.64s", strrchr(method, '/') + 1,
		 reply->status, (long long)ms, err_name(err), id);
}

/* The notebook that a call is about; STR_NULL = none. */
static struct str named(const struct json *args)
{
	struct str name = json_str(args, "kernelSlug"), slug = json_str(args, "slug"), owner;

	if (!name.len && str_cut(&slug, '/', &owner))
		name = slug;
	return name;
}

enum err kaggle_call(struct provider_call *c, const char *method, struct json *args, unsigned flags, struct json **ret)
{
	cleanup_credentials struct credentials k = {0};
	cleanup_buf struct buf body = BUF_INIT(2 * ANSWER_MOST), auth = BUF_INIT(16 << 10);
	cleanup_arena struct arena scratch = {.limit = (flags & KAGGLE_OUTPUT ? OUTPUT_MOST : ANSWER_MOST) + (64 << 10)};
	int64_t begin = clock_ms();
	struct http_reply reply = {0};
	struct str name = arena_str(c->arena, named(args));
	struct error why = {0};
	enum err err;

	json_write_wiped(args, &body); /* it may hold a token, the account's or the agent's */
	json_free(args);
	err = credentials_read(c, &k);
	if (err)
		return err;
	if (!kaggle_left(c))
		return unasked(c);
	authorization(&k, &auth);
	err = http_send(c->http, &scratch, &(struct http_call){
		.method = "POST",
		.url = arena_printf(&scratch, "%s/%s", c->config->kaggle_url, method),
		.headers = (struct http_header[]){{"Authorization", auth.ptr}, {"Content-Type", "application/json"}, {"Accept", "application/json"}, {NULL, NULL}},
		.body = buf_str(&body),
		.deadline_ms = limit_of(c, flags & KAGGLE_PUSH ? PUSH_MS : CALL_MS),
		.max_reply = flags & KAGGLE_OUTPUT ? OUTPUT_MOST : ANSWER_MOST,
		.repeatable = !(flags & KAGGLE_EFFECT),
		.wanted = "X-Kaggle-RequestId",
	}, &reply, &why);
	crypto_wipe(auth.ptr, auth.len);
	crypto_wipe(body.ptr, body.len); /* a push holds the agent's token */
	tell(method, &reply, clock_ms() - begin, err);
	if (err == ERR_TOO_LARGE && (flags & KAGGLE_OUTPUT))
		return read_head(c, &reply, &why, ret);
	return err ? no_answer(c, err, &why) : read_answer(c, &k, &reply, name, flags & KAGGLE_PUSH, ret);
}

/* "No", and nothing in it that says more. */
static bool is_bare_no(const struct provider_call *c, enum err err)
{
	return (err == ERR_FORBIDDEN || err == ERR_NOT_FOUND) && !c->error->reason;
}

/* The account's first notebook, if it has one. */
static enum err own_notebooks(struct provider_call *c, struct json **ret)
{
	struct json *args = json_object();

	json_put_cstr(args, "group", "PROFILE");
	json_put_i64(args, "pageSize", 1);
	return kaggle_call(c, "kernels.KernelsApiService/ListKernels", args, 0, ret);
}

enum err kaggle_prove(struct provider_call *c, enum err err)
{
	cleanup_json struct json *quota = NULL, *list = NULL;

	if (!is_bare_no(c, err))
		return err;
	err = kaggle_call(c, "kernels.KernelsApiService/GetAcceleratorQuotaStatistics", json_object(), 0, &quota);
	/* Some keys are said to be kept from some methods. */
	if (is_bare_no(c, err))
		err = own_notebooks(c, &list);
	if (is_bare_no(c, err))
		return with_reason(c, error_set(c->error, ERR_FORBIDDEN, "Kaggle allows this account nothing: see its settings there."), "account");
	return err ? err : error_set(c->error, ERR_NOT_FOUND, "The notebook is not at Kaggle.");
}

enum err kaggle_redirect(struct provider_call *c, const char *path, const char **location)
{
	cleanup_credentials struct credentials k = {0};
	cleanup_buf struct buf auth = BUF_INIT(16 << 10);
	struct http_reply reply = {0};
	struct error why = {0};
	enum err err = credentials_read(c, &k);

	*location = NULL;
	if (err)
		return err;
	if (!kaggle_left(c))
		return unasked(c);
	authorization(&k, &auth);
	err = http_send(c->http, c->arena, &(struct http_call){
		.url = arena_printf(c->arena, "%s/%s", c->config->kaggle_url, path),
		.headers = (struct http_header[]){{"Authorization", auth.ptr}, {NULL, NULL}},
		.deadline_ms = limit_of(c, CALL_MS),
		.max_reply = 64 << 10,
	}, &reply, &why);
	crypto_wipe(auth.ptr, auth.len);
	/* An answer that begins to deliver instead of leading elsewhere may be of any size. */
	if (err && !(err == ERR_TOO_LARGE && reply.status))
		return no_answer(c, err, &why);
	if (reply.status >= 300 && reply.status <= 399)
		*location = reply.location;
	if (reply.status >= 200 && reply.status <= 399)
		return OK;
	return by_status(c, reply.status, STR_NULL, STR_NULL, false, reply.retry_after_s);
}

enum err kaggle_fetch(struct provider_call *c, const char *url, size_t most, struct str *ret)
{
	/* What stands in for Kaggle on this machine links to itself. */
	struct outgoing outgoing = {
		.allow = c->config->outgoing_allow, .loopback = outgoing_url_loopback(str_of(c->config->kaggle_url))};
	cleanup_arena struct arena scratch = {.limit = most + (64 << 10)};
	struct http_reply reply = {0};
	struct error why = {0};
	enum err err = kaggle_left(c) ? OK : ERR_TIMEOUT;

	if (!err)
		err = http_send(c->http, &scratch, &(struct http_call){
			.url = url, .deadline_ms = limit_of(c, CALL_MS), .max_reply = most, .outgoing = &outgoing}, &reply, &why);
	if (!err && reply.status != 200)
		err = ERR_UPSTREAM;
	if (err)
		return error_set(c->error, err, "A file that Kaggle links to was not kept: %.150s.", why.msg[0] ? why.msg : err_name(err));
	*ret = arena_str(c->arena, reply.body);
	return ret->ptr ? OK : ERR_TOO_LARGE;
}

/* ---- whose account -------------------------------------------------------- */

static enum err introspect(struct provider_call *c, struct str token, const char **name)
{
	cleanup_json struct json *answer = NULL;
	struct json *args = json_object();
	struct str username;
	enum err err;

	json_put_str(args, "token", token);
	err = kaggle_call(c, "security.OAuthService/IntrospectToken", args, 0, &answer);
	if (err == ERR_FORBIDDEN || err == ERR_NOT_FOUND || err == ERR_INVALID)
		return bad_credentials(c, "Kaggle does not know this token.");
	if (err)
		return err;
	if (!json_as_bool(kaggle_get(answer, "active"), false))
		return bad_credentials(c, "This token is no longer good at Kaggle.");
	username = kaggle_text(answer, "username");
	if (!kaggle_owner_valid(username))
		return error_set(c->error, ERR_UPSTREAM, "Kaggle does not say whose token this is.");
	*name = arena_str(c->arena, username).ptr;
	return *name ? OK : kaggle_no_memory(c);
}

enum err kaggle_owner(struct provider_call *c, const char **ret)
{
	cleanup_credentials struct credentials k = {0};
	enum err err;

	*ret = c->identity;
	if (kaggle_owner_valid(str_of(c->identity)))
		return OK;
	err = credentials_read(c, &k);
	if (err)
		return err;
	if (k.token.len)
		return introspect(c, k.token, ret);
	*ret = arena_str(c->arena, k.username).ptr;
	return *ret ? OK : kaggle_no_memory(c);
}

/* A notebook of the account, if it has one, tells whose key it is. */
static enum err see_owner(struct provider_call *c, struct str username, const char **name)
{
	cleanup_json struct json *answer = NULL;
	struct str owner, slug;
	enum err err = own_notebooks(c, &answer);

	if (is_bare_no(c, err))
		return bad_credentials(c, "Kaggle does not let this key see its own notebooks.");
	if (err)
		return err;
	*name = arena_str(c->arena, username).ptr;
	if (!*name)
		return kaggle_no_memory(c);
	if (!kaggle_ref_read(kaggle_text(json_at(json_get(answer, "kernels"), 0), "ref"), &owner, &slug))
		return OK;
	if (!str_ieqz(owner, *name))
		return bad_credentials(c, "This key belongs to another user of Kaggle than the user name says.");
	*name = arena_str(c->arena, owner).ptr; /* in Kaggle's own spelling */
	return *name ? OK : kaggle_no_memory(c);
}

enum err kaggle_verify(struct provider_call *c, struct identity *ret)
{
	cleanup_credentials struct credentials k = {0};
	cleanup_json struct json *quota = NULL;
	enum err err = credentials_read(c, &k);

	if (err)
		return err;
	if (k.token.len && (err = introspect(c, k.token, &ret->name)))
		return err;
	err = kaggle_call(c, "kernels.KernelsApiService/GetAcceleratorQuotaStatistics", json_object(), 0, &quota);
	if (is_bare_no(c, err) && k.token.len)
		return bad_credentials(c, "Kaggle does not take these credentials.");
	if ((err && !is_bare_no(c, err)) || k.token.len)
		return err;
	return see_owner(c, k.username, &ret->name);
}
