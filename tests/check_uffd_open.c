/* SPDX-License-Identifier: MIT */
/*
 * Handles: opening by each way and why it fails, registration, wake, closing
 * while others use it, children.
 */
#include <ferry/uffd.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "uffd/sys.h"
#include "uffd/uapi.h"

static struct ferry_uffd_params params = FERRY_INIT(struct ferry_uffd_params);
static struct ferry_uffd *uffd;
static enum ferry_reason reason;

static int open_way(enum ferry_uffd_way way)
{
	params.way = way;
	return ferry_uffd_open(&params, &reason, &uffd);
}

static void assert_fails(enum ferry_uffd_way way, int error,
			 enum ferry_reason why)
{
	struct ferry_uffd *before = uffd;

	ck_assert_int_eq(open_way(way), error);
	ck_assert_msg(reason == why, "reason is: %s; not: %s",
		      ferry_reason_string(reason), ferry_reason_string(why));
	ck_assert_ptr_eq(uffd, before);
}

/* --- ways ---------------------------------------------------------------- */

START_TEST(each_way_opens)
{
	static const struct {
		enum ferry_uffd_way way;
		const char *feature;
	} ways[] = {
		{ FERRY_UFFD_ANY, "userfaultfd" },
		{ FERRY_UFFD_DEVICE, "dev_userfaultfd" },
		{ FERRY_UFFD_SYSCALL, "kernel_faults" },
		{ FERRY_UFFD_USER_MODE, "userfaultfd" },
	};
	const char *why;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ways); i++) {
		if (!harness_feature(ways[i].feature, &why))
			continue;
		ck_assert_int_eq(open_way(ways[i].way), 0);
		ck_assert_int_eq(reason, FERRY_REASON_NONE);
		ck_assert_int_ge(ferry_uffd_fd(uffd), 0);
		if (ways[i].way != FERRY_UFFD_ANY)
			ck_assert_int_eq(ferry_uffd_way(uffd), ways[i].way);
		ck_assert_int_eq(fcntl(ferry_uffd_fd(uffd), F_GETFD),
				 FD_CLOEXEC);
		ferry_uffd_close(uffd);
	}
}
END_TEST

/* A rule that makes @call fail always. */
static struct inject_rule fails(enum inject_call call, int error)
{
	return (struct inject_rule){
		.call = call,
		.error = error,
		.count = INJECT_ALWAYS,
	};
}

START_TEST(a_device_that_is_not_there)
{
	struct inject_rule rule = fails(INJECT_OPEN, ENOENT);

	rule.path = "/dev/userfaultfd";
	inject_start();
	inject_add(&rule);
	assert_fails(FERRY_UFFD_DEVICE, -ENOENT, FERRY_REASON_NO_DEVICE);
	/* Any other way will do. */
	ck_assert_int_eq(open_way(FERRY_UFFD_ANY), 0);
	ck_assert_int_ne(ferry_uffd_way(uffd), FERRY_UFFD_DEVICE);
}
END_TEST

START_TEST(a_device_that_may_not_be_opened)
{
	struct inject_rule rule = fails(INJECT_OPEN, EACCES);

	rule.path = "/dev/userfaultfd";
	inject_start();
	inject_add(&rule);
	assert_fails(FERRY_UFFD_DEVICE, -EPERM, FERRY_REASON_NO_PERMISSION);
}
END_TEST

START_TEST(a_system_call_that_wants_privilege)
{
	struct inject_rule rule = fails(INJECT_USERFAULTFD, EPERM);

	rule.count = 1;
	inject_start();
	inject_add(&rule);
	assert_fails(FERRY_UFFD_SYSCALL, -EPERM, FERRY_REASON_NO_PERMISSION);
}
END_TEST

