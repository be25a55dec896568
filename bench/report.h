/* SPDX-License-Identifier: MIT */
/* report.h: a run as one self-contained web page. */
#ifndef FERRY_BENCH_REPORT_H
#define FERRY_BENCH_REPORT_H

#include "bench.h"

/*
 * Write everything in the record of @b to @path: one page with its style and
 * its plots inside, that refers to nothing else. Plots that are not drawn
 * (bench_plot_draw) are left out. Returns 0 or a negative errno.
 */
int bench_report_write(const struct bench *b, const char *path);

/* The page itself, to a stream. */
void bench_report_print(const struct bench *b, FILE *f);

#endif
