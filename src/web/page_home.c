/* page_home - where the dashboard begins, and a person's own account. */
#include "domain/user.h"
#include "web/page.h"
#include "web/page_form.h"
#include "web/pages.h"
#include "web/view.h"

const struct field page_query[] = {PAGE_FLASH_FIELDS, {0}};

const struct field page_password_body[] = {
	{"currentPassword", FIELD_STRING, FIELD_SECRET, 0, PASSWORD_MAX},
	{"newPassword", FIELD_STRING, FIELD_SECRET, 0, PASSWORD_MAX},
	{"repeatPassword", FIELD_STRING, FIELD_SECRET, 0, PASSWORD_MAX},
	{0},
};

static const struct form_field password_form[] = {
	{"currentPassword", "current", FORM_SECRET, .initial = "current-password"},
	{"newPassword", "password", FORM_SECRET, .initial = "new-password"},
	{"repeatPassword", NULL, FORM_SECRET, FORM_PAGE, .initial = "new-password"},
	{0},
};

enum err page_home(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	response_redirect(res, "/admin/gpu-dashboard");
	return OK;
}

static enum err show_profile(struct ctx *ctx, struct request *req, struct response *res, const struct error *why,
			     struct error *e)
{
	struct json *model = page_model(ctx, req, NULL);

	form_model(password_form, NULL, req, model);
	if (why)
		page_problem(model, req, why);
	else if (page_flash_code(req))
		page_flash(model, page_flash_code(req), NULL, 0, NULL);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "profile", model, e);
}

enum err page_profile(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show_profile(ctx, req, res, NULL, e);
}

enum err page_profile_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	return show_profile(ctx, req, res, why, e);
}

enum err page_password(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct page_call call = {.route = "me.password", .body = form_document(password_form, req)};
	enum err err;

	if (!str_eq(json_str(req->json, "newPassword"), json_str(req->json, "repeatPassword")))
		field_error_add(req->errors, req->arena, "repeatPassword", "is not the same");
	err = page_call(ctx, req, res, &call, NULL, e);
	if (!err)
		page_done(res, "/admin/profile", "password_changed", NULL);
	return err;
}

enum err page_sign_out_others(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	enum err err = page_call(ctx, req, res, &(struct page_call){.route = "me.signOutOthers"}, NULL, e);

	if (!err)
		page_done(res, "/admin/profile", "signed_out_others", NULL);
	return err;
}
