/* SPDX-License-Identifier: MIT */
/* compact_heap.c: a sparse arena full of objects, and where they are. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <xxhash.h>

#include "compact.h"

/* Frees what lies between the objects. */
static int free_gaps(struct ferry_arena *arena, const struct compact_pattern *p,
		     size_t len)
{
	size_t at = 0, next;
	int r;

	for (size_t i = 0; i <= p->n; i++) {
		next = i < p->n ? p->v[i].offset : len;
		r = next > at ? ferry_arena_decommit(arena, at, next - at) : 0;
		if (r < 0)
			return r;
		if (i < p->n)
			at = next + p->v[i].len;
	}
	return 0;
}

int compact_heap_make(const struct compact_input *input,
		      const struct compact_pattern *pattern, bool huge,
		      struct compact_heap *ret)
{
	struct ferry_arena_params p = FERRY_INIT(struct ferry_arena_params);
	struct compact_heap heap = { .pattern = pattern };
	char *base;
	int r;

	p.reserve = input->len;
	p.thp = huge ? FERRY_THP_ALWAYS : FERRY_THP_NEVER;
	p.no_fork = true;
	r = ferry_arena_create(&p, &heap.arena);
	if (r < 0)
		return r;
	r = ferry_arena_commit(heap.arena, 0, input->len, true);
	if (r < 0)
		goto err_destroy;
	base = ferry_arena_base(heap.arena);
	memcpy(base, input->bytes, input->len);
	r = free_gaps(heap.arena, pattern, input->len);
	if (r < 0)
		goto err_destroy;
	heap.base = base;
	*ret = heap;
	return 0;

err_destroy:
	ferry_arena_destroy(heap.arena);
	return r;
}

void compact_heap_fini(struct compact_heap *heap)
{
	ferry_arena_destroy(heap->arena);
}

/* Hashes an object in pieces; false when one of its pages does not map. */
static bool sum_runs(const struct compact_heap *heap, const char *at,
		     size_t left, XXH3_state_t *state)
{
	struct ferry_relocation run;
	size_t n;

	for (; left; left -= n, at += n) {
		if (!ferry_compact_relocation(heap->map, at, &run) ||
		    run.from != at)
			return false;
		n = run.len < left ? run.len : left;
		XXH3_64bits_update(state, run.to, n);
	}
	return true;
}

static bool sum_mapped(const struct compact_heap *heap,
		       const struct compact_object *o, uint64_t *ret_sum)
{
	const char *at = heap->base + o->offset;
	char *first = ferry_compact_map(heap->map, at);
	char *last = ferry_compact_map(heap->map, at + o->len - 1);
	XXH3_state_t *state;
	bool whole;

	if (!first || !last)
		return false;
	if (last - first == (ptrdiff_t)o->len - 1) {
		*ret_sum = compact_sum(first, o->len);
		return true;
	}
	state = XXH3_createState();
	XXH3_64bits_reset(state);
	whole = sum_runs(heap, at, o->len, state);
	*ret_sum = XXH3_64bits_digest(state);
	XXH3_freeState(state);
	return whole;
}

bool compact_heap_check(const struct compact_heap *heap, size_t object)
{
	const struct compact_object *o = &heap->pattern->v[object];
	uint64_t sum;

	switch (heap->place) {
	case COMPACT_MAPPED:
		return sum_mapped(heap, o, &sum) && sum == o->sum;
	case COMPACT_PACKED:
		return compact_sum(heap->copy + o->packed, o->len) == o->sum;
	case COMPACT_OLD:
		break;
	}
	return compact_sum(heap->base + o->offset, o->len) == o->sum;
}

/* --- memory --------------------------------------------------------------- */

static size_t field(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	return p ? strtoull(p + strlen(name), NULL, 10) * 1024 : 0;
}

struct compact_memory compact_memory_get(void)
{
	struct compact_memory m = { 0 };
	char text[4096];
	ssize_t n;
	int fd;

	/* statm would be quicker, but its counts are approximate. */
	fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return m;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	m.resident = field(text, "Rss:");
	m.huge = field(text, "AnonHugePages:");
	return m;
}
