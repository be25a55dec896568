/* SPDX-License-Identifier: MIT */
/* A heap of cells. */
#include "tests/cells.h"

#include <stdlib.h>
#include <string.h>

#include "tests/harness.h"

const enum ferry_gc_mode cells_modes[2] = { FERRY_GC_AUTO, FERRY_GC_STOPPED };

#define FIXED_WORDS (sizeof(struct cell) / sizeof(void *))
#define MAP_WORDS   ((FIXED_WORDS + CELL_SLOTS_MAX + 63) / 64)

static struct ferry_type types[CELL_SLOTS_MAX + 1];
static uint64_t maps[CELL_SLOTS_MAX + 1][MAP_WORDS];

/* A descriptor of @slots slots; the same each time. */
static const struct ferry_type *type_of(unsigned int slots)
{
	struct ferry_type *type = &types[slots];
	unsigned int i, word;

	if (__atomic_load_n(&type->size, __ATOMIC_ACQUIRE))
		return type;
	/* Threads that meet here write the same. */
	for (i = 0; i < slots; i++) {
		word = FIXED_WORDS + i;
		__atomic_fetch_or(&maps[slots][word / 64],
				  (uint64_t)1 << (word % 64), __ATOMIC_RELAXED);
	}
	type->refs = maps[slots][0];
	type->more_refs = &maps[slots][1];
	__atomic_store_n(&type->size, sizeof(struct cell) + slots * 8,
			 __ATOMIC_RELEASE);
	return type;
}

static uintptr_t head_of(enum ferry_kind kind, unsigned int slots, size_t bytes)
{
	if (kind == FERRY_KIND_TYPED)
		return (uintptr_t)type_of(slots);
	return (uintptr_t)bytes << 16 | slots;
}

size_t cell_trace(void *object, struct ferry_visitor *v)
{
	struct cell *cell = object;

	if (v)
		ferry_visit_range(v, cell->slot, cell->head & 0xffff);
	return cell->head >> 16;
}

size_t cell_bytes(unsigned int slots)
{
	return (sizeof(struct cell) + slots * 8 + 15) & ~(size_t)15;
}

struct cell *cell_try(struct ferry_mutator *m, enum ferry_kind kind,
		      unsigned int slots, size_t bytes, uint64_t id)
{
	struct cell *cell = ferry_alloc(m, bytes, kind);

	if (!cell)
		return NULL;
	cell->head = head_of(kind, slots, bytes);
	cell->id = id;
	return cell;
}

struct cell *cell_new(struct ferry_mutator *m, enum ferry_kind kind,
		      unsigned int slots, uint64_t id)
{
	struct cell *cell = cell_try(m, kind, slots, cell_bytes(slots), id);

	ck_assert_ptr_nonnull(cell);
	return cell;
}

struct ferry_heap_params cells_params(enum ferry_gc_mode mode)
{
	struct ferry_heap_params p = FERRY_INIT(struct ferry_heap_params);

	p.trace = cell_trace;
	p.mode = mode;
	p.min_bytes = (size_t)128 << 20;
	p.max_bytes = (size_t)256 << 20;
	p.no_pressure = true;
	p.no_environment = true;
	return p;
}

struct cells *cells_open(const struct ferry_heap_params *params, size_t roots)
{
	struct cells *c = calloc(1, sizeof(*c));

	ck_assert_ptr_nonnull(c);
	ck_assert_int_eq(ferry_heap_create(params, NULL, &c->heap), 0);
	ck_assert_int_eq(ferry_mutator_attach(c->heap, NULL, &c->m), 0);
	c->roots = roots;
	c->root = calloc(roots, sizeof(struct cell *));
	ck_assert_ptr_nonnull(c->root);
	ferry_frame_push(c->m, &c->frame, (void **)c->root, roots);
	return c;
}

struct cells *cells_make(enum ferry_gc_mode mode, size_t roots)
{
	struct ferry_heap_params p = cells_params(mode);

	return cells_open(&p, roots);
}

void cells_close(struct cells *c)
{
	ferry_frame_pop(c->m, &c->frame);
	ferry_mutator_detach(c->m);
	ck_assert_int_eq(ferry_heap_destroy(c->heap), 0);
	free(c->root);
	free(c);
}

void cells_verify(struct cells *c)
{
	struct ferry_heap_fault fault = FERRY_INIT(struct ferry_heap_fault);
	int r = ferry_heap_verify(c->heap, c->m, &fault);

	ck_assert_msg(r == 0, "verify: %d, %s (object %p, slot %p, value %p)",
		      r, fault.what, fault.object, fault.slot, fault.value);
}

void cells_collect(struct cells *c, enum ferry_collect what)
{
	ck_assert_int_eq(ferry_heap_collect(c->heap, c->m, what), 0);
	cells_verify(c);
}

struct ferry_heap_stats *cells_stats(struct cells *c)
{
	static struct ferry_heap_stats stats;

	stats.size = sizeof(stats);
	ck_assert_int_eq(ferry_heap_stats(c->heap, &stats), 0);
	return &stats;
}

size_t cells_live(struct cells *c)
{
	return cells_stats(c)->live;
}

void cells_expect_live(struct cells *c, size_t bytes)
{
	cells_collect(c, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(cells_live(c), bytes);
}

bool cells_concurrent(struct cells *c)
{
	return cells_stats(c)->mode == FERRY_GC_CONCURRENT;
}

void cells_list(struct cells *c, size_t at, enum ferry_kind kind, size_t n,
		unsigned int slots, size_t gap)
{
	struct cell *cell;

	for (c->root[at] = NULL; n--; c->root[at] = cell) {
		if (gap)
			ck_assert_ptr_nonnull(
				ferry_alloc(c->m, gap, FERRY_KIND_RAW));
		if (gap)
			cell_try(c->m, kind, 0, gap, UINT64_MAX);
		cell = cell_new(c->m, kind, slots, n);
		cell->slot[0] = c->root[at];
	}
}

void cells_list_check(struct cells *c, size_t at, size_t n)
{
	struct cell *cell = c->root[at];
	size_t i;

	for (i = 0; i < n; i++, cell = cell->slot[0]) {
		ck_assert_ptr_nonnull(cell);
		ck_assert_uint_eq(cell->id, i);
	}
	ck_assert_ptr_null(cell);
}
