/* instance - who holds which private keys.  See domain/instance.h. */
#include "domain/instance.h"

#include <stdio.h>
#include <unistd.h>

#include "base/crypto.h"

enum { LIST_MOST = 4096 };

void instance_name(char ret[INSTANCE_NAME])
{
	char host[65] = "", random[17];
	uint8_t bytes[8];

	if (gethostname(host, sizeof(host) - 1))
		host[0] = '\0';
	crypto_random(bytes, sizeof(bytes));
	crypto_hex(bytes, sizeof(bytes), random);
	snprintf(ret, INSTANCE_NAME, "%s:%d:%s", host, (int)getpid(), random);
}

enum err instance_seen(struct db *db, const char *name, const char *purpose, const char *const *providers, const int *keys, int n,
		       struct error *e)
{
	cleanup_buf struct buf served = BUF_INIT(LIST_MOST), held = BUF_INIT(LIST_MOST);

	array_begin(&served);
	for (; providers && *providers; providers++)
		array_add_str(&served, str_of(*providers));
	array_end(&served);
	array_begin(&held);
	for (int i = 0; i < n; i++)
		array_add_i64(&held, keys[i]);
	array_end(&held);
	return db_run(db, STMT_INSTANCE_SEEN, ARGS(arg_cstr(name), arg_cstr(purpose), arg_buf(&served), arg_buf(&held)), NULL, e);
}

enum err instance_gone(struct db *db, const char *name, struct error *e)
{
	return db_run(db, STMT_INSTANCE_GONE, ARGS(arg_cstr(name)), NULL, e);
}

enum err instance_sweep(struct db *db, const char *purpose, struct error *e)
{
	return db_run(db, STMT_INSTANCE_SWEEP, ARGS(arg_cstr(purpose), arg_i64(INSTANCE_DEAD_SECONDS)), NULL, e);
}
