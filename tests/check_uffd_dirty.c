/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking: the same facts of each provider. The model is a replica
 * that is brought up to date from reported pages alone: a write that was
 * missed shows as a difference.
 */
#include <ferry/dirty.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "uffd/dirty.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define PAGE  ferry__page_size
#define PAGES 512

/* A tracker and the memory it watches. */
struct tracked {
	struct ferry_dirty *dirty;
	char *mem;
	size_t pages;
	struct ferry_range *runs;
	size_t n; /* runs of the last collection */
};

static char *map_pages(size_t pages)
{
	char *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_msg(p != MAP_FAILED, "mmap: %s", strerror(errno));
	/* Without huge pages, reports are exact to the page. */
	madvise(p, pages * PAGE, MADV_NOHUGEPAGE);
	return p;
}

static struct ferry_dirty *open_tracker(enum ferry_dirty_provider provider)
{
	struct ferry_dirty_params params =
		FERRY_INIT(struct ferry_dirty_params);
	enum ferry_reason reason;
	struct ferry_dirty *dirty;
	int r;

	params.provider = provider;
	r = ferry_dirty_open(&params, &reason, &dirty);
	ck_assert_msg(!r, "%s: %s: %s", ferry_dirty_provider_name(provider),
		      strerror(-r), ferry_reason_string(reason));
	ck_assert_int_eq(ferry_dirty_provider(dirty), provider);
	return dirty;
}

static void arm(struct ferry_dirty *dirty, char *mem, size_t pages)
{
	enum ferry_reason reason;
	int r = ferry_dirty_arm(dirty, mem, pages * PAGE, &reason);

	ck_assert_msg(!r, "arm: %s: %s", strerror(-r),
		      ferry_reason_string(reason));
	ck_assert_int_eq(reason, FERRY_REASON_NONE);
}

/* @present pages of @pages written before they are armed. */
static struct tracked track(enum ferry_dirty_provider provider, size_t pages,
			    size_t present)
{
	struct tracked t = { .pages = pages };
	size_t i;

	t.dirty = open_tracker(provider);
	t.mem = map_pages(pages);
	t.runs = calloc(pages, sizeof(*t.runs));
	ck_assert_ptr_nonnull(t.runs);
	for (i = 0; i < present; i++)
		t.mem[i * PAGE] = 1;
	arm(t.dirty, t.mem, pages);
	return t;
}

static void untrack(struct tracked *t)
{
	ferry_dirty_close(t->dirty);
	munmap(t->mem, t->pages * PAGE);
	free(t->runs);
}

/* Collects [@first, @first + @pages) with room for @max runs a call. */
static void collect_part(struct tracked *t, size_t first, size_t pages,
			 size_t max)
{
	char *pos = t->mem + first * PAGE, *end = pos + pages * PAGE;
	void *next;
	size_t n;
	int r;

	t->n = 0;
	while (pos < end) {
		r = ferry_dirty_collect(t->dirty, pos, (size_t)(end - pos),
					t->runs + t->n, max, &n, &next);
		ck_assert_msg(!r, "collect: %s", strerror(-r));
		ck_assert_uint_le(n, max);
		ck_assert((char *)next > pos);
		t->n += n;
		pos = next;
	}
	ck_assert_ptr_eq(pos, end);
}

static void collect(struct tracked *t)
{
	collect_part(t, 0, t->pages, t->pages);
}

/* Runs ascend, lie in the range, are whole pages; marks them in @pages. */
static size_t mark_runs(const struct tracked *t, bool *pages)
{
	uintptr_t floor = (uintptr_t)t->mem, start;
	size_t i, k, count = 0;

	memset(pages, 0, t->pages);
	for (i = 0; i < t->n; i++) {
		start = (uintptr_t)t->runs[i].addr;
		ck_assert_uint_ge(start, floor);
		ck_assert_uint_gt(t->runs[i].len, 0);
		ck_assert_uint_eq((start | t->runs[i].len) % PAGE, 0);
		floor = start + t->runs[i].len;
		for (k = start; k < floor; k += PAGE, count++)
			pages[(k - (uintptr_t)t->mem) / PAGE] = true;
	}
	ck_assert_uint_le(floor, (uintptr_t)t->mem + t->pages * PAGE);
	return count;
}

/* The last collection reported just the pages of @expected. */
static void assert_pages(const struct tracked *t, const bool *expected)
{
	bool *got = calloc(t->pages, 1);
	size_t i;

	mark_runs(t, got);
	for (i = 0; i < t->pages; i++)
		ck_assert_msg(got[i] == expected[i], "page %zu: %s", i,
			      got[i] ? "reported, not written"
				     : "written, not reported");
	free(got);
}

