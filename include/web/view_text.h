/*
 * view_text - times, durations and sizes as people read them.
 *
 * A time is UTC and says so; static/live.js rewrites it to the reader's zone.
 * A number and its unit are held together by a no-break space.  Each function
 * writes at most VIEW_TEXT bytes with the NUL.
 */
#ifndef WEB_VIEW_TEXT_H
#define WEB_VIEW_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

enum { VIEW_TEXT = 64 };

/* The names of days and months of a language. */
struct view_words {
	const char *locale;
	const char *days[7]; /* Sunday first */
	const char *months[12];
};
/* English where the language has none. */
const struct view_words *view_words(const char *locale);

/* "2026-11-24T08:12:46Z", also with a fraction, to milliseconds since 1970. */
bool view_time_parse(struct str rfc3339, int64_t *ret) must_check;

/* "09:12 UTC" today, "Mon 17:40 UTC" within six days, else "3 Nov 14:20 UTC", with
 * the year when it is another. */
void view_time_text(const struct view_words *w, int64_t at_ms, int64_t now_ms, char ret[VIEW_TEXT]);
/* "48 s", "1 min 48 s", "58 min", "2 h 10 min", "3 d 4 h". */
void view_duration_text(int64_t seconds, char ret[VIEW_TEXT]);
/* Of quotas: "5.7 h", "30 h". */
void view_hours_text(int64_t seconds, char ret[VIEW_TEXT]);
/* As str_to_duration() reads it: "90m", "11h", "2d". */
void view_duration_field(int64_t seconds, char ret[VIEW_TEXT]);
/* "512 bytes", "94 MB", "13.1 GB". */
void view_size_text(int64_t bytes, char ret[VIEW_TEXT]);
/* "13.1 / 16 GB". */
void view_share_text(int64_t used, int64_t total, char ret[VIEW_TEXT]);

#endif
