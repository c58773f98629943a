/* user - people and their sign-ins.  See domain/user.h; tokens are in domain/token.c. */
#include "domain/user.h"

#include <stdio.h>
#include <string.h>

#include "base/crypto.h"
#include "domain/rowjson.h"

/* ---- who is it? ---------------------------------------------------------------- */

static void fill_principal(struct principal *p, const struct rows *rows)
{
	p->role = role_parse(row_str(rows, 0, "role"));
	p->scopes = role_scopes(p->role);
	snprintf(p->name, sizeof(p->name), "%s", row_cstr(rows, 0, "name"));
	snprintf(p->locale, sizeof(p->locale), "%s", row_cstr(rows, 0, "locale"));
}

static unsigned scope_list(struct str list)
{
	unsigned bits = 0;
	struct str one;

	while (str_cut(&list, ',', &one))
		bits |= scope_parse(one);
	return bits;
}

enum err user_by_token(struct db *db, struct str token, struct principal *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	uint8_t hash[CRYPTO_HASH];
	enum err err;

	crypto_hash(token, hash);
	err = db_run(db, STMT_TOKEN_PRINCIPAL, ARGS(arg_bytes(hash, sizeof(hash))), &rows, e);
	if (err)
		return err;
	if (!rows_count(&rows))
		return error_set(e, ERR_UNAUTHORIZED, "The token is not known.");
	if (row_bool(&rows, 0, "revoked"))
		return error_set(e, ERR_UNAUTHORIZED, "The token was revoked.");
	if (row_bool(&rows, 0, "expired"))
		return error_set(e, ERR_UNAUTHORIZED, "The token has expired.");
	if (!row_bool(&rows, 0, "active"))
		return error_set(e, ERR_UNAUTHORIZED, "The token's owner is deactivated.");
	*ret = (struct principal){.user_id = row_i64(&rows, 0, "user_id"), .token_id = row_i64(&rows, 0, "id")};
	fill_principal(ret, &rows);
	ret->scopes &= scope_list(row_str(&rows, 0, "scopes"));
	return OK;
}

enum err user_by_login(struct db *db, struct str cookie, struct principal *ret, bool *stale, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_arena struct arena a;
	uint8_t hash[CRYPTO_HASH];
	struct str key;
	enum err err;

	arena_init(&a, 1024);
	crypto_hash(cookie, hash);
	err = db_run(db, STMT_LOGIN_PRINCIPAL, ARGS(arg_bytes(hash, sizeof(hash))), &rows, e);
	if (err)
		return err;
	if (!rows_count(&rows))
		return error_set(e, ERR_UNAUTHORIZED, "Sign in again.");
	key = row_bytes(&rows, 0, "csrf_key", &a);
	if (key.len != sizeof(ret->csrf_key))
		return error_set(e, ERR_INTERNAL, "a login without its CSRF key");
	*ret = (struct principal){.user_id = row_i64(&rows, 0, "user_id"), .login_id = row_i64(&rows, 0, "id")};
	memcpy(ret->csrf_key, key.ptr, key.len);
	fill_principal(ret, &rows);
	*stale = row_bool(&rows, 0, "stale");
	return OK;
}

enum err user_by_name(struct db *db, struct str name, struct principal *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_arena struct arena a;
	enum err err;

	arena_init(&a, 4096);
	err = db_run(db, STMT_USER_PRINCIPAL, ARGS(arg_str(&a, name)), &rows, e);
	if (err)
		return err;
	if (!rows_count(&rows))
		return error_set(e, ERR_NOT_FOUND, "There is no user of this name.");
	*ret = (struct principal){.user_id = row_i64(&rows, 0, "id")};
	fill_principal(ret, &rows);
	return OK;
}

/* ---- signing in ------------------------------------------------------------------ */

static enum err forgive(struct db *db, int64_t id, bool all, struct error *e)
{
	return db_run(db, STMT_SIGNIN_FORGIVE, ARGS(arg_i64(id), arg_bool(all)), NULL, e);
}

