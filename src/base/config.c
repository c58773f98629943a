/* config - the table of settings.  See base/config.h. */
#include "base/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/outgoing.h"

enum { FILE_MOST = 64 << 10 };

/* Says why a text will not do, or NULL. */
typedef const char *check_text(struct str value);

static check_text check_public_url, check_base_url, check_listen, check_peers, check_level, check_providers, check_program, check_crash, check_rate;

enum kind { TEXT, NUMBER, SIZE, SECONDS, SWITCH };

/* Alphabetical, for config_print() shows them in this order. */
static const struct setting {
	const char *key;
	enum kind kind;
	size_t offset;
	const char *otherwise; /* the default, as it would be written */
	int64_t min, max;
	check_text *check;
} settings[] = {
#define WORDS(key, otherwise, check) {#key, TEXT, offsetof(struct config, key), otherwise, 0, 0, check}
#define RANGE(key, kind, otherwise, min, max) {#key, kind, offsetof(struct config, key), otherwise, min, max, NULL}
	WORDS(address_rate, "500r/s", check_rate),
	WORDS(api_rate, "50r/s", check_rate),
	WORDS(browser_dir, "", NULL),
	WORDS(chromedriver, "/usr/bin/chromedriver", check_program),
	WORDS(chromium, "/usr/bin/chromium", check_program),
	WORDS(colab_api_url, "https://colaboratory.googleapis.com", check_base_url),
	RANGE(colab_browser, SWITCH, "0", 0, 1),
	RANGE(colab_poll_seconds, SECONDS, "75", 1, 3600),
	WORDS(colab_url, "https://colab.research.google.com", check_base_url),
	WORDS(crash_at, "", check_crash),
	WORDS(database, "", NULL),
	RANGE(deadline_notice_seconds, SECONDS, "300", 0, 86400),
	RANGE(demo, SWITCH, "1", 0, 1),
	WORDS(drive_url, "https://www.googleapis.com", check_base_url),
	WORDS(gcs_url, "https://storage.googleapis.com", check_base_url),
	WORDS(google_accounts_url, "https://accounts.google.com", check_base_url),
	WORDS(google_oauth_url, "https://oauth2.googleapis.com", check_base_url),
	RANGE(grace_seconds, SECONDS, "10", 0, 3600),
	RANGE(hands, NUMBER, "4", 1, 64),
	RANGE(heartbeat_seconds, SECONDS, "15", 1, 300),
	RANGE(idle_stop_seconds, SECONDS, "1800", 0, 31536000),
	RANGE(kaggle_poll_seconds, SECONDS, "30", 1, 3600),
	RANGE(kaggle_settle_seconds, SECONDS, "240", 1, 3600),
	WORDS(kaggle_url, "https://api.kaggle.com/v1", check_base_url),
	WORDS(keys, "", NULL),
	RANGE(lease_inference_seconds, SECONDS, "60", 2, 86400),
	RANGE(lease_script_seconds, SECONDS, "300", 2, 86400),
	RANGE(lease_training_seconds, SECONDS, "1800", 2, 86400),
	WORDS(listen, "", check_listen),
	WORDS(listen_group, "", NULL),
	WORDS(local_dir, "", NULL),
	RANGE(local_uid, NUMBER, "62000", 0, 2000000000),
	RANGE(local_unsafe, SWITCH, "0", 0, 1),
	WORDS(log_level, "info", check_level),
	RANGE(max_artifact, SIZE, "2g", 1 << 10, 1LL << 40),
	RANGE(max_artifacts_job, SIZE, "10g", 1 << 10, 1LL << 44),
	RANGE(max_body, SIZE, "1m", 16 << 10, 64 << 20),
	RANGE(max_log, SIZE, "64m", 1 << 10, 1LL << 34),
	RANGE(max_parked, NUMBER, "4000", 1, 60000),
	WORDS(nginx_peers, "", check_peers),
	WORDS(outgoing_allow, "", outgoing_list_check),
	RANGE(password_slots, NUMBER, "2", 1, 16),
	WORDS(pip_args, "", NULL),
	RANGE(place_expiry, NUMBER, "4", 0, 1000),
	RANGE(place_hold_seconds, SECONDS, "300", 0, 86400),
	RANGE(place_load, NUMBER, "2", 0, 1000),
	RANGE(place_own, NUMBER, "16", 0, 1000),
	RANGE(place_time, NUMBER, "8", 0, 1000),
	RANGE(port, NUMBER, "8080", 1, 65535),
	WORDS(providers, "all", check_providers),
	WORDS(public_url, "", check_public_url),
	WORDS(python, "/usr/bin/python3", check_program),
	RANGE(retention_days, NUMBER, "30", 1, 3650),
	WORDS(signin_rate, "5r/m", check_rate),
	WORDS(state, "./state", NULL),
	WORDS(store, "", NULL),
	RANGE(vertex_settle_seconds, SECONDS, "60", 1, 3600),
	WORDS(vertex_url, "https://aiplatform.googleapis.com", check_base_url),
	RANGE(web_processes, NUMBER, "0", 0, 1000),
#undef WORDS
#undef RANGE
};

