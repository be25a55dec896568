/* SPDX-License-Identifier: MIT */
/* Whatever the kernel refuses, and at which step: nothing is left behind. */
#include "tests/harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/alloc-internal.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "uffd/uapi.h"

#define MIB ((size_t)1 << 20)

/* Pages of address space in use by this process. */
static long address_space(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%ld", &pages), 1);
	fclose(f);
	return pages;
}

static struct ferry_arena_params params_of(size_t reserve)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);

	p.reserve = reserve;
	return p;
}

static struct ferry_arena *make(size_t reserve)
{
	struct ferry_arena_params p = params_of(reserve);
	struct ferry_arena *arena = NULL;

	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	return arena;
}

/* A place with room behind it: see mmap_roomy(). */
static char *roomy;

static int mmap_roomy(void *addr, size_t len, int prot, int flags, int fd,
		      off_t off, void **ret_addr)
{
	if (!addr && len >= 2 * MIB)
		addr = roomy;
	return ferry__sys_linux.mmap(addr, len, prot, flags, fd, off, ret_addr);
}

static void make_room(void)
{
	static struct ferry__sys table;
	char *hole = map_anon(1024 * MIB);

	munmap(hole, 1024 * MIB);
	roomy = hole + 512 * MIB;
	table = ferry__sys_linux;
	table.mmap = mmap_roomy;
	ferry__sys = &table;
}

/* Pages that tables may keep for the next time: less than any arena. */
static long slack;

/* What is done under a fault; returns what the call returned. */
typedef int (*operation)(struct ferry_arena *arena);

/*
 * Runs @op with the 1st, 2nd ... @call failing with @error until none is
 * left to fail; each time it must say so and leave arena and process as they
 * were. Returns how many steps there were.
 */
static int fail_each(operation op, struct ferry_arena *arena,
		     enum inject_call call, int error)
{
	struct inject_rule rule;
	long before;
	int r, n;

	for (n = 1;; n++) {
		rule = (struct inject_rule){ .call = call,
					     .nth = (uint64_t)n,
					     .error = error };
		before = address_space();
		inject_start();
		inject_add(&rule);
		r = op(arena);
		inject_stop();
		if (!rule.hits) {
			ck_assert_int_eq(r, 0);
			return n - 1;
		}
		ck_assert_msg(r == -error, "step %d answered %d", n, r);
		ck_assert_int_ge(address_space(), before);
		ck_assert_int_le(address_space(), before + slack);
		if (arena)
			ferry__arena_check(arena);
	}
}

/* --- creating ------------------------------------------------------------- */

static int create_all(struct ferry_arena *unused)
{
	struct ferry_arena_params p = params_of(20 * 1024 * MIB);
	struct ferry_arena *arena = NULL;
	int r;

	(void)unused;
	p.thp = FERRY_THP_NEVER;
	p.no_fork = true;
	p.name = "test";
	r = ferry_arena_create(&p, &arena);
	ck_assert_int_eq(r == 0, arena != NULL);
	ferry_arena_destroy(arena);
	return r;
}

START_TEST(failed_creation_leaves_nothing)
{
	ferry_arena_destroy(make(2 * MIB));
	/* struct, page table, reservation, at least one leaf of the look-up */
	ck_assert_int_ge(fail_each(create_all, NULL, INJECT_MMAP, ENOMEM), 4);
	/* huge pages, fork */
	ck_assert_int_eq(fail_each(create_all, NULL, INJECT_MADVISE, ENOMEM),
			 2);
}
END_TEST

/* A kernel that never aligns: the ends are cut off, or the whole undone. */
static int mmap_unaligned(void *addr, size_t len, int prot, int flags, int fd,
			  off_t off, void **ret_addr)
{
	int r;

	if (addr || len < 2 * MIB)
		return ferry__sys_linux.mmap(addr, len, prot, flags, fd, off,
					     ret_addr);
	addr = roomy + 3 * page_size();
	r = ferry__sys_linux.mmap(addr, len, prot, flags, fd, off, ret_addr);
	ck_assert(r < 0 || *ret_addr == addr);
	return r;
}

