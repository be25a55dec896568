/* SPDX-License-Identifier: MIT */
/*
 * Which bytes of pages belong to objects, against a model that knows every
 * object; and that another jemalloc is not believed.
 */
#include "alloc/malloc/engine.h"
#include "alloc/malloc/holes.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <jemalloc/jemalloc.h>

#include "tests/harness.h"
#include "tests/memory.h"

#define PAGE ((uintptr_t)FERRY__HOLES_PAGE)

static const struct ferry__holes_engine *const je = &ferry__holes_jemalloc;
static struct ferry__holes holes;
static unsigned int arena;
static int flags;

/* Before jemalloc's own constructor, as the library does. */
__attribute__((constructor(101))) static void first(void)
{
	ferry__engine_start();
}

static unsigned int new_arena(void)
{
	unsigned int index;
	size_t len = sizeof(index);

	ck_assert_int_eq(je->mallctl("arenas.create", &index, &len, NULL, 0),
			 0);
	return index;
}

static void setup(void)
{
	ck_assert_int_eq(ferry__holes_start(&holes, je), 0);
	arena = new_arena();
	flags = MALLOCX_ARENA(arena) | MALLOCX_TCACHE_NONE;
}

static size_t get_size(const char *name)
{
	size_t value, len = sizeof(value);

	ck_assert_int_eq(je->mallctl(name, &value, &len, NULL, 0), 0);
	return value;
}

static unsigned int count_classes(void)
{
	unsigned int n;
	size_t len = sizeof(n);

	ck_assert_int_eq(je->mallctl("arenas.nbins", &n, &len, NULL, 0), 0);
	return n;
}

static size_t class_size(unsigned int i)
{
	char name[48];

	snprintf(name, sizeof(name), "arenas.bin.%u.size", i);
	return get_size(name);
}

static bool is_named(uintptr_t page)
{
	uint64_t bits = ~0ull;

	ferry__holes_empty_pages(&holes, page, PAGE, &bits);
	ck_assert_uint_le(bits, 1);
	return bits;
}

/* So many bytes of the page at @page live. */
static void assert_lives(uintptr_t page, size_t bytes)
{
	ck_assert_uint_eq(ferry__holes_scrub(&holes, page, NULL), bytes);
}

/* --- the model ----------------------------------------------------------- */

#define OBJECTS 1500

struct model {
	size_t size, n;
	char *at[OBJECTS]; /* NULL: freed */
	char *was[OBJECTS];
};

static void model_fill(struct model *m, size_t size, size_t n)
{
	m->size = size;
	m->n = n;
	for (size_t i = 0; i < n; i++) {
		m->at[i] = m->was[i] = je->mallocx(size, flags);
		ck_assert_ptr_nonnull(m->at[i]);
	}
}

static void model_free(struct model *m, size_t i)
{
	if (m->at[i])
		je->dallocx(m->at[i], flags);
	m->at[i] = NULL;
}

/* All but object @keep; OBJECTS: all. */
static void model_free_but(struct model *m, size_t keep)
{
	for (size_t i = 0; i < m->n; i++)
		if (i != keep)
			model_free(m, i);
}

/* Marks with 1 each byte of the page at @page that lives; counts them. */
static size_t model_page(const struct model *m, uintptr_t page, char *ret)
{
	size_t live = 0;

	memset(ret, 0, PAGE);
	for (size_t i = 0; i < m->n; i++) {
		uintptr_t from = (uintptr_t)m->at[i], to = from + m->size;

		if (!from || to <= page || from >= page + PAGE)
			continue;
		from = from > page ? from - page : 0;
		to = to - page < PAGE ? to - page : PAGE;
		memset(ret + from, 1, to - from);
		live += to - from;
	}
	return live;
}

static void assert_page(const struct model *m, uintptr_t page)
{
	static char lives[PAGE], copy[PAGE];
	size_t live = model_page(m, page, lives);

	memset(copy, 0x5a, PAGE);
	ck_assert_uint_eq(ferry__holes_scrub(&holes, page, copy), live);
	assert_lives(page, live);
	for (size_t i = 0; i < PAGE; i++)
		ck_assert_int_eq(copy[i], lives[i] ? 0x5a : 0);
	if (live)
		ck_assert(!is_named(page));
}

/* Each page that ever held an object of the model. */
static void assert_model(const struct model *m)
{
	for (size_t i = 0; i < m->n; i++) {
		uintptr_t page = (uintptr_t)m->was[i] & -PAGE;

		for (; page < (uintptr_t)m->was[i] + m->size; page += PAGE)
			assert_page(m, page);
	}
}

