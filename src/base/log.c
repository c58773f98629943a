/* log - one line an event.  See base/log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/str.h"

enum {
	TEXT_MOST = 3072, /* of the formatted pairs; cut with "..." above that */
	LINE_MOST = 4096, /* PIPE_BUF: a line reaches a pipe undivided */
};

static char process_name[32] = "gpupool";
static enum log_level least_level = LOG_INFO;
static _Thread_local char context[64];

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void log_init(const char *process, enum log_level least)
{
	snprintf(process_name, sizeof(process_name), "%s", process);
	least_level = least;
}

void log_context(const char *id)
{
	snprintf(context, sizeof(context), "%s", id ? id : "");
}

bool log_level_parse(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(level_names); i++)
		if (!strcmp(name, level_names[i])) {
			*ret = (enum log_level)i;
			return true;
		}
	return false;
}

/* Appends text so that it stays one line and cannot steer a terminal; returns
 * the new length, which leaves a byte for the newline. */
static size_t add_escaped(char *line, size_t at, const char *text)
{
	static const char hex[] = "0123456789abcdef";

	for (; *text && at < LINE_MOST - 5; text++) {
		unsigned char c = (unsigned char)*text;
		/* C1 controls: c2 80 … c2 9f. */
		bool c1 = c == 0xc2 && (unsigned char)text[1] >= 0x80 && (unsigned char)text[1] < 0xa0;

		if (c == '\n') {
			line[at++] = '\\';
			line[at++] = 'n';
		} else if (c < 0x20 || c == 0x7f || c1) {
			line[at++] = '\\';
			line[at++] = 'x';
			line[at++] = hex[c >> 4];
			line[at++] = hex[c & 15];
		} else {
			line[at++] = (char)c;
		}
	}
	return at;
}

static void write_all(const char *bytes, size_t len)
{
	while (len) {
		ssize_t n = write(STDERR_FILENO, bytes, len);

		if (n < 0)
			return; /* nowhere left to say it */
		bytes += n;
		len -= (size_t)n;
	}
}

void log_line(enum log_level level, const char *event, const char *fmt, ...)
{
	char text[TEXT_MOST], line[LINE_MOST], head[192], now[32];
	const char *pairs = text;
	size_t at;
	va_list ap;
	int len;

	if (level < least_level)
		return;
	va_start(ap, fmt);
	len = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (len < 0)
		text[0] = '\0';
	else if ((size_t)len >= sizeof(text))
		memcpy(text + sizeof(text) - 4, "...", 4);
	while (*pairs == ' ')
		pairs++;

	clock_rfc3339_ms(clock_wall_ms(), now, sizeof(now));
	snprintf(head, sizeof(head), "%s %s %s[%d] %s", now, level_names[level], process_name, (int)getpid(), event);
	at = add_escaped(line, 0, head);
	if (context[0]) {
		at = add_escaped(line, at, " ctx=");
		at = add_escaped(line, at, context);
	}
	if (*pairs) {
		at = add_escaped(line, at, " ");
		at = add_escaped(line, at, pairs);
	}
	line[at++] = '\n';
	write_all(line, at);
}
