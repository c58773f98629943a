/* Names of GPUs; see domain/accelerator.h. */
#include "domain/accelerator.h"

#include <ctype.h>
#include <string.h>

enum { NAME_MOST = 64, LIST_MOST = 1024 };

static bool name_char(char c)
{
	return isalnum((unsigned char)c) || c == '.' || c == '_' || c == '-';
}

static void add(struct buf *list, struct str name)
{
	struct str rest = buf_str(list), one;

	if (!name.len || name.len > NAME_MOST || list->len + name.len > LIST_MOST)
		return;
	while (rest.len && str_cut(&rest, ',', &one))
		if (str_eq(one, name))
			return;
	if (list->len)
		buf_addc(list, ',');
	buf_addstr(list, name);
}

/* Letters, then digits, then perhaps letters: T4, A100, L40S, P100. */
static bool is_model(struct str s)
{
	size_t i = 0, digits;

	while (i < s.len && isalpha((unsigned char)s.ptr[i]))
		i++;
	digits = i;
	while (i < s.len && isdigit((unsigned char)s.ptr[i]))
		i++;
	return digits > 0 && digits <= 4 && i > digits && i <= digits + 4;
}

static bool is_number(struct str s)
{
	size_t i = 0;

	while (i < s.len && isdigit((unsigned char)s.ptr[i]))
		i++;
	return i >= 3 && i <= 4;
}

static struct str word(struct str *rest)
{
	size_t n = 0;
	struct str ret;

	while (rest->len && !isalnum((unsigned char)*rest->ptr)) {
		rest->ptr++;
		rest->len--;
	}
	while (n < rest->len && isalnum((unsigned char)rest->ptr[n]))
		n++;
	ret = (struct str){rest->ptr, n};
	rest->ptr += n;
	rest->len -= n;
	return ret;
}

/* The first word that names a model; "RTX 4090" is one too. */
static void add_model(struct str gpu, struct buf *list)
{
	struct str before = STR_NULL, w;
	char joined[NAME_MOST];

	while ((w = word(&gpu)).len) {
		if (is_model(w)) {
			add(list, w);
			return;
		}
		if (is_number(w) && before.len && before.len <= 8) {
			snprintf(joined, sizeof(joined), "%.*s%.*s", STR_ARG(before), (int)(w.len < 16 ? w.len : 16), w.ptr);
			add(list, str_of(joined));
			return;
		}
		before = w;
	}
}

void accelerator_names(struct str gpu, struct buf *list)
{
	cleanup_buf struct buf raw = BUF_INIT(NAME_MOST + 1), full = BUF_INIT(2 * NAME_MOST);
	struct str name;

	add_model(gpu, list);
	for (size_t i = 0; i < gpu.len && raw.len < NAME_MOST; i++)
		if (name_char(gpu.ptr[i]))
			buf_addc(&raw, gpu.ptr[i]);
	name = buf_str(&raw);
	if (!name.len)
		return;
	add(list, name);
	if (name.len > 6 && !strncasecmp(name.ptr, "nvidia", 6)) {
		name.ptr += 6;
		name.len -= 6;
	}
	buf_addf(&full, "Nvidia%.*s", STR_ARG(name));
	add(list, buf_str(&full));
}
