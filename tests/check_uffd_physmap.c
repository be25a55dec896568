/* SPDX-License-Identifier: MIT */
/*
 * The inverted page map: against page tables made up here, with and without
 * PAGEMAP_SCAN, and against those of the kernel, which may move a page at any
 * time.
 */
#include "uffd/physmap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/nodes.h"
#include "uffd/pagemap.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

static struct ferry__physmap *map;

static struct ferry__physmap *make(size_t bytes_max)
{
	struct ferry__physmap *made = NULL;

	ck_assert_int_eq(ferry__physmap_create(bytes_max, &made), 0);
	return made;
}

/* --- page tables of our own ----------------------------------------------- */

#define PAGES	 8192
#define FIRST	 0x40000u /* number of the first page; huge pages align */
#define PFN_MASK (((uint64_t)1 << 55) - 1)
#define HUGE_PFN 512u /* pages of a huge one */
#define FD	 7777
#define ZERO_PFN 99u
#define NODE_PFN ((uint64_t)1 << 30) /* node 1 begins here */

/* What scans say of a page besides what its word says. */
enum kind {
	BASE,
	HUGE,
	ZERO,
};

static struct {
	uint64_t word[PAGES];
	enum kind kind[PAGES];
	bool made_up;
	bool scan; /* there is a PAGEMAP_SCAN */
	int open_fds;
	uint64_t reads; /* calls of pread() */
} fake;

static struct ferry__sys table;

static int fake_open(const char *path, int flags)
{
	if (strcmp(path, "/proc/self/pagemap"))
		return ferry__sys_linux.open(path, flags);
	fake.open_fds++;
	return FD;
}

static int fake_close(int fd)
{
	if (fd != FD)
		return ferry__sys_linux.close(fd);
	fake.open_fds--;
	return 0;
}

static ssize_t fake_pread(int fd, void *buf, size_t len, off_t off)
{
	uint64_t page = (uint64_t)off / 8, *words = buf;
	size_t i, n = len / 8;

	ck_assert_int_eq(fd, FD);
	fake.reads++;
	for (i = 0; i < n; i++, page++)
		words[i] = page >= FIRST && page < FIRST + PAGES
				   ? fake.word[page - FIRST]
				   : 0;
	return (ssize_t)len;
}

static uint64_t categories(uint64_t page)
{
	uint64_t word, all = 0;

	if (page < FIRST || page >= FIRST + PAGES)
		return 0;
	word = fake.word[page - FIRST];
	if (word & FERRY__PM_PRESENT)
		all |= FERRY__PAGE_IS_PRESENT;
	if (word & FERRY__PM_SWAP)
		all |= FERRY__PAGE_IS_SWAPPED;
	if (fake.kind[page - FIRST] == HUGE)
		all |= FERRY__PAGE_IS_HUGE;
	if (fake.kind[page - FIRST] == ZERO)
		all |= FERRY__PAGE_IS_PFNZERO;
	return all;
}

static int fake_ioctl(int fd, unsigned long request, void *arg)
{
	struct ferry__pm_scan_arg *scan = arg;
	struct ferry__page_region *out;
	uint64_t page, size = page_size(), all;
	size_t n = 0;

	ck_assert_int_eq(fd, FD);
	ck_assert_uint_eq(request, FERRY__PAGEMAP_SCAN);
	if (!fake.scan)
		return -ENOTTY;
	out = (struct ferry__page_region *)(uintptr_t)scan->vec;
	for (page = scan->start / size; page < scan->end / size; page++) {
		all = categories(page);
		if (!(all & scan->category_anyof_mask))
			continue;
		if (n && out[n - 1].end == page * size &&
		    out[n - 1].categories == all) {
			out[n - 1].end += size;
			continue;
		}
		if (n == scan->vec_len)
			break;
		out[n++] = (struct ferry__page_region){ page * size,
							(page + 1) * size,
							all };
	}
	return (int)n;
}

