/* command_help - help texts and bash completion, made from the table.  See cli/command.h. */
#include "cli/command.h"

#include <stdio.h>

static void option_help(const struct option *o)
{
	char left[64];

	snprintf(left, sizeof(left), "--%s%s%s", o->name, o->value ? " " : "", o->value ? o->value : "");
	printf("  %-26s %s%s\n", left, o->help, o->many ? "; may be repeated" : "");
}

void command_help(const struct command *c)
{
	printf("usage: gpupool %s%s%s%s\n\n%s.\n", c->words, c->options ? " [options]" : "", c->args[0] ? " " : "", c->args, c->help);
	if (c->options)
		puts("\noptions:");
	for (const struct option *o = c->options; o && o->name; o++)
		option_help(o);
	puts("\nalways:");
	for (const struct option *o = global_options; o->name; o++)
		option_help(o);
}

void command_overview(const char *prefix)
{
	bool any = false;

	for (size_t i = 0; i < command_count; i++)
		any |= !strncmp(commands[i].words, prefix, strlen(prefix));
	if (!any)
		prefix = "";
	puts("usage: gpupool [--server URL] [--token-file FILE] [--json] COMMAND …\n");
	for (size_t i = 0; i < command_count; i++)
		if (!strncmp(commands[i].words, prefix, strlen(prefix)))
			printf("  %-18s %s\n", commands[i].words, commands[i].help);
	puts("\n`gpupool COMMAND --help` tells a command's arguments and options.");
	puts("exit status: 0 done, 1 a job failed, 2 usage, 3 not found, 4 not allowed, 5 conflict,");
	puts("             6 server not reachable, 7 timed out, 8 another error, 130 interrupted");
}

/* ---- completion ----------------------------------------------------------- */

/* The words that may follow `given` words of a row equal to prefix. */
static void next_words(const char *prefix)
{
	size_t len = strlen(prefix);
	struct str last = STR_NULL;

	for (size_t i = 0; i < command_count; i++) {
		struct str rest, word;

		if (strncmp(commands[i].words, prefix, len) || (len && commands[i].words[len] != ' '))
			continue;
		rest = str_of(commands[i].words + len + (len ? 1 : 0));
		str_cut(&rest, ' ', &word);
		if (!last.ptr || !str_eq(word, last)) /* the table is sorted */
			printf("%.*s ", STR_ARG(word));
		last = word;
	}
}

static void options_of(const struct option *o)
{
	for (; o && o->name; o++)
		printf("--%s%s ", o->name, o->value ? "=" : "");
}

void command_completion(void)
{
	struct str last = STR_NULL;

	puts("# bash completion for gpupool; made by `gpupool completion bash`\n"
	     "_gpupool() {\n"
	     "    local cur=${COMP_WORDS[COMP_CWORD]} words='' word options=''\n"
	     "    COMPREPLY=()\n"
	     "    [[ $cur == '=' ]] && cur=''\n"
	     "    if [[ ${COMP_WORDS[COMP_CWORD-1]} == '=' || $cur == *=* ]]; then\n"
	     "        COMPREPLY=($(compgen -f -- \"${cur#*=}\"))\n"
	     "        return\n"
	     "    fi\n"
	     "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
	     "        [[ $word == -* || $word == '=' ]] || words+=\"${words:+ }$word\"\n"
	     "    done\n"
	     "    case $words in");
	printf("    '') options='");
	next_words("");
	puts("help' ;;");
	for (size_t i = 0; i < command_count; i++) {
		struct str rest = str_of(commands[i].words), first;

		str_cut(&rest, ' ', &first);
		if (rest.ptr && (!last.ptr || !str_eq(first, last))) {
			char group[64];

			snprintf(group, sizeof(group), "%.*s", STR_ARG(first));
			printf("    '%s') options='", group);
			next_words(group);
			puts("' ;;");
		}
		last = first;
	}
	for (size_t i = 0; i < command_count; i++) {
		printf("    '%s' | '%s '*) options='", commands[i].words, commands[i].words);
		options_of(commands[i].options);
		puts("' ;;");
	}
	printf("    esac\n    [[ $cur == -* ]] && options+=' ");
	options_of(global_options);
	puts("'\n"
	     "    COMPREPLY=($(compgen -W \"$options\" -- \"$cur\"))\n"
	     "    [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace\n"
	     "    [[ ${#COMPREPLY[@]} -eq 0 && $cur != -* ]] && COMPREPLY=($(compgen -f -- \"$cur\"))\n"
	     "    return 0\n"
	     "}\n"
	     "complete -o filenames -F _gpupool gpupool");
}
