/*
 * Fuzzes json_parse(): what it accepts must be written, read and written again
 * without a change, must be accepted by json-c's strict parser too, and must
 * mean the same there.
 */
#define json_bool jsonc_bool
#define json_object jsonc_object
#define json_type jsonc_type
#include <json-c/json.h>
#undef json_bool
#undef json_object
#undef json_type

#include <stdio.h>

#include "base/json.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len);

enum { MOST = 1 << 16 };

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* As json-c reads it; aborts where it does not. */
static struct jsonc_object *peer_parse(struct str text)
{
	struct json_tokener *tok = json_tokener_new_ex(JSON_DEPTH + 2);
	struct jsonc_object *root;

	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tok, text.ptr, (int)text.len);
	if (json_tokener_get_error(tok) == json_tokener_continue)
		root = json_tokener_parse_ex(tok, "", 1); /* a number ends only here */
	check(json_tokener_get_error(tok) == json_tokener_success);
	json_tokener_free(tok);
	return root;
}

/* Above that json-c clamps integers, and we do not. */
static bool has_long_number(struct str text)
{
	size_t run = 0;

	for (size_t i = 0; i < text.len; i++) {
		run = text.ptr[i] >= '0' && text.ptr[i] <= '9' ? run + 1 : 0;
		if (run > 18)
			return true;
	}
	return false;
}

/* json-c 0.16 takes a code point whose low half looks like a surrogate (U+1DA03, an escaped pair) for
 * half a pair, and reads U+FFFD. */
static bool has_surrogate_below(struct str text)
{
	unsigned high;

	for (size_t i = 0; i + 6 <= text.len; i++)
		if (text.ptr[i] == '\\' && text.ptr[i + 1] == 'u' && sscanf((char[]){text.ptr[i + 2], text.ptr[i + 3], text.ptr[i + 4], text.ptr[i + 5], 0}, "%4x", &high) == 1 &&
		    (high & 0xfc3e) == 0xd836)
			return true;
	return false;
}

static void compare(struct str text, struct str written)
{
	struct jsonc_object *theirs = peer_parse(text), *ours = peer_parse(written);

	check(has_long_number(text) || has_surrogate_below(text) || json_object_equal(theirs, ours));
	json_object_put(theirs);
	json_object_put(ours);
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len)
{
	cleanup_buf struct buf first = BUF_INIT(8 * MOST), second = BUF_INIT(8 * MOST);
	cleanup_json struct json *j = NULL, *again = NULL;
	struct str text = {(const char *)bytes, len};
	struct error e = {0};

	if (json_parse(text, MOST, &j, &e)) {
		check(!j && e.msg[0] && (e.code == ERR_INVALID || e.code == ERR_TOO_LARGE));
		return 0;
	}
	json_write(j, &first);
	check(!first.failed && str_is_utf8(buf_str(&first)));
	check(json_parse(buf_str(&first), SIZE_MAX, &again, NULL) == OK);
	json_write(again, &second);
	check(str_eq(buf_str(&first), buf_str(&second)));
	compare(text, buf_str(&first));
	buf_reset(&second);
	json_write_pretty(j, &second);
	json_free(steal_ptr(again));
	check(json_parse(buf_str(&second), SIZE_MAX, &again, NULL) == OK);
	for (struct json_iter it = json_iter(j); json_next(&it);)
		check(json_get(j, it.key) == it.value);
	return 0;
}
