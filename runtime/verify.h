/* SPDX-License-Identifier: MIT */
/*
 * Checking a heap as a whole: by tracing it again, and by adding up the
 * accounts of its spaces.
 */
#ifndef FERRY_RUNTIME_VERIFY_H
#define FERRY_RUNTIME_VERIFY_H

#include <ferry/heap.h>

/*
 * Checks all of a heap whose world is stopped and where no collection is
 * under way, or one that is over but for being reported. Returns 0; -EILSEQ
 * and what was found first; -ENOMEM.
 */
int ferry__verify(struct ferry_heap *heap, struct ferry_heap_fault *ret_fault);

/* The same when the option verify is set; what is found is noted. */
void ferry__verify_after(struct ferry_heap *heap);

/* With params.debug: the object at @addr was traced. If it tells another size
 * than it was given, that is noted. Any marker. */
void ferry__verify_traced(struct ferry_heap *heap, uintptr_t addr);

/* Fills in what was found; returns -EILSEQ. */
int ferry__found(struct ferry_heap_fault *ret_fault, const char *what,
		 uintptr_t object, const void *slot, uintptr_t value);

/* The accounts of the small space (verify_space.c) and of the large one
 * (verify_large.c). World stopped. Returns 0; -EILSEQ; -ENOMEM. */
int ferry__space_check(struct ferry_heap *heap,
		       struct ferry_heap_fault *ret_fault);
int ferry__large_check(struct ferry_heap *heap,
		       struct ferry_heap_fault *ret_fault);

#endif
