/* SPDX-License-Identifier: MIT */
/*
 * NUMA nodes: policies, migration and residency of arenas. libnuma tells which
 * nodes there are; what is done goes through the system-call table. Sources:
 * mbind(2), move_pages(2), set_mempolicy_home_node(2), numa(3).
 *
 * What is assumed of the kernel
 *  - mbind() knows no "not supported": an unknown mode and a bad node are
 *    both EINVAL. Nodes are therefore checked here first, so that EINVAL for
 *    a mode that came late means that this kernel does not have it.
 *  - mbind() with STRICT and without MOVE changes nothing when it answers EIO.
 */
#include "alloc/alloc-internal.h"

#include <errno.h>
#include <limits.h>
#include <numa.h>
#include <numaif.h>
#include <string.h>

#include "uffd/node_apply.h"

#define MODE_WEIGHTED_INTERLEAVE 6
#define LONG_BITS		 (CHAR_BIT * sizeof(unsigned long))
#define BATCH			 FERRY__NODE_BATCH

/* --- libnuma -------------------------------------------------------------- */

static bool libnuma_available(void)
{
	return numa_available() >= 0;
}

static int libnuma_max_node(void)
{
	return numa_max_possible_node();
}

static bool libnuma_usable(int node)
{
	return numa_bitmask_isbitset(numa_all_nodes_ptr, (unsigned int)node);
}

const struct ferry__numa ferry__numa_libnuma = {
	.available = libnuma_available,
	.max_node = libnuma_max_node,
	.usable = libnuma_usable,
};

const struct ferry__numa *ferry__numa = &ferry__numa_libnuma;

/* --- policies ------------------------------------------------------------- */

static bool bit(const struct ferry_node_policy *policy, unsigned int i)
{
	return i < policy->nodes_len &&
	       policy->nodes[i / LONG_BITS] >> i % LONG_BITS & 1;
}

/* How many nodes are named; -EINVAL when one of them cannot have memory. */
static int count_nodes(const struct ferry_node_policy *policy)
{
	int n = 0, max = ferry__numa->max_node();
	unsigned int i;

	if (policy->nodes_len && !policy->nodes)
		return -EINVAL;
	for (i = 0; i < policy->nodes_len; i++) {
		if (!bit(policy, i))
			continue;
		if (i > (unsigned int)max || !ferry__numa->usable((int)i))
			return -EINVAL;
		n++;
	}
	return n;
}

static bool late_mode(enum ferry_node_mode mode)
{
	return mode == FERRY_NODE_PREFERRED_MANY ||
	       mode == FERRY_NODE_WEIGHTED_INTERLEAVE;
}

int ferry__node_check(const struct ferry_node_policy *policy)
{
	int n;

	if (policy->mode < 0 || policy->mode > FERRY_NODE_WEIGHTED_INTERLEAVE)
		return -EINVAL;
	if (policy->mode == FERRY_NODE_DEFAULT)
		return policy->home_node ? -EINVAL : 0;
	if (!ferry__numa->available())
		return -EOPNOTSUPP;
	n = count_nodes(policy);
	if (n < 0)
		return n;
	if (policy->mode == FERRY_NODE_PREFERRED ? n > 1 : n == 0)
		return -EINVAL;
	if (!policy->home_node)
		return 0;
	if (policy->mode != FERRY_NODE_BIND &&
	    policy->mode != FERRY_NODE_PREFERRED_MANY)
		return -EINVAL;
	/* It need not be in the mask: the nearest in the mask is taken. */
	return policy->home_node > 0 &&
			       policy->home_node - 1 <= ferry__numa->max_node()
		       ? 0
		       : -EINVAL;
}

static size_t mask_words(unsigned int bits)
{
	return (bits + LONG_BITS - 1) / LONG_BITS;
}

/* Bits up to the highest that is set: masks of any length compare equal. */
static unsigned int used_bits(const struct ferry_node_policy *policy)
{
	unsigned int n = policy->nodes_len;

	while (n && !bit(policy, n - 1))
		n--;
	return n;
}

static bool matches(const struct ferry__placement *place,
		    const struct ferry_node_policy *policy, unsigned int bits)
{
	unsigned int i;

	if (place->mode != policy->mode || place->bits != bits ||
	    place->home_node != policy->home_node)
		return false;
	for (i = 0; i < bits; i++)
		if ((place->nodes[i / LONG_BITS] >> i % LONG_BITS & 1) !=
		    bit(policy, i))
			return false;
	return true;
}