static void assert_clean(struct tracked *t)
{
	collect(t);
	ck_assert_msg(!t->n, "a clean page was reported: %zu",
		      ((uintptr_t)t->runs[0].addr - (uintptr_t)t->mem) / PAGE);
}

static void write_page(struct tracked *t, size_t page, bool *expected)
{
	/* One byte anywhere in the page. */
	*(volatile char *)(t->mem + page * PAGE + page % PAGE) += 1;
	expected[page] = true;
}

static void write_random(struct tracked *t, struct random *random,
			 size_t writes, bool *expected)
{
	memset(expected, 0, t->pages);
	while (writes--)
		write_page(t, random_below(random, t->pages), expected);
}

/* --- facts of every provider ---------------------------------------------- */

static void armed_pages_are_clean(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, PAGES, PAGES / 2);

	assert_clean(&t);
	assert_clean(&t);
	untrack(&t);
}

static void written_pages_are_reported_once(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, PAGES, PAGES);
	struct random random = harness_random();
	size_t i, rounds = harness_scaled(30);
	bool expected[PAGES];

	for (i = 1; i <= rounds; i++) {
		write_random(&t, &random, i * 11, expected);
		collect(&t);
		assert_pages(&t, expected);
		assert_clean(&t);
	}
	untrack(&t);
}

static void peek(struct tracked *t)
{
	char *pos = t->mem, *end = pos + t->pages * PAGE;
	void *next;
	size_t n;

	for (t->n = 0; pos < end; pos = next, t->n += n)
		ck_assert_int_eq(ferry_dirty_peek(t->dirty, pos,
						  (size_t)(end - pos),
						  t->runs + t->n,
						  t->pages - t->n, &n, &next),
				 0);
}

static void peeking_leaves_pages_dirty_where_it_is_to_be_had(
	enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, PAGES, PAGES);
	struct random random = harness_random();
	bool expected[PAGES];
	void *next;
	size_t n;

	if (provider != FERRY_DIRTY_WP_ASYNC) {
		ck_assert_int_eq(ferry_dirty_peek(t.dirty, t.mem, PAGE, t.runs,
						  1, &n, &next),
				 -EOPNOTSUPP);
		untrack(&t);
		return;
	}
	peek(&t);
	ck_assert_uint_eq(t.n, 0);
	write_random(&t, &random, 100, expected);
	peek(&t);
	assert_pages(&t, expected);
	peek(&t);
	assert_pages(&t, expected);
	collect(&t);
	assert_pages(&t, expected);
	peek(&t);
	ck_assert_uint_eq(t.n, 0);
	untrack(&t);
}

static void absent_pages_are_tracked(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, PAGES, 0);
	struct random random = harness_random();
	bool expected[PAGES];
	size_t i;

	for (i = 0; i < 10; i++) {
		write_random(&t, &random, 20, expected);
		collect(&t);
		assert_pages(&t, expected);
	}
	untrack(&t);
}

static void touching_runs_are_joined(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, PAGES, PAGES / 2);
	bool expected[PAGES] = { false };
	size_t i;

	/* Over present and absent pages, and over a word of any bitmap. */
	for (i = 60; i < 400; i++)
		write_page(&t, i, expected);
	collect(&t);
	assert_pages(&t, expected);
	ck_assert_uint_eq(t.n, 1);
	for (i = 0; i < PAGES; i++)
		write_page(&t, i, expected);
	collect(&t);
	ck_assert_uint_eq(t.n, 1);
	untrack(&t);
}

static void
a_small_vector_is_continued_by_next(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, PAGES, PAGES / 2);
	struct random random = harness_random();
	bool expected[PAGES];
	size_t max;

	for (max = 1; max < 9; max++) {
		write_random(&t, &random, 100, expected);
		collect_part(&t, 0, PAGES, max);
		assert_pages(&t, expected);
		assert_clean(&t);
	}
	untrack(&t);
}

static void a_part_leaves_the_rest_dirty(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, PAGES, PAGES);
	bool expected[PAGES] = { false }, part[PAGES] = { false };
	size_t i;

	for (i = 0; i < PAGES; i += 3)
		write_page(&t, i, expected);
	for (i = 0; i < PAGES; i++) {
		part[i] = expected[i] && i >= 100 && i < 201;
		expected[i] = expected[i] && !part[i];
	}
	collect_part(&t, 100, 101, PAGES);
	assert_pages(&t, part);
	collect(&t);
	assert_pages(&t, expected);
	untrack(&t);
}