static int create_small(struct ferry_arena *unused)
{
	struct ferry_arena_params p = params_of(4 * MIB);
	struct ferry_arena *arena = NULL;
	int r;

	(void)unused;
	r = ferry_arena_create(&p, &arena);
	if (r < 0)
		return r;
	ck_assert_uint_eq((uintptr_t)ferry_arena_base(arena) % (2 * MIB), 0);
	ck_assert(!page_there((char *)ferry_arena_base(arena)));
	ferry_arena_destroy(arena);
	return 0;
}

START_TEST(unaligned_reservations_are_trimmed)
{
	static struct ferry__sys table;
	long before;

	make_room();
	table = ferry__sys_linux;
	table.mmap = mmap_unaligned;
	ferry__sys = &table;
	ck_assert_int_eq(create_small(NULL), 0);
	before = address_space();
	/* reservation, and the bigger one */
	ck_assert_int_ge(fail_each(create_small, NULL, INJECT_MMAP, ENOMEM), 4);
	/* only what waits for readers: no piece of address space */
	ck_assert_int_lt(address_space() - before, (long)(MIB / page_size()));
}
END_TEST

/* --- growing -------------------------------------------------------------- */

static int grow(struct ferry_arena *arena)
{
	size_t reserved = ferry_arena_reserved(arena);
	int r = ferry_arena_grow(arena, 2 * MIB);

	ck_assert_uint_eq(ferry_arena_reserved(arena),
			  reserved + (r == 0 ? 2 * MIB : 0));
	if (r < 0)
		ck_assert_ptr_ne(ferry_lookup((char *)ferry_arena_base(arena) +
					      reserved),
				 arena);
	return r;
}

static int grow_far(struct ferry_arena *arena)
{
	return ferry_arena_grow(arena, 40 * 1024 * MIB);
}

