/* SPDX-License-Identifier: MIT */
/*
 * Tiers of arenas: on a machine made up here, and on one that has slow
 * memory.
 */
#include <ferry/tier.h>

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/alloc-internal.h"
#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/nodes.h"
#include "tests/tiered.h"

#define PAGES 700 /* more than a batch */
#define COLD  3

static struct ferry_arena *arena;
static struct ferry_topology *top;
static struct ferry_tiering *tiering;
static struct ferry_tier_result down, up;
static char *base;
static size_t len, page;

static void make(size_t pages)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);

	page = page_size();
	len = pages * page;
	p.reserve = 2 * len;
	p.thp = FERRY_THP_NEVER;
	ck_assert_int_eq(ferry_arena_create(&p, &arena), 0);
	base = ferry_arena_base(arena);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, len, true), 0);
	fill_pages(base, len, 1);
	down = up =
		(struct ferry_tier_result)FERRY_INIT(struct ferry_tier_result);
}

static void begin(unsigned int tiers)
{
	top = tiered_start(tiers);
	make(PAGES);
}

static void end(void)
{
	ferry_tiering_destroy(tiering);
	ferry_arena_destroy(arena);
	tiered_end(top);
}

static int demote(void)
{
	return ferry_arena_demote(arena, 0, len, top, &down);
}

static int promote(void)
{
	return ferry_arena_promote(arena, 0, len, top, &up);
}

/* --- as the caller says --------------------------------------------------- */

START_TEST(demoted_pages_lie_on_the_slower_node)
{
	begin(2);
	ck_assert_int_eq(demote(), 0);
	ck_assert_uint_eq(down.moved, len);
	ck_assert_uint_eq(down.left + down.absent + down.settled, 0);
	ck_assert_uint_eq(tiered_on(base, len, 1), PAGES);
	assert_pages(base, len, 1);
	end();
}
END_TEST

START_TEST(promoted_pages_are_back_on_the_faster_one)
{
	begin(2);
	ck_assert_int_eq(demote(), 0);
	ck_assert_int_eq(promote(), 0);
	ck_assert_uint_eq(up.moved, len);
	ck_assert_uint_eq(tiered_on(base, len, 0), PAGES);
	ck_assert_int_eq(promote(), 0);
	ck_assert_uint_eq(up.moved, 0);
	ck_assert_uint_eq(up.settled, len);
	end();
}
END_TEST

START_TEST(each_call_goes_one_tier)
{
	begin(3);
	ck_assert_int_eq(demote(), 0);
	ck_assert_uint_eq(tiered_on(base, len, 1), PAGES);
	ck_assert_int_eq(demote(), 0);
	ck_assert_uint_eq(tiered_on(base, len, 2), PAGES);
	ck_assert_int_eq(demote(), 0);
	ck_assert_uint_eq(down.settled, len);
	ck_assert_int_eq(promote(), 0);
	ck_assert_uint_eq(tiered_on(base, len, 1), PAGES);
	end();
}
END_TEST

START_TEST(only_the_range_is_moved)
{
	begin(2);
	ck_assert_int_eq(
		ferry_arena_demote(arena, 10 * page, 5 * page, top, NULL), 0);
	ck_assert_uint_eq(tiered_on(base, len, 1), 5);
	ck_assert_uint_eq(tiered_on(base + 10 * page, 5 * page, 1), 5);
	end();
}
END_TEST

START_TEST(what_is_not_in_memory_is_counted_and_left)
{
	begin(2);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, 100 * page), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 60 * page, false), 0);
	ck_assert_int_eq(demote(), 0);
	ck_assert_uint_eq(down.moved, len - 100 * page);
	ck_assert_uint_eq(down.absent, 60 * page);
	end();
}
END_TEST