/* The last collection left out none of the pages of @expected. */
static void assert_none_missed(const struct tracked *t, const bool *expected)
{
	bool *got = calloc(t->pages, 1);
	size_t i;

	mark_runs(t, got);
	for (i = 0; i < t->pages; i++)
		ck_assert_msg(got[i] || !expected[i], "page %zu was missed", i);
	free(got);
}

/*
 * More runs than the kernel gives back at once, and than fit one vector; so
 * many that mprotect saves mappings and opens more than was written.
 */
static void many_runs_are_all_reported(enum ferry_dirty_provider provider)
{
	const size_t pages = 1100 + harness_scaled(4096);
	struct tracked t = track(provider, pages, pages);
	bool *expected = calloc(pages, 1);
	size_t i, round;

	for (round = 0; round < 3; round++) {
		memset(expected, 0, pages);
		for (i = round; i < pages; i += 2)
			write_page(&t, i, expected);
		collect_part(&t, 0, pages, round == 2 ? 600 : pages);
		if (provider == FERRY_DIRTY_MPROTECT)
			assert_none_missed(&t, expected);
		else
			assert_pages(&t, expected);
		assert_clean(&t);
	}
	free(expected);
	untrack(&t);
}

static void disarmed_memory_is_ordinary(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, 16, 8);
	size_t n = 77;
	void *next;

	memset(t.mem, 2, 4 * PAGE);
	ck_assert_int_eq(ferry_dirty_disarm(t.dirty, t.mem, 8 * PAGE), -ENOENT);
	ck_assert_int_eq(ferry_dirty_disarm(t.dirty, t.mem + PAGE, 15 * PAGE),
			 -ENOENT);
	ck_assert_int_eq(ferry_dirty_disarm(t.dirty, t.mem, 16 * PAGE), 0);
	ck_assert_int_eq(ferry_dirty_disarm(t.dirty, t.mem, 16 * PAGE),
			 -ENOENT);
	memset(t.mem, 3, 16 * PAGE);
	ck_assert_int_eq(
		ferry_dirty_collect(t.dirty, t.mem, PAGE, t.runs, 1, &n, &next),
		-ENOENT);
	ck_assert_uint_eq(n, 77);
	arm(t.dirty, t.mem, 16);
	assert_clean(&t);
	ferry_dirty_close(t.dirty);
	/* Closed with a range armed: the memory is still the host's. */
	memset(t.mem, 4, 16 * PAGE);
	ck_assert_int_eq(t.mem[16 * PAGE - 1], 4);
	free(t.runs);
}

/* Where the kernel had no memory to unregister it. */
static void
memory_that_stayed_registered_is_armed_again(enum ferry_dirty_provider provider)
{
	struct inject_rule stays = { .call = INJECT_IOCTL,
				     .request = FERRY__UFFDIO_UNREGISTER,
				     .error = ENOMEM };
	struct random random = harness_random();
	enum ferry_reason reason;
	bool expected[PAGES];
	struct tracked t;

	inject_start();
	t = track(provider, PAGES, PAGES);
	inject_add(&stays);
	ck_assert_int_eq(ferry_dirty_disarm(t.dirty, t.mem, PAGES * PAGE), 0);
	if (provider != FERRY_DIRTY_MPROTECT) {
		stays.hits = stays.seen = 0;
		ck_assert_int_eq(
			ferry_dirty_arm(t.dirty, t.mem, PAGES * PAGE, &reason),
			-ENOMEM);
		ck_assert_int_eq(reason, FERRY_REASON_NO_MEMORY);
	}
	arm(t.dirty, t.mem, PAGES);
	assert_clean(&t);
	write_random(&t, &random, 100, expected);
	collect(&t);
	assert_pages(&t, expected);
	untrack(&t);
	inject_stop();
}

static void overlapping_ranges_are_refused(enum ferry_dirty_provider provider)
{
	struct ferry_dirty *dirty = open_tracker(provider);
	char *p = map_pages(16);
	enum ferry_reason reason;

	arm(dirty, p + 4 * PAGE, 4);
	ck_assert_int_eq(ferry_dirty_arm(dirty, p + 4 * PAGE, 4 * PAGE, NULL),
			 -EEXIST);
	ck_assert_int_eq(ferry_dirty_arm(dirty, p, 5 * PAGE, NULL), -EEXIST);
	ck_assert_int_eq(ferry_dirty_arm(dirty, p + 7 * PAGE, PAGE, &reason),
			 -EEXIST);
	ck_assert_int_eq(ferry_dirty_arm(dirty, p, 16 * PAGE, NULL), -EEXIST);
	arm(dirty, p, 4);
	arm(dirty, p + 8 * PAGE, 8);
	ferry_dirty_close(dirty);
}

