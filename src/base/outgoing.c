/* outgoing - see base/outgoing.h. */
#include "base/outgoing.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <string.h>

/* ---- one form for all addresses ------------------------------------------- */

/* IPv4 as v4-mapped IPv6, so that there is one way to compare. */
struct address {
	uint8_t bytes[16];
	int port;
};

static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static struct address address_of_v4(const struct in_addr *v4)
{
	struct address a = {.port = 0};

	memcpy(a.bytes, mapped, sizeof(mapped));
	memcpy(a.bytes + 12, v4, 4);
	return a;
}

static bool address_of(const struct sockaddr *s, struct address *ret)
{
	struct sockaddr_in four;
	struct sockaddr_in6 six;

	if (s->sa_family == AF_INET) {
		memcpy(&four, s, sizeof(four));
		*ret = address_of_v4(&four.sin_addr);
		ret->port = ntohs(four.sin_port);
		return true;
	}
	if (s->sa_family != AF_INET6)
		return false;
	memcpy(&six, s, sizeof(six));
	memcpy(ret->bytes, &six.sin6_addr, 16);
	ret->port = ntohs(six.sin6_port);
	return true;
}

static uint32_t v4_at(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static bool begins(const uint8_t *bytes, const uint8_t *net, int bits)
{
	int whole = bits / 8, rest = bits % 8;

	return !memcmp(bytes, net, (size_t)whole) && (!rest || !((bytes[whole] ^ net[whole]) >> (8 - rest)));
}

/* ---- public --------------------------------------------------------------- */

bool outgoing_v4_public(uint32_t a)
{
	static const struct {
		uint32_t net;
		int bits;
	} special[] = {
		{0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},	{0xa9fe0000, 16}, {0xac100000, 12},
		{0xc0000000, 24}, {0xc0000200, 24}, {0xc0586300, 24}, {0xc0a80000, 16}, {0xc6120000, 15}, {0xc6336400, 24},
		{0xcb007100, 24}, {0xe0000000, 3},
	};

	for (size_t i = 0; i < ARRAY_LEN(special); i++)
		if (a >> (32 - special[i].bits) == special[i].net >> (32 - special[i].bits))
			return false;
	return true;
}

bool outgoing_v6_public(const struct in6_addr *a)
{
	static const struct {
		uint8_t net[16];
		int bits;
	} special[] = {
		{{0x20, 0x01, 0x00}, 23},       /* protocol assignments, Teredo among them */
		{{0x20, 0x01, 0x0d, 0xb8}, 32}, /* documentation */
		{{0x20, 0x02}, 16},             /* 6to4: leads to any IPv4 address */
		{{0x3f, 0xff, 0x00}, 20},       /* documentation */
	};

	for (size_t i = 0; i < ARRAY_LEN(special); i++)
		if (begins(a->s6_addr, special[i].net, special[i].bits))
			return false;
	return (a->s6_addr[0] & 0xe0) == 0x20;
}

bool outgoing_loopback(const struct sockaddr *to)
{
	static const uint8_t one[16] = {[15] = 1};
	struct address a;

	if (!address_of(to, &a))
		return false;
	return !memcmp(a.bytes, one, 16) || (begins(a.bytes, mapped, 96) && a.bytes[12] == 127);
}

bool outgoing_url_loopback(struct str url)
{
	struct sockaddr_in four = {.sin_family = AF_INET};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	char host[INET6_ADDRSTRLEN + 8];
	size_t begin = str_starts(url, "https://") ? 8 : str_starts(url, "http://") ? 7 : url.len, len;
	bool bracket = begin < url.len && url.ptr[begin] == '[';

	begin += bracket;
	for (len = 0; begin + len < url.len && !strchr(bracket ? "]" : ":/?#", url.ptr[begin + len]);)
		len++;
	if (!len || len >= sizeof(host))
		return false;
	snprintf(host, sizeof(host), "%.*s", (int)len, url.ptr + begin);
	if (bracket)
		return inet_pton(AF_INET6, host, &six.sin6_addr) == 1 && outgoing_loopback((struct sockaddr *)&six);
	if (inet_pton(AF_INET, host, &four.sin_addr) == 1)
		return outgoing_loopback((struct sockaddr *)&four);
	return !strcmp(host, "localhost");
}

bool outgoing_own(const struct sockaddr *to)
{
	struct ifaddrs *all = NULL;
	struct address a, own;
	bool found = false;

	if (!address_of(to, &a) || getifaddrs(&all))
		return false;
	for (const struct ifaddrs *i = all; i && !found; i = i->ifa_next)
		found = i->ifa_addr && address_of(i->ifa_addr, &own) && !memcmp(a.bytes, own.bytes, 16);
	freeifaddrs(all);
	return found;
}

bool outgoing_may(const struct outgoing *o, bool https, const struct sockaddr *to)
{
	static const uint8_t nat64[16] = {0x00, 0x64, 0xff, 0x9b};
	struct in6_addr six;
	struct address a;

	if (!address_of(to, &a))
		return false;
	if (outgoing_list_has(str_of(o->allow), to) || (o->loopback && outgoing_loopback(to)))
		return true;
	if (!https || outgoing_own(to))
		return false;
	/* IPv4 by other names leads to where the inner address lies. */
	if (begins(a.bytes, mapped, 96) || begins(a.bytes, nat64, 96))
		return outgoing_v4_public(v4_at(a.bytes + 12));
	memcpy(&six, a.bytes, 16);
	return outgoing_v6_public(&six);
}

/* ---- exceptions ----------------------------------------------------------- */

struct exception {
	uint8_t net[16];
	int bits;
	int64_t port; /* 0 = any */
};

/* "10.1.0.0/16", or what stands between the brackets. */
static bool parse_net(struct str s, bool six, struct exception *ret)
{
	struct str address;
	char text[INET6_ADDRSTRLEN];
	int64_t bits = six ? 128 : 32;
	struct in_addr four;

	str_cut(&s, '/', &address);
	if (address.len >= sizeof(text) || (s.ptr && !str_to_i64(s, 0, bits, &bits)))
		return false;
	snprintf(text, sizeof(text), "%.*s", STR_ARG(address));
	ret->bits = (int)bits + (six ? 0 : 96);
	if (six)
		return inet_pton(AF_INET6, text, ret->net) == 1;
	if (inet_pton(AF_INET, text, &four) != 1)
		return false;
	memcpy(ret->net, address_of_v4(&four).bytes, 16);
	return true;
}

static bool parse_exception(struct str s, struct exception *ret)
{
	bool six = str_starts(s, "[");
	ptrdiff_t end = six ? str_index(s, ']') : str_index(s, ':');
	struct str net, port;

	if (end < 0)
		return false;
	net = (struct str){s.ptr + six, (size_t)end - six};
	port = (struct str){s.ptr + end + six, s.len - (size_t)end - six};
	if (!str_starts(port, ":") || !parse_net(net, six, ret))
		return false;
	port = (struct str){port.ptr + 1, port.len - 1};
	ret->port = 0;
	return str_eqz(port, "*") || str_to_i64(port, 1, 65535, &ret->port);
}

const char *outgoing_list_check(struct str list)
{
	struct exception x;
	struct str item;

	while (str_cut(&list, ',', &item))
		if (!parse_exception(str_trim(item), &x))
			return "must be a comma list of address/bits:port, an IPv6 one as [address/bits]:port, * for any port";
	return NULL;
}

bool outgoing_list_has(struct str list, const struct sockaddr *to)
{
	struct exception x;
	struct address a;
	struct str item;

	if (!list.len || !address_of(to, &a))
		return false;
	while (str_cut(&list, ',', &item))
		if (parse_exception(str_trim(item), &x) && begins(a.bytes, x.net, x.bits) && (!x.port || x.port == a.port))
			return true;
	return false;
}
