/* SPDX-License-Identifier: MIT */
/*
 * Reading ahead: which faults are in sequence, and bringing what comes next
 * while the program uses what came last.
 *
 * Sequences. A fault where one of the last windows ended, or a little further
 * on (pages that are there are not touched in vain), doubles that window; any
 * other begins one of a single page. Several are known, as several threads
 * may be reading.
 *
 * A window that has grown is not waited for: the fault brings the beginning,
 * the rest is put up for whoever has time. One page is left out of it, the
 * mark, where the rest begins: the fault there says that the program came so
 * far, and puts up the next window behind the last. After the manner of the
 * page cache's readahead in Linux (mm/readahead.c), whose mark is a flag of a
 * page that is there.
 *
 *	  from           next = mark         end
 *	   |  here by now  |x|    coming      |
 *
 * Pages are brought by a thread of its own, by the handler while no fault
 * waits, and in SIGBUS mode by a thread that touches a page which one of
 * these is bringing: together, chunk by chunk, in order.
 *
 * B1. A range is one word, so that signal handlers can put one up, and take a
 *     chunk, wherever they interrupt. It is a hint: lost, or taken twice, it
 *     does no harm. Release, acquire, for whom the cry wakes.
 * B2. Who brings announces itself, then looks whether a thread forks or wants
 *     everything back; those announce that, then wait until nobody brings.
 *     Sequentially consistent.
 */
#include "alloc/pager/pager-internal.h"
#include "alloc/pager/probe.h"

/* Pages brought in a sequence, of params.around, and at most. */
#define SEQ_FACTOR 32
#define SEQ_MAX	   256
/* Windows of so many pages and more are not waited for. */
#define FROM 64
/* What is brought at a time. */
#define CHUNK 32
/* Tries of a chunk that could not be put in its place. */
#define CHUNK_TRIES 8
/* Tries of the gate; whoever has it for longer serves forks. */
#define TRIES	   200
#define COUNT_BITS 16
#define COUNT	   ((1u << COUNT_BITS) - 1)
#define MINUTE_NS  60000000000u

/* --- ranges -------------------------------------------------------------- */

static uint64_t range_of(uintptr_t addr, size_t n)
{
	return (uint64_t)(addr / ferry__page_size) << COUNT_BITS | n;
}

static uintptr_t range_addr(uint64_t range)
{
	return (uintptr_t)(range >> COUNT_BITS) * ferry__page_size;
}

static uintptr_t range_end(uint64_t range)
{
	return range_addr(range) + (range & COUNT) * ferry__page_size;
}

/* The next chunk; false: there is none. */
static bool take(struct ferry__pager_ahead *ahead, uint64_t *ret_chunk)
{
	uint64_t w = __atomic_load_n(&ahead->range, __ATOMIC_ACQUIRE); /* B1 */
	size_t n;

	do {
		n = w & COUNT;
		if (!n)
			return false;
		if (n > CHUNK)
			n = CHUNK;
	} while (!__atomic_compare_exchange_n(
		&ahead->range, &w,
		range_of(range_addr(w) + n * ferry__page_size, (w & COUNT) - n),
		true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)); /* B1 */
	*ret_chunk = range_of(range_addr(w), n);
	return true;
}

/* What is left is carried on to @end where it ends at @from; else dropped. */
static void put_up(struct ferry__pager_ahead *ahead, uintptr_t from,
		   uintptr_t end)
{
	uint64_t w = __atomic_load_n(&ahead->range, __ATOMIC_RELAXED), new;
	uintptr_t begin;

	do {
		begin = range_end(w) == from ? range_addr(w) : from;
		new = range_of(begin, (end - begin) / ferry__page_size);
	} while (!__atomic_compare_exchange_n(&ahead->range, &w, new, true,
					      __ATOMIC_RELEASE, /* B1 */
					      __ATOMIC_RELAXED));
}

static void forget(struct ferry__pager *pager)
{
	size_t i;

	for (i = 0; i < FERRY__STREAMS; i++)
		__atomic_store_n(&pager->ahead[i].range, 0, __ATOMIC_RELAXED);
}

/* --- bringing ------------------------------------------------------------ */

static bool enter(struct ferry__pager *pager)
{
	__atomic_fetch_add(&pager->aheads, 1, __ATOMIC_SEQ_CST); /* B2 */
	if (!__atomic_load_n(&pager->forking, __ATOMIC_SEQ_CST) &&
	    !__atomic_load_n(&pager->held, __ATOMIC_SEQ_CST))
		return true;
	__atomic_fetch_sub(&pager->aheads, 1, __ATOMIC_SEQ_CST);
	return false;
}

static void leave(struct ferry__pager *pager)
{
	__atomic_fetch_sub(&pager->aheads, 1, __ATOMIC_SEQ_CST); /* B2 */
}

void ferry__ahead_wait(struct ferry__pager *pager)
{
	while (__atomic_load_n(&pager->aheads, __ATOMIC_SEQ_CST)) /* B2 */
		ferry__sys->sleep_ns(10000);
}