/* Node 1 has the frames from NODE_PFN on; page i goes to NODE_PFN + i. */
static long fake_move_pages(int pid, size_t n, void **pages, const int *nodes,
			    int *status, int flags)
{
	uint64_t page, *word;
	size_t i;

	ck_assert_int_eq(pid, 0);
	(void)flags;
	for (i = 0; i < n; i++) {
		if (nodes && (nodes[i] < 0 || nodes[i] > 1))
			return -ENODEV;
		page = (uintptr_t)pages[i] / page_size() - FIRST;
		status[i] = -ENOENT;
		if (page >= PAGES || !(fake.word[page] & FERRY__PM_PRESENT))
			continue;
		word = &fake.word[page];
		if (nodes && nodes[i] == 1)
			*word = FERRY__PM_PRESENT | (NODE_PFN + page);
		status[i] = (*word & ~FERRY__PM_PRESENT) >= NODE_PFN;
	}
	return 0;
}

static void made_up(bool scan)
{
	memset(&fake, 0, sizeof(fake));
	fake.scan = scan;
	fake.made_up = true;
	table = ferry__sys_linux;
	table.open = fake_open;
	table.close = fake_close;
	table.pread = fake_pread;
	table.ioctl = fake_ioctl;
	table.move_pages = fake_move_pages;
	ferry__sys = &table;
	inject_start();
	map = make(0);
}

/* Rules are gone with the test that had them. */
static void end(void)
{
	if (fake.made_up)
		inject_stop();
	fake.made_up = false;
	ferry__physmap_destroy(map);
	map = NULL;
}

static void put(size_t i, uint64_t pfn, enum kind kind)
{
	fake.word[i] = FERRY__PM_PRESENT | pfn;
	fake.kind[i] = kind;
}

static void put_huge(size_t i, uint64_t pfn)
{
	size_t k;

	for (k = 0; k < HUGE_PFN; k++)
		put(i + k, pfn + k, HUGE);
}

static uint64_t address(size_t i)
{
	return (FIRST + i) * page_size();
}

static struct ferry__span all_pages(void)
{
	return (struct ferry__span){ address(0), PAGES * page_size() };
}

static void rebuild(void)
{
	struct ferry__span all = all_pages();

	ck_assert_int_eq(ferry__physmap_build(map, &all, 1), 0);
	ck_assert(ferry__physmap_current(map));
	ck_assert_int_eq(fake.open_fds, 0);
}

static struct ferry__phys_result find(uint64_t phys)
{
	struct ferry__phys_result ret;
	long found = ferry__physmap_find(map, &phys, 1, &ret);

	ck_assert_int_ge(found, 0);
	ck_assert_int_eq(found, ret.state == FERRY__PHYS_FOUND);
	ck_assert_int_eq(found, ret.addr != 0);
	return ret;
}

static struct ferry__physmap_stats stats(void)
{
	struct ferry__physmap_stats st;

	ferry__physmap_stats(map, &st);
	return st;
}

/* Each page of the layout is where it is, and nothing else is. */
static void assert_inverted(struct random *rnd)
{
	size_t i, off, pages = 0, found;
	struct ferry__phys_result ret;
	uint64_t pfn;

	for (i = 0; i < PAGES; i++) {
		if (!(fake.word[i] & FERRY__PM_PRESENT) || fake.kind[i] == ZERO)
			continue;
		pages++;
		pfn = fake.word[i] & ~FERRY__PM_PRESENT;
		off = random_below(rnd, page_size());
		ret = find(pfn * page_size() + off);
		ck_assert_int_eq(ret.state, FERRY__PHYS_FOUND);
		found = ret.addr / page_size() - FIRST;
		ck_assert_uint_eq(fake.word[found], fake.word[i]);
		ck_assert_uint_eq(ret.addr % page_size(), off);
	}
	ck_assert_uint_eq(stats().pages, pages);
	ck_assert_uint_le(stats().runs, pages);
}

/*
 * Stretches of pages: together, scattered, huge, absent, swapped out. No two
 * have a frame in common.
 */
