/* SPDX-License-Identifier: MIT */
/*
 * A move without UFFDIO_MOVE, on kernels before 6.8 or where a filter forbids
 * it. Two ways:
 *
 *  - mremap(2) with MREMAP_DONTUNMAP moves page tables, huge pages included,
 *    and leaves the source mapped and empty. It replaces the destination's
 *    mapping as a whole, so that is asked of it: the range is just one
 *    mapping, empty, with the same flags as the source, and the source is full
 *    (in a hole a fault could slip through until the destination is
 *    registered again, which mremap undoes).
 *  - else UFFDIO_COPY, which installs copied pages atomically, and
 *    MADV_DONTNEED for the source.
 *
 * MOVE looks at the mappings; UFFDIO_COPY would take any source, and
 * MADV_DONTNEED would give back the file's page instead of a hole. So the
 * mappings are checked here, from /proc/self/maps: one line for each mapping
 * below, no page table walked.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "uffd/mapping.h"
#include "uffd/mover.h"
#include "uffd/pagemap.h"
#include "uffd/uapi.h"

/* --- mappings ------------------------------------------------------------ */

/* Bytes that [@start, @end) and [@addr, @addr + @len) have in common. */
static size_t common(uint64_t start, uint64_t end, uintptr_t addr, size_t len)
{
	if (start < addr)
		start = addr;
	if (end > addr + len)
		end = addr + len;
	return end > start ? end - start : 0;
}

/* Is there, anywhere in the two ranges, what MOVE would refuse? */
static enum ferry_reason check_mappings(struct ferry__mover *m, int fd)
{
	size_t dst, src, all_dst = 0, all_src = 0;
	struct ferry__mapping mapping;
	struct ferry__smaps maps;
	char buf[1024];

	ferry__smaps_init(&maps, fd, false, buf, sizeof(buf));
	while (ferry__smaps_next(&maps, &mapping) > 0) {
		dst = common(mapping.start, mapping.end, m->dst, m->len);
		src = common(mapping.start, mapping.end, m->src, m->len);
		if ((dst || src) && mapping.reason)
			return mapping.reason;
		if (mapping.start == m->dst && mapping.end == m->dst + m->len)
			m->dst_whole = true;
		all_dst += dst;
		all_src += src;
	}
	return all_dst < m->len || all_src < m->len ? FERRY_REASON_UNMAPPED
						    : FERRY_REASON_NONE;
}

/* Without /proc there is nothing to check by. */
static enum ferry_reason mappings_reason(struct ferry__mover *m)
{
	int fd = ferry__sys->open("/proc/self/maps", O_RDONLY);
	enum ferry_reason reason;

	if (fd < 0)
		return FERRY_REASON_NONE;
	reason = check_mappings(m, fd);
	ferry__sys->close(fd);
	return reason;
}

/* Refuses as the kernel would; smaps knows kinds of memory that maps cannot. */
static int refuse(struct ferry__mover *m, enum ferry_reason seen)
{
	bool there = ferry__mover_mapped(m->dst + m->pos) &&
		     ferry__mover_mapped(m->src + m->pos);
	enum ferry_reason reason = ferry__mover_explain(m, -EINVAL);

	if (reason == FERRY_REASON_NOT_SUPPORTED)
		reason = seen;
	return ferry__mover_stop(m, there ? -EINVAL : -ENOENT, reason);
}

/* --- mremap -------------------------------------------------------------- */

/* All pages in memory: no hole, no marker, nothing swapped out. */
static bool full(const struct ferry__mover *m)
{
	size_t there;

	return !ferry__pagemap_count(m->uffd->pagemap, m->src, m->src + m->len,
				     false, &there) &&
	       there == m->len;
}

static bool empty(const struct ferry__mover *m)
{
	size_t there;

	return !ferry__pagemap_count(m->uffd->pagemap, m->dst, m->dst + m->len,
				     true, &there) &&
	       !there;
}

/* Flags that mremap would carry over from the source. */
static bool flags_agree(const struct ferry__mapping *dst,
			const struct ferry__mapping *src)
{
	return dst->flags & src->flags & FERRY__VM_FLAGS_READ &&
	       !(dst->flags & FERRY__VM_LOCKED) &&
	       !((dst->flags ^ src->flags) & ~FERRY__VM_UFFD);
}

/*
 * The flags are asked of smaps, which walks the page tables of a mapping: so
 * only for a destination that maps has shown to be a mapping of its own.
 */
static bool replaceable(const struct ferry__mover *m, unsigned int *ret_mode)
{
	struct ferry__mapping dst, src;

	return m->dst_whole &&
	       !ferry__mapping_query((void *)m->dst, m->len, &dst) &&
	       dst.start == m->dst && dst.end == m->dst + m->len &&
	       !ferry__mapping_query((void *)m->src, m->len, &src) &&
	       src.start <= m->src && src.end >= m->src + m->len &&
	       flags_agree(&dst, &src) && full(m) && empty(m) &&
	       ferry__uffd_registered(m->uffd, m->dst, ret_mode);
}

/* mremap leaves the new mapping unregistered, and waiters of the old one. */
static int register_again(struct ferry__mover *m, unsigned int mode)
{
	struct ferry__uffdio_register reg = {
		.range = { m->dst, m->len },
		.mode = mode,
	};
	int r = ferry__sys->ioctl(m->uffd->fd, FERRY__UFFDIO_REGISTER, &reg);

	if (!ferry__mover_wants(m, FERRY_MOVE_NO_WAKE))
		ferry__sys->ioctl(m->uffd->fd, FERRY__UFFDIO_WAKE, &reg.range);
	return r < 0 ? r : 0;
}

