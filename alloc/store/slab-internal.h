/* SPDX-License-Identifier: MIT */
/* What the two halves of the slab allocator share; under the owner's lock. */
#ifndef FERRY_ALLOC_STORE_SLAB_INTERNAL_H
#define FERRY_ALLOC_STORE_SLAB_INTERNAL_H

#include "alloc/store/slab.h"

struct ferry__slab *ferry__slab_info(const struct ferry__slabs *slabs,
				     uint32_t i);

/* Places that are taken; others may free some meanwhile. */
uint32_t ferry__slab_used(const struct ferry__slabs *slabs,
			  const struct ferry__slab *slab);

/* Puts slab @i with @used objects into the group of its class. */
void ferry__slab_list(struct ferry__slabs *slabs, uint32_t i, uint32_t used);

/* Takes the first slab out of @list; it is in no list then. */
uint32_t ferry__slab_pop(struct ferry__slabs *slabs, uint32_t *list);

/* Lists those slabs again that were full and have room now. */
void ferry__slab_notice(struct ferry__slabs *slabs);

/* As ferry__slabs_take() where no slab is opened; -ENOENT: no place. */
int ferry__slab_take_listed(struct ferry__slabs *slabs,
			    struct ferry__slab_class *class, uint64_t room,
			    ferry__place *ret_place);

/* Makes all its places free. */
void ferry__slab_clear(struct ferry__slabs *slabs, struct ferry__slab *slab);

#endif
