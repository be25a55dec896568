/* SPDX-License-Identifier: MIT */
/* Pages in a file; see file.h for how it all fits together. */
#include "alloc/store/file.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "alloc/store/checksum.h"
#include "alloc/store/map.h"
#include "uffd/sys.h"

#define STEP	   1024u	    /* slots by which the file grows */
#define MOST_SLOTS (UINT32_MAX - 1) /* numbers + 1 fit .next */
#define SPARE_PART 8u /* free slots kept: of those in use one in so many */

static struct ferry__file_store *of(struct ferry__store *base)
{
	return (struct ferry__file_store *)base;
}

static void count(uint64_t *counter, uint64_t n)
{
	__atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

static uint64_t value(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static void set(bool *flag)
{
	/* FS1, FS2: flags alone, that nothing hangs on. */
	__atomic_store_n(flag, true, __ATOMIC_RELAXED);
}

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_RELAXED);
}

/* --- growing -------------------------------------------------------------- */

/* Makes @slots of own slots out of what there was. */
static int extend(struct ferry__file_store *store, uint64_t slots)
{
	uint64_t old = store->io.len;
	int r;

	if (store->slots.first + slots > MOST_SLOTS)
		return -ENOSPC;
	r = ferry__file_extend(&store->io, slots * ferry__page_size);
	if (r < 0)
		return r;
	r = ferry__slots_grow(&store->slots, store->slots.first + slots);
	if (r < 0)
		ferry__file_truncate(&store->io, old);
	return r;
}

static int grow_locked(struct ferry__file_store *store)
{
	uint64_t have = store->io.len / ferry__page_size;
	uint64_t room = store->limit / ferry__page_size - have;
	uint64_t step = STEP - have % STEP;
	int r = -ENOSPC;

	if (is_set(&store->full))
		return -ENOSPC;
	for (step = step < room ? step : room; step; step /= 2) {
		r = extend(store, have + step);
		if (r != -ENOSPC && r != -ENOMEM)
			break;
	}
	if (r == 0)
		return 0;
	if (r == -ENOSPC || r == -ENOMEM) {
		set(&store->full);
		return -ENOSPC;
	}
	set(&store->broken);
	return -EIO;
}

/* More slots than @seen: by this thread or another. */
static int grow(struct ferry__file_store *store, uint64_t seen)
{
	int r = 0;

	pthread_mutex_lock(&store->grow);
	if (store->slots.n == seen)
		r = grow_locked(store);
	pthread_mutex_unlock(&store->grow);
	return r;
}

/*
 * Up to @want slots in @ret; less than that is told why. In each turn others
 * may be quicker.
 */
static size_t take(struct ferry__file_store *store, size_t want, uint64_t *ret,
		   int *ret_error)
{
	uint64_t seen, first = 0;
	size_t i, k, n = 0;
	int r = 0;

	while (n < want && r == 0) {
		/* SL1 */
		seen = __atomic_load_n(&store->slots.n, __ATOMIC_ACQUIRE);
		k = ferry__slots_take(&store->slots, want - n, &first);
		for (i = 0; i < k; i++)
			ret[n++] = first + i;
		if (!k)
			r = grow(store, seen);
	}
	*ret_error = r;
	return n;
}

/* --- the file ------------------------------------------------------------- */

static int open_locked(struct ferry__file_store *store)
{
	int r = ferry__file_fork_init(store);

	if (r < 0)
		return r;
	r = ferry__file_open(&store->io);
	if (r < 0)
		ferry__file_fork_fini(store);
	return r;
}

/*
 * A child's file is made when the first page comes, by a thread of its own
 * descriptor table. Where that fails the child's store takes nothing.
 */
static int own_file(struct ferry__file_store *store)
{
	int r = 0;

	if (is_set(&store->broken))
		return -EIO;
	/* FD1 pairs with FD1 in ferry__file_open(). */
	if (__atomic_load_n(&store->io.fd, __ATOMIC_ACQUIRE) >= 0)
		return 0;
	pthread_mutex_lock(&store->grow);
	if (store->io.fd < 0 && open_locked(store) < 0) {
		set(&store->broken);
		r = -EIO;
	}
	pthread_mutex_unlock(&store->grow);
	return r;
}

/* --- pages out ------------------------------------------------------------ */

static void keep(struct ferry__file_store *store, uint64_t i, const void *page,
		 uint64_t tag)
{
	struct ferry__slot *slot = ferry__slots_at(&store->slots, i);

	slot->sum = ferry__store_checksum(page, tag);
	slot->born = ferry__generations_now(&store->parts.generations);
	count(&store->live, 1);
	count(&store->puts, 1);
}

static void settle(struct ferry__file_store *store, uint64_t i, int error)
{
	ferry__slots_free(&store->slots, i);
	if (error == -ENOSPC) {
		count(&store->refused, 1);
		return;
	}
	count(&store->failed, 1);
	set(&store->broken);
}

