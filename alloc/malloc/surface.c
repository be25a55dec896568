/* SPDX-License-Identifier: MIT */
/*
 * The malloc that programs call.
 *
 * malloc is jemalloc's own, by another name (local.mk). What gets
 * a pointer compares it with the first region and jumps into jemalloc;
 * whatever is not the common case is in a function of its own, named _slow.
 */
#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <stdlib.h>

#include <ferry/base.h>

#include "alloc/malloc/engine.h"
#include "alloc/malloc/foreign.h"
#include "alloc/malloc/space.h"
#include "uffd/sys.h"

#define SLOW __attribute__((noinline, cold))

/* C23 and older names, which the C library's headers do not declare. */
FERRY_EXPORT void free_sized(void *ptr, size_t size);
FERRY_EXPORT void free_aligned_sized(void *ptr, size_t align, size_t size);
FERRY_EXPORT void cfree(void *ptr);

/* --- allocation --------------------------------------------------------------------- */

static void *out_of_memory(void)
{
	errno = ENOMEM;
	return NULL;
}

/*
 * What the C library writes to in a child of fork(2), before any handler could
 * bring it back: the blocks of thread-specific data with numbers above 31
 * (pthread_setspecific(3) asks for 32 of 16 bytes), and what is for threads of
 * ours. From arena 0, which never goes out.
 */
static bool is_own(size_t n, size_t size)
{
	return ferry__engine_own || (n == 32 && size == 16);
}

SLOW static void *calloc_own(size_t n, size_t size)
{
	size_t bytes;
	void *p;

	if (__builtin_mul_overflow(n, size, &bytes) || bytes > PTRDIFF_MAX)
		return out_of_memory();
	p = ferry__je_mallocx(bytes ? bytes : 1, FERRY__JE_ZERO |
							 FERRY__JE_TCACHE_NONE |
							 FERRY__JE_ARENA_0);
	return p ? p : out_of_memory();
}

FERRY_EXPORT void *calloc(size_t n, size_t size)
{
	if (__builtin_expect(is_own(n, size), 0))
		return calloc_own(n, size);
	return ferry__je_calloc(n, size);
}

/*
 * In the library the linker puts jemalloc's own function in its place
 * (local.mk), and takes its visibility: it is not to be named here. What stays
 * is that the symbol has a size; valgrind(1) passes over those that have none,
 * and replaced free() alone.
 */
FERRY_EXPORT void *malloc(size_t size)
{
	return ferry__je_mallocx(size ? size : 1, 0);
}

static bool is_power_of_two(size_t n)
{
	return n && !(n & (n - 1));
}

/* @align is a power of two. */
static void *aligned(size_t align, size_t size)
{
	void *p;

	/* jemalloc forgets the alignment of no bytes. */
	if (!size)
		size = 1;
	p = ferry__je_memalign(align, size);
	return p ? p : out_of_memory();
}

FERRY_EXPORT void *aligned_alloc(size_t align, size_t size)
{
	if (is_power_of_two(align))
		return aligned(align, size);
	errno = EINVAL;
	return NULL;
}

/* Any alignment will do: what is no power of two is rounded up to one. */
FERRY_EXPORT void *memalign(size_t align, size_t size)
{
	if (align > (SIZE_MAX >> 1) + 1) {
		errno = EINVAL;
		return NULL;
	}
	if (!is_power_of_two(align))
		align = align ? (size_t)1 << (64 - __builtin_clzl(align)) : 1;
	return aligned(align, size);
}

FERRY_EXPORT int posix_memalign(void **ret_ptr, size_t align, size_t size)
{
	int saved = errno;
	void *p;

	if (!is_power_of_two(align) || align % sizeof(void *))
		return EINVAL;
	p = aligned(align, size);
	errno = saved;
	if (!p)
		return ENOMEM;
	*ret_ptr = p;
	return 0;
}

FERRY_EXPORT void *valloc(size_t size)
{
	return aligned(ferry__page_size ? ferry__page_size : 4096, size);
}

FERRY_EXPORT void *pvalloc(size_t size)
{
	size_t page = ferry__page_size ? ferry__page_size : 4096;
	size_t whole = (size + page - 1) & ~(page - 1);

	if (whole < size)
		return out_of_memory();
	return aligned(page, whole ? whole : page);
}

/* --- release ------------------------------------------------------------------------ */

/* Memory of arena 0 does not get into caches that serve the heap. */
static void free_own(void *ptr)
{
	if (ferry__engine_is_plain())
		ferry__je_free(ptr);
	else
		ferry__je_dallocx(ptr, FERRY__JE_TCACHE_NONE);
}

SLOW static void free_slow(void *ptr)
{
	int saved = errno;

	if (!ptr)
		return;
	if (ferry__space_of(FERRY__SPACE_OWN, ptr))
		free_own(ptr);
	else if (ferry__space_of(FERRY__SPACE_HEAP, ptr))
		ferry__je_free(ptr);
	else
		ferry__foreign_free(ptr);
	errno = saved;
}

FERRY_EXPORT void free(void *ptr)
{
	if (__builtin_expect(ferry__space_has(ptr), 1))
		ferry__je_free(ptr);
	else
		free_slow(ptr);
}

FERRY_EXPORT void cfree(void *ptr)
{
	free(ptr);
}

FERRY_EXPORT void free_sized(void *ptr, size_t size)
{
	(void)size;
	free(ptr);
}

FERRY_EXPORT void free_aligned_sized(void *ptr, size_t align, size_t size)
{
	(void)align;
	(void)size;
	free(ptr);
}

/* --- both --------------------------------------------------------------------------- */

static bool is_ours(const void *ptr)
{
	return ferry__space_has(ptr) ||
	       ferry__space_of(FERRY__SPACE_OWN, ptr) ||
	       ferry__space_of(FERRY__SPACE_HEAP, ptr);
}

/* jemalloc's says nothing of its errors. */
static void *realloc_heap(void *ptr, size_t size)
{
	void *p = ferry__je_realloc(ptr, size);

	return p || !size ? p : out_of_memory();
}

/* It stays out of caches that serve the heap. */
static void *realloc_own(void *ptr, size_t size)
{
	void *p;

	if (!size) {
		free_own(ptr);
		return NULL;
	}
	if (size > PTRDIFF_MAX)
		return out_of_memory();
	p = ferry__je_rallocx(ptr, size, FERRY__JE_TCACHE_NONE);
	return p ? p : out_of_memory();
}

SLOW static void *realloc_slow(void *ptr, size_t size)
{
	if (!ptr || ferry__space_of(FERRY__SPACE_HEAP, ptr))
		return realloc_heap(ptr, size);
	if (!ferry__space_of(FERRY__SPACE_OWN, ptr))
		return ferry__foreign_realloc(ptr, size);
	if (ferry__engine_is_plain())
		return realloc_heap(ptr, size);
	return realloc_own(ptr, size);
}

FERRY_EXPORT void *realloc(void *ptr, size_t size)
{
	if (__builtin_expect(ferry__space_has(ptr), 1))
		return realloc_heap(ptr, size);
	return realloc_slow(ptr, size);
}

FERRY_EXPORT void *reallocarray(void *ptr, size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes))
		return out_of_memory();
	return realloc(ptr, bytes);
}

FERRY_EXPORT size_t malloc_usable_size(void *ptr)
{
	if (!ptr)
		return 0;
	if (!is_ours(ptr))
		return ferry__foreign_usable_size(ptr);
	return ferry__je_malloc_usable_size(ptr);
}
