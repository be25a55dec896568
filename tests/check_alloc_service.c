/* SPDX-License-Identifier: MIT */
/* Arenas whose pages come from a fault service. */
#include "tests/harness.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/alloc-internal.h"
#include "tests/memory.h"

#define MIB ((size_t)1 << 20)

static struct ferry_fault_service *service;
static struct ferry_arena *arena;
static char *base;
static char *source; /* what supply() copies from, offset by offset */

/*
 * What the supply saw. Written in a handler thread or in a signal handler
 * and read after the fault was served, which orders the two; relaxed, as
 * ThreadSanitizer cannot see that.
 */
static size_t last_offset, last_window, last_window_len;
static void *last_range;
static int supplies;
static bool wrong_arg;

#define NOTE(what, value) __atomic_store_n(&(what), (value), __ATOMIC_RELAXED)
#define SEEN(what)	  __atomic_load_n(&(what), __ATOMIC_RELAXED)

/* Copies the window from the source at the same offset. */
static void supply(void *arg, const struct ferry_fault *fault,
		   struct ferry_supply *ret)
{
	/* In a signal handler: nothing of Check's here. */
	if (arg != &supplies)
		NOTE(wrong_arg, true);
	NOTE(supplies, SEEN(supplies) + 1);
	NOTE(last_offset, fault->offset);
	NOTE(last_window, fault->window_offset);
	NOTE(last_window_len, fault->window_len);
	NOTE(last_range, fault->range.addr);
	ret->kind = FERRY_SUPPLY_COPY;
	ret->src = source + ret->offset;
}

static struct ferry_arena_params params_of(size_t reserve)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);

	p.reserve = reserve;
	p.service = service;
	p.supply = supply;
	p.supply_arg = &supplies;
	return p;
}

static char *middle;
static void *roomy; /* NULL: wherever the kernel likes */

/* Leaves room behind the arena, so that it can grow. */
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
	middle = hole + 512 * MIB;
	table = ferry__sys_linux;
	table.mmap = mmap_roomy;
	ferry__sys = &table;
}

static void setup_mode(enum ferry_fault_mode mode, size_t around)
{
	struct ferry_fault_params f = FERRY_INIT(struct ferry_fault_params);
	struct ferry_arena_params p;

	make_room(); /* before the service has threads that make calls */
	f.mode = mode;
	f.around = around;
	ck_assert_int_eq(ferry_fault_service_create(&f, NULL, &service), 0);
	source = map_anon(8 * MIB);
	fill_pages(source, 8 * MIB, 1);
	p = params_of(2 * MIB);
	roomy = middle;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	base = ferry_arena_base(arena);
	ck_assert_ptr_eq(base, middle);
}

static void setup(void)
{
	setup_mode(FERRY_FAULT_SIGBUS, 16);
}

static void setup_thread(void)
{
	setup_mode(FERRY_FAULT_THREAD, 16);
}

static void teardown(void)
{
	ferry_arena_destroy(arena);
	ferry_fault_service_destroy(service);
}

START_TEST(committed_pages_come_from_the_supply)
{
	ck_assert_int_eq(ferry_arena_commit(arena, 0, MIB, false), 0);
	assert_pages(base, MIB, 1);
	ck_assert(!SEEN(wrong_arg));
	ck_assert_ptr_eq(SEEN(last_range), base);
	ck_assert_int_eq(SEEN(supplies), (int)(MIB / page_size() / 16));
}
END_TEST

START_TEST(populated_pages_are_there_before_they_are_touched)
{
	int before;

	ck_assert_int_eq(ferry_arena_commit(arena, 0, MIB, true), 0);
	before = SEEN(supplies);
	ck_assert_int_gt(before, 0);
	assert_pages(base, MIB, 1);
	ck_assert_int_eq(SEEN(supplies), before);
}
END_TEST

START_TEST(fault_around_stays_in_what_is_committed)
{
	size_t page = page_size();

	ck_assert_int_eq(ferry_arena_commit(arena, 3 * page, 9 * page, false),
			 0);
	assert_pages(base + 5 * page, page, 6);
	ck_assert_uint_eq(SEEN(last_offset), 5 * page);
	ck_assert_uint_eq(SEEN(last_window), 3 * page);
	ck_assert_uint_eq(SEEN(last_window_len), 9 * page);
	ck_assert(!page_there(base + 2 * page));
	ck_assert(!page_there(base + 12 * page));
	assert_pages(base + 3 * page, 9 * page, 4);
	ck_assert_int_eq(SEEN(supplies), 1);
}
END_TEST

START_TEST(decommitted_pages_are_supplied_anew_once_committed)
{
	size_t page = page_size();

	ck_assert_int_eq(ferry_arena_commit(arena, 0, 32 * page, true), 0);
	memset(base, 0x5a, 32 * page);
	ck_assert_int_eq(ferry_arena_decommit(arena, 8 * page, 8 * page), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 8 * page, 8 * page, false),
			 0);
	assert_pages(base + 8 * page, 8 * page, 9);
	ck_assert_int_eq(base[0], 0x5a);
	ck_assert_int_eq(base[16 * page], 0x5a);
}
END_TEST

/* The host's own handler, found there by the service. */
static sigjmp_buf refused;

static void on_refusal(int sig)
{
	(void)sig;
	siglongjmp(refused, 1);
}

static void setup_host_handler(void)
{
	struct sigaction act = { .sa_handler = on_refusal };

	sigaction(SIGBUS, &act, NULL);
	setup();
}

