/* SPDX-License-Identifier: MIT */
/* Verification finds what it should: damage of every kind is planted. */
#include "tests/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/heap-internal.h"
#include "tests/inject.h"

#define MIB ((size_t)1 << 20)

static struct ferry_heap *heap;
static struct ferry_mutator *m;
static struct ferry_frame frame;
static void *root[8];

/* A TRACED object: its size in bytes, a slot, and whatever. */
struct object {
	size_t size; /* told to the collector */
	void *slot;
	void *weak;
};

static size_t trace(void *object, struct ferry_visitor *v)
{
	struct object *o = object;

	if (v && o->size >= sizeof(*o)) {
		ferry_visit(v, &o->slot);
		ferry_visit_weak(v, &o->weak);
	}
	return o->size;
}

static void open_with(const char *options)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);

	p.mode = FERRY_GC_STOPPED;
	p.trace = trace;
	p.max_bytes = 64 * MIB;
	p.options = options;
	p.no_environment = true;
	ck_assert_int_eq(ferry_heap_create(&p, NULL, &heap), 0);
	ck_assert_int_eq(ferry_mutator_attach(heap, NULL, &m), 0);
	ferry_frame_push(m, &frame, root, 8);
}

static void open_heap(void)
{
	open_with(NULL);
}

static void open_debug(void)
{
	open_with("debug:yes");
}

static void open_verifying(void)
{
	open_with("verify:yes");
}

static void close_heap(void)
{
	ferry_frame_pop(m, &frame);
	ferry_mutator_detach(m);
	ck_assert_int_eq(ferry_heap_destroy(heap), 0);
}

static struct object *make(size_t size)
{
	struct object *o = ferry_alloc(m, size, FERRY_KIND_TRACED);

	ck_assert_ptr_nonnull(o);
	o->size = size;
	return o;
}

static struct ferry_heap_fault fault;

/* What verification says. */
static const char *verify(void)
{
	int r;

	fault = (struct ferry_heap_fault)FERRY_INIT(struct ferry_heap_fault);
	r = ferry_heap_verify(heap, m, &fault);
	if (r == 0)
		return "";
	ck_assert_int_eq(r, -EILSEQ);
	ck_assert_uint_eq(fault.size, sizeof(fault));
	return fault.what;
}

static void expect_sound(void)
{
	ck_assert_str_eq(verify(), "");
}

static uint8_t *meta_of(const void *object)
{
	return ferry__meta(heap, (uintptr_t)object);
}

static struct ferry__block *block_of(const void *object)
{
	return &heap->blocks[ferry__offset(heap, (uintptr_t)object) >>
			     FERRY__BLOCK_SHIFT];
}

/* A heap with objects of several sizes, some swept, large ones too. */
static void fill(void)
{
	struct object *o;
	size_t i;

	for (i = 0; i < 20000; i++) {
		o = make(24 + i % 300);
		o->slot = root[i % 4];
		if (i % 5 == 0)
			root[i % 4] = o;
	}
	root[4] = make(100000);
	root[5] = ferry_alloc(m, 48, FERRY_KIND_LEAF);
	((struct object *)root[5])->size = 48;
	root[6] = ferry_alloc(m, 80, FERRY_KIND_RAW);
	memset(root[6], 0xff, 80);
	ck_assert_int_eq(ferry_heap_collect(heap, m, FERRY_COLLECT_FULL), 0);
	expect_sound();
}

/* --- references ------------------------------------------------------------------- */

START_TEST(sound_heap_has_no_fault)
{
	fill();
	make(64);
	expect_sound();
	ck_assert_int_eq(ferry_heap_collect(heap, m, FERRY_COLLECT_COMPACT), 0);
	expect_sound();
	/* Without a struct to be told in, and without a mutator. */
	ck_assert_int_eq(ferry_heap_verify(heap, m, NULL), 0);
	ferry_blocking_enter(m);
	ck_assert_int_eq(ferry_heap_verify(heap, NULL, NULL), 0);
	ferry_blocking_leave(m);
}
END_TEST

