/* SPDX-License-Identifier: MIT */
/*
 * Arenas: reserving address space, growing it in place, committing pages and
 * giving them back.
 *
 * What is assumed of the kernel
 *  - MAP_NORESERVE memory costs nothing until it is touched, except under
 *    vm.overcommit_memory=2, where the whole reservation is accounted.
 *  - The reservation is mapped readable and writable at once and its rights
 *    never change: MOVE wants both sides in one mapping each, with equal
 *    rights, and every mprotect() of a part would split it.
 *  - MAP_FIXED_NOREPLACE (4.17) never lands on memory that is in use; older
 *    kernels take it for a hint, hence the look at where it landed.
 */
#include "alloc/alloc-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "alloc/agent/agent-internal.h"
#include "uffd/uapi.h"

static size_t round_up(size_t n, size_t to)
{
	return (n + to - 1) & ~(to - 1);
}

/* --- address space -------------------------------------------------------- */

static int map_at(void *addr, size_t len, int more_flags, char **ret_base)
{
	void *mem = NULL;
	int r;

	r = ferry__sys->mmap(addr, len, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
				     more_flags,
			     -1, 0, &mem);
	if (r < 0)
		return r;
	*ret_base = mem;
	return 0;
}

/* Maps @len and a granule more, and cuts the ends off. */
static int map_trimmed(size_t len, char **ret_base)
{
	char *raw = NULL, *base;
	size_t head;
	int r;

	r = map_at(NULL, len + FERRY__GRANULE, 0, &raw);
	if (r < 0)
		return r;
	base = (char *)round_up((uintptr_t)raw, FERRY__GRANULE);
	head = (size_t)(base - raw);
	if (head) {
		r = ferry__sys->munmap(raw, head);
		if (r < 0)
			goto err_unmap;
	}
	r = ferry__sys->munmap(base + len, FERRY__GRANULE - head);
	if (r < 0)
		goto err_unmap;
	*ret_base = base;
	return 0;

err_unmap:
	ferry__sys->munmap(raw, len + FERRY__GRANULE);
	return r;
}

/* Recent kernels align big anonymous mappings by themselves: try that. */
static int map_aligned(size_t len, char **ret_base)
{
	char *base = NULL;
	int r;

	r = map_at(NULL, len, 0, &base);
	if (r < 0)
		return r;
	if ((uintptr_t)base % FERRY__GRANULE == 0) {
		*ret_base = base;
		return 0;
	}
	r = ferry__sys->munmap(base, len);
	if (r < 0)
		return r;
	return map_trimmed(len, ret_base);
}

static int map_behind(char *end, size_t len)
{
	char *got = NULL;
	int r;

	r = map_at(end, len, FERRY__MAP_FIXED_NOREPLACE, &got);
	if (r == -EEXIST)
		return -ENOMEM;
	if (r < 0)
		return r;
	if (got == end)
		return 0;
	ferry__sys->munmap(got, len);
	return -ENOMEM;
}

/* --- life ----------------------------------------------------------------- */

#define PIECES_MAX 64

static int check_backing(const struct ferry_arena_params *p)
{
	if (p->backing < 0 || p->backing > FERRY_BACKING_HUGETLB)
		return -EINVAL;
	if (p->backing == FERRY_BACKING_HUGETLB && p->thp != FERRY_THP_SYSTEM)
		return -EINVAL;
	return p->backing && p->service ? -EOPNOTSUPP : 0;
}

static int check_params(const struct ferry_arena_params *p)
{
	int r = check_backing(p);

	if (r < 0)
		return r;
	if (!p->reserve || p->thp < 0 || p->thp > FERRY_THP_NEVER)
		return -EINVAL;
	if (!p->service != !p->supply)
		return -EINVAL;
	return p->reserve > SIZE_MAX / 4 ? -ENOMEM : 0;
}

