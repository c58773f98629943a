/* Settings: defaults, file, environment, bounds, what follows from what, what is never shown. */
#include "base/config.h"
#include "unit.h"

static struct arena arena;
static struct config config;
static struct error error;

/* Each test is a process of its own; the environment is only what it sets. */
static void setup(void)
{
	clearenv();
	arena_init(&arena, 1 << 20);
	error = (struct error){0};
}

static void teardown(void)
{
	arena_free(&arena);
}

static enum err load_text(const char *text)
{
	char path[] = "/tmp/gpupool-config-XXXXXX";
	int fd = mkstemp(path);
	enum err r;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
	r = config_load(&arena, path, &config, &error);
	unlink(path);
	return r;
}

START_TEST(test_defaults)
{
	ck_assert_int_eq(config_load(&arena, NULL, &config, &error), OK);
	ck_assert_int_eq(config.port, 8080);
	ck_assert_str_eq(config.public_url, "http://127.0.0.1:8080");
	ck_assert_str_eq(config.state, "./state");
	ck_assert_str_eq(config.store, "./state/store");
	ck_assert_str_eq(config.listen, "./state/run/web.sock");
	ck_assert_str_eq(config.python, "/usr/bin/python3");
	ck_assert_str_eq(config.providers, "all");
	ck_assert_str_eq(config.database, "");
	ck_assert_int_eq(config.max_parked, 4000);
	ck_assert_int_eq(config.heartbeat_seconds, 15);
	ck_assert_int_eq(config.lease_inference_seconds, 60);
	ck_assert_int_eq(config.lease_script_seconds, 300);
	ck_assert_int_eq(config.lease_training_seconds, 1800);
	ck_assert_int_eq(config.max_log, 64 << 20);
	ck_assert_int_eq(config.max_artifact, 2LL << 30);
	ck_assert_int_eq(config.max_artifacts_job, 10LL << 30);
	ck_assert(config.demo && !config.local_unsafe);
}
END_TEST

START_TEST(test_environment_beats_file_beats_default)
{
	setenv("GPUPOOL_PORT", "9001", 1);
	setenv("GPUPOOL_MAX_PARKED", "", 1); /* empty: the default */
	ck_assert_int_eq(load_text("# a comment\n\n  port = 9000 \ngrace_seconds=2m\r\nmax_parked = 7\n"
				   "database = host=/x password='a # b'"),
			 OK);
	ck_assert_int_eq(config.port, 9001);
	ck_assert_int_eq(config.grace_seconds, 120);
	ck_assert_int_eq(config.max_parked, 4000);
	ck_assert_str_eq(config.database, "host=/x password='a # b'");
	ck_assert_str_eq(config.public_url, "http://127.0.0.1:9001");
}
END_TEST

START_TEST(test_file_named_by_the_environment)
{
	setenv("GPUPOOL_CONFIG", "/nonexistent/gpupool.conf", 1);
	ck_assert_int_eq(config_load(&arena, NULL, &config, &error), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(error.msg, "/nonexistent/gpupool.conf"));
	setenv("GPUPOOL_CONFIG", "", 1);
	ck_assert_int_eq(config_load(&arena, NULL, &config, &error), OK);
}
END_TEST

static const struct {
	const char *text, *error;
} bad_files[] = {
	{"port = 1\nprot = 80\n", ":2: there is no setting prot"},
	{"port\n", ":1: not of the form key = value"},
	{"= 80\n", ":1: there is no setting "},
	{"PORT = 80\n", ":1: there is no setting PORT"},
	{"\n\nport = 80 80\n", ":3: port must be from 1 to 65535"},
	{"state = a\tb\n", ":1: state holds a control character"},
};

START_TEST(test_bad_file)
{
	config.port = 5;
	ck_assert_int_eq(load_text(bad_files[_i].text), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(error.msg, bad_files[_i].error));
	ck_assert_int_eq(config.port, 5); /* untouched */
}
END_TEST

START_TEST(test_file_too_large)
{
	static char text[100000];

	memset(text, '#', sizeof(text) - 1);
	ck_assert_int_eq(load_text(text), ERR_TOO_LARGE);
}
END_TEST

