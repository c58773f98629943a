/* cmd_health - is it up, what does it offer, and is everything as it should be? */
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/files.h"
#include "cli/nginx_conf.h"
#include "cli/output.h"
#include "db/migrate.h"
#include "domain/sealed.h"
#include "domain/worker.h"

int cmd_health(struct cli *cli)
{
	cleanup_json struct json *says = json_object();
	struct error e = {0};
	enum err err;

	cli->rest.deadline_ms = 10000;
	err = rest_call(&cli->rest, "GET", "/readyz", NULL, NULL, &e);
	json_put_cstr(says, "server", cli->rest.server);
	json_put_bool(says, "ready", err == OK);
	if (output_as_json(cli, says) && err)
		return EXIT_UNREACHABLE;
	if (err)
		return cli_fail(cli, err, &e);
	if (!cli->json)
		printf("ready: %s\n", cli->rest.server);
	return EXIT_OK;
}

int cmd_openapi(struct cli *cli)
{
	cleanup_json struct json *reply = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, "GET", "/api/openapi.json", NULL, &reply, &e);

	if (err)
		return cli_fail(cli, err, &e);
	output_json(reply);
	return EXIT_OK;
}

/* ---- doctor --------------------------------------------------------------- */

/* Fills say with what was found.  OK, or ERR_NOT_FOUND where the check does not
 * apply here, or anything else for a fault. */
typedef enum err check_fn(struct cli *cli, struct error *say);

static enum err check_reachable(struct cli *cli, struct error *say)
{
	enum err err = rest_call(&cli->rest, "GET", "/healthz", NULL, NULL, say);

	return err == ERR_NOT_FOUND ? ERR_UPSTREAM : err ? err : (error_set(say, OK, "%s answers", cli->rest.server), OK);
}

static enum err check_ready(struct cli *cli, struct error *say)
{
	enum err err = rest_call(&cli->rest, "GET", "/readyz", NULL, NULL, say);

	return err == ERR_NOT_FOUND ? ERR_UPSTREAM : err ? err : (error_set(say, OK, "database and schema are as the server needs them"), OK);
}

static enum err check_token(struct cli *cli, struct error *say)
{
	enum err err;

	if (!cli->rest.token)
		return error_set(say, ERR_NOT_FOUND, "no token here");
	err = rest_call(&cli->rest, "GET", "/api/gpu/jobs?limit=1", NULL, NULL, say);
	return err ? err : (error_set(say, OK, "the token is good"), OK);
}

static enum err reach_role(struct cli *cli, const char *role, const char *path, struct error *say)
{
	cleanup_reply struct rest_reply reply = {0};
	const struct http_header stranger[] = {{NULL, NULL}};
	struct json *body = json_object();
	struct rest nobody = {.http = cli->rest.http, .server = cli->rest.server, .deadline_ms = 10000};
	enum err err;

	/* What comes without a token must be refused by that role: 421 would mean
	 * that nginx sends it to another one, 502 that none is there. */
	arena_init(&nobody.arena, 1 << 20);
	json_put_cstr(body, "lease", "00000000-0000-4000-8000-000000000000");
	err = rest_send(&nobody, "POST", path, body, stranger, &reply, say);
	json_free(body);
	arena_free(&nobody.arena);
	if (reply.status == 401)
		return error_set(say, OK, "agents reach the %s role", role), OK;
	return reply.status ? error_set(say, ERR_UPSTREAM, "agents do not reach the %s role: status %d", role, reply.status) : err;
}

static enum err check_events(struct cli *cli, struct error *say)
{
	return reach_role(cli, "events", "/api/gpu/workers/1/claim", say);
}

static enum err check_secrets(struct cli *cli, struct error *say)
{
	return reach_role(cli, "secrets", "/api/gpu/workers/1/secrets", say);
}

static enum err check_public_url(struct cli *cli, struct error *say)
{
	const char *url = cli->config.public_url;

	if (!url || !url[0])
		return error_set(say, ERR_NOT_FOUND, "GPUPOOL_PUBLIC_URL is not set: only workers on this machine can reach the server");
	if (strncmp(url, "https://", 8))
		return error_set(say, ERR_NOT_FOUND, "%s is not https: only workers on this machine can reach the server", url);
	if (worker_reachable("", &cli->config, NULL))
		return error_set(say, ERR_NOT_FOUND, "%s is no public host: workers at Kaggle or Colab cannot reach the server", url);
	return error_set(say, OK, "workers are told %s", url), OK;
}

static enum err check_database(struct cli *cli, struct error *say)
{
	cleanup_db struct db *db = NULL;
	enum err err;

	if (!cli->config.database || !cli->config.database[0])
		return error_set(say, ERR_NOT_FOUND, "GPUPOOL_DATABASE is not set here");
	err = db_open(&(struct db_options){.conninfo = cli->config.database, .application = "gpupool-doctor"}, &db);
	if (!err)
		err = migrate_check(db, say);
	return err ? err : (error_set(say, OK, "the schema is this program's"), OK);
}

/* Without an active key nobody can add an account, or a secret. */
static enum err check_keys(struct cli *cli, struct error *say)
{
	static const enum seal_purpose purposes[] = {SEAL_CREDENTIALS, SEAL_SECRETS};
	cleanup_db struct db *db = NULL;
	enum err err;

