/* nginx_conf - see cli/nginx_conf.h. */
#include "cli/nginx_conf.h"

#include "base/asset.h"

static const char *find(const struct nginx_value *values, struct str name)
{
	for (; values->name; values++)
		if (str_eqz(name, values->name))
			return values->value;
	BUG("nginx template names @%.*s@, which nobody gives", STR_ARG(name));
}

static bool is_name(struct str s)
{
	return s.len && strspn(s.ptr, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_") >= s.len;
}

enum err nginx_conf_fill(const char *asset, const struct nginx_value *values, struct buf *ret, struct error *e)
{
	const struct asset *template = asset_find(asset);
	struct str rest, part;

	if (!template)
		BUG("no asset %s", asset);
	rest = template->bytes;
	*ret = BUF_INIT(1 << 20);
	while (str_cut(&rest, '@', &part)) {
		struct str name = rest;
		ptrdiff_t end;

		buf_addstr(ret, part);
		if (!rest.ptr)
			break;
		end = str_index(rest, '@');
		if (end > 0)
			name.len = (size_t)end;
		if (end > 0 && is_name(name)) {
			const char *value = find(values, name);

			if (strpbrk(value, ";{}\"'\n\\$"))
				return error_set(e, ERR_INVALID, "nginx cannot be told the value \"%s\"", value);
			buf_adds(ret, value);
			rest = (struct str){rest.ptr + end + 1, rest.len - (size_t)end - 1};
		} else {
			buf_addc(ret, '@');
		}
	}
	return ret->failed ? error_set(e, ERR_INTERNAL, "the nginx configuration grew too large") : OK;
}
