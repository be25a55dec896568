/* SPDX-License-Identifier: MIT */
/* doc.c: keep and print what a run has to tell. */
#include <stdlib.h>
#include <string.h>

#include "doc.h"
#include "plot.h"
#include "util.h"

#define WIDTH 78

static struct bench_block *add_block(struct bench_doc *doc,
				     enum bench_block_kind kind)
{
	struct bench_block *b;

	doc->blocks = bench_grow(doc->blocks, doc->nblocks + 1, sizeof(*b));
	b = &doc->blocks[doc->nblocks++];
	*b = (struct bench_block){ .kind = kind };
	return b;
}

void bench_doc_fini(struct bench_doc *doc)
{
	for (size_t i = 0; i < doc->nblocks; i++) {
		free(doc->blocks[i].text);
		bench_table_free(doc->blocks[i].table);
		bench_plot_free(doc->blocks[i].plot);
	}
	for (size_t i = 0; i < doc->ntargets; i++) {
		free(doc->targets[i].name);
		free(doc->targets[i].text);
	}
	free(doc->blocks);
	free(doc->targets);
	memset(doc, 0, sizeof(*doc));
}

void bench_doc_section(struct bench_doc *doc, const char *title)
{
	add_block(doc, BENCH_SECTION)->text = bench_strdup(title);
	if (doc->out)
		fprintf(doc->out, "\n== %s ==\n\n", title);
}

void bench_doc_say(struct bench_doc *doc, const char *text)
{
	add_block(doc, BENCH_SAY)->text = bench_strdup(text);
	if (doc->out)
		bench_print_wrapped(text, doc->out);
}

void bench_doc_table(struct bench_doc *doc, struct bench_table *t)
{
	add_block(doc, BENCH_TABLE)->table = t;
	if (doc->out)
		bench_table_print(t, doc->out);
}

void bench_doc_targets(struct bench_doc *doc, struct bench_table *t)
{
	bench_doc_table(doc, t);
	doc->blocks[doc->nblocks - 1].kind = BENCH_TARGETS;
}

void bench_doc_plot(struct bench_doc *doc, struct bench_plot *p)
{
	add_block(doc, BENCH_PLOT)->plot = p;
}

void bench_doc_target(struct bench_doc *doc, const struct bench_target *t)
{
	struct bench_target *own;

	doc->targets =
		bench_grow(doc->targets, doc->ntargets + 1, sizeof(*own));
	own = &doc->targets[doc->ntargets++];
	*own = *t;
	own->name = bench_strdup(t->name);
	own->text = bench_strdup(t->text);
}

const char *bench_target_verdict(const struct bench_target *t)
{
	bool reached;

	if (!t->got.n)
		return "not measured";
	reached = t->sense == BENCH_AT_MOST ? t->got.value <= t->limit
					    : t->got.value >= t->limit;
	return reached ? "reached" : "not reached";
}

static void target_row(struct bench_table *t, const struct bench_target *g)
{
	char value[32] = "-", min[32] = "-", max[32] = "-";

	if (g->got.n) {
		bench_format(g->got.value, value, sizeof(value));
		bench_format(g->got.min, min, sizeof(min));
		bench_format(g->got.max, max, sizeof(max));
	}
	bench_cell(t, "%s", g->text);
	bench_cell(t, "%s", bench_target_verdict(g));
	bench_cell(t, "%s", value);
	bench_cell(t, "%s %g %s",
		   g->sense == BENCH_AT_MOST ? "<=" : ">=", g->limit, g->unit);
	if (g->got.n)
		bench_cell(t, "%s..%s", min, max);
	else
		bench_cell(t, "-");
}

struct bench_table *bench_targets_table(const struct bench_doc *doc,
					size_t from)
{
	struct bench_table *t;

	if (from >= doc->ntargets)
		return NULL;
	t = bench_table_new("Targets", "what", "<verdict", "measured", "wanted",
			    "min..max", NULL);
	for (size_t i = from; i < doc->ntargets; i++)
		target_row(t, &doc->targets[i]);
	return t;
}

void bench_print_wrapped(const char *text, FILE *f)
{
	size_t col = 0;

	while (*text) {
		size_t word = strcspn(text, " ");

		if (col && col + 1 + word > WIDTH) {
			fputc('\n', f);
			col = 0;
		}
		if (col)
			fputc(' ', f);
		fprintf(f, "%.*s", (int)word, text);
		col += word + (col ? 1 : 0);
		text += word;
		text += strspn(text, " ");
	}
	fputs("\n\n", f);
}
