/* SPDX-License-Identifier: MIT */
/*
 * Installs seccomp filters with a heap that is cold. What the filters allow
 * is what a careful server leaves itself for its work with memory and files:
 * neither ioctl(2) nor userfaultfd(2), no new thread, no open(2).
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifdef HAVE_SECCOMP
#include <seccomp.h>
#endif

#include "tests/programs/heap.h"

static const int allowed[] = {
	SYS_read,	   SYS_write,	       SYS_close,
	SYS_exit,	   SYS_exit_group,     SYS_brk,
	SYS_mmap,	   SYS_munmap,	       SYS_mremap,
	SYS_mprotect,	   SYS_madvise,	       SYS_futex,
	SYS_clock_gettime, SYS_nanosleep,      SYS_getpid,
	SYS_gettid,	   SYS_rt_sigprocmask, SYS_rt_sigreturn,
	SYS_sched_yield,   SYS_wait4,	       SYS_clock_nanosleep,
	SYS_newfstatat,	   SYS_mincore,
};
#define N_ALLOWED (sizeof(allowed) / sizeof(allowed[0]))

static struct sock_filter code[N_ALLOWED + 3];

/* The @n calls of a list are answered so, all @others so. */
static struct sock_fprog filter_of(const int *calls, size_t n, uint32_t listed,
				   uint32_t others)
{
	struct sock_fprog program = { .filter = code };
	size_t at = 0;

	code[at++] = (struct sock_filter)BPF_STMT(
		BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < n; i++)
		code[at++] = (struct sock_filter)BPF_JUMP(
			BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)calls[i],
			(uint8_t)(n - i), 0);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, others);
	code[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, listed);
	program.len = (unsigned short)at;
	check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "no_new_privs");
	return program;
}

static struct sock_fprog careful_filter(void)
{
	return filter_of(allowed, N_ALLOWED, SECCOMP_RET_ALLOW,
			 SECCOMP_RET_KILL_PROCESS);
}

static void by_prctl(void)
{
	struct sock_fprog program = careful_filter();

	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0,
	      "prctl");
}

/* Every thread of the process is filtered, those of libraries too. */
static void by_syscall_for_all_threads(void)
{
	struct sock_fprog program = careful_filter();

	check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		      SECCOMP_FILTER_FLAG_TSYNC, &program) == 0,
	      "seccomp");
}

#ifdef HAVE_SECCOMP
static void by_library(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);

	check(ctx != NULL, "seccomp_init");
	seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	for (size_t i = 0; i < N_ALLOWED; i++)
		check(seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0) == 0,
		      "seccomp_rule_add");
	check(seccomp_load(ctx) == 0, "seccomp_load");
	seccomp_release(ctx);
}
#endif

static void *wait_for_ever(void *arg)
{
	for (;;)
		sleep_ms(1000);
	return arg;
}

/* In a child, as a filter cannot be taken off again. */
static void filtered(void (*install)(void), const char *what)
{
	struct heap *heap;
	pthread_t thread;
	pid_t pid;

	pid = fork_clean();
	if (pid == 0) {
		heap = heap_make(4 << 20, 3);
		check(pthread_create(&thread, NULL, wait_for_ever, NULL) == 0,
		      "pthread_create");
		heap_rest(heap);
		install();
		heap_report(heap, what);
		heap_churn(heap);
		sleep_ms(200);
		heap_report(heap, what);
		heap_free(heap);
		fflush(stdout);
		_exit(0);
	}
	report_child(pid, what);
}

/* Nothing but read, write and the end of the thread. */
static void strict(void)
{
	static const char words[] = "strict: the heap is whole\n";
	struct heap *heap;
	pid_t pid;

	pid = fork_clean();
	if (pid == 0) {
		heap = heap_make(4 << 20, 4);
		heap_rest(heap);
		check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0, "prctl");
		if (heap_is_whole(heap))
			write(1, words, sizeof(words) - 1);
		syscall(SYS_exit, 0);
	}
	report_child(pid, "strict");
}

/*
 * A filter comes with a program that knows nothing of it: it kills for what
 * only we would do, so that anything else can be loaded and run.
 */
static void install_for_exec(void)
{
	static const int killing[] = { SYS_userfaultfd, SYS_unshare,
				       SYS_pidfd_getfd, SYS_io_uring_setup };
	struct sock_fprog program =
		filter_of(killing, sizeof(killing) / sizeof(killing[0]),
			  SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW);

	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0,
	      "prctl");
}

static void inherited(char *self)
{
	pid_t pid;

	pid = fork_clean();
	if (pid == 0) {
		install_for_exec();
		execl("/proc/self/exe", self, "inherited", (char *)NULL);
		_exit(127);
	}
	report_child(pid, "inherited");
}

/* What runs under such a filter. */
static int live_with_it(void)
{
	struct heap *heap = heap_make(8 << 20, 5);

	sleep_ms(500);
	heap_report(heap, "under a filter of others");
	heap_churn(heap);
	sleep_ms(200);
	heap_report(heap, "later");
	return 0;
}

/* A filter that is there before there is a heap worth looking at. */
static void early(void)
{
	struct heap *heap;
	pid_t pid;

	pid = fork_clean();
	if (pid == 0) {
		by_syscall_for_all_threads();
		heap = heap_make(48 << 20, 21);
		sleep_ms(200);
		heap_report(heap, "early");
		heap_churn(heap);
		heap_report(heap, "early");
		exit(0);
	}
	report_child(pid, "early");
}

/* A call that only asks whether filters can be had changes nothing. */
static void asked(void)
{
	struct heap *heap = heap_make(4 << 20, 6);

	heap_rest(heap);
	check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) != 0, "prctl");
	check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL) != 0,
	      "seccomp");
	check(prctl(PR_GET_SECCOMP) == 0, "PR_GET_SECCOMP");
	heap_report(heap, "asked");
	heap_churn(heap);
	heap_rest(heap);
	heap_report(heap, "asked, cold again");
	heap_free(heap);
}

/* A filter that forbids what it is told: the rest must not be needed. */
static void forbidden(void)
{
	pid_t pid;

	pid = fork_clean();
	if (pid == 0) {
		by_prctl();
		getppid();
		_exit(0);
	}
	report_child(pid, "forbidden call");
}

int main(int argc, char **argv)
{
	if (argc > 1)
		return live_with_it();
	forbidden();
	early();
	asked();
	inherited(argv[0]);
	filtered(by_prctl, "prctl");
	filtered(by_syscall_for_all_threads, "all threads");
#ifdef HAVE_SECCOMP
	filtered(by_library, "libseccomp");
#endif
	strict();
	return 0;
}
