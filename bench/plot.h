/* SPDX-License-Identifier: MIT */
/* plot.h: plots of ferry-bench, drawn by gnuplot as SVG. */
#ifndef FERRY_BENCH_PLOT_H
#define FERRY_BENCH_PLOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "stats.h"

enum bench_plot_kind {
	BENCH_LINES, /* series over x, each named at its right end */
	BENCH_DOTS,  /* one row per series: its value, and its spread */
};

struct bench_point {
	double x;
	double y;
	double min;
	double max;
};

struct bench_series {
	char *label;
	unsigned int colour; /* index into the palette */
	struct bench_point *v;
	size_t n;
};

struct bench_tick {
	double at;
	char *label;
};

struct bench_plot {
	char *name; /* of its file, without .svg */
	enum bench_plot_kind kind;
	char *title; /* a sentence: what is to be seen */
	char *xlabel;
	char *ylabel;
	bool log_x;
	bool log_y;
	double y_top; /* of BENCH_LINES: the y axis reaches it; 0: by data */
	struct bench_series *series;
	size_t nseries;
	struct bench_tick *ticks; /* on the x axis; none: at the data's x */
	size_t nticks;
	char *svg; /* once drawn */
};

/*
 * A new plot. BENCH_LINES: both axes are logarithmic unless changed in the
 * struct. BENCH_DOTS: values lie along the x axis (@xlabel), which is
 * logarithmic; @ylabel is unused.
 */
struct bench_plot *bench_plot_new(const char *name, enum bench_plot_kind kind,
				  const char *title, const char *xlabel,
				  const char *ylabel);
void bench_plot_free(struct bench_plot *p);

/* Begin a series; @colour picks from the palette, the same for the same. */
void bench_plot_series(struct bench_plot *p, const char *label,
		       unsigned int colour);

/* Add a point to the last series. Unmeasured and, on log axes, values of 0
 * and below are left out. */
void bench_plot_point(struct bench_plot *p, double x,
		      const struct bench_stat *st);
void bench_plot_tick(struct bench_plot *p, double at, const char *label);

/* Five ticks or so from 0 to @max, at 1, 2 or 5 times a power of ten. */
void bench_plot_tick_evenly(struct bench_plot *p, double max);

/* Whether gnuplot can be run. */
bool bench_plot_possible(void);

/* The gnuplot program that draws @p, with its title if @titled, to @path. */
void bench_plot_script(const struct bench_plot *p, const char *path,
		       bool titled, FILE *f);

/*
 * Draw @p, keeping the SVG in p->svg.
 * Returns 0, -ENODATA (no point to draw), or -EIO when gnuplot failed.
 */
int bench_plot_draw(struct bench_plot *p, bool titled);

/* Write the drawn plot as a file of its own. Returns 0 or -errno. */
int bench_plot_write(const struct bench_plot *p, const char *dir);

#endif
