/* SPDX-License-Identifier: MIT */
/*
 * From an address to its arena: a two-level table over the granules of the
 * address space, read without a lock under liburcu.
 *
 *	address 47                 34 33              21 20        0
 *	        +--------------------+-----------------+-----------+
 *	        |  root: 16384 words |  leaf: 8192     |  granule  |
 *	        +--------------------+-----------------+-----------+
 *
 * A root word is 0, a leaf, or - for an arena that covers all of its 16 GiB -
 * the arena itself, tagged. A leaf word is an arena or NULL. Leaves are made
 * on demand and never freed: only arenas need the grace period.
 *
 * Orders of memory
 *  L1	store-release of a root or leaf word in fill() and leaf_get() pairs
 *	with the load-acquire in ferry_lookup(): who finds an arena sees it
 *	complete.
 *  L2	clearing a word is relaxed: readers learn nothing from it; that they
 *	are done with the arena is what synchronize_rcu() waits for.
 */
#include "alloc/alloc-internal.h"

/*
 * Inlines the few lines of liburcu's read_lock and read_unlock: half the time
 * of a look-up. Meant for LGPL-compatible code, which MIT is. Not under
 * sanitizers: liburcu 0.13 aligns its reader structs to less than their type
 * says, harmless on any processor, but UBSan counts it as ours.
 */
#ifndef FERRY_SANITIZE
#define _LGPL_SOURCE
#endif
#include <errno.h>
#include <urcu/urcu-bp.h>

#define LEAF_BITS    13
#define ROOT_BITS    14
#define GRANULE_BITS 21
#define LEAF_SPAN    (FERRY__GRANULE << LEAF_BITS)
#define TAG	     ((uintptr_t)1)

_Static_assert(FERRY__GRANULE == (size_t)1 << GRANULE_BITS, "granule");

struct leaf {
	struct ferry_arena *arena[1u << LEAF_BITS];
};

/* Words: 0, a struct leaf *, or a struct ferry_arena * with TAG. */
static uintptr_t root[1u << ROOT_BITS]; /* writers: table lock */

static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER; /* rank 10 */
static CDS_LIST_HEAD(arenas);				     /* registry lock */
static uint64_t last_id;				     /* registry lock */
/* Some arena's holds came down to none. */
static pthread_cond_t let_go = PTHREAD_COND_INITIALIZER;

static pthread_mutex_t table = PTHREAD_MUTEX_INITIALIZER; /* rank 30 */
static struct ferry_arena *dead;			  /* table lock */
static size_t dead_weight;				  /* table lock */

/*
 * How much waits for one grace period, which costs every CPU an interrupt:
 * an arena and each segment of its table count one, at most 4 MiB in all.
 */
#define DEAD_BATCH 32

static struct ferry_arena **leaf_word(uintptr_t r, uintptr_t addr)
{
	return &((struct leaf *)r)
			->arena[addr >> GRANULE_BITS & ((1u << LEAF_BITS) - 1)];
}

/*
 * ThreadSanitizer does not see what orders a section before the end of a
 * grace period: liburcu is not built with it, and the order comes from
 * membarrier(2). It is told here.
 */
#if defined(__SANITIZE_THREAD__) /* gcc */
#define WITH_TSAN 1
#elif defined(__has_feature)
#define WITH_TSAN __has_feature(thread_sanitizer) /* clang */
#else
#define WITH_TSAN 0
#endif

#if WITH_TSAN
#include <sanitizer/tsan_interface.h>
static char grace;
#define section_ends() __tsan_release(&grace)
#define grace_ends()   __tsan_acquire(&grace)
#else
#define section_ends() ((void)0)
#define grace_ends()   ((void)0)
#endif

void ferry_lookup_begin(void)
{
	urcu_bp_read_lock();
}

void ferry_lookup_end(void)
{
	section_ends();
	urcu_bp_read_unlock();
}

struct ferry_arena *ferry_lookup(const void *addr)
{
	uintptr_t a = (uintptr_t)addr, r;

