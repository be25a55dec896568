/* SPDX-License-Identifier: MIT */
/*
 * A move under way, shared by the files of ferry_move():
 *
 *	move.c		checks, the loop around the ioctl, progress
 *	move_obstacle.c	what to do at a page that the kernel refused
 *	move_huge.c	huge pages: kept whole, and the huge zero page
 *	move_emulate.c	the same without UFFDIO_MOVE
 *	move_explain.c	a refusal of the mappings, in words
 *
 * All of it runs on the caller's stack, allocates nothing and takes no lock.
 */
#ifndef FERRY_UFFD_MOVER_H
#define FERRY_UFFD_MOVER_H

#include <ferry/move.h>

#include "uffd/handle.h"

/*
 * What the kernel answered to the whole of the first range, and the entered
 * handle: the call goes on from there.
 */
struct ferry__first {
	struct ferry__stripe *stripe;
	int error;
	size_t moved;
};

struct ferry__mover {
	struct ferry_uffd *uffd;
	const struct ferry_move_params *params;
	struct ferry_move_result *result;
	/* An answer that stands for the first ioctl, or NULL. */
	struct ferry__first *first;
	/* The range in work, and bytes of it dealt with. */
	uintptr_t dst, src;
	size_t len, pos;
	/* Waiting of the whole call, whatever for. */
	struct ferry__backoff backoff;
	/* The last pages made exclusive at one go: end and length. */
	uintptr_t exclusive_end;
	size_t exclusive_len;
	/* Emulation has looked at the mappings of this range. */
	bool mappings_checked;
	/* It found the destination to be just one mapping. */
	bool dst_whole;
	/* A huge page is on its way whole: see that it arrives so. */
	bool huge_check;
	/* Tries at this one position since something last moved. */
	unsigned int tries_here;
};

static inline bool ferry__mover_wants(const struct ferry__mover *m,
				      uint32_t flag)
{
	return m->params->flags & flag;
}

static inline size_t ferry__mover_left(const struct ferry__mover *m)
{
	return m->len - m->pos;
}

/* Books @bytes from the position on as dealt with, under @counter. */
static inline void ferry__mover_book(struct ferry__mover *m, size_t *counter,
				     size_t bytes)
{
	*counter += bytes;
	m->result->done += bytes;
	m->pos += bytes;
	m->tries_here = 0;
}

/* Stops the move: notes the reason, passes @error on. */
static inline int ferry__mover_stop(struct ferry__mover *m, int error,
				    enum ferry_reason reason)
{
	m->result->reason = reason;
	return error;
}

/* Waits a little, if time is left. */
static inline bool ferry__mover_wait(struct ferry__mover *m)
{
	bool waited = ferry__backoff_wait(&m->backoff);

	m->result->waited_ns = m->backoff.waited_ns;
	return waited;
}

/*
 * The kernel refused the page at the position with @error and moved nothing.
 * Returns 0 when the move can go on (perhaps after this page), else the
 * error to stop with, the reason set.
 */
int ferry__mover_obstacle(struct ferry__mover *m, int error);

/* The destination holds pages, @len bytes from the position on. As above. */
int ferry__mover_present(struct ferry__mover *m, size_t len);

/*
 * Words of /proc/self/pagemap for both sides from the position on, room for
 * FERRY__WORDS each. Returns how many tell something, or a negative errno.
 */
int ferry__mover_words(const struct ferry__mover *m, uint64_t *dst,
		       uint64_t *src);

/* One step without UFFDIO_MOVE; same results. */
int ferry__mover_emulate(struct ferry__mover *m);

/* Copies @len bytes from the position on and drops the source. */
int ferry__mover_copy(struct ferry__mover *m, size_t len);

/* How many bytes from the position on one ioctl may be given. */
int ferry__mover_huge_piece(struct ferry__mover *m, size_t *ret_len);

/* After that piece has moved: did a huge page arrive whole? */
int ferry__mover_huge_done(struct ferry__mover *m);

/* Is anything mapped at the page? Touches nothing. */
bool ferry__mover_mapped(uintptr_t addr);

/* Why did the kernel refuse with @error (EINVAL or ENOENT) just here? */
enum ferry_reason ferry__mover_explain(const struct ferry__mover *m, int error);

#endif
