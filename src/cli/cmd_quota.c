/* cmd_quota - what accounts have left, and what providers allow, over the REST API. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"

static const struct column quota_columns[] = {
	{"ACCOUNT", "account", SHOW_TEXT},
	{"PROVIDER", "provider", SHOW_TEXT},
	{"OWNER", "owner", SHOW_TEXT},
	{"OF", "resource", SHOW_TEXT},
	{"LEFT", "remainingSeconds", SHOW_HOURS},
	{"USED", "usedSeconds", SHOW_HOURS},
	{"RESERVED", "reservedSeconds", SHOW_HOURS},
	{"LIMIT", "limitSeconds", SHOW_HOURS},
	{"RESETS", "resetsAt", SHOW_TIME},
	{"SESSIONS", "concurrent.used", SHOW_TEXT},
	{"AT MOST", "concurrent.limit", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

static const struct column limit_columns[] = {
	{"PROVIDER", "provider", SHOW_TEXT},
	{"OF", "resource", SHOW_TEXT},
	{"A WEEK", "weekSeconds", SHOW_HOURS},
	{"MARGIN", "weekMarginSeconds", SHOW_HOURS},
	{"A SESSION", "sessionSeconds", SHOW_HOURS},
	{"MARGIN", "sessionMarginSeconds", SHOW_HOURS},
	{"AT ONCE", "concurrent", SHOW_TEXT},
	{"AS OF", "asOf", SHOW_TEXT},
	{"SOURCE", "source", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

static const struct column accelerator_columns[] = {
	{"PROVIDER", "provider", SHOW_TEXT},
	{"ACCELERATOR", "name", SHOW_TEXT},
	{"OF", "resource", SHOW_TEXT},
	{"USABLE", "usable", SHOW_TEXT},
	{"NOTE", "note", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

/* The elements of every outer one's list, each with what `copied` names of the outer one (as another name). */
struct copied {
	const char *from, *to;
};

static struct json *flat(const struct json *outer, const char *key, const struct copied *copied)
{
	struct json *all = json_array();

	for (size_t i = 0; i < json_len(outer); i++) {
		const struct json *one = json_at(outer, i), *list = json_get(one, key);

		for (size_t k = 0; k < json_len(list); k++) {
			for (const struct copied *c = copied; c->from; c++)
				json_put_str(json_at(list, k), c->to, json_str(one, c->from));
			json_add(all, json_ref(json_at(list, k)));
		}
	}
	return all;
}

int cmd_quota(struct cli *cli)
{
	static const struct copied copied[] = {{"id", "account"}, {"provider", "provider"}, {"owner", "owner"}, {NULL, NULL}};
	cleanup_json struct json *answer = NULL, *rows = NULL;
	struct error e = {0};
	enum err err = cli_list(cli, "/api/gpu/quota", "accounts", 0, &answer, &e);

	if (err)
		return cli_fail(cli, err, &e);
	if (output_as_json(cli, answer))
		return EXIT_OK;
	rows = flat(json_get(answer, "accounts"), "resources", copied);
	output_table(cli, rows, quota_columns);
	return EXIT_OK;
}

/* Only the one that was named. */
static struct json *chosen(const struct cli *cli, const struct json *policies)
{
	struct json *list = json_array();

	for (size_t i = 0; i < json_len(policies); i++)
		if (!cli->arg_count || str_eqz(json_str(json_at(policies, i), "provider"), cli->args[0]))
			json_add(list, json_ref(json_at(policies, i)));
	return list;
}

static void show(const struct cli *cli, const struct json *policies, const char *key, const struct column *columns)
{
	static const struct copied copied[] = {{"provider", "provider"}, {NULL, NULL}};
	cleanup_json struct json *rows = flat(policies, key, copied);

	if (json_len(rows))
		output_table(cli, rows, columns);
}

int cli_show_policies(const struct cli *cli, const struct json *policies)
{
	if (output_as_json(cli, policies))
		return EXIT_OK;
	for (size_t i = 0; i < json_len(policies); i++) {
		const struct json *p = json_at(policies, i);

		output_text(cli, json_str(p, "provider"));
		fputs(": ", stdout);
		output_text(cli, json_str(p, json_str(p, "notice").len ? "notice" : "source"));
		fputs(" (as of ", stdout);
		output_text(cli, json_str(p, "asOf"));
		puts(")");
	}
	show(cli, policies, "limits", limit_columns);
	show(cli, policies, "accelerators", accelerator_columns);
	return EXIT_OK;
}

int cmd_policies(struct cli *cli)
{
	cleanup_json struct json *answer = NULL, *policies = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, "GET", "/api/gpu/policies", NULL, &answer, &e);

	if (err)
		return cli_fail(cli, err, &e);
	policies = chosen(cli, json_get(answer, "policies"));
	if (!json_len(policies))
		return cli_fail(cli, ERR_NOT_FOUND, &(struct error){.msg = "The server knows no provider of this name."});
	return cli_show_policies(cli, policies);
}
