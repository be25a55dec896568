/* SPDX-License-Identifier: MIT */
/*
 * Allocator instances, through what libferry-alloc.so exports: blocks hold
 * what is written, cold or not, and an instance's memory goes as a whole.
 */
#include "tests/harness.h"

#include <errno.h>
#include <ferry/alloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/memory.h"

#define MIB	((size_t)1 << 20)
#define EAGER	"min_heap:0,rate:0,refault_limit:0,cold_after:1h,idle_after:1h"
#define OFFLOAD "malloc,move,kernel_faults"

static struct ferry_allocator *a;

static struct ferry_allocator *make(const char *conf)
{
	struct ferry_allocator_params p =
		FERRY_INIT(struct ferry_allocator_params);
	struct ferry_allocator *made = NULL;

	p.conf = conf;
	ck_assert_int_eq(ferry_allocator_create(&p, &made), 0);
	return made;
}

static struct ferry_allocator_stats stats_of(struct ferry_allocator *of)
{
	struct ferry_allocator_stats s =
		FERRY_INIT(struct ferry_allocator_stats);

	ck_assert_int_eq(ferry_allocator_stats(of, &s), 0);
	return s;
}

static unsigned char byte_of(uint64_t number, size_t i)
{
	return (unsigned char)(number * 31 + i / 64);
}

static void fill(void *p, size_t len, uint64_t number)
{
	unsigned char *c = p;
	size_t i;

	for (i = 0; i < len; i++)
		c[i] = byte_of(number, i);
}

static bool holds(const void *p, size_t len, uint64_t number)
{
	const unsigned char *c = p;
	size_t i;

	for (i = 0; i < len; i++)
		if (c[i] != byte_of(number, i))
			return false;
	return true;
}

static bool is_zero(const void *p, size_t len)
{
	const unsigned char *c = p;
	size_t i;

	for (i = 0; i < len; i++)
		if (c[i])
			return false;
	return true;
}

/* --- blocks --------------------------------------------------------------- */

struct block {
	unsigned char *p;
	size_t len;
	uint64_t number;
};

static size_t some_len(struct random *rng)
{
	size_t most = (size_t)1 << random_below(rng, 20);

	return random_below(rng, most + 1);
}

static void *some_block(struct random *rng, struct ferry_allocator *from,
			size_t len)
{
	size_t align = (size_t)1 << random_below(rng, 14);
	void *p;

	switch (random_below(rng, 3)) {
	case 0:
		return ferry_allocator_malloc(from, len);
	case 1:
		p = ferry_allocator_calloc(from, len, 1);
		ck_assert(is_zero(p, len));
		return p;
	default:
		p = ferry_allocator_aligned(from, align, len);
		ck_assert_uint_eq((uintptr_t)p % align, 0);
		return p;
	}
}

static void replace(struct random *rng, struct ferry_allocator *from,
		    struct block *b)
{
	size_t len = some_len(rng);

	if (b->p)
		ck_assert(holds(b->p, b->len, b->number));
	if (b->p && random_below(rng, 2)) {
		size_t kept = len < b->len ? len : b->len;

		b->p = ferry_allocator_realloc(from, b->p, len);
		ck_assert(!len || holds(b->p, kept, b->number));
		ck_assert(len || !b->p);
	} else {
		ferry_allocator_free(from, b->p);
		b->p = some_block(rng, from, len);
		ck_assert_ptr_nonnull(b->p);
	}
	b->len = len;
	b->number = random_next(rng);
	ck_assert_uint_ge(ferry_allocator_usable_size(from, b->p), len);
	fill(b->p, len, b->number);
}

START_TEST(blocks_hold_what_is_written)
{
	struct random rng = harness_random();
	size_t i, n = harness_scaled(20000);
	struct block block[200] = { 0 };

	a = make(NULL);
	for (i = 0; i < n; i++)
		replace(&rng, a, &block[random_below(&rng, 200)]);
	for (i = 0; i < 200; i++)
		if (block[i].p)
			ck_assert(holds(block[i].p, block[i].len,
					block[i].number));
	ferry_allocator_destroy(a);
}
END_TEST

