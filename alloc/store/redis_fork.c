/* SPDX-License-Identifier: MIT */
/* What children of a fork share with the Redis store of their parent. */
#include "alloc/store/redis.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "alloc/store/redis_pool.h"
#include "uffd/sys.h"

#define PART_SIZE sizeof(struct ferry__redis_part)

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
	return ferry__parts_start(&store->parts, PART_SIZE);
}

void ferry__redis_fork_fini(struct ferry__redis_store *store)
{
	ferry__parts_stop(&store->parts, PART_SIZE);
	ferry__parts_free(&store->parts, PART_SIZE);
}

void ferry__redis_fork_leave(struct ferry__redis_store *store)
{
	ferry__parts_leave(&store->parts, PART_SIZE);
}

const char *
ferry__redis_inherited_prefix(const struct ferry__redis_store *store,
			      uint64_t i)
{
	const struct ferry__part *part = ferry__parts_find(&store->parts, i);

	return part && __atomic_load_n(&part->live, __ATOMIC_RELAXED)
		       ? ((const struct ferry__redis_part *)part)->prefix
		       : NULL;
}

void ferry__redis_fork_prepare(struct ferry__store *base)
{
	ferry__gate_close(&of(base)->calls);
}

void ferry__redis_fork_parent(struct ferry__store *base)
{
	struct ferry__redis_store *store = of(base);

	if (store->live)
		ferry__generations_forked(&store->parts.generations);
	ferry__gate_open(&store->calls);
}

/* The parent's keys become a part that is read only. */
static void inherit(struct ferry__redis_store *store)
{
	struct ferry__redis_part *part =
		(struct ferry__redis_part *)ferry__parts_inherit(
			&store->parts, PART_SIZE, &store->slots, store->live);

	if (part)
		memcpy(part->prefix, store->prefix, sizeof(part->prefix));
}

void ferry__redis_fork_child(struct ferry__store *base)
{
	struct ferry__redis_store *store = of(base);

	inherit(store);
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
