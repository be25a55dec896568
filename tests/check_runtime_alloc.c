/* SPDX-License-Identifier: MIT */
/* Allocation: what memory is given out, from where, and until when. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cells.h"
#include "tests/harness.h"

#define KIB   ((size_t)1 << 10)
#define MIB   ((size_t)1 << 20)
#define BLOCK (64 * KIB)

static const enum ferry_kind kinds[] = {
	FERRY_KIND_TRACED, FERRY_KIND_TYPED, FERRY_KIND_AMBIGUOUS,
	FERRY_KIND_LEAF,   FERRY_KIND_RAW,
};

static bool is_zero(const void *mem, size_t len)
{
	const char *p = mem;

	return !p[0] && memcmp(p, p + 1, len - 1) == 0;
}

/* A descriptor of objects without references. */
static const struct ferry_type *plain_type(size_t size)
{
	static struct ferry_type types[64];
	size_t i;

	for (i = 0; types[i].size && types[i].size != size; i++)
		ck_assert_uint_lt(i + 1, ARRAY_SIZE(types));
	types[i].size = size;
	return &types[i];
}

/* Fills all but what a trace reads, which is written as cells have it. */
static void soil(void *object, size_t size, enum ferry_kind kind)
{
	memset(object, 0xa5, size);
	if (kind == FERRY_KIND_TYPED)
		*(uintptr_t *)object = (uintptr_t)plain_type(size);
	else if (kind != FERRY_KIND_RAW && size >= 8)
		*(uintptr_t *)object = (uintptr_t)size << 16;
}

/* An object of @size bytes of zeros, which are then overwritten. */
static char *zeroed(struct cells *c, size_t size, enum ferry_kind kind)
{
	char *object = ferry_alloc(c->m, size, kind);

	ck_assert_ptr_nonnull(object);
	ck_assert_uint_eq((uintptr_t)object % FERRY_GRANULE, 0);
	ck_assert(is_zero(object, size));
	ck_assert_uint_ge(ferry_object_size(c->heap, object), size);
	ck_assert_int_eq(ferry_object_kind(c->heap, object), kind);
	soil(object, size, kind);
	return object;
}

/* --- sizes and kinds ------------------------------------------------------------ */

static const size_t sizes[] = {
	8,	     15,      16,	    17,	       31,	32,
	33,	     511,     512,	    513,       4095,	4096,
	4097,	     8191,    8192,	    8193,      12288,	12289,
	BLOCK - 1,   BLOCK,   BLOCK + 1,    2 * BLOCK, MIB - 1, MIB,
	3 * MIB + 1, 5 * MIB, 9 * MIB - 16,
};

START_TEST(objects_of_all_sizes_and_kinds_are_zeroed_and_aligned)
{
	size_t i, k, mode;

	for (mode = 0; mode < 2; mode++) {
		struct cells *c = cells_make(cells_modes[mode], 1);

		for (k = 0; k < ARRAY_SIZE(kinds); k++)
			for (i = 0; i < ARRAY_SIZE(sizes); i++)
				zeroed(c, sizes[i], kinds[k]);
		cells_collect(c, FERRY_COLLECT_FULL);
		ck_assert_uint_eq(cells_live(c), 0);
		cells_close(c);
	}
}
END_TEST

START_TEST(size_of_an_object_is_its_granules_or_pages)
{
	struct cells *c = cells_make(FERRY_GC_STOPPED, 1);
	size_t i, unit;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *object = zeroed(c, sizes[i], FERRY_KIND_RAW);

		unit = sizes[i] > FERRY_SMALL_MAX ? 4096 : FERRY_GRANULE;
		ck_assert_uint_eq(ferry_object_size(c->heap, object),
				  (sizes[i] + unit - 1) / unit * unit);
		ck_assert_int_eq(ferry_object_kind(c->heap, object + 1), 0);
	}
	ck_assert_int_eq(ferry_object_kind(c->heap, c), 0);
	cells_close(c);
}
END_TEST

START_TEST(no_bytes_are_an_object_of_a_granule)
{
	struct cells *c = cells_make(FERRY_GC_STOPPED, 1);
	char *a = ferry_alloc(c->m, 0, FERRY_KIND_RAW);
	char *b = ferry_alloc(c->m, 0, FERRY_KIND_RAW);

	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_nonnull(b);
	ck_assert_ptr_ne(a, b);
	ck_assert_uint_eq(ferry_object_size(c->heap, a), FERRY_GRANULE);
	cells_close(c);
}
END_TEST

