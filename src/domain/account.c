/* account - accounts at providers.  See domain/account.h. */
#include "domain/account.h"

#include "domain/budget.h"

#include <stdio.h>
#include <string.h>

#include "domain/browser.h"
#include "domain/credentials.h"
#include "domain/rowjson.h"
#include "domain/sealed.h"

static enum err not_there(struct error *e)
{
	return error_set(e, ERR_NOT_FOUND, "There is no account of this id.");
}

/* ---- credentials ------------------------------------------------------------------ */

/* What a person gives a browser instance is for it alone. */
static enum err store_for_browser(struct db *db, struct arena *a, const struct sealed_account *of, const struct credentials *c, bool replace, struct error *e)
{
	enum err err = db_run(db, STMT_ACCOUNT_FOR_BROWSER, ARGS(arg_i64(of->id), arg_cstr(c->email), arg_bool(replace)), NULL, e);

	if (!err && c->password.len)
		err = browser_password_give(db, a, of->id, of->owner, (struct str){c->password.ptr, c->password.len}, e);
	return err ? err : db_run(db, STMT_ACCOUNT_CHECK_SOON, ARGS(arg_i64(of->id)), NULL, e);
}

/* Seals them for an account that the transaction holds. */
static enum err store(struct db *db, struct arena *a, const struct sealed_account *of, const struct credentials *c, bool replace,
		      struct error *e)
{
	cleanup_rows struct rows rows = {0};
	struct sealed sealed;
	enum err err;

	if (!c->text.ptr)
		return store_for_browser(db, a, of, c, replace, e);
	err = sealed_make_credentials(db, a, of, (struct str){c->text.ptr, c->text.len}, &sealed, e);
	if (!err)
		err = db_run(db, STMT_ACCOUNT_SEAL,
			     ARGS(arg_i64(of->id), arg_bytes(sealed.box.ptr, sealed.box.len), arg_i64(sealed.key_id), arg_bool(replace),
				  arg_cstr(c->client_id)), &rows, e);
	if (!err && !rows_count(&rows))
		return error_set(e, ERR_UNAVAILABLE, "The sealing key changed at this moment; try again.");
	return err ? err : db_run(db, STMT_ACCOUNT_CHECK_SOON, ARGS(arg_i64(of->id)), NULL, e);
}

static enum err not_paid_for(struct error *e)
{
	return error_field(e, ERR_INVALID, "computeUnits", "is about accounts of Colab only");
}

/* ---- making one ------------------------------------------------------------------- */

static enum err read_policy(struct db *db, const char *provider, bool *implicit, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_ACCOUNT_POLICY, ARGS(arg_cstr(provider)), &rows, e);

	if (!err && !rows_count(&rows))
		return error_field(e, ERR_INVALID, "provider", "is not known here");
	*implicit = !err && row_bool(&rows, 0, "implicit");
	return err;
}

/* Its owner's at this provider; 0 = there is none.  ERR_CONFLICT: there is one that is being deleted. */
static enum err find_own(struct db *db, const struct principal *p, const char *provider, int64_t *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_ACCOUNT_OWN, ARGS(arg_i64(p->user_id), arg_cstr(provider)), &rows, e);

	*ret = !err && rows_count(&rows) ? row_i64(&rows, 0, "id") : 0;
	if (!*ret || !row_bool(&rows, 0, "deleting"))
		return err;
	error_field(e, ERR_CONFLICT, "provider", "Your account of this provider is being deleted; add it again when its notebooks are gone.");
	if (e)
		e->reason = "account_deleting";
	return ERR_CONFLICT;
}

/* ERR_CONFLICT: there is one, and *id is its id. */
static enum err add(struct db *db, const struct principal *p, const char *provider, struct arg label, bool paid, int64_t *id,
		    struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_ACCOUNT_ADD, ARGS(arg_i64(p->user_id), arg_cstr(provider), label, arg_bool(paid)), &rows, e);

	if (err)
		return err;
	if (rows_count(&rows)) {
		*id = row_i64(&rows, 0, "id");
		return OK;
	}
	err = find_own(db, p, provider, id, e);
	if (err)
		return err;
	error_field(e, ERR_CONFLICT, "provider", "You have an account of this provider.");
	if (e)
		e->reason = "account_exists";
	return ERR_CONFLICT;
}

