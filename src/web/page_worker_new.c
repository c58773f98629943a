/* page_worker_new - the form that adds a notebook, and what is being created. */
#include "domain/worker.h"

#include <string.h>

#include "web/page.h"
#include "web/page_credentials.h"
#include "web/pages.h"
#include "web/paging.h"
#include "web/view.h"
#include "web/view_fields.h"

const char *const page_providers[] = {"local", "manual", "kaggle", "colab", "colab-enterprise", NULL};
const char *const page_accelerators[] = {"gpu", "cpu", "tpu", NULL};

enum { INPUTS_MOST = 16 << 10 };

const struct field page_worker_new_query[] = {{"provider", FIELD_STRING, 0, 0, 31}, PAGE_FLASH_FIELDS, {0}};

const struct field page_worker_new_body[] = {
	{"provider", FIELD_STRING, 0, 0, 100},
	{"accelerator", FIELD_STRING, 0, 0, 200},
	{"title", FIELD_STRING, 0, 0, 1000},
	{"maxSession", FIELD_STRING, 0, 0, 100},
	{"idleStop", FIELD_STRING, 0, 0, 100},
	{"autoStart", FIELD_STRING, 0, 0, 10},
	{"kaggle.account", FIELD_STRING, 0, 0, 20},
	{"kaggle.accelerator", FIELD_STRING, 0, 0, 200},
	{"kaggle.datasets", FIELD_TEXT, 0, 0, INPUTS_MOST},
	{"kaggle.models", FIELD_TEXT, 0, 0, INPUTS_MOST},
	{"kaggle.competitions", FIELD_TEXT, 0, 0, INPUTS_MOST},
	{"kaggle.kernels", FIELD_TEXT, 0, 0, INPUTS_MOST},
	CREDENTIALS_SENT("kaggle."),
	{0},
};

static const struct form_field form[] = {
	{"provider", NULL, FORM_TEXT, .initial = "local"},
	{"accelerator", NULL, FORM_TEXT, .options = page_accelerators, .initial = "gpu"},
	{"title", NULL, FORM_TEXT},
	{"maxSession", "maxSessionSeconds", FORM_SECONDS},
	{"idleStop", "idleStopSeconds", FORM_SECONDS},
	{"autoStart", NULL, FORM_CHECK, .initial = "1"},
	{0},
};

static const struct form_field kaggle_form[] = {
	{"kaggle.account", "accountId", FORM_TEXT},
	{"kaggle.accelerator", "accelerator", FORM_TEXT, .initial = "gpu"},
	{"kaggle.datasets", "inputs.datasets", FORM_LINES},
	{"kaggle.models", "inputs.models", FORM_LINES},
	{"kaggle.competitions", "inputs.competitions", FORM_LINES},
	{"kaggle.kernels", "inputs.kernels", FORM_LINES},
	CREDENTIALS_FORM("kaggle."),
	{0},
};

/* What only one provider's notebooks have; "PROVIDER." begins its fields. */
static const struct own {
	const char *provider, *prefix;
	const struct form_field *form;
} owns[] = {{"kaggle", "kaggle.", kaggle_form}};

static const struct own *own_of(struct str provider)
{
	for (size_t i = 0; i < ARRAY_LEN(owns); i++)
		if (str_eqz(provider, owns[i].provider))
			return &owns[i];
	return NULL;
}

/* ---- where a worker can be ----------------------------------------------------- */

static struct json *provider_model(const struct ctx *ctx, const char *id)
{
	struct json *provider = json_object(), *unavailable = NULL;
	struct error e = {0};

	if (worker_reachable(id, ctx->config, &e)) {
		unavailable = json_object();
		json_put_cstr(unavailable, "code", e.reason ? e.reason : "");
	}
	json_put_cstr(provider, "id", id);
	json_put_bool(provider, "available", !unavailable);
	json_put(provider, "unavailable", unavailable ? unavailable : json_null());
	json_put_bool(provider, "selected", false);
	json_put(provider, "own", json_null());
	json_put(provider, "terms", json_null());
	return provider;
}

