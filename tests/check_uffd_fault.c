/* SPDX-License-Identifier: MIT */
/* What a fault gets, by each kind of answer, in both modes of the service. */
#include <ferry/fault.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/served.h"
#include "uffd/uapi.h"

#define PAGES 512

static struct served s;

/* --- answers ------------------------------------------------------------- */

static const size_t arounds[] = { 1, 16, 64, 512 };

static void touch_all(enum ferry_fault_mode mode, enum ferry_supply_kind kind,
		      size_t around)
{
	struct ferry_fault_stats stats;

	s.kind = kind;
	served_start(&s, mode, PAGES, around);
	assert_pages(s.dst, s.len, 1);
	stats = served_stop(&s);
	ck_assert_uint_eq(stats.faults, PAGES / around);
	ck_assert_uint_eq(stats.pages_moved + stats.pages_copied, PAGES);
	ck_assert_uint_eq(stats.refused, 0);
}

static void each_page_is_moved_once(enum ferry_fault_mode mode)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(arounds); i++)
		touch_all(mode, FERRY_SUPPLY_MOVE, arounds[i]);
}
BOTH_MODES(each_page_is_moved_once)

static void each_page_is_copied_once(enum ferry_fault_mode mode)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(arounds); i++)
		touch_all(mode, FERRY_SUPPLY_COPY, arounds[i]);
}
BOTH_MODES(each_page_is_copied_once)

static void moving_leaves_the_source_empty(enum ferry_fault_mode mode)
{
	served_start(&s, mode, 4, 1);
	touch(s.dst + s.page);
	/* Emulation drops the source after the page has come. */
	served_detach(&s);
	ck_assert(page_there(s.dst + s.page));
	ck_assert(!page_there(s.src + s.page));
	ck_assert(page_there(s.src));
	ferry_fault_service_destroy(s.service);
}
BOTH_MODES(moving_leaves_the_source_empty)

static void zero_pages_are_given(enum ferry_fault_mode mode)
{
	struct ferry_fault_stats stats;

	s.kind = FERRY_SUPPLY_ZERO;
	served_start(&s, mode, 64, 16);
	ck_assert(is_zero(s.dst, s.len));
	stats = served_stop(&s);
	ck_assert_uint_eq(stats.pages_zeroed, 64);
	ck_assert_uint_eq(stats.faults, 4);
}
BOTH_MODES(zero_pages_are_given)

static void install_by_hand(struct served *at, const struct ferry_fault *fault,
			    struct ferry_supply *ret)
{
	struct ferry_uffd *uffd = ferry_fault_service_uffd(at->service);

	EXPECT(!ferry_uffd_copy(uffd, fault->page, at->src + fault->offset,
				at->page, FERRY_OP_NO_WAKE, NULL));
	ret->kind = FERRY_SUPPLY_DONE;
}

static void supplier_may_install_the_page_itself(enum ferry_fault_mode mode)
{
	s.change = install_by_hand;
	served_start(&s, mode, 16, 1);
	assert_pages(s.dst, s.len, 1);
	ck_assert_uint_eq(served_stop(&s).faults, 16);
}
BOTH_MODES(supplier_may_install_the_page_itself)

static void not_before_the_hundredth(struct served *at,
				     const struct ferry_fault *fault,
				     struct ferry_supply *ret)
{
	(void)fault;
	if (served_asked(at) < 100)
		ret->kind = FERRY_SUPPLY_AGAIN;
}

static void again_asks_until_there_is_an_answer(enum ferry_fault_mode mode)
{
	struct ferry_fault_stats stats;

	s.change = not_before_the_hundredth;
	served_start(&s, mode, 1, 1);
	assert_pages(s.dst, s.len, 1);
	stats = served_stop(&s);
	ck_assert_uint_eq(stats.again, 99);
	ck_assert_uint_eq(stats.faults, 1);
	ck_assert_uint_eq(stats.refused, 0);
}
BOTH_MODES(again_asks_until_there_is_an_answer)

/* --- answers that make no sense ------------------------------------------ */

static void miss_the_page(struct served *at, const struct ferry_fault *fault,
			  struct ferry_supply *ret)
{
	ret->offset = fault->offset + at->page;
}

static void unaligned(struct served *at, const struct ferry_fault *fault,
		      struct ferry_supply *ret)
{
	(void)at;
	(void)fault;
	ret->len -= 1;
}

