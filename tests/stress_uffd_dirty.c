/* SPDX-License-Identifier: MIT */
/*
 * Dirty tracking amid all that happens to memory: writers, forks, pages
 * discarded, paged out and made huge, while a replica is kept up to date from
 * reported pages alone. Any write that was missed shows in the end.
 */
#include <ferry/dirty.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/system.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

#define PAGE   ferry__page_size
#define PAGES  512
#define WORDS  (PAGE / sizeof(uint64_t))
#define WRITES 6000

/* Kinds of disturbance, or-ed. */
#define FORK	(1u << 0)
#define PAGEOUT (1u << 1)
#define DISCARD (1u << 2)
#define HUGE	(1u << 3)

struct stress {
	struct ferry_dirty *dirty;
	char *mem;
	char *replica;
	unsigned int kinds;
	bool end;
};

struct worker {
	pthread_t thread;
	struct stress *s;
	struct random random;
	size_t index;
};

#define WRITERS 2

static uint64_t *word_at(char *base, size_t page, size_t word)
{
	return (uint64_t *)(base + page * PAGE) + word;
}

/*
 * T1: relaxed throughout: words are written by one thread each, copied word
 * by word beside it, and compared after pthread_join().
 */
static void *write_words(void *arg)
{
	struct worker *w = arg;
	size_t i, n = harness_scaled(WRITES), word;
	uint64_t *p;

	for (i = 0; i < n; i++) {
		word = random_below(&w->random, WORDS / WRITERS) * WRITERS +
		       w->index;
		p = word_at(w->s->mem, random_below(&w->random, PAGES), word);
		__atomic_store_n(p, random_next(&w->random), __ATOMIC_RELAXED);
	}
	return NULL;
}

