/* Judges what a person asks for in a job; see job_spec.h. */
#include "domain/job_spec.h"

#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "domain/secret.h"

enum { REQUIREMENT_MAX = 200, SEGMENT_MAX = 128, SEGMENTS = 8 };

/* One walk over one document. */
struct walk {
	const struct job_judge *judge;
	bool good;
};

static void fault(struct walk *w, enum err code, const char *field, const char *message)
{
	const struct job_judge *j = w->judge;
	const char *path = *j->prefix ? arena_printf(j->arena, *field ? "%s.%s" : "%s%s", j->prefix, field) : field;

	w->good = false;
	j->fault(j->ctx, code, path ? path : field, message);
}

static void bad(struct walk *w, const char *field, const char *fmt, ...) printf_like(3, 4);
static void bad(struct walk *w, const char *field, const char *fmt, ...)
{
	char *message;
	va_list ap;

	va_start(ap, fmt);
	message = arena_vprintf(w->judge->arena, fmt, ap);
	va_end(ap);
	fault(w, ERR_INVALID, field, message ? message : "is not valid");
}

/* "payload.env.NAME" with a name from outside cut to what can be shown. */
static const char *below(struct walk *w, const char *path, const char *name)
{
	const char *full = arena_printf(w->judge->arena, strlen(name) > 64 ? "%s.%.60s..." : "%s.%s", path, name);

	return full ? full : path;
}

static const char *item(struct walk *w, const char *path, size_t i)
{
	const char *full = arena_printf(w->judge->arena, "%s.%zu", path, i);

	return full ? full : path;
}

/* ---- words ---------------------------------------------------------------- */

static size_t word(struct str s, size_t at, const char *more)
{
	while (at < s.len && (isalnum((unsigned char)s.ptr[at]) || strchr(more, s.ptr[at])))
		at++;
	return at;
}

static size_t blanks(struct str s, size_t at)
{
	while (at < s.len && s.ptr[at] == ' ')
		at++;
	return at;
}

/* "1.2.*", ">=1.0, <2": from the first operator to the end of the last version. */
static bool versions(struct str s, size_t *at)
{
	do {
		size_t op = *at = blanks(s, *at), from;

		while (*at < s.len && strchr("<>=!~", s.ptr[*at]))
			++*at;
		if (*at == op || *at - op > 3)
			return false;
		from = *at = blanks(s, *at);
		*at = word(s, *at, "._-+!*");
		if (*at == from)
			return false;
		*at = blanks(s, *at);
	} while (*at < s.len && s.ptr[*at] == ',' && ++*at);
	return true;
}

/* "[a,b]" */
static bool extras(struct str s, size_t *at)
{
	if (*at == s.len || s.ptr[*at] != '[')
		return true;
	*at = word(s, *at + 1, "._-, ");
	return *at < s.len && s.ptr[(*at)++] == ']';
}

/* "@ https://…": only where the file is got from, never a file here. */
static bool url(struct str s, size_t *at)
{
	struct str rest;

	*at = blanks(s, *at + 1);
	rest = (struct str){s.ptr + *at, s.len - *at};
	if (!str_starts(rest, "https://") && !str_starts(rest, "git+https://"))
		return false;
	*at = word(s, *at, "._-~:/?#[]@!$&'()*+,=%");
	*at = blanks(s, *at);
	return true;
}

bool requirement_valid(struct str s)
{
	size_t at;

	if (!s.len || s.len > REQUIREMENT_MAX || !isalnum((unsigned char)s.ptr[0]))
		return false;
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] < ' ' || s.ptr[i] > '~')
			return false;
	at = word(s, 0, "._-");
	if (!isalnum((unsigned char)s.ptr[at - 1]))
		return false;
	at = blanks(s, at);
	if (!extras(s, &at))
		return false;
	at = blanks(s, at);
	if (at < s.len && s.ptr[at] == '@') {
		if (!url(s, &at))
			return false;
	} else if (at < s.len && s.ptr[at] != ';' && !versions(s, &at)) {
		return false;
	}
	if (at == s.len)
		return true;
	/* A marker compares names and strings. */
	if (s.ptr[at] != ';')
		return false;
	at = word(s, at + 1, "._-<>=!~'\"(), ");
	return at == s.len;
}

