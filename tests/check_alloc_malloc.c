/* SPDX-License-Identifier: MIT */
/* The malloc family, as programs call it. */
#include "tests/harness.h"
#include "tests/memory.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* The C library's own; what a module loaded with RTLD_DEEPBIND would get. */
extern void *__libc_malloc(size_t size);

/* Hidden from the compiler, which knows what malloc does. */
static void *volatile sink;

static void *hide(void *p)
{
	sink = p;
	return sink;
}

/*
 * These too: a block is looked at after a call that failed, and errno after
 * calls that clang knows to leave it alone.
 */
static void *(*volatile take)(size_t) = malloc;
static void *(*volatile take_zeroed)(size_t, size_t) = calloc;
static void *(*volatile resize)(void *, size_t) = realloc;
static void *(*volatile resize_array)(void *, size_t, size_t) = reallocarray;

static void *(*volatile take_aligned)(size_t, size_t) = aligned_alloc;
static void *(*volatile take_memalign)(size_t, size_t) = memalign;
static void *(*volatile take_pages)(size_t) = valloc;

/* A size that the compiler does not see either. */
static size_t plain(size_t n)
{
	volatile size_t seen = n;

	return seen;
}

static bool all_are(const unsigned char *p, unsigned char byte, size_t n)
{
	return !n || (p[0] == byte && !memcmp(p, p + 1, n - 1));
}

/* One size of each class of the engine, up to 64 MiB, and its neighbours. */
static size_t size_of_step(size_t step)
{
	size_t group = step / 12, within = step / 3 % 4;
	size_t base = (size_t)16 << group;

	return base + base / 4 * within + step % 3 - 1;
}

#define STEPS ((size_t)12 * 22)

/* Of those above 1 MiB fewer where time is dear, of each kind some. */
static size_t steps_from(size_t step)
{
	size_t kinds = harness_scaled(11);

	return step < (size_t)12 * 16 || kinds > 11 ? 1 : 11 / kinds;
}

static const char *const surface[] = {
	"malloc",
	"calloc",
	"realloc",
	"reallocarray",
	"free",
	"aligned_alloc",
	"posix_memalign",
	"memalign",
	"valloc",
	"pvalloc",
	"malloc_usable_size",
	"cfree",
	"free_sized",
	"free_aligned_sized",
	"malloc_trim",
	"mallinfo",
	"mallinfo2",
	"mallopt",
	"malloc_stats",
	"malloc_info",
};

START_TEST(every_name_is_of_the_library)
{
	Dl_info info;
	void *p;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(surface); i++) {
		p = dlsym(RTLD_DEFAULT, surface[i]);
		ck_assert_msg(p != NULL, "%s", surface[i]);
		ck_assert_int_ne(dladdr(p, &info), 0);
		ck_assert_msg(strstr(info.dli_fname, "libferry-malloc.so"),
			      "%s is of %s", surface[i], info.dli_fname);
	}
}
END_TEST

START_TEST(zero_bytes_are_a_block_of_their_own)
{
	void *a = hide(malloc(plain(0))), *b = hide(malloc(plain(0)));
	void *c = hide(calloc(plain(0), 8)), *d = hide(calloc(8, plain(0)));

	ck_assert(a && b && c && d);
	ck_assert(a != b && c != d);
	free(a);
	free(b);
	free(c);
	free(d);
	free(NULL);
	ck_assert_uint_eq(malloc_usable_size(NULL), 0);
	ck_assert_ptr_null(realloc(hide(malloc(10)), plain(0)));
	a = realloc(NULL, plain(0));
	ck_assert_ptr_nonnull(a);
	free(a);
}
END_TEST

#define REFUSED(call)                                                          \
	do {                                                                   \
		errno = 0;                                                     \
		ck_assert_ptr_null(hide(call));                                \
		ck_assert_int_eq(errno, ENOMEM);                               \
	} while (0)