	if (a >> (GRANULE_BITS + LEAF_BITS + ROOT_BITS))
		return NULL;
	r = __atomic_load_n(&root[a >> (GRANULE_BITS + LEAF_BITS)],
			    __ATOMIC_ACQUIRE); /* L1 */
	if (!r)
		return NULL;
	if (r & TAG)
		return (struct ferry_arena *)(r & ~TAG);
	return __atomic_load_n(leaf_word(r, a), __ATOMIC_ACQUIRE); /* L1 */
}

/* Does [@a, @end) cover the whole span of a root word, from @a on? */
static bool whole_span(uintptr_t a, uintptr_t end, uintptr_t r)
{
	return a % LEAF_SPAN == 0 && end - a >= LEAF_SPAN && (!r || r & TAG);
}

static uintptr_t *root_word(uintptr_t a)
{
	return &root[a >> (GRANULE_BITS + LEAF_BITS)];
}

/* Makes the leaves that [@a, @end) needs. Table lock. */
static int make_leaves(uintptr_t a, uintptr_t end)
{
	void *mem;
	int r;

	for (; a < end; a = (a / LEAF_SPAN + 1) * LEAF_SPAN) {
		if (*root_word(a) || whole_span(a, end, 0))
			continue;
		r = ferry__meta_alloc(sizeof(struct leaf), &mem);
		if (r < 0)
			return r;
		__atomic_store_n(root_word(a), (uintptr_t)mem,
				 __ATOMIC_RELEASE); /* L1 */
	}
	return 0;
}

/* Writes @arena, or NULL, into every word of [@a, @end). Table lock. */
static void fill(uintptr_t a, uintptr_t end, struct ferry_arena *arena)
{
	uintptr_t *word;

	while (a < end) {
		word = root_word(a);
		if (whole_span(a, end, *word)) {
			__atomic_store_n(word,
					 arena ? (uintptr_t)arena | TAG : 0,
					 __ATOMIC_RELEASE); /* L1, L2 */
			a += LEAF_SPAN;
			continue;
		}
		__atomic_store_n(leaf_word(*word, a), arena,
				 __ATOMIC_RELEASE); /* L1, L2 */
		a += FERRY__GRANULE;
	}
}

int ferry__lookup_insert(struct ferry_arena *arena, char *base, size_t len)
{
	uintptr_t a = (uintptr_t)base, end = a + len;
	int r = -ENOMEM;

	pthread_mutex_lock(&table);
	if ((end - 1) >> (GRANULE_BITS + LEAF_BITS + ROOT_BITS))
		goto out;
	r = make_leaves(a, end);
	if (r == 0)
		fill(a, end, arena);
out:
	pthread_mutex_unlock(&table);
	return r;
}

void ferry__lookup_remove(struct ferry_arena *arena, char *base, size_t len)
{
	uintptr_t a = (uintptr_t)base;

	ferry__debug_check(ferry_lookup(base) == arena);
	pthread_mutex_lock(&table);
	fill(a, a + len, NULL);
	pthread_mutex_unlock(&table);
}

void ferry__lookup_register(struct ferry_arena *arena)
{
	pthread_mutex_lock(&registry);
	arena->id = ++last_id;
	cds_list_add(&arena->registered, &arenas);
	pthread_mutex_unlock(&registry);
}

/* Registry lock. */
static void await_holds(struct ferry_arena *arena)
{
	while (arena->holds)
		pthread_cond_wait(&let_go, &registry);
}

void ferry__lookup_unregister(struct ferry_arena *arena)
{
	pthread_mutex_lock(&registry);
	cds_list_del(&arena->registered);
	await_holds(arena);
	pthread_mutex_unlock(&registry);
}

/* --- holds ------------------------------------------------------------------ */

static bool is_at(const struct ferry_arena *arena, uint64_t addr)
{
	return addr - (uintptr_t)arena->base < ferry_arena_reserved(arena);
}

/*
 * By the list and not by the table: who is in the list has not begun to end.
 * The order of the list is that of use: who was asked for last comes first.
 */