/*
 * Moves the whole range by mremap, if it can be. Returns whether it did;
 * @ret_error then tells whether the destination could be registered again.
 */
static bool move_by_mremap(struct ferry__mover *m, int *ret_error)
{
	unsigned int mode;
	void *addr;

	if (!replaceable(m, &mode) ||
	    ferry__sys->mremap((void *)m->src, m->len, m->len,
			       MREMAP_MAYMOVE | MREMAP_FIXED |
				       FERRY__MREMAP_DONTUNMAP,
			       (void *)m->dst, &addr))
		return false;
	*ret_error = register_again(m, mode);
	m->result->method = FERRY_METHOD_MREMAP;
	ferry__mover_book(m, &m->result->moved, m->len);
	return true;
}

/* --- copy ---------------------------------------------------------------- */

static int drop(uintptr_t addr, size_t len)
{
	int r = ferry__sys->madvise((void *)addr, len, MADV_DONTNEED);

	/* A locked mapping, where both sides are locked alike. */
	if (r == -EINVAL)
		r = ferry__sys->madvise((void *)addr, len,
					FERRY__MADV_DONTNEED_LOCKED);
	return r;
}

static int issue_copy(struct ferry__mover *m, size_t len, size_t *ret_copied)
{
	struct ferry__uffdio_copy arg = {
		.dst = m->dst + m->pos,
		.src = m->src + m->pos,
		.len = len,
		.mode = ferry__mover_wants(m, FERRY_MOVE_NO_WAKE)
				? FERRY__COPY_DONTWAKE
				: 0,
	};
	int r = ferry__sys->ioctl(m->uffd->fd, FERRY__UFFDIO_COPY, &arg);

	*ret_copied = 0;
	if (r >= 0)
		*ret_copied = len;
	else if (r == -EAGAIN && arg.copy > 0 && (uint64_t)arg.copy < len)
		*ret_copied = (size_t)arg.copy;
	return r < 0 ? r : 0;
}

static int at_copy_obstacle(struct ferry__mover *m, int error)
{
	/* COPY says ENOENT where MOVE says EINVAL: not registered. */
	if (error == -ENOENT)
		return refuse(m, FERRY_REASON_NOT_REGISTERED);
	if (error == -EPERM || error == -EACCES || error == -ENOSYS)
		return ferry__mover_stop(m, -EOPNOTSUPP, FERRY_REASON_SECCOMP);
	return ferry__mover_obstacle(m, error);
}

int ferry__mover_copy(struct ferry__mover *m, size_t len)
{
	uintptr_t src = m->src + m->pos;
	size_t copied;
	int r;

	r = issue_copy(m, len, &copied);
	if (!copied)
		return at_copy_obstacle(m, r);
	r = drop(src, copied);
	if (m->result->method == FERRY_METHOD_NONE)
		m->result->method = FERRY_METHOD_COPY;
	ferry__mover_book(m, &m->result->copied, copied);
	return r ? ferry__mover_stop(m, r, FERRY_REASON_NOT_SUPPORTED) : 0;
}

enum sight {
	SIGHT_PAGE, /* something at the source, nothing at the destination */
	SIGHT_HOLE, /* nothing at either side */
	SIGHT_OCCUPIED, /* something at the destination, page or marker */
};

/* The destination first, as the kernel does. */
static enum sight sight(uint64_t dst, uint64_t src)
{
	if (ferry__pagemap_occupied(dst))
		return SIGHT_OCCUPIED;
	return ferry__pagemap_occupied(src) ? SIGHT_PAGE : SIGHT_HOLE;
}

/* What lies at the position, and for how many bytes it is the same. */
static enum sight look(const struct ferry__mover *m, size_t *ret_len)
{
	uint64_t dst[FERRY__WORDS], src[FERRY__WORDS];
	int i, n = ferry__mover_words(m, dst, src);
	enum sight what;

	if (n <= 0) {
		/* Without pagemap: COPY itself tells what is there. */
		*ret_len = ferry__page_size;
		return SIGHT_PAGE;
	}
	what = sight(dst[0], src[0]);
	for (i = 1; i < n; i++)
		if (sight(dst[i], src[i]) != what)
			break;
	*ret_len = (size_t)i * ferry__page_size;
	return what;
}

static int copy_step(struct ferry__mover *m)
{
	size_t len;

	switch (look(m, &len)) {
	case SIGHT_PAGE:
		return ferry__mover_copy(m, len);
	case SIGHT_OCCUPIED:
		return ferry__mover_present(m, len);
	default:
		break;
	}
	if (!ferry__mover_wants(m, FERRY_MOVE_HOLES))
		return ferry__mover_stop(m, -ENOENT, FERRY_REASON_HOLE);
	ferry__mover_book(m, &m->result->holes, len);
	return 0;
}

int ferry__mover_emulate(struct ferry__mover *m)
{
	enum ferry_reason reason;
	int r;

	if (m->mappings_checked)
		return copy_step(m);
	m->mappings_checked = true;
	reason = mappings_reason(m);
	if (reason)
		return refuse(m, reason);
	if (m->pos || !move_by_mremap(m, &r))
		return copy_step(m);
	return r ? ferry__mover_stop(m, r, FERRY_REASON_NOT_REGISTERED) : 0;
}
