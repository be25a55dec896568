/* SPDX-License-Identifier: MIT */
/* gc_meter.c: lost time, and the minimum mutator utilisation. */
#include <stdlib.h>
#include <string.h>

#include "gc_meter.h"

const unsigned int gc_window_ms[GC_WINDOWS] = { 1, 2, 5, 10, 20, 50, 100 };

void gc_gaps_add(struct gc_gaps *g, uint64_t end, uint64_t len)
{
	struct gc_gap *last = g->n ? &g->v[g->n - 1] : NULL;
	uint64_t start = len < end ? end - len : 0;

	if (last && start <= last->start + last->len) {
		if (end > last->start + last->len)
			last->len = end - last->start;
		return;
	}
	if (g->n == g->room) {
		g->room = g->room ? 2 * g->room : 1024;
		g->v = bench_grow(g->v, g->room, sizeof(*g->v));
	}
	g->v[g->n++] = (struct gc_gap){ start, end - start };
}

void gc_gaps_fini(struct gc_gaps *g)
{
	free(g->v);
	memset(g, 0, sizeof(*g));
}

/* How much of the gap lies in [@from, @to). */
static uint64_t overlap(const struct gc_gap *g, uint64_t from, uint64_t to)
{
	uint64_t start = g->start > from ? g->start : from;
	uint64_t end = g->start + g->len < to ? g->start + g->len : to;

	return end > start ? end - start : 0;
}

/* A window that slides over the gaps, from left to right. */
struct slide {
	const struct gc_gaps *g;
	size_t first; /* that ends after the window begins */
	size_t next;  /* the first that begins at its end or after */
	uint64_t sum; /* whole lengths of first..next-1 */
};

/* ns lost in [@from, @to); both ends only ever grow. */
static uint64_t lost_in(struct slide *s, uint64_t from, uint64_t to)
{
	const struct gc_gap *v = s->g->v;
	uint64_t sum;

	for (; s->next < s->g->n && v[s->next].start < to; s->next++)
		s->sum += v[s->next].len;
	for (;
	     s->first < s->next && v[s->first].start + v[s->first].len <= from;
	     s->first++)
		s->sum -= v[s->first].len;
	if (s->first == s->next)
		return 0;
	if (s->next - s->first == 1)
		return overlap(&v[s->first], from, to);
	sum = s->sum - v[s->first].len - v[s->next - 1].len;
	return sum + overlap(&v[s->first], from, to) +
	       overlap(&v[s->next - 1], from, to);
}

/*
 * A window that loses most can be shifted until it begins with a gap or ends
 * with one, without losing less: those are tried.
 */
double gc_mmu(const struct gc_gaps *g, uint64_t begin, uint64_t end,
	      uint64_t window)
{
	struct slide at_start = { .g = g }, at_end = { .g = g };
	uint64_t worst = 0;

	if (end <= begin)
		return 1;
	if (window > end - begin)
		window = end - begin;
	for (size_t i = 0; i < g->n; i++) {
		uint64_t from = g->v[i].start > begin ? g->v[i].start : begin;
		uint64_t to = g->v[i].start + g->v[i].len;
		uint64_t lost;

		if (from > end - window)
			from = end - window;
		lost = lost_in(&at_start, from, from + window);
		worst = lost > worst ? lost : worst;
		to = to < end ? to : end;
		to = to - begin > window && to > begin ? to : begin + window;
		lost = lost_in(&at_end, to - window, to);
		worst = lost > worst ? lost : worst;
	}
	return 1 - (double)worst / (double)window;
}

/* The mean without the slowest hundredth; 0 of nothing. */
static uint64_t normal_of(const struct bench_samples *s)
{
	double limit = bench_samples_quantile(s, 0.99);
	double sum = 0;
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++) {
		if (s->v[i] > limit)
			continue;
		sum += s->v[i];
		n++;
	}
	return n ? (uint64_t)(sum / (double)n) : 0;
}

static void end_lesson(struct gc_meter *m)
{
	for (size_t i = 0; i < GC_OPS; i++) {
		uint64_t ns = normal_of(&m->learnt[i]);

		if (ns && (!m->lesson[i] || ns < m->lesson[i]))
			m->lesson[i] = ns;
		bench_samples_clear(&m->learnt[i]);
	}
}

void gc_meter_learn(struct gc_meter *m)
{
	end_lesson(m);
	m->learning = true;
	m->last = bench_now();
}

void gc_meter_start(struct gc_meter *m)
{
	end_lesson(m);
	memcpy(m->base, m->lesson, sizeof(m->base));
	memset(m->count, 0, sizeof(m->count));
	memset(m->excess, 0, sizeof(m->excess));
	m->learning = false;
	m->owed = 0;
	m->lost = m->worst = 0;
	m->gaps.n = 0;
	m->last = bench_now();
}

void gc_meter_book(struct gc_meter *m)
{
	gc_gaps_add(&m->gaps, m->last, (uint64_t)m->owed);
	m->lost += (uint64_t)m->owed;
	m->owed = 0;
}

void gc_meter_note(struct gc_meter *m, enum gc_op op, uint64_t took)
{
	bench_samples_add(&m->learnt[op], (double)took);
}

void gc_meter_stop(struct gc_meter *m)
{
	if (m->owed > 0)
		gc_meter_book(m);
}

void gc_meter_fini(struct gc_meter *m)
{
	gc_gaps_fini(&m->gaps);
	for (size_t i = 0; i < GC_OPS; i++)
		bench_samples_fini(&m->learnt[i]);
}

uint64_t gc_meter_normal(const struct gc_meter *m)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < GC_OPS; i++)
		sum += m->count[i] * m->base[i];
	return sum;
}
