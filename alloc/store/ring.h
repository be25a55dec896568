/* SPDX-License-Identifier: MIT */
/*
 * Many reads and writes of a file in one system call, through io_uring(7).
 *
 * Behind a table, so that a test can answer for the kernel.
 */
#ifndef FERRY_ALLOC_STORE_RING_H
#define FERRY_ALLOC_STORE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct ferry__ring;

/* One transfer of consecutive bytes of the file. */
struct ferry__ring_op {
	const struct iovec *iov;
	unsigned int n;
	uint64_t off;
	int64_t res; /* written: bytes, or a negative errno */
};

struct ferry__ring_io {
	/*
	 * A ring for up to @entries transfers at a time. Returns 0, -ENOMEM,
	 * or why there is none: -ENOSYS, -EPERM (filtered, switched off).
	 * For one thread at a time; forked children do not see it.
	 */
	int (*open)(unsigned int entries, struct ferry__ring **ret_ring);
	/*
	 * Does @n transfers, at most as many as the ring has entries; waits
	 * until the last has ended. Returns 0, or an error when the ring is
	 * of no more use: transfers that did not begin have -ECANCELED then.
	 */
	int (*run)(struct ferry__ring *ring, int fd, bool write,
		   struct ferry__ring_op *ops, unsigned int n);
	/* NULL is allowed. */
	void (*close)(struct ferry__ring *ring);
	/* In a child of fork(2): frees what the child has of it. */
	void (*forget)(struct ferry__ring *ring);
};

extern const struct ferry__ring_io ferry__ring_io_uring;

/* The table in force: changed in tests alone, before there are threads. */
extern const struct ferry__ring_io *ferry__ring_io;

#endif