START_TEST(pages_that_cannot_go_are_counted)
{
	begin(2);
	tiered.stuck = 7;
	ck_assert_int_eq(demote(), 0);
	ck_assert_uint_eq(down.left, PAGES / 7 * page);
	ck_assert_uint_eq(down.moved, len - PAGES / 7 * page);
	ck_assert(!down.full);
	end();
}
END_TEST

/* A call of the kernel ends early where a page stays. */
START_TEST(what_a_call_did_not_come_to_is_tried_once_more)
{
	begin(2);
	tiered.ends_after = 200;
	ck_assert_int_eq(demote(), 0);
	/* Twice 256, of which 200 and 56; the other 188 at once. */
	ck_assert_uint_eq(down.moved, len);
	ck_assert_uint_eq(tiered.calls, 5);
	end();
}
END_TEST

START_TEST(full_node_leaves_all_where_it_is)
{
	begin(2);
	tiered.error = -ENOMEM;
	ck_assert_int_eq(demote(), 0);
	ck_assert_uint_eq(down.left, len);
	ck_assert(down.full);
	tiered.error = 0;
	ck_assert_int_eq(demote(), 0);
	ck_assert_uint_eq(down.moved, len);
	ck_assert(!down.full);
	end();
}
END_TEST

START_TEST(what_forbids_all_moves_is_an_error)
{
	static const struct {
		int error, answer;
	} row[] = {
		{ -EPERM, -EPERM },
		{ -EACCES, -EACCES },
		{ -ENODEV, -ENODEV },
		{ -ENOSYS, -EOPNOTSUPP },
	};
	size_t i;

	begin(2);
	for (i = 0; i < ARRAY_SIZE(row); i++) {
		tiered.error = row[i].error;
		ck_assert_int_eq(demote(), row[i].answer);
		ck_assert_uint_eq(down.moved, 0);
		tiered.error = 0;
		tiered.ask_error = row[i].error;
		ck_assert_int_eq(demote(), row[i].answer);
		tiered.ask_error = 0;
	}
	ck_assert_uint_eq(tiered_on(base, len, 0), PAGES);
	end();
}
END_TEST

START_TEST(one_class_of_memory_costs_no_system_call)
{
	begin(1);
	tiered.ask_error = -EIO;
	ck_assert_int_eq(demote(), -EOPNOTSUPP);
	ck_assert_int_eq(promote(), -EOPNOTSUPP);
	ck_assert_uint_eq(down.moved, 0);
	ck_assert_uint_eq(tiered.calls, 0);
	end();
}
END_TEST

START_TEST(bad_calls_are_refused)
{
	struct ferry_tier_result none = { 0 };

	begin(2);
	ck_assert_int_eq(ferry_arena_demote(arena, 1, page, top, NULL),
			 -EINVAL);
	ck_assert_int_eq(ferry_arena_demote(arena, 0, len * 8, top, NULL),
			 -EINVAL);
	ck_assert_int_eq(ferry_arena_demote(arena, 0, 0, top, NULL), -EINVAL);
	ck_assert_int_eq(ferry_arena_demote(arena, 0, len, NULL, NULL),
			 -EINVAL);
	ck_assert_int_eq(ferry_arena_demote(arena, 0, len, top, &none),
			 -EINVAL);
	ck_assert_uint_eq(tiered.calls, 0);
	end();
}
END_TEST

/* --- by age --------------------------------------------------------------- */

static int make_tiering(size_t step_max)
{
	struct ferry_tiering_params p = FERRY_INIT(struct ferry_tiering_params);

	p.arena = arena;
	p.topology = top;
	p.cold_after = COLD;
	p.step_max = step_max;
	return ferry_tiering_create(&p, NULL, &tiering);
}

static void begin_aging(unsigned int tiers, size_t step_max)
{
	begin(tiers);
	ck_assert_int_eq(make_tiering(step_max), 0);
}

static void step(void)
{
	ck_assert_int_eq(ferry_tiering_step(tiering, &down, &up), 0);
}

static void steps(size_t n)
{
	while (n--)
		step();
}