static void set_fields(struct ferry_arena *arena,
		       const struct ferry_arena_params *p)
{
	arena->reserved = round_up(p->reserve, FERRY__GRANULE);
	arena->whole.thp = p->thp;
	arena->pieces_max = p->pieces_max ? p->pieces_max : PIECES_MAX;
	/* One writer: a child would write into the same pages. */
	arena->no_fork = p->no_fork || p->backing;
	arena->backing = p->backing;
	arena->segment = -1;
	arena->service = p->service;
	arena->supply = p->supply;
	arena->supply_arg = p->supply_arg;
	if (p->name)
		snprintf(arena->name, sizeof(arena->name), "%s", p->name);
}

static int arena_alloc(const struct ferry_arena_params *p,
		       struct ferry_arena **ret_arena)
{
	struct ferry_arena *arena;
	void *mem = NULL;
	int r;

	r = ferry__meta_alloc(sizeof(*arena), &mem);
	if (r < 0)
		return r;
	arena = mem;
	set_fields(arena, p);
	pthread_mutex_init(&arena->lock, NULL);
	pthread_cond_init(&arena->settled, NULL);
	r = ferry__pages_init(&arena->pages,
			      arena->reserved / ferry__page_size);
	if (r == 0)
		r = ferry__node_intern(arena, &p->node, &arena->whole.place);
	if (r < 0) {
		ferry__arena_free(arena);
		return r;
	}
	*ret_arena = arena;
	return 0;
}

void ferry__arena_free(struct ferry_arena *arena)
{
	ferry__segment_close(arena);
	ferry__policies_free(arena);
	ferry__pages_fini(&arena->pages);
	pthread_cond_destroy(&arena->settled);
	pthread_mutex_destroy(&arena->lock);
	ferry__meta_free(arena, sizeof(*arena));
}

/* Segment, policy, registration and look-up of fresh address space; if one
 * fails what remains goes with the address space. */
static int part_add(struct ferry_arena *arena, char *addr, size_t len)
{
	int r;

	r = ferry__segment_map(arena, addr, len);
	if (r == 0)
		r = ferry__policy_apply(arena, addr, len);
	if (r < 0)
		return r;
	r = ferry__service_attach(arena, addr, len);
	if (r < 0)
		return r;
	r = ferry__lookup_insert(arena, addr, len);
	if (r < 0)
		ferry__service_detach_last(arena);
	return r;
}

/* Gives a fresh arena, whose segment is there, its place: @at or anywhere. */
static int arena_place(struct ferry_arena *arena, char *at)
{
	int r;

	arena->base = at;
	r = at ? map_behind(at, arena->reserved)
	       : map_aligned(arena->reserved, &arena->base);
	if (r < 0)
		return r;
	arena->magic = FERRY__ARENA_MAGIC;
	r = part_add(arena, arena->base, arena->reserved);
	if (r < 0) {
		ferry__sys->munmap(arena->base, arena->reserved);
		return r;
	}
	ferry__lookup_register(arena);
	return 0;
}

static int arena_create(const struct ferry_arena_params *p,
			struct ferry_arena **ret_arena)
{
	struct ferry_arena *arena;
	int r;

	r = arena_alloc(p, &arena);
	if (r < 0)
		return r;
	if (p->backing)
		r = ferry__segment_make(p->backing, arena->reserved, p->name,
					&arena->segment);
	if (r == 0)
		r = arena_place(arena, NULL);
	if (r < 0) {
		ferry__arena_free(arena);
		return r;
	}
	*ret_arena = arena;
	return 0;
}

int ferry__arena_adopt(const struct ferry__adoption *adoption,
		       struct ferry_arena **ret_arena)
{
	struct ferry_arena_params p = {
		.size = sizeof(p),
		.reserve = adoption->size,
		.backing = adoption->backing,
		.name = adoption->name,
	};
	size_t first = adoption->offset / ferry__page_size;
	size_t n = adoption->len / ferry__page_size;
	struct ferry_arena *arena;
	int r;

	r = ferry__fork_init();
	if (r == 0)
		r = arena_alloc(&p, &arena);
	if (r < 0)
		return r;
	arena->segment = adoption->fd;
	r = ferry__pages_ensure(&arena->pages, first, n);
	if (r < 0)
		goto err_free;
	ferry__pages_replace(&arena->pages, first, n, FERRY_PAGE_ABSENT,
			     FERRY_PAGE_LIVE);
	arena->commits = 1;
	r = arena_place(arena, adoption->at);
	if (r == -ENOMEM && adoption->at)
		r = -EADDRINUSE;
	if (r < 0)
		goto err_free;
	*ret_arena = arena;
	return 0;

err_free:
	arena->segment = -1;
	ferry__arena_free(arena);
	return r;
}

