/*
 * output - what a command prints: tables, the server's JSON, a progress bar.
 *
 * Everything that came from the server passes through here, so that no name,
 * log or result can steer the terminal (unless --raw).
 */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "base/json.h"
#include "cli/command.h"

/* How a value is shown. */
enum show {
	SHOW_TEXT,     /* null and absent as "-" */
	SHOW_AGE,      /* a time, as how long ago: "3m" */
	SHOW_TIME,     /* a time as it is */
	SHOW_SECONDS,  /* a duration: "2h 5m" */
	SHOW_HOURS,    /* a duration in hours: "29.7 h" */
	SHOW_BYTES,    /* "1.4 MB" */
	SHOW_PERCENT,  /* a fraction */
	SHOW_LIST,     /* an array of strings, comma separated */
	SHOW_JSON,     /* any value, compact */
};

struct column {
	const char *head; /* ends the list when NULL */
	const char *path; /* "session.deadline" */
	enum show show;
};

/* One line an element, columns as wide as their content. */
void output_table(const struct cli *cli, const struct json *list, const struct column *columns);
/* One line a value: "head   value"; absent and null ones are left out. */
void output_fields(const struct cli *cli, const struct json *object, const struct column *columns);
/* --json: the document, indented. */
void output_json(const struct json *j);
/* Text of the server on standard output, without control characters unless --raw. */
void output_text(const struct cli *cli, struct str s);
/* Whether --json printed it; otherwise the caller prints its own form. */
bool output_as_json(const struct cli *cli, const struct json *j);

/* "2h 5m", "1.4 MB"; into b. */
void output_add_seconds(struct buf *b, double seconds);
void output_add_bytes(struct buf *b, double bytes);
/* RFC 3339 in UTC to ms since 1970. */
bool output_parse_time(struct str s, int64_t *wall_ms) must_check;

/* ---- progress: one line that is drawn again, on standard error, and only on
 * a terminal ---- */
struct progress {
	bool shown;
	int64_t started_ms;
};
/* fraction < 0 = unknown; label and message are made safe. */
void progress_draw(struct progress *p, const char *label, double fraction, struct str message);
void progress_end(struct progress *p); /* clears the line */

#endif
