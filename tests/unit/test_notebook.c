/* The notebook that starts an agent. */
#include "base/notebook.h"

#include <string.h>

#include "base/asset.h"
#include "base/crypto.h"
#include "base/json.h"
#include "unit.h"

#define INTENT "6a0fb5ad-0000-4000-8000-1234567890ab"
#define HERE "0d0fb5ad-0000-4000-8000-1234567890ab"

static struct notebook base(void)
{
	return (struct notebook){.intent = STR(INTENT), .worker = 7, .installation = HERE, .title = "train a3", .provider = "colab",
				 .resource = "gpu", .machine = "T4", .token = STR("gpe_abc"), .server_url = "https://pool.example.org"};
}

static struct json *made(const struct notebook *n)
{
	struct buf b = BUF_INIT(NOTEBOOK_MOST);
	struct error e = {0};
	struct json *j;

	ck_assert_msg(notebook_write(n, &b, &e) == OK, "%s", e.msg);
	ck_assert_int_eq(json_parse(buf_str(&b), NOTEBOOK_MOST, &j, &e), OK);
	buf_free(&b);
	return j;
}

START_TEST(test_code_begins_with_the_mark_and_holds_its_values)
{
	const struct notebook n = base();
	cleanup_buf struct buf b = BUF_INIT(NOTEBOOK_MOST);

	ck_assert_int_eq(notebook_source(&n, &b, NULL), OK);
	ck_assert(str_starts(buf_str(&b), "# gpupool intent " INTENT "\n# gpupool worker 7 of " HERE "\n"));
	ck_assert_ptr_nonnull(strstr(b.ptr, "\nSERVER = \"https://pool.example.org\"\nTOKEN = \"gpe_abc\"\nPROVIDER = \"colab\"\n"
					     "RESOURCE = \"gpu\"\nDETACH = \"\"\nAGENT = \"\"\"\n"));
	ck_assert_ptr_null(strstr(b.ptr, "\"@"));
}
END_TEST

START_TEST(test_agent_in_it_is_ours)
{
	const struct asset *agent = asset_find("agent/gpupool-agent.py");
	const struct notebook n = base();
	cleanup_buf struct buf b = BUF_INIT(NOTEBOOK_MOST), plain = BUF_INIT(NOTEBOOK_MOST);
	const char *from, *end;

	ck_assert_int_eq(notebook_source(&n, &b, NULL), OK);
	from = strstr(b.ptr, "AGENT = \"\"\"\n");
	ck_assert_ptr_nonnull(from);
	from += strlen("AGENT = \"\"\"\n");
	end = strchr(from, '\n');
	ck_assert(crypto_unbase64((struct str){from, (size_t)(end - from)}, &plain));
	ck_assert(str_eq(buf_str(&plain), agent->bytes));
}
END_TEST

START_TEST(test_file_is_a_notebook_that_selects_its_machine)
{
	static const struct {
		const char *resource, *machine, *accelerator;
	} rows[] = {{"gpu", "T4", "GPU"}, {"tpu", "V5E1", "TPU"}, {"cpu", "NONE", NULL}, {"gpu", NULL, NULL}};
	struct notebook n = base();
	struct json *j;

	n.resource = rows[_i].resource;
	n.machine = rows[_i].machine;
	j = made(&n);
	ck_assert_int_eq(json_i64(j, "nbformat", 0), 4);
	ck_assert_uint_eq(json_len(json_get(j, "cells")), 1);
	ck_assert(str_eqz(json_as_str(json_path(j, "cells.0.cell_type")), "code"));
	ck_assert(str_starts(json_as_str(json_path(j, "cells.0.source.0")), "# gpupool intent "));
	if (rows[_i].accelerator) {
		ck_assert_str_eq(json_cstr(json_get(j, "metadata"), "accelerator"), rows[_i].accelerator);
		ck_assert(str_eqz(json_as_str(json_path(j, "metadata.colab.gpuType")), rows[_i].machine));
	} else {
		ck_assert(!json_has(json_get(j, "metadata"), "accelerator"));
		ck_assert_ptr_null(json_path(j, "metadata.colab.gpuType"));
	}
	json_free(j);
}
END_TEST

START_TEST(test_people_are_told_what_to_do)
{
	struct notebook n = base();
	struct json *j;
	struct str text;

	n.people = true;
	n.title = "a *b* [c](https://evil)";
	j = made(&n);
	ck_assert_uint_eq(json_len(json_get(j, "cells")), 2);
	text = json_as_str(json_path(j, "cells.0.source.0"));
	ck_assert(str_starts(text, "# a \\*b\\* \\[c\\]\\(https://evil\\)\n"));
	ck_assert_ptr_nonnull(strstr(text.ptr, "Run all"));
	ck_assert_ptr_null(strstr(text.ptr, "gpe_"));
	ck_assert(str_eqz(json_as_str(json_path(j, "cells.1.metadata.cellView")), "form"));
	json_free(j);
}
END_TEST

START_TEST(test_it_may_be_left_in_the_background)
{
	cleanup_buf struct buf b = BUF_INIT(NOTEBOOK_MOST);
	struct notebook n = base();

	n.detach = true;
	ck_assert_int_eq(notebook_source(&n, &b, NULL), OK);
	ck_assert_ptr_nonnull(strstr(b.ptr, "\nDETACH = \"yes\"\n"));
}
END_TEST

START_TEST(test_too_large_is_said)
{
	cleanup_buf struct buf b = BUF_INIT(NOTEBOOK_MOST / 20);
	const struct notebook n = base();
	struct error e = {0};

	ck_assert_int_eq(notebook_source(&n, &b, &e), ERR_INVALID);
	ck_assert_ptr_nonnull(strstr(e.msg, "larger than"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("notebook");
	TCase *t = tcase_create("notebook");

	crypto_init();
	tcase_add_test(t, test_code_begins_with_the_mark_and_holds_its_values);
	tcase_add_test(t, test_agent_in_it_is_ours);
	tcase_add_loop_test(t, test_file_is_a_notebook_that_selects_its_machine, 0, 4);
	tcase_add_test(t, test_people_are_told_what_to_do);
	tcase_add_test(t, test_it_may_be_left_in_the_background);
	tcase_add_test(t, test_too_large_is_said);
	suite_add_tcase(s, t);
	return unit_run(s);
}
