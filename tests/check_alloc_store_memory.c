/* SPDX-License-Identifier: MIT */
/* Pages in compressed memory: nothing is lost, and memory comes back. */
#include "tests/harness.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/store/checksum.h"
#include "alloc/store/memory.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/stored.h"
#include "uffd/sys.h"

#define MIB	  ((size_t)1 << 20)
#define MOST_PAGE 65536

static const enum ferry__codec codecs[] = { FERRY__CODEC_LZ4,
					    FERRY__CODEC_ZSTD };

#define FOR_EACH_CODEC(i) for (i = 0; i < ARRAY_SIZE(codecs); i++)

static struct ferry__store *store;
static _Alignas(64) unsigned char page[MOST_PAGE], back[MOST_PAGE];

static void make(enum ferry__codec codec, uint64_t limit)
{
	ck_assert_int_eq(ferry__store_memory_create(codec, limit, &store), 0);
}

static void unmake(void)
{
	store->ops->destroy(store);
}

static struct ferry__store_stats stats(void)
{
	struct ferry__store_stats s;

	store->ops->stats(store, &s);
	return s;
}

static int put(uint64_t tag, ferry__store_handle *ret_handle)
{
	return store->ops->put(store, page, tag, ret_handle);
}

static int get(ferry__store_handle handle, uint64_t tag)
{
	memset(back, 0xee, page_size());
	return store->ops->get(store, handle, tag, back);
}

static int put_number(uint64_t number, ferry__store_handle *ret_handle)
{
	stored_fill(page, number);
	return put(stored_tag(number), ret_handle);
}

static void assert_number(ferry__store_handle handle, uint64_t number)
{
	ck_assert_int_eq(get(handle, stored_tag(number)), 0);
	ck_assert(stored_holds(back, number));
}

/* Memory for @n handles, of the test's own. */
static ferry__store_handle *handles_for(size_t n)
{
	return map_private(n * sizeof(ferry__store_handle));
}

static void put_numbers(ferry__store_handle *handle, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		ck_assert_int_eq(put_number(i, &handle[i]), 0);
}

static void fill_word(uint64_t word)
{
	size_t i;

	for (i = 0; i < page_size(); i += sizeof(word))
		memcpy(page + i, &word, sizeof(word));
}

/* --- there and back ------------------------------------------------------- */

START_TEST(pages_come_back_as_they_were)
{
	size_t n = harness_scaled(4000), i, c;
	ferry__store_handle *handle = handles_for(n);

	FOR_EACH_CODEC(c)
	{
		make(codecs[c], 0);
		put_numbers(handle, n);
		for (i = 0; i < n; i++) {
			ck_assert(handle[i] >> FERRY__STORE_HANDLE_BITS == 0);
			assert_number(handle[i], i);
			assert_number(handle[i], i);
		}
		ck_assert_uint_eq(stats().pages, n);
		ck_assert_uint_eq(stats().gets, 2 * n);
		unmake();
	}
}
END_TEST

START_TEST(another_tag_is_not_this_page)
{
	ferry__store_handle handle;
	size_t c;

	FOR_EACH_CODEC(c)
	{
		make(codecs[c], 0);
		ck_assert_int_eq(put_number(1, &handle), 0);
		ck_assert_int_eq(get(handle, stored_tag(2)), -EILSEQ);
		assert_number(handle, 1);
		fill_word(0);
		ck_assert_int_eq(put(stored_tag(3), &handle), 0);
		ck_assert_int_eq(get(handle, stored_tag(4)), -EILSEQ);
		ck_assert_int_eq(get(handle, stored_tag(3)), 0);
		ck_assert_uint_eq(stats().failed, 2);
		unmake();
	}
}
END_TEST