static void bad_requests_are_refused(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, 4, 4);
	struct ferry_range run;
	enum ferry_reason reason;
	size_t n;
	void *next;
	char *p = map_pages(4);

	ck_assert_int_eq(ferry_dirty_arm(t.dirty, p + 1, PAGE, &reason),
			 -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_UNALIGNED);
	ck_assert_int_eq(ferry_dirty_arm(t.dirty, p, 0, &reason), -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_ZERO_LENGTH);
	ck_assert_int_eq(ferry_dirty_arm(t.dirty, p, (size_t)0 - PAGE, &reason),
			 -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_OVERFLOW);
	munmap(p, 4 * PAGE);
	ck_assert_int_eq(ferry_dirty_arm(t.dirty, p, 4 * PAGE, &reason),
			 -ENOMEM);
	ck_assert_int_eq(reason, FERRY_REASON_UNMAPPED);
	ck_assert_int_eq(
		ferry_dirty_collect(t.dirty, t.mem, PAGE, &run, 0, &n, &next),
		-EINVAL);
	ck_assert_int_eq(ferry_dirty_collect(t.dirty, t.mem + 1, PAGE, &run, 1,
					     &n, &next),
			 -EINVAL);
	ck_assert_int_eq(
		ferry_dirty_collect(t.dirty, t.mem, 0, &run, 1, &n, &next),
		-EINVAL);
	ck_assert_int_eq(ferry_dirty_collect(t.dirty, t.mem, 5 * PAGE, &run, 1,
					     &n, &next),
			 -ENOENT);
	ck_assert_int_eq(ferry_dirty_collect(t.dirty, t.mem - PAGE, 2 * PAGE,
					     &run, 1, &n, &next),
			 -ENOENT);
	untrack(&t);
}

static void several_ranges_are_told_apart(enum ferry_dirty_provider provider)
{
	struct ferry_dirty *dirty = open_tracker(provider);
	struct ferry_range run;
	char *p[8];
	size_t i, n;
	void *next;

	for (i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = map_pages(4);
		arm(dirty, p[i], 4);
	}
	for (i = 0; i < ARRAY_SIZE(p); i += 2)
		p[i][2 * PAGE] = 1;
	for (i = 0; i < ARRAY_SIZE(p); i++) {
		ck_assert_int_eq(ferry_dirty_collect(dirty, p[i], 4 * PAGE,
						     &run, 1, &n, &next),
				 0);
		ck_assert_uint_eq(n, !(i % 2));
		if (n)
			ck_assert_ptr_eq(run.addr, p[i] + 2 * PAGE);
	}
	for (i = 0; i < ARRAY_SIZE(p); i += 3)
		ck_assert_int_eq(ferry_dirty_disarm(dirty, p[i], 4 * PAGE), 0);
	ferry_dirty_close(dirty);
}

/* Page size and address that a huge page is made of, where there is one. */
static char *map_huge(size_t *ret_pages)
{
	size_t huge = ferry__huge_size();
	uintptr_t p;

	*ret_pages = 2 * huge / PAGE;
	p = (uintptr_t)mmap(NULL, 3 * huge, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert(p != (uintptr_t)MAP_FAILED);
	p = (p + huge - 1) & ~(huge - 1);
	ck_assert_int_eq(madvise((void *)p, 2 * huge, MADV_HUGEPAGE), 0);
	return (char *)p;
}

static void
writes_to_huge_pages_are_not_missed(enum ferry_dirty_provider provider)
{
	struct tracked t = { .dirty = open_tracker(provider) };
	struct random random = harness_random();
	bool *expected;
	size_t k;

	t.mem = map_huge(&t.pages);
	t.runs = calloc(t.pages, sizeof(*t.runs));
	expected = calloc(t.pages, 1);
	memset(t.mem, 1, t.pages / 2 * PAGE);
	arm(t.dirty, t.mem, t.pages);
	assert_clean(&t);
	for (k = 0; k < 20; k++) {
		write_random(&t, &random, k, expected);
		collect(&t);
		assert_none_missed(&t, expected);
		assert_clean(&t);
	}
	free(expected);
	free(t.runs);
	ferry_dirty_close(t.dirty);
}

static void child_write(struct tracked *t)
{
	struct ferry_range run;
	size_t n;
	void *next;

	memset(t->mem, 9, t->pages * PAGE);
	if (ferry_dirty_collect(t->dirty, t->mem, PAGE, &run, 1, &n, &next) !=
		    -ECHILD ||
	    ferry_dirty_arm(t->dirty, t->mem, PAGE, NULL) != -ECHILD ||
	    ferry_dirty_disarm(t->dirty, t->mem, t->pages * PAGE) != -ECHILD)
		_exit(1);
	ferry_dirty_close(t->dirty);
	memset(t->mem, 10, t->pages * PAGE);
	_exit(t->mem[0] != 10);
}

static void
fork_neither_disturbs_nor_is_disturbed(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, 64, 32);
	bool expected[64] = { false };
	int status;
	pid_t pid;

	write_page(&t, 1, expected);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid)
		child_write(&t);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	write_page(&t, 2, expected);
	write_page(&t, 40, expected);
	collect(&t);
	assert_pages(&t, expected);
	ck_assert_int_eq(t.mem[0], 1);
	assert_clean(&t);
	untrack(&t);
}

