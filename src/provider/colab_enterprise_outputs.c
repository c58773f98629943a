/* colab_enterprise_outputs - what an execution left in the bucket: the executed notebook, which holds its log. */
#include "provider/colab_enterprise.h"

#include <string.h>

#include "provider/google_token.h"

enum { PAGE = 100 };
static const char service[] = "Cloud Storage";

struct object {
	struct str name;               /* in the bucket */
	int64_t size;
};

static bool name_valid(struct str name)
{
	struct str rest = name, segment;
	int count = 0;

	if (!name.len || name.len > 512 || !str_is_utf8(name))
		return false;
	for (size_t i = 0; i < name.len; i++)
		if ((unsigned char)name.ptr[i] < ' ' || name.ptr[i] == 0x7f || name.ptr[i] == '\\' || name.ptr[i] == ':')
			return false;
	while (str_cut(&rest, '/', &segment))
		if (++count > 8 || !segment.len || str_eqz(segment, ".") || str_eqz(segment, ".."))
			return false;
	return true;
}

static enum err list_objects(struct provider_call *c, const struct ce_account *a, const char *prefix, struct object *ret, size_t *count)
{
	cleanup_google_answer struct google_answer answer = {0};
	cleanup_buf struct buf url = BUF_INIT(4096);
	const struct json *items;
	enum err err;

	*count = 0;
	buf_addf(&url, "%s/storage/v1/b/%s/o?maxResults=%d&prefix=", c->config->gcs_url, a->bucket, PAGE);
	buf_add_url(&url, str_of(prefix));
	err = google_call(c, &(struct google_request){.service = service, .scope = GOOGLE_SCOPE_CLOUD, .url = url.ptr}, &answer);
	items = err ? NULL : json_get(answer.doc, "items");
	for (size_t i = 0; i < json_len(items) && *count < CE_FILES_MOST; i++) {
		struct str name = json_str(json_at(items, i), "name"), below;

		if (!str_starts(name, prefix))
			continue;
		below = (struct str){name.ptr + strlen(prefix), name.len - strlen(prefix)};
		if (!name_valid(below))
			continue;
		ret[*count].name = arena_str(c->arena, name);
		/* 64-bit integers are strings there. */
		if (!str_to_i64(json_str(json_at(items, i), "size"), 0, INT64_MAX, &ret[*count].size))
			ret[*count].size = -1;
		if (!ret[(*count)++].name.ptr)
			return google_no_memory(c);
	}
	return err;
}

static enum err fetch(struct provider_call *c, const struct ce_account *a, struct str name, size_t most, struct str *ret)
{
	cleanup_google_answer struct google_answer answer = {0};
	cleanup_buf struct buf url = BUF_INIT(8192);
	enum err err;

	buf_addf(&url, "%s/storage/v1/b/%s/o/", c->config->gcs_url, a->bucket);
	buf_add_url(&url, name);
	buf_adds(&url, "?alt=media");
	err = google_call(c, &(struct google_request){.service = service, .scope = GOOGLE_SCOPE_CLOUD, .url = url.ptr, .bytes = true, .most = most}, &answer);
	*ret = err ? STR_NULL : answer.bytes;
	return err;
}

