/* keys - making, rotating and listing sealing keys.  See domain/keys.h. */
#include "domain/keys.h"

#include <stdio.h>
#include <string.h>

#include "base/crashpoint.h"
#include "domain/instance.h"
#include "domain/keyfile.h"
#include "domain/rowjson.h"

enum { BATCH = 50, TRIES = 5, BATCH_MEMORY = 32 << 20, HELD_MOST = 256 };

/* ---- keys and their files --------------------------------------------------------- */

static enum err load(struct db *db, enum seal_purpose purpose, struct rows *rows, struct error *e)
{
	return db_run(db, STMT_KEYS_LIST, ARGS(arg_cstr(seal_purpose_name(purpose))), rows, e);
}

/* Whether the file of this row is here and is its other half. */
static enum err is_here(const char *dir, const struct rows *rows, int i, bool *ret, struct error *e)
{
	cleanup_secret struct secret priv = {0};
	cleanup_arena struct arena a;
	uint8_t pub[CRYPTO_PUBLIC];
	struct str stored;
	enum err err = keyfile_read(dir, row_i64(rows, i, "id"), &priv, e);

	arena_init(&a, 1024);
	*ret = false;
	if (err)
		return err == ERR_NOT_FOUND ? OK : err;
	crypto_public((const uint8_t *)priv.ptr, pub);
	stored = row_bytes(rows, i, "public_key", &a);
	*ret = stored.len == CRYPTO_PUBLIC && !memcmp(stored.ptr, pub, CRYPTO_PUBLIC);
	return OK;
}

enum err keys_announce(struct db *db, const char *dir, enum seal_purpose purpose, const char *name, const char *const *providers,
		       struct error *e)
{
	cleanup_rows struct rows rows = {0};
	int held[HELD_MOST], n = 0;
	enum err err = load(db, purpose, &rows, e), odd = OK;

	if (err)
		return err;
	/* The newest first, so that what does not fit is old.  A key that cannot be read is not held: a
	 * rotation then waits for this program, and says so. */
	for (int i = rows_count(&rows) - 1; i >= 0 && n < HELD_MOST; i--) {
		struct error why = {0};
		bool here;

		err = is_here(dir, &rows, i, &here, &why);
		if (here)
			held[n++] = (int)row_i64(&rows, i, "id");
		if (err && !odd) {
			odd = err;
			if (e)
				*e = why;
		}
	}
	err = instance_seen(db, name, seal_purpose_name(purpose), providers, held, n, odd ? NULL : e);
	return err ? err : odd;
}

/* What is sealed for a purpose, and where. */
static const struct box_table {
	enum stmt uses, list, move, retire;
} box_tables[] = {
	[SEAL_CREDENTIALS] = {STMT_KEY_ACCOUNT_USES, STMT_KEY_ACCOUNTS, STMT_KEY_ACCOUNT_MOVE, STMT_KEY_ACCOUNT_RETIRE},
	[SEAL_SECRETS] = {STMT_SECRET_KEYS, STMT_SECRET_STALE, STMT_SECRET_RESEAL, STMT_KEY_SECRET_RETIRE},
};

static int64_t uses_of(const struct rows *uses, int64_t key)
{
	for (int i = 0; i < rows_count(uses); i++)
		if (row_i64(uses, i, "key_id") == key)
			return row_i64(uses, i, "boxes");
	return 0;
}

enum err keys_list(struct db *db, const char *dir, enum seal_purpose purpose, struct json *list, struct error *e)
{
	cleanup_rows struct rows rows = {0}, uses = {0};
	enum err err = load(db, purpose, &rows, e);

	if (!err)
		err = db_run(db, box_tables[purpose].uses, NO_ARGS, &uses, e);

	for (int i = 0; !err && i < rows_count(&rows); i++) {
		struct json *j = json_object();
		bool here;

		json_put_id(j, "id", row_i64(&rows, i, "id"));
		json_put_cstr(j, "purpose", seal_purpose_name(purpose));
		json_put_str(j, "state", row_str(&rows, i, "state"));
		rowjson_time(j, "createdAt", &rows, i, "created_ms");
		json_put_i64(j, "used", uses_of(&uses, row_i64(&rows, i, "id")));
		json_add(list, j);
		err = is_here(dir, &rows, i, &here, e);
		if (!err)
			json_put_bool(j, "here", here);
	}
	return err;
}

/* ---- making one ------------------------------------------------------------------- */

/* The file first: a row whose file nobody has would seal what nobody opens.  A file without a
 * row is what a crash left, and is taken. */
static enum err make_file(const char *dir, int64_t id, uint8_t pub[CRYPTO_PUBLIC], struct error *e)
{
	cleanup_secret struct secret priv = {0};
	enum err err = keyfile_read(dir, id, &priv, e);