START_TEST(reference_into_an_object_is_found)
{
	struct object *o;

	fill();
	o = root[4];
	o->slot = (char *)root[0] + 16;
	ck_assert_str_eq(verify(), "a reference does not hit an object");
	ck_assert_ptr_eq(fault.object, o);
	ck_assert_ptr_eq(fault.slot, &o->slot);
	ck_assert_ptr_eq(fault.value, o->slot);
	o->slot = (char *)root[0] + 1;
	ck_assert_str_eq(verify(), "a reference does not hit an object");
	o->slot = (char *)root[4] + 4096;
	ck_assert_str_eq(verify(), "a reference does not hit an object");
	o->slot = NULL;
	expect_sound();
}
END_TEST

START_TEST(reference_to_nothing_is_found)
{
	struct object *o;

	fill();
	o = root[0];
	/* A block that was never taken; the half the object is not in. */
	o->slot = (void *)(heap->base + 20 * MIB);
	ck_assert_str_eq(verify(), "a reference does not hit an object");
	o->slot = (void *)((uintptr_t)root[1] + heap->half);
	ck_assert_str_eq(verify(), "a reference does not hit an object");
	o->slot = NULL;
	o->weak = (void *)(heap->base + 20 * MIB);
	ck_assert_str_eq(verify(), "a reference does not hit an object");
	o->weak = NULL;
	expect_sound();
}
END_TEST

START_TEST(root_to_nothing_is_found)
{
	fill();
	root[7] = (char *)root[0] + 16;
	ck_assert_str_eq(verify(), "a reference does not hit an object");
	ck_assert_ptr_null(fault.object);
	ck_assert_ptr_eq(fault.slot, &root[7]);
	root[7] = NULL;
	expect_sound();
}
END_TEST

START_TEST(object_that_was_not_marked_is_found)
{
	uint8_t *meta, byte;

	fill();
	meta = meta_of(root[4]);
	byte = *meta;
	*meta = byte ^ FERRY_META_COLOUR; /* that of the collection before */
	ck_assert_str_eq(verify(), "a reachable object was not marked");
	ck_assert_ptr_eq(fault.object, root[4]);
	*meta = byte;
	expect_sound();
}
END_TEST

/* --- sizes -------------------------------------------------------------------------- */

START_TEST(lie_about_a_size_is_found)
{
	struct object *o;
	size_t size;

	fill();
	o = root[0];
	size = o->size;
	o->size = size + 16;
	ck_assert_str_eq(verify(), "an object has not the size that it tells");
	ck_assert_ptr_eq(fault.object, o);
	o->size = size - 16;
	ck_assert_str_eq(verify(), "an object has not the size that it tells");
	o->size = 0;
	ck_assert_str_eq(verify(), "an object has not the size that it tells");
	o->size = size;
	o = root[4];
	o->size += 4096;
	ck_assert_str_eq(verify(), "an object has not the size that it tells");
	o->size -= 4096;
	o = root[5];
	o->size = 1;
	ck_assert_str_eq(verify(), "an object has not the size that it tells");
	o->size = 48;
	expect_sound();
}
END_TEST

START_TEST(lie_is_caught_by_a_debugged_collection)
{
	struct object *o;

	fill();
	o = root[0];
	o->size += 16;
	ck_assert_int_eq(ferry_heap_collect(heap, m, FERRY_COLLECT_FULL),
			 -EILSEQ);
	((struct object *)root[0])->size -= 16;
	/* It is told once, with the object, and is over. */
	ck_assert_str_eq(verify(), "an object has not the size that it tells");
	ck_assert_ptr_eq(fault.object, root[0]);
	expect_sound();
	ck_assert_int_eq(ferry_heap_collect(heap, m, FERRY_COLLECT_FULL), 0);
}
END_TEST

