/* cmd_policies - an administrator's changes of what providers allow. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"

/* Options of a resource's limits; those that are `open` take "none". */
static const struct {
	const char *option, *field;
	bool seconds, open;
} limits[] = {
	{"session", "sessionSeconds", true, true}, {"session-margin", "sessionMarginSeconds", true, false},
	{"week", "weekSeconds", true, true},       {"week-margin", "weekMarginSeconds", true, false},
	{"concurrent", "concurrent", false, true}, {"min-session", "minSessionSeconds", true, false},
	{"idle", "idleSeconds", true, true},
};

/* False after saying what is wrong with a value. */
static bool put_limits(struct cli *cli, struct json *body)
{
	for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
		const char *given = cli_option(cli, limits[i].option);
		int64_t value = 0;

		if (!given)
			continue;
		if (limits[i].open && !strcmp(given, "none")) {
			json_put(body, limits[i].field, json_null());
			continue;
		}
		if (!(limits[i].seconds ? cli_option_seconds(cli, limits[i].option, &value) : cli_option_i64(cli, limits[i].option, 1, 1000, &value)))
			return false;
		json_put_i64(body, limits[i].field, value);
	}
	return true;
}

static bool put_terms(struct cli *cli, struct json *body)
{
	const char *sharing = cli_option(cli, "sharing");

	if (sharing && strcmp(sharing, "yes") != 0 && strcmp(sharing, "no") != 0)
		return cli_usage(cli, "--sharing must be yes or no, not \"%s\"", sharing), false;
	if (sharing)
		json_put_bool(body, "sharingAllowed", !strcmp(sharing, "yes"));
	cli_put_text(cli, body, "notice", "notice");
	return true;
}

/* Terms are the provider's, limits a resource's: an option of the other kind would change nothing. */
static bool fits(struct cli *cli, bool of_resource)
{
	static const char *const terms[] = {"sharing", "notice"};

	for (size_t i = 0; of_resource && i < ARRAY_LEN(terms); i++)
		if (cli_option(cli, terms[i]))
			return cli_usage(cli, "--%s is of the provider, not of one resource", terms[i]), false;
	for (size_t i = 0; !of_resource && i < ARRAY_LEN(limits); i++)
		if (cli_option(cli, limits[i].option))
			return cli_usage(cli, "--%s is of one resource: name cpu, gpu or tpu after the provider", limits[i].option), false;
	return true;
}

int cmd_policies_set(struct cli *cli)
{
	cleanup_json struct json *body = json_object(), *list = json_array();
	cleanup_reply struct rest_reply reply = {0};
	struct error e = {0};
	bool of_resource = cli->arg_count > 1;
	const char *path = cli_text(cli, "/api/gpu/policies/%s", cli_segment(cli, cli->args[0]));
	enum err err;

	if (of_resource)
		path = cli_text(cli, "%s/limits/%s", path, cli_segment(cli, cli->args[1]));
	if (!cli_option(cli, "source"))
		return cli_usage(cli, "say with --source where this is said");
	json_put_cstr(body, "source", cli_option(cli, "source"));
	if (!fits(cli, of_resource) || !put_limits(cli, body) || !put_terms(cli, body))
		return EXIT_USAGE;
	err = rest_send(&cli->rest, "PATCH", path, body, NULL, &reply, &e);
	if (err)
		return cli_fail(cli, err, &e);
	json_add(list, json_ref(reply.json));
	return cli_show_policies(cli, list);
}