static void too_short(struct served *at, const struct ferry_fault *fault,
		      struct ferry_supply *ret)
{
	(void)at;
	(void)fault;
	ret->len = 0;
}

static void no_kind(struct served *at, const struct ferry_fault *fault,
		    struct ferry_supply *ret)
{
	(void)at;
	(void)fault;
	ret->kind = 0;
}

static void odd_source(struct served *at, const struct ferry_fault *fault,
		       struct ferry_supply *ret)
{
	(void)fault;
	ret->src = at->src + 1;
}

START_TEST(senseless_answer_is_refused)
{
	static void (*const bad[])(struct served *, const struct ferry_fault *,
				   struct ferry_supply *) = {
		miss_the_page, unaligned, too_short, no_kind, odd_source
	};
	size_t i;

	served_start(&s, FERRY_FAULT_SIGBUS, 64, 16);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		s.change = bad[i];
		ck_assert_int_eq(
			ferry_fault_resolve(s.service, s.dst + 3 * s.page),
			-EINVAL);
	}
	ck_assert(!page_there(s.dst + 3 * s.page));
	ck_assert_uint_eq(served_stop(&s).refused, ARRAY_SIZE(bad));
}
END_TEST

static void unmapped_source(struct served *at, const struct ferry_fault *fault,
			    struct ferry_supply *ret)
{
	(void)at;
	(void)fault;
	ret->src = NULL;
}

START_TEST(unmapped_source_is_refused)
{
	s.change = unmapped_source;
	served_start(&s, FERRY_FAULT_SIGBUS, 4, 1);
	ck_assert_int_eq(ferry_fault_resolve(s.service, s.dst), -ENOENT);
	served_answer(&s, FERRY_SUPPLY_COPY);
	ck_assert_int_eq(ferry_fault_resolve(s.service, s.dst), -EFAULT);
	served_stop(&s);
}
END_TEST

/* --- refused pages ------------------------------------------------------- */

static sigjmp_buf escape;
static volatile sig_atomic_t signals;

static void jump_out(int sig)
{
	signals++;
	siglongjmp(escape, sig);
}

static void catch (int sig)
{
	struct sigaction act = { .sa_handler = jump_out };

	ck_assert_int_eq(sigaction(sig, &act, NULL), 0);
}

static void nothing_to_be_had_raises_a_signal(enum ferry_fault_mode mode)
{
	const char *reason;
	int sig;

	catch (SIGBUS);
	catch (SIGSEGV);
	s.kind = FERRY_SUPPLY_NONE;
	served_start(&s, mode, 4, 1);
	sig = sigsetjmp(escape, 1);
	if (!sig) {
		touch(s.dst + s.page);
		ck_abort_msg("the page was there");
	}
	if (mode == FERRY_FAULT_SIGBUS || harness_feature("poison", &reason))
		ck_assert_int_eq(sig, SIGBUS);
	ck_assert_int_eq(signals, 1);
	ck_assert_uint_eq(served_stop(&s).refused, 1);
}
BOTH_MODES(nothing_to_be_had_raises_a_signal)

START_TEST(resolving_a_refused_page_leaves_it_absent)
{
	s.kind = FERRY_SUPPLY_NONE;
	served_start(&s, FERRY_FAULT_THREAD, 1, 1);
	ck_assert_int_eq(ferry_fault_resolve(s.service, s.dst), -ENODATA);
	served_answer(&s, FERRY_SUPPLY_MOVE);
	assert_pages(s.dst, s.len, 1);
	served_stop(&s);
}
END_TEST

/* --- busy sources -------------------------------------------------------- */

/* A child that shares all pages with this process until it is told to end. */
static pid_t share_pages(int *ret_tell)
{
	int pipe_fds[2];
	char c;
	pid_t pid;

	ck_assert_int_eq(pipe(pipe_fds), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		close(pipe_fds[1]);
		_exit((int)read(pipe_fds[0], &c, 1));
	}
	close(pipe_fds[0]);
	*ret_tell = pipe_fds[1];
	return pid;
}