START_TEST(zeros_are_no_lie)
{
	root[0] = ferry_alloc(m, 64, FERRY_KIND_TRACED);
	root[1] = ferry_alloc(m, 64, FERRY_KIND_TYPED);
	ck_assert_int_eq(ferry_heap_collect(heap, m, FERRY_COLLECT_FULL), 0);
	expect_sound();
}
END_TEST

START_TEST(fault_after_a_collection_is_told)
{
	fill();
	((struct object *)root[5])->size -= 16;
	ck_assert_int_eq(ferry_heap_collect(heap, m, FERRY_COLLECT_MINOR),
			 -EILSEQ);
	((struct object *)root[5])->size += 16;
	ck_assert_str_eq(verify(), "an object has not the size that it tells");
	ck_assert_ptr_eq(fault.object, root[5]);
	expect_sound();
}
END_TEST

/* --- the side table ------------------------------------------------------------------- */

/* An object in a block that was swept and is not allocated in. */
static struct object *swept_object(void)
{
	struct object *o;

	for (o = root[0]; o; o = o->slot)
		if (block_of(o)->state == FERRY__BLOCK_HOLES &&
		    o->size > 2 * FERRY_GRANULE)
			return o;
	ck_abort_msg("no swept block");
	return NULL;
}

/* Fills the heap; the colour of what is made from here on. */
static uint8_t filled_young(void)
{
	fill();
	return heap->cycle.young;
}

START_TEST(damage_to_the_side_table_is_found)
{
	const uint8_t young = filled_young();
	const struct {
		const char *what;
		uint8_t clear, set;
		int at; /* granules from the start */
	} damage[] = {
		{ "an object of no kind", FERRY_META_KIND, 0, 0 },
		{ "an object of no kind", 0, FERRY_META_KIND, 0 },
		{ "an object in a block of the other kind", FERRY_META_KIND,
		  FERRY_KIND_RAW, 0 },
		{ "an object that was to be swept", FERRY_META_COLOUR,
		  young ^ FERRY_META_COLOUR, 0 },
		{ "an object that is not marked in a swept block",
		  FERRY_META_COLOUR, young, 0 },
		{ "an object without an end", 0, FERRY_KIND_TRACED, 1 },
	};
	uint8_t *meta, byte;
	struct object *o;
	size_t i;

	o = swept_object();
	for (i = 0; i < ARRAY_SIZE(damage); i++) {
		meta = meta_of(o) + damage[i].at;
		byte = *meta;
		*meta = (byte & (uint8_t)~damage[i].clear) | damage[i].set;
		ck_assert_str_eq(verify(), damage[i].what);
		*meta = byte;
		expect_sound();
	}
}
END_TEST

START_TEST(damage_to_the_large_space_is_found)
{
	fill();
	meta_of(root[4])[3] = FERRY_KIND_RAW;
	ck_assert_str_eq(verify(), "an entry inside a large object");
	meta_of(root[4])[3] = 0;
	expect_sound();
}
END_TEST

/* --- blocks ------------------------------------------------------------------------------ */

START_TEST(miscounted_block_is_found)
{
	struct ferry__block *block;

	fill();
	block = block_of(swept_object());
	block->live++;
	ck_assert_str_eq(verify(), "a block's live granules are miscounted");
	block->live--;
	block->hole--;
	ck_assert_str_eq(verify(), "a block's largest hole is another");
	block->hole++;
	block->state = FERRY__BLOCK_FULL;
	ck_assert_str_eq(verify(), "a block is on the wrong list");
	block->state = FERRY__BLOCK_SPARSE;
	ck_assert_str_ne(verify(), "");
	block->state = FERRY__BLOCK_HOLES;
	expect_sound();
}
END_TEST