enum err account_create(struct db *db, struct arena *a, const struct principal *p, const struct account_new *n,
			int64_t *ret_id, struct error *e)
{
	struct sealed_account of = {.owner = p->user_id, .provider = arena_strndup(a, n->provider.ptr, n->provider.len)};
	cleanup_credentials struct credentials credentials = {0};
	bool implicit;
	enum err err;

	*ret_id = 0;
	if (!of.provider)
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	err = read_policy(db, of.provider, &implicit, e);
	if (!err && (!implicit || n->credentials))
		err = credentials_read(of.provider, n->credentials, &credentials, e);
	if (!err && n->paid && strcmp(of.provider, "colab") != 0)
		err = not_paid_for(e);
	if (!err)
		err = add(db, p, of.provider, arg_str(a, n->label), n->paid, ret_id, e);
	if (err || !n->credentials)
		return err;
	of.id = *ret_id;
	return store(db, a, &of, &credentials, false, e);
}

enum err account_put(struct db *db, struct arena *a, const struct principal *p, const char *provider,
		     const struct json *credentials, int64_t *ret_id, struct error *e)
{
	struct account_new n = {.provider = str_of(provider), .credentials = credentials};
	struct sealed_account of = {.owner = p->user_id, .provider = provider};
	cleanup_credentials struct credentials read = {0};
	enum err err = find_own(db, p, provider, ret_id, e);

	if (err)
		return err;
	if (!*ret_id)
		return account_create(db, a, p, &n, ret_id, e);
	of.id = *ret_id;
	err = credentials_read(provider, credentials, &read, e);
	return err ? err : store(db, a, &of, &read, true, e);
}

/* ---- changing one ----------------------------------------------------------------- */

static enum err hold(struct db *db, const struct principal *p, int64_t id, struct rows *ret, struct error *e)
{
	enum err err = db_run(db, STMT_ACCOUNT_HOLD, ARGS(arg_i64(id), arg_i64(p->user_id), arg_bool(principal_sees_all(p))), ret, e);

	return err || rows_count(ret) ? err : not_there(e);
}

static enum err replace(struct db *db, struct arena *a, const struct principal *p, int64_t id, const struct json *sent, struct error *e)
{
	cleanup_credentials struct credentials read = {0};
	cleanup_rows struct rows rows = {0};
	struct sealed_account of;
	enum err err = hold(db, p, id, &rows, e);

	if (err)
		return err;
	of = (struct sealed_account){id, row_i64(&rows, 0, "owner_id"), row_cstr(&rows, 0, "provider")};
	err = credentials_read(of.provider, sent, &read, e);
	return err ? err : store(db, a, &of, &read, row_bool(&rows, 0, "has_credentials"), e);
}

/* The users as an array argument; each must exist. */
static enum err shared_array(struct db *db, const struct json *users, struct buf *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	size_t n = json_len(users);
	enum err err;

	array_begin(ret);
	for (size_t i = 0; i < n; i++) {
		int64_t id;

		if (!str_to_id(json_as_str(json_at(users, i)), &id) || id > INT32_MAX)
			return error_field(e, ERR_INVALID, "sharedWith", "must be user ids");
		for (size_t k = 0; k < i; k++)
			if (str_eq(json_as_str(json_at(users, i)), json_as_str(json_at(users, k))))
				return error_field(e, ERR_INVALID, "sharedWith", "names a user twice");
		array_add_i64(ret, id);
	}
	array_end(ret);
	err = db_run(db, STMT_ACCOUNT_USERS_KNOWN, ARGS(arg_buf(ret)), &rows, e);
	if (!err && row_i64(&rows, 0, "known") != (int64_t)n)
		return error_field(e, ERR_INVALID, "sharedWith", "names a user that does not exist");
	return err;
}

