/* SPDX-License-Identifier: MIT */
/* The page stores that the configuration names. */
#include "alloc/malloc/tiers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "uffd/sys.h"

/* A store that cannot be had is named, and the others are used. */
static void complain(const struct ferry__conf_tier *tier, int error)
{
	static const char *const kinds[] = { "memory", "file", "node",
					     "redis" };
	char line[512];
	int n = snprintf(line, sizeof(line),
			 "ferry-malloc: the store \"%s %.*s\" is not used: "
			 "%s\n",
			 kinds[tier->kind], (int)tier->where_len,
			 tier->where_len ? tier->where : "", strerror(-error));

	if (n > 0)
		ferry__sys->write(STDERR_FILENO, line,
				  (size_t)n < sizeof(line) ? (size_t)n
							   : sizeof(line) - 1);
}

/* How long a request may take, at a fault too, before it is asked again. */
#define REDIS_TIMEOUT_MS 1000

static int create_store(const struct ferry__conf_tier *tier, uint64_t limit,
			struct ferry__store **ret_store)
{
	char where[PATH_MAX];

	if (tier->kind == FERRY__CONF_MEMORY)
		return ferry__store_memory_create(tier->codec, limit,
						  ret_store);
	if (tier->kind == FERRY__CONF_NODE)
		return ferry__store_node_create((int)tier->node, limit,
						ret_store);
	memcpy(where, tier->where, tier->where_len);
	where[tier->where_len] = '\0';
	if (tier->kind == FERRY__CONF_FILE)
		return ferry__store_file_create(where, limit, ret_store);
	return ferry__store_redis_create(where, REDIS_TIMEOUT_MS, ret_store);
}

/* For all who name no store: what has been cold for long is made smaller. */
static const struct ferry__conf_tier usual[] = {
	{ .kind = FERRY__CONF_MEMORY, .codec = FERRY__CODEC_LZ4 },
	{ .kind = FERRY__CONF_MEMORY,
	  .codec = FERRY__CODEC_ZSTD,
	  .after_ns = UINT64_C(20000000000) },
};

static size_t create_all(const struct ferry__conf_tier *from, size_t n,
			 uint64_t limit, struct ferry__pager_tier *tiers)
{
	struct ferry__store *store;
	size_t i, made = 0;
	int r;

	for (i = 0; i < n; i++) {
		r = create_store(&from[i], limit, &store);
		if (r) {
			complain(&from[i], r);
			continue;
		}
		tiers[made++] = (struct ferry__pager_tier){
			.store = store, .after_ns = from[i].after_ns
		};
	}
	return made;
}

size_t ferry__tiers_room(const struct ferry__conf *conf)
{
	size_t n = sizeof(usual) / sizeof(*usual);

	return conf->n_tiers > n ? conf->n_tiers : n;
}

size_t ferry__tiers_create(const struct ferry__conf *conf,
			   struct ferry__pager_tier *ret_tiers)
{
	size_t n = create_all(conf->tiers, conf->n_tiers, conf->store_limit,
			      ret_tiers);

	if (n)
		return n;
	return create_all(usual, sizeof(usual) / sizeof(*usual),
			  conf->store_limit, ret_tiers);
}