static const struct {
	const char *key, *value;
} refused[] = {
	{"port", "0"}, {"port", "65536"}, {"port", "080"}, {"port", "80k"}, {"port", "-1"}, {"port", "http"},
	{"demo", "yes"}, {"demo", "true"}, {"demo", "2"}, {"local_unsafe", " 1"},
	{"max_log", "1"}, {"max_log", "1t"}, {"max_body", "1g"}, {"max_parked", "0"},
	{"grace_seconds", "-1"}, {"grace_seconds", "2h"}, {"heartbeat_seconds", "0"}, {"heartbeat_seconds", "60"},
	{"lease_script_seconds", "15"}, {"retention_days", "0"}, {"local_uid", "-1"}, {"password_slots", "0"},
	{"log_level", "INFO"}, {"python", "python3"},
	{"providers", "local,"}, {"providers", "Local"}, {"providers", "a b"},
	{"public_url", "example.org"}, {"public_url", "ftp://127.0.0.1"}, {"public_url", "http://example.org"},
	{"public_url", "https://example.org/"}, {"public_url", "https://example.org/path"}, {"public_url", "https://"},
	{"public_url", "https://a@example.org"}, {"public_url", "https://example.org:0"},
	{"public_url", "https://example.org:65536"}, {"public_url", "https://exa mple.org"},
	{"public_url", "https://Example.org"}, {"public_url", "http://127.0.0.1.example.org"},
	{"public_url", "http://localhost.example.org"}, {"public_url", "http://10.0.0.1:80"},
	{"public_url", "http://[::2]"}, {"public_url", "http://[::1"}, {"public_url", "https://example.org?x"},
	{"listen", "web.sock"}, {"listen", "0.0.0.0:9000"}, {"listen", "[::]:9000"}, {"listen", "0:9000"},
	{"listen", ":9000"}, {"listen", "10.0.0.1"}, {"listen", "10.0.0.1:0"}, {"listen", "[::g]:9000"},
	{"nginx_peers", "10.0.0.0/33"}, {"nginx_peers", "10.0.0.1,"}, {"nginx_peers", "host"}, {"nginx_peers", "10.0.0.1/"},
	{"nginx_peers", "fd00::/129"}, {"nginx_peers", "10.0.0.1/8/8"}, {"crash_at", "x"}, {"state", "a\nb"},
	{"outgoing_allow", "10.0.0.1"}, {"outgoing_allow", "10.0.0.0/33:1"}, {"outgoing_allow", "host:80"},
};

START_TEST(test_refused_value)
{
	struct config before;

	ck_assert_int_eq(config_load(&arena, NULL, &config, &error), OK);
	before = config;
	ck_assert_int_eq(config_set(&arena, &config, refused[_i].key, refused[_i].value, &error), ERR_INVALID);
	ck_assert_uint_gt(strlen(error.msg), 0);
	ck_assert_uint_gt(strlen(error.field), 0);
	ck_assert_mem_eq(&before, &config, sizeof(config));
}
END_TEST

static const struct {
	const char *key, *value;
} accepted[] = {
	{"port", "1"}, {"port", "65535"}, {"demo", "0"}, {"max_log", "128m"}, {"grace_seconds", "0"}, {"providers", "kaggle, local"},
	{"public_url", "https://gpu.example.org"}, {"public_url", "https://gpu.example.org:8443"},
	{"public_url", "http://localhost:80"}, {"public_url", "http://127.9.9.9"}, {"public_url", "http://[::1]:8080"},
	{"public_url", "https://[2001:db8::1]"}, {"listen", "/run/gpupool/web.sock"}, {"listen", "./web.sock"},
	{"listen", "10.0.0.1:9000"}, {"listen", "[fd00::1]:9000"}, {"listen", "[::1]:9000"},
	{"nginx_peers", "10.0.0.0/8, fd00::/8,192.168.1.1"}, {"local_uid", "0"}, {"log_level", "debug"},
	{"outgoing_allow", "10.0.0.0/8:443, [fd00::/8]:*"},
};

START_TEST(test_accepted_value)
{
	ck_assert_int_eq(config_load(&arena, NULL, &config, &error), OK);
	ck_assert_msg(config_set(&arena, &config, accepted[_i].key, accepted[_i].value, &error) == OK, "%s", error.msg);
}
END_TEST

START_TEST(test_unknown_key)
{
	ck_assert_int_eq(config_load(&arena, NULL, &config, &error), OK);
	ck_assert_int_eq(config_set(&arena, &config, "ports", "80", &error), ERR_NOT_FOUND);
	ck_assert_str_eq(error.field, "ports");
}
END_TEST

START_TEST(test_what_follows_follows)
{
	ck_assert_int_eq(load_text("store = /srv/store\n"), OK);
	ck_assert_int_eq(config_set(&arena, &config, "state", "/tmp/s", &error), OK);
	ck_assert_int_eq(config_set(&arena, &config, "port", "81", &error), OK);
	ck_assert_str_eq(config.local_dir, "/tmp/s/local");
	ck_assert_str_eq(config.listen, "/tmp/s/run/web.sock");
	ck_assert_str_eq(config.public_url, "http://127.0.0.1:81");
	ck_assert_str_eq(config.store, "/srv/store"); /* was set */
	ck_assert_int_eq(config_set(&arena, &config, "store", "", &error), OK);
	ck_assert_str_eq(config.store, "/tmp/s/store");
}
END_TEST