START_TEST(edges_are_as_in_the_c_library)
{
	void *p, *q;

	a = make(NULL);
	p = ferry_allocator_malloc(a, 0);
	q = ferry_allocator_malloc(a, 0);
	ck_assert_ptr_nonnull(p);
	ck_assert_ptr_nonnull(q);
	ck_assert_ptr_ne(p, q);
	errno = 0;
	ck_assert_ptr_null(ferry_allocator_malloc(a, SIZE_MAX));
	ck_assert_int_eq(errno, ENOMEM);
	errno = 0;
	ck_assert_ptr_null(ferry_allocator_malloc(a, (size_t)1 << 62));
	ck_assert_int_eq(errno, ENOMEM);
	errno = 0;
	ck_assert_ptr_null(ferry_allocator_calloc(a, SIZE_MAX / 2, 3));
	ck_assert_int_eq(errno, ENOMEM);
	errno = 0;
	ck_assert_ptr_null(ferry_allocator_aligned(a, 24, 8));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(ferry_allocator_aligned(a, 0, 8));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(ferry_allocator_realloc(a, p, SIZE_MAX));
	ck_assert_int_eq(errno, ENOMEM);
	errno = 1234;
	ferry_allocator_free(a, NULL);
	ferry_allocator_free(a, q);
	ck_assert_ptr_null(ferry_allocator_realloc(a, p, 0));
	ck_assert_int_eq(errno, 1234);
	p = ferry_allocator_realloc(a, NULL, 10);
	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq(ferry_allocator_usable_size(a, NULL), 0);
	p = ferry_allocator_aligned(a, 64 * MIB, 1);
	ck_assert_ptr_nonnull(p);
	ck_assert_uint_eq((uintptr_t)p % (64 * MIB), 0);
	ferry_allocator_destroy(a);
	ferry_allocator_destroy(NULL);
}
END_TEST

/* --- creation ------------------------------------------------------------- */

START_TEST(policies_are_read_or_refused)
{
	static const char *const good[] = {
		"",
		"offload:off",
		"cold_after:0",
		"cold_after:50ms",
		"cold_after:2s,idle_after:3min,store:lz4,store:zstd@1h,",
		"store_limit:100M,rss_target:1G,min_heap:64k,rate:4096",
		"around:4,refault_limit:2,pressure:on,store:memory,codec:zstd",
	};
	static const char *const bad[] = {
		"offload",
		"offload:",
		"offload:maybe",
		"cold_after:50",
		"cold_after:50M",
		"rate:1s",
		"rate:-1",
		"rate:1KK",
		":",
		"colder_after:1s",
		"rate:99999999999999999999",
		"cold:1s",
		"rate:99999999999G",
		"around:1 ",
		"offload:on;rate:1",
		"store:tape",
		"store:lz4@soon",
		"store:file=tmp",
		"control:/tmp/socket",
		"stats_exit:on",
		"stats_file:/tmp/x",
	};
	struct ferry_allocator_params p =
		FERRY_INIT(struct ferry_allocator_params);
	struct ferry_allocator *made = NULL;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		a = make(good[i]);
		ferry_allocator_free(a, ferry_allocator_malloc(a, 100));
		ferry_allocator_destroy(a);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		p.conf = bad[i];
		ck_assert_msg(ferry_allocator_create(&p, &made) == -EINVAL,
			      "\"%s\" is taken", bad[i]);
		ck_assert_ptr_null(made);
	}
}
END_TEST

START_TEST(parameters_of_other_versions_are_understood)
{
	struct {
		struct ferry_allocator_params known;
		uint64_t more;
	} p = { .known.size = sizeof(p) };
	struct ferry_allocator *made = NULL;
	struct ferry_allocator_stats s = { .size = 1 };

	p.more = 1;
	ck_assert_int_eq(ferry_allocator_create(&p.known, &made), -E2BIG);
	p.more = 0;
	ck_assert_int_eq(ferry_allocator_create(&p.known, &made), 0);
	ck_assert_int_eq(ferry_allocator_stats(made, &s), -EINVAL);
	ferry_allocator_destroy(made);
	p.known.size = 1;
	ck_assert_int_eq(ferry_allocator_create(&p.known, &made), -EINVAL);
	ck_assert_int_eq(ferry_allocator_create(NULL, &made), 0);
	ferry_allocator_destroy(made);
}
END_TEST

