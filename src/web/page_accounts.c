/* page_accounts - accounts at providers: the list with the form that adds one, and each by itself. */
#include "domain/worker.h"
#include "web/page.h"
#include "web/page_credentials.h"
#include "web/pages.h"
#include "web/paging.h"
#include "web/view.h"
#include "web/view_fields.h"

#define HERE "/admin/accounts"

const struct field page_account_create_body[] = {
	{"provider", FIELD_STRING, 0, 0, 40}, {"label", FIELD_STRING, 0, 0, 200}, CREDENTIALS_SENT(""),
	{"clientId", FIELD_STRING, 0, 0, 300}, {"clientSecret", FIELD_STRING, FIELD_SECRET, 0, 300},
	{"keyFile", FIELD_TEXT, FIELD_SECRET, 0, CREDENTIALS_FILE_MAX}, {"project", FIELD_STRING, 0, 0, 200}, {"region", FIELD_STRING, 0, 0, 100},
	{"bucket", FIELD_STRING, 0, 0, 300}, {0},
};
const struct field page_account_replace_body[] = {CREDENTIALS_SENT(""), {0}};
const struct field page_account_delete_body[] = {{"abandon", FIELD_STRING, 0, 0, 8}, {0}};
const struct field page_account_consent_body[] = {{"start", FIELD_STRING, 0, 0, 20}, {0}};
const struct field page_account_edit_body[] = {{"label", FIELD_STRING, 0, 0, 200}, {"sharing", FIELD_STRING, 0, 0, 20}, {0}};

static const char *const sharings[] = {"none", "all", NULL};

/* Those of the page of one account share one model. */
static const struct form_field create_form[] = {
	{"label", NULL, FORM_TEXT}, CREDENTIALS_FORM(""),
	{"clientId", "credentials.clientId", FORM_TEXT, FORM_PAGE}, {"clientSecret", "credentials.clientSecret", FORM_SECRET, FORM_PAGE},
	{"keyFile", "credentials.serviceAccount", FORM_SECRET, FORM_PAGE}, {"project", "credentials.project", FORM_TEXT, FORM_PAGE},
	{"region", "credentials.region", FORM_TEXT, FORM_PAGE}, {"bucket", "credentials.bucket", FORM_TEXT, FORM_PAGE}, {0},
};
static const struct form_field account_form[] = {
	{"label", NULL, FORM_TEXT, FORM_EMPTY}, {"sharing", NULL, FORM_TEXT, .options = sharings}, CREDENTIALS_FORM(""), {0},
};
static const struct form_field edit_form[] = {{"label", NULL, FORM_TEXT, FORM_EMPTY}, {"sharing", NULL, FORM_TEXT}, {0}};

/* ---- what a page shows of accounts ------------------------------------------- */

/* Whether notebooks at this provider would find no way back to us. */
static bool is_unreachable(const struct ctx *ctx, const char *provider)
{
	struct error e = {0};

	return worker_reachable(provider, ctx->config, &e) != OK;
}

static const struct json *find_account(const struct json *accounts, struct str id)
{
	for (size_t i = 0; i < json_len(accounts); i++)
		if (str_eq(json_str(json_at(accounts, i), "id"), id))
			return json_at(accounts, i);
	return NULL;
}

/* ---- the list ------------------------------------------------------------------- */

static bool has_one(const struct json *accounts, const struct request *req, const char *provider)
{
	int64_t owner = 0;

	for (size_t i = 0; i < json_len(accounts); i++)
		if (str_eqz(json_str(json_at(accounts, i), "provider"), provider) && str_to_id(json_str(json_at(accounts, i), "ownerId"), &owner) &&
		    owner == req->principal.user_id)
			return true;
	return false;
}

static bool any_quota(const struct json *accounts)
{
	for (size_t i = 0; i < json_len(accounts); i++)
		if (json_bool(json_at(accounts, i), "hasQuotas", false))
			return true;
	return false;
}

static enum err put_terms(struct ctx *ctx, struct request *req, const char *provider, const char *key, struct json *model, struct error *e)
{
	cleanup_json struct json *policy = NULL;
	enum err err = page_policy(ctx, req, provider, &policy, e);
	struct json *terms;

	if (err)
		return err;
	terms = json_object();
	json_put(terms, "policy", policy ? json_ref(policy) : json_null());
	json_put(model, key, terms);
	return OK;
}

static enum err show_list(struct ctx *ctx, struct request *req, struct response *res, const struct json *sent, const struct error *why,
			  struct error *e)
{
	cleanup_json struct json *accounts = NULL, *policy = NULL, *model = page_model(ctx, req, "accounts");
	const struct json *subject;
	enum err err = page_accounts_read(ctx, req, &accounts, e);

