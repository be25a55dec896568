/* SPDX-License-Identifier: MIT */
/*
 * The table of attached ranges: from an address to its range without locks,
 * and the end of a range while handlers are in it.
 *
 * One table for all services of the process, because a SIGBUS says nothing
 * but an address. It is an immutable array, sorted by address; attach and
 * detach publish a new one and free the old when no look-up can see it any
 * more. DESIGN-fault.md has the argument; in short:
 *
 *	look-up		in_lookup[phase]++, load table, search, enter the
 *			range, in_lookup[phase]--
 *	writer		publish, then twice: flip the phase and wait for the
 *			counter of the phase left behind to be zero
 *
 * A look-up runs no foreign code and a bounded number of steps, so a writer
 * waits no longer than a preempted thread stays off its processor. The time
 * a supplier takes is not in it: that is counted per range.
 *
 * Lock rank: `lock' is taken before the locks of mmap and of malloc, never
 * by a handler, and no foreign code runs under it.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "uffd/fault.h"

struct entry {
	uintptr_t start;
	uintptr_t end;
	struct ferry__fault_range *range;
};

struct table {
	size_t n;
	size_t size; /* of the mapping that holds it */
	struct entry entries[];
};

static struct table empty;

static struct {
	pthread_mutex_t lock;
	struct table *table; /* T2 */
	unsigned int phase;  /* T3 */
	int pid;	     /* of the process the table is about */
	uint64_t detached;   /* T4 */
	uintptr_t low, high; /* T5: around all that ever was attached */
	struct ferry__stripe in_lookup[2][FERRY__STRIPES]; /* T3 */
} domain = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.table = &empty,
	.low = UINTPTR_MAX,
};

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* --- memory -------------------------------------------------------------- */

static size_t whole_pages(size_t size)
{
	return (size + ferry__page_size - 1) & ~(ferry__page_size - 1);
}

void *ferry__fault_alloc(size_t size)
{
	void *p;

	if (ferry__sys->mmap(NULL, whole_pages(size), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0, &p))
		return NULL;
	return p;
}

void ferry__fault_free(void *p, size_t size)
{
	if (p)
		ferry__sys->munmap(p, whole_pages(size));
}

/* Empty, with room for @n entries. */
static struct table *table_new(size_t n)
{
	size_t size = sizeof(struct table) + n * sizeof(struct entry);
	struct table *table = ferry__fault_alloc(size);

	if (table)
		table->size = size;
	return table;
}

static void table_free(struct table *table)
{
	if (table != &empty)
		ferry__fault_free(table, table->size);
}

/* --- look-up ------------------------------------------------------------- */

/* Index of the first entry that ends above @addr. */
static size_t search(const struct table *table, uintptr_t addr)
{
	size_t low = 0, high = table->n, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (table->entries[mid].end <= addr)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

static struct ferry__fault_range *find(const struct table *table,
				       uintptr_t addr)
{
	size_t i = search(table, addr);

	if (i == table->n || table->entries[i].start > addr)
		return NULL;
	/* T2: sequentially consistent, against remove_locked(), as T3. */
	return __atomic_load_n(&table->entries[i].range, __ATOMIC_SEQ_CST);
}

void ferry__fault_leave(const struct ferry__fault_visit *visit)
{
	/*
	 * T1: release, pairs with the load in ferry__fault_drain(): what the
	 * handler did in the range is over before it is taken away.
	 */
	__atomic_fetch_sub(&visit->stripe->in_flight, 1, __ATOMIC_RELEASE);
}

static enum ferry__fault_place enter_range(struct ferry__fault_range *range,
					   struct ferry__fault_visit *ret)
{
	struct ferry__fault_visit visit = {
		.range = range,
		.stripe = &range->stripes[ferry__thread_stripe()],
	};

	/*
	 * T1: announce, then look at the state; close_locked() sets the state
	 * and ferry__fault_drain() looks for announcements. Both sides are
	 * sequentially consistent, so that one sees the other.
	 */
	__atomic_fetch_add(&visit.stripe->in_flight, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&range->state, __ATOMIC_SEQ_CST) !=
	    FERRY__RANGE_LIVE) {
		ferry__fault_leave(&visit);
		return FERRY__PLACE_CHANGING;
	}
	*ret = visit;
	return FERRY__PLACE_LIVE;
}

