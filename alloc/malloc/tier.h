/* SPDX-License-Identifier: MIT */
/* The stores that a configuration names. */
#ifndef FERRY_ALLOC_MALLOC_TIER_H
#define FERRY_ALLOC_MALLOC_TIER_H

#include "alloc/malloc/conf.h"

/*
 * For all who name no store: what has been cold for long is made smaller.
 * Two of them.
 */
#define FERRY__TIERS_USUAL 2
extern const struct ferry__conf_tier ferry__tiers_usual[FERRY__TIERS_USUAL]
	__attribute__((visibility("hidden")));

/*
 * Makes the store of @tier with at most @limit bytes. Returns 0 or the error
 * of the store's own function; -EOPNOTSUPP: there is no such kind.
 */
int ferry__tier_create(const struct ferry__conf_tier *tier, uint64_t limit,
		       struct ferry__store **ret_store);

#endif
