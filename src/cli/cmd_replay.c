/* cmd_replay - rounds of the autoscaler decided again, on this machine, by the code that decided them. */
#include <stdio.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/output.h"
#include "domain/autoscaler_doc.h"

#define PATH "/api/gpu/autoscale/rounds"

enum { ARENA = 1 << 30, TEXT_MOST = 64 << 20 };

static const struct column columns[] = {
	{"ROUND", "id", SHOW_TEXT}, {"AT", "at", SHOW_TIME}, {"WAS", "was", SHOW_TEXT}, {"IS NOW", "now", SHOW_TEXT}, {NULL, NULL, SHOW_TEXT}};

/* What can be changed, and its name in a snapshot's policy. */
static const struct {
	const char *option, *member;
	bool duration;
} members[] = {
	{"min", "min", false}, {"max", "max", false}, {"threshold", "threshold", false}, {"target-wait", "targetWait", true},
	{"up-delay", "upDelay", true}, {"down-delay", "downDelay", true}, {"idle-stop", "idleStop", true},
};

static bool is_none(const struct cli *cli, const char *option)
{
	const char *value = cli_option(cli, option);

	return value && !strcmp(value, "none");
}

/* The members that every policy is to have instead; NULL when an option was bad. */
static struct json *read_changes(struct cli *cli)
{
	struct json *changes = json_object();

	for (size_t i = 0; i < ARRAY_LEN(members); i++) {
		const char *option = members[i].option;
		int64_t value = 0;
		bool good = true;

		if (!cli_option(cli, option))
			continue;
		if (!members[i].duration)
			good = cli_option_i64(cli, option, 0, 1000000, &value);
		else if (strcmp(option, "idle-stop") != 0 || !is_none(cli, option))
			good = cli_option_seconds(cli, option, &value);
		if (!good) {
			json_free(changes);
			return NULL;
		}
		json_put_i64(changes, members[i].member, value);
	}
	if (cli_option(cli, "accelerator"))
		json_put_cstr(changes, "accelerator", is_none(cli, "accelerator") ? "" : cli_option(cli, "accelerator"));
	return changes;
}

static void change_policies(const struct cli *cli, const struct json *snapshot, const struct json *changes)
{
	const struct json *policies = json_get(snapshot, "policies");
	const char *owner = cli_option(cli, "owner");
	char id[24];

	for (size_t i = 0; i < json_len(policies); i++) {
		struct json *one = json_at(policies, i);

		snprintf(id, sizeof(id), "%lld", (long long)json_i64(one, "owner", 0));
		if (owner && strcmp(owner, id) != 0)
			continue;
		for (struct json_iter it = json_iter(changes); json_next(&it);)
			json_put(one, it.key, json_ref(it.value));
	}
}

/* "2 create, 1 stop later" (later: a delay was not over, though a plan may have been committed), or "nothing". */
static void count_actions(const struct json *actions, struct buf *ret)
{
	for (int a = 0; a < 2 * SCALE_ACTION_COUNT; a++) {
		bool later = a % 2;
		int n = 0;

		for (size_t i = 0; i < json_len(actions); i++)
			n += str_eqz(json_str(json_at(actions, i), "action"), scale_action_name((enum scale_action)(a / 2))) &&
			     json_has(json_at(actions, i), "dueAt") == later;
		if (n)
			buf_addf(ret, "%s%d %s%s", ret->len ? ", " : "", n, scale_action_name((enum scale_action)(a / 2)), later ? " later" : "");
	}
	if (!ret->len)
		buf_adds(ret, "nothing");
}

static enum err decide(const struct json *snapshot, struct buf *text, struct error *e)
{
	cleanup_arena struct arena a;
	struct scale_snapshot s;
	struct scale_result r;
	enum err err;

	arena_init(&a, ARENA);
	err = autoscaler_read(snapshot, &a, &s, e);
	if (!err)
		err = autoscaler_decide(&s, &a, &r, e);
	if (!err)
		autoscaler_write(&s, &r, text);
	return err;
}

/* Adds {id, at, same, was, now, decisions} to list. */
static enum err one(struct cli *cli, const char *id, const struct json *changes, struct json *list, bool *same, struct error *e)
{
	cleanup_json struct json *round = NULL, *decisions = NULL;
	cleanup_buf struct buf then = BUF_INIT(TEXT_MOST), now = BUF_INIT(TEXT_MOST), was = BUF_INIT(200), is = BUF_INIT(200);
	struct json *row;
	enum err err = rest_call(&cli->rest, "GET", cli_text(cli, PATH "/%s", cli_segment(cli, id)), NULL, &round, e);

	if (err)
		return err;
	json_write(json_get(round, "decisions"), &then);
	change_policies(cli, json_get(round, "snapshot"), changes);
	err = decide(json_get(round, "snapshot"), &now, e);
	if (!err)
		err = json_parse(buf_str(&now), TEXT_MOST, &decisions, e);
	if (err)
		return err;
	*same = str_eq(buf_str(&then), buf_str(&now));
	count_actions(json_path(round, "decisions.actions"), &was);
	count_actions(json_get(decisions, "actions"), &is);
	row = json_object();
	json_put_cstr(row, "id", json_cstr(round, "id"));
	json_put_cstr(row, "at", json_cstr(round, "at"));
	json_put_bool(row, "same", *same);
	json_put_cstr(row, "was", was.ptr);
	json_put_cstr(row, "now", is.ptr);
	json_put(row, "decisions", steal_ptr(decisions));
	json_add(list, row);
	return OK;
}

static enum err choose(struct cli *cli, struct json **ret, struct error *e)
{
	int64_t limit = 20;

	if (!cli_option_i64(cli, "limit", 1, 10000, &limit))
		return error_set(e, ERR_INVALID, "%s", "");
	if (!cli->arg_count)
		return cli_list(cli, PATH, "rounds", limit, ret, e);
	*ret = json_object();
	json_put(*ret, "rounds", json_array());
	for (int i = 0; i < cli->arg_count; i++) {
		struct json *named = json_object();

		json_put_cstr(named, "id", cli->args[i]);
		json_add(json_get(*ret, "rounds"), named);
	}
	return OK;
}

int cmd_replay(struct cli *cli)
{
	cleanup_json struct json *chosen = NULL, *changes = read_changes(cli), *reply = json_object();
	struct json *list = json_array();
	struct error e = {0};
	size_t others = 0;
	enum err err;

	json_put(reply, "rounds", list);
	if (!changes)
		return EXIT_USAGE;
	err = choose(cli, &chosen, &e);
	if (err && !e.msg[0])
		return EXIT_USAGE;
	for (size_t i = 0; !err && i < json_len(json_get(chosen, "rounds")); i++) {
		bool same = false;

		err = one(cli, json_cstr(json_at(json_get(chosen, "rounds"), i), "id"), changes, list, &same, &e);
		others += !err && !same;
	}
	if (err)
		return cli_fail(cli, err, &e);
	if (!output_as_json(cli, reply)) {
		output_table(cli, list, columns);
		printf("%zu of %zu rounds would be decided otherwise.\n", others, json_len(list));
	}
	/* Under the policy that it was, any difference is a fault. */
	return others && !json_len(changes) ? EXIT_FAILED : EXIT_OK;
}
