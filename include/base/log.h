/*
 * log - one structured line an event, to standard error.
 *
 * `log_info("session.start", "worker", "%ld", id, …)`-style calls proved easy
 * to get wrong, so a line is an event name and one printf of key=value pairs:
 *     log_warn("db.connect", "role=%s error=\"%s\"", role, msg);
 * The process's name, time and level are added, and the work at hand (request
 * or step id) when log_context() set one.  Secrets, parameters of statements
 * and bodies never appear in a line.  Newlines in values are escaped.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "base/cleanup.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_init(const char *process, enum log_level least);
/* "debug", "info", "warn", "error". */
bool log_level_parse(const char *name, enum log_level *ret) must_check;
/* Shown as ctx=… on each line until replaced; NULL clears.  Copied, cut at 63. */
void log_context(const char *id);
void log_line(enum log_level level, const char *event, const char *fmt, ...) printf_like(3, 4);

/* The pasted space forces a literal format, and lets an event go without pairs. */
#define log_debug(event, ...) log_line(LOG_DEBUG, event, " " __VA_ARGS__)
#define log_info(event, ...) log_line(LOG_INFO, event, " " __VA_ARGS__)
#define log_warn(event, ...) log_line(LOG_WARN, event, " " __VA_ARGS__)
#define log_error(event, ...) log_line(LOG_ERROR, event, " " __VA_ARGS__)

#endif
