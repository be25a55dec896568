/* SPDX-License-Identifier: MIT */
/* What reading a place does that an object has left. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/ways.h"
#include "uffd/uapi.h"

#define STALE 20000u
static uintptr_t *stale;

static bool died_of_memory(int status)
{
	return WIFSIGNALED(status) &&
	       (WTERMSIG(status) == SIGBUS || WTERMSIG(status) == SIGSEGV);
}

/* While pages are put in place: where some were, there is nothing now. What
 * is still there may be read. */
static void touch_stale(void *arg)
{
	volatile uint64_t *sink = arg;
	size_t i;

	for (i = 0; i < STALE; i += 16)
		*sink = *(const volatile uint64_t *)stale[i];
}

static _Noreturn void compact_and_touch(enum ferry_fault_mode fault_mode)
{
	static volatile uint64_t sink;
	struct inject_rule rule = { .call = INJECT_IOCTL,
				    .request = FERRY__UFFDIO_MOVE,
				    .count = INJECT_ALWAYS,
				    .hook = touch_stale,
				    .arg = (void *)&sink };
	struct way way = { FERRY_GC_CONCURRENT, fault_mode, FERRY_THP_SYSTEM };
	struct rlimit no_core = { 0, 0 };
	struct cells *c;

	/* A sanitizer's handlers would end the process in another way. */
	signal(SIGSEGV, SIG_DFL);
	signal(SIGBUS, SIG_DFL);
	setrlimit(RLIMIT_CORE, &no_core);
	inject_start();
	c = way_open(&way, 2);
	cells_list(c, 0, FERRY_KIND_TRACED, STALE, 2, 0);
	cells_list(c, 1, FERRY_KIND_TRACED, 5000, 2, 96);
	cells_collect(c, FERRY_COLLECT_FULL);
	stale = cells_addresses(c->root[0], STALE);
	inject_add(&rule);
	ferry_heap_collect(c->heap, c->m, FERRY_COLLECT_COMPACT);
	_exit(rule.hits ? 1 : 2);
}

START_TEST(stale_references_are_fatal_while_pages_are_produced)
{
	static const enum ferry_fault_mode modes[] = { FERRY_FAULT_SIGBUS,
						       FERRY_FAULT_THREAD };
	const char *why;
	int status;
	size_t i;
	pid_t pid;

	if (!harness_feature("sigbus", &why))
		SKIP("sigbus", "%s", why);
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (!pid)
			compact_and_touch(modes[i]);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_msg(died_of_memory(status), "mode %zu: status %#x", i,
			      (unsigned int)status);
	}
}
END_TEST

/* The places of a dense list, and of a sparse one, before a compaction: all
 * have moved, or in mode STOPPED the sparse ones. */
static struct cells *leave_places(const struct way *way, const char *options)
{
	struct ferry_heap_params p = way_params(way);
	struct cells *c;

	p.options = options;
	c = cells_open(&p, 2);
	cells_list(c, 0, FERRY_KIND_TRACED, STALE, 2, 0);
	cells_list(c, 1, FERRY_KIND_TRACED, STALE, 2, 300);
	cells_collect(c, FERRY_COLLECT_FULL);
	stale = cells_addresses(c->root[cells_concurrent(c) ? 0 : 1], STALE);
	cells_collect(c, FERRY_COLLECT_COMPACT);
	return c;
}

/* How many of the places left can be read, each tried by a child. */
static size_t readable_places(void)
{
	volatile uint64_t *sink = stale;
	struct rlimit no_core = { 0, 0 };
	size_t i, n = 0;
	int status;
	pid_t pid;

	for (i = 0; i < STALE; i += STALE / 20) {
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (!pid) {
			setrlimit(RLIMIT_CORE, &no_core);
			/* A sanitizer has handlers of its own. */
			signal(SIGSEGV, SIG_DFL);
			signal(SIGBUS, SIG_DFL);
			*sink = *(const volatile uint64_t *)stale[i];
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		if (!status)
			n++;
		else
			ck_assert(died_of_memory(status));
	}
	return n;
}

START_TEST(stale_references_are_fatal_afterwards_in_debug_heaps)
{
	static const char *const options[] = { "debug:yes", "poison:yes" };
	size_t w, k;

	for (w = 0; w < WAYS; w++)
		for (k = 0; k < 2; k++) {
			struct cells *c = leave_places(&ways[w], options[k]);

			ck_assert_msg(!readable_places(), "way %zu, %s", w,
				      options[k]);
			/* Places are taken again, and left again. */
			cells_list(c, 1, FERRY_KIND_TRACED, 3 * STALE, 2, 300);
			cells_collect(c, FERRY_COLLECT_MINOR);
			cells_collect(c, FERRY_COLLECT_COMPACT);
			cells_list(c, 0, FERRY_KIND_TRACED, STALE, 2, 0);
			cells_collect(c, FERRY_COLLECT_COMPACT);
			cells_list_check(c, 0, STALE);
			cells_list_check(c, 1, 3 * STALE);
			cells_close(c);
			free(stale);
		}
}
END_TEST

/* Every other page gets other rights, until there are no more mappings. */
static void use_up_mappings(void)
{
	size_t page = page_size(), len = (size_t)64 << 30, at = page;
	char *mem = mmap(NULL, len, PROT_READ,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(mem, MAP_FAILED);
	while (at < len && !mprotect(mem + at, page, PROT_NONE))
		at += 2 * page;
	ck_assert_int_eq(errno, ENOMEM);
}

START_TEST(debug_heap_has_memory_where_guards_used_up_mappings)
{
	struct cells *c;

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
	SKIP("sanitizer-mappings",
	     "a sanitizer ends the program that leaves it no mapping");
#endif
	c = leave_places(&ways[0], "debug:yes");
	use_up_mappings();
	cells_list(c, 1, FERRY_KIND_TRACED, 3 * STALE, 2, 300);
	cells_list_check(c, 0, STALE);
	cells_list_check(c, 1, 3 * STALE);
	cells_close(c);
	free(stale);
}
END_TEST

/* A debugging aid only: it costs mappings. */
START_TEST(places_left_are_ordinary_memory_without_debug)
{
	size_t w;

	for (w = 0; w < WAYS; w++) {
		struct cells *c = leave_places(&ways[w], NULL);

		ck_assert_uint_gt(readable_places(), 0);
		cells_close(c);
		free(stale);
	}
}
END_TEST

static const struct test tests[] = {
	TEST(stale_references_are_fatal_afterwards_in_debug_heaps, NULL),
	TEST(places_left_are_ordinary_memory_without_debug, NULL),
	TEST(debug_heap_has_memory_where_guards_used_up_mappings, NULL),
	TEST(stale_references_are_fatal_while_pages_are_produced, "move"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