/* The next collection of a range with a hole: done, or refused in words. */
static bool collect_with_hole(struct tracked *t)
{
	void *next;
	int r = ferry_dirty_collect(t->dirty, t->mem, t->pages * PAGE, t->runs,
				    t->pages, &t->n, &next);

	ck_assert_msg(!r || r == -EIO, "collect: %s", strerror(-r));
	return !r;
}

static void
unmapped_pages_do_not_hide_others(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, 64, 64);
	bool got[64];
	size_t i;

	t.mem[4 * PAGE] = t.mem[30 * PAGE] = t.mem[60 * PAGE] = 2;
	munmap(t.mem + 29 * PAGE, 3 * PAGE);
	for (i = 0; i < 3 && collect_with_hole(&t); i++) {
		mark_runs(&t, got);
		ck_assert(got[4] && got[60]);
		ck_assert(!got[5] && !got[59]);
		t.mem[4 * PAGE] = t.mem[60 * PAGE] = (char)i;
	}
	ck_assert_int_eq(ferry_dirty_disarm(t.dirty, t.mem, 64 * PAGE), 0);
	memset(t.mem, 3, 29 * PAGE);
	memset(t.mem + 32 * PAGE, 3, 32 * PAGE);
	untrack(&t);
}

/* The vector of runs may itself be tracked memory. */
static void runs_may_lie_in_armed_memory(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, 64, 32);
	struct ferry_range *runs = (struct ferry_range *)t.mem;
	size_t i, k, n;
	void *next;

	for (i = 0; i < 3; i++) {
		for (k = 10; k < 64; k += 2)
			t.mem[k * PAGE] = 1;
		ck_assert_int_eq(ferry_dirty_collect(t.dirty, t.mem + 4 * PAGE,
						     60 * PAGE, runs, 60, &n,
						     &next),
				 0);
		ck_assert_uint_eq(n, 27);
		ck_assert_ptr_eq(runs[26].addr, t.mem + 62 * PAGE);
	}
	untrack(&t);
}

/* --- concurrent writers --------------------------------------------------- */

struct writer {
	pthread_t thread;
	struct tracked *t;
	struct random random;
	size_t writes, index, writers;
};

