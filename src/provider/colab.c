/* colab - see provider/colab.h. */
#include "provider/colab.h"

#include <string.h>

#include "base/asset.h"
#include "base/crashpoint.h"
#include "base/http.h"
#include "provider/google_call.h"
#include "provider/google_token.h"
#include "provider/notebook.h"

enum {
	FILES_MOST = 500,              /* of ours in one Drive */
	LIST_PAGE = 100,
	BODY_MOST = 2 << 20,
	ID_MOST = 128,
};

static const struct notebook_want want = {.provider = "colab", .preset = true, .people = true};

static enum err check(struct provider_call *c)
{
	if (!asset_find("agent/colab-start.py") || !asset_find("agent/gpupool-agent.py"))
		return error_set(c->error, ERR_INVALID, "This program was built without its agent.");
	return OK;
}

/* ---- what the person has consented to ------------------------------------- */

static bool holds_word(struct str words, const char *word)
{
	struct str one;

	while (str_cut(&words, ' ', &one))
		if (str_eqz(one, word))
			return true;
	return false;
}

static bool has_drive(struct provider_call *c)
{
	cleanup_google struct json *doc = NULL;

	if (!c->secret || google_credentials(c, &doc))
		return false;
	return json_str(doc, "refreshToken").len && holds_word(json_str(doc, "scope"), COLAB_SCOPE_DRIVE);
}

/* ---- references ----------------------------------------------------------- */

static bool file_id_valid(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		char x = s.ptr[i];

		if (!(x >= 'a' && x <= 'z') && !(x >= 'A' && x <= 'Z') && !(x >= '0' && x <= '9') && x != '-' && x != '_')
			return false;
	}
	return s.len > 0 && s.len <= ID_MOST;
}

static enum err in_drive(struct provider_call *c, int64_t worker, struct str file, struct run *ret)
{
	const char *reference = arena_printf(c->arena, "{\"worker\":%lld,\"file\":\"%.*s\"}", (long long)worker, STR_ARG(file));

	ret->reference = str_of(reference);
	ret->url = arena_printf(c->arena, "%s/drive/%.*s", c->config->colab_url, STR_ARG(file));
	return reference && ret->url ? OK : google_no_memory(c);
}

static enum err to_download(struct provider_call *c, const struct launch *l, struct run *ret)
{
	const char *reference = arena_printf(c->arena, "{\"worker\":%lld}", (long long)l->worker);

	ret->reference = str_of(reference);
	ret->url = arena_printf(c->arena, "%s/api/gpu/workers/notebooks/%lld/notebook.ipynb", c->config->public_url, (long long)l->worker);
	return reference && ret->url ? OK : google_no_memory(c);
}

/* ---- what is in Drive ------------------------------------------------------ */

static void add_property(struct buf *q, const char *key, const char *value)
{
	buf_addf(q, "appProperties has { key='%s' and value='%s' } and ", key, value);
}

static void read_file(struct provider_call *c, const struct json *file, struct run_list *ret)
{
	const struct json *properties = json_get(file, "appProperties");
	struct run_found *f = &ret->items[ret->count];
	struct str id = json_str(file, "id"), intent = json_str(properties, "gpupoolIntent");

	if (ret->count == FILES_MOST || !file_id_valid(id) || !str_is_uuid(intent) || !str_eqz(json_str(properties, "gpupoolInstallation"), c->installation) ||
	    !str_to_id(json_str(properties, "gpupoolWorker"), &f->worker))
		return;
	f->intent = arena_str(c->arena, intent);
	if (f->intent.ptr && !in_drive(c, f->worker, id, &f->run))
		ret->count++;
}

static enum err list_page(struct provider_call *c, struct str query, struct str token, struct run_list *ret, struct str *next)
{
	cleanup_google_answer struct google_answer answer = {0};
	cleanup_buf struct buf url = BUF_INIT(4096);
	enum err err;

