/* dev_postgres - the private cluster of `gpupool dev`.  See cli/dev.h. */
#include "cli/dev.h"

#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "base/asset.h"
#include "base/crypto.h"
#include "base/json.h"
#include "db/db.h"
#include "db/migrate.h"
#include "domain/token.h"
#include "domain/user.h"

/* Each role's password is a file; who may read it is whom the role is for. */
static const struct database_role {
	const char *name;
	enum service_id reader; /* SERVICE_COUNT = this program only */
} roles[] = {
	{"postgres", SERVICE_COUNT},
	{"owner", SERVICE_COUNT},
	{"web", SERVICE_API},
	{"events", SERVICE_EVENTS},
	{"secrets", SERVICE_SECRETS},
	{"provisioner", SERVICE_PROVISIONER},
	{"local", SERVICE_LOCAL},
	{"browser", SERVICE_BROWSER},
};

static const char *role_user(struct dev *d, const char *role)
{
	return strcmp(role, "postgres") ? dev_text(d, "gpupool_%s", role) : role;
}

const char *dev_conninfo(struct dev *d, const char *role)
{
	return dev_text(d, "host='%s/pg' dbname=gpupool user=%s passfile='%s/pass/%s'", d->run, role_user(d, role), d->run, role);
}

/* Made once, kept in STATE/secrets. */
static enum err password(struct dev *d, const char *role, const char **ret, struct error *e)
{
	const char *path = dev_text(d, "%s/secrets/%s", d->state, role);
	cleanup_buf struct buf have = {0};
	uint8_t bytes[24];
	char hex[2 * sizeof(bytes) + 1];
	enum err err = files_read(path, 256, &have, e);

	if (err == OK && have.len == sizeof(hex) - 1) {
		*ret = dev_text(d, "%s", have.ptr);
		return OK;
	}
	if (err && err != ERR_NOT_FOUND)
		return err;
	crypto_random(bytes, sizeof(bytes));
	crypto_hex(bytes, sizeof(bytes), hex);
	*ret = dev_text(d, "%s", hex);
	return files_write(path, (struct str){hex, sizeof(hex) - 1}, 0600, OWNER_SELF, e);
}

static enum err write_passfiles(struct dev *d, struct json *passwords, struct error *e)
{
	for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
		const char *secret = NULL, *line;
		struct owner reader = roles[i].reader == SERVICE_COUNT ? OWNER_SELF : dev_identity(d, roles[i].reader).owner;
		enum err err = password(d, roles[i].name, &secret, e);

		if (err)
			return err;
		line = dev_text(d, "*:*:*:%s:%s\n", role_user(d, roles[i].name), secret);
		err = files_write(dev_text(d, "%s/pass/%s", d->run, roles[i].name), str_of(line), 0600, reader, e);
		if (err)
			return err;
		if (strcmp(roles[i].name, "postgres"))
			json_put_cstr(passwords, roles[i].name, secret);
	}
	return OK;
}

/* ---- the cluster ---------------------------------------------------------- */

static bool has_programs(const char *dir)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/initdb", dir);
	return access(path, X_OK) == 0;
}

/* The cluster's own version when there is one, else the newest here. */
static enum err find_programs(struct dev *d, struct error *e)
{
	cleanup_buf struct buf version = {0};
	const char *at = "/usr/lib/postgresql";
	DIR *dir = opendir(at);
	struct dirent *entry;
	int64_t best = 0, n;
	struct error ignored;

	if (files_read(dev_text(d, "%s/postgres/PG_VERSION", d->data), 16, &version, &ignored) == OK &&
	    str_to_i64(str_trim(buf_str(&version)), 1, 1000, &n))
		best = n;
	while (!version.len && dir && (entry = readdir(dir)))
		if (str_to_i64(str_of(entry->d_name), 1, 1000, &n) && n > best && has_programs(dev_text(d, "%s/%s/bin", at, entry->d_name)))
			best = n;
	if (dir)
		closedir(dir);
	d->pg_bin = dev_text(d, "%s/%d/bin", at, (int)best);
	if (has_programs(d->pg_bin))
		return OK;
	for (const char *const *p = (const char *const[]){"/usr/local/pgsql/bin", "/usr/local/bin", "/usr/bin", NULL}; *p && !version.len; p++)
		if (has_programs(*p)) {
			d->pg_bin = *p;
			return OK;
		}
	return error_set(e, ERR_NOT_FOUND, "PostgreSQL%s%.*s is not installed: apt-get install postgresql-15", version.len ? " " : "",
			 STR_ARG(str_trim(buf_str(&version))));
}

