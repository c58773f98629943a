/*
 * stmt - the statements that exist, and the values they take and give.
 *
 * SQL text lives below sql/queries only; src/gen/sqlgen.c makes enum stmt
 * and stmt_table from it.  Code names a statement and gives typed arguments:
 *
 *     cleanup_rows struct rows rows = {0};
 *     err = db_run(db, STMT_WORKER_GET, ARGS(arg_i64(id), arg_str(name)), &rows, e);
 *     for (int i = 0; i < rows_count(&rows); i++) … row_i64(&rows, i, "id") …
 *
 * Arguments borrow their bytes.  Row values borrow from the rows and end with
 * them.  A column that the statement does not have is a bug and aborts.
 */
#ifndef DB_STMT_H
#define DB_STMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/str.h"
#include "gen/stmt.h"

struct stmt_info {
	const char *name;
	int params;
	bool idempotent;
	const char *sql;
};

extern const struct stmt_info stmt_table[STMT_COUNT];

enum { STMT_MAX_PARAMS = 32 };

enum arg_kind { ARG_NULL, ARG_TEXT, ARG_BYTES, ARG_NUMBER };

struct arg {
	enum arg_kind kind;
	struct str text;  /* ARG_TEXT (NUL-terminated), ARG_BYTES (sent as binary bytea) */
	char number[32];  /* ARG_NUMBER, as text */
};

#define ARGS(...) (const struct arg[]){__VA_ARGS__}, (int)(sizeof((const struct arg[]){__VA_ARGS__}) / sizeof(struct arg))
#define NO_ARGS NULL, 0

struct arg arg_null(void);
struct arg arg_i64(int64_t v);
struct arg arg_opt_i64(int64_t v, bool present);
struct arg arg_double(double v);
struct arg arg_bool(bool v);
struct arg arg_cstr(const char *s);              /* NULL = null */
struct arg arg_buf(const struct buf *b);         /* arrays and JSON built in a buffer */
struct arg arg_bytes(const void *p, size_t len); /* bytea */
/* A copy with NUL in the arena; STR_NULL = null, also when the arena is full. */
struct arg arg_str(struct arena *a, struct str s);

struct rows {
	void *result; /* a PGresult */
};

#define cleanup_rows __attribute__((cleanup(rows_free)))
void rows_free(struct rows *r);
int rows_count(const struct rows *r);
const char *rows_column_name(const struct rows *r, int c);

bool row_null(const struct rows *r, int i, const char *col);
struct str row_str(const struct rows *r, int i, const char *col);   /* null = STR_NULL */
const char *row_cstr(const struct rows *r, int i, const char *col); /* null = NULL */
int64_t row_i64(const struct rows *r, int i, const char *col);      /* null = 0 */
double row_double(const struct rows *r, int i, const char *col);    /* null = 0 */
bool row_bool(const struct rows *r, int i, const char *col);        /* null = false */
/* timestamptz (of a session in UTC) as "2026-11-24T08:12:46.073Z"; null = NULL, else ret. */
enum { ROW_TIME = 32 };
const char *row_time(const struct rows *r, int i, const char *col, char ret[ROW_TIME]);
/* bytea in its text form, decoded into the arena; STR_NULL for null or a full arena. */
struct str row_bytes(const struct rows *r, int i, const char *col, struct arena *a);

/* ---- array arguments: array_begin, any adds, array_end, arg_buf ---- */
void array_begin(struct buf *b);
void array_add_i64(struct buf *b, int64_t v);
void array_add_double(struct buf *b, double v);
void array_add_bool(struct buf *b, bool v);
void array_add_str(struct buf *b, struct str s); /* quoted; STR_NULL = null */
void array_add_bytes(struct buf *b, const void *p, size_t len); /* bytea[] */
void array_add_null(struct buf *b);
void array_end(struct buf *b);

#endif