START_TEST(test_crash_points_only_in_test_builds)
{
	enum err r;

	ck_assert_int_eq(config_load(&arena, NULL, &config, &error), OK);
	r = config_set(&arena, &config, "crash_at", "3", &error);
#ifdef GPUPOOL_TEST
	ck_assert_int_eq(r, OK);
	ck_assert_str_eq(config.crash_at, "3");
#else
	ck_assert_int_eq(r, ERR_INVALID);
#endif
}
END_TEST

static char *printed(void)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	ck_assert_ptr_nonnull(out);
	config_print(&config, out);
	fclose(out);
	return text;
}

START_TEST(test_printed_settings_load_again)
{
	cleanup_free char *text = NULL, *again = NULL;

	ck_assert_int_eq(load_text("max_log = 1m\ndemo = 0\nnginx_peers = ::1\n"), OK);
	text = printed();
	ck_assert_ptr_nonnull(strstr(text, "\nmax_log = 1048576\n"));
	ck_assert_ptr_nonnull(strstr(text, "\ndemo = 0\n"));
	ck_assert_int_eq(load_text(text), OK);
	again = printed();
	ck_assert_str_eq(text, again);
}
END_TEST

static const struct {
	const char *database, *shown;
} connections[] = {
	{"host=/x password=hunter2", "host=/x password=***"},
	{"password=hunter2 host=/x", "password=*** host=/x"},
	{"password = hunter2 host=/x", "password=*** host=/x"},
	{"password='hun ter2\\' x' host=/x", "password=*** host=/x"},
	{"password='hunter2", "password=***"},
	{"PASSWORD=hunter2", "password=***"},
	{"sslpassword=hunter2 x=1", "sslpassword=*** x=1"},
	{"postgresql://me:hunter2@h/db", "postgresql://me:***@h/db"},
	{"postgresql://:hunter2@h/db", "postgresql://:***@h/db"},
	{"postgresql://me@h:5432/db", "postgresql://me@h:5432/db"},
	{"postgresql://h/db?user=me&password=hunter2&x=1", "postgresql://h/db?user=me&password=***&x=1"},
	{"passfile=/x", "passfile=/x"},
};

START_TEST(test_passwords_are_never_shown)
{
	cleanup_free char *text = NULL;
	char want[200];

	setenv("GPUPOOL_DATABASE", connections[_i].database, 1);
	setenv("GPUPOOL_PIP_ARGS", "-i https://u:hunter2@a/s --extra-index-url https://v:hunter2@b/s", 1);
	ck_assert_int_eq(config_load(&arena, NULL, &config, &error), OK);
	text = printed();
	snprintf(want, sizeof(want), "\ndatabase = %s\n", connections[_i].shown);
	ck_assert_msg(strstr(text, want) != NULL, "%s", text);
	ck_assert_ptr_nonnull(strstr(text, "-i https://u:***@a/s --extra-index-url https://v:***@b/s\n"));
	ck_assert_ptr_null(strstr(text, "hunter2"));
	ck_assert_ptr_null(strstr(text, "ter2"));
}
END_TEST

START_TEST(test_arena_too_small)
{
	struct arena small;

	arena_init(&small, 256);
	ck_assert_int_eq(config_load(&small, NULL, &config, &error), ERR_TOO_LARGE);
	arena_free(&small);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("config");
	TCase *t = tcase_create("config");

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, test_defaults);
	tcase_add_test(t, test_environment_beats_file_beats_default);
	tcase_add_test(t, test_file_named_by_the_environment);
	tcase_add_loop_test(t, test_bad_file, 0, ARRAY_LEN(bad_files));
	tcase_add_test(t, test_file_too_large);
	tcase_add_loop_test(t, test_refused_value, 0, ARRAY_LEN(refused));
	tcase_add_loop_test(t, test_accepted_value, 0, ARRAY_LEN(accepted));
	tcase_add_test(t, test_unknown_key);
	tcase_add_test(t, test_what_follows_follows);
	tcase_add_test(t, test_crash_points_only_in_test_builds);
	tcase_add_test(t, test_printed_settings_load_again);
	tcase_add_loop_test(t, test_passwords_are_never_shown, 0, ARRAY_LEN(connections));
	tcase_add_test(t, test_arena_too_small);
	suite_add_tcase(s, t);
	return unit_run(s);
}