/* --- the end -------------------------------------------------------------- */

/* Bytes of address space, and bytes of it in memory. */
static void usage(size_t *ret_size, size_t *ret_resident)
{
	unsigned long size = 0, pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%lu %lu", &size, &pages), 2);
	fclose(f);
	*ret_size = size * page_size();
	*ret_resident = pages * page_size();
}

static void use(struct ferry_allocator *from, size_t bytes)
{
	size_t len;
	char *p;

	for (len = 48; bytes > len; len = len * 9 / 8 % 300000 + 48) {
		p = ferry_allocator_malloc(from, len);
		ck_assert_ptr_nonnull(p);
		memset(p, 1, len);
		bytes -= len;
	}
}

START_TEST(an_instance_gives_back_all_its_memory)
{
	size_t size, size_before, resident, before, i, n = harness_scaled(100);

	/* Once with threads: the C library keeps something for each. */
	a = make(EAGER);
	use(a, MIB);
	ferry_allocator_destroy(a);
	usage(&size_before, &before);
	for (i = 0; i < n; i++) {
		a = make(i % 2 ? EAGER : NULL);
		use(a, 8 * MIB);
		ferry_allocator_destroy(a);
	}
	usage(&size, &resident);
	ck_assert_uint_le(resident, before + 8 * MIB);
	ck_assert_uint_le(size, size_before + 64 * MIB);
}
END_TEST

START_TEST(instances_do_not_mix)
{
	struct ferry_allocator *many[100];
	struct random rng = harness_random();
	struct block block[100] = { 0 };
	size_t i, k, n = harness_scaled(5000);

	for (i = 0; i < 100; i++)
		many[i] = make("offload:off");
	for (k = 0; k < n; k++) {
		i = random_below(&rng, 100);
		replace(&rng, many[i], &block[i]);
		if (random_below(&rng, 50))
			continue;
		ferry_allocator_destroy(many[i]);
		many[i] = make("offload:off");
		block[i] = (struct block){ 0 };
		ck_assert_uint_eq(stats_of(many[i]).allocated, 0);
	}
	for (i = 0; i < 100; i++)
		ferry_allocator_destroy(many[i]);
}
END_TEST

/* --- threads -------------------------------------------------------------- */

#define WORKERS 4
#define SLOTS	256

/* Blocks that threads take from each other. */
static struct slot {
	pthread_mutex_t lock;
	struct block block;
} slots[2][SLOTS];

static struct ferry_allocator *shared[2];
static size_t rounds;

struct worker {
	pthread_t thread;
	struct random rng;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	size_t i;

	for (i = 0; i < rounds; i++) {
		size_t which = random_below(&w->rng, 2);
		struct slot *s = &slots[which][random_below(&w->rng, SLOTS)];

		pthread_mutex_lock(&s->lock);
		replace(&w->rng, shared[which], &s->block);
		pthread_mutex_unlock(&s->lock);
		if (random_below(&w->rng, 2000) == 0)
			ferry_allocator_trim(shared[which]);
	}
	return NULL;
}

