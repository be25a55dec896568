/* SPDX-License-Identifier: MIT */
/*
 * The agent's pins: which pages of which arenas it keeps where they are.
 *
 * A set, not counts: a page has one pin of the agent's or none, so that a
 * request that is sent twice does what it does once, and so that nobody can
 * take away pins of the program's by asking often enough.
 *
 * N1	The list is sorted by address; its pieces do not overlap, and touch only
 *	where their arenas differ.
 * N2	Each page of a piece has one pin more than the program gave it, as long
 *	as the arena of that id lives. A piece whose arena is gone is dropped
 *	when a range comes across it.
 *
 * The lock (rank 5: before all of arenas) is for fork(2) alone: the child has
 * no agent, and would be left with pages that it cannot decommit; it takes
 * the pins away before anything else runs.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "alloc/agent/work-internal.h"

struct pin {
	uint64_t arena; /* its id */
	uint64_t addr, end;
};

#define BYTES_MAX ((size_t)64 << 20) /* two million pieces and more */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	struct pin *v; /* N1 */
	size_t len, bytes;
} pins;

/* --- the list ------------------------------------------------------------------ */

/* The first piece that ends above @addr. */
static size_t find(uint64_t addr)
{
	size_t low = 0, high = pins.len, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (pins.v[mid].end > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* Room for two pieces more, so that no change fails half-way. */
static int make_room(void)
{
	size_t bytes = pins.bytes ? 2 * pins.bytes : 16 * ferry__page_size;
	void *mem;

	if ((pins.len + 2) * sizeof(*pins.v) <= pins.bytes)
		return 0;
	if (bytes > BYTES_MAX)
		return -ENOSPC;
	if (ferry__meta_alloc(bytes, &mem) < 0)
		return -ENOMEM;
	if (pins.len)
		memcpy(mem, pins.v, pins.len * sizeof(*pins.v));
	ferry__meta_free(pins.v, pins.bytes);
	pins.v = mem;
	pins.bytes = bytes;
	return 0;
}

static void remove_at(size_t i)
{
	memmove(&pins.v[i], &pins.v[i + 1], (--pins.len - i) * sizeof(*pins.v));
}

static void insert_at(size_t i, struct pin pin)
{
	memmove(&pins.v[i + 1], &pins.v[i], (pins.len++ - i) * sizeof(*pins.v));
	pins.v[i] = pin;
}

/* Drops pieces at or in [@addr, @end) that are not of @arena: N2. */
static void drop_stale(uint64_t addr, uint64_t end, uint64_t arena)
{
	size_t i = find(addr);

	while (i < pins.len && pins.v[i].addr < end) {
		if (pins.v[i].arena == arena)
			i++;
		else
			remove_at(i);
	}
}

/* Adds a piece that overlaps none, merged with its neighbours. */
static void add(struct pin pin)
{
	size_t i = find(pin.addr);

	if (i < pins.len && pins.v[i].addr == pin.end &&
	    pins.v[i].arena == pin.arena) {
		pin.end = pins.v[i].end;
		remove_at(i);
	}
	if (i && pins.v[i - 1].end == pin.addr &&
	    pins.v[i - 1].arena == pin.arena) {
		pins.v[i - 1].end = pin.end;
		return;
	}
	insert_at(i, pin);
}

/* Cuts [@addr, @end), which lies in piece @i, out of it. */
static void cut(size_t i, uint64_t addr, uint64_t end)
{
	struct pin old = pins.v[i];

	remove_at(i);
	if (end < old.end)
		insert_at(i, (struct pin){ old.arena, end, old.end });
	if (old.addr < addr)
		insert_at(i, (struct pin){ old.arena, old.addr, addr });
}

/* --- pinning ---------------------------------------------------------------------- */

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The piece of [@addr, @end) that has no pin of ours yet; false: none. */
static bool next_gap(uint64_t addr, uint64_t end, struct pin *ret)
{
	size_t i = find(addr);

	while (i < pins.len && pins.v[i].addr <= addr) {
		addr = pins.v[i].end;
		i++;
	}
	if (addr >= end)
		return false;
	ret->addr = addr;
	ret->end = i < pins.len ? least(end, pins.v[i].addr) : end;
	return true;
}

static int pin_locked(struct ferry_arena *arena, uint64_t addr, uint64_t end,
		      struct ferry_agent_status *status)
{
	struct pin gap = { .arena = arena->id };
	int r;

	drop_stale(addr, end, arena->id);
	while (next_gap(addr, end, &gap)) {
		r = make_room();
		if (r == 0)
			r = ferry_arena_pin(arena,
					    gap.addr - (uintptr_t)arena->base,
					    gap.end - gap.addr);
		if (r < 0) {
			status->left += end - addr;
			return r;
		}
		add(gap);
		status->done += gap.end - addr;
		addr = gap.end;
	}
	status->done += end - addr;
	return 0;
}

int ferry__agent_pin(const struct ferry__agent_job *job,
		     const struct ferry__target *t,
		     struct ferry_agent_status *status)
{
	uint64_t addr = (uintptr_t)t->arena->base + t->offset;
	void *arg;
	int r;

	(void)job;
	/* A heap has pins of its own, by object: root.h. */
	if (ferry__arena_owner(t->arena, &arg))
		return -EOPNOTSUPP;
	pthread_mutex_lock(&lock);
	r = pin_locked(t->arena, addr, addr + t->len, status);
	pthread_mutex_unlock(&lock);
	return r;
}

/*
 * Takes the pins of [@addr, @end) away. Where the program has by mistake taken
 * some of them before, those of the other pages still go: page by page then.
 */
static int unpin_range(struct ferry_arena *arena, uint64_t addr, uint64_t end)
{
	size_t offset = addr - (uintptr_t)arena->base;
	int r = ferry_arena_unpin(arena, offset, end - addr);

	if (r != -ENOENT)
		return r;
	for (; addr < end; addr += ferry__page_size) {
		ferry_arena_unpin(arena, offset, ferry__page_size);
		offset += ferry__page_size;
	}
	return 0;
}

static int unpin_locked(struct ferry_arena *arena, uint64_t addr, uint64_t end,
			struct ferry_agent_status *status)
{
	uint64_t from, to;
	size_t i;
	int r;

	drop_stale(addr, end, arena->id);
	for (;;) {
		i = find(addr);
		if (i == pins.len || pins.v[i].addr >= end)
			return 0;
		r = make_room();
		if (r < 0)
			return r;
		from = pins.v[i].addr > addr ? pins.v[i].addr : addr;
		to = least(pins.v[i].end, end);
		r = unpin_range(arena, from, to);
		if (r < 0)
			return r;
		cut(i, from, to);
		status->done += to - from;
		addr = to;
	}
}

int ferry__agent_unpin(const struct ferry__agent_job *job,
		       const struct ferry__target *t,
		       struct ferry_agent_status *status)
{
	uint64_t addr = (uintptr_t)t->arena->base + t->offset;
	int r;

	(void)job;
	pthread_mutex_lock(&lock);
	r = unpin_locked(t->arena, addr, addr + t->len, status);
	pthread_mutex_unlock(&lock);
	return r;
}

/* --- the end, and children ----------------------------------------------------------- */

static void unpin_piece(const struct pin *pin)
{
	struct ferry_arena *arena = ferry__arena_hold_at(pin->addr);

	if (!arena)
		return;
	if (arena->id == pin->arena)
		unpin_range(arena, pin->addr, pin->end);
	ferry__arena_let_go(arena);
}

static void end_locked(void)
{
	size_t i;

	for (i = 0; i < pins.len; i++)
		unpin_piece(&pins.v[i]);
	ferry__meta_free(pins.v, pins.bytes);
	pins.v = NULL;
	pins.len = pins.bytes = 0;
}

void ferry__agent_pins_end(void)
{
	pthread_mutex_lock(&lock);
	end_locked();
	pthread_mutex_unlock(&lock);
}

void ferry__agent_pins_fork_prepare(void)
{
	pthread_mutex_lock(&lock);
}

void ferry__agent_pins_fork_parent(void)
{
	pthread_mutex_unlock(&lock);
}

void ferry__agent_pins_fork_child(void)
{
	end_locked();
	pthread_mutex_unlock(&lock);
}