START_TEST(pages_of_one_word_take_no_memory)
{
	static const uint32_t words[] = { 0, ~0u, 0x01010101, 0xdeadbeef };
	ferry__store_handle handle;
	uint64_t before, i;
	size_t k;

	make(FERRY__CODEC_LZ4, 0);
	before = stats().memory;
	for (i = 0; i < 1000; i++) {
		uint64_t word = words[i % 4] * 0x100000001u;

		fill_word(word);
		ck_assert_int_eq(put(stored_tag(i), &handle), 0);
		ck_assert_int_eq(get(handle, stored_tag(i)), 0);
		for (k = 0; k < page_size(); k++)
			ck_assert_int_eq(back[k], page[k]);
	}
	ck_assert_uint_eq(stats().memory, before);
	ck_assert_uint_eq(stats().same, 1000);
	ck_assert_uint_eq(stats().pages, 1000);
	store->ops->drop(store, handle);
	ck_assert_uint_eq(stats().pages, 999);
	ck_assert_uint_eq(stats().same, 999);
	unmake();
}
END_TEST

START_TEST(longer_words_take_eight_bytes)
{
	ferry__store_handle handle;

	make(FERRY__CODEC_LZ4, 0);
	fill_word(0x0123456789abcdef);
	ck_assert_int_eq(put(7, &handle), 0);
	ck_assert_uint_eq(stats().payload, 8);
	ck_assert_uint_eq(stats().same, 1);
	ck_assert_int_eq(get(handle, 7), 0);
	ck_assert_int_eq(memcmp(back, page, page_size()), 0);
	ck_assert_int_eq(get(handle, 8), -EILSEQ);
	store->ops->drop(store, handle);
	ck_assert_uint_eq(stats().payload, 0);
	ck_assert_uint_eq(stats().same, 0);
	unmake();
}
END_TEST

START_TEST(pages_that_do_not_compress_are_refused)
{
	ferry__store_handle handle;
	uint64_t before;
	size_t c;

	FOR_EACH_CODEC(c)
	{
		make(codecs[c], 0);
		handle = 1234;
		before = stats().memory;
		stored_noise(page, 1);
		ck_assert_int_eq(put(1, &handle), -E2BIG);
		/* A quarter page of zeroes does, an eighth less a bit not. */
		memset(page, 0, page_size() / 8 - 16);
		ck_assert_int_eq(put(1, &handle), -E2BIG);
		ck_assert_uint_eq(handle, 1234);
		ck_assert_uint_eq(stats().memory, before);
		ck_assert_uint_eq(stats().refused, 2);
		ck_assert_uint_eq(stats().pages, 0);
		memset(page, 0, page_size() / 4);
		ck_assert_int_eq(put(1, &handle), 0);
		unmake();
	}
}
END_TEST

/* --- memory --------------------------------------------------------------- */

/* Puts until the store is full; returns how many there are. */
static size_t put_until_full(ferry__store_handle *handle, size_t i, size_t n)
{
	int r = 0;

	for (; i < n; i++) {
		r = put_number(i, &handle[i]);
		if (r < 0)
			break;
	}
	ck_assert_int_eq(r, -ENOSPC);
	return i;
}

START_TEST(the_limit_is_honoured)
{
	size_t n = 20000, i, full, again, c;
	ferry__store_handle *handle = handles_for(n);

	FOR_EACH_CODEC(c)
	{
		make(codecs[c], 2 * MIB);
		full = put_until_full(handle, 0, n);
		ck_assert_uint_ge(full, MIB / page_size());
		ck_assert_uint_le(stats().memory, 2 * MIB);
		ck_assert_uint_ge(stats().memory, 2 * MIB - 64 * page_size());
		for (i = 0; i < full; i++)
			assert_number(handle[i], i);
		for (i = 0; i < full; i += 2)
			store->ops->drop(store, handle[i]);
		store->ops->maintain(store);
		again = put_until_full(handle, full, n);
		ck_assert_uint_ge(again - full, full / 3);
		ck_assert_uint_le(stats().memory, 2 * MIB);
		for (i = 1; i < again; i += i < full - 1 ? 2 : 1)
			assert_number(handle[i], i);
		unmake();
	}
}
END_TEST