/* Counts up words that no other writer touches. */
static void *write_words(void *arg)
{
	struct writer *w = arg;
	size_t i, page, word;
	uint64_t *p;

	for (i = 0; i < w->writes; i++) {
		page = random_below(&w->random, w->t->pages);
		word = random_below(&w->random, PAGE / 8 / w->writers) *
			       w->writers +
		       w->index;
		p = (uint64_t *)(w->t->mem + page * PAGE) + word;
		/*
		 * C1: relaxed suffices: one writer per word, and the
		 * comparison runs after pthread_join().
		 */
		__atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + 1,
				 __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Copies the reported pages, word by word, as writers go on (see C1). */
static void copy_runs(const struct tracked *t, char *replica)
{
	const uint64_t *from;
	uint64_t *to;
	size_t i, k;

	for (i = 0; i < t->n; i++) {
		from = t->runs[i].addr;
		to = (uint64_t *)(replica + ((char *)t->runs[i].addr - t->mem));
		for (k = 0; k < t->runs[i].len / 8; k++)
			to[k] = __atomic_load_n(&from[k], __ATOMIC_RELAXED);
	}
}

static void race(struct tracked *t, char *replica, size_t writes)
{
	struct random random = harness_random();
	struct writer w[3];
	size_t i, rounds = harness_scaled(60), max;

	for (i = 0; i < ARRAY_SIZE(w); i++) {
		w[i] = (struct writer){
			.t = t,
			.random = random_seeded(random_next(&random)),
			.writes = writes,
			.index = i,
			.writers = ARRAY_SIZE(w),
		};
		ck_assert_int_eq(
			pthread_create(&w[i].thread, NULL, write_words, &w[i]),
			0);
	}
	for (i = 0; i < rounds; i++) {
		max = 1 + random_below(&random, t->pages);
		collect_part(t, 0, t->pages, i % 2 ? max : t->pages);
		copy_runs(t, replica);
	}
	for (i = 0; i < ARRAY_SIZE(w); i++)
		pthread_join(w[i].thread, NULL);
	collect(t);
	copy_runs(t, replica);
}

static void no_concurrent_write_is_missed(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, PAGES, PAGES / 2);
	char *replica = calloc(PAGES, PAGE);
	size_t i;

	memcpy(replica, t.mem, PAGES * PAGE);
	race(&t, replica, harness_scaled(20000));
	for (i = 0; i < PAGES; i++)
		ck_assert_msg(
			!memcmp(replica + i * PAGE, t.mem + i * PAGE, PAGE),
			"a write to page %zu was missed", i);
	assert_clean(&t);
	free(replica);
	untrack(&t);
}

struct part {
	pthread_t thread;
	struct tracked t; /* shares tracker and memory */
	size_t first, pages, rounds, found;
};

static void *collect_own_part(void *arg)
{
	struct part *part = arg;
	size_t i, k;

	for (i = 0; i < part->rounds; i++) {
		for (k = 0; k < part->pages; k += 2)
			part->t.mem[(part->first + k) * PAGE] = (char)i;
		collect_part(&part->t, part->first, part->pages, PAGES);
		part->found += part->t.n == part->pages / 2;
	}
	return NULL;
}

static void
disjoint_parts_are_collected_at_once(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, PAGES, PAGES);
	struct part part[2];
	size_t i;

	for (i = 0; i < 2; i++) {
		part[i] = (struct part){
			.t = t,
			.first = i * 200 + 1,
			.pages = 100,
			.rounds = harness_scaled(100),
		};
		part[i].t.runs = calloc(PAGES, sizeof(*t.runs));
		ck_assert_int_eq(pthread_create(&part[i].thread, NULL,
						collect_own_part, &part[i]),
				 0);
	}
	for (i = 0; i < 2; i++) {
		pthread_join(part[i].thread, NULL);
		ck_assert_uint_eq(part[i].found, part[i].rounds);
		free(part[i].t.runs);
	}
	untrack(&t);
}

struct rearmer {
	struct ferry_dirty *dirty;
	char *mem;
	bool end;
};

static void *rearm(void *arg)
{
	struct rearmer *a = arg;

	/* Relaxed: only the loop's end hangs on the word. */
	while (!__atomic_load_n(&a->end, __ATOMIC_RELAXED)) {
		ck_assert_int_eq(
			ferry_dirty_arm(a->dirty, a->mem, 8 * PAGE, NULL), 0);
		ck_assert_int_eq(ferry_dirty_disarm(a->dirty, a->mem, 8 * PAGE),
				 0);
	}
	return NULL;
}

/* A writer in the range is neither killed nor left waiting. */
static void
writers_survive_arming_and_disarming(enum ferry_dirty_provider provider)
{
	struct rearmer a = {
		.dirty = open_tracker(provider),
		.mem = map_pages(8),
	};
	size_t i, n = harness_scaled(100000);
	volatile char *p = a.mem;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, rearm, &a), 0);
	for (i = 0; i < n; i++)
		p[i % 8 * PAGE] = (char)i;
	__atomic_store_n(&a.end, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	ferry_dirty_close(a.dirty);
}

/* --- facts of providers that watch the page table -------------------------- */

static void discarded_pages_count_as_written(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, PAGES, PAGES);
	bool expected[PAGES] = { false };
	size_t i;

	for (i = 7; i < 20; i++)
		expected[i] = true;
	ck_assert_int_eq(madvise(t.mem + 7 * PAGE, 13 * PAGE, MADV_DONTNEED),
			 0);
	collect(&t);
	assert_pages(&t, expected);
	/* And what is written there afterwards is seen. */
	memset(expected, 0, sizeof(expected));
	write_page(&t, 9, expected);
	collect(&t);
	assert_pages(&t, expected);
	/* Discarded, written, all between two collections. */
	madvise(t.mem, PAGES * PAGE, MADV_DONTNEED);
	memset(expected, 1, sizeof(expected));
	write_page(&t, 100, expected);
	collect(&t);
	assert_pages(&t, expected);
	untrack(&t);
}

