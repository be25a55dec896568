/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking by mprotect(2) and SIGSEGV: works on any kernel. Armed pages
 * are read-only; the handler of the fault makes the page writable, marks it
 * in the range's bitmap and lets the store be done again.
 *
 * What it cannot see: pages discarded or moved (nothing faults). What it
 * costs the host: system calls that write to armed memory fail with EFAULT,
 * and each island of writable pages is a mapping of its own.
 *
 * States of a page
 *
 *	         fault: open, then mark
 *	closed, clear ------------------> open, marked
 *	      ^                                |
 *	      +--- report: clear, then close --+
 *
 * No write is lost. M1: a page that is open is marked, or the handler that
 * opened it has yet to mark it. Opening before marking and clearing before
 * closing keep it so however the two interleave:
 *
 *	open clear mark close	closed and marked: reported once too often
 *	clear open close mark	the same; the store faults again
 *	open mark clear close	reported, closed, clear
 *	clear close open mark	open and marked: in the next report
 *
 * (Marked first, "mark clear close open" would leave it open and clear.) A
 * store by another thread between "open" and "mark" would be missed by a
 * collection that this thread then makes. So a collection begins by waiting
 * for the handlers that are under way: see settle().
 *
 * The process's limit of mappings (vm.max_map_count) is shared with the host.
 * Islands are counted, and the more there are the larger are the windows that
 * a fault opens and marks, up to the whole range: see window_of().
 *
 * Handlers take no lock: they find ranges through a set that is not changed
 * while it is published, only replaced (M2), and used again or freed when no
 * handler is under way.
 */
#include "uffd/dirty.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "uffd/mapping.h"
#include "uffd/signal.h"
#include "uffd/sys.h"

/* Armed ranges of all trackers of this kind. M2: see set_replace(). */
static struct ferry__dirty_set *armed;
/* Has room for what is in @armed, so that disarming cannot fail. */
static struct ferry__dirty_set *spare;
/* Orders changes of @armed and waits for handlers. A leaf. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
/* A range was taken out of @armed once: late faults may come. M6. */
static bool withdrawn;

/*
 * Handlers under way, in two counters, so that a waiter sees one of them run
 * dry while newcomers use the other.
 */
static unsigned long inside[2];
static unsigned int phase; /* which one newcomers use */

/*
 * Islands of open pages, and how many make the windows grow one step. An
 * island costs two mappings, and five steps lead from one page to windows of
 * 256 MiB: together not two thirds of the limit.
 */
static long islands;
static long islands_step = 65530 / 16;

/* --- handlers under way --------------------------------------------------- */

/* M3: announce, then look at the set and open; pairs with M4 in settle(). */
static unsigned int enter(void)
{
	/* Relaxed: either counter does, the other is only waited for longer. */
	unsigned int i = __atomic_load_n(&phase, __ATOMIC_RELAXED) & 1;

	__atomic_fetch_add(&inside[i], 1, __ATOMIC_SEQ_CST);
	return i;
}

static void leave(unsigned int i)
{
	/* M5: release, pairs with M4: the mark is set, the set not used. */
	__atomic_fetch_sub(&inside[i], 1, __ATOMIC_RELEASE);
}

/*
 * Waits until every handler that had entered before the call has left: each
 * counter is seen at zero once, so whoever was counted in it is gone.
 * Sequentially consistent against M3 (store-load): a handler that is not seen
 * here sees what was stored before the call, such as a new set.
 * Handlers do not wait for anything, so this ends. Under @lock.
 */
static void settle_locked(void)
{
	unsigned int i, k;

	for (k = 0; k < 2; k++) {
		i = __atomic_fetch_add(&phase, 1, __ATOMIC_SEQ_CST) & 1;
		/* M4: pairs with M3 and M5. */
		while (__atomic_load_n(&inside[i], __ATOMIC_SEQ_CST))
			ferry__sys->sched_yield();
	}
}

static void settle(void)
{
	pthread_mutex_lock(&lock);
	settle_locked();
	pthread_mutex_unlock(&lock);
}