enum ferry__fault_place ferry__fault_enter(uintptr_t addr,
					   struct ferry__fault_visit *ret)
{
	enum ferry__fault_place place = FERRY__PLACE_NONE;
	struct ferry__fault_range *range;
	struct ferry__stripe *stripe;
	unsigned int phase;

	/* Relaxed: either phase is right, see T3. */
	phase = __atomic_load_n(&domain.phase, __ATOMIC_RELAXED);
	stripe = &domain.in_lookup[phase][ferry__thread_stripe()];
	/*
	 * T3: announce, then load the table: sequentially consistent, against
	 * publish-then-look in publish().
	 */
	__atomic_fetch_add(&stripe->in_flight, 1, __ATOMIC_SEQ_CST);
	range = find(__atomic_load_n(&domain.table, __ATOMIC_SEQ_CST), addr);
	if (range)
		place = enter_range(range, ret);
	/* T3: release, pairs with the load in wait_for_lookups(). */
	__atomic_fetch_sub(&stripe->in_flight, 1, __ATOMIC_RELEASE);
	return place;
}

uint64_t ferry__fault_detached(void)
{
	/* T4: acquire, pairs with the release in ferry__fault_remove(). */
	return __atomic_load_n(&domain.detached, __ATOMIC_ACQUIRE);
}

bool ferry__fault_known(uintptr_t addr)
{
	/*
	 * T5: relaxed suffices: both words were written before the range was
	 * registered, and the fault that asks came after that in the kernel.
	 */
	return addr >= __atomic_load_n(&domain.low, __ATOMIC_RELAXED) &&
	       addr < __atomic_load_n(&domain.high, __ATOMIC_RELAXED);
}

/* --- writers, under the lock --------------------------------------------- */

static void wait_for_lookups(unsigned int phase)
{
	struct ferry__backoff backoff = { .limit_ns = UINT64_MAX };
	unsigned int i;

	for (i = 0; i < FERRY__STRIPES; i++)
		while (__atomic_load_n(&domain.in_lookup[phase][i].in_flight,
				       __ATOMIC_SEQ_CST)) /* T3 */
			ferry__backoff_wait(&backoff);
}

/* Waits until no look-up can hold what was published before. */
static void synchronize(void)
{
	unsigned int phase, i;

	for (i = 0; i < 2; i++) {
		phase = domain.phase;
		/* T3: later look-ups count elsewhere, so this one drains. */
		__atomic_store_n(&domain.phase, !phase, __ATOMIC_SEQ_CST);
		wait_for_lookups(phase);
	}
}

/* Invariant F1: sorted by address, none empty, and no two overlap. */
__attribute__((unused)) static bool table_check(const struct table *table)
{
	size_t i;

	for (i = 0; i < table->n; i++)
		if (table->entries[i].start >= table->entries[i].end ||
		    (i && table->entries[i - 1].end > table->entries[i].start))
			return false;
	return true;
}

static void publish(struct table *table)
{
	struct table *old = domain.table;

	ferry__debug_check(table_check(table));
	__atomic_store_n(&domain.table, table, __ATOMIC_SEQ_CST); /* T2, T3 */
	synchronize();
	table_free(old);
}

static void widen(const struct ferry__fault_range *range)
{
	/* T5; the lock makes this thread the only writer. */
	if (range->addr < domain.low)
		__atomic_store_n(&domain.low, range->addr, __ATOMIC_RELAXED);
	if (range->addr + range->len > domain.high)
		__atomic_store_n(&domain.high, range->addr + range->len,
				 __ATOMIC_RELAXED);
}

