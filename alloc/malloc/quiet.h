/* SPDX-License-Identifier: MIT */
/*
 * System calls that do not go together with threads of the library: a seccomp
 * filter may forbid, on pain of death, what the pager needs; namespaces of
 * users want a process of one thread; capabilities that the caller alone has
 * make setuid(2) fail in other threads, for which the C library aborts. Before
 * them all memory is brought back and the threads end (wrap.c).
 *
 * And forks that run no handlers, whose children would not be served; and the
 * end of a process, which must not wait for threads of ours (leave.h).
 */
#ifndef FERRY_ALLOC_MALLOC_QUIET_H
#define FERRY_ALLOC_MALLOC_QUIET_H

#include <stdbool.h>

#include "alloc/malloc/engine.h"

struct ferry__quiet {
	/*
	 * Brings back all that is out; when it returns there is no thread of
	 * ours, and none starts before end().
	 */
	void (*begin)(void);
	/*
	 * @for_ever: a filter has been installed. This process and those that
	 * it forks start nothing again. No system call may be made here then.
	 * Without, threads may start again when they are next wanted.
	 */
	void (*end)(bool for_ever);
	/*
	 * Before a fork that runs no handlers: what its child would not find
	 * is brought back, and no thread of ours has a lock that it needs.
	 * 0: fork_end() is to be called in both processes; or a negative
	 * errno, and there may be no such fork now.
	 */
	int (*fork_begin)(void);
	void (*fork_end)(void);
	/*
	 * The first thread ends, others may go on: brings back all that is
	 * out, ends the threads of ours, and none starts again.
	 */
	void (*leave)(void);
};

/*
 * Who may start threads says so at the start of the library, when there is
 * none yet: a filter that is installed before keeps them from ever starting.
 */
FERRY__HIDDEN void ferry__quiet_set(const struct ferry__quiet *quiet);

/* In the child of fork(2), which may have threads of its own. */
FERRY__HIDDEN void ferry__quiet_fork_child(void);

/*
 * Around such a call. Nobody to be quiet gives NULL, which end() takes: also
 * in a child of vfork(2), which has our memory but none of our threads.
 */
FERRY__HIDDEN const struct ferry__quiet *ferry__quiet_begin(void);
FERRY__HIDDEN void ferry__quiet_end(const struct ferry__quiet *quiet,
				    bool for_ever);

/*
 * Around a fork that runs no handlers. Returns 0 and who is to be given to
 * end(), in both processes (NULL: nobody), or a negative errno.
 */
FERRY__HIDDEN int ferry__quiet_fork_begin(const struct ferry__quiet **ret_who);
FERRY__HIDDEN void ferry__quiet_fork_end(const struct ferry__quiet *who);

/* The calling thread ends; nothing happens unless it is the first one. */
FERRY__HIDDEN void ferry__quiet_leave(void);

#endif
