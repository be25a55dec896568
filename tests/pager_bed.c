/* SPDX-License-Identifier: MIT */
#include "tests/pager_bed.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define HOUR 3600000000000ull

/* --- the fake store ------------------------------------------------------ */

static void *map(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

static struct fake_store *fake(struct ferry__store *store)
{
	return (struct fake_store *)store;
}

static uint64_t take_slot(struct fake_store *f)
{
	uint64_t h;

	pthread_mutex_lock(&f->lock);
	h = f->free;
	if (h)
		f->free = f->slots[h].next;
	else if (f->fresh < f->limit)
		h = f->fresh++;
	if (h)
		f->slots[h].used = true;
	pthread_mutex_unlock(&f->lock);
	return h;
}

static void sleep_for(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000u),
			       (long)(ns % 1000000000u) };

	if (ns)
		nanosleep(&ts, NULL);
}

static void note_change(struct fake_store *f)
{
	if (__atomic_load_n(&f->forking, __ATOMIC_RELAXED))
		__atomic_fetch_add(&f->while_forking, 1, __ATOMIC_RELAXED);
}

static void stay(struct fake_store *f)
{
	/* Release: fake_await_held() acquires. */
	if (__atomic_load_n(&f->hold, __ATOMIC_RELAXED))
		__atomic_fetch_add(&f->held, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&f->hold, __ATOMIC_RELAXED))
		sleep_for(100000);
}

static void stay_in_get(struct fake_store *f, uint64_t tag)
{
	if (__atomic_load_n(&f->hold_get, __ATOMIC_RELAXED) != tag)
		return;
	__atomic_fetch_add(&f->held, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&f->hold_get, __ATOMIC_RELAXED) == tag)
		sleep_for(100000);
}

static int fake_put(struct ferry__store *store, const void *page, uint64_t tag,
		    ferry__store_handle *ret_handle)
{
	struct fake_store *f = fake(store);
	int error = __atomic_load_n(&f->put_error, __ATOMIC_RELAXED);
	uint64_t h;

	note_change(f);
	sleep_for(__atomic_load_n(&f->put_delay_ns, __ATOMIC_RELAXED));
	stay(f);
	if (error) {
		__atomic_fetch_add(&f->refused, 1, __ATOMIC_RELAXED);
		return error;
	}
	h = take_slot(f);
	if (!h)
		return -ENOSPC;
	memcpy(f->copies + h * page_size(), page, page_size());
	f->slots[h].tag = tag;
	__atomic_fetch_add(&f->pages, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&f->puts, 1, __ATOMIC_RELAXED);
	*ret_handle = h;
	return 0;
}

static bool get_fails(struct fake_store *f)
{
	uint64_t left = __atomic_load_n(&f->get_fails, __ATOMIC_RELAXED);

	return left && (left == UINT64_MAX ||
			__atomic_fetch_sub(&f->get_fails, 1, __ATOMIC_RELAXED));
}

static int fake_get(struct ferry__store *store, ferry__store_handle handle,
		    uint64_t tag, void *page)
{
	struct fake_store *f = fake(store);

	stay_in_get(f, tag);
	if (get_fails(f))
		return __atomic_load_n(&f->get_error, __ATOMIC_RELAXED);
	if (__atomic_load_n(&f->corrupt, __ATOMIC_RELAXED) ||
	    !f->slots[handle].used || f->slots[handle].tag != tag)
		return -EILSEQ;
	memcpy(page, f->copies + handle * page_size(), page_size());
	__atomic_fetch_add(&f->gets, 1, __ATOMIC_RELAXED);
	return 0;
}

static void fake_drop(struct ferry__store *store, ferry__store_handle handle)
{
	struct fake_store *f = fake(store);

	note_change(f);
	pthread_mutex_lock(&f->lock);
	if (!f->slots[handle].used)
		f->wrong_drops++;
	f->slots[handle].used = false;
	f->slots[handle].next = f->free;
	f->free = handle;
	pthread_mutex_unlock(&f->lock);
	__atomic_fetch_sub(&f->pages, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&f->drops, 1, __ATOMIC_RELAXED);
}

static void fake_fork_prepare(struct ferry__store *store)
{
	pthread_mutex_lock(&fake(store)->lock);
	__atomic_store_n(&fake(store)->forking, true, __ATOMIC_RELAXED);
}

static void fake_fork_parent(struct ferry__store *store)
{
	__atomic_store_n(&fake(store)->forking, false, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&fake(store)->lock);
}

static void fake_stats(struct ferry__store *store,
		       struct ferry__store_stats *ret)
{
	struct fake_store *f = fake(store);

	ret->pages = __atomic_load_n(&f->pages, __ATOMIC_RELAXED);
	ret->memory = ret->pages * page_size();
	ret->puts = __atomic_load_n(&f->puts, __ATOMIC_RELAXED);
	ret->gets = __atomic_load_n(&f->gets, __ATOMIC_RELAXED);
}

static void fake_leave(struct ferry__store *store)
{
	struct fake_store *f = fake(store);

	f->kept_when_left += __atomic_load_n(&f->pages, __ATOMIC_RELAXED);
}

static void fake_destroy(struct ferry__store *store)
{
	struct fake_store *f = fake(store);

	munmap(f->copies, f->limit * page_size());
	munmap(f->slots, f->limit * sizeof(*f->slots));
	munmap(f, sizeof(*f));
}

