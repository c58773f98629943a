/* page_scaling - a person's scaling policy, what it would do now, and what it did. */
#include "domain/scaling.h"
#include "web/page.h"
#include "web/page_form.h"
#include "web/pages.h"
#include "web/paging.h"
#include "web/view.h"
#include "web/view_fields.h"

#define HERE "/admin/scaling"

enum { RECENT = 12 };

const struct field page_scaling_body[] = {
	{"version", FIELD_INT, 0}, {"enabled", FIELD_STRING, 0, 0, 8}, {"paused", FIELD_STRING, 0, 0, 8}, {"accelerator", FIELD_STRING, 0, 0, 200},
	{"minWorkers", FIELD_STRING, 0, 0, 40}, {"maxWorkers", FIELD_STRING, 0, 0, 40}, {"queueThreshold", FIELD_STRING, 0, 0, 40},
	{"targetWait", FIELD_STRING, 0, 0, 40}, {"upDelay", FIELD_STRING, 0, 0, 40}, {"downDelay", FIELD_STRING, 0, 0, 40},
	{"idleStop", FIELD_STRING, 0, 0, 40}, {"accounts", FIELD_STRINGS, 0, 0, SCALING_ACCOUNTS}, {"accountOrder", FIELD_STRING, 0, 0, 20}, {0},
};

static const char *const orders[] = {"expiring", "listed", NULL};

static const struct form_field form[] = {
	{"enabled", NULL, FORM_CHECK},
	{"paused", NULL, FORM_CHECK},
	{"accelerator", NULL, FORM_TEXT, FORM_NULL},
	{"minWorkers", NULL, FORM_INT},
	{"maxWorkers", NULL, FORM_INT},
	{"queueThreshold", NULL, FORM_INT},
	{"targetWait", "targetWaitSeconds", FORM_SECONDS},
	{"upDelay", "upDelaySeconds", FORM_SECONDS},
	{"downDelay", "downDelaySeconds", FORM_SECONDS},
	{"idleStop", "idleStopSeconds", FORM_SECONDS, FORM_NULL},
	{"accounts", NULL, FORM_ITEMS},
	{"accountOrder", NULL, FORM_TEXT, .options = orders},
	{0},
};

/* ---- what is shown ------------------------------------------------------------- */

static const struct json *with_id(const struct json *list, struct str id)
{
	for (size_t i = 0; i < json_len(list); i++)
		if (str_eq(json_str(json_at(list, i), "id"), id))
			return json_at(list, i);
	return NULL;
}

static bool holds(const struct json *list, struct str id)
{
	for (size_t i = 0; i < json_len(list); i++)
		if (str_eq(json_as_str(json_at(list, i)), id))
			return true;
	return false;
}

/* What tells it from others of its provider; NULL where there is one only. */
static const char *name_of(const struct json *account)
{
	return json_bool(account, "hasCredentials", false) ? json_cstr(account, "title") : NULL;
}

/* account NULL: one that the reader may use and not see. */
static void add_option(struct json *options, struct str id, const struct json *account, bool selected)
{
	struct json *one = json_object();

	json_put_str(one, "value", id);
	json_put_cstr(one, "title", name_of(account));
	json_put_cstr(one, "provider", json_cstr(account, "provider"));
	json_put_bool(one, "selected", selected);
	json_add(options, one);
}

/* Those that are chosen, in their order, and the person's own. */
static void put_accounts(struct json *field, const struct request *req, const struct json *accounts, const struct json *chosen)
{
	struct json *options = json_array();
	int64_t owner;

	for (size_t i = 0; i < json_len(chosen); i++) {
		struct str id = json_as_str(json_at(chosen, i));

		add_option(options, id, with_id(accounts, id), true);
	}
	for (size_t i = 0; i < json_len(accounts); i++) {
		const struct json *account = json_at(accounts, i);

		if (str_to_id(json_str(account, "ownerId"), &owner) && owner == req->principal.user_id && !holds(chosen, json_str(account, "id")))
			add_option(options, json_str(account, "id"), account, false);
	}
	json_put(field, "options", options);
}

/* Whose page a subject such as "worker 12" has. */
static void put_subject(const struct view *v, struct json *decision)
{
	struct str subject = json_str(decision, "subject");
	bool is_worker = str_starts(subject, "worker ");

	json_put_cstr(decision, "pageUrl", is_worker ? arena_printf(v->arena, "/admin/workers/%.*s", (int)subject.len - 7, subject.ptr + 7) : NULL);
	view_put_time(v, decision, "at");
}

static enum err put_decisions(struct ctx *ctx, struct request *req, struct json *model, struct error *e)
{
	struct page_call call = {.route = "decisions.list", .params = json_object()};
	cleanup_json struct json *answer = NULL;
	struct view v = view_of(ctx, req);
	struct json *list;
	enum err err;

	json_put_cstr(call.params, "kind", "scaling");
	json_put_i64(call.params, "limit", RECENT);
	err = page_call(ctx, req, NULL, &call, &answer, e);
	list = json_get(answer, "decisions");
	for (size_t i = 0; !err && i < json_len(list); i++)
		put_subject(&v, json_at(list, i));
	if (!err)
		json_put(model, "decisions", json_ref(list));
	return err;
}

