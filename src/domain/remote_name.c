/* remote_name - titles to names.  See domain/remote_name.h. */
#include "domain/remote_name.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/crypto.h"

static const char prefix[] = "gpupool-";

/* Letters of U+00C0 to U+017F without their marks; - where there is none. */
static const char latin[] =
	"aaaaaaaceeeeiiiidnooooo-ouuuuytsaaaaaaaceeeeiiii"
	"dnooooo-ouuuuytyaaaaaaccccccccddddeeeeeeeeeegggg"
	"gggghhhhiiiiiiiiiiiijjkkkllllllllllnnnnnnnnnoooo"
	"oooorrrrrrssssssssttttttuuuuuuuuuuuuwwyyyzzzzzzs";

/* The letter or digit for the character at *p, which is stepped over; 0 = none. */
static char next(const unsigned char **p)
{
	unsigned char c = *(*p)++;
	int code;

	if (c >= 'A' && c <= 'Z')
		return (char)(c | 0x20);
	if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
		return (char)c;
	if (c < 0xc0)
		return 0;
	code = c & 0x1f;
	if ((c & 0xe0) == 0xc0 && (**p & 0xc0) == 0x80) {
		code = code << 6 | (*(*p)++ & 0x3f);
		code -= 0xc0;
		return code >= 0 && code < (int)sizeof(latin) - 1 && latin[code] != '-' ? latin[code] : 0;
	}
	while ((**p & 0xc0) == 0x80)
		(*p)++;
	return 0;
}

bool remote_name_make(const char *title, char ret[REMOTE_NAME_SIZE])
{
	const unsigned char *p = (const unsigned char *)title;
	size_t begin = sizeof(prefix) - 1, n = begin;
	bool gap = false;

	memcpy(ret, prefix, sizeof(prefix));
	if (!title) {
		uint8_t random[4];

		crypto_random(random, sizeof(random));
		crypto_hex(random, sizeof(random), ret + n);
		return true;
	}
	while (*p && n < REMOTE_NAME_MOST) {
		char c = next(&p);

		if (!c) {
			gap = n > begin;
			continue;
		}
		if (gap && n + 2 > REMOTE_NAME_MOST)
			break;
		if (gap)
			ret[n++] = '-';
		ret[n++] = c;
		gap = false;
	}
	ret[n] = '\0';
	return n > begin;
}

void remote_name_title(const char *name, char ret[REMOTE_NAME_SIZE])
{
	snprintf(ret, REMOTE_NAME_SIZE, "%s", name);
	for (char *c = ret; *c; c++)
		if (*c == '-')
			*c = ' ';
}
