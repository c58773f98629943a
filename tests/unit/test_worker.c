/* Whether a worker elsewhere could reach us, by the address that we say we have. */
#include "domain/worker.h"
#include "unit.h"

#include <string.h>

static const struct {
	const char *url;
	bool public, loopback;
} urls[] = {
	{"https://gpu.example.org", true, false},
	{"https://gpu.example.org:8443/pool", true, false},
	{"https://8.8.8.8", true, false},
	{"https://[2606:4700::1]:443", true, false},
	{"http://gpu.example.org", false, false}, /* no TLS */
	{"http://127.0.0.1:8080", false, true},
	{"https://127.8.9.1", false, true},
	{"http://localhost:8080", false, true},
	{"http://a.localhost", false, true},
	{"http://[::1]:8080", false, true},
	{"https://10.1.2.3", false, false},
	{"https://172.16.0.1", false, false},
	{"https://172.31.255.255", false, false},
	{"https://172.32.0.1", true, false},
	{"https://192.168.1.5", false, false},
	{"https://100.64.0.1", false, false},
	{"https://100.128.0.1", true, false},
	{"https://169.254.169.254", false, false},
	{"https://0.0.0.0", false, false},
	{"https://224.0.0.1", false, false},
	{"https://255.255.255.255", false, false},
	{"https://198.18.0.1", false, false},
	{"https://[fe80::1]", false, false},
	{"https://[fd00::1]", false, false},
	{"https://[::ffff:8.8.8.8]", false, false},
	{"https://[::]", false, false},
	{"https://gpuhost", false, false}, /* a name of one's own network */
	{"https://gpuhost.local", false, false},
	{"https://gpuhost.internal", false, false},
	{"https://gpu.lan", false, false},
	{"https://localhost.example.org", true, false},
	{"ftp://gpu.example.org", false, false},
	{"https://", false, false},
	{"gpu.example.org", false, false},
	{"", false, false},
};

START_TEST(test_reachable)
{
	struct error e = {0};
	const char *url = urls[_i].url;
	const struct config config = {.public_url = url, .kaggle_url = "https://api.kaggle.com/v1"};

	ck_assert_int_eq(worker_reachable("local", &config, &e), OK);
	ck_assert_msg((worker_reachable("kaggle", &config, &e) == OK) == urls[_i].public, "%s", url);
	if (!urls[_i].public) {
		ck_assert_int_eq(e.code, ERR_CONFLICT);
		ck_assert_str_eq(e.reason, "public_url");
	}
	ck_assert_msg((worker_reachable("manual", &config, &e) == OK) == (urls[_i].public || urls[_i].loopback), "%s", url);
}
END_TEST

static const struct {
	const char *base;
	bool loopback;
} bases[] = {
	{"http://127.0.0.1:9000/v1", true}, {"http://localhost:9000/v1", true}, {"http://[::1]:9000/v1", true}, {"https://api.kaggle.com/v1", false},
	{"https://127.0.0.1.example.org/v1", false}, {"https://10.0.0.1/v1", false},
};

START_TEST(test_stand_in_reaches_loopback)
{
	const struct config config = {.public_url = "http://127.0.0.1:8080", .kaggle_url = bases[_i].base};

	ck_assert_int_eq(worker_reachable("kaggle", &config, NULL), bases[_i].loopback ? OK : ERR_CONFLICT);
	ck_assert_int_eq(worker_reachable("colab", &config, NULL), ERR_CONFLICT);
}
END_TEST

START_TEST(test_host_too_long)
{
	char url[600] = "https://";
	const struct config config = {.public_url = url, .kaggle_url = "https://api.kaggle.com/v1"};

	memset(url + 8, 'a', 300);
	memcpy(url + 308, ".org", 5);
	ck_assert_int_eq(worker_reachable("kaggle", &config, NULL), ERR_CONFLICT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("worker");
	TCase *t = tcase_create("reachable");

	tcase_add_loop_test(t, test_reachable, 0, ARRAY_LEN(urls));
	tcase_add_loop_test(t, test_stand_in_reaches_loopback, 0, ARRAY_LEN(bases));
	tcase_add_test(t, test_host_too_long);
	suite_add_tcase(s, t);
	return unit_run(s);
}
