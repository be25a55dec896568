/* SPDX-License-Identifier: MIT */
/*
 * Page states of an arena: a table of four bits a page beside the arena,
 * changed by compare-and-swap on words of sixteen pages.
 *
 *	        commit            claim            settle
 *	ABSENT -------> LIVE ------------> TRANSIT -------> LIVE, ABSENT, OUT
 *	   ^             | ^  |               ^
 *	   |   decommit  | |  | pin           | claim_absent (destination)
 *	   +-------------+ |  v               |
 *	                PINNED (counted)    ABSENT
 *
 * COMMITTING and DROPPING stand between ABSENT and LIVE while a commit or
 * decommit is under way: the arena's lock serialises those against each
 * other, and the code in the table keeps the lock-free claims away from
 * their pages, so that a range is changed as a whole or not at all.
 *
 * The table is cut into segments that are made when a page of theirs first
 * leaves ABSENT; a reservation of hundreds of GiB costs one pointer a GiB.
 *
 * Orders of memory
 *  P1	store-release of .len in grow pairs with the load-acquire in
 *	pages_len(): who sees the new length sees the new directory.
 *  P2	store-release of .dir in grow pairs with the load-acquire in slot():
 *	who sees the directory sees its slots.
 *  P3	store-release of .words in ensure pairs with the load-acquire in
 *	words(): who sees the segment sees it zeroed.
 *  P4	the CAS of a word is acquire and release, and pairs with itself and
 *	with the load-acquire in code_word(): who claims a page, or sees it
 *	LIVE, sees everything done to it before it was settled.
 *  P5	counters are relaxed: each is a sum of its own, no data hangs on it.
 */
#include "alloc/alloc-internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define ONES 0x1111111111111111ull

_Static_assert(FERRY__PAGE_CODES <= 16, "a code fits four bits");

/* --- metadata memory ------------------------------------------------------ */

static size_t meta_round(size_t bytes)
{
	return (bytes + ferry__page_size - 1) & ~(ferry__page_size - 1);
}

int ferry__meta_alloc(size_t bytes, void **ret_mem)
{
	return ferry__sys->mmap(NULL, meta_round(bytes), PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
				0, ret_mem);
}

void ferry__meta_free(void *mem, size_t bytes)
{
	if (mem)
		ferry__sys->munmap(mem, meta_round(bytes));
}

/* --- finding words -------------------------------------------------------- */

static size_t segments(size_t pages)
{
	return (pages + FERRY__SEGMENT_PAGES - 1) / FERRY__SEGMENT_PAGES;
}

static size_t pages_len(const struct ferry__pages *pages)
{
	return __atomic_load_n(&pages->len, __ATOMIC_ACQUIRE); /* P1 */
}

static struct ferry__page_slot *slot(const struct ferry__pages *pages,
				     size_t page)
{
	struct ferry__page_dir *dir;

	dir = __atomic_load_n(&pages->dir, __ATOMIC_ACQUIRE); /* P2 */
	return &dir->slot[page / FERRY__SEGMENT_PAGES];
}

/* The segment of @page, or NULL while all of it is ABSENT. */
static uint64_t *words(const struct ferry__pages *pages, size_t page)
{
	return __atomic_load_n(&slot(pages, page)->words,
			       __ATOMIC_ACQUIRE); /* P3 */
}

static uint64_t *word_of(uint64_t *seg, size_t page)
{
	return &seg[page % FERRY__SEGMENT_PAGES / FERRY__WORD_PAGES];
}

static unsigned int shift_of(size_t page)
{
	return page % FERRY__WORD_PAGES * 4;
}

static uint64_t code_word(const uint64_t *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE); /* P4 */
}

/* --- words of sixteen codes ----------------------------------------------- */

/* Bit 0 of each group of four that holds @code. */
static uint64_t match(uint64_t word, unsigned int code)
{
	uint64_t x = word ^ (code * ONES);

	x |= x >> 2;
	x |= x >> 1;
	return ~x & ONES;
}

static uint64_t match_set(uint64_t word, unsigned int codes)
{
	uint64_t m = 0;

	for (; codes; codes &= codes - 1)
		m |= match(word, (unsigned int)__builtin_ctz(codes));
	return m;
}

/* Bit 0 of the groups of @n pages from that of @page on, within its word. */
static uint64_t span(size_t page, size_t n)
{
	size_t in_word = page % FERRY__WORD_PAGES;
	uint64_t m = ONES << shift_of(page);

	if (in_word + n < FERRY__WORD_PAGES)
		m &= ONES >> (FERRY__WORD_PAGES - in_word - n) * 4;
	return m;
}

