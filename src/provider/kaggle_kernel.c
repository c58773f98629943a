/* kaggle_kernel - notebooks at Kaggle and their runs: looking at them, ending them. */
#include "provider/kaggle.h"

#include <string.h>

#include "base/clock.h"
#include "base/outgoing.h"

#define SERVICE "kernels.KernelsApiService/"

/* ---- references ----------------------------------------------------------- */

enum err kaggle_reference_read(struct provider_call *c, const struct run *run, struct kaggle_reference *ret)
{
	cleanup_json struct json *j = NULL;
	struct str owner, name;

	if (json_parse(run->reference, 4096, &j, NULL) != OK || !kaggle_ref_read(json_str(j, "slug"), &owner, &name))
		return error_set(c->error, ERR_INVALID, "This is no reference of a Kaggle run.");
	*ret = (struct kaggle_reference){
		.owner = arena_str(c->arena, owner).ptr,
		.name = arena_str(c->arena, name).ptr,
		.version = json_i64(j, "version", 0),
		.kernel_id = json_i64(j, "kernelId", 0),
		.session_id = json_i64(j, "sessionId", 0),
		.pushed = json_i64(j, "pushed", 0),
	};
	return ret->owner && ret->name ? OK : kaggle_no_memory(c);
}

/* A page's address may be shown as a link, so it is Kaggle's own or made here. */
static const char *page_of(struct provider_call *c, const struct kaggle_reference *r, const char *url)
{
	bool here = outgoing_url_loopback(str_of(c->config->kaggle_url));
	struct str s = str_of(url);
	bool good = str_starts(s, "https://www.kaggle.com/") || (here && outgoing_url_loopback(s));

	for (size_t i = 0; good && i < s.len; i++)
		good = s.ptr[i] > ' ' && s.ptr[i] <= '~' && !strchr("\"'<>\\", s.ptr[i]);
	if (good && s.len < 512)
		return arena_strdup(c->arena, url);
	return arena_printf(c->arena, "https://www.kaggle.com/code/%s/%s", r->owner, r->name);
}

enum err kaggle_reference_make(struct provider_call *c, const struct kaggle_reference *r, const char *url, struct run *ret)
{
	cleanup_json struct json *j = json_object();

	json_put_cstr(j, "slug", arena_printf(c->arena, "%s/%s", r->owner, r->name));
	json_put_i64(j, "version", r->version);
	if (r->kernel_id > 0)
		json_put_i64(j, "kernelId", r->kernel_id);
	if (r->session_id > 0)
		json_put_i64(j, "sessionId", r->session_id);
	json_put_i64(j, "pushed", r->pushed);
	*ret = (struct run){.reference = str_of(json_text(j, c->arena)), .url = page_of(c, r, url)};
	return ret->reference.ptr && ret->url ? OK : kaggle_no_memory(c);
}

static struct json *names_of(const char *owner, const char *name)
{
	struct json *args = json_object();

	json_put_cstr(args, "userName", owner);
	json_put_cstr(args, "kernelSlug", name);
	return args;
}

static void put_version(struct json *args, int64_t version)
{
	char label[32];

	if (version <= 0)
		return;
	/* Without the letter it is another route, and says that nothing is there. */
	snprintf(label, sizeof(label), "v%lld", (long long)version);
	json_put_cstr(args, "versionLabel", label);
}

/* ---- a notebook ----------------------------------------------------------- */

void kaggle_kernel_free(struct kaggle_kernel *k)
{
	json_free(k->answer);
	k->answer = NULL;
}

static int64_t known(int64_t n)
{
	return n > 0 ? n : 0;
}

enum err kaggle_kernel_get(struct provider_call *c, const char *owner, const char *name, struct kaggle_kernel *ret)
{
	struct json *meta, *source;
	enum err err;

	*ret = (struct kaggle_kernel){0};
	err = kaggle_prove(c, kaggle_call(c, SERVICE "GetKernel", names_of(owner, name), 0, &ret->answer));
	if (err)
		return err;
	meta = kaggle_get(ret->answer, "metadata");
	source = kaggle_get(kaggle_get(ret->answer, "blob"), "source");
	/* Whose it is must never be guessed. */
	if (json_type_of(meta) != JSON_OBJECT || json_type_of(source) != JSON_STRING)
		return error_set(c->error, ERR_UPSTREAM, "Kaggle does not show the notebook's source.");
	ret->id = known(kaggle_number(meta, "id"));
	ret->version = known(kaggle_number(meta, "currentVersionNumber"));
	ret->ours = kaggle_mark_read(json_as_str(source), &ret->mark) && str_eqz(ret->mark.installation, c->installation);
	return OK;
}