static enum err make_cluster(struct dev *d, struct error *e)
{
	struct identity as = dev_identity(d, SERVICE_POSTGRES);
	const char *first = dev_text(d, "%s/pass/first", d->run), *secret = NULL;
	const char *data = dev_text(d, "%s/postgres.new", d->data); /* renamed when whole */
	const char *initdb = dev_text(d, "%s/initdb", d->pg_bin);
	const char *argv[] = {initdb, "-D", data, "-U", "postgres", "--auth=scram-sha-256", dev_text(d, "--pwfile=%s", first),
			"-E", "UTF8", "--locale=C.UTF-8", "--data-checksums", NULL};
	const char *env[] = {"PATH=/usr/bin:/bin", "LANG=C.UTF-8", "TZ=UTC", NULL};
	struct spawn s = {.path = initdb, .argv = argv, .env = env, .as = as, .dir = data};
	enum err err = password(d, "postgres", &secret, e);

	files_remove_tree(data);
	if (!err)
		err = files_dir(data, 0700, as.owner, e);
	if (!err)
		err = files_write(first, str_of(secret), 0600, as.owner, e);
	if (err)
		return err;
	dev_say("making a PostgreSQL cluster in %s/postgres", d->state);
	s.output = dev_log(d, "postgres", as.owner);
	err = process_run(&s, dev_text(d, "initdb (its output: %s/log/postgres.log)", d->state), e);
	if (s.output >= 0)
		close(s.output);
	unlink(first);
	if (!err && rename(data, dev_text(d, "%s/postgres", d->data)))
		err = error_set(e, ERR_INTERNAL, "cannot rename %s", data);
	return err;
}

/* Our own two files in the cluster; postgresql.conf stays as initdb wrote it. */
static enum err write_settings(struct dev *d, struct error *e)
{
	struct owner o = dev_identity(d, SERVICE_POSTGRES).owner;
	const char *text = dev_text(d,
				    "listen_addresses = ''\n"
				    "unix_socket_directories = '%s/pg'\n"
				    "max_connections = 100\n"
				    "shared_buffers = 128MB\n"
				    "max_wal_size = 2GB\n"
				    "checkpoint_timeout = 15min\n"
				    "wal_compression = on\n"
				    "password_encryption = scram-sha-256\n"
				    "autovacuum_naptime = 10s\n"
				    "jit = off\n"
				    "timezone = 'UTC'\n"
				    "log_timezone = 'UTC'\n"
				    "log_line_prefix = '%%m [%%p] %%q%%u %%a '\n"
				    "cluster_name = 'gpupool %d'\n",
				    d->run, (int)d->config.port);
	const char *access = "local all all scram-sha-256\n";
	enum err err = files_write(dev_text(d, "%s/postgres/postgresql.auto.conf", d->data), str_of(text), 0600, o, e);

	return err ? err : files_write(dev_text(d, "%s/postgres/pg_hba.conf", d->data), str_of(access), 0600, o, e);
}

enum err dev_postgres_prepare(struct dev *d, struct error *e)
{
	cleanup_json struct json *passwords = json_object();
	enum err err = find_programs(d, e);

	if (!err)
		err = write_passfiles(d, passwords, e);
	if (!err && access(dev_text(d, "%s/postgres", d->data), F_OK))
		err = make_cluster(d, e);
	return err ? err : write_settings(d, e);
}

/* ---- what is in it -------------------------------------------------------- */

static enum err open_as(struct dev *d, const char *role, const char *database, int timeout_ms, struct db **ret)
{
	const char *conninfo = dev_conninfo(d, role);

