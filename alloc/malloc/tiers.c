/* SPDX-License-Identifier: MIT */
/* From a configuration to a pager; see tiers.h. */
#include "alloc/malloc/tiers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "alloc/store/map.h"
#include "uffd/sys.h"

/* For all who name no store: what has been cold for long is made smaller. */
static const struct ferry__conf_tier usual[] = {
	{ .kind = FERRY__CONF_MEMORY, .codec = FERRY__CODEC_LZ4 },
	{ .kind = FERRY__CONF_MEMORY,
	  .codec = FERRY__CODEC_ZSTD,
	  .after_ns = UINT64_C(20000000000) },
};

#define USUAL (sizeof(usual) / sizeof(usual[0]))

/* --- stores --------------------------------------------------------------- */

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
	return ferry__store_redis_create(where, REDIS_TIMEOUT_MS, limit,
					 ret_store);
}

/* Memory of more than one class, or -EOPNOTSUPP. */
static int open_topology(struct ferry_topology **ret_topology)
{
	struct ferry_topology *topology;
	int r = ferry_topology_get(NULL, &topology);

	if (r)
		return r;
	if (ferry_topology_tiers(topology) < 2) {
		ferry_topology_free(topology);
		return -EOPNOTSUPP;
	}
	*ret_topology = topology;
	return 0;
}

/* Named twice it is one. */
static int open_slow(struct ferry__tiers *tiers)
{
	return tiers->topology ? 0 : open_topology(&tiers->topology);
}

static int open_one(struct ferry__tiers *tiers,
		    const struct ferry__conf_tier *tier)
{
	struct ferry__pager_tier *made = &tiers->made[tiers->n];
	int r;

	if (tier->kind == FERRY__CONF_SLOW)
		return open_slow(tiers);
	r = create_store(tier, tiers->conf->store_limit, &made->store);
	if (r)
		return r;
	made->after_ns = tier->after_ns;
	tiers->n++;
	return 0;
}

/* Of the pager, in its thread. */
static size_t open_tiers(void *arg, struct ferry__pager_tier *ret_tiers)
{
	struct ferry__tiers *tiers = arg;
	const struct ferry__conf *conf = tiers->conf;
	size_t i;

	for (i = 0; i < conf->n_tiers; i++)
		tiers->errors[i] = open_one(tiers, &conf->tiers[i]);
	/* Who names no store gets what the machine has. */
	if (!conf->n_tiers)
		open_slow(tiers);
	if (!tiers->n)
		for (i = 0; i < USUAL; i++)
			open_one(tiers, &usual[i]);
	__atomic_store_n(&tiers->opened, true, __ATOMIC_RELEASE); /* E1 */
	memcpy(ret_tiers, tiers->made, tiers->n * sizeof(*ret_tiers));
	return tiers->n;
}

static int try_slow(void)
{
	struct ferry_topology *topology;
	int r = open_topology(&topology);

	if (!r)
		ferry_topology_free(topology);
	return r;
}

static int try_store(const struct ferry__conf *conf,
		     const struct ferry__conf_tier *tier)
{
	struct ferry__store *store;
	int r = create_store(tier, conf->store_limit, &store);

	if (!r)
		store->ops->destroy(store);
	return r;
}

int ferry__tiers_try(const struct ferry__conf *conf)
{
	const struct ferry__conf_tier *tier;
	size_t i;
	int r = 0;

	for (i = 0; !r && i < conf->n_tiers; i++) {
		tier = &conf->tiers[i];
		if (tier->kind == FERRY__CONF_SLOW)
			r = try_slow();
		else if (tier->kind != FERRY__CONF_MEMORY)
			r = try_store(conf, tier);
	}
	return r;
}

/* --- those that cannot be had --------------------------------------------- */

int ferry__tiers_error(const struct ferry__tiers *tiers)
{
	size_t i;

	if (!__atomic_load_n(&tiers->opened, __ATOMIC_ACQUIRE)) /* E1 */
		return 0;
	for (i = 0; i < tiers->conf->n_tiers; i++)
		if (tiers->errors[i])
			return tiers->errors[i];
	return 0;
}