static void run_workers(struct random *rng)
{
	struct worker workers[WORKERS];
	size_t i;

	for (i = 0; i < WORKERS; i++) {
		workers[i].rng = random_seeded(random_next(rng));
		pthread_create(&workers[i].thread, NULL, work, &workers[i]);
	}
	for (i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
}

START_TEST(threads_share_instances_hot_and_cold)
{
	struct random rng = harness_random();
	size_t i, k, round;

	for (k = 0; k < 2; k++) {
		shared[k] = make(EAGER);
		for (i = 0; i < SLOTS; i++)
			pthread_mutex_init(&slots[k][i].lock, NULL);
	}
	rounds = harness_scaled(3000);
	/* Threads come and go, and their caches with them. */
	for (round = 0; round < 4; round++) {
		run_workers(&rng);
		ferry_allocator_trim(shared[0]);
		ferry_allocator_trim(shared[1]);
	}
	for (k = 0; k < 2; k++) {
		for (i = 0; i < SLOTS; i++) {
			struct block *b = &slots[k][i].block;

			ck_assert(!b->p || holds(b->p, b->len, b->number));
		}
		ferry_allocator_destroy(shared[k]);
	}
}
END_TEST

static pthread_barrier_t barrier;

/* Has a cache of each of the two that come one after the other. */
static void *wait_between(void *unused)
{
	int round;

	(void)unused;
	for (round = 0; round < 2; round++) {
		pthread_barrier_wait(&barrier);
		use(a, MIB);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

START_TEST(a_thread_outlives_the_instances_it_used)
{
	pthread_t thread;
	int round;

	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&thread, NULL, wait_between, NULL);
	for (round = 0; round < 2; round++) {
		a = make(NULL);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		ferry_allocator_destroy(a);
	}
	pthread_join(thread, NULL);
}
END_TEST

#define MANY 20 /* more than a thread has places for, and not in turn */

static struct ferry_allocator *many[MANY];

/* Leaves a block of each instance, filled with the thread's number. */
static void *use_many(void *arg)
{
	struct worker *w = arg;
	struct block block[MANY] = { { 0 } };
	size_t i, k;

	for (k = 0; k < rounds; k++) {
		i = random_below(&w->rng, MANY);
		replace(&w->rng, many[i], &block[i]);
		if (random_below(&w->rng, 200) == 0)
			ferry_allocator_trim(many[i]);
	}
	for (i = 0; i < MANY; i++) {
		if (block[i].p)
			ck_assert(holds(block[i].p, block[i].len,
					block[i].number));
		ferry_allocator_free(many[i], block[i].p);
	}
	return NULL;
}

START_TEST(a_thread_may_use_many_instances)
{
	struct random rng = harness_random();
	struct worker workers[WORKERS];
	size_t i, k;

	rounds = harness_scaled(3000);
	for (i = 0; i < MANY; i++)
		many[i] = make("offload:off");
	for (k = 0; k < 2; k++) {
		for (i = 0; i < WORKERS; i++) {
			workers[i].rng = random_seeded(random_next(&rng));
			pthread_create(&workers[i].thread, NULL, use_many,
				       &workers[i]);
		}
		use_many(&(struct worker){ .rng = random_seeded(7) });
		for (i = 0; i < WORKERS; i++)
			pthread_join(workers[i].thread, NULL);
		/* All caches of threads that are gone went with them. */
		for (i = 0; i < MANY; i++) {
			ferry_allocator_trim(many[i]);
			ck_assert_uint_eq(stats_of(many[i]).allocated, 0);
		}
	}
	for (i = 0; i < MANY; i++)
		ferry_allocator_destroy(many[i]);
}
END_TEST

/* Comes, has caches of several, and waits until they are gone. */
static void *outlive(void *unused)
{
	size_t i;

	(void)unused;
	for (i = 0; i < MANY; i++)
		ferry_allocator_free(many[i],
				     ferry_allocator_malloc(many[i], 100));
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	ck_assert_ptr_nonnull(ferry_allocator_malloc(a, 100));
	return NULL;
}

START_TEST(instances_end_before_the_threads_that_have_caches_of_them)
{
	pthread_t threads[WORKERS];
	size_t i;

	pthread_barrier_init(&barrier, NULL, WORKERS + 1);
	a = make(NULL);
	for (i = 0; i < MANY; i++)
		many[i] = make(NULL);
	for (i = 0; i < WORKERS; i++)
		pthread_create(&threads[i], NULL, outlive, NULL);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < MANY; i++)
		ferry_allocator_destroy(many[i]);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < WORKERS; i++)
		pthread_join(threads[i], NULL);
	ferry_allocator_destroy(a);
}
END_TEST

/* --- cold pages ----------------------------------------------------------- */

#define COLD 2000
static struct block cold[COLD];

/* Until so much of it is out. */
static void make_cold(struct ferry_allocator *from, size_t at_least)
{
	ck_assert_int_eq(ferry_allocator_trim(from), 0);
	while (stats_of(from).stored < at_least) {
		harness_pause();
		ck_assert_int_eq(ferry_allocator_trim(from), 0);
	}
}

static void fill_cold(void)
{
	size_t i;

	for (i = 0; i < COLD; i++) {
		cold[i] =
			(struct block){ .len = 1 + i * 7 % 5000, .number = i };
		cold[i].p = ferry_allocator_malloc(a, cold[i].len);
		fill(cold[i].p, cold[i].len, i);
	}
}

