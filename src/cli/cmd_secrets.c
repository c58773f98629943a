/* cmd_secrets - one's own secrets: set, listed, removed; a value is never shown. */
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/output.h"

#define PATH "/api/gpu/secrets"

enum { VALUE_MOST = 32 << 10, READ_MOST = 2 * VALUE_MOST, CTRL_C = 3 };

static const struct column columns[] = {
	{"NAME", "name", SHOW_TEXT},
	{"CREATED", "createdAt", SHOW_TIME},
	{"CHANGED", "updatedAt", SHOW_TIME},
	{"USED", "lastUsedAt", SHOW_AGE},
	{NULL, NULL, SHOW_TEXT},
};

/* ---- reading a value ------------------------------------------------------ */

/* To the end of the input, or of its first line. */
static bool read_input(struct buf *ret, bool line)
{
	char c;
	ssize_t n;

	while ((n = read(STDIN_FILENO, &c, 1)) == 1 && !(line && c == '\n'))
		buf_addc(ret, c);
	if (!line && ret->len && ret->ptr[ret->len - 1] == '\n')
		ret->ptr[--ret->len] = '\0';
	return n >= 0 && !ret->failed;
}

/* Without echo.  Ctrl-C is a character meanwhile, so that the terminal is never left without echo. */
static int ask(struct cli *cli, struct buf *ret)
{
	struct termios before, quiet;
	bool read;

	if (tcgetattr(STDIN_FILENO, &before))
		return cli_usage(cli, "the terminal cannot be asked for the value");
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet))
		return cli_usage(cli, "the terminal does not stop showing what is typed");
	fputs("Value: ", stderr);
	read = read_input(ret, true);
	tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
	fputc('\n', stderr);
	if (read && str_index(buf_str(ret), CTRL_C) >= 0)
		return EXIT_INTERRUPTED;
	return read ? EXIT_OK : cli_usage(cli, "the value could not be read");
}

static int read_value(struct cli *cli, struct buf *ret)
{
	int code = EXIT_OK;

	if (isatty(STDIN_FILENO))
		code = ask(cli, ret);
	else if (!read_input(ret, false))
		return cli_usage(cli, "the value on standard input could not be read, or is larger than %d bytes", VALUE_MOST);
	if (code)
		return code;
	if (!ret->len)
		return cli_usage(cli, "the value is empty");
	if (ret->len > VALUE_MOST || !str_is_utf8(buf_str(ret)))
		return cli_usage(cli, ret->len > VALUE_MOST ? "the value is larger than %d bytes" : "the value is no text of at most %d bytes", VALUE_MOST);
	return EXIT_OK;
}

/* ---- the commands --------------------------------------------------------- */

int cmd_secrets_set(struct cli *cli)
{
	cleanup_buf struct buf value = BUF_SECRET(READ_MOST);
	cleanup_json struct json *body = json_object(), *reply = NULL;
	struct error e = {0};
	int code = read_value(cli, &value);
	enum err err;

	if (code)
		return code;
	json_put_cstr(body, "name", cli->args[0]);
	json_put_str(body, "value", buf_str(&value));
	err = rest_call(&cli->rest, "POST", PATH, body, &reply, &e);
	if (err)
		return cli_fail(cli, err, &e);
	if (reply && !output_as_json(cli, reply))
		output_fields(cli, reply, columns);
	return EXIT_OK;
}

int cmd_secrets_list(struct cli *cli)
{
	cleanup_json struct json *rows = NULL;
	struct error e = {0};
	enum err err = rest_call(&cli->rest, "GET", PATH, NULL, &rows, &e);

	if (err)
		return cli_fail(cli, err, &e);
	if (!output_as_json(cli, rows))
		output_table(cli, json_get(rows, "secrets"), columns);
	return EXIT_OK;
}

int cmd_secrets_remove(struct cli *cli)
{
	for (int i = 0; i < cli->arg_count; i++) {
		struct error e = {0};
		enum err err = rest_call(&cli->rest, "DELETE", cli_text(cli, PATH "/%s", cli_segment(cli, cli->args[i])), NULL, NULL, &e);

		if (err)
			return cli_fail(cli, err, &e);
	}
	return EXIT_OK;
}
