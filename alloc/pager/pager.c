/* SPDX-License-Identifier: MIT */
/* The pager: its life and its numbers. */
#include <string.h>
#include <sys/mman.h>

#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"
#include "uffd/fault.h"
#include "uffd/signal.h"

/* --- creation ------------------------------------------------------------ */

static int check(const struct ferry__pager_params *params)
{
	size_t i;

	if (params->n_tiers > FERRY__MAX_TIERS ||
	    (params->n_tiers && !params->tiers && !params->open_tiers) ||
	    (unsigned int)params->service > FERRY__PAGER_SIGBUS)
		return -EINVAL;
	for (i = 0; i < params->n_tiers && !params->open_tiers; i++)
		if (!params->tiers[i].store)
			return -EINVAL;
	return 0;
}

static size_t tiers_size(size_t n)
{
	return (n ? n : 1) * sizeof(struct ferry__pager_tier_state);
}

void ferry__pager_init_locks(struct ferry__pager *pager)
{
	pthread_mutex_init(&pager->start, NULL);
	pthread_mutex_init(&pager->work, NULL);
	pthread_mutex_init(&pager->serve, NULL);
	pthread_mutex_init(&pager->gate, NULL);
	pthread_mutex_init(&pager->cover, NULL);
}

void ferry__pager_set_tiers(struct ferry__pager *pager,
			    const struct ferry__pager_tier *tiers, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		pager->tiers[i].store = tiers[i].store;
		pager->tiers[i].after_ns = tiers[i].after_ns;
	}
	__atomic_store_n(&pager->n_tiers, n, __ATOMIC_RELEASE); /* T2 */
}

static void set_up(struct ferry__pager *pager,
		   const struct ferry__pager_params *params)
{
	pager->params = *params;
	pager->params.tiers = NULL;
	if (!pager->params.around)
		pager->params.around = 1;
	if (pager->params.around > FERRY__BLOCK_PAGES)
		pager->params.around = FERRY__BLOCK_PAGES;
	if (!params->open_tiers)
		ferry__pager_set_tiers(pager, params->tiers, params->n_tiers);
	pager->last = &pager->regions;
	ferry__pager_init_locks(pager);
	pager->look.gate = &pager->gate;
	pager->reading.try_gate = &pager->gate;
}

void ferry__pager_init(void)
{
	ferry__fault_own_table();
	ferry__signal_watch_forks();
}

int ferry__pager_create(const struct ferry__pager_params *params,
			struct ferry__pager **ret_pager)
{
	struct ferry__pager *pager;
	int r = check(params);

	if (r)
		return r;
	ferry__pager_init();
	pager = ferry__pager_map(sizeof(*pager));
	if (!pager)
		return -ENOMEM;
	pager->tiers = ferry__pager_map(tiers_size(params->n_tiers));
	if (!pager->tiers) {
		ferry__pager_unmap(pager, sizeof(*pager));
		return -ENOMEM;
	}
	set_up(pager, params);
	*ret_pager = pager;
	return 0;
}

int ferry__pager_restore_all(struct ferry__pager *pager)
{
	int r;

	FERRY__PROBE2(restore, ferry__pager_read(&pager->limbo),
		      ferry__pager_read(&pager->stored));
	__atomic_fetch_add(&pager->held, 1, __ATOMIC_SEQ_CST); /* H1, B2 */
	r = ferry__pager_ask(pager, FERRY__ASK_BACK, 0, 0);
	FERRY__PROBE1(restored, r);
	return r;
}

void ferry__pager_resume(struct ferry__pager *pager)
{
	__atomic_fetch_sub(&pager->held, 1, __ATOMIC_RELAXED); /* H1 */
	FERRY__PROBE0(resumed);
	ferry__pager_poke(pager);
}

void ferry__pager_destroy(struct ferry__pager *pager)
{
	const size_t size = FERRY__BLOCK_PAGES * ferry__page_size;
	int r;

	if (!pager)
		return;
	/* What cannot be had now would read as zeroes. */
	r = ferry__pager_stop(pager);
	if (r)
		ferry__pager_lost(pager, 0, 0, r);
	ferry__region_free_all(pager);
	ferry__sigbus_free(pager);
	ferry__pager_unmap(pager->look.staging, size);
	ferry__pager_unmap(pager->serving.staging, size);
	ferry__pager_unmap(pager->reading.staging, size);
	ferry__pager_unmap(pager->copies, size);
	ferry__pager_unmap(pager->bell, ferry__page_size);
	ferry__pager_unmap(pager->tiers, tiers_size(pager->params.n_tiers));
	ferry__pager_unmap(pager, sizeof(*pager));
}

