/* SPDX-License-Identifier: MIT */
/*
 * Registration of ranges: mistakes that the kernel passes over in silence are
 * named, and those that it refuses are explained.
 *
 * What this file takes for granted of the kernel (fs/userfaultfd.c):
 *  - UFFDIO_REGISTER passes over gaps, and over mappings that are registered
 *    with the same descriptor and mode;
 *  - where it has no memory half-way, mappings done before stay registered;
 *  - UFFDIO_COPY looks for a registration before it reads its source, and does
 *    not ask with which descriptor;
 *  - msync(2) with MS_ASYNC does nothing but look for gaps.
 */
#include <sys/mman.h>

#include "uffd/handle.h"
#include "uffd/mapping.h"
#include "uffd/uapi.h"

enum ferry_reason ferry__range_reason(const void *addr, size_t len)
{
	uintptr_t start = (uintptr_t)addr, mask = ferry__page_size - 1;

	if ((start | len) & mask)
		return FERRY_REASON_UNALIGNED;
	if (!len)
		return FERRY_REASON_ZERO_LENGTH;
	/* A range that ends at the very top wraps to 0: not user space. */
	if (start + len <= start)
		return FERRY_REASON_OVERFLOW;
	return FERRY_REASON_NONE;
}

/*
 * A copy whose source cannot be read tells without touching anything: ENOENT
 * where the mapping is not registered with any userfaultfd, EFAULT where it
 * is. (The kernel does not ask with which.)
 */
static bool registered_somewhere(const struct ferry_uffd *uffd, uintptr_t addr)
{
	struct ferry__uffdio_copy copy = {
		.dst = addr,
		.src = (uintptr_t)uffd->mark + ferry__page_size,
		.len = ferry__page_size,
	};

	return ferry__sys->ioctl(uffd->fd, FERRY__UFFDIO_COPY, &copy) ==
	       -EFAULT;
}

static unsigned int registered_mode(const struct ferry__mapping *mapping)
{
	return (mapping->flags & FERRY__VM_UFFD_MISSING ? FERRY_REGISTER_MISSING
							: 0) |
	       (mapping->flags & FERRY__VM_UFFD_WP ? FERRY_REGISTER_WP : 0) |
	       (mapping->flags & FERRY__VM_UFFD_MINOR ? FERRY_REGISTER_MINOR
						      : 0);
}

bool ferry__uffd_registered(const struct ferry_uffd *uffd, uintptr_t addr,
			    unsigned int *ret_mode)
{
	struct ferry__uffdio_register reg = {
		.range = { .start = addr, .len = ferry__page_size },
	};
	struct ferry__mapping mapping;

	if (!registered_somewhere(uffd, addr) ||
	    ferry__mapping_query((void *)addr, ferry__page_size, &mapping))
		return false;
	reg.mode = registered_mode(&mapping);
	/* Again as it is: no change if it is ours, EBUSY if it is not. */
	if (!reg.mode ||
	    ferry__sys->ioctl(uffd->fd, FERRY__UFFDIO_REGISTER, &reg) < 0)
		return false;
	*ret_mode = (unsigned int)reg.mode;
	return true;
}

static enum ferry_reason check_register(void *addr, size_t len,
					unsigned int mode)
{
	const unsigned int known = FERRY_REGISTER_MISSING | FERRY_REGISTER_WP |
				   FERRY_REGISTER_MINOR;

	if (!mode || mode & ~known)
		return FERRY_REASON_BAD_FLAGS;
	return ferry__range_reason(addr, len);
}

/* What keeps the memory there from being registered, if the kernel did. */
static enum ferry_reason explain_register(int error, void *addr, size_t len)
{
	struct ferry__mapping mapping;

	switch (error) {
	case -EBUSY:
		return FERRY_REASON_OTHER_UFFD;
	case -EPERM:
		return FERRY_REASON_READ_ONLY;
	case -ENOMEM:
		return FERRY_REASON_NO_MEMORY;
	}
	if (ferry__mapping_query(addr, len, &mapping))
		return FERRY_REASON_NOT_SUPPORTED;
	return mapping.reason ? mapping.reason : FERRY_REASON_NOT_SUPPORTED;
}

/*
 * The mode with which the page at @addr is registered here; 0: it is not.
 * Mappings are read only where it is, which is a mistake if the mode is the
 * same: the kernel would take it again without a word.
 */
static unsigned int mode_before(const struct ferry_uffd *uffd, uintptr_t addr)
{
	unsigned int mode;

	return ferry__uffd_registered(uffd, addr, &mode) ? mode : 0;
}

static int do_register(struct ferry_uffd *uffd, void *addr, size_t len,
		       unsigned int mode, enum ferry_reason *reason)
{
	struct ferry__uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = mode,
	};
	unsigned int first, last;
	int r;

	/* The kernel passes over holes; msync(2) finds them, and only that. */
	if (ferry__sys->msync(addr, len, MS_ASYNC) == -ENOMEM) {
		*reason = FERRY_REASON_UNMAPPED;
		return -ENOMEM;
	}
	first = mode_before(uffd, reg.range.start);
	last = mode_before(uffd, reg.range.start + len - ferry__page_size);
	if (first == mode || last == mode) {
		*reason = FERRY_REASON_PRESENT;
		return -EEXIST;
	}
	r = ferry__sys->ioctl(uffd->fd, FERRY__UFFDIO_REGISTER, &reg);
	/*
	 * The kernel goes by mappings: some may be registered by now. But what
	 * was before goes on being served: absent pages would read as zero.
	 */
	if (r == -ENOMEM && !first && !last)
		ferry__sys->ioctl(uffd->fd, FERRY__UFFDIO_UNREGISTER,
				  &reg.range);
	if (r < 0)
		*reason = explain_register(r, addr, len);
	return r < 0 ? r : 0;
}

int ferry_uffd_register(struct ferry_uffd *uffd, void *addr, size_t len,
			unsigned int mode, enum ferry_reason *ret_reason)
{
	enum ferry_reason reason = check_register(addr, len, mode);
	struct ferry__stripe *stripe;
	int r = reason ? -EINVAL : ferry__uffd_enter(uffd, &stripe);

	if (!r) {
		r = do_register(uffd, addr, len, mode, &reason);
		ferry__uffd_leave(stripe);
	} else if (!reason) {
		reason = r == -ECHILD ? FERRY_REASON_FOREIGN_PROCESS
				      : FERRY_REASON_CLOSED;
	}
	if (ret_reason)
		*ret_reason = reason;
	return r;
}

static int range_ioctl(struct ferry_uffd *uffd, unsigned long request,
		       void *addr, size_t len)
{
	struct ferry__uffdio_range range = {
		.start = (uintptr_t)addr,
		.len = len,
	};
	struct ferry__stripe *stripe;
	int r;

	if (ferry__range_reason(addr, len))
		return -EINVAL;
	r = ferry__uffd_enter(uffd, &stripe);
	if (r)
		return r;
	r = ferry__sys->ioctl(uffd->fd, request, &range);
	ferry__uffd_leave(stripe);
	return r < 0 ? r : 0;
}

int ferry_uffd_unregister(struct ferry_uffd *uffd, void *addr, size_t len)
{
	return range_ioctl(uffd, FERRY__UFFDIO_UNREGISTER, addr, len);
}

int ferry_uffd_wake(struct ferry_uffd *uffd, void *addr, size_t len)
{
	return range_ioctl(uffd, FERRY__UFFDIO_WAKE, addr, len);
}
