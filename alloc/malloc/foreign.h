/* SPDX-License-Identifier: MIT */
/*
 * Pointers of other allocators that are handed to us (DESIGN E4): of the C
 * library, to which modules loaded with RTLD_DEEPBIND bind, or of an allocator
 * that a program brings itself.
 */
#ifndef FERRY_ALLOC_MALLOC_FOREIGN_H
#define FERRY_ALLOC_MALLOC_FOREIGN_H

#include "alloc/malloc/engine.h"

/* These hand @ptr, which is in no region of ours, to whom it is from. */
FERRY__HIDDEN void ferry__foreign_free(void *ptr);
FERRY__HIDDEN void *ferry__foreign_realloc(void *ptr, size_t size);
FERRY__HIDDEN size_t ferry__foreign_usable_size(void *ptr);

#endif