int ferry_arena_create(const struct ferry_arena_params *params,
		       struct ferry_arena **ret_arena)
{
	struct ferry_arena_params p;
	int r;

	if (!params || !ret_arena)
		return -EINVAL;
	r = ferry__params_copy(&p, sizeof(p), params,
			       offsetof(struct ferry_arena_params, thp));
	if (r == 0)
		r = check_params(&p);
	if (r == 0)
		r = ferry__fork_init();
	if (r == 0)
		r = arena_create(&p, ret_arena);
	if (r == 0)
		ferry__agent_by_environment();
	return r;
}

/*
 * Where the mapping has merged with its neighbours, cutting it out needs a
 * mapping more, which vm.max_map_count may refuse: give back the memory then.
 */
static void unmap(struct ferry_arena *arena)
{
	if (ferry__sys->munmap(arena->base, arena->reserved) < 0 &&
	    !arena->unrenewed)
		ferry__arena_discard(arena, arena->base, arena->reserved);
}

void ferry_arena_destroy(struct ferry_arena *arena)
{
	if (!arena)
		return;
	ferry__check(arena->magic == FERRY__ARENA_MAGIC);
	ferry__lookup_unregister(arena);
	if (!arena->gone) {
		ferry__lookup_remove(arena, arena->base, arena->reserved);
		ferry__service_detach(arena);
		unmap(arena);
		ferry__segment_close(arena);
	}
	arena->magic = 0;
	ferry__lookup_retire(arena);
}

void *ferry_arena_base(const struct ferry_arena *arena)
{
	return arena->base;
}

size_t ferry_arena_reserved(const struct ferry_arena *arena)
{
	/* A1 pairs with the release in grow_locked(): the memory is there. */
	return __atomic_load_n(&arena->reserved, __ATOMIC_ACQUIRE);
}

static int grow_locked(struct ferry_arena *arena, size_t more)
{
	char *end = arena->base + arena->reserved;
	size_t reserved = arena->reserved + more;
	int r;

	r = map_behind(end, more);
	if (r < 0)
		return r;
	r = ferry__pages_grow(&arena->pages, reserved / ferry__page_size);
	if (r < 0)
		goto err_unmap;
	r = ferry__segment_grow(arena, reserved);
	if (r < 0)
		goto err_shrink;
	r = part_add(arena, end, more);
	if (r < 0)
		goto err_shrink;
	ferry__policy_grow(arena, arena->reserved);
	arena->grows++;
	__atomic_store_n(&arena->reserved, reserved, __ATOMIC_RELEASE); /* A1 */
	return 0;

err_shrink:
	ferry__pages_grow(&arena->pages, arena->reserved / ferry__page_size);
err_unmap:
	ferry__sys->munmap(end, more);
	return r;
}

int ferry_arena_grow(struct ferry_arena *arena, size_t more)
{
	int r;

	if (!more)
		return -EINVAL;
	if (arena->gone)
		return -ECHILD;
	if (more > SIZE_MAX / 4)
		return -ENOMEM;
	pthread_mutex_lock(&arena->lock);
	r = arena->offered ? -EBUSY
			   : grow_locked(arena, round_up(more, FERRY__GRANULE));
	ferry__arena_debug_check(arena);
	pthread_mutex_unlock(&arena->lock);
	return r;
}

/* --- commit and decommit -------------------------------------------------- */

int ferry__arena_range(const struct ferry_arena *arena, size_t offset,
		       size_t len)
{
	size_t reserved = ferry_arena_reserved(arena);

	if (arena->gone)
		return -ECHILD;
	if (!len || (offset | len) & (ferry__page_size - 1))
		return -EINVAL;
	if (offset > reserved || len > reserved - offset)
		return -EINVAL;
	if (arena->backing == FERRY_BACKING_HUGETLB &&
	    (offset | len) & (FERRY__GRANULE - 1))
		return -EINVAL;
	return 0;
}

