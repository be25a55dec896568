/* SPDX-License-Identifier: MIT */
/*
 * Several threads on one graph, while it is collected and compacted: a hash
 * table of lists, whose nodes any thread adds and takes away.
 */
#include <ferry/ferry.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 4
#define BUCKETS 1024
#define STEPS	200000u

struct node {
	const struct ferry_type *type;
	struct node *next;
	long value;
};

static const struct ferry_type node_type = {
	.size = sizeof(struct node),
	.refs = 1u << 1,
	.name = "node",
};

/*
 * A thread that waits for a lock cannot be stopped: so nobody may stop who
 * holds it. These are held across no safepoint and no allocation.
 */
static struct bucket {
	pthread_mutex_t lock;
	struct node *list;
} table[BUCKETS];

struct worker {
	struct ferry_heap *heap;
	pthread_t thread;
	unsigned int seed;
	long sum; /* of values added, less those of values taken away */
	int error;
};

static atomic_uint busy;

/* The table is outside the heap: its heads are roots. */
static void roots(void *arg, struct ferry_visitor *v)
{
	size_t i;

	(void)arg;
	for (i = 0; i < BUCKETS; i++)
		ferry_visit(v, &table[i].list);
}

static struct bucket *bucket_lock(unsigned int *seed)
{
	struct bucket *bucket = &table[(unsigned int)rand_r(seed) % BUCKETS];

	pthread_mutex_lock(&bucket->lock);
	return bucket;
}

static int add(struct worker *w, struct ferry_mutator *m)
{
	struct node *node = ferry_alloc(m, sizeof(*node), FERRY_KIND_TYPED);
	struct bucket *bucket;

	if (!node)
		return 1;
	/* From here to the next safepoint nothing moves under our hands. */
	node->type = &node_type;
	node->value = rand_r(&w->seed) % 1000;
	w->sum += node->value;
	bucket = bucket_lock(&w->seed);
	node->next = bucket->list;
	bucket->list = node;
	pthread_mutex_unlock(&bucket->lock);
	return 0;
}

static void take_away(struct worker *w)
{
	struct bucket *bucket = bucket_lock(&w->seed);

	if (bucket->list) {
		w->sum -= bucket->list->value;
		bucket->list = bucket->list->next;
	}
	pthread_mutex_unlock(&bucket->lock);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct ferry_mutator *m;
	unsigned int i;

	w->error = ferry_mutator_attach(w->heap, NULL, &m);
	for (i = 0; i < STEPS && !w->error; i++) {
		w->error = add(w, m);
		if (i % 16)
			take_away(w);
		ferry_safepoint(m);
	}
	if (w->error >= 0)
		ferry_mutator_detach(m);
	busy--;
	return NULL;
}

/* Collects, in one way after the other, as long as anybody works. */
static int collect(struct ferry_heap *heap)
{
	static const enum ferry_collect ways[] = {
		FERRY_COLLECT_MINOR,
		FERRY_COLLECT_FULL,
		FERRY_COLLECT_COMPACT,
	};
	unsigned int i = 0;
	int r = 0;

	do
		r = ferry_heap_collect(heap, NULL, ways[i++ % 3]);
	while ((busy || i < 9) && r == 0);
	return r;
}

static long table_sum(void)
{
	const struct node *node;
	long sum = 0;
	size_t i;

	for (i = 0; i < BUCKETS; i++)
		for (node = table[i].list; node; node = node->next)
			sum += node->value;
	return sum;
}

static int run(struct ferry_heap *heap)
{
	struct worker worker[THREADS];
	struct ferry_mutator *m;
	long sum = 0, found;
	unsigned int i;
	int error;

	for (i = 0; i < BUCKETS; i++)
		pthread_mutex_init(&table[i].lock, NULL);
	for (i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){ .heap = heap, .seed = i };
		busy++;
		if (pthread_create(&worker[i].thread, NULL, work, &worker[i]))
			exit(1);
	}
	error = collect(heap);
	for (i = 0; i < THREADS; i++) {
		pthread_join(worker[i].thread, NULL);
		sum += worker[i].sum;
		error |= worker[i].error;
	}
	/* Who reads objects is a mutator, even when nobody else is left. */
	if (error || ferry_mutator_attach(heap, NULL, &m) < 0)
		return 1;
	error = ferry_heap_verify(heap, m, NULL);
	found = table_sum();
	ferry_mutator_detach(m);
	printf("the values add up to %ld, and should to %ld\n", found, sum);
	return error || found != sum;
}

int main(void)
{
	struct ferry_heap_params params = FERRY_INIT(struct ferry_heap_params);
	struct ferry_heap_stats stats = FERRY_INIT(struct ferry_heap_stats);
	struct ferry_root *root;
	struct ferry_heap *heap;
	int error;

	if (ferry_heap_create(&params, NULL, &heap) < 0 ||
	    ferry_root_add_callback(heap, roots, NULL, &root) < 0)
		return 1;
	error = run(heap);
	if (ferry_heap_stats(heap, &stats) < 0)
		return 1;
	printf("%llu minor and %llu full collections, %llu compactions\n",
	       (unsigned long long)stats.minors,
	       (unsigned long long)stats.fulls,
	       (unsigned long long)stats.compactions);
	ferry_root_remove(heap, root);
	ferry_heap_destroy(heap);
	return error != 0;
}
