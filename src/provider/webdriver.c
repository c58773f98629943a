/* webdriver - the commands.  See provider/webdriver.h. */
#include "provider/webdriver.h"

#include <string.h>

#include "base/clock.h"
#include "base/crypto.h"

enum {
	CALL_MS = 70000,             /* above the time that a page may take to load */
	PAGE_MS = 60000, SCRIPT_MS = 20000,
	REPLY_MOST = 24 << 20,       /* a screenshot */
	NODE_ID_MOST = 256,
	SHOT_MOST = 16 << 20,
};

static const char element_key[] = "element-6066-11e4-a52e-4f735466cecf";
static const char shadow_key[] = "shadow-6066-11e4-a52e-4f735466cecf";

/* ---- errors --------------------------------------------------------------- */

static const struct fault {
	const char *name;
	enum err err;
} faults[] = {
	{"no such element", ERR_NOT_FOUND},       {"no such shadow root", ERR_NOT_FOUND},
	{"no such frame", ERR_NOT_FOUND},         {"no such alert", ERR_NOT_FOUND},
	{"stale element reference", ERR_CONFLICT}, {"detached shadow root", ERR_CONFLICT},
	{"element click intercepted", ERR_CONFLICT}, {"element not interactable", ERR_CONFLICT},
	{"unexpected alert open", ERR_CONFLICT},  {"move target out of bounds", ERR_CONFLICT},
	{"invalid session id", ERR_GONE},         {"no such window", ERR_GONE},
	{"timeout", ERR_TIMEOUT},                 {"script timeout", ERR_TIMEOUT},
	{"session not created", ERR_INVALID},
};

/* Some of what Chromium says needs a person, who is told what to do. */
static const struct advice {
	const char *words, *sentence;
	enum err err;
} advices[] = {
	{"only supports Chrome version",
	 "ChromeDriver and Chromium are of different versions: install chromium and chromium-driver of the same one.", ERR_INVALID},
	{"user data directory is already in use",
	 "The account's browser profile is in use by another Chromium: close that window.", ERR_UNAVAILABLE},
	{"no chrome binary at", "There is no Chromium where the setting chromium says: apt-get install chromium.", ERR_INVALID},
	{"DevToolsActivePort file doesn't exist",
	 "Chromium ended while it started: its sandbox needs an ordinary user, or its profile is in use by another Chromium.", ERR_UNAVAILABLE},
	{"chrome not reachable", "Chromium has ended.", ERR_GONE},
	{"disconnected", "Chromium has ended.", ERR_GONE},
	{"not connected to DevTools", "Chromium has ended.", ERR_GONE},
	{"tab crashed", "The page in Chromium has crashed.", ERR_GONE},
};

static enum err fault_of(struct wd *wd, const struct json *value)
{
	struct str name = json_str(value, "error");
	const char *message = json_cstr(value, "message");
	cleanup_buf struct buf said = BUF_INIT(160);

	for (size_t i = 0; message && i < ARRAY_LEN(advices); i++)
		if (strstr(message, advices[i].words))
			return error_set(wd->error, advices[i].err, "%s", advices[i].sentence);
	buf_add_text(&said, (struct str){message, message ? strcspn(message, "\n") : 0}, true);
	for (size_t i = 0; i < ARRAY_LEN(faults); i++)
		if (str_eqz(name, faults[i].name))
			return error_set(wd->error, faults[i].err, "The browser says: %s (%s)", faults[i].name, said.ptr ? said.ptr : "");
	if (!name.len)
		return error_set(wd->error, ERR_UPSTREAM, "What answers for ChromeDriver is none.");
	return error_set(wd->error, ERR_UPSTREAM, "The browser says: %.60s (%s)", name.ptr, said.ptr ? said.ptr : "");
}

/* ---- one command ---------------------------------------------------------- */

static int64_t call_time(const struct wd *wd)
{
	int64_t left = wd->deadline_ms - clock_ms();

	return left < CALL_MS ? left : CALL_MS;
}

static enum err judge(struct wd *wd, const struct http_reply *reply, struct json **ret)
{
	cleanup_json struct json *j = NULL;
	struct json *value;

	if (json_parse(reply->body, REPLY_MOST, &j, NULL) || json_type_of(j) != JSON_OBJECT || !json_has(j, "value"))
		return error_set(wd->error, ERR_UPSTREAM, "What answers for ChromeDriver is none.");
	value = json_get(j, "value");
	if (reply->status != 200)
		return fault_of(wd, value);
	if (ret)
		*ret = value ? json_ref(value) : NULL;
	return OK;
}

/* path "" is the session itself; args is freed, and NULL is an empty object where there is a body. */
static enum err command(struct wd *wd, const char *method, const char *path, struct json *args, struct json **ret)
{
	static const struct http_header headers[] = {{"Content-Type", "application/json; charset=utf-8"}, {NULL, NULL}};
	cleanup_buf struct buf body = BUF_SECRET(8 << 20);
	cleanup_arena struct arena a;
	struct http_reply reply = {0};
	bool posts = !strcmp(method, "POST");
	char url[512];
	enum err err;

