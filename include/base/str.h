/*
 * str - slices, capped buffers, and strict parsing.
 *
 * struct str is a pair of pointer and length that owns nothing and need not
 * end in NUL.  struct buf is a growable byte buffer with a maximum: passing it
 * sets `failed` and keeps what was there, so that a chain of appends is
 * checked once, at the end.  buf.ptr is always NUL-terminated once anything
 * was appended.
 *
 * The parsers accept exactly one spelling: no white space, no sign where none
 * is meant, no trailing bytes.
 */
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"

struct str {
	const char *ptr;
	size_t len;
};

#define STR(literal) ((struct str){(literal), sizeof(literal) - 1})
#define STR_NULL ((struct str){NULL, 0})
/* For printf("%.*s"). */
#define STR_ARG(s) (int)(s).len, (s).ptr

struct str str_of(const char *s); /* NULL gives STR_NULL */
bool str_eq(struct str a, struct str b);
bool str_eqz(struct str a, const char *b);
bool str_ieqz(struct str a, const char *b); /* ASCII case-insensitive */
bool str_starts(struct str s, const char *prefix);
bool str_ends(struct str s, const char *suffix);
struct str str_trim(struct str s); /* ASCII white space on both sides */
/* Cuts the part before the first `sep` out of *rest (all of it when there is
 * none); false when *rest is exhausted, that is, rest->ptr is NULL. */
bool str_cut(struct str *rest, char sep, struct str *ret);
/* Index of the first byte c, or -1. */
ptrdiff_t str_index(struct str s, char c);

bool str_to_i64(struct str s, int64_t min, int64_t max, int64_t *ret) must_check;
bool str_to_double(struct str s, double *ret) must_check;
/* Positive decimal id without leading zeros, up to INT64_MAX. */
bool str_to_id(struct str s, int64_t *ret) must_check;
/* "90", "90s", "15m", "2h", "7d" -> seconds. */
bool str_to_duration(struct str s, int64_t *seconds) must_check;
/* "64k", "10m", "2g" (powers of 1024) or plain bytes. */
bool str_to_size(struct str s, int64_t *bytes) must_check;
/* 8-4-4-4-12 lower-case hexadecimal. */
bool str_is_uuid(struct str s);
/* Well-formed UTF-8 (no surrogates, no overlong forms, no NUL). */
bool str_is_utf8(struct str s);

struct buf {
	char *ptr;
	size_t len, cap, max;
	bool failed;
	bool secret; /* memory that it gives up is zeroed first */
};

#define BUF_INIT(maximum) ((struct buf){.max = (maximum)})
#define BUF_SECRET(maximum) ((struct buf){.max = (maximum), .secret = true})
#define cleanup_buf __attribute__((cleanup(buf_free)))

void buf_free(struct buf *b); /* empty, with the same maximum and no longer secret */
void buf_reset(struct buf *b); /* keeps the memory and the maximum */
void buf_add(struct buf *b, const void *bytes, size_t len);
void buf_addc(struct buf *b, char c);
void buf_add_utf8(struct buf *b, unsigned c); /* one code point, ≤ 0x10ffff; a surrogate too, as it is */
void buf_adds(struct buf *b, const char *s);
void buf_addstr(struct buf *b, struct str s);
void buf_addf(struct buf *b, const char *fmt, ...) printf_like(2, 3);
void buf_addvf(struct buf *b, const char *fmt, va_list ap) printf_like(2, 0);
/* JSON string with quotes; bytes that are not UTF-8 become U+FFFD. */
void buf_add_json(struct buf *b, struct str s);
/* & < > " ' escaped, safe in text and in quoted attributes. */
void buf_add_html(struct buf *b, struct str s);
/* Percent-encoded except unreserved characters (RFC 3986). */
void buf_add_url(struct buf *b, struct str s);
/* UTF-8 with U+FFFD for malformed bytes; control characters other than tab
 * and newline dropped when `plain`: what a terminal may be shown. */
void buf_add_text(struct buf *b, struct str s, bool plain);
/* Removes n bytes from the front. */
void buf_consume(struct buf *b, size_t n);
struct str buf_str(const struct buf *b);

#endif