/* A range in pages, as the functions below pass it on. */
struct span {
	size_t first;
	size_t n;
};

static struct span span_of(size_t offset, size_t len)
{
	return (struct span){ offset / ferry__page_size,
			      len / ferry__page_size };
}

static bool holds(struct ferry_arena *arena, struct span s, unsigned int codes)
{
	return ferry__pages_find(&arena->pages, s.first, s.first + s.n, codes,
				 true) < s.first + s.n;
}

/*
 * Waits until nobody else commits or drops pages of the range, and no fork is
 * waiting for the arena to come to rest. Lock.
 */
static void settle_wait(struct ferry_arena *arena, struct span s)
{
	while (arena->forking || holds(arena, s, FERRY__CODES_UNSETTLED))
		pthread_cond_wait(&arena->settled, &arena->lock);
}

/*
 * Takes the pages of code @from out of the range by marking them @mark,
 * unless a page of it is in @refuse. A claim without the lock can come in
 * between, hence the second look. Arena lock.
 */
static int mark_pages(struct ferry_arena *arena, struct span s,
		      unsigned int from, unsigned int mark, unsigned int refuse)
{
	if (holds(arena, s, refuse))
		return -EBUSY;
	ferry__pages_replace(&arena->pages, s.first, s.n, from, mark);
	if (!holds(arena, s, refuse))
		return 0;
	ferry__pages_replace(&arena->pages, s.first, s.n, mark, from);
	return -EBUSY;
}

/* Lets others have the arena's lock while marked pages are worked on. */
static void work_begin(struct ferry_arena *arena)
{
	arena->unsettled++;
	pthread_mutex_unlock(&arena->lock);
}

static void work_end(struct ferry_arena *arena, struct span s,
		     unsigned int mark, unsigned int to)
{
	pthread_mutex_lock(&arena->lock);
	ferry__pages_replace(&arena->pages, s.first, s.n, mark, to);
	arena->unsettled--;
	pthread_cond_broadcast(&arena->settled);
}

int ferry__dontneed(char *addr, size_t len)
{
	int r = ferry__sys->madvise(addr, len, MADV_DONTNEED);

	if (r == -EINVAL)
		r = ferry__sys->madvise(addr, len, FERRY__MADV_DONTNEED_LOCKED);
	return r;
}

int ferry__arena_discard(struct ferry_arena *arena, char *addr, size_t len)
{
	int r;

	if (!arena->backing)
		return ferry__dontneed(addr, len);
	do {
		r = ferry__sys->fallocate(arena->segment,
					  FALLOC_FL_PUNCH_HOLE |
						  FALLOC_FL_KEEP_SIZE,
					  addr - arena->base, (off_t)len);
	} while (r == -EINTR);
	return r;
}

/* Drops the memory of those pages of the range that are marked @code. */
static int drop_marked(struct ferry_arena *arena, struct span s,
		       unsigned int code)
{
	size_t page, stop = s.first, end = s.first + s.n;
	int r;

	for (;;) {
		page = ferry__pages_find(&arena->pages, stop, end,
					 FERRY__CODE(code), true);
		if (page >= end)
			return 0;
		stop = ferry__pages_find(&arena->pages, page, end,
					 FERRY__CODE(code), false);
		r = ferry__arena_discard(arena,
					 arena->base + page * ferry__page_size,
					 (stop - page) * ferry__page_size);
		if (r < 0)
			return r;
	}
}

/* Writes no byte and changes none, but makes each page present. */
static void touch(char *addr, size_t len)
{
	size_t i;

	/* relaxed: the value read and written back is the same */
	for (i = 0; i < len; i += ferry__page_size)
		__atomic_fetch_or(addr + i, 0, __ATOMIC_RELAXED);
}

int ferry__populate(char *addr, size_t len)
{
	int r;

	do {
		r = ferry__sys->madvise(addr, len, FERRY__MADV_POPULATE_WRITE);
	} while (r == -EINTR || r == -EAGAIN);
	if (r != -EINVAL)
		return r;
	touch(addr, len); /* before 5.14 */
	return 0;
}