bool file_name_valid(struct str s)
{
	struct str rest = s, segment;
	int n = 0;

	while (str_cut(&rest, '/', &segment)) {
		if (!segment.len || segment.len > SEGMENT_MAX || ++n > SEGMENTS || word(segment, 0, "._-") != segment.len)
			return false;
		if (str_eqz(segment, ".") || str_eqz(segment, ".."))
			return false;
	}
	return n > 0;
}

static bool variable_valid(const char *name)
{
	if ((!isalpha((unsigned char)*name) && *name != '_') || strlen(name) > 128)
		return false;
	while (isalnum((unsigned char)*name) || *name == '_')
		name++;
	return !*name;
}

/* ---- the payload ---------------------------------------------------------- */

static void read_args(struct walk *w, const char *path, const struct json *v, size_t least)
{
	size_t n = json_len(v);

	if (json_type_of(v) != JSON_ARRAY) {
		bad(w, path, "must be an array of strings");
		return;
	}
	if (n < least || n > JOB_ARGS_MAX) {
		bad(w, path, "must have %zu to %d items", least, JOB_ARGS_MAX);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		const struct json *one = json_at(v, i);

		if (json_type_of(one) != JSON_STRING)
			bad(w, item(w, path, i), "must be a string");
		else if (json_as_str(one).len > JOB_VALUE_MAX)
			bad(w, item(w, path, i), "may have at most %d bytes", JOB_VALUE_MAX);
		else if (least && i == 0 && !json_as_str(one).len)
			bad(w, item(w, path, i), "may not be empty");
	}
}

static void read_env(struct walk *w, const char *path, const struct json *v)
{
	if (json_type_of(v) != JSON_OBJECT) {
		bad(w, path, "must be an object of strings");
		return;
	}
	if (json_len(v) > JOB_ENV_MAX) {
		bad(w, path, "may have at most %d variables", JOB_ENV_MAX);
		return;
	}
	for (struct json_iter it = json_iter(v); json_next(&it);) {
		if (!variable_valid(it.key))
			bad(w, below(w, path, it.key), "is no name of a variable: letters, digits and _, not beginning with a digit");
		else if (!strncmp(it.key, "GPUPOOL_", 8))
			bad(w, below(w, path, it.key), "is set by the worker: names beginning with GPUPOOL_ are its own");
		else if (json_type_of(it.value) != JSON_STRING)
			bad(w, below(w, path, it.key), "must be a string");
		else if (json_as_str(it.value).len > JOB_VALUE_MAX)
			bad(w, below(w, path, it.key), "may have at most %d bytes", JOB_VALUE_MAX);
	}
}

static void read_requirements(struct walk *w, const char *path, const struct json *v)
{
	size_t n = json_len(v);

	if (json_type_of(v) != JSON_ARRAY) {
		bad(w, path, "must be an array of strings");
		return;
	}
	if (n > JOB_REQUIREMENTS_MAX) {
		bad(w, path, "may have at most %d items", JOB_REQUIREMENTS_MAX);
		return;
	}
	for (size_t i = 0; i < n; i++)
		if (!requirement_valid(json_as_str(json_at(v, i))))
			bad(w, item(w, path, i), "must be a requirement such as \"numpy>=1.24\": no option, no path");
}

static bool base64_valid(struct str s)
{
	size_t n = word(s, 0, "+/");

	return s.len % 4 == 0 && (n == s.len || (n + 1 == s.len && s.ptr[n] == '=') ||
				  (n + 2 == s.len && s.ptr[n] == '=' && s.ptr[n + 1] == '='));
}

static void read_file(struct walk *w, const char *path, const char *name, const struct json *v)
{
	const struct json *bytes = json_get(v, "base64");

	if (!file_name_valid(str_of(name)))
		bad(w, path, "is no name of a file: at most 8 parts of letters, digits, dot, _ and -, with / between");
	else if (json_type_of(v) == JSON_STRING)
		return;
	else if (json_type_of(v) != JSON_OBJECT || json_len(v) != 1 || json_type_of(bytes) != JSON_STRING)
		bad(w, path, "must be a text, or an object {\"base64\": …}");
	else if (!base64_valid(json_as_str(bytes)))
		bad(w, below(w, path, "base64"), "is not well-formed base64");
}

