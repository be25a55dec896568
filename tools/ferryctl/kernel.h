/* SPDX-License-Identifier: MIT */
/*
 * What ferryctl asks of the kernel about other processes.
 *
 * A table, as uffd/sys.h is one: the library's is its own and not seen from a
 * program that is linked with libferry.so. Tests put another in its place, so
 * that failures, short counts and processes that end are made on demand.
 * Entries return a negative errno on failure.
 */
#ifndef FERRYCTL_KERNEL_H
#define FERRYCTL_KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "uffd/uapi.h"

struct ctl_kernel {
	int (*pidfd_open)(pid_t pid);
	/* 1 while the process has not ended, 0 after that, also a zombie. */
	int (*alive)(int pidfd);
	/* Read-only; @folder may be AT_FDCWD. */
	int (*open)(int folder, const char *name, int flags);
	void (*close)(int fd);
	ssize_t (*read)(int fd, void *buf, size_t len);
	ssize_t (*pread)(int fd, void *buf, size_t len, off_t off);
	/* PAGEMAP_SCAN (6.7); how many regions there are. */
	int (*scan)(int pagemap, struct ferry__pm_scan_arg *arg);
	/* move_pages(2); @nodes NULL only asks. Pages that did not move: > 0 */
	long (*move_pages)(pid_t pid, size_t n, void **pages, const int *nodes,
			   int *ret_status, int flags);
	/* migrate_pages(2); masks of @bits bits. Pages that did not move. */
	long (*migrate_pages)(pid_t pid, unsigned long bits,
			      const unsigned long *from,
			      const unsigned long *to);
	/* Bytes that were advised; may be less than asked for. */
	ssize_t (*process_madvise)(int pidfd, const struct iovec *iov, size_t n,
				   int advice);
	/* ferry_agent_connect(3). */
	int (*agent_connect)(pid_t pid);
	/* Is there a socket of its agent? By ferry_agent_path(3). */
	bool (*agent_is_there)(pid_t pid);
};

extern const struct ctl_kernel ctl_kernel_linux;

/* The table in force; changed only by tests, while one thread runs. */
extern const struct ctl_kernel *ctl_kernel;

#endif
