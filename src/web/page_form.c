/* page_form - forms to documents and back.  See web/page_form.h. */
#include "web/page_form.h"

#include <ctype.h>
#include <string.h>

#include "base/clock.h"
#include "web/problem.h"
#include "web/view_text.h"

static const char *path_of(const struct form_field *f)
{
	return f->path ? f->path : f->name;
}

/* ---- from what was sent to a document ----------------------------------------- */

/* At "a" or "a.b"; takes the value. */
static void put_at(struct json *document, const char *path, struct json *value)
{
	const char *dot = strchr(path, '.');
	struct json *outer;
	char name[32];

	if (!dot) {
		json_put(document, path, value);
		return;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(dot - path), path);
	outer = json_get(document, name);
	if (!outer) {
		outer = json_object();
		json_put(document, name, outer);
	}
	json_put(outer, dot + 1, value);
}

static struct json *lines(struct str text)
{
	struct json *array = json_array();
	struct str line;

	while (str_cut(&text, '\n', &line)) {
		line = str_trim(line);
		if (line.len)
			json_add(array, json_new_str(line));
	}
	return array;
}

static struct json *items(struct str text)
{
	struct json *array = json_array();
	struct str item;

	while (str_cut(&text, ',', &item)) {
		item = str_trim(item);
		if (item.len)
			json_add(array, json_new_str(item));
	}
	return array;
}

static struct json *when(struct str text)
{
	int64_t seconds;
	char at[32];

	if (!str_to_duration(text, &seconds))
		return json_new_str(text);
	clock_rfc3339(clock_wall_ms() + seconds * 1000, at, sizeof(at));
	return json_new_str(str_of(at));
}

/* A text as the document has it; NULL with an error added when it cannot be read. */
static struct json *value_of(const struct form_field *f, struct str text, const struct request *req)
{
	struct json *array;
	int64_t n;

	switch (f->kind) {
	case FORM_INT:
		if (str_to_i64(text, INT64_MIN, INT64_MAX, &n))
			return json_new_i64(n);
		field_error_add(req->errors, req->arena, f->name, "must be a whole number");
		return NULL;
	case FORM_SECONDS:
		if (str_to_duration(text, &n))
			return json_new_i64(n);
		field_error_add(req->errors, req->arena, f->name, "is not a duration; write 90m, 11h or 2d");
		return NULL;
	case FORM_WHEN: return when(text);
	case FORM_LINES: return lines(text);
	case FORM_ITEMS: return items(text);
	case FORM_CHECK: return json_new_bool(true);
	case FORM_ERROR:
		array = json_array();
		json_add_cstr(array, "error");
		return array;
	case FORM_TEXT:
	case FORM_SECRET: return json_new_str(text);
	}
	BUG("form kind %d", (int)f->kind);
}

static void put_absent(const struct form_field *f, struct json *document)
{
	if (f->flags & FORM_NULL)
		put_at(document, path_of(f), json_null());
	else if (f->flags & FORM_EMPTY)
		put_at(document, path_of(f), json_new_str(STR("")));
	else if (f->kind == FORM_CHECK)
		put_at(document, path_of(f), json_new_bool(false));
}

struct json *form_document(const struct form_field *fields, const struct request *req)
{
	struct json *document = json_object(), *sent, *value;

	for (const struct form_field *f = fields; f->name; f++) {
		if (f->flags & FORM_PAGE)
			continue;
		sent = json_get(req->json, f->name);
		if (json_type_of(sent) == JSON_ARRAY) {
			put_at(document, path_of(f), json_ref(sent));
			continue;
		}
		if (!sent || (f->flags & FORM_ANY && str_eqz(json_as_str(sent), "any"))) {
			put_absent(f, document);
			continue;
		}
		value = value_of(f, f->kind == FORM_TEXT || f->kind == FORM_SECRET ? json_as_str(sent) : str_trim(json_as_str(sent)), req);
		if (value)
			put_at(document, path_of(f), value);
	}
	return document;
}

/* ---- from a document to what would be sent ---------------------------------------- */

static void join(const struct json *array, const char *between, struct buf *out)
{
	for (size_t i = 0; i < json_len(array); i++) {
		if (i)
			buf_adds(out, between);
		buf_addstr(out, json_as_str(json_at(array, i)));
	}
}

static bool has_error(const struct json *array)
{
	for (size_t i = 0; i < json_len(array); i++)
		if (str_eqz(json_as_str(json_at(array, i)), "error"))
			return true;
	return false;
}

