/* page_users - people and their roles, for administrators. */
#include "domain/user.h"
#include "web/page.h"
#include "web/page_form.h"
#include "web/pages.h"
#include "web/paging.h"
#include "web/view.h"
#include "web/view_fields.h"

static const char *const roles[] = {"viewer", "operator", "admin", NULL};

const struct field page_user_create_body[] = {
	{"name", FIELD_STRING, 0, 0, 200},
	{"email", FIELD_STRING, 0, 0, 254},
	{"role", FIELD_STRING, 0, 0, 20},
	{"password", FIELD_STRING, FIELD_SECRET, 0, PASSWORD_MAX},
	{0},
};

const struct field page_user_edit_body[] = {
	{"role", FIELD_STRING, 0, 0, 20},
	{"password", FIELD_STRING, FIELD_SECRET, 0, PASSWORD_MAX},
	{"active", FIELD_STRING, 0, 0, 5},
	{0},
};

static const struct form_field create_form[] = {
	{"name", NULL, FORM_TEXT, FORM_EMPTY},
	{"email", NULL, FORM_TEXT},
	{"role", NULL, FORM_TEXT, .options = roles, .initial = "operator"},
	{"password", NULL, FORM_SECRET, .initial = "new-password"},
	{0},
};

static const struct form_field edit_form[] = {
	{"role", NULL, FORM_TEXT},
	{"password", NULL, FORM_SECRET},
	{"active", NULL, FORM_CHECK},
	{0},
};

static void put_roles(struct json *user)
{
	struct json *list = json_array();

	for (const char *const *role = roles; *role; role++) {
		struct json *one = json_object();

		json_put_cstr(one, "value", *role);
		json_put_bool(one, "selected", str_eqz(json_str(user, "role"), *role));
		json_add(list, one);
	}
	json_put(user, "roles", list);
}

/* The name of the user whom the note is about. */
static const char *subject(const struct json *users, const struct request *req)
{
	for (size_t i = 0; i < json_len(users); i++)
		if (str_eq(json_str(json_at(users, i), "id"), json_str(req->params, "of")))
			return json_cstr(json_at(users, i), "name");
	return NULL;
}

/* sent: what the form to add somebody was filled with; NULL = nothing. */
static enum err show(struct ctx *ctx, struct request *req, struct response *res, const struct json *sent,
		     const struct error *why, struct error *e)
{
	struct page_call call = {.route = "users.list", .params = json_object()};
	struct view v = view_of(ctx, req);
	cleanup_json struct json *answer = NULL;
	struct json *model, *users;
	enum err err;

	json_put_i64(call.params, "limit", PAGE_MAX);
	err = page_call(ctx, req, NULL, &call, &answer, e);
	if (err)
		return err;
	users = json_get(answer, "users");
	for (size_t i = 0; i < json_len(users); i++) {
		view_put_time(&v, json_at(users, i), "createdAt");
		put_roles(json_at(users, i));
	}
	model = page_model(ctx, req, NULL);
	json_put(model, "users", json_ref(users));
	form_model(create_form, sent, req, model);
	if (why)
		page_problem(model, req, why);
	else if (page_flash_code(req) && subject(users, req))
		page_flash(model, page_flash_code(req), subject(users, req), 0, NULL);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "users", model, e);
}

enum err page_users(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, NULL, NULL, e);
}

/* Of either form; the one of a row says what is wrong above the list. */
enum err page_users_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	bool adds = !request_capture(req, "id").len;
	struct error shown = *why;

	if (!adds) {
		if (req->errors->count)
			error_set(&shown, why->code, "%s %s.", req->errors->list[0].field, req->errors->list[0].message);
		req->errors->count = 0;
		shown.field[0] = '\0';
	}
	return show(ctx, req, res, adds ? req->json : NULL, &shown, e);
}

enum err page_user_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct page_call call = {.route = "users.create", .body = form_document(create_form, req)};
	cleanup_json struct json *user = NULL;
	enum err err = page_call(ctx, req, res, &call, &user, e);

	if (!err)
		page_done(res, "/admin/users", "user_created", json_cstr(user, "id"));
	return err;
}

enum err page_user_edit(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct page_call call = {.route = "users.change", .body = form_document(edit_form, req)};
	cleanup_json struct json *user = NULL;
	enum err err = page_call(ctx, req, res, &call, &user, e);

	if (!err)
		page_done(res, "/admin/users", "user_saved", json_cstr(user, "id"));
	return err;
}