	if (ret)
		*ret = NULL;
	if (posts && !args)
		args = json_object();
	json_write_wiped(args, &body);
	json_free(args);
	if (call_time(wd) <= 0)
		return error_set(wd->error, ERR_TIMEOUT, "The browser took too long.");
	if (snprintf(url, sizeof(url), "http://127.0.0.1:%d/session%s%s%s", wd->port, wd->session[0] ? "/" : "", wd->session, path) >=
	    (int)sizeof(url))
		return error_set(wd->error, ERR_INTERNAL, "A command of the browser is too long.");
	arena_init(&a, 64 << 20);
	wd->calls++;
	err = http_send(wd->http, &a,
			&(struct http_call){.method = method, .url = url, .headers = posts ? headers : NULL,
					    .body = posts ? buf_str(&body) : STR_NULL, .deadline_ms = call_time(wd), .max_reply = REPLY_MOST},
			&reply, wd->error);
	if (err == ERR_UNAVAILABLE && !http_client_aborted(wd->http))
		err = error_set(wd->error, ERR_GONE, "ChromeDriver does not answer any more.");
	return err ? err : judge(wd, &reply, ret);
}

static enum err text_of(struct wd *wd, const struct json *value, const char **ret)
{
	*ret = arena_str(wd->arena, json_as_str(value)).ptr;
	return *ret ? OK : error_set(wd->error, ERR_UPSTREAM, "The browser gave no text.");
}

static enum err node_named(struct wd *wd, const struct json *value, const char *key, struct wd_node *ret)
{
	struct str id = json_type_of(value) == JSON_OBJECT ? json_str(value, key) : STR_NULL;

	if (!id.len)
		return error_set(wd->error, ERR_NOT_FOUND, "The page has no such element.");
	if (id.len > NODE_ID_MOST)
		return error_set(wd->error, ERR_UPSTREAM, "The browser names an element strangely.");
	for (size_t i = 0; i < id.len; i++)
		if (!strchr("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ._-", id.ptr[i]))
			return error_set(wd->error, ERR_UPSTREAM, "The browser names an element strangely.");
	ret->id = arena_str(wd->arena, id).ptr;
	return ret->id ? OK : error_set(wd->error, ERR_INTERNAL, "out of memory");
}

enum err wd_node_of(struct wd *wd, const struct json *value, struct wd_node *ret)
{
	return node_named(wd, value, element_key, ret);
}

static enum err node_command(struct wd *wd, const char *method, struct wd_node node, const char *what, struct json *args, struct json **ret)
{
	char path[NODE_ID_MOST + 64];

	snprintf(path, sizeof(path), "/element/%s/%s", node.id, what);
	return command(wd, method, path, args, ret);
}

/* ---- sessions ------------------------------------------------------------- */

static struct json *capabilities(const struct wd_browser *b)
{
	struct json *args = json_array(), *chrome = json_object(), *all = json_object(), *timeouts = json_object(), *body = json_object(),
		    *wanted = json_object();
	cleanup_buf struct buf profile = BUF_INIT(4096);

	buf_addf(&profile, "--user-data-dir=%s", b->profile);
	json_add_cstr(args, profile.ptr);
	for (const char *const *a = b->args; a && *a; a++)
		json_add_cstr(args, *a);
	json_put_cstr(chrome, "binary", b->path);
	json_put(chrome, "args", args);
	json_put_i64(timeouts, "script", SCRIPT_MS);
	json_put_i64(timeouts, "pageLoad", PAGE_MS);
	json_put_i64(timeouts, "implicit", 0);
	json_put_cstr(all, "browserName", "chrome");
	json_put_cstr(all, "pageLoadStrategy", "eager");
	json_put_cstr(all, "unhandledPromptBehavior", "dismiss");
	json_put(all, "timeouts", timeouts);
	json_put(all, "goog:chromeOptions", chrome);
	json_put(wanted, "alwaysMatch", all);
	json_put(body, "capabilities", wanted);
	return body;
}

enum err wd_open(struct wd *wd, const struct wd_browser *b)
{
	cleanup_json struct json *value = NULL;
	struct str id;
	enum err err;

	wd->session[0] = '\0';
	err = command(wd, "POST", "", capabilities(b), &value);
	if (err)
		return err;
	id = json_str(value, "sessionId");
	if (!id.len || id.len >= WD_SESSION)
		return error_set(wd->error, ERR_UPSTREAM, "What answers for ChromeDriver is none.");
	for (size_t i = 0; i < id.len; i++)
		if (!strchr("0123456789abcdefABCDEF-", id.ptr[i]))
			return error_set(wd->error, ERR_UPSTREAM, "What answers for ChromeDriver is none.");
	memcpy(wd->session, id.ptr, id.len);
	wd->session[id.len] = '\0';
	return OK;
}