/* One file may not be a folder of another. */
static bool is_folder(const struct json *files, const char *name)
{
	size_t n = strlen(name);

	for (struct json_iter it = json_iter(files); json_next(&it);)
		if (!strncmp(it.key, name, n) && it.key[n] == '/')
			return true;
	return false;
}

static void read_files(struct walk *w, const char *path, const struct json *v)
{
	if (json_type_of(v) != JSON_OBJECT) {
		bad(w, path, "must be an object: a name for each content");
		return;
	}
	if (json_len(v) > JOB_FILES_MAX) {
		bad(w, path, "may have at most %d files", JOB_FILES_MAX);
		return;
	}
	for (struct json_iter it = json_iter(v); json_next(&it);) {
		const char *at = below(w, path, it.key);

		if (is_folder(v, it.key))
			bad(w, at, "is a folder of another file");
		else
			read_file(w, at, it.key, it.value);
	}
}

/* Members of a payload; which of them may stand together is a column. */
enum kind { KIND_CODE = 1, KIND_COMMAND = 2 };

static void read_code(struct walk *w, const char *path, const struct json *v)
{
	if (json_type_of(v) != JSON_STRING)
		bad(w, path, "must be a string: a Python program");
	else if (!json_as_str(v).len)
		bad(w, path, "may not be empty");
}

static void read_command(struct walk *w, const char *path, const struct json *v)
{
	read_args(w, path, v, 1);
}

static void read_code_args(struct walk *w, const char *path, const struct json *v)
{
	read_args(w, path, v, 0);
}

static const struct member {
	const char *name, *path;
	unsigned kinds;
	void (*read)(struct walk *, const char *, const struct json *);
} members[] = {
	{"code", "payload.code", KIND_CODE, read_code},
	{"args", "payload.args", KIND_CODE, read_code_args},
	{"command", "payload.command", KIND_COMMAND, read_command},
	{"env", "payload.env", KIND_CODE | KIND_COMMAND, read_env},
	{"requirements", "payload.requirements", KIND_CODE, read_requirements},
	{"files", "payload.files", KIND_CODE | KIND_COMMAND, read_files},
};

static const struct member *find_member(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(members); i++)
		if (!strcmp(members[i].name, name))
			return &members[i];
	return NULL;
}

/* Bounds the stored document, whatever it is made of. */
static bool fits(const struct json *payload)
{
	cleanup_buf struct buf text = BUF_INIT(JOB_PAYLOAD_MAX);

	json_write(payload, &text);
	return !text.failed;
}

static void read_payload(struct walk *w, const struct json *payload)
{
	bool code = json_has(payload, "code"), command = json_has(payload, "command");
	unsigned kind = command ? KIND_COMMAND : KIND_CODE;

	if (json_type_of(payload) != JSON_OBJECT) {
		bad(w, "payload", "must be an object");
		return;
	}
	if (code && command)
		bad(w, "payload.command", "cannot stand beside code");
	else if (!code && !command)
		bad(w, "payload.code", "is required: a Python program, or else a command");
	for (struct json_iter it = json_iter(payload); json_next(&it);) {
		const struct member *m = find_member(it.key);

		if (!m)
			bad(w, below(w, "payload", it.key), "is not known here");
		else if (!(m->kinds & kind) && !(code && command))
			bad(w, m->path, "cannot stand beside a command");
		else
			m->read(w, m->path, it.value);
	}
	if (!fits(payload))
		fault(w, ERR_TOO_LARGE, "payload", "may have at most 1 MiB as JSON");
}

/* ---- around the payload --------------------------------------------------- */

