/* command - parses the command line and runs one row of the table.  See cli/command.h. */
#include "cli/command.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/crypto.h"
#include "base/log.h"
#include "cli/files.h"
#include "cli/output.h"

enum { ARENA_MOST = 512 << 20, TOKEN_MOST = 4096 };

const struct option global_options[] = {
	{"server", "URL", "base address of the server (GPUPOOL_PUBLIC_URL, else http://127.0.0.1:GPUPOOL_PORT)", false},
	{"token-file", "FILE", "file that holds the token (GPUPOOL_TOKEN; ~/.config/gpupool/token; STATE/admin-token)", false},
	{"json", NULL, "print the server's JSON", false},
	{"raw", NULL, "print control characters of names, logs and results as they are", false},
	{"help", NULL, "say what this command does", false},
	{NULL, NULL, NULL, false},
};

/* ---- what was given ------------------------------------------------------- */

const char *cli_option_at(const struct cli *cli, const char *name, size_t i)
{
	for (size_t k = 0; k < cli->given_count; k++)
		if (!strcmp(cli->given[k].option->name, name) && i-- == 0)
			return cli->given[k].value;
	return NULL;
}

const char *cli_option(const struct cli *cli, const char *name)
{
	for (size_t k = cli->given_count; k-- > 0;)
		if (!strcmp(cli->given[k].option->name, name))
			return cli->given[k].value;
	return NULL;
}

bool cli_option_i64(const struct cli *cli, const char *name, long min, long max, int64_t *ret)
{
	const char *value = cli_option(cli, name);

	if (!value || str_to_i64(str_of(value), min, max, ret))
		return true;
	cli_usage(cli, "--%s must be a whole number from %ld to %ld, not \"%s\"", name, min, max, value);
	return false;
}

bool cli_option_seconds(const struct cli *cli, const char *name, int64_t *ret)
{
	const char *value = cli_option(cli, name);

	if (!value || str_to_duration(str_of(value), ret))
		return true;
	cli_usage(cli, "--%s must be a duration such as 90, 90s, 15m, 2h or 7d, not \"%s\"", name, value);
	return false;
}

char *cli_text(struct cli *cli, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = arena_vprintf(&cli->arena, fmt, ap);
	va_end(ap);
	if (!text)
		error_no_memory();
	return text;
}

const char *cli_segment(struct cli *cli, const char *s)
{
	cleanup_buf struct buf b = BUF_INIT(16384);

	buf_add_url(&b, str_of(s));
	return cli_text(cli, "%s", b.ptr ? b.ptr : "");
}

/* ---- failing -------------------------------------------------------------- */

static int exit_code(enum err err)
{
	switch (err) {
	case ERR_OK: return EXIT_OK;
	case ERR_INVALID:
	case ERR_METHOD:
	case ERR_TOO_LARGE:
	case ERR_MEDIA_TYPE:
	case ERR_UNPROCESSABLE: return EXIT_USAGE;
	case ERR_UNAUTHORIZED:
	case ERR_FORBIDDEN: return EXIT_DENIED;
	case ERR_NOT_FOUND: return EXIT_NOT_FOUND;
	case ERR_CONFLICT:
	case ERR_GONE:
	case ERR_PRECONDITION:
	case ERR_QUOTA: return EXIT_CONFLICT;
	case ERR_RATE:
	case ERR_UNAVAILABLE: return EXIT_UNREACHABLE;
	case ERR_TIMEOUT: return EXIT_TIMEOUT;
	case ERR_MISDIRECTED:
	case ERR_INTERNAL:
	case ERR_UPSTREAM:
	case ERR_COUNT: break;
	}
	return EXIT_OTHER;
}

int cli_fail(const struct cli *cli, enum err err, const struct error *e)
{
	cleanup_buf struct buf text = BUF_INIT(4096);

	buf_add_text(&text, str_of(e->msg), !cli->raw);
	fprintf(stderr, "gpupool: %s\n", text.ptr ? text.ptr : err_name(err));
	if (err == ERR_UNAUTHORIZED)
		fprintf(stderr, "gpupool: give a token in GPUPOOL_TOKEN, by --token-file, or in ~/.config/gpupool/token\n");
	return exit_code(err);
}