START_TEST(sizes_beyond_the_address_space_are_refused)
{
	size_t huge = plain(SIZE_MAX), half = plain((size_t)PTRDIFF_MAX + 1);
	void *p = hide(malloc(100)), *q = NULL;

	REFUSED(take(huge));
	REFUSED(take(half));
	REFUSED(take_zeroed(half, 2));
	REFUSED(take_zeroed(plain((size_t)1 << 33), (size_t)1 << 33));
	REFUSED(resize(p, huge));
	REFUSED(resize_array(p, half, 2));
	REFUSED(take_aligned(64, huge));
	REFUSED(take_memalign(64, huge));
	REFUSED(take_pages(huge));
	REFUSED(pvalloc(huge));
	REFUSED(pvalloc(huge - 5000));
	ck_assert_int_eq(posix_memalign(&q, 64, huge), ENOMEM);
	ck_assert_ptr_null(q);
	free(p);
}
END_TEST

START_TEST(alignments_are_kept_from_one_byte_to_a_gibibyte)
{
	size_t align, sizes[] = { 0, 1, 7, 100, 5000, 70000, 3 * MIB };
	unsigned char *p;
	size_t i;

	for (align = 1; align <= 1024 * MIB; align *= 2) {
		for (i = 0; i < ARRAY_SIZE(sizes); i++) {
			p = hide(memalign(align, sizes[i]));
			ck_assert_ptr_nonnull(p);
			ck_assert_uint_eq((uintptr_t)p % align, 0);
			memset(p, 1, sizes[i]);
			free(p);
		}
	}
}
END_TEST

START_TEST(alignments_that_are_none_are_refused)
{
	void *p = &p;

	ck_assert_int_eq(posix_memalign(&p, 3, 8), EINVAL);
	ck_assert_int_eq(posix_memalign(&p, 0, 8), EINVAL);
	ck_assert_int_eq(posix_memalign(&p, 4, 8), EINVAL);
	ck_assert_ptr_eq(p, &p);
	errno = 0;
	ck_assert_ptr_null(hide(aligned_alloc(plain(3), 8)));
	ck_assert_int_eq(errno, EINVAL);
	errno = 0;
	ck_assert_ptr_null(hide(memalign(plain(SIZE_MAX), 8)));
	ck_assert_int_eq(errno, EINVAL);
	/* What is no power of two is rounded up to one. */
	p = hide(memalign(plain(48), 100));
	ck_assert_uint_eq((uintptr_t)p % 64, 0);
	free(p);
	p = hide(memalign(plain(0), 100));
	ck_assert_ptr_nonnull(p);
	free(p);
}
END_TEST

START_TEST(valloc_and_pvalloc_give_whole_pages)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p = hide(valloc(1)), *q = hide(pvalloc(page + 1));
	void *r = hide(pvalloc(plain(0)));

	ck_assert_uint_eq((uintptr_t)p % page, 0);
	ck_assert_uint_eq((uintptr_t)q % page, 0);
	ck_assert_uint_eq((uintptr_t)r % page, 0);
	ck_assert_uint_ge(malloc_usable_size(q), 2 * page);
	ck_assert_uint_ge(malloc_usable_size(r), page);
	free(p);
	free(q);
	free(r);
}
END_TEST

START_TEST(all_of_the_usable_size_is_writable_and_kept)
{
	unsigned char *p, *q;
	size_t step, size, usable;

	for (step = 0; step < STEPS; step += steps_from(step)) {
		size = size_of_step(step);
		p = hide(malloc(size));
		usable = malloc_usable_size(p);
		ck_assert_uint_ge(usable, size);
		memset(p, 0x5a, usable);
		q = hide(malloc(size));
		memset(q, 0xa5, malloc_usable_size(q));
		ck_assert(all_are(p, 0x5a, usable));
		free(p);
		free(q);
	}
}
END_TEST

START_TEST(realloc_keeps_contents_from_every_class_to_every_other)
{
	struct random random = harness_random();
	size_t step, from, to;
	unsigned char *p;

	for (step = 0; step < STEPS; step += steps_from(step)) {
		from = size_of_step(step);
		to = size_of_step(random_below(&random, STEPS));
		p = hide(malloc(from));
		memset(p, (int)(step & 0xff), from);
		p = hide(realloc(p, to));
		ck_assert_ptr_nonnull(p);
		ck_assert(all_are(p, step & 0xff, from < to ? from : to));
		free(p);
	}
}
END_TEST

