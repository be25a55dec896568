/* SPDX-License-Identifier: MIT */
/* Address space taken now and made usable bit by bit. */
#ifndef FERRY_UFFD_RESERVE_H
#define FERRY_UFFD_RESERVE_H

#include <stddef.h>

/*
 * Takes @len bytes of address space that cannot be touched and that nobody
 * accounts for, near @near where that is possible (NULL: anywhere). Debuggers
 * leave it out when they write a core file: gdb (13) would write every byte
 * of it as a zero. Returns 0 or -errno of mmap(2).
 */
int ferry__reserve(void *near, size_t len, void **ret_addr)
	__attribute__((visibility("hidden")));

/*
 * Makes a part of it, whole pages, readable and writable, and what is in it a
 * part of core files. Returns 0 or -errno of mprotect(2); it stays unusable
 * then. Any thread, other parts at the same time.
 */
int ferry__reserve_open(void *addr, size_t len)
	__attribute__((visibility("hidden")));

#endif
