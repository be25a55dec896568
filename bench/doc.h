/* SPDX-License-Identifier: MIT */
/*
 * doc.h: what a run has to tell: sentences, tables, plots and targets, kept in
 * their order. Sentences and tables are printed at once; the report of the
 * tour is written from the same record.
 */
#ifndef FERRY_BENCH_DOC_H
#define FERRY_BENCH_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "stats.h"

struct bench_plot;

/* A table of strings. Cells fill it row by row. */
struct bench_table {
	char *caption;
	char **head;
	bool *left; /* beside head: set flush left */
	size_t ncols;
	char **cells;
	size_t ncells;
};

enum bench_block_kind {
	BENCH_SECTION, /* text is a title */
	BENCH_SAY,     /* text is a paragraph */
	BENCH_TABLE,
	BENCH_TARGETS, /* a table of targets, which a report gathers */
	BENCH_PLOT,
};

struct bench_block {
	enum bench_block_kind kind;
	char *text;
	struct bench_table *table;
	struct bench_plot *plot;
};

enum bench_sense { BENCH_AT_MOST, BENCH_AT_LEAST };

/* A figure to reach. */
struct bench_target {
	char *name; /* of the result that it is about */
	char *text; /* for people */
	enum bench_sense sense;
	double limit;
	const char *unit;      /* "x" for ratios */
	struct bench_stat got; /* n == 0: could not be measured */
};

/* Owns all it points to. All zero and @out set = empty. */
struct bench_doc {
	FILE *out; /* where sentences and tables go; NULL = nowhere */
	struct bench_block *blocks;
	size_t nblocks;
	struct bench_target *targets;
	size_t ntargets;
};

void bench_doc_fini(struct bench_doc *doc);

void bench_doc_section(struct bench_doc *doc, const char *title);
void bench_doc_say(struct bench_doc *doc, const char *text);
void bench_doc_table(struct bench_doc *doc, struct bench_table *t);
void bench_doc_targets(struct bench_doc *doc, struct bench_table *t);
void bench_doc_plot(struct bench_doc *doc, struct bench_plot *p);
void bench_doc_target(struct bench_doc *doc, const struct bench_target *t);

/* "reached", "not reached" or "not measured". */
const char *bench_target_verdict(const struct bench_target *t);

/*
 * The targets [from, ntargets) as a table, or NULL if there are none: what is
 * asked, what was measured with its spread, and the verdict.
 */
struct bench_table *bench_targets_table(const struct bench_doc *doc,
					size_t from);

/*
 * A new table. @caption says what it shows and in which unit; the column
 * names end with NULL. The first column is set flush left, the others right
 * unless their name begins with '<' (which is not shown).
 */
__attribute__((sentinel)) struct bench_table *
bench_table_new(const char *caption, ...);
/* One more column, while there is no cell yet. */
void bench_table_column(struct bench_table *t, const char *name);
void bench_table_free(struct bench_table *t);

/* Append one cell; "" is an empty one. */
__attribute__((format(printf, 2, 3))) void bench_cell(struct bench_table *t,
						      const char *fmt, ...);

/* Append two cells: median, and "min..max"; "-" twice when not measured. */
void bench_cell_stat(struct bench_table *t, const struct bench_stat *st);

/* Three significant digits, no exponent: 61.2, 1.53, 20480. */
void bench_format(double v, char *buf, size_t size);

void bench_table_print(const struct bench_table *t, FILE *f);

/* Print a paragraph, broken between words at 78 columns. */
void bench_print_wrapped(const char *text, FILE *f);

#endif
