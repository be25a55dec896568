/* SPDX-License-Identifier: MIT */
/*
 * The single page-table operations: copy, zero, poison, continue and
 * write-protect, each until it is done or a page refuses.
 *
 * What this file takes for granted of the kernel (fs/userfaultfd.c):
 *  - each operation writes the bytes done, or a negative errno, into a field
 *    of its argument; kernels before 6.15 leave the field untouched when
 *    mappings are changing, so it is preset to zero;
 *  - a short count comes with EAGAIN whatever the true reason: asking again
 *    for the rest tells it;
 *  - EAGAIN with nothing done means that mappings are changing: it passes.
 */
#include "uffd/handle.h"
#include "uffd/mapping.h"
#include "uffd/uapi.h"

#define PATIENCE_NS 1000000000u

/* One operation under way: which, and how far it has come. */
struct op {
	int fd;
	unsigned int flags;
	uintptr_t dst;
	uintptr_t src; /* of a copy */
	size_t len;
	size_t done;
	/* Issues the ioctl for the rest; the kernel's count in @ret_count. */
	int (*issue)(const struct op *op, int64_t *ret_count);
};

static uint64_t mode_bits(const struct op *op, uint64_t no_wake, uint64_t wp)
{
	return (op->flags & FERRY_OP_NO_WAKE ? no_wake : 0) |
	       (op->flags & FERRY_OP_WP ? wp : 0);
}

static int issue_copy(const struct op *op, int64_t *ret_count)
{
	struct ferry__uffdio_copy arg = {
		.dst = op->dst + op->done,
		.src = op->src + op->done,
		.len = op->len - op->done,
		.mode = mode_bits(op, FERRY__COPY_DONTWAKE, FERRY__COPY_WP),
	};
	int r = ferry__sys->ioctl(op->fd, FERRY__UFFDIO_COPY, &arg);

	*ret_count = arg.copy;
	return r;
}

static int issue_zero(const struct op *op, int64_t *ret_count)
{
	struct ferry__uffdio_zeropage arg = {
		.range = { op->dst + op->done, op->len - op->done },
		.mode = mode_bits(op, FERRY__ZEROPAGE_DONTWAKE, 0),
	};
	int r = ferry__sys->ioctl(op->fd, FERRY__UFFDIO_ZEROPAGE, &arg);

	*ret_count = arg.zeropage;
	return r;
}

static int issue_poison(const struct op *op, int64_t *ret_count)
{
	struct ferry__uffdio_poison arg = {
		.range = { op->dst + op->done, op->len - op->done },
		.mode = mode_bits(op, FERRY__POISON_DONTWAKE, 0),
	};
	int r = ferry__sys->ioctl(op->fd, FERRY__UFFDIO_POISON, &arg);

	*ret_count = arg.updated;
	return r;
}

static int issue_continue(const struct op *op, int64_t *ret_count)
{
	struct ferry__uffdio_continue arg = {
		.range = { op->dst + op->done, op->len - op->done },
		.mode = mode_bits(op, FERRY__CONTINUE_DONTWAKE,
				  FERRY__CONTINUE_WP),
	};
	int r = ferry__sys->ioctl(op->fd, FERRY__UFFDIO_CONTINUE, &arg);

	*ret_count = arg.mapped;
	return r;
}

/* Write-protection has no count: all of its piece or nothing. */
static int issue_protect(const struct op *op, int64_t *ret_count)
{
	struct ferry__uffdio_writeprotect arg = {
		.range = { op->dst + op->done, op->len - op->done },
		.mode = mode_bits(op, FERRY__WP_DONTWAKE, FERRY__WP_WP),
	};

	*ret_count = 0;
	return ferry__sys->ioctl(op->fd, FERRY__UFFDIO_WRITEPROTECT, &arg);
}

/* Issues until all is done, or the kernel says why not. */
static int drive(struct op *op)
{
	struct ferry__backoff backoff = { .limit_ns = PATIENCE_NS };
	int64_t count;
	int r;

	while (op->done < op->len) {
		r = op->issue(op, &count);
		if (r >= 0)
			op->done = op->len;
		else if (r != -EAGAIN)
			return r;
		else if (count > 0 && (uint64_t)count < op->len - op->done)
			op->done += (size_t)count;
		else if (!ferry__backoff_wait(&backoff))
			return r;
	}
	return 0;
}

/*
 * Mapping by mapping, for kernels before 6.4, which want write-protection of
 * one mapping at a time and answer ENOENT otherwise.
 */
