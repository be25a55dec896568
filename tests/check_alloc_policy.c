/* SPDX-License-Identifier: MIT */
/* Policies of arenas and ranges, the mappings they make, and statistics. */
#include "tests/harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/alloc-internal.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/system.h"
#include "uffd/uapi.h"

#define MIB ((size_t)1 << 20)

static struct ferry_arena_params params_of(size_t reserve)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);

	p.reserve = reserve;
	return p;
}

static struct ferry_arena *make(const struct ferry_arena_params *p)
{
	struct ferry_arena *arena = NULL;

	ck_assert_int_eq(ferry_arena_create(p, &arena), 0);
	return arena;
}

/* Lines of /proc/self/maps in the arena; @ret_name: the last one's name. */
static size_t mappings(struct ferry_arena *arena, char *ret_name, size_t size)
{
	uintptr_t base = (uintptr_t)ferry_arena_base(arena);
	uintptr_t end = base + ferry_arena_reserved(arena);
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long from, to;
	char line[512];
	size_t n = 0;

	ck_assert_ptr_nonnull(f);
	while (fgets(line, sizeof(line), f)) {
		ck_assert_int_eq(sscanf(line, "%lx-%lx", &from, &to), 2);
		if (from >= end || to <= base)
			continue;
		n++;
		if (ret_name)
			snprintf(ret_name, size, "%s",
				 strchr(line, '[') ? strchr(line, '[') : "");
	}
	fclose(f);
	return n;
}

START_TEST(named_arena_shows_its_name_where_the_kernel_can)
{
	struct ferry_arena_params p = params_of(2 * MIB);
	struct ferry_arena *arena;
	char name[64] = "", shown[128];
	void *probe = map_anon(page_size());

	if (ferry__sys->name_memory(probe, page_size(), "probe") < 0)
		SKIP("anon_name", "this kernel cannot name anonymous memory");
	strcpy(name, "heap of the tests");
	p.name = name;
	arena = make(&p);
	strcpy(name, "gone");
	mappings(arena, shown, sizeof(shown));
	ck_assert_str_eq(shown, "[anon:heap of the tests]\n");
	ferry_arena_destroy(arena);
	/* What the kernel does not take for a name is no reason to fail. */
	p.name = "with a ] in it and much longer than eighty characters, so "
		 "that it is cut somewhere about here or there";
	ferry_arena_destroy(make(&p));
}
END_TEST

/* What a kernel with names is told. */
static struct {
	char name[128];
	void *addr;
	size_t len;
	int error;
} named;

static int note_name(void *addr, size_t len, const char *name)
{
	snprintf(named.name, sizeof(named.name), "%s", name);
	named.addr = addr;
	named.len = len;
	return -named.error;
}

START_TEST(name_is_handed_to_the_kernel_for_the_whole_arena)
{
	struct ferry_arena_params p = params_of(4 * MIB);
	struct ferry__sys table = ferry__sys_linux;
	struct ferry_arena *arena;

	table.name_memory = note_name;
	ferry__sys = &table;
	ferry_arena_destroy(make(&p));
	ck_assert_str_eq(named.name, "");
	p.name = "objects";
	arena = make(&p);
	ck_assert_str_eq(named.name, "objects");
	ck_assert_ptr_eq(named.addr, ferry_arena_base(arena));
	ck_assert_uint_eq(named.len, 4 * MIB);
	ferry_arena_destroy(arena);
	named.error = EINVAL;
	ferry_arena_destroy(make(&p));
}
END_TEST