START_TEST(what_is_not_written_goes_down_at_its_age)
{
	begin_aging(2, 0);
	steps(COLD - 1);
	ck_assert_uint_eq(tiered_on(base, len, 0), PAGES);
	step();
	ck_assert_uint_eq(down.moved, len);
	ck_assert_uint_eq(tiered_on(base, len, 1), PAGES);
	assert_pages(base, len, 1);
	end();
}
END_TEST

/* The kernel may be moving a page of its own accord: it is tried again. */
#define STEP_UNTIL(cond)                                                       \
	do {                                                                   \
		step();                                                        \
		harness_pause();                                               \
	} while (!(cond))

START_TEST(what_is_written_stays_and_what_is_read_does_not)
{
	size_t i;

	begin_aging(2, 0);
	for (i = 0; i < 2 * COLD; i++) {
		fill_pages(base, 100 * page, 1);
		assert_pages(base + 100 * page, 100 * page, 101);
		step();
		/* They need not be asked about. */
		ck_assert_uint_eq(up.moved + up.settled, 0);
	}
	ck_assert_uint_eq(tiered_on(base, 100 * page, 0), 100);
	ck_assert_uint_eq(tiered_on(base + 100 * page, len - 100 * page, 1),
			  PAGES - 100);
	end();
}
END_TEST

START_TEST(what_is_written_on_slow_memory_comes_up)
{
	begin_aging(2, 0);
	STEP_UNTIL(tiered_on(base, len, 1) == PAGES);
	fill_pages(base + 50 * page, 20 * page, 51);
	step();
	ck_assert_uint_eq(up.moved, 20 * page);
	ck_assert_uint_eq(tiered_on(base + 50 * page, 20 * page, 0), 20);
	ck_assert_uint_eq(tiered_on(base, len, 0), 20);
	/* And down again when it is left alone. */
	STEP_UNTIL(tiered_on(base, len, 1) == PAGES);
	end();
}
END_TEST

START_TEST(pages_that_lay_there_from_the_start_come_up_too)
{
	begin(2);
	tiered_place(base, len, 1);
	ck_assert_int_eq(make_tiering(0), 0);
	steps(COLD);
	ck_assert_uint_eq(down.settled, len);
	fill_pages(base, page, 1);
	step();
	ck_assert_uint_eq(up.moved, page);
	ck_assert_uint_eq(tiered_on(base, page, 0), 1);
	end();
}
END_TEST

START_TEST(settled_pages_are_not_asked_about_again)
{
	begin_aging(2, 0);
	STEP_UNTIL(tiered_on(base, len, 1) == PAGES);
	tiered.ask_error = -EIO;
	steps(4 * COLD);
	ck_assert_uint_eq(down.moved + up.moved, 0);
	end();
}
END_TEST

START_TEST(cold_pages_go_down_tier_by_tier)
{
	begin_aging(3, 0);
	steps(COLD);
	ck_assert_uint_eq(tiered_on(base, len, 1), PAGES);
	steps(COLD - 1);
	ck_assert_uint_eq(tiered_on(base, len, 1), PAGES);
	step();
	ck_assert_uint_eq(tiered_on(base, len, 2), PAGES);
	fill_pages(base, len, 1);
	step();
	ck_assert_uint_eq(tiered_on(base, len, 1), PAGES);
	end();
}
END_TEST

START_TEST(a_step_moves_no_more_than_its_measure)
{
	size_t i;

	begin_aging(2, 100 * page_size());
	steps(COLD - 1);
	for (i = 1; i <= PAGES / 100; i++) {
		step();
		ck_assert_uint_eq(down.moved, 100 * page);
		ck_assert_uint_eq(tiered_on(base, len, 1), i * 100);
	}
	end();
}
END_TEST

