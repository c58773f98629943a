/* view_fields - texts that workers and jobs have in common.  See web/view_fields.h. */
#include "web/view_fields.h"

#include "base/clock.h"

struct view view_of(const struct ctx *ctx, const struct request *req)
{
	return (struct view){
		.config = ctx->config,
		.arena = req->arena,
		.principal = &req->principal,
		.words = view_words(req->principal.locale),
		.now_ms = clock_wall_ms(),
	};
}

void view_put_time(const struct view *v, struct json *object, const char *key)
{
	char name[64], text[VIEW_TEXT];
	int64_t at;

	snprintf(name, sizeof(name), "%sText", key);
	if (!json_has(object, key))
		json_put(object, key, json_null());
	if (view_time_parse(json_str(object, key), &at)) {
		view_time_text(v->words, at, v->now_ms, text);
		json_put_cstr(object, name, text);
	} else {
		json_put(object, name, json_null());
	}
}

void view_put_duration(struct json *object, const char *key, int64_t seconds)
{
	char text[VIEW_TEXT];

	if (seconds < 0) {
		json_put(object, key, json_null());
		return;
	}
	view_duration_text(seconds, text);
	json_put_cstr(object, key, text);
}

void view_put_size(struct json *object, const char *key, int64_t bytes)
{
	char text[VIEW_TEXT];

	view_size_text(bytes, text);
	json_put_cstr(object, key, text);
}

void view_put_missing(struct json *object, const char *const *keys, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!json_has(object, keys[i]))
			json_put(object, keys[i], json_null());
}
