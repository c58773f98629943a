/* str - slices, capped buffers, strict parsing.  See base/str.h. */
#include "base/str.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* ---- slices --------------------------------------------------------------- */

struct str str_of(const char *s)
{
	return s ? (struct str){s, strlen(s)} : STR_NULL;
}

bool str_eq(struct str a, struct str b)
{
	return a.len == b.len && (!a.len || !memcmp(a.ptr, b.ptr, a.len));
}

bool str_eqz(struct str a, const char *b)
{
	return str_eq(a, str_of(b));
}

static char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool str_ieqz(struct str a, const char *b)
{
	struct str other = str_of(b);

	if (a.len != other.len)
		return false;
	for (size_t i = 0; i < a.len; i++)
		if (ascii_lower(a.ptr[i]) != ascii_lower(other.ptr[i]))
			return false;
	return true;
}

bool str_starts(struct str s, const char *prefix)
{
	size_t len = strlen(prefix);

	return s.len >= len && str_eq((struct str){s.ptr, len}, (struct str){prefix, len});
}

bool str_ends(struct str s, const char *suffix)
{
	size_t len = strlen(suffix);

	return s.len >= len && (!len || !memcmp(s.ptr + s.len - len, suffix, len));
}

static bool is_space(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

struct str str_trim(struct str s)
{
	while (s.len && is_space(s.ptr[0])) {
		s.ptr++;
		s.len--;
	}
	while (s.len && is_space(s.ptr[s.len - 1]))
		s.len--;
	return s;
}

ptrdiff_t str_index(struct str s, char c)
{
	const char *at = s.len ? memchr(s.ptr, c, s.len) : NULL;

	return at ? at - s.ptr : -1;
}

bool str_cut(struct str *rest, char sep, struct str *ret)
{
	ptrdiff_t at;

	if (!rest->ptr)
		return false;
	at = str_index(*rest, sep);
	if (at < 0) {
		*ret = *rest;
		*rest = STR_NULL;
	} else {
		*ret = (struct str){rest->ptr, (size_t)at};
		*rest = (struct str){rest->ptr + at + 1, rest->len - (size_t)at - 1};
	}
	return true;
}

/* ---- parsers -------------------------------------------------------------- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

bool str_to_i64(struct str s, int64_t min, int64_t max, int64_t *ret)
{
	bool negative = s.len && s.ptr[0] == '-';
	size_t i = negative ? 1 : 0;
	int64_t v = 0;

	if (i == s.len || (s.ptr[i] == '0' && (negative || s.len > i + 1)))
		return false;
	/* Counts downwards, for INT64_MIN has no positive counterpart. */
	for (; i < s.len; i++)
		if (!is_digit(s.ptr[i]) || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_sub_overflow(v, s.ptr[i] - '0', &v))
			return false;
	if (!negative && __builtin_sub_overflow(0, v, &v))
		return false;
	if (v < min || v > max)
		return false;
	*ret = v;
	return true;
}

bool str_to_id(struct str s, int64_t *ret)
{
	return str_to_i64(s, 1, INT64_MAX, ret);
}

static size_t digits(struct str s, size_t at)
{
	size_t n = 0;

	while (at + n < s.len && is_digit(s.ptr[at + n]))
		n++;
	return n;
}

/* -?(0|[1-9][0-9]*)(.[0-9]+)?([eE][+-]?[0-9]+)?, the grammar of JSON. */
static bool is_number(struct str s)
{
	size_t i = s.len && s.ptr[0] == '-' ? 1 : 0;
	size_t n = digits(s, i);

	if (!n || (n > 1 && s.ptr[i] == '0'))
		return false;
	i += n;
	if (i < s.len && s.ptr[i] == '.') {
		n = digits(s, i + 1);
		if (!n)
			return false;
		i += n + 1;
	}
	if (i < s.len && (s.ptr[i] == 'e' || s.ptr[i] == 'E')) {
		i++;
		if (i < s.len && (s.ptr[i] == '+' || s.ptr[i] == '-'))
			i++;
		n = digits(s, i);
		if (!n)
			return false;
		i += n;
	}
	return i == s.len;
}

bool str_to_double(struct str s, double *ret)
{
	char small[64];
	cleanup_free char *large = NULL;
	char *copy = small;
	double v;

	if (!is_number(s))
		return false;
	if (s.len >= sizeof(small)) {
		copy = large = malloc(s.len + 1);
		if (!large)
			error_no_memory();
	}
	memcpy(copy, s.ptr, s.len);
	copy[s.len] = '\0';
	v = strtod(copy, NULL);
	if (!isfinite(v))
		return false;
	*ret = v;
	return true;
}

struct unit {
	char letter;
	int64_t factor;
};

