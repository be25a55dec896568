/* SPDX-License-Identifier: MIT */
/*
 * gc_work_fragment.c: memory is filled with objects, three quarters of them
 * are dropped, scattered; then memory is to be given back while mutators walk
 * what is left, verify it and allocate a little.
 *
 * fragment: small records, each a node and 16 to 240 bytes without references.
 * leaf: arrays without references of 64 KiB to 1 MiB, which nobody should
 * have to copy.
 */
#include <string.h>
#include <time.h>

#include "gc_mem.h"

#define KIB ((size_t)1024)

/* References in one piece of the table of all records. */
#define PIECE 512

/* Records between which a short-lived one is allocated. */
#define WALKED_PER_NEW 256
#define WALKED_PER_OP  16

/* The number of all short-lived records, which are as small as any. */
#define SHORT_LIVED UINT64_MAX

static uint64_t stamp_of(uint64_t record)
{
	struct bench_rng rng = { record };

	return bench_rng_next(&rng);
}

static size_t len_of(const struct gc_thread *t, uint64_t record)
{
	struct bench_rng rng = { ~record };
	uint64_t r = record == SHORT_LIVED ? 0 : bench_rng_next(&rng);

	if (t->run->spec.workload == GC_LEAF)
		return (64 + r % (1024 - 64)) * KIB;
	return 16 * (1 + r % 15);
}

/* Bytes without references that begin and end, and every page between begins,
 * with the record's stamp. */
static struct gc_bytes *make_bytes(struct gc_thread *t, uint64_t record)
{
	size_t len = len_of(t, record);
	struct gc_bytes *b = gc_bytes(t, len);
	uint64_t stamp = stamp_of(record);

	for (size_t at = 0; at < len; at += 4 * KIB)
		memcpy(b->byte + at, &stamp, sizeof(stamp));
	memcpy(b->byte + len - sizeof(stamp), &stamp, sizeof(stamp));
	return b;
}

static bool bytes_right(const struct gc_thread *t, uint64_t record,
			const struct gc_bytes *b)
{
	size_t len = len_of(t, record);
	uint64_t stamp = stamp_of(record);

	if (b->type != GC_TYPE_BYTES || b->n != len)
		return false;
	for (size_t at = 0; at < len; at += 4 * KIB)
		if (memcmp(b->byte + at, &stamp, sizeof(stamp)))
			return false;
	return !memcmp(b->byte + len - sizeof(stamp), &stamp, sizeof(stamp));
}

static void *make_record(struct gc_thread *t, uint64_t record)
{
	struct gc_node *n;

	GC_ENTER(t, l, 1);
	l[0] = make_bytes(t, record);
	n = gc_node(t, record);
	n->left = l[0];
	GC_LEAVE(t, l);
	return n;
}

static bool record_right(const struct gc_thread *t, uint64_t record,
			 const struct gc_node *n)
{
	return n->type == GC_TYPE_NODE && n->value == record && !n->right &&
	       bytes_right(t, record, (const struct gc_bytes *)n->left);
}

static size_t record_bytes(const struct gc_thread *t, uint64_t record)
{
	return sizeof(struct gc_node) + sizeof(struct gc_bytes) +
	       len_of(t, record);
}

/* Each mutator's records: t->size of them, in a table of pieces. */
static void **slot_of(struct gc_thread *t, uint64_t record)
{
	struct gc_array *table = t->root[0];
	struct gc_array *piece = table->slot[record / PIECE];

	return &piece->slot[record % PIECE];
}

static uint64_t count_records(const struct gc_thread *t)
{
	uint64_t bytes = t->run->spec.live / t->run->spec.mutators;
	uint64_t n = 0;

	for (uint64_t sum = 0; sum < bytes; n++)
		sum += record_bytes(t, n);
	return n;
}

static void make_table(struct gc_thread *t)
{
	size_t pieces = (t->size + PIECE - 1) / PIECE;

	t->root[0] = gc_array(t, pieces);
	for (size_t i = 0; i < pieces; i++) {
		struct gc_array *piece = gc_array(t, PIECE);

		((struct gc_array *)t->root[0])->slot[i] = piece;
	}
}