static int populate_span(struct ferry_arena *arena, struct span s)
{
	size_t offset = s.first * ferry__page_size;
	size_t len = s.n * ferry__page_size;

	if (arena->service)
		return ferry__service_populate(arena, offset, len);
	ferry__segment_collapse(arena, offset, len);
	return ferry__populate(arena->base + offset, len);
}

/* Puts the new segment in place of one that was given away. Lock. */
static int renew(struct ferry_arena *arena)
{
	int r;

	if (!arena->unrenewed)
		return 0;
	r = ferry__segment_map(arena, arena->base, arena->reserved);
	if (r == 0)
		r = ferry__policy_apply(arena, arena->base, arena->reserved);
	if (r < 0)
		return r;
	arena->unrenewed = false;
	return 0;
}

static int commit_locked(struct ferry_arena *arena, struct span s,
			 bool populate)
{
	int r;

	settle_wait(arena, s);
	if (arena->offered)
		return -EBUSY;
	r = renew(arena);
	if (r == 0)
		r = ferry__pages_ensure(&arena->pages, s.first, s.n);
	if (r < 0)
		return r;
	r = mark_pages(arena, s, FERRY_PAGE_ABSENT, FERRY__PAGE_COMMITTING,
		       FERRY__CODE(FERRY_PAGE_TRANSIT) |
			       FERRY__CODE(FERRY_PAGE_OUT));
	if (r < 0)
		return r;
	work_begin(arena);
	/* A fault nearby, under way during the last decommit, may have put
	 * pages there: what is committed now begins with none. */
	if (arena->service)
		r = drop_marked(arena, s, FERRY__PAGE_COMMITTING);
	if (r == 0)
		r = ferry__segment_reserve(arena, s.first * ferry__page_size,
					   s.n * ferry__page_size);
	if (r == 0 && populate)
		r = populate_span(arena, s);
	if (r < 0)
		drop_marked(arena, s, FERRY__PAGE_COMMITTING);
	work_end(arena, s, FERRY__PAGE_COMMITTING,
		 r < 0 ? FERRY_PAGE_ABSENT : FERRY_PAGE_LIVE);
	if (r == 0)
		arena->commits++;
	return r;
}

int ferry_arena_commit(struct ferry_arena *arena, size_t offset, size_t len,
		       bool populate)
{
	int r;

	r = ferry__arena_range(arena, offset, len);
	if (r < 0)
		return r;
	pthread_mutex_lock(&arena->lock);
	r = commit_locked(arena, span_of(offset, len), populate);
	ferry__arena_debug_check(arena);
	pthread_mutex_unlock(&arena->lock);
	return r;
}

static int decommit_locked(struct ferry_arena *arena, struct span s)
{
	int r;

	settle_wait(arena, s);
	r = mark_pages(arena, s, FERRY_PAGE_LIVE, FERRY__PAGE_DROPPING,
		       FERRY__CODE(FERRY_PAGE_PINNED) |
			       FERRY__CODE(FERRY_PAGE_TRANSIT) |
			       FERRY__CODE(FERRY_PAGE_OUT));
	if (r < 0)
		return r;
	work_begin(arena);
	r = drop_marked(arena, s, FERRY__PAGE_DROPPING);
	work_end(arena, s, FERRY__PAGE_DROPPING,
		 r < 0 ? FERRY_PAGE_LIVE : FERRY_PAGE_ABSENT);
	if (r == 0)
		arena->decommits++;
	return r;
}

int ferry_arena_decommit(struct ferry_arena *arena, size_t offset, size_t len)
{
	int r;

	r = ferry__arena_range(arena, offset, len);
	if (r < 0)
		return r;
	pthread_mutex_lock(&arena->lock);
	r = decommit_locked(arena, span_of(offset, len));
	ferry__arena_debug_check(arena);
	pthread_mutex_unlock(&arena->lock);
	return r;
}

/* --- pins and states ------------------------------------------------------ */