static void lay_out(struct random *rnd)
{
	uint64_t pfn, base = 1 << 20;
	size_t i = 0, n, k, kind;

	while (i < PAGES) {
		n = 1 + random_below(rnd, random_below(rnd, 4) ? 8 : 900);
		n = n < PAGES - i ? n : PAGES - i;
		kind = random_below(rnd, 6);
		base += 1 << 16;
		pfn = base + random_below(rnd, 1 << 12);
		if (random_below(rnd, 3) == 0 && PAGES - i >= HUGE_PFN) {
			i = (i + HUGE_PFN - 1) & ~(size_t)(HUGE_PFN - 1);
			if (i + HUGE_PFN <= PAGES)
				put_huge(i, pfn & ~(uint64_t)(HUGE_PFN - 1));
			i += HUGE_PFN;
			continue;
		}
		for (k = 0; k < n; k++, i++) {
			if (kind < 2)
				put(i, pfn + k, BASE);
			else if (kind == 2) /* backwards: all scattered */
				put(i, pfn + (1 << 15) - k, BASE);
			else if (kind == 3)
				put(i, pfn + 2 * k, BASE);
			else if (kind == 4)
				fake.word[i] = FERRY__PM_SWAP | pfn;
			if (kind < 4 && random_below(rnd, 50) == 0)
				fake.word[i] = 0;
		}
	}
}

START_TEST(every_page_is_found_at_its_address)
{
	struct random rnd = harness_random();
	size_t i, n = harness_scaled(40);

	for (i = 0; i < n; i++) {
		made_up(i & 1);
		lay_out(&rnd);
		rebuild();
		assert_inverted(&rnd);
		ck_assert_int_eq(find(5 * page_size()).state,
				 FERRY__PHYS_NOTHING);
		end();
	}
}
END_TEST

START_TEST(pages_that_adjoin_both_ways_are_one_run)
{
	size_t i;

	made_up(true);
	for (i = 0; i < 300; i++)
		put(i, 4711 + i, BASE);
	for (; i < 400; i++)
		put(i, 9000 - i, BASE);
	rebuild();
	ck_assert_uint_eq(stats().pages, 400);
	ck_assert_uint_eq(stats().runs, 101);
}
END_TEST

/* More than one look of PAGEMAP_SCAN returns. */
START_TEST(many_stretches_are_all_read)
{
	struct random rnd = harness_random();
	size_t i;

	made_up(true);
	for (i = 0; i < PAGES; i += 3)
		put(i, 4711 + i, BASE);
	rebuild();
	assert_inverted(&rnd);
}
END_TEST

START_TEST(huge_page_is_one_run_and_one_word)
{
	size_t i;

	made_up(true);
	for (i = 0; i < PAGES; i += HUGE_PFN)
		put_huge(i, (1 << 20) + (PAGES - i) * 2);
	rebuild();
	ck_assert_uint_eq(stats().runs, PAGES / HUGE_PFN);
	ck_assert_uint_eq(stats().pages, PAGES);
	ck_assert_uint_le(fake.reads, PAGES / HUGE_PFN + 1);
	ck_assert_uint_eq(
		find((fake.word[700] & ~FERRY__PM_PRESENT) * page_size() + 123)
			.addr,
		address(700) + 123);
}
END_TEST

START_TEST(huge_page_that_was_split_is_read_page_by_page)
{
	struct random rnd = harness_random();
	size_t i;

	made_up(true);
	put_huge(0, 1 << 20);
	for (i = 0; i < HUGE_PFN; i++) /* the scan still says huge */
		put(i, (1 << 20) + 7 + 3 * i, HUGE);
	rebuild();
	assert_inverted(&rnd);
}
END_TEST

START_TEST(zero_page_is_left_out)
{
	size_t i;

	made_up(true);
	for (i = 0; i < 100; i++)
		put(i, i % 3 ? ZERO_PFN : 5000 + 2 * i, i % 3 ? ZERO : BASE);
	rebuild();
	ck_assert_uint_eq(stats().pages, 34);
	ck_assert_int_eq(find(ZERO_PFN * page_size()).state,
			 FERRY__PHYS_NOTHING);
}
END_TEST