START_TEST(discarded_pages_are_young)
{
	begin_aging(2, 0);
	STEP_UNTIL(tiered_on(base, len, 1) == PAGES);
	ck_assert_int_eq(ferry_arena_decommit(arena, 0, 10 * page), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, 0, 10 * page, true), 0);
	fill_pages(base, 10 * page, 9001);
	steps(COLD);
	ck_assert_uint_eq(tiered_on(base, 10 * page, 0), 10);
	step();
	ck_assert_uint_eq(tiered_on(base, 10 * page, 1), 10);
	end();
}
END_TEST

static void *roomy;

/* The arena is put where there is room behind it. */
static int mmap_roomy(void *addr, size_t size, int prot, int flags, int fd,
		      off_t off, void **ret_addr)
{
	if (!addr && size >= HUGE_SIZE)
		addr = roomy;
	return ferry__sys_linux.mmap(addr, size, prot, flags, fd, off,
				     ret_addr);
}

static void begin_growable(void)
{
	const size_t room = (size_t)1 << 30;
	static struct ferry__sys table;
	char *hole;

	hole = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(hole, MAP_FAILED);
	munmap(hole, room);
	roomy = (void *)(((uintptr_t)hole | (HUGE_SIZE - 1)) + 1);
	table = ferry__sys_linux;
	table.mmap = mmap_roomy;
	ferry__sys = &table;
	begin(2);
	ck_assert_int_eq(make_tiering(0), 0);
}

START_TEST(an_arena_that_grew_is_tiered_as_a_whole)
{
	size_t offset;

	begin_growable();
	offset = ferry_arena_reserved(arena);
	steps(COLD - 1);
	ck_assert_int_eq(ferry_arena_grow(arena, HUGE_SIZE), 0);
	ck_assert_int_eq(ferry_arena_commit(arena, offset, 10 * page, true), 0);
	fill_pages(base + offset, 10 * page, 5001);
	step();
	ck_assert_uint_eq(tiered_on(base, len, 0), PAGES);
	step();
	ck_assert_uint_eq(tiered_on(base, len, 1), PAGES);
	STEP_UNTIL(tiered_on(base + offset, 10 * page, 1) == 10);
	fill_pages(base + offset, 10 * page, 5001);
	step();
	ck_assert_uint_eq(tiered_on(base + offset, 10 * page, 0), 10);
	end();
}
END_TEST

START_TEST(failed_steps_go_on_later)
{
	begin_aging(2, 0);
	steps(COLD - 1);
	tiered.error = -EPERM;
	ck_assert_int_eq(ferry_tiering_step(tiering, &down, &up), -EPERM);
	ck_assert_uint_eq(tiered_on(base, len, 0), PAGES);
	tiered.error = -ENOMEM;
	step();
	ck_assert(down.full);
	tiered.error = 0;
	STEP_UNTIL(tiered_on(base, len, 1) == PAGES);
	end();
}
END_TEST

START_TEST(bad_tierings_are_refused)
{
	struct ferry_tiering_params p = { 0 };
	enum ferry_reason reason = FERRY_REASON_MAX;

	begin(2);
	ck_assert_int_eq(ferry_tiering_create(&p, &reason, &tiering), -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_NONE);
	p.size = sizeof(p);
	ck_assert_int_eq(ferry_tiering_create(&p, NULL, &tiering), -EINVAL);
	p.arena = arena;
	ck_assert_int_eq(ferry_tiering_create(&p, NULL, &tiering), -EINVAL);
	p.topology = top;
	p.cold_after = 127;
	ck_assert_int_eq(ferry_tiering_create(&p, NULL, &tiering), -EINVAL);
	ck_assert_ptr_null(tiering);
	ferry_tiering_destroy(NULL);
	end();
	begin(1);
	ck_assert_int_eq(make_tiering(0), -EOPNOTSUPP);
	end();
}
END_TEST