START_TEST(objects_do_not_overlap)
{
	struct random rng = harness_random();
	struct cells *c = cells_make(FERRY_GC_AUTO, 3000);
	size_t i, j, n = 3000;

	for (i = 0; i < n; i++) {
		size_t size = 24 + random_below(&rng, i % 50 ? 600 : 20000);

		c->root[i] = (void *)zeroed(c, size, FERRY_KIND_RAW);
		memset(c->root[i], (int)(i % 251) + 1, size);
	}
	for (i = 0; i < n; i++) {
		const unsigned char *p = (void *)c->root[i];
		size_t size = ferry_object_size(c->heap, p);

		for (j = 0; j < size && p[j]; j++)
			ck_assert_uint_eq(p[j], i % 251 + 1);
		ck_assert_uint_ge(j, 24);
		ck_assert(j == size || is_zero(p + j, size - j));
	}
	cells_close(c);
}
END_TEST

START_TEST(alignment_up_to_a_huge_page_is_given)
{
	struct cells *c = cells_make(FERRY_GC_AUTO, 400);
	size_t align, k, n = 0;

	for (k = 0; k < ARRAY_SIZE(kinds); k++)
		for (align = 1; align <= 2 * MIB; align *= 2) {
			size_t size = align <= 4096 ? 100 : BLOCK;
			char *object = ferry_alloc_aligned(c->m, size, align,
							   kinds[k]);

			ck_assert_ptr_nonnull(object);
			ck_assert_uint_eq((uintptr_t)object % align, 0);
			ck_assert(is_zero(object, size));
			soil(object, size, kinds[k]);
			c->root[n++] = (void *)object;
		}
	cells_collect(c, FERRY_COLLECT_FULL);
	ck_assert_uint_ge(cells_live(c), n * 100);
	cells_close(c);
}
END_TEST

START_TEST(what_cannot_be_is_refused)
{
	struct cells *c = cells_make(FERRY_GC_STOPPED, 1);

	ck_assert_ptr_null(ferry_alloc_aligned(c->m, 64, 8192, FERRY_KIND_RAW));
	ck_assert_ptr_null(
		ferry_alloc_aligned(c->m, MIB, 4 * MIB, FERRY_KIND_RAW));
	ck_assert_ptr_null(ferry_alloc_aligned(c->m, 64, 48, FERRY_KIND_RAW));
	ck_assert_ptr_null(ferry_alloc_aligned(c->m, 64, 0, FERRY_KIND_RAW));
	ck_assert_ptr_null(ferry_alloc_aligned(c->m, 64, 64, FERRY_KINDS));
	ck_assert_ptr_null(ferry_alloc_slow(c->m, 64, 0));
	ck_assert_ptr_null(ferry_alloc_slow(c->m, 64, FERRY_KINDS));
	ck_assert_ptr_null(ferry_alloc(c->m, SIZE_MAX, FERRY_KIND_RAW));
	ck_assert_ptr_null(ferry_alloc(c->m, SIZE_MAX - 15, FERRY_KIND_RAW));
	ck_assert_ptr_null(ferry_alloc(c->m, SIZE_MAX / 2, FERRY_KIND_LEAF));
	zeroed(c, 64, FERRY_KIND_RAW);
	cells_close(c);
}
END_TEST

/* --- the inline path ------------------------------------------------------------- */

static uintptr_t word_at(const struct ferry_mutator *m, size_t offset)
{
	uintptr_t word;

	memcpy(&word, (const char *)m + offset, sizeof(word));
	return word;
}

/* What a code generator would emit. */
static void *alloc_by_offsets(struct ferry_mutator *m, size_t size,
			      enum ferry_kind kind)
{
	unsigned int leaf = kind >= FERRY_KIND_LEAF;
	uintptr_t p = word_at(m, FERRY_MUTATOR_CURSOR(leaf)), next;
	uint8_t *meta = (uint8_t *)word_at(m, FERRY_MUTATOR_META(leaf));
	uint8_t colour = *((uint8_t *)m + FERRY_MUTATOR_COLOUR);
	size_t n = (size + FERRY_GRANULE - 1) / FERRY_GRANULE;