/* What is kept is in the way for want of memory alone. */
static int check_overlap(const struct table *table,
			 const struct ferry__fault_range *range)
{
	uintptr_t end = range->addr + range->len;
	size_t i = search(table, range->addr);
	int r = 0;

	for (; i < table->n && table->entries[i].start < end; i++)
		if (table->entries[i].range)
			r = table->entries[i].range->kept && r != -EEXIST
				    ? -ENOMEM
				    : -EEXIST;
	return r;
}

static void append(struct table *table, struct ferry__fault_range *range)
{
	table->entries[table->n++] = (struct entry){
		.start = range->addr,
		.end = range->addr + range->len,
		.range = range,
	};
}

/* A copy of the table with @range in its place, and without dead entries. */
static struct table *with(const struct table *old,
			  struct ferry__fault_range *range)
{
	struct table *new = table_new(old->n + 1);
	size_t i, at = search(old, range->addr);

	for (i = 0; new &&i <= old->n; i++) {
		if (i == at)
			append(new, range);
		if (i < old->n && old->entries[i].range)
			append(new, old->entries[i].range);
	}
	return new;
}

static int insert_locked(struct ferry__fault_range *range)
{
	struct table *new;
	int r;

	if (range->service->closing)
		return -EBADF;
	r = check_overlap(domain.table, range);
	if (r)
		return r;
	new = with(domain.table, range);
	if (!new)
		return -ENOMEM;
	widen(range);
	publish(new);
	range->next = range->service->ranges;
	range->service->ranges = range;
	return 0;
}

int ferry__fault_insert(struct ferry__fault_range *range)
{
	int r;

	pthread_mutex_lock(&domain.lock);
	r = insert_locked(range);
	pthread_mutex_unlock(&domain.lock);
	return r;
}

/* Relaxed: see ferry__fault_end_kept(). */
static void kept_add(struct ferry_fault_service *service, int n)
{
	__atomic_store_n(&service->kept, service->kept + (size_t)n,
			 __ATOMIC_RELAXED);
}

static void unlink_range(struct ferry__fault_range *range)
{
	struct ferry__fault_range **p = &range->service->ranges;

	while (*p != range)
		p = &(*p)->next;
	*p = range->next;
}

static void remove_locked(struct ferry__fault_range *range)
{
	struct entry *entry =
		&domain.table->entries[search(domain.table, range->addr)];

	/*
	 * T4: release, before the entry dies: who misses the range sees that
	 * one was detached.
	 */
	__atomic_store_n(&domain.detached, domain.detached + 1,
			 __ATOMIC_RELEASE);
	/* T2, T3: in place, so that no detach fails for want of memory. */
	__atomic_store_n(&entry->range, NULL, __ATOMIC_SEQ_CST);
	synchronize();
	unlink_range(range);
	kept_add(range->service, range->kept ? -1 : 0);
}

void ferry__fault_remove(struct ferry__fault_range *range)
{
	pthread_mutex_lock(&domain.lock);
	remove_locked(range);
	pthread_mutex_unlock(&domain.lock);
	ferry__fault_free(range, sizeof(*range));
}

static bool close_locked(struct ferry__fault_range *range)
{
	/* T1: acquire, pairs with the store in ferry__fault_go_live(). */
	if (__atomic_load_n(&range->state, __ATOMIC_ACQUIRE) !=
	    FERRY__RANGE_LIVE)
		return false;
	/* T1: before ferry__fault_drain() looks for announcements. */
	__atomic_store_n(&range->state, FERRY__RANGE_CLOSING, __ATOMIC_SEQ_CST);
	return true;
}

int ferry__fault_close_range(struct ferry_fault_service *service,
			     uintptr_t addr, size_t len,
			     struct ferry__fault_range **ret_range)
{
	struct ferry__fault_range *range;
	int r = -ENOENT;

