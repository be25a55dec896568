/* SPDX-License-Identifier: MIT */
/* What instances know of the engine's caches, with the engine itself. */
#include "tests/harness.h"

#include <string.h>

#include "alloc/instance/bins.h"
#include "alloc/instance/instance.h"
#include "alloc/malloc/holes.h"

static struct ferry__holes holes;

static void setup(void)
{
	ck_assert_int_eq(ferry__holes_start(&holes, &ferry__holes_jemalloc), 0);
	ferry__bins_start();
}

START_TEST(the_layout_of_the_linked_engine_is_known)
{
	ck_assert(ferry__bins.known);
	ck_assert_uint_eq(ferry__bins.size_of[ferry__bins_class(0)], 8);
	ck_assert_uint_eq(ferry__bins.size_of[ferry__bins_class(17)], 32);
	ck_assert_uint_eq(
		ferry__bins.size_of[ferry__bins_class(FERRY__BINS_LARGEST)],
		FERRY__BINS_LARGEST);
}
END_TEST

START_TEST(caches_are_filled_and_emptied_by_either)
{
	void *block[1000];
	struct ferry__bin *bin;
	unsigned int cache;
	size_t len = sizeof(cache), i, quick = 0;
	int flags;

	ck_assert(!ferry__je_mallctl("tcache.create", &cache, &len, NULL, 0));
	flags = FERRY__JE_ARENA(0) | FERRY__JE_TCACHE(cache);
	bin = &ferry__bins_of(cache)[ferry__bins_class(100)];
	for (i = 0; i < 1000; i++) {
		block[i] = i % 3 ? ferry__bin_take(bin) : NULL;
		quick += block[i] != NULL;
		if (!block[i])
			block[i] = ferry__je_mallocx(100, flags);
		memset(block[i], (int)i, 100);
	}
	ck_assert_uint_gt(quick, 500);
	for (i = 0; i < 1000; i++) {
		ck_assert_int_eq(((char *)block[i])[99], (char)i);
		if (i % 3 == 0 || !ferry__bin_put(bin, block[i]))
			ferry__je_dallocx(block[i], flags);
	}
	ferry__je_mallctl("tcache.destroy", NULL, NULL, &cache, sizeof(cache));
}
END_TEST

START_TEST(without_knowledge_nothing_is_taken_or_put)
{
	struct ferry__bins_row row = { 0 };
	unsigned int i;
	int block;

	ferry__bins.known = false;
	for (i = 0; i < 256; i++) {
		ck_assert_ptr_null(ferry__bin_take(&ferry__bins_of(0)[i]));
		ck_assert(!ferry__bin_put(&ferry__bins_of(0)[i], &block));
	}
	ck_assert(!ferry__bins_find_row((uintptr_t)&block, &row));
	ck_assert_int_eq(ferry__bins_class_in(&row, &block),
			 FERRY__BINS_NO_CLASS);
	ck_assert_int_eq(ferry__bins_class_in(&row, NULL),
			 FERRY__BINS_NO_CLASS);
}
END_TEST

static const struct test tests[] = {
	TEST_FIXTURE(the_layout_of_the_linked_engine_is_known, NULL, setup,
		     NULL),
	TEST_FIXTURE(caches_are_filled_and_emptied_by_either, NULL, setup,
		     NULL),
	TEST(without_knowledge_nothing_is_taken_or_put, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