START_TEST(failed_growth_changes_nothing)
{
	struct ferry_arena_params p = params_of(2 * MIB);
	struct ferry_arena *arena;

	make_room();
	p.thp = FERRY_THP_NEVER;
	p.no_fork = true;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	ck_assert_int_ge(fail_each(grow, arena, INJECT_MMAP, ENOMEM), 1);
	ck_assert_int_eq(fail_each(grow, arena, INJECT_MADVISE, ENOMEM), 2);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(failed_growth_by_a_lot_changes_nothing)
{
	static struct ferry__sys table;
	struct ferry_arena *arena;
	char *hole = map_anon(50 * 1024 * MIB);

	munmap(hole, 50 * 1024 * MIB);
	roomy = hole + 2 * MIB;
	table = ferry__sys_linux;
	table.mmap = mmap_roomy;
	ferry__sys = &table;
	arena = make(2 * MIB);
	/* space, directory of the states, leaves of the look-up */
	slack = 64;
	ck_assert_int_ge(fail_each(grow_far, arena, INJECT_MMAP, ENOMEM), 3);
	ferry_arena_destroy(arena);
}
END_TEST

/* --- commit and decommit -------------------------------------------------- */

static void expect_states(struct ferry_arena *arena,
			  enum ferry_page_state first,
			  enum ferry_page_state rest)
{
	size_t page = page_size();

	ck_assert_int_eq(ferry_arena_page_state(arena, 0), first);
	ck_assert_int_eq(ferry_arena_page_state(arena, page), rest);
	ck_assert_int_eq(ferry_arena_page_state(arena, 7 * page), rest);
}

static int commit(struct ferry_arena *arena)
{
	char *base = ferry_arena_base(arena);
	int r = ferry_arena_commit(arena, 0, 8 * page_size(), true);

	ck_assert_str_eq(base, "cargo");
	if (r < 0)
		expect_states(arena, FERRY_PAGE_LIVE, FERRY_PAGE_ABSENT);
	return r;
}

START_TEST(failed_population_keeps_what_was_there)
{
	struct inject_rule none = { .call = INJECT_MADVISE,
				    .request = FERRY__MADV_POPULATE_WRITE,
				    .count = INJECT_ALWAYS,
				    .error = ENOMEM };
	struct ferry_arena *arena = make(2 * MIB);
	char *base = ferry_arena_base(arena);

	ck_assert_int_eq(ferry_arena_commit(arena, 0, page_size(), false), 0);
	strcpy(base, "cargo");
	inject_start();
	inject_add(&none);
	ck_assert_int_eq(commit(arena), -ENOMEM);
	inject_stop();
	ferry__arena_check(arena);
	ck_assert(!page_there(base + page_size()));
	ck_assert_int_eq(commit(arena), 0);
	expect_states(arena, FERRY_PAGE_LIVE, FERRY_PAGE_LIVE);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(kernel_that_cannot_populate_is_helped_by_touching)
{
	struct inject_rule old = { .call = INJECT_MADVISE,
				   .request = FERRY__MADV_POPULATE_WRITE,
				   .count = INJECT_ALWAYS,
				   .error = EINVAL };
	struct inject_rule busy = { .call = INJECT_MADVISE,
				    .request = FERRY__MADV_POPULATE_WRITE,
				    .count = 3,
				    .error = EINTR };
	struct ferry_arena *arena = make(2 * MIB);
	char *base = ferry_arena_base(arena);
	size_t i;

	ck_assert_int_eq(ferry_arena_commit(arena, 0, page_size(), false), 0);
	strcpy(base, "cargo");
	inject_start();
	inject_add(&old);
	inject_add(&busy);
	ck_assert_int_eq(commit(arena), 0);
	ck_assert_uint_eq(busy.hits, 3);
	inject_stop();
	for (i = 0; i < 8; i++)
		ck_assert(page_there(base + i * page_size()));
	ferry_arena_destroy(arena);
}
END_TEST

static int commit_far(struct ferry_arena *arena)
{
	return ferry_arena_commit(arena, 5 * 1024 * MIB, 2 * MIB, false);
}

static int pin_twice(struct ferry_arena *arena)
{
	int r = ferry_arena_pin(arena, 0, 4 * page_size());

	ck_assert_int_eq(ferry_arena_page_state(arena, 0), FERRY_PAGE_PINNED);
	return r;
}

static int set_thp(struct ferry_arena *arena)
{
	return ferry_arena_set_thp(arena, 2 * MIB, 2 * MIB, FERRY_THP_NEVER);
}

START_TEST(no_memory_for_tables_is_said)
{
	struct ferry_arena *arena = make(6 * 1024 * MIB);

	ck_assert_int_eq(fail_each(commit_far, arena, INJECT_MMAP, ENOMEM), 1);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 4 * page_size(), false),
			 0);
	ck_assert_int_eq(ferry_arena_pin(arena, 0, 4 * page_size()), 0);
	ck_assert_int_eq(fail_each(pin_twice, arena, INJECT_MMAP, ENOMEM), 1);
	ck_assert_int_eq(fail_each(set_thp, arena, INJECT_MMAP, ENOMEM), 1);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(refused_huge_page_advice_is_undone)
{
	struct ferry_arena *arena = make(8 * MIB);

	ck_assert_int_eq(fail_each(set_thp, arena, INJECT_MADVISE, ENOMEM), 1);
	ck_assert_uint_eq(ferry__arena_piece_end(arena, 0), 2 * MIB);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(kernel_without_huge_pages_is_named)
{
	struct inject_rule none = { .call = INJECT_MADVISE,
				    .count = INJECT_ALWAYS,
				    .error = EINVAL };
	struct ferry_arena_params p = params_of(2 * MIB);
	struct ferry_arena *arena = NULL;

	inject_start();
	inject_add(&none);
	p.thp = FERRY_THP_ALWAYS;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), -EOPNOTSUPP);
	p.thp = FERRY_THP_NEVER;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	ck_assert_int_eq(
		ferry_arena_set_thp(arena, 0, 2 * MIB, FERRY_THP_ALWAYS),
		-EOPNOTSUPP);
	inject_stop();
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(refused_decommit_keeps_pages_live)
{
	struct inject_rule no = { .call = INJECT_MADVISE,
				  .request = MADV_DONTNEED,
				  .error = EAGAIN };
	struct ferry_arena *arena = make(2 * MIB);
	char *base = ferry_arena_base(arena);

	ck_assert_int_eq(ferry_arena_commit(arena, 0, 8 * page_size(), true),
			 0);
	strcpy(base, "cargo");
	inject_start();
	inject_add(&no);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, 8 * page_size()),
			 -EAGAIN);
	expect_states(arena, FERRY_PAGE_LIVE, FERRY_PAGE_LIVE);
	ck_assert_str_eq(base, "cargo");
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, 8 * page_size()), 0);
	inject_stop();
	expect_states(arena, FERRY_PAGE_ABSENT, FERRY_PAGE_ABSENT);
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(locked_memory_is_given_back_all_the_same)
{
	struct inject_rule locked = { .call = INJECT_MADVISE,
				      .request = MADV_DONTNEED,
				      .error = EINVAL };
	struct ferry_arena *arena = make(2 * MIB);

	ck_assert_int_eq(ferry_arena_commit(arena, 0, 8 * page_size(), true),
			 0);
	inject_start();
	inject_add(&locked);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, 8 * page_size()), 0);
	ck_assert_uint_eq(
		inject_calls(INJECT_MADVISE, FERRY__MADV_DONTNEED_LOCKED), 1);
	inject_stop();
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(claims_survive_a_refused_drop)
{
	struct inject_rule no = { .call = INJECT_MADVISE,
				  .request = MADV_DONTNEED,
				  .error = ENOMEM };
	struct ferry_arena *arena = make(2 * MIB);
	size_t len = 8 * page_size();

	ck_assert_int_eq(ferry_arena_commit(arena, 0, len, true), 0);
	ck_assert_uint_eq(ferry__arena_claim(arena, 0, len), len);
	inject_start();
	inject_add(&no);
	ck_assert_int_eq(ferry__arena_drop(arena, 0, len), -ENOMEM);
	expect_states(arena, FERRY_PAGE_TRANSIT, FERRY_PAGE_TRANSIT);
	ck_assert_int_eq(ferry__arena_drop(arena, 0, len), 0);
	no = (struct inject_rule){ .call = INJECT_MADVISE, .error = ENOMEM };
	inject_stop();
	inject_start();
	inject_add(&no);
	ck_assert_int_eq(ferry__arena_claim_absent(arena, 0, len), -ENOMEM);
	expect_states(arena, FERRY_PAGE_ABSENT, FERRY_PAGE_ABSENT);
	inject_stop();
	ferry_arena_destroy(arena);
}
END_TEST

