/* SPDX-License-Identifier: MIT */
/*
 * report.c: a run as one web page. Style and plots stand in the page, which
 * asks nobody for anything; it follows the reader's light or dark scheme and
 * the width of the screen.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report.h"

static const char style[] =
	":root{color-scheme:light dark;--bg:#fbfbf9;--card:#fff;--ink:#1d2126;"
	"--dim:#667079;--line:#e2e4e1;--good:#1f7a3a;--goodbg:#e2f3e6;"
	"--bad:#b42318;--badbg:#fde7e4;--mark:#e8590c}\n"
	"@media(prefers-color-scheme:dark){:root{--bg:#14161a;--card:#1b1e23;"
	"--ink:#e4e6e8;--dim:#98a1aa;--line:#2d3238;--good:#6fd08a;"
	"--goodbg:#17331f;--bad:#ff9a8d;--badbg:#3d1b17}}\n"
	"*{box-sizing:border-box}\n"
	"body{margin:0;background:var(--bg);color:var(--ink);"
	"font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif;"
	"-webkit-text-size-adjust:100%}\n"
	"main{max-width:1120px;margin:0 auto;padding:1.5rem 1rem 4rem}\n"
	"h1{font-size:1.9rem;line-height:1.2;margin:.5rem 0 .3rem}\n"
	"h2{font-size:1.35rem;margin:3rem 0 .6rem;padding-top:1.2rem;"
	"border-top:1px solid var(--line)}\n"
	"p{max-width:46rem;margin:.7rem 0}\n"
	".lead{font-size:1.1rem}.dim{color:var(--dim)}\n"
	"dl{display:grid;grid-template-columns:repeat(auto-fit,"
	"minmax(9.5rem,1fr));gap:.9rem 1.2rem;margin:1.4rem 0}\n"
	"dt{color:var(--dim);font-size:.8rem}dd{margin:0;"
	"overflow-wrap:anywhere}\n"
	"nav{display:flex;flex-wrap:wrap;gap:.4rem 1.1rem;margin:1.2rem 0}\n"
	"a{color:inherit;text-decoration-color:var(--mark);"
	"text-underline-offset:.2em}\n"
	".plots{display:grid;grid-template-columns:repeat(auto-fill,"
	"minmax(min(100%,440px),1fr));gap:1rem;margin:1.2rem 0}\n"
	"figure{margin:0;background:var(--card);border:1px solid var(--line);"
	"border-radius:.6rem;padding:.9rem .6rem .5rem}\n"
	"figcaption{font-weight:600;padding:0 .5rem .4rem}\n"
	"figure svg{display:block;width:100%;height:auto;color:var(--ink)}\n"
	"details{margin:.7rem 0}summary{cursor:pointer;padding:.25rem 0}\n"
	".scroll{overflow-x:auto;background:var(--card);"
	"border:1px solid var(--line);border-radius:.6rem}\n"
	"table{border-collapse:collapse;width:100%;font-size:.9rem;"
	"font-variant-numeric:tabular-nums}\n"
	"th,td{padding:.32rem .7rem;text-align:right;white-space:nowrap}\n"
	"th{font-weight:600;color:var(--dim);border-bottom:1px solid "
	"var(--line)}\n"
	"tbody tr+tr td{border-top:1px solid var(--line)}\n"
	"th.l,td.l{text-align:left}td.w{white-space:normal;min-width:10rem}\n"
	"b.good,b.bad,b.none{font-weight:600;border-radius:.4rem;"
	"padding:.1rem .5rem;white-space:nowrap}\n"
	"b.good{color:var(--good);background:var(--goodbg)}\n"
	"b.bad{color:var(--bad);background:var(--badbg)}\n"
	"b.none{color:var(--dim);background:var(--line)}\n"
	"code{font-family:ui-monospace,Menlo,Consolas,monospace;"
	"font-size:.92em}\n"
	"@media print{details{display:block}nav{display:none}}\n";

static void put_text(const char *s, FILE *f)
{
	for (; *s; s++) {
		switch (*s) {
		case '<':
			fputs("&lt;", f);
			break;
		case '>':
			fputs("&gt;", f);
			break;
		case '&':
			fputs("&amp;", f);
			break;
		case '"':
			fputs("&quot;", f);
			break;
		default:
			fputc(*s, f);
		}
	}
}

/* Words that are set off: verdicts and yes or no. */
static const char *class_of(const char *cell)
{
	if (!strcmp(cell, "reached") || !strcmp(cell, "yes") ||
	    !strcmp(cell, "works"))
		return "good";
	if (!strcmp(cell, "not reached"))
		return "bad";
	if (!strcmp(cell, "not measured") || !strcmp(cell, "no"))
		return "none";
	return NULL;
}

