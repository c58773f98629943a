/* cmd_server - commands that run on the server, as its own user and without the REST API. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/asset.h"
#include "base/crypto.h"
#include "base/log.h"
#include "cli/commands.h"
#include "cli/dev.h"
#include "cli/files.h"
#include "cli/nginx_conf.h"
#include "cli/output.h"
#include "db/migrate.h"
#include "domain/job_fsm.h"
#include "domain/user.h"
#include "domain/worker_fsm.h"

static enum err open_database(struct cli *cli, int timeout_ms, struct db **ret, struct error *e)
{
	if (!cli->config.database[0])
		return error_set(e, ERR_INVALID, "GPUPOOL_DATABASE is not set: a libpq connection string of the role gpupool_owner");
	return db_open(&(struct db_options){.conninfo = cli->config.database, .application = "gpupool", .statement_timeout_ms = timeout_ms}, ret);
}

int cmd_migrate(struct cli *cli)
{
	cleanup_db struct db *db = NULL;
	struct error e = {0};
	int applied = 0;
	enum err err = open_database(cli, -1, &db, &e);

	if (!err)
		err = cli_option(cli, "check") ? migrate_check(db, &e) : migrate_run(db, &applied, &e);
	if (err)
		return cli_fail(cli, err, &e);
	if (!cli_option(cli, "check"))
		printf("%d migration%s applied\n", applied, applied == 1 ? "" : "s");
	return EXIT_OK;
}

/* ---- user add ------------------------------------------------------------- */

int cmd_user_add(struct cli *cli)
{
	cleanup_db struct db *db = NULL;
	const char *role = cli_option(cli, "role") ? cli_option(cli, "role") : "operator", *email = cli_option(cli, "email");
	struct user_new u = {.name = str_of(cli->args[0]), .role = role_parse(str_of(role)), .email = email ? str_of(email) : STR_NULL};
	struct error e = {0};
	int64_t id = 0;
	enum err err;

	if (u.role == ROLE_NONE)
		return cli_usage(cli, "--role must be admin, operator or viewer");
	if (!cli_option(cli, "no-password") && !cli_ask(cli, "password: ", true, &u.password))
		return cli_usage(cli, "no password was given on standard input");
	err = open_database(cli, 0, &db, &e);
	if (!err)
		err = user_create(db, &cli->arena, "", &u, &id, &e);
	if (err)
		return cli_fail(cli, err, &e);
	printf("user %s has id %lld\n", cli->args[0], (long long)id);
	return EXIT_OK;
}

/* ---- nginx ---------------------------------------------------------------- */

static const char *or_else(struct cli *cli, const char *option, const char *otherwise)
{
	return cli_option(cli, option) ? cli_option(cli, option) : otherwise;
}

int cmd_nginx_conf(struct cli *cli)
{
	cleanup_buf struct buf text = {0};
	struct error e = {0};
	const struct nginx_value values[] = {
		{"API", or_else(cli, "api", "unix:/run/gpupool/api/socket")},
		{"EVENTS", or_else(cli, "events", "unix:/run/gpupool/events/socket")},
		{"SECRETS", or_else(cli, "secrets", "unix:/run/gpupool/secrets/socket")},
		{"LOOPBACK_LIMITED", cli_option(cli, "spare-loopback") ? "0" : "1"},
		{"SIGNIN_RATE", cli->config.signin_rate},
		{"ADDRESS_RATE", cli->config.address_rate},
		{"API_RATE", cli->config.api_rate},
		{"LISTEN", or_else(cli, "listen", "80")},
		{"SERVER_NAME", or_else(cli, "server-name", "_")},
		{"STATIC", or_else(cli, "static", "/usr/local/share/gpupool/static")},
		{"STORE", or_else(cli, "store", "/var/lib/gpupool/store")},
		{"ACCESS_LOG", or_else(cli, "access-log", "/var/log/nginx/gpupool.log")},
		{"ROUTES", or_else(cli, "routes", "/etc/gpupool/routes.conf")},
		{NULL, NULL},
	};
	enum err err = nginx_conf_fill("nginx/gpupool.conf", values, &text, &e);

	if (err)
		return cli_fail(cli, err, &e);
	fwrite(text.ptr, 1, text.len, stdout);
	return EXIT_OK;
}

/* ---- state machines ------------------------------------------------------- */

int cmd_fsm(struct cli *cli)
{
	puts("```mermaid\nstateDiagram-v2\n    [*] --> queued");
	for (size_t i = 0; i < job_edge_count; i++)
		printf("    %s --> %s: %s\n", job_state_name(job_edges[i].from), job_state_name(job_edges[i].to), job_edges[i].why);
	puts("```\n```mermaid\nstateDiagram-v2\n    [*] --> stopped");
	for (size_t i = 0; i < worker_move_count; i++)
		printf("    %s --> %s\n", worker_state_name(worker_moves[i].from), worker_state_name(worker_moves[i].to));
	puts("```");
	return EXIT_OK;
}

/* ---- the rest ------------------------------------------------------------- */

int cmd_completion(struct cli *cli)
{
	if (strcmp(cli->args[0], "bash"))
		return cli_usage(cli, "only bash is known");
	command_completion();
	return EXIT_OK;
}

int cmd_dev(struct cli *cli)
{
	return dev_main(&cli->config);
}
