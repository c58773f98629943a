/*
 * Fuzzes the parsers and escapers of str and the text forms of crypto: what is
 * accepted has one spelling, what is escaped can be read back and holds nothing
 * that it must not.
 */
#include <math.h>

#include "base/crypto.h"
#include "base/json.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { MOST = 1 << 20 };

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void numbers(struct str in)
{
	char text[32];
	int64_t v;
	double d;

	if (str_to_i64(in, INT64_MIN, INT64_MAX, &v)) {
		snprintf(text, sizeof(text), "%lld", (long long)v);
		check(str_eqz(in, text) && str_to_double(in, &d));
		check(str_to_id(in, &v) == (v > 0));
		check(v < 0 || (str_to_size(in, &v) && str_to_duration(in, &v)));
	}
	check(!str_to_duration(in, &v) || v >= 0);
	check(!str_to_size(in, &v) || v >= 0);
	if (str_to_double(in, &d)) {
		cleanup_json struct json *j = NULL;

		check(isfinite(d) && json_parse(in, MOST, &j, NULL) == OK);
		check(json_as_double(j, d + 1) <= d && json_as_double(j, d + 1) >= d);
	}
	check(!str_is_uuid(in) || in.len == 36);
}

static void json_string(struct str in)
{
	cleanup_buf struct buf b = BUF_INIT(MOST);
	cleanup_json struct json *j = NULL, *node = json_new_str(in);

	buf_add_json(&b, in);
	check(json_parse(buf_str(&b), MOST, &j, NULL) == OK);
	check(str_eq(json_as_str(j), json_as_str(node)));
	check(str_is_utf8(in) == str_eq(json_as_str(j), in));
}

static void html(struct str in)
{
	static const char *const entities[] = {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"};
	cleanup_buf struct buf b = BUF_INIT(MOST), back = BUF_INIT(MOST);
	struct str rest;

	buf_add_html(&b, in);
	for (rest = buf_str(&b); rest.len;) {
		size_t n = 1;
		char c = rest.ptr[0];

		check(!memchr("<>\"'", c, 4));
		for (size_t i = 0; c == '&' && n == 1 && i < ARRAY_LEN(entities); i++)
			if (str_starts(rest, entities[i])) {
				n = strlen(entities[i]);
				c = "&<>\"'"[i];
			}
		check(rest.ptr[0] != '&' || n > 1);
		buf_addc(&back, c);
		rest.ptr += n;
		rest.len -= n;
	}
	check(str_eq(buf_str(&back), in));
}

static void percent(struct str in)
{
	cleanup_buf struct buf b = BUF_INIT(MOST), back = BUF_INIT(MOST);

	buf_add_url(&b, in);
	for (size_t i = 0; i < b.len; i++) {
		char c = b.ptr[i];

		check(c > 0x20 && c < 0x7f && !strchr("&=?#/+;:@'\"<>\\", c));
		if (c == '%') {
			check(i + 2 < b.len && crypto_unhex((struct str){b.ptr + i + 1, 2}, &c, 1));
			i += 2;
		}
		buf_addc(&back, c);
	}
	check(str_eq(buf_str(&back), in));
}

static void plain_text(struct str in)
{
	cleanup_buf struct buf whole = BUF_INIT(MOST), plain = BUF_INIT(MOST), again = BUF_INIT(MOST);

	buf_add_text(&whole, in, false);
	check(str_is_utf8(buf_str(&whole)) && str_is_utf8(in) == str_eq(buf_str(&whole), in));
	buf_add_text(&plain, in, true);
	check(str_is_utf8(buf_str(&plain)));
	for (size_t i = 0; i < plain.len; i++)
		check((unsigned char)plain.ptr[i] >= 0x20 || plain.ptr[i] == '\n' || plain.ptr[i] == '\t');
	buf_add_text(&again, buf_str(&plain), true);
	check(str_eq(buf_str(&plain), buf_str(&again)));
}

static void pieces(struct str in, char sep)
{
	cleanup_buf struct buf joined = BUF_INIT(MOST);
	struct str rest = in, part, trimmed = str_trim(in);
	int n = 0;

	check(str_eq(str_trim(trimmed), trimmed));
	while (str_cut(&rest, sep, &part)) {
		if (n++)
			buf_addc(&joined, sep);
		check(str_index(part, sep) < 0);
		buf_addstr(&joined, part);
	}
	check(str_eq(buf_str(&joined), in));
}

static void capped(struct str in, size_t max)
{
	cleanup_buf struct buf b = BUF_INIT(max);

	buf_add_json(&b, in);
	buf_addf(&b, "%d", 12345);
	check(b.len <= max && (!b.ptr || strlen(b.ptr) <= max));
	buf_consume(&b, b.len / 2);
	check(b.len <= max);
}

static void binary(struct str in)
{
	cleanup_buf struct buf text = BUF_INIT(MOST), bytes = BUF_INIT(MOST);
	uint8_t raw[16];
	char hex[33];

	if (in.len == 32 && crypto_unhex(in, raw, sizeof(raw))) {
		crypto_hex(raw, sizeof(raw), hex);
		check(str_ieqz(in, hex));
	}
	crypto_base64(in.ptr, in.len, &text);
	check(crypto_unbase64(buf_str(&text), &bytes) && str_eq(buf_str(&bytes), in));
	buf_reset(&bytes);
	buf_reset(&text);
	if (!crypto_unbase64(in, &bytes))
		return;
	crypto_base64(buf_str(&bytes).ptr, bytes.len, &text); /* one spelling */
	check(str_eq(buf_str(&text), in));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	crypto_init();
	return 0;
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len)
{
	struct str in = {(const char *)bytes, len};

	if (!len || len > 4096)
		return 0;
	numbers(in);
	json_string(in);
	html(in);
	percent(in);
	plain_text(in);
	pieces(in, in.ptr[0]);
	capped(in, bytes[0]);
	binary(in);
	return 0;
}
