/* cmd_keys - sealing keys, on the server and as the user whose private keys they are. */
#include <stdio.h>

#include "base/clock.h"
#include "base/crashpoint.h"
#include "cli/commands.h"
#include "cli/output.h"
#include "domain/keys.h"

enum { WAIT_MS = 500, AGAIN_MS = 50 };

static const struct column columns[] = {
	{"KEY", "id", SHOW_TEXT}, {"STATE", "state", SHOW_TEXT}, {"SEALED", "used", SHOW_TEXT}, {"HERE", "here", SHOW_TEXT},
	{"MADE", "createdAt", SHOW_AGE}, {NULL, NULL, SHOW_TEXT},
};

/* What every one of them needs; an exit code, or -1 to go on. */
static int begin(struct cli *cli, enum seal_purpose *purpose, struct db **db)
{
	const char *name = cli_option(cli, "purpose");
	struct error e = {0};
	enum err err;

	if (!seal_purpose_parse(name ? name : "credentials", purpose))
		return cli_usage(cli, "--purpose must be credentials or secrets");
	if (!cli->config.database[0]) {
		err = error_set(&e, ERR_INVALID, "GPUPOOL_DATABASE is not set: a libpq connection string of the role gpupool_%s",
				*purpose == SEAL_SECRETS ? "secrets" : "provisioner");
		return cli_fail(cli, err, &e);
	}
	crashpoint_arm(cli->config.crash_at);
	err = db_open(&(struct db_options){.conninfo = cli->config.database, .application = "gpupool keys"}, db);
	return err ? cli_fail(cli, err, &e) : -1;
}

static enum err list_keys(struct cli *cli, struct db *db, enum seal_purpose purpose, struct json **ret, struct error *e)
{
	struct json *list = json_array();

	*ret = json_object();
	json_put(*ret, "keys", list);
	return keys_list(db, cli->config.keys, purpose, list, e);
}

/* Whether the private half of the key is among those here. */
static enum err is_here(struct cli *cli, struct db *db, enum seal_purpose purpose, int64_t id, bool *ret, struct error *e)
{
	cleanup_json struct json *all = NULL;
	enum err err = list_keys(cli, db, purpose, &all, e);
	const struct json *list = json_get(all, "keys");
	int64_t one;

	*ret = false;
	for (size_t i = 0; i < json_len(list); i++)
		if (str_to_id(json_str(json_at(list, i), "id"), &one) && one == id)
			*ret = json_bool(json_at(list, i), "here", false);
	return err;
}

int cmd_keys_list(struct cli *cli)
{
	cleanup_json struct json *all = NULL;
	cleanup_db struct db *db = NULL;
	enum seal_purpose purpose;
	struct error e = {0};
	int code = begin(cli, &purpose, &db);
	enum err err;

	if (code >= 0)
		return code;
	err = list_keys(cli, db, purpose, &all, &e);
	if (err)
		return cli_fail(cli, err, &e);
	if (!output_as_json(cli, all))
		output_table(cli, json_get(all, "keys"), columns);
	return EXIT_OK;
}

/* Repeating it is harmless. */
int cmd_keys_init(struct cli *cli)
{
	cleanup_db struct db *db = NULL;
	enum seal_purpose purpose;
	struct error e = {0};
	int64_t id = 0;
	bool here = true;
	int code = begin(cli, &purpose, &db);
	enum err err;

	if (code >= 0)
		return code;
	err = keys_init(db, cli->config.keys, purpose, &id, &e);
	if (!err) {
		printf("key %lld made: keep %s/%lld.key, which is in no backup of the database\n", (long long)id, cli->config.keys, (long long)id);
		return EXIT_OK;
	}
	if (err == ERR_CONFLICT && id) {
		err = is_here(cli, db, purpose, id, &here, &e);
		if (!err && here) {
			printf("key %lld is there\n", (long long)id);
			return EXIT_OK;
		}
		if (!err)
			err = error_set(&e, ERR_CONFLICT, "key %lld is active and its file is not in %s: bring it from the machine where it is",
					(long long)id, cli->config.keys);
	}
	return cli_fail(cli, err, &e);
}

/* ---- rotating --------------------------------------------------------------------- */

static void say(struct cli *cli, const struct keys_rotation *r, enum keys_step step)
{
	switch (step) {
	case KEYS_MADE: printf("key %lld made: %s/%lld.key\n", (long long)r->id, cli->config.keys, (long long)r->id); break;
	case KEYS_WAITS:
		printf("waiting until %s%s found %lld.key in the directory of keys\n", r->instance,
		       r->missing > 1 ? " and others have" : " has", (long long)r->id);
		break;
	case KEYS_ACTIVE: printf("key %lld is used from now on\n", (long long)r->id); break;
	case KEYS_SEALED: break;
	case KEYS_RETIRED:
		printf("%lld sealed anew; the keys before %lld are retired\n", (long long)r->count, (long long)r->id);
		break;
	}
	fflush(stdout);
}

/* A wait is said once for each that is waited for. */
static bool is_news(const struct keys_rotation *r, enum keys_step step, char last[sizeof(r->instance)])
{
	if (step != KEYS_WAITS)
		return true;
	if (!strcmp(last, r->instance))
		return false;
	snprintf(last, sizeof(r->instance), "%s", r->instance);
	return true;
}

int cmd_keys_rotate(struct cli *cli)
{
	cleanup_db struct db *db = NULL;
	struct keys_rotation r = {0};
	enum keys_step step = KEYS_MADE;
	enum seal_purpose purpose;
	char last[sizeof(r.instance)] = "";
	struct error e = {0};
	int64_t most = -1, begun = clock_ms();
	int code;

	if (!cli_option_seconds(cli, "wait", &most))
		return EXIT_USAGE;
	code = begin(cli, &purpose, &db);
	if (code >= 0)
		return code;
	while (step != KEYS_RETIRED) {
		enum err err = keys_rotate(db, cli->config.keys, purpose, &r, &step, &e);

		if (err)
			return cli_fail(cli, err, &e);
		if (is_news(&r, step, last))
			say(cli, &r, step);
		if (step == KEYS_WAITS && most >= 0 && clock_ms() - begun >= most * 1000) {
			err = error_set(&e, ERR_TIMEOUT, "%s has no key %lld yet; the next `gpupool keys rotate` goes on from here", r.instance, (long long)r.id);
			return cli_fail(cli, err, &e);
		}
		if (step == KEYS_WAITS || step == KEYS_SEALED)
			clock_sleep_ms(step == KEYS_WAITS ? WAIT_MS : AGAIN_MS);
	}
	return EXIT_OK;
}