static void forked_source(enum ferry_fault_mode mode, enum ferry_busy busy)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);
	struct ferry_fault_stats stats;
	int tell, status;
	pid_t pid;

	params.mode = mode;
	params.around = 16;
	params.busy = busy;
	served_start_with(&s, &params, 64);
	pid = share_pages(&tell);
	assert_pages(s.dst, s.len, 1);
	close(tell);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	stats = served_stop(&s);
	ck_assert_uint_eq(stats.pages_moved + stats.pages_copied, 64);
	if (busy != FERRY_BUSY_EXCLUSIVE)
		ck_assert_uint_gt(stats.pages_copied, 0);
	ck_assert_uint_eq(stats.refused, 0);
}

static void busy_pages_are_copied(enum ferry_fault_mode mode)
{
	static const enum ferry_busy policies[] = {
		FERRY_BUSY_REPORT, FERRY_BUSY_RETRY, FERRY_BUSY_EXCLUSIVE,
		FERRY_BUSY_COPY, FERRY_BUSY_SKIP
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(policies); i++)
		forked_source(mode, policies[i]);
}
BOTH_MODES(busy_pages_are_copied)

/* --- system calls -------------------------------------------------------- */

static ssize_t write_out(const char *buf, size_t n)
{
	int fds[2];
	ssize_t r;

	ck_assert_int_eq(pipe(fds), 0);
	r = write(fds[1], buf, n);
	if (r < 0)
		r = -errno;
	close(fds[0]);
	close(fds[1]);
	return r;
}

static ssize_t read_in(char *buf, size_t n)
{
	int fds[2];
	ssize_t r;

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(write(fds[1], "ferry", 5), 5);
	r = read(fds[0], buf, n);
	if (r < 0)
		r = -errno;
	close(fds[0]);
	close(fds[1]);
	return r;
}

START_TEST(system_calls_fail_on_absent_pages_in_sigbus_mode)
{
	served_start(&s, FERRY_FAULT_SIGBUS, 4, 1);
	ck_assert_int_eq(write_out(s.dst, s.page), -EFAULT);
	ck_assert_int_eq(read_in(s.dst + s.page, 5), -EFAULT);
	ck_assert_int_eq(ferry_fault_resolve(s.service, s.dst), 0);
	ck_assert_int_eq(ferry_fault_resolve(s.service, s.dst + s.page), 0);
	ck_assert_int_eq(write_out(s.dst, s.page), (ssize_t)s.page);
	ck_assert_int_eq(read_in(s.dst + s.page, 5), 5);
	ck_assert(!memcmp(s.dst + s.page, "ferry", 5));
	ck_assert(page_holds(s.dst, 1));
	served_stop(&s);
}
END_TEST

START_TEST(system_calls_wait_in_thread_mode)
{
	served_start(&s, FERRY_FAULT_THREAD, 4, 1);
	ck_assert_int_eq(write_out(s.dst, s.page), (ssize_t)s.page);
	ck_assert_int_eq(read_in(s.dst + s.page, 5), 5);
	ck_assert(!memcmp(s.dst + s.page, "ferry", 5));
	ck_assert(page_holds(s.dst, 1));
	served_stop(&s);
}
END_TEST

START_TEST(system_calls_fail_where_only_user_faults_are_granted)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);

	params.mode = FERRY_FAULT_THREAD;
	params.way = FERRY_UFFD_USER_MODE;
	served_start_with(&s, &params, 4);
	ck_assert_int_eq(write_out(s.dst, s.page), -EFAULT);
	ck_assert(page_holds(s.dst, 1));
	ck_assert_int_eq(write_out(s.dst, s.page), (ssize_t)s.page);
	served_stop(&s);
}
END_TEST

/* --- resolve ------------------------------------------------------------- */

static void resolving_asks_for_absent_pages_only(enum ferry_fault_mode mode)
{
	served_start(&s, mode, 64, 16);
	ck_assert_int_eq(
		ferry_fault_resolve(s.service, s.dst + 17 * s.page + 5), 0);
	ck_assert(page_there(s.dst + 16 * s.page));
	ck_assert(page_there(s.dst + 31 * s.page));
	ck_assert(!page_there(s.dst + 15 * s.page));
	ck_assert_int_eq(ferry_fault_resolve(s.service, s.dst + 17 * s.page),
			 0);
	ck_assert_uint_eq(served_asked(&s), 1);
	ck_assert_int_eq(ferry_fault_resolve(s.service, s.src), -ENOENT);
	served_stop(&s);
}
BOTH_MODES(resolving_asks_for_absent_pages_only)