static int placement_new(const struct ferry_node_policy *policy,
			 unsigned int bits, struct ferry__placement **ret_place)
{
	struct ferry__placement *place;
	size_t bytes = sizeof(*place) + mask_words(bits) * sizeof(long);
	unsigned int i;
	void *mem;
	int r;

	r = ferry__meta_alloc(bytes, &mem);
	if (r < 0)
		return r;
	place = mem;
	place->bytes = bytes;
	place->mode = policy->mode;
	place->home_node = policy->home_node;
	place->bits = bits;
	for (i = 0; i < bits; i++)
		if (bit(policy, i))
			place->nodes[i / LONG_BITS] |= 1ul << i % LONG_BITS;
	*ret_place = place;
	return 0;
}

int ferry__node_intern(struct ferry_arena *arena,
		       const struct ferry_node_policy *policy,
		       const struct ferry__placement **ret_place)
{
	struct ferry__placement *place;
	unsigned int bits;
	int r;

	r = ferry__node_check(policy);
	if (r < 0)
		return r;
	if (policy->mode == FERRY_NODE_DEFAULT) {
		*ret_place = NULL;
		return 0;
	}
	bits = used_bits(policy);
	for (place = arena->places; place; place = place->next)
		if (matches(place, policy, bits))
			goto found;
	r = placement_new(policy, bits, &place);
	if (r < 0)
		return r;
	place->next = arena->places;
	arena->places = place;
found:
	*ret_place = place;
	return 0;
}

int ferry__node_kernel_mode(enum ferry_node_mode mode)
{
	switch (mode) {
	case FERRY_NODE_BIND:
		return MPOL_BIND;
	case FERRY_NODE_PREFERRED:
		return MPOL_PREFERRED;
	case FERRY_NODE_PREFERRED_MANY:
		return MPOL_PREFERRED_MANY;
	case FERRY_NODE_INTERLEAVE:
		return MPOL_INTERLEAVE;
	case FERRY_NODE_WEIGHTED_INTERLEAVE:
		return MODE_WEIGHTED_INTERLEAVE;
	default:
		return MPOL_DEFAULT;
	}
}

int ferry__node_apply(char *addr, size_t len,
		      const struct ferry__placement *place, unsigned int flags)
{
	int r;

	if (!place)
		return ferry__sys->mbind(addr, len, MPOL_DEFAULT, NULL, 0,
					 flags);
	r = ferry__sys->mbind(addr, len, ferry__node_kernel_mode(place->mode),
			      place->bits ? place->nodes : NULL, place->bits,
			      flags);
	if (r == -EINVAL && late_mode(place->mode))
		return -EOPNOTSUPP;
	if (r < 0 || !place->home_node)
		return r;
	r = ferry__sys->set_home_node(addr, len, place->home_node - 1);
	return r == -ENOSYS ? -EOPNOTSUPP : r;
}

/* Puts the old policies back where a new one was applied in part. */
void ferry__node_restore(struct ferry_arena *arena, size_t offset, size_t len)
{
	size_t i, from, to, end = offset + len;
	const struct ferry__stretch *v = arena->pieces;
	size_t n = arena->pieces_len;

	if (!v) {
		v = &arena->whole;
		n = 1;
	}
	for (i = 0; i < n; i++) {
		from = v[i].offset > offset ? v[i].offset : offset;
		to = i + 1 < n ? v[i + 1].offset : arena->reserved;
		to = to < end ? to : end;
		if (from < to)
			ferry__node_apply(arena->base + from, to - from,
					  v[i].place, 0);
	}
}