bool ferry__ahead_gate(pthread_mutex_t *gate)
{
	unsigned int tries;

	for (tries = 0; tries < TRIES; tries++) {
		if (!pthread_mutex_trylock(gate))
			return true;
		ferry__sys->sched_yield();
	}
	return false;
}

/* The page at the mark is left for the program to touch. */
static int bring_but(struct ferry__pager *pager, struct ferry__pager_hand *hand,
		     uint64_t chunk, uintptr_t mark)
{
	uintptr_t addr = range_addr(chunk), end = range_end(chunk);
	struct ferry__pager_region *region = ferry__region_find(pager, addr);
	size_t page = (addr - region->addr) / ferry__page_size;
	size_t before = (mark - addr) / ferry__page_size;
	size_t n = chunk & COUNT;
	int r;

	if (mark < addr || mark >= end)
		return ferry__pager_bring(pager, region, page, n, true, hand);
	r = ferry__pager_bring(pager, region, page, before, true, hand);
	if (r >= 0)
		r = ferry__pager_bring(pager, region, page + before + 1,
				       n - before - 1, true, hand);
	return r;
}

static void bring_chunk(struct ferry__pager *pager,
			struct ferry__pager_ahead *ahead,
			struct ferry__pager_hand *hand, uint64_t chunk)
{
	uint64_t stored = hand->from_store, all = hand->came;
	unsigned int tries = 0;
	int r;

	/* What passes is tried again; else the fault that needs it says why. */
	do
		r = bring_but(pager, hand, chunk,
			      __atomic_load_n(&ahead->mark, __ATOMIC_RELAXED));
	while (r == -EAGAIN && ++tries < CHUNK_TRIES);
	if (r < 0 && r != -EAGAIN)
		__atomic_store_n(&ahead->range, 0, __ATOMIC_RELAXED);
	stored = hand->from_store - stored;
	all = hand->came - all;
	ferry__pager_add(&ahead->brought, all);
	ferry__pager_count(pager, read_ahead, all);
	ferry__pager_count(pager, refaults, stored);
	FERRY__PROBE3(read_ahead, range_addr(chunk), chunk & COUNT, all);
}

/*
 * Those that answer faults bring only what takes no time; signal handlers
 * could not have the rest anyway.
 */
static bool may_help(const struct ferry__pager *pager,
		     const struct ferry__pager_hand *hand)
{
	size_t i;

	for (i = 0; hand != &pager->reading && i < pager->n_tiers; i++)
		if (!pager->tiers[i].store->ops->signal_safe)
			return false;
	return true;
}

bool ferry__ahead_step(struct ferry__pager *pager,
		       struct ferry__pager_hand *hand)
{
	uint64_t chunk;
	bool found = false;
	size_t i;

	for (i = 0; i < FERRY__STREAMS && !found; i++)
		found = __atomic_load_n(&pager->ahead[i].range,
					__ATOMIC_RELAXED) &
			COUNT;
	if (!found || !may_help(pager, hand))
		return false;
	if (!enter(pager)) {
		forget(pager);
		return false;
	}
	found = false;
	for (i = 0; i < FERRY__STREAMS && !found; i++) {
		found = take(&pager->ahead[i], &chunk);
		if (found)
			bring_chunk(pager, &pager->ahead[i], hand, chunk);
	}
	leave(pager);
	return found;
}

/* --- the thread ---------------------------------------------------------- */

static void cry(struct ferry__pager *pager)
{
	__atomic_fetch_add(&pager->ahead_cry, 1, __ATOMIC_RELEASE); /* B1 */
	ferry__sys->futex_wake(&pager->ahead_cry);
}

void *ferry__ahead_run(void *arg)
{
	struct ferry__pager *pager = arg;
	uint32_t heard;

	pthread_setname_np(pthread_self(), "ferry-ahead");
	while (!__atomic_load_n(&pager->stop_ahead, __ATOMIC_ACQUIRE)) {
		heard = __atomic_load_n(&pager->ahead_cry,
					__ATOMIC_ACQUIRE); /* B1 */
		while (ferry__ahead_step(pager, &pager->reading))
			;
		ferry__sys->futex_wait(&pager->ahead_cry, heard, MINUTE_NS);
	}
	return NULL;
}

void ferry__ahead_stop(struct ferry__pager *pager)
{
	forget(pager);
	__atomic_store_n(&pager->stop_ahead, true, __ATOMIC_RELEASE);
	cry(pager);
}

/* --- sequences ----------------------------------------------------------- */

/*
 * Each fault costs a wake-up or two, and what is read in order is read on:
 * many times what is brought otherwise. 1 means no neighbours at all.
 */
static size_t longest(const struct ferry__pager *pager)
{
	size_t around = pager->params.around;

	/* In a fork's window children get each page first. */
	if (around == 1 || pager->children)
		return 1;
	return around * SEQ_FACTOR < SEQ_MAX ? around * SEQ_FACTOR : SEQ_MAX;
}

