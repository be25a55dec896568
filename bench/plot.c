/* SPDX-License-Identifier: MIT */
/* plot.c: describe a plot, and have gnuplot draw it as SVG. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doc.h"
#include "plot.h"
#include "util.h"

#define WIDTH	    600
#define LINE_HEIGHT 340

/*
 * Colours of middling lightness, legible on white and on near-black. INK is
 * replaced by the colour of the surrounding text after drawing.
 */
#define INK  "#111111"
#define PALE "#888888"

static const char *const palette[] = {
	"#e8590c", "#3b82d6", "#2f9e44", "#a855c7",
	"#0e9aa7", "#d6336c", "#8a8f98", "#b08900",
};

struct bench_plot *bench_plot_new(const char *name, enum bench_plot_kind kind,
				  const char *title, const char *xlabel,
				  const char *ylabel)
{
	struct bench_plot *p = bench_alloc(sizeof(*p));

	p->name = bench_strdup(name);
	p->kind = kind;
	p->title = bench_strdup(title);
	p->xlabel = bench_strdup(xlabel);
	p->ylabel = bench_strdup(ylabel);
	p->log_x = true;
	p->log_y = true;
	return p;
}

void bench_plot_free(struct bench_plot *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->nseries; i++) {
		free(p->series[i].label);
		free(p->series[i].v);
	}
	for (size_t i = 0; i < p->nticks; i++)
		free(p->ticks[i].label);
	free(p->series);
	free(p->ticks);
	free(p->name);
	free(p->title);
	free(p->xlabel);
	free(p->ylabel);
	free(p->svg);
	free(p);
}

void bench_plot_series(struct bench_plot *p, const char *label,
		       unsigned int colour)
{
	struct bench_series *s;

	p->series = bench_grow(p->series, p->nseries + 1, sizeof(*s));
	s = &p->series[p->nseries++];
	*s = (struct bench_series){ .label = bench_strdup(label),
				    .colour = colour };
}

void bench_plot_point(struct bench_plot *p, double x,
		      const struct bench_stat *st)
{
	struct bench_series *s = &p->series[p->nseries - 1];
	bool log_value = p->kind == BENCH_DOTS ? p->log_x : p->log_y;

	if (!st->n || (log_value && st->min <= 0))
		return;
	s->v = bench_grow(s->v, s->n + 1, sizeof(*s->v));
	s->v[s->n++] = (struct bench_point){ x, st->value, st->min, st->max };
}

void bench_plot_tick(struct bench_plot *p, double at, const char *label)
{
	struct bench_tick *t;

	p->ticks = bench_grow(p->ticks, p->nticks + 1, sizeof(*t));
	t = &p->ticks[p->nticks++];
	t->at = at;
	t->label = bench_strdup(label);
}

void bench_plot_tick_evenly(struct bench_plot *p, double max)
{
	static const double steps[] = { 1, 2, 5 };
	double step = 1;

	for (size_t i = 1; max / step > 6; i++) {
		step = steps[i % 3];
		for (size_t j = 0; j < i / 3; j++)
			step *= 10;
	}
	for (double at = 0; at <= max; at += step) {
		char text[32];

		snprintf(text, sizeof(text), "%g", at);
		bench_plot_tick(p, at, text);
	}
}

bool bench_plot_possible(void)
{
	return system("gnuplot --version >/dev/null 2>&1") == 0;
}

/* The extent of the values, spreads included. */
struct extent {
	double xmin, xmax, ymin, ymax;
};

static struct extent extent_of(const struct bench_plot *p)
{
	struct extent e = { INFINITY, -INFINITY, INFINITY, -INFINITY };

	for (size_t i = 0; i < p->nseries; i++) {
		for (size_t j = 0; j < p->series[i].n; j++) {
			const struct bench_point *v = &p->series[i].v[j];

			e.xmin = fmin(e.xmin, v->x);
			e.xmax = fmax(e.xmax, v->x);
			e.ymin = fmin(e.ymin, v->min);
			e.ymax = fmax(e.ymax, v->max);
		}
	}
	return e;
}

/* Leave room around the values; a linear axis begins at 0. */
static void pad(bool log_axis, double before, double after, double *lo,
		double *hi)
{
	double span;

	if (!log_axis) {
		*lo = fmin(0, *lo);
		*hi += (*hi - *lo) * after;
		return;
	}
	span = fmax(log(*hi / *lo), 0.7);
	*lo *= exp(-before * span);
	*hi *= exp(after * span);
}