START_TEST(realloc_that_fails_leaves_the_block)
{
	unsigned char *p = hide(malloc(100));

	memset(p, 7, 100);
	ck_assert_ptr_null(resize(p, plain(SIZE_MAX / 2)));
	ck_assert(all_are(p, 7, 100));
	free(p);
}
END_TEST

/* The first word of each page is its place. */
static void fill_grown(char *p, size_t from, size_t size, uint64_t id)
{
	uint64_t word;

	for (; from < size; from += 4096) {
		word = id ^ from;
		memcpy(p + from, &word, sizeof(word));
	}
}

static bool is_grown_right(const char *p, size_t size, uint64_t id)
{
	uint64_t word;
	size_t at;

	for (at = 0; at < size; at += 4096) {
		memcpy(&word, p + at, sizeof(word));
		if (word != (id ^ at))
			return false;
	}
	return true;
}

/* Several at a time, up and down, with others cut and freed between them. */
START_TEST(large_blocks_that_grow_keep_their_contents)
{
	struct random random = harness_random();
	size_t size[4] = { 0 }, next;
	char *p[4] = { NULL }, *q;
	void *beside = NULL;
	unsigned int i, k;

	for (k = 0; k < 200; k++) {
		i = (unsigned int)random_below(&random, 4);
		next = size[i] + ((1 + random_below(&random, 4096)) << 12);
		if (next > 48 * MIB || !random_below(&random, 8))
			next = (1 + random_below(&random, 512)) << 12;
		q = resize(p[i], next);
		ck_assert_ptr_nonnull(q);
		ck_assert(
			is_grown_right(q, next < size[i] ? next : size[i], i));
		fill_grown(q, size[i], next, i);
		p[i] = q;
		size[i] = next;
		free(beside);
		beside = take((1 + random_below(&random, 1024)) << 12);
	}
	free(beside);
	for (i = 0; i < 4; i++) {
		ck_assert(is_grown_right(p[i], size[i], i));
		free(p[i]);
	}
}
END_TEST

START_TEST(a_large_block_grows_where_it_is)
{
	size_t size = 40 * MIB;
	unsigned int moved = 0;
	char *p = take(size), *q;
	void *beside[16];
	size_t n;

	for (n = 0; size < 400 * MIB; n++) {
		size += size / 4;
		q = resize(p, size);
		ck_assert_ptr_nonnull(q);
		moved += q != p;
		p = q;
		/* Others take address space meanwhile. */
		beside[n] = take(3 * MIB);
	}
	ck_assert_uint_le(moved, 1);
	free(p);
	while (n)
		free(beside[--n]);
}
END_TEST

START_TEST(calloc_is_zero_after_reuse)
{
	unsigned char *p;
	size_t step, size, round;

	for (step = 0; step < STEPS; step += 3 * steps_from(step)) {
		size = size_of_step(step);
		for (round = 0; round < 3; round++) {
			p = hide(calloc(1, size));
			ck_assert(all_are(p, 0, malloc_usable_size(p)));
			memset(p, 0xff, malloc_usable_size(p));
			free(p);
		}
	}
}
END_TEST

START_TEST(free_keeps_errno)
{
	size_t step;
	void *p;

	for (step = 0; step < STEPS; step++) {
		p = hide(malloc(size_of_step(step)));
		errno = 77;
		free(p);
		ck_assert_int_eq(errno, 77);
	}
	for (step = 0; step < 1000; step++) {
		p = hide(malloc(9 * MIB));
		memset(p, 1, 4096);
		errno = 77;
		free(p);
		ck_assert_int_eq(errno, 77);
	}
}
END_TEST

START_TEST(a_pointer_of_the_c_library_goes_back_to_it)
{
	unsigned char *p = hide(__libc_malloc(100)), *q;

	ck_assert_uint_ge(malloc_usable_size(p), 100);
	memset(p, 3, 100);
	q = hide(realloc(p, 200000));
	ck_assert(all_are(q, 3, 100));
	free(q);
	errno = 77;
	free(hide(__libc_malloc(10)));
	/* By its own mapping. */
	free(hide(__libc_malloc(10 * MIB)));
	ck_assert_int_eq(errno, 77);
}
END_TEST