/* Publishes @set; returns the old one, which no handler uses any more. */
static struct ferry__dirty_set *set_replace(struct ferry__dirty_set *set)
{
	struct ferry__dirty_set *old = armed;

	/* M2: pairs with the load in on_fault(); ordered before M4. */
	__atomic_store_n(&armed, set, __ATOMIC_SEQ_CST);
	settle_locked();
	return old;
}

/* A child has only the thread that forked, which is in no handler. */
static void before_fork(void)
{
	pthread_mutex_lock(&lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&lock);
}

static void after_fork_child(void)
{
	inside[0] = inside[1] = 0;
	pthread_mutex_unlock(&lock);
}

/* --- islands and windows -------------------------------------------------- */

/*
 * Islands in [@start, @end) and next to it. Pages may be opened meanwhile: the
 * count is a guide to the size of windows, so relaxed suffices for it.
 */
static long islands_at(const struct ferry__dirty_range *range, uintptr_t start,
		       uintptr_t end)
{
	uintptr_t page = start - ferry__page_size;
	bool before = false, now;
	long n = 0;

	for (; page <= end; page += ferry__page_size, before = now) {
		now = ferry__dirty_bits_test(range, page);
		n += now && !before;
	}
	return n;
}

static void islands_add(long n)
{
	__atomic_fetch_add(&islands, n, __ATOMIC_RELAXED);
}

/* log2 of the pages that a fault opens now. */
static unsigned int window_order(void)
{
	long n = __atomic_load_n(&islands, __ATOMIC_RELAXED);

	return n > 0 ? 4 * (unsigned int)(n / islands_step) : 0;
}

/* The aligned window of 2^@order pages around @addr, within the range. */
static void window_of(const struct ferry__dirty_range *range, uintptr_t addr,
		      unsigned int order, uintptr_t *start, uintptr_t *end)
{
	const size_t pages = (range->end - range->start) / ferry__page_size;
	size_t size;

	*start = range->start;
	*end = range->end;
	if (order >= 32 || (size_t)1 << order >= pages)
		return;
	size = ferry__page_size << order;
	*start = addr - (addr - range->start) % size;
	if (range->end - *start > size)
		*end = *start + size;
}

/* --- the fault ------------------------------------------------------------ */

static int open_window(struct ferry__dirty_range *range, uintptr_t addr,
		       unsigned int order)
{
	uintptr_t start, end;
	long joined;
	int r;

	window_of(range, addr, order, &start, &end);
	joined = islands_at(range, start, end);
	r = ferry__sys->mprotect((void *)start, end - start,
				 range->prot | PROT_WRITE);
	if (r)
		return r;
	ferry__dirty_bits_set(range, start, end);
	islands_add(1 - joined);
	return 0;
}

/*
 * ENOMEM is the limit of mappings: a larger window needs fewer of them, and
 * the whole range none.
 */
static bool open_page(struct ferry__dirty_range *range, uintptr_t addr)
{
	unsigned int order = window_order();

	for (; order <= 32; order += 4)
		if (!open_window(range, addr, order))
			return true;
	return !open_window(range, addr, 32);
}

/* Was it a store? Where the machine does not tell, all but a jump there. */
static bool is_store(uintptr_t addr, const void *context)
{
	const ucontext_t *uc = context;

#if defined(__x86_64__)
	(void)addr;
	return uc->uc_mcontext.gregs[REG_ERR] & 2;
#elif defined(__aarch64__)
	return uc->uc_mcontext.pc != addr;
#else
	(void)addr;
	(void)uc;
	return true;
#endif
}

/* The first mapping that ends above @addr, without its VmFlags. */
static bool next_mapping(uintptr_t addr, struct ferry__mapping *m)
{
	struct ferry__smaps maps;
	char buf[1024];
	int fd, r;

	r = ferry__procmap_next(0, addr, m);
	if (!r || r == -ENOENT)
		return !r;
	fd = ferry__sys->open("/proc/self/maps", O_RDONLY);
	if (fd < 0)
		return false;
	ferry__smaps_init(&maps, fd, false, buf, sizeof(buf));
	do {
		r = ferry__smaps_next(&maps, m);
	} while (r > 0 && m->end <= addr);
	ferry__sys->close(fd);
	return r > 0;
}

