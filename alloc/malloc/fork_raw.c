/* SPDX-License-Identifier: MIT */
/*
 * Forks that run no handlers, by functions of the C library: _Fork(3) and
 * clone(2) with a memory of its own. Where the kernel does not tell of them
 * all memory is brought back before, and stays until both processes go on.
 * The C library's fork(3) does not come by here.
 */
#include <dlfcn.h>
#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <sys/types.h>

#include <ferry/base.h>

#include "alloc/malloc/quiet.h"

typedef pid_t fork_fn(void);
typedef int clone_fn(int (*fn)(void *), void *stack, int flags, void *arg,
		     long ptid, long tls, long ctid);

/* Integers are passed alike in variadic calls, see wrap.c. */
FERRY_EXPORT int ferry__wrap_clone(int (*fn)(void *), void *stack, int flags,
				   void *arg, long ptid, long tls,
				   long ctid) __asm__("clone");
FERRY_EXPORT int ferry__wrap_clone2(int (*fn)(void *), void *stack, int flags,
				    void *arg, long ptid, long tls,
				    long ctid) __asm__("__clone");
FERRY_EXPORT pid_t ferry__wrap_Fork(void) __asm__("_Fork");

static fork_fn *next_fork;
static clone_fn *next_clone;

/* In a constructor: in a signal handler the loader must not be asked. */
__attribute__((constructor)) static void find_next(void)
{
	/* ISO C has no conversion from void * to a function pointer. */
	*(void **)&next_fork = dlsym(RTLD_NEXT, "_Fork");
	*(void **)&next_clone = dlsym(RTLD_NEXT, "clone");
}

pid_t ferry__wrap_Fork(void)
{
	const struct ferry__quiet *who;
	pid_t pid;
	int r;

	if (!next_fork)
		find_next();
	r = next_fork ? ferry__quiet_fork_begin(&who) : -ENOSYS;
	if (r < 0) {
		errno = -r;
		return -1;
	}
	pid = next_fork();
	ferry__quiet_fork_end(who);
	return pid;
}

/* On the stack of who clones, of which the child has a copy. */
struct start {
	const struct ferry__quiet *who;
	int (*fn)(void *);
	void *arg;
};

static int begin(void *arg)
{
	struct start *start = arg;

	ferry__quiet_fork_end(start->who);
	return start->fn(start->arg);
}

static int clone_memory(int (*fn)(void *), void *stack, int flags, void *arg,
			long ptid, long tls, long ctid)
{
	struct start start = { .fn = fn, .arg = arg };
	int r = ferry__quiet_fork_begin(&start.who);

	if (r < 0) {
		errno = -r;
		return -1;
	}
	r = next_clone(begin, stack, flags, &start, ptid, tls, ctid);
	ferry__quiet_fork_end(start.who);
	return r;
}

int ferry__wrap_clone(int (*fn)(void *), void *stack, int flags, void *arg,
		      long ptid, long tls, long ctid)
{
	if (!next_clone)
		find_next();
	if (flags & CLONE_VM || !fn || !stack)
		return next_clone(fn, stack, flags, arg, ptid, tls, ctid);
	return clone_memory(fn, stack, flags, arg, ptid, tls, ctid);
}

int ferry__wrap_clone2(int (*fn)(void *), void *stack, int flags, void *arg,
		       long ptid, long tls, long ctid)
{
	return ferry__wrap_clone(fn, stack, flags, arg, ptid, tls, ctid);
}