START_TEST(page_mapped_twice_is_found_where_it_still_is)
{
	struct ferry__phys_result ret;

	made_up(true);
	put_huge(0, 1 << 20);
	put(600, (1 << 20) + 5, BASE);
	put(700, (1 << 20) + 5, BASE);
	put(800, (1 << 20) + 200, BASE);
	rebuild();
	ret = find(((1 << 20) + 5) * page_size());
	ck_assert_int_eq(ret.state, FERRY__PHYS_FOUND);
	ck_assert_int_eq(find(((1 << 20) + 201) * page_size()).state,
			 FERRY__PHYS_FOUND);
	fake.word[5] = 0;
	fake.word[700] = 0;
	ret = find(((1 << 20) + 5) * page_size());
	ck_assert_uint_eq(ret.addr, address(600));
	fake.word[600] = 0;
	put(700, (1 << 20) + 5, BASE);
	ret = find(((1 << 20) + 5) * page_size());
	ck_assert_uint_eq(ret.addr, address(700));
}
END_TEST

START_TEST(page_that_left_is_stale_and_then_nothing)
{
	made_up(true);
	put(10, 4711, BASE);
	rebuild();
	ck_assert_uint_eq(find(4711 * page_size() + 1).addr, address(10) + 1);
	put(10, 4712, BASE);
	ck_assert_int_eq(find(4711 * page_size()).state, FERRY__PHYS_STALE);
	fake.word[10] = FERRY__PM_SWAP | 4711;
	ck_assert_int_eq(find(4711 * page_size()).state, FERRY__PHYS_STALE);
	fake.word[10] = 0;
	ck_assert_int_eq(find(4711 * page_size()).state, FERRY__PHYS_STALE);
	ck_assert_uint_eq(stats().stale, 3);
	rebuild();
	ck_assert_int_eq(find(4711 * page_size()).state, FERRY__PHYS_NOTHING);
	ck_assert_uint_eq(stats().stale, 3);
}
END_TEST

START_TEST(addresses_too_high_are_invalid)
{
	made_up(true);
	put(10, 4711, BASE);
	rebuild();
	ck_assert_int_eq(find(UINT64_MAX).state, FERRY__PHYS_INVALID);
	ck_assert_int_eq(find((uint64_t)1 << 56).state, FERRY__PHYS_INVALID);
	ck_assert_int_eq(find(((uint64_t)1 << 56) - 1).state,
			 FERRY__PHYS_NOTHING);
	/* As a frame number it would be there; it is taken as bytes. */
	ck_assert_int_eq(find(4711).state, FERRY__PHYS_NOTHING);
	ck_assert_int_eq(find(0).state, FERRY__PHYS_NOTHING);
}
END_TEST

START_TEST(hidden_frames_are_named)
{
	struct ferry__span all = all_pages();
	struct ferry__phys_result ret;
	uint64_t phys = 4711 * page_size();
	int scan;

	for (scan = 0; scan < 2; scan++) {
		made_up(scan);
		put(10, 4711, BASE);
		rebuild();
		put(10, 0, BASE);
		ck_assert_int_eq(ferry__physmap_find(map, &phys, 1, &ret),
				 -EPERM);
		ck_assert_int_eq(ferry__physmap_build(map, &all, 1), -EPERM);
		ck_assert(!ferry__physmap_current(map));
		ck_assert_uint_eq(stats().pages, 0);
		ck_assert_int_eq(fake.open_fds, 0);
		put_huge(0, 0);
		ck_assert_int_eq(ferry__physmap_build(map, &all, 1), -EPERM);
		end();
	}
}
END_TEST

static void change(void *arg)
{
	ferry__physmap_changed(arg);
}

