/* SPDX-License-Identifier: MIT */
/*
 * State of the whole machine that a test changes for a while: swap, sysctls,
 * KSM. What was there before comes back when the test ends in any way, be it
 * by a crash or by its time limit: a keeper process, which holds the other
 * end of a pipe, puts it back.
 *
 * Only one program at a time may hold such state; others wait in these calls
 * (time limits run on: give such tests a generous one). The keeper is
 * spawned without fork's copy-on-write, so that pages of the caller stay
 * exclusive. One process may hold several things, from one thread, and
 * releases the last one first.
 */
#ifndef FERRY_TESTS_SYSTEM_H
#define FERRY_TESTS_SYSTEM_H

#include <stdbool.h>

/* One held change. */
struct system_hold {
	int stdin_fd, stdout_fd; /* pipes to the keeper */
	int pid;
	char reason[256]; /* why it was refused */
};

/*
 * Swap space for as long as @hold lasts: what the machine has, or a zram
 * device of 512 MiB. Returns false with .reason filled in when there is none
 * and none can be made.
 */
bool system_hold_swap(struct system_hold *hold);

/*
 * Writes @value to the file @path, such as a sysctl, and the old value back
 * at the end. Of a list with its choice in brackets, the choice is the value.
 */
bool system_hold_value(struct system_hold *hold, const char *path,
		       const char *value);

/* Holds the lock alone, for state that leaves nothing to put back. */
bool system_hold_lock(struct system_hold *hold);

/*
 * A control group of version 2 with the memory controller and stall times,
 * for as long as @hold lasts: the folder @path (at least SYSTEM_GROUP bytes).
 * Who entered it has left it, or is dead, when it is released.
 */
#define SYSTEM_GROUP 64
bool system_hold_group(struct system_hold *hold, char *path);

/* Puts back what @hold changed; waits until that is done. */
void system_release(struct system_hold *hold);

#endif