static void put_batch(struct ferry__file_store *store, const void *const *pages,
		      const uint64_t *tags, size_t n,
		      ferry__store_handle *ret_handles, int *ret_errors)
{
	struct ferry__file_transfer t;
	uint64_t slots[FERRY__FILE_BATCH];
	int error = own_file(store);
	size_t i;

	t.n = error ? 0 : take(store, n, slots, &error);
	for (i = 0; i < t.n; i++) {
		t.iov[i].iov_base = (void *)pages[i];
		t.iov[i].iov_len = ferry__page_size;
		t.slot[i] = slots[i] - store->slots.first;
	}
	if (t.n)
		ferry__file_transfer(&store->io, true, &t);
	for (i = 0; i < t.n; i++) {
		ret_errors[i] = t.error[i];
		if (t.error[i]) {
			settle(store, slots[i], t.error[i]);
			continue;
		}
		keep(store, slots[i], pages[i], tags[i]);
		ret_handles[i] = slots[i];
	}
	count(&store->refused, n - t.n);
	for (; i < n; i++)
		ret_errors[i] = error;
}

static size_t batch_of(size_t left)
{
	return left < FERRY__FILE_BATCH ? left : FERRY__FILE_BATCH;
}

static void file_put_many(struct ferry__store *base, const void *const *pages,
			  const uint64_t *tags, size_t n,
			  ferry__store_handle *ret_handles, int *ret_errors)
{
	struct ferry__file_store *store = of(base);
	size_t i, k;

	ferry__gate_enter(&store->calls);
	for (i = 0; i < n; i += k) {
		k = batch_of(n - i);
		put_batch(store, pages + i, tags + i, k, ret_handles + i,
			  ret_errors + i);
	}
	ferry__gate_leave(&store->calls);
}

static int file_put(struct ferry__store *base, const void *page, uint64_t tag,
		    ferry__store_handle *ret_handle)
{
	int error;

	file_put_many(base, &page, &tag, 1, ret_handle, &error);
	return error;
}

/* --- pages back ----------------------------------------------------------- */

/* The pages of the batch that are in the own file, together. */
static void read_own(struct ferry__file_store *store,
		     const ferry__store_handle *handles, size_t n,
		     void *const *pages, int *ret_errors)
{
	struct ferry__file_transfer t = { .n = 0 };
	size_t which[FERRY__FILE_BATCH], i;

	for (i = 0; i < n; i++) {
		if (handles[i] < store->slots.first)
			continue;
		t.iov[t.n].iov_base = pages[i];
		t.iov[t.n].iov_len = ferry__page_size;
		t.slot[t.n] = handles[i] - store->slots.first;
		which[t.n++] = i;
	}
	if (t.n)
		ferry__file_transfer(&store->io, false, &t);
	for (i = 0; i < t.n; i++)
		ret_errors[which[i]] = t.error[i];
}

static int verify(struct ferry__file_store *store, uint64_t i, uint64_t tag,
		  const void *page)
{
	return ferry__slots_at(&store->slots, i)->sum ==
			       ferry__store_checksum(page, tag)
		       ? 0
		       : -EILSEQ;
}

static void get_batch(struct ferry__file_store *store,
		      const ferry__store_handle *handles, const uint64_t *tags,
		      size_t n, void *const *pages, int *ret_errors)
{
	size_t i;

	read_own(store, handles, n, pages, ret_errors);
	for (i = 0; i < n; i++) {
		ferry__check(handles[i] < ferry__slots_count(&store->slots));
		if (handles[i] < store->slots.first)
			ret_errors[i] = ferry__file_inherited_get(
				store, handles[i], pages[i]);
		if (!ret_errors[i])
			ret_errors[i] =
				verify(store, handles[i], tags[i], pages[i]);
		count(ret_errors[i] ? &store->failed : &store->gets, 1);
	}
}

static void file_get_many(struct ferry__store *base,
			  const ferry__store_handle *handles,
			  const uint64_t *tags, size_t n, void *const *pages,
			  int *ret_errors)
{
	struct ferry__file_store *store = of(base);
	size_t i, k;

	for (i = 0; i < n; i += k) {
		k = batch_of(n - i);
		get_batch(store, handles + i, tags + i, k, pages + i,
			  ret_errors + i);
	}
}

static int file_get(struct ferry__store *base, ferry__store_handle handle,
		    uint64_t tag, void *page)
{
	int error;

	file_get_many(base, &handle, &tag, 1, &page, &error);
	return error;
}

static void file_drop(struct ferry__store *base, ferry__store_handle handle)
{
	struct ferry__file_store *store = of(base);

	ferry__gate_enter(&store->calls);
	if (handle < store->slots.first) {
		ferry__file_inherited_drop(store, handle);
	} else {
		ferry__generations_drop(&store->parts.generations, handle);
		__atomic_fetch_sub(&store->live, 1, __ATOMIC_RELAXED);
	}
	ferry__gate_leave(&store->calls);
}

/* --- the rest ------------------------------------------------------------- */

/* The end of the file that is free goes back but for some in advance. */
static void cut_off(struct ferry__file_store *store)
{
	uint64_t live = value(&store->live);
	uint64_t wanted = live + live / SPARE_PART + STEP;
	uint64_t left;

	left = ferry__slots_shrink(&store->slots, store->slots.first + wanted);
	ferry__file_truncate(&store->io,
			     (left - store->slots.first) * ferry__page_size);
}

