/* SPDX-License-Identifier: MIT */
/*
 * The control groups that this process's memory is charged to, version 2 or
 * 1, and the memory that it may use.
 */
#ifndef FERRY_UFFD_CGROUP_H
#define FERRY_UFFD_CGROUP_H

#include <stdbool.h>
#include <stddef.h>

#define FERRY__CGROUP_PATH 4096u

/*
 * Calls @fn(@arg, folder) for the folder of this process's group in the
 * hierarchy that has its memory, then for each group above it, until @fn
 * returns true or the root was asked. Returns what the last call returned.
 * Folders are those under the usual places in /sys/fs/cgroup; where a
 * container shows no path to the group, its own root is one of those above.
 */
bool ferry__cgroup_walk(bool (*fn)(void *arg, const char *folder), void *arg);

/*
 * Bytes that this process may use: physical memory, or what its control
 * groups allow if that is less (memory.max and memory.high of version 2,
 * memory.limit_in_bytes of version 1).
 */
size_t ferry__memory_allowed(void);

/* A small file: cut to @size, zero-terminated. False if it cannot be read. */
bool ferry__file_read(const char *path, char *buf, size_t size);

#endif
