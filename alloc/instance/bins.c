/* SPDX-License-Identifier: MIT */
/* The engine's caches as they lie: are they as bins.h has them? */
#include "alloc/instance/bins.h"

#include <stdio.h>
#include <string.h>

#include "alloc/instance/instance.h"
#include "alloc/malloc/holes.h"
#include "alloc/malloc/holes_layout.h"

struct ferry__bins ferry__bins;

/*
 * Private to jemalloc: where its caches with numbers are. Another version may
 * not have it.
 */
extern FERRY__HIDDEN void **je_tcaches __attribute__((weak));

/* Before the bins lies one word. */
#define BINS_AT 8

/* --- what there is --------------------------------------------------------- */

static bool read_class(unsigned int i)
{
	size_t size, len = sizeof(size);
	char name[48];

	snprintf(name, sizeof(name), "arenas.bin.%u.size", i);
	if (ferry__je_mallctl(name, &size, &len, NULL, 0) || !size)
		return false;
	ferry__bins.size_of[i] = (uint32_t)size;
	return !i || size > ferry__bins.size_of[i - 1];
}

static bool read_classes(unsigned int *ret_n)
{
	unsigned int n, i, c = 0;
	size_t len = sizeof(n), step;

	if (ferry__je_mallctl("arenas.nbins", &n, &len, NULL, 0) || n > 255)
		return false;
	for (i = 0; i < n; i++)
		if (!read_class(i))
			return false;
	for (step = 0; step < sizeof(ferry__bins.class_of); step++) {
		while (c < n && ferry__bins.size_of[c] < step * 8)
			c++;
		if (c == n)
			return false;
		ferry__bins.class_of[step] = (uint8_t)c;
	}
	*ret_n = n;
	return true;
}

bool ferry__bins_find_row(uintptr_t addr, struct ferry__bins_row *row)
{
	uint64_t context[LAYOUT_CONTEXT_WORDS] = { 0 };
	const uint64_t *words;

	if (!ferry__bins.known)
		return false;
	words = ferry__holes_jemalloc.lookup(
		NULL, ferry__holes_jemalloc.emap, context,
		addr >> FERRY__BINS_ROW_SHIFT << FERRY__BINS_ROW_SHIFT, false,
		false);
	if (!words)
		return false;
	row->key = ferry__bins_key((void *)addr);
	row->words = words;
	return true;
}

struct ferry__bin *ferry__bins_of(unsigned int number)
{
	if (!ferry__bins.known)
		return ferry__bins.none;
	return (struct ferry__bin *)((char *)je_tcaches[number] + BINS_AT);
}

/* --- does it change as expected? ------------------------------------------- */

/* The stack lies between its ends, in whole words. */
static bool is_sound(const struct ferry__bin *bin)
{
	uint16_t top = (uint16_t)(uintptr_t)bin->top;
	uint16_t room = (uint16_t)(bin->empty - bin->full);

	return room && room % sizeof(void *) == 0 &&
	       (uint16_t)(bin->empty - top) <= room;
}

/* The engine takes the top, and puts it back there. */
static bool moves(struct ferry__bin *bin, size_t size, int flags)
{
	void **top = bin->top;
	void *expected = *top, *block;
	bool ok;

	if ((uint16_t)(uintptr_t)top == bin->empty)
		return false;
	block = ferry__je_mallocx(size, flags);
	ok = block == expected && bin->top == top + 1 && is_sound(bin);
	ferry__je_dallocx(block, flags);
	return ok && bin->top == top && *top == block && is_sound(bin);
}

/* What is put and taken here is what the engine finds. */
static bool agrees(struct ferry__bin *bin, size_t size, int flags)
{
	void *block = ferry__bin_take(bin), *other;

	if (!block)
		return false;
	other = ferry__je_mallocx(size, flags);
	if (!ferry__bin_put(bin, block)) {
		ferry__je_dallocx(block, flags);
		ferry__je_dallocx(other, flags);
		return false;
	}
	block = ferry__je_mallocx(size, flags);
	ferry__je_dallocx(other, flags);
	ferry__je_dallocx(block, flags);
	return block != other && is_sound(bin);
}

static bool check_class(unsigned int i, unsigned int cache)
{
	struct ferry__bins_row row = { 0 };
	struct ferry__bin *bin = &ferry__bins_of(cache)[i];
	size_t size = ferry__bins.size_of[i];
	int flags = FERRY__JE_ARENA(0) | FERRY__JE_TCACHE(cache);
	void *one, *two;
	bool ok;

	if (!is_sound(bin) || (uint16_t)(uintptr_t)bin->top != bin->empty ||
	    bin->low != bin->empty)
		return false;
	/* The first fills the stack. */
	one = ferry__je_mallocx(size, flags);
	two = ferry__je_mallocx(size, flags);
	ok = one && two && ferry__bins_find_row((uintptr_t)one, &row) &&
	     ferry__bins_class_in(&row, one) == (int)i;
	ferry__je_dallocx(two, flags);
	ok = ok && moves(bin, size, flags) && agrees(bin, size, flags);
	ferry__je_dallocx(one, flags);
	return ok;
}

static bool check(unsigned int n)
{
	unsigned int cache, i;
	size_t len = sizeof(cache);
	bool ok = true;

	if (ferry__je_mallctl("tcache.create", &cache, &len, NULL, 0))
		return false;
	for (i = 0; ok && i < n; i++)
		ok = check_class(i, cache);
	ferry__je_mallctl("tcache.destroy", NULL, NULL, &cache, sizeof(cache));
	return ok;
}

void ferry__bins_start(void)
{
	unsigned int n;

	if (!&je_tcaches || !read_classes(&n))
		return;
	ferry__bins.known = true;
	ferry__bins.known = check(n);
}
