/* SPDX-License-Identifier: MIT */
/*
 * Why the kernel refused two mappings: its EINVAL and ENOENT taken apart.
 *
 * What this file takes for granted of the kernel (mm/userfaultfd.c,
 * validate_move_areas()): both ranges lie in one mapping each; both are
 * private, anonymous, writable, and neither hugetlb, device memory nor a
 * shadow stack; their access rights and their being locked agree; the
 * destination is registered with the descriptor asked. Other flags may differ.
 *
 * This is the slow path of a mistake: it reads /proc/self/smaps, which takes
 * milliseconds where much memory is mapped. It allocates nothing.
 */
#include "uffd/mapping.h"
#include "uffd/mover.h"

/* The mappings at the position, and those right behind where they end early. */
struct side {
	uintptr_t start, end; /* what was asked for */
	struct ferry__mapping first, second;
	bool split;
};

bool ferry__mover_mapped(uintptr_t addr)
{
	unsigned char in_core;

	return ferry__sys->mincore((void *)addr, ferry__page_size, &in_core) !=
	       -ENOMEM;
}

/* Returns 0, -ENOENT when @addr itself is not mapped, or -EIO. */
static int find(uintptr_t addr, uintptr_t end, struct ferry__mapping *ret)
{
	int r = ferry__mapping_query((void *)addr, end - addr, ret);

	return !r && ret->start > addr ? -ENOENT : r;
}

static int look_at(uintptr_t start, size_t len, struct side *side)
{
	int r;

	side->start = start;
	side->end = start + len;
	side->split = false;
	r = find(start, side->end, &side->first);
	if (r || side->first.end >= side->end)
		return r;
	side->split = true;
	return find(side->first.end, side->end, &side->second);
}

/* The kind of memory, if the kernel does not move such at all. */
static enum ferry_reason kinds(const struct side *side)
{
	enum ferry_reason reason = ferry__mapping_immovable(&side->first);

	return !reason && side->split ? ferry__mapping_immovable(&side->second)
				      : reason;
}

static bool differ(const struct side *a, const struct side *b, uint32_t flags)
{
	return (a->first.flags ^ b->first.flags) & flags;
}

/* A mapping without any userfaultfd; not known where VmFlags are not. */
static bool unregistered(const struct ferry__mapping *m)
{
	return m->flags & FERRY__VM_FLAGS_READ && !(m->flags & FERRY__VM_UFFD);
}

static enum ferry_reason registration(const struct ferry__mover *m,
				      const struct side *dst)
{
	unsigned int mode;

	if (unregistered(&dst->first) ||
	    (dst->split && unregistered(&dst->second)))
		return FERRY_REASON_NOT_REGISTERED;
	if (ferry__uffd_registered(m->uffd, dst->start, &mode))
		return FERRY_REASON_NONE;
	return dst->first.flags & FERRY__VM_UFFD ? FERRY_REASON_OTHER_UFFD
						 : FERRY_REASON_NOT_REGISTERED;
}

static enum ferry_reason compare(const struct ferry__mover *m,
				 const struct side *dst, const struct side *src)
{
	enum ferry_reason reason = kinds(dst);

	if (!reason)
		reason = kinds(src);
	if (!reason)
		reason = registration(m, dst);
	if (reason)
		return reason;
	if (differ(dst, src, FERRY__VM_READ | FERRY__VM_WRITE | FERRY__VM_EXEC))
		return FERRY_REASON_PROTECTION;
	if (differ(dst, src, FERRY__VM_LOCKED))
		return FERRY_REASON_LOCKED;
	if (dst->split || src->split)
		return FERRY_REASON_SPLIT;
	return FERRY_REASON_NOT_SUPPORTED;
}

enum ferry_reason ferry__mover_explain(const struct ferry__mover *m, int error)
{
	uintptr_t dst_at = m->dst + m->pos, src_at = m->src + m->pos;
	struct side dst, src;
	int r;

	if (!ferry__mover_mapped(dst_at) || !ferry__mover_mapped(src_at))
		return FERRY_REASON_UNMAPPED;
	if (error == -ENOENT)
		return FERRY_REASON_HOLE;
	r = look_at(dst_at, ferry__mover_left(m), &dst);
	if (!r)
		r = look_at(src_at, ferry__mover_left(m), &src);
	if (r == -ENOENT)
		return FERRY_REASON_UNMAPPED;
	return r ? FERRY_REASON_NOT_SUPPORTED : compare(m, &dst, &src);
}
