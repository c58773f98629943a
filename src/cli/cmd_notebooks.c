/* cmd_notebooks - workers, which the REST path calls notebooks. */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/output.h"

#define PATH "/api/gpu/workers/notebooks"

static const struct column list_columns[] = {
	{"ID", "id", SHOW_TEXT},
	{"TITLE", "title", SHOW_TEXT},
	{"PROVIDER", "provider", SHOW_TEXT},
	{"ACCELERATOR", "accelerator", SHOW_TEXT},
	{"STATE", "state", SHOW_TEXT},
	{"WANTED", "desiredState", SHOW_TEXT},
	{"RUNNING", "jobs.running", SHOW_TEXT},
	{"UPTIME", "session.runtimeSeconds", SHOW_SECONDS},
	{NULL, NULL, SHOW_TEXT},
};

static const struct column show_columns[] = {
	{"id", "id", SHOW_TEXT},
	{"title", "title", SHOW_TEXT},
	{"provider", "provider", SHOW_TEXT},
	{"start", "start", SHOW_TEXT},
	{"accelerator", "accelerator", SHOW_TEXT},
	{"gpu", "gpu", SHOW_JSON},
	{"state", "state", SHOW_TEXT},
	{"wanted", "desiredState", SHOW_TEXT},
	{"reason", "reason", SHOW_JSON},
	{"account", "accountId", SHOW_TEXT},
	{"url", "url", SHOW_TEXT},
	{"session", "session.id", SHOW_TEXT},
	{"up for", "session.runtimeSeconds", SHOW_SECONDS},
	{"deadline", "session.deadline", SHOW_TIME},
	{"last heartbeat", "session.lastHeartbeat", SHOW_TIME},
	{"quota left", "quota.remainingSeconds", SHOW_SECONDS},
	{"jobs running", "jobs.running", SHOW_TEXT},
	{"jobs succeeded", "jobs.succeeded", SHOW_TEXT},
	{"jobs failed", "jobs.failed", SHOW_TEXT},
	{"created", "createdAt", SHOW_TIME},
	{NULL, NULL, SHOW_TEXT},
};

static const char *path_of(struct cli *cli, const char *id, const char *more)
{
	return cli_text(cli, PATH "/%s%s", cli_segment(cli, id), more);
}

static int show(struct cli *cli, const struct json *notebook)
{
	if (!output_as_json(cli, notebook))
		output_fields(cli, notebook, show_columns);
	return EXIT_OK;
}

/* A call whose answer is the notebook. */
static int call(struct cli *cli, const char *method, const char *path, const struct json *body)
{
	cleanup_json struct json *notebook = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, method, path, body, &notebook, &e);

	return err ? cli_fail(cli, err, &e) : show(cli, notebook);
}

int cmd_notebooks_list(struct cli *cli)
{
	cleanup_json struct json *list = NULL;
	struct error e = {0};
	enum err err = cli_list(cli, PATH, "notebooks", 0, &list, &e);

	if (err)
		return cli_fail(cli, err, &e);
	if (!output_as_json(cli, list))
		output_table(cli, json_get(list, "notebooks"), list_columns);
	return EXIT_OK;
}

int cmd_notebooks_show(struct cli *cli)
{
	return call(cli, "GET", path_of(cli, cli->args[0], ""), NULL);
}

static bool put_seconds(struct cli *cli, struct json *body, const char *option, const char *field)
{
	int64_t seconds = 0;

	if (!cli_option_seconds(cli, option, &seconds))
		return false;
	if (cli_option(cli, option))
		json_put_i64(body, field, seconds);
	return true;
}

/* What add and edit have in common. */
static bool put_options(struct cli *cli, struct json *body)
{
	cli_put_text(cli, body, "title", "title");
	cli_put_text(cli, body, "accelerator", "accelerator");
	return put_seconds(cli, body, "max-session", "maxSessionSeconds") && put_seconds(cli, body, "idle-stop", "idleStopSeconds");
}

/* What it is given to read at its provider, by the provider's names. */
static void put_inputs(struct cli *cli, struct json *body)
{
	static const struct {
		const char *option, *field;
	} inputs[] = {{"dataset", "datasets"}, {"model", "models"}, {"competition", "competitions"}, {"kernel", "kernels"}};
	struct json *all = json_object();

	for (size_t i = 0; i < ARRAY_LEN(inputs); i++) {
		struct json *list = json_array();

		for (size_t k = 0; cli_option_at(cli, inputs[i].option, k); k++)
			json_add_cstr(list, cli_option_at(cli, inputs[i].option, k));
		if (json_len(list))
			json_put(all, inputs[i].field, list);
		else
			json_free(list);
	}
	if (json_len(all))
		json_put(body, "inputs", all);
	else
		json_free(all);
}

/* People go elsewhere for GPUs; what their own machines have only they know. */
static const char *usual_accelerator(const char *provider)
{
	return strcmp(provider, "local") && strcmp(provider, "manual") ? "gpu" : "cpu";
}