/* Whether the provider's terms let it be shared. */
static enum err check_terms(struct db *db, const struct principal *p, int64_t id, const struct account_change *c,
			    struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_ACCOUNT_TERMS, ARGS(arg_i64(id), arg_i64(p->user_id), arg_bool(principal_sees_all(p))),
			      &rows, e);

	if (err)
		return err;
	if (!rows_count(&rows))
		return not_there(e);
	if (c->set_paid && !str_eqz(row_str(&rows, 0, "provider"), "colab"))
		return not_paid_for(e);
	if (!c->sharing.ptr || str_eqz(c->sharing, "none") || row_bool(&rows, 0, "sharing_allowed"))
		return OK;
	err = error_field(e, ERR_CONFLICT, "sharing", "The provider's terms do not allow it (%s, as of %s).",
			  row_cstr(&rows, 0, "source"), row_cstr(&rows, 0, "as_of"));
	e->reason = "sharing_not_allowed";
	return err;
}

static enum err change_budget(struct db *db, const struct principal *p, int64_t id, const struct json *budget, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = hold(db, p, id, &rows, e);

	if (!err)
		err = budget_set(db, id, budget, e);
	/* Whoever reserves goes by it from now on; what runs is cut at the next look at the account. */
	return err ? err : db_run(db, STMT_ACCOUNT_CHECK_SOON, ARGS(arg_i64(id)), NULL, e);
}

enum err account_change(struct db *db, struct arena *a, const struct principal *p, int64_t id,
			const struct account_change *c, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_buf struct buf users = BUF_INIT(16 << 10);
	enum err err = check_terms(db, p, id, c, e);

	if (!err && c->shared_with)
		err = shared_array(db, c->shared_with, &users, e);
	if (!err && c->credentials)
		err = replace(db, a, p, id, c->credentials, e);
	if (!err && c->set_budget)
		err = change_budget(db, p, id, c->budget, e);
	if (err)
		return err;
	err = db_run(db, STMT_ACCOUNT_SET,
		     ARGS(arg_i64(id), arg_i64(p->user_id), arg_bool(principal_sees_all(p)), arg_str(a, c->label),
			  arg_str(a, c->sharing), c->shared_with ? arg_buf(&users) : arg_null(), c->set_paid ? arg_bool(c->paid) : arg_null()),
		     &rows, e);
	return err || rows_count(&rows) ? err : not_there(e);
}

enum err account_delete(struct db *db, const struct principal *p, int64_t id, bool abandon, bool *gone, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = hold(db, p, id, &rows, e);

	if (!err)
		err = db_run(db, STMT_ACCOUNT_REMOVE, ARGS(arg_i64(id)), &rows, e);
	if (!err && !rows_count(&rows))
		err = db_run(db, STMT_ACCOUNT_RETIRE, ARGS(arg_i64(id)), &rows, e);
	*gone = !err && rows_count(&rows);
	if (err || *gone)
		return err;
	err = db_run(db, STMT_ACCOUNT_LET_GO, ARGS(arg_i64(id)), &rows, e);
	if (!err && !rows_count(&rows))
		return error_set(e, ERR_CONFLICT, "It has notebooks of other people; they are to be deleted first.");
	return err || !abandon ? err : db_run(db, STMT_ACCOUNT_FORGET, ARGS(arg_i64(id)), NULL, e);
}

enum err account_check(struct db *db, const struct principal *p, int64_t id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = hold(db, p, id, &rows, e);

	if (!err && !row_bool(&rows, 0, "has_credentials"))
		return error_set(e, ERR_CONFLICT, "It has no credentials that could be checked.");
	return err ? err : db_run(db, STMT_ACCOUNT_CHECK_SOON, ARGS(arg_i64(id)), NULL, e);
}

/* ---- seeing them ------------------------------------------------------------------ */

static void put_quota_url(struct json *j, int64_t id)
{
	char url[64];

	snprintf(url, sizeof(url), "/api/gpu/quota?account=%lld", (long long)id);
	json_put_cstr(j, "quotaUrl", url);
}