/* User mode needs no privilege: who says EPERM there is a filter. */
START_TEST(a_system_call_that_is_filtered)
{
	struct inject_rule rule = fails(INJECT_USERFAULTFD, EPERM);

	inject_start();
	inject_add(&rule);
	assert_fails(FERRY_UFFD_SYSCALL, -EPERM, FERRY_REASON_SECCOMP);
	assert_fails(FERRY_UFFD_USER_MODE, -EPERM, FERRY_REASON_SECCOMP);
	inject_stop();
	rule = fails(INJECT_USERFAULTFD, ENOSYS);
	inject_start();
	inject_add(&rule);
	assert_fails(FERRY_UFFD_USER_MODE, -EPERM, FERRY_REASON_SECCOMP);
}
END_TEST

START_TEST(a_kernel_without_userfaultfd)
{
	struct inject_rule call = fails(INJECT_USERFAULTFD, ENOSYS);
	struct inject_rule open = fails(INJECT_OPEN, ENOENT);

	inject_start();
	inject_add(&call);
	inject_add(&open);
	assert_fails(FERRY_UFFD_ANY, -ENOSYS, FERRY_REASON_NOT_SUPPORTED);
}
END_TEST

START_TEST(a_kernel_without_user_mode)
{
	struct inject_rule call = fails(INJECT_USERFAULTFD, EINVAL);

	inject_start();
	inject_add(&call);
	assert_fails(FERRY_UFFD_USER_MODE, -EOPNOTSUPP,
		     FERRY_REASON_NOT_SUPPORTED);
}
END_TEST

START_TEST(too_many_open_files)
{
	struct rlimit limit, old;
	int fd = dup(0);

	ck_assert_int_ge(fd, 0);
	close(fd);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = old;
	limit.rlim_cur = (rlim_t)fd;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_fails(FERRY_UFFD_USER_MODE, -EMFILE,
		     FERRY_REASON_DESCRIPTOR_LIMIT);
	/* What ends the test wants to open files. */
	setrlimit(RLIMIT_NOFILE, &old);
}
END_TEST

START_TEST(no_memory_for_a_descriptor)
{
	struct inject_rule rule = fails(INJECT_USERFAULTFD, ENOMEM);

	inject_start();
	inject_add(&rule);
	assert_fails(FERRY_UFFD_USER_MODE, -ENOMEM, FERRY_REASON_NO_MEMORY);
}
END_TEST

START_TEST(features_that_are_not_there)
{
	params.features = 1ull << 31;
	assert_fails(FERRY_UFFD_USER_MODE, -EOPNOTSUPP,
		     FERRY_REASON_NOT_SUPPORTED);
	params.features = 1ull << 63;
	assert_fails(FERRY_UFFD_USER_MODE, -EOPNOTSUPP,
		     FERRY_REASON_NOT_SUPPORTED);
}
END_TEST

START_TEST(a_failed_open_leaves_no_descriptor)
{
	int before = dup(0), after;

	close(before);
	params.features = 1ull << 31;
	ck_assert_int_lt(open_way(FERRY_UFFD_ANY), 0);
	after = dup(0);
	ck_assert_int_eq(before, after);
}
END_TEST

START_TEST(bad_params_are_refused)
{
	struct {
		struct ferry_uffd_params known;
		uint64_t unknown;
	} larger = { .known.size = sizeof(larger), .unknown = 1 };

	params.flags = 1u << 31;
	assert_fails(FERRY_UFFD_ANY, -EINVAL, FERRY_REASON_BAD_FLAGS);
	params.flags = 0;
	assert_fails((enum ferry_uffd_way)9, -EINVAL, FERRY_REASON_BAD_FLAGS);
	params.size = 0;
	assert_fails(FERRY_UFFD_ANY, -EINVAL, FERRY_REASON_BAD_FLAGS);
	ck_assert_int_eq(ferry_uffd_open(&larger.known, NULL, &uffd), -E2BIG);
}
END_TEST

START_TEST(flags_become_features)
{
	params.flags = FERRY_UFFD_SIGBUS;
	ck_assert_int_eq(open_way(FERRY_UFFD_ANY), 0);
	ck_assert(ferry_uffd_features(uffd) & FERRY_FEATURE_SIGBUS);
	ck_assert(!(ferry_uffd_features(uffd) & FERRY_FEATURE_WP_ASYNC));
	ferry_uffd_close(uffd);
	params.flags = 0;
	ck_assert_int_eq(open_way(FERRY_UFFD_ANY), 0);
	ck_assert(!(ferry_uffd_features(uffd) & FERRY_FEATURE_SIGBUS));
}
END_TEST