enum err user_check_password(struct db *db, const char *slot_dir, struct str name, struct str password,
			     struct principal *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_arena struct arena a;
	int64_t id = 0;
	enum err err, checked;

	arena_init(&a, 4096);
	err = db_run(db, STMT_SIGNIN_TRY, ARGS(arg_str(&a, name)), &rows, e);
	if (err)
		return err;
	if (rows_count(&rows))
		id = row_i64(&rows, 0, "id");
	checked = crypto_password_check(slot_dir, password, id ? row_cstr(&rows, 0, "password_hash") : NULL);
	if (checked == ERR_UNAUTHORIZED)
		return error_set(e, checked, "Name or password is wrong. After 5 wrong tries sign-in pauses for a minute.");
	if (id && (err = forgive(db, id, !checked, e)))
		return err;
	if (checked)
		return error_set(e, checked, "Too many people sign in at this moment; try again.");
	*ret = (struct principal){.user_id = id};
	fill_principal(ret, &rows);
	return OK;
}

enum err login_open(struct db *db, int64_t user_id, struct str cookie, struct principal *p, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	uint8_t hash[CRYPTO_HASH];
	enum err err;

	crypto_hash(cookie, hash);
	crypto_random(p->csrf_key, sizeof(p->csrf_key));
	err = db_run(db, STMT_LOGIN_OPEN,
		     ARGS(arg_i64(user_id), arg_bytes(hash, sizeof(hash)), arg_bytes(p->csrf_key, sizeof(p->csrf_key))), &rows, e);
	if (!err)
		p->login_id = row_i64(&rows, 0, "id");
	return err;
}

enum err login_close(struct db *db, int64_t login_id, struct error *e)
{
	return db_run(db, STMT_LOGIN_CLOSE, ARGS(arg_i64(login_id)), NULL, e);
}

enum err login_close_cookie(struct db *db, struct str cookie, struct error *e)
{
	uint8_t hash[CRYPTO_HASH];

	crypto_hash(cookie, hash);
	return db_run(db, STMT_LOGIN_CLOSE_HASH, ARGS(arg_bytes(hash, sizeof(hash))), NULL, e);
}

enum err login_close_others(struct db *db, const struct principal *p, struct error *e)
{
	return db_run(db, STMT_LOGIN_CLOSE_OTHERS, ARGS(arg_i64(p->user_id), arg_i64(p->login_id)), NULL, e);
}

enum err login_rotate(struct db *db, int64_t login_id, struct str old, struct str fresh, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	uint8_t was[CRYPTO_HASH], is[CRYPTO_HASH];
	enum err err;

	crypto_hash(old, was);
	crypto_hash(fresh, is);
	err = db_run(db, STMT_LOGIN_ROTATE,
		     ARGS(arg_i64(login_id), arg_bytes(was, sizeof(was)), arg_bytes(is, sizeof(is))), &rows, e);
	return err ? err : rows_count(&rows) ? OK : ERR_CONFLICT;
}

/* ---- people ----------------------------------------------------------------------- */

static enum err hash_password(struct arena *a, const char *slot_dir, struct str password, const char **ret, struct error *e)
{
	char *hash = arena_alloc(a, CRYPTO_PASSWORD_TEXT);

	if (password.len < PASSWORD_MIN || password.len > PASSWORD_MAX)
		return error_field(e, ERR_INVALID, "password", "must have %d to %d bytes", PASSWORD_MIN, PASSWORD_MAX);
	if (!hash)
		return error_set(e, ERR_TOO_LARGE, "The request is too large.");
	if (crypto_password_hash(slot_dir, password, hash))
		return error_set(e, ERR_UNAVAILABLE, "Too many people sign in at this moment; try again.");
	*ret = hash;
	return OK;
}

