/* cmd_autoscale - the scaling policy, and plans of what it would do. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"

#define PATH "/api/gpu/autoscale"

static const struct column policy_columns[] = {
	{"enabled", "enabled", SHOW_TEXT},
	{"paused", "paused", SHOW_TEXT},
	{"accelerator", "accelerator", SHOW_TEXT},
	{"workers, at least", "minWorkers", SHOW_TEXT},
	{"workers, at most", "maxWorkers", SHOW_TEXT},
	{"waiting jobs", "queueThreshold", SHOW_TEXT},
	{"target wait", "targetWaitSeconds", SHOW_SECONDS},
	{"up delay", "upDelaySeconds", SHOW_SECONDS},
	{"down delay", "downDelaySeconds", SHOW_SECONDS},
	{"idle stop", "idleStopSeconds", SHOW_SECONDS},
	{"accounts", "accounts", SHOW_LIST},
	{"account order", "accountOrder", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

static const struct column action_columns[] = {
	{"ACTION", "action", SHOW_TEXT},
	{"WORKER", "workerId", SHOW_TEXT},
	{"ACCOUNT", "accountId", SHOW_TEXT},
	{"ACCELERATOR", "accelerator", SHOW_TEXT},
	{"RESERVES", "reservesSeconds", SHOW_SECONDS},
	{"LEFT THEN", "remainingAfterSeconds", SHOW_SECONDS},
	{"BY ITSELF AT", "dueAt", SHOW_TIME},
	{"WHY", "reason.message", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

static const struct column job_columns[] = {
	{"JOB", "jobId", SHOW_TEXT},
	{"STARTS AT", "startsAt", SHOW_TIME},
	{"WHY", "reason.message", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

static const struct query_option owner_query[] = {{"owner", "owner"}, {NULL, NULL}};

/* ---- the policy ------------------------------------------------------------------ */

static int show(const struct cli *cli, const struct json *policy)
{
	if (!output_as_json(cli, policy))
		output_fields(cli, policy, policy_columns);
	return EXIT_OK;
}

int cmd_autoscale_show(struct cli *cli)
{
	cleanup_json struct json *policy = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, "GET", cli_query(cli, PATH, owner_query), NULL, &policy, &e);

	return err ? cli_fail(cli, err, &e) : show(cli, policy);
}

static const struct {
	const char *option, *field;
} numbers[] = {{"min", "minWorkers"}, {"max", "maxWorkers"}, {"threshold", "queueThreshold"}},
  durations[] = {{"target-wait", "targetWaitSeconds"}, {"up-delay", "upDelaySeconds"}, {"down-delay", "downDelaySeconds"}, {"idle-stop", "idleStopSeconds"}},
  switches[] = {{"on", "enabled"}, {"pause", "paused"}}, switched_off[] = {{"off", "enabled"}, {"resume", "paused"}};

static bool given_none(const struct cli *cli, const char *option)
{
	const char *value = cli_option(cli, option);

	return value && !strcmp(value, "none");
}

/* What was given replaces what is there. */
static bool change(struct cli *cli, struct json *policy)
{
	int64_t value;

	for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
		value = 0;
		if (!cli_option_i64(cli, numbers[i].option, 0, 1000000000, &value))
			return false;
		if (cli_option(cli, numbers[i].option))
			json_put_i64(policy, numbers[i].field, value);
	}
	for (size_t i = 0; i < ARRAY_LEN(durations); i++) {
		value = 0;
		if (given_none(cli, durations[i].option)) {
			json_put(policy, durations[i].field, json_null());
			continue;
		}
		if (!cli_option_seconds(cli, durations[i].option, &value))
			return false;
		if (cli_option(cli, durations[i].option))
			json_put_i64(policy, durations[i].field, value);
	}
	for (size_t i = 0; i < ARRAY_LEN(switches); i++) {
		if (cli_option(cli, switches[i].option))
			json_put_bool(policy, switches[i].field, true);
		if (cli_option(cli, switched_off[i].option))
			json_put_bool(policy, switched_off[i].field, false);
	}
	return true;
}

static void change_accounts(struct cli *cli, struct json *policy)
{
	struct json *accounts = json_array();

	if (cli_option(cli, "accelerator"))
		json_put_cstr(policy, "accelerator", given_none(cli, "accelerator") ? NULL : cli_option(cli, "accelerator"));
	if (cli_option(cli, "account-order"))
		json_put_cstr(policy, "accountOrder", cli_option(cli, "account-order"));
	for (size_t i = 0; cli_option_at(cli, "account", i); i++)
		if (strcmp(cli_option_at(cli, "account", i), "all") != 0)
			json_add_cstr(accounts, cli_option_at(cli, "account", i));
	if (cli_option(cli, "account"))
		json_put(policy, "accounts", json_ref(accounts));
	json_free(accounts);
}

int cmd_autoscale_set(struct cli *cli)
{
	static const char *const told[] = {"owner", "ownerName", "updatedAt", "version"};
	cleanup_json struct json *policy = NULL;
	cleanup_reply struct rest_reply reply = {0};
	const char *path = cli_query(cli, PATH, owner_query);
	struct error e = {0};
	struct http_header match[] = {{"If-Match", NULL}, {NULL, NULL}};
	enum err err = rest_call(&cli->rest, "GET", path, NULL, &policy, &e);

	if (err)
		return cli_fail(cli, err, &e);
	match[0].value = cli_text(cli, "\"v%lld\"", (long long)json_i64(policy, "version", 0));
	for (size_t i = 0; i < ARRAY_LEN(told); i++)
		json_del(policy, told[i]);
	if (!change(cli, policy))
		return EXIT_USAGE;
	change_accounts(cli, policy);
	err = rest_send(&cli->rest, "PUT", path, policy, match, &reply, &e);
	return err ? cli_fail(cli, err, &e) : show(cli, reply.json);
}

/* ---- plans ------------------------------------------------------------------------ */

static void print_plan(const struct cli *cli, const struct json *plan, bool done)
{
	const struct json *actions = json_get(plan, "actions"), *jobs = json_get(plan, "jobs");

	if (json_len(actions))
		output_table(cli, actions, action_columns);
	else
		puts(done ? "Nothing was to be done." : "Nothing is to be done.");
	if (json_len(jobs)) {
		putchar('\n');
		output_table(cli, jobs, job_columns);
	}
}

static int commit(struct cli *cli, const struct json *plan)
{
	cleanup_json struct json *done = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, "POST", cli_text(cli, PATH "/plan/%s/commit", cli_segment(cli, json_cstr(plan, "planId"))), NULL, &done, &e);

	if (err)
		return cli_fail(cli, err, &e);
	if (!output_as_json(cli, done))
		print_plan(cli, done, true);
	return EXIT_OK;
}

int cmd_plan(struct cli *cli)
{
	cleanup_json struct json *plan = NULL, *body = json_object();
	struct error e = {0};
	enum err err;

	if (cli_option(cli, "owner"))
		json_put_cstr(body, "owner", cli_option(cli, "owner"));
	err = rest_call(&cli->rest, "POST", PATH "/plan", body, &plan, &e);
	if (!err && !json_cstr(plan, "planId"))
		err = error_set(&e, ERR_UPSTREAM, "The server's answer is no plan.");
	if (err)
		return cli_fail(cli, err, &e);
	if (cli_option(cli, "commit"))
		return commit(cli, plan);
	if (!output_as_json(cli, plan))
		print_plan(cli, plan, false);
	return EXIT_OK;
}