static void put_cell(const struct bench_table *t, size_t i, FILE *f)
{
	const char *cell = t->cells[i];
	const char *class = class_of(cell);
	bool left = t->left[i % t->ncols];
	bool wide = left && strlen(cell) > 24;

	fprintf(f, "<td%s>", wide ? " class=\"l w\"" : left ? " class=l" : "");
	if (class)
		fprintf(f, "<b class=%s>", class);
	put_text(cell, f);
	fputs(class ? "</b></td>" : "</td>", f);
}

static void put_table(const struct bench_table *t, FILE *f)
{
	fputs("<div class=scroll><table><thead><tr>", f);
	for (size_t i = 0; i < t->ncols; i++) {
		fputs(t->left[i] ? "<th class=l>" : "<th>", f);
		put_text(t->head[i], f);
		fputs("</th>", f);
	}
	fputs("</tr></thead>\n<tbody>", f);
	for (size_t i = 0; i < t->ncells; i++) {
		if (i % t->ncols == 0)
			fputs("<tr>", f);
		put_cell(t, i, f);
		if (i % t->ncols == t->ncols - 1)
			fputs("</tr>\n", f);
	}
	fputs("</tbody></table></div>\n", f);
}

static void put_folded(const struct bench_table *t, bool open, FILE *f)
{
	fprintf(f, "<details%s><summary>", open ? " open" : "");
	put_text(t->caption, f);
	fputs("</summary>\n", f);
	put_table(t, f);
	fputs("</details>\n", f);
}

static void put_figure(const struct bench_plot *p, FILE *f)
{
	fputs("<figure><figcaption>", f);
	put_text(p->title, f);
	fputs("</figcaption>\n", f);
	fputs(p->svg, f);
	fputs("</figure>\n", f);
}

/* Short enough to stand unfolded. */
static bool is_short(const struct bench_table *t)
{
	return t->ncells <= 12 * t->ncols;
}

/* One section: what is said first, then the plots, then the tables. */
static void put_section(const struct bench_block *v, size_t n, size_t id,
			FILE *f)
{
	bool plots = false;
	bool open = true;

	fprintf(f, "<section id=s%zu><h2>", id);
	put_text(v[0].text, f);
	fputs("</h2>\n", f);
	for (size_t i = 1; i < n; i++) {
		plots |= v[i].kind == BENCH_PLOT && v[i].plot->svg;
		if (v[i].kind != BENCH_SAY)
			continue;
		fputs("<p>", f);
		put_text(v[i].text, f);
		fputs("</p>\n", f);
	}
	fputs(plots ? "<div class=plots>\n" : "", f);
	for (size_t i = 1; i < n; i++)
		if (v[i].kind == BENCH_PLOT && v[i].plot->svg)
			put_figure(v[i].plot, f);
	fputs(plots ? "</div>\n" : "", f);
	for (size_t i = 1; i < n; i++) {
		if (v[i].kind != BENCH_TABLE)
			continue;
		put_folded(v[i].table, open && is_short(v[i].table), f);
		open = false;
	}
	fputs("</section>\n", f);
}

/* Where the section that begins at @i ends. */
static size_t section_end(const struct bench_doc *doc, size_t i)
{
	do
		i++;
	while (i < doc->nblocks && doc->blocks[i].kind != BENCH_SECTION);
	return i;
}