/* --- threads ------------------------------------------------------------------------ */

#define BLOCKS 512

struct worker {
	pthread_t thread;
	struct random random;
	unsigned char tag;
	size_t rounds;
	bool wrong;
};

static void *churn(void *arg)
{
	struct worker *w = arg;
	unsigned char *blocks[BLOCKS] = { NULL };
	size_t sizes[BLOCKS] = { 0 }, i, round;

	for (round = 0; round < w->rounds; round++) {
		i = random_below(&w->random, BLOCKS);
		w->wrong |= blocks[i] && !all_are(blocks[i], w->tag, sizes[i]);
		sizes[i] = size_of_step(random_below(&w->random, 12 * 12));
		blocks[i] = realloc(blocks[i], sizes[i]);
		memset(blocks[i], w->tag, sizes[i]);
	}
	for (i = 0; i < BLOCKS; i++)
		free(blocks[i]);
	return NULL;
}

START_TEST(threads_come_and_go_and_keep_their_blocks)
{
	struct random random = harness_random();
	struct worker workers[8];
	size_t i, round, rounds = harness_scaled(6);

	for (round = 0; round < rounds; round++) {
		for (i = 0; i < ARRAY_SIZE(workers); i++) {
			workers[i] = (struct worker){
				.random = random_seeded(random_next(&random)),
				.tag = (unsigned char)(i + 1),
				.rounds = 4000,
			};
			ck_assert_int_eq(pthread_create(&workers[i].thread,
							NULL, churn,
							&workers[i]),
					 0);
		}
		for (i = 0; i < ARRAY_SIZE(workers); i++) {
			pthread_join(workers[i].thread, NULL);
			ck_assert(!workers[i].wrong);
		}
	}
}
END_TEST

static pthread_key_t key;

/* Runs after the engine's own data of the thread is gone, or before. */
static void allocate_late(void *arg)
{
	size_t left = (size_t)(uintptr_t)arg;
	void *p = hide(malloc(1000));

	memset(p, 1, 1000);
	free(p);
	sink = malloc(10);
	if (left > 1)
		pthread_setspecific(key, (void *)(uintptr_t)(left - 1));
}

static void *leave_late(void *arg)
{
	pthread_setspecific(key, (void *)(uintptr_t)4);
	return arg;
}

START_TEST(destructors_of_threads_may_allocate)
{
	pthread_t thread;
	size_t i;

	ck_assert_int_eq(pthread_key_create(&key, allocate_late), 0);
	for (i = 0; i < 50; i++) {
		ck_assert_int_eq(
			pthread_create(&thread, NULL, leave_late, NULL), 0);
		pthread_join(thread, NULL);
	}
}
END_TEST

/* --- fork --------------------------------------------------------------------------- */

static bool stop;

static void *churn_on(void *arg)
{
	struct worker *w = arg;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		w->rounds = 500;
		churn(w);
	}
	return NULL;
}

static int child_status(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return status;
}

static int in_child(unsigned char *block)
{
	struct worker w = { .random = random_seeded(1),
			    .tag = 9,
			    .rounds = 300 };
	pthread_t thread;

	churn(&w);
	if (w.wrong || !all_are(block, 0x77, 100 * KIB))
		return 1;
	free(block);
	w.rounds = 300;
	if (pthread_create(&thread, NULL, churn, &w))
		return 2;
	pthread_join(thread, NULL);
	return w.wrong ? 3 : 0;
}