	if (!err)
		err = page_policy(ctx, req, "kaggle", &policy, e);
	if (!err)
		err = put_terms(ctx, req, "colab", "colab", model, e);
	if (!err)
		err = put_terms(ctx, req, "colab-enterprise", "enterprise", model, e);
	if (err)
		return err;
	subject = find_account(accounts, json_str(req->params, "of"));
	json_put(model, "accounts", json_ref(accounts));
	json_put_bool(model, "anyQuotas", any_quota(accounts));
	json_put_bool(model, "taken", has_one(accounts, req, "kaggle"));
	json_put_bool(model, "colabTaken", has_one(accounts, req, "colab"));
	json_put_bool(model, "unreachable", is_unreachable(ctx, "kaggle"));
	json_put(model, "policy", json_ref(policy));
	form_model(create_form, sent, req, model);
	if (why)
		page_problem(model, req, why);
	else if (page_flash_code(req))
		page_flash(model, page_flash_code(req), json_cstr(subject, "title"), 0, json_cstr(subject, "pageUrl"));
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "accounts", json_ref(model), e);
}

enum err page_accounts(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show_list(ctx, req, res, NULL, NULL, e);
}

enum err page_accounts_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	page_credentials_refused(req, "");
	return show_list(ctx, req, res, req->json, why, e);
}

static enum err refused(struct error *e)
{
	return error_set(e, ERR_INVALID, "The credentials are not complete.");
}

/* The members that were sent, by the API's names. */
static struct json *members_sent(const struct request *req, const char *const (*names)[2])
{
	struct json *credentials = json_object();

	for (; (*names)[0]; names++) {
		struct str value = str_trim(json_str(req->json, (*names)[0]));

		if (value.len)
			json_put_str(credentials, (*names)[1], value);
	}
	return credentials;
}

static struct json *new_credentials(const struct request *req)
{
	static const char *const client[][2] = {{"clientId", "clientId"}, {"clientSecret", "clientSecret"}, {NULL, NULL}};
	static const char *const key[][2] = {{"keyFile", "serviceAccount"}, {"project", "project"}, {"region", "region"}, {"bucket", "bucket"}, {NULL, NULL}};
	struct str provider = json_str(req->json, "provider");

	if (str_eqz(provider, "colab"))
		return members_sent(req, client);
	return str_eqz(provider, "colab-enterprise") ? members_sent(req, key) : page_credentials(req, "");
}

enum err page_account_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct page_call call = {.route = "accounts.create"};
	struct json *credentials = new_credentials(req);
	cleanup_json struct json *made = NULL;
	enum err err;

	if (!credentials)
		return refused(e);
	call.body = json_object();
	json_put_str(call.body, "provider", json_str(req->json, "provider"));
	if (json_str(req->json, "label").len)
		json_put_str(call.body, "label", json_str(req->json, "label"));
	json_put(call.body, "credentials", credentials);
	err = page_call(ctx, req, res, &call, &made, e);
	if (!err)
		page_done(res, HERE, "account_added", json_cstr(made, "id"));
	return err;
}

/* ---- one account ------------------------------------------------------------------ */

/* Its notebooks, those that somebody deletes just now included. */
static enum err read_workers(struct ctx *ctx, struct request *req, const struct json *account, struct json *workers, struct error *e)
{
	struct page_call call = {.route = "notebooks.list", .params = json_object()};
	cleanup_json struct json *answer = NULL;
	struct view v = view_of(ctx, req);
	const struct json *list;
	enum err err;

	json_put_i64(call.params, "limit", PAGE_MAX);
	json_put_str(call.params, "provider", json_str(account, "provider"));
	err = page_call(ctx, req, NULL, &call, &answer, e);
	list = json_get(answer, "notebooks");
	for (size_t i = 0; !err && i < json_len(list); i++) {
		struct json *worker = json_at(list, i);

		if (!str_eq(json_str(worker, "accountId"), json_str(account, "id")))
			continue;
		view_worker(&v, worker, NULL);
		json_add(workers, json_ref(worker));
	}
	return err;
}

static enum err read_account(struct ctx *ctx, struct request *req, struct json **ret, struct error *e)
{
	cleanup_json struct json *one = json_array();
	struct view v = view_of(ctx, req);
	enum err err = page_call(ctx, req, NULL, &(struct page_call){.route = "accounts.get"}, ret, e);

	if (err)
		return err;
	view_account(&v, *ret);
	json_add(one, json_ref(*ret));
	return page_quotas(ctx, req, one, e);
}

/* Its consent with what the section shows of it; connect: where the person goes now, or NULL. */
static void put_consent(struct json *account, const struct json *connect)
{
	struct json *consent = json_get(account, "consent");

	if (!consent) {
		json_put(account, "consent", json_null());
		return;
	}
	json_put(consent, "connect", connect ? json_ref((struct json *)connect) : json_null());
	json_put_bool(consent, "first", !str_eqz(json_str(consent, "state"), "given"));
	if (!json_has(consent, "error"))
		json_put(consent, "error", json_null());
}