	if (database)
		conninfo = dev_text(d, "%s dbname=%s", conninfo, database);
	return db_open(&(struct db_options){.conninfo = conninfo, .application = "gpupool-dev", .statement_timeout_ms = timeout_ms}, ret);
}

static enum err postgres_answers(struct dev *d, struct error *e)
{
	cleanup_db struct db *db = NULL;
	enum err err = open_as(d, "postgres", "postgres", 5000, &db);

	return err ? err : db_run(db, STMT_PING, NO_ARGS, NULL, e);
}

static enum err make_database(struct dev *d, struct error *e)
{
	cleanup_db struct db *db = NULL;
	cleanup_rows struct rows rows = {0};
	cleanup_json struct json *passwords = json_object();
	enum err err = open_as(d, "postgres", "postgres", 60000, &db);

	if (!err)
		err = write_passfiles(d, passwords, e);
	if (!err)
		err = db_exec_text(db, asset_find("sql/roles.sql")->bytes.ptr, NULL, e);
	if (!err)
		err = db_run(db, STMT_SETUP_PASSWORDS, ARGS(arg_cstr(json_text(passwords, &d->arena))), NULL, e);
	if (!err)
		err = db_exec_text(db, asset_find("sql/passwords.sql")->bytes.ptr, NULL, e);
	if (!err)
		err = db_run(db, STMT_SETUP_DATABASE_EXISTS, ARGS(arg_cstr("gpupool")), &rows, e);
	if (!err && rows_count(&rows) == 0)
		err = db_exec_text(db, asset_find("sql/database.sql")->bytes.ptr, NULL, e);
	return err;
}

static enum err migrate(struct dev *d, struct error *e)
{
	cleanup_db struct db *db = NULL;
	int applied = 0;
	enum err err = open_as(d, "owner", NULL, -1, &db);

	if (!err)
		err = migrate_run(db, &applied, e);
	if (!err && applied)
		dev_say("database: %d migration%s applied", applied, applied == 1 ? "" : "s");
	return err;
}

/* Made once.  *fresh: it was not there. */
static enum err admin_token(struct dev *d, bool *fresh, struct error *e)
{
	const char *path = dev_text(d, "%s/admin-token", d->state);
	cleanup_buf struct buf have = {0};
	char token[CRYPTO_TOKEN_TEXT];
	enum err err = files_read(path, 256, &have, e);

	*fresh = err == ERR_NOT_FOUND;
	if (!err && str_trim(buf_str(&have)).len >= PASSWORD_MIN) {
		d->token = dev_text(d, "%.*s", STR_ARG(str_trim(buf_str(&have))));
		return OK;
	}
	if (err && err != ERR_NOT_FOUND)
		return err;
	crypto_token("gpt", token);
	d->token = dev_text(d, "%s", token);
	return files_write(path, str_of(dev_text(d, "%s\n", token)), 0600, OWNER_SELF, e);
}

/* The user admin, whose first password is the token.  A password that was
 * changed stays; removing the file STATE/admin-token sets both anew. */
static enum err first_user(struct dev *d, struct error *e)
{
	cleanup_db struct db *db = NULL;
	struct principal admin = {0};
	bool fresh;
	enum err err = admin_token(d, &fresh, e);

	if (!err)
		err = open_as(d, "owner", NULL, 0, &db);
	if (err)
		return err;
	err = user_by_name(db, STR("admin"), &admin, e);
	if (err == ERR_NOT_FOUND) {
		struct user_new u = {.name = STR("admin"), .role = ROLE_ADMIN, .password = str_of(d->token)};

		err = user_create(db, &d->arena, "", &u, &admin.user_id, e);
	} else if (!err && fresh) {
		struct user_change c = {.active = -1, .password = str_of(d->token)};

		err = user_change(db, &d->arena, "", admin.user_id, &c, e);
	}
	return err ? err : token_create_with_value(db, &d->arena, admin.user_id, "make run", "admin", str_of(d->token), e);
}

enum err dev_postgres_setup(struct dev *d, struct error *e)
{
	enum err err = dev_until(d, postgres_answers, 60000, e);

	if (!err)
		err = make_database(d, e);
	if (!err)
		err = migrate(d, e);
	return err ? err : first_user(d, e);
}