void wd_close(struct wd *wd)
{
	if (wd->session[0])
		(void)!command(wd, "DELETE", "", NULL, NULL);
	wd->session[0] = '\0';
}

enum err wd_ping(struct wd *wd)
{
	return wd->session[0] ? command(wd, "GET", "/url", NULL, NULL) : error_set(wd->error, ERR_GONE, "There is no browser.");
}

/* ---- pages and nodes ------------------------------------------------------ */

enum err wd_go(struct wd *wd, const char *url)
{
	struct json *args = json_object();

	json_put_cstr(args, "url", url);
	return command(wd, "POST", "/url", args, NULL);
}

enum err wd_url(struct wd *wd, const char **ret)
{
	cleanup_json struct json *value = NULL;
	enum err err = command(wd, "GET", "/url", NULL, &value);

	return err ? err : text_of(wd, value, ret);
}

static struct json *by_css(const char *css)
{
	struct json *args = json_object();

	json_put_cstr(args, "using", "css selector");
	json_put_cstr(args, "value", css);
	return args;
}

enum err wd_find(struct wd *wd, const char *css, struct wd_node *ret)
{
	cleanup_json struct json *value = NULL;
	enum err err = command(wd, "POST", "/element", by_css(css), &value);

	return err ? err : wd_node_of(wd, value, ret);
}

enum err wd_shadow(struct wd *wd, struct wd_node node, struct wd_node *ret)
{
	cleanup_json struct json *value = NULL;
	enum err err = node_command(wd, "GET", node, "shadow", NULL, &value);

	return err ? err : node_named(wd, value, shadow_key, ret);
}

enum err wd_find_in(struct wd *wd, struct wd_node node, bool shadow, const char *css, struct wd_node *ret)
{
	cleanup_json struct json *value = NULL;
	char path[NODE_ID_MOST + 64];
	enum err err;

	snprintf(path, sizeof(path), "/%s/%s/element", shadow ? "shadow" : "element", node.id);
	err = command(wd, "POST", path, by_css(css), &value);
	return err ? err : wd_node_of(wd, value, ret);
}

enum err wd_text(struct wd *wd, struct wd_node node, const char **ret)
{
	cleanup_json struct json *value = NULL;
	enum err err = node_command(wd, "GET", node, "text", NULL, &value);

	return err ? err : text_of(wd, value, ret);
}

enum err wd_click(struct wd *wd, struct wd_node node)
{
	return node_command(wd, "POST", node, "click", NULL, NULL);
}

enum err wd_type(struct wd *wd, struct wd_node node, struct str text)
{
	struct json *args = json_object();

	json_put_str(args, "text", text);
	return node_command(wd, "POST", node, "value", args, NULL);
}

/* ---- keys, scripts, frames, pictures --------------------------------------- */

static void add_key(struct json *actions, const char *type, const char *key)
{
	struct json *action = json_object();

	json_put_cstr(action, "type", type);
	json_put_cstr(action, "value", key);
	json_add(actions, action);
}

enum err wd_keys(struct wd *wd, const char *const *keys, size_t n)
{
	struct json *actions = json_array(), *device = json_object(), *devices = json_array(), *args = json_object();

	for (size_t i = 0; i < n; i++)
		add_key(actions, "keyDown", keys[i]);
	for (size_t i = n; i > 0; i--)
		add_key(actions, "keyUp", keys[i - 1]);
	json_put_cstr(device, "type", "key");
	json_put_cstr(device, "id", "keyboard");
	json_put(device, "actions", actions);
	json_add(devices, device);
	json_put(args, "actions", devices);
	return command(wd, "POST", "/actions", args, NULL);
}

enum err wd_script(struct wd *wd, const char *script, struct json *list, struct json **ret)
{
	struct json *args = json_object();

	json_put_cstr(args, "script", script);
	json_put(args, "args", list ? list : json_array());
	return command(wd, "POST", "/execute/sync", args, ret);
}

enum err wd_frame(struct wd *wd, struct wd_node frame)
{
	struct json *args = json_object(), *id = NULL;

	if (frame.id) {
		id = json_object();
		json_put_cstr(id, element_key, frame.id);
	}
	json_put(args, "id", id);
	return command(wd, "POST", "/frame", args, NULL);
}

enum err wd_screenshot(struct wd *wd, struct str *ret)
{
	cleanup_json struct json *value = NULL;
	cleanup_buf struct buf png = BUF_INIT(SHOT_MOST);
	enum err err = command(wd, "GET", "/screenshot", NULL, &value);

	if (err)
		return err;
	if (!crypto_unbase64(json_as_str(value), &png) || png.len < 8 || memcmp(png.ptr, "\x89PNG\r\n\x1a\n", 8))
		return error_set(wd->error, ERR_UPSTREAM, "The browser's picture is none.");
	*ret = arena_str(wd->arena, buf_str(&png));
	return ret->ptr ? OK : error_set(wd->error, ERR_TOO_LARGE, "The browser's picture is too large.");
}
