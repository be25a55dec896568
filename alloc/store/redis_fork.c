/* SPDX-License-Identifier: MIT */
/* What children of a fork share with the Redis store of their parent. */
#include "alloc/store/redis.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "alloc/store/map.h"
#include "alloc/store/redis_pool.h"
#include "uffd/sys.h"

static struct ferry__redis_store *of(struct ferry__store *base)
{
	return (struct ferry__redis_store *)base;
}

/* Random bits as far as they are to be had; process and time make it unique. */
void ferry__redis_new_prefix(struct ferry__redis_store *store)
{
	uint64_t salt = 0;

	ferry__sys->getrandom(&salt, sizeof(salt));
	snprintf(store->prefix, sizeof(store->prefix),
		 "ferry:%016llx%08x%012llx:", (unsigned long long)salt,
		 (unsigned int)ferry__sys->getpid(),
		 (unsigned long long)(ferry__sys->now_ns() & 0xffffffffffff));
}

void ferry__redis_locks_init(struct ferry__redis_store *store)
{
	pthread_mutex_init(&store->out.lock, NULL);
	pthread_mutex_init(&store->in.lock, NULL);
}

int ferry__redis_fork_init(struct ferry__redis_store *store)
{
	void *mem;
	int r;

	r = ferry__store_map(sizeof(*store->spare), &mem);
	if (r < 0)
		return r;
	r = ferry__generations_start(&store->generations);
	if (r < 0) {
		ferry__store_unmap(mem, sizeof(*store->spare));
		return r;
	}
	store->spare = mem;
	return 0;
}

void ferry__redis_fork_fini(struct ferry__redis_store *store)
{
	struct ferry__redis_part *part;

	ferry__generations_fini(&store->generations);
	ferry__store_unmap(store->spare, sizeof(*store->spare));
	store->spare = NULL;
	while (store->parts) {
		part = store->parts;
		store->parts = part->next;
		ferry__generation_page_free(part->page);
		ferry__store_unmap(part, sizeof(*part));
	}
}

struct ferry__redis_part *
ferry__redis_part_of(const struct ferry__redis_store *store, uint64_t i)
{
	struct ferry__redis_part *part = store->parts;

	while (part && (i < part->first || i >= part->end))
		part = part->next;
	return part;
}

void ferry__redis_part_drop(struct ferry__redis_part *part)
{
	void *page;

	ferry__check(part);
	page = part->page;
	/* RS1: acq_rel: the last comes after what others did with theirs. */
	if (__atomic_sub_fetch(&part->live, 1, __ATOMIC_ACQ_REL))
		return;
	part->page = NULL;
	ferry__generation_page_free(page);
}

void ferry__redis_fork_prepare(struct ferry__store *base)
{
	ferry__gate_close(&of(base)->calls);
}

void ferry__redis_fork_parent(struct ferry__store *base)
{
	struct ferry__redis_store *store = of(base);

	if (store->live)
		ferry__generations_forked(&store->generations);
	ferry__gate_open(&store->calls);
}

/* The parent's keys become a part that is read only. */
static void inherit(struct ferry__redis_store *store, void *page)
{
	struct ferry__redis_part *part = store->spare;

	*part = (struct ferry__redis_part){
		.next = store->parts,
		.first = store->slots.first,
		.end = store->slots.n,
		.live = store->live,
		.page = page,
	};
	memcpy(part->prefix, store->prefix, sizeof(part->prefix));
	store->parts = part;
	store->spare = NULL;
}

static void inherit_nothing(struct ferry__redis_store *store, void *page)
{
	ferry__generation_page_free(page);
	ferry__store_unmap(store->spare, sizeof(*store->spare));
	store->spare = NULL;
}

void ferry__redis_fork_child(struct ferry__store *base)
{
	struct ferry__redis_store *store = of(base);
	void *page = ferry__generations_inherit(&store->generations);

	(store->live ? inherit : inherit_nothing)(store, page);
	ferry__redis_pool_fork_child();
	ferry__redis_link_forget(&store->out.link);
	ferry__redis_link_forget(&store->in.link);
	ferry__coder_fork_child(&store->coder);
	ferry__slots_close(&store->slots);
	ferry__redis_new_prefix(store);
	store->fresh = true;
	store->stopped = false;
	store->dropped = 0;
	store->renewed = 0;
	store->live = 0;
	store->stored = 0;
	/* Threads that had them are not here. */
	ferry__redis_locks_init(store);
	ferry__gate_fork_child(&store->calls);
}
