/* cmd_shared - pages, queries and Ctrl-C, for the commands.  See cli/commands.h. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/crypto.h"
#include "cli/commands.h"
#include "cli/files.h"

enum { PAGE = 500, LINE_MOST = 4096 };

enum err cli_list(struct cli *cli, const char *path, const char *key, int64_t most, struct json **ret, struct error *e)
{
	struct json *all = json_array();
	const char *page = "", *separator = strchr(path, '?') ? "&" : "?";
	enum err err = OK;

	while (!err && page) {
		cleanup_json struct json *part = NULL;
		int64_t want = most && most - (int64_t)json_len(all) < PAGE ? most - (int64_t)json_len(all) : PAGE;
		struct json *rows;

		err = rest_call(&cli->rest, "GET", cli_text(cli, "%s%slimit=%lld%s%s", path, separator, (long long)want, page[0] ? "&pageToken=" : "", page), NULL, &part, e);
		if (err)
			break;
		rows = json_get(part, key);
		for (size_t i = 0; i < json_len(rows); i++)
			json_add(all, json_ref(json_at(rows, i)));
		page = json_cstr(part, "nextPageToken");
		if (page)
			page = cli_segment(cli, page);
		if (!json_len(rows) || (most && (int64_t)json_len(all) >= most))
			page = NULL;
	}
	if (err) {
		json_free(all);
		return err;
	}
	json_free(*ret);
	*ret = json_object();
	json_put(*ret, key, all);
	return OK;
}

const char *cli_query(struct cli *cli, const char *path, const struct query_option *options)
{
	cleanup_buf struct buf b = BUF_INIT(1 << 16);
	char separator = strchr(path, '?') ? '&' : '?';

	buf_adds(&b, path);
	for (; options->option; options++) {
		const char *value = cli_option(cli, options->option);

		if (!value)
			continue;
		buf_addf(&b, "%c%s=", separator, options->query);
		buf_add_url(&b, str_of(value));
		separator = '&';
	}
	return cli_text(cli, "%s", b.ptr);
}

void cli_put_text(struct cli *cli, struct json *body, const char *option, const char *field)
{
	if (cli_option(cli, option))
		json_put_cstr(body, field, cli_option(cli, option));
}

/* ---- what others must not read ------------------------------------------- */

bool cli_read_secret(struct cli *cli, const char *path, struct str *ret)
{
	cleanup_buf struct buf text = {0};
	struct error e = {0};

	if (files_read(strcmp(path, "-") ? path : "/dev/stdin", CLI_SECRET_MOST, &text, &e)) {
		cli_usage(cli, "%s", e.msg);
		return false;
	}
	*ret = str_of(cli_text(cli, "%.*s", STR_ARG(str_trim(buf_str(&text)))));
	crypto_wipe(text.ptr, text.len);
	return true;
}

bool cli_ask(struct cli *cli, const char *prompt, bool unseen, struct str *ret)
{
	struct termios before, after;
	bool terminal = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &before) == 0, got;
	char line[LINE_MOST];

	if (terminal) {
		after = before;
		if (unseen)
			after.c_lflag &= ~(tcflag_t)ECHO;
		/* Before the prompt, since it drops what was typed until now. */
		tcsetattr(STDIN_FILENO, TCSAFLUSH, &after);
		fputs(prompt, stderr);
	}
	got = fgets(line, sizeof(line), stdin);
	if (terminal) {
		tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
		if (unseen)
			fputc('\n', stderr);
	}
	if (got) {
		line[strcspn(line, "\r\n")] = '\0';
		*ret = str_of(cli_text(cli, "%s", line));
		crypto_wipe(line, sizeof(line));
	}
	return got;
}

/* ---- Ctrl-C ---------------------------------------------------------------- */

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	interrupted = 1;
}

void cli_catch_interrupt(void)
{
	/* No SA_RESTART: a sleep ends at once. */
	struct sigaction act = {.sa_handler = on_interrupt, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &act, NULL);
}

bool cli_interrupted(void)
{
	return interrupted;
}