static void file_maintain(struct ferry__store *base)
{
	struct ferry__file_store *store = of(base);

	ferry__gate_enter(&store->calls);
	pthread_mutex_lock(&store->grow);
	/* FS1 */
	__atomic_store_n(&store->full, false, __ATOMIC_RELAXED);
	ferry__generations_check(&store->parts.generations);
	cut_off(store);
	pthread_mutex_unlock(&store->grow);
	ferry__gate_leave(&store->calls);
}

static void file_stats(struct ferry__store *base,
		       struct ferry__store_stats *ret)
{
	struct ferry__file_store *store = of(base);

	ferry__gate_enter(&store->calls);
	pthread_mutex_lock(&store->grow);
	*ret = (struct ferry__store_stats){
		.pages = value(&store->live) + ferry__parts_live(&store->parts),
		.memory = store->bytes + ferry__slots_bytes(&store->slots),
		.elsewhere = store->io.len,
		.puts = value(&store->puts),
		.gets = value(&store->gets),
		.refused = value(&store->refused),
		.failed = value(&store->failed),
	};
	pthread_mutex_unlock(&store->grow);
	ferry__gate_leave(&store->calls);
}

/* Held for children or free, the slots are not used again: a file has begun. */
static void file_leave(struct ferry__store *base)
{
	struct ferry__file_store *store = of(base);

	ferry__gate_enter(&store->calls);
	pthread_mutex_lock(&store->grow);
	if (store->io.fd >= 0) {
		ferry__check(!value(&store->live));
		ferry__file_close(&store->io);
		ferry__file_fork_leave(store);
		ferry__slots_close(&store->slots);
	}
	pthread_mutex_unlock(&store->grow);
	ferry__gate_leave(&store->calls);
}

static void file_destroy(struct ferry__store *base)
{
	struct ferry__file_store *store = of(base);

	ferry__file_close(&store->io);
	ferry__file_fork_fini(store);
	ferry__file_inherited_free(store);
	ferry__slots_fini(&store->slots);
	pthread_mutex_destroy(&store->grow);
	pthread_mutex_destroy(&store->io.write.lock);
	pthread_mutex_destroy(&store->io.read.lock);
	ferry__store_unmap(store, store->bytes);
}

#define FILE_OPS(NAME)                                                         \
	{                                                                      \
		.name = (NAME), .put = file_put, .put_many = file_put_many,    \
		.get = file_get, .get_many = file_get_many, .drop = file_drop, \
		.maintain = file_maintain,                                     \
		.fork_prepare = ferry__file_fork_prepare,                      \
		.fork_parent = ferry__file_fork_parent,                        \
		.fork_child = ferry__file_fork_child, .stats = file_stats,     \
		.leave = file_leave, .destroy = file_destroy                   \
	}

/* Where it stands in the statistics whether the page cache has a copy. */
static const struct ferry__store_ops direct_ops = FILE_OPS("file");
static const struct ferry__store_ops cached_ops = FILE_OPS("file, page cache");

/* @path seen from the root, since the host may change its folder. */
static int absolute(const char *path, char *buf, size_t size)
{
	size_t len = 0;
	int r;

	if (!*path)
		return -ENOENT;
	if (*path != '/') {
		r = ferry__sys->getcwd(buf, size);
		if (r < 0)
			return r;
		len = strlen(buf);
		buf[len++] = '/';
	}
	strcpy(buf + len, path);
	return 0;
}

static void free_slot(void *arg, uint64_t i)
{
	struct ferry__file_store *store = arg;

	ferry__slots_free(&store->slots, i);
}

void ferry__file_locks_init(struct ferry__file_store *store)
{
	pthread_mutex_init(&store->grow, NULL);
	pthread_mutex_init(&store->io.write.lock, NULL);
	pthread_mutex_init(&store->io.read.lock, NULL);
}

static void init(struct ferry__file_store *store, size_t bytes, uint64_t limit)
{
	store->bytes = bytes;
	store->limit = limit ? limit : INT64_MAX;
	store->io.path = store->path;
	store->io.fd = -1;
	ferry__slots_init(&store->slots);
	store->parts.generations.slots = &store->slots;
	store->parts.generations.free = free_slot;
	store->parts.generations.arg = store;
	ferry__file_locks_init(store);
}

int ferry__store_file_create(const char *path, uint64_t limit,
			     struct ferry__store **ret_store)
{
	size_t room = PATH_MAX + 1 + strlen(path) + 1;
	size_t bytes = sizeof(struct ferry__file_store) + room;
	struct ferry__file_store *store;
	void *mem;
	int r;

	r = ferry__store_map(bytes, &mem);
	if (r < 0)
		return r;
	store = mem;
	init(store, bytes, limit);
	r = absolute(path, store->path, PATH_MAX);
	if (r == 0)
		r = open_locked(store);
	if (r < 0) {
		file_destroy(&store->base);
		return r;
	}
	store->base.ops = store->io.direct ? &direct_ops : &cached_ops;
	*ret_store = &store->base;
	return 0;
}