/* --- statistics ---------------------------------------------------------- */

/* Those that there are by now. */
static size_t count_tiers(const struct ferry__pager *pager)
{
	return __atomic_load_n(&pager->n_tiers, __ATOMIC_ACQUIRE); /* T2 */
}

/* Without a descriptor: any thread of the program may ask. */
static uint64_t resident(uintptr_t addr, size_t len)
{
	unsigned char vec[1024];
	uint64_t sum = 0;
	size_t n, i, piece;

	for (; len; addr += piece, len -= piece) {
		n = len / ferry__page_size;
		if (n > sizeof(vec))
			n = sizeof(vec);
		piece = n * ferry__page_size;
		if (!n || ferry__sys->mincore((void *)addr, piece, vec))
			break;
		for (i = 0; i < n; i++)
			sum += vec[i] & 1;
	}
	return sum * ferry__page_size;
}

static void add_regions(struct ferry__pager *pager,
			struct ferry__pager_stats *ret)
{
	struct ferry__pager_region *r = ferry__region_first(pager);
	size_t used;

	for (; r; r = ferry__region_next(r)) {
		used = __atomic_load_n(&r->used, __ATOMIC_RELAXED);
		ret->in_use += used;
		ret->resident += resident(r->addr, used);
	}
	ret->limbo = ferry__pager_read(&pager->limbo) * ferry__page_size;
	ret->stored = ferry__pager_read(&pager->stored) * ferry__page_size;
	ret->resident += ret->limbo;
}

static void add_stores(struct ferry__pager *pager,
		       struct ferry__pager_stats *ret)
{
	struct ferry__store_stats stats;
	size_t i, n = count_tiers(pager);

	for (i = 0; i < n; i++) {
		memset(&stats, 0, sizeof(stats));
		pager->tiers[i].store->ops->stats(pager->tiers[i].store,
						  &stats);
		ret->store_memory += stats.memory;
		ret->store_elsewhere += stats.elsewhere;
	}
}

void ferry__pager_stats(struct ferry__pager *pager,
			struct ferry__pager_stats *ret)
{
	const struct ferry__pager_counts *c = &pager->counts;
	uint32_t state = ferry__pager_state(pager);

	memset(ret, 0, sizeof(*ret));
	ret->running = state == FERRY__PAGER_ON;
	/* S1: until it has failed, the home thread may be changing it. */
	ret->reason = state == FERRY__PAGER_FAILED ? pager->reason
						   : FERRY_REASON_NONE;
	ret->raw_forks = ret->running && pager->sees_forks;
	add_regions(pager, ret);
	add_stores(pager, ret);
	ret->faults_limbo = ferry__pager_read(&c->faults_limbo);
	ret->faults_stored = ferry__pager_read(&c->faults_stored);
	ret->faults_empty = ferry__pager_read(&c->faults_empty);
	ret->refaults = ferry__pager_read(&c->refaults);
	ret->pages_out = ferry__pager_read(&c->pages_out);
	ret->pages_back = ferry__pager_read(&c->pages_back);
	ret->pages_dropped = ferry__pager_read(&c->pages_dropped);
	ret->busy = ferry__pager_read(&c->busy);
	ret->copied = ferry__pager_read(&c->copied);
	ret->stalled_ns = ferry__pager_read(&c->stalled_ns);
	ret->backed_off = ferry__pager_read(&c->backed_off);
	ret->read_ahead = ferry__pager_read(&c->read_ahead);
	ret->read_ahead_used = ferry__pager_read(&c->read_ahead_used);
	ret->age_ns = ferry__pager_read(&pager->policy.age_ns);
	ret->demoted = ferry__pager_read(&c->demoted);
	ret->promoted = ferry__pager_read(&c->promoted);
	ret->slow_error = __atomic_load_n(&pager->slow_error, __ATOMIC_RELAXED);
}

bool ferry__pager_tier_stats(struct ferry__pager *pager, size_t i,
			     const char **ret_name,
			     struct ferry__store_stats *ret)
{
	struct ferry__store *store;

	if (i >= count_tiers(pager))
		return false;
	store = pager->tiers[i].store;
	*ret_name = store->ops->name;
	memset(ret, 0, sizeof(*ret));
	store->ops->stats(store, ret);
	return true;
}
