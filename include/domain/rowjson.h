/*
 * rowjson - columns of a row as members of a JSON object, null included.
 */
#ifndef DOMAIN_ROWJSON_H
#define DOMAIN_ROWJSON_H

#include "base/json.h"
#include "db/stmt.h"

/* Milliseconds since 1970 as RFC 3339, to the second. */
void rowjson_time(struct json *j, const char *key, const struct rows *rows, int i, const char *col);
/* Microseconds since 1970 as RFC 3339, to the millisecond. */
void rowjson_time_us(struct json *j, const char *key, const struct rows *rows, int i, const char *col);
/* An id as decimal string. */
void rowjson_id(struct json *j, const char *key, const struct rows *rows, int i, const char *col);

#endif
