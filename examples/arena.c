/* SPDX-License-Identifier: MIT */
/*
 * A heap in an arena: reserve much, commit what is used, find the arena of
 * any address, give memory back.
 */
#include <ferry/ferry.h>

#include <stdio.h>
#include <string.h>

#define GIB ((size_t)1 << 30)
#define MIB ((size_t)1 << 20)

static struct ferry_arena *make_heap(void)
{
	struct ferry_arena_params params =
		FERRY_INIT(struct ferry_arena_params);
	struct ferry_arena *heap = NULL;
	int r;

	params.reserve = 64 * GIB; /* addresses only: it costs no memory */
	params.name = "heap";
	r = ferry_arena_create(&params, &heap);
	if (r < 0)
		fprintf(stderr, "no arena: %s\n", strerror(-r));
	return heap;
}

static void show(struct ferry_arena *heap, const char *when)
{
	struct ferry_arena_stats st = FERRY_INIT(struct ferry_arena_stats);

	if (ferry_arena_stats(heap, &st) < 0)
		return;
	printf("%-18s committed %5zu KiB, in memory %5zu KiB of %zu GiB\n",
	       when,
	       (st.pages[FERRY_PAGE_LIVE] + st.pages[FERRY_PAGE_PINNED]) / 1024,
	       st.resident / 1024, st.reserved / GIB);
}

/* Whose is this address? Any thread may ask, while others destroy arenas. */
static size_t offset_in_heap(const void *addr)
{
	struct ferry_arena *arena;
	size_t offset = 0;

	ferry_lookup_begin();
	arena = ferry_lookup(addr);
	if (arena)
		offset = (size_t)((const char *)addr -
				  (char *)ferry_arena_base(arena));
	ferry_lookup_end();
	return offset;
}

/* Lists the runs of pages in use. */
static void list_runs(struct ferry_arena *heap)
{
	size_t offset = 0, len = 0;

	while (ferry_arena_next_run(heap, offset + len, FERRY_PAGE_LIVE,
				    &offset, &len))
		printf("  in use: %5zu KiB from %zu MiB on\n", len / 1024,
		       offset / MIB);
}

int main(void)
{
	struct ferry_arena *heap = make_heap();
	char *base, *object;

	if (!heap)
		return 1;
	base = ferry_arena_base(heap);
	show(heap, "reserved:");

	/* Committed memory appears when it is touched, or at once. */
	if (ferry_arena_commit(heap, 0, 4 * MIB, false) < 0 ||
	    ferry_arena_commit(heap, 40 * GIB, MIB, true) < 0)
		return 1;
	object = base + 40 * GIB + 12345;
	strcpy(object, "cargo");
	show(heap, "committed:");
	printf("\"%s\" lies %zu MiB into its arena\n", object,
	       offset_in_heap(object) / MIB);

	/* What must keep its address is pinned: it is not given back. */
	if (ferry_arena_pin(heap, 40 * GIB, MIB) < 0)
		return 1;
	printf("giving back a pinned page: %s\n",
	       strerror(-ferry_arena_decommit(heap, 40 * GIB, MIB)));
	if (ferry_arena_unpin(heap, 40 * GIB, MIB) < 0)
		return 1;

	if (ferry_arena_decommit(heap, MIB, 64 * GIB - MIB) < 0)
		return 1;
	show(heap, "given back:");
	list_runs(heap);
	ferry_arena_destroy(heap);
	return ferry_lookup(base) != NULL;
}
