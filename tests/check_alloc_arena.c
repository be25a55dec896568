/* SPDX-License-Identifier: MIT */
/* Arenas: what creating, growing, committing and giving back promise. */
#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "alloc/alloc-internal.h"

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

static size_t page;

static struct ferry_arena *make(size_t reserve)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena = NULL;

	page = (size_t)sysconf(_SC_PAGESIZE);
	p.reserve = reserve;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	ck_assert_ptr_nonnull(arena);
	return arena;
}

static enum ferry_page_state state(struct ferry_arena *arena, size_t i)
{
	return ferry_arena_page_state(arena, i * page);
}

/* --- creating ------------------------------------------------------------- */

START_TEST(reservation_is_aligned_and_rounded_up)
{
	struct ferry_arena *arena = make(5 * MIB);

	ck_assert_uint_eq((uintptr_t)ferry_arena_base(arena) % (2 * MIB), 0);
	ck_assert_uint_eq(ferry_arena_reserved(arena), 6 * MIB);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(bad_parameters_are_refused)
{
	struct {
		struct ferry_arena_params p;
		char tail[8];
	} big = { .p = { .size = sizeof(big), .reserve = MIB } };
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *arena = NULL;

	ck_assert_int_eq(ferry_arena_create(NULL, &arena), -EINVAL);
	ck_assert_int_eq(ferry_arena_create(&p, &arena), -EINVAL);
	p.reserve = MIB;
	p.thp = (enum ferry_thp)17;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), -EINVAL);
	p.thp = FERRY_THP_SYSTEM;
	p.size = 4;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), -EINVAL);
	p.size = sizeof(p);
	p.reserve = SIZE_MAX;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), -ENOMEM);
	p.reserve = (size_t)1 << 50;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), -ENOMEM);
	big.tail[3] = 1;
	ck_assert_int_eq(ferry_arena_create(&big.p, &arena), -E2BIG);
	big.tail[3] = 0;
	ck_assert_ptr_null(arena);
	ck_assert_int_eq(ferry_arena_create(&big.p, &arena), 0);
	ferry_arena_destroy(arena);
	ferry_arena_destroy(NULL);
}
END_TEST

static long resident_kib(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%*d %ld", &pages), 1);
	fclose(f);
	return pages * (long)(page / 1024);
}

START_TEST(huge_reservation_is_cheap)
{
	struct ferry_arena *warm = make(2 * MIB), *arena;
	long before = resident_kib();
	size_t off = 0, len = 0;

	arena = make(256 * GIB);
	ck_assert_int_eq(ferry_arena_commit(arena, 200 * GIB, page, false), 0);
	ck_assert(ferry_arena_next_run(arena, 0, FERRY_PAGE_LIVE, &off, &len));
	ck_assert_uint_eq(off, 200 * GIB);
	ck_assert_uint_eq(len, page);
	ck_assert_ptr_eq(
		ferry_lookup((char *)ferry_arena_base(arena) + 255 * GIB),
		arena);
	ck_assert_int_lt(resident_kib() - before, 4096);
	ferry_arena_destroy(arena);
	ferry_arena_destroy(warm);
}
END_TEST

/* --- growing -------------------------------------------------------------- */

/* Puts reservations where the address space behind them is free. */
static void *roomy;

static int mmap_roomy(void *addr, size_t len, int prot, int flags, int fd,
		      off_t off, void **ret_addr)
{
	if (!addr && len >= 2 * MIB)
		addr = roomy;
	return ferry__sys_linux.mmap(addr, len, prot, flags, fd, off, ret_addr);
}

static struct ferry_arena *make_growable(size_t reserve)
{
	static struct ferry__sys table;
	struct ferry_arena *arena;
	char *hole;