struct ferry_arena *ferry__arena_hold_at(uint64_t addr)
{
	struct ferry_arena *arena, *found = NULL;

	pthread_mutex_lock(&registry);
	cds_list_for_each_entry (arena, &arenas, registered) {
		if (arena->gone || !is_at(arena, addr))
			continue;
		arena->holds++;
		cds_list_move(&arena->registered, &arenas);
		found = arena;
		break;
	}
	pthread_mutex_unlock(&registry);
	return found;
}

struct ferry_arena *ferry__arena_hold_next(uint64_t id)
{
	struct ferry_arena *arena, *found = NULL;

	pthread_mutex_lock(&registry);
	cds_list_for_each_entry (arena, &arenas, registered)
		if (!arena->gone && arena->id > id &&
		    (!found || arena->id < found->id))
			found = arena;
	if (found)
		found->holds++;
	pthread_mutex_unlock(&registry);
	return found;
}

void ferry__arena_let_go(struct ferry_arena *arena)
{
	pthread_mutex_lock(&registry);
	if (--arena->holds == 0)
		pthread_cond_broadcast(&let_go);
	pthread_mutex_unlock(&registry);
}

void ferry__arena_own(struct ferry_arena *arena,
		      const struct ferry__owner *owner, void *arg)
{
	pthread_mutex_lock(&registry);
	arena->owner = owner;
	arena->owner_arg = arg;
	if (!owner)
		await_holds(arena);
	pthread_mutex_unlock(&registry);
}

const struct ferry__owner *ferry__arena_owner(struct ferry_arena *arena,
					      void **ret_arg)
{
	const struct ferry__owner *owner;

	pthread_mutex_lock(&registry);
	owner = arena->owner;
	*ret_arg = arena->owner_arg;
	pthread_mutex_unlock(&registry);
	return owner;
}

/* Takes the waiting arenas when there are enough of them. */
static struct ferry_arena *dead_push(struct ferry_arena *arena)
{
	struct ferry_arena *batch = NULL;

	pthread_mutex_lock(&table);
	arena->next_dead = dead;
	dead = arena;
	dead_weight += 1 + ferry__pages_segments(&arena->pages);
	if (dead_weight >= DEAD_BATCH) {
		batch = dead;
		dead = NULL;
		dead_weight = 0;
	}
	pthread_mutex_unlock(&table);
	return batch;
}

void ferry__lookup_retire(struct ferry_arena *arena)
{
	struct ferry_arena *batch = dead_push(arena), *next;

	if (!batch)
		return;
	urcu_bp_synchronize_rcu();
	grace_ends();
	for (; batch; batch = next) {
		next = batch->next_dead;
		ferry__arena_free(batch);
	}
}

/* --- fork ----------------------------------------------------------------- */

void ferry__lookup_fork_prepare(void (*each)(struct ferry_arena *arena))
{
	struct ferry_arena *arena;

	pthread_mutex_lock(&registry);
	cds_list_for_each_entry (arena, &arenas, registered)
		each(arena);
	pthread_mutex_lock(&table);
	urcu_bp_before_fork();
}

static void fork_unlock(void (*each)(struct ferry_arena *arena))
{
	struct ferry_arena *arena;

	pthread_mutex_unlock(&table);
	cds_list_for_each_entry (arena, &arenas, registered)
		each(arena);
	pthread_mutex_unlock(&registry);
}

void ferry__lookup_fork_parent(void (*each)(struct ferry_arena *arena))
{
	urcu_bp_after_fork_parent();
	fork_unlock(each);
}

void ferry__lookup_fork_child(void (*each)(struct ferry_arena *arena))
{
	struct ferry_arena *arena;
	uintptr_t a;

	urcu_bp_after_fork_child();
	/* Who held arenas, or waited for that to end, is not here. */
	pthread_cond_init(&let_go, NULL);
	cds_list_for_each_entry (arena, &arenas, registered) {
		arena->holds = 0;
		a = (uintptr_t)arena->base;
		if (arena->no_fork && !arena->gone)
			fill(a, a + arena->reserved, NULL);
	}
	fork_unlock(each);
}
