/*
 * Fuzzes what is read from Kaggle's answers: members, status, complaint,
 * names, the mark in a source.  What is accepted must be what may be used.
 */
#include <string.h>

#include "provider/kaggle.h"

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len);

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void check_ref(struct str ref)
{
	struct str owner, name;

	if (!kaggle_ref_read(ref, &owner, &name))
		return;
	check(owner.len && name.len && !memchr(owner.ptr, '/', owner.len) && !memchr(name.ptr, '/', name.len));
	check(!memchr(name.ptr, '.', name.len) && owner.ptr[0] != '.' && str_is_utf8(name) && str_is_utf8(owner));
	check(owner.ptr >= ref.ptr && name.ptr + name.len <= ref.ptr + ref.len);
}

static void check_mark(struct str source)
{
	struct kaggle_mark m;

	if (!kaggle_mark_read(source, &m))
		return;
	check(str_is_uuid(m.intent) && str_is_uuid(m.installation) && m.worker > 0);
	check(str_starts(source, "# gpupool intent "));
}

static void check_file(struct str name)
{
	if (!kaggle_file_valid(name))
		return;
	check(name.len && name.ptr[0] != '/' && str_is_utf8(name) && !memmem(name.ptr, name.len, "//", 2));
	check(!str_eqz(name, "..") && !str_starts(name, "../") && !str_ends(name, "/..") && !memmem(name.ptr, name.len, "/../", 4));
	for (size_t i = 0; i < name.len; i++)
		check((unsigned char)name.ptr[i] >= 0x20);
}

static void look(const struct json *o)
{
	int status = 200;
	enum kaggle_status run;
	struct str words = kaggle_complaint(o, &status);

	check(status == 200 || (status >= 300 && status <= 599));
	check(!words.ptr || words.len);
	check(status == 200 || words.len);
	if (kaggle_status_read(o, &run))
		check(run <= KAGGLE_NEW_SCRIPT);
	for (struct json_iter it = json_iter(o); json_next(&it);) {
		struct str text = kaggle_text(o, it.key);

		check(kaggle_number(o, it.key) >= -1 && kaggle_time(o, it.key) >= -1);
		check(kaggle_duration(o, it.key) >= -1 && kaggle_duration(o, it.key) < 1e12);
		check(!text.ptr || text.len);
		check_ref(text);
		check_mark(text);
		check_file(text);
		look(it.value);
	}
	for (size_t i = 0; i < json_len(o) && json_type_of(o) == JSON_ARRAY; i++)
		look(json_at(o, i));
}

/* What came before a cut is read as if it were all. */
static void check_head(struct str cut)
{
	struct json *head = kaggle_answer_head(cut);

	check(!head || json_type_of(head) == JSON_OBJECT);
	json_free(head);
}

int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len)
{
	cleanup_json struct json *j = NULL;
	struct str text = {(const char *)bytes, len};

	check_ref(text);
	check_mark(text);
	check_head(text);
	check_file(text);
	if (json_parse(text, 1 << 16, &j, NULL) == OK)
		look(j);
	return 0;
}
