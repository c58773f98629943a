/* policy - providers' terms.  See domain/policy.h. */
#include "domain/policy.h"

#include <stdio.h>
#include <string.h>

#include "domain/credentials.h"

enum err policy_list(struct db *db, const char *provider, struct json *list, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_POLICY_LIST, ARGS(arg_cstr(provider)), &rows, e);

	for (int i = 0; !err && i < rows_count(&rows); i++) {
		struct json *j = json_object();

		json_put_str(j, "provider", row_str(&rows, i, "provider"));
		json_put_raw(j, "starts", row_str(&rows, i, "starts"));
		json_put_str(j, "notice", row_str(&rows, i, "notice"));
		json_put_str(j, "source", row_str(&rows, i, "source"));
		json_put_str(j, "asOf", row_str(&rows, i, "as_of"));
		json_put_bool(j, "sharingAllowed", row_bool(&rows, i, "sharing_allowed"));
		json_put_bool(j, "needsCredentials", !row_bool(&rows, i, "implicit"));
		json_put_bool(j, "takesCredentials", credentials_taken(row_cstr(&rows, i, "provider")));
		json_put_i64(j, "accountsPerPerson", row_i64(&rows, i, "accounts_per_person"));
		json_put_raw(j, "limits", row_str(&rows, i, "limits"));
		json_put_raw(j, "accelerators", row_str(&rows, i, "accelerators"));
		json_add(list, j);
	}
	return err;
}

/* ---- what an administrator changes -------------------------------------------- */

/* What the database refuses, at the member that was to be changed: the limit, unless it was what stands against it. */
static const struct {
	const char *constraint, *limit, *other, *limit_fault, *other_fault;
} kept[] = {
	{"provider_limit_session_margin", "sessionSeconds", "sessionMarginSeconds", "must be more than its margin, sessionMarginSeconds",
	 "must be less than sessionSeconds: nothing would be left of a session"},
	{"provider_limit_week_margin", "weekSeconds", "weekMarginSeconds", "must not be less than its margin, weekMarginSeconds",
	 "must not be more than weekSeconds"},
	{"provider_limit_min_session", "sessionSeconds", "minSessionSeconds", "less its margin must not be less than minSessionSeconds",
	 "must not be more than sessionSeconds less sessionMarginSeconds: no session could be so long"},
};

static enum err refused(const struct db *db, const struct json *wanted, enum err err, struct error *e)
{
	for (size_t i = 0; err == ERR_INVALID && i < ARRAY_LEN(kept); i++) {
		bool other = json_has(wanted, kept[i].other);

		if (!strcmp(db_constraint(db), kept[i].constraint))
			return error_field(e, ERR_INVALID, other ? kept[i].other : kept[i].limit, "%s", other ? kept[i].other_fault : kept[i].limit_fault);
	}
	return err;
}

enum err policy_change(struct db *db, struct arena *a, const struct principal *p, const struct policy_wanted *w, struct json *changed, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	const char *wanted = json_text(w->values, a), *source = json_cstr(w->values, "source");
	enum err err;

	if (!wanted || !source)
		return error_set(e, ERR_INTERNAL, "out of memory");
	err = w->resource
		? db_run(db, STMT_POLICY_SET_LIMIT,
			 ARGS(arg_i64(p->user_id), arg_cstr(w->provider), arg_cstr(w->resource), arg_cstr(wanted), arg_cstr(source)), &rows, e)
		: db_run(db, STMT_POLICY_SET_TERMS, ARGS(arg_i64(p->user_id), arg_cstr(w->provider), arg_cstr(wanted), arg_cstr(source)), &rows, e);
	if (err)
		return refused(db, w->values, err, e);
	if (!rows_count(&rows))
		return error_set(e, ERR_NOT_FOUND, w->resource ? "This provider has no limit of this kind." : "This server knows no provider of this name.");
	json_put_raw(changed, "was", row_str(&rows, 0, "was"));
	json_put_raw(changed, "became", row_str(&rows, 0, "became"));
	return OK;
}

/* ---- what a worker may be ------------------------------------------------------- */

/* A provider without a list takes any name. */
static enum err check_accelerator(const struct rows *r, struct error *e)
{
	if (row_null(r, 0, "name"))
		return row_null(r, 0, "offered")
			? OK
			: error_field(e, ERR_INVALID, "accelerator", "is not there at this provider; it has: %s", row_cstr(r, 0, "offered"));
	if (!row_bool(r, 0, "usable"))
		return error_field(e, ERR_INVALID, "accelerator", "is not to be had any more: %s", row_cstr(r, 0, "note"));
	return OK;
}

static enum err check_seconds(const struct rows *r, int64_t seconds, struct error *e)
{
	int64_t most = row_i64(r, 0, "most_seconds"), least = row_i64(r, 0, "min_session_seconds");

	if (!seconds || row_null(r, 0, "resource"))
		return OK;
	if (most && seconds > most)
		return error_field(e, ERR_INVALID, "maxSessionSeconds",
				   "may be at most %lld: a %s session of this provider lasts so long, less a margin", (long long)most,
				   row_cstr(r, 0, "resource"));
	if (seconds < least)
		return error_field(e, ERR_INVALID, "maxSessionSeconds", "must be at least %lld at this provider", (long long)least);
	return OK;
}

static enum err no_way(const struct rows *r, struct error *e)
{
	return row_null(r, 0, "starts")
		? error_field(e, ERR_INVALID, "start", "This provider has one way only; leave it out.")
		: error_field(e, ERR_INVALID, "start", "must be one of: %s", row_cstr(r, 0, "starts"));
}

enum err policy_check(struct db *db, const struct policy_ask *ask, struct policy_grant *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_POLICY_OF, ARGS(arg_cstr(ask->provider), arg_cstr(ask->accelerator), arg_cstr(ask->start)), &rows, e);

	if (err)
		return err;
	if (!rows_count(&rows))
		return error_field(e, ERR_INVALID, "provider", "This server knows no provider of this name.");
	if (row_null(&rows, 0, "driver"))
		return no_way(&rows, e);
	*ret = (struct policy_grant){.implicit = row_bool(&rows, 0, "implicit"), .named = row_bool(&rows, 0, "named")};
	snprintf(ret->accelerator, sizeof(ret->accelerator), "%s",
		 row_null(&rows, 0, "name") ? ask->accelerator : row_cstr(&rows, 0, "name"));
	snprintf(ret->start, sizeof(ret->start), "%s", row_cstr(&rows, 0, "start"));
	snprintf(ret->driver, sizeof(ret->driver), "%s", row_cstr(&rows, 0, "driver"));
	if (ask->check_accelerator)
		err = check_accelerator(&rows, e);
	return err ? err : check_seconds(&rows, ask->max_session_seconds, e);
}