START_TEST(memory_is_given_back_where_unmapping_is_refused)
{
	struct inject_rule full = { .call = INJECT_MUNMAP, .error = ENOMEM };
	struct ferry_arena *arena = make(2 * MIB);
	char *base = ferry_arena_base(arena);

	ck_assert_int_eq(ferry_arena_commit(arena, 0, 2 * MIB, true), 0);
	inject_start();
	inject_add(&full);
	ferry_arena_destroy(arena);
	inject_stop();
	ck_assert_ptr_null(ferry_lookup(base));
	ck_assert(!page_there(base));
}
END_TEST

static const struct test tests[] = {
	TEST(failed_creation_leaves_nothing, NULL),
	TEST(unaligned_reservations_are_trimmed, NULL),
	TEST(failed_growth_changes_nothing, NULL),
	TEST(failed_growth_by_a_lot_changes_nothing, NULL),
	TEST(failed_population_keeps_what_was_there, NULL),
	TEST(kernel_that_cannot_populate_is_helped_by_touching, NULL),
	TEST(no_memory_for_tables_is_said, NULL),
	TEST(refused_huge_page_advice_is_undone, "thp"),
	TEST(kernel_without_huge_pages_is_named, NULL),
	TEST(refused_decommit_keeps_pages_live, NULL),
	TEST(locked_memory_is_given_back_all_the_same, NULL),
	TEST(claims_survive_a_refused_drop, NULL),
	TEST(memory_is_given_back_where_unmapping_is_refused, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
