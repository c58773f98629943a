/* cmd_people - users, tokens and the audit trail, over the REST API. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/output.h"

static const struct column user_columns[] = {
	{"ID", "id", SHOW_TEXT},
	{"NAME", "name", SHOW_TEXT},
	{"ROLE", "role", SHOW_TEXT},
	{"ACTIVE", "active", SHOW_TEXT},
	{"EMAIL", "email", SHOW_TEXT},
	{"SEEN", "lastUsedAt", SHOW_AGE},
	{NULL, NULL, SHOW_TEXT},
};
static const struct column token_columns[] = {
	{"ID", "id", SHOW_TEXT},
	{"NAME", "name", SHOW_TEXT},
	{"SCOPES", "scopes", SHOW_LIST},
	{"CREATED", "createdAt", SHOW_TIME},
	{"EXPIRES", "expiresAt", SHOW_TIME},
	{"USED", "lastUsedAt", SHOW_AGE},
	{"REVOKED", "revokedAt", SHOW_TIME},
	{NULL, NULL, SHOW_TEXT},
};
static const struct column audit_columns[] = {
	{"AT", "at", SHOW_TIME},
	{"USER", "user", SHOW_TEXT},
	{"ACTION", "action", SHOW_TEXT},
	{"OBJECT", "object", SHOW_TEXT},
	{"FROM", "address", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

static int list(struct cli *cli, const char *path, const char *key, int64_t most, const struct column *columns)
{
	cleanup_json struct json *rows = NULL;
	struct error e = {0};
	enum err err = cli_list(cli, path, key, most, &rows, &e);

	if (err)
		return cli_fail(cli, err, &e);
	if (!output_as_json(cli, rows))
		output_table(cli, json_get(rows, key), columns);
	return EXIT_OK;
}

/* One call whose answer is one object; shown as fields. */
static int call(struct cli *cli, const char *method, const char *path, const struct json *body, const struct column *columns)
{
	cleanup_json struct json *reply = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, method, path, body, &reply, &e);

	if (err)
		return cli_fail(cli, err, &e);
	if (reply && !output_as_json(cli, reply))
		output_fields(cli, reply, columns);
	return EXIT_OK;
}

static bool put_secret(struct cli *cli, struct json *body, const char *option, const char *field)
{
	struct str secret;

	if (!cli_option(cli, option))
		return true;
	if (!cli_read_secret(cli, cli_option(cli, option), &secret))
		return false;
	json_put_str(body, field, secret);
	return true;
}

/* ---- users ---------------------------------------------------------------- */

int cmd_users_list(struct cli *cli)
{
	return list(cli, "/api/gpu/users", "users", 0, user_columns);
}

int cmd_users_add(struct cli *cli)
{
	cleanup_json struct json *body = json_object();

	json_put_cstr(body, "name", cli->args[0]);
	json_put_cstr(body, "role", cli_option(cli, "role") ? cli_option(cli, "role") : "operator");
	cli_put_text(cli, body, "email", "email");
	if (!put_secret(cli, body, "password-file", "password"))
		return EXIT_USAGE;
	return call(cli, "POST", "/api/gpu/users", body, user_columns);
}

int cmd_users_edit(struct cli *cli)
{
	cleanup_json struct json *body = json_object();

	cli_put_text(cli, body, "role", "role");
	cli_put_text(cli, body, "email", "email");
	if (cli_option(cli, "activate"))
		json_put_bool(body, "active", true);
	if (cli_option(cli, "deactivate"))
		json_put_bool(body, "active", false);
	if (!put_secret(cli, body, "password-file", "password"))
		return EXIT_USAGE;
	if (!json_len(body))
		return cli_usage(cli, "nothing to change was given");
	return call(cli, "PATCH", cli_text(cli, "/api/gpu/users/%s", cli_segment(cli, cli->args[0])), body, user_columns);
}

int cmd_users_delete(struct cli *cli)
{
	return call(cli, "DELETE", cli_text(cli, "/api/gpu/users/%s", cli_segment(cli, cli->args[0])), NULL, user_columns);
}

/* ---- tokens --------------------------------------------------------------- */

int cmd_tokens_list(struct cli *cli)
{
	return list(cli, cli_option(cli, "all") ? "/api/gpu/tokens?all=true" : "/api/gpu/tokens", "tokens", 0, token_columns);
}

int cmd_tokens_add(struct cli *cli)
{
	cleanup_json struct json *body = json_object(), *reply = NULL;
	struct json *scopes = json_array();
	struct error e = {0};
	int64_t expires = 0;
	enum err err;

	json_put(body, "scopes", scopes);
	for (size_t i = 0; cli_option_at(cli, "scope", i); i++)
		json_add_cstr(scopes, cli_option_at(cli, "scope", i));
	if (!json_len(scopes))
		json_add_cstr(scopes, "read");
	json_put_cstr(body, "name", cli->args[0]);
	if (!cli_option_seconds(cli, "expires", &expires))
		return EXIT_USAGE;
	if (expires)
		json_put_i64(body, "expiresSeconds", expires);
	err = rest_call(&cli->rest, "POST", "/api/gpu/tokens", body, &reply, &e);
	if (err)
		return cli_fail(cli, err, &e);
	if (!output_as_json(cli, reply)) {
		output_text(cli, json_str(reply, "token"));
		putchar('\n');
		fputs("it is shown this once\n", stderr);
	}
	return EXIT_OK;
}

int cmd_tokens_revoke(struct cli *cli)
{
	return call(cli, "DELETE", cli_text(cli, "/api/gpu/tokens/%s", cli_segment(cli, cli->args[0])), NULL, token_columns);
}

/* ---- audit ---------------------------------------------------------------- */

int cmd_audit(struct cli *cli)
{
	int64_t most = 50;

	if (!cli_option_i64(cli, "limit", 1, 1000000, &most))
		return EXIT_USAGE;
	return list(cli, "/api/gpu/audit", "audit", most, audit_columns);
}