/* The stream that goes on at @addr; NULL: none. */
static struct ferry__pager_stream *stream_at(struct ferry__pager_hand *hand,
					     uintptr_t addr)
{
	struct ferry__pager_stream *s = hand->streams;
	size_t i;

	for (i = 0; i < FERRY__STREAMS; i++)
		if (s[i].window &&
		    addr - s[i].from <= s[i].end - s[i].from +
						s[i].window * ferry__page_size)
			return &s[i];
	return NULL;
}

/* Memory that is short is not filled with what nobody has asked for yet. */
static bool reads_ahead(const struct ferry__pager *pager,
			const struct ferry__pager_stream *s)
{
	return s->window >= FROM && !pager->children &&
	       __atomic_load_n(&pager->has_ahead, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&pager->hasty, __ATOMIC_RELAXED);
}

/* Hands share the places; two streams in one lose hints. */
static struct ferry__pager_ahead *place_of(struct ferry__pager *pager,
					   struct ferry__pager_hand *hand,
					   struct ferry__pager_stream *s)
{
	size_t i = (size_t)(s - hand->streams);

	if (pager->hands && hand->in_signal)
		i += (size_t)(hand - pager->hands);
	return &pager->ahead[i % FERRY__STREAMS];
}

/* Of what was read ahead the program has come by all before @addr. */
static void count_used(struct ferry__pager *pager,
		       struct ferry__pager_ahead *ahead, uintptr_t addr)
{
	uint64_t range = __atomic_load_n(&ahead->range, __ATOMIC_RELAXED);
	uint64_t brought =
		__atomic_exchange_n(&ahead->brought, 0, __ATOMIC_RELAXED);
	uint64_t later = 0;

	if (range_addr(range) > addr)
		later = (range_addr(range) - addr) / ferry__page_size;
	if (later > brought)
		later = brought;
	ferry__pager_add(&ahead->brought, later);
	ferry__pager_count(pager, read_ahead_used, brought - later);
}

/* Puts up what comes next; how many pages the fault is to bring. */
static size_t go_ahead(struct ferry__pager *pager,
		       struct ferry__pager_hand *hand,
		       struct ferry__pager_stream *s, uintptr_t addr,
		       uintptr_t limit)
{
	struct ferry__pager_ahead *ahead = place_of(pager, hand, s);
	bool was_ahead = s->end > s->from;
	bool goes_on = was_ahead && addr < s->end;
	uintptr_t next = goes_on ? s->end : addr + CHUNK * ferry__page_size;
	uintptr_t end = next + s->window * ferry__page_size;
	size_t n;

	if (next > limit)
		next = limit;
	if (end > limit)
		end = limit;
	if (was_ahead)
		count_used(pager, ahead, addr);
	else
		__atomic_store_n(&ahead->brought, 0, __ATOMIC_RELAXED);
	s->from = addr;
	s->next = next;
	s->end = end;
	__atomic_store_n(&ahead->mark, next, __ATOMIC_RELAXED);
	put_up(ahead, next, end);
	cry(pager);
	n = (next - addr) / ferry__page_size;
	return n < CHUNK ? n : CHUNK;
}

/*
 * Before the mark. What is about to come is brought by the fault as well: the
 * program is quicker than who reads ahead. All else was passed over.
 */
static size_t go_beside(const struct ferry__pager_ahead *ahead, uintptr_t addr)
{
	uint64_t range = __atomic_load_n(&ahead->range, __ATOMIC_RELAXED);

	return addr >= range_addr(range) && addr < range_end(range) ? CHUNK : 1;
}

static size_t go_on(struct ferry__pager *pager, struct ferry__pager_hand *hand,
		    struct ferry__pager_stream *s, uintptr_t addr,
		    uintptr_t limit)
{
	if (addr < s->next)
		return go_beside(place_of(pager, hand, s), addr);
	s->window *= 2;
	if (s->window > longest(pager))
		s->window = longest(pager);
	if (reads_ahead(pager, s))
		return go_ahead(pager, hand, s, addr, limit);
	s->from = s->next = s->end = addr + s->window * ferry__page_size;
	return s->window;
}

size_t ferry__ahead_window(struct ferry__pager *pager,
			   struct ferry__pager_hand *hand,
			   struct ferry__pager_region *region, size_t page)
{
	uintptr_t addr = ferry__page_at(region, page);
	uintptr_t limit = region->addr + ferry__region_used(region);
	struct ferry__pager_stream *s = stream_at(hand, addr);
	size_t n = 1;

	if (limit <= addr)
		limit = addr + ferry__page_size;
	if (s) {
		n = go_on(pager, hand, s, addr, limit);
	} else {
		s = &hand->streams[hand->turn++ % FERRY__STREAMS];
		s->window = 1;
		s->from = s->next = s->end = addr + ferry__page_size;
	}
	if (n > (limit - addr) / ferry__page_size)
		n = (limit - addr) / ferry__page_size;
	return n;
}