START_TEST(changes_make_it_not_current)
{
	struct inject_rule meanwhile = { .call = INJECT_PREAD,
					 .hook = change,
					 .done = INJECT_ALL };
	struct ferry__span all = all_pages();

	made_up(true);
	ck_assert(!ferry__physmap_current(map));
	put(10, 4711, BASE);
	rebuild();
	ferry__physmap_changed(map);
	ck_assert(!ferry__physmap_current(map));
	ck_assert_int_eq(find(4711 * page_size()).state, FERRY__PHYS_FOUND);
	rebuild();
	ck_assert_uint_eq(stats().generation, 1);
	ck_assert_uint_eq(stats().builds, 2);
	meanwhile.arg = map;
	inject_add(&meanwhile);
	ck_assert_int_eq(ferry__physmap_build(map, &all, 1), 0);
	ck_assert_uint_eq(inject_hits(&meanwhile), 1);
	ck_assert(!ferry__physmap_current(map));
	rebuild();
	ferry__physmap_drop(map);
	ck_assert(!ferry__physmap_current(map));
	ck_assert_int_eq(find(4711 * page_size()).state, FERRY__PHYS_NOTHING);
}
END_TEST

START_TEST(child_of_fork_has_to_build_anew)
{
	int status;
	pid_t pid;

	made_up(true);
	put(10, 4711, BASE);
	rebuild();
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(ferry__physmap_current(map) ? 1 : 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert(ferry__physmap_current(map));
}
END_TEST

/* Every other frame: each page is a run of its own. */
static void scatter(void)
{
	size_t i;

	for (i = 0; i < PAGES; i++)
		put(i, 4711 + 2 * i, BASE);
}

START_TEST(memory_is_bounded)
{
	struct ferry__span all = all_pages();
	size_t room = 65536 + PAGES * 32;

	made_up(true);
	ferry__physmap_destroy(map);
	scatter();
	map = make(room);
	rebuild();
	ck_assert_uint_eq(stats().runs, PAGES);
	ck_assert_uint_eq(stats().bytes, PAGES * 16 + page_size());
	ferry__physmap_drop(map);
	ck_assert_uint_eq(stats().bytes, page_size());
	ferry__physmap_destroy(map);
	map = make(room - 32);
	ck_assert_int_eq(ferry__physmap_build(map, &all, 1), -ENOSPC);
	ck_assert_uint_eq(stats().bytes, page_size());
	ck_assert(!ferry__physmap_current(map));
	ck_assert_int_eq(find(4711 * page_size()).state, FERRY__PHYS_NOTHING);
	ferry__physmap_destroy(map);
	map = make(1);
	ck_assert_int_eq(ferry__physmap_build(map, &all, 1), -ENOSPC);
}
END_TEST

START_TEST(bad_ranges_are_refused)
{
	struct ferry__span bad[] = { all_pages(), all_pages() };

	made_up(true);
	bad[1].len--;
	ck_assert_int_eq(ferry__physmap_build(map, bad, 2), -EINVAL);
	bad[1].len = 0;
	ck_assert_int_eq(ferry__physmap_build(map, bad, 2), -EINVAL);
	bad[1].len = UINT64_MAX & ~(page_size() - 1);
	ck_assert_int_eq(ferry__physmap_build(map, bad, 2), -EINVAL);
	ck_assert_int_eq(ferry__physmap_build(map, bad, 0), 0);
	ck_assert(ferry__physmap_current(map));
}
END_TEST

START_TEST(short_reads_are_continued)
{
	struct inject_rule few = { .call = INJECT_PREAD,
				   .count = INJECT_ALWAYS,
				   .done = 24 };
	struct random rnd = harness_random();

	made_up(false);
	lay_out(&rnd);
	inject_add(&few);
	rebuild();
	assert_inverted(&rnd);
}
END_TEST

START_TEST(failures_leave_an_empty_map_and_leak_nothing)
{
	static const struct {
		enum inject_call call;
		uint64_t nth;
		int error, answer;
	} row[] = {
		{ INJECT_OPEN, 1, ENOENT, -EOPNOTSUPP },
		{ INJECT_OPEN, 1, EACCES, -EACCES },
		{ INJECT_OPEN, 1, EMFILE, -EMFILE },
		{ INJECT_MMAP, 1, ENOMEM, -ENOMEM },
		{ INJECT_MMAP, 2, ENOMEM, -ENOMEM },
		{ INJECT_MMAP, 3, ENOMEM, -ENOMEM },
		{ INJECT_MMAP, 4, ENOMEM, -ENOMEM },
		{ INJECT_PREAD, 1, EIO, -EIO },
	};
	struct inject_rule rule, again;
	struct ferry__span all = all_pages();
	struct ferry__phys_result ret;
	uint64_t phys = 4711 * page_size(), maps, unmaps;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(row); i++) {
		made_up(true);
		scatter();
		maps = inject_calls(INJECT_MMAP, 0);
		unmaps = inject_calls(INJECT_MUNMAP, 0);
		rule = (struct inject_rule){ .call = row[i].call,
					     .nth = row[i].nth,
					     .error = row[i].error };
		again = rule;
		inject_add(&rule);
		ck_assert_int_eq(ferry__physmap_build(map, &all, 1),
				 row[i].answer);
		ck_assert_uint_eq(inject_hits(&rule), 1);
		ck_assert(!ferry__physmap_current(map));
		ck_assert_int_eq(fake.open_fds, 0);
		ck_assert_uint_eq(stats().bytes, page_size());
		maps = inject_calls(INJECT_MMAP, 0) - maps -
		       (row[i].call == INJECT_MMAP);
		ck_assert_uint_eq(inject_calls(INJECT_MUNMAP, 0) - unmaps,
				  maps);
		rebuild();
		if (row[i].call != INJECT_MMAP) {
			inject_add(&again);
			ck_assert_int_eq(
				ferry__physmap_find(map, &phys, 1, &ret),
				row[i].answer);
			ck_assert_int_eq(fake.open_fds, 0);
		}
		end();
	}
}
END_TEST