	if (!cli->config.database || !cli->config.database[0])
		return error_set(say, ERR_NOT_FOUND, "GPUPOOL_DATABASE is not set here");
	err = db_open(&(struct db_options){.conninfo = cli->config.database, .application = "gpupool-doctor"}, &db);
	for (size_t i = 0; !err && i < ARRAY_LEN(purposes); i++) {
		cleanup_rows struct rows rows = {0};

		if (db_run(db, STMT_KEY_TO_USE, ARGS(arg_cstr(seal_purpose_name(purposes[i]))), &rows, NULL))
			return error_set(say, ERR_NOT_FOUND, "the role of GPUPOOL_DATABASE does not see them");
		if (!rows_count(&rows))
			return error_set(say, ERR_UNAVAILABLE, "no sealing key for %s: run `gpupool keys init --purpose=%s` as the user who is to open them",
					 seal_purpose_name(purposes[i]), seal_purpose_name(purposes[i]));
	}
	return err ? err : (error_set(say, OK, "there are sealing keys for credentials and secrets"), OK);
}

/* The first number after a word in a file, or -1. */
static long number_after(const char *path, const char *word)
{
	cleanup_buf struct buf text = {0};
	struct error e;
	const char *at;

	if (files_read(path, 1 << 20, &text, &e) || !text.ptr)
		return -1;
	at = word[0] ? strstr(text.ptr, word) : text.ptr;
	return at ? strtol(at + strlen(word), NULL, 10) : -1;
}

static enum err check_somaxconn(struct cli *cli, struct error *say)
{
	long most = number_after("/proc/sys/net/core/somaxconn", "");

	if (most < 4096)
		return error_set(say, ERR_UNAVAILABLE, "net.core.somaxconn is %ld: a burst of agents gets 502; sysctl -w net.core.somaxconn=4096", most);
	return error_set(say, OK, "net.core.somaxconn is %ld", most), OK;
}

static enum err check_files(struct cli *cli, struct error *say)
{
	struct rlimit limit = {0};
	long need = nginx_connections((long)cli->config.max_parked) + 64;

	getrlimit(RLIMIT_NOFILE, &limit);
	if ((long)limit.rlim_max < need)
		return error_set(say, ERR_UNAVAILABLE, "%ld open files allowed, %ld needed for GPUPOOL_MAX_PARKED=%ld; raise `ulimit -Hn`", (long)limit.rlim_max,
				 need, (long)cli->config.max_parked);
	return error_set(say, OK, "%ld open files are allowed, %ld needed", (long)limit.rlim_max, need), OK;
}

static enum err check_nginx(struct cli *cli, struct error *say)
{
	const char *path = cli_option(cli, "nginx");
	long have, need = nginx_connections((long)cli->config.max_parked);

	if (!path)
		return error_set(say, ERR_NOT_FOUND, "not looked at: name its main configuration with --nginx");
	have = number_after(path, "worker_connections");
	if (have < 0)
		return error_set(say, ERR_NOT_FOUND, "%s says nothing of worker_connections", path);
	if (have < need)
		return error_set(say, ERR_UNAVAILABLE, "%s has worker_connections %ld; GPUPOOL_MAX_PARKED=%ld needs `worker_connections %ld;` and `worker_rlimit_nofile %ld;`",
				 path, have, (long)cli->config.max_parked, need, need + 64);
	return error_set(say, OK, "worker_connections is %ld", have), OK;
}

static const struct check {
	const char *name;
	bool local; /* of this machine, which should be the server */
	check_fn *run;
} checks[] = {
	{"server", false, check_reachable},
	{"ready", false, check_ready},
	{"token", false, check_token},
	{"events", false, check_events},
	{"secrets", false, check_secrets},
	{"public URL", true, check_public_url},
	{"database", true, check_database},
	{"sealing keys", true, check_keys},
	{"backlog", true, check_somaxconn},
	{"open files", true, check_files},
	{"nginx", true, check_nginx},
};

int cmd_doctor(struct cli *cli)
{
	cleanup_json struct json *all = json_array();
	bool local = cli_option(cli, "local") != NULL, well = true;

	cli->rest.deadline_ms = 10000;
	for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
		struct error say = {0};
		struct json *one;
		const char *word;
		enum err err;

		if (checks[i].local && !local)
			continue;
		err = checks[i].run(cli, &say);
		word = !err ? "ok" : err == ERR_NOT_FOUND ? "note" : "fault";
		well &= !err || err == ERR_NOT_FOUND;
		one = json_object();
		json_put_cstr(one, "check", checks[i].name);
		json_put_cstr(one, "outcome", word);
		json_put_cstr(one, "says", say.msg);
		json_add(all, one);
	}
	if (!output_as_json(cli, all))
		output_table(cli, all, (const struct column[]){{"CHECK", "check", SHOW_TEXT}, {"", "outcome", SHOW_TEXT}, {"", "says", SHOW_TEXT}, {NULL, NULL, SHOW_TEXT}});
	return well ? EXIT_OK : EXIT_FAILED;
}
