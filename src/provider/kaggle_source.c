/* kaggle_source - what is pushed, and the mark by which it is known again. */
#include "provider/kaggle.h"

#include <string.h>

#include "base/asset.h"

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

/* A JSON string is a Python string too, and has no line break that could end it. */
static void add_value(struct buf *b, const struct launch *l, struct str name)
{
	const struct asset *agent = asset_find("agent/gpupool-agent.py");

	if (str_eqz(name, "SERVER"))
		buf_add_json(b, str_of(l->server_url));
	else if (str_eqz(name, "TOKEN"))
		buf_add_json(b, (struct str){l->token->ptr, l->token->len});
	else if (str_eqz(name, "RESOURCE"))
		buf_add_json(b, str_of(l->resource ? l->resource : "cpu"));
	else if (str_eqz(name, "AGENT"))
		crypto_base64(agent->bytes.ptr, agent->bytes.len, b);
	else
		BUG("kaggle-start.py names a value %.*s", STR_ARG(name));
}

/* The script with its places "@NAME@", and @NAME@ on a line of its own, filled in. */
static void add_script(struct buf *b, const struct launch *l, struct str script)
{
	struct str line;

	while (str_cut(&script, '\n', &line)) {
		ptrdiff_t at = str_index(line, '@');
		bool quoted = at > 0 && line.ptr[at - 1] == '"' && str_ends(line, "@\"");
		bool whole = at == 0 && line.len > 2 && str_ends(line, "@");

		if (quoted || whole) {
			size_t after = (size_t)at + 1, tail = quoted ? 2 : 1;

			buf_add(b, line.ptr, (size_t)at - quoted);
			add_value(b, l, (struct str){line.ptr + after, line.len - after - tail});
		} else {
			buf_addstr(b, line);
		}
		if (script.ptr)
			buf_addc(b, '\n');
	}
}

enum err kaggle_source_make(struct provider_call *c, const struct launch *l, struct str *ret)
{
	const struct asset *script = asset_find("agent/kaggle-start.py"), *agent = asset_find("agent/gpupool-agent.py");
	cleanup_buf struct buf b = BUF_INIT(KAGGLE_SOURCE_MOST);

	if (!script || !agent)
		return error_set(c->error, ERR_INVALID, "This program was built without its agent.");
	buf_addf(&b, "# gpupool intent %.*s\n# gpupool worker %lld of %s\n", STR_ARG(l->intent), (long long)l->worker, c->installation);
	add_script(&b, l, script->bytes);
	if (b.failed)
		return error_set(c->error, ERR_INVALID, "The notebook's source would be larger than Kaggle takes.");
	*ret = arena_str(c->arena, buf_str(&b));
	crypto_wipe(b.ptr, b.len);
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
