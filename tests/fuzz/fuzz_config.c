/*
 * Fuzzes settings: the input is a key, a NUL and a value.  What is accepted is
 * shown as one line; a password never is.
 */
#include "base/config.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static size_t count_lines(const struct config *c, bool *secret)
{
	char *text = NULL;
	size_t len, lines = 0;
	FILE *out = open_memstream(&text, &len);

	config_print(c, out);
	fclose(out);
	for (size_t i = 0; i < len; i++)
		lines += text[i] == '\n';
	*secret = strstr(text, "hunter2") != NULL;
	free(text);
	return lines;
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len)
{
	struct str value = {(const char *)bytes, len}, key;
	cleanup_arena struct arena a = {.limit = 1 << 20};
	struct config c;
	struct error e;
	size_t before;
	bool secret;
	char *connection;

	if (len > 4096 || !str_cut(&value, '\0', &key) || !value.ptr || memchr(value.ptr, '\0', value.len))
		return 0;
	check(config_load(&a, "/dev/null", &c, &e) == OK);
	before = count_lines(&c, &secret);
	if (config_set(&a, &c, arena_str(&a, key).ptr, arena_str(&a, value).ptr, &e))
		check(e.msg[0]);
	check(count_lines(&c, &secret) == before);
	/* A password behind anything that leaves libpq's quotes closed. */
	if (memchr(value.ptr, '\'', value.len) || memchr(value.ptr, '\\', value.len) || memchr(value.ptr, '=', value.len) ||
	    memchr(value.ptr, ':', value.len))
		return 0;
	connection = arena_printf(&a, "application_name=%.*s password = 'hunter2'", STR_ARG(value));
	if (config_set(&a, &c, "database", connection, &e) == OK) {
		check(count_lines(&c, &secret) == before);
		check(!secret || str_index(value, 'h') >= 0);
	}
	return 0;
}