/* --- facts --------------------------------------------------------------- */

START_TEST(this_jemalloc_is_known)
{
	ck_assert_int_eq(ferry__holes_start(&holes, je), 0);
	ck_assert_ptr_null(ferry__holes_reason(&holes));
}
END_TEST

START_TEST(full_slabs_live_of_every_class)
{
	static struct model m;

	for (unsigned int i = 0; i < count_classes(); i++) {
		model_fill(&m, class_size(i), harness_scaled(600));
		assert_model(&m);
		model_free_but(&m, OBJECTS);
		assert_model(&m);
	}
}
END_TEST

START_TEST(after_churn_each_byte_is_known_of_every_class)
{
	static struct model m;
	struct random rng = harness_random();

	for (unsigned int i = 0; i < count_classes(); i++) {
		model_fill(&m, class_size(i), harness_scaled(OBJECTS));
		for (size_t j = 0; j < m.n; j++) {
			if (random_below(&rng, 20))
				model_free(&m, j);
		}
		assert_model(&m);
		model_free_but(&m, OBJECTS);
	}
}
END_TEST

START_TEST(an_empty_page_between_objects_is_named)
{
	static struct model m;
	size_t named = 0;

	model_fill(&m, 320, 1024); /* slabs of 5 pages, 64 objects */
	for (size_t i = 0; i < m.n; i++) {
		if (i % 64)
			model_free(&m, i);
	}
	for (size_t i = 0; i < m.n; i += 64) {
		uintptr_t first = (uintptr_t)m.at[i];

		ck_assert(!is_named(first));
		for (uintptr_t p = first + PAGE; p < first + 5 * PAGE;
		     p += PAGE)
			named += is_named(p);
	}
	ck_assert_uint_eq(named, m.n / 64 * 4);
}
END_TEST

START_TEST(an_object_over_two_pages_keeps_both)
{
	static struct model m;
	size_t over = 0;

	model_fill(&m, 3072, 4); /* slab of 3 pages */
	for (size_t i = 0; i < m.n; i++) {
		uintptr_t from = (uintptr_t)m.at[i];

		if (from / PAGE == (from + m.size - 1) / PAGE)
			continue;
		over++;
		model_free_but(&m, i);
		ck_assert(!is_named(from & -PAGE));
		ck_assert(!is_named((from & -PAGE) + PAGE));
		assert_model(&m);
		model_free(&m, i);
		model_fill(&m, 3072, 4);
	}
	ck_assert_uint_gt(over, 0);
}
END_TEST

START_TEST(bits_beyond_the_first_word_count)
{
	static struct model m;

	/* 512 objects of 8 bytes in a page, eight words of bits. */
	model_fill(&m, 8, 512);
	for (size_t keep = 0; keep < 512; keep += 63) {
		model_free_but(&m, keep);
		assert_model(&m);
		model_free_but(&m, OBJECTS);
		model_fill(&m, 8, 512);
	}
}
END_TEST

START_TEST(many_pages_are_asked_about_at_once)
{
	static struct model m;
	static uint64_t bits[1024];
	uintptr_t from = UINTPTR_MAX, to = 0;

	model_fill(&m, 320, OBJECTS);
	for (size_t i = 0; i < m.n; i++) {
		uintptr_t p = (uintptr_t)m.at[i] & -PAGE;

		from = p < from ? p : from;
		to = p + PAGE > to ? p + PAGE : to;
		if (i % 64)
			model_free(&m, i);
	}
	ck_assert_uint_lt((to - from) / PAGE, 64 * 1024);
	memset(bits, 0xff, sizeof(bits));
	ferry__holes_empty_pages(&holes, from, to - from, bits);
	for (size_t i = 0; i < (to - from) / PAGE; i++)
		ck_assert_uint_eq(bits[i / 64] >> (i % 64) & 1,
				  is_named(from + i * PAGE));
}
END_TEST

START_TEST(objects_in_a_threads_cache_live)
{
	size_t len = sizeof(arena);
	uintptr_t page;
	void *object;

	ck_assert_int_eq(je->mallctl("thread.arena", NULL, NULL, &arena, len),
			 0);
	object = je->mallocx(640, 0);
	page = (uintptr_t)object & -PAGE;
	je->dallocx(object, 0);
	ck_assert_uint_ge(ferry__holes_scrub(&holes, page, NULL), 640);
	ck_assert_int_eq(
		je->mallctl("thread.tcache.flush", NULL, NULL, NULL, 0), 0);
	assert_lives(page, 0);
}
END_TEST

