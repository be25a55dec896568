/* SPDX-License-Identifier: MIT */
/*
 * Segments: the memfd behind an arena whose pages can go to another process.
 * Byte n of the segment is byte n of the arena.
 *
 * What is assumed of the kernel
 *  - A memfd without F_SEAL_SHRINK can be cut short by whoever holds it,
 *    after which touching what is mapped raises SIGBUS: ours are sealed.
 *    F_SEAL_SEAL keeps former owners from adding seals that forbid writing.
 *  - Pages of a hole appear as zeros when touched. Those of hugetlbfs come
 *    from a pool which may be empty (SIGBUS): fallocate() takes them before.
 *  - MADV_COLLAPSE (6.1) makes a huge page of shared memory where there is one
 *    page at least, also if shmem_enabled says never.
 *  - MFD_NOEXEC_SEAL is 6.3; older kernels refuse flags that they do not know.
 */
#include "alloc/alloc-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>

#include "uffd/uapi.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8u
#endif

static int open_memfd(const char *name, unsigned int flags)
{
	int fd;

	fd = ferry__sys->memfd_create(name, flags | MFD_NOEXEC_SEAL);
	if (fd == -EINVAL)
		fd = ferry__sys->memfd_create(name, flags);
	return fd;
}

int ferry__segment_make(enum ferry_backing backing, size_t len,
			const char *name, int *ret_fd)
{
	bool hugetlb = backing == FERRY_BACKING_HUGETLB;
	int r, fd;

	fd = open_memfd(name && name[0] ? name : "ferry",
			MFD_CLOEXEC | MFD_ALLOW_SEALING |
				(hugetlb ? MFD_HUGETLB | MFD_HUGE_2MB : 0));
	if (hugetlb && (fd == -EINVAL || fd == -ENOENT || fd == -ENODEV))
		return -EOPNOTSUPP;
	if (fd < 0)
		return fd == -ENOSYS ? -EOPNOTSUPP : fd;
	r = ferry__sys->ftruncate(fd, (off_t)len);
	if (r == 0)
		r = ferry__sys->fcntl(fd, F_ADD_SEALS,
				      F_SEAL_SHRINK | F_SEAL_SEAL);
	if (r < 0) {
		ferry__sys->close(fd);
		return r;
	}
	*ret_fd = fd;
	return 0;
}

int ferry__segment_map(const struct ferry_arena *arena, char *addr, size_t len)
{
	void *mem;

	if (!arena->backing)
		return 0;
	return ferry__sys->mmap(addr, len, PROT_READ | PROT_WRITE,
				MAP_SHARED | MAP_FIXED | MAP_NORESERVE,
				arena->segment, addr - arena->base, &mem);
}

int ferry__segment_grow(const struct ferry_arena *arena, size_t len)
{
	struct stat st;
	int r;

	if (!arena->backing)
		return 0;
	r = ferry__sys->ftruncate(arena->segment, (off_t)len);
	/* Longer already, of a growth that failed after this: it is sealed,
	 * and that much does no harm. */
	if (r == -EPERM && ferry__sys->fstat(arena->segment, &st) == 0 &&
	    (uint64_t)st.st_size >= len)
		return 0;
	return r;
}

int ferry__segment_reserve(const struct ferry_arena *arena, size_t offset,
			   size_t len)
{
	int r;

	if (arena->backing != FERRY_BACKING_HUGETLB)
		return 0;
	do {
		r = ferry__sys->fallocate(arena->segment, 0, (off_t)offset,
					  (off_t)len);
	} while (r == -EINTR);
	return r == -ENOSPC ? -ENOMEM : r;
}

static bool wants_huge(const struct ferry_arena *arena)
{
	return arena->backing == FERRY_BACKING_SHARED &&
	       arena->whole.thp == FERRY_THP_ALWAYS;
}

void ferry__segment_collapse(const struct ferry_arena *arena, size_t offset,
			     size_t len)
{
	size_t huge = ferry__huge_size(), end = offset + len;
	char *addr;

	if (!wants_huge(arena) || !huge || huge > FERRY__GRANULE)
		return;
	offset = (offset + huge - 1) & ~(huge - 1);
	end &= ~(huge - 1);
	/* One at a time: one that cannot be had does not end the rest. */
	for (; offset < end; offset += huge) {
		addr = arena->base + offset;
		if (ferry__populate(addr, ferry__page_size) < 0 ||
		    ferry__sys->madvise(addr, huge, FERRY__MADV_COLLAPSE) ==
			    -EINVAL)
			return;
	}
}

void ferry__segment_close(struct ferry_arena *arena)
{
	if (!arena->backing || arena->segment < 0)
		return;
	ferry__sys->close(arena->segment);
	arena->segment = -1;
}
