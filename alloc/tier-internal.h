/* SPDX-License-Identifier: MIT */
/* What the files about tiers share. */
#ifndef FERRY_ALLOC_TIER_INTERNAL_H
#define FERRY_ALLOC_TIER_INTERNAL_H

#include <ferry/tier.h>

#include "uffd/tier.h"

/* Checks the size of what a caller wants filled; NULL is allowed. */
int ferry__tier_result_check(const struct ferry_tier_result *ret_result);

/* Fills it, as far as its size goes. */
void ferry__tier_result_fill(struct ferry_tier_result *ret_result,
			     const struct ferry__tier_counts *counts);

#endif