int cli_usage(const struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	fputs("gpupool: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (cli->command)
		fprintf(stderr, "\ntry: gpupool %s --help", cli->command->words);
	fputc('\n', stderr);
	return EXIT_USAGE;
}

/* ---- parsing -------------------------------------------------------------- */

/* How many of argv's first words the row's words are; 0 = it is not meant. */
static int words_match(const char *words, int argc, char **argv)
{
	struct str rest = str_of(words), word;
	int n = 0;

	while (str_cut(&rest, ' ', &word)) {
		if (n >= argc || !str_eqz(word, argv[n]))
			return 0;
		n++;
	}
	return n;
}

static const struct option *find_option(const struct command *c, struct str name)
{
	const struct option *lists[] = {c ? c->options : NULL, global_options};

	for (size_t l = 0; l < ARRAY_LEN(lists); l++)
		for (const struct option *o = lists[l]; o && o->name; o++)
			if (str_eqz(name, o->name))
				return o;
	return NULL;
}

/* One option at argv[i]; gives the index of the last word it used, or -1. */
static int take_option(struct cli *cli, int argc, char **argv, int i)
{
	struct str rest = str_of(argv[i] + 2), name;
	bool has_value = str_index(rest, '=') >= 0;
	const struct option *o;
	const char *value = "";

	str_cut(&rest, '=', &name);
	o = find_option(cli->command, name);
	if (!o)
		return cli_usage(cli, "there is no option --%.*s here", STR_ARG(name)), -1;
	if (has_value && !o->value)
		return cli_usage(cli, "--%s takes no value", o->name), -1;
	if (has_value)
		value = rest.ptr ? rest.ptr : "";
	else if (o->value && i + 1 >= argc)
		return cli_usage(cli, "--%s needs a value: %s", o->name, o->value), -1;
	else if (o->value)
		value = argv[++i];
	if (cli->given_count >= GIVEN_MOST)
		return cli_usage(cli, "too many options"), -1;
	cli->given[cli->given_count++] = (struct given){o, value};
	return i;
}

/* Options into cli->given, the other words into cli->args. */
static bool parse_words(struct cli *cli, int argc, char **argv)
{
	bool only_args = false;

	for (int i = 0; i < argc; i++) {
		if (!only_args && !strcmp(argv[i], "--")) {
			only_args = true;
		} else if (!only_args && !strncmp(argv[i], "--", 2)) {
			i = take_option(cli, argc, argv, i);
			if (i < 0)
				return false;
		} else if (!only_args && argv[i][0] == '-' && argv[i][1] && strcmp(argv[i], "-h")) {
			cli_usage(cli, "options have two dashes and a whole name: %s is none", argv[i]);
			return false;
		} else if (!only_args && !strcmp(argv[i], "-h")) {
			cli->given[cli->given_count++] = (struct given){find_option(NULL, STR("help")), ""};
		} else {
			cli->args[cli->arg_count++] = argv[i];
		}
	}
	return true;
}

/* Global options may stand before the words too; *at is moved past them. */
static bool parse_globals(struct cli *cli, int argc, char **argv, int *at)
{
	while (*at < argc && argv[*at][0] == '-') {
		if (!strcmp(argv[*at], "-h")) {
			cli->given[cli->given_count++] = (struct given){find_option(NULL, STR("help")), ""};
		} else if (!strncmp(argv[*at], "--", 2) && argv[*at][2]) {
			*at = take_option(cli, argc, argv, *at);
			if (*at < 0)
				return false;
		} else {
			return cli_usage(cli, "unknown option %s", argv[*at]), false;
		}
		++*at;
	}
	return true;
}

static void find_command(struct cli *cli, int argc, char **argv, int *words)
{
	*words = 0;
	for (size_t i = 0; i < command_count; i++) {
		int n = words_match(commands[i].words, argc, argv);

		if (n > *words) {
			*words = n;
			cli->command = &commands[i];
		}
	}
}

/* ---- what a command needs ------------------------------------------------- */

static bool read_token(struct cli *cli, const char *path, const char **ret)
{
	cleanup_buf struct buf text = {0};
	struct error e;
	struct str token;

	if (!path || files_read(path, TOKEN_MOST, &text, &e))
		return false;
	token = str_trim(buf_str(&text));
	if (!token.len || strcspn(text.ptr, "\r\n") < token.len)
		return false;
	*ret = cli_text(cli, "%.*s", STR_ARG(token));
	return true;
}

static const char *find_token(struct cli *cli, int *failed)
{
	const char *file = cli_option(cli, "token-file"), *given = getenv("GPUPOOL_TOKEN"), *home = getenv("HOME"), *xdg = getenv("XDG_CONFIG_HOME");
	const char *token = NULL;

	*failed = 0;
	if (file) {
		if (!read_token(cli, file, &token))
			*failed = cli_usage(cli, "%s holds no token that can be read", file);
		return token;
	}
	if (given && given[0])
		return given;
	if (xdg && read_token(cli, cli_text(cli, "%s/gpupool/token", xdg), &token))
		return token;
	if (home && read_token(cli, cli_text(cli, "%s/.config/gpupool/token", home), &token))
		return token;
	read_token(cli, cli_text(cli, "%s/admin-token", cli->config.state), &token);
	return token;
}

static const char *find_server(struct cli *cli)
{
	const char *given = cli_option(cli, "server");
	struct str url;

	if (!given)
		given = cli->config.public_url;
	if (!given || !given[0])
		given = cli_text(cli, "http://127.0.0.1:%d", (int)cli->config.port);
	url = str_of(given);
	while (str_ends(url, "/"))
		url.len--;
	return cli_text(cli, "%.*s", STR_ARG(url));
}

static int prepare(struct cli *cli)
{
	struct error e = {0};
	enum err err = config_load(&cli->arena, getenv("GPUPOOL_CONFIG"), &cli->config, &e);
	enum log_level level = LOG_WARN;
	const char *token;
	int failed;

	if (err)
		return cli_fail(cli, err, &e);
	if (getenv("GPUPOOL_LOG_LEVEL") && !log_level_parse(cli->config.log_level, &level))
		level = LOG_WARN;
	log_init("gpupool", level);
	crypto_init();
	if (!(cli->command->flags & NEEDS_SERVER))
		return EXIT_OK;
	token = find_token(cli, &failed);
	if (failed)
		return failed;
	rest_open(&cli->rest, find_server(cli), token);
	if (!token && !(cli->command->flags & NO_TOKEN))
		return cli_fail(cli, ERR_UNAUTHORIZED, &(struct error){.msg = "There is no token to sign in with."});
	return EXIT_OK;
}

static int run(struct cli *cli)
{
	const struct command *c = cli->command;
	int code;

	cli->json = cli_option(cli, "json");
	cli->raw = cli_option(cli, "raw");
	if (cli_option(cli, "help")) {
		command_help(c);
		return EXIT_OK;
	}
	if (cli->arg_count < c->least || (c->most >= 0 && cli->arg_count > c->most))
		return cli_usage(cli, "%s wants %s", c->words, c->args[0] ? c->args : "no arguments");
	code = prepare(cli);
	return code ? code : c->run(cli);
}

int cli_main(int argc, char **argv)
{
	struct cli cli = {0};
	int at = 1, words, code;

	arena_init(&cli.arena, ARENA_MOST);
	cli.given = arena_array(&cli.arena, GIVEN_MOST + 1, sizeof(*cli.given));
	cli.args = arena_array(&cli.arena, (size_t)argc + 1, sizeof(*cli.args));
	if (!parse_globals(&cli, argc, argv, &at)) {
		code = EXIT_USAGE;
	} else if (at == argc || !strcmp(argv[at], "help")) {
		command_overview(at + 1 < argc ? argv[at + 1] : "");
		code = at == argc && !cli_option(&cli, "help") ? EXIT_USAGE : EXIT_OK;
	} else {
		find_command(&cli, argc - at, argv + at, &words);
		if (!cli.command) {
			command_overview(argv[at]);
			code = cli_usage(&cli, "there is no command %s%s%s", argv[at], at + 1 < argc ? " " : "", at + 1 < argc ? argv[at + 1] : "");
		} else {
			code = parse_words(&cli, argc - at - words, argv + at + words) ? run(&cli) : EXIT_USAGE;
		}
	}
	if (cli.rest.http)
		rest_close(&cli.rest);
	arena_free(&cli.arena);
	if (fflush(stdout) || ferror(stdout))
		code = code ? code : EXIT_OTHER;
	return code;
}