int cmd_notebooks_add(struct cli *cli)
{
	cleanup_json struct json *body = json_object();

	json_put_cstr(body, "provider", cli->args[0]);
	cli_put_text(cli, body, "start", "start");
	if (!put_options(cli, body))
		return EXIT_USAGE;
	if (!cli_option(cli, "accelerator"))
		json_put_cstr(body, "accelerator", usual_accelerator(cli->args[0]));
	cli_put_text(cli, body, "account", "accountId");
	cli_put_text(cli, body, "email", "email");
	put_inputs(cli, body);
	if (cli_option(cli, "kaggle-json") && !cli_put_credentials(cli, body))
		return EXIT_USAGE;
	if (cli_option(cli, "no-start"))
		json_put_bool(body, "autoStart", false);
	return call(cli, "POST", PATH, body);
}

int cmd_notebooks_edit(struct cli *cli)
{
	cleanup_json struct json *body = json_object();

	if (!put_options(cli, body))
		return EXIT_USAGE;
	if (!json_len(body))
		return cli_usage(cli, "nothing to change was given");
	return call(cli, "PATCH", path_of(cli, cli->args[0], ""), body);
}

int cmd_notebooks_start(struct cli *cli)
{
	return call(cli, "POST", path_of(cli, cli->args[0], "/start"), NULL);
}

int cmd_notebooks_stop(struct cli *cli)
{
	return call(cli, "POST", path_of(cli, cli->args[0], "/stop"), NULL);
}

int cmd_notebooks_delete(struct cli *cli)
{
	cleanup_json struct json *reply = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, "DELETE", path_of(cli, cli->args[0], ""), NULL, &reply, &e);

	if (err)
		return cli_fail(cli, err, &e);
	if (reply)
		output_as_json(cli, reply);
	return EXIT_OK;
}

/* The line to paste on another machine; its token is good once. */
int cmd_notebooks_line(struct cli *cli)
{
	cleanup_json struct json *reply = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, "POST", path_of(cli, cli->args[0], "/enrolment"), NULL, &reply, &e);
	bool ask = cli_option(cli, "ask") != NULL;

	if (err)
		return cli_fail(cli, err, &e);
	if (output_as_json(cli, reply))
		return EXIT_OK;
	output_text(cli, json_str(reply, ask ? "command" : "commandWithToken"));
	putchar('\n');
	if (ask)
		fprintf(stderr, "it asks for the token: %s\n", json_cstr(reply, "token") ? json_cstr(reply, "token") : "");
	fprintf(stderr, "the token is good until %s, for one machine\n", json_cstr(reply, "expiresAt") ? json_cstr(reply, "expiresAt") : "it is used");
	return EXIT_OK;
}

/* ---- what a session left ---------------------------------------------------- */

static const struct column output_columns[] = {
	{"NAME", "name", SHOW_TEXT},
	{"SIZE", "size", SHOW_BYTES},
	{"KEPT", "kept", SHOW_TEXT},
	{"FETCHED", "createdAt", SHOW_TIME},
	{NULL, NULL, SHOW_TEXT},
};

enum { SESSIONS_LOOKED_AT = 100 };

/* The newest that left something; NULL: none did. */
static enum err newest_session(struct cli *cli, const char **ret, struct error *e)
{
	cleanup_json struct json *answer = NULL;
	const struct json *list;
	enum err err = cli_list(cli, path_of(cli, cli->args[0], "/sessions"), "sessions", SESSIONS_LOOKED_AT, &answer, e);

	*ret = NULL;
	list = json_get(answer, "sessions");
	for (size_t i = 0; i < json_len(list) && !*ret; i++)
		if (json_i64(json_at(list, i), "outputs", 0))
			*ret = cli_text(cli, "%s", json_cstr(json_at(list, i), "id"));
	return err;
}

int cmd_notebooks_outputs(struct cli *cli)
{
	const char *session = cli_option(cli, "session"), *to = cli_option(cli, "to"), *base;
	cleanup_json struct json *reply = NULL;
	struct error e = {0};
	enum err err = session ? OK : newest_session(cli, &session, &e);

	if (!err && !session)
		err = error_set(&e, ERR_NOT_FOUND, "None of its sessions left anything.");
	if (err)
		return cli_fail(cli, err, &e);
	base = path_of(cli, cli->args[0], cli_text(cli, "/sessions/%s/outputs", cli_segment(cli, session)));
	err = rest_call(&cli->rest, "GET", base, NULL, &reply, &e);
	if (err)
		return cli_fail(cli, err, &e);
	if (cli->json)
		output_json(reply);
	if (to)
		return cli_fetch(cli, base, json_get(reply, "outputs"), to);
	if (cli->arg_count > 1)
		return cli_usage(cli, "names are for --to DIR");
	if (!cli->json)
		output_table(cli, json_get(reply, "outputs"), output_columns);
	return EXIT_OK;
}