START_TEST(found_pages_are_migrated_and_then_elsewhere)
{
	static struct ferry__phys_result ret[PAGES];
	static uint64_t phys[PAGES];
	size_t i;

	made_up(true);
	scatter();
	for (i = 0; i < PAGES; i++)
		phys[i] = (4711 + 2 * i) * page_size() + i % 4096;
	phys[3] = 3;
	phys[4] = UINT64_MAX;
	rebuild();
	fake.word[5] = 0;
	put(6, NODE_PFN + 6, BASE); /* on the node, but not where it was */
	ck_assert_int_eq(ferry__physmap_migrate(map, phys, PAGES, 1, ret),
			 PAGES - 4);
	ck_assert_int_eq(ret[3].state, FERRY__PHYS_NOTHING);
	ck_assert_int_eq(ret[4].state, FERRY__PHYS_INVALID);
	ck_assert_int_eq(ret[5].state, FERRY__PHYS_STALE);
	ck_assert_int_eq(ret[6].state, FERRY__PHYS_STALE);
	for (i = 7; i < PAGES; i++) {
		ck_assert_int_eq(ret[i].state, FERRY__PHYS_FOUND);
		ck_assert_uint_eq(ret[i].addr, address(i) + i % 4096);
		ck_assert_int_eq(ret[i].error, 0);
		ck_assert(ret[i].moved);
	}
	/* Not at its old address any more, and found at the new one. */
	ck_assert_int_eq(ferry__physmap_migrate(map, phys + 7, 1, 1, ret), 0);
	ck_assert_int_eq(ret[0].state, FERRY__PHYS_STALE);
	rebuild();
	phys[0] = (NODE_PFN + 7) * page_size();
	ck_assert_int_eq(ferry__physmap_migrate(map, phys, 1, 1, ret), 1);
	ck_assert_uint_eq(ret[0].addr, address(7));
	ck_assert(!ret[0].moved);
}
END_TEST

static void take_away(void *arg)
{
	fake.word[*(size_t *)arg] = 0;
}

START_TEST(page_that_leaves_before_it_is_migrated_is_stale)
{
	size_t which = 1;
	struct inject_rule rule = { .call = INJECT_MOVE_PAGES,
				    .done = INJECT_ALL,
				    .hook = take_away,
				    .arg = &which };
	uint64_t phys[2] = { 4711 * page_size(), 4713 * page_size() };
	struct ferry__phys_result ret[2];

	made_up(true);
	scatter();
	rebuild();
	inject_add(&rule);
	ck_assert_int_eq(ferry__physmap_migrate(map, phys, 2, 1, ret), 1);
	ck_assert(ret[0].moved);
	ck_assert_int_eq(ret[1].state, FERRY__PHYS_STALE);
	ck_assert_uint_eq(ret[1].addr, 0);
	ck_assert(!ret[1].moved);
	ck_assert_uint_eq(stats().stale, 1);
}
END_TEST