	hole = mmap(NULL, GIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(hole, MAP_FAILED);
	munmap(hole, GIB);
	roomy = (void *)(((uintptr_t)hole | (2 * MIB - 1)) + 1);
	table = ferry__sys_linux;
	table.mmap = mmap_roomy;
	ferry__sys = &table;
	arena = make(reserve);
	ck_assert_ptr_eq(ferry_arena_base(arena), roomy);
	return arena;
}

START_TEST(growing_keeps_contents_and_place)
{
	struct ferry_arena *arena = make_growable(2 * MIB);
	char *base = ferry_arena_base(arena);
	size_t old = ferry_arena_reserved(arena);

	ck_assert_int_eq(ferry_arena_commit(arena, 0, old, false), 0);
	strcpy(base, "cargo");
	ck_assert_int_eq(ferry_arena_grow(arena, 3 * MIB), 0);
	ck_assert_uint_eq(ferry_arena_reserved(arena), old + 4 * MIB);
	ck_assert_ptr_eq(ferry_arena_base(arena), base);
	ck_assert_str_eq(base, "cargo");
	ck_assert_int_eq(state(arena, old / page), FERRY_PAGE_ABSENT);
	ck_assert_int_eq(ferry_arena_commit(arena, old, 4 * MIB, true), 0);
	base[old + 4 * MIB - 1] = 1;
	ck_assert_ptr_eq(ferry_lookup(base + old + 4 * MIB - 1), arena);
	ferry_arena_destroy(arena);
	ck_assert_ptr_null(ferry_lookup(base));
	ck_assert_ptr_null(ferry_lookup(base + old));
}
END_TEST

START_TEST(growing_into_taken_space_changes_nothing)
{
	struct ferry_arena *arena = make(2 * MIB);
	char *end = (char *)ferry_arena_base(arena) + 2 * MIB;
	size_t reserved = ferry_arena_reserved(arena);

	mmap(end, page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | 0x100000, -1,
	     0);
	ck_assert_int_eq(ferry_arena_grow(arena, MIB), -ENOMEM);
	ck_assert_int_eq(ferry_arena_grow(arena, 0), -EINVAL);
	ck_assert_int_eq(ferry_arena_grow(arena, SIZE_MAX), -ENOMEM);
	ck_assert_uint_eq(ferry_arena_reserved(arena), reserved);
	ck_assert_ptr_ne(ferry_lookup(end), arena);
	ferry_arena_destroy(arena);
}
END_TEST

/* --- commit, decommit ----------------------------------------------------- */

static size_t present(const char *addr, size_t len)
{
	unsigned char vec[512];
	size_t i, n = 0;

	ck_assert_uint_le(len / page, sizeof(vec));
	ck_assert_int_eq(mincore((void *)(uintptr_t)addr, len, vec), 0);
	for (i = 0; i < len / page; i++)
		n += vec[i] & 1;
	return n;
}

START_TEST(commit_makes_pages_live_and_populate_brings_them)
{
	struct ferry_arena *arena = make(4 * MIB);
	char *base = ferry_arena_base(arena);

	ck_assert_int_eq(ferry_arena_commit(arena, 0, 8 * page, false), 0);
	ck_assert_int_eq(state(arena, 7), FERRY_PAGE_LIVE);
	ck_assert_int_eq(state(arena, 8), FERRY_PAGE_ABSENT);
	ck_assert_uint_eq(present(base, 8 * page), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 2 * MIB, 8 * page, true), 0);
	ck_assert_uint_eq(present(base + 2 * MIB, 8 * page), 8);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(commit_again_keeps_contents)
{
	struct ferry_arena *arena = make(2 * MIB);
	char *base = ferry_arena_base(arena);

	ck_assert_int_eq(ferry_arena_commit(arena, page, page, false), 0);
	strcpy(base + page, "cargo");
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 4 * page, true), 0);
	ck_assert_str_eq(base + page, "cargo");
	ck_assert_int_eq(ferry_arena_pin(arena, page, page), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 4 * page, true), 0);
	ck_assert_int_eq(state(arena, 1), FERRY_PAGE_PINNED);
	ck_assert_str_eq(base + page, "cargo");
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(decommit_gives_memory_back)
{
	struct ferry_arena *arena = make(2 * MIB);
	char *base = ferry_arena_base(arena);

	ck_assert_int_eq(ferry_arena_commit(arena, 0, 8 * page, false), 0);
	memset(base, 0x5a, 8 * page);
	ck_assert_int_eq(ferry_arena_decommit(arena, page, 6 * page), 0);
	ck_assert_int_eq(state(arena, 0), FERRY_PAGE_LIVE);
	ck_assert_int_eq(state(arena, 1), FERRY_PAGE_ABSENT);
	ck_assert_int_eq(state(arena, 7), FERRY_PAGE_LIVE);
	ck_assert_uint_eq(present(base, 8 * page), 2);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, 2 * MIB), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 8 * page, false), 0);
	ck_assert_int_eq(base[0] | base[page] | base[7 * page], 0);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(ranges_outside_the_arena_are_refused)
{
	struct ferry_arena *arena = make(2 * MIB);
	static const struct {
		size_t offset, len;
	} bad[] = {
		{ 1, 4096 },
		{ 0, 1 },
		{ 0, 0 },
		{ 2 * MIB, 4096 },
		{ 0, 2 * MIB + 4096 },
		{ (size_t)-4096, 4096 },
		{ 4096, (size_t)-4096 },
		{ (size_t)-4096, 8192 },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		size_t o = bad[i].offset, n = bad[i].len;

		ck_assert_int_eq(ferry_arena_commit(arena, o, n, true),
				 -EINVAL);
		ck_assert_int_eq(ferry_arena_decommit(arena, o, n), -EINVAL);
		ck_assert_int_eq(ferry_arena_pin(arena, o, n), -EINVAL);
		ck_assert_int_eq(ferry_arena_unpin(arena, o, n), -EINVAL);
	}
	ck_assert_int_eq(ferry_arena_page_state(arena, 2 * MIB),
			 FERRY_PAGE_ABSENT);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(claimed_pages_are_left_alone)
{
	struct ferry_arena *arena = make(2 * MIB);
	char *base = ferry_arena_base(arena);

	ck_assert_int_eq(ferry_arena_commit(arena, 0, 8 * page, false), 0);
	memset(base, 0x5a, 8 * page);
	ck_assert_uint_eq(ferry__arena_claim(arena, 4 * page, page), page);
	ck_assert_int_eq(state(arena, 4), FERRY_PAGE_TRANSIT);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, 8 * page), -EBUSY);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 16 * page, false),
			 -EBUSY);
	ck_assert_int_eq(ferry_arena_pin(arena, 0, 8 * page), -EBUSY);
	/* and nothing has changed */
	ck_assert_int_eq(state(arena, 0), FERRY_PAGE_LIVE);
	ck_assert_int_eq(state(arena, 8), FERRY_PAGE_ABSENT);
	ck_assert_uint_eq(present(base, 8 * page), 8);
	ferry__arena_settle(arena, 4 * page, page, FERRY_PAGE_LIVE);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, 8 * page), 0);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(claim_stops_at_the_first_page_that_is_not_live)
{
	struct ferry_arena *arena = make(2 * MIB);

	ck_assert_int_eq(ferry_arena_commit(arena, 0, 40 * page, false), 0);
	ck_assert_int_eq(ferry_arena_pin(arena, 37 * page, page), 0);
	ck_assert_uint_eq(ferry__arena_claim(arena, 3 * page, 40 * page),
			  34 * page);
	ck_assert_int_eq(state(arena, 2), FERRY_PAGE_LIVE);
	ck_assert_int_eq(state(arena, 36), FERRY_PAGE_TRANSIT);
	ck_assert_int_eq(state(arena, 37), FERRY_PAGE_PINNED);
	ck_assert_int_eq(ferry__arena_drop(arena, 3 * page, 34 * page), 0);
	ck_assert_int_eq(state(arena, 36), FERRY_PAGE_ABSENT);
	ck_assert_int_eq(ferry__arena_claim_absent(arena, 3 * page, 35 * page),
			 -EBUSY);
	ck_assert_int_eq(ferry__arena_claim_absent(arena, 3 * page, 34 * page),
			 0);
	ck_assert_int_eq(state(arena, 3), FERRY_PAGE_TRANSIT);
	ferry_arena_destroy(arena);
}
END_TEST

