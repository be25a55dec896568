/* SPDX-License-Identifier: MIT */
/*
 * Checking a heap: what was found.
 */
#include "runtime/verify.h"

#include "runtime/heap-internal.h"

#include <errno.h>

int ferry__found(struct ferry_heap_fault *ret_fault, const char *what,
		 uintptr_t object, const void *slot, uintptr_t value)
{
	*ret_fault = (struct ferry_heap_fault){
		.size = sizeof(*ret_fault),
		.what = what,
		.object = (const void *)object,
		.slot = slot,
		.value = (const void *)value,
	};
	return -EILSEQ;
}
