/* SPDX-License-Identifier: MIT */
/* Facts about the pager: pages out and back, hints, discards, descriptors. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/inject.h"
#include "tests/pager_bed.h"
#include "tests/served.h"

#define PAGES  300
#define SECOND 1000000000ull

static struct bed bed;

static char *at(size_t page)
{
	return bed.addr + page * bed.page;
}

/* --- out and back -------------------------------------------------------- */

START_TEST(cold_pages_go_out_and_come_back_as_they_were)
{
	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_await_stored(&bed, 0);
	ck_assert_uint_eq(bed_here(&bed), PAGES);
	bed_end(&bed);
}
END_TEST

START_TEST(pages_go_out_again_and_again)
{
	unsigned int round;

	bed_begin(&bed, PAGES);
	for (round = 0; round < 10; round++) {
		fill_pages(bed.addr, PAGES * bed.page, round * 1000);
		bed_all_out(&bed);
		assert_pages(bed.addr, PAGES * bed.page, round * 1000);
	}
	bed_await_stored(&bed, 0);
	ck_assert_uint_ge(bed_stats(&bed).pages_out, 10 * PAGES);
	bed_end(&bed);
}
END_TEST

START_TEST(nothing_goes_out_by_itself_before_its_age)
{
	bed_begin(&bed, PAGES);
	ck_assert_int_eq(ferry__pager_run(bed.pager, false), 0);
	ck_assert_uint_eq(bed_here(&bed), PAGES);
	bed_end(&bed);
}
END_TEST

