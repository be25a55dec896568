/* SPDX-License-Identifier: MIT */
/*
 * What a program does between the preparation of a flip and its pause: blocks
 * and large objects taken there were not prepared.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/heap-internal.h"
#include "tests/cells.h"
#include "tests/harness.h"
#include "uffd/uapi.h"

#define CELLS 3000u

/* What was reached last. */
enum step {
	BEGUN,
	PREPARED, /* by the collector, which waits */
	MADE,	  /* by the program */
	FLIPPED,  /* by the collector, which waits: nothing is made yet */
	ASKED,	  /* by the program */
	MOVED,	  /* the compaction is over */
};

static _Atomic int step;

static void event(void *arg, const struct ferry_event *e)
{
	(void)arg;
	if (e->kind == FERRY_EVENT_COMPACT_PLAN && step == BEGUN) {
		step = PREPARED;
		while (step != MADE)
			sched_yield();
	}
	if (e->kind == FERRY_EVENT_PAUSE_END && step == MADE) {
		step = FLIPPED;
		while (step != ASKED)
			sched_yield();
	}
	if (e->kind == FERRY_EVENT_COMPACT_END && step == ASKED)
		step = MOVED;
}

static struct cells *open(enum ferry_fault_mode fault_mode)
{
	struct ferry_heap_params p = cells_params(FERRY_GC_CONCURRENT);
	struct ferry_listener *listener;
	struct cells *c;

	step = BEGUN;
	p.fault_mode = fault_mode;
	p.no_compact = true;
	c = cells_open(&p, 8);
	ck_assert_int_eq(ferry_listener_add(c->heap, event, NULL, &listener),
			 0);
	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 96);
	return c;
}

static void await(struct cells *c, enum step s)
{
	while (step != (int)s)
		ferry_safepoint(c->m);
}

/* A compaction with @make in its gap, and @ask before anything is made; then
 * all is right. */
static void compact_around(struct cells *c, void (*make)(struct cells *c),
			   void (*ask)(struct cells *c))
{
	ck_assert_int_eq(ferry_heap_request(c->heap, FERRY_COLLECT_COMPACT), 0);
	await(c, PREPARED);
	make(c);
	step = MADE;
	await(c, FLIPPED);
	if (ask)
		ask(c);
	step = ASKED;
	await(c, MOVED);
	cells_list_check(c, 0, CELLS);
	cells_verify(c);
}

/* --- small objects ---------------------------------------------------------- */

/* Where something made in the gap was then; never looked at. */
static const struct cell *made[4];

static void make_few(struct cells *c)
{
	cells_list(c, 1, FERRY_KIND_TYPED, CELLS, 2, 96);
	cells_list(c, 2, FERRY_KIND_LEAF, 1, 0, 96);
	c->root[1]->slot[1] = c->root[0];
	memcpy(made, c->root, sizeof(made));
}

static void make_many(struct cells *c)
{
	size_t taken = ferry__space_end(&c->heap->space);

	make_few(c);
	/* More than was laid by. */
	while (ferry__space_end(&c->heap->space) < 2 * taken + 400)
		cells_list(c, 3, FERRY_KIND_TRACED, 1000, 2, 4096);
	memcpy(made, c->root, sizeof(made));
}

static void blocks_taken(enum ferry_fault_mode mode,
			 void (*make)(struct cells *c))
{
	struct cells *c = open(mode);
	struct cell *leaf;

	compact_around(c, make, NULL);
	cells_list_check(c, 1, CELLS);
	ck_assert_ptr_eq(c->root[1]->slot[1], c->root[0]);
	leaf = c->root[2];
	ck_assert_uint_eq(leaf->id, 0);
	if (c->root[3])
		cells_list_check(c, 3, 1000);
	ck_assert_ptr_ne(c->root[1], made[1]);
	if (c->root[3])
		ck_assert_ptr_ne(c->root[3], made[3]);
	cells_close(c);
}

START_TEST(blocks_taken_after_the_preparation_move)
{
	blocks_taken(FERRY_FAULT_THREAD, make_few);
	blocks_taken(FERRY_FAULT_SIGBUS, make_few);
}
END_TEST

START_TEST(more_blocks_than_were_laid_by_move)
{
	blocks_taken(FERRY_FAULT_THREAD, make_many);
	blocks_taken(FERRY_FAULT_SIGBUS, make_many);
}
END_TEST

/* --- what keeps its address --------------------------------------------------- */

static struct cell *held;

static void make_ambiguous(struct cells *c)
{
	held = c->root[0]->slot[0]->slot[0];
	c->root[1] = cell_new(c->m, FERRY_KIND_AMBIGUOUS, 1, 7);
	c->root[1]->slot[0] = held;
}

START_TEST(ambiguous_objects_made_after_the_preparation_pin)
{
	struct cells *c = open(FERRY_FAULT_THREAD);

	compact_around(c, make_ambiguous, NULL);
	ck_assert_ptr_eq(c->root[1]->slot[0], held);
	ck_assert_ptr_eq(c->root[0]->slot[0]->slot[0], held);
	cells_close(c);
}
END_TEST

