/* cmd_accounts - accounts at providers, over the REST API. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/output.h"

#define PATH "/api/gpu/accounts"

static const struct column list_columns[] = {
	{"ID", "id", SHOW_TEXT},
	{"PROVIDER", "provider", SHOW_TEXT},
	{"OWNER", "owner", SHOW_TEXT},
	{"USER", "identity", SHOW_TEXT},
	{"LABEL", "label", SHOW_TEXT},
	{"STATUS", "status", SHOW_TEXT},
	{"CHECKED", "checkedAt", SHOW_AGE},
	{"REASON", "reason", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

static const struct column show_columns[] = {
	{"id", "id", SHOW_TEXT},
	{"provider", "provider", SHOW_TEXT},
	{"owner", "owner", SHOW_TEXT},
	{"user there", "identity", SHOW_TEXT},
	{"label", "label", SHOW_TEXT},
	{"status", "status", SHOW_TEXT},
	{"reason", "reason", SHOW_TEXT},
	{"checked", "checkedAt", SHOW_TIME},
	{"sharing", "sharing", SHOW_TEXT},
	{"created", "createdAt", SHOW_TIME},
	{NULL, NULL, SHOW_TEXT},
};

static const char *path_of(struct cli *cli, const char *more)
{
	return cli_text(cli, PATH "/%s%s", cli_segment(cli, cli->args[0]), more);
}

/* A call whose answer is the account. */
static int call(struct cli *cli, const char *method, const char *path, const struct json *body)
{
	cleanup_json struct json *account = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, method, path, body, &account, &e);

	if (err)
		return cli_fail(cli, err, &e);
	if (account && !output_as_json(cli, account))
		output_fields(cli, account, show_columns);
	return EXIT_OK;
}

/* ---- credentials ---------------------------------------------------------- */

static bool ask(struct cli *cli, struct json *credentials)
{
	struct str name, secret;

	if (!cli_ask(cli, "Kaggle user name (empty for an API token): ", false, &name) ||
	    !cli_ask(cli, name.len ? "key: " : "API token: ", true, &secret) || !secret.len) {
		cli_usage(cli, "no credentials were given; --kaggle-json FILE reads the file that Kaggle makes");
		return false;
	}
	if (name.len)
		json_put_str(credentials, "username", name);
	json_put_str(credentials, name.len ? "key" : "token", secret);
	return true;
}

bool cli_put_credentials(struct cli *cli, struct json *body)
{
	const char *file = cli_option(cli, "kaggle-json");
	struct json *credentials = json_object();
	struct str text;
	bool ok;

	if (!file) {
		ok = ask(cli, credentials);
	} else if ((ok = cli_read_secret(cli, file, &text))) {
		json_free(credentials);
		credentials = json_new_str(text); /* the server knows its forms */
	}
	if (ok)
		json_put(body, "credentials", credentials);
	else
		json_free(credentials);
	return ok;
}

/* ---- commands ------------------------------------------------------------- */

int cmd_accounts_list(struct cli *cli)
{
	cleanup_json struct json *list = NULL;
	struct error e = {0};
	enum err err = cli_list(cli, PATH, "accounts", 0, &list, &e);

	if (err)
		return cli_fail(cli, err, &e);
	if (!output_as_json(cli, list))
		output_table(cli, json_get(list, "accounts"), list_columns);
	return EXIT_OK;
}

int cmd_accounts_show(struct cli *cli)
{
	return call(cli, "GET", path_of(cli, ""), NULL);
}

/* A file of Google's, as the server takes it. */
static bool put_google(struct cli *cli, struct json *body)
{
	const char *client = cli_option(cli, "client-json"), *key = cli_option(cli, "key-file");
	struct json *credentials;
	struct str text;

	if (!cli_read_secret(cli, client ? client : key, &text))
		return false;
	if (client) {
		json_put(body, "credentials", json_new_str(text));
		return true;
	}
	credentials = json_object();
	json_put_str(credentials, "serviceAccount", text);
	cli_put_text(cli, credentials, "project", "project");
	cli_put_text(cli, credentials, "region", "region");
	cli_put_text(cli, credentials, "bucket", "bucket");
	json_put(body, "credentials", credentials);
	return true;
}

/* What a provider needs beyond what was given the server says. */
int cmd_accounts_add(struct cli *cli)
{
	cleanup_json struct json *body = json_object();

	json_put_cstr(body, "provider", cli->args[0]);
	cli_put_text(cli, body, "label", "label");
	if ((cli_option(cli, "kaggle-json") || !strcmp(cli->args[0], "kaggle")) && !cli_put_credentials(cli, body))
		return EXIT_USAGE;
	if ((cli_option(cli, "client-json") || cli_option(cli, "key-file")) && !put_google(cli, body))
		return EXIT_USAGE;
	if (cli_option(cli, "compute-units"))
		json_put_bool(body, "computeUnits", true);
	return call(cli, "POST", PATH, body);
}

