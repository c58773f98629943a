/* colab_api_call - names, calls, and what Colab's answers mean.  See provider/colab_api.h. */
#include "provider/colab_api.h"

#include <stdarg.h>
#include <string.h>

#include "base/clock.h"
#include "base/outgoing.h"
#include "provider/google_token.h"

#define SERVICE "Colab"

enum { URL_MOST = 512, TOKEN_MOST = 16 << 10, NAME_MOST = 200 };

enum err colab_api_fail(struct provider_call *c, enum err err, const char *reason, const char *fmt, ...)
{
	char text[sizeof(c->error->msg)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	return google_fail(c, err, reason, "%s", text);
}

/* ---- names ---------------------------------------------------------------- */

static bool bare_uuid(struct str uuid, char ret[33])
{
	size_t n = 0;

	if (!str_is_uuid(uuid))
		return false;
	for (size_t i = 0; i < uuid.len; i++)
		if (uuid.ptr[i] != '-')
			ret[n++] = uuid.ptr[i];
	ret[n] = '\0';
	return true;
}

bool colab_api_id(struct str intent, const char *installation, char ret[COLAB_ID])
{
	char of[33], start[33];

	if (!bare_uuid(str_of(installation), of) || !bare_uuid(intent, start))
		return false;
	snprintf(ret, COLAB_ID, "gpupool-%.20s-%s", of, start);
	return true;
}

bool colab_api_intent(struct str id, const char *installation, char ret[37])
{
	char of[33], before[40];

	if (!bare_uuid(str_of(installation), of))
		return false;
	snprintf(before, sizeof(before), "gpupool-%.20s-", of);
	if (!str_starts(id, before) || id.len != strlen(before) + 32)
		return false;
	id = (struct str){id.ptr + strlen(before), 32};
	snprintf(ret, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", id.ptr, id.ptr + 8, id.ptr + 12, id.ptr + 16, id.ptr + 20);
	return str_is_uuid((struct str){ret, 36});
}

static bool made_of(struct str s, size_t most, const char *others)
{
	for (size_t i = 0; i < s.len; i++) {
		char ch = s.ptr[i];

		if (!(ch >= 'a' && ch <= 'z') && !(ch >= 'A' && ch <= 'Z') && !(ch >= '0' && ch <= '9') && !(ch && strchr(others, ch)))
			return false;
	}
	return s.len > 0 && s.len <= most;
}

const char *colab_api_path(struct provider_call *c, const char *id, const char *what)
{
	char intent[37];

	if (!colab_api_intent(str_of(id), c->installation, intent))
		return NULL;
	return arena_printf(c->arena, "content/gpupool-%s.%s", intent, what);
}

/* ---- calls ---------------------------------------------------------------- */

static enum err not_enabled(struct provider_call *c, const struct google_fault *f)
{
	if (!strcmp(f->reason, "DENYLISTED"))
		return colab_api_fail(c, ERR_FORBIDDEN, "denylisted",
				      "Colab has barred this Google account from runtimes. It can be appealed there; gpupool does not try again.");
	if (google_fault_is_rate(f))
		return colab_api_fail(c, ERR_RATE, "rate", SERVICE " wants fewer calls.");
	if (!strcmp(f->reason, "ACCESS_TOKEN_SCOPE_INSUFFICIENT"))
		return colab_api_fail(c, ERR_UNAUTHORIZED, "credentials", "The consent does not cover Colab: connect the account anew and agree to all of it.");
	if (!strcmp(f->reason, "SERVICE_DISABLED"))
		return colab_api_fail(c, ERR_FORBIDDEN, "account",
				      "The Colab API is not enabled in the project of the OAuth client: enable it at "
				      "https://console.cloud.google.com/apis/library/colaboratory.googleapis.com and wait some minutes.");
	return colab_api_fail(c, ERR_FORBIDDEN, "account",
			      "Colab does not open its API to this project: Google may have to admit it first (colaboratory-team@google.com). "
			      "The assisted way needs none.");
}

enum err colab_api_call(struct provider_call *c, const char *method, const char *path, struct json *body, int64_t ms, struct google_answer *ret)
{
	const char *url = arena_printf(c->arena, "%s/%s", c->config->colab_api_url, path);
	enum err err;

	*ret = (struct google_answer){0};
	if (!url) {
		json_free(body);
		return google_no_memory(c);
	}
	err = google_call(c, &(struct google_request){
		.service = SERVICE, .scope = COLAB_SCOPE, .method = method, .url = url, .body = body, .effect = body != NULL, .ms = ms}, ret);
	return err && ret->fault.status == 403 ? not_enabled(c, &ret->fault) : err;
}

enum err colab_api_probe(struct provider_call *c, struct google_answer *specs)
{
	cleanup_google_answer struct google_answer own = {0};
	struct google_answer *a = specs ? specs : &own;
	enum err err = colab_api_call(c, "GET", "v1beta/runtimespecs", NULL, 0, a);

	/* Where it is not there at all. */
	return err == ERR_NOT_FOUND ? not_enabled(c, &a->fault) : err;
}

/* ---- runtimes ------------------------------------------------------------- */

/* Where the runtime's token will be sent: https, or this machine where a stand-in is. */
static bool url_good(const struct provider_call *c, struct str url)
{
	bool here = outgoing_url_loopback(str_of(c->config->colab_api_url));

	if (!made_of(url, URL_MOST, "-._~:/%"))
		return false;
	return str_starts(url, "https://") || (here && outgoing_url_loopback(url));
}

static const char *kept(struct provider_call *c, struct str s)
{
	const char *copy = arena_str(c->arena, s).ptr;

	return copy ? copy : "";
}

enum err colab_api_read(struct provider_call *c, const struct json *runtime, struct colab_runtime *ret)
{
	const struct json *info = json_get(runtime, "connectionInfo");
	struct str name = json_str(runtime, "name"), url = json_str(info, "url"), token = json_str(info, "token"), endpoint = json_str(info, "endpoint");
	int64_t expires = 0;

	*ret = (struct colab_runtime){.id = "", .endpoint = "", .url = "", .token = ""};
	if (!str_starts(name, "runtimes/") || !made_of((struct str){name.ptr + 9, name.len - 9}, 63, "-"))
		return colab_api_fail(c, ERR_UPSTREAM, NULL, "Colab's answer is no runtime.");
	ret->id = kept(c, (struct str){name.ptr + 9, name.len - 9});
	while (str_ends(url, "/"))
		url.len--;
	if (made_of(endpoint, NAME_MOST, "-_."))
		ret->endpoint = kept(c, endpoint);
	if (!url.len && !token.len)
		return OK; /* not connectable yet */
	if (!url_good(c, url) || !made_of(token, TOKEN_MOST, "-._~+/=:"))
		return colab_api_fail(c, ERR_UPSTREAM, NULL, "Colab does not say how its runtime is reached.");
	ret->url = kept(c, url);
	ret->token = kept(c, token);
	ret->expires = clock_parse(json_str(info, "expireTime"), &expires) ? expires / 1000 : 0;
	return OK;
}

enum err colab_api_get(struct provider_call *c, const char *id, struct colab_runtime *ret)
{
	cleanup_google_answer struct google_answer a = {0};
	const char *path = arena_printf(c->arena, "v1beta/runtimes/%s", id);
	enum err err = path ? colab_api_call(c, "GET", path, NULL, 0, &a) : google_no_memory(c);

	if (!err)
		err = colab_api_read(c, a.doc, ret);
	if (!err && strcmp(ret->id, id) != 0)
		err = colab_api_fail(c, ERR_UPSTREAM, NULL, "Colab answered with another runtime.");
	return err;
}

enum err colab_api_delete(struct provider_call *c, const char *id)
{
	cleanup_google_answer struct google_answer a = {0};
	const char *path = arena_printf(c->arena, "v1beta/runtimes/%s", id);
	enum err err = path ? colab_api_call(c, "DELETE", path, NULL, 0, &a) : google_no_memory(c);

	return err == ERR_NOT_FOUND ? OK : err;
}

/* ---- operations ----------------------------------------------------------- */

enum err colab_api_refusal(struct provider_call *c, const struct json *error, const char *accelerator)
{
	struct google_fault f = {0};
	const char *words;

	google_fault_read(error, &f);
	words = f.words[0] ? f.words : "it does not say why.";
	if (!strcmp(f.reason, "TOO_MANY_ACTIVE_RUNTIMES"))
		return colab_api_fail(c, ERR_QUOTA, "capacity", "Colab runs as many runtimes of this account at once as it allows. Others that the person "
							       "has open count too.");
	if (!strcmp(f.reason, "QUOTA_EXCEEDED_USAGE_TIME"))
		return colab_api_fail(c, ERR_QUOTA, "quota", "Colab has given this account as much time as it gives for now, and does not say until when.");
	if (!strcmp(f.reason, "DENYLISTED") || !strcmp(f.code, "PERMISSION_DENIED"))
		return not_enabled(c, &f);
	if (!strcmp(f.code, "INVALID_ARGUMENT"))
		return colab_api_fail(c, ERR_INVALID, NULL, "Colab refuses the runtime: %.150s", words);
	if (!strcmp(f.code, "FAILED_PRECONDITION") || !strcmp(f.code, "RESOURCE_EXHAUSTED"))
		return colab_api_fail(c, ERR_QUOTA, "capacity", "Colab has no %.32s free for this account now. It says: %.120s", accelerator, words);
	/* Its request is used up all the same: a later start asks anew. */
	return colab_api_fail(c, ERR_QUOTA, "capacity", "Colab could not make the runtime. It says: %.150s", words);
}

enum err colab_api_making(struct provider_call *c, const char *id)
{
	cleanup_google_answer struct google_answer a = {0};
	const char *name = arena_printf(c->arena, "runtimes/%s", id);
	enum err err = name ? colab_api_call(c, "GET", "v1/operations", NULL, 0, &a) : google_no_memory(c);
	const struct json *list = json_get(a.doc, "operations");

	if (err)
		return err == ERR_NOT_FOUND ? ERR_UPSTREAM : err;
	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *o = json_at(list, i);

		if (!json_bool(o, "done", false) && str_eqz(json_str(json_get(o, "metadata"), "runtime"), name))
			return OK;
	}
	return colab_api_fail(c, ERR_NOT_FOUND, NULL, "Colab makes no such runtime.");
}

/* ---- references ----------------------------------------------------------- */

/* Colab's own page of a runtime that was made without a notebook. */
static const char *page_of(struct provider_call *c, const struct colab_runtime *r)
{
	if (!r->endpoint[0])
		return c->config->colab_url;
	return arena_printf(c->arena, "%s/notebooks/empty.ipynb?dbu=%%2Ftun%%2Fm%%2F%s#datalabBackendUrl=%s/tun/m/%s", c->config->colab_url, r->endpoint,
			    c->config->colab_url, r->endpoint);
}

enum err colab_api_reference(struct provider_call *c, const struct colab_runtime *r, struct run *ret)
{
	cleanup_json struct json *j = json_object();

	json_put_cstr(j, "runtime", r->id);
	json_put_cstr(j, "endpoint", r->endpoint);
	*ret = (struct run){.reference = str_of(json_text(j, c->arena)), .url = page_of(c, r)};
	return ret->reference.ptr && ret->url ? OK : google_no_memory(c);
}

enum err colab_api_reference_read(struct provider_call *c, const struct run *run, struct colab_runtime *ret)
{
	cleanup_json struct json *j = NULL;
	char intent[37];

	*ret = (struct colab_runtime){.id = "", .endpoint = "", .url = "", .token = ""};
	/* Nothing that does not bear our mark is ever touched. */
	if (json_parse(run->reference, 4096, &j, NULL) != OK || !colab_api_intent(json_str(j, "runtime"), c->installation, intent))
		return colab_api_fail(c, ERR_INVALID, NULL, "This is no reference of a runtime at Colab.");
	ret->id = kept(c, json_str(j, "runtime"));
	if (made_of(json_str(j, "endpoint"), NAME_MOST, "-_."))
		ret->endpoint = kept(c, json_str(j, "endpoint"));
	return OK;
}