/* A natural number, then at most one of the letters. */
static bool parse_unit(struct str s, const struct unit *units, size_t count, int64_t *ret)
{
	int64_t factor = 1;
	int64_t v;

	for (size_t i = 0; s.len && i < count; i++)
		if (s.ptr[s.len - 1] == units[i].letter) {
			factor = units[i].factor;
			s.len--;
			break;
		}
	if (!str_to_i64(s, 0, INT64_MAX, &v) || __builtin_mul_overflow(v, factor, &v))
		return false;
	*ret = v;
	return true;
}

bool str_to_duration(struct str s, int64_t *seconds)
{
	static const struct unit units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};

	return parse_unit(s, units, ARRAY_LEN(units), seconds);
}

bool str_to_size(struct str s, int64_t *bytes)
{
	static const struct unit units[] = {{'k', 1LL << 10}, {'m', 1LL << 20}, {'g', 1LL << 30}};

	return parse_unit(s, units, ARRAY_LEN(units), bytes);
}

bool str_is_uuid(struct str s)
{
	if (s.len != 36)
		return false;
	for (size_t i = 0; i < s.len; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		char c = s.ptr[i];

		if (dash ? c != '-' : !is_digit(c) && !(c >= 'a' && c <= 'f'))
			return false;
	}
	return true;
}

/* ---- UTF-8 ---------------------------------------------------------------- */

/* Table 3-7 of the Unicode Standard: what may follow each first byte. */
static const struct utf8_row {
	unsigned char first, last;           /* range of the first byte */
	unsigned char second_min, second_max;
	unsigned char length;
} utf8_rows[] = {
	{0x01, 0x7f, 0, 0, 1},       {0xc2, 0xdf, 0x80, 0xbf, 2}, {0xe0, 0xe0, 0xa0, 0xbf, 3},
	{0xe1, 0xec, 0x80, 0xbf, 3}, {0xed, 0xed, 0x80, 0x9f, 3}, {0xee, 0xef, 0x80, 0xbf, 3},
	{0xf0, 0xf0, 0x90, 0xbf, 4}, {0xf1, 0xf3, 0x80, 0xbf, 4}, {0xf4, 0xf4, 0x80, 0x8f, 4},
};