static void read_accelerator(struct walk *w, const struct json *v, char ret[LANE_ACCELERATOR_MAX])
{
	bool list = json_type_of(v) == JSON_ARRAY;
	struct str names[LANE_ACCELERATORS];
	size_t n = list ? json_len(v) : v != NULL;

	ret[0] = '\0';
	if (n > LANE_ACCELERATORS) {
		bad(w, "accelerator", "may have at most %d names", LANE_ACCELERATORS);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		names[i] = json_as_str(list ? json_at(v, i) : v);
		if (!accelerator_valid(names[i])) {
			bad(w, list ? item(w, "accelerator", i) : "accelerator", "must be cpu, gpu, tpu or the name of an accelerator");
			return;
		}
	}
	if (!accelerator_list(names, (int)n, ret))
		bad(w, "accelerator", "is too long");
}

static void read_tags(struct walk *w, const struct json *tags)
{
	for (size_t i = 0; i < json_len(tags); i++)
		for (size_t k = 0; k < i; k++)
			if (str_eq(json_as_str(json_at(tags, i)), json_as_str(json_at(tags, k))))
				bad(w, item(w, "tags", i), "is there twice");
}

static void read_retry_on(struct walk *w, const struct json *v)
{
	if (json_len(v) == 2 && str_eq(json_as_str(json_at(v, 0)), json_as_str(json_at(v, 1))))
		bad(w, "retryOn.1", "is there twice");
}

static bool has_member(const struct json *object, struct str name)
{
	for (struct json_iter it = json_iter(object); json_next(&it);)
		if (str_eqz(name, it.key))
			return true;
	return false;
}

/* Whether the person has them is the caller's to ask. */
static void read_secrets(struct walk *w, const struct json *secrets, const struct json *env)
{
	for (size_t i = 0; i < json_len(secrets); i++) {
		struct str name = json_as_str(json_at(secrets, i));
		const char *fault = secret_name_fault(name);

		if (fault)
			bad(w, item(w, "secrets", i), "%s", fault);
		else if (has_member(env, name))
			bad(w, item(w, "secrets", i), "stands in payload.env, too");
		for (size_t k = 0; !fault && k < i; k++)
			if (str_eq(name, json_as_str(json_at(secrets, k))))
				bad(w, item(w, "secrets", i), "is there twice");
	}
}

static void read_run_after(struct walk *w, const struct json *v)
{
	int64_t ms;

	if (!v)
		return;
	if (!clock_parse(json_as_str(v), &ms))
		bad(w, "runAfter", "must be a time such as 2026-11-24T08:12:46Z");
	else if (ms - clock_wall_ms() > JOB_SECONDS_MAX * INT64_C(1000))
		bad(w, "runAfter", "may be at most a year ahead");
}

/* What is in the contract and not yet in this program says so. */
static void read_absent(struct walk *w, const struct json *document)
{
	if (json_get(document, "endpoint"))
		bad(w, "endpoint", "names no endpoint");
	if (json_get(document, "webhook"))
		bad(w, "webhook", "cannot be given: this server calls no webhooks");
}

bool job_spec_read(const struct job_judge *j, int64_t owner, struct json *document, struct job_spec *ret)
{
	struct walk w = {.judge = j, .good = true};

	*ret = (struct job_spec){
		.lane = {
			.owner = owner,
			.type = job_type_parse(json_str(document, "type")),
			.gpus = (int)json_i64(document, "gpus", 1),
			.priority = (int)json_i64(document, "priority", 5),
		},
		.document = document,
		.payload = json_get(document, "payload"),
		.max_attempts = (int)json_i64(document, "maxAttempts", 3),
		.timeout_seconds = json_i64(document, "timeoutSeconds", 0),
		.estimated_seconds = json_i64(document, "estimatedSeconds", 0),
	};
	if (ret->lane.type == JOB_TYPE_COUNT)
		bad(&w, "type", "must be one of: script, training, inference");
	read_accelerator(&w, json_get(document, "accelerator"), ret->lane.accelerator);
	read_tags(&w, json_get(document, "tags"));
	read_retry_on(&w, json_get(document, "retryOn"));
	read_run_after(&w, json_get(document, "runAfter"));
	read_secrets(&w, json_get(document, "secrets"), json_get(ret->payload, "env"));
	read_absent(&w, document);
	if (!json_get(document, "endpoint"))
		read_payload(&w, ret->payload);
	return w.good;
}
