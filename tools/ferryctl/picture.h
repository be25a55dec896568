/* SPDX-License-Identifier: MIT */
/*
 * Pictures of memory: a strip of cells for each mapping or arena, each cell
 * showing what most of its bytes are, as text or SVG.
 */
#ifndef FERRYCTL_PICTURE_H
#define FERRYCTL_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum ctl_paint {
	CTL_PAINT_PRESENT, /* in memory: the node is known then, or -1 */
	CTL_PAINT_HUGE,
	CTL_PAINT_SWAPPED,
	CTL_PAINT_PINNED,
	CTL_PAINT_OUT,	   /* cold: in a store */
	CTL_PAINT_TRANSIT, /* being moved */
	CTL_PAINTS
};

struct ctl_cell {
	uint64_t bytes[CTL_PAINTS];
	/* The node of most bytes, by majority vote (Boyer, Moore 1981). */
	int node;
	uint64_t votes;
};

struct ctl_strip {
	uint64_t start, end;
	unsigned int width; /* cells */
	struct ctl_cell *cells;
};

/*
 * At most @width cells, and not less than a page each. Returns 0 or -ENOMEM.
 * Undo with ctl_strip_fini().
 */
int ctl_strip_init(struct ctl_strip *strip, uint64_t start, uint64_t end,
		   unsigned int width);
void ctl_strip_fini(struct ctl_strip *strip);

/* Adds a run with all of the @paints (bits 1 << CTL_x); clips it. */
void ctl_strip_paint(struct ctl_strip *strip, uint64_t start, uint64_t end,
		     unsigned int paints, int node);

/* What a cell shows: a digit is a node, s swapped, o out, . nothing. */
char ctl_cell_place(const struct ctl_cell *cell);
/* P pinned, t in transit, H huge, or a blank. */
char ctl_cell_mark(const struct ctl_cell *cell);

/* The two as strings of strip->width characters and a NUL. */
void ctl_strip_places(const struct ctl_strip *strip, char *ret_text);
/* Returns whether there is any mark. */
bool ctl_strip_marks(const struct ctl_strip *strip, char *ret_text);

/* An SVG document: begin, strips from top to bottom, end. */
struct ctl_svg {
	FILE *f;
	unsigned int rows;
};

void ctl_svg_begin(struct ctl_svg *svg, FILE *f, const char *title,
		   unsigned int rows);
void ctl_svg_strip(struct ctl_svg *svg, const char *label, const char *places,
		   const char *marks);
void ctl_svg_end(struct ctl_svg *svg);

#endif
