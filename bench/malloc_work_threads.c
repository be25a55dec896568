/* SPDX-License-Identifier: MIT */
/*
 * malloc_work_threads.c: several threads: blocks that another thread frees,
 * and all kinds of calls at once, with every word of a block verified.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "malloc_work.h"

/* At the beginning of a block, which is @size bytes with it. */
struct head {
	struct head *next;
	uint64_t size;
	uint64_t id;
};

static void fill(struct head *h, size_t size, uint64_t id)
{
	h->size = size;
	h->id = id;
	malloc_fill(h + 1, size - sizeof(*h), id, 1);
}

/* A wrong size would lead anywhere: there must be an upper bound. */
static bool right(const struct head *h, size_t most)
{
	return h->size >= sizeof(*h) && h->size <= most &&
	       malloc_right(h + 1, h->size - sizeof(*h), h->id, 1);
}

/* --- producer and consumer ------------------------------------------------ */

#define BATCH	   256 /* blocks handed over at once */
#define DEPTH	   16  /* batches under way */
#define QUEUE_MOST 1024

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct head *batch[DEPTH]; /* under the lock, as all below */
	size_t first, n;
	bool closed; /* nothing more comes */
	uint64_t wrong;
};

static void queue_put(struct queue *q, struct head *batch)
{
	pthread_mutex_lock(&q->lock);
	while (q->n == DEPTH)
		pthread_cond_wait(&q->changed, &q->lock);
	q->batch[(q->first + q->n++) % DEPTH] = batch;
	pthread_cond_signal(&q->changed);
	pthread_mutex_unlock(&q->lock);
}

static void queue_close(struct queue *q)
{
	pthread_mutex_lock(&q->lock);
	q->closed = true;
	pthread_cond_signal(&q->changed);
	pthread_mutex_unlock(&q->lock);
}

/* The next batch; NULL at the end. */
static struct head *queue_get(struct queue *q)
{
	struct head *batch = NULL;

	pthread_mutex_lock(&q->lock);
	while (q->n == 0 && !q->closed)
		pthread_cond_wait(&q->changed, &q->lock);
	if (q->n) {
		batch = q->batch[q->first];
		q->first = (q->first + 1) % DEPTH;
		q->n--;
		pthread_cond_signal(&q->changed);
	}
	pthread_mutex_unlock(&q->lock);
	return batch;
}

/* Returns how many were wrong. */
static uint64_t free_batch(struct head *h)
{
	uint64_t wrong = 0;

	while (h) {
		struct head *next = h->next;

		wrong += !right(h, QUEUE_MOST);
		free(h);
		h = next;
	}
	return wrong;
}

static void *consume(void *arg)
{
	struct queue *q = arg;
	struct head *batch;
	uint64_t wrong = 0;

	while ((batch = queue_get(q)))
		wrong += free_batch(batch);
	q->wrong = wrong; /* read after the join */
	return NULL;
}

static int produce(struct malloc_work *w, struct queue *q, uint64_t n)
{
	struct head *batch = NULL;

	for (uint64_t i = 0; i < n; i++) {
		uint64_t r = bench_rng_next(&w->rng);
		size_t size = 32 + (size_t)(r >> 32) % 124 * 8;
		struct head *h = malloc(size);

		if (!h) {
			free_batch(batch);
			return -ENOMEM;
		}
		fill(h, size, r);
		h->next = batch;
		batch = h;
	}
	queue_put(q, batch);
	return 0;
}

int malloc_work_queue(struct malloc_work *w)
{
	struct queue q = { .lock = PTHREAD_MUTEX_INITIALIZER,
			   .changed = PTHREAD_COND_INITIALIZER };
	pthread_t consumer;
	int rc = -pthread_create(&consumer, NULL, consume, &q);

	if (rc < 0)
		return rc;
	for (uint64_t done = 0; done < w->amount && rc == 0; done += BATCH)
		rc = produce(w, &q, BATCH);
	queue_close(&q);
	pthread_join(consumer, NULL);
	w->wrong += q.wrong;
	return rc;
}

/* --- all at once ---------------------------------------------------------- */

#define THREADS_MOST  4
#define SLOTS	      1024 /* of each thread */
#define SHARED	      512
#define STRESS_MOST   32768
#define STRESS_HEADER sizeof(struct head)

/* Blocks on their way from any thread to any other. */
static _Atomic(struct head *) shared[SHARED];

