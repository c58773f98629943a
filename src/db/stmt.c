/* Arguments, rows and arrays of statements; see stmt.h. */
#include "db/stmt.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/crypto.h"
#include "base/error.h"

struct arg arg_null(void)
{
	return (struct arg){.kind = ARG_NULL};
}

struct arg arg_i64(int64_t v)
{
	struct arg a = {.kind = ARG_NUMBER};

	snprintf(a.number, sizeof(a.number), "%lld", (long long)v);
	return a;
}

struct arg arg_opt_i64(int64_t v, bool present)
{
	return present ? arg_i64(v) : arg_null();
}

struct arg arg_double(double v)
{
	struct arg a = {.kind = ARG_NUMBER};

	snprintf(a.number, sizeof(a.number), "%.17g", v);
	return a;
}

struct arg arg_bool(bool v)
{
	return (struct arg){.kind = ARG_NUMBER, .number = {v ? 't' : 'f'}};
}

struct arg arg_cstr(const char *s)
{
	return s ? (struct arg){.kind = ARG_TEXT, .text = str_of(s)} : arg_null();
}

struct arg arg_buf(const struct buf *b)
{
	if (b->failed)
		BUG("argument buffer overflowed its maximum of %zu", b->max);
	return b->ptr ? (struct arg){.kind = ARG_TEXT, .text = buf_str(b)} : arg_null();
}

struct arg arg_bytes(const void *p, size_t len)
{
	return (struct arg){.kind = ARG_BYTES, .text = {p, len}};
}

struct arg arg_str(struct arena *a, struct str s)
{
	struct str copy = s.ptr ? arena_str(a, s) : STR_NULL;

	return copy.ptr ? (struct arg){.kind = ARG_TEXT, .text = copy} : arg_null();
}

/* ---- rows ---- */

void rows_free(struct rows *r)
{
	if (r->result)
		PQclear(r->result);
	r->result = NULL;
}

int rows_count(const struct rows *r)
{
	return r->result ? PQntuples(r->result) : 0;
}

const char *rows_column_name(const struct rows *r, int c)
{
	return PQfname(r->result, c);
}

/*
 * PQfnumber() folds case and copies its argument; rows are read too often for
 * that.  Columns are mostly read in their order, so the search begins where the
 * last one ended.
 */
static int column(const struct rows *r, const char *name)
{
	static _Thread_local int last;
	int n = PQnfields(r->result), c = last < n ? last : 0;

	for (int k = 0; k < n; k++, c = c + 1 < n ? c + 1 : 0)
		if (!strcmp(PQfname(r->result, c), name))
			return last = c;
	BUG("no column %s", name);
}

bool row_null(const struct rows *r, int i, const char *col)
{
	return PQgetisnull(r->result, i, column(r, col));
}

struct str row_str(const struct rows *r, int i, const char *col)
{
	int c = column(r, col);

	if (PQgetisnull(r->result, i, c))
		return STR_NULL;
	return (struct str){PQgetvalue(r->result, i, c), (size_t)PQgetlength(r->result, i, c)};
}

const char *row_cstr(const struct rows *r, int i, const char *col)
{
	return row_str(r, i, col).ptr;
}

int64_t row_i64(const struct rows *r, int i, const char *col)
{
	const char *s = row_cstr(r, i, col);

	return s ? strtoll(s, NULL, 10) : 0;
}

double row_double(const struct rows *r, int i, const char *col)
{
	const char *s = row_cstr(r, i, col);

	return s ? strtod(s, NULL) : 0;
}

bool row_bool(const struct rows *r, int i, const char *col)
{
	const char *s = row_cstr(r, i, col);

	return s && *s == 't';
}

/* From PostgreSQL's "2026-11-24 08:12:46.0734+00". */
const char *row_time(const struct rows *r, int i, const char *col, char ret[ROW_TIME])
{
	struct str s = row_str(r, i, col);
	size_t n = 19;

	if (!s.ptr)
		return NULL;
	if (s.len < 22 || s.len > 29 || !str_ends(s, "+00"))
		BUG("%s is no time of this era in UTC", col);
	memcpy(ret, s.ptr, n);
	ret[10] = 'T';
	ret[n++] = '.';
	for (size_t k = 0; k < 3; k++)
		ret[n++] = s.ptr[19] == '.' && 20 + k < s.len - 3 ? s.ptr[20 + k] : '0';
	ret[n++] = 'Z';
	ret[n] = '\0';
	return ret;
}

struct str row_bytes(const struct rows *r, int i, const char *col, struct arena *a)
{
	struct str hex = row_str(r, i, col);
	size_t len;
	char *bytes;

	if (!hex.ptr || hex.len < 2)
		return STR_NULL;
	len = hex.len / 2 - 1;
	bytes = arena_alloc(a, len + 1);
	if (!bytes || !crypto_unhex((struct str){hex.ptr + 2, len * 2}, bytes, len))
		return STR_NULL;
	return (struct str){bytes, len};
}

/* ---- arrays in their text form ---- */

static void separate(struct buf *b)
{
	if (b->len > 1)
		buf_addc(b, ',');
}

void array_begin(struct buf *b)
{
	buf_reset(b);
	buf_addc(b, '{');
}

void array_add_i64(struct buf *b, int64_t v)
{
	separate(b);
	buf_addf(b, "%lld", (long long)v);
}

void array_add_double(struct buf *b, double v)
{
	separate(b);
	buf_addf(b, "%.17g", v);
}

void array_add_bool(struct buf *b, bool v)
{
	separate(b);
	buf_addc(b, v ? 't' : 'f');
}

void array_add_str(struct buf *b, struct str s)
{
	if (!s.ptr) {
		array_add_null(b);
		return;
	}
	separate(b);
	buf_addc(b, '"');
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '"' || s.ptr[i] == '\\')
			buf_addc(b, '\\');
		buf_addc(b, s.ptr[i]);
	}
	buf_addc(b, '"');
}

void array_add_bytes(struct buf *b, const void *p, size_t len)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *bytes = p;

	separate(b);
	buf_adds(b, "\"\\\\x");
	for (size_t i = 0; i < len; i++) {
		char two[2] = {digits[bytes[i] >> 4], digits[bytes[i] & 15]};

		buf_add(b, two, 2);
	}
	buf_addc(b, '"');
}

void array_add_null(struct buf *b)
{
	separate(b);
	buf_adds(b, "NULL");
}

void array_end(struct buf *b)
{
	buf_addc(b, '}');
}
