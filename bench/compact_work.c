/* SPDX-License-Identifier: MIT */
/*
 * compact_work.c: the two compactors. Both leave the live objects dense and
 * in order, change over to the new addresses while the readers stand still,
 * and give the memory of the sources back.
 */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "compact.h"

#define HUGE ((size_t)2 << 20)

int compact_work_ferry(struct compact_work *w)
{
	struct ferry_compact_params p = FERRY_INIT(struct ferry_compact_params);
	int r;

	p.sources = &w->heap->arena;
	p.sources_len = 1;
	p.mode = FERRY_FAULT_SIGBUS;
	p.thp = w->huge ? FERRY_THP_ALWAYS : FERRY_THP_NEVER;
	r = ferry_compact_plan(&p, NULL, &w->compact);
	if (r < 0)
		return r;
	compact_readers_pause(w->readers);
	r = ferry_compact_start(w->compact);
	if (r == 0) {
		w->heap->map = w->compact;
		w->heap->place = COMPACT_MAPPED;
		w->destination = ferry_compact_destination(w->compact);
	}
	compact_readers_resume(w->readers);
	if (r == 0)
		r = ferry_compact_step(w->compact, 0, NULL, NULL);
	if (r == 0) {
		w->ferry.size = sizeof(w->ferry);
		r = ferry_compact_finish(w->compact, &w->ferry);
	}
	w->copied = w->ferry.copied;
	return r;
}

/*
 * Live pages into fresh memory by plain memcpy. The fresh pages are made
 * 2 MiB at a time ahead of the copy where @populate says so: quicker by a
 * third than a fault for each of them.
 */
static void copy_objects(const struct compact_work *w)
{
	const struct compact_pattern *p = w->heap->pattern;
	size_t ready = w->populate ? 0 : SIZE_MAX, n;

	for (size_t i = 0; i < p->n; i++) {
		while (p->v[i].packed + p->v[i].len > ready) {
			n = w->copy_len - ready < HUGE ? w->copy_len - ready
						       : HUGE;
			bench_populate(w->copy + ready, n);
			ready += n;
		}
		memcpy(w->copy + p->v[i].packed, w->heap->base + p->v[i].offset,
		       p->v[i].len);
	}
}

int compact_work_memcpy(struct compact_work *w)
{
	char *base = ferry_arena_base(w->heap->arena);

	w->copy_len = w->heap->pattern->live;
	w->copy = bench_reserve(w->copy_len, w->huge);
	copy_objects(w);
	compact_readers_pause(w->readers);
	w->heap->copy = w->copy;
	w->heap->place = COMPACT_PACKED;
	compact_readers_resume(w->readers);
	w->copied = w->heap->pattern->live;
	return madvise(base, ferry_arena_reserved(w->heap->arena),
		       MADV_DONTNEED) < 0
		       ? -errno
		       : 0;
}

void compact_work_fini(struct compact_work *w)
{
	ferry_compact_destroy(w->compact);
	ferry_arena_destroy(w->destination);
	if (w->copy)
		bench_unmap(w->copy, w->copy_len);
}