static void setup(struct gc_thread *t)
{
	t->size = count_records(t);
	make_table(t);
	for (uint64_t i = 0; i < t->size; i++) {
		void *record = make_record(t, i);

		*slot_of(t, i) = record;
	}
}

/* Verify a few records at random, dropped ones passed over. */
static void walk(struct gc_thread *t)
{
	for (int i = 0; i < WALKED_PER_OP; i++) {
		uint64_t record = bench_rng_below(&t->rng, t->size);
		const struct gc_node *n = *slot_of(t, record);

		if (n && !record_right(t, record, n))
			t->wrong++;
	}
	t->ops += WALKED_PER_OP;
	gc_tick(&t->meter, GC_OP_WALK);
	atomic_store_explicit(&t->normal, gc_meter_normal(&t->meter),
			      memory_order_relaxed);
}

static void walk_and_make(struct gc_thread *t)
{
	for (int i = 0; i < WALKED_PER_NEW; i += WALKED_PER_OP) {
		walk(t);
		gc_poll(t);
	}
	gc_scratch(t, true);
	t->root[1] = make_record(t, SHORT_LIVED);
	gc_scratch(t, false);
	gc_tick(&t->meter, GC_OP_BUILD);
}

/* Three quarters are dropped before: that belongs to what is learnt, as
 * walking is quicker when most slots are empty. */
static void drop_and_learn(struct gc_thread *t)
{
	struct bench_rng rng = { ~t->rng.state };
	uint64_t dropped = 0;

	for (uint64_t i = 0; i < t->size; i++) {
		if (bench_rng_below(&rng, 4) == 0)
			continue;
		*slot_of(t, i) = NULL;
		dropped += record_bytes(t, i);
		gc_poll(t);
	}
	t->value[0] = (double)dropped;
	for (int i = 0; i < 500; i++)
		walk_and_make(t);
}

static void work(struct gc_thread *t)
{
	while (!atomic_load_explicit(&t->run->stop, memory_order_relaxed))
		walk_and_make(t);
}

static void check(struct gc_thread *t)
{
	for (uint64_t i = 0; i < t->size; i++) {
		const struct gc_node *n = *slot_of(t, i);

		if (n && !record_right(t, i, n))
			t->wrong++;
		gc_poll(t);
	}
}

static void rest(long ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

	nanosleep(&ts, NULL);
}

/* CPU time of the collector when the share @part of @dead was back. */
static double cpu_when(const struct gc_run *run, double rss, double dead,
		       double part)
{
	for (size_t i = 0; i < run->nmoments; i++)
		if (run->moments[i].rss <= rss - part * dead)
			return run->moments[i].gc_cpu;
	return __builtin_nan("");
}

static void drive(struct gc_run *run)
{
	double *metric = run->out.metric;
	double rss, dead = 0;
	struct gc_sampler *s;

	for (uint64_t i = 0; i < run->spec.mutators; i++)
		dead += run->threads[i].value[0];
	gc_rss_reset();
	rss = (double)gc_rss_now();
	rest(20); /* mutators are at work */
	s = gc_sampler_start(run);
	rest(20);
	gc_sampler_mark(s);
	run->collector->compact(run);
	rest(100);
	gc_sampler_stop(s);
	atomic_store_explicit(&run->stop, true, memory_order_relaxed);
	metric[GC_RETURNED] = (rss - (double)gc_rss_now()) / dead;
	metric[GC_RSS_OVER] = (double)gc_rss_peak() / rss - 1;
	metric[GC_RETURN_CPU] = cpu_when(run, rss, dead, 0.95);
}

const struct gc_workload GC_NAME(gc_fragment) = {
	.id = GC_FRAGMENT,
	.setup = setup,
	.learn = drop_and_learn,
	.work = work,
	.check = check,
	.drive = drive,
};

const struct gc_workload GC_NAME(gc_leaf) = {
	.id = GC_LEAF,
	.setup = setup,
	.learn = drop_and_learn,
	.work = work,
	.check = check,
	.drive = drive,
};
