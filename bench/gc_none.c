/* SPDX-License-Identifier: MIT */
/*
 * gc_none.c: no collector. Kept objects lie one behind the other and are
 * never freed, but for nodes that a workload says are dead; short-lived ones
 * lie in a strip of their own that is used from its start again.
 */
#include <errno.h>
#include <stdio.h>
#include <sys/mman.h>

#include "gc_run.h"

/* Address space of each strip, in times of the heap's limit. */
#define ROOM 2

static int create(struct gc_run *run, size_t limit, char *why, size_t size)
{
	(void)run;
	(void)limit;
	(void)why;
	(void)size;
	return 0;
}

static void destroy(struct gc_run *run)
{
	(void)run;
}

static int map_strip(struct gc_strip *s, size_t len)
{
	s->base = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s->base == MAP_FAILED)
		return -errno;
	s->next = s->base;
	s->end = s->base + len;
	return 0;
}

static int attach(struct gc_thread *t)
{
	const struct gc_spec *spec = &t->run->spec;
	size_t len = (size_t)(ROOM * spec->heap * (double)spec->live);
	int rc = map_strip(&t->strip[0], len);

	return rc < 0 ? rc : map_strip(&t->strip[1], len);
}

static void detach(struct gc_thread *t)
{
	for (int i = 0; i < 2; i++)
		munmap(t->strip[i].base,
		       (size_t)(t->strip[i].end - t->strip[i].base));
}

static void nothing(struct gc_thread *t)
{
	(void)t;
}

static void compact(struct gc_run *run)
{
	(void)run;
}

static void counters(struct gc_run *run, struct gc_counters *ret)
{
	(void)run;
	*ret = (struct gc_counters){ 0 };
}

const struct gc_collector gc_collector_none = {
	.create = create,
	.destroy = destroy,
	.attach = attach,
	.detach = detach,
	.wait_begin = nothing,
	.wait_end = nothing,
	.collect = nothing,
	.compact = compact,
	.counters = counters,
};