/* ---- its runs ------------------------------------------------------------- */

static const struct phase {
	enum run_phase phase;
	const char *code, *reason;
	bool orderly;
} phases[] = {
	[KAGGLE_QUEUED] = {RUN_QUEUED, NULL, NULL, false},
	[KAGGLE_NEW_SCRIPT] = {RUN_QUEUED, NULL, NULL, false},
	[KAGGLE_RUNNING] = {RUN_LIVE, NULL, NULL, false},
	[KAGGLE_CANCEL_REQUESTED] = {RUN_ENDING, NULL, NULL, false},
	[KAGGLE_COMPLETE] = {RUN_ENDED, "exited", "Its run at Kaggle has ended.", true},
	[KAGGLE_ERROR] = {RUN_ENDED, "error", "Its run at Kaggle ended with an error.", false},
	[KAGGLE_CANCEL_ACKNOWLEDGED] = {RUN_ENDED, "cancelled", "Its run at Kaggle was cancelled, or its time there was over.", false},
};

static const char *with_failure(struct provider_call *c, const char *sentence, struct str failure)
{
	cleanup_buf struct buf b = BUF_INIT(1024);

	buf_adds(&b, sentence);
	buf_adds(&b, " Kaggle says: ");
	buf_add_text(&b, (struct str){failure.ptr, failure.len < 200 ? failure.len : 200}, true);
	for (size_t i = 0; i < b.len; i++)
		if (b.ptr[i] == '\n' || b.ptr[i] == '\t')
			b.ptr[i] = ' ';
	kaggle_hide_tokens(b.ptr, b.len);
	return arena_str(c->arena, buf_str(&b)).ptr;
}

/* What is left out would mean "queued" by the rules of the format: better to look again. */
static enum err no_status(struct provider_call *c, const struct json *answer)
{
	if (!kaggle_text(answer, "status").len && kaggle_number(answer, "status") < 0)
		return error_set(c->error, ERR_UPSTREAM, "Kaggle does not say in which state the run is.");
	/* A state that is new to us is no failure of Kaggle's. */
	error_set(c->error, ERR_UNAVAILABLE, "Kaggle says that the run is in a state that is not known here.");
	c->error->reason = "unsettled";
	return ERR_UNAVAILABLE;
}

enum err kaggle_status_get(struct provider_call *c, const struct kaggle_reference *r, struct run_status *ret)
{
	cleanup_json struct json *answer = NULL;
	struct json *args = names_of(r->owner, r->name);
	enum kaggle_status status;
	struct str failure;
	enum err err;

	put_version(args, r->version);
	err = kaggle_prove(c, kaggle_call(c, SERVICE "GetKernelSessionStatus", args, 0, &answer));
	if (err)
		return err;
	if (!kaggle_status_read(answer, &status))
		return no_status(c, answer);
	*ret = (struct run_status){
		.phase = phases[status].phase, .code = phases[status].code, .reason = phases[status].reason, .orderly = phases[status].orderly};
	failure = kaggle_text(answer, "failureMessage");
	if (ret->phase == RUN_ENDED && failure.len)
		ret->reason = with_failure(c, ret->reason, failure);
	return ret->phase != RUN_ENDED || ret->reason ? OK : kaggle_no_memory(c);
}

/* ---- ending --------------------------------------------------------------- */

/* BASE/kernels/output/download_zip/ID, on the same host: a path alone will do. */
static int64_t session_of(const char *base, const char *location)
{
	static const char route[] = "/kernels/output/download_zip/";
	struct str rest = str_of(location), id, tail;
	const char *path = strchr(strstr(base, "://") + 3, '/');
	const char *prefixes[] = {base, path ? path : ""};
	int64_t n;

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		if (!str_starts(rest, prefixes[i]))
			continue;
		tail = (struct str){rest.ptr + strlen(prefixes[i]), rest.len - strlen(prefixes[i])};
		if (!str_starts(tail, route))
			continue;
		tail = (struct str){tail.ptr + sizeof(route) - 1, tail.len - (sizeof(route) - 1)};
		str_cut(&tail, '?', &id);
		return str_to_id(id, &n) ? n : 0;
	}
	return 0;
}

static enum err find_session(struct provider_call *c, const struct kaggle_reference *r, int64_t *ret)
{
	const char *location, *path;
	enum err err;

	*ret = r->session_id;
	if (*ret > 0)
		return OK;
	if (r->version <= 0)
		return ERR_NOT_FOUND;
	path = arena_printf(c->arena, "kernels/output/download/%s/%s?versionNumber=%lld", r->owner, r->name, (long long)r->version);
	if (!path)
		return kaggle_no_memory(c);
	err = kaggle_redirect(c, path, &location);
	if (err)
		return err == ERR_FORBIDDEN || err == ERR_INVALID ? ERR_NOT_FOUND : err;
	*ret = location ? session_of(c->config->kaggle_url, location) : 0;
	return *ret > 0 ? OK : ERR_NOT_FOUND;
}