static bool cold_holds(void)
{
	size_t i;

	for (i = 0; i < COLD; i++)
		if (!holds(cold[i].p, cold[i].len, cold[i].number))
			return false;
	return true;
}

START_TEST(cold_blocks_go_out_and_come_back)
{
	struct ferry_allocator_stats s;
	int round;

	a = make(EAGER);
	fill_cold();
	for (round = 0; round < 3; round++) {
		make_cold(a, 3 * MIB);
		AWAIT(!ferry_allocator_trim(a) &&
		      stats_of(a).resident <= 3 * MIB);
		s = stats_of(a);
		ck_assert(s.offload);
		ck_assert_uint_lt(s.store_memory, s.stored);
		ck_assert(cold_holds());
		AWAIT(stats_of(a).pages_back > s.pages_back);
	}
	/* Freeing touches none of it. */
	make_cold(a, 3 * MIB);
	s = stats_of(a);
	for (round = 0; round < COLD; round++)
		ferry_allocator_free(a, cold[round].p);
	ck_assert_uint_eq(stats_of(a).refaults, s.refaults);
	ferry_allocator_destroy(a);
}
END_TEST

static bool is_present(const void *p)
{
	return page_there((const char *)((uintptr_t)p & ~(page_size() - 1)));
}

START_TEST(hints_are_followed)
{
	char *p, *q;

	a = make(EAGER);
	fill_cold();
	p = ferry_allocator_aligned(a, page_size(), 16 * page_size());
	q = ferry_allocator_aligned(a, page_size(), 16 * page_size());
	fill(p, 16 * page_size(), 1);
	fill(q, 16 * page_size(), 2);
	ck_assert_int_eq(ferry_allocator_hint(a, p, 16 * page_size(),
					      FERRY_ALLOCATOR_HINT_PIN),
			 0);
	make_cold(a, 3 * MIB);
	AWAIT(!ferry_allocator_trim(a) && !is_present(q));
	ck_assert(is_present(p) && is_present(p + 15 * page_size()));
	ck_assert_int_eq(ferry_allocator_hint(a, q, 16 * page_size(),
					      FERRY_ALLOCATOR_HINT_HOT),
			 0);
	ck_assert(is_present(q) && is_present(q + 15 * page_size()));
	ck_assert(holds(p, 16 * page_size(), 1));
	ck_assert(holds(q, 16 * page_size(), 2));
	ck_assert_int_eq(
		ferry_allocator_hint(a, &a, 8, FERRY_ALLOCATOR_HINT_COLD),
		-ENOENT);
	ck_assert_int_eq(
		ferry_allocator_hint(a, p, 8, (enum ferry_allocator_hint)99),
		-EINVAL);
	ck_assert_int_eq(
		ferry_allocator_hint(a, p, SIZE_MAX, FERRY_ALLOCATOR_HINT_COLD),
		-EINVAL);
	ferry_allocator_destroy(a);
}
END_TEST

START_TEST(all_can_be_brought_back_and_kept)
{
	struct ferry_allocator_stats s;

	a = make(EAGER);
	fill_cold();
	make_cold(a, 3 * MIB);
	ck_assert_int_eq(ferry_allocator_restore(a), 0);
	s = stats_of(a);
	ck_assert_uint_eq(s.stored, 0);
	ck_assert_uint_ge(s.resident, 4 * MIB);
	ferry_allocator_trim(a);
	ferry_allocator_trim(a);
	ck_assert_uint_eq(stats_of(a).stored, 0);
	ferry_allocator_resume(a);
	make_cold(a, 3 * MIB);
	ck_assert(cold_holds());
	ferry_allocator_destroy(a);
}
END_TEST