static void assert_large(char *object, size_t size, size_t live)
{
	for (size_t i = 0; i < size; i += PAGE) {
		uintptr_t page = (uintptr_t)object + i;

		assert_lives(page, live);
		ck_assert(!is_named(page));
	}
}

START_TEST(large_objects_live_until_they_are_freed)
{
	size_t sizes[] = { 5, 17, 300, 16000 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		size_t size = sizes[i] * PAGE;
		char *object;

		flags |= MALLOCX_ALIGN(PAGE);
		object = je->mallocx(size, flags);
		ck_assert_ptr_nonnull(object);
		assert_large(object, size, PAGE);
		je->dallocx(object, flags);
		assert_large(object, size, 0);
	}
}
END_TEST

START_TEST(the_end_of_a_huge_object_lives)
{
	size_t size = (size_t)200 << 20;
	char *object = je->mallocx(size, flags | MALLOCX_ALIGN(PAGE));
	uintptr_t end = (uintptr_t)object + size;

	/* Farther from its beginning than is looked for. */
	assert_lives(end - 3 * PAGE, PAGE);
	assert_lives((uintptr_t)object, PAGE);
	assert_lives(end - 3 * PAGE, PAGE);
	je->dallocx(object, flags);
	assert_lives((uintptr_t)object, 0);
}
END_TEST

START_TEST(a_page_cut_off_a_large_object_is_dead)
{
	size_t size = 64 * PAGE;
	char *object = je->mallocx(size, flags | MALLOCX_ALIGN(PAGE));
	char *page = object + size - 2 * PAGE;

	assert_lives((uintptr_t)page, PAGE);
	ck_assert_ptr_eq(ferry__je_rallocx(object, 16 * PAGE, flags), object);
	assert_large(object, 16 * PAGE, PAGE);
	assert_lives((uintptr_t)page, 0);
}
END_TEST

START_TEST(purged_extents_are_dead_and_live_again)
{
	char *object = je->mallocx(64 * PAGE, flags | MALLOCX_ALIGN(PAGE));
	char name[32], *again;

	je->dallocx(object, flags);
	snprintf(name, sizeof(name), "arena.%u.purge", arena);
	ck_assert_int_eq(je->mallctl(name, NULL, NULL, NULL, 0), 0);
	assert_large(object, 64 * PAGE, 0);
	again = je->mallocx(64 * PAGE, flags | MALLOCX_ALIGN(PAGE));
	assert_large(again, 64 * PAGE, PAGE);
}
END_TEST

START_TEST(what_is_not_jemallocs_lives)
{
	char copy[PAGE];
	char *map =
		mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uintptr_t addrs[] = { (uintptr_t)map,
			      (uintptr_t)copy & -PAGE,
			      (uintptr_t)&holes & -PAGE,
			      0,
			      PAGE,
			      (uintptr_t)1 << 30,
			      ((uintptr_t)1 << 47) - PAGE };

	memset(copy, 1, PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(addrs); i++) {
		ck_assert_uint_eq(ferry__holes_scrub(&holes, addrs[i], copy),
				  PAGE);
		ck_assert(!is_named(addrs[i]));
	}
	for (size_t i = 0; i < PAGE; i++)
		ck_assert_int_eq(copy[i], 1);
}
END_TEST

/* --- another jemalloc ---------------------------------------------------- */

static const char *version = "5.3.0-0-g54eaed1d";
static size_t claimed_page = FERRY__HOLES_PAGE;
static uint32_t regions_more;
static uintptr_t descriptor_off;
static uint64_t row[512];

/* Answers as the one that is linked, but for what a test has changed. */
static int claims(const char *name, void *old, size_t *old_len, void *new_value,
		  size_t new_len)
{
	int r = je->mallctl(name, old, old_len, new_value, new_len);

	if (r)
		return r;
	if (!strcmp(name, "version"))
		*(const char **)old = version;
	if (!strcmp(name, "arenas.page"))
		*(size_t *)old = claimed_page;
	if (strstr(name, ".nregs"))
		*(uint32_t *)old += regions_more;
	return 0;
}

static void *leads_astray(void *tsdn, void *rtree, void *context, uintptr_t key,
			  bool dependent, bool init_missing)
{
	uint64_t *word =
		je->lookup(tsdn, rtree, context, key, dependent, init_missing);

	if (!word || !*word)
		return word;
	row[0] = *word + descriptor_off;
	return row;
}

static void *finds_nothing(void *tsdn, void *rtree, void *context,
			   uintptr_t key, bool dependent, bool init_missing)
{
	(void)tsdn;
	(void)rtree;
	(void)context;
	(void)key;
	(void)dependent;
	(void)init_missing;
	return NULL;
}