/* ---- checks --------------------------------------------------------------- */

static bool is_loopback(struct str host)
{
	struct in_addr v4;
	char text[INET_ADDRSTRLEN];

	if (str_eqz(host, "localhost") || str_eqz(host, "[::1]"))
		return true;
	if (host.len >= sizeof(text))
		return false;
	snprintf(text, sizeof(text), "%.*s", STR_ARG(host));
	return inet_pton(AF_INET, text, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

/* 0.0.0.0, [::] and their other spellings, such as "0" and [0::0]. */
static bool is_wildcard(struct str host)
{
	return strspn(host.ptr, "0.:[]") >= host.len;
}

/* Splits "host:port", "[v6]:port" or, with optional, a bare host. */
static bool split_host(struct str s, bool optional, struct str *host, int64_t *port)
{
	struct in6_addr v6;
	char text[INET6_ADDRSTRLEN];
	size_t len = 0;

	if (s.len && s.ptr[0] == '[') {
		ptrdiff_t end = str_index(s, ']');

		if (end < 0 || (size_t)end > sizeof(text))
			return false;
		snprintf(text, sizeof(text), "%.*s", (int)end - 1, s.ptr + 1);
		if (inet_pton(AF_INET6, text, &v6) != 1)
			return false;
		len = (size_t)end + 1;
	} else {
		while (len < s.len && strchr("abcdefghijklmnopqrstuvwxyz0123456789.-", s.ptr[len]))
			len++;
	}
	*host = (struct str){s.ptr, len};
	if (!len || len > 253)
		return false;
	if (len == s.len)
		return optional;
	return s.ptr[len] == ':' && str_to_i64((struct str){s.ptr + len + 1, s.len - len - 1}, 1, 65535, port);
}

static const char *check_public_url(struct str value)
{
	bool https = str_starts(value, "https://");
	size_t scheme = https ? 8 : 7;
	struct str host;
	int64_t port;

	if (!https && !str_starts(value, "http://"))
		return "must begin with https:// or http://";
	if (str_ends(value, "/"))
		return "must not end in a slash";
	if (!split_host((struct str){value.ptr + scheme, value.len - scheme}, true, &host, &port))
		return "must be a scheme, a lower-case host and perhaps a port, without a path";
	if (!https && !is_loopback(host))
		return "must be https unless the host is a loopback address";
	return NULL;
}

/* Of a provider's API: as above, with a path. */
static const char *check_base_url(struct str value)
{
	size_t scheme = str_starts(value, "https://") ? 8 : 7, slashes = 0;
	char origin[280];

	for (size_t at = 0; at < value.len; at++)
		if (value.ptr[at] <= ' ' || value.ptr[at] > '~' || strchr("?#\\\"'<>", value.ptr[at]))
			return "must be an address without query, fragment or spaces";
	while (scheme + slashes < value.len && value.ptr[scheme + slashes] != '/')
		slashes++;
	if (str_ends(value, "/") || scheme + slashes >= sizeof(origin))
		return "must not end in a slash";
	snprintf(origin, sizeof(origin), "%.*s", (int)(scheme + slashes < value.len ? scheme + slashes : value.len), value.ptr);
	return check_public_url(str_of(origin));
}

static const char *check_listen(struct str value)
{
	struct str host;
	int64_t port;

	if (str_index(value, '/') >= 0)
		return NULL;
	if (!split_host(value, false, &host, &port))
		return "must be the path of a unix socket (with a slash in it), or host:port";
	if (is_wildcard(host))
		return "must not be every address of the host: FastCGI has no authentication";
	return NULL;
}

static const char *check_peers(struct str value)
{
	struct str item, address;
	unsigned char bytes[16];
	char text[INET6_ADDRSTRLEN];
	int64_t bits;

	while (str_cut(&value, ',', &item)) {
		item = str_trim(item);
		str_cut(&item, '/', &address);
		if (!address.len || address.len >= sizeof(text))
			return "must be a comma list of addresses or address/bits";
		snprintf(text, sizeof(text), "%.*s", STR_ARG(address));
		if (inet_pton(AF_INET, text, bytes) != 1 && inet_pton(AF_INET6, text, bytes) != 1)
			return "must be a comma list of addresses or address/bits";
		if (item.ptr && !str_to_i64(item, 0, str_index(address, ':') < 0 ? 32 : 128, &bits))
			return "has a prefix length out of range";
	}
	return NULL;
}

static const char *check_level(struct str value)
{
	enum log_level level;

	return log_level_parse(value.ptr, &level) ? NULL : "must be debug, info, warn or error";
}

static const char *check_providers(struct str value)
{
	struct str item;

	while (str_cut(&value, ',', &item)) {
		item = str_trim(item);
		if (!item.len || strspn(item.ptr, "abcdefghijklmnopqrstuvwxyz0123456789-") < item.len)
			return "must be all, or a comma list of provider names";
	}
	return NULL;
}

static const char *check_program(struct str value)
{
	return value.len && value.ptr[0] == '/' ? NULL : "must be an absolute path";
}

/* As nginx spells it. */
static const char *check_rate(struct str value)
{
	struct str number = value;
	int64_t n;

	if (!str_ends(value, "r/s") && !str_ends(value, "r/m"))
		return "must be a number of requests and r/s or r/m, such as 50r/s";
	number.len -= 3;
	return str_to_i64(number, 1, 1000000, &n) ? NULL : "must begin with a whole number, such as 50r/s";
}

static const char *check_crash(struct str value)
{
	int64_t point;

#ifdef GPUPOOL_TEST
	return str_to_id(value, &point) ? NULL : "must be the number of a crash point";
#else
	(void)value, (void)point;
	return "exists in test builds only";
#endif
}

/* ---- setting one ---------------------------------------------------------- */

static const struct setting *find(struct str key)
{
	for (size_t i = 0; i < ARRAY_LEN(settings); i++)
		if (str_eqz(key, settings[i].key))
			return &settings[i];
	return NULL;
}

static void *member(const struct setting *s, struct config *c)
{
	return (char *)c + s->offset;
}

static enum err set_text(struct arena *a, const struct setting *s, struct config *c, struct str value, struct error *e)
{
	struct str copy;
	const char *why;

	/* Its own bytes are never shown: it may be a connection string. */
	for (size_t i = 0; i < value.len; i++)
		if ((unsigned char)value.ptr[i] < 0x20 || value.ptr[i] == 0x7f)
			return error_field(e, ERR_INVALID, s->key, "%s holds a control character", s->key);
	copy = arena_str(a, value);
	if (!copy.ptr)
		return error_field(e, ERR_TOO_LARGE, s->key, "%s is too long", s->key);
	/* Empty always means "as if it were not set". */
	why = s->check && value.len ? s->check(copy) : NULL;
	if (why)
		return error_field(e, ERR_INVALID, s->key, "%s %s", s->key, why);
	*(const char **)member(s, c) = copy.ptr;
	return OK;
}

static enum err set_number(const struct setting *s, struct config *c, struct str value, struct error *e)
{
	static const char *const example[] = {
		[NUMBER] = "", [SIZE] = " bytes (64k, 10m and 2g are understood)",
		[SECONDS] = " seconds (90s, 15m, 2h and 7d are understood)", [SWITCH] = "", [TEXT] = ""};
	bool ok = false;
	int64_t v = 0;

	if (s->kind == NUMBER)
		ok = str_to_i64(value, INT64_MIN, INT64_MAX, &v);
	else if (s->kind == SIZE)
		ok = str_to_size(value, &v);
	else if (s->kind == SECONDS)
		ok = str_to_duration(value, &v);
	if (!ok || v < s->min || v > s->max)
		return error_field(e, ERR_INVALID, s->key, "%s must be from %lld to %lld%s", s->key,
				   (long long)s->min, (long long)s->max, example[s->kind]);
	*(int64_t *)member(s, c) = v;
	return OK;
}

static enum err set(struct arena *a, const struct setting *s, struct config *c, struct str value, struct error *e)
{
	if (!value.len)
		value = str_of(s->otherwise);
	if (s->kind == TEXT)
		return set_text(a, s, c, value, e);
	if (s->kind != SWITCH)
		return set_number(s, c, value, e);
	if (!str_eqz(value, "0") && !str_eqz(value, "1"))
		return error_field(e, ERR_INVALID, s->key, "%s must be 0 or 1", s->key);
	*(bool *)member(s, c) = str_eqz(value, "1");
	return OK;
}

/* ---- loading -------------------------------------------------------------- */

static enum err read_whole(const char *path, struct buf *ret, struct error *e)
{
	cleanup_file FILE *f = fopen(path, "re");
	char bytes[4096];
	size_t n;

	if (!f)
		return error_set(e, ERR_INVALID, "cannot open %s: %s", path, strerror(errno));
	while ((n = fread(bytes, 1, sizeof(bytes), f)))
		buf_add(ret, bytes, n);
	if (ferror(f))
		return error_set(e, ERR_INVALID, "cannot read %s: %s", path, strerror(errno));
	if (ret->failed)
		return error_set(e, ERR_TOO_LARGE, "%s is larger than %zu bytes", path, ret->max);
	return OK;
}

static enum err set_line(struct arena *a, struct config *c, struct str line, struct error *e)
{
	struct str key, value = str_trim(line);
	const struct setting *s;

	if (!value.len || value.ptr[0] == '#')
		return OK;
	str_cut(&value, '=', &key);
	if (!value.ptr)
		return error_set(e, ERR_INVALID, "not of the form key = value");
	key = str_trim(key);
	s = find(key);
	if (!s)
		return error_set(e, ERR_INVALID, "there is no setting %.*s", key.len < 40 ? (int)key.len : 40, key.ptr);
	return set(a, s, c, str_trim(value), e);
}

static enum err load_file(struct arena *a, const char *path, struct config *c, struct error *e)
{
	cleanup_buf struct buf text = BUF_INIT(FILE_MOST);
	enum err r = read_whole(path, &text, e);
	struct str rest = buf_str(&text), line;

	for (int number = 1; r == OK && str_cut(&rest, '\n', &line); number++) {
		struct error why = {0};

		r = set_line(a, c, line, &why);
		if (r != OK)
			error_field(e, r, why.field, "%s:%d: %s", path, number, why.msg);
	}
	return r;
}

static enum err load_environment(struct arena *a, struct config *c, struct error *e)
{
	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		cleanup_buf struct buf name = BUF_INIT(64);
		const char *value;
		enum err r;

		buf_adds(&name, "GPUPOOL_");
		for (const char *p = settings[i].key; *p; p++)
			buf_addc(&name, *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p);
		value = getenv(name.ptr);
		r = value ? set(a, &settings[i], c, str_of(value), e) : OK;
		if (r != OK)
			return r;
	}
	return OK;
}

/* Settings that follow from others while they are empty. */
static const struct derived {
	size_t offset;
	const char *after_state; /* NULL: the address of `make run` */
} derived[] = {
	{offsetof(struct config, keys), "keys"},
	{offsetof(struct config, listen), "run/web.sock"},
	{offsetof(struct config, local_dir), "local"},
	{offsetof(struct config, browser_dir), "browser"},
	{offsetof(struct config, public_url), NULL},
	{offsetof(struct config, store), "store"},
};

static const char **derived_member(const struct derived *d, struct config *c)
{
	return (const char **)((char *)c + d->offset);
}

/* NULL when the arena is full. */
static const char *derived_value(struct arena *a, const struct derived *d, const struct config *c)
{
	if (d->after_state)
		return arena_printf(a, "%s/%s", c->state, d->after_state);
	return arena_printf(a, "http://127.0.0.1:%lld", (long long)c->port);
}

static enum err derive(struct arena *a, struct config *c, struct error *e)
{
	for (size_t i = 0; i < ARRAY_LEN(derived); i++) {
		const char **value = derived_member(&derived[i], c);

		if (!(*value)[0])
			*value = derived_value(a, &derived[i], c);
		if (!*value)
			return error_set(e, ERR_TOO_LARGE, "the settings do not fit into memory");
	}
	if (c->heartbeat_seconds >= c->lease_inference_seconds || c->heartbeat_seconds >= c->lease_script_seconds ||
	    c->heartbeat_seconds >= c->lease_training_seconds)
		return error_field(e, ERR_INVALID, "heartbeat_seconds",
				   "heartbeat_seconds must be below every lease's seconds");
	return OK;
}

/* Empties what only follows from others, so that it follows the new ones. */
static enum err underive(struct arena *a, struct config *c, struct error *e)
{
	for (size_t i = 0; i < ARRAY_LEN(derived); i++) {
		const char **value = derived_member(&derived[i], c);
		const char *own = derived_value(a, &derived[i], c);

		if (!own)
			return error_set(e, ERR_TOO_LARGE, "the settings do not fit into memory");
		if (!strcmp(*value, own))
			*value = "";
	}
	return OK;
}

enum err config_set(struct arena *a, struct config *c, const char *key, const char *value, struct error *e)
{
	const struct setting *s = find(str_of(key));
	struct config next = *c;
	enum err r;

	if (!s)
		return error_field(e, ERR_NOT_FOUND, key, "there is no setting %s", key);
	r = underive(a, &next, e);
	if (r == OK)
		r = set(a, s, &next, str_of(value), e);
	if (r == OK)
		r = derive(a, &next, e);
	if (r == OK)
		*c = next;
	return r;
}

enum err config_load(struct arena *a, const char *file, struct config *ret, struct error *e)
{
	struct config c = {0};
	enum err r = OK;

	for (size_t i = 0; r == OK && i < ARRAY_LEN(settings); i++)
		r = set(a, &settings[i], &c, STR(""), e);
	if (!file)
		file = getenv("GPUPOOL_CONFIG");
	if (r == OK && file && file[0])
		r = load_file(a, file, &c, e);
	if (r == OK)
		r = load_environment(a, &c, e);
	if (r == OK)
		r = derive(a, &c, e);
	if (r == OK)
		*ret = c;
	return r;
}

/* ---- showing -------------------------------------------------------------- */

/* Length of the value of "password = value" at p: quoted, or to the next space or &. */
static size_t password_length(const char *p)
{
	const char *start = p;

	if (*p != '\'')
		return strcspn(p, " \t&");
	for (p++; *p && *p != '\''; p++)
		if (*p == '\\' && p[1])
			p++;
	return (size_t)(p - start) + (*p ? 1 : 0);
}

/* Prints a text without the passwords of either form of connection string:
 * "password=…" (also in a URI's query) and "scheme://user:…@". */
static void print_masked(const char *p, FILE *out)
{
	while (*p) {
		const char *value = p + strlen("password");

		if (str_starts(str_of(p), "://")) {
			size_t user = strcspn(p + 3, ":/@ \t");
			size_t all = strcspn(p + 3, "/@ \t");

			fprintf(out, "%.*s", (int)user + 3, p);
			if (p[3 + all] == '@' && user < all)
				fputs(":***", out);
			p += 3 + (p[3 + all] == '@' ? all : user);
			continue;
		}
		if (strncasecmp(p, "password", strlen("password"))) {
			putc(*p++, out);
			continue;
		}
		value += strspn(value, " \t");
		if (*value != '=') {
			putc(*p++, out);
			continue;
		}
		value++;
		value += strspn(value, " \t");
		fputs("password=***", out);
		p = value + password_length(value);
	}
}

void config_print(const struct config *c, FILE *out)
{
	for (size_t i = 0; i < ARRAY_LEN(settings); i++) {
		const struct setting *s = &settings[i];
		const void *value = (const char *)c + s->offset;

		fprintf(out, "%s = ", s->key);
		switch (s->kind) {
		case TEXT:
			print_masked(*(const char *const *)value, out);
			break;
		case SWITCH:
			putc(*(const bool *)value ? '1' : '0', out);
			break;
		case NUMBER:
		case SIZE:
		case SECONDS:
			fprintf(out, "%lld", (long long)*(const int64_t *)value);
			break;
		}
		putc('\n', out);
	}
}