START_TEST(each_instance_has_a_policy_of_its_own)
{
	struct ferry_allocator *other = make("offload:off");
	struct ferry_allocator_stats s;
	char *p = ferry_allocator_malloc(other, 4 * MIB);

	memset(p, 1, 4 * MIB);
	a = make(EAGER);
	fill_cold();
	make_cold(a, 3 * MIB);
	s = stats_of(other);
	ck_assert(!s.offload);
	ck_assert_uint_eq(s.pages_out, 0);
	ck_assert_uint_ge(s.resident, 4 * MIB);
	ck_assert_uint_ge(s.allocated, 4 * MIB);
	ck_assert_int_eq(ferry_allocator_hint(other, cold[0].p, 1,
					      FERRY_ALLOCATOR_HINT_HOT),
			 -ENOENT);
	ferry_allocator_destroy(other);
	ck_assert(cold_holds());
	ferry_allocator_destroy(a);
}
END_TEST

START_TEST(without_offload_it_is_an_ordinary_allocator)
{
	a = make("offload:off");
	fill_cold();
	ck_assert_int_eq(ferry_allocator_trim(a), -EOPNOTSUPP);
	ck_assert(!stats_of(a).offload);
	ck_assert_uint_eq(stats_of(a).stored, 0);
	ck_assert_int_eq(ferry_allocator_restore(a), 0);
	ferry_allocator_resume(a);
	ck_assert(cold_holds());
	ferry_allocator_destroy(a);
}
END_TEST

/* --- fork ----------------------------------------------------------------- */

static void child(void)
{
	size_t i;

	if (!cold_holds())
		_exit(1);
	for (i = 0; i < COLD; i += 2)
		ferry_allocator_free(a, cold[i].p);
	use(a, MIB);
	for (i = 1; i < COLD; i += 2)
		if (!holds(cold[i].p, cold[i].len, cold[i].number))
			_exit(2);
	ferry_allocator_destroy(a);
	a = make(EAGER);
	use(a, MIB);
	ferry_allocator_destroy(a);
	_exit(0);
}

static void fork_and_check(void)
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		child();
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert(cold_holds());
}

START_TEST(a_child_has_all_blocks)
{
	a = make(NULL);
	fill_cold();
	fork_and_check();
	ferry_allocator_destroy(a);
}
END_TEST

START_TEST(a_child_has_cold_blocks_too)
{
	int round;

	a = make(EAGER);
	fill_cold();
	for (round = 0; round < 3; round++) {
		make_cold(a, 2 * MIB);
		fork_and_check();
	}
	ferry_allocator_destroy(a);
}
END_TEST

/* However small the instance is. */
START_TEST(who_says_cold_wants_it_out)
{
	struct ferry_allocator *small =
		make("rate:0,refault_limit:0,cold_after:1h,idle_after:1h");
	void *p = ferry_allocator_malloc(small, 4 * MIB);

	fill(p, 4 * MIB, 7);
	do {
		ck_assert_int_eq(
			ferry_allocator_hint(small, p, 4 * MIB,
					     FERRY_ALLOCATOR_HINT_COLD),
			0);
		harness_pause();
	} while (!stats_of(small).stored);
	ck_assert(holds(p, 4 * MIB, 7));
	ferry_allocator_destroy(small);
}
END_TEST

static const struct test tests[] = {
	TEST(blocks_hold_what_is_written, "malloc"),
	TEST(edges_are_as_in_the_c_library, "malloc"),
	TEST(policies_are_read_or_refused, "malloc"),
	TEST(parameters_of_other_versions_are_understood, "malloc"),
	TEST(an_instance_gives_back_all_its_memory, "malloc"),
	TEST(instances_do_not_mix, "malloc"),
	TEST(threads_share_instances_hot_and_cold, "malloc"),
	TEST(a_thread_outlives_the_instances_it_used, "malloc"),
	TEST(a_thread_may_use_many_instances, "malloc"),
	TEST(instances_end_before_the_threads_that_have_caches_of_them,
	     "malloc"),
	TEST(each_instance_has_a_policy_of_its_own, OFFLOAD),
	TEST(cold_blocks_go_out_and_come_back, OFFLOAD),
	TEST(hints_are_followed, OFFLOAD),
	TEST(who_says_cold_wants_it_out, OFFLOAD),
	TEST(all_can_be_brought_back_and_kept, OFFLOAD),
	TEST(without_offload_it_is_an_ordinary_allocator, "malloc"),
	TEST(a_child_has_all_blocks, "malloc"),
	TEST(a_child_has_cold_blocks_too, OFFLOAD),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