static void put_sections(const struct bench_doc *doc, FILE *f)
{
	for (size_t i = 0; i < doc->nblocks; i++)
		if (doc->blocks[i].kind == BENCH_SECTION)
			put_section(&doc->blocks[i], section_end(doc, i) - i, i,
				    f);
}

static void put_nav(const struct bench_doc *doc, FILE *f)
{
	fputs("<nav>", f);
	for (size_t i = 0; i < doc->nblocks; i++) {
		if (doc->blocks[i].kind != BENCH_SECTION)
			continue;
		fprintf(f, "<a href=\"#s%zu\">", i);
		put_text(doc->blocks[i].text, f);
		fputs("</a>\n", f);
	}
	fputs("</nav>\n", f);
}

static void put_fact(const char *what, const char *value, FILE *f)
{
	fprintf(f, "<div><dt>%s</dt><dd>", what);
	put_text(value, f);
	fputs("</dd></div>\n", f);
}

static void put_machine(const struct bench_machine *m, FILE *f)
{
	char text[256];

	fputs("<dl>\n", f);
	snprintf(text, sizeof(text), "%s, %ld cores", m->cpu, m->cores);
	put_fact("processor", text, f);
	snprintf(text, sizeof(text), "%.1f GiB%s%s",
		 (double)m->memory / (1 << 30),
		 m->virtual_machine[0] ? ", " : "", m->virtual_machine);
	put_fact("memory", text, f);
	put_fact("kernel", m->kernel, f);
	snprintf(text, sizeof(text), "%zu bytes; huge: %s", m->page_size,
		 m->thp[0] ? m->thp : "none");
	put_fact("pages", text, f);
	snprintf(text, sizeof(text), "%s, commit %s", m->ferry, m->commit);
	put_fact("ferry", text, f);
	snprintf(text, sizeof(text), "%.10s, load %.1f", m->date, m->load);
	put_fact("date", text, f);
	fputs("</dl>\n", f);
}

static void put_targets(const struct bench_doc *doc, FILE *f)
{
	struct bench_table *t = bench_targets_table(doc, 0);
	size_t reached = 0;

	if (!t)
		return;
	for (size_t i = 0; i < doc->ntargets; i++)
		reached += !strcmp(bench_target_verdict(&doc->targets[i]),
				   "reached");
	fprintf(f,
		"<p class=lead><strong>%zu of %zu</strong> figures to reach "
		"were reached in this run.</p>\n",
		reached, doc->ntargets);
	put_table(t, f);
	bench_table_free(t);
}

void bench_report_print(const struct bench *b, FILE *f)
{
	fputs("<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8>\n"
	      "<meta name=viewport content=\"width=device-width,"
	      "initial-scale=1\">\n<title>Ferry on ",
	      f);
	put_text(b->machine.cpu, f);
	fprintf(f,
		"</title>\n<style>\n%s</style></head>\n<body><main>\n"
		"<h1>Ferry on this machine</h1>\n<p class=dim>Memory carried "
		"across without unloading it: what that costs here, measured "
		"by <code>ferry-bench %s</code> with seed %llu.</p>\n",
		style, b->cmd->name, (unsigned long long)b->opt.seed);
	put_machine(&b->machine, f);
	if (bench_machine_busy(&b->machine))
		fputs("<p>Others were using this machine: expect wide spreads, "
		      "and distrust what is close to its limit.</p>\n",
		      f);
	put_targets(&b->doc, f);
	put_nav(&b->doc, f);
	put_sections(&b->doc, f);
	fputs("<p class=dim>Values are medians; min..max are the extremes of "
	      "all rounds after warm-up. Methods are measured in turn, in "
	      "shuffled order, and ratios are formed within a round. Absolute "
	      "times belong to this machine, ratios carry further.</p>\n"
	      "</main></body></html>\n",
	      f);
}

int bench_report_write(const struct bench *b, const char *path)
{
	FILE *f = fopen(path, "we");
	bool bad;

	if (!f)
		return -errno;
	bench_report_print(b, f);
	bad = ferror(f);
	if (fclose(f) != 0 || bad)
		return -EIO;
	return 0;
}
