/* SPDX-License-Identifier: MIT */
/*
 * The system calls that must find the library quiet (quiet.h), in place of
 * the C library's functions: prctl(2), seccomp(2) by way of syscall(2),
 * unshare(2), setns(2).
 *
 * All but those few calls cost a comparison, set errno as before and may be
 * made in signal handlers and in children of vfork(2): they are the bare
 * instruction, as in the C library.
 */
#include <errno.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdbool.h>
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

/* A filter stays; a call that failed, or only asked, has installed none. */
static long filtering(long n, long a, long b, long c, long d, long e, long f)
{
	const struct ferry__quiet *who = ferry__quiet_begin();
	long ret = bare(n, a, b, c, d, e, f);

	ferry__quiet_end(who, ret >= 0);
	return with_errno(ret);
}

static long alone(long n, long a, long b)
{
	const struct ferry__quiet *who = ferry__quiet_begin();
	long ret = bare(n, a, b, 0, 0, 0, 0);

	ferry__quiet_end(who, false);
	return with_errno(ret);
}

static bool installs_filter(long n, long a, long b)
{
	if (n == SYS_seccomp)
		return a == SECCOMP_SET_MODE_FILTER ||
		       a == SECCOMP_SET_MODE_STRICT;
	return n == SYS_prctl && (int)a == PR_SET_SECCOMP && b != 0;
}

/*
 * Variadic where they are declared, which is why their declarations are not
 * used: integers are passed alike, and the kernel looks at no more of them
 * than it wants.
 */
FERRY_EXPORT long ferry__wrap_syscall(long n, long a, long b, long c, long d,
				      long e, long f) __asm__("syscall");
FERRY_EXPORT int ferry__wrap_prctl(int option, long a, long b, long c,
				   long d) __asm__("prctl");

long ferry__wrap_syscall(long n, long a, long b, long c, long d, long e, long f)
{
	if (__builtin_expect(installs_filter(n, a, b), 0))
		return filtering(n, a, b, c, d, e, f);
	return with_errno(bare(n, a, b, c, d, e, f));
}

int ferry__wrap_prctl(int option, long a, long b, long c, long d)
{
	if (installs_filter(SYS_prctl, option, a))
		return (int)filtering(SYS_prctl, option, a, b, c, d, 0);
	return (int)with_errno(bare(SYS_prctl, option, a, b, c, d, 0));
}

/* What the kernel shares out only to a process of one thread. */
#define ALONE (CLONE_NEWUSER | CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)

FERRY_EXPORT int unshare(int flags)
{
	if (flags & ALONE)
		return (int)alone(SYS_unshare, flags, 0);
	return (int)with_errno(bare(SYS_unshare, flags, 0, 0, 0, 0, 0));
}

/* What it joins cannot be seen here: it may be a namespace of users. */
FERRY_EXPORT int setns(int fd, int type)
{
	return (int)alone(SYS_setns, fd, type);
}
