/* SPDX-License-Identifier: MIT */
/*
 * What the dirty-tracking providers share: armed ranges, and the way a
 * collection hands out runs. The invariants are in DESIGN-dirty.md.
 *
 * Memory of trackers comes from mmap and not from malloc: fault handlers read
 * it, and the host's heap may be what is tracked.
 *
 * Lock ranks: ferry_dirty.lock before ferry_dirty.harvest before the lock of
 * dirty_mprotect.c. No handler of a fault takes any of them.
 */
#ifndef FERRY_UFFD_DIRTY_H
#define FERRY_UFFD_DIRTY_H

#include <ferry/dirty.h>

#include <pthread.h>

/* One armed range. Bitmap and head lie in one mapping of @mapped bytes. */
struct ferry__dirty_range {
	uintptr_t start, end;
	size_t mapped;
	int prot; /* mprotect: access rights of a page not written */
	struct ferry__dirty_bits {
		size_t words;
		uint64_t word[]; /* bit i: page i was written */
	} bits;
};

/* Armed ranges by address. */
struct ferry__dirty_set {
	size_t mapped; /* bytes of the mapping it lies in */
	size_t n;
	struct ferry__dirty_range *at[];
};

/* One collection under way; written by one thread. */
struct ferry__dirty_scan {
	uintptr_t pos; /* pages below were looked at */
	uintptr_t end; /* of what was asked for */
	struct ferry_range *runs;
	size_t max, n;
	bool peek; /* what is reported stays dirty */
};

struct ferry__dirty_ops {
	bool has_bits; /* ranges carry a bitmap */
	bool peeks;    /* its collect() can leave pages as they are */
	/* Fills in what the provider needs of @dirty; unwinds by itself. */
	int (*open)(struct ferry_dirty *dirty, enum ferry_reason *reason);
	void (*close)(struct ferry_dirty *dirty);
	/* Under dirty->lock, for writing. */
	int (*arm)(struct ferry_dirty *dirty, struct ferry__dirty_range *range,
		   enum ferry_reason *reason);
	void (*disarm)(struct ferry_dirty *dirty,
		       struct ferry__dirty_range *range);
	/* Under dirty->lock, for reading. */
	int (*collect)(struct ferry_dirty *dirty,
		       struct ferry__dirty_range *range,
		       struct ferry__dirty_scan *scan);
	/* The same; may be NULL. */
	int (*expect)(struct ferry_dirty *dirty, uintptr_t start,
		      uintptr_t end);
};

struct ferry_dirty {
	const struct ferry__dirty_ops *ops;
	enum ferry_dirty_provider provider;
	int pid; /* of the process that opened it */
	/* Armed ranges: written by arm and disarm, read by collections. */
	pthread_rwlock_t lock;
	struct ferry__dirty_set *set;
	/* What the providers use; NULL or -1 in those that do not. */
	struct ferry_uffd *uffd;
	int pagemap;
	int clear_refs;
	pthread_mutex_t harvest; /* soft-dirty: one reading at a time */
	int stop;		 /* eventfd that ends @thread */
	pthread_t thread;
	bool populate; /* absent pages take no protection: make them present */
};

extern const struct ferry__dirty_ops ferry__dirty_wp_async;
extern const struct ferry__dirty_ops ferry__dirty_soft;
extern const struct ferry__dirty_ops ferry__dirty_wp_sync;
extern const struct ferry__dirty_ops ferry__dirty_mprotect;

/* Zeroed memory that malloc knows nothing of; 0 or -ENOMEM. */
int ferry__dirty_alloc(size_t size, void **ret_p);
void ferry__dirty_free(void *p, size_t size);

/* A set with room for @n ranges, empty; 0 or -ENOMEM. */
int ferry__dirty_set_alloc(size_t n, struct ferry__dirty_set **ret_set);

/*
 * A copy of @set (NULL: empty) with @range in its place. The caller frees the
 * old one when nobody reads it any more.
 */
int ferry__dirty_set_with(const struct ferry__dirty_set *set,
			  struct ferry__dirty_range *range,
			  struct ferry__dirty_set **ret_set);

/* Writes @set without @range to @to, which has the room or is @set itself. */
void ferry__dirty_set_without(const struct ferry__dirty_set *set,
			      const struct ferry__dirty_range *range,
			      struct ferry__dirty_set *to);
void ferry__dirty_set_free(struct ferry__dirty_set *set);

/*
 * The first range of @set that ends above @addr, or NULL. Signal-safe when
 * the set stays.
 */
struct ferry__dirty_range *
ferry__dirty_set_find(const struct ferry__dirty_set *set, uintptr_t addr);

/*
 * Registers memory for write-protection with the tracker's handle. What a
 * disarm could not unregister, for want of the kernel's memory, is tried
 * again first, as it may be as protected as it was left.
 */
int ferry__dirty_register(struct ferry_dirty *dirty, void *addr, size_t len,
			  enum ferry_reason *reason);

/*
 * Appends [@start, @end), which lies at or above all before, to the runs:
 * joined with the last one where they touch. False, and nothing done, when
 * there is no room.
 */
bool ferry__dirty_emit(struct ferry__dirty_scan *scan, uintptr_t start,
		       uintptr_t end);

/*
 * What an open answers for @error: -EOPNOTSUPP where the mechanism is not to be
 * had, the error itself where resources are short and a later try may do.
 */
int ferry__dirty_refused(int error);

/* Opens /proc/self/pagemap: a descriptor, or an errno with its reason. */
int ferry__dirty_pagemap(enum ferry_reason *reason);

/*
 * Reads the words of the pages from @addr on, at most @n; returns how many
 * (at least one), or a negative errno.
 */
int ferry__dirty_words(const struct ferry_dirty *dirty, uintptr_t addr,
		       size_t n, uint64_t *words);

/* Sets the bits of the pages in [@start, @end). Signal-safe. */
void ferry__dirty_bits_set(struct ferry__dirty_range *range, uintptr_t start,
			   uintptr_t end);

/* Is the page at @addr, which may lie outside the range, marked? */
bool ferry__dirty_bits_test(const struct ferry__dirty_range *range,
			    uintptr_t addr);

/*
 * Hands out the marked pages from @scan->pos on: for each run that found room,
 * clears its bits and then calls @rearm (NULL: nothing to do). Pages marked
 * meanwhile are in this report or stay marked.
 */
void ferry__dirty_bits_report(struct ferry__dirty_range *range,
			      struct ferry__dirty_scan *scan,
			      void (*rearm)(struct ferry__dirty_range *range,
					    uintptr_t start, uintptr_t end));

#endif