static bool name_ok(struct str s)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];
		bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');

		if (!alnum && !(i && (c == '.' || c == '_' || c == '-')))
			return false;
	}
	return s.len >= 1 && s.len <= 63;
}

/* en, pt-BR: it becomes the lang of pages. */
static enum err check_locale(struct str s, struct error *e)
{
	for (size_t i = 0; i < s.len; i++) {
		char c = (char)(s.ptr[i] | 0x20);

		if (!(c >= 'a' && c <= 'z') && !(i && ((s.ptr[i] >= '0' && s.ptr[i] <= '9') || s.ptr[i] == '-')))
			return error_field(e, ERR_INVALID, "locale", "must be a language such as en or pt-BR");
	}
	return OK;
}

enum err user_create(struct db *db, struct arena *a, const char *slot_dir, const struct user_new *u, int64_t *ret_id,
		     struct error *e)
{
	cleanup_rows struct rows rows = {0};
	const char *hash = NULL;
	enum err err = OK;

	if (!name_ok(u->name))
		return error_field(e, ERR_INVALID, "name", "must begin with a letter or digit and hold a-z 0-9 . _ - only");
	err = check_locale(u->locale, e);
	if (!err && u->password.ptr)
		err = hash_password(a, slot_dir, u->password, &hash, e);
	if (err)
		return err;
	err = db_run(db, STMT_USER_ADD,
		     ARGS(arg_str(a, u->name), arg_cstr(role_name(u->role)), arg_str(a, u->email), arg_cstr(hash),
			  arg_str(a, u->locale)),
		     &rows, e);
	if (err == ERR_CONFLICT)
		return error_field(e, ERR_CONFLICT, "name", "A user of this name exists.");
	if (!err)
		*ret_id = row_i64(&rows, 0, "id");
	return err;
}

/* Inside a transaction: holds off other changes of admins. */
static enum err keep_an_admin(struct db *db, int64_t id, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_USER_ADMINS_LOCK, NO_ARGS, NULL, e);

	if (!err)
		err = db_run(db, STMT_USER_OTHERS_ADMIN, ARGS(arg_i64(id)), &rows, e);
	if (!err && !row_bool(&rows, 0, "any"))
		err = error_set(e, ERR_CONFLICT, "This is the last active admin; make another one first.");
	return err;
}

struct change {
	int64_t id;
	const struct user_change *c;
	struct arena *arena;
	const char *hash;
	struct error *e;
};

static enum err end_access(struct db *db, const struct change *ch)
{
	const struct user_change *c = ch->c;
	enum err err = OK;

	if (c->active == 0 || ch->hash)
		err = db_run(db, STMT_LOGIN_CLOSE_OTHERS, ARGS(arg_i64(ch->id), arg_i64(0)), NULL, ch->e);
	if (!err && c->active == 0)
		err = db_run(db, STMT_USER_END_TOKENS, ARGS(arg_i64(ch->id)), NULL, ch->e);
	if (!err && c->role)
		err = db_run(db, STMT_LOGIN_AGE, ARGS(arg_i64(ch->id)), NULL, ch->e);
	return err;
}

static enum err change_in_tx(struct db *db, void *arg)
{
	struct change *ch = arg;
	const struct user_change *c = ch->c;
	cleanup_rows struct rows rows = {0};
	enum err err = OK;

	if (c->active == 0 || (c->role && c->role != ROLE_ADMIN))
		err = keep_an_admin(db, ch->id, ch->e);
	if (err)
		return err;
	err = db_run(db, STMT_USER_SET,
		     ARGS(arg_i64(ch->id), arg_cstr(c->role ? role_name(c->role) : NULL),
			  c->active < 0 ? arg_null() : arg_bool(c->active), arg_bool(c->set_email), arg_str(ch->arena, c->email),
			  arg_cstr(ch->hash), arg_str(ch->arena, c->locale), c->weight > 0 ? arg_double(c->weight) : arg_null()),
		     &rows, ch->e);
	if (!err && !rows_count(&rows))
		return error_set(ch->e, ERR_NOT_FOUND, "There is no user of this id.");
	return err ? err : end_access(db, ch);
}