/* Twice: what was given back is used again, and given back again. */
START_TEST(memory_comes_back_when_all_is_dropped)
{
	size_t n = harness_scaled(8000), i;
	ferry__store_handle *handle = handles_for(n);
	uint64_t before;
	int round;

	make(FERRY__CODEC_LZ4, 0);
	before = stats().memory;
	for (round = 0; round < 2; round++) {
		put_numbers(handle, n);
		ck_assert_uint_gt(stats().memory, before + stats().payload);
		for (i = 0; i < n; i++) {
			assert_number(handle[i], i);
			store->ops->drop(store, handle[i]);
		}
		store->ops->maintain(store);
		ck_assert_uint_eq(stats().pages, 0);
		ck_assert_uint_eq(stats().payload, 0);
		/* Left is what knows of pages, not what holds them. */
		ck_assert_uint_le(stats().memory, before + n * 8 + n / 4 * 40 +
							  2 * page_size());
	}
	unmake();
}
END_TEST

START_TEST(sparse_slabs_are_compacted_under_their_handles)
{
	size_t n = harness_scaled(20000), i, left = 0;
	ferry__store_handle *handle = handles_for(n);
	struct random rng = harness_random();
	struct ferry__store_stats full, sparse;

	make(FERRY__CODEC_LZ4, 0);
	put_numbers(handle, n);
	full = stats();
	for (i = 0; i < n; i++) {
		if (random_below(&rng, 8) == 0) {
			left++;
			continue;
		}
		store->ops->drop(store, handle[i]);
		handle[i] = ~(uint64_t)0;
	}
	store->ops->maintain(store);
	sparse = stats();
	ferry__memory_check(store);
	ck_assert_uint_eq(sparse.pages, left);
	for (i = 0; i < n; i++)
		if (handle[i] != ~(uint64_t)0)
			assert_number(handle[i], i);
	/* Each class is left with less than a slab of free places or so. */
	ck_assert_uint_le(sparse.memory,
			  full.memory / 8 + 64 * 8 * page_size() + n * 16);
	unmake();
}
END_TEST

START_TEST(objects_that_are_read_stay_where_they_are)
{
	size_t n = 4000, i;
	ferry__store_handle *handle = handles_for(n);
	struct ferry__store_memory *mem;
	uint64_t *entry, before;

	make(FERRY__CODEC_LZ4, 0);
	mem = (struct ferry__store_memory *)store;
	put_numbers(handle, n);
	entry = ferry__memory_entry(mem, handle[n / 2]);
	__atomic_fetch_add(entry, FERRY__ENTRY_PIN, __ATOMIC_ACQUIRE);
	before = *entry;
	for (i = 0; i < n; i++)
		if (i % 16 && i != n / 2)
			store->ops->drop(store, handle[i]);
	store->ops->maintain(store);
	ck_assert_uint_eq(*entry, before);
	assert_number(handle[n / 2], n / 2);
	__atomic_fetch_sub(entry, FERRY__ENTRY_PIN, __ATOMIC_RELEASE);
	for (i = 0; i < n; i += 16)
		assert_number(handle[i], i);
	unmake();
}
END_TEST

START_TEST(classes_waste_little)
{
	static struct ferry__slabs slabs;
	size_t unit = page_size() / FERRY__SLAB_UNITS, size, i, got;
	size_t wanted = 0, taken = 0;
	ferry__place place;

	ferry__slabs_init(&slabs);
	for (i = 0; i < slabs.n_classes; i++)
		ck_assert_uint_ge(slabs.class[i].size * slabs.class[i].slots,
				  8 * page_size() -
					  unit * slabs.class[i].slots);
	for (size = 1; size <= page_size(); size++) {
		ck_assert_int_eq(
			ferry__slabs_take(&slabs, size, UINT64_MAX, &place), 0);
		got = ferry__slabs_size(&slabs, place);
		ck_assert_uint_ge(got, size);
		ck_assert_uint_le(got, size + size / 8 + 2 * unit);
		if (size >= page_size() / 20 && size <= page_size() * 7 / 8) {
			wanted += size;
			taken += got;
		}
		memset(ferry__slabs_at(&slabs, place), 1, size);
	}
	/* On average what slab.h says, and no more. */
	ck_assert_uint_le(taken, wanted + wanted / 20);
	ferry__slabs_fini(&slabs);
}
END_TEST

