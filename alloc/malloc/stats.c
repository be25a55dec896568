/* SPDX-License-Identifier: MIT */
/* The engine's books, read through its control interface. */
#include "alloc/malloc/stats.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "alloc/malloc/offload.h"
#include "uffd/sys.h"

static size_t read_size(const char *name)
{
	size_t n = 0, len = sizeof(n);

	ferry__je_mallctl(name, &n, &len, NULL, 0);
	return n;
}

/* jemalloc's books are copies, which are brought up to date on demand. */
static void refresh(void)
{
	uint64_t epoch = 1;

	ferry__je_mallctl("epoch", NULL, NULL, &epoch, sizeof(epoch));
}

/* 4096 stands for all arenas together. */
void ferry__stats_get(struct ferry__stats *ret)
{
	refresh();
	ret->allocated = read_size("stats.allocated");
	ret->active = read_size("stats.active");
	ret->mapped = read_size("stats.mapped");
	ret->resident = read_size("stats.resident");
	ret->metadata = read_size("stats.metadata");
	ret->dirty = read_size("stats.arenas.4096.pdirty") * ferry__page_size;
}

/* --- text ----------------------------------------------------------------------------- */

struct out {
	char *buf;
	size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void line(struct out *out,
						       const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(out->buf + out->len, out->size - out->len, format, args);
	va_end(args);
	if (n > 0 && (size_t)n < out->size - out->len)
		out->len += (size_t)n;
}

#define COUNT(name) line(out, #name " %" PRIu64 "\n", (uint64_t)stats.name)

/* With a pager it is the pager that knows what is resident. */
static void add_heap(struct out *out, bool is_paged)
{
	struct ferry__stats stats;

	ferry__stats_get(&stats);
	COUNT(allocated);
	COUNT(active);
	COUNT(mapped);
	COUNT(metadata);
	COUNT(dirty);
	if (!is_paged)
		COUNT(resident);
}

static void add_pager(struct out *out, struct ferry__pager *pager)
{
	struct ferry__pager_stats stats;

	ferry__pager_stats(pager, &stats);
	line(out, "raw_forks %s\n", stats.raw_forks ? "yes" : "no");
	COUNT(in_use);
	COUNT(resident);
	COUNT(limbo);
	COUNT(stored);
	COUNT(store_memory);
	COUNT(store_elsewhere);
	COUNT(faults_limbo);
	COUNT(faults_stored);
	COUNT(faults_empty);
	COUNT(refaults);
	COUNT(pages_out);
	COUNT(pages_back);
	COUNT(pages_dropped);
	COUNT(busy);
	COUNT(copied);
	COUNT(stalled_ns);
	COUNT(backed_off);
	COUNT(read_ahead);
	COUNT(read_ahead_used);
	COUNT(age_ns);
	COUNT(demoted);
	COUNT(promoted);
	if (stats.slow_error)
		line(out, "slow no (error %d)\n", -stats.slow_error);
}

static void add_stores(struct out *out, struct ferry__pager *pager)
{
	struct ferry__store_stats stats;
	const char *name;
	size_t i;

	for (i = 0; ferry__pager_tier_stats(pager, i, &name, &stats); i++)
		line(out,
		     "store%zu %s pages %" PRIu64 " memory %" PRIu64
		     " elsewhere %" PRIu64 " same %" PRIu64 " refused %" PRIu64
		     " failed %" PRIu64 " dictionaries %" PRIu64 " %" PRIu64
		     "\n",
		     i, name, stats.pages, stats.memory, stats.elsewhere,
		     stats.same, stats.refused, stats.failed,
		     stats.dictionaries, stats.dictionary_memory);
}

static void add_running(struct out *out, struct ferry__pager *pager)
{
	const char *reason = ferry__offload_reason();
	const char *blind = ferry__offload_blind();
	struct ferry__pager_stats stats = { .running = false };

	if (pager)
		ferry__pager_stats(pager, &stats);
	if (reason)
		line(out, "running no (%s)\n", reason);
	else if (!pager)
		line(out, "running no (the heap is small)\n");
	else if (!stats.running)
		line(out, "running no (it starts, or has stopped for now)\n");
	else
		line(out, "running yes\n");
	if (blind)
		line(out, "holes no (%s)\n", blind);
}

size_t ferry__stats_text(char *buf, size_t size)
{
	struct ferry__pager *pager = ferry__offload_pager();
	struct out out = { .buf = buf, .size = size };

	add_running(&out, pager);
	add_heap(&out, pager != NULL);
	if (pager) {
		add_pager(&out, pager);
		add_stores(&out, pager);
	}
	return out.len;
}
