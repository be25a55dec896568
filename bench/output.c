/* SPDX-License-Identifier: MIT */
/* output.c: results, targets and the record of a run; the JSON file. */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bench.h"
#include "output.h"

void bench_section(struct bench *b, const char *title)
{
	bench_progress_end();
	bench_doc_section(&b->doc, title);
}

__attribute__((format(printf, 1, 0))) static char *format(const char *fmt,
							  va_list ap)
{
	char *s;

	if (vasprintf(&s, fmt, ap) < 0)
		bench_die("out of memory");
	return s;
}

void bench_say(struct bench *b, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = format(fmt, ap);
	va_end(ap);
	bench_progress_end();
	bench_doc_say(&b->doc, text);
	free(text);
}

void bench_show(struct bench *b, struct bench_table *t)
{
	bench_progress_end();
	bench_doc_table(&b->doc, t);
}

void bench_plot(struct bench *b, struct bench_plot *p)
{
	bench_doc_plot(&b->doc, p);
}

json_t *bench_result(struct bench *b, const struct bench_stat *st,
		     const char *unit, const char *name_fmt, ...)
{
	va_list ap;
	json_t *r;
	char *name;

	if (!st->n)
		return NULL;
	va_start(ap, name_fmt);
	name = format(name_fmt, ap);
	va_end(ap);
	r = json_pack("{s:s s:s s:f s:f s:f s:I}", "name", name, "unit", unit,
		      "value", st->value, "min", st->min, "max", st->max,
		      "samples", (json_int_t)st->n);
	free(name);
	if (!r || json_array_append_new(b->results, r) < 0)
		bench_die("cannot record a result");
	return r;
}

void bench_field(json_t *result, const char *key, double v)
{
	if (result && json_object_set_new(result, key, json_real(v)) < 0)
		bench_die("cannot record the field %s", key);
}

void bench_field_text(json_t *result, const char *key, const char *text)
{
	if (result && json_object_set_new(result, key, json_string(text)) < 0)
		bench_die("cannot record the field %s", key);
}

void bench_target(struct bench *b, const struct bench_target *t)
{
	const char *unit = strcmp(t->unit, "x") ? t->unit : "ratio";

	bench_doc_target(&b->doc, t);
	bench_result(b, &t->got, unit, "%s", t->name);
}

static json_t *targets_json(const struct bench_doc *doc)
{
	json_t *all = json_array();

	for (size_t i = 0; i < doc->ntargets; i++) {
		const struct bench_target *t = &doc->targets[i];
		bool most = t->sense == BENCH_AT_MOST;
		json_t *j = json_pack(
			"{s:s s:s s:s s:f s:s}", "name", t->name, "text",
			t->text, "wanted", most ? "at most" : "at least",
			"limit", t->limit, "verdict", bench_target_verdict(t));

		if (t->got.n)
			bench_field(j, "value", t->got.value);
		json_array_append_new(all, j);
	}
	return all;
}

json_t *bench_json(const struct bench *b)
{
	return json_pack("{s:o s:s s:I s:O s:o}", "machine",
			 bench_machine_json(&b->machine), "command",
			 b->cmd->name, "seed", (json_int_t)b->opt.seed,
			 "results", b->results, "targets",
			 targets_json(&b->doc));
}

int bench_write_json(const struct bench *b, const char *path)
{
	bool std = !strcmp(path, "-");
	FILE *f = std ? stdout : fopen(path, "we");
	json_t *j;
	int rc;

	if (!f)
		return -errno;
	j = bench_json(b);
	rc = json_dumpf(j, f, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	json_decref(j);
	fputc('\n', f);
	if (std ? fflush(f) : fclose(f))
		rc = -1;
	return rc ? -EIO : 0;
}

int bench_make_dirs(const char *path)
{
	char *copy = bench_strdup(path);
	int rc = 0;

	for (char *p = copy + 1; *p && rc == 0; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		rc = mkdir(copy, 0777) < 0 && errno != EEXIST ? -errno : 0;
		*p = '/';
	}
	if (rc == 0 && mkdir(copy, 0777) < 0 && errno != EEXIST)
		rc = -errno;
	free(copy);
	return rc;
}

static int write_plot(struct bench_plot *p, const char *dir)
{
	int rc = bench_plot_draw(p, true);

	return rc ? rc : bench_plot_write(p, dir);
}

int bench_write_plots(struct bench *b, const char *dir)
{
	int rc = bench_make_dirs(dir);
	size_t n = 0;

	for (size_t i = 0; i < b->doc.nblocks && rc == 0; i++) {
		struct bench_plot *p = b->doc.blocks[i].plot;

		if (!p)
			continue;
		rc = write_plot(p, dir);
		if (rc == -ENODATA)
			rc = 0;
		else if (rc == 0)
			n++;
	}
	if (rc == 0 && b->doc.out)
		fprintf(b->doc.out, "%zu plots in %s\n", n, dir);
	return rc;
}
