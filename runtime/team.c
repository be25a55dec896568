/* SPDX-License-Identifier: MIT */
/* The team that marks: threads that do one job together. */
#include "runtime/heap-internal.h"

static void member_work(struct ferry__mark *mark, struct ferry__marker *marker)
{
	unsigned int number = (unsigned int)(marker - mark->member);
	uint64_t done = 0, cpu;

	pthread_mutex_lock(&mark->lock);
	for (;;) {
		while (mark->job_number == done && !mark->quit)
			pthread_cond_wait(&mark->job, &mark->lock);
		if (mark->quit)
			break;
		done = mark->job_number;
		if (number >= mark->markers)
			continue;
		pthread_mutex_unlock(&mark->lock);
		cpu = ferry__cpu_ns();
		mark->fn(marker);
		cpu = ferry__cpu_ns() - cpu;
		pthread_mutex_lock(&mark->lock);
		mark->cpu_ns += cpu;
		if (!--mark->busy)
			pthread_cond_signal(&mark->joined);
	}
	pthread_mutex_unlock(&mark->lock);
}

static void *member_main(void *arg)
{
	struct ferry__marker *marker = arg;

	member_work(&marker->heap->mark, marker);
	return NULL;
}

/* Of a member at rest: queued, or gathered and not looked at. */
static bool has_work(const struct ferry__marker *marker)
{
	return marker->chunk->n || marker->visitor.n;
}

/* Who has kept something from a job of more members takes part in this one,
 * or it would be left to the pause, with all that it leads to. */
static unsigned int members_for(struct ferry_heap *heap)
{
	unsigned int most = ferry__world_is_quiet(heap)
				    ? heap->params.pause_threads
				    : heap->params.threads;
	unsigned int n = heap->mark.threads + 1;

	while (n > most && !has_work(&heap->mark.member[n - 1]))
		n--;
	return n;
}

void ferry__team_run(struct ferry_heap *heap, ferry__team_fn fn)
{
	struct ferry__mark *mark = &heap->mark;
	unsigned int n = members_for(heap);

	pthread_mutex_lock(&mark->lock);
	mark->fn = fn;
	mark->idle = 0;
	mark->markers = n;
	mark->busy = mark->markers - 1;
	mark->job_number++;
	pthread_cond_broadcast(&mark->job);
	pthread_mutex_unlock(&mark->lock);
	fn(&mark->member[0]);
	pthread_mutex_lock(&mark->lock);
	while (mark->busy)
		pthread_cond_wait(&mark->joined, &mark->lock);
	mark->idle = 0;
	mark->markers = 1;
	pthread_mutex_unlock(&mark->lock);
}

int ferry__team_start(struct ferry_heap *heap)
{
	struct ferry__mark *mark = &heap->mark;
	unsigned int i;
	int r = 0;

	for (i = 1; r == 0 && i < heap->params.pause_threads; i++) {
		r = ferry__thread_start(&mark->thread[i], NULL, member_main,
					&mark->member[i]);
		if (r == 0)
			mark->threads++;
	}
	if (r < 0)
		ferry__team_stop(heap);
	return r;
}

void ferry__team_stop(struct ferry_heap *heap)
{
	struct ferry__mark *mark = &heap->mark;

	pthread_mutex_lock(&mark->lock);
	mark->quit = true;
	pthread_cond_broadcast(&mark->job);
	pthread_mutex_unlock(&mark->lock);
	for (; mark->threads; mark->threads--)
		pthread_join(mark->thread[mark->threads], NULL);
	mark->quit = false;
}
