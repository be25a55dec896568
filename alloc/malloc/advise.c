/* SPDX-License-Identifier: MIT */
/*
 * Programs that change the mapping of memory that they have from malloc.
 *
 * One that takes pages away by madvise(2) wants zeroes, also where contents
 * are in a store by now. What is not for children (MADV_WIPEONFORK) must not
 * come to them from a store either. And pages that are moved elsewhere, or
 * that get another mapping, have to be there, and stay: the kernel keeps
 * neither their place nor their registration.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <ferry/base.h>
#include <ferry/malloc.h>

#include "alloc/malloc/offload.h"
#include "alloc/malloc/space.h"
#include "uffd/sys.h"

static bool takes_away(int advice)
{
	return advice == MADV_DONTNEED || advice == MADV_FREE;
}

/* What the kernel would refuse is not touched. */
static void forget(void *addr, size_t len)
{
	size_t mask = ferry__page_size - 1;
	struct ferry__space *space = ferry__space_of(FERRY__SPACE_HEAP, addr);
	uintptr_t at = (uintptr_t)addr;

	if (!space || at & mask || !len || len > SIZE_MAX - mask)
		return;
	len = (len + mask) & ~mask;
	if (len <= space->base + ferry__space_used(space) - at)
		ferry__offload_discard(addr, len);
}

static bool is_not_for_children(int advice)
{
	return advice == MADV_WIPEONFORK || advice == MADV_DONTFORK;
}

/*
 * Brought back and never taken out again. Where there is no pager yet, it is
 * started, so as to know.
 */
static void keep(void *addr, size_t len)
{
	if (ferry__space_of(FERRY__SPACE_HEAP, addr))
		ferry_hint_pin(addr, len);
}

/* Only what is from us can be out, and only once there is a pager. */
FERRY_EXPORT int madvise(void *addr, size_t len, int advice)
{
	int r;

	if (takes_away(advice) && ferry__offload_pager())
		forget(addr, len);
	else if (is_not_for_children(advice))
		keep(addr, len);
	r = ferry__sys->madvise(addr, len, advice);
	if (!r)
		return 0;
	errno = -r;
	return -1;
}

/* --- other mappings ------------------------------------------------------------------ */

/*
 * Not by ferry__sys, which calls functions of these names: with a sanitizer
 * they must be the sanitizer's, which has these as the next ones.
 */

FERRY_EXPORT int munmap(void *addr, size_t len)
{
	keep(addr, len);
	return (int)syscall(SYS_munmap, addr, len);
}

FERRY_EXPORT void *mmap(void *addr, size_t len, int prot, int flags, int fd,
			off_t off)
{
	if (flags & MAP_FIXED)
		keep(addr, len);
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, off);
}

FERRY_EXPORT void *mmap64(void *addr, size_t len, int prot, int flags, int fd,
			  off_t off) __attribute__((alias("mmap")));

FERRY_EXPORT void *mremap(void *addr, size_t old_len, size_t new_len, int flags,
			  ...)
{
	void *at;
	va_list args;

	va_start(args, flags);
	at = va_arg(args, void *);
	va_end(args);
	keep(addr, old_len);
	if (flags & MREMAP_FIXED)
		keep(at, new_len);
	return (void *)syscall(SYS_mremap, addr, old_len, new_len, flags, at);
}