/* --- write-protected pages ----------------------------------------------- */

static void protect_is_told(struct served *at, const struct ferry_fault *fault,
			    struct ferry_supply *ret)
{
	at->last = *fault;
	if (fault->protect)
		ret->kind = FERRY_SUPPLY_DONE;
}

START_TEST(writer_of_a_protected_page_goes_on)
{
	struct ferry__uffdio_register reg = {
		.mode = FERRY__REGISTER_MISSING | FERRY__REGISTER_WP,
	};
	struct ferry_uffd *uffd;

	s.change = protect_is_told;
	served_start(&s, FERRY_FAULT_THREAD, 4, 1);
	uffd = ferry_fault_service_uffd(s.service);
	reg.range.start = (uintptr_t)s.dst;
	reg.range.len = s.len;
	ck_assert_int_eq(
		ioctl(ferry_uffd_fd(uffd), FERRY__UFFDIO_REGISTER, &reg), 0);
	ck_assert(page_holds(s.dst, 1));
	ck_assert_int_eq(ferry_uffd_writeprotect(uffd, s.dst, s.page, true, 0),
			 0);
	*(volatile char *)s.dst = 'w';
	ck_assert_int_eq(s.dst[0], 'w');
	ck_assert_uint_eq(served_stop(&s).faults, 2);
	ck_assert(s.last.protect);
	ck_assert(s.last.write);
	ck_assert_uint_eq(s.last.window_len, s.page);
}
END_TEST

/* --- several of everything ----------------------------------------------- */

static void ranges_of_a_service_are_told_apart(enum ferry_fault_mode mode)
{
	static struct served more[40];
	size_t i;

	served_start(&s, mode, 4, 4);
	for (i = 0; i < ARRAY_SIZE(more); i++)
		served_add(&more[i], &s, 8);
	for (i = 0; i < ARRAY_SIZE(more); i++)
		fill_pages(more[i].src, more[i].len, 1000 * i);
	/* Every other one goes, and the rest is served all the same. */
	for (i = 0; i < ARRAY_SIZE(more); i += 2)
		served_detach(&more[i]);
	for (i = 1; i < ARRAY_SIZE(more); i += 2)
		assert_pages(more[i].dst, more[i].len, 1000 * i);
	assert_pages(s.dst, s.len, 1);
	ck_assert(is_zero(more[0].dst, more[0].len));
	ferry_fault_service_destroy(s.service);
}
BOTH_MODES(ranges_of_a_service_are_told_apart)

START_TEST(services_live_side_by_side)
{
	struct served a = { 0 }, b = { 0 }, c = { 0 };

	served_start(&a, FERRY_FAULT_SIGBUS, 64, 1);
	served_start(&b, FERRY_FAULT_THREAD, 64, 1);
	c.kind = FERRY_SUPPLY_ZERO;
	served_start(&c, FERRY_FAULT_SIGBUS, 64, 16);
	assert_pages(b.dst, b.len, 1);
	ck_assert(is_zero(c.dst, c.len));
	served_stop(&c);
	assert_pages(a.dst, a.len, 1);
	ck_assert_uint_eq(served_stop(&a).faults, 64);
	ck_assert_uint_eq(served_stop(&b).faults, 64);
}
END_TEST

START_TEST(ranges_may_not_overlap)
{
	struct served a = { 0 }, b = { 0 };
	enum ferry_reason reason;

	served_start(&a, FERRY_FAULT_SIGBUS, 8, 1);
	served_start(&b, FERRY_FAULT_THREAD, 8, 1);
	ck_assert_int_eq(ferry_fault_attach(a.service, a.dst, a.page,
					    served_supply, &a, &reason),
			 -EEXIST);
	ck_assert_int_eq(ferry_fault_attach(b.service, a.dst + 7 * a.page,
					    a.page, served_supply, &a, NULL),
			 -EEXIST);
	ck_assert_int_eq(ferry_fault_attach(a.service, a.dst + 1, a.page,
					    served_supply, &a, &reason),
			 -EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_UNALIGNED);
	ck_assert_int_eq(
		ferry_fault_attach(a.service, a.dst, a.page, NULL, &a, NULL),
		-EINVAL);
	served_stop(&b);
	served_stop(&a);
}
END_TEST

