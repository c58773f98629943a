/* The table of compiled-in files, as the build made it. */
#include "base/asset.h"
#include "unit.h"

START_TEST(test_table_is_sorted_and_found)
{
	ck_assert_uint_gt(asset_count, 0);
	for (size_t i = 0; i < asset_count; i++) {
		ck_assert_ptr_eq(asset_find(assets[i].name), &assets[i]);
		ck_assert_int_eq(assets[i].bytes.ptr[assets[i].bytes.len], '\0');
		if (i)
			ck_assert_str_lt(assets[i - 1].name, assets[i].name);
	}
}
END_TEST

START_TEST(test_agent_is_whole)
{
	const struct asset *agent = asset_find("agent/gpupool-agent.py");

	ck_assert_ptr_nonnull(agent);
	ck_assert_uint_gt(agent->bytes.len, 1000);
	ck_assert(str_starts(agent->bytes, "#!/usr/bin/env python3"));
}
END_TEST

START_TEST(test_no_such_asset)
{
	ck_assert_ptr_null(asset_find(""));
	ck_assert_ptr_null(asset_find("agent/"));
	ck_assert_ptr_null(asset_find("agent/gpupool-agent.pyc"));
	ck_assert_ptr_null(asset_find("../agent/gpupool-agent.py"));
	ck_assert_ptr_null(asset_find("zzzz"));
}
END_TEST

START_TEST(test_range)
{
	size_t first, end, count = 0;

	asset_range("sql/migrations/", &first, &end);
	ck_assert_uint_lt(first, end);
	for (size_t i = 0; i < asset_count; i++)
		count += str_starts(str_of(assets[i].name), "sql/migrations/");
	ck_assert_uint_eq(end - first, count);
	asset_range("", &first, &end);
	ck_assert_uint_eq(first, 0);
	ck_assert_uint_eq(end, asset_count);
	asset_range("nothing/", &first, &end);
	ck_assert_uint_eq(first, end);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("asset");
	TCase *t = tcase_create("asset");

	tcase_add_test(t, test_table_is_sorted_and_found);
	tcase_add_test(t, test_agent_is_whole);
	tcase_add_test(t, test_no_such_asset);
	tcase_add_test(t, test_range);
	suite_add_tcase(s, t);
	return unit_run(s);
}
