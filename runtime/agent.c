/* SPDX-License-Identifier: MIT */
/*
 * What the policy agent may ask of a heap. Everything here runs in the agent's
 * thread, which is no mutator and must not wait for one: a collection is asked
 * for and not waited for, and locks that are taken (accounts, the policy) are
 * held for moments by whoever has them.
 */
#include <errno.h>
#include <string.h>

#include "alloc/agent/agent-internal.h"
#include "runtime/heap-internal.h"

/* A copy of 25 KiB: the agent's stack has room for one. */
static void stats_of(struct ferry_heap *heap, struct ferry_heap_stats *ret)
{
	*ret = (struct ferry_heap_stats)FERRY_INIT(struct ferry_heap_stats);
	ferry_heap_stats(heap, ret);
}

static void describe(void *arg, struct ferry_agent_object *ret)
{
	struct ferry_heap_stats s;

	stats_of(arg, &s);
	ret->kind = FERRY_AGENT_HEAP;
	ret->used = s.used;
	ret->live = s.live;
	ret->limit = s.limit;
	ret->pinned = s.pinned;
}

static bool print_pauses(struct ferry__agent_job *job,
			 const struct ferry_histogram *h)
{
	return ferry__agent_print(
		job,
		",\"pauses\":{\"count\":%llu,\"p50_ns\":%llu,\"p99_ns\":%llu,"
		"\"max_ns\":%llu}",
		(unsigned long long)h->count,
		(unsigned long long)ferry_histogram_quantile(h, 500),
		(unsigned long long)ferry_histogram_quantile(h, 990),
		(unsigned long long)h->max_ns);
}

static bool print(void *arg, struct ferry__agent_job *job)
{
	struct ferry_heap_stats s;

	stats_of(arg, &s);
	return ferry__agent_print(
		       job,
		       ",\"mode\":\"%s\",\"live\":%zu,\"limit\":%zu,"
		       "\"target\":%zu,\"committed\":%zu,\"large\":%zu",
		       s.mode == FERRY_GC_STOPPED ? "stopped" : "concurrent",
		       s.live, s.limit, s.target, s.committed, s.large) &&
	       ferry__agent_print(
		       job,
		       ",\"minors\":%llu,\"fulls\":%llu,\"compactions\":%llu,"
		       "\"allocated\":%llu,\"copied\":%llu,\"moved\":%llu,"
		       "\"released\":%llu,\"faults\":%llu,\"stalls\":%llu,"
		       "\"gc_cpu_ns\":%llu",
		       (unsigned long long)s.minors,
		       (unsigned long long)s.fulls,
		       (unsigned long long)s.compactions,
		       (unsigned long long)s.allocated,
		       (unsigned long long)s.copied,
		       (unsigned long long)s.moved,
		       (unsigned long long)s.released,
		       (unsigned long long)s.faults,
		       (unsigned long long)s.stalls,
		       (unsigned long long)s.gc_cpu_ns) &&
	       print_pauses(job, &s.pauses[0]);
}

static int collect(void *arg, unsigned int what)
{
	if (!what)
		what = FERRY_COLLECT_COMPACT;
	return ferry_heap_request(arg, (enum ferry_collect)what);
}

static int configure(void *arg, const char *key, const char *value, bool check)
{
	const struct ferry_heap *heap = arg;
	size_t bytes;
	int r;

	if (strcmp(key, "limit"))
		return -EINVAL;
	r = ferry__conf_bytes(value, &bytes);
	if (r < 0)
		return r;
	if (check)
		return bytes && bytes <= heap->half ? 0 : -EINVAL;
	return ferry_heap_set_limit(arg, bytes);
}

static const struct ferry__owner owner = {
	.describe = describe,
	.print = print,
	.collect = collect,
	.configure = configure,
};

int ferry__agent_init(struct ferry_heap *heap)
{
	ferry__arena_own(heap->arena, &owner, heap);
	return 0;
}

void ferry__agent_fini(struct ferry_heap *heap)
{
	ferry__arena_own(heap->arena, NULL, NULL);
}