/* Everything of it that is secret: the agent's tokens. */
static void hide_tokens(char *text, size_t len)
{
	static const char more[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	for (size_t i = 0; i + 4 < len; i++) {
		size_t n = 0;

		if (text[i] != 'g' || text[i + 1] != 'p' || text[i + 2] < 'a' || text[i + 2] > 'z' || text[i + 3] != '_')
			continue;
		while (i + 4 + n < len && memchr(more, text[i + 4 + n], sizeof(more) - 1))
			n++;
		if (n >= 20)
			memset(text + i + 4, '*', n);
		i += 3 + n;
	}
}

static struct str tail_of(struct str all)
{
	size_t begin = all.len > CE_LOG_TAIL ? all.len - CE_LOG_TAIL : 0;

	while (begin < all.len && ((unsigned char)all.ptr[begin] & 0xc0) == 0x80)
		begin++;
	return (struct str){all.ptr + begin, all.len - begin};
}

/* The log of the notebook in *bytes, whose source is taken out of what is kept. */
static enum err read_notebook(struct provider_call *c, struct str bytes, struct outputs *ret)
{
	cleanup_json struct json *notebook = NULL;
	cleanup_buf struct buf raw = BUF_INIT(CE_NOTEBOOK_MOST), text = BUF_INIT(3 * CE_NOTEBOOK_MOST);
	char reason[CE_REASON];
	struct str all;

	/* One that is broken says nothing; another look will not help. */
	if (json_parse(bytes, CE_NOTEBOOK_MOST, &notebook, NULL) != OK || !ce_notebook_log(notebook, &raw))
		return OK;
	buf_add_text(&text, buf_str(&raw), false);
	if (text.len)
		hide_tokens(text.ptr, text.len);
	all = buf_str(&text);
	if (all.len > CE_LOG_MOST)
		all = (struct str){all.ptr + all.len - CE_LOG_MOST, CE_LOG_MOST};
	all = arena_str(c->arena, all);
	if (!all.ptr)
		return google_no_memory(c);
	ret->whole_log = all;
	ret->log = tail_of(all);
	if (!ce_diagnose(all, &ret->code, reason))
		return OK;
	ret->reason = arena_strdup(c->arena, reason);
	return ret->reason ? OK : google_no_memory(c);
}

static bool is_notebook(const struct object *o)
{
	return str_ends(o->name, ".ipynb");
}

/* Its executed notebook, without the tokens in it. */
static enum err keep_notebook(struct provider_call *c, const struct ce_account *a, const struct object *o, struct output_file *f, struct outputs *ret)
{
	struct str bytes;
	enum err err = fetch(c, a, o->name, CE_NOTEBOOK_MOST, &bytes);

	/* Larger than anything that is read, or gone meanwhile. */
	if (err == ERR_NOT_FOUND || (err == ERR_UPSTREAM && c->error->reason && !strcmp(c->error->reason, "too_large")))
		return OK;
	if (err)
		return err;
	err = read_notebook(c, bytes, ret);
	hide_tokens((char *)bytes.ptr, bytes.len);
	f->size = (int64_t)bytes.len;
	if (bytes.len <= CE_FILE_MOST)
		f->content = bytes;
	return err;
}

/* No notebook: one that had no machine never wrote any, and a job that was deleted writes none any more. */
static enum err without_notebook(struct provider_call *c, const struct ce_account *a, const struct ce_reference *r, struct outputs *ret)
{
	char words[GOOGLE_WORDS];
	enum err err = ce_job_words(c, a, r, words);
	const char *log;

	if (err == ERR_NOT_FOUND)
		return google_fail(c, ERR_GONE, NULL, "Its execution job was deleted, and has left nothing in the bucket.");
	if (err || !words[0])
		return err;
	log = arena_printf(c->arena, "Vertex AI: %s\n", words);
	ret->whole_log = ret->log = str_of(log);
	return log ? OK : google_no_memory(c);
}

enum err ce_outputs(struct provider_call *c, const struct run *run, struct outputs *ret)
{
	struct object *objects = arena_array(c->arena, CE_FILES_MOST, sizeof(*objects));
	struct output_file *files = arena_array(c->arena, CE_FILES_MOST, sizeof(*files));
	struct ce_reference r;
	struct ce_account a;
	size_t count = 0;
	bool read = false;
	enum err err = ce_account_read(c, &a);

	*ret = (struct outputs){0};
	if (!err && (!objects || !files))
		err = google_no_memory(c);
	if (!err)
		err = ce_reference_read(c, run, &r);
	if (!err)
		err = list_objects(c, &a, r.output, objects, &count);
	if (err == ERR_NOT_FOUND)
		return google_fail(c, ERR_GONE, NULL, "The bucket %.100s is no longer there, and what the run left is not either.", a.bucket);
	for (size_t i = 0; !err && i < count; i++) {
		files[i] = (struct output_file){.name = objects[i].name.ptr + strlen(r.output), .size = objects[i].size};
		if (is_notebook(&objects[i]) && !read) {
			read = true;
			err = keep_notebook(c, &a, &objects[i], &files[i], ret);
		}
	}
	if (!err && !read)
		err = without_notebook(c, &a, &r, ret);
	ret->files = files;
	ret->file_count = count;
	return err;
}