START_TEST(equal_policies_merge_into_one_mapping)
{
	struct ferry_arena_params p = params_of(64 * MIB);
	struct ferry_arena *arena;
	size_t i;

	p.name = "merge";
	arena = make(&p);
	ck_assert_uint_eq(mappings(arena, NULL, 0), 1);
	for (i = 0; i < 64; i += 4)
		ck_assert_int_eq(ferry_arena_set_thp(arena, i * MIB, 2 * MIB,
						     FERRY_THP_NEVER),
				 0);
	ck_assert_uint_eq(mappings(arena, NULL, 0), 32);
	for (i = 0; i < 64; i += 2)
		ck_assert_uint_eq(ferry__arena_piece_end(arena, i * MIB),
				  (i + 2) * MIB);
	ck_assert_int_eq(
		ferry_arena_set_thp(arena, 0, 64 * MIB, FERRY_THP_NEVER), 0);
	ck_assert_uint_eq(mappings(arena, NULL, 0), 1);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, 0), 64 * MIB);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(pieces_are_limited)
{
	struct ferry_arena_params p = params_of(64 * MIB);
	struct ferry_arena *arena;

	p.pieces_max = 3;
	p.name = "limit";
	arena = make(&p);
	ck_assert_int_eq(
		ferry_arena_set_thp(arena, 2 * MIB, 2 * MIB, FERRY_THP_NEVER),
		0);
	ck_assert_int_eq(
		ferry_arena_set_thp(arena, 32 * MIB, 2 * MIB, FERRY_THP_NEVER),
		-ENOSPC);
	ck_assert_uint_eq(mappings(arena, NULL, 0), 3);
	/* Widening a piece makes no more of them. */
	ck_assert_int_eq(
		ferry_arena_set_thp(arena, 2 * MIB, 60 * MIB, FERRY_THP_NEVER),
		0);
	ck_assert_int_eq(
		ferry_arena_set_thp(arena, 0, 64 * MIB, FERRY_THP_NEVER), 0);
	ck_assert_uint_eq(mappings(arena, NULL, 0), 1);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(bad_huge_page_policies_are_refused)
{
	struct ferry_arena_params p = params_of(4 * MIB);
	struct ferry_arena *arena = make(&p);

	ck_assert_int_eq(ferry_arena_set_thp(arena, 0, 1, FERRY_THP_NEVER),
			 -EINVAL);
	ck_assert_int_eq(
		ferry_arena_set_thp(arena, 0, 8 * MIB, FERRY_THP_NEVER),
		-EINVAL);
	ck_assert_int_eq(ferry_arena_set_thp(arena, 0, MIB, (enum ferry_thp)9),
			 -EINVAL);
	ck_assert_int_eq(
		ferry_arena_set_thp(arena, 0, 4 * MIB, FERRY_THP_SYSTEM), 0);
	ck_assert_int_eq(
		ferry_arena_set_thp(arena, 0, 4 * MIB, FERRY_THP_NEVER), 0);
	ck_assert_int_eq(
		ferry_arena_set_thp(arena, 0, 4 * MIB, FERRY_THP_SYSTEM),
		-EOPNOTSUPP);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(huge_page_policy_is_obeyed_by_arena_and_by_range)
{
	struct ferry_arena_params p = params_of(8 * MIB);
	struct ferry_arena *arena;
	char *base;

	p.thp = FERRY_THP_ALWAYS;
	arena = make(&p);
	base = ferry_arena_base(arena);
	/* One page inside forbids the whole huge page. */
	ck_assert_int_eq(ferry_arena_set_thp(arena, 3 * MIB, page_size(),
					     FERRY_THP_NEVER),
			 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 8 * MIB, true), 0);
	ck_assert_uint_eq(huge_bytes(base, 2 * MIB), 2 * MIB);
	ck_assert_uint_eq(huge_bytes(base + 2 * MIB, 2 * MIB), 0);
	ck_assert_uint_eq(huge_bytes(base + 4 * MIB, 4 * MIB), 4 * MIB);
	ferry_arena_destroy(arena);
}
END_TEST

/* --- statistics ----------------------------------------------------------- */

static struct ferry_arena_stats stats_of(struct ferry_arena *arena)
{
	struct ferry_arena_stats st = FERRY_INIT(struct ferry_arena_stats);

	ck_assert_int_eq(ferry_arena_stats(arena, &st), 0);
	return st;
}

/*
 * What the arena holds. The kernel moves pages whenever it likes (another test
 * makes it do so): while it does, they are neither in memory nor anywhere else,
 * and count as swapped.
 */
static size_t held(const struct ferry_arena_stats *st)
{
	return st->resident + st->swapped;
}

/* The statistics at a moment when the kernel moves no page of the arena. */
static struct ferry_arena_stats settled_stats_of(struct ferry_arena *arena)
{
	struct ferry_arena_stats st;

	AWAIT((st = stats_of(arena), !st.swapped));
	return st;
}

/* 4 MiB huge, 1 MiB of small pages, 1 MiB read only, one page pinned. */
static struct ferry_arena *make_varied(void)
{
	struct ferry_arena_params p = params_of(16 * MIB);
	struct ferry_arena *arena;
	volatile char *base, sum = 0;
	size_t i;

	p.thp = FERRY_THP_ALWAYS;
	arena = make(&p);
	base = ferry_arena_base(arena);
	ck_assert_int_eq(
		ferry_arena_set_thp(arena, 4 * MIB, 12 * MIB, FERRY_THP_NEVER),
		0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 4 * MIB, true), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 4 * MIB, MIB, true), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 8 * MIB, MIB, false), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 12 * MIB, MIB, false), 0);
	for (i = 0; i < MIB; i += page_size())
		sum += base[8 * MIB + i];
	ck_assert_int_eq(sum, 0);
	ck_assert_int_eq(ferry_arena_pin(arena, 0, page_size()), 0);
	ck_assert_int_eq(ferry_arena_decommit(arena, 12 * MIB, MIB), 0);
	return arena;
}