int cmd_accounts_connect(struct cli *cli)
{
	cleanup_json struct json *body = json_object(), *reply = NULL;
	struct error e = {0};
	enum err err;

	cli_put_text(cli, body, "start", "start");
	err = rest_call(&cli->rest, "POST", path_of(cli, "/consent"), body, &reply, &e);
	if (err)
		return cli_fail(cli, err, &e);
	if (output_as_json(cli, reply))
		return EXIT_OK;
	output_text(cli, json_str(reply, "url"));
	putchar('\n');
	fprintf(stderr, "open it in the browser in which you are signed in here\n");
	return EXIT_OK;
}

int cmd_accounts_replace(struct cli *cli)
{
	cleanup_json struct json *body = json_object();

	return cli_put_credentials(cli, body) ? call(cli, "PATCH", path_of(cli, ""), body) : EXIT_USAGE;
}

int cmd_accounts_check(struct cli *cli)
{
	return call(cli, "POST", path_of(cli, "/check"), NULL);
}

int cmd_accounts_remove(struct cli *cli)
{
	return call(cli, "DELETE", path_of(cli, cli_option(cli, "abandon") ? "?abandon=true" : ""), NULL);
}

/* ---- budget --------------------------------------------------------------- */

static const struct column budget_columns[] = {
	{"month", "month", SHOW_TEXT},
	{"cap", "monthSeconds", SHOW_HOURS},
	{"used", "usedSeconds", SHOW_HOURS},
	{"reserved", "reservedSeconds", SHOW_HOURS},
	{"cap of money", "monthMoney", SHOW_TEXT},
	{"spent, by the prices", "usedMoney", SHOW_TEXT},
	{"reserved, by the prices", "reservedMoney", SHOW_TEXT},
	{"currency", "currency", SHOW_TEXT},
	{"next month", "resetsAt", SHOW_TIME},
	{NULL, NULL, SHOW_TEXT},
};

static const struct column price_columns[] = {
	{"ACCELERATOR", "accelerator", SHOW_TEXT},
	{"AN HOUR", "perHour", SHOW_TEXT},
	{"AS OF", "asOf", SHOW_TEXT},
	{"SOURCE", "source", SHOW_TEXT},
	{NULL, NULL, SHOW_TEXT},
};

/* A number of at least 0, or "none"; false after it has said what is wrong. */
static bool put_amount(struct cli *cli, struct json *budget, const char *option, const char *key, double times)
{
	const char *text = cli_option(cli, option);
	double value;

	if (!text)
		return true;
	if (!strcmp(text, "none")) {
		json_put(budget, key, json_null());
		return true;
	}
	if (!str_to_double(str_of(text), &value) || value < 0 || value * times > 1e9) {
		cli_usage(cli, "--%s takes a number, or none", option);
		return false;
	}
	if (times > 1)
		json_put_i64(budget, key, (int64_t)(value * times + 0.5));
	else
		json_put_double(budget, key, value);
	return true;
}

static bool put_prices(struct cli *cli, struct json *budget)
{
	struct json *prices = json_array();
	const char *text;

	if (cli_option(cli, "price"))
		json_put(budget, "prices", prices);
	else
		json_free(prices);
	for (size_t i = 0; (text = cli_option_at(cli, "price", i)); i++) {
		struct str rest = str_of(text), name;
		struct json *price = json_object();
		double value;

		json_add(prices, price);
		if (!str_cut(&rest, '=', &name) || !name.len || !str_to_double(rest, &value) || value < 0) {
			cli_usage(cli, "--price takes NAME=AMOUNT, such as T4=0.54");
			return false;
		}
		json_put_str(price, "accelerator", name);
		json_put_double(price, "perHour", value);
		if (cli_option(cli, "source"))
			json_put_cstr(price, "source", cli_option(cli, "source"));
	}
	return true;
}

/* What is not named stays as it is: the server takes both caps together. */
static void keep(struct json *budget, const struct json *was, const char *key)
{
	if (!json_has(budget, key) && json_get(was, key))
		json_put(budget, key, json_ref(json_get(was, key)));
}

int cmd_accounts_budget(struct cli *cli)
{
	cleanup_json struct json *account = NULL, *body = json_object(), *changed = NULL;
	struct json *budget = json_object();
	const struct json *shown;
	struct error e = {0};
	enum err err;

	json_put(body, "budget", budget);
	if (!put_amount(cli, budget, "hours", "monthSeconds", 3600) || !put_amount(cli, budget, "money", "monthMoney", 1) || !put_prices(cli, budget))
		return EXIT_USAGE;
	if (cli_option(cli, "currency"))
		json_put_cstr(budget, "currency", cli_option(cli, "currency"));
	err = rest_call(&cli->rest, "GET", path_of(cli, ""), NULL, &account, &e);
	if (!err && json_len(budget)) {
		keep(budget, json_get(account, "budget"), "monthSeconds");
		keep(budget, json_get(account, "budget"), "monthMoney");
		err = rest_call(&cli->rest, "PATCH", path_of(cli, ""), body, &changed, &e);
	}
	if (err)
		return cli_fail(cli, err, &e);
	shown = json_get(changed ? changed : account, "budget");
	if (output_as_json(cli, shown))
		return EXIT_OK;
	output_fields(cli, shown, budget_columns);
	if (json_len(json_get(shown, "prices")))
		output_table(cli, json_get(shown, "prices"), price_columns);
	return EXIT_OK;
}