/* Of @m, the groups from that of @page up to the first one missing. */
static uint64_t prefix(uint64_t m, size_t page)
{
	uint64_t missing = ~m & (ONES << shift_of(page));

	return missing ? m & ((missing & -missing) - 1) : m;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* --- life ----------------------------------------------------------------- */

static int dir_alloc(size_t len, struct ferry__page_dir **ret_dir)
{
	struct ferry__page_dir *dir;
	size_t bytes = sizeof(*dir) + len * sizeof(dir->slot[0]);
	void *mem;
	int r;

	r = ferry__meta_alloc(bytes, &mem);
	if (r < 0)
		return r;
	dir = mem;
	dir->bytes = bytes;
	dir->len = len;
	*ret_dir = dir;
	return 0;
}

int ferry__pages_init(struct ferry__pages *pages, size_t len)
{
	memset(pages, 0, sizeof(*pages));
	pages->len = len;
	return dir_alloc(segments(len), &pages->dir);
}

void ferry__pages_fini(struct ferry__pages *pages)
{
	struct ferry__page_dir *dir = pages->dir, *older;
	size_t i;

	if (!dir)
		return;
	for (i = 0; i < dir->len; i++) {
		ferry__meta_free(dir->slot[i].words,
				 FERRY__SEGMENT_WORDS * sizeof(uint64_t));
		ferry__meta_free(dir->slot[i].pins,
				 FERRY__SEGMENT_PAGES * sizeof(uint64_t));
	}
	for (; dir; dir = older) {
		older = dir->older;
		ferry__meta_free(dir, dir->bytes);
	}
	pages->dir = NULL;
}

size_t ferry__pages_segments(const struct ferry__pages *pages)
{
	size_t i, n = 0;

	for (i = 0; i < pages->dir->len; i++)
		n += pages->dir->slot[i].words != NULL;
	return n;
}

int ferry__pages_grow(struct ferry__pages *pages, size_t len)
{
	struct ferry__page_dir *old = pages->dir, *dir;
	int r;

	if (segments(len) > old->len) {
		/* At least double, so that all the older ones together are
		 * no bigger than the last. */
		r = dir_alloc(segments(len) > 2 * old->len ? segments(len)
							   : 2 * old->len,
			      &dir);
		if (r < 0)
			return r;
		memcpy(dir->slot, old->slot, old->len * sizeof(old->slot[0]));
		dir->older = old;
		__atomic_store_n(&pages->dir, dir, __ATOMIC_RELEASE); /* P2 */
	}
	__atomic_store_n(&pages->len, len, __ATOMIC_RELEASE); /* P1 */
	return 0;
}

int ferry__pages_ensure(struct ferry__pages *pages, size_t first, size_t n)
{
	size_t i, last = segments(first + n);
	struct ferry__page_slot *s = pages->dir->slot;
	void *mem;
	int r;

	for (i = first / FERRY__SEGMENT_PAGES; i < last; i++) {
		if (s[i].words)
			continue;
		r = ferry__meta_alloc(FERRY__SEGMENT_WORDS * sizeof(uint64_t),
				      &mem);
		if (r < 0)
			return r;
		__atomic_store_n(&s[i].words, mem, __ATOMIC_RELEASE); /* P3 */
	}
	return 0;
}

/* --- reading -------------------------------------------------------------- */

unsigned int ferry__pages_get(const struct ferry__pages *pages, size_t page)
{
	uint64_t *seg;

	if (page >= pages_len(pages))
		return FERRY_PAGE_ABSENT;
	seg = words(pages, page);
	if (!seg)
		return FERRY_PAGE_ABSENT;
	return code_word(word_of(seg, page)) >> shift_of(page) & 15;
}

/*
 * The same within one segment; @end lies in it or is its end. Most words are
 * like the one before them: such a one is not looked at again.
 */
static size_t find_in_segment(uint64_t *seg, size_t page, size_t end,
			      unsigned int codes, bool in)
{
	uint64_t word, m, missed = 0;
	bool any_missed = false;
	size_t n;

	for (; page < end; page += n) {
		n = least(end - page,
			  FERRY__WORD_PAGES - page % FERRY__WORD_PAGES);
		word = code_word(word_of(seg, page));
		if (any_missed && word == missed)
			continue;
		m = match_set(word, codes);
		m = (in ? m : ~m) & span(page, n);
		if (m)
			return page - page % FERRY__WORD_PAGES +
			       (size_t)__builtin_ctzll(m) / 4;
		any_missed = n == FERRY__WORD_PAGES;
		missed = word;
	}
	return end;
}

size_t ferry__pages_find(const struct ferry__pages *pages, size_t first,
			 size_t end, unsigned int codes, bool in)
{
	bool absent_hits = !!(codes & FERRY__CODE(FERRY_PAGE_ABSENT)) == in;
	size_t page, stop, hit;
	uint64_t *seg;

	end = least(end, pages_len(pages));
	for (page = first; page < end; page = stop) {
		stop = (page / FERRY__SEGMENT_PAGES + 1) * FERRY__SEGMENT_PAGES;
		stop = least(stop, end);
		seg = words(pages, page);
		if (!seg && absent_hits)
			return page;
		if (!seg)
			continue;
		hit = find_in_segment(seg, page, stop, codes, in);
		if (hit < stop)
			return hit;
	}
	return end;
}

size_t ferry__pages_count(const struct ferry__pages *pages,
			  enum ferry_page_state state)
{
	size_t n, i;

	if (state != FERRY_PAGE_ABSENT)
		return __atomic_load_n(&pages->count[state],
				       __ATOMIC_RELAXED); /* P5 */
	n = pages_len(pages);
	for (i = FERRY_PAGE_ABSENT + 1; i < FERRY_PAGE_STATES; i++)
		n -= __atomic_load_n(&pages->count[i], __ATOMIC_RELAXED);
	return n;
}

/* --- changing ------------------------------------------------------------- */

static void count_change(struct ferry__pages *pages, unsigned int from,
			 unsigned int to, size_t n)
{
	if (from >= FERRY_PAGE_STATES)
		from = FERRY_PAGE_TRANSIT;
	if (to >= FERRY_PAGE_STATES)
		to = FERRY_PAGE_TRANSIT;
	/* P5 */
	if (to != FERRY_PAGE_ABSENT)
		__atomic_fetch_add(&pages->count[to], n, __ATOMIC_RELAXED);
	if (from != FERRY_PAGE_ABSENT)
		__atomic_fetch_sub(&pages->count[from], n, __ATOMIC_RELAXED);
}

/* Changes pages of one word; returns the mask of those changed. */
static uint64_t word_change(uint64_t *word, size_t page, size_t n,
			    unsigned int from, unsigned int to, bool as_prefix)
{
	uint64_t old = code_word(word), m;

	do {
		m = match(old, from) & span(page, n);
		if (as_prefix)
			m = prefix(m, page);
		if (!m)
			return 0;
		/* P4 */
	} while (!__atomic_compare_exchange_n(word, &old, old ^ m * (from ^ to),
					      false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	return m;
}

static size_t change(struct ferry__pages *pages, size_t first, size_t n,
		     unsigned int from, unsigned int to, bool as_prefix)
{
	size_t page, step, got, done = 0, end = first + n;
	uint64_t *seg;

	for (page = first; page < end; page += step) {
		seg = words(pages, page);
		step = least(end - page,
			     FERRY__WORD_PAGES - page % FERRY__WORD_PAGES);
		got = 0;
		if (seg)
			got = (size_t)__builtin_popcountll(
				word_change(word_of(seg, page), page, step,
					    from, to, as_prefix));
		done += got;
		if (as_prefix && got < step)
			break;
	}
	if (done)
		count_change(pages, from, to, done);
	return done;
}

size_t ferry__pages_replace(struct ferry__pages *pages, size_t first, size_t n,
			    unsigned int from, unsigned int to)
{
	return change(pages, first, n, from, to, false);
}

size_t ferry__pages_claim(struct ferry__pages *pages, size_t first, size_t n,
			  unsigned int from, unsigned int to)
{
	return change(pages, first, n, from, to, true);
}

/* --- pins ----------------------------------------------------------------- */

/* The pins of @page beyond its first, or NULL: no memory. */
static uint64_t *more_pins(struct ferry__pages *pages, size_t page)
{
	struct ferry__page_slot *s = slot(pages, page);
	void *mem;

	if (!s->pins) {
		if (ferry__meta_alloc(FERRY__SEGMENT_PAGES * sizeof(uint64_t),
				      &mem) < 0)
			return NULL;
		s->pins = mem;
	}
	return &s->pins[page % FERRY__SEGMENT_PAGES];
}

static int pin_page(struct ferry__pages *pages, size_t page)
{
	uint64_t *more;

	if (ferry__pages_claim(pages, page, 1, FERRY_PAGE_LIVE,
			       FERRY_PAGE_PINNED))
		return 0;
	switch (ferry__pages_get(pages, page)) {
	case FERRY_PAGE_PINNED:
		break;
	case FERRY_PAGE_ABSENT:
		return -ENOENT;
	default:
		return -EBUSY;
	}
	more = more_pins(pages, page);
	if (!more)
		return -ENOMEM;
	++*more;
	return 0;
}

static void unpin_page(struct ferry__pages *pages, size_t page)
{
	struct ferry__page_slot *s = slot(pages, page);
	uint64_t *more = s->pins ? &s->pins[page % FERRY__SEGMENT_PAGES] : NULL;

	if (more && *more) {
		--*more;
		return;
	}
	ferry__check(ferry__pages_claim(pages, page, 1, FERRY_PAGE_PINNED,
					FERRY_PAGE_LIVE));
}

int ferry__pages_pin(struct ferry__pages *pages, size_t first, size_t n)
{
	size_t i;
	int r;

	for (i = 0; i < n; i++) {
		r = pin_page(pages, first + i);
		if (r < 0)
			goto err_unpin;
	}
	return 0;

err_unpin:
	while (i--)
		unpin_page(pages, first + i);
	return r;
}

int ferry__pages_unpin(struct ferry__pages *pages, size_t first, size_t n)
{
	size_t i;

	if (ferry__pages_find(pages, first, first + n,
			      FERRY__CODE(FERRY_PAGE_PINNED),
			      false) < first + n)
		return -ENOENT;
	for (i = 0; i < n; i++)
		unpin_page(pages, first + i);
	return 0;
}
