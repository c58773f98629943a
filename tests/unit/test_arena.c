/* Arena memory: zeroed, aligned, distinct, limited, reused after a reset. */
#include "base/arena.h"
#include "unit.h"

#include <stdalign.h>

static bool is_zero(const unsigned char *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* Fills arena memory of many sizes, which must be zero, aligned and apart. */
static void fill(struct arena *a, unsigned rounds)
{
	unsigned char *blocks[64];

	for (unsigned i = 0; i < rounds; i++) {
		size_t size = 1 + (i * 37) % 1500;

		blocks[i % 64] = arena_alloc(a, size);
		ck_assert_ptr_nonnull(blocks[i % 64]);
		ck_assert_uint_eq((uintptr_t)blocks[i % 64] % alignof(max_align_t), 0);
		ck_assert(is_zero(blocks[i % 64], size));
		memset(blocks[i % 64], (int)(i % 64) + 1, size);
		if (i >= 63) {
			unsigned oldest = i - 63;

			ck_assert_uint_eq(blocks[oldest % 64][(oldest * 37) % 1500], oldest % 64 + 1);
		}
	}
}

START_TEST(test_zeroed_again_after_reset)
{
	cleanup_arena struct arena a;

	arena_init(&a, 8 << 20);
	for (int round = 0; round < 3; round++) {
		fill(&a, 3000);
		arena_reset(&a);
		ck_assert_uint_eq(a.used, 0);
	}
}
END_TEST

START_TEST(test_limit_passed)
{
	cleanup_arena struct arena a;

	arena_init(&a, 1000);
	ck_assert_ptr_null(arena_alloc(&a, 1001));
	ck_assert_ptr_nonnull(arena_alloc(&a, 900));
	ck_assert_ptr_null(arena_alloc(&a, 200));
	ck_assert_ptr_null(arena_printf(&a, "%200d", 1));
	ck_assert_ptr_nonnull(arena_alloc(&a, 32)); /* a refusal costs nothing */
	arena_reset(&a);
	ck_assert_ptr_nonnull(arena_alloc(&a, 900));
}
END_TEST

START_TEST(test_sizes_that_overflow)
{
	cleanup_arena struct arena a;

	arena_init(&a, SIZE_MAX);
	ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX));
	ck_assert_ptr_null(arena_alloc(&a, SIZE_MAX - 8));
	ck_assert_ptr_null(arena_array(&a, SIZE_MAX / 4, 8));
	ck_assert_ptr_null(arena_array(&a, 1ULL << 33, 1ULL << 33));
	ck_assert_ptr_null(arena_str(&a, (struct str){"", SIZE_MAX}).ptr);
	ck_assert_uint_eq(a.used, 0);
}
END_TEST

START_TEST(test_size_zero_is_unique)
{
	cleanup_arena struct arena a;
	void *p, *q;

	arena_init(&a, 1000);
	p = arena_alloc(&a, 0);
	q = arena_array(&a, 0, 100);
	ck_assert_ptr_nonnull(p);
	ck_assert_ptr_nonnull(q);
	ck_assert_ptr_ne(p, q);
}
END_TEST

START_TEST(test_giant_block_is_not_kept)
{
	cleanup_arena struct arena a;

	arena_init(&a, 16 << 20);
	ck_assert_ptr_nonnull(arena_alloc(&a, 8 << 20));
	arena_reset(&a);
	ck_assert_ptr_null(a.first);
	ck_assert_ptr_nonnull(arena_alloc(&a, 10));
	arena_reset(&a);
	ck_assert_ptr_nonnull(a.first);
}
END_TEST

START_TEST(test_copies)
{
	cleanup_arena struct arena a;
	struct str s;

	arena_init(&a, 1000);
	ck_assert_str_eq(arena_strdup(&a, "abc"), "abc");
	ck_assert_str_eq(arena_strndup(&a, "abc", 2), "ab");
	ck_assert_str_eq(arena_strndup(&a, "abc", 99), "abc");
	ck_assert_str_eq(arena_printf(&a, "%s-%03d", "x", 7), "x-007");
	s = arena_str(&a, STR("a\0b"));
	ck_assert(str_eq(s, STR("a\0b")) && !s.ptr[3]);
	s = arena_str(&a, STR_NULL);
	ck_assert_ptr_nonnull(s.ptr);
	ck_assert_str_eq(s.ptr, "");
}
END_TEST

START_TEST(test_free_twice)
{
	struct arena a;

	arena_init(&a, 1000);
	ck_assert_ptr_nonnull(arena_alloc(&a, 10));
	arena_free(&a);
	arena_free(&a);
	arena_reset(&a);
	ck_assert_ptr_nonnull(arena_alloc(&a, 10));
	arena_free(&a);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("arena");
	TCase *t = tcase_create("arena");

	tcase_add_test(t, test_zeroed_again_after_reset);
	tcase_add_test(t, test_limit_passed);
	tcase_add_test(t, test_sizes_that_overflow);
	tcase_add_test(t, test_size_zero_is_unique);
	tcase_add_test(t, test_giant_block_is_not_kept);
	tcase_add_test(t, test_copies);
	tcase_add_test(t, test_free_twice);
	suite_add_tcase(s, t);
	return unit_run(s);
}
