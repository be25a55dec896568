/* SPDX-License-Identifier: MIT */
/*
 * Manual arenas: how they are made, the hooks that only say yes or no, and
 * the options of the engine that has them.
 */
#include "alloc/malloc/hooks.h"

#include <errno.h>
#include <stdio.h>

/*
 * One automatic arena, which has what the engine and we need: blocks are in
 * manual ones. Address space is kept and no slack added to large blocks
 * (pages are what moves); what is freed is purged in time, large pieces too
 * (see tune()).
 */
FERRY__HIDDEN extern const char *ferry__je_malloc_conf;
const char *ferry__je_malloc_conf =
	"narenas:1,retain:true,tcache_max:32768,"
	"dirty_decay_ms:10000,muzzy_decay_ms:0,abort_conf:false,"
	"dss:disabled,trust_madvise:true";

/* What jemalloc reads in experimental.arenas_create_ext. */
struct create {
	struct ferry__hooks *hooks;
	bool metadata_use_hooks;
};

int ferry__arena_call(unsigned int number, const char *what, void *value,
		      size_t len)
{
	char name[64];

	snprintf(name, sizeof(name), "arena.%u.%s", number, what);
	return -ferry__je_mallctl(name, NULL, NULL, value, len);
}

/*
 * Pieces of 8 MiB and more are purged by decay as all others: purged at once
 * they would be faulted in anew by the next user (DESIGN E6).
 */
static int tune(unsigned int number)
{
	size_t never = SIZE_MAX;

	return ferry__arena_call(number, "oversize_threshold", &never,
				 sizeof(never));
}

int ferry__arena_create(struct ferry__hooks *hooks, unsigned int *ret_number)
{
	struct create create = { .hooks = hooks };
	size_t len = sizeof(*ret_number);
	int r;

	r = -ferry__je_mallctl("experimental.arenas_create_ext", ret_number,
			       &len, &create, sizeof(create));
	if (r)
		return r;
	r = tune(*ret_number);
	if (r)
		ferry__arena_call(*ret_number, "destroy", NULL, 0);
	return r;
}

/* Address space is kept: the arena purges the range and uses it again. */
bool ferry__hook_dalloc(struct ferry__hooks *hooks, void *addr, size_t size,
			bool committed, unsigned int arena)
{
	(void)hooks;
	(void)addr;
	(void)size;
	(void)committed;
	(void)arena;
	return true;
}

bool ferry__hook_split(struct ferry__hooks *hooks, void *addr, size_t size,
		       size_t size_a, size_t size_b, bool committed,
		       unsigned int arena)
{
	(void)hooks;
	(void)addr;
	(void)size;
	(void)size_a;
	(void)size_b;
	(void)committed;
	(void)arena;
	return false;
}

bool ferry__hook_merge_in(struct ferry__space *first, const void *addr_a,
			  const void *addr_b)
{
	return ferry__spaces_of(first, addr_a) !=
	       ferry__spaces_of(first, addr_b);
}