int ferry_arena_pin(struct ferry_arena *arena, size_t offset, size_t len)
{
	struct span s = span_of(offset, len);
	int r;

	r = ferry__arena_range(arena, offset, len);
	if (r < 0)
		return r;
	pthread_mutex_lock(&arena->lock);
	settle_wait(arena, s);
	r = ferry__pages_pin(&arena->pages, s.first, s.n);
	ferry__arena_debug_check(arena);
	pthread_mutex_unlock(&arena->lock);
	return r;
}

int ferry_arena_unpin(struct ferry_arena *arena, size_t offset, size_t len)
{
	struct span s = span_of(offset, len);
	int r;

	r = ferry__arena_range(arena, offset, len);
	if (r < 0)
		return r;
	pthread_mutex_lock(&arena->lock);
	r = ferry__pages_unpin(&arena->pages, s.first, s.n);
	ferry__arena_debug_check(arena);
	pthread_mutex_unlock(&arena->lock);
	return r;
}

enum ferry_page_state ferry_arena_page_state(const struct ferry_arena *arena,
					     size_t offset)
{
	unsigned int code;

	code = ferry__pages_get(&arena->pages, offset / ferry__page_size);
	if (code >= FERRY_PAGE_STATES)
		return FERRY_PAGE_TRANSIT;
	return (enum ferry_page_state)code;
}

bool ferry_arena_next_run(const struct ferry_arena *arena, size_t offset,
			  enum ferry_page_state state, size_t *ret_offset,
			  size_t *ret_len)
{
	unsigned int codes = FERRY__CODE(state);
	size_t end = ferry_arena_reserved(arena) / ferry__page_size;
	size_t first, stop;

	if (state == FERRY_PAGE_TRANSIT)
		codes = FERRY__CODES_TRANSIT;
	first = offset / ferry__page_size;
	if (first >= end)
		return false;
	first = ferry__pages_find(&arena->pages, first, end, codes, true);
	if (first >= end)
		return false;
	stop = ferry__pages_find(&arena->pages, first + 1, end, codes, false);
	*ret_offset = first * ferry__page_size;
	*ret_len = (stop - first) * ferry__page_size;
	return true;
}

/* --- claims --------------------------------------------------------------- */

size_t ferry__arena_claim(struct ferry_arena *arena, size_t offset, size_t len)
{
	struct span s = span_of(offset, len);

	return ferry__pages_claim(&arena->pages, s.first, s.n, FERRY_PAGE_LIVE,
				  FERRY_PAGE_TRANSIT) *
	       ferry__page_size;
}

int ferry__arena_claim_absent(struct ferry_arena *arena, size_t offset,
			      size_t len)
{
	struct span s = span_of(offset, len);
	int r;

	r = ferry__arena_range(arena, offset, len);
	if (r < 0)
		return r;
	pthread_mutex_lock(&arena->lock);
	settle_wait(arena, s);
	r = ferry__pages_ensure(&arena->pages, s.first, s.n);
	if (r < 0)
		goto out;
	r = -EBUSY;
	if (ferry__pages_find(&arena->pages, s.first, s.first + s.n,
			      FERRY__CODE(FERRY_PAGE_ABSENT),
			      false) < s.first + s.n)
		goto out;
	ferry__pages_replace(&arena->pages, s.first, s.n, FERRY_PAGE_ABSENT,
			     FERRY_PAGE_TRANSIT);
	r = ferry__arena_discard(arena, arena->base + offset, len);
	if (r < 0)
		ferry__pages_replace(&arena->pages, s.first, s.n,
				     FERRY_PAGE_TRANSIT, FERRY_PAGE_ABSENT);
out:
	pthread_mutex_unlock(&arena->lock);
	return r;
}

void ferry__arena_settle(struct ferry_arena *arena, size_t offset, size_t len,
			 enum ferry_page_state to)
{
	struct span s = span_of(offset, len);

	ferry__check(ferry__pages_claim(&arena->pages, s.first, s.n,
					FERRY_PAGE_TRANSIT, to) == s.n);
}

int ferry__arena_drop(struct ferry_arena *arena, size_t offset, size_t len)
{
	int r = ferry__arena_discard(arena, arena->base + offset, len);

	if (r < 0)
		return r;
	ferry__arena_settle(arena, offset, len, FERRY_PAGE_ABSENT);
	return 0;
}

