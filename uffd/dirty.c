/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking: the interface, common to all providers. What each of them
 * does, and why no write escapes it, is at the top of dirty_*.c.
 */
#include "uffd/dirty.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "uffd/handle.h"
#include "uffd/sys.h"

/* In the order in which FERRY_DIRTY_ANY tries them. */
static const struct ferry__dirty_ops *const providers[FERRY_DIRTY_PROVIDERS] = {
	[FERRY_DIRTY_WP_ASYNC] = &ferry__dirty_wp_async,
	[FERRY_DIRTY_SOFT] = &ferry__dirty_soft,
	[FERRY_DIRTY_WP_SYNC] = &ferry__dirty_wp_sync,
	[FERRY_DIRTY_MPROTECT] = &ferry__dirty_mprotect,
};

const char *ferry_dirty_provider_name(enum ferry_dirty_provider provider)
{
	static const char *const names[FERRY_DIRTY_PROVIDERS] = {
		[FERRY_DIRTY_ANY] = "any",
		[FERRY_DIRTY_WP_ASYNC] = "wp-async",
		[FERRY_DIRTY_SOFT] = "soft-dirty",
		[FERRY_DIRTY_WP_SYNC] = "wp-sync",
		[FERRY_DIRTY_MPROTECT] = "mprotect",
	};

	return (unsigned int)provider < FERRY_DIRTY_PROVIDERS ? names[provider]
							      : "unknown";
}

static int open_provider(struct ferry_dirty *dirty,
			 enum ferry_dirty_provider provider,
			 enum ferry_reason *reason)
{
	*reason = FERRY_REASON_NOT_SUPPORTED;
	if (!providers[provider])
		return -EOPNOTSUPP;
	dirty->ops = providers[provider];
	dirty->provider = provider;
	return dirty->ops->open(dirty, reason);
}

static int open_first(struct ferry_dirty *dirty,
		      enum ferry_dirty_provider wanted,
		      enum ferry_reason *reason)
{
	enum ferry_dirty_provider provider;
	int r = -EOPNOTSUPP;

	if (wanted != FERRY_DIRTY_ANY)
		return open_provider(dirty, wanted, reason);
	for (provider = FERRY_DIRTY_WP_ASYNC; provider < FERRY_DIRTY_PROVIDERS;
	     provider++) {
		r = open_provider(dirty, provider, reason);
		if (!r)
			break;
	}
	return r;
}

static int read_params(const struct ferry_dirty_params *params,
		       struct ferry_dirty_params *p)
{
	int r;

	memset(p, 0, sizeof(*p));
	if (!params)
		return 0;
	r = ferry__params_copy(p, sizeof(*p), params, sizeof(params->size));
	if (r)
		return r;
	return (unsigned int)p->provider < FERRY_DIRTY_PROVIDERS ? 0 : -EINVAL;
}

static int create(enum ferry_dirty_provider provider, enum ferry_reason *reason,
		  struct ferry_dirty **ret_dirty)
{
	struct ferry_dirty *dirty;
	void *p;
	int r;

	*reason = FERRY_REASON_NO_MEMORY;
	r = ferry__dirty_alloc(sizeof(*dirty), &p);
	if (r)
		return r;
	dirty = p;
	dirty->pid = ferry__sys->getpid();
	dirty->pagemap = dirty->clear_refs = dirty->stop = -1;
	pthread_rwlock_init(&dirty->lock, NULL);
	pthread_mutex_init(&dirty->harvest, NULL);
	r = open_first(dirty, provider, reason);
	if (r) {
		ferry__dirty_free(dirty, sizeof(*dirty));
		return r;
	}
	*ret_dirty = dirty;
	return 0;
}

int ferry_dirty_open(const struct ferry_dirty_params *params,
		     enum ferry_reason *ret_reason,
		     struct ferry_dirty **ret_dirty)
{
	enum ferry_reason reason = FERRY_REASON_BAD_FLAGS;
	struct ferry_dirty_params p;
	int r;

