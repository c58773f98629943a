/* colab_page - see provider/colab_page.h. */
#include "provider/colab_page.h"

#include <string.h>

#include "base/asset.h"
#include "base/clock.h"

enum { DATA_MOST = 64 << 10, TURN_MS = 250, WORDS_MOST = 160 };

static const char *const says_names[] = {
	[COLAB_NOTHING] = "", [COLAB_LOADING] = "loading", [COLAB_NOT_GOOGLE] = "not_google", [COLAB_IDLE] = "idle", [COLAB_TOO_MANY] = "too_many",
	[COLAB_QUOTA] = "quota", [COLAB_SIGN_IN] = "sign_in", [COLAB_CAPTCHA] = "captcha", [COLAB_DENYLISTED] = "denylisted",
};

/* ---- the data ------------------------------------------------------------- */

/* Only the paths travel to the page, as text. */
static char *paths_of(const struct json *data, struct arena *a)
{
	cleanup_json struct json *paths = json_object();

	for (struct json_iter it = json_iter(json_get(data, "selectors")); json_next(&it);)
		json_put(paths, it.key, json_ref(json_get(it.value, "paths")));
	return json_text(paths, a);
}

enum err colab_page_open(struct colab_page *p, struct wd *wd, const char *accounts_url)
{
	const struct asset *data = asset_find("provider/colab-selectors.json");

	*p = (struct colab_page){.wd = wd, .accounts_url = accounts_url};
	if (!data || !asset_find("provider/colab-page.js") || json_parse(data->bytes, DATA_MOST, &p->data, NULL))
		return error_set(wd->error, ERR_INTERNAL, "This program was built without its knowledge of Colab's pages.");
	p->paths = paths_of(p->data, wd->arena);
	p->texts = json_get(p->data, "texts");
	return p->paths ? OK : error_set(wd->error, ERR_INTERNAL, "out of memory");
}

void colab_page_close(struct colab_page *p)
{
	json_free(p->data);
	*p = (struct colab_page){0};
}

static enum err ask(struct colab_page *p, const char *what, const char *name, const char *value, struct json **ret)
{
	struct json *args = json_array();

	json_add_cstr(args, p->paths);
	json_add_cstr(args, what);
	json_add_cstr(args, name ? name : "");
	json_add_cstr(args, value ? value : "");
	return wd_script(p->wd, asset_find("provider/colab-page.js")->bytes.ptr, args, ret);
}

/* ---- a look --------------------------------------------------------------- */

/* Of a dialog's text, in lower case. */
static enum colab_says meaning(const struct colab_page *p, const char *text)
{
	enum colab_says worst = COLAB_NOTHING;

	for (size_t i = 0; i < json_len(p->texts); i++) {
		const struct json *t = json_at(p->texts, i);
		const char *words = json_cstr(t, "words");

		for (size_t k = 1; words && strstr(text, words) && k < ARRAY_LEN(says_names); k++)
			if (str_eqz(json_str(t, "says"), says_names[k]) && (enum colab_says)k > worst)
				worst = (enum colab_says)k;
	}
	return worst;
}

static void lower(char *text)
{
	for (; *text; text++)
		if (*text >= 'A' && *text <= 'Z')
			*text = (char)(*text - 'A' + 'a');
}

static char *kept(struct colab_page *p, struct str s, size_t most)
{
	cleanup_buf struct buf b = BUF_INIT(4096);

	buf_add_text(&b, s, true);
	return arena_strndup(p->wd->arena, b.ptr ? b.ptr : "", b.len < most ? b.len : most);
}

static void read_dialogs(struct colab_page *p, const struct json *dialogs, struct colab_look *ret)
{
	for (size_t i = 0; i < json_len(dialogs) && i < 8; i++) {
		struct str words = json_as_str(json_at(dialogs, i));
		char *text = kept(p, words, 400);
		enum colab_says says;

		if (!text)
			continue;
		lower(text);
		says = meaning(p, text);
		if (says > ret->says || (!ret->words && says == ret->says)) {
			ret->says = says;
			ret->words = kept(p, words, WORDS_MOST);
		}
	}
}

