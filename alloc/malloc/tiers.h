/* SPDX-License-Identifier: MIT */
/* The page stores that the configuration names. */
#ifndef FERRY_ALLOC_MALLOC_TIERS_H
#define FERRY_ALLOC_MALLOC_TIERS_H

#include "alloc/malloc/conf.h"
#include "alloc/malloc/engine.h"
#include "alloc/pager/pager.h"

/* How many ferry__tiers_create() may make. */
FERRY__HIDDEN size_t ferry__tiers_room(const struct ferry__conf *conf);

/*
 * Makes them, in order; where none is named, or none can be had, memory. One
 * that cannot be had is named on standard error and left out. Returns their
 * number. It may open files and connections.
 */
FERRY__HIDDEN size_t ferry__tiers_create(const struct ferry__conf *conf,
					 struct ferry__pager_tier *ret_tiers);

#endif
