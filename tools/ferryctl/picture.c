/* SPDX-License-Identifier: MIT */
/* Pictures of memory. */
#include "tools/ferryctl/picture.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- strips --------------------------------------------------------------- */

int ctl_strip_init(struct ctl_strip *strip, uint64_t start, uint64_t end,
		   unsigned int width)
{
	uint64_t pages = (end - start) / (uint64_t)sysconf(_SC_PAGESIZE);

	if (pages < width)
		width = pages ? (unsigned int)pages : 1;
	*strip = (struct ctl_strip){ .start = start,
				     .end = end,
				     .width = width };
	strip->cells = calloc(width, sizeof(*strip->cells));
	return strip->cells ? 0 : -ENOMEM;
}

void ctl_strip_fini(struct ctl_strip *strip)
{
	free(strip->cells);
	strip->cells = NULL;
}

/* Where cell @i begins; the last one ends where the strip does. */
static uint64_t cell_start(const struct ctl_strip *strip, uint64_t i)
{
	uint64_t len = strip->end - strip->start;

	/* In two parts, as len * i may not fit. */
	return strip->start + len / strip->width * i +
	       len % strip->width * i / strip->width;
}

static void vote(struct ctl_cell *cell, int node, uint64_t bytes)
{
	if (node == cell->node || !cell->votes) {
		cell->node = node;
		cell->votes += bytes;
	} else if (bytes > cell->votes) {
		cell->node = node;
		cell->votes = bytes - cell->votes;
	} else {
		cell->votes -= bytes;
	}
}

static void paint_cell(struct ctl_cell *cell, uint64_t bytes,
		       unsigned int paints, int node)
{
	unsigned int i;

	for (i = 0; i < CTL_PAINTS; i++)
		if (paints & 1u << i)
			cell->bytes[i] += bytes;
	if (paints & 1u << CTL_PAINT_PRESENT)
		vote(cell, node, bytes);
}

/* The cell that holds @addr. */
static unsigned int cell_of(const struct ctl_strip *strip, uint64_t addr)
{
	unsigned int from = 0, to = strip->width, middle;

	while (to - from > 1) {
		middle = from + (to - from) / 2;
		if (cell_start(strip, middle) <= addr)
			from = middle;
		else
			to = middle;
	}
	return from;
}

void ctl_strip_paint(struct ctl_strip *strip, uint64_t start, uint64_t end,
		     unsigned int paints, int node)
{
	uint64_t stop;
	unsigned int i;

	if (start < strip->start)
		start = strip->start;
	if (end > strip->end)
		end = strip->end;
	if (start >= end)
		return;
	for (i = cell_of(strip, start); start < end; i++, start = stop) {
		stop = cell_start(strip, i + 1);
		stop = stop < end ? stop : end;
		paint_cell(&strip->cells[i], stop - start, paints, node);
	}
}

char ctl_cell_place(const struct ctl_cell *cell)
{
	uint64_t most = cell->bytes[CTL_PAINT_PRESENT];

	if (cell->bytes[CTL_PAINT_SWAPPED] > most)
		return cell->bytes[CTL_PAINT_OUT] >
				       cell->bytes[CTL_PAINT_SWAPPED]
			       ? 'o'
			       : 's';
	if (cell->bytes[CTL_PAINT_OUT] > most)
		return 'o';
	if (!most)
		return '.';
	if (cell->node < 0)
		return '?';
	return cell->node < 10 ? (char)('0' + cell->node) : '+';
}

char ctl_cell_mark(const struct ctl_cell *cell)
{
	/* One page that cannot move is worth to be seen. */
	if (cell->bytes[CTL_PAINT_PINNED])
		return 'P';
	if (cell->bytes[CTL_PAINT_TRANSIT])
		return 't';
	return cell->bytes[CTL_PAINT_HUGE] * 2 > cell->bytes[CTL_PAINT_PRESENT]
		       ? 'H'
		       : ' ';
}

void ctl_strip_places(const struct ctl_strip *strip, char *ret_text)
{
	unsigned int i;

	for (i = 0; i < strip->width; i++)
		ret_text[i] = ctl_cell_place(&strip->cells[i]);
	ret_text[i] = '\0';
}

bool ctl_strip_marks(const struct ctl_strip *strip, char *ret_text)
{
	bool any = false;
	unsigned int i;

	for (i = 0; i < strip->width; i++) {
		ret_text[i] = ctl_cell_mark(&strip->cells[i]);
		any |= ret_text[i] != ' ';
	}
	ret_text[i] = '\0';
	return any;
}

/* --- SVG ------------------------------------------------------------------ */

#define MARGIN	16
#define TOP	64 /* title and legend */
#define ROW	34
#define STRIP_X 16
#define STRIP_W 960
#define STRIP_H 12
#define FULL_W	(STRIP_X + STRIP_W + MARGIN)