struct worker {
	struct head *slots[SLOTS];
	struct bench_rng rng;
	uint64_t steps, wrong, misaligned;
	int error;
	pthread_t thread;
};

/* Evenly many of each power of two from 32 bytes on. */
static size_t stress_size(uint64_t r)
{
	size_t below = (size_t)32 << r % 11;

	if (below > STRESS_MOST / 2)
		below = STRESS_MOST / 2;
	return below + (size_t)(r >> 8) % (below / 8) * 8;
}

static struct head *stress_alloc(struct worker *t, size_t size, uint64_t r)
{
	size_t align = (size_t)64 << r % 7;
	void *p = NULL;

	if (r >> 59) /* all but one in 32 */
		return malloc(size);
	if (posix_memalign(&p, align, size))
		return NULL;
	t->misaligned += (uintptr_t)p % align != 0;
	return p;
}

static void stress_free(struct worker *t, struct head *h)
{
	if (!h)
		return;
	t->wrong += !right(h, STRESS_MOST);
	free(h);
}

static int stress_new(struct worker *t, size_t slot, uint64_t r)
{
	size_t size = stress_size(r >> 4);
	struct head *h = stress_alloc(t, size, r);

	if (!h)
		return -ENOMEM;
	fill(h, size, r);
	t->slots[slot] = h;
	return 0;
}

/* What stays of a block keeps its contents, as large as it becomes. */
static int stress_resize(struct worker *t, size_t slot, uint64_t r)
{
	struct head *h = t->slots[slot];
	size_t size = stress_size(r >> 4);
	size_t kept;

	if (!h)
		return 0;
	kept = h->size < size ? (size_t)h->size : size;
	h = realloc(h, size);
	if (!h)
		return -ENOMEM;
	t->slots[slot] = h;
	t->wrong += !malloc_right(h + 1, kept - STRESS_HEADER, h->id, 1);
	fill(h, size, r);
	return 0;
}

/* S1 release pairs with S1 acquire of whichever thread takes the block: what
 * was written into it is seen. */
static void stress_exchange(struct worker *t, size_t slot, uint64_t r)
{
	t->slots[slot] = atomic_exchange_explicit(&shared[(r >> 40) % SHARED],
						  t->slots[slot],
						  memory_order_acq_rel);
}

static int stress_step(struct worker *t, uint64_t r)
{
	size_t slot = (r >> 20) % SLOTS;

	if (r >> 62 == 1) {
		stress_exchange(t, slot, r);
		return 0;
	}
	if ((r >> 59 & 3) == 1)
		return stress_resize(t, slot, r);
	stress_free(t, t->slots[slot]);
	t->slots[slot] = NULL;
	return stress_new(t, slot, r);
}

static void *stress(void *arg)
{
	struct worker *t = arg;

	for (uint64_t i = 0; i < t->steps && t->error == 0; i++)
		t->error = stress_step(t, bench_rng_next(&t->rng));
	for (size_t i = 0; i < SLOTS; i++)
		stress_free(t, t->slots[i]);
	return NULL;
}

static size_t thread_count(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	if (n < 2)
		return 2;
	return n < THREADS_MOST ? (size_t)n : THREADS_MOST;
}

/* Starts @n of them; returns how many could be. */
static size_t start_all(struct worker *v, size_t n, struct malloc_work *w)
{
	for (size_t i = 0; i < n; i++) {
		v[i].steps = w->amount / n;
		v[i].rng.state = bench_rng_next(&w->rng);
		if (pthread_create(&v[i].thread, NULL, stress, &v[i]))
			return i;
	}
	return n;
}

int malloc_work_threads(struct malloc_work *w)
{
	size_t n = thread_count();
	struct worker *v = bench_alloc(n * sizeof(*v));
	size_t started = start_all(v, n, w);
	int rc = started < n ? -EAGAIN : 0;

	for (size_t i = 0; i < started; i++) {
		pthread_join(v[i].thread, NULL);
		rc = rc ? rc : v[i].error;
	}
	/* Relaxed: the joins ordered all that the threads did. */
	for (size_t i = 0; i < SHARED; i++)
		stress_free(&v[0], atomic_load_explicit(&shared[i],
							memory_order_relaxed));
	for (size_t i = 0; i < started; i++) {
		w->wrong += v[i].wrong;
		w->misaligned += v[i].misaligned;
	}
	free(v);
	return rc;
}