	if (!err) {
		crypto_public((const uint8_t *)priv.ptr, pub);
		return OK;
	}
	if (err != ERR_NOT_FOUND)
		return err;
	priv = secret_room(CRYPTO_PRIVATE);
	crypto_keypair(pub, (uint8_t *)priv.ptr);
	return keyfile_write(dir, id, (const uint8_t *)priv.ptr, e);
}

static enum err make(struct db *db, const char *dir, enum seal_purpose purpose, const char *state, int64_t *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	uint8_t pub[CRYPTO_PUBLIC];

	for (int i = 0; i < TRIES; i++) {
		enum err err = db_run(db, STMT_KEY_NEXT, NO_ARGS, &rows, e);

		if (err)
			return err;
		*ret = row_i64(&rows, 0, "id");
		err = make_file(dir, *ret, pub, e);
		CRASH_POINT("keys.file");
		if (!err)
			err = db_run(db, STMT_KEY_ADD,
				     ARGS(arg_i64(*ret), arg_bytes(pub, sizeof(pub)), arg_cstr(state), arg_cstr(seal_purpose_name(purpose))),
				     &rows, e);
		CRASH_POINT("keys.row");
		if (err || rows_count(&rows))
			return err;
	}
	return error_set(e, ERR_UNAVAILABLE, "Others make sealing keys at this moment; try again.");
}

static enum err lock(struct db *db, enum seal_purpose purpose, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_KEYS_LOCK, ARGS(arg_cstr(seal_purpose_name(purpose))), &rows, e);

	if (!err && !row_bool(&rows, 0, "locked"))
		return error_set(e, ERR_UNAVAILABLE, "Another `gpupool keys` is at work on these keys.");
	return err;
}

static enum err unlock(struct db *db, enum seal_purpose purpose, enum err err)
{
	enum err freed = db_run(db, STMT_KEYS_UNLOCK, ARGS(arg_cstr(seal_purpose_name(purpose))), NULL, NULL);

	return err ? err : freed;
}

static enum err init_locked(struct db *db, const char *dir, enum seal_purpose purpose, int64_t *id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = load(db, purpose, &rows, e);

	for (int i = 0; !err && i < rows_count(&rows); i++)
		if (str_eqz(row_str(&rows, i, "state"), "active")) {
			*id = row_i64(&rows, i, "id");
			return error_set(e, ERR_CONFLICT, "There is a sealing key already: %lld.", (long long)*id);
		}
	return err ? err : make(db, dir, purpose, "active", id, e);
}

enum err keys_init(struct db *db, const char *dir, enum seal_purpose purpose, int64_t *id, struct error *e)
{
	enum err err = lock(db, purpose, e);

	return err ? err : unlock(db, purpose, init_locked(db, dir, purpose, id, e));
}

/* ---- rotating --------------------------------------------------------------------- */

/* Where it stands: the new key, or 0 when there is none; the newest of so many active ones. */
static enum err find_stage(struct db *db, enum seal_purpose purpose, int64_t *fresh, int64_t *newest, int *active, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = load(db, purpose, &rows, e);

	*fresh = *newest = 0;
	*active = 0;
	for (int i = 0; !err && i < rows_count(&rows); i++) {
		if (str_eqz(row_str(&rows, i, "state"), "new"))
			*fresh = row_i64(&rows, i, "id");
		if (!str_eqz(row_str(&rows, i, "state"), "active"))
			continue;
		*newest = row_i64(&rows, i, "id");
		++*active;
	}
	if (!err && !*newest)
		return error_set(e, ERR_NOT_FOUND, "There is no sealing key yet: run `gpupool keys init`.");
	return err;
}

/* Every live program must be able to open before anything is sealed to it. */
static enum err activate(struct db *db, enum seal_purpose purpose, struct keys_rotation *r, enum keys_step *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	struct arg name = arg_cstr(seal_purpose_name(purpose));
	enum err err = db_run(db, STMT_KEYS_AWAITED, ARGS(arg_i64(r->id), name, arg_i64(INSTANCE_DEAD_SECONDS)), &rows, e);

	if (err)
		return err;
	r->missing = rows_count(&rows) ? row_i64(&rows, 0, "missing") : 0;
	if (r->missing) {
		snprintf(r->instance, sizeof(r->instance), "%s", row_cstr(&rows, 0, "name"));
		*ret = KEYS_WAITS;
		return OK;
	}
	err = db_run(db, STMT_KEY_ACTIVATE, ARGS(arg_i64(r->id), name), NULL, e);
	CRASH_POINT("keys.active");
	*ret = KEYS_ACTIVE;
	return err;
}

static enum err public_half(struct db *db, enum seal_purpose purpose, int64_t id, uint8_t pub[CRYPTO_PUBLIC], struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_arena struct arena a;
	enum err err = load(db, purpose, &rows, e);

	arena_init(&a, 1024);
	for (int i = 0; !err && i < rows_count(&rows); i++) {
		struct str bytes;

		if (row_i64(&rows, i, "id") != id)
			continue;
		bytes = row_bytes(&rows, i, "public_key", &a);
		if (bytes.len != CRYPTO_PUBLIC)
			break;
		memcpy(pub, bytes.ptr, CRYPTO_PUBLIC);
		return OK;
	}
	return err ? err : error_set(e, ERR_INTERNAL, "the new key's row is gone");
}