static void text_of(const struct form_field *f, const struct json *value, struct buf *out)
{
	char text[VIEW_TEXT];

	switch (f->kind) {
	case FORM_INT: buf_addf(out, "%lld", (long long)json_as_i64(value, 0)); break;
	case FORM_SECONDS:
		view_duration_field(json_as_i64(value, 0), text);
		buf_adds(out, text);
		break;
	case FORM_LINES: join(value, "\n", out); break;
	case FORM_ITEMS:
		if (json_type_of(value) == JSON_STRING)
			buf_addstr(out, json_as_str(value));
		else
			join(value, ", ", out);
		break;
	case FORM_CHECK: buf_adds(out, json_as_bool(value, false) ? "1" : ""); break;
	case FORM_ERROR: buf_adds(out, has_error(value) ? "1" : ""); break;
	case FORM_SECRET:
	case FORM_WHEN: break; /* a time that was may have passed */
	case FORM_TEXT: buf_addstr(out, json_as_str(value)); break;
	}
}

struct json *form_of_document(const struct form_field *fields, const struct json *document)
{
	struct json *sent = json_object(), *value;

	for (const struct form_field *f = fields; f->name; f++) {
		cleanup_buf struct buf text = BUF_INIT(2 << 20);

		value = f->flags & FORM_PAGE ? NULL : json_path(document, path_of(f));
		if (!value)
			continue;
		text_of(f, value, &text);
		if (text.len)
			json_put_str(sent, f->name, buf_str(&text));
	}
	return sent;
}

/* ---- the model ----------------------------------------------------------------------- */

/* Whether an error at `field` ("payload.args.3") is about this form's field. */
static bool is_about(const struct form_field *f, const char *field)
{
	const char *path = path_of(f);
	size_t n = strlen(path);

	if (!strcmp(field, f->name))
		return true;
	return !strncmp(field, path, n) && (!field[n] || (field[n] == '.' && !(f->flags & FORM_PAGE)));
}

/* "must be …" as a sentence. */
static void put_sentence(struct json *model, const char *message)
{
	cleanup_buf struct buf text = BUF_INIT(1024);
	size_t n = strlen(message);

	buf_addc(&text, (char)toupper((unsigned char)message[0]));
	buf_adds(&text, message + 1);
	if (n && !strchr(".!?", message[n - 1]))
		buf_addc(&text, '.');
	json_put_str(model, "error", buf_str(&text));
}

static bool chosen(const struct json *sent, const char *value)
{
	if (json_type_of(sent) != JSON_ARRAY)
		return str_eqz(json_as_str(sent), value);
	for (size_t i = 0; i < json_len(sent); i++)
		if (str_eqz(json_as_str(json_at(sent, i)), value))
			return true;
	return false;
}

static void add_option(struct json *options, struct str value, bool selected)
{
	struct json *option = json_object();

	json_put_str(option, "value", value);
	json_put_bool(option, "selected", selected);
	json_add(options, option);
}

/* What is stored or was sent stays a choice, also when the list lacks it. */
static void put_options(const struct form_field *f, const struct json *sent, struct json *model)
{
	struct json *options = json_array();
	bool known = json_type_of(sent) != JSON_STRING;

	for (const char *const *o = f->options; *o; o++) {
		bool is = chosen(sent, *o);

		add_option(options, str_of(*o), is);
		known = known || is;
	}
	if (!known && json_as_str(sent).len)
		add_option(options, json_as_str(sent), true);
	json_put(model, "options", options);
}

static struct json *field_model(const struct form_field *f, const struct json *sent)
{
	struct json *model = json_object();
	struct str text = json_type_of(sent) == JSON_STRING ? json_as_str(sent) : STR("");

	json_put_cstr(model, "name", f->name);
	json_put_str(model, "value", f->kind == FORM_SECRET ? STR("") : text);
	json_put(model, "error", json_null());
	if (f->kind == FORM_SECRET)
		json_put_cstr(model, "autocomplete", f->initial ? f->initial : "off");
	if (f->kind == FORM_CHECK || f->kind == FORM_ERROR)
		json_put_bool(model, "checked", text.len > 0);
	if (f->options)
		put_options(f, sent, model);
	return model;
}

void form_model(const struct form_field *fields, const struct json *sent, const struct request *req, struct json *model)
{
	struct json *form = json_object(), *value;

	for (const struct form_field *f = fields; f->name; f++) {
		cleanup_json struct json *initial = !sent && f->initial && f->kind != FORM_SECRET ? json_new_str(str_of(f->initial)) : NULL;
		struct json *one;

		value = sent ? json_get(sent, f->name) : initial;
		one = field_model(f, value);
		for (int i = req->errors->count - 1; i >= 0; i--)
			if (is_about(f, req->errors->list[i].field))
				put_sentence(one, req->errors->list[i].message);
		json_put(form, f->name, one);
	}
	json_put(model, "form", form);
}
