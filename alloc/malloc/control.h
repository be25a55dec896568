/* SPDX-License-Identifier: MIT */
/*
 * The control socket: a person or a program outside asks a running process
 * for its statistics, or to bring its memory back, over a Unix socket.
 *
 * A connection carries one request, a line; the answer is text to the end of
 * the connection. Whoever has the user id of the process, or is root, is
 * answered; the socket's mode is 0600.
 */
#ifndef FERRY_ALLOC_MALLOC_CONTROL_H
#define FERRY_ALLOC_MALLOC_CONTROL_H

#include <stddef.h>

struct ferry__control_params {
	/*
	 * Answers @request, which has no newline, in @size bytes at @buf;
	 * returns how many it wrote. Runs in the thread of the socket.
	 */
	size_t (*answer)(void *arg, const char *request, char *buf,
			 size_t size);
	void *arg;
	/* First thing in that thread; NULL: nothing. */
	void (*thread_begin)(void *arg);
	size_t answer_max; /* @size of answer() */
};

struct ferry__control;

/*
 * Listens at @path, in a thread that has a descriptor table of its own: the
 * program neither sees the socket nor can close it. A socket that nobody
 * listens at any more is replaced.
 *
 * Returns 0 or
 *  -EADDRINUSE	somebody listens there, or it is no socket
 *  -ENAMETOOLONG, -EINVAL (empty)
 *  -ENOMEM, -EAGAIN (no thread to be had); errors of socket(2), bind(2),
 *  unshare(2)
 * Any thread, one call at a time; starts a thread and may allocate.
 */
int ferry__control_start(const char *path,
			 const struct ferry__control_params *params,
			 struct ferry__control **ret_control);

/* Ends the thread and removes the socket. NULL is allowed. */
void ferry__control_stop(struct ferry__control *control);

/* In a child of fork(2): frees it, and leaves the parent's socket alone. */
void ferry__control_forget(struct ferry__control *control);

#endif