static void complain(const struct ferry__conf_tier *tier, int error)
{
	static const char *const kinds[] = { "memory", "file", "node", "redis",
					     "slow" };
	const char *where = tier->where_len ? tier->where : "", *back;
	size_t len = tier->where_len, at = len, secret = 0;
	char line[PATH_MAX + 128];
	int n;

	if (tier->kind == FERRY__CONF_REDIS)
		ferry__conf_password(where, len, &at, &secret);
	back = where + at + secret;
	n = snprintf(line, sizeof(line),
		     "ferry-malloc: the store \"%s %.*s%s%.*s\" is not used: "
		     "%s\n",
		     kinds[tier->kind], (int)at, where, secret ? "***" : "",
		     (int)(len - at - secret), back, strerror(-error));

	if (n > 0)
		ferry__sys->write(STDERR_FILENO, line,
				  (size_t)n < sizeof(line) ? (size_t)n
							   : sizeof(line) - 1);
}

void ferry__tiers_complain(const struct ferry__tiers *tiers)
{
	size_t i;

	if (!__atomic_load_n(&tiers->opened, __ATOMIC_ACQUIRE)) /* E1 */
		return;
	for (i = 0; i < tiers->conf->n_tiers; i++)
		if (tiers->errors[i])
			complain(&tiers->conf->tiers[i], tiers->errors[i]);
}

/* --- parameters ----------------------------------------------------------- */

static const struct ferry_topology *topology(void *arg)
{
	const struct ferry__tiers *tiers = arg;

	return tiers->topology;
}

static void empty_pages(void *arg, uintptr_t addr, size_t len, uint64_t *ret)
{
	const struct ferry__tiers *tiers = arg;

	ferry__holes_empty_pages(tiers->holes, addr, len, ret);
}

static size_t scrub(void *arg, uintptr_t addr, void *copy)
{
	const struct ferry__tiers *tiers = arg;

	return ferry__holes_scrub(tiers->holes, addr, copy);
}

void ferry__tiers_params(struct ferry__tiers *tiers,
			 struct ferry__pager_params *ret)
{
	const struct ferry__conf *conf = tiers->conf;

	*ret = (struct ferry__pager_params){
		.service = conf->offload == FERRY__OFFLOAD_SIGBUS
				   ? FERRY__PAGER_SIGBUS
				   : FERRY__PAGER_THREAD,
		.cold_after_ns = conf->cold_after_ns,
		.idle_after_ns = conf->idle_after_ns,
		.rss_target = conf->rss_target,
		.pressure = conf->pressure,
		.rate = conf->rate,
		.refault_limit = conf->refault_limit < UINT_MAX
					 ? (unsigned int)conf->refault_limit
					 : UINT_MAX,
		.around = conf->around,
		.n_tiers = tiers->room,
		.open_tiers = open_tiers,
		.topology = topology,
		.slow_for_ns = conf->slow_for_ns,
		.arg = tiers,
	};
	if (ferry__holes_reason(tiers->holes))
		return;
	ret->empty_pages = empty_pages;
	ret->scrub = scrub;
}

int ferry__tiers_init(struct ferry__tiers *tiers,
		      const struct ferry__conf *conf,
		      struct ferry__holes *holes)
{
	size_t n = conf->n_tiers > USUAL ? conf->n_tiers : USUAL;
	void *base;
	int r;

	tiers->conf = conf;
	tiers->holes = holes;
	tiers->room = n;
	tiers->size = n * (sizeof(*tiers->made) + sizeof(*tiers->errors));
	r = ferry__store_map(tiers->size, &base);
	if (r)
		return -ENOMEM;
	tiers->made = base;
	tiers->errors = (int *)(tiers->made + n);
	return 0;
}

void ferry__tiers_fini(struct ferry__tiers *tiers)
{
	while (tiers->n--)
		tiers->made[tiers->n].store->ops->destroy(
			tiers->made[tiers->n].store);
	ferry_topology_free(tiers->topology);
	ferry__store_unmap(tiers->made, tiers->size);
	*tiers = (struct ferry__tiers){ 0 };
}
