/* SPDX-License-Identifier: MIT */
/* The pager and fork(2) when the kernel and the stores fail meanwhile. */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "alloc/pager/pager-internal.h"
#include "tests/inject.h"
#include "tests/pager_bed.h"
#include "tests/served.h"
#include "uffd/uapi.h"

#define PAGES 300
#define FEW   20 /* so few that a child has no threads */

static struct bed bed;

static void begin(void)
{
	inject_start();
	bed_begin(&bed, PAGES);
	bed_at_fork();
}

static void end(void)
{
	assert_pages(bed.addr, PAGES * bed.page, 1);
	bed_end(&bed);
}

static void in_child(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(!served_pages_hold(bed.addr, PAGES * bed.page, 1));
	ck_assert_int_gt(pid, 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
}

/* --- the looking thread's own faults -------------------------------------- */

static sem_t go;

static void *fork_once(void *arg)
{
	pid_t pid;
	int status;

	while (sem_wait(&go))
		;
	pid = fork();
	if (!pid)
		_exit(0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return arg;
}

/* Page 0 is discarded and a fork begins. In the looking thread. */
static void discard_and_fork(void *arg)
{
	(void)arg;
	ck_assert_int_eq(madvise(bed.addr, bed.page, MADV_DONTNEED), 0);
	sem_post(&go);
	AWAIT(__atomic_load_n(&bed.pager->fork_tid, __ATOMIC_RELAXED));
}

static pid_t share_pages(void)
{
	pid_t pid = fork();

	while (!pid)
		pause();
	ck_assert_int_gt(pid, 0);
	return pid;
}

/* What it makes exclusive may be gone by then. */
START_TEST(a_fault_of_the_looking_thread_does_not_stop_a_fork)
{
	static struct inject_rule rule = {
		.call = INJECT_MADVISE,
		.request = FERRY__MADV_POPULATE_WRITE,
		.hook = discard_and_fork,
	};
	pthread_t thread;
	pid_t sharer;

	begin();
	sharer = share_pages();
	/* Registered, and found to be shared. */
	bed_run(&bed);
	ck_assert_uint_gt(bed_stats(&bed).busy, 0);
	ck_assert_int_eq(sem_init(&go, 0, 0), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, fork_once, NULL), 0);
	inject_add(&rule);
	bed_run(&bed);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	ck_assert_uint_eq(inject_hits(&rule), 1);
	kill(sharer, SIGKILL);
	ck_assert_int_eq(waitpid(sharer, NULL, 0), sharer);
	fill_pages(bed.addr, bed.page, 1);
	end();
}
END_TEST

/* --- news of a fork ------------------------------------------------------- */

#ifndef FERRY_SANITIZE /* which hold locks around a fork that a sleep takes */
static void fork_while_reading_fails(int error)
{
	struct inject_rule rule = {
		.call = INJECT_READ,
		.count = 50,
		.error = error,
	};

	begin();
	bed_all_out(&bed);
	inject_add(&rule);
	in_child();
	ck_assert_uint_eq(inject_hits(&rule), 50);
	end();
}

START_TEST(a_fork_waits_for_memory_to_hear_of_it)
{
	fork_while_reading_fails(ENOMEM);
}
END_TEST

START_TEST(a_fork_waits_for_a_descriptor_to_hear_of_it)
{
	fork_while_reading_fails(ENFILE);
}
END_TEST
#endif

/* --- stores --------------------------------------------------------------- */

START_TEST(a_child_is_as_patient_with_a_store_as_its_parent)
{
	begin();
	bed_hint_out(&bed, bed.addr, FEW * bed.page, FEW);
	fake_order(bed.fake[0], get_error, -ETIMEDOUT);
	fake_order(bed.fake[0], get_fails, 5);
	in_child();
	fake_order(bed.fake[0], get_fails, 0);
	end();
}
END_TEST

static const struct test tests[] = {
	TEST(a_fault_of_the_looking_thread_does_not_stop_a_fork, PAGER_NEEDS),
#ifndef FERRY_SANITIZE
	TEST(a_fork_waits_for_memory_to_hear_of_it, PAGER_NEEDS),
	TEST(a_fork_waits_for_a_descriptor_to_hear_of_it, PAGER_NEEDS),
#endif
	TEST(a_child_is_as_patient_with_a_store_as_its_parent, PAGER_NEEDS),
};

int main(int argc, char **argv)
{
	return HARNESS_MAIN(argc, argv, tests);
}
