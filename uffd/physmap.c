/* SPDX-License-Identifier: MIT */
/*
 * The page map inverted: runs of pages sorted by the frame they begin with.
 *
 *	pagemap, in order of addresses		table, in order of frames
 *	page 100 101 102 103 104 105		frame  run of pages
 *	frame 7   8   9   -   3   4	-->	3      104, 2 pages
 *						7      100, 3 pages
 *
 * What is assumed of the kernel
 *  - Without CAP_SYS_ADMIN the frame of a page in memory reads as 0, which is
 *    no frame that a process can have.
 *  - The frames of a huge page follow each other, and the first is a multiple
 *    of their number: one word of the pagemap tells all.
 *  - PAGEMAP_SCAN (6.7) tells the zero page. Older kernels do not: a zero page
 *    of our own tells its frame. The huge zero page is then taken in; it is
 *    never migrated.
 * What was read is old when it is used: a wrong entry costs a STALE answer.
 */
#include "uffd/physmap.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "uffd/pagemap.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define PAGEMAP	  "/proc/self/pagemap"
#define PFN_MASK  ((1ull << 55) - 1)
#define PHYS_BITS 56 /* the most that an architecture of today has */

/* A run: frames from pfn on, pages from the upper bits of where on. */
struct run {
	uint64_t pfn;
	uint64_t where;
};

#define LEN_BITS 20 /* of where, holding the length less one */
#define LEN_MAX	 (1ull << LEN_BITS)

/* Words of the pagemap that are read at once; later the sort's counters. */
#define WORDS	   8192
#define BUF_BYTES  (WORDS * sizeof(uint64_t))
#define DIGIT_BITS 11
#define DIGITS	   (1u << DIGIT_BITS)

_Static_assert(DIGITS * sizeof(size_t) <= BUF_BYTES, "counters in the buffer");

/* Holes of fewer pages are read over, which is cheaper than another call. */
#define GAP  64
#define RUNS 128

struct ferry__physmap {
	size_t bytes_max;
	struct run *runs; /* sorted by pfn; NULL: none */
	size_t n;
	/*
	 * The longest run that a later one begins inside of: how far back a
	 * look-up has to go. 0 where no page is mapped twice.
	 */
	uint64_t reach;
	int pid; /* process that built it */
	/*
	 * P1: changes said so far; release, pairs with the acquire in
	 * ferry__physmap_build(): a build that has seen a number sees the
	 * mappings it speaks of.
	 */
	uint64_t generation;
	/* P2: 1 + the generation built for, 0: none. Read by any thread. */
	uint64_t built;
	uint64_t builds, pages, stale;
};

static uint64_t run_page(const struct run *r)
{
	return r->where >> LEN_BITS;
}

static uint64_t run_len(const struct run *r)
{
	return (r->where & (LEN_MAX - 1)) + 1;
}

static int map_anonymous(size_t bytes, void **ret)
{
	return ferry__sys->mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
				0, ret);
}

static size_t whole_pages(size_t bytes)
{
	return (bytes + ferry__page_size - 1) & ~(ferry__page_size - 1);
}

/* --- reading -------------------------------------------------------------- */

/* A build under way. */
struct build {
	int fd;
	struct run *runs;
	size_t n, max;
	uint64_t all;  /* the frames' bits, ORed: how many digits to sort */
	uint64_t zero; /* frame of the zero page where it has to be known */
	uint64_t pages;
	uint64_t *words; /* WORDS of them */
};

static int add(struct build *b, uint64_t pfn, uint64_t page, uint64_t len)
{
	struct run *last = b->n ? &b->runs[b->n - 1] : NULL;

	if (!pfn)
		return -EPERM;
	b->pages += len;
	if (last && last->pfn + run_len(last) == pfn &&
	    run_page(last) + run_len(last) == page &&
	    run_len(last) + len <= LEN_MAX) {
		last->where += len;
		return 0;
	}
	if (b->n == b->max)
		return -ENOSPC;
	b->runs[b->n++] = (struct run){ pfn, page << LEN_BITS | (len - 1) };
	b->all |= pfn;
	return 0;
}

