/* SPDX-License-Identifier: MIT */
/*
 * What the files of page compaction share: the layout, the state of each
 * piece of it, and the compaction itself. The state machine and the reasons
 * for what is done here are in DESIGN.md, "Page compaction".
 */
#ifndef FERRY_ALLOC_COMPACT_INTERNAL_H
#define FERRY_ALLOC_COMPACT_INTERNAL_H

#include <ferry/compact.h>

#include "alloc/alloc-internal.h"

/* --- layout (compact_layout.c) -------------------------------------------- */

/* One run of live pages: what a layout is made of. */
struct ferry__live {
	uintptr_t from;
	size_t len;
	bool huge; /* whole huge pages: from and len are multiples */
	bool cut;  /* begins a mapping: no move may come across from below */
};

enum ferry__piece_kind {
	FERRY__PIECE_HUGE,  /* one huge page, moved whole */
	FERRY__PIECE_BLOCK, /* as big and as aligned, but of small pages */
	FERRY__PIECE_SMALL, /* the rest, at most FERRY__PIECE_PAGES */
	FERRY__PIECE_KINDS
};

/* Most pages of a small piece: what one claim takes, one fault waits for. */
#define FERRY__PIECE_PAGES 64u

enum ferry__piece_state {
	FERRY__PIECE_PLANNED = 0,
	FERRY__PIECE_CLAIMED, /* by one mover, which alone writes .moved */
	FERRY__PIECE_MOVED,   /* dealt with; pages left have a bit in .left */
};

struct ferry__piece {
	uintptr_t from;
	uintptr_t to;
	uint32_t pages;
	uint16_t moved;	  /* pages dealt with, from the start; see CLAIMED */
	uint8_t kind : 7; /* enum ferry__piece_kind */
	uint8_t cut : 1;  /* as in struct ferry__live */
	uint8_t state;	  /* enum ferry__piece_state; atomic, C1..C3 */
};

struct ferry__layout {
	struct ferry__piece *pieces; /* ascending by .from */
	uint32_t *order;	     /* indices of pieces, ascending by .to */
	size_t len;		     /* pieces */
	size_t runs;		     /* runs they were made from */
	size_t bytes[FERRY__PIECE_KINDS];
	size_t count[FERRY__PIECE_KINDS];
};

/*
 * Sizes of the layout of @live[0..n), which must ascend and not overlap:
 * .len, .runs, .bytes and .count of @ret. @huge: 0 where there are no huge
 * pages. Pure.
 */
void ferry__layout_measure(const struct ferry__live *live, size_t n,
			   size_t page, size_t huge, struct ferry__layout *ret);

/*
 * Allocates the arrays of a measured layout and fills them for a destination
 * that begins at @to. Returns 0; -ENOMEM.
 */
int ferry__layout_fill(struct ferry__layout *layout,
		       const struct ferry__live *live, size_t n, size_t page,
		       size_t huge, uintptr_t to);
void ferry__layout_fini(struct ferry__layout *layout);

size_t ferry__layout_bytes(const struct ferry__layout *layout);

/* The piece that holds an address, or NULL. Wait-free, O(log pieces). */
struct ferry__piece *ferry__layout_find_from(const struct ferry__layout *layout,
					     uintptr_t from, size_t page);

/* Index of the first piece that ends beyond the old address @from. */
size_t ferry__layout_after(const struct ferry__layout *layout, uintptr_t from,
			   size_t page);

/* Index in .order of the last piece that begins at or before @to. */
size_t ferry__layout_find_to(const struct ferry__layout *layout, uintptr_t to);

/* --- the compaction (compact.c) ------------------------------------------- */

#define FERRY__COMPACT_MAGIC 0x5443504d4f435946ull

/* Counters: relaxed, as each is a sum of its own and orders nothing. */
struct ferry__compact_counts {
	uint64_t moved, copied, huge, left, calls, faults, busy_retries;
	int error;  /* the first, by CAS */
	int reason; /* of it */
};

/* A source, and how much of it there was at the plan. */
struct ferry__source {
	struct ferry_arena *arena;
	size_t len;
	bool trapped; /* attached to the service */
};

/* Beside the public phases: a plan that was given up before its start. */
#define FERRY__COMPACT_DROPPED (FERRY_COMPACT_PARTIAL + 1)

struct ferry_compact {
	uint64_t magic;
	struct ferry_compact_params params;
	struct ferry__layout layout;
	struct ferry__source *sources; /* ascending by base */
	struct ferry_arena *destination;
	bool destination_ours; /* ours to destroy, till the start */
	uintptr_t to;	       /* first byte of the destination used */
	size_t bytes;	       /* of it */
	size_t pinned;	       /* bytes found pinned in the sources */
	size_t released, collapsed;
	struct ferry_fault_service *service; /* from plan to finish */
	struct ferry_uffd *uffd;	     /* its descriptor */

	struct ferry_move_params move; /* of every move, but for .cancel */
	bool copy_last;		       /* copy pages that stay busy */
	bool exclusive; /* one mover at a time: see DESIGN.md "One mover" */

	int phase;	/* enum ferry_compact_phase or DROPPED; C4 */
	uint64_t *left; /* a bit per page of the destination; C3 */

	/* Written by movers, apart from what readers of the map load. */
	_Alignas(64) size_t next; /* hint: index in order to go on from; C5 */
	size_t remaining;	  /* bytes not dealt with; C6 */
	int mover;		  /* who moves, if only one may; C7 */
	uintptr_t wanted; /* page that a faulting thread waits for; C8 */
	struct ferry__compact_counts counts;
};

static inline int ferry__compact_phase(const struct ferry_compact *compact)
{
	return __atomic_load_n(&compact->phase, __ATOMIC_ACQUIRE); /* C4 */
}

static inline bool ferry__compact_left_bit(const struct ferry_compact *compact,
					   uintptr_t to)
{
	size_t page = (to - compact->to) / ferry__page_size;

	/* Relaxed: ordered by C3 or, after finish, by C4. */
	return __atomic_load_n(&compact->left[page / 64], __ATOMIC_RELAXED) >>
		       page % 64 &
	       1;
}

/* The source that holds an old address of the plan. */
struct ferry_arena *ferry__compact_source(const struct ferry_compact *compact,
					  uintptr_t from);

void ferry__compact_note(struct ferry_compact *compact, int error,
			 enum ferry_reason reason);

/* --- moving (compact_move.c) ---------------------------------------------- */

/* Answers faults on the destination, and stray touches of the sources. */
void ferry__compact_supply(void *arg, const struct ferry_fault *fault,
			   struct ferry_supply *supply);
void ferry__compact_trap(void *arg, const struct ferry_fault *fault,
			 struct ferry_supply *supply);

/* Tries the pages left once more; no step may be under way. */
void ferry__compact_retry_left(struct ferry_compact *compact);

/* Leaves what is not moved; pieces that a fault has claimed are passed over. */
void ferry__compact_leave_rest(struct ferry_compact *compact);

/* --- giving back (compact_release.c) -------------------------------------- */

/* Settles every page of sources and destination, and returns the memory. */
void ferry__compact_release(struct ferry_compact *compact);

#endif
