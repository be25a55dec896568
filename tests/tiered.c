/* SPDX-License-Identifier: MIT */
#include "tests/tiered.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/tree.h"
#include "uffd/sys.h"

/* Open addressing; a page that was never moved is not in it. */
#define SLOTS ((size_t)1 << 17)

struct tiered tiered;

static struct slot {
	uint64_t key;
	int node;
} * slots;
static size_t used;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ferry__sys table;
static const struct ferry__sys *base;

/* Races with who writes the page; its first word stays what it is. */
__attribute__((noinline, no_sanitize_thread)) static uint64_t
key_of(const void *page)
{
	if (tiered.by_address)
		return (uintptr_t)page;
	return *(const volatile uint64_t *)page;
}

static struct slot *slot_of(uint64_t key)
{
	size_t i = (key * UINT64_C(0x9e3779b97f4a7c15)) >> 47;

	for (;; i++) {
		i %= SLOTS;
		if (!slots[i].key || slots[i].key == key)
			return &slots[i];
	}
}

static void place(const void *page, int node)
{
	uint64_t key = key_of(page);
	struct slot *slot = slot_of(key);

	/* Zero is a page of nothing: it is on the first node. */
	if (!key)
		return;
	used += !slot->key;
	if (used > SLOTS / 2)
		abort();
	slot->key = key;
	slot->node = node;
}

static long page_nodes(size_t n, void **pages, int *ret_nodes)
{
	size_t i;

	if (tiered.ask_error)
		return tiered.ask_error;
	pthread_mutex_lock(&lock);
	for (i = 0; i < n; i++)
		ret_nodes[i] = page_there(pages[i])
				       ? slot_of(key_of(pages[i]))->node
				       : -ENOENT;
	pthread_mutex_unlock(&lock);
	return 0;
}

static bool stays(const void *page)
{
	return tiered.stuck &&
	       (uintptr_t)page / page_size() % tiered.stuck == 0;
}

/* As the kernel does: a call that leaves a page writes no status. */
static long move_pages(int pid, size_t n, void **pages, const int *nodes,
		       int *ret_status, int flags)
{
	size_t i, left = 0;

	(void)pid;
	(void)flags;
	if (!nodes)
		return page_nodes(n, pages, ret_status);
	__atomic_fetch_add(&tiered.calls, 1, __ATOMIC_RELAXED);
	if (tiered.error)
		return tiered.error;
	pthread_mutex_lock(&lock);
	for (i = 0; i < n; i++) {
		if (stays(pages[i]) ||
		    (tiered.ends_after && i >= tiered.ends_after))
			left++;
		else
			place(pages[i], nodes[i]);
	}
	pthread_mutex_unlock(&lock);
	return (long)left;
}

static void add_node(unsigned int node)
{
	char path[PATH_MAX], number[16];

	snprintf(number, sizeof(number), "%u\n", node);
	snprintf(path, sizeof(path),
		 "devices/virtual/memory_tiering/memory_tier%u/nodelist",
		 node * 10 + 4);
	tree_add(path, number);
}

struct ferry_topology *tiered_start(unsigned int tiers)
{
	struct ferry_topology_params p =
		FERRY_INIT(struct ferry_topology_params);
	struct ferry_topology *topology = NULL;
	char list[32];
	unsigned int i;

	p.root = tree_make();
	snprintf(list, sizeof(list), tiers > 1 ? "0-%u\n" : "%u\n", tiers - 1);
	tree_add("devices/system/node/has_memory", list);
	tree_add("devices/system/node/has_cpu", "0\n");
	for (i = 0; i < tiers; i++)
		add_node(i);
	ck_assert_int_eq(ferry_topology_get(&p, &topology), 0);
	ck_assert_uint_eq(ferry_topology_tiers(topology), tiers);
	slots = calloc(SLOTS, sizeof(*slots));
	ck_assert_ptr_nonnull(slots);
	base = ferry__sys;
	table = *base;
	table.move_pages = move_pages;
	ferry__sys = &table;
	return topology;
}

void tiered_end(struct ferry_topology *topology)
{
	ferry__sys = base;
	ferry_topology_free(topology);
	free(slots);
	tree_remove();
}

size_t tiered_on(const char *addr, size_t len, int node)
{
	size_t i, n = 0;

	pthread_mutex_lock(&lock);
	for (i = 0; i < len; i += page_size())
		if (page_there(addr + i))
			n += slot_of(key_of(addr + i))->node == node;
	pthread_mutex_unlock(&lock);
	return n;
}

void tiered_place(const char *addr, size_t len, int node)
{
	size_t i;

	pthread_mutex_lock(&lock);
	for (i = 0; i < len; i += page_size())
		place(addr + i, node);
	pthread_mutex_unlock(&lock);
}