static void fork_once(void)
{
	pid_t pid = fork();

	/* The child asserts nothing: a lock of Check may be another thread's. */
	if (!pid)
		_exit(0);
	ck_assert_int_ge(pid, 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static void disturb_once(struct worker *w)
{
	size_t first = random_below(&w->random, PAGES);
	size_t n = 1 + random_below(&w->random, PAGES - first) % 64;
	unsigned int kinds = w->s->kinds;
	char *p = w->s->mem + first * PAGE;

	if (kinds & PAGEOUT)
		madvise(p, n * PAGE, FERRY__MADV_PAGEOUT);
	if (kinds & DISCARD)
		madvise(p,
			(1 + n % 8) * PAGE <= n * PAGE ? (1 + n % 8) * PAGE
						       : PAGE,
			MADV_DONTNEED);
	if (kinds & HUGE)
		madvise(w->s->mem, PAGES * PAGE, FERRY__MADV_COLLAPSE);
	if (kinds & FORK)
		fork_once();
}

static void *disturb(void *arg)
{
	struct worker *w = arg;

	/* Relaxed: only the loop's end hangs on the word. */
	while (!__atomic_load_n(&w->s->end, __ATOMIC_RELAXED)) {
		disturb_once(w);
		ferry__sys->sleep_ns(1000000);
	}
	return NULL;
}

static void copy_run(const struct stress *s, const struct ferry_range *run)
{
	const uint64_t *from = run->addr;
	uint64_t *to = (uint64_t *)(s->replica + ((char *)run->addr - s->mem));
	size_t i;

	for (i = 0; i < run->len / sizeof(*from); i++)
		to[i] = __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static size_t update(struct stress *s, size_t max)
{
	struct ferry_range runs[64];
	char *pos = s->mem, *end = s->mem + PAGES * PAGE;
	size_t i, n, reported = 0;
	void *next;

	for (; pos < end; pos = next) {
		ck_assert_int_eq(ferry_dirty_collect(s->dirty, pos,
						     (size_t)(end - pos), runs,
						     max, &n, &next),
				 0);
		for (i = 0; i < n; i++)
			copy_run(s, &runs[i]);
		reported += n;
	}
	return reported;
}

static void start(struct worker *w, struct stress *s, struct random *random,
		  size_t index, void *(*fn)(void *))
{
	w->s = s;
	w->index = index;
	w->random = random_seeded(random_next(random));
	ck_assert_int_eq(pthread_create(&w->thread, NULL, fn, w), 0);
}

/* Updates until the writers are done; then once more. */
static void follow(struct stress *s, struct random *random)
{
	struct worker w[WRITERS], other;
	size_t i, rounds = harness_scaled(50);

	for (i = 0; i < WRITERS; i++)
		start(&w[i], s, random, i, write_words);
	if (s->kinds)
		start(&other, s, random, 0, disturb);
	for (i = 0; i < rounds; i++)
		update(s, 16 + random_below(random, 49));
	for (i = 0; i < WRITERS; i++)
		pthread_join(w[i].thread, NULL);
	__atomic_store_n(&s->end, true, __ATOMIC_RELAXED);
	if (s->kinds)
		pthread_join(other.thread, NULL);
	update(s, 64);
}

static char *aligned_memory(void)
{
	size_t huge = ferry__huge_size() ? ferry__huge_size() : PAGE;
	uintptr_t p = (uintptr_t)mmap(NULL, PAGES * PAGE + huge,
				      PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ck_assert_uint_ne(p, (uintptr_t)MAP_FAILED);
	return (char *)((p + huge - 1) & ~(huge - 1));
}

static void stress(enum ferry_dirty_provider provider, unsigned int kinds)
{
	struct ferry_dirty_params params =
		FERRY_INIT(struct ferry_dirty_params);
	struct random random = harness_random();
	struct stress s = { .mem = aligned_memory(), .kinds = kinds };
	size_t i;

	params.provider = provider;
	ck_assert_int_eq(ferry_dirty_open(&params, NULL, &s.dirty), 0);
	madvise(s.mem, PAGES * PAGE,
		kinds & HUGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	memset(s.mem, 0x5a, PAGES / 2 * PAGE);
	s.replica = malloc(PAGES * PAGE);
	memcpy(s.replica, s.mem, PAGES * PAGE);
	ck_assert_int_eq(ferry_dirty_arm(s.dirty, s.mem, PAGES * PAGE, NULL),
			 0);
	follow(&s, &random);
	for (i = 0; i < PAGES; i++)
		ck_assert_msg(
			!memcmp(s.mem + i * PAGE, s.replica + i * PAGE, PAGE),
			"a change of page %zu was missed", i);
	ck_assert_uint_eq(update(&s, 64), 0);
	ferry_dirty_close(s.dirty);
	free(s.replica);
}

#define STRESS(provider, PROVIDER, kind, kinds)                                \
	START_TEST(provider##_misses_nothing_##kind)                           \
	{                                                                      \
		stress(FERRY_DIRTY_##PROVIDER, (kinds));                       \
	}                                                                      \
	END_TEST

/* Swap space is held for the time of the test. */
#define STRESS_SWAP(provider, PROVIDER, kinds)                                 \
	START_TEST(provider##_misses_nothing_while_paged_out)                  \
	{                                                                      \
		struct system_hold hold;                                       \
                                                                               \
		if (!system_hold_swap(&hold))                                  \
			SKIP("swap", "%s", hold.reason);                       \
		stress(FERRY_DIRTY_##PROVIDER, (kinds) | PAGEOUT);             \
		system_release(&hold);                                         \
	}                                                                      \
	END_TEST

STRESS(wp_async, WP_ASYNC, beside_forks, FORK)
STRESS(wp_async, WP_ASYNC, of_huge_pages, HUGE)
STRESS(wp_async, WP_ASYNC, of_discarded_pages, DISCARD)
STRESS(wp_async, WP_ASYNC, of_all_at_once, FORK | HUGE | DISCARD)
STRESS_SWAP(wp_async, WP_ASYNC, DISCARD)
STRESS(wp_sync, WP_SYNC, beside_forks, FORK)
STRESS(wp_sync, WP_SYNC, of_huge_pages, HUGE)
STRESS(wp_sync, WP_SYNC, of_discarded_pages, DISCARD)
STRESS(wp_sync, WP_SYNC, of_all_at_once, FORK | HUGE | DISCARD)
STRESS_SWAP(wp_sync, WP_SYNC, DISCARD)
STRESS(soft, SOFT, beside_forks, FORK)
STRESS(soft, SOFT, of_huge_pages, HUGE)
STRESS_SWAP(soft, SOFT, 0)
STRESS(mprotect, MPROTECT, beside_forks, FORK)
STRESS(mprotect, MPROTECT, of_huge_pages, HUGE)
STRESS_SWAP(mprotect, MPROTECT, 0)

#define ASYNC_NEEDS "wp_async,pagemap_scan"

static const struct test tests[] = {
	TEST(wp_async_misses_nothing_beside_forks, ASYNC_NEEDS),
	TEST(wp_async_misses_nothing_of_huge_pages, ASYNC_NEEDS ",thp"),
	TEST(wp_async_misses_nothing_of_discarded_pages, ASYNC_NEEDS),
	TEST(wp_async_misses_nothing_of_all_at_once, ASYNC_NEEDS),
	TEST(wp_async_misses_nothing_while_paged_out,
	     ASYNC_NEEDS ",swap,pageout"),
	TEST(wp_sync_misses_nothing_beside_forks, "wp"),
	TEST(wp_sync_misses_nothing_of_huge_pages, "wp,thp"),
	TEST(wp_sync_misses_nothing_of_discarded_pages, "wp"),
	TEST(wp_sync_misses_nothing_of_all_at_once, "wp"),
	TEST(wp_sync_misses_nothing_while_paged_out, "wp,swap,pageout"),
	TEST(soft_misses_nothing_beside_forks, "soft_dirty,wp"),
	TEST(soft_misses_nothing_of_huge_pages, "soft_dirty,wp,thp"),
	TEST(soft_misses_nothing_while_paged_out, "soft_dirty,wp,swap,pageout"),
	TEST(mprotect_misses_nothing_beside_forks, NULL),
	TEST(mprotect_misses_nothing_of_huge_pages, "thp"),
	TEST(mprotect_misses_nothing_while_paged_out, "swap,pageout"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