static void make_pin(struct cells *c)
{
	held = c->root[0]->slot[0]->slot[0];
	ck_assert_int_eq(ferry_pin(c->m, held), 0);
}

START_TEST(objects_pinned_after_the_preparation_stay)
{
	struct cells *c = open(FERRY_FAULT_SIGBUS);

	compact_around(c, make_pin, NULL);
	ck_assert_ptr_eq(c->root[0]->slot[0]->slot[0], held);
	ferry_unpin(c->m, held);
	cells_close(c);
}
END_TEST

static uint64_t hashes[CELLS];

static void ask_hash(struct cells *c)
{
	struct cell *cell;
	size_t i;

	for (cell = c->root[0], i = 0; cell; cell = cell->slot[0], i++)
		hashes[i] = ferry_identity_hash(c->m, cell);
}

static void expect_hashes(struct cells *c)
{
	struct cell *cell;
	size_t i;

	for (cell = c->root[0], i = 0; cell; cell = cell->slot[0], i++)
		ck_assert_uint_eq(ferry_identity_hash(c->m, cell), hashes[i]);
}

START_TEST(hashes_asked_for_after_the_preparation_last)
{
	struct cells *c = open(FERRY_FAULT_THREAD);

	compact_around(c, ask_hash, NULL);
	expect_hashes(c);
	cells_collect(c, FERRY_COLLECT_COMPACT);
	expect_hashes(c);
	cells_close(c);
}
END_TEST

/* --- the side table of what is not made ------------------------------------------ */

static void ask_about(struct cells *c)
{
	struct cell *cell = c->root[0];
	size_t bytes = cell_bytes(2);
	struct ferry_weak_map *map;

	ck_assert_int_eq(ferry_pin(c->m, c->root[1]), 0);
	ck_assert_uint_eq(ferry_object_size(c->heap, c->root[2]), bytes);
	ck_assert_int_eq(ferry_object_kind(c->heap, c->root[3]),
			 FERRY_KIND_TRACED);
	ck_assert_int_eq(ferry_weak_map_create(c->heap, 0, &map), 0);
	ck_assert_int_eq(ferry_weak_map_set(c->m, map, c->root[4], NULL), 0);
	ck_assert_uint_eq(cell->id, 0);
}

static void make_nothing(struct cells *c)
{
	(void)c;
}

/* Each in a block of its own. */
START_TEST(objects_not_made_yet_can_be_asked_about)
{
	struct cells *c = open(FERRY_FAULT_THREAD);
	unsigned int i;

	for (i = 1; i < 5; i++)
		cells_list(c, i, FERRY_KIND_TRACED, CELLS, 2, 96);
	compact_around(c, make_nothing, ask_about);
	for (i = 1; i < 5; i++)
		cells_list_check(c, i, CELLS);
	cells_close(c);
}
END_TEST

/* --- large objects --------------------------------------------------------------- */

static void make_large(struct cells *c)
{
	struct cell *cell =
		cell_try(c->m, FERRY_KIND_TRACED, CELL_SLOTS_MAX, 20000, 9);

	c->root[1] = cell;
	cell->slot[0] = c->root[0];
	cell->slot[CELL_SLOTS_MAX - 1] = c->root[0]->slot[0];
}

START_TEST(large_objects_made_after_the_preparation_are_put_right)
{
	struct cells *c = open(FERRY_FAULT_THREAD);
	unsigned int i;

	make_large(c);
	c->root[2] = c->root[1];
	compact_around(c, make_large, NULL);
	for (i = 1; i < 3; i++) {
		const struct cell *cell = c->root[i];

		ck_assert_ptr_eq(cell->slot[0], c->root[0]);
		ck_assert_ptr_eq(cell->slot[CELL_SLOTS_MAX - 1],
				 c->root[0]->slot[0]);
	}
	cells_close(c);
}
END_TEST

/* --- the end of a flip ------------------------------------------------------- */

/* A heap of one block, of which one page can be made to stop who reads it. */
static struct {
	struct ferry_heap *heap;
	char *stop;
	size_t page;
} caught;

/* The block is settled, as at the end of a flip, before the reader goes on. */
static void settle(int sig)
{
	struct ferry__block *block;

	(void)sig;
	mprotect(caught.stop, caught.page, PROT_READ | PROT_WRITE);
	block = caught.heap->blocks;
	block->flags ^= FERRY__BLOCK_MOVES | FERRY__BLOCK_HALF;
	caught.heap->reloc.toggle = false;
}