static void *no_memory(size_t size, int how)
{
	(void)size;
	(void)how;
	return NULL;
}

static void assert_refused(const struct ferry__holes_engine *engine)
{
	char *object = je->mallocx(8 * PAGE, MALLOCX_ALIGN(PAGE));
	char copy[PAGE];

	ck_assert_int_eq(ferry__holes_start(&holes, engine), -ENOTSUP);
	ck_assert_ptr_nonnull(ferry__holes_reason(&holes));
	memset(copy, 1, PAGE);
	je->dallocx(object, 0);
	ck_assert_uint_eq(
		ferry__holes_scrub(&holes, (uintptr_t)object + PAGE, copy),
		PAGE);
	ck_assert_int_eq(copy[17], 1);
	ck_assert(!is_named((uintptr_t)object + PAGE));
}

static struct ferry__holes_engine claiming(void)
{
	struct ferry__holes_engine engine = *je;

	engine.mallctl = claims;
	return engine;
}

START_TEST(the_truth_repeated_is_believed)
{
	struct ferry__holes_engine engine = claiming();

	ck_assert_int_eq(ferry__holes_start(&holes, &engine), 0);
}
END_TEST

START_TEST(another_version_is_not_believed)
{
	static const char *const others[] = { "5.3.1-0-g81034ce1", "5.2.1-0",
					      "5.3", "", "5.30.0-1" };
	struct ferry__holes_engine engine = claiming();

	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		version = others[i];
		assert_refused(&engine);
	}
}
END_TEST

START_TEST(other_pages_are_not_believed)
{
	struct ferry__holes_engine engine = claiming();

	claimed_page = 16384;
	assert_refused(&engine);
}
END_TEST

START_TEST(other_classes_are_not_believed)
{
	struct ferry__holes_engine engine = claiming();

	regions_more = 1;
	assert_refused(&engine);
}
END_TEST

START_TEST(a_map_that_is_missing_is_not_used)
{
	struct ferry__holes_engine engine = *je;

	engine.emap = NULL;
	assert_refused(&engine);
	engine = *je;
	engine.lookup = NULL;
	assert_refused(&engine);
}
END_TEST

START_TEST(a_map_that_leads_elsewhere_is_not_believed)
{
	struct ferry__holes_engine engine = *je;

	engine.lookup = finds_nothing;
	assert_refused(&engine);
	engine.lookup = leads_astray;
	descriptor_off = 128;
	assert_refused(&engine);
}
END_TEST

START_TEST(without_memory_to_find_out_nothing_is_known)
{
	struct ferry__holes_engine engine = *je;

	engine.mallocx = no_memory;
	assert_refused(&engine);
}
END_TEST

static const struct test tests[] = {
	TEST(this_jemalloc_is_known, NULL),
	TEST_FIXTURE(full_slabs_live_of_every_class, NULL, setup, NULL),
	TEST_FIXTURE(after_churn_each_byte_is_known_of_every_class, NULL, setup,
		     NULL),
	TEST_FIXTURE(an_empty_page_between_objects_is_named, NULL, setup, NULL),
	TEST_FIXTURE(an_object_over_two_pages_keeps_both, NULL, setup, NULL),
	TEST_FIXTURE(bits_beyond_the_first_word_count, NULL, setup, NULL),
	TEST_FIXTURE(many_pages_are_asked_about_at_once, NULL, setup, NULL),
	TEST_FIXTURE(objects_in_a_threads_cache_live, NULL, setup, NULL),
	TEST_FIXTURE(large_objects_live_until_they_are_freed, NULL, setup,
		     NULL),
	TEST_FIXTURE(the_end_of_a_huge_object_lives, NULL, setup, NULL),
	TEST_FIXTURE(a_page_cut_off_a_large_object_is_dead, NULL, setup, NULL),
	TEST_FIXTURE(purged_extents_are_dead_and_live_again, NULL, setup, NULL),
	TEST_FIXTURE(what_is_not_jemallocs_lives, NULL, setup, NULL),
	TEST(the_truth_repeated_is_believed, NULL),
	TEST(another_version_is_not_believed, NULL),
	TEST(other_pages_are_not_believed, NULL),
	TEST(other_classes_are_not_believed, NULL),
	TEST(a_map_that_is_missing_is_not_used, NULL),
	TEST(a_map_that_leads_elsewhere_is_not_believed, NULL),
	TEST(without_memory_to_find_out_nothing_is_known, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
