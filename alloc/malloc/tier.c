/* SPDX-License-Identifier: MIT */
/* From the stores that a configuration names to stores. */
#include "alloc/malloc/tier.h"

#include <errno.h>
#include <string.h>

const struct ferry__conf_tier ferry__tiers_usual[FERRY__TIERS_USUAL] = {
	{ .kind = FERRY__CONF_MEMORY, .codec = FERRY__CODEC_LZ4 },
	{ .kind = FERRY__CONF_MEMORY,
	  .codec = FERRY__CODEC_ZSTD,
	  .after_ns = UINT64_C(600000000000) },
};

int ferry__tier_create(const struct ferry__conf_tier *tier, uint64_t limit,
		       struct ferry__store **ret_store)
{
	char where[PATH_MAX];

	if (tier->kind == FERRY__CONF_MEMORY)
		return ferry__store_memory_create(tier->codec, limit,
						  ret_store);
	if (tier->kind == FERRY__CONF_FILE) {
		memcpy(where, tier->where, tier->where_len);
		where[tier->where_len] = '\0';
		return ferry__store_file_create(where, limit, ret_store);
	}
	return -EOPNOTSUPP;
}