static bool mapping_at(uintptr_t addr, struct ferry__mapping *m)
{
	return next_mapping(addr, m) && m->start <= addr;
}

/*
 * A thread may be late: between its fault and here, its range was disarmed.
 * Then the memory is writable now, and the store only has to be done again.
 */
static bool is_late(uintptr_t addr)
{
	struct ferry__mapping m;

	/* M6: relaxed; ordered after the set by M2, before which it is set. */
	return __atomic_load_n(&withdrawn, __ATOMIC_RELAXED) &&
	       mapping_at(addr, &m) && m.flags & FERRY__VM_WRITE;
}

static bool on_fault(int sig, siginfo_t *info, void *context)
{
	uintptr_t addr = (uintptr_t)info->si_addr & ~(ferry__page_size - 1);
	struct ferry__dirty_range *range;
	unsigned int i;
	bool ours;

	(void)sig;
	if (info->si_code != SEGV_ACCERR ||
	    !is_store((uintptr_t)info->si_addr, context))
		return false;
	i = enter();
	/* M2: pairs with the store in set_replace(). */
	range = ferry__dirty_set_find(__atomic_load_n(&armed, __ATOMIC_SEQ_CST),
				      addr);
	ours = range && range->start <= addr;
	if (ours)
		ours = open_page(range, addr);
	leave(i);
	return ours || is_late(addr);
}

static struct ferry__signal_hook hook = { .fn = on_fault };

/* --- arming and collecting ------------------------------------------------ */

static int protect_all(const struct ferry__dirty_range *range)
{
	return ferry__sys->mprotect((void *)range->start,
				    range->end - range->start, range->prot);
}

/* What is mapped of the range, piece by piece. */
static void open_pieces(const struct ferry__dirty_range *range)
{
	uintptr_t start = range->start, end;
	struct ferry__mapping m;

	for (; start < range->end && next_mapping(start, &m); start = end) {
		if (m.start > start)
			start = (uintptr_t)m.start;
		if (start >= range->end)
			return;
		end = m.end < range->end ? (uintptr_t)m.end : range->end;
		ferry__sys->mprotect((void *)start, end - start,
				     range->prot | PROT_WRITE);
	}
}

/* mprotect() of a range with a hole ends at the hole. */
static void open_all(const struct ferry__dirty_range *range)
{
	if (ferry__sys->mprotect((void *)range->start,
				 range->end - range->start,
				 range->prot | PROT_WRITE))
		open_pieces(range);
}

static bool has_maps(void)
{
	int fd = ferry__sys->open("/proc/self/maps", O_RDONLY);

	if (fd < 0)
		return false;
	ferry__sys->close(fd);
	return true;
}

/*
 * Learns the access rights, which disarming gives back: the same in all of
 * the range, and writable. Where /proc is not there the caller is believed.
 */
static enum ferry_reason learn_rights(struct ferry__dirty_range *range)
{
	const uint32_t rights = FERRY__VM_READ | FERRY__VM_WRITE |
				FERRY__VM_EXEC;
	struct ferry__mapping m;
	uint32_t first = 0;
	uintptr_t pos;

	range->prot = PROT_READ;
	for (pos = range->start; pos < range->end; pos = (uintptr_t)m.end) {
		if (!mapping_at(pos, &m))
			return has_maps() ? FERRY_REASON_UNMAPPED
					  : FERRY_REASON_NONE;
		if (m.reason)
			return m.reason;
		if (pos == range->start)
			first = m.flags;
		if ((m.flags ^ first) & rights)
			return FERRY_REASON_SPLIT;
	}
	if (first & FERRY__VM_EXEC)
		range->prot |= PROT_EXEC;
	return FERRY_REASON_NONE;
}

