/* SPDX-License-Identifier: MIT */
/*
 * System calls that the library must be quiet for, and all others, which must
 * be as the C library makes them.
 */
#include "alloc/malloc/quiet.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"

static int begun, ended, ended_for_ever;

static void note_begin(void)
{
	begun++;
}

static void note_end(bool for_ever)
{
	ended++;
	ended_for_ever += for_ever;
}

static int fork_begun, fork_ended, fork_answer;

static int note_fork_begin(void)
{
	fork_begun++;
	return fork_answer;
}

static void note_fork_end(void)
{
	fork_ended++;
}

#define LEFT 42

static void note_leave(void)
{
	_exit(LEFT);
}

static const struct ferry__quiet notes = { .begin = note_begin,
					   .end = note_end,
					   .fork_begin = note_fork_begin,
					   .fork_end = note_fork_end,
					   .leave = note_leave };

static struct sock_filter allow_all[] = {
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};
static struct sock_fprog program = { .len = 1, .filter = allow_all };

static void assert_noted(int calls, int for_ever)
{
	ck_assert_int_eq(begun, calls);
	ck_assert_int_eq(ended, calls);
	ck_assert_int_eq(ended_for_ever, for_ever);
}

static void allow_filters(void)
{
	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ferry__quiet_set(&notes);
}

START_TEST(other_calls_are_as_they_were)
{
	char byte = 0;
	int fds[2];

	ferry__quiet_set(&notes);
	ck_assert_int_eq(syscall(SYS_getpid), getpid());
	errno = 7;
	ck_assert_int_eq(syscall(SYS_close, -1), -1);
	ck_assert_int_eq(errno, EBADF);
	ck_assert_int_eq(prctl(PR_GET_DUMPABLE), 1);
	ck_assert_int_eq(prctl(-1), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(syscall(SYS_write, fds[1], "x", 1), 1);
	ck_assert_int_eq(syscall(SYS_read, fds[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	assert_noted(0, 0);
}
END_TEST

START_TEST(six_arguments_arrive)
{
	void *p = (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0L);

	ck_assert_ptr_ne(p, MAP_FAILED);
	ck_assert_int_eq(*(char *)p, 0);
	/* An offset that is no multiple of a page is the sixth. */
	ck_assert_ptr_eq((void *)syscall(SYS_mmap, NULL, 4096, PROT_READ,
					 MAP_PRIVATE | MAP_ANONYMOUS, -1, 1L),
			 MAP_FAILED);
	ck_assert_int_eq(errno, EINVAL);
	munmap(p, 4096);
}
END_TEST

START_TEST(filter_by_prctl_is_met_quiet)
{
	allow_filters();
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program),
			 0);
	assert_noted(1, 1);
}
END_TEST

START_TEST(filter_by_syscall_is_met_quiet)
{
	allow_filters();
	ck_assert_int_eq(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
				 SECCOMP_FILTER_FLAG_TSYNC, &program),
			 0);
	assert_noted(1, 1);
}
END_TEST

START_TEST(filter_by_syscall_of_prctl_is_met_quiet)
{
	allow_filters();
	ck_assert_int_eq(syscall(SYS_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER,
				 &program),
			 0);
	assert_noted(1, 1);
}
END_TEST

START_TEST(quiet_for_ever_is_not_asked_again)
{
	allow_filters();
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program),
			 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program),
			 0);
	assert_noted(1, 1);
}
END_TEST

START_TEST(filter_that_fails_is_no_filter)
{
	allow_filters();
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL), -1);
	ck_assert_int_eq(errno, EFAULT);
	ck_assert_int_eq(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, NULL),
			 -1);
	ck_assert_int_eq(errno, EFAULT);
	assert_noted(2, 0);
}
END_TEST

START_TEST(questions_about_filters_disturb_nobody)
{
	unsigned int action = SECCOMP_RET_ALLOW;

	allow_filters();
	ck_assert_int_eq(prctl(PR_GET_SECCOMP), 0);
	ck_assert_int_eq(
		syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action), 0);
	assert_noted(0, 0);
}
END_TEST