/* --- pins ----------------------------------------------------------------- */

START_TEST(pins_are_counted)
{
	struct ferry_arena *arena = make(2 * MIB);
	int i;

	ck_assert_int_eq(ferry_arena_commit(arena, 0, 4 * page, false), 0);
	for (i = 0; i < 1000; i++)
		ck_assert_int_eq(ferry_arena_pin(arena, page, page), 0);
	ck_assert_int_eq(ferry_arena_pin(arena, 0, 4 * page), 0);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, 4 * page), -EBUSY);
	ck_assert_int_eq(ferry_arena_unpin(arena, 0, 4 * page), 0);
	ck_assert_int_eq(state(arena, 0), FERRY_PAGE_LIVE);
	for (i = 0; i < 1000; i++) {
		ck_assert_int_eq(state(arena, 1), FERRY_PAGE_PINNED);
		ck_assert_int_eq(ferry_arena_unpin(arena, page, page), 0);
	}
	ck_assert_int_eq(state(arena, 1), FERRY_PAGE_LIVE);
	ck_assert_int_eq(ferry_arena_unpin(arena, page, page), -ENOENT);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(pin_is_whole_or_not_at_all)
{
	struct ferry_arena *arena = make(2 * MIB);

	ck_assert_int_eq(ferry_arena_commit(arena, 0, 4 * page, false), 0);
	ck_assert_int_eq(ferry_arena_pin(arena, page, page), 0);
	ck_assert_int_eq(ferry_arena_pin(arena, 0, 5 * page), -ENOENT);
	ck_assert_int_eq(state(arena, 0), FERRY_PAGE_LIVE);
	ck_assert_int_eq(ferry_arena_unpin(arena, page, 2 * page), -ENOENT);
	ck_assert_int_eq(state(arena, 1), FERRY_PAGE_PINNED);
	ck_assert_int_eq(ferry_arena_unpin(arena, page, page), 0);
	ck_assert_int_eq(state(arena, 1), FERRY_PAGE_LIVE);
	ferry_arena_destroy(arena);
}
END_TEST

static const struct test tests[] = {
	TEST(reservation_is_aligned_and_rounded_up, NULL),
	TEST(bad_parameters_are_refused, NULL),
	TEST(huge_reservation_is_cheap, NULL),
	TEST(growing_keeps_contents_and_place, NULL),
	TEST(growing_into_taken_space_changes_nothing, NULL),
	TEST(commit_makes_pages_live_and_populate_brings_them, NULL),
	TEST(commit_again_keeps_contents, NULL),
	TEST(decommit_gives_memory_back, NULL),
	TEST(ranges_outside_the_arena_are_refused, NULL),
	TEST(claimed_pages_are_left_alone, NULL),
	TEST(claim_stops_at_the_first_page_that_is_not_live, NULL),
	TEST(pins_are_counted, NULL),
	TEST(pin_is_whole_or_not_at_all, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
