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

/* Bytes copied by one call, so that a wish to stop is noticed soon. */
#define COPY_PIECE ((size_t)512 * ferry__page_size)

/* --- mappings ------------------------------------------------------------ */

/* Is there, anywhere in the two ranges, a mapping that MOVE would refuse? */
static enum ferry_reason check_mappings(const struct ferry__mover *m, int fd)
{
	struct ferry__mapping mapping;
	struct ferry__smaps maps;
	char buf[1024];
	bool touched;

	ferry__smaps_init(&maps, fd, false, buf, sizeof(buf));
	while (ferry__smaps_next(&maps, &mapping) > 0) {
		touched = (mapping.start < m->dst + m->len &&
			   mapping.end > m->dst) ||
			  (mapping.start < m->src + m->len &&
			   mapping.end > m->src);
		if (touched && mapping.reason)
			return mapping.reason;
	}
	return FERRY_REASON_NONE;
}

/* Without /proc there is nothing to check by. */
static enum ferry_reason mappings_reason(const struct ferry__mover *m)
{
	int fd = ferry__sys->open("/proc/self/maps", O_RDONLY);
	enum ferry_reason reason;

	if (fd < 0)
		return FERRY_REASON_NONE;
	reason = check_mappings(m, fd);
	ferry__sys->close(fd);
	return reason;
}

/* --- mremap -------------------------------------------------------------- */

static bool full(const struct ferry__mover *m)
{
	size_t there;

	return !ferry__pagemap_count(m->uffd->pagemap, m->src, m->src + m->len,
				     &there) &&
	       there == m->len;
}

static bool empty(const struct ferry__mover *m)
{
	size_t there;

	return !ferry__pagemap_count(m->uffd->pagemap, m->dst, m->dst + m->len,
				     &there) &&
	       !there;
}

/* Flags that mremap would carry over from the source. */
static bool flags_agree(const struct ferry__mapping *dst,
			const struct ferry__mapping *src)
{
	const uint32_t both = FERRY__VM_FLAGS_READ;

	return dst->flags & src->flags & both &&
	       !(dst->flags & FERRY__VM_LOCKED) &&
	       !((dst->flags ^ src->flags) & ~FERRY__VM_UFFD);
}

static bool replaceable(const struct ferry__mover *m,
			struct ferry__mapping *ret_dst)
{
	struct ferry__mapping src;

	return !ferry__mapping_query((void *)m->dst, m->len, ret_dst) &&
	       ret_dst->start == m->dst && ret_dst->end == m->dst + m->len &&
	       !ferry__mapping_query((void *)m->src, m->len, &src) &&
	       src.start <= m->src && src.end >= m->src + m->len &&
	       flags_agree(ret_dst, &src) && full(m) && empty(m) &&
	       ferry__uffd_registered(m->uffd, m->dst);
}

/* mremap leaves the new mapping unregistered, and waiters of the old one. */
static int register_again(struct ferry__mover *m,
			  const struct ferry__mapping *old)
{
	struct ferry__uffdio_register reg = {
		.range = { m->dst, m->len },
		.mode = (old->flags & FERRY__VM_UFFD_MISSING
				 ? FERRY__REGISTER_MISSING
				 : 0) |
			(old->flags & FERRY__VM_UFFD_WP ? FERRY__REGISTER_WP
							: 0),
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
	struct ferry__mapping dst;
	void *addr;

	if (!replaceable(m, &dst) ||
	    ferry__sys->mremap((void *)m->src, m->len, m->len,
			       MREMAP_MAYMOVE | MREMAP_FIXED |
				       FERRY__MREMAP_DONTUNMAP,
			       (void *)m->dst, &addr))
		return false;
	*ret_error = register_again(m, &dst);
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
	/* COPY says ENOENT where MOVE says EINVAL: not registered here. */
	if (error == -ENOENT)
		return ferry__mover_stop(m, -EINVAL,
					 ferry__mover_explain(m, -EINVAL));
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

/* The run of pages at the position that are all there, or all not. */
static int source_run(const struct ferry__mover *m, bool *ret_there,
		      size_t *ret_len)
{
	uint64_t words[FERRY__WORDS];
	int i, n;

	n = ferry__pagemap_read(m->uffd->pagemap, m->src + m->pos,
				ferry__mover_left(m) / ferry__page_size, words);
	if (n < 0)
		return n;
	*ret_there = ferry__pagemap_occupied(words[0]);
	for (i = 1; i < n; i++)
		if (ferry__pagemap_occupied(words[i]) != *ret_there)
			break;
	*ret_len = (size_t)i * ferry__page_size;
	return 0;
}

static int copy_step(struct ferry__mover *m)
{
	size_t len = ferry__mover_left(m);
	bool there = true;

	if (len > COPY_PIECE)
		len = COPY_PIECE;
	source_run(m, &there, &len);
	if (there)
		return ferry__mover_copy(m, len);
	if (!ferry__mover_wants(m, FERRY_MOVE_HOLES))
		return ferry__mover_stop(m, -ENOENT,
					 ferry__mover_explain(m, -ENOENT));
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
		return ferry__mover_stop(m, -EINVAL, reason);
	if (m->pos || !move_by_mremap(m, &r))
		return copy_step(m);
	return r ? ferry__mover_stop(m, r, FERRY_REASON_NOT_REGISTERED) : 0;
}
