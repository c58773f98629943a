/* Log lines: one a call, whatever the values hold. */
#include "base/clock.h"
#include "base/log.h"
#include "unit.h"

#include <fcntl.h>

/* What the calls wrote to standard error; for one test's own process. */
static char written[20000];

static void begin(void)
{
	static char path[] = "/tmp/gpupool-log-XXXXXX";
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	unlink(path);
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	clock_fake(1795507966073);
}

static const char *end(void)
{
	ssize_t n = pread(STDERR_FILENO, written, sizeof(written) - 1, 0);

	ck_assert_int_ge(n, 0);
	written[n] = '\0';
	return written;
}

START_TEST(test_line)
{
	char want[200];

	begin();
	log_init("gpupool-web", LOG_INFO);
	log_context("req-1");
	log_warn("db.connect", "role=%s tries=%d", "web", 3);
	log_context(NULL);
	log_info("bare");
	log_debug("not.shown", "x=%d", 1);
	snprintf(want, sizeof(want),
		 "2026-11-24T08:12:46.073Z warn gpupool-web[%d] db.connect ctx=req-1 role=web tries=3\n"
		 "2026-11-24T08:12:46.073Z info gpupool-web[%d] bare\n",
		 (int)getpid(), (int)getpid());
	ck_assert_str_eq(end(), want);
}
END_TEST

START_TEST(test_value_with_newlines_and_controls)
{
	const char *line;

	begin();
	log_context("a\nb");
	log_error("x", "v=\"%s\"", "one\ntwo\r\x1b[31m\x7f é \xc2\x9b");
	line = end();
	ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
	ck_assert_ptr_nonnull(strstr(line, "ctx=a\\nb v=\"one\\ntwo\\x0d\\x1b[31m\\x7f é \\xc2"));
}
END_TEST

START_TEST(test_value_longer_than_a_line)
{
	static char huge[100000];
	const char *line;

	begin();
	memset(huge, '\x01', sizeof(huge) - 1); /* each becomes four bytes */
	log_error("x", "v=%s", huge);
	memset(huge, 'y', sizeof(huge) - 1);
	log_error("x", "v=%s", huge);
	line = end();
	ck_assert_uint_le(strlen(line), 2 * 4096);
	ck_assert_str_eq(line + strlen(line) - 5, "y...\n");
}
END_TEST

START_TEST(test_context_longer_than_its_room)
{
	char context[200];
	const char *line;

	begin();
	memset(context, 'c', sizeof(context) - 1);
	context[sizeof(context) - 1] = '\0';
	log_context(context);
	log_info("x");
	line = end();
	ck_assert_uint_eq(strspn(strstr(line, "ctx=") + 4, "c"), 63);
}
END_TEST

START_TEST(test_level_names)
{
	enum log_level level = LOG_WARN;

	ck_assert(log_level_parse("debug", &level) && level == LOG_DEBUG);
	ck_assert(log_level_parse("error", &level) && level == LOG_ERROR);
	ck_assert(!log_level_parse("Error", &level) && !log_level_parse("", &level));
	ck_assert_int_eq(level, LOG_ERROR);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("log");
	TCase *t = tcase_create("log");

	tcase_add_test(t, test_line);
	tcase_add_test(t, test_value_with_newlines_and_controls);
	tcase_add_test(t, test_value_longer_than_a_line);
	tcase_add_test(t, test_context_longer_than_its_room);
	tcase_add_test(t, test_level_names);
	suite_add_tcase(s, t);
	return unit_run(s);
}