static double fraction(bool log_axis, double v, double lo, double hi)
{
	return log_axis ? log(v / lo) / log(hi / lo) : (v - lo) / (hi - lo);
}

static void put_quoted(const char *s, FILE *f)
{
	fputc('"', f);
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			fputc('\\', f);
		fputc(*s, f);
	}
	fputc('"', f);
}

static const char *colour(const struct bench_series *s)
{
	return palette[s->colour % BENCH_ARRAY_LEN(palette)];
}

/* Where a series is named: the height of its last point, as a fraction. */
struct end_label {
	const struct bench_series *series;
	double at;
};

static int by_height(const void *a, const void *b)
{
	double x = ((const struct end_label *)a)->at;
	double y = ((const struct end_label *)b)->at;

	return (x > y) - (x < y);
}

/* Push labels apart to @gap: upwards, then back down from the top. */
static void spread_labels(struct end_label *l, size_t n, double gap)
{
	qsort(l, n, sizeof(*l), by_height);
	for (size_t i = 1; i < n; i++)
		l[i].at = fmax(l[i].at, l[i - 1].at + gap);
	if (n && l[n - 1].at > 1)
		l[n - 1].at = 1;
	for (size_t i = n; i-- > 1;)
		l[i - 1].at = fmin(l[i - 1].at, l[i].at - gap);
}

static void put_end_labels(const struct bench_plot *p, const struct extent *e,
			   FILE *f)
{
	struct end_label *l = bench_alloc(p->nseries * sizeof(*l));
	size_t n = 0;

	for (size_t i = 0; i < p->nseries; i++) {
		const struct bench_series *s = &p->series[i];

		if (!s->n)
			continue;
		l[n].series = s;
		l[n++].at =
			fraction(p->log_y, s->v[s->n - 1].y, e->ymin, e->ymax);
	}
	spread_labels(l, n, 0.068);
	for (size_t i = 0; i < n; i++) {
		fputs("set label ", f);
		put_quoted(l[i].series->label, f);
		fprintf(f,
			" at graph 1.02, graph %.4f left tc rgb '%s' front\n",
			l[i].at, colour(l[i].series));
	}
	free(l);
}

static size_t longest_label(const struct bench_plot *p)
{
	size_t n = 0;

	for (size_t i = 0; i < p->nseries; i++)
		if (strlen(p->series[i].label) > n)
			n = strlen(p->series[i].label);
	return n;
}

static void put_data(const struct bench_plot *p, FILE *f)
{
	for (size_t i = 0; i < p->nseries; i++) {
		fprintf(f, "$s%zu << EOD\n", i);
		for (size_t j = 0; j < p->series[i].n; j++) {
			const struct bench_point *v = &p->series[i].v[j];

			fprintf(f, "%.9g %.9g %.9g %.9g\n", v->x, v->y, v->min,
				v->max);
		}
		fputs("EOD\n", f);
	}
}

/* Ticks at the x of the data when there are no named ones. */
static void put_x_ticks(const struct bench_plot *p, FILE *f)
{
	const char *sep = "";

	fputs("set xtics (", f);
	for (size_t i = 0; i < p->nticks; i++, sep = ", ") {
		fputs(sep, f);
		put_quoted(p->ticks[i].label, f);
		fprintf(f, " %.9g", p->ticks[i].at);
	}
	for (size_t i = 0; !p->nticks && i < p->nseries; i++) {
		for (size_t j = 0; j < p->series[i].n; j++, sep = ", ")
			fprintf(f, "%s%.9g", sep, p->series[i].v[j].x);
	}
	fputs(")\n", f);
}

static void put_axis(char axis, bool log_axis, double lo, double hi, FILE *f)
{
	if (log_axis)
		fprintf(f, "set logscale %c 10\n", axis);
	fprintf(f, "set %crange [%.9g:%.9g]\n", axis, lo, hi);
}

static void put_head(const struct bench_plot *p, const char *path, int height,
		     bool titled, FILE *f)
{
	fprintf(f,
		"set terminal svg size %d,%d dynamic noenhanced"
		" font 'sans-serif,16' linewidth 1\n"
		"set output ",
		WIDTH, height);
	put_quoted(path, f);
	fputs("\nset encoding utf8\nset key off\nset errorbars 0\n"
	      "set tics nomirror out scale 0.4 textcolor rgb '" INK "'\n"
	      "set style line 9 lc rgb '" PALE "' lw 0.6 dt 3\n",
	      f);
	if (titled) {
		/* Over all of the drawing: a title proper would be centred
		 * over the axes, and cut where labels push them aside. */
		fputs("set tmargin 2.5\nset label 1 ", f);
		put_quoted(p->title, f);
		fputs(" at screen 0.5, screen 1 center offset 0,-1 tc rgb '" INK
		      "'\n",
		      f);
	}
	fputs("set xlabel ", f);
	put_quoted(p->xlabel, f);
	fputs(" tc rgb '" INK "'\n", f);
}