START_TEST(ways_have_names)
{
	ck_assert_str_eq(ferry_uffd_way_name(FERRY_UFFD_ANY), "any");
	ck_assert_str_eq(ferry_uffd_way_name(FERRY_UFFD_DEVICE), "device");
	ck_assert_str_eq(ferry_uffd_way_name(FERRY_UFFD_SYSCALL),
			 "system call");
	ck_assert_str_eq(ferry_uffd_way_name(FERRY_UFFD_USER_MODE),
			 "user mode only");
	ck_assert_ptr_nonnull(ferry_uffd_way_name((enum ferry_uffd_way)99));
}
END_TEST

START_TEST(each_reason_has_a_sentence)
{
	int i;

	for (i = -1; i <= FERRY_REASON_MAX; i++)
		ck_assert_uint_gt(
			strlen(ferry_reason_string((enum ferry_reason)i)), 4);
}
END_TEST

/* --- closing ------------------------------------------------------------- */

static void setup_open(void)
{
	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &uffd), 0);
}

START_TEST(a_closed_handle_answers_so)
{
	char *p = map_anon(page_size());
	size_t done = 1;

	ferry_uffd_close(uffd);
	ferry_uffd_close(uffd);
	ferry_uffd_close(NULL);
	ck_assert_int_eq(ferry_uffd_fd(uffd), -EBADF);
	ck_assert_uint_eq(ferry_uffd_features(uffd), 0);
	ck_assert_int_eq(ferry_uffd_register(uffd, p, page_size(),
					     FERRY_REGISTER_MISSING, &reason),
			 -EBADF);
	ck_assert_int_eq(reason, FERRY_REASON_CLOSED);
	ck_assert_int_eq(ferry_uffd_wake(uffd, p, page_size()), -EBADF);
	ck_assert_int_eq(ferry_uffd_zero(uffd, p, page_size(), 0, &done),
			 -EBADF);
	ck_assert_uint_eq(done, 0);
}
END_TEST

START_TEST(many_handles_are_all_different)
{
	struct ferry_uffd *handles[200];
	size_t n = harness_scaled(200), i;

	for (i = 0; i < n; i++) {
		ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &handles[i]), 0);
		if (i)
			ck_assert_ptr_ne(handles[i], handles[i - 1]);
	}
	for (i = 0; i < n; i++)
		ferry_uffd_close(handles[i]);
	/* Their memory is used again. */
	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &uffd), 0);
	for (i = 0; i < n && handles[i] != uffd; i++)
		;
	ck_assert_uint_lt(i, n);
}
END_TEST

struct shared {
	bool stop;
	size_t answers[3]; /* done, closed, anything else */
};

static void *wake_all_the_time(void *arg)
{
	struct shared *shared = arg;
	char *p = map_anon(page_size());
	int r;

	/* Relaxed: a wish to stop carries no data. */
	while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
		r = ferry_uffd_wake(__atomic_load_n(&uffd, __ATOMIC_ACQUIRE), p,
				    page_size());
		__atomic_fetch_add(&shared->answers[r == 0	  ? 0
						    : r == -EBADF ? 1
								  : 2],
				   1, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Has a call got through yet? Relaxed: a count, for which nobody waits. */
static bool used(const struct shared *shared)
{
	return __atomic_load_n(&shared->answers[0], __ATOMIC_RELAXED) > 0;
}

START_TEST(closing_under_use_lets_no_call_through)
{
	struct shared shared = { 0 };
	struct ferry_uffd *fresh;
	pthread_t threads[3];
	size_t i;

	for (i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL,
						wake_all_the_time, &shared),
				 0);
	for (i = 0; i < harness_scaled(2000) || !used(&shared); i++) {
		ferry_uffd_close(uffd);
		ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &fresh), 0);
		__atomic_store_n(&uffd, fresh, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&shared.stop, true, __ATOMIC_RELAXED);
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(shared.answers[2], 0);
}
END_TEST

