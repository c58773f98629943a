/*
 * kaggle_log - what a run said, and why it ended.
 *
 * Kaggle sends a log as a JSON array of {"stream_name","time","data"} within a
 * string; a plain text at times.  The array is read by a scanner of its own: it
 * may have a hundred thousand elements, and one with a half character or a zero
 * in it must not cost the rest.
 */
#include "provider/kaggle.h"

#include <string.h>

/* ---- an array that may be broken ------------------------------------------ */

struct scan {
	const char *at, *end;
};

static void skip_space(struct scan *s)
{
	while (s->at < s->end && strchr(" \t\r\n", *s->at))
		s->at++;
}

static bool next_is(struct scan *s, char c)
{
	skip_space(s);
	return s->at < s->end && *s->at == c;
}

static bool take(struct scan *s, char c)
{
	if (!next_is(s, c))
		return false;
	s->at++;
	return true;
}

/* A string as it is written, without its quotes. */
static bool take_string(struct scan *s, struct str *ret)
{
	const char *begin;

	if (!take(s, '"'))
		return false;
	for (begin = s->at; s->at < s->end && *s->at != '"'; s->at++)
		if (*s->at == '\\' && s->at + 1 < s->end)
			s->at++;
	*ret = (struct str){begin, (size_t)(s->at - begin)};
	if (s->at < s->end)
		s->at++;
	return true; /* also where the text was cut off in it */
}

/* Any value: what stands in brackets is counted, not understood. */
static void skip_value(struct scan *s)
{
	struct str text;
	int depth = 0;

	while (skip_space(s), s->at < s->end) {
		if (*s->at == '"') {
			take_string(s, &text);
		} else {
			if (!depth && strchr(",]}", *s->at))
				return;
			depth += strchr("[{", *s->at) ? 1 : strchr("]}", *s->at) ? -1 : 0;
			s->at++;
		}
		if (!depth && s->at < s->end && strchr(",]}", *s->at))
			return;
	}
}

static bool hex4(struct str s, size_t at, unsigned *ret)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";

	*ret = 0;
	for (size_t i = at; i < at + 4; i++) {
		const char *d = i < s.len && s.ptr[i] ? strchr(digits, s.ptr[i]) : NULL;

		if (!d)
			return false;
		*ret = *ret * 16 + (unsigned)(d - digits) % 16;
	}
	return true;
}

/* At "uXXXX", perhaps with its other half; the number of bytes taken.  What cannot be meant
 * becomes U+FFFD when the whole is made well formed. */
