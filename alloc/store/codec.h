/* SPDX-License-Identifier: MIT */
/*
 * Compressors with the memory they need, which comes from mmap(2) once for
 * each user at a time and is used again.
 */
#ifndef FERRY_ALLOC_STORE_CODEC_H
#define FERRY_ALLOC_STORE_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "alloc/store/dict.h"
#include "alloc/store/store.h"

/*
 * Room to work for one user: the compressor's state and, for compressing,
 * what comes out of it. The states lie behind it in the same mapping.
 */
struct ferry__work {
	struct ferry__work *next; /* never changes once it is in a pool */
	/* C2: in use? Taken with acquire, given back with release. */
	uint32_t busy;
	void *state;
	void *context; /* zstd's, set up in the state; NULL: not yet */
	char *out;
};

/* Rooms are added at the head and stay until the end: no ABA. */
struct ferry__work_pool {
	struct ferry__work *head; /* C1: pushed with release */
	size_t size;		  /* bytes of each */
	uint64_t held;		  /* bytes of all; relaxed: a count */
};

struct ferry__coder {
	enum ferry__codec codec;
	struct ferry__work_pool pack, unpack;
};

/* Returns 0, -EINVAL (no such codec), or -ENOMEM. */
int ferry__coder_init(struct ferry__coder *coder, enum ferry__codec codec);
void ferry__coder_fini(struct ferry__coder *coder);

/*
 * Compresses a page into at most @most bytes, by @dict (zstd alone; or NULL).
 * @ret_work->out holds them until ferry__coder_done(). Returns how many, or
 * -E2BIG, or -ENOMEM.
 */
int ferry__coder_pack(struct ferry__coder *coder,
		      const struct ferry__dict *dict, const void *page,
		      size_t most, struct ferry__work **ret_work);
void ferry__coder_done(struct ferry__work *work);

/*
 * Writes the page that @len bytes at @from were made of, by the @dict that they
 * were made by. Signal-safe; waits for nobody. Returns 0, -EILSEQ (they were
 * not made of a page) or -EIO: there is no memory to work in.
 */
int ferry__coder_unpack(struct ferry__coder *coder,
			const struct ferry__dict *dict, const void *from,
			size_t len, void *page);

/* Bytes of memory held. */
uint64_t ferry__coder_held(const struct ferry__coder *coder);

/* In the child of a fork(2): those who worked in the parent are not here. */
void ferry__coder_fork_child(struct ferry__coder *coder);

#endif
