/* SPDX-License-Identifier: MIT */
/*
 * pool.c: memory for measuring, recycled.
 *
 * Assumes Linux: madvise(2) with MADV_HUGEPAGE, MADV_NOHUGEPAGE and
 * MADV_DONTFORK. MADV_POPULATE_WRITE (5.14) is used where it is.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

#define ALIGN ((size_t)2 << 20)

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

struct range {
	void *addr;
	size_t len;
	bool huge;
};

static struct range *pool;
static size_t pool_len;

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

void *bench_reserve(size_t len, bool huge)
{
	size_t room = len + ALIGN;
	char *p = mmap(NULL, room, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	char *base;

	if (p == MAP_FAILED)
		bench_die("no address space (%zu bytes): %s", room,
			  strerror(errno));
	base = (char *)(((uintptr_t)p + ALIGN - 1) & ~(ALIGN - 1));
	if (base > p)
		munmap(p, (size_t)(base - p));
	if (base + len < p + room)
		munmap(base + len, (size_t)(p + room - (base + len)));
	/* Refused without CONFIG_TRANSPARENT_HUGEPAGE: nothing to choose. */
	madvise(base, len, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	madvise(base, len, MADV_DONTFORK);
	return base;
}

void bench_unmap(void *addr, size_t len)
{
	munmap(addr, len);
}

void bench_populate(void *addr, size_t len)
{
	volatile char *p = addr;

	if (madvise(addr, len, MADV_POPULATE_WRITE) == 0)
		return;
	for (size_t i = 0; i < len; i += page_size())
		p[i] = p[i];
}

static void *take(size_t len, bool huge)
{
	for (size_t i = 0; i < pool_len; i++) {
		void *addr = pool[i].addr;

		if (pool[i].len != len || pool[i].huge != huge)
			continue;
		pool[i] = pool[--pool_len];
		return addr;
	}
	return NULL;
}

void *bench_pool_get(size_t len, bool huge)
{
	void *addr = take(len, huge);

	if (!addr)
		addr = bench_reserve(len, huge);
	bench_populate(addr, len);
	bench_fill(addr, len, (uintptr_t)addr);
	return addr;
}

void bench_pool_put(void *addr, size_t len, bool huge)
{
	pool = bench_grow(pool, pool_len + 1, sizeof(*pool));
	pool[pool_len++] = (struct range){ addr, len, huge };
}

void bench_pool_drain(void)
{
	for (size_t i = 0; i < pool_len; i++)
		bench_unmap(pool[i].addr, pool[i].len);
	free(pool);
	pool = NULL;
	pool_len = 0;
}

void bench_warm_memory(size_t len)
{
	void *p = bench_reserve(len, false);

	bench_populate(p, len);
	bench_unmap(p, len);
}

/* The overlap of [@lo, @hi) with the range, in bytes. */
static size_t overlap(uintptr_t lo, uintptr_t hi, uintptr_t at, size_t len)
{
	lo = lo > at ? lo : at;
	hi = hi < at + len ? hi : at + len;
	return hi > lo ? hi - lo : 0;
}

/* The lines of smaps that count what is in huge pages, of any kind. */
static bool is_huge_line(const char *line, unsigned long *ret_kib)
{
	static const char *const names[] = { "AnonHugePages", "ShmemPmdMapped",
					     "FilePmdMapped", "Shared_Hugetlb",
					     "Private_Hugetlb" };
	char name[32];

	if (sscanf(line, "%31[^:]: %lu kB", name, ret_kib) != 2)
		return false;
	for (size_t i = 0; i < BENCH_ARRAY_LEN(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

size_t bench_huge_bytes(const void *addr, size_t len)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	unsigned long lo = 0, hi = 0, from, to, kib;
	size_t within, sum = 0;
	char line[512];

	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2) {
			lo = from;
			hi = to;
			continue;
		}
		if (!is_huge_line(line, &kib))
			continue;
		within = overlap(lo, hi, (uintptr_t)addr, len);
		sum += within < kib << 10 ? within : kib << 10;
	}
	fclose(f);
	return sum;
}

static uint64_t page_number(uint64_t seed, size_t i)
{
	struct bench_rng rng = { seed + i };

	return bench_rng_next(&rng) | 1;
}

void bench_fill(void *addr, size_t len, uint64_t seed)
{
	for (size_t i = 0; i < len; i += page_size())
		*(uint64_t *)((char *)addr + i) = page_number(seed, i);
}

bool bench_page_filled(const void *addr, size_t at, uint64_t seed)
{
	return *(const uint64_t *)((const char *)addr + at) ==
	       page_number(seed, at);
}
