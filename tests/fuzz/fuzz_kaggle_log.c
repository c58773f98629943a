/*
 * Fuzzes the log of a run as Kaggle sends it: what comes out is bounded,
 * well-formed text without tokens; where the input is true JSON of the right
 * form, it is what a JSON parser makes of it.
 */
#include <string.h>

#include "provider/kaggle.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len);

static void check(bool ok)
{
	if (!ok)
		abort();
}

/* The same by way of the parser; false where the input is not of the form. */
static bool peer_read(struct str raw, struct buf *ret)
{
	cleanup_json struct json *j = NULL;

	if (json_parse(raw, 1 << 16, &j, NULL) != OK || json_type_of(j) != JSON_ARRAY)
		return false;
	for (size_t i = 0; i < json_len(j); i++) {
		if (json_type_of(json_at(j, i)) != JSON_OBJECT)
			return false;
		for (struct json_iter it = json_iter(json_at(j, i)); json_next(&it);)
			if (strpbrk(it.key, "\\\"") || (!strcmp(it.key, "data") && json_type_of(it.value) != JSON_STRING))
				return false;
		buf_addstr(ret, json_str(json_at(j, i), "data"));
	}
	return true;
}

/* An escape in a key could spell "data" otherwise; the scanner does not look for that. */
static bool has_escaped_key(struct str raw)
{
	return memmem(raw.ptr, raw.len, "\\u", 2) != NULL;
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len)
{
	cleanup_buf struct buf b = BUF_INIT(KAGGLE_LOG_MOST), theirs = BUF_INIT(1 << 18);
	struct str raw = {(const char *)bytes, len};
	char reason[KAGGLE_REASON] = "";
	const char *code = NULL;

	if (!len)
		return 0;
	kaggle_log_read(raw, &b);
	check(!b.failed && b.len <= KAGGLE_LOG_MOST);
	for (size_t i = 0; i < b.len; i++) {
		struct str rest = {b.ptr + i, b.len - i};
		size_t n = 4;

		if (!str_starts(rest, "gpe_"))
			continue;
		while (n < rest.len && memchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_", rest.ptr[n], 64))
			n++;
		check(n < 24 + 4);
	}
	if (kaggle_diagnose(buf_str(&b), &code, reason))
		check(code && reason[0] && memchr(reason, '\0', sizeof(reason)));
	if (!has_escaped_key(raw) && peer_read(raw, &theirs)) {
		kaggle_hide_tokens(theirs.ptr, theirs.len);
		check(str_eq(buf_str(&b), buf_str(&theirs)));
	}
	return 0;
}