START_TEST(what_is_old_goes_out_by_itself)
{
	bed_params(&bed);
	bed.params.cold_after_ns = bed.params.idle_after_ns = 20000000;
	bed_start(&bed, PAGES);
	bed_await_stored(&bed, PAGES);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

START_TEST(a_sequence_of_faults_brings_several_pages_at_once)
{
	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	/* 1, 2, 4, 8, then 16 at a time. */
	ck_assert_uint_le(bed_stats(&bed).faults_stored, 4 + PAGES / 16 + 1);
	bed_end(&bed);
}
END_TEST

START_TEST(random_faults_bring_one_page_each)
{
	size_t i;

	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	for (i = PAGES; i-- > 0; i--)
		touch(at(i));
	bed_await_stored(&bed, PAGES / 2);
	ck_assert_uint_eq(bed_here(&bed), PAGES / 2);
	bed_end(&bed);
}
END_TEST

START_TEST(fresh_memory_beside_cold_pages_is_zero)
{
	size_t more = 50;

	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	ferry__pager_grow(bed.pager, bed.addr, (PAGES + more) * bed.page);
	ck_assert(is_zero(at(PAGES), more * bed.page));
	memset(at(PAGES), 1, more * bed.page);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	ck_assert_uint_gt(bed_stats(&bed).faults_empty, 0);
	ck_assert_uint_lt(bed_stats(&bed).faults_empty, more / 2);
	bed_end(&bed);
}
END_TEST

START_TEST(destroy_brings_everything_back)
{
	char *addr;
	size_t len;

	bed_begin(&bed, PAGES);
	addr = bed.addr;
	len = bed.len;
	bed_all_out(&bed);
	ferry__pager_destroy(bed.pager);
	ck_assert_uint_eq(bed_here(&bed), PAGES);
	assert_pages(addr, PAGES * bed.page, 1);
	munmap(addr, len);
}
END_TEST

/* --- stores -------------------------------------------------------------- */

START_TEST(pages_that_no_store_wants_stay)
{
	inject_start();
	inject_clock(SECOND);
	bed_begin(&bed, PAGES);
	fake_order(bed.fake[0], put_error, -E2BIG);
	BED_RUN_UNTIL(&bed, fake_count(bed.fake[0], refused) == PAGES);
	ck_assert_uint_eq(bed_here(&bed), PAGES);
	ck_assert_uint_eq(bed_stats(&bed).limbo, 0);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	/* And are left alone for a while. */
	fake_order(bed.fake[0], put_error, 0);
	bed_run(&bed);
	ck_assert_uint_eq(bed_here(&bed), PAGES);
	inject_clock_advance(60 * SECOND);
	bed_all_out(&bed);
	bed_end(&bed);
}
END_TEST

START_TEST(what_one_store_refuses_the_next_takes)
{
	bed_params(&bed);
	bed.params.n_tiers = 2;
	bed_start(&bed, PAGES);
	fake_order(bed.fake[0], put_error, -E2BIG);
	bed_all_out(&bed);
	ck_assert_uint_eq(fake_count(bed.fake[1], pages), PAGES);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

START_TEST(pages_move_on_to_the_next_store_when_they_are_older)
{
	bed_params(&bed);
	bed.params.n_tiers = 2;
	bed.params.cold_after_ns = bed.params.idle_after_ns = 20000000;
	bed.tier[1].after_ns = 100000000;
	bed_start(&bed, PAGES);
	AWAIT(fake_count(bed.fake[1], pages) == PAGES);
	ck_assert_uint_eq(fake_count(bed.fake[0], puts), PAGES);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

/* --- discards ------------------------------------------------------------ */

START_TEST(discarded_pages_read_as_zero_wherever_they_were)
{
	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	touch(at(10));
	ck_assert_int_eq(ferry__pager_discard(bed.pager, at(5), 100 * bed.page),
			 0);
	ck_assert(is_zero(at(5), 100 * bed.page));
	assert_pages(bed.addr, 5 * bed.page, 1);
	assert_pages(at(105), (PAGES - 105) * bed.page, 106);
	bed_end(&bed);
}
END_TEST

START_TEST(discards_before_anything_was_taken_are_plain)
{
	bed_begin(&bed, PAGES);
	ck_assert_int_eq(ferry__pager_discard(bed.pager, at(0), 7 * bed.page),
			 0);
	ck_assert(is_zero(at(0), 7 * bed.page));
	ck_assert_uint_eq(bed_stats(&bed).faults_empty, 0);
	bed_end(&bed);
}
END_TEST

/* --- hints --------------------------------------------------------------- */

START_TEST(pinned_pages_are_never_taken)
{
	size_t i;

	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	ck_assert_int_eq(ferry__pager_hint(bed.pager, at(3), 20 * bed.page,
					   FERRY__HINT_PIN),
			 0);
	BED_RUN_UNTIL(&bed, bed_here(&bed) <= 20);
	bed_run(&bed);
	for (i = 3; i < 23; i++)
		ck_assert(page_there(at(i)));
	ck_assert_int_eq(ferry__pager_hint(bed.pager, at(3), 20 * bed.page,
					   FERRY__HINT_NONE),
			 0);
	bed_all_out(&bed);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

START_TEST(pages_hinted_cold_go_out_and_hot_ones_come)
{
	bed_begin(&bed, PAGES);
	/* Whole pages only: not those that it begins and ends in. */
	bed_hint_out(&bed, at(10) + 1, 100 * bed.page, 99);
	ck_assert_uint_eq(bed_here(&bed), PAGES - 99);
	ck_assert_int_eq(ferry__pager_hint(bed.pager, at(10), 50 * bed.page,
					   FERRY__HINT_HOT),
			 0);
	ck_assert_uint_ge(bed_here(&bed), PAGES - 50);
	ck_assert_uint_le(bed_here(&bed), PAGES - 50 + 16);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

START_TEST(hints_outside_of_regions_are_refused)
{
	bed_begin(&bed, PAGES);
	ck_assert_int_eq(ferry__pager_hint(bed.pager, &bed, 1, FERRY__HINT_HOT),
			 -ENOENT);
	ck_assert_int_eq(ferry__pager_hint(bed.pager, bed.addr, bed.len + 1,
					   FERRY__HINT_COLD),
			 -ENOENT);
	bed_end(&bed);
}
END_TEST

START_TEST(after_restore_all_nothing_goes_out_until_the_last_resume)
{
	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	ck_assert_int_eq(ferry__pager_restore_all(bed.pager), 0);
	ck_assert_int_eq(ferry__pager_restore_all(bed.pager), 0);
	ck_assert_uint_eq(bed_here(&bed), PAGES);
	ferry__pager_resume(bed.pager);
	ck_assert_int_eq(ferry__pager_run(bed.pager, true), 0);
	ck_assert_uint_eq(bed_here(&bed), PAGES);
	ferry__pager_resume(bed.pager);
	bed_all_out(&bed);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

/* --- system calls and descriptors ---------------------------------------- */

#ifndef SIGBUS_MODE /* in which these are not so */
START_TEST(system_calls_on_cold_pages_work)
{
	char out[100];
	int fd[2];

	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq(write(fd[1], at(7) - 50, 100), 100);
	ck_assert_int_eq(read(fd[0], at(200) - 50, 100), 100);
	ck_assert_int_eq(memcmp(at(200) - 50, at(7) - 50, 100), 0);
	memcpy(out, at(7) - 50, 100);
	ck_assert_int_eq(memcmp(at(200) - 50, out, 100), 0);
	ck_assert(page_holds(at(100), 101));
	bed_end(&bed);
}
END_TEST

START_TEST(cold_pages_are_read_from_beside_the_process)
{
	uint64_t word;
	struct iovec here = { &word, sizeof(word) };
	struct iovec there;

	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	there = (struct iovec){ at(42), sizeof(word) };
	ck_assert_int_eq(process_vm_readv(getpid(), &here, 1, &there, 1, 0),
			 sizeof(word));
	ck_assert_uint_eq(word, page_word(43, 0));
	bed_end(&bed);
}
END_TEST

static size_t open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

START_TEST(the_program_has_no_descriptor_of_ours)
{
	size_t before = open_descriptors();

	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	ck_assert_uint_eq(open_descriptors(), before);
	bed_end(&bed);
}
END_TEST
#endif

START_TEST(cold_pages_come_back_when_all_descriptors_are_closed)
{
	int out = dup(STDOUT_FILENO);

	bed_begin(&bed, PAGES);
	bed_all_out(&bed);
	ck_assert_int_eq(syscall(SYS_close_range, out + 1, ~0u, 0), 0);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_all_out(&bed);
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}
END_TEST

/* --- empty pages --------------------------------------------------------- */

/* Pages with an odd number hold nothing. */
static void odd_pages(void *arg, uintptr_t addr, size_t len, uint64_t *ret)
{
	size_t first = (addr - (uintptr_t)bed.addr) / bed.page, i;

	(void)arg;
	*ret = 0;
	for (i = 0; i < len / bed.page; i++)
		if ((first + i) % 2)
			*ret |= 1ull << i;
}

/* The second answer: every fourth holds something after all. */
static size_t scrub(void *arg, uintptr_t addr, void *copy)
{
	size_t page = (addr - (uintptr_t)bed.addr) / bed.page;

	(void)arg;
	(void)copy;
	return page % 2 && page % 4 != 3 ? 0 : bed.page;
}

START_TEST(empty_pages_are_dropped_without_a_store)
{
	size_t i;

	bed_params(&bed);
	bed.params.empty_pages = odd_pages;
	bed_start(&bed, PAGES);
	AWAIT(bed_stats(&bed).pages_dropped == PAGES / 2);
	ck_assert_uint_eq(fake_count(bed.fake[0], puts), 0);
	for (i = 0; i < PAGES; i++)
		ck_assert(i % 2 ? is_zero(at(i), bed.page)
				: page_holds(at(i), i + 1));
	bed_end(&bed);
}
END_TEST

START_TEST(pages_that_live_at_the_second_look_are_kept)
{
	size_t i;

	bed_params(&bed);
	bed.params.empty_pages = odd_pages;
	bed.params.scrub = scrub;
	bed_start(&bed, PAGES);
	AWAIT(bed_stats(&bed).pages_dropped == PAGES / 4);
	for (i = 0; i < PAGES; i++)
		ck_assert(i % 4 == 1 ? is_zero(at(i), bed.page)
				     : page_holds(at(i), i + 1));
	bed_end(&bed);
}
END_TEST

START_TEST(stored_pages_that_are_empty_are_dropped)
{
	bed_params(&bed);
	bed.params.scrub = scrub;
	bed_start(&bed, PAGES);
	BED_RUN_UNTIL(&bed, !bed_here(&bed));
	ck_assert_uint_eq(fake_count(bed.fake[0], puts), PAGES - PAGES / 4);
	ck_assert_uint_eq(bed_stats(&bed).pages_dropped, PAGES / 4);
	ck_assert(is_zero(at(1), bed.page));
	ck_assert(page_holds(at(3), 4));
	bed_end(&bed);
}
END_TEST

/* --- the rest ------------------------------------------------------------ */

START_TEST(wrong_parameters_are_refused)
{
	struct ferry__pager *pager;

	bed_params(&bed);
	bed.params.service = (enum ferry__pager_service)9;
	ck_assert_int_eq(ferry__pager_create(&bed.params, &pager), -EINVAL);
	bed_params(&bed);
	bed.params.tiers = NULL;
	ck_assert_int_eq(ferry__pager_create(&bed.params, &pager), -EINVAL);
	bed_params(&bed);
	bed.params.n_tiers = 0;
	ck_assert_int_eq(ferry__pager_create(&bed.params, &pager), 0);
	ck_assert_int_eq(ferry__pager_add_region(pager, (void *)4096, 4096),
			 -EINVAL);
	ck_assert_int_eq(ferry__pager_add_region(pager, (void *)HUGE_SIZE, 0),
			 -EINVAL);
	ferry__pager_destroy(pager);
}
END_TEST

START_TEST(before_the_start_all_calls_work_and_nothing_goes_out)
{
	struct ferry__pager *pager;
	char *addr = map_anon(HUGE_SIZE);

	bed_params(&bed);
	bed.params.n_tiers = 0;
	ck_assert_int_eq(ferry__pager_create(&bed.params, &pager), 0);
	ck_assert_int_eq(ferry__pager_add_region(pager, addr, HUGE_SIZE), 0);
	ferry__pager_grow(pager, addr, HUGE_SIZE);
	fill_pages(addr, HUGE_SIZE, 1);
	ck_assert_int_eq(ferry__pager_run(pager, true), 0);
	ck_assert_int_eq(ferry__pager_restore_all(pager), 0);
	ferry__pager_resume(pager);
	ck_assert_int_eq(
		ferry__pager_hint(pager, addr, HUGE_SIZE, FERRY__HINT_PIN), 0);
	assert_pages(addr, HUGE_SIZE, 1);
	ck_assert_int_eq(ferry__pager_discard(pager, addr, HUGE_SIZE), 0);
	ck_assert(is_zero(addr, HUGE_SIZE));
	ferry__pager_destroy(pager);
}
END_TEST

START_TEST(numbers_say_where_the_pages_are)
{
	struct ferry__pager_stats s;
	struct ferry__store_stats store;
	const char *name;

	bed_begin(&bed, PAGES);
	s = bed_stats(&bed);
	ck_assert(s.running);
	ck_assert_uint_eq(s.in_use, PAGES * bed.page);
	ck_assert_uint_eq(s.resident, PAGES * bed.page);
	bed_all_out(&bed);
	s = bed_stats(&bed);
	ck_assert_uint_eq(s.resident, 0);
	ck_assert_uint_eq(s.stored, PAGES * bed.page);
	ck_assert_uint_eq(s.store_memory, PAGES * bed.page);
	ck_assert(ferry__pager_tier_stats(bed.pager, 0, &name, &store));
	ck_assert_str_eq(name, "fake");
	ck_assert_uint_eq(store.pages, PAGES);
	ck_assert(!ferry__pager_tier_stats(bed.pager, 1, &name, &store));
	bed_end(&bed);
}
END_TEST

/* --- stores with descriptors ------------------------------------------------ */

static struct ferry__store *file;
static int opened;

static size_t open_file(void *arg, struct ferry__pager_tier *ret_tiers)
{
	(void)arg;
	opened++;
	if (ferry__store_file_create("/tmp", 0, &file))
		return 0;
	*ret_tiers = (struct ferry__pager_tier){ .store = file };
	return 1;
}

START_TEST(stores_with_descriptors_outlive_the_threads)
{
	const char *name;
	struct ferry__store_stats stats;

	bed_params(&bed);
	bed.params.open_tiers = open_file;
	bed.params.n_tiers = 1;
	bed_start(&bed, 200);
	bed_all_out(&bed);
	ck_assert(ferry__pager_tier_stats(bed.pager, 0, &name, &stats));
	ck_assert_uint_eq(stats.pages, 200);
	assert_pages(bed.addr, 200 * bed.page, 1);
	/* The table ends with the threads, and the file with it. */
	ck_assert_int_eq(ferry__pager_stop(bed.pager), 0);
	ck_assert(ferry__pager_tier_stats(bed.pager, 0, &name, &stats));
	ck_assert_uint_eq(stats.elsewhere, 0);
	ck_assert_int_eq(ferry__pager_start(bed.pager, NULL), 0);
	bed_all_out(&bed);
	ck_assert(ferry__pager_tier_stats(bed.pager, 0, &name, &stats));
	ck_assert_uint_eq(stats.pages, 200);
	ck_assert_uint_eq(stats.failed, 0);
	assert_pages(bed.addr, 200 * bed.page, 1);
	ck_assert_int_eq(opened, 1);
	ferry__pager_destroy(bed.pager);
	file->ops->destroy(file);
}
END_TEST

static const struct test tests[] = {
	TEST(cold_pages_go_out_and_come_back_as_they_were, PAGER_NEEDS),
	TEST(pages_go_out_again_and_again, PAGER_NEEDS),
	TEST(nothing_goes_out_by_itself_before_its_age, PAGER_NEEDS),
	TEST(what_is_old_goes_out_by_itself, PAGER_NEEDS),
	TEST(a_sequence_of_faults_brings_several_pages_at_once, PAGER_NEEDS),
	TEST(random_faults_bring_one_page_each, PAGER_NEEDS),
	TEST(fresh_memory_beside_cold_pages_is_zero, PAGER_NEEDS),
	TEST(destroy_brings_everything_back, PAGER_NEEDS),
	TEST(pages_that_no_store_wants_stay, PAGER_NEEDS),
	TEST(what_one_store_refuses_the_next_takes, PAGER_NEEDS),
	TEST(pages_move_on_to_the_next_store_when_they_are_older, PAGER_NEEDS),
	TEST(discarded_pages_read_as_zero_wherever_they_were, PAGER_NEEDS),
	TEST(discards_before_anything_was_taken_are_plain, PAGER_NEEDS),
	TEST(pinned_pages_are_never_taken, PAGER_NEEDS),
	TEST(pages_hinted_cold_go_out_and_hot_ones_come, PAGER_NEEDS),
	TEST(hints_outside_of_regions_are_refused, PAGER_NEEDS),
	TEST(after_restore_all_nothing_goes_out_until_the_last_resume,
	     PAGER_NEEDS),
#ifndef SIGBUS_MODE
	TEST(system_calls_on_cold_pages_work, PAGER_NEEDS),
	TEST(cold_pages_are_read_from_beside_the_process, PAGER_NEEDS),
	TEST(the_program_has_no_descriptor_of_ours, PAGER_NEEDS),
#endif
	TEST(cold_pages_come_back_when_all_descriptors_are_closed, PAGER_NEEDS),
	TEST(empty_pages_are_dropped_without_a_store, PAGER_NEEDS),
	TEST(pages_that_live_at_the_second_look_are_kept, PAGER_NEEDS),
	TEST(stored_pages_that_are_empty_are_dropped, PAGER_NEEDS),
	TEST(wrong_parameters_are_refused, NULL),
	TEST(before_the_start_all_calls_work_and_nothing_goes_out, NULL),
	TEST(numbers_say_where_the_pages_are, PAGER_NEEDS),
	TEST(stores_with_descriptors_outlive_the_threads, PAGER_NEEDS),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
