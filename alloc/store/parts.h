/* SPDX-License-Identifier: MIT */
/*
 * What a store has of the stores of processes that this one descends from: a
 * part for each fork since which pages are left, under the handles that they
 * had. Parts are read only; the parent holds their slots (generations.h).
 *
 * PA1. The last drop comes after what others read there: acq_rel. Who only
 * wants the number reads it relaxed.
 *
 * The list changes in inherit() and free(), when nobody else calls anything.
 */
#ifndef FERRY_ALLOC_STORE_PARTS_H
#define FERRY_ALLOC_STORE_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "alloc/store/generations.h"
#include "alloc/store/slots.h"

/* What a store has to say of its own parts comes behind. */
struct ferry__part {
	struct ferry__part *next;
	uint64_t first, end; /* slots */
	uint64_t live;	     /* PA1: pages kept */
	void *page;	     /* of the generation; NULL: had none */
};

struct ferry__parts {
	struct ferry__generations generations; /* of the store's own slots */
	struct ferry__part *list;
	struct ferry__part *spare; /* for the next child */
};

/*
 * What the first fork needs: a generation, and a part of @size bytes. Returns
 * 0 or -ENOMEM: then nothing was changed. stop() undoes it and leaves the list
 * as it is; as start(), in a thread that shares the descriptor table.
 */
int ferry__parts_start(struct ferry__parts *parts, size_t size);
void ferry__parts_stop(struct ferry__parts *parts, size_t size);

/* The same as stop(), and what children have is theirs from here on. */
void ferry__parts_leave(struct ferry__parts *parts, size_t size);

/* All parts go, of which each is of @size bytes. */
void ferry__parts_free(struct ferry__parts *parts, size_t size);

/*
 * In the child: the parent's slots from slots.first on, with @live pages,
 * become a part, which is returned with what is behind zeroed; NULL: there
 * were no pages.
 */
struct ferry__part *ferry__parts_inherit(struct ferry__parts *parts,
					 size_t size,
					 const struct ferry__slots *slots,
					 uint64_t live);

/*
 * The part that the slot @i, below slots.first, belongs to; NULL: there was no
 * page among those it was forked with. Lock-free.
 */
struct ferry__part *ferry__parts_find(const struct ferry__parts *parts,
				      uint64_t i);

/* One page of it is not needed any more. True: it was the last. Lock-free. */
bool ferry__part_drop(struct ferry__part *part);

/* Pages in all parts; relaxed. */
uint64_t ferry__parts_live(const struct ferry__parts *parts);

#endif
