/* rowjson - rows to JSON.  See domain/rowjson.h. */
#include "domain/rowjson.h"

#include "base/clock.h"

static bool put_null(struct json *j, const char *key, const struct rows *rows, int i, const char *col)
{
	if (!row_null(rows, i, col))
		return false;
	json_put(j, key, json_null());
	return true;
}

void rowjson_time(struct json *j, const char *key, const struct rows *rows, int i, const char *col)
{
	char text[32];

	if (put_null(j, key, rows, i, col))
		return;
	clock_rfc3339(row_i64(rows, i, col), text, sizeof(text));
	json_put_cstr(j, key, text);
}

void rowjson_time_us(struct json *j, const char *key, const struct rows *rows, int i, const char *col)
{
	char text[32];

	if (put_null(j, key, rows, i, col))
		return;
	clock_rfc3339_ms(row_i64(rows, i, col) / 1000, text, sizeof(text));
	json_put_cstr(j, key, text);
}

void rowjson_id(struct json *j, const char *key, const struct rows *rows, int i, const char *col)
{
	if (!put_null(j, key, rows, i, col))
		json_put_id(j, key, row_i64(rows, i, col));
}
