/* SPDX-License-Identifier: MIT */
/*
 * From a configuration to a pager: its parameters, and the page stores that
 * it names. The host's malloc and allocator instances have one each.
 */
#ifndef FERRY_ALLOC_MALLOC_TIERS_H
#define FERRY_ALLOC_MALLOC_TIERS_H

#include "alloc/malloc/conf.h"
#include "alloc/malloc/engine.h"
#include "alloc/malloc/holes.h"
#include "alloc/pager/pager.h"

/* What callbacks of the pager get as .arg; a host's own may begin with it. */
struct ferry__tiers {
	const struct ferry__conf *conf; /* its string too stays */
	struct ferry__holes *holes;
	size_t room;			/* of .made; known from the start */
	struct ferry__pager_tier *made; /* the stores, ours; mapped */
	int *errors; /* of each store that is named; 0: it is used */
	struct ferry_topology *topology; /* NULL: no slower memory is used */
	size_t n, size;
	/* E1: the stores were made, or not; release, acquire. */
	bool opened;
};

/* Opens nothing yet. Returns 0 or -ENOMEM. */
FERRY__HIDDEN int ferry__tiers_init(struct ferry__tiers *tiers,
				    const struct ferry__conf *conf,
				    struct ferry__holes *holes);

/* Frees the stores as well; the pager is gone. */
FERRY__HIDDEN void ferry__tiers_fini(struct ferry__tiers *tiers);

/*
 * What the configuration says, but for .tick. The pager makes the stores when
 * it starts; where none is named, or none can be had, they are memory. One
 * that cannot be had is left out.
 */
FERRY__HIDDEN void ferry__tiers_params(struct ferry__tiers *tiers,
				       struct ferry__pager_params *ret);

/*
 * Can the stores be had that are named? Makes each and frees it again, here
 * and now. Returns 0 or the error of the first that cannot.
 */
FERRY__HIDDEN int ferry__tiers_try(const struct ferry__conf *conf);

/* The error of the first store that is not used; 0: none, or not tried yet. */
FERRY__HIDDEN int ferry__tiers_error(const struct ferry__tiers *tiers);

/* Names those that are not used on standard error. */
FERRY__HIDDEN void ferry__tiers_complain(const struct ferry__tiers *tiers);

#endif
