/* page_policies - what providers allow, for an administrator: the dated terms and limits, and a form for each. */
#include "web/page.h"
#include "web/page_form.h"
#include "web/pages.h"
#include "web/view.h"
#include "web/view_fields.h"

#define HERE "/admin/policies"

#define SENT_TEXT(name) {name, FIELD_STRING, 0, 0, 300}

const struct field page_policy_terms_body[] = {
	{"sharingAllowed", FIELD_STRING, 0, 0, 8}, {"notice", FIELD_TEXT, 0, 0, 8000}, SENT_TEXT("source"), {0},
};
const struct field page_policy_limit_body[] = {
	SENT_TEXT("session"), SENT_TEXT("sessionMargin"), SENT_TEXT("week"), SENT_TEXT("weekMargin"), SENT_TEXT("concurrent"),
	SENT_TEXT("minSession"), SENT_TEXT("idle"), SENT_TEXT("source"), {0},
};

static const struct form_field terms_form[] = {
	{"sharingAllowed", NULL, FORM_CHECK}, {"notice", NULL, FORM_TEXT, FORM_EMPTY}, {"source", NULL, FORM_TEXT}, {0},
};
static const struct form_field limit_form[] = {
	{"session", "sessionSeconds", FORM_SECONDS, FORM_NULL},
	{"sessionMargin", "sessionMarginSeconds", FORM_SECONDS},
	{"week", "weekSeconds", FORM_SECONDS, FORM_NULL},
	{"weekMargin", "weekMarginSeconds", FORM_SECONDS},
	{"concurrent", NULL, FORM_INT, FORM_NULL},
	{"minSession", "minSessionSeconds", FORM_SECONDS},
	{"idle", "idleSeconds", FORM_SECONDS, FORM_NULL},
	{"source", NULL, FORM_TEXT},
	{0},
};

/* ---- what is shown ------------------------------------------------------------- */

static void view_policy(const struct view *v, struct json *policy)
{
	const char *provider = json_cstr(policy, "provider");
	struct json *limits = json_get(policy, "limits");

	json_put_cstr(policy, "editUrl", arena_printf(v->arena, HERE "/%s", provider));
	json_put_bool(policy, "limited", json_len(limits) > 0);
	for (size_t i = 0; i < json_len(limits); i++) {
		struct json *limit = json_at(limits, i);

		view_limit(limit);
		view_put_duration(limit, "weekMarginText", json_i64(limit, "weekMarginSeconds", 0));
		json_put_cstr(limit, "editUrl", arena_printf(v->arena, HERE "/%s/limits/%s", provider, json_cstr(limit, "resource")));
	}
}

static enum err read_policies(struct ctx *ctx, struct request *req, struct json **ret, struct error *e)
{
	cleanup_json struct json *answer = NULL;
	struct view v = view_of(ctx, req);
	enum err err = page_call(ctx, req, NULL, &(struct page_call){.route = "policies.list"}, &answer, e);

	if (err)
		return err;
	*ret = json_ref(json_get(answer, "policies"));
	for (size_t i = 0; i < json_len(*ret); i++)
		view_policy(&v, json_at(*ret, i));
	return OK;
}

enum err page_policies(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *policies = NULL, *model = page_model(ctx, req, "policies");
	enum err err = read_policies(ctx, req, &policies, e);

	if (err)
		return err;
	json_put(model, "policies", json_ref(policies));
	if (page_flash_code(req))
		page_flash(model, page_flash_code(req), NULL, 0, NULL);
	return view_page(ctx, req, res, 200, "policies", json_ref(model), e);
}

static struct json *find(const struct json *list, const char *key, struct str value)
{
	for (size_t i = 0; i < json_len(list); i++)
		if (str_eq(json_str(json_at(list, i), key), value))
			return json_at(list, i);
	return NULL;
}

/* The form of a provider's terms, or of the limits of one resource. */
static enum err show(struct ctx *ctx, struct request *req, struct response *res, bool of_resource, const struct error *why, struct error *e)
{
	const struct form_field *form = of_resource ? limit_form : terms_form;
	cleanup_json struct json *policies = NULL, *stored = NULL, *model = page_model(ctx, req, "policies");
	const struct json *sent = why ? req->json : NULL, *limit = NULL;
	struct json *policy;
	enum err err = read_policies(ctx, req, &policies, e);

	if (err)
		return err;
	policy = find(policies, "provider", request_capture(req, "provider"));
	if (of_resource)
		limit = find(json_get(policy, "limits"), "resource", request_capture(req, "resource"));
	if (!policy || (of_resource && !limit))
		return error_set(e, ERR_NOT_FOUND, "This server knows no such limit.");
	stored = form_of_document(form, of_resource ? limit : policy);
	json_del(stored, "source"); /* that of what is there; a change has its own */
	form_model(form, sent ? sent : stored, req, model);
	json_put(model, "policy", json_ref(policy));
	json_put(model, "limit", limit ? json_ref((struct json *)limit) : json_null());
	json_put_cstr(model, "actionUrl", json_cstr(limit ? limit : policy, "editUrl"));
	if (why)
		page_problem(model, req, why);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "policy", json_ref(model), e);
}

enum err page_policy_terms(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, false, NULL, e);
}

enum err page_policy_terms_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	return show(ctx, req, res, false, why, e);
}

enum err page_policy_limit(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, true, NULL, e);
}

enum err page_policy_limit_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	return show(ctx, req, res, true, why, e);
}

/* ---- what may be done ------------------------------------------------------------- */

static enum err save(struct ctx *ctx, struct request *req, struct response *res, const struct page_call *call, struct error *e)
{
	enum err err = page_call(ctx, req, res, call, NULL, e);

	if (!err)
		page_done(res, HERE, "policy_saved", NULL);
	return err;
}

enum err page_policy_terms_save(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return save(ctx, req, res, &(struct page_call){.route = "policies.change", .body = form_document(terms_form, req)}, e);
}

enum err page_policy_limit_save(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return save(ctx, req, res, &(struct page_call){.route = "policies.changeLimit", .body = form_document(limit_form, req)}, e);
}
