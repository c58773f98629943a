/* kaggle_outputs - what a run left: its log and its files. */
#include "provider/kaggle.h"

#include <string.h>

#include "base/clock.h"

enum {
	PAGE = 100,
	PAGES_MOST = 20,
	SPARE_MS = 3000,               /* kept for what the caller does with the outputs */
	FETCH_TRIES = 2,
	URL_MOST = 8 << 10,
};

/* Files of all pages, as far as they are kept. */
struct listing {
	struct output_file files[KAGGLE_FILES_MOST];
	const char *urls[KAGGLE_FILES_MOST];
	size_t count;
	bool gone_on;                  /* more than are kept */
};

static bool has(const struct listing *l, struct str name)
{
	for (size_t i = 0; i < l->count; i++)
		if (str_eqz(name, l->files[i].name))
			return true;
	return false;
}

static bool url_valid(struct str url)
{
	if ((!str_starts(url, "https://") && !str_starts(url, "http://")) || url.len > URL_MOST)
		return false;
	for (size_t i = 0; i < url.len; i++)
		if (url.ptr[i] <= ' ' || url.ptr[i] > '~')
			return false;
	return true;
}

static enum err add_files(struct provider_call *c, const struct json *answer, struct listing *l)
{
	const struct json *files = kaggle_get(answer, "files");

	for (size_t i = 0; i < json_len(files); i++) {
		struct str name = kaggle_text(json_at(files, i), "fileName"), url = kaggle_text(json_at(files, i), "url");

		if (!kaggle_file_valid(name) || has(l, name))
			continue;
		if (l->count == KAGGLE_FILES_MOST) {
			l->gone_on = true;
			return OK;
		}
		l->files[l->count] = (struct output_file){.name = arena_str(c->arena, name).ptr, .size = -1};
		l->urls[l->count] = url_valid(url) ? arena_str(c->arena, url).ptr : "";
		if (!l->files[l->count].name || !l->urls[l->count])
			return kaggle_no_memory(c);
		l->count++;
	}
	return OK;
}

/* The log comes as a string, or as the array itself. */
static void read_log(const struct json *answer, struct buf *ret)
{
	const struct json *log = kaggle_get(answer, "log");
	static const char cut[] = "\n[The rest of the log was too large to be fetched.]\n";
	cleanup_buf struct buf text = BUF_INIT(64 << 20);

	if (json_type_of(log) == JSON_STRING) {
		kaggle_log_read(json_as_str(log), ret);
		if (json_bool(answer, "logCut", false))
			buf_adds(ret, cut);
	} else if (json_type_of(log) == JSON_ARRAY && json_len(log)) {
		json_write(log, &text);
		kaggle_log_read(buf_str(&text), ret);
	}
}

static struct json *page_args(const struct kaggle_reference *r, struct str token)
{
	struct json *args = json_object();
	char label[32];

	json_put_cstr(args, "userName", r->owner);
	json_put_cstr(args, "kernelSlug", r->name);
	if (r->version > 0) {
		snprintf(label, sizeof(label), "v%lld", (long long)r->version);
		json_put_cstr(args, "versionLabel", label);
	}
	json_put_i64(args, "pageSize", PAGE);
	if (token.len)
		json_put_str(args, "pageToken", token);
	return args;
}

static enum err read_pages(struct provider_call *c, const struct kaggle_reference *r, struct listing *l, struct buf *log)
{
	struct str token = STR_NULL;

	for (int page = 0; page < PAGES_MOST && !l->gone_on; page++) {
		cleanup_json struct json *answer = NULL;
		enum err err = kaggle_prove(c, kaggle_call(c, "kernels.KernelsApiService/ListKernelSessionOutput", page_args(r, token), KAGGLE_OUTPUT,
							   &answer));

		if (err == ERR_NOT_FOUND)
			return error_set(c->error, ERR_GONE, "The notebook is no longer at Kaggle, and what it left is not either.");
		if (err)
			return err;
		if (!page)
			read_log(answer, log);
		err = add_files(c, answer, l);
		if (err)
			return err;
		token = arena_str(c->arena, kaggle_text(answer, "nextPageToken"));
		if (!token.len)
			break;
	}
	return OK;
}

/* Once more where that may help: nobody asks for this file again. */
static enum err fetch(struct provider_call *c, const char *url, size_t most, struct str *ret)
{
	enum err err = ERR_UPSTREAM;

	for (int i = 0; i < FETCH_TRIES && (err == ERR_UNAVAILABLE || err == ERR_UPSTREAM) && kaggle_left(c) > SPARE_MS; i++)
		err = kaggle_fetch(c, url, most, ret);
	return err;
}

/* As many as fit; one that cannot be had is listed without its content. */
static void fetch_files(struct provider_call *c, struct listing *l)
{
	size_t left = KAGGLE_FILES_BYTES;
	struct error kept = *c->error;

	for (size_t i = 0; i < l->count && left; i++) {
		struct output_file *f = &l->files[i];

		if (!l->urls[i][0] || fetch(c, l->urls[i], left < KAGGLE_FILE_MOST ? left : KAGGLE_FILE_MOST, &f->content))
			continue;
		f->size = (int64_t)f->content.len;
		left -= f->content.len;
	}
	*c->error = kept;
}

static enum err fill_log(struct provider_call *c, const struct buf *log, struct outputs *ret)
{
	struct str all = arena_str(c->arena, buf_str(log));
	size_t begin = all.len > KAGGLE_LOG_TAIL ? all.len - KAGGLE_LOG_TAIL : 0;
	char reason[KAGGLE_REASON];

	if (!all.ptr)
		return kaggle_no_memory(c);
	if (!all.len)
		return OK;
	while (begin < all.len && ((unsigned char)all.ptr[begin] & 0xc0) == 0x80)
		begin++;
	ret->whole_log = all;
	ret->log = (struct str){all.ptr + begin, all.len - begin};
	if (!kaggle_diagnose(all, &ret->code, reason))
		return OK;
	ret->reason = arena_strdup(c->arena, reason);
	return ret->reason ? OK : kaggle_no_memory(c);
}

enum err kaggle_outputs(struct provider_call *c, const struct run *run, struct outputs *ret)
{
	cleanup_buf struct buf log = BUF_INIT(KAGGLE_LOG_MOST + 128);
	struct listing *l = arena_new(c->arena, struct listing);
	struct kaggle_reference r;
	enum err err;

	*ret = (struct outputs){0};
	if (!l)
		return kaggle_no_memory(c);
	err = kaggle_reference_read(c, run, &r);
	if (err)
		return err;
	err = read_pages(c, &r, l, &log);
	if (!err)
		err = fill_log(c, &log, ret);
	if (err)
		return err;
	if (!c->log_only)
		fetch_files(c, l);
	ret->files = l->files;
	ret->file_count = l->count;
	return OK;
}
