/* SPDX-License-Identifier: MIT */
/* gc_run.c: the process of one run: heap, mutators, the phase measured. */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gc_run.h"

/* --- what is reported ----------------------------------------------------- */

static bool write_all(const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(STDOUT_FILENO, p, len);

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static int report(struct gc_run *run)
{
	struct gc_outcome *out = &run->out;

	out->npauses = run->pauses.n;
	out->nmoments = run->nmoments;
	if (!write_all(out, sizeof(*out)) ||
	    !write_all(run->pauses.v, out->npauses * sizeof(double)) ||
	    !write_all(run->moments, out->nmoments * sizeof(*run->moments)))
		return EXIT_FAILURE;
	return EXIT_SUCCESS;
}

/*
 * The run fails with the sentence in its outcome. The process ends here:
 * nothing of the run is worth tidying up.
 */
static __attribute__((noreturn)) void fail(struct gc_run *run, int error)
{
	run->out.error = error;
	write_all(&run->out, sizeof(run->out));
	_exit(EXIT_SUCCESS);
}

void gc_fail(struct gc_run *run, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(run->out.why, sizeof(run->out.why), fmt, ap);
	va_end(ap);
	fail(run, error);
}

void gc_out_of_heap(struct gc_thread *t)
{
	gc_fail(t->run, -ENOMEM, "the heap was full");
}

bool gc_pause_note(struct gc_run *run, uint64_t ns)
{
	bool counts;

	pthread_mutex_lock(&run->lock);
	counts = run->measuring;
	if (counts)
		bench_samples_add(&run->pauses, (double)ns * 1e-3);
	pthread_mutex_unlock(&run->lock);
	return counts;
}

void gc_note(struct gc_run *run, const char *fmt, ...)
{
	size_t len = strlen(run->out.note);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(run->out.note + len, sizeof(run->out.note) - len, fmt, ap);
	va_end(ap);
}

/* --- the phase that is measured ------------------------------------------- */

static uint64_t faults_now(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (uint64_t)ru.ru_minflt + (uint64_t)ru.ru_majflt;
}

static void set_measuring(struct gc_run *run, bool on)
{
	pthread_mutex_lock(&run->lock);
	run->measuring = on;
	pthread_mutex_unlock(&run->lock);
}

static void phase_begin(struct gc_run *run)
{
	run->collector->counters(run, &run->counters_begin);
	run->faults_begin = faults_now();
	run->cpu_begin = gc_cpu_now();
	set_measuring(run, true);
	run->begin = bench_now();
}

static void phase_end(struct gc_run *run)
{
	const struct gc_counters *before = &run->counters_begin;
	double *metric = run->out.metric;
	struct gc_counters now;

	run->end = bench_now();
	set_measuring(run, false);
	metric[GC_WALL] = (double)(run->end - run->begin) * 1e-9;
	metric[GC_CPU] = gc_cpu_now() - run->cpu_begin;
	metric[GC_FAULTS] = (double)(faults_now() - run->faults_begin);
	metric[GC_PEAK_RSS] = (double)gc_rss_peak();
	run->collector->counters(run, &now);
	metric[GC_COLLECTIONS] =
		(double)(now.collections - before->collections);
	metric[GC_BYTES_COPIED] =
		(double)(now.bytes_copied - before->bytes_copied);
	metric[GC_BYTES_MOVED] =
		(double)(now.bytes_moved - before->bytes_moved);
	metric[GC_DEMAND_FAULTS] =
		(double)(now.demand_faults - before->demand_faults);
	metric[GC_STALLS] = (double)(now.stalls - before->stalls);
}

static void sum_up_pauses(struct gc_run *run)
{
	static const double q[] = { 0.5, 0.99, 1 };
	double *metric = run->out.metric;

	metric[GC_PAUSES] = (double)run->pauses.n;
	if (run->pauses.n)
		bench_samples_quantiles(&run->pauses, q, BENCH_ARRAY_LEN(q),
					&metric[GC_PAUSE_P50]);
}

/* What the mutator that fared worst felt. */
static void sum_up_meter(struct gc_run *run, const struct gc_meter *m)
{
	double *metric = run->out.metric;
	double wall = (double)(run->end - run->begin);
	int64_t writes = m->excess[GC_OP_MUTATE] + m->excess[GC_OP_CHURN];

	if (m->count[GC_OP_MUTATE])
		metric[GC_WRITE_LOST] =
			fmax(metric[GC_WRITE_LOST], (double)writes / wall);
	metric[GC_HICCUP_MAX] =
		fmax(metric[GC_HICCUP_MAX], (double)m->worst * 1e-3);
	metric[GC_LOST] = fmax(metric[GC_LOST], (double)m->lost / wall);
	for (size_t i = 0; i < GC_WINDOWS; i++) {
		double mmu = gc_mmu(&m->gaps, run->begin, run->end,
				    gc_window_ms[i] * UINT64_C(1000000));

		metric[GC_MMU + i] = fmin(metric[GC_MMU + i], mmu);
	}
}

static void sum_up(struct gc_run *run)
{
	double *metric = run->out.metric;
	uint64_t ops = 0;

	sum_up_pauses(run);
	for (uint64_t i = 0; i < run->spec.mutators; i++) {
		struct gc_thread *t = &run->threads[i];

		ops += t->ops;
		run->out.wrong += t->wrong;
		if (gc_meter_normal(&t->meter))
			sum_up_meter(run, &t->meter);
	}
	metric[GC_OPS_PER_S] = (double)ops / metric[GC_WALL];
}

/* --- mutators ------------------------------------------------------------- */

/* Waits for all other mutators and the first thread. */
static void meet(struct gc_thread *t)
{
	t->run->collector->wait_begin(t);
	pthread_barrier_wait(&t->run->barrier);
	t->run->collector->wait_end(t);
}

static void measure(struct gc_thread *t)
{
	t->wrong = 0;
	t->ops = 0;
	gc_meter_start(&t->meter);
	t->run->workload->work(t);
	gc_meter_stop(&t->meter);
}

/* All that a mutator does once it has its objects. */
static void mutate(struct gc_thread *t)
{
	const struct gc_workload *w = t->run->workload;

	meet(t);
	if (!w->drive) { /* which drops its objects as it learns */
		gc_meter_learn(&t->meter);
		w->learn(t);
	}
	meet(t);
	if (t->index == 0)
		t->run->collector->collect(t);
	meet(t);
	gc_meter_learn(&t->meter);
	w->learn(t);
	meet(t); /* the phase begins, all having learnt */
	meet(t);
	measure(t);
	meet(t); /* it ends */
	meet(t);
	w->check(t);
}

/*
 * @n frames, each with a few words that point to objects, as an interpreter
 * would have them on its stack.
 */
__attribute__((noinline)) static void on_frames(struct gc_thread *t, uint64_t n)
{
	const struct gc_workload *w = t->run->workload;
	void *volatile word[12];

	for (size_t i = 0; n && i < BENCH_ARRAY_LEN(word); i++)
		word[i] = w->any ? w->any(t) : t->root[i % GC_ROOTS];
	if (n)
		on_frames(t, n - 1);
	else
		mutate(t);
	bench_use((const void *)word[0]);
}

static void *thread_main(void *arg)
{
	struct gc_thread *t = arg;
	struct gc_run *run = t->run;
	int rc = run->collector->attach(t);

	if (rc < 0)
		gc_fail(run, rc, "a mutator could not be attached: %s",
			strerror(-rc));
	run->workload->setup(t);
	on_frames(t, run->spec.frames);
	memset(t->root, 0, sizeof(t->root));
	run->collector->detach(t);
	return NULL;
}

static void init_thread(struct gc_run *run, unsigned int i)
{
	struct gc_thread *t = &run->threads[i];

	t->run = run;
	t->index = i;
	t->until = 128;
	t->rng.state = run->spec.seed + i * UINT64_C(0x100000001);
}

static void start_threads(struct gc_run *run)
{
	unsigned int n = (unsigned int)run->spec.mutators;
	int rc;

	pthread_barrier_init(&run->barrier, NULL, n + 1);
	for (unsigned int i = 0; i < n; i++) {
		init_thread(run, i);
		rc = pthread_create(&run->threads[i].thread, NULL, thread_main,
				    &run->threads[i]);
		if (rc)
			gc_fail(run, -rc, "no thread: %s", strerror(rc));
	}
}

static void verify(struct gc_run *run)
{
	int rc = 0;

	if (run->collector->verify)
		rc = run->collector->verify(run, run->out.why,
					    sizeof(run->out.why));
	if (rc < 0)
		fail(run, -EPROTO);
}

/* A collection while normal durations were learnt makes them too long. */
static void note_disturbance(struct gc_run *run, uint64_t collections)
{
	if (run->counters_begin.collections != collections)
		gc_note(run, "%sa collection ran while normal was learnt",
			run->out.note[0] ? "; " : "");
}

/* The first thread's part of the meetings. */
static void lead(struct gc_run *run)
{
	struct gc_counters before;

	pthread_barrier_wait(&run->barrier); /* everything is set up */
	pthread_barrier_wait(&run->barrier); /* a first lesson */
	pthread_barrier_wait(&run->barrier); /* a collection */
	run->collector->counters(run, &before);
	pthread_barrier_wait(&run->barrier); /* a second lesson */
	phase_begin(run);
	note_disturbance(run, before.collections);
	pthread_barrier_wait(&run->barrier);
	if (run->workload->drive)
		run->workload->drive(run);
	pthread_barrier_wait(&run->barrier); /* measured */
	phase_end(run);
	verify(run);
	pthread_barrier_wait(&run->barrier);
	for (uint64_t i = 0; i < run->spec.mutators; i++)
		pthread_join(run->threads[i].thread, NULL);
}

/* --- the run -------------------------------------------------------------- */

static const struct {
	const struct gc_collector *collector;
	const struct gc_workload *const *precise;
	const struct gc_workload *const *ambiguous;
	const char *why; /* it was left out */
} built[GC_COLLECTORS] = {
#ifdef HAVE_BDWGC
	[GC_BDWGC] = { &gc_collector_bdwgc, gc_workloads_bdwgc,
		       gc_workloads_bdwgc, NULL },
#else
	[GC_BDWGC] = { .why = FERRY_NO_BDWGC },
#endif
	[GC_FERRY] = { &gc_collector_ferry, gc_workloads_ferry,
		       gc_workloads_ambiguous, NULL },
	[GC_FERRY_STW] = { &gc_collector_ferry, gc_workloads_ferry,
			   gc_workloads_ambiguous, NULL },
	[GC_NONE] = { &gc_collector_none, gc_workloads_none, gc_workloads_none,
		      NULL },
};

bool gc_collector_built(size_t collector, const char **ret_why)
{
	*ret_why = built[collector].why;
	return built[collector].collector != NULL;
}

static void choose(struct gc_run *run)
{
	enum gc_collector_id id = run->spec.collector;
	const struct gc_workload *const *w =
		run->spec.ambiguous ? built[id].ambiguous : built[id].precise;

	run->collector = built[id].collector;
	while ((*w)->id != run->spec.workload)
		w++;
	run->workload = *w;
}

static void run_all(struct gc_run *run)
{
	size_t limit = (size_t)(run->spec.heap * (double)run->spec.live);
	int rc;

	choose(run);
	rc = run->collector->create(run, limit, run->out.why,
				    sizeof(run->out.why));
	if (rc < 0)
		fail(run, rc);
	run->out.why[0] = '\0';
	start_threads(run);
	lead(run);
	sum_up(run);
	run->collector->destroy(run);
}

static void prepare(struct gc_run *run)
{
	double *metric = run->out.metric;

	for (size_t i = 0; i < GC_METRICS; i++)
		metric[i] = NAN;
	pthread_mutex_init(&run->lock, NULL);
	run->threads = bench_alloc(run->spec.mutators * sizeof(*run->threads));
	/* A run that hangs is ended by the signal. */
	alarm((unsigned int)run->spec.limit_s);
}

static void fini(struct gc_run *run)
{
	for (uint64_t i = 0; i < run->spec.mutators; i++)
		gc_meter_fini(&run->threads[i].meter);
	pthread_barrier_destroy(&run->barrier);
	pthread_mutex_destroy(&run->lock);
	bench_samples_fini(&run->pauses);
	free(run->moments);
	free(run->threads);
}

int gc_cell_main(void)
{
	static struct gc_run run;
	int status;

	if (read(STDIN_FILENO, &run.spec, sizeof(run.spec)) !=
	    (ssize_t)sizeof(run.spec))
		return 2;
	prepare(&run);
	run_all(&run);
	status = report(&run);
	fini(&run);
	return status;
}