/* Decimals for an axis that ends at @max: 2G is marked in steps of 200M. */
static int decimals(const struct bench_plot *p, double max)
{
	while (max >= 1000)
		max /= 1000;
	return !p->log_y && max < 5;
}

static void put_lines(const struct bench_plot *p, FILE *f)
{
	struct extent e = extent_of(p);
	const char *sep = "plot ";

	e.ymax = fmax(e.ymax, p->y_top);
	pad(p->log_x, 0.04, 0.03, &e.xmin, &e.xmax);
	pad(p->log_y, 0.06, 0.06, &e.ymin, &e.ymax);
	fprintf(f,
		"set border 3 lc rgb '" INK "' lw 0.7\n"
		"set grid ytics ls 9\nset format y '%%.%ds%%c'\nset ylabel ",
		decimals(p, e.ymax));
	put_quoted(p->ylabel, f);
	fprintf(f, " tc rgb '" INK "'\nset rmargin %zu\n",
		longest_label(p) + 3);
	put_axis('x', p->log_x, e.xmin, e.xmax, f);
	put_axis('y', p->log_y, e.ymin, e.ymax, f);
	put_x_ticks(p, f);
	put_end_labels(p, &e, f);
	put_data(p, f);
	/* Backwards: the first series is what it is about, and lies on top. */
	for (size_t i = p->nseries; i-- > 0;) {
		const char *rgb = colour(&p->series[i]);

		if (!p->series[i].n)
			continue;
		fprintf(f,
			"%s$s%zu using 1:3:(0):($4-$3) with vectors nohead"
			" lc rgb '%s'"
			" lw 0.8, $s%zu using 1:2 with lines"
			" lc rgb '%s' lw 2.2, $s%zu using 1:2 with points"
			" lc rgb '%s' pt 7 ps 0.5",
			sep, i, rgb, i, rgb, i, rgb);
		sep = ", ";
	}
	fputc('\n', f);
}

static void put_dot_rows(const struct bench_plot *p, FILE *f)
{
	const char *sep = "";
	char text[32];

	fputs("set ytics (", f);
	for (size_t i = 0; i < p->nseries; i++, sep = ", ") {
		fputs(sep, f);
		put_quoted(p->series[i].label, f);
		fprintf(f, " %zu", p->nseries - i);
	}
	fputs(")\n", f);
	for (size_t i = 0; i < p->nseries; i++) {
		const struct bench_series *s = &p->series[i];

		fprintf(f, "$s%zu << EOD\n", i);
		for (size_t j = 0; j < s->n; j++) {
			bench_format(s->v[j].y, text, sizeof(text));
			fprintf(f, "%.9g %zu %.9g %.9g \"%s\"\n", s->v[j].y,
				p->nseries - i, s->v[j].min, s->v[j].max, text);
		}
		fputs("EOD\n", f);
	}
}

static void put_dots(const struct bench_plot *p, FILE *f)
{
	struct extent e = extent_of(p);
	const char *sep = "plot ";
	/* Less than a decade is read better, and fairer, from 0 on. */
	bool log_axis = p->log_x && e.ymax > 10 * e.ymin;

	pad(log_axis, 0.06, 0.2, &e.ymin, &e.ymax);
	fputs("set border 1 lc rgb '" INK "' lw 0.7\n"
	      "set grid xtics ls 9\nset format x '%.0s%c'\n",
	      f);
	fprintf(f, "set yrange [0.4:%zu.6]\nset lmargin %zu\n", p->nseries,
		longest_label(p) + 2);
	put_axis('x', log_axis, e.ymin, e.ymax, f);
	put_dot_rows(p, f);
	for (size_t i = 0; i < p->nseries; i++) {
		if (!p->series[i].n)
			continue;
		fprintf(f,
			"%s$s%zu using 1:2:3:4 with xerrorbars lc rgb '%s'"
			" lw 2 pt 7 ps 0.8, $s%zu using 4:2:5 with labels"
			" left offset 0.8,0 tc rgb '%s'",
			sep, i, colour(&p->series[i]), i,
			colour(&p->series[i]));
		sep = ", ";
	}
	fputc('\n', f);
}

