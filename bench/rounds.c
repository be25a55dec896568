/* SPDX-License-Identifier: MIT */
/* rounds.c: interleaved A/B rounds, and the progress bar. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

/*
 * Rounds that are done even if the budget is used up; but not if they take
 * PATIENCE times the budget.
 */
#define MIN_ROUNDS 5
#define PATIENCE   5

static bool bar_shown;

void bench_progress(const char *what, size_t done, size_t total)
{
	static const char full[] = "########################";
	int width = sizeof(full) - 1;
	int n;

	if (!isatty(STDERR_FILENO))
		return;
	n = total ? (int)(done * (size_t)width / total) : 0;
	fprintf(stderr, "\r\033[K[%.*s%*s] %s", n, full, width - n, "", what);
	bar_shown = true;
}

void bench_progress_end(void)
{
	if (bar_shown)
		fputs("\r\033[K", stderr);
	bar_shown = false;
}

static void run_case(struct bench_case *c, bool keep)
{
	double v;

	if (c->error)
		return;
	c->error = c->run(c->arg, &v);
	if (c->error)
		bench_samples_clear(&c->samples);
	else if (keep)
		bench_samples_add(&c->samples, v);
}

void bench_rounds(struct bench *b, struct bench_case *cases, size_t n,
		  size_t rounds, uint64_t budget_ms)
{
	uint32_t *order = bench_alloc(n * sizeof(*order));
	uint64_t budget = budget_ms * 1000000;
	uint64_t begin = bench_now();

	for (size_t i = 0; i < n; i++)
		order[i] = (uint32_t)i;
	for (size_t round = 0; round <= rounds; round++) {
		uint64_t spent = bench_now() - begin;

		if (spent > budget &&
		    (round > MIN_ROUNDS ||
		     (round > 1 && spent > PATIENCE * budget)))
			break;
		bench_rng_shuffle(&b->rng, order, n);
		for (size_t i = 0; i < n; i++)
			run_case(&cases[order[i]], round > 0);
	}
	free(order);
}

void bench_cases_fini(struct bench_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
		bench_samples_fini(&cases[i].samples);
}
