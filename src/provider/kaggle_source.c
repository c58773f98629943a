/* kaggle_source - what is pushed, and the mark by which it is known again. */
#include "provider/kaggle.h"

#include <string.h>

#include "base/notebook.h"

/* ---- the mark ------------------------------------------------------------- */

/* Takes the line of the form "before VALUE after"; *value is the part between. */
static bool line_of(struct str *rest, const char *before, struct str *value)
{
	struct str line;

	if (!str_cut(rest, '\n', &line))
		return false;
	if (str_ends(line, "\r"))
		line.len--;
	if (!str_starts(line, before))
		return false;
	*value = (struct str){line.ptr + strlen(before), line.len - strlen(before)};
	return true;
}

bool kaggle_mark_read(struct str source, struct kaggle_mark *ret)
{
	struct str rest = source, worker, of;

	if (!line_of(&rest, "# gpupool intent ", &ret->intent) || !line_of(&rest, "# gpupool worker ", &worker))
		return false;
	if (!str_cut(&worker, ' ', &of) || !str_to_id(of, &ret->worker) || !str_starts(worker, "of "))
		return false;
	ret->installation = (struct str){worker.ptr + 3, worker.len - 3};
	return str_is_uuid(ret->intent) && str_is_uuid(ret->installation);
}

/* ---- the source ----------------------------------------------------------- */

enum err kaggle_source_make(struct provider_call *c, const struct launch *l, struct str *ret)
{
	const struct notebook n = {
		.script = "agent/kaggle-start.py",
		.intent = l->intent,
		.worker = l->worker,
		.installation = c->installation,
		.resource = l->resource,
		.token = {l->token->ptr, l->token->len},
		.server_url = l->server_url,
	};
	cleanup_buf struct buf b = BUF_SECRET(KAGGLE_SOURCE_MOST);
	enum err err = notebook_source(&n, &b, c->error);

	if (err)
		return err;
	*ret = arena_str(c->arena, buf_str(&b));
	return ret->ptr ? OK : kaggle_no_memory(c);
}

/* ---- the push ------------------------------------------------------------- */

static bool is(const char *resource, const char *what)
{
	return resource && !strcmp(resource, what);
}

static const char *shape_of(const struct launch *l)
{
	if (l->shape && l->shape[0])
		return l->shape;
	/* Without a shape Kaggle gives what its software no longer supports. */
	return is(l->resource, "gpu") ? "NvidiaTeslaT4" : is(l->resource, "tpu") ? "TpuV5E8" : NULL;
}

static void put_sources(struct json *args, const char *key, const char *const *names)
{
	struct json *list;

	if (!names[0])
		return;
	list = json_array();
	for (; *names; names++)
		json_add_cstr(list, *names);
	json_put(args, key, list);
}

/* The name with spaces, of which Kaggle makes the same name. */
static const char *title_of(struct provider_call *c, const char *name)
{
	char *title = arena_strdup(c->arena, name);

	for (char *p = title; p && *p; p++)
		if (*p == '-')
			*p = ' ';
	return title;
}

enum err kaggle_push_make(struct provider_call *c, const struct launch *l, const char *owner, struct json **ret)
{
	const char *slug = arena_printf(c->arena, "%s/%s", owner, l->name), *title = title_of(c, l->name), *shape = shape_of(l);
	struct str source = STR_NULL;
	enum err err = kaggle_source_make(c, l, &source);
	struct json *args;

	if (err || !slug || !title)
		return err ? err : kaggle_no_memory(c);
	args = json_object();
	json_put_cstr(args, "slug", slug);
	json_put_cstr(args, "newTitle", title);
	json_put_str(args, "text", source);
	json_put_cstr(args, "language", "python");
	json_put_cstr(args, "kernelType", "script");
	json_put_bool(args, "isPrivate", true);
	json_put_bool(args, "enableInternet", true);
	json_put_bool(args, "enableGpu", is(l->resource, "gpu"));
	json_put_bool(args, "enableTpu", is(l->resource, "tpu"));
	if (shape)
		json_put_cstr(args, "machineShape", shape);
	if (l->limit_seconds > 0)
		json_put_i64(args, "sessionTimeoutSeconds", l->limit_seconds);
	json_put_cstr(args, "kernelExecutionType", "SAVE_AND_RUN_ALL");
	if (l->inputs) {
		put_sources(args, "datasetDataSources", l->inputs->datasets);
		put_sources(args, "modelDataSources", l->inputs->models);
		put_sources(args, "competitionDataSources", l->inputs->competitions);
		put_sources(args, "kernelDataSources", l->inputs->kernels);
	}
	*ret = args;
	return OK;
}