static enum err read_workers(struct ctx *ctx, struct request *req, struct json **ret, struct error *e)
{
	struct page_call call = {.route = "notebooks.list", .params = json_object()};

	json_put_i64(call.params, "limit", PAGE_MAX);
	return page_call(ctx, req, NULL, &call, ret, e);
}

static void view_action(const struct view *v, struct json *action, const struct json *workers, const struct json *accounts)
{
	static const char *const keys[] = {"workerId", "dueAt"};
	struct str id = json_str(action, "workerId");
	const struct json *worker = with_id(workers, id);

	view_put_missing(action, keys, ARRAY_LEN(keys));
	view_put_time(v, action, "dueAt");
	json_put_str(action, "subject", worker ? json_str(worker, "title") : id);
	json_put_cstr(action, "pageUrl", id.len ? arena_printf(v->arena, "/admin/workers/%.*s", STR_ARG(id)) : NULL);
	json_put_cstr(action, "accountTitle", name_of(with_id(accounts, json_str(action, "accountId"))));
	view_put_duration(action, "reservesText", json_i64(action, "reservesSeconds", -1));
	view_put_duration(action, "remainingText", json_i64(action, "remainingAfterSeconds", -1));
}

/* The API's plan with what a template cannot compute. */
static enum err view_plan(struct ctx *ctx, struct request *req, struct json *plan, const struct json *accounts, bool acts, struct error *e)
{
	cleanup_json struct json *answer = NULL;
	struct json *actions = json_get(plan, "actions");
	struct view v = view_of(ctx, req);
	enum err err = read_workers(ctx, req, &answer, e);

	for (size_t i = 0; !err && i < json_len(actions); i++)
		view_action(&v, json_at(actions, i), json_get(answer, "notebooks"), accounts);
	json_put_bool(plan, "any", json_len(actions) > 0);
	json_put_bool(plan, "acts", acts);
	json_put_i64(plan, "waiting", (int64_t)json_len(json_get(plan, "jobs")));
	json_put_cstr(plan, "commitUrl", arena_printf(req->arena, HERE "/plan/%s/commit", json_cstr(plan, "planId")));
	view_put_time(&v, plan, "expiresAt");
	return err;
}

/* sent: what a refused form held; plan: to be shown; either may be NULL. */
static enum err show(struct ctx *ctx, struct request *req, struct response *res, const struct json *sent, struct json *plan,
		     const struct error *why, struct error *e)
{
	cleanup_json struct json *policy = NULL, *accounts = NULL, *stored = NULL, *model = page_model(ctx, req, "scaling");
	enum err err = page_call(ctx, req, NULL, &(struct page_call){.route = "autoscale.get"}, &policy, e);
	bool acts = json_bool(policy, "enabled", false) && !json_bool(policy, "paused", false);

	if (!err)
		err = page_accounts_read(ctx, req, &accounts, e);
	if (!err)
		err = put_decisions(ctx, req, model, e);
	if (!err && plan)
		err = view_plan(ctx, req, plan, accounts, acts, e);
	if (err)
		return err;
	stored = form_of_document(form, policy);
	form_model(form, sent ? sent : stored, req, model);
	put_accounts(json_get(json_get(model, "form"), "accounts"), req, accounts, json_get(sent ? sent : policy, "accounts"));
	json_put(model, "plan", plan ? json_ref(plan) : json_null());
	json_put_i64(model, "version", json_i64(policy, "version", 0));
	json_put_bool(model, "neverSet", !json_i64(policy, "version", 0));
	if (why)
		page_problem(model, req, why);
	else if (page_flash_code(req))
		page_flash(model, page_flash_code(req), NULL, 0, NULL);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "scaling", json_ref(model), e);
}

enum err page_scaling(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, NULL, NULL, NULL, e);
}

/* After a plan that could not be made or carried out: nothing was sent that is to be kept. */
enum err page_scaling_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	return show(ctx, req, res, NULL, NULL, why, e);
}

/* What somebody else changed meanwhile is shown in place of what was sent. */
enum err page_scaling_save_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	return show(ctx, req, res, why->code == ERR_PRECONDITION ? NULL : req->json, NULL, why, e);
}

/* ---- what may be done ------------------------------------------------------------- */

enum err page_scaling_save(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct page_call call = {.route = "autoscale.set", .body = form_document(form, req)};
	enum err err;

	call.if_match = arena_printf(req->arena, "\"v%lld\"", (long long)json_i64(req->json, "version", 0));
	err = page_call(ctx, req, res, &call, NULL, e);
	if (!err)
		page_done(res, HERE, "scaling_saved", NULL);
	return err;
}

/* Answers with the page: the plan is of this moment, and in no address. */
enum err page_scaling_plan(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	cleanup_json struct json *plan = NULL;
	enum err err = page_call(ctx, req, res, &(struct page_call){.route = "autoscale.plan", .body = json_object()}, &plan, e);

	return err ? err : show(ctx, req, res, NULL, plan, NULL, e);
}

enum err page_scaling_commit(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	enum err err = page_call(ctx, req, res, &(struct page_call){.route = "autoscale.commit"}, NULL, e);

	if (!err)
		page_done(res, HERE, "scaling_done", NULL);
	return err;
}
