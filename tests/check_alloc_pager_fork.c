/* SPDX-License-Identifier: MIT */
/* The pager and fork(2): what the child sees, and what the parent keeps. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/pager_bed.h"
#include "tests/served.h"

#define PAGES 1000

static struct bed bed;

static char *at(size_t page)
{
	return bed.addr + page * bed.page;
}

static void begin(size_t pages)
{
	bed_begin(&bed, pages);
	bed_at_fork();
}

/* Runs @fn in a child; its answer must be true. */
static void in_child(bool (*fn)(void))
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(!fn());
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

static bool pages_hold(void)
{
	return served_pages_hold(bed.addr, bed.pages * bed.page, 1);
}

static bool is_running(void)
{
	return bed_stats(&bed).running && pages_hold();
}

static bool is_not_running(void)
{
	return !bed_stats(&bed).running && pages_hold();
}

START_TEST(a_child_finds_cold_pages_as_they_were)
{
	begin(PAGES);
	bed_all_out(&bed);
	in_child(is_running);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST

START_TEST(a_child_with_few_cold_pages_has_them_and_no_threads)
{
	begin(PAGES);
	bed_hint_out(&bed, at(8), 20 * bed.page, 20);
	in_child(is_not_running);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST

START_TEST(a_child_of_a_process_with_nothing_cold_has_no_threads)
{
	begin(PAGES);
	in_child(is_not_running);
	bed_end(&bed);
}
END_TEST

static bool writes_of_its_own(void)
{
	memset(at(10), 1, 200 * bed.page);
	if (ferry__pager_run(bed.pager, true))
		return false;
	return at(100)[7] == 1 && served_pages_hold(at(300), bed.page, 301);
}

START_TEST(what_a_child_writes_is_its_own)
{
	begin(PAGES);
	bed_all_out(&bed);
	in_child(writes_of_its_own);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST

static bool pages_hold_below(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(!is_running());
	return waitpid(pid, &status, 0) == pid && !status && pages_hold();
}

START_TEST(children_of_children_find_cold_pages)
{
	begin(PAGES);
	bed_all_out(&bed);
	in_child(pages_hold_below);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST

START_TEST(pages_shared_by_a_fork_go_out_when_asked_again)
{
	begin(PAGES);
	in_child(pages_hold);
	bed_all_out(&bed);
	ck_assert_uint_gt(bed_stats(&bed).busy, 0);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST

START_TEST(pages_in_limbo_come_back_after_a_fork)
{
	begin(PAGES);
	/* Full: what is taken stays in limbo. */
	fake_order(bed.fake[0], put_error, -ENOSPC);
	bed_all_in_limbo(&bed);
	in_child(is_running);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	fake_order(bed.fake[0], put_error, 0);
	bed_end(&bed);
}
END_TEST

/* Streams in cold memory: the C library touches them in the child. */
static bool stream_works(void)
{
	return pages_hold();
}

START_TEST(faults_of_the_forking_thread_are_served_while_it_forks)
{
	size_t i, rounds = 1 + harness_scaled(20);

	begin(PAGES);
	for (i = 0; i < rounds; i++) {
		bed_all_out(&bed);
		ferry__pager_fork_prepare(bed.pager);
		ck_assert(page_holds(at(i * 10), i * 10 + 1));
		ck_assert(page_holds(at(i * 10 + 5), i * 10 + 6));
		ferry__pager_fork_parent(bed.pager);
	}
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	in_child(stream_works);
	bed_end(&bed);
}
END_TEST

/* --- before the child's handlers ----------------------------------------- */

static bool early_right;

/* As the C library does in the child, before any handler. */
static void touch_early(void)
{
	early_right = page_holds(at(60), 61);
	at(50)[100] = 'x';
	at(50)[101] = 0;
	bed_fork_child();
}

static void begin_early(void (*first)(void))
{
	bed_begin(&bed, PAGES);
	ck_assert_int_eq(
		pthread_atfork(bed_fork_prepare, bed_fork_parent, first), 0);
	bed_all_out(&bed);
}

/* What page 51 holds in byte @i. */
static char was(size_t i)
{
	return (char)(page_word(51, i / 8) >> (i % 8 * 8));
}

static bool early_pages_hold(void)
{
	bool kept = at(50)[100] == 'x' && !at(50)[101];

	at(50)[100] = was(100);
	at(50)[101] = was(101);
	return early_right && kept && pages_hold();
}

START_TEST(what_is_touched_before_the_handlers_run_is_served)
{
	begin_early(touch_early);
	if (!bed_stats(&bed).raw_forks)
		harness_skip("event_fork", "the kernel does not tell of forks");
	ck_assert_int_ne(was(100), 'x');
	ck_assert_int_ne(was(101), 0);
	in_child(early_pages_hold);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST

static void read_all_early(void)
{
	early_right = pages_hold();
	memset(at(3), 0, bed.page);
	bed_fork_child();
}

static bool all_but_zeroes_hold(void)
{
	return early_right && !at(3)[5] && page_holds(at(4), 5) &&
	       served_pages_hold(at(4), (PAGES - 4) * bed.page, 5);
}

START_TEST(a_child_may_touch_all_before_its_handlers_run)
{
	begin_early(read_all_early);
	if (!bed_stats(&bed).raw_forks)
		harness_skip("event_fork", "the kernel does not tell of forks");
	in_child(all_but_zeroes_hold);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST

/* Who forked has gone on: the pages are somebody else's by then. */
START_TEST(a_child_whose_parent_ends_at_once_finds_all)
{
	int status, words[2];
	char word = 0;
	pid_t pid;

	begin_early(touch_early);
	if (!bed_stats(&bed).raw_forks)
		harness_skip("event_fork", "the kernel does not tell of forks");
	ck_assert_int_eq(pipe(words), 0);
	pid = fork();
	if (!pid) {
		bed_all_out(&bed);
		pid = fork();
		if (pid)
			_exit(pid < 0);
		word = early_pages_hold() ? 'y' : 'n';
		_exit(write(words[1], &word, 1) != 1);
	}
	close(words[1]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(read(words[0], &word, 1), 1);
	ck_assert_int_eq(word, 'y');
	close(words[0]);
	bed_end(&bed);
}
END_TEST

static void stop_early(void)
{
	raise(SIGSTOP);
	touch_early();
}

START_TEST(a_child_that_is_stopped_early_does_not_hold_its_parent)
{
	int status;
	pid_t pid;

	begin_early(stop_early);
	pid = fork();
	if (!pid)
		_exit(!early_pages_hold());
	/* Nothing that is done here is the child's. */
	fill_pages(bed.addr, bed.pages * bed.page, 7777);
	ck_assert_int_eq(waitpid(pid, &status, WUNTRACED), pid);
	ck_assert(WIFSTOPPED(status));
	ck_assert_int_eq(kill(pid, SIGCONT), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	if (bed_stats(&bed).raw_forks)
		ck_assert_int_eq(status, 0);
	assert_pages(bed.addr, bed.pages * bed.page, 7777);
	bed_end(&bed);
}
END_TEST

static void die_early(void)
{
	raise(SIGKILL);
}

START_TEST(a_child_that_dies_early_does_not_hold_its_parent)
{
	int status;
	pid_t pid;

	begin_early(die_early);
	pid = fork();
	ck_assert_int_gt(pid, 0);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	bed_end(&bed);
}
END_TEST

/* Where the kernel does not tell of forks: non-zero bytes are kept. */
static void touch_unserved(void)
{
	at(50)[100] = 'x';
	touch(at(60));
	bed_fork_child();
}

static bool unserved_pages_hold(void)
{
	bool x = at(50)[100] == 'x';

	at(50)[100] = was(100);
	return x && pages_hold();
}

START_TEST(what_is_touched_unserved_is_mended)
{
	bed_service = FERRY__PAGER_SIGBUS;
	begin_early(touch_unserved);
	in_child(unserved_pages_hold);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST

/* Parts of the heap that a child does not get, or that lie still. */
START_TEST(what_the_program_made_of_cold_memory_holds)
{
	begin(PAGES);
	/* In limbo, where a protected page cannot be moved back. */
	fake_order(bed.fake[0], put_error, -ENOSPC);
	bed_all_in_limbo(&bed);
	ck_assert_int_eq(mprotect(at(10), 3 * bed.page, PROT_READ), 0);
	ck_assert(page_holds(at(11), 12));
	ck_assert_int_eq(mlock(at(20), bed.page), 0);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	/* And in a store. */
	fake_order(bed.fake[0], put_error, 0);
	ck_assert_int_eq(mprotect(at(10), 3 * bed.page, PROT_READ | PROT_WRITE),
			 0);
	ck_assert_int_eq(munlock(at(20), bed.page), 0);
	bed_all_out(&bed);
	ck_assert_int_eq(mprotect(at(10), 3 * bed.page, PROT_READ), 0);
	ck_assert_int_eq(mlock(at(20), bed.page), 0);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	in_child(pages_hold);
	ck_assert_int_eq(mprotect(at(10), 3 * bed.page, PROT_READ | PROT_WRITE),
			 0);
	bed_end(&bed);
}
END_TEST

/* In a child, what a region grows by is a mapping of its own. */
START_TEST(fresh_pages_come_over_the_border_of_two_mappings)
{
	begin(PAGES);
	bed_all_out(&bed);
	ck_assert_int_eq(ferry__pager_discard(bed.pager, at(40), 20 * bed.page),
			 0);
	ck_assert_int_eq(madvise(at(42), 4 * bed.page, MADV_DONTFORK), 0);
	ck_assert_int_eq(at(41)[5], 0);
	ck_assert_int_eq(at(45)[5], 0);
	fill_pages(bed.addr, bed.pages * bed.page, 1);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST

#ifndef FERRY_SANITIZE /* whose memory is too much to be locked */
START_TEST(locking_all_memory_brings_all_back)
{
	begin(PAGES);
	bed_all_out(&bed);
	ck_assert_int_eq(mlockall(MCL_CURRENT), 0);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	ck_assert_int_eq(munlockall(), 0);
	bed_end(&bed);
}
END_TEST
#endif

/* --- without handlers ---------------------------------------------------- */

#ifndef FERRY_SANITIZE /* which knows nothing of such children */
static int verify_and_exit(void *arg)
{
	(void)arg;
	_exit(!pages_hold());
}

START_TEST(a_child_that_shares_the_memory_is_served)
{
	static char stack[65536] __attribute__((aligned(16)));
	int status;
	pid_t pid;

	begin(PAGES);
	bed_all_out(&bed);
	pid = clone(verify_and_exit, stack + sizeof(stack), CLONE_VM | SIGCHLD,
		    NULL);
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	bed_all_out(&bed);
	pid = vfork();
	if (!pid)
		_exit(!page_holds(at(17), 18));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	bed_end(&bed);
}
END_TEST

static pid_t raw_fork(void)
{
	return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

START_TEST(a_fork_without_handlers_finds_cold_pages)
{
	size_t round, rounds = 1 + harness_scaled(10);
	int status, go[2];
	char c;
	pid_t pid;

	begin(PAGES);
	ck_assert(bed_stats(&bed).raw_forks);
	for (round = 0; round < rounds; round++) {
		fill_pages(bed.addr, bed.pages * bed.page, 1);
		bed_all_out(&bed);
		ck_assert_int_eq(pipe(go), 0);
		pid = raw_fork();
		if (!pid)
			_exit(read(go[0], &c, 1) != 1 || !pages_hold());
		/* What the parent makes of them is not the child's. */
		fill_pages(bed.addr, bed.pages * bed.page, 7777);
		ck_assert_int_eq(write(go[1], "", 1), 1);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
		close(go[0]);
		close(go[1]);
	}
	assert_pages(bed.addr, bed.pages * bed.page, 7777);
	bed_end(&bed);
}
END_TEST

static pid_t raw_child;

static void fork_raw_in_the_window(void)
{
	bed_fork_prepare();
	raw_child = raw_fork();
	if (!raw_child)
		_exit(!pages_hold());
}

START_TEST(a_fork_without_handlers_beside_an_ordinary_one_finds_all)
{
	int status;

	bed_begin(&bed, PAGES);
	ck_assert_int_eq(pthread_atfork(fork_raw_in_the_window, bed_fork_parent,
					touch_early),
			 0);
	bed_all_out(&bed);
	in_child(early_pages_hold);
	ck_assert_int_eq(waitpid(raw_child, &status, 0), raw_child);
	ck_assert_int_eq(status, 0);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST

static bool forks_and_verifies(void)
{
	int status;
	pid_t pid;

	memset(at(3), 9, bed.page);
	pid = fork();
	if (!pid)
		_exit(at(3)[1] != 9 || !page_holds(at(4), 5) ||
		      !page_holds(at(500), 501));
	return waitpid(pid, &status, 0) == pid && !status && at(3)[1] == 9;
}

/* All is where it belongs, and the parent's pager is no longer its own. */
static bool ends_its_pager(void)
{
	size_t i;

	if (ferry__pager_stop(bed.pager) || bed_stats(&bed).stored ||
	    !pages_hold())
		return false;
	for (i = 0; i < 3; i++)
		memset(at(i), 9, bed.page);
	ferry__pager_destroy(bed.pager);
	return at(2)[1] == 9 && page_holds(at(3), 4) && !bed.fake[0]->pages;
}

START_TEST(a_child_without_handlers_can_end_its_pager)
{
	int status;
	pid_t pid;

	begin(PAGES);
	bed_all_out(&bed);
	pid = raw_fork();
	if (!pid)
		_exit(!ends_its_pager());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST

START_TEST(a_child_without_handlers_can_fork_in_both_ways)
{
	int status;
	pid_t pid;

	begin(PAGES);
	bed_all_out(&bed);
	pid = raw_fork();
	if (!pid) {
		pid = raw_fork();
		if (!pid)
			_exit(!pages_hold() || !forks_and_verifies());
		_exit(waitpid(pid, &status, 0) != pid || status ||
		      !pages_hold() || !forks_and_verifies());
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	assert_pages(bed.addr, bed.pages * bed.page, 1);
	bed_end(&bed);
}
END_TEST
#endif

START_TEST(arguments_of_a_spawned_program_may_be_cold)
{
	posix_spawn_file_actions_t quiet;
	char *argv[3] = { NULL };
	int status;
	pid_t pid;

	begin(PAGES);
	/* This program, which is there wherever it runs. */
	argv[0] = strcpy(at(1), "/proc/self/exe");
	argv[1] = strcpy(at(2), "--list");
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null",
					 O_WRONLY, 0);
	bed_all_out(&bed);
	ck_assert_int_eq(
		posix_spawn(&pid, argv[0], &quiet, NULL, argv, environ), 0);
	posix_spawn_file_actions_destroy(&quiet);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	bed_end(&bed);
}
END_TEST

/* --- beside other threads ------------------------------------------------ */

static bool stop;

static void *touch_pages(void *arg)
{
	struct random r = random_seeded((uintptr_t)arg);
	size_t page;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		page = random_below(&r, PAGES);
		EXPECT(page_holds(at(page), page + 1));
	}
	return NULL;
}

START_TEST(forks_beside_threads_that_fault_find_all)
{
	size_t i, rounds = harness_scaled(40);
	pthread_t thread[2];

	bed_params(&bed);
	bed.params.cold_after_ns = bed.params.idle_after_ns = 1000000;
	bed_start(&bed, PAGES);
	bed_at_fork();
	for (i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, touch_pages, (void *)(i + 1));
	for (i = 0; i < rounds; i++)
		in_child(pages_hold);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	served_assert_noted();
	bed_end(&bed);
}
END_TEST

static const struct test tests[] = {
	TEST(a_child_finds_cold_pages_as_they_were, PAGER_NEEDS),
	TEST(a_child_with_few_cold_pages_has_them_and_no_threads, PAGER_NEEDS),
	TEST(a_child_of_a_process_with_nothing_cold_has_no_threads,
	     PAGER_NEEDS),
	TEST(what_a_child_writes_is_its_own, PAGER_NEEDS),
	TEST(children_of_children_find_cold_pages, PAGER_NEEDS),
	TEST(pages_shared_by_a_fork_go_out_when_asked_again, PAGER_NEEDS),
	TEST(pages_in_limbo_come_back_after_a_fork, PAGER_NEEDS),
	TEST(faults_of_the_forking_thread_are_served_while_it_forks,
	     PAGER_NEEDS),
	TEST(what_the_program_made_of_cold_memory_holds, PAGER_NEEDS),
	TEST(fresh_pages_come_over_the_border_of_two_mappings, PAGER_NEEDS),
	TEST(what_is_touched_before_the_handlers_run_is_served, PAGER_NEEDS),
	TEST(a_child_may_touch_all_before_its_handlers_run, PAGER_NEEDS),
	TEST(a_child_whose_parent_ends_at_once_finds_all, PAGER_NEEDS),
	TEST(a_child_that_is_stopped_early_does_not_hold_its_parent,
	     PAGER_NEEDS),
	TEST(a_child_that_dies_early_does_not_hold_its_parent, PAGER_NEEDS),
	TEST(what_is_touched_unserved_is_mended, PAGER_NEEDS),
#ifndef FERRY_SANITIZE
	TEST(locking_all_memory_brings_all_back, PAGER_NEEDS),
	TEST(a_child_that_shares_the_memory_is_served, PAGER_NEEDS),
	TEST(a_fork_without_handlers_finds_cold_pages, PAGER_NEEDS),
	TEST(a_child_without_handlers_can_end_its_pager, PAGER_NEEDS),
	TEST(a_child_without_handlers_can_fork_in_both_ways, PAGER_NEEDS),
	TEST(a_fork_without_handlers_beside_an_ordinary_one_finds_all,
	     PAGER_NEEDS),
#endif
	TEST(arguments_of_a_spawned_program_may_be_cold, PAGER_NEEDS),
	TEST(forks_beside_threads_that_fault_find_all, PAGER_NEEDS),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