static int foreign_uffd(char *p, size_t len)
{
	struct ferry__uffdio_api api = { .api = FERRY__UFFD_API };
	struct ferry__uffdio_register reg = {
		.range = { (uintptr_t)p, len },
		.mode = FERRY__REGISTER_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd,
			      FERRY__UFFD_USER_MODE_ONLY | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ioctl(fd, FERRY__UFFDIO_API, &api), 0);
	ck_assert_int_eq(ioctl(fd, FERRY__UFFDIO_REGISTER, &reg), 0);
	return fd;
}

static void memory_of_another_uffd_is_busy(enum ferry_dirty_provider provider)
{
	struct ferry_dirty *dirty = open_tracker(provider);
	char *p = map_pages(8);
	enum ferry_reason reason;
	int fd = foreign_uffd(p + 4 * PAGE, PAGE);

	ck_assert_int_eq(ferry_dirty_arm(dirty, p, 8 * PAGE, &reason), -EBUSY);
	ck_assert_int_eq(reason, FERRY_REASON_OTHER_UFFD);
	close(fd);
	arm(dirty, p, 8);
	ferry_dirty_close(dirty);
}

static void writes_of_system_calls_are_seen(enum ferry_dirty_provider provider)
{
	struct tracked t = track(provider, 64, 32);
	bool expected[64] = { false };
	char buf[64] = "from the kernel";
	int fds[2];
	size_t i;

	ck_assert_int_eq(pipe(fds), 0);
	for (i = 5; i < 64; i += 30) {
		ck_assert_int_eq(write(fds[1], buf, sizeof(buf)), sizeof(buf));
		ck_assert_int_eq(read(fds[0], t.mem + i * PAGE, sizeof(buf)),
				 sizeof(buf));
		expected[i] = true;
	}
	collect(&t);
	assert_pages(&t, expected);
	untrack(&t);
}