	buf_addf(&url, "%s/drive/v3/files?pageSize=%d&spaces=drive&fields=", c->config->drive_url, LIST_PAGE);
	buf_add_url(&url, STR("nextPageToken,files(id,appProperties)"));
	buf_adds(&url, "&q=");
	buf_add_url(&url, query);
	if (token.len) {
		buf_adds(&url, "&pageToken=");
		buf_add_url(&url, token);
	}
	if (url.failed)
		return google_no_memory(c);
	err = google_call(c, &(struct google_request){.service = "Google Drive", .scope = COLAB_SCOPE_DRIVE, .url = url.ptr}, &answer);
	for (size_t i = 0; !err && i < json_len(json_get(answer.doc, "files")); i++)
		read_file(c, json_at(json_get(answer.doc, "files"), i), ret);
	*next = err ? STR_NULL : arena_str(c->arena, json_str(answer.doc, "nextPageToken"));
	return err;
}

/* Those of an intent, of a worker, or (both absent) of this installation. */
static enum err list_files(struct provider_call *c, struct str intent, int64_t worker, struct run_list *ret)
{
	const char *of = arena_printf(c->arena, "%.*s", STR_ARG(intent)), *whose = arena_printf(c->arena, "%lld", (long long)worker);
	cleanup_buf struct buf q = BUF_INIT(1024);
	struct str token = STR_NULL, next;
	enum err err = OK;

	*ret = (struct run_list){.items = arena_array(c->arena, FILES_MOST + 1, sizeof(*ret->items))};
	if (!ret->items || !of || !whose)
		return google_no_memory(c);
	if (intent.len)
		add_property(&q, "gpupoolIntent", of);
	if (worker)
		add_property(&q, "gpupoolWorker", whose);
	add_property(&q, "gpupoolInstallation", c->installation);
	buf_adds(&q, "trashed = false");
	for (int page = 0; !err && page < FILES_MOST / LIST_PAGE; page++) {
		err = list_page(c, buf_str(&q), token, ret, &next);
		if (err || !next.len || str_eq(next, token))
			break;
		token = next;
	}
	return err;
}

static struct str file_of(const struct run *run, struct json **doc)
{
	return json_parse(run->reference, 4096, doc, NULL) ? STR_NULL : json_str(*doc, "file");
}

/* OK also when it is not there. */
static enum err delete_file(struct provider_call *c, const struct run *run)
{
	cleanup_google_answer struct google_answer answer = {0};
	cleanup_json struct json *doc = NULL;
	struct str file = file_of(run, &doc);
	const char *url;
	enum err err;

	if (!file_id_valid(file))
		return OK;
	url = arena_printf(c->arena, "%s/drive/v3/files/%.*s", c->config->drive_url, STR_ARG(file));
	err = url ? OK : google_no_memory(c);
	if (!err)
		err = google_call(c, &(struct google_request){.service = "Google Drive", .scope = COLAB_SCOPE_DRIVE, .method = "DELETE", .url = url}, &answer);
	return err == ERR_NOT_FOUND ? OK : err;
}

/* All of a worker's but this one: their tokens are void. */
static enum err delete_others(struct provider_call *c, int64_t worker, struct str intent)
{
	struct run_list list;
	enum err err = list_files(c, STR_NULL, worker, &list);

	for (size_t i = 0; !err && i < list.count; i++)
		if (!str_eq(list.items[i].intent, intent))
			err = delete_file(c, &list.items[i].run);
	return err;
}

/* ---- putting it there ------------------------------------------------------ */

void colab_multipart(struct str metadata, struct str content, const char *boundary, struct buf *ret)
{
	buf_addf(ret, "--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n", boundary);
	buf_addstr(ret, metadata);
	buf_addf(ret, "\r\n--%s\r\nContent-Type: application/json\r\n\r\n", boundary);
	buf_addstr(ret, content);
	buf_addf(ret, "\r\n--%s--\r\n", boundary);
}

static enum err metadata_of(struct provider_call *c, const struct launch *l, const char **ret)
{
	cleanup_json struct json *doc = json_object();
	struct json *properties = json_object();

	json_put_cstr(doc, "name", arena_printf(c->arena, "gpupool %s.ipynb", l->title ? l->title : "worker"));
	json_put_cstr(doc, "mimeType", "application/vnd.google.colaboratory");
	json_put(doc, "appProperties", properties);
	json_put_str(properties, "gpupoolIntent", l->intent);
	json_put_cstr(properties, "gpupoolWorker", arena_printf(c->arena, "%lld", (long long)l->worker));
	json_put_cstr(properties, "gpupoolInstallation", c->installation);
	*ret = json_text(doc, c->arena);
	return *ret ? OK : google_no_memory(c);
}