static bool has(const char *text, const char *words)
{
	return text && strcasestr(text, words) != NULL;
}

static enum colab_link link_of(const struct json *j, const char *connect, bool busy)
{
	if (!json_bool(j, "there", false))
		return COLAB_UNKNOWN;
	if (has(connect, "connecting") || has(connect, "allocating") || has(connect, "initializing"))
		return COLAB_CONNECTING;
	if (has(connect, "connect"))
		return COLAB_OFF;
	return json_bool(j, "usage", false) || busy ? COLAB_ON : COLAB_UNKNOWN;
}

/* "Google Account: Alice Example (alice@example.com)" */
static const char *email_of(struct colab_page *p, struct str label)
{
	ptrdiff_t open = str_index(label, '('), close;
	struct str rest;

	if (open < 0)
		return NULL;
	rest = (struct str){label.ptr + open + 1, label.len - (size_t)open - 1};
	close = str_index(rest, ')');
	if (close <= 0)
		return NULL;
	rest.len = (size_t)close;
	return str_index(rest, '@') > 0 ? kept(p, rest, 254) : NULL;
}

enum err colab_page_look(struct colab_page *p, struct colab_look *ret)
{
	cleanup_json struct json *j = NULL;
	enum err err = ask(p, "look", NULL, NULL, &j);

	*ret = (struct colab_look){0};
	if (err)
		return err;
	*ret = (struct colab_look){
		.url = kept(p, json_str(j, "url"), 1000),
		.connect = kept(p, json_str(j, "connect"), 80),
		.page_words = kept(p, json_str(j, "words"), 400),
		.email = email_of(p, json_str(j, "account")),
		.loaded = json_bool(j, "loaded", false),
		.there = json_bool(j, "there", false),
		.opening = json_bool(j, "opening", false),
		.email_asked = json_bool(j, "email", false),
		.password_asked = json_bool(j, "password", false),
		.cells = json_i64(j, "cells", 0),
		.running = json_i64(j, "running", 0),
		.pending = json_i64(j, "pending", 0),
		.failed = json_i64(j, "failed", 0),
	};
	if (!ret->url || !ret->connect || !ret->page_words)
		return error_set(p->wd->error, ERR_INTERNAL, "out of memory");
	read_dialogs(p, json_get(j, "dialogs"), ret);
	ret->at_google = str_starts(str_of(ret->url), p->accounts_url);
	ret->challenge = strstr(ret->url, "/challenge/") != NULL && !ret->password_asked;
	ret->link = link_of(j, ret->connect, ret->running > 0 || ret->pending > 0);
	if (json_bool(j, "captcha", false))
		ret->says = ret->says > COLAB_CAPTCHA ? ret->says : COLAB_CAPTCHA;
	else if (ret->says < COLAB_SIGN_IN && (ret->at_google || (json_bool(j, "signIn", false) && !ret->email)))
		ret->says = COLAB_SIGN_IN;
	return OK;
}

/* ---- its elements --------------------------------------------------------- */

enum err colab_page_node(struct colab_page *p, bool dialog, const char *name, const char *value, struct wd_node *ret)
{
	cleanup_json struct json *j = NULL;
	enum err err = ask(p, dialog ? "dialog" : "node", name, value, &j);

	return err ? err : wd_node_of(p->wd, j, ret);
}

enum err colab_page_click(struct colab_page *p, bool dialog, const char *name, const char *value, int64_t until)
{
	for (;;) {
		struct wd_node node;
		enum err err = colab_page_node(p, dialog, name, value, &node);

		if (!err)
			err = wd_click(p->wd, node);
		if ((err != ERR_NOT_FOUND && err != ERR_CONFLICT) || clock_ms() > until)
			return err;
		clock_sleep_ms(TURN_MS);
	}
}

enum err colab_page_is(struct colab_page *p, const char *name, const char *value, bool *there, bool *disabled, bool *checked)
{
	cleanup_json struct json *j = NULL;
	enum err err = ask(p, "is", name, value, &j);

	*there = !err && json_type_of(j) == JSON_OBJECT;
	*disabled = json_bool(j, "disabled", false);
	*checked = json_bool(j, "checked", false);
	return err;
}