enum err user_change(struct db *db, struct arena *a, const char *slot_dir, int64_t id, const struct user_change *c,
		     struct error *e)
{
	struct change ch = {.id = id, .c = c, .arena = a, .e = e};
	enum err err = check_locale(c->locale, e);

	if (!err && c->password.ptr)
		err = hash_password(a, slot_dir, c->password, &ch.hash, e);
	return err ? err : tx_run(db, change_in_tx, &ch, e);
}

enum err user_change_password(struct db *db, struct arena *a, const char *slot_dir, const struct principal *p,
			      struct str current, struct str fresh, struct error *e)
{
	struct principal found;
	const char *hash = NULL;
	enum err err = user_check_password(db, slot_dir, str_of(p->name), current, &found, e);

	if (err == ERR_UNAUTHORIZED)
		return error_field(e, ERR_INVALID, "current", "is not your password");
	if (!err && found.user_id != p->user_id)
		err = error_set(e, ERR_CONFLICT, "The name changed in the meantime; try again.");
	if (!err)
		err = hash_password(a, slot_dir, fresh, &hash, e);
	if (err)
		return err;
	err = db_run(db, STMT_USER_SET,
		     ARGS(arg_i64(p->user_id), arg_null(), arg_null(), arg_bool(false), arg_null(), arg_cstr(hash), arg_null(),
			  arg_null()),
		     NULL, e);
	return err ? err : login_close_others(db, p, e);
}

struct removal {
	int64_t id;
	struct error *e;
};

static enum err delete_in_tx(struct db *db, void *arg)
{
	struct removal *r = arg;
	cleanup_rows struct rows rows = {0};
	cleanup_json struct json *user = NULL;
	enum err err = user_get(db, r->id, &user, r->e);

	if (!err)
		err = keep_an_admin(db, r->id, r->e);
	if (!err)
		err = db_run(db, STMT_USER_REMOVE, ARGS(arg_i64(r->id)), &rows, r->e);
	if (!err && !rows_count(&rows))
		err = error_set(r->e, ERR_CONFLICT, "The user owns accounts, notebooks or jobs; deactivate instead.");
	return err;
}

enum err user_delete(struct db *db, int64_t id, struct error *e)
{
	struct removal r = {.id = id, .e = e};

	return tx_run(db, delete_in_tx, &r, e);
}

static struct json *user_json(const struct rows *rows, int i)
{
	struct json *j = json_object();

	json_put_id(j, "id", row_i64(rows, i, "id"));
	json_put_str(j, "name", row_str(rows, i, "name"));
	json_put_str(j, "email", row_str(rows, i, "email"));
	json_put_str(j, "role", row_str(rows, i, "role"));
	json_put_bool(j, "active", row_bool(rows, i, "active"));
	json_put_str(j, "locale", row_str(rows, i, "locale"));
	json_put_double(j, "weight", row_double(rows, i, "weight"));
	json_put_bool(j, "hasPassword", row_bool(rows, i, "has_password"));
	rowjson_time(j, "createdAt", rows, i, "created_ms");
	rowjson_time(j, "lastUsedAt", rows, i, "used_ms");
	return j;
}

enum err user_get(struct db *db, int64_t id, struct json **ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_USER_GET, ARGS(arg_i64(id)), &rows, e);

	if (!err && !rows_count(&rows))
		return error_set(e, ERR_NOT_FOUND, "There is no user of this id.");
	if (!err)
		*ret = user_json(&rows, 0);
	return err;
}

enum err user_list(struct db *db, int64_t after, int64_t limit, struct json *list, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_USER_LIST, ARGS(arg_i64(after), arg_i64(limit)), &rows, e);

	for (int i = 0; !err && i < rows_count(&rows); i++)
		json_add(list, user_json(&rows, i));
	return err;
}