/* --- what fails ----------------------------------------------------------- */

/* Pages of address space in use by this process. */
static long address_space(void)
{
	long pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%ld", &pages), 1);
	fclose(f);
	return pages;
}

START_TEST(failed_creation_leaves_nothing)
{
	struct inject_rule rule;
	long before = address_space();
	size_t c;
	int n, r;

	ck_assert_int_eq(ferry__store_memory_create(99, 0, &store), -EINVAL);
	FOR_EACH_CODEC(c)
	for (n = 1;; n++) {
		rule = (struct inject_rule){ .call = INJECT_MMAP,
					     .nth = (uint64_t)n,
					     .error = ENOMEM };
		inject_start();
		inject_add(&rule);
		store = NULL;
		r = ferry__store_memory_create(codecs[c], 0, &store);
		inject_stop();
		if (r == 0)
			unmake();
		ck_assert_int_le(address_space(), before);
		if (!rule.hits)
			break;
		ck_assert_int_eq(r, -ENOMEM);
		ck_assert_ptr_null(store);
	}
}
END_TEST

START_TEST(failed_mappings_refuse_and_lose_nothing)
{
	struct inject_rule rule = { .call = INJECT_MMAP,
				    .count = INJECT_ALWAYS,
				    .error = ENOMEM };
	size_t n = 20000, full, i;
	ferry__store_handle *handle = handles_for(n);

	make(FERRY__CODEC_LZ4, 0);
	for (i = 0; i < 100; i++)
		ck_assert_int_eq(put_number(i, &handle[i]), 0);
	inject_start();
	inject_add(&rule);
	full = put_until_full(handle, 100, n);
	ck_assert_uint_gt(rule.hits, 0);
	for (i = 0; i < full; i++)
		assert_number(handle[i], i);
	ck_assert_uint_eq(stats().pages, full);
	inject_stop();
	for (i = full; i < full + 1000; i++)
		ck_assert_int_eq(put_number(i, &handle[i]), 0);
	for (i = 0; i < full + 1000; i++)
		assert_number(handle[i], i);
	unmake();
}
END_TEST

START_TEST(memory_the_kernel_keeps_stays_counted)
{
	struct inject_rule rule = { .call = INJECT_MADVISE,
				    .request = MADV_DONTNEED,
				    .count = INJECT_ALWAYS,
				    .error = EINVAL };
	size_t n = 2000, i;
	ferry__store_handle *handle = handles_for(n);
	uint64_t full;

	make(FERRY__CODEC_LZ4, 0);
	put_numbers(handle, n);
	full = stats().memory;
	for (i = 0; i < n; i++)
		store->ops->drop(store, handle[i]);
	inject_start();
	inject_add(&rule);
	store->ops->maintain(store);
	inject_stop();
	ck_assert_uint_gt(rule.hits, 0);
	ck_assert_uint_eq(stats().memory, full);
	/* It is used again, if by other classes, which begin slabs anew. */
	put_numbers(handle, n);
	ck_assert_uint_le(stats().memory, full + 64 * 8 * page_size());
	for (i = 0; i < n; i++)
		assert_number(handle[i], i);
	unmake();
}
END_TEST

#ifdef FERRY__CHECKSUM_AVX2
START_TEST(sums_are_those_of_any_machine)
{
	struct random r = harness_random();
	size_t i, k;

	if (!__builtin_cpu_supports("avx2"))
		SKIP("avx2", "this machine does not have it");
	for (i = 0; i < 100; i++) {
		for (k = 0; k < page_size(); k++)
			page[k] = (unsigned char)random_next(&r);
		ck_assert_uint_eq(ferry__checksum_plain(page),
				  ferry__checksum_avx2(page));
	}
}
END_TEST
#endif