START_TEST(migration_that_cannot_be_is_refused)
{
	struct inject_rule rule = { .call = INJECT_MOVE_PAGES,
				    .error = ENOSYS };
	struct ferry__phys_result ret;
	uint64_t phys = 4711 * page_size();

	made_up(true);
	scatter();
	rebuild();
	ck_assert_int_eq(ferry__physmap_migrate(map, &phys, 1, 2, &ret),
			 -EINVAL);
	ck_assert_int_eq(ferry__physmap_migrate(map, &phys, 1, -1, &ret),
			 -EINVAL);
	ck_assert_int_eq(ferry__physmap_migrate(map, &phys, 0, 2, &ret),
			 -EINVAL);
	inject_add(&rule);
	ck_assert_int_eq(ferry__physmap_migrate(map, &phys, 1, 1, &ret),
			 -EOPNOTSUPP);
}
END_TEST

START_TEST(every_state_has_words)
{
	unsigned int i, k;

	for (i = 0; i < FERRY__PHYS_STATES; i++)
		for (k = 0; k < i; k++)
			ck_assert_str_ne(ferry__phys_state_text(
						 (enum ferry__phys_state)i),
					 ferry__phys_state_text(
						 (enum ferry__phys_state)k));
	ck_assert_ptr_nonnull(
		ferry__phys_state_text((enum ferry__phys_state)99));
}
END_TEST

/* --- the kernel's page tables --------------------------------------------- */

static uint64_t phys_of(const char *addr)
{
	uint64_t word = pagemap_word(addr);

	if (!(word & FERRY__PM_PRESENT))
		return 0;
	return (word & PFN_MASK) * page_size() + (uintptr_t)addr % page_size();
}

/* Root without CAP_SYS_ADMIN, as in many containers, sees no frames. */
static bool frames_are_hidden(void)
{
	volatile char *mem = map_anon(page_size());
	uint64_t word;

	do {
		*mem = 1;
		word = pagemap_word((char *)mem);
	} while (!(word & FERRY__PM_PRESENT)); /* it is on its way */
	return !(word & PFN_MASK);
}

#define NEED_FRAMES                                                            \
	do {                                                                   \
		if (frames_are_hidden())                                       \
			SKIP("sys_admin", "physical addresses are hidden");    \
	} while (0)

static size_t touch_for_reading(const char *mem, size_t len)
{
	size_t i, sum = 0;

	for (i = 0; i < len; i += page_size())
		sum += (unsigned char)((const volatile char *)mem)[i];
	return sum;
}

/* Which of the pages the map finds where they are. */
static size_t found_in(char *mem, size_t len)
{
	size_t page = page_size(), i, n = 0;

	for (i = 0; i < len; i += page) {
		touch_for_reading(mem + i, page); /* it may be swapped out */
		n += find(phys_of(mem + i) + 9).addr == (uintptr_t)mem + i + 9;
	}
	return n;
}

static void build_of(void *mem, size_t len)
{
	struct ferry__span s = { (uintptr_t)mem, len };

	ck_assert_int_eq(ferry__physmap_build(map, &s, 1), 0);
}

/* The kernel may move pages between build and look: then once more. */
static void assert_found(char *mem, size_t len)
{
	do
		build_of(mem, len);
	while (found_in(mem, len) < len / page_size());
}

START_TEST(pages_of_this_process_are_found)
{
	size_t len = 1000 * page_size();
	char *mem = map_anon(len);

	NEED_FRAMES;
	map = make(0);
	fill_pages(mem, len, 1);
	assert_found(mem, len);
}
END_TEST

START_TEST(huge_pages_of_this_process_are_found)
{
	size_t len = 4 * HUGE_SIZE;
	char *mem = map_huge(len);

	NEED_FRAMES;
	map = make(0);
	fill_pages(mem, len, 1);
	assert_found(mem, len);
}
END_TEST

