/* browser - see domain/browser.h. */
#include "domain/browser.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum {
	KEYS_MOST = 4,
	RENEW_MS = BROWSER_KEY_SECONDS * 1000 / 2,
	USE_SECONDS = 120,              /* a key that is to be sealed to lives so long at least */
	HEAD_MOST = 256,
	BOX_MOST = HEAD_MOST + BROWSER_PASSWORD_MOST + CRYPTO_SEAL_EXTRA,
};

struct key {
	int64_t id, made;               /* clock_ms(); id 0 = none */
	uint8_t public[CRYPTO_PUBLIC];
	struct secret private;
};

struct browser_keys {
	pthread_mutex_t lock;
	struct key keys[KEYS_MOST];
	int64_t renew_at;
};

/* ---- keys ----------------------------------------------------------------- */

struct browser_keys *browser_keys_new(void)
{
	struct browser_keys *k = calloc(1, sizeof(*k));

	if (!k)
		error_no_memory();
	pthread_mutex_init(&k->lock, NULL);
	return k;
}

static void forget(struct key *key)
{
	secret_free(&key->private);
	*key = (struct key){0};
}

void browser_keys_free(struct browser_keys *k)
{
	if (!k)
		return;
	for (size_t i = 0; i < KEYS_MOST; i++)
		forget(&k->keys[i]);
	pthread_mutex_destroy(&k->lock);
	free(k);
}

static enum err make_key(struct db *db, struct key *key, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err;

	key->private = secret_room(CRYPTO_PRIVATE);
	crypto_keypair(key->public, (uint8_t *)key->private.ptr);
	key->made = clock_ms();
	err = db_run(db, STMT_BROWSER_KEY_ADD, ARGS(arg_bytes((const char *)key->public, CRYPTO_PUBLIC), arg_i64(BROWSER_KEY_SECONDS)), &rows, e);
	if (err)
		forget(key);
	else
		key->id = row_i64(&rows, 0, "id");
	return err;
}

enum err browser_keys_turn(struct browser_keys *k, struct db *db, struct error *e)
{
	struct key *free_place = NULL;
	enum err err = OK;

	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < KEYS_MOST; i++) {
		if (k->keys[i].id && clock_ms() - k->keys[i].made >= BROWSER_KEY_SECONDS * 1000)
			forget(&k->keys[i]);
		if (!k->keys[i].id)
			free_place = &k->keys[i];
	}
	if (clock_ms() >= k->renew_at && free_place) {
		err = make_key(db, free_place, e);
		if (!err)
			k->renew_at = clock_ms() + RENEW_MS;
	}
	pthread_mutex_unlock(&k->lock);
	return err;
}

/* ---- a password ------------------------------------------------------------ */

/* All that comes before the password, in one spelling. */
static size_t head(int64_t account, int64_t owner, char ret[HEAD_MOST])
{
	return (size_t)snprintf(ret, HEAD_MOST, "{\"v\":1,\"account\":\"%lld\",\"owner\":\"%lld\",\"purpose\":\"password\"}", (long long)account,
				(long long)owner);
}

static void open_box(struct browser_keys *k, int64_t key_id, struct str box, int64_t account, int64_t owner, struct secret *ret)
{
	char of[HEAD_MOST];
	size_t len = head(account, owner, of);
	bool opened = false;

	if (box.len <= len + CRYPTO_SEAL_EXTRA || box.len > BOX_MOST)
		return;
	cleanup_secret struct secret plain = secret_room(box.len - CRYPTO_SEAL_EXTRA);
	pthread_mutex_lock(&k->lock);
	for (size_t i = 0; i < KEYS_MOST && !opened; i++)
		if (k->keys[i].id && k->keys[i].id == key_id)
			opened = crypto_open(k->keys[i].public, (const uint8_t *)k->keys[i].private.ptr, box, (uint8_t *)plain.ptr);
	pthread_mutex_unlock(&k->lock);
	if (opened && !memcmp(plain.ptr, of, len))
		*ret = secret_new((struct str){plain.ptr + len, plain.len - len});
}

enum err browser_password_take(struct browser_keys *k, struct db *db, int64_t account, int64_t owner, struct secret *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	cleanup_arena struct arena a;
	enum err err = db_run(db, STMT_BROWSER_PASSWORD_TAKE, ARGS(arg_i64(account)), &rows, e);

	*ret = (struct secret){0};
	arena_init(&a, 64 << 10);
	if (!err && rows_count(&rows))
		open_box(k, row_i64(&rows, 0, "key_id"), row_bytes(&rows, 0, "sealed", &a), account, owner, ret);
	return err;
}

enum err browser_password_give(struct db *db, struct arena *a, int64_t account, int64_t owner, struct str password, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_BROWSER_KEY_TO_USE, ARGS(arg_i64(USE_SECONDS)), &rows, e);
	uint8_t box[BOX_MOST];
	char of[HEAD_MOST];
	struct str public;
	size_t len = head(account, owner, of);

	if (err)
		return err;
	if (password.len > BROWSER_PASSWORD_MOST)
		return error_field(e, ERR_INVALID, "credentials.password", "is too long");
	public = rows_count(&rows) ? row_bytes(&rows, 0, "public_key", a) : STR_NULL;
	if (public.len != CRYPTO_PUBLIC)
		return error_field(e, ERR_CONFLICT, "credentials.password",
				   "No browser instance runs that could use it; leave it out and sign in at the browser.");
	cleanup_secret struct secret plain = secret_room(len + password.len);
	memcpy(plain.ptr, of, len);
	memcpy(plain.ptr + len, password.ptr, password.len);
	crypto_seal((const uint8_t *)public.ptr, (struct str){plain.ptr, plain.len}, box);
	err = db_run(db, STMT_BROWSER_PASSWORD_DROP, ARGS(arg_i64(account)), NULL, e);
	return err ? err : db_run(db, STMT_BROWSER_PASSWORD_GIVE,
		      ARGS(arg_i64(account), arg_i64(row_i64(&rows, 0, "id")), arg_bytes((const char *)box, plain.len + CRYPTO_SEAL_EXTRA)), NULL, e);
}

/* ---- pictures -------------------------------------------------------------- */

enum err browser_picture_put(struct db *db, int64_t account, struct str png, struct error *e)
{
	if (!png.len)
		return db_run(db, STMT_BROWSER_PICTURE_DROP, ARGS(arg_i64(account)), NULL, e);
	return db_run(db, STMT_BROWSER_PICTURE_PUT, ARGS(arg_i64(account), arg_bytes(png.ptr, png.len)), NULL, e);
}

enum err browser_picture(struct db *db, struct arena *a, int64_t account, int64_t owner, struct str *ret, struct error *e)
{
	cleanup_rows struct rows rows = {0};
	enum err err = db_run(db, STMT_BROWSER_PICTURE, ARGS(arg_i64(account), arg_i64(owner)), &rows, e);

	if (!err && !rows_count(&rows))
		return error_set(e, ERR_NOT_FOUND, "There is no picture of this account.");
	if (!err)
		*ret = row_bytes(&rows, 0, "png", a);
	return err;
}
