/* SPDX-License-Identifier: MIT */
/* Reserved address space is nothing to a debugger until it is opened. */
#include "uffd/reserve.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "uffd/sys.h"

#define PAGES 16

/*
 * The flags of the mapping that @addr is in, as smaps prints them; its bounds
 * in pages from @base.
 */
static bool flags_of(const char *addr, const char *base, char *flags,
		     size_t size, long *ret_from, long *ret_to)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long from = 0, to = 0, a, b;
	bool here = false, found = false;
	char *line = NULL;
	size_t n = 0;

	if (!f)
		return false;
	while (!found && getline(&line, &n, f) > 0) {
		if (sscanf(line, "%lx-%lx ", &a, &b) == 2) {
			here = (unsigned long)addr - a < b - a;
			from = a;
			to = b;
		}
		found = here && !strncmp(line, "VmFlags:", 8);
	}
	if (found) {
		snprintf(flags, size, "%s", line);
		*ret_from = ((long)from - (long)base) / (long)ferry__page_size;
		*ret_to = ((long)to - (long)base) / (long)ferry__page_size;
	}
	free(line);
	fclose(f);
	return found;
}

static char *reserved(size_t pages)
{
	void *p;

	ck_assert_int_eq(ferry__reserve(NULL, pages * ferry__page_size, &p), 0);
	return p;
}

START_TEST(what_is_reserved_is_left_out_of_core_files)
{
	char *p = reserved(PAGES), flags[256];
	long from, to;

	if (!flags_of(p, p, flags, sizeof(flags), &from, &to))
		SKIP("smaps", "no VmFlags of mappings");
	ck_assert_ptr_nonnull(strstr(flags, " dd"));
	ck_assert_ptr_null(strstr(flags, " rd"));
	munmap(p, PAGES * ferry__page_size);
}
END_TEST

START_TEST(what_is_opened_in_steps_is_one_mapping_and_in_core_files)
{
	char *p = reserved(PAGES), flags[256];
	long from, to;
	size_t i;

	if (!flags_of(p, p, flags, sizeof(flags), &from, &to))
		SKIP("smaps", "no VmFlags of mappings");
	/* Not from the first page on, to have no neighbour to merge with. */
	for (i = 1; i < PAGES - 1; i++) {
		char *page = p + i * ferry__page_size;

		ck_assert_int_eq(ferry__reserve_open(page, ferry__page_size),
				 0);
		*page = (char)i;
		ck_assert(flags_of(page, p, flags, sizeof(flags), &from, &to));
		ck_assert_ptr_null(strstr(flags, " dd"));
		ck_assert_int_eq(from, 1);
		ck_assert_int_eq(to, (long)i + 1);
	}
	munmap(p, PAGES * ferry__page_size);
}
END_TEST

START_TEST(what_the_kernel_refuses_is_an_error_or_does_not_matter)
{
	struct inject_rule map = { .call = INJECT_MMAP, .error = ENOMEM };
	struct inject_rule advice = { .call = INJECT_MADVISE,
				      .count = INJECT_ALWAYS,
				      .error = EINVAL };
	struct inject_rule rights = { .call = INJECT_MPROTECT,
				      .error = ENOMEM };
	void *p = &p;

	inject_start();
	inject_add(&map);
	ck_assert_int_eq(ferry__reserve(NULL, ferry__page_size, &p), -ENOMEM);
	ck_assert_ptr_eq(p, &p);
	inject_add(&advice);
	ck_assert_int_eq(ferry__reserve(NULL, ferry__page_size, &p), 0);
	inject_add(&rights);
	ck_assert_int_eq(ferry__reserve_open(p, ferry__page_size), -ENOMEM);
	ck_assert_int_eq(ferry__reserve_open(p, ferry__page_size), 0);
	*(char *)p = 1;
	ck_assert_uint_eq(inject_hits(&advice), 3);
	inject_stop();
	munmap(p, ferry__page_size);
}
END_TEST

static const struct test tests[] = {
	TEST(what_is_reserved_is_left_out_of_core_files, NULL),
	TEST(what_is_opened_in_steps_is_one_mapping_and_in_core_files, NULL),
	TEST(what_the_kernel_refuses_is_an_error_or_does_not_matter, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