	pthread_mutex_lock(&domain.lock);
	for (range = service->ranges; range; range = range->next)
		if (range->addr == addr && range->len == len && !range->kept)
			break;
	if (range && close_locked(range)) {
		*ret_range = range;
		r = 0;
	}
	pthread_mutex_unlock(&domain.lock);
	return r;
}

static int close_any_locked(struct ferry_fault_service *service,
			    struct ferry__fault_range **ret_range)
{
	struct ferry__fault_range *range;
	bool others = false;

	service->closing = true;
	for (range = service->ranges; range; range = range->next) {
		if (range->kept)
			continue;
		others = true;
		if (!close_locked(range))
			continue;
		*ret_range = range;
		return 0;
	}
	return others ? -EAGAIN : -ENOENT;
}

int ferry__fault_close_any(struct ferry_fault_service *service,
			   struct ferry__fault_range **ret_range)
{
	int r;

	pthread_mutex_lock(&domain.lock);
	r = close_any_locked(service, ret_range);
	pthread_mutex_unlock(&domain.lock);
	return r;
}

int ferry__fault_close_kept(struct ferry_fault_service *service,
			    struct ferry__fault_range **ret_range)
{
	struct ferry__fault_range *range;
	int r = -ENOENT;

	pthread_mutex_lock(&domain.lock);
	for (range = service->ranges; range && r; range = range->next) {
		if (!range->kept || !close_locked(range))
			continue;
		*ret_range = range;
		r = 0;
	}
	pthread_mutex_unlock(&domain.lock);
	return r;
}

static void plain(void *arg, const struct ferry_fault *fault,
		  struct ferry_supply *supply)
{
	(void)arg;
	supply->kind = fault->protect ? FERRY_SUPPLY_DONE : FERRY_SUPPLY_ZERO;
	supply->offset = fault->offset;
	supply->len = ferry__page_size;
}

void ferry__fault_keep(struct ferry__fault_range *range)
{
	pthread_mutex_lock(&domain.lock);
	kept_add(range->service, range->kept ? 0 : 1);
	range->kept = true;
	range->supply = plain;
	ferry__fault_go_live(range); /* T1 */
	pthread_mutex_unlock(&domain.lock);
}

void ferry__fault_go_live(struct ferry__fault_range *range)
{
	/* T1: from here on handlers enter. */
	__atomic_store_n(&range->state, FERRY__RANGE_LIVE, __ATOMIC_SEQ_CST);
}

void ferry__fault_drain(struct ferry__fault_range *range)
{
	struct ferry__backoff backoff = { .limit_ns = UINT64_MAX };
	unsigned int i;

	for (i = 0; i < FERRY__STRIPES; i++)
		while (__atomic_load_n(&range->stripes[i].in_flight,
				       __ATOMIC_SEQ_CST)) /* T1 */
			ferry__backoff_wait(&backoff);
}

/* --- fork ---------------------------------------------------------------- */

static void before_fork(void)
{
	pthread_mutex_lock(&domain.lock);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&domain.lock);
}

/* Nothing is registered in a child, and nobody is in a look-up there. */
static void start_anew(void)
{
	struct table *old = domain.table;

	domain.table = &empty;
	domain.pid = ferry__sys->getpid();
	memset(domain.in_lookup, 0, sizeof(domain.in_lookup));
	table_free(old);
}

static void after_fork_child(void)
{
	start_anew();
	pthread_mutex_unlock(&domain.lock);
}

static void watch_forks(void)
{
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

int ferry__fault_own_table(void)
{
	int pid = ferry__sys->getpid();

	pthread_once(&fork_once, watch_forks);
	pthread_mutex_lock(&domain.lock);
	/* A fork that went round the C library shows here. */
	if (domain.pid != pid)
		start_anew();
	pthread_mutex_unlock(&domain.lock);
	return pid;
}

void ferry__fault_forget(struct ferry_fault_service *service)
{
	struct ferry__fault_range *range = service->ranges, *next;

	for (; range; range = next) {
		next = range->next;
		ferry__fault_free(range, sizeof(*range));
	}
}