START_TEST(statistics_tell_what_is_in_memory)
{
	struct ferry_arena *arena = make_varied();
	struct ferry_arena_stats st = settled_stats_of(arena);

	ck_assert_uint_eq(st.reserved, 16 * MIB);
	ck_assert_uint_eq(st.pages[FERRY_PAGE_PINNED], page_size());
	ck_assert_uint_eq(st.pages[FERRY_PAGE_LIVE], 6 * MIB - page_size());
	ck_assert_uint_eq(st.pages[FERRY_PAGE_ABSENT], 10 * MIB);
	ck_assert_uint_eq(st.resident, 5 * MIB);
	ck_assert_uint_eq(st.huge, 4 * MIB);
	ck_assert_uint_eq(st.zero, MIB);
	ck_assert_uint_eq(st.commits, 4);
	ck_assert_uint_eq(st.decommits, 1);
	ck_assert_uint_eq(st.grows, 0);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(statistics_do_without_pagemap_scan)
{
	struct inject_rule no_scan = { .call = INJECT_IOCTL,
				       .request = FERRY__PAGEMAP_SCAN,
				       .count = INJECT_ALWAYS,
				       .error = ENOTTY };
	struct ferry_arena *arena = make_varied();
	struct ferry_arena_stats st;

	inject_start();
	inject_add(&no_scan);
	st = stats_of(arena);
	ck_assert_uint_eq(no_scan.hits, 1);
	/* pagemap does not know the zero page from another */
	ck_assert_uint_eq(held(&st), 6 * MIB);
	ck_assert_uint_eq(st.huge, 4 * MIB);
	inject_stop();
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(statistics_count_many_runs_once)
{
	struct ferry_arena_params p = params_of(16 * MIB);
	size_t i, page = page_size();
	struct ferry_arena_stats st;
	struct ferry_arena *arena;
	char *base;

	p.thp = FERRY_THP_NEVER;
	arena = make(&p);
	base = ferry_arena_base(arena);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 16 * MIB, false), 0);
	for (i = 0; i < 16 * MIB; i += 2 * page)
		base[i] = 1;
	st = settled_stats_of(arena);
	ck_assert_uint_eq(st.resident, 8 * MIB);
	ferry_arena_destroy(arena);
}
END_TEST

/* Once by PAGEMAP_SCAN, once without: both see pages that are in swap. */
static void count_swapped(struct ferry_arena *arena)
{
	struct ferry_arena_stats st = stats_of(arena);

	ck_assert_uint_eq(held(&st), MIB);
	ck_assert_uint_gt(st.swapped, 0);
	ck_assert_uint_eq(st.huge, 0);
}

START_TEST(statistics_count_swapped_pages)
{
	struct inject_rule no_scan = { .call = INJECT_IOCTL,
				       .request = FERRY__PAGEMAP_SCAN,
				       .count = INJECT_ALWAYS,
				       .error = ENOTTY };
	struct ferry_arena_params p = params_of(2 * MIB);
	struct system_hold hold;
	struct ferry_arena *arena;
	char *base;

	if (!system_hold_swap(&hold))
		SKIP("swap", "%s", hold.reason);
	p.thp = FERRY_THP_NEVER;
	arena = make(&p);
	base = ferry_arena_base(arena);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, MIB, false), 0);
	fill_pages(base, MIB, 1);
	ck_assert_int_eq(madvise(base, MIB, FERRY__MADV_PAGEOUT), 0);
	count_swapped(arena);
	inject_start();
	inject_add(&no_scan);
	count_swapped(arena);
	inject_stop();
	assert_pages(base, MIB, 1);
	ferry_arena_destroy(arena);
	system_release(&hold);
}
END_TEST

START_TEST(statistics_check_their_arguments)
{
	struct ferry_arena_params p = params_of(2 * MIB);
	struct ferry_arena *arena = make(&p);
	struct {
		struct ferry_arena_stats st;
		char tail[8];
	} big;
	struct inject_rule no_file = { .call = INJECT_OPEN,
				       .path = "/proc/self/pagemap",
				       .error = EACCES };

	ck_assert_int_eq(ferry_arena_stats(arena, NULL), -EINVAL);
	memset(&big, 0, sizeof(big));
	big.st.size = 8;
	ck_assert_int_eq(ferry_arena_stats(arena, &big.st), -EINVAL);
	big.st.size = sizeof(big);
	big.tail[0] = 1;
	ck_assert_int_eq(ferry_arena_stats(arena, &big.st), -E2BIG);
	big.tail[0] = 0;
	ck_assert_int_eq(ferry_arena_stats(arena, &big.st), 0);
	ck_assert_uint_eq(big.st.size, sizeof(big));
	inject_start();
	inject_add(&no_file);
	ck_assert_int_eq(ferry_arena_stats(arena, &big.st), -EACCES);
	inject_stop();
	ferry_arena_destroy(arena);
}
END_TEST

static const struct test tests[] = {
	TEST(named_arena_shows_its_name_where_the_kernel_can, NULL),
	TEST(name_is_handed_to_the_kernel_for_the_whole_arena, NULL),
	TEST(equal_policies_merge_into_one_mapping, "thp"),
	TEST(pieces_are_limited, "thp"),
	TEST(bad_huge_page_policies_are_refused, "thp"),
	TEST(huge_page_policy_is_obeyed_by_arena_and_by_range, "thp"),
	TEST(statistics_tell_what_is_in_memory, "thp,pagemap_scan"),
	TEST(statistics_do_without_pagemap_scan, "thp"),
	TEST(statistics_count_many_runs_once, "pagemap_scan"),
	TEST(statistics_count_swapped_pages, "swap,pageout", .seconds = 300),
	TEST(statistics_check_their_arguments, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