START_TEST(a_child_of_fork_allocates_while_threads_do)
{
	struct random random = harness_random();
	struct worker workers[3];
	unsigned char *block = malloc(100 * KIB);
	size_t i, forks = harness_scaled(60);
	pid_t pid;

	memset(block, 0x77, 100 * KIB);
	for (i = 0; i < ARRAY_SIZE(workers); i++) {
		workers[i] = (struct worker){
			.random = random_seeded(random_next(&random)),
			.tag = (unsigned char)(i + 1),
		};
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL,
						churn_on, &workers[i]),
				 0);
	}
	for (i = 0; i < forks; i++) {
		pid = fork();
		if (!pid)
			_exit(in_child(block));
		ck_assert_int_eq(child_status(pid), 0);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < ARRAY_SIZE(workers); i++) {
		pthread_join(workers[i].thread, NULL);
		ck_assert(!workers[i].wrong);
	}
	free(block);
}
END_TEST

/* --- accounts ----------------------------------------------------------------------- */

START_TEST(mallinfo_counts_what_is_allocated)
{
	struct mallinfo2 before = mallinfo2(), after;
	void *p = hide(malloc(40 * MIB));

	memset(p, 1, 40 * MIB);
	after = mallinfo2();
	ck_assert_uint_ge(after.uordblks, before.uordblks + 40 * MIB);
	ck_assert_uint_lt(after.uordblks, before.uordblks + 44 * MIB);
	free(p);
	after = mallinfo2();
	ck_assert_uint_lt(after.uordblks, before.uordblks + 4 * MIB);
	ck_assert_int_eq(mallopt(M_MMAP_THRESHOLD, 1), 1);
}
END_TEST

/* How many of the whole pages between @p and @p + @len are in memory. */
static size_t pages_there(uintptr_t p, size_t len)
{
	size_t page = page_size(), n = 0;
	uintptr_t end = p + len;

	for (p += -p % page; p + page <= end; p += page)
		n += page_there((const char *)p);
	return n;
}

START_TEST(malloc_trim_gives_memory_back)
{
	uintptr_t at;
	void *p;

	/* The pager's thread may have done it before: then nothing is left. */
	do {
		p = hide(malloc(64 * MIB));
		at = (uintptr_t)p;
		memset(p, 1, 64 * MIB);
		ck_assert_uint_gt(pages_there(at, 64 * MIB), 0);
		free(p);
	} while (!malloc_trim(0));
	ck_assert_uint_eq(pages_there(at, 64 * MIB), 0);
}
END_TEST

START_TEST(malloc_info_writes_one_element)
{
	char text[4096] = "";
	FILE *f = fmemopen(text, sizeof(text) - 1, "w");

	errno = 0;
	ck_assert_int_eq(malloc_info(1, f), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(malloc_info(0, f), 0);
	fclose(f);
	ck_assert_ptr_nonnull(strstr(text, "<malloc version="));
	ck_assert_ptr_nonnull(strstr(text, "</malloc>"));
}
END_TEST

static const struct test tests[] = {
	TEST(every_name_is_of_the_library, "malloc"),
	TEST(zero_bytes_are_a_block_of_their_own, "malloc"),
	TEST(sizes_beyond_the_address_space_are_refused, "malloc"),
	TEST(alignments_are_kept_from_one_byte_to_a_gibibyte, "malloc"),
	TEST(alignments_that_are_none_are_refused, "malloc"),
	TEST(valloc_and_pvalloc_give_whole_pages, "malloc"),
	TEST(all_of_the_usable_size_is_writable_and_kept, "malloc"),
	TEST(realloc_keeps_contents_from_every_class_to_every_other, "malloc"),
	TEST(realloc_that_fails_leaves_the_block, "malloc"),
	TEST(large_blocks_that_grow_keep_their_contents, "malloc"),
	TEST(a_large_block_grows_where_it_is, "malloc"),
	TEST(calloc_is_zero_after_reuse, "malloc"),
	TEST(free_keeps_errno, "malloc"),
	TEST(a_pointer_of_the_c_library_goes_back_to_it, "malloc"),
	TEST(threads_come_and_go_and_keep_their_blocks, "malloc"),
	TEST(destructors_of_threads_may_allocate, "malloc"),
	TEST(a_child_of_fork_allocates_while_threads_do, "malloc"),
	TEST(mallinfo_counts_what_is_allocated, "malloc"),
	TEST(malloc_trim_gives_memory_back, "malloc"),
	TEST(malloc_info_writes_one_element, "malloc"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
