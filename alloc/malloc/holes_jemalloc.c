/* SPDX-License-Identifier: MIT */
/* The jemalloc that is linked, as holes.h asks for it. */
#include "alloc/malloc/engine.h"
#include "alloc/malloc/holes.h"

/* Private to jemalloc; another version may not have them. */
extern char je_arena_emap_global[] __attribute__((weak));
void *je_rtree_leaf_elm_lookup_hard(void *tsdn, void *rtree, void *context,
				    uintptr_t key, bool dependent,
				    bool init_missing) __attribute__((weak));

const struct ferry__holes_engine ferry__holes_jemalloc = {
	.mallctl = ferry__je_mallctl,
	.mallocx = ferry__je_mallocx,
	.dallocx = ferry__je_dallocx,
	.emap = je_arena_emap_global,
	.lookup = je_rtree_leaf_elm_lookup_hard,
};