struct json *page_providers_model(const struct ctx *ctx, const char *chosen)
{
	struct json *list = json_array(), *selected = NULL, *one;

	for (const char *const *p = page_providers; *p; p++) {
		one = provider_model(ctx, *p);
		json_add(list, one);
		if (json_bool(one, "available", false) && (!selected || !strcmp(*p, chosen)))
			selected = one;
	}
	if (selected)
		json_put_bool(selected, "selected", true);
	return list;
}

/* ---- what one provider's notebooks have of their own ------------------------------- */

/* The accounts of this person there; a choice where there is one. */
static struct json *account_choice(const struct json *accounts, const struct request *req, const char *provider, struct str chosen)
{
	struct json *options = json_array();
	int64_t owner = 0;

	for (size_t i = 0; i < json_len(accounts); i++) {
		const struct json *account = json_at(accounts, i);
		struct json *one;

		if (!str_eqz(json_str(account, "provider"), provider) || !str_to_id(json_str(account, "ownerId"), &owner) ||
		    owner != req->principal.user_id)
			continue;
		one = json_object();
		json_put_str(one, "value", json_str(account, "id"));
		json_put_bool(one, "selected", str_eq(json_str(account, "id"), chosen));
		json_put_str(one, "title", json_str(account, "title"));
		json_put_str(one, "status", json_str(account, "status"));
		json_put(one, "quotas", json_ref(json_get(account, "quotas")));
		json_put_str(one, "pageUrl", json_str(account, "pageUrl"));
		json_add(options, one);
	}
	return options;
}

/* Errors are shown at the fields of the provider that was chosen only. */
static struct json *own_fields(const struct own *own, const struct json *sent, const struct request *req, bool is_chosen)
{
	struct json *model = json_object(), *fields = json_object();
	struct field_errors none = {0};
	struct request calm = *req;

	calm.errors = is_chosen ? req->errors : &none;
	form_model(own->form, sent, &calm, model);
	for (struct json_iter it = json_iter(json_get(model, "form")); json_next(&it);)
		json_put(fields, it.key + strlen(own->prefix), json_ref(it.value));
	json_free(model);
	return fields;
}

/* Whether the inputs have something to show. */
static bool any_input(const struct json *fields)
{
	static const char *const names[] = {"datasets", "models", "competitions", "kernels"};

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const struct json *field = json_get(fields, names[i]);

		if (json_str(field, "value").len || json_get(field, "error"))
			return true;
	}
	return false;
}

/* Where a provider's notebooks have nothing of their own to fill in, its terms stand alone. */
static enum err put_terms(struct ctx *ctx, struct request *req, struct json *provider, struct error *e)
{
	cleanup_json struct json *policy = NULL;
	struct json *terms;
	enum err err = page_policy(ctx, req, json_cstr(provider, "id"), &policy, e);

	if (err || !json_str(policy, "notice").len)
		return err;
	terms = json_object();
	json_put(terms, "policy", json_ref(policy));
	json_put(provider, "terms", terms);
	return OK;
}

static enum err put_own(struct ctx *ctx, struct request *req, const struct json *accounts, const struct json *sent,
			struct json *provider, struct error *e)
{
	const struct own *own = own_of(json_str(provider, "id"));
	cleanup_json struct json *policy = NULL;
	struct json *fields, *account, *options;
	enum err err;

	if (!own)
		return put_terms(ctx, req, provider, e);
	err = page_policy(ctx, req, own->provider, &policy, e);
	if (err)
		return err;
	fields = own_fields(own, sent, req, json_bool(provider, "selected", false));
	account = json_get(fields, "account");
	options = account_choice(accounts, req, own->provider, json_str(account, "value"));
	json_put_bool(fields, "known", json_len(options) > 0);
	json_put_bool(fields, "anyInput", any_input(fields));
	json_put(account, "options", options);
	err = page_accelerators_of(ctx, req, own->provider, json_get(fields, "accelerator"), e);
	json_put(fields, "policy", json_ref(policy));
	json_put(provider, "own", fields);
	return err;
}

