/* page_policy - what providers allow, and what accounts have left of it, for several pages.  See web/page.h. */
#include "web/page.h"
#include "web/paging.h"
#include "web/view_fields.h"

/* ---- what is left ---------------------------------------------------------------- */

static void add_quotas(const struct view *v, const struct json *ledger, struct json *account)
{
	struct json *resources = json_get(ledger, "resources"), *quotas = json_array();

	for (size_t i = 0; i < json_len(resources); i++) {
		struct json *quota = json_at(resources, i);

		view_quota(v, quota);
		json_put(quota, "title", json_null());
		json_add(quotas, json_ref(quota));
	}
	json_put_bool(account, "hasQuotas", json_len(quotas) > 0);
	json_put(account, "quotas", quotas);
}

enum err page_quotas(struct ctx *ctx, struct request *req, struct json *accounts, struct error *e)
{
	struct page_call call = {.route = "quota.list", .params = json_object()};
	cleanup_json struct json *answer = NULL;
	struct view v = view_of(ctx, req);
	const struct json *list;
	enum err err;

	json_put_i64(call.params, "limit", PAGE_MAX);
	err = page_call(ctx, req, NULL, &call, &answer, e);
	if (err)
		return err;
	list = json_get(answer, "accounts");
	for (size_t i = 0; i < json_len(accounts); i++) {
		struct json *account = json_at(accounts, i);

		json_put_bool(account, "hasQuotas", false);
		for (size_t k = 0; k < json_len(list); k++)
			if (str_eq(json_str(json_at(list, k), "id"), json_str(account, "id")))
				add_quotas(&v, json_at(list, k), account);
	}
	return OK;
}

/* ---- what is allowed -------------------------------------------------------------- */

enum err page_policy(struct ctx *ctx, struct request *req, const char *provider, struct json **ret, struct error *e)
{
	cleanup_json struct json *answer = NULL;
	const struct json *list;
	enum err err = page_call(ctx, req, NULL, &(struct page_call){.route = "policies.list"}, &answer, e);

	*ret = NULL;
	list = json_get(answer, "policies");
	for (size_t i = 0; !err && i < json_len(list); i++) {
		struct json *policy = json_at(list, i), *limits = json_get(policy, "limits");

		if (!str_eqz(json_str(policy, "provider"), provider) || !json_len(limits))
			continue;
		for (size_t k = 0; k < json_len(limits); k++)
			view_limit(json_at(limits, k));
		*ret = json_ref(policy);
	}
	return err;
}

/* ---- accelerators ------------------------------------------------------------------- */

/* Those in use first; what is no more cannot be chosen, unless it is. */
static struct json *accelerator_options(const struct json *list, struct str chosen)
{
	struct json *options = json_array();

	for (size_t i = 0; i < json_len(list); i++) {
		const struct json *row = json_at(list, i);
		struct json *one = json_object();
		bool is = str_eq(json_str(row, "name"), chosen);

		json_put_str(one, "value", json_str(row, "name"));
		json_put_bool(one, "selected", is);
		json_put_bool(one, "retired", !is && !json_bool(row, "usable", false));
		json_put_str(one, "note", json_str(row, "note"));
		json_add(options, one);
	}
	return options;
}

enum err page_accelerators_of(struct ctx *ctx, struct request *req, const char *provider, struct json *field, struct error *e)
{
	cleanup_json struct json *policy = NULL;
	enum err err = page_policy(ctx, req, provider, &policy, e);
	const struct json *list = json_get(policy, "accelerators");
	struct json *options;

	if (err || json_len(list)) {
		if (!err)
			json_put(field, "options", accelerator_options(list, json_str(field, "value")));
		return err;
	}
	/* A provider without a list: what the form offers. */
	options = json_get(field, "options");
	for (size_t i = 0; i < json_len(options); i++) {
		json_put_bool(json_at(options, i), "retired", false);
		json_put(json_at(options, i), "note", json_null());
	}
	return OK;
}

/* ---- whose -------------------------------------------------------------------------- */

enum err page_accounts_read(struct ctx *ctx, struct request *req, struct json **ret, struct error *e)
{
	struct page_call call = {.route = "accounts.list", .params = json_object()};
	cleanup_json struct json *answer = NULL;
	struct view v = view_of(ctx, req);
	enum err err;

	json_put_i64(call.params, "limit", PAGE_MAX);
	err = page_call(ctx, req, NULL, &call, &answer, e);
	if (err)
		return err;
	*ret = json_ref(json_get(answer, "accounts"));
	for (size_t i = 0; i < json_len(*ret); i++)
		view_account(&v, json_at(*ret, i));
	return page_quotas(ctx, req, *ret, e);
}