static char *pages(size_t n)
{
	void *mem = mmap(NULL, n * caught.page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(mem, MAP_FAILED);
	return mem;
}

/* The half of a block for who is stopped at the page of @stop until it is
 * settled: the half that it is in from the flip on, 1. */
static void look_across_the_end(const void *stop)
{
	caught.stop = (char *)((uintptr_t)stop & ~(caught.page - 1));
	caught.heap->blocks->flags = FERRY__BLOCK_MOVES;
	caught.heap->reloc.toggle = true;
	ck_assert_uint_eq(ferry__block_half(caught.heap, 0), 1);
	ck_assert_int_eq(mprotect(caught.stop, caught.page, PROT_NONE), 0);
	ck_assert_uint_eq(ferry__block_half(caught.heap, 0), 1);
	ck_assert(!caught.heap->reloc.toggle);
	ck_assert_uint_eq(ferry__block_half(caught.heap, 0), 1);
}

START_TEST(block_is_in_one_half_however_slowly_it_is_looked_up)
{
	const struct sigaction action = { .sa_handler = settle };
	size_t at = offsetof(struct ferry_heap, reloc.toggle);
	size_t before;
	char *mem;

	caught.page = (size_t)sysconf(_SC_PAGESIZE);
	before = at / caught.page + 1;
	mem = pages(before + sizeof(struct ferry_heap) / caught.page + 1);
	/* .toggle begins a page, .blocks lies in one before. */
	caught.heap = (struct ferry_heap *)(mem + before * caught.page - at);
	caught.heap->blocks = (struct ferry__block *)pages(1);
	ck_assert_int_eq(sigaction(SIGSEGV, &action, NULL), 0);
	look_across_the_end((char *)&caught.heap->reloc.toggle);
	look_across_the_end((char *)caught.heap->blocks);
}
END_TEST

/* --- a block that is not to be had ------------------------------------------ */

static const struct ferry__sys *kernel;
static struct ferry__sys table;
static _Atomic bool refusing, taking;

/* The first block's memory is refused when the flip was prepared. */
static int refuse_late(void *addr, size_t len, int advice)
{
	if (advice == FERRY__MADV_POPULATE_WRITE && step == BEGUN && refusing) {
		taking = true;
		while (step != PREPARED)
			sched_yield();
		step = MADE;
		return -ENOMEM;
	}
	return kernel->madvise(addr, len, advice);
}

/* Blocks without memory that are being taken across: who took one now would
 * have its objects moved from under it. */
static unsigned int void_moving(const struct ferry_heap *heap)
{
	uint32_t i, n = 0;

	for (i = 0; i < ferry__space_end(&heap->space); i++)
		n += heap->blocks[i].state == FERRY__BLOCK_VOID &&
		     heap->blocks[i].flags & FERRY__BLOCK_MOVES;
	return n;
}

/* The collector waits for a block to be taken, then for its refusal. */
static void event_refused(void *arg, const struct ferry_event *e)
{
	while (e->kind == FERRY_EVENT_SWEPT && step == BEGUN && !taking)
		sched_yield();
	if (e->kind == FERRY_EVENT_COMPACT_PLAN && step == BEGUN) {
		step = PREPARED;
		while (step != MADE)
			sched_yield();
	}
	if (e->kind == FERRY_EVENT_PAUSE_END && step == MADE) {
		ck_assert_uint_eq(void_moving(arg), 0);
		step = FLIPPED;
	}
}

START_TEST(block_that_was_refused_after_the_preparation_is_left_alone)
{
	struct ferry_heap_params p = cells_params(FERRY_GC_CONCURRENT);
	struct ferry_listener *listener;
	struct cells *c;

	p.no_compact = true;
	/* Before there are threads that read it. */
	kernel = ferry__sys;
	table = *ferry__sys;
	table.madvise = refuse_late;
	ferry__sys = &table;
	c = cells_open(&p, 2);
	cells_list(c, 0, FERRY_KIND_TRACED, CELLS, 2, 96);
	cells_collect(c, FERRY_COLLECT_FULL);
	step = BEGUN;
	ck_assert_int_eq(
		ferry_listener_add(c->heap, event_refused, c->heap, &listener),
		0);
	ck_assert_int_eq(ferry_heap_request(c->heap, FERRY_COLLECT_COMPACT), 0);
	while (c->heap->cycle.phase != FERRY__PHASE_SWEEP)
		ferry_safepoint(c->m);
	refusing = true;
	while (step < MADE)
		cell_new(c->m, FERRY_KIND_TRACED, 100, 1);
	await(c, FLIPPED);
	cells_collect(c, FERRY_COLLECT_COMPACT);
	cells_list_check(c, 0, CELLS);
	ferry_listener_remove(c->heap, listener);
	cells_close(c);
	ferry__sys = kernel;
}
END_TEST

static const struct test tests[] = {
	TEST(blocks_taken_after_the_preparation_move, "move"),
	TEST(more_blocks_than_were_laid_by_move, "move"),
	TEST(ambiguous_objects_made_after_the_preparation_pin, "move"),
	TEST(objects_pinned_after_the_preparation_stay, "move"),
	TEST(hashes_asked_for_after_the_preparation_last, "move"),
	TEST(objects_not_made_yet_can_be_asked_about, "move"),
	TEST(large_objects_made_after_the_preparation_are_put_right, "move"),
	TEST(block_is_in_one_half_however_slowly_it_is_looked_up, NULL),
	TEST(block_that_was_refused_after_the_preparation_is_left_alone,
	     "move"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