static enum err put_providers(struct ctx *ctx, struct request *req, const struct json *sent, struct json *model, struct error *e)
{
	const char *chosen = json_cstr(sent ? sent : req->params, "provider");
	struct json *providers = page_providers_model(ctx, chosen ? chosen : page_providers[0]);
	cleanup_json struct json *accounts = NULL;
	enum err err = page_accounts_read(ctx, req, &accounts, e);

	json_put(model, "providers", providers);
	for (size_t i = 0; !err && i < json_len(providers); i++)
		err = put_own(ctx, req, accounts, sent, json_at(providers, i), e);
	return err;
}

/* ---- what is being created --------------------------------------------------------- */

static enum err put_creating(struct ctx *ctx, struct request *req, struct json *model, struct error *e)
{
	struct page_call call = {.route = "notebooks.list", .params = json_object()};
	cleanup_json struct json *answer = NULL;
	struct json *creating = json_array(), *list;
	struct view v = view_of(ctx, req);
	enum err err;

	json_put(model, "creating", creating);
	json_put_i64(call.params, "limit", PAGE_MAX);
	err = page_call(ctx, req, NULL, &call, &answer, e);
	list = json_get(answer, "notebooks");
	for (size_t i = 0; !err && i < json_len(list); i++) {
		struct json *worker = json_at(list, i);

		view_worker(&v, worker, NULL);
		if (json_get(worker, "steps") && json_bool(worker, "own", false))
			json_add(creating, json_ref(worker));
	}
	return err;
}

static enum err show(struct ctx *ctx, struct request *req, struct response *res, const struct json *sent,
		     const struct error *why, struct error *e)
{
	cleanup_json struct json *model = page_model(ctx, req, "pool");
	enum err err = put_creating(ctx, req, model, e);

	if (!err)
		err = put_providers(ctx, req, sent, model, e);
	if (err)
		return err;
	form_model(form, sent, req, model);
	if (why)
		page_problem(model, req, why);
	return view_page(ctx, req, res, why ? err_http_status(why->code) : 200, "worker-new", json_ref(model), e);
}

enum err page_worker_new(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	return show(ctx, req, res, NULL, NULL, e);
}

enum err page_worker_new_again(struct ctx *ctx, struct request *req, struct response *res, const struct error *why,
			       struct error *e)
{
	const struct own *own = own_of(json_str(req->json, "provider"));

	if (own)
		page_credentials_refused(req, own->prefix);
	return show(ctx, req, res, req->json, why, e);
}

/* Adds what the provider's own fields say; false when its credentials are not whole. */
static bool add_own(const struct own *own, const struct request *req, struct json *document)
{
	cleanup_json struct json *more = form_document(own->form, req);

	if (json_get(more, "accountId")) {
		json_del(more, "credentials");
	} else {
		struct json *credentials = page_credentials(req, own->prefix);

		if (!credentials)
			return false;
		json_put(more, "credentials", credentials);
	}
	for (struct json_iter it = json_iter(more); json_next(&it);)
		json_put(document, it.key, json_ref(it.value));
	return true;
}

enum err page_worker_create(struct ctx *ctx, struct request *req, struct response *res, struct error *e)
{
	const struct own *own = own_of(json_str(req->json, "provider"));
	struct page_call call = {.route = "notebooks.create", .body = form_document(form, req)};
	cleanup_json struct json *made = NULL;
	enum err err;

	if (own && !add_own(own, req, call.body)) {
		json_free(call.body);
		return error_set(e, ERR_INVALID, "The credentials are not complete.");
	}
	err = page_call(ctx, req, res, &call, &made, e);
	if (!err)
		page_done(res, arena_printf(req->arena, "/admin/workers/%s", json_cstr(made, "id")), "worker_created", NULL);
	return err;
}
