/* SPDX-License-Identifier: MIT */
/*
 * The system calls that must find the library quiet (quiet.h), in place of
 * the C library's functions: prctl(2), seccomp(2) by way of syscall(2),
 * unshare(2), setns(2), capset(2).
 *
 * And the forks that go by syscall(2), which run no handlers: fork_raw.c has
 * the others; and the end of a first thread that does not call pthread_exit(3)
 * (leave.c).
 *
 * All but those few calls cost a comparison, set errno as before and may be
 * made in signal handlers and in children of vfork(2): they are the bare
 * instruction, as in the C library.
 */
#include <errno.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <ferry/base.h>

#include "alloc/malloc/quiet.h"

#if defined(__x86_64__)
static long bare(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall"
			 : "=a"(ret)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8),
			   "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
}
#elif defined(__aarch64__)
static long bare(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "how is the kernel called on this machine?"
#endif

static long with_errno(long ret)
{
	if ((unsigned long)ret <= -4096UL)
		return ret;
	errno = (int)-ret;
	return -1;
}

/* --- which calls ------------------------------------------------------------------ */

enum kind {
	USUAL = 0,
	ALONE,	/* without threads of ours; they may come back */
	FILTER, /* they may not: what is installed stays */
	FORK,	/* of a copy of the memory */
	LEAVE,	/* the end of one thread */
};

/* What the kernel shares out only to a process of one thread. */
#define ONE_THREAD (CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)

static enum kind kind_of_prctl(int option, long b)
{
	switch (option) {
	case PR_SET_SECCOMP:
		return b ? FILTER : USUAL;
	/* Of the calling thread alone; setuid(2) is of all. */
	case PR_SET_KEEPCAPS:
	case PR_SET_SECUREBITS:
		return ALONE;
	default:
		return USUAL;
	}
}

/* Where the child goes on with a stack of its own it does not return here. */
static enum kind kind_of_clone(uint64_t flags, uint64_t stack)
{
	return flags & CLONE_VM || stack ? USUAL : FORK;
}

/*
 * An operation that does not exist: the kernel reads the mask and does
 * nothing. Filters of system calls allow this one.
 */
static bool is_readable(const uint64_t *word)
{
	return bare(SYS_rt_sigprocmask, -1, (long)word, 0, sizeof(*word), 0,
		    0) != -EFAULT;
}

/* What is too short or cannot be read is the kernel's to refuse. */
static enum kind kind_of_clone3(long at, long size)
{
	const struct clone_args *args = (const struct clone_args *)at;

	if ((unsigned long)size < CLONE_ARGS_SIZE_VER0 ||
	    !is_readable((const uint64_t *)&args->flags) ||
	    !is_readable((const uint64_t *)&args->stack))
		return USUAL;
	return kind_of_clone(args->flags, args->stack);
}

static enum kind kind_of(long n, long a, long b)
{
	switch (n) {
	case SYS_exit:
		return LEAVE;
#ifdef SYS_fork
	case SYS_fork:
		return FORK;
#endif
	case SYS_clone:
		return kind_of_clone((uint64_t)a, (uint64_t)b);
	case SYS_clone3:
		return kind_of_clone3(a, b);
	case SYS_seccomp:
		return a == SECCOMP_SET_MODE_FILTER ||
				       a == SECCOMP_SET_MODE_STRICT
			       ? FILTER
			       : USUAL;
	case SYS_prctl:
		return kind_of_prctl((int)a, b);
	case SYS_unshare:
		return a & ONE_THREAD ? ALONE : USUAL;
	/* What setns() joins cannot be seen: it may be of users. */
	case SYS_setns:
	case SYS_capset:
		return ALONE;
	default:
		return USUAL;
	}
}

/* A filter that failed, or was only asked about, has not been installed. */
static long quietly(enum kind kind, long n, long a, long b, long c, long d,
		    long e, long f)
{
	const struct ferry__quiet *who = ferry__quiet_begin();
	long ret = bare(n, a, b, c, d, e, f);

	ferry__quiet_end(who, kind == FILTER && ret >= 0);
	return with_errno(ret);
}

static long forking(long n, long a, long b, long c, long d, long e, long f)
{
	const struct ferry__quiet *who;
	int r = ferry__quiet_fork_begin(&who);
	long ret;

	if (r < 0)
		return with_errno(r);
	ret = bare(n, a, b, c, d, e, f);
	ferry__quiet_fork_end(who);
	return with_errno(ret);
}

/* --- in place of the C library's --------------------------------------------------- */

/*
 * Variadic where they are declared, which is why their declarations are not
 * used: integers are passed alike, and the kernel looks at no more of them
 * than it wants.
 */
FERRY_EXPORT long ferry__wrap_syscall(long n, long a, long b, long c, long d,
				      long e, long f) __asm__("syscall");
FERRY_EXPORT int ferry__wrap_prctl(int option, long a, long b, long c,
				   long d) __asm__("prctl");
/* Not declared anywhere but in libraries for capabilities. */
FERRY_EXPORT int capset(void *header, const void *data);

long ferry__wrap_syscall(long n, long a, long b, long c, long d, long e, long f)
{
	enum kind kind = kind_of(n, a, b);

	if (__builtin_expect(kind == LEAVE, 0))
		ferry__quiet_leave();
	else if (__builtin_expect(kind == FORK, 0))
		return forking(n, a, b, c, d, e, f);
	else if (__builtin_expect(kind != USUAL, 0))
		return quietly(kind, n, a, b, c, d, e, f);
	return with_errno(bare(n, a, b, c, d, e, f));
}

int ferry__wrap_prctl(int option, long a, long b, long c, long d)
{
	return (int)ferry__wrap_syscall(SYS_prctl, option, a, b, c, d, 0);
}

FERRY_EXPORT int unshare(int flags)
{
	return (int)ferry__wrap_syscall(SYS_unshare, flags, 0, 0, 0, 0, 0);
}

FERRY_EXPORT int setns(int fd, int type)
{
	return (int)ferry__wrap_syscall(SYS_setns, fd, type, 0, 0, 0, 0);
}

int capset(void *header, const void *data)
{
	return (int)ferry__wrap_syscall(SYS_capset, (long)header, (long)data, 0,
					0, 0, 0);
}