/* Each fact as a test per provider. */
#define ON(provider, fact, PROVIDER)                                           \
	START_TEST(provider##_##fact)                                          \
	{                                                                      \
		fact(FERRY_DIRTY_##PROVIDER);                                  \
	}                                                                      \
	END_TEST

#define FACTS(X, ...)                                                          \
	X(__VA_ARGS__, armed_pages_are_clean)                                  \
	X(__VA_ARGS__, written_pages_are_reported_once)                        \
	X(__VA_ARGS__, peeking_leaves_pages_dirty_where_it_is_to_be_had)       \
	X(__VA_ARGS__, absent_pages_are_tracked)                               \
	X(__VA_ARGS__, touching_runs_are_joined)                               \
	X(__VA_ARGS__, a_small_vector_is_continued_by_next)                    \
	X(__VA_ARGS__, a_part_leaves_the_rest_dirty)                           \
	X(__VA_ARGS__, many_runs_are_all_reported)                             \
	X(__VA_ARGS__, disarmed_memory_is_ordinary)                            \
	X(__VA_ARGS__, memory_that_stayed_registered_is_armed_again)           \
	X(__VA_ARGS__, overlapping_ranges_are_refused)                         \
	X(__VA_ARGS__, bad_requests_are_refused)                               \
	X(__VA_ARGS__, several_ranges_are_told_apart)                          \
	X(__VA_ARGS__, fork_neither_disturbs_nor_is_disturbed)                 \
	X(__VA_ARGS__, unmapped_pages_do_not_hide_others)                      \
	X(__VA_ARGS__, runs_may_lie_in_armed_memory)                           \
	X(__VA_ARGS__, no_concurrent_write_is_missed)                          \
	X(__VA_ARGS__, disjoint_parts_are_collected_at_once)                   \
	X(__VA_ARGS__, writers_survive_arming_and_disarming)

#define DEFINE(provider, PROVIDER, needs, fact) ON(provider, fact, PROVIDER)
#define ENTRY(provider, PROVIDER, needs, fact)	TEST(provider##_##fact, needs),

#define ASYNC_NEEDS "wp_async,pagemap_scan"
#define SYNC_NEEDS  "wp"
#define SOFT_NEEDS  "soft_dirty,wp"

FACTS(DEFINE, wp_async, WP_ASYNC, ASYNC_NEEDS)
FACTS(DEFINE, wp_sync, WP_SYNC, SYNC_NEEDS)
FACTS(DEFINE, soft, SOFT, SOFT_NEEDS)
FACTS(DEFINE, mprotect, MPROTECT, NULL)

#define HUGE_FACTS(X, ...) X(__VA_ARGS__, writes_to_huge_pages_are_not_missed)

HUGE_FACTS(DEFINE, wp_async, WP_ASYNC, )
HUGE_FACTS(DEFINE, wp_sync, WP_SYNC, )
HUGE_FACTS(DEFINE, soft, SOFT, )
HUGE_FACTS(DEFINE, mprotect, MPROTECT, )

#define TABLE_FACTS(X, ...)                                                    \
	X(__VA_ARGS__, discarded_pages_count_as_written)                       \
	X(__VA_ARGS__, memory_of_another_uffd_is_busy)

TABLE_FACTS(DEFINE, wp_async, WP_ASYNC, ASYNC_NEEDS)
TABLE_FACTS(DEFINE, wp_sync, WP_SYNC, SYNC_NEEDS)

#define KERNEL_FACTS(X, ...) X(__VA_ARGS__, writes_of_system_calls_are_seen)

KERNEL_FACTS(DEFINE, wp_async, WP_ASYNC, )
KERNEL_FACTS(DEFINE, wp_sync, WP_SYNC, )
KERNEL_FACTS(DEFINE, soft, SOFT, )

/* --- facts of one provider ------------------------------------------------ */

START_TEST(wp_async_says_when_memory_was_mapped_anew)
{
	struct tracked t = track(FERRY_DIRTY_WP_ASYNC, 16, 16);
	size_t n;
	void *next;

	ck_assert_ptr_ne(mmap(t.mem + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 MAP_FAILED);
	ck_assert_int_eq(ferry_dirty_collect(t.dirty, t.mem, 16 * PAGE, t.runs,
					     16, &n, &next),
			 -EIO);
	ck_assert_int_eq(ferry_dirty_disarm(t.dirty, t.mem, 16 * PAGE), 0);
	arm(t.dirty, t.mem, 16);
	assert_clean(&t);
	untrack(&t);
}
END_TEST

START_TEST(names_of_providers_are_known)
{
	ck_assert_str_eq(ferry_dirty_provider_name(FERRY_DIRTY_ANY), "any");
	ck_assert_str_eq(ferry_dirty_provider_name(FERRY_DIRTY_WP_ASYNC),
			 "wp-async");
	ck_assert_str_eq(ferry_dirty_provider_name(FERRY_DIRTY_SOFT),
			 "soft-dirty");
	ck_assert_str_eq(ferry_dirty_provider_name(FERRY_DIRTY_WP_SYNC),
			 "wp-sync");
	ck_assert_str_eq(ferry_dirty_provider_name(FERRY_DIRTY_MPROTECT),
			 "mprotect");
	ck_assert_str_eq(ferry_dirty_provider_name(FERRY_DIRTY_PROVIDERS),
			 "unknown");
}
END_TEST

/* The formatter takes the lists for statements. */
/* clang-format off */
static const struct test tests[] = {
	FACTS(ENTRY, wp_async, WP_ASYNC, ASYNC_NEEDS)
	FACTS(ENTRY, wp_sync, WP_SYNC, SYNC_NEEDS)
	FACTS(ENTRY, soft, SOFT, SOFT_NEEDS)
	FACTS(ENTRY, mprotect, MPROTECT, NULL)
	HUGE_FACTS(ENTRY, wp_async, WP_ASYNC, ASYNC_NEEDS ",thp")
	HUGE_FACTS(ENTRY, wp_sync, WP_SYNC, SYNC_NEEDS ",thp")
	HUGE_FACTS(ENTRY, soft, SOFT, SOFT_NEEDS ",thp")
	HUGE_FACTS(ENTRY, mprotect, MPROTECT, "thp")
	TABLE_FACTS(ENTRY, wp_async, WP_ASYNC, ASYNC_NEEDS)
	TABLE_FACTS(ENTRY, wp_sync, WP_SYNC, SYNC_NEEDS)
	KERNEL_FACTS(ENTRY, wp_async, WP_ASYNC, ASYNC_NEEDS)
	KERNEL_FACTS(ENTRY, wp_sync, WP_SYNC, SYNC_NEEDS ",kernel_faults")
	KERNEL_FACTS(ENTRY, soft, SOFT, SOFT_NEEDS ",kernel_faults")
	TEST(wp_async_says_when_memory_was_mapped_anew, ASYNC_NEEDS),
	TEST(names_of_providers_are_known, NULL),
};
/* clang-format on */

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