	r = read_params(params, &p);
	if (!r)
		r = create(p.provider, &reason, ret_dirty);
	if (ret_reason)
		*ret_reason = r ? reason : FERRY_REASON_NONE;
	return r;
}

static bool is_foreign(const struct ferry_dirty *dirty)
{
	return dirty->pid != ferry__sys->getpid();
}

static void range_free(struct ferry__dirty_range *range)
{
	ferry__dirty_free(range, range->mapped);
}

/* In a child of fork the kernel has ended what was registered; protection by
 * mprotect is the child's own, and goes here. */
static void disarm_all(struct ferry_dirty *dirty)
{
	size_t i;

	if (!dirty->set)
		return;
	for (i = 0; i < dirty->set->n; i++) {
		dirty->ops->disarm(dirty, dirty->set->at[i]);
		range_free(dirty->set->at[i]);
	}
	ferry__dirty_set_free(dirty->set);
}

void ferry_dirty_close(struct ferry_dirty *dirty)
{
	if (!dirty)
		return;
	disarm_all(dirty);
	dirty->ops->close(dirty);
	pthread_rwlock_destroy(&dirty->lock);
	pthread_mutex_destroy(&dirty->harvest);
	ferry__dirty_free(dirty, sizeof(*dirty));
}

enum ferry_dirty_provider ferry_dirty_provider(const struct ferry_dirty *dirty)
{
	return dirty->provider;
}

static int range_alloc(const struct ferry_dirty *dirty, uintptr_t start,
		       size_t len, struct ferry__dirty_range **ret_range)
{
	size_t words = dirty->ops->has_bits ? (len / ferry__page_size + 63) / 64
					    : 0;
	size_t size = sizeof(struct ferry__dirty_range) + words * 8;
	struct ferry__dirty_range *range;
	void *p;
	int r;

	r = ferry__dirty_alloc(size, &p);
	if (r)
		return r;
	range = p;
	range->start = start;
	range->end = start + len;
	range->mapped = size;
	range->bits.words = words;
	*ret_range = range;
	return 0;
}

/* Adds the range to the set, then starts the tracking; undoes both or none. */
static int arm(struct ferry_dirty *dirty, struct ferry__dirty_range *range,
	       enum ferry_reason *reason)
{
	struct ferry__dirty_set *set, *old = dirty->set;
	int r;

	r = ferry__dirty_set_with(old, range, &set);
	if (r) {
		*reason = FERRY_REASON_NO_MEMORY;
		return r;
	}
	dirty->set = set;
	r = dirty->ops->arm(dirty, range, reason);
	if (r) {
		dirty->set = old;
		old = set;
	}
	ferry__dirty_set_free(old);
	return r;
}

static bool overlaps(const struct ferry_dirty *dirty, uintptr_t start,
		     uintptr_t end)
{
	const struct ferry__dirty_range *range =
		ferry__dirty_set_find(dirty->set, start);

	return range && range->start < end;
}

static int arm_locked(struct ferry_dirty *dirty, uintptr_t start, size_t len,
		      enum ferry_reason *reason)
{
	struct ferry__dirty_range *range;
	int r;

	*reason = FERRY_REASON_NONE;
	if (overlaps(dirty, start, start + len))
		return -EEXIST;
	*reason = FERRY_REASON_NO_MEMORY;
	r = range_alloc(dirty, start, len, &range);
	if (r)
		return r;
	*reason = FERRY_REASON_NONE;
	r = arm(dirty, range, reason);
	if (r)
		range_free(range);
	return r;
}

static int check_arm(const struct ferry_dirty *dirty, const void *addr,
		     size_t len, enum ferry_reason *reason)
{
	*reason = ferry__range_reason(addr, len);
	if (*reason)
		return -EINVAL;
	if (!is_foreign(dirty))
		return 0;
	*reason = FERRY_REASON_FOREIGN_PROCESS;
	return -ECHILD;
}

int ferry_dirty_arm(struct ferry_dirty *dirty, void *addr, size_t len,
		    enum ferry_reason *ret_reason)
{
	enum ferry_reason reason;
	int r;