/* Not so under a sanitizer with a thread of its own. */
static bool is_only_thread(void)
{
	struct stat st;

	/* Two links, and one for each thread. */
	return stat("/proc/self/task", &st) == 0 && st.st_nlink == 3;
}

START_TEST(namespaces_are_met_quiet_once_each)
{
	int fd = open("/proc/self/ns/uts", O_RDONLY);

	ferry__quiet_set(&notes);
	ck_assert_int_ge(fd, 0);
	/* Right or wrong: as the kernel says. */
	if (setns(fd, CLONE_NEWNET) == -1)
		ck_assert_int_eq(errno, EINVAL);
	assert_noted(1, 0);
	/* One thread: nothing to do, and allowed. */
	ck_assert_int_eq(unshare(CLONE_SIGHAND), is_only_thread() ? 0 : -1);
	assert_noted(2, 0);
	ck_assert_int_eq(unshare(CLONE_FS), 0);
	assert_noted(2, 0);
	close(fd);
}
END_TEST

START_TEST(credentials_of_one_thread_are_met_quiet)
{
	/* Version 3: two words of each set; a process may look at its own. */
	struct {
		uint32_t version;
		int pid;
	} header = { 0x20080522, 0 };
	uint32_t sets[6];

	ferry__quiet_set(&notes);
	ck_assert_int_eq(prctl(PR_SET_KEEPCAPS, 1L, 0, 0, 0), 0);
	assert_noted(1, 0);
	ck_assert_int_eq(prctl(PR_GET_KEEPCAPS), 1);
	ck_assert_int_eq(syscall(SYS_capget, &header, sets), 0);
	assert_noted(1, 0);
	ck_assert_int_eq(syscall(SYS_capset, &header, sets), 0);
	assert_noted(2, 0);
}
END_TEST