START_TEST(shared_pages_of_this_process_are_found)
{
	size_t len = 300 * page_size();
	char *mem = mmap(NULL, len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	ck_assert_ptr_ne(mem, MAP_FAILED);
	NEED_FRAMES;
	map = make(0);
	fill_pages(mem, len, 1);
	assert_found(mem, len);
}
END_TEST

START_TEST(zero_pages_of_this_process_are_left_out)
{
	size_t len = 500 * page_size();
	char *mem = map_anon(len);

	NEED_FRAMES;
	map = make(0);
	ck_assert_uint_eq(touch_for_reading(mem, len), 0);
	build_of(mem, len);
	ck_assert_uint_eq(stats().pages, 0);
}
END_TEST

/* As a process without rights, which may read all but the frames. */
START_TEST(process_without_rights_is_told_so)
{
	char *mem = map_anon(page_size());
	struct ferry__span s = { (uintptr_t)mem, page_size() };
	int r;

	map = make(0);
	fill_pages(mem, page_size(), 1);
	if (setuid(65534))
		SKIP("setuid", "no other user: %s", strerror(errno));
	/* Else what is in /proc stays root's. */
	ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0);
	/* A page that is just being moved shows no frame to anybody. */
	do
		r = ferry__physmap_build(map, &s, 1);
	while (r == 0);
	ck_assert_int_eq(r, -EPERM);
}
END_TEST

START_TEST(pages_are_migrated_by_physical_address)
{
	size_t len = 64 * page_size(), page = page_size(), i;
	struct ferry__phys_result ret[64];
	char *mem = map_anon(len);
	uint64_t phys[64];

	NEED_FRAMES;
	map = make(0);
	numa_tonode_memory(mem, len, first_node());
	fill_pages(mem, len, 1);
	do {
		build_of(mem, len);
		for (i = 0; i < 64; i++)
			phys[i] = phys_of(mem + i * page);
		ck_assert_int_ge(ferry__physmap_migrate(map, phys, 64,
							second_node(), ret),
				 0);
	} while (pages_on(mem, len, second_node()) < 64);
	assert_pages(mem, len, 1);
	assert_found(mem, len);
}
END_TEST

#define MADE_UP(name)	     TEST_FIXTURE(name, NULL, NULL, end)
#define REAL(name, features) TEST_FIXTURE(name, features, NULL, end)

static const struct test tests[] = {
	MADE_UP(every_page_is_found_at_its_address),
	MADE_UP(pages_that_adjoin_both_ways_are_one_run),
	MADE_UP(many_stretches_are_all_read),
	MADE_UP(huge_page_is_one_run_and_one_word),
	MADE_UP(huge_page_that_was_split_is_read_page_by_page),
	MADE_UP(zero_page_is_left_out),
	MADE_UP(page_mapped_twice_is_found_where_it_still_is),
	MADE_UP(page_that_left_is_stale_and_then_nothing),
	MADE_UP(addresses_too_high_are_invalid),
	MADE_UP(hidden_frames_are_named),
	MADE_UP(changes_make_it_not_current),
	MADE_UP(child_of_fork_has_to_build_anew),
	MADE_UP(memory_is_bounded),
	MADE_UP(bad_ranges_are_refused),
	MADE_UP(short_reads_are_continued),
	MADE_UP(failures_leave_an_empty_map_and_leak_nothing),
	MADE_UP(found_pages_are_migrated_and_then_elsewhere),
	MADE_UP(page_that_leaves_before_it_is_migrated_is_stale),
	MADE_UP(migration_that_cannot_be_is_refused),
	MADE_UP(every_state_has_words),
	REAL(pages_of_this_process_are_found, "root"),
	REAL(huge_pages_of_this_process_are_found, "root,thp"),
	REAL(shared_pages_of_this_process_are_found, "root"),
	REAL(zero_pages_of_this_process_are_left_out, "root"),
	REAL(process_without_rights_is_told_so, "root"),
	REAL(pages_are_migrated_by_physical_address, "root,numa"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
