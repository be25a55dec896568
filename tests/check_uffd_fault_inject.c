/* SPDX-License-Identifier: MIT */
/* What the fault service does when the kernel refuses or is slow. */
#include <ferry/fault.h>

#include <errno.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/inject.h"
#include "tests/memory.h"
#include "tests/served.h"
#include "uffd/uapi.h"

static struct served s;

#define TEST_BOTH_MOVING(name)                                                 \
	TEST(name##_in_sigbus_mode, "move,sigbus"),                            \
		TEST(name##_in_thread_mode, "move")

static struct inject_rule strike(unsigned long request, int error,
				 uint64_t count)
{
	struct inject_rule rule = {
		.call = INJECT_IOCTL,
		.request = request,
		.error = error,
		.count = count,
	};

	return rule;
}

/* Serves a window of 16 while @rule is in force; every page must arrive. */
static struct ferry_fault_stats serve_under(enum ferry_fault_mode mode,
					    struct inject_rule *rule)
{
	inject_start();
	served_start(&s, mode, 16, 16);
	inject_add(rule);
	assert_pages(s.dst, s.len, 1);
	ck_assert_uint_gt(inject_hits(rule), 0);
	return served_stop(&s);
}

static void changing_mappings_are_waited_out(enum ferry_fault_mode mode)
{
	struct inject_rule rule = strike(FERRY__UFFDIO_MOVE, EAGAIN, 3);

	rule.field = INJECT_FIELD_KERNEL;
	ck_assert_uint_eq(serve_under(mode, &rule).refused, 0);
}
BOTH_MODES(changing_mappings_are_waited_out)

/* Longer than the patience of one move: the fault comes again. */
static void changing_for_long_is_touched_again(enum ferry_fault_mode mode)
{
	struct inject_rule rule = strike(FERRY__UFFDIO_MOVE, EAGAIN, 200);
	struct ferry_fault_stats stats;

	rule.field = INJECT_FIELD_STALE;
	stats = serve_under(mode, &rule);
	ck_assert_uint_eq(stats.refused, 0);
	ck_assert_uint_gt(served_asked(&s), 1);
}
BOTH_MODES(changing_for_long_is_touched_again)

static void busy_page_is_copied(enum ferry_fault_mode mode)
{
	struct inject_rule rule =
		strike(FERRY__UFFDIO_MOVE, EBUSY, INJECT_ALWAYS);
	struct ferry_fault_stats stats;

	stats = serve_under(mode, &rule);
	ck_assert_uint_eq(stats.pages_copied, 16);
	ck_assert_uint_eq(stats.pages_moved, 0);
	ck_assert_uint_eq(stats.refused, 0);
}
BOTH_MODES(busy_page_is_copied)

static void busy_page_in_the_window_only_is_copied(enum ferry_fault_mode mode)
{
	struct inject_rule rule =
		strike(FERRY__UFFDIO_MOVE, EBUSY, INJECT_ALWAYS);

	inject_start();
	served_start(&s, mode, 16, 16);
	rule.at = (uintptr_t)(s.src + 5 * s.page);
	inject_add(&rule);
	touch(s.dst);
	assert_pages(s.dst, s.len, 1);
	ck_assert_uint_ge(served_stop(&s).pages_moved, 5);
}
BOTH_MODES(busy_page_in_the_window_only_is_copied)

/* The page is brought between question and move, as by another thread. */
static void bring(void *arg)
{
	(void)arg;
	EXPECT(!ferry_uffd_copy(ferry_fault_service_uffd(s.service), s.dst,
				s.src, s.page, FERRY_OP_NO_WAKE, NULL));
}

static void page_that_another_brought_will_do(enum ferry_fault_mode mode)
{
	struct inject_rule rule = strike(FERRY__UFFDIO_MOVE, 0, 1);
	struct ferry_fault_stats stats;

	inject_start();
	served_start(&s, mode, 1, 1);
	rule.hook = bring;
	inject_add(&rule);
	assert_pages(s.dst, s.len, 1);
	stats = served_stop(&s);
	ck_assert_uint_eq(stats.raced, 1);
	ck_assert_uint_eq(stats.faults, 1);
	ck_assert_uint_eq(stats.pages_moved, 0);
}
BOTH_MODES(page_that_another_brought_will_do)

static void source_taken_once_is_asked_for_again(enum ferry_fault_mode mode)
{
	struct inject_rule rule = strike(FERRY__UFFDIO_MOVE, ENOENT, 3);
	struct ferry_fault_stats stats;

	inject_start();
	served_start(&s, mode, 1, 1);
	/* A hole for as long as the rule is in force. */
	inject_add(&rule);
	assert_pages(s.dst, s.len, 1);
	ck_assert_uint_gt(served_asked(&s), 1);
	stats = served_stop(&s);
	ck_assert_uint_eq(stats.refused, 0);
	ck_assert_uint_eq(stats.faults, 1);
}
BOTH_MODES(source_taken_once_is_asked_for_again)

static void want_of_memory_is_waited_out(enum ferry_fault_mode mode)
{
	struct inject_rule rule = strike(FERRY__UFFDIO_COPY, ENOMEM, 5);
	struct ferry_fault_stats stats;

	s.kind = FERRY_SUPPLY_COPY;
	stats = serve_under(mode, &rule);
	ck_assert_uint_eq(stats.refused, 0);
	ck_assert_uint_eq(stats.pages_copied, 16);
}
BOTH_MODES(want_of_memory_is_waited_out)

static void short_copy_is_continued(enum ferry_fault_mode mode)
{
	struct inject_rule rule = strike(FERRY__UFFDIO_COPY, EAGAIN, 1);

	s.kind = FERRY_SUPPLY_COPY;
	rule.done = 3 * page_size();
	ck_assert_uint_eq(serve_under(mode, &rule).pages_copied, 16);
}
BOTH_MODES(short_copy_is_continued)

/* --- refusal ------------------------------------------------------------- */

static void refused_resolve(int error)
{
	struct inject_rule rule =
		strike(FERRY__UFFDIO_MOVE, error, INJECT_ALWAYS);

	served_start(&s, FERRY_FAULT_SIGBUS, 16, 16);
	inject_start();
	inject_add(&rule);
	ck_assert_int_eq(ferry_fault_resolve(s.service, s.dst), -error);
	inject_stop();
	ck_assert_uint_eq(served_stop(&s).refused, 1);
}

START_TEST(lasting_errors_end_in_a_refusal)
{
	refused_resolve(ENOMEM);
	refused_resolve(EFAULT);
}
END_TEST

/* The signal by which a touch of a refused page ends a process. */
static int end_of_who_touches(struct inject_rule *rule)
{
	int status;
	pid_t pid;

	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
		s.kind = FERRY_SUPPLY_NONE;
		inject_start();
		served_start(&s, FERRY_FAULT_THREAD, 4, 1);
		inject_add(rule);
		_exit(touch(s.dst));
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFSIGNALED(status));
	return WTERMSIG(status);
}

/* A kernel without UFFDIO_POISON. */
START_TEST(refused_page_loses_its_access_where_poison_is_unknown)
{
	struct inject_rule rule =
		strike(FERRY__UFFDIO_POISON, EINVAL, INJECT_ALWAYS);

	ck_assert_int_eq(end_of_who_touches(&rule), SIGSEGV);
}
END_TEST

/* Access that was taken would not come back with the page. */
START_TEST(refused_page_keeps_its_access_where_poison_fails_for_once)
{
	struct inject_rule rule = strike(FERRY__UFFDIO_POISON, ENOMEM, 3);

	ck_assert_int_eq(end_of_who_touches(&rule), SIGBUS);
}
END_TEST

/* --- creation and attachment --------------------------------------------- */

static int create(enum ferry_fault_mode mode, enum ferry_reason *ret_reason)
{
	struct ferry_fault_params params =
		FERRY_INIT(struct ferry_fault_params);

	params.mode = mode;
	params.threads = 2;
	return ferry_fault_service_create(&params, ret_reason, &s.service);
}

static void creation_fails(enum ferry_fault_mode mode, struct inject_rule rule)
{
	enum ferry_reason reason;
	size_t before;

	/* Once without, so that what stays open for good is there. */
	ck_assert_int_eq(create(mode, NULL), 0);
	ferry_fault_service_destroy(s.service);
	ferry_signal_restore(SIGBUS);
	before = harness_descriptors();
	inject_start();
	inject_add(&rule);
	ck_assert_int_eq(create(mode, &reason), -rule.error);
	ck_assert_uint_eq(inject_hits(&rule), 1);
	inject_stop();
	ck_assert_uint_eq(harness_descriptors(), before);
}

START_TEST(failed_creation_leaves_nothing_open)
{
	struct inject_rule rule = { .error = EMFILE };

	rule.call = INJECT_EVENTFD;
	creation_fails(FERRY_FAULT_THREAD, rule);
	rule.error = EINVAL;
	rule.call = INJECT_SIGACTION;
	creation_fails(FERRY_FAULT_SIGBUS, rule);
}
END_TEST

/* Each mapping that creation makes fails once. */
START_TEST(creation_survives_want_of_memory_at_any_point)
{
	struct inject_rule rule = { .call = INJECT_MMAP, .error = ENOMEM };
	size_t before;

	ck_assert_int_eq(create(FERRY_FAULT_THREAD, NULL), 0);
	ferry_fault_service_destroy(s.service);
	before = harness_descriptors();
	for (rule.nth = 1; rule.nth < 20; rule.nth++) {
		rule.hits = rule.seen = 0;
		inject_start();
		inject_add(&rule);
		if (!create(FERRY_FAULT_THREAD, NULL))
			ferry_fault_service_destroy(s.service);
		inject_stop();
		ck_assert_uint_eq(harness_descriptors(), before);
		if (!rule.hits)
			break;
	}
	ck_assert_uint_gt(rule.nth, 3);
	ck_assert_uint_lt(rule.nth, 20);
}
END_TEST

START_TEST(failed_attach_leaves_nothing_behind)
{
	struct inject_rule no_memory = { .call = INJECT_MMAP, .error = ENOMEM };
	struct inject_rule no_register =
		strike(FERRY__UFFDIO_REGISTER, EBUSY, 1);
	enum ferry_reason reason;

	served_start(&s, FERRY_FAULT_SIGBUS, 4, 1);
	served_detach(&s);
	inject_start();
	inject_add(&no_register);
	ck_assert_int_eq(ferry_fault_attach(s.service, s.dst, s.len,
					    served_supply, &s, &reason),
			 -EBUSY);
	ck_assert_int_eq(reason, FERRY_REASON_OTHER_UFFD);
	for (no_memory.nth = 1; no_memory.nth <= 2; no_memory.nth++) {
		inject_stop();
		inject_start();
		no_memory.seen = no_memory.hits = 0;
		inject_add(&no_memory);
		ck_assert_int_eq(ferry_fault_attach(s.service, s.dst, s.len,
						    served_supply, &s, &reason),
				 -ENOMEM);
		ck_assert_int_eq(reason, FERRY_REASON_NO_MEMORY);
	}
	inject_stop();
	ck_assert_int_eq(ferry_fault_attach(s.service, s.dst, s.len,
					    served_supply, &s, &reason),
			 0);
	assert_pages(s.dst, s.len, 1);
	served_stop(&s);
}
END_TEST

START_TEST(detach_needs_no_memory)
{
	struct inject_rule rule = { .call = INJECT_MMAP,
				    .error = ENOMEM,
				    .count = INJECT_ALWAYS };
	struct served other = { 0 };

	served_start(&s, FERRY_FAULT_SIGBUS, 4, 1);
	served_add(&other, &s, 4);
	inject_start();
	inject_add(&rule);
	served_detach(&s);
	assert_pages(other.dst, other.len, 1);
	served_detach(&other);
	ferry_fault_service_destroy(s.service);
}
END_TEST

/* --- handler threads ----------------------------------------------------- */

START_TEST(interrupted_handler_thread_goes_on)
{
	struct inject_rule poll = { .call = INJECT_POLL,
				    .error = EINTR,
				    .count = 5 };
	struct inject_rule read = { .call = INJECT_READ,
				    .error = EAGAIN,
				    .count = 5 };

	/* Before its threads run: they look at the table. */
	inject_start();
	inject_add(&poll);
	served_start(&s, FERRY_FAULT_THREAD, 16, 1);
	inject_add(&read);
	assert_pages(s.dst, s.len, 1);
	ck_assert_uint_eq(inject_hits(&poll), 5);
	served_stop(&s);
}
END_TEST

static const struct test tests[] = {
	TEST_BOTH_MOVING(changing_mappings_are_waited_out),
	TEST_BOTH_MOVING(changing_for_long_is_touched_again),
	TEST_BOTH_MOVING(busy_page_is_copied),
	TEST_BOTH_MOVING(busy_page_in_the_window_only_is_copied),
	TEST_BOTH_MOVING(page_that_another_brought_will_do),
	TEST_BOTH_MOVING(source_taken_once_is_asked_for_again),
	TEST_BOTH(want_of_memory_is_waited_out),
	TEST_BOTH(short_copy_is_continued),
	TEST(lasting_errors_end_in_a_refusal, "move,sigbus"),
	TEST(refused_page_loses_its_access_where_poison_is_unknown,
	     "userfaultfd"),
	TEST(refused_page_keeps_its_access_where_poison_fails_for_once,
	     "userfaultfd,poison"),
	TEST(failed_creation_leaves_nothing_open, "sigbus"),
	TEST(creation_survives_want_of_memory_at_any_point, "userfaultfd"),
	TEST(failed_attach_leaves_nothing_behind, "sigbus"),
	TEST(detach_needs_no_memory, "sigbus"),
	TEST(interrupted_handler_thread_goes_on, "userfaultfd"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