/* Length of the character that s begins with; 0 when it is none, or U+0000. */
static size_t utf8_char(struct str s)
{
	const unsigned char *p = (const unsigned char *)s.ptr;
	const struct utf8_row *row = utf8_rows;
	const struct utf8_row *end = utf8_rows + ARRAY_LEN(utf8_rows);

	while (row < end && (p[0] < row->first || p[0] > row->last))
		row++;
	if (row == end || row->length > s.len)
		return 0;
	if (row->length > 1 && (p[1] < row->second_min || p[1] > row->second_max))
		return 0;
	for (size_t i = 2; i < row->length; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return row->length;
}

bool str_is_utf8(struct str s)
{
	while (s.len) {
		size_t n = utf8_char(s);

		if (!n)
			return false;
		s.ptr += n;
		s.len -= n;
	}
	return true;
}

/* ---- buffers -------------------------------------------------------------- */

void buf_free(struct buf *b)
{
	if (b->secret && b->ptr)
		explicit_bzero(b->ptr, b->cap);
	free(b->ptr);
	*b = BUF_INIT(b->max);
}

void buf_reset(struct buf *b)
{
	b->len = 0;
	b->failed = false;
	if (b->ptr)
		b->ptr[0] = '\0';
}

/* realloc() may leave what it moved behind. */
static char *grow_secret(struct buf *b, size_t cap)
{
	char *ptr = malloc(cap);

	if (ptr && b->ptr) {
		memcpy(ptr, b->ptr, b->cap);
		explicit_bzero(b->ptr, b->cap);
		free(b->ptr);
	}
	return ptr;
}

/* Makes room for len more bytes and a NUL; false (and failed) above the maximum. */
static bool buf_grow(struct buf *b, size_t len)
{
	size_t need, cap;
	char *ptr;

	if (b->failed)
		return false;
	if (len > b->max - b->len || b->max == SIZE_MAX) {
		b->failed = true;
		return false;
	}
	need = b->len + len + 1;
	if (need <= b->cap)
		return true;
	cap = b->cap ? b->cap : 64;
	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	if (cap > b->max + 1)
		cap = b->max + 1;
	ptr = b->secret ? grow_secret(b, cap) : realloc(b->ptr, cap);
	if (!ptr)
		error_no_memory();
	b->ptr = ptr;
	b->cap = cap;
	return true;
}

void buf_add(struct buf *b, const void *bytes, size_t len)
{
	if (!buf_grow(b, len))
		return;
	if (len)
		memcpy(b->ptr + b->len, bytes, len);
	b->len += len;
	b->ptr[b->len] = '\0';
}

void buf_addc(struct buf *b, char c)
{
	buf_add(b, &c, 1);
}

void buf_add_utf8(struct buf *b, unsigned c)
{
	if (c < 0x80) {
		buf_addc(b, (char)c);
	} else if (c < 0x800) {
		buf_addc(b, (char)(0xc0 | c >> 6));
		buf_addc(b, (char)(0x80 | (c & 0x3f)));
	} else if (c < 0x10000) {
		buf_addc(b, (char)(0xe0 | c >> 12));
		buf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_addc(b, (char)(0x80 | (c & 0x3f)));
	} else {
		buf_addc(b, (char)(0xf0 | c >> 18));
		buf_addc(b, (char)(0x80 | (c >> 12 & 0x3f)));
		buf_addc(b, (char)(0x80 | (c >> 6 & 0x3f)));
		buf_addc(b, (char)(0x80 | (c & 0x3f)));
	}
}

void buf_adds(struct buf *b, const char *s)
{
	buf_add(b, s, strlen(s));
}

void buf_addstr(struct buf *b, struct str s)
{
	buf_add(b, s.ptr, s.len);
}

void buf_addvf(struct buf *b, const char *fmt, va_list ap)
{
	va_list again;
	int len;

	va_copy(again, ap);
	len = vsnprintf(NULL, 0, fmt, again);
	va_end(again);
	if (len < 0)
		BUG("format %s", fmt);
	if (!buf_grow(b, (size_t)len))
		return;
	vsnprintf(b->ptr + b->len, (size_t)len + 1, fmt, ap);
	b->len += (size_t)len;
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	buf_addvf(b, fmt, ap);
	va_end(ap);
}

void buf_consume(struct buf *b, size_t n)
{
	if (n > b->len)
		BUG("consume %zu of %zu bytes", n, b->len);
	if (!n)
		return;
	memmove(b->ptr, b->ptr + n, b->len - n);
	b->len -= n;
	b->ptr[b->len] = '\0';
}

struct str buf_str(const struct buf *b)
{
	/* Never NULL: an empty document is not an absent one. */
	return b->ptr ? (struct str){b->ptr, b->len} : STR("");
}

/* ---- escaping ------------------------------------------------------------- */

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

void buf_add_json(struct buf *b, struct str s)
{
	static const char short_form[] = {['\b'] = 'b', ['\t'] = 't', ['\n'] = 'n', ['\f'] = 'f', ['\r'] = 'r'};

	buf_addc(b, '"');
	while (s.len) {
		size_t n = utf8_char(s);
		unsigned char c = (unsigned char)s.ptr[0];

		if (!n)
			buf_adds(b, replacement);
		else if (c == '"' || c == '\\')
			buf_addf(b, "\\%c", c);
		else if (c < sizeof(short_form) && short_form[c])
			buf_addf(b, "\\%c", short_form[c]);
		else if (c < 0x20 || c == 0x7f)
			buf_addf(b, "\\u%04x", c);
		else
			buf_add(b, s.ptr, n);
		s.ptr += n ? n : 1;
		s.len -= n ? n : 1;
	}
	buf_addc(b, '"');
}

static const char *html_entity(char c)
{
	switch (c) {
	case '&': return "&amp;";
	case '<': return "&lt;";
	case '>': return "&gt;";
	case '"': return "&quot;";
	case '\'': return "&#39;";
	default: return NULL;
	}
}

void buf_add_html(struct buf *b, struct str s)
{
	size_t begin = 0;

	for (size_t i = 0; i < s.len; i++) {
		const char *entity = html_entity(s.ptr[i]);

		if (!entity)
			continue;
		buf_add(b, s.ptr + begin, i - begin);
		buf_adds(b, entity);
		begin = i + 1;
	}
	if (begin < s.len)
		buf_add(b, s.ptr + begin, s.len - begin);
}

void buf_add_url(struct buf *b, struct str s)
{
	static const char unreserved[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~";

	for (size_t i = 0; i < s.len; i++)
		if (memchr(unreserved, s.ptr[i], sizeof(unreserved) - 1))
			buf_addc(b, s.ptr[i]);
		else
			buf_addf(b, "%%%02X", (unsigned char)s.ptr[i]);
}

/* C0, DEL and C1 (which UTF-8 writes as c2 80 … c2 9f); not tab, not newline. */
static bool is_control(struct str s)
{
	unsigned char c = (unsigned char)s.ptr[0];

	if (c == 0xc2 && s.len > 1)
		return (unsigned char)s.ptr[1] < 0xa0;
	return (c < 0x20 && c != '\t' && c != '\n') || c == 0x7f;
}

void buf_add_text(struct buf *b, struct str s, bool plain)
{
	while (s.len) {
		size_t n = utf8_char(s);

		if (plain && (n || !s.ptr[0]) && is_control(s))
			;
		else if (n)
			buf_add(b, s.ptr, n);
		else
			buf_adds(b, replacement);
		s.ptr += n ? n : 1;
		s.len -= n ? n : 1;
	}
}
