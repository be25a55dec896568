/* SPDX-License-Identifier: MIT */
/*
 * The layout of a compaction: from runs of live pages to the address each
 * page gets, and the searches in it. Pure: it touches nothing but its arrays.
 *
 * The destination is filled without a gap by three kinds of pieces, each in
 * the order of the old addresses:
 *
 *	| huge pages | blocks: 2 MiB of small pages | everything else |
 *	^ 2 MiB      ^ 2 MiB                        ^ 2 MiB
 *
 * A huge page keeps its alignment and so can be moved whole. A block, which
 * is as big and as aligned at the source, agrees with its destination modulo
 * 2 MiB, so that the kernel moves it in one batch with one flush of the
 * translation caches instead of two, and MADV_COLLAPSE can make it huge. Both
 * fill whole huge-page slots and so cost no density. What is left over is
 * laid out densely, where agreement would cost a gap for every run.
 */
#include "alloc/compact-internal.h"

#include <errno.h>

/* A run cut at the boundaries of blocks: head, whole blocks, tail. */
struct cut {
	size_t head, blocks, tail;
};

static struct cut cut_run(const struct ferry__live *run, size_t huge)
{
	struct cut cut = { .head = run->len };
	uintptr_t start, end;

	if (run->huge)
		return (struct cut){ .blocks = run->len };
	if (!huge)
		return cut;
	start = (run->from + huge - 1) & ~(huge - 1);
	end = (run->from + run->len) & ~(huge - 1);
	if (start >= end)
		return cut;
	cut.head = start - run->from;
	cut.blocks = end - start;
	cut.tail = run->from + run->len - end;
	return cut;
}

static enum ferry__piece_kind block_kind(const struct ferry__live *run)
{
	return run->huge ? FERRY__PIECE_HUGE : FERRY__PIECE_BLOCK;
}

static size_t small_pieces(size_t len, size_t page)
{
	size_t most = FERRY__PIECE_PAGES * page;

	return (len + most - 1) / most;
}

void ferry__layout_measure(const struct ferry__live *live, size_t n,
			   size_t page, size_t huge, struct ferry__layout *ret)
{
	enum ferry__piece_kind kind;
	struct cut cut;
	size_t i;

	*ret = (struct ferry__layout){ .runs = n };
	for (i = 0; i < n; i++) {
		cut = cut_run(&live[i], huge);
		kind = block_kind(&live[i]);
		ret->bytes[FERRY__PIECE_SMALL] += cut.head + cut.tail;
		ret->count[FERRY__PIECE_SMALL] += small_pieces(cut.head, page) +
						  small_pieces(cut.tail, page);
		ret->bytes[kind] += cut.blocks;
		if (cut.blocks)
			ret->count[kind] += cut.blocks / huge;
	}
	for (i = 0; i < FERRY__PIECE_KINDS; i++)
		ret->len += ret->count[i];
}

size_t ferry__layout_bytes(const struct ferry__layout *layout)
{
	size_t i, bytes = 0;

	for (i = 0; i < FERRY__PIECE_KINDS; i++)
		bytes += layout->bytes[i];
	return bytes;
}

/* Where the next piece of each kind goes. */
struct cursor {
	uintptr_t to[FERRY__PIECE_KINDS];
	size_t order[FERRY__PIECE_KINDS];
	size_t piece;
};

/* Pieces of @kind for @len bytes of the run from @from on. */
static void put(struct ferry__layout *layout, struct cursor *cur,
		const struct ferry__live *run, enum ferry__piece_kind kind,
		uintptr_t from, size_t len, size_t most, size_t page)
{
	size_t step;

	for (; len; len -= step, from += step) {
		step = len < most ? len : most;
		layout->pieces[cur->piece] = (struct ferry__piece){
			.from = from,
			.to = cur->to[kind],
			.pages = (uint32_t)(step / page),
			.kind = (uint8_t)kind & 0x7f,
			.cut = run->cut && from == run->from,
		};
		layout->order[cur->order[kind]++] = (uint32_t)cur->piece++;
		cur->to[kind] += step;
	}
}