enum err kaggle_cancel(struct provider_call *c, const struct kaggle_reference *r)
{
	cleanup_json struct json *answer = NULL;
	struct json *args;
	int64_t session;
	enum err err = find_session(c, r, &session);

	if (err)
		return err;
	args = json_object();
	json_put_i64(args, "kernelSessionId", session);
	err = kaggle_call(c, SERVICE "CancelKernelSession", args, KAGGLE_EFFECT, &answer);
	/* No such session of ours, or it has ended: the status tells. */
	if (err == ERR_FORBIDDEN || err == ERR_INVALID || (!err && kaggle_complaint(answer, NULL).len))
		return ERR_NOT_FOUND;
	return err;
}

enum err kaggle_delete(struct provider_call *c, const char *owner, const char *name)
{
	cleanup_json struct json *answer = NULL;
	enum err err = kaggle_prove(c, kaggle_call(c, SERVICE "DeleteKernel", names_of(owner, name), KAGGLE_EFFECT, &answer));
	struct str words;

	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	words = kaggle_complaint(answer, NULL);
	return words.len ? kaggle_refusal(c, words, str_of(name), ERR_UPSTREAM) : OK;
}

/* ---- inputs --------------------------------------------------------------- */

static void add_name(struct buf *b, const char *kind, struct str name)
{
	buf_adds(b, b->len ? ", " : "");
	buf_adds(b, kind);
	buf_addc(b, ' ');
	buf_add_text(b, (struct str){name.ptr, name.len < 80 ? name.len : 80}, true);
}

/* The names, cut where the sentence would become too long. */
static const char *names_in(struct provider_call *c, const struct buf *b)
{
	struct str all = buf_str(b);

	if (!all.len)
		return NULL;
	return arena_printf(c->arena, "%.*s%s", all.len < 180 ? (int)all.len : 180, all.ptr, all.len < 180 ? "" : " …");
}

const char *kaggle_inputs_refused(struct provider_call *c, const struct json *answer)
{
	static const struct {
		const char *key, *kind;
	} lists[] = {
		{"invalidDatasetSources", "dataset"},
		{"invalidModelSources", "model"},
		{"invalidCompetitionSources", "competition"},
		{"invalidKernelSources", "notebook"},
	};
	cleanup_buf struct buf b = BUF_INIT(4096);

	for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
		const struct json *list = kaggle_get(answer, lists[i].key);

		for (size_t n = 0; n < json_len(list) && n < 20; n++)
			add_name(&b, lists[i].kind, json_as_str(json_at(list, n)));
	}
	return names_in(c, &b);
}

/* owner/model/framework/variation of a model, which may be listed with another version than
 * was asked for, or with none. */
static struct str without_version(struct str name)
{
	int slashes = 0;

	for (size_t i = 0; i < name.len; i++)
		if (name.ptr[i] == '/' && ++slashes == 4)
			return (struct str){name.ptr, i};
	return name;
}

static bool lists(const struct json *list, struct str wanted)
{
	wanted = without_version(wanted);
	for (size_t i = 0; i < json_len(list); i++) {
		struct str have = without_version(json_as_str(json_at(list, i)));

		if (have.len == wanted.len && !strncasecmp(have.ptr, wanted.ptr, wanted.len))
			return true;
	}
	return false;
}

const char *kaggle_inputs_lost(struct provider_call *c, const struct kaggle_kernel *k, const struct inputs *in)
{
	const struct json *meta = kaggle_get(k->answer, "metadata");
	const struct {
		const char *key, *kind;
		const char *const *names;
	} wanted[] = {
		{"datasetDataSources", "dataset", in ? in->datasets : NULL},
		{"modelDataSources", "model", in ? in->models : NULL},
		{"competitionDataSources", "competition", in ? in->competitions : NULL},
		{"kernelDataSources", "notebook", in ? in->kernels : NULL},
	};
	cleanup_buf struct buf b = BUF_INIT(4096);

	for (size_t i = 0; i < ARRAY_LEN(wanted); i++) {
		const struct json *list = kaggle_get(meta, wanted[i].key);

		/* A list that is left out is an empty one, by the rules of the format. */
		for (const char *const *name = wanted[i].names; name && *name; name++)
			if (!lists(list, str_of(*name)))
				add_name(&b, wanted[i].kind, str_of(*name));
	}
	return names_in(c, &b);
}