static const struct ferry__store_ops fake_ops = {
	.name = "fake",
	.signal_safe = true,
	.put = fake_put,
	.get = fake_get,
	.drop = fake_drop,
	.fork_prepare = fake_fork_prepare,
	.fork_parent = fake_fork_parent,
	.fork_child = fake_fork_parent,
	.stats = fake_stats,
	.leave = fake_leave,
	.destroy = fake_destroy,
};

struct fake_store *fake_store_create(uint64_t pages)
{
	struct fake_store *f = map(sizeof(*f));

	f->store.ops = &fake_ops;
	f->limit = pages + 1;
	f->fresh = 1;
	f->copies = map(f->limit * page_size());
	f->slots = map(f->limit * sizeof(*f->slots));
	pthread_mutex_init(&f->lock, NULL);
	return f;
}

void fake_await_held(struct fake_store *f)
{
	while (!__atomic_load_n(&f->held, __ATOMIC_ACQUIRE))
		sleep_for(100000);
}

#ifdef SIGBUS_MODE
enum ferry__pager_service bed_service = FERRY__PAGER_SIGBUS;
#else
enum ferry__pager_service bed_service = FERRY__PAGER_THREAD;
#endif

/* --- the bed ------------------------------------------------------------- */

void bed_params(struct bed *bed)
{
	memset(bed, 0, sizeof(*bed));
	bed->params.cold_after_ns = HOUR;
	bed->params.idle_after_ns = HOUR;
	bed->params.around = 16;
	bed->params.service = bed_service;
	bed->params.tiers = bed->tier;
	bed->params.n_tiers = 1;
}

/* --- forks --------------------------------------------------------------- */

static struct ferry__pager *forked;

void bed_fork_prepare(void)
{
	ferry__pager_fork_prepare(forked);
}

void bed_fork_parent(void)
{
	ferry__pager_fork_parent(forked);
}

void bed_fork_child(void)
{
	ferry__pager_fork_child(forked);
}

void bed_at_fork(void)
{
	ck_assert_int_eq(pthread_atfork(bed_fork_prepare, bed_fork_parent,
					bed_fork_child),
			 0);
}

/* --- the bed ------------------------------------------------------------- */

void bed_start(struct bed *bed, size_t pages)
{
	size_t i;

	bed->page = page_size();
	bed->pages = pages;
	bed->len = (pages * bed->page + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1);
	bed->addr = map_anon(bed->len);
	for (i = 0; i < bed->params.n_tiers; i++) {
		bed->fake[i] = fake_store_create(pages * 2);
		bed->tier[i].store = &bed->fake[i]->store;
	}
	ck_assert_int_eq(ferry__pager_create(&bed->params, &bed->pager), 0);
	forked = bed->pager;
	ck_assert_int_eq(
		ferry__pager_add_region(bed->pager, bed->addr, bed->len), 0);
	ferry__pager_grow(bed->pager, bed->addr, pages * bed->page);
	fill_pages(bed->addr, pages * bed->page, 1);
	ck_assert_int_eq(ferry__pager_start(bed->pager, NULL), 0);
}

void bed_begin(struct bed *bed, size_t pages)
{
	bed_params(bed);
	bed_start(bed, pages);
}

void bed_end(struct bed *bed)
{
	size_t i;

	ferry__pager_destroy(bed->pager);
	for (i = 0; i < bed->params.n_tiers; i++) {
		ck_assert_uint_eq(bed->fake[i]->pages, 0);
		ck_assert_uint_eq(bed->fake[i]->wrong_drops, 0);
		ck_assert_uint_eq(bed->fake[i]->while_forking, 0);
		fake_destroy(&bed->fake[i]->store);
	}
	munmap(bed->addr, bed->len);
}

struct ferry__pager_stats bed_stats(const struct bed *bed)
{
	struct ferry__pager_stats stats;

	ferry__pager_stats(bed->pager, &stats);
	return stats;
}

size_t bed_here(const struct bed *bed)
{
	size_t i, n = 0;

	for (i = 0; i < bed->pages; i++)
		n += page_there(bed->addr + i * bed->page);
	return n;
}

void bed_run(struct bed *bed)
{
	ck_assert_int_eq(ferry__pager_run(bed->pager, true), 0);
}

static bool all_out(const struct bed *bed)
{
	return bed_stats(bed).stored == bed->pages * bed->page &&
	       !bed_here(bed);
}

void bed_all_out(struct bed *bed)
{
	BED_RUN_UNTIL(bed, all_out(bed));
}

void bed_all_in_limbo(struct bed *bed)
{
	BED_RUN_UNTIL(bed, bed_stats(bed).limbo == bed->pages * bed->page);
}

void bed_hint_out(struct bed *bed, void *addr, size_t len, size_t pages)
{
	do
		ck_assert_int_eq(ferry__pager_hint(bed->pager, addr, len,
						   FERRY__HINT_COLD),
				 0);
	while (bed_stats(bed).stored < pages * bed->page);
	ck_assert_uint_eq(bed_stats(bed).stored, pages * bed->page);
}

void bed_await_stored(const struct bed *bed, size_t pages)
{
	AWAIT(bed_stats(bed).stored == pages * bed->page);
}
