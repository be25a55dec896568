/* SPDX-License-Identifier: MIT */
/*
 * Files of a system that this machine is not: what the library opens through
 * the system-call table is answered from here, and nothing else is there.
 */
#ifndef FERRY_TESTS_FILES_H
#define FERRY_TESTS_FILES_H

#include <stddef.h>

/*
 * Puts a table in force whose open, read, write, pread, close and poll know
 * these files only. In the test's own process, before other threads run.
 * The rest of the table is the kernel's.
 */
void files_start(void);

/* A file, or new contents for it. Strings are copied. Any thread. */
void files_add(const char *path, const char *contents);

/* Writing to files answers this negative errno; 0: it is taken. */
void files_refuse_writes(int error);

/* What was written to @path last; "" if nothing was. Static storage. */
const char *files_written(const char *path);

/* poll() on a descriptor of @path reports POLLPRI once. Any thread. */
void files_raise(const char *path);

/* Descriptors that are open now. */
size_t files_open(void);

#endif