static int pread_words(int fd, uint64_t page, size_t n, uint64_t *words)
{
	ssize_t r;

	do
		r = ferry__sys->pread(fd, words, n * sizeof(*words),
				      (off_t)(page * sizeof(*words)));
	while (r == -EINTR);
	/* The file ends behind the last address: nothing there. */
	return r < 0 ? (int)r : (int)((size_t)r / sizeof(*words));
}

/* Pages [@page, @end), word by word. */
static int add_words(struct build *b, uint64_t page, uint64_t end)
{
	uint64_t word;
	int i, n, r;

	for (; page < end; page += (uint64_t)n) {
		n = pread_words(b->fd, page,
				end - page < WORDS ? end - page : WORDS,
				b->words);
		if (n <= 0)
			return n;
		for (i = 0; i < n; i++) {
			word = b->words[i];
			if (!(word & FERRY__PM_PRESENT) ||
			    (b->zero && (word & PFN_MASK) == b->zero))
				continue;
			r = add(b, word & PFN_MASK, page + (uint64_t)i, 1);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* The same where huge pages are mapped: a word for each of them. */
static int add_huge(struct build *b, uint64_t page, uint64_t end)
{
	uint64_t unit = ferry__huge_size() / ferry__page_size, next, word, pfn;
	int r = 0;

	if (!unit)
		return add_words(b, page, end);
	for (; r == 0 && page < end; page = next) {
		next = (page / unit + 1) * unit;
		if (next > end)
			next = end;
		r = pread_words(b->fd, page, 1, &word);
		if (r <= 0)
			return r;
		pfn = word & PFN_MASK;
		r = 0;
		if (!(word & FERRY__PM_PRESENT))
			continue;
		/* Split since it was looked at? */
		if (pfn && pfn % unit != page % unit)
			r = add_words(b, page, next);
		else
			r = add(b, pfn, page, next - page);
	}
	return r;
}

/* Runs that a look found, small holes between base pages read over. */
static int add_found(struct build *b, const struct ferry__page_region *found,
		     int n)
{
	const uint64_t size = ferry__page_size;
	uint64_t from = 0, to = 0; /* base pages gathered so far */
	int i, r = 0;

	for (i = 0; r == 0 && i < n; i++) {
		uint64_t start = found[i].start / size;
		uint64_t end = found[i].end / size;
		uint64_t kind = found[i].categories;

		if ((kind & (FERRY__PAGE_IS_HUGE | FERRY__PAGE_IS_PFNZERO)) ||
		    start - to > GAP) {
			r = add_words(b, from, to);
			from = to = 0;
		}
		if (r < 0 || (kind & FERRY__PAGE_IS_PFNZERO))
			continue;
		if (kind & FERRY__PAGE_IS_HUGE) {
			r = add_huge(b, start, end);
			continue;
		}
		from = to ? from : start;
		to = end;
	}
	return r < 0 ? r : add_words(b, from, to);
}

static int add_span(struct build *b, const struct ferry__span *s)
{
	struct ferry__page_region found[RUNS];
	uint64_t at = s->addr, end = s->addr + s->len;
	int n, r;

	do {
		n = b->zero ? -ENOTTY
			    : ferry__pagemap_kinds(b->fd, at, end, found, RUNS);
		if (n == -EFAULT) /* beyond all addresses */
			return 0;
		if (n < 0)
			return add_words(b, at / ferry__page_size,
					 end / ferry__page_size);
		r = add_found(b, found, n);
		if (r < 0)
			return r;
		if (n == RUNS)
			at = found[n - 1].end;
	} while (n == RUNS && at < end);
	return 0;
}

/*
 * Where PAGEMAP_SCAN is not to be had, the frame of the zero page: a page of
 * ours that was only read has it. Returns 0 or a negative errno.
 */
static int learn_zero(struct build *b)
{
	struct ferry__page_region found;
	uint64_t word = 0;
	void *page;
	int r;

	r = map_anonymous(ferry__page_size, &page);
	if (r < 0)
		return r;
	if (ferry__pagemap_kinds(b->fd, (uintptr_t)page,
				 (uintptr_t)page + ferry__page_size, &found,
				 1) >= 0)
		goto out;
	(void)*(volatile char *)page;
	r = pread_words(b->fd, (uintptr_t)page / ferry__page_size, 1, &word);
	if (r > 0 && word & FERRY__PM_PRESENT)
		b->zero = word & PFN_MASK;
	r = r < 0 ? r : 0;
out:
	ferry__sys->munmap(page, ferry__page_size);
	return r;
}

/* --- sorting -------------------------------------------------------------- */

static void sort_digit(const struct run *from, struct run *to, size_t n,
		       unsigned int shift, size_t *count)
{
	size_t i, sum = 0, c;

	memset(count, 0, DIGITS * sizeof(*count));
	for (i = 0; i < n; i++)
		count[from[i].pfn >> shift & (DIGITS - 1)]++;
	for (i = 0; i < DIGITS; i++) {
		c = count[i];
		count[i] = sum;
		sum += c;
	}
	for (i = 0; i < n; i++)
		to[count[from[i].pfn >> shift & (DIGITS - 1)]++] = from[i];
}

/* By frame, stable: least digit first. Returns which of the two holds it. */
static struct run *sort(struct build *b, struct run *spare)
{
	struct run *from = b->runs, *to = spare, *other;
	unsigned int shift;

	for (shift = 0; shift < 64 && b->all >> shift; shift += DIGIT_BITS) {
		sort_digit(from, to, b->n, shift, (size_t *)b->words);
		other = from;
		from = to;
		to = other;
	}
	return from;
}

static uint64_t reach_of(const struct run *runs, size_t n)
{
	uint64_t end = 0, len = 0, reach = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		if (runs[i].pfn < end && len > reach)
			reach = len;
		if (runs[i].pfn + run_len(&runs[i]) > end) {
			end = runs[i].pfn + run_len(&runs[i]);
			len = run_len(&runs[i]);
		}
	}
	return reach;
}

/* --- building ------------------------------------------------------------- */

/* Most runs that there can be: one a page, as many as the bytes allow. */
static int most_runs(const struct ferry__physmap *map,
		     const struct ferry__span *v, size_t n, size_t *ret)
{
	size_t i, max = 0, limit;

	limit = map->bytes_max > BUF_BYTES
			? (map->bytes_max - BUF_BYTES) / 2 / sizeof(struct run)
			: 0;
	for (i = 0; i < n; i++) {
		if (!ferry__span_check(&v[i]))
			return -EINVAL;
		if (max < limit)
			max += v[i].len / ferry__page_size;
	}
	*ret = max < limit ? max : limit;
	return 0;
}

static int read_all(struct build *b, const struct ferry__span *v, size_t n)
{
	size_t i;
	int r;

	r = learn_zero(b);
	for (i = 0; r == 0 && i < n; i++)
		r = add_span(b, &v[i]);
	return r;
}

/* Keeps the table that @keep points into, cut to size. */
static void adopt(struct ferry__physmap *map, struct build *b, struct run *keep,
		  struct run *other, size_t bytes)
{
	size_t used = whole_pages(b->n * sizeof(*keep));

	ferry__sys->munmap(other, bytes);
	if (used < bytes)
		ferry__sys->munmap((char *)keep + used, bytes - used);
	map->runs = b->n ? keep : NULL;
	map->n = b->n;
	map->pages = b->pages;
	map->reach = reach_of(keep, b->n);
}

static int build(struct ferry__physmap *map, const struct ferry__span *v,
		 size_t n, struct build *b)
{
	size_t bytes;
	void *runs, *spare;
	int r;

	r = most_runs(map, v, n, &b->max);
	if (r < 0)
		return r;
	bytes = whole_pages(b->max * sizeof(struct run));
	bytes = bytes ? bytes : ferry__page_size;
	r = map_anonymous(bytes, &runs);
	if (r < 0)
		return r;
	r = map_anonymous(bytes, &spare);
	if (r < 0)
		goto err_runs;
	b->runs = runs;
	r = read_all(b, v, n);
	if (r < 0)
		goto err_spare;
	runs = sort(b, spare);
	adopt(map, b, runs, runs == spare ? b->runs : spare, bytes);
	return 0;
err_spare:
	ferry__sys->munmap(spare, bytes);
err_runs:
	ferry__sys->munmap(runs, bytes);
	return r;
}

static int open_pagemap(void)
{
	int fd = ferry__sys->open(PAGEMAP, O_RDONLY);

	return fd == -ENOENT ? -EOPNOTSUPP : fd;
}

int ferry__physmap_build(struct ferry__physmap *map,
			 const struct ferry__span *v, size_t n)
{
	/* P1 */
	uint64_t seen = __atomic_load_n(&map->generation, __ATOMIC_ACQUIRE);
	struct build b = { 0 };
	void *words;
	int r;

	ferry__physmap_drop(map);
	b.fd = open_pagemap();
	if (b.fd < 0)
		return b.fd;
	r = map_anonymous(BUF_BYTES, &words);
	if (r < 0)
		goto out;
	b.words = words;
	r = build(map, v, n, &b);
	ferry__sys->munmap(words, BUF_BYTES);
	if (r < 0)
		goto out;
	map->builds++;
	map->pid = ferry__sys->getpid();
	/* P2: release, pairs with ferry__physmap_current(). */
	__atomic_store_n(&map->built, seen + 1, __ATOMIC_RELEASE);
out:
	ferry__sys->close(b.fd);
	return r;
}

int ferry__physmap_create(size_t bytes_max, struct ferry__physmap **ret_map)
{
	void *mem;
	int r;

	r = map_anonymous(whole_pages(sizeof(**ret_map)), &mem);
	if (r < 0)
		return r;
	*ret_map = mem;
	(*ret_map)->bytes_max = bytes_max ? bytes_max : FERRY__PHYSMAP_BYTES;
	return 0;
}

void ferry__physmap_drop(struct ferry__physmap *map)
{
	/* P2: relaxed: the table is this thread's. */
	__atomic_store_n(&map->built, 0, __ATOMIC_RELAXED);
	if (map->runs)
		ferry__sys->munmap(map->runs,
				   whole_pages(map->n * sizeof(*map->runs)));
	map->runs = NULL;
	map->n = 0;
	map->pages = map->reach = 0;
}

void ferry__physmap_destroy(struct ferry__physmap *map)
{
	if (!map)
		return;
	ferry__physmap_drop(map);
	ferry__sys->munmap(map, whole_pages(sizeof(*map)));
}

void ferry__physmap_changed(struct ferry__physmap *map)
{
	/* P1 */
	__atomic_fetch_add(&map->generation, 1, __ATOMIC_RELEASE);
}

bool ferry__physmap_current(const struct ferry__physmap *map)
{
	/* P2: acquire; pid was written before. */
	uint64_t built = __atomic_load_n(&map->built, __ATOMIC_ACQUIRE);

	/* P1: relaxed: no mapping is looked at here. */
	return built &&
	       built - 1 ==
		       __atomic_load_n(&map->generation, __ATOMIC_RELAXED) &&
	       map->pid == ferry__sys->getpid();
}

void ferry__physmap_stats(const struct ferry__physmap *map,
			  struct ferry__physmap_stats *ret_stats)
{
	*ret_stats = (struct ferry__physmap_stats){
		.generation =
			__atomic_load_n(&map->generation, __ATOMIC_RELAXED),
		.builds = map->builds,
		.pages = map->pages,
		.runs = map->n,
		.bytes = whole_pages(sizeof(*map)) +
			 whole_pages(map->n * sizeof(*map->runs)),
		.stale = map->stale,
	};
}

/* --- look-up -------------------------------------------------------------- */

const char *ferry__phys_state_text(enum ferry__phys_state state)
{
	static const char *const text[FERRY__PHYS_STATES] = {
		[FERRY__PHYS_FOUND] = "found",
		[FERRY__PHYS_NOTHING] = "no page of this process",
		[FERRY__PHYS_STALE] = "the page has left this address",
		[FERRY__PHYS_INVALID] = "not a physical address",
	};

	return (unsigned int)state < FERRY__PHYS_STATES ? text[state]
							: "unknown";
}

/* The first run behind those that begin at or before @pfn. */
static size_t upper_bound(const struct ferry__physmap *map, uint64_t pfn)
{
	size_t low = 0, high = map->n, mid;

	while (low < high) {
		mid = low + (high - low) / 2;
		if (map->runs[mid].pfn <= pfn)
			low = mid + 1;
		else
			high = mid;
	}
	return low;
}

/* Is it still so? 1, 0, or a negative errno. */
static int holds(int fd, uint64_t page, uint64_t pfn)
{
	uint64_t word = 0;
	int r = pread_words(fd, page, 1, &word);

	if (r <= 0 || !(word & FERRY__PM_PRESENT))
		return r < 0 ? r : 0;
	if (!(word & PFN_MASK))
		return -EPERM;
	return (word & PFN_MASK) == pfn;
}

static int find_one(struct ferry__physmap *map, int fd, uint64_t phys,
		    struct ferry__phys_result *ret)
{
	uint64_t pfn = phys / ferry__page_size, page;
	size_t i = upper_bound(map, pfn);
	const struct run *run;
	int r;

	ret->state = FERRY__PHYS_NOTHING;
	if (phys >> PHYS_BITS)
		ret->state = FERRY__PHYS_INVALID;
	while (i-- > 0) {
		run = &map->runs[i];
		if (pfn - run->pfn < run_len(run)) {
			page = run_page(run) + (pfn - run->pfn);
			r = holds(fd, page, pfn);
			if (r < 0)
				return r;
			if (r) {
				ret->state = FERRY__PHYS_FOUND;
				ret->addr = page * ferry__page_size +
					    phys % ferry__page_size;
				return 0;
			}
			ret->state = FERRY__PHYS_STALE;
		}
		if (pfn - run->pfn >= map->reach)
			break;
	}
	return 0;
}

long ferry__physmap_find(struct ferry__physmap *map, const uint64_t *phys,
			 size_t n, struct ferry__phys_result *ret)
{
	int fd = open_pagemap(), r = 0;
	long found = 0;
	size_t i;

	if (fd < 0)
		return fd;
	memset(ret, 0, n * sizeof(*ret));
	for (i = 0; r == 0 && i < n; i++) {
		r = find_one(map, fd, phys[i], &ret[i]);
		found += ret[i].state == FERRY__PHYS_FOUND;
		map->stale += ret[i].state == FERRY__PHYS_STALE;
	}
	ferry__sys->close(fd);
	return r < 0 ? r : found;
}

/* --- migration ------------------------------------------------------------ */

struct load {
	size_t n;
	void *page[FERRY__NODE_BATCH];
	int status[FERRY__NODE_BATCH];
	struct ferry__phys_result *of[FERRY__NODE_BATCH];
};

static long book(struct ferry__physmap *map, const struct load *load)
{
	struct ferry__phys_result *to;
	long there = 0;
	size_t i;

	for (i = 0; i < load->n; i++) {
		to = load->of[i];
		if (load->status[i] == FERRY__PAGE_ABSENT) {
			to->state = FERRY__PHYS_STALE;
			to->addr = 0;
			map->stale++;
			continue;
		}
		to->moved = load->status[i] == FERRY__PAGE_MOVED;
		to->error = load->status[i] < 0 ? load->status[i] : 0;
		to->reason = ferry__node_reason_of(load->status[i]);
		there += load->status[i] >= 0;
	}
	return there;
}

long ferry__physmap_migrate(struct ferry__physmap *map, const uint64_t *phys,
			    size_t n, int node, struct ferry__phys_result *ret)
{
	struct load load = { .n = 0 };
	size_t i = 0;
	long there = 0, found;
	int r;

	found = ferry__physmap_find(map, phys, n, ret);
	if (found < 0)
		return found;
	do {
		for (load.n = 0; i < n && load.n < FERRY__NODE_BATCH; i++) {
			if (ret[i].state != FERRY__PHYS_FOUND)
				continue;
			load.page[load.n] =
				(void *)(uintptr_t)(ret[i].addr &
						    ~(ferry__page_size - 1));
			load.of[load.n++] = &ret[i];
		}
		/* Of no pages at least once: it looks at the node. */
		r = ferry__node_migrate_pages(load.page, load.n, node,
					      load.status);
		if (r < 0)
			return r;
		there += book(map, &load);
	} while (i < n);
	return there;
}