START_TEST(memory_that_cannot_be_registered_is_refused_with_a_reason)
{
	struct served a = { 0 };
	enum ferry_reason reason = FERRY_REASON_NONE;

	served_start(&a, FERRY_FAULT_SIGBUS, 8, 1);
	ck_assert_int_eq(munmap(a.src, a.len), 0);
	ck_assert_int_lt(ferry_fault_attach(a.service, a.src, a.len,
					    served_supply, &a, &reason),
			 0);
	ck_assert_int_ne(reason, FERRY_REASON_NONE);
	/* And nothing is left of it in the table. */
	ck_assert_ptr_eq(mmap(a.src, a.len, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 a.src);
	ck_assert_int_eq(ferry_fault_attach(a.service, a.src, a.len,
					    served_supply, &a, &reason),
			 0);
	ck_assert_int_eq(reason, FERRY_REASON_NONE);
	ferry_fault_service_destroy(a.service);
}
END_TEST

static void *compare_all(void *arg)
{
	struct served *at = arg;

	EXPECT(served_pages_hold(at->dst, at->len, 1));
	return NULL;
}

static void many_threads_fault_on_one_range(enum ferry_fault_mode mode)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);
	pthread_t threads[8];
	size_t i;

	params.mode = mode;
	params.around = 4;
	params.threads = 3;
	served_start_with(&s, &params, 2 * PAGES);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(
			pthread_create(&threads[i], NULL, compare_all, &s), 0);
	for (i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	served_stop(&s);
}
BOTH_MODES(many_threads_fault_on_one_range)

START_TEST(parameters_are_checked)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);
	struct {
		struct ferry_fault_params params;
		uint64_t unknown;
	} larger = { .params.size = sizeof(larger), .unknown = 1 };
	enum ferry_reason reason;

	ck_assert_int_eq(ferry_fault_service_create(&params, NULL, &s.service),
			 -EINVAL);
	params.mode = FERRY_FAULT_THREAD;
	params.uffd_flags = FERRY_UFFD_SIGBUS;
	ck_assert_int_eq(
		ferry_fault_service_create(&params, &reason, &s.service),
		-EINVAL);
	ck_assert_int_eq(reason, FERRY_REASON_BAD_FLAGS);
	params.uffd_flags = 0;
	params.around = SIZE_MAX;
	ck_assert_int_eq(ferry_fault_service_create(&params, NULL, &s.service),
			 -EINVAL);
	larger.params.mode = FERRY_FAULT_THREAD;
	ck_assert_int_eq(
		ferry_fault_service_create(&larger.params, NULL, &s.service),
		-E2BIG);
	ferry_fault_service_destroy(NULL);
}
END_TEST

static const struct test tests[] = {
	TEST_BOTH(each_page_is_moved_once),
	TEST_BOTH(each_page_is_copied_once),
	TEST_BOTH(moving_leaves_the_source_empty),
	TEST_BOTH(zero_pages_are_given),
	TEST_BOTH(supplier_may_install_the_page_itself),
	TEST_BOTH(again_asks_until_there_is_an_answer),
	TEST(senseless_answer_is_refused, "sigbus"),
	TEST(unmapped_source_is_refused, "sigbus"),
	TEST_BOTH(nothing_to_be_had_raises_a_signal),
	TEST(resolving_a_refused_page_leaves_it_absent, "userfaultfd"),
	TEST_BOTH(busy_pages_are_copied),
	TEST(system_calls_fail_on_absent_pages_in_sigbus_mode, "sigbus"),
	TEST(system_calls_wait_in_thread_mode, "kernel_faults"),
	TEST(system_calls_fail_where_only_user_faults_are_granted,
	     "userfaultfd"),
	TEST_BOTH(resolving_asks_for_absent_pages_only),
	TEST(writer_of_a_protected_page_goes_on, "wp"),
	TEST_BOTH(ranges_of_a_service_are_told_apart),
	TEST(services_live_side_by_side, "sigbus"),
	TEST(ranges_may_not_overlap, "sigbus"),
	TEST(memory_that_cannot_be_registered_is_refused_with_a_reason,
	     "sigbus"),
	TEST_BOTH(many_threads_fault_on_one_range),
	TEST(parameters_are_checked, NULL),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
