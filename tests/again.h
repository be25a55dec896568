/* SPDX-License-Identifier: MIT */
/*
 * A test program that begins itself anew, with another FERRY_MALLOC_CONF, to
 * do one of several things: main() hands "--program NAME" to again_main().
 */
#ifndef FERRY_TESTS_AGAIN_H
#define FERRY_TESTS_AGAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct again {
	const char *name;
	int (*run)(void); /* the exit status */
};

/* Is this such a process? Then *@ret_status is what it is to end with. */
bool again_main(int argc, char **argv, const struct again *list, size_t n,
		int *ret_status);

/*
 * Begins @name; what it says on standard error is read from *@ret_fd. It does
 * not outlive the caller.
 */
pid_t again_begin(const char *conf, const char *name, int *ret_fd);

/* Waits until it ends; returns how, and leaves what it said. */
int again_hear(pid_t pid, int fd);
extern char again_said[1 << 16];

/* Both. */
int again_run(const char *conf, const char *name);

#endif
