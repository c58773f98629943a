/* notebook - see base/notebook.h. */
#include "base/notebook.h"

#include <string.h>

#include "base/asset.h"
#include "base/crypto.h"

static bool is(const char *a, const char *b)
{
	return a && !strcmp(a, b);
}

/* ---- the code ------------------------------------------------------------- */

/* A JSON string is a Python string too, and has no line break that could end it. */
static void add_value(struct buf *b, const struct notebook *n, struct str name)
{
	const struct asset *agent = asset_find("agent/gpupool-agent.py");

	if (str_eqz(name, "SERVER"))
		buf_add_json(b, str_of(n->server_url));
	else if (str_eqz(name, "TOKEN"))
		buf_add_json(b, n->token);
	else if (str_eqz(name, "PROVIDER"))
		buf_add_json(b, str_of(n->provider));
	else if (str_eqz(name, "RESOURCE"))
		buf_add_json(b, str_of(n->resource ? n->resource : "cpu"));
	else if (str_eqz(name, "DETACH"))
		buf_adds(b, n->detach ? "\"yes\"" : "\"\"");
	else if (str_eqz(name, "AGENT"))
		crypto_base64(agent->bytes.ptr, agent->bytes.len, b);
	else
		BUG("a start script names a value %.*s", STR_ARG(name));
}

/* The script with its places "@NAME@", and @NAME@ on a line of its own, filled in. */
static void add_script(struct buf *b, const struct notebook *n, struct str script)
{
	struct str line;

	while (str_cut(&script, '\n', &line)) {
		ptrdiff_t at = str_index(line, '@');
		bool quoted = at > 0 && line.ptr[at - 1] == '"' && str_ends(line, "@\"");
		bool whole = at == 0 && line.len > 2 && str_ends(line, "@");

		if (quoted || whole) {
			size_t after = (size_t)at + 1, tail = quoted ? 2 : 1;

			buf_add(b, line.ptr, (size_t)at - quoted);
			add_value(b, n, (struct str){line.ptr + after, line.len - after - tail});
		} else {
			buf_addstr(b, line);
		}
		if (script.ptr)
			buf_addc(b, '\n');
	}
}

static enum err too_large(const struct buf *b, struct error *e)
{
	return error_set(e, ERR_INVALID, "The notebook would be larger than %zu bytes.", b->max);
}

enum err notebook_source(const struct notebook *n, struct buf *ret, struct error *e)
{
	const struct asset *script = asset_find(n->script ? n->script : "agent/colab-start.py");

	if (!script || !asset_find("agent/gpupool-agent.py"))
		return error_set(e, ERR_INVALID, "This program was built without its agent.");
	buf_addf(ret, "# gpupool intent %.*s\n# gpupool worker %lld of %s\n", STR_ARG(n->intent), (long long)n->worker, n->installation);
	add_script(ret, n, script->bytes);
	return ret->failed ? too_large(ret, e) : OK;
}

/* ---- the file ------------------------------------------------------------- */

static void add_metadata(struct buf *b, const struct notebook *n)
{
	bool gpu = is(n->resource, "gpu"), tpu = is(n->resource, "tpu");

	buf_adds(b, "\"metadata\":{");
	if (n->machine && (gpu || tpu))
		buf_addf(b, "\"accelerator\":\"%s\",", gpu ? "GPU" : "TPU");
	buf_adds(b, "\"colab\":{\"provenance\":[]");
	if (n->machine && (gpu || tpu)) {
		buf_adds(b, ",\"gpuType\":");
		buf_add_json(b, str_of(n->machine));
	}
	buf_adds(b, "},\"kernelspec\":{\"name\":\"python3\",\"display_name\":\"Python 3\"},\"language_info\":{\"name\":\"python\"}}");
}

/* A title is text, whatever Markdown would make of it. */
static void add_plain(struct buf *b, struct str text)
{
	for (size_t i = 0; i < text.len; i++) {
		if ((unsigned char)text.ptr[i] < 0x80 && strchr("\\`*_{}[]()#+-.!|<>&~$", text.ptr[i]))
			buf_addc(b, '\\');
		buf_addc(b, text.ptr[i]);
	}
}

static void add_heading(struct buf *b, const struct notebook *n)
{
	cleanup_buf struct buf text = BUF_INIT(8 << 10);

	buf_adds(&text, "# ");
	add_plain(&text, str_of(n->title ? n->title : "gpupool"));
	buf_adds(&text, "\n\nThis notebook makes a machine of yours at Colab a worker of gpupool at ");
	add_plain(&text, str_of(n->server_url));
	buf_adds(&text, ". **Run all** (Ctrl+F9) starts it; leave this tab open while it works. It takes your jobs until it is stopped "
			"there or here, and it can be run once: get another notebook from gpupool for the next time.");
	buf_adds(b, "{\"cell_type\":\"markdown\",\"metadata\":{\"id\":\"gpupool-about\"},\"source\":[");
	buf_add_json(b, buf_str(&text));
	buf_adds(b, "]},");
}

enum err notebook_write(const struct notebook *n, struct buf *ret, struct error *e)
{
	cleanup_buf struct buf source = BUF_SECRET(NOTEBOOK_MOST);
	enum err err = notebook_source(n, &source, e);

	if (err)
		return err;
	buf_adds(ret, "{\"nbformat\":4,\"nbformat_minor\":0,");
	add_metadata(ret, n);
	buf_adds(ret, ",\"cells\":[");
	if (n->people)
		add_heading(ret, n);
	buf_addf(ret, "{\"cell_type\":\"code\",\"metadata\":{\"id\":\"gpupool-worker\"%s},\"execution_count\":null,\"outputs\":[],\"source\":[",
		 n->people ? ",\"cellView\":\"form\"" : "");
	buf_add_json(ret, buf_str(&source));
	buf_adds(ret, "]}]}");
	return ret->failed ? too_large(ret, e) : OK;
}
