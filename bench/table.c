/* SPDX-License-Identifier: MIT */
/* table.c: tables of strings, printed with aligned columns. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "doc.h"
#include "util.h"

void bench_table_column(struct bench_table *t, const char *name)
{
	size_t i = t->ncols++;

	t->head = bench_grow(t->head, t->ncols, sizeof(*t->head));
	t->left = bench_grow(t->left, t->ncols, sizeof(*t->left));
	t->head[i] = bench_strdup(name + (*name == '<'));
	t->left[i] = i == 0 || *name == '<';
}

struct bench_table *bench_table_new(const char *caption, ...)
{
	struct bench_table *t = bench_alloc(sizeof(*t));
	const char *name;
	va_list ap;

	t->caption = bench_strdup(caption);
	va_start(ap, caption);
	while ((name = va_arg(ap, const char *)))
		bench_table_column(t, name);
	va_end(ap);
	return t;
}

void bench_table_free(struct bench_table *t)
{
	if (!t)
		return;
	for (size_t i = 0; i < t->ncols; i++)
		free(t->head[i]);
	for (size_t i = 0; i < t->ncells; i++)
		free(t->cells[i]);
	free(t->head);
	free(t->left);
	free(t->cells);
	free(t->caption);
	free(t);
}

void bench_cell(struct bench_table *t, const char *fmt, ...)
{
	va_list ap;
	char *s;
	int n;

	va_start(ap, fmt);
	n = vasprintf(&s, fmt, ap);
	va_end(ap);
	if (n < 0)
		bench_die("out of memory");
	t->cells = bench_grow(t->cells, t->ncells + 1, sizeof(*t->cells));
	t->cells[t->ncells++] = s;
}

void bench_format(double v, char *buf, size_t size)
{
	double a = fabs(v);
	int digits = a >= 99.95 ? 0 : a >= 9.995 ? 1 : a >= 0.0995 ? 2 : 4;

	snprintf(buf, size, "%.*f", a > 0 ? digits : 0, v);
}

void bench_cell_stat(struct bench_table *t, const struct bench_stat *st)
{
	char value[32], min[32], max[32];

	if (!st->n) {
		bench_cell(t, "-");
		bench_cell(t, "-");
		return;
	}
	bench_format(st->value, value, sizeof(value));
	bench_format(st->min, min, sizeof(min));
	bench_format(st->max, max, sizeof(max));
	bench_cell(t, "%s", value);
	bench_cell(t, "%s..%s", min, max);
}

/* Columns that @s takes on a terminal: bytes that begin a character. */
static size_t columns(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static size_t *column_widths(const struct bench_table *t)
{
	size_t *w = bench_alloc(t->ncols * sizeof(*w));

	for (size_t i = 0; i < t->ncols; i++)
		w[i] = columns(t->head[i]);
	for (size_t i = 0; i < t->ncells; i++) {
		size_t n = columns(t->cells[i]);

		if (w[i % t->ncols] < n)
			w[i % t->ncols] = n;
	}
	return w;
}

static void print_blanks(size_t n, FILE *f)
{
	while (n--)
		fputc(' ', f);
}

static void print_row(const struct bench_table *t, char *const *cells,
		      const size_t *width, FILE *f)
{
	size_t owed = 0; /* blanks before the next text; none at the end */

	for (size_t i = 0; i < t->ncols; i++) {
		size_t blank = width[i] - columns(cells[i]);

		owed += 2 + (t->left[i] ? 0 : blank);
		if (cells[i][0]) {
			print_blanks(owed, f);
			fputs(cells[i], f);
			owed = 0;
		}
		owed += t->left[i] ? blank : 0;
	}
	fputc('\n', f);
}

void bench_table_print(const struct bench_table *t, FILE *f)
{
	size_t *width = column_widths(t);
	size_t line = 2 * (t->ncols - 1);

	for (size_t i = 0; i < t->ncols; i++)
		line += width[i];
	fprintf(f, "%s\n", t->caption);
	print_row(t, t->head, width, f);
	fputs("  ", f);
	while (line--)
		fputc('-', f);
	fputc('\n', f);
	for (size_t i = 0; i + t->ncols <= t->ncells; i += t->ncols)
		print_row(t, &t->cells[i], width, f);
	fputc('\n', f);
	free(width);
}
