/* SPDX-License-Identifier: MIT */
/*
 * Handlers that read and write a heap that is cold, on the thread's stack and
 * on a stack that is itself on the heap, while threads do so too.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <unistd.h>

#include "tests/programs/heap.h"

#define STACK	   ((size_t)64 << 10)
#define SECONDS_MS 1500

static struct heap *served;
static atomic_ulong calls, wrong;
static atomic_bool stop;

static void look_at_one(int signal)
{
	static atomic_uint next;
	unsigned int i = atomic_fetch_add(&next, 7);
	const uint8_t *data;
	size_t len;

	(void)signal;
	data = heap_block(served, i, &len);
	for (size_t j = 0; j < len; j += 64)
		if (data[j] != heap_byte(served, i, j))
			atomic_fetch_add(&wrong, 1);
	atomic_fetch_add(&calls, 1);
}

static void use_stack_on_heap(void)
{
	stack_t stack = { .ss_sp = malloc(STACK), .ss_size = STACK };

	check(stack.ss_sp != NULL, "malloc");
	check(sigaltstack(&stack, NULL) == 0, "sigaltstack");
}

static void install(int flags)
{
	struct sigaction action = { .sa_handler = look_at_one,
				    .sa_flags = flags | SA_RESTART };

	check(sigaction(SIGALRM, &action, NULL) == 0, "sigaction");
	check(sigaction(SIGUSR1, &action, NULL) == 0, "sigaction");
	check(sigaction(SIGUSR2, &action, NULL) == 0, "sigaction");
}

static void *verify(void *arg)
{
	use_stack_on_heap();
	while (!atomic_load(&stop)) {
		check(heap_is_whole(arg), "the heap is not whole in a thread");
		sleep_ms(100);
	}
	return NULL;
}

static void run(int flags, const char *what)
{
	struct itimerval often = { { 0, 2000 }, { 0, 2000 } };
	struct itimerval never = { { 0, 0 }, { 0, 0 } };
	pthread_t thread;

	install(flags);
	atomic_store(&stop, false);
	check(pthread_create(&thread, NULL, verify, served) == 0,
	      "pthread_create");
	heap_rest(served);
	check(setitimer(ITIMER_REAL, &often, NULL) == 0, "setitimer");
	for (int i = 0; i < SECONDS_MS / 100; i++) {
		sleep_ms(100);
		pthread_kill(thread, SIGUSR1);
		raise(SIGUSR2);
	}
	check(setitimer(ITIMER_REAL, &never, NULL) == 0, "setitimer");
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	check(atomic_load(&calls) >= SECONDS_MS / 100, "few signals came");
	printf("%s: %lu wrong\n", what, atomic_load(&wrong));
	heap_report(served, what);
}

int main(void)
{
	served = heap_make(4 << 20, 11);
	use_stack_on_heap();
	run(0, "own stack");
	run(SA_ONSTACK, "stack on the heap");
	run(SA_ONSTACK | SA_NODEFER, "nested");
	return 0;
}