START_TEST(any_byte_that_changed_is_noticed)
{
	struct ferry__store_memory *mem;
	struct random rng = harness_random();
	ferry__store_handle handle;
	unsigned char *object;
	size_t len, i, c, off;
	int r;

	FOR_EACH_CODEC(c)
	{
		make(codecs[c], 0);
		mem = (struct ferry__store_memory *)store;
		ck_assert_int_eq(put_number(5, &handle), 0);
		object = (void *)ferry__memory_object(
			mem, *ferry__memory_entry(mem, handle));
		len = sizeof(struct ferry__object) + stats().payload;
		for (i = 0; i < 2 * len; i++) {
			unsigned char old;

			off = i < len ? i : random_below(&rng, len);
			old = object[off];
			object[off] ^=
				(unsigned char)(1 + random_below(&rng, 255));
			r = get(handle, stored_tag(5));
			/* zstd has bits that mean nothing. */
			ck_assert_msg(r == -EILSEQ ||
					      (r == 0 && stored_holds(back, 5)),
				      "byte %zu: %d", off, r);
			ck_assert(i > 0 || r == -EILSEQ);
			object[off] = old;
		}
		ck_assert_uint_ge(stats().failed, len);
		assert_number(handle, 5);
		unmake();
	}
}
END_TEST

/* --- fork ----------------------------------------------------------------- */

static void fork_child(const ferry__store_handle *handle, size_t n)
{
	ferry__store_handle more;
	size_t i;

	store->ops->fork_child(store);
	if (stats().pages != n)
		_exit(1);
	for (i = 0; i < n; i++)
		if (get(handle[i], stored_tag(i)) || !stored_holds(back, i))
			_exit(2);
	for (i = 0; i < n; i += 2)
		store->ops->drop(store, handle[i]);
	store->ops->maintain(store);
	if (put_number(n, &more) || get(more, stored_tag(n)))
		_exit(3);
	for (i = 1; i < n; i += 2)
		if (get(handle[i], stored_tag(i)) || !stored_holds(back, i))
			_exit(4);
	_exit(0);
}

START_TEST(a_child_has_the_same_pages_under_the_same_handles)
{
	size_t n = harness_scaled(3000), i, c;
	ferry__store_handle *handle = handles_for(n);
	uint64_t memory;
	int status;
	pid_t pid;

	FOR_EACH_CODEC(c)
	{
		make(codecs[c], 0);
		put_numbers(handle, n);
		memory = stats().memory;
		store->ops->fork_prepare(store);
		/* Handlers go on meanwhile. */
		assert_number(handle[0], 0);
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (pid == 0)
			fork_child(handle, n);
		store->ops->fork_parent(store);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
		ck_assert_uint_eq(stats().memory, memory);
		for (i = 0; i < n; i++)
			assert_number(handle[i], i);
		unmake();
	}
}
END_TEST

static const struct test tests[] = {
	TEST(pages_come_back_as_they_were, NULL),
	TEST(another_tag_is_not_this_page, NULL),
	TEST(pages_of_one_word_take_no_memory, NULL),
	TEST(longer_words_take_eight_bytes, NULL),
	TEST(pages_that_do_not_compress_are_refused, NULL),
	TEST(the_limit_is_honoured, NULL),
	TEST(memory_comes_back_when_all_is_dropped, NULL),
	TEST(sparse_slabs_are_compacted_under_their_handles, NULL),
	TEST(objects_that_are_read_stay_where_they_are, NULL),
	TEST(classes_waste_little, NULL),
	TEST(failed_creation_leaves_nothing, NULL),
	TEST(failed_mappings_refuse_and_lose_nothing, NULL),
	TEST(memory_the_kernel_keeps_stays_counted, NULL),
#ifdef FERRY__CHECKSUM_AVX2
	TEST(sums_are_those_of_any_machine, NULL),
#endif
	TEST(any_byte_that_changed_is_noticed, NULL),
	TEST(a_child_has_the_same_pages_under_the_same_handles, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
