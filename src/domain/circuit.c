/* circuit - see domain/circuit.h. */
#include "domain/circuit.h"

enum { DAY = 86400 };

static const char *kept(struct arena *a, const struct rows *r, const char *col)
{
	return row_null(r, 0, col) ? NULL : arena_str(a, row_str(r, 0, col)).ptr;
}

enum err account_open(struct db *db, struct arena *a, int64_t account, bool browser, struct account_view *ret, struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, browser ? STMT_ACCOUNT_OPEN_BROWSER : STMT_ACCOUNT_OPEN, ARGS(arg_i64(account)), &r, e);
	bool refused, barred;

	if (err)
		return err;
	if (!rows_count(&r))
		return error_set(e, ERR_NOT_FOUND, "There is no such account.");
	refused = str_eqz(row_str(&r, 0, "status"), "needs_human");
	barred = refused && !str_eqz(row_str(&r, 0, "refused_code"), "credentials");
	*ret = (struct account_view){
		.id = account,
		.owner = row_i64(&r, 0, "owner_id"),
		.provider = kept(a, &r, "provider"),
		.email = row_bool(&r, 0, "deleted") ? NULL : kept(a, &r, "email"),
		.sealed = row_bool(&r, 0, "deleted") ? STR_NULL : row_bytes(&r, 0, "sealed", a),
		.key_id = row_i64(&r, 0, "key_id"),
		.sealed_version = row_i64(&r, 0, "sealed_version"),
		.identity = kept(a, &r, "identity"),
		.installation = kept(a, &r, "installation"),
		.refused = (refused && !barred) || str_eqz(row_str(&r, 0, "status"), "disabled"),
		.barred = barred,
		.paid = row_bool(&r, 0, "paid"),
		.deleting = row_bool(&r, 0, "deleting"),
		.reason = kept(a, &r, "reason"),
		.unchecked = str_eqz(row_str(&r, 0, "status"), "unchecked"),
		.failing = row_i64(&r, 0, "failures") > 0,
		.wait = row_double(&r, 0, "wait"),
		.circuit_reason = kept(a, &r, "circuit_reason"),
	};
	return ret->provider && ret->installation ? OK : error_set(e, ERR_INTERNAL, "out of memory");
}

enum err circuit_probe(struct db *db, int64_t account, bool *ret, struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_CIRCUIT_PROBE, ARGS(arg_i64(account), arg_i64(CIRCUIT_PROBE_SECONDS)), &r, e);

	*ret = !err && rows_count(&r);
	return err;
}

enum err circuit_fail(struct db *db, const struct circuit_failure *f, struct error *e)
{
	int64_t told = f->retry_after_s < DAY ? f->retry_after_s : DAY;

	return db_run(db, STMT_CIRCUIT_FAIL,
		      ARGS(arg_i64(f->account), arg_opt_i64(told, told >= 0), arg_i64(CIRCUIT_FIRST_SECONDS), arg_i64(CIRCUIT_MOST_SECONDS),
			   arg_cstr(f->code), arg_cstr(f->reason), arg_bool(f->probe)),
		      NULL, e);
}

enum err circuit_close(struct db *db, int64_t account, struct error *e)
{
	return db_run(db, STMT_CIRCUIT_CLOSE, ARGS(arg_i64(account)), NULL, e);
}

enum err account_refuse(struct db *db, int64_t account, int64_t sealed_version, const char *code, const char *reason, bool *changed,
			struct error *e)
{
	cleanup_rows struct rows r = {0};
	enum err err = db_run(db, STMT_CHECK_REFUSED,
			      ARGS(arg_i64(account), arg_i64(sealed_version), arg_cstr(reason), arg_i64(DAY), arg_cstr(code)), &r, e);

	*changed |= !err && rows_count(&r);
	return err;
}
