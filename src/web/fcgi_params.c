/* Name and value pairs; see web/fcgi_params.h. */
#include "web/fcgi_params.h"

static bool next_length(struct str *rest, size_t *ret)
{
	const unsigned char *p = (const unsigned char *)rest->ptr;
	size_t n = rest->len && p[0] & 0x80 ? 4 : 1;

	if (rest->len < n)
		return false;
	*ret = n == 1 ? p[0] : (size_t)(p[0] & 0x7f) << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
	rest->ptr += n;
	rest->len -= n;
	return true;
}

bool fcgi_next_param(struct str *rest, struct str *name, struct str *value, bool *ok)
{
	size_t name_len, value_len;

	*ok = true;
	if (!rest->len)
		return false;
	*ok = false;
	if (!next_length(rest, &name_len) || !next_length(rest, &value_len))
		return false;
	/* Both are below 2^31, so the sum cannot wrap. */
	if (rest->len < name_len + value_len)
		return false;
	*name = (struct str){rest->ptr, name_len};
	*value = (struct str){rest->ptr + name_len, value_len};
	rest->ptr += name_len + value_len;
	rest->len -= name_len + value_len;
	*ok = true;
	return true;
}