static int drive_by_mapping(struct op *op)
{
	struct ferry__mapping mapping;
	size_t len = op->len;
	int r = 0;

	for (op->done = 0; !r && op->done < len; op->len = len) {
		r = ferry__mapping_query((void *)(op->dst + op->done),
					 len - op->done, &mapping);
		if (r || mapping.start > op->dst + op->done)
			return -ENOENT;
		if (mapping.end - op->dst < len)
			op->len = mapping.end - op->dst;
		else if (!op->done)
			return -ENOENT; /* It was one mapping all along. */
		r = drive(op);
	}
	return r;
}

static int drive_protect(struct op *op)
{
	int r = drive(op);

	return r == -ENOENT ? drive_by_mapping(op) : r;
}

/* An ioctl unknown to the kernel answers EINVAL, which says too little. */
static int unsupported(const struct ferry_uffd *uffd, uint64_t feature)
{
	return feature && !(uffd->features & feature) ? -EOPNOTSUPP : 0;
}

static int run(struct ferry_uffd *uffd, struct op *op, uint64_t feature)
{
	struct ferry__stripe *stripe;
	int r;

	if (ferry__range_reason((void *)op->dst, op->len))
		return -EINVAL;
	r = ferry__uffd_enter(uffd, &stripe);
	if (r)
		return r;
	r = unsupported(uffd, feature);
	if (!r) {
		op->fd = uffd->fd;
		r = op->issue == issue_protect ? drive_protect(op) : drive(op);
	}
	ferry__uffd_leave(stripe);
	return r;
}

static int run_counted(struct ferry_uffd *uffd, struct op *op,
		       unsigned int allowed, uint64_t feature, size_t *ret_done)
{
	int r = op->flags & ~allowed ? -EINVAL : run(uffd, op, feature);

	if (ret_done)
		*ret_done = op->done;
	return r;
}

int ferry_uffd_copy(struct ferry_uffd *uffd, void *dst, const void *src,
		    size_t len, unsigned int flags, size_t *ret_done)
{
	struct op op = {
		.dst = (uintptr_t)dst,
		.src = (uintptr_t)src,
		.len = len,
		.flags = flags,
		.issue = issue_copy,
	};

	return run_counted(uffd, &op, FERRY_OP_NO_WAKE | FERRY_OP_WP, 0,
			   ret_done);
}

int ferry__uffd_copy_to(int fd, uintptr_t dst, const void *src, size_t len,
			size_t *ret_done)
{
	struct op op = {
		.fd = fd,
		.dst = dst,
		.src = (uintptr_t)src,
		.len = len,
		.issue = issue_copy,
	};
	int r = drive(&op);

	*ret_done = op.done;
	return r;
}

int ferry__uffd_move_to(int fd, uintptr_t dst, void *page)
{
	struct ferry__uffdio_move arg = {
		.dst = dst,
		.src = (uintptr_t)page,
		.len = ferry__page_size,
	};

	return ferry__sys->ioctl(fd, FERRY__UFFDIO_MOVE, &arg);
}

int ferry_uffd_zero(struct ferry_uffd *uffd, void *addr, size_t len,
		    unsigned int flags, size_t *ret_done)
{
	struct op op = {
		.dst = (uintptr_t)addr,
		.len = len,
		.flags = flags,
		.issue = issue_zero,
	};

	return run_counted(uffd, &op, FERRY_OP_NO_WAKE, 0, ret_done);
}

int ferry_uffd_poison(struct ferry_uffd *uffd, void *addr, size_t len,
		      unsigned int flags, size_t *ret_done)
{
	struct op op = {
		.dst = (uintptr_t)addr,
		.len = len,
		.flags = flags,
		.issue = issue_poison,
	};

	return run_counted(uffd, &op, FERRY_OP_NO_WAKE, FERRY_FEATURE_POISON,
			   ret_done);
}

int ferry_uffd_continue(struct ferry_uffd *uffd, void *addr, size_t len,
			unsigned int flags, size_t *ret_done)
{
	struct op op = {
		.dst = (uintptr_t)addr,
		.len = len,
		.flags = flags,
		.issue = issue_continue,
	};

	return run_counted(uffd, &op, FERRY_OP_NO_WAKE | FERRY_OP_WP,
			   FERRY_FEATURE_MINOR_SHMEM, ret_done);
}

int ferry_uffd_writeprotect(struct ferry_uffd *uffd, void *addr, size_t len,
			    bool protect, unsigned int flags)
{
	struct op op = {
		.dst = (uintptr_t)addr,
		.len = len,
		.flags = flags | (protect ? FERRY_OP_WP : 0),
		.issue = issue_protect,
	};

	if (flags & ~FERRY_OP_NO_WAKE)
		return -EINVAL;
	/* Protecting wakes nobody; the kernel refuses both bits at once. */
	if (protect)
		op.flags = FERRY_OP_WP;
	return run(uffd, &op, FERRY_FEATURE_WP);
}