/* --- children ------------------------------------------------------------ */

static int in_child(int (*fn)(void))
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (!pid)
		_exit(fn());
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static char *child_page;

static int child_uses_handles(void)
{
	struct ferry_uffd *own;

	if (ferry_uffd_wake(uffd, child_page, page_size()) != -ECHILD)
		return 1;
	if (ferry_uffd_open(NULL, NULL, &own))
		return 2;
	/* Its own works, the parent's still does not. */
	if (ferry_uffd_wake(own, child_page, page_size()))
		return 3;
	if (ferry_uffd_wake(uffd, child_page, page_size()) != -ECHILD)
		return 4;
	ferry_uffd_close(own);
	ferry_uffd_close(uffd);
	return ferry_uffd_wake(uffd, child_page, page_size()) == -EBADF ? 0 : 5;
}

START_TEST(a_child_opens_its_own)
{
	child_page = map_anon(page_size());
	ck_assert_int_eq(in_child(child_uses_handles), 0);
	/* What the child closed is open here. */
	ck_assert_int_eq(ferry_uffd_wake(uffd, child_page, page_size()), 0);
}
END_TEST

static int grandchild(void)
{
	struct ferry_uffd *parents;

	if (ferry_uffd_open(NULL, NULL, &parents))
		return 1;
	uffd = parents;
	return in_child(child_uses_handles) ? 2 : 0;
}

START_TEST(a_childs_child_opens_its_own)
{
	child_page = map_anon(page_size());
	ck_assert_int_eq(in_child(grandchild), 0);
}
END_TEST

/* --- registration -------------------------------------------------------- */

static int reg(void *addr, size_t len, unsigned int mode)
{
	return ferry_uffd_register(uffd, addr, len, mode, &reason);
}

START_TEST(registration_refuses_bad_ranges)
{
	char *p = map_anon(4 * page_size());
	size_t page = page_size();

	ck_assert_int_eq(reg(p + 1, page, FERRY_REGISTER_MISSING), -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_UNALIGNED);
	ck_assert_int_eq(reg(p, page + 1, FERRY_REGISTER_MISSING), -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_UNALIGNED);
	ck_assert_int_eq(reg(p, 0, FERRY_REGISTER_MISSING), -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_ZERO_LENGTH);
	ck_assert_int_eq(reg(p, 0 - page, FERRY_REGISTER_MISSING), -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_OVERFLOW);
	ck_assert_int_eq(reg(p, page, 0), -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_BAD_FLAGS);
	ck_assert_int_eq(reg(p, page, 1u << 20), -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_BAD_FLAGS);
	ck_assert_int_eq(reg(p, page, FERRY_REGISTER_MISSING), 0);
	ck_assert_int_eq(reason, FERRY_REASON_NONE);
}
END_TEST

START_TEST(registration_refuses_holes)
{
	char *p = map_anon(4 * page_size());
	size_t page = page_size();

	munmap(p + 2 * page, page);
	ck_assert_int_eq(reg(p, 4 * page, FERRY_REGISTER_MISSING), -ENOMEM);
	ck_assert_int_eq(reason, FERRY_REASON_UNMAPPED);
	ck_assert_int_eq(reg(p + 2 * page, page, FERRY_REGISTER_MISSING),
			 -ENOMEM);
	ck_assert_int_eq(reg(p, 2 * page, FERRY_REGISTER_MISSING), 0);
}
END_TEST

START_TEST(a_double_registration_is_refused_and_another_mode_is_not)
{
	char *p = map_anon(4 * page_size());
	size_t page = page_size();

	ck_assert_int_eq(reg(p, 4 * page, FERRY_REGISTER_MISSING), 0);
	ck_assert_int_eq(reg(p, 4 * page, FERRY_REGISTER_MISSING), -EEXIST);
	ck_assert_int_eq(reg(p + page, page, FERRY_REGISTER_MISSING), -EEXIST);
	ck_assert_int_eq(
		reg(p, 4 * page, FERRY_REGISTER_MISSING | FERRY_REGISTER_WP),
		0);
	ck_assert_int_eq(ferry_uffd_unregister(uffd, p, 4 * page), 0);
	ck_assert_int_eq(reg(p, 4 * page, FERRY_REGISTER_MISSING), 0);
}
END_TEST

