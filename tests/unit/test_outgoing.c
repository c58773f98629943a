/* Which addresses may be connected to when others gave the URL. */
#include <arpa/inet.h>
#include <ifaddrs.h>

#include "base/outgoing.h"
#include "unit.h"

static struct sockaddr_storage address(const char *text, int port)
{
	struct sockaddr_storage s = {0};
	struct sockaddr_in *four = (struct sockaddr_in *)&s;
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&s;

	if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons((uint16_t)port);
	} else {
		ck_assert_msg(inet_pton(AF_INET6, text, &six->sin6_addr) == 1, "%s", text);
		six->sin6_family = AF_INET6;
		six->sin6_port = htons((uint16_t)port);
	}
	return s;
}

static bool may(const char *allow, bool loopback, bool https, const char *text, int port)
{
	struct outgoing o = {allow, loopback};
	struct sockaddr_storage s = address(text, port);

	return outgoing_may(&o, https, (struct sockaddr *)&s);
}

static const char *const good[] = {
	"8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "172.15.255.255", "172.32.0.0", "192.167.1.1", "223.255.255.255",
	"11.0.0.0", "2606:4700::1111", "2a00::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8",
};

START_TEST(test_public)
{
	ck_assert_msg(may("", false, true, good[_i], 443), "%s", good[_i]);
	ck_assert_msg(!may("", false, false, good[_i], 80), "http to %s", good[_i]);
}
END_TEST

static const char *const bad[] = {
	"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.0.1", "169.254.169.254", "172.16.0.1",
	"172.31.255.255", "192.0.0.1", "192.0.2.1", "192.168.0.1", "198.18.0.1", "198.51.100.7", "203.0.113.9", "224.0.0.1",
	"240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fec0::1", "fd00::1", "fc00::1", "ff02::1", "2001::1", "2001:db8::1",
	"2002:7f00:1::", "3fff::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::127.0.0.1",
	"64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "::8.8.8.8",
};

START_TEST(test_not_public)
{
	ck_assert_msg(!may("", false, true, bad[_i], 443), "%s", bad[_i]);
}
END_TEST

START_TEST(test_loopback_where_it_is_allowed)
{
	ck_assert(may("", true, false, "127.0.0.1", 80));
	ck_assert(may("", true, false, "127.8.0.1", 80));
	ck_assert(may("", true, true, "::1", 80));
	ck_assert(may("", true, true, "::ffff:127.0.0.1", 80));
	ck_assert(!may("", true, true, "10.0.0.1", 80));
	ck_assert(!may("", true, true, "0.0.0.0", 80));
	ck_assert(!may("", true, true, "::", 80));
}
END_TEST

static const struct {
	const char *allow, *text;
	int port;
	bool may;
} exceptions[] = {
	{"10.0.0.0/8:443", "10.9.8.7", 443, true},
	{"10.0.0.0/8:443", "10.9.8.7", 444, false},
	{"10.0.0.0/8:443", "192.168.0.1", 443, false},
	{"10.0.0.0/8:443", "::ffff:10.0.0.1", 443, true},
	{"10.0.0.0/9:*", "10.127.0.1", 9, true},
	{"10.0.0.0/9:*", "10.128.0.1", 9, false},
	{"10.0.0.1:80", "10.0.0.1", 80, true},
	{"10.0.0.1:80", "10.0.0.2", 80, false},
	{"192.168.0.0/16:1, 127.0.0.1/32:9000", "127.0.0.1", 9000, true},
	{"[fd00::/8]:443", "fd12::1", 443, true},
	{"[fd00::/8]:443", "fe80::1", 443, false},
	{"[::1]:*", "::1", 5, true},
	{"[::1]:*", "127.0.0.1", 5, false},
	{"0.0.0.0/0:*", "127.0.0.1", 5, true},
	{"0.0.0.0/0:*", "::1", 5, false},
};

START_TEST(test_exceptions)
{
	ck_assert_ptr_null(outgoing_list_check(str_of(exceptions[_i].allow)));
	ck_assert_int_eq(may(exceptions[_i].allow, false, false, exceptions[_i].text, exceptions[_i].port), exceptions[_i].may);
	ck_assert_int_eq(may(exceptions[_i].allow, false, true, exceptions[_i].text, exceptions[_i].port), exceptions[_i].may);
}
END_TEST

static const char *const malformed[] = {
	"10.0.0.1", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1/33:1", "10.0.0.1/:1", "10.0.0.1/8/8:1", "host:1", "[::1]",
	"[::1]1", "[::1:1", "::1:1", "[::1/129]:1", "[10.0.0.1]:1", "10.0.0.1:1,", ",", "10.0.0.1:1 2", "[]:1", ":1",
};

START_TEST(test_malformed_list)
{
	ck_assert_msg(outgoing_list_check(str_of(malformed[_i])) != NULL, "%s", malformed[_i]);
}
END_TEST

static const struct {
	const char *url;
	bool here;
} urls[] = {
	{"http://127.0.0.1:80/v1", true}, {"https://127.9.9.9", true}, {"http://localhost/", true}, {"http://[::1]:1/x", true},
	{"http://127.example.org/", false}, {"http://localhost.example.org", false}, {"https://8.8.8.8", false}, {"http://[::2]", false},
	{"http://", false}, {"", false}, {"ftp://127.0.0.1", false}, {"https://user@127.0.0.1", false}, {"http://[::1", true},
};

START_TEST(test_url_of_this_machine)
{
	ck_assert_msg(outgoing_url_loopback(str_of(urls[_i].url)) == urls[_i].here, "%s", urls[_i].url);
}
END_TEST

START_TEST(test_own_addresses)
{
	struct ifaddrs *all = NULL;
	struct sockaddr_storage elsewhere = address("8.8.8.8", 1), unix_one = {.ss_family = AF_UNIX};

	ck_assert(!outgoing_own((struct sockaddr *)&elsewhere));
	ck_assert(!outgoing_own((struct sockaddr *)&unix_one));
	ck_assert(!outgoing_may(&(struct outgoing){"", true}, true, (struct sockaddr *)&unix_one));
	ck_assert_int_eq(getifaddrs(&all), 0);
	for (const struct ifaddrs *i = all; i; i = i->ifa_next)
		if (i->ifa_addr && (i->ifa_addr->sa_family == AF_INET || i->ifa_addr->sa_family == AF_INET6))
			ck_assert(outgoing_own(i->ifa_addr));
	freeifaddrs(all);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("outgoing");
	TCase *t = tcase_create("outgoing");

	tcase_add_loop_test(t, test_public, 0, ARRAY_LEN(good));
	tcase_add_loop_test(t, test_not_public, 0, ARRAY_LEN(bad));
	tcase_add_test(t, test_loopback_where_it_is_allowed);
	tcase_add_loop_test(t, test_exceptions, 0, ARRAY_LEN(exceptions));
	tcase_add_loop_test(t, test_malformed_list, 0, ARRAY_LEN(malformed));
	tcase_add_loop_test(t, test_url_of_this_machine, 0, ARRAY_LEN(urls));
	tcase_add_test(t, test_own_addresses);
	suite_add_tcase(s, t);
	return unit_run(s);
}