void bench_plot_script(const struct bench_plot *p, const char *path,
		       bool titled, FILE *f)
{
	int height = LINE_HEIGHT;

	if (p->kind == BENCH_DOTS)
		height = 100 + 27 * (int)p->nseries;
	put_head(p, path, height + (titled ? 30 : 0), titled, f);
	if (p->kind == BENCH_DOTS)
		put_dots(p, f);
	else
		put_lines(p, f);
}

static bool has_points(const struct bench_plot *p)
{
	for (size_t i = 0; i < p->nseries; i++)
		if (p->series[i].n)
			return true;
	return false;
}

static char *read_all(int fd)
{
	char *text = NULL;
	size_t len = 0;
	ssize_t n;

	do {
		text = bench_grow(text, len + 4097, 1);
		n = read(fd, text + len, 4096);
		len += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	text[len] = '\0';
	return text;
}

/* A copy of @text with each @from replaced by @to. */
static char *replace(const char *text, const char *from, const char *to)
{
	char *out = NULL;
	size_t size;
	FILE *f = open_memstream(&out, &size);
	const char *hit;

	if (!f)
		bench_die("out of memory");
	while ((hit = strstr(text, from))) {
		fwrite(text, 1, (size_t)(hit - text), f);
		fputs(to, f);
		text = hit + strlen(from);
	}
	fputs(text, f);
	fclose(f);
	return out;
}

static void replace_in(char **text, const char *from, const char *to)
{
	char *next = replace(*text, from, to);

	free(*text);
	*text = next;
}

/* Give every name in the drawing the plot's own, as pages hold several. */
static void rename_ids(const struct bench_plot *p, char **text)
{
	static const char *const before[] = { "id='", "id=\"", "href='#",
					      "url(#" };

	for (size_t i = 0; i < BENCH_ARRAY_LEN(before); i++) {
		char *to = bench_asprintf("%s%s-", before[i], p->name);

		replace_in(text, before[i], to);
		free(to);
	}
}

/*
 * From what gnuplot wrote to what can stand in a page among others, with ink
 * of the page's own colour: groups that set a colour would hide that.
 */
static char *tidy(const struct bench_plot *p, char *raw)
{
	const char *svg = strstr(raw, "<svg");
	char *text = bench_strdup(svg ? svg : raw);

	replace_in(&text, "rgb( 17,  17,  17)", "currentColor");
	replace_in(&text, "rgb(17,17,17)", "currentColor");
	replace_in(&text, " color=\"black\"", "");
	replace_in(&text, " color=\"white\"", "");
	rename_ids(p, &text);
	return text;
}

/*
 * gnuplot is started by popen(), which does not copy this process's page
 * tables: pages of a benchmark that still runs stay exclusive.
 */
static int run_gnuplot(const struct bench_plot *p, const char *path,
		       bool titled)
{
	FILE *f = popen("gnuplot", "we");

	if (!f)
		return -EIO;
	bench_plot_script(p, path, titled, f);
	return pclose(f) == 0 ? 0 : -EIO;
}

int bench_plot_draw(struct bench_plot *p, bool titled)
{
	char path[] = "/tmp/ferry-bench-XXXXXX";
	char *raw;
	int fd, rc;

	if (!has_points(p))
		return -ENODATA;
	fd = mkstemp(path);
	if (fd < 0)
		return -errno;
	rc = run_gnuplot(p, path, titled);
	if (rc == 0) {
		raw = read_all(fd);
		free(p->svg);
		p->svg = tidy(p, raw);
		free(raw);
	}
	close(fd);
	unlink(path);
	return rc;
}

int bench_plot_write(const struct bench_plot *p, const char *dir)
{
	static const char style[] =
		"<style>svg{color:#222;background:#fff}"
		"@media(prefers-color-scheme:dark)"
		"{svg{color:#ddd;background:#16181c}}</style>";
	const char *body = strchr(p->svg, '>');
	char *path;
	FILE *f;
	int rc = 0;

	if (!body)
		return -EIO;
	body++;
	path = bench_asprintf("%s/%s.svg", dir, p->name);
	f = fopen(path, "we");
	free(path);
	if (!f)
		return -errno;
	fprintf(f, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n%.*s%s%s",
		(int)(body - p->svg), p->svg, style, body);
	if (fclose(f) != 0)
		rc = -errno;
	return rc;
}