START_TEST(memory_of_another_userfaultfd_is_refused)
{
	char *p = map_anon(4 * page_size());
	struct ferry_uffd *other;

	ck_assert_int_eq(ferry_uffd_open(NULL, NULL, &other), 0);
	ck_assert_int_eq(ferry_uffd_register(other, p, page_size(),
					     FERRY_REGISTER_MISSING, NULL),
			 0);
	ck_assert_int_eq(reg(p, 4 * page_size(), FERRY_REGISTER_MISSING),
			 -EBUSY);
	ck_assert_int_eq(reason, FERRY_REASON_OTHER_UFFD);
	ferry_uffd_close(other);
	ck_assert_int_eq(reg(p, 4 * page_size(), FERRY_REGISTER_MISSING), 0);
}
END_TEST

/* Injected: in a guest all files lie in tmpfs, which can be registered. */
START_TEST(file_memory_is_refused_by_name)
{
	struct inject_rule rule = fails(INJECT_IOCTL, EINVAL);
	int fd = open("/proc/self/exe", O_RDONLY);
	char *p = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE,
		       fd, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	rule.request = FERRY__UFFDIO_REGISTER;
	inject_start();
	inject_add(&rule);
	ck_assert_int_eq(reg(p, page_size(), FERRY_REGISTER_MISSING), -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_FILE);
}
END_TEST

START_TEST(an_unregistered_range_is_ordinary_memory)
{
	char *p = map_anon(page_size());

	ck_assert_int_eq(reg(p, page_size(), FERRY_REGISTER_MISSING), 0);
	ck_assert_int_eq(ferry_uffd_unregister(uffd, p, page_size()), 0);
	ck_assert_int_eq(*(volatile char *)p, 0);
	ck_assert_int_eq(ferry_uffd_unregister(uffd, p + 1, page_size()),
			 -EINVAL);
}
END_TEST

#define PLAIN(name, ...) TEST(name, "userfaultfd" __VA_ARGS__)
#define OPEN(name, ...)                                                        \
	TEST_FIXTURE(name, "userfaultfd" __VA_ARGS__, setup_open, NULL)

static const struct test tests[] = {
	PLAIN(each_way_opens),
	TEST(a_device_that_is_not_there, "userfaultfd"),
	TEST(a_device_that_may_not_be_opened, NULL),
	PLAIN(a_system_call_that_wants_privilege),
	TEST(a_system_call_that_is_filtered, "userfaultfd"),
	TEST(a_kernel_without_userfaultfd, NULL),
	TEST(a_kernel_without_user_mode, NULL),
	PLAIN(too_many_open_files),
	TEST(no_memory_for_a_descriptor, NULL),
	PLAIN(features_that_are_not_there),
	PLAIN(a_failed_open_leaves_no_descriptor),
	TEST(bad_params_are_refused, NULL),
	PLAIN(flags_become_features, ",sigbus"),
	TEST(ways_have_names, NULL),
	TEST(each_reason_has_a_sentence, NULL),
	OPEN(a_closed_handle_answers_so),
	OPEN(many_handles_are_all_different),
	OPEN(closing_under_use_lets_no_call_through),
	OPEN(a_child_opens_its_own),
	OPEN(a_childs_child_opens_its_own),
	OPEN(registration_refuses_bad_ranges),
	OPEN(registration_refuses_holes),
	OPEN(a_double_registration_is_refused_and_another_mode_is_not, ",wp"),
	OPEN(memory_of_another_userfaultfd_is_refused),
	OPEN(file_memory_is_refused_by_name),
	OPEN(an_unregistered_range_is_ordinary_memory),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