static int publish(struct ferry__dirty_range *range, enum ferry_reason *reason)
{
	const struct ferry__dirty_range *other =
		ferry__dirty_set_find(armed, range->start);
	struct ferry__dirty_set *set, *room;
	int r;

	if (other && other->start < range->end)
		return -EEXIST;
	*reason = FERRY_REASON_NO_MEMORY;
	r = ferry__dirty_set_with(armed, range, &set);
	if (r)
		return r;
	r = ferry__dirty_set_alloc(set->n, &room);
	if (r) {
		ferry__dirty_set_free(set);
		return r;
	}
	ferry__dirty_set_free(set_replace(set));
	ferry__dirty_set_free(spare);
	spare = room;
	return 0;
}

static void withdraw(struct ferry__dirty_range *range)
{
	ferry__dirty_set_without(armed, range, spare);
	/* M6: before M2, which orders it for whoever misses the range. */
	__atomic_store_n(&withdrawn, true, __ATOMIC_RELAXED);
	spare = set_replace(spare);
}

/* Published first: from the first protected page on, faults are ours. */
static int arm_locked(struct ferry__dirty_range *range,
		      enum ferry_reason *reason)
{
	int r;

	r = publish(range, reason);
	if (r)
		return r;
	r = protect_all(range);
	if (!r)
		return 0;
	*reason = FERRY_REASON_NO_MEMORY;
	open_all(range);
	withdraw(range);
	return r;
}

static int arm(struct ferry_dirty *dirty, struct ferry__dirty_range *range,
	       enum ferry_reason *reason)
{
	int r;

	(void)dirty;
	*reason = learn_rights(range);
	if (*reason)
		return *reason == FERRY_REASON_UNMAPPED ? -ENOMEM : -EINVAL;
	pthread_mutex_lock(&lock);
	r = arm_locked(range, reason);
	pthread_mutex_unlock(&lock);
	return r;
}

/* Writable first: while a store can fault, the range is found. */
static void disarm(struct ferry_dirty *dirty, struct ferry__dirty_range *range)
{
	(void)dirty;
	pthread_mutex_lock(&lock);
	open_all(range);
	islands_add(-islands_at(range, range->start, range->end));
	withdraw(range);
	pthread_mutex_unlock(&lock);
}

/* The limit of mappings, or a hole: stay marked, be reported again. */
static void close_run(struct ferry__dirty_range *range, uintptr_t start,
		      uintptr_t end)
{
	if (ferry__sys->mprotect((void *)start, end - start, range->prot))
		ferry__dirty_bits_set(range, start, end);
	else
		islands_add(islands_at(range, start, end) - 1);
}

static int collect(struct ferry_dirty *dirty, struct ferry__dirty_range *range,
		   struct ferry__dirty_scan *scan)
{
	(void)dirty;
	settle();
	ferry__dirty_bits_report(range, scan, close_run);
	return 0;
}

/* --- opening -------------------------------------------------------------- */

static void read_limit(void)
{
	char buf[32];
	ssize_t n;
	long limit;
	int fd;

	fd = ferry__sys->open("/proc/sys/vm/max_map_count", O_RDONLY);
	if (fd < 0)
		return;
	n = ferry__sys->read(fd, buf, sizeof(buf) - 1);
	ferry__sys->close(fd);
	if (n <= 0)
		return;
	buf[n] = '\0';
	limit = strtol(buf, NULL, 10) / 16;
	if (limit > 0)
		islands_step = limit;
}

static void prepare(void)
{
	read_limit();
	pthread_atfork(before_fork, after_fork, after_fork_child);
}

static int open_mprotect(struct ferry_dirty *dirty, enum ferry_reason *reason)
{
	int r;

	(void)dirty;
	pthread_once(&once, prepare);
	r = ferry__signal_add(SIGSEGV, &hook);
	if (r)
		*reason = FERRY_REASON_NOT_SUPPORTED;
	return r ? ferry__dirty_refused(r) : 0;
}

static void close_mprotect(struct ferry_dirty *dirty)
{
	(void)dirty;
}

const struct ferry__dirty_ops ferry__dirty_mprotect = {
	.has_bits = true,
	.open = open_mprotect,
	.close = close_mprotect,
	.arm = arm,
	.disarm = disarm,
	.collect = collect,
};