static struct cursor first_cursor(const struct ferry__layout *layout,
				  uintptr_t to)
{
	struct cursor cur = { .to = { to } };
	size_t i;

	for (i = 1; i < FERRY__PIECE_KINDS; i++) {
		cur.to[i] = cur.to[i - 1] + layout->bytes[i - 1];
		cur.order[i] = cur.order[i - 1] + layout->count[i - 1];
	}
	return cur;
}

static int alloc_arrays(struct ferry__layout *layout)
{
	void *pieces, *order;
	int r;

	/* Places in .order are 32 bits: 16 TiB even if all runs are pages. */
	if (layout->len > UINT32_MAX)
		return -ENOMEM;
	r = ferry__meta_alloc((layout->len + 1) * sizeof(struct ferry__piece),
			      &pieces);
	if (r < 0)
		return r;
	r = ferry__meta_alloc((layout->len + 1) * sizeof(uint32_t), &order);
	if (r < 0)
		goto err_pieces;
	layout->pieces = pieces;
	layout->order = order;
	return 0;

err_pieces:
	ferry__meta_free(pieces,
			 (layout->len + 1) * sizeof(struct ferry__piece));
	return r;
}

int ferry__layout_fill(struct ferry__layout *layout,
		       const struct ferry__live *live, size_t n, size_t page,
		       size_t huge, uintptr_t to)
{
	size_t i, small = FERRY__PIECE_PAGES * page;
	struct cursor cur = first_cursor(layout, to);
	uintptr_t from;
	struct cut cut;
	int r;

	r = alloc_arrays(layout);
	if (r < 0)
		return r;
	for (i = 0; i < n; i++) {
		cut = cut_run(&live[i], huge);
		from = live[i].from;
		put(layout, &cur, &live[i], FERRY__PIECE_SMALL, from, cut.head,
		    small, page);
		put(layout, &cur, &live[i], block_kind(&live[i]),
		    from + cut.head, cut.blocks, huge, page);
		put(layout, &cur, &live[i], FERRY__PIECE_SMALL,
		    from + cut.head + cut.blocks, cut.tail, small, page);
	}
	ferry__check(cur.piece == layout->len);
	return 0;
}

void ferry__layout_fini(struct ferry__layout *layout)
{
	ferry__meta_free(layout->pieces,
			 (layout->len + 1) * sizeof(struct ferry__piece));
	ferry__meta_free(layout->order, (layout->len + 1) * sizeof(uint32_t));
	layout->pieces = NULL;
	layout->order = NULL;
}

/* The last piece that begins at or before @from; the first if none does. */
static size_t last_from(const struct ferry__layout *layout, uintptr_t from)
{
	size_t low = 0, n = layout->len, half;

	/* The answer is in [low, low + n). */
	while (n > 1) {
		half = n / 2;
		low += layout->pieces[low + half].from <= from ? half : 0;
		n -= half;
	}
	return low;
}

struct ferry__piece *ferry__layout_find_from(const struct ferry__layout *layout,
					     uintptr_t from, size_t page)
{
	struct ferry__piece *p = &layout->pieces[last_from(layout, from)];

	/* Wraps to something big where the first piece begins beyond. */
	return layout->len && from - p->from < p->pages * page ? p : NULL;
}

size_t ferry__layout_after(const struct ferry__layout *layout, uintptr_t from,
			   size_t page)
{
	size_t i = last_from(layout, from);

	if (!layout->len)
		return 0;
	return from < layout->pieces[i].from + layout->pieces[i].pages * page
		       ? i
		       : i + 1;
}

size_t ferry__layout_find_to(const struct ferry__layout *layout, uintptr_t to)
{
	size_t low = 0, n = layout->len, half;

	while (n > 1) {
		half = n / 2;
		if (layout->pieces[layout->order[low + half]].to <= to)
			low += half;
		n -= half;
	}
	return low;
}