static int set_node_locked(struct ferry_arena *arena, size_t offset, size_t len,
			   const struct ferry_node_policy *policy)
{
	unsigned int flags = (policy->move_present ? MPOL_MF_MOVE : 0) |
			     (policy->strict ? MPOL_MF_STRICT : 0);
	const struct ferry__cut cut = { offset, len };
	const struct ferry__placement *place = NULL;
	struct ferry__plan plan;
	int r;

	r = ferry__node_intern(arena, policy, &place);
	if (r < 0)
		return r;
	r = ferry__policy_plan(arena, &cut, 1, NULL, true, place, &plan);
	if (r < 0)
		return r;
	r = ferry__node_apply(arena->base + offset, len, place, flags);
	/* EIO with MOVE: it is in force; only pages stayed where they were. */
	if (r == 0 || (r == -EIO && policy->move_present)) {
		ferry__policy_adopt(arena, &plan);
		return r;
	}
	ferry__node_restore(arena, offset, len);
	ferry__policy_drop(&plan);
	return r;
}

int ferry_arena_set_node(struct ferry_arena *arena, size_t offset, size_t len,
			 const struct ferry_node_policy *policy)
{
	int r;

	r = ferry__arena_range(arena, offset, len);
	if (r < 0)
		return r;
	if (!policy)
		return -EINVAL;
	if (!ferry__numa->available())
		return policy->mode == FERRY_NODE_DEFAULT ? 0 : -EOPNOTSUPP;
	pthread_mutex_lock(&arena->lock);
	r = set_node_locked(arena, offset, len, policy);
	ferry__arena_debug_check(arena);
	pthread_mutex_unlock(&arena->lock);
	return r;
}

/* --- pages ---------------------------------------------------------------- */

/* Committed pages of a range in batches, as move_pages() wants them. */
struct batch {
	struct ferry_arena *arena;
	size_t page, end; /* the rest of the range, in pages */
	size_t n;
	void *addr[BATCH];
	int status[BATCH];
};

/* The next batch; false at the end of the range. */
static bool next_batch(struct batch *b)
{
	const unsigned int committed = FERRY__CODE(FERRY_PAGE_LIVE) |
				       FERRY__CODE(FERRY_PAGE_PINNED);

	for (b->n = 0; b->n < BATCH; b->page++) {
		b->page = ferry__pages_find(&b->arena->pages, b->page, b->end,
					    committed, true);
		if (b->page >= b->end)
			break;
		b->addr[b->n++] = b->arena->base + b->page * ferry__page_size;
	}
	return b->n;
}

static struct batch batch_of(struct ferry_arena *arena, size_t offset,
			     size_t len)
{
	return (struct batch){ .arena = arena,
			       .page = offset / ferry__page_size,
			       .end = (offset + len) / ferry__page_size };
}

/* Migrates what is in the batch; adds what stayed to @failed. */
static int migrate_batch(struct batch *b, int node, size_t *failed)
{
	int r = ferry__node_migrate_pages(b->addr, b->n, node, b->status);
	size_t i;

	for (i = 0; r == 0 && i < b->n; i++)
		*failed += b->status[i] < 0;
	return r;
}

int ferry_arena_migrate(struct ferry_arena *arena, size_t offset, size_t len,
			int node, size_t *ret_failed)
{
	struct batch b = batch_of(arena, offset, len);
	size_t failed = 0;
	int r;

	r = ferry__arena_range(arena, offset, len);
	if (r < 0)
		return r;
	if (!ferry__numa->available())
		return -EOPNOTSUPP;
	if (node < 0 || node > ferry__numa->max_node() ||
	    !ferry__numa->usable(node))
		return -EINVAL;
	while (r == 0 && next_batch(&b))
		r = migrate_batch(&b, node, &failed);
	if (ret_failed)
		*ret_failed = failed;
	return r;
}

int ferry_arena_residency(struct ferry_arena *arena, size_t offset, size_t len,
			  size_t *ret_bytes, unsigned int n)
{
	struct batch b = batch_of(arena, offset, len);
	size_t i;
	long r;

	r = ferry__arena_range(arena, offset, len);
	if (r < 0)
		return (int)r;
	if (!ret_bytes || !n)
		return -EINVAL;
	if (!ferry__numa->available())
		return -EOPNOTSUPP;
	memset(ret_bytes, 0, n * sizeof(*ret_bytes));
	while (next_batch(&b)) {
		r = ferry__sys->move_pages(0, b.n, b.addr, NULL, b.status, 0);
		if (r < 0)
			return (int)r;
		for (i = 0; i < b.n; i++)
			if (b.status[i] >= 0 && (unsigned int)b.status[i] < n)
				ret_bytes[b.status[i]] += ferry__page_size;
	}
	return 0;
}