/* --- offers to other processes --------------------------------------------- */

/* Lock; nobody commits or decommits. */
static int offer_locked(struct ferry_arena *arena, struct span s,
			bool *ret_whole)
{
	size_t all = arena->reserved / ferry__page_size, got;

	if (arena->offered)
		return -EBUSY;
	if (holds(arena, s, FERRY__CODE(FERRY_PAGE_ABSENT)))
		return -ENOENT;
	got = ferry__pages_claim(&arena->pages, s.first, s.n, FERRY_PAGE_LIVE,
				 FERRY_PAGE_TRANSIT);
	if (got < s.n) {
		ferry__pages_replace(&arena->pages, s.first, got,
				     FERRY_PAGE_TRANSIT, FERRY_PAGE_LIVE);
		return -EBUSY;
	}
	*ret_whole = arena->backing &&
		     ferry__pages_find(&arena->pages, 0, s.first,
				       FERRY__CODE(FERRY_PAGE_ABSENT),
				       false) >= s.first &&
		     ferry__pages_find(&arena->pages, s.first + s.n, all,
				       FERRY__CODE(FERRY_PAGE_ABSENT),
				       false) >= all;
	arena->offered = *ret_whole;
	return 0;
}

/*
 * Pages that a service has to bring are brought while it does so: it refuses
 * those in TRANSIT. Ranges that cannot be offered are left to offer_locked().
 */
static int offer_populate(struct ferry_arena *arena, size_t offset, size_t len)
{
	struct span s = span_of(offset, len);
	size_t end = s.first + s.n;

	if (!arena->service ||
	    ferry__pages_find(&arena->pages, s.first, end,
			      FERRY__CODE(FERRY_PAGE_LIVE), false) < end)
		return 0;
	return ferry__service_populate(arena, offset, len);
}

int ferry__arena_offer(struct ferry_arena *arena, size_t offset, size_t len,
		       bool *ret_whole)
{
	struct span s = span_of(offset, len);
	int r;

	r = ferry__arena_range(arena, offset, len);
	if (r < 0)
		return r;
	r = offer_populate(arena, offset, len);
	if (r < 0)
		return r;
	pthread_mutex_lock(&arena->lock);
	/* Pages committed elsewhere meanwhile would go with the segment. */
	while (arena->forking || arena->unsettled)
		pthread_cond_wait(&arena->settled, &arena->lock);
	r = offer_locked(arena, s, ret_whole);
	ferry__arena_debug_check(arena);
	pthread_mutex_unlock(&arena->lock);
	return r;
}

void ferry__arena_offer_back(struct ferry_arena *arena, size_t offset,
			     size_t len)
{
	pthread_mutex_lock(&arena->lock);
	ferry__arena_settle(arena, offset, len, FERRY_PAGE_LIVE);
	arena->offered = false;
	pthread_mutex_unlock(&arena->lock);
}

/*
 * What was mapped belongs to the receiver: no page of it may be dropped here.
 * If the kernel cannot map the new segment now, the next commit does.
 */
static void renew_given(struct ferry_arena *arena, int spare)
{
	int given = arena->segment;

	arena->segment = spare;
	arena->unrenewed = true;
	ferry__policies_reset(arena);
	renew(arena);
	ferry__sys->close(given);
}

void ferry__arena_offer_gone(struct ferry_arena *arena, size_t offset,
			     size_t len, int spare)
{
	pthread_mutex_lock(&arena->lock);
	if (spare >= 0)
		renew_given(arena, spare);
	else
		ferry__arena_discard(arena, arena->base + offset, len);
	ferry__arena_settle(arena, offset, len, FERRY_PAGE_ABSENT);
	arena->offered = false;
	arena->decommits++;
	ferry__arena_debug_check(arena);
	pthread_mutex_unlock(&arena->lock);
}

void ferry__arena_disown(struct ferry_arena *arena)
{
	pthread_mutex_lock(&arena->lock);
	arena->unrenewed = true;
	pthread_mutex_unlock(&arena->lock);
}