START_TEST(a_child_has_no_tiering)
{
	int status;
	pid_t pid;

	begin_aging(2, 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(ferry_tiering_step(tiering, NULL, NULL) == -ECHILD ? 0
									 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	STEP_UNTIL(tiered_on(base, len, 1) == PAGES);
	end();
}
END_TEST

/* --- live ----------------------------------------------------------------- */

START_TEST(slow_memory_takes_cold_pages_and_gives_them_back)
{
	ck_assert_int_eq(ferry_topology_get(NULL, &top), 0);
	make(PAGES);
	/* The kernel may have a page in hand, or bring it up when it is read. */
	do
		ck_assert_int_eq(demote(), 0);
	while (pages_on(base, len, slow_node()) < PAGES);
	assert_pages(base, len, 1);
	do
		ck_assert_int_eq(promote(), 0);
	while (pages_on(base, len, slow_node()));
	assert_pages(base, len, 1);
	ferry_arena_destroy(arena);
	ferry_topology_free(top);
}
END_TEST

START_TEST(written_pages_leave_slow_memory)
{
	ck_assert_int_eq(ferry_topology_get(NULL, &top), 0);
	make(PAGES);
	ck_assert_int_eq(make_tiering(0), 0);
	STEP_UNTIL(pages_on(base, len, slow_node()) == PAGES);
	assert_pages(base, len, 1);
	fill_pages(base, 50 * page, 1);
	STEP_UNTIL(!pages_on(base, 50 * page, slow_node()));
	assert_pages(base, len, 1);
	ferry_tiering_destroy(tiering);
	ferry_arena_destroy(arena);
	ferry_topology_free(top);
}
END_TEST

/* Whatever this machine has: nothing is lost. */
START_TEST(contents_stay_on_this_machine)
{
	int r = ferry_topology_get(NULL, &top);

	if (r == -EOPNOTSUPP)
		SKIP("node", "this kernel knows no nodes");
	ck_assert_int_eq(r, 0);
	make(PAGES);
	r = demote();
	ck_assert_int_eq(r, ferry_topology_tiers(top) > 1 ? 0 : -EOPNOTSUPP);
	assert_pages(base, len, 1);
	ferry_arena_destroy(arena);
	ferry_topology_free(top);
}
END_TEST

static const struct test tests[] = {
	TEST(demoted_pages_lie_on_the_slower_node, NULL),
	TEST(promoted_pages_are_back_on_the_faster_one, NULL),
	TEST(each_call_goes_one_tier, NULL),
	TEST(only_the_range_is_moved, NULL),
	TEST(what_is_not_in_memory_is_counted_and_left, NULL),
	TEST(pages_that_cannot_go_are_counted, NULL),
	TEST(what_a_call_did_not_come_to_is_tried_once_more, NULL),
	TEST(full_node_leaves_all_where_it_is, NULL),
	TEST(what_forbids_all_moves_is_an_error, NULL),
	TEST(one_class_of_memory_costs_no_system_call, NULL),
	TEST(bad_calls_are_refused, NULL),
	TEST(what_is_not_written_goes_down_at_its_age, "wp_async"),
	TEST(what_is_written_stays_and_what_is_read_does_not, "wp_async"),
	TEST(what_is_written_on_slow_memory_comes_up, "wp_async"),
	TEST(pages_that_lay_there_from_the_start_come_up_too, "wp_async"),
	TEST(settled_pages_are_not_asked_about_again, "wp_async"),
	TEST(cold_pages_go_down_tier_by_tier, "wp_async"),
	TEST(a_step_moves_no_more_than_its_measure, "wp_async"),
	TEST(discarded_pages_are_young, "wp_async"),
	TEST(an_arena_that_grew_is_tiered_as_a_whole, "wp_async"),
	TEST(failed_steps_go_on_later, "wp_async"),
	TEST(bad_tierings_are_refused, NULL),
	TEST(a_child_has_no_tiering, "wp_async"),
	TEST(contents_stay_on_this_machine, NULL),
	TEST(slow_memory_takes_cold_pages_and_gives_them_back, "slow_node"),
	TEST(written_pages_leave_slow_memory, "slow_node,wp_async"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
