/* SPDX-License-Identifier: MIT */
/* Pages in memory of another NUMA node; see node.h. */
#include "alloc/store/node.h"

#include <errno.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/store/checksum.h"
#include "alloc/store/map.h"
#include "alloc/store/nodes.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define LONG_BITS (CHAR_BIT * sizeof(unsigned long))
/* Longer masks are refused by kernels that have fewer nodes than bits. */
#define MOST_NODES 1024

static struct ferry__node_store *of(struct ferry__store *base)
{
	return (struct ferry__node_store *)base;
}

static void count(uint64_t *counter)
{
	__atomic_fetch_add(counter, 1, __ATOMIC_RELAXED);
}

static uint64_t value(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static size_t chunk_bytes(void)
{
	return FERRY__NODE_CHUNK * ferry__page_size;
}

static char **chunk_at(const struct ferry__node_store *store, uint64_t c)
{
	return ferry__table_at(&store->chunks, c);
}

static char *page_at(const struct ferry__node_store *store, uint64_t i)
{
	/* NC1 */
	char *chunk = __atomic_load_n(chunk_at(store, i / FERRY__NODE_CHUNK),
				      __ATOMIC_RELAXED);

	return chunk + i % FERRY__NODE_CHUNK * ferry__page_size;
}

/* --- chunks --------------------------------------------------------------- */

static int prefer(void *addr, int node)
{
	unsigned long mask[MOST_NODES / LONG_BITS] = { 0 };

	mask[(size_t)node / LONG_BITS] = 1ul << (size_t)node % LONG_BITS;
	return ferry__sys->mbind(addr, chunk_bytes(), MPOL_PREFERRED, mask,
				 (unsigned long)node + 1, 0);
}

static void touch(char *addr)
{
	size_t i;

	for (i = 0; i < FERRY__NODE_CHUNK; i++)
		((volatile char *)addr)[i * ferry__page_size] = 0;
}

static int populate(char *addr)
{
	int r;

	do
		r = ferry__sys->madvise(addr, chunk_bytes(),
					FERRY__MADV_POPULATE_WRITE);
	while (r == -EINTR || r == -EAGAIN);
	if (r == -EINVAL) { /* before 5.14 */
		touch(addr);
		return 0;
	}
	return r;
}

static bool all_on(char *addr, int node)
{
	void *pages[FERRY__NODE_CHUNK];
	int nodes[FERRY__NODE_CHUNK];
	size_t i;

	for (i = 0; i < FERRY__NODE_CHUNK; i++)
		pages[i] = addr + i * ferry__page_size;
	if (ferry__sys->move_pages(0, FERRY__NODE_CHUNK, pages, NULL, nodes,
				   0) < 0)
		return false;
	for (i = 0; i < FERRY__NODE_CHUNK; i++)
		if (nodes[i] != node)
			return false;
	return true;
}

static int chunk_map(int node, char **ret_addr)
{
	void *addr;
	int r;

	r = ferry__store_map(chunk_bytes(), &addr);
	if (r < 0)
		return r;
	r = prefer(addr, node);
	if (r == 0)
		r = populate(addr);
	if (r == 0 && !all_on(addr, node))
		r = -ENOSPC;
	if (r < 0) {
		ferry__store_unmap(addr, chunk_bytes());
		return r;
	}
	*ret_addr = addr;
	return 0;
}

/* A chunk without memory, or the number of the next. */
static uint64_t free_chunk(const struct ferry__node_store *store)
{
	uint64_t c, n = store->slots.n / FERRY__NODE_CHUNK;

	if (store->held == n)
		return n;
	for (c = 0; c < n && *chunk_at(store, c); c++)
		;
	return c;
}

static int add_chunk(struct ferry__node_store *store, uint64_t c)
{
	uint64_t first = c * FERRY__NODE_CHUNK;
	char *addr = NULL;
	int r;

	r = ferry__table_grow(&store->chunks, c);
	if (r == 0)
		r = chunk_map(store->node, &addr);
	if (r < 0)
		return r;
	/* NC1 */
	__atomic_store_n(chunk_at(store, c), addr, __ATOMIC_RELAXED);
	if (first < store->slots.n) {
		ferry__slots_unclaim(&store->slots, first, FERRY__NODE_CHUNK);
		return 0;
	}
	r = ferry__slots_grow(&store->slots, first + FERRY__NODE_CHUNK);
	if (r < 0) {
		*chunk_at(store, c) = NULL;
		ferry__store_unmap(addr, chunk_bytes());
	}
	return r;
}

static int grow_locked(struct ferry__node_store *store)
{
	if (store->full)
		return -ENOSPC;
	if ((store->held + 1) * chunk_bytes() > store->limit ||
	    add_chunk(store, free_chunk(store)) < 0) {
		store->full = true;
		return -ENOSPC;
	}
	store->held++;
	return 0;
}

/* @seen chunks were not enough: has another thread added one? */
static int grow(struct ferry__node_store *store, uint64_t seen)
{
	int r = 0;

	pthread_mutex_lock(&store->grow);
	if (store->held == seen)
		r = grow_locked(store);
	pthread_mutex_unlock(&store->grow);
	return r;
}

static uint64_t chunks_held(struct ferry__node_store *store)
{
	uint64_t held;

	pthread_mutex_lock(&store->grow);
	held = store->held;
	pthread_mutex_unlock(&store->grow);
	return held;
}

/* Gives back the chunks that hold nothing. */
static void release(struct ferry__node_store *store)
{
	uint64_t c, n = store->slots.n / FERRY__NODE_CHUNK;
	char **chunk;

	for (c = 0; c < n; c++) {
		chunk = chunk_at(store, c);
		if (!*chunk ||
		    !ferry__slots_claim(&store->slots, c * FERRY__NODE_CHUNK,
					FERRY__NODE_CHUNK))
			continue;
		ferry__store_unmap(*chunk, chunk_bytes());
		/* NC1 */
		__atomic_store_n(chunk, NULL, __ATOMIC_RELAXED);
		store->held--;
	}
}

/* --- pages ---------------------------------------------------------------- */

static int take(struct ferry__node_store *store, uint64_t *ret_slot)
{
	uint64_t seen = 0;
	int r = 0;

	while (!ferry__slots_take(&store->slots, 1, ret_slot) && r == 0) {
		r = grow(store, seen);
		seen = chunks_held(store);
	}
	return r;
}

static int put_one(struct ferry__node_store *store, const void *page,
		   uint64_t tag, ferry__store_handle *ret_handle)
{
	uint64_t i = 0;
	int r = take(store, &i);

	if (r < 0) {
		count(&store->refused);
		return r;
	}
	memcpy(page_at(store, i), page, ferry__page_size);
	ferry__slots_at(&store->slots, i)->sum =
		ferry__store_checksum(page, tag);
	count(&store->live);
	count(&store->puts);
	*ret_handle = i;
	return 0;
}

static int node_put(struct ferry__store *base, const void *page, uint64_t tag,
		    ferry__store_handle *ret_handle)
{
	int r;

	ferry__gate_enter(&of(base)->calls);
	r = put_one(of(base), page, tag, ret_handle);
	ferry__gate_leave(&of(base)->calls);
	return r;
}

static int node_get(struct ferry__store *base, ferry__store_handle handle,
		    uint64_t tag, void *page)
{
	struct ferry__node_store *store = of(base);

	memcpy(page, page_at(store, handle), ferry__page_size);
	if (ferry__slots_at(&store->slots, handle)->sum !=
	    ferry__store_checksum(page, tag)) {
		count(&store->failed);
		return -EILSEQ;
	}
	count(&store->gets);
	return 0;
}

static void node_drop(struct ferry__store *base, ferry__store_handle handle)
{
	ferry__slots_free(&of(base)->slots, handle);
	__atomic_fetch_sub(&of(base)->live, 1, __ATOMIC_RELAXED);
}

/* --- the rest ------------------------------------------------------------- */

static void node_maintain(struct ferry__store *base)
{
	struct ferry__node_store *store = of(base);

	ferry__gate_enter(&store->calls);
	pthread_mutex_lock(&store->grow);
	store->full = false;
	release(store);
	pthread_mutex_unlock(&store->grow);
	ferry__gate_leave(&store->calls);
}

static void node_fork_prepare(struct ferry__store *base)
{
	ferry__gate_close(&of(base)->calls);
}

static void node_fork_parent(struct ferry__store *base)
{
	ferry__gate_open(&of(base)->calls);
}

/* Its memory is the parent's, copied when either writes there. */
static void node_fork_child(struct ferry__store *base)
{
	pthread_mutex_init(&of(base)->grow, NULL);
	ferry__gate_fork_child(&of(base)->calls);
}

static void node_stats(struct ferry__store *base,
		       struct ferry__store_stats *ret)
{
	struct ferry__node_store *store = of(base);

	*ret = (struct ferry__store_stats){
		.pages = value(&store->live),
		.memory = sizeof(*store) + chunks_held(store) * chunk_bytes() +
			  ferry__slots_bytes(&store->slots),
		.puts = value(&store->puts),
		.gets = value(&store->gets),
		.refused = value(&store->refused),
		.failed = value(&store->failed),
	};
}

static void node_destroy(struct ferry__store *base)
{
	struct ferry__node_store *store = of(base);
	uint64_t c;

	for (c = 0; c < store->slots.n / FERRY__NODE_CHUNK; c++)
		ferry__store_unmap(*chunk_at(store, c), chunk_bytes());
	ferry__table_fini(&store->chunks);
	ferry__slots_fini(&store->slots);
	pthread_mutex_destroy(&store->grow);
	ferry__store_unmap(store, sizeof(*store));
}

static const struct ferry__store_ops node_ops = {
	.name = "node",
	.signal_safe = true,
	.put = node_put,
	.get = node_get,
	.drop = node_drop,
	.maintain = node_maintain,
	.fork_prepare = node_fork_prepare,
	.fork_parent = node_fork_parent,
	.fork_child = node_fork_child,
	.stats = node_stats,
	.destroy = node_destroy,
};

/* Can memory be had there, or is it only that there is none just now? */
static int probe(int node)
{
	void *addr;
	int r = ferry__node_check(node);

	if (r < 0)
		return r;
	if (node >= MOST_NODES)
		return -EINVAL;
	r = ferry__store_map(chunk_bytes(), &addr);
	if (r < 0)
		return r;
	r = prefer(addr, node);
	ferry__store_unmap(addr, chunk_bytes());
	return r == -ENOSYS ? -EOPNOTSUPP : r;
}

int ferry__store_node_create(int node, uint64_t limit,
			     struct ferry__store **ret_store)
{
	struct ferry__node_store *store;
	void *mem;
	int r;

	r = probe(node);
	if (r == 0)
		r = ferry__store_map(sizeof(*store), &mem);
	if (r < 0)
		return r;
	store = mem;
	store->base.ops = &node_ops;
	store->node = node;
	store->limit = limit ? limit : UINT64_MAX;
	ferry__slots_init(&store->slots);
	ferry__table_init(&store->chunks, sizeof(char *),
			  (unsigned int)__builtin_ctzll(ferry__page_size) - 3);
	pthread_mutex_init(&store->grow, NULL);
	*ret_store = &store->base;
	return 0;
}