/* One batch: *last is where to go on, 0 when that was all. */
static enum err seal_batch(struct db *db, const char *dir, const struct box_table *t, const uint8_t *pub, struct keys_rotation *r,
			   int64_t *last, struct error *e)
{
	cleanup_rows struct rows rows = {0}, moved = {0};
	cleanup_arena struct arena a;
	enum err err = db_run(db, t->list, ARGS(arg_i64(r->id), arg_i64(*last), arg_i64(BATCH)), &rows, e);
	int n = rows_count(&rows);

	arena_init(&a, BATCH_MEMORY);
	for (int i = 0; !err && i < n; i++) {
		struct str box = row_bytes(&rows, i, "sealed", &a), fresh;
		int64_t key = row_i64(&rows, i, "key_id");

		err = sealed_again(dir, key, box, pub, &a, &fresh, e);
		if (err == ERR_FORBIDDEN || err == ERR_NOT_FOUND) {
			r->unopened++;
			err = OK;
			continue;
		}
		if (!err)
			err = db_run(db, t->move,
				     ARGS(arg_i64(row_i64(&rows, i, "id")), arg_i64(row_i64(&rows, i, "sealed_version")), arg_i64(key),
					  arg_bytes(fresh.ptr, fresh.len), arg_i64(r->id)),
				     &moved, e);
		if (!err)
			r->count += rows_count(&moved);
		CRASH_POINT("keys.sealed");
	}
	*last = !err && n == BATCH ? row_i64(&rows, n - 1, "id") : 0;
	return err;
}

static enum err seal_all(struct db *db, const char *dir, enum seal_purpose purpose, struct keys_rotation *r, struct error *e)
{
	uint8_t pub[CRYPTO_PUBLIC];
	int64_t last = 0;
	enum err err = public_half(db, purpose, r->id, pub, e);

	r->unopened = 0;
	do
		if (!err)
			err = seal_batch(db, dir, &box_tables[purpose], pub, r, &last, e);
	while (!err && last);
	return err;
}

struct retirement {
	struct arg purpose;
	enum stmt retire;
	int64_t id;
	struct error *e;
};

static enum err retire_in_tx(struct db *db, void *arg)
{
	struct retirement *t = arg;
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_KEY_RETIRE_TRY, ARGS(t->purpose), &rows, t->e);

	if (err || !row_bool(&rows, 0, "locked"))
		return err; /* somebody seals just now: next time */
	return db_run(db, t->retire, ARGS(arg_i64(t->id), t->purpose), NULL, t->e);
}

/* Seals what is still of an older key, then retires those that nothing is of. */
static enum err finish(struct db *db, const char *dir, enum seal_purpose purpose, struct keys_rotation *r, enum keys_step *ret,
		       struct error *e)
{
	struct retirement t = {
		.purpose = arg_cstr(seal_purpose_name(purpose)), .retire = box_tables[purpose].retire, .id = r->id, .e = e};
	int64_t fresh, newest;
	int active;
	enum err err = seal_all(db, dir, purpose, r, e);

	if (!err)
		err = tx_run(db, retire_in_tx, &t, e);
	CRASH_POINT("keys.retired");
	if (!err)
		err = find_stage(db, purpose, &fresh, &newest, &active, e);
	if (err)
		return err;
	*ret = active == 1 ? KEYS_RETIRED : KEYS_SEALED;
	if (active > 1 && r->unopened)
		return error_set(e, ERR_CONFLICT, "%lld boxes do not open with a key that is here: bring its file, or replace what is sealed in them.",
				 (long long)r->unopened);
	return OK;
}

static enum err rotate_locked(struct db *db, const char *dir, enum seal_purpose purpose, struct keys_rotation *r, enum keys_step *ret,
			      struct error *e)
{
	int64_t fresh, newest;
	int active;
	enum err err = find_stage(db, purpose, &fresh, &newest, &active, e);

	if (err)
		return err;
	if (fresh) {
		bool known = r->id == fresh;

		r->id = fresh;
		if (known)
			return activate(db, purpose, r, ret, e);
		*ret = KEYS_MADE;
		return OK;
	}
	if (active > 1 || r->id == newest) {
		r->id = newest;
		return finish(db, dir, purpose, r, ret, e);
	}
	*ret = KEYS_MADE;
	return make(db, dir, purpose, "new", &r->id, e);
}

enum err keys_rotate(struct db *db, const char *dir, enum seal_purpose purpose, struct keys_rotation *r, enum keys_step *ret,
		     struct error *e)
{
	enum err err = lock(db, purpose, e);

	return err ? err : unlock(db, purpose, rotate_locked(db, dir, purpose, r, ret, e));
}
