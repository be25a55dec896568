/* SPDX-License-Identifier: MIT */
/* What the sources of offload.h share. */
#ifndef FERRY_ALLOC_MALLOC_OFFLOAD_INTERNAL_H
#define FERRY_ALLOC_MALLOC_OFFLOAD_INTERNAL_H

#include "alloc/malloc/holes.h"
#include "alloc/malloc/offload.h"
#include "alloc/malloc/tiers.h"

enum ferry__offload_state {
	FERRY__OFFLOAD_WAITING = 0,
	FERRY__OFFLOAD_STARTING,
	FERRY__OFFLOAD_TRIED,
};

struct ferry__offload {
	const struct ferry__conf *conf;
	enum ferry__offload_state state; /* atomic; T1 */
	int pid;			 /* whose memory this is */
	struct ferry__pager *pager;	 /* atomic; D1 */
	unsigned int plain;		 /* purges that saw no pager; D1 */
	size_t bytes;	    /* of spaces handed out to the heap; atomic */
	const char *reason; /* atomic; written before TRIED, or by a filter */
	struct ferry__holes holes;
	struct ferry__tiers tiers;
	unsigned int held;	/* restore() without resume(); atomic */
	uint64_t next_decay_ns; /* of the pager's thread */
	bool purged;		/* since the process was last busy; likewise */
	unsigned int forks;	/* of this process; under fork_lock */
	bool restored;		/* for a fork without handlers; likewise */
	bool stopped;		/* and could not be started again; atomic */
};

extern FERRY__HIDDEN struct ferry__offload ferry__offload;

/* What is known is in place. @reason: why there is nothing; NULL: as before. */
FERRY__HIDDEN void ferry__offload_tried(const char *reason);

/*
 * A pager that was stopped. A process that has no threads now because its
 * children are to be in another namespace of processes gets none: its children
 * do.
 */
FERRY__HIDDEN void ferry__offload_again(void);

/* Who is quiet around certain system calls, and how (offload_quiet.c). */
extern FERRY__HIDDEN const struct ferry__quiet ferry__offload_quiet;

#endif
