/* SPDX-License-Identifier: MIT */
/*
 * fork(2) where all is cold that the C library may touch in the child before
 * any handler runs (DESIGN F7a): handlers that do not fit into its first list,
 * streams, thread-specific data and stacks of other threads, the locale, the
 * name service's state, and the stack that it runs on.
 */
#include <locale.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/programs/heap.h"

#define HANDLERS 100 /* the C library has room for 48 */
#define KEYS	 64  /* and 32 beside a thread's own */
#define THREADS	 3
#define STREAMS	 6
#define STACK	 ((size_t)1 << 20)
#define ROUNDS	 6

static pthread_key_t keys[KEYS];
static FILE *streams[STREAMS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned int settled; /* under the lock */
static unsigned int before, in_parent, in_child;

static void count_before(void)
{
	before++;
}

static void count_in_parent(void)
{
	in_parent++;
}

static void count_in_child(void)
{
	in_child++;
}

static void set_keys(void)
{
	for (size_t i = 0; i < KEYS; i++)
		check(pthread_setspecific(keys[i], &keys[i]) == 0,
		      "pthread_setspecific");
}

static bool keys_are_right(void)
{
	for (size_t i = 0; i < KEYS; i++)
		if (pthread_getspecific(keys[i]) != &keys[i])
			return false;
	return true;
}

static void *wait_for_ever(void *arg)
{
	(void)arg;
	set_keys();
	pthread_mutex_lock(&lock);
	settled++;
	pthread_cond_broadcast(&changed);
	for (;;)
		pthread_cond_wait(&changed, &lock);
	return NULL;
}

/* Its stack, and so its descriptor, are blocks. */
static pthread_t start_on_heap(void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	void *stack = NULL;

	check(posix_memalign(&stack, 4096, STACK) == 0, "posix_memalign");
	pthread_attr_init(&attr);
	check(pthread_attr_setstack(&attr, stack, STACK) == 0, "setstack");
	check(pthread_create(&thread, &attr, fn, arg) == 0, "pthread_create");
	pthread_attr_destroy(&attr);
	return thread;
}

static void start_threads(void)
{
	for (size_t i = 0; i < THREADS; i++)
		start_on_heap(wait_for_ever, NULL);
	pthread_mutex_lock(&lock);
	while (settled < THREADS)
		pthread_cond_wait(&changed, &lock);
	pthread_mutex_unlock(&lock);
}

static void open_streams(void)
{
	for (size_t i = 0; i < STREAMS; i++) {
		streams[i] = tmpfile();
		check(streams[i] != NULL, "tmpfile");
		check(fprintf(streams[i], "stream %zu", i) > 0, "fprintf");
	}
}

/* What was in its buffer when the process forked, and what came since. */
static bool stream_is_right(size_t i)
{
	char expected[64], text[64];

	snprintf(expected, sizeof(expected), "stream %zu and more\n", i);
	if (fputs(" and more\n", streams[i]) < 0)
		return false;
	rewind(streams[i]);
	return fgets(text, sizeof(text), streams[i]) && !strcmp(text, expected);
}

static bool finds_itself(void)
{
	struct addrinfo *list = NULL;
	bool ok = getaddrinfo("127.0.0.1", "80", NULL, &list) == 0;

	if (ok)
		freeaddrinfo(list);
	return ok && getservbyname("no such service", "tcp") == NULL;
}

static bool locale_is_right(void)
{
	return !strcmp(setlocale(LC_ALL, NULL), "C.UTF-8") &&
	       mblen("\xc3\xa4", 2) == 2;
}

/* The child's streams share their offsets with the parent's: the last round. */
static void look(const struct heap *heap, bool with_streams)
{
	check(in_child == HANDLERS, "not all handlers ran in the child");
	check(keys_are_right(), "thread-specific data");
	check(locale_is_right(), "the locale");
	check(finds_itself(), "the name service");
	for (size_t i = 0; with_streams && i < STREAMS; i++)
		check(stream_is_right(i), "a stream");
	check(heap_is_whole(heap), "the heap");
}

/* On a stack that is cold but for where it stands. */
static void *fork_often(void *arg)
{
	const struct heap *heap = arg;
	int pid;

	set_keys();
	for (int i = 0; i < ROUNDS; i++) {
		heap_rest(heap);
		before = in_parent = 0;
		pid = fork_clean();
		if (pid == 0) {
			look(heap, i == ROUNDS - 1);
			_exit(0);
		}
		report_child(pid, "touched");
		check(before == HANDLERS && in_parent == HANDLERS,
		      "not all handlers ran");
		check(keys_are_right(), "thread-specific data of the parent");
	}
	return NULL;
}

int main(void)
{
	struct heap *heap = heap_make(4 << 20, 23);

	check(setlocale(LC_ALL, "C.UTF-8") != NULL, "setlocale");
	check(finds_itself(), "the name service");
	for (size_t i = 0; i < HANDLERS; i++)
		check(pthread_atfork(count_before, count_in_parent,
				     count_in_child) == 0,
		      "pthread_atfork");
	for (size_t i = 0; i < KEYS; i++)
		check(pthread_key_create(&keys[i], NULL) == 0,
		      "pthread_key_create");
	start_threads();
	open_streams();
	pthread_join(start_on_heap(fork_often, heap), NULL);
	heap_report(heap, "parent");
	return 0;
}
