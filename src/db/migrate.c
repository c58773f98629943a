/* Forward-only migrations from the embedded files; see migrate.h. */
#include "db/migrate.h"

#include <stdlib.h>
#include <string.h>

#include "base/asset.h"
#include "base/crypto.h"
#include "base/log.h"

#define PREFIX "sql/migrations/"

static int version_of(const struct asset *m)
{
	return (int)strtol(m->name + strlen(PREFIX), NULL, 10);
}

static int needs_program(const struct asset *m)
{
	const char *at = strstr(m->bytes.ptr, "-- needs program: ");

	return at ? (int)strtol(at + strlen("-- needs program: "), NULL, 10) : 1;
}

static void checksum(const struct asset *m, char hex[2 * CRYPTO_SHA256 + 1])
{
	uint8_t sum[CRYPTO_SHA256];

	crypto_sha256(m->bytes, sum);
	crypto_hex(sum, sizeof(sum), hex);
}

/* 1: recorded with this checksum; 0: not recorded; -1: recorded with another. */
static int recorded(const struct rows *rows, int version, const char *sha256)
{
	for (int i = 0; i < rows_count(rows); i++)
		if (row_i64(rows, i, "version") == version)
			return strcmp(row_cstr(rows, i, "sha256"), sha256) == 0 ? 1 : -1;
	return 0;
}

static enum err apply_in_tx(struct db *db, void *ctx)
{
	const struct asset *m = ctx;
	char sha256[2 * CRYPTO_SHA256 + 1];
	enum err err = db_exec_text(db, m->bytes.ptr, NULL, NULL);

	if (err)
		return err;
	checksum(m, sha256);
	return db_run(db, STMT_MIGRATION_RECORD,
		      ARGS(arg_i64(version_of(m)), arg_cstr(m->name + strlen(PREFIX)), arg_cstr(sha256), arg_i64(needs_program(m))), NULL, NULL);
}

static enum err apply(struct db *db, const struct asset *m, struct error *e)
{
	enum err err = tx_run(db, apply_in_tx, (void *)m, e);

	if (err == ERR_UNAVAILABLE)
		return err;
	if (err)
		return error_set(e, ERR_INTERNAL, "Migration %s failed and was undone; the log has the reason.", m->name);
	log_info("migrate.applied", "file=%s", m->name);
	return OK;
}

static enum err run_locked(struct db *db, int *applied, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	size_t i, end;
	enum err err = db_exec_text(db, asset_find("sql/schema_migration.sql")->bytes.ptr, NULL, e);

	if (!err)
		err = db_run(db, STMT_MIGRATION_LIST, NO_ARGS, &rows, e);
	asset_range(PREFIX, &i, &end);
	for (; !err && i < end; i++) {
		char hex[2 * CRYPTO_SHA256 + 1];

		checksum(&assets[i], hex);
		switch (recorded(&rows, version_of(&assets[i]), hex)) {
		case 1:
			continue;
		case -1:
			return error_set(e, ERR_CONFLICT, "Migration %s was changed after it was applied here.", assets[i].name);
		default:
			err = apply(db, &assets[i], e);
			*applied += !err;
		}
	}
	return err;
}

enum err migrate_run(struct db *db, int *applied, struct error *e)
{
	enum err err = db_run(db, STMT_MIGRATION_LOCK, NO_ARGS, NULL, e);

	*applied = 0;
	if (err)
		return err;
	err = run_locked(db, applied, e);
	if (db_run(db, STMT_MIGRATION_UNLOCK, NO_ARGS, NULL, NULL))
		log_warn("migrate.unlock", "the lock ends with the connection");
	return err;
}

enum err migrate_judge(const struct rows *rows, struct error *e)
{
	size_t first, end;

	asset_range(PREFIX, &first, &end);
	for (int i = 0; i < rows_count(rows); i++)
		if (row_i64(rows, i, "needs_program") > PROGRAM_SCHEMA)
			return error_set(e, ERR_UNAVAILABLE, "The database's schema is too new for this program: upgrade gpupool.");
	for (; first < end; first++) {
		char hex[2 * CRYPTO_SHA256 + 1];

		checksum(&assets[first], hex);
		if (recorded(rows, version_of(&assets[first]), hex) != 1)
			return error_set(e, ERR_UNAVAILABLE, "The database's schema is older than this program: run `gpupool migrate`.");
	}
	return OK;
}

enum err migrate_check(struct db *db, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_MIGRATION_LIST, NO_ARGS, &rows, e);

	if (err == ERR_UNAVAILABLE)
		return err;
	if (err)
		return error_set(e, ERR_UNAVAILABLE, "The database has no schema yet: run `gpupool migrate`.");
	return migrate_judge(&rows, e);
}