static enum err show_with(struct ctx *ctx, struct request *req, struct response *res, const struct json *sent, const struct json *connect,
			  const struct error *why, struct error *e)
{
	cleanup_json struct json *account = NULL, *policy = NULL, *stored = NULL, *model = page_model(ctx, req, "accounts");
	struct json *workers = json_array();
	enum err err = read_account(ctx, req, &account, e);

	json_put(model, "workers", workers);
	if (!err)
		err = read_workers(ctx, req, account, workers, e);
	if (!err)
		err = page_policy(ctx, req, json_cstr(account, "provider"), &policy, e);
	if (err)
		return err;
	stored = form_of_document(edit_form, account);
	put_consent(account, connect);
	json_put(model, "account", json_ref(account));
	json_put(model, "policy", json_ref(policy));
	json_put_bool(model, "unreachable", is_unreachable(ctx, json_cstr(account, "provider")));
	json_put_bool(model, "mend", why || str_eqz(json_str(account, "reasonCode"), "credentials"));
	form_model(account_form, sent ? sent : stored, req, model);
	if (why)
		page_problem(model, req, why);
	else if (page_flash_code(req))
		page_flash(model, page_flash_code(req), json_cstr(account, "title"), 0, NULL);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "account", json_ref(model), e);
}

static enum err show(struct ctx *ctx, struct request *req, struct response *res, const struct json *sent, const struct error *why, struct error *e)
{
	return show_with(ctx, req, res, sent, NULL, why, e);
}

enum err page_account(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, NULL, NULL, e);
}

/* Of the edit form, which keeps what was sent. */
enum err page_account_edit_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	return show(ctx, req, res, req->json, why, e);
}

/* Of the others; nothing that was sent is shown. */
enum err page_account_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	page_credentials_refused(req, "");
	return show(ctx, req, res, NULL, why, e);
}

/* ---- what may be done ---------------------------------------------------------------- */

static enum err change(struct ctx *ctx, struct request *req, struct response *res, const struct page_call *call, const char *code,
		       struct error *e)
{
	enum err err = page_call(ctx, req, res, call, NULL, e);

	if (!err)
		page_done(res, arena_printf(req->arena, HERE "/%.*s", STR_ARG(request_capture(req, "id"))), code, NULL);
	return err;
}

enum err page_account_replace(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct page_call call = {.route = "accounts.change"};
	struct json *credentials = page_credentials(req, "");

	if (!credentials)
		return refused(e);
	call.body = json_object();
	json_put(call.body, "credentials", credentials);
	return change(ctx, req, res, &call, "account_replaced", e);
}

enum err page_account_edit(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct page_call call = {.route = "accounts.change", .body = form_document(edit_form, req)};

	return change(ctx, req, res, &call, "account_saved", e);
}

/* A link, not a redirect: a form of ours is sent nowhere else. */
enum err page_account_consent(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct page_call call = {.route = "accounts.consent", .body = json_object()};
	cleanup_json struct json *connect = NULL;
	enum err err;

	json_put_cstr(call.body, "start", str_eqz(json_str(req->json, "start"), "api") ? "api" : "assisted");
	err = page_call(ctx, req, res, &call, &connect, e);
	if (!err)
		err = show_with(ctx, req, res, NULL, connect, NULL, e);
	if (!err)
		response_header(res, "Cache-Control", "no-store");
	return err;
}

enum err page_account_check(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return change(ctx, req, res, &(struct page_call){.route = "accounts.check"}, "account_checked", e);
}

static enum err show_delete(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	cleanup_json struct json *account = NULL, *workers = json_array(), *model = page_model(ctx, req, "accounts");
	enum err err = read_account(ctx, req, &account, e);

	if (!err)
		err = read_workers(ctx, req, account, workers, e);
	if (err)
		return err;
	json_put_i64(account, "workers", (int64_t)json_len(workers));
	json_put(model, "account", json_ref(account));
	if (why)
		page_problem(model, req, why);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "account-delete", json_ref(model), e);
}

enum err page_account_delete_ask(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show_delete(ctx, req, res, NULL, e);
}

enum err page_account_delete_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why, struct error *e)
{
	return show_delete(ctx, req, res, why, e);
}

enum err page_account_delete(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	struct page_call call = {.route = "accounts.delete", .params = json_object()};
	cleanup_json struct json *left = NULL;
	enum err err;

	if (json_str(req->json, "abandon").len)
		json_put_bool(call.params, "abandon", true);
	err = page_call(ctx, req, res, &call, &left, e);
	if (!err && left)
		page_done(res, arena_printf(req->arena, HERE "/%.*s", STR_ARG(request_capture(req, "id"))), "account_deleting", NULL);
	else if (!err)
		page_done(res, HERE, "account_removed", NULL);
	return err;
}
