/* SPDX-License-Identifier: MIT */
/* Threads of the library. */
#include "uffd/thread.h"

#include <semaphore.h>
#include <signal.h>
#include <time.h>

#include "uffd/signal.h"

void (*ferry__thread_begins)(void);

struct start {
	void *(*fn)(void *);
	void *arg;
	sem_t runs;
};

static void *thread_main(void *arg)
{
	struct start *start = arg;
	void *(*fn)(void *) = start->fn;

	arg = start->arg;
	if (ferry__thread_begins)
		ferry__thread_begins();
	/* It is gone after this. */
	sem_post(&start->runs);
	return fn(arg);
}

int ferry__thread_start(pthread_t *ret_thread, const pthread_attr_t *attr,
			void *(*fn)(void *), void *arg)
{
	struct start start = { .fn = fn, .arg = arg };
	sigset_t all, old;
	int r;

	sem_init(&start.runs, 0, 0);
	ferry__signal_fill(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = -pthread_create(ret_thread, attr, thread_main, &start);
	/* Not interrupted: signals are blocked. */
	while (r == 0 && sem_wait(&start.runs) < 0)
		;
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	sem_destroy(&start.runs);
	return r;
}

/* A thread's clock is there as long as the thread is. */
void ferry__thread_join(pthread_t thread)
{
	static const struct timespec moment = { 0, 20000 };
	struct timespec t;
	clockid_t clock;
	int r = pthread_getcpuclockid(thread, &clock);

	pthread_join(thread, NULL);
	while (r == 0 && clock_gettime(clock, &t) == 0)
		nanosleep(&moment, NULL);
}