	r = check_arm(dirty, addr, len, &reason);
	if (!r) {
		pthread_rwlock_wrlock(&dirty->lock);
		r = arm_locked(dirty, (uintptr_t)addr, len, &reason);
		pthread_rwlock_unlock(&dirty->lock);
	}
	if (ret_reason)
		*ret_reason = r ? reason : FERRY_REASON_NONE;
	return r;
}

static int disarm_locked(struct ferry_dirty *dirty, uintptr_t start,
			 uintptr_t end)
{
	struct ferry__dirty_range *range =
		ferry__dirty_set_find(dirty->set, start);

	if (!range || range->start != start || range->end != end)
		return -ENOENT;
	dirty->ops->disarm(dirty, range);
	ferry__dirty_set_without(dirty->set, range, dirty->set);
	range_free(range);
	return 0;
}

int ferry_dirty_disarm(struct ferry_dirty *dirty, void *addr, size_t len)
{
	int r;

	if (is_foreign(dirty))
		return -ECHILD;
	pthread_rwlock_wrlock(&dirty->lock);
	r = disarm_locked(dirty, (uintptr_t)addr, (uintptr_t)addr + len);
	pthread_rwlock_unlock(&dirty->lock);
	return r;
}

static int collect_locked(struct ferry_dirty *dirty,
			  struct ferry__dirty_scan *scan)
{
	struct ferry__dirty_range *range =
		ferry__dirty_set_find(dirty->set, scan->pos);

	if (!range || range->start > scan->pos || range->end < scan->end)
		return -ENOENT;
	return dirty->ops->collect(dirty, range, scan);
}

static int scan_range(struct ferry_dirty *dirty, size_t len,
		      struct ferry__dirty_scan *scan)
{
	int r;

	if (!scan->max || ferry__range_reason((void *)scan->pos, len))
		return -EINVAL;
	scan->end = scan->pos + len;
	if (is_foreign(dirty))
		return -ECHILD;
	pthread_rwlock_rdlock(&dirty->lock);
	r = collect_locked(dirty, scan);
	pthread_rwlock_unlock(&dirty->lock);
	return r;
}

static int report(struct ferry_dirty *dirty, void *addr, size_t len,
		  struct ferry_range *runs, size_t max, bool peek,
		  size_t *ret_n, void **ret_next)
{
	struct ferry__dirty_scan scan = {
		.pos = (uintptr_t)addr,
		.runs = runs,
		.max = max,
		.peek = peek,
	};
	int r = scan_range(dirty, len, &scan);

	if (r)
		return r;
	*ret_n = scan.n;
	*ret_next = (void *)scan.pos;
	return 0;
}

int ferry_dirty_collect(struct ferry_dirty *dirty, void *addr, size_t len,
			struct ferry_range *runs, size_t max, size_t *ret_n,
			void **ret_next)
{
	return report(dirty, addr, len, runs, max, false, ret_n, ret_next);
}

int ferry_dirty_peek(struct ferry_dirty *dirty, void *addr, size_t len,
		     struct ferry_range *runs, size_t max, size_t *ret_n,
		     void **ret_next)
{
	if (!dirty->ops->peeks)
		return -EOPNOTSUPP;
	return report(dirty, addr, len, runs, max, true, ret_n, ret_next);
}

static int expect_locked(struct ferry_dirty *dirty, uintptr_t start,
			 uintptr_t end)
{
	struct ferry__dirty_range *range =
		ferry__dirty_set_find(dirty->set, start);

	if (!range || range->start > start || range->end < end)
		return -ENOENT;
	return dirty->ops->expect ? dirty->ops->expect(dirty, start, end) : 0;
}

int ferry_dirty_expect(struct ferry_dirty *dirty, void *addr, size_t len)
{
	int r;

	if (ferry__range_reason(addr, len))
		return -EINVAL;
	if (is_foreign(dirty))
		return -ECHILD;
	pthread_rwlock_rdlock(&dirty->lock);
	r = expect_locked(dirty, (uintptr_t)addr, (uintptr_t)addr + len);
	pthread_rwlock_unlock(&dirty->lock);
	return r;
}