START_TEST(damaged_list_is_found)
{
	struct ferry__block_list *list = &heap->space.holes[0], was;
	struct ferry__block *first;
	uint32_t next;

	fill();
	was = *list;
	ck_assert_uint_gt(was.len, 1);
	first = &heap->blocks[was.head - 1];
	next = first->next;
	first->next = was.head; /* a circle */
	ck_assert_str_eq(verify(), "a block is on two lists");
	first->next = heap->space.max + 7;
	ck_assert_str_eq(verify(), "a list leads beyond the blocks");
	first->next = next;
	list->len++;
	ck_assert_str_eq(verify(), "a list's length is miscounted");
	list->len--;
	list->head = next; /* the first is lost */
	list->len--;
	ck_assert_str_eq(verify(), "a block is on no list");
	*list = was;
	expect_sound();
}
END_TEST

START_TEST(miscounted_space_is_found)
{
	struct ferry__space *space = &heap->space;

	fill();
	space->taken += 1;
	ck_assert_str_eq(verify(), "bytes in blocks are miscounted");
	space->taken -= 1;
	space->in_holes += 1;
	ck_assert_str_eq(verify(), "bytes in holes are miscounted");
	space->in_holes -= 1;
	space->live += 1;
	ck_assert_str_eq(verify(), "live bytes are miscounted");
	space->live -= 1;
	expect_sound();
}
END_TEST

START_TEST(mutator_outside_its_block_is_found)
{
	struct ferry__mutator *mutator = ferry__mutator(m);
	struct ferry__span was;

	fill();
	make(16);
	expect_sound();
	was = mutator->span[0];
	ck_assert_uint_ne(was.block, 0);
	m->bump[0].cursor -= FERRY__BLOCK_SIZE;
	ck_assert_str_eq(verify(), "a mutator allocates outside its block");
	m->bump[0].cursor += FERRY__BLOCK_SIZE;
	mutator->span[1] = was;
	ck_assert_str_ne(verify(), "");
	mutator->span[1] = (struct ferry__span){ 0, 0, 0 };
	mutator->span[0].block = heap->space.holes[0].head;
	ck_assert_str_ne(verify(), "");
	mutator->span[0] = was;
	expect_sound();
}
END_TEST

/* --- without memory -------------------------------------------------------------------------- */

START_TEST(verification_without_memory_says_so)
{
	struct inject_rule rule = { .call = INJECT_MMAP,
				    .error = ENOMEM,
				    .count = 1 };
	unsigned int nth;
	int r = -ENOMEM;

	fill();
	inject_start();
	for (nth = 1; r == -ENOMEM; nth++) {
		rule.nth = nth;
		rule.hits = 0;
		inject_add(&rule);
		r = ferry_heap_verify(heap, m, NULL);
		inject_stop();
		inject_start();
	}
	inject_stop();
	ck_assert_int_eq(r, 0);
	ck_assert_uint_gt(nth, 4);
	expect_sound();
}
END_TEST

#define PLAIN(name) TEST_FIXTURE(name, NULL, open_heap, close_heap)

static const struct test tests[] = {
	PLAIN(sound_heap_has_no_fault),
	PLAIN(reference_into_an_object_is_found),
	PLAIN(reference_to_nothing_is_found),
	PLAIN(root_to_nothing_is_found),
	PLAIN(object_that_was_not_marked_is_found),
	PLAIN(lie_about_a_size_is_found),
	TEST_FIXTURE(lie_is_caught_by_a_debugged_collection, NULL, open_debug,
		     close_heap),
	TEST_FIXTURE(zeros_are_no_lie, NULL, open_debug, close_heap),
	TEST_FIXTURE(fault_after_a_collection_is_told, NULL, open_verifying,
		     close_heap),
	PLAIN(damage_to_the_side_table_is_found),
	PLAIN(damage_to_the_large_space_is_found),
	PLAIN(miscounted_block_is_found),
	PLAIN(damaged_list_is_found),
	PLAIN(miscounted_space_is_found),
	PLAIN(mutator_outside_its_block_is_found),
	PLAIN(verification_without_memory_says_so),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