START_TEST(pages_not_committed_are_refused)
{
	ck_assert_int_eq(ferry_arena_commit(arena, 0, MIB, false), 0);
	ck_assert_int_lt(ferry_fault_resolve(service, base + MIB), 0);
	ck_assert_int_eq(SEEN(supplies), 0);
	ck_assert_int_eq(ferry_fault_resolve(service, base), 0);
	ck_assert_int_eq(SEEN(supplies), 1);
	if (sigsetjmp(refused, 1) == 0) {
		*(volatile char *)(base + MIB);
		ck_abort_msg("an absent page was readable");
	}
	ck_assert_int_eq(SEEN(supplies), 1);
}
END_TEST

START_TEST(grown_part_is_served_under_the_same_range)
{
	ck_assert_int_eq(ferry_arena_grow(arena, 2 * MIB), 0);
	ck_assert_int_eq(ferry_arena_grow(arena, 2 * MIB), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 6 * MIB, false), 0);
	assert_pages(base + 5 * MIB, page_size(), 5 * MIB / page_size() + 1);
	ck_assert_ptr_eq(SEEN(last_range), base);
	ck_assert_uint_eq(SEEN(last_offset), 5 * MIB);
	assert_pages(base, 6 * MIB, 1);
}
END_TEST

START_TEST(destroyed_arena_is_detached)
{
	struct ferry_arena_params p = params_of(2 * MIB);

	ck_assert_int_eq(ferry_arena_grow(arena, 2 * MIB), 0);
	ferry_arena_destroy(arena);
	ck_assert_int_eq(ferry_fault_resolve(service, base), -ENOENT);
	ck_assert_int_eq(ferry_fault_resolve(service, base + 2 * MIB), -ENOENT);
	/* and the place is free for another */
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	ck_assert_ptr_eq(ferry_arena_base(arena), base);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, MIB, false), 0);
	assert_pages(base, MIB, 1);
}
END_TEST

START_TEST(service_and_supply_go_together)
{
	struct ferry_arena_params p = params_of(2 * MIB);
	struct ferry_arena *other = NULL;

	p.supply = NULL;
	ck_assert_int_eq(ferry_arena_create(&p, &other), -EINVAL);
	p.supply = supply;
	p.service = NULL;
	ck_assert_int_eq(ferry_arena_create(&p, &other), -EINVAL);
	ck_assert_ptr_null(other);
}
END_TEST

/* --- fork ----------------------------------------------------------------- */

static bool stop;

static void *grow_and_shrink(void *unused)
{
	struct ferry_arena_params p = params_of(2 * MIB);
	struct ferry_arena *other;

	(void)unused;
	/* relaxed: a flag that says no more than "leave the loop" */
	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		ck_assert_int_eq(ferry_arena_create(&p, &other), 0);
		ck_assert_int_eq(ferry_arena_grow(other, 2 * MIB), 0);
		ferry_arena_destroy(other);
	}
	return NULL;
}

static void fork_once(void)
{
	int status = -1;
	pid_t child = fork();

	ck_assert_int_ge(child, 0);
	if (child == 0) {
		if (ferry_lookup(base) != arena)
			_exit(1);
		if (ferry_arena_commit(arena, MIB, page_size(), false))
			_exit(2);
		ferry_arena_destroy(arena);
		_exit(ferry_lookup(base) ? 3 : 0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}

/* Arenas before services: the order in which fork handlers come about. */
static void setup_arena_first(void)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *first;

	p.reserve = 2 * MIB;
	ck_assert_int_eq(ferry_arena_create(&p, &first), 0);
	ferry_arena_destroy(first);
	setup();
}

START_TEST(forks_while_arenas_grow_leave_a_usable_child)
{
	size_t i, n = harness_scaled(150);
	pthread_t thread;

	ck_assert_int_eq(ferry_arena_commit(arena, 0, MIB, true), 0);
	roomy = base + 128 * MIB;
	pthread_create(&thread, NULL, grow_and_shrink, NULL);
	for (i = 0; i < n; i++)
		fork_once();
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	assert_pages(base, MIB, 1);
}
END_TEST

static const struct test tests[] = {
	TEST_FIXTURE(committed_pages_come_from_the_supply, "sigbus", setup,
		     teardown),
	TEST_FIXTURE(populated_pages_are_there_before_they_are_touched,
		     "sigbus", setup, teardown),
	TEST_FIXTURE(populated_pages_are_there_before_they_are_touched,
		     "userfaultfd", setup_thread, teardown),
	TEST_FIXTURE(fault_around_stays_in_what_is_committed, "sigbus", setup,
		     teardown),
	TEST_FIXTURE(fault_around_stays_in_what_is_committed, "userfaultfd",
		     setup_thread, teardown),
	TEST_FIXTURE(decommitted_pages_are_supplied_anew_once_committed,
		     "sigbus", setup, teardown),
	TEST_FIXTURE(decommitted_pages_are_supplied_anew_once_committed,
		     "userfaultfd", setup_thread, teardown),
	TEST_FIXTURE(pages_not_committed_are_refused, "sigbus",
		     setup_host_handler, teardown),
	TEST_FIXTURE(grown_part_is_served_under_the_same_range, "sigbus", setup,
		     teardown),
	TEST_FIXTURE(grown_part_is_served_under_the_same_range, "userfaultfd",
		     setup_thread, teardown),
	TEST_FIXTURE(destroyed_arena_is_detached, "sigbus", setup, teardown),
	TEST_FIXTURE(service_and_supply_go_together, "sigbus", setup, teardown),
	TEST_FIXTURE(forks_while_arenas_grow_leave_a_usable_child, "sigbus",
		     setup_arena_first, teardown),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