static enum err upload(struct provider_call *c, const struct launch *l, struct run *ret)
{
	cleanup_google_answer struct google_answer answer = {0};
	cleanup_buf struct buf body = BUF_SECRET(BODY_MOST);
	const char *url = arena_printf(c->arena, "%s/upload/drive/v3/files?uploadType=multipart&fields=id", c->config->drive_url), *metadata;
	char random[16], boundary[2 * sizeof(random) + 1];
	struct str notebook = STR_NULL;
	enum err err = notebook_make(c, l, &want, &notebook);

	if (!err)
		err = metadata_of(c, l, &metadata);
	if (err || !url)
		return err ? err : google_no_memory(c);
	crypto_random(random, sizeof(random));
	crypto_hex(random, sizeof(random), boundary);
	colab_multipart(str_of(metadata), notebook, boundary, &body);
	crypto_wipe((char *)notebook.ptr, notebook.len);
	if (body.failed)
		return error_set(c->error, ERR_INVALID, "The notebook would be larger than Drive takes in one piece.");
	CRASH_POINT("colab.upload");
	err = google_call(c, &(struct google_request){.service = "Google Drive", .scope = COLAB_SCOPE_DRIVE, .method = "POST", .url = url,
						      .raw = buf_str(&body), .effect = true,
						      .content_type = arena_printf(c->arena, "multipart/related; boundary=%s", boundary)}, &answer);
	CRASH_POINT("colab.uploaded");
	if (err)
		return err;
	if (!file_id_valid(json_str(answer.doc, "id")))
		return google_fail(c, ERR_UPSTREAM, NULL, "Google Drive did not say how it calls the notebook.");
	return in_drive(c, l->worker, json_str(answer.doc, "id"), ret);
}

/* Drive's own reasons, its owner's to mend; meanwhile the notebook can be downloaded. */
static bool gives_way(const struct provider_call *c, enum err err)
{
	const char *why = c->error->reason;
	bool known = why && (!strcmp(why, "account") || !strcmp(why, "credentials"));

	return (err == ERR_FORBIDDEN || err == ERR_INVALID || err == ERR_QUOTA || err == ERR_TOO_LARGE) && !known;
}

static enum err start(struct provider_call *c, const struct launch *l, struct run *ret)
{
	enum err err;

	if (!has_drive(c))
		return to_download(c, l, ret);
	err = delete_others(c, l->worker, l->intent);
	if (!err)
		err = upload(c, l, ret);
	return err && gives_way(c, err) ? to_download(c, l, ret) : err;
}

static enum err find(struct provider_call *c, const struct launch *l, struct run *ret)
{
	struct run_list list;
	enum err err;

	if (!has_drive(c))
		return ERR_NOT_FOUND;
	err = list_files(c, l->intent, 0, &list);
	if (err)
		return err;
	if (!list.count)
		return ERR_NOT_FOUND;
	*ret = list.items[0].run;
	return OK;
}

static enum err list(struct provider_call *c, struct run_list *ret)
{
	*ret = (struct run_list){0};
	return has_drive(c) ? list_files(c, STR_NULL, 0, ret) : OK;
}

/* Without consent what is in the person's Drive stays there: its token is void. */
static enum err remove_files(struct provider_call *c, const struct run *run)
{
	cleanup_json struct json *doc = NULL;
	struct str file = file_of(run, &doc);
	int64_t worker = json_i64(doc, "worker", 0);

	CRASH_POINT("colab.remove");
	if (!has_drive(c) || worker <= 0)
		return OK;
	/* The last was not in Drive; an earlier one may be. */
	return file.len ? delete_file(c, run) : delete_others(c, worker, STR_NULL);
}

const struct provider provider_colab = {
	.name = "colab",
	.caps = CAN_START | HUMAN_START | REMOTE | MAY_SECRET,
	.check = check,
	.verify = colab_verify,
	.consent = colab_exchange,
	.start = start,
	.find = find,
	.list = list,
	.remove = remove_files,
};