START_TEST(filter_in_a_child_is_met_quiet)
{
	int status;
	pid_t pid;

	allow_filters();
	pid = fork();
	if (pid == 0) {
		ferry__quiet_fork_child();
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
		_exit(begun == 1 && ended_for_ever == 1 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	assert_noted(0, 0);
}
END_TEST

START_TEST(children_that_share_memory_disturb_nobody)
{
	int status;
	pid_t pid;

	allow_filters();
	pid = vfork();
	if (pid == 0)
		_exit(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	assert_noted(0, 0);
}
END_TEST

static void *end_by_call(void *arg)
{
	syscall(SYS_exit, 0);
	return arg;
}

START_TEST(end_of_the_first_thread_is_told_of)
{
	int status;
	pid_t pid;

	pid = fork();
	if (pid == 0) {
		ferry__quiet_set(&notes);
		end_by_call(NULL);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), LEFT);
}
END_TEST

static int other_tid; /* atomic */

static void *end_as_other(void *arg)
{
	__atomic_store_n(&other_tid, gettid(), __ATOMIC_RELEASE);
	return end_by_call(arg);
}

static int tid_of_other(void)
{
	return __atomic_load_n(&other_tid, __ATOMIC_ACQUIRE);
}

/* Not joined: a sanitizer does not see such an end, and would wait for it. */
START_TEST(end_of_another_thread_disturbs_nobody)
{
	pthread_t thread;

	ferry__quiet_set(&notes);
	ck_assert_int_eq(pthread_create(&thread, NULL, end_as_other, NULL), 0);
	AWAIT(tid_of_other());
	AWAIT(tgkill(getpid(), tid_of_other(), 0) != 0);
}
END_TEST

/* --- forks that run no handlers ------------------------------------------ */

static int is_noted(void *arg)
{
	(void)arg;
	return fork_begun == 1 && fork_ended == 1 ? 0 : 1;
}

static long fork_by_clone(void)
{
	static char stack[65536] __attribute__((aligned(16)));

	return clone(is_noted, stack + sizeof(stack), SIGCHLD, NULL);
}

static long fork_by_Fork(void)
{
	return _Fork();
}

static long fork_by_clone_call(void)
{
	return syscall(SYS_clone, (long)SIGCHLD, NULL, NULL, NULL, NULL);
}

static long fork_by_clone3_call(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };

	return syscall(SYS_clone3, &args, sizeof(args));
}

static long (*const forks[])(void) = {
	fork_by_Fork,
	fork_by_clone,
	fork_by_clone_call,
	fork_by_clone3_call,
};

#define N_FORKS (sizeof(forks) / sizeof(forks[0]))

START_TEST(forks_are_told_of_in_both_processes)
{
	int status;
	long pid;
	size_t i;

	ferry__quiet_set(&notes);
	for (i = 0; i < N_FORKS; i++) {
		fork_begun = fork_ended = 0;
		pid = forks[i]();
		if (!pid)
			_exit(is_noted(NULL));
		ck_assert_int_gt(pid, 0);
		ck_assert_int_eq(waitpid((pid_t)pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
		ck_assert_int_eq(fork_begun, 1);
		ck_assert_int_eq(fork_ended, 1);
	}
	assert_noted(0, 0);
}
END_TEST

START_TEST(fork_that_may_not_be_is_not)
{
	size_t i;

	ferry__quiet_set(&notes);
	fork_answer = -EAGAIN;
	for (i = 0; i < N_FORKS; i++) {
		ck_assert_int_eq(forks[i](), -1);
		ck_assert_int_eq(errno, EAGAIN);
	}
	ck_assert_int_eq(fork_begun, (int)N_FORKS);
	ck_assert_int_eq(fork_ended, 0);
}
END_TEST

static int end_at_once(void *arg)
{
	(void)arg;
	return 0;
}

START_TEST(forks_of_no_copy_disturb_nobody)
{
	static char stack[65536] __attribute__((aligned(16)));
	int status, pid;

	ferry__quiet_set(&notes);
	pid = clone(end_at_once, stack + sizeof(stack),
		    CLONE_VM | CLONE_VFORK | SIGCHLD, NULL);
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(fork_begun, 0);
}
END_TEST

START_TEST(clones_that_cannot_be_are_refused_by_the_kernel)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	void *none =
		mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ferry__quiet_set(&notes);
	ck_assert_int_eq(syscall(SYS_clone3, none, sizeof(args)), -1);
	ck_assert(errno == EFAULT || errno == ENOSYS);
	ck_assert_int_eq(syscall(SYS_clone3, &args, 8L), -1);
	ck_assert(errno == EINVAL || errno == ENOSYS);
	ck_assert_int_eq(clone(NULL, NULL, SIGCHLD, NULL), -1);
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(fork_begun, 0);
	munmap(none, 4096);
}
END_TEST

static const struct test tests[] = {
	TEST(other_calls_are_as_they_were, NULL),
	TEST(six_arguments_arrive, NULL),
	TEST(filter_by_prctl_is_met_quiet, "seccomp"),
	TEST(filter_by_syscall_is_met_quiet, "seccomp"),
	TEST(filter_by_syscall_of_prctl_is_met_quiet, "seccomp"),
	TEST(quiet_for_ever_is_not_asked_again, "seccomp"),
	TEST(filter_that_fails_is_no_filter, "seccomp"),
	TEST(questions_about_filters_disturb_nobody, "seccomp"),
	TEST(namespaces_are_met_quiet_once_each, NULL),
	TEST(credentials_of_one_thread_are_met_quiet, NULL),
	TEST(filter_in_a_child_is_met_quiet, "seccomp"),
	TEST(children_that_share_memory_disturb_nobody, "seccomp"),
	TEST(end_of_the_first_thread_is_told_of, NULL),
	TEST(end_of_another_thread_disturbs_nobody, NULL),
	TEST(forks_are_told_of_in_both_processes, NULL),
	TEST(fork_that_may_not_be_is_not, NULL),
	TEST(forks_of_no_copy_disturb_nobody, NULL),
	TEST(clones_that_cannot_be_are_refused_by_the_kernel, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