/* status, reason and what kind of reason that is.  One that is being deleted says what that waits for. */
static void put_status(struct json *j, const struct rows *rows, int i)
{
	bool unchecked = row_bool(rows, i, "unchecked"), deleting = row_bool(rows, i, "deleting");
	bool refused = !unchecked && str_eqz(row_str(rows, i, "status"), "needs_human");
	struct str code = refused ? row_str(rows, i, "refused_code") : STR_NULL, why = unchecked ? STR_NULL : row_str(rows, i, "reason");
	char text[64];

	snprintf(text, sizeof(text), "Notebooks of it that are not deleted yet: %lld.", (long long)row_i64(rows, i, "workers_left"));
	json_put_str(j, "status", deleting ? STR("deleting") : unchecked ? STR("unchecked") : row_str(rows, i, "status"));
	json_put_str(j, "reason", deleting && !str_eqz(code, "credentials") ? str_of(text) : why);
	json_put_str(j, "reasonCode", code);
}

/* Of an OAuth client's; null where there is none. */
static void put_consent(struct json *j, const struct rows *rows, int i)
{
	bool client = row_bool(rows, i, "client"), given = row_bool(rows, i, "consented");
	struct json *consent = client ? json_object() : json_null();

	json_put(j, "consent", consent);
	if (!client)
		return;
	json_put_cstr(consent, "state", row_bool(rows, i, "consent_asked") ? "asked" : given ? "given" : "none");
	json_put_raw(consent, "scopes", given ? row_str(rows, i, "scopes") : STR("[]"));
	rowjson_time(consent, "givenAt", rows, i, given ? "consent_ms" : "never_ms");
	json_put_str(consent, "error", row_null(rows, i, "consent_error") ? STR_NULL : row_str(rows, i, "consent_error"));
}

static struct json *account_json(const struct rows *rows, int i)
{
	struct json *j = json_object();

	rowjson_id(j, "id", rows, i, "id");
	json_put_str(j, "provider", row_str(rows, i, "provider"));
	json_put_str(j, "label", row_str(rows, i, "label"));
	rowjson_id(j, "ownerId", rows, i, "owner_id");
	json_put_str(j, "owner", row_str(rows, i, "owner"));
	json_put_str(j, "identity", row_str(rows, i, "identity"));
	put_status(j, rows, i);
	json_put_raw(j, "budget", row_str(rows, i, "budget"));
	json_put_raw(j, "coolDown", row_null(rows, i, "cool_down") ? STR("null") : row_str(rows, i, "cool_down"));
	rowjson_time(j, "checkedAt", rows, i, "checked_ms");
	json_put_str(j, "sharing", row_str(rows, i, "sharing"));
	json_put_raw(j, "sharedWith", row_null(rows, i, "shared_with") ? STR("[]") : row_str(rows, i, "shared_with"));
	json_put_bool(j, "sharingAllowed", row_bool(rows, i, "sharing_allowed"));
	json_put_bool(j, "hasCredentials", row_bool(rows, i, "has_credentials"));
	json_put_str(j, "start", str_of(row_str(rows, i, "start").len ? row_cstr(rows, i, "start") : NULL));
	json_put_str(j, "email", row_str(rows, i, "email").len ? row_str(rows, i, "email") : STR_NULL);
	put_consent(j, rows, i);
	rowjson_time(j, "computeUnitsAttestedAt", rows, i, "paid_ms");
	put_quota_url(j, row_i64(rows, i, "id"));
	rowjson_time(j, "createdAt", rows, i, "created_ms");
	rowjson_time(j, "updatedAt", rows, i, "updated_ms");
	return j;
}

static enum err select_accounts(struct db *db, const struct principal *p, struct arg id, int64_t after, int64_t limit,
				struct rows *rows, struct error *e)
{
	return db_run(db, STMT_ACCOUNT_LIST,
		      ARGS(arg_i64(p->user_id), arg_bool(principal_sees_all(p)), arg_i64(limit), id, arg_i64(after)), rows, e);
}

enum err account_get(struct db *db, const struct principal *p, int64_t id, struct json **ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = select_accounts(db, p, arg_i64(id), 0, 1, &rows, e);

	if (!err && !rows_count(&rows))
		return not_there(e);
	if (!err)
		*ret = account_json(&rows, 0);
	return err;
}

enum err account_list(struct db *db, const struct principal *p, int64_t after, int64_t limit, struct json *list, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = select_accounts(db, p, arg_null(), after, limit, &rows, e);

	for (int i = 0; !err && i < rows_count(&rows); i++)
		json_add(list, account_json(&rows, i));
	return err;
}