/* Of nodes; told apart also by who sees no red or green (Okabe, Ito 2008). */
static const char *const node_colors[] = {
	"#0072b2", "#e69f00", "#009e73", "#cc79a7",
	"#56b4e9", "#d55e00", "#f0e442", "#444444",
};

static const char *color_of(char place)
{
	if (place >= '0' && place <= '9')
		return node_colors[(place - '0') % 8];
	switch (place) {
	case '+':
		return "#777777";
	case '?':
		return "#999999";
	case 's':
		return "#c8c8c8";
	case 'o':
		return "#b8d8f0";
	}
	return NULL; /* nothing there */
}

/* Text of a process, as XML takes it. */
static void put_text(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '&')
			fputs("&amp;", f);
		else if (*text == '<')
			fputs("&lt;", f);
		else if (*text == '>')
			fputs("&gt;", f);
		else if ((unsigned char)*text < ' ' ||
			 (unsigned char)*text > '~')
			fputc('?', f);
		else
			fputc(*text, f);
	}
}

static void put_legend(struct ctl_svg *svg)
{
	static const struct {
		char place;
		const char *what;
	} places[] = {
		{ '0', "node 0" }, { '1', "1" },	 { '2', "2" },
		{ '3', "3" },	   { '+', "above 9" },	 { 's', "swapped" },
		{ 'o', "stored" }, { '.', "not there" },
	};
	size_t i, n = sizeof(places) / sizeof(places[0]);
	unsigned int x = STRIP_X;

	for (i = 0; i < n; i++, x += 96) {
		fprintf(svg->f,
			"<rect x=\"%u\" y=\"36\" width=\"12\" height=\"12\" "
			"fill=\"%s\" stroke=\"#888\"/>",
			x,
			color_of(places[i].place) ? color_of(places[i].place)
						  : "#ffffff");
		fprintf(svg->f, "<text x=\"%u\" y=\"46\">%s</text>\n", x + 18,
			places[i].what);
	}
	fprintf(svg->f,
		"<rect x=\"%u\" y=\"46\" width=\"12\" height=\"3\" "
		"fill=\"#000\"/><text x=\"%u\" y=\"46\">huge</text>\n",
		x, x + 18);
	fprintf(svg->f,
		"<rect x=\"%u\" y=\"46\" width=\"12\" height=\"3\" "
		"fill=\"#d00000\"/><text x=\"%u\" y=\"46\">pinned"
		"</text>\n",
		x + 72, x + 90);
}

void ctl_svg_begin(struct ctl_svg *svg, FILE *f, const char *title,
		   unsigned int rows)
{
	unsigned int height = TOP + rows * ROW + MARGIN;

	*svg = (struct ctl_svg){ .f = f };
	fprintf(f,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" "
		"height=\"%u\" viewBox=\"0 0 %u %u\" font-family=\"sans-serif\""
		" font-size=\"11\">\n<rect width=\"100%%\" height=\"100%%\" "
		"fill=\"#ffffff\"/>\n<text x=\"%u\" y=\"22\" font-size=\"15\">",
		FULL_W, height, FULL_W, height, STRIP_X);
	put_text(f, title);
	fputs("</text>\n", f);
	put_legend(svg);
}

/* One rectangle for each run of equal characters. */
static void put_runs(struct ctl_svg *svg, const char *text, unsigned int y,
		     unsigned int height, const char *(*color)(char))
{
	size_t i, end, n = strlen(text);

	for (i = 0; i < n; i = end) {
		for (end = i + 1; end < n && text[end] == text[i]; end++)
			;
		if (!color(text[i]))
			continue;
		fprintf(svg->f,
			"<rect x=\"%.2f\" y=\"%u\" width=\"%.2f\" "
			"height=\"%u\" fill=\"%s\"/>\n",
			STRIP_X + (double)i * STRIP_W / (double)n, y,
			(double)(end - i) * STRIP_W / (double)n, height,
			color(text[i]));
	}
}

static const char *mark_color(char mark)
{
	switch (mark) {
	case 'H':
		return "#000000";
	case 'P':
		return "#d00000";
	case 't':
		return "#d0a000";
	}
	return NULL;
}

void ctl_svg_strip(struct ctl_svg *svg, const char *label, const char *places,
		   const char *marks)
{
	unsigned int y = TOP + svg->rows++ * ROW;

	fprintf(svg->f, "<text x=\"%u\" y=\"%u\" font-family=\"monospace\">",
		STRIP_X, y + 10);
	put_text(svg->f, label);
	fprintf(svg->f,
		"</text>\n<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" "
		"fill=\"#fff\" stroke=\"#aaa\" stroke-width=\"0.5\"/>\n",
		STRIP_X, y + 14, STRIP_W, STRIP_H);
	put_runs(svg, places, y + 14, STRIP_H, color_of);
	put_runs(svg, marks, y + 14 + STRIP_H - 3, 3, mark_color);
}

void ctl_svg_end(struct ctl_svg *svg)
{
	fputs("</svg>\n", svg->f);
}
