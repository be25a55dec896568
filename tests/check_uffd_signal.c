/* SPDX-License-Identifier: MIT */
/*
 * The SIGBUS handler between the fault service and the host: what is served
 * is not seen by the host, what is not is delivered as if nobody were between.
 */
#include <ferry/fault.h>

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness.h"
#include "tests/memory.h"
#include "tests/served.h"
#include "uffd/signal.h"

static struct served s;

/* A page beyond the end of its file: touching it raises the host's SIGBUS. */
static char *page_beyond_file(void)
{
	char name[] = "/tmp/check_uffd_signal.XXXXXX";
	int fd = mkstemp(name);
	char *p;

	ck_assert_int_ge(fd, 0);
	unlink(name);
	p = mmap(NULL, page_size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(p, MAP_FAILED);
	close(fd);
	return p;
}

/* --- what the host's handler saw ----------------------------------------- */

static struct {
	volatile sig_atomic_t count;
	int sig;
	siginfo_t info;
	void *context;
	sigset_t mask;
} seen;

static sigjmp_buf escape;

static void note(int sig, siginfo_t *info, void *context)
{
	seen.count++;
	seen.sig = sig;
	if (info)
		seen.info = *info;
	seen.context = context;
	pthread_sigmask(SIG_SETMASK, NULL, &seen.mask);
}

static void note_and_jump(int sig, siginfo_t *info, void *context)
{
	note(sig, info, context);
	siglongjmp(escape, 1);
}

static void plain_and_jump(int sig)
{
	note(sig, NULL, NULL);
	siglongjmp(escape, 1);
}

static void set_action(const struct sigaction *act)
{
	ck_assert_int_eq(sigaction(SIGBUS, act, NULL), 0);
}

static void host_handles(void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction act = { .sa_sigaction = fn };

	act.sa_flags = SA_SIGINFO | flags;
	sigaddset(&act.sa_mask, SIGUSR1);
	set_action(&act);
}

/* Touches @addr; true if the host's handler jumped out. */
static bool host_sees(const char *addr)
{
	if (sigsetjmp(escape, 1))
		return true;
	touch(addr);
	return false;
}

/* --- passing on ---------------------------------------------------------- */

START_TEST(host_sees_its_own_faults_and_none_of_ours)
{
	char *bad = page_beyond_file();

	host_handles(note_and_jump, 0);
	served_start(&s, FERRY_FAULT_SIGBUS, 64, 1);
	assert_pages(s.dst, s.len / 2, 1);
	ck_assert_int_eq(seen.count, 0);
	ck_assert(host_sees(bad + 100));
	ck_assert_int_eq(seen.count, 1);
	ck_assert_int_eq(seen.sig, SIGBUS);
	ck_assert_int_eq(seen.info.si_code, BUS_ADRERR);
	ck_assert_ptr_eq(seen.info.si_addr, bad + 100);
	ck_assert_ptr_nonnull(seen.context);
	/* And ours are served after that. */
	assert_pages(s.dst, s.len, 1);
	ck_assert_int_eq(seen.count, 1);
	ck_assert_uint_eq(served_stop(&s).chained, 1);
}
END_TEST

START_TEST(host_handler_runs_under_its_own_mask)
{
	char *bad = page_beyond_file();

	host_handles(note_and_jump, 0);
	served_start(&s, FERRY_FAULT_SIGBUS, 1, 1);
	ck_assert(host_sees(bad));
	ck_assert(sigismember(&seen.mask, SIGBUS));
	ck_assert(sigismember(&seen.mask, SIGUSR1));
	ck_assert(!sigismember(&seen.mask, SIGUSR2));
	ck_assert(!sigismember(&seen.mask, SIGSEGV));
	served_stop(&s);
}
END_TEST

START_TEST(host_handler_may_ask_not_to_be_deferred)
{
	char *bad = page_beyond_file();

	host_handles(note_and_jump, SA_NODEFER);
	served_start(&s, FERRY_FAULT_SIGBUS, 1, 1);
	ck_assert(host_sees(bad));
	ck_assert(!sigismember(&seen.mask, SIGBUS));
	ck_assert(sigismember(&seen.mask, SIGUSR1));
	served_stop(&s);
}
END_TEST

START_TEST(plain_host_handler_is_called)
{
	struct sigaction act = { .sa_handler = plain_and_jump };
	char *bad = page_beyond_file();

	set_action(&act);
	served_start(&s, FERRY_FAULT_SIGBUS, 1, 1);
	ck_assert(host_sees(bad));
	ck_assert_int_eq(seen.sig, SIGBUS);
	served_stop(&s);
}
END_TEST

static char *cure_page;

static void cure(int sig, siginfo_t *info, void *context)
{
	note(sig, info, context);
	mmap(cure_page, page_size(), PROT_READ | PROT_WRITE,
	     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
}

START_TEST(host_handler_may_cure_the_fault_and_return)
{
	sigset_t mask;

	cure_page = page_beyond_file();
	host_handles(cure, 0);
	served_start(&s, FERRY_FAULT_SIGBUS, 1, 1);
	ck_assert_int_eq(touch(cure_page), 0);
	ck_assert_int_eq(seen.count, 1);
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	ck_assert(!sigismember(&mask, SIGBUS));
	ck_assert(!sigismember(&mask, SIGUSR1));
	served_stop(&s);
}
END_TEST

/* --- actions that end the process ---------------------------------------- */

/* Runs @fn in a child; returns its wait status. */
static int status_of(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (!pid) {
		fn();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return status;
}

static void assert_killed(void (*fn)(void))
{
	int status = status_of(fn);

	ck_assert_msg(WIFSIGNALED(status), "status %#x", (unsigned int)status);
	ck_assert_int_eq(WTERMSIG(status), SIGBUS);
}

static void with_action(void (*handler)(int))
{
	struct sigaction act = { .sa_handler = handler };

	set_action(&act);
	served_start(&s, FERRY_FAULT_SIGBUS, 4, 1);
	if (touch(s.dst) != touch(s.dst))
		_exit(1);
}

static void fault_by_default(void)
{
	with_action(SIG_DFL);
	touch(page_beyond_file());
}

static void refused_by_default(void)
{
	s.kind = FERRY_SUPPLY_NONE;
	with_action(SIG_DFL);
}

static void fault_ignored(void)
{
	with_action(SIG_IGN);
	touch(page_beyond_file());
}

static void sent_by_default(void)
{
	with_action(SIG_DFL);
	raise(SIGBUS);
}

START_TEST(default_action_kills)
{
	assert_killed(fault_by_default);
	assert_killed(refused_by_default);
	assert_killed(sent_by_default);
}
END_TEST

START_TEST(fault_cannot_be_ignored)
{
	assert_killed(fault_ignored);
}
END_TEST

START_TEST(sent_signal_can_be_ignored)
{
	with_action(SIG_IGN);
	ck_assert_int_eq(raise(SIGBUS), 0);
	ck_assert_int_eq(kill(getpid(), SIGBUS), 0);
	served_stop(&s);
}
END_TEST

static void reset_hand_twice(void)
{
	char *bad = page_beyond_file();

	host_handles(note_and_jump, (int)SA_RESETHAND);
	served_start(&s, FERRY_FAULT_SIGBUS, 4, 1);
	if (!host_sees(bad) || seen.count != 1)
		_exit(1);
	/* Ours go on being served. */
	touch(s.dst);
	host_sees(bad);
}

START_TEST(one_shot_handler_is_called_once)
{
	assert_killed(reset_hand_twice);
}
END_TEST

/* --- the host and the handler's place ------------------------------------ */

static struct sigaction below;

static void host_on_top(int sig, siginfo_t *info, void *context)
{
	note(sig, info, context);
	below.sa_sigaction(sig, info, context);
}

START_TEST(later_handler_of_the_host_may_pass_on_to_ours)
{
	struct sigaction act = { .sa_sigaction = host_on_top };
	char *bad = page_beyond_file();

	host_handles(note_and_jump, 0);
	served_start(&s, FERRY_FAULT_SIGBUS, 8, 1);
	act.sa_flags = SA_SIGINFO;
	ck_assert_int_eq(sigaction(SIGBUS, &act, &below), 0);
	assert_pages(s.dst, s.len, 1);
	ck_assert_int_eq(seen.count, 8);
	/* Down to the first handler: noted by both. */
	ck_assert(host_sees(bad));
	ck_assert_int_eq(seen.count, 10);
	ck_assert_int_eq(ferry_signal_restore(SIGBUS), -EBUSY);
	served_stop(&s);
}
END_TEST

START_TEST(action_found_is_put_back_when_asked_for)
{
	struct sigaction now;

	ck_assert_int_eq(ferry_signal_restore(SIGBUS), -ENOENT);
	ck_assert_int_eq(ferry_signal_restore(SIGUSR1), -EINVAL);
	host_handles(note_and_jump, 0);
	served_start(&s, FERRY_FAULT_SIGBUS, 8, 1);
	touch(s.dst);
	served_stop(&s);
	ck_assert_int_eq(ferry_signal_restore(SIGBUS), 0);
	ck_assert_int_eq(sigaction(SIGBUS, NULL, &now), 0);
	ck_assert_ptr_eq(now.sa_sigaction, note_and_jump);
	ck_assert_int_eq(ferry_signal_restore(SIGBUS), -ENOENT);
	/* The next service installs it anew. */
	served_start(&s, FERRY_FAULT_SIGBUS, 8, 1);
	assert_pages(s.dst, s.len, 1);
	served_stop(&s);
}
END_TEST

START_TEST(interrupted_system_calls_go_on_as_the_host_had_it)
{
	struct sigaction now;

	host_handles(note, SA_RESTART);
	served_start(&s, FERRY_FAULT_SIGBUS, 1, 1);
	ck_assert_int_eq(sigaction(SIGBUS, NULL, &now), 0);
	ck_assert_int_eq(now.sa_flags & SA_RESTART, SA_RESTART);
	served_stop(&s);
	ck_assert_int_eq(ferry_signal_restore(SIGBUS), 0);
	host_handles(note, 0);
	served_start(&s, FERRY_FAULT_SIGBUS, 1, 1);
	ck_assert_int_eq(sigaction(SIGBUS, NULL, &now), 0);
	ck_assert_int_eq(now.sa_flags & SA_RESTART, 0);
	served_stop(&s);
}
END_TEST

/* --- in the handler ------------------------------------------------------ */

static void spoil_errno(struct served *at, const struct ferry_fault *fault,
			struct ferry_supply *ret)
{
	(void)at;
	(void)fault;
	(void)ret;
	errno = EDOM;
}

START_TEST(errno_is_kept)
{
	s.change = spoil_errno;
	served_start(&s, FERRY_FAULT_SIGBUS, 2, 1);
	errno = ERANGE;
	touch(s.dst);
	ck_assert_int_eq(errno, ERANGE);
	ck_assert_int_eq(ferry_fault_resolve(s.service, s.dst + s.page), 0);
	ck_assert_int_eq(errno, ERANGE);
	served_stop(&s);
}
END_TEST

static void touch_last_page(int sig)
{
	note(sig, NULL, NULL);
	touch(s.dst + s.len - s.page);
}

static void interrupt(struct served *at, const struct ferry_fault *fault,
		      struct ferry_supply *ret)
{
	(void)at;
	(void)ret;
	if (fault->offset)
		return;
	raise(SIGUSR2);
	/* It waits: the host's handlers do not run amid ours. */
	EXPECT(!seen.count);
}

START_TEST(signal_amid_a_fault_waits_and_may_fault_then)
{
	struct sigaction act = { .sa_handler = touch_last_page };

#if defined(__SANITIZE_THREAD__)
	SKIP("nested_faults", "ThreadSanitizer blocks the signal in handlers");
#endif
	ck_assert_int_eq(sigaction(SIGUSR2, &act, NULL), 0);
	s.change = interrupt;
	served_start(&s, FERRY_FAULT_SIGBUS, 4, 1);
	ck_assert(page_holds(s.dst, 1));
	ck_assert_int_eq(seen.count, 1);
	ck_assert(page_there(s.dst + s.len - s.page));
	ck_assert(page_holds(s.dst + s.len - s.page, 4));
	served_stop(&s);
}
END_TEST

static void touch_next_page(struct served *at, const struct ferry_fault *fault,
			    struct ferry_supply *ret)
{
	(void)ret;
	if (fault->offset + at->page < at->len)
		touch(at->dst + fault->offset + at->page);
}

START_TEST(supplier_that_faults_itself_is_served)
{
#if defined(__SANITIZE_THREAD__)
	SKIP("nested_faults", "ThreadSanitizer blocks the signal in handlers");
#endif
	s.change = touch_next_page;
	served_start(&s, FERRY_FAULT_SIGBUS, 4, 1);
	ck_assert(page_holds(s.dst, 1));
	ck_assert_uint_eq(served_asked(&s), 4);
	served_stop(&s);
}
END_TEST

static void *compare_on_small_stack(void *arg)
{
	stack_t stack = { .ss_size = 16384 };

	(void)arg;
	stack.ss_sp = mmap(NULL, stack.ss_size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EXPECT(stack.ss_sp != MAP_FAILED);
	/* What is below is not mapped: an overrun is a crash. */
	EXPECT(!sigaltstack(&stack, NULL));
	EXPECT(served_pages_hold(s.dst, s.len, 1));
	stack.ss_flags = SS_DISABLE;
	EXPECT(!sigaltstack(&stack, NULL));
	return NULL;
}

static volatile bool on_alternate_stack;

static void look_at_stack(struct served *at, const struct ferry_fault *fault,
			  struct ferry_supply *ret)
{
	stack_t now;

	(void)at;
	(void)fault;
	(void)ret;
	if (!sigaltstack(NULL, &now) && now.ss_flags & SS_ONSTACK)
		on_alternate_stack = true;
}

START_TEST(alternate_stack_is_used_and_small_ones_do)
{
	pthread_t thread;

	s.change = look_at_stack;
	served_start(&s, FERRY_FAULT_SIGBUS, 64, 16);
	ck_assert_int_eq(
		pthread_create(&thread, NULL, compare_on_small_stack, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert(on_alternate_stack);
	served_stop(&s);
}
END_TEST

static void *fault_while_cancelled(void *arg)
{
	(void)arg;
	pthread_cancel(pthread_self());
	touch(s.dst);
	/* Only here does it end. */
	pthread_testcancel();
	return NULL;
}

static void sleep_in_supplier(struct served *at,
			      const struct ferry_fault *fault,
			      struct ferry_supply *ret)
{
	(void)at;
	(void)fault;
	(void)ret;
	/* A cancellation point. */
	usleep(1000);
}

START_TEST(thread_is_not_cancelled_amid_a_fault)
{
	pthread_t thread;
	void *result;

	s.change = sleep_in_supplier;
	served_start(&s, FERRY_FAULT_SIGBUS, 1, 1);
	ck_assert_int_eq(
		pthread_create(&thread, NULL, fault_while_cancelled, NULL), 0);
	ck_assert_int_eq(pthread_join(thread, &result), 0);
	ck_assert_ptr_eq(result, PTHREAD_CANCELED);
	/* It came as far as its page, and holds the range no more. */
	ck_assert(page_there(s.dst));
	served_stop(&s);
}
END_TEST

/* --- memory that was served ---------------------------------------------- */

START_TEST(faults_of_the_host_in_memory_once_served_are_the_hosts)
{
	size_t page = page_size();
	char *bad;
	int i;

	host_handles(note_and_jump, 0);
	served_start(&s, FERRY_FAULT_SIGBUS, 8, 1);
	touch(s.dst);
	served_stop(&s);
	bad = page_beyond_file();
	ck_assert_ptr_eq(
		mremap(bad, page, page, MREMAP_MAYMOVE | MREMAP_FIXED, s.dst),
		s.dst);
	for (i = 1; i <= 5; i++) {
		ck_assert(host_sees(s.dst));
		ck_assert_int_eq(seen.count, i);
	}
}
END_TEST

static const struct test tests[] = {
	TEST(host_sees_its_own_faults_and_none_of_ours, "sigbus"),
	TEST(host_handler_runs_under_its_own_mask, "sigbus"),
	TEST(host_handler_may_ask_not_to_be_deferred, "sigbus"),
	TEST(plain_host_handler_is_called, "sigbus"),
	TEST(host_handler_may_cure_the_fault_and_return, "sigbus"),
	TEST(default_action_kills, "sigbus"),
	TEST(fault_cannot_be_ignored, "sigbus"),
	TEST(sent_signal_can_be_ignored, "sigbus"),
	TEST(one_shot_handler_is_called_once, "sigbus"),
	TEST(later_handler_of_the_host_may_pass_on_to_ours, "sigbus"),
	TEST(action_found_is_put_back_when_asked_for, "sigbus"),
	TEST(interrupted_system_calls_go_on_as_the_host_had_it, "sigbus"),
	TEST(errno_is_kept, "sigbus"),
	TEST(signal_amid_a_fault_waits_and_may_fault_then, "sigbus"),
	TEST(supplier_that_faults_itself_is_served, "sigbus"),
	TEST(alternate_stack_is_used_and_small_ones_do, "sigbus"),
	TEST(thread_is_not_cancelled_amid_a_fault, "sigbus"),
	TEST(faults_of_the_host_in_memory_once_served_are_the_hosts, "sigbus"),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