static size_t add_unicode(struct buf *b, struct str s, size_t at)
{
	unsigned high, low;

	if (!hex4(s, at + 1, &high)) {
		buf_addc(b, 'u');
		return 1;
	}
	if (high >= 0xd800 && high < 0xdc00 && at + 6 < s.len && s.ptr[at + 5] == '\\' && s.ptr[at + 6] == 'u' && hex4(s, at + 7, &low) &&
	    low >= 0xdc00 && low < 0xe000) {
		buf_add_utf8(b, 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
		return 11;
	}
	buf_add_utf8(b, high ? high : 0xfffd);
	return 5;
}

static void add_unescaped(struct buf *b, struct str s)
{
	static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";

	for (size_t i = 0; i < s.len; i++) {
		const char *known;

		if (s.ptr[i] != '\\' || i + 1 == s.len) {
			buf_addc(b, s.ptr[i]);
			continue;
		}
		i++;
		if (s.ptr[i] == 'u') {
			i += add_unicode(b, s, i) - 1;
			continue;
		}
		known = s.ptr[i] ? strchr(from, s.ptr[i]) : NULL;
		buf_addc(b, known ? to[known - from] : s.ptr[i]);
	}
}

/* The data of one element; false when this is none. */
static bool take_element(struct scan *s, struct buf *ret)
{
	struct str key, value = STR_NULL;

	if (!take(s, '{'))
		return false;
	while (take_string(s, &key) && take(s, ':')) {
		if (str_eqz(key, "data") && next_is(s, '"')) {
			take_string(s, &value);
			add_unescaped(ret, value);
		} else {
			skip_value(s);
		}
		if (!take(s, ','))
			break;
	}
	return take(s, '}') || s->at >= s->end;
}

/* ---- the end of it -------------------------------------------------------- */

/* Keeps memory bounded: what is cut off is never needed again. */
static void keep_end(struct buf *b, bool *cut)
{
	if (b->len <= 2 * KAGGLE_LOG_MOST)
		return;
	buf_consume(b, b->len - KAGGLE_LOG_MOST);
	*cut = true;
}

static bool read_array(struct str raw, struct buf *ret, bool *cut)
{
	struct scan s = {raw.ptr, raw.ptr + raw.len};

	if (!take(&s, '['))
		return false;
	while (!next_is(&s, ']') && s.at < s.end) {
		if (!take_element(&s, ret))
			return false;
		keep_end(ret, cut);
		if (!take(&s, ','))
			break;
	}
	return true;
}

void kaggle_log_read(struct str raw, struct buf *ret)
{
	static const char left_out[] = "[The beginning of the log was left out.]\n";
	cleanup_buf struct buf b = BUF_INIT(raw.len + 1), text = BUF_INIT(SIZE_MAX / 8);
	bool cut = false;
	struct str all;
	size_t over;

	raw = str_trim(raw);
	if (!read_array(raw, &b, &cut)) {
		buf_reset(&b);
		buf_addstr(&b, raw);
		cut = false;
	}
	buf_add_text(&text, buf_str(&b), false);
	kaggle_hide_tokens(text.ptr, text.len);
	all = buf_str(&text);
	over = all.len > KAGGLE_LOG_MOST - sizeof(left_out) ? all.len - (KAGGLE_LOG_MOST - sizeof(left_out)) : 0;
	if (over || cut) {
		buf_adds(ret, left_out);
		/* From a line's beginning, if one is near, else from a character's. */
		for (size_t i = over; i < all.len && i < over + 4096; i++)
			if (i && all.ptr[i - 1] == '\n') {
				over = i;
				break;
			}
		while (over < all.len && ((unsigned char)all.ptr[over] & 0xc0) == 0x80)
			over++;
	}
	buf_add(ret, all.ptr + over, all.len - over);
}

/* ---- an answer that was cut ------------------------------------------------ */

/* One member; false when the rest is cut off. */
static bool take_member(struct scan *s, struct json *ret)
{
	struct str key, value;
	const char *begin;
	bool whole;

	if (!take_string(s, &key) || !take(s, ':'))
		return false;
	skip_space(s);
	begin = s->at;
	skip_value(s);
	whole = s->at < s->end; /* what ends a value was seen, too */
	value = (struct str){begin, (size_t)(s->at - begin)};
	if (str_eqz(key, "log") && str_starts(value, "\"")) {
		cleanup_buf struct buf text = BUF_INIT(value.len + 1);
		size_t end = value.len - (whole && value.len > 1);

		add_unescaped(&text, (struct str){value.ptr + 1, end - 1});
		json_put_str(ret, "log", buf_str(&text));
		json_put_bool(ret, "logCut", !whole);
	} else if (whole && (str_eqz(key, "files") || str_eqz(key, "nextPageToken"))) {
		cleanup_json struct json *j = NULL;

		if (!json_parse(value, SIZE_MAX, &j, NULL))
			json_put(ret, str_eqz(key, "files") ? "files" : "nextPageToken", steal_ptr(j));
	}
	return whole && take(s, ',');
}

struct json *kaggle_answer_head(struct str cut)
{
	struct scan s = {cut.ptr, cut.ptr + cut.len};
	struct json *ret = json_object();

	if (take(&s, '{'))
		while (take_member(&s, ret))
			;
	if (!json_has(ret, "log") && !json_has(ret, "files")) {
		json_free(ret);
		return NULL;
	}
	return ret;
}

/* ---- tokens --------------------------------------------------------------- */

static size_t token_length(const char *text, size_t len)
{
	static const char more[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	size_t n = 0;

	while (n < len && memchr(more, text[n], sizeof(more) - 1))
		n++;
	return n;
}

void kaggle_hide_tokens(char *text, size_t len)
{
	for (size_t i = 0; i + 5 < len; i++) {
		bool ours = text[i] == 'g' && text[i + 1] == 'p' && text[i + 2] >= 'a' && text[i + 2] <= 'z' && text[i + 3] == '_';
		size_t head = ours ? 4 : !memcmp(text + i, "KGAT_", 5) ? 5 : 0;
		size_t n = head ? token_length(text + i + head, len - i - head) : 0;

		if (head && n >= (ours ? 20 : 8)) {
			memset(text + i + head, '*', n);
			i += head + n - 1;
		}
	}
}

/* ---- why it ended --------------------------------------------------------- */

static const struct sign {
	const char *words;
	bool always;                   /* also after the agent ended well */
	const char *code, *reason;
} signs[] = {
	{"gpupool: a GPU was asked for, and this machine has none", true, "no_gpu",
	 "Kaggle gave the notebook no GPU: verify the account's phone number there, and look at its quota."},
	{"phone verif", false, "phone", "Kaggle wants the account's phone number to be verified before it gives internet or a GPU."},
	{"verify your phone", false, "phone", "Kaggle wants the account's phone number to be verified before it gives internet or a GPU."},
	{"max allowed execution duration", false, "limit", "Kaggle ended the run because its time was over."},
	{"exceeded the time limit", false, "limit", "Kaggle ended the run because its time was over."},
	{"Timeout waiting for", false, "limit", "Kaggle ended the run because its time was over."},
	{"tried to allocate more memory", false, "out_of_memory", "The machine at Kaggle ran out of memory."},
	{"perhaps for want of memory", false, "out_of_memory", "The agent was killed, most likely because the machine at Kaggle ran out of memory."},
	{"MemoryError", false, "out_of_memory", "The machine at Kaggle ran out of memory."},
	{"Name or service not known", false, "no_internet", "The notebook has no internet: verify the account's phone number at Kaggle."},
	{"Temporary failure in name resolution", false, "no_internet",
	 "The notebook has no internet: verify the account's phone number at Kaggle."},
	{"Network is unreachable", false, "no_internet", "The notebook has no internet: verify the account's phone number at Kaggle."},
	{"agent ended with status 6", false, "unreachable",
	 "The agent could not reach this server in time: its public address must lead here from the internet."},
	{"agent ended with status 3", false, "token", "The agent's token was no longer good: the run waited too long, or its session was over."},
	{"agent ended with status 4", false, "token", "Another machine used the agent's token first."},
	{"agent ended with status 5", false, "session_over", "The agent's session was over."},
	{"Traceback (most recent call last)", false, "agent_error", "The agent failed"},
	{"agent ended with status", false, "agent_error", "The agent failed"},
	{"agent was killed by signal", false, "killed", "The agent was killed at Kaggle."},
};

/* The last line that says something and is not the start script's own. */
static struct str last_line(struct str log)
{
	struct str line, last = STR_NULL;

	while (str_cut(&log, '\n', &line)) {
		line = str_trim(line);
		if (line.len && !str_starts(line, "gpupool: "))
			last = line;
	}
	return last;
}

static bool occurs(struct str log, const char *words)
{
	return log.len && memmem(log.ptr, log.len, words, strlen(words));
}

bool kaggle_diagnose(struct str log, const char **code, char reason[KAGGLE_REASON])
{
	bool well = occurs(log, "gpupool: the agent ended with status 0");

	for (size_t i = 0; i < ARRAY_LEN(signs); i++) {
		const struct sign *s = &signs[i];
		struct str line = strcmp(s->code, "agent_error") ? STR_NULL : last_line(log);

		if ((well && !s->always) || !occurs(log, s->words))
			continue;
		*code = s->code;
		if (strcmp(s->code, "agent_error"))
			snprintf(reason, KAGGLE_REASON, "%s", s->reason);
		else if (line.len)
			snprintf(reason, KAGGLE_REASON, "%s: %.*s", s->reason, line.len < 160 ? (int)line.len : 160, line.ptr);
		else
			snprintf(reason, KAGGLE_REASON, "%s.", s->reason);
		return true;
	}
	return false;
}
