/* error - names and statuses of outcomes, and the two ways to die.  See base/error.h. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"

static const struct {
	const char *name;
	int status;
} errors[] = {
#define X(id, name, status) [ERR_##id] = {name, status},
	ERRORS(X)
#undef X
};

const char *err_name(enum err e)
{
	if ((unsigned)e >= ERR_COUNT)
		BUG("outcome %d", (int)e);
	return errors[e].name;
}

int err_http_status(enum err e)
{
	if ((unsigned)e >= ERR_COUNT)
		BUG("outcome %d", (int)e);
	return errors[e].status;
}

printf_like(4, 0) static void fill(struct error *ret, enum err code, const char *field, const char *fmt, va_list ap)
{
	char msg[sizeof(ret->msg)];

	/* Formatted aside, for the arguments may point into *ret. */
	vsnprintf(msg, sizeof(msg), fmt, ap);
	ret->code = code;
	ret->reason = NULL;
	snprintf(ret->field, sizeof(ret->field), "%s", field);
	snprintf(ret->msg, sizeof(ret->msg), "%s", msg);
}

enum err error_set(struct error *ret, enum err code, const char *fmt, ...)
{
	va_list ap;

	if (!ret)
		return code;
	va_start(ap, fmt);
	fill(ret, code, "", fmt, ap);
	va_end(ap);
	return code;
}

enum err error_field(struct error *ret, enum err code, const char *field, const char *fmt, ...)
{
	va_list ap;

	if (!ret)
		return code;
	va_start(ap, fmt);
	fill(ret, code, field, fmt, ap);
	va_end(ap);
	return code;
}

void bug_(const char *file, int line, const char *fmt, ...)
{
	char msg[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	log_error("bug", "at=%s:%d msg=\"%s\"", file, line, msg);
	abort();
}

void error_no_memory(void)
{
	static const char line[] = "out of memory\n";

	/* Nothing that could allocate. */
	if (write(STDERR_FILENO, line, sizeof(line) - 1) < 0)
		_exit(70);
	abort();
}