	next = p + n * FERRY_GRANULE;
	if (next > word_at(m, FERRY_MUTATOR_LIMIT(leaf)) || !p)
		return NULL;
	memcpy((char *)m + FERRY_MUTATOR_CURSOR(leaf), &next, sizeof(next));
	meta += p / FERRY_GRANULE;
	meta[n - 1] = FERRY_META_END;
	meta[0] = (uint8_t)(kind | colour | (n == 1 ? FERRY_META_END : 0));
	return (void *)p;
}

START_TEST(published_offsets_allocate_as_the_inline_call_does)
{
	static const enum ferry_kind inline_kinds[] = { FERRY_KIND_TRACED,
							FERRY_KIND_TYPED,
							FERRY_KIND_LEAF,
							FERRY_KIND_RAW };
	struct cells *c = cells_make(FERRY_GC_AUTO, 8);
	size_t k, size, done, refused;

	for (k = 0; k < ARRAY_SIZE(inline_kinds); k++) {
		char *first = zeroed(c, 32, inline_kinds[k]), *by_offset;

		done = refused = 0;
		for (size = 16; size < 300; size += 7) {
			by_offset =
				alloc_by_offsets(c->m, size, inline_kinds[k]);
			if (!by_offset) {
				/* At the limit: the call moves that on. */
				zeroed(c, size, inline_kinds[k]);
				refused++;
				continue;
			}
			done++;
			ck_assert(is_zero(by_offset, size));
			ck_assert_int_eq(ferry_object_kind(c->heap, by_offset),
					 inline_kinds[k]);
			ck_assert_uint_eq(ferry_object_size(c->heap, by_offset),
					  (size + 15) / 16 * 16);
			soil(by_offset, size, inline_kinds[k]);
			first = by_offset + (size + 15) / 16 * 16;
			/* The inline call goes on where that one ended. */
			ck_assert_ptr_eq(zeroed(c, 16, inline_kinds[k]), first);
		}
		ck_assert_uint_gt(done, 30);
		ck_assert_uint_lt(refused, 5);
	}
	ck_assert_uint_eq(FERRY_MUTATOR_POLL,
			  offsetof(struct ferry_mutator, poll));
	cells_collect(c, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(cells_live(c), 0);
	cells_close(c);
}
END_TEST

/* --- zeros in every kind of refill ------------------------------------------------ */

/* Fills @bytes with objects, each of them zero before; every @keep-th of up
 * to c->roots stays in a root. */
static void fill(struct cells *c, size_t bytes, size_t size,
		 enum ferry_kind kind, size_t keep)
{
	size_t i, at = 0, n = harness_scaled(bytes / size);

	for (i = 0; i < n; i++) {
		struct cell *cell = (void *)zeroed(c, size, kind);

		if (keep && i % keep == 0 && at < c->roots)
			c->root[at++] = cell;
	}
}

static void drop(struct cells *c)
{
	memset(c->root, 0, c->roots * sizeof(*c->root));
}

static void refills(struct cells *c, size_t size, enum ferry_kind kind)
{
	unsigned int round;

	/* Fresh memory; then blocks that are free again. */
	fill(c, 2 * MIB, size, kind, 0);
	cells_collect(c, FERRY_COLLECT_FULL);
	for (round = 0; round < 3; round++) {
		/* Holes between survivors. */
		fill(c, 2 * MIB, size, kind, 3);
		cells_collect(c, FERRY_COLLECT_FULL);
		fill(c, 3 * MIB, size, kind, 7);
		cells_collect(c, FERRY_COLLECT_MINOR);
		fill(c, 2 * MIB, size, kind, 9);
		/* What was emptied, and what was evacuated into. */
		cells_collect(c, FERRY_COLLECT_COMPACT);
		fill(c, 3 * MIB, size, kind, 0);
		drop(c);
	}
	cells_collect(c, FERRY_COLLECT_FULL);
	ck_assert_uint_eq(cells_live(c), 0);
}

static void refills_in(enum ferry_gc_mode mode, const char *options)
{
	static const size_t some[] = { 16, 48, 640, 3000, 8192 };
	struct ferry_heap_params p = cells_params(mode);
	struct cells *c;
	size_t i, k;

	p.options = options;
	c = cells_open(&p, 4000);
	for (k = 0; k < ARRAY_SIZE(kinds); k++)
		for (i = 0; i < ARRAY_SIZE(some); i++)
			refills(c, some[i], kinds[k]);
	cells_close(c);
}

START_TEST(every_refill_is_zero_while_collections_run_concurrently)
{
	refills_in(FERRY_GC_AUTO, NULL);
}
END_TEST

START_TEST(every_refill_is_zero_with_collections_in_pauses)
{
	refills_in(FERRY_GC_STOPPED, NULL);
}
END_TEST

START_TEST(every_refill_is_zero_over_poison)
{
	refills_in(FERRY_GC_AUTO, "poison:true");
	refills_in(FERRY_GC_STOPPED, "poison:true");
}
END_TEST

START_TEST(holes_between_small_objects_are_used_again)
{
	size_t mode;

	for (mode = 0; mode < 2; mode++) {
		struct ferry_heap_params p = cells_params(cells_modes[mode]);
		struct cells *c;
		size_t used;

		p.no_compact = true;
		c = cells_open(&p, 4000);
		fill(c, 4 * MIB, 512, FERRY_KIND_RAW, 4);
		cells_collect(c, FERRY_COLLECT_FULL);
		used = cells_stats(c)->used;
		fill(c, 2 * MIB, 512, FERRY_KIND_RAW, 0);
		ck_assert_uint_le(cells_stats(c)->used, used + 2 * BLOCK);
		cells_close(c);
	}
}
END_TEST

/* --- exhaustion --------------------------------------------------------------------- */

struct limit {
	unsigned int asked;
	size_t size, used;
	size_t give; /* the first time */
};

static size_t limit_reached(void *arg, size_t size, size_t used)
{
	struct limit *limit = arg;
	size_t more = limit->asked++ ? 0 : limit->give;

	limit->size = size;
	limit->used = used;
	return more;
}

static struct cells *limited(enum ferry_gc_mode mode, struct limit *limit)
{
	struct ferry_heap_params p = cells_params(mode);

	p.max_bytes = 16 * MIB;
	p.min_bytes = 4 * MIB;
	p.limit = limit_reached;
	p.arg = limit;
	return cells_open(&p, 2);
}

/* A list of cells with @slots slots until there is no memory; its length. */
static size_t fill_up(struct cells *c, unsigned int slots)
{
	struct cell *cell;
	size_t n = 0;

	while ((cell = cell_try(c->m, FERRY_KIND_TRACED, slots,
				cell_bytes(slots), n))) {
		cell->slot[0] = c->root[0];
		c->root[0] = cell;
		n++;
	}
	return n;
}

static void expect_list(struct cells *c, size_t n)
{
	struct cell *cell = c->root[0];

	for (; n; cell = cell->slot[0])
		ck_assert_uint_eq(cell->id, --n);
	ck_assert_ptr_null(cell);
}

START_TEST(full_heap_asks_then_returns_null_and_loses_nothing)
{
	static const unsigned int slots[] = { 200, 60, 1 };
	/* Half a million of the smallest fill it: where there is time. */
	size_t mode, i, n_slots = harness_scaled(30) > 1 ? 3 : 2;

	for (mode = 0; mode < 2; mode++)
		for (i = 0; i < n_slots; i++) {
			struct limit limit = { .give = 0 };
			struct cells *c = limited(cells_modes[mode], &limit);
			size_t bytes = cell_bytes(slots[i]), n, again;

			n = fill_up(c, slots[i]);
			ck_assert_uint_eq(limit.asked, 1);
			ck_assert_uint_eq(limit.size, bytes);
			ck_assert_uint_le(limit.used, 16 * MIB);
			ck_assert_uint_ge(n * bytes, 14 * MIB);
			expect_list(c, n);
			cells_verify(c);
			c->root[0] = NULL;
			again = fill_up(c, slots[i]);
			ck_assert_uint_ge(again * bytes, 14 * MIB);
			expect_list(c, again);
			cells_close(c);
		}
}
END_TEST

START_TEST(limit_callback_can_give_more)
{
	size_t mode;

	for (mode = 0; mode < 2; mode++) {
		struct limit limit = { .give = 8 * MIB };
		struct cells *c = limited(cells_modes[mode], &limit);
		size_t n = fill_up(c, 60);

		ck_assert_uint_eq(limit.asked, 2);
		ck_assert_uint_ge(n * cell_bytes(60), 22 * MIB);
		ck_assert_uint_eq(cells_stats(c)->limit, 24 * MIB);
		expect_list(c, n);
		cells_close(c);
	}
}
END_TEST

START_TEST(large_object_beyond_the_limit_is_null_and_small_ones_go_on)
{
	size_t mode;

	for (mode = 0; mode < 2; mode++) {
		struct limit limit = { .give = 0 };
		struct cells *c = limited(cells_modes[mode], &limit);

		cells_list(c, 0, FERRY_KIND_TRACED, 1000, 3, 0);
		ck_assert_ptr_null(ferry_alloc(c->m, 17 * MIB, FERRY_KIND_RAW));
		ck_assert_uint_eq(limit.asked, 1);
		ck_assert_uint_eq(limit.size, 17 * MIB);
		zeroed(c, 10 * MIB, FERRY_KIND_RAW);
		/* The one before is garbage: it makes room for this. */
		zeroed(c, 10 * MIB, FERRY_KIND_RAW);
		cells_list_check(c, 0, 1000);
		cells_close(c);
	}
}
END_TEST

START_TEST(limit_can_be_changed)
{
	struct cells *c = cells_make(FERRY_GC_STOPPED, 1);

	ck_assert_int_eq(ferry_heap_set_limit(c->heap, 4 * MIB), 0);
	ck_assert_ptr_null(ferry_alloc(c->m, 5 * MIB, FERRY_KIND_RAW));
	ck_assert_int_eq(ferry_heap_set_limit(c->heap, 8 * MIB), 0);
	zeroed(c, 5 * MIB, FERRY_KIND_RAW);
	ck_assert_int_eq(ferry_heap_set_limit(c->heap, SIZE_MAX), -EINVAL);
	ck_assert_int_eq(ferry_heap_set_limit(c->heap, 0), -EINVAL);
	cells_close(c);
}
END_TEST

/* More garbage than the limit, many times as much where there is time, made by
 * several threads. */
#define CHURNERS 3

static void *churn(void *arg)
{
	struct ferry_heap *heap = arg;
	struct ferry_mutator *m;
	size_t i, n = 60000 + harness_scaled(340000);
	void *failed = NULL;

	if (ferry_mutator_attach(heap, NULL, &m) < 0)
		return arg;
	for (i = 0; i < n && !failed; i++)
		if (!cell_try(m, FERRY_KIND_TRACED, 4, 80 + i % 7 * 16, i))
			failed = arg;
	ferry_mutator_detach(m);
	return failed;
}

START_TEST(garbage_never_fills_the_heap)
{
	size_t mode, i;

	for (mode = 0; mode < 2; mode++) {
		struct limit limit = { .give = 0 };
		struct cells *c = limited(cells_modes[mode], &limit);
		pthread_t thread[CHURNERS];
		void *failed;

		ferry_blocking_enter(c->m);
		for (i = 0; i < CHURNERS; i++)
			ck_assert_int_eq(pthread_create(&thread[i], NULL, churn,
							c->heap),
					 0);
		for (i = 0; i < CHURNERS; i++) {
			pthread_join(thread[i], &failed);
			ck_assert_ptr_null(failed);
		}
		ferry_blocking_leave(c->m);
		ck_assert_uint_eq(limit.asked, 0);
		ck_assert_uint_gt(
			cells_stats(c)->fulls + cells_stats(c)->minors, 0);
		cells_verify(c);
		cells_close(c);
	}
}
END_TEST

static const struct test tests[] = {
	TEST(objects_of_all_sizes_and_kinds_are_zeroed_and_aligned, NULL),
	TEST(size_of_an_object_is_its_granules_or_pages, NULL),
	TEST(no_bytes_are_an_object_of_a_granule, NULL),
	TEST(objects_do_not_overlap, NULL),
	TEST(alignment_up_to_a_huge_page_is_given, NULL),
	TEST(what_cannot_be_is_refused, NULL),
	TEST(published_offsets_allocate_as_the_inline_call_does, NULL),
	TEST(every_refill_is_zero_while_collections_run_concurrently, NULL),
	TEST(every_refill_is_zero_with_collections_in_pauses, NULL),
	TEST(every_refill_is_zero_over_poison, NULL),
	TEST(holes_between_small_objects_are_used_again, NULL),
	TEST(full_heap_asks_then_returns_null_and_loses_nothing, NULL),
	TEST(limit_callback_can_give_more, NULL),
	TEST(large_object_beyond_the_limit_is_null_and_small_ones_go_on, NULL),
	TEST(limit_can_be_changed, NULL),
	TEST(garbage_never_fills_the_heap, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
